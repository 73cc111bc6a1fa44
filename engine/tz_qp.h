/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * tz_qp.h - one queue pair, sans I/O: reliable connection (RC), unreliable
 * connection (UC) or unreliable datagram (UD).
 *
 * A struct tz_qp is a pure state machine: it holds no lock, allocates nothing,
 * never sleeps, and has no socket and no clock. Its owner ("the backend": the
 * kernel module, the user-mode provider, the simulator) serialises all calls
 * for one QP, gives it memory when it is initialised, and passes the time.
 *
 * Receive:	n = tz_qp_rx_want(qp, vec, max)		where do bytes go next?
 *		tz_qp_rx_done(qp, bytes, now)		that many have arrived
 * Transmit:	tz_qp_tx_fill(qp, now)			make PDUs of what is due
 *		n = tz_qp_tx_peek(qp, vec, max)		which bytes go next?
 *		tz_qp_tx_done(qp, bytes, now)		that many were taken
 * Time:	tz_qp_deadline(qp)			when to call again at latest
 *		tz_qp_timer(qp, now)			a deadline may have passed
 *
 * rx_want and tx_peek change nothing and may be asked any number of times.
 * After any call the backend should look at tz_qp_deadline() again. All times
 * are nanoseconds of one monotonic clock; 0 means "never".
 *
 * The semantics are those of the InfiniBand Architecture Specification,
 * volume 1, chapters 9 (transport), 10 and 11 (verbs).
 *
 * UC is spoken over a connection like RC, but nothing is acknowledged: a work
 * request completes when tx_done() has taken its last byte, so the backend must
 * copy (tz_qp_tx_ref_bytes() is 0); what finds no receive, or lacks a right, is
 * dropped; so is, silently, all that is posted after the connection has ended.
 * UD has no connection; its datagrams go through tz_ud.h.
 */
#ifndef TZ_QP_H
#define TZ_QP_H

#include "deps.h"
#include "tz_wire.h"
#include <rdma/tcpzc-abi.h>

struct tz_qp;

/* ---- memory regions ----------------------------------------------------- */

/* Access rights; the values are those of enum ibv_access_flags. */
#define TZ_ACCESS_LOCAL_WRITE	(1u << 0)
#define TZ_ACCESS_REMOTE_WRITE	(1u << 1)
#define TZ_ACCESS_REMOTE_READ	(1u << 2)
#define TZ_ACCESS_REMOTE_ATOMIC	(1u << 3)
#define TZ_ACCESS_MW_BIND	(1u << 4)
#define TZ_ACCESS_FLUSH_GLOBAL	(1u << 8)
#define TZ_ACCESS_FLUSH_PERSISTENT (1u << 9)
#define TZ_ACCESS_OPTIONAL	0x3ff00000u	/* bits 20 to 29 */

/*
 * What the engine knows of a memory region; the backend embeds it in its own
 * object. Everything but @dead is constant while the region can be found.
 */
struct tz_mr {
	u64 iova;		/* address of the first byte as peers name it */
	u64 len;		/* bytes */
	u32 key;		/* lkey and rkey */
	u32 access;		/* TZ_ACCESS_* */
	u32 pdn;		/* protection domain */
	u32 dead;		/* deregistered: touch its memory no more */
};

/* A range of a region: @off counts from the region's first byte. */
struct tz_seg {
	struct tz_mr *mr;
	u64 off;
	u32 len;
};

/* Bytes to send or to receive into: plain memory if @mr is NULL. */
struct tz_vec {
	struct tz_mr *mr;
	u64 off;		/* offset in @mr */
	u8 *ptr;		/* plain memory */
	u32 len;
};

/* ---- rings -------------------------------------------------------------- */

/* A ring as the engine sees it; @slots and @hdr are shared, thus untrusted. */
struct tz_ring {
	struct tcpzc_ring_hdr *hdr;
	u8 *slots;
	u32 depth;		/* a power of two */
	u32 stride;		/* bytes of a slot */
};

/* A receive work request, copied out of its ring and validated. */
struct tz_rwqe {
	u64 wr_id;
	u32 num_sge;
	u32 bad;		/* malformed: complete with LOC_QP_OP_ERR */
	struct tcpzc_sge sge[TCPZC_MAX_SGE];
};

