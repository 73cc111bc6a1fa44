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
 * The hello of @qp, which is at least in RTR. @status as in enum
 * tz_hello_status, @session_id random for the connecting side, else echoed.
 */
void tz_shake_make(const struct tz_qp *qp, enum tz_hello_status status,
		   u64 session_id, struct tz_hello *out);

/*
 * A refusal for a hello that found no QP: the numbers of @in turned round.
 */
void tz_shake_refuse(const struct tz_hello *in, enum tz_hello_status status,
		     struct tz_hello *out);

/*
 * Is this a hello at all, of a version that is spoken here? TZ_HELLO_OK, or why
 * not. To be asked before any other field is looked at; accepts garbage.
 */
enum tz_hello_status tz_shake_check(const struct tz_hello *in);

/*
 * Does the (checked) hello come from the peer of @qp? Compares QPNs, GIDs, type
 * and, as far as both know them, PSNs and message numbers. On success
 * *@max_pdu is what both accept.
 */
enum tz_hello_status tz_shake_match(const struct tz_qp *qp,
				    const struct tz_hello *in, u32 *max_pdu);

#endif /* TZ_SHAKE_H */
