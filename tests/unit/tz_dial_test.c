// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * tz_dial_test.c - what a backend is asked to do with a queue pair's stream, when;
 * callers, and streams that have outlived their queue pair.
 */
#include "unit.h"

static const u8 gid_low[16] = { [10] = 0xff, [11] = 0xff, 10, 0, 0, 1 };
static const u8 gid_high[16] = { [10] = 0xff, [11] = 0xff, 10, 0, 0, 2 };

/* @a opens the stream, @b is called. */
struct ends {
	struct unit *a, *b;
};

static void check(struct unit *u)
{
	const char *why = tz_dial_check(&u->q.qp);

	if (why)
		fail_msg("%s", why);
}

static enum tz_act act(struct unit *u)
{
	check(u);
	return tz_dial_act(&u->q.qp);
}

static enum tz_dial_state state(struct unit *u)
{
	check(u);
	return tz_dial_state(&u->q.qp);
}

static void to_init(struct unit *u)
{
	unit_modify(u, TZ_INIT);
}

static void to_rtr(struct unit *u, const u8 *sgid, const u8 *dgid, u32 dest,
		   u32 rq_psn)
{
	struct tz_qp_attr a = { .state = TZ_RTR, .dest_qpn = dest,
				.rq_psn = rq_psn };

	memcpy(a.sgid, sgid, 16);
	memcpy(a.dgid, dgid, 16);
	tz_qp_modify(&u->q.qp, &a, TZ_QP_STATE | TZ_QP_AV | TZ_QP_DEST_QPN |
		     TZ_QP_RQ_PSN, u->now);
}

static void to_rts(struct unit *u, u32 sq_psn)
{
	struct tz_qp_attr a = { .state = TZ_RTS, .sq_psn = sq_psn };

	tz_qp_modify(&u->q.qp, &a, TZ_QP_STATE | TZ_QP_SQ_PSN, u->now);
}

static void a_to(struct ends e, enum tz_state to)
{
	to_rtr(e.a, gid_low, gid_high, 200, 7);
	if (to == TZ_RTS)
		to_rts(e.a, 1000);
}

static void b_to(struct ends e, enum tz_state to)
{
	to_rtr(e.b, gid_high, gid_low, 100, 1000);
	if (to == TZ_RTS)
		to_rts(e.b, 7);
}

static struct ends ends(void)
{
	struct ends e = { unit_new(), unit_new() };

	e.a->opts.qpn = 100;
	e.b->opts.qpn = 200;
	e.b->opts.max_pdu = 32768;
	unit_init_qp(e.a);
	unit_init_qp(e.b);
	to_init(e.a);
	to_init(e.b);
	return e;
}

static void free_ends(struct ends e)
{
	check(e.a);
	check(e.b);
	unit_free(e.a);
	unit_free(e.b);
}

/* Until the hello has been sent. */
static void dial(struct unit *u, struct tz_hello *hello)
{
	assert_int_equal(act(u), TZ_ACT_OPEN);
	tz_dial_opening(&u->q.qp, u->now);
	assert_int_equal(state(u), TZ_DIAL_OPENING);
	assert_int_equal(act(u), TZ_ACT_NONE);
	tz_dial_hello(&u->q.qp, 77, hello);
	assert_int_equal(state(u), TZ_DIAL_GREETING);
}

static struct tz_caller caller(const struct tz_hello *hello, const u8 *from)
{
	struct tz_caller c = { .rx = { *hello, sizeof(*hello) } };

	memcpy(c.from, from, 16);
	return c;
}

/* In two pieces. */
static enum tz_hello_got take(struct unit *u, const struct tz_hello *answer)
{
	enum tz_hello_got got;
	u8 *ptr;

	assert_int_equal(tz_dial_want(&u->q.qp, &ptr), sizeof(*answer));
	memcpy(ptr, answer, 50);
	got = tz_dial_take(&u->q.qp, 50, u->now);
	if (got != TZ_HELLO_MORE)
		return got;
	assert_int_equal(tz_dial_want(&u->q.qp, &ptr), sizeof(*answer) - 50);
	memcpy(ptr, (const u8 *)answer + 50, sizeof(*answer) - 50);
	return tz_dial_take(&u->q.qp, sizeof(*answer) - 50, u->now);
}

