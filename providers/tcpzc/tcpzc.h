/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * tcpzc.h - the objects of the provider and the table of what a backend does.
 *
 * The provider proper (main.c, verbs.c, qp.c, cq.c, srq.c) builds work
 * requests into rings, reads completions from rings, and checks what the
 * application asks for. Everything behind the rings is a backend's: the user
 * backend (user/) runs the engine in this process over sockets, the kernel
 * backend (kernel/) talks to tcpzc.ko by uverbs. The provider never asks which.
 *
 * Lock order: tcpzc_qp.sq_lock, .rq_lock, tcpzc_srq.lock and tcpzc_cq.lock are
 * leaves: no call into a backend is made under one of them, but for resizing,
 * where it is said so.
 */
#ifndef TCPZC_H
#define TCPZC_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <infiniband/driver.h>
#include <rdma/tcpzc-abi.h>

#include "tz_attr.h"

struct tcpzc_backend;

struct tcpzc_device {
	struct verbs_device vdev;	/* first */
	const struct tcpzc_backend *be;
	char ibdev_path[IBV_SYSFS_PATH_MAX];
	uint32_t ifindex;		/* user mode: the interface */
};

struct tcpzc_context {
	struct verbs_context vctx;
	const struct tcpzc_backend *be;
	struct tcpzc_device *dev;
};

/*
 * A protection domain, or a parent domain (ibv_alloc_parent_domain) around one.
 * Backends see protection domains only.
 */
struct tcpzc_pd {
	struct ibv_pd ibpd;		/* first */
	struct tcpzc_pd *inner;		/* of a parent domain; else NULL */
	uint32_t pdn;
	uint32_t users;			/* objects in it; atomic */
};

struct tcpzc_mr {
	struct verbs_mr vmr;		/* first */
};

struct tcpzc_ah {
	struct ibv_ah ibah;		/* first */
	struct ibv_ah_attr attr;
};

/* A ring as the provider sees it. */
struct tcpzc_ring {
	struct tcpzc_ring_hdr *hdr;
	uint8_t *slots;
	uint32_t depth;			/* a power of two */
	uint32_t stride;		/* bytes */
	uint32_t prod;			/* private copy of the producer index */
	uint32_t cons;			/* private copy of the consumer index */
};

struct tcpzc_cq {
	struct verbs_cq vcq;		/* first */
	pthread_mutex_t lock;		/* consumer side, and resize */
	bool single_threaded;		/* the application needs no lock */
	pthread_t batch;		/* between start_poll and end_poll: whose */
	struct tcpzc_ring ring;
	const struct tcpzc_cqe *cur;	/* between start_poll and end_poll */
	uint32_t users;			/* QPs attached; atomic */
};

struct tcpzc_srq {
	struct ibv_srq ibsrq;		/* first */
	pthread_mutex_t lock;		/* producer side */
	struct tcpzc_ring ring;
	uint32_t max_sge;
	uint32_t users;			/* QPs attached; atomic */
};

struct tcpzc_qp {
	struct verbs_qp vqp;		/* first */
	pthread_mutex_t sq_lock;	/* producer side */
	pthread_mutex_t rq_lock;	/* producer side */
	struct tcpzc_ring sq;
	struct tcpzc_ring rq;		/* depth 0: SRQ or none */
	uint32_t sq_max_sge;
	uint32_t sq_last_bytes;		/* of the last request posted */
	uint32_t rq_max_sge;
	uint32_t max_inline;		/* bytes */
	bool sq_sig_all;
	/* Between wr_start and wr_complete, under sq_lock: */
	struct tcpzc_send_wqe *wr_cur;	/* work request being built */
	uint32_t wr_first;		/* sq.prod at wr_start */
	int wr_err;			/* first error; positive errno */
};

