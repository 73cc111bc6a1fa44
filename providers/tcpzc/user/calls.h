/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * calls.h - calls that a sandbox's filter may not know, and then answers with any
 * error, and what is done instead (tests/verbs/denied).
 */
#ifndef TCPZC_CALLS_H
#define TCPZC_CALLS_H

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Random numbers that nobody can guess; false with errno if there are none. */
static inline bool tz_random(void *buf, size_t bytes)
{
	ssize_t n = getrandom(buf, bytes, 0);
	int fd;

	if (n == (ssize_t)bytes)
		return true;
	fd = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	n = read(fd, buf, bytes);
	close(fd);
	return n == (ssize_t)bytes;
}

/* The next connection at @fd, not blocking; -1 with errno. */
static inline int tz_accept(int fd)
{
	int got = syscall(SYS_accept4, fd, NULL, NULL,
			  SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (got >= 0 || (errno != EPERM && errno != EACCES && errno != ENOSYS))
		return got;
	/* accept(2): EPERM is also a firewall's answer, once more then. */
	got = accept(fd, NULL, NULL);
	if (got >= 0) {
		fcntl(got, F_SETFL, O_NONBLOCK);
		fcntl(got, F_SETFD, FD_CLOEXEC);
	}
	return got;
}

/* The process' descriptors, for when it has gone to a root without /proc. */
static inline int tz_open_fds(void)
{
	return open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/*
 * A second description of the pipe's end @fd. @fds is what tz_open_fds() returned
 * in this process.
 */
static inline int tz_reopen(int fds, int fd, int flags)
{
	char path[32];
	int got;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	got = open(path, flags | O_CLOEXEC);
	if (got >= 0 || errno != ENOENT || fds < 0)
		return got;
	return openat(fds, path + sizeof("/proc/self/fd"), flags | O_CLOEXEC);
}

#endif /* TCPZC_CALLS_H */
