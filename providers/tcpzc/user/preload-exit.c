// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * preload-exit.c - _exit(), which runs no exit handlers
 *
 * A process that has seen a message may end by _exit() at once; children of
 * programs that fork do. An adapter has acknowledged the message by then. So the
 * provider is told here, as its exit handler is by exit().
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <unistd.h>

#include "preload.h"
#include "process-end.h"

static _Atomic(void (*)(void)) before_end;

TZ_NEXT(_exit)

TZ_EXPORT void tcpzc_before_end(void (*fn)(void))
{
	atomic_store(&before_end, fn);
}

/* From signal handlers, too, and from children of vfork(): @before_end knows. */
static __attribute__((noreturn)) void end_process(int status)
{
	void (*fn)(void) = atomic_load(&before_end);

	if (fn)
		fn();
	tz_next__exit()(status);
	__builtin_unreachable();
}

TZ_EXPORT void _exit(int status)
{
	end_process(status);
}

TZ_EXPORT void _Exit(int status)
{
	end_process(status);
}
