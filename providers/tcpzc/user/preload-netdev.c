// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * preload-netdev.c - gid_attrs/ndevs/N of an interface that has been renamed
 *
 * The tree has the name of when it was made. libibverbs looks the name up, and
 * would find no interface, or another one.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "preload.h"
#include "tcpzc-ids.h"

TZ_NEXT(open)

/* The interface of the device that has the file @path, 0 if it is unknown. */
static unsigned int ifindex_of(const char *path)
{
	const char *end = strstr(path, "/ports/");
	char file[TZ_PATH_LEN], text[16] = "";
	int fd;

	if (!end || snprintf(file, sizeof(file), "%.*s/" TCPZC_SYSFS_IFINDEX,
			     (int)(end - path), path) >= (int)sizeof(file))
		return 0;
	fd = tz_next_open()(file, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	if (read(fd, text, sizeof(text) - 1) < 0)
		text[0] = '\0';
	close(fd);
	return strtoul(text, NULL, 10);
}

/**
 * tz_netdev_open - what a file with an interface's name has to say now
 * @fd: the file, just opened
 * @path: its path
 * @flags: with which
 *
 * Returns @fd, or another descriptor in its place.
 */
int tz_netdev_open(int fd, const char *path, int flags)
{
	char name[IF_NAMESIZE + 1], text[IF_NAMESIZE + 1] = "";
	int ends[2];
	size_t len;

	if (!if_indextoname(ifindex_of(path), name))
		return fd;
	strcat(name, "\n");
	len = strlen(name);
	if (pread(fd, text, sizeof(text) - 1, 0) < 0 || !strcmp(text, name) ||
	    pipe2(ends, flags & (O_CLOEXEC | O_NONBLOCK)))
		return fd;
	close(fd);
	if (write(ends[1], name, len) < 0)
		len = 0;
	close(ends[1]);
	return ends[0];
}
