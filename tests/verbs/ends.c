// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * ends.c - ends of connections: a queue pair with its objects and memory, in
 * this process or in one of its own.
 */
#include "common.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define ARG_BYTES	(60 * KIB)
#define WAIT_MS		(20000u)

struct call {
	end_fn fn;		/* NULL: exit */
	size_t arg_bytes;
	long rc;
	uint8_t arg[ARG_BYTES];
};

#define CALL_HEAD offsetof(struct call, arg)

/* The end whose process this is, if any. */
static struct end *here;

/* ---- devices ------------------------------------------------------------ */

struct ibv_context *open_device(const char *name)
{
	struct ibv_device **list;
	struct ibv_context *ctx = NULL;
	int i, n;

	if (!name)
		name = getenv("TEST_DEVICE");
	list = ibv_get_device_list(&n);
	check_msg(list && n > 0,
		  "there is no device; run this with tcpzc-run");
	for (i = 0; i < n && !ctx; i++)
		if (!name || !strcmp(name, ibv_get_device_name(list[i])))
			ctx = ibv_open_device(list[i]);
	ibv_free_device_list(list);
	return ctx;
}

/* tcpzc-run's have a file in sysfs that the kernel's have not. */
bool is_kernel_device(const struct ibv_context *ctx)
{
	char path[IBV_SYSFS_PATH_MAX + 32];
	int fd;

	snprintf(path, sizeof(path), "%s/tcpzc/netdev", ctx->device->ibdev_path);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0)
		close(fd);
	return fd < 0;
}

static void set_kernel_parameter(const char *name, unsigned int value)
{
	char path[128];
	FILE *f;

	snprintf(path, sizeof(path), "/sys/module/tcpzc/parameters/%s", name);
	f = fopen(path, "w");
	check_msg(f, "%s: %m", path);
	check(fprintf(f, "%u\n", value) > 0);
	check_msg(!fclose(f), "%s: %m", path);
}

/*
 * What TCPZC_MIN_RETRY_MS and TCPZC_MAX_SILENCE_MS are to a process are parameters
 * to the kernel module, for all queue pairs created from now on.
 */
static void set_kernel_retry(const struct opts *o)
{
	unsigned int slow = test_slow();

	set_kernel_parameter("min_retry_ms",
			     o->min_retry_ms ? o->min_retry_ms * slow : 3000);
	set_kernel_parameter("max_silence_ms",
			     o->min_retry_ms ? o->max_silence_ms * slow : 60000);
}

/*
 * The first IPv4 address. In user mode it is GID 0; the kernel has one before
 * it that is made of the hardware's address, whether the interface has it or not.
 */
int usable_gid(struct ibv_context *ctx, union ibv_gid *gid)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
	union ibv_gid gids[16];
	int index[16], i, n;

	n = list_gids(ctx, gids, index, 16);
	for (i = 0; i < n; i++) {
		if (memcmp(&gids[i], mapped, sizeof(mapped)))
			continue;
		*gid = gids[i];
		return index[i];
	}
	check_msg(n > 0, "there is no GID");
	*gid = gids[0];
	return index[0];
}

int list_gids(struct ibv_context *ctx, union ibv_gid *gids, int *index, int max)
{
	static const union ibv_gid none;
	struct ibv_port_attr port;
	int i, n = 0;

	check_eq(ibv_query_port(ctx, 1, &port), 0);
	for (i = 0; i < port.gid_tbl_len && n < max; i++) {
		union ibv_gid gid;

		if (ibv_query_gid(ctx, 1, i, &gid) ||
		    !memcmp(&gid, &none, sizeof(gid)))
			continue;
		gids[n] = gid;
		index[n++] = i;
	}
	return n;
}

/* ---- processes of ends -------------------------------------------------- */

static __attribute__((noreturn)) void agent_main(struct end *e, int sock)
{
	static struct call call;

	here = e;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;) {
		ssize_t n = recv(sock, &call, sizeof(call), 0);

		if (n < (ssize_t)CALL_HEAD || !call.fn)
			break;
		call.rc = call.fn(e, call.arg);
		check(send(sock, &call, CALL_HEAD + call.arg_bytes, 0) > 0);
	}
	close(sock);
	exit(0);
}