static void connect_ends(struct ends e)
{
	struct tz_hello hello, answer;
	struct tz_caller c;

	a_to(e, TZ_RTS);
	b_to(e, TZ_RTS);
	dial(e.a, &hello);
	c = caller(&hello, gid_low);
	assert_int_equal(tz_dial_call(&e.b->q.qp, &c, &answer, e.b->now),
			 TZ_CALL_TAKEN);
	assert_int_equal(state(e.b), TZ_DIAL_ANSWERING);
	assert_true(tz_dial_up(&e.b->q.qp, e.b->now));
	assert_int_equal(take(e.a, &answer), TZ_HELLO_COMPLETE);
	assert_true(tz_dial_up(&e.a->q.qp, e.a->now));
	assert_int_equal(state(e.a), TZ_DIAL_UP);
	assert_int_equal(state(e.b), TZ_DIAL_UP);
	assert_int_equal(e.a->q.qp.max_pdu, 32768);
	assert_int_equal(e.b->q.qp.max_pdu, 32768);
}

static void test_connect(void **unused)
{
	struct ends e = ends();

	assert_int_equal(act(e.a), TZ_ACT_NONE);
	connect_ends(e);
	assert_int_equal(act(e.a), TZ_ACT_NONE);
	/* The peer has ended. */
	tz_dial_lost(&e.b->q.qp, e.b->now);
	assert_int_equal(state(e.b), TZ_DIAL_DONE);
	assert_int_equal(act(e.b), TZ_ACT_NONE);
	assert_int_equal(tz_qp_state(&e.b->q.qp), TZ_RTS);
	free_ends(e);
}

/* 1, 2, 4, ... 512, 512 ms, for as long as the queue pair exists. */
static void test_back_off(void **unused)
{
	struct ends e = ends();
	u64 pause = TZ_DIAL_BACKOFF_MIN_NS;
	u32 i;

	a_to(e, TZ_RTS);
	for (i = 0; i < 12; i++) {
		assert_int_equal(act(e.a), TZ_ACT_OPEN);
		tz_dial_opening(&e.a->q.qp, e.a->now);
		if (i & 1) {
			struct tz_hello hello;

			tz_dial_hello(&e.a->q.qp, i, &hello);
		}
		tz_dial_lost(&e.a->q.qp, e.a->now);
		assert_int_equal(state(e.a), TZ_DIAL_WAITING);
		assert_int_equal(tz_dial_deadline(&e.a->q.qp), e.a->now + pause);
		tz_dial_timer(&e.a->q.qp, e.a->now + pause - 1);
		assert_int_equal(act(e.a), TZ_ACT_NONE);
		e.a->now += pause;
		tz_dial_timer(&e.a->q.qp, e.a->now);
		pause = pause < TZ_DIAL_BACKOFF_MAX_NS ? 2 * pause : pause;
	}
	assert_int_equal(pause, TZ_DIAL_BACKOFF_MAX_NS);
	free_ends(e);
}

/* A stream that is not established is given up; a call waits for the peer's RTR. */
static void test_patience(void **unused)
{
	struct ends e = ends();
	struct tz_hello hello;

	a_to(e, TZ_RTS);
	assert_int_equal(act(e.a), TZ_ACT_OPEN);
	tz_dial_opening(&e.a->q.qp, e.a->now);
	e.a->now += TZ_DIAL_PATIENCE_NS - 1;
	tz_dial_timer(&e.a->q.qp, e.a->now);
	assert_int_equal(act(e.a), TZ_ACT_NONE);
	assert_int_equal(tz_dial_deadline(&e.a->q.qp), ++e.a->now);
	tz_dial_timer(&e.a->q.qp, e.a->now);
	assert_int_equal(act(e.a), TZ_ACT_RESET);
	assert_int_equal(tz_dial_deadline(&e.a->q.qp), 0);
	tz_dial_lost(&e.a->q.qp, e.a->now);
	assert_int_equal(state(e.a), TZ_DIAL_WAITING);
	e.a->now = tz_dial_deadline(&e.a->q.qp);
	tz_dial_timer(&e.a->q.qp, e.a->now);
	dial(e.a, &hello);
	assert_int_equal(tz_dial_deadline(&e.a->q.qp), 0);
	tz_dial_timer(&e.a->q.qp, e.a->now + 1000 * TZ_DIAL_PATIENCE_NS);
	assert_int_equal(act(e.a), TZ_ACT_NONE);
	free_ends(e);
}

