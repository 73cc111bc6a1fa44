// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * main.c - how libibverbs finds and opens a tcpzc device.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "release.h"
#include "tcpzc-ids.h"
#include "tcpzc.h"

static const struct verbs_match_ent tcpzc_match_table[] = {
	VERBS_DRIVER_ID(TCPZC_DRIVER_ID),
	VERBS_NAME_MATCH(TCPZC_DEVICE_PREFIX, NULL),
	{}
};

static void tcpzc_async_event(struct ibv_context *context,
			      struct ibv_async_event *event)
{
	struct tcpzc_context *ctx = to_tctx(context);

	if (ctx->be->async_event)
		ctx->be->async_event(ctx, event);
}

static void tcpzc_cq_event(struct ibv_cq *cq)
{
	struct tcpzc_context *ctx = to_tctx(cq->context);

	if (ctx->be->cq_event)
		ctx->be->cq_event(to_tcq(cq));
}

static void tcpzc_free_context(struct ibv_context *context)
{
	struct tcpzc_context *ctx = to_tctx(context);

	ctx->be->close(ctx);
}

/*
 * Verbs return 0 or "the value of errno on failure", and programs print errno: both
 * say the same. Posting sets it by itself.
 */
#define TCPZC_SETS_ERRNO(name, params, args)				\
	static int tcpzc_verb_##name params				\
	{								\
		int rc = tcpzc_##name args;				\
									\
		if (rc)							\
			errno = rc;					\
		return rc;						\
	}

TCPZC_SETS_ERRNO(dealloc_pd, (struct ibv_pd *pd), (pd))
TCPZC_SETS_ERRNO(dealloc_td, (struct ibv_td *td), (td))
TCPZC_SETS_ERRNO(dereg_mr, (struct verbs_mr *mr), (mr))
TCPZC_SETS_ERRNO(destroy_ah, (struct ibv_ah *ah), (ah))
TCPZC_SETS_ERRNO(destroy_cq, (struct ibv_cq *cq), (cq))
TCPZC_SETS_ERRNO(destroy_qp, (struct ibv_qp *qp), (qp))
TCPZC_SETS_ERRNO(destroy_srq, (struct ibv_srq *srq), (srq))
TCPZC_SETS_ERRNO(modify_qp,
		 (struct ibv_qp *qp,
		  struct ibv_qp_attr *attr,
		  int mask),
		 (qp, attr, mask))
TCPZC_SETS_ERRNO(modify_srq,
		 (struct ibv_srq *srq,
		  struct ibv_srq_attr *attr,
		  int mask),
		 (srq, attr, mask))
TCPZC_SETS_ERRNO(query_device,
		 (struct ibv_context *ctx,
		  const struct ibv_query_device_ex_input *in,
		  struct ibv_device_attr_ex *attr,
		  size_t size),
		 (ctx, in, attr, size))
TCPZC_SETS_ERRNO(query_port,
		 (struct ibv_context *ctx,
		  uint8_t port,
		  struct ibv_port_attr *attr),
		 (ctx, port, attr))
TCPZC_SETS_ERRNO(query_qp,
		 (struct ibv_qp *qp,
		  struct ibv_qp_attr *attr,
		  int mask,
		  struct ibv_qp_init_attr *init),
		 (qp, attr, mask, init))
TCPZC_SETS_ERRNO(query_srq,
		 (struct ibv_srq *srq,
		  struct ibv_srq_attr *attr),
		 (srq, attr))
TCPZC_SETS_ERRNO(req_notify_cq, (struct ibv_cq *cq, int solicited), (cq, solicited))
TCPZC_SETS_ERRNO(resize_cq, (struct ibv_cq *cq, int cqe), (cq, cqe))

/*
 * What is not here fails with EOPNOTSUPP, by libibverbs' own operations; and
 * query_qp_data_in_order says no: the last byte of a message becomes visible
 * last, but the kernel's copy may place those before it in any order.
 */
