// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * ub_cq.c - completion queues of the user backend: producing completions,
 * events, and driving queue pairs from the thread that polls.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "../ring.h"
#include "ub.h"

/* Up to so many QPs a poll asks each socket; beyond, an epoll set. */
#define UB_DIRECT_QPS		2u
/* Empty polls after which a queue counts as busily polled. */
#define UB_CLAIM_AFTER		64u
#define UB_CLAIM_AFTER_MAX	(1u << 16)
/* A claim that lasts so many ticks was right. */
#define UB_CLAIM_TICKS		16u
/* Ticks without a poll after which a claim ends. */
#define UB_IDLE_TICKS		2u
#define UB_EPOLL_EVENTS		32

/* ---- ring --------------------------------------------------------------- */

static int ub_cq_alloc_ring(struct tcpzc_ring *ring, u32 depth)
{
	void *hdr, *slots;

	if (posix_memalign(&hdr, 64, sizeof(struct tcpzc_ring_hdr)))
		return ENOMEM;
	if (posix_memalign(&slots, 64, (size_t)depth * sizeof(struct tcpzc_cqe))) {
		free(hdr);
		return ENOMEM;
	}
	memset(hdr, 0, sizeof(struct tcpzc_ring_hdr));
	ring->hdr = hdr;
	ring->slots = slots;
	ring->depth = depth;
	ring->stride = sizeof(struct tcpzc_cqe);
	ring->prod = 0;
	ring->cons = 0;
	return 0;
}

struct tcpzc_cq *ub_create_cq(struct tcpzc_context *base, uint32_t depth,
			      struct ibv_comp_channel *channel, int comp_vector)
{
	struct ub_context *ctx = to_uctx(base);
	struct ub_cq *cq;
	int err = ENOMEM;

	(void)comp_vector;
	if (!ub_take(&ctx->num_cqs, UB_MAX_CQS))
		return NULL;
	cq = calloc(1, sizeof(*cq));
	if (!cq)
		goto err_out;
	err = EIO;
	if (ub_forked(ctx))
		goto err_free;
	err = ub_cq_alloc_ring(&cq->base.ring, depth);
	if (err)
		goto err_free;
	if (channel) {
		err = ub_event_get_channel(ctx, cq, channel);
		if (err)
			goto err_ring;
	}
	pthread_mutex_init(&cq->push_lock, NULL);
	pthread_mutex_init(&cq->drive_lock, NULL);
	list_head_init(&cq->qps);
	cq->epfd = -1;
	cq->claim_after = UB_CLAIM_AFTER;
	pthread_mutex_lock(&ctx->lock);
	list_add_tail(&ctx->cqs, &cq->node);
	pthread_mutex_unlock(&ctx->lock);
	return &cq->base;

err_ring:
	free(cq->base.ring.hdr);
	free(cq->base.ring.slots);
err_free:
	free(cq);
err_out:
	ub_give(&ctx->num_cqs);
	errno = err;
	return NULL;
}

int ub_resize_cq(struct tcpzc_cq *base, uint32_t depth)
{
	struct ub_cq *cq = (struct ub_cq *)base;
	struct tcpzc_ring *ring = &cq->base.ring, bigger;
	u32 n = 0, unseen;
	bool polled;
	int err;

	err = ub_cq_alloc_ring(&bigger, depth);
	if (err)
		return err;
	pthread_mutex_lock(&cq->push_lock);
	unseen = cq->prod - cq->event_prod;
	polled = ring->cons != cq->event_cons;
	if (cq->prod - ring->cons > depth) {
		pthread_mutex_unlock(&cq->push_lock);
		free(bigger.hdr);
		free(bigger.slots);
		return EINVAL;
	}
	for (; ring->cons != cq->prod; ring->cons++, n++)
		memcpy(bigger.slots + (size_t)n * bigger.stride,
		       ring->slots + (size_t)(ring->cons & (ring->depth - 1)) *
				     ring->stride, ring->stride);
	free(ring->hdr);
	free(ring->slots);
	*ring = bigger;
	ring->prod = n;
	cq->prod = n;
	cq->event_prod = n - unseen;
	cq->event_cons = ring->cons - polled;
	tz_store_release(&ring->hdr->prod, n);
	pthread_mutex_unlock(&cq->push_lock);
	return 0;
}

