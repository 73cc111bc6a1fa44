// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * provider_objects.c - devices, protection domains, memory regions, address
 * handles, queue pairs: what is accepted, what is busy, what is passed on.
 */
#include <errno.h>
#include <limits.h>
#include <string.h>

#include "provider_fake.h"
#include "tcpzc-ids.h"

#define REMOTE_W	IBV_ACCESS_REMOTE_WRITE
#define LOCAL_W		IBV_ACCESS_LOCAL_WRITE

static void test_backend(void **state)
{
	struct ibv_device *device = fake_kernel_device();
	struct ibv_context *ctx;

	assert_ptr_equal(to_tctx(*state)->be, &tcpzc_user_backend);
	ctx = verbs_open_device(device, NULL);
	assert_non_null(ctx);
	assert_ptr_equal(to_tctx(ctx)->be, &tcpzc_kernel_backend);
	ibv_close_device(ctx);
	fake_free_device(device);
}

static void test_queries(void **state)
{
	struct ibv_query_device_ex_input input = {};
	struct ibv_device_attr_ex ex;
	struct ibv_context *ctx = *state;
	struct ibv_port_attr port;
	struct {
		struct ibv_device_attr attr;
		uint64_t guard;
	} small = { .guard = 42 };

	assert_int_equal(ibv_query_device(ctx, &small.attr), 0);
	assert_int_equal(small.attr.vendor_id, TCPZC_VENDOR_ID);
	assert_int_equal(small.guard, 42);
	assert_int_equal(ibv_query_device_ex(ctx, &input, &ex), 0);
	assert_int_equal(ex.phys_port_cnt_ex, 1);
	input.comp_mask = 1;
	assert_int_equal(ibv_query_device_ex(ctx, &input, &ex), EINVAL);
	assert_int_equal(ibv_query_port(ctx, 1, &port), 0);
	assert_int_equal(ibv_query_port(ctx, 0, &port), EINVAL);
	assert_int_equal(ibv_query_port(ctx, 2, &port), EINVAL);
}

static void test_pd(void **state)
{
	struct ibv_parent_domain_init_attr attr = {};
	struct ibv_context *ctx = *state;
	struct ibv_td_init_attr td_attr = {};
	struct ibv_pd *pd, *parent;
	struct ibv_td *td;
	struct ibv_mr *mr;
	char buf[8];

	pd = ibv_alloc_pd(ctx);
	td = ibv_alloc_td(ctx, &td_attr);
	assert_true(pd && td);
	assert_null(ibv_alloc_parent_domain(ctx, &attr));
	assert_int_equal(errno, EINVAL);
	attr.pd = pd;
	attr.td = td;
	attr.comp_mask = IBV_PARENT_DOMAIN_INIT_ATTR_ALLOCATORS;
	assert_null(ibv_alloc_parent_domain(ctx, &attr));
	assert_int_equal(errno, EOPNOTSUPP);
	attr.comp_mask = 0;
	parent = ibv_alloc_parent_domain(ctx, &attr);
	assert_non_null(parent);
	assert_int_equal(ibv_dealloc_pd(pd), EBUSY);

	mr = ibv_reg_mr(parent, buf, sizeof(buf), LOCAL_W);
	assert_non_null(mr);
	assert_ptr_equal(fake.pd, to_tpd(pd));
	assert_int_equal(ibv_dealloc_pd(parent), EBUSY);
	assert_int_equal(ibv_dereg_mr(mr), 0);
	assert_int_equal(ibv_dealloc_pd(parent), 0);
	assert_int_equal(ibv_dealloc_td(td), 0);

	fake.fail = EIO;
	assert_int_equal(ibv_dealloc_pd(pd), EIO);
	assert_int_equal(ibv_dealloc_pd(pd), 0);
}

static void expect_reg(struct ibv_pd *pd, void *addr, size_t len, int access,
		       int err)
{
	struct ibv_mr *mr;

	errno = 0;
	mr = ibv_reg_mr_iova2(pd, addr, len, (uintptr_t)addr, access);
	if (err) {
		assert_null(mr);
		assert_int_equal(errno, err);
		return;
	}
	assert_non_null(mr);
	assert_int_equal(ibv_dereg_mr(mr), 0);
}