static void agent_start(struct end *e)
{
	int socks[2];
	pid_t pid;

	check_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, socks), 0);
	e->agent.runs = true;
	fflush(NULL);
	pid = fork();
	check(pid >= 0);
	if (!pid) {
		close(socks[0]);
		agent_main(e, socks[1]);
	}
	close(socks[1]);
	e->agent.pid = pid;
	e->agent.sock = socks[0];
}

static bool is_local(const struct end *e)
{
	return !e->agent.runs || e == here;
}

long end_run(struct end *e, end_fn fn, void *arg, size_t arg_bytes)
{
	/* Large, and tests have threads. */
	static _Thread_local struct call call;
	ssize_t n;

	if (is_local(e))
		return fn(e, arg);
	check(arg_bytes <= sizeof(call.arg));
	call.fn = fn;
	call.arg_bytes = arg_bytes;
	if (arg_bytes)
		memcpy(call.arg, arg, arg_bytes);
	check(send(e->agent.sock, &call, CALL_HEAD + arg_bytes,
		   MSG_NOSIGNAL) > 0);
	n = recv(e->agent.sock, &call, sizeof(call), 0);
	check_msg(n >= (ssize_t)CALL_HEAD, "the end's process has died");
	if (arg_bytes)
		memcpy(arg, call.arg, arg_bytes);
	return call.rc;
}

void end_signal(struct end *e, int sig)
{
	check(e->agent.runs);
	check_eq(kill(e->agent.pid, sig), 0);
}

void end_stop(struct end *e)
{
	int status;

	end_signal(e, SIGSTOP);
	check_eq(waitpid(e->agent.pid, &status, WUNTRACED), e->agent.pid);
	check(WIFSTOPPED(status));
}

static void agent_gone(struct end *e)
{
	close(e->agent.sock);
	e->agent.runs = false;
}

void end_kill(struct end *e, int sig)
{
	int status;

	end_signal(e, sig);
	check_eq(waitpid(e->agent.pid, &status, 0), e->agent.pid);
	agent_gone(e);
	e->ctx = NULL;
}

void end_exit(struct end *e)
{
	static struct call call;
	int status;

	check(e->agent.runs);
	call.fn = NULL;
	check(send(e->agent.sock, &call, CALL_HEAD, MSG_NOSIGNAL) > 0);
	check_eq(waitpid(e->agent.pid, &status, 0), e->agent.pid);
	check_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0,
		  "the end's process: status 0x%x", status);
	agent_gone(e);
	e->ctx = NULL;
}

void end_forget(struct end *e)
{
	check(!e->ctx);
	unmap(e->mem, e->mem_bytes);
	unmap(e, sizeof(*e));
}

/* ---- objects ------------------------------------------------------------ */

static unsigned int or_default(unsigned int v, unsigned int dflt)
{
	return v ? v : dflt;
}

static void end_create_cqs(struct end *e)
{
	int cqe = or_default(e->o.cqe, 1024);

	if (e->o.waiting == WAIT_EVENT) {
		e->channel = ibv_create_comp_channel(e->ctx);
		check_msg(e->channel, "ibv_create_comp_channel: %m");
	}
	e->cq[0] = ibv_create_cq(e->ctx, cqe, NULL, e->channel, 0);
	check_msg(e->cq[0], "ibv_create_cq: %m");
	e->cq[1] = e->cq[0];
	if (!e->o.one_cq) {
		e->cq[1] = ibv_create_cq(e->ctx, cqe, NULL, e->channel, 0);
		check_msg(e->cq[1], "ibv_create_cq: %m");
	}
}

