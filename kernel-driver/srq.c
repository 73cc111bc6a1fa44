// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * srq.c - shared receive queues.
 */
#include <linux/log2.h>
#include <linux/uaccess.h>
#include <rdma/uverbs_ioctl.h>

#include "tcpzc.h"

static void tcpzc_srq_feed_work(struct work_struct *work)
{
	tcpzc_srq_feed(container_of(work, struct tcpzc_srq, feed_work));
}

static u32 tcpzc_srq_depth(u32 max_wr)
{
	return tz_ring_depth(max_wr);
}

static void tcpzc_srq_use_ring(struct tcpzc_srq *srq, struct tcpzc_uring *ring)
{
	srq->ring = ring;
	srq->max_wr = ring->depth;
	srq->rq.ring = tcpzc_engine_ring(ring);
	tz_rq_start(&srq->rq, 0);
}

static void tcpzc_srq_answer(const struct tcpzc_uring *ring, u32 max_sge,
			     struct tcpzc_uresp_srq *resp)
{
	memset(resp, 0, sizeof(*resp));
	tcpzc_uring_desc(ring, &resp->ring);
	resp->max_sge = max_sge;
}

int tcpzc_create_srq(struct ib_srq *ibsrq, struct ib_srq_init_attr *attr,
		     struct ib_udata *udata)
{
	u32 max_sge = max(attr->attr.max_sge, 1u);
	struct tcpzc_srq *srq = to_tsrq(ibsrq);
	struct tcpzc_uresp_srq resp;
	struct tcpzc_uring *ring;
	int rc;

	if (attr->srq_type != IB_SRQT_BASIC)
		return -EOPNOTSUPP;
	if (!attr->attr.max_wr || attr->attr.max_wr > TCPZC_MAX_SRQ_WR ||
	    max_sge > TCPZC_MAX_SGE)
		return -EINVAL;
	srq->dev = to_tdev(ibsrq->device);
	if (!tcpzc_take(&srq->dev->num_srqs, TCPZC_MAX_SRQ))
		return -ENOMEM;
	ring = tcpzc_uring_alloc(udata, tcpzc_srq_depth(attr->attr.max_wr),
				 tz_rq_stride(max_sge));
	if (IS_ERR(ring)) {
		atomic_dec(&srq->dev->num_srqs);
		return PTR_ERR(ring);
	}
	spin_lock_init(&srq->lock);
	INIT_LIST_HEAD(&srq->starving);
	spin_lock_init(&srq->post_lock);
	INIT_WORK(&srq->feed_work, tcpzc_srq_feed_work);
	srq->max_sge = max_sge;
	srq->rq.max_sge = max_sge;
	tcpzc_srq_use_ring(srq, ring);
	attr->attr.max_wr = ring->depth;
	attr->attr.max_sge = max_sge;
	if (!udata)
		return 0;
	tcpzc_srq_answer(ring, max_sge, &resp);
	rc = tcpzc_respond(udata, &resp, sizeof(resp));
	if (rc) {
		tcpzc_uring_free(ring);
		atomic_dec(&srq->dev->num_srqs);
	}
	return rc;
}

int tcpzc_destroy_srq(struct ib_srq *ibsrq, struct ib_udata *udata)
{
	struct tcpzc_srq *srq = to_tsrq(ibsrq);
	struct tcpzc_uring *ring = srq->ring;

	cancel_work_sync(&srq->feed_work);
	/* `rdma resource` may look at it to the end. */
	spin_lock_bh(&srq->lock);
	srq->ring = NULL;
	spin_unlock_bh(&srq->lock);
	tcpzc_uring_free(ring);
	atomic_dec(&srq->dev->num_srqs);
	return 0;
}

/* ---- modify, query ------------------------------------------------------ */

/* Move the posted work requests to the new ring. */
static int tcpzc_srq_move(struct tcpzc_srq *srq, struct tcpzc_uring *to)
{
	struct tcpzc_uring *from = srq->ring;
	u32 n, i;

	lockdep_assert_held(&srq->lock);
	n = tz_rq_count(&srq->rq);
	if (n > to->depth)
		return -EINVAL;
	for (i = 0; i < n; i++)
		memcpy(tcpzc_uring_slot(to, i),
		       tcpzc_uring_slot(from, srq->rq.cons + i), to->stride);
	/* Pairs with the acquire of who looks whether there are any. */
	smp_store_release(&to->hdr->prod, n);
	tcpzc_srq_use_ring(srq, to);
	/* As in the old ring; the application sees neither before we answer. */
	srq->rq.doorbell = false;
	tz_rq_want_doorbell(&srq->rq, !list_empty(&srq->starving));
	return 0;
}

static int tcpzc_srq_resize(struct tcpzc_srq *srq, u32 max_wr,
			    struct ib_udata *udata)
{
	struct tcpzc_ureq_modify_srq req;
	struct tcpzc_uring *ring, *old;
	struct tcpzc_uresp_srq resp;
	int rc;

