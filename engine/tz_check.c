// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * tz_check.c - what holds of a queue pair between two calls, whatever the
 * application and the peer do. Tests and debug kernels ask after every call.
 */
#include "tz_dial.h"
#include "tz_engine.h"

/* Counting what is outstanding is for rings of tests. */
#define TZ_CHECK_COUNT	4096u

#define TZ_HOLDS(cond)					\
	do {						\
		if (!(cond))				\
			return "not: " #cond;		\
	} while (0)

static const char *tz_check_sgl(const struct tz_sgl *sgl, bool kept)
{
	TZ_HOLDS(sgl->n <= TCPZC_MAX_SGE);
	TZ_HOLDS(sgl->idx <= sgl->n);
	TZ_HOLDS(sgl->idx == sgl->n ? !sgl->pos :
		 sgl->pos < sgl->seg[sgl->idx].len);
	/* A list that outlives a call holds references. */
	TZ_HOLDS(!kept || !sgl->n || sgl->pinned);
	return NULL;
}

/* READs and atomics that were sent and lack their answer. */
static u32 tz_check_rd_out(const struct tz_req *req)
{
	u32 i, n = 0;

	for (i = req->cons; i != req->next; i++) {
		const struct tz_swqe *w = &req->swqe[i & (req->sq.depth - 1)];

		n += !w->status && !w->answered &&
		     (w->opcode == TCPZC_WQE_RDMA_READ ||
		      w->opcode == TCPZC_WQE_ATOMIC_CMP_AND_SWP ||
		      w->opcode == TCPZC_WQE_ATOMIC_FETCH_AND_ADD);
	}
	return n;
}

static const char *tz_check_req(const struct tz_qp *qp)
{
	const struct tz_req *req = &qp->req;
	u32 out = req->next - req->cons, posted = req->posted - req->cons;
	bool works = qp->state == TZ_RTS || qp->state == TZ_SQD;

	TZ_HOLDS(out <= posted);
	TZ_HOLDS(posted <= req->sq.depth);
	TZ_HOLDS(req->answer - req->cons <= out);
	TZ_HOLDS(req->begun - req->cons <= posted);
	TZ_HOLDS(req->begun - req->cons >= out);
	TZ_HOLDS(!req->cur || out);
	TZ_HOLDS(!req->cur || req->cur_off <=
		 req->swqe[(req->next - 1) & (req->sq.depth - 1)].len);
	TZ_HOLDS(req->rd_out <= out);
	TZ_HOLDS(!works || out > TZ_CHECK_COUNT ||
		 req->rd_out == tz_check_rd_out(req));
	TZ_HOLDS(!works || tz_qp_is_uc(qp) || tz_qp_is_ud(qp) ||
		 req->next_msn - req->ack_msn <= out);
	TZ_HOLDS(!req->rnr_until || !out);
	TZ_HOLDS(!tz_qp_is_uc(qp) || !req->rd_out);
	return NULL;
}

static u32 tz_check_rd_pending(const struct tz_rsp *rsp)
{
	u32 i, n = 0;

	for (i = rsp->resp_head; i != rsp->resp_tail; i++)
		n += rsp->resp[i & (TZ_RESP_SLOTS - 1)].kind != TZ_RESP_NAK;
	return n;
}

static const char *tz_check_rsp(const struct tz_qp *qp)
{
	const struct tz_rsp *rsp = &qp->rsp;
	const struct tz_rq *rq = &rsp->rq;

	TZ_HOLDS(rq->posted - rq->cons <= rq->ring.depth);
	TZ_HOLDS(!qp->init.has_srq || !rq->ring.depth);
	TZ_HOLDS(rsp->resp_tail - rsp->resp_head <= TZ_RESP_SLOTS);
	TZ_HOLDS(rsp->rd_pending == tz_check_rd_pending(rsp));
	TZ_HOLDS(!rsp->in_msg || rsp->offset <= rsp->total);
	TZ_HOLDS(!rsp->lost || rsp->in_msg);
	TZ_HOLDS(!rsp->have_rwqe || rsp->rwqe.num_sge <= TCPZC_MAX_SGE);
	TZ_HOLDS(!rsp->stall_until || qp->rx.state == TZ_RX_STALL);
	TZ_HOLDS(rsp->resp_off == 0 || rsp->resp_head != rsp->resp_tail);
	return NULL;
}

static const char *tz_check_rx(const struct tz_qp *qp)
{
	const struct tz_rx *rx = &qp->rx;

	TZ_HOLDS(!rx->head && rx->tail <= rx->size);
	TZ_HOLDS(!rx->dst || rx->dst == &qp->rsp.dst || rx->dst == &qp->req.dst);
	TZ_HOLDS((rx->state == TZ_RX_DEAD) == qp->closing);
	TZ_HOLDS(rx->state != TZ_RX_HDR || !rx->left);
	TZ_HOLDS(rx->state != TZ_RX_PAYLOAD || rx->left);
	TZ_HOLDS(rx->state != TZ_RX_PAYLOAD ||
		 rx->left <= tz_le32_to_cpu(rx->hdr.h.len));
	TZ_HOLDS(rx->left <= qp->max_pdu);
	return NULL;
}

