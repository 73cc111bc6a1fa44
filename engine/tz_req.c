// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * tz_req.c - the requester: imports send work requests from the ring, makes
 * PDUs of them, and completes them in order when the peer has executed them
 * (IB specification, volume 1, 9.7.6 and 10.8).
 *
 * Four indices walk along the ring: cons <= answer <= next <= posted. [cons, next)
 * are imported and not complete; next - 1 may still be on its way into PDUs (cur).
 * A receiver-not-ready NAK sets next back, and the ring is imported again.
 */
#include "tz_engine.h"

static struct tz_swqe *tz_req_swqe(struct tz_req *req, u32 idx)
{
	return &req->swqe[idx & (req->sq.depth - 1)];
}

static const u8 *tz_req_slot(const struct tz_req *req, u32 idx)
{
	return req->sq.slots +
	       (size_t)(idx & (req->sq.depth - 1)) * req->sq.stride;
}

static bool tz_op_answered(u8 opcode)
{
	return opcode == TCPZC_WQE_RDMA_READ ||
	       opcode == TCPZC_WQE_ATOMIC_CMP_AND_SWP ||
	       opcode == TCPZC_WQE_ATOMIC_FETCH_AND_ADD;
}

void tz_req_reset(struct tz_qp *qp)
{
	struct tz_req *req = &qp->req;

	tz_sgl_reset(qp, &req->src);
	tz_sgl_reset(qp, &req->dst);
	req->sq = qp->init.sq;
	req->swqe = qp->init.swqe;
	req->cons = tz_load_acquire(&req->sq.hdr->prod);
	req->posted = req->cons;
	req->next = req->cons;
	req->answer = req->cons;
	req->begun = req->cons;
	tz_store_release(&req->sq.hdr->cons, req->cons);
	req->next_msn = 0;
	req->ack_msn = 0;
	req->rd_out = 0;
	req->cur_off = 0;
	req->cur = false;
	req->stopped = false;
	req->rnr_left = 0;
	req->rnr_until = 0;
	req->window = 0;
	req->progress_ns = 0;
	req->asked_ns = 0;
	req->heard_ns = 0;
	req->sent_since = 0;
	req->answer_off = 0;
}

/* ---- completion --------------------------------------------------------- */

static void tz_req_cqe(struct tz_qp *qp, const struct tz_swqe *w, u8 status)
{
	static const u8 opcodes[TCPZC_WQE_OPCODES] = {
		[TCPZC_WQE_SEND]		 = TCPZC_WC_SEND,
		[TCPZC_WQE_SEND_WITH_IMM]	 = TCPZC_WC_SEND,
		[TCPZC_WQE_RDMA_WRITE]		 = TCPZC_WC_RDMA_WRITE,
		[TCPZC_WQE_RDMA_WRITE_WITH_IMM]	 = TCPZC_WC_RDMA_WRITE,
		[TCPZC_WQE_RDMA_READ]		 = TCPZC_WC_RDMA_READ,
		[TCPZC_WQE_ATOMIC_CMP_AND_SWP]	 = TCPZC_WC_COMP_SWAP,
		[TCPZC_WQE_ATOMIC_FETCH_AND_ADD] = TCPZC_WC_FETCH_ADD,
	};
	struct tcpzc_cqe cqe = {
		.wr_id = w->wr_id,
		.qp_num = qp->init.qpn,
		.byte_len = w->len,
		.src_qp = qp->attr.dest_qpn,
		.status = status,
		.opcode = w->opcode < TCPZC_WQE_OPCODES ? opcodes[w->opcode] :
							  TCPZC_WC_SEND,
	};

	if (!status && !qp->init.sq_sig_all && !(w->flags & TCPZC_WQE_F_SIGNALED))
		return;
	qp->ops->complete_send(qp, &cqe);
}

/*
 * The oldest work request is over. Its slot is free before its completion can
 * be seen: who polls one may post another at once.
 */
