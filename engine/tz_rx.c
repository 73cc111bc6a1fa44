// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * tz_rx.c - the incoming stream. Headers and small payloads are read ahead
 * into a buffer; the payload of larger PDUs is received where it belongs. The
 * last bytes of a message always come through the buffer and are copied there
 * last, so that a program that polls them sees the whole message.
 */
#include "tz_engine.h"

/* Payload shorter than this is not worth a vector of its own. */
#define TZ_RX_DIRECT_BYTES	4096u
/* The end of a message that is published last. */
#define TZ_RX_TAIL_BYTES	64u

void tz_rx_reset(struct tz_qp *qp)
{
	struct tz_rx *rx = &qp->rx;

	rx->buf = qp->init.rx_buf;
	rx->size = qp->init.rx_buf_bytes;
	rx->head = 0;
	rx->tail = 0;
	rx->state = TZ_RX_HDR;
	rx->left = 0;
	rx->tail_len = 0;
	rx->next_hdr = 0;
	rx->dst = NULL;
}

/* ---- where bytes go ----------------------------------------------------- */

/*
 * Payload bytes to be received directly into memory regions now. A matter of the
 * stream alone: a region that dies changes where they go, never how many of the
 * bytes that arrive are payload.
 */
static u32 tz_rx_direct(const struct tz_rx *rx)
{
	if (rx->state != TZ_RX_PAYLOAD || !rx->dst || rx->head != rx->tail)
		return 0;
	if (rx->left < rx->tail_len + TZ_RX_DIRECT_BYTES / 2)
		return 0;
	return rx->left - rx->tail_len;
}

/*
 * How much to read ahead. Small PDUs come in crowds: as much as there is room
 * for. After the payload of a large PDU comes probably the header of another:
 * reading just that leaves its payload to be received in place.
 */
static u32 tz_rx_ahead(const struct tz_rx *rx, u32 direct)
{
	u32 room = rx->size - rx->tail, avail = rx->tail - rx->head, want;

	if (!rx->next_hdr)
		return room;
	if (rx->state == TZ_RX_PAYLOAD)
		want = (direct ? rx->tail_len : rx->left) + rx->next_hdr;
	else if (avail < rx->next_hdr)
		want = rx->next_hdr - avail;
	else
		want = TZ_MAX_HDR_BYTES - avail;
	return tz_min(room, want);
}

static void tz_rx_want_buf(const struct tz_rx *rx, struct tz_vec *vec, u32 len)
{
	vec->mr = NULL;
	vec->off = 0;
	vec->ptr = rx->buf + rx->tail;
	vec->len = len;
}

/* Sets *@all if @vec has room for all of it. */
static int tz_rx_want_direct(struct tz_qp *qp, u32 direct, struct tz_vec *vec,
			     int max, bool *all)
{
	struct tz_rx *rx = &qp->rx;
	u32 done = 0;
	int n = 0;

	*all = false;
	while (done < direct && n < max) {
		struct tz_seg seg;

		if (!tz_sgl_peek(rx->dst, done, direct - done, &seg)) {
			if (n)
				return n;
			/* its region died: this is read, and dropped */
			tz_rx_want_buf(rx, vec, tz_min(direct, rx->size - rx->tail));
			return 1;
		}
		vec[n].mr = seg.mr;
		vec[n].off = seg.off;
		vec[n].ptr = NULL;
		vec[n].len = seg.len;
		done += seg.len;
		n++;
	}
	*all = done == direct;
	return n;
}

int tz_qp_rx_want(struct tz_qp *qp, struct tz_vec *vec, int max)
{
	struct tz_rx *rx = &qp->rx;
	u32 direct, ahead;
	bool all = true;
	int n = 0;

	if (qp->conn != TZ_CONN_UP || rx->state == TZ_RX_DEAD ||
	    rx->state == TZ_RX_STALL)
		return 0;
	direct = tz_rx_direct(rx);
	if (direct)
		n = tz_rx_want_direct(qp, direct, vec, max, &all);
	ahead = tz_rx_ahead(rx, direct);
	if (all && n < max && ahead)
		tz_rx_want_buf(rx, &vec[n++], ahead);
	return n;
}

