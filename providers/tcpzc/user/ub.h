/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * ub.h - the user backend: the engine in this process, over sockets.
 *
 * Who does the work. A queue pair's engine is driven in turns (ub_qp.turn): by
 * the thread that posts to it, by the thread that polls its completion queue,
 * and by the context's progress thread. A thread that finds a turn taken does
 * not wait; it leaves a note that there is more to do, and the holder does it.
 *
 * Who watches the socket. Normally the progress thread, by epoll. When a
 * thread polls a completion queue busily, it claims the queue's QPs: their
 * sockets leave the progress thread's epoll set, so that data which the
 * polling thread is about to find wakes nobody else. The progress thread looks
 * at claimed queues from time to time (UB_TICK_NS) and takes them back when the
 * polling has stopped. One-sided operations therefore complete while the
 * application sleeps or spins on its memory.
 *
 * Lock order (outer to inner):
 *	ub_context.lock		lists of objects, listeners, polled queues
 *	ub_cq.drive_lock	the queue's list of QPs; one driver at a time
 *	ub_srq.qp_lock		the SRQ's list of QPs
 *	ub_qp.turn		one QP's engine and socket
 *	tcpzc_cq.lock		consumer side of the ring; arming, resizing
 *	ub_srq.lock, ub_cq.push_lock, ub_context.mr_lock, .linger_lock
 *	ub_events.lock
 * A turn is taken under the outer ones only to wait for it, never to run the
 * engine for long.
 */
#ifndef TCPZC_UB_H
#define TCPZC_UB_H

#include <errno.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <sys/uio.h>

#include <ccan/list.h>

#include "../tcpzc.h"
#include "../tcpzc-ids.h"
#include "tz_attr.h"
#include "tz_dial.h"
#include "tz_key.h"
#include "tz_qp.h"

#define UB_MAX_QPS		65536
#define UB_MAX_PDS		65536
#define UB_MAX_CQS		65536
#define UB_MAX_SRQS		65536
#define UB_MAX_AHS		(1u << 20)
#define UB_MAX_MRS		(1u << TZ_KEY_INDEX_BITS)
#define UB_MR_CHUNK		1024u
#define UB_MR_CHUNKS		(UB_MAX_MRS / UB_MR_CHUNK)
#define UB_QPS_PER_PORT		256
#define UB_MAX_GRAVE		16	/* destroyed QPs that wait to be freed */

#define UB_TX_BUF_BYTES		(64u << 10)
#define UB_RX_BUF_BYTES		(64u << 10)
#define UB_TICK_NS		250000ull
#define UB_IOV			64

struct ub_context;
struct ub_qp;

/* Nanoseconds of a clock; 0 if it is not there (any more). */
static inline u64 ub_clock(clockid_t id)
{
	struct timespec ts;

	if (clock_gettime(id, &ts))
		return 0;
	return ts.tv_sec * 1000000000ull + ts.tv_nsec;
}

static inline u64 ub_now(void)
{
	return ub_clock(CLOCK_MONOTONIC);
}

/* One more of @max objects; false, with ENOMEM: there are so many. */
static inline bool ub_take(atomic_uint *num, u32 max)
{
	if (atomic_fetch_add(num, 1) < max)
		return true;
	atomic_fetch_sub(num, 1);
	errno = ENOMEM;
	return false;
}

static inline void ub_give(atomic_uint *num)
{
	atomic_fetch_sub(num, 1);
}

/* No cancellation of the calling thread until ub_cancel_restore(); see ub_backend.c. */
static inline int ub_cancel_disable(void)
{
	int was;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &was);
	return was;
}

static inline void ub_cancel_restore(int was)
{
	pthread_setcancelstate(was, NULL);
}

/* ---- objects ------------------------------------------------------------ */

/* Something in the progress thread's epoll set. */
struct ub_fd {
	void (*ready)(struct ub_context *ctx, struct ub_fd *ufd, u32 events);
};

struct ub_mr {
	struct tcpzc_mr base;		/* first */
	struct tz_mr tz;
	u8 *addr;			/* of the first byte, in this process */
	atomic_uint refs;
	u32 num;			/* index and generation, see tz_key.h */
};