/*
 * What a backend does. Functions that return int return 0 or a positive errno;
 * those that return a pointer return NULL with errno set. Objects are
 * allocated by the backend (they are the head of its own) and freed by the
 * matching call; when a create function returns, rings and limits are filled
 * in. Objects in use (EBUSY) are refused by the provider before it calls.
 */
struct tcpzc_backend {
	const char *name;

	/* Owns @cmd_fd, whether it succeeds or not. */
	struct tcpzc_context *(*open)(struct tcpzc_device *dev, int cmd_fd);
	void (*close)(struct tcpzc_context *ctx);

	int (*query_device)(struct tcpzc_context *ctx,
			    struct ibv_device_attr_ex *attr, size_t attr_size);
	int (*query_port)(struct tcpzc_context *ctx, uint8_t port,
			  struct ibv_port_attr *attr);

	struct tcpzc_pd *(*alloc_pd)(struct tcpzc_context *ctx);
	int (*dealloc_pd)(struct tcpzc_pd *pd);

	struct tcpzc_mr *(*reg_mr)(struct tcpzc_pd *pd, void *addr, size_t len,
				   uint64_t iova, int access);
	int (*rereg_mr)(struct tcpzc_mr *mr, int flags, struct tcpzc_pd *pd,
			void *addr, size_t len, int access);
	int (*dereg_mr)(struct tcpzc_mr *mr);

	/* Not global: the port itself, if the backend can say so in @attr. */
	struct tcpzc_ah *(*create_ah)(struct tcpzc_pd *pd,
				      struct ibv_ah_attr *attr);
	int (*destroy_ah)(struct tcpzc_ah *ah);

	/* @depth is a power of two > the requested number of entries. */
	struct tcpzc_cq *(*create_cq)(struct tcpzc_context *ctx, uint32_t depth,
				      struct ibv_comp_channel *channel,
				      int comp_vector);
	/* Called with cq->lock held; moves the entries; updates cq->ring. */
	int (*resize_cq)(struct tcpzc_cq *cq, uint32_t depth);
	/* Waits until the application has acknowledged all events. */
	int (*destroy_cq)(struct tcpzc_cq *cq);
	/*
	 * Ask for an event at the next (solicited) completion; at once if one is
	 * in the ring that was not polled, and that no event has told of.
	 */
	int (*arm_cq)(struct tcpzc_cq *cq, bool solicited_only);
	/*
	 * The ring is empty: make progress on the calling thread if this
	 * backend does that. Called without locks, at every empty poll.
	 */
	void (*drive_cq)(struct tcpzc_cq *cq);

	/*
	 * @attr is checked and its capabilities are within the limits; the ring
	 * depths that fit them are the backend's to choose (power of two).
	 */
	struct tcpzc_srq *(*create_srq)(struct tcpzc_pd *pd,
					struct ibv_srq_init_attr *attr);
	/*
	 * With IBV_SRQ_MAX_WR in @mask called with srq->lock held, like
	 * resize_cq; moves the work requests; updates srq->ring.
	 */
	int (*modify_srq)(struct tcpzc_srq *srq, struct ibv_srq_attr *attr,
			  int mask);
	int (*query_srq)(struct tcpzc_srq *srq, struct ibv_srq_attr *attr);
	int (*destroy_srq)(struct tcpzc_srq *srq);

	/* Initialises vqp.qp as ibv_cmd_create_qp() does: tcpzc_init_ibqp(). */
	struct tcpzc_qp *(*create_qp)(struct tcpzc_pd *pd,
				      struct ibv_qp_init_attr *attr);
	/*
	 * After a change to RESET, and after destroy_qp, no completion of the
	 * queue pair is written any more; the provider then removes those that
	 * are in the completion rings (by number: one that was just destroyed
	 * must not be given out again at once) and takes over the work rings'
	 * indices as the backend left them.
	 */
	int (*modify_qp)(struct tcpzc_qp *qp, struct ibv_qp_attr *attr, int mask);
	int (*query_qp)(struct tcpzc_qp *qp, struct ibv_qp_attr *attr, int mask,
			struct ibv_qp_init_attr *init_attr);
	int (*destroy_qp)(struct tcpzc_qp *qp);

