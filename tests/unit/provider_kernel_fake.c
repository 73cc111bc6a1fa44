// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * provider_kernel_fake.c - see provider_kernel_fake.h.
 *
 * The ibv_cmd_*() here take the place of libibverbs' for the provider that is
 * linked into the same program.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "provider_kernel_fake.h"
#include "release.h"

extern const struct verbs_device_ops verbs_provider_tcpzc;

struct fake_kernel fk;

static uint32_t next_handle = 1;

/* No test of these opens a device of user mode. */
const struct tcpzc_backend tcpzc_user_backend = { .name = "none" };

void kb_door_ring(struct ibv_context *ctx, enum kb_door door, uint32_t handle)
{
	fk.rings[door]++;
	fk.rung_handle = handle;
}

/* The tests are built with the libibverbs that they run with. */
bool tcpzc_match_device(struct verbs_sysfs_dev *sysfs_dev)
{
	return sysfs_dev->match != NULL;
}

/* ---- rings -------------------------------------------------------------- */

static uint32_t fk_pow2(uint32_t n)
{
	uint32_t p = 1;

	while (p < n)
		p *= 2;
	return p;
}

static void fk_ring(struct tcpzc_uresp_ring *desc, uint32_t depth,
		    uint32_t stride)
{
	uint64_t page = sysconf(_SC_PAGESIZE);
	uint32_t prod = fk.moved;

	desc->offset = fk.end;
	desc->bytes = (sizeof(struct tcpzc_ring_hdr) +
		       (uint64_t)depth * stride + page - 1) & ~(page - 1);
	desc->depth = depth;
	desc->stride = stride;
	fk.end += desc->bytes;
	assert_int_equal(ftruncate(fk.fd, fk.end), 0);
	assert_int_equal(pwrite(fk.fd, &prod, sizeof(prod), desc->offset),
			 sizeof(prod));
	if (fk.spoil)
		fk.spoil(desc);
}

/* ---- commands ----------------------------------------------------------- */

static int fk_fails(void)
{
	int err = fk.fail;

	fk.fail = 0;
	return err;
}

static int fk_create(uint32_t *handle)
{
	int err = fk_fails();

	if (err)
		return err;
	*handle = next_handle++;
	fk.objects++;
	return 0;
}

static int fk_destroy(void)
{
	int err = fk_fails();

	if (!err)
		fk.objects--;
	return err;
}

/* What follows libibverbs' part of an answer. */
#define FK_DRV(resp, type)	((struct type *)((resp) + 1))

int ibv_cmd_get_context(struct verbs_context *ctx, struct ibv_get_context *cmd,
			size_t cmd_size, struct ib_uverbs_get_context_resp *resp,
			size_t resp_size)
{
	ctx->context.num_comp_vectors = 1;
	FK_DRV(resp, tcpzc_uresp_alloc_ctx)->abi_version = fk.abi_version;
	return fk_fails();
}

int ibv_cmd_alloc_pd(struct ibv_context *ctx, struct ibv_pd *pd,
		     struct ibv_alloc_pd *cmd, size_t cmd_size,
		     struct ib_uverbs_alloc_pd_resp *resp, size_t resp_size)
{
	pd->context = ctx;
	FK_DRV(resp, tcpzc_uresp_alloc_pd)->pdn = 17;
	return fk_create(&pd->handle);
}

int ibv_cmd_dealloc_pd(struct ibv_pd *pd)
{
	return fk_destroy();
}

int ibv_cmd_reg_mr(struct ibv_pd *pd, void *addr, size_t length,
		   uint64_t hca_va, int access, struct verbs_mr *vmr,
		   struct ibv_reg_mr *cmd, size_t cmd_size,
		   struct ib_uverbs_reg_mr_resp *resp, size_t resp_size)
{
	fk.hca_va = hca_va;
	fk.iova = FK_DRV(cmd, tcpzc_ureq_reg_mr)->iova;
	vmr->ibv_mr.context = pd->context;
	return fk_create(&vmr->ibv_mr.handle);
}

int ibv_cmd_dereg_mr(struct verbs_mr *vmr)
{
	return fk_destroy();
}

int ibv_cmd_create_cq(struct ibv_context *ctx, int cqe,
		      struct ibv_comp_channel *channel, int comp_vector,
		      struct ibv_cq *cq, struct ibv_create_cq *cmd,
		      size_t cmd_size, struct ib_uverbs_create_cq_resp *resp,
		      size_t resp_size)
{
	fk.cqe = cqe;
	cq->context = ctx;
	fk_ring(&FK_DRV(resp, tcpzc_uresp_cq)->ring, fk_pow2(cqe + 1),
		sizeof(struct tcpzc_cqe));
	return fk_create(&cq->handle);
}

