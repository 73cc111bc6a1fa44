// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * tz_qp_test.c - the life of a QP: attributes, ERR and RESET, the end of the
 * connection, patience, deadlines; and two QPs with each other.
 */
#include "unit.h"

static union tz_any_hdr h;

#define PSN	UNIT_RQ_PSN
#define LAST	TZ_PDU_F_LAST

static struct unit *started(void)
{
	struct unit *u = unit_new();

	unit_start(u);
	return u;
}

/* ---- attributes --------------------------------------------------------- */

static void test_mask(void **state)
{
	struct unit *u = started();
	struct tz_qp_attr a, *now = &u->q.qp.attr, was = *now;

	memset(&a, 0xff, sizeof(a));
	tz_qp_modify(&u->q.qp, &a, 0, u->now);
	assert_memory_equal(now, &was, sizeof(was));
	a.min_rnr_timer = 3;
	a.access = TZ_ACCESS_REMOTE_READ;
	tz_qp_modify(&u->q.qp, &a, TZ_QP_MIN_RNR_TIMER | TZ_QP_ACCESS_FLAGS, u->now);
	assert_int_equal(now->min_rnr_timer, 3);
	assert_int_equal(now->access, TZ_ACCESS_REMOTE_READ);
	assert_int_equal(now->dest_qpn, UNIT_PEER);
	assert_int_equal(now->timeout, was.timeout);
	assert_int_equal(u->q.qp.state, TZ_RTS);
	/* new rights hold from the next request on */
	unit_write_pdu(u, PSN, unit_addr(u, 0), u->mr->mr.key, 8, 0, 8, LAST);
	unit_expect_pdu(u, &h, TZ_PDU_NAK);
	unit_free(u);
}

static void test_default_pdu(void **state)
{
	struct tz_qp_init init = { .qpn = 1 };
	struct tcpzc_ring_hdr ring = { 0 };
	struct tz_qp qp;

	init.sq.hdr = &ring;
	tz_qp_init(&qp, &init);
	assert_int_equal(qp.init.max_pdu, TZ_DEFAULT_PDU_BYTES);
	assert_int_equal(qp.state, TZ_RESET);
}

/* ---- ERR ---------------------------------------------------------------- */

static void test_flush(void **state)
{
	struct unit *u = unit_new();
	u32 i;

	u->link.max_rd_atomic = 1;
	unit_start(u);
	for (i = 0; i < 4; i++)
		unit_recv(u, 100 + i, 0, 10);
	unit_post(u, 0, TCPZC_WQE_RDMA_READ, 0, 8);
	unit_post_flags(u, 1, TCPZC_WQE_SEND, 0, 8, 0);
	unit_post(u, 2, TCPZC_WQE_RDMA_READ, 0, 8);	/* not imported yet */
	unit_post(u, 3, 200, 0, 8);			/* never looked at */
	while (unit_next(u, &h))
		;
	unit_modify(u, TZ_ERR);
	unit_no_cqe(u);
	tz_qp_disconnected(&u->q.qp, u->now);
	for (i = 0; i < 4; i++)
		unit_expect(u, false, i, TCPZC_WC_WR_FLUSH_ERR);
	for (i = 0; i < 4; i++)
		unit_expect(u, true, 100 + i, TCPZC_WC_WR_FLUSH_ERR);
	unit_no_cqe(u);
	assert_int_equal(unit_event(u, TZ_EVENT_LAST_WQE_REACHED), 0);
	/* what is posted now is flushed at once */
	unit_post(u, 5, TCPZC_WQE_SEND, 0, 1);
	unit_expect(u, false, 5, TCPZC_WC_WR_FLUSH_ERR);
	unit_recv(u, 6, 0, 1);
	unit_expect(u, true, 6, TCPZC_WC_WR_FLUSH_ERR);
	assert_int_equal(u->q.sq_hdr->cons, u->q.sq_hdr->prod);
	assert_int_equal(u->q.rq_hdr->cons, u->q.rq_hdr->prod);
	unit_modify(u, TZ_ERR);
	unit_no_cqe(u);
	unit_free(u);
}

