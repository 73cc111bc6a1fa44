// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * tz_qp.c - the life of a queue pair: initialisation, states, connection,
 * errors and flush, deadlines.
 */
#include "tz_attr.h"
#include "tz_engine.h"

static void tz_qp_reset(struct tz_qp *qp)
{
	qp->conn = TZ_CONN_NONE;
	qp->closing = false;
	qp->acquainted = false;
	qp->stranger = false;
	memset(&qp->shake, 0, sizeof(qp->shake));
	memset(&qp->dial, 0, sizeof(qp->dial));
	qp->draining = false;
	qp->drain_until = 0;
	qp->cut = false;
	qp->unsettled = TZ_SETTLED;
	qp->sqd_notify = false;
	qp->max_pdu = qp->init.max_pdu;
	tz_tx_reset(qp);
	tz_req_reset(qp);
	tz_rsp_reset(qp);
	tz_rx_reset(qp);
}

void tz_qp_init(struct tz_qp *qp, const struct tz_qp_init *init)
{
	memset(qp, 0, sizeof(*qp));
	qp->ops = init->ops;
	qp->init = *init;
	if (!qp->init.type)
		qp->init.type = TZ_QPT_RC;
	if (!qp->init.max_dgram)
		qp->init.max_dgram = TZ_UD_MAX_BYTES;
	qp->pdn = init->pdn;
	if (!qp->init.rq_pdn)
		qp->init.rq_pdn = init->pdn;
	if (!qp->init.max_pdu)
		qp->init.max_pdu = TZ_DEFAULT_PDU_BYTES;
	qp->tx.buf = init->tx_buf;
	qp->tx.size = init->tx_buf_bytes;
	qp->state = TZ_RESET;
	tz_qp_reset(qp);
}

/* ---- errors ------------------------------------------------------------- */

/*
 * Complete all work requests: the one that failed comes first, whichever queues
 * and CQs the application looks at, so that it learns the reason and not just
 * that all is flushed.
 */
static void tz_qp_flush(struct tz_qp *qp, u8 status)
{
	tz_req_flush(qp, status);
	tz_rsp_flush(qp);
}

/* Only once: no receive of the QP completes after the event. */
static void tz_qp_flush_last(struct tz_qp *qp, u8 status)
{
	tz_qp_flush(qp, status);
	if (qp->init.has_srq)
		qp->ops->event(qp, TZ_EVENT_LAST_WQE_REACHED);
}

/* The connection is over, or has had its time: nothing refers to memory any more. */
static void tz_qp_drained(struct tz_qp *qp)
{
	if (!qp->draining)
		return;
	qp->draining = false;
	tz_rsp_drop_responses(qp);
	qp->rsp.ack_due = 0;
	tz_tx_reset(qp);
	tz_qp_flush_last(qp, qp->fail_status);
}

/* Send nothing more; what was sent is for the backend to take back. */
static void tz_qp_cut(struct tz_qp *qp)
{
	if (!qp->draining)
		return;		/* there is no connection */
	qp->cut = true;
	tz_rsp_drop_responses(qp);
	qp->rsp.ack_due = 0;
	tz_tx_reset(qp);
}

static void tz_qp_settle_failed(struct tz_qp *qp, bool say_why)
{
	if (tz_qp_is_ud(qp)) {
		/* no connection: nothing can still be on its way */
		tz_qp_flush_last(qp, qp->fail_status);
		return;
	}
	if (!say_why) {
		tz_tx_cut(qp);
		tz_rsp_drop_responses(qp);
	}
	tz_qp_ack_now(qp);
	tz_req_stop(qp);
	tz_rsp_stop(qp);
	if (qp->conn != TZ_CONN_UP)
		tz_qp_drained(qp);
}

