// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * preload-fd.c - the functions that take a descriptor, and socket()
 *
 * Not interposed because nothing needs it: ioctl() (a placeholder is an
 * ordinary file and answers ENOTTY to RDMA_VERBS_IOCTL, as is wanted: libibverbs
 * then uses sysfs and write commands), close() and dup() (nothing is kept per
 * descriptor), read() and poll() (event descriptors are pipes).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/netlink.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

#include "preload.h"

/*
 * Descriptors that may be placeholders: set when one is opened, and looked at
 * by every write(). A set bit is only a hint to look at the inode, and so it
 * does not matter who closed the descriptor in the meantime.
 */
#define MARK_LIMIT	65536

static _Atomic uint64_t marks[MARK_LIMIT / 64];
static atomic_bool marked_beyond;

static uint64_t mark_bit(int fd)
{
	return UINT64_C(1) << (fd % 64);
}

void tz_mark_fd(int fd)
{
	if (fd < MARK_LIMIT)
		atomic_fetch_or(&marks[fd / 64], mark_bit(fd));
	else
		atomic_store(&marked_beyond, true);
}

static inline bool is_marked(int fd)
{
	if (__builtin_expect((unsigned int)fd >= MARK_LIMIT, 0))
		return fd >= 0 && atomic_load_explicit(&marked_beyond,
						       memory_order_relaxed);
	return atomic_load_explicit(&marks[fd / 64], memory_order_relaxed) &
	       mark_bit(fd);
}

TZ_NEXT(fstat)

/*
 * The mark is taken away before the look and put back after it: if another
 * thread opens a device under this number in between, either the look sees it
 * or that thread's mark comes last.
 */
static __attribute__((noinline)) const struct tz_served *look_up(int fd)
{
	const struct tz_served *served = NULL;
	int saved_errno = errno;
	struct stat st;

	if (fd < MARK_LIMIT)
		atomic_fetch_and(&marks[fd / 64], ~mark_bit(fd));
	if (!tz_next_fstat()(fd, &st))
		served = tz_find_served(st.st_dev, st.st_ino);
	if (served)
		tz_mark_fd(fd);
	errno = saved_errno;
	return served;
}

TZ_NEXT(write)
TZ_EXPORT ssize_t write(int fd, const void *buf, size_t len)
{
	const struct tz_served *served;

	if (__builtin_expect(is_marked(fd), 0)) {
		served = look_up(fd);
		if (served)
			return served->ops->write(fd, buf, len);
	}
	return tz_next_write()(fd, buf, len);
}

/*
 * libibverbs, librdmacm and the rdma tool ask netlink first, and take an answer
 * without devices for an answer. This is what they get from a kernel without
 * RDMA; asking the real kernel could also load its RDMA modules.
 */
TZ_NEXT(socket)
TZ_EXPORT int socket(int domain, int type, int protocol)
{
	if (domain == AF_NETLINK && protocol == NETLINK_RDMA &&
	    tz_have_tree()) {
		errno = EPROTONOSUPPORT;
		return -1;
	}
	return tz_next_socket()(domain, type, protocol);
}
