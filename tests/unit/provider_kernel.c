// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * provider_kernel.c - the kernel backend: rings that are mapped and replaced,
 * when doorbells are rung, and what a child of the process can do.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "provider_kernel_fake.h"

#define SQ_DEPTH	256u
#define MAX_HELD	64u		/* work requests, as kb_bell.c has it */
#define MAX_HELD_BYTES		(8u << 20)

/* ---- objects ------------------------------------------------------------ */

struct objects {
	struct ibv_pd *pd;
	struct ibv_cq *send_cq, *recv_cq;
	struct ibv_qp *qp;
};

static struct ibv_qp *create_qp(const struct objects *o)
{
	struct ibv_qp_init_attr init = {
		.send_cq = o->send_cq,
		.recv_cq = o->recv_cq,
		.qp_type = IBV_QPT_RC,
		.cap = {
			.max_send_wr = SQ_DEPTH,
			.max_recv_wr = 16,
			.max_send_sge = 2,
			.max_recv_sge = 2,
			.max_inline_data = 64,
		},
	};
	struct ibv_qp *qp = ibv_create_qp(o->pd, &init);

	assert_non_null(qp);
	qp->state = IBV_QPS_RTS;
	return qp;
}

static struct objects create(struct ibv_context *ctx, bool two_cqs)
{
	struct objects o = { .pd = ibv_alloc_pd(ctx) };

	o.send_cq = ibv_create_cq(ctx, 255, NULL, NULL, 0);
	o.recv_cq = two_cqs ? ibv_create_cq(ctx, 255, NULL, NULL, 0) : o.send_cq;
	assert_true(o.pd && o.send_cq && o.recv_cq);
	o.qp = create_qp(&o);
	return o;
}

static void destroy(struct objects *o)
{
	if (o->qp)
		assert_int_equal(ibv_destroy_qp(o->qp), 0);
	assert_int_equal(ibv_destroy_cq(o->send_cq), 0);
	if (o->recv_cq != o->send_cq)
		assert_int_equal(ibv_destroy_cq(o->recv_cq), 0);
	assert_int_equal(ibv_dealloc_pd(o->pd), 0);
}

static void post(struct ibv_qp *qp, uint32_t bytes)
{
	struct ibv_sge sge = { .addr = 4096, .length = bytes, .lkey = 1 };
	struct ibv_send_wr wr = {
		.opcode = IBV_WR_SEND, .sg_list = &sge, .num_sge = 1
	};
	struct ibv_send_wr *bad;

	assert_int_equal(ibv_post_send(qp, &wr, &bad), 0);
}

static void post_many(struct ibv_qp *qp, uint32_t bytes, uint32_t n)
{
	while (n--)
		post(qp, bytes);
}

static int post_recv(struct ibv_qp *qp)
{
	struct ibv_recv_wr wr = {}, *bad;

	return ibv_post_recv(qp, &wr, &bad);
}

static int post_srq(struct ibv_srq *srq)
{
	struct ibv_recv_wr wr = {}, *bad;

	return ibv_post_srq_recv(srq, &wr, &bad);
}

static int poll_one(struct ibv_cq *cq)
{
	struct ibv_wc wc;

	return ibv_poll_cq(cq, 1, &wc);
}

/* ---- the engine's part -------------------------------------------------- */

static struct tcpzc_ring_hdr *sq_hdr(struct ibv_qp *qp)
{
	return to_tqp(qp)->sq.hdr;
}

static void complete(struct ibv_cq *cq)
{
	struct tcpzc_ring *ring = &to_tcq(cq)->ring;
	struct tcpzc_cqe *cqe = tcpzc_ring_slot(ring, ring->hdr->prod);

	memset(cqe, 0, sizeof(*cqe));
	tz_store_release(&ring->hdr->prod, ring->hdr->prod + 1);
}

/* The engine's end of a receive ring. */
static struct tz_rq consumer(const struct tcpzc_ring *ring, uint32_t max_sge)
{
	return (struct tz_rq) {
		.ring = { ring->hdr, ring->slots, ring->depth, ring->stride },
		.cons = ring->cons,
		.max_sge = max_sge,
	};
}

