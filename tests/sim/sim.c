// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * sim.c - one run: draws a configuration, builds the world, lets one thing
 * happen after the other until the programs are done, and takes all apart.
 */
#include <stdarg.h>

#include "sim.h"

#define SIM_MAX_STEPS	400000u
/* Nothing may take longer than this without something happening. */
#define SIM_HANG_NS	(300 * SEC)

struct sim *sim_now;

void sim_trace(struct sim *s, struct sim_qp *q, const char *fmt, ...)
{
	va_list ap;

	printf("%6llu %12.3f us %-3s ", (unsigned long long)s->steps,
	       s->now / 1000.0, q ? q->name : "");
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
}

/* ---- configuration ------------------------------------------------------ */

static enum sim_kind sim_draw_kind(struct rng *r)
{
	static const u8 weight[SIM_KINDS] = {
		[SIM_CLEAN]	= 24,
		[SIM_RNR]	= 16,
		[SIM_FAULT]	= 16,
		[SIM_CHAOS]	= 14,
		[SIM_DEREG]	= 7,
		[SIM_STALL]	= 5,
		[SIM_RING]	= 5,
		[SIM_ATTACK]	= 7,
		[SIM_UC]	= 6,
	};
	u32 v = rng_below(r, 100), k;

	for (k = 0; k < SIM_KINDS - 1 && v >= weight[k]; k++)
		v -= weight[k];
	return k;
}

static u32 sim_pick(struct rng *r, const u32 *v, u32 n)
{
	return v[rng_below(r, n)];
}

#define PICK(r, ...)							\
	sim_pick(r, (const u32[]){ __VA_ARGS__ },			\
		 sizeof((const u32[]){ __VA_ARGS__ }) / sizeof(u32))

static void sim_draw_sizes(struct sim_cfg *c, struct rng *r)
{
	c->max_msg = PICK(r, 64, 256, 1024, 1024, 5000, 5000, 20000, 70000);
	c->max_pdu = PICK(r, 17, 100, 1000, 4096, 4096, 8192, 65536);
	if (c->max_msg / c->max_pdu > 60)
		c->max_pdu = 4096;
	c->max_inline = PICK(r, 0, 0, 32, 64, 256, TCPZC_MAX_INLINE);
	c->copy_max = PICK(r, 0, 0, 100, 1000, 4096, 16384);
	c->tx_buf = PICK(r, 4096, 8192, 32768, 65536);
	c->rx_buf = PICK(r, 64, 100, 1024, 4096, 16384, 65536);
	c->max_sge = PICK(r, 1, 2, 4, 16, 32);
	c->depth = PICK(r, 1, 2, 8, 16, 64);
	c->sockbuf = PICK(r, 1, 100, 3000, 20000, 200000);
	c->chunk = PICK(r, 16, 100, 1500, 10000, 100000);
	if (c->max_msg > 64 && c->sockbuf < 50)
		c->sockbuf = 50;
	if (c->max_msg > 1024 && c->sockbuf < 3000)
		c->sockbuf = 3000;
	if (c->max_msg > 1024 && c->chunk < 1500)
		c->chunk = 1500;
	c->delay_ns = PICK(r, 0, 1000, 20000, 200000, 5000000);
	if (c->max_msg > 5000 && c->rx_buf < 1024)
		c->rx_buf = 1024;
	if (c->sockbuf < 3000 && c->delay_ns > 20000)
		c->delay_ns = 20000;	/* a byte per round trip is no progress */
	c->zero_copy = rng_chance(r, 1, 2);
}

static void sim_draw(struct sim *s, int kind)
{
	struct sim_cfg *c = &s->cfg;
	struct rng *r = &s->rng;

	memset(c, 0, sizeof(*c));
	c->kind = sim_draw_kind(r);
	if (kind >= 0)
		c->kind = kind;
	sim_draw_sizes(c, r);
	c->num_qps = rng_chance(r, 1, 3) ? 4 : 2;
	c->self = rng_chance(r, 1, 8);
	c->self_calls = rng_chance(r, 1, 2);
	c->strangers = rng_chance(r, 1, 3) ? rng_range(r, 1, 200) : 0;
	c->srq = rng_chance(r, 1, 3);
	c->sqd = rng_chance(r, 1, 6);
	c->lives = rng_below(r, 4);
	c->late_recv = rng_below(r, 30);
	switch (c->kind) {
	case SIM_RNR:
		c->late_recv = rng_range(r, 50, 92);
		if (c->sockbuf < 100)
			c->sockbuf = 100;
		break;
	case SIM_FAULT:
		c->fault = rng_range(r, 20, 150);
		break;
	case SIM_CHAOS:
	case SIM_DEREG:
	case SIM_UC:
		c->chaos = rng_range(r, 10, 100);
		break;
	case SIM_STALL:
		c->chaos = rng_range(r, 5, 20);
		break;
	case SIM_RING:
	case SIM_ATTACK:
		c->num_qps = 4;
		c->self = false;
		c->lives = 4;
		break;
	default:
		break;
	}
}

