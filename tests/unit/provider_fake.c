// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * provider_fake.c - see provider_fake.h.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "provider_fake.h"
#include "release.h"
#include "tcpzc-ids.h"

extern const struct verbs_device_ops verbs_provider_tcpzc;

struct fake fake;

static uint32_t next_qpn = 0x40000;

/* ---- objects ------------------------------------------------------------ */

static bool fake_fails(void)
{
	int err = fake.fail;

	fake.fail = 0;
	if (err)
		errno = err;
	return err;
}

static void *fake_alloc(size_t size)
{
	void *p;

	if (fake_fails())
		return NULL;
	p = calloc(1, size);
	assert_non_null(p);
	fake.objects++;
	return p;
}

static int fake_free(void *p)
{
	if (fake_fails())
		return errno;
	fake.objects--;
	free(p);
	return 0;
}

static void fake_ring_init(struct tcpzc_ring *ring, uint32_t wanted,
			   uint32_t stride)
{
	uint32_t depth = 1;

	memset(ring, 0, sizeof(*ring));
	if (!wanted)
		return;
	while (depth < wanted)
		depth *= 2;
	ring->depth = depth;
	ring->stride = stride;
	ring->hdr = calloc(1, sizeof(*ring->hdr));
	ring->slots = calloc(depth, stride);
	assert_true(ring->hdr && ring->slots);
}

static void fake_ring_free(struct tcpzc_ring *ring)
{
	free(ring->hdr);
	free(ring->slots);
}

/* Move what is in @ring to a ring of @depth entries. */
static void fake_ring_resize(struct tcpzc_ring *ring, uint32_t depth,
			     uint32_t cons)
{
	struct tcpzc_ring old = *ring;
	uint32_t i;

	fake_ring_init(ring, depth, old.stride);
	for (i = cons; i != old.hdr->prod; i++)
		memcpy(tcpzc_ring_slot(ring, ring->prod++),
		       tcpzc_ring_slot(&old, i), old.stride);
	ring->hdr->prod = ring->prod;
	fake_ring_free(&old);
}

static struct tcpzc_context *fb_open(struct tcpzc_device *dev, int cmd_fd)
{
	struct tcpzc_context *ctx = NULL;

	ctx = verbs_init_and_alloc_context(&dev->vdev.device, cmd_fd, ctx, vctx,
					   TCPZC_DRIVER_ID);
	assert_non_null(ctx);
	ctx->vctx.context.num_comp_vectors = 2;
	return ctx;
}

static void fb_close(struct tcpzc_context *ctx)
{
	verbs_uninit_context(&ctx->vctx);
	free(ctx);
}

static int fb_query_device(struct tcpzc_context *ctx,
			   struct ibv_device_attr_ex *attr, size_t size)
{
	assert_int_equal(size, sizeof(*attr));
	attr->orig_attr.vendor_id = TCPZC_VENDOR_ID;
	attr->phys_port_cnt_ex = 1;
	return 0;
}

static int fb_query_port(struct tcpzc_context *ctx, uint8_t port,
			 struct ibv_port_attr *attr)
{
	attr->state = IBV_PORT_ACTIVE;
	return 0;
}

static struct tcpzc_pd *fb_alloc_pd(struct tcpzc_context *ctx)
{
	return fake_alloc(sizeof(struct tcpzc_pd));
}

static int fb_dealloc_pd(struct tcpzc_pd *pd)
{
	return fake_free(pd);
}

static struct tcpzc_mr *fb_reg_mr(struct tcpzc_pd *pd, void *addr, size_t len,
				  uint64_t iova, int access)
{
	fake.pd = pd;
	fake.iova = iova;
	fake.access = access;
	return fake_alloc(sizeof(struct tcpzc_mr));
}

static int fb_rereg_mr(struct tcpzc_mr *mr, int flags, struct tcpzc_pd *pd,
		       void *addr, size_t len, int access)
{
	fake.pd = pd;
	fake.access = access;
	return fake_fails() ? errno : 0;
}

static int fb_dereg_mr(struct tcpzc_mr *mr)
{
	return fake_free(mr);
}

static struct tcpzc_ah *fb_create_ah(struct tcpzc_pd *pd,
				     struct ibv_ah_attr *attr)
{
	fake.pd = pd;
	return fake_alloc(sizeof(struct tcpzc_ah));
}

