// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * app.c - the programs: they register memory, post random work requests and
 * receives, and write down for the oracle what must come of each.
 */
#include "sim.h"

#define APP_BAD_MRS	4	/* see app_host_setup() */

/* ---- memory ------------------------------------------------------------- */

u32 sim_cell_bytes(const struct sim *s)
{
	return (s->cfg.max_msg + 256 + SIM_BLOCK - 1) & ~(SIM_BLOCK - 1);
}

u32 sim_area_bytes(const struct sim *s, enum sim_area area)
{
	switch (area) {
	case SIM_SRC:
	case SIM_WIN:
		return 2 * sim_cell_bytes(s);
	case SIM_DST:
		return SIM_DST_CELLS * sim_cell_bytes(s);
	case SIM_RCV:
		return SIM_RCV_CELLS * sim_cell_bytes(s);
	case SIM_ATOM:
		return SIM_WORDS * 8;
	default:
		return 0;
	}
}

static u32 sim_slice_bytes(const struct sim *s)
{
	return sim_area_bytes(s, SIM_SRC) + sim_area_bytes(s, SIM_WIN) +
	       sim_area_bytes(s, SIM_DST) + sim_area_bytes(s, SIM_RCV);
}

/* The words for atomics come first, so that they are aligned. */
u32 sim_area_base(const struct sim *s, u32 slot, enum sim_area area)
{
	u32 base = SIM_WORDS * 8 + slot * sim_slice_bytes(s), a;

	if (area == SIM_ATOM)
		return 0;
	for (a = SIM_SRC; a < area; a++)
		base += sim_area_bytes(s, a);
	return base;
}

enum sim_area sim_area_of(const struct sim *s, u32 off, u32 *slot)
{
	u32 a;

	*slot = 0;
	if (off < SIM_WORDS * 8)
		return SIM_ATOM;
	off -= SIM_WORDS * 8;
	*slot = off / sim_slice_bytes(s);
	off %= sim_slice_bytes(s);
	for (a = SIM_SRC; a < SIM_ATOM; a++) {
		if (off < sim_area_bytes(s, a))
			return a;
		off -= sim_area_bytes(s, a);
	}
	return SIM_NOWHERE;
}

u64 app_addr(const struct sim_mr *mr, u32 off)
{
	return mr->iova + (off - mr->start);
}

static struct sim_mr *app_reg(struct sim_host *h, u32 start, u32 len, u32 access,
			      u32 pdn)
{
	struct rng *r = &h->sim->rng;
	struct sim_mr *m = &h->mr[h->num_mr];
	u64 iova;

	switch (rng_below(r, 4)) {
	case 0:
		iova = 0;
		break;
	case 1:
		iova = -(u64)len & ~7ull;	/* its end is the end of all */
		break;
	default:
		iova = rng_next(r) >> 16 << 3;
		break;
	}
	m->mr = bed_reg(&h->bed, h->mem + start, len, iova, access, pdn);
	if (!m->mr)
		return NULL;
	h->num_mr++;
	m->id = m->mr->id;
	m->start = start;
	m->len = len;
	m->iova = iova;
	m->key = m->mr->mr.key;
	m->access = access;
	m->pdn = pdn;
	return m;
}

static const u32 app_all = TZ_ACCESS_LOCAL_WRITE | TZ_ACCESS_REMOTE_WRITE |
			   TZ_ACCESS_REMOTE_READ | TZ_ACCESS_REMOTE_ATOMIC;

/* A region that can do everything, and overlapping ones that cannot. */
void app_host_setup(struct sim *s, struct sim_host *h, u32 slots)
{
	u32 i, n = rng_below(&s->rng, 6);

	h->bytes = SIM_WORDS * 8 + slots * sim_slice_bytes(s);
	h->mem = malloc(h->bytes);
	h->view = malloc(h->bytes);
	h->use = calloc(h->bytes / SIM_BLOCK + 1, sizeof(*h->use));
	BED_CHECK(h->mem && h->view && h->use, "out of memory");
	rng_fill(&s->rng, h->mem, h->bytes);
	/* The first ones are known by their place: those for bad requests. */
	app_reg(h, 0, h->bytes, TZ_ACCESS_LOCAL_WRITE, SIM_PD);
	app_reg(h, 0, h->bytes, TZ_ACCESS_REMOTE_READ, SIM_PD);
	app_reg(h, 0, h->bytes, app_all, SIM_OTHER_PD);
	app_reg(h, 0, h->bytes, TZ_ACCESS_LOCAL_WRITE | TZ_ACCESS_REMOTE_WRITE,
		SIM_PD);
	app_reg(h, 0, h->bytes, app_all, SIM_PD);
	app_reg(h, 0, h->bytes, app_all, h->rq_pd);
	for (i = 0; i < n; i++) {
		u32 start = rng_below(&s->rng, h->bytes) & ~7u;
		u32 len = rng_below(&s->rng, h->bytes - start) + 1;

		app_reg(h, start, len, rng_below(&s->rng, 16), SIM_PD);
	}
}