/* ---- headers ------------------------------------------------------------ */

/* What every header must fulfil, before anything is done with it. */
static bool tz_rx_hdr_sane(const struct tz_qp *qp)
{
	const struct tz_hdr *h = &qp->rx.hdr.h;
	bool data = h->op == TZ_PDU_SEND || h->op == TZ_PDU_WRITE ||
		    h->op == TZ_PDU_READ_RESP;
	bool message = h->op == TZ_PDU_SEND || h->op == TZ_PDU_WRITE;

	if ((h->flags & ~TZ_PDU_F_ALL) || h->reserved)
		return false;
	if (tz_qp_is_uc(qp) && !message)
		return false;
	if (tz_le32_to_cpu(h->src_qpn) != qp->attr.dest_qpn ||
	    tz_le32_to_cpu(h->dst_qpn) != qp->init.qpn)
		return false;
	if (tz_le32_to_cpu(h->len) > (data ? qp->max_pdu : 0))
		return false;
	if (!message && (h->flags & ~TZ_PDU_F_LAST))
		return false;
	return data || (h->flags & TZ_PDU_F_LAST);
}

/* Act on a complete header. */
static enum tz_verdict tz_rx_header(struct tz_qp *qp, u64 now)
{
	struct tz_rx *rx = &qp->rx;
	const struct tz_hdr *h = &rx->hdr.h;

	rx->dst = NULL;
	switch ((enum tz_pdu_op)h->op) {
	case TZ_PDU_SEND:
	case TZ_PDU_WRITE:
	case TZ_PDU_READ_REQ:
	case TZ_PDU_ATOMIC_REQ:
		return tz_rsp_request(qp, now);
	case TZ_PDU_READ_RESP:
		return tz_req_read_resp(qp, now);
	case TZ_PDU_ATOMIC_RESP:
		tz_req_atomic_resp(qp, now);
		break;
	case TZ_PDU_NAK:
		tz_req_nak(qp, tz_le32_to_cpu(h->msn),
			   tz_le32_to_cpu(rx->hdr.nak.code),
			   tz_le32_to_cpu(rx->hdr.nak.arg), now);
		break;
	case TZ_PDU_ACK:
		qp->stats.rx_acks++;
		break;
	case TZ_PDU_OPS:
		break;
	}
	return rx->state == TZ_RX_DEAD ? TZ_STOP : TZ_PLACE;
}

/* The header is executed (or stalls); what comes next in the stream? */
static void tz_rx_follow(struct tz_qp *qp, enum tz_verdict verdict)
{
	struct tz_rx *rx = &qp->rx;
	const struct tz_hdr *h = &rx->hdr.h;

	switch (verdict) {
	case TZ_STOP:
		rx->state = TZ_RX_DEAD;
		break;
	case TZ_STALL:
		rx->state = TZ_RX_STALL;
		break;
	case TZ_PLACE:
		rx->left = tz_le32_to_cpu(h->len);
		rx->tail_len = 0;
		if (h->op == TZ_PDU_WRITE && (h->flags & TZ_PDU_F_LAST))
			rx->tail_len = tz_min(rx->left, TZ_RX_TAIL_BYTES);
		rx->next_hdr = rx->left >= TZ_RX_DIRECT_BYTES ?
				       tz_hdr_bytes(h->op) : 0;
		rx->state = TZ_RX_PAYLOAD;
		qp->stats.rx_pdus++;
		break;
	}
}

/* Collect a header; false if more bytes are needed. */
static bool tz_rx_take_header(struct tz_qp *qp, u64 now)
{
	struct tz_rx *rx = &qp->rx;
	u32 avail = rx->tail - rx->head, need;

	if (avail < sizeof(struct tz_hdr))
		return false;
	need = tz_hdr_bytes(rx->buf[rx->head]);
	if (need && avail < need)
		return false;
	memcpy(&rx->hdr, rx->buf + rx->head, need);
	rx->head += need;
	if (!need || !tz_rx_hdr_sane(qp)) {
		tz_fail_protocol(qp);
		return true;
	}
	if (!tz_req_ack(qp, tz_le32_to_cpu(rx->hdr.h.ack_msn), now)) {
		tz_fail_number(qp);
		return true;
	}
	if (rx->state != TZ_RX_DEAD)
		tz_rx_follow(qp, tz_rx_header(qp, now));
	/* A stall ends at once if a receive was posted meanwhile. */
	return true;
}

