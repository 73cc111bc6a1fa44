// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * ub_splice.c - sending without a copy: the pages of large payloads (and of the
 * headers between them) are put into a pipe by reference and moved from there
 * to the socket. The engine keeps headers, and the application its payload,
 * until the peer has acknowledged them.
 *
 * What the pipe has taken is part of the stream: nothing else may be sent
 * before it is empty. Pipes are few (a user's pipes may hold 64 MiB in all by
 * default, and each costs two descriptors), so only QPs that send much get one,
 * at their first large batch; without one everything is copied.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "ub.h"

#define UB_PIPE_BYTES		(1 << 20)
#define UB_MAX_PIPES		32
/* With less, the calls cost more than the copy. */
#define UB_SPLICE_BYTES		(192u << 10)

static atomic_int ub_num_pipes;

static bool ub_pipe_open(struct ub_conn *c)
{
	if (c->pipe[0] >= 0)
		return true;
	if (c->no_pipe)
		return false;
	c->no_pipe = true;
	if (atomic_fetch_add(&ub_num_pipes, 1) >= UB_MAX_PIPES)
		goto err_count;
	if (pipe2(c->pipe, O_CLOEXEC | O_NONBLOCK))
		goto err_count;
	if (fcntl(c->pipe[1], F_SETPIPE_SZ, UB_PIPE_BYTES) < UB_PIPE_BYTES)
		goto err_pipe;
	c->no_pipe = false;
	return true;

err_pipe:
	close(c->pipe[0]);
	close(c->pipe[1]);
err_count:
	c->pipe[0] = -1;
	c->pipe[1] = -1;
	atomic_fetch_sub(&ub_num_pipes, 1);
	return false;
}

void ub_splice_close(struct ub_conn *c)
{
	if (c->pipe[0] >= 0) {
		close(c->pipe[0]);
		close(c->pipe[1]);
		atomic_fetch_sub(&ub_num_pipes, 1);
	}
	c->pipe[0] = -1;
	c->pipe[1] = -1;
	c->pipe_bytes = 0;
	c->no_pipe = false;
}

/*
 * Packets on their way may still refer to the headers' pages, whose content
 * must not change for them: leave those pages to the packets, take new ones.
 */
void ub_splice_forget(struct ub_qp *qp)
{
	if (tz_qp_tx_lent(&qp->eng))
		madvise(qp->eng.tx.buf, qp->eng.tx.size, MADV_DONTNEED);
}

/* Leave out what is after the first @bytes. */
static int ub_cut_iov(struct iovec *iov, int n, size_t bytes)
{
	int i;

	for (i = 0; i < n; i++) {
		if (iov[i].iov_len >= bytes) {
			iov[i].iov_len = bytes;
			return i + 1;
		}
		bytes -= iov[i].iov_len;
	}
	return n;
}

bool ub_splice_fill(struct ub_qp *qp, const struct iovec *from, int n, u64 now)
{
	struct ub_conn *c = &qp->conn;
	u32 bytes = tz_qp_tx_ref_bytes(&qp->eng);
	struct iovec iov[UB_IOV];
	ssize_t took;

	if (bytes < UB_SPLICE_BYTES || c->rfd != c->wfd || !ub_pipe_open(c))
		return false;
	memcpy(iov, from, n * sizeof(*iov));
	n = ub_cut_iov(iov, n, bytes);
	took = vmsplice(c->pipe[1], iov, n, SPLICE_F_NONBLOCK);
	if (took <= 0)
		return false;	/* the copying way will see what is wrong */
	c->pipe_bytes += took;
	tz_qp_tx_done_ref(&qp->eng, took, now);
	return true;
}

enum ub_io ub_splice_flush(struct ub_conn *c)
{
	while (c->pipe_bytes) {
		ssize_t n = splice(c->pipe[0], NULL, c->wfd, NULL, c->pipe_bytes,
				   SPLICE_F_NONBLOCK | SPLICE_F_MOVE);

		if (n > 0)
			c->pipe_bytes -= n;
		else if (n < 0 && errno == EINTR)
			continue;
		else if (n < 0 && (errno == EAGAIN || errno == ENOBUFS ||
				   errno == ENOMEM))
			return UB_IO_FULL;
		else
			return UB_IO_OVER;
	}
	return UB_IO_OK;
}
