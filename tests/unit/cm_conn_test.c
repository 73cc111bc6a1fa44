// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * cm_conn_test.c - the connection manager's state machine: each exchange step by
 * step, and then thousands of pairs of ends over a network that loses, delays,
 * repeats and swaps messages.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "cm-conn.h"
#include "rng.h"

#define MS	1000000ull
#define SEC	1000000000ull
#define EVENTS	7

/* One end, what it has sent and not been read, and what has happened to it. */
struct end {
	struct cm_conn c;	/* first */
	struct cm_msg sent[64];
	u32 num_sent, seen;
	u32 events[EVENTS];
	struct cm_msg last_event;
	struct world *world;
	u32 index;
};

static void world_send(struct end *e, const struct cm_msg *msg);
static void world_event(struct end *e, enum cm_event event);

static void on_send(struct cm_conn *c, const struct cm_msg *msg)
{
	struct end *e = (struct end *)c;

	if (e->world) {
		world_send(e, msg);
		return;
	}
	assert_true(e->num_sent < 64);
	e->sent[e->num_sent++] = *msg;
}

static void on_event(struct cm_conn *c, enum cm_event event,
		     const struct cm_msg *msg)
{
	struct end *e = (struct end *)c;

	e->events[event]++;
	if (msg)
		e->last_event = *msg;
	if (e->world)
		world_event(e, event);
}

static const struct cm_ops ops = { on_send, on_event };

static struct end a, b;
static u64 now;

static void begin(void)
{
	memset(&a, 0, sizeof(a));
	memset(&b, 0, sizeof(b));
	cm_conn_init(&a.c, &ops, 0x10001, 0xa1);
	cm_conn_init(&b.c, &ops, 0x20001, 0xb1);
	now = SEC;
}

/* The next message that @e has sent, which must be a @attr. */
static struct cm_msg next(struct end *e, enum cm_attr attr)
{
	assert_true(e->seen < e->num_sent);
	assert_int_equal(e->sent[e->seen].attr, attr);
	return e->sent[e->seen++];
}

static void silent(struct end *e)
{
	assert_int_equal(e->seen, e->num_sent);
}

static void pass(struct end *from, struct end *to, enum cm_attr attr)
{
	struct cm_msg m = next(from, attr);

	cm_conn_rx(&to->c, &m, now);
}

static void happened(struct end *e, enum cm_event event)
{
	u32 i;

	for (i = 0; i < EVENTS; i++)
		assert_int_equal(e->events[i], i == event);
	memset(e->events, 0, sizeof(e->events));
}

static void nothing(struct end *e)
{
	u32 i;

	for (i = 0; i < EVENTS; i++)
		assert_int_equal(e->events[i], 0);
}

static void tick(struct end *e, u64 ns)
{
	now += ns;
	cm_conn_timer(&e->c, now);
}

static void request(enum cm_attr attr)
{
	struct cm_msg req = { .attr = attr, .qpn = 0xa, .ack_timeout = 18 }, m;

	begin();
	cm_conn_request(&a.c, &req, now);
	m = next(&a, attr);
	cm_conn_incoming(&b.c, &m);
}

static void connect(void)
{
	struct cm_msg rep = { .qpn = 0xb };

	request(CM_REQ);
	pass(&b, &a, CM_MRA);
	assert_true(cm_conn_accept(&b.c, &rep, now));
	pass(&b, &a, CM_REP);
	happened(&a, CM_EV_REP);
	assert_int_equal(a.last_event.qpn, 0xb);
	assert_true(cm_conn_accept(&a.c, &rep, now));
	pass(&a, &b, CM_RTU);
	happened(&b, CM_EV_ESTABLISHED);
	assert_int_equal(a.c.state, CM_ESTABLISHED);
	assert_int_equal(b.c.state, CM_ESTABLISHED);
	assert_int_equal(cm_conn_deadline(&a.c), 0);
	assert_int_equal(cm_conn_deadline(&b.c), 0);
}

