// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * evil.c - applications that scribble on their rings, and a peer that sends
 * what it likes. Only what must hold whatever happens is checked then, while
 * the other pair of the run goes on under the strict oracle.
 */
#include "sim.h"

/* ---- rings -------------------------------------------------------------- */

static void evil_bytes(struct rng *r, u8 *mem, u32 len)
{
	u32 at = rng_below(r, len), n = rng_range(r, 1, 64);

	if (n > len - at)
		n = len - at;
	switch (rng_below(r, 3)) {
	case 0:
		rng_fill(r, mem + at, n);
		break;
	case 1:
		memset(mem + at, rng_chance(r, 1, 2) ? 0xff : 0, n);
		break;
	default:
		mem[at] ^= 1u << rng_below(r, 8);
		break;
	}
}

static void evil_ring(struct rng *r, const struct tz_ring *ring)
{
	if (!ring->depth)
		return;
	if (rng_chance(r, 1, 10))
		ring->hdr->prod = rng_chance(r, 1, 2) ? rng_next(r) :
				  ring->hdr->prod + rng_below(r, ring->depth + 3);
	else if (rng_chance(r, 1, 20))
		ring->hdr->cons = rng_next(r);
	else
		evil_bytes(r, ring->slots, ring->depth * ring->stride);
}

void evil_scribble(struct sim_qp *q)
{
	struct rng *r = &q->sim->rng;
	u32 n = rng_range(r, 1, 4);

	TRACE(q, "scribbles on its rings");
	while (n--) {
		evil_ring(r, &q->b.qp.init.sq);
		evil_ring(r, q->b.srq ? &q->b.srq->rq.ring : &q->b.qp.init.rq);
	}
	/* The program does not know what it posted any more. */
	if (q->b.sq_hdr->prod - q->b.sq_hdr->cons > q->b.qp.init.sq.depth &&
	    rng_chance(r, 1, 2))
		q->b.sq_hdr->cons = q->b.sq_hdr->prod;
	q->dirty = true;
}

/* Seen from a call, its index stands anywhere, and follows what is consumed. */
static void evil_index(struct rng *r, struct tcpzc_ring_hdr *hdr, u32 depth)
{
	if (!depth)
		return;
	switch (rng_below(r, 4)) {
	case 0:
	case 1:
		hdr->prod = hdr->cons + depth;
		break;
	case 2:
		hdr->prod--;
		break;
	default:
		hdr->prod += rng_below(r, 2 * depth);
		break;
	}
}

void evil_meanwhile(struct sim_qp *q)
{
	struct rng *r = &q->sim->rng;
	struct bed_qp *b = &q->b;

	if (!q->hostile_ring || !rng_chance(r, 1, 3))
		return;
	if (rng_chance(r, 1, 2))
		evil_index(r, b->sq_hdr, b->qp.init.sq.depth);
	else if (b->srq)
		evil_index(r, b->srq->hdr, b->srq->rq.ring.depth);
	else
		evil_index(r, b->rq_hdr, b->qp.init.rq.depth);
}

/* ---- PDUs --------------------------------------------------------------- */

#define EVIL_ROOM	(128u << 10)

void evil_start(struct sim_conn *c)
{
	struct sim *s = c->end[0]->sim;

	c->evil.s = rng_next(&s->rng);
	c->evil_msn = c->end[0]->attr.rq_psn;
	c->evil_left = rng_range(&c->evil, 1, 60);
	c->evil_len = c->evil_pos = 0;
	if (!c->evil_out)
		c->evil_out = malloc(EVIL_ROOM);
	BED_CHECK(c->evil_out, "out of memory");
}

static void evil_hdr(struct sim_conn *c, struct tz_hdr *h, u8 op, u8 flags,
		     u32 len, u32 msn)
{
	const struct tz_qp *v = &c->end[0]->b.qp;
	u32 out = v->req.next_msn - v->req.ack_msn;
	u32 ack = v->req.ack_msn;

	if (v->state == TZ_RTR)
		ack = c->end[0]->attr.sq_psn;
	else if (rng_chance(&c->evil, 1, 4))
		ack += rng_below(&c->evil, out + 1);
	h->op = op;
	h->flags = flags;
	h->len = tz_cpu_to_le32(len);
	h->src_qpn = tz_cpu_to_le32(v->attr.dest_qpn);
	h->dst_qpn = tz_cpu_to_le32(v->init.qpn);
	h->msn = tz_cpu_to_le32(msn);
	h->ack_msn = tz_cpu_to_le32(ack);
}