static void end_create_qp(struct end *e)
{
	struct ibv_qp_init_attr init = {
		.send_cq = e->cq[CQ_SEND],
		.recv_cq = e->cq[CQ_RECV],
		.srq = e->srq,
		.cap = {
			.max_send_wr = or_default(e->o.send_wr, 128),
			.max_recv_wr = or_default(e->o.recv_wr, 128),
			.max_send_sge = or_default(e->o.send_sge, 32),
			.max_recv_sge = or_default(e->o.recv_sge, 32),
			.max_inline_data = or_default(e->o.inline_bytes, 256),
		},
		.qp_type = IBV_QPT_RC,
		.sq_sig_all = e->o.sig_all,
	};

	e->qp = ibv_create_qp(e->pd, &init);
	check_msg(e->qp, "ibv_create_qp: %m");
	e->qpn = e->qp->qp_num;
	e->psn = (e->qpn * 2654435761u >> 8) & 0xffffff;
}

static void end_create_srq(struct end *e)
{
	struct ibv_srq_init_attr init = {
		.attr = { .max_wr = e->o.srq_wr, .max_sge = 32 },
	};

	e->srq = ibv_create_srq(e->pd, &init);
	check_msg(e->srq, "ibv_create_srq: %m");
}

static int access_of(int access)
{
	return access < 0 ? 0 : access ? access : (int)ACCESS_ALL;
}

void end_init(struct end *e)
{
	struct ibv_qp_attr attr = {
		.qp_state = IBV_QPS_INIT,
		.port_num = 1,
		.qp_access_flags = access_of(e->o.qp_access),
	};

	check_rc(end_modify(e, &attr, IBV_QP_STATE | IBV_QP_PKEY_INDEX |
			    IBV_QP_PORT | IBV_QP_ACCESS_FLAGS), 0);
}

static long do_open(struct end *e, void *arg)
{
	struct end *sibling = *(struct end **)arg;
	char ms[16];

	if (e->o.min_retry_ms) {
		snprintf(ms, sizeof(ms), "%u", e->o.min_retry_ms * test_slow());
		setenv("TCPZC_MIN_RETRY_MS", ms, 1);
		snprintf(ms, sizeof(ms), "%u",
			 e->o.max_silence_ms * test_slow());
		setenv("TCPZC_MAX_SILENCE_MS", ms, 1);
	}
	e->owns_ctx = !sibling;
	e->ctx = sibling ? sibling->ctx : open_device(e->o.dev);
	check_msg(e->ctx, "ibv_open_device: %m");
	e->kernel = is_kernel_device(e->ctx);
	if (e->kernel)
		set_kernel_retry(&e->o);
	e->pd = sibling ? sibling->pd : ibv_alloc_pd(e->ctx);
	check_msg(e->pd, "ibv_alloc_pd: %m");
	e->gid_index = usable_gid(e->ctx, &e->gid);
	e->mr = ibv_reg_mr(e->pd, e->mem, e->mem_bytes,
			   access_of(e->o.mr_access));
	check_msg(e->mr, "ibv_reg_mr: %m");
	e->lkey = e->mr->lkey;
	e->rkey = e->mr->rkey;
	end_create_cqs(e);
	if (e->o.srq_wr)
		end_create_srq(e);
	end_create_qp(e);
	end_init(e);
	return 0;
}

static long do_close(struct end *e, void *arg)
{
	if (!e->ctx)
		return 0;
	if (e->qp)
		check_rc(ibv_destroy_qp(e->qp), 0);
	if (e->more_mr)
		check_rc(ibv_dereg_mr(e->more_mr), 0);
	if (e->more_pd)
		check_rc(ibv_dealloc_pd(e->more_pd), 0);
	if (e->srq)
		check_rc(ibv_destroy_srq(e->srq), 0);
	if (e->cq[1] != e->cq[0])
		check_rc(ibv_destroy_cq(e->cq[1]), 0);
	check_rc(ibv_destroy_cq(e->cq[0]), 0);
	if (e->channel)
		check_rc(ibv_destroy_comp_channel(e->channel), 0);
	if (e->mr)
		check_rc(ibv_dereg_mr(e->mr), 0);
	if (e->owns_ctx) {
		check_rc(ibv_dealloc_pd(e->pd), 0);
		check_rc(ibv_close_device(e->ctx), 0);
	}
	e->ctx = NULL;
	return 0;
}