static void test_connect(void **state)
{
	connect();
	assert_true(cm_conn_disconnect(&a.c, now));
	pass(&a, &b, CM_DREQ);
	happened(&b, CM_EV_DISCONNECTED);
	pass(&b, &a, CM_DREP);
	happened(&a, CM_EV_DISCONNECTED);
	assert_true(cm_conn_disconnect(&b.c, now));	/* is over already */
	tick(&a, 10 * SEC);
	happened(&a, CM_EV_TIMEWAIT_EXIT);
	tick(&b, 0);
	happened(&b, CM_EV_TIMEWAIT_EXIT);
	assert_int_equal(a.c.state, CM_CLOSED);
	silent(&a);
	silent(&b);
}

static void test_reject(void **state)
{
	request(CM_REQ);
	next(&b, CM_MRA);
	assert_true(cm_conn_reject(&b.c, CM_REJ_CONSUMER_DEFINED, "why", 3));
	pass(&b, &a, CM_REJ);
	happened(&a, CM_EV_REJECTED);
	assert_int_equal(a.last_event.reason, CM_REJ_CONSUMER_DEFINED);
	assert_memory_equal(a.last_event.priv, "why", 3);
	assert_true(cm_conn_abandon(&a.c, now));
	silent(&a);
	/* the active side does not like the REP */
	request(CM_REQ);
	next(&b, CM_MRA);
	assert_true(cm_conn_accept(&b.c, &(struct cm_msg){}, now));
	pass(&b, &a, CM_REP);
	assert_true(cm_conn_reject(&a.c, 28, NULL, 0));
	pass(&a, &b, CM_REJ);
	happened(&b, CM_EV_REJECTED);
	assert_int_equal(b.last_event.about, CM_REJECTS_REP);
}

/* Asked 16 times, ever more slowly; in the end it is told so. */
static void test_unreachable(void **state)
{
	struct cm_msg req = { .attr = CM_REQ };
	u32 i;

	begin();
	cm_conn_request(&a.c, &req, now);
	next(&a, CM_REQ);
	tick(&a, 49 * MS);
	silent(&a);
	tick(&a, 1 * MS);
	next(&a, CM_REQ);
	for (i = 0; i < 14; i++) {
		now = cm_conn_deadline(&a.c);
		tick(&a, 0);
		next(&a, CM_REQ);
		nothing(&a);
	}
	now = cm_conn_deadline(&a.c);
	tick(&a, 0);
	next(&a, CM_REJ);
	happened(&a, CM_EV_UNREACHABLE);
	assert_in_range(now, 30 * SEC, 70 * SEC);
}

/* Nobody at the port, for some time: there is no such service. */
static void test_refused(void **state)
{
	struct cm_msg req = { .attr = CM_REQ };
	u32 i;

	begin();
	cm_conn_request(&a.c, &req, now);
	for (i = 0; i < 4; i++) {
		next(&a, CM_REQ);
		cm_conn_refused(&a.c, now);
		now = cm_conn_deadline(&a.c);
		tick(&a, 0);
	}
	next(&a, CM_REJ);
	happened(&a, CM_EV_REJECTED);
	assert_int_equal(a.last_event.reason, CM_REJ_INVALID_SERVICE_ID);
	assert_in_range(now, SEC, 3 * SEC);
}

/* Refused while the server started; then it took its time, and vanished. */
static void test_refused_once(void **state)
{
	request(CM_REQ);
	cm_conn_refused(&a.c, now);
	pass(&b, &a, CM_MRA);
	while (a.c.state == CM_REQ_SENT) {
		now = cm_conn_deadline(&a.c);
		tick(&a, 0);
	}
	happened(&a, CM_EV_UNREACHABLE);
}

/* The server's application takes its time; the client asks, and does not give up. */
static void test_thinking(void **state)
{
	u32 i;

	request(CM_REQ);
	pass(&b, &a, CM_MRA);
	for (i = 0; i < 300; i++) {
		tick(&a, SEC - 1);
		silent(&a);
		tick(&a, 1);
		next(&a, CM_REQ);
		/* a REQ that comes again does not disturb it */
		cm_conn_repeated(&b.c);
		pass(&b, &a, CM_MRA);
		a.num_sent = a.seen = b.num_sent = b.seen = 0;
	}
	nothing(&a);
	assert_true(cm_conn_accept(&b.c, &(struct cm_msg){}, now));
	pass(&b, &a, CM_REP);
	happened(&a, CM_EV_REP);
	/* nor does a REP: now it is the client that takes its time */
	tick(&b, SEC);
	pass(&b, &a, CM_REP);
	pass(&a, &b, CM_MRA);
	tick(&b, SEC - 1);
	silent(&b);
	tick(&b, 1);
	next(&b, CM_REP);
	nothing(&a);
	nothing(&b);
}