/* In RTR neither side can compare; from RTS on the peer is called again at once. */
static void test_half_known(void **unused)
{
	struct ends e = ends();
	struct tz_hello hello, answer;
	struct tz_caller c;
	u32 i;

	a_to(e, TZ_RTR);
	b_to(e, TZ_RTR);
	for (i = 0; i < 6; i++) {
		dial(e.a, &hello);
		c = caller(&hello, gid_low);
		assert_int_equal(tz_dial_call(&e.b->q.qp, &c, &answer, e.b->now),
				 TZ_CALL_REFUSED);
		tz_shake_refuse(&hello, TZ_HELLO_REFUSED, &answer);
		assert_int_equal(take(e.a, &answer), TZ_HELLO_GARBAGE);
		tz_dial_lost(&e.a->q.qp, e.a->now);
		if (i == 5)
			break;
		e.a->now = tz_dial_deadline(&e.a->q.qp);
		tz_dial_timer(&e.a->q.qp, e.a->now);
	}
	assert_true(tz_dial_deadline(&e.a->q.qp) > e.a->now);
	to_rts(e.a, 1000);
	assert_true(tz_dial_deadline(&e.a->q.qp) < e.a->now);
	tz_dial_timer(&e.a->q.qp, e.a->now);
	/* At once, but once. */
	tz_dial_opening(&e.a->q.qp, e.a->now);
	tz_dial_lost(&e.a->q.qp, e.a->now);
	assert_true(tz_dial_deadline(&e.a->q.qp) > e.a->now);
	e.a->now = tz_dial_deadline(&e.a->q.qp);
	tz_dial_timer(&e.a->q.qp, e.a->now);
	dial(e.a, &hello);
	c = caller(&hello, gid_low);
	assert_int_equal(tz_dial_call(&e.b->q.qp, &c, &answer, e.b->now),
			 TZ_CALL_TAKEN);
	/* The answer could not be sent: the peer may come again. */
	tz_dial_lost(&e.b->q.qp, e.b->now);
	assert_int_equal(state(e.b), TZ_DIAL_IDLE);
	assert_int_equal(act(e.b), TZ_ACT_NONE);
	free_ends(e);
}

/* The queue pair fails at each stage of the hand-shake. */
static void test_failed_early(void **unused)
{
	struct tz_hello hello, answer;
	struct tz_caller c;
	u32 stage;

	for (stage = 0; stage < 5; stage++) {
		struct ends e = ends();
		struct unit *u = stage == 4 ? e.b : e.a;

		a_to(e, TZ_RTS);
		b_to(e, TZ_RTS);
		if (stage == 1 || stage == 2)
			tz_dial_opening(&e.a->q.qp, e.a->now);
		if (stage == 2)
			tz_dial_lost(&e.a->q.qp, e.a->now);
		if (stage >= 3)
			dial(e.a, &hello);
		if (stage == 4) {
			c = caller(&hello, gid_low);
			tz_dial_call(&e.b->q.qp, &c, &answer, e.b->now);
			assert_int_equal(state(e.b), TZ_DIAL_ANSWERING);
		}
		unit_modify(u, TZ_ERR);
		/* Without a stream there is nothing to reset. */
		assert_int_equal(act(u), stage == 0 || stage == 2 ?
						 TZ_ACT_CLOSE : TZ_ACT_RESET);
		if (stage == 4)
			assert_false(tz_dial_up(&u->q.qp, u->now));
		tz_dial_lost(&u->q.qp, u->now);
		assert_int_equal(state(u), TZ_DIAL_DONE);
		assert_int_equal(act(u), TZ_ACT_NONE);
		/* RESET, and it connects again. */
		unit_modify(u, TZ_RESET);
		assert_int_equal(state(u), TZ_DIAL_IDLE);
		to_init(u);
		free_ends(e);
	}
}

/* ERR with requests under way: half closed, then the peer's end, or its time is over. */
static void test_closing(void **unused)
{
	union tz_any_hdr h;
	u32 i;

	for (i = 0; i < 3; i++) {
		struct ends e = ends();
		struct unit *u = e.a;

		connect_ends(e);
		if (i) {
			unit_post(u, 1, TCPZC_WQE_SEND, 0, 10);
			unit_next(u, &h);
		}
		unit_modify(u, TZ_ERR);
		if (!i) {
			assert_int_equal(act(u), TZ_ACT_CLOSE);
			tz_dial_lost(&u->q.qp, u->now);
			assert_int_equal(state(u), TZ_DIAL_DONE);
			free_ends(e);
			continue;
		}
		assert_int_equal(act(u), TZ_ACT_HALF_CLOSE);
		tz_dial_parting(&u->q.qp);
		assert_int_equal(act(u), TZ_ACT_NONE);
		unit_no_cqe(u);
		if (i == 2) {
			tz_dial_timer(&u->q.qp, u->now);
			u->now = tz_dial_deadline(&u->q.qp);
			tz_dial_timer(&u->q.qp, u->now);
			assert_int_equal(act(u), TZ_ACT_RESET);
			unit_no_cqe(u);
		}
		tz_dial_lost(&u->q.qp, u->now);
		unit_expect(u, false, 1, TCPZC_WC_WR_FLUSH_ERR);
		assert_int_equal(state(u), TZ_DIAL_DONE);
		free_ends(e);
	}
}

