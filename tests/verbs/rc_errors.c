// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * rc_errors.c - every error of a reliable connection has its status at both
 * ends, flushes what it must and leaves alone what it must (IB specification,
 * volume 1, 9.9 and 10.10).
 */
#include "common.h"

#include <signal.h>
#include <unistd.h>

/* The peer's silence is an error after this; times test_slow(). */
#define RETRY_MS	300u
#define MEM		(2 * MIB)

static const struct opts base = { .mem_bytes = MEM, .min_retry_ms = RETRY_MS };

enum { GOOD = 100, BAD, AFTER1, AFTER2, RECV1, RECV2 };

/* ---- what an error looks like ------------------------------------------- */

/* Everything after the bad one is flushed, in order, and so is the RQ. */
static void expect_requester(struct end *e, enum ibv_wc_status status)
{
	expect_send(e, GOOD, IBV_WC_SUCCESS);
	expect_send(e, BAD, status);
	expect_send(e, AFTER1, IBV_WC_WR_FLUSH_ERR);
	expect_send(e, AFTER2, IBV_WC_WR_FLUSH_ERR);
	expect_recv(e, RECV1, IBV_WC_WR_FLUSH_ERR);
	expect_recv(e, RECV2, IBV_WC_WR_FLUSH_ERR);
	check_eq(end_query_state(e), IBV_QPS_ERR);
	expect_no_wc(e, CQ_SEND, 1);
	expect_no_wc(e, CQ_RECV, 1);
}

/* The responder is in ERR: @first is the status of its first receive. */
static void expect_responder(struct end *e, enum ibv_wc_status first, int event)
{
	expect_recv(e, RECV1, first);
	expect_recv(e, RECV2, IBV_WC_WR_FLUSH_ERR);
	if (event)
		expect_event(e, event);
	check_eq(end_query_state(e), IBV_QPS_ERR);
	expect_no_wc(e, CQ_RECV, 1);
	check_eq(wait_event_ms(e, 1), -1);
}

/* The responder noticed nothing. */
static void expect_untouched(struct end *e)
{
	expect_no_wc(e, CQ_RECV, 30);
	check_eq(wait_event_ms(e, 1), -1);
	check_eq(end_query_state(e), IBV_QPS_RTS);
}

/* A good one, @bad, and two after it, the first of which is unsignaled. */
static void post_bad(struct pair *p, struct wr bad)
{
	struct wr list[4] = {
		wr_rdma(p->a, IBV_WR_RDMA_WRITE, GOOD, 0, 64, p->b, 64),
		bad,
		wr_rdma(p->a, IBV_WR_RDMA_WRITE, AFTER1, 0, 64, p->b, MIB),
		wr_rdma(p->a, IBV_WR_RDMA_READ, AFTER2, 0, 64, p->b, MIB),
	};

	list[1].id = BAD;
	list[2].flags = 0;
	memset(p->a->mem, 0xaa, MEM);
	memset(p->b->mem, 0xbb, MEM);
	post_recv(p->a, RECV1, 0, 64);
	post_recv(p->a, RECV2, 0, 64);
	post_send_list(p->a, list, 4);
}

static void for_topos(void (*fn)(enum topo t))
{
	static const enum topo topos[] = {
		TOPO_CONTEXT, TOPO_CONTEXTS, TOPO_PROCESSES
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(topos); i++)
		fn(topos[i]);
}

/* ---- remote access ------------------------------------------------------ */

struct extra_mr {
	uint8_t *mem;
	size_t bytes;
	int access;
	bool other_pd, gone;
	uint32_t key;
};

/* Another region where @e lives; its key comes back. */
static long do_extra_mr(struct end *e, void *arg)
{
	struct extra_mr *x = arg;
	struct ibv_mr *mr;

	if (x->other_pd)
		e->more_pd = ibv_alloc_pd(e->ctx);
	mr = ibv_reg_mr(x->other_pd ? e->more_pd : e->pd, x->mem, x->bytes,
			x->access);
	check_msg(mr, "ibv_reg_mr: %m");
	x->key = mr->rkey;
	if (x->gone)
		check_rc(ibv_dereg_mr(mr), 0);
	else
		e->more_mr = mr;
	return 0;
}

static uint32_t extra_key(struct end *e, int access, bool other_pd, bool gone)
{
	struct extra_mr x = {
		.mem = e->mem, .bytes = e->mem_bytes, .access = access,
		.other_pd = other_pd, .gone = gone,
	};

	end_run(e, do_extra_mr, &x, sizeof(x));
	return x.key;
}

