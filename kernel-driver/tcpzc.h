/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * tcpzc.h - objects of the kernel driver, and what its files call of each other.
 *
 *   main.c	module, `rdma link add`, netdev events, device registration
 *   verbs.c	device, port, contexts, protection domains, mapping of rings
 *   mr.c	memory regions: pinned pages, keys, copying
 *   cq.c srq.c	completion queues, shared receive queues
 *   qp.c	queue pairs: creation, states, destruction
 *   stats.c	hardware counters, restrack
 *   near.c	whether packets may refer to regions' pages
 *   refer.c	how long they may
 *   io.c	data path: sockets' callbacks, receiving, sending, doorbells
 *   conn.c	a queue pair's connection: dialing, hand-shake, the end
 *   listen.c	the well-known port: listeners, connections without their hello
 *   linger.c	sockets that have said all
 *   ud.c	datagrams: the well-known UDP port, UD queue pairs, the GSI
 *   kverbs.c	posting and polling for users in the kernel
 *
 * Who does the work. Received data is placed by the socket's data_ready
 * callback, in the softirq that brought it: no thread is woken. Sending is
 * done by whoever has something to send: the doorbell's system call, or a BH
 * work item that runs after the softirq's batch of packets (acknowledgements,
 * answers, what waits in the ring). Both do it with bottom halves off and the
 * socket's spinlock held, as TCP's own tasklet for deferred sending does
 * (tcp_tsq_workfn); a socket that is owned by a process meanwhile, which is
 * rare, is tried again from a work queue. Processes connect and close.
 *
 * Lock order, outer to inner:
 *	tcpzc_net.lock		listeners of a network namespace
 *	tcpzc_dev.qps_sem	a device's queue pairs
 *	tcpzc_ibqp.lock		a queue pair's existence, for `rdma resource`
 *	tcpzc_qp.mutex		states and connection of a queue pair; sleeps
 *	tcpzc_dev.stats_lock	beside the others; qps_sem is within it
 *	lock_sock(sk)
 *	sk->sk_lock.slock	serialises sending and receiving on one socket
 *	tcpzc_qp.lock		the engine of a queue pair
 *	tcpzc_srq.lock
 *	tcpzc_cq.lock
 * The spinlocks are taken with bottom halves off.
 */
#ifndef TCPZC_KERNEL_H
#define TCPZC_KERNEL_H

#include <linux/bvec.h>
#include <linux/hrtimer.h>
#include <linux/idr.h>
#include <asm/local64.h>
#include <linux/mutex.h>
#include <linux/net.h>
#include <linux/refcount.h>
#include <linux/rwsem.h>
#include <linux/spinlock.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>
#include <net/sock.h>
#include <rdma/ib_verbs.h>
#include <rdma/ib_umem.h>

#include "compat.h"
#include "tz_attr.h"
#include "tz_dial.h"
#include "tz_key.h"
#include "tz_qp.h"
#include "tz_ud.h"
#include <rdma/tcpzc-abi.h>

#define TCPZC_PORT_NUM		1
#define TCPZC_GID_TBL_LEN	256
#define TCPZC_MIN_QPN		2u	/* 1 is the GSI's */
#define TCPZC_MAX_QPN		((1024u << 8) - 1)
#define TCPZC_MAX_QP		65536
#define TCPZC_MAX_PD		65536
#define TCPZC_MAX_CQ		65536
#define TCPZC_MAX_SRQ		65536
#define TCPZC_MAX_AH		(1 << 20)
#define TCPZC_MAX_MR		(1u << TZ_KEY_INDEX_BITS)
#define TCPZC_TX_BVECS		64
/* In reserved[0] of completions for users in the kernel: bits 0 to 15 are a VLAN. */
#define TCPZC_VLAN		(1u << 16)

struct tcpzc_net;

/* Module parameters; see docs/tuning.md. */
extern ushort tcpzc_port;		/* well-known TCP port */
extern uint tcpzc_copy_threshold;	/* payload up to this is copied, bytes */
/* When packets refer to regions' pages; see near.c. */
enum { TCPZC_REFER_NEVER, TCPZC_REFER_FAR, TCPZC_REFER_ALWAYS };
extern uint tcpzc_by_reference;
extern char *tcpzc_cc;			/* congestion control; NULL: default */
extern uint tcpzc_min_retry_ms;		/* floor of the peer's silence */
extern uint tcpzc_max_silence_ms;	/* if its host is there; see tz_qp_init */

/* ---- objects ------------------------------------------------------------ */

