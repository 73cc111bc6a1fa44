// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * provider_post.c - posting to send, receive and shared receive queues, in both
 * ways: what stands in the rings afterwards, and what is refused.
 */
#include <errno.h>
#include <string.h>

#include "provider_fake.h"

static const struct tcpzc_sge *sges_of(const void *wqe, size_t size)
{
	return (const void *)((const char *)wqe + size);
}

static struct ibv_send_wr send_wr(uint64_t wr_id, enum ibv_wr_opcode opcode,
				  struct ibv_sge *sge, int num_sge)
{
	return (struct ibv_send_wr){
		.wr_id = wr_id, .opcode = opcode, .sg_list = sge,
		.num_sge = num_sge, .send_flags = IBV_SEND_SIGNALED,
	};
}

static void expect_send(struct ibv_qp *qp, struct ibv_send_wr wr, int err)
{
	struct ibv_send_wr *bad = NULL;
	int doorbells = fake.sq_doorbells;

	assert_int_equal(ibv_post_send(qp, &wr, &bad), err);
	assert_ptr_equal(bad, err ? &wr : NULL);
	assert_int_equal(fake.sq_doorbells - doorbells, err ? 0 : 1);
	/* The engine takes it at once. */
	to_tqp(qp)->sq.hdr->cons = to_tqp(qp)->sq.hdr->prod;
}

static void test_states(void **state)
{
	struct ibv_send_wr wr = send_wr(1, IBV_WR_SEND, NULL, 0);
	struct ibv_recv_wr rwr = {}, *bad = NULL;
	struct ibv_qp_attr attr = { .qp_state = IBV_QPS_ERR };
	struct fake_objects o;

	fake_create(*state, &o);
	assert_int_equal(ibv_post_recv(o.qp, &rwr, &bad), EINVAL);
	assert_ptr_equal(bad, &rwr);
	expect_send(o.qp, wr, EINVAL);
	fake_to_state(o.qp, IBV_QPS_INIT);
	assert_int_equal(ibv_post_recv(o.qp, &rwr, &bad), 0);
	expect_send(o.qp, wr, EINVAL);
	attr.qp_state = IBV_QPS_ERR;
	assert_int_equal(ibv_modify_qp(o.qp, &attr, IBV_QP_STATE), 0);
	expect_send(o.qp, wr, 0);
	assert_int_equal(ibv_post_recv(o.qp, &rwr, &bad), 0);
	assert_int_equal(ibv_post_send(o.qp, NULL, NULL), 0);
	assert_int_equal(ibv_post_recv(o.qp, NULL, NULL), 0);
	assert_int_equal(fake.rq_doorbells, 2);
	fake_destroy(&o);
}

static void test_send_fields(void **state)
{
	struct ibv_sge sge[3] = { { 0x1000, 10, 1 }, { 0x2000, 0, 2 },
				  { 0x3000, 30, 3 } };
	struct ibv_send_wr wr = send_wr(42, IBV_WR_RDMA_WRITE_WITH_IMM, sge, 3);
	const struct tcpzc_send_wqe *wqe;
	struct fake_objects o;

	fake_create(*state, &o);
	fake_to_state(o.qp, IBV_QPS_RTS);
	wr.send_flags = IBV_SEND_SOLICITED | IBV_SEND_FENCE;
	wr.imm_data = 0x11223344;
	wr.wr.rdma.remote_addr = 0xabcdef;
	wr.wr.rdma.rkey = 77;
	expect_send(o.qp, wr, 0);
	wqe = fake_sq_entry(o.qp, 0);
	assert_int_equal(wqe->wr_id, 42);
	assert_int_equal(wqe->opcode, TCPZC_WQE_RDMA_WRITE_WITH_IMM);
	assert_int_equal(wqe->flags, TCPZC_WQE_F_SOLICITED | TCPZC_WQE_F_FENCE);
	assert_int_equal(wqe->imm_data, 0x11223344);
	assert_int_equal(wqe->remote_addr, 0xabcdef);
	assert_int_equal(wqe->rkey, 77);
	assert_int_equal(wqe->num_sge, 2);	/* without the empty one */
	assert_int_equal(sges_of(wqe, sizeof(*wqe))[1].addr, 0x3000);
	assert_int_equal(sges_of(wqe, sizeof(*wqe))[1].length, 30);
	assert_int_equal(sges_of(wqe, sizeof(*wqe))[1].lkey, 3);

	sge[0].length = 8;
	wr = send_wr(43, IBV_WR_ATOMIC_CMP_AND_SWP, sge, 1);
	wr.wr.atomic.remote_addr = 0x5550;
	wr.wr.atomic.rkey = 5;
	wr.wr.atomic.compare_add = 6;
	wr.wr.atomic.swap = 7;
	expect_send(o.qp, wr, 0);
	wqe = fake_sq_entry(o.qp, 1);
	assert_int_equal(wqe->opcode, TCPZC_WQE_ATOMIC_CMP_AND_SWP);
	assert_int_equal(wqe->flags, TCPZC_WQE_F_SIGNALED);
	assert_int_equal(wqe->remote_addr, 0x5550);
	assert_int_equal(wqe->rkey, 5);
	assert_int_equal(wqe->compare_add, 6);
	assert_int_equal(wqe->swap, 7);
	assert_int_equal(wqe->imm_data, 0);
	fake_destroy(&o);
}