static bool app_mr_fits(const struct sim_mr *m, u32 off, u32 len, u32 access,
			u32 pdn)
{
	return m->pdn == pdn && (m->access & access) == access &&
	       off >= m->start && off + len <= m->start + m->len;
}

struct sim_mr *app_find_mr(struct sim_host *h, u32 off, u32 len, u32 access,
			   u32 pdn)
{
	u32 i, at = rng_below(&h->sim->rng, h->num_mr);

	for (i = 0; i < h->num_mr; i++) {
		struct sim_mr *m = &h->mr[(at + i) % h->num_mr];

		if (app_mr_fits(m, off, len, access, pdn))
			return m;
	}
	return app_reg(h, 0, h->bytes, app_all, pdn);
}

static bool app_uses(const struct sim_seg *seg, u32 n, u32 id)
{
	u32 i;

	for (i = 0; i < n; i++)
		if (seg[i].len && seg[i].mr == id)
			return true;
	return false;
}

static void app_taint(struct sim *s, struct sim_host *h, u32 id)
{
	u32 i, j;

	for (i = 0; i < s->num_qps; i++) {
		struct sim_qp *q = s->qp[i];

		for (j = q->over; j < q->num_msg; j++) {
			struct sim_msg *m = q->msg[j];

			if ((q->host == h && app_uses(m->seg, m->num_seg, id)) ||
			    (q->peer && q->peer->host == h && m->rmr == id))
				m->tainted = true;
		}
		for (j = 0; q->host == h && j < q->rq->num; j++)
			if (app_uses(q->rq->recv[j]->seg,
				     q->rq->recv[j]->num_seg, id))
				q->rq->recv[j]->tainted = true;
	}
}

/* One region that is not special goes away, whoever uses it. */
void app_dereg(struct sim_host *h)
{
	struct sim *s = h->sim;
	u32 i, n = h->num_mr - APP_BAD_MRS;
	struct sim_mr *m;

	if (!n)
		return;
	i = APP_BAD_MRS + rng_below(&s->rng, n);
	m = &h->mr[i];
	if (s->verbose)
		sim_trace(s, NULL, "host %u: region %u goes away", h->idx, m->id);
	app_taint(s, h, m->id);
	bed_dereg(m->mr);
	memmove(m, m + 1, (h->num_mr - i - 1) * sizeof(*m));
	h->num_mr--;
	for (i = 0; i < s->num_qps; i++)
		if (s->qp[i]->host == h)
			sim_wake(s->qp[i]);
}

/* ---- buffers of a message ----------------------------------------------- */

static void app_use(struct sim_host *h, const struct sim_msg *m, int by)
{
	u32 i, b, slot;

	for (i = 0; i < m->num_seg; i++) {
		const struct sim_seg *g = &m->seg[i];

		if (!g->len || sim_area_of(h->sim, g->off, &slot) != SIM_SRC)
			continue;
		for (b = g->off / SIM_BLOCK; b <= (g->off + g->len - 1) / SIM_BLOCK; b++)
			h->use[b] += by;
	}
}

/* What nobody sends any more, the program uses for something else. */
static void app_scribble(struct sim_host *h, const struct sim_msg *m)
{
	u32 i, b, slot;

	for (i = 0; i < m->num_seg; i++) {
		const struct sim_seg *g = &m->seg[i];

		if (!g->len || sim_area_of(h->sim, g->off, &slot) != SIM_SRC)
			continue;
		for (b = (g->off + SIM_BLOCK - 1) / SIM_BLOCK;
		     (b + 1) * SIM_BLOCK <= g->off + g->len; b++)
			if (!h->use[b])
				rng_fill(&h->sim->rng, h->mem + b * SIM_BLOCK,
					 SIM_BLOCK);
	}
}

