// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * tz_req_test.c - the requester: what it accepts from the ring, the PDUs it
 * makes, acknowledgements, answers, RNR, fence and limits.
 */
#include "unit.h"

static union tz_any_hdr h;

/* The QP has failed: what is left to say is said, the connection ends. */
static void finish(struct unit *u)
{
	while (unit_next(u, &h))
		;
	assert_int_equal(u->q.qp.state, TZ_ERR);
	assert_true(u->q.qp.closing);
	assert_false(tz_qp_tx_pending(&u->q.qp));
	tz_qp_disconnected(&u->q.qp, u->now);
}

static struct unit *started(void)
{
	struct unit *u = unit_new();

	unit_start(u);
	return u;
}

/* ---- import ------------------------------------------------------------- */

static void rejected(const struct bed_swr *wr, struct unit *u, u8 status)
{
	unit_post(u, 1, TCPZC_WQE_RDMA_WRITE, 0, 4);
	unit_post_wr(u, wr);
	unit_post(u, 3, TCPZC_WQE_SEND, 0, 4);
	unit_expect_pdu(u, &h, TZ_PDU_WRITE);
	unit_silent(u);
	/* what comes before it ends first */
	assert_int_equal(u->q.qp.state, TZ_RTS);
	unit_ack(u, UNIT_SQ_PSN + 1);
	unit_expect(u, false, 1, TCPZC_WC_SUCCESS);
	finish(u);
	unit_expect(u, false, wr->wqe.wr_id, status);
	unit_expect(u, false, 3, TCPZC_WC_WR_FLUSH_ERR);
	unit_no_cqe(u);
	unit_free(u);
}

#define REJECTED(op, status, ...) do {				\
		static struct bed_swr wr;			\
		struct unit *u = unit_new();			\
		u->opts.max_inline = 64;			\
		unit_start(u);					\
		unit_wr(u, &wr, 2, op, 0, 8);			\
		__VA_ARGS__;					\
		rejected(&wr, u, status);			\
	} while (0)

static void test_bad_requests(void **state)
{
	const u8 op_err = TCPZC_WC_LOC_QP_OP_ERR, prot = TCPZC_WC_LOC_PROT_ERR;

	REJECTED(TCPZC_WQE_OPCODES, op_err, );
	REJECTED(255, op_err, );
	REJECTED(TCPZC_WQE_SEND, op_err, wr.wqe.num_sge = 5);
	REJECTED(TCPZC_WQE_SEND, op_err, wr.wqe.num_sge = 0xffff);
	REJECTED(TCPZC_WQE_SEND, op_err, wr.wqe.flags |= TCPZC_WQE_F_INLINE;
		 wr.wqe.inline_len = 65);
	REJECTED(TCPZC_WQE_SEND, op_err, wr.wqe.flags |= TCPZC_WQE_F_INLINE;
		 wr.wqe.inline_len = 0xffffffff);
	REJECTED(TCPZC_WQE_RDMA_READ, op_err, wr.wqe.flags |= TCPZC_WQE_F_INLINE);
	REJECTED(TCPZC_WQE_ATOMIC_CMP_AND_SWP, op_err,
		 wr.wqe.flags |= TCPZC_WQE_F_INLINE);
	REJECTED(TCPZC_WQE_SEND, prot, wr.sge[0].lkey++);
	REJECTED(TCPZC_WQE_SEND, prot, wr.sge[0].addr--);
	REJECTED(TCPZC_WQE_RDMA_WRITE, prot, wr.sge[0].length = UNIT_MEM + 1);
	REJECTED(TCPZC_WQE_RDMA_READ, prot, wr.sge[0].addr += UNIT_MEM - 7);
	REJECTED(TCPZC_WQE_ATOMIC_FETCH_AND_ADD, TCPZC_WC_LOC_LEN_ERR,
		 wr.sge[0].length = 7);
	REJECTED(TCPZC_WQE_ATOMIC_CMP_AND_SWP, TCPZC_WC_LOC_LEN_ERR,
		 wr.sge[0].length = 16);
	REJECTED(TCPZC_WQE_ATOMIC_CMP_AND_SWP, TCPZC_WC_LOC_LEN_ERR,
		 wr.wqe.num_sge = 0);
}

/* Answers go only where this side may write. */
static void test_access(void **state)
{
	static const u8 ops[] = { TCPZC_WQE_RDMA_READ, TCPZC_WQE_ATOMIC_FETCH_AND_ADD };
	u32 i;

	for (i = 0; i < 2; i++)
		REJECTED(ops[i], TCPZC_WC_LOC_PROT_ERR, {
			struct bed_mr *ro = bed_reg(&u->bed, u->mem, 100, 0,
						    TZ_ACCESS_REMOTE_READ, UNIT_PD);
			wr.sge[0] = (struct tcpzc_sge){ 0, 8, ro->mr.key };
		});
}