static void test_send_refused(void **state)
{
	struct ibv_sge sge[4] = { { 0x1000, 1u << 31, 1 }, { 0x1000, 1, 1 },
				  { 0x1000, 8, 1 } };
	struct fake_objects o;

	fake_create(*state, &o);
	fake_to_state(o.qp, IBV_QPS_RTS);
	expect_send(o.qp, send_wr(1, IBV_WR_SEND, sge, 1), 0);
	expect_send(o.qp, send_wr(1, IBV_WR_SEND, sge, 2), EINVAL);
	expect_send(o.qp, send_wr(1, IBV_WR_SEND, sge, 4), EINVAL);
	expect_send(o.qp, send_wr(1, IBV_WR_SEND, sge, -1), EINVAL);
	expect_send(o.qp, send_wr(1, IBV_WR_LOCAL_INV, sge, 0), EOPNOTSUPP);
	expect_send(o.qp, send_wr(1, IBV_WR_BIND_MW, sge, 0), EOPNOTSUPP);
	expect_send(o.qp, send_wr(1, IBV_WR_SEND_WITH_INV, sge, 0), EOPNOTSUPP);
	expect_send(o.qp, send_wr(1, IBV_WR_TSO, sge, 0), EOPNOTSUPP);
	expect_send(o.qp, send_wr(1, 1000, sge, 0), EOPNOTSUPP);
	expect_send(o.qp, send_wr(1, IBV_WR_ATOMIC_FETCH_AND_ADD, sge + 1, 1),
		    EINVAL);
	expect_send(o.qp, send_wr(1, IBV_WR_ATOMIC_FETCH_AND_ADD, sge + 1, 2),
		    EINVAL);
	expect_send(o.qp, send_wr(1, IBV_WR_ATOMIC_FETCH_AND_ADD, sge, 0),
		    EINVAL);
	expect_send(o.qp, send_wr(1, IBV_WR_ATOMIC_FETCH_AND_ADD, sge + 2, 1),
		    0);
	fake_destroy(&o);
}

static void test_send_inline(void **state)
{
	char text[65] = "the quick brown fox";
	struct ibv_sge sge[3] = { { (uintptr_t)text, 4, 0 },
				  { 0, 0, 0 },
				  { (uintptr_t)text + 10, 5, 0 } };
	struct ibv_send_wr wr = send_wr(1, IBV_WR_SEND, sge, 3);
	const struct tcpzc_send_wqe *wqe;
	struct fake_objects o;

	fake_create(*state, &o);
	fake_to_state(o.qp, IBV_QPS_RTS);
	wr.send_flags = IBV_SEND_INLINE;
	expect_send(o.qp, wr, 0);
	wqe = fake_sq_entry(o.qp, 0);
	assert_int_equal(wqe->flags, TCPZC_WQE_F_INLINE);
	assert_int_equal(wqe->inline_len, 9);
	assert_int_equal(wqe->num_sge, 0);
	assert_memory_equal(wqe + 1, "the brown", 9);
	sge[0].length = 64;
	wr.num_sge = 1;
	expect_send(o.qp, wr, 0);
	sge[0].length = 65;
	expect_send(o.qp, wr, EINVAL);
	sge[0].length = 64;
	wr.num_sge = 3;
	expect_send(o.qp, wr, EINVAL);
	wr.num_sge = 1;
	wr.opcode = IBV_WR_RDMA_READ;
	expect_send(o.qp, wr, EINVAL);
	wr.opcode = IBV_WR_ATOMIC_FETCH_AND_ADD;
	sge[0].length = 8;
	expect_send(o.qp, wr, EINVAL);
	wr.opcode = IBV_WR_SEND;
	wr.send_flags |= IBV_SEND_IP_CSUM;
	expect_send(o.qp, wr, EINVAL);
	fake_destroy(&o);
}

