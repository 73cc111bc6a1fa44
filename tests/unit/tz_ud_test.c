// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * tz_ud_test.c - datagrams: what is accepted from the ring and from the wire,
 * the header before a received message, keys, drops, and the send queue's own
 * error state.
 */
#include "tz_ud.h"
#include "unit.h"

#define QKEY	0x11111111u

static u8 dgram[TZ_UD_MAX_BYTES + 64];
static struct tz_ud_path v4 = {
	.sgid = { [10] = 0xff, 0xff, 10, 1, 2, 3 },
	.dgid = { [10] = 0xff, 0xff, 10, 1, 2, 4 },
	.traffic_class = 0x20, .hop_limit = 63,
};

static struct unit *ud_new(enum tz_state to)
{
	struct tz_qp_attr a = { .qkey = QKEY };
	struct unit *u = unit_new();

	u->opts.type = TZ_QPT_UD;
	u->opts.max_inline = 64;
	unit_init_qp(u);
	for (a.state = TZ_INIT; a.state <= to; a.state++)
		tz_qp_modify(&u->q.qp, &a, TZ_QP_STATE | TZ_QP_QKEY, u->now);
	return u;
}

static void post_wr(struct unit *u, struct bed_swr *wr, u64 id, u32 off, u32 len)
{
	unit_wr(u, wr, id, TCPZC_WQE_SEND, off, len);
	memset(&wr->wqe.ud, 0, sizeof(wr->wqe.ud));
	wr->wqe.ud.dgid[15] = 9;
	wr->wqe.ud.dest_qpn = 0x400001;
	wr->wqe.ud.qkey = 0x1234;
	wr->wqe.ud.sgid_index = 3;
	wr->wqe.ud.traffic_class = 8;
	wr->wqe.ud.hop_limit = 5;
}

static void post(struct unit *u, u64 id, u32 off, u32 len)
{
	static struct bed_swr wr;

	post_wr(u, &wr, id, off, len);
	unit_post_wr(u, &wr);
}

/* A datagram with @len bytes of payload, all @fill. */
static u32 make(u32 dst_qpn, u32 qkey, u8 flags, u32 len, u8 fill)
{
	struct tz_ud_hdr h;

	tz_ud_make(&h, 0x222222, dst_qpn, qkey, flags, 0x0a0b0c0d, len);
	memcpy(dgram, &h, sizeof(h));
	memset(dgram + sizeof(h), fill, len);
	return sizeof(h) + len;
}

static void feed(struct unit *u, u32 qkey, u8 flags, u32 len, u8 fill)
{
	u32 bytes = make(UNIT_QPN, qkey, flags, len, fill), qpn;

	assert_true(tz_ud_check(dgram, bytes, &qpn));
	assert_int_equal(qpn, UNIT_QPN);
	tz_ud_rx(&u->q.qp, dgram, &v4);
}

/* ---- sending ------------------------------------------------------------ */

static void test_send(void **state)
{
	struct unit *u = ud_new(TZ_RTS);
	struct tz_ud_out out;
	u32 qpn;

	assert_false(tz_ud_tx_next(&u->q.qp, &out));
	post(u, 1, 100, 50);
	assert_true(tz_ud_tx_pending(&u->q.qp));
	assert_true(tz_ud_tx_next(&u->q.qp, &out));
	assert_true(tz_ud_tx_next(&u->q.qp, &out));	/* asking changes nothing */
	assert_int_equal(out.dest_qpn, 0x400001);
	assert_int_equal(out.dgid[15], 9);
	assert_int_equal(out.sgid_index, 3);
	assert_int_equal(out.traffic_class, 8);
	assert_int_equal(out.hop_limit, 5);
	assert_int_equal(out.n, 2);
	assert_int_equal(out.bytes, 50);
	bed_vec_read(&out.vec[0], 0, dgram, out.vec[0].len);
	bed_vec_read(&out.vec[1], 0, dgram + out.vec[0].len, 50);
	assert_true(tz_ud_check(dgram, sizeof(struct tz_ud_hdr) + 50, &qpn));
	assert_int_equal(qpn, 0x400001);
	assert_int_equal(get32(out.hdr.src_qpn), UNIT_QPN);
	assert_int_equal(get32(out.hdr.qkey), 0x1234);
	assert_int_equal(dgram[sizeof(struct tz_ud_hdr)], 100);
	unit_no_cqe(u);
	tz_ud_tx_done(&u->q.qp, &out, true);
	unit_expect(u, false, 1, TCPZC_WC_SUCCESS);
	assert_false(tz_ud_tx_next(&u->q.qp, &out));
	/* what the socket does not want is lost, and nobody is told */
	post(u, 2, 0, 0);
	assert_true(tz_ud_tx_next(&u->q.qp, &out));
	assert_int_equal(out.n, 1);
	tz_ud_tx_done(&u->q.qp, &out, false);
	unit_expect(u, false, 2, TCPZC_WC_SUCCESS);
	assert_int_equal(u->q.qp.stats.lost, 1);
	assert_int_equal(u->q.qp.stats.tx_msgs, 1);
	unit_free(u);
}