static void test_too_long(void **state)
{
	static struct bed_swr wr;
	struct unit *u = started();
	struct bed_mr *huge = bed_reg(&u->bed, u->mem, 1ull << 40, 0, UNIT_ALL, UNIT_PD);

	unit_wr(u, &wr, 9, TCPZC_WQE_RDMA_READ, 0, 0);
	wr.wqe.num_sge = 2;
	wr.sge[0] = (struct tcpzc_sge){ 0, 1u << 31, huge->mr.key };
	wr.sge[1] = (struct tcpzc_sge){ 0, 1, huge->mr.key };
	unit_post_wr(u, &wr);
	unit_silent(u);
	finish(u);
	unit_expect(u, false, 9, TCPZC_WC_LOC_LEN_ERR);
	unit_free(u);
	/* the limit itself is allowed */
	u = started();
	huge = bed_reg(&u->bed, u->mem, 1ull << 40, 0, UNIT_ALL, UNIT_PD);
	wr.wqe.num_sge = 1;
	wr.sge[0].lkey = huge->mr.key;
	unit_post_wr(u, &wr);
	unit_expect_pdu(u, &h, TZ_PDU_READ_REQ);
	assert_int_equal(get32(h.read.total), 1u << 31);
	unit_free(u);
}

/* An index that cannot be: nothing of the ring is believed. */
static void test_garbage_index(void **state)
{
	struct unit *u = started();

	u->q.sq_hdr->prod = 65;
	unit_silent(u);
	assert_int_equal(u->q.qp.state, TZ_ERR);
	assert_int_equal(unit_event(u, TZ_EVENT_FATAL), 1);
	tz_qp_disconnected(&u->q.qp, u->now);
	unit_no_cqe(u);
	unit_free(u);
}

/*
 * An index that moves backwards: after each store at most @depth requests are
 * out, those posted before it end, and nothing is sent twice.
 */
static void test_index_backwards(void **state)
{
	u32 step, sent, i;

	for (step = 1; step <= 6; step++) {
		struct unit *u = unit_new();

		u->opts.sq_depth = 4;
		unit_start(u);
		unit_post(u, 1, TCPZC_WQE_SEND, 0, 8);
		unit_post(u, 2, TCPZC_WQE_SEND, 0, 8);
		unit_expect_pdu(u, &h, TZ_PDU_SEND);
		unit_expect_pdu(u, &h, TZ_PDU_SEND);
		u->q.sq_hdr->prod -= step;
		for (i = sent = 0; i < 50; i++) {
			sent += unit_next(u, &h);
			assert_true(tz_qp_outstanding(&u->q.qp) <= 2);
		}
		tz_qp_kick(&u->q.qp, u->now);
		assert_int_equal(sent, 0);
		assert_int_equal(u->q.qp.state, TZ_ERR);
		assert_int_equal(unit_event(u, TZ_EVENT_FATAL), 1);
		tz_qp_disconnected(&u->q.qp, u->now);
		unit_expect(u, false, 1, TCPZC_WC_WR_FLUSH_ERR);
		unit_expect(u, false, 2, TCPZC_WC_WR_FLUSH_ERR);
		unit_no_cqe(u);
		unit_free(u);
	}
}

static void test_not_in_rtr(void **state)
{
	struct unit *u = unit_new();
	struct tz_qp_attr a = { .state = TZ_INIT, .dest_qpn = UNIT_PEER };

	unit_init_qp(u);
	tz_qp_modify(&u->q.qp, &a, TZ_QP_STATE, u->now);
	a.state = TZ_RTR;
	tz_qp_modify(&u->q.qp, &a, TZ_QP_STATE | TZ_QP_DEST_QPN, u->now);
	tz_qp_connected(&u->q.qp, 4096, u->now);
	unit_post(u, 1, TCPZC_WQE_SEND, 0, 4);
	unit_silent(u);
	unit_no_cqe(u);
	unit_free(u);
}

/* ---- PDUs --------------------------------------------------------------- */

static void test_send_pdus(void **state)
{
	struct unit *u = unit_new();
	u32 off;

	u->link.max_pdu = 4096;
	unit_start(u);
	unit_post_flags(u, 1, TCPZC_WQE_SEND_WITH_IMM, 100, 10000,
			TCPZC_WQE_F_SOLICITED);
	for (off = 0; off < 10000; off += 4096) {
		bool last = off + 4096 >= 10000;
		u32 len = last ? 10000 - off : 4096;

		unit_expect_pdu(u, &h, TZ_PDU_SEND);
		assert_int_equal(h.h.flags, last ? TZ_PDU_F_ALL : 0);
		assert_int_equal(get32(h.h.len), len);
		assert_int_equal(get32(h.h.msn), UNIT_SQ_PSN);
		assert_int_equal(get32(h.send.total), 10000);
		assert_int_equal(get32(h.send.offset), off);
		assert_int_equal(h.send.imm, last ? 0x01020304 : 0);
		assert_memory_equal(unit_payload, u->mem + 100 + off, len);
	}
	unit_silent(u);
	unit_free(u);
}

static void test_write_pdu(void **state)
{
	static struct bed_swr wr;
	struct unit *u = started();

	unit_wr(u, &wr, 1, TCPZC_WQE_RDMA_WRITE, 0, 0);
	wr.wqe.remote_addr = ~0ull - 4;
	wr.wqe.rkey = 0xfedcba98;
	wr.wqe.num_sge = 3;
	wr.sge[0] = unit_sge(u, 50, 2);
	wr.sge[1] = (struct tcpzc_sge){ 1, 0, 2 };
	wr.sge[2] = unit_sge(u, 7, 3);
	unit_post_wr(u, &wr);
	unit_expect_pdu(u, &h, TZ_PDU_WRITE);
	assert_int_equal(tz_le64_to_cpu(h.write.addr), ~0ull - 4);
	assert_int_equal(get32(h.write.rkey), 0xfedcba98);
	assert_int_equal(get32(h.write.total), 5);
	assert_memory_equal(unit_payload, ((u8[]){ 50, 51, 7, 8, 9 }), 5);
	unit_free(u);
}