struct ub_pd {
	struct tcpzc_pd base;		/* first */
};

/* A pipe of events that the application reads, and those that wait. */
struct ub_events {
	pthread_mutex_t lock;
	int wfd;			/* non-blocking */
	int rfd;			/* for purging, non-blocking; -1 */
	u32 size;			/* of a record, in bytes */
	u32 pipe_bytes;			/* as much is always free in @buf */
	u8 *buf;
	size_t start, waiting, room;	/* bytes */
	bool watched;			/* the progress thread waits for room */
};

/* What the queues of a completion channel share. */
struct ub_channel {
	struct list_node node;		/* ub_context.channels */
	struct ibv_comp_channel *ibch;
	u32 users;			/* queues */
	struct ub_events ev;
};

struct ub_cq {
	struct tcpzc_cq base;		/* first */
	struct list_node node;		/* ub_context.cqs */
	struct list_node polled_node;	/* ub_context.polled */
	pthread_mutex_t push_lock;	/* producer side of the ring */
	u32 prod;
	atomic_uint armed;		/* UB_ARM_* */
	bool overrun;
	u32 async_reported;
	struct ub_channel *channel;	/* or NULL */
	u32 events_reported;		/* channel->ev.lock */
	atomic_uint events_unread;	/* not fetched yet */
	u32 event_prod, event_cons;	/* of the ring at the last event */

	pthread_mutex_t drive_lock;
	struct list_head qps;		/* struct ub_cqlink */
	u32 num_qps;
	atomic_int epfd;		/* claimed sockets of many QPs; -1 */
	_Atomic(struct ub_qp *) dirty;	/* QPs with posts held back */
	atomic_bool polled;		/* claimed by the polling thread */
	atomic_uint polls;		/* empty polls, counting on */
	u32 seen_polls;			/* by the progress thread */
	atomic_uint spin;		/* empty polls since arming */
	atomic_uint claim_after;	/* so many; grows when it was wrong */
	u32 ticks;			/* since claimed */
	u32 idle_ticks;			/* of the last ones, without a poll */
	clockid_t poller_clock;		/* CPU time of the thread that claimed */
	u64 poller_ns;			/* what it showed at the last poll seen */
};

enum { UB_ARM_NONE, UB_ARM_SOLICITED, UB_ARM_ANY };

struct ub_cqlink {
	struct list_node node;
	struct ub_qp *qp;
};

struct ub_srq {
	struct tcpzc_srq base;		/* first */
	struct list_node node;		/* ub_context.srqs */
	pthread_mutex_t lock;		/* consumer side */
	struct tz_rq rq;
	u32 max_wr;
	u32 limit;
	u32 events_reported;
	pthread_mutex_t qp_lock;
	struct list_head qps;		/* ub_qp.srq_node */
	atomic_uint starving;		/* a QP found it empty */
};

struct ub_conn {
	struct ub_fd ufd;
	int rfd, wfd;			/* the same but for a QP to itself; -1 */
	int watch_epfd;			/* where rfd is registered; -1 */
	u32 watch_events;
	bool unfinished;		/* a turn ended before the socket did */
	u32 rx_bytes;			/* of the last turn */
	bool rx_idle;			/* the socket was empty just now */
	atomic_bool hung_up;		/* epoll said so: read up to the end */
	int pipe[2];			/* for sending by reference; -1 */
	u32 pipe_bytes;			/* in it, before anything else */
	u8 *hdrs;			/* pages for headers, given away when full */
	u32 hdrs_used;
	bool no_pipe;			/* could not be had, or is not to be used */
	bool asking;			/* TCP asks the peer's host whether it lives */
	int udp_family;			/* UD: AF_INET6 (for both), or AF_INET */
	u64 rx_after;			/* polling: do not read again before */
	u64 tx_after;			/* polling: do not write again before */
};

