// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * bed.c - see bed.h.
 */
#include <stdarg.h>

#include "bed.h"

void (*bed_on_fail)(void);

void bed_fail(const char *file, int line, const char *cond, const char *fmt, ...)
{
	va_list ap;

	fflush(stdout);
	fprintf(stderr, "%s:%d: FAILED: %s: ", file, line, cond);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	if (bed_on_fail)
		bed_on_fail();
	abort();
}

static void *bed_alloc(size_t bytes)
{
	void *p = calloc(1, bytes ? bytes : 1);

	BED_CHECK(p, "out of memory (%zu bytes)", bytes);
	return p;
}

void bed_check_qp(const struct tz_qp *qp)
{
	const char *why = tz_qp_check(qp);

	BED_CHECK(!why, "QP %06x in state %u: %s", qp->init.qpn, qp->state, why);
}

/* ---- regions ------------------------------------------------------------ */

void bed_init(struct bed *bed, u64 secret)
{
	memset(bed, 0, sizeof(*bed));
	bed->secret = bed_secret(secret);
}

void bed_check_balance(const struct bed *bed)
{
	BED_CHECK(!bed->refs, "%u references to regions are left", bed->refs);
}

void bed_exit(struct bed *bed)
{
	u32 i;

	bed_check_balance(bed);
	for (i = 0; i < BED_MAX_MR; i++)
		if (bed->mr[i])
			bed_dereg(bed->mr[i]);
	BED_CHECK(!bed->objects, "%u regions are left", bed->objects);
}

struct bed_mr *bed_reg(struct bed *bed, void *mem, u64 len, u64 iova,
		       u32 access, u32 pdn)
{
	struct bed_mr *mr;
	u32 slot;

	for (slot = 0; slot < BED_MAX_MR && bed->mr[slot]; slot++)
		;
	if (slot == BED_MAX_MR)
		return NULL;
	mr = bed_alloc(sizeof(*mr));
	mr->bed = bed;
	mr->mem = mem;
	mr->slot = slot;
	mr->id = bed->next_id++;
	mr->registered = true;
	mr->mr.iova = iova;
	mr->mr.len = len;
	mr->mr.access = access;
	mr->mr.pdn = pdn;
	mr->mr.key = tz_key_encode(&bed->secret,
				   slot | bed->generation[slot] << TZ_KEY_INDEX_BITS);
	bed->mr[slot] = mr;
	bed->objects++;
	return mr;
}

static void bed_mr_free(struct bed_mr *mr)
{
	mr->bed->objects--;
	free(mr);
}

void bed_dereg(struct bed_mr *mr)
{
	struct bed *bed = mr->bed;

	BED_CHECK(mr->registered, "region %u deregistered twice", mr->id);
	mr->registered = false;
	mr->mr.dead = 1;
	bed->mr[mr->slot] = NULL;
	bed->generation[mr->slot]++;
	if (!mr->refs)
		bed_mr_free(mr);
}

static struct bed_mr *bed_mr_of(struct tz_mr *mr)
{
	return (struct bed_mr *)mr;
}

/* A region as it may be used: alive, and the range within it. */
static struct bed_mr *bed_use(struct tz_mr *mr, u64 off, u64 len)
{
	struct bed_mr *b = bed_mr_of(mr);

	BED_CHECK(!mr->dead, "region %u is dead", b->id);
	BED_CHECK(off <= mr->len && len <= mr->len - off,
		  "region %u: %llu bytes at %llu of %llu", b->id,
		  (unsigned long long)len, (unsigned long long)off,
		  (unsigned long long)mr->len);
	return b;
}

static struct tz_mr *bed_mr_find(struct tz_qp *qp, u32 key)
{
	struct bed *bed = ((struct bed_qp *)qp)->bed;
	u32 slot = tz_key_decode(&bed->secret, key) & TZ_KEY_INDEX_MASK;
	struct bed_mr *mr = slot < BED_MAX_MR ? bed->mr[slot] : NULL;

	if (!mr || mr->mr.key != key || mr->mr.pdn != qp->pdn)
		return NULL;
	return &mr->mr;
}

static void bed_mr_get(struct tz_mr *mr)
{
	struct bed_mr *b = bed_mr_of(mr);

	b->refs++;
	b->bed->refs++;
}

