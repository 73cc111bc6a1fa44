// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * tz_rq_test.c - taking receives from a ring that the application writes.
 */
#include "unit.h"

static struct bed_srq rq;

static void fresh(u32 depth, u32 max_sge, u32 start)
{
	bed_srq_init(&rq, depth, max_sge);
	rq.hdr->prod = start;
	rq.hdr->cons = start;
	tz_rq_start(&rq.rq, start);
}

static void test_order(void **state)
{
	struct tcpzc_sge sge[3] = { { 1, 2, 3 }, { 4, 5, 6 }, { 7, 8, 9 } };
	struct tz_rwqe w;
	u32 i;

	fresh(4, 3, 0);
	assert_false(tz_rq_take(&rq.rq, &w));
	for (i = 0; i < 4; i++)
		assert_true(bed_post_srq(&rq, 100 + i, sge, i));
	assert_false(bed_post_srq(&rq, 104, sge, 1));
	assert_int_equal(tz_rq_count(&rq.rq), 4);
	for (i = 0; i < 4; i++) {
		assert_true(tz_rq_take(&rq.rq, &w));
		assert_int_equal(w.wr_id, 100 + i);
		assert_int_equal(w.num_sge, i);
		assert_false(w.bad);
		assert_memory_equal(w.sge, sge, i * sizeof(*sge));
		assert_int_equal(rq.hdr->cons, i + 1);
	}
	assert_false(tz_rq_take(&rq.rq, &w));
	bed_srq_exit(&rq);
}

/* The indices run through 2^32. */
static void test_wrap(void **state)
{
	struct tz_rwqe w;
	u32 i;

	fresh(8, 1, 0xfffffffa);
	for (i = 0; i < 40; i++) {
		assert_true(bed_post_srq(&rq, i, NULL, 0));
		assert_true(bed_post_srq(&rq, i + 1000, NULL, 0));
		assert_int_equal(tz_rq_count(&rq.rq), 2);
		assert_true(tz_rq_take(&rq.rq, &w));
		assert_int_equal(w.wr_id, i);
		assert_true(tz_rq_take(&rq.rq, &w));
		assert_int_equal(w.wr_id, i + 1000);
	}
	assert_int_equal(rq.hdr->cons, 0xfffffffau + 80);
	bed_srq_exit(&rq);
}

static void test_too_many_sges(void **state)
{
	static const u32 bad[] = { 3, 32, 33, 0x7fffffff, 0xffffffff };
	struct tcpzc_sge sge[TCPZC_MAX_SGE] = { { 0 } };
	struct tz_rwqe w;
	u32 i;

	fresh(8, 2, 0);
	for (i = 0; i < 5; i++) {
		memset(&w, 0xff, sizeof(w));
		assert_true(bed_post_srq(&rq, i, sge, bad[i]));
		assert_true(tz_rq_take(&rq.rq, &w));
		assert_int_equal(w.wr_id, i);
		assert_true(w.bad);
		assert_int_equal(w.num_sge, 0);
	}
	bed_srq_exit(&rq);
}

/* After an index that cannot be nothing is taken any more. */
static void test_garbage_index(void **state)
{
	static const u32 prod[] = { 9, 10, 0x80000000, 0xffffffff, 0xfffffff0 };
	struct tz_rwqe w;
	u32 i;

	for (i = 0; i < 5; i++) {
		fresh(8, 1, 0);
		rq.hdr->prod = prod[i];
		assert_int_equal(tz_rq_count(&rq.rq), 0);
		assert_false(tz_rq_take(&rq.rq, &w));
		assert_true(rq.rq.bad);
		rq.hdr->prod = 8;
		assert_int_equal(tz_rq_count(&rq.rq), 0);
		assert_false(tz_rq_take(&rq.rq, &w));
		assert_int_equal(rq.rq.cons, 0);
		assert_int_equal(rq.hdr->cons, 0);
		bed_srq_exit(&rq);
	}
}

/* What was posted before the index moved backwards is taken, nothing after it. */
static void test_index_backwards(void **state)
{
	struct tz_rwqe w;
	u32 i;

	fresh(8, 1, 0xfffffffe);
	rq.hdr->prod += 4;
	assert_true(tz_rq_take(&rq.rq, &w));
	rq.hdr->prod -= 4;
	assert_int_equal(tz_rq_count(&rq.rq), 3);
	for (i = 0; i < 3; i++)
		assert_true(tz_rq_take(&rq.rq, &w));
	assert_false(tz_rq_take(&rq.rq, &w));
	assert_true(rq.rq.bad);
	assert_int_equal(rq.hdr->cons, 2);
	bed_srq_exit(&rq);
}

/* The flag is in the ring's header, and in no ring that is not there. */
static void test_doorbell(void **state)
{
	struct tz_rq none = { .max_sge = 1 };

	fresh(4, 1, 0);
	assert_int_equal(rq.hdr->flags, 0);
	tz_rq_want_doorbell(&rq.rq, true);
	assert_int_equal(rq.hdr->flags, TCPZC_RING_NEED_WAKEUP);
	/* What the application writes there is its own affair. */
	rq.hdr->flags = 0;
	tz_rq_want_doorbell(&rq.rq, true);
	assert_int_equal(rq.hdr->flags, 0);
	tz_rq_want_doorbell(&rq.rq, false);
	tz_rq_want_doorbell(&rq.rq, true);
	assert_int_equal(rq.hdr->flags, TCPZC_RING_NEED_WAKEUP);
	tz_rq_want_doorbell(&rq.rq, false);
	assert_int_equal(rq.hdr->flags, 0);
	tz_rq_want_doorbell(&none, true);
	bed_srq_exit(&rq);
}

static void test_no_ring(void **state)
{
	struct tz_rq none = { .max_sge = 1 };
	struct tz_rwqe w;

	assert_int_equal(tz_rq_count(&none), 0);
	assert_false(tz_rq_take(&none, &w));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_wrap),
		cmocka_unit_test(test_too_many_sges),
		cmocka_unit_test(test_garbage_index),
		cmocka_unit_test(test_index_backwards),
		cmocka_unit_test(test_doorbell),
		cmocka_unit_test(test_no_ring),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