/* From any state, connected or not. */
static void test_flush_anywhere(void **state)
{
	static const enum tz_state from[] = { TZ_INIT, TZ_RTR, TZ_RTS, TZ_SQD };
	u32 i, s;

	for (i = 0; i < 4; i++) {
		struct unit *u = unit_new();

		unit_init_qp(u);
		for (s = TZ_INIT; s <= from[i]; s++)
			unit_modify(u, s);
		unit_recv(u, 1, 0, 10);
		if (from[i] >= TZ_RTS)
			unit_post(u, 2, TCPZC_WQE_SEND, 0, 1);
		unit_modify(u, TZ_ERR);
		if (from[i] >= TZ_RTS)
			unit_expect(u, false, 2, TCPZC_WC_WR_FLUSH_ERR);
		unit_expect(u, true, 1, TCPZC_WC_WR_FLUSH_ERR);
		unit_no_cqe(u);
		unit_free(u);
	}
}

/* The application learns the reason first, on whichever queue it was found. */
static void test_failure_before_flush(void **state)
{
	static const struct { u32 code; u8 status; } t[] = {
		{ TZ_NAK_INV_REQ, TCPZC_WC_REM_INV_REQ_ERR },
		{ TZ_NAK_REM_ACCESS, TCPZC_WC_REM_ACCESS_ERR },
		{ TZ_NAK_REM_OP, TCPZC_WC_REM_OP_ERR },
		{ TZ_NAK_CODES, TCPZC_WC_LOC_PROT_ERR },
	};
	static struct bed_swr wr;
	u32 i;

	for (i = 0; i < TZ_ARRAY_SIZE(t); i++) {
		struct unit *u = unit_new();

		unit_start(u);
		unit_recv(u, 101, 0, 10);
		unit_recv(u, 102, 0, 10);
		unit_wr(u, &wr, 1, TCPZC_WQE_SEND, 0, 8);
		wr.sge[0].lkey += t[i].code == TZ_NAK_CODES;
		unit_post_wr(u, &wr);
		unit_post(u, 2, TCPZC_WQE_SEND, 0, 8);
		while (unit_next(u, &h))
			;
		if (t[i].code != TZ_NAK_CODES)
			unit_nak(u, UNIT_SQ_PSN, t[i].code, 0);
		tz_qp_kick(&u->q.qp, u->now);
		unit_no_cqe(u);
		tz_qp_disconnected(&u->q.qp, u->now);
		unit_expect(u, false, 1, t[i].status);
		unit_expect(u, false, 2, TCPZC_WC_WR_FLUSH_ERR);
		unit_expect(u, true, 101, TCPZC_WC_WR_FLUSH_ERR);
		unit_expect(u, true, 102, TCPZC_WC_WR_FLUSH_ERR);
		unit_no_cqe(u);
		unit_free(u);
	}
}

/* An application that keeps its rings full while they are flushed. */
static void chase(struct bed_qp *q, const struct tcpzc_cqe *cqe, bool recv)
{
	assert_int_equal(cqe->status, TCPZC_WC_WR_FLUSH_ERR);
	q->sq_hdr->prod = q->sq_hdr->cons + q->qp.init.sq.depth;
	q->rq_hdr->prod = q->rq_hdr->cons + q->qp.init.rq.depth;
}

/* No call does more than what was posted when it began. */
static void test_flush_is_bounded(void **state)
{
	static const struct bed_hooks hooks = { .cqe = chase };
	static const u32 types[] = { TZ_QPT_RC, TZ_QPT_UC, TZ_QPT_UD };
	u32 i, n, t;

	for (t = 0; t < TZ_ARRAY_SIZE(types); t++) {
		struct unit *u = unit_new();

		u->opts.type = types[t];
		u->opts.sq_depth = 8;
		u->opts.rq_depth = 16;
		u->bed.hooks = &hooks;
		unit_start(u);
		unit_recv(u, 1, 0, 10);
		unit_modify(u, TZ_ERR);
		tz_qp_disconnected(&u->q.qp, u->now);
		for (i = 0; i < 20; i++) {
			n = u->q.num_cqes;
			tz_qp_kick(&u->q.qp, u->now);
			assert_int_equal(u->q.num_cqes - n, 8 + 16);
		}
		unit_free(u);
	}
}

