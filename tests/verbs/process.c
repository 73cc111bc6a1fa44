// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * process.c - what happens to queue pairs when their process forks or comes up
 * against its limits.
 */
#include "common.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct opts plain = { .mem_bytes = MIB, .min_retry_ms = 20000 };

/* Traffic both ways, with its data looked at. */
static void talk(struct pair *p, uint32_t seed)
{
	fill(p->a->mem, 5000, seed);
	post_recv(p->b, 1, 0, 5000);
	post_send(p->a, wr_make(p->a, IBV_WR_SEND, 2, 0, 5000));
	expect_recv(p->b, 1, IBV_WC_SUCCESS);
	expect_send(p->a, 2, IBV_WC_SUCCESS);
	check_fill(p->b->mem, 5000, seed);
	fill(p->b->mem + 64 * KIB, 200000, seed + 1);
	post_send(p->b, wr_rdma(p->b, IBV_WR_RDMA_WRITE, 3, 64 * KIB, 200000, p->a,
				64 * KIB));
	expect_send(p->b, 3, IBV_WC_SUCCESS);
	check_fill(p->a->mem + 64 * KIB, 200000, seed + 1);
}

/*
 * LeakSanitizer asks this. In a child it looks for its parent's threads, which
 * are not there, and takes what only they refer to for lost.
 */
int __lsan_is_turned_off(void);
static bool is_child;

int __lsan_is_turned_off(void)
{
	return is_child;
}

static pid_t start_child(void)
{
	pid_t pid;

	fflush(NULL);
	pid = fork();
	check(pid >= 0);
	is_child = !pid;
	return pid;
}

static void expect_child_ok(pid_t pid)
{
	int status;

	check_eq(waitpid(pid, &status, 0), pid);
	check_msg(WIFEXITED(status) && !WEXITSTATUS(status),
		  "the child ended with status 0x%x", status);
}

/* ---- fork --------------------------------------------------------------- */

/* The child may do what it likes with the objects; they are copies. */
static void use_in_child(struct pair *p)
{
	struct wr wr = wr_make(p->a, IBV_WR_SEND, 7, 0, 64);
	struct ibv_srq_init_attr srq = { .attr = { .max_wr = 1, .max_sge = 1 } };
	struct ibv_qp_init_attr qp = {
		.send_cq = p->a->cq[0], .recv_cq = p->a->cq[1],
		.qp_type = IBV_QPT_RC,
	};
	struct ibv_qp_attr err = { .qp_state = IBV_QPS_ERR };
	struct ibv_wc wc;

	/* What was in the queue when the process forked, and then no more. */
	while (ibv_poll_cq(p->a->cq[CQ_SEND], 1, &wc))
		;
	check_rc(try_post_send(p->a, &wr), 0);
	wr = wr_make(p->b, IBV_WR_SEND, 8, 0, 64);
	try_post_recv(p->b, &wr);
	check_eq(ibv_poll_cq(p->a->cq[CQ_SEND], 1, &wc), 0);
	check_rc(ibv_req_notify_cq(p->a->cq[CQ_RECV], 0), 0);
	check_errno_ptr(ibv_reg_mr(p->a->pd, p->a->mem, 4096, 0), EIO);
	check_errno_ptr(ibv_create_cq(p->a->ctx, 1, NULL, NULL, 0), EIO);
	check_errno_ptr(ibv_create_srq(p->a->pd, &srq), EIO);
	check_errno_ptr(ibv_create_qp(p->a->pd, &qp), EIO);
	check_rc(ibv_modify_qp(p->a->qp, &err, IBV_QP_STATE), EIO);
}

static void destroy_in_child(struct end *e)
{
	check_rc(ibv_destroy_qp(e->qp), 0);
	check_rc(ibv_destroy_cq(e->cq[CQ_SEND]), 0);
	check_rc(ibv_destroy_cq(e->cq[CQ_RECV]), 0);
	check_rc(ibv_dereg_mr(e->mr), 0);
	check_rc(ibv_dealloc_pd(e->pd), 0);
	check_rc(ibv_close_device(e->ctx), 0);
}