static int fb_destroy_ah(struct tcpzc_ah *ah)
{
	return fake_free(ah);
}

static struct tcpzc_cq *fb_create_cq(struct tcpzc_context *ctx, uint32_t depth,
				     struct ibv_comp_channel *channel,
				     int comp_vector)
{
	struct tcpzc_cq *cq;

	cq = fake_alloc(sizeof(*cq));
	if (cq)
		fake_ring_init(&cq->ring, depth, sizeof(struct tcpzc_cqe));
	return cq;
}

static int fb_resize_cq(struct tcpzc_cq *cq, uint32_t depth)
{
	if (fake_fails())
		return errno;
	fake_ring_resize(&cq->ring, depth, cq->ring.cons);
	return 0;
}

static int fb_destroy_cq(struct tcpzc_cq *cq)
{
	struct tcpzc_ring ring = cq->ring;
	int rc;

	rc = fake_free(cq);
	if (!rc)
		fake_ring_free(&ring);
	return rc;
}

static int fb_arm_cq(struct tcpzc_cq *cq, bool solicited_only)
{
	fake.arms++;
	fake.solicited_arms += solicited_only;
	return 0;
}

static void fb_drive_cq(struct tcpzc_cq *cq)
{
	fake.drives++;
	if (fake.on_drive)
		fake.on_drive(cq);
}

static struct tcpzc_srq *fb_create_srq(struct tcpzc_pd *pd,
				       struct ibv_srq_init_attr *attr)
{
	struct tcpzc_srq *srq;

	fake.pd = pd;
	srq = fake_alloc(sizeof(*srq));
	if (!srq)
		return NULL;
	srq->max_sge = attr->attr.max_sge;
	fake_ring_init(&srq->ring, attr->attr.max_wr,
		       tz_rq_stride(srq->max_sge));
	return srq;
}

static int fb_modify_srq(struct tcpzc_srq *srq, struct ibv_srq_attr *attr,
			 int mask)
{
	if (fake_fails())
		return errno;
	if (mask & IBV_SRQ_MAX_WR)
		fake_ring_resize(&srq->ring, attr->max_wr, srq->ring.cons);
	return 0;
}

static int fb_query_srq(struct tcpzc_srq *srq, struct ibv_srq_attr *attr)
{
	attr->srq_limit = 0;
	return 0;
}

static int fb_destroy_srq(struct tcpzc_srq *srq)
{
	struct tcpzc_ring ring = srq->ring;
	int rc;

	rc = fake_free(srq);
	if (!rc)
		fake_ring_free(&ring);
	return rc;
}

static struct tcpzc_qp *fb_create_qp(struct tcpzc_pd *pd,
				     struct ibv_qp_init_attr *attr)
{
	const struct ibv_qp_cap *cap = &attr->cap;
	struct tcpzc_qp *qp;

	fake.pd = pd;
	fake.init = *attr;
	qp = fake_alloc(sizeof(*qp));
	if (!qp)
		return NULL;
	qp->vqp.qp.qp_num = next_qpn++;
	qp->sq_max_sge = cap->max_send_sge;
	qp->rq_max_sge = cap->max_recv_sge;
	qp->max_inline = cap->max_inline_data;
	fake_ring_init(&qp->sq, cap->max_send_wr,
		       tz_sq_stride(qp->sq_max_sge, qp->max_inline));
	fake_ring_init(&qp->rq, cap->max_recv_wr,
		       tz_rq_stride(qp->rq_max_sge));
	tcpzc_init_ibqp(&qp->vqp.qp, &pd->ibpd, attr);
	return qp;
}

static void fake_ring_empty(struct tcpzc_ring *ring)
{
	if (!ring->depth)
		return;
	if (!fake.leave_indices)
		ring->hdr->prod = 0;
	ring->hdr->cons = ring->hdr->prod;
}

static int fb_modify_qp(struct tcpzc_qp *qp, struct ibv_qp_attr *attr, int mask)
{
	if (fake_fails())
		return errno;
	fake.attr = *attr;
	if ((mask & IBV_QP_STATE) && attr->qp_state == IBV_QPS_RESET) {
		fake_ring_empty(&qp->sq);
		fake_ring_empty(&qp->rq);
	}
	return 0;
}

