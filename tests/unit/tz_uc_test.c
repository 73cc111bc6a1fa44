// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * tz_uc_test.c - what is different on an unreliable connection: completions
 * when the bytes are taken, no acknowledgements, drops in place of refusals,
 * and silence when the connection is over.
 */
#include "unit.h"
#include "tz_shake.h"

static union tz_any_hdr h;

static struct unit *uc_new(void)
{
	struct unit *u = unit_new();

	u->opts.type = TZ_QPT_UC;
	u->opts.min_retry_ns = SEC;
	return u;
}

static struct unit *started(void)
{
	struct unit *u = uc_new();

	unit_start(u);
	return u;
}

/* ---- requester ---------------------------------------------------------- */

/* Complete, in order, when the last byte is taken; not before. */
static void test_completes_when_taken(void **state)
{
	struct unit *u = started();
	struct tz_vec vec[8];

	unit_post(u, 1, TCPZC_WQE_SEND, 0, 100);
	unit_post(u, 2, TCPZC_WQE_RDMA_WRITE, 0, 50);
	tz_qp_tx_fill(&u->q.qp, u->now);
	assert_true(tz_qp_tx_peek(&u->q.qp, vec, 8) > 0);
	assert_int_equal(tz_qp_tx_ref_bytes(&u->q.qp), 0);
	unit_no_cqe(u);
	tz_qp_tx_done(&u->q.qp, 139, u->now);
	unit_no_cqe(u);
	tz_qp_tx_done(&u->q.qp, 1, u->now);
	unit_expect(u, false, 1, TCPZC_WC_SUCCESS);
	unit_no_cqe(u);
	tz_qp_tx_done(&u->q.qp, 98, u->now);
	unit_expect(u, false, 2, TCPZC_WC_SUCCESS);
	assert_int_equal(tz_qp_deadline(&u->q.qp), 0);
	unit_free(u);
}

static void test_long_message(void **state)
{
	struct unit *u = uc_new();

	u->link.max_pdu = 4096;
	unit_start(u);
	unit_post(u, 1, TCPZC_WQE_SEND, 0, 10000);
	unit_expect_pdu(u, &h, TZ_PDU_SEND);
	assert_int_equal(get32(h.h.ack_msn), 0);
	unit_expect_pdu(u, &h, TZ_PDU_SEND);
	unit_expect_pdu(u, &h, TZ_PDU_SEND);
	assert_true(h.h.flags & TZ_PDU_F_LAST);
	unit_expect(u, false, 1, TCPZC_WC_SUCCESS);
	unit_silent(u);
	unit_free(u);
}

static void test_no_reads(void **state)
{
	static const u8 ops[] = { TCPZC_WQE_RDMA_READ,
				  TCPZC_WQE_ATOMIC_CMP_AND_SWP,
				  TCPZC_WQE_ATOMIC_FETCH_AND_ADD };
	u32 i;

	for (i = 0; i < 3; i++) {
		struct unit *u = started();

		unit_post(u, 1, TCPZC_WQE_SEND, 0, 8);
		unit_post(u, 2, ops[i], 0, 8);
		unit_expect_pdu(u, &h, TZ_PDU_SEND);
		unit_silent(u);
		tz_qp_disconnected(&u->q.qp, u->now);
		unit_expect(u, false, 1, TCPZC_WC_SUCCESS);
		unit_expect(u, false, 2, TCPZC_WC_LOC_QP_OP_ERR);
		assert_int_equal(u->q.qp.state, TZ_ERR);
		unit_free(u);
	}
}

/* Over: what was on its way and what comes later is sent as far as anyone knows. */
static void test_lost_connection(void **state)
{
	struct unit *u = started();

	unit_post(u, 1, TCPZC_WQE_SEND, 0, 100);
	tz_qp_tx_fill(&u->q.qp, u->now);
	tz_qp_tx_done(&u->q.qp, 10, u->now);
	unit_post_flags(u, 2, TCPZC_WQE_RDMA_WRITE, 0, 100, 0);
	unit_no_cqe(u);
	tz_qp_disconnected(&u->q.qp, u->now);
	unit_expect(u, false, 1, TCPZC_WC_SUCCESS);
	unit_no_cqe(u);		/* unsignaled */
	unit_post(u, 3, TCPZC_WQE_SEND, 0, 100);
	unit_expect(u, false, 3, TCPZC_WC_SUCCESS);
	assert_int_equal(u->q.qp.state, TZ_RTS);
	assert_int_equal(u->q.qp.stats.lost, 3);
	assert_int_equal(unit_event(u, TZ_EVENT_FATAL), 0);
	unit_free(u);
}

