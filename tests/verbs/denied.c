// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * denied.c - sandboxes whose filter does not know a call, and answers EPERM, or
 * ENOSYS: everything works without it, or the device cannot be opened and a message
 * says why. Nothing hangs, and an idle program sleeps.
 *
 *	denied TCPZC_RUN [CALL...]	each call, by TCPZC_RUN and this program
 *	denied --work			by which this program knows that it is that one
 */
#include "common.h"

#include <fcntl.h>
#include <linux/audit.h>
#include <linux/ethtool.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define LIMIT_S		20
#define NO_DEVICE	2	/* exit status: could not be opened */
#define NO_RUN		125	/* tcpzc-run's own */
#define ANY		(-1)

struct call {
	const char *name;
	long nr;
	int arg1, value1;	/* only if the argument is this; ANY */
	int arg2, value2;
	bool opens;		/* the device opens all the same */
};

#define CALL(n)		{ #n, SYS_##n, ANY, 0, ANY, 0, true }
#define NEEDED(n)	{ #n, SYS_##n, ANY, 0, ANY, 0, false }
#define SOCKOPT(c, l, o) { #c " " #o, SYS_##c, 1, l, 2, o, true }
#define REQUEST(c, r)	{ #c " " #r, SYS_##c, 1, r, ANY, 0, true }

static const struct call calls[] = {
	NEEDED(epoll_create1), NEEDED(eventfd2), NEEDED(pipe2), NEEDED(flock),
	CALL(epoll_pwait2), CALL(getrandom), CALL(accept4), CALL(recvmmsg),
	CALL(sendmmsg), CALL(process_vm_readv), CALL(process_vm_writev),
	CALL(vmsplice), CALL(splice), CALL(tee), CALL(statx), CALL(memfd_create),
	CALL(pidfd_open), CALL(madvise), CALL(mlock), CALL(mincore), CALL(membarrier),
	CALL(prctl), CALL(sched_getaffinity), CALL(sched_setaffinity),
	CALL(sched_setscheduler), CALL(sched_getparam), CALL(timerfd_create),
	CALL(rt_sigtimedwait), CALL(shutdown), CALL(inotify_init1), CALL(io_uring_setup), CALL(rseq),
	CALL(userfaultfd), CALL(preadv2), CALL(faccessat2), CALL(openat2),
	CALL(close_range), CALL(getsockopt), CALL(setsockopt),
	REQUEST(ioctl, SIOCOUTQNSD), REQUEST(ioctl, SIOCOUTQ), REQUEST(ioctl, FIONREAD),
	REQUEST(ioctl, SIOCETHTOOL), REQUEST(ioctl, SIOCGIFMTU),
	REQUEST(fcntl, F_SETPIPE_SZ), REQUEST(fcntl, F_GETPIPE_SZ),
	SOCKOPT(getsockopt, IPPROTO_TCP, TCP_INFO),
	SOCKOPT(setsockopt, IPPROTO_TCP, TCP_CONGESTION),
	SOCKOPT(setsockopt, IPPROTO_TCP, TCP_NODELAY),
	SOCKOPT(setsockopt, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT),
	SOCKOPT(setsockopt, SOL_SOCKET, SO_REUSEADDR),
	SOCKOPT(setsockopt, SOL_SOCKET, SO_KEEPALIVE),
	SOCKOPT(setsockopt, SOL_SOCKET, SO_LINGER),
	{ "socket AF_NETLINK", SYS_socket, 0, AF_NETLINK, ANY, 0, false },
};

/* ---- the program that lacks a call -------------------------------------- */

static const struct opts plain = { .mem_bytes = 4 * MIB, .min_retry_ms = 20000,
				   .waiting = WAIT_EVENT };

static void talk(struct pair *p, unsigned int round)
{
	size_t len = round % 2 ? MIB : 3000;

	fill(p->a->mem, len, round);
	post_recv(p->b, 1, 0, len);
	post_send(p->a, wr_make(p->a, IBV_WR_SEND, 2, 0, len));
	expect_recv(p->b, 1, IBV_WC_SUCCESS);
	expect_send(p->a, 2, IBV_WC_SUCCESS);
	check_fill(p->b->mem, len, round);
	post_send(p->b, wr_rdma(p->b, IBV_WR_RDMA_WRITE, 3, 0, len, p->a, 2 * MIB));
	expect_send(p->b, 3, IBV_WC_SUCCESS);
	check_fill(p->a->mem + 2 * MIB, len, round);
}

