/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * qp.h - what the two ways of posting to a send queue share.
 */
#ifndef TCPZC_QP_H
#define TCPZC_QP_H

#include <errno.h>
#include <string.h>

#include "deps.h"
#include "tcpzc.h"

#define TCPZC_SEND_FLAGS \
	(IBV_SEND_FENCE | IBV_SEND_SIGNALED | IBV_SEND_SOLICITED | \
	 IBV_SEND_INLINE)

/*
 * Hand over the requests before sq.prod, of which there is a new one, and note
 * its size for the backend: once posted, its slot is not the provider's. Under
 * sq_lock.
 */
void tcpzc_publish_sends(struct tcpzc_qp *qp);

/* May work requests be posted to the send queue (IB 10.3.1)? */
static inline int tcpzc_check_sq_state(const struct tcpzc_qp *qp)
{
	if (tz_unlikely(tz_load_once(&qp->sq.hdr->flags) & TCPZC_RING_GONE))
		return EIO;
	/* RESET, INIT, RTR; in SQD they wait, in SQE and ERR they are flushed. */
	return qp->vqp.qp.state < IBV_QPS_RTS ? EINVAL : 0;
}

/*
 * Has a queue pair of @type this operation (IB 10.8.2.1)? READs and atomics are
 * RC's, WRITEs are UC's, too; UD sends.
 */
static inline bool tcpzc_type_has_op(enum ibv_qp_type type, uint8_t opcode)
{
	switch (type) {
	case IBV_QPT_UD:
		return opcode <= TCPZC_WQE_SEND_WITH_IMM;
	case IBV_QPT_UC:
		return opcode <= TCPZC_WQE_RDMA_WRITE_WITH_IMM;
	default:
		return true;
	}
}

/* A datagram's destination, by value: the handle may go before it is sent. */
static inline int tcpzc_put_ud(const struct tcpzc_qp *qp,
			       struct tcpzc_send_wqe *wqe, struct ibv_ah *ah,
			       uint32_t qpn, uint32_t qkey)
{
	const struct ibv_ah_attr *attr;

	/* A handle is good in its own protection domain (IB 10.2.2.2). */
	if (!ah || qpn > 0xffffff ||
	    tcpzc_pd_inner(ah->pd) != tcpzc_pd_inner(qp->vqp.qp.pd))
		return EINVAL;
	attr = &to_tah(ah)->attr;
	memcpy(wqe->ud.dgid, attr->grh.dgid.raw, sizeof(wqe->ud.dgid));
	wqe->ud.dest_qpn = qpn;
	wqe->ud.qkey = qkey;
	wqe->ud.sgid_index = attr->grh.sgid_index;
	wqe->ud.traffic_class = attr->grh.traffic_class;
	wqe->ud.hop_limit = attr->grh.hop_limit;
	wqe->ud.reserved0 = 0;
	wqe->ud.flow_label = attr->grh.flow_label;
	return 0;
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