static void child_does_anything(void)
{
	enum { NOTHING, USE, DESTROY, BOTH, DOINGS };
	struct pair p;
	int t, what;

	for (t = TOPO_SELF; t <= TOPO_CONTEXTS; t++) {
		pair_open(&p, t, &plain, NULL);
		for (what = NOTHING; what < DOINGS; what++) {
			pid_t pid;

			test_context("%s, child does %d", topo_name(t), what);
			/* one request is on its way while the process forks */
			post_send(p.a, wr_rdma(p.a, IBV_WR_RDMA_WRITE, 1, 0, MIB / 2,
					       p.b, 0));
			pid = start_child();
			if (!pid) {
				if (what & USE)
					use_in_child(&p);
				if ((what & DESTROY) && t == TOPO_CONTEXTS) {
					destroy_in_child(p.a);
					destroy_in_child(p.b);
				}
				exit(0);
			}
			expect_send(p.a, 1, IBV_WC_SUCCESS);
			talk(&p, what);
			expect_child_ok(pid);
			talk(&p, what + 100);
			expect_no_wc(p.b, CQ_RECV, 0);
		}
		pair_close(&p);
	}
}

/* A connection ends with the parent, though the child lives on. */
static void child_outlives_connection(void)
{
	struct opts o = plain, ob = plain;
	struct pair p;
	pid_t pid;

	ob.timeout = 0;
	ob.min_retry_ms = o.min_retry_ms = 300;
	pair_open(&p, TOPO_PROCESSES, &o, &ob);
	pid = start_child();
	if (!pid) {
		sleep(60);
		_exit(1);
	}
	post_recv(p.b, 1, 0, 64);
	check_rc(ibv_destroy_qp(p.a->qp), 0);
	p.a->qp = NULL;
	post_send(p.b, wr_make(p.b, IBV_WR_SEND, 2, 0, 8));
	expect_send(p.b, 2, IBV_WC_RETRY_EXC_ERR);
	check_eq(kill(pid, SIGKILL), 0);
	check_eq(waitpid(pid, NULL, 0), pid);
	pair_close(&p);
}

/* The child opens the device anew, and its child once more. */
static void child_opens_anew(void)
{
	struct pair p, q;
	int depth;
	pid_t pid;

	if (test_is_tsan())
		test_skip("TSan knows no threads in the child of a threaded process");
	pair_open(&p, TOPO_CONTEXTS, &plain, NULL);
	pid = start_child();
	if (!pid) {
		for (depth = 0; depth < 2; depth++) {
			pair_open(&q, TOPO_CONTEXTS, &plain, NULL);
			talk(&q, depth);
			pid = start_child();
			if (!pid)
				continue;
			talk(&q, depth + 5);
			expect_child_ok(pid);
			talk(&q, depth + 9);
			pair_close(&q);
			exit(0);
		}
		exit(0);
	}
	talk(&p, 20);
	expect_child_ok(pid);
	talk(&p, 21);
	pair_close(&p);
}

struct talker {
	struct pair p;
	pthread_t thread;
	bool stop;
	unsigned int rounds;
};

static void *keep_talking(void *arg)
{
	struct talker *t = arg;

	while (!__atomic_load_n(&t->stop, __ATOMIC_RELAXED))
		talk(&t->p, t->rounds++);
	return NULL;
}

/* Threads are at work in every place while the process forks; some exec. */
static void fork_storm(void)
{
	unsigned int i, n = 200 / test_slow();
	struct talker t[2] = {};

	for (i = 0; i < 2; i++) {
		pair_open(&t[i].p, TOPO_CONTEXTS, &plain, NULL);
		check_eq(pthread_create(&t[i].thread, NULL, keep_talking, &t[i]),
			 0);
	}
	for (i = 0; i < n; i++) {
		pid_t pid = fork();

		check(pid >= 0);
		if (!pid && i % 4 == 3)
			exit(0);
		if (!pid && i % 2)
			execl("/bin/true", "true", NULL);
		if (!pid)
			_exit(0);
		expect_child_ok(pid);
	}
	for (i = 0; i < 2; i++) {
		__atomic_store_n(&t[i].stop, true, __ATOMIC_RELAXED);
		pthread_join(t[i].thread, NULL);
		test_note("%u rounds", t[i].rounds);
		check(t[i].rounds);
		pair_close(&t[i].p);
	}
}