static void bed_mr_put(struct tz_mr *mr)
{
	struct bed_mr *b = bed_mr_of(mr);

	BED_CHECK(b->refs, "region %u has no reference to give back", b->id);
	b->refs--;
	b->bed->refs--;
	if (!b->refs && !b->registered)
		bed_mr_free(b);
}

static void bed_mr_write(struct tz_mr *mr, u64 off, const void *src, u32 len)
{
	struct bed_mr *b = bed_use(mr, off, len);

	if (b->bed->hooks && b->bed->hooks->write)
		b->bed->hooks->write(b, off, src, len);
	memcpy(b->mem + off, src, len);
}

static void bed_mr_read(struct tz_mr *mr, u64 off, void *dst, u32 len)
{
	struct bed_mr *b = bed_use(mr, off, len);

	if (b->bed->hooks && b->bed->hooks->read)
		b->bed->hooks->read(b, off, len);
	memcpy(dst, b->mem + off, len);
}

static u64 bed_mr_atomic(struct tz_mr *mr, u64 off, enum tz_atomic_kind kind,
			 u64 compare_add, u64 swap)
{
	struct bed_mr *b = bed_use(mr, off, 8);
	u64 old, new;

	BED_CHECK(!((mr->iova + off) & 7), "atomic on an unaligned address");
	BED_CHECK(kind == TZ_ATOMIC_CMP_AND_SWP || kind == TZ_ATOMIC_FETCH_AND_ADD,
		  "atomic of kind %u", kind);
	memcpy(&old, b->mem + off, 8);
	if (kind == TZ_ATOMIC_CMP_AND_SWP)
		new = old == compare_add ? swap : old;
	else
		new = old + compare_add;
	if (b->bed->hooks && b->bed->hooks->atomic)
		b->bed->hooks->atomic(b, off, kind, compare_add, swap, old);
	memcpy(b->mem + off, &new, 8);
	return old;
}

/* ---- queues ------------------------------------------------------------- */

static bool bed_srq_take(struct tz_qp *qp, struct tz_rwqe *out)
{
	struct bed_qp *q = (struct bed_qp *)qp;

	BED_CHECK(q->srq, "QP %u has no SRQ", qp->init.qpn);
	if (!tz_rq_take(&q->srq->rq, out))
		return false;
	if (q->bed->hooks && q->bed->hooks->srq_taken)
		q->bed->hooks->srq_taken(q, out);
	return true;
}

static void bed_complete(struct bed_qp *q, const struct tcpzc_cqe *cqe, bool recv)
{
	q->num_cqes++;
	if (q->bed->hooks && q->bed->hooks->cqe) {
		q->bed->hooks->cqe(q, cqe, recv);
		return;
	}
	if (q->num_log < BED_MAX_LOG) {
		q->log[q->num_log].cqe = *cqe;
		q->log[q->num_log++].recv = recv;
	}
}

static void bed_complete_send(struct tz_qp *qp, const struct tcpzc_cqe *cqe)
{
	bed_complete((struct bed_qp *)qp, cqe, false);
}

static void bed_complete_recv(struct tz_qp *qp, const struct tcpzc_cqe *cqe)
{
	bed_complete((struct bed_qp *)qp, cqe, true);
}

static void bed_event(struct tz_qp *qp, enum tz_event event)
{
	struct bed_qp *q = (struct bed_qp *)qp;

	BED_CHECK(event < TZ_EVENTS, "event %u", event);
	q->events[event]++;
	if (q->bed->hooks && q->bed->hooks->event)
		q->bed->hooks->event(q, event);
}

static const struct tz_ops bed_ops = {
	.mr_find	= bed_mr_find,
	.mr_get		= bed_mr_get,
	.mr_put		= bed_mr_put,
	.mr_write	= bed_mr_write,
	.mr_read	= bed_mr_read,
	.mr_atomic	= bed_mr_atomic,
	.srq_take	= bed_srq_take,
	.complete_send	= bed_complete_send,
	.complete_recv	= bed_complete_recv,
	.event		= bed_event,
};

u32 bed_stride(u32 fixed, u32 max_sge, u32 max_inline)
{
	u32 var = max_sge * sizeof(struct tcpzc_sge);

	if (max_inline > var)
		var = max_inline;
	return (fixed + var + 63) & ~63u;
}

