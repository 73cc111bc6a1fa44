// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * srq.c - shared receive queues: sharing, order, limit, last WQE, resizing.
 */
#include "common.h"

#include <pthread.h>
#include <unistd.h>

#define SHARERS	4

static const struct opts plain = { .min_retry_ms = 1000 };

/* SHARERS QPs with one SRQ and one receive CQ, each with a peer. */
struct shared {
	struct end *hub;		/* owns SRQ, CQs, context */
	struct end *peer[SHARERS];
	struct ibv_qp *qp[SHARERS];
	struct end qp_end[SHARERS];	/* descriptions for connecting */
};

static void shared_open(struct shared *s, unsigned int srq_wr, bool processes)
{
	struct opts o = plain;
	unsigned int i;

	for (i = 0; i < SHARERS; i++)
		s->peer[i] = end_new(&plain, processes, NULL);
	o.srq_wr = srq_wr;
	o.min_rnr_timer = 12;		/* 640 us */
	s->hub = end_new(&o, false, NULL);
	for (i = 0; i < SHARERS; i++) {
		struct ibv_qp_init_attr init = {
			.send_cq = s->hub->cq[CQ_SEND],
			.recv_cq = s->hub->cq[CQ_RECV],
			.srq = s->hub->srq,
			.cap = { .max_send_wr = 16, .max_send_sge = 1 },
			.qp_type = IBV_QPT_RC,
		};

		s->qp[i] = ibv_create_qp(s->hub->pd, &init);
		check_msg(s->qp[i], "%m");
		s->qp_end[i] = *s->hub;
		s->qp_end[i].qp = s->qp[i];
		s->qp_end[i].qpn = s->qp[i]->qp_num;
		s->qp_end[i].psn = i;
		end_init(&s->qp_end[i]);
		end_connect(&s->qp_end[i], s->peer[i]);
	}
}

static void shared_close(struct shared *s)
{
	unsigned int i;

	for (i = 0; i < SHARERS; i++) {
		if (s->qp[i])
			check_rc(ibv_destroy_qp(s->qp[i]), 0);
		end_free(s->peer[i]);
	}
	end_free(s->hub);
}

/* Each receive is used once, by whoever comes; the oldest first. */
static void share_one(bool processes)
{
	struct shared s;
	unsigned int i, k, from[SHARERS] = { 0 };
	struct ibv_wc wc;

	test_context("processes %d", processes);
	shared_open(&s, 64, processes);
	for (i = 0; i < 64; i++)
		post_recv(s.hub, i, i * 256, 256);
	for (k = 0; k < 16; k++) {
		for (i = 0; i < SHARERS; i++) {
			fill(s.peer[i]->mem + k * 256, 100, i * 100 + k);
			post_send(s.peer[i], wr_make(s.peer[i], IBV_WR_SEND, k,
						     k * 256, 100));
		}
	}
	for (k = 0; k < 64; k++) {
		wait_wc(s.hub, CQ_RECV, &wc);
		check_eq(wc.status, IBV_WC_SUCCESS);
		check_eq(wc.byte_len, 100);
		for (i = 0; wc.qp_num != s.qp[i]->qp_num; i++)
			check(i < SHARERS - 1);
		check_eq(wc.src_qp, s.peer[i]->qpn);
		check_fill(s.hub->mem + wc.wr_id * 256, 100, i * 100 + from[i]++);
	}
	for (i = 0; i < SHARERS; i++)
		for (k = 0; k < 16; k++)
			expect_send(s.peer[i], k, IBV_WC_SUCCESS);
	shared_close(&s);
}

static void share(void)
{
	share_one(true);
	share_one(false);
}

