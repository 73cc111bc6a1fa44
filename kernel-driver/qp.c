// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * qp.c - queue pairs: memory, states, destruction.
 */
#include <linux/mm.h>
#include <rdma/ib_cache.h>
#include <rdma/uverbs_ioctl.h>

#include "tcpzc.h"
#include "trace.h"

#define TCPZC_PART_MIN_NS	(5 * NSEC_PER_MSEC)
#define TCPZC_TX_BUF_BYTES	(64u << 10)
#define TCPZC_RX_BUF_BYTES	(64u << 10)
/*
 * Longer than a program takes that sleeps until a message arrives, and answers:
 * its answer carries the acknowledgement. While programs play ping-pong a timer
 * goes off that often for nothing; a game that ends delays one completion as
 * long.
 */
#define TCPZC_ACK_DELAY_NS	1000000ull
#define TCPZC_RNR_STALL_NS	100000ull

/* ---- what the engine calls ---------------------------------------------- */

static void tcpzc_complete_send(struct tz_qp *eng, const struct tcpzc_cqe *cqe)
{
	struct tcpzc_qp *qp = tcpzc_qp_of(eng);

	trace_tcpzc_complete(qp, true, cqe);
	tcpzc_cq_push(qp->send_cq, cqe);
}

static void tcpzc_complete_recv(struct tz_qp *eng, const struct tcpzc_cqe *cqe)
{
	struct tcpzc_qp *qp = tcpzc_qp_of(eng);
	struct tcpzc_cqe tagged;

	trace_tcpzc_complete(qp, false, cqe);
	if (qp->rx_vlan) {
		tagged = *cqe;
		tagged.reserved[0] = qp->rx_vlan;
		cqe = &tagged;
	}
	tcpzc_cq_push(qp->recv_cq, cqe);
}

static void tcpzc_qp_event(struct tz_qp *eng, enum tz_event event)
{
	static const enum ib_event_type types[TZ_EVENTS] = {
		[TZ_EVENT_SQ_DRAINED]		= IB_EVENT_SQ_DRAINED,
		[TZ_EVENT_LAST_WQE_REACHED]	= IB_EVENT_QP_LAST_WQE_REACHED,
		[TZ_EVENT_COMM_EST]		= IB_EVENT_COMM_EST,
		[TZ_EVENT_REQ_ERR]		= IB_EVENT_QP_REQ_ERR,
		[TZ_EVENT_ACCESS_ERR]		= IB_EVENT_QP_ACCESS_ERR,
		[TZ_EVENT_FATAL]		= IB_EVENT_QP_FATAL,
	};
	struct tcpzc_qp *qp = tcpzc_qp_of(eng);
	struct ib_event ev = {
		.device = qp->ib->device,
		.element.qp = qp->ib,
		.event = types[event],
	};

	trace_tcpzc_event(qp, ev.event);
	if (qp->ib->event_handler)
		qp->ib->event_handler(&ev, qp->ib->qp_context);
}

const struct tz_ops tcpzc_engine_ops = {
	.mr_find = tcpzc_mr_find,
	.mr_get = tcpzc_mr_get,
	.mr_put = tcpzc_mr_put,
	.mr_write = tcpzc_mr_write,
	.mr_read = tcpzc_mr_read,
	.mr_atomic = tcpzc_mr_atomic,
	.srq_take = tcpzc_srq_take,
	.complete_send = tcpzc_complete_send,
	.complete_recv = tcpzc_complete_recv,
	.event = tcpzc_qp_event,
	.heard_ns = tcpzc_alive_heard_ns,
};

/* ---- table -------------------------------------------------------------- */

/*
 * A namespace's devices share its port, and may share GIDs (an interface and its
 * bridge): a number names one queue pair of all of them. But each has a GSI.
 */
static int tcpzc_qpn_take(struct tcpzc_net *tnet, u32 *qpn)
{
	int rc;

	rc = xa_alloc_cyclic_irq(&tnet->qps, qpn, NULL,
				 XA_LIMIT(TCPZC_MIN_QPN, TCPZC_MAX_QPN),
				 &tnet->next_qpn, GFP_KERNEL);
	return rc == -EBUSY ? -ENOMEM : min(rc, 0);
}

static void tcpzc_qpn_give(struct tcpzc_net *tnet, u32 qpn)
{
	if (qpn != TZ_GSI_QPN)
		xa_erase_irq(&tnet->qps, qpn);
}

