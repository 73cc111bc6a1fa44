// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * tz_state_test.c - legal transitions of a QP, against tables of their own (IB
 * specification, volume 1, 10.3.1, tables 91 and 96; the kernel's
 * ib_modify_qp_is_ok() for RC, UC and UD on Ethernet).
 */
#include "rng.h"
#include "unit.h"

#define NEVER	0xffffffffu

struct rule {
	u32 must, may;
};

static struct rule rule_rc(enum tz_state from, enum tz_state to)
{
	const u32 first = TZ_QP_PKEY_INDEX | TZ_QP_PORT | TZ_QP_ACCESS_FLAGS;
	const u32 later = TZ_QP_CUR_STATE | TZ_QP_ACCESS_FLAGS | TZ_QP_ALT_PATH |
			  TZ_QP_PATH_MIG_STATE | TZ_QP_MIN_RNR_TIMER;
	struct rule r = { 0, 0 };

	switch (from * 10 + to) {
	case TZ_RESET * 10 + TZ_INIT:
		r.must = first;
		return r;
	case TZ_INIT * 10 + TZ_INIT:
		r.may = first;
		return r;
	case TZ_INIT * 10 + TZ_RTR:
		r.must = TZ_QP_AV | TZ_QP_PATH_MTU | TZ_QP_DEST_QPN |
			 TZ_QP_RQ_PSN | TZ_QP_MAX_DEST_RD_ATOMIC |
			 TZ_QP_MIN_RNR_TIMER;
		r.may = TZ_QP_ALT_PATH | TZ_QP_ACCESS_FLAGS | TZ_QP_PKEY_INDEX;
		return r;
	case TZ_RTR * 10 + TZ_RTS:
		r.must = TZ_QP_TIMEOUT | TZ_QP_RETRY_CNT | TZ_QP_RNR_RETRY |
			 TZ_QP_SQ_PSN | TZ_QP_MAX_QP_RD_ATOMIC;
		r.may = later;
		return r;
	case TZ_RTS * 10 + TZ_RTS:
	case TZ_SQD * 10 + TZ_RTS:
		r.may = later;
		return r;
	case TZ_SQE * 10 + TZ_RTS:
		return r;
	case TZ_RTS * 10 + TZ_SQD:
		r.may = TZ_QP_EN_SQD_ASYNC_NOTIFY;
		return r;
	case TZ_SQD * 10 + TZ_SQD:
		r.may = TZ_QP_PORT | TZ_QP_AV | TZ_QP_TIMEOUT |
			TZ_QP_RETRY_CNT | TZ_QP_RNR_RETRY |
			TZ_QP_MAX_QP_RD_ATOMIC | TZ_QP_MAX_DEST_RD_ATOMIC |
			TZ_QP_ALT_PATH | TZ_QP_ACCESS_FLAGS |
			TZ_QP_PKEY_INDEX | TZ_QP_MIN_RNR_TIMER |
			TZ_QP_PATH_MIG_STATE;
		return r;
	}
	if (to == TZ_RESET || (to == TZ_ERR && from != TZ_RESET))
		return r;
	r.must = NEVER;
	return r;
}

/* What UC lacks: timing, retries, READs and atomics. */
static struct rule rule_uc(enum tz_state from, enum tz_state to)
{
	const u32 rc_only = TZ_QP_TIMEOUT | TZ_QP_RETRY_CNT | TZ_QP_RNR_RETRY |
			    TZ_QP_MIN_RNR_TIMER | TZ_QP_MAX_QP_RD_ATOMIC |
			    TZ_QP_MAX_DEST_RD_ATOMIC;
	struct rule r = rule_rc(from, to);

	if (r.must == NEVER)
		return r;
	r.must &= ~rc_only;
	r.may &= ~rc_only;
	if (from == TZ_SQD && to == TZ_SQD)
		r.may &= ~TZ_QP_PORT;
	if (from == TZ_SQE && to == TZ_RTS)
		r.may = TZ_QP_CUR_STATE | TZ_QP_ACCESS_FLAGS;
	return r;
}