/* Consumer of a receive ring (RQ or SRQ). */
struct tz_rq {
	struct tz_ring ring;
	u32 cons;
	u32 posted;		/* index of the next post, as it was last read */
	u32 max_sge;
	bool doorbell;		/* posters ring it */
	bool bad;		/* the application's index made no sense */
};

/*
 * Take the oldest posted receive work request. Returns false if there is none, or
 * if the ring cannot be trusted: then it is bad for good. An SRQ's callers
 * serialise.
 */
bool tz_rq_take(struct tz_rq *rq, struct tz_rwqe *out);

/* Nothing of the ring has been taken but what is before @cons. */
void tz_rq_start(struct tz_rq *rq, u32 cons);

/*
 * From now on, or no longer, posts to the queue ring the doorbell. Pairs with the
 * poster's full barrier between its index and its look at the flag: what is taken
 * after this sees the post, or the poster sees this.
 */
void tz_rq_want_doorbell(struct tz_rq *rq, bool want);

/* Number of posted receive work requests, as far as the ring can be trusted. */
u32 tz_rq_count(const struct tz_rq *rq);

/* ---- backend ------------------------------------------------------------ */

enum tz_event {
	TZ_EVENT_SQ_DRAINED,
	TZ_EVENT_LAST_WQE_REACHED,
	TZ_EVENT_COMM_EST,
	TZ_EVENT_REQ_ERR,	/* the peer sent an invalid request */
	TZ_EVENT_ACCESS_ERR,	/* the peer lacked the right for its request */
	TZ_EVENT_FATAL,		/* the stream made no sense */
	TZ_EVENTS
};

/*
 * A host that does not answer is not taken for gone before TCP has sent the same
 * again so many times, each after twice the time of the one before (200 ms at
 * first): with one packet in ten lost, there and back, three in a row are often.
 */
#define TZ_MIN_RETRANSMITS	5

/* What the engine asks of its backend; called within the QP's calls only. */
struct tz_ops {
	/*
	 * The region of @key in the protection domain tz_qp.pdn, NULL if none. The
	 * pointer is good until the engine returns to the backend; the engine
	 * takes a reference (mr_get) when it keeps one longer.
	 */
	struct tz_mr *(*mr_find)(struct tz_qp *qp, u32 key);
	void (*mr_get)(struct tz_mr *mr);
	void (*mr_put)(struct tz_mr *mr);
	/*
	 * Copy to and from a region. mr_write publishes bytes in ascending
	 * order: a reader that sees the last one sees all others.
	 */
	void (*mr_write)(struct tz_mr *mr, u64 off, const void *src, u32 len);
	void (*mr_read)(struct tz_mr *mr, u64 off, void *dst, u32 len);
	/* 64-bit atomic on naturally aligned memory; returns the old value. */
	u64 (*mr_atomic)(struct tz_mr *mr, u64 off, enum tz_atomic_kind kind,
			 u64 compare_add, u64 swap);
	/* Take a work request of the QP's SRQ; false if it is empty. */
	bool (*srq_take)(struct tz_qp *qp, struct tz_rwqe *out);
	/* Completions of the send queue and of the receive queue, in order. */
	void (*complete_send)(struct tz_qp *qp, const struct tcpzc_cqe *cqe);
	void (*complete_recv)(struct tz_qp *qp, const struct tcpzc_cqe *cqe);
	void (*event)(struct tz_qp *qp, enum tz_event event);
	/*
	 * When the peer's host was last heard from, though its engine says
	 * nothing; 0: not known. First asked at half of the time for which the peer
	 * may be silent, so that the backend can have the host asked. May be NULL.
	 */
	u64 (*heard_ns)(struct tz_qp *qp, u64 now);
};

/* Counters, for `rdma statistic` and the environment variable TCPZC_STATS. */
struct tz_stats {
	u64 tx_bytes, rx_bytes;			/* payload */
	u64 tx_copied, rx_copied;		/* payload through staging */
	u64 tx_msgs, rx_msgs;
	u64 tx_pdus, rx_pdus;
	u64 tx_acks, rx_acks;			/* ACK PDUs, not piggybacked */
	u64 tx_rnr_naks, rx_rnr_naks;
	u64 tx_naks, rx_naks;
	u64 rx_dropped;				/* PDUs after an RNR NAK; UC, UD: messages */
	u64 rnr_stalls;
	u64 protocol_errors;
	u64 lost;				/* UC, UD: messages not sent */
	u64 rx_no_receive;			/* UC, UD: dropped for want of one */
	u64 rx_bad_key;				/* UC: rkey, UD: qkey; dropped */
};

