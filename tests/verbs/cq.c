// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * cq.c - completion queues: size, resizing, overflow; events, solicited and
 * not, none lost and none too many; channels of many queues; asynchronous
 * events and the end of what they are about; extended polling.
 */
#include "common.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <unistd.h>

static const struct opts base = { .min_retry_ms = 1000 };

static void nonblocking(int fd)
{
	check(!fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK));
}

static bool readable(int fd, int ms)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };

	return poll(&pfd, 1, ms) == 1;
}

/* ---- size --------------------------------------------------------------- */

/* @n WRITEs whose completions stay where they are; waits until all are placed. */
static void fill_cq(struct pair *p, unsigned int n, uint64_t first_id)
{
	volatile uint64_t *mark = (uint64_t *)(p->b->mem + 4096);
	uint64_t until = now_ns() + 10000000000ull * test_slow();
	unsigned int i;

	*mark = 0;
	*(uint64_t *)p->a->mem = first_id + n;
	for (i = 0; i < n; i++)
		post_send(p->a, wr_rdma(p->a, IBV_WR_RDMA_WRITE, first_id + i, 0, 8,
					p->b, 4096));
	while (*mark != first_id + n) {
		check(now_ns() < until);
		usleep(50);
	}
}

/* As many fit as it says; all sizes around powers of two. */
static void capacity(void)
{
	static const unsigned int sizes[] = { 1, 2, 3, 4, 7, 8, 9, 31, 64, 100 };
	struct opts o = base;
	struct pair p;
	unsigned int i, k;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		o.cqe = sizes[i];
		pair_open(&p, TOPO_CONTEXTS, &o, NULL);
		check(p.a->cq[0]->cqe >= (int)sizes[i]);
		fill_cq(&p, sizes[i], 100);
		check_eq(wait_event_ms(p.a, 1), -1);
		for (k = 0; k < sizes[i]; k++)
			expect_send(p.a, 100 + k, IBV_WC_SUCCESS);
		pair_close(&p);
	}
}

/* With entries in it, wherever they lie in the ring; none is lost. */
static void resize(void)
{
	static const int to[] = { 500, 20, 15, 100, 16, 31, 1000, 12 };
	struct opts o = base;
	uint64_t id = 0, done = 0, until = now_ns() + 20000000000ull;
	unsigned int i;
	struct pair p;

	o.cqe = 16;
	pair_open(&p, TOPO_CONTEXTS, &o, NULL);
	for (i = 0; i < 60; i++) {
		struct ibv_cq *cq = p.a->cq[CQ_SEND];

		fill_cq(&p, 11, id);
		id += 11;
		/* Fewer than there are entries cannot be; all come soon. */
		while (!ibv_resize_cq(cq, 10))
			check(now_ns() < until);
		check_rc(ibv_resize_cq(cq, 10), EINVAL);
		check_rc(ibv_resize_cq(cq, to[i % ARRAY_SIZE(to)]), 0);
		check(cq->cqe >= to[i % ARRAY_SIZE(to)]);
		for (; done < id; done++)
			expect_send(p.a, done, IBV_WC_SUCCESS);
	}
	expect_no_wc(p.a, CQ_SEND, 1);
	pair_close(&p);
}

struct resizer {
	struct ibv_cq *cq;
	bool stop;
	unsigned int done;
};

static void *resize_all_the_time(void *arg)
{
	struct resizer *r = arg;
	struct rng rng = { 99 };

	while (!__atomic_load_n(&r->stop, __ATOMIC_RELAXED)) {
		check_rc(ibv_resize_cq(r->cq, 256 + rng_below(&rng, 2000)), 0);
		r->done++;
		usleep(rng_below(&rng, 300));
	}
	return NULL;
}