static int tcpzc_qpn_reserve(struct tcpzc_dev *dev, enum ib_qp_type type,
			     u32 *qpn)
{
	int rc = 0;

	*qpn = TZ_GSI_QPN;
	if (atomic_inc_return(&dev->num_qps) > TCPZC_MAX_QP)
		rc = -ENOMEM;
	if (!rc && type != IB_QPT_GSI)
		rc = tcpzc_qpn_take(dev->tnet, qpn);
	if (rc)
		goto err_num;
	rc = xa_reserve_irq(&dev->qps, *qpn, GFP_KERNEL);
	if (rc)
		goto err_give;
	return 0;

err_give:
	tcpzc_qpn_give(dev->tnet, *qpn);
err_num:
	atomic_dec(&dev->num_qps);
	return rc;
}

/* From now on it can be found. The entries are reserved: this needs no memory. */
static void tcpzc_qpn_publish(struct tcpzc_qp *qp, u32 qpn)
{
	xa_store_irq(&qp->dev->qps, qpn, qp, GFP_KERNEL);
	if (qpn != TZ_GSI_QPN)
		xa_store_irq(&qp->dev->tnet->qps, qpn, qp, GFP_KERNEL);
}

static void tcpzc_qpn_release(struct tcpzc_dev *dev, u32 qpn)
{
	/* Nobody is within tcpzc_qp_barrier() or a sum of statistics. */
	down_write(&dev->qps_sem);
	xa_erase_irq(&dev->qps, qpn);
	up_write(&dev->qps_sem);
	tcpzc_qpn_give(dev->tnet, qpn);
	atomic_dec(&dev->num_qps);
}

static struct tcpzc_qp *tcpzc_qp_get_from(struct xarray *qps, u32 qpn)
{
	struct tcpzc_qp *qp;
	unsigned long flags;

	xa_lock_irqsave(qps, flags);
	qp = xa_load(qps, qpn);
	if (qp && !refcount_inc_not_zero(&qp->refs))
		qp = NULL;	/* it is being destroyed */
	xa_unlock_irqrestore(qps, flags);
	return qp;
}

struct tcpzc_qp *tcpzc_qp_get(struct tcpzc_dev *dev, u32 qpn)
{
	return tcpzc_qp_get_from(&dev->qps, qpn);
}

struct tcpzc_qp *tcpzc_qp_find(struct tcpzc_net *tnet, const u8 *gid, u32 qpn)
{
	struct tcpzc_qp *qp = tcpzc_qp_get_from(&tnet->qps, qpn);

	if (!qp || tcpzc_dev_has_gid(qp->dev, gid))
		return qp;
	tcpzc_qp_put(qp);
	return NULL;
}

void tcpzc_qp_put(struct tcpzc_qp *qp)
{
	if (refcount_dec_and_test(&qp->refs))
		complete(&qp->released);
}

void tcpzc_qp_barrier(struct tcpzc_dev *dev)
{
	struct tcpzc_qp *qp;
	unsigned long qpn;

	down_read(&dev->qps_sem);
	xa_for_each(&dev->qps, qpn, qp) {
		spin_lock_bh(&qp->lock);
		spin_unlock_bh(&qp->lock);
	}
	up_read(&dev->qps_sem);
}

/* ---- create ------------------------------------------------------------- */

/* The engine's type of an IB type; 0: not supported. */
static u32 tcpzc_qp_type(enum ib_qp_type type, bool kernel)
{
	switch (type) {
	case IB_QPT_RC:
		return TZ_QPT_RC;
	case IB_QPT_UC:
		return TZ_QPT_UC;
	case IB_QPT_UD:
		return TZ_QPT_UD;
	case IB_QPT_GSI:
		return kernel ? TZ_QPT_UD : 0;
	default:
		return 0;
	}
}

static int tcpzc_qp_check_init(const struct ib_qp_init_attr *attr, bool kernel)
{
	const struct ib_qp_cap *cap = &attr->cap;

	if (!tcpzc_qp_type(attr->qp_type, kernel) || attr->create_flags)
		return -EOPNOTSUPP;
	if (!attr->send_cq || !attr->recv_cq)
		return -EINVAL;
	if (cap->max_send_wr > TCPZC_MAX_QP_WR ||
	    cap->max_send_sge > TCPZC_MAX_SGE ||
	    cap->max_inline_data > TCPZC_MAX_INLINE)
		return -EINVAL;
	/* With an SRQ there is no receive queue, whatever is asked (10.2.9). */
	if (!attr->srq && (cap->max_recv_wr > TCPZC_MAX_QP_WR ||
			   cap->max_recv_sge > TCPZC_MAX_SGE))
		return -EINVAL;
	return 0;
}

