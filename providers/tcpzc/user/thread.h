/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * thread.h - threads of ours in the application's process.
 */
#ifndef TCPZC_THREAD_H
#define TCPZC_THREAD_H

#include <pthread.h>

/*
 * Start a thread that has all signals blocked, and nothing of its creator's that
 * would be wrong for it: no real-time priority, and all processors on which the
 * process was started. 0 or a positive errno.
 */
int tz_thread_start(pthread_t *thread, void *(*fn)(void *arg), void *arg,
		    const char *name);

#endif /* TCPZC_THREAD_H */