static int fb_query_qp(struct tcpzc_qp *qp, struct ibv_qp_attr *attr, int mask,
		       struct ibv_qp_init_attr *init_attr)
{
	attr->qp_state = qp->vqp.qp.state;
	return 0;
}

static int fb_destroy_qp(struct tcpzc_qp *qp)
{
	struct tcpzc_ring sq = qp->sq, rq = qp->rq;
	int rc;

	rc = fake_free(qp);
	if (!rc) {
		fake_ring_free(&sq);
		fake_ring_free(&rq);
	}
	return rc;
}

static void fb_ring_sq(struct tcpzc_qp *qp)
{
	fake.sq_doorbells++;
}

static void fb_ring_rq(struct tcpzc_qp *qp)
{
	fake.rq_doorbells++;
}

static void fb_ring_srq(struct tcpzc_srq *srq)
{
	fake.srq_doorbells++;
}

#define FAKE_OPS \
	.open = fb_open, \
	.close = fb_close, \
	.query_device = fb_query_device, \
	.query_port = fb_query_port, \
	.alloc_pd = fb_alloc_pd, \
	.dealloc_pd = fb_dealloc_pd, \
	.reg_mr = fb_reg_mr, \
	.rereg_mr = fb_rereg_mr, \
	.dereg_mr = fb_dereg_mr, \
	.create_ah = fb_create_ah, \
	.destroy_ah = fb_destroy_ah, \
	.create_cq = fb_create_cq, \
	.resize_cq = fb_resize_cq, \
	.destroy_cq = fb_destroy_cq, \
	.arm_cq = fb_arm_cq, \
	.drive_cq = fb_drive_cq, \
	.create_srq = fb_create_srq, \
	.modify_srq = fb_modify_srq, \
	.query_srq = fb_query_srq, \
	.destroy_srq = fb_destroy_srq, \
	.create_qp = fb_create_qp, \
	.modify_qp = fb_modify_qp, \
	.query_qp = fb_query_qp, \
	.destroy_qp = fb_destroy_qp, \
	.ring_sq = fb_ring_sq, \
	.ring_rq = fb_ring_rq, \
	.ring_srq = fb_ring_srq

const struct tcpzc_backend tcpzc_user_backend = {
	.name = "fake of the user's",
	FAKE_OPS
};

const struct tcpzc_backend tcpzc_kernel_backend = {
	.name = "fake of the kernel's",
	FAKE_OPS
};

/* ---- device ------------------------------------------------------------- */

static struct ibv_device *fake_device(unsigned int ifindex)
{
	struct verbs_sysfs_dev sysfs = {};
	char dir[] = "/tmp/tcpzc-unit-XXXXXX";
	char path[128];
	struct verbs_device *vdev;
	FILE *f;

	assert_non_null(mkdtemp(dir));
	snprintf(sysfs.ibdev_path, sizeof(sysfs.ibdev_path), "%s", dir);
	snprintf(path, sizeof(path), "%s/tcpzc", dir);
	assert_int_equal(mkdir(path, 0700), 0);
	snprintf(path, sizeof(path), "%s/%s", dir, TCPZC_SYSFS_IFINDEX);
	if (ifindex) {
		f = fopen(path, "w");
		assert_non_null(f);
		fprintf(f, "%u\n", ifindex);
		fclose(f);
	}
	vdev = verbs_provider_tcpzc.alloc_device(&sysfs);
	unlink(path);
	*strrchr(path, '/') = '\0';
	rmdir(path);
	rmdir(dir);
	assert_non_null(vdev);
	/* What libibverbs does after alloc_device. */
	vdev->ops = &verbs_provider_tcpzc;
	atomic_init(&vdev->refcount, 1);
	snprintf(vdev->device.name, sizeof(vdev->device.name), "tcpzc0");
	return &vdev->device;
}

struct ibv_device *fake_kernel_device(void)
{
	return fake_device(0);
}

void fake_free_device(struct ibv_device *device)
{
	verbs_provider_tcpzc.uninit_device(verbs_get_device(device));
}

int fake_open(void **state)
{
	memset(&fake, 0, sizeof(fake));
	*state = verbs_open_device(fake_device(1), NULL);
	assert_non_null(*state);
	return 0;
}