static void expect_rings(int n)
{
	assert_int_equal(fk.rings[KB_DOOR_SQ], n);
	fk.rings[KB_DOOR_SQ] = 0;
}

/* ---- devices and mapping ------------------------------------------------ */

static void test_open(void **state)
{
	struct ibv_context *ctx;

	memset(&fk, 0, sizeof(fk));
	fk.abi_version = TCPZC_ABI_VERSION + 1;
	errno = 0;
	assert_null(fk_open_device());
	assert_int_equal(errno, EPROTONOSUPPORT);
	assert_int_equal(fcntl(fk.fd, F_GETFD), -1);

	fk.abi_version = TCPZC_ABI_VERSION;
	fk.fail = EIO;
	assert_null(fk_open_device());
	assert_int_equal(errno, EIO);
	assert_int_equal(fcntl(fk.fd, F_GETFD), -1);

	ctx = fk_open_device();
	assert_non_null(ctx);
	fk_close_device(ctx);
	assert_int_equal(fcntl(fk.fd, F_GETFD), -1);
}

static void test_objects(void **state)
{
	struct objects o = create(*state, false);
	char buf[8];
	struct ibv_mr *mr;

	assert_int_equal(to_tpd(o.pd)->pdn, 17);
	assert_int_equal(to_tcq(o.send_cq)->ring.depth, 256);
	assert_int_equal(fk.cqe, 128);
	assert_int_equal(to_tqp(o.qp)->sq.depth, SQ_DEPTH);
	assert_int_equal(to_tqp(o.qp)->rq.depth, 16);

	mr = ibv_reg_mr_iova2(o.pd, buf, sizeof(buf), 42, 0);
	assert_non_null(mr);
	assert_int_equal(fk.iova, 42);
	assert_int_equal(fk.hca_va, (uintptr_t)buf);
	assert_int_equal(ibv_dereg_mr(mr), 0);
	mr = ibv_reg_mr_iova2(o.pd, buf, sizeof(buf), 42, IBV_ACCESS_ZERO_BASED);
	assert_non_null(mr);
	assert_int_equal(fk.iova, 0);
	fk.fail = EIO;
	assert_int_equal(ibv_dereg_mr(mr), EIO);
	assert_int_equal(ibv_dereg_mr(mr), 0);
	fk.fail = EIO;
	assert_int_equal(ibv_destroy_qp(o.qp), EIO);
	destroy(&o);
}

static void spoil_depth(struct tcpzc_uresp_ring *desc)
{
	desc->depth--;
}

static void spoil_bytes(struct tcpzc_uresp_ring *desc)
{
	desc->bytes = desc->depth;
}

static void spoil_stride(struct tcpzc_uresp_ring *desc)
{
	desc->stride = 16;
}

static void spoil_offset(struct tcpzc_uresp_ring *desc)
{
	desc->offset++;		/* not a page */
}

static void test_bad_rings(void **state)
{
	static void (*const spoil[])(struct tcpzc_uresp_ring *) = {
		spoil_depth, spoil_bytes, spoil_stride, spoil_offset
	};
	struct ibv_srq_init_attr init = { .attr = { .max_wr = 4, .max_sge = 4 } };
	struct ibv_context *ctx = *state;
	struct objects o = create(ctx, false);
	struct ibv_qp_init_attr qp_init = {
		.send_cq = o.send_cq, .recv_cq = o.recv_cq,
		.qp_type = IBV_QPT_RC,
		.cap = { .max_send_wr = 4, .max_send_sge = 4 },
	};
	int objects = fk.objects;
	size_t i;

	for (i = 0; i < TZ_ARRAY_SIZE(spoil); i++) {
		fk.spoil = spoil[i];
		assert_null(ibv_create_cq(ctx, 15, NULL, NULL, 0));
		assert_int_equal(errno, spoil[i] == spoil_offset ? EINVAL : EPROTO);
		assert_null(ibv_create_srq(o.pd, &init));
		assert_null(ibv_create_qp(o.pd, &qp_init));
		assert_int_equal(fk.objects, objects);
	}
	fk.spoil = NULL;
	destroy(&o);
}