struct ub_qp {
	struct tcpzc_qp base;		/* first */
	struct list_node node;		/* ub_context.qps */
	struct list_node srq_node;
	struct ub_cqlink send_link, recv_link;
	struct ub_qp *dirty_next;
	atomic_bool dirty;
	atomic_uint turn;		/* UB_TURN_* */
	atomic_uint claims;		/* polled completion queues it is on */
	_Atomic u64 deadline;		/* of the engine or connection; 0 */
	atomic_uint rung;		/* send queue index that a turn has seen */
	bool dead;			/* destroyed; freed by the progress thread */
	u32 events_reported;
	struct ub_context *ctx;
	struct {
		struct ibv_ah_attr ah_attr;
	} attr;				/* what the engine does not keep */
	struct ub_conn conn;
	struct tz_qp eng;
	void *mem;			/* rings, swqes and buffers */
	size_t mem_bytes;
};

struct ub_listener {
	struct ub_fd ufd;		/* first */
	struct list_node node;
	int fd;
	u16 port;
	u64 resume_at;			/* not accepting until then; 0: accepting */
	u32 next;			/* where to look for a free number */
	u32 used;
	struct ub_qp *ud;		/* whose UDP socket has this port, too */
	struct ub_qp *qps[UB_QPS_PER_PORT];
};

/* An accepted connection whose queue pair has not taken it yet. */
struct ub_caller {
	struct ub_fd ufd;		/* first */
	struct tz_caller call;
	struct list_node gone_node;	/* ub_context.gone_callers */
	int fd;				/* -1: closed */
};

struct ub_settings {
	u16 port;			/* the well-known one of all hosts */
	u16 port_lo, port_hi;		/* 0: the kernel's choice */
	char cc[16];			/* congestion control; "": default */
	u64 min_retry_ns;
	u64 max_silence_ns;		/* see tz_qp_init */
	bool stats;
	u32 zerocopy;			/*
					 * send large payloads by reference: 1: to
					 * other hosts, 2: to all
					 */
};

struct ub_context {
	struct tcpzc_context base;	/* first */
	struct list_node all_node;
	struct ub_settings set;
	u32 ifindex;			/* the device's; its name may change */
	int fds_fd;			/* tz_open_fds() */
	u64 node_guid;
	union ibv_gid gids[TCPZC_GID_TABLE_LEN];

	pthread_mutex_t lock;
	struct list_head qps, cqs, srqs, listeners, polled, channels;
	u32 num_qps;
	atomic_uint num_pds, num_cqs, num_srqs, num_ahs;
	struct tz_lobby lobby;		/* of ub_caller.call */
	struct list_head gone_callers;	/* closed; freed by the progress thread */
	struct ub_qp *grave;		/* destroyed QPs, by dirty_next */
	u32 num_grave;
	u32 next_pdn;

	pthread_mutex_t linger_lock;
	struct list_head lingering;	/* see ub_linger.c */
	u32 num_lingering;

	pthread_mutex_t mr_lock;
	struct tz_key_secret secret;
	_Atomic(_Atomic(struct ub_mr *) *) mr_chunks[UB_MR_CHUNKS];
	u16 *mr_gens;			/* generation of each index */
	u32 *mr_free;			/* queue of the indices that were given back */
	u32 mr_free_head, mr_num_free;
	u32 mr_top;			/* first index that was never used */

	struct ub_events async;
	struct ub_fd events_ufd;	/* of all pipes of events */

	pthread_t thread;
	bool thread_runs;
	int epfd;
	int wake_fd;
	struct ub_fd wake_ufd;
	u64 served_bytes;		/* received by the progress thread */
	atomic_uint verbs_calls;	/* posts and empty polls, counting on */
	atomic_bool stop;
	_Atomic u64 wake_at;		/* earliest deadline the thread knows of */
	atomic_bool rescan;		/* it is to look at all of them again */
	atomic_uint num_polled;
	int links_fd;			/* see ub_links.c, or -1 */
	struct ub_fd links_ufd;
	bool port_up, gone;		/* as events have said */
	u32 fork_gen;			/* of the process that opened it */
};

static inline struct ub_context *to_uctx(struct tcpzc_context *ctx)
{
	return (struct ub_context *)ctx;
}