/* ---- queue pairs -------------------------------------------------------- */

static void sim_rq_setup(struct sim *s, struct sim_rq *rq, u32 slot)
{
	rq->cell_bytes = sim_cell_bytes(s);
	rq->base = sim_area_base(s, slot, SIM_RCV);
	rq->num_cells = SIM_RCV_CELLS;
}

static void sim_qp_create(struct sim *s, struct sim_host *h, u32 slot)
{
	struct rng *r = &s->rng;
	struct sim_cfg *c = &s->cfg;
	struct sim_qp *q = calloc(1, sizeof(*q));
	struct bed_qp_opts o = {
		.type = c->kind == SIM_UC ? TZ_QPT_UC : TZ_QPT_RC,
		.qpn = rng_range(r, 2, 0xffffff),
		.pdn = SIM_PD,
		.rq_pdn = h->rq_pd == SIM_PD ? 0 : h->rq_pd,
		.sq_depth = c->depth,
		.rq_depth = PICK(r, 1, 4, 16),
		.sq_max_sge = c->max_sge,
		.rq_max_sge = c->max_sge,
		.max_inline = c->max_inline,
		.tx_buf_bytes = c->tx_buf,
		.rx_buf_bytes = c->rx_buf,
		.max_pdu = c->max_pdu,
		.copy_max = c->copy_max,
		.ack_delay_ns = PICK(r, 0, 1000, 20000, 100000),
		.rnr_stall_ns = PICK(r, 0, 0, 10000, 1000000),
		.min_retry_ns = 2 * SEC,
		.sq_sig_all = rng_chance(r, 1, 8),
		.srq = h->has_srq ? &h->srq : NULL,
	};

	BED_CHECK(q, "out of memory");
	q->sim = s;
	q->host = h;
	q->slot = slot;
	q->idx = s->num_qps;
	q->name[0] = 'a' + q->idx;
	bed_qp_init(&q->b, &h->bed, &o);
	if (h->has_srq) {
		q->rq = &h->shared;
	} else {
		q->rq = calloc(1, sizeof(*q->rq));
		BED_CHECK(q->rq, "out of memory");
		q->rq->owner = q;
		sim_rq_setup(s, q->rq, slot);
	}
	q->budget = rng_chance(r, 1, 12) ? 0 : rng_range(r, 1, 40);
	s->qp[s->num_qps++] = q;
}

static void sim_hosts(struct sim *s, u32 slots)
{
	u32 i;

	for (i = 0; i < s->num_hosts; i++) {
		struct sim_host *h = &s->host[i];

		memset(h, 0, sizeof(*h));
		h->sim = s;
		h->idx = i;
		bed_init(&h->bed, rng_next(&s->rng));
		h->bed.hooks = &oracle_hooks;
		h->has_srq = s->cfg.srq && rng_chance(&s->rng, 2, 3);
		h->rq_pd = h->has_srq && rng_chance(&s->rng, 1, 3) ?
			SIM_SRQ_PD : SIM_PD;
		app_host_setup(s, h, slots);
		if (!h->has_srq)
			continue;
		bed_srq_init(&h->srq, PICK(&s->rng, 1, 4, 16), s->cfg.max_sge);
		h->shared.srq = &h->srq;
		sim_rq_setup(s, &h->shared, 0);
	}
}

static void sim_pair(struct sim *s, struct sim_conn *c, struct sim_qp *a,
		     struct sim_qp *b)
{
	c->end[0] = a;
	c->end[1] = b;
	a->peer = b;
	a->conn = c;
	if (b && a != b) {
		b->peer = a;
		b->conn = c;
		b->side = 1;
	}
	c->attacker = !b;
}

/*
 * One host for all, or two and every pair between them, or two for each pair:
 * who is hostile or has a hostile peer shares no memory with the others.
 */
static struct sim_host *sim_place(struct sim *s, u32 pair, u32 side, u32 *slot)
{
	*slot = s->num_hosts == 1 ? 2 * pair + side :
		s->num_hosts == 2 ? pair : 0;
	if (s->num_hosts == 4)
		return &s->host[2 * pair + side];
	return &s->host[s->num_hosts == 1 ? 0 : side];
}

static struct sim_qp *sim_populate(struct sim *s, u32 pair, u32 side)
{
	u32 slot;
	struct sim_host *h = sim_place(s, pair, side, &slot);