/* There is no way back for an answer: the request ends, and nothing else does. */
static void test_hopeless(void **state)
{
	u32 attr;

	for (attr = CM_REQ; attr <= CM_SIDR_REQ; attr += CM_SIDR_REQ - CM_REQ) {
		request(attr);
		cm_conn_hopeless(&a.c, now);
		happened(&a, CM_EV_UNREACHABLE);
		assert_int_equal(a.c.state, CM_CLOSED);
		cm_conn_hopeless(&a.c, now);
		cm_conn_hopeless(&b.c, now);
		nothing(&a);
		nothing(&b);
	}
	connect();
	cm_conn_hopeless(&a.c, now);
	assert_int_equal(a.c.state, CM_ESTABLISHED);
}

/* Where it thought is nobody any more: as long as it wanted at least, but not for ever. */
static void test_thinks_no_more(void **state)
{
	struct cm_msg m, rej;
	u64 start;

	request(CM_REQ);
	pass(&b, &a, CM_MRA);
	start = now;
	while (a.c.state == CM_REQ_SENT)
		tick(&a, SEC);
	happened(&a, CM_EV_UNREACHABLE);
	assert_in_range(now - start, 68 * SEC, 150 * SEC);
	/* Another process has its port now and says so, a second later. */
	request(CM_REQ);
	pass(&b, &a, CM_MRA);
	tick(&a, SEC);
	m = next(&a, CM_REQ);
	cm_no_service(&m, CM_REJ_INVALID_SERVICE_ID, &rej);
	cm_conn_rx(&a.c, &rej, now);
	happened(&a, CM_EV_REJECTED);
}

static void test_lost_rtu(void **state)
{
	request(CM_REQ);
	next(&b, CM_MRA);
	assert_true(cm_conn_accept(&b.c, &(struct cm_msg){}, now));
	pass(&b, &a, CM_REP);
	assert_true(cm_conn_accept(&a.c, NULL, now));
	next(&a, CM_RTU);
	tick(&b, SEC);
	pass(&b, &a, CM_REP);
	pass(&a, &b, CM_RTU);
	assert_int_equal(b.events[CM_EV_ESTABLISHED], 1);
	/* data that came earlier does as well */
	request(CM_REQ);
	next(&b, CM_MRA);
	assert_true(cm_conn_accept(&b.c, &(struct cm_msg){}, now));
	cm_conn_heard(&b.c);
	cm_conn_heard(&b.c);
	happened(&b, CM_EV_ESTABLISHED);
}

/* A client that never sends RTU. */
static void test_no_rtu(void **state)
{
	u32 i;

	request(CM_REQ);
	next(&b, CM_MRA);
	assert_true(cm_conn_accept(&b.c, &(struct cm_msg){}, now));
	for (i = 0; i < 16; i++) {
		next(&b, CM_REP);
		now = cm_conn_deadline(&b.c);
		tick(&b, 0);
	}
	next(&b, CM_REJ);
	happened(&b, CM_EV_UNREACHABLE);
}

static void test_crossing_disconnects(void **state)
{
	struct cm_msg m;

	connect();
	cm_conn_disconnect(&a.c, now);
	cm_conn_disconnect(&b.c, now);
	m = next(&a, CM_DREQ);
	pass(&b, &a, CM_DREQ);
	cm_conn_rx(&b.c, &m, now);
	happened(&a, CM_EV_DISCONNECTED);
	happened(&b, CM_EV_DISCONNECTED);
	pass(&a, &b, CM_DREP);
	pass(&b, &a, CM_DREP);
	nothing(&a);
	nothing(&b);
	/* a DREQ that comes again is answered again */
	cm_conn_rx(&b.c, &m, now);
	next(&b, CM_DREP);
	nothing(&b);
}

