// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * cq.c - completion queues: a ring that the application reads. It polls without
 * a system call, and arms the queue by a store; see enum tcpzc_arm.
 */
#include <linux/log2.h>
#include <rdma/uverbs_ioctl.h>

#include "tcpzc.h"

/* ---- producing ---------------------------------------------------------- */

/* A completion that finds no room is lost: so is the queue (IB 11.6.3.1). */
static void tcpzc_cq_overrun(struct tcpzc_cq *cq)
{
	struct ib_event event = {
		.device = cq->ib.device,
		.element.cq = &cq->ib,
		.event = IB_EVENT_CQ_ERR,
	};

	tcpzc_count(cq->dev, TCPZC_CNT_CQ_OVERRUNS, 1);
	if (cq->overrun)
		return;
	cq->overrun = true;
	if (cq->ib.event_handler)
		cq->ib.event_handler(&event, cq->ib.cq_context);
}

/* Entries before @idx and not before @from, as far as the ring goes back. */
static u32 tcpzc_cq_since(const struct tcpzc_cq *cq, u32 idx, u32 from)
{
	u32 depth = cq->ring->depth;
	u32 back = min(cq->prod - from, depth), behind = cq->prod - idx;

	return behind < back ? back - behind : 0;
}

/* Raise the event if an entry at or behind @from is one that was armed for. */
static void tcpzc_cq_notify(struct tcpzc_cq *cq, u32 from)
{
	u32 *arm = &cq->ring->hdr->arm, was = READ_ONCE(*arm);

	lockdep_assert_held(&cq->lock);
	if (was != TCPZC_ARM_ANY && was != TCPZC_ARM_SOLICITED)
		return;
	if (!tcpzc_cq_since(cq, was == TCPZC_ARM_ANY ? cq->prod : cq->solicited,
			    from))
		return;
	if (xchg(arm, TCPZC_ARM_NONE) == TCPZC_ARM_NONE)
		return;
	cq->notified = cq->prod;
	WRITE_ONCE(cq->ring->hdr->seen, cq->notified);
	/* Within the lock: destruction comes after the last completion. */
	if (cq->ib.comp_handler)
		cq->ib.comp_handler(&cq->ib, cq->ib.cq_context);
}

/* Indices of entries that nobody can see any more do not come back. */
static void tcpzc_cq_count(struct tcpzc_cq *cq, const struct tcpzc_cqe *cqe)
{
	u32 depth = cq->ring->depth;

	cq->prod++;
	if ((cqe->flags & TCPZC_CQE_F_SOLICITED) || cqe->status)
		cq->solicited = cq->prod;
	if (cq->prod - cq->solicited > depth)
		cq->solicited = cq->prod - depth;
	if (cq->prod - cq->notified > depth)
		cq->notified = cq->prod - depth;
}

void tcpzc_cq_push(struct tcpzc_cq *cq, const struct tcpzc_cqe *cqe)
{
	struct tcpzc_uring *ring;

	spin_lock_bh(&cq->lock);
	ring = cq->ring;
	/* Pairs with the application's release after it has read the slot. */
	if (cq->prod - smp_load_acquire(&ring->hdr->cons) >= ring->depth) {
		tcpzc_cq_overrun(cq);
	} else {
		memcpy(tcpzc_uring_slot(ring, cq->prod), cqe, sizeof(*cqe));
		tcpzc_cq_count(cq, cqe);
		/* Pairs with its acquire before it reads the slot. */
		smp_store_release(&ring->hdr->prod, cq->prod);
		/* Pairs with its barrier between arming and another look. */
		smp_mb();
		tcpzc_cq_notify(cq, cq->prod - 1);
	}
	spin_unlock_bh(&cq->lock);
}

bool tcpzc_cq_armed(struct tcpzc_cq *cq)
{
	bool armed;

	spin_lock_bh(&cq->lock);
	armed = READ_ONCE(cq->ring->hdr->arm) != TCPZC_ARM_NONE;
	spin_unlock_bh(&cq->lock);
	return armed;
}

/* ---- creation, destruction ---------------------------------------------- */

/* A power of two greater than @cqe: one entry more than was asked for. */
static u32 tcpzc_cq_depth(u32 cqe)
{
	return roundup_pow_of_two(cqe + 1);
}

int tcpzc_create_cq(struct ib_cq *ibcq, const struct ib_cq_init_attr *attr,
		    struct uverbs_attr_bundle *attrs)
{
	struct ib_udata *udata = attrs ? &attrs->driver_udata : NULL;
	struct tcpzc_cq *cq = to_tcq(ibcq);
	struct tcpzc_uresp_cq resp = {};
	int rc = 0;

	if (attr->flags)
		return -EOPNOTSUPP;
	if (!attr->cqe || attr->cqe > TCPZC_MAX_CQE)
		return -EINVAL;
	cq->dev = to_tdev(ibcq->device);
	if (!tcpzc_take(&cq->dev->num_cqs, TCPZC_MAX_CQ))
		return -ENOMEM;
	spin_lock_init(&cq->lock);
	spin_lock_init(&cq->poll_lock);
	cq->ring = tcpzc_uring_alloc(udata, tcpzc_cq_depth(attr->cqe),
				     sizeof(struct tcpzc_cqe));
	if (IS_ERR(cq->ring)) {
		atomic_dec(&cq->dev->num_cqs);
		return PTR_ERR(cq->ring);
	}
	ibcq->cqe = cq->ring->depth - 1;
	if (udata) {
		tcpzc_uring_desc(cq->ring, &resp.ring);
		rc = tcpzc_respond(udata, &resp, sizeof(resp));
	}
	if (rc) {
		tcpzc_uring_free(cq->ring);
		atomic_dec(&cq->dev->num_cqs);
	}
	return rc;
}

