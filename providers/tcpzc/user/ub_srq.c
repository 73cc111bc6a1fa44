// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * ub_srq.c - shared receive queues of the user backend.
 */
#include <errno.h>
#include <stdlib.h>

#include "ub.h"

static int ub_srq_alloc_ring(struct tcpzc_ring *ring, u32 max_wr, u32 max_sge)
{
	void *hdr, *slots;

	ring->depth = tz_ring_depth(max_wr);
	ring->stride = tz_rq_stride(max_sge);
	ring->prod = 0;
	ring->cons = 0;
	if (posix_memalign(&hdr, 64, sizeof(struct tcpzc_ring_hdr)))
		return ENOMEM;
	if (posix_memalign(&slots, 64, (size_t)ring->depth * ring->stride)) {
		free(hdr);
		return ENOMEM;
	}
	memset(hdr, 0, sizeof(struct tcpzc_ring_hdr));
	ring->hdr = hdr;
	ring->slots = slots;
	return 0;
}

static void ub_srq_use_ring(struct ub_srq *srq, const struct tcpzc_ring *ring)
{
	srq->base.ring = *ring;
	srq->rq.ring.hdr = ring->hdr;
	srq->rq.ring.slots = ring->slots;
	srq->rq.ring.depth = ring->depth;
	srq->rq.ring.stride = ring->stride;
	tz_rq_start(&srq->rq, 0);
}

struct tcpzc_srq *ub_create_srq(struct tcpzc_pd *pd,
				struct ibv_srq_init_attr *attr)
{
	struct ub_context *ctx = ub_ctx_of(pd->ibpd.context);
	struct tcpzc_ring ring;
	struct ub_srq *srq;

	if (ub_forked(ctx)) {
		errno = EIO;
		return NULL;
	}
	if (!ub_take(&ctx->num_srqs, UB_MAX_SRQS))
		return NULL;
	srq = calloc(1, sizeof(*srq));
	if (!srq)
		goto err_nomem;
	srq->base.max_sge = attr->attr.max_sge ? attr->attr.max_sge : 1;
	if (ub_srq_alloc_ring(&ring, attr->attr.max_wr, srq->base.max_sge))
		goto err_nomem;
	ub_srq_use_ring(srq, &ring);
	srq->rq.max_sge = srq->base.max_sge;
	srq->max_wr = ring.depth;
	attr->attr.max_wr = ring.depth;
	attr->attr.max_sge = srq->base.max_sge;
	pthread_mutex_init(&srq->lock, NULL);
	pthread_mutex_init(&srq->qp_lock, NULL);
	list_head_init(&srq->qps);
	pthread_mutex_lock(&ctx->lock);
	list_add_tail(&ctx->srqs, &srq->node);
	pthread_mutex_unlock(&ctx->lock);
	return &srq->base;

err_nomem:
	free(srq);
	ub_give(&ctx->num_srqs);
	errno = ENOMEM;
	return NULL;
}

/* Move the posted work requests to a ring of another size. */
static int ub_srq_resize(struct ub_srq *srq, u32 max_wr)
{
	struct tcpzc_ring *old = &srq->base.ring, ring;
	u32 n = 0, posted;
	int err;

	err = ub_srq_alloc_ring(&ring, max_wr, srq->base.max_sge);
	if (err)
		return err;
	pthread_mutex_lock(&srq->lock);
	posted = tz_rq_count(&srq->rq);
	if (posted > max_wr) {
		pthread_mutex_unlock(&srq->lock);
		free(ring.hdr);
		free(ring.slots);
		return EINVAL;
	}
	for (; n < posted; n++)
		memcpy(ring.slots + (size_t)n * ring.stride,
		       old->slots + (size_t)((srq->rq.cons + n) &
					     (old->depth - 1)) * old->stride,
		       ring.stride);
	ring.prod = n;
	tz_store_release(&ring.hdr->prod, n);
	free(old->hdr);
	free(old->slots);
	ub_srq_use_ring(srq, &ring);
	srq->max_wr = ring.depth;
	pthread_mutex_unlock(&srq->lock);
	return 0;
}

