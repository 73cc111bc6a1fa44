// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * mr.c - memory regions: addresses that peers use, overlap, changing and
 * removing them while they are in use, memory that is gone or cannot be
 * written, keys.
 */
#include "common.h"

#include <pthread.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct opts plain = { .mem_bytes = 4 * MIB, .min_retry_ms = 1000 };

static struct wr wr_to(const struct end *e, enum ibv_wr_opcode op, uint32_t len,
		       uint64_t raddr, uint32_t rkey)
{
	struct wr wr = wr_make(e, op, 1, 0, len);

	wr.raddr = raddr;
	wr.rkey = rkey;
	return wr;
}

static void write_to(struct pair *p, uint32_t len, uint64_t raddr, uint32_t rkey)
{
	post_send(p->a, wr_to(p->a, IBV_WR_RDMA_WRITE, len, raddr, rkey));
	expect_send(p->a, 1, IBV_WC_SUCCESS);
}

/* Both to RTS again after an error. */
static void reconnect(struct pair *p)
{
	end_state(p->a, IBV_QPS_RESET);
	end_state(p->b, IBV_QPS_RESET);
	while (wait_event_ms(p->b, 0) >= 0)
		;
	end_init(p->a);
	end_init(p->b);
	end_connect(p->a, p->b);
}

static void write_refused(struct pair *p, uint32_t len, uint64_t raddr,
			  uint32_t rkey)
{
	post_send(p->a, wr_to(p->a, IBV_WR_RDMA_WRITE, len, raddr, rkey));
	expect_send(p->a, 1, IBV_WC_REM_ACCESS_ERR);
	reconnect(p);
}

/* ---- addresses ---------------------------------------------------------- */

/* Peers see the region at any address that the application likes. */
static void iova(void)
{
	static const uint64_t at[] = {
		0, 4096, 0x123456789000, 0xfffffffffffff000 - MIB, 3 << 20 | 8
	};
	struct pair p;
	unsigned int i;

	pair_open(&p, TOPO_CONTEXTS, &plain, NULL);
	fill(p.a->mem, MIB, 1);
	for (i = 0; i < ARRAY_SIZE(at); i++) {
		uint8_t *mem = p.b->mem + 3 * MIB - 4096;
		struct ibv_mr *mr = ibv_reg_mr_iova(p.b->pd, mem, MIB, at[i],
						    ACCESS_ALL);

		test_context("iova 0x%llx", (unsigned long long)at[i]);
		check_msg(mr, "%m");
		memset(p.b->mem, 0xee, p.b->mem_bytes);
		write_to(&p, 5000, at[i] + 64, mr->rkey);
		check_fill(mem + 64, 5000, 1);
		check_bytes(mem, 64, 0xee);
		write_to(&p, MIB, at[i], mr->rkey);
		check_fill(mem, MIB, 1);
		post_send(p.a, wr_to(p.a, IBV_WR_RDMA_READ, 64, at[i] + 128,
				     mr->rkey));
		expect_send(p.a, 1, IBV_WC_SUCCESS);
		check(!memcmp(p.a->mem, mem + 128, 64));
		fill(p.a->mem, MIB, 1);
		write_refused(&p, 8, at[i] - 8, mr->rkey);
		write_refused(&p, 8, at[i] + MIB - 7, mr->rkey);
		write_refused(&p, 8, (uintptr_t)mem, mr->rkey);
		/* Local use takes the same addresses. */
		{
			struct wr r = { .id = 2, .num_sge = 1 };

			r.sge[0].addr = at[i] + 4096;
			r.sge[0].length = 100;
			r.sge[0].lkey = mr->lkey;
			check_rc(try_post_recv(p.b, &r), 0);
			post_send(p.a, wr_make(p.a, IBV_WR_SEND, 3, 0, 100));
			expect_send(p.a, 3, IBV_WC_SUCCESS);
			expect_recv(p.b, 2, IBV_WC_SUCCESS);
			check_fill(mem + 4096, 100, 1);
		}
		check_rc(ibv_dereg_mr(mr), 0);
	}
	pair_close(&p);
}