static const struct verbs_context_ops tcpzc_context_ops = {
	.alloc_parent_domain = tcpzc_alloc_parent_domain,
	.alloc_pd = tcpzc_alloc_pd,
	.alloc_td = tcpzc_alloc_td,
	.async_event = tcpzc_async_event,
	.cq_event = tcpzc_cq_event,
	.create_ah = tcpzc_create_ah,
	.create_cq = tcpzc_create_cq,
	.create_cq_ex = tcpzc_create_cq_ex,
	.create_qp = tcpzc_create_qp,
	.create_qp_ex = tcpzc_create_qp_ex,
	.create_srq = tcpzc_create_srq,
	.dealloc_pd = tcpzc_verb_dealloc_pd,
	.dealloc_td = tcpzc_verb_dealloc_td,
	.dereg_mr = tcpzc_verb_dereg_mr,
	.destroy_ah = tcpzc_verb_destroy_ah,
	.destroy_cq = tcpzc_verb_destroy_cq,
	.destroy_qp = tcpzc_verb_destroy_qp,
	.destroy_srq = tcpzc_verb_destroy_srq,
	.free_context = tcpzc_free_context,
	.modify_qp = tcpzc_verb_modify_qp,
	.modify_srq = tcpzc_verb_modify_srq,
	.poll_cq = tcpzc_poll_cq,
	.post_recv = tcpzc_post_recv,
	.post_send = tcpzc_post_send,
	.post_srq_recv = tcpzc_post_srq_recv,
	.query_device_ex = tcpzc_verb_query_device,
	.query_port = tcpzc_verb_query_port,
	.query_qp = tcpzc_verb_query_qp,
	.query_srq = tcpzc_verb_query_srq,
	.reg_dmabuf_mr = tcpzc_reg_dmabuf_mr,
	.reg_mr = tcpzc_reg_mr,
	.req_notify_cq = tcpzc_verb_req_notify_cq,
	.rereg_mr = tcpzc_rereg_mr,
	.resize_cq = tcpzc_verb_resize_cq,
};

static struct verbs_context *tcpzc_alloc_context(struct ibv_device *device,
						 int cmd_fd, void *private_data)
{
	struct tcpzc_device *dev = to_tdev(device);
	struct tcpzc_context *ctx;

	ctx = dev->be->open(dev, cmd_fd);
	if (!ctx)
		return NULL;
	ctx->be = dev->be;
	ctx->dev = dev;
	verbs_set_ops(&ctx->vctx, &tcpzc_context_ops);
	return &ctx->vctx;
}

static struct verbs_device *tcpzc_alloc_device(struct verbs_sysfs_dev *sysfs)
{
	struct tcpzc_device *dev;
	char ifindex[16];

	dev = calloc(1, sizeof(*dev));
	if (!dev)
		return NULL;
	static_assert(sizeof(dev->ibdev_path) == sizeof(sysfs->ibdev_path),
		      "one maximum for sysfs paths");
	memcpy(dev->ibdev_path, sysfs->ibdev_path, sizeof(dev->ibdev_path));
	/* The kernel's devices have no such file. */
	if (ibv_read_sysfs_file(dev->ibdev_path, TCPZC_SYSFS_IFINDEX, ifindex,
				sizeof(ifindex)) > 0) {
		dev->ifindex = strtoul(ifindex, NULL, 10);
		dev->be = &tcpzc_user_backend;
	} else {
		dev->be = &tcpzc_kernel_backend;
	}
	return &dev->vdev;
}

static void tcpzc_uninit_device(struct verbs_device *vdev)
{
	free(to_tdev(&vdev->device));
}

static const struct verbs_device_ops tcpzc_dev_ops = {
	.name = "tcpzc",
	.match_min_abi_version = TCPZC_DRIVER_ABI,
	.match_max_abi_version = TCPZC_DRIVER_ABI,
	.match_table = tcpzc_match_table,
	.match_device = tcpzc_match_device,
	.alloc_device = tcpzc_alloc_device,
	.uninit_device = tcpzc_uninit_device,
	.alloc_context = tcpzc_alloc_context,
};
PROVIDER_DRIVER(tcpzc, tcpzc_dev_ops);