static void remote_access_one(enum topo t, const char *what,
			      enum ibv_wr_opcode op,
			      void (*spoil)(struct wr *wr, struct end *b))
{
	struct pair p;
	struct wr wr;

	test_context("%s, opcode %d, %s", what, op, topo_name(t));
	pair_open(&p, t, &base, NULL);
	post_recv(p.b, RECV1, 0, 64);
	post_recv(p.b, RECV2, 0, 64);
	wr = wr_rdma(p.a, op, BAD, 0, op >= IBV_WR_ATOMIC_CMP_AND_SWP ? 8 : 64,
		     p.b, MIB);
	spoil(&wr, p.b);
	post_bad(&p, wr);
	expect_requester(p.a, IBV_WC_REM_ACCESS_ERR);
	expect_responder(p.b, IBV_WC_WR_FLUSH_ERR, IBV_EVENT_QP_ACCESS_ERR);
	/* Not a byte was placed but the good one's. */
	check_bytes(p.b->mem, 64, 0xbb);
	check_bytes(p.b->mem + 64, 64, 0xaa);
	check_bytes(p.b->mem + 128, MEM - 128, 0xbb);
	pair_close(&p);
}

static void spoil_key(struct wr *wr, struct end *b)
{
	wr->rkey ^= 0x1000;
}

static void spoil_key_zero(struct wr *wr, struct end *b)
{
	wr->rkey = 0;
}

static void spoil_end(struct wr *wr, struct end *b)
{
	wr->raddr = (uintptr_t)b->mem + b->mem_bytes - wr->sge[0].length + 8;
}

static void spoil_long(struct wr *wr, struct end *b)
{
	if (wr->op >= IBV_WR_ATOMIC_CMP_AND_SWP) {
		spoil_end(wr, b);
		return;
	}
	/* Several PDUs, of which only the last one is out of range. */
	wr->sge[0].length = MIB;
	wr->raddr = (uintptr_t)b->mem + MIB + 1;
}

static void spoil_start(struct wr *wr, struct end *b)
{
	wr->raddr = (uintptr_t)b->mem - 8;
}

static void spoil_wrap(struct wr *wr, struct end *b)
{
	wr->raddr = UINT64_MAX - 7;
}

static void spoil_wrap_into(struct wr *wr, struct end *b)
{
	/* The end, cut to 64 bits, is within the region. */
	wr->raddr = (uintptr_t)b->mem + 64 - (1ull << 63) - (1ull << 63);
	wr->raddr -= 128;
}

static void spoil_right(struct wr *wr, struct end *b)
{
	int all = ACCESS_ALL;

	if (wr->op == IBV_WR_RDMA_READ)
		all &= ~IBV_ACCESS_REMOTE_READ;
	else if (wr->op >= IBV_WR_ATOMIC_CMP_AND_SWP)
		all &= ~IBV_ACCESS_REMOTE_ATOMIC;
	else
		all &= ~IBV_ACCESS_REMOTE_WRITE;
	wr->rkey = extra_key(b, all, false, false);
}

static void spoil_pd(struct wr *wr, struct end *b)
{
	wr->rkey = extra_key(b, ACCESS_ALL, true, false);
}

static void spoil_gone(struct wr *wr, struct end *b)
{
	wr->rkey = extra_key(b, ACCESS_ALL, false, true);
}

static const struct {
	const char *what;
	void (*spoil)(struct wr *wr, struct end *b);
} spoilers[] = {
	{ "wrong key", spoil_key },
	{ "key 0", spoil_key_zero },
	{ "beyond the end", spoil_end },
	{ "last byte beyond the end", spoil_long },
	{ "before the start", spoil_start },
	{ "wraps around", spoil_wrap },
	{ "before the start, large", spoil_wrap_into },
	{ "right missing", spoil_right },
	{ "other protection domain", spoil_pd },
	{ "deregistered", spoil_gone },
};

static void remote_access_topo(enum topo t)
{
	static const enum ibv_wr_opcode ops[] = {
		IBV_WR_RDMA_WRITE, IBV_WR_RDMA_READ, IBV_WR_ATOMIC_FETCH_AND_ADD,
		IBV_WR_ATOMIC_CMP_AND_SWP
	};
	unsigned int i, k;

	for (i = 0; i < ARRAY_SIZE(spoilers); i++)
		for (k = 0; k < ARRAY_SIZE(ops); k++)
			remote_access_one(t, spoilers[i].what, ops[k],
					  spoilers[i].spoil);
}

static void remote_access(void)
{
	remote_access_topo(TOPO_CONTEXTS);
}

static void remote_access_processes(void)
{
	remote_access_topo(TOPO_PROCESSES);
}

/*
 * With one CQ for both queues: what failed comes first, at both ends. A WRITE's
 * immediate data takes its receive, and tells why.
 */
static void failure_before_flush(void)
{
	static const enum ibv_wr_opcode ops[] = {
		IBV_WR_RDMA_WRITE, IBV_WR_RDMA_WRITE_WITH_IMM, IBV_WR_RDMA_READ
	};
	struct opts o = base;
	unsigned int i;

	o.one_cq = true;
	for (i = 0; i < ARRAY_SIZE(ops); i++) {
		bool imm = ops[i] == IBV_WR_RDMA_WRITE_WITH_IMM;
		struct pair p;
		struct wr wr;

		test_context("opcode %d", ops[i]);
		pair_open(&p, TOPO_CONTEXTS, &o, NULL);
		post_recv(p.b, RECV1, 0, 64);
		post_recv(p.b, RECV2, 0, 64);
		wr = wr_rdma(p.a, ops[i], BAD, 0, 64, p.b, MIB);
		spoil_key(&wr, p.b);
		post_bad(&p, wr);
		expect_requester(p.a, IBV_WC_REM_ACCESS_ERR);
		expect_responder(p.b, imm ? IBV_WC_LOC_ACCESS_ERR :
					    IBV_WC_WR_FLUSH_ERR,
				 IBV_EVENT_QP_ACCESS_ERR);
		pair_close(&p);
	}
}