/* RESET and destruction wait for the peer's end only with requests under way. */
static void test_part(void **unused)
{
	struct ends e = ends();
	union tz_any_hdr h;

	assert_false(tz_dial_part(&e.a->q.qp));
	connect_ends(e);
	assert_false(tz_dial_part(&e.a->q.qp));
	unit_post(e.a, 1, TCPZC_WQE_SEND, 0, 10);
	unit_next(e.a, &h);
	assert_true(tz_dial_part(&e.a->q.qp));
	assert_int_equal(state(e.a), TZ_DIAL_PARTING);
	assert_int_equal(act(e.a), TZ_ACT_NONE);
	unit_modify(e.a, TZ_RESET);
	assert_int_equal(state(e.a), TZ_DIAL_IDLE);
	free_ends(e);
}

/* At most TZ_MAX_PARKED before RTR; the newest comes back first; RESET keeps them. */
static void test_park(void **unused)
{
	struct tz_caller c[TZ_MAX_PARKED + 1];
	struct tz_hello hello, answer;
	struct ends e = ends();
	u32 i;

	a_to(e, TZ_RTS);
	dial(e.a, &hello);
	for (i = 0; i <= TZ_MAX_PARKED; i++) {
		/* RESET or INIT. */
		if (i == 1)
			unit_modify(e.b, TZ_RESET);
		c[i] = caller(&hello, gid_low);
		assert_int_equal(tz_dial_call(&e.b->q.qp, &c[i], &answer,
					      e.b->now),
				 i < TZ_MAX_PARKED ? TZ_CALL_PARKED :
						     TZ_CALL_REFUSED);
	}
	to_init(e.b);
	b_to(e, TZ_RTR);
	assert_ptr_equal(tz_dial_unpark(&e.b->q.qp), &c[3]);
	assert_int_equal(tz_dial_call(&e.b->q.qp, &c[3], &answer, e.b->now),
			 TZ_CALL_TAKEN);
	assert_ptr_equal(tz_dial_unpark(&e.b->q.qp), &c[2]);
	/* It has its stream. */
	assert_int_equal(tz_dial_call(&e.b->q.qp, &c[2], &answer, e.b->now),
			 TZ_CALL_REFUSED);
	assert_ptr_equal(tz_dial_unpark(&e.b->q.qp), &c[1]);
	assert_ptr_equal(tz_dial_unpark(&e.b->q.qp), &c[0]);
	assert_null(tz_dial_unpark(&e.b->q.qp));
	free_ends(e);
}

/* A call counts only from where it says it comes, of one that is to call. */
static void test_not_the_peer(void **unused)
{
	struct tz_hello hello, answer, back;
	struct ends e = ends();
	struct tz_caller c;

	a_to(e, TZ_RTS);
	b_to(e, TZ_RTS);
	/* The side that calls is not called, not even by its peer. */
	tz_shake_call(&e.b->q.qp, 5, &back);
	c = caller(&back, gid_high);
	assert_int_equal(tz_dial_call(&e.a->q.qp, &c, &answer, e.a->now),
			 TZ_CALL_REFUSED);
	dial(e.a, &hello);
	assert_int_equal(tz_dial_call(&e.a->q.qp, &c, &answer, e.a->now),
			 TZ_CALL_REFUSED);
	c = caller(&hello, gid_high);
	assert_int_equal(tz_dial_call(&e.b->q.qp, &c, &answer, e.b->now),
			 TZ_CALL_REFUSED);
	/* That was no guess of a PSN. */
	assert_int_equal(e.b->q.qp.shake.wrong, 0);
	c = caller(&hello, gid_low);
	c.rx.hello.status = tz_cpu_to_le16(TZ_HELLO_REFUSED);
	assert_int_equal(tz_dial_call(&e.b->q.qp, &c, &answer, e.b->now),
			 TZ_CALL_REFUSED);
	c = caller(&hello, gid_low);
	assert_int_equal(tz_dial_call(&e.b->q.qp, &c, &answer, e.b->now),
			 TZ_CALL_TAKEN);
	/* An answer to another call than this one. */
	answer.session_id++;
	assert_int_equal(take(e.a, &answer), TZ_HELLO_GARBAGE);
	free_ends(e);
}

