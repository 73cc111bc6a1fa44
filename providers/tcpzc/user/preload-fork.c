// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * preload-fork.c - registered memory is not kept from children
 *
 * After ibv_fork_init() libibverbs calls madvise(MADV_DONTFORK) for each region,
 * because adapters use pinned pages, which a child must not share. User mode pins
 * nothing. libibverbs from release 51 on asks netlink (preload-netlink.c) and then
 * leaves regions alone; older ones ask only to answer ibv_is_fork_initialized().
 *
 * libibverbs calls these two functions through its own symbol table, so they are
 * found here first, however the program has loaded libibverbs.
 */
#define _GNU_SOURCE
#include <dlfcn.h>

#include "preload.h"

/* infiniband/driver.h */
int ibv_dontfork_range(void *base, size_t size);
int ibv_dofork_range(void *base, size_t size);

TZ_NEXT(ibv_dontfork_range)
TZ_NEXT(ibv_dofork_range)

typedef int (*range_fn)(void *base, size_t size);

/* libibverbs may have been loaded with RTLD_LOCAL, where RTLD_NEXT does not look. */
static range_fn find_local(const char *name)
{
	void *lib = dlopen("libibverbs.so.1", RTLD_LAZY | RTLD_NOLOAD);
	range_fn fn = NULL;

	if (lib) {
		fn = (range_fn)dlsym(lib, name);
		dlclose(lib);
	}
	return fn;
}

TZ_EXPORT int ibv_dontfork_range(void *base, size_t size)
{
	range_fn next;

	if (tz_have_tree())
		return 0;
	next = tz_next_ibv_dontfork_range();
	if (!next)
		next = find_local("ibv_dontfork_range");
	return next ? next(base, size) : -1;
}

TZ_EXPORT int ibv_dofork_range(void *base, size_t size)
{
	range_fn next;

	if (tz_have_tree())
		return 0;
	next = tz_next_ibv_dofork_range();
	if (!next)
		next = find_local("ibv_dofork_range");
	return next ? next(base, size) : -1;
}