/* One datagram to a queue pair of the same device, and its address back. */
static void talk_ud(struct ibv_context *ctx)
{
	struct ibv_pd *pd = ibv_alloc_pd(ctx);
	struct ibv_cq *cq = ibv_create_cq(ctx, 8, NULL, NULL, 0);
	struct ibv_qp_init_attr init = {
		.send_cq = cq, .recv_cq = cq,
		.cap = { .max_send_wr = 4, .max_recv_wr = 4, .max_send_sge = 1,
			 .max_recv_sge = 1 },
		.qp_type = IBV_QPT_UD,
	};
	struct ibv_qp_attr attr = { .qp_state = IBV_QPS_INIT, .port_num = 1, .qkey = 7 };
	struct ibv_ah_attr ah_attr = { .is_global = 1, .port_num = 1 };
	static uint8_t mem[256];
	struct ibv_mr *mr = ibv_reg_mr(pd, mem, sizeof(mem), ACCESS_ALL);
	struct ibv_sge to = { (uintptr_t)mem, 128, mr->lkey };
	struct ibv_sge from = { (uintptr_t)mem + 128, 8, mr->lkey };
	struct ibv_recv_wr *bad_recv, recv = { .wr_id = 1, .sg_list = &to, .num_sge = 1 };
	struct ibv_send_wr *bad, wr = {
		.wr_id = 2, .sg_list = &from, .num_sge = 1, .opcode = IBV_WR_SEND,
		.send_flags = IBV_SEND_SIGNALED,
	};
	struct ibv_qp *qp = ibv_create_qp(pd, &init);
	unsigned int done = 0;
	struct ibv_wc wc;

	check_msg(qp, "UD: %m");
	check_rc(ibv_modify_qp(qp, &attr, IBV_QP_STATE | IBV_QP_PKEY_INDEX |
			       IBV_QP_PORT | IBV_QP_QKEY), 0);
	attr.qp_state = IBV_QPS_RTR;
	check_rc(ibv_modify_qp(qp, &attr, IBV_QP_STATE), 0);
	attr.qp_state = IBV_QPS_RTS;
	check_rc(ibv_modify_qp(qp, &attr, IBV_QP_STATE | IBV_QP_SQ_PSN), 0);
	ah_attr.grh.sgid_index = usable_gid(ctx, &ah_attr.grh.dgid);
	wr.wr.ud.ah = ibv_create_ah(pd, &ah_attr);
	check_msg(wr.wr.ud.ah, "%m");
	wr.wr.ud.remote_qpn = qp->qp_num;
	wr.wr.ud.remote_qkey = 7;
	check_rc(ibv_post_recv(qp, &recv, &bad_recv), 0);
	memcpy(mem + 128, "datagram", 8);
	check_rc(ibv_post_send(qp, &wr, &bad), 0);
	/* Not polled meanwhile, so that the progress thread does it. */
	sleep_ms(20);
	while (done != 3) {
		check_msg(poll_one(cq, &wc, 5000), "UD: %u", done);
		check_eq(wc.status, IBV_WC_SUCCESS);
		done |= wc.wr_id;
	}
	check(!memcmp(mem + 40, "datagram", 8));
	check_rc(ibv_destroy_qp(qp), 0);
	check_rc(ibv_destroy_ah(wr.wr.ud.ah), 0);
	check_rc(ibv_dereg_mr(mr), 0);
	check_rc(ibv_destroy_cq(cq), 0);
	check_rc(ibv_dealloc_pd(pd), 0);
}

static void asleep(void)
{
	uint64_t cpu = cpu_ns();

	sleep_ms(150);
	cpu = cpu_ns() - cpu;
	check_msg(cpu < 50000000, "%llu ms of CPU time in 150 ms of idleness",
		  (unsigned long long)cpu / 1000000);
}

