// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * provider_cq.c - completion queues: polling, resizing, removing completions of
 * queue pairs that are gone while the engine goes on producing.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>

#include "provider_fake.h"

static struct ibv_wc wcs[64];

static int poll_all(struct ibv_cq *cq)
{
	return ibv_poll_cq(cq, 64, wcs);
}

static void test_create(void **state)
{
	struct ibv_context *ctx = *state;
	struct ibv_cq *cq;
	int cqe;

	assert_null(ibv_create_cq(ctx, 0, NULL, NULL, 0));
	assert_int_equal(errno, EINVAL);
	assert_null(ibv_create_cq(ctx, -1, NULL, NULL, 0));
	assert_null(ibv_create_cq(ctx, TCPZC_MAX_CQE + 1, NULL, NULL, 0));
	assert_null(ibv_create_cq(ctx, 1, NULL, NULL, 2));
	assert_null(ibv_create_cq(ctx, 1, NULL, NULL, -1));
	for (cqe = 1; cqe <= 1024; cqe = cqe * 3 / 2 + 1) {
		cq = ibv_create_cq(ctx, cqe, NULL, NULL, 1);
		assert_non_null(cq);
		assert_true(cq->cqe >= cqe);
		assert_true((int)to_tcq(cq)->ring.depth > cqe);
		assert_int_equal(ibv_destroy_cq(cq), 0);
	}
	cq = ibv_create_cq(ctx, TCPZC_MAX_CQE, NULL, NULL, 0);
	assert_true(cq && cq->cqe >= (int)TCPZC_MAX_CQE);
	ibv_destroy_cq(cq);
}

static void complete_one(struct tcpzc_cq *cq)
{
	fake_complete(&cq->vcq.cq, 7, 77);
}

static void test_poll(void **state)
{
	struct ibv_cq *cq = ibv_create_cq(*state, 3, NULL, NULL, 0);
	struct tcpzc_cqe *cqe;

	assert_int_equal(poll_all(cq), 0);
	assert_int_equal(fake.drives, 1);
	assert_int_equal(ibv_poll_cq(cq, 0, NULL), 0);
	assert_true(ibv_poll_cq(cq, -1, NULL) < 0);
	assert_int_equal(fake.drives, 1);

	fake_complete(cq, 5, 50);
	cqe = tcpzc_ring_slot(&to_tcq(cq)->ring, 0);
	cqe->opcode = TCPZC_WC_RECV_RDMA_WITH_IMM;
	cqe->status = TCPZC_WC_WR_FLUSH_ERR;
	cqe->flags = TCPZC_CQE_F_WITH_IMM | TCPZC_CQE_F_GRH |
		     TCPZC_CQE_F_SOLICITED;
	cqe->imm_data = 0x01020304;
	cqe->byte_len = 99;
	cqe->src_qp = 6;
	cqe->vendor_err = 8;
	fake_complete(cq, 5, 51);
	assert_int_equal(ibv_poll_cq(cq, 1, wcs), 1);
	assert_int_equal(wcs[0].wr_id, 50);
	assert_int_equal(wcs[0].qp_num, 5);
	assert_int_equal(wcs[0].status, IBV_WC_WR_FLUSH_ERR);
	assert_int_equal(wcs[0].opcode, IBV_WC_RECV_RDMA_WITH_IMM);
	assert_int_equal(wcs[0].wc_flags, IBV_WC_WITH_IMM | IBV_WC_GRH);
	assert_int_equal(wcs[0].imm_data, 0x01020304);
	assert_int_equal(wcs[0].byte_len, 99);
	assert_int_equal(wcs[0].src_qp, 6);
	assert_int_equal(wcs[0].vendor_err, 8);
	assert_int_equal(to_tcq(cq)->ring.hdr->cons, 1);
	assert_int_equal(poll_all(cq), 1);
	assert_int_equal(wcs[0].wr_id, 51);
	assert_int_equal(fake.drives, 1);

	/* What driving finds is returned by the same call. */
	fake.on_drive = complete_one;
	assert_int_equal(poll_all(cq), 1);
	assert_int_equal(wcs[0].wr_id, 77);
	assert_int_equal(fake.drives, 2);

	assert_int_equal(ibv_req_notify_cq(cq, 0), 0);
	assert_int_equal(ibv_req_notify_cq(cq, 1), 0);
	assert_int_equal(fake.arms, 2);
	assert_int_equal(fake.solicited_arms, 1);
	ibv_destroy_cq(cq);
}