/* The flush of a QP whose peer does not read does not wait for ever. */
static void test_drain_timeout(void **state)
{
	struct unit *u = unit_new();
	static u8 out[100];
	u64 at;

	u->opts.min_retry_ns = 500 * MS;
	unit_start(u);
	unit_post(u, 1, TCPZC_WQE_SEND, 0, 10000);
	assert_int_equal(bed_tx(&u->q, out, 100, u->now), 100);
	unit_modify(u, TZ_ERR);
	assert_true(tz_qp_deadline(&u->q.qp));
	unit_tick(u, 0);
	at = tz_qp_deadline(&u->q.qp);
	assert_true(at == u->now + 500 * MS);
	unit_tick(u, 500 * MS - 1);
	unit_no_cqe(u);
	assert_false(tz_qp_must_cut(&u->q.qp));
	unit_tick(u, 1);
	/* What is in the socket goes before the application is told. */
	assert_true(tz_qp_must_cut(&u->q.qp));
	assert_false(tz_qp_tx_pending(&u->q.qp));
	unit_no_cqe(u);
	tz_qp_disconnected(&u->q.qp, u->now);
	unit_expect(u, false, 1, TCPZC_WC_WR_FLUSH_ERR);
	assert_false(tz_qp_must_cut(&u->q.qp));
	assert_int_equal(tz_qp_deadline(&u->q.qp), 0);
	unit_free(u);
}

/* A request that the peer did not answer in time fails when it cannot be late. */
static void test_timeout_cuts(void **state)
{
	struct unit *u = unit_new();
	static u8 out[20000];

	u->link.timeout = 1;
	u->link.retry_cnt = 0;
	u->opts.min_retry_ns = 500 * MS;
	unit_start(u);
	unit_post(u, 1, TCPZC_WQE_RDMA_WRITE, 0, 10000);
	assert_false(tz_qp_must_reset(&u->q.qp));
	bed_tx(&u->q, out, sizeof(out), u->now);
	assert_true(tz_qp_must_reset(&u->q.qp));
	unit_tick(u, 500 * MS);
	assert_int_equal(u->q.qp.state, TZ_ERR);
	assert_true(tz_qp_must_cut(&u->q.qp));
	unit_no_cqe(u);
	tz_qp_disconnected(&u->q.qp, u->now);
	unit_expect(u, false, 1, TCPZC_WC_RETRY_EXC_ERR);
	unit_free(u);
}

/* Nor does it, with an ACK that nobody takes, ask for a call that does nothing. */
static void test_drain_timeout_with_ack(void **state)
{
	struct unit *u = unit_new();

	u->opts.min_retry_ns = 500 * MS;
	u->opts.ack_delay_ns = 10 * MS;
	unit_start(u);
	unit_recv(u, 1, 0, 10);
	unit_send_pdu(u, UNIT_RQ_PSN, 1, 0, 1, TZ_PDU_F_LAST);
	unit_expect(u, true, 1, 0);
	unit_modify(u, TZ_ERR);
	unit_tick(u, 0);
	assert_true(tz_qp_deadline(&u->q.qp) == u->now + 500 * MS);
	unit_tick(u, 500 * MS);
	assert_int_equal(tz_qp_deadline(&u->q.qp), 0);
	unit_free(u);
}

/* ---- RESET -------------------------------------------------------------- */

static void test_reset(void **state)
{
	struct unit *u = started();

	unit_recv(u, 1, 0, 20000);
	unit_recv(u, 2, 0, 10);
	unit_post(u, 3, TCPZC_WQE_RDMA_READ, 0, 20000);
	unit_post(u, 4, TCPZC_WQE_SEND, 0, 20000);
	tz_qp_tx_fill(&u->q.qp, u->now);
	unit_send_pdu(u, PSN, 20000, 0, 10000, 0);
	assert_true(u->bed.refs > 0);
	unit_modify(u, TZ_RESET);
	assert_int_equal(u->bed.refs, 0);
	assert_int_equal(u->q.qp.state, TZ_RESET);
	assert_int_equal(u->q.qp.conn, TZ_CONN_NONE);
	unit_no_cqe(u);
	assert_int_equal(tz_qp_outstanding(&u->q.qp), 0);
	assert_int_equal(tz_qp_unsent(&u->q.qp), 0);
	assert_int_equal(tz_qp_deadline(&u->q.qp), 0);
	assert_int_equal(u->q.sq_hdr->cons, u->q.sq_hdr->prod);
	assert_int_equal(u->q.rq_hdr->cons, u->q.rq_hdr->prod);
	/* and all over again */
	bed_to_rts(&u->q, UNIT_PEER, 5, PSN, &u->link, u->now);
	tz_qp_connected(&u->q.qp, 4096, u->now);
	unit_recv(u, 5, 0, 10);
	unit_send_pdu(u, PSN, 1, 0, 1, LAST);
	unit_expect(u, true, 5, 0);
	unit_post(u, 6, TCPZC_WQE_SEND, 0, 1);
	unit_expect_pdu(u, &h, TZ_PDU_SEND);
	assert_int_equal(get32(h.h.msn), 5);
	unit_free(u);
}

