// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * unit.c - see unit.h.
 */
#include "unit.h"

u8 unit_payload[1 << 18];

struct unit *unit_new(void)
{
	struct unit *u = calloc(1, sizeof(*u));
	u32 i;

	assert_non_null(u);
	for (i = 0; i < UNIT_MEM; i++)
		u->mem[i] = i;
	bed_init(&u->bed, 42);
	u->mr = bed_reg(&u->bed, u->mem, UNIT_MEM, UNIT_IOVA, UNIT_ALL, UNIT_PD);
	bed_link_defaults(&u->link);
	u->opts.qpn = UNIT_QPN;
	u->opts.pdn = UNIT_PD;
	u->now = 10 * SEC;
	return u;
}

void unit_init_qp(struct unit *u)
{
	bed_qp_init(&u->q, &u->bed, &u->opts);
	u->seen = 0;
}

void unit_start(struct unit *u)
{
	unit_init_qp(u);
	bed_to_rts(&u->q, UNIT_PEER, UNIT_SQ_PSN, UNIT_RQ_PSN, &u->link, u->now);
	tz_qp_connected(&u->q.qp, u->link.max_pdu, u->now);
}

void unit_free(struct unit *u)
{
	struct tz_qp_attr a = { .state = TZ_RESET };

	tz_qp_modify(&u->q.qp, &a, TZ_QP_STATE, u->now);
	bed_exit(&u->bed);
	bed_qp_exit(&u->q);
	if (u->opts.srq)
		bed_srq_exit(&u->srq);
	free(u);
}

u64 unit_addr(const struct unit *u, u32 off)
{
	return u->mr->mr.iova + off;
}

struct tcpzc_sge unit_sge(const struct unit *u, u32 off, u32 len)
{
	return (struct tcpzc_sge){ unit_addr(u, off), len, u->mr->mr.key };
}

/* ---- the application ---------------------------------------------------- */

void unit_wr(struct unit *u, struct bed_swr *wr, u64 wr_id, u8 opcode, u32 off,
	     u32 len)
{
	memset(wr, 0, sizeof(*wr));
	wr->wqe.wr_id = wr_id;
	wr->wqe.opcode = opcode;
	wr->wqe.flags = TCPZC_WQE_F_SIGNALED;
	wr->wqe.num_sge = 1;
	wr->wqe.imm_data = 0x01020304;
	wr->wqe.remote_addr = 0x5000;
	wr->wqe.rkey = 0x77;
	wr->sge[0] = unit_sge(u, off, len);
}

void unit_post_wr(struct unit *u, const struct bed_swr *wr)
{
	assert_true(bed_post_send(&u->q, wr));
	tz_qp_kick(&u->q.qp, u->now);
}

void unit_post_flags(struct unit *u, u64 wr_id, u8 opcode, u32 off, u32 len,
		     u8 flags)
{
	static struct bed_swr wr;

	unit_wr(u, &wr, wr_id, opcode, off, len);
	wr.wqe.flags = flags;
	if (flags & TCPZC_WQE_F_INLINE) {
		wr.wqe.num_sge = 0;
		wr.wqe.inline_len = len;
		memcpy(wr.data, u->mem + off, len);
	}
	unit_post_wr(u, &wr);
}

void unit_post(struct unit *u, u64 wr_id, u8 opcode, u32 off, u32 len)
{
	unit_post_flags(u, wr_id, opcode, off, len, TCPZC_WQE_F_SIGNALED);
}

void unit_recv(struct unit *u, u64 wr_id, u32 off, u32 len)
{
	struct tcpzc_sge sge = unit_sge(u, off, len);

	if (u->opts.srq)
		assert_true(bed_post_srq(&u->srq, wr_id, &sge, 1));
	else
		assert_true(bed_post_recv(&u->q, wr_id, &sge, 1));
	tz_qp_kick(&u->q.qp, u->now);
}

u32 unit_cqes(const struct unit *u)
{
	return u->q.num_log - u->seen;
}

struct tcpzc_cqe unit_pop(struct unit *u)
{
	assert_true(unit_cqes(u) > 0);
	return u->q.log[u->seen++].cqe;
}

void unit_expect(struct unit *u, bool recv, u64 wr_id, u8 status)
{
	struct bed_cqe *c;

	assert_true(unit_cqes(u) > 0);
	c = &u->q.log[u->seen++];
	assert_int_equal(c->cqe.wr_id, wr_id);
	assert_int_equal(c->cqe.status, status);
	assert_int_equal(c->recv, recv);
	assert_int_equal(c->cqe.qp_num, u->q.qp.init.qpn);
}

void unit_no_cqe(struct unit *u)
{
	assert_int_equal(unit_cqes(u), 0);
}

u32 unit_event(struct unit *u, enum tz_event e)
{
	u32 n = u->q.events[e];

	u->q.events[e] = 0;
	return n;
}

/* ---- the peer ----------------------------------------------------------- */

void unit_hdr(struct unit *u, struct tz_hdr *h, u8 op, u8 flags, u32 len, u32 msn)
{
	h->op = op;
	h->flags = flags;
	h->reserved = 0;
	h->len = put32(len);
	h->src_qpn = put32(u->q.qp.attr.dest_qpn);
	h->dst_qpn = put32(u->q.qp.init.qpn);
	h->msn = put32(msn);
	h->ack_msn = put32(u->q.qp.req.ack_msn);
}

void unit_feed(struct unit *u, const void *bytes, u32 len)
{
	bed_rx(&u->q, bytes, len, u->now);
}