void app_release(struct sim_qp *q, struct sim_msg *m)
{
	struct sim_host *h = q->host;

	if (!(m->flags & TCPZC_WQE_F_INLINE)) {
		app_use(h, m, -1);
		app_scribble(h, m);
	}
	if (m->cell >= 0)
		q->dst_use[m->cell]--;
}

/* Cut [off, off + len) into pieces, with gaps if there is room for them. */
static void app_cut(struct sim_qp *q, struct sim_msg *m, u32 off, u32 len,
		    u32 access, u32 pdn, u32 max_sge, u32 slack)
{
	struct rng *r = &q->sim->rng;
	u32 n = rng_chance(r, 1, 2) ? 1 : rng_range(r, 1, max_sge);

	m->num_seg = 0;
	while (len && m->num_seg < n) {
		struct sim_seg *g = &m->seg[m->num_seg++];
		u32 gap = rng_below(r, slack / 8 + 1);

		g->len = m->num_seg == n ? len : rng_range(r, 1, len);
		if (gap <= slack) {
			off += gap;
			slack -= gap;
		}
		g->off = off;
		g->mr = app_find_mr(q->host, off, g->len, access, pdn)->id;
		off += g->len;
		len -= g->len;
	}
}

static void app_gather(struct sim_qp *q, struct sim_msg *m)
{
	u32 i, pos = 0;

	m->data = malloc(m->len + 1);
	BED_CHECK(m->data, "out of memory");
	for (i = 0; i < m->num_seg; i++) {
		memcpy(m->data + pos, q->host->mem + m->seg[i].off, m->seg[i].len);
		pos += m->seg[i].len;
	}
}

/* The source of a SEND or WRITE: scattered over the source area. */
static void app_source(struct sim_qp *q, struct sim_msg *m)
{
	struct sim *s = q->sim;
	struct rng *r = &s->rng;
	u32 base = sim_area_base(s, q->slot, SIM_SRC);
	u32 room = sim_area_bytes(s, SIM_SRC) - m->len - 256;

	app_cut(q, m, base + rng_below(r, room), m->len, 0, SIM_PD,
		s->cfg.max_sge, 256);
	app_gather(q, m);
}

/* Send on what a READ that is not answered yet will bring: needs a fence. */
static bool app_forward(struct sim_qp *q, struct sim_msg *m)
{
	struct sim_msg *from;

	if (!q->num_msg)
		return false;
	from = q->msg[q->num_msg - 1];
	if (from->opcode != TCPZC_WQE_RDMA_READ || from->over || from->tainted ||
	    !from->len || from->fault != SIM_FAULT_NONE || from->len != m->len)
		return false;
	memcpy(m->seg, from->seg, sizeof(m->seg));
	m->num_seg = from->num_seg;
	m->flags = (m->flags | TCPZC_WQE_F_FENCE) & ~TCPZC_WQE_F_INLINE;
	m->cell = from->cell;
	q->dst_use[m->cell]++;
	m->data = malloc(m->len + 1);
	BED_CHECK(m->data, "out of memory");
	memcpy(m->data, from->data, m->len);
	return true;
}

static bool app_dest(struct sim_qp *q, struct sim_msg *m)
{
	struct sim *s = q->sim;
	u32 i, at = rng_below(&s->rng, SIM_DST_CELLS);

	for (i = 0; i < SIM_DST_CELLS; i++) {
		u32 c = (at + i) % SIM_DST_CELLS;

		if (q->dst_use[c])
			continue;
		q->dst_use[c] = 1;
		m->cell = c;
		app_cut(q, m, sim_area_base(s, q->slot, SIM_DST) +
			      c * sim_cell_bytes(s), m->len,
			TZ_ACCESS_LOCAL_WRITE, SIM_PD,
			oracle_is_atomic(m) ? 1 : s->cfg.max_sge, 200);
		m->data = malloc(m->len + 1);
		BED_CHECK(m->data, "out of memory");
		return true;
	}
	return false;
}

/* ---- the remote side ---------------------------------------------------- */

static struct sim_host *app_target(const struct sim_qp *q)
{
	return q->peer ? q->peer->host : q->host;
}

static u32 app_window(const struct sim_qp *q)
{
	return sim_area_base(q->sim, q->peer ? q->peer->slot : q->slot, SIM_WIN);
}

