// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * scale.c - hundreds of queue pairs, and many threads on few of them; and that
 * nothing is left of those that are gone.
 */
#include "common.h"

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <unistd.h>

static const struct opts plain = { .mem_bytes = 4 * MIB, .min_retry_ms = 20000 };

/* ---- hundreds of queue pairs -------------------------------------------- */

/* One side's queue pairs, all with one CQ. */
struct crowd {
	struct end *hub;
	struct end *e;		/* descriptions with a QP each */
	unsigned int n;
};

static void crowd_open(struct crowd *c, unsigned int n, enum waiting waiting)
{
	struct opts o = plain;
	unsigned int i;

	o.one_cq = true;
	o.cqe = 8 * n;
	o.waiting = waiting;
	c->hub = end_new(&o, false, NULL);
	c->n = n;
	c->e = calloc(n, sizeof(*c->e));
	check(c->e);
	for (i = 0; i < n; i++) {
		struct ibv_qp_init_attr init = {
			.send_cq = c->hub->cq[0], .recv_cq = c->hub->cq[0],
			.cap = { .max_send_wr = 8, .max_recv_wr = 8,
				 .max_send_sge = 1, .max_recv_sge = 1 },
			.qp_type = IBV_QPT_RC,
		};

		c->e[i] = *c->hub;
		c->e[i].qp = ibv_create_qp(c->hub->pd, &init);
		check_msg(c->e[i].qp, "QP %u: %m", i);
		c->e[i].qpn = c->e[i].qp->qp_num;
		c->e[i].psn = i;
		end_init(&c->e[i]);
	}
}

static void crowd_close(struct crowd *c)
{
	unsigned int i;

	for (i = 0; i < c->n; i++)
		check_rc(ibv_destroy_qp(c->e[i].qp), 0);
	free(c->e);
	end_free(c->hub);
}

static void crowd_connect(struct crowd *a, struct crowd *b)
{
	unsigned int i;

	for (i = 0; i < a->n; i++)
		end_connect(&a->e[i], &b->e[i]);
}

/* Everybody sends to everybody's partner at once; each arrives once. */
static void crowd_talk(struct crowd *a, struct crowd *b, unsigned int round)
{
	struct crowd *side[2] = { a, b };
	unsigned int i, k, left = 4 * a->n, n = a->n;
	uint8_t *seen = calloc(4 * n, 1);
	struct ibv_wc wc;

	for (k = 0; k < 2; k++)
		for (i = 0; i < n; i++)
			post_recv(&side[k]->e[i], k * n + i, MIB + i * 1024, 1024);
	for (k = 0; k < 2; k++) {
		for (i = 0; i < n; i++) {
			fill(side[k]->hub->mem + i * 1024, 900, round * 1000 + i);
			post_send(&side[k]->e[i], wr_make(side[k]->hub, IBV_WR_SEND,
							  (2 + k) * n + i, i * 1024,
							  900));
		}
	}
	while (left) {
		for (k = 0; k < 2; k++) {
			if (!wait_wc_ms(side[k]->hub, CQ_SEND, &wc,
					left ? 1 : 0))
				continue;
			check_eq(wc.status, IBV_WC_SUCCESS);
			check(wc.wr_id < 4 * n && !seen[wc.wr_id]);
			seen[wc.wr_id] = 1;
			left--;
		}
	}
	free(seen);
	for (k = 0; k < 2; k++)
		for (i = 0; i < n; i++)
			check_fill(side[k]->hub->mem + MIB + i * 1024, 900,
				   round * 1000 + i);
}

static void crowd_of(unsigned int n, enum waiting waiting)
{
	struct crowd a, b;
	unsigned int round;

	crowd_open(&a, n, waiting);
	crowd_open(&b, n, waiting);
	crowd_connect(&a, &b);
	for (round = 0; round < 5; round++)
		crowd_talk(&a, &b, round);
	crowd_close(&a);
	crowd_close(&b);
}