static void test_send_list(void **state)
{
	struct ibv_send_wr wr[6], *bad = NULL;
	struct ibv_sge sge = { 0x1000, 16, 1 };
	struct tcpzc_ring *sq;
	struct fake_objects o;
	int i;

	fake_create(*state, &o);
	fake_to_state(o.qp, IBV_QPS_RTS);
	sq = &to_tqp(o.qp)->sq;
	for (i = 0; i < 6; i++) {
		wr[i] = send_wr(i, IBV_WR_SEND, &sge, 1);
		wr[i].next = i < 5 ? &wr[i + 1] : NULL;
	}
	/* What precedes a bad one is posted. */
	wr[2].num_sge = 9;
	assert_int_equal(ibv_post_send(o.qp, wr, &bad), EINVAL);
	assert_ptr_equal(bad, &wr[2]);
	assert_int_equal(sq->hdr->prod, 2);
	assert_int_equal(fake.sq_doorbells, 1);
	/* Four slots: two are left. */
	wr[2].num_sge = 1;
	assert_int_equal(ibv_post_send(o.qp, &wr[2], &bad), ENOMEM);
	assert_ptr_equal(bad, &wr[4]);
	assert_int_equal(sq->hdr->prod, 4);
	assert_int_equal(fake.sq_doorbells, 2);
	assert_int_equal(ibv_post_send(o.qp, &wr[4], &bad), ENOMEM);
	assert_ptr_equal(bad, &wr[4]);
	assert_int_equal(fake.sq_doorbells, 2);
	/* The engine gives slots back. */
	sq->hdr->cons = 3;
	assert_int_equal(ibv_post_send(o.qp, &wr[4], &bad), 0);
	assert_int_equal(fake_sq_entry(o.qp, 5)->wr_id, 5);
	fake_destroy(&o);
}

static void reset(struct ibv_qp *qp)
{
	struct ibv_qp_attr attr = { .qp_state = IBV_QPS_RESET };

	assert_int_equal(ibv_modify_qp(qp, &attr, IBV_QP_STATE), 0);
}

/* RESET empties the rings; whether indices start again is the backend's. */
static void test_reset(void **state)
{
	struct ibv_recv_wr rwr = { .wr_id = 9 }, *bad_recv;
	struct ibv_send_wr wr = send_wr(1, IBV_WR_SEND, NULL, 0), *bad;
	struct fake_objects o;
	int i, round;

	fake_create(*state, &o);
	for (round = 0; round < 4; round++) {
		fake.leave_indices = round & 1;
		fake_to_state(o.qp, IBV_QPS_RTS);
		for (i = 0; i < 4; i++) {
			assert_int_equal(ibv_post_send(o.qp, &wr, &bad), 0);
			assert_int_equal(ibv_post_recv(o.qp, &rwr, &bad_recv), 0);
		}
		assert_int_equal(ibv_post_send(o.qp, &wr, &bad), ENOMEM);
		assert_int_equal(ibv_post_recv(o.qp, &rwr, &bad_recv), ENOMEM);
		reset(o.qp);
	}
	fake_destroy(&o);
}

static void test_sig_all(void **state)
{
	struct ibv_send_wr wr = send_wr(1, IBV_WR_SEND, NULL, 0);
	struct ibv_qp_init_attr init;
	struct fake_objects o;
	struct ibv_qp *qp;

	fake_create(*state, &o);
	init = fake_qp_init(o.cq);
	init.sq_sig_all = 1;
	qp = ibv_create_qp(o.pd, &init);
	fake_to_state(qp, IBV_QPS_RTS);
	wr.send_flags = 0;
	expect_send(qp, wr, 0);
	assert_int_equal(fake_sq_entry(qp, 0)->flags, TCPZC_WQE_F_SIGNALED);
	ibv_destroy_qp(qp);
	fake_destroy(&o);
}