static void tz_req_pop(struct tz_qp *qp, u8 status)
{
	struct tz_req *req = &qp->req;
	struct tz_swqe w = *tz_req_swqe(req, req->cons);

	req->cons++;
	if ((s32)(req->answer - req->cons) < 0)
		req->answer = req->cons;
	tz_store_release(&req->sq.hdr->cons, req->cons);
	tz_req_cqe(qp, &w, status);
}

/* In SQD: is everything that was begun complete (IB 10.3.1.5)? */
void tz_req_note_drained(struct tz_qp *qp)
{
	if (qp->state != TZ_SQD || !qp->sqd_notify ||
	    qp->req.begun != qp->req.cons)
		return;
	qp->sqd_notify = false;
	qp->ops->event(qp, TZ_EVENT_SQ_DRAINED);
}

/* Has the peer executed (UC: the socket taken) and answered @w? */
static bool tz_req_done(const struct tz_qp *qp, const struct tz_swqe *w)
{
	const struct tz_req *req = &qp->req;

	if (req->cur && req->cons + 1 == req->next)
		return false;
	if (tz_qp_is_uc(qp))
		return (s32)(qp->tx.taken - w->tx_end) >= 0;
	return tz_msn_before(w->msn, req->ack_msn) &&
	       (!tz_op_answered(w->opcode) || w->answered);
}

/* Complete in order whatever the peer has executed and answered. */
static void tz_req_retire(struct tz_qp *qp)
{
	struct tz_req *req = &qp->req;

	while (req->cons != req->next) {
		struct tz_swqe *w = tz_req_swqe(req, req->cons);

		if (w->status) {
			tz_fail(qp, w->status, false);
			return;
		}
		if (!tz_req_done(qp, w))
			return;
		tz_req_pop(qp, 0);
	}
	tz_req_note_drained(qp);
}

/* Some that the window held back were accepted: twice as many may follow. */
static void tz_req_widen(struct tz_req *req, u32 accepted)
{
	if (!req->window)
		return;
	req->window += accepted;
	if (req->window >= req->sq.depth)
		req->window = 0;
}

bool tz_req_ack(struct tz_qp *qp, u32 ack_msn, u64 now)
{
	struct tz_req *req = &qp->req;
	u32 limit = req->next_msn - (req->cur ? 1 : 0);

	if ((qp->state != TZ_RTS && qp->state != TZ_SQD) || tz_qp_is_uc(qp))
		return true;	/* nothing was ever sent, or asked for */
	if (tz_msn_before(ack_msn, req->ack_msn) || tz_msn_before(limit, ack_msn))
		return false;
	if (ack_msn == req->ack_msn)
		return true;
	tz_req_widen(req, ack_msn - req->ack_msn);
	req->ack_msn = ack_msn;
	req->progress_ns = now;
	req->rnr_left = qp->attr.rnr_retry;
	qp->acquainted = true;
	tz_req_retire(qp);
	return true;
}

void tz_req_stop(struct tz_qp *qp)
{
	tz_sgl_reset(qp, &qp->req.src);
	tz_sgl_reset(qp, &qp->req.dst);
	qp->req.cur = false;
	qp->req.rnr_until = 0;
}

/* Complete all that is posted: the oldest with @first, the others with @rest. */
static void tz_req_end_all(struct tz_qp *qp, u8 first, u8 rest)
{
	struct tz_req *req = &qp->req;
	u32 end;

	/* Garbage: what was posted before it ends, nothing else. */
	tz_ring_look(&req->sq, req->cons, &req->posted);
	end = qp->state == TZ_SQD ? req->next : req->posted;
	tz_req_stop(qp);
	req->rd_out = 0;
	while (req->cons != end) {
		struct tz_swqe *w = tz_req_swqe(req, req->cons);

		if (req->cons == req->next) {
			struct tcpzc_send_wqe wqe;

			tz_copy_once(&wqe, tz_req_slot(req, req->next),
				     sizeof(wqe));
			w->wr_id = wqe.wr_id;
			w->opcode = wqe.opcode;
			w->flags = wqe.flags;
			w->len = 0;
			req->next++;
			req->begun = req->next;
		}
		tz_req_pop(qp, first);
		first = rest;
	}
}