/* While completions come and go. */
static void resize_busy(void)
{
	struct resizer r = { .stop = false };
	struct pair p;
	pthread_t thread;
	uint64_t id, done = 0;

	pair_open(&p, TOPO_CONTEXTS, &base, NULL);
	r.cq = p.a->cq[CQ_SEND];
	check_eq(pthread_create(&thread, NULL, resize_all_the_time, &r), 0);
	for (id = 0; id < 20000 / test_slow(); id++) {
		if (id - done == 100)
			expect_send(p.a, done++, IBV_WC_SUCCESS);
		post_send(p.a, wr_rdma(p.a, IBV_WR_RDMA_WRITE, id, 0, 8, p.b, 0));
	}
	while (done < id)
		expect_send(p.a, done++, IBV_WC_SUCCESS);
	__atomic_store_n(&r.stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	test_note("resized %u times", r.done);
	pair_close(&p);
}

/* ---- overflow ----------------------------------------------------------- */

static void overflow(void)
{
	struct opts o = base;
	unsigned int i, n;
	struct ibv_wc wc;
	struct pair p;

	o.cqe = 4;
	pair_open(&p, TOPO_CONTEXTS, &o, NULL);
	n = p.a->cq[CQ_SEND]->cqe;
	fill_cq(&p, n + 20, 0);
	expect_event(p.a, IBV_EVENT_CQ_ERR);
	check_eq(wait_event_ms(p.a, 1), -1);
	/* What fitted is there. */
	for (i = 0; i < n; i++)
		expect_send(p.a, i, IBV_WC_SUCCESS);
	while (wait_wc_ms(p.a, CQ_SEND, &wc, 1))
		;
	pair_close(&p);
}

/* The queue goes with its event unread; nothing of it is read later. */
static void overflow_unread(void)
{
	struct opts o = base;
	struct end *keep;
	struct pair p;
	int i;

	o.cqe = 2;
	keep = end_new(&base, false, NULL);
	for (i = 0; i < 10; i++) {
		p.b = keep;
		p.a = end_new(&o, false, keep);
		end_connect(p.a, p.b);
		fill_cq(&p, 30, 0);
		end_free(p.a);
		check_msg(!readable(keep->ctx->async_fd, 0),
			  "an event of a queue that is gone");
		end_state(keep, IBV_QPS_RESET);
		end_init(keep);
	}
	end_free(keep);
}

/* ---- events ------------------------------------------------------------- */

struct chan {
	struct pair p;
	struct ibv_comp_channel *ch;
	struct ibv_cq *cq;	/* b's receive queue */
};

static void chan_open(struct chan *c)
{
	struct opts ob = base;

	ob.waiting = WAIT_EVENT;
	pair_open(&c->p, TOPO_CONTEXTS, &base, &ob);
	c->ch = c->p.b->channel;
	c->cq = c->p.b->cq[CQ_RECV];
	nonblocking(c->ch->fd);
}

static void send_one(struct chan *c, uint64_t id, unsigned int flags)
{
	struct wr wr = wr_make(c->p.a, IBV_WR_SEND, id, 0, 8);

	wr.flags |= flags;
	post_recv(c->p.b, id, 0, 8);
	post_send(c->p.a, wr);
	expect_send(c->p.a, id, IBV_WC_SUCCESS);
}

static void take_event(struct chan *c)
{
	struct ibv_cq *cq;
	void *data;

	check_msg(readable(c->ch->fd, 5000 * test_slow()), "no event");
	check_eq(ibv_get_cq_event(c->ch, &cq, &data), 0);
	check(cq == c->cq);
	ibv_ack_cq_events(cq, 1);
}

static void no_event(struct chan *c)
{
	struct ibv_cq *cq;
	void *data;

	check_msg(!readable(c->ch->fd, 10), "an event that nobody asked for");
	check_eq(ibv_get_cq_event(c->ch, &cq, &data), -1);
	check_eq(errno, EAGAIN);
}

static void drain_cq(struct chan *c)
{
	struct ibv_wc wc;

	while (ibv_poll_cq(c->cq, 1, &wc) == 1)
		;
}

static void poll_is(struct chan *c, uint64_t id)
{
	struct ibv_wc wc;

	check_eq(ibv_poll_cq(c->cq, 1, &wc), 1);
	check_wc_at(__FILE__, __LINE__, &wc, id, IBV_WC_SUCCESS);
}

/* One event for one request, and none for what has been polled. */
static void notify(void)
{
	struct chan c;
	int i;

	chan_open(&c);
	send_one(&c, 1, 0);
	no_event(&c);				/* not asked */
	drain_cq(&c);
	check_rc(ibv_req_notify_cq(c.cq, 0), 0);
	no_event(&c);				/* nothing new */
	send_one(&c, 2, 0);
	take_event(&c);
	send_one(&c, 3, 0);
	no_event(&c);				/* once */
	drain_cq(&c);
	for (i = 0; i < 5; i++)			/* asking five times is asking */
		check_rc(ibv_req_notify_cq(c.cq, 0), 0);
	send_one(&c, 4, 0);
	take_event(&c);
	send_one(&c, 5, 0);
	no_event(&c);
	drain_cq(&c);
	pair_close(&c.p);
}

static void send_imm_write(struct chan *c, uint64_t id, unsigned int flags)
{
	struct wr wr = wr_rdma(c->p.a, IBV_WR_RDMA_WRITE_WITH_IMM, id, 0, 8,
			       c->p.b, 8);

	wr.flags |= flags;
	post_recv(c->p.b, id, 0, 8);
	post_send(c->p.a, wr);
	expect_send(c->p.a, id, IBV_WC_SUCCESS);
}

/*
 * What was there when the queue was armed counts like what comes afterwards, unless
 * it was polled, or there when the last event was raised.
 */
static void arm_unseen(void)
{
	struct chan c;

	chan_open(&c);
	send_one(&c, 1, 0);
	no_event(&c);				/* not asked */
	check_rc(ibv_req_notify_cq(c.cq, 0), 0);
	take_event(&c);
	check_rc(ibv_req_notify_cq(c.cq, 0), 0);
	no_event(&c);				/* has been reported */
	send_one(&c, 2, 0);
	take_event(&c);
	send_one(&c, 3, 0);
	send_one(&c, 4, 0);
	poll_is(&c, 1);
	check_rc(ibv_req_notify_cq(c.cq, 0), 0);
	take_event(&c);				/* for 3 and 4 */
	poll_is(&c, 2);
	poll_is(&c, 3);
	send_one(&c, 5, 0);
	poll_is(&c, 4);
	poll_is(&c, 5);
	check_rc(ibv_req_notify_cq(c.cq, 0), 0);
	no_event(&c);				/* all have been polled */
	send_one(&c, 6, 0);
	take_event(&c);
	poll_is(&c, 6);
	pair_close(&c.p);
}

/* Of what is there a solicited-only arm sees what is solicited, and errors. */
static void arm_unseen_solicited(void)
{
	struct chan c;

	chan_open(&c);
	send_one(&c, 1, 0);
	check_rc(ibv_req_notify_cq(c.cq, 1), 0);
	no_event(&c);
	send_one(&c, 2, IBV_SEND_SOLICITED);
	take_event(&c);
	send_one(&c, 3, IBV_SEND_SOLICITED);
	send_one(&c, 4, 0);
	check_rc(ibv_req_notify_cq(c.cq, 1), 0);
	take_event(&c);
	send_one(&c, 5, IBV_SEND_SOLICITED);
	drain_cq(&c);
	send_one(&c, 6, 0);
	check_rc(ibv_req_notify_cq(c.cq, 1), 0);
	no_event(&c);
	check_rc(ibv_req_notify_cq(c.cq, 0), 0);
	take_event(&c);				/* for 6 */
	drain_cq(&c);
	post_recv(c.p.b, 7, 0, 8);
	end_state(c.p.b, IBV_QPS_ERR);
	check_rc(ibv_req_notify_cq(c.cq, 1), 0);
	take_event(&c);
	drain_cq(&c);
	pair_close(&c.p);
}

/* More entries than a queue has, and other queues: what is unseen goes along. */
static void arm_unseen_resized(void)
{
	struct chan c;
	unsigned int i;

	chan_open(&c);
	for (i = 0; i < 5000 / test_slow(); i++) {
		send_one(&c, i, 0);
		if (i % 100 == 99) {
			check_rc(ibv_req_notify_cq(c.cq, 1), 0);
			check_msg(!readable(c.ch->fd, 0), "not solicited: %u", i);
			check_rc(ibv_resize_cq(c.cq, 1000 + i), 0);
			check_rc(ibv_req_notify_cq(c.cq, 0), 0);
			take_event(&c);
			check_rc(ibv_req_notify_cq(c.cq, 0), 0);
			check_msg(!readable(c.ch->fd, 0), "reported: %u", i);
			drain_cq(&c);
			/* Take back what is armed. */
			send_one(&c, i, 0);
			take_event(&c);
			drain_cq(&c);
		}
	}
	pair_close(&c.p);
}

static void solicited(void)
{
	struct chan c;

	chan_open(&c);
	check_rc(ibv_req_notify_cq(c.cq, 1), 0);
	send_one(&c, 1, 0);
	send_imm_write(&c, 2, 0);
	no_event(&c);
	send_one(&c, 3, IBV_SEND_SOLICITED);
	take_event(&c);
	drain_cq(&c);
	check_rc(ibv_req_notify_cq(c.cq, 1), 0);
	no_event(&c);
	send_imm_write(&c, 4, IBV_SEND_SOLICITED);
	take_event(&c);
	drain_cq(&c);
	/* Asking for all is more than asking for some, in any order. */
	check_rc(ibv_req_notify_cq(c.cq, 1), 0);
	check_rc(ibv_req_notify_cq(c.cq, 0), 0);
	send_one(&c, 5, 0);
	take_event(&c);
	drain_cq(&c);
	check_rc(ibv_req_notify_cq(c.cq, 0), 0);
	check_rc(ibv_req_notify_cq(c.cq, 1), 0);
	send_one(&c, 6, 0);
	take_event(&c);
	drain_cq(&c);
	/* An error is always solicited. */
	check_rc(ibv_req_notify_cq(c.cq, 1), 0);
	post_recv(c.p.b, 7, 0, 8);
	end_state(c.p.b, IBV_QPS_ERR);
	take_event(&c);
	drain_cq(&c);
	pair_close(&c.p);
}

/*
 * An event that tells of several completions is fetched, one of them is polled,
 * and the queue is armed for the others: a program that polls some at a time.
 */
static void arm_some_polled(void)
{
	struct chan c;
	int i;

	chan_open(&c);
	if (c.p.b->kernel)
		test_skip("kernel mode: what an event has told of does not count");
	for (i = 1; i <= 3; i++)
		send_one(&c, i, 0);
	for (i = 1; i <= 3; i++) {
		check_rc(ibv_req_notify_cq(c.cq, 0), 0);
		take_event(&c);
		no_event(&c);
		poll_is(&c, i);
	}
	check_rc(ibv_req_notify_cq(c.cq, 0), 0);
	no_event(&c);
	send_one(&c, 4, 0);
	take_event(&c);
	drain_cq(&c);
	pair_close(&c.p);
}

/* Fetch an event, arm, and poll once: one event for each completion (perftest). */
static void one_event_each(void)
{
	struct ibv_wc wc;
	struct chan c;
	int i;

	chan_open(&c);
	check_rc(ibv_req_notify_cq(c.cq, 0), 0);
	for (i = 0; i < 100; i++) {
		send_one(&c, i, 0);
		take_event(&c);
		check_rc(ibv_req_notify_cq(c.cq, 0), 0);
		check_eq(ibv_poll_cq(c.cq, 1, &wc), 1);
		check_eq(wc.wr_id, i);
	}
	no_event(&c);
	pair_close(&c.p);
}

/* Requested at one moment, wanted at another: no wake-up is lost. */
struct sender {
	struct end *e;
	unsigned int n;
	uint64_t seed;
};

static void *send_with_gaps(void *arg)
{
	struct sender *s = arg;
	struct rng r = { s->seed };
	struct ibv_wc wc;
	unsigned int i;

	for (i = 0; i < s->n; i++) {
		struct wr wr = wr_make(s->e, IBV_WR_SEND, i, 0, 8);
		volatile unsigned int spin = rng_below(&r, 20000);

		if (i % 2)
			wr.flags |= IBV_SEND_SOLICITED;
		check_rc(try_post_send(s->e, &wr), 0);
		check(poll_one(s->e->cq[CQ_SEND], &wc, 20000 * test_slow()));
		check_eq(wc.status, IBV_WC_SUCCESS);
		while (spin--)
			;
	}
	return NULL;
}

static void wakeup_race_one(enum topo t, bool only_solicited)
{
	struct opts oa = base, ob = base;
	struct sender s = { .n = 6000 / test_slow(), .seed = 77 + only_solicited };
	unsigned int got = 0, events = 0, i;
	struct ibv_cq *cq;
	struct ibv_wc wc;
	pthread_t thread;
	struct pair p;
	void *data;

	test_context("%s, solicited %d", topo_name(t), only_solicited);
	ob.waiting = WAIT_EVENT;
	ob.recv_wr = 256;
	pair_open(&p, t, &oa, &ob);
	s.e = p.a;
	for (i = 0; i < 256; i++)
		post_recv(p.b, i, 0, 8);
	check_eq(pthread_create(&thread, NULL, send_with_gaps, &s), 0);
	while (got < s.n) {
		/* The usual pattern: ask, look, sleep. */
		check_rc(ibv_req_notify_cq(p.b->cq[CQ_RECV], only_solicited), 0);
		for (i = got; ibv_poll_cq(p.b->cq[CQ_RECV], 1, &wc) == 1; got++) {
			check_eq(wc.status, IBV_WC_SUCCESS);
			post_recv(p.b, got, 0, 8);
		}
		/* The last one is solicited (its number is odd). */
		if (got != i || got == s.n)
			continue;
		check_msg(readable(p.b->channel->fd, 5000 * test_slow()),
			  "asleep for ever after %u of %u messages, %u events",
			  got, s.n, events);
		check_eq(ibv_get_cq_event(p.b->channel, &cq, &data), 0);
		ibv_ack_cq_events(cq, 1);
		events++;
	}
	pthread_join(thread, NULL);
	test_note("%u messages, %u events", got, events);
	pair_close(&p);
}

static void wakeup_race(void)
{
	wakeup_race_one(TOPO_CONTEXTS, false);
	wakeup_race_one(TOPO_CONTEXTS, true);
	wakeup_race_one(TOPO_CONTEXT, false);
}

/* ---- many queues, one channel ------------------------------------------- */

#define QUEUES	40

static void many_cqs(void)
{
	struct end *hub = end_new(&base, false, NULL), *e[QUEUES];
	struct ibv_comp_channel *ch = ibv_create_comp_channel(hub->ctx);
	struct epoll_event ev = { .events = EPOLLIN };
	struct ibv_cq *cq[QUEUES], *got;
	struct ibv_qp_init_attr init = {
		.cap = { .max_send_wr = 4, .max_recv_wr = 4, .max_send_sge = 1,
			 .max_recv_sge = 1 },
		.qp_type = IBV_QPT_RC,
	};
	bool seen[QUEUES] = { false };
	int epfd = epoll_create1(0), i, n;
	struct ibv_wc wc;
	void *data;

	check(ch && epfd >= 0);
	check(!epoll_ctl(epfd, EPOLL_CTL_ADD, ch->fd, &ev));
	for (i = 0; i < QUEUES; i++) {
		cq[i] = ibv_create_cq(hub->ctx, 4, &cq[i], ch, 0);
		check(cq[i]);
		check_rc(ibv_req_notify_cq(cq[i], 0), 0);
		/* A QP that is its own peer, with this queue. */
		e[i] = end_new(&base, false, hub);
		check_rc(ibv_destroy_qp(e[i]->qp), 0);
		init.send_cq = init.recv_cq = cq[i];
		e[i]->qp = ibv_create_qp(hub->pd, &init);
		check(e[i]->qp);
		e[i]->qpn = e[i]->qp->qp_num;
		end_init(e[i]);
		end_connect(e[i], e[i]);
	}
	check_eq(epoll_wait(epfd, &ev, 1, 5), 0);
	for (i = 0; i < QUEUES; i++)
		post_send(e[i], wr_rdma(e[i], IBV_WR_RDMA_WRITE, i, 0, 8, e[i], 8));
	for (n = 0; n < QUEUES; n++) {
		check_eq(epoll_wait(epfd, &ev, 1, 5000 * test_slow()), 1);
		check_eq(ibv_get_cq_event(ch, &got, &data), 0);
		i = (struct ibv_cq **)data - cq;
		check(i >= 0 && i < QUEUES && got == cq[i] && !seen[i]);
		seen[i] = true;
		check_eq(ibv_poll_cq(got, 1, &wc), 1);
		check_eq(wc.wr_id, i);
		ibv_ack_cq_events(got, 1);
	}
	check_eq(epoll_wait(epfd, &ev, 1, 5), 0);
	for (i = 0; i < QUEUES; i++) {
		end_free(e[i]);
		check_rc(ibv_destroy_cq(cq[i]), 0);
	}
	close(epfd);
	check_rc(ibv_destroy_comp_channel(ch), 0);
	end_free(hub);
}

/* Asked and answered so often that the channel is full: nothing hangs. */
static void full_channel(void)
{
	struct chan c;
	unsigned int i, events = 0;
	struct ibv_cq *cq;
	void *data;

	chan_open(&c);
	for (i = 0; i < 9000; i++) {
		struct ibv_wc wc;

		check_rc(ibv_req_notify_cq(c.cq, 0), 0);
		post_recv(c.p.b, i, 0, 8);
		post_send(c.p.a, wr_make(c.p.a, IBV_WR_SEND, i, 0, 8));
		expect_send(c.p.a, i, IBV_WC_SUCCESS);
		check(poll_one(c.cq, &wc, 20000));
		check_eq(wc.status, IBV_WC_SUCCESS);
	}
	while (!ibv_get_cq_event(c.ch, &cq, &data))
		events++;
	check_eq(events, 9000);
	ibv_ack_cq_events(c.cq, events);
	check_rc(ibv_req_notify_cq(c.cq, 0), 0);
	/* Now one more: it comes. */
	post_recv(c.p.b, 1, 0, 8);
	post_send(c.p.a, wr_make(c.p.a, IBV_WR_SEND, 1, 0, 8));
	take_event(&c);
	check_eq(ibv_get_cq_event(c.ch, &cq, &data), -1);
	pair_close(&c.p);
}

/* As much as a user gets who has many pipes; the kernel's files are none. */
static void small_pipe(int fd)
{
	fcntl(fd, F_SETPIPE_SZ, 4096);
}

/* Events that somebody raises by one queue pair in RESET after the other. */
struct flood {
	struct end *e;
	struct ibv_srq *srq;
	struct ibv_qp *qp[8];
};

static void flood_open(struct flood *f)
{
	struct ibv_srq_init_attr srq = { .attr = { .max_wr = 16, .max_sge = 1 } };
	struct ibv_qp_init_attr init = {
		.cap = { .max_send_wr = 1, .max_send_sge = 1 },
		.qp_type = IBV_QPT_RC,
	};
	unsigned int i;

	f->e = end_new(&base, false, NULL);
	small_pipe(f->e->ctx->async_fd);
	nonblocking(f->e->ctx->async_fd);
	f->srq = ibv_create_srq(f->e->pd, &srq);
	check(f->srq);
	init.srq = f->srq;
	init.send_cq = init.recv_cq = f->e->cq[CQ_SEND];
	for (i = 0; i < ARRAY_SIZE(f->qp); i++) {
		f->qp[i] = ibv_create_qp(f->e->pd, &init);
		check_msg(f->qp[i], "%m");
	}
}

/* LAST_WQE_REACHED of each queue pair, @n times, in turns. */
static void flood_raise(struct flood *f, unsigned int n)
{
	struct ibv_qp_attr err = { .qp_state = IBV_QPS_ERR };
	struct ibv_qp_attr reset = { .qp_state = IBV_QPS_RESET };
	struct end e = *f->e;
	unsigned int i;

	for (; n--;) {
		for (i = 0; i < ARRAY_SIZE(f->qp); i++) {
			e.qp = f->qp[i];
			end_init(&e);
			check_rc(ibv_modify_qp(e.qp, &err, IBV_QP_STATE), 0);
			check_rc(ibv_modify_qp(e.qp, &reset, IBV_QP_STATE), 0);
		}
	}
}

static void flood_close(struct flood *f)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(f->qp); i++)
		if (f->qp[i])
			check_rc(ibv_destroy_qp(f->qp[i]), 0);
	check_rc(ibv_destroy_srq(f->srq), 0);
	end_free(f->e);
}

