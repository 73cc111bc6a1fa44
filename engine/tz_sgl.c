// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * tz_sgl.c - lists of ranges of memory regions, with a position.
 *
 * A list that lives only within one call into the engine needs no references:
 * a region cannot go away meanwhile. One that is kept is pinned, which keeps
 * the object (not the memory: see tz_mr.dead) alive.
 */
#include "tz_engine.h"

bool tz_mr_covers(const struct tz_mr *mr, u64 addr, u64 len, u32 access,
		  u64 *off)
{
	u64 start = addr - mr->iova;

	if (tz_load_once(&mr->dead) ||
	    (tz_load_once(&mr->access) & access) != access)
		return false;
	if (addr < mr->iova || start > mr->len || len > mr->len - start)
		return false;
	*off = start;
	return true;
}

bool tz_sgl_resolve(struct tz_qp *qp, struct tz_sgl *sgl,
		    const struct tcpzc_sge *sge, u32 n, u32 access, u64 *total)
{
	u64 sum = 0;
	u32 i, used = 0;

	for (i = 0; i < n; i++) {
		struct tz_seg *seg = &sgl->seg[used];
		struct tz_mr *mr;

		if (!sge[i].length)
			continue;	/* no key check at length 0 */
		mr = qp->ops->mr_find(qp, sge[i].lkey);
		if (!mr || !tz_mr_covers(mr, sge[i].addr, sge[i].length, access,
					 &seg->off))
			return false;
		seg->mr = mr;
		seg->len = sge[i].length;
		sum += sge[i].length;
		used++;
	}
	sgl->n = used;
	sgl->idx = 0;
	sgl->pos = 0;
	*total = sum;
	return true;
}

void tz_sgl_set(struct tz_qp *qp, struct tz_sgl *sgl, struct tz_mr *mr, u64 off,
		u32 len)
{
	tz_sgl_reset(qp, sgl);
	sgl->seg[0].mr = mr;
	sgl->seg[0].off = off;
	sgl->seg[0].len = len;
	sgl->n = 1;
}

void tz_sgl_pin(struct tz_qp *qp, struct tz_sgl *sgl)
{
	u32 i;

	if (sgl->pinned)
		return;
	for (i = 0; i < sgl->n; i++)
		qp->ops->mr_get(sgl->seg[i].mr);
	sgl->pinned = true;
}

void tz_sgl_reset(struct tz_qp *qp, struct tz_sgl *sgl)
{
	u32 i;

	if (sgl->pinned) {
		for (i = 0; i < sgl->n; i++)
			qp->ops->mr_put(sgl->seg[i].mr);
		sgl->pinned = false;
	}
	sgl->n = 0;
	sgl->idx = 0;
	sgl->pos = 0;
}

bool tz_sgl_peek(const struct tz_sgl *sgl, u32 ahead, u32 max,
		 struct tz_seg *out)
{
	u32 i, pos = sgl->pos;

	for (i = sgl->idx; i < sgl->n; i++) {
		const struct tz_seg *seg = &sgl->seg[i];

		if (ahead < seg->len - pos) {
			pos += ahead;
			out->mr = seg->mr;
			out->off = seg->off + pos;
			out->len = tz_min(seg->len - pos, max);
			return !tz_load_once(&seg->mr->dead);
		}
		ahead -= seg->len - pos;
		pos = 0;
	}
	return false;
}

void tz_sgl_advance(struct tz_sgl *sgl, u32 bytes)
{
	while (bytes && sgl->idx < sgl->n) {
		u32 n = tz_min(bytes, sgl->seg[sgl->idx].len - sgl->pos);

		sgl->pos += n;
		bytes -= n;
		if (sgl->pos == sgl->seg[sgl->idx].len) {
			sgl->idx++;
			sgl->pos = 0;
		}
	}
	tz_assert(!bytes);
}

bool tz_sgl_write(struct tz_qp *qp, struct tz_sgl *sgl, const u8 *src, u32 bytes)
{
	struct tz_seg seg;

	while (bytes) {
		if (!tz_sgl_peek(sgl, 0, bytes, &seg))
			return false;
		qp->ops->mr_write(seg.mr, seg.off, src, seg.len);
		tz_sgl_advance(sgl, seg.len);
		src += seg.len;
		bytes -= seg.len;
	}
	return true;
}