void tz_req_flush(struct tz_qp *qp, u8 status)
{
	tz_req_end_all(qp, status ? status : TCPZC_WC_WR_FLUSH_ERR,
		       TCPZC_WC_WR_FLUSH_ERR);
}

void tz_req_lose(struct tz_qp *qp)
{
	u32 before = qp->req.cons;

	tz_req_end_all(qp, 0, 0);
	qp->stats.lost += qp->req.cons - before;
	qp->req.progress_ns = 0;
	tz_req_note_drained(qp);
}

void tz_req_taken(struct tz_qp *qp)
{
	if (qp->state == TZ_RTS || qp->state == TZ_SQD)
		tz_req_retire(qp);
}

/* ---- import ------------------------------------------------------------- */

/* Is this operation one of the QP's type (IB 10.8.2.1, table 91)? */
static bool tz_req_has_op(const struct tz_qp *qp, u8 opcode)
{
	if (tz_qp_is_ud(qp))
		return opcode == TCPZC_WQE_SEND ||
		       opcode == TCPZC_WQE_SEND_WITH_IMM;
	if (tz_qp_is_uc(qp))
		return opcode < TCPZC_WQE_OPCODES && !tz_op_answered(opcode);
	return opcode < TCPZC_WQE_OPCODES;
}

static u8 tz_req_check(const struct tz_qp *qp, const struct tcpzc_send_wqe *w)
{
	if (!tz_req_has_op(qp, w->opcode) || w->num_sge > qp->init.sq_max_sge)
		return TCPZC_WC_LOC_QP_OP_ERR;
	if (w->flags & TCPZC_WQE_F_INLINE) {
		if (tz_op_answered(w->opcode) ||
		    w->inline_len > qp->init.sq_max_inline)
			return TCPZC_WC_LOC_QP_OP_ERR;
	}
	if (tz_op_answered(w->opcode) && !qp->attr.max_rd_atomic)
		return TCPZC_WC_LOC_QP_OP_ERR;
	return 0;
}

/* Look up the scatter/gather list of the ring's slot @idx. */
static u8 tz_req_resolve(struct tz_qp *qp, struct tz_sgl *sgl, u32 idx,
			 u32 num_sge, u8 opcode, u64 *total)
{
	struct tcpzc_sge sge[TCPZC_MAX_SGE];
	u32 access = tz_op_answered(opcode) ? TZ_ACCESS_LOCAL_WRITE : 0;

	tz_sgl_reset(qp, sgl);
	tz_copy_once(sge, tz_req_slot(&qp->req, idx) +
			  sizeof(struct tcpzc_send_wqe), num_sge * sizeof(*sge));
	if (!tz_sgl_resolve(qp, sgl, sge, num_sge, access, total))
		return TCPZC_WC_LOC_PROT_ERR;
	if (*total > TCPZC_MAX_MSG_BYTES)
		return TCPZC_WC_LOC_LEN_ERR;
	if (opcode != TCPZC_WQE_RDMA_READ && tz_op_answered(opcode) &&
	    *total != sizeof(u64))
		return TCPZC_WC_LOC_LEN_ERR;
	return 0;
}

/* Must the next work request wait for answers that are still out? */
static bool tz_req_must_wait(const struct tz_qp *qp,
			     const struct tcpzc_send_wqe *w)
{
	const struct tz_req *req = &qp->req;

	if ((w->flags & TCPZC_WQE_F_FENCE) && req->rd_out)
		return true;
	return tz_op_answered(w->opcode) && qp->attr.max_rd_atomic &&
	       req->rd_out >= qp->attr.max_rd_atomic;
}

/* Import the work request at @next; what is wrong with it, or 0. */
static u8 tz_req_take(struct tz_qp *qp, u64 *total)
{
	struct tz_req *req = &qp->req;
	const struct tcpzc_send_wqe *w = &req->wqe;
	u8 status = tz_req_check(qp, w);

	*total = 0;
	if (status)
		return status;
	if (w->flags & TCPZC_WQE_F_INLINE) {
		*total = w->inline_len;
		return 0;
	}
	return tz_req_resolve(qp, &req->src, req->next, w->num_sge, w->opcode,
			      total);
}