static inline struct ub_context *ub_ctx_of(struct ibv_context *ctx)
{
	return to_uctx(to_tctx(ctx));
}

static inline struct ub_qp *ub_qp_of(struct tz_qp *eng)
{
	return container_of(eng, struct ub_qp, eng);
}

/* May the QP send and receive? */
static inline bool ub_qp_works(const struct ub_qp *qp)
{
	return tz_dial_connected(&qp->eng) || tz_qp_is_ud(&qp->eng);
}

static inline struct ub_mr *ub_mr_of(struct tz_mr *tz)
{
	return container_of(tz, struct ub_mr, tz);
}

/* ---- ub_context.c ------------------------------------------------------- */

/* Number of forks since the library was loaded; see ub_context.fork_gen. */
extern u32 ub_fork_gen;
/* Is this a child of the process that opened @ctx? It must not touch it. */
static inline bool ub_forked(const struct ub_context *ctx)
{
	return tz_unlikely(ctx->fork_gen != ub_fork_gen);
}

struct tcpzc_context *ub_open(struct tcpzc_device *dev, int cmd_fd);
void ub_close(struct tcpzc_context *ctx);
int ub_query_device(struct tcpzc_context *ctx, struct ibv_device_attr_ex *attr,
		    size_t attr_size);
int ub_query_port(struct tcpzc_context *ctx, uint8_t port,
		  struct ibv_port_attr *attr);
/* Is the network interface up, and has a carrier? */
bool ub_port_up(const struct ub_context *ctx);
/* The port's active MTU. */
u32 ub_mtu_bytes(struct ub_context *ctx);
struct tcpzc_pd *ub_alloc_pd(struct tcpzc_context *ctx);
int ub_dealloc_pd(struct tcpzc_pd *pd);
struct tcpzc_ah *ub_create_ah(struct tcpzc_pd *pd, struct ibv_ah_attr *attr);
int ub_destroy_ah(struct tcpzc_ah *ah);

/* ---- ub_settings.c ------------------------------------------------------ */

/* Read the environment; false with a message if a setting makes no sense. */
bool ub_settings_read(struct ub_settings *set, const char *device);

/* ---- ub_mem.c ----------------------------------------------------------- */

/*
 * May this process read the @len bytes at @addr, and if @write, write them? 0 or
 * EFAULT. Where neither the kernel nor /proc tells, 0.
 */
int ub_mem_check(const void *addr, size_t len, bool write);

/* ---- ub_mr.c ------------------------------------------------------------ */

int ub_mr_init(struct ub_context *ctx);
void ub_mr_exit(struct ub_context *ctx);
struct tcpzc_mr *ub_reg_mr(struct tcpzc_pd *pd, void *addr, size_t len,
			   uint64_t iova, int access);
int ub_rereg_mr(struct tcpzc_mr *mr, int flags, struct tcpzc_pd *pd, void *addr,
		size_t len, int access);
int ub_dereg_mr(struct tcpzc_mr *mr);
struct tz_mr *ub_mr_find(struct tz_qp *eng, u32 key);
void ub_mr_get(struct tz_mr *mr);
void ub_mr_put(struct tz_mr *mr);
void ub_mr_write(struct tz_mr *mr, u64 off, const void *src, u32 len);
void ub_mr_write_ud(struct tz_mr *mr, u64 off, const void *src, u32 len);
void ub_mr_read(struct tz_mr *mr, u64 off, void *dst, u32 len);
u64 ub_mr_atomic(struct tz_mr *mr, u64 off, enum tz_atomic_kind kind,
		 u64 compare_add, u64 swap);

/* ---- ub_event.c --------------------------------------------------------- */

int ub_event_open_async(struct ub_context *ctx);
int ub_event_watch_async(struct ub_context *ctx);
void ub_event_close_async(struct ub_context *ctx);
/* Report an asynchronous event of @element; @reported counts it. */
void ub_event_async(struct ub_context *ctx, void *element, u32 *reported,
		    enum ibv_event_type type);