static int tcpzc_qp_alloc_rings(struct tcpzc_qp *qp, struct tz_qp_init *init,
				const struct ib_qp_init_attr *attr,
				struct ib_udata *udata)
{
	const struct ib_qp_cap *cap = &attr->cap;

	init->sq_max_sge = max(cap->max_send_sge, 1u);
	init->sq_max_inline = cap->max_inline_data;
	qp->sq = tcpzc_uring_alloc(udata,
				   tz_ring_depth(cap->max_send_wr),
				   tz_sq_stride(init->sq_max_sge,
						   init->sq_max_inline));
	if (IS_ERR(qp->sq))
		return PTR_ERR(qp->sq);
	init->sq = tcpzc_engine_ring(qp->sq);
	if (attr->srq || !cap->max_recv_wr)
		return 0;
	init->rq_max_sge = max(cap->max_recv_sge, 1u);
	qp->rq = tcpzc_uring_alloc(udata, tz_ring_depth(cap->max_recv_wr),
				   tz_rq_stride(init->rq_max_sge));
	if (IS_ERR(qp->rq))
		return PTR_ERR(qp->rq);
	init->rq = tcpzc_engine_ring(qp->rq);
	return 0;
}

static int tcpzc_qp_alloc_bufs(struct tcpzc_qp *qp, struct tz_qp_init *init)
{
	size_t bytes = TCPZC_TX_BUF_BYTES + TCPZC_RX_BUF_BYTES +
		       init->sq.depth * sizeof(struct tz_swqe);

	qp->bufs = kvzalloc(bytes, GFP_KERNEL_ACCOUNT);
	if (!qp->bufs)
		return -ENOMEM;
	init->tx_buf = qp->bufs;
	init->tx_buf_bytes = TCPZC_TX_BUF_BYTES;
	init->rx_buf = init->tx_buf + TCPZC_TX_BUF_BYTES;
	init->rx_buf_bytes = TCPZC_RX_BUF_BYTES;
	init->swqe = (struct tz_swqe *)(init->rx_buf + TCPZC_RX_BUF_BYTES);
	return 0;
}

static void tcpzc_qp_free_mem(struct tcpzc_qp *qp)
{
	tcpzc_ud_exit(qp);
	kvfree(qp->bufs);
	tcpzc_uring_free(qp->rq);
	tcpzc_uring_free(qp->sq);
	kvfree(qp);
}

static void tcpzc_qp_get_caps(const struct tcpzc_qp *qp, struct ib_qp_cap *cap)
{
	const struct tz_qp_init *init = tz_qp_made(&qp->eng);

	cap->max_send_wr = init->sq.depth;
	cap->max_send_sge = init->sq_max_sge;
	cap->max_inline_data = init->sq_max_inline;
	cap->max_recv_wr = init->rq.depth;
	cap->max_recv_sge = init->rq_max_sge;
}

static int tcpzc_qp_respond(const struct tcpzc_qp *qp, struct ib_udata *udata)
{
	const struct tz_qp_init *init = tz_qp_made(&qp->eng);
	struct tcpzc_uresp_qp resp = {
		.sq_max_sge = init->sq_max_sge,
		.rq_max_sge = init->rq_max_sge,
		.max_inline = init->sq_max_inline,
	};

	if (!udata)
		return 0;
	tcpzc_uring_desc(qp->sq, &resp.sq);
	tcpzc_uring_desc(qp->rq, &resp.rq);
	return tcpzc_respond(udata, &resp, sizeof(resp));
}

static void tcpzc_qp_init(struct tcpzc_qp *qp, const struct tz_qp_init *init)
{
	spin_lock_init(&qp->ksq_lock);
	spin_lock_init(&qp->krq_lock);
	refcount_set(&qp->refs, 1);
	init_completion(&qp->released);
	mutex_init(&qp->mutex);
	spin_lock_init(&qp->lock);
	INIT_LIST_HEAD(&qp->srq_node);
	tz_qp_init(&qp->eng, init);
	tcpzc_conn_init(qp);
	tcpzc_io_init(qp);
}