static void tz_req_put_read(struct tz_qp *qp, const struct tz_swqe *sw)
{
	const struct tcpzc_send_wqe *w = &qp->req.wqe;
	struct tz_read_hdr h = {
		.addr = tz_cpu_to_le64(w->remote_addr),
		.rkey = tz_cpu_to_le32(w->rkey),
		.total = tz_cpu_to_le32(sw->len),
	};

	tz_tx_hdr(qp, &h.h, TZ_PDU_READ_REQ, TZ_PDU_F_LAST, 0, sw->msn);
	tz_tx_put(qp, &h, sizeof(h));
}

static void tz_req_put_atomic(struct tz_qp *qp, const struct tz_swqe *sw)
{
	const struct tcpzc_send_wqe *w = &qp->req.wqe;
	bool cas = w->opcode == TCPZC_WQE_ATOMIC_CMP_AND_SWP;
	struct tz_atomic_hdr h = {
		.addr = tz_cpu_to_le64(w->remote_addr),
		.rkey = tz_cpu_to_le32(w->rkey),
		.kind = tz_cpu_to_le32(cas ? TZ_ATOMIC_CMP_AND_SWP :
					     TZ_ATOMIC_FETCH_AND_ADD),
		.compare_add = tz_cpu_to_le64(w->compare_add),
		.swap = tz_cpu_to_le64(w->swap),
	};

	tz_tx_hdr(qp, &h.h, TZ_PDU_ATOMIC_REQ, TZ_PDU_F_LAST, 0, sw->msn);
	tz_tx_put(qp, &h, sizeof(h));
}

/* A READ or an atomic is one PDU; its answer brings the data. */
static void tz_req_ask(struct tz_qp *qp, const struct tz_swqe *sw)
{
	tz_sgl_reset(qp, &qp->req.src);
	qp->req.rd_out++;
	if (sw->opcode == TCPZC_WQE_RDMA_READ)
		tz_req_put_read(qp, sw);
	else
		tz_req_put_atomic(qp, sw);
}

/* Is there one to be imported? Garbage ends the QP. */
static bool tz_req_posted(struct tz_qp *qp)
{
	struct tz_req *req = &qp->req;

	if (req->next == req->posted &&
	    !tz_ring_look(&req->sq, req->cons, &req->posted))
		tz_fail_ring(qp);
	return req->next != req->posted && qp->state != TZ_ERR;
}

/* Import the next work request if there is one that may start now. */
static bool tz_req_start(struct tz_qp *qp, u64 now)
{
	struct tz_req *req = &qp->req;
	struct tz_swqe *sw;
	u64 total;

	if (tz_qp_holds_back(qp))
		return false;
	/* In SQD only what was begun before, and is to be sent again. */
	if (qp->state != TZ_RTS && req->next == req->begun)
		return false;
	if (!tz_req_posted(qp))
		return false;
	tz_copy_once(&req->wqe, tz_req_slot(req, req->next), sizeof(req->wqe));
	if (tz_req_must_wait(qp, &req->wqe))
		return false;
	if (req->next == req->cons)
		req->progress_ns = now;

	sw = tz_req_swqe(req, req->next);
	sw->wr_id = req->wqe.wr_id;
	sw->opcode = req->wqe.opcode;
	sw->flags = req->wqe.flags;
	sw->answered = 0;
	sw->msn = req->next_msn;
	sw->status = tz_req_take(qp, &total);
	sw->len = total;
	req->next++;
	if ((s32)(req->next - req->begun) > 0)
		req->begun = req->next;
	if (sw->status) {
		sw->len = 0;
		req->stopped = true;
		tz_sgl_reset(qp, &req->src);
		tz_req_retire(qp);
		return false;
	}
	req->next_msn++;
	req->cur_off = 0;
	req->cur = !tz_op_answered(sw->opcode);
	qp->stats.tx_msgs++;
	if (!req->cur)
		tz_req_ask(qp, sw);
	return true;
}

/* ---- PDUs of SEND and WRITE --------------------------------------------- */