/*
 * A QP that is its own peer: the responder fails first, and flushes what the
 * requester has not heard of yet. Each completes once, in order.
 */
static void remote_access_self(void)
{
	static const uint64_t ids[] = { GOOD, BAD, AFTER1, AFTER2 };
	struct ibv_wc wc;
	struct pair p;
	struct wr wr;
	int i;

	pair_open(&p, TOPO_SELF, &base, NULL);
	wr = wr_rdma(p.a, IBV_WR_RDMA_WRITE, BAD, 0, 64, p.a, MIB);
	wr.rkey = 1;
	post_bad(&p, wr);
	for (i = 0; i < 4; i++) {
		wait_wc(p.a, CQ_SEND, &wc);
		check_eq(wc.wr_id, ids[i]);
		if (i == 0 && wc.status == IBV_WC_SUCCESS)
			continue;
		if (i == 1 && wc.status == IBV_WC_REM_ACCESS_ERR)
			continue;
		check_eq(wc.status, IBV_WC_WR_FLUSH_ERR);
	}
	expect_recv(p.a, RECV1, IBV_WC_WR_FLUSH_ERR);
	expect_recv(p.a, RECV2, IBV_WC_WR_FLUSH_ERR);
	expect_event(p.a, IBV_EVENT_QP_ACCESS_ERR);
	check_bytes(p.a->mem + MIB, 64, 0xbb);
	pair_close(&p);
}

/* Answers that were promised before the error still come. */
static void answers_before_error(void)
{
	struct opts o = base;
	unsigned int round;
	struct pair p;
	struct wr wr;

	o.mem_bytes = 9 * MIB;
	for (round = 0; round < 30; round++) {
		test_context("round %u", round);
		pair_open(&p, round & 1 ? TOPO_PROCESSES : TOPO_CONTEXTS, &o, NULL);
		fill(p.b->mem, 8 * MIB, round);
		post_send(p.a, wr_rdma(p.a, IBV_WR_RDMA_READ, 1, 0, 8 * MIB, p.b,
				       0));
		post_send(p.a, wr_fetch_add(p.a, 2, 8 * MIB, p.b, 8 * MIB, 1));
		usleep(round * 100);
		wr = wr_rdma(p.a, IBV_WR_RDMA_WRITE, 3, 8 * MIB, 64, p.b, 8 * MIB);
		wr.rkey = 7;
		post_send(p.a, wr);
		expect_send(p.a, 1, IBV_WC_SUCCESS);
		expect_send(p.a, 2, IBV_WC_SUCCESS);
		expect_send(p.a, 3, IBV_WC_REM_ACCESS_ERR);
		check_fill(p.a->mem, 8 * MIB, round);
		pair_close(&p);
	}
}

/* ---- invalid requests --------------------------------------------------- */

static void inv_req_one(enum topo t, const char *what, const struct opts *ob,
			enum ibv_wr_opcode op, uint32_t len, size_t roff)
{
	struct pair p;

	test_context("%s, opcode %d, %s", what, op, topo_name(t));
	pair_open(&p, t, &base, ob);
	post_recv(p.b, RECV1, MIB, 64);
	post_recv(p.b, RECV2, MIB, 64);
	memset(p.b->mem, 0xbb, MEM);
	/* Not by post_bad(): the good WRITE would be refused, too. */
	post_send(p.a, wr_rdma(p.a, op, BAD, 0, len, p.b, roff));
	post_send(p.a, wr_make(p.a, IBV_WR_SEND, AFTER1, 0, 8));
	expect_send(p.a, BAD, IBV_WC_REM_INV_REQ_ERR);
	expect_send(p.a, AFTER1, IBV_WC_WR_FLUSH_ERR);
	expect_responder(p.b, IBV_WC_WR_FLUSH_ERR, IBV_EVENT_QP_REQ_ERR);
	check_bytes(p.b->mem, MEM, 0xbb);
	pair_close(&p);
}