static void test_resize_cq(void **state)
{
	struct objects o = create(*state, false);
	struct tcpzc_ring_hdr *old = to_tcq(o.send_cq)->ring.hdr;

	old->arm = TCPZC_ARM_ANY;
	fk.moved = 3;
	assert_int_equal(ibv_resize_cq(o.send_cq, 1000), 0);
	assert_int_equal(fk.cqe, 512);
	assert_int_equal(o.send_cq->cqe, 1023);
	assert_ptr_not_equal(to_tcq(o.send_cq)->ring.hdr, old);
	/* Who still looks at the old header finds nothing, and does not crash. */
	assert_int_equal(old->arm, TCPZC_ARM_NONE);
	assert_int_equal(poll_one(o.send_cq), 1);
	assert_int_equal(poll_one(o.send_cq), 1);
	assert_int_equal(poll_one(o.send_cq), 1);
	assert_int_equal(poll_one(o.send_cq), 0);
	/* It is the new one whose arming counts. */
	assert_int_equal(ibv_req_notify_cq(o.send_cq, 0), 0);
	sq_hdr(o.qp)->flags = 0;
	post(o.qp, 8);
	expect_rings(1);
	post(o.qp, 8);
	expect_rings(1);

	fk.fail = EBUSY;
	assert_int_equal(ibv_resize_cq(o.send_cq, 100), EBUSY);
	assert_int_equal(o.send_cq->cqe, 1023);
	destroy(&o);
}

static void test_srq(void **state)
{
	struct ibv_srq_init_attr init = { .attr = { .max_wr = 4, .max_sge = 4 } };
	struct ibv_srq_attr attr = { .max_wr = 100 };
	struct objects o = create(*state, false);
	struct ibv_srq *srq = ibv_create_srq(o.pd, &init);
	struct tz_rwqe taken;
	struct tz_rq rq;

	assert_non_null(srq);
	rq = consumer(&to_tsrq(srq)->ring, 4);
	assert_int_equal(post_srq(srq), 0);
	assert_int_equal(fk.rings[KB_DOOR_SRQ], 0);
	assert_true(tz_rq_take(&rq, &taken));
	assert_false(tz_rq_take(&rq, &taken));
	tz_rq_want_doorbell(&rq, true);
	assert_int_equal(post_srq(srq), 0);
	assert_int_equal(fk.rings[KB_DOOR_SRQ], 1);
	assert_int_equal(fk.rung_handle, srq->handle);
	tz_rq_want_doorbell(&rq, false);
	assert_int_equal(post_srq(srq), 0);
	assert_int_equal(fk.rings[KB_DOOR_SRQ], 1);

	fk.moved = 2;
	assert_int_equal(ibv_modify_srq(srq, &attr, IBV_SRQ_MAX_WR), 0);
	assert_int_equal(to_tsrq(srq)->ring.depth, 128);
	assert_int_equal(to_tsrq(srq)->ring.prod, 2);
	assert_int_equal(post_srq(srq), 0);
	assert_int_equal(to_tsrq(srq)->ring.hdr->prod, 3);
	assert_int_equal(fk.rings[KB_DOOR_SRQ], 1);
	attr.srq_limit = 1;
	assert_int_equal(ibv_modify_srq(srq, &attr, IBV_SRQ_LIMIT), 0);
	assert_int_equal(to_tsrq(srq)->ring.depth, 128);
	assert_int_equal(ibv_destroy_srq(srq), 0);
	destroy(&o);
}

/* ---- doorbells ---------------------------------------------------------- */

static void test_wakeup(void **state)
{
	struct objects o = create(*state, false);

	sq_hdr(o.qp)->flags = TCPZC_RING_NEED_WAKEUP;
	post(o.qp, 8);
	assert_int_equal(fk.rung_handle, o.qp->handle);
	post(o.qp, 8);
	expect_rings(2);
	assert_int_equal(post_recv(o.qp), 0);
	assert_int_equal(fk.rings[KB_DOOR_RQ], 0);
	to_tqp(o.qp)->rq.hdr->flags = TCPZC_RING_NEED_WAKEUP;
	assert_int_equal(post_recv(o.qp), 0);
	assert_int_equal(fk.rings[KB_DOOR_RQ], 1);
	destroy(&o);
}