static void tz_req_put_send_hdr(struct tz_qp *qp, const struct tz_swqe *sw,
				u8 flags, u32 len)
{
	struct tz_send_hdr h = {
		.total = tz_cpu_to_le32(sw->len),
		.offset = tz_cpu_to_le32(qp->req.cur_off),
		.imm = (flags & TZ_PDU_F_IMM) ?
			       tz_imm_to_wire(qp->req.wqe.imm_data) : 0,
	};

	tz_tx_hdr(qp, &h.h, TZ_PDU_SEND, flags, len, sw->msn);
	tz_tx_put(qp, &h, sizeof(h));
}

static void tz_req_put_write_hdr(struct tz_qp *qp, const struct tz_swqe *sw,
				 u8 flags, u32 len)
{
	struct tz_write_hdr h = {
		.total = tz_cpu_to_le32(sw->len),
		.offset = tz_cpu_to_le32(qp->req.cur_off),
		.imm = (flags & TZ_PDU_F_IMM) ?
			       tz_imm_to_wire(qp->req.wqe.imm_data) : 0,
		.rkey = tz_cpu_to_le32(qp->req.wqe.rkey),
		.addr = tz_cpu_to_le64(qp->req.wqe.remote_addr),
	};

	tz_tx_hdr(qp, &h.h, TZ_PDU_WRITE, flags, len, sw->msn);
	tz_tx_put(qp, &h, sizeof(h));
}

static u8 tz_req_pdu_flags(const struct tz_swqe *sw, bool last)
{
	u8 flags = 0;

	if (!last)
		return 0;
	flags |= TZ_PDU_F_LAST;
	if (sw->flags & TCPZC_WQE_F_SOLICITED)
		flags |= TZ_PDU_F_SOLICITED;
	if (sw->opcode == TCPZC_WQE_SEND_WITH_IMM ||
	    sw->opcode == TCPZC_WQE_RDMA_WRITE_WITH_IMM)
		flags |= TZ_PDU_F_IMM;
	return flags;
}

/* The next PDU of the current message. */
static void tz_req_put_pdu(struct tz_qp *qp)
{
	struct tz_req *req = &qp->req;
	struct tz_swqe *sw = tz_req_swqe(req, req->next - 1);
	u32 len = tz_min(sw->len - req->cur_off, qp->max_pdu);
	bool last = req->cur_off + len == sw->len;
	u8 flags = tz_req_pdu_flags(sw, last);

	if (sw->opcode == TCPZC_WQE_SEND || sw->opcode == TCPZC_WQE_SEND_WITH_IMM)
		tz_req_put_send_hdr(qp, sw, flags, len);
	else
		tz_req_put_write_hdr(qp, sw, flags, len);

	if (sw->flags & TCPZC_WQE_F_INLINE) {
		tz_tx_put(qp, tz_req_slot(req, req->next - 1) +
			      sizeof(struct tcpzc_send_wqe) + req->cur_off, len);
		qp->stats.tx_bytes += len;
		qp->stats.tx_copied += len;
	} else if (!tz_tx_put_sgl(qp, &req->src, len)) {
		tz_fail(qp, TCPZC_WC_LOC_PROT_ERR, false);
		return;
	}
	req->cur_off += len;
	if (last) {
		req->cur = false;
		sw->tx_end = qp->tx.taken + qp->tx.queued;
		tz_sgl_reset(qp, &req->src);
	} else {
		tz_sgl_pin(qp, &req->src);
	}
}

bool tz_req_fill(struct tz_qp *qp, u64 now)
{
	struct tz_req *req = &qp->req;

	if ((qp->state != TZ_RTS && qp->state != TZ_SQD) || qp->closing)
		return false;
	if (!req->cur) {
		if (!tz_req_start(qp, now))
			return false;
		if (!req->cur)
			return true;
	}
	tz_req_put_pdu(qp);
	return true;
}

/* ---- datagrams ---------------------------------------------------------- */