/* More than the pipe holds: none is lost, and they come in order. */
static void async_flood(void)
{
	struct ibv_async_event event;
	struct flood f;
	unsigned int i, n = 8 * (600 / test_slow());

	flood_open(&f);
	flood_raise(&f, n / 8);
	for (i = 0; i < n; i++) {
		check_msg(!ibv_get_async_event(f.e->ctx, &event),
			  "%u of %u events: %m", i, n);
		check_eq(event.event_type, IBV_EVENT_QP_LAST_WQE_REACHED);
		check(event.element.qp == f.qp[i % 8]);
		ibv_ack_async_event(&event);
	}
	check_eq(ibv_get_async_event(f.e->ctx, &event), -1);
	check_eq(errno, EAGAIN);
	flood_close(&f);
}

/* A queue pair goes: so do its events, wherever they are, and no other's. */
static void async_flood_destroyed(void)
{
	struct ibv_async_event event;
	struct flood f;
	unsigned int i, n = 8 * (600 / test_slow()), got = 0;

	flood_open(&f);
	flood_raise(&f, n / 8);
	for (i = 0; i < 8; i += 2) {
		check_rc(ibv_destroy_qp(f.qp[i]), 0);
		f.qp[i] = NULL;
	}
	for (; !ibv_get_async_event(f.e->ctx, &event); got++) {
		check(event.element.qp == f.qp[1 + 2 * (got % 4)]);
		ibv_ack_async_event(&event);
	}
	check_eq(got, n / 2);
	flood_close(&f);
}

