// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * cq.c - completion queues.
 */
#include <errno.h>
#include <limits.h>

#include "ring.h"
#include "tcpzc.h"

/* A power of two greater than @cqe: a ring of one entry more than asked for. */
static uint32_t tcpzc_cq_depth(uint32_t cqe)
{
	return 1u << (32 - __builtin_clz(cqe));
}

static bool tcpzc_cqe_ok(int cqe)
{
	return cqe >= 1 && (uint32_t)cqe <= TCPZC_MAX_CQE;
}

/*
 * Between start_poll and end_poll the application may destroy and reset queue
 * pairs of this queue, and arm it: the thread has the lock then.
 */
bool tcpzc_cq_lock(struct tcpzc_cq *cq)
{
	if (cq->single_threaded ||
	    __atomic_load_n(&cq->batch, __ATOMIC_RELAXED) == pthread_self())
		return false;
	pthread_mutex_lock(&cq->lock);
	return true;
}

void tcpzc_cq_unlock(struct tcpzc_cq *cq, bool locked)
{
	if (locked)
		pthread_mutex_unlock(&cq->lock);
}

/*
 * Give back the slots before ring->cons; but for the one that is being looked
 * at, which end_poll or next_poll gives back.
 */
static void tcpzc_cq_release(struct tcpzc_cq *cq)
{
	if (!cq->cur)
		tcpzc_ring_release(&cq->ring);
}

struct ibv_cq *tcpzc_create_cq(struct ibv_context *context, int cqe,
			       struct ibv_comp_channel *channel,
			       int comp_vector)
{
	struct tcpzc_context *ctx = to_tctx(context);
	struct tcpzc_cq *cq;

	if (!tcpzc_cqe_ok(cqe) || comp_vector < 0 ||
	    comp_vector >= context->num_comp_vectors) {
		errno = EINVAL;
		return NULL;
	}
	cq = ctx->be->create_cq(ctx, tcpzc_cq_depth(cqe), channel, comp_vector);
	if (!cq)
		return NULL;
	tcpzc_lock_init(&cq->lock);
	cq->vcq.cq.cqe = cq->ring.depth - 1;
	return &cq->vcq.cq;
}

int tcpzc_resize_cq(struct ibv_cq *ibcq, int cqe)
{
	const struct tcpzc_backend *be = to_tctx(ibcq->context)->be;
	struct tcpzc_cq *cq = to_tcq(ibcq);
	bool locked;
	int rc = 0;

	if (!tcpzc_cqe_ok(cqe))
		return EINVAL;
	locked = tcpzc_cq_lock(cq);
	cq->ring.prod = tz_load_acquire(&cq->ring.hdr->prod);
	if (cq->cur)
		rc = EBUSY;
	else if ((uint32_t)cqe < cq->ring.prod - cq->ring.cons)
		rc = EINVAL;
	else if (tcpzc_cq_depth(cqe) != cq->ring.depth)
		rc = be->resize_cq(cq, tcpzc_cq_depth(cqe));
	if (!rc)
		ibcq->cqe = cq->ring.depth - 1;
	tcpzc_cq_unlock(cq, locked);
	return rc;
}

int tcpzc_destroy_cq(struct ibv_cq *ibcq)
{
	struct tcpzc_cq *cq = to_tcq(ibcq);

	if (tcpzc_busy(&cq->users))
		return EBUSY;
	return to_tctx(ibcq->context)->be->destroy_cq(cq);
}

static unsigned int tcpzc_wc_flags(const struct tcpzc_cqe *cqe)
{
	unsigned int flags = 0;

	if (cqe->flags & TCPZC_CQE_F_WITH_IMM)
		flags |= IBV_WC_WITH_IMM;
	if (cqe->flags & TCPZC_CQE_F_GRH)
		flags |= IBV_WC_GRH;
	return flags;
}

/*
 * Converged Ethernet has no service levels, and some adapters (mlx5) report the
 * packet's network header instead. UCX 1.13 finds the destination's address in the
 * GRH by it, and drops datagrams if it is not there.
 */
#define TCPZC_SL_UDP	8	/* RoCE v2 */
#define TCPZC_SL_IPV6	1
#define TCPZC_SL_IPV4	2

static uint8_t tcpzc_wc_sl(const struct tcpzc_cqe *cqe)
{
	if (!(cqe->flags & TCPZC_CQE_F_GRH))
		return 0;
	return TCPZC_SL_UDP | (cqe->flags & TCPZC_CQE_F_IPV4 ? TCPZC_SL_IPV4 :
							       TCPZC_SL_IPV6);
}