static void test_queries(void **state)
{
	static struct bed_swr wr;
	struct unit *u = started();

	unit_post(u, 1, TCPZC_WQE_RDMA_READ, 0, 300);
	unit_expect_pdu(u, &h, TZ_PDU_READ_REQ);
	assert_int_equal(get32(h.read.total), 300);
	assert_int_equal(tz_le64_to_cpu(h.read.addr), 0x5000);
	assert_int_equal(get32(h.read.rkey), 0x77);
	unit_wr(u, &wr, 2, TCPZC_WQE_ATOMIC_CMP_AND_SWP, 0, 8);
	wr.wqe.compare_add = 0x1122334455667788;
	wr.wqe.swap = ~0ull;
	unit_post_wr(u, &wr);
	unit_expect_pdu(u, &h, TZ_PDU_ATOMIC_REQ);
	assert_int_equal(get32(h.h.msn), UNIT_SQ_PSN + 1);
	assert_int_equal(get32(h.atomic.kind), TZ_ATOMIC_CMP_AND_SWP);
	assert_true(tz_le64_to_cpu(h.atomic.compare_add) == 0x1122334455667788);
	assert_true(tz_le64_to_cpu(h.atomic.swap) == ~0ull);
	wr.wqe.opcode = TCPZC_WQE_ATOMIC_FETCH_AND_ADD;
	unit_post_wr(u, &wr);
	unit_expect_pdu(u, &h, TZ_PDU_ATOMIC_REQ);
	assert_int_equal(get32(h.atomic.kind), TZ_ATOMIC_FETCH_AND_ADD);
	unit_free(u);
}

static void test_inline(void **state)
{
	struct unit *u = unit_new();

	u->opts.max_inline = 200;
	unit_start(u);
	unit_post_flags(u, 1, TCPZC_WQE_SEND, 10, 200, TCPZC_WQE_F_INLINE);
	memset(u->mem, 0, 300);
	unit_expect_pdu(u, &h, TZ_PDU_SEND);
	assert_int_equal(get32(h.h.len), 200);
	assert_int_equal(unit_payload[0], 10);
	assert_int_equal(unit_payload[199], 209);
	unit_free(u);
}

/* ---- completions -------------------------------------------------------- */

static void test_completions(void **state)
{
	static const struct { u8 op, wc; u32 len; } t[] = {
		{ TCPZC_WQE_SEND, TCPZC_WC_SEND, 11 },
		{ TCPZC_WQE_SEND_WITH_IMM, TCPZC_WC_SEND, 0 },
		{ TCPZC_WQE_RDMA_WRITE, TCPZC_WC_RDMA_WRITE, 5000 },
		{ TCPZC_WQE_RDMA_WRITE_WITH_IMM, TCPZC_WC_RDMA_WRITE, 1 },
		{ TCPZC_WQE_RDMA_READ, TCPZC_WC_RDMA_READ, 9 },
		{ TCPZC_WQE_ATOMIC_CMP_AND_SWP, TCPZC_WC_COMP_SWAP, 8 },
		{ TCPZC_WQE_ATOMIC_FETCH_AND_ADD, TCPZC_WC_FETCH_ADD, 8 },
	};
	struct unit *u = started();
	u32 i;

	for (i = 0; i < 7; i++)
		unit_post(u, i, t[i].op, 0, t[i].len);
	while (unit_next(u, &h))
		;
	unit_ack(u, UNIT_SQ_PSN + 7);
	/* executed is not answered */
	for (i = 0; i < 7; i++) {
		struct tcpzc_cqe c;

		if (t[i].op == TCPZC_WQE_RDMA_READ) {
			unit_no_cqe(u);
			unit_read_resp(u, UNIT_SQ_PSN + i, 9, 0, 9);
		} else if (t[i].op > TCPZC_WQE_RDMA_READ) {
			unit_no_cqe(u);
			unit_atomic_resp(u, UNIT_SQ_PSN + i, 1234);
		}
		c = unit_pop(u);
		assert_int_equal(c.wr_id, i);
		assert_int_equal(c.status, 0);
		assert_int_equal(c.opcode, t[i].wc);
		assert_int_equal(c.byte_len, t[i].len);
	}
	unit_no_cqe(u);
	assert_int_equal(u->q.sq_hdr->cons, 7);
	unit_free(u);
}

static void test_unsignaled(void **state)
{
	struct unit *u = started();

	unit_post_flags(u, 1, TCPZC_WQE_SEND, 0, 1, 0);
	unit_post_flags(u, 2, TCPZC_WQE_SEND, 0, 1, 0);
	unit_post(u, 3, TCPZC_WQE_SEND, 0, 1);
	unit_post_flags(u, 4, TCPZC_WQE_SEND, 0, 1, 0);
	while (unit_next(u, &h))
		;
	unit_ack(u, UNIT_SQ_PSN + 2);
	unit_no_cqe(u);
	assert_int_equal(u->q.sq_hdr->cons, 2);
	unit_ack(u, UNIT_SQ_PSN + 4);
	unit_expect(u, false, 3, 0);
	unit_no_cqe(u);
	assert_int_equal(u->q.sq_hdr->cons, 4);
	unit_free(u);
}

