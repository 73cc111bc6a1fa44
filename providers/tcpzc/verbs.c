// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * verbs.c - device and port queries, protection domains, memory regions,
 * address handles.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tcpzc-ids.h"
#include "tcpzc.h"

/* Never destroyed: it owns nothing, and a backend frees the object around it. */
void tcpzc_lock_init(pthread_mutex_t *lock)
{
	pthread_mutexattr_t attr;

	pthread_mutexattr_init(&attr);
	/* Spin for a while before sleeping; plain elsewhere than in glibc. */
#ifdef __GLIBC__
	pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_ADAPTIVE_NP);
#endif
	pthread_mutex_init(lock, &attr);
	pthread_mutexattr_destroy(&attr);
}

int tcpzc_query_device(struct ibv_context *context,
		       const struct ibv_query_device_ex_input *input,
		       struct ibv_device_attr_ex *attr, size_t attr_size)
{
	struct tcpzc_context *ctx = to_tctx(context);
	struct ibv_device_attr_ex full = {};
	int rc;

	if (input && input->comp_mask)
		return EINVAL;
	/* ibv_query_device() has room for the first part only. */
	rc = ctx->be->query_device(ctx, &full, sizeof(full));
	if (rc)
		return rc;
	memset(attr, 0, attr_size);
	memcpy(attr, &full, attr_size < sizeof(full) ? attr_size : sizeof(full));
	return 0;
}

int tcpzc_query_port(struct ibv_context *context, uint8_t port,
		     struct ibv_port_attr *attr)
{
	struct tcpzc_context *ctx = to_tctx(context);

	if (port != TCPZC_PORT)
		return EINVAL;
	return ctx->be->query_port(ctx, port, attr);
}

/* ---- protection domains, thread domains --------------------------------- */

struct ibv_pd *tcpzc_alloc_pd(struct ibv_context *context)
{
	struct tcpzc_context *ctx = to_tctx(context);
	struct tcpzc_pd *pd;

	pd = ctx->be->alloc_pd(ctx);
	return pd ? &pd->ibpd : NULL;
}

int tcpzc_dealloc_pd(struct ibv_pd *ibpd)
{
	struct tcpzc_pd *pd = to_tpd(ibpd);

	if (tcpzc_busy(&pd->users))
		return EBUSY;
	if (pd->inner) {
		tcpzc_put(&pd->inner->users);
		free(pd);
		return 0;
	}
	return to_tctx(ibpd->context)->be->dealloc_pd(pd);
}

/* Locks are taken all the same: a thread domain is a hint. */
struct ibv_td *tcpzc_alloc_td(struct ibv_context *context,
			      struct ibv_td_init_attr *attr)
{
	struct ibv_td *td;

	if (attr->comp_mask) {
		errno = EOPNOTSUPP;
		return NULL;
	}
	td = calloc(1, sizeof(*td));
	if (td)
		td->context = context;
	return td;
}

int tcpzc_dealloc_td(struct ibv_td *td)
{
	free(td);
	return 0;
}

struct ibv_pd *
tcpzc_alloc_parent_domain(struct ibv_context *context,
			  struct ibv_parent_domain_init_attr *attr)
{
	struct tcpzc_pd *pd;

	if (ibv_check_alloc_parent_domain(attr))
		return NULL;
	if (attr->comp_mask) {
		errno = EOPNOTSUPP;	/* allocators of the application's own */
		return NULL;
	}
	pd = calloc(1, sizeof(*pd));
	if (!pd)
		return NULL;
	ibv_initialize_parent_domain(&pd->ibpd, attr->pd);
	pd->inner = tcpzc_pd_inner(attr->pd);
	pd->pdn = pd->inner->pdn;
	tcpzc_get(&pd->inner->users);
	return &pd->ibpd;
}

/* ---- memory regions ----------------------------------------------------- */

#define TCPZC_ACCESS_REMOTE \
	(IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ | \
	 IBV_ACCESS_REMOTE_ATOMIC)
#define TCPZC_ACCESS_NEEDS_LOCAL_WRITE \
	(IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_ATOMIC)
#define TCPZC_ACCESS_MANDATORY \
	(IBV_ACCESS_LOCAL_WRITE | TCPZC_ACCESS_REMOTE | IBV_ACCESS_MW_BIND | \
	 IBV_ACCESS_ZERO_BASED | IBV_ACCESS_HUGETLB)

/*
 * What may be ignored is (IBV_ACCESS_OPTIONAL_RANGE, IBV_ACCESS_HUGETLB); the
 * rules of remote access are those of the IB specification, 10.6.3.
 */
static int tcpzc_check_access(int *access)
{
	*access &= ~IBV_ACCESS_OPTIONAL_RANGE;
	if (*access & IBV_ACCESS_ON_DEMAND)
		return EOPNOTSUPP;
	if (*access & ~TCPZC_ACCESS_MANDATORY)
		return EINVAL;
	if ((*access & TCPZC_ACCESS_NEEDS_LOCAL_WRITE) &&
	    !(*access & IBV_ACCESS_LOCAL_WRITE))
		return EINVAL;
	return 0;
}