/* What the driver counts beside the engine's struct tz_stats. */
enum tcpzc_counter {
	TCPZC_CNT_DOORBELLS,		/* doorbell system calls */
	TCPZC_CNT_TX_TURNS,		/* times that sending was tried */
	TCPZC_CNT_TX_FULL,		/* the socket took no more */
	TCPZC_CNT_TX_OWNED,		/* a process owned the socket: tried again */
	TCPZC_CNT_TX_ZCOPY_BYTES,	/* payload sent by reference */
	TCPZC_CNT_TX_COPY_BYTES,	/* payload copied when sent */
	TCPZC_CNT_RX_TURNS,
	TCPZC_CNT_CONNS,		/* connections established */
	TCPZC_CNT_CONNS_LOST,
	TCPZC_CNT_CONN_RETRIES,
	TCPZC_CNT_HELLOS_REFUSED,
	TCPZC_CNT_HELLOS_GARBAGE,
	TCPZC_CNT_HELLOS_EXPIRED,
	TCPZC_CNT_CQ_OVERRUNS,
	TCPZC_CNT_UD_STRAY,		/* datagrams for no queue pair */
	TCPZC_COUNTERS
};

/* Values of struct tz_stats. */
#define TCPZC_QP_STATS	20

struct tcpzc_pcpu {
	local64_t cnt[TCPZC_COUNTERS];
};

struct tcpzc_dev;

struct tcpzc_ucontext {
	struct ib_ucontext ib;
	u64 part_until;			/* its process exits: see tcpzc_part_until() */
};

/* A ring that is mapped into the application. */
struct tcpzc_uring {
	struct rdma_user_mmap_entry entry;	/* first */
	struct tcpzc_ring_hdr *hdr;	/* vmalloc_user(); slots follow */
	u8 *slots;
	u32 depth;			/* a power of two; 0: no ring */
	u32 stride;
	size_t bytes;			/* whole pages */
};

struct tcpzc_pd {
	struct ib_pd ib;
	u32 pdn;			/* not 0 */
};

/*
 * Pinned memory in blocks of one size, the largest into which it can be cut:
 * pages, huge pages, or whatever is contiguous.
 */
struct tcpzc_blocks {
	void **addr;			/* where the kernel sees them */
	u32 num;
	u32 shift;			/* log2 of a block's size */
	u64 first;			/* of the region's first byte in addr[0] */
};

struct tcpzc_ah {
	struct ib_ah ib;
	struct rdma_ah_attr attr;
};

struct tcpzc_mr {
	struct ib_mr ib;
	struct tz_mr tz;
	struct tcpzc_dev *dev;
	struct ib_umem *umem;
	struct tcpzc_blocks blocks;
	u64 start;			/* address in the application */
	int access;			/* IB_ACCESS_*, for re-registration */
	u32 num;			/* index and generation */
	refcount_t refs;		/* the table's, and the engines' */
	struct rcu_head rcu;
};

struct tcpzc_dev {
	struct ib_device ib;
	struct net_device *netdev;
	netdevice_tracker netdev_tracker;
	struct net *net;		/* where its sockets live */
	struct tcpzc_net *tnet;		/* its listener; one reference */
	struct list_head net_node;	/* tcpzc_net.devs */
	u32 ifindex;

	struct xarray qps;		/* by number */
	struct rw_semaphore qps_sem;	/* who holds it keeps them all alive */
	atomic_t num_qps, num_cqs, num_srqs, num_ahs;
	struct xarray mrs;		/* by index, see tz_key.h; RCU */
	u32 next_mr;
	u32 mr_gen;			/* generation of the next; xa_lock */
	struct tz_key_secret secret;
	struct tcpzc_mr dma_mr;		/* all memory, for users in the kernel */
	spinlock_t refs_lock;
	struct list_head refs;		/* tcpzc_refs.node */
	struct ida pdns;
	enum ib_port_state port_state;	/* as last reported */
	struct work_struct gids_work;	/* see tcpzc_addr_event() */
	bool gids_fewer;

	struct tcpzc_pcpu __percpu *pcpu;
	struct mutex stats_lock;	/* what counts where; see stats.c */
	u64 gone[TCPZC_QP_STATS];	/* of queue pairs that were destroyed */
	struct xarray counters;		/* `rdma statistic qp`, by id */
};

