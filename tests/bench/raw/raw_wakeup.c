// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * How long after send() does a thread run that sleeps in epoll_wait()?
 *
 * The sleeper's core is idle, or busy with a spinning thread of its process;
 * the sender sleeps between packets or spins, on the other core. Time stamps
 * are CLOCK_MONOTONIC of one machine, carried in the packet.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "raw.h"

#define PACKETS		2000u
#define INTERVAL_US	200

static void *spin(void *arg)
{
	raw_pin((int)(intptr_t)arg);
	for (volatile uint64_t i = 0;; i++)
		;
	return NULL;
}

static void start_spinner(int cpu)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, spin, (void *)(intptr_t)cpu))
		raw_die("pthread_create");
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void sleeper(const struct raw_options *opt, int fd, struct raw_result *res)
{
	struct epoll_event event = { .events = EPOLLIN };
	static double late[PACKETS];
	int ep = epoll_create1(EPOLL_CLOEXEC);
	unsigned int n = 0;
	double sent;

	if (opt->waiters)
		start_spinner(opt->cpu[RAW_SERVER]);
	if (epoll_ctl(ep, EPOLL_CTL_ADD, fd, &event))
		raw_die("epoll_ctl");
	while (n < PACKETS) {
		epoll_wait(ep, &event, 1, -1);
		if (recv(fd, &sent, sizeof(sent), MSG_WAITALL) != sizeof(sent))
			break;
		late[n++] = raw_now() - sent;
	}
	qsort(late, n, sizeof(late[0]), compare);
	res->messages = n;
	res->half_rtt_us = late[n / 2] * 1e6;
	res->half_rtt_p99_us = late[n * 99 / 100] * 1e6;
}

static void pause_until(double when, bool sleep)
{
	if (sleep)
		usleep(INTERVAL_US);
	while (raw_now() < when)
		;
}

static void waker(const struct raw_options *opt, int fd, struct raw_result *res)
{
	(void)res;
	usleep(20000);
	for (unsigned int i = 0; i < PACKETS; i++) {
		double now;

		pause_until(raw_now() + INTERVAL_US * 1e-6, opt->block);
		now = raw_now();
		if (send(fd, &now, sizeof(now), MSG_NOSIGNAL) < 0)
			break;
	}
}

void raw_wakeup(const struct raw_options *opt)
{
	struct raw_result res;

	raw_run_pair(opt, sleeper, waker, &res);
	printf("{\"wakeup_us\": %.2f, \"p99_us\": %.2f, \"packets\": %lu}\n",
	       res.half_rtt_us, res.half_rtt_p99_us, (unsigned long)res.messages);
}