/* A completion that finds no room is lost: so is the queue (IB 11.6.3.1). */
static void ub_cq_overrun(struct ub_cq *cq)
{
	if (cq->overrun)
		return;
	cq->overrun = true;
	ub_event_async(ub_ctx_of(cq->base.vcq.cq.context), &cq->base.vcq.cq,
		       &cq->async_reported, IBV_EVENT_CQ_ERR);
}

static bool ub_cqe_solicited(const struct tcpzc_cqe *cqe)
{
	return (cqe->flags & TCPZC_CQE_F_SOLICITED) || cqe->status;
}

/* It tells of what is in the ring now. push_lock is held. */
static void ub_cq_event(struct ub_cq *cq)
{
	cq->armed = UB_ARM_NONE;
	cq->event_prod = cq->prod;
	cq->event_cons = tz_load_acquire(&cq->base.ring.hdr->cons);
	ub_event_comp(cq);
}

void ub_cq_push(struct ub_cq *cq, const struct tcpzc_cqe *cqe)
{
	struct tcpzc_ring *ring = &cq->base.ring;

	pthread_mutex_lock(&cq->push_lock);
	if (cq->prod - tz_load_acquire(&ring->hdr->cons) >= ring->depth) {
		ub_cq_overrun(cq);
	} else {
		memcpy(ring->slots + (size_t)(cq->prod & (ring->depth - 1)) *
				     sizeof(*cqe), cqe, sizeof(*cqe));
		tz_store_release(&ring->hdr->prod, ++cq->prod);
		if (cq->armed == UB_ARM_ANY ||
		    (cq->armed == UB_ARM_SOLICITED && ub_cqe_solicited(cqe)))
			ub_cq_event(cq);
	}
	pthread_mutex_unlock(&cq->push_lock);
}

/* ---- claiming ----------------------------------------------------------- */

static void ub_cq_rewatch(struct ub_cq *cq, u32 add)
{
	struct ub_cqlink *link;

	list_for_each(&cq->qps, link, node) {
		ub_turn_lock(link->qp);
		atomic_fetch_add(&link->qp->claims, add);
		ub_watch(link->qp);
		ub_turn_unlock(link->qp);
	}
}

/* The calling thread polls busily: it will look after the sockets. */
static void ub_cq_claim(struct ub_context *ctx, struct ub_cq *cq)
{
	pthread_mutex_lock(&ctx->lock);
	pthread_mutex_lock(&cq->drive_lock);
	if (!atomic_load(&cq->polled) && cq->num_qps) {
		if (cq->num_qps > UB_DIRECT_QPS)
			cq->epfd = epoll_create1(EPOLL_CLOEXEC);
		if (cq->num_qps <= UB_DIRECT_QPS || cq->epfd >= 0) {
			atomic_store(&cq->polled, true);
			cq->ticks = 0;
			cq->idle_ticks = 0;
			if (pthread_getcpuclockid(pthread_self(),
						  &cq->poller_clock))
				cq->poller_clock = CLOCK_MONOTONIC;
			cq->poller_ns = ub_clock(cq->poller_clock);
			cq->seen_polls = atomic_load(&cq->polls) - 1;
			list_add_tail(&ctx->polled, &cq->polled_node);
			ub_cq_rewatch(cq, 1);
			if (!atomic_fetch_add(&ctx->num_polled, 1))
				ub_progress_wake(ctx);
		}
	}
	pthread_mutex_unlock(&cq->drive_lock);
	pthread_mutex_unlock(&ctx->lock);
}

/* Give the sockets back to the progress thread. Both locks are held. */
static void ub_cq_release(struct ub_context *ctx, struct ub_cq *cq)
{
	if (!atomic_load(&cq->polled))
		return;
	atomic_store(&cq->polled, false);
	list_del(&cq->polled_node);
	atomic_fetch_sub(&ctx->num_polled, 1);
	ub_cq_rewatch(cq, -1);
	if (cq->epfd >= 0)
		close(cq->epfd);
	cq->epfd = -1;
	cq->spin = 0;
}

/*
 * The polling has stopped. If the thread has been running meanwhile, it spins
 * on something else, its memory perhaps, and waits for what nobody receives:
 * then claims come rarer. If it slept or was preempted, the claim was right.
 */
