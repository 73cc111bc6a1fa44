// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/* Prices of single system calls, and of waking a thread up. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/futex.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <linux/sockios.h>
#include <time.h>
#include <unistd.h>

#include "raw.h"

#define ROUNDS		20
#define SOCKETS		128

struct bench {
	int fd, peer, ep1, ep128, event;
	int futex;
	char buffer[64];
};

static void pair(int *a, int *b)
{
	struct sockaddr_in addr = { .sin_family = AF_INET,
				    .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(addr);
	int l = socket(AF_INET, SOCK_STREAM, 0);

	*a = socket(AF_INET, SOCK_STREAM, 0);
	if (bind(l, (void *)&addr, len) || listen(l, 1) ||
	    getsockname(l, (void *)&addr, &len) || connect(*a, (void *)&addr, len))
		raw_die("pair");
	*b = accept(l, NULL, NULL);
	setsockopt(*a, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
	setsockopt(*b, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
	close(l);
}

static void cost_recv_again(struct bench *b)
{
	if (recv(b->fd, b->buffer, sizeof(b->buffer), MSG_DONTWAIT) != -1)
		raw_die("recv");
}

static void cost_recvmsg_again(struct bench *b)
{
	struct iovec iov[2] = { { b->buffer, 32 }, { b->buffer + 32, 32 } };
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = 2 };

	if (recvmsg(b->fd, &msg, MSG_DONTWAIT) != -1)
		raw_die("recvmsg");
}

static void cost_epoll_1(struct bench *b)
{
	struct epoll_event e[16];

	epoll_wait(b->ep1, e, 16, 0);
}

static void cost_epoll_128(struct bench *b)
{
	struct epoll_event e[16];

	epoll_wait(b->ep128, e, 16, 0);
}

static void cost_tcp_info(struct bench *b)
{
	struct tcp_info info;
	socklen_t len = sizeof(info);

	getsockopt(b->fd, IPPROTO_TCP, TCP_INFO, &info, &len);
}

static void cost_fionread(struct bench *b)
{
	int n;

	ioctl(b->fd, FIONREAD, &n);
}

static void cost_siocoutq(struct bench *b)
{
	int n;

	ioctl(b->fd, SIOCOUTQ, &n);
}

static void cost_clock(struct bench *b)
{
	struct timespec ts;

	(void)b;
	clock_gettime(CLOCK_MONOTONIC, &ts);
}

static void cost_clock_coarse(struct bench *b)
{
	struct timespec ts;

	(void)b;
	clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
}

static void cost_futex_wake(struct bench *b)
{
	syscall(SYS_futex, &b->futex, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static void cost_eventfd(struct bench *b)
{
	uint64_t one = 1;

	if (write(b->event, &one, sizeof(one)) != sizeof(one))
		raw_die("eventfd");
}

static void cost_getppid(struct bench *b)
{
	(void)b;
	syscall(SYS_getppid);
}

static void cost_sched_yield(struct bench *b)
{
	(void)b;
	syscall(SYS_sched_yield);
}

static void cost_loopback_send(struct bench *b)
{
	if (send(b->fd, b->buffer, 48, MSG_NOSIGNAL) != 48 ||
	    recv(b->peer, b->buffer, 64, 0) != 48)
		raw_die("send");
}

static const struct { const char *name; void (*run)(struct bench *b); } costs[] = {
	{ "getppid (empty call)", cost_getppid },
	{ "recv(MSG_DONTWAIT) = EAGAIN", cost_recv_again },
	{ "recvmsg(2 iov, MSG_DONTWAIT) = EAGAIN", cost_recvmsg_again },
	{ "epoll_wait(0) on 1 idle socket", cost_epoll_1 },
	{ "epoll_wait(0) on 128 idle sockets", cost_epoll_128 },
	{ "getsockopt(TCP_INFO)", cost_tcp_info },
	{ "ioctl(FIONREAD)", cost_fionread },
	{ "ioctl(SIOCOUTQ)", cost_siocoutq },
	{ "clock_gettime(MONOTONIC)", cost_clock },
	{ "clock_gettime(MONOTONIC_COARSE)", cost_clock_coarse },
	{ "futex wake, nobody waits", cost_futex_wake },
	{ "eventfd write, nobody waits", cost_eventfd },
	{ "sched_yield, alone", cost_sched_yield },
	{ "send(48)+recv(48), one thread", cost_loopback_send },
};

static double price_ns(void (*run)(struct bench *b), struct bench *b)
{
	double best = 1e9;

	for (int round = 0; round < ROUNDS; round++) {
		double t = raw_now(), ns;

		for (int i = 0; i < 2000; i++)
			run(b);
		ns = (raw_now() - t) * 1e9 / 2000;
		if (ns < best)
			best = ns;
	}
	return best;
}

static void setup(struct bench *b)
{
	struct epoll_event e = { .events = EPOLLIN };
	int a, c;

	b->ep1 = epoll_create1(0);
	b->ep128 = epoll_create1(0);
	b->event = eventfd(0, EFD_NONBLOCK);
	pair(&b->fd, &b->peer);
	epoll_ctl(b->ep1, EPOLL_CTL_ADD, b->fd, &e);
	epoll_ctl(b->ep128, EPOLL_CTL_ADD, b->fd, &e);
	for (int i = 1; i < SOCKETS; i++) {
		pair(&a, &c);
		epoll_ctl(b->ep128, EPOLL_CTL_ADD, a, &e);
	}
}

void raw_cost(void)
{
	struct bench b = { .futex = 0 };

	raw_pin(0);
	setup(&b);
	printf("{");
	for (size_t i = 0; i < sizeof(costs) / sizeof(costs[0]); i++)
		printf("%s\"%s\": %.0f", i ? ", " : "", costs[i].name,
		       price_ns(costs[i].run, &b));
	printf("}\n");
}