/* The object goes: forget its events that were not read yet. */
void ub_event_purge_async(struct ub_context *ctx, void *element, u32 *reported);
/* The application has fetched one: there may be room for those that wait. */
void ub_event_async_fetched(struct tcpzc_context *ctx,
			    struct ibv_async_event *event);
int ub_event_get_channel(struct ub_context *ctx, struct ub_cq *cq,
			 struct ibv_comp_channel *channel);
void ub_event_put_channel(struct ub_context *ctx, struct ub_cq *cq);
/* cq->push_lock is held. */
void ub_event_comp(struct ub_cq *cq);
void ub_event_purge_comp(struct ub_cq *cq);
void ub_event_comp_fetched(struct tcpzc_cq *cq);
/* Wait until @completed, which the library counts under @lock, is @reported. */
void ub_event_wait_acked(pthread_mutex_t *lock, pthread_cond_t *cond,
			 const uint32_t *completed, u32 reported);

/* ---- ub_cq.c ------------------------------------------------------------ */

struct tcpzc_cq *ub_create_cq(struct tcpzc_context *ctx, uint32_t depth,
			      struct ibv_comp_channel *channel, int comp_vector);
int ub_resize_cq(struct tcpzc_cq *cq, uint32_t depth);
int ub_destroy_cq(struct tcpzc_cq *cq);
int ub_arm_cq(struct tcpzc_cq *cq, bool solicited_only);
void ub_drive_cq(struct tcpzc_cq *cq);
void ub_cq_push(struct ub_cq *cq, const struct tcpzc_cqe *cqe);
void ub_cq_attach(struct ub_cq *cq, struct ub_qp *qp, struct ub_cqlink *link);
void ub_cq_detach(struct ub_cq *cq, struct ub_qp *qp, struct ub_cqlink *link);
/* Posts to @qp were held back: the next poll of its send queue sends them. */
void ub_cq_mark_dirty(struct ub_qp *qp);
/* Only that it changes matters; an increment lost between threads does not. */
static inline void ub_bump(atomic_uint *counter)
{
	atomic_store_explicit(counter,
			      atomic_load_explicit(counter,
						   memory_order_relaxed) + 1,
			      memory_order_relaxed);
}

/* The application is at work on @qp: its send queue counts as polled. */
static inline void ub_cq_note_activity(struct ub_qp *qp)
{
	struct ub_cq *cq = (struct ub_cq *)to_tcq(qp->base.vqp.qp.send_cq);

	ub_bump(&cq->polls);
	ub_bump(&qp->ctx->verbs_calls);
}

/* Progress thread: look after the claimed queues. */
void ub_cq_tick(struct ub_context *ctx);

/* ---- ub_srq.c ----------------------------------------------------------- */

struct tcpzc_srq *ub_create_srq(struct tcpzc_pd *pd,
				struct ibv_srq_init_attr *attr);
int ub_modify_srq(struct tcpzc_srq *srq, struct ibv_srq_attr *attr, int mask);
int ub_query_srq(struct tcpzc_srq *srq, struct ibv_srq_attr *attr);
int ub_destroy_srq(struct tcpzc_srq *srq);
void ub_ring_srq(struct tcpzc_srq *srq);
bool ub_srq_take(struct tz_qp *eng, struct tz_rwqe *out);

/* ---- ub_qp.c ------------------------------------------------------------ */

struct tcpzc_qp *ub_create_qp(struct tcpzc_pd *pd, struct ibv_qp_init_attr *attr);
int ub_modify_qp(struct tcpzc_qp *qp, struct ibv_qp_attr *attr, int mask);
int ub_query_qp(struct tcpzc_qp *qp, struct ibv_qp_attr *attr, int mask,
		struct ibv_qp_init_attr *init_attr);
int ub_destroy_qp(struct tcpzc_qp *qp);
/* Free the memory of a destroyed QP. */
void ub_qp_free(struct ub_qp *qp);

/* ---- ub_turn.c ---------------------------------------------------------- */