	/*
	 * Doorbells, after entries were published. No locks are held. What is
	 * posted to a queue pair in ERR is flushed.
	 */
	void (*ring_sq)(struct tcpzc_qp *qp);
	void (*ring_rq)(struct tcpzc_qp *qp);
	void (*ring_srq)(struct tcpzc_srq *srq);

	/* The application has fetched an asynchronous event: optional. */
	void (*async_event)(struct tcpzc_context *ctx,
			    struct ibv_async_event *event);
	/* The application has fetched an event of @cq: optional. */
	void (*cq_event)(struct tcpzc_cq *cq);
};

extern const struct tcpzc_backend tcpzc_user_backend;
extern const struct tcpzc_backend tcpzc_kernel_backend;

static inline struct tcpzc_context *to_tctx(struct ibv_context *ctx)
{
	return container_of(ctx, struct tcpzc_context, vctx.context);
}

static inline struct tcpzc_device *to_tdev(struct ibv_device *dev)
{
	return container_of(dev, struct tcpzc_device, vdev.device);
}

static inline struct tcpzc_pd *to_tpd(struct ibv_pd *pd)
{
	return container_of(pd, struct tcpzc_pd, ibpd);
}

static inline struct tcpzc_mr *to_tmr(struct verbs_mr *vmr)
{
	return container_of(vmr, struct tcpzc_mr, vmr);
}

static inline struct tcpzc_cq *to_tcq(struct ibv_cq *cq)
{
	return container_of(cq, struct tcpzc_cq, vcq.cq);
}

static inline struct tcpzc_srq *to_tsrq(struct ibv_srq *srq)
{
	return container_of(srq, struct tcpzc_srq, ibsrq);
}

static inline struct tcpzc_qp *to_tqp(struct ibv_qp *qp)
{
	return container_of(qp, struct tcpzc_qp, vqp.qp);
}

static inline struct tcpzc_ah *to_tah(struct ibv_ah *ah)
{
	return container_of(ah, struct tcpzc_ah, ibah);
}

/* How many objects (QPs, regions, ...) are in an object: it is busy then. */
static inline void tcpzc_get(uint32_t *users)
{
	__atomic_fetch_add(users, 1, __ATOMIC_RELAXED);
}

static inline void tcpzc_put(uint32_t *users)
{
	__atomic_fetch_sub(users, 1, __ATOMIC_RELEASE);
}

static inline bool tcpzc_busy(uint32_t *users)
{
	return __atomic_load_n(users, __ATOMIC_ACQUIRE) != 0;
}

/* The protection domain that backends know. */
static inline struct tcpzc_pd *tcpzc_pd_inner(struct ibv_pd *pd)
{
	struct tcpzc_pd *tpd = to_tpd(pd);

	return tpd->inner ? tpd->inner : tpd;
}

/* Initialise one of the objects' locks; they are held for short times. */
void tcpzc_lock_init(pthread_mutex_t *lock);

/* Can @attr name a peer: a global route from a GID of port 1? */
bool tcpzc_ah_attr_ok(const struct ibv_ah_attr *attr);

/* verbs.c */
int tcpzc_query_device(struct ibv_context *context,
		       const struct ibv_query_device_ex_input *input,
		       struct ibv_device_attr_ex *attr, size_t attr_size);
int tcpzc_query_port(struct ibv_context *context, uint8_t port,
		     struct ibv_port_attr *attr);
struct ibv_pd *tcpzc_alloc_pd(struct ibv_context *context);
int tcpzc_dealloc_pd(struct ibv_pd *pd);
struct ibv_td *tcpzc_alloc_td(struct ibv_context *context,
			      struct ibv_td_init_attr *attr);
