// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * tz_rsp.c - the responder: checks and executes the peer's requests in order,
 * makes responses and acknowledgements (IB specification, volume 1, 9.7.4 and
 * 9.7.5).
 */
#include "tz_engine.h"

/* Owed for so many messages, an ACK no longer waits for a PDU to ride on. */
#define TZ_ACK_MSGS		8
/* Score from which on ACKs wait; see tz_rsp_note_ride(). */
#define TZ_PINGPONG_SURE	8
#define TZ_PINGPONG_MAX		16

void tz_rsp_reset(struct tz_qp *qp)
{
	struct tz_rsp *rsp = &qp->rsp;

	tz_sgl_reset(qp, &rsp->dst);
	memset(rsp, 0, sizeof(*rsp));
	rsp->rq.ring = qp->init.rq;
	rsp->rq.max_sge = qp->init.rq_max_sge;
	if (rsp->rq.ring.depth) {
		tz_store_once(&rsp->rq.ring.hdr->flags, 0u);
		tz_rq_start(&rsp->rq, tz_load_acquire(&rsp->rq.ring.hdr->prod));
		tz_store_release(&rsp->rq.ring.hdr->cons, rsp->rq.cons);
	}
}

/* ---- receive work requests ---------------------------------------------- */

void tz_rsp_want_doorbell(struct tz_qp *qp, bool want)
{
	tz_rq_want_doorbell(&qp->rsp.rq, want);
}

bool tz_rsp_take_rwqe(struct tz_qp *qp)
{
	struct tz_rsp *rsp = &qp->rsp;

	if (rsp->have_rwqe)
		return true;	/* taken for a message that was dropped */
	if (qp->init.has_srq)
		rsp->have_rwqe = qp->ops->srq_take(qp, &rsp->rwqe);
	else
		rsp->have_rwqe = tz_rq_take(&rsp->rq, &rsp->rwqe);
	return rsp->have_rwqe;
}

/* The wait for one, if there was any, is over. */
static void tz_rsp_ready(struct tz_qp *qp)
{
	qp->rsp.stall_until = 0;
	tz_rsp_want_doorbell(qp, false);
}

static void tz_rsp_complete(struct tz_qp *qp, u8 status)
{
	struct tz_rsp *rsp = &qp->rsp;
	struct tcpzc_cqe cqe = {
		.wr_id = rsp->rwqe.wr_id,
		.qp_num = qp->init.qpn,
		.src_qp = qp->attr.dest_qpn,
		.status = status,
		.opcode = TCPZC_WC_RECV,
	};

	rsp->have_rwqe = false;
	if (!status) {
		/* imm has the same place in the headers of SEND and WRITE */
		const struct tz_send_hdr *h = &qp->rx.hdr.send;

		cqe.byte_len = rsp->total;
		if (rsp->op == TZ_PDU_WRITE)
			cqe.opcode = TCPZC_WC_RECV_RDMA_WITH_IMM;
		if (h->h.flags & TZ_PDU_F_IMM) {
			cqe.flags |= TCPZC_CQE_F_WITH_IMM;
			cqe.imm_data = tz_imm_from_wire(h->imm);
		}
		if (h->h.flags & TZ_PDU_F_SOLICITED)
			cqe.flags |= TCPZC_CQE_F_SOLICITED;
	}
	qp->ops->complete_recv(qp, &cqe);
}

void tz_rsp_stop(struct tz_qp *qp)
{
	struct tz_rsp *rsp = &qp->rsp;

	tz_sgl_reset(qp, &rsp->dst);
	rsp->in_msg = false;
	rsp->lost = false;
	rsp->stall_until = 0;
	tz_rsp_want_doorbell(qp, true);
}

void tz_rsp_flush(struct tz_qp *qp)
{
	struct tz_rsp *rsp = &qp->rsp;
	/* What is posted meanwhile is flushed by the next call. */
	u32 n = qp->init.has_srq ? 0 : tz_rq_count(&rsp->rq);

	tz_rsp_stop(qp);
	if (rsp->have_rwqe)
		tz_rsp_complete(qp, TCPZC_WC_WR_FLUSH_ERR);
	while (n-- && tz_rsp_take_rwqe(qp))
		tz_rsp_complete(qp, TCPZC_WC_WR_FLUSH_ERR);
}