/* ---- the connection's end ----------------------------------------------- */

static struct unit *abandoned(u8 timeout, u64 min_retry_ns)
{
	struct unit *u = unit_new();

	u->link.timeout = timeout;
	u->link.retry_cnt = 0;
	u->opts.min_retry_ns = min_retry_ns;
	unit_start(u);
	return u;
}

/* The peer has gone: requests fail when its time is over, and not before. */
static void fails_after(struct unit *u, u64 ns)
{
	assert_true(tz_qp_deadline(&u->q.qp) == u->now + ns);
	unit_tick(u, ns - 1);
	unit_no_cqe(u);
	assert_int_equal(u->q.qp.state, TZ_RTS);
	unit_tick(u, 1);
	assert_int_equal(u->q.qp.state, TZ_ERR);
}

/* ---- silence, and a host that answers ----------------------------------- */

static u64 heard_at;	/* what the backend says of the peer's host */
static u32 times_asked;

static u64 say_heard(struct tz_qp *qp, u64 now)
{
	times_asked++;
	return heard_at;
}

/* A request is on its way, 10 ms are the peer's, 100 ms those of its host. */
static struct unit *listening(void)
{
	static struct tz_ops ops;
	struct unit *u = abandoned(1, 10 * MS);

	ops = *u->q.qp.ops;
	ops.heard_ns = say_heard;
	u->q.qp.ops = &ops;
	u->q.qp.init.max_silence_ns = 100 * MS;
	heard_at = 0;
	times_asked = 0;
	unit_post(u, 1, TCPZC_WQE_SEND, 0, 1);
	unit_expect_pdu(u, &h, TZ_PDU_SEND);
	return u;
}

/* It is asked at half of the time, and changes nothing if it says nothing. */
static void test_host_silent(void **state)
{
	struct unit *u = listening();

	assert_true(tz_qp_deadline(&u->q.qp) == u->now + 5 * MS);
	unit_tick(u, 5 * MS - 1);
	assert_int_equal(times_asked, 0);
	unit_tick(u, 1);
	assert_int_equal(times_asked, 1);
	heard_at = u->now - 6 * MS;	/* before the peer was last heard */
	fails_after(u, 5 * MS);
	tz_qp_disconnected(&u->q.qp, u->now);
	unit_expect(u, false, 1, TCPZC_WC_RETRY_EXC_ERR);
	unit_free(u);
}

/* The time begins anew with each sign of life; but not for ever. */
static void test_host_answers(void **state)
{
	struct unit *u = listening();
	u64 start = u->now;

	unit_tick(u, 5 * MS);
	while (u->now - start < 95 * MS) {
		heard_at = u->now - MS;
		unit_tick(u, 5 * MS);
		unit_no_cqe(u);
		assert_int_equal(u->q.qp.state, TZ_RTS);
	}
	heard_at = u->now;
	unit_tick(u, 100 * MS - (u->now - start) - 1);
	assert_int_equal(u->q.qp.state, TZ_RTS);
	unit_tick(u, 1);
	tz_qp_disconnected(&u->q.qp, u->now);
	unit_expect(u, false, 1, TCPZC_WC_RETRY_EXC_ERR);
	unit_free(u);
}

/* It answered once and has been silent since. */
static void test_host_dies(void **state)
{
	struct unit *u = listening();

	unit_tick(u, 9 * MS);
	heard_at = u->now;
	unit_tick(u, MS);
	unit_no_cqe(u);
	fails_after(u, 9 * MS);
	tz_qp_disconnected(&u->q.qp, u->now);
	unit_expect(u, false, 1, TCPZC_WC_RETRY_EXC_ERR);
	unit_free(u);
}

/* The peer itself speaks: nobody needs to be asked any more. */
static void test_host_and_peer(void **state)
{
	struct unit *u = listening();

	unit_post(u, 2, TCPZC_WQE_SEND, 0, 1);
	unit_expect_pdu(u, &h, TZ_PDU_SEND);
	unit_tick(u, 6 * MS);
	assert_true(tz_qp_asks(&u->q.qp));
	unit_ack(u, UNIT_SQ_PSN + 1);
	unit_expect(u, false, 1, 0);
	assert_false(tz_qp_asks(&u->q.qp));
	assert_true(tz_qp_deadline(&u->q.qp) == u->now + 5 * MS);
	unit_free(u);
}