void tz_qp_settle(struct tz_qp *qp)
{
	enum tz_unsettled what = qp->unsettled;

	qp->unsettled = TZ_SETTLED;
	switch (what) {
	case TZ_SETTLED:
		break;
	case TZ_FAILED:
		tz_qp_settle_failed(qp, false);
		break;
	case TZ_FAILED_SAYS_WHY:
		tz_qp_settle_failed(qp, true);
		break;
	case TZ_FAILED_CUT:
		tz_qp_settle_failed(qp, false);
		tz_qp_cut(qp);
		break;
	case TZ_HANGS_UP:
		qp->rsp.ack_due = 0;
		tz_rsp_drop_responses(qp);
		tz_tx_reset(qp);
		break;
	}
}

static void tz_qp_fail(struct tz_qp *qp, u8 status)
{
	tz_fail(qp, status, false);
	tz_qp_settle(qp);
}

/* ---- modify ------------------------------------------------------------- */

static void tz_qp_enter_rtr(struct tz_qp *qp)
{
	qp->rsp.expect_msn = qp->attr.rq_psn;
	qp->rsp.acked_msn = qp->attr.rq_psn;
	qp->state = TZ_RTR;
}

static void tz_qp_enter_rts(struct tz_qp *qp)
{
	if (qp->state == TZ_RTR) {
		qp->req.next_msn = qp->attr.sq_psn;
		qp->req.ack_msn = qp->attr.sq_psn;
		qp->req.rnr_left = qp->attr.rnr_retry;
	}
	qp->state = TZ_RTS;
}

/* Nothing new starts; drained once nothing is outstanding. */
static void tz_qp_enter_sqd(struct tz_qp *qp)
{
	qp->state = TZ_SQD;
	tz_req_note_drained(qp);
}

static void tz_qp_enter(struct tz_qp *qp, enum tz_state to)
{
	/* It may have failed since the caller looked; the error came last. */
	if (qp->state == TZ_ERR && to != TZ_RESET)
		return;
	switch (to) {
	case TZ_RESET:
		tz_qp_reset(qp);
		memset(&qp->attr, 0, sizeof(qp->attr));
		qp->state = TZ_RESET;
		break;
	case TZ_RTR:
		tz_qp_enter_rtr(qp);
		break;
	case TZ_RTS:
		tz_qp_enter_rts(qp);
		break;
	case TZ_SQD:
		if (qp->state != TZ_SQD)
			tz_qp_enter_sqd(qp);
		break;
	case TZ_ERR:
		tz_qp_fail(qp, 0);
		break;
	default:
		qp->state = to;
		break;
	}
}

void tz_qp_modify(struct tz_qp *qp, const struct tz_qp_attr *attr, u32 mask,
		  u64 now)
{
	tz_attr_merge(&qp->attr, attr, mask);
	if (mask & TZ_QP_EN_SQD_ASYNC_NOTIFY)
		qp->sqd_notify = attr->sqd_notify;
	if (!(mask & TZ_QP_STATE))
		return;
	tz_qp_enter(qp, attr->state);
	tz_qp_kick(qp, now);
}

/* ---- connection --------------------------------------------------------- */

void tz_qp_connected(struct tz_qp *qp, u32 max_pdu, u64 now)
{
	qp->conn = TZ_CONN_UP;
	qp->max_pdu = max_pdu;
	qp->req.progress_ns = now;
}

/* It was a stranger: all is as it was before he came. */
static void tz_qp_await_peer(struct tz_qp *qp, u64 now)
{
	qp->stranger = false;
	qp->closing = false;
	qp->cut = false;
	qp->conn = TZ_CONN_NONE;
	qp->max_pdu = qp->init.max_pdu;
	tz_tx_reset(qp);
	tz_rx_reset(qp);
	tz_rsp_unsay(qp);
	tz_req_unsay(qp);
	tz_qp_kick(qp, now);
}

