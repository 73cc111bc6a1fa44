// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * wire.c - reads along what an engine sends and checks it against
 * docs/protocol.md with code of its own: well-formed headers, message numbers
 * in order, offsets without gaps, acknowledgements that are true. The trace of
 * PDUs comes from here, too.
 */
#include "sim.h"

static u32 wire_hdr_bytes(u8 op)
{
	switch (op) {
	case TZ_PDU_SEND:
	case TZ_PDU_READ_REQ:
		return 40;
	case TZ_PDU_WRITE:
		return 48;
	case TZ_PDU_ATOMIC_REQ:
		return 56;
	case TZ_PDU_READ_RESP:
	case TZ_PDU_ATOMIC_RESP:
	case TZ_PDU_NAK:
		return 32;
	case TZ_PDU_ACK:
		return 24;
	}
	return 0;
}

static u32 get32(__le32 v)
{
	return tz_le32_to_cpu(v);
}

void wire_reset(struct sim_qp *q)
{
	memset(&q->wire, 0, sizeof(q->wire));
	q->wire.next_msn = q->attr.sq_psn;
	q->wire.ack = q->attr.rq_psn;
}

/* IB specification, volume 1, table 45: in units of 10 us. */
static u64 wire_rnr_ns(u8 code)
{
	static const u16 table[32] = {
		0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256,
		384, 512, 768, 1024, 1536, 2048, 3072, 4096, 6144, 8192, 12288,
		16384, 24576, 32768, 49152
	};

	return (code ? table[code] : 65536ull) * 10000;
}

void wire_rnr(struct sim_qp *q)
{
	if (q->peer && !q->peer->loose)
		q->wire.not_before = q->sim->now +
				     wire_rnr_ns(q->peer->attr.min_rnr_timer);
}

/* A message is sent again: not too early, and not too often. */
static void wire_again(struct sim_qp *q, u32 msn)
{
	struct sim_wire *w = &q->wire;

	BED_CHECK(q->sim->now >= w->not_before,
		  "%s: request %x sent again after an RNR NAK %llu ns too early",
		  q->name, msn, (unsigned long long)(w->not_before - q->sim->now));
	w->rnr_rounds = msn == w->rnr_msn ? w->rnr_rounds + 1 : 1;
	w->rnr_msn = msn;
	BED_CHECK(q->attr.rnr_retry == 7 || w->rnr_rounds <= q->attr.rnr_retry,
		  "%s: request %x sent again %u times, rnr_retry %u", q->name,
		  msn, w->rnr_rounds, q->attr.rnr_retry);
}

/* ---- requests ----------------------------------------------------------- */

/* A new request goes on where the last one ended, or back after an RNR NAK. */
static void wire_request_start(struct sim_qp *q, u32 msn)
{
	struct sim_wire *w = &q->wire;
	u32 rnr = q->b.qp.stats.rx_rnr_naks;

	if (msn != w->next_msn) {
		BED_CHECK(tz_msn_before(msn, w->next_msn) && rnr != w->rnr_seen,
			  "request %x instead of %x", msn, w->next_msn);
		w->rnr_seen = rnr;
		w->in_msg = false;
		wire_again(q, msn);
	} else if (w->in_msg) {
		BED_CHECK(rnr != w->rnr_seen, "request %x starts anew", msn);
		w->rnr_seen = rnr;
		wire_again(q, msn);
	}
	w->off = 0;
	w->next_msn = msn;
	if (msn - q->attr.sq_psn >= w->begun)
		w->begun = msn - q->attr.sq_psn + 1;
}