struct end *end_new(const struct opts *o, bool own_process,
		    struct end *sibling)
{
	struct end *e = map_shared(sizeof(*e));

	if (o)
		e->o = *o;
	e->mem_bytes = e->o.mem_bytes ? e->o.mem_bytes : MIB;
	e->mem = e->o.private_mem ? map_private(e->mem_bytes) :
				    map_shared(e->mem_bytes);
	if (own_process)
		agent_start(e);
	end_run(e, do_open, &sibling, sizeof(sibling));
	return e;
}

void end_free(struct end *e)
{
	end_run(e, do_close, NULL, 0);
	if (e->agent.runs)
		end_exit(e);
	end_forget(e);
}

/* ---- states ------------------------------------------------------------- */

struct modify_call {
	struct ibv_qp_attr attr;
	int mask;
};

static long do_modify(struct end *e, void *arg)
{
	struct modify_call *m = arg;

	return ibv_modify_qp(e->qp, &m->attr, m->mask);
}

int end_modify(struct end *e, struct ibv_qp_attr *attr, int mask)
{
	struct modify_call m = { .attr = *attr, .mask = mask };

	return end_run(e, do_modify, &m, sizeof(m));
}

void end_state(struct end *e, enum ibv_qp_state state)
{
	struct ibv_qp_attr attr = { .qp_state = state };

	check_rc(end_modify(e, &attr, IBV_QP_STATE), 0);
}

static uint8_t small(uint8_t v, uint8_t dflt)
{
	return v == 0xff ? 0 : v ? v : dflt;
}

void end_rtr_attr(const struct end *e, const struct end *peer,
		  struct ibv_qp_attr *attr, int *mask)
{
	memset(attr, 0, sizeof(*attr));
	attr->qp_state = IBV_QPS_RTR;
	attr->path_mtu = IBV_MTU_1024;
	attr->dest_qp_num = peer->qpn;
	attr->rq_psn = peer->psn;
	attr->max_dest_rd_atomic = small(e->o.dest_rd_atomic, 16);
	attr->min_rnr_timer = small(e->o.min_rnr_timer, 1);
	attr->ah_attr.is_global = 1;
	attr->ah_attr.port_num = 1;
	attr->ah_attr.grh.dgid = peer->gid;
	attr->ah_attr.grh.sgid_index = e->gid_index;
	attr->ah_attr.grh.hop_limit = 64;
	*mask = IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN |
		IBV_QP_RQ_PSN | IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER;
}

void end_rts_attr(const struct end *e, struct ibv_qp_attr *attr, int *mask)
{
	memset(attr, 0, sizeof(*attr));
	attr->qp_state = IBV_QPS_RTS;
	attr->timeout = small(e->o.timeout, 14);
	attr->retry_cnt = small(e->o.retry_cnt, 7);
	attr->rnr_retry = small(e->o.rnr_retry, 7);
	attr->sq_psn = e->psn;
	attr->max_rd_atomic = small(e->o.rd_atomic, 16);
	*mask = IBV_QP_STATE | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT |
		IBV_QP_RNR_RETRY | IBV_QP_SQ_PSN | IBV_QP_MAX_QP_RD_ATOMIC;
}

void end_rtr(struct end *e, const struct end *peer)
{
	struct ibv_qp_attr attr;
	int mask;

	end_rtr_attr(e, peer, &attr, &mask);
	check_rc(end_modify(e, &attr, mask), 0);
}

void end_rts(struct end *e)
{
	struct ibv_qp_attr attr;
	int mask;

	end_rts_attr(e, &attr, &mask);
	check_rc(end_modify(e, &attr, mask), 0);
}

void end_connect(struct end *a, struct end *b)
{
	end_rtr(a, b);
	end_rts(a);
	if (a == b)
		return;
	end_rtr(b, a);
	end_rts(b);
}

static long do_query_state(struct end *e, void *arg)
{
	struct ibv_qp_init_attr init;
	struct ibv_qp_attr attr;

	check_rc(ibv_query_qp(e->qp, &attr, IBV_QP_STATE, &init), 0);
	return attr.qp_state;
}