static void ub_cq_unclaim(struct ub_context *ctx, struct ub_cq *cq)
{
	u64 ran = ub_clock(cq->poller_clock) - cq->poller_ns;

	if (ran >= UB_TICK_NS && cq->ticks < UB_CLAIM_TICKS &&
	    cq->claim_after < UB_CLAIM_AFTER_MAX)
		atomic_store(&cq->claim_after, 4 * cq->claim_after);
	ub_cq_release(ctx, cq);
}

/*
 * Was the queue polled since the last look? A driver at work (it holds the
 * lock) counts, however long its turn takes.
 */
static void ub_cq_tick_one(struct ub_context *ctx, struct ub_cq *cq)
{
	u32 polls = atomic_load(&cq->polls);

	if (pthread_mutex_trylock(&cq->drive_lock))
		return;
	cq->ticks++;
	if (polls != cq->seen_polls) {
		cq->seen_polls = polls;
		cq->idle_ticks = 0;
		cq->poller_ns = ub_clock(cq->poller_clock);
		if (cq->ticks == UB_CLAIM_TICKS)
			cq->claim_after = UB_CLAIM_AFTER;
	} else if (++cq->idle_ticks == UB_IDLE_TICKS) {
		ub_cq_unclaim(ctx, cq);
	}
	pthread_mutex_unlock(&cq->drive_lock);
}

void ub_cq_tick(struct ub_context *ctx)
{
	struct ub_cq *cq, *next;

	list_for_each_safe(&ctx->polled, cq, next, polled_node)
		ub_cq_tick_one(ctx, cq);
}

void ub_cq_attach(struct ub_cq *cq, struct ub_qp *qp, struct ub_cqlink *link)
{
	link->qp = qp;
	pthread_mutex_lock(&cq->drive_lock);
	ub_cq_release(qp->ctx, cq);
	list_add_tail(&cq->qps, &link->node);
	cq->num_qps++;
	pthread_mutex_unlock(&cq->drive_lock);
}

static void ub_cq_send_dirty(struct ub_cq *cq, u64 now);

void ub_cq_detach(struct ub_cq *cq, struct ub_qp *qp, struct ub_cqlink *link)
{
	pthread_mutex_lock(&cq->drive_lock);
	ub_cq_release(qp->ctx, cq);
	ub_cq_send_dirty(cq, ub_now());
	list_del(&link->node);
	cq->num_qps--;
	pthread_mutex_unlock(&cq->drive_lock);
}

/*
 * Is there a completion that was not polled, and that no event has told of? One
 * that was there at the last event counts again when something was polled since:
 * the program has seen that event, and has left the rest. Both sides of the ring
 * are locked.
 */
static bool ub_cq_unseen(const struct ub_cq *cq, bool solicited_only)
{
	const struct tcpzc_ring *ring = &cq->base.ring;
	u32 n = cq->prod - ring->cons, i;

	if (ring->cons == cq->event_cons)
		n = tz_min(n, cq->prod - cq->event_prod);
	if (!solicited_only)
		return n;
	for (i = cq->prod; n; i--, n--)
		if (ub_cqe_solicited(tcpzc_ring_slot(ring, i - 1)))
			return true;
	return false;
}

/*
 * What came after the last poll and before this raises the event at once, as with
 * adapters: nothing else may ever come. Programs that fetch an event, arm, and poll
 * then, once for each event (perftest), get none for what they know of.
 */
static void ub_cq_arm(struct ub_cq *cq, bool solicited_only)
{
	if (ub_cq_unseen(cq, solicited_only))
		ub_cq_event(cq);
	else if (!solicited_only)
		cq->armed = UB_ARM_ANY;
	else if (cq->armed == UB_ARM_NONE)
		cq->armed = UB_ARM_SOLICITED;
}

int ub_arm_cq(struct tcpzc_cq *base, bool solicited_only)
{
	struct ub_cq *cq = (struct ub_cq *)base;
	struct ub_context *ctx = ub_ctx_of(base->vcq.cq.context);
	bool locked;

	if (ub_forked(ctx))
		return 0;
	locked = tcpzc_cq_lock(base);
	pthread_mutex_lock(&cq->push_lock);
	ub_cq_arm(cq, solicited_only);
	pthread_mutex_unlock(&cq->push_lock);
	tcpzc_cq_unlock(base, locked);
	cq->spin = 0;
	if (atomic_load(&cq->polled)) {
		pthread_mutex_lock(&ctx->lock);
		pthread_mutex_lock(&cq->drive_lock);
		ub_cq_release(ctx, cq);
		pthread_mutex_unlock(&cq->drive_lock);
		pthread_mutex_unlock(&ctx->lock);
	}
	return 0;
}

