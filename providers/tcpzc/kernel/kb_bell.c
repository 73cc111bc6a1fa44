// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * kb_bell.c - when a doorbell is rung.
 *
 * A doorbell is a system call, in which the kernel sends what was posted. While
 * TCPZC_RING_NEED_WAKEUP is clear the kernel looks at the ring by itself, with
 * the next acknowledgement and after a millisecond at the latest; so a post may
 * be left to it, or wait for others in order to be sent with them. But one that
 * somebody waits for must not be late. Hence a post is rung for at once
 *
 *  - if the kernel asks for it;
 *  - if one of the QP's completion queues is armed: the application may sleep
 *    until something happens, and polls no more;
 *  - if the application has waited since the last doorbell, that is, has polled
 *    one of the completion queues in vain, or armed it;
 *  - if it has seen the end of all that was posted before without waiting, for
 *    then it plays ping-pong;
 *  - if enough has gathered.
 *
 * But not while the connection is full (TCPZC_RING_BACKLOG): then the kernel looks
 * at the ring when there is room, and nothing could be sent sooner.
 *
 * Otherwise it is held back: until one of those is the case for the next post,
 * or the application waits on one of the completion queues, which rings for all
 * QPs that hold something back.
 */
#include <errno.h>

#include "kb.h"

/* What is enough: work requests, bytes. */
#define KB_HOLD_WRS		64u
#define KB_HOLD_BYTES		(8u << 20)

void kb_bell_init_cq(struct kb_cq *cq)
{
	pthread_mutex_init(&cq->held_lock, NULL);
}

void kb_bell_init_qp(struct kb_qp *qp, const struct ibv_qp_init_attr *attr)
{
	uint32_t i;

	qp->cq[KB_SEND] = (struct kb_cq *)to_tcq(attr->send_cq);
	if (attr->recv_cq != attr->send_cq)
		qp->cq[KB_RECV] = (struct kb_cq *)to_tcq(attr->recv_cq);
	for (i = 0; i < KB_CQS; i++)
		qp->held[i].qp = qp;
	qp->posted = qp->base.sq.prod;
	qp->rung = qp->base.sq.prod;
}

/* ---- ringing ------------------------------------------------------------ */

static struct tcpzc_ring_hdr *kb_cq_hdr(struct kb_cq *cq)
{
	return atomic_load_explicit(&cq->hdr, memory_order_acquire);
}

/* Ring for all up to @prod, and remember what the application had seen. */
static void kb_bell(struct kb_qp *qp, uint32_t prod)
{
	struct ibv_qp *ib = &qp->base.vqp.qp;
	uint32_t i;

	atomic_store_explicit(&qp->rung, prod, memory_order_relaxed);
	for (i = 0; i < KB_CQS && qp->cq[i]; i++) {
		atomic_store_explicit(&qp->waits[i], atomic_load(&qp->cq[i]->waits),
				      memory_order_relaxed);
		atomic_store_explicit(&qp->polled[i],
				      tz_load_once(&kb_cq_hdr(qp->cq[i])->cons),
				      memory_order_relaxed);
	}
	kb_door_ring(ib->context, KB_DOOR_SQ, ib->handle);
}

/* The index up to which the kernel knows what was posted. */
static uint32_t kb_known(const struct kb_qp *qp)
{
	uint32_t rung = atomic_load_explicit(&qp->rung, memory_order_relaxed);
	uint32_t seen = tz_load_once(&qp->base.sq.hdr->seen);

	return (int32_t)(seen - rung) > 0 ? seen : rung;
}

static uint32_t kb_flags(const struct kb_qp *qp)
{
	return tz_load_once(&qp->base.sq.hdr->flags);
}

static void kb_bell_if_needed(struct kb_qp *qp)
{
	uint32_t prod = tz_load_acquire(&qp->base.sq.hdr->prod);

	if (prod != kb_known(qp) && !(kb_flags(qp) & TCPZC_RING_BACKLOG))
		kb_bell(qp, prod);
}

/* ---- holding back ------------------------------------------------------- */

/* Bytes of the send work request at @idx. */
static uint64_t kb_posted_bytes(const struct kb_qp *qp, uint32_t idx)
{
	const struct tcpzc_ring *sq = &qp->base.sq;
	const struct tcpzc_send_wqe *w = (const void *)
		(sq->slots + (size_t)(idx & (sq->depth - 1)) * sq->stride);
	const struct tcpzc_sge *sge = (const void *)(w + 1);
	uint64_t bytes = 0;
	uint32_t i;

	if (w->flags & TCPZC_WQE_F_INLINE)
		return w->inline_len;
	for (i = 0; i < w->num_sge; i++)
		bytes += sge[i].length;
	return bytes;
}

static bool kb_enough(const struct kb_qp *qp, uint32_t prod)
{
	uint32_t wrs = prod - kb_known(qp);

	if (wrs >= KB_HOLD_WRS)
		return true;
	/* Those that gather are mostly alike. */
	return kb_posted_bytes(qp, prod - 1) * wrs >= KB_HOLD_BYTES;
}

static bool kb_armed(const struct kb_qp *qp)
{
	uint32_t i;

	for (i = 0; i < KB_CQS && qp->cq[i]; i++)
		if (tz_load_once(&kb_cq_hdr(qp->cq[i])->arm) != TCPZC_ARM_NONE)
			return true;
	return false;
}