	sim_qp_create(s, h, slot);
	return s->qp[s->num_qps - 1];
}

/* QP 0 may be its own peer, or have no peer of ours. */
static void sim_build(struct sim *s)
{
	u32 pairs = s->cfg.num_qps / 2, i;

	s->num_hosts = rng_chance(&s->rng, 1, 6) ? 1 : 2;
	if (s->cfg.kind == SIM_RING || s->cfg.kind == SIM_ATTACK)
		s->num_hosts = 4;
	sim_hosts(s, s->num_hosts == 1 ? s->cfg.num_qps :
		     s->num_hosts == 2 ? pairs : 1);
	for (i = 0; i < pairs; i++) {
		struct sim_qp *a = sim_populate(s, i, 0), *b = a;

		if (!i && s->cfg.kind == SIM_ATTACK)
			b = NULL;
		else if (i || !s->cfg.self)
			b = sim_populate(s, i, 1);
		sim_pair(s, &s->conn[s->num_conns++], a, b);
	}
	if (s->cfg.kind == SIM_RING) {
		s->qp[0]->hostile_ring = true;
		s->qp[0]->loose = true;
		s->qp[1]->loose = true;
	} else if (s->cfg.kind == SIM_ATTACK) {
		s->qp[0]->loose = true;
	}
	/* What UC loses it does not tell; see oracle_uc_recv(). */
	for (i = 0; s->cfg.kind == SIM_UC && i < s->num_qps; i++)
		s->qp[i]->loose = true;
}

/* ---- lives -------------------------------------------------------------- */

static void sim_modify(struct sim_qp *q, enum tz_state to, u32 mask)
{
	enum tz_state from = q->b.qp.state;

	mask |= TZ_QP_STATE;
	if (tz_qp_is_uc(&q->b.qp))
		mask &= ~(TZ_QP_MAX_DEST_RD_ATOMIC | TZ_QP_MIN_RNR_TIMER |
			  TZ_QP_TIMEOUT | TZ_QP_RETRY_CNT | TZ_QP_RNR_RETRY |
			  TZ_QP_MAX_QP_RD_ATOMIC);
	BED_CHECK(tz_state_modify_ok(q->b.qp.init.type, from, to, mask),
		  "%s: %u to %u, mask %x", q->name, from, to, mask);
	TRACE(q, "modify to %u", to);
	q->attr.state = to;
	q->attr.sqd_notify = true;
	sim_enter(q);
	tz_qp_modify(&q->b.qp, &q->attr, mask, q->sim->now);
	sim_wake(q);
	sim_leave(q);
}

static void sim_to_init(struct sim_qp *q)
{
	sim_modify(q, TZ_INIT, TZ_QP_ACCESS_FLAGS | TZ_QP_PKEY_INDEX | TZ_QP_PORT);
}

static void sim_to_rtr(struct sim_qp *q)
{
	q->rtr_at = 0;
	sim_modify(q, TZ_RTR, TZ_QP_AV | TZ_QP_PATH_MTU | TZ_QP_DEST_QPN |
			      TZ_QP_RQ_PSN | TZ_QP_MAX_DEST_RD_ATOMIC |
			      TZ_QP_MIN_RNR_TIMER);
	dial_started(q);
}

static void sim_to_rts(struct sim_qp *q)
{
	q->rts_at = 0;
	sim_modify(q, TZ_RTS, TZ_QP_TIMEOUT | TZ_QP_RETRY_CNT | TZ_QP_RNR_RETRY |
			      TZ_QP_SQ_PSN | TZ_QP_MAX_QP_RD_ATOMIC);
}

static u32 sim_psn(struct rng *r)
{
	return rng_chance(r, 1, 2) ? 0xffffff - rng_below(r, 20) :
				     rng_below(r, 0x1000000);
}

static void sim_draw_attr(struct sim_qp *q)
{
	struct rng *r = &q->sim->rng;
	struct tz_qp_attr *a = &q->attr;
	enum sim_kind kind = q->sim->cfg.kind;

	memset(a, 0, sizeof(*a));
	a->access = TZ_ACCESS_LOCAL_WRITE | TZ_ACCESS_REMOTE_WRITE |
		    TZ_ACCESS_REMOTE_READ | TZ_ACCESS_REMOTE_ATOMIC;
	if (kind == SIM_FAULT && rng_chance(r, 1, 16))
		a->access &= rng_below(r, 16);
	a->sgid[15] = q->host->idx;
	a->timeout = kind == SIM_STALL || rng_chance(r, 1, 2) ?
		rng_range(r, 1, 18) : 0;
	a->retry_cnt = rng_below(r, 8);
	q->rnr_finite = kind == SIM_RNR && rng_chance(r, 1, 3);
	a->rnr_retry = q->rnr_finite ? rng_below(r, 7) : 7;
	a->min_rnr_timer = rng_chance(r, 1, 4) ? rng_below(r, 32) :
						 rng_range(r, 1, 12);
	a->max_rd_atomic = PICK(r, 1, 1, 2, 4, 16, 128);
	if (kind == SIM_FAULT && rng_chance(r, 1, 16))
		a->max_rd_atomic = 0;
	a->max_dest_rd_atomic = a->max_rd_atomic;
	a->sq_psn = sim_psn(r);
	a->rq_psn = sim_psn(r);
}