enum ibv_qp_state end_query_state(struct end *e)
{
	return end_run(e, do_query_state, NULL, 0);
}

/* ---- pairs -------------------------------------------------------------- */

const char *topo_name(enum topo t)
{
	static const char *const names[TOPOS] = {
		[TOPO_SELF]		= "QP and itself",
		[TOPO_CONTEXT]		= "one context",
		[TOPO_CONTEXTS]		= "two contexts",
		[TOPO_PROCESSES]	= "two processes",
	};

	return names[t];
}

void pair_open_init(struct pair *p, enum topo t, const struct opts *oa,
		    const struct opts *ob)
{
	if (!ob)
		ob = oa;
	p->topo = t;
	/* First the process, so that it inherits as little as possible. */
	p->b = end_new(ob, t == TOPO_PROCESSES, NULL);
	p->a = p->b;
	if (t != TOPO_SELF)
		p->a = end_new(oa, false, t == TOPO_CONTEXT ? p->b : NULL);
}

void pair_open(struct pair *p, enum topo t, const struct opts *oa,
	       const struct opts *ob)
{
	pair_open_init(p, t, oa, ob);
	end_connect(p->a, p->b);
}

void pair_close(struct pair *p)
{
	if (p->a != p->b)
		end_free(p->a);
	end_free(p->b);
}

/* ---- work requests ------------------------------------------------------ */

struct wr wr_make(const struct end *e, enum ibv_wr_opcode op, uint64_t id,
		  size_t off, uint32_t len)
{
	struct wr wr = {
		.id = id,
		.op = op,
		.flags = IBV_SEND_SIGNALED,
		.num_sge = 1,
		.sge[0] = {
			.addr = (uintptr_t)e->mem + off,
			.length = len,
			.lkey = e->lkey,
		},
	};

	return wr;
}

struct wr wr_rdma(const struct end *e, enum ibv_wr_opcode op, uint64_t id,
		  size_t off, uint32_t len, const struct end *peer, size_t roff)
{
	struct wr wr = wr_make(e, op, id, off, len);

	wr.raddr = (uintptr_t)peer->mem + roff;
	wr.rkey = peer->rkey;
	return wr;
}

struct wr wr_fetch_add(const struct end *e, uint64_t id, size_t off,
		       const struct end *peer, size_t roff, uint64_t add)
{
	struct wr wr = wr_rdma(e, IBV_WR_ATOMIC_FETCH_AND_ADD, id, off, 8, peer,
			       roff);

	wr.compare_add = add;
	return wr;
}

struct wr wr_cmp_swap(const struct end *e, uint64_t id, size_t off,
		      const struct end *peer, size_t roff, uint64_t compare,
		      uint64_t swap)
{
	struct wr wr = wr_rdma(e, IBV_WR_ATOMIC_CMP_AND_SWP, id, off, 8, peer,
			       roff);

	wr.compare_add = compare;
	wr.swap = swap;
	return wr;
}

static bool wr_is_atomic(enum ibv_wr_opcode op)
{
	return op == IBV_WR_ATOMIC_CMP_AND_SWP ||
	       op == IBV_WR_ATOMIC_FETCH_AND_ADD;
}

static void wr_to_ibv(const struct wr *wr, struct ibv_send_wr *out)
{
	memset(out, 0, sizeof(*out));
	out->wr_id = wr->id;
	out->opcode = wr->op;
	out->send_flags = wr->flags;
	out->imm_data = htonl(wr->imm);
	out->num_sge = wr->num_sge;
	out->sg_list = wr->num_sge ? (struct ibv_sge *)wr->sge : NULL;
	if (wr_is_atomic(wr->op)) {
		out->wr.atomic.remote_addr = wr->raddr;
		out->wr.atomic.rkey = wr->rkey;
		out->wr.atomic.compare_add = wr->compare_add;
		out->wr.atomic.swap = wr->swap;
	} else {
		out->wr.rdma.remote_addr = wr->raddr;
		out->wr.rdma.rkey = wr->rkey;
	}
}