/* Nobody answers: what is posted waits for a while, and is then lost. */
static void test_never_connected(void **state)
{
	struct unit *u = uc_new();

	unit_init_qp(u);
	bed_to_rts(&u->q, UNIT_PEER, UNIT_SQ_PSN, UNIT_RQ_PSN, &u->link, u->now);
	unit_post(u, 1, TCPZC_WQE_SEND, 0, 100);
	assert_int_equal(tz_qp_deadline(&u->q.qp), u->now + SEC);
	unit_tick(u, SEC - 1);
	unit_no_cqe(u);
	unit_tick(u, 1);
	unit_expect(u, false, 1, TCPZC_WC_SUCCESS);
	assert_int_equal(tz_qp_deadline(&u->q.qp), 0);
	unit_free(u);
}

/* A connection that is up is TCP's business, however slow it is. */
static void test_no_timeout_when_up(void **state)
{
	struct unit *u = started();

	unit_post(u, 1, TCPZC_WQE_SEND, 0, 100);
	tz_qp_tx_fill(&u->q.qp, u->now);
	assert_int_equal(tz_qp_deadline(&u->q.qp), 0);
	unit_tick(u, 100 * SEC);
	unit_no_cqe(u);
	unit_expect_pdu(u, &h, TZ_PDU_SEND);
	unit_expect(u, false, 1, TCPZC_WC_SUCCESS);
	unit_free(u);
}

static void test_err_flushes(void **state)
{
	struct unit *u = started();

	unit_recv(u, 7, 0, 100);
	unit_post(u, 1, TCPZC_WQE_SEND, 0, 100);
	unit_modify(u, TZ_ERR);
	assert_true(u->q.qp.closing);
	unit_no_cqe(u);
	tz_qp_disconnected(&u->q.qp, u->now);
	unit_expect(u, false, 1, TCPZC_WC_WR_FLUSH_ERR);
	unit_expect(u, true, 7, TCPZC_WC_WR_FLUSH_ERR);
	unit_free(u);
}

static void test_sqd(void **state)
{
	struct unit *u = started();

	unit_post(u, 1, TCPZC_WQE_SEND, 0, 100);
	tz_qp_tx_fill(&u->q.qp, u->now);
	unit_modify(u, TZ_SQD);
	unit_post(u, 2, TCPZC_WQE_SEND, 0, 100);
	assert_int_equal(unit_event(u, TZ_EVENT_SQ_DRAINED), 0);
	tz_qp_disconnected(&u->q.qp, u->now);
	unit_expect(u, false, 1, TCPZC_WC_SUCCESS);
	assert_int_equal(unit_event(u, TZ_EVENT_SQ_DRAINED), 1);
	unit_no_cqe(u);
	unit_modify(u, TZ_RTS);
	unit_expect(u, false, 2, TCPZC_WC_SUCCESS);
	unit_free(u);
}

/* ---- responder ---------------------------------------------------------- */

static void test_receives(void **state)
{
	struct unit *u = started();
	struct tcpzc_cqe c;

	unit_recv(u, 7, 1000, 100);
	unit_send_pdu(u, UNIT_RQ_PSN, 60, 0, 60, TZ_PDU_F_LAST | TZ_PDU_F_IMM);
	c = unit_pop(u);
	assert_int_equal(c.wr_id, 7);
	assert_int_equal(c.byte_len, 60);
	assert_int_equal(c.flags, TCPZC_CQE_F_WITH_IMM);
	assert_int_equal(u->mem[1059], 60);
	unit_silent(u);		/* no acknowledgement */
	assert_int_equal(tz_qp_deadline(&u->q.qp), 0);
	unit_free(u);
}

