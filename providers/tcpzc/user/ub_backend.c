// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * ub_backend.c - the user backend's functions, as the provider calls them.
 *
 * No verb is a cancellation point (pthread_cancel), as no verb of an adapter's
 * provider is: a thread that ended within a system call would leave a queue pair's
 * turn and locks taken for ever. The doorbells disable cancellation themselves, where
 * they are about to make a call.
 */
#include "ub.h"

#define UB_VERB(type, name, params, args)				\
	static type ub_verb_##name params				\
	{								\
		int was = ub_cancel_disable();				\
		type rc = ub_##name args;				\
									\
		ub_cancel_restore(was);					\
		return rc;						\
	}

#define UB_VOID_VERB(name, fn, params, args)				\
	static void ub_verb_##name params				\
	{								\
		int was = ub_cancel_disable();				\
									\
		fn args;						\
		ub_cancel_restore(was);					\
	}

UB_VERB(struct tcpzc_context *, open, (struct tcpzc_device *dev, int cmd_fd),
	(dev, cmd_fd))
UB_VERB(int, query_device, (struct tcpzc_context *ctx,
			    struct ibv_device_attr_ex *attr, size_t attr_size),
	(ctx, attr, attr_size))
UB_VERB(int, query_port, (struct tcpzc_context *ctx, uint8_t port,
			  struct ibv_port_attr *attr), (ctx, port, attr))
UB_VERB(struct tcpzc_pd *, alloc_pd, (struct tcpzc_context *ctx), (ctx))
UB_VERB(int, dealloc_pd, (struct tcpzc_pd *pd), (pd))
UB_VERB(struct tcpzc_mr *, reg_mr, (struct tcpzc_pd *pd, void *addr, size_t len,
				    uint64_t iova, int access),
	(pd, addr, len, iova, access))
UB_VERB(int, rereg_mr, (struct tcpzc_mr *mr, int flags, struct tcpzc_pd *pd,
			void *addr, size_t len, int access),
	(mr, flags, pd, addr, len, access))
UB_VERB(int, dereg_mr, (struct tcpzc_mr *mr), (mr))
UB_VERB(struct tcpzc_ah *, create_ah, (struct tcpzc_pd *pd,
				       struct ibv_ah_attr *attr), (pd, attr))
UB_VERB(int, destroy_ah, (struct tcpzc_ah *ah), (ah))
UB_VERB(struct tcpzc_cq *, create_cq, (struct tcpzc_context *ctx, uint32_t depth,
				       struct ibv_comp_channel *channel,
				       int comp_vector),
	(ctx, depth, channel, comp_vector))
UB_VERB(int, resize_cq, (struct tcpzc_cq *cq, uint32_t depth), (cq, depth))
UB_VERB(int, destroy_cq, (struct tcpzc_cq *cq), (cq))
UB_VERB(int, arm_cq, (struct tcpzc_cq *cq, bool solicited_only),
	(cq, solicited_only))
UB_VERB(struct tcpzc_srq *, create_srq, (struct tcpzc_pd *pd,
					 struct ibv_srq_init_attr *attr),
	(pd, attr))
UB_VERB(int, modify_srq, (struct tcpzc_srq *srq, struct ibv_srq_attr *attr,
			  int mask), (srq, attr, mask))
UB_VERB(int, query_srq, (struct tcpzc_srq *srq, struct ibv_srq_attr *attr),
	(srq, attr))
UB_VERB(int, destroy_srq, (struct tcpzc_srq *srq), (srq))
UB_VERB(struct tcpzc_qp *, create_qp, (struct tcpzc_pd *pd,
				       struct ibv_qp_init_attr *attr), (pd, attr))
UB_VERB(int, modify_qp, (struct tcpzc_qp *qp, struct ibv_qp_attr *attr, int mask),
	(qp, attr, mask))
UB_VERB(int, query_qp, (struct tcpzc_qp *qp, struct ibv_qp_attr *attr, int mask,
			struct ibv_qp_init_attr *init_attr),
	(qp, attr, mask, init_attr))
UB_VERB(int, destroy_qp, (struct tcpzc_qp *qp), (qp))
UB_VOID_VERB(close, ub_close, (struct tcpzc_context *ctx), (ctx))
UB_VOID_VERB(drive_cq, ub_drive_cq, (struct tcpzc_cq *cq), (cq))
UB_VOID_VERB(async_event, ub_event_async_fetched,
	     (struct tcpzc_context *ctx, struct ibv_async_event *event),
	     (ctx, event))
UB_VOID_VERB(cq_event, ub_event_comp_fetched, (struct tcpzc_cq *cq), (cq))

const struct tcpzc_backend tcpzc_user_backend = {
	.name = "user",
	.open = ub_verb_open,
	.close = ub_verb_close,
	.query_device = ub_verb_query_device,
	.query_port = ub_verb_query_port,
	.alloc_pd = ub_verb_alloc_pd,
	.dealloc_pd = ub_verb_dealloc_pd,
	.reg_mr = ub_verb_reg_mr,
	.rereg_mr = ub_verb_rereg_mr,
	.dereg_mr = ub_verb_dereg_mr,
	.create_ah = ub_verb_create_ah,
	.destroy_ah = ub_verb_destroy_ah,
	.create_cq = ub_verb_create_cq,
	.resize_cq = ub_verb_resize_cq,
	.destroy_cq = ub_verb_destroy_cq,
	.arm_cq = ub_verb_arm_cq,
	.drive_cq = ub_verb_drive_cq,
	.async_event = ub_verb_async_event,
	.cq_event = ub_verb_cq_event,
	.create_srq = ub_verb_create_srq,
	.modify_srq = ub_verb_modify_srq,
	.query_srq = ub_verb_query_srq,
	.destroy_srq = ub_verb_destroy_srq,
	.create_qp = ub_verb_create_qp,
	.modify_qp = ub_verb_modify_qp,
	.query_qp = ub_verb_query_qp,
	.destroy_qp = ub_verb_destroy_qp,
	.ring_sq = ub_ring_sq,
	.ring_rq = ub_ring_rq,
	.ring_srq = ub_ring_srq,
};