static void many_qps(void)
{
	crowd_of(250, WAIT_BUSY);	/* 500 queue pairs */
}

static void many_qps_events(void)
{
	crowd_of(100, WAIT_EVENT);
}

/* ---- leaks -------------------------------------------------------------- */

struct usage {
	unsigned int fds, threads;
	size_t heap, rss;
};

static struct usage usage_now(void)
{
	struct usage u = { count_fds(), count_threads(), heap_bytes(), rss_bytes() };

	return u;
}

static void check_usage(const struct usage *before, size_t heap, size_t rss)
{
	struct usage now;

	uint64_t end = now_ns() + 2000000000ull * test_slow();

	check_fds(before->fds);
	/* The progress thread may be about to free something. */
	while ((now = usage_now()).heap > before->heap + heap && now_ns() < end)
		sleep_ms(5);
	test_note("heap %+zd, resident %+zd KiB", (ssize_t)(now.heap - before->heap),
		  (ssize_t)(now.rss - before->rss) / 1024);
	check_eq(now.threads, before->threads);
	check_msg(now.heap <= before->heap + heap, "the heap grew by %zu KiB",
		  (now.heap - before->heap) / KIB);
	if (!test_is_sanitized())
		check_msg(now.rss <= before->rss + rss,
			  "resident memory grew by %zu KiB",
			  (now.rss - before->rss) / KIB);
}

/* A hundred connections, with traffic, again and again. */
static void connections_leave_nothing(void)
{
	struct usage before = {};
	unsigned int round;

	for (round = 0; round < 8; round++) {
		struct crowd a, b;

		crowd_open(&a, 100, WAIT_BUSY);
		crowd_open(&b, 100, WAIT_BUSY);
		crowd_connect(&a, &b);
		crowd_talk(&a, &b, round);
		crowd_close(&a);
		crowd_close(&b);
		if (round == 3)
			before = usage_now();
	}
	check_usage(&before, 256 * KIB, 16 * MIB);
}

/* The same with one context that stays: nobody cleans up at its end. */
static void one_context_stays(void)
{
	struct end *keep = end_new(&plain, false, NULL), *a, *b;
	struct usage before = {};
	unsigned int i, n = 600 / test_slow();

	for (i = 0; i < n; i++) {
		struct opts o = plain;

		o.mem_bytes = 64 * KIB;
		a = end_new(&o, false, keep);
		b = end_new(&o, false, keep);
		end_connect(a, b);
		post_send(a, wr_rdma(a, IBV_WR_RDMA_WRITE, 1, 0, 4096, b, 0));
		if (i % 3)
			expect_send(a, 1, IBV_WC_SUCCESS);
		end_free(i & 1 ? a : b);
		end_free(i & 1 ? b : a);
		if (i == n / 3)
			before = usage_now();
	}
	check_usage(&before, 256 * KIB, 8 * MIB);
	end_free(keep);
}

/* Queue pairs that never meet anybody: no socket ever wakes the thread. */
static void lonely_qps(void)
{
	struct end *keep = end_new(&plain, false, NULL);
	struct ibv_qp_init_attr init = {
		.send_cq = keep->cq[0], .recv_cq = keep->cq[1],
		.cap = { .max_send_wr = 512, .max_recv_wr = 512, .max_send_sge = 4,
			 .max_recv_sge = 4 },
		.qp_type = IBV_QPT_RC,
	};
	struct usage before = {};
	unsigned int i, n = 3000 / test_slow();

	for (i = 0; i < n; i++) {
		struct ibv_qp *qp = ibv_create_qp(keep->pd, &init);

		check_msg(qp, "QP %u: %m", i);
		check_rc(ibv_destroy_qp(qp), 0);
		if (i == n / 3)
			before = usage_now();
	}
	check_usage(&before, MIB, 16 * MIB);
	end_free(keep);
}