static void test_sig_all(void **state)
{
	struct unit *u = unit_new();

	u->opts.sq_sig_all = true;
	unit_start(u);
	unit_post_flags(u, 1, TCPZC_WQE_SEND, 0, 1, 0);
	while (unit_next(u, &h))
		;
	unit_ack(u, UNIT_SQ_PSN + 1);
	unit_expect(u, false, 1, 0);
	unit_free(u);
}

/* ---- message numbers ---------------------------------------------------- */

static void numbers_wrap(u32 psn)
{
	struct unit *u = unit_new();
	u32 i;

	unit_init_qp(u);
	bed_to_rts(&u->q, UNIT_PEER, psn, UNIT_RQ_PSN, &u->link, u->now);
	tz_qp_connected(&u->q.qp, 4096, u->now);
	for (i = 0; i < 6; i++) {
		unit_post(u, i, TCPZC_WQE_SEND, 0, 1);
		unit_expect_pdu(u, &h, TZ_PDU_SEND);
		assert_int_equal(get32(h.h.msn), psn + i);
	}
	for (i = 0; i < 6; i++) {
		unit_ack(u, psn + i + 1);
		unit_expect(u, false, i, 0);
		unit_no_cqe(u);
	}
	unit_free(u);
}

static void test_wrap(void **state)
{
	numbers_wrap(0xfffffc);		/* message numbers have 32 bits */
	numbers_wrap(0xfffffffd);
	numbers_wrap(0x7ffffffe);
	numbers_wrap(0);
}

/*
 * A peer that nothing right came from yet is a stranger: hang up, no more. What
 * he was told is told the peer when it comes.
 */
static void test_strange_ack(void **state)
{
	static const u32 wrong[] = { UNIT_SQ_PSN - 1, UNIT_SQ_PSN + 2,
				     UNIT_SQ_PSN + 0x80000000, 0 };
	u32 i;

	for (i = 0; i < 4; i++) {
		struct unit *u = started();

		unit_post(u, 1, TCPZC_WQE_SEND, 0, 1);
		unit_expect_pdu(u, &h, TZ_PDU_SEND);
		unit_ack(u, wrong[i]);
		assert_true(u->q.qp.closing);
		assert_int_equal(u->q.qp.state, TZ_RTS);
		assert_int_equal(unit_event(u, TZ_EVENT_FATAL), 0);
		unit_no_cqe(u);
		assert_int_equal(u->q.qp.stats.protocol_errors, 1);
		tz_qp_disconnected(&u->q.qp, u->now);
		assert_int_equal(u->q.qp.conn, TZ_CONN_NONE);
		assert_false(u->q.qp.closing);
		assert_int_equal(tz_qp_outstanding(&u->q.qp), 0);
		assert_int_equal(tz_qp_unsent(&u->q.qp), 1);
		tz_qp_connected(&u->q.qp, TZ_DEFAULT_PDU_BYTES, u->now);
		unit_expect_pdu(u, &h, TZ_PDU_SEND);
		assert_int_equal(tz_le32_to_cpu(h.h.msn), UNIT_SQ_PSN);
		unit_ack(u, UNIT_SQ_PSN + 1);
		unit_expect(u, false, 1, 0);
		unit_free(u);
	}
}

/* Nobody comes after the stranger: the time counts from the first post. */
static void test_stranger_and_nobody(void **state)
{
	struct unit *u = started();

	unit_post(u, 1, TCPZC_WQE_SEND, 0, 1);
	unit_expect_pdu(u, &h, TZ_PDU_SEND);
	unit_ack(u, UNIT_SQ_PSN - 1);
	tz_qp_disconnected(&u->q.qp, u->now);
	unit_no_cqe(u);
	assert_true(tz_qp_deadline(&u->q.qp));
	unit_tick(u, tz_qp_deadline(&u->q.qp) - u->now);
	unit_expect(u, false, 1, TCPZC_WC_RETRY_EXC_ERR);
	unit_free(u);
}

static void test_wrong_ack(void **state)
{
	static const u32 wrong[] = { UNIT_SQ_PSN, UNIT_SQ_PSN + 3 };
	u32 i;

	for (i = 0; i < 2; i++) {
		struct unit *u = started();

		unit_post(u, 1, TCPZC_WQE_SEND, 0, 1);
		unit_post(u, 2, TCPZC_WQE_SEND, 0, 1);
		while (unit_next(u, &h))
			;
		unit_ack(u, UNIT_SQ_PSN + 1);
		unit_expect(u, false, 1, 0);
		unit_ack(u, wrong[i]);
		assert_int_equal(unit_event(u, TZ_EVENT_FATAL), 1);
		finish(u);
		unit_expect(u, false, 2, TCPZC_WC_FATAL_ERR);
		unit_free(u);
	}
}

/* A message is not acknowledged before its last PDU exists. */
static void test_early_ack(void **state)
{
	struct unit *u = unit_new();
	static u8 some[4096];

	u->link.max_pdu = 4096;
	u->opts.tx_buf_bytes = 4096;
	unit_start(u);
	unit_post(u, 1, TCPZC_WQE_SEND, 0, 1);
	unit_post_flags(u, 2, TCPZC_WQE_SEND, 0, 60000, TCPZC_WQE_F_SIGNALED);
	assert_int_equal(bed_tx(&u->q, some, 41, u->now), 41);
	unit_ack(u, UNIT_SQ_PSN + 1);
	unit_expect(u, false, 1, 0);
	u->q.qp.req.cur = true;
	unit_ack(u, UNIT_SQ_PSN + 2);
	assert_int_equal(unit_event(u, TZ_EVENT_FATAL), 1);
	unit_free(u);
}