static void sim_agree(struct sim_qp *a, struct sim_qp *b)
{
	a->attr.dest_qpn = b->b.qp.init.qpn;
	memcpy(a->attr.dgid, b->attr.sgid, 16);
	a->attr.rq_psn = b->attr.sq_psn;
	a->attr.max_dest_rd_atomic = b->attr.max_rd_atomic;
	if (a->attr.max_dest_rd_atomic < TCPZC_MAX_RD_ATOMIC &&
	    rng_chance(&a->sim->rng, 1, 2))
		a->attr.max_dest_rd_atomic++;
}

/* The model of a new life. */
static void sim_born(struct sim_qp *q)
{
	app_forget(q);
	memset(q->b.events, 0, sizeof(q->b.events));
	q->refused = NULL;
	q->why = 0;
	q->may_lose = false;
	q->was_err = false;
	q->explained = false;
	q->flushed = false;
	q->recv_flushed = false;
	q->dirty = false;
	q->hung_up = false;
	q->said_all = false;
	q->by_reference = false;
	q->sqd_until = 0;
	q->think_until = 0;
	memset(q->dst_use, 0, sizeof(q->dst_use));
	wire_reset(q);
	q->base = q->b.sq_hdr->cons;
	q->late = 0;
	memset(&q->b.qp.stats, 0, sizeof(q->b.qp.stats));
}

static void sim_live(struct sim_qp *q)
{
	struct sim *s = q->sim;
	u32 win = q->peer ? sim_area_base(s, q->peer->slot, SIM_WIN) : 0;

	if (q->peer)
		memcpy(q->peer->host->view + win, q->peer->host->mem + win,
		       sim_area_bytes(s, SIM_WIN));
	sim_born(q);
	sim_to_init(q);
	q->rtr_at = s->now + 1 + rng_below(&s->rng, 2 * MS);
	q->rts_at = q->rtr_at;
	if (rng_chance(&s->rng, 1, 2))
		q->rts_at += rng_below(&s->rng, 2 * MS);
}

static void sim_start_life(struct sim *s, struct sim_conn *c)
{
	struct sim_qp *a = c->end[0], *b = c->end[1];

	net_pipe_reset(&c->dir[0]);
	net_pipe_reset(&c->dir[1]);
	c->unreachable = false;
	sim_draw_attr(a);
	if (b && b != a)
		sim_draw_attr(b);
	if (b) {
		sim_agree(a, b);
		sim_agree(b, a);
	} else {
		a->attr.dest_qpn = rng_below(&s->rng, 1u << 24);
		a->attr.dgid[0] = 1;
	}
	sim_live(a);
	if (b && b != a)
		sim_live(b);
	if (s->cfg.kind == SIM_STALL && rng_chance(&s->rng, 1, 4)) {
		c->unreachable = true;
		a->may_lose = true;
		if (b)
			b->may_lose = true;
	}
}

static bool sim_dead(const struct sim_qp *q)
{
	enum tz_state st = q->b.qp.state;

	return st == TZ_ERR || st == TZ_RESET || q->hung_up;
}

static void sim_to_reset(struct sim_qp *q)
{
	if (q->b.qp.state == TZ_RESET)
		return;
	dial_forget(q);
	q->rtr_at = q->rts_at = q->dial_at = 0;
	sim_modify(q, TZ_RESET, 0);
	BED_CHECK(!tz_qp_outstanding(&q->b.qp) && !tz_qp_unsent(&q->b.qp) &&
		  q->b.qp.conn == TZ_CONN_NONE, "%s: RESET forgets not all",
		  q->name);
	/* what it sent may still arrive: the model lives until the next life */
	if (q->peer && q->peer != q)
		q->peer->may_lose = true;
}

static void sim_to_err(struct sim_qp *q)
{
	enum tz_state st = q->b.qp.state;

	if (st == TZ_RESET || st == TZ_ERR)
		return;
	q->rtr_at = 0;
	q->why |= SIM_WHY_APP;
	if (q->peer)
		q->peer->may_lose = true;
	sim_modify(q, TZ_ERR, 0);
}