static void test_reg_mr(void **state)
{
	struct ibv_pd *pd = ibv_alloc_pd(*state);
	char buf[64];
	void *high = (void *)(UINTPTR_MAX - 63);
	struct ibv_mr *mr;

	expect_reg(pd, buf, 64, 0, 0);
	expect_reg(pd, buf, 64, LOCAL_W | REMOTE_W | IBV_ACCESS_REMOTE_READ |
		   IBV_ACCESS_REMOTE_ATOMIC | IBV_ACCESS_MW_BIND |
		   IBV_ACCESS_HUGETLB | IBV_ACCESS_RELAXED_ORDERING, 0);
	assert_int_equal(fake.access & IBV_ACCESS_OPTIONAL_RANGE, 0);
	expect_reg(pd, buf, 64, IBV_ACCESS_REMOTE_READ, 0);
	expect_reg(pd, buf, 64, REMOTE_W, EINVAL);
	expect_reg(pd, buf, 64, IBV_ACCESS_REMOTE_ATOMIC, EINVAL);
	expect_reg(pd, buf, 64, 1 << 15, EINVAL);
	expect_reg(pd, buf, 64, IBV_ACCESS_ON_DEMAND, EOPNOTSUPP);
	expect_reg(pd, buf, 0, 0, EINVAL);
	expect_reg(pd, high, 64, 0, 0);
	expect_reg(pd, high, 65, 0, EINVAL);
	expect_reg(pd, buf, SIZE_MAX, 0, EINVAL);

	mr = ibv_reg_mr(pd, buf, 64, IBV_ACCESS_ZERO_BASED);
	assert_int_equal(fake.iova, 0);
	assert_int_equal(ibv_dealloc_pd(pd), EBUSY);
	ibv_dereg_mr(mr);
	mr = ibv_reg_mr_iova(pd, buf, 64, 0x12345, 0);
	assert_int_equal(fake.iova, 0x12345);
	ibv_dereg_mr(mr);
	assert_null(ibv_reg_mr_iova(pd, buf, 64, UINT64_MAX - 10, 0));
	assert_null(ibv_reg_dmabuf_mr(pd, 0, 64, 0, 0, 0));
	assert_int_equal(errno, EOPNOTSUPP);
	fake.fail = ENOMEM;
	expect_reg(pd, buf, 64, 0, ENOMEM);
	assert_int_equal(ibv_dealloc_pd(pd), 0);
}

static void test_rereg_mr(void **state)
{
	struct ibv_pd *a = ibv_alloc_pd(*state), *b = ibv_alloc_pd(*state);
	struct ibv_mr *mr;
	char buf[64];

	mr = ibv_reg_mr(a, buf, 64, LOCAL_W);
	assert_int_equal(ibv_rereg_mr(mr, IBV_REREG_MR_CHANGE_ACCESS, NULL,
				      NULL, 0, REMOTE_W),
			 IBV_REREG_MR_ERR_CMD);
	assert_int_equal(errno, EINVAL);
	assert_int_equal(ibv_rereg_mr(mr, IBV_REREG_MR_CHANGE_ACCESS, NULL,
				      NULL, 0, LOCAL_W | REMOTE_W), 0);
	assert_int_equal(verbs_get_mr(mr)->access, LOCAL_W | REMOTE_W);
	assert_int_equal(ibv_rereg_mr(mr, IBV_REREG_MR_CHANGE_TRANSLATION, NULL,
				      buf + 1, 8, 0), 0);
	assert_int_equal(fake.access, LOCAL_W | REMOTE_W);
	assert_int_equal(mr->length, 8);

	fake.fail = ENOMEM;
	assert_int_not_equal(ibv_rereg_mr(mr, IBV_REREG_MR_CHANGE_PD, b, NULL,
					  0, 0), 0);
	assert_int_equal(ibv_rereg_mr(mr, IBV_REREG_MR_CHANGE_PD, NULL, NULL, 0,
				      0), IBV_REREG_MR_ERR_CMD);
	assert_int_equal(ibv_rereg_mr(mr, 0, NULL, NULL, 0, 0),
			 IBV_REREG_MR_ERR_CMD);
	assert_int_equal(ibv_dealloc_pd(a), EBUSY);
	assert_int_equal(ibv_rereg_mr(mr, IBV_REREG_MR_CHANGE_PD, b, NULL, 0,
				      0), 0);
	assert_ptr_equal(fake.pd, to_tpd(b));
	assert_int_equal(ibv_dealloc_pd(a), 0);
	assert_int_equal(ibv_dealloc_pd(b), EBUSY);
	assert_int_equal(ibv_dereg_mr(mr), 0);
	assert_int_equal(ibv_dealloc_pd(b), 0);
}