static void test_recv(void **state)
{
	struct ibv_sge sge[3] = { { 0x1000, 0, 1 }, { 0x2000, 20, 2 } };
	struct ibv_recv_wr wr[6] = {}, *bad = NULL;
	const struct tcpzc_recv_wqe *wqe;
	struct ibv_qp_init_attr init;
	struct fake_objects o;
	struct ibv_qp *qp;
	int i;

	fake_create(*state, &o);
	fake_to_state(o.qp, IBV_QPS_INIT);
	for (i = 0; i < 6; i++) {
		wr[i].wr_id = i;
		wr[i].next = i < 5 ? &wr[i + 1] : NULL;
		wr[i].sg_list = sge;
		wr[i].num_sge = 2;
	}
	wr[1].num_sge = 3;
	assert_int_equal(ibv_post_recv(o.qp, wr, &bad), EINVAL);
	assert_ptr_equal(bad, &wr[1]);
	wqe = fake_rq_entry(&to_tqp(o.qp)->rq, 0);
	assert_int_equal(wqe->num_sge, 1);
	assert_int_equal(sges_of(wqe, sizeof(*wqe))->addr, 0x2000);
	assert_int_equal(ibv_post_recv(o.qp, &wr[2], &bad), ENOMEM);
	assert_ptr_equal(bad, &wr[5]);
	assert_int_equal(fake.rq_doorbells, 2);

	/* Without a receive queue. */
	init = fake_qp_init(o.cq);
	init.cap.max_recv_wr = 0;
	qp = ibv_create_qp(o.pd, &init);
	fake_to_state(qp, IBV_QPS_INIT);
	assert_int_equal(ibv_post_recv(qp, &wr[5], &bad), ENOMEM);
	ibv_destroy_qp(qp);
	fake_destroy(&o);
}

static void test_srq(void **state)
{
	struct ibv_srq_init_attr attr = { .attr = { .max_wr = 3, .max_sge = 1 } };
	struct ibv_srq_attr sa = {};
	struct ibv_recv_wr wr = { .wr_id = 1 }, *bad;
	struct fake_objects o;
	struct ibv_srq *srq;
	int i;

	fake_create(*state, &o);
	srq = ibv_create_srq(o.pd, &attr);
	assert_int_equal(attr.attr.max_wr, 4);
	for (i = 0; i < 4; i++)
		assert_int_equal(ibv_post_srq_recv(srq, &wr, &bad), 0);
	assert_int_equal(ibv_post_srq_recv(srq, &wr, &bad), ENOMEM);
	assert_ptr_equal(bad, &wr);
	assert_int_equal(fake.srq_doorbells, 4);
	sa.max_wr = 3;
	assert_int_equal(ibv_modify_srq(srq, &sa, IBV_SRQ_MAX_WR), EINVAL);
	sa.max_wr = TCPZC_MAX_SRQ_WR + 1;
	assert_int_equal(ibv_modify_srq(srq, &sa, IBV_SRQ_MAX_WR), EINVAL);
	sa.max_wr = 16;
	sa.srq_limit = 5;
	assert_int_equal(ibv_modify_srq(srq, &sa, IBV_SRQ_LIMIT), EINVAL);
	assert_int_equal(ibv_modify_srq(srq, &sa, 1 << 5), EINVAL);
	assert_int_equal(ibv_modify_srq(srq, &sa, IBV_SRQ_MAX_WR | IBV_SRQ_LIMIT),
			 0);
	assert_int_equal(ibv_query_srq(srq, &sa), 0);
	assert_int_equal(sa.max_wr, 16);
	assert_int_equal(sa.max_sge, 1);
	assert_int_equal(ibv_post_srq_recv(srq, &wr, &bad), 0);
	assert_int_equal(ibv_destroy_srq(srq), 0);

	attr.attr.max_wr = 0;
	assert_null(ibv_create_srq(o.pd, &attr));
	assert_int_equal(errno, EINVAL);
	attr.attr.max_wr = 1;
	attr.attr.max_sge = TCPZC_MAX_SGE + 1;
	assert_null(ibv_create_srq(o.pd, &attr));
	fake_destroy(&o);
}