/* Who waits for a connection that will never be, with no timeout, is told. */
static void sim_give_up(struct sim_qp *q)
{
	q->budget = 0;
	if (q->b.qp.conn == TZ_CONN_NONE && !app_finished(q))
		sim_to_err(q);
}

/* A pair that cannot go on gives up, or is reset and starts again. */
static bool sim_lives_step(struct sim *s, struct sim_conn *c)
{
	struct sim_qp *a = c->end[0], *b = c->end[1];

	if (!sim_dead(a) && (!b || !sim_dead(b)))
		return false;
	if (app_finished(a) && (!b || app_finished(b)))
		return false;
	if (!rng_chance(&s->rng, 1, 50))
		return false;
	if (!s->lives) {
		sim_give_up(a);
		if (b)
			sim_give_up(b);
		return true;
	}
	s->lives--;
	sim_to_reset(a);
	if (b)
		sim_to_reset(b);
	sim_start_life(s, c);
	return true;
}

/* ---- calls into an engine ----------------------------------------------- */

void sim_enter(struct sim_qp *q)
{
	BED_CHECK(!q->sim->cur, "calls are nested");
	q->sim->cur = q;
	q->call_cqes = 0;
}

void sim_leave(struct sim_qp *q)
{
	struct sim *s = q->sim;
	struct tz_qp *qp = &q->b.qp;

	s->cur = NULL;
	BED_CHECK(!tz_dial_check(qp), "%s: %s", q->name, tz_dial_check(qp));
	if (qp->state != TZ_ERR)
		return;
	/* the completion that says why may come when the connection is over */
	if (!q->explained && !qp->draining) {
		BED_CHECK(q->why || q->hostile_ring || !q->peer ||
			  (q->loose && s->cfg.kind != SIM_UC),
			  "%s: ERR without reason", q->name);
		q->explained = true;
	}
	if (q->was_err)
		return;
	TRACE(q, "is in ERR, why %x", q->why);
	q->was_err = true;
	s->sum_errors++;
	q->may_lose = true;
	if (q->peer)
		q->peer->may_lose = true;
}

/* Something changed: ask again. */
void sim_wake(struct sim_qp *q)
{
	q->tx_idle = false;
	q->rx_idle = false;
	q->timer_idle = false;
}

void sim_moved(struct sim *s)
{
	s->moved_at = s->now;
}

static bool sim_timer_due(const struct sim_qp *q)
{
	u64 at = tz_dial_deadline(&q->b.qp);

	return at && at <= q->sim->now && !q->timer_idle;
}

static void sim_timer(struct sim_qp *q)
{
	u64 at;

	sim_enter(q);
	TRACE(q, "timer");
	tz_dial_timer(&q->b.qp, q->sim->now);
	net_timer(q);
	q->tx_idle = false;
	q->rx_idle = false;
	at = tz_dial_deadline(&q->b.qp);
	q->timer_idle = at && at <= q->sim->now;
	sim_leave(q);
}

static void sim_kick(struct sim_qp *q)
{
	q->dirty = false;
	sim_enter(q);
	tz_qp_kick(&q->b.qp, q->sim->now);
	sim_wake(q);
	sim_leave(q);
}

/* ---- misfortune --------------------------------------------------------- */

static void sim_sever(struct sim_qp *q, bool reset)
{
	if (q->b.qp.conn != TZ_CONN_UP || q->hung_up)
		return;
	q->may_lose = true;
	if (q->peer)
		q->peer->may_lose = true;
	sim_enter(q);
	net_hang_up(q, reset);
	sim_leave(q);
}

static void sim_stall(struct sim *s, struct sim_qp *q)
{
	struct sim_pipe *p = net_out(q);
	u64 ns = rng_chance(&s->rng, 1, 2) ? rng_below(&s->rng, 500 * MS) :
		 (1 + rng_below(&s->rng, 30)) * SEC;

	if (p->stalled_until > s->now)
		return;
	TRACE(q, "stream stands still for %llu ms", (unsigned long long)(ns / MS));
	p->stalled_until = s->now + ns;
	/* stalls of both directions may follow each other */
	q->may_lose = true;
	if (q->peer)
		q->peer->may_lose = true;
}