void tz_rsp_unsay(struct tz_qp *qp)
{
	struct tz_rsp *rsp = &qp->rsp;

	tz_assert(!rsp->in_msg && !rsp->have_rwqe);
	tz_sgl_reset(qp, &rsp->dst);
	tz_rsp_drop_responses(qp);
	rsp->acked_msn = rsp->expect_msn;
	rsp->dropping = false;
	rsp->ack_due = 0;
	rsp->stall_until = 0;
	tz_rsp_want_doorbell(qp, false);
}

/* ---- refusals ----------------------------------------------------------- */

static void tz_rsp_queue(struct tz_qp *qp, const struct tz_resp *resp)
{
	struct tz_rsp *rsp = &qp->rsp;

	tz_assert(rsp->resp_tail - rsp->resp_head < TZ_RESP_SLOTS);
	rsp->resp[rsp->resp_tail++ & (TZ_RESP_SLOTS - 1)] = *resp;
}

/* Is the last answer a NAK, which the peer cannot have got yet? */
static bool tz_rsp_nak_waits(const struct tz_rsp *rsp)
{
	return rsp->resp_head != rsp->resp_tail &&
	       rsp->resp[(rsp->resp_tail - 1) & (TZ_RESP_SLOTS - 1)].kind ==
		       TZ_RESP_NAK;
}

static void tz_rsp_queue_nak(struct tz_qp *qp, enum tz_nak_code code)
{
	struct tz_resp resp = {
		.kind = TZ_RESP_NAK,
		.code = code,
		.msn = qp->rsp.expect_msn,
	};

	tz_rsp_queue(qp, &resp);
}

static void tz_rsp_open_msg(struct tz_qp *qp)
{
	struct tz_rsp *rsp = &qp->rsp;

	rsp->op = qp->rx.hdr.h.op;
	rsp->total = tz_le32_to_cpu(qp->rx.hdr.send.total);
	rsp->offset = 0;
	rsp->in_msg = true;
}

/*
 * UC: drop the rest of the current message, and say nothing (IB 9.8.2.4). A
 * receive work request that it took is the next message's.
 */
static enum tz_verdict tz_rsp_drop(struct tz_qp *qp)
{
	struct tz_rsp *rsp = &qp->rsp;

	if (!rsp->in_msg)
		tz_rsp_open_msg(qp);
	rsp->lost = true;
	tz_rsp_ready(qp);
	tz_sgl_reset(qp, &rsp->dst);
	qp->rx.dst = NULL;
	qp->stats.rx_dropped++;
	return TZ_PLACE;
}

/*
 * UC: the peer is told nothing. What lacks a right, or is too long for its
 * receive, is dropped; a receive that is no good ends the QP; a PDU out of
 * sequence cannot come from an honest peer.
 */
static enum tz_verdict tz_rsp_refuse_uc(struct tz_qp *qp, enum tz_nak_code code,
					u8 status)
{
	if (status == TCPZC_WC_LOC_LEN_ERR)
		return tz_rsp_drop(qp);
	if (code == TZ_NAK_REM_ACCESS) {
		qp->stats.rx_bad_key++;
		return tz_rsp_drop(qp);
	}
	if (!status) {
		tz_fail_protocol(qp);
		return TZ_STOP;
	}
	tz_rsp_complete(qp, status);
	tz_fail(qp, 0, false);
	return TZ_STOP;
}

/*
 * The status of the receive that the refused request takes; 0: it takes none.
 * The immediate data of a WRITE without a right takes one (IB 11.6.2, Local Access Error).
 */
static u8 tz_rsp_refused_status(struct tz_qp *qp, enum tz_nak_code code, u8 status)
{
	const struct tz_hdr *h = &qp->rx.hdr.h;

	if (!status && code == TZ_NAK_REM_ACCESS && h->op == TZ_PDU_WRITE &&
	    (h->flags & TZ_PDU_F_IMM) && tz_rsp_take_rwqe(qp))
		return TCPZC_WC_LOC_ACCESS_ERR;
	return status;
}

