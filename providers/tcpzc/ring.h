/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * ring.h - the provider's end of the rings: producer of work requests, consumer
 * of completions. The ring's lock is held in all of these.
 */
#ifndef TCPZC_RING_H
#define TCPZC_RING_H

#include "deps.h"
#include "tcpzc.h"

static inline void *tcpzc_ring_slot(const struct tcpzc_ring *ring, uint32_t idx)
{
	return ring->slots + (size_t)(idx & (ring->depth - 1)) * ring->stride;
}

/* Producer: is there no slot for the next entry? A ring of depth 0 is full. */
static inline bool tcpzc_ring_full(struct tcpzc_ring *ring)
{
	if (tz_likely(ring->prod - ring->cons < ring->depth))
		return false;
	if (!ring->depth)
		return true;
	/* Pairs with the engine's release after it has read the slot. */
	ring->cons = tz_load_acquire(&ring->hdr->cons);
	return ring->prod - ring->cons >= ring->depth;
}

/* Producer: hand over what was written before ring->prod. */
static inline void tcpzc_ring_publish(struct tcpzc_ring *ring)
{
	/* Pairs with the engine's acquire before it reads the slots. */
	tz_store_release(&ring->hdr->prod, ring->prod);
}

/* Consumer: is there an entry at ring->cons? */
static inline bool tcpzc_ring_ready(struct tcpzc_ring *ring)
{
	if (ring->prod != ring->cons)
		return true;
	/* Pairs with the engine's release after it has written the slot. */
	ring->prod = tz_load_acquire(&ring->hdr->prod);
	return ring->prod != ring->cons;
}

/* Consumer: give back the slots before ring->cons. */
static inline void tcpzc_ring_release(struct tcpzc_ring *ring)
{
	/* Pairs with the engine's acquire before it writes the slots again. */
	tz_store_release(&ring->hdr->cons, ring->cons);
}

/* The backend has emptied the ring (RESET): start from where it is. */
static inline void tcpzc_ring_reload(struct tcpzc_ring *ring)
{
	if (!ring->depth)
		return;
	ring->prod = tz_load_acquire(&ring->hdr->prod);
	ring->cons = tz_load_acquire(&ring->hdr->cons);
}

/*
 * Copy the entries of a work request that are not empty; returns how many, and
 * their length in *@total.
 */
static inline uint32_t tcpzc_copy_sges(struct tcpzc_sge *dst,
				       const struct ibv_sge *src, uint32_t num,
				       uint64_t *total)
{
	uint64_t sum = 0;
	uint32_t n = 0;
	uint32_t i;

	for (i = 0; i < num; i++) {
		if (!src[i].length)
			continue;
		dst[n].addr = src[i].addr;
		dst[n].length = src[i].length;
		dst[n].lkey = src[i].lkey;
		sum += src[i].length;
		n++;
	}
	*total = sum;
	return n;
}

/* Write a receive work request to the next slot; 0 or a positive errno. */
int tcpzc_build_recv(struct tcpzc_ring *ring, uint32_t max_sge,
		     const struct ibv_recv_wr *wr);

#endif /* TCPZC_RING_H */
