// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * qp.c - life of a queue pair: create, modify, query, destroy.
 */
#include <errno.h>

#include "qp.h"
#include "ring.h"
#include "tcpzc-ids.h"
#include "tcpzc.h"

/* ---- create ------------------------------------------------------------- */

static bool tcpzc_caps_ok(const struct ibv_qp_cap *cap)
{
	return cap->max_send_wr <= TCPZC_MAX_QP_WR &&
	       cap->max_recv_wr <= TCPZC_MAX_QP_WR &&
	       cap->max_send_sge <= TCPZC_MAX_SGE &&
	       cap->max_recv_sge <= TCPZC_MAX_SGE &&
	       cap->max_inline_data <= TCPZC_MAX_INLINE;
}

static int tcpzc_check_qp_init(struct ibv_pd *pd,
			       const struct ibv_qp_init_attr *attr)
{
	if (attr->qp_type != IBV_QPT_RC && attr->qp_type != IBV_QPT_UC &&
	    attr->qp_type != IBV_QPT_UD)
		return EOPNOTSUPP;
	if (!attr->send_cq || attr->send_cq->context != pd->context ||
	    !attr->recv_cq || attr->recv_cq->context != pd->context)
		return EINVAL;
	if (attr->srq && attr->srq->context != pd->context)
		return EINVAL;
	return tcpzc_caps_ok(&attr->cap) ? 0 : EINVAL;
}

static void tcpzc_get_caps(const struct tcpzc_qp *qp, struct ibv_qp_cap *cap)
{
	cap->max_send_wr = qp->sq.depth;
	cap->max_send_sge = qp->sq_max_sge;
	cap->max_inline_data = qp->max_inline;
	cap->max_recv_wr = qp->rq.depth;
	cap->max_recv_sge = qp->rq.depth ? qp->rq_max_sge : 0;
}

/* The objects that a queue pair keeps busy. */
static void tcpzc_attach_qp(struct ibv_qp *ibqp)
{
	tcpzc_get(&to_tpd(ibqp->pd)->users);
	tcpzc_get(&to_tcq(ibqp->send_cq)->users);
	tcpzc_get(&to_tcq(ibqp->recv_cq)->users);
	if (ibqp->srq)
		tcpzc_get(&to_tsrq(ibqp->srq)->users);
}

void tcpzc_init_ibqp(struct ibv_qp *ibqp, struct ibv_pd *pd,
		     const struct ibv_qp_init_attr *attr)
{
	ibqp->context = pd->context;
	ibqp->qp_context = attr->qp_context;
	ibqp->pd = pd;
	ibqp->send_cq = attr->send_cq;
	ibqp->recv_cq = attr->recv_cq;
	ibqp->srq = attr->srq;
	ibqp->qp_type = attr->qp_type;
	ibqp->state = IBV_QPS_RESET;
	ibqp->events_completed = 0;
	pthread_mutex_init(&ibqp->mutex, NULL);
	pthread_cond_init(&ibqp->cond, NULL);
}

struct ibv_qp *tcpzc_create_qp(struct ibv_pd *pd, struct ibv_qp_init_attr *attr)
{
	const struct tcpzc_backend *be = to_tctx(pd->context)->be;
	struct ibv_qp_init_attr init = *attr;
	struct tcpzc_qp *qp;
	int rc;

	/* Receives come from the SRQ; there is no receive queue (IB 10.2.9). */
	if (init.srq)
		init.cap.max_recv_wr = init.cap.max_recv_sge = 0;
	rc = tcpzc_check_qp_init(pd, &init);
	if (rc) {
		errno = rc;
		return NULL;
	}
	qp = be->create_qp(tcpzc_pd_inner(pd), &init);
	if (!qp)
		return NULL;
	tcpzc_lock_init(&qp->sq_lock);
	tcpzc_lock_init(&qp->rq_lock);
	qp->sq_sig_all = attr->sq_sig_all;
	qp->vqp.qp.pd = pd;	/* the application's: a parent domain, perhaps */
	tcpzc_attach_qp(&qp->vqp.qp);
	tcpzc_get_caps(qp, &attr->cap);
	return &qp->vqp.qp;
}

/* ---- modify ------------------------------------------------------------- */