/* A WRITE must not overtake a READ of the same bytes. */
static bool app_hazard(const struct sim_qp *q, const struct sim_msg *m)
{
	u32 i;

	for (i = q->over; i < q->num_msg; i++) {
		const struct sim_msg *o = q->msg[i];

		if (o->opcode == TCPZC_WQE_RDMA_READ && o->roff < m->roff + m->len &&
		    m->roff < o->roff + o->len)
			return true;
	}
	return false;
}

static void app_aim(struct sim_qp *q, struct sim_msg *m,
		    struct tcpzc_send_wqe *w, u32 access)
{
	struct rng *r = &q->sim->rng;
	struct sim_host *h = app_target(q);
	struct sim_mr *mr;

	if (oracle_is_atomic(m))
		m->roff = 8 * rng_below(r, SIM_WORDS);
	else
		m->roff = app_window(q) +
			  rng_below(r, sim_area_bytes(q->sim, SIM_WIN) - m->len);
	if (!m->len) {
		m->rmr = ~0u;
		w->remote_addr = rng_chance(r, 1, 2) ? 0 : rng_next(r);
		w->rkey = rng_chance(r, 1, 2) ? 0 : rng_next(r);
		return;
	}
	mr = app_find_mr(h, m->roff, m->len, access, SIM_PD);
	m->rmr = mr->id;
	w->remote_addr = app_addr(mr, m->roff);
	w->rkey = mr->key;
}

static u32 app_remote_access(const struct sim_msg *m)
{
	if (oracle_is_atomic(m))
		return TZ_ACCESS_REMOTE_ATOMIC;
	return m->opcode == TCPZC_WQE_RDMA_READ ? TZ_ACCESS_REMOTE_READ :
						  TZ_ACCESS_REMOTE_WRITE;
}

static void app_remote(struct sim_qp *q, struct sim_msg *m,
		       struct tcpzc_send_wqe *w)
{
	struct rng *r = &q->sim->rng;
	u8 *view = app_target(q)->view;

	app_aim(q, m, w, app_remote_access(m));
	if (oracle_is_atomic(m)) {
		m->swap = rng_next(r);
		m->compare_add = rng_next(r);
		if (rng_chance(r, 1, 2))	/* a compare that may succeed */
			memcpy(&m->compare_add, app_target(q)->mem + m->roff, 8);
		w->compare_add = m->compare_add;
		w->swap = m->swap;
	} else if (m->opcode == TCPZC_WQE_RDMA_READ) {
		memcpy(m->data, view + m->roff, m->len);
	} else {
		if (app_hazard(q, m))
			m->flags |= TCPZC_WQE_F_FENCE;
	}
}

/* ---- bad work requests -------------------------------------------------- */

static void app_fault(struct sim_msg *m, enum sim_fault where, u8 fate)
{
	m->fault = where;
	m->fate = fate;
}

static void app_bad_remote(struct sim_qp *q, struct sim_msg *m,
			   struct tcpzc_send_wqe *w)
{
	struct sim_host *h = app_target(q);
	struct sim_mr *mr = &h->mr[rng_below(&q->sim->rng, 3)];

	switch (rng_below(&q->sim->rng, 5)) {
	case 0:
		w->rkey ^= 1u << rng_below(&q->sim->rng, 32);
		break;
	case 1:
		if (m->len <= 24)
			return;
		w->remote_addr = ~0ull - 3 * 8 + 1;	/* wraps */
		w->rkey = h->mr[APP_BAD_MRS - 1].key;
		break;
	case 2:		/* a region without the right, or of another PD */
		if (mr->pdn == SIM_PD && (mr->access & app_remote_access(m)))
			return;
		w->rkey = mr->key;
		w->remote_addr = app_addr(mr, m->roff);
		break;
	case 3:		/* the last byte is one too many */
		mr = &h->mr[APP_BAD_MRS - 1];
		if (oracle_is_atomic(m))
			return;
		w->rkey = mr->key;
		w->remote_addr = mr->iova + mr->len - m->len + 1;
		break;
	default:
		if (!oracle_is_atomic(m))
			return;
		w->remote_addr += 4;
		app_fault(m, SIM_FAULT_REMOTE, TCPZC_WC_REM_INV_REQ_ERR);
		return;
	}
	app_fault(m, SIM_FAULT_REMOTE, TCPZC_WC_REM_ACCESS_ERR);
}