struct post_call {
	int n;
	struct wr wr[64];
};

static long do_post_send(struct end *e, void *arg)
{
	struct post_call *p = arg;
	struct ibv_send_wr list[64], *bad = NULL;
	int i, rc;

	for (i = 0; i < p->n; i++) {
		wr_to_ibv(&p->wr[i], &list[i]);
		list[i].next = i + 1 < p->n ? &list[i + 1] : NULL;
	}
	rc = ibv_post_send(e->qp, &list[0], &bad);
	check(!rc == !bad);
	return rc;
}

static long do_post_recv(struct end *e, void *arg)
{
	struct wr *wr = arg;
	struct ibv_recv_wr recv = {
		.wr_id = wr->id,
		.sg_list = wr->num_sge ? wr->sge : NULL,
		.num_sge = wr->num_sge,
	}, *bad;

	return e->srq ? ibv_post_srq_recv(e->srq, &recv, &bad) :
			ibv_post_recv(e->qp, &recv, &bad);
}

static int post_sends(struct end *e, const struct wr *wr, int n)
{
	static _Thread_local struct post_call p;
	size_t bytes = offsetof(struct post_call, wr) + n * sizeof(*wr);

	check(n <= (int)ARRAY_SIZE(p.wr));
	p.n = n;
	memcpy(p.wr, wr, n * sizeof(*wr));
	return end_run(e, do_post_send, &p, bytes);
}

int try_post_send(struct end *e, const struct wr *wr)
{
	return post_sends(e, wr, 1);
}

int try_post_recv(struct end *e, const struct wr *wr)
{
	struct wr copy = *wr;

	return end_run(e, do_post_recv, &copy, sizeof(copy));
}

void post_send(struct end *e, struct wr wr)
{
	check_rc(try_post_send(e, &wr), 0);
}

void post_send_list(struct end *e, const struct wr *wr, int n)
{
	check_rc(post_sends(e, wr, n), 0);
}

void post_recv(struct end *e, uint64_t id, size_t off, uint32_t len)
{
	struct wr wr = wr_make(e, 0, id, off, len);

	check_rc(try_post_recv(e, &wr), 0);
}

/* ---- completions -------------------------------------------------------- */

struct wait_call {
	int cq;
	unsigned int ms;
	struct ibv_wc wc;
};

static bool poll_once(struct ibv_cq *cq, struct ibv_wc *wc)
{
	int n = ibv_poll_cq(cq, 1, wc);

	check_msg(n >= 0, "ibv_poll_cq: %d", n);
	return n == 1;
}

static void wait_channel(struct end *e, uint64_t until)
{
	struct pollfd pfd = { .fd = e->channel->fd, .events = POLLIN };
	uint64_t now = now_ns();
	struct ibv_cq *cq;
	void *cq_context;

	if (now >= until ||
	    poll(&pfd, 1, (until - now) / 1000000 + 1) != 1)
		return;
	check_eq(ibv_get_cq_event(e->channel, &cq, &cq_context), 0);
	check(cq == e->cq[0] || cq == e->cq[1]);
	ibv_ack_cq_events(cq, 1);
}

static long do_wait(struct end *e, void *arg)
{
	struct wait_call *w = arg;
	struct ibv_cq *cq = e->cq[w->cq];
	uint64_t until = now_ns() + w->ms * 1000000ull;

	do {
		if (e->channel)
			check_rc(ibv_req_notify_cq(cq, 0), 0);
		if (poll_once(cq, &w->wc))
			return 1;
		if (e->channel)
			wait_channel(e, until);
		else if (e->o.waiting == WAIT_LAZY)
			usleep(100);
	} while (now_ns() < until);
	return 0;
}

bool wait_wc_ms(struct end *e, int cq, struct ibv_wc *wc, unsigned int ms)
{
	struct wait_call w = { .cq = cq, .ms = ms };

	if (!end_run(e, do_wait, &w, sizeof(w)))
		return false;
	*wc = w.wc;
	return true;
}