#define UB_TURN_TAKEN	1u
#define UB_TURN_MORE	2u	/* somebody came meanwhile */
#define UB_TURN_WAITED	4u	/* somebody sleeps until it is free */

/* Take the turn if it is free. */
bool ub_turn_try(struct ub_qp *qp);
/* Take it, sleeping until it is free. */
void ub_turn_lock(struct ub_qp *qp);
/* Give it back; does first what others left to do. */
void ub_turn_unlock(struct ub_qp *qp);
/* Take the turn, or tell its holder that there is more to do. */
bool ub_turn_try_or_note(struct ub_qp *qp);

/* What was posted before now is about to be sent: see ub_hold_back(). Turn held. */
static inline void ub_note_rung(struct ub_qp *qp)
{
	atomic_store_explicit(&qp->rung,
			      tz_load_acquire(&qp->base.sq.hdr->prod),
			      memory_order_relaxed);
}

/* Receive, execute, send, as far as it goes without waiting. Turn held. */
void ub_run(struct ub_qp *qp, u64 now);
/* The same, but sockets that were empty or full just now are left alone. */
void ub_run_polled(struct ub_qp *qp, u64 now);
/* Send only. Turn held. */
void ub_run_tx(struct ub_qp *qp, u64 now);
void ub_ring_sq(struct tcpzc_qp *qp);
void ub_ring_rq(struct tcpzc_qp *qp);
/* Register the socket where it belongs now. Turn held. */
void ub_watch(struct ub_qp *qp);
/* Send ACKs that are owed, if the socket takes them. Turn held. */
void ub_flush_acks(struct ub_qp *qp);

/* Where slices of regions lie in this process; returns their length. */
size_t ub_fill_iov(const struct tz_vec *vec, int n, struct iovec *iov);
/* The application unmapped memory that is still registered. */
void ub_fault(const struct tz_vec *vec, int n, bool write);

/* ---- ub_ud.c ------------------------------------------------------------ */

/* Open the QP's UDP socket at @port; false with errno. */
bool ub_ud_open(struct ub_qp *qp, u16 port);
/* Send, and receive, as far as it goes without waiting. Turn held. */
void ub_ud_tx(struct ub_qp *qp);
void ub_ud_rx(struct ub_qp *qp);

/* ---- ub_splice.c -------------------------------------------------------- */

enum ub_io {
	UB_IO_OK,
	UB_IO_FULL,			/* the socket takes no more now */
	UB_IO_OVER			/* the stream is over */
};

/* Put large pieces of what is to be sent into the pipe; false: copy it. */
bool ub_splice_fill(struct ub_qp *qp, const struct tz_vec *vec, int n, u64 now);
/* Move the pipe's content to the socket. */
enum ub_io ub_splice_flush(struct ub_conn *c);
void ub_splice_close(struct ub_conn *c);

/* ---- ub_links.c --------------------------------------------------------- */

/* From now on events say what becomes of the network interface. */
void ub_links_start(struct ub_context *ctx);
/* When the progress thread has ended. */
void ub_links_stop(struct ub_context *ctx);

/* ---- ub_linger.c -------------------------------------------------------- */

/*
 * Wait in the background for the peer to take what was said last on @fd, an
 * established connection that is in no epoll set, and to close it, too. False if
 * there is nothing to wait for: then the caller closes @fd.
 */
bool ub_linger_start(struct ub_context *ctx, int fd, bool uc, u64 now);
/* Close those that took too long; returns when to look again, or 0. */
u64 ub_linger_expire(struct ub_context *ctx, u64 now);
void ub_linger_close_all(struct ub_context *ctx);
/* A child closes its copies. */
void ub_linger_forked(struct ub_context *ctx);

/* ---- ub_conn.c ---------------------------------------------------------- */

void ub_conn_init(struct ub_qp *qp);
/*
 * Do what the engine wants to be done with the stream, and go on with the
 * hand-shake. Turn held.
 */