/* ---- the process's end -------------------------------------------------- */

struct leave_call {
	void (*end)(int status);
	bool sleeps;
};

static struct leave_call leaving;

/* A server that ends as soon as it has the message. */
static void *leave_when_told(void *arg)
{
	struct end *e = arg;
	struct ibv_cq *cq;
	struct ibv_wc wc;
	void *context;

	if (leaving.sleeps)
		check(!ibv_get_cq_event(e->channel, &cq, &context));
	while (!ibv_poll_cq(e->cq[CQ_RECV], 1, &wc))
		;
	leaving.end(wc.status != IBV_WC_SUCCESS);
	return NULL;
}

static long do_leave_when_told(struct end *e, void *arg)
{
	pthread_t thread;

	leaving = *(struct leave_call *)arg;
	if (leaving.sleeps)
		check_rc(ibv_req_notify_cq(e->cq[CQ_RECV], 0), 0);
	return pthread_create(&thread, NULL, leave_when_told, e);
}

/* What it has received is acknowledged, however the process ends by itself. */
static void leaves_acknowledged(void)
{
	static const struct {
		const char *name;
		void (*end)(int status);
	} ends[] = { { "exit", exit }, { "_exit", _exit }, { "_Exit", _Exit } };
	unsigned int i, n, sleeps, rounds = 10 / test_slow() + 1;
	struct opts o = plain;
	struct pair p;

	o.min_retry_ms = 2000;
	for (i = 0; i < ARRAY_SIZE(ends) * 2 * rounds; i++) {
		n = i % ARRAY_SIZE(ends);
		sleeps = i / ARRAY_SIZE(ends) % 2;
		test_context("%s, %s, round %u", ends[n].name,
			     sleeps ? "sleeps" : "polls", i);
		o.waiting = sleeps ? WAIT_EVENT : WAIT_BUSY;
		pair_open(&p, TOPO_PROCESSES, &o, NULL);
		post_recv(p.b, 1, 0, 64);
		check_rc(end_run(p.b, do_leave_when_told,
				 &(struct leave_call){ ends[n].end, sleeps },
				 sizeof(struct leave_call)), 0);
		post_send(p.a, wr_make(p.a, IBV_WR_SEND, 2, 0, 64));
		expect_send(p.a, 2, IBV_WC_SUCCESS);
		end_kill(p.b, 0);
		end_free(p.a);
		end_forget(p.b);
	}
}

/* ---- the progress thread ------------------------------------------------ */

static pid_t find_thread(const char *name)
{
	DIR *dir = opendir("/proc/self/task");
	struct dirent *d;
	pid_t tid = 0;

	check(dir);
	while (!tid && (d = readdir(dir))) {
		char path[300], comm[32] = "";
		FILE *f;

		snprintf(path, sizeof(path), "/proc/self/task/%s/comm", d->d_name);
		f = fopen(path, "r");
		if (f && fgets(comm, sizeof(comm), f) &&
		    !strncmp(comm, name, strlen(name)) && comm[strlen(name)] == '\n')
			tid = atoi(d->d_name);
		if (f)
			fclose(f);
	}
	closedir(dir);
	return tid;
}

static void *open_pinned(void *arg)
{
	const struct sched_param prio = { .sched_priority = 1 };
	cpu_set_t *one = arg;

	check(!sched_setaffinity(0, sizeof(*one), one));
	/* Who may not have that shows the other half only. */
	if (sched_setscheduler(0, SCHED_FIFO, &prio))
		test_note("no real-time priority: %m");
	return open_device(NULL);
}

/*
 * The thread that opens the device, the first or another, is pinned and real-time:
 * the progress thread is neither.
 */