	if (!udata)
		return -EOPNOTSUPP;
	if (udata->inlen < sizeof(req))
		return -EINVAL;
	rc = ib_copy_from_udata(&req, udata, sizeof(req));
	if (rc)
		return rc;
	ring = tcpzc_uring_alloc(udata, tcpzc_srq_depth(max_wr),
				 tz_rq_stride(srq->max_sge));
	if (IS_ERR(ring))
		return PTR_ERR(ring);
	tcpzc_srq_answer(ring, srq->max_sge, &resp);
	rc = -EFAULT;
	if (copy_to_user(u64_to_user_ptr(req.resp_addr), &resp, sizeof(resp)))
		goto err_free;
	spin_lock_bh(&srq->lock);
	old = srq->ring;
	rc = tcpzc_srq_move(srq, ring);
	spin_unlock_bh(&srq->lock);
	if (rc)
		goto err_free;
	tcpzc_uring_free(old);
	return 0;

err_free:
	tcpzc_uring_free(ring);
	return rc;
}

int tcpzc_modify_srq(struct ib_srq *ibsrq, struct ib_srq_attr *attr,
		     enum ib_srq_attr_mask mask, struct ib_udata *udata)
{
	struct tcpzc_srq *srq = to_tsrq(ibsrq);
	int rc = 0;

	if (mask & ~(IB_SRQ_MAX_WR | IB_SRQ_LIMIT))
		return -EINVAL;
	if ((mask & IB_SRQ_MAX_WR) &&
	    (!attr->max_wr || attr->max_wr > TCPZC_MAX_SRQ_WR))
		return -EINVAL;
	if (mask & IB_SRQ_MAX_WR)
		rc = tcpzc_srq_resize(srq, attr->max_wr, udata);
	if (rc || !(mask & IB_SRQ_LIMIT))
		return rc;
	spin_lock_bh(&srq->lock);
	if (attr->srq_limit > srq->max_wr)
		rc = -EINVAL;
	else
		srq->limit = attr->srq_limit;
	spin_unlock_bh(&srq->lock);
	return rc;
}

int tcpzc_query_srq(struct ib_srq *ibsrq, struct ib_srq_attr *attr)
{
	struct tcpzc_srq *srq = to_tsrq(ibsrq);

	spin_lock_bh(&srq->lock);
	attr->max_wr = srq->max_wr;
	attr->max_sge = srq->max_sge;
	attr->srq_limit = srq->limit;
	spin_unlock_bh(&srq->lock);
	return 0;
}

/* ---- what the engine asks for ------------------------------------------- */

static void tcpzc_srq_limit_event(struct tcpzc_srq *srq)
{
	struct ib_event event = {
		.device = srq->ib.device,
		.element.srq = &srq->ib,
		.event = IB_EVENT_SRQ_LIMIT_REACHED,
	};

	if (srq->ib.event_handler)
		srq->ib.event_handler(&event, srq->ib.srq_context);
}

/* The doorbell is wanted as long as a queue pair waits; srq->lock is held. */
static void tcpzc_srq_starve(struct tcpzc_srq *srq, struct tcpzc_qp *qp,
			     bool starves)
{
	lockdep_assert_held(&srq->lock);
	if (starves && list_empty(&qp->srq_node))
		list_add_tail(&qp->srq_node, &srq->starving);
	else if (!starves)
		list_del_init(&qp->srq_node);
	tz_rq_want_doorbell(&srq->rq, !list_empty(&srq->starving));
}

void tcpzc_srq_feed(struct tcpzc_srq *srq)
{
	struct tcpzc_qp *qp, *next;

	spin_lock_bh(&srq->lock);
	list_for_each_entry_safe(qp, next, &srq->starving, srq_node) {
		list_del_init(&qp->srq_node);
		tcpzc_io_kick(qp);
	}
	tz_rq_want_doorbell(&srq->rq, false);
	spin_unlock_bh(&srq->lock);
}

void tcpzc_srq_forget(struct tcpzc_qp *qp)
{
	if (!qp->srq)
		return;
	spin_lock_bh(&qp->srq->lock);
	tcpzc_srq_starve(qp->srq, qp, false);
	spin_unlock_bh(&qp->srq->lock);
}

bool tcpzc_srq_take(struct tz_qp *eng, struct tz_rwqe *out)
{
	struct tcpzc_qp *qp = tcpzc_qp_of(eng);
	struct tcpzc_srq *srq = qp->srq;
	bool low = false, got;

	spin_lock_bh(&srq->lock);
	got = tz_rq_take(&srq->rq, out);
	if (!got) {
		tcpzc_srq_starve(srq, qp, true);
		/* What was posted without having seen the flag. */
		got = tz_rq_take(&srq->rq, out);
	}
	if (got)
		tcpzc_srq_starve(srq, qp, false);
	if (srq->limit && tz_rq_count(&srq->rq) < srq->limit) {
		srq->limit = 0;
		low = true;
	}
	spin_unlock_bh(&srq->lock);
	if (low)
		tcpzc_srq_limit_event(srq);
	return got;
}