void ub_conn_step(struct ub_qp *qp, u64 now);
/* The same at the end of a turn, in which all that could be sent was. Turn held. */
void ub_conn_settle(struct ub_qp *qp, u64 now);
/* The QP has reached RTR: calls that came before are looked at again. Turn held. */
void ub_conn_start(struct ub_qp *qp, u64 now);
/* A caller with its hello; takes it over. Turn held. */
void ub_conn_offer(struct ub_qp *qp, struct ub_caller *caller, u64 now);
/*
 * RESET and destruction: when this returns nothing that was under way can be
 * executed any more, and no call is parked. The engine is not told. Turn held.
 */
void ub_conn_close(struct ub_qp *qp);
/*
 * TCP resets the connection @fd and drops what it has queued: requests whose end is
 * reported now, or was not waited for, must not be executed later.
 */
void ub_conn_cut(int fd);
/* The stream is over. Turn held. */
void ub_conn_lost(struct ub_qp *qp, u64 now);
/* TZ_DIAL_PARTING: has the peer ended, too? Reads what it still says. */
bool ub_conn_peer_done(struct ub_qp *qp);
/*
 * What epoll says about the socket @ufd of a QP's connection. If another thread
 * has the turn it will look. Returns the bytes received in this one.
 */
u32 ub_conn_event(struct ub_fd *ufd, u32 events, u64 now);
void ub_conn_ready(struct ub_context *ctx, struct ub_fd *ufd, u32 events);

/* ---- ub_listen.c -------------------------------------------------------- */

/*
 * A queue pair number on which @qp is reachable; 0 with errno. @ud: by
 * datagrams; then it gets its socket. ctx->lock.
 */
u32 ub_listen_add(struct ub_context *ctx, struct ub_qp *qp, bool ud);
void ub_listen_del(struct ub_context *ctx, u32 qpn);
void ub_listen_close_all(struct ub_context *ctx);
/* Refuse @caller for the reason @why, and close it. The same. */
void ub_caller_refuse(struct ub_caller *caller, enum tz_hello_status why);
/* Close and free @caller, which is in no epoll set and in no lobby. */
void ub_caller_close(struct ub_caller *caller);
/* Close connections that are too slow, accept again; returns when to look again, or 0. */
u64 ub_listen_expire(struct ub_context *ctx, u64 now);

/* ---- ub_sock.c ---------------------------------------------------------- */

/* The peer's address: the GID's IP, the port that the QPN names. */
void ub_sock_addr(const struct ub_context *ctx, const u8 gid[16], u16 port,
		  struct sockaddr_storage *ss, socklen_t *len);
/* The GID of a socket address. */
bool ub_sock_gid(const struct sockaddr_storage *ss, u8 gid[16]);
/* Options of a connection's socket: no delay, congestion control, DSCP. */
void ub_sock_tune(struct ub_qp *qp, int fd);
/*
 * Does what is sent to @qp's peer leave this host by hardware, so that no process here
 * can get hold of the pages that it was sent from?
 */
bool ub_sock_leaves_host(const struct ub_qp *qp);
u16 ub_sock_port(const struct ub_context *ctx, u32 qpn);
/* See tz_ops.heard_ns. Turn held. */
u64 ub_sock_heard_ns(struct tz_qp *eng, u64 now);
/* The peer itself has spoken: its host is not to be asked any more. */
void ub_sock_stop_asking(struct ub_conn *c);

/* ---- ub_progress.c ------------------------------------------------------ */

int ub_progress_start(struct ub_context *ctx);
void ub_progress_stop(struct ub_context *ctx);
/* Is the calling thread @ctx's progress thread? */
bool ub_progress_is_this(const struct ub_context *ctx);
/* Make the progress thread look again now. */
void ub_progress_wake(struct ub_context *ctx);
/* Make it wake at @at at the latest. */
void ub_progress_by(struct ub_context *ctx, u64 at);
int ub_watch_fd(struct ub_context *ctx, int fd, struct ub_fd *ufd, u32 events);
/*
 * Take @fd out of the epoll set @epfd (-1: it is in none) and close it. Descriptors
 * that may be watched are closed by this alone (scripts/lint).
 */
void ub_fd_close(int epfd, int fd);

#endif /* TCPZC_UB_H */