int ub_modify_srq(struct tcpzc_srq *base, struct ibv_srq_attr *attr, int mask)
{
	struct ub_srq *srq = (struct ub_srq *)base;
	int err = 0;

	if (mask & IBV_SRQ_MAX_WR)
		err = ub_srq_resize(srq, attr->max_wr);
	if (!err && (mask & IBV_SRQ_LIMIT)) {
		pthread_mutex_lock(&srq->lock);
		if (attr->srq_limit > srq->max_wr)
			err = EINVAL;
		else
			srq->limit = attr->srq_limit;
		pthread_mutex_unlock(&srq->lock);
	}
	return err;
}

int ub_query_srq(struct tcpzc_srq *base, struct ibv_srq_attr *attr)
{
	struct ub_srq *srq = (struct ub_srq *)base;

	pthread_mutex_lock(&srq->lock);
	attr->max_wr = srq->max_wr;
	attr->max_sge = base->max_sge;
	attr->srq_limit = srq->limit;
	pthread_mutex_unlock(&srq->lock);
	return 0;
}

int ub_destroy_srq(struct tcpzc_srq *base)
{
	struct ub_srq *srq = (struct ub_srq *)base;
	struct ibv_srq *ib = &base->ibsrq;
	struct ub_context *ctx = ub_ctx_of(ib->context);

	pthread_mutex_lock(&ctx->lock);
	list_del(&srq->node);
	pthread_mutex_unlock(&ctx->lock);
	if (!ub_forked(ctx)) {
		ub_event_purge_async(ctx, ib, &srq->events_reported);
		ub_event_wait_acked(&ib->mutex, &ib->cond, &ib->events_completed,
				    srq->events_reported);
	}
	pthread_mutex_destroy(&srq->lock);
	pthread_mutex_destroy(&srq->qp_lock);
	free(base->ring.hdr);
	free(base->ring.slots);
	free(srq);
	ub_give(&ctx->num_srqs);
	return 0;
}

bool ub_srq_take(struct tz_qp *eng, struct tz_rwqe *out)
{
	struct ub_qp *qp = ub_qp_of(eng);
	struct ub_srq *srq = (struct ub_srq *)to_tsrq(qp->base.vqp.qp.srq);
	bool low = false, got;

	pthread_mutex_lock(&srq->lock);
	got = tz_rq_take(&srq->rq, out);
	if (!got)
		atomic_store(&srq->starving, 1);
	if (srq->limit && tz_rq_count(&srq->rq) < srq->limit) {
		srq->limit = 0;
		low = true;
	}
	pthread_mutex_unlock(&srq->lock);
	if (low)
		ub_event_async(qp->ctx, &srq->base.ibsrq, &srq->events_reported,
			       IBV_EVENT_SRQ_LIMIT_REACHED);
	return got;
}

void ub_ring_srq(struct tcpzc_srq *base)
{
	struct ub_srq *srq = (struct ub_srq *)base;
	struct ub_qp *qp;
	int was;

	if (ub_forked(ub_ctx_of(base->ibsrq.context)))
		return;
	/*
	 * Pairs with srq_take(), which looks at the ring and sets @starving
	 * under srq->lock: either it has seen the new entries, or this sees it.
	 */
	pthread_mutex_lock(&srq->lock);
	pthread_mutex_unlock(&srq->lock);
	if (!atomic_exchange(&srq->starving, 0))
		return;
	was = ub_cancel_disable();
	pthread_mutex_lock(&srq->qp_lock);
	list_for_each(&srq->qps, qp, srq_node) {
		if (ub_turn_try_or_note(qp)) {
			ub_run(qp, ub_now());
			ub_turn_unlock(qp);
		}
	}
	pthread_mutex_unlock(&srq->qp_lock);
	ub_cancel_restore(was);
}