/* Everybody waits for a receive; each one that comes lets one through. */
static void starving(void)
{
	struct shared s;
	struct ibv_wc wc;
	unsigned int i, k;

	shared_open(&s, 64, false);
	for (k = 0; k < 8; k++)
		for (i = 0; i < SHARERS; i++)
			post_send(s.peer[i], wr_make(s.peer[i], IBV_WR_SEND, k,
						     0, 64));
	expect_no_wc(s.hub, CQ_RECV, 20);
	for (k = 0; k < 8 * SHARERS; k++) {
		post_recv(s.hub, k, 0, 64);
		wait_wc(s.hub, CQ_RECV, &wc);
		check_wc_at(__FILE__, __LINE__, &wc, k, IBV_WC_SUCCESS);
	}
	for (i = 0; i < SHARERS; i++)
		for (k = 0; k < 8; k++)
			expect_send(s.peer[i], k, IBV_WC_SUCCESS);
	shared_close(&s);
}

/* ---- doorbells ---------------------------------------------------------- */

/* One of the port's; `rdma` knows them in every network namespace, sysfs does not. */
static uint64_t counter(const struct end *e, const char *name)
{
	unsigned long long n = 0;
	char command[128], word[64];
	bool found = false;
	FILE *f;

	snprintf(command, sizeof(command), "rdma statistic show link %s/1",
		 ibv_get_device_name(e->ctx->device));
	f = popen(command, "r");
	check_msg(f, "%s: %m", command);
	while (!found && fscanf(f, "%63s", word) == 1)
		found = !strcmp(word, name) && fscanf(f, "%llu", &n) == 1;
	while (fgetc(f) != EOF)
		;
	check_eq(pclose(f), 0);
	check_msg(found, "there is no %s", name);
	return n;
}

/* A message of @i's peer has found nothing to be received into. */
static void starve(struct shared *s, unsigned int i)
{
	uint64_t stalls = counter(s->hub, "rnr_stalls");
	uint64_t until = now_ns() + 5000000000ull * test_slow();

	post_send(s->peer[i], wr_make(s->peer[i], IBV_WR_SEND, 1, 0, 64));
	while (counter(s->hub, "rnr_stalls") == stalls)
		check(now_ns() < until);
}

/* How many doorbells ring when a receive is posted. */
static uint64_t rings_of_post(struct shared *s, uint64_t id)
{
	uint64_t before = counter(s->hub, "doorbells");

	post_recv(s->hub, id, 0, 64);
	return counter(s->hub, "doorbells") - before;
}

/* The message of @i's peer has arrived, in receive @id. */
static void fed(struct shared *s, unsigned int i, uint64_t id)
{
	struct ibv_wc wc;

	wait_wc(s->hub, CQ_RECV, &wc);
	check_wc_at(__FILE__, __LINE__, &wc, id, IBV_WC_SUCCESS);
	check_eq(wc.qp_num, s->qp[i]->qp_num);
	expect_send(s->peer[i], 1, IBV_WC_SUCCESS);
}

/* A post rings the doorbell if a queue pair waits for it, and only then. */
static void told_of_receives(void)
{
	struct ibv_srq_attr attr = { .max_wr = 200 };
	struct shared s;
	unsigned int i, k;

	shared_open(&s, 64, false);
	if (!s.hub->kernel)
		test_skip("no system calls to count in user mode");
	for (i = 0; i < 3 * SHARERS; i++) {
		starve(&s, i % SHARERS);
		if (i >= 2 * SHARERS)
			check_rc(ibv_modify_srq(s.hub->srq, &attr, IBV_SRQ_MAX_WR),
				 0);
		check_eq(rings_of_post(&s, i), 1);
		fed(&s, i % SHARERS, i);
		attr.max_wr += 100;
	}
	for (k = 0; k < 10; k++)
		check_eq(rings_of_post(&s, k), 0);
	/* A QP that goes while it waits leaves nothing to ring for. */
	for (k = 0; k < 10; k++) {
		post_send(s.peer[1], wr_make(s.peer[1], IBV_WR_SEND, 1, 0, 64));
		fed(&s, 1, k);
	}
	starve(&s, 0);
	check_rc(ibv_destroy_qp(s.qp[0]), 0);
	s.qp[0] = NULL;
	check_eq(rings_of_post(&s, 0), 0);
	shared_close(&s);
}

