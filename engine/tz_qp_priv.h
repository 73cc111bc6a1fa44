/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * tz_qp_priv.h - what a queue pair is made of: the engine's own business. It is
 * here, and included by tz_qp.h, for the size alone, since backends have a struct
 * tz_qp in theirs; they ask by the functions of tz_qp.h (scripts/lint sees to it).
 */
#ifndef TZ_QP_PRIV_H
#define TZ_QP_PRIV_H

#ifndef TZ_QP_H
#error "include tz_qp.h"
#endif

struct tz_caller;

/* What the engine keeps of a send work request until it completes. */
struct tz_swqe {
	u64 wr_id;
	u32 msn;
	u32 len;
	u8 opcode;		/* enum tcpzc_wqe_opcode */
	u8 flags;		/* TCPZC_WQE_F_* */
	u8 status;		/* error found locally, or 0 */
	u8 answered;		/* the response is complete (READ, atomics) */
	u32 tx_end;		/* UC: where its last byte ends, see tz_tx.taken */
};

/* A list of ranges and a position in it. */
struct tz_sgl {
	struct tz_seg seg[TCPZC_MAX_SGE];
	u32 n;
	u32 idx;		/* current segment */
	u32 pos;		/* bytes of it already used */
	bool pinned;		/* holds references */
};

/* Requester (IB 9.7.6, 10.8.2). */
struct tz_req {
	struct tz_ring sq;
	struct tz_swqe *swqe;
	u32 cons;		/* oldest work request not completed */
	u32 posted;		/* index of the next post, as it was last read */
	u32 next;		/* next one to be imported from the ring */
	u32 begun;		/* next before the last rewind, or next */
	u32 answer;		/* no READ or atomic before it lacks its answer */
	u32 next_msn;
	u32 ack_msn;		/* the peer has executed all before it */
	u32 rd_out;		/* READs and atomics without their answer */
	u32 cur_off;		/* bytes of the current message made into PDUs */
	bool cur;		/* message swqe[next - 1] is not complete yet */
	bool stopped;		/* a work request failed locally; import no more */
	u8 rnr_left;
	u32 window;		/* after an RNR NAK: outstanding at most; 0: any number */
	u64 rnr_until;		/* waiting after an RNR NAK */
	u64 progress_ns;	/* when the peer last got on with it */
	u64 asked_ns;		/* progress_ns when its host was last asked for */
	u64 heard_ns;		/* when its host was heard from, then */
	u32 sent_since;		/* bytes since then */
	u32 answer_off;		/* bytes of the current READ's answer */
	struct tcpzc_send_wqe wqe;	/* the current message's, copied out */
	struct tz_sgl src;	/* of the current message */
	struct tz_sgl dst;	/* of the current READ's answer */
};

enum tz_resp_kind { TZ_RESP_READ, TZ_RESP_ATOMIC, TZ_RESP_NAK };

/* A response waiting to be sent. */
struct tz_resp {
	u8 kind;		/* enum tz_resp_kind */
	u8 code;		/* NAK */
	u32 msn;
	u32 rkey;
	u32 total;
	u64 addr;
	u64 orig;
};

#define TZ_RESP_SLOTS	(2 * TCPZC_MAX_RD_ATOMIC)

/* Responder (IB 9.7.4, 9.7.5). */
struct tz_rsp {
	struct tz_rq rq;
	u32 expect_msn;
	u32 acked_msn;		/* last ack_msn sent */
	u32 offset;		/* bytes of the current message placed */
	u32 total;		/* of the current message */
	u8 op;			/* of the current message */
	bool in_msg;		/* between first and last PDU of a message */
	bool lost;		/* UC: the current message is dropped */
	bool have_rwqe;
	bool dropping;		/* RNR NAK sent, waiting for expect_msn again */
	bool nak_queued;	/* fatal NAK queued: execute nothing more */
	bool delayed;		/* the owed ACK waits for a PDU to ride on */
	struct tz_rwqe rwqe;
	struct tz_sgl dst;
	struct tz_resp resp[TZ_RESP_SLOTS];
	u32 resp_head, resp_tail;
	u32 resp_off;		/* bytes of the first READ's answer made */
	u32 rd_pending;
	u64 ack_due;		/* latest time of the next ack_msn; 0: none owed */
	u64 ack_sent_ns;	/* when a PDU of its own carried ack_msn */
	s32 pingpong;		/* score: do ACKs find a PDU to ride on? */
	u64 stall_until;	/* waiting for a receive work request */
};

enum tz_rx_state {
	TZ_RX_HDR,		/* collecting a header */
	TZ_RX_STALL,		/* header parsed, no receive work request */
	TZ_RX_PAYLOAD,		/* placing the payload of the current PDU */
	TZ_RX_DEAD		/* nothing more will be read */
};