static void test_ah(void **state)
{
	struct ibv_ah_attr good = { .is_global = 1, .port_num = 1 }, attr;
	struct ibv_pd *pd = ibv_alloc_pd(*state);
	struct ibv_ah *ah;

	attr = good;
	attr.is_global = 0;
	attr.dlid = 5;
	assert_null(ibv_create_ah(pd, &attr));
	assert_int_equal(errno, EINVAL);
	attr = good;
	attr.port_num = 2;
	assert_null(ibv_create_ah(pd, &attr));
	attr = good;
	attr.grh.sgid_index = TCPZC_GID_TABLE_LEN;
	assert_null(ibv_create_ah(pd, &attr));
	ah = ibv_create_ah(pd, &good);
	assert_non_null(ah);
	assert_int_equal(ibv_dealloc_pd(pd), EBUSY);
	assert_int_equal(ibv_destroy_ah(ah), 0);
	assert_int_equal(ibv_dealloc_pd(pd), 0);
}

static void expect_create_qp(struct fake_objects *o,
			     const struct ibv_qp_init_attr *init, int err)
{
	struct ibv_qp_init_attr a = *init;
	struct ibv_qp *qp;

	errno = 0;
	qp = ibv_create_qp(o->pd, &a);
	if (err) {
		assert_null(qp);
		assert_int_equal(errno, err);
	} else {
		assert_non_null(qp);
		assert_int_equal(ibv_destroy_qp(qp), 0);
	}
}

static void test_create_qp_limits(void **state)
{
	struct ibv_qp_init_attr good, a;
	struct fake_objects o;

	fake_create(*state, &o);
	good = fake_qp_init(o.cq);
	expect_create_qp(&o, &good, 0);
#define TRY(field, value, err) \
	do { a = good; a.field = value; expect_create_qp(&o, &a, err); } while (0)
	TRY(qp_type, IBV_QPT_UC, 0);
	TRY(qp_type, IBV_QPT_UD, 0);
	TRY(qp_type, IBV_QPT_RAW_PACKET, EOPNOTSUPP);
	TRY(send_cq, NULL, EINVAL);
	TRY(recv_cq, NULL, EINVAL);
	TRY(cap.max_inline_data, TCPZC_MAX_INLINE, 0);
	TRY(cap.max_inline_data, TCPZC_MAX_INLINE + 1, EINVAL);
	TRY(cap.max_send_wr, TCPZC_MAX_QP_WR, 0);
	TRY(cap.max_send_wr, TCPZC_MAX_QP_WR + 1, EINVAL);
	TRY(cap.max_recv_wr, TCPZC_MAX_QP_WR + 1, EINVAL);
	TRY(cap.max_recv_wr, 0, 0);
	TRY(cap.max_send_wr, 0, 0);
	TRY(cap.max_send_sge, TCPZC_MAX_SGE + 1, EINVAL);
	TRY(cap.max_recv_sge, TCPZC_MAX_SGE + 1, EINVAL);
#undef TRY
	fake.fail = ENOMEM;
	expect_create_qp(&o, &good, ENOMEM);
	fake_destroy(&o);
}