static void tcpzc_fill_wc(struct ibv_wc *wc, const struct tcpzc_cqe *cqe)
{
	wc->wr_id = cqe->wr_id;
	wc->status = cqe->status;
	wc->opcode = cqe->opcode;
	wc->vendor_err = cqe->vendor_err;
	wc->byte_len = cqe->byte_len;
	wc->imm_data = cqe->imm_data;
	wc->qp_num = cqe->qp_num;
	wc->src_qp = cqe->src_qp;
	wc->wc_flags = tcpzc_wc_flags(cqe);
	wc->pkey_index = 0;
	wc->slid = 0;
	wc->sl = tcpzc_wc_sl(cqe);
	wc->dlid_path_bits = 0;
}

static int tcpzc_take_wcs(struct tcpzc_cq *cq, int num, struct ibv_wc *wc)
{
	struct tcpzc_ring *ring = &cq->ring;
	bool locked = tcpzc_cq_lock(cq);
	int n = 0;

	for (; n < num && tcpzc_ring_ready(ring); n++)
		tcpzc_fill_wc(&wc[n], tcpzc_ring_slot(ring, ring->cons++));
	if (n)
		tcpzc_cq_release(cq);
	tcpzc_cq_unlock(cq, locked);
	return n;
}

int tcpzc_poll_cq(struct ibv_cq *ibcq, int num_entries, struct ibv_wc *wc)
{
	struct tcpzc_cq *cq = to_tcq(ibcq);
	int n;

	if (num_entries < 0)
		return -EINVAL;
	n = tcpzc_take_wcs(cq, num_entries, wc);
	if (n || !num_entries)
		return n;
	to_tctx(ibcq->context)->be->drive_cq(cq);
	return tcpzc_take_wcs(cq, num_entries, wc);
}

int tcpzc_req_notify_cq(struct ibv_cq *ibcq, int solicited_only)
{
	return to_tctx(ibcq->context)->be->arm_cq(to_tcq(ibcq), solicited_only);
}

/*
 * The entries from cons to prod are the consumer's, those from prod on the
 * engine's, who may be writing some at this moment for other queue pairs. So
 * the entries that stay move up to prod, and cons follows.
 */
void tcpzc_cq_forget_qp(struct tcpzc_cq *cq, uint32_t qp_num)
{
	struct tcpzc_ring *ring = &cq->ring;
	bool locked = tcpzc_cq_lock(cq);
	struct tcpzc_cqe *cqe;
	uint32_t from, to;

	ring->prod = tz_load_acquire(&ring->hdr->prod);
	to = ring->prod;
	for (from = ring->prod; from != ring->cons; from--) {
		cqe = tcpzc_ring_slot(ring, from - 1);
		if (cqe->qp_num == qp_num)
			continue;
		if (from != to)
			*(struct tcpzc_cqe *)tcpzc_ring_slot(ring, to - 1) = *cqe;
		to--;
	}
	if (to != ring->cons) {
		ring->cons = to;
		tcpzc_cq_release(cq);
	}
	tcpzc_cq_unlock(cq, locked);
}

/* ---- extended completion queues ----------------------------------------- */

static struct tcpzc_cq *to_tcq_ex(struct ibv_cq_ex *cq)
{
	return to_tcq(ibv_cq_ex_to_cq(cq));
}

/* Make the next entry the current one; its slot stays taken meanwhile. */
static bool tcpzc_cq_next(struct tcpzc_cq *cq)
{
	struct tcpzc_ring *ring = &cq->ring;

	if (!tcpzc_ring_ready(ring))
		return false;
	cq->cur = tcpzc_ring_slot(ring, ring->cons++);
	cq->vcq.cq_ex.wr_id = cq->cur->wr_id;
	cq->vcq.cq_ex.status = cq->cur->status;
	return true;
}

/* Success keeps the lock until end_poll. */
static bool tcpzc_cq_begin(struct tcpzc_cq *cq)
{
	bool locked = tcpzc_cq_lock(cq);

	if (!tcpzc_cq_next(cq)) {
		tcpzc_cq_unlock(cq, locked);
		return false;
	}
	if (locked)
		__atomic_store_n(&cq->batch, pthread_self(), __ATOMIC_RELAXED);
	return true;
}

static int tcpzc_start_poll(struct ibv_cq_ex *cq_ex,
			    struct ibv_poll_cq_attr *attr)
{
	struct tcpzc_cq *cq = to_tcq_ex(cq_ex);

	if (attr->comp_mask)
		return EINVAL;
	if (tcpzc_cq_begin(cq))
		return 0;
	to_tctx(cq_ex->context)->be->drive_cq(cq);
	return tcpzc_cq_begin(cq) ? 0 : ENOENT;
}