/* The peer is gone: a disconnect ends all the same. */
static void test_lost_dreq(void **state)
{
	u32 i;

	connect();
	cm_conn_disconnect(&a.c, now);
	for (i = 0; i < 16; i++) {
		next(&a, CM_DREQ);
		now = cm_conn_deadline(&a.c);
		tick(&a, 0);
	}
	happened(&a, CM_EV_DISCONNECTED);
	assert_int_equal(a.c.state, CM_TIMEWAIT);
}

static void test_abandon(void **state)
{
	request(CM_REQ);
	assert_true(cm_conn_abandon(&a.c, now));
	next(&a, CM_REJ);
	next(&b, CM_MRA);
	assert_true(cm_conn_abandon(&b.c, now));
	next(&b, CM_REJ);
	connect();
	assert_false(cm_conn_abandon(&a.c, now));
	pass(&a, &b, CM_DREQ);
	happened(&b, CM_EV_DISCONNECTED);
	pass(&b, &a, CM_DREP);
	assert_int_equal(a.c.state, CM_TIMEWAIT);
	tick(&a, 10 * SEC);
	assert_int_equal(a.c.state, CM_CLOSED);
}

static void test_sidr(void **state)
{
	struct cm_msg rep = { .qpn = 0x77, .qkey = 0x88 };

	request(CM_SIDR_REQ);
	silent(&b);
	assert_true(cm_conn_accept(&b.c, &rep, now));
	assert_int_equal(b.sent[0].local_id, a.c.local_id);
	next(&b, CM_SIDR_REP);
	/* lost; asked again, answered again */
	tick(&a, 50 * MS);
	next(&a, CM_SIDR_REQ);
	cm_conn_repeated(&b.c);
	pass(&b, &a, CM_SIDR_REP);
	happened(&a, CM_EV_SIDR_REP);
	assert_int_equal(a.last_event.qpn, 0x77);
	assert_int_equal(a.last_event.qkey, 0x88);
	assert_int_equal(cm_conn_deadline(&a.c), 0);
	/* also when the server's application is done with it, for a while */
	assert_false(cm_conn_abandon(&b.c, now));
	cm_conn_repeated(&b.c);
	next(&b, CM_SIDR_REP);
	tick(&b, 60 * SEC);
	assert_int_equal(b.c.state, CM_CLOSED);
	request(CM_SIDR_REQ);
	assert_true(cm_conn_reject(&b.c, 0, NULL, 0));
	pass(&b, &a, CM_SIDR_REP);
	assert_int_equal(a.last_event.status, CM_SIDR_REJECT);
}

/* Messages of another connection or of none, or out of place, change nothing. */
static void test_strangers(void **state)
{
	struct cm_msg m, keep;
	u32 attr, st;

	connect();
	for (st = 0; st < 2; st++) {
		for (attr = CM_REQ; attr <= CM_SIDR_REP; attr++) {
			memset(&m, 0, sizeof(m));
			m.attr = attr;
			m.local_id = st ? 0xdead : 0;
			m.remote_id = a.c.local_id;
			cm_conn_rx(&a.c, &m, now);
		}
		nothing(&a);
		silent(&a);
		assert_int_equal(a.c.state, CM_ESTABLISHED);
	}
	/* who knows the id of a request, but not the request, does not answer it */
	for (st = CM_REQ; st <= CM_SIDR_REQ; st += CM_SIDR_REQ - CM_REQ) {
		request(st);
		for (attr = CM_REQ; attr <= CM_SIDR_REP; attr++) {
			memset(&m, 0, sizeof(m));
			m.attr = attr;
			m.tid = a.c.tid + 1;
			m.local_id = st == CM_REQ ? 0xdead : a.c.local_id;
			m.remote_id = a.c.local_id;
			cm_conn_rx(&a.c, &m, now);
		}
		nothing(&a);
		silent(&a);
		m.tid = a.c.tid;
		m.attr = st == CM_REQ ? CM_REJ : CM_SIDR_REP;
		cm_conn_rx(&a.c, &m, now);
		happened(&a, st == CM_REQ ? CM_EV_REJECTED : CM_EV_SIDR_REP);
	}
	/* no answer but to those who wait for one */
	memset(&m, 0, sizeof(m));
	m.attr = CM_DREQ;
	m.local_id = 5;
	m.remote_id = 6;
	assert_true(cm_stray_answer(&m, &keep));
	assert_int_equal(keep.attr, CM_DREP);
	assert_int_equal(keep.remote_id, 5);
	m.attr = CM_REP;
	assert_true(cm_stray_answer(&m, &keep));
	assert_int_equal(keep.attr, CM_REJ);
	assert_int_equal(keep.reason, CM_REJ_INVALID_COMM_ID);
	m.attr = CM_REJ;
	assert_false(cm_stray_answer(&m, &keep));
	m.attr = CM_SIDR_REQ;
	cm_no_service(&m, 0, &keep);
	assert_int_equal(keep.status, CM_SIDR_UNSUPPORTED);
}

