// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * netlink.c - RDMA's netlink in user mode: whoever holds the socket is answered, and
 * by nobody else.
 */
#include "common.h"

#include <fcntl.h>
#include <linux/netlink.h>
#include <pthread.h>
#include <rdma/rdma_netlink.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define FD_ENV	"TEST_NETLINK_FD"

struct message {
	struct nlmsghdr nlh;
	char bytes[1024];
};

static int nl_open(int protocol)
{
	struct timeval limit = { .tv_sec = 5 };
	int fd = socket(AF_NETLINK, SOCK_RAW, protocol);

	check_msg(fd >= 0, "socket: %m");
	check_eq(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)), 0);
	return fd;
}

static uint32_t nl_port(int fd)
{
	struct sockaddr_nl addr = { .nl_family = AF_NETLINK };
	socklen_t len = sizeof(addr);

	check_eq(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	check_eq(getsockname(fd, (struct sockaddr *)&addr, &len), 0);
	return addr.nl_pid;
}

static ssize_t nl_ask(int fd, unsigned int op, uint32_t seq)
{
	struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
	struct nlmsghdr nlh = {
		.nlmsg_len = sizeof(nlh),
		.nlmsg_type = RDMA_NL_GET_TYPE(RDMA_NL_NLDEV, op),
		.nlmsg_flags = NLM_F_REQUEST,
		.nlmsg_seq = seq,
	};

	return sendto(fd, &nlh, sizeof(nlh), 0, (struct sockaddr *)&kernel,
		      sizeof(kernel));
}

static void nl_answer(int fd, uint32_t seq, struct message *m)
{
	ssize_t n = recv(fd, m, sizeof(*m), 0);

	check_msg(n >= NLMSG_HDRLEN, "recv: %zd %m", n);
	check_eq(m->nlh.nlmsg_len, n);
	check_eq(m->nlh.nlmsg_seq, seq);
}

static void expect_answer(int fd, uint32_t seq)
{
	struct nlattr *nla;
	struct message m;
	bool found = false;
	char *p;

	check_eq(nl_ask(fd, RDMA_NLDEV_CMD_SYS_GET, seq), NLMSG_HDRLEN);
	nl_answer(fd, seq, &m);
	for (p = m.bytes; p < (char *)&m + m.nlh.nlmsg_len;
	     p += NLA_ALIGN(nla->nla_len)) {
		nla = (struct nlattr *)p;
		check(nla->nla_len >= NLA_HDRLEN);
		if (nla->nla_type == RDMA_NLDEV_SYS_ATTR_COPY_ON_FORK) {
			check_eq(p[NLA_HDRLEN], 1);
			found = true;
		}
	}
	check(found);
}

/* The same socket under another number, beyond any table, and without the first. */
static void duplicated(void)
{
	struct rlimit limit;
	int fd = nl_open(NETLINK_RDMA), high;

	check_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = limit.rlim_max;
	check_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	high = limit.rlim_cur > 70000 ? 70000 : limit.rlim_cur - 1;
	check_eq(dup2(fd, high), high);
	expect_answer(high, 1);
	expect_answer(fd, 2);
	close(fd);
	expect_answer(high, 3);
	close(high);
}

static void expect_child_ok(pid_t pid)
{
	int status;

	check_eq(waitpid(pid, &status, 0), pid);
	check_msg(!status, "the child ended with status 0x%x", status);
}

static void in_child(void)
{
	int fd = nl_open(NETLINK_RDMA);
	char text[16];
	pid_t pid;

	fflush(NULL);
	pid = fork();
	check(pid >= 0);
	if (!pid) {
		expect_answer(fd, 4);
		_exit(0);
	}
	expect_child_ok(pid);
	pid = fork();
	check(pid >= 0);
	if (!pid) {
		snprintf(text, sizeof(text), "%d", fd);
		setenv(FD_ENV, text, 1);
		execl("/proc/self/exe", "verbs_netlink", (char *)NULL);
		_exit(1);
	}
	expect_child_ok(pid);
	expect_answer(fd, 5);
	close(fd);
}

static void *ask_often(void *arg)
{
	int fd = nl_open(NETLINK_RDMA), i;

	for (i = 0; i < 200; i++)
		expect_answer(fd, i);
	close(fd);
	return arg;
}

static void threads(void)
{
	pthread_t thread[8];
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(thread); i++)
		check_eq(pthread_create(&thread[i], NULL, ask_often, NULL), 0);
	for (i = 0; i < ARRAY_SIZE(thread); i++)
		check_eq(pthread_join(thread[i], NULL), 0);
}

/* Others can send to the socket's port; it neither hears them nor fills up. */
static void strangers(void)
{
	int fd = nl_open(NETLINK_RDMA), other = nl_open(NETLINK_USERSOCK), i;
	struct sockaddr_nl addr = { .nl_family = AF_NETLINK };
	struct message m = { .nlh = { .nlmsg_len = sizeof(m) } };

	addr.nl_pid = nl_port(fd);
	for (i = 0; i < 2000; i++) {
		if (i == 1000)
			expect_answer(fd, 6);
		m.nlh.nlmsg_len = 1 + i % (sizeof(m) - 1);
		check_eq(sendto(other, &m, m.nlh.nlmsg_len, MSG_DONTWAIT,
				(struct sockaddr *)&addr, sizeof(addr)),
			 m.nlh.nlmsg_len);
	}
	expect_answer(fd, 7);
	check_eq(recv(fd, &m, sizeof(m), MSG_DONTWAIT), -1);
	check_eq(errno, EAGAIN);
	close(other);
	close(fd);
}

static void unknown(void)
{
	int fd = nl_open(NETLINK_RDMA);
	struct message m;

	check_eq(nl_ask(fd, RDMA_NLDEV_CMD_RES_QP_GET, 8), NLMSG_HDRLEN);
	nl_answer(fd, 8, &m);
	check_eq(m.nlh.nlmsg_type, NLMSG_ERROR);
	check_eq(((struct nlmsgerr *)m.bytes)->error, -EOPNOTSUPP);
	close(fd);
}

/* When answers find no room the question fails; none is lost silently. */
static void nobody_reads(void)
{
	int fd = nl_open(NETLINK_RDMA);
	uint32_t asked, seq;
	struct message m;

	for (asked = 0; asked < 100000; asked++)
		if (nl_ask(fd, RDMA_NLDEV_CMD_SYS_GET, asked) < 0)
			break;
	check_eq(errno, ENOBUFS);
	for (seq = 0; seq < asked; seq++)
		nl_answer(fd, seq, &m);
	expect_answer(fd, 9);
	close(fd);
}

/* The program's own sockets of the same protocol are none of ours. */
static void not_ours(void)
{
	int fd = nl_open(NETLINK_USERSOCK);

	check_eq(nl_ask(fd, RDMA_NLDEV_CMD_SYS_GET, 10), -1);
	check_eq(errno, ECONNREFUSED);
	close(fd);
}

static const struct test_case cases[] = {
	CASE(duplicated),
	CASE(in_child),
	CASE(threads),
	CASE(strangers),
	CASE(unknown),
	CASE(nobody_reads),
	CASE(not_ours),
	CASES_END
};

int main(int argc, char **argv)
{
	const char *fd = getenv(FD_ENV);

	if (fd) {
		expect_answer(atoi(fd), 11);
		return 0;
	}
	return test_main(argc, argv, cases);
}