static void test_inline_imm_key(void **state)
{
	static struct bed_swr wr;
	struct unit *u = ud_new(TZ_RTS);
	struct tz_ud_out out;

	post_wr(u, &wr, 1, 0, 0);
	wr.wqe.opcode = TCPZC_WQE_SEND_WITH_IMM;
	wr.wqe.flags |= TCPZC_WQE_F_INLINE | TCPZC_WQE_F_SOLICITED;
	wr.wqe.num_sge = 0;
	wr.wqe.inline_len = 7;
	wr.wqe.ud.qkey = 0x80000000;	/* the QP's own */
	memcpy(wr.data, "inlined", 7);
	unit_post_wr(u, &wr);
	assert_true(tz_ud_tx_next(&u->q.qp, &out));
	assert_int_equal(out.n, 2);
	assert_int_equal(out.bytes, 7);
	assert_memory_equal(out.vec[1].ptr, "inlined", 7);
	assert_int_equal(get32(out.hdr.qkey), QKEY);
	assert_int_equal(out.hdr.flags, TZ_UD_F_IMM | TZ_UD_F_SOLICITED);
	assert_int_equal((u32)out.hdr.imm, 0x01020304);
	tz_ud_tx_done(&u->q.qp, &out, true);
	unit_expect(u, false, 1, TCPZC_WC_SUCCESS);
	unit_free(u);
}

#define BAD(want, ...) do {						\
		static struct bed_swr wr;				\
		struct unit *u = ud_new(TZ_RTS);			\
		struct tz_ud_out out;					\
		post(u, 1, 0, 8);					\
		post_wr(u, &wr, 2, 0, 8);				\
		__VA_ARGS__;						\
		unit_post_wr(u, &wr);					\
		post(u, 3, 0, 8);					\
		assert_true(tz_ud_tx_next(&u->q.qp, &out));		\
		tz_ud_tx_done(&u->q.qp, &out, true);			\
		assert_false(tz_ud_tx_next(&u->q.qp, &out));		\
		unit_expect(u, false, 1, TCPZC_WC_SUCCESS);		\
		unit_expect(u, false, 2, want);				\
		unit_expect(u, false, 3, TCPZC_WC_WR_FLUSH_ERR);	\
		assert_int_equal(u->q.qp.state, TZ_SQE);		\
		unit_free(u);						\
	} while (0)

static void test_bad_requests(void **state)
{
	BAD(TCPZC_WC_LOC_QP_OP_ERR, wr.wqe.opcode = TCPZC_WQE_RDMA_WRITE);
	BAD(TCPZC_WC_LOC_QP_OP_ERR, wr.wqe.opcode = TCPZC_WQE_RDMA_READ);
	BAD(TCPZC_WC_LOC_QP_OP_ERR, wr.wqe.opcode = 255);
	BAD(TCPZC_WC_LOC_QP_OP_ERR, wr.wqe.num_sge = 5);
	BAD(TCPZC_WC_LOC_QP_OP_ERR, wr.wqe.flags |= TCPZC_WQE_F_INLINE;
	    wr.wqe.inline_len = 65);
	BAD(TCPZC_WC_LOC_PROT_ERR, wr.sge[0].lkey++);
	BAD(TCPZC_WC_LOC_LEN_ERR, wr.sge[0].length = TZ_UD_MAX_BYTES + 1);
}

/* Sending has failed, receiving has not; RTS makes it good again. */
static void test_sqe(void **state)
{
	static struct bed_swr wr;
	struct unit *u = ud_new(TZ_RTS);
	struct tz_ud_out out;

	unit_recv(u, 7, 0, 200);
	post_wr(u, &wr, 1, 0, 8);
	wr.sge[0].lkey++;
	unit_post_wr(u, &wr);
	assert_false(tz_ud_tx_next(&u->q.qp, &out));
	unit_expect(u, false, 1, TCPZC_WC_LOC_PROT_ERR);
	post(u, 2, 0, 8);
	unit_expect(u, false, 2, TCPZC_WC_WR_FLUSH_ERR);
	feed(u, QKEY, 0, 100, 1);
	unit_expect(u, true, 7, TCPZC_WC_SUCCESS);
	unit_modify(u, TZ_RTS);
	post(u, 3, 0, 8);
	assert_true(tz_ud_tx_next(&u->q.qp, &out));
	tz_ud_tx_done(&u->q.qp, &out, true);
	unit_expect(u, false, 3, TCPZC_WC_SUCCESS);
	unit_free(u);
}

