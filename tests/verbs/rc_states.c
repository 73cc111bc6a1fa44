// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * rc_states.c - the states of a queue pair: transitions and attributes, flush,
 * draining, RTR alone, orders of setting up, RESET and using again, events.
 */
#include "common.h"

#include <pthread.h>
#include <sched.h>
#include <unistd.h>

static const struct opts base = { .min_retry_ms = 300 };

/* ---- transitions -------------------------------------------------------- */

#define INIT_MASK (IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | \
		   IBV_QP_ACCESS_FLAGS)
#define RTR_MASK (IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN | \
		  IBV_QP_RQ_PSN | IBV_QP_MAX_DEST_RD_ATOMIC | \
		  IBV_QP_MIN_RNR_TIMER)
#define RTS_MASK (IBV_QP_STATE | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | \
		  IBV_QP_RNR_RETRY | IBV_QP_SQ_PSN | IBV_QP_MAX_QP_RD_ATOMIC)

/* A valid value for everything. */
static struct ibv_qp_attr all_attrs(struct end *e, enum ibv_qp_state to)
{
	struct ibv_qp_attr rtr, rts;
	int mask;

	end_rtr_attr(e, e, &rtr, &mask);
	end_rts_attr(e, &rts, &mask);
	rtr.timeout = rts.timeout;
	rtr.retry_cnt = rts.retry_cnt;
	rtr.rnr_retry = rts.rnr_retry;
	rtr.sq_psn = rts.sq_psn;
	rtr.max_rd_atomic = rts.max_rd_atomic;
	rtr.port_num = 1;
	rtr.path_mig_state = IBV_MIG_MIGRATED;
	rtr.qp_access_flags = ACCESS_ALL;
	rtr.qp_state = to;
	return rtr;
}

/* The mask with which @from goes to @to; 0: never. */
static int mask_of(enum ibv_qp_state from, enum ibv_qp_state to)
{
	if (to == IBV_QPS_RESET)
		return IBV_QP_STATE;
	if (to == IBV_QPS_ERR)
		return from == IBV_QPS_RESET ? 0 : IBV_QP_STATE;
	if (to == IBV_QPS_INIT)
		return from == IBV_QPS_RESET ? INIT_MASK :
		       from == IBV_QPS_INIT ? IBV_QP_STATE : 0;
	if (to == IBV_QPS_RTR)
		return from == IBV_QPS_INIT ? RTR_MASK : 0;
	if (to == IBV_QPS_RTS)
		return from == IBV_QPS_RTR ? RTS_MASK :
		       from == IBV_QPS_RTS || from == IBV_QPS_SQD ? IBV_QP_STATE : 0;
	if (to == IBV_QPS_SQD)
		return from == IBV_QPS_RTS || from == IBV_QPS_SQD ? IBV_QP_STATE : 0;
	return 0;
}

static void bring_to(struct end *e, enum ibv_qp_state state)
{
	end_state(e, IBV_QPS_RESET);
	if (state == IBV_QPS_RESET)
		return;
	end_init(e);
	if (state == IBV_QPS_ERR)
		end_state(e, IBV_QPS_ERR);
	if (state == IBV_QPS_INIT || state == IBV_QPS_ERR)
		return;
	end_rtr(e, e);
	if (state == IBV_QPS_RTR)
		return;
	end_rts(e);
	if (state == IBV_QPS_SQD)
		end_state(e, IBV_QPS_SQD);
}

static const enum ibv_qp_state states[] = {
	IBV_QPS_RESET, IBV_QPS_INIT, IBV_QPS_RTR, IBV_QPS_RTS, IBV_QPS_SQD,
	IBV_QPS_SQE, IBV_QPS_ERR
};

/* Every pair of states, with every possible mask that might do. */
static void transitions(void)
{
	static const int masks[] = {
		IBV_QP_STATE, INIT_MASK, RTR_MASK, RTS_MASK
	};
	struct end *e = end_new(&base, false, NULL);
	unsigned int i, k, m;

	for (i = 0; i < ARRAY_SIZE(states); i++) {
		if (states[i] == IBV_QPS_SQE)
			continue;	/* RC is never in it */
		for (k = 0; k < ARRAY_SIZE(states); k++) {
			for (m = 0; m < ARRAY_SIZE(masks); m++) {
				struct ibv_qp_attr attr = all_attrs(e, states[k]);
				int right = mask_of(states[i], states[k]), rc;
				bool ok = right == masks[m];

				/* These may change with the state kept. */
				ok |= states[i] == states[k] &&
				      (states[i] == IBV_QPS_INIT ||
				       states[i] == IBV_QPS_SQD) &&
				      masks[m] == INIT_MASK;
				test_context("state %d to %d, mask 0x%x", states[i],
					     states[k], masks[m]);
				bring_to(e, states[i]);
				rc = end_modify(e, &attr, masks[m]);
				check_rc(rc, ok ? 0 : EINVAL);
				check_eq(end_query_state(e),
					 ok ? states[k] : states[i]);
			}
		}
	}
	end_free(e);
}