static struct rule rule_ud(enum tz_state from, enum tz_state to)
{
	const u32 first = TZ_QP_PKEY_INDEX | TZ_QP_PORT | TZ_QP_QKEY;
	struct rule r = rule_rc(from, to);

	if (r.must == NEVER)
		return r;
	r.must = 0;
	r.may = 0;
	if (from == TZ_RESET && to == TZ_INIT)
		r.must = first;
	else if (from == TZ_INIT && to == TZ_INIT)
		r.may = first;
	else if ((from == TZ_INIT && to == TZ_RTR) ||
		 (from == TZ_SQD && to == TZ_SQD))
		r.may = TZ_QP_PKEY_INDEX | TZ_QP_QKEY;
	else if (to == TZ_RTS)
		r.may = TZ_QP_CUR_STATE | TZ_QP_QKEY;
	else if (to == TZ_SQD)
		r.may = TZ_QP_EN_SQD_ASYNC_NOTIFY;
	if (from == TZ_RTR && to == TZ_RTS)
		r.must = TZ_QP_SQ_PSN;
	return r;
}

static u32 type;

static struct rule rule(enum tz_state from, enum tz_state to)
{
	if (type == TZ_QPT_UC)
		return rule_uc(from, to);
	return type == TZ_QPT_UD ? rule_ud(from, to) : rule_rc(from, to);
}

static bool expected(enum tz_state from, enum tz_state to, u32 mask)
{
	struct rule r = rule(from, to);

	mask &= ~TZ_QP_STATE;
	return r.must != NEVER && (mask & r.must) == r.must &&
	       !(mask & ~(r.must | r.may));
}

static void check(enum tz_state from, enum tz_state to, u32 mask)
{
	if (tz_state_modify_ok(type, from, to, mask) == expected(from, to, mask) &&
	    tz_state_modify_ok(type, from, to, mask | TZ_QP_STATE) ==
	    expected(from, to, mask))
		return;
	fail_msg("type %u: %u to %u with mask %x: expected %d", type, from, to,
		 mask, expected(from, to, mask));
}

/* Every transition with what it needs, with each bit more and each bit less. */
static void all_transitions(void)
{
	u32 from, to, bit;

	for (from = 0; from < TZ_STATES; from++) {
		for (to = 0; to < TZ_STATES; to++) {
			struct rule r = rule(from, to);
			u32 must = r.must == NEVER ? 0 : r.must;

			check(from, to, 0);
			check(from, to, must);
			check(from, to, must | r.may);
			for (bit = 0; bit < 32; bit++) {
				check(from, to, must ^ (1u << bit));
				check(from, to, (must | r.may) ^ (1u << bit));
			}
		}
	}
}

static void test_transitions(void **state)
{
	for (type = TZ_QPT_RC; type <= TZ_QPT_UD; type++)
		all_transitions();
}

static void test_random_masks(void **state)
{
	struct rng r = { 7 };
	u32 from, to, i;

	type = TZ_QPT_RC;
	for (from = 0; from < TZ_STATES; from++)
		for (to = 0; to < TZ_STATES; to++)
			for (i = 0; i < 20000; i++)
				check(from, to, rng_next(&r) & 0x1fffff &
				      (i & 1 ? rng_next(&r) : ~0u));
}

static void test_garbage(void **state)
{
	type = TZ_QPT_RC;
	assert_false(tz_state_modify_ok(type, TZ_STATES, TZ_RESET, 0));
	assert_false(tz_state_modify_ok(type, TZ_RESET, TZ_STATES, 0));
	assert_false(tz_state_modify_ok(type, (enum tz_state)-1, TZ_ERR, 0));
	assert_false(tz_state_modify_ok(type, TZ_RTS, (enum tz_state)1000, 0));
	assert_false(tz_state_modify_ok(0, TZ_RESET, TZ_RESET, 0));
	assert_false(tz_state_modify_ok(8, TZ_RESET, TZ_RESET, 0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_transitions),
		cmocka_unit_test(test_random_masks),
		cmocka_unit_test(test_garbage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
