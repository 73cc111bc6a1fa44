// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * kverbs.c - posting and polling for users in the kernel. They have the same
 * rings as applications, and this is their end of them: what the provider does
 * in user space. Such a user may call with interrupts off; the work is then
 * done by others (tcpzc_io_kick(), qp->ud_work).
 */
#include "tcpzc.h"

/* ---- posting ------------------------------------------------------------ */

static const struct {
	bool ok;
	u8 opcode;
} tcpzc_wr_ops[] = {
	[IB_WR_SEND]			= { true, TCPZC_WQE_SEND },
	[IB_WR_SEND_WITH_IMM]		= { true, TCPZC_WQE_SEND_WITH_IMM },
	[IB_WR_RDMA_WRITE]		= { true, TCPZC_WQE_RDMA_WRITE },
	[IB_WR_RDMA_WRITE_WITH_IMM]	= { true, TCPZC_WQE_RDMA_WRITE_WITH_IMM },
	[IB_WR_RDMA_READ]		= { true, TCPZC_WQE_RDMA_READ },
	[IB_WR_ATOMIC_CMP_AND_SWP]	= { true, TCPZC_WQE_ATOMIC_CMP_AND_SWP },
	[IB_WR_ATOMIC_FETCH_AND_ADD]	= { true, TCPZC_WQE_ATOMIC_FETCH_AND_ADD },
};

static u8 tcpzc_wr_flags(const struct tcpzc_qp *qp, int send_flags)
{
	u8 flags = 0;

	if ((send_flags & IB_SEND_SIGNALED) || tz_qp_made(&qp->eng)->sq_sig_all)
		flags |= TCPZC_WQE_F_SIGNALED;
	if (send_flags & IB_SEND_SOLICITED)
		flags |= TCPZC_WQE_F_SOLICITED;
	if (send_flags & IB_SEND_FENCE)
		flags |= TCPZC_WQE_F_FENCE;
	return flags;
}

static void tcpzc_wr_ud(struct tcpzc_send_wqe *w, const struct ib_send_wr *wr)
{
	const struct rdma_ah_attr *attr = &to_tah(ud_wr(wr)->ah)->attr;
	const struct ib_global_route *grh = rdma_ah_read_grh(attr);

	memcpy(w->ud.dgid, grh->dgid.raw, sizeof(w->ud.dgid));
	w->ud.dest_qpn = ud_wr(wr)->remote_qpn;
	w->ud.qkey = ud_wr(wr)->remote_qkey;
	w->ud.sgid_index = grh->sgid_index;
	w->ud.traffic_class = grh->traffic_class;
	w->ud.hop_limit = grh->hop_limit;
	w->ud.flow_label = grh->flow_label;
}

static void tcpzc_wr_remote(struct tcpzc_send_wqe *w, const struct ib_send_wr *wr)
{
	switch (wr->opcode) {
	case IB_WR_RDMA_WRITE:
	case IB_WR_RDMA_WRITE_WITH_IMM:
	case IB_WR_RDMA_READ:
		w->remote_addr = rdma_wr(wr)->remote_addr;
		w->rkey = rdma_wr(wr)->rkey;
		break;
	case IB_WR_ATOMIC_CMP_AND_SWP:
	case IB_WR_ATOMIC_FETCH_AND_ADD:
		w->remote_addr = atomic_wr(wr)->remote_addr;
		w->rkey = atomic_wr(wr)->rkey;
		w->compare_add = atomic_wr(wr)->compare_add;
		w->swap = atomic_wr(wr)->swap;
		break;
	default:
		break;
	}
}

static void tcpzc_put_sges(struct tcpzc_sge *dst, const struct ib_sge *src,
			   int num)
{
	int i;

	for (i = 0; i < num; i++) {
		dst[i].addr = src[i].addr;
		dst[i].length = src[i].length;
		dst[i].lkey = src[i].lkey;
	}
}