/* Nobody looks at it yet, or any more. */
static void tcpzc_ibqp_set(struct ib_qp *ibqp, struct tcpzc_qp *qp)
{
	struct tcpzc_ibqp *p = container_of(ibqp, struct tcpzc_ibqp, ib);

	mutex_lock(&p->lock);
	p->qp = qp;
	mutex_unlock(&p->lock);
}

static struct tcpzc_qp *tcpzc_qp_alloc(struct ib_qp *ibqp,
				       const struct ib_qp_init_attr *attr,
				       bool kernel)
{
	struct tcpzc_qp *qp = kvzalloc(sizeof(*qp), GFP_KERNEL_ACCOUNT);

	if (!qp)
		return NULL;
	qp->ib = ibqp;
	qp->dev = to_tdev(ibqp->device);
	qp->kernel = kernel;
	qp->send_cq = to_tcq(attr->send_cq);
	qp->recv_cq = to_tcq(attr->recv_cq);
	qp->srq = attr->srq ? to_tsrq(attr->srq) : NULL;
	return qp;
}

int tcpzc_create_qp(struct ib_qp *ibqp, struct ib_qp_init_attr *attr,
		    struct ib_udata *udata)
{
	struct tcpzc_dev *dev = to_tdev(ibqp->device);
	struct tz_qp_init init = {
		.ops = &tcpzc_engine_ops,
		.type = tcpzc_qp_type(attr->qp_type, !udata),
		.pdn = to_tpd(ibqp->pd)->pdn,
		.rq_pdn = attr->srq ? to_tpd(attr->srq->pd)->pdn : 0,
		.has_srq = attr->srq,
		.sq_sig_all = attr->sq_sig_type == IB_SIGNAL_ALL_WR,
		.copy_max = READ_ONCE(tcpzc_copy_threshold),
		.ack_delay_ns = TCPZC_ACK_DELAY_NS,
		.rnr_stall_ns = TCPZC_RNR_STALL_NS,
		.min_retry_ns = (u64)READ_ONCE(tcpzc_min_retry_ms) * NSEC_PER_MSEC,
		.max_silence_ns = (u64)READ_ONCE(tcpzc_max_silence_ms) *
				  NSEC_PER_MSEC,
	};
	struct tcpzc_qp *qp;
	int rc;

	rc = tcpzc_qp_check_init(attr, !udata);
	if (rc)
		return rc;
	qp = tcpzc_qp_alloc(ibqp, attr, !udata);
	if (!qp)
		return -ENOMEM;
	rc = tcpzc_qp_alloc_rings(qp, &init, attr, udata);
	if (!rc)
		rc = tcpzc_qp_alloc_bufs(qp, &init);
	if (!rc)
		rc = tcpzc_ud_init(qp, init.type);
	if (rc)
		goto err_mem;
	rc = tcpzc_qpn_reserve(dev, attr->qp_type, &init.qpn);
	if (rc)
		goto err_mem;
	tcpzc_qp_init(qp, &init);
	ibqp->qp_num = init.qpn;
	rc = tcpzc_qp_respond(qp, udata);
	if (rc)
		goto err_qpn;
	tcpzc_qp_get_caps(qp, &attr->cap);
	mutex_init(&container_of(ibqp, struct tcpzc_ibqp, ib)->lock);
	tcpzc_ibqp_set(ibqp, qp);
	tcpzc_qpn_publish(qp, init.qpn);
	return 0;

err_qpn:
	tcpzc_qpn_release(dev, init.qpn);
err_mem:
	tcpzc_qp_free_mem(qp);
	return rc;
}

/* ---- modify ------------------------------------------------------------- */

static bool tcpzc_av_ok(const struct rdma_ah_attr *ah)
{
	const struct ib_global_route *grh = &ah->grh;

	/* ib_core has looked up the GID of this side. */
	return (ah->ah_flags & IB_AH_GRH) && ah->port_num == TCPZC_PORT_NUM &&
	       grh->sgid_attr && !rdma_is_zero_gid(&grh->dgid);
}

/* What cannot be, whatever the state: -errno. */
static int tcpzc_qp_check_attr(const struct ib_qp_attr *attr, int mask,
			       struct tz_qp_attr *out)
{
	const struct ib_global_route *grh = &attr->ah_attr.grh;