static void test_resize(void **state)
{
	struct ibv_cq *cq = ibv_create_cq(*state, 7, NULL, NULL, 0);
	int i;

	for (i = 0; i < 13; i++) {
		fake_complete(cq, 1, i);
		if (i < 8)
			poll_all(cq);
	}
	assert_int_equal(ibv_resize_cq(cq, 4), EINVAL);
	assert_int_equal(ibv_resize_cq(cq, 0), EINVAL);
	assert_int_equal(ibv_resize_cq(cq, TCPZC_MAX_CQE + 1), EINVAL);
	fake.fail = ENOMEM;
	assert_int_equal(ibv_resize_cq(cq, 100), ENOMEM);
	assert_int_equal(cq->cqe, 7);
	assert_int_equal(ibv_resize_cq(cq, 100), 0);
	assert_int_equal(cq->cqe, 127);
	fake_complete(cq, 1, 13);
	assert_int_equal(ibv_resize_cq(cq, 6), 0);
	assert_int_equal(cq->cqe, 7);
	assert_int_equal(poll_all(cq), 6);
	for (i = 0; i < 6; i++)
		assert_int_equal(wcs[i].wr_id, 8 + i);
	ibv_destroy_cq(cq);
}

static void test_forget(void **state)
{
	struct ibv_cq *cq = ibv_create_cq(*state, 15, NULL, NULL, 0);
	uint32_t start, mask, i;
	int n, kept;

	/* Every pattern of two queue pairs, at every position of the ring. */
	for (start = 0; start < 16; start++) {
		for (mask = 0; mask < 256; mask += 1 + start) {
			for (i = 0, kept = 0; i < 8; i++) {
				fake_complete(cq, mask >> i & 1, i);
				kept += !(mask >> i & 1);
			}
			tcpzc_cq_forget_qp(to_tcq(cq), 1);
			assert_int_equal(poll_all(cq), kept);
			for (i = 0, n = 0; i < 8; i++)
				if (!(mask >> i & 1))
					assert_int_equal(wcs[n++].wr_id, i);
		}
		fake_complete(cq, 0, 0);
		assert_int_equal(poll_all(cq), 1);
	}
	ibv_destroy_cq(cq);
}

static void test_forget_by_destroy(void **state)
{
	struct ibv_qp_init_attr init;
	struct ibv_qp_attr attr = { .qp_state = IBV_QPS_RESET };
	struct fake_objects o;
	struct ibv_cq *rcq;
	struct ibv_qp *qp;
	uint32_t qpn;

	fake_create(*state, &o);
	rcq = ibv_create_cq(*state, 15, NULL, NULL, 0);
	init = fake_qp_init(o.cq);
	init.recv_cq = rcq;
	qp = ibv_create_qp(o.pd, &init);
	qpn = qp->qp_num;
	fake_complete(o.cq, qpn, 1);
	fake_complete(o.cq, o.qp->qp_num, 2);
	fake_complete(rcq, qpn, 3);
	assert_int_equal(ibv_modify_qp(qp, &attr, IBV_QP_STATE), 0);
	assert_int_equal(poll_all(rcq), 0);
	assert_int_equal(poll_all(o.cq), 1);
	assert_int_equal(wcs[0].wr_id, 2);
	fake_complete(rcq, qpn, 4);
	fake_complete(o.cq, qpn, 5);
	assert_int_equal(ibv_destroy_qp(qp), 0);
	assert_int_equal(poll_all(rcq), 0);
	assert_int_equal(poll_all(o.cq), 0);
	assert_int_equal(ibv_destroy_cq(rcq), 0);
	fake_destroy(&o);
}

#define RACE_ENTRIES	200000u

/* Completions of queue pair 0 count up; those of 1 are noise. */
static void *race_engine(void *arg)
{
	struct ibv_cq *cq = arg;
	struct tcpzc_ring *ring = &to_tcq(cq)->ring;
	uint64_t seq = 0;
	uint32_t i;

	for (i = 0; i < RACE_ENTRIES; i++) {
		while (ring->hdr->prod - tz_load_acquire(&ring->hdr->cons) ==
		       ring->depth)
			sched_yield();
		fake_complete(cq, i % 3 != 0, seq);
		seq += i % 3 == 0;
	}
	return NULL;
}

static void test_forget_race(void **state)
{
	struct ibv_cq *cq = ibv_create_cq(*state, 15, NULL, NULL, 0);
	uint64_t want = (RACE_ENTRIES + 2) / 3, seq = 0;
	pthread_t engine;
	int n, i;

	assert_int_equal(pthread_create(&engine, NULL, race_engine, cq), 0);
	while (seq < want) {
		tcpzc_cq_forget_qp(to_tcq(cq), 1);
		n = ibv_poll_cq(cq, 1 + seq % 5, wcs);
		assert_true(n >= 0);
		for (i = 0; i < n; i++)
			if (!wcs[i].qp_num)
				assert_int_equal(wcs[i].wr_id, seq++);
		if (!n)
			sched_yield();
	}
	pthread_join(engine, NULL);
	ibv_destroy_cq(cq);
}

