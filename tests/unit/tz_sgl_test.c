// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * tz_sgl_test.c - ranges of regions: bounds, rights, positions, references.
 */
#include "unit.h"

static struct tz_mr mr_at(u64 iova, u64 len, u32 access)
{
	return (struct tz_mr){ .iova = iova, .len = len, .access = access };
}

static void test_covers(void **state)
{
	struct tz_mr mr = mr_at(0x1000, 0x100, TZ_ACCESS_REMOTE_READ);
	u64 off = 99;

	assert_true(tz_mr_covers(&mr, 0x1000, 0x100, 0, &off));
	assert_int_equal(off, 0);
	assert_true(tz_mr_covers(&mr, 0x10ff, 1, TZ_ACCESS_REMOTE_READ, &off));
	assert_int_equal(off, 0xff);
	assert_false(tz_mr_covers(&mr, 0xfff, 1, 0, &off));
	assert_false(tz_mr_covers(&mr, 0xfff, 2, 0, &off));
	assert_false(tz_mr_covers(&mr, 0x1000, 0x101, 0, &off));
	assert_false(tz_mr_covers(&mr, 0x10ff, 2, 0, &off));
	assert_false(tz_mr_covers(&mr, 0x1101, 0, 0, &off));
	assert_false(tz_mr_covers(&mr, 0, 1, 0, &off));
	assert_false(tz_mr_covers(&mr, ~0ull, 2, 0, &off));
	assert_false(tz_mr_covers(&mr, 0x1000, ~0ull, 0, &off));
	assert_false(tz_mr_covers(&mr, 0x1010, ~0ull - 0xf, 0, &off));
	assert_false(tz_mr_covers(&mr, 0x1000, 1, TZ_ACCESS_REMOTE_WRITE, &off));
	assert_false(tz_mr_covers(&mr, 0x1000, 1, TZ_ACCESS_REMOTE_READ |
				  TZ_ACCESS_REMOTE_WRITE, &off));
	mr.dead = 1;
	assert_false(tz_mr_covers(&mr, 0x1000, 1, 0, &off));
}

/* A region at either end of all addresses. */
static void test_covers_ends(void **state)
{
	struct tz_mr top = mr_at(-0x100ull, 0x100, 0);
	struct tz_mr zero = mr_at(0, 0x100, 0);
	u64 off;

	assert_true(tz_mr_covers(&top, ~0ull, 1, 0, &off));
	assert_int_equal(off, 0xff);
	assert_false(tz_mr_covers(&top, ~0ull, 2, 0, &off));
	assert_false(tz_mr_covers(&top, 0, 1, 0, &off));
	assert_true(tz_mr_covers(&zero, 0, 0x100, 0, &off));
	assert_false(tz_mr_covers(&zero, ~0ull, 1, 0, &off));
}

static bool resolve(struct unit *u, struct tz_sgl *sgl, struct tcpzc_sge *sge,
		    u32 n, u64 *total)
{
	tz_sgl_reset(&u->q.qp, sgl);
	return tz_sgl_resolve(&u->q.qp, sgl, sge, n, TZ_ACCESS_LOCAL_WRITE, total);
}

static void test_resolve(void **state)
{
	struct unit *u = unit_new();
	struct bed_mr *ro, *foreign;
	struct tcpzc_sge sge[4];
	struct tz_sgl sgl = { .n = 0 };
	u64 total = 0;

	unit_start(u);
	ro = bed_reg(&u->bed, u->mem, 100, 0, TZ_ACCESS_REMOTE_READ, UNIT_PD);
	foreign = bed_reg(&u->bed, u->mem, 100, 0, UNIT_ALL, UNIT_PD + 1);
	sge[0] = unit_sge(u, 10, 5);
	sge[1] = (struct tcpzc_sge){ ~0ull, 0, 0xbad };	/* no check at length 0 */
	sge[2] = unit_sge(u, UNIT_MEM - 3, 3);
	assert_true(resolve(u, &sgl, sge, 3, &total));
	assert_int_equal(total, 8);
	assert_int_equal(sgl.n, 2);
	assert_int_equal(sgl.seg[1].off, UNIT_MEM - 3);
	sge[3] = (struct tcpzc_sge){ 0, 1, ro->mr.key };
	assert_false(resolve(u, &sgl, sge, 4, &total));
	assert_int_equal(sgl.n, 0);
	sge[3].lkey = foreign->mr.key;
	assert_false(resolve(u, &sgl, sge, 4, &total));
	sge[3].lkey = 0xbad;
	assert_false(resolve(u, &sgl, sge, 4, &total));
	sge[3] = unit_sge(u, UNIT_MEM - 3, 4);
	assert_false(resolve(u, &sgl, sge, 4, &total));
	assert_true(resolve(u, &sgl, NULL, 0, &total));
	assert_int_equal(total, 0);
	unit_free(u);
}