static int work(void)
{
	struct ibv_context *ctx = open_device(NULL);
	struct pair p;
	unsigned int i, t;

	if (!ctx) {
		perror("ibv_open_device");
		return NO_DEVICE;
	}
	asleep();
	talk_ud(ctx);
	for (t = TOPO_SELF; t <= TOPO_CONTEXTS; t++) {
		pair_open(&p, t, &plain, &plain);
		for (i = 0; i < 20; i++)
			talk(&p, i);
		/* Events that nobody has fetched: the end must find them. */
		check_rc(ibv_req_notify_cq(p.b->cq[CQ_RECV], 0), 0);
		post_recv(p.b, 1, 0, 8);
		end_state(p.b, IBV_QPS_ERR);
		pair_close(&p);
	}
	asleep();
	check_rc(ibv_close_device(ctx), 0);
	return 0;
}

/* ---- the one that takes it away ------------------------------------------ */

static void deny(const struct call *c, int err)
{
	struct sock_filter f[9];
	struct sock_fprog prog = { .filter = f };
	unsigned short n = 0;
	int args[2] = { c->arg1, c->arg2 }, values[2] = { c->value1, c->value2 };
	unsigned int left = 1 + (c->arg1 != ANY) + (c->arg2 != ANY), i;

	f[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
					      offsetof(struct seccomp_data, nr));
	f[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, c->nr, 0,
					      2 * --left + 1);
	for (i = 0; i < 2 && args[i] != ANY; i++) {
		f[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			offsetof(struct seccomp_data, args) + 8 * args[i]);
		f[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K,
						      values[i], 0, 2 * --left + 1);
	}
	f[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | err);
	f[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	prog.len = n;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog))
		_exit(77);
}

/* Returns the exit status, or -1: ended by a signal; what was said to @said. */
static int run_without(const struct call *c, int err, char **argv, char *said,
		       size_t room)
{
	siginfo_t info;
	int out[2], status;
	size_t got = 0;
	ssize_t n;
	pid_t pid;

	check(!pipe(out));
	pid = fork();
	check(pid >= 0);
	if (!pid) {
		setpgid(0, 0);
		dup2(out[1], 1);
		dup2(out[1], 2);
		close(out[0]);
		close(out[1]);
		alarm(LIMIT_S);
		deny(c, err);
		execv(argv[0], argv);
		_exit(99);
	}
	close(out[1]);
	while ((n = read(out[0], said + got, room - 1 - got)) > 0)
		got += n;
	said[got] = 0;
	close(out[0]);
	/* With what is left of a program that hung. */
	check(!waitid(P_PID, pid, &info, WEXITED | WNOWAIT));
	kill(-pid, SIGKILL);
	check_eq(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static bool one(const struct call *c, int err, char **argv)
{
	static char said[8192];
	int status = run_without(c, err, argv, said, sizeof(said));
	bool refused = !c->opens &&
		       ((status == NO_DEVICE && strstr(said, "tcpzc: ")) ||
			(status == NO_RUN && strstr(said, "tcpzc-run: ")));

	if (!status || refused) {
		printf("ok     %s, %s: %s\n", c->name, strerror(err),
		       status ? "says so" : "works");
		return true;
	}
	printf("FAILED %s, %s: status %d\n%s\n", c->name, strerror(err), status, said);
	return false;
}

static bool wanted(const struct call *c, char **names)
{
	if (!*names)
		return true;
	for (; *names; names++)
		if (!strcmp(*names, c->name))
			return true;
	return false;
}

int main(int argc, char **argv)
{
	static const int errors[] = { EPERM, ENOSYS };
	static char work_arg[] = "--work";
	char *command[4] = { NULL };
	unsigned int i, k, failed = 0;

	if (argc < 2)
		return 2;
	if (!strcmp(argv[1], work_arg))
		return work();
	command[0] = argv[1];
	command[1] = argv[0];
	command[2] = work_arg;
	for (i = 0; i < ARRAY_SIZE(calls); i++)
		for (k = 0; k < 2; k++)
			if (wanted(&calls[i], argv + 2))
				failed += !one(&calls[i], errors[k], command);
	return failed != 0;
}