/* ---- receiver not ready ------------------------------------------------- */

/* IB specification, volume 1, table 45: in units of 10 us. */
static const u32 rnr_table[32] = {
	65536, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384,
	512, 768, 1024, 1536, 2048, 3072, 4096, 6144, 8192, 12288, 16384, 24576,
	32768, 49152
};

static void test_rnr_timer(void **state)
{
	u32 code;

	for (code = 0; code < 32; code++) {
		struct unit *u = started();
		u64 ns = rnr_table[code] * 10 * US;

		unit_post(u, 1, TCPZC_WQE_SEND, 0, 1);
		unit_expect_pdu(u, &h, TZ_PDU_SEND);
		unit_nak(u, UNIT_SQ_PSN, TZ_NAK_RNR, code);
		unit_silent(u);
		assert_true(tz_qp_deadline(&u->q.qp) == u->now + ns);
		unit_tick(u, ns - 1);
		unit_silent(u);
		unit_tick(u, 1);
		unit_expect_pdu(u, &h, TZ_PDU_SEND);
		assert_int_equal(get32(h.h.msn), UNIT_SQ_PSN);
		unit_ack(u, UNIT_SQ_PSN + 1);
		unit_expect(u, false, 1, 0);
		assert_int_equal(u->q.qp.stats.rx_rnr_naks, 1);
		unit_free(u);
	}
}

static void test_rnr_retries(void **state)
{
	u32 retry, i;

	for (retry = 0; retry < 7; retry++) {
		struct unit *u = unit_new();

		u->link.rnr_retry = retry;
		unit_start(u);
		unit_post(u, 1, TCPZC_WQE_SEND, 0, 1);
		for (i = 0; i < retry; i++) {
			unit_expect_pdu(u, &h, TZ_PDU_SEND);
			unit_nak(u, UNIT_SQ_PSN, TZ_NAK_RNR, 1);
			unit_no_cqe(u);
			unit_tick(u, 10 * US);
		}
		unit_expect_pdu(u, &h, TZ_PDU_SEND);
		unit_nak(u, UNIT_SQ_PSN, TZ_NAK_RNR, 1);
		finish(u);
		unit_expect(u, false, 1, TCPZC_WC_RNR_RETRY_EXC_ERR);
		unit_free(u);
	}
}

static void test_rnr_for_ever(void **state)
{
	struct unit *u = started();
	u32 i;

	unit_post(u, 1, TCPZC_WQE_SEND, 0, 1);
	for (i = 0; i < 1000; i++) {
		unit_expect_pdu(u, &h, TZ_PDU_SEND);
		unit_nak(u, UNIT_SQ_PSN, TZ_NAK_RNR, 31);
		unit_tick(u, 492 * MS);
	}
	unit_no_cqe(u);
	unit_free(u);
}

/* Each message has all its retries. */
static void test_rnr_counts_anew(void **state)
{
	struct unit *u = unit_new();
	u32 i;

	u->link.rnr_retry = 1;
	unit_start(u);
	for (i = 0; i < 4; i++) {
		unit_post(u, i, TCPZC_WQE_SEND, 0, 1);
		unit_expect_pdu(u, &h, TZ_PDU_SEND);
		unit_nak(u, UNIT_SQ_PSN + i, TZ_NAK_RNR, 1);
		unit_tick(u, 10 * US);
		unit_expect_pdu(u, &h, TZ_PDU_SEND);
		unit_ack(u, UNIT_SQ_PSN + i + 1);
		unit_expect(u, false, i, 0);
	}
	unit_free(u);
}

/*
 * All that followed is sent again, in order, as the peer accepts it; posted
 * meanwhile comes after.
 */
static void test_rnr_rewind(void **state)
{
	static const u8 ops[] = { TZ_PDU_SEND, TZ_PDU_WRITE, TZ_PDU_READ_REQ,
				  TZ_PDU_ATOMIC_REQ, TZ_PDU_SEND };
	struct unit *u = started();
	u32 i, round;

	unit_post(u, 9, TCPZC_WQE_RDMA_WRITE, 0, 1);
	unit_expect_pdu(u, &h, TZ_PDU_WRITE);
	unit_post(u, 0, TCPZC_WQE_SEND, 0, 1);
	unit_post(u, 1, TCPZC_WQE_RDMA_WRITE, 0, 5000);
	unit_post(u, 2, TCPZC_WQE_RDMA_READ, 0, 1);
	unit_post(u, 3, TCPZC_WQE_ATOMIC_FETCH_AND_ADD, 0, 8);
	for (i = 0; i < 4; i++)
		unit_expect_pdu(u, &h, ops[i]);
	for (round = 0; round < 2; round++) {
		unit_nak(u, UNIT_SQ_PSN + 1, TZ_NAK_RNR, 1);
		if (!round)
			unit_expect(u, false, 9, 0);
		unit_silent(u);
		unit_tick(u, 10 * US);
		unit_expect_pdu(u, &h, ops[0]);
		assert_int_equal(get32(h.h.msn), UNIT_SQ_PSN + 1);
		unit_silent(u);
	}
	unit_post(u, 4, TCPZC_WQE_SEND, 0, 2);
	unit_silent(u);
	unit_ack(u, UNIT_SQ_PSN + 2);	/* one is accepted: two may follow */
	unit_expect(u, false, 0, 0);
	for (i = 1; i < 3; i++)
		unit_expect_pdu(u, &h, ops[i]);
	unit_silent(u);
	unit_ack(u, UNIT_SQ_PSN + 3);
	unit_expect(u, false, 1, 0);
	for (i = 3; i < 5; i++) {
		unit_expect_pdu(u, &h, ops[i]);
		assert_int_equal(get32(h.h.msn), UNIT_SQ_PSN + 1 + i);
	}
	unit_silent(u);
	unit_free(u);
}