static void inv_req_topo(enum topo t)
{
	struct opts ob = base;

	ob.qp_access = IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_ATOMIC;
	inv_req_one(t, "QP without remote write", &ob, IBV_WR_RDMA_WRITE, 64, 0);
	ob.qp_access = IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_ATOMIC;
	inv_req_one(t, "QP without remote read", &ob, IBV_WR_RDMA_READ, 64, 0);
	ob.qp_access = IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ;
	inv_req_one(t, "QP without atomics", &ob, IBV_WR_ATOMIC_FETCH_AND_ADD, 8, 0);
	inv_req_one(t, "QP without atomics", &ob, IBV_WR_ATOMIC_CMP_AND_SWP, 8, 0);
	ob = base;
	ob.dest_rd_atomic = 0xff;
	inv_req_one(t, "no READ resources", &ob, IBV_WR_RDMA_READ, 64, 0);
	inv_req_one(t, "no atomic resources", &ob, IBV_WR_ATOMIC_FETCH_AND_ADD, 8, 0);
	inv_req_one(t, "misaligned", &base, IBV_WR_ATOMIC_FETCH_AND_ADD, 8, 4);
	inv_req_one(t, "misaligned", &base, IBV_WR_ATOMIC_CMP_AND_SWP, 8, 1);
}

static void invalid_request(void)
{
	for_topos(inv_req_topo);
}

/* ---- receives that do not fit ------------------------------------------- */

static void recv_topo(enum topo t)
{
	struct pair p;
	int i;

	/* Too short: by one byte, by much, by everything. */
	for (i = 0; i < 3; i++) {
		static const uint32_t room[] = { 63, 8, 0 };
		struct wr r;

		test_context("receive of %u bytes, %s", room[i], topo_name(t));
		pair_open(&p, t, &base, NULL);
		r = wr_make(p.b, 0, RECV1, MIB, room[i]);
		r.num_sge = room[i] ? 1 : 0;
		check_rc(try_post_recv(p.b, &r), 0);
		post_recv(p.b, RECV2, MIB, 64);
		post_bad(&p, wr_make(p.a, IBV_WR_SEND, BAD, 0, 64));
		expect_requester(p.a, IBV_WC_REM_INV_REQ_ERR);
		expect_responder(p.b, IBV_WC_LOC_LEN_ERR, 0);
		check_bytes(p.b->mem + MIB, 64, 0xbb);
		pair_close(&p);
	}
}

static void receive_too_short(void)
{
	for_topos(recv_topo);
}

static void recv_bad_key_one(enum topo t, const char *what, struct wr *r,
			     struct pair *p)
{
	test_context("%s, %s", what, topo_name(t));
	check_rc(try_post_recv(p->b, r), 0);
	post_recv(p->b, RECV2, MIB, 64);
	post_bad(p, wr_make(p->a, IBV_WR_SEND, BAD, 0, 64));
	expect_requester(p->a, IBV_WC_REM_OP_ERR);
	expect_responder(p->b, IBV_WC_LOC_PROT_ERR, 0);
	pair_close(p);
}

static void recv_bad_key_topo(enum topo t)
{
	struct pair p;
	struct wr r;
	int i;

	for (i = 0; i < 5; i++) {
		pair_open(&p, t, &base, NULL);
		r = wr_make(p.b, 0, RECV1, MIB, 64);
		switch (i) {
		case 0:
			r.sge[0].lkey ^= 0x20;
			recv_bad_key_one(t, "wrong lkey", &r, &p);
			break;
		case 1:
			r.sge[0].addr = (uintptr_t)p.b->mem + MEM - 63;
			recv_bad_key_one(t, "beyond the end", &r, &p);
			break;
		case 2:
			r.sge[0].lkey = extra_key(p.b, 0, false, false);
			recv_bad_key_one(t, "no local write", &r, &p);
			break;
		case 3:
			r.sge[0].lkey = extra_key(p.b, ACCESS_ALL, true, false);
			recv_bad_key_one(t, "other domain", &r, &p);
			break;
		case 4:
			r.sge[0].lkey = extra_key(p.b, ACCESS_ALL, false, true);
			recv_bad_key_one(t, "deregistered", &r, &p);
			break;
		}
	}
}

static void receive_bad_key(void)
{
	for_topos(recv_bad_key_topo);
}

/* ---- local protection --------------------------------------------------- */

static void local_one(enum topo t, const char *what, struct pair *p, struct wr wr)
{
	test_context("%s, opcode %d, %s", what, wr.op, topo_name(t));
	post_recv(p->b, RECV1, MIB, 64);
	post_recv(p->b, RECV2, MIB, 64);
	post_bad(p, wr);
	expect_requester(p->a, IBV_WC_LOC_PROT_ERR);
	expect_untouched(p->b);
	check_bytes(p->b->mem + MIB, MIB, 0xbb);
	/* Now it asks something of the one that is gone. */
	post_send(p->b, wr_make(p->b, IBV_WR_SEND, 1, 0, 8));
	expect_send(p->b, 1, IBV_WC_RETRY_EXC_ERR);
	expect_recv(p->b, RECV1, IBV_WC_WR_FLUSH_ERR);
	expect_recv(p->b, RECV2, IBV_WC_WR_FLUSH_ERR);
	pair_close(p);
}