bool tz_req_peek(struct tz_qp *qp, u64 *total)
{
	struct tz_req *req = &qp->req;
	u8 status;

	if (qp->state != TZ_RTS || !tz_req_posted(qp))
		return false;
	tz_copy_once(&req->wqe, tz_req_slot(req, req->next), sizeof(req->wqe));
	status = tz_req_take(qp, total);
	if (!status && *total > qp->init.max_dgram)
		status = TCPZC_WC_LOC_LEN_ERR;
	if (!status)
		return true;
	/* Receiving goes on (IB 10.3.1.6). */
	qp->state = TZ_SQE;
	tz_req_flush(qp, status);
	return false;
}

void tz_req_consume(struct tz_qp *qp, u32 len)
{
	struct tz_req *req = &qp->req;
	struct tz_swqe *sw = tz_req_swqe(req, req->next);

	sw->wr_id = req->wqe.wr_id;
	sw->opcode = req->wqe.opcode;
	sw->flags = req->wqe.flags;
	sw->len = len;
	sw->status = 0;
	req->next++;
	req->begun = req->next;
	tz_sgl_reset(qp, &req->src);
	tz_req_pop(qp, 0);
}

/* ---- NAK ---------------------------------------------------------------- */

/* Receiver not ready timer codes in units of 10 us (IB 9.7.5.2.8, table 45). */
static u64 tz_rnr_ns(u32 code)
{
	static const u16 ten_us[32] = {
		0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192,
		256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096, 6144, 8192,
		12288, 16384, 24576, 32768, 49152
	};
	u32 n = code & 31;

	return (n ? ten_us[n] : 65536ull) * 10000;
}

/* Everything that is not complete is to be imported and sent again. */
static void tz_req_rewind(struct tz_qp *qp)
{
	struct tz_req *req = &qp->req;

	if (req->next != req->cons)
		req->next_msn = tz_req_swqe(req, req->cons)->msn;
	req->next = req->cons;
	req->answer = req->cons;
	req->answer_off = 0;
	req->rd_out = 0;
	req->cur = false;
	req->stopped = false;
	tz_sgl_reset(qp, &req->src);
	tz_sgl_reset(qp, &req->dst);
}

void tz_req_unsay(struct tz_qp *qp)
{
	tz_req_rewind(qp);
	qp->req.rnr_until = 0;
	qp->req.window = 0;
	qp->req.rnr_left = qp->attr.rnr_retry;
}

/*
 * The peer had no receive for the oldest request: wait, then send it again. How
 * much may follow grows with what is accepted: a peer that is stopped would be
 * sent all that is posted every time, for nothing.
 */
static void tz_req_rnr(struct tz_qp *qp, u32 timer, u64 now)
{
	struct tz_req *req = &qp->req;

	qp->stats.rx_rnr_naks++;
	if (!req->rnr_left) {
		tz_fail(qp, TCPZC_WC_RNR_RETRY_EXC_ERR, false);
		return;
	}
	if (qp->attr.rnr_retry != 7)
		req->rnr_left--;
	tz_req_rewind(qp);
	req->window = 1;
	req->rnr_until = now + tz_rnr_ns(timer);
	req->progress_ns = now;
}

void tz_req_nak(struct tz_qp *qp, u32 msn, u32 code, u32 arg, u64 now)
{
	static const u8 statuses[TZ_NAK_CODES] = {
		[TZ_NAK_INV_REQ]	= TCPZC_WC_REM_INV_REQ_ERR,
		[TZ_NAK_REM_ACCESS]	= TCPZC_WC_REM_ACCESS_ERR,
		[TZ_NAK_REM_OP]		= TCPZC_WC_REM_OP_ERR,
	};
	struct tz_req *req = &qp->req;
	struct tz_swqe *w = tz_req_swqe(req, req->cons);

	if (qp->state != TZ_RTS && qp->state != TZ_SQD)
		return;
	/* A READ is acknowledged when accepted, and may still be refused. */
	if (req->cons == req->next || w->status || w->msn != msn ||
	    code >= TZ_NAK_CODES || (code == TZ_NAK_RNR && req->ack_msn != msn)) {
		tz_fail_protocol(qp);
		return;
	}
	if (code == TZ_NAK_RNR) {
		tz_req_rnr(qp, arg, now);
		return;
	}
	qp->stats.rx_naks++;
	tz_fail_peer(qp, statuses[code]);
}