/* ---- queue pair --------------------------------------------------------- */

/* Values of enum ibv_qp_state. */
enum tz_state {
	TZ_RESET, TZ_INIT, TZ_RTR, TZ_RTS, TZ_SQD, TZ_SQE, TZ_ERR, TZ_STATES
};

/* Attribute mask bits; the values are those of enum ibv_qp_attr_mask. */
#define TZ_QP_STATE			(1u << 0)
#define TZ_QP_CUR_STATE			(1u << 1)
#define TZ_QP_EN_SQD_ASYNC_NOTIFY	(1u << 2)
#define TZ_QP_ACCESS_FLAGS		(1u << 3)
#define TZ_QP_PKEY_INDEX		(1u << 4)
#define TZ_QP_PORT			(1u << 5)
#define TZ_QP_QKEY			(1u << 6)
#define TZ_QP_AV			(1u << 7)
#define TZ_QP_PATH_MTU			(1u << 8)
#define TZ_QP_TIMEOUT			(1u << 9)
#define TZ_QP_RETRY_CNT			(1u << 10)
#define TZ_QP_RNR_RETRY			(1u << 11)
#define TZ_QP_RQ_PSN			(1u << 12)
#define TZ_QP_MAX_QP_RD_ATOMIC		(1u << 13)
#define TZ_QP_ALT_PATH			(1u << 14)
#define TZ_QP_MIN_RNR_TIMER		(1u << 15)
#define TZ_QP_SQ_PSN			(1u << 16)
#define TZ_QP_MAX_DEST_RD_ATOMIC	(1u << 17)
#define TZ_QP_PATH_MIG_STATE		(1u << 18)
#define TZ_QP_CAP			(1u << 19)
#define TZ_QP_DEST_QPN			(1u << 20)
#define TZ_QP_RATE_LIMIT		(1u << 25)

/*
 * May a QP of @type (TZ_QPT_*) go from @from to @to with this attribute mask
 * (TZ_QP_STATE included or not)? IB specification 10.3.1 and table 96; the same
 * answer as ib_modify_qp_is_ok() of the kernel.
 */
bool tz_state_modify_ok(u32 type, enum tz_state from, enum tz_state to, u32 mask);

struct tz_qp_attr {
	enum tz_state state;
	enum tz_state cur_state;
	u32 access;		/* TZ_ACCESS_* that peers may use */
	u32 dest_qpn;
	u32 qkey;		/* UD */
	u32 sq_psn;
	u32 rq_psn;
	u32 path_mtu;		/* as enum ibv_mtu; asked for again, never used */
	u32 path_mig_state;
	u16 pkey_index;
	u8 port_num;
	bool sqd_notify;	/* an event when SQD has drained */
	bool sq_draining;	/* query only */
	u8 sgid[16];
	u8 dgid[16];
	u8 timeout;		/* 4.096 us * 2^timeout; 0: for ever */
	u8 retry_cnt;
	u8 rnr_retry;		/* 7: for ever */
	u8 min_rnr_timer;	/* 5-bit code */
	u8 max_rd_atomic;	/* as requester */
	u8 max_dest_rd_atomic;	/* as responder */
};

/* Constant for the life of a QP. */
struct tz_qp_init {
	const struct tz_ops *ops;
	u32 type;		/* TZ_QPT_*; 0: RC */
	u32 qpn;
	u32 pdn;
	u32 rq_pdn;		/* of receives: the SRQ's; 0: as @pdn */
	struct tz_ring sq;
	u32 sq_max_sge;
	u32 sq_max_inline;
	struct tz_ring rq;	/* depth 0: none, or an SRQ */
	u32 rq_max_sge;
	bool has_srq;
	bool sq_sig_all;
	struct tz_swqe *swqe;	/* sq.depth entries */
	u8 *tx_buf;		/* headers and small payloads; power of two */
	u32 tx_buf_bytes;
	u8 *rx_buf;		/* read-ahead of headers and small payloads */
	u32 rx_buf_bytes;
	u32 max_pdu;		/* bytes; 0: the default */
	u32 max_dgram;		/* UD: bytes of a message; 0: TZ_UD_MAX_BYTES */
	u32 copy_max;		/* payloads up to this are copied, bytes */
	u64 ack_delay_ns;	/* how long an ACK may wait to be carried */
	u64 rnr_stall_ns;	/* how long to wait for a receive before RNR */
	u64 min_retry_ns;	/* lower bound of the peer's silence */
	u64 max_silence_ns;	/* of a peer whose host is there; 0: no more */
};