static void test_no_receive(void **state)
{
	struct unit *u = uc_new();

	u->opts.rnr_stall_ns = 100 * US;
	unit_start(u);
	unit_send_pdu(u, UNIT_RQ_PSN, 8000, 0, 4000, 0);
	assert_int_equal(u->q.qp.rx.state, TZ_RX_STALL);
	unit_tick(u, 100 * US);
	unit_send_pdu(u, UNIT_RQ_PSN, 8000, 4000, 4000, TZ_PDU_F_LAST);
	unit_no_cqe(u);
	assert_int_equal(u->q.qp.stats.rx_no_receive, 1);
	/* the next message arrives */
	unit_recv(u, 7, 0, 100);
	unit_send_pdu(u, UNIT_RQ_PSN + 1, 10, 0, 10, TZ_PDU_F_LAST);
	unit_expect(u, true, 7, TCPZC_WC_SUCCESS);
	unit_silent(u);
	unit_free(u);
}

/* Longer than its receive: dropped, the receive is the next message's. */
static void test_too_long(void **state)
{
	struct unit *u = started();

	unit_recv(u, 7, 0, 100);
	unit_send_pdu(u, UNIT_RQ_PSN, 101, 0, 50, 0);
	unit_send_pdu(u, UNIT_RQ_PSN, 101, 50, 51, TZ_PDU_F_LAST);
	unit_no_cqe(u);
	/* a WRITE does not take it */
	unit_write_pdu(u, UNIT_RQ_PSN + 1, unit_addr(u, 500), u->mr->mr.key, 8,
		       0, 8, TZ_PDU_F_LAST);
	unit_no_cqe(u);
	assert_int_equal(u->mem[507], 8);
	unit_send_pdu(u, UNIT_RQ_PSN + 2, 100, 0, 100, TZ_PDU_F_LAST);
	unit_expect(u, true, 7, TCPZC_WC_SUCCESS);
	assert_int_equal(u->q.qp.state, TZ_RTS);
	unit_free(u);
}

static void test_wrong_key(void **state)
{
	struct unit *u = started();

	unit_recv(u, 7, 0, 100);
	unit_write_pdu(u, UNIT_RQ_PSN, unit_addr(u, 0), u->mr->mr.key + 1, 8, 0, 8,
		       TZ_PDU_F_LAST | TZ_PDU_F_IMM);
	unit_write_pdu(u, UNIT_RQ_PSN + 1, unit_addr(u, UNIT_MEM - 4),
		       u->mr->mr.key, 8, 0, 8, TZ_PDU_F_LAST);
	unit_no_cqe(u);
	assert_int_equal(u->mem[0], 0);
	assert_int_equal(u->q.qp.stats.rx_bad_key, 2);
	assert_int_equal(u->q.qp.state, TZ_RTS);
	unit_write_pdu(u, UNIT_RQ_PSN + 2, unit_addr(u, 0), u->mr->mr.key, 8, 0, 8,
		       TZ_PDU_F_LAST | TZ_PDU_F_IMM);
	unit_expect(u, true, 7, TCPZC_WC_SUCCESS);
	unit_free(u);
}

/* A region that goes away in the middle of a WRITE: the rest is dropped. */
static void test_region_dies(void **state)
{
	struct unit *u = started();
	struct bed_mr *mr = bed_reg(&u->bed, u->mem, 20000, 0, UNIT_ALL, UNIT_PD);

	unit_write_pdu(u, UNIT_RQ_PSN, 0, mr->mr.key, 20000, 0, 10000, 0);
	bed_dereg(mr);
	unit_write_pdu(u, UNIT_RQ_PSN, 0, mr->mr.key, 20000, 10000, 10000,
		       TZ_PDU_F_LAST);
	assert_int_equal(u->q.qp.state, TZ_RTS);
	unit_recv(u, 7, 0, 100);
	unit_send_pdu(u, UNIT_RQ_PSN + 1, 10, 0, 10, TZ_PDU_F_LAST);
	unit_expect(u, true, 7, TCPZC_WC_SUCCESS);
	unit_free(u);
}