/* An application that reads the file itself, as much as there is at a time. */
static void async_flood_read(void)
{
	unsigned int n = 8 * (600 / test_slow());
	struct flood f;
	size_t got = 0;
	char buf[5000];

	flood_open(&f);
	if (f.e->kernel)
		test_skip("the kernel's file gives one at a time");
	flood_raise(&f, n / 8);
	while (got < n * sizeof(uint64_t) * 2) {
		ssize_t bytes;

		check_msg(readable(f.e->ctx->async_fd, 5000 * test_slow()),
			  "%zu of %u events", got / 16, n);
		bytes = read(f.e->ctx->async_fd, buf, sizeof(buf));
		check(bytes > 0);
		got += bytes;
	}
	check(!readable(f.e->ctx->async_fd, 5));
	/* They were read, but not by what counts: acknowledge them all. */
	for (n = 0; n < 8; n++)
		f.qp[n]->events_completed += got / 16 / 8;
	flood_close(&f);
}

/* Many events of two queues in one channel; one queue goes. */
static void full_channel_destroyed(void)
{
	struct ibv_qp_init_attr init = {
		.cap = { .max_recv_wr = 1, .max_recv_sge = 1 },
		.qp_type = IBV_QPT_RC,
	};
	struct ibv_qp_attr reset = { .qp_state = IBV_QPS_RESET };
	unsigned int i, n = 2 * (1000 / test_slow()), got = 0;
	struct opts o = base;
	struct ibv_cq *cq[2], *ev;
	struct end *a, e;
	void *data;

	o.waiting = WAIT_EVENT;
	a = end_new(&o, false, NULL);
	e = *a;
	small_pipe(a->channel->fd);
	nonblocking(a->channel->fd);
	for (i = 0; i < 2; i++) {
		cq[i] = ibv_create_cq(a->ctx, 4, NULL, a->channel, 0);
		check_msg(cq[i], "%m");
	}
	for (i = 0; i < n; i++) {
		struct ibv_recv_wr *bad, wr = { .wr_id = i };

		init.send_cq = init.recv_cq = cq[i & 1];
		e.qp = ibv_create_qp(a->pd, &init);
		check_msg(e.qp, "%m");
		end_init(&e);
		check_rc(ibv_req_notify_cq(cq[i & 1], 0), 0);
		check_rc(ibv_post_recv(e.qp, &wr, &bad), 0);
		end_state(&e, IBV_QPS_ERR);
		check_rc(ibv_modify_qp(e.qp, &reset, IBV_QP_STATE), 0);
		check_rc(ibv_destroy_qp(e.qp), 0);
	}
	check_rc(ibv_destroy_cq(cq[0]), 0);
	for (; !ibv_get_cq_event(a->channel, &ev, &data); got++) {
		check(ev == cq[1]);
		ibv_ack_cq_events(ev, 1);
	}
	check_eq(got, n / 2);
	check_rc(ibv_destroy_cq(cq[1]), 0);
	end_free(a);
}