	tz_attr_from(out, attr);
	switch (tz_attr_check(out, mask)) {
	case TZ_ATTR_UNSUPPORTED:
		return -EOPNOTSUPP;
	case TZ_ATTR_INVALID:
		return -EINVAL;
	case TZ_ATTR_OK:
		break;
	}
	if (!(mask & IB_QP_AV))
		return 0;
	if (!tcpzc_av_ok(&attr->ah_attr))
		return -EINVAL;
	memcpy(out->sgid, grh->sgid_attr->gid.raw, sizeof(out->sgid));
	memcpy(out->dgid, grh->dgid.raw, sizeof(out->dgid));
	return 0;
}

/* The ends that tcpzc_conn_close() brings. */
static void tcpzc_engine_reset(struct tcpzc_qp *qp)
{
	static const struct tz_qp_attr reset = { .state = TZ_RESET };

	tz_qp_modify(&qp->eng, &reset, TZ_QP_STATE, ktime_get_ns());
}

static void tcpzc_engine_end(struct tcpzc_qp *qp)
{
	WRITE_ONCE(qp->dead, true);
	tcpzc_engine_reset(qp);
}

static void tcpzc_engine_abandon(struct tcpzc_qp *qp)
{
	static const struct tz_qp_attr err = { .state = TZ_ERR };

	/* First the flag: what is posted without having seen it is flushed. */
	tcpzc_sq_flag(qp, TCPZC_RING_NEED_WAKEUP | TCPZC_RING_GONE);
	WRITE_ONCE(qp->dead, true);
	if (tz_qp_state(&qp->eng) == TZ_RESET)
		return;
	tz_qp_modify(&qp->eng, &err, TZ_QP_STATE, ktime_get_ns());
	if (!tz_qp_is_ud(&qp->eng) && tz_dial_state(&qp->eng) != TZ_DIAL_DONE)
		tz_dial_lost(&qp->eng, ktime_get_ns());
}

/*
 * Check and change in one: the engine goes to ERR at any moment, which can be left
 * for RESET alone.
 */
static int tcpzc_engine_try_modify(struct tcpzc_qp *qp,
				   const struct tz_qp_attr *attr, int mask)
{
	int rc = -EINVAL;

	spin_lock_bh(&qp->lock);
	if (tz_attr_fits(&qp->eng, tz_qp_state(&qp->eng), attr, mask)) {
		tz_qp_modify(&qp->eng, attr, mask, ktime_get_ns());
		rc = 0;
	}
	spin_unlock_bh(&qp->lock);
	return rc;
}

static int tcpzc_modify_locked(struct tcpzc_qp *qp, struct ib_qp_attr *attr,
			       const struct tz_qp_attr *eng_attr, int mask)
{
	enum tz_state from = tz_qp_state(&qp->eng);
	enum tz_state to = mask & IB_QP_STATE ? eng_attr->state : from;
	u64 until;
	int rc;

	lockdep_assert_held(&qp->mutex);
	/* The GSI is a UD queue pair but for this (IB 11.2.5.2). */
	if (qp->ib->qp_type == IB_QPT_GSI && from == TZ_RESET)
		mask |= IB_QP_PORT;
	if (!tz_attr_fits(&qp->eng, from, eng_attr, mask))
		return -EINVAL;
	trace_tcpzc_modify(qp, to, mask);
	if (to != from && (to == TZ_ERR || to == TZ_RESET))
		tcpzc_io_catch_up(qp);
	if (to == TZ_RESET) {
		until = ktime_get_ns() + TZ_DIAL_PART_NS;
		tcpzc_conn_close(qp, tcpzc_engine_reset, until);
		tcpzc_refs_wait(qp->dev, NULL, qp, until);
		memset(&qp->attr, 0, sizeof(qp->attr));
	}
	rc = tcpzc_engine_try_modify(qp, eng_attr, mask);
	if (rc)
		return rc;
	if (mask & IB_QP_AV) {
		qp->attr.ah_attr = attr->ah_attr;
		qp->attr.ah_attr.grh.sgid_attr = NULL;	/* ib_core's */
	}
	if (from == TZ_INIT && to == TZ_RTR && !tz_qp_is_ud(&qp->eng))
		tcpzc_conn_start(qp);
	else
		tcpzc_io_run(qp);
	return 0;
}

int tcpzc_modify_qp(struct ib_qp *ibqp, struct ib_qp_attr *attr, int mask,
		    struct ib_udata *udata)
{
	struct tcpzc_qp *qp = to_tqp(ibqp);
	struct tz_qp_attr eng_attr;
	int rc;