/* A region that goes away while its WRITE waits for a receive ends the wait. */
static void test_region_dies_in_stall(void **state)
{
	struct unit *u = unit_new();
	struct bed_mr *mr;

	u->opts.type = TZ_QPT_UC;
	u->opts.rnr_stall_ns = 100 * US;
	unit_start(u);
	mr = bed_reg(&u->bed, u->mem, 100, 0, UNIT_ALL, UNIT_PD);
	unit_write_pdu(u, UNIT_RQ_PSN, 0, mr->mr.key, 8, 0, 8,
		       TZ_PDU_F_LAST | TZ_PDU_F_IMM);
	assert_true(tz_qp_deadline(&u->q.qp));
	bed_dereg(mr);
	unit_recv(u, 7, 0, 100);
	unit_tick(u, 200 * US);
	assert_int_equal(tz_qp_deadline(&u->q.qp), 0);
	assert_int_equal(u->q.rq_hdr->flags, 0);
	unit_no_cqe(u);
	unit_send_pdu(u, UNIT_RQ_PSN + 1, 10, 0, 10, TZ_PDU_F_LAST);
	unit_expect(u, true, 7, TCPZC_WC_SUCCESS);
	unit_free(u);
}

#define LONG		40000u

/* A WRITE whose payload is one PDU after the other, into another region. */
static void fill_with_pdus(struct unit *u, u8 *payload, u32 key)
{
	struct tz_write_hdr w = { .total = put32(8), .rkey = put32(key) };
	u32 at, msn = UNIT_RQ_PSN + 1;

	memset(payload, 0, LONG);
	for (at = 0; at + sizeof(w) + 8 <= LONG; at += sizeof(w) + 8) {
		unit_hdr(u, &w.h, TZ_PDU_WRITE, TZ_PDU_F_LAST, 8, msn++);
		memcpy(payload + at, &w, sizeof(w));
		memcpy(payload + at + sizeof(w), "injected", 8);
	}
}

/* The backend has placed @n bytes as it was told, and only then @mr dies. */
static void die_in_between(struct unit *u, struct bed_mr *mr, const u8 *bytes, u32 n)
{
	struct tz_vec vec[8];
	u32 done = 0;
	int i, num = tz_qp_rx_want(&u->q.qp, vec, 8);

	for (i = 0; i < num && done < n; i++) {
		u32 part = tz_min(vec[i].len, n - done);

		bed_vec_write(&vec[i], 0, bytes + done, part);
		done += part;
	}
	assert_int_equal(done, n);
	bed_dereg(mr);
	tz_qp_rx_done(&u->q.qp, n, u->now);
}

/*
 * @mr dies when @at bytes of a WRITE into it have come, between a read and the
 * next or (@between) while one is being placed.
 */
static void payload_is_not_parsed(u32 type, u32 rx_buf, u32 at, bool between)
{
	static u8 payload[LONG], other[8];
	struct tz_write_hdr w = { .total = put32(LONG) };
	struct bed_mr *mr, *secret;
	struct unit *u = unit_new();
	u32 n = tz_min(500u, LONG - at);

	memset(other, 0, sizeof(other));
	u->opts.type = type;
	u->opts.rx_buf_bytes = rx_buf;
	unit_start(u);
	unit_recv(u, 7, 0, 100);
	mr = bed_reg(&u->bed, u->mem, LONG, 0, UNIT_ALL, UNIT_PD);
	secret = bed_reg(&u->bed, other, 8, 0, UNIT_ALL, UNIT_PD);
	fill_with_pdus(u, payload, secret->mr.key);
	w.rkey = put32(mr->mr.key);
	unit_hdr(u, &w.h, TZ_PDU_WRITE, TZ_PDU_F_LAST, LONG, UNIT_RQ_PSN);
	unit_feed(u, &w, sizeof(w));
	unit_feed(u, payload, at);
	if (between) {
		die_in_between(u, mr, payload + at, n);
		at += n;
	} else {
		bed_dereg(mr);
	}
	unit_feed(u, payload + at, LONG - at);
	assert_memory_equal(other, "\0\0\0\0\0\0\0", 8);
	if (type == TZ_QPT_RC) {
		assert_int_equal(u->q.qp.state, TZ_ERR);
	} else {
		assert_int_equal(u->q.qp.rx.left, 0);
		unit_send_pdu(u, UNIT_RQ_PSN + 1, 10, 0, 10, TZ_PDU_F_LAST);
		unit_expect(u, true, 7, TCPZC_WC_SUCCESS);
	}
	unit_no_cqe(u);
	unit_free(u);
}

