// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * rc_visible.c - what a program sees that looks at its memory instead of its
 * completions: the last byte of a WRITE appears last, messages appear in order,
 * small messages byte by byte in ascending order, atomics are atomic. And very
 * large messages.
 */
#include "common.h"

#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <unistd.h>

/* These look at memory that another thread or process is writing. */
#define LOOKS	__attribute__((noinline))

static const struct opts plain = { .mem_bytes = 4 * MIB };

static LOOKS uint8_t look8(const uint8_t *p)
{
	return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}

static LOOKS uint64_t look64(const uint64_t *p)
{
	return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}

/* First byte that is not @value; @len if all are. */
static LOOKS size_t first_other(const uint8_t *p, size_t len, uint8_t value)
{
	size_t i;

	for (i = 0; i < len; i++)
		if (p[i] != value)
			return i;
	return len;
}

static void spin_for(const uint8_t *p, uint8_t value)
{
	uint64_t until = now_ns() + 10000000000ull * test_slow();
	unsigned int n = 0;

	while (look8(p) != value) {
		if (++n % 1024)
			continue;
		check_msg(now_ns() < until, "the last byte does not come");
		sched_yield();
	}
}

/* ---- the last byte ------------------------------------------------------ */

static void last_byte_once(struct pair *p, uint32_t len, uint8_t value,
			   unsigned int flags)
{
	struct wr wr = wr_rdma(p->a, IBV_WR_RDMA_WRITE, len, 0, len, p->b, MIB);
	uint8_t *dst = p->b->mem + MIB;
	size_t at;

	wr.flags |= flags;
	memset(p->a->mem, value, len);
	post_send(p->a, wr);
	spin_for(dst + len - 1, value);
	at = first_other(dst, len, value);
	check_msg(at == len, "byte %zu of %u came after the last one", at, len);
	expect_send(p->a, len, IBV_WC_SUCCESS);
}

static void last_byte_pair(struct pair *p)
{
	static const uint32_t lens[] = {
		500, 1000, 1500, 2047, 2048, 2049, 3000, 4095, 4096, 4097, 6000,
		8191, 8192, 12345, 16384, 65535, 65536, 65600, 100000, 131072,
		262143, 262144, 262145, 300000, 524288, 1048576
	};
	uint8_t value = 0;
	unsigned int i, k;
	uint32_t len;

	memset(p->b->mem, 0, p->b->mem_bytes);
	for (len = 1; len <= 260; len++)
		for (k = 0; k < 4; k++)
			last_byte_once(p, len, ++value ? value : ++value,
				       k & 1 && len <= 256 ? IBV_SEND_INLINE : 0);
	for (i = 0; i < ARRAY_SIZE(lens); i++)
		for (k = 0; k < 12; k++)
			last_byte_once(p, lens[i], ++value ? value : ++value, 0);
}

static void last_byte(void)
{
	struct pair p;
	int t;

	for (t = 0; t < TOPOS; t++) {
		test_context("%s", topo_name(t));
		pair_open(&p, t, &plain, NULL);
		last_byte_pair(&p);
		pair_close(&p);
	}
}

/* ---- ascending order ---------------------------------------------------- */

/*
 * All words of the target are written with the number of the round, again and
 * again. Whoever reads a word and then an earlier one must find there the same
 * number or a later one.
 */
struct watcher {
	const uint64_t *words;
	uint32_t num;
	uint32_t tail;		/* look at the last so many first; 0: at any */
	bool stop;
	uint64_t looks, seen, wrong;
};

static LOOKS void *watch(void *arg)
{
	struct watcher *w = arg;
	struct rng r = { 0x9876543 + w->num };

	while (!__atomic_load_n(&w->stop, __ATOMIC_RELAXED)) {
		uint32_t back = w->tail && w->tail < w->num ? w->tail : w->num;
		uint32_t j = w->num - 1 - rng_below(&r, back);
		uint32_t i = j ? rng_below(&r, j) : 0;
		uint64_t later = look64(&w->words[j]);
		uint64_t earlier = look64(&w->words[i]);

		w->looks++;
		w->seen += earlier > later;	/* in the middle of a message */
		w->wrong += earlier < later;
	}
	return NULL;
}

static void write_rounds(struct pair *p, uint32_t words, unsigned int rounds)
{
	uint64_t *src = (uint64_t *)p->a->mem;
	uint64_t done = 0, id;
	uint32_t i;

	/* Eight sources, so that eight messages are on their way. */
	for (id = 1; id <= rounds; id++) {
		uint64_t *from = src + id % 8 * words;

		if (id > 8)
			expect_send(p->a, ++done, IBV_WC_SUCCESS);
		for (i = 0; i < words; i++)
			from[i] = id;
		post_send(p->a, wr_rdma(p->a, IBV_WR_RDMA_WRITE, id,
					(uint8_t *)from - p->a->mem, words * 8,
					p->b, 3 * MIB));
	}
	while (done < rounds)
		expect_send(p->a, ++done, IBV_WC_SUCCESS);
}

