// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * kb_context.c - opening and closing a device of tcpzc.ko, what it says of
 * itself, protection domains and address handles.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "kb.h"

struct kb_get_context_resp {
	struct ib_uverbs_get_context_resp core;
	struct tcpzc_uresp_alloc_ctx drv;
};
static_assert(sizeof(struct kb_get_context_resp) ==
	      sizeof(struct ib_uverbs_get_context_resp) +
	      sizeof(struct tcpzc_uresp_alloc_ctx), "no padding");

struct kb_alloc_pd_resp {
	struct ib_uverbs_alloc_pd_resp core;
	struct tcpzc_uresp_alloc_pd drv;
};
static_assert(sizeof(struct kb_alloc_pd_resp) ==
	      sizeof(struct ib_uverbs_alloc_pd_resp) +
	      sizeof(struct tcpzc_uresp_alloc_pd), "no padding");

/* ---- open, close -------------------------------------------------------- */

static int kb_get_context(struct kb_context *ctx)
{
	struct kb_get_context_resp resp = {};
	struct ibv_get_context cmd = {};
	int err;

	err = ibv_cmd_get_context(&ctx->base.vctx, &cmd, sizeof(cmd),
				  &resp.core, sizeof(resp));
	if (err)
		return err;
	if (resp.drv.abi_version != TCPZC_ABI_VERSION) {
		fprintf(stderr,
			"tcpzc: the kernel module has interface %u, this provider %u\n",
			resp.drv.abi_version, TCPZC_ABI_VERSION);
		return EPROTONOSUPPORT;
	}
	return 0;
}

struct tcpzc_context *kb_open(struct tcpzc_device *dev, int cmd_fd)
{
	struct kb_context *ctx;
	int err;

	ctx = verbs_init_and_alloc_context(&dev->vdev.device, cmd_fd, ctx,
					   base.vctx, TCPZC_DRIVER_ID);
	if (!ctx)
		return NULL;
	ctx->fork_gen = kb_fork_gen;
	err = kb_get_context(ctx);
	if (err) {
		verbs_uninit_context(&ctx->base.vctx);
		free(ctx);
		errno = err;
		return NULL;
	}
	return &ctx->base;
}

void kb_close(struct tcpzc_context *ctx)
{
	verbs_uninit_context(&ctx->vctx);
	free(ctx);
}

/* ---- queries ------------------------------------------------------------ */

int kb_query_device(struct tcpzc_context *ctx, struct ibv_device_attr_ex *attr,
		    size_t attr_size)
{
	struct ib_uverbs_ex_query_device_resp resp = {};
	size_t resp_size = sizeof(resp);
	int err;

	err = ibv_cmd_query_device_any(&ctx->vctx.context, NULL, attr, attr_size,
				       &resp, &resp_size);
	if (err)
		return err;
	snprintf(attr->orig_attr.fw_ver, sizeof(attr->orig_attr.fw_ver),
		 "%u.%u.%u", (unsigned int)(resp.base.fw_ver >> 32) & 0xffff,
		 (unsigned int)(resp.base.fw_ver >> 16) & 0xffff,
		 (unsigned int)resp.base.fw_ver & 0xffff);
	return 0;
}

int kb_query_port(struct tcpzc_context *ctx, uint8_t port,
		  struct ibv_port_attr *attr)
{
	struct ibv_query_port cmd = {};

	return ibv_cmd_query_port(&ctx->vctx.context, port, attr, &cmd,
				  sizeof(cmd));
}

/* ---- protection domains, address handles -------------------------------- */

struct tcpzc_pd *kb_alloc_pd(struct tcpzc_context *ctx)
{
	struct kb_alloc_pd_resp resp = {};
	struct ibv_alloc_pd cmd = {};
	struct tcpzc_pd *pd;
	int err;

	if (kb_refused(&ctx->vctx.context))
		return NULL;
	pd = calloc(1, sizeof(*pd));
	if (!pd)
		return NULL;
	err = ibv_cmd_alloc_pd(&ctx->vctx.context, &pd->ibpd, &cmd, sizeof(cmd),
			       &resp.core, sizeof(resp));
	if (err) {
		free(pd);
		errno = err;
		return NULL;
	}
	pd->pdn = resp.drv.pdn;
	return pd;
}

int kb_dealloc_pd(struct tcpzc_pd *pd)
{
	int err = kb_forked(pd->ibpd.context) ? 0 : ibv_cmd_dealloc_pd(&pd->ibpd);

	if (!err)
		free(pd);
	return err;
}

struct tcpzc_ah *kb_create_ah(struct tcpzc_pd *pd, struct ibv_ah_attr *attr)
{
	struct ib_uverbs_create_ah_resp resp = {};
	struct tcpzc_ah *ah;
	int err;

	if (kb_refused(pd->ibpd.context))
		return NULL;
	ah = calloc(1, sizeof(*ah));
	if (!ah)
		return NULL;
	err = ibv_cmd_create_ah(&pd->ibpd, &ah->ibah, attr, &resp, sizeof(resp));
	if (err) {
		free(ah);
		errno = kb_gid_error(err);
		return NULL;
	}
	return ah;
}

int kb_destroy_ah(struct tcpzc_ah *ah)
{
	int err = kb_forked(ah->ibah.context) ? 0 : ibv_cmd_destroy_ah(&ah->ibah);

	if (!err)
		free(ah);
	return err;
}

const struct tcpzc_backend tcpzc_kernel_backend = {
	.name = "kernel",
	.open = kb_open,
	.close = kb_close,
	.query_device = kb_query_device,
	.query_port = kb_query_port,
	.alloc_pd = kb_alloc_pd,
	.dealloc_pd = kb_dealloc_pd,
	.reg_mr = kb_reg_mr,
	.rereg_mr = kb_rereg_mr,
	.dereg_mr = kb_dereg_mr,
	.create_ah = kb_create_ah,
	.destroy_ah = kb_destroy_ah,
	.create_cq = kb_create_cq,
	.resize_cq = kb_resize_cq,
	.destroy_cq = kb_destroy_cq,
	.arm_cq = kb_arm_cq,
	.drive_cq = kb_drive_cq,
	.create_srq = kb_create_srq,
	.modify_srq = kb_modify_srq,
	.query_srq = kb_query_srq,
	.destroy_srq = kb_destroy_srq,
	.create_qp = kb_create_qp,
	.modify_qp = kb_modify_qp,
	.query_qp = kb_query_qp,
	.destroy_qp = kb_destroy_qp,
	.ring_sq = kb_ring_sq,
	.ring_rq = kb_ring_rq,
	.ring_srq = kb_ring_srq,
};