static void test_silent_close(void **state)
{
	struct unit *u = abandoned(14, 10 * MS);
	u32 e;

	unit_recv(u, 1, 0, 10);
	unit_recv(u, 2, 0, 10);
	unit_send_pdu(u, PSN, 1, 0, 1, LAST);
	unit_expect(u, true, 1, 0);
	tz_qp_disconnected(&u->q.qp, u->now);
	unit_no_cqe(u);
	for (e = 0; e < TZ_EVENTS; e++)
		assert_int_equal(unit_event(u, e), 0);
	assert_int_equal(u->q.qp.state, TZ_RTS);
	assert_int_equal(tz_qp_deadline(&u->q.qp), 0);
	unit_silent(u);
	unit_tick(u, 1000 * SEC);
	unit_no_cqe(u);
	/* until something is asked of the peer */
	unit_post(u, 3, TCPZC_WQE_SEND, 0, 1);
	fails_after(u, 10 * MS + 1);
	unit_expect(u, false, 3, TCPZC_WC_RETRY_EXC_ERR);
	unit_expect(u, true, 2, TCPZC_WC_WR_FLUSH_ERR);
	unit_free(u);
}

/* Its own time, if that is shorter; no time at all means not for ever here. */
static void test_close_while_waiting(void **state)
{
	static const struct { u8 timeout; u64 min, ns; } t[] = {
		{ 1, 10 * MS, 8192 }, { 14, 10 * MS, 10 * MS + 1 },
		{ 0, 10 * MS, 10 * MS + 1 },
	};
	u32 i;

	for (i = 0; i < 3; i++) {
		struct unit *u = abandoned(t[i].timeout, t[i].min);

		unit_post(u, 1, TCPZC_WQE_SEND, 0, 1);
		unit_post(u, 2, TCPZC_WQE_SEND, 0, 1);
		while (unit_next(u, &h))
			;
		unit_ack(u, UNIT_SQ_PSN + 1);
		unit_expect(u, false, 1, 0);
		unit_tick(u, 5000);
		tz_qp_disconnected(&u->q.qp, u->now);
		unit_post(u, 3, TCPZC_WQE_SEND, 0, 1);
		fails_after(u, t[i].ns);
		unit_expect(u, false, 2, TCPZC_WC_RETRY_EXC_ERR);
		unit_expect(u, false, 3, TCPZC_WC_WR_FLUSH_ERR);
		unit_free(u);
	}
}

/* Both programs end: nothing has failed if the QP goes before its time. */
static void test_close_and_leave(void **state)
{
	struct unit *u = abandoned(14, 10 * MS);

	unit_post(u, 1, TCPZC_WQE_SEND, 0, 1);
	unit_expect_pdu(u, &h, TZ_PDU_SEND);
	tz_qp_disconnected(&u->q.qp, u->now);
	unit_modify(u, TZ_ERR);
	unit_expect(u, false, 1, TCPZC_WC_WR_FLUSH_ERR);
	unit_free(u);
}

static void test_close_in_rtr(void **state)
{
	struct unit *u = unit_new();
	u32 s;

	unit_init_qp(u);
	for (s = TZ_INIT; s <= TZ_RTR; s++)
		unit_modify(u, s);
	tz_qp_connected(&u->q.qp, 4096, u->now);
	unit_post(u, 1, TCPZC_WQE_SEND, 0, 1);
	tz_qp_disconnected(&u->q.qp, u->now);
	unit_no_cqe(u);
	assert_int_equal(u->q.qp.state, TZ_RTR);
	unit_modify(u, TZ_RTS);
	fails_after(u, 1);
	unit_expect(u, false, 1, TCPZC_WC_RETRY_EXC_ERR);
	unit_free(u);
}

/* ---- patience ----------------------------------------------------------- */

static struct unit *patient(u8 timeout, u8 retry_cnt, u64 min_retry_ns)
{
	struct unit *u = unit_new();

	u->link.timeout = timeout;
	u->link.retry_cnt = retry_cnt;
	u->opts.min_retry_ns = min_retry_ns;
	unit_start(u);
	return u;
}

