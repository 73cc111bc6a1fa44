// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * qp_ex.c - posting to a send queue piece by piece (ibv_wr_start() to
 * ibv_wr_complete()).
 *
 * sq_lock is held from wr_start to wr_complete or wr_abort. The first error is
 * kept; it makes all later calls do nothing, and wr_complete fail without
 * having posted anything.
 */
#include <errno.h>
#include <string.h>

#include "qp.h"
#include "ring.h"
#include "tcpzc.h"

static struct tcpzc_qp *to_tqp_ex(struct ibv_qp_ex *ex)
{
	return to_tqp(&ex->qp_base);
}

static bool tcpzc_wqe_is_atomic(const struct tcpzc_send_wqe *wqe)
{
	return wqe->opcode == TCPZC_WQE_ATOMIC_CMP_AND_SWP ||
	       wqe->opcode == TCPZC_WQE_ATOMIC_FETCH_AND_ADD;
}

static bool tcpzc_wqe_takes_inline(const struct tcpzc_send_wqe *wqe)
{
	return wqe->opcode != TCPZC_WQE_RDMA_READ && !tcpzc_wqe_is_atomic(wqe);
}

static void tcpzc_wr_fail(struct tcpzc_qp *qp, int err)
{
	if (!qp->wr_err)
		qp->wr_err = err;
}

/* The current work request, if any, has all its pieces. */
static void tcpzc_wr_finish(struct tcpzc_qp *qp)
{
	const struct tcpzc_send_wqe *wqe = qp->wr_cur;

	if (wqe && tcpzc_wqe_is_atomic(wqe) && wqe->num_sge != 1)
		tcpzc_wr_fail(qp, EINVAL);
	qp->wr_cur = NULL;
}

/* Begin the next work request; NULL after an error. */
static struct tcpzc_send_wqe *tcpzc_wr_begin(struct ibv_qp_ex *ex,
					     enum tcpzc_wqe_opcode opcode)
{
	struct tcpzc_qp *qp = to_tqp_ex(ex);
	struct tcpzc_send_wqe *wqe;

	tcpzc_wr_finish(qp);
	if (tz_unlikely(!tcpzc_type_has_op(qp->vqp.qp.qp_type, opcode)))
		tcpzc_wr_fail(qp, EINVAL);
	/* What is inline is said by the data, not by the flag. */
	if (tz_unlikely(ex->wr_flags & ~TCPZC_SEND_FLAGS))
		tcpzc_wr_fail(qp, EINVAL);
	if (!qp->wr_err && tz_unlikely(tcpzc_ring_full(&qp->sq)))
		tcpzc_wr_fail(qp, ENOMEM);
	if (tz_unlikely(qp->wr_err))
		return NULL;
	wqe = tcpzc_ring_slot(&qp->sq, qp->sq.prod++);
	wqe->wr_id = ex->wr_id;
	wqe->opcode = opcode;
	wqe->flags = tcpzc_wqe_flags(qp, ex->wr_flags & ~IBV_SEND_INLINE);
	wqe->num_sge = 0;
	wqe->inline_len = 0;
	wqe->imm_data = 0;
	if (qp->vqp.qp.qp_type == IBV_QPT_UD)
		memset(&wqe->ud, 0, sizeof(wqe->ud));
	qp->wr_cur = wqe;
	return wqe;
}

static void tcpzc_wr_start(struct ibv_qp_ex *ex)
{
	struct tcpzc_qp *qp = to_tqp_ex(ex);

	pthread_mutex_lock(&qp->sq_lock);
	qp->wr_first = qp->sq.prod;
	qp->wr_cur = NULL;
	qp->wr_err = tcpzc_check_sq_state(qp);
}

static int tcpzc_wr_complete(struct ibv_qp_ex *ex)
{
	struct tcpzc_qp *qp = to_tqp_ex(ex);
	bool posted;
	int rc;

	tcpzc_wr_finish(qp);
	rc = qp->wr_err;
	if (rc)
		qp->sq.prod = qp->wr_first;
	posted = qp->sq.prod != qp->wr_first;
	if (posted)
		tcpzc_publish_sends(qp);
	pthread_mutex_unlock(&qp->sq_lock);
	if (posted)
		to_tctx(qp->vqp.qp.context)->be->ring_sq(qp);
	return rc;
}

static void tcpzc_wr_abort(struct ibv_qp_ex *ex)
{
	struct tcpzc_qp *qp = to_tqp_ex(ex);

	qp->sq.prod = qp->wr_first;
	qp->wr_cur = NULL;
	pthread_mutex_unlock(&qp->sq_lock);
}

/* ---- operations --------------------------------------------------------- */

static void tcpzc_wr_send(struct ibv_qp_ex *ex)
{
	tcpzc_wr_begin(ex, TCPZC_WQE_SEND);
}

static void tcpzc_wr_send_imm(struct ibv_qp_ex *ex, __be32 imm_data)
{
	struct tcpzc_send_wqe *wqe;

	wqe = tcpzc_wr_begin(ex, TCPZC_WQE_SEND_WITH_IMM);
	if (wqe)
		wqe->imm_data = imm_data;
}

