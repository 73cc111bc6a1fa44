// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * tz_fail.c - how requester, responder and parser say that a queue pair, or its
 * connection, has failed. What follows from it concerns all of them, and is done by
 * tz_qp.c before the call into the engine ends (tz_qp_settle).
 */
#include "tz_engine.h"

static void tz_fail_how(struct tz_qp *qp, u8 status, enum tz_unsettled how)
{
	if (qp->state == TZ_ERR || qp->state == TZ_RESET)
		return;
	qp->state = TZ_ERR;
	qp->fail_status = status;
	qp->unsettled = how;
	if (tz_qp_is_ud(qp))
		return;
	qp->closing = true;
	qp->stranger = false;
	qp->rx.state = TZ_RX_DEAD;
	qp->draining = true;
	qp->drain_until = 0;
}

void tz_fail(struct tz_qp *qp, u8 status, bool say_why)
{
	tz_fail_how(qp, status, say_why ? TZ_FAILED_SAYS_WHY : TZ_FAILED);
}

void tz_fail_peer(struct tz_qp *qp, u8 status)
{
	tz_fail_how(qp, status, TZ_FAILED_CUT);
}

void tz_fail_ring(struct tz_qp *qp)
{
	tz_fail(qp, 0, false);
	qp->ops->event(qp, TZ_EVENT_FATAL);
}

void tz_fail_protocol(struct tz_qp *qp)
{
	qp->stats.protocol_errors++;
	tz_fail_peer(qp, TCPZC_WC_FATAL_ERR);
	qp->ops->event(qp, TZ_EVENT_FATAL);
}

/*
 * A stranger whose first number is wrong has nothing to do with this QP, whose
 * peer may be as innocent as this side: hang up, say nothing, and wait for the
 * peer itself.
 */
void tz_fail_number(struct tz_qp *qp)
{
	if (qp->acquainted || qp->rsp.in_msg) {
		tz_fail_protocol(qp);
		return;
	}
	qp->stats.protocol_errors++;
	qp->closing = true;
	qp->stranger = true;
	qp->rx.state = TZ_RX_DEAD;
	qp->unsettled = TZ_HANGS_UP;
}
