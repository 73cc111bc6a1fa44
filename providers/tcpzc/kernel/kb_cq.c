// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * kb_cq.c - completion queues of the kernel backend.
 */
#include <errno.h>
#include <stdlib.h>

#include "kb.h"
#include "ring.h"

struct kb_create_cq_resp {
	struct ib_uverbs_create_cq_resp core;
	struct tcpzc_uresp_cq drv;
};
static_assert(sizeof(struct kb_create_cq_resp) ==
	      sizeof(struct ib_uverbs_create_cq_resp) +
	      sizeof(struct tcpzc_uresp_cq), "no padding");

struct kb_resize_cq_resp {
	struct ib_uverbs_resize_cq_resp core;
	struct tcpzc_uresp_cq drv;
};
static_assert(sizeof(struct kb_resize_cq_resp) ==
	      sizeof(struct ib_uverbs_resize_cq_resp) +
	      sizeof(struct tcpzc_uresp_cq), "no padding");

/* The header of a ring that was replaced; somebody may still read it. */
struct kb_retired {
	struct list_node node;		/* kb_cq.retired */
	struct kb_map map;
};

/*
 * The kernel makes a ring of more than the entries asked for; half the depth is
 * within the limit whatever the depth.
 */
static int kb_cqe_of(uint32_t depth)
{
	return depth / 2;
}

static int kb_map_cq(struct kb_cq *cq, const struct tcpzc_uresp_cq *resp,
		     struct kb_map *map)
{
	struct tcpzc_ring ring;
	int err;

	err = kb_map_ring(cq->base.vcq.cq.context, &resp->ring,
			  sizeof(struct tcpzc_cqe), &ring, map);
	if (err)
		return err;
	cq->base.ring = ring;
	atomic_store(&cq->hdr, ring.hdr);
	return 0;
}

struct tcpzc_cq *kb_create_cq(struct tcpzc_context *ctx, uint32_t depth,
			      struct ibv_comp_channel *channel, int comp_vector)
{
	struct kb_create_cq_resp resp = {};
	struct ibv_create_cq cmd = {};
	struct kb_cq *cq;
	int err;

	if (kb_refused(&ctx->vctx.context))
		return NULL;
	cq = calloc(1, sizeof(*cq));
	if (!cq)
		return NULL;
	err = ibv_cmd_create_cq(&ctx->vctx.context, kb_cqe_of(depth), channel,
				comp_vector, &cq->base.vcq.cq, &cmd, sizeof(cmd),
				&resp.core, sizeof(resp));
	if (err)
		goto err_free;
	err = kb_map_cq(cq, &resp.drv, &cq->map);
	if (err)
		goto err_cq;
	list_head_init(&cq->retired);
	kb_bell_init_cq(cq);
	return &cq->base;

err_cq:
	ibv_cmd_destroy_cq(&cq->base.vcq.cq);
err_free:
	free(cq);
	errno = err;
	return NULL;
}

/*
 * The kernel has moved to the new ring when it answers; if that cannot be
 * mapped the queue is lost.
 */
int kb_resize_cq(struct tcpzc_cq *base, uint32_t depth)
{
	struct kb_cq *cq = (struct kb_cq *)base;
	struct kb_resize_cq_resp resp = {};
	struct ibv_resize_cq cmd = {};
	struct kb_retired *old;
	struct kb_map map;
	int err;

	if (kb_forked(base->vcq.cq.context))
		return EIO;
	old = calloc(1, sizeof(*old));
	if (!old)
		return ENOMEM;
	err = ibv_cmd_resize_cq(&base->vcq.cq, kb_cqe_of(depth), &cmd,
				sizeof(cmd), &resp.core, sizeof(resp));
	if (!err)
		err = kb_map_cq(cq, &resp.drv, &map);
	if (err) {
		free(old);
		return err;
	}
	kb_map_move(&old->map, &cq->map);
	kb_map_move(&cq->map, &map);
	kb_map_retire(&old->map);
	list_add(&cq->retired, &old->node);
	return 0;
}

int kb_destroy_cq(struct tcpzc_cq *base)
{
	struct kb_cq *cq = (struct kb_cq *)base;
	struct kb_retired *old;
	int err = 0;

	if (!kb_forked(base->vcq.cq.context))
		err = ibv_cmd_destroy_cq(&base->vcq.cq);
	if (err)
		return err;
	kb_unmap(&cq->map);
	while ((old = list_pop(&cq->retired, struct kb_retired, node))) {
		kb_unmap(&old->map);
		free(old);
	}
	pthread_mutex_destroy(&cq->held_lock);
	free(cq);
	return 0;
}

static bool kb_cqe_solicited(const struct tcpzc_ring *ring, uint32_t idx)
{
	const struct tcpzc_cqe *cqe = tcpzc_ring_slot(ring, idx);

	return (cqe->flags & TCPZC_CQE_F_SOLICITED) || cqe->status;
}

/*
 * Is there an entry to raise an event for already: one that was neither polled nor
 * there at the last event? base->lock is held.
 */
static bool kb_has_unseen(const struct tcpzc_ring *ring, bool solicited_only)
{
	/* Pairs with the kernel's release of completions. */
	uint32_t prod = tz_load_acquire(&ring->hdr->prod);
	uint32_t n = prod - ring->cons;
	uint32_t unseen = prod - tz_load_once(&ring->hdr->seen);

	/* One of the two may be of a moment later, and of more than there is. */
	n = n < unseen ? n : unseen;
	if (n > ring->depth)
		return false;
	if (!solicited_only)
		return n;
	while (n && !kb_cqe_solicited(ring, prod - n))
		n--;
	return n;
}

/*
 * The kernel takes the mark back when it raises the event. A solicited-only one
 * does not replace the stronger one.
 */
int kb_arm_cq(struct tcpzc_cq *base, bool solicited_only)
{
	struct kb_cq *cq = (struct kb_cq *)base;
	uint32_t none = TCPZC_ARM_NONE;
	bool locked, unseen;

	if (kb_forked(base->vcq.cq.context))
		return 0;
	/* Not while the ring is being replaced. */
	locked = tcpzc_cq_lock(base);
	if (!solicited_only)
		tz_exchange(&base->ring.hdr->arm, TCPZC_ARM_ANY);
	else
		__atomic_compare_exchange_n(&base->ring.hdr->arm, &none,
					    TCPZC_ARM_SOLICITED, false,
					    __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
	/* Pairs with the kernel's between publishing and reading what is armed. */
	kb_full_barrier();
	unseen = kb_has_unseen(&base->ring, solicited_only);
	tcpzc_cq_unlock(base, locked);
	if (unseen)
		ibv_cmd_req_notify_cq(&base->vcq.cq, solicited_only);
	kb_bell_wait(cq, true);
	return 0;
}

void kb_drive_cq(struct tcpzc_cq *base)
{
	if (!kb_forked(base->vcq.cq.context))
		kb_bell_wait((struct kb_cq *)base, false);
}
