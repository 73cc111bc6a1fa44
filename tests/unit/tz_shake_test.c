// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * tz_shake_test.c - who connects, what the hellos say, and every reason to
 * refuse one.
 */
#include "unit.h"

static const u8 gid_low[16] = { [10] = 0xff, [11] = 0xff, 10, 0, 0, 1 };
static const u8 gid_high[16] = { [10] = 0xff, [11] = 0xff, 10, 0, 0, 2 };

struct ends {
	struct unit *a, *b;
};

static void to_state(struct unit *u, const u8 *sgid, const u8 *dgid, u32 dest,
		     u32 sq_psn, u32 rq_psn, enum tz_state to)
{
	struct tz_qp_attr a = { .state = TZ_INIT, .dest_qpn = dest,
				.sq_psn = sq_psn, .rq_psn = rq_psn };

	memcpy(a.sgid, sgid, 16);
	memcpy(a.dgid, dgid, 16);
	unit_init_qp(u);
	tz_qp_modify(&u->q.qp, &a, TZ_QP_STATE, u->now);
	a.state = TZ_RTR;
	tz_qp_modify(&u->q.qp, &a, TZ_QP_STATE | TZ_QP_AV | TZ_QP_DEST_QPN |
		     TZ_QP_RQ_PSN, u->now);
	if (to == TZ_RTR)
		return;
	a.state = TZ_RTS;
	tz_qp_modify(&u->q.qp, &a, TZ_QP_STATE | TZ_QP_SQ_PSN, u->now);
	if (to == TZ_SQD)
		unit_modify(u, TZ_SQD);
}

static struct ends ends(enum tz_state a, enum tz_state b)
{
	struct ends e = { unit_new(), unit_new() };

	e.a->opts.qpn = 100;
	e.b->opts.qpn = 200;
	e.b->opts.max_pdu = 32768;
	to_state(e.a, gid_low, gid_high, 200, 0xffffff, 7, a);
	to_state(e.b, gid_high, gid_low, 100, 7, 0xffffff, b);
	return e;
}

static void free_ends(struct ends e)
{
	unit_free(e.a);
	unit_free(e.b);
}

static void test_roles(void **state)
{
	struct tz_qp_attr a = { .dest_qpn = 200 };

	memcpy(a.sgid, gid_low, 16);
	memcpy(a.dgid, gid_high, 16);
	assert_int_equal(tz_shake_role(&a, 300), TZ_ROLE_CONNECT);
	memcpy(a.sgid, gid_high, 16);
	memcpy(a.dgid, gid_low, 16);
	assert_int_equal(tz_shake_role(&a, 100), TZ_ROLE_ACCEPT);
	memcpy(a.dgid, gid_high, 16);
	assert_int_equal(tz_shake_role(&a, 100), TZ_ROLE_CONNECT);
	assert_int_equal(tz_shake_role(&a, 300), TZ_ROLE_ACCEPT);
	assert_int_equal(tz_shake_role(&a, 200), TZ_ROLE_SELF);
	a.sgid[0] = 0x80;	/* bytes compare unsigned */
	assert_int_equal(tz_shake_role(&a, 100), TZ_ROLE_ACCEPT);
}

/* A call tells one number: what its sender will send, else what it expects. */
static void test_call(void **state)
{
	struct ends e = ends(TZ_RTS, TZ_RTR);
	struct tz_hello h;

	memset(&h, 0xa5, sizeof(h));
	tz_shake_call(&e.a->q.qp, 0x1122334455667788, &h);
	assert_memory_equal(&h.magic, "TCZ1", 4);
	assert_int_equal(get32(h.src_qpn), 100);
	assert_int_equal(get32(h.dst_qpn), 200);
	assert_int_equal(get32(h.sq_psn), 0xffffff);
	assert_int_equal(get32(h.rq_psn), TZ_PSN_UNKNOWN);
	assert_int_equal(get32(h.next_tx_msn), 0xffffff);
	assert_int_equal(get32(h.next_rx_msn), TZ_PSN_UNKNOWN);
	assert_int_equal(tz_le64_to_cpu(h.session_id), 0x1122334455667788);
	assert_int_equal(get32(h.max_pdu), 65536);
	assert_int_equal(h.reserved0 | h.reserved1, 0);
	assert_true(!h.reserved2[0] && !h.reserved2[1]);
	tz_shake_call(&e.b->q.qp, 0, &h);
	assert_int_equal(get32(h.sq_psn), TZ_PSN_UNKNOWN);
	assert_int_equal(get32(h.next_tx_msn), TZ_PSN_UNKNOWN);
	assert_int_equal(get32(h.rq_psn), 0xffffff);
	assert_int_equal(get32(h.next_rx_msn), 0xffffff);
	free_ends(e);
}