static void bed_ring_init(struct tz_ring *ring, struct tcpzc_ring_hdr **hdr,
			  u32 depth, u32 stride)
{
	*hdr = bed_alloc(sizeof(**hdr));
	ring->hdr = *hdr;
	ring->slots = bed_alloc((size_t)depth * stride);
	ring->depth = depth;
	ring->stride = stride;
}

static u32 bed_or(u32 v, u32 def)
{
	return v ? v : def;
}

static void bed_qp_rings(struct bed_qp *q, struct tz_qp_init *init,
			 const struct bed_qp_opts *o)
{
	init->sq_max_sge = bed_or(o->sq_max_sge, 4);
	init->rq_max_sge = bed_or(o->rq_max_sge, 4);
	init->sq_max_inline = o->max_inline;
	bed_ring_init(&init->sq, &q->sq_hdr, bed_or(o->sq_depth, 64),
		      bed_stride(sizeof(struct tcpzc_send_wqe), init->sq_max_sge,
				 o->max_inline));
	init->swqe = bed_alloc(init->sq.depth * sizeof(*init->swqe));
	init->has_srq = o->srq;
	if (!o->srq && o->rq_depth != BED_NO_RQ)
		bed_ring_init(&init->rq, &q->rq_hdr, bed_or(o->rq_depth, 64),
			      bed_stride(sizeof(struct tcpzc_recv_wqe),
					 init->rq_max_sge, 0));
}

void bed_qp_init(struct bed_qp *q, struct bed *bed, const struct bed_qp_opts *o)
{
	struct tz_qp_init init = {
		.ops = &bed_ops,
		.type = o->type,
		.qpn = o->qpn,
		.pdn = o->pdn,
		.rq_pdn = o->rq_pdn,
		.sq_sig_all = o->sq_sig_all,
		.tx_buf_bytes = bed_or(o->tx_buf_bytes, 65536),
		.rx_buf_bytes = bed_or(o->rx_buf_bytes, 65536),
		.max_pdu = bed_or(o->max_pdu, 65536),
		.copy_max = o->copy_max,
		.ack_delay_ns = o->ack_delay_ns,
		.rnr_stall_ns = o->rnr_stall_ns,
		.min_retry_ns = o->min_retry_ns,
	};

	memset(q, 0, sizeof(*q));
	q->bed = bed;
	q->srq = o->srq;
	bed_qp_rings(q, &init, o);
	init.tx_buf = bed_alloc(init.tx_buf_bytes);
	init.rx_buf = bed_alloc(init.rx_buf_bytes);
	if (!bed->hooks || !bed->hooks->cqe)
		q->log = bed_alloc(BED_MAX_LOG * sizeof(*q->log));
	tz_qp_init(&q->qp, &init);
}

void bed_qp_exit(struct bed_qp *q)
{
	struct tz_qp_init *init = &q->qp.init;

	free(init->sq.slots);
	free(init->rq.slots);
	free(init->swqe);
	free(init->tx_buf);
	free(init->rx_buf);
	free(q->sq_hdr);
	free(q->rq_hdr);
	free(q->log);
}

void bed_srq_init(struct bed_srq *srq, u32 depth, u32 max_sge)
{
	memset(srq, 0, sizeof(*srq));
	bed_ring_init(&srq->rq.ring, &srq->hdr, depth,
		      bed_stride(sizeof(struct tcpzc_recv_wqe), max_sge, 0));
	srq->rq.max_sge = max_sge;
}

void bed_srq_exit(struct bed_srq *srq)
{
	free(srq->rq.ring.slots);
	free(srq->hdr);
}

static u8 *bed_slot(const struct tz_ring *ring)
{
	u32 prod = ring->hdr->prod;

	if (!ring->depth || prod - tz_load_acquire(&ring->hdr->cons) >= ring->depth)
		return NULL;
	return ring->slots + (size_t)(prod & (ring->depth - 1)) * ring->stride;
}

static void bed_publish(const struct tz_ring *ring)
{
	tz_store_release(&ring->hdr->prod, ring->hdr->prod + 1);
}