static int tcpzc_next_poll(struct ibv_cq_ex *cq_ex)
{
	struct tcpzc_cq *cq = to_tcq_ex(cq_ex);

	tcpzc_ring_release(&cq->ring);
	return tcpzc_cq_next(cq) ? 0 : ENOENT;
}

static void tcpzc_end_poll(struct ibv_cq_ex *cq_ex)
{
	struct tcpzc_cq *cq = to_tcq_ex(cq_ex);

	cq->cur = NULL;
	tcpzc_ring_release(&cq->ring);
	if (cq->single_threaded)
		return;
	__atomic_store_n(&cq->batch, 0, __ATOMIC_RELAXED);
	pthread_mutex_unlock(&cq->lock);
}

static enum ibv_wc_opcode tcpzc_read_opcode(struct ibv_cq_ex *cq)
{
	return (enum ibv_wc_opcode)to_tcq_ex(cq)->cur->opcode;
}

static uint32_t tcpzc_read_vendor_err(struct ibv_cq_ex *cq)
{
	return to_tcq_ex(cq)->cur->vendor_err;
}

static uint32_t tcpzc_read_byte_len(struct ibv_cq_ex *cq)
{
	return to_tcq_ex(cq)->cur->byte_len;
}

static __be32 tcpzc_read_imm_data(struct ibv_cq_ex *cq)
{
	return to_tcq_ex(cq)->cur->imm_data;
}

static uint32_t tcpzc_read_qp_num(struct ibv_cq_ex *cq)
{
	return to_tcq_ex(cq)->cur->qp_num;
}

static uint32_t tcpzc_read_src_qp(struct ibv_cq_ex *cq)
{
	return to_tcq_ex(cq)->cur->src_qp;
}

static unsigned int tcpzc_read_wc_flags(struct ibv_cq_ex *cq)
{
	return tcpzc_wc_flags(to_tcq_ex(cq)->cur);
}

/* Ethernet has neither LIDs nor path bits, nor tcpzc service levels. */
static uint32_t tcpzc_read_slid(struct ibv_cq_ex *cq)
{
	return 0;
}

static uint8_t tcpzc_read_sl(struct ibv_cq_ex *cq)
{
	return tcpzc_wc_sl(to_tcq_ex(cq)->cur);
}

static uint8_t tcpzc_read_zero(struct ibv_cq_ex *cq)
{
	return 0;
}

static void tcpzc_set_cq_ex_ops(struct ibv_cq_ex *cq)
{
	cq->start_poll = tcpzc_start_poll;
	cq->next_poll = tcpzc_next_poll;
	cq->end_poll = tcpzc_end_poll;
	cq->read_opcode = tcpzc_read_opcode;
	cq->read_vendor_err = tcpzc_read_vendor_err;
	cq->read_byte_len = tcpzc_read_byte_len;
	cq->read_imm_data = tcpzc_read_imm_data;
	cq->read_qp_num = tcpzc_read_qp_num;
	cq->read_src_qp = tcpzc_read_src_qp;
	cq->read_wc_flags = tcpzc_read_wc_flags;
	cq->read_slid = tcpzc_read_slid;
	cq->read_sl = tcpzc_read_sl;
	cq->read_dlid_path_bits = tcpzc_read_zero;
}

struct ibv_cq_ex *tcpzc_create_cq_ex(struct ibv_context *context,
				     struct ibv_cq_init_attr_ex *attr)
{
	struct ibv_cq *cq;
	uint32_t flags = 0;

	if (attr->comp_mask & IBV_CQ_INIT_ATTR_MASK_FLAGS)
		flags = attr->flags;
	/* Timestamps and what only raw packets and tag matching have. */
	if ((attr->wc_flags & ~(uint64_t)IBV_WC_STANDARD_FLAGS) ||
	    (attr->comp_mask & ~(IBV_CQ_INIT_ATTR_MASK_FLAGS |
				 IBV_CQ_INIT_ATTR_MASK_PD)) ||
	    (flags & ~IBV_CREATE_CQ_ATTR_SINGLE_THREADED)) {
		errno = EOPNOTSUPP;
		return NULL;
	}
	if (attr->cqe > TCPZC_MAX_CQE || attr->comp_vector > INT_MAX) {
		errno = EINVAL;
		return NULL;
	}
	cq = tcpzc_create_cq(context, attr->cqe, attr->channel,
			     attr->comp_vector);
	if (!cq)
		return NULL;
	to_tcq(cq)->single_threaded = flags & IBV_CREATE_CQ_ATTR_SINGLE_THREADED;
	tcpzc_set_cq_ex_ops(&to_tcq(cq)->vcq.cq_ex);
	return &to_tcq(cq)->vcq.cq_ex;
}