/* An answer never tells what is expected. */
static void test_answer(void **state)
{
	struct ends e = ends(TZ_RTS, TZ_RTR);
	struct tz_hello h;

	tz_shake_answer(&e.a->q.qp, 5, &h);
	assert_int_equal(tz_le64_to_cpu(h.session_id), 5);
	assert_int_equal(get32(h.sq_psn), 0xffffff);
	assert_int_equal(get32(h.next_tx_msn), 0xffffff);
	assert_int_equal(get32(h.rq_psn), TZ_PSN_UNKNOWN);
	assert_int_equal(get32(h.next_rx_msn), TZ_PSN_UNKNOWN);
	tz_shake_answer(&e.b->q.qp, 5, &h);
	assert_int_equal(get32(h.sq_psn), TZ_PSN_UNKNOWN);
	assert_int_equal(get32(h.next_tx_msn), TZ_PSN_UNKNOWN);
	assert_int_equal(get32(h.rq_psn), TZ_PSN_UNKNOWN);
	assert_int_equal(get32(h.next_rx_msn), TZ_PSN_UNKNOWN);
	free_ends(e);
}

/* @from calls @to. */
static void meet(struct unit *from, struct unit *to, bool ok)
{
	struct tz_hello h;
	u32 max = 0;

	tz_shake_call(&from->q.qp, 1, &h);
	assert_int_equal(tz_shake_check(&h), TZ_HELLO_OK);
	assert_int_equal(tz_shake_judge_call(&to->q.qp, &h, to->now, &max),
			 ok ? TZ_HELLO_OK : TZ_HELLO_REFUSED);
	if (!ok)
		return;
	assert_int_equal(max, 32768);
	tz_shake_answer(&to->q.qp, 1, &h);
	assert_int_equal(tz_shake_check(&h), TZ_HELLO_OK);
	max = 0;
	assert_int_equal(tz_shake_judge_answer(&from->q.qp, &h, from->now, &max),
			 TZ_HELLO_OK);
	assert_int_equal(max, 32768);
}

/* All combinations of states that may meet; two in RTR have nothing to compare. */
static void test_match(void **state)
{
	static const enum tz_state st[] = { TZ_RTR, TZ_RTS, TZ_SQD };
	u32 i, j;

	for (i = 0; i < 3; i++) {
		for (j = 0; j < 3; j++) {
			struct ends e = ends(st[i], st[j]);
			bool ok = st[i] != TZ_RTR || st[j] != TZ_RTR;

			meet(e.a, e.b, ok);
			meet(e.b, e.a, ok);
			free_ends(e);
		}
	}
}

static struct ends refused_ends;

static struct tz_hello good(void)
{
	struct tz_hello h;

	tz_shake_call(&refused_ends.a->q.qp, 1, &h);
	return h;
}

/* No guess is too soon after the one before. */
static enum tz_hello_status judge(const struct tz_hello *h)
{
	struct unit *u = refused_ends.b;
	enum tz_hello_status st = tz_shake_check(h);
	u32 max;

	u->now += TZ_SHAKE_DELAY_NS;
	return st ? st : tz_shake_judge_call(&u->q.qp, h, u->now, &max);
}

#define REFUSED(status, change) do {			\
		struct tz_hello h = good();		\
		change;					\
		assert_int_equal(judge(&h), status);	\
	} while (0)

