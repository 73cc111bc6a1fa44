// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * kb_mr.c - memory regions of the kernel backend.
 */
#include <errno.h>
#include <stdlib.h>

#include "kb.h"

struct kb_reg_mr {
	struct ibv_reg_mr core;
	struct tcpzc_ureq_reg_mr drv;
};
static_assert(sizeof(struct kb_reg_mr) == sizeof(struct ibv_reg_mr) +
	      sizeof(struct tcpzc_ureq_reg_mr), "no padding");

struct kb_rereg_mr {
	struct ibv_rereg_mr core;
	struct tcpzc_ureq_reg_mr drv;
};
static_assert(sizeof(struct kb_rereg_mr) == sizeof(struct ibv_rereg_mr) +
	      sizeof(struct tcpzc_ureq_reg_mr), "no padding");

/*
 * What ib_core takes for the virtual address must be congruent with the memory
 * modulo the page; so it gets the memory's own, and the driver the real one.
 */
struct tcpzc_mr *kb_reg_mr(struct tcpzc_pd *pd, void *addr, size_t len,
			   uint64_t iova, int access)
{
	struct kb_reg_mr cmd = { .drv.iova = iova };
	struct ib_uverbs_reg_mr_resp resp = {};
	struct tcpzc_mr *mr;
	int err;

	if (kb_refused(pd->ibpd.context))
		return NULL;
	mr = calloc(1, sizeof(*mr));
	if (!mr)
		return NULL;
	err = ibv_cmd_reg_mr(&pd->ibpd, addr, len, (uintptr_t)addr, access,
			     &mr->vmr, &cmd.core, sizeof(cmd), &resp,
			     sizeof(resp));
	if (err) {
		free(mr);
		errno = err;
		return NULL;
	}
	return mr;
}

int kb_rereg_mr(struct tcpzc_mr *mr, int flags, struct tcpzc_pd *pd, void *addr,
		size_t len, int access)
{
	bool zero_based = mr->vmr.access & IBV_ACCESS_ZERO_BASED;
	struct kb_rereg_mr cmd = { .drv.iova = zero_based ? 0 : (uintptr_t)addr };
	struct ib_uverbs_rereg_mr_resp resp = {};

	if (kb_forked(mr->vmr.ibv_mr.context))
		return EIO;
	return ibv_cmd_rereg_mr(&mr->vmr, flags, addr, len, (uintptr_t)addr,
				access, pd ? &pd->ibpd : NULL, &cmd.core,
				sizeof(cmd), &resp, sizeof(resp));
}

int kb_dereg_mr(struct tcpzc_mr *mr)
{
	int err = kb_forked(mr->vmr.ibv_mr.context) ?
			  0 : ibv_cmd_dereg_mr(&mr->vmr);

	if (!err)
		free(mr);
	return err;
}