static int tcpzc_check_qp_attr(const struct ibv_qp_attr *attr, int mask)
{
	struct tz_qp_attr a;

	tz_attr_from(&a, attr);
	switch (tz_attr_check(&a, mask)) {
	case TZ_ATTR_UNSUPPORTED:
		return EOPNOTSUPP;
	case TZ_ATTR_INVALID:
		return EINVAL;
	case TZ_ATTR_OK:
		break;
	}
	return (mask & IBV_QP_AV) && !tcpzc_ah_attr_ok(&attr->ah_attr) ? EINVAL : 0;
}

static void tcpzc_reload_rings(struct tcpzc_qp *qp)
{
	pthread_mutex_lock(&qp->sq_lock);
	tcpzc_ring_reload(&qp->sq);
	pthread_mutex_unlock(&qp->sq_lock);
	pthread_mutex_lock(&qp->rq_lock);
	tcpzc_ring_reload(&qp->rq);
	pthread_mutex_unlock(&qp->rq_lock);
}

/* A queue pair in RESET, or none, has no completions (IB 10.3.1.1). */
static void tcpzc_forget_completions(struct ibv_cq *send_cq,
				     struct ibv_cq *recv_cq, uint32_t qp_num)
{
	tcpzc_cq_forget_qp(to_tcq(send_cq), qp_num);
	if (recv_cq != send_cq)
		tcpzc_cq_forget_qp(to_tcq(recv_cq), qp_num);
}

int tcpzc_modify_qp(struct ibv_qp *ibqp, struct ibv_qp_attr *attr, int mask)
{
	const struct tcpzc_backend *be = to_tctx(ibqp->context)->be;
	struct tcpzc_qp *qp = to_tqp(ibqp);
	struct ibv_qp_attr a = *attr;
	int rc;

	rc = tcpzc_check_qp_attr(&a, mask);
	if (rc)
		return rc;
	/* Programs pass random numbers and expect the device to cut them. */
	a.sq_psn &= TZ_MAX_24BIT;
	a.rq_psn &= TZ_MAX_24BIT;
	rc = be->modify_qp(qp, &a, mask);
	if (rc)
		return rc;
	if ((mask & IBV_QP_STATE) && a.qp_state == IBV_QPS_RESET) {
		tcpzc_reload_rings(qp);
		tcpzc_forget_completions(ibqp->send_cq, ibqp->recv_cq,
					 ibqp->qp_num);
	}
	return 0;
}

/* ---- query, destroy ----------------------------------------------------- */

int tcpzc_query_qp(struct ibv_qp *ibqp, struct ibv_qp_attr *attr, int mask,
		   struct ibv_qp_init_attr *init_attr)
{
	struct tcpzc_qp *qp = to_tqp(ibqp);
	int rc;

	rc = to_tctx(ibqp->context)->be->query_qp(qp, attr, mask, init_attr);
	if (rc)
		return rc;
	tcpzc_get_caps(qp, &attr->cap);
	init_attr->qp_context = ibqp->qp_context;
	init_attr->send_cq = ibqp->send_cq;
	init_attr->recv_cq = ibqp->recv_cq;
	init_attr->srq = ibqp->srq;
	init_attr->cap = attr->cap;
	init_attr->qp_type = ibqp->qp_type;
	init_attr->sq_sig_all = qp->sq_sig_all;
	return 0;
}

/*
 * First the end of all completions, then those in the rings go; the completion
 * queues are busy until then.
 */
int tcpzc_destroy_qp(struct ibv_qp *ibqp)
{
	const struct tcpzc_backend *be = to_tctx(ibqp->context)->be;
	struct ibv_cq *send_cq = ibqp->send_cq;
	struct ibv_cq *recv_cq = ibqp->recv_cq;
	struct ibv_srq *srq = ibqp->srq;
	struct ibv_pd *pd = ibqp->pd;
	uint32_t qp_num = ibqp->qp_num;
	int rc;

	rc = be->destroy_qp(to_tqp(ibqp));
	if (rc)
		return rc;
	tcpzc_forget_completions(send_cq, recv_cq, qp_num);
	if (srq)
		tcpzc_put(&to_tsrq(srq)->users);
	tcpzc_put(&to_tcq(recv_cq)->users);
	tcpzc_put(&to_tcq(send_cq)->users);
	tcpzc_put(&to_tpd(pd)->users);
	return 0;
}