static void ascending_size(struct pair *p, uint32_t bytes, unsigned int rounds,
			   uint32_t tail)
{
	struct watcher w = {
		.words = (const uint64_t *)(p->b->mem + 3 * MIB),
		.num = bytes / 8, .tail = tail,
	};
	pthread_t thread;

	memset(p->b->mem + 3 * MIB, 0, MIB);
	check_eq(pthread_create(&thread, NULL, watch, &w), 0);
	write_rounds(p, bytes / 8, rounds / test_slow());
	__atomic_store_n(&w.stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	test_note("%u bytes: %llu looks, %llu within a message, %llu wrong", bytes,
		  (unsigned long long)w.looks, (unsigned long long)w.seen,
		  (unsigned long long)w.wrong);
	check_msg(!w.wrong, "%u bytes: %llu of %llu looks saw a later word first",
		  bytes, (unsigned long long)w.wrong,
		  (unsigned long long)w.looks);
}

static void ascending(void)
{
	static const enum topo topos[] = { TOPO_CONTEXTS, TOPO_PROCESSES, TOPO_SELF };
	struct pair p;
	unsigned int t;

	for (t = 0; t < ARRAY_SIZE(topos); t++) {
		test_context("%s", topo_name(topos[t]));
		pair_open(&p, topos[t], &plain, NULL);
		ascending_size(&p, 16, 3000, 0);
		ascending_size(&p, 64, 3000, 0);
		ascending_size(&p, 512, 3000, 0);
		ascending_size(&p, 2048, 3000, 0);
		/* Of larger ones the last 64 bytes come after all others. */
		ascending_size(&p, 4096, 2000, 8);
		ascending_size(&p, 65536, 500, 8);
		pair_close(&p);
	}
}

/* Message n is complete before anything of message n + 1 is seen. */
static LOOKS bool counters_ordered(const uint8_t *mem, const uint32_t *lens,
				   unsigned int n)
{
	uint8_t newer = look8(mem + (n - 1) * 128 * KIB);
	unsigned int i;

	for (i = n - 1; i-- > 0;) {
		/* The last byte of an earlier message is as new, or newer. */
		uint8_t v = look8(mem + i * 128 * KIB + lens[i] - 1);

		if ((int8_t)(v - newer) < 0)
			return false;
		newer = look8(mem + i * 128 * KIB);
	}
	return true;
}

static void message_order(void)
{
	static const uint32_t lens[] = {
		100000, 8, 3000, 70000, 1, 4096, 40000, 64, 120000, 200, 9000, 2
	};
	unsigned int n = ARRAY_SIZE(lens), i, round, looks = 0;
	struct pair p;
	int t;

	for (t = 0; t < TOPOS; t++) {
		test_context("%s", topo_name(t));
		pair_open(&p, t, &plain, NULL);
		for (round = 1; round <= 100; round++) {
			struct ibv_wc wc;

			memset(p.a->mem, round, 128 * KIB);
			for (i = 0; i < n; i++) {
				struct wr wr = wr_rdma(p.a, IBV_WR_RDMA_WRITE,
						       round, 0, lens[i], p.b,
						       2 * MIB + i * 128 * KIB);

				if (i + 1 < n)
					wr.flags = 0;
				post_send(p.a, wr);
			}
			do {
				check(counters_ordered(p.b->mem + 2 * MIB, lens, n));
				looks++;
			} while (!wait_wc_ms(p.a, CQ_SEND, &wc, 0));
			check_wc_at(__FILE__, __LINE__, &wc, round, IBV_WC_SUCCESS);
		}
		pair_close(&p);
	}
	test_note("%u looks", looks);
}

/* ---- atomics under contention ------------------------------------------- */

#define CONTENDERS	4
#define ADDS		1500

struct contender {
	struct end *e, *target;
	pthread_t thread;
	uint64_t won;
};

static void one_atomic(struct contender *c, struct wr wr)
{
	struct ibv_send_wr send = {
		.opcode = wr.op, .send_flags = IBV_SEND_SIGNALED,
		.sg_list = wr.sge, .num_sge = 1,
		.wr.atomic = {
			.remote_addr = wr.raddr, .rkey = wr.rkey,
			.compare_add = wr.compare_add, .swap = wr.swap,
		},
	}, *bad;
	struct ibv_wc wc;

	check_rc(ibv_post_send(c->e->qp, &send, &bad), 0);
	check(poll_one(c->e->cq[CQ_SEND], &wc, 20000 * test_slow()));
	check_eq(wc.status, IBV_WC_SUCCESS);
}

/* Word 0 by additions, word 1 by compare and swap. */
static void *contend(void *arg)
{
	struct contender *c = arg;
	uint64_t *old = (uint64_t *)c->e->mem, guess = 0;
	int i;

	for (i = 0; i < ADDS; i++)
		one_atomic(c, wr_fetch_add(c->e, 0, 0, c->target, 0, 1));
	while (c->won < ADDS / 10) {
		one_atomic(c, wr_cmp_swap(c->e, 0, 0, c->target, 8, guess,
					  guess + 1));
		c->won += *old == guess;
		guess = *old == guess ? guess + 1 : *old;
	}
	return NULL;
}

static void contention(void)
{
	struct contender c[CONTENDERS];
	struct end *peers[CONTENDERS];
	struct end *target = end_new(&plain, false, NULL);
	uint64_t *words = (uint64_t *)target->mem, cpu = 0;
	int i;

	for (i = 0; i < CONTENDERS; i++) {
		peers[i] = i ? end_new(&plain, false, target) : target;
		c[i] = (struct contender) {
			.e = end_new(&plain, false, NULL), .target = target,
		};
		end_connect(c[i].e, peers[i]);
	}
	for (i = 0; i < CONTENDERS; i++)
		check_eq(pthread_create(&c[i].thread, NULL, contend, &c[i]), 0);
	/* IBV_ATOMIC_GLOB: with the processors' own, too. */
	for (; cpu < ADDS; cpu++) {
		__atomic_fetch_add(&words[0], 1, __ATOMIC_SEQ_CST);
		if (!(cpu % 64))
			usleep(100);
	}
	for (i = 0; i < CONTENDERS; i++)
		pthread_join(c[i].thread, NULL);
	check_eq(words[0], (CONTENDERS + 1) * ADDS);
	check_eq(words[1], CONTENDERS * (ADDS / 10));
	for (i = CONTENDERS - 1; i >= 0; i--) {
		end_free(c[i].e);
		end_free(peers[i]);
	}
}

/* ---- very large messages ------------------------------------------------ */

static size_t available_bytes(void)
{
	FILE *f = fopen("/proc/meminfo", "r");
	unsigned long kib = 0;
	char line[128];

	check(f);
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "MemAvailable: %lu kB", &kib) == 1)
			break;
	fclose(f);
	return kib * KIB;
}

