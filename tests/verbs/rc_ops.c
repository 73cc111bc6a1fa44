// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * rc_ops.c - what each operation of a reliable connection does: data, lengths,
 * immediate data, completions and their fields; scatter/gather lists, inline
 * data, zero length, unsignaled work requests, fence, limits of READs and
 * atomics; in all topologies and for all ways of waiting.
 */
#include "common.h"

#include <arpa/inet.h>
#include <unistd.h>

#define MEM	(4 * MIB)
#define GUARD	64u
/* The requester's data, the responder's, and a place for receives. */
#define SRC	(0 * MIB + GUARD)
#define DST	(2 * MIB + GUARD)

static const uint32_t sizes[] = {
	0, 1, 2, 7, 8, 9, 63, 64, 65, 255, 256, 1024, 2047, 2048, 2049, 4095,
	4096, 4097, 8192, 65535, 65536, 65537, 262143, 262144, 262145, 1048576
};

static const struct opts big = { .mem_bytes = MEM };

/* @fn for every topology; with the first one for every way of waiting. */
static void for_each_topo(void (*fn)(struct pair *p), const struct opts *o)
{
	struct pair p;
	int t, w;

	for (t = 0; t < TOPOS; t++) {
		for (w = 0; w < WAITS; w++) {
			struct opts ow = *o;

			if (w != WAIT_BUSY && t != TOPO_PROCESSES)
				continue;
			ow.waiting = w;
			test_context("%s, waiting %d", topo_name(t), w);
			pair_open(&p, t, &ow, NULL);
			fn(&p);
			pair_close(&p);
		}
	}
}

/* ---- each opcode, many sizes -------------------------------------------- */

static const struct {
	enum ibv_wr_opcode op;
	enum ibv_wc_opcode send_wc, recv_wc;
	bool takes_recv, imm;
} transfers[] = {
	{ IBV_WR_SEND, IBV_WC_SEND, IBV_WC_RECV, true, false },
	{ IBV_WR_SEND_WITH_IMM, IBV_WC_SEND, IBV_WC_RECV, true, true },
	{ IBV_WR_RDMA_WRITE, IBV_WC_RDMA_WRITE, 0, false, false },
	{ IBV_WR_RDMA_WRITE_WITH_IMM, IBV_WC_RDMA_WRITE,
	  IBV_WC_RECV_RDMA_WITH_IMM, true, true },
	{ IBV_WR_RDMA_READ, IBV_WC_RDMA_READ, 0, false, false },
};

static void check_recv_wc(struct pair *p, unsigned int k, uint64_t id,
			  uint32_t len)
{
	struct ibv_wc wc;

	wait_wc(p->b, CQ_RECV, &wc);
	check_wc_at(__FILE__, __LINE__, &wc, id, IBV_WC_SUCCESS);
	check_eq(wc.opcode, transfers[k].recv_wc);
	check_eq(wc.byte_len, len);
	check_eq(wc.qp_num, p->b->qpn);
	check_eq(wc.src_qp, p->a->qpn);
	check_eq(!!(wc.wc_flags & IBV_WC_WITH_IMM), transfers[k].imm);
	if (transfers[k].imm)
		check_eq(ntohl(wc.imm_data), 0x12345678 + len);
}

static void transfer(struct pair *p, unsigned int k, uint32_t len, uint64_t id)
{
	bool read = transfers[k].op == IBV_WR_RDMA_READ;
	struct end *from = read ? p->b : p->a, *to = read ? p->a : p->b;
	uint8_t *src = from->mem + SRC, *dst = to->mem + DST;
	struct wr wr = wr_rdma(p->a, transfers[k].op, id, read ? DST : SRC, len,
			       p->b, read ? SRC : DST);
	struct ibv_wc wc;

	wr.imm = 0x12345678 + len;
	fill(src, len, id);
	memset(dst - GUARD, 0xee, len + 2 * GUARD);
	if (transfers[k].takes_recv)
		post_recv(p->b, ~id, DST, len);
	post_send(p->a, wr);
	wait_wc(p->a, CQ_SEND, &wc);
	check_wc_at(__FILE__, __LINE__, &wc, id, IBV_WC_SUCCESS);
	check_eq(wc.opcode, transfers[k].send_wc);
	check_eq(wc.qp_num, p->a->qpn);
	/* Before anything else is looked at: it is placed. */
	check_fill(dst, len, id);
	check_bytes(dst - GUARD, GUARD, 0xee);
	check_bytes(dst + len, GUARD, 0xee);
	if (transfers[k].takes_recv)
		check_recv_wc(p, k, ~id, len);
}

