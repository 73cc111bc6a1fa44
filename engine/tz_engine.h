/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * tz_engine.h - what the engine's own files call of each other.
 *
 * In layers; each calls only what stands below it:
 *
 *   tz_dial.c	connections: opening, calls, how they end
 *   tz_ud.c	datagrams
 *   tz_qp.c	life of a queue pair: states, flush, deadlines, whose turn it is
 *   tz_rx.c	incoming stream to headers and payload
 *   tz_req.c	requester: work requests to PDUs, answers, ACKs and NAKs
 *   tz_rsp.c	responder: executes requests, makes responses and ACKs
 *   tz_tx.c	outgoing stream: a queue of bytes and references
 *   tz_fail.c	how they say that something has failed
 *   tz_sgl.c	lists of ranges of memory regions
 *   tz_rq.c	consuming receive work requests
 *
 * Beside them:
 *
 *   tz_state.c	legal state transitions
 *   tz_attr.c	attributes, the shape of rings
 *   tz_shake.c	hand-shake
 *   tz_key.c	memory keys
 *   tz_check.c	what must hold between two calls
 */
#ifndef TZ_ENGINE_H
#define TZ_ENGINE_H

#include "tz_qp.h"

/* ---- tz_rq.c ------------------------------------------------------------ */

/*
 * Read the application's index of the next post, once. It moves only forwards,
 * and no farther than the ring is deep: *@posted, of which the engine has taken
 * those before @cons, is set to it. False if the application wrote garbage; then
 * *@posted stays. All loops over posted work requests are bounded by the copy.
 */
bool tz_ring_look(const struct tz_ring *ring, u32 cons, u32 *posted);

/* ---- tz_sgl.c ----------------------------------------------------------- */

/* Is [addr, addr + len) within @mr and may it be used so? Sets *@off. */
bool tz_mr_covers(const struct tz_mr *mr, u64 addr, u64 len, u32 access,
		  u64 *off);

/*
 * Look up the regions of @n scatter/gather entries that need @access; *@total
 * is their length. False if a key, range or right is wrong; then @sgl is
 * empty. @sgl must be empty before.
 */
bool tz_sgl_resolve(struct tz_qp *qp, struct tz_sgl *sgl,
		    const struct tcpzc_sge *sge, u32 n, u32 access, u64 *total);

/* Make @sgl the one range [off, off + len) of @mr. */
void tz_sgl_set(struct tz_qp *qp, struct tz_sgl *sgl, struct tz_mr *mr, u64 off,
		u32 len);

/* Hold references from now on; drop them and forget the ranges. */
void tz_sgl_pin(struct tz_qp *qp, struct tz_sgl *sgl);
void tz_sgl_reset(struct tz_qp *qp, struct tz_sgl *sgl);

/*
 * The next range at the current position, at most @max bytes; false if there
 * is none or its region is dead. @ahead bytes are skipped without moving.
 */
bool tz_sgl_peek(const struct tz_sgl *sgl, u32 ahead, u32 max,
		 struct tz_seg *out);
void tz_sgl_advance(struct tz_sgl *sgl, u32 bytes);

/* Copy @bytes to the current position and advance; false if a region died. */
bool tz_sgl_write(struct tz_qp *qp, struct tz_sgl *sgl, const u8 *src,
		  u32 bytes);

/* ---- tz_tx.c ------------------------------------------------------------ */

void tz_tx_reset(struct tz_qp *qp);
/* Drop all PDUs of which no byte was taken. */
void tz_tx_cut(struct tz_qp *qp);
/* Room for one more PDU of any kind? */
bool tz_tx_room(const struct tz_qp *qp);
/* Append bytes; append the next @bytes of @src, copied or by reference. */
void tz_tx_put(struct tz_qp *qp, const void *bytes, u32 len);
bool tz_tx_put_sgl(struct tz_qp *qp, struct tz_sgl *src, u32 len);
void tz_tx_put_range(struct tz_qp *qp, const struct tz_seg *range, bool copy);
/* What was put last is an answer. */
void tz_tx_mark_answer(struct tz_qp *qp);
bool tz_tx_copies(const struct tz_qp *qp, u32 len);
/* The first @bytes are on their way. */
void tz_tx_took(struct tz_qp *qp, u32 bytes);
/* Are the next bytes those of a region that died? */
bool tz_tx_dead(const struct tz_qp *qp);
/* The length of what ends with the last reference, if there is no answer in it. */
u32 tz_tx_ref_bytes(const struct tz_qp *qp);
/* Fill in the common header; what it carries is acknowledged by it. */
void tz_tx_hdr(struct tz_qp *qp, struct tz_hdr *h, enum tz_pdu_op op, u8 flags,
	       u32 len, u32 msn);

/* ---- tz_rx.c ------------------------------------------------------------ */