/* A queue pair that is its own peer: without a hand-shake, or through its own port. */
static void test_self(void **unused)
{
	struct tz_hello hello, answer;
	struct tz_caller c;
	struct unit *u;
	u32 i;

	for (i = 0; i < 2; i++) {
		u = unit_new();
		u->opts.qpn = 100;
		unit_init_qp(u);
		to_init(u);
		to_rtr(u, gid_low, gid_low, 100, 7);
		to_rts(u, 7);
		if (!i) {
			assert_int_equal(act(u), TZ_ACT_OPEN);
			tz_dial_opening(&u->q.qp, u->now);
		} else {
			dial(u, &hello);
			c = caller(&hello, gid_low);
			c.rx.hello.session_id++;
			assert_int_equal(tz_dial_call(&u->q.qp, &c, &answer,
						      u->now), TZ_CALL_REFUSED);
			c.rx.hello.session_id--;
			assert_int_equal(tz_dial_call(&u->q.qp, &c, &answer,
						      u->now), TZ_CALL_OWN);
			assert_int_equal(tz_dial_call(&u->q.qp, &c, &answer,
						      u->now), TZ_CALL_REFUSED);
		}
		assert_true(tz_dial_up(&u->q.qp, u->now));
		check(u);
		unit_free(u);
	}
}

/* A stale peer is hung up on, costs a guess, and the wait for the true one goes on. */
static void test_stale_peer(void **unused)
{
	struct ends e = ends();
	u32 i;

	connect_ends(e);
	for (i = 0; i < 2; i++) {
		struct unit *u = i ? e.b : e.a;

		unit_ack(u, 0x123456);
		assert_int_equal(tz_qp_state(&u->q.qp), TZ_RTS);
		assert_int_equal(act(u), TZ_ACT_CLOSE);
		tz_dial_lost(&u->q.qp, u->now);
		assert_int_equal(state(u), i ? TZ_DIAL_IDLE : TZ_DIAL_WAITING);
		assert_int_equal(u->q.qp.shake.wrong, 1);
	}
	free_ends(e);
}

/* ---- the lobby ----------------------------------------------------------- */

static void gid_v4(u8 gid[16], u32 addr)
{
	memset(gid, 0, 16);
	gid[10] = gid[11] = 0xff;
	gid[12] = addr >> 24;
	gid[13] = addr >> 16;
	gid[14] = addr >> 8;
	gid[15] = addr;
}

static void test_lobby(void **unused)
{
	static struct tz_caller c[TZ_MAX_CALLERS + 2];
	static struct tz_lobby lobby;
	u8 from[16];
	u32 i;

	memset(&lobby, 0, sizeof(lobby));
	assert_int_equal(tz_lobby_deadline(&lobby), 0);
	/* One honest caller, then a crowd of one address. */
	gid_v4(from, 1);
	assert_null(tz_lobby_enter(&lobby, &c[0], from, 1000));
	gid_v4(from, 2);
	for (i = 1; i < TZ_MAX_CALLERS; i++)
		assert_null(tz_lobby_enter(&lobby, &c[i], from, 1000 + i));
	/* The crowd's oldest leaves for a newcomer, not the honest one. */
	gid_v4(from, 3);
	assert_ptr_equal(tz_lobby_enter(&lobby, &c[i], from, 5000), &c[1]);
	gid_v4(from, 2);
	assert_ptr_equal(tz_lobby_enter(&lobby, &c[i + 1], from, 5000), &c[2]);
	assert_false(tz_lobby_leave(&lobby, &c[1]));
	assert_int_equal(tz_lobby_deadline(&lobby), 1000 + TZ_CALLER_NS);
	assert_null(tz_lobby_expired(&lobby, 999 + TZ_CALLER_NS));
	assert_ptr_equal(tz_lobby_expired(&lobby, 1000 + TZ_CALLER_NS), &c[0]);
	assert_true(tz_lobby_leave(&lobby, &c[3]));
	assert_ptr_equal(tz_lobby_expired(&lobby, 2000 + TZ_CALLER_NS), &c[4]);
	for (i = 0; tz_lobby_empty(&lobby); i++)
		;
	assert_int_equal(i, TZ_MAX_CALLERS - 3);
}