/*
 * Zero-based, and not aligned. Atomics need a place that is aligned in memory,
 * too, which is why such a region cannot have them.
 */
static void zero_based(void)
{
	const int access = ACCESS_ALL & ~IBV_ACCESS_REMOTE_ATOMIC;
	struct pair p;
	struct ibv_mr *mr;
	struct wr wr;

	pair_open(&p, TOPO_CONTEXTS, &plain, NULL);
	check_errno_ptr(ibv_reg_mr(p.b->pd, p.b->mem + 4, 4096,
				   ACCESS_ALL | IBV_ACCESS_ZERO_BASED), EINVAL);
	mr = ibv_reg_mr(p.b->pd, p.b->mem + 4, 4096,
			access | IBV_ACCESS_ZERO_BASED);
	check_msg(mr, "%m");
	fill(p.a->mem, 4096, 2);
	write_to(&p, 4096, 0, mr->rkey);
	check_fill(p.b->mem + 4, 4096, 2);
	write_refused(&p, 8, 4089, mr->rkey);
	check_rc(ibv_dereg_mr(mr), 0);
	mr = ibv_reg_mr(p.b->pd, p.b->mem + 8, 4096,
			ACCESS_ALL | IBV_ACCESS_ZERO_BASED);
	check_msg(mr, "%m");
	memset(p.b->mem, 0, 4096);
	wr = wr_to(p.a, IBV_WR_ATOMIC_FETCH_AND_ADD, 8, 64, mr->rkey);
	wr.compare_add = 0x0102030405060708;
	post_send(p.a, wr);
	expect_send(p.a, 1, IBV_WC_SUCCESS);
	check(!memcmp(p.b->mem + 8 + 64, &wr.compare_add, 8));
	check_rc(ibv_dereg_mr(mr), 0);
	pair_close(&p);
}

/* Regions of the same memory with different rights. */
static void overlap(void)
{
	struct pair p;
	struct ibv_mr *ro, *rw, *part;
	uint8_t *mem;

	pair_open(&p, TOPO_CONTEXTS, &plain, NULL);
	mem = p.b->mem;
	ro = ibv_reg_mr(p.b->pd, mem, MIB, IBV_ACCESS_REMOTE_READ);
	rw = ibv_reg_mr(p.b->pd, mem, MIB, ACCESS_ALL);
	part = ibv_reg_mr(p.b->pd, mem + 100, 50, ACCESS_ALL);
	check(ro && rw && part);
	check(ro->rkey != rw->rkey && rw->rkey != part->rkey);
	fill(p.a->mem, MIB, 3);
	write_to(&p, 50, (uintptr_t)mem + 100, part->rkey);
	check_fill(mem + 100, 50, 3);
	write_refused(&p, 51, (uintptr_t)mem + 100, part->rkey);
	write_refused(&p, 50, (uintptr_t)mem + 100, ro->rkey);
	check_rc(ibv_dereg_mr(part), 0);
	write_to(&p, MIB, (uintptr_t)mem, rw->rkey);
	post_send(p.a, wr_to(p.a, IBV_WR_RDMA_READ, MIB, (uintptr_t)mem, ro->rkey));
	expect_send(p.a, 1, IBV_WC_SUCCESS);
	check_fill(p.a->mem, MIB, 3);
	check_rc(ibv_dereg_mr(rw), 0);
	check_rc(ibv_dereg_mr(ro), 0);
	pair_close(&p);
}

