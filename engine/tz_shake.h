/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * tz_shake.h - the hand-shake at the start of every connection: who connects,
 * what the two hellos say, and what is refused.
 */
#ifndef TZ_SHAKE_H
#define TZ_SHAKE_H

#include "tz_qp.h"

/* Who opens the connection of a QP. */
enum tz_role { TZ_ROLE_CONNECT, TZ_ROLE_ACCEPT, TZ_ROLE_SELF };

/*
 * The side with the lower (GID, QPN) connects; a QP whose peer is itself needs
 * no hand-shake.
 */
enum tz_role tz_shake_role(const struct tz_qp_attr *attr, u32 qpn);

/*
 * How many wrong PSNs are compared without delay since RESET, and how long no
 * other one is compared after that and after each further wrong one.
 */
#define TZ_SHAKE_TRIES		8u
#define TZ_SHAKE_DELAY_NS	250000000ull

/* The first hello, of a @qp that is at least in RTR; @session_id is random. */
void tz_shake_call(struct tz_qp *qp, u64 session_id, struct tz_hello *out);

/* The answer to a hello that tz_shake_judge_call() found right. */
void tz_shake_answer(const struct tz_qp *qp, u64 session_id,
		     struct tz_hello *out);

/*
 * A refusal: the numbers of @in turned round, and of @why no more than whether
 * it was the version.
 */
void tz_shake_refuse(const struct tz_hello *in, enum tz_hello_status why,
		     struct tz_hello *out);

/*
 * Is this a hello at all, of a version that is spoken here? TZ_HELLO_OK, or why
 * not. To be asked before any other field is looked at; accepts garbage.
 */
enum tz_hello_status tz_shake_check(const struct tz_hello *in);

/*
 * Is the (checked) hello a call of the peer of @qp, which is at least in RTR?
 * The backend has compared the source address before, and that the QP can take
 * a call: only then is a guess of a PSN worth counting. What cannot be compared
 * yet is refused, as the peer will come again. On success *@max_pdu is what
 * both accept.
 */
enum tz_hello_status tz_shake_judge_call(struct tz_qp *qp,
					 const struct tz_hello *in, u64 now,
					 u32 *max_pdu);

/* The same for the (checked) answer to the call of @qp. */
enum tz_hello_status tz_shake_judge_answer(struct tz_qp *qp,
					   const struct tz_hello *in, u64 now,
					   u32 *max_pdu);

/* A number was wrong that only the peer knows. */
void tz_shake_wrong(struct tz_qp *qp, u64 now);

#endif /* TZ_SHAKE_H */