/* Of IPv6 a network counts, since a host may have all of its addresses. */
static void test_lobby_v6(void **unused)
{
	static struct tz_caller c[TZ_MAX_CALLERS + 1];
	static struct tz_lobby lobby;
	u8 from[16] = { 0x20, 1 };
	u32 i;

	memset(&lobby, 0, sizeof(lobby));
	for (i = 0; i < 100; i++) {
		gid_v4(from, i);
		tz_lobby_enter(&lobby, &c[i], from, 0);
	}
	for (; i < TZ_MAX_CALLERS; i++) {
		memset(from, 0, sizeof(from));
		from[0] = 0x20;
		from[15] = i;
		tz_lobby_enter(&lobby, &c[i], from, 0);
	}
	assert_ptr_equal(tz_lobby_enter(&lobby, &c[i], from, 0), &c[100]);
}

static void test_caller_take(void **unused)
{
	struct tz_caller c = { .rx.got = 0 };
	struct ends e = ends();
	struct tz_hello hello;
	u8 *ptr;

	a_to(e, TZ_RTS);
	dial(e.a, &hello);
	/* Garbage is recognised by its first four bytes. */
	assert_int_equal(tz_hello_want(&c.rx, &ptr), sizeof(hello));
	memset(ptr, 'G', 4);
	assert_int_equal(tz_caller_take(&c, 3), TZ_HELLO_MORE);
	assert_int_equal(tz_caller_take(&c, 1), TZ_HELLO_GARBAGE);
	c = caller(&hello, gid_low);
	c.rx.got = 0;
	assert_int_equal(tz_caller_take(&c, sizeof(hello)), TZ_HELLO_COMPLETE);
	c = caller(&hello, gid_low);
	c.rx.got = 0;
	c.rx.hello.version++;
	assert_int_equal(tz_caller_take(&c, sizeof(hello)), TZ_HELLO_FOREIGN);
	c = caller(&hello, gid_low);
	c.rx.got = 0;
	c.rx.hello.status = tz_cpu_to_le16(TZ_HELLO_REFUSED);
	assert_int_equal(tz_caller_take(&c, sizeof(hello)), TZ_HELLO_GARBAGE);
	free_ends(e);
}

/* ---- lingering ----------------------------------------------------------- */

static void test_linger(void **unused)
{
	struct tz_linger l;

	tz_linger_start(&l, TZ_LINGER_RC, 1000);
	assert_int_equal(tz_linger_deadline(&l, 1000), 1000 + TZ_LINGER_NS);
	assert_false(tz_linger_over(&l, true, 999 + TZ_LINGER_NS));
	assert_true(tz_linger_over(&l, true, 1000 + TZ_LINGER_NS));
	assert_false(tz_linger_over(&l, false, 1000 + TZ_LINGER_NS));
	assert_int_equal(tz_linger_deadline(&l, 1000 + TZ_LINGER_NS),
			 1000 + TZ_LINGER_RC_NS);
	assert_true(tz_linger_over(&l, false, 1000 + TZ_LINGER_RC_NS));
	tz_linger_start(&l, TZ_LINGER_REFUSED, 1000);
	tz_linger_read(&l, TZ_LINGER_BYTES);
	assert_false(tz_linger_over(&l, true, 1000));
	tz_linger_read(&l, 1);
	assert_true(tz_linger_over(&l, true, 1000));
	tz_linger_start(&l, TZ_LINGER_REFUSED, 1000);
	assert_true(tz_linger_over(&l, true, 1000 + TZ_LINGER_REFUSED_NS));
	assert_true(tz_linger_over(&l, false, 1000 + TZ_LINGER_REFUSED_NS));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_connect),
		cmocka_unit_test(test_back_off),
		cmocka_unit_test(test_patience),
		cmocka_unit_test(test_half_known),
		cmocka_unit_test(test_failed_early),
		cmocka_unit_test(test_closing),
		cmocka_unit_test(test_part),
		cmocka_unit_test(test_park),
		cmocka_unit_test(test_not_the_peer),
		cmocka_unit_test(test_self),
		cmocka_unit_test(test_stale_peer),
		cmocka_unit_test(test_lobby),
		cmocka_unit_test(test_lobby_v6),
		cmocka_unit_test(test_caller_take),
		cmocka_unit_test(test_linger),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