static void local_topo(enum topo t)
{
	static const enum ibv_wr_opcode ops[] = {
		IBV_WR_SEND, IBV_WR_RDMA_WRITE, IBV_WR_RDMA_READ,
		IBV_WR_ATOMIC_FETCH_AND_ADD
	};
	unsigned int i, k;
	struct pair p;
	struct wr wr;

	for (i = 0; i < ARRAY_SIZE(ops); i++) {
		uint32_t len = ops[i] == IBV_WR_ATOMIC_FETCH_AND_ADD ? 8 : 64;

		for (k = 0; k < 5; k++) {
			if (k == 4 && ops[i] < IBV_WR_RDMA_READ)
				continue;	/* need not be writable */
			pair_open(&p, t, &base, NULL);
			wr = wr_rdma(p.a, ops[i], BAD, 0, len, p.b, MIB);
			if (k == 0)
				wr.sge[0].lkey ^= 0x400;
			else if (k == 1)
				wr.sge[0].addr = (uintptr_t)p.a->mem + MEM - 1;
			else if (k == 2)
				wr.sge[0].lkey = extra_key(p.a, ACCESS_ALL, true,
							   false);
			else if (k == 3)
				wr.sge[0].lkey = extra_key(p.a, ACCESS_ALL, false,
							   true);
			else
				wr.sge[0].lkey = extra_key(p.a, 0, false, false);
			local_one(t, "bad SGE", &p, wr);
		}
	}
}

static void local_protection(void)
{
	local_topo(TOPO_CONTEXTS);
}

static void local_protection_processes(void)
{
	local_topo(TOPO_PROCESSES);
}

/* max_rd_atomic 0: the QP cannot ask. */
static void no_rd_atomic(void)
{
	struct opts o = base;
	struct pair p;

	o.rd_atomic = 0xff;
	pair_open(&p, TOPO_CONTEXTS, &o, &base);
	post_recv(p.b, RECV1, 0, 8);
	post_send(p.a, wr_rdma(p.a, IBV_WR_RDMA_READ, 1, 0, 8, p.b, 0));
	expect_send(p.a, 1, IBV_WC_LOC_QP_OP_ERR);
	expect_untouched(p.b);
	pair_close(&p);
}

/* ---- the peer is not there ---------------------------------------------- */

static void check_time(uint64_t start, unsigned int min_ms, unsigned int max_ms)
{
	unsigned int ms = (now_ns() - start) / 1000000;

	check_msg(ms >= min_ms && ms <= max_ms * test_slow(),
		  "took %u ms, expected %u..%u", ms, min_ms, max_ms * test_slow());
}

static void expect_retry_exc(struct end *e, uint64_t start, unsigned int min_ms)
{
	expect_send(e, 1, IBV_WC_RETRY_EXC_ERR);
	check_time(start, min_ms, RETRY_MS + 700);
	expect_send(e, 2, IBV_WC_WR_FLUSH_ERR);
	expect_recv(e, RECV1, IBV_WC_WR_FLUSH_ERR);
	check_eq(end_query_state(e), IBV_QPS_ERR);
	check_eq(wait_event_ms(e, 1), -1);
}

static void post_two(struct end *e, struct end *peer)
{
	post_recv(e, RECV1, 0, 64);
	post_send(e, wr_rdma(e, IBV_WR_RDMA_WRITE, 1, 0, 64, peer, 0));
	post_send(e, wr_make(e, IBV_WR_SEND, 2, 0, 64));
}

/* It listens and never goes to RTR; in both roles of who connects. */
static void never_comes(void)
{
	struct pair p;
	uint64_t start;
	int swap;

	for (swap = 0; swap < 2; swap++) {
		struct end *e, *other;

		pair_open_init(&p, TOPO_CONTEXTS, &base, NULL);
		e = swap ? p.b : p.a;
		other = swap ? p.a : p.b;
		end_rtr(e, other);
		end_rts(e);
		start = now_ns();
		post_two(e, other);
		expect_retry_exc(e, start, RETRY_MS);
		pair_close(&p);
	}
}

/* Nobody listens at that port, or at that address; or there is no such QP. */
static void nobody_there(void)
{
	struct end ghost, *e;
	uint64_t start;
	int i;

	for (i = 0; i < 4; i++) {
		test_context("case %d", i);
		e = end_new(&base, false, NULL);
		ghost = *e;
		ghost.psn = 5;
		switch (i) {
		case 0:
			ghost.qpn = 1024 << 8 | 7;	/* accepts */
			break;
		case 1:
			ghost.qpn = 0xffff07;		/* connects */
			break;
		case 2:
			ghost.qpn = e->qpn ^ 1;		/* our own port */
			break;
		case 3:
			ghost.gid.raw[15] ^= 0x55;	/* no such host */
			break;
		}
		end_rtr(e, &ghost);
		end_rts(e);
		start = now_ns();
		post_two(e, &ghost);
		expect_retry_exc(e, start, RETRY_MS);
		end_free(e);
	}
}