void wait_wc(struct end *e, int cq, struct ibv_wc *wc)
{
	check_msg(wait_wc_ms(e, cq, wc, WAIT_MS * test_slow()),
		  "no completion of the %s queue after %u s",
		  cq == CQ_SEND ? "send" : "receive",
		  WAIT_MS / 1000 * test_slow());
}

void check_wc_at(const char *file, int line, const struct ibv_wc *wc,
		 uint64_t id, enum ibv_wc_status status)
{
	if (wc->wr_id != id || wc->status != status)
		test_failed(file, line,
			    "completion: id 0x%llx, %s; expected 0x%llx, %s",
			    (unsigned long long)wc->wr_id,
			    ibv_wc_status_str(wc->status),
			    (unsigned long long)id, ibv_wc_status_str(status));
}

void expect_wc_at(const char *file, int line, struct end *e, int cq,
		  uint64_t id, enum ibv_wc_status status)
{
	struct ibv_wc wc;

	if (!wait_wc_ms(e, cq, &wc, WAIT_MS * test_slow()))
		test_failed(file, line, "no completion; expected 0x%llx, %s",
			    (unsigned long long)id, ibv_wc_status_str(status));
	check_wc_at(file, line, &wc, id, status);
	if (wc.qp_num != e->qpn)
		test_failed(file, line, "completion of QP 0x%x, not 0x%x",
			    wc.qp_num, e->qpn);
}

void expect_no_wc(struct end *e, int cq, unsigned int ms)
{
	struct ibv_wc wc;

	check_msg(!wait_wc_ms(e, cq, &wc, ms),
		  "unexpected completion: id 0x%llx, %s",
		  (unsigned long long)wc.wr_id, ibv_wc_status_str(wc.status));
}

bool poll_one(struct ibv_cq *cq, struct ibv_wc *wc, unsigned int ms)
{
	uint64_t until = now_ns() + ms * 1000000ull;
	unsigned int n = 0;

	do {
		if (poll_once(cq, wc))
			return true;
		/* There may be more threads that poll than processors. */
		if (++n % 256 == 0)
			sched_yield();
	} while (now_ns() < until);
	return false;
}

/* ---- asynchronous events ------------------------------------------------ */

static void check_event_element(struct end *e, struct ibv_async_event *event)
{
	switch (event->event_type) {
	case IBV_EVENT_CQ_ERR:
		check(event->element.cq == e->cq[0] ||
		      event->element.cq == e->cq[1]);
		break;
	case IBV_EVENT_SRQ_ERR:
	case IBV_EVENT_SRQ_LIMIT_REACHED:
		check(event->element.srq == e->srq);
		break;
	case IBV_EVENT_QP_FATAL:
	case IBV_EVENT_QP_REQ_ERR:
	case IBV_EVENT_QP_ACCESS_ERR:
	case IBV_EVENT_COMM_EST:
	case IBV_EVENT_SQ_DRAINED:
	case IBV_EVENT_QP_LAST_WQE_REACHED:
		check(event->element.qp == e->qp);
		break;
	default:
		break;
	}
}

static long do_event(struct end *e, void *arg)
{
	struct pollfd pfd = { .fd = e->ctx->async_fd, .events = POLLIN };
	unsigned int *ms = arg;
	struct ibv_async_event event;

	if (poll(&pfd, 1, *ms) != 1)
		return -1;
	check_eq(ibv_get_async_event(e->ctx, &event), 0);
	check_event_element(e, &event);
	ibv_ack_async_event(&event);
	return event.event_type;
}

int wait_event_ms(struct end *e, unsigned int ms)
{
	return end_run(e, do_event, &ms, sizeof(ms));
}

void expect_event_at(const char *file, int line, struct end *e, int type)
{
	int got = wait_event_ms(e, WAIT_MS * test_slow());

	if (got != type)
		test_failed(file, line, "event: %s; expected %s",
			    got < 0 ? "none" : ibv_event_type_str(got),
			    ibv_event_type_str(type));
}
