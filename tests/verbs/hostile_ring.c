// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * hostile_ring.c - an application that scribbles on the rings it shares with the
 * kernel while work is in flight. It may harm itself; the kernel lives (whoever
 * runs this looks at its log), the queue pairs of others go on, and everything
 * is gone when the process is. In user mode the rings are the process's own
 * memory; there the simulator and a fuzzer do this to the engine.
 */
#include "common.h"

#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAX_MAPS	16
#define RUN_MS		1500
#define BYSTANDER_BYTES	4096

/* Words of struct tcpzc_ring_hdr that mean something, in bytes. */
static const unsigned int hdr_words[] = { 0, 64, 128, 192 };

struct map {
	uint8_t *at;
	size_t bytes;
};

struct maps {
	struct map map[MAX_MAPS];
	int n;
};

/* What is mapped from the device's file: the rings. */
static void find_maps(struct maps *m)
{
	FILE *f = fopen("/proc/self/maps", "r");
	char line[512];

	check(f);
	m->n = 0;
	while (m->n < MAX_MAPS && fgets(line, sizeof(line), f)) {
		unsigned long from, to;

		if (!strstr(line, "uverbs") ||
		    sscanf(line, "%lx-%lx", &from, &to) != 2)
			continue;
		m->map[m->n].at = (uint8_t *)from;
		m->map[m->n].bytes = to - from;
		m->n++;
	}
	fclose(f);
}

/* ---- the attacker ------------------------------------------------------- */

enum target { HEADERS, SLOTS, ALL };

struct attack {
	enum target target;
	uint64_t seed;
};

struct scribbler {
	struct maps maps;
	enum target target;
	struct rng rng;
};

static uint32_t hostile_word(struct rng *r, uint32_t old)
{
	switch (rng_below(r, 8)) {
	case 0:
		return 0;
	case 1:
		return UINT32_MAX;
	case 2:
		return old + 1;
	case 3:
		return old - 1;
	case 4:
		return old + 1 + (1u << rng_below(r, 20));
	case 5:
		return 1u << rng_below(r, 32);
	default:
		return rng_next(r);
	}
}

static void scribble(struct scribbler *s)
{
	struct map *m = &s->maps.map[rng_below(&s->rng, s->maps.n)];
	bool header = s->target == HEADERS ||
		      (s->target == ALL && rng_below(&s->rng, 2));
	size_t at;
	uint32_t *word;

	if (header)
		at = hdr_words[rng_below(&s->rng, ARRAY_SIZE(hdr_words))];
	else
		at = 256 + rng_below(&s->rng, (m->bytes - 256) / 4) * 4;
	word = (uint32_t *)(m->at + at);
	__atomic_store_n(word, hostile_word(&s->rng, *word), __ATOMIC_RELAXED);
}

static void *scribbler_main(void *arg)
{
	struct scribbler *s = arg;
	unsigned int n;

	for (n = 0;; n++) {
		scribble(s);
		if (n % 64 == 0)
			usleep(50);	/* the poster is to get on, too */
	}
	return NULL;
}

/* Post whatever may be posted, and ring. */
static void post_something(struct pair *p, struct rng *r)
{
	static const enum ibv_wr_opcode ops[] = {
		IBV_WR_SEND, IBV_WR_RDMA_WRITE, IBV_WR_RDMA_READ,
		IBV_WR_ATOMIC_FETCH_AND_ADD, IBV_WR_RDMA_WRITE_WITH_IMM,
	};
	enum ibv_wr_opcode op = ops[rng_below(r, ARRAY_SIZE(ops))];
	uint32_t len = op == IBV_WR_ATOMIC_FETCH_AND_ADD ? 8 :
		       1u << rng_below(r, 18);
	struct wr wr = wr_rdma(p->a, op, 1, 0, len, p->b, 0);
	struct ibv_wc wc[16];

	try_post_recv(p->b, &(struct wr) {
		.id = 2, .num_sge = 1,
		.sge = { { .addr = (uintptr_t)p->b->mem, .length = MIB / 2,
			   .lkey = p->b->lkey } },
	});
	try_post_send(p->a, &wr);
	ibv_poll_cq(p->a->cq[CQ_SEND], 16, wc);
	ibv_poll_cq(p->b->cq[CQ_RECV], 16, wc);
	ibv_req_notify_cq(p->a->cq[CQ_SEND], 0);
}

static void attacker(void *arg)
{
	const struct attack *a = arg;
	struct scribbler s = { .target = a->target, .rng = { a->seed } };
	struct rng r = { a->seed + 1 };
	uint64_t until = now_ns() + RUN_MS * 1000000ull;
	pthread_t thread;
	struct pair p;

	/* The library reads the same rings and may come to grief: so be it. */
	signal(SIGSEGV, SIG_DFL);
	signal(SIGBUS, SIG_DFL);
	pair_open(&p, TOPO_CONTEXT, NULL, NULL);
	find_maps(&s.maps);
	check(s.maps.n > 0);
	check(!pthread_create(&thread, NULL, scribbler_main, &s));
	while (now_ns() < until)
		post_something(&p, &r);
	/* Everything is left to the kernel. */
	_exit(0);
}