static void each_opcode_pair(struct pair *p)
{
	unsigned int k, i;
	uint64_t id = 1;

	for (k = 0; k < ARRAY_SIZE(transfers); k++)
		for (i = 0; i < ARRAY_SIZE(sizes); i++)
			transfer(p, k, sizes[i], id++);
	expect_no_wc(p->a, CQ_SEND, 1);
	expect_no_wc(p->b, CQ_RECV, 1);
}

static void each_opcode(void)
{
	for_each_topo(each_opcode_pair, &big);
}

/* A receive may be larger than what comes. */
static void short_message_pair(struct pair *p)
{
	struct ibv_wc wc;

	memset(p->b->mem + DST, 0xee, 4096);
	fill(p->a->mem + SRC, 100, 7);
	post_recv(p->b, 1, DST, 4096);
	post_send(p->a, wr_make(p->a, IBV_WR_SEND, 2, SRC, 100));
	expect_send(p->a, 2, IBV_WC_SUCCESS);
	wait_wc(p->b, CQ_RECV, &wc);
	check_eq(wc.byte_len, 100);
	check_fill(p->b->mem + DST, 100, 7);
	check_bytes(p->b->mem + DST + 100, 3996, 0xee);
}

static void short_message(void)
{
	for_each_topo(short_message_pair, &big);
}

/* ---- atomics ------------------------------------------------------------ */

static void atomic_pair(struct pair *p)
{
	uint64_t *result = (uint64_t *)(p->a->mem + 64 * KIB);
	uint64_t *word = (uint64_t *)(p->b->mem + 128 * KIB);
	struct ibv_wc wc;

	*word = 1000;
	*result = 0;
	post_send(p->a, wr_fetch_add(p->a, 1, 64 * KIB, p->b, 128 * KIB, 5));
	wait_wc(p->a, CQ_SEND, &wc);
	check_wc_at(__FILE__, __LINE__, &wc, 1, IBV_WC_SUCCESS);
	check_eq(wc.opcode, IBV_WC_FETCH_ADD);
	check_eq(*result, 1000);
	check_eq(*word, 1005);
	/* Wraps; a negative number subtracts. */
	post_send(p->a, wr_fetch_add(p->a, 2, 64 * KIB, p->b, 128 * KIB, -1006));
	expect_send(p->a, 2, IBV_WC_SUCCESS);
	check_eq(*result, 1005);
	check_eq(*word, -1);
	/* Does not match: nothing changes, the value comes back. */
	post_send(p->a, wr_cmp_swap(p->a, 3, 64 * KIB, p->b, 128 * KIB, 7, 8));
	expect_send(p->a, 3, IBV_WC_SUCCESS);
	check_eq(*result, -1);
	check_eq(*word, -1);
	post_send(p->a, wr_cmp_swap(p->a, 4, 64 * KIB, p->b, 128 * KIB, -1,
				    0x1122334455667788));
	wait_wc(p->a, CQ_SEND, &wc);
	check_wc_at(__FILE__, __LINE__, &wc, 4, IBV_WC_SUCCESS);
	check_eq(wc.opcode, IBV_WC_COMP_SWAP);
	check_eq(*result, -1);
	check_eq(*word, 0x1122334455667788);
}

static void atomics(void)
{
	for_each_topo(atomic_pair, &big);
}

/* ---- scatter/gather lists ----------------------------------------------- */

/*
 * Cut @total bytes at @off into @n pieces, which lie @gap apart; the lengths
 * differ and some are 0. Returns the bytes spanned.
 */
static size_t cut(struct wr *wr, const struct end *e, size_t off, int n,
		  uint32_t total, uint32_t gap)
{
	size_t at = off;
	int i;

	wr->num_sge = n;
	for (i = 0; i < n; i++) {
		uint32_t len = i + 1 == n ? total : total * (i % 4) / 7;

		wr->sge[i].addr = (uintptr_t)e->mem + at;
		wr->sge[i].length = len;
		wr->sge[i].lkey = e->lkey;
		at += len + gap;
		total -= len;
	}
	return at - off;
}

/* Bytes of the list's ranges in order. */
static void gather(const struct wr *wr, uint8_t *out)
{
	int i;

	for (i = 0; i < wr->num_sge; i++) {
		memcpy(out, (void *)(uintptr_t)wr->sge[i].addr, wr->sge[i].length);
		out += wr->sge[i].length;
	}
}