static const char *tz_check_tx(const struct tz_qp *qp)
{
	const struct tz_tx *tx = &qp->tx;
	u32 i, bytes = 0, copied = 0;

	TZ_HOLDS(tx->seg_tail - tx->seg_head <= TZ_TX_SEGS);
	for (i = tx->seg_head; i != tx->seg_tail; i++) {
		const struct tz_txseg *seg = &tx->seg[i & (TZ_TX_SEGS - 1)];

		TZ_HOLDS(seg->len);
		TZ_HOLDS((seg->kind == TZ_TX_REF) == (seg->mr != NULL));
		bytes += seg->len;
		copied += seg->kind == TZ_TX_COPY ? seg->len : 0;
	}
	if (tx->seg_head != tx->seg_tail) {
		const struct tz_txseg *seg = &tx->seg[tx->seg_head & (TZ_TX_SEGS - 1)];

		TZ_HOLDS(tx->seg_pos < seg->len);
		copied -= seg->kind == TZ_TX_COPY ? tx->seg_pos : 0;
	} else {
		TZ_HOLDS(!tx->seg_pos);
	}
	TZ_HOLDS(tx->queued == bytes - tx->seg_pos);
	TZ_HOLDS(tx->tail - tx->head == copied);
	TZ_HOLDS(copied <= tx->size);
	TZ_HOLDS(tx->pdu_left <= tx->queued);
	TZ_HOLDS(qp->conn == TZ_CONN_UP || !tx->queued);
	return NULL;
}

/* The state, and what it says about the rest. */
static const char *tz_check_state(const struct tz_qp *qp)
{
	bool idle = qp->req.next == qp->req.cons && !qp->rsp.have_rwqe;

	TZ_HOLDS(qp->state < TZ_STATES);
	TZ_HOLDS(qp->unsettled == TZ_SETTLED);
	TZ_HOLDS(qp->state != TZ_SQE || tz_qp_is_ud(qp));
	TZ_HOLDS(qp->state != TZ_SQE || qp->req.next == qp->req.cons);
	TZ_HOLDS(!qp->draining || (qp->state == TZ_ERR && qp->closing));
	TZ_HOLDS(!qp->cut || (qp->draining && qp->conn == TZ_CONN_UP));
	TZ_HOLDS(qp->state != TZ_ERR || qp->closing || tz_qp_is_ud(qp));
	TZ_HOLDS(qp->state != TZ_ERR || qp->draining ||
		 (idle && !qp->tx.queued && qp->rsp.resp_head == qp->rsp.resp_tail));
	TZ_HOLDS(qp->state != TZ_RESET ||
		 (idle && qp->conn == TZ_CONN_NONE && !qp->closing));
	TZ_HOLDS(qp->conn != TZ_CONN_CLOSED || qp->closing);
	TZ_HOLDS(!qp->stranger || (qp->closing && qp->state != TZ_ERR));
	TZ_HOLDS(qp->pdn == qp->init.pdn);
	return NULL;
}

const char *tz_qp_check(const struct tz_qp *qp)
{
	/* UD's send list is good until the next call, and no longer. */
	const char *why = tz_check_sgl(&qp->req.src, !tz_qp_is_ud(qp));

	why = why ? why : tz_check_sgl(&qp->req.dst, true);
	why = why ? why : tz_check_sgl(&qp->rsp.dst, true);
	why = why ? why : tz_check_state(qp);
	why = why ? why : tz_check_req(qp);
	why = why ? why : tz_check_rsp(qp);
	why = why ? why : tz_check_rx(qp);
	return why ? why : tz_check_tx(qp);
}

const char *tz_dial_check(const struct tz_qp *qp)
{
	const struct tz_dial *d = &qp->dial;
	bool opening = d->state == TZ_DIAL_OPENING;

	TZ_HOLDS(d->state <= TZ_DIAL_DONE);
	TZ_HOLDS(qp->parking.num <= TZ_MAX_PARKED);
	TZ_HOLDS(tz_dial_connected(qp) == (qp->conn == TZ_CONN_UP));
	TZ_HOLDS((d->state == TZ_DIAL_DONE) == (qp->conn == TZ_CONN_CLOSED));
	TZ_HOLDS(d->state == TZ_DIAL_IDLE || !tz_qp_is_ud(qp));
	TZ_HOLDS(d->state == TZ_DIAL_IDLE ||
		 (qp->state != TZ_RESET && qp->state != TZ_INIT));
	TZ_HOLDS(opening || !d->late);
	TZ_HOLDS((opening || d->state == TZ_DIAL_WAITING) == (d->at != 0));
	TZ_HOLDS(d->state != TZ_DIAL_ANSWERING || d->answered);
	TZ_HOLDS(d->state != TZ_DIAL_UP || d->answered);
	TZ_HOLDS(d->rx.got <= sizeof(d->rx.hello));
	TZ_HOLDS(d->backoff_ns <= TZ_DIAL_BACKOFF_MAX_NS);
	return NULL;
}