static void progress_thread(void)
{
	cpu_set_t all, one, got;
	struct ibv_context *ctx;
	pthread_t opener;
	int other, cpu = 0;
	void *opened;
	pid_t tid;

	check(!sched_getaffinity(0, sizeof(all), &all));
	while (!CPU_ISSET(cpu, &all))
		cpu++;
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	for (other = 1; other >= 0; other--) {
		test_context("opened by %s thread", other ? "another" : "the first");
		if (other) {
			check_eq(pthread_create(&opener, NULL, open_pinned, &one), 0);
			pthread_join(opener, &opened);
			ctx = opened;
		} else {
			ctx = open_pinned(&one);
		}
		check_msg(ctx, "%m");
		if (is_kernel_device(ctx))
			test_skip("kernel mode has none");
		tid = find_thread("tcpzc");
		check(tid);
		check_eq(sched_getscheduler(tid), SCHED_OTHER);
		check(!sched_getaffinity(tid, sizeof(got), &got));
		check(CPU_EQUAL(&got, &all));
		check_rc(ibv_close_device(ctx), 0);
	}
}

/* ---- limits ------------------------------------------------------------- */

static void set_limit(int resource, rlim_t n)
{
	struct rlimit lim;

	check(!getrlimit(resource, &lim));
	lim.rlim_cur = n;
	check(!setrlimit(resource, &lim));
}

/* No descriptor is left: what needs one says so, what has one goes on. */
static void no_descriptors(void)
{
	struct pair p, q;
	struct ibv_comp_channel *ch;
	struct rlimit lim;
	unsigned int used;

	check(!getrlimit(RLIMIT_NOFILE, &lim));
	pair_open(&p, TOPO_CONTEXTS, &plain, NULL);
	talk(&p, 0);
	pair_open_init(&q, TOPO_CONTEXTS, &plain, NULL);
	used = open("/dev/null", O_RDONLY | O_CLOEXEC);
	close(used);
	set_limit(RLIMIT_NOFILE, used);
	check_errno_ptr(ibv_create_comp_channel(p.a->ctx), EMFILE);
	check_errno_ptr(ibv_open_device(p.a->ctx->device), EMFILE);
	/* The connection has to wait, and is there as soon as it can be. */
	end_connect(q.a, q.b);
	post_send(q.a, wr_rdma(q.a, IBV_WR_RDMA_WRITE, 1, 0, 64, q.b, 0));
	expect_no_wc(q.a, CQ_SEND, 300);
	talk(&p, 1);
	set_limit(RLIMIT_NOFILE, lim.rlim_cur);
	expect_send(q.a, 1, IBV_WC_SUCCESS);
	talk(&q, 2);
	ch = ibv_create_comp_channel(p.a->ctx);
	check(ch);
	check_rc(ibv_destroy_comp_channel(ch), 0);
	pair_close(&q);
	pair_close(&p);
}

/* Nothing is locked, so the limit of locked memory limits nothing. */
static void no_locked_memory(void)
{
	struct opts o = plain;
	unsigned long kib = 1;
	struct pair p;
	char line[128];
	FILE *f;

	set_limit(RLIMIT_MEMLOCK, 0);
	o.mem_bytes = 64 * MIB;
	pair_open(&p, TOPO_PROCESSES, &o, NULL);
	talk(&p, 1);
	f = fopen("/proc/self/status", "r");
	check(f);
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "VmLck: %lu", &kib) == 1)
			break;
	fclose(f);
	check_eq(kib, 0);
	pair_close(&p);
}

/* Until there is no memory for another one; the others do not notice. */
static void no_memory(void)
{
	enum { MAX = 4096 };
	static struct ibv_qp *qp[MAX];
	struct ibv_qp_init_attr init = {
		.cap = { .max_send_wr = 1024, .max_recv_wr = 1024,
			 .max_send_sge = 8, .max_recv_sge = 8 },
		.qp_type = IBV_QPT_RC,
	};
	struct rlimit lim;
	struct pair p;
	int n = 0;

	if (test_is_sanitized())
		test_skip("sanitizers take address space as they need it");
	check(!getrlimit(RLIMIT_AS, &lim));
	pair_open(&p, TOPO_CONTEXTS, &plain, NULL);
	talk(&p, 0);
	init.send_cq = init.recv_cq = p.a->cq[CQ_SEND];
	set_limit(RLIMIT_AS, 1024ull * MIB);
	do {
		errno = 0;
		qp[n] = ibv_create_qp(p.a->pd, &init);
	} while (qp[n] && ++n < MAX);
	check_msg(n < MAX && errno == ENOMEM, "%d QPs, then %m", n);
	check(n > 10);
	talk(&p, 1);
	check_errno_ptr(ibv_create_qp(p.a->pd, &init), ENOMEM);
	set_limit(RLIMIT_AS, lim.rlim_cur);
	talk(&p, 2);
	while (n--)
		check_rc(ibv_destroy_qp(qp[n]), 0);
	talk(&p, 3);
	pair_close(&p);
}