/*
 * Refuse the current request for good: the receive work request it took, if
 * any, ends with @status, the QP goes to ERR, the peer learns why.
 */
static enum tz_verdict tz_rsp_refuse(struct tz_qp *qp, enum tz_nak_code code,
				     u8 status)
{
	u8 rstatus;

	if (tz_qp_is_uc(qp))
		return tz_rsp_refuse_uc(qp, code, status);
	tz_rsp_queue_nak(qp, code);
	qp->rsp.nak_queued = true;
	qp->stats.tx_naks++;
	rstatus = tz_rsp_refused_status(qp, code, status);
	if (qp->rsp.have_rwqe && rstatus)
		tz_rsp_complete(qp, rstatus);
	tz_fail(qp, 0, true);
	if (!status)
		qp->ops->event(qp, code == TZ_NAK_REM_ACCESS ?
					   TZ_EVENT_ACCESS_ERR :
					   TZ_EVENT_REQ_ERR);
	return TZ_STOP;
}

void tz_rsp_dst_died(struct tz_qp *qp)
{
	if (qp->rsp.op == TZ_PDU_SEND)
		tz_rsp_refuse(qp, TZ_NAK_REM_OP, TCPZC_WC_LOC_PROT_ERR);
	else
		tz_rsp_refuse(qp, TZ_NAK_REM_ACCESS, 0);
}

/* The current request and all that follow it are to be sent again. */
static void tz_rsp_not_ready(struct tz_qp *qp)
{
	struct tz_rsp *rsp = &qp->rsp;

	if (!tz_rsp_nak_waits(rsp))
		tz_rsp_queue_nak(qp, TZ_NAK_RNR);
	rsp->dropping = true;
	rsp->in_msg = false;
	rsp->offset = 0;
	rsp->stall_until = 0;
	tz_sgl_reset(qp, &rsp->dst);
	qp->stats.tx_rnr_naks++;
}

/*
 * No receive work request: wait a little for one, because the application is
 * often about to post it, then say so and drop what follows. The wait is
 * short, since it holds up the answers to this side's own requests, too.
 */
static enum tz_verdict tz_rsp_no_rwqe(struct tz_qp *qp, u64 now)
{
	struct tz_rsp *rsp = &qp->rsp;

	if (rsp->rq.bad) {
		tz_fail_ring(qp);
		return TZ_STOP;
	}
	if (!rsp->stall_until && qp->init.rnr_stall_ns) {
		rsp->stall_until = now + qp->init.rnr_stall_ns;
		qp->stats.rnr_stalls++;
		tz_rsp_want_doorbell(qp, true);
		/* the caller looks once more, now that posts ring */
		return TZ_STALL;
	}
	if (now < rsp->stall_until)
		return TZ_STALL;
	tz_rsp_want_doorbell(qp, false);
	if (tz_qp_is_uc(qp)) {
		qp->stats.rx_no_receive++;
		return tz_rsp_drop(qp);
	}
	tz_rsp_not_ready(qp);
	qp->rx.dst = NULL;
	return TZ_PLACE;
}

/* ---- SEND and WRITE ----------------------------------------------------- */

/*
 * Does this PDU follow what came before? offset and total stand in the same
 * place in both headers.
 */
static bool tz_rsp_in_sequence(const struct tz_qp *qp)
{
	const struct tz_rsp *rsp = &qp->rsp;
	const struct tz_send_hdr *h = &qp->rx.hdr.send;
	u32 len = tz_le32_to_cpu(h->h.len);
	u32 total = tz_le32_to_cpu(h->total);
	u32 offset = tz_le32_to_cpu(h->offset);
	bool last = h->h.flags & TZ_PDU_F_LAST;

	if (total > TCPZC_MAX_MSG_BYTES || offset > total || len > total - offset)
		return false;
	if (last != (offset + len == total) || (!len && !last))
		return false;
	if (!last && (h->h.flags & (TZ_PDU_F_IMM | TZ_PDU_F_SOLICITED)))
		return false;
	if (!rsp->in_msg)
		return offset == 0;
	return h->h.op == rsp->op && total == rsp->total && offset == rsp->offset;
}

