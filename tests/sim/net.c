// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * net.c - streams between queue pairs, and their end. A stream
 * keeps the order of bytes and nothing else: it cuts them anywhere, delays
 * them, stands still, ends. In zero-copy runs it keeps references and reads
 * the sender's memory as late as TCP may, when the bytes are delivered: the
 * engine must not have completed the request, nor flushed it, by then.
 */
#include "sim.h"

#define NET_VECS	16

struct sim_pipe *net_out(const struct sim_qp *q)
{
	return &q->conn->dir[q->side];
}

struct sim_pipe *net_in(const struct sim_qp *q)
{
	if (q->peer == q)
		return net_out(q);
	return &q->conn->dir[!q->side];
}

/* ---- bytes in flight ---------------------------------------------------- */

static struct sim_chunk *net_chunk(struct sim_pipe *p, u32 i)
{
	return &p->chunk[i % SIM_CHUNKS];
}

static void net_drop(struct sim_pipe *p)
{
	for (; p->head != p->tail; p->head++)
		free(net_chunk(p, p->head)->copy);
	p->bytes = 0;
}

void net_pipe_reset(struct sim_pipe *p)
{
	net_drop(p);
	memset(p, 0, sizeof(*p));
}

static struct sim_chunk *net_append(struct sim *s, struct sim_pipe *p, u32 len)
{
	struct sim_chunk *c = net_chunk(p, p->tail++);
	u64 delay = rng_below(&s->rng, s->cfg.delay_ns + 1);

	memset(c, 0, sizeof(*c));
	c->len = len;
	c->at = s->now + delay;
	if (c->at < p->last_at)
		c->at = p->last_at;
	p->last_at = c->at;
	p->bytes += len;
	return c;
}

void net_push(struct sim *s, struct sim_pipe *p, const u8 *bytes, u32 len)
{
	struct sim_chunk *c;

	if (p->deaf)
		return;
	c = net_append(s, p, len);
	c->copy = malloc(len);
	BED_CHECK(c->copy, "out of memory");
	memcpy(c->copy, bytes, len);
}

static void net_push_ref(struct sim *s, struct sim_pipe *p, const u8 *mem, u32 len)
{
	if (!p->deaf)
		net_append(s, p, len)->ref = mem;
}

/* @ref: the stream may keep a reference to a region. */
static void net_push_vec(struct sim_qp *q, const struct tz_vec *vec, u32 len,
			 bool ref)
{
	struct sim_pipe *p = net_out(q);
	struct bed_mr *mr = (struct bed_mr *)vec->mr;

	if (!mr) {
		wire_bytes(q, vec->ptr, len);
		net_push(q->sim, p, vec->ptr, len);
		return;
	}
	BED_CHECK(!mr->mr.dead, "tx_peek names dead region %u", mr->id);
	BED_CHECK(vec->off + len <= mr->mr.len, "tx_peek leaves the region");
	wire_bytes(q, mr->mem + vec->off, len);
	q->by_reference |= ref;
	if (ref)
		net_push_ref(q->sim, p, mr->mem + vec->off, len);
	else
		net_push(q->sim, p, mr->mem + vec->off, len);
}

/* Bytes that have arrived by now. */
static u32 net_arrived(const struct sim *s, struct sim_pipe *p)
{
	u32 i, n = 0;

	if (p->stalled_until > s->now)
		return 0;
	for (i = p->head; i != p->tail && net_chunk(p, i)->at <= s->now; i++)
		n += net_chunk(p, i)->len - net_chunk(p, i)->pos;
	return n;
}

/* The next @len bytes, all of which have arrived, into @vec. */
static void net_pull(struct sim_pipe *p, const struct tz_vec *vec, u32 len)
{
	u32 done = 0;

	while (done < len) {
		struct sim_chunk *c = net_chunk(p, p->head);
		u32 n = tz_min(len - done, c->len - c->pos);

		bed_vec_write(vec, done, (c->ref ? c->ref : c->copy) + c->pos, n);
		done += n;
		c->pos += n;
		p->bytes -= n;
		if (c->pos == c->len) {
			free(c->copy);
			c->copy = NULL;
			p->head++;
		}
	}
}

/* Its reader is gone. */
void net_pipe_deaf(struct sim_pipe *p)
{
	net_drop(p);
	p->deaf = true;
}

/* No bytes come any more after those in it; with @reset they are lost, too. */
void net_fin(struct sim *s, struct sim_pipe *p, bool reset)
{
	if (p->fin && !reset)
		return;
	if (reset)
		net_drop(p);
	p->fin = true;
	p->fin_at = s->now + rng_below(&s->rng, s->cfg.delay_ns + 1);
	if (!reset && p->fin_at < p->last_at)
		p->fin_at = p->last_at;
}

/* ---- transmit ----------------------------------------------------------- */