/* Data that goes into the slot; its addresses are the kernel's own. */
static int tcpzc_put_inline(const struct tcpzc_qp *qp, struct tcpzc_send_wqe *w,
			    const struct ib_send_wr *wr)
{
	u32 max = tz_qp_made(&qp->eng)->sq_max_inline;
	u8 *data = (u8 *)(w + 1);
	int i;

	if (w->opcode == TCPZC_WQE_RDMA_READ ||
	    w->opcode == TCPZC_WQE_ATOMIC_CMP_AND_SWP ||
	    w->opcode == TCPZC_WQE_ATOMIC_FETCH_AND_ADD)
		return -EINVAL;
	for (i = 0; i < wr->num_sge; i++) {
		const struct ib_sge *sge = &wr->sg_list[i];

		if (sge->length > max - w->inline_len)
			return -EINVAL;
		memcpy(data + w->inline_len,
		       (const void *)(unsigned long)sge->addr, sge->length);
		w->inline_len += sge->length;
	}
	w->flags |= TCPZC_WQE_F_INLINE;
	w->num_sge = 0;
	return 0;
}

/* Write @wr to the slot at @prod: 0 or -errno. */
static int tcpzc_put_send(struct tcpzc_qp *qp, u32 prod,
			  const struct ib_send_wr *wr)
{
	const struct tcpzc_uring *sq = qp->sq;
	struct tcpzc_send_wqe *w = tcpzc_uring_slot(sq, prod);

	if (wr->opcode >= ARRAY_SIZE(tcpzc_wr_ops) ||
	    !tcpzc_wr_ops[wr->opcode].ok)
		return -EOPNOTSUPP;
	if (wr->num_sge < 0 || wr->num_sge > tz_qp_made(&qp->eng)->sq_max_sge)
		return -EINVAL;
	/* Pairs with the engine's release of slots that it has done with. */
	if (prod - smp_load_acquire(&sq->hdr->cons) >= sq->depth)
		return -ENOMEM;
	memset(w, 0, sizeof(*w));
	w->wr_id = wr->wr_id;
	w->opcode = tcpzc_wr_ops[wr->opcode].opcode;
	w->flags = tcpzc_wr_flags(qp, wr->send_flags);
	w->num_sge = wr->num_sge;
	w->imm_data = (__force u32)wr->ex.imm_data;
	if (tz_qp_is_ud(&qp->eng))
		tcpzc_wr_ud(w, wr);
	else
		tcpzc_wr_remote(w, wr);
	if (wr->send_flags & IB_SEND_INLINE)
		return tcpzc_put_inline(qp, w, wr);
	tcpzc_put_sges((struct tcpzc_sge *)(w + 1), wr->sg_list, wr->num_sge);
	return 0;
}

int tcpzc_kpost_send(struct tcpzc_qp *qp, const struct ib_send_wr *wr,
		     const struct ib_send_wr **bad_wr)
{
	unsigned long flags;
	int rc = 0;

	spin_lock_irqsave(&qp->ksq_lock, flags);
	for (; wr && !rc; wr = wr->next) {
		rc = tcpzc_put_send(qp, qp->ksq_prod, wr);
		if (rc) {
			*bad_wr = wr;
			break;
		}
		qp->ksq_prod++;
	}
	/* Pairs with the engine's acquire before it reads the slots. */
	smp_store_release(&qp->sq->hdr->prod, qp->ksq_prod);
	spin_unlock_irqrestore(&qp->ksq_lock, flags);
	tcpzc_io_kick(qp);
	return rc;
}

static int tcpzc_put_recv(const struct tcpzc_uring *rq, u32 max_sge, u32 prod,
			  const struct ib_recv_wr *wr)
{
	struct tcpzc_recv_wqe *w;

	if (!rq || wr->num_sge < 0 || wr->num_sge > max_sge)
		return -EINVAL;
	/* Pairs with the engine's release of slots that it has done with. */
	if (prod - smp_load_acquire(&rq->hdr->cons) >= rq->depth)
		return -ENOMEM;
	w = tcpzc_uring_slot(rq, prod);
	w->wr_id = wr->wr_id;
	w->num_sge = wr->num_sge;
	w->reserved = 0;
	tcpzc_put_sges((struct tcpzc_sge *)(w + 1), wr->sg_list, wr->num_sge);
	return 0;
}

/*
 * Post to @rq, from *@prod on, as much as fits: 0 or -errno. True in *@ring if the
 * engine waits for it. The queue's producer lock is held.
 */