static void app_bad_sge(struct sim_qp *q, struct sim_msg *m, struct bed_swr *wr)
{
	struct rng *r = &q->sim->rng;
	struct sim_host *h = q->host;
	u32 i = rng_below(r, wr->wqe.num_sge);
	bool read = m->opcode == TCPZC_WQE_RDMA_READ || oracle_is_atomic(m);

	if (!wr->wqe.num_sge || !wr->sge[i].length ||
	    (wr->wqe.flags & TCPZC_WQE_F_INLINE))
		return;
	switch (rng_below(r, 4)) {
	case 0:
		wr->sge[i].lkey ^= 1u << rng_below(r, 32);
		break;
	case 1:
		wr->sge[i].lkey = h->mr[2].key;		/* another PD */
		wr->sge[i].addr = h->mr[2].iova;
		break;
	case 2:
		wr->sge[i].lkey = h->mr[0].key;
		wr->sge[i].addr = h->mr[0].iova + h->mr[0].len -
				  wr->sge[i].length + 1;
		break;
	default:
		if (!read)
			return;
		wr->sge[i].lkey = h->mr[1].key;		/* not writable */
		wr->sge[i].addr = h->mr[1].iova;
		break;
	}
	app_fault(m, SIM_FAULT_LOCAL, TCPZC_WC_LOC_PROT_ERR);
}

static void app_bad_form(struct sim_qp *q, struct sim_msg *m, struct bed_swr *wr)
{
	struct rng *r = &q->sim->rng;
	bool atomic = oracle_is_atomic(m);
	u8 fate = TCPZC_WC_LOC_QP_OP_ERR;

	switch (rng_below(r, 4)) {
	case 0:
		wr->wqe.opcode = m->opcode = rng_range(r, TCPZC_WQE_OPCODES, 255);
		break;
	case 1:
		wr->wqe.num_sge = q->b.qp.init.sq_max_sge +
				  rng_range(r, 1, 65535 - TCPZC_MAX_SGE);
		break;
	case 2:
		wr->wqe.flags |= TCPZC_WQE_F_INLINE;
		wr->wqe.inline_len = q->b.qp.init.sq_max_inline + 1 +
				     rng_below(r, 1u << 30);
		break;
	default:
		if (!atomic || wr->sge[0].length != 8)
			return;
		wr->sge[0].length = 7;
		fate = TCPZC_WC_LOC_LEN_ERR;
		break;
	}
	app_fault(m, SIM_FAULT_LOCAL, fate);
}

/* Rights of the QPs themselves, which are checked first. */
static void app_judge(struct sim_qp *q, struct sim_msg *m)
{
	u32 access = app_remote_access(m);
	bool asks = m->opcode == TCPZC_WQE_RDMA_READ || oracle_is_atomic(m);

	if (asks && !q->attr.max_rd_atomic)
		app_fault(m, SIM_FAULT_LOCAL, TCPZC_WC_LOC_QP_OP_ERR);
	if (m->fault == SIM_FAULT_LOCAL || m->opcode == TCPZC_WQE_SEND ||
	    m->opcode == TCPZC_WQE_SEND_WITH_IMM)
		return;
	if (q->peer && !(q->peer->attr.access & access))
		app_fault(m, SIM_FAULT_REMOTE, TCPZC_WC_REM_INV_REQ_ERR);
}

static void app_make_bad(struct sim_qp *q, struct sim_msg *m, struct bed_swr *wr)
{
	bool remote = m->opcode > TCPZC_WQE_SEND_WITH_IMM;

	switch (rng_below(&q->sim->rng, 3)) {
	case 0:
		app_bad_form(q, m, wr);
		break;
	case 1:
		app_bad_sge(q, m, wr);
		break;
	default:
		if (remote && m->len)
			app_bad_remote(q, m, &wr->wqe);
		break;
	}
}

/* ---- posting ------------------------------------------------------------ */

static void app_fill_sge(struct sim_qp *q, const struct sim_seg *seg, u32 n,
			 struct tcpzc_sge *sge)
{
	struct sim_host *h = q->host;
	u32 i, j;

	for (i = 0; i < n; i++) {
		struct sim_mr *mr = NULL;

		for (j = 0; j < h->num_mr; j++)
			if (h->mr[j].id == seg[i].mr)
				mr = &h->mr[j];
		BED_CHECK(mr, "region %u is gone", seg[i].mr);
		sge[i].addr = app_addr(mr, seg[i].off);
		sge[i].length = seg[i].len;
		sge[i].lkey = mr->key;
	}
}