/* Lengths are summed up in 64 bits. */
static void test_huge(void **state)
{
	struct unit *u = unit_new();
	struct bed_mr *huge;
	struct tcpzc_sge sge[TCPZC_MAX_SGE];
	struct tz_sgl sgl = { .n = 0 };
	u64 total;
	u32 i;

	unit_start(u);
	huge = bed_reg(&u->bed, u->mem, 1ull << 40, 0, UNIT_ALL, UNIT_PD);
	for (i = 0; i < TCPZC_MAX_SGE; i++)
		sge[i] = (struct tcpzc_sge){ 0, 0xffffffff, huge->mr.key };
	assert_true(resolve(u, &sgl, sge, TCPZC_MAX_SGE, &total));
	assert_int_equal(total, TCPZC_MAX_SGE * 0xffffffffull);
	unit_free(u);
}

static void test_positions(void **state)
{
	struct unit *u = unit_new();
	struct tcpzc_sge sge[3];
	struct tz_sgl sgl = { .n = 0 };
	struct tz_seg seg;
	u64 total;

	unit_start(u);
	sge[0] = unit_sge(u, 0, 10);
	sge[1] = unit_sge(u, 100, 1);
	sge[2] = unit_sge(u, 200, 10);
	assert_true(resolve(u, &sgl, sge, 3, &total));
	assert_true(tz_sgl_peek(&sgl, 0, 1000, &seg));
	assert_true(seg.off == 0 && seg.len == 10);
	assert_true(tz_sgl_peek(&sgl, 9, 1000, &seg));
	assert_true(seg.off == 9 && seg.len == 1);
	assert_true(tz_sgl_peek(&sgl, 10, 1000, &seg));
	assert_true(seg.off == 100 && seg.len == 1);
	assert_true(tz_sgl_peek(&sgl, 11, 4, &seg));
	assert_true(seg.off == 200 && seg.len == 4);
	assert_false(tz_sgl_peek(&sgl, 21, 1, &seg));
	tz_sgl_advance(&sgl, 10);
	assert_true(tz_sgl_peek(&sgl, 0, 1000, &seg));
	assert_true(seg.off == 100 && seg.len == 1);
	tz_sgl_advance(&sgl, 3);
	assert_true(tz_sgl_peek(&sgl, 1, 1000, &seg));
	assert_true(seg.off == 203 && seg.len == 7);
	tz_sgl_advance(&sgl, 8);
	assert_false(tz_sgl_peek(&sgl, 0, 1, &seg));
	unit_free(u);
}

static void test_write(void **state)
{
	struct unit *u = unit_new();
	struct tcpzc_sge sge[3];
	struct tz_sgl sgl = { .n = 0 };
	u64 total;

	unit_start(u);
	memset(u->mem, '.', 32);
	sge[0] = unit_sge(u, 20, 3);
	sge[1] = unit_sge(u, 10, 1);
	sge[2] = unit_sge(u, 2, 4);
	assert_true(resolve(u, &sgl, sge, 3, &total));
	assert_true(tz_sgl_write(&u->q.qp, &sgl, (const u8 *)"ab", 2));
	assert_true(tz_sgl_write(&u->q.qp, &sgl, (const u8 *)"cdef", 4));
	assert_memory_equal(u->mem, "..ef......d.........abc.........", 32);
	assert_false(tz_sgl_write(&u->q.qp, &sgl, (const u8 *)"ghi", 3));
	assert_memory_equal(u->mem, "..efgh....d.........abc.........", 32);
	unit_free(u);
}

static void test_references(void **state)
{
	struct unit *u = unit_new();
	struct tcpzc_sge sge[2];
	struct tz_sgl sgl = { .n = 0 };
	struct bed_mr *other;
	struct tz_seg seg;
	u64 total;

	unit_start(u);
	other = bed_reg(&u->bed, u->mem, 100, 0, UNIT_ALL, UNIT_PD);
	sge[0] = unit_sge(u, 0, 10);
	sge[1] = (struct tcpzc_sge){ 0, 10, other->mr.key };
	assert_true(resolve(u, &sgl, sge, 2, &total));
	assert_int_equal(u->bed.refs, 0);
	tz_sgl_pin(&u->q.qp, &sgl);
	tz_sgl_pin(&u->q.qp, &sgl);
	assert_int_equal(u->bed.refs, 2);
	bed_dereg(other);
	assert_int_equal(u->bed.objects, 2);
	assert_true(tz_sgl_peek(&sgl, 0, 100, &seg));
	assert_false(tz_sgl_peek(&sgl, 10, 100, &seg));
	assert_false(tz_sgl_write(&u->q.qp, &sgl, u->mem, 20));
	tz_sgl_reset(&u->q.qp, &sgl);
	tz_sgl_reset(&u->q.qp, &sgl);
	assert_int_equal(u->bed.refs, 0);
	assert_int_equal(u->bed.objects, 1);
	unit_free(u);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_covers),
		cmocka_unit_test(test_covers_ends),
		cmocka_unit_test(test_resolve),
		cmocka_unit_test(test_huge),
		cmocka_unit_test(test_positions),
		cmocka_unit_test(test_write),
		cmocka_unit_test(test_references),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