/* An SRQ's receives are in its own protection domain (IB 10.2.9.1). */
bool tz_rsp_resolve(struct tz_qp *qp, u64 *room)
{
	struct tz_rsp *rsp = &qp->rsp;
	bool ok;

	qp->pdn = qp->init.rq_pdn;
	ok = tz_sgl_resolve(qp, &rsp->dst, rsp->rwqe.sge, rsp->rwqe.num_sge,
			    TZ_ACCESS_LOCAL_WRITE, room);
	qp->pdn = qp->init.pdn;
	return ok;
}

static enum tz_verdict tz_rsp_send(struct tz_qp *qp, u64 now)
{
	struct tz_rsp *rsp = &qp->rsp;
	u64 room;

	if (!tz_rsp_in_sequence(qp))
		return tz_rsp_refuse(qp, TZ_NAK_INV_REQ, 0);
	if (rsp->lost) {
		qp->rx.dst = NULL;
		return TZ_PLACE;
	}
	if (!rsp->in_msg) {
		if (!tz_rsp_take_rwqe(qp))
			return tz_rsp_no_rwqe(qp, now);
		tz_rsp_ready(qp);
		tz_rsp_open_msg(qp);
		tz_sgl_reset(qp, &rsp->dst);
		if (rsp->rwqe.bad)
			return tz_rsp_refuse(qp, TZ_NAK_REM_OP,
					     TCPZC_WC_LOC_QP_OP_ERR);
		if (!tz_rsp_resolve(qp, &room))
			return tz_rsp_refuse(qp, TZ_NAK_REM_OP,
					     TCPZC_WC_LOC_PROT_ERR);
		if (rsp->total > room)
			return tz_rsp_refuse(qp, TZ_NAK_INV_REQ,
					     TCPZC_WC_LOC_LEN_ERR);
	}
	qp->rx.dst = &rsp->dst;
	return TZ_PLACE;
}

static enum tz_verdict tz_rsp_write(struct tz_qp *qp, u64 now)
{
	struct tz_rsp *rsp = &qp->rsp;
	const struct tz_write_hdr *h = &qp->rx.hdr.write;
	u32 total = tz_le32_to_cpu(h->total);
	struct tz_mr *mr;
	u64 off;

	if (!tz_rsp_in_sequence(qp))
		return tz_rsp_refuse(qp, TZ_NAK_INV_REQ, 0);
	if (rsp->lost) {
		qp->rx.dst = NULL;
		return TZ_PLACE;
	}
	if (!(qp->attr.access & TZ_ACCESS_REMOTE_WRITE))
		return tz_qp_is_uc(qp) ? tz_rsp_drop(qp) :
			tz_rsp_refuse(qp, TZ_NAK_INV_REQ, 0);
	if (total) {
		mr = qp->ops->mr_find(qp, tz_le32_to_cpu(h->rkey));
		if (!mr || !tz_mr_covers(mr, tz_le64_to_cpu(h->addr), total,
					 TZ_ACCESS_REMOTE_WRITE, &off))
			return tz_rsp_refuse(qp, TZ_NAK_REM_ACCESS, 0);
		tz_sgl_set(qp, &rsp->dst, mr, off + tz_le32_to_cpu(h->offset),
			   tz_le32_to_cpu(h->h.len));
	}
	/* Immediate data comes with the last PDU and takes a receive. */
	if ((h->h.flags & TZ_PDU_F_IMM) && !tz_rsp_take_rwqe(qp))
		return tz_rsp_no_rwqe(qp, now);
	tz_rsp_ready(qp);
	if (!rsp->in_msg)
		tz_rsp_open_msg(qp);
	qp->rx.dst = &rsp->dst;
	return TZ_PLACE;
}

/* ---- READ and atomics --------------------------------------------------- */

bool tz_qp_plays_pingpong(const struct tz_qp *qp)
{
	return qp->rsp.pingpong >= TZ_PINGPONG_SURE;
}