static bool kb_has_waited(const struct kb_qp *qp)
{
	uint32_t i;

	for (i = 0; i < KB_CQS && qp->cq[i]; i++)
		if (atomic_load_explicit(&qp->cq[i]->waits,
					 memory_order_relaxed) !=
		    atomic_load_explicit(&qp->waits[i], memory_order_relaxed))
			return true;
	return false;
}

/*
 * Is all complete that was posted before @first, and all completions polled,
 * some of them since the last doorbell?
 */
static bool kb_has_caught_up(const struct kb_qp *qp, uint32_t first)
{
	const struct tcpzc_ring_hdr *hdr;
	uint32_t i, cons;

	if (tz_load_acquire(&qp->base.sq.hdr->cons) != first)
		return false;
	for (i = 0; i < KB_CQS && qp->cq[i]; i++) {
		hdr = kb_cq_hdr(qp->cq[i]);
		cons = tz_load_once(&hdr->cons);
		if (cons == tz_load_once(&hdr->prod) &&
		    cons != atomic_load_explicit(&qp->polled[i],
						 memory_order_relaxed))
			return true;
	}
	return false;
}

/* Put @qp on the lists of those that hold something back. */
static void kb_hold(struct kb_qp *qp)
{
	struct kb_held *held, *head;
	uint32_t i;

	for (i = 0; i < KB_CQS && qp->cq[i]; i++) {
		held = &qp->held[i];
		if (atomic_load(&held->listed) ||
		    atomic_exchange(&held->listed, true))
			continue;
		head = atomic_load_explicit(&qp->cq[i]->held,
					    memory_order_relaxed);
		do
			held->next = head;
		while (!atomic_compare_exchange_weak(&qp->cq[i]->held, &head,
						     held));
	}
}

void kb_ring_sq(struct tcpzc_qp *base)
{
	struct kb_qp *qp = (struct kb_qp *)base;
	uint32_t prod, first, flags;

	if (kb_forked(base->vqp.qp.context))
		return;
	prod = tz_load_acquire(&base->sq.hdr->prod);
	first = atomic_exchange_explicit(&qp->posted, prod,
					 memory_order_relaxed);
	/* Between publishing, and reading the flag and what is armed. */
	kb_full_barrier();
	flags = kb_flags(qp);
	if (flags & TCPZC_RING_BACKLOG)
		return;
	if ((flags & TCPZC_RING_NEED_WAKEUP) ||
	    kb_has_waited(qp) || kb_armed(qp) || kb_enough(qp, prod) ||
	    kb_has_caught_up(qp, first)) {
		kb_bell(qp, prod);
		return;
	}
	kb_hold(qp);
	/* Was one armed meanwhile, by somebody who did not see this one held? */
	kb_full_barrier();
	if (kb_armed(qp))
		kb_bell_if_needed(qp);
}

/* ---- who waits ---------------------------------------------------------- */

/* Ring for the QPs of @list. held_lock is held, which keeps them alive. */
static void kb_bell_held(struct kb_held *list)
{
	struct kb_held *held, *next;

	for (held = list; held; held = next) {
		next = held->next;
		/* From here on it may be listed again. */
		atomic_store(&held->listed, false);
		kb_bell_if_needed(held->qp);
	}
}

void kb_bell_wait(struct kb_cq *cq, bool all)
{
	uint32_t waits = atomic_load_explicit(&cq->waits, memory_order_relaxed);

	/* Only that it changes matters; one lost between threads does not. */
	atomic_store_explicit(&cq->waits, waits + 1, memory_order_relaxed);
	if (!atomic_load_explicit(&cq->held, memory_order_relaxed))
		return;
	if (all)
		pthread_mutex_lock(&cq->held_lock);
	else if (pthread_mutex_trylock(&cq->held_lock))
		return;	/* another thread is ringing for them */
	kb_bell_held(atomic_exchange(&cq->held, NULL));
	pthread_mutex_unlock(&cq->held_lock);
}

/* Rings for all, since it is a list that cannot be taken out of in the middle. */
void kb_bell_forget_qp(struct kb_qp *qp)
{
	uint32_t i;

	for (i = 0; i < KB_CQS && qp->cq[i]; i++) {
		pthread_mutex_lock(&qp->cq[i]->held_lock);
		kb_bell_held(atomic_exchange(&qp->cq[i]->held, NULL));
		pthread_mutex_unlock(&qp->cq[i]->held_lock);
	}
}

/* ---- receive queues ----------------------------------------------------- */

static bool kb_wants_receives(const struct tcpzc_ring *ring)
{
	/* Between publishing and reading the flag. */
	kb_full_barrier();
	return tz_load_once(&ring->hdr->flags) & TCPZC_RING_NEED_WAKEUP;
}

void kb_ring_rq(struct tcpzc_qp *qp)
{
	struct ibv_qp *ib = &qp->vqp.qp;

	if (!kb_forked(ib->context) && kb_wants_receives(&qp->rq))
		kb_door_ring(ib->context, KB_DOOR_RQ, ib->handle);
}

void kb_ring_srq(struct tcpzc_srq *srq)
{
	struct ibv_srq *ib = &srq->ibsrq;
	bool wanted;

	if (kb_forked(ib->context))
		return;
	/* Not while the ring is being replaced. */
	pthread_mutex_lock(&srq->lock);
	wanted = kb_wants_receives(&srq->ring);
	pthread_mutex_unlock(&srq->lock);
	if (wanted)
		kb_door_ring(ib->context, KB_DOOR_SRQ, ib->handle);
}
