// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * kb_qp.c - queue pairs of the kernel backend.
 */
#include <errno.h>
#include <stdlib.h>

#include "kb.h"

struct kb_create_qp_resp {
	struct ib_uverbs_create_qp_resp core;
	struct tcpzc_uresp_qp drv;
};
static_assert(sizeof(struct kb_create_qp_resp) ==
	      sizeof(struct ib_uverbs_create_qp_resp) +
	      sizeof(struct tcpzc_uresp_qp), "no padding");

static int kb_map_qp(struct kb_qp *qp, struct ibv_context *ctx,
		     const struct tcpzc_uresp_qp *resp)
{
	struct tcpzc_qp *b = &qp->base;
	int err;

	b->sq_max_sge = resp->sq_max_sge;
	b->rq_max_sge = resp->rq_max_sge;
	b->max_inline = resp->max_inline;
	err = kb_map_ring(ctx, &resp->sq,
			  tz_sq_stride(b->sq_max_sge, b->max_inline), &b->sq,
			  &qp->sq_map);
	if (err || !resp->rq.bytes)
		return err;
	err = kb_map_ring(ctx, &resp->rq, tz_rq_stride(b->rq_max_sge),
			  &b->rq, &qp->rq_map);
	if (err)
		kb_unmap(&qp->sq_map);
	return err;
}

struct tcpzc_qp *kb_create_qp(struct tcpzc_pd *pd, struct ibv_qp_init_attr *attr)
{
	struct kb_create_qp_resp resp = {};
	struct ibv_create_qp cmd = {};
	struct kb_qp *qp;
	int err;

	if (kb_refused(pd->ibpd.context))
		return NULL;
	qp = calloc(1, sizeof(*qp));
	if (!qp)
		return NULL;
	err = ibv_cmd_create_qp(&pd->ibpd, &qp->base.vqp.qp, attr, &cmd,
				sizeof(cmd), &resp.core, sizeof(resp));
	if (err)
		goto err_free;
	err = kb_map_qp(qp, pd->ibpd.context, &resp.drv);
	if (err)
		goto err_qp;
	kb_bell_init_qp(qp, attr);
	return &qp->base;

err_qp:
	ibv_cmd_destroy_qp(&qp->base.vqp.qp);
err_free:
	free(qp);
	errno = err;
	return NULL;
}

int kb_modify_qp(struct tcpzc_qp *qp, struct ibv_qp_attr *attr, int mask)
{
	struct ibv_modify_qp cmd = {};
	int err;

	if (kb_forked(qp->vqp.qp.context))
		return EIO;
	err = ibv_cmd_modify_qp(&qp->vqp.qp, attr, mask, &cmd, sizeof(cmd));
	return kb_gid_error(err);
}

int kb_query_qp(struct tcpzc_qp *qp, struct ibv_qp_attr *attr, int mask,
		struct ibv_qp_init_attr *init_attr)
{
	struct ibv_query_qp cmd = {};

	if (kb_forked(qp->vqp.qp.context))
		return EIO;
	return ibv_cmd_query_qp(&qp->vqp.qp, attr, mask, init_attr, &cmd,
				sizeof(cmd));
}

int kb_destroy_qp(struct tcpzc_qp *base)
{
	struct kb_qp *qp = (struct kb_qp *)base;
	int err = 0;

	if (!kb_forked(base->vqp.qp.context)) {
		kb_bell_forget_qp(qp);
		err = ibv_cmd_destroy_qp(&base->vqp.qp);
	}
	if (err)
		return err;
	kb_unmap(&qp->sq_map);
	kb_unmap(&qp->rq_map);
	free(qp);
	return 0;
}
