// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * ub_qp.c - queue pairs of the user backend: memory, states, destruction.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ub.h"

#define UB_COPY_MAX		2048u
#define UB_ACK_DELAY_NS		50000ull
#define UB_RNR_STALL_NS		100000ull

/* ---- what the engine calls ---------------------------------------------- */

static void ub_complete_send(struct tz_qp *eng, const struct tcpzc_cqe *cqe)
{
	ub_cq_push((struct ub_cq *)to_tcq(ub_qp_of(eng)->base.vqp.qp.send_cq),
		   cqe);
}

static void ub_complete_recv(struct tz_qp *eng, const struct tcpzc_cqe *cqe)
{
	ub_cq_push((struct ub_cq *)to_tcq(ub_qp_of(eng)->base.vqp.qp.recv_cq),
		   cqe);
}

static void ub_qp_event(struct tz_qp *eng, enum tz_event event)
{
	static const enum ibv_event_type types[TZ_EVENTS] = {
		[TZ_EVENT_SQ_DRAINED]		= IBV_EVENT_SQ_DRAINED,
		[TZ_EVENT_LAST_WQE_REACHED]	= IBV_EVENT_QP_LAST_WQE_REACHED,
		[TZ_EVENT_COMM_EST]		= IBV_EVENT_COMM_EST,
		[TZ_EVENT_REQ_ERR]		= IBV_EVENT_QP_REQ_ERR,
		[TZ_EVENT_ACCESS_ERR]		= IBV_EVENT_QP_ACCESS_ERR,
		[TZ_EVENT_FATAL]		= IBV_EVENT_QP_FATAL,
	};
	struct ub_qp *qp = ub_qp_of(eng);

	ub_event_async(qp->ctx, &qp->base.vqp.qp, &qp->events_reported,
		       types[event]);
}

/* The engine's for RC and UC, and for UD. */
#define UB_ENGINE_OPS(write) {			\
	.mr_find = ub_mr_find,			\
	.mr_get = ub_mr_get,			\
	.mr_put = ub_mr_put,			\
	.mr_write = (write),			\
	.mr_read = ub_mr_read,			\
	.mr_atomic = ub_mr_atomic,		\
	.srq_take = ub_srq_take,		\
	.complete_send = ub_complete_send,	\
	.complete_recv = ub_complete_recv,	\
	.event = ub_qp_event,			\
	.heard_ns = ub_sock_heard_ns,		\
}

static const struct tz_ops ub_engine_ops = UB_ENGINE_OPS(ub_mr_write);
static const struct tz_ops ub_ud_engine_ops = UB_ENGINE_OPS(ub_mr_write_ud);

/* ---- create ------------------------------------------------------------- */

/* Hand out pieces of the QP's memory, each on a cache line of its own. */
static void *ub_carve(u8 **at, size_t bytes)
{
	void *piece = *at;

	*at += (bytes + 63) & ~(size_t)63;
	return piece;
}

static size_t ub_ring_bytes(const struct tcpzc_ring *ring)
{
	return sizeof(struct tcpzc_ring_hdr) + (size_t)ring->depth * ring->stride;
}