/* Regions, queues, channels, handles. */
static void other_objects(void)
{
	struct end *keep = end_new(&plain, false, NULL);
	struct ibv_srq_init_attr srq_init = { .attr = { .max_wr = 64, .max_sge = 2 } };
	struct usage before = {};
	unsigned int i, n = 3000 / test_slow();

	for (i = 0; i < n; i++) {
		struct ibv_ah_attr ah_attr = {
			.is_global = 1, .port_num = 1,
			.grh = { .dgid = keep->gid, .sgid_index = keep->gid_index },
		};
		struct ibv_pd *pd = ibv_alloc_pd(keep->ctx);
		struct ibv_mr *mr = ibv_reg_mr(pd, keep->mem, MIB, ACCESS_ALL);
		struct ibv_comp_channel *ch = ibv_create_comp_channel(keep->ctx);
		struct ibv_cq *cq = ibv_create_cq(keep->ctx, 64, NULL, ch, 0);
		struct ibv_srq *srq = ibv_create_srq(pd, &srq_init);
		struct ibv_ah *ah = ibv_create_ah(pd, &ah_attr);

		check(pd && mr && ch && cq && srq && ah);
		check_rc(ibv_resize_cq(cq, 200), 0);
		check_rc(ibv_destroy_ah(ah), 0);
		check_rc(ibv_destroy_srq(srq), 0);
		check_rc(ibv_destroy_cq(cq), 0);
		check_rc(ibv_destroy_comp_channel(ch), 0);
		check_rc(ibv_dereg_mr(mr), 0);
		check_rc(ibv_dealloc_pd(pd), 0);
		if (i == n / 3)
			before = usage_now();
	}
	check_usage(&before, 64 * KIB, 4 * MIB);
	end_free(keep);
}

/* ---- threads ------------------------------------------------------------ */

#define POSTERS	4
#define POLLERS	2

struct shared_qp {
	struct pair p;
	unsigned int per_poster;
	unsigned int posted, completed;		/* atomic */
	uint8_t *seen;
};

struct poster {
	struct shared_qp *s;
	unsigned int nr;
	pthread_t thread;
};

/* Room in the send queue is what the completions that were seen say. */
static void *post_writes(void *arg)
{
	struct poster *t = arg;
	struct shared_qp *s = t->s;
	struct end *a = s->p.a, *b = s->p.b;
	unsigned int i;

	for (i = 0; i < s->per_poster; i++) {
		unsigned int id = t->nr * s->per_poster + i;
		struct ibv_sge sge = {
			.addr = (uintptr_t)a->mem + id * 64, .length = 64,
			.lkey = a->lkey,
		};
		struct ibv_send_wr wr = {
			.wr_id = id, .sg_list = &sge, .num_sge = 1,
			.opcode = IBV_WR_RDMA_WRITE,
			.send_flags = IBV_SEND_SIGNALED,
			.wr.rdma = { (uintptr_t)b->mem + id * 64, b->rkey },
		}, *bad;

		fill(a->mem + id * 64, 64, id);
		while (__atomic_load_n(&s->posted, __ATOMIC_RELAXED) -
		       __atomic_load_n(&s->completed, __ATOMIC_ACQUIRE) > 100)
			usleep(20);
		__atomic_fetch_add(&s->posted, 1, __ATOMIC_RELAXED);
		check_rc(ibv_post_send(a->qp, &wr, &bad), 0);
	}
	return NULL;
}

static void *poll_writes(void *arg)
{
	struct shared_qp *s = arg;
	struct ibv_wc wc[8];
	int n, i;

	while (__atomic_load_n(&s->completed, __ATOMIC_RELAXED) <
	       POSTERS * s->per_poster) {
		n = ibv_poll_cq(s->p.a->cq[CQ_SEND], 8, wc);
		check(n >= 0);
		for (i = 0; i < n; i++) {
			check_eq(wc[i].status, IBV_WC_SUCCESS);
			check_eq(__atomic_exchange_n(&s->seen[wc[i].wr_id], 1,
						     __ATOMIC_RELAXED), 0);
			__atomic_fetch_add(&s->completed, 1, __ATOMIC_RELEASE);
		}
	}
	return NULL;
}