static void test_wrong_state(void **state)
{
	struct cm_msg m = {};

	begin();
	assert_false(cm_conn_accept(&a.c, &m, now));
	assert_false(cm_conn_reject(&a.c, 28, NULL, 0));
	assert_false(cm_conn_disconnect(&a.c, now));
	connect();
	assert_false(cm_conn_accept(&a.c, &m, now));
	assert_false(cm_conn_reject(&b.c, 28, NULL, 0));
}

/* ---- a network that loses things ---------------------------------------- */

#define FLIGHTS	256

struct flight {
	u64 at;
	u32 to;
	struct cm_msg msg;
};

struct world {
	struct rng r;
	u64 now;
	u32 loss;		/* of 100 */
	struct end e[2];
	struct flight f[FLIGHTS];
	u32 n;
	bool rejects, sidr;
	u64 decide_at[2];	/* when the application answers; 0: never */
};

static void world_put(struct world *w, u32 to, const struct cm_msg *msg)
{
	if (w->n == FLIGHTS || rng_next(&w->r) % 100 < w->loss)
		return;
	w->f[w->n].at = w->now + 1 + rng_next(&w->r) % (200 * MS);
	w->f[w->n].to = to;
	w->f[w->n++].msg = *msg;
}

static void world_send(struct end *e, const struct cm_msg *msg)
{
	u32 copies = rng_next(&e->world->r) % 10 ? 1 : 2;

	while (copies--)
		world_put(e->world, !e->index, msg);
}

static void world_event(struct end *e, enum cm_event event)
{
	struct world *w = e->world;

	if (event == CM_EV_REP)
		w->decide_at[e->index] = w->now + 1 + rng_next(&w->r) % SEC;
}

static void world_arrive(struct world *w, u32 i)
{
	struct flight f = w->f[i];
	struct end *e = &w->e[f.to];
	struct cm_msg answer;

	w->f[i] = w->f[--w->n];
	if (f.msg.attr == CM_REQ || f.msg.attr == CM_SIDR_REQ) {
		if (e->c.state == CM_IDLE) {
			cm_conn_incoming(&e->c, &f.msg);
			w->decide_at[1] = w->now + 1 + rng_next(&w->r) % (2 * SEC);
		} else {
			cm_conn_repeated(&e->c);
		}
		return;
	}
	if (e->c.state == CM_CLOSED || e->c.state == CM_IDLE) {
		if (cm_stray_answer(&f.msg, &answer))
			world_put(w, !f.to, &answer);
		return;
	}
	cm_conn_rx(&e->c, &f.msg, w->now);
}

static void world_decide(struct world *w, u32 who)
{
	struct cm_conn *c = &w->e[who].c;
	struct cm_msg rep = { .qpn = 1 };

	w->decide_at[who] = 0;
	if (w->rejects && who == 1)
		cm_conn_reject(c, CM_REJ_CONSUMER_DEFINED, NULL, 0);
	else
		cm_conn_accept(c, &rep, w->now);
}

static u64 sooner(u64 x, u64 y)
{
	if (!x || !y)
		return x ? x : y;
	return x < y ? x : y;
}

/* The next thing that happens; false if nothing ever will. */
static bool world_step(struct world *w)
{
	u64 at = 0;
	u32 i;

	for (i = 0; i < w->n; i++)
		at = sooner(at, w->f[i].at);
	for (i = 0; i < 2; i++) {
		at = sooner(at, cm_conn_deadline(&w->e[i].c));
		at = sooner(at, w->decide_at[i]);
	}
	if (!at)
		return false;
	w->now = at;
	for (i = 0; i < w->n; i++) {
		if (w->f[i].at <= at) {
			world_arrive(w, i);
			return true;
		}
	}
	for (i = 0; i < 2; i++) {
		cm_conn_timer(&w->e[i].c, at);
		if (w->decide_at[i] && w->decide_at[i] <= at)
			world_decide(w, i);
	}
	return true;
}