void tz_rx_reset(struct tz_qp *qp);
/* Go on with what was read already, after a stall has ended. */
void tz_rx_run(struct tz_qp *qp, u64 now);
void tz_rx_done(struct tz_qp *qp, u32 bytes, u64 now);

/* What to do with the payload that follows a header. */
enum tz_verdict {
	TZ_PLACE,		/* to the sgl named by rx.dst, or nowhere */
	TZ_STALL,		/* no receive work request: ask again later */
	TZ_STOP			/* the stream ends here */
};

/* ---- tz_req.c ----------------------------------------------------------- */

void tz_req_reset(struct tz_qp *qp);
/* Make one PDU of what the application posted; false if nothing is due. */
bool tz_req_fill(struct tz_qp *qp, u64 now);
/* The peer has executed all requests before @ack_msn; false: it cannot have. */
bool tz_req_ack(struct tz_qp *qp, u32 ack_msn, u64 now);
/* Nobody heard what was sent, and nothing of it was acknowledged: once more. */
void tz_req_unsay(struct tz_qp *qp);
void tz_req_nak(struct tz_qp *qp, u32 msn, u32 code, u32 arg, u64 now);
enum tz_verdict tz_req_read_resp(struct tz_qp *qp, u64 now);
void tz_req_read_resp_end(struct tz_qp *qp, u64 now);
void tz_req_atomic_resp(struct tz_qp *qp, u64 now);
void tz_req_note_drained(struct tz_qp *qp);
/* Begin nothing more, and go on with nothing; flush what is posted, too. */
void tz_req_stop(struct tz_qp *qp);
/* Complete everything posted: the oldest with @status, the others flushed. */
void tz_req_flush(struct tz_qp *qp, u8 status);
/* UC: complete everything posted as if it had been sent. */
void tz_req_lose(struct tz_qp *qp);
/* UC: bytes were taken; those whose last byte is among them are complete. */
void tz_req_taken(struct tz_qp *qp);
/*
 * UD: copy the next work request into req.wqe, its memory into req.src and its
 * length into *@total. False if none may start; what is wrong with the work
 * request ends it, and the send queue (SQE).
 */
bool tz_req_peek(struct tz_qp *qp, u64 *total);
/* UD: the work request that was peeked at is complete. */
void tz_req_consume(struct tz_qp *qp, u32 len);

/* ---- tz_rsp.c ----------------------------------------------------------- */

void tz_rsp_reset(struct tz_qp *qp);
/* Forget a connection on which nothing was executed. */
void tz_rsp_unsay(struct tz_qp *qp);
enum tz_verdict tz_rsp_request(struct tz_qp *qp, u64 now);
void tz_rsp_request_end(struct tz_qp *qp, u64 now);
/* The memory of the current message is gone. */
void tz_rsp_dst_died(struct tz_qp *qp);
/* Nothing more is answered. */
void tz_rsp_drop_responses(struct tz_qp *qp);
/* Make one PDU of a waiting response; an ACK if one is due and nothing else. */
bool tz_rsp_fill(struct tz_qp *qp);
void tz_rsp_fill_ack(struct tz_qp *qp, u64 now);
/* A request of this side was begun; @rode: the ACK that was owed is on it. */
void tz_rsp_note_ride(struct tz_qp *qp, bool rode, u64 now);
/* Take no more of the peer's; flush the receives, too. */
void tz_rsp_stop(struct tz_qp *qp);
void tz_rsp_flush(struct tz_qp *qp);
void tz_rsp_want_doorbell(struct tz_qp *qp, bool want);
/* Make rsp.rwqe a receive work request; false if there is none. */
bool tz_rsp_take_rwqe(struct tz_qp *qp);
/* Look up its memory, *@room bytes, into rsp.dst. */
bool tz_rsp_resolve(struct tz_qp *qp, u64 *room);

/* ---- tz_fail.c ---------------------------------------------------------- */

/*
 * Go to ERR: the oldest send work request ends with @status (0: flushed), then
 * all others and the receives are flushed. With @say_why what is queued is still
 * sent, answers and the NAK among it; else only the rest of a PDU that was begun,
 * and an ACK. As all this may refer to the application's memory, nothing
 * completes before it is done: when the connection is over, or has had its time.
 */
void tz_fail(struct tz_qp *qp, u8 status, bool say_why);
/*
 * The same, but the peer executes nothing more of this side, as it has said itself,
 * or it is not to be trusted to: nothing is sent, and nothing is waited for.
 */
void tz_fail_peer(struct tz_qp *qp, u8 status);
/* The application's index of posts made no sense. */
void tz_fail_ring(struct tz_qp *qp);
/* The peer broke the protocol. */
void tz_fail_protocol(struct tz_qp *qp);
/* A message number that cannot be: a stranger at first, else an error. */
void tz_fail_number(struct tz_qp *qp);

/* ---- tz_qp.c ------------------------------------------------------------ */

/* Act on what failed during this call. */
void tz_qp_settle(struct tz_qp *qp);

#endif /* TZ_ENGINE_H */
