// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * kb_srq.c - shared receive queues of the kernel backend.
 */
#include <errno.h>
#include <stdlib.h>

#include "kb.h"

struct kb_create_srq_resp {
	struct ib_uverbs_create_srq_resp core;
	struct tcpzc_uresp_srq drv;
};
static_assert(sizeof(struct kb_create_srq_resp) ==
	      sizeof(struct ib_uverbs_create_srq_resp) +
	      sizeof(struct tcpzc_uresp_srq), "no padding");

struct kb_modify_srq {
	struct ibv_modify_srq core;
	struct tcpzc_ureq_modify_srq drv;
};
static_assert(sizeof(struct kb_modify_srq) ==
	      sizeof(struct ibv_modify_srq) +
	      sizeof(struct tcpzc_ureq_modify_srq), "no padding");

struct tcpzc_srq *kb_create_srq(struct tcpzc_pd *pd,
				struct ibv_srq_init_attr *attr)
{
	struct kb_create_srq_resp resp = {};
	struct ibv_create_srq cmd = {};
	struct kb_srq *srq;
	int err;

	if (kb_refused(pd->ibpd.context))
		return NULL;
	srq = calloc(1, sizeof(*srq));
	if (!srq)
		return NULL;
	err = ibv_cmd_create_srq(&pd->ibpd, &srq->base.ibsrq, attr, &cmd,
				 sizeof(cmd), &resp.core, sizeof(resp));
	if (err)
		goto err_free;
	srq->base.max_sge = resp.drv.max_sge;
	err = kb_map_ring(pd->ibpd.context, &resp.drv.ring,
			  tz_rq_stride(srq->base.max_sge), &srq->base.ring,
			  &srq->map);
	if (err)
		goto err_srq;
	return &srq->base;

err_srq:
	ibv_cmd_destroy_srq(&srq->base.ibsrq);
err_free:
	free(srq);
	errno = err;
	return NULL;
}

/* The kernel has moved to another ring. srq->base.lock is held. */
static int kb_srq_use_ring(struct kb_srq *srq,
			   const struct tcpzc_uresp_srq *resp)
{
	struct tcpzc_ring ring;
	struct kb_map map;
	int err;

	err = kb_map_ring(srq->base.ibsrq.context, &resp->ring,
			  tz_rq_stride(srq->base.max_sge), &ring, &map);
	if (err)
		return err;
	kb_unmap(&srq->map);
	kb_map_move(&srq->map, &map);
	srq->base.ring = ring;
	return 0;
}

int kb_modify_srq(struct tcpzc_srq *base, struct ibv_srq_attr *attr, int mask)
{
	struct kb_srq *srq = (struct kb_srq *)base;
	struct tcpzc_uresp_srq resp = {};
	struct kb_modify_srq cmd = {
		.drv.resp_addr = (uintptr_t)&resp,
	};
	int err;

	if (kb_forked(base->ibsrq.context))
		return EIO;
	err = ibv_cmd_modify_srq(&base->ibsrq, attr, mask, &cmd.core,
				 sizeof(cmd));
	if (!err && (mask & IBV_SRQ_MAX_WR) && resp.ring.bytes)
		err = kb_srq_use_ring(srq, &resp);
	return err;
}

int kb_query_srq(struct tcpzc_srq *srq, struct ibv_srq_attr *attr)
{
	struct ibv_query_srq cmd = {};

	if (kb_forked(srq->ibsrq.context))
		return EIO;
	return ibv_cmd_query_srq(&srq->ibsrq, attr, &cmd, sizeof(cmd));
}

int kb_destroy_srq(struct tcpzc_srq *base)
{
	struct kb_srq *srq = (struct kb_srq *)base;
	int err = kb_forked(base->ibsrq.context) ?
			  0 : ibv_cmd_destroy_srq(&base->ibsrq);

	if (err)
		return err;
	kb_unmap(&srq->map);
	free(srq);
	return 0;
}