static struct tcpzc_send_wqe *tcpzc_wr_begin_remote(struct ibv_qp_ex *ex,
						    enum tcpzc_wqe_opcode opcode,
						    uint32_t rkey,
						    uint64_t remote_addr)
{
	struct tcpzc_send_wqe *wqe;

	wqe = tcpzc_wr_begin(ex, opcode);
	if (wqe) {
		wqe->remote_addr = remote_addr;
		wqe->rkey = rkey;
	}
	return wqe;
}

static void tcpzc_wr_rdma_write(struct ibv_qp_ex *ex, uint32_t rkey,
				uint64_t remote_addr)
{
	tcpzc_wr_begin_remote(ex, TCPZC_WQE_RDMA_WRITE, rkey, remote_addr);
}

static void tcpzc_wr_rdma_write_imm(struct ibv_qp_ex *ex, uint32_t rkey,
				    uint64_t remote_addr, __be32 imm_data)
{
	struct tcpzc_send_wqe *wqe;

	wqe = tcpzc_wr_begin_remote(ex, TCPZC_WQE_RDMA_WRITE_WITH_IMM, rkey,
				    remote_addr);
	if (wqe)
		wqe->imm_data = imm_data;
}

static void tcpzc_wr_rdma_read(struct ibv_qp_ex *ex, uint32_t rkey,
			       uint64_t remote_addr)
{
	tcpzc_wr_begin_remote(ex, TCPZC_WQE_RDMA_READ, rkey, remote_addr);
}

static void tcpzc_wr_atomic_cmp_swp(struct ibv_qp_ex *ex, uint32_t rkey,
				    uint64_t remote_addr, uint64_t compare,
				    uint64_t swap)
{
	struct tcpzc_send_wqe *wqe;

	wqe = tcpzc_wr_begin_remote(ex, TCPZC_WQE_ATOMIC_CMP_AND_SWP, rkey,
				    remote_addr);
	if (!wqe)
		return;
	wqe->compare_add = compare;
	wqe->swap = swap;
}

static void tcpzc_wr_atomic_fetch_add(struct ibv_qp_ex *ex, uint32_t rkey,
				      uint64_t remote_addr, uint64_t add)
{
	struct tcpzc_send_wqe *wqe;

	wqe = tcpzc_wr_begin_remote(ex, TCPZC_WQE_ATOMIC_FETCH_AND_ADD, rkey,
				    remote_addr);
	if (!wqe)
		return;
	wqe->compare_add = add;
	wqe->swap = 0;
}

static void tcpzc_wr_set_ud_addr(struct ibv_qp_ex *ex, struct ibv_ah *ah,
				 uint32_t remote_qpn, uint32_t remote_qkey)
{
	struct tcpzc_qp *qp = to_tqp_ex(ex);

	if (tz_unlikely(!qp->wr_cur))
		return;
	if (tcpzc_put_ud(qp, qp->wr_cur, ah, remote_qpn, remote_qkey))
		tcpzc_wr_fail(qp, EINVAL);
}

/* ---- data --------------------------------------------------------------- */

static void tcpzc_wr_set_sge_list(struct ibv_qp_ex *ex, size_t num_sge,
				  const struct ibv_sge *sg_list)
{
	struct tcpzc_qp *qp = to_tqp_ex(ex);
	struct tcpzc_send_wqe *wqe = qp->wr_cur;
	uint64_t total;

	if (tz_unlikely(!wqe))
		return;
	if (tz_unlikely(num_sge > qp->sq_max_sge)) {
		tcpzc_wr_fail(qp, EINVAL);
		return;
	}
	wqe->num_sge = tcpzc_copy_sges((struct tcpzc_sge *)(wqe + 1), sg_list,
				       num_sge, &total);
	if (tz_unlikely(total > TCPZC_MAX_MSG_BYTES) ||
	    (tcpzc_wqe_is_atomic(wqe) && total != sizeof(uint64_t)))
		tcpzc_wr_fail(qp, EINVAL);
}

static void tcpzc_wr_set_sge(struct ibv_qp_ex *ex, uint32_t lkey, uint64_t addr,
			     uint32_t length)
{
	const struct ibv_sge sge = {
		.addr = addr, .length = length, .lkey = lkey
	};

	tcpzc_wr_set_sge_list(ex, 1, &sge);
}

static void tcpzc_wr_set_inline_data_list(struct ibv_qp_ex *ex, size_t num_buf,
					  const struct ibv_data_buf *buf)
{
	struct tcpzc_qp *qp = to_tqp_ex(ex);
	struct tcpzc_send_wqe *wqe = qp->wr_cur;
	uint32_t len = 0;
	size_t i;

	if (tz_unlikely(!wqe))
		return;
	if (tz_unlikely(!tcpzc_wqe_takes_inline(wqe))) {
		tcpzc_wr_fail(qp, EINVAL);
		return;
	}
	for (i = 0; i < num_buf; i++) {
		if (buf[i].length > qp->max_inline - len) {
			tcpzc_wr_fail(qp, EINVAL);
			return;
		}
		if (!buf[i].length)
			continue;
		memcpy((uint8_t *)(wqe + 1) + len, buf[i].addr, buf[i].length);
		len += buf[i].length;
	}
	wqe->flags |= TCPZC_WQE_F_INLINE;
	wqe->inline_len = len;
}