static int tcpzc_put_recvs(const struct tcpzc_uring *rq, u32 max_sge, u32 *prod,
			   const struct ib_recv_wr *wr,
			   const struct ib_recv_wr **bad_wr, bool *ring)
{
	int rc = 0;

	for (; wr; wr = wr->next, ++*prod) {
		rc = tcpzc_put_recv(rq, max_sge, *prod, wr);
		if (rc) {
			*bad_wr = wr;
			break;
		}
	}
	*ring = false;
	if (!rq)
		return rc;
	/* Pairs with the engine's acquire of what has been posted. */
	smp_store_release(&rq->hdr->prod, *prod);
	/* A full barrier, as tz_rq_want_doorbell() asks for. */
	smp_mb();
	*ring = READ_ONCE(rq->hdr->flags) & TCPZC_RING_NEED_WAKEUP;
	return rc;
}

int tcpzc_kpost_recv(struct tcpzc_qp *qp, const struct ib_recv_wr *wr,
		     const struct ib_recv_wr **bad_wr)
{
	unsigned long flags;
	bool ring;
	int rc;

	spin_lock_irqsave(&qp->krq_lock, flags);
	rc = tcpzc_put_recvs(qp->rq, tz_qp_made(&qp->eng)->rq_max_sge, &qp->krq_prod, wr,
			     bad_wr, &ring);
	spin_unlock_irqrestore(&qp->krq_lock, flags);
	if (ring)
		tcpzc_io_kick(qp);
	return rc;
}

/* Interrupts may be off here: a work item looks for those that wait. */
int tcpzc_kpost_srq_recv(struct tcpzc_srq *srq, const struct ib_recv_wr *wr,
			 const struct ib_recv_wr **bad_wr)
{
	unsigned long flags;
	bool ring;
	int rc;

	spin_lock_irqsave(&srq->post_lock, flags);
	rc = tcpzc_put_recvs(srq->ring, srq->max_sge, &srq->post_prod, wr, bad_wr,
			     &ring);
	spin_unlock_irqrestore(&srq->post_lock, flags);
	if (ring)
		queue_work(system_bh_wq, &srq->feed_work);
	return rc;
}

/* ---- polling ------------------------------------------------------------ */

static void tcpzc_wc_of(struct tcpzc_cq *cq, const struct tcpzc_cqe *cqe,
			struct ib_wc *wc)
{
	struct tcpzc_qp *qp = tcpzc_qp_get(cq->dev, cqe->qp_num);

	memset(wc, 0, sizeof(*wc));
	wc->wr_id = cqe->wr_id;
	wc->status = (enum ib_wc_status)cqe->status;
	wc->opcode = (enum ib_wc_opcode)cqe->opcode;
	wc->vendor_err = cqe->vendor_err;
	wc->byte_len = cqe->byte_len;
	wc->src_qp = cqe->src_qp;
	wc->port_num = TCPZC_PORT_NUM;
	if (cqe->flags & TCPZC_CQE_F_WITH_IMM) {
		wc->wc_flags |= IB_WC_WITH_IMM;
		wc->ex.imm_data = (__force __be32)cqe->imm_data;
	}
	if (cqe->flags & TCPZC_CQE_F_GRH)
		wc->wc_flags |= IB_WC_GRH;
	if (cqe->reserved[0] & TCPZC_VLAN) {
		wc->wc_flags |= IB_WC_WITH_VLAN;
		wc->vlan_id = cqe->reserved[0] & (TCPZC_VLAN - 1);
	}
	if (!qp)
		return;
	/* Whoever polls keeps it: it is destroyed after its completions. */
	wc->qp = qp->ib;
	tcpzc_qp_put(qp);
}

int tcpzc_poll_cq(struct ib_cq *ibcq, int num, struct ib_wc *wc)
{
	struct tcpzc_cq *cq = to_tcq(ibcq);
	struct tcpzc_uring *ring = cq->ring;
	unsigned long flags;
	int n = 0;
	u32 cons;

	spin_lock_irqsave(&cq->poll_lock, flags);
	cons = ring->hdr->cons;
	/* Pairs with the engine's release of completions. */
	while (n < num && cons != smp_load_acquire(&ring->hdr->prod))
		tcpzc_wc_of(cq, tcpzc_uring_slot(ring, cons++), &wc[n++]);
	/* Pairs with the acquire before the slots are written again. */
	smp_store_release(&ring->hdr->cons, cons);
	spin_unlock_irqrestore(&cq->poll_lock, flags);
	return n;
}