static void one_qp_many_threads(void)
{
	struct shared_qp s = { .per_poster = 5000 / test_slow() };
	struct poster posters[POSTERS];
	pthread_t pollers[POLLERS];
	struct opts o = plain;
	unsigned int i;
	int t;

	o.send_wr = 256;
	for (t = TOPO_CONTEXT; t < TOPOS; t++) {
		test_context("%s", topo_name(t));
		s.posted = s.completed = 0;
		pair_open(&s.p, t, &o, NULL);
		s.seen = calloc(POSTERS, s.per_poster);
		for (i = 0; i < POSTERS; i++) {
			posters[i] = (struct poster) { .s = &s, .nr = i };
			check_eq(pthread_create(&posters[i].thread, NULL,
						post_writes, &posters[i]), 0);
		}
		for (i = 0; i < POLLERS; i++)
			check_eq(pthread_create(&pollers[i], NULL, poll_writes, &s),
				 0);
		for (i = 0; i < POSTERS; i++)
			pthread_join(posters[i].thread, NULL);
		for (i = 0; i < POLLERS; i++)
			pthread_join(pollers[i], NULL);
		for (i = 0; i < POSTERS * s.per_poster; i++)
			check_fill(s.p.b->mem + i * 64, 64, i);
		free(s.seen);
		pair_close(&s.p);
	}
}

/* Each thread has a QP of one context, and a CQ; or all have one CQ. */
struct worker {
	struct pair p;
	pthread_t thread;
	struct ibv_cq *shared;
	unsigned int nr;
};

static void *work(void *arg)
{
	struct worker *w = arg;
	struct end *a = w->p.a, *b = w->p.b;
	unsigned int i, n = 2000 / test_slow();
	struct ibv_wc wc;

	for (i = 0; i < n; i++) {
		uint32_t len = i % 50 ? 1 + i * 7 % 3000 : 200000;
		struct ibv_sge sge = {
			.addr = (uintptr_t)a->mem, .length = len, .lkey = a->lkey,
		};
		struct ibv_send_wr wr = {
			.wr_id = i, .sg_list = &sge, .num_sge = 1,
			.opcode = i & 1 ? IBV_WR_RDMA_WRITE : IBV_WR_RDMA_READ,
			.send_flags = IBV_SEND_SIGNALED,
			.wr.rdma = { (uintptr_t)b->mem, b->rkey },
		}, *bad;

		fill(i & 1 ? a->mem : b->mem, len, i + w->nr);
		check_rc(ibv_post_send(a->qp, &wr, &bad), 0);
		check_msg(poll_one(a->cq[CQ_SEND], &wc, 20000 * test_slow()),
			  "worker %u, operation %u", w->nr, i);
		check_wc_at(__FILE__, __LINE__, &wc, i, IBV_WC_SUCCESS);
		check_fill(i & 1 ? b->mem : a->mem, len, i + w->nr);
	}
	return NULL;
}

static void many_qps_many_threads(void)
{
	struct end *ca = end_new(&plain, false, NULL);
	struct end *cb = end_new(&plain, false, NULL);
	struct worker w[4];
	unsigned int i;

	for (i = 0; i < 4; i++) {
		w[i].nr = i;
		w[i].p.a = end_new(&plain, false, ca);
		w[i].p.b = end_new(&plain, false, i & 1 ? ca : cb);
		end_connect(w[i].p.a, w[i].p.b);
		check_eq(pthread_create(&w[i].thread, NULL, work, &w[i]), 0);
	}
	for (i = 0; i < 4; i++)
		pthread_join(w[i].thread, NULL);
	for (i = 0; i < 4; i++) {
		end_free(w[i].p.a);
		end_free(w[i].p.b);
	}
	end_free(ca);
	end_free(cb);
}

/*
 * One thread posts, the other polls: what arrives at a queue pair while it is
 * posted to must be found, though nothing arrives after it.
 */
#define AT_ONCE	3