static void tcpzc_wr_set_inline_data(struct ibv_qp_ex *ex, void *addr,
				     size_t length)
{
	const struct ibv_data_buf buf = { .addr = addr, .length = length };

	tcpzc_wr_set_inline_data_list(ex, 1, &buf);
}

/* ---- create ------------------------------------------------------------- */

#define TCPZC_QP_EX_UD_OPS \
	(IBV_QP_EX_WITH_SEND | IBV_QP_EX_WITH_SEND_WITH_IMM)
#define TCPZC_QP_EX_UC_OPS \
	(TCPZC_QP_EX_UD_OPS | IBV_QP_EX_WITH_RDMA_WRITE | \
	 IBV_QP_EX_WITH_RDMA_WRITE_WITH_IMM)
#define TCPZC_QP_EX_RC_OPS \
	(TCPZC_QP_EX_UC_OPS | IBV_QP_EX_WITH_RDMA_READ | \
	 IBV_QP_EX_WITH_ATOMIC_CMP_AND_SWP | IBV_QP_EX_WITH_ATOMIC_FETCH_AND_ADD)

#define TCPZC_QP_EX_MASK \
	(IBV_QP_INIT_ATTR_PD | IBV_QP_INIT_ATTR_CREATE_FLAGS | \
	 IBV_QP_INIT_ATTR_SEND_OPS_FLAGS)

static void tcpzc_set_qp_ex_ops(struct ibv_qp_ex *ex)
{
	ex->wr_start = tcpzc_wr_start;
	ex->wr_complete = tcpzc_wr_complete;
	ex->wr_abort = tcpzc_wr_abort;
	ex->wr_send = tcpzc_wr_send;
	ex->wr_send_imm = tcpzc_wr_send_imm;
	ex->wr_rdma_write = tcpzc_wr_rdma_write;
	ex->wr_rdma_write_imm = tcpzc_wr_rdma_write_imm;
	ex->wr_rdma_read = tcpzc_wr_rdma_read;
	ex->wr_atomic_cmp_swp = tcpzc_wr_atomic_cmp_swp;
	ex->wr_atomic_fetch_add = tcpzc_wr_atomic_fetch_add;
	ex->wr_set_ud_addr = tcpzc_wr_set_ud_addr;
	ex->wr_set_sge = tcpzc_wr_set_sge;
	ex->wr_set_sge_list = tcpzc_wr_set_sge_list;
	ex->wr_set_inline_data = tcpzc_wr_set_inline_data;
	ex->wr_set_inline_data_list = tcpzc_wr_set_inline_data_list;
}

static uint64_t tcpzc_qp_ex_ops(enum ibv_qp_type type)
{
	switch (type) {
	case IBV_QPT_UD:
		return TCPZC_QP_EX_UD_OPS;
	case IBV_QPT_UC:
		return TCPZC_QP_EX_UC_OPS;
	default:
		return TCPZC_QP_EX_RC_OPS;
	}
}

static int tcpzc_check_qp_ex(const struct ibv_qp_init_attr_ex *attr)
{
	if (attr->comp_mask & ~TCPZC_QP_EX_MASK)
		return EOPNOTSUPP;
	if (!(attr->comp_mask & IBV_QP_INIT_ATTR_PD) || !attr->pd)
		return EINVAL;
	if ((attr->comp_mask & IBV_QP_INIT_ATTR_CREATE_FLAGS) &&
	    attr->create_flags)
		return EOPNOTSUPP;
	if ((attr->comp_mask & IBV_QP_INIT_ATTR_SEND_OPS_FLAGS) &&
	    (attr->send_ops_flags & ~tcpzc_qp_ex_ops(attr->qp_type)))
		return EOPNOTSUPP;
	return 0;
}

struct ibv_qp *tcpzc_create_qp_ex(struct ibv_context *context,
				  struct ibv_qp_init_attr_ex *attr)
{
	struct ibv_qp_init_attr init = {
		.qp_context = attr->qp_context,
		.send_cq = attr->send_cq,
		.recv_cq = attr->recv_cq,
		.srq = attr->srq,
		.cap = attr->cap,
		.qp_type = attr->qp_type,
		.sq_sig_all = attr->sq_sig_all,
	};
	struct ibv_qp *ibqp;
	struct tcpzc_qp *qp;
	int rc;

	rc = tcpzc_check_qp_ex(attr);
	if (rc) {
		errno = rc;
		return NULL;
	}
	ibqp = tcpzc_create_qp(attr->pd, &init);
	if (!ibqp)
		return NULL;
	attr->cap = init.cap;
	if (attr->comp_mask & IBV_QP_INIT_ATTR_SEND_OPS_FLAGS) {
		qp = to_tqp(ibqp);
		qp->vqp.comp_mask |= VERBS_QP_EX;
		tcpzc_set_qp_ex_ops(&qp->vqp.qp_ex);
	}
	return ibqp;
}
