// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * ub_mem.c - may the process use a range of its memory? Asked when the range is
 * registered, as the kernel would find out by pinning it, and when the kernel could
 * not copy to or from it.
 *
 * Small ranges are made present, which one call does. Large ones may be sparse, and
 * touching them would take time and memory: their mappings are looked up. Pages of a
 * file that lie beyond its end are at the end of their mapping, so one page tells.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "ub.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ	22
#define MADV_POPULATE_WRITE	23
#endif

#define UB_POPULATE_BYTES	(256u << 10)

/* Not madvise(): see ub_qp_free(). Kernels before 5.14, and filters, refuse this. */
static bool ub_populate(uintptr_t start, size_t len, bool write)
{
	uintptr_t page = sysconf(_SC_PAGESIZE), from = start & ~(page - 1);

	return !syscall(SYS_madvise, from, start + len - from,
			write ? MADV_POPULATE_WRITE : MADV_POPULATE_READ);
}

/* The kernel reads it, since this process would get a signal. */
static bool ub_can_read(uintptr_t at)
{
	u8 byte;
	struct iovec to = { &byte, 1 }, from = { (void *)at, 1 };

	return process_vm_readv(getpid(), &to, 1, &from, 1, 0) >= 0 ||
	       errno != EFAULT;
}

struct ub_mapping {
	uintptr_t start, last;
	bool read, write, file;
};

static bool ub_maps_next(FILE *maps, struct ub_mapping *m)
{
	unsigned long start, end, inode;
	char line[128], rights[5];

	if (!fgets(line, sizeof(line), maps) ||
	    sscanf(line, "%lx-%lx %4s %*x %*x:%*x %lu", &start, &end, rights,
		   &inode) != 4)
		return false;
	/* The rest of a long name. */
	while (!strchr(line, '\n') && fgets(line, sizeof(line), maps))
		;
	m->start = start;
	m->last = end - 1;
	m->read = rights[0] == 'r';
	m->write = rights[1] == 'w';
	m->file = inode != 0;
	return true;
}

/*
 * What is mapped all the time is always listed, whatever other threads map meanwhile
 * (Documentation/filesystems/proc.rst).
 */
static bool ub_maps_allow(FILE *maps, uintptr_t at, uintptr_t last, bool write)
{
	struct ub_mapping m;

	while (ub_maps_next(maps, &m)) {
		if (m.last < at)
			continue;
		if (m.start > at || !m.read || (write && !m.write))
			return false;
		if (m.file && !ub_can_read(tz_min(m.last, last)))
			return false;
		if (m.last >= last)
			return true;
		at = m.last + 1;
	}
	return false;
}

/* 0, or EFAULT. Without /proc only small ranges can be known to be good; none is refused. */
int ub_mem_check(const void *addr, size_t len, bool write)
{
	uintptr_t start = (uintptr_t)addr;
	bool allowed;
	FILE *maps;

	if (len <= UB_POPULATE_BYTES && ub_populate(start, len, write))
		return 0;
	maps = fopen("/proc/self/maps", "re");
	if (!maps)
		return 0;
	allowed = ub_maps_allow(maps, start, start + len - 1, write);
	fclose(maps);
	return allowed ? 0 : EFAULT;
}