/* ---- ibv_wr_* ----------------------------------------------------------- */

#define ALL_OPS \
	(IBV_QP_EX_WITH_RDMA_WRITE | IBV_QP_EX_WITH_RDMA_WRITE_WITH_IMM | \
	 IBV_QP_EX_WITH_SEND | IBV_QP_EX_WITH_SEND_WITH_IMM | \
	 IBV_QP_EX_WITH_RDMA_READ | IBV_QP_EX_WITH_ATOMIC_CMP_AND_SWP | \
	 IBV_QP_EX_WITH_ATOMIC_FETCH_AND_ADD)

static struct ibv_qp_init_attr_ex init_ex(struct fake_objects *o)
{
	struct ibv_qp_init_attr init = fake_qp_init(o->cq);

	return (struct ibv_qp_init_attr_ex){
		.send_cq = init.send_cq, .recv_cq = init.recv_cq,
		.cap = init.cap, .qp_type = init.qp_type, .pd = o->pd,
		.comp_mask = IBV_QP_INIT_ATTR_PD |
			     IBV_QP_INIT_ATTR_SEND_OPS_FLAGS,
		.send_ops_flags = ALL_OPS,
	};
}

static struct ibv_qp_ex *create_ex(struct ibv_context *ctx,
				   struct fake_objects *o)
{
	struct ibv_qp_init_attr_ex init;

	fake_create(ctx, o);
	ibv_destroy_qp(o->qp);
	init = init_ex(o);
	o->qp = ibv_create_qp_ex(ctx, &init);
	assert_non_null(o->qp);
	fake_to_state(o->qp, IBV_QPS_RTS);
	assert_non_null(ibv_qp_to_qp_ex(o->qp));
	return ibv_qp_to_qp_ex(o->qp);
}

static void test_ex_create(void **state)
{
	struct ibv_qp_init_attr_ex good, a;
	struct ibv_context *ctx = *state;
	struct fake_objects o;

	fake_create(ctx, &o);
	good = init_ex(&o);
#define TRY(field, value, err) do { \
		a = good; a.field = value; \
		assert_null(ibv_create_qp_ex(ctx, &a)); \
		assert_int_equal(errno, err); \
	} while (0)
	TRY(comp_mask, IBV_QP_INIT_ATTR_SEND_OPS_FLAGS, EINVAL);
	TRY(comp_mask, good.comp_mask | IBV_QP_INIT_ATTR_XRCD, EOPNOTSUPP);
	TRY(send_ops_flags, ALL_OPS | IBV_QP_EX_WITH_BIND_MW, EOPNOTSUPP);
	TRY(qp_type, IBV_QPT_UD, EOPNOTSUPP);
	good.comp_mask |= IBV_QP_INIT_ATTR_CREATE_FLAGS;
	TRY(create_flags, IBV_QP_CREATE_BLOCK_SELF_MCAST_LB, EOPNOTSUPP);
#undef TRY
	fake_destroy(&o);
}