static int net_peek(struct sim_qp *q, struct tz_vec *vec)
{
	struct rng *r = &q->sim->rng;
	int max = rng_chance(r, 1, 4) ? rng_range(r, 1, NET_VECS) : NET_VECS;
	struct tz_vec again[NET_VECS];
	int n;

	memset(vec, 0, NET_VECS * sizeof(*vec));
	memset(again, 0, sizeof(again));
	n = tz_qp_tx_peek(&q->b.qp, vec, max);
	BED_CHECK(n >= 0 && n <= max, "tx_peek: %d of %d", n, max);
	if (rng_chance(r, 1, 4)) {
		struct tz_qp before = q->b.qp;

		BED_CHECK(tz_qp_tx_peek(&q->b.qp, again, max) == n &&
			  !memcmp(vec, again, sizeof(again)),
			  "tx_peek changed its mind");
		BED_CHECK(!memcmp(&before, &q->b.qp, sizeof(before)),
			  "tx_peek changed the QP");
	}
	return n;
}

bool net_can_tx(const struct sim_qp *q)
{
	if (q->hung_up || q->said_all || q->b.qp.conn != TZ_CONN_UP || q->tx_idle)
		return false;
	return net_out(q)->bytes < q->sim->cfg.sockbuf &&
	       net_out(q)->tail - net_out(q)->head < SIM_CHUNKS - NET_VECS;
}

/*
 * What the engine asks for. While requests are in flight only this half is closed:
 * the peer closes its own when it has come to the end. The engine does not wait for
 * ever; then what is in flight must be dropped, because the requests are about to
 * fail, and the memory is the application's again.
 */
static void net_maybe_close(struct sim_qp *q)
{
	struct tz_qp *qp = &q->b.qp;

	if (q->hung_up || !qp->closing || !tz_dial_connected(qp))
		return;
	/* only a stale peer is hung up on without going to ERR */
	BED_CHECK(qp->state == TZ_ERR || !q->peer || q->peer->loose,
		  "%s: closes in state %u", q->name, qp->state);
	q->may_lose = true;
	switch (tz_dial_act(qp)) {
	case TZ_ACT_NONE:
	case TZ_ACT_OPEN:
		break;
	case TZ_ACT_HALF_CLOSE:
		TRACE(q, "closes its half of the connection");
		tz_dial_parting(qp);
		q->said_all = true;
		net_fin(q->sim, net_out(q), false);
		break;
	case TZ_ACT_CLOSE:
		BED_CHECK(!tz_qp_must_reset(qp), "requests may still be executed");
		net_hang_up(q, false);
		break;
	case TZ_ACT_RESET:
		net_hang_up(q, true);
		break;
	}
}

void net_tx(struct sim_qp *q)
{
	struct sim *s = q->sim;
	struct tz_vec vec[NET_VECS];
	bool pending = tz_qp_tx_pending(&q->b.qp);
	u32 room, ref, done = 0;
	int i, n;

	sim_enter(q);
	tz_qp_tx_fill(&q->b.qp, s->now);
	n = net_peek(q, vec);
	BED_CHECK(pending || !n, "%s: had something to send, but did not say so",
		  q->name);
	ref = s->cfg.zero_copy && rng_chance(&s->rng, 3, 4) ?
		tz_qp_tx_ref_bytes(&q->b.qp) : 0;
	room = s->cfg.sockbuf - net_out(q)->bytes;
	if (rng_chance(&s->rng, 1, 4))
		room = rng_range(&s->rng, 1, room);
	for (i = 0; i < n && done < room; i++) {
		u32 len = tz_min(vec[i].len, room - done);

		BED_CHECK(vec[i].len, "empty vector");
		net_push_vec(q, &vec[i], len, done + len <= ref);
		done += len;
	}
	if (done) {
		TRACE(q, "sent %u bytes", done);
		tz_qp_tx_done(&q->b.qp, done, s->now);
		q->rx_idle = q->timer_idle = false;
	} else {
		q->tx_idle = true;
	}
	net_maybe_close(q);
	sim_leave(q);
}

/* ---- receive ------------------------------------------------------------ */

static int net_want(struct sim_qp *q, struct tz_vec *vec)
{
	struct rng *r = &q->sim->rng;
	int max = rng_chance(r, 1, 4) ? rng_range(r, 1, NET_VECS) : NET_VECS;
	struct tz_vec again[NET_VECS];
	int n;

	memset(vec, 0, NET_VECS * sizeof(*vec));
	memset(again, 0, sizeof(again));
	n = tz_qp_rx_want(&q->b.qp, vec, max);
	BED_CHECK(n >= 0 && n <= max, "rx_want: %d of %d", n, max);
	if (rng_chance(r, 1, 4)) {
		struct tz_qp before = q->b.qp;

		BED_CHECK(tz_qp_rx_want(&q->b.qp, again, max) == n &&
			  !memcmp(vec, again, sizeof(again)),
			  "rx_want changed its mind");
		BED_CHECK(!memcmp(&before, &q->b.qp, sizeof(before)),
			  "rx_want changed the QP");
	}
	return n;
}