static void test_timeout(void **state)
{
	static const struct { u8 timeout, retry; u64 min, ns; } t[] = {
		{ 1, 0, 0, 8192 },
		{ 14, 7, 0, (4096ull << 14) * 8 },
		{ 14, 0, 10 * SEC, 10 * SEC },
		{ 31, 7, 0, (4096ull << 31) * 8 },
		{ 18, 2, 1 * SEC, (4096ull << 18) * 3 },
	};
	u32 i;

	for (i = 0; i < 5; i++) {
		struct unit *u = patient(t[i].timeout, t[i].retry, t[i].min);

		assert_int_equal(tz_qp_deadline(&u->q.qp), 0);
		unit_post(u, 1, TCPZC_WQE_SEND, 0, 1);
		unit_expect_pdu(u, &h, TZ_PDU_SEND);
		assert_true(tz_qp_deadline(&u->q.qp) == u->now + t[i].ns);
		unit_tick(u, t[i].ns - 1);
		assert_int_equal(u->q.qp.state, TZ_RTS);
		unit_tick(u, 1);
		assert_int_equal(u->q.qp.state, TZ_ERR);
		tz_qp_disconnected(&u->q.qp, u->now);
		unit_expect(u, false, 1, TCPZC_WC_RETRY_EXC_ERR);
		unit_free(u);
	}
}

static void test_no_timeout(void **state)
{
	struct unit *u = patient(0, 0, 1 * SEC);

	unit_post(u, 1, TCPZC_WQE_SEND, 0, 1);
	unit_expect_pdu(u, &h, TZ_PDU_SEND);
	assert_int_equal(tz_qp_deadline(&u->q.qp), 0);
	unit_tick(u, 1000000 * SEC);
	unit_no_cqe(u);
	unit_free(u);
}

/* Every sign of life counts. */
static void test_progress(void **state)
{
	struct unit *u = patient(1, 0, 1 * SEC);
	u32 i;

	unit_post(u, 0, TCPZC_WQE_RDMA_READ, 0, 20000);
	unit_post(u, 1, TCPZC_WQE_SEND, 0, 1);
	while (unit_next(u, &h))
		;
	unit_tick(u, 900 * MS);
	unit_ack(u, UNIT_SQ_PSN + 1);
	for (i = 0; i < 20; i++) {
		unit_tick(u, 900 * MS);
		unit_read_resp(u, UNIT_SQ_PSN, 20000, i * 1000, 1000);
	}
	unit_expect(u, false, 0, 0);
	unit_tick(u, 900 * MS);
	unit_ack(u, UNIT_SQ_PSN + 2);
	unit_expect(u, false, 1, 0);
	assert_int_equal(tz_qp_deadline(&u->q.qp), 0);
	/* an idle time is no silence */
	unit_tick(u, 100 * SEC);
	unit_post(u, 2, TCPZC_WQE_SEND, 0, 1);
	unit_tick(u, 900 * MS);
	unit_expect_pdu(u, &h, TZ_PDU_SEND);
	unit_tick(u, 900 * MS);
	unit_ack(u, UNIT_SQ_PSN + 3);
	unit_expect(u, false, 2, 0);
	unit_free(u);
}

/* A large message that the network takes piece by piece is no silence. */
static void test_slow_network(void **state)
{
	struct unit *u = patient(1, 0, 1 * SEC);
	static u8 out[8192];
	u32 i;

	unit_post(u, 0, TCPZC_WQE_SEND, 0, 60000);
	for (i = 0; i < 10; i++) {
		unit_tick(u, 900 * MS);
		assert_int_equal(bed_tx(&u->q, out, 5000, u->now), 5000);
	}
	assert_int_equal(u->q.qp.state, TZ_RTS);
	unit_tick(u, 1 * SEC);
	assert_int_equal(u->q.qp.state, TZ_ERR);
	unit_free(u);
}

/* Waiting after an RNR NAK is not the peer's silence. */
static void test_rnr_is_no_silence(void **state)
{
	struct unit *u = patient(1, 0, 100 * MS);

	unit_post(u, 0, TCPZC_WQE_SEND, 0, 1);
	unit_expect_pdu(u, &h, TZ_PDU_SEND);
	unit_nak(u, UNIT_SQ_PSN, TZ_NAK_RNR, 31);
	unit_tick(u, 491 * MS);
	assert_int_equal(u->q.qp.state, TZ_RTS);
	unit_tick(u, 1 * MS);
	unit_expect_pdu(u, &h, TZ_PDU_SEND);
	assert_true(tz_qp_deadline(&u->q.qp) == u->now + 100 * MS);
	unit_free(u);
}