/* ---- the end of queues with events -------------------------------------- */

struct destroyer {
	struct ibv_cq *cq;
	int done;
};

static void *destroy_cq(void *arg)
{
	struct destroyer *d = arg;

	check_rc(ibv_destroy_cq(d->cq), 0);
	__atomic_store_n(&d->done, 1, __ATOMIC_RELEASE);
	return NULL;
}

/* Destroying waits until what was read is acknowledged. */
static void unacknowledged(void)
{
	struct destroyer d = { .done = 0 };
	struct chan c;
	struct ibv_cq *cq;
	pthread_t thread;
	void *data;
	int i;

	chan_open(&c);
	for (i = 0; i < 3; i++) {
		check_rc(ibv_req_notify_cq(c.cq, 0), 0);
		send_one(&c, i, 0);
		check(readable(c.ch->fd, 5000 * test_slow()));
		check_eq(ibv_get_cq_event(c.ch, &cq, &data), 0);
	}
	check_rc(ibv_destroy_qp(c.p.b->qp), 0);
	c.p.b->qp = NULL;
	d.cq = c.cq;
	check_eq(pthread_create(&thread, NULL, destroy_cq, &d), 0);
	sleep_ms(30);
	check(!__atomic_load_n(&d.done, __ATOMIC_ACQUIRE));
	ibv_ack_cq_events(c.cq, 2);
	sleep_ms(30);
	check(!__atomic_load_n(&d.done, __ATOMIC_ACQUIRE));
	ibv_ack_cq_events(c.cq, 1);
	pthread_join(thread, NULL);
	c.p.b->cq[CQ_RECV] = c.p.b->cq[CQ_SEND];
	pair_close(&c.p);
}