static void sim_chaos(struct sim *s)
{
	struct sim_qp *q = s->qp[rng_below(&s->rng, s->num_qps)];

	if (s->cfg.kind == SIM_DEREG ||
	    (s->cfg.kind == SIM_UC && rng_chance(&s->rng, 2, 3))) {
		app_dereg(&s->host[rng_below(&s->rng, s->num_hosts)]);
		return;
	}
	if (s->cfg.kind == SIM_STALL) {
		sim_stall(s, q);
		return;
	}
	switch (rng_below(&s->rng, 4)) {
	case 0:
		sim_sever(q, true);
		break;
	case 1:
		sim_sever(q, false);
		break;
	case 2:
		sim_to_err(q);
		break;
	default:
		if (q->b.qp.state != TZ_RESET) {
			q->may_lose = true;
			if (q->peer == q || !q->peer) {
				sim_to_err(q);
				break;
			}
			/* the socket goes with the old life */
			sim_sever(q, rng_chance(&s->rng, 1, 2));
			sim_to_reset(q);
		}
		break;
	}
}

static void sim_sqd(struct sim_qp *q)
{
	struct sim *s = q->sim;

	if (q->b.qp.state == TZ_RTS) {
		q->b.events[TZ_EVENT_SQ_DRAINED] = 0;
		q->sqd_until = s->now + 1 + rng_below(&s->rng, 3 * MS);
		sim_modify(q, TZ_SQD, TZ_QP_EN_SQD_ASYNC_NOTIFY);
	} else if (q->b.qp.state == TZ_SQD && s->now >= q->sqd_until) {
		/* A bad one that was begun is not on the wire, but to be told. */
		BED_CHECK(tz_qp_outstanding(&q->b.qp) ||
			  tz_qp_tx_pending(&q->b.qp) ||
			  q->b.sq_hdr->cons - q->base < q->wire.begun ||
			  q->b.events[TZ_EVENT_SQ_DRAINED] == 1 ||
			  q->hostile_ring,
			  "%s: drained, but %u events say so", q->name,
			  q->b.events[TZ_EVENT_SQ_DRAINED]);
		q->sqd_until = 0;
		sim_modify(q, TZ_RTS, 0);
	}
}

/* ---- one step ----------------------------------------------------------- */

enum sim_action {
	ACT_TX, ACT_RX, ACT_EOF, ACT_TIMER, ACT_KICK, ACT_APP, ACT_RTR, ACT_RTS,
	ACT_SQD, ACT_DIAL, ACT_EVIL
};

struct sim_choice {
	struct sim_qp *q;
	enum sim_action act;
};

static void sim_offer(struct sim_choice *list, u32 *n, struct sim_qp *q,
		      enum sim_action act, bool possible)
{
	if (possible) {
		list[*n].q = q;
		list[(*n)++].act = act;
	}
}

static u32 sim_choices(struct sim *s, struct sim_choice *list)
{
	u32 i, n = 0;

	for (i = 0; i < s->num_qps; i++) {
		struct sim_qp *q = s->qp[i];

		sim_offer(list, &n, q, ACT_TX, net_can_tx(q));
		sim_offer(list, &n, q, ACT_RX, net_can_rx(q));
		sim_offer(list, &n, q, ACT_EOF, net_eof_due(q));
		sim_offer(list, &n, q, ACT_TIMER, sim_timer_due(q));
		sim_offer(list, &n, q, ACT_KICK, q->dirty);
		sim_offer(list, &n, q, ACT_APP, app_can_act(q));
		sim_offer(list, &n, q, ACT_DIAL, dial_can_act(q));
		sim_offer(list, &n, q, ACT_RTR, q->rtr_at && q->rtr_at <= s->now &&
			  q->b.qp.state == TZ_INIT);
		sim_offer(list, &n, q, ACT_RTS, q->rts_at && q->rts_at <= s->now &&
			  q->b.qp.state == TZ_RTR);
		sim_offer(list, &n, q, ACT_SQD, q->sqd_until &&
			  q->sqd_until <= s->now && q->b.qp.state == TZ_SQD);
		sim_offer(list, &n, q, ACT_EVIL, q->conn->attacker &&
			  evil_can_act(q->conn));
	}
	return n;
}

static void sim_act(struct sim *s, const struct sim_choice *c)
{
	switch (c->act) {
	case ACT_TX:
		net_tx(c->q);
		break;
	case ACT_RX:
		net_rx(c->q);
		break;
	case ACT_EOF:
		net_eof(c->q);
		break;
	case ACT_TIMER:
		sim_timer(c->q);
		break;
	case ACT_KICK:
		sim_kick(c->q);
		break;
	case ACT_APP:
		app_act(c->q);
		break;
	case ACT_RTR:
		sim_to_rtr(c->q);
		break;
	case ACT_RTS:
		sim_to_rts(c->q);
		break;
	case ACT_DIAL:
		dial_act(c->q);
		break;
	case ACT_SQD:
		sim_sqd(c->q);
		break;
	case ACT_EVIL:
		evil_act(s, c->q->conn);
		break;
	}
}

