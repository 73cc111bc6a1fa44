// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * tz_tx.c - the outgoing stream: a queue of segments, each either the next
 * bytes of a circular buffer (headers and small payloads, copied) or a range
 * of a memory region (large payloads, by reference). Small messages that
 * follow each other merge into one segment, so that the backend sends many of
 * them from one piece of memory.
 */
#include "tz_engine.h"

/* Queue no more than this; more would only wait for the socket. */
#define TZ_TX_QUEUE_BYTES	(1u << 20)

static struct tz_txseg *tz_tx_seg(struct tz_tx *tx, u32 idx)
{
	return &tx->seg[idx & (TZ_TX_SEGS - 1)];
}

static void tz_tx_unref(struct tz_qp *qp, struct tz_txseg *seg)
{
	if (seg->kind == TZ_TX_REF)
		qp->ops->mr_put(seg->mr);
	seg->mr = NULL;
}

/* Drop everything, with the references. */
void tz_tx_reset(struct tz_qp *qp)
{
	struct tz_tx *tx = &qp->tx;

	for (; tx->seg_head != tx->seg_tail; tx->seg_head++)
		tz_tx_unref(qp, tz_tx_seg(tx, tx->seg_head));
	tx->head = 0;
	tx->tail = 0;
	tx->seg_head = 0;
	tx->seg_tail = 0;
	tx->seg_pos = 0;
	tx->queued = 0;
	tx->taken = 0;
	tx->pdu_left = 0;
	tx->turn = 0;
}

void tz_tx_cut(struct tz_qp *qp)
{
	struct tz_tx *tx = &qp->tx;
	u32 left = tx->pdu_left, pos = tx->seg_pos, at = tx->head;
	u32 i, end = tx->seg_head;

	for (i = tx->seg_head; i != tx->seg_tail; i++) {
		struct tz_txseg *seg = tz_tx_seg(tx, i);
		u32 keep = tz_min(left, seg->len - pos);

		if (!keep) {
			tz_tx_unref(qp, seg);
			continue;
		}
		if (seg->kind == TZ_TX_COPY)
			at += keep;
		seg->len = pos + keep;
		left -= keep;
		pos = 0;
		end = i + 1;
	}
	tx->seg_tail = end;
	if (end == tx->seg_head)
		tx->seg_pos = 0;
	tx->tail = at;
	tx->queued = tx->pdu_left;
}

bool tz_tx_room(const struct tz_qp *qp)
{
	const struct tz_tx *tx = &qp->tx;
	u32 copied = tz_min(qp->init.copy_max, tx->size / 2);

	if (qp->init.sq_max_inline > copied)
		copied = qp->init.sq_max_inline;
	return tx->queued < TZ_TX_QUEUE_BYTES &&
	       tx->seg_tail - tx->seg_head <= TZ_TX_SEGS - TCPZC_MAX_SGE - 1 &&
	       tx->size - (tx->tail - tx->head) >= TZ_MAX_HDR_BYTES + copied;
}

/* The segment to which copied bytes are appended. */
static struct tz_txseg *tz_tx_copy_seg(struct tz_tx *tx)
{
	struct tz_txseg *seg;

	if (tx->seg_tail != tx->seg_head) {
		seg = tz_tx_seg(tx, tx->seg_tail - 1);
		if (seg->kind == TZ_TX_COPY)
			return seg;
	}
	seg = tz_tx_seg(tx, tx->seg_tail++);
	seg->kind = TZ_TX_COPY;
	seg->answer = false;
	seg->mr = NULL;
	seg->off = 0;
	seg->len = 0;
	return seg;
}

/* The next contiguous piece of the buffer, at most @len bytes. */
static u8 *tz_tx_reserve(struct tz_tx *tx, u32 *len)
{
	u32 at = tx->tail & (tx->size - 1);

	tz_assert(tx->size - (tx->tail - tx->head) >= *len);
	*len = tz_min(*len, tx->size - at);
	tx->tail += *len;
	tx->queued += *len;
	return tx->buf + at;
}