static void sge_send(struct pair *p, int n, int m, uint32_t total)
{
	struct wr send = wr_make(p->a, IBV_WR_SEND, n, SRC, 0);
	struct wr recv = wr_make(p->b, 0, m, DST, 0);
	static uint8_t want[256 * KIB], got[256 * KIB];

	fill(p->a->mem + SRC, MIB, n * 100 + m);
	memset(p->b->mem + DST, 0xee, MIB);
	cut(&send, p->a, SRC, n, total, 13);
	cut(&recv, p->b, DST, m, total, 5);
	gather(&send, want);
	check_rc(try_post_recv(p->b, &recv), 0);
	post_send(p->a, send);
	expect_send(p->a, n, IBV_WC_SUCCESS);
	expect_recv(p->b, m, IBV_WC_SUCCESS);
	gather(&recv, got);
	check(!memcmp(want, got, total));
}

static void sge_rdma(struct pair *p, enum ibv_wr_opcode op, int n, uint32_t total)
{
	bool read = op == IBV_WR_RDMA_READ;
	struct wr wr = wr_rdma(p->a, op, n, 0, 0, p->b, DST);
	static uint8_t list[256 * KIB];

	fill(p->a->mem + SRC, MIB, n);
	fill(p->b->mem + DST, MIB, n + 1000);
	cut(&wr, p->a, SRC, n, total, 21);
	post_send(p->a, wr);
	expect_send(p->a, n, IBV_WC_SUCCESS);
	gather(&wr, list);
	check(!memcmp(list, p->b->mem + DST, total));
	if (read)
		check_fill(p->b->mem + DST, total, n + 1000);
}

static void sge_pair(struct pair *p)
{
	static const uint32_t totals[] = { 40, 3000, 200000 };
	unsigned int i;
	int n;

	for (i = 0; i < ARRAY_SIZE(totals); i++) {
		for (n = 1; n <= 32; n++) {
			sge_send(p, n, 33 - n, totals[i]);
			sge_rdma(p, IBV_WR_RDMA_WRITE, n, totals[i]);
			sge_rdma(p, IBV_WR_RDMA_READ, n, totals[i]);
		}
	}
}

static void sge_lists(void)
{
	for_each_topo(sge_pair, &big);
}

static void sge_too_many(void)
{
	static const struct opts o = { .send_sge = 3, .recv_sge = 2 };
	struct pair p;
	struct wr wr;
	int i;

	pair_open(&p, TOPO_CONTEXT, &o, NULL);
	wr = wr_make(p.a, IBV_WR_SEND, 1, 0, 1);
	for (i = 0; i < 33; i++)
		wr.sge[i] = wr.sge[0];
	wr.num_sge = 4;
	check_rc(try_post_send(p.a, &wr), EINVAL);
	wr.num_sge = -1;
	check_rc(try_post_send(p.a, &wr), EINVAL);
	wr.num_sge = 3;
	check_rc(try_post_recv(p.b, &wr), EINVAL);
	wr.num_sge = 2;
	check_rc(try_post_recv(p.b, &wr), 0);
	post_send(p.a, wr);
	expect_send(p.a, 1, IBV_WC_SUCCESS);
	pair_close(&p);
}

/* ---- inline ------------------------------------------------------------- */

static void inline_one(struct pair *p, enum ibv_wr_opcode op, uint32_t len,
		       int n)
{
	struct wr wr = wr_rdma(p->a, op, len, 0, 0, p->b, DST);
	uint8_t want[1024];
	size_t span;
	int i;

	fill(p->a->mem + SRC, 4 * KIB, len);
	memset(p->b->mem + DST, 0xee, 2 * KIB);
	span = cut(&wr, p->a, SRC, n, len, 3);
	for (i = 0; i < n; i++)
		wr.sge[i].lkey = 0xbad;	/* not looked at */
	wr.flags |= IBV_SEND_INLINE;
	gather(&wr, want);
	if (op == IBV_WR_SEND)
		post_recv(p->b, len, DST, len);
	post_send(p->a, wr);
	/* The buffers are the application's again at once. */
	memset(p->a->mem + SRC, 0x55, span);
	expect_send(p->a, len, IBV_WC_SUCCESS);
	if (op == IBV_WR_SEND)
		expect_recv(p->b, len, IBV_WC_SUCCESS);
	check(!memcmp(p->b->mem + DST, want, len));
	check_bytes(p->b->mem + DST + len, GUARD, 0xee);
}

static void inline_pair(struct pair *p)
{
	uint32_t len;

	for (len = 0; len <= 1024; len += len < 80 ? 1 : 59) {
		inline_one(p, IBV_WR_SEND, len, 1);
		inline_one(p, IBV_WR_RDMA_WRITE, len, 1 + len % 7);
	}
	inline_one(p, IBV_WR_SEND, 1024, 32);
	inline_one(p, IBV_WR_RDMA_WRITE, 1024, 1);
}