static void world_settle(struct world *w, const char *what)
{
	u32 steps = 0;

	while (world_step(w))
		if (++steps > 20000)
			fail_msg("%s never ends", what);
}

/* Each end hears exactly one verdict, and both the same unless all was lost. */
static void world_check_connected(struct world *w, u64 seed)
{
	struct end *x = &w->e[0], *y = &w->e[1];
	u32 verdicts = x->events[CM_EV_REP] + x->events[CM_EV_REJECTED] +
		       x->events[CM_EV_UNREACHABLE] + x->events[CM_EV_SIDR_REP];
	bool both = x->c.state == CM_ESTABLISHED && y->c.state == CM_ESTABLISHED;

	if (verdicts != 1)
		fail_msg("seed %llu: %u verdicts", (unsigned long long)seed, verdicts);
	if (w->sidr || w->rejects) {
		assert_int_equal(x->events[CM_EV_REP], 0);
		return;
	}
	/* With moderate loss it must work, for it is tried 16 times. */
	if (w->loss <= 30 && !both)
		fail_msg("seed %llu: states %u, %u", (unsigned long long)seed,
			 x->c.state, y->c.state);
	if (both)
		assert_int_equal(y->events[CM_EV_ESTABLISHED], 1);
}

static void world_run(u64 seed)
{
	struct cm_msg req = { .ack_timeout = 14 };
	struct world *w = calloc(1, sizeof(*w));
	u32 i;

	assert_non_null(w);
	w->r.s = seed;
	w->now = SEC;
	w->loss = rng_next(&w->r) % 4 * 15 + (seed % 50 == 0 ? 55 : 0);
	w->sidr = rng_next(&w->r) % 4 == 0;
	w->rejects = rng_next(&w->r) % 4 == 0;
	for (i = 0; i < 2; i++) {
		cm_conn_init(&w->e[i].c, &ops, (i + 1) << 16 | 7, i + 1);
		w->e[i].world = w;
		w->e[i].index = i;
	}
	req.attr = w->sidr ? CM_SIDR_REQ : CM_REQ;
	cm_conn_request(&w->e[0].c, &req, w->now);
	world_settle(w, "connecting");
	world_check_connected(w, seed);
	/* one of them, or both at once, or each having lost interest */
	if (seed & 1)
		cm_conn_disconnect(&w->e[0].c, w->now);
	if (seed & 2)
		cm_conn_disconnect(&w->e[1].c, w->now);
	if (!(seed & 3))
		cm_conn_abandon(&w->e[0].c, w->now);
	world_settle(w, "disconnecting");
	for (i = 0; i < 2; i++) {
		assert_in_range(w->e[i].events[CM_EV_DISCONNECTED], 0, 1);
		cm_conn_abandon(&w->e[i].c, w->now);
	}
	world_settle(w, "ending");
	for (i = 0; i < 2; i++)
		assert_true(w->e[i].c.state == CM_CLOSED ||
			    w->e[i].c.state == CM_IDLE);
	free(w);
}

static void test_lossy(void **state)
{
	const char *from = getenv("TCPZC_TEST_SEED");
	u64 seed = from ? strtoull(from, NULL, 0) : 1, i;

	for (i = 0; i < (from ? 1 : 20000); i++)
		world_run(seed + i);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_connect),
		cmocka_unit_test(test_reject),
		cmocka_unit_test(test_unreachable),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_refused_once),
		cmocka_unit_test(test_thinking),
		cmocka_unit_test(test_thinks_no_more),
		cmocka_unit_test(test_hopeless),
		cmocka_unit_test(test_lost_rtu),
		cmocka_unit_test(test_no_rtu),
		cmocka_unit_test(test_crossing_disconnects),
		cmocka_unit_test(test_lost_dreq),
		cmocka_unit_test(test_abandon),
		cmocka_unit_test(test_sidr),
		cmocka_unit_test(test_strangers),
		cmocka_unit_test(test_wrong_state),
		cmocka_unit_test(test_lossy),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