bool net_can_rx(const struct sim_qp *q)
{
	if (q->said_all && !q->hung_up && q->peer != q)
		return net_in(q)->bytes;	/* to be thrown away */
	if (q->hung_up || q->b.qp.conn != TZ_CONN_UP || q->rx_idle)
		return false;
	return net_arrived(q->sim, net_in(q)) > 0;
}

static u32 net_place(struct sim_qp *q, const struct tz_vec *vec, int n, u32 limit)
{
	struct sim *s = q->sim;
	u32 done = 0;
	int i;

	for (i = 0; i < n && done < limit; i++) {
		u32 len = tz_min(vec[i].len, limit - done);

		BED_CHECK(vec[i].len, "empty vector");
		s->direct = vec[i].mr;
		net_pull(net_in(q), &vec[i], len);
		s->direct = false;
		done += len;
	}
	return done;
}

void net_rx(struct sim_qp *q)
{
	struct sim *s = q->sim;
	struct tz_vec vec[NET_VECS];
	u32 limit = net_arrived(s, net_in(q)), done;
	u64 rnr = q->b.qp.stats.rx_rnr_naks;
	int n;

	if (q->said_all) {
		net_drop(net_in(q));
		return;
	}
	if (limit > s->cfg.chunk)
		limit = s->cfg.chunk;
	if (rng_chance(&s->rng, 1, 2))
		limit = rng_range(&s->rng, 1, limit);
	sim_enter(q);
	n = net_want(q, vec);
	done = net_place(q, vec, n, limit);
	if (done) {
		TRACE(q, "received %u bytes", done);
		q->pulled_at = s->steps;
		tz_qp_rx_done(&q->b.qp, done, s->now);
		if (q->b.qp.stats.rx_rnr_naks != rnr)
			wire_rnr(q);
		sim_wake(q);
		sim_moved(s);
	} else {
		q->rx_idle = true;
	}
	net_maybe_close(q);
	sim_leave(q);
}

/* After a timer: the engine may have stopped waiting for the peer. */
void net_timer(struct sim_qp *q)
{
	net_maybe_close(q);
}

/* ---- the end ------------------------------------------------------------ */

/* This side closes; with @reset what it sent may be lost. */
void net_hang_up(struct sim_qp *q, bool reset)
{
	struct sim *s = q->sim;

	if (q->hung_up)
		return;
	TRACE(q, reset ? "resets the connection" : "closes the connection");
	q->hung_up = true;
	net_fin(s, net_out(q), reset || tz_qp_must_reset(&q->b.qp));
	net_pipe_deaf(net_in(q));
	tz_dial_lost(&q->b.qp, s->now);
	sim_wake(q);
}

bool net_eof_due(const struct sim_qp *q)
{
	const struct sim_pipe *p;

	if (q->hung_up || q->b.qp.conn != TZ_CONN_UP)
		return false;
	p = net_in(q);
	return p->fin && p->head == p->tail && p->fin_at <= q->sim->now;
}

/* The peer has closed. */
void net_eof(struct sim_qp *q)
{
	sim_enter(q);
	TRACE(q, "end of the stream");
	net_hang_up(q, true);
	sim_leave(q);
}

/* ---- the beginning ------------------------------------------------------ */

void net_up(struct sim_qp *q)
{
	sim_enter(q);
	q->hung_up = false;
	q->said_all = false;
	q->by_reference = false;
	if (tz_dial_up(&q->b.qp, q->sim->now))
		TRACE(q, "connected, max_pdu %u", q->b.qp.max_pdu);
	sim_wake(q);
	sim_leave(q);
}

/* ---- time --------------------------------------------------------------- */

static void net_sooner(u64 *best, u64 now, u64 at)
{
	if (at > now && (!*best || at < *best))
		*best = at;
}

/* When a stream will do something by itself; 0: never. */
u64 net_next_event(const struct sim *s)
{
	u64 best = 0;
	u32 i, d;

	for (i = 0; i < s->num_conns; i++) {
		const struct sim_conn *c = &s->conn[i];

		for (d = 0; d < 2; d++) {
			const struct sim_pipe *p = &c->dir[d];

			if (p->deaf)
				continue;
			net_sooner(&best, s->now, p->stalled_until);
			if (p->head != p->tail)
				net_sooner(&best, s->now,
					   p->chunk[p->head % SIM_CHUNKS].at);
			else if (p->fin)
				net_sooner(&best, s->now, p->fin_at);
		}
	}
	return best;
}