static void inline_data(void)
{
	struct opts o = big;

	o.inline_bytes = 1024;
	for_each_topo(inline_pair, &o);
}

static void inline_limits(void)
{
	static const struct opts o = { .inline_bytes = 100 };
	struct pair p;
	struct wr wr;

	pair_open(&p, TOPO_CONTEXT, &o, NULL);
	wr = wr_rdma(p.a, IBV_WR_RDMA_WRITE, 1, 0, 101, p.b, 0);
	wr.flags |= IBV_SEND_INLINE;
	check_rc(try_post_send(p.a, &wr), EINVAL);
	wr.sge[0].length = 60;
	wr.sge[1] = wr.sge[0];
	wr.num_sge = 2;
	check_rc(try_post_send(p.a, &wr), EINVAL);
	wr.num_sge = 1;
	wr.op = IBV_WR_RDMA_READ;
	check_rc(try_post_send(p.a, &wr), EINVAL);
	wr.op = IBV_WR_ATOMIC_FETCH_AND_ADD;
	wr.sge[0].length = 8;
	check_rc(try_post_send(p.a, &wr), EINVAL);
	wr.op = IBV_WR_RDMA_WRITE;
	wr.sge[0].length = 100;
	post_send(p.a, wr);
	expect_send(p.a, 1, IBV_WC_SUCCESS);
	pair_close(&p);
}

/* ---- zero length -------------------------------------------------------- */

static void zero_one(struct pair *p, enum ibv_wr_opcode op, bool recv, int sges)
{
	struct wr wr = { .id = op, .op = op, .flags = IBV_SEND_SIGNALED };
	struct ibv_wc wc;

	wr.num_sge = sges;	/* of length 0, with key 0 */
	if (recv) {
		struct wr r = { .id = 99, .num_sge = sges };

		check_rc(try_post_recv(p->b, &r), 0);
	}
	post_send(p->a, wr);
	expect_send(p->a, op, IBV_WC_SUCCESS);
	if (!recv)
		return;
	wait_wc(p->b, CQ_RECV, &wc);
	check_wc_at(__FILE__, __LINE__, &wc, 99, IBV_WC_SUCCESS);
	check_eq(wc.byte_len, 0);
}

static void zero_pair(struct pair *p)
{
	int sges;

	for (sges = 0; sges <= 2; sges++) {
		zero_one(p, IBV_WR_SEND, true, sges);
		zero_one(p, IBV_WR_SEND_WITH_IMM, true, sges);
		zero_one(p, IBV_WR_RDMA_WRITE, false, sges);
		zero_one(p, IBV_WR_RDMA_WRITE_WITH_IMM, true, sges);
		zero_one(p, IBV_WR_RDMA_READ, false, sges);
	}
}

static void zero_length(void)
{
	for_each_topo(zero_pair, &big);
}

/* ---- the send queue ----------------------------------------------------- */

/* More unsignaled work requests than the queue holds: they retire by themselves. */
static void unsignaled_pair(struct pair *p)
{
	unsigned int i, posted = 0;
	struct wr wr;

	for (i = 1; i <= 5000; i++) {
		wr = wr_rdma(p->a, IBV_WR_RDMA_WRITE, i, SRC, 16, p->b,
			     DST + i % 1000 * 16);
		if (i % 32)
			wr.flags = 0;
		post_send(p->a, wr);
		if (i % 32)
			continue;
		posted++;
		expect_send(p->a, i, IBV_WC_SUCCESS);
	}
	wr = wr_rdma(p->a, IBV_WR_RDMA_WRITE, i, SRC, 16, p->b, DST);
	post_send(p->a, wr);
	expect_send(p->a, i, IBV_WC_SUCCESS);
	expect_no_wc(p->a, CQ_SEND, 1);
	test_note("%u signaled", posted);
}

static void unsignaled(void)
{
	struct opts o = big;

	o.send_wr = 64;
	for_each_topo(unsignaled_pair, &o);
}

/* sq_sig_all: every one completes, whatever its flags say. */
static void sig_all(void)
{
	struct opts o = { .sig_all = true };
	struct pair p;
	struct wr wr;
	int i;

	pair_open(&p, TOPO_CONTEXT, &o, NULL);
	for (i = 0; i < 50; i++) {
		wr = wr_rdma(p.a, IBV_WR_RDMA_WRITE, i, 0, 8, p.b, 64 * KIB);
		wr.flags = 0;
		post_send(p.a, wr);
	}
	for (i = 0; i < 50; i++)
		expect_send(p.a, i, IBV_WC_SUCCESS);
	pair_close(&p);
}