/* timeout 0 is for ever. */
static void no_timeout(void)
{
	struct ibv_qp_attr attr;
	struct end ghost, *e;
	int mask;

	e = end_new(&base, false, NULL);
	ghost = *e;
	ghost.qpn = 1024 << 8 | 7;
	end_rtr(e, &ghost);
	end_rts_attr(e, &attr, &mask);
	attr.timeout = 0;
	check_rc(end_modify(e, &attr, mask), 0);
	post_two(e, &ghost);
	expect_no_wc(e, CQ_SEND, RETRY_MS * 4);
	end_free(e);
}

/* The attributes' own time counts if it is longer: 2^20 x 4 us x 2 = 8.6 s. */
static void long_timeout(void)
{
	struct opts o = base;
	struct end ghost, *e;
	uint64_t start;

	o.timeout = 16;		/* 268 ms */
	o.retry_cnt = 4;	/* five times */
	e = end_new(&o, false, NULL);
	ghost = *e;
	ghost.qpn = 1024 << 8 | 7;
	end_rtr(e, &ghost);
	end_rts(e);
	start = now_ns();
	post_two(e, &ghost);
	expect_send(e, 1, IBV_WC_RETRY_EXC_ERR);
	check_time(start, 1342, 2200);
	end_free(e);
}

/* Destroyed, closed, killed, exited: before the post and with it on its way. */
enum end_of { DESTROYED, CLOSED, KILLED, EXITED, ENDS };

static long do_destroy_qp(struct end *e, void *arg)
{
	check_rc(ibv_destroy_qp(e->qp), 0);
	e->qp = NULL;
	return 0;
}

static long do_close_device(struct end *e, void *arg)
{
	check_rc(ibv_destroy_qp(e->qp), 0);
	check_rc(ibv_destroy_cq(e->cq[0]), 0);
	check_rc(ibv_destroy_cq(e->cq[1]), 0);
	check_rc(ibv_dereg_mr(e->mr), 0);
	check_rc(ibv_dealloc_pd(e->pd), 0);
	check_rc(ibv_close_device(e->ctx), 0);
	e->ctx = NULL;
	return 0;
}

static void finish(struct end *e, enum end_of how)
{
	switch (how) {
	case DESTROYED:
		end_run(e, do_destroy_qp, NULL, 0);
		break;
	case CLOSED:
		end_run(e, do_close_device, NULL, 0);
		break;
	case KILLED:
		end_kill(e, SIGKILL);
		break;
	default:
		end_exit(e);
		break;
	}
}

static void peer_gone(void)
{
	uint64_t start;
	struct pair p;
	int how, t;

	for (t = TOPO_CONTEXTS; t < TOPOS; t++) {
		for (how = 0; how < ENDS; how++) {
			if (t != TOPO_PROCESSES && how >= KILLED)
				continue;
			test_context("end %d, %s", how, topo_name(t));
			pair_open(&p, t, &base, NULL);
			post_send(p.a, wr_rdma(p.a, IBV_WR_RDMA_WRITE, 9, 0, 64,
					       p.b, 0));
			expect_send(p.a, 9, IBV_WC_SUCCESS);
			post_recv(p.a, RECV1, 0, 64);
			finish(p.b, how);
			/* Silence. */
			expect_no_wc(p.a, CQ_RECV, 50);
			check_eq(wait_event_ms(p.a, 1), -1);
			check_eq(end_query_state(p.a), IBV_QPS_RTS);
			start = now_ns();
			post_send(p.a, wr_rdma(p.a, IBV_WR_RDMA_WRITE, 1, 0, 64,
					       p.b, 0));
			post_send(p.a, wr_make(p.a, IBV_WR_SEND, 2, 0, 64));
			expect_retry_exc(p.a, start, 0);
			pair_close(&p);
		}
	}
}

/* With a request that cannot end: a SEND that finds no receive. */
static void peer_gone_waiting(void)
{
	struct opts o = base;
	struct pair p;
	int how;

	o.min_rnr_timer = 20;
	for (how = 0; how < ENDS; how++) {
		test_context("end %d", how);
		pair_open(&p, TOPO_PROCESSES, &o, NULL);
		post_recv(p.a, RECV1, 0, 64);
		post_send(p.a, wr_make(p.a, IBV_WR_SEND, 1, 0, 64));
		post_send(p.a, wr_make(p.a, IBV_WR_SEND, 2, 0, 64));
		expect_no_wc(p.a, CQ_SEND, 30);
		finish(p.b, how);
		expect_retry_exc(p.a, now_ns(), 0);
		pair_close(&p);
	}
}