/* Payload of byte @off of a message is the low byte of @off, plus one. */
static void unit_pdu(struct unit *u, const void *hdr, u32 hdr_len, u32 off, u32 len)
{
	static u8 buf[1 << 18];
	u32 i;

	memcpy(buf, hdr, hdr_len);
	for (i = 0; i < len; i++)
		buf[hdr_len + i] = off + i + 1;
	unit_feed(u, buf, hdr_len + len);
}

void unit_send_pdu(struct unit *u, u32 msn, u32 total, u32 off, u32 len, u8 flags)
{
	struct tz_send_hdr h = {
		.total = put32(total), .offset = put32(off), .imm = 0x0a0b0c0d
	};

	unit_hdr(u, &h.h, TZ_PDU_SEND, flags, len, msn);
	unit_pdu(u, &h, sizeof(h), off, len);
}

void unit_write_pdu(struct unit *u, u32 msn, u64 addr, u32 rkey, u32 total,
		    u32 off, u32 len, u8 flags)
{
	struct tz_write_hdr h = {
		.total = put32(total), .offset = put32(off), .imm = 0x0a0b0c0d,
		.rkey = put32(rkey), .addr = tz_cpu_to_le64(addr)
	};

	unit_hdr(u, &h.h, TZ_PDU_WRITE, flags, len, msn);
	unit_pdu(u, &h, sizeof(h), off, len);
}

void unit_read_req(struct unit *u, u32 msn, u64 addr, u32 rkey, u32 total)
{
	struct tz_read_hdr h = {
		.total = put32(total), .rkey = put32(rkey),
		.addr = tz_cpu_to_le64(addr)
	};

	unit_hdr(u, &h.h, TZ_PDU_READ_REQ, TZ_PDU_F_LAST, 0, msn);
	unit_feed(u, &h, sizeof(h));
}

void unit_atomic_req(struct unit *u, u32 msn, u64 addr, u32 rkey, u32 kind,
		     u64 compare_add, u64 swap)
{
	struct tz_atomic_hdr h = {
		.rkey = put32(rkey), .kind = put32(kind),
		.addr = tz_cpu_to_le64(addr),
		.compare_add = tz_cpu_to_le64(compare_add),
		.swap = tz_cpu_to_le64(swap)
	};

	unit_hdr(u, &h.h, TZ_PDU_ATOMIC_REQ, TZ_PDU_F_LAST, 0, msn);
	unit_feed(u, &h, sizeof(h));
}

void unit_read_resp(struct unit *u, u32 msn, u32 total, u32 off, u32 len)
{
	struct tz_read_resp_hdr h = { .total = put32(total), .offset = put32(off) };

	unit_hdr(u, &h.h, TZ_PDU_READ_RESP, off + len == total ? TZ_PDU_F_LAST : 0,
		 len, msn);
	unit_pdu(u, &h, sizeof(h), off, len);
}

void unit_atomic_resp(struct unit *u, u32 msn, u64 orig)
{
	struct tz_atomic_resp_hdr h = { .orig = tz_cpu_to_le64(orig) };

	unit_hdr(u, &h.h, TZ_PDU_ATOMIC_RESP, TZ_PDU_F_LAST, 0, msn);
	unit_feed(u, &h, sizeof(h));
}

void unit_ack(struct unit *u, u32 ack_msn)
{
	struct tz_hdr h;

	unit_hdr(u, &h, TZ_PDU_ACK, TZ_PDU_F_LAST, 0, 0);
	h.ack_msn = put32(ack_msn);
	unit_feed(u, &h, sizeof(h));
}

void unit_nak(struct unit *u, u32 msn, u32 code, u32 arg)
{
	struct tz_nak_hdr h = { .code = put32(code), .arg = put32(arg) };

	unit_hdr(u, &h.h, TZ_PDU_NAK, TZ_PDU_F_LAST, 0, msn);
	h.h.ack_msn = put32(msn);
	unit_feed(u, &h, sizeof(h));
}

static void unit_collect(struct unit *u)
{
	u32 n;

	do {
		n = bed_tx(&u->q, u->out + u->out_len,
			   sizeof(u->out) - u->out_len, u->now);
		u->out_len += n;
	} while (n);
}

bool unit_next(struct unit *u, union tz_any_hdr *h)
{
	u32 n, len;

	unit_collect(u);
	if (!u->out_len)
		return false;
	n = tz_hdr_bytes(u->out[0]);
	assert_true(n && n <= u->out_len);
	memset(h, 0, sizeof(*h));
	memcpy(h, u->out, n);
	len = get32(h->h.len);
	assert_true(n + len <= u->out_len);
	memcpy(unit_payload, u->out + n, len);
	u->out_len -= n + len;
	memmove(u->out, u->out + n + len, u->out_len);
	return true;
}

void unit_expect_pdu(struct unit *u, union tz_any_hdr *h, u8 op)
{
	assert_true(unit_next(u, h));
	assert_int_equal(h->h.op, op);
	assert_int_equal(get32(h->h.src_qpn), u->q.qp.init.qpn);
	assert_int_equal(get32(h->h.dst_qpn), u->q.qp.attr.dest_qpn);
}

void unit_silent(struct unit *u)
{
	union tz_any_hdr h;

	assert_false(unit_next(u, &h));
}

void unit_tick(struct unit *u, u64 ns)
{
	u->now += ns;
	tz_qp_timer(&u->q.qp, u->now);
}

void unit_modify(struct unit *u, enum tz_state to)
{
	struct tz_qp_attr a = { .state = to, .sqd_notify = true };

	tz_qp_modify(&u->q.qp, &a, TZ_QP_STATE |
		     (to == TZ_SQD ? TZ_QP_EN_SQD_ASYNC_NOTIFY : 0), u->now);
}