/* What was not read goes with the queue; the others' events stay. */
static void unread(void)
{
	uint64_t until = now_ns() + 5000000000ull * test_slow();
	struct chan c;
	struct ibv_cq *other, *cq;
	void *data;
	int bytes;

	chan_open(&c);
	other = c.p.b->cq[CQ_SEND];
	check_rc(ibv_req_notify_cq(other, 0), 0);
	check_rc(ibv_req_notify_cq(c.cq, 0), 0);
	send_one(&c, 1, 0);
	post_send(c.p.b, wr_rdma(c.p.b, IBV_WR_RDMA_WRITE, 2, 0, 8, c.p.a, 0));
	while (!ioctl(c.ch->fd, FIONREAD, &bytes) && bytes < 2 * 8)
		check(now_ns() < until);
	check_rc(ibv_destroy_qp(c.p.b->qp), 0);
	c.p.b->qp = NULL;
	check_rc(ibv_destroy_cq(c.cq), 0);
	c.p.b->cq[CQ_RECV] = other;
	check(readable(c.ch->fd, 1000));
	check_eq(ibv_get_cq_event(c.ch, &cq, &data), 0);
	check(cq == other);
	ibv_ack_cq_events(other, 1);
	check(!readable(c.ch->fd, 5));
	pair_close(&c.p);
}

/* One completion, and one event if @cq is armed: a receive is flushed. */
static void complete_one(struct end *a, struct ibv_cq *cq)
{
	struct ibv_qp_init_attr init = {
		.send_cq = cq, .recv_cq = cq,
		.cap = { .max_recv_wr = 1, .max_recv_sge = 1 },
		.qp_type = IBV_QPT_RC,
	};
	struct ibv_recv_wr *bad, wr = { .wr_id = 1 };
	struct end e = *a;

	e.qp = ibv_create_qp(a->pd, &init);
	check_msg(e.qp, "%m");
	end_init(&e);
	check_rc(ibv_post_recv(e.qp, &wr, &bad), 0);
	end_state(&e, IBV_QPS_ERR);
	check_rc(ibv_destroy_qp(e.qp), 0);
}

struct kept {
	struct end *a;
	struct ibv_cq *cq;
	bool stop;
	unsigned int got;
	pthread_t thread;
};

/* Fetches all that comes; only the queue that stays may be among it twice. */
static void *fetch_all(void *arg)
{
	struct kept *k = arg;
	struct ibv_cq *cq;
	void *data;

	for (;;) {
		bool stop = __atomic_load_n(&k->stop, __ATOMIC_ACQUIRE);

		while (!ibv_get_cq_event(k->a->channel, &cq, &data)) {
			ibv_ack_cq_events(cq, 1);
			if (cq == k->cq)
				__atomic_fetch_add(&k->got, 1, __ATOMIC_RELAXED);
		}
		if (stop)
			return NULL;
		readable(k->a->channel->fd, 1);
	}
}

static void destroy_race_one(bool with_reader)
{
	enum { QUEUES_OF_RACE = 12 };
	struct destroyer d[QUEUES_OF_RACE] = {};
	pthread_t thread[QUEUES_OF_RACE];
	unsigned int round, i, raised = 0;
	struct opts o = base;
	struct kept k = {};

	test_context("with reader: %d", with_reader);
	o.waiting = WAIT_EVENT;
	k.a = end_new(&o, false, NULL);
	nonblocking(k.a->channel->fd);
	k.cq = ibv_create_cq(k.a->ctx, 1000, NULL, k.a->channel, 0);
	check_msg(k.cq, "%m");
	if (with_reader)
		check_eq(pthread_create(&k.thread, NULL, fetch_all, &k), 0);
	for (round = 0; round < 60 / test_slow() + 1; round++) {
		for (i = 0; i < QUEUES_OF_RACE; i++) {
			d[i].cq = ibv_create_cq(k.a->ctx, 8, NULL, k.a->channel, 0);
			check_msg(d[i].cq, "%m");
			check_rc(ibv_req_notify_cq(d[i].cq, 0), 0);
			complete_one(k.a, d[i].cq);
		}
		for (i = 0; i < QUEUES_OF_RACE; i++)
			check_eq(pthread_create(&thread[i], NULL, destroy_cq, &d[i]),
				 0);
		for (i = 0; i < 5; i++, raised++) {
			struct ibv_wc wc;

			check_rc(ibv_req_notify_cq(k.cq, 0), 0);
			complete_one(k.a, k.cq);
			while (ibv_poll_cq(k.cq, 1, &wc))
				;
		}
		for (i = 0; i < QUEUES_OF_RACE; i++)
			pthread_join(thread[i], NULL);
	}
	__atomic_store_n(&k.stop, true, __ATOMIC_RELEASE);
	if (with_reader)
		pthread_join(k.thread, NULL);
	else
		fetch_all(&k);
	check_eq(k.got, raised);
	check_rc(ibv_destroy_cq(k.cq), 0);
	end_free(k.a);
}

/*
 * Queues of one channel are destroyed by several threads: each finds its own
 * events, whoever else looks for theirs, and takes away no other's.
 */
static void destroy_race(void)
{
	destroy_race_one(false);
	destroy_race_one(true);
}

static void *destroy_qp(void *arg)
{
	check_rc(ibv_destroy_qp(arg), 0);
	return NULL;
}

/* The same for a QP and its asynchronous events. */
static void unacknowledged_qp(void)
{
	struct ibv_async_event event;
	struct pair p;
	pthread_t thread;
	struct wr wr;
	int i;

	for (i = 0; i < 2; i++) {
		pair_open(&p, TOPO_CONTEXTS, &base, NULL);
		wr = wr_rdma(p.a, IBV_WR_RDMA_WRITE, 1, 0, 8, p.b, 0);
		wr.rkey = 1;
		post_send(p.a, wr);
		expect_send(p.a, 1, IBV_WC_REM_ACCESS_ERR);
		check(readable(p.b->ctx->async_fd, 5000 * test_slow()));
		if (i) {
			/* unread: it goes with the QP */
			pair_close(&p);
			continue;
		}
		check_eq(ibv_get_async_event(p.b->ctx, &event), 0);
		check_eq(event.event_type, IBV_EVENT_QP_ACCESS_ERR);
		check_eq(pthread_create(&thread, NULL, destroy_qp, p.b->qp), 0);
		sleep_ms(20);
		check_eq(pthread_tryjoin_np(thread, NULL), EBUSY);
		ibv_ack_async_event(&event);
		pthread_join(thread, NULL);
		p.b->qp = NULL;
		pair_close(&p);
	}
}