/* Each attribute that a transition requires is really required. */
static void required_attrs(void)
{
	static const struct {
		enum ibv_qp_state from, to;
		int mask;
	} steps[] = {
		{ IBV_QPS_RESET, IBV_QPS_INIT, INIT_MASK },
		{ IBV_QPS_INIT, IBV_QPS_RTR, RTR_MASK },
		{ IBV_QPS_RTR, IBV_QPS_RTS, RTS_MASK },
	};
	struct end *e = end_new(&base, false, NULL);
	unsigned int i;
	int bit;

	for (i = 0; i < ARRAY_SIZE(steps); i++) {
		for (bit = 1; bit < 1 << 21; bit <<= 1) {
			struct ibv_qp_attr attr = all_attrs(e, steps[i].to);

			if (bit == IBV_QP_STATE || !(steps[i].mask & bit))
				continue;
			test_context("to state %d without 0x%x", steps[i].to, bit);
			bring_to(e, steps[i].from);
			check_rc(end_modify(e, &attr, steps[i].mask & ~bit), EINVAL);
			check_eq(end_query_state(e), steps[i].from);
			check_rc(end_modify(e, &attr, steps[i].mask), 0);
		}
	}
	end_free(e);
}

/* Values that cannot be. */
static void bad_values(void)
{
	struct end *e = end_new(&base, false, NULL);
	struct ibv_qp_attr a;

#define BAD_VALUE(state_, mask_, what_)					\
	do {								\
		bring_to(e, state_ == IBV_QPS_INIT ? IBV_QPS_RESET :	\
			 state_ == IBV_QPS_RTR ? IBV_QPS_INIT :		\
			 IBV_QPS_RTR);					\
		a = all_attrs(e, state_);				\
		what_;							\
		test_context("%s", #what_);				\
		check_rc(end_modify(e, &a, mask_), EINVAL);		\
	} while (0)

	BAD_VALUE(IBV_QPS_INIT, INIT_MASK, a.port_num = 0);
	BAD_VALUE(IBV_QPS_INIT, INIT_MASK, a.port_num = 2);
	BAD_VALUE(IBV_QPS_INIT, INIT_MASK, a.pkey_index = 1);
	BAD_VALUE(IBV_QPS_INIT, INIT_MASK, a.qp_access_flags = 1 << 15);
	BAD_VALUE(IBV_QPS_RTR, RTR_MASK, a.dest_qp_num = 1 << 24);
	BAD_VALUE(IBV_QPS_RTR, RTR_MASK, a.path_mtu = 0);
	BAD_VALUE(IBV_QPS_RTR, RTR_MASK, a.path_mtu = 6);
	BAD_VALUE(IBV_QPS_RTR, RTR_MASK, a.min_rnr_timer = 32);
	BAD_VALUE(IBV_QPS_RTR, RTR_MASK, a.max_dest_rd_atomic = 129);
	BAD_VALUE(IBV_QPS_RTR, RTR_MASK, a.ah_attr.is_global = 0);
	BAD_VALUE(IBV_QPS_RTR, RTR_MASK, a.ah_attr.port_num = 2);
	BAD_VALUE(IBV_QPS_RTR, RTR_MASK, a.ah_attr.grh.sgid_index = 15);
	BAD_VALUE(IBV_QPS_RTR, RTR_MASK, a.ah_attr.grh.sgid_index = 255);
	BAD_VALUE(IBV_QPS_RTR, RTR_MASK,
		  memset(&a.ah_attr.grh.dgid, 0, sizeof(a.ah_attr.grh.dgid)));
	BAD_VALUE(IBV_QPS_RTS, RTS_MASK, a.timeout = 32);
	BAD_VALUE(IBV_QPS_RTS, RTS_MASK, a.retry_cnt = 8);
	BAD_VALUE(IBV_QPS_RTS, RTS_MASK, a.rnr_retry = 8);
	BAD_VALUE(IBV_QPS_RTS, RTS_MASK, a.max_rd_atomic = 129);
	BAD_VALUE(IBV_QPS_RTS, RTS_MASK | IBV_QP_CUR_STATE,
		  a.cur_qp_state = IBV_QPS_RTS);
	/* Rights that are not used here are known nevertheless. */
	bring_to(e, IBV_QPS_RESET);
	a = all_attrs(e, IBV_QPS_INIT);
	a.qp_access_flags |= IBV_ACCESS_MW_BIND | IBV_ACCESS_RELAXED_ORDERING |
			     1 << 8 | 1 << 9;	/* IBV_ACCESS_FLUSH_* */
	check_rc(end_modify(e, &a, INIT_MASK), 0);
	/* A random PSN is cut to 24 bits, as programs expect. */
	bring_to(e, IBV_QPS_INIT);
	a = all_attrs(e, IBV_QPS_RTR);
	a.rq_psn = 0xab123456;
	check_rc(end_modify(e, &a, RTR_MASK), 0);
	end_free(e);
}

/* What was set is what is told. */
static void query(void)
{
	struct opts o = base;
	struct ibv_qp_init_attr init;
	struct ibv_qp_attr a;
	struct pair p;
	uint32_t rq_psn;
	int i;

	o.send_wr = 100;
	o.recv_wr = 50;
	o.send_sge = 3;
	o.recv_sge = 2;
	o.inline_bytes = 100;
	o.timeout = 11;
	o.retry_cnt = 3;
	o.rnr_retry = 2;
	o.min_rnr_timer = 13;
	o.rd_atomic = 5;
	o.dest_rd_atomic = 6;
	pair_open(&p, TOPO_CONTEXT, &o, NULL);
	check_rc(ibv_query_qp(p.a->qp, &a, 0x1fffff, &init), 0);
	check_eq(a.qp_state, IBV_QPS_RTS);
	check_eq(a.cur_qp_state, IBV_QPS_RTS);
	check_eq(a.path_mtu, IBV_MTU_1024);
	check_eq(a.dest_qp_num, p.b->qpn);
	check_eq(a.rq_psn, p.b->psn);
	check_eq(a.sq_psn, p.a->psn);
	check_eq(a.timeout, 11);
	check_eq(a.retry_cnt, 3);
	check_eq(a.rnr_retry, 2);
	check_eq(a.min_rnr_timer, 13);
	check_eq(a.max_rd_atomic, 5);
	check_eq(a.max_dest_rd_atomic, 6);
	check_eq(a.port_num, 1);
	check_eq(a.pkey_index, 0);
	check_eq(a.qp_access_flags, ACCESS_ALL);
	check_eq(a.ah_attr.is_global, 1);
	check(!memcmp(&a.ah_attr.grh.dgid, &p.b->gid, 16));
	check_eq(a.sq_draining, 0);
	check(a.cap.max_send_wr >= 100 && a.cap.max_recv_wr >= 50);
	check(a.cap.max_send_sge >= 3 && a.cap.max_recv_sge >= 2);
	check(a.cap.max_inline_data >= 100);
	check(init.send_cq == p.a->cq[0] && init.recv_cq == p.a->cq[1]);
	check(!init.srq && init.qp_type == IBV_QPT_RC && !init.sq_sig_all);
	/* The numbers go on with the messages. */
	rq_psn = a.rq_psn;
	for (i = 0; i < 3; i++) {
		post_recv(p.a, i, 0, 8);
		post_send(p.b, wr_make(p.b, IBV_WR_SEND, i, 0, 8));
		expect_recv(p.a, i, IBV_WC_SUCCESS);
	}
	check_rc(ibv_query_qp(p.a->qp, &a, IBV_QP_RQ_PSN, &init), 0);
	check_eq(a.rq_psn, (rq_psn + 3) & 0xffffff);
	pair_close(&p);
}

/* ---- posting in each state ---------------------------------------------- */

static void post_states(void)
{
	struct end *e = end_new(&base, false, NULL);
	struct wr wr = wr_make(e, IBV_WR_SEND, 1, 0, 8);

	bring_to(e, IBV_QPS_RESET);
	check_rc(try_post_send(e, &wr), EINVAL);
	check_rc(try_post_recv(e, &wr), EINVAL);
	bring_to(e, IBV_QPS_INIT);
	check_rc(try_post_send(e, &wr), EINVAL);
	check_rc(try_post_recv(e, &wr), 0);
	bring_to(e, IBV_QPS_RTR);
	check_rc(try_post_send(e, &wr), EINVAL);
	check_rc(try_post_recv(e, &wr), 0);
	bring_to(e, IBV_QPS_ERR);
	check_rc(try_post_send(e, &wr), 0);
	expect_send(e, 1, IBV_WC_WR_FLUSH_ERR);
	check_rc(try_post_recv(e, &wr), 0);
	expect_recv(e, 1, IBV_WC_WR_FLUSH_ERR);
	end_free(e);
}

/* ---- ERR ---------------------------------------------------------------- */

/* Everything that is posted comes back once, in order, signaled or not. */
static void flush_one(enum topo t, bool one_cq, enum waiting waiting)
{
	struct opts o = base;
	unsigned int send = 0, recv = 0;
	struct ibv_wc wc;
	struct pair p;
	int i;

	o.one_cq = one_cq;
	o.waiting = waiting;
	o.min_rnr_timer = 20;
	test_context("%s, one CQ %d, waiting %d", topo_name(t), one_cq, waiting);
	pair_open(&p, t, &o, NULL);
	for (i = 0; i < 100; i++)
		post_recv(p.a, 1000 + i, 0, 64);
	for (i = 0; i < 100; i++) {
		struct wr wr = wr_make(p.a, IBV_WR_SEND, i, 0, 5000);

		if (i % 3)
			wr.flags = 0;
		post_send(p.a, wr);	/* there is no receive */
	}
	end_state(p.a, IBV_QPS_ERR);
	while (send + recv < 200) {
		wait_wc(p.a, one_cq ? CQ_SEND : send < 100 ? CQ_SEND : CQ_RECV,
			&wc);
		check_eq(wc.status, IBV_WC_WR_FLUSH_ERR);
		check_eq(wc.qp_num, p.a->qpn);
		if (wc.wr_id < 1000)
			check_eq(wc.wr_id, send++);
		else
			check_eq(wc.wr_id, 1000 + recv++);
	}
	/* Later ones, too. */
	for (i = 0; i < 300; i++) {
		post_send(p.a, wr_make(p.a, IBV_WR_SEND, i, 0, 8));
		expect_send(p.a, i, IBV_WC_WR_FLUSH_ERR);
		post_recv(p.a, i, 0, 8);
		expect_recv(p.a, i, IBV_WC_WR_FLUSH_ERR);
	}
	expect_no_wc(p.a, CQ_SEND, 1);
	expect_no_wc(p.a, CQ_RECV, 1);
	pair_close(&p);
}

static void flush_order(void)
{
	flush_one(TOPO_CONTEXT, false, WAIT_BUSY);
	flush_one(TOPO_CONTEXTS, true, WAIT_BUSY);
	flush_one(TOPO_PROCESSES, false, WAIT_LAZY);
	flush_one(TOPO_PROCESSES, true, WAIT_EVENT);
}

/* From INIT, from RTR; and again from ERR, which changes nothing. */
static void flush_early(void)
{
	struct end *e = end_new(&base, false, NULL);
	int i, k;

	for (i = 0; i < 2; i++) {
		bring_to(e, i ? IBV_QPS_RTR : IBV_QPS_INIT);
		for (k = 0; k < 20; k++)
			post_recv(e, k, 0, 8);
		end_state(e, IBV_QPS_ERR);
		for (k = 0; k < 20; k++)
			expect_recv(e, k, IBV_WC_WR_FLUSH_ERR);
		end_state(e, IBV_QPS_ERR);
		expect_no_wc(e, CQ_RECV, 1);
	}
	end_free(e);
}

/*
 * A receive posted at the same moment as the change to ERR: whoever comes
 * second sees the first.
 */
struct racer {
	struct end *e;
	unsigned int round;	/* both start with it */
	unsigned int rounds;
};

/* Both at the same moment; but the other one may need this processor to get there. */
static void race_wait(void)
{
	static __thread unsigned int spins;

	if (++spins % 1024 == 0)
		sched_yield();
}

static void *race_post(void *arg)
{
	struct racer *r = arg;
	unsigned int i;

	for (i = 1; i <= r->rounds; i++) {
		while (__atomic_load_n(&r->round, __ATOMIC_ACQUIRE) != i)
			race_wait();
		post_recv(r->e, i, 0, 8);
		__atomic_store_n(&r->round, 0, __ATOMIC_RELEASE);
	}
	return NULL;
}

static void flush_race(void)
{
	struct racer r = { .rounds = 20000 / test_slow() };
	struct ibv_qp_attr err = { .qp_state = IBV_QPS_ERR };
	pthread_t thread;
	unsigned int i;

	r.e = end_new(&base, false, NULL);
	check_eq(pthread_create(&thread, NULL, race_post, &r), 0);
	for (i = 1; i <= r.rounds; i++) {
		bring_to(r.e, IBV_QPS_INIT);
		__atomic_store_n(&r.round, i, __ATOMIC_RELEASE);
		check_rc(ibv_modify_qp(r.e->qp, &err, IBV_QP_STATE), 0);
		while (__atomic_load_n(&r.round, __ATOMIC_ACQUIRE))
			race_wait();
		expect_recv(r.e, i, IBV_WC_WR_FLUSH_ERR);
	}
	pthread_join(thread, NULL);
	end_free(r.e);
}

/* ---- SQD ---------------------------------------------------------------- */

static void drain_one(enum topo t, bool notify)
{
	struct opts o = base;
	struct ibv_qp_attr attr = {
		.qp_state = IBV_QPS_SQD, .en_sqd_async_notify = notify,
	};
	struct wr begun[5];
	struct pair p;
	int i;

	test_context("%s, notify %d", topo_name(t), notify);
	o.min_rnr_timer = 18;		/* 5.12 ms */
	pair_open(&p, t, &o, NULL);
	post_send(p.a, wr_rdma(p.a, IBV_WR_RDMA_WRITE, 99, 0, 8, p.b, 0));
	expect_send(p.a, 99, IBV_WC_SUCCESS);
	/*
	 * Begun, and cannot end before the peer receives. In one call: what is
	 * posted after an RNR NAK waits, and would not have begun.
	 */
	for (i = 0; i < 5; i++)
		begun[i] = wr_make(p.a, IBV_WR_SEND, i, 0, 8);
	post_send_list(p.a, begun, 5);
	expect_no_wc(p.a, CQ_SEND, 20);
	check_rc(end_modify(p.a, &attr, IBV_QP_STATE |
			    IBV_QP_EN_SQD_ASYNC_NOTIFY), 0);
	/* These wait until RTS. */
	for (i = 5; i < 10; i++)
		post_send(p.a, wr_make(p.a, IBV_WR_SEND, i, 0, 8));
	for (i = 0; i < 10; i++)
		post_recv(p.b, i, 0, 8);
	check_eq(end_query_state(p.a), IBV_QPS_SQD);
	for (i = 0; i < 5; i++)
		expect_send(p.a, i, IBV_WC_SUCCESS);
	if (notify)
		expect_event(p.a, IBV_EVENT_SQ_DRAINED);
	check_eq(wait_event_ms(p.a, 20), -1);
	expect_no_wc(p.a, CQ_SEND, 20);
	/* It receives and answers all the while. */
	post_recv(p.a, 50, 0, 8);
	post_send(p.b, wr_make(p.b, IBV_WR_SEND, 51, 0, 8));
	expect_send(p.b, 51, IBV_WC_SUCCESS);
	expect_recv(p.a, 50, IBV_WC_SUCCESS);
	end_state(p.a, IBV_QPS_RTS);
	for (i = 5; i < 10; i++)
		expect_send(p.a, i, IBV_WC_SUCCESS);
	for (i = 0; i < 10; i++)
		expect_recv(p.b, i, IBV_WC_SUCCESS);
	pair_close(&p);
}

static void drain(void)
{
	drain_one(TOPO_CONTEXT, true);
	drain_one(TOPO_CONTEXTS, false);
	drain_one(TOPO_PROCESSES, true);
}

/* Nothing to drain: the event comes at once. And ERR out of SQD flushes. */
static void drain_idle(void)
{
	struct ibv_qp_attr attr = {
		.qp_state = IBV_QPS_SQD, .en_sqd_async_notify = 1,
	};
	struct ibv_qp_init_attr init;
	struct pair p;

	pair_open(&p, TOPO_CONTEXTS, &base, NULL);
	check_rc(end_modify(p.a, &attr, IBV_QP_STATE |
			    IBV_QP_EN_SQD_ASYNC_NOTIFY), 0);
	expect_event(p.a, IBV_EVENT_SQ_DRAINED);
	check_rc(ibv_query_qp(p.a->qp, &attr, IBV_QP_STATE, &init), 0);
	check_eq(attr.sq_draining, 0);
	post_send(p.a, wr_make(p.a, IBV_WR_SEND, 1, 0, 8));
	expect_no_wc(p.a, CQ_SEND, 20);
	end_state(p.a, IBV_QPS_ERR);
	expect_send(p.a, 1, IBV_WC_WR_FLUSH_ERR);
	pair_close(&p);
}

/* ---- setting up --------------------------------------------------------- */

/* One side only, as a perftest bandwidth server; then it sends, too. */
static void rtr_alone_one(enum topo t, bool swap)
{
	struct end *sender, *receiver;
	struct pair p;
	struct wr wr;

	test_context("%s, swapped %d", topo_name(t), swap);
	pair_open_init(&p, t, &base, NULL);
	sender = swap ? p.b : p.a;
	receiver = swap ? p.a : p.b;
	end_rtr(receiver, sender);
	post_recv(receiver, 1, 4096, 64);
	end_rtr(sender, receiver);
	end_rts(sender);
	fill(sender->mem, 64, 3);
	post_send(sender, wr_make(sender, IBV_WR_SEND, 2, 0, 64));
	expect_send(sender, 2, IBV_WC_SUCCESS);
	expect_recv(receiver, 1, IBV_WC_SUCCESS);
	expect_event(receiver, IBV_EVENT_COMM_EST);
	check_fill(receiver->mem + 4096, 64, 3);
	post_send(sender, wr_rdma(sender, IBV_WR_RDMA_READ, 3, 0, 64, receiver,
				  4096));
	post_send(sender, wr_fetch_add(sender, 4, 0, receiver, 8192, 1));
	expect_send(sender, 3, IBV_WC_SUCCESS);
	expect_send(sender, 4, IBV_WC_SUCCESS);
	wr = wr_make(receiver, IBV_WR_SEND, 5, 0, 8);
	check_rc(try_post_send(receiver, &wr), EINVAL);
	check_eq(end_query_state(receiver), IBV_QPS_RTR);
	end_rts(receiver);
	post_recv(sender, 6, 0, 64);
	post_send(receiver, wr);
	expect_send(receiver, 5, IBV_WC_SUCCESS);
	expect_recv(sender, 6, IBV_WC_SUCCESS);
	check_eq(wait_event_ms(receiver, 1), -1);
	pair_close(&p);
}

static void rtr_alone(void)
{
	int t;

	for (t = TOPO_CONTEXT; t < TOPOS; t++) {
		rtr_alone_one(t, false);
		rtr_alone_one(t, true);
	}
}

/* One is ready and posts long before the other has moved. */
static void late_peer_one(enum topo t, bool swap, unsigned int ms)
{
	struct opts o = { .min_retry_ms = 5000 };
	struct end *early, *late;
	struct pair p;

	test_context("%s, swapped %d, %u ms", topo_name(t), swap, ms);
	pair_open_init(&p, t, &o, NULL);
	early = swap ? p.b : p.a;
	late = swap ? p.a : p.b;
	end_rtr(early, late);
	end_rts(early);
	post_send(early, wr_rdma(early, IBV_WR_RDMA_WRITE, 1, 0, 64, late, 4096));
	post_send(early, wr_make(early, IBV_WR_SEND, 2, 0, 64));
	sleep_ms(ms);
	post_recv(late, 3, 0, 64);
	end_rtr(late, early);
	expect_send(early, 1, IBV_WC_SUCCESS);
	expect_send(early, 2, IBV_WC_SUCCESS);
	expect_recv(late, 3, IBV_WC_SUCCESS);
	end_rts(late);
	post_recv(early, 4, 0, 64);
	post_send(late, wr_make(late, IBV_WR_SEND, 5, 0, 64));
	expect_send(late, 5, IBV_WC_SUCCESS);
	pair_close(&p);
}

static void late_peer(void)
{
	static const unsigned int ms[] = { 0, 3, 120 };
	unsigned int i;
	int t;

	for (t = TOPO_CONTEXT; t < TOPOS; t++) {
		for (i = 0; i < ARRAY_SIZE(ms); i++) {
			late_peer_one(t, false, ms[i]);
			late_peer_one(t, true, ms[i]);
		}
	}
}

/* PSNs near their end: they wrap at 24 bits for verbs, not for us. */
static void psn_wrap(void)
{
	static const uint32_t psns[][2] = {
		{ 0, 0 }, { 0xffffff, 0 }, { 0xfffffe, 0xffffff }, { 1, 0xfffff0 }
	};
	struct pair p;
	unsigned int i;
	int k;

	for (i = 0; i < ARRAY_SIZE(psns); i++) {
		pair_open_init(&p, TOPO_CONTEXTS, &base, NULL);
		p.a->psn = psns[i][0];
		p.b->psn = psns[i][1];
		end_connect(p.a, p.b);
		for (k = 0; k < 40; k++) {
			post_recv(p.a, k, 0, 8);
			post_recv(p.b, k, 0, 8);
			post_send(p.a, wr_make(p.a, IBV_WR_SEND, k, 0, 8));
			post_send(p.b, wr_make(p.b, IBV_WR_SEND, k, 0, 8));
			expect_send(p.a, k, IBV_WC_SUCCESS);
			expect_send(p.b, k, IBV_WC_SUCCESS);
			expect_recv(p.a, k, IBV_WC_SUCCESS);
			expect_recv(p.b, k, IBV_WC_SUCCESS);
		}
		pair_close(&p);
	}
}

/* Wrong numbers or a wrong idea of the peer: no connection, other QPs go on. */
static void mismatch(void)
{
	struct pair p, good;
	int i;

	pair_open(&good, TOPO_CONTEXTS, &base, NULL);
	for (i = 0; i < 3; i++) {
		struct end wrong;

		test_context("case %d", i);
		pair_open_init(&p, TOPO_CONTEXTS, &base, NULL);
		wrong = *p.b;
		if (i == 0)
			wrong.psn ^= 0x10;		/* what a expects */
		else if (i == 1)
			wrong.qpn = good.b->qpn;	/* taken by another */
		else
			wrong.gid.raw[15] ^= 3;
		end_rtr(p.a, &wrong);
		end_rts(p.a);
		end_rtr(p.b, p.a);
		end_rts(p.b);
		post_recv(p.b, 9, 0, 64);
		post_send(p.a, wr_make(p.a, IBV_WR_SEND, 1, 0, 64));
		expect_send(p.a, 1, IBV_WC_RETRY_EXC_ERR);
		expect_no_wc(p.b, CQ_RECV, 1);
		check_eq(end_query_state(p.b), IBV_QPS_RTS);
		pair_close(&p);
		post_send(good.a, wr_rdma(good.a, IBV_WR_RDMA_WRITE, 1, 0, 64,
					  good.b, 0));
		expect_send(good.a, 1, IBV_WC_SUCCESS);
	}
	pair_close(&good);
}

/* ---- RESET and using again ---------------------------------------------- */

static void reset_both(struct pair *p)
{
	end_state(p->a, IBV_QPS_RESET);
	end_state(p->b, IBV_QPS_RESET);
	p->a->psn = (p->a->psn * 5 + 1) & 0xffffff;
	p->b->psn = (p->b->psn * 7 + 3) & 0xffffff;
	end_init(p->a);
	end_init(p->b);
}

/* The same two again and again; sometimes with work under way. */
static void reuse_one(enum topo t)
{
	struct pair p;
	int i, k;

	test_context("%s", topo_name(t));
	pair_open_init(&p, t, &base, NULL);
	for (i = 0; i < 30; i++) {
		if (i & 1) {
			end_connect(p.a, p.b);
		} else {
			end_connect(p.b, p.a);
		}
		for (k = 0; k < 5; k++) {
			post_recv(p.b, k, 0, 64);
			post_send(p.a, wr_make(p.a, IBV_WR_SEND, k, 0, 64));
			expect_send(p.a, k, IBV_WC_SUCCESS);
			expect_recv(p.b, k, IBV_WC_SUCCESS);
		}
		for (k = 0; i % 3 == 0 && k < 20; k++) {
			/* Left over: in the queues, on the wire, in the CQ. */
			post_send(p.a, wr_rdma(p.a, IBV_WR_RDMA_WRITE, 777, 0,
					       i * 20000, p.b, 0));
			post_recv(p.b, 778, 0, 64);
			post_send(p.b, wr_make(p.b, IBV_WR_SEND, 779, 0, 64));
		}
		reset_both(&p);
		expect_no_wc(p.a, CQ_SEND, 0);
		expect_no_wc(p.b, CQ_RECV, 0);
		expect_no_wc(p.b, CQ_SEND, 0);
	}
	pair_close(&p);
}

static void reuse(void)
{
	int t;

	for (t = TOPO_CONTEXT; t < TOPOS; t++)
		reuse_one(t);
}

/* From ERR, too, and with another partner each time. */
static void reuse_partners(void)
{
	struct end *hub = end_new(&base, false, NULL), *e;
	int i;

	for (i = 0; i < 20; i++) {
		/* TSan does not survive threads in a child of one with threads. */
		e = end_new(&base, i % 4 == 3 && !test_is_tsan(),
			    i % 4 == 1 ? hub : NULL);
		end_connect(hub, e);
		post_recv(hub, i, 0, 64);
		post_send(e, wr_make(e, IBV_WR_SEND, i, 0, 64));
		expect_send(e, i, IBV_WC_SUCCESS);
		expect_recv(hub, i, IBV_WC_SUCCESS);
		if (i & 1) {
			end_state(hub, IBV_QPS_ERR);
			check_eq(end_query_state(hub), IBV_QPS_ERR);
		}
		end_free(e);
		end_state(hub, IBV_QPS_RESET);
		hub->psn += 100;
		end_init(hub);
	}
	end_free(hub);
}

/* A QP that was reset and set up again while its peer was not. */
static void one_sided_reset(void)
{
	struct pair p;

	pair_open(&p, TOPO_CONTEXTS, &base, NULL);
	post_recv(p.b, 1, 0, 64);
	post_send(p.a, wr_make(p.a, IBV_WR_SEND, 1, 0, 64));
	expect_send(p.a, 1, IBV_WC_SUCCESS);
	expect_recv(p.b, 1, IBV_WC_SUCCESS);
	end_state(p.a, IBV_QPS_RESET);
	end_init(p.a);
	end_connect(p.a, p.a);	/* with itself now */
	end_state(p.a, IBV_QPS_RESET);
	end_init(p.a);
	end_rtr(p.a, p.b);
	end_rts(p.a);
	post_send(p.a, wr_make(p.a, IBV_WR_SEND, 2, 0, 64));
	expect_send(p.a, 2, IBV_WC_RETRY_EXC_ERR);
	/* Now the other, too. */
	reset_both(&p);
	end_connect(p.a, p.b);
	post_recv(p.b, 3, 0, 64);
	post_send(p.a, wr_make(p.a, IBV_WR_SEND, 3, 0, 64));
	expect_send(p.a, 3, IBV_WC_SUCCESS);
	pair_close(&p);
}

/*
 * Programs post their last messages and disconnect: what was posted before the
 * change of state has happened, and what has arrived is acknowledged.
 */
static void last_words_one(enum topo t, enum waiting waiting, bool destroy)
{
	struct opts o = base;
	struct ibv_wc wc;
	struct pair p;
	int round, i;

	test_context("%s, waiting %d, destroy %d", topo_name(t), waiting, destroy);
	o.waiting = waiting;
	for (round = 0; round < 5; round++) {
		pair_open(&p, t, &o, NULL);
		for (i = 0; i < 20; i++)
			post_recv(p.b, i, 64 * i, 64);
		post_recv(p.a, 99, 4096, 64);
		/* Messages that do not wait for each other: posts are held back. */
		for (i = 0; i < 10; i++)
			post_send(p.a, wr_make(p.a, IBV_WR_SEND, i, 0, 64));
		for (i = 0; i < 10; i++)
			expect_send(p.a, i, IBV_WC_SUCCESS);
		post_send(p.b, wr_make(p.b, IBV_WR_SEND, 99, 4096, 64));
		expect_recv(p.a, 99, IBV_WC_SUCCESS);
		for (i = 10; i < 20; i++)
			post_send(p.a, wr_make(p.a, IBV_WR_SEND, i, 0, 64));
		if (destroy)
			end_free(p.a);
		else
			end_state(p.a, IBV_QPS_ERR);
		for (i = 0; i < 20; i++)
			expect_recv(p.b, i, IBV_WC_SUCCESS);
		expect_send(p.b, 99, IBV_WC_SUCCESS);
		if (destroy) {
			end_free(p.b);
			continue;
		}
		for (i = 10; i < 20; i++) {
			wait_wc(p.a, CQ_SEND, &wc);
			check_eq(wc.wr_id, i);
			check(wc.status == IBV_WC_SUCCESS ||
			      wc.status == IBV_WC_WR_FLUSH_ERR);
		}
		pair_close(&p);
	}
}

static void last_words(void)
{
	last_words_one(TOPO_CONTEXT, WAIT_BUSY, false);
	last_words_one(TOPO_CONTEXTS, WAIT_BUSY, true);
	last_words_one(TOPO_PROCESSES, WAIT_EVENT, false);
	last_words_one(TOPO_PROCESSES, WAIT_BUSY, true);
}

static const struct test_case cases[] = {
	CASE(transitions),
	CASE(required_attrs),
	CASE(bad_values),
	CASE(query),
	CASE(post_states),
	CASE(flush_order),
	CASE(flush_early),
	CASE(flush_race),
	CASE(drain),
	CASE(drain_idle),
	CASE(rtr_alone),
	CASE(late_peer),
	CASE(psn_wrap),
	CASE(mismatch),
	CASE_LIMIT(reuse, 60),
	CASE(reuse_partners),
	CASE(one_sided_reset),
	CASE(last_words),
	CASES_END
};

int main(int argc, char **argv)
{
	return test_main(argc, argv, cases);
}
