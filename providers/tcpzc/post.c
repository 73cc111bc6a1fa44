// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * post.c - posting to send and receive queues, the usual way.
 */
#include <errno.h>
#include <string.h>

#include "qp.h"
#include "ring.h"
#include "tcpzc.h"

/* What an opcode of the application is, and has. */
#define TCPZC_OP_VALID		(1u << 0)
#define TCPZC_OP_INLINE		(1u << 1)	/* may carry its data */
#define TCPZC_OP_IMM		(1u << 2)
#define TCPZC_OP_RDMA		(1u << 3)	/* wr.rdma is filled in */
#define TCPZC_OP_ATOMIC		(1u << 4)	/* wr.atomic is filled in */

struct tcpzc_send_op {
	uint8_t opcode;		/* enum tcpzc_wqe_opcode */
	uint8_t kind;		/* TCPZC_OP_* */
};

static const struct tcpzc_send_op tcpzc_send_ops[] = {
	[IBV_WR_SEND] = {
		TCPZC_WQE_SEND, TCPZC_OP_VALID | TCPZC_OP_INLINE
	},
	[IBV_WR_SEND_WITH_IMM] = {
		TCPZC_WQE_SEND_WITH_IMM,
		TCPZC_OP_VALID | TCPZC_OP_INLINE | TCPZC_OP_IMM
	},
	[IBV_WR_RDMA_WRITE] = {
		TCPZC_WQE_RDMA_WRITE,
		TCPZC_OP_VALID | TCPZC_OP_INLINE | TCPZC_OP_RDMA
	},
	[IBV_WR_RDMA_WRITE_WITH_IMM] = {
		TCPZC_WQE_RDMA_WRITE_WITH_IMM,
		TCPZC_OP_VALID | TCPZC_OP_INLINE | TCPZC_OP_RDMA | TCPZC_OP_IMM
	},
	[IBV_WR_RDMA_READ] = {
		TCPZC_WQE_RDMA_READ, TCPZC_OP_VALID | TCPZC_OP_RDMA
	},
	[IBV_WR_ATOMIC_CMP_AND_SWP] = {
		TCPZC_WQE_ATOMIC_CMP_AND_SWP, TCPZC_OP_VALID | TCPZC_OP_ATOMIC
	},
	[IBV_WR_ATOMIC_FETCH_AND_ADD] = {
		TCPZC_WQE_ATOMIC_FETCH_AND_ADD, TCPZC_OP_VALID | TCPZC_OP_ATOMIC
	},
};

/* Copy the data itself behind the work request. */
static int tcpzc_put_inline(const struct tcpzc_qp *qp,
			    struct tcpzc_send_wqe *wqe,
			    const struct ibv_send_wr *wr)
{
	uint8_t *dst = (uint8_t *)(wqe + 1);
	uint32_t room = qp->max_inline;
	const struct ibv_sge *sge;
	int i;

	for (i = 0; i < wr->num_sge; i++) {
		sge = &wr->sg_list[i];
		if (sge->length > room)
			return EINVAL;
		if (!sge->length)
			continue;
		memcpy(dst, (const void *)(uintptr_t)sge->addr, sge->length);
		dst += sge->length;
		room -= sge->length;
	}
	wqe->num_sge = 0;
	wqe->inline_len = qp->max_inline - room;
	return 0;
}

static int tcpzc_put_sges(struct tcpzc_send_wqe *wqe,
			  const struct ibv_send_wr *wr, uint8_t kind)
{
	uint64_t total;

	wqe->inline_len = 0;
	wqe->num_sge = tcpzc_copy_sges((struct tcpzc_sge *)(wqe + 1),
				       wr->sg_list, wr->num_sge, &total);
	if (tz_unlikely(total > TCPZC_MAX_MSG_BYTES))
		return EINVAL;
	if ((kind & TCPZC_OP_ATOMIC) &&
	    (wqe->num_sge != 1 || total != sizeof(uint64_t)))
		return EINVAL;
	return 0;
}

static void tcpzc_put_remote(struct tcpzc_send_wqe *wqe,
			     const struct ibv_send_wr *wr, uint8_t kind)
{
	wqe->imm_data = kind & TCPZC_OP_IMM ? wr->imm_data : 0;
	if (kind & TCPZC_OP_RDMA) {
		wqe->remote_addr = wr->wr.rdma.remote_addr;
		wqe->rkey = wr->wr.rdma.rkey;
	} else if (kind & TCPZC_OP_ATOMIC) {
		wqe->remote_addr = wr->wr.atomic.remote_addr;
		wqe->rkey = wr->wr.atomic.rkey;
		wqe->compare_add = wr->wr.atomic.compare_add;
		wqe->swap = wr->wr.atomic.swap;
	}
}