static int ub_qp_alloc_mem(struct ub_qp *qp, struct tz_qp_init *init)
{
	struct tcpzc_ring *sq = &qp->base.sq, *rq = &qp->base.rq;
	u8 *at;

	qp->mem_bytes = UB_TX_BUF_BYTES + UB_RX_BUF_BYTES + ub_ring_bytes(sq) +
			ub_ring_bytes(rq) + sq->depth * sizeof(struct tz_swqe) +
			8 * 64;
	qp->mem = mmap(NULL, qp->mem_bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (qp->mem == MAP_FAILED) {
		qp->mem = NULL;
		return ENOMEM;
	}
	at = qp->mem;
	init->tx_buf = ub_carve(&at, UB_TX_BUF_BYTES);
	init->rx_buf = ub_carve(&at, UB_RX_BUF_BYTES);
	sq->hdr = ub_carve(&at, sizeof(*sq->hdr));
	rq->hdr = ub_carve(&at, sizeof(*rq->hdr));
	sq->slots = ub_carve(&at, (size_t)sq->depth * sq->stride);
	rq->slots = ub_carve(&at, (size_t)rq->depth * rq->stride);
	init->swqe = ub_carve(&at, sq->depth * sizeof(struct tz_swqe));
	init->tx_buf_bytes = UB_TX_BUF_BYTES;
	init->rx_buf_bytes = UB_RX_BUF_BYTES;
	return 0;
}

static struct tz_ring ub_engine_ring(const struct tcpzc_ring *ring)
{
	return (struct tz_ring) {
		.hdr = ring->hdr,
		.slots = ring->slots,
		.depth = ring->depth,
		.stride = ring->stride,
	};
}

static void ub_qp_set_caps(struct ub_qp *qp, const struct ibv_qp_init_attr *attr)
{
	struct tcpzc_qp *b = &qp->base;

	b->sq_max_sge = attr->cap.max_send_sge ? attr->cap.max_send_sge : 1;
	b->rq_max_sge = attr->srq ? 0 : attr->cap.max_recv_sge;
	b->max_inline = attr->cap.max_inline_data;
	b->sq_sig_all = attr->sq_sig_all;
	b->sq.depth = tz_ring_depth(attr->cap.max_send_wr);
	b->sq.stride = tz_sq_stride(b->sq_max_sge, b->max_inline);
	if (attr->srq || !attr->cap.max_recv_wr)
		return;
	if (!b->rq_max_sge)
		b->rq_max_sge = 1;
	b->rq.depth = tz_ring_depth(attr->cap.max_recv_wr);
	b->rq.stride = tz_rq_stride(b->rq_max_sge);
}

/* The engine calls back before the library has filled in the verbs object. */
static void ub_qp_set_ibv(struct ub_qp *qp, struct tcpzc_pd *pd,
			  const struct ibv_qp_init_attr *attr)
{
	struct ibv_qp *ib = &qp->base.vqp.qp;

	tcpzc_init_ibqp(ib, &pd->ibpd, attr);
	ib->qp_num = tz_qp_num(&qp->eng);
	ib->handle = tz_qp_num(&qp->eng);
}

static void ub_qp_link(struct ub_context *ctx, struct ub_qp *qp,
		       const struct ibv_qp_init_attr *attr)
{
	struct ub_cq *send_cq = (struct ub_cq *)to_tcq(attr->send_cq);
	struct ub_cq *recv_cq = (struct ub_cq *)to_tcq(attr->recv_cq);

	ub_cq_attach(send_cq, qp, &qp->send_link);
	if (recv_cq != send_cq)
		ub_cq_attach(recv_cq, qp, &qp->recv_link);
	if (attr->srq) {
		struct ub_srq *srq = (struct ub_srq *)to_tsrq(attr->srq);

		pthread_mutex_lock(&srq->qp_lock);
		list_add_tail(&srq->qps, &qp->srq_node);
		pthread_mutex_unlock(&srq->qp_lock);
	}
	list_add_tail(&ctx->qps, &qp->node);
	ctx->num_qps++;
}

struct tcpzc_qp *ub_create_qp(struct tcpzc_pd *pd, struct ibv_qp_init_attr *attr)
{
	struct ub_context *ctx = ub_ctx_of(pd->ibpd.context);
	struct tz_qp_init init = {
		.ops = attr->qp_type == IBV_QPT_UD ? &ub_ud_engine_ops :
						     &ub_engine_ops,
		.type = attr->qp_type,
		.pdn = pd->pdn,
		.rq_pdn = attr->srq ? tcpzc_pd_inner(attr->srq->pd)->pdn : 0,
		.has_srq = attr->srq != NULL,
		.sq_sig_all = attr->sq_sig_all,
		.copy_max = UB_COPY_MAX,
		.ack_delay_ns = UB_ACK_DELAY_NS,
		.rnr_stall_ns = UB_RNR_STALL_NS,
		.min_retry_ns = ctx->set.min_retry_ns,
		.max_silence_ns = ctx->set.max_silence_ns,
	};
	bool ud = attr->qp_type == IBV_QPT_UD;
	struct ub_qp *qp = NULL;
	int err = EIO;

	if (ub_forked(ctx))
		goto err_out;
	err = ENOMEM;
	if (posix_memalign((void **)&qp, 64, sizeof(*qp)))
		goto err_out;
	memset(qp, 0, sizeof(*qp));
	qp->ctx = ctx;
	if (ud)
		init.max_dgram = ub_mtu_bytes(ctx);
	ub_qp_set_caps(qp, attr);
	ub_conn_init(qp);
	err = ub_qp_alloc_mem(qp, &init);
	if (err)
		goto err_free;
	init.sq = ub_engine_ring(&qp->base.sq);
	init.rq = ub_engine_ring(&qp->base.rq);
	init.sq_max_sge = qp->base.sq_max_sge;
	init.sq_max_inline = qp->base.max_inline;
	init.rq_max_sge = qp->base.rq_max_sge;

	pthread_mutex_lock(&ctx->lock);
	errno = ENOMEM;
	init.qpn = ctx->num_qps < UB_MAX_QPS ? ub_listen_add(ctx, qp, ud) : 0;
	if (!init.qpn) {
		err = errno;
		pthread_mutex_unlock(&ctx->lock);
		goto err_free;
	}
	tz_qp_init(&qp->eng, &init);
	ub_qp_set_ibv(qp, pd, attr);
	ub_qp_link(ctx, qp, attr);
	pthread_mutex_unlock(&ctx->lock);
	if (ud) {
		ub_turn_lock(qp);
		ub_watch(qp);
		ub_turn_unlock(qp);
	}
	return &qp->base;

err_free:
	ub_qp_free(qp);
err_out:
	errno = err;
	return NULL;
}

void ub_qp_free(struct ub_qp *qp)
{
	/*
	 * Not munmap(): libfabric's memory monitor writes a jump over the first
	 * bytes of libc's functions for mappings at run time, and a thread that
	 * is in one then returns into the middle of an instruction. This is often
	 * the progress thread.
	 */
	if (qp->mem)
		syscall(SYS_munmap, qp->mem, qp->mem_bytes);
	free(qp);
}

/* ---- modify, query ------------------------------------------------------ */

/* The address vector must name a GID that this device and the engine have. */
static bool ub_av_ok(const struct ub_context *ctx, const struct ibv_qp_attr *attr)
{
	static const union ibv_gid none;
	u32 i = attr->ah_attr.grh.sgid_index;

	return i < TCPZC_GID_TABLE_LEN &&
	       memcmp(&ctx->gids[i], &none, sizeof(none)) &&
	       memcmp(&attr->ah_attr.grh.dgid, &none, sizeof(none));
}

/*
 * What the peer has sent and what was posted here before now counts as having
 * happened, as it would have on an adapter: programs post their last message and
 * disconnect without waiting for it (libfabric), and hear of a disconnect, which
 * takes another way, before they look at their queue pair. Datagrams may get lost,
 * and the memory of receives may be gone while its region is still registered: UCX
 * unmaps it before it destroys the queue pair. Turn held.
 */
static void ub_catch_up(struct ub_qp *qp, u64 now)
{
	if (tz_qp_is_ud(&qp->eng))
		ub_run_tx(qp, now);
	else if (tz_dial_connected(&qp->eng))
		ub_run(qp, now);
	ub_flush_acks(qp);
}

/* Turn held. */
static int ub_modify_locked(struct ub_qp *qp, struct ibv_qp_attr *attr, int mask)
{
	enum tz_state from = tz_qp_state(&qp->eng), to = from;
	struct tz_qp_attr eng_attr;
	u64 now = ub_now();

	tz_attr_from(&eng_attr, attr);
	if (mask & IBV_QP_STATE)
		to = eng_attr.state;
	if (!tz_attr_fits(&qp->eng, from, &eng_attr, mask))
		return EINVAL;
	if ((mask & IBV_QP_AV) && !ub_av_ok(qp->ctx, attr))
		return EINVAL;
	if (mask & IBV_QP_AV) {
		qp->attr.ah_attr = attr->ah_attr;
		memcpy(eng_attr.sgid, &qp->ctx->gids[attr->ah_attr.grh.sgid_index],
		       sizeof(eng_attr.sgid));
		memcpy(eng_attr.dgid, &attr->ah_attr.grh.dgid,
		       sizeof(eng_attr.dgid));
	}
	if (to != from && (to == TZ_ERR || to == TZ_RESET))
		ub_catch_up(qp, now);
	if (to == TZ_RESET) {
		if (!tz_qp_is_ud(&qp->eng))
			ub_conn_close(qp);
		memset(&qp->attr, 0, sizeof(qp->attr));
	}
	tz_qp_modify(&qp->eng, &eng_attr, mask, now);
	if (from == TZ_INIT && to == TZ_RTR && !tz_qp_is_ud(&qp->eng))
		ub_conn_start(qp, now);
	ub_run(qp, now);
	return 0;
}

int ub_modify_qp(struct tcpzc_qp *base, struct ibv_qp_attr *attr, int mask)
{
	struct ub_qp *qp = (struct ub_qp *)base;
	int err;

	if (ub_forked(qp->ctx))
		return EIO;
	ub_turn_lock(qp);
	err = ub_modify_locked(qp, attr, mask);
	ub_turn_unlock(qp);
	return err;
}

int ub_query_qp(struct tcpzc_qp *base, struct ibv_qp_attr *attr, int mask,
		struct ibv_qp_init_attr *init_attr)
{
	struct ub_qp *qp = (struct ub_qp *)base;
	struct tz_qp_attr eng_attr;

	(void)mask;
	(void)init_attr;
	if (ub_forked(qp->ctx))
		return EIO;
	ub_turn_lock(qp);
	memset(attr, 0, sizeof(*attr));
	attr->ah_attr = qp->attr.ah_attr;
	tz_attr_query(&qp->eng, &eng_attr);
	tz_attr_to(attr, &eng_attr);
	ub_turn_unlock(qp);
	return 0;
}

/* ---- destroy ------------------------------------------------------------ */

static void ub_print_stats(const struct ub_qp *qp)
{
	const struct tz_stats *s = tz_qp_stats(&qp->eng);

	fprintf(stderr,
		"tcpzc: qp 0x%06x tx_msgs %llu tx_bytes %llu tx_copied %llu tx_pdus %llu tx_acks %llu tx_rnr_naks %llu tx_naks %llu rx_msgs %llu rx_bytes %llu rx_copied %llu rx_pdus %llu rx_acks %llu rx_rnr_naks %llu rx_naks %llu rx_dropped %llu rnr_stalls %llu protocol_errors %llu\n",
		tz_qp_num(&qp->eng), (unsigned long long)s->tx_msgs,
		(unsigned long long)s->tx_bytes, (unsigned long long)s->tx_copied,
		(unsigned long long)s->tx_pdus, (unsigned long long)s->tx_acks,
		(unsigned long long)s->tx_rnr_naks, (unsigned long long)s->tx_naks,
		(unsigned long long)s->rx_msgs, (unsigned long long)s->rx_bytes,
		(unsigned long long)s->rx_copied, (unsigned long long)s->rx_pdus,
		(unsigned long long)s->rx_acks, (unsigned long long)s->rx_rnr_naks,
		(unsigned long long)s->rx_naks, (unsigned long long)s->rx_dropped,
		(unsigned long long)s->rnr_stalls,
		(unsigned long long)s->protocol_errors);
}

/* It stays on the list of QPs, which deregistration goes through, until its last turn is over. */
static void ub_qp_unlink(struct ub_context *ctx, struct ub_qp *qp)
{
	struct ibv_qp *ib = &qp->base.vqp.qp;

	ub_listen_del(ctx, tz_qp_num(&qp->eng));
	ub_cq_detach((struct ub_cq *)to_tcq(ib->send_cq), qp, &qp->send_link);
	if (ib->recv_cq != ib->send_cq)
		ub_cq_detach((struct ub_cq *)to_tcq(ib->recv_cq), qp,
			     &qp->recv_link);
	if (ib->srq) {
		struct ub_srq *srq = (struct ub_srq *)to_tsrq(ib->srq);

		pthread_mutex_lock(&srq->qp_lock);
		list_del(&qp->srq_node);
		pthread_mutex_unlock(&srq->qp_lock);
	}
}

int ub_destroy_qp(struct tcpzc_qp *base)
{
	static const struct tz_qp_attr reset = { .state = TZ_RESET };
	struct ub_qp *qp = (struct ub_qp *)base;
	struct ub_context *ctx = qp->ctx;
	struct ibv_qp *ib = &base->vqp.qp;
	bool crowded;

	if (ub_forked(ctx)) {
		/* The other lists it is on may be in disorder, and are not used. */
		pthread_mutex_lock(&ctx->lock);
		list_del(&qp->node);
		pthread_mutex_unlock(&ctx->lock);
		ub_qp_free(qp);
		return 0;
	}
	pthread_mutex_lock(&ctx->lock);
	ub_qp_unlink(ctx, qp);
	pthread_mutex_unlock(&ctx->lock);

	ub_turn_lock(qp);
	ub_catch_up(qp, ub_now());
	if (ctx->set.stats)
		ub_print_stats(qp);
	ub_conn_close(qp);
	tz_qp_modify(&qp->eng, &reset, TZ_QP_STATE, ub_now());
	qp->dead = true;
	ub_turn_unlock(qp);
	pthread_mutex_lock(&ctx->lock);
	list_del(&qp->node);
	ctx->num_qps--;
	pthread_mutex_unlock(&ctx->lock);

	ub_event_purge_async(ctx, ib, &qp->events_reported);
	ub_event_wait_acked(&ib->mutex, &ib->cond, &ib->events_completed,
			    qp->events_reported);
	pthread_mutex_lock(&ctx->lock);
	qp->dirty_next = ctx->grave;
	ctx->grave = qp;
	crowded = ++ctx->num_grave % UB_MAX_GRAVE == 0;
	pthread_mutex_unlock(&ctx->lock);
	/* If nothing else happens nobody would ever free them. */
	if (crowded)
		ub_progress_wake(ctx);
	return 0;
}