struct tz_rx {
	u8 *buf;
	u32 size;
	u32 head, tail;		/* bytes [head, tail) of buf are unread */
	enum tz_rx_state state;
	u32 left;		/* payload bytes of the current PDU to come */
	u32 tail_len;		/* of which the last ones go through buf */
	u32 next_hdr;		/* of a large PDU like this one; 0: a small one */
	struct tz_sgl *dst;	/* where they go; NULL: nowhere */
	union tz_any_hdr hdr;
};

/* A piece of the outgoing stream. */
enum tz_txkind {
	TZ_TX_COPY,		/* the next @len bytes of buf */
	TZ_TX_REF		/* bytes of @mr */
};

struct tz_txseg {
	u8 kind;		/* enum tz_txkind */
	bool answer;		/* memory of a READ's answer */
	u32 len;
	struct tz_mr *mr;
	u64 off;
};

#define TZ_TX_SEGS	64u
struct tz_tx {
	u8 *buf;
	u32 size;
	u32 head, tail;		/* free-running, of buf */
	struct tz_txseg seg[TZ_TX_SEGS];
	u32 seg_head, seg_tail;
	u32 seg_pos;		/* bytes of the first segment already taken */
	u32 queued;		/* bytes in all segments */
	u32 taken;		/* bytes that were taken, free-running */
	u32 pdu_left;		/* bytes of the PDU that is partly taken */
	u8 pdu_op;		/* its operation */
	u32 turn;		/* which source is asked first */
};

/* What a part of the engine has found, and the whole has to act on. */
enum tz_unsettled {
	TZ_SETTLED,
	TZ_FAILED,		/* say nothing more but what was begun, and an ACK */
	TZ_FAILED_SAYS_WHY,	/* all that is queued is still sent */
	TZ_FAILED_CUT,		/* nor even that; the stream is reset */
	TZ_HANGS_UP		/* on a stranger */
};

/* A hello that is being received. */
struct tz_hello_rx {
	struct tz_hello hello;
	u32 got;		/* bytes */
};

/* Where a connection stands (tz_dial.c). */
enum tz_dial_state {
	TZ_DIAL_IDLE,		/* no stream: before RTR, or it is the peer that calls */
	TZ_DIAL_WAITING,	/* an attempt has failed; another one at tz_dial.at */
	TZ_DIAL_OPENING,	/* a stream is being established */
	TZ_DIAL_GREETING,	/* hello sent, waiting for the answer */
	TZ_DIAL_ANSWERING,	/* a call was taken, the answer is being sent */
	TZ_DIAL_UP,
	TZ_DIAL_PARTING,	/* this side has ended; waiting for the peer's end */
	TZ_DIAL_DONE		/* over, for good */
};

/* The connection since RESET. */
struct tz_dial {
	enum tz_dial_state state;
	bool late;		/* OPENING: it has taken too long */
	bool answered;		/* the hello of the other end was right */
	bool blind;		/* the last attempt could not tell the send PSN */
	u64 at;			/* WAITING: until when; OPENING: how long */
	u64 backoff_ns;		/* the last pause */
	u64 session_id;
	u32 max_pdu;		/* what both ends accept */
	struct tz_hello_rx rx;	/* the answer */
};

/* Calls that came before RTR. They stay when the queue pair is reset. */
#define TZ_MAX_PARKED	4u

struct tz_parking {
	struct tz_caller *caller[TZ_MAX_PARKED];
	u32 num;
};

/* The hand-shakes since RESET (tz_shake.c). */
struct tz_shake {
	u32 wrong;		/* PSNs that were compared and wrong */
	u64 compare_at;		/* no other one is compared before */
	bool told;		/* the last call told our send PSN */
};

struct tz_qp {
	const struct tz_ops *ops;
	struct tz_qp_init init;
	struct tz_qp_attr attr;
	u32 pdn;		/* where mr_find() is to look now */
	enum tz_state state;
	enum tz_conn conn;
	bool sqd_notify;
	bool closing;		/* close when tz_qp_tx_pending() is false */
	enum tz_unsettled unsettled;	/* not between two calls */
	bool draining;		/* ERR, but the flush waits: see tz_qp_settle() */
	u8 fail_status;		/* of the oldest send work request then */
	u64 drain_until;
	bool cut;		/* reset the stream first: see tz_qp_must_cut() */
	bool acquainted;	/* the peer's numbers were right at least once */
	bool stranger;		/* they were wrong: closing, then to wait again */
	u32 max_pdu;		/* negotiated */
	struct tz_dial dial;
	struct tz_parking parking;
	struct tz_shake shake;
	struct tz_req req;
	struct tz_rsp rsp;
	struct tz_rx rx;
	struct tz_tx tx;
	struct tz_stats stats;
};

#endif /* TZ_QP_PRIV_H */