static int tcpzc_check_send(const struct tcpzc_qp *qp,
			    const struct ibv_send_wr *wr,
			    const struct tcpzc_send_op *op)
{
	uint8_t kind = op->kind;

	if (tz_unlikely(!(kind & TCPZC_OP_VALID)))
		return EOPNOTSUPP;
	if (tz_unlikely(!tcpzc_type_has_op(qp->vqp.qp.qp_type, op->opcode)))
		return EINVAL;
	if (tz_unlikely(wr->send_flags & ~TCPZC_SEND_FLAGS))
		return EINVAL;
	if ((wr->send_flags & IBV_SEND_INLINE) && !(kind & TCPZC_OP_INLINE))
		return EINVAL;
	if (wr->num_sge < 0 || (uint32_t)wr->num_sge > qp->sq_max_sge)
		return EINVAL;
	return 0;
}

/* Write @wr to the next slot of the send queue; 0 or a positive errno. */
static int tcpzc_build_send(struct tcpzc_qp *qp, const struct ibv_send_wr *wr)
{
	const struct tcpzc_send_op *op;
	struct tcpzc_send_wqe *wqe;
	int rc;

	if (tz_unlikely((uint32_t)wr->opcode >= TZ_ARRAY_SIZE(tcpzc_send_ops)))
		return EOPNOTSUPP;
	op = &tcpzc_send_ops[wr->opcode];
	rc = tcpzc_check_send(qp, wr, op);
	if (tz_unlikely(rc))
		return rc;
	if (tz_unlikely(tcpzc_ring_full(&qp->sq)))
		return ENOMEM;
	wqe = tcpzc_ring_slot(&qp->sq, qp->sq.prod);
	if (wr->send_flags & IBV_SEND_INLINE)
		rc = tcpzc_put_inline(qp, wqe, wr);
	else
		rc = tcpzc_put_sges(wqe, wr, op->kind);
	if (!rc && qp->vqp.qp.qp_type == IBV_QPT_UD)
		rc = tcpzc_put_ud(qp, wqe, wr->wr.ud.ah,
				  wr->wr.ud.remote_qpn, wr->wr.ud.remote_qkey);
	if (tz_unlikely(rc))
		return rc;
	wqe->wr_id = wr->wr_id;
	wqe->opcode = op->opcode;
	wqe->flags = tcpzc_wqe_flags(qp, wr->send_flags);
	tcpzc_put_remote(wqe, wr, op->kind);
	qp->sq.prod++;
	return 0;
}

void tcpzc_publish_sends(struct tcpzc_qp *qp)
{
	const struct tcpzc_send_wqe *wqe = tcpzc_ring_slot(&qp->sq, qp->sq.prod - 1);
	const struct tcpzc_sge *sge = (const void *)(wqe + 1);
	uint32_t bytes = wqe->inline_len, i;

	for (i = 0; i < wqe->num_sge; i++)
		bytes += sge[i].length;
	__atomic_store_n(&qp->sq_last_bytes, bytes, __ATOMIC_RELAXED);
	tcpzc_ring_publish(&qp->sq);
}

int tcpzc_post_send(struct ibv_qp *ibqp, struct ibv_send_wr *wr,
		    struct ibv_send_wr **bad_wr)
{
	struct tcpzc_qp *qp = to_tqp(ibqp);
	uint32_t start;
	bool posted;
	int rc = 0;

	pthread_mutex_lock(&qp->sq_lock);
	start = qp->sq.prod;
	for (; wr; wr = wr->next) {
		rc = tcpzc_check_sq_state(qp);
		if (!rc)
			rc = tcpzc_build_send(qp, wr);
		if (rc) {
			*bad_wr = wr;
			break;
		}
	}
	posted = qp->sq.prod != start;
	if (posted)
		tcpzc_publish_sends(qp);
	pthread_mutex_unlock(&qp->sq_lock);
	if (posted)
		to_tctx(ibqp->context)->be->ring_sq(qp);
	if (rc)
		errno = rc;
	return rc;
}

static int tcpzc_check_recv(const struct tcpzc_qp *qp)
{
	if (qp->vqp.qp.state == IBV_QPS_RESET || qp->vqp.qp.srq)
		return EINVAL;
	return 0;
}

int tcpzc_post_recv(struct ibv_qp *ibqp, struct ibv_recv_wr *wr,
		    struct ibv_recv_wr **bad_wr)
{
	struct tcpzc_qp *qp = to_tqp(ibqp);
	uint32_t start;
	bool posted;
	int rc = 0;

	pthread_mutex_lock(&qp->rq_lock);
	start = qp->rq.prod;
	for (; wr; wr = wr->next) {
		rc = tcpzc_check_recv(qp);
		if (!rc)
			rc = tcpzc_build_recv(&qp->rq, qp->rq_max_sge, wr);
		if (rc) {
			*bad_wr = wr;
			break;
		}
	}
	posted = qp->rq.prod != start;
	if (posted)
		tcpzc_ring_publish(&qp->rq);
	pthread_mutex_unlock(&qp->rq_lock);
	if (posted)
		to_tctx(ibqp->context)->be->ring_rq(qp);
	if (rc)
		errno = rc;
	return rc;
}