/* Some place in the victim's memory, and a key that may fit. */
static void evil_target(struct sim_conn *c, u32 len, __le64 *addr, __le32 *rkey)
{
	struct rng *r = &c->evil;
	struct sim_host *h = c->end[0]->host;
	struct sim_mr *m = &h->mr[rng_below(r, h->num_mr)];
	u32 off = rng_below(r, m->len > len ? m->len - len + 1 : 1);

	*addr = tz_cpu_to_le64((m->iova + off) & ~(rng_chance(r, 1, 2) ? 7ull : 0));
	*rkey = tz_cpu_to_le32(m->key);
}

static u32 evil_message(struct sim_conn *c, union tz_any_hdr *h, bool write)
{
	struct rng *r = &c->evil;
	u32 max = c->end[0]->b.qp.max_pdu;
	u32 len = rng_size(r, max < 20000 ? max : 20000);
	u8 flags = TZ_PDU_F_LAST;

	if (rng_chance(r, 1, 3))
		flags |= TZ_PDU_F_IMM;
	if (rng_chance(r, 1, 4))
		flags |= TZ_PDU_F_SOLICITED;
	h->send.total = tz_cpu_to_le32(len);
	h->send.imm = rng_next(r);
	if (write)
		evil_target(c, len, &h->write.addr, &h->write.rkey);
	evil_hdr(c, &h->h, write ? TZ_PDU_WRITE : TZ_PDU_SEND, flags, len,
		 c->evil_msn++);
	return len;
}

static u32 evil_request(struct sim_conn *c, union tz_any_hdr *h, u8 op)
{
	struct rng *r = &c->evil;
	u32 len = rng_size(r, 20000);

	switch (op) {
	case TZ_PDU_READ_REQ:
		evil_target(c, len, &h->read.addr, &h->read.rkey);
		h->read.total = tz_cpu_to_le32(len);
		evil_hdr(c, &h->h, op, TZ_PDU_F_LAST, 0, c->evil_msn++);
		return 0;
	case TZ_PDU_ATOMIC_REQ:
		evil_target(c, 8, &h->atomic.addr, &h->atomic.rkey);
		h->atomic.kind = tz_cpu_to_le32(rng_below(r, 2));
		h->atomic.compare_add = rng_next(r);
		evil_hdr(c, &h->h, op, TZ_PDU_F_LAST, 0, c->evil_msn++);
		return 0;
	}
	return evil_message(c, h, op == TZ_PDU_WRITE);
}

/* The answer to what the victim waits for, or nearly. */
static u32 evil_response(struct sim_conn *c, union tz_any_hdr *h, u8 op)
{
	struct rng *r = &c->evil;
	const struct tz_qp *v = &c->end[0]->b.qp;
	u32 idx = v->req.answer, len = 0;
	const struct tz_swqe *w;

	for (; idx != v->req.next; idx++) {
		w = &v->req.swqe[idx & (v->req.sq.depth - 1)];
		if (w->opcode >= TCPZC_WQE_RDMA_READ && !w->answered)
			break;
	}
	w = &v->req.swqe[idx & (v->req.sq.depth - 1)];
	switch (op) {
	case TZ_PDU_READ_RESP:
		len = w->len - v->req.answer_off;
		if (len > v->max_pdu)
			len = v->max_pdu;
		h->read_resp.total = tz_cpu_to_le32(w->len);
		h->read_resp.offset = tz_cpu_to_le32(v->req.answer_off);
		evil_hdr(c, &h->h, op, v->req.answer_off + len == w->len ?
			 TZ_PDU_F_LAST : 0, len, w->msn);
		break;
	case TZ_PDU_ATOMIC_RESP:
		h->atomic_resp.orig = rng_next(r);
		evil_hdr(c, &h->h, op, TZ_PDU_F_LAST, 0, w->msn);
		break;
	case TZ_PDU_NAK:
		h->nak.code = tz_cpu_to_le32(rng_chance(r, 3, 4) ? TZ_NAK_RNR :
					     rng_below(r, TZ_NAK_CODES + 1));
		h->nak.arg = tz_cpu_to_le32(rng_chance(r, 7, 8) ?
					    rng_range(r, 1, 8) : rng_next(r));
		evil_hdr(c, &h->h, op, TZ_PDU_F_LAST, 0,
			 v->req.swqe[v->req.cons & (v->req.sq.depth - 1)].msn);
		break;
	default:
		evil_hdr(c, &h->h, TZ_PDU_ACK, TZ_PDU_F_LAST, 0, 0);
		break;
	}
	return len;
}