static void wire_message_pdu(struct sim_qp *q, const struct tz_send_hdr *h)
{
	struct sim_wire *w = &q->wire;
	u32 msn = get32(h->h.msn), len = get32(h->h.len);
	u32 off = get32(h->offset), total = get32(h->total);
	bool last = h->h.flags & TZ_PDU_F_LAST;

	if (!off)
		wire_request_start(q, msn);
	else
		BED_CHECK(w->in_msg && msn == w->next_msn && off == w->off,
			  "PDU %x at %u after %x at %u", msn, off, w->next_msn,
			  w->off);
	BED_CHECK(off + len <= total && last == (off + len == total) &&
		  (len || !total), "%u bytes at %u of %u, last %d", len, off,
		  total, last);
	BED_CHECK(last || !(h->h.flags & ~TZ_PDU_F_LAST),
		  "flags %x in mid-message", h->h.flags);
	w->off = off + len;
	w->in_msg = !last;
	if (last)
		w->next_msn = msn + 1;
}

static void wire_query(struct sim_qp *q, const struct tz_hdr *h)
{
	wire_request_start(q, get32(h->msn));
	q->wire.next_msn++;
	q->wire.in_msg = false;
	BED_CHECK(q->b.qp.req.rd_out <= q->attr.max_rd_atomic,
		  "%u READs and atomics outstanding, %u allowed",
		  q->b.qp.req.rd_out, q->attr.max_rd_atomic);
}

/* ---- responses ---------------------------------------------------------- */

/* The peer's request that must be answered next. */
static struct sim_msg *wire_answer_for(struct sim_qp *q, u32 msn)
{
	struct sim_qp *p = q->peer;
	u32 idx = msn - p->attr.sq_psn;

	BED_CHECK(idx >= q->wire.resp_next && idx < p->num_msg,
		  "answer to message %u, expected %u..%u", idx,
		  q->wire.resp_next, p->num_msg);
	q->wire.resp_next = idx;
	return p->msg[idx];
}

static void wire_read_resp(struct sim_qp *q, const struct tz_read_resp_hdr *h)
{
	u32 len = get32(h->h.len), off = get32(h->offset);
	bool last = h->h.flags & TZ_PDU_F_LAST;
	struct sim_msg *m;

	BED_CHECK(off == q->wire.resp_off && off + len <= get32(h->total) &&
		  last == (off + len == get32(h->total)) && (len || last),
		  "READ response: %u bytes at %u (expected %u) of %u, last %d",
		  len, off, q->wire.resp_off, get32(h->total), last);
	q->wire.resp_off = last ? 0 : off + len;
	if (q->loose || !q->peer || q->peer->loose)
		return;
	m = wire_answer_for(q, get32(h->h.msn));
	BED_CHECK(m->opcode == TCPZC_WQE_RDMA_READ && m->len == get32(h->total),
		  "READ response to something else");
	if (last)
		q->wire.resp_next++;
}

static void wire_atomic_resp(struct sim_qp *q, const struct tz_atomic_resp_hdr *h)
{
	struct sim_msg *m;

	if (q->loose || !q->peer || q->peer->loose)
		return;
	m = wire_answer_for(q, get32(h->h.msn));
	BED_CHECK(oracle_is_atomic(m) && m->atomic_done &&
		  m->old == tz_le64_to_cpu(h->orig), "wrong atomic response");
	q->wire.resp_next++;
}

static void wire_nak(struct sim_qp *q, const struct tz_nak_hdr *h)
{
	BED_CHECK(get32(h->code) < TZ_NAK_CODES, "NAK code %u", get32(h->code));
	BED_CHECK(get32(h->arg) < 32 && (get32(h->code) == TZ_NAK_RNR || !h->arg),
		  "NAK argument %u", get32(h->arg));
	q->wire.nak_sent |= get32(h->code) != TZ_NAK_RNR;
}

/* ---- any PDU ------------------------------------------------------------ */

static void wire_ack(struct sim_qp *q, u32 ack)
{
	if (tz_qp_is_uc(&q->b.qp)) {
		BED_CHECK(!ack, "UC acknowledges %x", ack);
		return;
	}
	BED_CHECK(!tz_msn_before(ack, q->wire.ack), "ack_msn goes back from %x to %x",
		  q->wire.ack, ack);
	q->wire.ack = ack;
	if (q->peer && !q->loose && !q->peer->loose)
		oracle_acked(q->peer, ack - q->attr.rq_psn);
}