void tz_tx_put(struct tz_qp *qp, const void *bytes, u32 len)
{
	struct tz_tx *tx = &qp->tx;
	struct tz_txseg *seg;
	const u8 *src = bytes;

	if (!len)
		return;
	seg = tz_tx_copy_seg(tx);
	while (len) {
		u32 n = len;
		u8 *dst = tz_tx_reserve(tx, &n);

		memcpy(dst, src, n);
		seg->len += n;
		src += n;
		len -= n;
	}
}

static void tz_tx_copy_range(struct tz_qp *qp, const struct tz_seg *range)
{
	struct tz_tx *tx = &qp->tx;
	struct tz_txseg *seg = tz_tx_copy_seg(tx);
	u64 off = range->off;
	u32 len = range->len;

	while (len) {
		u32 n = len;
		u8 *dst = tz_tx_reserve(tx, &n);

		qp->ops->mr_read(range->mr, off, dst, n);
		seg->len += n;
		off += n;
		len -= n;
	}
	qp->stats.tx_copied += range->len;
}

static void tz_tx_ref_range(struct tz_qp *qp, const struct tz_seg *range)
{
	struct tz_tx *tx = &qp->tx;
	struct tz_txseg *seg = tz_tx_seg(tx, tx->seg_tail++);

	qp->ops->mr_get(range->mr);
	seg->kind = TZ_TX_REF;
	seg->answer = false;
	seg->mr = range->mr;
	seg->off = range->off;
	seg->len = range->len;
	tx->queued += range->len;
}

/* Is a payload of @len bytes cheaper to copy than to refer to? */
bool tz_tx_copies(const struct tz_qp *qp, u32 len)
{
	return len <= tz_min(qp->init.copy_max, qp->tx.size / 2);
}

void tz_tx_put_range(struct tz_qp *qp, const struct tz_seg *range, bool copy)
{
	qp->stats.tx_bytes += range->len;
	if (copy)
		tz_tx_copy_range(qp, range);
	else
		tz_tx_ref_range(qp, range);
}

void tz_tx_mark_answer(struct tz_qp *qp)
{
	tz_tx_seg(&qp->tx, qp->tx.seg_tail - 1)->answer = true;
}

/*
 * Append the next @len bytes of @src. False if a region died: then the PDU
 * cannot be completed and the stream is beyond repair.
 */
bool tz_tx_put_sgl(struct tz_qp *qp, struct tz_sgl *src, u32 len)
{
	bool copy = tz_tx_copies(qp, len);
	struct tz_seg range;

	while (len) {
		if (!tz_sgl_peek(src, 0, len, &range))
			return false;
		tz_tx_put_range(qp, &range, copy);
		tz_sgl_advance(src, range.len);
		len -= range.len;
	}
	return true;
}

void tz_tx_hdr(struct tz_qp *qp, struct tz_hdr *h, enum tz_pdu_op op, u8 flags,
	       u32 len, u32 msn)
{
	h->op = op;
	h->flags = flags;
	h->reserved = 0;
	h->len = tz_cpu_to_le32(len);
	h->src_qpn = tz_cpu_to_le32(qp->init.qpn);
	h->dst_qpn = tz_cpu_to_le32(qp->attr.dest_qpn);
	h->msn = tz_cpu_to_le32(msn);
	h->ack_msn = tz_cpu_to_le32(tz_qp_is_uc(qp) ? 0 : qp->rsp.expect_msn);
	qp->rsp.acked_msn = qp->rsp.expect_msn;
	qp->rsp.ack_due = 0;
	qp->stats.tx_pdus++;
}