/* In SQD what was begun goes on, and only that. */
static void test_rnr_sqd(void **state)
{
	struct unit *u = started();

	unit_post(u, 1, TCPZC_WQE_SEND, 0, 1);
	unit_expect_pdu(u, &h, TZ_PDU_SEND);
	unit_nak(u, UNIT_SQ_PSN, TZ_NAK_RNR, 1);
	unit_modify(u, TZ_SQD);
	unit_post(u, 2, TCPZC_WQE_SEND, 0, 1);
	assert_int_equal(unit_event(u, TZ_EVENT_SQ_DRAINED), 0);
	unit_tick(u, 10 * US);
	unit_expect_pdu(u, &h, TZ_PDU_SEND);
	unit_silent(u);
	unit_ack(u, UNIT_SQ_PSN + 1);
	unit_expect(u, false, 1, 0);
	assert_int_equal(unit_event(u, TZ_EVENT_SQ_DRAINED), 1);
	unit_silent(u);
	unit_modify(u, TZ_RTS);
	unit_expect_pdu(u, &h, TZ_PDU_SEND);
	unit_free(u);
}

/* ---- NAKs --------------------------------------------------------------- */

static void test_naks(void **state)
{
	static const struct { u8 code, status; } t[] = {
		{ TZ_NAK_INV_REQ, TCPZC_WC_REM_INV_REQ_ERR },
		{ TZ_NAK_REM_ACCESS, TCPZC_WC_REM_ACCESS_ERR },
		{ TZ_NAK_REM_OP, TCPZC_WC_REM_OP_ERR },
	};
	u32 i;

	for (i = 0; i < 3; i++) {
		struct unit *u = started();

		unit_post(u, 1, TCPZC_WQE_SEND, 0, 1);
		unit_post_flags(u, 2, TCPZC_WQE_RDMA_WRITE, 0, 1, 0);
		unit_post(u, 3, TCPZC_WQE_RDMA_READ, 0, 1);
		while (unit_next(u, &h))
			;
		unit_nak(u, UNIT_SQ_PSN + 1, t[i].code, 0);
		finish(u);
		unit_expect(u, false, 1, 0);	/* the NAK acknowledges it */
		unit_expect(u, false, 2, t[i].status);
		unit_expect(u, false, 3, TCPZC_WC_WR_FLUSH_ERR);
		unit_no_cqe(u);
		assert_int_equal(u->q.qp.stats.rx_naks, 1);
		unit_free(u);
	}
}

static void test_senseless_naks(void **state)
{
	static const struct { u32 msn, code; } t[] = {
		{ UNIT_SQ_PSN, TZ_NAK_CODES }, { UNIT_SQ_PSN, 0xffffffff },
		{ UNIT_SQ_PSN + 2, TZ_NAK_RNR }, { UNIT_SQ_PSN + 1, TZ_NAK_RNR },
		{ UNIT_SQ_PSN - 1, TZ_NAK_REM_OP },
	};
	u32 i;

	for (i = 0; i < 5; i++) {
		struct unit *u = started();

		u->q.qp.acquainted = true;
		unit_post(u, 1, TCPZC_WQE_SEND, 0, 1);
		unit_expect_pdu(u, &h, TZ_PDU_SEND);
		unit_nak(u, t[i].msn, t[i].code, 0);
		assert_int_equal(unit_event(u, TZ_EVENT_FATAL), 1);
		assert_int_equal(u->q.qp.state, TZ_ERR);
		unit_free(u);
	}
}

/* ---- answers ------------------------------------------------------------ */

static void test_read_answer(void **state)
{
	static struct bed_swr wr;
	struct unit *u = started();
	u32 i;

	unit_wr(u, &wr, 1, TCPZC_WQE_RDMA_READ, 0, 0);
	wr.wqe.num_sge = 2;
	wr.sge[0] = unit_sge(u, 20000, 100);
	wr.sge[1] = unit_sge(u, 1000, 9900);
	unit_post_wr(u, &wr);
	unit_expect_pdu(u, &h, TZ_PDU_READ_REQ);
	unit_ack(u, UNIT_SQ_PSN + 1);
	unit_read_resp(u, UNIT_SQ_PSN, 10000, 0, 50);
	unit_read_resp(u, UNIT_SQ_PSN, 10000, 50, 8000);
	unit_no_cqe(u);
	unit_read_resp(u, UNIT_SQ_PSN, 10000, 8050, 1950);
	unit_expect(u, false, 1, 0);
	for (i = 0; i < 10000; i++)
		assert_int_equal(u->mem[i < 100 ? 20000 + i : 900 + i], (u8)(i + 1));
	assert_int_equal(u->mem[20100], (u8)20100);
	assert_int_equal(u->mem[10900], (u8)10900);
	assert_int_equal(u->mem[999], (u8)999);
	unit_free(u);
}

