/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * qp.h - what the two ways of posting to a send queue share.
 */
#ifndef TCPZC_QP_H
#define TCPZC_QP_H

#include <errno.h>

#include "tcpzc.h"

#define TCPZC_SEND_FLAGS \
	(IBV_SEND_FENCE | IBV_SEND_SIGNALED | IBV_SEND_SOLICITED | \
	 IBV_SEND_INLINE)

/* May work requests be posted to the send queue (IB 10.3.1)? */
static inline int tcpzc_check_sq_state(const struct tcpzc_qp *qp)
{
	/* RESET, INIT, RTR; in SQD they wait, in SQE and ERR they are flushed. */
	return qp->vqp.qp.state < IBV_QPS_RTS ? EINVAL : 0;
}

/* TCPZC_WQE_F_* of enum ibv_send_flags. */
static inline uint8_t tcpzc_wqe_flags(const struct tcpzc_qp *qp,
				      unsigned int send_flags)
{
	uint8_t flags = 0;

	if ((send_flags & IBV_SEND_SIGNALED) || qp->sq_sig_all)
		flags |= TCPZC_WQE_F_SIGNALED;
	if (send_flags & IBV_SEND_SOLICITED)
		flags |= TCPZC_WQE_F_SOLICITED;
	if (send_flags & IBV_SEND_FENCE)
		flags |= TCPZC_WQE_F_FENCE;
	if (send_flags & IBV_SEND_INLINE)
		flags |= TCPZC_WQE_F_INLINE;
	return flags;
}

#endif /* TCPZC_QP_H */
