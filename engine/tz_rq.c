// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * tz_rq.c - taking receive work requests from an RQ or SRQ ring.
 */
#include "tz_engine.h"

bool tz_ring_look(const struct tz_ring *ring, u32 cons, u32 *posted)
{
	/* Pairs with the release by which the application publishes requests. */
	u32 prod = tz_load_acquire(&ring->hdr->prod);

	if (prod - cons > ring->depth || prod - cons < *posted - cons)
		return false;
	*posted = prod;
	return true;
}

void tz_rq_start(struct tz_rq *rq, u32 cons)
{
	rq->cons = cons;
	rq->posted = cons;
	rq->bad = false;
}

u32 tz_rq_count(const struct tz_rq *rq)
{
	u32 posted = rq->posted;

	if (rq->ring.depth && !rq->bad)
		tz_ring_look(&rq->ring, rq->cons, &posted);
	return posted - rq->cons;
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

	if (rq->bad || !ring->depth)
		return false;
	if (rq->cons == rq->posted)
		rq->bad = !tz_ring_look(ring, rq->cons, &rq->posted);
	if (rq->cons == rq->posted)
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