static bool tcpzc_range_ok(uint64_t start, uint64_t length)
{
	return length && start + length - 1 >= start;
}

struct ibv_mr *tcpzc_reg_mr(struct ibv_pd *ibpd, void *addr, size_t length,
			    uint64_t hca_va, int access)
{
	const struct tcpzc_backend *be = to_tctx(ibpd->context)->be;
	struct tcpzc_mr *mr;
	int rc;

	rc = tcpzc_check_access(&access);
	/* ibv_reg_mr() passes the address for @hca_va in this case, too. */
	if (access & IBV_ACCESS_ZERO_BASED)
		hca_va = 0;
	if (!rc && (!tcpzc_range_ok((uintptr_t)addr, length) ||
		    !tcpzc_range_ok(hca_va, length)))
		rc = EINVAL;
	if (rc) {
		errno = rc;
		return NULL;
	}
	mr = be->reg_mr(tcpzc_pd_inner(ibpd), addr, length, hca_va, access);
	if (!mr)
		return NULL;
	/* libibverbs fills in the rest, and reads these when deregistering. */
	mr->vmr.mr_type = IBV_MR_TYPE_MR;
	mr->vmr.access = access;
	tcpzc_get(&to_tpd(ibpd)->users);
	return &mr->vmr.ibv_mr;
}

struct ibv_mr *tcpzc_reg_dmabuf_mr(struct ibv_pd *pd, uint64_t offset,
				   size_t length, uint64_t iova, int fd,
				   int access)
{
	errno = EOPNOTSUPP;
	return NULL;
}

static int tcpzc_check_rereg(struct tcpzc_mr *mr, int flags, struct ibv_pd *pd,
			     void *addr, size_t length, int *access)
{
	if (!flags || (flags & ~IBV_REREG_MR_FLAGS_SUPPORTED))
		return EINVAL;
	if ((flags & IBV_REREG_MR_CHANGE_PD) &&
	    (!pd || pd->context != mr->vmr.ibv_mr.context))
		return EINVAL;
	if ((flags & IBV_REREG_MR_CHANGE_TRANSLATION) &&
	    !tcpzc_range_ok((uintptr_t)addr, length))
		return EINVAL;
	if (flags & IBV_REREG_MR_CHANGE_ACCESS)
		return tcpzc_check_access(access);
	*access = mr->vmr.access;
	return 0;
}

int tcpzc_rereg_mr(struct verbs_mr *vmr, int flags, struct ibv_pd *ibpd,
		   void *addr, size_t length, int access)
{
	const struct tcpzc_backend *be = to_tctx(vmr->ibv_mr.context)->be;
	struct tcpzc_mr *mr = to_tmr(vmr);
	bool new_pd = flags & IBV_REREG_MR_CHANGE_PD;
	int rc;

	rc = tcpzc_check_rereg(mr, flags, ibpd, addr, length, &access);
	if (!rc)
		rc = be->rereg_mr(mr, flags,
				  new_pd ? tcpzc_pd_inner(ibpd) : NULL, addr,
				  length, access);
	if (rc) {
		errno = rc;	/* ibv_rereg_mr() returns a code of its own */
		return rc;
	}
	vmr->access = access;
	if (new_pd) {
		tcpzc_get(&to_tpd(ibpd)->users);
		tcpzc_put(&to_tpd(vmr->ibv_mr.pd)->users);
	}
	return 0;
}

int tcpzc_dereg_mr(struct verbs_mr *vmr)
{
	struct ibv_pd *ibpd = vmr->ibv_mr.pd;
	int rc;

	rc = to_tctx(ibpd->context)->be->dereg_mr(to_tmr(vmr));
	if (!rc)
		tcpzc_put(&to_tpd(ibpd)->users);
	return rc;
}

/* ---- address handles ---------------------------------------------------- */

bool tcpzc_ah_attr_ok(const struct ibv_ah_attr *attr)
{
	return attr->is_global && attr->port_num == TCPZC_PORT &&
	       attr->grh.sgid_index < TCPZC_GID_TABLE_LEN;
}

struct ibv_ah *tcpzc_create_ah(struct ibv_pd *ibpd, struct ibv_ah_attr *attr)
{
	const struct tcpzc_backend *be = to_tctx(ibpd->context)->be;
	struct ibv_ah_attr a = *attr;
	struct tcpzc_ah *ah;

	if (!tcpzc_ah_attr_ok(&a)) {
		errno = EINVAL;
		return NULL;
	}
	ah = be->create_ah(tcpzc_pd_inner(ibpd), &a);
	if (!ah)
		return NULL;
	ah->attr = a;
	tcpzc_get(&to_tpd(ibpd)->users);
	return &ah->ibah;
}

int tcpzc_destroy_ah(struct ibv_ah *ibah)
{
	struct ibv_pd *ibpd = ibah->pd;
	int rc;

	rc = to_tctx(ibpd->context)->be->destroy_ah(to_tah(ibah));
	if (!rc)
		tcpzc_put(&to_tpd(ibpd)->users);
	return rc;
}
