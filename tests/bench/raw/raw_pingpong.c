// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/* Half round-trip time of a small message, spinning or blocking. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "raw.h"

#define SAMPLES_MAX	2000000u

static bool receive_all(int fd, char *buffer, size_t bytes, int flags,
			struct raw_result *res, enum raw_side side)
{
	size_t have = 0;

	while (have < bytes) {
		ssize_t n = recv(fd, buffer + have, bytes - have, flags);

		res->calls[side]++;
		if (n > 0) {
			have += (size_t)n;
			continue;
		}
		if (n == 0 || errno == ECONNRESET)
			return false;
		if (errno != EAGAIN)
			raw_die("recv");
		res->again[side]++;
	}
	return true;
}

/*
 * A progress thread as a user-mode provider has it: asleep in epoll_wait on a
 * socket that another thread polls. It finds nothing to do when it wakes up.
 */
static void *waiter(void *arg)
{
	int fd = *(int *)arg, ep = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event event = { .events = EPOLLIN | EPOLLET };

	if (ep < 0 || epoll_ctl(ep, EPOLL_CTL_ADD, fd, &event))
		raw_die("epoll");
	for (;;)
		epoll_wait(ep, &event, 1, -1);
	return NULL;
}

/* The alternative: it looks now and then whether somebody polls. */
static void *ticker(void *arg)
{
	const struct raw_options *opt = arg;
	struct timespec ts = { .tv_nsec = opt->ticker_us * 1000 };

	for (;;)
		nanosleep(&ts, NULL);
	return NULL;
}

static void start_waiters(const struct raw_options *opt, int *fd)
{
	pthread_t thread;

	if (opt->ticker_us && pthread_create(&thread, NULL, ticker, (void *)opt))
		raw_die("pthread_create");
	for (unsigned int i = 0; i < opt->waiters; i++)
		if (pthread_create(&thread, NULL, waiter, fd))
			raw_die("pthread_create");
}

void raw_pingpong_server(const struct raw_options *opt, int fd, struct raw_result *res)
{
	int flags = opt->block ? 0 : MSG_DONTWAIT;
	char *buffer = raw_alloc(opt->message_bytes);

	start_waiters(opt, &fd);
	while (receive_all(fd, buffer, opt->message_bytes, flags, res, RAW_SERVER)) {
		if (send(fd, buffer, opt->message_bytes, MSG_NOSIGNAL) < 0)
			break;
	}
}

static int compare(const void *a, const void *b)
{
	float x = *(const float *)a, y = *(const float *)b;

	return (x > y) - (x < y);
}

void raw_pingpong_client(const struct raw_options *opt, int fd, struct raw_result *res)
{
	int flags = opt->block ? 0 : MSG_DONTWAIT;
	char *buffer = raw_alloc(opt->message_bytes);
	float *sample = raw_alloc(SAMPLES_MAX * sizeof(*sample));
	double begin, now, start = raw_now();
	unsigned int n = 0;

	start_waiters(opt, &fd);
	begin = start;
	while (begin - start < opt->seconds && n < SAMPLES_MAX) {
		if (send(fd, buffer, opt->message_bytes, MSG_NOSIGNAL) < 0)
			raw_die("send");
		if (!receive_all(fd, buffer, opt->message_bytes, flags, res, RAW_CLIENT))
			raw_die("peer");
		now = raw_now();
		sample[n++] = (float)((now - begin) * 5e5);
		begin = now;
	}
	shutdown(fd, SHUT_WR);
	qsort(sample, n, sizeof(*sample), compare);
	res->seconds = begin - start;
	res->messages = n;
	res->half_rtt_us = sample[n / 2];
	res->half_rtt_p99_us = sample[(uint64_t)n * 99 / 100];
}