static void evil_mutate(struct rng *r, union tz_any_hdr *h, u32 bytes)
{
	static const u32 values[] = {
		0, 1, 7, 8, 0x7fffffff, 0x80000000, 0x80000001, 0xffffffff,
		0xfffffff8, 4096, 0x100000
	};
	u32 at, v;

	switch (rng_below(r, 3)) {
	case 0:
		h->bytes[rng_below(r, bytes)] ^= 1u << rng_below(r, 8);
		break;
	case 1:
		h->bytes[rng_below(r, bytes)] = rng_next(r);
		break;
	default:
		at = rng_below(r, bytes / 4) * 4;
		v = values[rng_below(r, TZ_ARRAY_SIZE(values))];
		memcpy(h->bytes + at, &v, 4);
		break;
	}
}

static void evil_make(struct sim *s, struct sim_conn *c)
{
	struct rng *r = &c->evil;
	union tz_any_hdr h = { 0 };
	u8 op = rng_below(r, TZ_PDU_OPS);
	u32 len, hdr;

	if (op <= TZ_PDU_ATOMIC_REQ)
		len = evil_request(c, &h, op);
	else
		len = evil_response(c, &h, op);
	hdr = tz_hdr_bytes(op);
	if (s->verbose)
		sim_trace(s, c->end[0], "attacker sends op %u, %u bytes", op, len);
	if (rng_chance(r, 1, 12))
		evil_mutate(r, &h, hdr);
	memcpy(c->evil_out, h.bytes, hdr);
	rng_fill(r, c->evil_out + hdr, len);
	c->evil_pos = 0;
	c->evil_len = hdr + len;
	if (rng_chance(r, 1, 100))
		rng_fill(r, c->evil_out, c->evil_len);
	if (rng_chance(r, 1, 100))
		c->evil_len = rng_below(r, c->evil_len);
}

bool evil_can_act(const struct sim_conn *c)
{
	const struct sim_qp *q = c->end[0];
	const struct sim_pipe *in = &c->dir[1];

	if (!tz_dial_connected(&q->b.qp) || q->hung_up || in->fin)
		return false;
	return c->dir[0].head != c->dir[0].tail ||
	       in->tail - in->head < SIM_CHUNKS / 2;
}

/* Swallow what came; send a piece of the current PDU, or make one. */
void evil_act(struct sim *s, struct sim_conn *c)
{
	struct sim_pipe *in = &c->dir[1], *out = &c->dir[0];
	u32 n;

	if (out->head != out->tail) {
		bool deaf = out->deaf;
		u64 last = out->last_at;

		net_pipe_reset(out);
		out->deaf = deaf;
		out->last_at = last;
		sim_wake(c->end[0]);
	}
	if (in->tail - in->head >= SIM_CHUNKS / 2)
		return;
	if (c->evil_pos == c->evil_len) {
		if (!c->evil_left--) {
			in->fin = true;
			in->fin_at = in->last_at;
			c->end[0]->may_lose = true;
			return;
		}
		evil_make(s, c);
		if (!c->evil_len)
			return;
	}
	n = rng_range(&c->evil, 1, c->evil_len - c->evil_pos);
	net_push(s, in, c->evil_out + c->evil_pos, n);
	c->evil_pos += n;
}