static void test_enough(void **state)
{
	struct objects o = create(*state, false);

	post_many(o.qp, 8, MAX_HELD - 1);
	expect_rings(0);
	post(o.qp, 8);
	expect_rings(1);
	post_many(o.qp, MAX_HELD_BYTES / 16, 15);
	expect_rings(0);
	post(o.qp, MAX_HELD_BYTES / 16);
	expect_rings(1);
	post(o.qp, MAX_HELD_BYTES);
	expect_rings(1);
	destroy(&o);
}

/* While the connection is full nobody rings; whoever posts afterwards does. */
static void test_backlog(void **state)
{
	struct objects o = create(*state, true);

	post(o.qp, 8);
	sq_hdr(o.qp)->flags = TCPZC_RING_BACKLOG;
	assert_int_equal(poll_one(o.recv_cq), 0);	/* would ring for the first */
	post_many(o.qp, 8, MAX_HELD);
	assert_int_equal(ibv_req_notify_cq(o.recv_cq, 0), 0);
	post(o.qp, 8);
	expect_rings(0);
	sq_hdr(o.qp)->flags = TCPZC_RING_NEED_WAKEUP;
	post(o.qp, 8);
	expect_rings(1);
	destroy(&o);
}

static void test_empty_poll(void **state)
{
	struct objects o = create(*state, true);

	post(o.qp, 8);
	expect_rings(0);
	assert_int_equal(poll_one(o.send_cq), 0);
	expect_rings(1);
	/* All is rung for; it has not waited since. */
	assert_int_equal(poll_one(o.send_cq), 0);
	expect_rings(0);
	post(o.qp, 8);
	expect_rings(1);
	post(o.qp, 8);
	expect_rings(0);
	assert_int_equal(poll_one(o.recv_cq), 0);
	expect_rings(1);
	/* The other list still has it, which is no reason to ring again. */
	assert_int_equal(poll_one(o.send_cq), 0);
	expect_rings(0);
	assert_int_equal(poll_one(o.recv_cq), 0);
	post(o.qp, 8);
	expect_rings(1);
	/* A poll that finds something is no waiting. */
	complete(o.recv_cq);
	assert_int_equal(poll_one(o.recv_cq), 1);
	post(o.qp, 8);
	expect_rings(0);
	destroy(&o);
}

static void test_armed(void **state)
{
	struct objects o = create(*state, true);
	struct tcpzc_ring_hdr *hdr = to_tcq(o.recv_cq)->ring.hdr;

	post(o.qp, 8);
	expect_rings(0);
	assert_int_equal(ibv_req_notify_cq(o.recv_cq, 1), 0);
	expect_rings(1);
	assert_int_equal(hdr->arm, TCPZC_ARM_SOLICITED);
	post(o.qp, 8);
	post(o.qp, 8);
	expect_rings(2);
	assert_int_equal(ibv_req_notify_cq(o.recv_cq, 0), 0);
	assert_int_equal(hdr->arm, TCPZC_ARM_ANY);
	/* The weaker does not replace the stronger. */
	assert_int_equal(ibv_req_notify_cq(o.recv_cq, 1), 0);
	assert_int_equal(hdr->arm, TCPZC_ARM_ANY);
	hdr->arm = TCPZC_ARM_NONE;	/* the event was raised */
	post(o.qp, 8);
	expect_rings(1);
	post(o.qp, 8);
	expect_rings(0);
	destroy(&o);
}

static void arm_notifies(struct ibv_cq *cq, int solicited_only, int n)
{
	fk.notifies = 0;
	assert_int_equal(ibv_req_notify_cq(cq, solicited_only), 0);
	assert_int_equal(fk.notifies, n);
}