/* ---- the others --------------------------------------------------------- */

static void bystander_once(struct pair *p, uint64_t seed)
{
	fill(p->a->mem, BYSTANDER_BYTES, seed);
	post_recv(p->b, seed, 0, BYSTANDER_BYTES);
	post_send(p->a, wr_make(p->a, IBV_WR_SEND, seed, 0, BYSTANDER_BYTES));
	expect_recv(p->b, seed, IBV_WC_SUCCESS);
	expect_send(p->a, seed, IBV_WC_SUCCESS);
	check_fill(p->b->mem, BYSTANDER_BYTES, seed);
}

static pid_t attack_start(struct attack *a)
{
	pid_t pid = fork();

	check(pid >= 0);
	if (!pid) {
		/* A library that spins on garbage is ended like this. */
		alarm(RUN_MS / 1000 + 3);
		attacker(a);
	}
	return pid;
}

/* How the attacker ends is its own affair, unless it never began. */
static void attack_end(pid_t pid)
{
	int status;

	check_eq(waitpid(pid, &status, 0), pid);
	check_msg(!WIFEXITED(status) || WEXITSTATUS(status) == 0,
		  "the attacker could not begin");
}

static void need_mapped_rings(void)
{
	struct ibv_context *ctx = open_device(NULL);
	struct ibv_cq *cq;
	struct maps m;

	check(ctx);
	cq = ibv_create_cq(ctx, 16, NULL, NULL, 0);
	check(cq);
	find_maps(&m);
	check_rc(ibv_destroy_cq(cq), 0);
	check_rc(ibv_close_device(ctx), 0);
	if (!m.n)
		test_skip("the rings of this device are the process's own memory");
}

static void attack_many(enum target target)
{
	struct pair p;
	uint64_t seed;

	need_mapped_rings();
	pair_open(&p, TOPO_CONTEXTS, NULL, NULL);
	for (seed = 1; seed <= 4; seed++) {
		struct attack a = { target, 77 * seed + target };
		pid_t pid = attack_start(&a);
		uint64_t until = now_ns() + RUN_MS * 1000000ull;

		while (now_ns() < until)
			bystander_once(&p, seed);
		attack_end(pid);
		bystander_once(&p, seed);
	}
	pair_close(&p);
}

static void headers(void)
{
	attack_many(HEADERS);
}

static void slots(void)
{
	attack_many(SLOTS);
}

static void everything(void)
{
	attack_many(ALL);
}

/* ---- mapping ------------------------------------------------------------ */

/* No address of the file but the rings', and no more of them than there is. */
static void wrong_mappings(void)
{
	size_t page = sysconf(_SC_PAGESIZE);
	struct ibv_context *ctx;
	struct rng r = { 5 };
	int i;

	need_mapped_rings();
	ctx = open_device(NULL);
	check(ctx);
	for (i = 0; i < 2000; i++) {
		off_t off = (off_t)(rng_next(&r) >> (12 + rng_below(&r, 50))) * page;
		void *at = mmap(NULL, page << rng_below(&r, 8),
				PROT_READ | PROT_WRITE, MAP_SHARED, ctx->cmd_fd,
				off);

		check_msg(at == MAP_FAILED, "offset %llx could be mapped",
			  (unsigned long long)off);
	}
	check_rc(ibv_close_device(ctx), 0);
}

/* The rings are unmapped while the kernel works on them. */
static void unmapper(void *arg)
{
	struct maps m;
	struct pair p;
	struct rng r = { 9 };
	int i;

	(void)arg;
	pair_open(&p, TOPO_CONTEXT, NULL, NULL);
	for (i = 0; i < 100; i++)
		post_something(&p, &r);
	find_maps(&m);
	check(m.n > 0);
	for (i = 0; i < m.n; i++)
		munmap(m.map[i].at, m.map[i].bytes);
	_exit(0);
}

static void unmapped(void)
{
	struct pair p;

	need_mapped_rings();
	pair_open(&p, TOPO_CONTEXTS, NULL, NULL);
	proc_finish(proc_start(unmapper, NULL));
	bystander_once(&p, 1);
	pair_close(&p);
}

int main(int argc, char **argv)
{
	static const struct test_case cases[] = {
		CASE_LIMIT(headers, 60),
		CASE_LIMIT(slots, 60),
		CASE_LIMIT(everything, 60),
		CASE(wrong_mappings),
		CASE(unmapped),
		CASES_END
	};

	return test_main(argc, argv, cases);
}