/* Adjacent regions are two, not one; a message spans them by two SGEs. */
static void adjacent(void)
{
	struct pair p;
	struct ibv_mr *l, *r;
	struct wr wr;

	pair_open(&p, TOPO_CONTEXTS, &plain, NULL);
	l = ibv_reg_mr(p.b->pd, p.b->mem, 4096, ACCESS_ALL);
	r = ibv_reg_mr(p.b->pd, p.b->mem + 4096, 4096, ACCESS_ALL);
	check(l && r);
	fill(p.a->mem, 8192, 4);
	write_refused(&p, 8192, (uintptr_t)p.b->mem, l->rkey);
	wr = (struct wr) { .id = 2, .num_sge = 2 };
	wr.sge[0] = (struct ibv_sge) { (uintptr_t)p.b->mem, 4096, l->lkey };
	wr.sge[1] = (struct ibv_sge) { (uintptr_t)p.b->mem + 4096, 4096, r->lkey };
	check_rc(try_post_recv(p.b, &wr), 0);
	post_send(p.a, wr_make(p.a, IBV_WR_SEND, 3, 0, 8192));
	expect_send(p.a, 3, IBV_WC_SUCCESS);
	expect_recv(p.b, 2, IBV_WC_SUCCESS);
	check_fill(p.b->mem, 8192, 4);
	check_rc(ibv_dereg_mr(l), 0);
	check_rc(ibv_dereg_mr(r), 0);
	pair_close(&p);
}

/* ---- changing ----------------------------------------------------------- */

static void rereg(void)
{
	struct pair p;
	struct ibv_pd *pd2;
	struct ibv_mr *mr;
	uint32_t old;
	uint8_t *mem;

	pair_open(&p, TOPO_CONTEXTS, &plain, NULL);
	pd2 = ibv_alloc_pd(p.b->ctx);
	mem = p.b->mem;
	mr = ibv_reg_mr(p.b->pd, mem, 4096, ACCESS_ALL);
	check(mr && pd2);
	write_to(&p, 64, (uintptr_t)mem, mr->rkey);

	check_eq(ibv_rereg_mr(mr, IBV_REREG_MR_CHANGE_TRANSLATION, NULL, mem + 8192,
			      8192, 0), 0);
	check(mr->addr == mem + 8192 && mr->length == 8192);
	fill(p.a->mem, 8192, 5);
	write_to(&p, 8192, (uintptr_t)mem + 8192, mr->rkey);
	check_fill(mem + 8192, 8192, 5);
	write_refused(&p, 64, (uintptr_t)mem, mr->rkey);

	check_eq(ibv_rereg_mr(mr, IBV_REREG_MR_CHANGE_ACCESS, NULL, NULL, 0,
			      IBV_ACCESS_REMOTE_READ), 0);
	write_refused(&p, 64, (uintptr_t)mem + 8192, mr->rkey);
	check_eq(ibv_rereg_mr(mr, IBV_REREG_MR_CHANGE_PD |
			      IBV_REREG_MR_CHANGE_ACCESS, pd2, NULL, 0,
			      ACCESS_ALL), 0);
	check(mr->pd == pd2);
	check_rc(ibv_dealloc_pd(pd2), EBUSY);
	old = mr->rkey;
	write_refused(&p, 64, (uintptr_t)mem + 8192, mr->rkey);
	check_eq(ibv_rereg_mr(mr, IBV_REREG_MR_CHANGE_PD, p.b->pd, NULL, 0, 0), 0);
	write_to(&p, 64, (uintptr_t)mem + 8192, mr->rkey);
	if (mr->rkey != old)
		write_refused(&p, 64, (uintptr_t)mem + 8192, old);
	check_rc(ibv_dealloc_pd(pd2), 0);

	/* What cannot be leaves it as it is. */
	check(ibv_rereg_mr(mr, 0, NULL, NULL, 0, 0) != 0);
	check(ibv_rereg_mr(mr, IBV_REREG_MR_CHANGE_ACCESS, NULL, NULL, 0,
			   IBV_ACCESS_REMOTE_WRITE) != 0);
	check(ibv_rereg_mr(mr, IBV_REREG_MR_CHANGE_TRANSLATION, NULL, mem, 0, 0) != 0);
	check(ibv_rereg_mr(mr, 1 << 10, NULL, NULL, 0, 0) != 0);
	write_to(&p, 64, (uintptr_t)mem + 8192, mr->rkey);
	check_rc(ibv_dereg_mr(mr), 0);
	pair_close(&p);
}

/* ---- removing while in use ---------------------------------------------- */