struct tcpzc_cq {
	struct ib_cq ib;
	struct tcpzc_dev *dev;
	spinlock_t lock;		/* producer side of the ring */
	struct tcpzc_uring *ring;	/* replaced under lock */
	u32 prod;
	u32 solicited;			/* behind the last such entry */
	u32 notified;			/* prod when an event was last raised */
	bool overrun;
	spinlock_t poll_lock;		/* users in the kernel: consumer side */
};

struct tcpzc_srq {
	struct ib_srq ib;
	struct tcpzc_dev *dev;
	spinlock_t lock;		/* consumer side */
	struct tcpzc_uring *ring;
	struct tz_rq rq;
	u32 max_wr;
	u32 max_sge;
	u32 limit;
	struct list_head starving;	/* tcpzc_qp.srq_node: found it empty */
	spinlock_t post_lock;		/* users in the kernel: producer side */
	u32 post_prod;
	struct work_struct feed_work;
};

/* What near.c has found out of a connection whose packets go to an interface. */
struct tcpzc_near {
	const struct sock *sk;		/* NULL: nothing */
	int ifindex;
	bool ok;
	bool kernel;			/* the other end is this kernel's own */
};

/* The sockets of a queue pair; where the connection stands the engine knows. */
struct tcpzc_conn {
	struct socket *sock;		/* that we write to; under qp->mutex */
	struct socket *rsock;		/*
					 * that we read from: the same, but for a
					 * QP connected to itself
					 */
	/* Under qp->lock: */
	struct sock *wsk, *rsk;		/* theirs while passes may use them */
	enum tz_dial_state noted;	/* the state that was traced last */
	struct tcpzc_near near;
	struct tcpzc_refs *refs;	/* NULL: nothing was sent that way */
	bool eof;			/* the stream has ended */
	bool over;			/* and the engine knows: sockets to be put away */
	bool abort;			/*
					 * close by a reset: what has not been
					 * delivered must not be, later
					 */
	bool asking;			/* keepalive asks the peer's host; with the socket */
	struct work_struct work;	/* everything that may sleep */
	struct work_struct owned_work;	/* the socket was owned by a process */
	wait_queue_head_t wait;		/* for the peer's end */
};

/* A stream from outside whose queue pair has not taken it yet. */
struct tcpzc_caller {
	struct tz_caller call;
	struct tcpzc_net *tnet;
	struct socket *sock;
	struct work_struct work;	/* reads its hello */
};

/*
 * What ib_core allocates of a queue pair is outside of the process's memory cgroup,
 * and in one piece; so it is small. `rdma resource` may look at it after the rest
 * has gone.
 */
struct tcpzc_ibqp {
	struct ib_qp ib;
	struct mutex lock;		/* outside of tcpzc_qp.mutex */
	struct tcpzc_qp *qp;		/* NULL: destroyed */
};
static_assert(sizeof(struct tcpzc_ibqp) <= PAGE_SIZE, "one piece");

struct tcpzc_qp {
	struct ib_qp *ib;
	struct tcpzc_dev *dev;
	struct tcpzc_cq *send_cq, *recv_cq;
	struct tcpzc_srq *srq;
	struct list_head srq_node;	/* tcpzc_srq.starving, under its lock */
	struct tcpzc_uring *sq, *rq;	/* rq is NULL without a receive queue */
	struct {
		struct rdma_ah_attr ah_attr;
	} attr;				/* what the engine does not keep; mutex */

	refcount_t refs;		/* lookups by number */
	struct completion released;
	struct mutex mutex;
	spinlock_t lock;
	struct tz_qp eng;
	struct tcpzc_conn conn;
	bool dead;			/* being destroyed; under lock */

	struct work_struct bh_work;	/* a turn of io.c, in softirq */
	struct hrtimer timer;
	u64 timer_by;			/* when it fires at the latest */
	u64 look_at;			/* when to look at the ring again; 0 */
	u32 seen;			/* ring's producer index at the last look */
	u32 sq_flags;			/* what the ring's flags were set to */
	u64 tx_full_at;			/* the socket took no more; 0: it did */
	bool tx_busy;			/* within tcp_sendmsg_locked() */
	bool rx_again;			/* unread data was left on purpose */
	struct bio_vec bvec[TCPZC_TX_BVECS];

	/* UD (ud.c): */
	struct tcpzc_ud *ud;		/* the datagram that is sent; under mutex */
	struct work_struct ud_work;
	u32 rx_vlan;			/* TCPZC_VLAN, and the received one's; under lock */