int fake_close(void **state)
{
	struct ibv_context *ctx = *state;
	struct ibv_device *device = ctx->device;

	ibv_close_device(ctx);
	fake_free_device(device);
	assert_int_equal(fake.objects, 0);
	return 0;
}

/* ---- the usual objects -------------------------------------------------- */

struct ibv_qp_init_attr fake_qp_init(struct ibv_cq *cq)
{
	return (struct ibv_qp_init_attr){
		.send_cq = cq,
		.recv_cq = cq,
		.qp_type = IBV_QPT_RC,
		.cap = {
			.max_send_wr = 4,
			.max_recv_wr = 4,
			.max_send_sge = 3,
			.max_recv_sge = 2,
			.max_inline_data = 64,
		},
	};
}

void fake_create(struct ibv_context *ctx, struct fake_objects *o)
{
	struct ibv_qp_init_attr init;

	o->pd = ibv_alloc_pd(ctx);
	o->cq = ibv_create_cq(ctx, 15, NULL, NULL, 0);
	assert_true(o->pd && o->cq);
	init = fake_qp_init(o->cq);
	o->qp = ibv_create_qp(o->pd, &init);
	assert_non_null(o->qp);
}

void fake_destroy(struct fake_objects *o)
{
	assert_int_equal(ibv_destroy_qp(o->qp), 0);
	assert_int_equal(ibv_destroy_cq(o->cq), 0);
	assert_int_equal(ibv_dealloc_pd(o->pd), 0);
}

void fake_to_state(struct ibv_qp *qp, enum ibv_qp_state state)
{
	static const int masks[] = {
		[IBV_QPS_INIT] = IBV_QP_STATE | IBV_QP_PKEY_INDEX |
				 IBV_QP_PORT | IBV_QP_ACCESS_FLAGS,
		[IBV_QPS_RTR] = IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU |
				IBV_QP_DEST_QPN | IBV_QP_RQ_PSN |
				IBV_QP_MAX_DEST_RD_ATOMIC |
				IBV_QP_MIN_RNR_TIMER,
		[IBV_QPS_RTS] = IBV_QP_STATE | IBV_QP_TIMEOUT |
				IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY |
				IBV_QP_SQ_PSN | IBV_QP_MAX_QP_RD_ATOMIC,
	};
	struct ibv_qp_attr attr = {
		.port_num = 1,
		.path_mtu = IBV_MTU_1024,
		.dest_qp_num = 0x40001,
		.max_rd_atomic = 16,
		.max_dest_rd_atomic = 16,
		.timeout = 14,
		.retry_cnt = 7,
		.rnr_retry = 7,
		.min_rnr_timer = 12,
		.ah_attr = { .is_global = 1, .port_num = 1 },
	};
	int i;

	for (i = IBV_QPS_INIT; i <= (int)state; i++) {
		attr.qp_state = i;
		assert_int_equal(ibv_modify_qp(qp, &attr, masks[i]), 0);
	}
}

/* ---- the engine's part -------------------------------------------------- */

void fake_complete(struct ibv_cq *ibcq, uint32_t qp_num, uint64_t wr_id)
{
	struct tcpzc_ring *ring = &to_tcq(ibcq)->ring;
	uint32_t prod = ring->hdr->prod;
	struct tcpzc_cqe *cqe;

	assert_true(prod - tz_load_acquire(&ring->hdr->cons) < ring->depth);
	cqe = tcpzc_ring_slot(ring, prod);
	*cqe = (struct tcpzc_cqe){ .wr_id = wr_id, .qp_num = qp_num };
	tz_store_release(&ring->hdr->prod, prod + 1);
}

const struct tcpzc_send_wqe *fake_sq_entry(struct ibv_qp *qp, uint32_t idx)
{
	const struct tcpzc_ring *ring = &to_tqp(qp)->sq;

	assert_true(ring->hdr->prod - idx - 1 < ring->depth);
	return tcpzc_ring_slot(ring, idx);
}

const struct tcpzc_recv_wqe *fake_rq_entry(const struct tcpzc_ring *ring,
					   uint32_t idx)
{
	assert_true(ring->hdr->prod - idx - 1 < ring->depth);
	return tcpzc_ring_slot(ring, idx);
}

/* The tests are built with the libibverbs that they run with. */
bool tcpzc_match_device(struct verbs_sysfs_dev *sysfs_dev)
{
	return sysfs_dev->match != NULL;
}