/* ---- driving ------------------------------------------------------------ */

void ub_cq_mark_dirty(struct ub_qp *qp)
{
	struct ub_cq *cq = (struct ub_cq *)to_tcq(qp->base.vqp.qp.send_cq);
	struct ub_qp *head;

	if (atomic_load(&qp->dirty) || atomic_exchange(&qp->dirty, true))
		return;
	head = atomic_load_explicit(&cq->dirty, memory_order_relaxed);
	do
		qp->dirty_next = head;
	while (!atomic_compare_exchange_weak(&cq->dirty, &head, qp));
}

/* Send what was held back. drive_lock is held, which keeps the QPs alive. */
static void ub_cq_send_dirty(struct ub_cq *cq, u64 now)
{
	struct ub_qp *qp, *next;

	if (!atomic_load_explicit(&cq->dirty, memory_order_relaxed))
		return;
	for (qp = atomic_exchange(&cq->dirty, NULL); qp; qp = next) {
		next = qp->dirty_next;
		atomic_store(&qp->dirty, false);
		if (ub_turn_try_or_note(qp)) {
			ub_run_tx(qp, now);
			ub_turn_unlock(qp);
		}
	}
}

static void ub_cq_drive_qp(struct ub_qp *qp, u64 now)
{
	if (!ub_turn_try(qp))
		return;
	ub_run_polled(qp, now);
	ub_turn_unlock(qp);
}

static void ub_cq_drive_ready(struct ub_cq *cq, u64 now)
{
	struct epoll_event ev[UB_EPOLL_EVENTS];
	int n, i;

	n = epoll_wait(cq->epfd, ev, UB_EPOLL_EVENTS, 0);
	for (i = 0; i < n; i++)
		ub_conn_event(ev[i].data.ptr, ev[i].events, now);
}

/*
 * The ring is empty. One thread at a time makes progress for the queue's QPs;
 * others that poll the same queue find their completions in the ring.
 */
void ub_drive_cq(struct tcpzc_cq *base)
{
	struct ub_cq *cq = (struct ub_cq *)base;
	struct ub_context *ctx = ub_ctx_of(base->vcq.cq.context);
	struct ub_cqlink *link;
	u64 now;

	if (ub_forked(ctx))
		return;
	ub_bump(&cq->polls);
	ub_bump(&ctx->verbs_calls);
	if (!atomic_load_explicit(&cq->polled, memory_order_relaxed) &&
	    atomic_fetch_add_explicit(&cq->spin, 1, memory_order_relaxed) >=
	    cq->claim_after && cq->armed == UB_ARM_NONE)
		ub_cq_claim(ctx, cq);
	if (pthread_mutex_trylock(&cq->drive_lock))
		return;
	now = ub_now();
	ub_cq_send_dirty(cq, now);
	if (cq->epfd >= 0)
		ub_cq_drive_ready(cq, now);
	else if (cq->num_qps <= UB_DIRECT_QPS)
		list_for_each(&cq->qps, link, node)
			ub_cq_drive_qp(link->qp, now);
	pthread_mutex_unlock(&cq->drive_lock);
}

int ub_destroy_cq(struct tcpzc_cq *base)
{
	struct ub_cq *cq = (struct ub_cq *)base;
	struct ibv_cq *ibcq = &base->vcq.cq;
	struct ub_context *ctx = ub_ctx_of(ibcq->context);

	pthread_mutex_lock(&ctx->lock);
	list_del(&cq->node);
	pthread_mutex_unlock(&ctx->lock);
	if (!ub_forked(ctx)) {
		ub_event_purge_comp(cq);
		ub_event_wait_acked(&ibcq->mutex, &ibcq->cond,
				    &ibcq->comp_events_completed,
				    cq->events_reported);
		ub_event_purge_async(ctx, ibcq, &cq->async_reported);
		ub_event_wait_acked(&ibcq->mutex, &ibcq->cond,
				    &ibcq->async_events_completed,
				    cq->async_reported);
	}
	ub_event_put_channel(ctx, cq);
	pthread_mutex_destroy(&cq->push_lock);
	pthread_mutex_destroy(&cq->drive_lock);
	free(base->ring.hdr);
	free(base->ring.slots);
	free(cq);
	ub_give(&ctx->num_cqs);
	return 0;
}