/* ---- answers ------------------------------------------------------------ */

/* The oldest READ or atomic without its answer; NULL if there is none. */
static struct tz_swqe *tz_req_awaited(struct tz_req *req)
{
	for (; req->answer != req->next; req->answer++) {
		struct tz_swqe *w = tz_req_swqe(req, req->answer);

		if (!w->status && tz_op_answered(w->opcode) && !w->answered)
			return w;
	}
	return NULL;
}

static void tz_req_answered(struct tz_qp *qp, struct tz_swqe *w, u64 now)
{
	struct tz_req *req = &qp->req;

	tz_sgl_reset(qp, &req->dst);
	w->answered = 1;
	req->answer_off = 0;
	req->rd_out--;
	req->progress_ns = now;
	tz_req_retire(qp);
}

/* Find the memory for the answer to @w again; its keys may be gone. */
static bool tz_req_aim(struct tz_qp *qp, struct tz_swqe *w)
{
	struct tz_req *req = &qp->req;
	struct tcpzc_send_wqe wqe;
	u64 total;

	tz_copy_once(&wqe, tz_req_slot(req, req->answer), sizeof(wqe));
	if (wqe.num_sge > qp->init.sq_max_sge ||
	    tz_req_resolve(qp, &req->dst, req->answer, wqe.num_sge, w->opcode,
			   &total) || total != w->len) {
		w->status = TCPZC_WC_LOC_PROT_ERR;
		tz_fail(qp, req->answer == req->cons ? w->status : 0, false);
		return false;
	}
	return true;
}

/* Head of a READ response PDU: check it against what was asked. */
enum tz_verdict tz_req_read_resp(struct tz_qp *qp, u64 now)
{
	struct tz_req *req = &qp->req;
	const struct tz_read_resp_hdr *h = &qp->rx.hdr.read_resp;
	struct tz_swqe *w = tz_req_awaited(req);
	u32 len = tz_le32_to_cpu(h->h.len);
	u32 offset = tz_le32_to_cpu(h->offset);
	bool last = h->h.flags & TZ_PDU_F_LAST;

	if (!w || w->opcode != TCPZC_WQE_RDMA_READ ||
	    tz_le32_to_cpu(h->h.msn) != w->msn ||
	    tz_le32_to_cpu(h->total) != w->len || offset != req->answer_off ||
	    len > w->len - offset || last != (offset + len == w->len) ||
	    (!len && !last)) {
		tz_fail_protocol(qp);
		return TZ_STOP;
	}
	req->progress_ns = now;
	if (!offset && w->len && !tz_req_aim(qp, w))
		return TZ_STOP;
	qp->rx.dst = &req->dst;
	return TZ_PLACE;
}

void tz_req_read_resp_end(struct tz_qp *qp, u64 now)
{
	struct tz_req *req = &qp->req;
	const struct tz_read_resp_hdr *h = &qp->rx.hdr.read_resp;

	req->answer_off += tz_le32_to_cpu(h->h.len);
	if (h->h.flags & TZ_PDU_F_LAST)
		tz_req_answered(qp, tz_req_swqe(req, req->answer), now);
}

void tz_req_atomic_resp(struct tz_qp *qp, u64 now)
{
	struct tz_req *req = &qp->req;
	const struct tz_atomic_resp_hdr *h = &qp->rx.hdr.atomic_resp;
	struct tz_swqe *w = tz_req_awaited(req);
	u64 orig = tz_le64_to_cpu(h->orig);

	if (!w || w->opcode == TCPZC_WQE_RDMA_READ ||
	    tz_le32_to_cpu(h->h.msn) != w->msn) {
		tz_fail_protocol(qp);
		return;
	}
	if (!tz_req_aim(qp, w))
		return;
	if (!tz_sgl_write(qp, &req->dst, (const u8 *)&orig, sizeof(orig))) {
		tz_fail(qp, TCPZC_WC_LOC_PROT_ERR, false);
		return;
	}
	tz_req_answered(qp, w, now);
}
