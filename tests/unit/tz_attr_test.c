// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * tz_attr_test.c - what modify_qp refuses, keeps and tells again.
 */
#include "tz_attr.h"
#include "unit.h"

/* The names that struct ib_qp_attr and struct ibv_qp_attr have in common. */
struct fake_attr {
	u32 qp_state, cur_qp_state, path_mtu, path_mig_state;
	u32 qkey, rq_psn, sq_psn, dest_qp_num;
	int qp_access_flags;
	u16 pkey_index;
	u8 en_sqd_async_notify, sq_draining, max_rd_atomic, max_dest_rd_atomic;
	u8 min_rnr_timer, port_num, timeout, retry_cnt, rnr_retry;
};

#define ALL	(TZ_QP_STATE | TZ_QP_CUR_STATE | TZ_QP_EN_SQD_ASYNC_NOTIFY | \
		 TZ_QP_ACCESS_FLAGS | TZ_QP_PKEY_INDEX | TZ_QP_PORT | TZ_QP_AV | \
		 TZ_QP_PATH_MTU | TZ_QP_TIMEOUT | TZ_QP_RETRY_CNT | \
		 TZ_QP_RNR_RETRY | TZ_QP_RQ_PSN | TZ_QP_MAX_QP_RD_ATOMIC | \
		 TZ_QP_MIN_RNR_TIMER | TZ_QP_SQ_PSN | TZ_QP_MAX_DEST_RD_ATOMIC | \
		 TZ_QP_PATH_MIG_STATE | TZ_QP_DEST_QPN | TZ_QP_QKEY)

/* The largest of everything. */
static const struct fake_attr most = {
	.qp_state = TZ_RTS, .cur_qp_state = TZ_ERR, .path_mtu = 5, .qkey = ~0u,
	.rq_psn = ~0u, .sq_psn = 0x81000007, .dest_qp_num = 0xffffff,
	.qp_access_flags = 0x3ff0031f, .port_num = 1,
	.max_rd_atomic = TCPZC_MAX_RD_ATOMIC,
	.max_dest_rd_atomic = TCPZC_MAX_RD_ATOMIC, .min_rnr_timer = 31,
	.timeout = 31, .retry_cnt = 7, .rnr_retry = 7, .en_sqd_async_notify = 1,
};

static void test_limits(void **state)
{
	struct tz_qp_attr a;

	tz_attr_from(&a, &most);
	assert_int_equal(tz_attr_check(&a, ALL), TZ_ATTR_OK);
	assert_int_equal(a.rq_psn, 0xffffff);
	assert_int_equal(a.sq_psn, 7);
}

/* Refused if it is named, and only then. */
#define BAD(bit, ...) do {						\
		struct fake_attr f = most;				\
		struct tz_qp_attr a;					\
									\
		__VA_ARGS__;						\
		tz_attr_from(&a, &f);					\
		assert_int_equal(tz_attr_check(&a, ALL), TZ_ATTR_INVALID); \
		assert_int_equal(tz_attr_check(&a, bit), TZ_ATTR_INVALID); \
		assert_int_equal(tz_attr_check(&a, ALL & ~(bit)), TZ_ATTR_OK); \
	} while (0)