static void test_qp_life(void **state)
{
	struct ibv_srq_init_attr srq_attr = { .attr = { .max_wr = 5, .max_sge = 2 } };
	struct ibv_qp_init_attr init, queried;
	struct ibv_context *ctx = *state;
	struct ibv_cq *scq, *rcq;
	struct ibv_qp_attr attr;
	struct ibv_srq *srq;
	struct ibv_pd *pd;
	struct ibv_qp *qp;

	pd = ibv_alloc_pd(ctx);
	scq = ibv_create_cq(ctx, 1, NULL, NULL, 1);
	rcq = ibv_create_cq(ctx, 1, NULL, NULL, 0);
	srq = ibv_create_srq(pd, &srq_attr);
	assert_true(pd && scq && rcq && srq);
	assert_int_equal(srq_attr.attr.max_wr, 8);
	init = fake_qp_init(scq);
	init.recv_cq = rcq;
	init.srq = srq;
	init.cap.max_recv_wr = INT_MAX;	/* ignored with an SRQ */
	init.qp_context = &init;
	init.sq_sig_all = 1;
	init.cap.max_send_wr = 5;
	qp = ibv_create_qp(pd, &init);
	assert_non_null(qp);
	assert_int_equal(fake.init.cap.max_recv_wr, 0);
	assert_int_equal(init.cap.max_send_wr, 8);
	assert_int_equal(init.cap.max_recv_wr, 0);

	assert_int_equal(ibv_query_qp(qp, &attr, IBV_QP_STATE, &queried), 0);
	assert_ptr_equal(queried.qp_context, &init);
	assert_ptr_equal(queried.send_cq, scq);
	assert_ptr_equal(queried.recv_cq, rcq);
	assert_ptr_equal(queried.srq, srq);
	assert_int_equal(queried.sq_sig_all, 1);
	assert_int_equal(attr.cap.max_send_wr, 8);

	assert_int_equal(ibv_dealloc_pd(pd), EBUSY);
	assert_int_equal(ibv_destroy_srq(srq), EBUSY);
	assert_int_equal(ibv_destroy_cq(scq), EBUSY);
	assert_int_equal(ibv_destroy_cq(rcq), EBUSY);
	fake.fail = EIO;
	assert_int_equal(ibv_destroy_qp(qp), EIO);
	assert_int_equal(ibv_destroy_cq(scq), EBUSY);
	assert_int_equal(ibv_destroy_qp(qp), 0);
	assert_int_equal(ibv_dealloc_pd(pd), EBUSY);
	assert_int_equal(ibv_destroy_srq(srq), 0);
	assert_int_equal(ibv_destroy_cq(scq), 0);
	assert_int_equal(ibv_destroy_cq(rcq), 0);
	assert_int_equal(ibv_dealloc_pd(pd), 0);
}

static void expect_modify(struct ibv_qp *qp, struct ibv_qp_attr attr, int mask,
			  int err)
{
	assert_int_equal(ibv_modify_qp(qp, &attr, mask), err);
}

#define A(...)	((struct ibv_qp_attr){ __VA_ARGS__ })