static void sim_sooner(u64 *best, u64 now, u64 at)
{
	if (at > now && (!*best || at < *best))
		*best = at;
}

/* When there is nothing to do now: the next time when there may be. */
static u64 sim_next_event(struct sim *s)
{
	u64 best = net_next_event(s);
	u32 i;

	sim_sooner(&best, s->now, dial_next_event(s));
	for (i = 0; i < s->num_qps; i++) {
		struct sim_qp *q = s->qp[i];

		sim_sooner(&best, s->now, tz_dial_deadline(&q->b.qp));
		sim_sooner(&best, s->now, q->think_until);
		sim_sooner(&best, s->now, q->rtr_at);
		sim_sooner(&best, s->now, q->rts_at);
		sim_sooner(&best, s->now, q->sqd_until);
	}
	return best;
}

static void sim_misfortunes(struct sim *s)
{
	struct rng *r = &s->rng;
	u32 i;

	if (s->steps == SIM_ENOUGH_STEPS)
		s->cfg.late_recv = 0;
	if (rng_below(r, 10000) < s->cfg.chaos && s->steps < SIM_ENOUGH_STEPS)
		sim_chaos(s);
	if (rng_below(r, 10000) < s->cfg.strangers && s->steps < SIM_ENOUGH_STEPS)
		dial_stranger(s);
	if (s->cfg.sqd && s->steps < SIM_ENOUGH_STEPS && rng_chance(r, 1, 300))
		sim_sqd(s->qp[rng_below(r, s->num_qps)]);
	if (s->cfg.kind == SIM_RING && rng_chance(r, 1, 40))
		evil_scribble(s->qp[0]);
	if (s->cfg.kind == SIM_RING && s->steps == SIM_ENOUGH_STEPS)
		sim_to_err(s->qp[0]);	/* it may never receive again */
	for (i = 0; i < s->num_conns; i++)
		sim_lives_step(s, &s->conn[i]);
}

static bool sim_finished(const struct sim *s)
{
	u32 i;

	for (i = 0; i < s->num_qps; i++)
		if (!app_finished(s->qp[i]))
			return false;
	return true;
}

static void sim_describe(struct sim *s)
{
	u32 i;

	for (i = 0; i < s->num_qps; i++) {
		struct sim_qp *q = s->qp[i];
		struct tz_qp *qp = &q->b.qp;

		fprintf(stderr, "%s: state %u dial %s conn %u closing %d budget %u msgs %u over %u out %u unsent %u tx %u rx.state %u rd_out %u rnr_until %llu stall %llu deadline %llu recv posted %u done %u idle %d%d%d dirty %d in %u out %u\n",
			q->name, qp->state,
			tz_dial_state_name(tz_dial_state(qp)), qp->conn, qp->closing, q->budget,
			q->num_msg, q->over, tz_qp_outstanding(qp),
			tz_qp_unsent(qp), qp->tx.queued, qp->rx.state,
			qp->req.rd_out, (unsigned long long)qp->req.rnr_until,
			(unsigned long long)qp->rsp.stall_until,
			(unsigned long long)tz_qp_deadline(qp), q->rq->num,
			q->recvs_done, q->tx_idle, q->rx_idle, q->timer_idle,
			q->dirty, net_in(q)->bytes, net_out(q)->bytes);
	}
}

static void sim_hang(struct sim *s, const char *what)
{
	sim_describe(s);
	BED_CHECK(0, "%s after %llu steps", what, (unsigned long long)s->steps);
}

static void sim_step(struct sim *s)
{
	struct sim_choice list[SIM_MAX_QPS * 11];
	u64 next;
	u32 i, n;

	s->steps++;
	sim_misfortunes(s);
	if (rng_chance(&s->rng, 1, 3) && dial_calls_step(s))
		return;
	n = sim_choices(s, list);
	if (n) {
		sim_act(s, &list[rng_below(&s->rng, n)]);
		if (rng_chance(&s->rng, 1, 2))
			s->now += rng_below(&s->rng, 500);
		return;
	}
	if (dial_calls_step(s))
		return;
	next = sim_next_event(s);
	for (i = 0; !next && i < s->num_conns; i++)
		if (sim_dead(s->conn[i].end[0]) ||
		    (s->conn[i].end[1] && sim_dead(s->conn[i].end[1])))
			next = s->now + 1000;	/* its next life */
	if (!next && sim_finished(s))
		return;
	if (!next)
		sim_hang(s, "nothing will ever happen");
	s->now = next + (rng_chance(&s->rng, 1, 2) ? rng_below(&s->rng, 50 * US) : 0);
}

/* ---- the end ------------------------------------------------------------ */

