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

#include "calls.h"
#include "preload.h"

/*
 * What tz_open_fds() returned in process @fds_owner when it opened its first
 * device, and the file that this is: programs close what they do not know.
 */
static atomic_int fds_fd = -1;
static _Atomic pid_t fds_owner;
static _Atomic ino_t fds_ino;

TZ_NEXT(fstat)

void tz_uverbs_opened(void)
{
	struct stat st;
	int fd;

	if (atomic_load(&fds_owner) == getpid())
		return;
	fd = tz_open_fds();
	if (fd < 0 || tz_next_fstat()(fd, &st))
		return;
	atomic_store(&fds_ino, st.st_ino);
	atomic_store(&fds_fd, fd);
	atomic_store(&fds_owner, getpid());
}

static int own_fds(void)
{
	int fd = atomic_load(&fds_fd);
	struct stat st;

	if (atomic_load(&fds_owner) != getpid() || tz_next_fstat()(fd, &st) ||
	    !S_ISDIR(st.st_mode) || st.st_ino != atomic_load(&fds_ino))
		return -1;
	return fd;
}

/*
 * A pipe with both ends in one descriptor: the provider writes completion
 * events into it, and the application reads them, or polls, with plain calls. The
 * provider opens it again, perhaps when the process has become another user's;
 * other processes reach it by /proc only, which asks for more than its mode.
 */
static int event_pipe(void)
{
	int ends[2];
	int fd;

	if (pipe2(ends, O_CLOEXEC))
		return -1;
	fchmod(ends[0], 0666);
	fd = tz_reopen(own_fds(), ends[0], O_RDWR);
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