/* What is held back must leave without another post or poll. */
static void unpolled_pair(struct pair *p)
{
	volatile uint64_t *last = (uint64_t *)(p->b->mem + DST + 99 * 8);
	uint64_t until = now_ns() + 5000000000ull * test_slow();
	int i;

	memset(p->b->mem + DST, 0, 800);
	for (i = 0; i < 100; i++) {
		struct wr wr = wr_rdma(p->a, IBV_WR_RDMA_WRITE, i, SRC + 8 * i, 8,
				       p->b, DST + 8 * i);

		*(uint64_t *)(p->a->mem + SRC + 8 * i) = i + 1;
		wr.flags = 0;
		post_send(p->a, wr);
	}
	while (__atomic_load_n(last, __ATOMIC_ACQUIRE) != 100) {
		check_msg(now_ns() < until, "100 WRITEs did not leave by themselves");
		usleep(100);
	}
}

static void unpolled(void)
{
	for_each_topo(unpolled_pair, &big);
}

static void full_queue(void)
{
	struct opts o = { .send_wr = 16, .recv_wr = 16 };
	struct ibv_qp_init_attr init;
	struct ibv_qp_attr attr;
	struct wr wr, list[20];
	struct pair p;
	int i, depth;

	/* Nobody is there yet: nothing completes. */
	pair_open_init(&p, TOPO_CONTEXT, &o, NULL);
	end_rtr(p.a, p.b);
	end_rts(p.a);
	check_rc(ibv_query_qp(p.a->qp, &attr, IBV_QP_CAP, &init), 0);
	depth = attr.cap.max_send_wr;
	check(depth >= 16);
	for (i = 0; i < depth; i++)
		post_send(p.a, wr_rdma(p.a, IBV_WR_RDMA_WRITE, i, 0, 8, p.b, 8));
	wr = wr_rdma(p.a, IBV_WR_RDMA_WRITE, i, 0, 8, p.b, 8);
	check_rc(try_post_send(p.a, &wr), ENOMEM);
	for (i = 0; i < (int)attr.cap.max_recv_wr; i++)
		post_recv(p.b, i, 0, 8);
	check_rc(try_post_recv(p.b, &wr), ENOMEM);
	end_rtr(p.b, p.a);
	end_rts(p.b);
	for (i = 0; i < depth; i++)
		expect_send(p.a, i, IBV_WC_SUCCESS);
	/* A completion makes room. */
	for (i = 0; i < 20; i++)
		list[i] = wr_rdma(p.a, IBV_WR_RDMA_WRITE, i, 0, 8, p.b, 8);
	post_send_list(p.a, list, 16);
	for (i = 0; i < 16; i++)
		expect_send(p.a, i, IBV_WC_SUCCESS);
	pair_close(&p);
}

/* A list stops at the first bad one; those before it are posted. */
static void bad_wr(void)
{
	struct ibv_send_wr send[3] = {
		{ .wr_id = 1, .next = &send[1], .opcode = IBV_WR_RDMA_WRITE,
		  .send_flags = IBV_SEND_SIGNALED },
		{ .wr_id = 2, .next = &send[2], .opcode = 77 },
		{ .wr_id = 3, .opcode = IBV_WR_RDMA_WRITE,
		  .send_flags = IBV_SEND_SIGNALED },
	}, *bad_send = NULL;
	struct ibv_recv_wr recv[3] = {
		{ .wr_id = 4, .next = &recv[1] },
		{ .wr_id = 5, .next = &recv[2], .num_sge = 999 },
		{ .wr_id = 6 },
	}, *bad_recv = NULL;
	struct pair p;

	pair_open(&p, TOPO_CONTEXT, NULL, NULL);
	check_rc(ibv_post_send(p.a->qp, send, &bad_send), EOPNOTSUPP);
	check(bad_send == &send[1]);
	expect_send(p.a, 1, IBV_WC_SUCCESS);
	expect_no_wc(p.a, CQ_SEND, 1);
	check_rc(ibv_post_recv(p.b->qp, recv, &bad_recv), EINVAL);
	check(bad_recv == &recv[1]);
	send[0].opcode = IBV_WR_SEND;
	send[0].next = NULL;
	check_rc(ibv_post_send(p.a->qp, send, &bad_send), 0);
	expect_send(p.a, 1, IBV_WC_SUCCESS);
	expect_recv(p.b, 4, IBV_WC_SUCCESS);
	pair_close(&p);
}

/* ---- order -------------------------------------------------------------- */