/* A request is executed: it will be acknowledged. */
static void tz_rsp_executed(struct tz_qp *qp, u64 now)
{
	struct tz_rsp *rsp = &qp->rsp;

	rsp->expect_msn++;
	qp->stats.rx_msgs++;
	if (!qp->acquainted) {
		qp->acquainted = true;
		if (qp->state == TZ_RTR)
			qp->ops->event(qp, TZ_EVENT_COMM_EST);
	}
	if (tz_qp_is_uc(qp))
		return;		/* nobody wants to know */
	if (rsp->ack_due) {
		if (rsp->expect_msn - rsp->acked_msn > TZ_ACK_MSGS)
			rsp->ack_due = now;
		return;
	}
	rsp->delayed = tz_qp_plays_pingpong(qp);
	rsp->ack_due = now + (rsp->delayed ? qp->init.ack_delay_ns : 0);
	if (!rsp->ack_due)
		rsp->ack_due = 1;
}

static enum tz_verdict tz_rsp_read(struct tz_qp *qp, u64 now)
{
	const struct tz_read_hdr *h = &qp->rx.hdr.read;
	struct tz_rsp *rsp = &qp->rsp;
	struct tz_resp resp = {
		.kind = TZ_RESP_READ,
		.msn = rsp->expect_msn,
		.addr = tz_le64_to_cpu(h->addr),
		.rkey = tz_le32_to_cpu(h->rkey),
		.total = tz_le32_to_cpu(h->total),
	};
	struct tz_mr *mr;
	u64 off;

	if (rsp->in_msg || resp.total > TCPZC_MAX_MSG_BYTES ||
	    !(qp->attr.access & TZ_ACCESS_REMOTE_READ) ||
	    rsp->rd_pending >= qp->attr.max_dest_rd_atomic)
		return tz_rsp_refuse(qp, TZ_NAK_INV_REQ, 0);
	if (resp.total) {
		mr = qp->ops->mr_find(qp, resp.rkey);
		if (!mr || !tz_mr_covers(mr, resp.addr, resp.total,
					 TZ_ACCESS_REMOTE_READ, &off))
			return tz_rsp_refuse(qp, TZ_NAK_REM_ACCESS, 0);
	}
	tz_rsp_queue(qp, &resp);
	rsp->rd_pending++;
	tz_rsp_executed(qp, now);
	return TZ_PLACE;
}

static enum tz_verdict tz_rsp_atomic(struct tz_qp *qp, u64 now)
{
	const struct tz_atomic_hdr *h = &qp->rx.hdr.atomic;
	struct tz_rsp *rsp = &qp->rsp;
	u64 addr = tz_le64_to_cpu(h->addr);
	u32 kind = tz_le32_to_cpu(h->kind);
	struct tz_resp resp = { .kind = TZ_RESP_ATOMIC, .msn = rsp->expect_msn };
	struct tz_mr *mr;
	u64 off;

	if (rsp->in_msg || kind > TZ_ATOMIC_FETCH_AND_ADD || (addr & 7) ||
	    !(qp->attr.access & TZ_ACCESS_REMOTE_ATOMIC) ||
	    rsp->rd_pending >= qp->attr.max_dest_rd_atomic)
		return tz_rsp_refuse(qp, TZ_NAK_INV_REQ, 0);
	mr = qp->ops->mr_find(qp, tz_le32_to_cpu(h->rkey));
	if (!mr || !tz_mr_covers(mr, addr, sizeof(u64), TZ_ACCESS_REMOTE_ATOMIC,
				 &off))
		return tz_rsp_refuse(qp, TZ_NAK_REM_ACCESS, 0);
	resp.orig = qp->ops->mr_atomic(mr, off, kind,
				       tz_le64_to_cpu(h->compare_add),
				       tz_le64_to_cpu(h->swap));
	tz_rsp_queue(qp, &resp);
	rsp->rd_pending++;
	tz_rsp_executed(qp, now);
	return TZ_PLACE;
}

/* ---- requests ----------------------------------------------------------- */