	/* Users in the kernel (kverbs.c): */
	bool kernel;
	spinlock_t ksq_lock, krq_lock;	/* producer sides; interrupts off */
	u32 ksq_prod, krq_prod;
	void *bufs;			/* engine's buffers and swqes, one vmalloc */
	/* Under tcpzc_dev.stats_lock, of the engine's: */
	u64 stats_from[TCPZC_QP_STATS];	/* when it was bound to ib.counter */
	u64 stats_elsewhere[TCPZC_QP_STATS]; /* counted by others, not the port */
};

#define TCPZC_OBJ(name, type)							\
	static inline struct tcpzc_##name *to_t##name(struct ib_##type *p)	\
	{									\
		return container_of(p, struct tcpzc_##name, ib);		\
	}
TCPZC_OBJ(dev, device)
TCPZC_OBJ(ucontext, ucontext)
TCPZC_OBJ(pd, pd)
TCPZC_OBJ(ah, ah)
TCPZC_OBJ(mr, mr)
TCPZC_OBJ(cq, cq)
TCPZC_OBJ(srq, srq)

static inline struct tcpzc_qp *to_tqp(struct ib_qp *ibqp)
{
	return container_of(ibqp, struct tcpzc_ibqp, ib)->qp;
}

static inline struct tcpzc_qp *tcpzc_qp_of(struct tz_qp *eng)
{
	return container_of(eng, struct tcpzc_qp, eng);
}

static inline struct tcpzc_mr *tcpzc_mr_of(struct tz_mr *tz)
{
	return container_of(tz, struct tcpzc_mr, tz);
}

/*
 * Any context. Not this_cpu_add(), which disables interrupts on machines that have
 * no instruction for it.
 */
static inline void tcpzc_count(struct tcpzc_dev *dev, enum tcpzc_counter c, u64 n)
{
	local64_add(n, &get_cpu_ptr(dev->pcpu)->cnt[c]);
	put_cpu_ptr(dev->pcpu);
}

/* One more of @max objects; false: there are so many. */
static inline bool tcpzc_take(atomic_t *num, int max)
{
	return atomic_add_unless(num, 1, max);
}

/* ---- main.c ------------------------------------------------------------- */

/* Is the network interface up, with a carrier? */
enum ib_port_state tcpzc_port_state(const struct net_device *netdev);

/* ---- verbs.c ------------------------------------------------------------ */

int tcpzc_query_device(struct ib_device *ibdev, struct ib_device_attr *attr,
		       struct ib_udata *udata);
void tcpzc_get_fw_str(struct ib_device *ibdev, char *str);
int tcpzc_query_port(struct ib_device *ibdev, u32 port,
		     struct ib_port_attr *attr);
int tcpzc_port_immutable(struct ib_device *ibdev, u32 port,
			 struct ib_port_immutable *imm);
int tcpzc_query_pkey(struct ib_device *ibdev, u32 port, u16 index, u16 *pkey);
enum rdma_link_layer tcpzc_link_layer(struct ib_device *ibdev, u32 port);
int tcpzc_alloc_ucontext(struct ib_ucontext *ibctx, struct ib_udata *udata);
void tcpzc_dealloc_ucontext(struct ib_ucontext *ibctx);
void tcpzc_disassociate_ucontext(struct ib_ucontext *ibctx);
int tcpzc_alloc_pd(struct ib_pd *ibpd, struct ib_udata *udata);
int tcpzc_dealloc_pd(struct ib_pd *ibpd, struct ib_udata *udata);
int tcpzc_create_ah(struct ib_ah *ibah, struct rdma_ah_init_attr *attr,
		    struct ib_udata *udata);
int tcpzc_query_ah(struct ib_ah *ibah, struct rdma_ah_attr *attr);
int tcpzc_destroy_ah(struct ib_ah *ibah, u32 flags);
int tcpzc_mmap(struct ib_ucontext *ibctx, struct vm_area_struct *vma);
void tcpzc_mmap_free(struct rdma_user_mmap_entry *entry);

/* Give the application the driver's part of an answer: all of it, or -EINVAL. */
int tcpzc_respond(struct ib_udata *udata, const void *resp, size_t bytes);

/*
 * A zeroed ring of @depth slots for the application behind @udata; an
 * ERR_PTR() otherwise. tcpzc_uring_free() waits for no mapping: the pages go
 * when the last one does.
 */
struct tcpzc_uring *tcpzc_uring_alloc(struct ib_udata *udata, u32 depth,
				      u32 stride);
void tcpzc_uring_free(struct tcpzc_uring *ring);
/* Where the application is to map it; @ring may be NULL. */
void tcpzc_uring_desc(const struct tcpzc_uring *ring,
		      struct tcpzc_uresp_ring *out);

static inline void *tcpzc_uring_slot(const struct tcpzc_uring *ring, u32 idx)
{
	return ring->slots + (size_t)(idx & (ring->depth - 1)) * ring->stride;
}

/* The ring as the engine sees it. */
static inline struct tz_ring tcpzc_engine_ring(const struct tcpzc_uring *ring)
{
	return (struct tz_ring) {
		.hdr = ring->hdr,
		.slots = ring->slots,
		.depth = ring->depth,
		.stride = ring->stride,
	};
}

/* ---- mr.c --------------------------------------------------------------- */

struct ib_mr *tcpzc_reg_user_mr(struct ib_pd *ibpd, u64 start, u64 len,
				u64 virt, int access, TCPZC_DMAH_PARAM
				struct ib_udata *udata);
struct ib_mr *tcpzc_get_dma_mr(struct ib_pd *ibpd, int access);
struct ib_mr *tcpzc_reg_user_mr_dmabuf(struct ib_pd *ibpd, u64 offset, u64 len,
				       u64 virt, int fd, int access,
				       TCPZC_DMAH_PARAM
				       struct uverbs_attr_bundle *attrs);
struct ib_mr *tcpzc_rereg_user_mr(struct ib_mr *ibmr, int flags, u64 start,
				  u64 len, u64 virt, int access,
				  struct ib_pd *ibpd, struct ib_udata *udata);
int tcpzc_dereg_mr(struct ib_mr *ibmr, struct ib_udata *udata);
/* The region of all memory that @dev's local_dma_lkey names. */
void tcpzc_dma_mr_init(struct tcpzc_dev *dev);

struct tz_mr *tcpzc_mr_find(struct tz_qp *eng, u32 key);
void tcpzc_mr_get(struct tz_mr *mr);
void tcpzc_mr_put(struct tz_mr *mr);
void tcpzc_mr_write(struct tz_mr *mr, u64 off, const void *src, u32 len);
void tcpzc_mr_read(struct tz_mr *mr, u64 off, void *dst, u32 len);
u64 tcpzc_mr_atomic(struct tz_mr *mr, u64 off, enum tz_atomic_kind kind,
		    u64 compare_add, u64 swap);

/*
 * The longest run of bytes at @off of @mr that is contiguous in the kernel's
 * address space, at most @len; *@run bytes of it.
 */
void *tcpzc_mr_run(const struct tcpzc_mr *mr, u64 off, u32 len, u32 *run);

/* Describe [@off, @off + @len) by at most @max vectors; returns how many. */
u32 tcpzc_mr_bvec(const struct tcpzc_mr *mr, u64 off, u32 len,
		  struct bio_vec *bvec, u32 max, u32 *bytes);

/*
 * May packets refer to the pages of [@off, @off + *@bytes) of @mr? The answer is
 * for *@bytes, which may be fewer then.
 */
bool tcpzc_mr_sendable(const struct tcpzc_mr *mr, u64 off, u32 *bytes);

/* ---- cq.c --------------------------------------------------------------- */

int tcpzc_create_cq(struct ib_cq *ibcq, const struct ib_cq_init_attr *attr,
		    struct uverbs_attr_bundle *attrs);
int tcpzc_resize_cq(struct ib_cq *ibcq, TCPZC_RESIZE_CQE cqe,
		    struct ib_udata *udata);
int tcpzc_destroy_cq(struct ib_cq *ibcq, struct ib_udata *udata);
int tcpzc_poll_cq(struct ib_cq *ibcq, int num, struct ib_wc *wc);
int tcpzc_req_notify_cq(struct ib_cq *ibcq, enum ib_cq_notify_flags flags);

/* Does somebody sleep, or is about to, until @cq has something? Any context. */
bool tcpzc_cq_armed(struct tcpzc_cq *cq);
/* Write a completion and raise what events it is to raise. Any context. */
void tcpzc_cq_push(struct tcpzc_cq *cq, const struct tcpzc_cqe *cqe);

/* ---- srq.c -------------------------------------------------------------- */

int tcpzc_create_srq(struct ib_srq *ibsrq, struct ib_srq_init_attr *attr,
		     struct ib_udata *udata);
int tcpzc_modify_srq(struct ib_srq *ibsrq, struct ib_srq_attr *attr,
		     enum ib_srq_attr_mask mask, struct ib_udata *udata);
int tcpzc_query_srq(struct ib_srq *ibsrq, struct ib_srq_attr *attr);
int tcpzc_destroy_srq(struct ib_srq *ibsrq, struct ib_udata *udata);

bool tcpzc_srq_take(struct tz_qp *eng, struct tz_rwqe *out);
/* Something was posted: the queue pairs that wait for it look again. */
void tcpzc_srq_feed(struct tcpzc_srq *srq);
/* @qp waits no more, and will not. */
void tcpzc_srq_forget(struct tcpzc_qp *qp);

/* ---- qp.c --------------------------------------------------------------- */

int tcpzc_create_qp(struct ib_qp *ibqp, struct ib_qp_init_attr *attr,
		    struct ib_udata *udata);
int tcpzc_modify_qp(struct ib_qp *ibqp, struct ib_qp_attr *attr, int mask,
		    struct ib_udata *udata);
int tcpzc_query_qp(struct ib_qp *ibqp, struct ib_qp_attr *attr, int mask,
		   struct ib_qp_init_attr *init);
int tcpzc_destroy_qp(struct ib_qp *ibqp, struct ib_udata *udata);

extern const struct tz_ops tcpzc_engine_ops;

/* The queue pair of that number, with a reference; NULL if there is none. */
struct tcpzc_qp *tcpzc_qp_get(struct tcpzc_dev *dev, u32 qpn);
void tcpzc_qp_put(struct tcpzc_qp *qp);
/*
 * The queue pair of that number, not the GSI's, whose device in @tnet has @gid; with
 * a reference, or NULL. Any context.
 */
struct tcpzc_qp *tcpzc_qp_find(struct tcpzc_net *tnet, const u8 *gid, u32 qpn);
/* Until when (ktime_get_ns()) the destruction of an object may wait for peers. */
u64 tcpzc_part_until(const struct ib_pd *ibpd);
/* All that applications have posted is flushed; nothing is sent any more. */
void tcpzc_qps_abandon(struct tcpzc_dev *dev);
/* Wait until no engine of @dev is in a call that began before this one. */
void tcpzc_qp_barrier(struct tcpzc_dev *dev);

/* ---- stats.c ------------------------------------------------------------ */

extern const struct ib_device_ops tcpzc_stats_ops;
/* The port's counters go on where those of @qp end. */
void tcpzc_stats_gone(struct tcpzc_qp *qp);

/* ---- alive.c ------------------------------------------------------------ */

/* tz_ops.heard_ns. With qp->lock, and the spinlock of the socket if there is one. */
u64 tcpzc_alive_heard_ns(struct tz_qp *eng, u64 now);
/* If the peer itself has spoken, its host is not asked any more. Likewise. */
void tcpzc_alive_settle(struct tcpzc_qp *qp, struct sock *sk);

/* ---- near.c ------------------------------------------------------------- */

/* May @sk's packets refer to regions' pages? The socket is ours. */
bool tcpzc_may_refer(struct tcpzc_near *near, struct sock *sk);
/* If @sk's other end is a socket of this module: has it read all up to @seq? */
bool tcpzc_near_has_read(const struct sock *sk, u32 seq);
/* Close that end: what it has not read it does not read any more. May sleep. */
void tcpzc_near_abort(const struct sock *sk);

/* ---- refer.c ------------------------------------------------------------ */

/*
 * May what is sent on @sk refer to regions' pages? If so, the caller says what did.
 * The socket is ours, and qp->lock is held.
 */
bool tcpzc_refer(struct tcpzc_qp *qp, struct sock *sk);
void tcpzc_referred(struct tcpzc_qp *qp, const struct tcpzc_mr *mr);
/* The queue pair sends no more on its connection. qp->lock is held. */
void tcpzc_refs_part(struct tcpzc_qp *qp);
/*
 * No packet refers to the region @mr (NULL: any) because of @qp (NULL: any) when this
 * returns. Nothing new is sent that does. Peers have time until @until
 * (ktime_get_ns()); then the connection is reset. May sleep.
 */
void tcpzc_refs_wait(struct tcpzc_dev *dev, const struct tcpzc_mr *mr,
		     const struct tcpzc_qp *qp, u64 until);
/* Forget what is over; at the device's end, all. */
void tcpzc_refs_sweep(struct tcpzc_dev *dev);
void tcpzc_refs_exit(struct tcpzc_dev *dev);

/* ---- io.c --------------------------------------------------------------- */

void tcpzc_io_init(struct tcpzc_qp *qp);
/* No turn, timer or callback runs for @qp when this returns. May sleep. */
void tcpzc_io_exit(struct tcpzc_qp *qp);
/* Do what is due: timers, sending, receiving after a stall. Not under locks. */
void tcpzc_io_run(struct tcpzc_qp *qp);
/* Set the flags (TCPZC_RING_*) of the send queue's ring. qp->lock is held. */
void tcpzc_sq_flag(struct tcpzc_qp *qp, u32 flags);
/* Have it done soon, from any context, under any lock. */
void tcpzc_io_kick(struct tcpzc_qp *qp);
/* Have @sk call back for @qp; no more. May sleep. */
void tcpzc_sk_adopt(struct sock *sk, struct tcpzc_qp *qp);
void tcpzc_sk_abandon(struct sock *sk);
/* The hand-shake on qp->conn.sock (and .rsock) is over: use it. qp->mutex is held. */
void tcpzc_io_attach(struct tcpzc_qp *qp);
/* No pass uses the sockets any more. qp->lock is held. */
void tcpzc_io_detach(struct tcpzc_qp *qp);
/* The connection's state may have changed: trace it. qp->lock is held. */
void tcpzc_conn_note(struct tcpzc_qp *qp);
/*
 * Before the QP leaves its state for ERR, RESET or nowhere: send what is posted
 * and what acknowledgements are owed, as far as the socket takes it. May sleep;
 * qp->mutex is held.
 */
void tcpzc_io_catch_up(struct tcpzc_qp *qp);
/* Doorbells: ib_device_ops.post_send, .post_recv, .post_srq_recv. */
int tcpzc_post_send(struct ib_qp *ibqp, const struct ib_send_wr *wr,
		    const struct ib_send_wr **bad_wr);
int tcpzc_post_recv(struct ib_qp *ibqp, const struct ib_recv_wr *wr,
		    const struct ib_recv_wr **bad_wr);
int tcpzc_post_srq_recv(struct ib_srq *ibsrq, const struct ib_recv_wr *wr,
			const struct ib_recv_wr **bad_wr);

/* ---- conn.c ------------------------------------------------------------- */

/* The socket address that @gid names; its size in bytes. */
int tcpzc_gid_to_addr(const struct tcpzc_dev *dev, const u8 gid[16], u16 port,
		      struct sockaddr_storage *ss);
/* The port at which a queue pair of that number is reachable. */
u16 tcpzc_qpn_port(u32 qpn);
/* The GID of @sk's peer; false if it has none. */
bool tcpzc_peer_gid(struct socket *sock, u8 gid[16]);
/* That of its own end. */
bool tcpzc_own_gid(struct socket *sock, u8 gid[16]);
/* All of a hello, or nothing: 0 or -errno. */
int tcpzc_send_hello(struct socket *sock, const struct tz_hello *hello);
/* More of a hello, @bytes at most: how many, or -errno. */
int tcpzc_recv_hello(struct socket *sock, u8 *ptr, u32 bytes);
void tcpzc_conn_init(struct tcpzc_qp *qp);
/* The QP has reached RTR. qp->mutex is held. */
void tcpzc_conn_start(struct tcpzc_qp *qp);
/*
 * RESET or destruction is to come. True: requests are under way, the end of the
 * stream was sent, and tcpzc_conn_close() may wait for the peer's. qp->mutex is held.
 */
bool tcpzc_conn_part(struct tcpzc_qp *qp);
/*
 * RESET or destruction: closes sockets, forgets parked calls. Waits for the peer's end
 * if tcpzc_conn_part() says so, until @until (ktime, ns) at most. @end tells the engine,
 * with qp->lock: what runs beside this sees both changes or none. When it returns no
 * packet refers to the application's memory any more. qp->mutex is held.
 */
void tcpzc_conn_close(struct tcpzc_qp *qp, void (*end)(struct tcpzc_qp *qp),
		      u64 until);
/* After the last tcpzc_conn_close(): no work runs any more. No lock is held. */
void tcpzc_conn_exit(struct tcpzc_qp *qp);
/* A caller with its hello for @qp; takes it over. */
void tcpzc_conn_offer(struct tcpzc_qp *qp, struct tcpzc_caller *caller);

/* ---- linger.c ----------------------------------------------------------- */

/* Release @sock, which has nothing to say that the peer needs, by a reset. */
void tcpzc_sock_reset(struct socket *sock);
/*
 * Send the end on @sock, and release it when the peer has ended, too, or when its
 * time is over; see TZ_LINGER_NS. May sleep.
 */
void tcpzc_linger(struct tcpzc_net *tnet, struct socket *sock,
		  enum tz_linger_kind kind);
/* Release all of @tnet now. May sleep. */
void tcpzc_linger_flush(struct tcpzc_net *tnet);

/* ---- listen.c ----------------------------------------------------------- */

#define TCPZC_FAMILIES	2		/* IPv4, IPv6 */

struct tcpzc_lingerers {
	struct list_head list;		/* the oldest first */
	u32 num, max;
};

/* What a network namespace with tcpzc devices has. */
struct tcpzc_net {
	struct net *net;
	struct mutex lock;		/* devs, listeners */
	struct list_head devs;		/* tcpzc_dev.net_node */
	struct xarray qps;		/* of all of them, by number */
	u32 next_qpn;
	u32 num_devs;			/* also those that are just leaving */
	wait_queue_head_t wait;		/* until there are none */
	struct socket *listener[TCPZC_FAMILIES];
	struct socket *udp[TCPZC_FAMILIES];
	struct work_struct accept_work;
	struct delayed_work expire_work;
	spinlock_t lobby_lock;
	struct tz_lobby lobby;		/* of tcpzc_caller.call */
	spinlock_t linger_lock;
	struct tcpzc_lingerers lingering, refused;
};

/* Release @caller and its socket; it is in no lobby. */
void tcpzc_caller_free(struct tcpzc_caller *caller);
/* The same, but for the socket, which is the caller's own from now on. */
struct socket *tcpzc_caller_sock(struct tcpzc_caller *caller);
/* Refuse it for the reason @why, and release it. May sleep. */
void tcpzc_caller_refuse(struct tcpzc_caller *caller, enum tz_hello_status why);

int tcpzc_listen_init(void);
/* There are no devices any more. */
void tcpzc_listen_exit(void);
/*
 * @dev is reachable from now on; its namespace listens. To be called with
 * dev->net set and before the device is registered; sets dev->tnet. 0 or
 * -errno.
 */
int tcpzc_listen_add(struct tcpzc_dev *dev);
/* In dealloc_driver: the device has no queue pairs any more. */
void tcpzc_listen_del(struct tcpzc_dev *dev);

/* Does the device, which is registered, have @gid? Any context. */
bool tcpzc_dev_has_gid(struct tcpzc_dev *dev, const u8 *gid);
/*
 * A device of @tnet that has @gid, with a reference; NULL. If there are several,
 * that of the interface with the index @ifindex. Any context.
 */
struct tcpzc_dev *tcpzc_dev_of_gid(struct tcpzc_net *tnet, const u8 *gid,
				   int ifindex);

/* AF_INET, AF_INET6: the order of tcpzc_net.listener and .udp. */
extern const int tcpzc_families[TCPZC_FAMILIES];

/* ---- ud.c --------------------------------------------------------------- */

/* The UDP sockets of @tnet, whose lock is held: 0 or -errno. */
int tcpzc_udp_open(struct tcpzc_net *tnet);
void tcpzc_udp_close(struct tcpzc_net *tnet);
/* What a queue pair of @type has beside the rest: 0 or -errno. */
int tcpzc_ud_init(struct tcpzc_qp *qp, u32 type);
/* Nothing is being sent any more when this returns. */
void tcpzc_ud_stop(struct tcpzc_qp *qp);
void tcpzc_ud_exit(struct tcpzc_qp *qp);
/* Has its socket no room? It sends when there is. */
bool tcpzc_ud_full(const struct tcpzc_qp *qp);
/* Send what is posted. May sleep; the first with qp->mutex held. */
void tcpzc_ud_run(struct tcpzc_qp *qp);
void tcpzc_ud_send(struct tcpzc_qp *qp);

/* ---- kverbs.c ----------------------------------------------------------- */

/* ib_device_ops for users in the kernel. Any context. */
int tcpzc_kpost_send(struct tcpzc_qp *qp, const struct ib_send_wr *wr,
		     const struct ib_send_wr **bad_wr);
int tcpzc_kpost_recv(struct tcpzc_qp *qp, const struct ib_recv_wr *wr,
		     const struct ib_recv_wr **bad_wr);
int tcpzc_kpost_srq_recv(struct tcpzc_srq *srq, const struct ib_recv_wr *wr,
			 const struct ib_recv_wr **bad_wr);

extern struct workqueue_struct *tcpzc_wq;	/* what may sleep */

#endif /* TCPZC_KERNEL_H */