struct relay {
	struct crowd a, b;
	unsigned int rounds;
	unsigned int done;	/* completions polled; atomic */
};

static void *post_and_wait(void *arg)
{
	struct relay *r = arg;
	unsigned int i, k, round, posted = 0;

	for (round = 0; round < r->rounds; round++) {
		uint64_t until = now_ns() + 10000000000ull * test_slow();

		for (i = 0; i < r->a.n; i++)
			for (k = 0; k < AT_ONCE; k++, posted++)
				post_send(&r->a.e[i],
					  wr_rdma(r->a.hub, IBV_WR_RDMA_WRITE,
						  posted, 0, 16, r->b.hub, 0));
		while (__atomic_load_n(&r->done, __ATOMIC_ACQUIRE) < posted) {
			check_msg(now_ns() < until, "round %u: %u of %u complete",
				  round, __atomic_load_n(&r->done, __ATOMIC_RELAXED),
				  posted);
			sched_yield();
		}
	}
	return NULL;
}

static void poller_and_poster(void)
{
	static struct relay r;
	pthread_t poster;
	unsigned int all;
	struct ibv_wc wc;

	/* On one processor a round takes both a time slice. */
	r.rounds = (sysconf(_SC_NPROCESSORS_ONLN) > 1 ? 20000 : 500) / test_slow();
	crowd_open(&r.a, 4, WAIT_BUSY);
	crowd_open(&r.b, 4, WAIT_BUSY);
	crowd_connect(&r.a, &r.b);
	all = r.rounds * r.a.n * AT_ONCE;
	check_eq(pthread_create(&poster, NULL, post_and_wait, &r), 0);
	while (r.done < all) {
		int n = ibv_poll_cq(r.a.hub->cq[0], 1, &wc);

		check(n >= 0);
		if (!n)
			continue;
		check_eq(wc.status, IBV_WC_SUCCESS);
		__atomic_fetch_add(&r.done, 1, __ATOMIC_RELEASE);
	}
	pthread_join(poster, NULL);
	crowd_close(&r.a);
	crowd_close(&r.b);
}

/* Objects come and go all the time while others work in the same context. */
struct maker {
	struct end *keep;
	bool stop;
	unsigned int made;
	pthread_t thread;
};

static void *make_and_break(void *arg)
{
	struct maker *m = arg;
	struct opts o = plain;

	o.mem_bytes = 64 * KIB;
	while (!__atomic_load_n(&m->stop, __ATOMIC_RELAXED)) {
		struct end *a = end_new(&o, false, m->keep);
		struct end *b = end_new(&o, false, m->keep);
		struct ibv_wc wc;
		struct ibv_sge sge = { (uintptr_t)a->mem, 100, a->lkey };
		struct ibv_send_wr wr = {
			.sg_list = &sge, .num_sge = 1, .opcode = IBV_WR_RDMA_WRITE,
			.send_flags = IBV_SEND_SIGNALED,
			.wr.rdma = { (uintptr_t)b->mem, b->rkey },
		}, *bad;

		end_connect(a, b);
		check_rc(ibv_post_send(a->qp, &wr, &bad), 0);
		if (m->made % 4) {
			check(poll_one(a->cq[CQ_SEND], &wc, 20000 * test_slow()));
			check_eq(wc.status, IBV_WC_SUCCESS);
		}
		end_free(a);
		end_free(b);
		m->made++;
	}
	return NULL;
}