static void test_sqd_and_err(void **state)
{
	struct unit *u = ud_new(TZ_RTS);
	struct tz_ud_out out;

	unit_modify(u, TZ_SQD);
	assert_int_equal(unit_event(u, TZ_EVENT_SQ_DRAINED), 1);
	post(u, 1, 0, 8);
	assert_false(tz_ud_tx_next(&u->q.qp, &out));
	unit_recv(u, 7, 0, 200);
	assert_int_equal(tz_qp_deadline(&u->q.qp), 0);
	unit_modify(u, TZ_ERR);
	unit_expect(u, false, 1, TCPZC_WC_WR_FLUSH_ERR);
	unit_expect(u, true, 7, TCPZC_WC_WR_FLUSH_ERR);
	unit_recv(u, 8, 0, 200);
	post(u, 2, 0, 8);
	unit_expect(u, true, 8, TCPZC_WC_WR_FLUSH_ERR);
	unit_expect(u, false, 2, TCPZC_WC_WR_FLUSH_ERR);
	assert_false(u->q.qp.closing);
	feed(u, QKEY, 0, 8, 1);
	unit_no_cqe(u);
	unit_free(u);
}

/* An index that the application scribbled on. */
static void test_wild_index(void **state)
{
	struct unit *u = ud_new(TZ_RTS);
	struct tz_ud_out out;

	u->q.sq_hdr->prod += 1000;
	assert_false(tz_ud_tx_next(&u->q.qp, &out));
	assert_int_equal(u->q.qp.state, TZ_ERR);
	assert_int_equal(unit_event(u, TZ_EVENT_FATAL), 1);
	unit_free(u);
}

/* ---- receiving ---------------------------------------------------------- */

static void test_receive(void **state)
{
	struct unit *u = ud_new(TZ_RTR);
	struct tcpzc_cqe c;

	unit_recv(u, 7, 1000, 200);
	feed(u, QKEY, TZ_UD_F_IMM | TZ_UD_F_SOLICITED, 100, 0x77);
	c = unit_pop(u);
	assert_int_equal(c.wr_id, 7);
	assert_int_equal(c.status, 0);
	assert_int_equal(c.byte_len, 140);
	assert_int_equal(c.src_qp, 0x222222);
	assert_int_equal(c.flags, TCPZC_CQE_F_GRH | TCPZC_CQE_F_WITH_IMM |
				  TCPZC_CQE_F_SOLICITED | TCPZC_CQE_F_IPV4);
	assert_int_equal(c.imm_data, 0x0a0b0c0d);
	assert_int_equal(u->mem[1020], 0x45);
	assert_int_equal(u->mem[1039], 4);
	assert_int_equal(u->mem[1040], 0x77);
	assert_int_equal(u->mem[1139], 0x77);
	assert_int_equal(u->mem[1140], 1140 & 0xff);
	unit_free(u);
}

static void test_drops(void **state)
{
	struct unit *u = ud_new(TZ_RTS);

	feed(u, QKEY, 0, 10, 1);			/* no receive */
	assert_int_equal(u->q.qp.stats.rx_no_receive, 1);
	unit_recv(u, 7, 0, 100);
	feed(u, QKEY + 1, 0, 10, 1);			/* wrong key */
	assert_int_equal(u->q.qp.stats.rx_bad_key, 1);
	feed(u, QKEY, 0, 61, 1);			/* too long */
	assert_int_equal(u->q.qp.stats.rx_dropped, 3);
	unit_no_cqe(u);
	feed(u, QKEY, 0, 60, 1);
	unit_expect(u, true, 7, TCPZC_WC_SUCCESS);
	unit_free(u);
	/* not ready yet */
	u = ud_new(TZ_INIT);
	unit_recv(u, 7, 0, 100);
	feed(u, QKEY, 0, 10, 1);
	unit_no_cqe(u);
	assert_int_equal(u->q.qp.stats.rx_dropped, 1);
	unit_free(u);
}

static void test_bad_receive(void **state)
{
	struct unit *u = ud_new(TZ_RTS);
	struct tcpzc_sge sge = unit_sge(u, 0, 100);

	sge.lkey++;
	assert_true(bed_post_recv(&u->q, 7, &sge, 1));
	unit_recv(u, 8, 0, 100);
	feed(u, QKEY, 0, 10, 1);
	unit_expect(u, true, 7, TCPZC_WC_LOC_PROT_ERR);
	unit_expect(u, true, 8, TCPZC_WC_WR_FLUSH_ERR);
	assert_int_equal(u->q.qp.state, TZ_ERR);
	unit_free(u);
}