/* The peer never comes. */
static void test_never_connected(void **state)
{
	struct unit *u = unit_new();

	u->opts.min_retry_ns = 3 * SEC;
	u->link.timeout = 1;
	unit_init_qp(u);
	bed_to_rts(&u->q, UNIT_PEER, 0, 0, &u->link, u->now);
	unit_tick(u, 10 * SEC);
	assert_int_equal(tz_qp_deadline(&u->q.qp), 0);
	unit_post(u, 1, TCPZC_WQE_SEND, 0, 1);
	assert_true(tz_qp_deadline(&u->q.qp) == u->now + 3 * SEC);
	unit_tick(u, 3 * SEC);
	unit_expect(u, false, 1, TCPZC_WC_RETRY_EXC_ERR);
	unit_free(u);
}

/* It comes late: the wait starts anew. */
static void test_connected_late(void **state)
{
	struct unit *u = unit_new();

	u->opts.min_retry_ns = 3 * SEC;
	u->link.timeout = 1;
	unit_init_qp(u);
	bed_to_rts(&u->q, UNIT_PEER, 0, 0, &u->link, u->now);
	unit_post(u, 1, TCPZC_WQE_SEND, 0, 1);
	unit_tick(u, 2 * SEC);
	tz_qp_connected(&u->q.qp, 4096, u->now);
	unit_expect_pdu(u, &h, TZ_PDU_SEND);
	unit_tick(u, 2 * SEC);
	assert_int_equal(u->q.qp.state, TZ_RTS);
	unit_free(u);
}

/* While the socket takes nothing an owed ACK asks for no timer. */
static void test_no_busy_deadline(void **state)
{
	struct unit *u = unit_new();

	u->link.timeout = 0;
	u->opts.tx_buf_bytes = 4096;
	unit_start(u);
	unit_post(u, 1, TCPZC_WQE_SEND, 0, 60000);
	unit_post(u, 2, TCPZC_WQE_SEND, 0, 60000);
	tz_qp_tx_fill(&u->q.qp, u->now);
	unit_write_pdu(u, PSN, 0, 0, 0, 0, 0, LAST);
	tz_qp_tx_fill(&u->q.qp, u->now);
	assert_int_equal(tz_qp_deadline(&u->q.qp), 0);
	unit_free(u);
}

/* ---- SQD ---------------------------------------------------------------- */

static void test_sqd_idle(void **state)
{
	struct unit *u = started();
	struct tz_qp_attr a = { .state = TZ_SQD };

	unit_modify(u, TZ_SQD);
	assert_int_equal(unit_event(u, TZ_EVENT_SQ_DRAINED), 1);
	unit_modify(u, TZ_RTS);
	/* not asked for */
	tz_qp_modify(&u->q.qp, &a, TZ_QP_STATE, u->now);
	assert_int_equal(unit_event(u, TZ_EVENT_SQ_DRAINED), 0);
	/* requests of the peer go on */
	unit_write_pdu(u, PSN, 0, 0, 0, 0, 0, LAST);
	unit_expect_pdu(u, &h, TZ_PDU_ACK);
	unit_free(u);
}

/* A large message that was begun is finished. */
static void test_sqd_in_message(void **state)
{
	struct unit *u = unit_new();
	static u8 out[1000];
	u32 n = 0, i;

	u->opts.tx_buf_bytes = 4096;
	u->opts.copy_max = 1000;
	u->link.max_pdu = 1000;
	unit_start(u);
	unit_post(u, 1, TCPZC_WQE_SEND, 0, 30000);
	unit_post(u, 2, TCPZC_WQE_SEND, 0, 30000);
	assert_int_equal(bed_tx(&u->q, out, 1000, u->now), 1000);
	unit_modify(u, TZ_SQD);
	assert_true(tz_qp_tx_pending(&u->q.qp));
	while ((i = bed_tx(&u->q, out, 1000, u->now)))
		n += i;
	assert_int_equal(n + 1000, 30 * 1040);
	unit_ack(u, UNIT_SQ_PSN + 1);
	unit_expect(u, false, 1, 0);
	assert_int_equal(unit_event(u, TZ_EVENT_SQ_DRAINED), 1);
	assert_false(tz_qp_tx_pending(&u->q.qp));
	unit_free(u);
}

/* ---- two QPs ------------------------------------------------------------ */

