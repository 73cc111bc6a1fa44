// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * thread.c - threads of ours in the application's process.
 *
 * A program opens a device in a thread that it has pinned to a processor and given
 * a real-time priority, in order to poll there. A thread that inherited both would
 * wait for that processor behind the one that polls, or in front of all others.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <unistd.h>

#include "start-cpus.h"
#include "thread.h"

/* The processors on which the process was started, or else those of its first thread. */
static bool tz_cpus(struct tz_start_cpus *cpus)
{
	if (tcpzc_start_cpus && tcpzc_start_cpus(cpus))
		return true;
	return !sched_getaffinity(getpid(), sizeof(cpus->bits),
				  (cpu_set_t *)cpus->bits);
}

static void tz_thread_attr(pthread_attr_t *attr)
{
	static const struct sched_param none;
	struct tz_start_cpus cpus = {};
	int policy = sched_getscheduler(0);

	if (tz_cpus(&cpus))
		pthread_attr_setaffinity_np(attr, sizeof(cpus.bits),
					    (cpu_set_t *)cpus.bits);
	/* Programs that are to be idle or batch, and all their threads, stay so. */
	if (policy == SCHED_FIFO || policy == SCHED_RR) {
		pthread_attr_setinheritsched(attr, PTHREAD_EXPLICIT_SCHED);
		pthread_attr_setschedpolicy(attr, SCHED_OTHER);
		pthread_attr_setschedparam(attr, &none);
	}
}

int tz_thread_start(pthread_t *thread, void *(*fn)(void *arg), void *arg,
		    const char *name)
{
	pthread_attr_t attr;
	sigset_t all, old;
	int err;

	err = pthread_attr_init(&attr);
	if (err)
		return err;
	tz_thread_attr(&attr);
	/* The application's signals are for the application's threads. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = pthread_create(thread, &attr, fn, arg);
	/* A sandbox forbids it, or none of the processors is there any more. */
	if (err == EPERM || err == EINVAL || err == ENOSYS)
		err = pthread_create(thread, NULL, fn, arg);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	if (!err)
		pthread_setname_np(*thread, name);
	return err;
}