/* The next piece of a segment of which @skip bytes are done. */
static void tz_tx_piece(const struct tz_tx *tx, const struct tz_txseg *seg,
			u32 skip, u32 at, struct tz_vec *vec)
{
	u32 len = seg->len - skip;
	u32 pos = at & (tx->size - 1);

	vec->mr = NULL;
	vec->off = 0;
	vec->ptr = NULL;
	switch (seg->kind) {
	case TZ_TX_COPY:
		vec->ptr = tx->buf + pos;
		len = tz_min(len, tx->size - pos);
		break;
	case TZ_TX_REF:
		vec->mr = seg->mr;
		vec->off = seg->off + skip;
		break;
	}
	vec->len = len;
}

int tz_qp_tx_peek(struct tz_qp *qp, struct tz_vec *vec, int max)
{
	struct tz_tx *tx = &qp->tx;
	u32 i = tx->seg_head, at = tx->head, skip = tx->seg_pos;
	int n = 0;

	while (i != tx->seg_tail && n < max) {
		struct tz_txseg *seg = tz_tx_seg(tx, i);

		if (seg->kind == TZ_TX_REF && tz_load_once(&seg->mr->dead))
			break;
		tz_tx_piece(tx, seg, skip, at, &vec[n]);
		skip += vec[n].len;
		if (seg->kind == TZ_TX_COPY)
			at += vec[n].len;
		if (skip == seg->len) {
			i++;
			skip = 0;
		}
		n++;
	}
	return n;
}

/* The next byte is the first of a PDU: how long is it? */
static void tz_tx_begin_pdu(struct tz_tx *tx)
{
	u8 b[8];
	u32 i;

	for (i = 0; i < sizeof(b); i++)
		b[i] = tx->buf[(tx->head + i) & (tx->size - 1)];
	tx->pdu_op = b[0];
	tx->pdu_left = tz_hdr_bytes(b[0]) +
		       (b[4] | b[5] << 8 | b[6] << 16 | (u32)b[7] << 24);
}

/* @n bytes of the first segment were taken. */
static void tz_tx_take(struct tz_qp *qp, u32 n)
{
	struct tz_tx *tx = &qp->tx;
	struct tz_txseg *seg = tz_tx_seg(tx, tx->seg_head);

	tx->seg_pos += n;
	if (seg->kind == TZ_TX_COPY)
		tx->head += n;
	if (tx->seg_pos < seg->len)
		return;
	tz_tx_unref(qp, seg);
	tx->seg_head++;
	tx->seg_pos = 0;
}

void tz_tx_took(struct tz_qp *qp, u32 bytes)
{
	struct tz_tx *tx = &qp->tx;

	tz_assert(bytes <= tx->queued);
	tx->queued -= bytes;
	tx->taken += bytes;
	while (bytes) {
		struct tz_txseg *seg = tz_tx_seg(tx, tx->seg_head);
		u32 n = tz_min(bytes, seg->len - tx->seg_pos);

		if (!tx->pdu_left)
			tz_tx_begin_pdu(tx);
		n = tz_min(n, tx->pdu_left);
		tx->pdu_left -= n;
		bytes -= n;
		tz_tx_take(qp, n);
	}
}

bool tz_tx_dead(const struct tz_qp *qp)
{
	const struct tz_tx *tx = &qp->tx;
	const struct tz_txseg *seg = &tx->seg[tx->seg_head & (TZ_TX_SEGS - 1)];

	return tx->seg_head != tx->seg_tail && seg->kind == TZ_TX_REF &&
	       tz_load_once(&seg->mr->dead);
}

u32 tz_tx_ref_bytes(const struct tz_qp *qp)
{
	const struct tz_tx *tx = &qp->tx;
	u32 i, bytes = 0, last_ref = 0;

	if (tx->pdu_left && tx->pdu_op >= TZ_PDU_READ_RESP)
		return 0;
	for (i = tx->seg_head; i != tx->seg_tail; i++) {
		const struct tz_txseg *seg = &tx->seg[i & (TZ_TX_SEGS - 1)];

		bytes += seg->len - (i == tx->seg_head ? tx->seg_pos : 0);
		if (seg->answer)
			return 0;
		if (seg->kind == TZ_TX_REF)
			last_ref = bytes;
	}
	return last_ref;
}