static struct wr random_wr(struct pair *p, struct rng *r, uint64_t id, size_t src)
{
	static const enum ibv_wr_opcode ops[] = {
		IBV_WR_SEND, IBV_WR_RDMA_WRITE, IBV_WR_RDMA_WRITE_WITH_IMM,
		IBV_WR_RDMA_READ, IBV_WR_ATOMIC_FETCH_AND_ADD,
	};
	enum ibv_wr_opcode op = ops[rng_below(r, ARRAY_SIZE(ops))];
	uint32_t len = rng_below(r, 8) ? rng_below(r, 3000) :
					 rng_below(r, 300000);

	if (op == IBV_WR_ATOMIC_FETCH_AND_ADD)
		return wr_fetch_add(p->a, id, src, p->b, 3 * MIB, 1);
	return wr_rdma(p->a, op, id, src, len, p->b, DST);
}

static void order_pair(struct pair *p)
{
	struct rng r = { 0x1234567 + p->topo };
	uint64_t done = 0, id, atomics_done = 0;
	const uint64_t total = 1500;

	*(uint64_t *)(p->b->mem + 3 * MIB) = 0;
	for (id = 0; id < total; id++) {
		struct wr wr = random_wr(p, &r, id, SRC);

		if (wr.op == IBV_WR_ATOMIC_FETCH_AND_ADD) {
			atomics_done++;
			wr.sge[0].addr = (uintptr_t)p->a->mem + MIB;
		}
		if (wr.op == IBV_WR_SEND || wr.op == IBV_WR_RDMA_WRITE_WITH_IMM)
			post_recv(p->b, id, DST, MIB);
		if (!rng_below(&r, 8))
			wr.flags |= IBV_SEND_FENCE;
		post_send(p->a, wr);
		while (id - done > 60)
			expect_send(p->a, done++, IBV_WC_SUCCESS);
		while (p->a != p->b && rng_below(&r, 3) == 0) {
			struct ibv_wc wc;

			if (!wait_wc_ms(p->b, CQ_RECV, &wc, 0))
				break;
			check_eq(wc.status, IBV_WC_SUCCESS);
		}
	}
	while (done < total)
		expect_send(p->a, done++, IBV_WC_SUCCESS);
	check_eq(*(uint64_t *)(p->b->mem + 3 * MIB), atomics_done);
}

static void order(void)
{
	struct opts o = big;

	o.recv_wr = 2048;
	o.cqe = 4096;
	for_each_topo(order_pair, &o);
}

/*
 * A WRITE that sends what a READ before it brings is right only with a fence.
 */
static void fence_pair(struct pair *p)
{
	unsigned int i, n = 60;
	const uint32_t len = 20000;

	for (i = 0; i < n; i++) {
		struct wr read = wr_rdma(p->a, IBV_WR_RDMA_READ, 2 * i, MIB, len,
					 p->b, 0);
		struct wr write = wr_rdma(p->a, IBV_WR_RDMA_WRITE, 2 * i + 1, MIB,
					  len, p->b, DST);

		fill(p->b->mem, len, i);
		memset(p->a->mem + MIB, 0x77, len);
		write.flags |= IBV_SEND_FENCE;
		read.flags = 0;
		post_send(p->a, read);
		post_send(p->a, write);
		expect_send(p->a, 2 * i + 1, IBV_WC_SUCCESS);
		check_fill(p->b->mem + DST, len, i);
	}
}

static void fence(void)
{
	for_each_topo(fence_pair, &big);
}

/* ---- limits of READs and atomics ---------------------------------------- */

static void rd_limit(uint8_t limit, enum topo t)
{
	struct opts o = big;
	struct pair p;
	int i;

	o.rd_atomic = limit;
	o.dest_rd_atomic = limit;
	test_context("max_rd_atomic %u, %s", limit, topo_name(t));
	pair_open(&p, t, &o, NULL);
	fill(p.b->mem, MIB, limit);
	for (i = 0; i < 100; i++)
		post_send(p.a, wr_rdma(p.a, IBV_WR_RDMA_READ, i, MIB + i * 5000,
				       5000, p.b, i * 5000 % 800000 & ~7u));
	for (i = 0; i < 100; i++)
		expect_send(p.a, i, IBV_WC_SUCCESS);
	check_fill(p.a->mem + MIB, 5000, limit);
	*(uint64_t *)p.b->mem = 0;
	for (i = 0; i < 100; i++)
		post_send(p.a, wr_fetch_add(p.a, i, MIB + i * 8, p.b, 0, 1));
	for (i = 0; i < 100; i++)
		expect_send(p.a, i, IBV_WC_SUCCESS);
	for (i = 0; i < 100; i++)
		check_eq(((uint64_t *)(p.a->mem + MIB))[i], i);
	pair_close(&p);
}

static void rd_atomic_limits(void)
{
	static const uint8_t limits[] = { 1, 2, 16, 128 };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(limits); i++) {
		rd_limit(limits[i], TOPO_CONTEXT);
		rd_limit(limits[i], TOPO_PROCESSES);
	}
	rd_limit(4, TOPO_SELF);
}

