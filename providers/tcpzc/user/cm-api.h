/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * cm-api.h - what the preload library calls of libtcpzc-cm.so, which serves
 * /dev/infiniband/rdma_cm. It is loaded when a program opens that device.
 */
#ifndef TCPZC_CM_API_H
#define TCPZC_CM_API_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct tz_cm_api {
	/*
	 * An event channel: a descriptor that can be polled and made
	 * non-blocking; @flags as for open(). -1 and errno on failure.
	 */
	int (*open)(int flags);
	/* Is this the inode of one? */
	bool (*is_channel)(dev_t dev, ino_t ino);
	/* A command, as write(2) to the kernel's device. */
	ssize_t (*write)(int fd, const void *buf, size_t len);
};

#define TZ_CM_API_SYMBOL	"tcpzc_cm_api"
extern const struct tz_cm_api tcpzc_cm_api;

#endif /* TCPZC_CM_API_H */
