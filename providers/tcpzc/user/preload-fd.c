// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * preload-fd.c - the functions that take a descriptor
 *
 * Not interposed because nothing needs it: ioctl() (a placeholder is an
 * ordinary file and answers ENOTTY to RDMA_VERBS_IOCTL, as is wanted: libibverbs
 * then uses sysfs and write commands), close() and dup() (nothing is kept per
 * descriptor), read() and poll() (event descriptors are pipes).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdint.h>
#include <unistd.h>

#include "preload.h"

/*
 * Descriptors that may be placeholders: marked when one is opened, and looked at
 * by every write(). A mark is only a hint to look at the inode, and so it does
 * not matter who closed the descriptor in the meantime. It counts how often the
 * number was marked, so that it is seen when that happens again.
 */
#define MARK_LIMIT	65536

static _Atomic uint8_t marks[MARK_LIMIT];
static atomic_bool marked_beyond;

void tz_mark_fd(int fd)
{
	uint8_t old, count;

	if (fd >= MARK_LIMIT) {
		atomic_store(&marked_beyond, true);
		return;
	}
	old = atomic_load(&marks[fd]);
	do
		count = old == UINT8_MAX ? 1 : old + 1;
	while (!atomic_compare_exchange_weak(&marks[fd], &old, count));
}

static inline bool is_marked(int fd)
{
	if (__builtin_expect((unsigned int)fd >= MARK_LIMIT, 0))
		return fd >= 0 && atomic_load_explicit(&marked_beyond,
						       memory_order_relaxed);
	return atomic_load_explicit(&marks[fd], memory_order_relaxed);
}

TZ_NEXT(fstat)

/*
 * The mark of something else is taken away, unless another thread has opened a
 * device under this number since before the look. As long as it is a device the
 * mark stays: other threads write to it at the same time.
 */
static __attribute__((noinline)) const struct tz_served *look_up(int fd)
{
	const struct tz_served *served = NULL;
	int saved_errno = errno;
	uint8_t seen = 0;
	struct stat st;

	if (fd < MARK_LIMIT)
		seen = atomic_load(&marks[fd]);
	if (!tz_next_fstat()(fd, &st))
		served = tz_find_served(st.st_dev, st.st_ino);
	if (!served && seen)
		atomic_compare_exchange_strong(&marks[fd], &seen, 0);
	errno = saved_errno;
	return served;
}

TZ_NEXT(write)
TZ_EXPORT ssize_t write(int fd, const void *buf, size_t len)
{
	const struct tz_served *served;
	ssize_t rc;

	if (__builtin_expect(is_marked(fd), 0)) {
		served = look_up(fd);
		if (served)
			return served->ops->write(fd, buf, len);
		tz_rdmacm_closed(buf, len);
	}
	rc = tz_next_write()(fd, buf, len);
	/* Of a descriptor whose mark somebody else has taken away since. */
	if (__builtin_expect(rc < 0 && errno == EBADF, 0))
		tz_rdmacm_closed(buf, len);
	return rc;
}