static void large_ops(struct pair *p, uint32_t len)
{
	fill(p->a->mem, len, 1);
	/* The memory's first use may take longer than a completion should. */
	memset(p->b->mem, 0xff, len);
	post_send(p->a, wr_rdma(p->a, IBV_WR_RDMA_WRITE, 1, 0, len, p->b, 0));
	expect_send(p->a, 1, IBV_WC_SUCCESS);
	check(!memcmp(p->a->mem, p->b->mem, len));
	memset(p->a->mem, 0, len);
	post_send(p->a, wr_rdma(p->a, IBV_WR_RDMA_READ, 2, 0, len, p->b, 0));
	expect_send(p->a, 2, IBV_WC_SUCCESS);
	check(!memcmp(p->a->mem, p->b->mem, len));
	memset(p->b->mem, 0, len);
	post_recv(p->b, 3, 0, len);
	post_send(p->a, wr_make(p->a, IBV_WR_SEND, 4, 0, len));
	expect_recv(p->b, 3, IBV_WC_SUCCESS);
	expect_send(p->a, 4, IBV_WC_SUCCESS);
	check_fill(p->b->mem, len, 1);
}

static void large_64_mib(void)
{
	struct opts o = { .mem_bytes = 64 * MIB };
	struct pair p;
	int t;

	for (t = TOPO_CONTEXTS; t < TOPOS; t++) {
		test_context("%s", topo_name(t));
		pair_open(&p, t, &o, NULL);
		large_ops(&p, o.mem_bytes);
		pair_close(&p);
	}
}

/* The largest there is, and one byte more. */
static void large_2_gib(void)
{
	struct opts o = { .mem_bytes = 2048ull * MIB, .private_mem = true };
	struct pair p;
	struct wr wr;

	if (test_is_sanitized())
		test_skip("too slow with a sanitizer");
	if (available_bytes() < 2 * o.mem_bytes + 1024ull * MIB)
		test_skip("needs 5 GiB of memory, %zu MiB are available",
			  available_bytes() / MIB);
	pair_open(&p, TOPO_CONTEXTS, &o, NULL);
	large_ops(&p, o.mem_bytes);
	wr = wr_rdma(p.a, IBV_WR_RDMA_WRITE, 1, 0, 1u << 31, p.b, 0);
	wr.sge[1] = wr.sge[0];
	wr.sge[1].length = 1;
	wr.num_sge = 2;
	check_rc(try_post_send(p.a, &wr), EINVAL);
	pair_close(&p);
}

static const struct test_case cases[] = {
	CASE(last_byte),
	CASE_LIMIT(ascending, 60),
	CASE(message_order),
	CASE(contention),
	CASE(large_64_mib),
	CASE_LIMIT(large_2_gib, 120),
	CASES_END
};

int main(int argc, char **argv)
{
	return test_main(argc, argv, cases);
}