bool bed_post_send(struct bed_qp *q, const struct bed_swr *wr)
{
	const struct tz_ring *ring = &q->qp.init.sq;
	u32 room = ring->stride - sizeof(wr->wqe);
	u8 *slot = bed_slot(ring);
	u32 len;

	if (!slot)
		return false;
	memcpy(slot, &wr->wqe, sizeof(wr->wqe));
	len = wr->wqe.num_sge * sizeof(wr->sge[0]);
	if (wr->wqe.flags & TCPZC_WQE_F_INLINE)
		len = tz_min(wr->wqe.inline_len, (u32)TCPZC_MAX_INLINE);
	else
		len = tz_min(len, (u32)sizeof(wr->sge));
	/* Bad requests may claim more than there is room for. */
	memcpy(slot + sizeof(wr->wqe), wr->wqe.flags & TCPZC_WQE_F_INLINE ?
	       (const void *)wr->data : (const void *)wr->sge, tz_min(len, room));
	bed_publish(ring);
	return true;
}

static bool bed_post_rwqe(const struct tz_ring *ring, u64 wr_id,
			  const struct tcpzc_sge *sge, u32 num_sge)
{
	struct tcpzc_recv_wqe wqe = { .wr_id = wr_id, .num_sge = num_sge };
	u8 *slot = bed_slot(ring);
	size_t len = (size_t)num_sge * sizeof(*sge);

	if (!slot)
		return false;
	if (len > ring->stride - sizeof(wqe))
		len = ring->stride - sizeof(wqe);
	if (len > TCPZC_MAX_SGE * sizeof(*sge))
		len = TCPZC_MAX_SGE * sizeof(*sge);
	memcpy(slot, &wqe, sizeof(wqe));
	if (len)
		memcpy(slot + sizeof(wqe), sge, len);
	bed_publish(ring);
	return true;
}

bool bed_post_recv(struct bed_qp *q, u64 wr_id, const struct tcpzc_sge *sge,
		   u32 num_sge)
{
	return bed_post_rwqe(&q->qp.init.rq, wr_id, sge, num_sge);
}

bool bed_post_srq(struct bed_srq *srq, u64 wr_id, const struct tcpzc_sge *sge,
		  u32 num_sge)
{
	return bed_post_rwqe(&srq->rq.ring, wr_id, sge, num_sge);
}

/* ---- the stream --------------------------------------------------------- */

void bed_vec_read(const struct tz_vec *vec, u64 skip, u8 *buf, u32 len)
{
	struct bed_mr *b;

	BED_CHECK(skip + len <= vec->len, "beyond the vector");
	if (!vec->mr) {
		memcpy(buf, vec->ptr + skip, len);
		return;
	}
	b = bed_use(vec->mr, vec->off + skip, len);
	if (b->bed->hooks && b->bed->hooks->read)
		b->bed->hooks->read(b, vec->off + skip, len);
	memcpy(buf, b->mem + vec->off + skip, len);
}

void bed_vec_write(const struct tz_vec *vec, u64 skip, const u8 *buf, u32 len)
{
	struct bed_mr *b;

	BED_CHECK(skip + len <= vec->len, "beyond the vector");
	if (!vec->mr) {
		memcpy(vec->ptr + skip, buf, len);
		return;
	}
	b = bed_use(vec->mr, vec->off + skip, len);
	if (b->bed->hooks && b->bed->hooks->write)
		b->bed->hooks->write(b, vec->off + skip, buf, len);
	memcpy(b->mem + vec->off + skip, buf, len);
}

#define BED_VECS	16

u32 bed_tx(struct bed_qp *q, u8 *buf, u32 max, u64 now)
{
	struct tz_vec vec[BED_VECS], again[BED_VECS];
	u32 done = 0;
	int i, n;

	tz_qp_tx_fill(&q->qp, now);
	memset(vec, 0, sizeof(vec));
	memset(again, 0, sizeof(again));
	n = tz_qp_tx_peek(&q->qp, vec, BED_VECS);
	BED_CHECK(n >= 0 && n <= BED_VECS, "tx_peek: %d", n);
	BED_CHECK(tz_qp_tx_peek(&q->qp, again, BED_VECS) == n &&
		  !memcmp(vec, again, sizeof(vec)), "tx_peek changed its mind");
	for (i = 0; i < n && done < max; i++) {
		u32 len = tz_min(vec[i].len, max - done);

		BED_CHECK(vec[i].len, "empty vector");
		bed_vec_read(&vec[i], 0, buf + done, len);
		done += len;
	}
	if (done)
		tz_qp_tx_done(&q->qp, done, now);
	return done;
}

