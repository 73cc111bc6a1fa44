/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * kb.h - the kernel backend: objects of tcpzc.ko by uverbs, rings that are
 * mapped from there.
 *
 *	kb_context.c	device, port, protection domains, address handles
 *	kb_map.c	mapped rings, and what fork does to them
 *	kb_mr.c		memory regions
 *	kb_cq.c		completion queues
 *	kb_qp.c		queue pairs
 *	kb_srq.c	shared receive queues
 *	kb_bell.c	when to ring a doorbell
 *	kb_door.c	the system call that rings it
 *
 * Lock order: kb_cq.held_lock is a leaf, and no lock of the provider is taken
 * in it; the doorbells' system calls are made in it. The list of mappings has a
 * lock of its own, a leaf, too.
 */
#ifndef TCPZC_KB_H
#define TCPZC_KB_H

#include <errno.h>
#include <stdatomic.h>

#include <ccan/list.h>

#include "../tcpzc.h"
#include "deps.h"

/* A ring's pages in this process. */
struct kb_map {
	struct list_node node;		/* of all of the process */
	uint8_t *base;			/* NULL: nothing is mapped */
	size_t bytes;
};

struct kb_context {
	struct tcpzc_context base;	/* first */
	uint32_t fork_gen;		/* of the process that opened it */
};

struct kb_qp;

/* A queue pair's place in the list of a completion queue. */
struct kb_held {
	struct kb_held *next;
	struct kb_qp *qp;
	atomic_bool listed;
};

struct kb_cq {
	struct tcpzc_cq base;		/* first */
	struct kb_map map;
	/* That of base.ring; read without base.lock, valid until destruction. */
	_Atomic(struct tcpzc_ring_hdr *) hdr;
	struct list_head retired;	/* struct kb_retired: from before resizing */
	atomic_uint waits;		/* empty polls and armings, counting on */
	_Atomic(struct kb_held *) held;	/* QPs with posts held back */
	pthread_mutex_t held_lock;	/* whoever takes that list */
};

struct kb_srq {
	struct tcpzc_srq base;		/* first */
	struct kb_map map;
};

enum { KB_SEND, KB_RECV, KB_CQS };

struct kb_qp {
	struct tcpzc_qp base;		/* first */
	struct kb_map sq_map, rq_map;
	/* Doorbells; indices are those of the send queue. */
	struct kb_cq *cq[KB_CQS];	/* [KB_RECV]: NULL if it is the same */
	struct kb_held held[KB_CQS];
	atomic_uint posted;		/* producer index at the last post */
	atomic_uint rung;		/* at the last doorbell */
	atomic_uint waits[KB_CQS];	/* the CQ's at the last doorbell */
	atomic_uint polled[KB_CQS];	/* the CQ's consumer index, likewise */
};

static inline struct kb_context *to_kctx(struct ibv_context *ctx)
{
	return (struct kb_context *)to_tctx(ctx);
}

/* ---- kb_map.c ----------------------------------------------------------- */

/* Number of forks since the library was loaded; see kb_context.fork_gen. */
extern uint32_t kb_fork_gen;

/* Is this a child of the process that opened @ctx? It must not touch it. */
static inline bool kb_forked(struct ibv_context *ctx)
{
	return tz_unlikely(to_kctx(ctx)->fork_gen != kb_fork_gen);
}

/* The same for what would make something new: fails with EIO. */
static inline bool kb_refused(struct ibv_context *ctx)
{
	if (!kb_forked(ctx))
		return false;
	errno = EIO;
	return true;
}

/*
 * Map the ring that the kernel describes, of slots of at least @min_stride
 * bytes; fills in @ring and @map. 0 or a positive errno.
 */
int kb_map_ring(struct ibv_context *ctx, const struct tcpzc_uresp_ring *desc,
		uint32_t min_stride, struct tcpzc_ring *ring,
		struct kb_map *map);
void kb_unmap(struct kb_map *map);
/* @to takes over what @from describes. */
void kb_map_move(struct kb_map *to, struct kb_map *from);
/*
 * Give back the pages but for the first, which becomes memory of our own: who
 * still reads the header reads zeros. To be unmapped like any other.
 */
void kb_map_retire(struct kb_map *map);

