/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * common.h - what the verbs tests share: running cases, and pairs of connected
 * queue pairs whose ends live in one context, in two, or in two processes.
 *
 * A test program is a list of cases. Each runs in a process of its own, with a
 * time limit; the program exits with 1 if one failed, with 77 if all were
 * skipped.
 *
 *   prog [-l] [-n] [CASE...]	-l lists, -n runs in this process (debugging)
 *
 * An end's memory and its description are shared between processes, and so are
 * the addresses of functions: end_run() calls a function in the process where
 * the end lives, so that a test reads the same for all topologies.
 */
#ifndef TESTS_VERBS_COMMON_H
#define TESTS_VERBS_COMMON_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#include <infiniband/verbs.h>

#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))
#define KIB		1024u
#define MIB		(1024u * 1024u)

/* ---- cases -------------------------------------------------------------- */

struct test_case {
	const char *name;
	void (*fn)(void);
	unsigned int limit_s;
};

#define CASE(fn_)		{ .name = #fn_, .fn = fn_, .limit_s = 30 }
#define CASE_LIMIT(fn_, s_)	{ .name = #fn_, .fn = fn_, .limit_s = s_ }
#define CASES_END		{ .name = NULL }

/* @cases ends with CASES_END. */
int test_main(int argc, char **argv, const struct test_case *cases);

void test_failed(const char *file, int line, const char *fmt, ...)
	__attribute__((format(printf, 3, 4), noreturn));
void test_skip(const char *fmt, ...)
	__attribute__((format(printf, 1, 2), noreturn));