/* The kernel is asked to look if there is something that it has not reported. */
static void test_arm_unseen(void **state)
{
	struct objects o = create(*state, true);
	struct tcpzc_ring *ring = &to_tcq(o.recv_cq)->ring;
	struct tcpzc_cqe *cqe = tcpzc_ring_slot(ring, 1);

	arm_notifies(o.recv_cq, 0, 0);
	complete(o.recv_cq);
	arm_notifies(o.recv_cq, 0, 1);
	arm_notifies(o.recv_cq, 1, 0);
	ring->hdr->seen = 1;
	arm_notifies(o.recv_cq, 0, 0);
	complete(o.recv_cq);
	cqe->flags = TCPZC_CQE_F_SOLICITED;
	complete(o.recv_cq);
	arm_notifies(o.recv_cq, 1, 1);
	cqe->flags = 0;
	cqe->status = TCPZC_WC_WR_FLUSH_ERR;
	arm_notifies(o.recv_cq, 1, 1);
	assert_int_equal(poll_one(o.recv_cq), 1);
	assert_int_equal(poll_one(o.recv_cq), 1);
	arm_notifies(o.recv_cq, 1, 0);
	arm_notifies(o.recv_cq, 0, 1);
	assert_int_equal(poll_one(o.recv_cq), 1);
	arm_notifies(o.recv_cq, 0, 0);
	destroy(&o);
}

/* What the kernel has seen by itself needs no doorbell. */
static void test_seen(void **state)
{
	struct objects o = create(*state, false);

	post_many(o.qp, 8, 10);
	sq_hdr(o.qp)->seen = 10;
	assert_int_equal(poll_one(o.send_cq), 0);
	expect_rings(0);
	post(o.qp, 8);		/* it has waited */
	expect_rings(1);
	post_many(o.qp, 8, MAX_HELD - 1);
	sq_hdr(o.qp)->seen = 40;
	post_many(o.qp, 8, 40 - 11);
	expect_rings(0);
	post(o.qp, 8);
	expect_rings(1);
	destroy(&o);
}

/* One that posts, polls the completion and posts again waits for nothing. */
static void test_ping_pong(void **state)
{
	struct objects o = create(*state, true);
	uint32_t i;

	post(o.qp, 8);
	for (i = 1; i < 5; i++) {
		fk.rings[KB_DOOR_SQ] = 0;
		sq_hdr(o.qp)->cons = i;
		sq_hdr(o.qp)->seen = i;
		complete(o.send_cq);
		assert_int_equal(poll_one(o.send_cq), 1);
		post(o.qp, 8);
		expect_rings(1);
	}
	/* With something on its way it is none. */
	complete(o.send_cq);
	assert_int_equal(poll_one(o.send_cq), 1);
	post(o.qp, 8);
	expect_rings(0);
	/* Nor with completions that it has not looked at. */
	sq_hdr(o.qp)->cons = 6;
	complete(o.send_cq);
	complete(o.send_cq);
	assert_int_equal(poll_one(o.send_cq), 1);
	post(o.qp, 8);
	expect_rings(0);
	destroy(&o);
}

static void test_two_qps(void **state)
{
	struct objects o = create(*state, true);
	struct ibv_qp *other = create_qp(&o);

	post(o.qp, 8);
	post(other, 8);
	expect_rings(0);
	assert_int_equal(poll_one(o.send_cq), 0);
	expect_rings(2);
	post(o.qp, 8);
	post(other, 8);
	/* Destruction rings for the other one, too, and leaves no trace. */
	assert_int_equal(ibv_destroy_qp(other), 0);
	expect_rings(2);
	assert_int_equal(poll_one(o.send_cq), 0);
	assert_int_equal(poll_one(o.recv_cq), 0);
	expect_rings(0);
	post(o.qp, 8);
	expect_rings(1);
	post(o.qp, 8);
	expect_rings(0);
	assert_int_equal(poll_one(o.recv_cq), 0);
	expect_rings(1);
	destroy(&o);
}

/* RESET throws away what was held back. */
static void test_reset(void **state)
{
	struct ibv_qp_attr attr = { .qp_state = IBV_QPS_RESET };
	struct objects o = create(*state, false);

	post_many(o.qp, 8, 5);
	sq_hdr(o.qp)->cons = 5;
	sq_hdr(o.qp)->seen = 5;
	assert_int_equal(ibv_modify_qp(o.qp, &attr, IBV_QP_STATE), 0);
	assert_int_equal(poll_one(o.send_cq), 0);
	expect_rings(0);
	destroy(&o);
}