static void busy_context(void)
{
	struct end *ca = end_new(&plain, false, NULL);
	struct maker makers[2] = { { .keep = ca }, { .keep = ca } };
	struct worker w[2];
	unsigned int i;

	for (i = 0; i < 2; i++) {
		w[i].nr = i;
		w[i].p.a = end_new(&plain, false, ca);
		w[i].p.b = end_new(&plain, false, ca);
		end_connect(w[i].p.a, w[i].p.b);
		check_eq(pthread_create(&w[i].thread, NULL, work, &w[i]), 0);
		check_eq(pthread_create(&makers[i].thread, NULL, make_and_break,
					&makers[i]), 0);
	}
	for (i = 0; i < 2; i++)
		pthread_join(w[i].thread, NULL);
	for (i = 0; i < 2; i++) {
		__atomic_store_n(&makers[i].stop, true, __ATOMIC_RELAXED);
		pthread_join(makers[i].thread, NULL);
		test_note("%u pairs came and went", makers[i].made);
	}
	for (i = 0; i < 2; i++) {
		end_free(w[i].p.a);
		end_free(w[i].p.b);
	}
	end_free(ca);
}

/*
 * A post may be held back while another's acknowledgement is on its way; when that
 * comes at the same moment, somebody must send it all the same: nobody polls here.
 */
static void post_and_sleep(void)
{
	unsigned int i, n = 20000 / test_slow();
	struct pollfd pfd = { .events = POLLIN };
	struct rng r = { 4711 };
	struct opts o = plain;
	struct ibv_cq *cq;
	struct ibv_wc wc;
	struct pair p;
	void *data;

	o.waiting = WAIT_EVENT;
	pair_open(&p, TOPO_CONTEXTS, &o, NULL);
	for (i = 0; i < n; i++) {
		struct wr first = wr_rdma(p.a, IBV_WR_RDMA_WRITE, i, 0, 8, p.b, 0);
		volatile unsigned int spin = rng_below(&r, 40000);

		first.flags &= ~IBV_SEND_SIGNALED;
		check_rc(ibv_req_notify_cq(p.a->cq[CQ_SEND], 0), 0);
		post_send(p.a, first);
		while (spin--)
			;
		post_send(p.a, wr_rdma(p.a, IBV_WR_RDMA_WRITE, i, 0, 8, p.b, 0));
		pfd.fd = p.a->channel->fd;
		check_msg(poll(&pfd, 1, 5000 * test_slow()) == 1,
			  "round %u: asleep for ever", i);
		check_eq(ibv_get_cq_event(p.a->channel, &cq, &data), 0);
		ibv_ack_cq_events(cq, 1);
		check_eq(ibv_poll_cq(cq, 1, &wc), 1);
		check_wc_at(__FILE__, __LINE__, &wc, i, IBV_WC_SUCCESS);
	}
	pair_close(&p);
}

/* One thread polls a queue, another sleeps for its events. */
static void poll_and_sleep(void)
{
	struct opts o = plain;
	struct pair p;
	unsigned int i, n = 3000 / test_slow();
	struct ibv_wc wc;

	o.waiting = WAIT_EVENT;
	pair_open(&p, TOPO_CONTEXTS, &plain, &o);
	for (i = 0; i < n; i++) {
		post_recv(p.b, i, 0, 64);
		post_send(p.a, wr_make(p.a, IBV_WR_SEND, i, 0, 64));
		if (i % 3 == 0)
			expect_recv(p.b, i, IBV_WC_SUCCESS);	/* sleeps */
		else
			check(poll_one(p.b->cq[CQ_RECV], &wc, 20000 * test_slow()));
		expect_send(p.a, i, IBV_WC_SUCCESS);
	}
	pair_close(&p);
}

static const struct test_case cases[] = {
	CASE_LIMIT(many_qps, 60),
	CASE_LIMIT(many_qps_events, 60),
	CASE_LIMIT(connections_leave_nothing, 60),
	CASE_LIMIT(one_context_stays, 60),
	CASE_LIMIT(lonely_qps, 60),
	CASE(other_objects),
	CASE_LIMIT(one_qp_many_threads, 60),
	CASE_LIMIT(many_qps_many_threads, 60),
	CASE_LIMIT(poller_and_poster, 60),
	CASE_LIMIT(busy_context, 60),
	CASE_LIMIT(post_and_sleep, 60),
	CASE_LIMIT(poll_and_sleep, 60),
	CASES_END
};

int main(int argc, char **argv)
{
	return test_main(argc, argv, cases);
}