static void test_ex_create(void **state)
{
	struct ibv_cq_init_attr_ex good = {
		.cqe = 10,
		.wc_flags = IBV_WC_STANDARD_FLAGS,
		.comp_mask = IBV_CQ_INIT_ATTR_MASK_FLAGS,
		.flags = IBV_CREATE_CQ_ATTR_SINGLE_THREADED,
	}, a;
	struct ibv_cq_ex *cq;

	a = good;
	a.wc_flags |= IBV_WC_EX_WITH_COMPLETION_TIMESTAMP;
	assert_null(ibv_create_cq_ex(*state, &a));
	assert_int_equal(errno, EOPNOTSUPP);
	a = good;
	a.flags = IBV_CREATE_CQ_ATTR_IGNORE_OVERRUN;
	assert_null(ibv_create_cq_ex(*state, &a));
	assert_int_equal(errno, EOPNOTSUPP);
	a = good;
	a.cqe = UINT32_MAX;
	assert_null(ibv_create_cq_ex(*state, &a));
	assert_int_equal(errno, EINVAL);
	a = good;
	a.comp_vector = UINT32_MAX;
	assert_null(ibv_create_cq_ex(*state, &a));
	assert_int_equal(errno, EINVAL);
	cq = ibv_create_cq_ex(*state, &good);
	assert_non_null(cq);
	assert_int_equal(ibv_destroy_cq(ibv_cq_ex_to_cq(cq)), 0);
}

static void test_ex_poll(void **state)
{
	struct ibv_cq_init_attr_ex attr = {
		.cqe = 3, .wc_flags = IBV_WC_STANDARD_FLAGS
	};
	struct ibv_poll_cq_attr poll = {};
	struct ibv_cq_ex *cq;
	struct ibv_cq *ibcq;

	cq = ibv_create_cq_ex(*state, &attr);
	ibcq = ibv_cq_ex_to_cq(cq);
	assert_int_equal(ibv_start_poll(cq, &poll), ENOENT);
	assert_int_equal(fake.drives, 1);
	fake_complete(ibcq, 3, 30);
	fake_complete(ibcq, 4, 31);
	assert_int_equal(ibv_start_poll(cq, &poll), 0);
	assert_int_equal(cq->wr_id, 30);
	assert_int_equal(cq->status, IBV_WC_SUCCESS);
	assert_int_equal(ibv_wc_read_qp_num(cq), 3);
	assert_int_equal(ibv_wc_read_opcode(cq), IBV_WC_SEND);
	assert_int_equal(ibv_wc_read_wc_flags(cq), 0);
	assert_int_equal(ibv_wc_read_slid(cq), 0);
	assert_int_equal(to_tcq(ibcq)->ring.hdr->cons, 0);
	assert_int_equal(ibv_next_poll(cq), 0);
	assert_int_equal(cq->wr_id, 31);
	assert_int_equal(to_tcq(ibcq)->ring.hdr->cons, 1);
	assert_int_equal(ibv_next_poll(cq), ENOENT);
	ibv_end_poll(cq);
	assert_int_equal(to_tcq(ibcq)->ring.hdr->cons, 2);
	/* What is not asked for after start_poll is taken all the same. */
	fake_complete(ibcq, 3, 32);
	fake_complete(ibcq, 3, 33);
	assert_int_equal(ibv_start_poll(cq, &poll), 0);
	ibv_end_poll(cq);
	assert_int_equal(poll_all(ibcq), 1);
	assert_int_equal(wcs[0].wr_id, 33);
	fake.on_drive = complete_one;
	assert_int_equal(ibv_start_poll(cq, &poll), 0);
	assert_int_equal(cq->wr_id, 77);
	ibv_end_poll(cq);
	poll.comp_mask = 1;
	assert_int_equal(ibv_start_poll(cq, &poll), EINVAL);
	assert_int_equal(ibv_destroy_cq(ibcq), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_create, fake_open, fake_close),
		cmocka_unit_test_setup_teardown(test_poll, fake_open, fake_close),
		cmocka_unit_test_setup_teardown(test_resize, fake_open, fake_close),
		cmocka_unit_test_setup_teardown(test_forget, fake_open, fake_close),
		cmocka_unit_test_setup_teardown(test_forget_by_destroy, fake_open,
						fake_close),
		cmocka_unit_test_setup_teardown(test_forget_race, fake_open,
						fake_close),
		cmocka_unit_test_setup_teardown(test_ex_create, fake_open,
						fake_close),
		cmocka_unit_test_setup_teardown(test_ex_poll, fake_open, fake_close),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