/* Entries of length 0 may stand anywhere and name anything. */
static u32 app_add_empty(struct sim_qp *q, struct tcpzc_sge *sge, u32 n, u32 max)
{
	struct rng *r = &q->sim->rng;
	u32 at;

	if (n >= max || !rng_chance(r, 1, 8))
		return n;
	at = rng_below(r, n + 1);
	memmove(sge + at + 1, sge + at, (n - at) * sizeof(*sge));
	sge[at].addr = rng_next(r);
	sge[at].length = 0;
	sge[at].lkey = rng_next(r);
	return n + 1;
}

static u8 app_flags(struct sim_qp *q)
{
	struct rng *r = &q->sim->rng;
	u8 flags = 0;

	if (rng_chance(r, 2, 3))
		flags |= TCPZC_WQE_F_SIGNALED;
	if (rng_chance(r, 1, 4))
		flags |= TCPZC_WQE_F_SOLICITED;
	if (rng_chance(r, 1, 8))
		flags |= TCPZC_WQE_F_FENCE;
	return flags;
}

static u8 app_opcode(struct sim_qp *q)
{
	static const u8 ops[] = {
		TCPZC_WQE_SEND, TCPZC_WQE_SEND, TCPZC_WQE_SEND_WITH_IMM,
		TCPZC_WQE_RDMA_WRITE, TCPZC_WQE_RDMA_WRITE,
		TCPZC_WQE_RDMA_WRITE_WITH_IMM, TCPZC_WQE_RDMA_READ,
		TCPZC_WQE_RDMA_READ, TCPZC_WQE_ATOMIC_CMP_AND_SWP,
		TCPZC_WQE_ATOMIC_FETCH_AND_ADD
	};

	/* UC has neither READs nor atomics */
	return ops[rng_below(&q->sim->rng, tz_qp_is_uc(&q->b.qp) ?
			     6 : TZ_ARRAY_SIZE(ops))];
}

/* Local memory of a message; false if there is none free for an answer. */
static bool app_local(struct sim_qp *q, struct sim_msg *m)
{
	struct rng *r = &q->sim->rng;
	u32 inl = q->b.qp.init.sq_max_inline;

	m->cell = -1;
	if (m->opcode == TCPZC_WQE_RDMA_READ || oracle_is_atomic(m))
		return app_dest(q, m);
	if (rng_chance(r, 1, 8) && q->num_msg) {
		u32 len = m->len;

		m->len = q->msg[q->num_msg - 1]->len;
		if (app_forward(q, m))
			return true;
		m->len = len;
	}
	app_source(q, m);
	if (m->len <= inl && rng_chance(r, 1, 2))
		m->flags |= TCPZC_WQE_F_INLINE;
	return true;
}

static struct sim_msg *app_msg(struct sim_qp *q)
{
	struct rng *r = &q->sim->rng;
	struct sim_msg *m = calloc(1, sizeof(*m));

	BED_CHECK(m, "out of memory");
	m->wr_id = ++q->next_wr_id;
	m->opcode = app_opcode(q);
	m->flags = app_flags(q);
	m->imm = rng_next(r);
	m->len = oracle_is_atomic(m) ? 8 : rng_size(r, q->sim->cfg.max_msg);
	if (app_local(q, m))
		return m;
	free(m);
	return NULL;
}

static void app_msg_wqe(struct sim_qp *q, struct sim_msg *m, struct bed_swr *wr)
{
	struct tcpzc_send_wqe *w = &wr->wqe;

	memset(wr, 0, sizeof(*wr));
	if (m->opcode > TCPZC_WQE_SEND_WITH_IMM)
		app_remote(q, m, w);
	w->wr_id = m->wr_id;
	w->opcode = m->opcode;
	w->flags = m->flags;
	w->imm_data = m->imm;
	if (m->flags & TCPZC_WQE_F_INLINE) {
		w->inline_len = m->len;
		memcpy(wr->data, m->data, m->len);
	} else {
		app_fill_sge(q, m->seg, m->num_seg, wr->sge);
		w->num_sge = app_add_empty(q, wr->sge, m->num_seg,
					   q->b.qp.init.sq_max_sge);
	}
}