/* Say something that helps to understand a failure; printed with -v only. */
void test_note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* What the following checks are about, printed with a failure. */
void test_context(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* How much slower everything is: 1, or more with a sanitizer. */
unsigned int test_slow(void);
bool test_is_sanitized(void);
/* Is this a build with TSan? */
bool test_is_tsan(void);

#define check(cond)							\
	do {								\
		if (!(cond))						\
			test_failed(__FILE__, __LINE__, "%s", #cond);	\
	} while (0)

#define check_msg(cond, ...)						\
	do {								\
		if (!(cond))						\
			test_failed(__FILE__, __LINE__, __VA_ARGS__);	\
	} while (0)

#define check_eq(a, b)							\
	do {								\
		long long a_ = (long long)(a), b_ = (long long)(b);	\
		if (a_ != b_)						\
			test_failed(__FILE__, __LINE__,			\
				    "%s is %lld (0x%llx), not %s (%lld)", \
				    #a, a_, (unsigned long long)a_, #b, b_); \
	} while (0)

/* @expr fails with -1 or NULL or an errno; @err is what it says. */
#define check_errno_ptr(expr, err)					\
	do {								\
		errno = 0;						\
		void *p_ = (void *)(expr);				\
		int e_ = errno;						\
		if (p_ || e_ != (err))					\
			test_failed(__FILE__, __LINE__,			\
				    "%s: %s, errno %s; expected %s", #expr, \
				    p_ ? "worked" : "NULL",		\
				    strerror(e_),		\
				    strerror(err));		\
	} while (0)

#define check_rc(expr, err)						\
	do {								\
		int rc_ = (expr);					\
		if (rc_ != (err))					\
			test_failed(__FILE__, __LINE__,			\
				    "%s is %d (%s), expected %s", #expr, rc_, \
				    strerror(rc_ < 0 ? -rc_ : rc_), \
				    strerror(err));		\
	} while (0)

/* ---- time, memory, files ------------------------------------------------ */

uint64_t now_ns(void);
void sleep_ms(unsigned int ms);
/* CPU time of this process, all threads. */
uint64_t cpu_ns(void);
unsigned int count_fds(void);
/* Wait until no more than @max descriptors are open, or fail. */
void check_fds(unsigned int max);
unsigned int count_threads(void);
/* Bytes that malloc() has given out; 0 where that is not known. */
size_t heap_bytes(void);
size_t rss_bytes(void);

/* Shared with child processes; zeroed. */
void *map_shared(size_t bytes);
/* Not shared, and in huge pages if the system likes. */
void *map_private(size_t bytes);
void unmap(void *p, size_t bytes);

/* Pseudo-random bytes that depend on @seed and the place. */
void fill(void *p, size_t bytes, uint64_t seed);
void check_fill_at(const char *file, int line, const void *p, size_t bytes,
		   uint64_t seed);
#define check_fill(p, bytes, seed) \
	check_fill_at(__FILE__, __LINE__, p, bytes, seed)
void check_bytes_at(const char *file, int line, const void *p, size_t bytes,
		    uint8_t value);
#define check_bytes(p, bytes, value) \
	check_bytes_at(__FILE__, __LINE__, p, bytes, value)

/* Small seeded generator (xorshift). */
struct rng { uint64_t s; };
uint64_t rng_next(struct rng *r);
static inline uint32_t rng_below(struct rng *r, uint32_t n)
{
	return rng_next(r) % n;
}

/* ---- devices ------------------------------------------------------------ */

/* The device of TEST_DEVICE, or the first one; NULL if @name is not there. */
struct ibv_context *open_device(const char *name);
/* Is it a device of the kernel's, not one that tcpzc-run made? */
bool is_kernel_device(const struct ibv_context *ctx);
/* The first of them that is an IPv4 address, or else the first. */
int usable_gid(struct ibv_context *ctx, union ibv_gid *gid);
/* GIDs of port 1 that are set; returns how many. */
int list_gids(struct ibv_context *ctx, union ibv_gid *gids, int *index, int max);

/* ---- ends --------------------------------------------------------------- */

enum waiting {
	WAIT_BUSY,		/* poll without pause */
	WAIT_LAZY,		/* poll, and sleep between */
	WAIT_EVENT,		/* completion channel */
	WAITS
};

enum { CQ_SEND, CQ_RECV };

/* Zero means the default, which is given in brackets. */
struct opts {
	const char *dev;		/* [the first] */
	unsigned int send_wr;		/* [128] */
	unsigned int recv_wr;		/* [128] */
	unsigned int send_sge;		/* [32] */
	unsigned int recv_sge;		/* [32] */
	unsigned int inline_bytes;	/* [256] */
	unsigned int cqe;		/* [1024] */
	bool sig_all;
	bool one_cq;			/* send and receive completions together */
	unsigned int srq_wr;		/* [no SRQ] */
	enum waiting waiting;
	size_t mem_bytes;		/* [1 MiB] */
	bool private_mem;		/* not shared with other processes */
	int qp_access;			/* [all] -1: none */
	int mr_access;			/* [all] -1: none */
	uint8_t timeout;		/* [14] */
	uint8_t retry_cnt;		/* [7] */
	uint8_t rnr_retry;		/* [7] 0xff: 0 */
	uint8_t min_rnr_timer;		/* [1: 10 us] */
	uint8_t rd_atomic;		/* [16] 0xff: 0 */
	uint8_t dest_rd_atomic;		/* [16] 0xff: 0 */
	unsigned int min_retry_ms;	/* TCPZC_MIN_RETRY_MS [unset] */
	unsigned int max_silence_ms;	/* of a host that is there, then [0] */
};

#define ACCESS_ALL (IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE | \
		    IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_ATOMIC)

/* The process in which an end lives. */
struct agent {
	bool runs;			/* else it lives in the test's own */
	pid_t pid;
	int sock;
};

struct end {
	struct opts o;
	/* Known to all processes: */
	uint8_t *mem;			/* shared */
	size_t mem_bytes;
	uint32_t lkey, rkey;
	uint32_t qpn, psn;
	union ibv_gid gid;
	bool kernel;			/* its device is the kernel's */
	struct agent agent;
	/* Only where it lives: */
	struct ibv_context *ctx;
	bool owns_ctx;
	struct ibv_pd *pd;
	struct ibv_mr *mr;
	struct ibv_pd *more_pd;		/* for a test's own use; freed with it */
	struct ibv_mr *more_mr;
	int gid_index;
	struct ibv_comp_channel *channel;
	struct ibv_cq *cq[2];		/* CQ_SEND, CQ_RECV */
	struct ibv_srq *srq;
	struct ibv_qp *qp;
};

/* Functions that run where an end lives; what they return comes back. */
typedef long (*end_fn)(struct end *e, void *arg);
/* @arg is copied there and back. */
long end_run(struct end *e, end_fn fn, void *arg, size_t arg_bytes);

/*
 * An end in this process, or in one of its own; its QP is in INIT. With
 * @sibling it uses that one's context and protection domain.
 */
struct end *end_new(const struct opts *o, bool own_process,
		    struct end *sibling);
/*
 * Destroy all objects that are left, and check that it works; the process, if
 * it is still there, ends with 0.
 */
void end_free(struct end *e);
/* End the process of @e with @signal and wait for it. */
void end_kill(struct end *e, int signal);
/* Send it a signal. */
void end_signal(struct end *e, int signal);
/* Stop it; all of its threads have stopped on return. SIGCONT lets it go on. */
void end_stop(struct end *e);
/* Let its process exit(0) without destroying anything. */
void end_exit(struct end *e);
/* Forget an end whose process is gone. */
void end_forget(struct end *e);

/* To RTR with @peer, to RTS; both ends at once. */
void end_rtr(struct end *e, const struct end *peer);
void end_rts(struct end *e);
void end_connect(struct end *a, struct end *b);
/* Attributes for these, if a test wants to change some. */
void end_rtr_attr(const struct end *e, const struct end *peer,
		  struct ibv_qp_attr *attr, int *mask);
void end_rts_attr(const struct end *e, struct ibv_qp_attr *attr, int *mask);
int end_modify(struct end *e, struct ibv_qp_attr *attr, int mask);
/* To a state that needs no attributes. */
void end_state(struct end *e, enum ibv_qp_state state);
/* RESET to INIT. */
void end_init(struct end *e);
enum ibv_qp_state end_query_state(struct end *e);

enum topo {
	TOPO_SELF,		/* a QP and itself */
	TOPO_CONTEXT,		/* two QPs of a context */
	TOPO_CONTEXTS,		/* two contexts of a process */
	TOPO_PROCESSES,
	TOPOS
};

const char *topo_name(enum topo t);

struct pair {
	struct end *a, *b;	/* the same for TOPO_SELF */
	enum topo topo;
};

/* @ob may be NULL: as @oa; both may be. The QPs are in RTS. */
void pair_open(struct pair *p, enum topo t, const struct opts *oa,
	       const struct opts *ob);
/* In INIT. */
void pair_open_init(struct pair *p, enum topo t, const struct opts *oa,
		    const struct opts *ob);
void pair_close(struct pair *p);

/* ---- work requests ------------------------------------------------------ */

struct wr {
	uint64_t id;
	enum ibv_wr_opcode op;
	unsigned int flags;
	uint32_t imm;			/* host byte order */
	uint64_t raddr;
	uint32_t rkey;
	uint64_t compare_add, swap;
	int num_sge;
	struct ibv_sge sge[33];
};

/* One SGE of @e's memory. */
struct wr wr_make(const struct end *e, enum ibv_wr_opcode op, uint64_t id,
		  size_t off, uint32_t len);
/* ... and a place in the peer's memory. */
struct wr wr_rdma(const struct end *e, enum ibv_wr_opcode op, uint64_t id,
		  size_t off, uint32_t len, const struct end *peer, size_t roff);
struct wr wr_fetch_add(const struct end *e, uint64_t id, size_t off,
		       const struct end *peer, size_t roff, uint64_t add);
struct wr wr_cmp_swap(const struct end *e, uint64_t id, size_t off,
		      const struct end *peer, size_t roff, uint64_t compare,
		      uint64_t swap);

/* Return what the verb returned. */
int try_post_send(struct end *e, const struct wr *wr);
int try_post_recv(struct end *e, const struct wr *wr);
void post_send(struct end *e, struct wr wr);
void post_recv(struct end *e, uint64_t id, size_t off, uint32_t len);
/* @n of them, of one ibv_post_send(). */
void post_send_list(struct end *e, const struct wr *wr, int n);

/* ---- completions, events ------------------------------------------------ */

/* Wait for the next completion; at most a few seconds. */
void wait_wc(struct end *e, int cq, struct ibv_wc *wc);
bool wait_wc_ms(struct end *e, int cq, struct ibv_wc *wc, unsigned int ms);
void check_wc_at(const char *file, int line, const struct ibv_wc *wc,
		 uint64_t id, enum ibv_wc_status status);
/* The next completion is this one. */
void expect_wc_at(const char *file, int line, struct end *e, int cq,
		  uint64_t id, enum ibv_wc_status status);
#define expect_wc(e, cq, id, status) \
	expect_wc_at(__FILE__, __LINE__, e, cq, id, status)
#define expect_send(e, id, status)	expect_wc(e, CQ_SEND, id, status)
#define expect_recv(e, id, status)	expect_wc(e, CQ_RECV, id, status)
/* There is none for @ms. */
void expect_no_wc(struct end *e, int cq, unsigned int ms);

/* Wait for the next asynchronous event and acknowledge it; -1: none. */
int wait_event_ms(struct end *e, unsigned int ms);
void expect_event_at(const char *file, int line, struct end *e, int type);
#define expect_event(e, type) expect_event_at(__FILE__, __LINE__, e, type)

/* Poll a CQ of this process once with a deadline; for tests without ends. */
bool poll_one(struct ibv_cq *cq, struct ibv_wc *wc, unsigned int ms);

/* ---- processes ---------------------------------------------------------- */

/* A helper process that runs @fn; ends with this one. */
pid_t proc_start(void (*fn)(void *arg), void *arg);
/* Wait for it; fails unless it exits with 0. */
void proc_finish(pid_t pid);

#endif /* TESTS_VERBS_COMMON_H */