/* A thread that sleeps in ibv_get_async_event(), as NCCL has one. */
static void *wait_async(void *arg)
{
	struct ibv_async_event event;

	check_eq(ibv_get_async_event(arg, &event), 0);
	check_eq(event.event_type, IBV_EVENT_QP_REQ_ERR);
	ibv_ack_async_event(&event);
	return NULL;
}

static void blocking_async(void)
{
	struct opts ob = base;
	struct pair p;
	pthread_t thread;

	ob.qp_access = -1;
	pair_open(&p, TOPO_CONTEXTS, &base, &ob);
	check_eq(pthread_create(&thread, NULL, wait_async, p.b->ctx), 0);
	sleep_ms(10);
	post_send(p.a, wr_rdma(p.a, IBV_WR_RDMA_WRITE, 1, 0, 8, p.b, 0));
	expect_send(p.a, 1, IBV_WC_REM_INV_REQ_ERR);
	pthread_join(thread, NULL);
	pair_close(&p);
}

/* ---- polling ------------------------------------------------------------ */

static void poll_many(void)
{
	struct ibv_wc wc[64];
	struct pair p;
	int n, i, got = 0;

	pair_open(&p, TOPO_CONTEXTS, &base, NULL);
	fill_cq(&p, 100, 0);
	while (got < 100) {
		n = ibv_poll_cq(p.a->cq[CQ_SEND], 1 + got % 64, wc);
		check(n >= 0 && n <= 1 + got % 64);
		for (i = 0; i < n; i++)
			check_eq(wc[i].wr_id, got++);
	}
	check_eq(ibv_poll_cq(p.a->cq[CQ_SEND], 64, wc), 0);
	pair_close(&p);
}

/* Destroying or resetting a QP takes its completions out of a shared queue. */
static void forget(void)
{
	struct opts o = { .one_cq = true };
	struct end *a = end_new(&o, false, NULL), *b;
	struct ibv_wc wc;
	unsigned int i;

	b = end_new(&o, false, a);
	check_rc(ibv_destroy_qp(b->qp), 0);
	/* b's QP shares a's queue. */
	{
		struct ibv_qp_init_attr init = {
			.send_cq = a->cq[0], .recv_cq = a->cq[0],
			.cap = { .max_send_wr = 64, .max_recv_wr = 64,
				 .max_send_sge = 1, .max_recv_sge = 1 },
			.qp_type = IBV_QPT_RC,
		};

		b->qp = ibv_create_qp(a->pd, &init);
		check(b->qp);
		b->qpn = b->qp->qp_num;
		end_init(b);
	}
	end_connect(a, b);
	for (i = 0; i < 20; i++) {
		post_send(a, wr_rdma(a, IBV_WR_RDMA_WRITE, i, 0, 8, b, 0));
		post_send(b, wr_rdma(b, IBV_WR_RDMA_WRITE, 100 + i, 0, 8, a, 0));
	}
	sleep_ms(50 * test_slow());
	check_rc(ibv_destroy_qp(b->qp), 0);
	b->qp = NULL;
	for (i = 0; i < 20; i++) {
		check(poll_one(a->cq[0], &wc, 5000));
		check_eq(wc.qp_num, a->qpn);
		check_eq(wc.wr_id, i);
	}
	check(!poll_one(a->cq[0], &wc, 1));
	end_free(b);
	end_free(a);
}

/* ---- extended queues ---------------------------------------------------- */

static void extended(void)
{
	struct ibv_cq_init_attr_ex attr = {
		.cqe = 64, .wc_flags = IBV_WC_STANDARD_FLAGS,
	};
	struct end *a = end_new(&base, false, NULL);
	struct ibv_poll_cq_attr poll_attr = {};
	struct ibv_qp_init_attr_ex init = {
		.cap = { .max_send_wr = 64, .max_recv_wr = 64, .max_send_sge = 2,
			 .max_recv_sge = 2, .max_inline_data = 64 },
		.qp_type = IBV_QPT_RC,
		.comp_mask = IBV_QP_INIT_ATTR_PD | IBV_QP_INIT_ATTR_SEND_OPS_FLAGS,
		.send_ops_flags = IBV_QP_EX_WITH_SEND_WITH_IMM |
				  IBV_QP_EX_WITH_RDMA_WRITE |
				  IBV_QP_EX_WITH_ATOMIC_FETCH_AND_ADD,
	};
	struct ibv_cq_ex *cq;
	struct ibv_qp_ex *qpx;
	char hello[] = "hello";
	int rc, i;

	attr.wc_flags = IBV_WC_EX_WITH_COMPLETION_TIMESTAMP;
	check_errno_ptr(ibv_create_cq_ex(a->ctx, &attr), EOPNOTSUPP);
	attr.wc_flags = IBV_WC_STANDARD_FLAGS;
	cq = ibv_create_cq_ex(a->ctx, &attr);
	check_msg(cq, "%m");
	check_rc(ibv_destroy_qp(a->qp), 0);
	init.pd = a->pd;
	init.send_cq = init.recv_cq = ibv_cq_ex_to_cq(cq);
	a->qp = ibv_create_qp_ex(a->ctx, &init);
	check_msg(a->qp, "%m");
	a->qpn = a->qp->qp_num;
	end_init(a);
	end_connect(a, a);
	check_eq(ibv_start_poll(cq, &poll_attr), ENOENT);

	qpx = ibv_qp_to_qp_ex(a->qp);
	check(qpx);
	post_recv(a, 77, 512, 64);
	ibv_wr_start(qpx);
	qpx->wr_id = 1;
	qpx->wr_flags = IBV_SEND_SIGNALED;
	ibv_wr_rdma_write(qpx, a->rkey, (uintptr_t)a->mem + 256);
	ibv_wr_set_sge(qpx, a->lkey, (uintptr_t)a->mem, 64);
	qpx->wr_id = 2;
	ibv_wr_atomic_fetch_add(qpx, a->rkey, (uintptr_t)a->mem + 1024, 5);
	ibv_wr_set_sge(qpx, a->lkey, (uintptr_t)a->mem + 2048, 8);
	qpx->wr_id = 3;
	ibv_wr_send_imm(qpx, htonl(4711));
	ibv_wr_set_inline_data(qpx, hello, 5);
	check_rc(ibv_wr_complete(qpx), 0);

	for (i = 0; i < 4; i++) {
		uint64_t until = now_ns() + 5000000000ull * test_slow();

		while ((rc = ibv_start_poll(cq, &poll_attr)) == ENOENT)
			check(now_ns() < until);
		check_rc(rc, 0);
		check_eq(cq->status, IBV_WC_SUCCESS);
		check_eq(ibv_wc_read_qp_num(cq), a->qpn);
		if (cq->wr_id == 77) {
			check_eq(ibv_wc_read_opcode(cq), IBV_WC_RECV);
			check_eq(ibv_wc_read_byte_len(cq), 5);
			check(ibv_wc_read_wc_flags(cq) & IBV_WC_WITH_IMM);
			check_eq(ntohl(ibv_wc_read_imm_data(cq)), 4711);
			check(!memcmp(a->mem + 512, "hello", 5));
		}
		ibv_end_poll(cq);
	}
	check_eq(*(uint64_t *)(a->mem + 1024), 5);
	check_rc(ibv_destroy_qp(a->qp), 0);
	a->qp = NULL;
	check_rc(ibv_destroy_cq(ibv_cq_ex_to_cq(cq)), 0);
	end_free(a);
}