/* Everything, both ways, between two QPs or from one to itself. */
static void talk(struct unit *a, struct unit *b)
{
	u32 i;

	for (i = 0; i < 8; i++)
		unit_recv(b, 100 + i, 30000, 5000);
	unit_post(a, 1, TCPZC_WQE_SEND, 0, 5000);
	{
		static struct bed_swr wr;

		unit_wr(a, &wr, 2, TCPZC_WQE_RDMA_WRITE_WITH_IMM, 1, 20000);
		wr.wqe.remote_addr = unit_addr(b, 40000);
		wr.wqe.rkey = b->mr->mr.key;
		unit_post_wr(a, &wr);
		unit_wr(a, &wr, 3, TCPZC_WQE_RDMA_READ, 20001, 19999);
		wr.wqe.remote_addr = unit_addr(b, 40001);
		wr.wqe.rkey = b->mr->mr.key;
		unit_post_wr(a, &wr);
		unit_wr(a, &wr, 4, TCPZC_WQE_ATOMIC_FETCH_AND_ADD, 8, 8);
		wr.wqe.remote_addr = unit_addr(b, 64);
		wr.wqe.rkey = b->mr->mr.key;
		wr.wqe.compare_add = 1;
		unit_post_wr(a, &wr);
	}
	bed_pump(&a->q, &b->q, a->now);
}

static void test_pair(void **state)
{
	struct unit *a = unit_new(), *b = unit_new();

	b->opts.qpn = UNIT_PEER;
	unit_init_qp(a);
	unit_init_qp(b);
	bed_connect(&a->q, &b->q, &a->link, a->now);
	talk(a, b);
	unit_expect(a, false, 1, 0);
	unit_expect(a, false, 2, 0);
	unit_expect(a, false, 3, 0);
	unit_expect(a, false, 4, 0);
	unit_no_cqe(a);
	assert_int_equal(b->q.num_log, 2);
	assert_memory_equal(b->mem + 30000, a->mem, 8);
	assert_memory_equal(b->mem + 40001, a->mem + 20001, 19999);
	assert_int_equal(b->mem[64], 65);
	assert_int_equal(a->mem[8], 64);
	assert_int_equal(a->q.qp.stats.tx_msgs, 4);
	assert_int_equal(b->q.qp.stats.rx_msgs, 4);
	assert_int_equal(a->q.qp.stats.tx_bytes, 25000);
	assert_int_equal(b->q.qp.stats.rx_bytes, 25000);
	assert_int_equal(b->q.qp.stats.tx_bytes, 19999);
	unit_free(a);
	unit_free(b);
}

static void test_own_peer(void **state)
{
	struct unit *u = unit_new();
	u32 sends = 0, recvs = 0;

	unit_init_qp(u);
	bed_connect(&u->q, &u->q, &u->link, u->now);
	talk(u, u);
	while (unit_cqes(u)) {
		struct tcpzc_cqe c = unit_pop(u);

		assert_int_equal(c.status, 0);
		sends += c.opcode < TCPZC_WC_RECV;
		recvs += c.opcode >= TCPZC_WC_RECV;
	}
	assert_int_equal(sends, 4);
	assert_int_equal(recvs, 2);
	unit_free(u);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_mask),
		cmocka_unit_test(test_default_pdu),
		cmocka_unit_test(test_flush),
		cmocka_unit_test(test_flush_anywhere),
		cmocka_unit_test(test_failure_before_flush),
		cmocka_unit_test(test_flush_is_bounded),
		cmocka_unit_test(test_drain_timeout),
		cmocka_unit_test(test_drain_timeout_with_ack),
		cmocka_unit_test(test_timeout_cuts),
		cmocka_unit_test(test_reset),
		cmocka_unit_test(test_host_silent),
		cmocka_unit_test(test_host_answers),
		cmocka_unit_test(test_host_dies),
		cmocka_unit_test(test_host_and_peer),
		cmocka_unit_test(test_silent_close),
		cmocka_unit_test(test_close_while_waiting),
		cmocka_unit_test(test_close_and_leave),
		cmocka_unit_test(test_close_in_rtr),
		cmocka_unit_test(test_timeout),
		cmocka_unit_test(test_no_timeout),
		cmocka_unit_test(test_progress),
		cmocka_unit_test(test_slow_network),
		cmocka_unit_test(test_rnr_is_no_silence),
		cmocka_unit_test(test_never_connected),
		cmocka_unit_test(test_connected_late),
		cmocka_unit_test(test_no_busy_deadline),
		cmocka_unit_test(test_sqd_idle),
		cmocka_unit_test(test_sqd_in_message),
		cmocka_unit_test(test_pair),
		cmocka_unit_test(test_own_peer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