static void test_atomic_answer(void **state)
{
	struct unit *u = started();
	u64 v;

	unit_post(u, 1, TCPZC_WQE_ATOMIC_CMP_AND_SWP, 81, 8);
	unit_expect_pdu(u, &h, TZ_PDU_ATOMIC_REQ);
	unit_ack(u, UNIT_SQ_PSN + 1);
	unit_atomic_resp(u, UNIT_SQ_PSN, 0x1122334455667788);
	unit_expect(u, false, 1, 0);
	memcpy(&v, u->mem + 81, 8);
	assert_true(v == 0x1122334455667788);
	unit_free(u);
}

#define WRONG_ANSWER(call) do {						\
		struct unit *u = started();				\
		u->q.qp.acquainted = true;				\
		unit_post(u, 1, TCPZC_WQE_RDMA_READ, 0, 100);		\
		unit_post(u, 2, TCPZC_WQE_ATOMIC_FETCH_AND_ADD, 0, 8);	\
		while (unit_next(u, &h))				\
			;						\
		call;							\
		assert_int_equal(unit_event(u, TZ_EVENT_FATAL), 1);	\
		assert_int_equal(u->q.qp.state, TZ_ERR);		\
		unit_free(u);						\
	} while (0)

static void test_wrong_answers(void **state)
{
	const u32 psn = UNIT_SQ_PSN;

	WRONG_ANSWER(unit_read_resp(u, psn + 1, 100, 0, 100));
	WRONG_ANSWER(unit_read_resp(u, psn, 99, 0, 99));
	WRONG_ANSWER(unit_read_resp(u, psn, 101, 0, 101));
	WRONG_ANSWER(unit_read_resp(u, psn, 100, 1, 99));
	WRONG_ANSWER(unit_read_resp(u, psn, 100, 0, 0));
	WRONG_ANSWER(unit_read_resp(u, psn, 100, 0xffffffff, 1));
	WRONG_ANSWER(unit_read_resp(u, psn, 100, 0, 10);
		     unit_read_resp(u, psn, 100, 0, 10));
	WRONG_ANSWER(unit_read_resp(u, psn, 100, 0, 10);
		     unit_read_resp(u, psn, 100, 10, 91));
	WRONG_ANSWER(unit_atomic_resp(u, psn, 1));
	WRONG_ANSWER(unit_ack(u, psn + 2); unit_read_resp(u, psn, 100, 0, 100);
		     unit_read_resp(u, psn + 1, 8, 0, 8));
	WRONG_ANSWER(unit_ack(u, psn + 2); unit_read_resp(u, psn, 100, 0, 100);
		     unit_atomic_resp(u, psn + 1, 1);
		     unit_atomic_resp(u, psn + 2, 1));
}

/* The ring changes, or a region goes, while an answer is on its way. */
static void test_answer_has_no_place(void **state)
{
	struct unit *u = started();
	struct tcpzc_sge *sge;

	unit_post(u, 1, TCPZC_WQE_RDMA_READ, 0, 100);
	unit_expect_pdu(u, &h, TZ_PDU_READ_REQ);
	sge = (struct tcpzc_sge *)(u->q.qp.init.sq.slots + sizeof(struct tcpzc_send_wqe));
	sge->length = 50;
	unit_ack(u, UNIT_SQ_PSN + 1);
	unit_read_resp(u, UNIT_SQ_PSN, 100, 0, 100);
	finish(u);
	unit_expect(u, false, 1, TCPZC_WC_LOC_PROT_ERR);
	assert_int_equal(u->mem[0], 0);
	unit_free(u);

	u = started();
	unit_post(u, 1, TCPZC_WQE_RDMA_READ, 0, 20000);
	unit_expect_pdu(u, &h, TZ_PDU_READ_REQ);
	unit_ack(u, UNIT_SQ_PSN + 1);
	unit_read_resp(u, UNIT_SQ_PSN, 20000, 0, 10000);
	bed_dereg(u->mr);
	unit_read_resp(u, UNIT_SQ_PSN, 20000, 10000, 10000);
	finish(u);
	unit_expect(u, false, 1, TCPZC_WC_LOC_PROT_ERR);
	unit_free(u);
}

/* ---- order and limits --------------------------------------------------- */

static void test_fence(void **state)
{
	struct unit *u = started();

	unit_post(u, 1, TCPZC_WQE_RDMA_READ, 0, 4);
	unit_post(u, 2, TCPZC_WQE_SEND, 0, 1);
	unit_post_flags(u, 3, TCPZC_WQE_SEND, 0, 4,
			TCPZC_WQE_F_FENCE | TCPZC_WQE_F_SIGNALED);
	unit_post(u, 4, TCPZC_WQE_SEND, 0, 1);
	unit_expect_pdu(u, &h, TZ_PDU_READ_REQ);
	unit_expect_pdu(u, &h, TZ_PDU_SEND);
	unit_silent(u);
	unit_ack(u, UNIT_SQ_PSN + 2);
	unit_silent(u);
	unit_read_resp(u, UNIT_SQ_PSN, 4, 0, 4);
	unit_expect_pdu(u, &h, TZ_PDU_SEND);
	/* what the READ brought is what is sent */
	assert_memory_equal(unit_payload, ((u8[]){ 1, 2, 3, 4 }), 4);
	unit_expect_pdu(u, &h, TZ_PDU_SEND);
	unit_free(u);
}