static void test_refusals(void **state)
{
	refused_ends = ends(TZ_RTS, TZ_RTS);
	REFUSED(TZ_HELLO_OK, );
	REFUSED(TZ_HELLO_MALFORMED, h.magic ^= 1);
	REFUSED(TZ_HELLO_BAD_VERSION, h.version++);
	REFUSED(TZ_HELLO_BAD_VERSION, h.version = 0);
	REFUSED(TZ_HELLO_MALFORMED, h.status = tz_cpu_to_le16(TZ_HELLO_STATUSES));
	REFUSED(TZ_HELLO_MALFORMED, h.status = 0xffff);
	REFUSED(TZ_HELLO_MALFORMED, h.reserved0 = 1);
	REFUSED(TZ_HELLO_MALFORMED, h.reserved1 = 1);
	REFUSED(TZ_HELLO_MALFORMED, h.reserved2[0] = 1);
	REFUSED(TZ_HELLO_MALFORMED, h.reserved2[1] = 1);
	REFUSED(TZ_HELLO_MALFORMED, h.max_pdu = put32(TZ_MIN_PDU_BYTES - 1));
	REFUSED(TZ_HELLO_MALFORMED, h.max_pdu = 0);
	REFUSED(TZ_HELLO_MALFORMED, h.max_pdu = put32(TZ_MAX_PDU_BYTES + 1));
	REFUSED(TZ_HELLO_OK, h.max_pdu = put32(TZ_MAX_PDU_BYTES));
	REFUSED(TZ_HELLO_REFUSED, h.qp_type = tz_cpu_to_le16(4));
	REFUSED(TZ_HELLO_REFUSED, h.dst_qpn = put32(201));
	REFUSED(TZ_HELLO_REFUSED, h.dst_qpn = put32(200 | 1u << 24));
	REFUSED(TZ_HELLO_REFUSED, h.src_qpn = put32(101));
	REFUSED(TZ_HELLO_REFUSED, h.src_gid[15]++);
	REFUSED(TZ_HELLO_REFUSED, h.dst_gid[0]++);
	REFUSED(TZ_HELLO_REFUSED, h.sq_psn = put32(0xfffffe));
	REFUSED(TZ_HELLO_REFUSED, h.next_tx_msn = put32(0));
	REFUSED(TZ_HELLO_REFUSED, h.sq_psn = put32(TZ_PSN_UNKNOWN));
	REFUSED(TZ_HELLO_REFUSED, (h.sq_psn = put32(TZ_PSN_UNKNOWN),
				   h.rq_psn = put32(8), h.next_rx_msn = put32(7)));
	REFUSED(TZ_HELLO_REFUSED, (h.sq_psn = put32(TZ_PSN_UNKNOWN),
				   h.rq_psn = put32(7), h.next_rx_msn = put32(8)));
	REFUSED(TZ_HELLO_OK, (h.sq_psn = put32(TZ_PSN_UNKNOWN),
			      h.rq_psn = put32(7), h.next_rx_msn = put32(7)));
	/* features that nobody knows are offered in vain, not refused */
	REFUSED(TZ_HELLO_OK, h.features = put32(0xffffffff));
	free_ends(refused_ends);
}

/* In RTR this side can compare only what the caller will send. */
static void test_half_known(void **state)
{
	struct tz_hello h;

	refused_ends = ends(TZ_RTS, TZ_RTR);
	h = good();
	h.rq_psn = put32(12345);
	assert_int_equal(judge(&h), TZ_HELLO_OK);
	h.sq_psn = put32(5);
	assert_int_equal(judge(&h), TZ_HELLO_REFUSED);
	h.sq_psn = put32(TZ_PSN_UNKNOWN);
	h.rq_psn = put32(7);
	h.next_rx_msn = put32(7);
	assert_int_equal(judge(&h), TZ_HELLO_REFUSED);
	/* Not a guess: nothing was compared. */
	assert_int_equal(refused_ends.b->q.qp.shake.wrong, 1);
	free_ends(refused_ends);
}