void tz_qp_disconnected(struct tz_qp *qp, u64 now)
{
	if (qp->stranger) {
		tz_qp_await_peer(qp, now);
		return;
	}
	qp->conn = TZ_CONN_CLOSED;
	qp->closing = true;
	qp->rx.state = TZ_RX_DEAD;
	tz_rsp_drop_responses(qp);
	qp->rsp.stall_until = 0;
	qp->rsp.ack_due = 0;
	tz_tx_reset(qp);
	tz_sgl_reset(qp, &qp->rsp.dst);
	qp->cut = false;
	tz_qp_drained(qp);
	qp->req.progress_ns = tz_qp_outstanding(qp) ? now : 0;
	tz_qp_kick(qp, now);
}

/* The index of the next post, as far as it can be trusted. */
static u32 tz_qp_posted(const struct tz_qp *qp)
{
	u32 posted = qp->req.posted;

	tz_ring_look(&qp->req.sq, qp->req.cons, &posted);
	return posted;
}

u32 tz_qp_unsent(const struct tz_qp *qp)
{
	return tz_qp_posted(qp) - qp->req.next;
}

void tz_qp_kick(struct tz_qp *qp, u64 now)
{
	switch (qp->state) {
	case TZ_ERR:
		if (!qp->draining)
			tz_qp_flush(qp, 0);
		return;
	case TZ_SQE:
		tz_req_flush(qp, 0);
		break;
	case TZ_SQD:
	case TZ_RTS:
		if (!tz_ring_look(&qp->req.sq, qp->req.cons, &qp->req.posted)) {
			tz_fail_ring(qp);
			tz_qp_settle(qp);
			return;
		}
		if (tz_qp_is_uc(qp) && qp->conn == TZ_CONN_CLOSED)
			tz_req_lose(qp);
		else if (qp->state == TZ_RTS && !tz_qp_is_ud(qp) &&
			 qp->conn != TZ_CONN_UP && !qp->req.progress_ns &&
			 tz_qp_unsent(qp))
			qp->req.progress_ns = now;
		break;
	default:
		break;
	}
	if (qp->rx.state == TZ_RX_STALL)
		tz_rx_run(qp, now);
	tz_qp_settle(qp);
}

/* ---- transmit ----------------------------------------------------------- */

/* A region that died with bytes in the queue leaves a hole in the stream. */
static bool tz_qp_tx_alive(struct tz_qp *qp)
{
	if (!tz_tx_dead(qp))
		return true;
	if (qp->draining) {
		/* What was sent before it may still be on its way. */
		tz_qp_cut(qp);
	} else if (qp->tx.pdu_op == TZ_PDU_READ_RESP) {
		/* no fault of this side's own requests */
		tz_qp_fail(qp, 0);
		qp->ops->event(qp, TZ_EVENT_ACCESS_ERR);
	} else {
		tz_qp_fail(qp, TCPZC_WC_LOC_PROT_ERR);
	}
	/* Nothing may follow what was cut short: the peer would place it. */
	qp->rsp.ack_due = 0;
	tz_rsp_drop_responses(qp);
	tz_tx_reset(qp);
	return false;
}

/* The ACK that is owed rides on a request that is begun. */
static bool tz_qp_fill_request(struct tz_qp *qp, u64 now)
{
	bool owed = qp->rsp.ack_due;
	u64 begun = qp->stats.tx_msgs;
	bool made = tz_req_fill(qp, now);

	if (qp->stats.tx_msgs != begun)
		tz_rsp_note_ride(qp, owed, now);
	return made;
}

/* Responses and requests take turns, PDU by PDU. */
static bool tz_qp_fill_one(struct tz_qp *qp, u64 now)
{
	bool first = qp->tx.turn++ & 1, made;

	made = first ? tz_rsp_fill(qp) : tz_qp_fill_request(qp, now);
	if (!made)
		made = first ? tz_qp_fill_request(qp, now) : tz_rsp_fill(qp);
	tz_qp_settle(qp);
	return made;
}

void tz_qp_tx_fill(struct tz_qp *qp, u64 now)
{
	if (qp->conn != TZ_CONN_UP || !tz_qp_tx_alive(qp))
		return;
	while (tz_tx_room(qp) && tz_qp_fill_one(qp, now))
		;
	tz_rsp_fill_ack(qp, now);
}