static void test_max_rd_atomic(void **state)
{
	struct unit *u = unit_new();
	u32 i;

	u->link.max_rd_atomic = 2;
	unit_start(u);
	for (i = 0; i < 5; i++)
		unit_post(u, i, i & 1 ? TCPZC_WQE_ATOMIC_FETCH_AND_ADD :
					TCPZC_WQE_RDMA_READ, 0, 8);
	unit_post(u, 5, TCPZC_WQE_SEND, 0, 1);
	unit_expect_pdu(u, &h, TZ_PDU_READ_REQ);
	unit_expect_pdu(u, &h, TZ_PDU_ATOMIC_REQ);
	unit_silent(u);
	for (i = 0; i < 5; i++) {
		unit_ack(u, UNIT_SQ_PSN + i + 1);
		if (i & 1)
			unit_atomic_resp(u, UNIT_SQ_PSN + i, 1);
		else
			unit_read_resp(u, UNIT_SQ_PSN + i, 8, 0, 8);
		unit_expect(u, false, i, 0);
		if (i < 3)
			unit_expect_pdu(u, &h, i & 1 ? TZ_PDU_ATOMIC_REQ :
						       TZ_PDU_READ_REQ);
		if (i == 2)
			unit_expect_pdu(u, &h, TZ_PDU_SEND);
	}
	unit_silent(u);
	unit_free(u);
}

static void test_no_rd_atomic(void **state)
{
	struct unit *u = unit_new();

	u->link.max_rd_atomic = 0;
	unit_start(u);
	unit_post(u, 1, TCPZC_WQE_RDMA_READ, 0, 8);
	unit_silent(u);
	finish(u);
	unit_expect(u, false, 1, TCPZC_WC_LOC_QP_OP_ERR);
	unit_free(u);
}

static void test_sqd(void **state)
{
	struct unit *u = started();

	unit_post(u, 1, TCPZC_WQE_RDMA_READ, 0, 8);
	unit_expect_pdu(u, &h, TZ_PDU_READ_REQ);
	unit_modify(u, TZ_SQD);
	unit_post(u, 2, TCPZC_WQE_SEND, 0, 8);
	unit_silent(u);
	assert_int_equal(unit_event(u, TZ_EVENT_SQ_DRAINED), 0);
	unit_ack(u, UNIT_SQ_PSN + 1);
	assert_int_equal(unit_event(u, TZ_EVENT_SQ_DRAINED), 0);
	unit_read_resp(u, UNIT_SQ_PSN, 8, 0, 8);
	assert_int_equal(unit_event(u, TZ_EVENT_SQ_DRAINED), 1);
	unit_expect(u, false, 1, 0);
	unit_modify(u, TZ_RTS);
	unit_expect_pdu(u, &h, TZ_PDU_SEND);
	unit_free(u);
}

/* Posting round and round the ring, through 2^32 of its indices. */
static void test_ring_wrap(void **state)
{
	struct unit *u = unit_new();
	u32 i;

	u->opts.sq_depth = 2;
	unit_init_qp(u);
	u->q.sq_hdr->prod = 0xfffffffd;
	unit_modify(u, TZ_RESET);
	bed_to_rts(&u->q, UNIT_PEER, 0, 0, &u->link, u->now);
	tz_qp_connected(&u->q.qp, 4096, u->now);
	for (i = 0; i < 10; i++) {
		unit_post(u, i, TCPZC_WQE_SEND, i, 1);
		unit_expect_pdu(u, &h, TZ_PDU_SEND);
		assert_int_equal(unit_payload[0], i);
		unit_ack(u, i + 1);
		unit_expect(u, false, i, 0);
	}
	assert_int_equal(u->q.sq_hdr->cons, 7);
	unit_free(u);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bad_requests),
		cmocka_unit_test(test_access),
		cmocka_unit_test(test_too_long),
		cmocka_unit_test(test_garbage_index),
		cmocka_unit_test(test_index_backwards),
		cmocka_unit_test(test_not_in_rtr),
		cmocka_unit_test(test_send_pdus),
		cmocka_unit_test(test_write_pdu),
		cmocka_unit_test(test_queries),
		cmocka_unit_test(test_inline),
		cmocka_unit_test(test_completions),
		cmocka_unit_test(test_unsignaled),
		cmocka_unit_test(test_sig_all),
		cmocka_unit_test(test_wrap),
		cmocka_unit_test(test_strange_ack),
		cmocka_unit_test(test_stranger_and_nobody),
		cmocka_unit_test(test_wrong_ack),
		cmocka_unit_test(test_early_ack),
		cmocka_unit_test(test_rnr_timer),
		cmocka_unit_test(test_rnr_retries),
		cmocka_unit_test(test_rnr_for_ever),
		cmocka_unit_test(test_rnr_counts_anew),
		cmocka_unit_test(test_rnr_rewind),
		cmocka_unit_test(test_rnr_sqd),
		cmocka_unit_test(test_naks),
		cmocka_unit_test(test_senseless_naks),
		cmocka_unit_test(test_read_answer),
		cmocka_unit_test(test_atomic_answer),
		cmocka_unit_test(test_wrong_answers),
		cmocka_unit_test(test_answer_has_no_place),
		cmocka_unit_test(test_fence),
		cmocka_unit_test(test_max_rd_atomic),
		cmocka_unit_test(test_no_rd_atomic),
		cmocka_unit_test(test_sqd),
		cmocka_unit_test(test_ring_wrap),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