/* Head of a request PDU. */
enum tz_verdict tz_rsp_request(struct tz_qp *qp, u64 now)
{
	static enum tz_verdict (*const handlers[])(struct tz_qp *qp, u64 now) = {
		[TZ_PDU_SEND]		= tz_rsp_send,
		[TZ_PDU_WRITE]		= tz_rsp_write,
		[TZ_PDU_READ_REQ]	= tz_rsp_read,
		[TZ_PDU_ATOMIC_REQ]	= tz_rsp_atomic,
	};
	struct tz_rsp *rsp = &qp->rsp;
	const struct tz_hdr *h = &qp->rx.hdr.h;

	qp->rx.dst = NULL;
	if (rsp->dropping) {
		bool first = h->op > TZ_PDU_WRITE || !qp->rx.hdr.send.offset;

		if (tz_le32_to_cpu(h->msn) != rsp->expect_msn || !first) {
			qp->stats.rx_dropped++;
			return TZ_PLACE;
		}
		rsp->dropping = false;
		/* Who did not wait for the NAK shall not have it afterwards. */
		if (tz_rsp_nak_waits(rsp))
			rsp->resp_tail--;
	}
	if (tz_le32_to_cpu(h->msn) != rsp->expect_msn) {
		tz_fail_number(qp);
		return TZ_STOP;
	}
	return handlers[h->op](qp, now);
}

/* All payload of a SEND or WRITE PDU is placed. */
void tz_rsp_request_end(struct tz_qp *qp, u64 now)
{
	struct tz_rsp *rsp = &qp->rsp;
	const struct tz_hdr *h = &qp->rx.hdr.h;

	if (!qp->rx.dst && !rsp->lost)
		return;		/* it was dropped, and comes again */
	rsp->offset += tz_le32_to_cpu(h->len);
	if (!(h->flags & TZ_PDU_F_LAST))
		return;
	rsp->in_msg = false;
	tz_sgl_reset(qp, &rsp->dst);
	if (rsp->have_rwqe && !rsp->lost &&
	    (rsp->op == TZ_PDU_SEND || (h->flags & TZ_PDU_F_IMM)))
		tz_rsp_complete(qp, 0);
	rsp->lost = false;
	tz_rsp_executed(qp, now);
}

/* ---- responses ---------------------------------------------------------- */

static void tz_rsp_put_nak(struct tz_qp *qp, const struct tz_resp *resp)
{
	bool rnr = resp->code == TZ_NAK_RNR;
	struct tz_nak_hdr h = {
		.code = tz_cpu_to_le32(resp->code),
		.arg = tz_cpu_to_le32(rnr ? qp->attr.min_rnr_timer : 0),
	};

	tz_tx_hdr(qp, &h.h, TZ_PDU_NAK, TZ_PDU_F_LAST, 0, resp->msn);
	tz_tx_put(qp, &h, sizeof(h));
	tz_tx_mark_answer(qp);
}

static void tz_rsp_put_atomic(struct tz_qp *qp, const struct tz_resp *resp)
{
	struct tz_atomic_resp_hdr h = { .orig = tz_cpu_to_le64(resp->orig) };

	tz_tx_hdr(qp, &h.h, TZ_PDU_ATOMIC_RESP, TZ_PDU_F_LAST, 0, resp->msn);
	tz_tx_put(qp, &h, sizeof(h));
	tz_tx_mark_answer(qp);
}

void tz_rsp_drop_responses(struct tz_qp *qp)
{
	qp->rsp.resp_head = qp->rsp.resp_tail;
	qp->rsp.resp_off = 0;
	qp->rsp.rd_pending = 0;
}

/* The memory of a READ went away before all of it was answered. */
static void tz_rsp_read_died(struct tz_qp *qp, struct tz_resp *resp)
{
	struct tz_rsp *rsp = &qp->rsp;

	resp->kind = TZ_RESP_NAK;
	resp->code = TZ_NAK_REM_ACCESS;
	rsp->resp_tail = rsp->resp_head + 1;
	rsp->resp_off = 0;
	rsp->rd_pending = 0;
	rsp->nak_queued = true;
	qp->stats.tx_naks++;
	tz_fail(qp, 0, true);
	qp->ops->event(qp, TZ_EVENT_ACCESS_ERR);
}