static void test_modify_values(void **state)
{
	struct fake_objects o;
	struct ibv_qp *qp;

	fake_create(*state, &o);
	qp = o.qp;
	expect_modify(qp, A(.qp_state = IBV_QPS_SQE), IBV_QP_STATE, EINVAL);
	expect_modify(qp, A(.qp_state = IBV_QPS_UNKNOWN), IBV_QP_STATE, EINVAL);
	expect_modify(qp, A(.qp_state = -1), IBV_QP_STATE, EINVAL);
	expect_modify(qp, A(0), IBV_QP_ALT_PATH, EOPNOTSUPP);
	expect_modify(qp, A(0), IBV_QP_CAP, EOPNOTSUPP);
	expect_modify(qp, A(0), IBV_QP_RATE_LIMIT, EOPNOTSUPP);
	/* Whether a QP of this type has one is the backend's to say. */
	expect_modify(qp, A(.qkey = 5), IBV_QP_QKEY, 0);
	assert_int_equal(fake.attr.qkey, 5);
	expect_modify(qp, A(0), 1 << 30, EINVAL);
	expect_modify(qp, A(.port_num = 0), IBV_QP_PORT, EINVAL);
	expect_modify(qp, A(.port_num = 2), IBV_QP_PORT, EINVAL);
	expect_modify(qp, A(.pkey_index = 1), IBV_QP_PKEY_INDEX, EINVAL);
	expect_modify(qp, A(.path_mtu = 0), IBV_QP_PATH_MTU, EINVAL);
	expect_modify(qp, A(.path_mtu = 6), IBV_QP_PATH_MTU, EINVAL);
	expect_modify(qp, A(.dest_qp_num = 1 << 24), IBV_QP_DEST_QPN, EINVAL);
	expect_modify(qp, A(.timeout = 32), IBV_QP_TIMEOUT, EINVAL);
	expect_modify(qp, A(.retry_cnt = 8), IBV_QP_RETRY_CNT, EINVAL);
	expect_modify(qp, A(.rnr_retry = 8), IBV_QP_RNR_RETRY, EINVAL);
	expect_modify(qp, A(.min_rnr_timer = 32), IBV_QP_MIN_RNR_TIMER, EINVAL);
	expect_modify(qp, A(.max_rd_atomic = 129), IBV_QP_MAX_QP_RD_ATOMIC,
		      EINVAL);
	expect_modify(qp, A(.max_dest_rd_atomic = 129),
		      IBV_QP_MAX_DEST_RD_ATOMIC, EINVAL);
	expect_modify(qp, A(.qp_access_flags = 1 << 15), IBV_QP_ACCESS_FLAGS,
		      EINVAL);
	expect_modify(qp, A(.ah_attr = { .port_num = 1 }), IBV_QP_AV, EINVAL);
	expect_modify(qp, A(.ah_attr = { .is_global = 1 }), IBV_QP_AV, EINVAL);
	expect_modify(qp, A(.path_mig_state = IBV_MIG_REARM),
		      IBV_QP_PATH_MIG_STATE, EINVAL);
	expect_modify(qp, A(.sq_psn = 0x12345678, .rq_psn = ~0u),
		      IBV_QP_SQ_PSN | IBV_QP_RQ_PSN, 0);
	assert_int_equal(fake.attr.sq_psn, 0x345678);
	assert_int_equal(fake.attr.rq_psn, 0xffffff);
	fake.fail = EINVAL;
	expect_modify(qp, A(.qp_state = IBV_QPS_RTS), IBV_QP_STATE, EINVAL);
	assert_int_equal(qp->state, IBV_QPS_RESET);
	fake_to_state(qp, IBV_QPS_RTS);
	assert_int_equal(qp->state, IBV_QPS_RTS);
	fake_destroy(&o);
}

static void test_unsupported(void **state)
{
	struct ibv_values_ex values = { .comp_mask = 1 };
	struct ibv_ece ece = { .vendor_id = 1 };
	struct ibv_context *ctx = *state;
	struct fake_objects o;

	fake_create(ctx, &o);
	assert_int_equal(ibv_query_rt_values_ex(ctx, &values), EOPNOTSUPP);
	assert_int_equal(ibv_query_ece(o.qp, &ece), EOPNOTSUPP);
	assert_int_equal(ibv_set_ece(o.qp, &ece), EOPNOTSUPP);
	assert_null(ibv_alloc_mw(o.pd, IBV_MW_TYPE_1));
	assert_int_equal(errno, EOPNOTSUPP);
	assert_int_equal(ibv_query_qp_data_in_order(o.qp, IBV_WR_RDMA_WRITE, 0),
			 0);
	assert_null(ibv_qp_to_qp_ex(o.qp));
	fake_destroy(&o);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_backend, fake_open,
						fake_close),
		cmocka_unit_test_setup_teardown(test_queries, fake_open, fake_close),
		cmocka_unit_test_setup_teardown(test_pd, fake_open, fake_close),
		cmocka_unit_test_setup_teardown(test_reg_mr, fake_open, fake_close),
		cmocka_unit_test_setup_teardown(test_rereg_mr, fake_open, fake_close),
		cmocka_unit_test_setup_teardown(test_ah, fake_open, fake_close),
		cmocka_unit_test_setup_teardown(test_create_qp_limits, fake_open,
						fake_close),
		cmocka_unit_test_setup_teardown(test_qp_life, fake_open, fake_close),
		cmocka_unit_test_setup_teardown(test_modify_values, fake_open,
						fake_close),
		cmocka_unit_test_setup_teardown(test_unsupported, fake_open,
						fake_close),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