/* Posts, polls, and asks, until it is cancelled. */
static void *post_until_cancelled(void *arg)
{
	struct pair *p = arg;
	struct ibv_qp_init_attr init;
	struct ibv_qp_attr attr;
	struct ibv_wc wc;

	for (;;) {
		struct wr wr = wr_rdma(p->a, IBV_WR_RDMA_WRITE, 0, 0, 32 * KIB, p->b, 0);
		int rc = try_post_send(p->a, &wr);

		check(!rc || rc == ENOMEM);
		while (ibv_poll_cq(p->a->cq[CQ_SEND], 1, &wc) == 1)
			;
		check(!ibv_query_qp(p->a->qp, &attr, IBV_QP_STATE, &init));
		pthread_testcancel();
	}
	return NULL;
}

/* A thread that is cancelled holds nothing of a queue pair's. */
static void cancelled(void)
{
	struct ibv_wc wc;
	struct pair p;
	int i;

	pair_open(&p, TOPO_CONTEXTS, &plain, NULL);
	for (i = 0; i < 200; i++) {
		pthread_t thread;
		void *rc;

		check(!pthread_create(&thread, NULL, post_until_cancelled, &p));
		sleep_ms(i % 4);
		check(!pthread_cancel(thread));
		check(!pthread_join(thread, &rc));
		check(rc == PTHREAD_CANCELED);
		while (ibv_poll_cq(p.a->cq[CQ_SEND], 1, &wc) == 1)
			;
	}
	end_state(p.a, IBV_QPS_ERR);
	pair_close(&p);
}

/* Pipes that queue pairs of this process hold, after large WRITEs on one of them. */
static unsigned int pipes_with(const char *zerocopy)
{
	struct opts o = { .mem_bytes = 16 * MIB };
	unsigned int before, after;
	struct pair p;
	int i;

	setenv("TCPZC_ZEROCOPY", zerocopy, 1);
	pair_open(&p, TOPO_CONTEXTS, &o, NULL);
	post_send(p.a, wr_rdma(p.a, IBV_WR_RDMA_WRITE, 0, 0, 64, p.b, 0));
	expect_send(p.a, 0, IBV_WC_SUCCESS);
	before = count_fds();
	for (i = 1; i <= 8; i++)
		post_send(p.a, wr_rdma(p.a, IBV_WR_RDMA_WRITE, i, 0, 4 * MIB, p.b, 0));
	for (i = 1; i <= 8; i++)
		expect_send(p.a, i, IBV_WC_SUCCESS);
	after = count_fds();
	pair_close(&p);
	return after - before;
}

/* A peer on this host could keep the pages and read what is written to them later. */
static void pages_stay_here(void)
{
	struct end *e = end_new(&plain, false, NULL);

	if (e->kernel)
		test_skip("a setting of user mode");
	end_free(e);
	check_eq(pipes_with("0"), 0);
	check_eq(pipes_with("1"), 0);
	check_eq(pipes_with("2"), 2);
	unsetenv("TCPZC_ZEROCOPY");
}

static const struct test_case cases[] = {
	CASE(child_does_anything),
	CASE(child_outlives_connection),
	CASE(child_opens_anew),
	CASE_LIMIT(fork_storm, 60),
	CASE_LIMIT(leaves_acknowledged, 60),
	CASE(progress_thread),
	CASE(cancelled),
	CASE(pages_stay_here),
	CASE(no_descriptors),
	CASE(no_locked_memory),
	CASE(no_memory),
	CASES_END
};

int main(int argc, char **argv)
{
	return test_main(argc, argv, cases);
}