/* Where the connection is, as the engine was told. */
enum tz_conn { TZ_CONN_NONE, TZ_CONN_UP, TZ_CONN_CLOSED };

#include "tz_qp_priv.h"

/* ---- what may be asked -------------------------------------------------- */

static inline bool tz_qp_is_uc(const struct tz_qp *qp)
{
	return qp->init.type == TZ_QPT_UC;
}

static inline bool tz_qp_is_ud(const struct tz_qp *qp)
{
	return qp->init.type == TZ_QPT_UD;
}

static inline u32 tz_qp_num(const struct tz_qp *qp)
{
	return qp->init.qpn;
}

/* What it was made with. */
static inline const struct tz_qp_init *tz_qp_made(const struct tz_qp *qp)
{
	return &qp->init;
}

/* As they were set; tz_attr_query() tells them as query_qp does. */
static inline const struct tz_qp_attr *tz_qp_attrs(const struct tz_qp *qp)
{
	return &qp->attr;
}

/* It may be read without the owner's lock, and be out of date then. */
static inline enum tz_state tz_qp_state(const struct tz_qp *qp)
{
	return tz_load_once(&qp->state);
}

static inline enum tz_conn tz_qp_conn(const struct tz_qp *qp)
{
	return qp->conn;
}

/* Is the connection to be closed, when tz_qp_tx_pending() is false? */
static inline bool tz_qp_closing(const struct tz_qp *qp)
{
	return qp->closing;
}

/* ERR, but the flush waits until nothing on its way refers to memory any more. */
static inline bool tz_qp_draining(const struct tz_qp *qp)
{
	return qp->draining;
}

/*
 * Would what the stream has queued or under way be taken for requests of this
 * queue pair that have not completed? Then it may be closed by a reset only (or
 * after the peer's end, which says that the peer has read everything): what has
 * failed, or was flushed, must never be executed later. RESET and destruction ask
 * as well.
 */
bool tz_qp_must_reset(const struct tz_qp *qp);

/*
 * The peer's time is over: the backend closes the stream at once, by a reset if
 * tz_qp_must_reset() says so (answers alone may still arrive), and calls
 * tz_qp_disconnected() afterwards. Not before that are the failed requests completed.
 */
bool tz_qp_must_cut(const struct tz_qp *qp);

/* Nothing more will be read from the connection. */
static inline bool tz_qp_rx_over(const struct tz_qp *qp)
{
	return qp->rx.state == TZ_RX_DEAD;
}

/* In which protection domain mr_find() is to look now. */
static inline u32 tz_qp_pdn(const struct tz_qp *qp)
{
	return qp->pdn;
}

/* Message numbers: of the next request, acknowledged before, expected next. */
static inline u32 tz_qp_next_msn(const struct tz_qp *qp)
{
	return qp->req.next_msn;
}

static inline u32 tz_qp_acked_msn(const struct tz_qp *qp)
{
	return qp->req.ack_msn;
}

static inline u32 tz_qp_expected_msn(const struct tz_qp *qp)
{
	return qp->rsp.expect_msn;
}

/* Ring indices of the send queue: completed before, to be imported next. */
static inline u32 tz_qp_completed(const struct tz_qp *qp)
{
	return qp->req.cons;
}

static inline u32 tz_qp_imported(const struct tz_qp *qp)
{
	return qp->req.next;
}

/* Receives posted to a receive queue of its own. */
static inline u32 tz_qp_receives(const struct tz_qp *qp)
{
	return tz_rq_count(&qp->rsp.rq);
}

static inline const struct tz_stats *tz_qp_stats(const struct tz_qp *qp)
{
	return &qp->stats;
}

/* ---- what may be done --------------------------------------------------- */

static inline void tz_qp_clear_stats(struct tz_qp *qp)
{
	memset(&qp->stats, 0, sizeof(qp->stats));
}

/* Bring @qp to RESET with @init's memory. Nothing to undo. */
void tz_qp_init(struct tz_qp *qp, const struct tz_qp_init *init);