/* A queue pair of @a's with both queues on @cq, and two receives flushed. */
static struct ibv_qp *flushed_qp(struct end *a, struct ibv_cq_ex *cq, uint64_t id)
{
	struct ibv_qp_init_attr init = {
		.send_cq = ibv_cq_ex_to_cq(cq), .recv_cq = ibv_cq_ex_to_cq(cq),
		.cap = { .max_send_wr = 4, .max_recv_wr = 4, .max_send_sge = 1,
			 .max_recv_sge = 1 },
		.qp_type = IBV_QPT_RC,
	};
	struct ibv_recv_wr *bad, wr = { .wr_id = id };
	struct ibv_qp_attr err = { .qp_state = IBV_QPS_ERR };
	struct end e = *a;

	e.qp = ibv_create_qp(a->pd, &init);
	check_msg(e.qp, "%m");
	end_init(&e);
	check_rc(ibv_post_recv(e.qp, &wr, &bad), 0);
	wr.wr_id++;
	check_rc(ibv_post_recv(e.qp, &wr, &bad), 0);
	check_rc(ibv_modify_qp(e.qp, &err, IBV_QP_STATE), 0);
	return e.qp;
}

static void batch_of(struct end *a, uint32_t flags, bool destroy)
{
	struct ibv_cq_init_attr_ex attr = {
		.cqe = 8, .wc_flags = IBV_WC_STANDARD_FLAGS, .channel = a->channel,
		.comp_mask = IBV_CQ_INIT_ATTR_MASK_FLAGS, .flags = flags,
	};
	struct ibv_cq_ex *cq = ibv_create_cq_ex(a->ctx, &attr);
	struct ibv_qp_attr reset = { .qp_state = IBV_QPS_RESET };
	struct ibv_poll_cq_attr poll_attr = {};
	struct ibv_qp *qp[2];
	uint32_t num;
	int i;

	test_context("flags %u, destroy %d", flags, destroy);
	check_msg(cq, "%m");
	for (i = 0; i < 2; i++)
		qp[i] = flushed_qp(a, cq, 10 + 10 * i);
	num = qp[0]->qp_num;
	check_rc(ibv_start_poll(cq, &poll_attr), 0);
	check_eq(cq->wr_id, 10);
	if (destroy)
		check_rc(ibv_destroy_qp(qp[0]), 0);
	else
		check_rc(ibv_modify_qp(qp[0], &reset, IBV_QP_STATE), 0);
	check_rc(ibv_req_notify_cq(ibv_cq_ex_to_cq(cq), 0), 0);
	check_rc(ibv_resize_cq(ibv_cq_ex_to_cq(cq), 100), EBUSY);
	/* The current one stays as it is until the next is asked for. */
	check_eq(ibv_wc_read_qp_num(cq), num);
	check_eq(cq->status, IBV_WC_WR_FLUSH_ERR);
	for (i = 0; i < 2; i++) {
		check_rc(ibv_next_poll(cq), 0);
		check_eq(cq->wr_id, 20 + i);
		check_eq(ibv_wc_read_qp_num(cq), qp[1]->qp_num);
	}
	check_rc(ibv_next_poll(cq), ENOENT);
	ibv_end_poll(cq);
	check_rc(ibv_resize_cq(ibv_cq_ex_to_cq(cq), 100), 0);
	check_eq(ibv_start_poll(cq, &poll_attr), ENOENT);
	if (!destroy)
		check_rc(ibv_destroy_qp(qp[0]), 0);
	check_rc(ibv_destroy_qp(qp[1]), 0);
	check_rc(ibv_destroy_cq(ibv_cq_ex_to_cq(cq)), 0);
}

/* A queue pair is destroyed or reset while its completion is looked at. */
static void destroy_in_batch(void)
{
	struct opts o = base;
	struct end *a;
	int i;

	o.waiting = WAIT_EVENT;
	a = end_new(&o, false, NULL);
	for (i = 0; i < 4; i++)
		batch_of(a, i & 1 ? IBV_CREATE_CQ_ATTR_SINGLE_THREADED : 0, i & 2);
	end_free(a);
}

static const struct test_case cases[] = {
	CASE(capacity),
	CASE(resize),
	CASE(resize_busy),
	CASE(overflow),
	CASE(overflow_unread),
	CASE(notify),
	CASE(arm_unseen),
	CASE(arm_unseen_solicited),
	CASE(arm_unseen_resized),
	CASE(arm_some_polled),
	CASE(one_event_each),
	CASE(solicited),
	CASE_LIMIT(wakeup_race, 60),
	CASE(many_cqs),
	CASE(full_channel),
	CASE(full_channel_destroyed),
	CASE(async_flood),
	CASE(async_flood_destroyed),
	CASE(async_flood_read),
	CASE(unacknowledged),
	CASE(unread),
	CASE_LIMIT(destroy_race, 60),
	CASE(unacknowledged_qp),
	CASE(blocking_async),
	CASE(poll_many),
	CASE(forget),
	CASE(extended),
	CASE(destroy_in_batch),
	CASES_END
};

int main(int argc, char **argv)
{
	return test_main(argc, argv, cases);
}