/* ---- both directions at once -------------------------------------------- */

static void both_ways_pair(struct pair *p)
{
	static const uint32_t lens[] = { 500000, 64, 4096, 70000, 8, 262144 };
	struct end *ends[2] = { p->a, p->b };
	unsigned int i, k, rounds = 40;

	for (i = 0; i < rounds; i++) {
		uint32_t len = lens[i % ARRAY_SIZE(lens)];

		for (k = 0; k < 2; k++) {
			post_recv(ends[k], i, DST, len);
			fill(ends[k]->mem + SRC, len, i * 2 + k);
		}
		for (k = 0; k < 2; k++) {
			struct end *e = ends[k], *to = ends[1 - k];

			post_send(e, wr_rdma(e, IBV_WR_RDMA_READ, 1, 3 * MIB, 9000,
					     to, SRC));
			post_send(e, wr_make(e, IBV_WR_SEND, 2, SRC, len));
		}
		for (k = 0; k < 2; k++) {
			expect_send(ends[k], 1, IBV_WC_SUCCESS);
			expect_send(ends[k], 2, IBV_WC_SUCCESS);
			expect_recv(ends[k], i, IBV_WC_SUCCESS);
			check_fill(ends[k]->mem + DST, len, i * 2 + 1 - k);
		}
	}
}

static void both_ways(void)
{
	struct pair p;
	int t;

	for (t = TOPO_CONTEXT; t < TOPOS; t++) {
		test_context("%s", topo_name(t));
		pair_open(&p, t, &big, NULL);
		both_ways_pair(&p);
		pair_close(&p);
	}
}

/*
 * Deep queues of large and small payloads in both directions: whatever is kept
 * until the peer acknowledges it, acknowledgements must still get through.
 */
static void deep_both_ways_pair(struct pair *p, uint32_t large, uint32_t small)
{
	struct end *ends[2] = { p->a, p->b };
	unsigned int posted[2] = { 0, 0 }, done[2] = { 0, 0 }, k;
	const unsigned int total = 400;
	struct ibv_wc wc;

	while (done[0] + done[1] < 2 * total) {
		for (k = 0; k < 2; k++) {
			struct end *e = ends[k];

			for (; posted[k] < total && posted[k] - done[k] < 128;
			     posted[k]++)
				post_send(e, wr_rdma(e, IBV_WR_RDMA_WRITE, posted[k],
						     SRC, posted[k] & 1 ? small :
						     large, ends[1 - k], DST));
			while (wait_wc_ms(e, CQ_SEND, &wc, 0))
				check_wc_at(__FILE__, __LINE__, &wc, done[k]++,
					    IBV_WC_SUCCESS);
		}
	}
}

static void deep_both_ways(void)
{
	struct pair p;
	int t;

	for (t = TOPO_CONTEXT; t < TOPOS; t++) {
		test_context("%s", topo_name(t));
		pair_open(&p, t, &big, NULL);
		deep_both_ways_pair(&p, 300000, 2000);
		deep_both_ways_pair(&p, 200000, 2048);
		deep_both_ways_pair(&p, 1000000, 8);
		pair_close(&p);
	}
}

/* A READ's answer is not held up by a SEND that finds no receive. */
static void read_behind_rnr(void)
{
	struct opts o = big;
	struct pair p;
	int i, t;

	o.min_rnr_timer = 14;	/* 1 ms */
	for (t = TOPO_CONTEXT; t < TOPOS; t++) {
		test_context("%s", topo_name(t));
		pair_open(&p, t, &o, NULL);
		for (i = 0; i < 4; i++)
			post_send(p.b, wr_make(p.b, IBV_WR_SEND, i, SRC, 100000));
		for (i = 0; i < 4; i++)
			post_send(p.a, wr_make(p.a, IBV_WR_SEND, 10 + i, SRC, 9));
		/* Neither side can receive; now a third thing in each direction. */
		for (i = 0; i < 4; i++)
			post_recv(p.b, i, DST, 100);
		for (i = 0; i < 4; i++)
			expect_send(p.a, 10 + i, IBV_WC_SUCCESS);
		for (i = 0; i < 20; i++) {
			post_send(p.a, wr_rdma(p.a, IBV_WR_RDMA_READ, 20, DST,
					       300000, p.b, SRC));
			expect_send(p.a, 20, IBV_WC_SUCCESS);
		}
		for (i = 0; i < 4; i++)
			post_recv(p.a, i, DST, 100000);
		for (i = 0; i < 4; i++)
			expect_send(p.b, i, IBV_WC_SUCCESS);
		for (i = 0; i < 4; i++) {
			expect_recv(p.a, i, IBV_WC_SUCCESS);
			expect_recv(p.b, i, IBV_WC_SUCCESS);
		}
		pair_close(&p);
	}
}