static void test_bad_values(void **state)
{
	u32 i;

	BAD(TZ_QP_STATE, f.qp_state = TZ_SQE);
	BAD(TZ_QP_STATE, f.qp_state = TZ_STATES);
	BAD(TZ_QP_STATE, f.qp_state = ~0u);
	BAD(TZ_QP_CUR_STATE, f.cur_qp_state = TZ_STATES);
	BAD(TZ_QP_PKEY_INDEX, f.pkey_index = 1);
	BAD(TZ_QP_PORT, f.port_num = 0);
	BAD(TZ_QP_PORT, f.port_num = 2);
	BAD(TZ_QP_PATH_MTU, f.path_mtu = 0);
	BAD(TZ_QP_PATH_MTU, f.path_mtu = 6);
	BAD(TZ_QP_PATH_MIG_STATE, f.path_mig_state = 1);
	BAD(TZ_QP_DEST_QPN, f.dest_qp_num = 1u << 24);
	BAD(TZ_QP_TIMEOUT, f.timeout = 32);
	BAD(TZ_QP_RETRY_CNT, f.retry_cnt = 8);
	BAD(TZ_QP_RNR_RETRY, f.rnr_retry = 8);
	BAD(TZ_QP_MIN_RNR_TIMER, f.min_rnr_timer = 32);
	BAD(TZ_QP_MAX_QP_RD_ATOMIC, f.max_rd_atomic = TCPZC_MAX_RD_ATOMIC + 1);
	BAD(TZ_QP_MAX_DEST_RD_ATOMIC,
	    f.max_dest_rd_atomic = TCPZC_MAX_RD_ATOMIC + 1);
	/* no right of a queue pair: zero based, on demand, huge pages, unknown */
	for (i = 0; i < 32; i++)
		if (!(most.qp_access_flags & 1u << i))
			BAD(TZ_QP_ACCESS_FLAGS, f.qp_access_flags |= (int)(1u << i));
}

static void test_masks(void **state)
{
	static const u32 no[] = { TZ_QP_ALT_PATH, TZ_QP_CAP, TZ_QP_RATE_LIMIT };
	struct tz_qp_attr a;
	u32 i;

	tz_attr_from(&a, &most);
	for (i = 0; i < TZ_ARRAY_SIZE(no); i++)
		assert_int_equal(tz_attr_check(&a, no[i]), TZ_ATTR_UNSUPPORTED);
	for (i = 21; i < 32; i++)
		if (i != 25)
			assert_int_equal(tz_attr_check(&a, 1u << i),
					 TZ_ATTR_INVALID);
}

/* What was set is told again; what was not named is not; RESET forgets it. */
static void test_kept(void **state)
{
	struct unit *u = unit_new();
	struct fake_attr f = most;
	struct tz_qp_attr a;

	unit_init_qp(u);
	f.qp_state = TZ_INIT;
	tz_attr_from(&a, &f);
	tz_qp_modify(&u->q.qp, &a, TZ_QP_STATE | TZ_QP_PORT | TZ_QP_ACCESS_FLAGS |
		     TZ_QP_PATH_MTU | TZ_QP_TIMEOUT, u->now);
	tz_attr_query(&u->q.qp, &a);
	memset(&f, 0xff, sizeof(f));
	tz_attr_to(&f, &a);
	assert_int_equal(f.qp_state, TZ_INIT);
	assert_int_equal(f.cur_qp_state, TZ_INIT);
	assert_int_equal(f.port_num, 1);
	assert_int_equal(f.qp_access_flags, most.qp_access_flags);
	assert_int_equal(f.path_mtu, 5);
	assert_int_equal(f.timeout, 31);
	assert_int_equal(f.retry_cnt, 0);
	assert_int_equal(f.dest_qp_num, 0);
	assert_int_equal(f.path_mig_state, 0);
	assert_int_equal(f.sq_draining, 0);
	unit_modify(u, TZ_RESET);
	tz_attr_query(&u->q.qp, &a);
	assert_int_equal(a.access, 0);
	assert_int_equal(a.timeout, 0);
	unit_free(u);
}

/* The PSNs of query_qp go on; SQD drains as long as something is out. */
static void test_query(void **state)
{
	struct unit *u = unit_new();
	union tz_any_hdr h;
	struct tz_qp_attr a;

	unit_start(u);
	unit_recv(u, 9, 0, 10);
	unit_send_pdu(u, UNIT_RQ_PSN, 1, 0, 1, TZ_PDU_F_LAST);
	unit_post(u, 1, TCPZC_WQE_SEND, 0, 10);
	while (unit_next(u, &h))
		;
	unit_modify(u, TZ_SQD);
	tz_attr_query(&u->q.qp, &a);
	assert_int_equal(a.state, TZ_SQD);
	assert_int_equal(a.rq_psn, UNIT_RQ_PSN + 1);
	assert_int_equal(a.sq_psn, UNIT_SQ_PSN + 1);
	assert_true(a.sq_draining);
	unit_ack(u, UNIT_SQ_PSN + 1);
	tz_attr_query(&u->q.qp, &a);
	assert_false(a.sq_draining);
	unit_free(u);
}