/*
 * Change attributes named by @mask, and the state if TZ_QP_STATE is in it; the
 * caller has checked tz_state_modify_ok(). ERR flushes both queues (the send
 * queue when the connection is over, which tz_qp.closing asks for), RESET
 * forgets everything without completions and drops references.
 */
void tz_qp_modify(struct tz_qp *qp, const struct tz_qp_attr *attr, u32 mask,
		  u64 now);

/*
 * A connection to the peer is up; @max_pdu is what both accept. Backends call
 * tz_dial_up() and tz_dial_lost(), which call this and the next.
 */
void tz_qp_connected(struct tz_qp *qp, u32 max_pdu, u64 now);

/*
 * The stream has ended, for whatever reason. If tz_qp.conn is TZ_CONN_NONE
 * afterwards a stranger was hung up on: the QP waits for its peer as before.
 * Otherwise silent as long as no request is waiting for the peer; those that
 * wait, and later ones, end with RETRY_EXC_ERR when the QP's timeout and retries
 * have passed. On UC they complete as if they had been sent.
 */
void tz_qp_disconnected(struct tz_qp *qp, u64 now);

/*
 * The application's rings or the state changed: flush in ERR, fail requests on
 * a closed connection, go on after a stall. Cheap when there is nothing to do.
 */
void tz_qp_kick(struct tz_qp *qp, u64 now);

/* Where the next bytes go: 0..max vectors. 0: read nothing now. */
int tz_qp_rx_want(struct tz_qp *qp, struct tz_vec *vec, int max);

/*
 * @bytes have arrived in the vectors that rx_want named. Executes requests,
 * completes work requests. The stream's protocol errors end in tz_qp.closing.
 */
void tz_qp_rx_done(struct tz_qp *qp, u32 bytes, u64 now);

/* Make PDUs of what is due, as far as there is room. */
void tz_qp_tx_fill(struct tz_qp *qp, u64 now);

/* The next bytes to send: 0..max vectors; 0: nothing queued. */
int tz_qp_tx_peek(struct tz_qp *qp, struct tz_vec *vec, int max);

/* The first @bytes of what tx_peek showed are on their way. */
void tz_qp_tx_done(struct tz_qp *qp, u32 bytes, u64 now);

/*
 * Of how many of the next bytes may the regions' part be sent without a copy: a
 * prefix that ends with a request's payload. Its memory is the work requests'
 * until the peer acknowledges them. 0 if there are answers among them, which
 * nobody acknowledges; and on UC.
 */
u32 tz_qp_tx_ref_bytes(const struct tz_qp *qp);

/* Owed ACKs become due now; before closing, and when delaying is pointless. */
void tz_qp_ack_now(struct tz_qp *qp);

/* Earliest time at which tz_qp_timer() has something to do; 0: never. */
u64 tz_qp_deadline(const struct tz_qp *qp);
void tz_qp_timer(struct tz_qp *qp, u64 now);

/* Requests sent (or waiting for the connection) and not completed. */
static inline u32 tz_qp_outstanding(const struct tz_qp *qp)
{
	return qp->req.next - qp->req.cons;
}

/* Is the peer silent for so long that its host was asked for (tz_ops.heard_ns)? */
static inline bool tz_qp_asks(const struct tz_qp *qp)
{
	return qp->req.asked_ns && qp->req.asked_ns == qp->req.progress_ns &&
	       tz_qp_outstanding(qp);
}

/* May no request be begun now, whatever has been posted? */
static inline bool tz_qp_holds_back(const struct tz_qp *qp)
{
	const struct tz_req *req = &qp->req;

	return req->stopped || req->rnr_until ||
	       (req->window && req->next - req->cons >= req->window);
}

/* Send work requests posted and not yet imported. */
u32 tz_qp_unsent(const struct tz_qp *qp);

/* Is there anything to transmit, queued or not yet made into PDUs? */
bool tz_qp_tx_pending(const struct tz_qp *qp);

/*
 * The same, but for an acknowledgement that may wait for something to ride on, and
 * of what is posted only what is before index @posted.
 */
bool tz_qp_tx_due(const struct tz_qp *qp, u64 now, u32 posted);

/* What should hold of @qp between two calls and does not; NULL: all does. */
const char *tz_qp_check(const struct tz_qp *qp);

/*
 * Do the two programs answer each other's messages, one at a time? A guess, from
 * what acknowledgements could ride on.
 */
bool tz_qp_plays_pingpong(const struct tz_qp *qp);

#endif /* TZ_QP_H */