u32 bed_rx(struct bed_qp *q, const u8 *buf, u32 len, u64 now)
{
	struct tz_vec vec[BED_VECS], again[BED_VECS];
	u32 done = 0;

	while (done < len) {
		u32 got = 0;
		int i, n;

		memset(vec, 0, sizeof(vec));
		memset(again, 0, sizeof(again));
		n = tz_qp_rx_want(&q->qp, vec, BED_VECS);
		BED_CHECK(n >= 0 && n <= BED_VECS, "rx_want: %d", n);
		BED_CHECK(tz_qp_rx_want(&q->qp, again, BED_VECS) == n &&
			  !memcmp(vec, again, sizeof(vec)),
			  "rx_want changed its mind");
		for (i = 0; i < n && done + got < len; i++) {
			u32 take = tz_min(vec[i].len, len - done - got);

			bed_vec_write(&vec[i], 0, buf + done + got, take);
			got += take;
		}
		if (!got)
			break;
		tz_qp_rx_done(&q->qp, got, now);
		done += got;
	}
	return done;
}

void bed_pump(struct bed_qp *a, struct bed_qp *b, u64 now)
{
	static u8 buf[65536];
	bool moved;

	do {
		u32 n = bed_tx(a, buf, sizeof(buf), now);

		moved = n;
		bed_rx(b, buf, n, now);
		if (a == b)
			continue;
		n = bed_tx(b, buf, sizeof(buf), now);
		moved |= n;
		bed_rx(a, buf, n, now);
	} while (moved);
}

/* ---- connections -------------------------------------------------------- */

void bed_link_defaults(struct bed_link *l)
{
	*l = (struct bed_link) {
		.psn = { 0x123, 0xabcdef },
		.access = TZ_ACCESS_LOCAL_WRITE | TZ_ACCESS_REMOTE_WRITE |
			  TZ_ACCESS_REMOTE_READ | TZ_ACCESS_REMOTE_ATOMIC,
		.timeout = 14,
		.retry_cnt = 7,
		.rnr_retry = 7,
		.min_rnr_timer = 12,
		.max_rd_atomic = 16,
		.max_dest_rd_atomic = 16,
		.max_pdu = 65536,
	};
}

void bed_to_rts(struct bed_qp *q, u32 dest_qpn, u32 sq_psn, u32 rq_psn,
		const struct bed_link *l, u64 now)
{
	struct tz_qp_attr attr = {
		.state = TZ_INIT,
		.access = l->access,
		.dest_qpn = dest_qpn,
		.sq_psn = sq_psn,
		.rq_psn = rq_psn,
		.timeout = l->timeout,
		.retry_cnt = l->retry_cnt,
		.rnr_retry = l->rnr_retry,
		.min_rnr_timer = l->min_rnr_timer,
		.max_rd_atomic = l->max_rd_atomic,
		.max_dest_rd_atomic = l->max_dest_rd_atomic,
	};

	tz_qp_modify(&q->qp, &attr, TZ_QP_STATE | TZ_QP_ACCESS_FLAGS |
		     TZ_QP_PKEY_INDEX | TZ_QP_PORT, now);
	attr.state = TZ_RTR;
	tz_qp_modify(&q->qp, &attr, TZ_QP_STATE | TZ_QP_AV | TZ_QP_PATH_MTU |
		     TZ_QP_DEST_QPN | TZ_QP_RQ_PSN | TZ_QP_MAX_DEST_RD_ATOMIC |
		     TZ_QP_MIN_RNR_TIMER, now);
	attr.state = TZ_RTS;
	tz_qp_modify(&q->qp, &attr, TZ_QP_STATE | TZ_QP_TIMEOUT |
		     TZ_QP_RETRY_CNT | TZ_QP_RNR_RETRY | TZ_QP_SQ_PSN |
		     TZ_QP_MAX_QP_RD_ATOMIC, now);
}

void bed_connect(struct bed_qp *a, struct bed_qp *b, const struct bed_link *l,
		 u64 now)
{
	u32 psn_b = a == b ? l->psn[0] : l->psn[1];

	bed_to_rts(a, b->qp.init.qpn, l->psn[0], psn_b, l, now);
	if (a != b)
		bed_to_rts(b, a->qp.init.qpn, psn_b, l->psn[0], l, now);
	tz_qp_connected(&a->qp, l->max_pdu, now);
	if (a != b)
		tz_qp_connected(&b->qp, l->max_pdu, now);
}