static void app_remember(struct sim_qp *q, struct sim_msg *m)
{
	bool write = m->opcode == TCPZC_WQE_RDMA_WRITE ||
		     m->opcode == TCPZC_WQE_RDMA_WRITE_WITH_IMM;

	if (q->num_msg == q->room_msg) {
		q->room_msg = q->room_msg ? 2 * q->room_msg : 32;
		q->msg = realloc(q->msg, q->room_msg * sizeof(*q->msg));
		BED_CHECK(q->msg, "out of memory");
	}
	q->msg[q->num_msg++] = m;
	m->signaled = q->b.qp.init.sq_sig_all || (m->flags & TCPZC_WQE_F_SIGNALED);
	if (!(m->flags & TCPZC_WQE_F_INLINE))
		app_use(q->host, m, 1);
	if (write && m->fault == SIM_FAULT_NONE)
		memcpy(app_target(q)->view + m->roff, m->data, m->len);
}

static void app_send(struct sim_qp *q)
{
	static struct bed_swr wr;
	struct sim_msg *m = app_msg(q);

	if (!m)
		return;
	app_msg_wqe(q, m, &wr);
	if (rng_below(&q->sim->rng, 1000) < q->sim->cfg.fault)
		app_make_bad(q, m, &wr);
	app_judge(q, m);
	app_remember(q, m);
	q->budget--;
	q->dirty = true;
	q->sim->sum_wr++;
	TRACE(q, "posts wr %llu op %u flags %x len %u segs %u roff %u fate %u",
	      (unsigned long long)m->wr_id, m->opcode, m->flags, m->len,
	      m->num_seg, m->roff, m->fate);
	BED_CHECK(bed_post_send(&q->b, &wr), "%s: send ring is full", q->name);
}

/* ---- receives ----------------------------------------------------------- */

void app_recv_release(struct sim_rq *rq, struct sim_recv *r)
{
	rq->busy &= ~(1u << r->cell);
}

static u32 app_rq_room(const struct sim_qp *q)
{
	const struct sim_rq *rq = q->rq;
	const struct tcpzc_ring_hdr *h = rq->owner ? q->b.rq_hdr : rq->srq->hdr;
	u32 depth = rq->owner ? q->b.qp.init.rq.depth : rq->srq->rq.ring.depth;

	if (!depth || h->prod - h->cons >= depth ||
	    rq->busy == (1u << rq->num_cells) - 1)
		return 0;
	return 1;
}

static struct sim_recv *app_recv_make(struct sim_qp *q)
{
	struct rng *r = &q->sim->rng;
	struct sim_rq *rq = q->rq;
	struct sim_recv *rv = calloc(1, sizeof(*rv));
	struct sim_msg m = { 0 };

	BED_CHECK(rv, "out of memory");
	while (rq->busy & (1u << rv->cell))
		rv->cell++;
	rq->busy |= 1u << rv->cell;
	rv->wr_id = (1ull << 40) + rq->num;
	rv->cap = q->sim->cfg.max_msg;
	if (q->sim->cfg.kind == SIM_FAULT && rng_chance(r, 1, 24))
		rv->cap = rng_size(r, rv->cap);
	app_cut(q, &m, rq->base + rv->cell * rq->cell_bytes, rv->cap,
		TZ_ACCESS_LOCAL_WRITE, q->host->rq_pd, q->sim->cfg.max_sge, 200);
	memcpy(rv->seg, m.seg, sizeof(rv->seg));
	rv->num_seg = m.num_seg;
	return rv;
}

static void app_rq_append(struct sim_rq *rq, struct sim_recv *rv)
{
	if (rq->num == rq->room) {
		rq->room = rq->room ? 2 * rq->room : 32;
		rq->recv = realloc(rq->recv, rq->room * sizeof(*rq->recv));
		BED_CHECK(rq->recv, "out of memory");
	}
	rq->recv[rq->num++] = rv;
}