/* Killed in the middle of large transfers of both directions. */
static void peer_killed_midway(void)
{
	struct opts o = base;
	struct ibv_wc wc;
	struct pair p;
	int i, k;

	o.mem_bytes = 16 * MIB;
	for (i = 0; i < 10; i++) {
		bool failed = false;

		pair_open(&p, TOPO_PROCESSES, &o, NULL);
		for (k = 0; k < 20; k++) {
			post_send(p.a, wr_rdma(p.a, k & 1 ? IBV_WR_RDMA_READ :
					       IBV_WR_RDMA_WRITE, k, 0, 16 * MIB,
					       p.b, 0));
			post_send(p.b, wr_rdma(p.b, IBV_WR_RDMA_WRITE, k, 0,
					       16 * MIB, p.a, 0));
		}
		post_recv(p.a, RECV1, 0, 8);
		usleep(i * 1500);
		end_kill(p.b, SIGKILL);
		/* All the others may have been faster. */
		post_send(p.a, wr_rdma(p.a, IBV_WR_RDMA_WRITE, 20, 0, 8, p.b, 0));
		for (k = 0; k <= 20; k++) {
			wait_wc(p.a, CQ_SEND, &wc);
			check_eq(wc.wr_id, k);
			if (failed)
				check_eq(wc.status, IBV_WC_WR_FLUSH_ERR);
			else if (wc.status != IBV_WC_SUCCESS)
				check_eq(wc.status, IBV_WC_RETRY_EXC_ERR);
			failed |= wc.status != IBV_WC_SUCCESS;
		}
		check(failed);
		expect_recv(p.a, RECV1, IBV_WC_WR_FLUSH_ERR);
		pair_close(&p);
	}
}

/* In kernel mode it is the kernel that executes requests. */
static void stopped_kernel(struct pair *p)
{
	post_recv(p->b, RECV1, 0, 64);
	end_stop(p->b);
	memset(p->a->mem, 0x5a, 64);
	post_send(p->a, wr_rdma(p->a, IBV_WR_RDMA_WRITE, 1, 0, 64, p->b, 1024));
	post_send(p->a, wr_make(p->a, IBV_WR_SEND, 2, 0, 64));
	expect_send(p->a, 1, IBV_WC_SUCCESS);
	expect_send(p->a, 2, IBV_WC_SUCCESS);
	check_bytes(p->b->mem + 1024, 64, 0x5a);
	end_signal(p->b, SIGCONT);
	expect_recv(p->b, RECV1, IBV_WC_SUCCESS);
	pair_close(p);
}

/*
 * In user mode a stopped peer is like one that is gone, but after the whole
 * time.
 */
static void peer_stopped(void)
{
	uint64_t start;
	struct pair p;

	pair_open(&p, TOPO_PROCESSES, &base, NULL);
	post_send(p.a, wr_rdma(p.a, IBV_WR_RDMA_WRITE, 9, 0, 64, p.b, 0));
	expect_send(p.a, 9, IBV_WC_SUCCESS);
	if (p.b->kernel) {
		stopped_kernel(&p);
		return;
	}
	post_recv(p.a, RECV1, 0, 64);
	end_stop(p.b);
	expect_no_wc(p.a, CQ_RECV, 20);
	start = now_ns();
	post_send(p.a, wr_rdma(p.a, IBV_WR_RDMA_WRITE, 1, 0, 64, p.b, 0));
	post_send(p.a, wr_make(p.a, IBV_WR_SEND, 2, 0, 64));
	expect_retry_exc(p.a, start, RETRY_MS);
	end_signal(p.b, SIGCONT);
	/* It does not notice, as long as it wants nothing. */
	check_eq(end_query_state(p.b), IBV_QPS_RTS);
	pair_close(&p);
}

/* Stopped for less than that: nothing happens. */
static void peer_paused(void)
{
	struct opts o = base;
	struct pair p;

	o.min_retry_ms = 2000;
	pair_open(&p, TOPO_PROCESSES, &o, NULL);
	post_send(p.a, wr_rdma(p.a, IBV_WR_RDMA_WRITE, 9, 0, 64, p.b, 0));
	expect_send(p.a, 9, IBV_WC_SUCCESS);
	end_stop(p.b);
	post_send(p.a, wr_rdma(p.a, IBV_WR_RDMA_WRITE, 1, 0, MIB, p.b, 0));
	post_send(p.a, wr_rdma(p.a, IBV_WR_RDMA_READ, 2, 0, MIB, p.b, 0));
	if (!p.b->kernel)
		expect_no_wc(p.a, CQ_SEND, 400);
	end_signal(p.b, SIGCONT);
	expect_send(p.a, 1, IBV_WC_SUCCESS);
	expect_send(p.a, 2, IBV_WC_SUCCESS);
	pair_close(&p);
}

/*
 * Stopped for longer than that, but its host answers: still nothing happens,
 * whether TCP has taken everything or is full.
 */
static void peer_paused_long(void)
{
	struct opts o = base;
	struct pair p;
	uint64_t i;
	int full;

	o.min_retry_ms = 2400;
	o.max_silence_ms = 20000;
	pair_open(&p, TOPO_PROCESSES, &o, NULL);
	for (full = 0; full < 2; full++) {
		uint64_t n = full ? 64 : 1;

		test_context("%s", full ? "full" : "all taken");
		post_send(p.a, wr_rdma(p.a, IBV_WR_RDMA_WRITE, 99, 0, 64, p.b, 0));
		expect_send(p.a, 99, IBV_WC_SUCCESS);
		end_stop(p.b);
		for (i = 0; i < n; i++)
			post_send(p.a, wr_rdma(p.a, IBV_WR_RDMA_WRITE, i, 0,
					       full ? MIB : 64, p.b, 0));
		if (!p.b->kernel)
			expect_no_wc(p.a, CQ_SEND, 6000);
		end_signal(p.b, SIGCONT);
		for (i = 0; i < n; i++)
			expect_send(p.a, i, IBV_WC_SUCCESS);
	}
	pair_close(&p);
}