/* ---- fork --------------------------------------------------------------- */

static int in_child(struct objects *o, struct ibv_srq *srq)
{
	struct tcpzc_ring_hdr *hdr = sq_hdr(o->qp);

	hdr->flags = TCPZC_RING_NEED_WAKEUP;
	post(o->qp, 8);
	if (hdr->prod != 3 || post_recv(o->qp) || post_srq(srq))
		return 1;
	if (ibv_req_notify_cq(o->send_cq, 0) || poll_one(o->send_cq) ||
	    fk.rings[KB_DOOR_SQ] || fk.rings[KB_DOOR_RQ] ||
	    fk.rings[KB_DOOR_SRQ])
		return 2;
	if (ibv_alloc_pd(o->pd->context) || errno != EIO ||
	    ibv_create_cq(o->pd->context, 1, NULL, NULL, 0) || errno != EIO ||
	    ibv_resize_cq(o->send_cq, 10) != EIO)
		return 5;
	if (ibv_destroy_srq(srq) || ibv_destroy_qp(o->qp) ||
	    ibv_destroy_cq(o->send_cq) || ibv_dealloc_pd(o->pd))
		return 3;
	return fk.objects == 4 ? 0 : 4;	/* nothing was asked of the kernel */
}

static void test_fork(void **state)
{
	struct ibv_srq_init_attr init = { .attr = { .max_wr = 4, .max_sge = 4 } };
	struct objects o = create(*state, false);
	struct ibv_srq *srq = ibv_create_srq(o.pd, &init);
	int status;
	pid_t pid;

	assert_non_null(srq);
	post_many(o.qp, 8, 2);
	to_tsrq(srq)->ring.hdr->flags = TCPZC_RING_NEED_WAKEUP;
	pid = fork();
	assert_true(pid >= 0);
	if (!pid)
		_exit(in_child(&o, srq));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	/* The parent's are untouched, and go on. */
	assert_int_equal(sq_hdr(o.qp)->prod, 2);
	assert_int_equal(sq_hdr(o.qp)->flags, 0);
	assert_int_equal(to_tcq(o.send_cq)->ring.hdr->arm, TCPZC_ARM_NONE);
	assert_int_equal(to_tqp(o.qp)->rq.hdr->prod, 0);
	post(o.qp, 8);
	assert_int_equal(poll_one(o.send_cq), 0);
	expect_rings(1);
	assert_int_equal(ibv_destroy_srq(srq), 0);
	destroy(&o);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_open),
		cmocka_unit_test_setup_teardown(test_objects, fk_open, fk_close),
		cmocka_unit_test_setup_teardown(test_bad_rings, fk_open, fk_close),
		cmocka_unit_test_setup_teardown(test_resize_cq, fk_open, fk_close),
		cmocka_unit_test_setup_teardown(test_srq, fk_open, fk_close),
		cmocka_unit_test_setup_teardown(test_wakeup, fk_open, fk_close),
		cmocka_unit_test_setup_teardown(test_backlog, fk_open, fk_close),
		cmocka_unit_test_setup_teardown(test_enough, fk_open, fk_close),
		cmocka_unit_test_setup_teardown(test_empty_poll, fk_open, fk_close),
		cmocka_unit_test_setup_teardown(test_armed, fk_open, fk_close),
		cmocka_unit_test_setup_teardown(test_arm_unseen, fk_open, fk_close),
		cmocka_unit_test_setup_teardown(test_seen, fk_open, fk_close),
		cmocka_unit_test_setup_teardown(test_ping_pong, fk_open, fk_close),
		cmocka_unit_test_setup_teardown(test_two_qps, fk_open, fk_close),
		cmocka_unit_test_setup_teardown(test_reset, fk_open, fk_close),
		cmocka_unit_test_setup_teardown(test_fork, fk_open, fk_close),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
