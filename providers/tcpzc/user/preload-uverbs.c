// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * preload-uverbs.c - /dev/infiniband/uverbsN
 *
 * The provider does nearly everything in the process and never calls
 * ibv_cmd_*. What remains is what libibverbs does by itself: it creates
 * completion channels, by a write command (include/uapi/rdma/ib_user_verbs.h).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <rdma/ib_user_verbs.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "preload.h"

/*
 * A pipe with both ends in one descriptor: the provider writes completion
 * events into it, and the application reads them, or polls, with plain calls.
 */
static int event_pipe(void)
{
	char path[32];
	int ends[2];
	int fd;

	if (pipe2(ends, O_CLOEXEC))
		return -1;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", ends[0]);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT)
		errno = ENODEV;		/* no /proc */
	close(ends[0]);
	close(ends[1]);
	return fd;
}

static ssize_t create_comp_channel(const void *buf, size_t len)
{
	struct {
		struct ib_uverbs_cmd_hdr hdr;
		struct ib_uverbs_create_comp_channel cmd;
	} req;
	struct ib_uverbs_create_comp_channel_resp resp;
	int fd;

	if (len < sizeof(req)) {
		errno = EINVAL;
		return -1;
	}
	memcpy(&req, buf, sizeof(req));
	if (req.hdr.out_words * 4 < sizeof(resp)) {
		errno = ENOSPC;
		return -1;
	}
	fd = event_pipe();
	if (fd < 0)
		return -1;
	resp.fd = fd;
	memcpy((void *)(uintptr_t)req.cmd.response, &resp, sizeof(resp));
	return len;
}

static ssize_t uverbs_write(int fd, const void *buf, size_t len)
{
	struct ib_uverbs_cmd_hdr hdr;

	if (len < sizeof(hdr)) {
		errno = EINVAL;
		return -1;
	}
	memcpy(&hdr, buf, sizeof(hdr));
	if (hdr.command == IB_USER_VERBS_CMD_CREATE_COMP_CHANNEL)
		return create_comp_channel(buf, len);
	errno = EOPNOTSUPP;
	return -1;
}

const struct tz_cdev_ops tz_uverbs_ops = {
	.write = uverbs_write,
};