/* What a storm of requests meets: success first, then one refusal. */
static void expect_storm(struct end *e, unsigned int n, enum ibv_wc_status end,
			 enum ibv_wc_status or)
{
	bool over = false;
	struct ibv_wc wc;
	unsigned int i;

	for (i = 0; i < n; i++) {
		wait_wc(e, CQ_SEND, &wc);
		check_eq(wc.wr_id, i);
		if (over) {
			check_eq(wc.status, IBV_WC_WR_FLUSH_ERR);
		} else if (wc.status != IBV_WC_SUCCESS) {
			check_msg(wc.status == end || wc.status == or ||
				  wc.status == IBV_WC_WR_FLUSH_ERR,
				  "%s", ibv_wc_status_str(wc.status));
			over = true;
		}
	}
}

/*
 * The responder removes the region and its memory at any moment: afterwards
 * nobody touches that memory, and the process lives.
 */
static void remote_gone_one(enum ibv_wr_opcode op, uint32_t len, unsigned int us)
{
	uint8_t *mem = mmap(NULL, 2 * MIB, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct ibv_mr *mr;
	struct pair p;
	unsigned int i;

	test_context("opcode %d, %u bytes, after %u us", op, len, us);
	pair_open(&p, TOPO_CONTEXTS, &plain, NULL);
	mr = ibv_reg_mr(p.b->pd, mem, 2 * MIB, ACCESS_ALL);
	check(mem != MAP_FAILED && mr);
	write_to(&p, 8, (uintptr_t)mem, mr->rkey);
	for (i = 0; i < 60; i++) {
		struct wr wr = wr_to(p.a, op, len, (uintptr_t)mem + i * 8, mr->rkey);

		wr.id = i;
		post_send(p.a, wr);
	}
	usleep(us);
	check_rc(ibv_dereg_mr(mr), 0);
	check_eq(munmap(mem, 2 * MIB), 0);
	/* An answer that was cut off in its middle ends with the connection. */
	expect_storm(p.a, 60, IBV_WC_REM_ACCESS_ERR,
		     op == IBV_WR_RDMA_READ ? IBV_WC_RETRY_EXC_ERR :
					      IBV_WC_REM_ACCESS_ERR);
	/* The QP of the responder can be used again. */
	reconnect(&p);
	post_send(p.a, wr_rdma(p.a, IBV_WR_RDMA_WRITE, 7, 0, 64, p.b, 0));
	expect_send(p.a, 7, IBV_WC_SUCCESS);
	pair_close(&p);
}

static void remote_gone(void)
{
	static const uint32_t lens[] = { 8, 3000, 70000, MIB };
	unsigned int i, us;

	for (i = 0; i < ARRAY_SIZE(lens); i++) {
		for (us = 0; us < 3000; us = us * 2 + 40) {
			remote_gone_one(IBV_WR_RDMA_WRITE, lens[i], us);
			remote_gone_one(IBV_WR_RDMA_READ, lens[i], us);
		}
	}
}

/* The requester's own memory: what it sends, what it reads into. */
static void local_gone_one(enum ibv_wr_opcode op, uint32_t len, unsigned int us)
{
	uint8_t *mem = mmap(NULL, 2 * MIB, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct ibv_mr *mr;
	struct pair p;
	unsigned int i;

	test_context("opcode %d, %u bytes, after %u us", op, len, us);
	pair_open(&p, TOPO_CONTEXTS, &plain, NULL);
	mr = ibv_reg_mr(p.a->pd, mem, 2 * MIB, ACCESS_ALL);
	check(mem != MAP_FAILED && mr);
	memset(p.b->mem, 0, 2 * MIB);
	write_to(&p, 8, (uintptr_t)p.b->mem, p.b->rkey);
	memset(mem, 0x55, 2 * MIB);
	for (i = 0; i < 60; i++) {
		struct wr wr = wr_rdma(p.a, op, i, 0, len, p.b, 0);

		wr.sge[0].addr = (uintptr_t)mem + i * 8;
		wr.sge[0].lkey = mr->lkey;
		post_send(p.a, wr);
	}
	usleep(us);
	check_rc(ibv_dereg_mr(mr), 0);
	/* Other data in its place must not travel. */
	check(mmap(mem, 2 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE |
		   MAP_ANONYMOUS | MAP_FIXED, -1, 0) == mem);
	memset(mem, 0xaa, 2 * MIB);
	expect_storm(p.a, 60, IBV_WC_LOC_PROT_ERR, IBV_WC_LOC_PROT_ERR);
	if (op == IBV_WR_RDMA_READ)
		check_bytes(mem, 2 * MIB, 0xaa);
	else
		for (i = 8; i < len; i++)
			check(p.b->mem[i] != 0xaa);
	check_eq(munmap(mem, 2 * MIB), 0);
	pair_close(&p);
}

static void local_gone(void)
{
	static const uint32_t lens[] = { 8, 3000, 70000, MIB };
	unsigned int i, us;

	for (i = 0; i < ARRAY_SIZE(lens); i++) {
		for (us = 0; us < 3000; us = us * 2 + 40) {
			local_gone_one(IBV_WR_RDMA_WRITE, lens[i], us);
			local_gone_one(IBV_WR_RDMA_READ, lens[i], us);
		}
	}
}

/* A receive's region goes before the message comes, or in its middle. */
static void receive_gone(void)
{
	struct pair p;
	unsigned int us;
	struct ibv_wc wc;

	for (us = 0; us < 3000; us = us * 2 + 40) {
		uint8_t *mem = mmap(NULL, 2 * MIB, PROT_READ | PROT_WRITE,
				    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		struct wr r = { .id = 1, .num_sge = 1 };
		struct ibv_mr *mr;

		test_context("after %u us", us);
		pair_open(&p, TOPO_CONTEXTS, &plain, NULL);
		mr = ibv_reg_mr(p.b->pd, mem, 2 * MIB, ACCESS_ALL);
		check(mr);
		r.sge[0] = (struct ibv_sge) { (uintptr_t)mem, 2 * MIB, mr->lkey };
		check_rc(try_post_recv(p.b, &r), 0);
		post_send(p.a, wr_make(p.a, IBV_WR_SEND, 2, 0, 2 * MIB));
		usleep(us);
		check_rc(ibv_dereg_mr(mr), 0);
		check_eq(munmap(mem, 2 * MIB), 0);
		wait_wc(p.b, CQ_RECV, &wc);
		check_eq(wc.wr_id, 1);
		if (wc.status == IBV_WC_SUCCESS) {
			expect_send(p.a, 2, IBV_WC_SUCCESS);
		} else {
			check_eq(wc.status, IBV_WC_LOC_PROT_ERR);
			expect_send(p.a, 2, IBV_WC_REM_OP_ERR);
		}
		pair_close(&p);
	}
}

static void *destroy_qp(void *arg)
{
	check_rc(ibv_destroy_qp(arg), 0);
	return NULL;
}

/*
 * Another thread destroys the QP, which still places what has arrived. When
 * ibv_dereg_mr() returns, that does not write to the region any more.
 */
static void gone_beside_destroy(void)
{
	const uint32_t len = MIB;
	struct rng r = { 1 };
	unsigned int i, k;

	for (i = 0; i < 150; i++) {
		uint8_t *mem = map_private(len);
		struct ibv_mr *mr;
		pthread_t thread;
		struct pair p;

		test_context("run %u", i);
		pair_open(&p, TOPO_CONTEXTS, &plain, NULL);
		mr = ibv_reg_mr(p.b->pd, mem, len, ACCESS_ALL);
		check(mr);
		memset(p.a->mem, 0x55, len);
		for (k = 0; k < 60; k++)
			post_send(p.a, wr_to(p.a, IBV_WR_RDMA_WRITE, len,
					     (uintptr_t)mem, mr->rkey));
		check(!pthread_create(&thread, NULL, destroy_qp, p.b->qp));
		p.b->qp = NULL;
		usleep(rng_below(&r, 150));
		check_rc(ibv_dereg_mr(mr), 0);
		memset(mem, 0xaa, len);
		check(!pthread_join(thread, NULL));
		check_bytes(mem, len, 0xaa);
		unmap(mem, len);
		pair_close(&p);
	}
}

/* ---- keys --------------------------------------------------------------- */

static int compare_u32(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

/* Different, never the same again soon, and not to be guessed by counting. */
static void keys(void)
{
	enum { LIVE = 3000, AGAIN = 1000 };
	static struct ibv_mr *mr[LIVE];
	static uint32_t key[LIVE + AGAIN];
	struct end *e = end_new(&plain, false, NULL);
	unsigned int i, near = 0;

	for (i = 0; i < LIVE; i++) {
		mr[i] = ibv_reg_mr(e->pd, e->mem, 4096, 0);
		check(mr[i]);
		key[i] = mr[i]->rkey;
		if (i && key[i] - key[i - 1] + 4096 < 8192)
			near++;
	}
	for (i = 0; i < LIVE; i++)
		check_rc(ibv_dereg_mr(mr[i]), 0);
	for (; i < LIVE + AGAIN; i++) {
		mr[0] = ibv_reg_mr(e->pd, e->mem, 4096, 0);
		check(mr[0]);
		key[i] = mr[0]->rkey;
		check_rc(ibv_dereg_mr(mr[0]), 0);
	}
	check_msg(near < 10, "%u of %u keys are next to the one before", near, LIVE);
	qsort(key, LIVE + AGAIN, sizeof(*key), compare_u32);
	for (i = 1; i < LIVE + AGAIN; i++)
		check(key[i] != key[i - 1]);
	end_free(e);
}

/* A peer keeps a key: it is good for nothing until all places of the table have been used. */
static void key_comes_back_late(void)
{
	struct end *e = end_new(&plain, false, NULL);
	struct ibv_mr *mr = ibv_reg_mr(e->pd, e->mem, 4096, 0);
	uint32_t key = mr->rkey;
	unsigned int i;

	check_rc(ibv_dereg_mr(mr), 0);
	for (i = 0; i < 50000; i++) {
		mr = ibv_reg_mr(e->pd, e->mem, 4096, 0);
		check(mr);
		check_msg(mr->rkey != key, "again after %u registrations", i);
		check_rc(ibv_dereg_mr(mr), 0);
	}
	end_free(e);
}

/* ---- memory that cannot be used ------------------------------------------ */

static void refused(struct end *e, void *addr, size_t len, int access)
{
	struct ibv_mr *mr = ibv_reg_mr(e->pd, addr, len, access);

	check_msg(!mr, "%p, %zu bytes, access %d: registered", addr, len, access);
	check_eq(errno, EFAULT);
}

/*
 * Registration finds out, as it does with an adapter, whose pages are pinned: the first
 * pages, those in the middle, the last, of small regions and of large ones.
 */
static void unusable_memory(void)
{
	static const size_t sizes[] = { 16 << 10, 8 << 20 };
	struct end *e = end_new(&plain, false, NULL);
	const int local = IBV_ACCESS_LOCAL_WRITE;
	struct ibv_mr *mr;
	unsigned int i;

	refused(e, NULL, 4096, local);
	refused(e, (void *)(1ul << 46), 4096, local);	/* nor a sanitizer's */
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		size_t len = sizes[i];
		uint8_t *mem = mmap(NULL, len, PROT_READ | PROT_WRITE,
				    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		check(mem != MAP_FAILED);
		mr = ibv_reg_mr(e->pd, mem, len, local);
		check_msg(mr, "%m");
		check_rc(ibv_dereg_mr(mr), 0);
		/* Read-only memory may be sent from. */
		check(!mprotect(mem, len, PROT_READ));
		refused(e, mem, len, local);
		mr = ibv_reg_mr(e->pd, mem, len, IBV_ACCESS_REMOTE_READ);
		check_msg(mr, "%m");
		check(ibv_rereg_mr(mr, IBV_REREG_MR_CHANGE_ACCESS, NULL, NULL, 0,
				   local) != 0);
		check_rc(ibv_dereg_mr(mr), 0);
		check(!mprotect(mem, len, PROT_READ | PROT_WRITE));
		check(!mprotect(mem + len - 4096, 4096, PROT_NONE));
		refused(e, mem, len, 0);
		check(!munmap(mem + len / 2, 4096));
		refused(e, mem, len - 4096, local);
		mr = ibv_reg_mr(e->pd, mem, len / 2, local);
		check_msg(mr, "%m");
		check_rc(ibv_dereg_mr(mr), 0);
		unmap(mem, len / 2);
		unmap(mem + len / 2 + 4096, len / 2 - 4096);
	}
	end_free(e);
}

/* Peers and requests under way name the same keys when the rights change. */
static void rereg_keeps_keys(void)
{
	struct end *e = end_new(&plain, false, NULL);
	struct ibv_mr *mr = ibv_reg_mr(e->pd, e->mem, 4096, ACCESS_ALL);
	uint32_t lkey, rkey;

	check(mr);
	lkey = mr->lkey;
	rkey = mr->rkey;
	check_rc(ibv_rereg_mr(mr, IBV_REREG_MR_CHANGE_ACCESS, NULL, NULL, 0,
			      IBV_ACCESS_LOCAL_WRITE), 0);
	if (!e->kernel)		/* the kernel driver gives another one */
		check(mr->lkey == lkey && mr->rkey == rkey);
	check_rc(ibv_dereg_mr(mr), 0);
	end_free(e);
}

/* ---- fork --------------------------------------------------------------- */

/*
 * Nothing that is registered is kept from a child (in kernel mode the child gets
 * copies of pinned pages): ibv_fork_init() may come late, costs no mappings, and a
 * child may use the memory beside a region.
 */
static void fork_beside_regions(bool init_first)
{
	struct end *e = end_new(&plain, false, NULL);
	unsigned int i, num = e->kernel ? 500 : 40000;
	struct ibv_mr **mr = calloc(num, sizeof(*mr));
	size_t bytes = (size_t)num * 8192;
	char *mem;
	pid_t pid;
	int status;

	check(mr);
	mem = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	check(mem != MAP_FAILED);
	if (init_first)
		check_eq(ibv_fork_init(), 0);
	/* Every second page: more than there may be mappings, each kept by itself. */
	for (i = 0; i < num; i++) {
		mr[i] = ibv_reg_mr(e->pd, mem + (size_t)i * 8192, 2048,
				   IBV_ACCESS_LOCAL_WRITE);
		check_msg(mr[i], "region %u: %m", i);
	}
	check_eq(ibv_fork_init(), 0);
	check_eq(ibv_is_fork_initialized(), IBV_FORK_UNNEEDED);
	fflush(NULL);
	pid = fork();
	check(pid >= 0);
	if (!pid) {
		mem[2048] = 1;
		mem[0] = 1;
		_exit(0);
	}
	check_eq(waitpid(pid, &status, 0), pid);
	check_msg(WIFEXITED(status), "the child ended with status 0x%x", status);
	for (i = 0; i < num; i++)
		check_eq(ibv_dereg_mr(mr[i]), 0);
	munmap(mem, bytes);
	free(mr);
	end_free(e);
}

static void fork_is_free(void)
{
	fork_beside_regions(true);
}

static void fork_init_late(void)
{
	fork_beside_regions(false);
}

static const struct test_case cases[] = {
	CASE(iova),
	CASE(zero_based),
	CASE(overlap),
	CASE(adjacent),
	CASE(rereg),
	CASE_LIMIT(remote_gone, 60),
	CASE_LIMIT(local_gone, 60),
	CASE(receive_gone),
	CASE_LIMIT(gone_beside_destroy, 60),
	CASE(unusable_memory),
	CASE(rereg_keeps_keys),
	CASE(keys),
	CASE(key_comes_back_late),
	CASE(fork_is_free),
	CASE(fork_init_late),
	CASES_END
};

int main(int argc, char **argv)
{
	return test_main(argc, argv, cases);
}