static void test_ex_build(void **state)
{
	struct ibv_sge sge[2] = { { 0x1000, 10, 1 }, { 0x2000, 20, 2 } };
	char hello[] = "hello ", world[] = "world";
	struct ibv_data_buf buf[2] = { { hello, 6 }, { world, 5 } };
	const struct tcpzc_send_wqe *wqe;
	struct fake_objects o;
	struct ibv_qp_ex *ex;

	ex = create_ex(*state, &o);
	ibv_wr_start(ex);
	ex->wr_id = 1;
	ex->wr_flags = IBV_SEND_SIGNALED;
	ibv_wr_send(ex);
	ibv_wr_set_sge(ex, 7, 0x9000, 90);
	ex->wr_id = 2;
	ex->wr_flags = 0;
	ibv_wr_rdma_write_imm(ex, 5, 0x5000, 0x01020304);
	ibv_wr_set_sge_list(ex, 2, sge);
	ex->wr_id = 3;
	ibv_wr_rdma_write(ex, 6, 0x6000);
	ibv_wr_set_inline_data_list(ex, 2, buf);
	ibv_wr_atomic_cmp_swp(ex, 7, 0x7000, 71, 72);
	ibv_wr_set_sge(ex, 1, 0x1000, 8);
	assert_int_equal(to_tqp(o.qp)->sq.hdr->prod, 0);
	assert_int_equal(ibv_wr_complete(ex), 0);
	assert_int_equal(to_tqp(o.qp)->sq.hdr->prod, 4);
	assert_int_equal(fake.sq_doorbells, 1);

	wqe = fake_sq_entry(o.qp, 0);
	assert_int_equal(wqe->wr_id, 1);
	assert_int_equal(wqe->opcode, TCPZC_WQE_SEND);
	assert_int_equal(wqe->flags, TCPZC_WQE_F_SIGNALED);
	assert_int_equal(wqe->num_sge, 1);
	assert_int_equal(sges_of(wqe, sizeof(*wqe))->lkey, 7);
	wqe = fake_sq_entry(o.qp, 1);
	assert_int_equal(wqe->opcode, TCPZC_WQE_RDMA_WRITE_WITH_IMM);
	assert_int_equal(wqe->flags, 0);
	assert_int_equal(wqe->imm_data, 0x01020304);
	assert_int_equal(wqe->rkey, 5);
	assert_int_equal(wqe->remote_addr, 0x5000);
	assert_int_equal(wqe->num_sge, 2);
	wqe = fake_sq_entry(o.qp, 2);
	assert_int_equal(wqe->flags, TCPZC_WQE_F_INLINE);
	assert_int_equal(wqe->inline_len, 11);
	assert_memory_equal(wqe + 1, "hello world", 11);
	wqe = fake_sq_entry(o.qp, 3);
	assert_int_equal(wqe->compare_add, 71);
	assert_int_equal(wqe->swap, 72);
	fake_destroy(&o);
}

static void test_ex_errors(void **state)
{
	struct ibv_sge sge[4] = {};
	char data[65] = "";
	struct fake_objects o;
	struct ibv_qp_ex *ex;
	int i;

	ex = create_ex(*state, &o);
#define EXPECT(err) do { \
		assert_int_equal(ibv_wr_complete(ex), err); \
		assert_int_equal(to_tqp(o.qp)->sq.hdr->prod, 0); \
	} while (0)
	ibv_wr_start(ex);
	EXPECT(0);
	ibv_wr_start(ex);
	for (i = 0; i < 5; i++) {
		ibv_wr_send(ex);
		ibv_wr_set_sge(ex, 1, 1, 1);
	}
	EXPECT(ENOMEM);
	ibv_wr_start(ex);
	ibv_wr_send(ex);
	ibv_wr_set_sge_list(ex, 4, sge);
	ibv_wr_send(ex);
	ibv_wr_set_sge(ex, 1, 1, 1);
	EXPECT(EINVAL);
	ibv_wr_start(ex);
	ibv_wr_send(ex);
	ibv_wr_set_inline_data(ex, data, 65);
	EXPECT(EINVAL);
	ibv_wr_start(ex);
	ibv_wr_rdma_read(ex, 1, 1);
	ibv_wr_set_inline_data(ex, data, 1);
	EXPECT(EINVAL);
	ibv_wr_start(ex);
	ibv_wr_atomic_fetch_add(ex, 1, 8, 1);
	ibv_wr_set_sge(ex, 1, 1, 4);
	EXPECT(EINVAL);
	ibv_wr_start(ex);
	ibv_wr_atomic_fetch_add(ex, 1, 8, 1);
	EXPECT(EINVAL);
	ibv_wr_start(ex);
	ibv_wr_send(ex);
	ibv_wr_abort(ex);
	assert_int_equal(to_tqp(o.qp)->sq.hdr->prod, 0);
	reset(o.qp);
	ibv_wr_start(ex);
	ibv_wr_send(ex);
	EXPECT(EINVAL);
	assert_int_equal(fake.sq_doorbells, 0);
#undef EXPECT
	fake_destroy(&o);
}

#define T(test)	cmocka_unit_test_setup_teardown(test, fake_open, fake_close)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_states), T(test_send_fields), T(test_send_refused),
		T(test_send_inline), T(test_send_list), T(test_reset),
		T(test_sig_all), T(test_recv), T(test_srq), T(test_ex_create),
		T(test_ex_build), T(test_ex_errors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
