// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * preload-rdmacm.c - /dev/infiniband/rdma_cm
 *
 * What serves it (cm-*.c) needs a thread, locks and memory, and so is a library
 * of its own, libtcpzc-cm.so, which lies beside this one and is loaded by the
 * first program that opens the device. Its event channels are sockets;
 * everything that looks at a descriptor here (write, fstat) recognises them by
 * their inodes.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <rdma/rdma_user_cm.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "cm-api.h"
#include "preload.h"
#include "tcpzc-ids.h"

static _Atomic(const struct tz_cm_api *) loaded;
/* The file system of all sockets; 0 as long as there is no channel. */
static _Atomic dev_t sockets;

TZ_NEXT(fstat)

static const struct tz_cm_api *load(void)
{
	const struct tz_cm_api *api = atomic_load(&loaded);
	char path[TZ_PATH_LEN];
	const char *slash;
	Dl_info info;
	void *lib;

	if (api)
		return api;
	if (!dladdr(&loaded, &info))
		return NULL;
	slash = strrchr(info.dli_fname, '/');
	if (!slash || snprintf(path, sizeof(path), "%.*s/libtcpzc-cm.so",
			       (int)(slash - info.dli_fname),
			       info.dli_fname) >= (int)sizeof(path))
		return NULL;
	lib = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
	if (lib)
		api = dlsym(lib, TZ_CM_API_SYMBOL);
	if (!api)
		dprintf(STDERR_FILENO, "tcpzc: rdma_cm: %s\n", dlerror());
	atomic_store(&loaded, api);
	return api;
}

static ssize_t rdmacm_write(int fd, const void *buf, size_t len)
{
	return atomic_load(&loaded)->write(fd, buf, len);
}

/* The placeholder itself cannot be written to: it is never left open. */
static ssize_t placeholder_write(int fd, const void *buf, size_t len)
{
	(void)fd;
	(void)buf;
	(void)len;
	errno = EINVAL;
	return -1;
}

const struct tz_cdev_ops tz_rdmacm_ops = {
	.write = placeholder_write,
};

static const struct tz_cdev_ops channel_ops = {
	.write = rdmacm_write,
};

static struct tz_served channel = { .ops = &channel_ops };

/**
 * tz_rdmacm_open - a new event channel in place of the placeholder
 * @fd: the placeholder, just opened
 * @flags: with which
 *
 * Returns a descriptor, or -1 with errno set. @fd is closed.
 */
int tz_rdmacm_open(int fd, int flags)
{
	const struct tz_cm_api *api = load();
	struct stat st;
	int got, err;

	close(fd);
	if (!api) {
		errno = ENODEV;
		return -1;
	}
	got = api->open(flags);
	if (got < 0)
		return -1;
	if (tz_next_fstat()(got, &st)) {
		err = errno;
		close(got);
		errno = err;
		return -1;
	}
	channel.rdev = makedev(TCPZC_RDMACM_MAJOR, TCPZC_RDMACM_MINOR);
	atomic_store_explicit(&sockets, st.st_dev, memory_order_release);
	return got;
}

/**
 * tz_rdmacm_closed - somebody writes to what was an event channel once
 * @buf: what is written
 * @len: how much
 *
 * Programs close their channel while a thread of theirs waits for its next
 * event, and end when that thread reports an error (rping does). The kernel's
 * device keeps who is in it for ever, so that only who comes a moment too late
 * is in trouble; here that moment is longer. So it waits for ever, too. That the
 * number is somebody else's file by now does not matter: it was none when the
 * command was written.
 */
void tz_rdmacm_closed(const void *buf, size_t len)
{
	struct rdma_ucm_cmd_hdr hdr;

	if (!atomic_load(&loaded) ||
	    len != sizeof(hdr) + sizeof(struct rdma_ucm_get_event))
		return;
	memcpy(&hdr, buf, sizeof(hdr));
	if (hdr.cmd != RDMA_USER_CM_CMD_GET_EVENT ||
	    hdr.in != sizeof(struct rdma_ucm_get_event))
		return;
	for (;;)
		pause();
}

/* Is this one of the event channels? */
const struct tz_served *tz_rdmacm_find(dev_t dev, ino_t ino)
{
	dev_t of = atomic_load_explicit(&sockets, memory_order_acquire);

	if (!of || dev != of)
		return NULL;
	return atomic_load(&loaded)->is_channel(dev, ino) ? &channel : NULL;
}