int ibv_cmd_resize_cq(struct ibv_cq *cq, int cqe, struct ibv_resize_cq *cmd,
		      size_t cmd_size, struct ib_uverbs_resize_cq_resp *resp,
		      size_t resp_size)
{
	fk.cqe = cqe;
	fk_ring(&FK_DRV(resp, tcpzc_uresp_cq)->ring, fk_pow2(cqe + 1),
		sizeof(struct tcpzc_cqe));
	return fk_fails();
}

int ibv_cmd_req_notify_cq(struct ibv_cq *cq, int solicited_only)
{
	fk.notifies++;
	return fk_fails();
}

int ibv_cmd_destroy_cq(struct ibv_cq *cq)
{
	return fk_destroy();
}

int ibv_cmd_create_srq(struct ibv_pd *pd, struct ibv_srq *srq,
		       struct ibv_srq_init_attr *attr, struct ibv_create_srq *cmd,
		       size_t cmd_size, struct ib_uverbs_create_srq_resp *resp,
		       size_t resp_size)
{
	struct tcpzc_uresp_srq *drv = FK_DRV(resp, tcpzc_uresp_srq);

	srq->context = pd->context;
	drv->max_sge = attr->attr.max_sge;
	fk_ring(&drv->ring, fk_pow2(attr->attr.max_wr),
		tz_rq_stride(drv->max_sge));
	return fk_create(&srq->handle);
}

int ibv_cmd_modify_srq(struct ibv_srq *srq, struct ibv_srq_attr *attr, int mask,
		       struct ibv_modify_srq *cmd, size_t cmd_size)
{
	struct tcpzc_ureq_modify_srq *req =
		FK_DRV(cmd, tcpzc_ureq_modify_srq);
	struct tcpzc_uresp_srq *drv = (void *)(uintptr_t)req->resp_addr;

	if (mask & IBV_SRQ_MAX_WR)
		fk_ring(&drv->ring, fk_pow2(attr->max_wr), tz_rq_stride(4));
	return fk_fails();
}

int ibv_cmd_destroy_srq(struct ibv_srq *srq)
{
	return fk_destroy();
}

int ibv_cmd_create_qp(struct ibv_pd *pd, struct ibv_qp *qp,
		      struct ibv_qp_init_attr *attr, struct ibv_create_qp *cmd,
		      size_t cmd_size, struct ib_uverbs_create_qp_resp *resp,
		      size_t resp_size)
{
	struct tcpzc_uresp_qp *drv = FK_DRV(resp, tcpzc_uresp_qp);

	tcpzc_init_ibqp(qp, pd, attr);
	qp->qp_num = next_handle;
	drv->sq_max_sge = attr->cap.max_send_sge;
	drv->rq_max_sge = attr->cap.max_recv_sge;
	drv->max_inline = attr->cap.max_inline_data;
	fk_ring(&drv->sq, fk_pow2(attr->cap.max_send_wr),
		tz_sq_stride(drv->sq_max_sge, drv->max_inline));
	if (attr->cap.max_recv_wr)
		fk_ring(&drv->rq, fk_pow2(attr->cap.max_recv_wr),
			tz_rq_stride(drv->rq_max_sge));
	return fk_create(&qp->handle);
}

int ibv_cmd_modify_qp(struct ibv_qp *qp, struct ibv_qp_attr *attr, int mask,
		      struct ibv_modify_qp *cmd, size_t cmd_size)
{
	return fk_fails();
}

int ibv_cmd_destroy_qp(struct ibv_qp *qp)
{
	return fk_destroy();
}

/* ---- devices ------------------------------------------------------------ */

struct ibv_context *fk_open_device(void)
{
	struct verbs_sysfs_dev sysfs = { .ibdev_path = "/nonexistent" };
	struct verbs_context *vctx;
	struct verbs_device *vdev;

	fk.fd = memfd_create("uverbs", MFD_CLOEXEC);
	assert_true(fk.fd >= 0);
	vdev = verbs_provider_tcpzc.alloc_device(&sysfs);
	assert_non_null(vdev);
	/* What libibverbs does after alloc_device. */
	vdev->ops = &verbs_provider_tcpzc;
	atomic_init(&vdev->refcount, 1);
	vctx = verbs_provider_tcpzc.alloc_context(&vdev->device, fk.fd, NULL);
	if (!vctx) {
		verbs_provider_tcpzc.uninit_device(vdev);
		return NULL;
	}
	return &vctx->context;
}

void fk_close_device(struct ibv_context *ctx)
{
	struct verbs_device *vdev = verbs_get_device(ctx->device);

	ibv_close_device(ctx);
	verbs_provider_tcpzc.uninit_device(vdev);
}

int fk_open(void **state)
{
	memset(&fk, 0, sizeof(fk));
	fk.abi_version = TCPZC_ABI_VERSION;
	*state = fk_open_device();
	assert_non_null(*state);
	return 0;
}

int fk_close(void **state)
{
	fk_close_device(*state);
	assert_int_equal(fk.objects, 0);
	return 0;
}