/* ---- RNR ---------------------------------------------------------------- */

/* rnr_retry 7 waits for as long as it takes, and nothing is lost or doubled. */
static void rnr_pair(struct pair *p)
{
	struct ibv_wc wc;
	int i;

	for (i = 0; i < 40; i++) {
		struct wr wr = wr_rdma(p->a, i % 3 ? IBV_WR_SEND :
				       IBV_WR_RDMA_WRITE_WITH_IMM, i, SRC + i * 8,
				       i % 5 ? 8 : 100000, p->b, 3 * MIB);

		wr.imm = i;
		*(uint64_t *)(p->a->mem + SRC + i * 8) = i;
		post_send(p->a, wr);
	}
	expect_no_wc(p->a, CQ_SEND, 20);
	for (i = 0; i < 40; i++) {
		post_recv(p->b, i, DST, 200000);
		wait_wc(p->b, CQ_RECV, &wc);
		check_wc_at(__FILE__, __LINE__, &wc, i, IBV_WC_SUCCESS);
		check_eq(wc.byte_len, i % 5 ? 8 : 100000);
		check_eq(*(uint64_t *)(p->b->mem + (i % 3 ? DST : 3 * MIB)), i);
		if (!(i % 4))
			sleep_ms(1);
	}
	for (i = 0; i < 40; i++)
		expect_send(p->a, i, IBV_WC_SUCCESS);
	expect_no_wc(p->b, CQ_RECV, 1);
}

static void rnr_waits(void)
{
	for_each_topo(rnr_pair, &big);
}

/*
 * How long a SEND takes whose receive is posted @ms later, but no less than @least, at
 * best: on a machine that is busy with other things it may take any time, and may
 * arrive after the receive.
 */
static uint64_t rnr_best_ns(struct pair *p, unsigned int ms, uint64_t least)
{
	uint64_t start, ns = 0, best = UINT64_MAX;
	int i;

	for (i = 0; i < 8; i++) {
		start = now_ns();
		post_send(p->a, wr_make(p->a, IBV_WR_SEND, 2, 0, 8));
		sleep_ms(ms);
		post_recv(p->b, 3, 0, 8);
		expect_send(p->a, 2, IBV_WC_SUCCESS);
		expect_recv(p->b, 3, IBV_WC_SUCCESS);
		ns = now_ns() - start;
		if (ns > least && ns < best)
			best = ns;
	}
	check_msg(best < UINT64_MAX, "took only %.2f ms", ns / 1e6);
	return best;
}

/* The responder's timer is waited for: 24 is 40.96 ms, 5 is 60 us. */
static void rnr_timer(void)
{
	struct opts o = { .min_rnr_timer = 24 };
	struct ibv_qp_attr attr = { .min_rnr_timer = 5 };
	struct pair p;
	uint64_t best;

	pair_open(&p, TOPO_CONTEXTS, &o, NULL);
	/* Connect first. */
	post_send(p.a, wr_rdma(p.a, IBV_WR_RDMA_WRITE, 1, 0, 8, p.b, 8));
	expect_send(p.a, 1, IBV_WC_SUCCESS);
	best = rnr_best_ns(&p, 25, 40960000);
	check_msg(best < 150000000ull * test_slow(), "took %.2f ms", best / 1e6);
	/* It can be changed in RTS. */
	check_rc(end_modify(p.b, &attr, IBV_QP_MIN_RNR_TIMER), 0);
	best = rnr_best_ns(&p, 2, 0);
	check_msg(best < 30000000ull * test_slow(), "took %.2f ms", best / 1e6);
	pair_close(&p);
}

static const struct test_case cases[] = {
	CASE_LIMIT(each_opcode, 60),
	CASE(short_message),
	CASE(atomics),
	CASE_LIMIT(sge_lists, 60),
	CASE(sge_too_many),
	CASE(inline_data),
	CASE(inline_limits),
	CASE(zero_length),
	CASE(unsignaled),
	CASE(sig_all),
	CASE(unpolled),
	CASE(full_queue),
	CASE(bad_wr),
	CASE(order),
	CASE(fence),
	CASE(rd_atomic_limits),
	CASE(both_ways),
	CASE(deep_both_ways),
	CASE(read_behind_rnr),
	CASE(rnr_waits),
	CASE(rnr_timer),
	CASES_END
};

int main(int argc, char **argv)
{
	return test_main(argc, argv, cases);
}