/* ---- kb_context.c ------------------------------------------------------- */

struct tcpzc_context *kb_open(struct tcpzc_device *dev, int cmd_fd);
void kb_close(struct tcpzc_context *ctx);
int kb_query_device(struct tcpzc_context *ctx, struct ibv_device_attr_ex *attr,
		    size_t attr_size);
int kb_query_port(struct tcpzc_context *ctx, uint8_t port,
		  struct ibv_port_attr *attr);
struct tcpzc_pd *kb_alloc_pd(struct tcpzc_context *ctx);
int kb_dealloc_pd(struct tcpzc_pd *pd);
struct tcpzc_ah *kb_create_ah(struct tcpzc_pd *pd, struct ibv_ah_attr *attr);
int kb_destroy_ah(struct tcpzc_ah *ah);

/* ib_core's word for an index at which there is no GID; a wrong value here. */
static inline int kb_gid_error(int err)
{
	return err == ENODATA ? EINVAL : err;
}

/* ---- kb_mr.c ------------------------------------------------------------ */

struct tcpzc_mr *kb_reg_mr(struct tcpzc_pd *pd, void *addr, size_t len,
			   uint64_t iova, int access);
int kb_rereg_mr(struct tcpzc_mr *mr, int flags, struct tcpzc_pd *pd, void *addr,
		size_t len, int access);
int kb_dereg_mr(struct tcpzc_mr *mr);

/* ---- kb_cq.c ------------------------------------------------------------ */

struct tcpzc_cq *kb_create_cq(struct tcpzc_context *ctx, uint32_t depth,
			      struct ibv_comp_channel *channel, int comp_vector);
int kb_resize_cq(struct tcpzc_cq *cq, uint32_t depth);
int kb_destroy_cq(struct tcpzc_cq *cq);
int kb_arm_cq(struct tcpzc_cq *cq, bool solicited_only);
void kb_drive_cq(struct tcpzc_cq *cq);

/* ---- kb_srq.c ----------------------------------------------------------- */

struct tcpzc_srq *kb_create_srq(struct tcpzc_pd *pd,
				struct ibv_srq_init_attr *attr);
int kb_modify_srq(struct tcpzc_srq *srq, struct ibv_srq_attr *attr, int mask);
int kb_query_srq(struct tcpzc_srq *srq, struct ibv_srq_attr *attr);
int kb_destroy_srq(struct tcpzc_srq *srq);

/* ---- kb_qp.c ------------------------------------------------------------ */

struct tcpzc_qp *kb_create_qp(struct tcpzc_pd *pd, struct ibv_qp_init_attr *attr);
int kb_modify_qp(struct tcpzc_qp *qp, struct ibv_qp_attr *attr, int mask);
int kb_query_qp(struct tcpzc_qp *qp, struct ibv_qp_attr *attr, int mask,
		struct ibv_qp_init_attr *init_attr);
int kb_destroy_qp(struct tcpzc_qp *qp);

/* ---- kb_bell.c ---------------------------------------------------------- */

void kb_bell_init_cq(struct kb_cq *cq);
void kb_bell_init_qp(struct kb_qp *qp, const struct ibv_qp_init_attr *attr);
/* The QP is about to be destroyed: no list knows it afterwards. */
void kb_bell_forget_qp(struct kb_qp *qp);
/*
 * The application waits for completions of @cq, or is about to: ring for what
 * was held back. With @all, also for what another thread is just holding back.
 */
void kb_bell_wait(struct kb_cq *cq, bool all);
void kb_ring_sq(struct tcpzc_qp *qp);
void kb_ring_rq(struct tcpzc_qp *qp);
void kb_ring_srq(struct tcpzc_srq *srq);

/* Pairs with the engine's between raising a flag and looking at the ring. */
static inline void kb_full_barrier(void)
{
	__sync_synchronize();
}

/* ---- kb_door.c ---------------------------------------------------------- */

enum kb_door {
	KB_DOOR_SQ,
	KB_DOOR_RQ,
	KB_DOOR_SRQ
};

/* Have the kernel look at the ring of the object with that uverbs handle. */
void kb_door_ring(struct ibv_context *ctx, enum kb_door door, uint32_t handle);

#endif /* TCPZC_KB_H */