void tz_qp_tx_done(struct tz_qp *qp, u32 bytes, u64 now)
{
	tz_tx_took(qp, bytes);
	qp->req.sent_since += bytes;
	if (qp->req.sent_since >= TZ_MIN_PDU_BYTES) {
		qp->req.sent_since = 0;
		qp->req.progress_ns = now;
	}
	if (tz_qp_is_uc(qp))
		tz_req_taken(qp);
	tz_qp_settle(qp);
}

u32 tz_qp_tx_ref_bytes(const struct tz_qp *qp)
{
	if (qp->rsp.resp_head != qp->rsp.resp_tail || qp->closing ||
	    tz_qp_is_uc(qp))
		return 0;
	return tz_tx_ref_bytes(qp);
}

void tz_qp_rx_done(struct tz_qp *qp, u32 bytes, u64 now)
{
	tz_rx_done(qp, bytes, now);
	tz_qp_settle(qp);
}

/* @ack: an owed acknowledgement counts; what is posted counts before @posted */
static bool tz_qp_has_to_say(const struct tz_qp *qp, bool ack, u32 posted)
{
	if (qp->conn != TZ_CONN_UP)
		return false;
	if (qp->tx.queued || qp->rsp.resp_head != qp->rsp.resp_tail || ack)
		return true;
	if (qp->closing || (qp->state != TZ_RTS && qp->state != TZ_SQD))
		return false;
	if (qp->req.cur)
		return true;
	if (tz_qp_holds_back(qp))
		return false;
	return qp->state == TZ_RTS ? (s32)(posted - qp->req.next) > 0 :
				     qp->req.next != qp->req.begun;
}

bool tz_qp_tx_pending(const struct tz_qp *qp)
{
	return tz_qp_has_to_say(qp, qp->rsp.ack_due, tz_qp_posted(qp));
}

bool tz_qp_tx_due(const struct tz_qp *qp, u64 now, u32 posted)
{
	return tz_qp_has_to_say(qp, qp->rsp.ack_due && now >= qp->rsp.ack_due,
				posted);
}

/* ---- time --------------------------------------------------------------- */

/*
 * How long the peer may be silent while requests wait for it; 0: for ever. The
 * QP's own time, but a peer that is there is given at least min_retry_ns, since
 * TCP's retransmissions take longer than an adapter's; one that has hung up at
 * most that, since it will not come back. It is given its time nevertheless:
 * two programs that are done do not leave in the same instant, and the last
 * message of one, which the other does not need, must not fail at once.
 */
static u64 tz_qp_patience_ns(const struct tz_qp *qp)
{
	u64 floor = qp->init.min_retry_ns, ns = 0;

	if (tz_qp_is_uc(qp))
		return floor ? floor : 1;
	if (qp->attr.timeout)
		ns = (4096ull << (qp->attr.timeout & 31)) *
		     (qp->attr.retry_cnt + 1u);
	if (qp->conn == TZ_CONN_CLOSED)
		return ns && ns < floor ? ns : floor + 1;	/* never 0 */
	if (!ns)
		return 0;
	return ns > floor ? ns : floor;
}

static bool tz_qp_waits_for_peer(const struct tz_qp *qp)
{
	if ((qp->state != TZ_RTS && qp->state != TZ_SQD) || qp->req.rnr_until ||
	    tz_qp_is_ud(qp))
		return false;
	/* UC waits for a connection only: TCP sees to what was said. */
	if (tz_qp_is_uc(qp))
		return qp->conn == TZ_CONN_NONE && qp->req.progress_ns &&
		       tz_qp_unsent(qp);
	return tz_qp_outstanding(qp) ||
	       (qp->conn != TZ_CONN_UP && qp->req.progress_ns &&
		tz_qp_unsent(qp));
}

static u64 tz_sooner(u64 a, u64 b)
{
	if (!a || !b)
		return a ? a : b;
	return tz_min(a, b);
}