static void wire_common(struct sim_qp *q, const struct tz_hdr *h)
{
	bool data = h->op == TZ_PDU_SEND || h->op == TZ_PDU_WRITE ||
		    h->op == TZ_PDU_READ_RESP;

	BED_CHECK(!(h->flags & ~TZ_PDU_F_ALL) && !h->reserved, "flags %x", h->flags);
	BED_CHECK(data || !h->len, "%u bytes after op %u", get32(h->len), h->op);
	BED_CHECK(get32(h->len) <= q->b.qp.max_pdu, "PDU of %u bytes", get32(h->len));
	BED_CHECK(get32(h->src_qpn) == q->b.qp.init.qpn &&
		  get32(h->dst_qpn) == q->attr.dest_qpn, "QPNs %x, %x",
		  get32(h->src_qpn), get32(h->dst_qpn));
	BED_CHECK(!q->wire.nak_sent, "PDU of op %u after a fatal NAK", h->op);
	wire_ack(q, get32(h->ack_msn));
}

static void wire_trace(struct sim_qp *q, const union tz_any_hdr *h)
{
	static const char *const ops[] = {
		"SEND", "WRITE", "READ_REQ", "ATOMIC_REQ", "READ_RESP",
		"ATOMIC_RESP", "ACK", "NAK"
	};
	u32 off = 0, total = 0;

	if (!q->sim->verbose)
		return;
	if (h->h.op == TZ_PDU_SEND || h->h.op == TZ_PDU_WRITE) {
		off = get32(h->send.offset);
		total = get32(h->send.total);
	} else if (h->h.op == TZ_PDU_READ_RESP) {
		off = get32(h->read_resp.offset);
		total = get32(h->read_resp.total);
	} else if (h->h.op == TZ_PDU_READ_REQ) {
		total = get32(h->read.total);
	} else if (h->h.op == TZ_PDU_NAK) {
		off = get32(h->nak.code);
		total = get32(h->nak.arg);
	}
	sim_trace(q->sim, q, "  PDU %s flags %x len %u msn %x ack %x off/code %u total/arg %u",
		  ops[h->h.op], h->h.flags, get32(h->h.len), get32(h->h.msn),
		  get32(h->h.ack_msn), off, total);
}

static void wire_pdu(struct sim_qp *q)
{
	const union tz_any_hdr *h = &q->wire.hdr;

	wire_trace(q, h);
	wire_common(q, &h->h);
	q->wire.pdus++;
	switch (h->h.op) {
	case TZ_PDU_SEND:
	case TZ_PDU_WRITE:
		wire_message_pdu(q, &h->send);
		break;
	case TZ_PDU_READ_REQ:
	case TZ_PDU_ATOMIC_REQ:
		wire_query(q, &h->h);
		break;
	case TZ_PDU_READ_RESP:
		wire_read_resp(q, &h->read_resp);
		break;
	case TZ_PDU_ATOMIC_RESP:
		wire_atomic_resp(q, &h->atomic_resp);
		break;
	case TZ_PDU_NAK:
		wire_nak(q, &h->nak);
		break;
	}
	q->wire.payload = get32(h->h.len);
}

void wire_bytes(struct sim_qp *q, const u8 *bytes, u32 len)
{
	struct sim_wire *w = &q->wire;

	while (len) {
		u32 n, need;

		if (w->payload) {
			n = tz_min(w->payload, len);
			w->payload -= n;
			bytes += n;
			len -= n;
			continue;
		}
		w->hdr.bytes[w->have++] = *bytes++;
		len--;
		need = wire_hdr_bytes(w->hdr.h.op);
		BED_CHECK(need, "PDU of op %u", w->hdr.h.op);
		if (w->have == need) {
			w->have = 0;
			wire_pdu(q);
		}
	}
}