/* A message over several entries, from a shared receive queue. */
static void test_srq(void **state)
{
	struct unit *u = unit_new();
	struct tz_qp_attr a = { .qkey = QKEY };
	struct tcpzc_sge sge[3];

	bed_srq_init(&u->srq, 16, 4);
	u->opts.type = TZ_QPT_UD;
	u->opts.srq = &u->srq;
	unit_init_qp(u);
	for (a.state = TZ_INIT; a.state <= TZ_RTS; a.state++)
		tz_qp_modify(&u->q.qp, &a, TZ_QP_STATE | TZ_QP_QKEY, u->now);
	sge[0] = unit_sge(u, 0, 38);
	sge[1] = unit_sge(u, 1000, 3);
	sge[2] = unit_sge(u, 2000, 1000);
	assert_true(bed_post_srq(&u->srq, 7, sge, 3));
	feed(u, QKEY, 0, 100, 0x55);
	unit_expect(u, true, 7, TCPZC_WC_SUCCESS);
	assert_int_equal(u->mem[1001], 4);	/* last byte of the GRH */
	assert_int_equal(u->mem[1002], 0x55);
	assert_int_equal(u->mem[2098], 0x55);
	assert_int_equal(u->mem[2099], 2099 & 0xff);
	unit_modify(u, TZ_ERR);
	assert_int_equal(unit_event(u, TZ_EVENT_LAST_WQE_REACHED), 1);
	unit_free(u);
}

/* ---- headers ------------------------------------------------------------ */

#define NOT_ONE(...) do {					\
		struct tz_ud_hdr h;				\
		bytes = make(5, 0, 0, 8, 0);			\
		memcpy(&h, dgram, sizeof(h));			\
		__VA_ARGS__;					\
		memcpy(dgram, &h, sizeof(h));			\
		assert_false(tz_ud_check(dgram, bytes, &qpn));	\
	} while (0)

static void test_check(void **state)
{
	u32 qpn, bytes = make(5, 0, 0, TZ_UD_MAX_BYTES, 0);

	assert_true(tz_ud_check(dgram, bytes, &qpn));
	assert_false(tz_ud_check(dgram, 0, &qpn));
	assert_false(tz_ud_check(dgram, 31, &qpn));
	NOT_ONE(h.magic++);
	NOT_ONE(h.version = 2);
	NOT_ONE(h.flags = 4);
	NOT_ONE(h.pkey = 0);
	NOT_ONE(h.reserved = 1);
	NOT_ONE(h.src_qpn = put32(1 << 24));
	NOT_ONE(h.dst_qpn = put32(1 << 24));
	NOT_ONE(bytes++);
	NOT_ONE(bytes--);
	NOT_ONE(h.len = put32(0xffffffff));
	NOT_ONE(h.len = put32(TZ_UD_MAX_BYTES + 1); bytes = 33 + TZ_UD_MAX_BYTES);
}

static void test_grh_v4(void **state)
{
	u8 grh[TZ_GRH_BYTES], zero[20] = { 0 };
	u32 sum = 0, i;

	tz_ud_grh(&v4, 132, grh);
	assert_memory_equal(grh, zero, 20);
	for (i = 20; i < 40; i += 2)
		sum += grh[i] << 8 | grh[i + 1];
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	assert_int_equal(sum, 0xffff);
	assert_int_equal(grh[20], 0x45);
	assert_int_equal(grh[21], 0x20);
	assert_int_equal(grh[22] << 8 | grh[23], 20 + 8 + 132);
	assert_int_equal(grh[28], 63);
	assert_int_equal(grh[29], 17);
	assert_memory_equal(grh + 32, v4.sgid + 12, 4);
	assert_memory_equal(grh + 36, v4.dgid + 12, 4);
}

static void test_grh_v6(void **state)
{
	struct tz_ud_path p = { .sgid = { 0xfe, 0x80, [15] = 1 },
				.dgid = { 0xfe, 0x80, [15] = 2 },
				.traffic_class = 0xab };
	u8 grh[TZ_GRH_BYTES];

	tz_ud_grh(&p, 132, grh);
	assert_int_equal(grh[0], 0x6a);
	assert_int_equal(grh[1], 0xb0);
	assert_int_equal(grh[4] << 8 | grh[5], 8 + 132);
	assert_int_equal(grh[6], 17);
	assert_int_equal(grh[7], 64);
	assert_memory_equal(grh + 8, p.sgid, 16);
	assert_memory_equal(grh + 24, p.dgid, 16);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_send),
		cmocka_unit_test(test_inline_imm_key),
		cmocka_unit_test(test_bad_requests),
		cmocka_unit_test(test_sqe),
		cmocka_unit_test(test_sqd_and_err),
		cmocka_unit_test(test_wild_index),
		cmocka_unit_test(test_receive),
		cmocka_unit_test(test_drops),
		cmocka_unit_test(test_bad_receive),
		cmocka_unit_test(test_srq),
		cmocka_unit_test(test_check),
		cmocka_unit_test(test_grh_v4),
		cmocka_unit_test(test_grh_v6),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