/* Only a true en_sqd_async_notify asks for the event. */
static void test_sqd_notify(void **state)
{
	u32 notify;

	for (notify = 0; notify < 2; notify++) {
		struct unit *u = unit_new();
		struct tz_qp_attr a = { .state = TZ_SQD, .sqd_notify = notify };

		unit_start(u);
		tz_qp_modify(&u->q.qp, &a, TZ_QP_STATE | TZ_QP_EN_SQD_ASYNC_NOTIFY,
			     u->now);
		assert_int_equal(unit_event(u, TZ_EVENT_SQ_DRAINED), notify);
		unit_free(u);
	}
}

static void test_fits(void **state)
{
	struct tz_qp_attr a = { .state = TZ_RTS, .cur_state = TZ_RTR };
	const u32 mask = TZ_QP_STATE | TZ_QP_TIMEOUT | TZ_QP_RETRY_CNT |
			 TZ_QP_RNR_RETRY | TZ_QP_SQ_PSN | TZ_QP_MAX_QP_RD_ATOMIC;
	struct unit *u = unit_new();

	unit_init_qp(u);
	assert_true(tz_attr_fits(&u->q.qp, TZ_RTR, &a, mask | TZ_QP_CUR_STATE));
	a.cur_state = TZ_INIT;
	assert_true(tz_attr_fits(&u->q.qp, TZ_RTR, &a, mask));
	assert_false(tz_attr_fits(&u->q.qp, TZ_RTR, &a, mask | TZ_QP_CUR_STATE));
	assert_false(tz_attr_fits(&u->q.qp, TZ_INIT, &a, mask));
	unit_free(u);
}

/* A modification that was decided on before the QP failed does not revive it. */
static void test_error_stays(void **state)
{
	static const enum tz_state to[] = {
		TZ_INIT, TZ_RTR, TZ_RTS, TZ_SQD, TZ_SQE, TZ_ERR
	};
	struct unit *u = unit_new();
	u32 i;

	unit_start(u);
	unit_modify(u, TZ_ERR);
	for (i = 0; i < TZ_ARRAY_SIZE(to); i++) {
		unit_modify(u, to[i]);
		assert_int_equal(u->q.qp.state, TZ_ERR);
	}
	unit_modify(u, TZ_RESET);
	assert_int_equal(u->q.qp.state, TZ_RESET);
	unit_free(u);
}

static void test_rings(void **state)
{
	assert_int_equal(tz_sq_stride(1, 0), 128);
	assert_int_equal(tz_sq_stride(1, 0) % 64, 0);
	assert_int_equal(tz_sq_stride(4, 0), tz_sq_stride(1, 64));
	assert_true(tz_sq_stride(TCPZC_MAX_SGE, TCPZC_MAX_INLINE) >=
		    sizeof(struct tcpzc_send_wqe) + TCPZC_MAX_INLINE);
	assert_int_equal(tz_rq_stride(3), 64);
	assert_int_equal(tz_rq_stride(4), 128);
	assert_int_equal(tz_ring_depth(0), 1);
	assert_int_equal(tz_ring_depth(1), 1);
	assert_int_equal(tz_ring_depth(5), 8);
	assert_int_equal(tz_ring_depth(TCPZC_MAX_QP_WR), TCPZC_MAX_QP_WR);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_bad_values),
		cmocka_unit_test(test_masks),
		cmocka_unit_test(test_kept),
		cmocka_unit_test(test_query),
		cmocka_unit_test(test_sqd_notify),
		cmocka_unit_test(test_fits),
		cmocka_unit_test(test_error_stays),
		cmocka_unit_test(test_rings),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
