// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * srq.c - shared receive queues, and how receive work requests are written.
 */
#include <errno.h>

#include "ring.h"
#include "tcpzc.h"

struct ibv_srq *tcpzc_create_srq(struct ibv_pd *ibpd,
				 struct ibv_srq_init_attr *attr)
{
	const struct tcpzc_backend *be = to_tctx(ibpd->context)->be;
	struct tcpzc_srq *srq;

	if (!attr->attr.max_wr || attr->attr.max_wr > TCPZC_MAX_SRQ_WR ||
	    attr->attr.max_sge > TCPZC_MAX_SGE) {
		errno = EINVAL;
		return NULL;
	}
	srq = be->create_srq(tcpzc_pd_inner(ibpd), attr);
	if (!srq)
		return NULL;
	tcpzc_lock_init(&srq->lock);
	tcpzc_get(&to_tpd(ibpd)->users);
	attr->attr.max_wr = srq->ring.depth;
	attr->attr.max_sge = srq->max_sge;
	return &srq->ibsrq;
}

static int tcpzc_resize_srq(struct tcpzc_srq *srq, struct ibv_srq_attr *attr,
			    int mask)
{
	const struct tcpzc_backend *be = to_tctx(srq->ibsrq.context)->be;
	int rc = EINVAL;

	pthread_mutex_lock(&srq->lock);
	srq->ring.cons = tz_load_acquire(&srq->ring.hdr->cons);
	if (attr->max_wr >= srq->ring.prod - srq->ring.cons)
		rc = be->modify_srq(srq, attr, mask);
	pthread_mutex_unlock(&srq->lock);
	return rc;
}

int tcpzc_modify_srq(struct ibv_srq *ibsrq, struct ibv_srq_attr *attr, int mask)
{
	const struct tcpzc_backend *be = to_tctx(ibsrq->context)->be;
	struct tcpzc_srq *srq = to_tsrq(ibsrq);
	uint32_t max_wr = srq->ring.depth;

	if (mask & ~(IBV_SRQ_MAX_WR | IBV_SRQ_LIMIT))
		return EINVAL;
	if (mask & IBV_SRQ_MAX_WR)
		max_wr = attr->max_wr;
	if (!max_wr || max_wr > TCPZC_MAX_SRQ_WR)
		return EINVAL;
	if ((mask & IBV_SRQ_LIMIT) && attr->srq_limit > max_wr)
		return EINVAL;
	if (mask & IBV_SRQ_MAX_WR)
		return tcpzc_resize_srq(srq, attr, mask);
	return be->modify_srq(srq, attr, mask);
}

int tcpzc_query_srq(struct ibv_srq *ibsrq, struct ibv_srq_attr *attr)
{
	struct tcpzc_srq *srq = to_tsrq(ibsrq);
	int rc;

	rc = to_tctx(ibsrq->context)->be->query_srq(srq, attr);
	if (rc)
		return rc;
	attr->max_wr = srq->ring.depth;
	attr->max_sge = srq->max_sge;
	return 0;
}

int tcpzc_destroy_srq(struct ibv_srq *ibsrq)
{
	struct tcpzc_srq *srq = to_tsrq(ibsrq);
	struct ibv_pd *ibpd = ibsrq->pd;
	int rc;

	if (tcpzc_busy(&srq->users))
		return EBUSY;
	rc = to_tctx(ibpd->context)->be->destroy_srq(srq);
	if (!rc)
		tcpzc_put(&to_tpd(ibpd)->users);
	return rc;
}

int tcpzc_build_recv(struct tcpzc_ring *ring, uint32_t max_sge,
		     const struct ibv_recv_wr *wr)
{
	struct tcpzc_recv_wqe *wqe;
	uint64_t total;

	if (tz_unlikely(wr->num_sge < 0 || (uint32_t)wr->num_sge > max_sge))
		return EINVAL;
	if (tz_unlikely(tcpzc_ring_full(ring)))
		return ENOMEM;
	wqe = tcpzc_ring_slot(ring, ring->prod);
	wqe->wr_id = wr->wr_id;
	wqe->num_sge = tcpzc_copy_sges((struct tcpzc_sge *)(wqe + 1),
				       wr->sg_list, wr->num_sge, &total);
	ring->prod++;
	return 0;
}

int tcpzc_post_srq_recv(struct ibv_srq *ibsrq, struct ibv_recv_wr *wr,
			struct ibv_recv_wr **bad_wr)
{
	struct tcpzc_srq *srq = to_tsrq(ibsrq);
	uint32_t start;
	bool posted;
	int rc = 0;

	pthread_mutex_lock(&srq->lock);
	start = srq->ring.prod;
	for (; wr; wr = wr->next) {
		rc = tcpzc_build_recv(&srq->ring, srq->max_sge, wr);
		if (rc) {
			*bad_wr = wr;
			break;
		}
	}
	posted = srq->ring.prod != start;
	if (posted)
		tcpzc_ring_publish(&srq->ring);
	pthread_mutex_unlock(&srq->lock);
	if (posted)
		to_tctx(ibsrq->context)->be->ring_srq(srq);
	if (rc)
		errno = rc;
	return rc;
}