/* ---- payload ------------------------------------------------------------ */

static void tz_rx_pdu_end(struct tz_qp *qp, u64 now)
{
	struct tz_rx *rx = &qp->rx;
	u8 op = rx->hdr.h.op;

	rx->state = TZ_RX_HDR;
	if (op == TZ_PDU_SEND || op == TZ_PDU_WRITE)
		tz_rsp_request_end(qp, now);
	else if (op == TZ_PDU_READ_RESP)
		tz_req_read_resp_end(qp, now);
	rx->dst = NULL;
}

static void tz_rx_dst_died(struct tz_qp *qp)
{
	if (qp->rx.hdr.h.op == TZ_PDU_READ_RESP)
		tz_fail(qp, TCPZC_WC_LOC_PROT_ERR, false);
	else
		tz_rsp_dst_died(qp);
}

/* Place payload from the buffer; false if more bytes are needed. */
static bool tz_rx_take_payload(struct tz_qp *qp, u64 now)
{
	struct tz_rx *rx = &qp->rx;
	u32 n = tz_min(rx->left, rx->tail - rx->head);

	if (n && rx->dst) {
		if (!tz_sgl_write(qp, rx->dst, rx->buf + rx->head, n)) {
			tz_rx_dst_died(qp);
			return true;
		}
		qp->stats.rx_bytes += n;
		qp->stats.rx_copied += n;
	}
	rx->head += n;
	rx->left -= n;
	if (rx->left)
		return false;
	tz_rx_pdu_end(qp, now);
	return true;
}

/* Lists that outlive this call need references. */
static void tz_rx_keep(struct tz_qp *qp)
{
	if (qp->rsp.dst.n)
		tz_sgl_pin(qp, &qp->rsp.dst);
	if (qp->req.dst.n)
		tz_sgl_pin(qp, &qp->req.dst);
}

void tz_rx_run(struct tz_qp *qp, u64 now)
{
	struct tz_rx *rx = &qp->rx;
	bool more = true;

	while (more) {
		switch (rx->state) {
		case TZ_RX_HDR:
			more = tz_rx_take_header(qp, now);
			break;
		case TZ_RX_PAYLOAD:
			more = tz_rx_take_payload(qp, now);
			break;
		case TZ_RX_STALL:
			tz_rx_follow(qp, tz_rx_header(qp, now));
			more = rx->state != TZ_RX_STALL;
			break;
		case TZ_RX_DEAD:
			rx->head = rx->tail;
			more = false;
			break;
		}
	}
	if (rx->head) {
		memmove(rx->buf, rx->buf + rx->head, rx->tail - rx->head);
		rx->tail -= rx->head;
		rx->head = 0;
	}
	tz_rx_keep(qp);
}

/* The next @bytes of the current payload have arrived where rx_want said. */
static void tz_rx_took_direct(struct tz_qp *qp, u32 bytes, u64 now)
{
	struct tz_rx *rx = &qp->rx;
	struct tz_seg seg;

	rx->left -= bytes;
	if (!tz_sgl_peek(rx->dst, 0, bytes, &seg)) {
		tz_rx_dst_died(qp);
		return;
	}
	tz_sgl_advance(rx->dst, bytes);
	qp->stats.rx_bytes += bytes;
	if (rx->hdr.h.op == TZ_PDU_READ_RESP)
		qp->req.progress_ns = now;
}

void tz_rx_done(struct tz_qp *qp, u32 bytes, u64 now)
{
	struct tz_rx *rx = &qp->rx;
	u32 direct = tz_min(tz_rx_direct(rx), bytes);

	if (direct)
		tz_rx_took_direct(qp, direct, now);
	rx->tail += bytes - direct;
	tz_assert(rx->tail <= rx->size);
	tz_rx_run(qp, now);
}