int tcpzc_destroy_cq(struct ib_cq *ibcq, struct ib_udata *udata)
{
	struct tcpzc_cq *cq = to_tcq(ibcq);
	struct tcpzc_uring *ring = cq->ring;

	/* `rdma resource` may look at it to the end. */
	spin_lock_bh(&cq->lock);
	cq->ring = NULL;
	spin_unlock_bh(&cq->lock);
	tcpzc_uring_free(ring);
	atomic_dec(&cq->dev->num_cqs);
	return 0;
}

/* ---- resizing ----------------------------------------------------------- */

/*
 * Move what the application has not consumed to the new ring. How much that is
 * it says itself, and need not be believed.
 */
static int tcpzc_cq_move(struct tcpzc_cq *cq, struct tcpzc_uring *to)
{
	struct tcpzc_uring *from = cq->ring;
	u32 n, i;

	lockdep_assert_held(&cq->lock);
	/* As in tcpzc_cq_push(). */
	n = cq->prod - smp_load_acquire(&from->hdr->cons);
	if (n > from->depth || n > to->depth)
		return -EINVAL;
	for (i = 0; i < n; i++)
		memcpy(tcpzc_uring_slot(to, i),
		       tcpzc_uring_slot(from, cq->prod - n + i),
		       sizeof(struct tcpzc_cqe));
	WRITE_ONCE(to->hdr->arm, READ_ONCE(from->hdr->arm));
	/* Pairs with the application's acquire before it reads the slots. */
	smp_store_release(&to->hdr->prod, n);
	cq->solicited = n - min(n, cq->prod - cq->solicited);
	cq->notified = n - min(n, cq->prod - cq->notified);
	cq->prod = n;
	cq->ring = to;
	WRITE_ONCE(to->hdr->seen, cq->notified);
	return 0;
}

int tcpzc_resize_cq(struct ib_cq *ibcq, TCPZC_RESIZE_CQE cqe,
		    struct ib_udata *udata)
{
	struct tcpzc_cq *cq = to_tcq(ibcq);
	struct tcpzc_uring *ring, *old;
	struct tcpzc_uresp_cq resp = {};
	int rc;

	if (cqe < 1 || cqe > TCPZC_MAX_CQE)
		return -EINVAL;
	if (!udata)
		return -EOPNOTSUPP;
	ring = tcpzc_uring_alloc(udata, tcpzc_cq_depth(cqe),
				 sizeof(struct tcpzc_cqe));
	if (IS_ERR(ring))
		return PTR_ERR(ring);
	tcpzc_uring_desc(ring, &resp.ring);
	rc = tcpzc_respond(udata, &resp, sizeof(resp));
	if (rc)
		goto err_free;
	spin_lock_bh(&cq->lock);
	old = cq->ring;
	rc = tcpzc_cq_move(cq, ring);
	if (!rc)
		ibcq->cqe = ring->depth - 1;
	spin_unlock_bh(&cq->lock);
	if (rc)
		goto err_free;
	tcpzc_uring_free(old);
	return 0;

err_free:
	tcpzc_uring_free(ring);
	return rc;
}

/* ---- arming ------------------------------------------------------------- */

/*
 * An application has armed the queue by itself (enum tcpzc_arm), and has seen an
 * entry that it has not polled: raise the event, unless that has happened. How
 * far it has polled it says itself, and need not be believed.
 */
static void tcpzc_cq_look(struct tcpzc_cq *cq)
{
	u32 cons;

	spin_lock_bh(&cq->lock);
	/* As in tcpzc_cq_push(). */
	cons = smp_load_acquire(&cq->ring->hdr->cons);
	if (cq->prod - cons > cq->prod - cq->notified)
		cons = cq->notified;
	tcpzc_cq_notify(cq, cons);
	spin_unlock_bh(&cq->lock);
}

/* Users in the kernel are told that they have to poll again, if they ask. */
static int tcpzc_cq_arm(struct tcpzc_cq *cq, enum ib_cq_notify_flags flags)
{
	u32 arm = (flags & IB_CQ_SOLICITED_MASK) == IB_CQ_SOLICITED ?
			  TCPZC_ARM_SOLICITED : TCPZC_ARM_ANY;
	struct tcpzc_ring_hdr *hdr;
	unsigned long irq;
	int missed = 0;

	spin_lock_irqsave(&cq->poll_lock, irq);
	hdr = cq->ring->hdr;
	/* A weaker request does not take back a stronger one. */
	if (READ_ONCE(hdr->arm) != TCPZC_ARM_ANY)
		WRITE_ONCE(hdr->arm, arm);
	/* See enum tcpzc_arm. */
	smp_mb();
	if (flags & IB_CQ_REPORT_MISSED_EVENTS)
		missed = READ_ONCE(hdr->prod) != READ_ONCE(hdr->cons);
	spin_unlock_irqrestore(&cq->poll_lock, irq);
	return missed;
}

int tcpzc_req_notify_cq(struct ib_cq *ibcq, enum ib_cq_notify_flags flags)
{
	struct tcpzc_cq *cq = to_tcq(ibcq);

	if (!ibcq->uobject)
		return tcpzc_cq_arm(cq, flags);
	tcpzc_cq_look(cq);
	return 0;
}
