// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * tz_rq.c - taking receive work requests from an RQ or SRQ ring.
 */
#include "tz_qp.h"

u32 tz_rq_count(const struct tz_rq *rq)
{
	u32 n;

	if (!rq->ring.depth)
		return 0;
	n = tz_load_acquire(&rq->ring.hdr->prod) - rq->cons;
	return n <= rq->ring.depth ? n : 0;
}

/* Only the owner of @rq writes the flag, so what was written last is known. */
void tz_rq_want_doorbell(struct tz_rq *rq, bool want)
{
	if (rq->ring.depth && rq->doorbell != want)
		tz_exchange(&rq->ring.hdr->flags,
			    want ? TCPZC_RING_NEED_WAKEUP : 0);
	rq->doorbell = want;
}

bool tz_rq_take(struct tz_rq *rq, struct tz_rwqe *out)
{
	const struct tz_ring *ring = &rq->ring;
	struct tcpzc_recv_wqe w;
	const u8 *slot;

	if (!tz_rq_count(rq))
		return false;
	slot = ring->slots + (size_t)(rq->cons & (ring->depth - 1)) * ring->stride;
	tz_copy_once(&w, slot, sizeof(w));
	out->wr_id = w.wr_id;
	out->bad = w.num_sge > rq->max_sge;
	out->num_sge = out->bad ? 0 : w.num_sge;
	tz_copy_once(out->sge, slot + sizeof(w),
		     out->num_sge * sizeof(struct tcpzc_sge));
	rq->cons++;
	tz_store_release(&ring->hdr->cons, rq->cons);
	return true;
}