static void app_post_recv(struct sim_qp *q)
{
	struct rng *r = &q->sim->rng;
	struct sim_recv *rv = app_recv_make(q);
	struct tcpzc_sge sge[TCPZC_MAX_SGE + 1];
	u32 n = rv->num_seg, max = q->sim->cfg.max_sge;
	bool ok;

	app_fill_sge(q, rv->seg, rv->num_seg, sge);
	n = app_add_empty(q, sge, n, max);
	if (q->sim->cfg.kind == SIM_FAULT && n && rng_chance(r, 1, 60)) {
		if (rng_chance(r, 1, 3)) {
			n = max + 1 + rng_below(r, 1u << 20);
			rv->fate = TCPZC_WC_LOC_QP_OP_ERR;
		} else if (sge[0].length) {
			if (rng_chance(r, 1, 2)) {
				sge[0].lkey = q->host->mr[2].key;
				sge[0].addr = q->host->mr[2].iova;
			} else {
				sge[0].lkey ^= 1u << rng_below(r, 32);
			}
			rv->fate = TCPZC_WC_LOC_PROT_ERR;
		}
	}
	app_rq_append(q->rq, rv);
	TRACE(q, "posts receive %llu cap %u segs %u fate %u",
	      (unsigned long long)rv->wr_id, rv->cap, n, rv->fate);
	if (q->rq->owner)
		ok = bed_post_recv(&q->b, rv->wr_id, sge, n);
	else
		ok = bed_post_srq(q->rq->srq, rv->wr_id, sge, n);
	BED_CHECK(ok, "%s: receive ring is full", q->name);
	/* the doorbell is rung only if the engine asks for it */
	if (!q->rq->owner || (q->b.rq_hdr->flags & TCPZC_RING_NEED_WAKEUP))
		q->dirty = true;
}

/* A receive posted to an SRQ is news to all its QPs. */
static void app_recvs(struct sim_qp *q)
{
	struct sim *s = q->sim;
	u32 i, n = rng_range(&s->rng, 1, 4);

	q->late += q->was_err;
	while (n-- && app_rq_room(q))
		app_post_recv(q);
	for (i = 0; i < s->num_qps; i++)
		if (s->qp[i]->rq == q->rq && !q->rq->owner)
			s->qp[i]->dirty = true;
}

/* ---- what to do next ---------------------------------------------------- */

static bool app_may_send(const struct sim_qp *q)
{
	enum tz_state st = q->b.qp.state;

	if (!q->budget || (st != TZ_RTS && st != TZ_SQD && st != TZ_ERR))
		return false;
	return q->b.sq_hdr->prod - q->b.sq_hdr->cons < q->b.qp.init.sq.depth;
}

static bool app_may_recv(const struct sim_qp *q)
{
	if (q->b.qp.state == TZ_RESET || (q->b.qp.state == TZ_ERR && q->late > 5))
		return false;
	return app_rq_room(q);
}

bool app_can_act(const struct sim_qp *q)
{
	return q->think_until <= q->sim->now && (app_may_send(q) || app_may_recv(q));
}

static u64 app_think(struct sim_qp *q)
{
	struct rng *r = &q->sim->rng;

	if (q->sim->steps > SIM_ENOUGH_STEPS)
		return 0;
	switch (rng_below(r, 16)) {
	case 0:
		return rng_below(r, q->sim->cfg.kind == SIM_RNR ? 50 * MS : 2 * MS);
	case 1:
	case 2:
	case 3:
	case 4:
		return rng_below(r, 5 * US);
	}
	return 0;
}

void app_act(struct sim_qp *q)
{
	struct rng *r = &q->sim->rng;
	u32 n = rng_chance(r, 1, 2) ? 1 : rng_range(r, 1, 8);

	q->think_until = q->sim->now + 1 + app_think(q);
	if (app_may_recv(q) && (!app_may_send(q) || rng_chance(r, 1, 2))) {
		if (rng_below(r, 100) < q->sim->cfg.late_recv)
			q->think_until = q->sim->now + 1 + rng_below(r, 3 * MS);
		else
			app_recvs(q);
		return;
	}
	while (n-- && app_may_send(q))
		app_send(q);
}

bool app_finished(const struct sim_qp *q)
{
	if (q->hostile_ring)
		return !q->budget || !app_may_send(q);
	return !q->budget && oracle_send_idle(q);
}

/* RESET: what was posted is forgotten. */
void app_forget(struct sim_qp *q)
{
	u32 i;

	for (i = 0; i < q->num_msg; i++) {
		if (i >= q->over)
			app_release(q, q->msg[i]);
		free(q->msg[i]->data);
		free(q->msg[i]);
	}
	if (q->rq->owner) {
		for (i = 0; i < q->rq->num; i++)
			free(q->rq->recv[i]);
		q->rq->num = 0;
		q->rq->taken = 0;
		q->rq->busy = 0;
	} else {
		/* a shared one that this QP held is lost */
		for (i = q->recvs_done; i < q->num_took; i++)
			app_recv_release(q->rq, q->took[i]);
	}
	q->num_msg = 0;
	q->over = q->exec = q->resp = q->acked = 0;
	q->num_took = 0;
	q->recvs_done = 0;
}