int tcpzc_dealloc_td(struct ibv_td *td);
struct ibv_pd *
tcpzc_alloc_parent_domain(struct ibv_context *context,
			  struct ibv_parent_domain_init_attr *attr);
struct ibv_mr *tcpzc_reg_mr(struct ibv_pd *pd, void *addr, size_t length,
			    uint64_t hca_va, int access);
struct ibv_mr *tcpzc_reg_dmabuf_mr(struct ibv_pd *pd, uint64_t offset,
				   size_t length, uint64_t iova, int fd,
				   int access);
int tcpzc_rereg_mr(struct verbs_mr *vmr, int flags, struct ibv_pd *pd,
		   void *addr, size_t length, int access);
int tcpzc_dereg_mr(struct verbs_mr *vmr);
struct ibv_ah *tcpzc_create_ah(struct ibv_pd *pd, struct ibv_ah_attr *attr);
int tcpzc_destroy_ah(struct ibv_ah *ah);

/* cq.c */
struct ibv_cq *tcpzc_create_cq(struct ibv_context *context, int cqe,
			       struct ibv_comp_channel *channel,
			       int comp_vector);
struct ibv_cq_ex *tcpzc_create_cq_ex(struct ibv_context *context,
				     struct ibv_cq_init_attr_ex *attr);
int tcpzc_resize_cq(struct ibv_cq *cq, int cqe);
int tcpzc_destroy_cq(struct ibv_cq *cq);
int tcpzc_poll_cq(struct ibv_cq *cq, int num_entries, struct ibv_wc *wc);
int tcpzc_req_notify_cq(struct ibv_cq *cq, int solicited_only);
/*
 * Lock the consumer side, unless the calling thread has it by start_poll or the
 * queue needs no lock. Returns what tcpzc_cq_unlock() is to be told.
 */
bool tcpzc_cq_lock(struct tcpzc_cq *cq);
void tcpzc_cq_unlock(struct tcpzc_cq *cq, bool locked);
/* Remove the completions of a QP that is being destroyed or reset. */
void tcpzc_cq_forget_qp(struct tcpzc_cq *cq, uint32_t qp_num);

/* srq.c */
struct ibv_srq *tcpzc_create_srq(struct ibv_pd *pd,
				 struct ibv_srq_init_attr *attr);
int tcpzc_modify_srq(struct ibv_srq *srq, struct ibv_srq_attr *attr, int mask);
int tcpzc_query_srq(struct ibv_srq *srq, struct ibv_srq_attr *attr);
int tcpzc_destroy_srq(struct ibv_srq *srq);
int tcpzc_post_srq_recv(struct ibv_srq *srq, struct ibv_recv_wr *wr,
			struct ibv_recv_wr **bad_wr);

/* qp.c */
/* For backends that do not call ibv_cmd_create_qp(): what it does besides. */
void tcpzc_init_ibqp(struct ibv_qp *ibqp, struct ibv_pd *pd,
		     const struct ibv_qp_init_attr *attr);
struct ibv_qp *tcpzc_create_qp(struct ibv_pd *pd, struct ibv_qp_init_attr *attr);
int tcpzc_modify_qp(struct ibv_qp *qp, struct ibv_qp_attr *attr, int mask);
int tcpzc_query_qp(struct ibv_qp *qp, struct ibv_qp_attr *attr, int mask,
		   struct ibv_qp_init_attr *init_attr);
int tcpzc_destroy_qp(struct ibv_qp *qp);

/* qp_ex.c */
struct ibv_qp *tcpzc_create_qp_ex(struct ibv_context *context,
				  struct ibv_qp_init_attr_ex *attr);

/* post.c */
int tcpzc_post_send(struct ibv_qp *qp, struct ibv_send_wr *wr,
		    struct ibv_send_wr **bad_wr);
int tcpzc_post_recv(struct ibv_qp *qp, struct ibv_recv_wr *wr,
		    struct ibv_recv_wr **bad_wr);

#endif /* TCPZC_H */