static void test_payload_is_not_parsed(void **state)
{
	static const u32 types[] = { TZ_QPT_UC, TZ_QPT_RC };
	static const u32 bufs[] = { 64, 1000, 65536 };
	u32 t, b, at;

	for (t = 0; t < TZ_ARRAY_SIZE(types); t++)
		for (b = 0; b < TZ_ARRAY_SIZE(bufs); b++)
			for (at = 0; at < LONG - 600; at += 1 + at / 2) {
				payload_is_not_parsed(types[t], bufs[b], at, false);
				payload_is_not_parsed(types[t], bufs[b], at, true);
			}
}

/* A receive that is no good is this side's own fault. */
static void test_bad_receive(void **state)
{
	struct unit *u = started();
	struct tcpzc_sge sge = unit_sge(u, 0, 100);

	sge.lkey++;
	assert_true(bed_post_recv(&u->q, 7, &sge, 1));
	unit_send_pdu(u, UNIT_RQ_PSN, 10, 0, 10, TZ_PDU_F_LAST);
	unit_expect(u, true, 7, TCPZC_WC_LOC_PROT_ERR);
	assert_int_equal(u->q.qp.state, TZ_ERR);
	unit_free(u);
}

/* An honest peer says nothing but SEND and WRITE. */
static void test_no_other_pdus(void **state)
{
	u32 op;

	for (op = TZ_PDU_READ_REQ; op < TZ_PDU_OPS; op++) {
		struct unit *u = started();
		union tz_any_hdr any = {};

		unit_hdr(u, &any.h, op, TZ_PDU_F_LAST, 0, UNIT_RQ_PSN);
		unit_feed(u, &any, tz_hdr_bytes(op));
		assert_int_equal(u->q.qp.state, TZ_ERR);
		assert_int_equal(unit_event(u, TZ_EVENT_FATAL), 1);
		unit_free(u);
	}
}

static void test_shake(void **state)
{
	struct unit *u = started(), *rc = unit_new();
	struct tz_hello hello, back;
	u32 max_pdu;

	unit_start(rc);
	tz_shake_call(&u->q.qp, 1, &hello);
	assert_int_equal(tz_le16_to_cpu(hello.qp_type), TZ_QPT_UC);
	assert_int_equal(tz_shake_check(&hello), TZ_HELLO_OK);
	/* turned round, as the peer's own hello would be */
	back = hello;
	back.src_qpn = hello.dst_qpn;
	back.dst_qpn = hello.src_qpn;
	back.sq_psn = hello.rq_psn;
	back.rq_psn = hello.sq_psn;
	back.next_tx_msn = hello.next_rx_msn;
	back.next_rx_msn = hello.next_tx_msn;
	assert_int_equal(tz_shake_judge_call(&u->q.qp, &back, u->now, &max_pdu),
			 TZ_HELLO_OK);
	assert_int_equal(tz_shake_judge_call(&rc->q.qp, &back, u->now, &max_pdu),
			 TZ_HELLO_REFUSED);
	unit_free(rc);
	unit_free(u);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_completes_when_taken),
		cmocka_unit_test(test_long_message),
		cmocka_unit_test(test_no_reads),
		cmocka_unit_test(test_lost_connection),
		cmocka_unit_test(test_never_connected),
		cmocka_unit_test(test_no_timeout_when_up),
		cmocka_unit_test(test_err_flushes),
		cmocka_unit_test(test_sqd),
		cmocka_unit_test(test_receives),
		cmocka_unit_test(test_no_receive),
		cmocka_unit_test(test_too_long),
		cmocka_unit_test(test_wrong_key),
		cmocka_unit_test(test_region_dies),
		cmocka_unit_test(test_region_dies_in_stall),
		cmocka_unit_test(test_payload_is_not_parsed),
		cmocka_unit_test(test_bad_receive),
		cmocka_unit_test(test_no_other_pdus),
		cmocka_unit_test(test_shake),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