/* Nothing went wrong, so everything must have gone right. */
static void sim_check_clean(struct sim *s)
{
	u32 i, j;

	if (s->cfg.kind != SIM_CLEAN)
		return;
	for (i = 0; i < s->num_qps; i++) {
		struct sim_qp *q = s->qp[i];

		BED_CHECK(!q->why, "%s: why %x", q->name, q->why);
		for (j = q->over; j < q->num_msg; j++)
			BED_CHECK(!q->msg[j]->signaled, "%s: wr %llu is lost",
				  q->name, (unsigned long long)q->msg[j]->wr_id);
	}
}

static void sim_retire_rest(struct sim_qp *q)
{
	/* the last ones were unsignaled and nobody said that they are over */
	while (q->over < q->num_msg && !q->msg[q->over]->signaled &&
	       !q->flushed && !(q->why & SIM_WHY_SEND)) {
		struct sim_msg *m = q->msg[q->over++];

		BED_CHECK(!q->peer || q->loose || q->peer->loose ||
			  oracle_executed(m), "%s: wr %llu retired too early",
			  q->name, (unsigned long long)m->wr_id);
		m->over = true;
		app_release(q, m);
	}
}

static void sim_end_qp(struct sim_qp *q)
{
	struct sim *s = q->sim;

	s->sum_pdus += q->wire.pdus;
	s->sum_rnr += q->b.qp.stats.tx_rnr_naks;
	if (q->b.qp.state != TZ_RESET && rng_chance(&s->rng, 2, 3)) {
		if (q->b.qp.state != TZ_ERR)
			sim_to_err(q);
		sim_sever(q, true);
		sim_kick(q);
		sim_retire_rest(q);
		oracle_check_end(q);
	}
	sim_to_reset(q);
	app_forget(q);
}

static void sim_free(struct sim *s)
{
	u32 i, j;

	for (i = 0; i < s->num_conns; i++) {
		net_pipe_reset(&s->conn[i].dir[0]);
		net_pipe_reset(&s->conn[i].dir[1]);
		free(s->conn[i].evil_out);
	}
	for (i = 0; i < s->num_qps; i++) {
		struct sim_qp *q = s->qp[i];

		bed_qp_exit(&q->b);
		free(q->msg);
		free(q->took);
		if (q->rq->owner) {
			free(q->rq->recv);
			free(q->rq);
		}
		free(q);
	}
	for (i = 0; i < s->num_hosts; i++) {
		struct sim_host *h = &s->host[i];

		bed_exit(&h->bed);
		for (j = 0; j < h->shared.num; j++)
			free(h->shared.recv[j]);
		free(h->shared.recv);
		if (h->has_srq)
			bed_srq_exit(&h->srq);
		free(h->mem);
		free(h->view);
		free(h->use);
	}
}

static void sim_print_cfg(struct sim *s)
{
	const struct sim_cfg *c = &s->cfg;

	if (s->verbose)
		printf("seed %llu kind %u qps %u self %d hosts %u msg %u pdu %u inline %u copy %u txbuf %u rxbuf %u sge %u depth %u sockbuf %u chunk %u delay %u zero-copy %d srq %d\n",
		       (unsigned long long)s->seed, c->kind, s->num_qps, c->self,
		       s->num_hosts, c->max_msg, c->max_pdu, c->max_inline,
		       c->copy_max, c->tx_buf, c->rx_buf, c->max_sge, c->depth,
		       c->sockbuf, c->chunk, c->delay_ns, c->zero_copy, c->srq);
}

void sim_run(struct sim *s, u64 seed, int kind)
{
	u32 i;

	sim_now = s;
	s->seed = seed;
	s->rng.s = seed * 0x2545f4914f6cdd1dull + 1;
	s->now = 1 * SEC;
	s->moved_at = s->now;
	s->steps = 0;
	s->num_qps = s->num_conns = s->num_hosts = 0;
	s->cur = NULL;
	memset(s->conn, 0, sizeof(s->conn));
	memset(s->call, 0, sizeof(s->call));
	sim_draw(s, kind);
	sim_build(s);
	s->lives = s->cfg.lives;
	sim_print_cfg(s);
	for (i = 0; i < s->num_conns; i++)
		sim_start_life(s, &s->conn[i]);
	while (!sim_finished(s)) {
		sim_step(s);
		if (s->steps > SIM_MAX_STEPS)
			sim_hang(s, "no end");
		if (s->now - s->moved_at > SIM_HANG_NS)
			sim_hang(s, "no progress");
	}
	sim_check_clean(s);
	for (i = 0; i < s->num_qps; i++)
		sim_end_qp(s->qp[i]);
	s->sum_steps += s->steps;
	sim_free(s);
}