static void post_errors(void)
{
	struct shared s;
	struct ibv_recv_wr wr = { .wr_id = 1 }, *bad;
	struct ibv_srq_attr attr;
	unsigned int i;

	shared_open(&s, 16, false);
	/* A QP with an SRQ has no receive queue of its own. */
	check_rc(ibv_post_recv(s.qp[0], &wr, &bad), EINVAL);
	check(bad == &wr);
	check_rc(ibv_query_srq(s.hub->srq, &attr), 0);
	for (i = 0; i < attr.max_wr; i++)
		check_rc(ibv_post_srq_recv(s.hub->srq, &wr, &bad), 0);
	check_rc(ibv_post_srq_recv(s.hub->srq, &wr, &bad), ENOMEM);
	wr.num_sge = 33;
	check_rc(ibv_post_srq_recv(s.hub->srq, &wr, &bad), EINVAL);
	shared_close(&s);
}

/* ---- limit -------------------------------------------------------------- */

static void set_limit(struct end *hub, unsigned int limit)
{
	struct ibv_srq_attr attr = { .srq_limit = limit };

	check_rc(ibv_modify_srq(hub->srq, &attr, IBV_SRQ_LIMIT), 0);
}

static void use_one(struct shared *s, unsigned int i)
{
	struct ibv_wc wc;

	post_send(s->peer[i], wr_make(s->peer[i], IBV_WR_SEND, 1, 0, 8));
	expect_send(s->peer[i], 1, IBV_WC_SUCCESS);
	wait_wc(s->hub, CQ_RECV, &wc);
	check_eq(wc.status, IBV_WC_SUCCESS);
}

/* One event when fewer than the limit are left; then none until set again. */
static void limit(void)
{
	struct ibv_srq_attr attr;
	struct shared s;
	unsigned int i;

	shared_open(&s, 32, false);
	for (i = 0; i < 10; i++)
		post_recv(s.hub, i, 0, 64);
	set_limit(s.hub, 8);
	use_one(&s, 0);				/* 9 are left */
	use_one(&s, 1);				/* 8 */
	check_eq(wait_event_ms(s.hub, 10), -1);
	use_one(&s, 2);				/* 7 */
	expect_event(s.hub, IBV_EVENT_SRQ_LIMIT_REACHED);
	use_one(&s, 3);
	use_one(&s, 0);
	check_eq(wait_event_ms(s.hub, 10), -1);
	check_rc(ibv_query_srq(s.hub->srq, &attr), 0);
	check_eq(attr.srq_limit, 0);
	set_limit(s.hub, 5);			/* 5 are left */
	use_one(&s, 1);
	expect_event(s.hub, IBV_EVENT_SRQ_LIMIT_REACHED);
	/* Unread when the queue goes: nobody waits for it. */
	set_limit(s.hub, 4);
	use_one(&s, 2);
	shared_close(&s);
}

/* ---- last WQE ----------------------------------------------------------- */