/* And for ever: that is too long. */
static void peer_paused_for_ever(void)
{
	struct opts o = base;
	uint64_t start;
	struct pair p;

	o.min_retry_ms = 2400;
	o.max_silence_ms = 5000;
	pair_open(&p, TOPO_PROCESSES, &o, NULL);
	if (p.b->kernel) {
		pair_close(&p);
		test_skip("in kernel mode it is the kernel that answers");
	}
	post_send(p.a, wr_rdma(p.a, IBV_WR_RDMA_WRITE, 9, 0, 64, p.b, 0));
	expect_send(p.a, 9, IBV_WC_SUCCESS);
	end_stop(p.b);
	start = now_ns();
	post_send(p.a, wr_rdma(p.a, IBV_WR_RDMA_WRITE, 1, 0, 64, p.b, 0));
	expect_send(p.a, 1, IBV_WC_RETRY_EXC_ERR);
	check_time(start, 5000, 5700);
	end_signal(p.b, SIGCONT);
	pair_close(&p);
}

/* ---- receiver not ready ------------------------------------------------- */

static void rnr_one(enum topo t, uint8_t retry)
{
	struct opts o = base;
	uint64_t start;
	struct pair p;

	test_context("rnr_retry %u, %s", retry, topo_name(t));
	o.rnr_retry = retry ? retry : 0xff;
	o.min_rnr_timer = 22;		/* 20.48 ms */
	pair_open(&p, t, &o, NULL);
	post_send(p.a, wr_rdma(p.a, IBV_WR_RDMA_WRITE, GOOD, 0, 64, p.b, 0));
	expect_send(p.a, GOOD, IBV_WC_SUCCESS);
	post_recv(p.a, RECV1, 0, 64);
	start = now_ns();
	post_send(p.a, wr_make(p.a, IBV_WR_SEND, 1, 0, 64));
	post_send(p.a, wr_make(p.a, IBV_WR_SEND, 2, 0, 64));
	expect_send(p.a, 1, IBV_WC_RNR_RETRY_EXC_ERR);
	check_time(start, retry * 20, retry * 21 + 300);
	expect_send(p.a, 2, IBV_WC_WR_FLUSH_ERR);
	expect_recv(p.a, RECV1, IBV_WC_WR_FLUSH_ERR);
	expect_untouched(p.b);
	/* What comes too late is not used by anybody. */
	post_recv(p.b, RECV1, 0, 64);
	expect_no_wc(p.b, CQ_RECV, 50);
	pair_close(&p);
}

static void rnr_topo(enum topo t)
{
	rnr_one(t, 0);
	rnr_one(t, 1);
	rnr_one(t, 5);
}

static void rnr_retry(void)
{
	for_topos(rnr_topo);
}

/* The count starts again with each request that gets through. */
static void rnr_retry_restarts(void)
{
	struct opts o = base;
	struct pair p;
	int i;

	o.rnr_retry = 3;
	o.min_rnr_timer = 26;		/* 81.92 ms */
	pair_open(&p, TOPO_CONTEXTS, &o, NULL);
	for (i = 0; i < 8; i++) {
		post_send(p.a, wr_make(p.a, IBV_WR_SEND, i, 0, 64));
		sleep_ms(110);	/* one or two refusals */
		post_recv(p.b, i, 0, 64);
		expect_send(p.a, i, IBV_WC_SUCCESS);
		expect_recv(p.b, i, IBV_WC_SUCCESS);
	}
	pair_close(&p);
}

static const struct test_case cases[] = {
	CASE_LIMIT(remote_access, 60),
	CASE_LIMIT(remote_access_processes, 60),
	CASE(remote_access_self),
	CASE(failure_before_flush),
	CASE_LIMIT(answers_before_error, 60),
	CASE(invalid_request),
	CASE(receive_too_short),
	CASE(receive_bad_key),
	CASE(local_protection),
	CASE(local_protection_processes),
	CASE(no_rd_atomic),
	CASE(never_comes),
	CASE(nobody_there),
	CASE(no_timeout),
	CASE(long_timeout),
	CASE(peer_gone),
	CASE(peer_gone_waiting),
	CASE(peer_killed_midway),
	CASE(peer_stopped),
	CASE(peer_paused),
	CASE(peer_paused_long),
	CASE(peer_paused_for_ever),
	CASE(rnr_retry),
	CASE(rnr_retry_restarts),
	CASES_END
};

int main(int argc, char **argv)
{
	return test_main(argc, argv, cases);
}