	rc = tcpzc_qp_check_attr(attr, mask, &eng_attr);
	if (rc)
		return rc;
	mutex_lock(&qp->mutex);
	rc = tcpzc_modify_locked(qp, attr, &eng_attr, mask);
	mutex_unlock(&qp->mutex);
	return rc;
}

int tcpzc_query_qp(struct ib_qp *ibqp, struct ib_qp_attr *attr, int mask,
		   struct ib_qp_init_attr *init)
{
	struct tcpzc_qp *qp = to_tqp(ibqp);
	struct tz_qp_attr eng_attr;

	mutex_lock(&qp->mutex);
	attr->ah_attr = qp->attr.ah_attr;
	spin_lock_bh(&qp->lock);
	tz_attr_query(&qp->eng, &eng_attr);
	spin_unlock_bh(&qp->lock);
	mutex_unlock(&qp->mutex);
	tz_attr_to(attr, &eng_attr);
	tcpzc_qp_get_caps(qp, &attr->cap);
	init->send_cq = ibqp->send_cq;
	init->recv_cq = ibqp->recv_cq;
	init->srq = ibqp->srq;
	init->cap = attr->cap;
	init->qp_type = ibqp->qp_type;
	init->sq_sig_type = tz_qp_made(&qp->eng)->sq_sig_all ? IB_SIGNAL_ALL_WR :
						      IB_SIGNAL_REQ_WR;
	return 0;
}

/* ---- the device goes ---------------------------------------------------- */

static void tcpzc_qp_part(struct tcpzc_qp *qp)
{
	mutex_lock(&qp->mutex);
	tcpzc_conn_part(qp);
	mutex_unlock(&qp->mutex);
}

static void tcpzc_qp_abandon(struct tcpzc_qp *qp, u64 until)
{
	mutex_lock(&qp->mutex);
	tcpzc_conn_close(qp, tcpzc_engine_abandon, until);
	mutex_unlock(&qp->mutex);
}

/* They wait for their peers together. */
void tcpzc_qps_abandon(struct tcpzc_dev *dev)
{
	struct tcpzc_qp *qp;
	unsigned long qpn;
	u64 until;

	down_read(&dev->qps_sem);
	xa_for_each(&dev->qps, qpn, qp)
		if (!qp->kernel)
			tcpzc_qp_part(qp);
	until = ktime_get_ns() + TZ_DIAL_PART_NS;
	xa_for_each(&dev->qps, qpn, qp)
		if (!qp->kernel)
			tcpzc_qp_abandon(qp, until);
	up_read(&dev->qps_sem);
}

/* ---- destroy ------------------------------------------------------------ */

/*
 * A process that exits destroys its objects one after the other: all of them have the
 * time of one, and each a little.
 */
u64 tcpzc_part_until(const struct ib_pd *ibpd)
{
	u64 now = ktime_get_ns(), until = now + TZ_DIAL_PART_NS;
	struct tcpzc_ucontext *ctx;

	if (!(current->flags & PF_EXITING) || !ibpd->uobject)
		return until;
	ctx = to_tucontext(ibpd->uobject->context);
	if (!ctx->part_until)
		ctx->part_until = until;
	return max(ctx->part_until, now + TCPZC_PART_MIN_NS);
}

int tcpzc_destroy_qp(struct ib_qp *ibqp, struct ib_udata *udata)
{
	struct tcpzc_qp *qp = to_tqp(ibqp);
	u64 until;

	/* From now on no connection finds it. */
	tcpzc_qp_put(qp);
	wait_for_completion(&qp->released);

	until = tcpzc_part_until(ibqp->pd);
	mutex_lock(&qp->mutex);
	tcpzc_io_catch_up(qp);
	tcpzc_conn_close(qp, tcpzc_engine_end, until);
	mutex_unlock(&qp->mutex);
	tcpzc_refs_wait(qp->dev, NULL, qp, until);
	tcpzc_io_exit(qp);
	tcpzc_conn_exit(qp);
	tcpzc_ud_stop(qp);

	tcpzc_stats_gone(qp);
	tcpzc_qpn_release(qp->dev, tz_qp_num(&qp->eng));
	tcpzc_ibqp_set(ibqp, NULL);
	tcpzc_qp_free_mem(qp);
	return 0;
}