/* The receives stay with the queue; the event says that this QP takes no more. */
static void last_wqe(void)
{
	struct shared s;
	struct ibv_qp_attr err = { .qp_state = IBV_QPS_ERR };
	struct ibv_async_event event;
	unsigned int i;

	shared_open(&s, 16, false);
	for (i = 0; i < 10; i++)
		post_recv(s.hub, i, 0, 64);
	use_one(&s, 0);
	check_rc(ibv_modify_qp(s.qp[0], &err, IBV_QP_STATE), 0);
	check_eq(ibv_get_async_event(s.hub->ctx, &event), 0);
	check_eq(event.event_type, IBV_EVENT_QP_LAST_WQE_REACHED);
	check(event.element.qp == s.qp[0]);
	ibv_ack_async_event(&event);
	expect_no_wc(s.hub, CQ_RECV, 10);
	/* Again changes nothing. */
	check_rc(ibv_modify_qp(s.qp[0], &err, IBV_QP_STATE), 0);
	check_eq(wait_event_ms(s.hub, 10), -1);
	for (i = 1; i < SHARERS; i++)
		use_one(&s, i);
	/* An error that the peer brings about, too, after its own event. */
	{
		struct wr wr = wr_rdma(s.peer[1], IBV_WR_RDMA_WRITE, 1, 0, 8,
				       s.hub, 0);
		bool last = false, access = false;

		wr.rkey = 5;
		post_send(s.peer[1], wr);
		expect_send(s.peer[1], 1, IBV_WC_REM_ACCESS_ERR);
		for (i = 0; i < 2; i++) {
			check_eq(ibv_get_async_event(s.hub->ctx, &event), 0);
			check(event.element.qp == s.qp[1]);
			last |= event.event_type == IBV_EVENT_QP_LAST_WQE_REACHED;
			access |= event.event_type == IBV_EVENT_QP_ACCESS_ERR;
			ibv_ack_async_event(&event);
		}
		check(last && access);
	}
	use_one(&s, 2);
	shared_close(&s);
}

/* The event of a QP that breaks in the middle of a message. */
static void broken_message(void)
{
	struct shared s;
	struct ibv_async_event event;
	struct ibv_wc wc;
	struct wr r;

	shared_open(&s, 16, false);
	r = wr_make(s.hub, 0, 5, 0, 10);
	check_rc(try_post_recv(s.hub, &r), 0);
	post_send(s.peer[0], wr_make(s.peer[0], IBV_WR_SEND, 1, 0, 500000));
	expect_send(s.peer[0], 1, IBV_WC_REM_INV_REQ_ERR);
	wait_wc(s.hub, CQ_RECV, &wc);
	check_wc_at(__FILE__, __LINE__, &wc, 5, IBV_WC_LOC_LEN_ERR);
	check_eq(ibv_get_async_event(s.hub->ctx, &event), 0);
	check_eq(event.event_type, IBV_EVENT_QP_LAST_WQE_REACHED);
	ibv_ack_async_event(&event);
	post_recv(s.hub, 6, 0, 64);
	use_one(&s, 1);
	shared_close(&s);
}

/* ---- resizing ----------------------------------------------------------- */

static void resize(void)
{
	static const unsigned int to[] = { 100, 30, 500, 24, 64, 21 };
	struct ibv_srq_attr attr;
	struct shared s;
	struct ibv_wc wc;
	unsigned int i, k, next = 0, done = 0;

	shared_open(&s, 32, false);
	for (i = 0; i < 40; i++) {
		while (next - done < 20) {
			post_recv(s.hub, next, 0, 64);
			next++;
		}
		attr.max_wr = 19;
		check_rc(ibv_modify_srq(s.hub->srq, &attr, IBV_SRQ_MAX_WR), EINVAL);
		attr.max_wr = to[i % ARRAY_SIZE(to)];
		check_rc(ibv_modify_srq(s.hub->srq, &attr, IBV_SRQ_MAX_WR), 0);
		check_rc(ibv_query_srq(s.hub->srq, &attr), 0);
		check(attr.max_wr >= to[i % ARRAY_SIZE(to)]);
		for (k = 0; k < 7; k++, done++) {
			post_send(s.peer[0], wr_make(s.peer[0], IBV_WR_SEND, 1, 0, 8));
			expect_send(s.peer[0], 1, IBV_WC_SUCCESS);
			wait_wc(s.hub, CQ_RECV, &wc);
			check_wc_at(__FILE__, __LINE__, &wc, done, IBV_WC_SUCCESS);
		}
	}
	shared_close(&s);
}

struct traffic {
	struct end *e;
	unsigned int n;
	pthread_t thread;
};