/* The next PDU of a READ's answer; true when it was the last. */
static bool tz_rsp_put_read(struct tz_qp *qp, struct tz_resp *resp)
{
	struct tz_rsp *rsp = &qp->rsp;
	u32 len = tz_min(resp->total - rsp->resp_off, qp->max_pdu);
	bool last = rsp->resp_off + len == resp->total;
	struct tz_read_resp_hdr h = {
		.total = tz_cpu_to_le32(resp->total),
		.offset = tz_cpu_to_le32(rsp->resp_off),
	};
	struct tz_seg range = { .len = len };

	if (len) {
		range.mr = qp->ops->mr_find(qp, resp->rkey);
		if (!range.mr ||
		    !tz_mr_covers(range.mr, resp->addr, resp->total,
				  TZ_ACCESS_REMOTE_READ, &range.off)) {
			tz_rsp_read_died(qp, resp);
			return false;
		}
		range.off += rsp->resp_off;
	}
	tz_tx_hdr(qp, &h.h, TZ_PDU_READ_RESP, last ? TZ_PDU_F_LAST : 0, len,
		  resp->msn);
	tz_tx_put(qp, &h, sizeof(h));
	if (len)
		tz_tx_put_range(qp, &range, tz_tx_copies(qp, len));
	tz_tx_mark_answer(qp);
	rsp->resp_off = last ? 0 : rsp->resp_off + len;
	return last;
}

bool tz_rsp_fill(struct tz_qp *qp)
{
	struct tz_rsp *rsp = &qp->rsp;
	struct tz_resp *resp;

	if (rsp->resp_head == rsp->resp_tail)
		return false;
	resp = &rsp->resp[rsp->resp_head & (TZ_RESP_SLOTS - 1)];
	switch ((enum tz_resp_kind)resp->kind) {
	case TZ_RESP_READ:
		if (!tz_rsp_put_read(qp, resp))
			return true;
		rsp->rd_pending--;
		break;
	case TZ_RESP_ATOMIC:
		tz_rsp_put_atomic(qp, resp);
		rsp->rd_pending--;
		break;
	case TZ_RESP_NAK:
		tz_rsp_put_nak(qp, resp);
		break;
	}
	rsp->resp_head++;
	return true;
}

/* ---- acknowledgements --------------------------------------------------- */

/*
 * When two programs play ping-pong, the ACK of a message can ride on the next
 * message of the other direction, which saves a system call on both sides. It
 * may wait for it as long as experience says that one is coming: each message
 * that carried an ACK, or would have if it had waited, counts for waiting; an
 * ACK that waited in vain resets the score.
 */
void tz_rsp_note_ride(struct tz_qp *qp, bool rode, u64 now)
{
	struct tz_rsp *rsp = &qp->rsp;
	bool would_have = rsp->ack_sent_ns &&
			  now - rsp->ack_sent_ns < qp->init.ack_delay_ns;

	rsp->ack_sent_ns = 0;
	if ((rode || would_have) && rsp->pingpong < TZ_PINGPONG_MAX)
		rsp->pingpong++;
}

void tz_rsp_fill_ack(struct tz_qp *qp, u64 now)
{
	struct tz_rsp *rsp = &qp->rsp;
	struct tz_hdr h;

	if (!rsp->ack_due || now < rsp->ack_due || !tz_tx_room(qp))
		return;
	if (rsp->delayed)
		rsp->pingpong = 0;
	tz_tx_hdr(qp, &h, TZ_PDU_ACK, TZ_PDU_F_LAST, 0, 0);
	tz_tx_put(qp, &h, sizeof(h));
	qp->stats.tx_acks++;
	rsp->ack_sent_ns = now;
}

void tz_qp_ack_now(struct tz_qp *qp)
{
	if (qp->rsp.ack_due) {
		qp->rsp.ack_due = 1;
		qp->rsp.delayed = false;
	}
}