/* One that told nothing believes no answer that tells nothing. */
static void test_mute_answer(void **state)
{
	struct ends e = ends(TZ_RTR, TZ_RTR);
	struct tz_hello call, answer;
	u32 max;

	tz_shake_call(&e.a->q.qp, 1, &call);
	tz_shake_answer(&e.b->q.qp, 1, &answer);
	assert_int_equal(tz_shake_judge_answer(&e.a->q.qp, &answer, e.a->now, &max),
			 TZ_HELLO_REFUSED);
	/* Nor if it could tell since. */
	unit_modify(e.a, TZ_RTS);
	assert_int_equal(tz_shake_judge_answer(&e.a->q.qp, &answer, e.a->now, &max),
			 TZ_HELLO_REFUSED);
	tz_shake_call(&e.a->q.qp, 1, &call);
	assert_int_equal(tz_shake_judge_answer(&e.a->q.qp, &answer, e.a->now, &max),
			 TZ_HELLO_OK);
	answer.sq_psn = put32(8);
	answer.next_tx_msn = put32(7);
	assert_int_equal(tz_shake_judge_answer(&e.a->q.qp, &answer, e.a->now, &max),
			 TZ_HELLO_REFUSED);
	free_ends(e);
}

static bool accepts(struct unit *u, const struct tz_hello *h, u64 now)
{
	u32 max;

	return tz_shake_judge_call(&u->q.qp, h, now, &max) == TZ_HELLO_OK;
}

/*
 * A guesser gets 8 tries at once and one in 250 ms after that; whether a try was
 * compared shows in that the right one is not accepted either.
 */
static void test_guesses(void **state)
{
	struct ends e = ends(TZ_RTS, TZ_RTR);
	struct tz_hello right, wrong;
	u64 now = e.b->now;
	u32 i;

	tz_shake_call(&e.a->q.qp, 1, &right);
	wrong = right;
	/* A wrong name costs nothing, as nothing was compared. */
	wrong.src_qpn = put32(101);
	wrong.sq_psn = put32(1);
	for (i = 0; i < 100; i++)
		assert_false(accepts(e.b, &wrong, now));
	wrong.src_qpn = right.src_qpn;
	for (i = 0; i < TZ_SHAKE_TRIES; i++) {
		assert_true(accepts(e.b, &right, now));
		assert_false(accepts(e.b, &wrong, now));
	}
	for (i = 0; i < 100; i++) {
		u64 end = now + TZ_SHAKE_DELAY_NS;

		assert_false(accepts(e.b, &right, now));
		assert_false(accepts(e.b, &wrong, end - 1));
		assert_false(accepts(e.b, &right, end - 1));
		assert_true(accepts(e.b, &right, end));
		assert_false(accepts(e.b, &wrong, end));
		now = end;
	}
	/* RESET forgets it. */
	unit_modify(e.b, TZ_RESET);
	assert_int_equal(e.b->q.qp.shake.wrong, 0);
	assert_int_equal(e.b->q.qp.shake.compare_at, 0);
	free_ends(e);
}

/* The bytes of a refusal do not depend on why. */
static void test_refuse(void **state)
{
	struct ends e = ends(TZ_RTS, TZ_RTS);
	struct tz_hello h, r, first;
	u32 why;

	tz_shake_call(&e.a->q.qp, 99, &h);
	tz_shake_refuse(&h, TZ_HELLO_BAD_VERSION, &r);
	assert_int_equal(tz_le16_to_cpu(r.status), TZ_HELLO_BAD_VERSION);
	for (why = TZ_HELLO_REFUSED; why < 10; why++) {
		memset(&r, 0xff, sizeof(r));
		tz_shake_refuse(&h, why, &r);
		assert_int_equal(tz_shake_check(&r), TZ_HELLO_OK);
		assert_int_equal(tz_le16_to_cpu(r.status), TZ_HELLO_REFUSED);
		assert_int_equal(get32(r.src_qpn), 200);
		assert_int_equal(get32(r.dst_qpn), 100);
		assert_memory_equal(r.src_gid, gid_high, 16);
		assert_memory_equal(r.dst_gid, gid_low, 16);
		assert_int_equal(tz_le64_to_cpu(r.session_id), 99);
		if (why == TZ_HELLO_REFUSED)
			first = r;
		assert_memory_equal(&r, &first, sizeof(r));
	}
	free_ends(e);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_roles),
		cmocka_unit_test(test_call),
		cmocka_unit_test(test_answer),
		cmocka_unit_test(test_match),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_half_known),
		cmocka_unit_test(test_mute_answer),
		cmocka_unit_test(test_guesses),
		cmocka_unit_test(test_refuse),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