static void *send_many(void *arg)
{
	struct traffic *t = arg;
	struct ibv_wc wc;
	unsigned int i;

	for (i = 0; i < t->n; i++) {
		struct ibv_sge sge = {
			.addr = (uintptr_t)t->e->mem, .length = 8, .lkey = t->e->lkey,
		};
		struct ibv_send_wr wr = {
			.wr_id = i, .sg_list = &sge, .num_sge = 1,
			.opcode = IBV_WR_SEND, .send_flags = IBV_SEND_SIGNALED,
		}, *bad;

		check_rc(ibv_post_send(t->e->qp, &wr, &bad), 0);
		check(poll_one(t->e->cq[CQ_SEND], &wc, 20000 * test_slow()));
		check_eq(wc.status, IBV_WC_SUCCESS);
	}
	return NULL;
}

/* Resized and filled while four peers empty it. */
static void resize_busy(void)
{
	struct traffic t[SHARERS];
	unsigned int i, posted = 0, done = 0, total;
	struct rng r = { 4 };
	struct shared s;
	struct ibv_wc wc;

	shared_open(&s, 64, false);
	for (i = 0; i < SHARERS; i++) {
		t[i].e = s.peer[i];
		t[i].n = 1500 / test_slow();
		check_eq(pthread_create(&t[i].thread, NULL, send_many, &t[i]), 0);
	}
	total = SHARERS * t[0].n;
	while (done < total) {
		while (posted < total && posted - done < 40) {
			post_recv(s.hub, posted, 0, 64);
			posted++;
		}
		if (!rng_below(&r, 20)) {
			struct ibv_srq_attr attr = {
				.max_wr = 40 + rng_below(&r, 1000)
			};

			check_rc(ibv_modify_srq(s.hub->srq, &attr, IBV_SRQ_MAX_WR),
				 0);
		}
		if (wait_wc_ms(s.hub, CQ_RECV, &wc, 1)) {
			check_eq(wc.status, IBV_WC_SUCCESS);
			done++;
		}
	}
	for (i = 0; i < SHARERS; i++)
		pthread_join(t[i].thread, NULL);
	shared_close(&s);
}

/* ---- protection domains ------------------------------------------------- */

/* Keys of receives belong to the SRQ's domain, not to the QP's (IB 10.2.9.1). */
static void other_domain(void)
{
	struct opts o = plain;
	struct end *hub, *peer = end_new(&plain, false, NULL);
	struct ibv_qp_init_attr init = {
		.cap = { .max_send_wr = 4, .max_send_sge = 1 },
		.qp_type = IBV_QPT_RC,
	};

	o.srq_wr = 16;
	hub = end_new(&o, false, NULL);
	hub->more_pd = ibv_alloc_pd(hub->ctx);
	check_rc(ibv_destroy_qp(hub->qp), 0);
	init.send_cq = hub->cq[0];
	init.recv_cq = hub->cq[1];
	init.srq = hub->srq;
	hub->qp = ibv_create_qp(hub->more_pd, &init);
	check_msg(hub->qp, "%m");
	hub->qpn = hub->qp->qp_num;
	end_init(hub);
	end_connect(hub, peer);
	post_recv(hub, 1, 0, 64);
	fill(peer->mem, 64, 9);
	post_send(peer, wr_make(peer, IBV_WR_SEND, 2, 0, 64));
	expect_send(peer, 2, IBV_WC_SUCCESS);
	expect_recv(hub, 1, IBV_WC_SUCCESS);
	check_fill(hub->mem, 64, 9);
	check_rc(ibv_destroy_qp(hub->qp), 0);
	hub->qp = NULL;
	end_free(hub);
	end_free(peer);
}

static const struct test_case cases[] = {
	CASE(share),
	CASE(starving),
	CASE(told_of_receives),
	CASE(post_errors),
	CASE(limit),
	CASE(last_wqe),
	CASE(broken_message),
	CASE(resize),
	CASE(resize_busy),
	CASE(other_domain),
	CASES_END
};

int main(int argc, char **argv)
{
	return test_main(argc, argv, cases);
}