/*
 * An adapter answers while its program is stopped or waits for a processor; here
 * it is the program that answers. So as long as the peer's host shows signs of
 * life, it is waited for up to max_silence_ns.
 */
static bool tz_qp_may_ask(const struct tz_qp *qp, u64 patience)
{
	return qp->ops->heard_ns && qp->conn == TZ_CONN_UP && !tz_qp_is_uc(qp) &&
	       qp->init.max_silence_ns > patience;
}

/* When the peer has been silent for too long, as far as is known now. */
static u64 tz_qp_silent_at(const struct tz_qp *qp, u64 patience)
{
	u64 from = qp->req.progress_ns;

	if (!tz_qp_may_ask(qp, patience) || !tz_qp_asks(qp) ||
	    qp->req.heard_ns <= from)
		return from + patience;
	return tz_min(qp->req.heard_ns + patience,
		      from + qp->init.max_silence_ns);
}

static u64 tz_qp_silence_deadline(const struct tz_qp *qp, u64 patience)
{
	if (tz_qp_may_ask(qp, patience) && !tz_qp_asks(qp))
		return qp->req.progress_ns + patience / 2;
	return tz_qp_silent_at(qp, patience);
}

static void tz_qp_check_silence(struct tz_qp *qp, u64 now)
{
	u64 patience = tz_qp_patience_ns(qp);

	if (!patience || !tz_qp_waits_for_peer(qp) ||
	    now < tz_qp_silence_deadline(qp, patience))
		return;
	if (tz_qp_may_ask(qp, patience)) {
		qp->req.asked_ns = qp->req.progress_ns;
		qp->req.heard_ns = qp->ops->heard_ns(qp, now);
	}
	if (now < tz_qp_silent_at(qp, patience))
		return;
	if (tz_qp_is_uc(qp)) {
		tz_req_lose(qp);
		return;
	}
	/* The peer had its time: what it has not taken it shall never get. */
	tz_qp_fail(qp, TCPZC_WC_RETRY_EXC_ERR);
	tz_qp_cut(qp);
}

u64 tz_qp_deadline(const struct tz_qp *qp)
{
	u64 patience = tz_qp_patience_ns(qp);
	u64 at = tz_sooner(qp->req.rnr_until, qp->rsp.stall_until);

	/* While draining it is due at once, or never comes: the end has a time. */
	if (qp->conn == TZ_CONN_UP && !qp->tx.queued && !qp->draining)
		at = tz_sooner(at, qp->rsp.ack_due);
	if (patience && tz_qp_waits_for_peer(qp))
		at = tz_sooner(at, tz_qp_silence_deadline(qp, patience));
	if (qp->draining && !qp->cut)
		at = tz_sooner(at, qp->drain_until ? qp->drain_until : 1);
	return at;
}

void tz_qp_timer(struct tz_qp *qp, u64 now)
{
	if (qp->rsp.stall_until && now >= qp->rsp.stall_until)
		tz_rx_run(qp, now);
	tz_qp_settle(qp);
	if (qp->req.rnr_until && now >= qp->req.rnr_until) {
		qp->req.rnr_until = 0;
		qp->req.progress_ns = now;
	}
	tz_qp_check_silence(qp, now);
	if (qp->draining && !qp->drain_until)
		qp->drain_until = now + qp->init.min_retry_ns;
	if (qp->draining && !qp->cut && now >= qp->drain_until)
		tz_qp_cut(qp);
}

bool tz_qp_must_reset(const struct tz_qp *qp)
{
	/* What UC has handed to the stream is complete, and may arrive. */
	return qp->conn == TZ_CONN_UP && !tz_qp_is_uc(qp) &&
	       tz_qp_outstanding(qp);
}

bool tz_qp_must_cut(const struct tz_qp *qp)
{
	return qp->conn == TZ_CONN_UP &&
	       (qp->cut || (qp->stranger && tz_qp_must_reset(qp)));
}
