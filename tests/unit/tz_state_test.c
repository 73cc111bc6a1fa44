// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * tz_state_test.c - legal transitions of an RC QP, against a table of its own
 * (IB specification, volume 1, 10.3.1, tables 91 and 96; the kernel's
 * ib_modify_qp_is_ok() for IB_QPT_RC on Ethernet).
 */
#include "rng.h"
#include "unit.h"

#define NEVER	0xffffffffu

struct rule {
	u32 must, may;
};

static struct rule rule(enum tz_state from, enum tz_state to)
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

static bool expected(enum tz_state from, enum tz_state to, u32 mask)
{
	struct rule r = rule(from, to);

	mask &= ~TZ_QP_STATE;
	return r.must != NEVER && (mask & r.must) == r.must &&
	       !(mask & ~(r.must | r.may));
}

static void check(enum tz_state from, enum tz_state to, u32 mask)
{
	if (tz_state_modify_ok(from, to, mask) == expected(from, to, mask) &&
	    tz_state_modify_ok(from, to, mask | TZ_QP_STATE) ==
	    expected(from, to, mask))
		return;
	fail_msg("%u to %u with mask %x: expected %d", from, to, mask,
		 expected(from, to, mask));
}

/* Every transition with what it needs, with each bit more and each bit less. */
static void test_transitions(void **state)
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

static void test_random_masks(void **state)
{
	struct rng r = { 7 };
	u32 from, to, i;

	for (from = 0; from < TZ_STATES; from++)
		for (to = 0; to < TZ_STATES; to++)
			for (i = 0; i < 20000; i++)
				check(from, to, rng_next(&r) & 0x1fffff &
				      (i & 1 ? rng_next(&r) : ~0u));
}

static void test_garbage(void **state)
{
	assert_false(tz_state_modify_ok(TZ_STATES, TZ_RESET, 0));
	assert_false(tz_state_modify_ok(TZ_RESET, TZ_STATES, 0));
	assert_false(tz_state_modify_ok((enum tz_state)-1, TZ_ERR, 0));
	assert_false(tz_state_modify_ok(TZ_RTS, (enum tz_state)1000, 0));
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
