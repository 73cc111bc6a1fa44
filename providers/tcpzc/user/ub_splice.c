// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * ub_splice.c - sending without a copy (TCPZC_ZEROCOPY=1; where both ends are on
 * one host only with 2, which trusts its processes): the pages of large payloads are put
 * into a pipe by reference and moved from there to the socket. They are the
 * work requests' until the peer has acknowledged them.
 *
 * The headers between them are copied to pages that are written once and then
 * given away: when the last one is full new pages take their place, and the
 * old ones live as long as packets refer to them.
 *
 * What the pipe has taken is part of the stream: nothing else may be sent
 * before it is empty. Pipes are few (a user's pipes may hold 64 MiB in all by
 * default, and each costs two descriptors), so only QPs that send much get one,
 * at their first large batch; without one everything is copied.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "ub.h"

#define UB_PIPE_BYTES		(1 << 20)
#define UB_MAX_PIPES		32
#define UB_HDRS_BYTES		(256u << 10)
/* With less, the calls cost more than the copy. */
#define UB_SPLICE_BYTES		(192u << 10)

static atomic_int ub_num_pipes;

/* Put fresh pages where the used ones are. */
static bool ub_hdrs_renew(struct ub_conn *c)
{
	void *p;

	p = mmap(c->hdrs, UB_HDRS_BYTES, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | (c->hdrs ? MAP_FIXED : 0), -1, 0);
	if (p == MAP_FAILED)
		return false;
	c->hdrs = p;
	c->hdrs_used = 0;
	return true;
}

static bool ub_pipe_open(struct ub_qp *qp)
{
	struct ub_conn *c = &qp->conn;

	if (c->pipe[0] >= 0)
		return true;
	if (c->no_pipe)
		return false;
	c->no_pipe = true;
	if (qp->ctx->set.zerocopy == 1 && !ub_sock_leaves_host(qp))
		return false;
	if (atomic_fetch_add(&ub_num_pipes, 1) >= UB_MAX_PIPES)
		goto err_count;
	if (pipe2(c->pipe, O_CLOEXEC | O_NONBLOCK))
		goto err_count;
	/* Nothing is moved: where the call is forbidden it fails before anything waits. */
	if (fcntl(c->pipe[1], F_SETPIPE_SZ, UB_PIPE_BYTES) < UB_PIPE_BYTES ||
	    splice(c->pipe[0], NULL, c->wfd, NULL, 0, SPLICE_F_NONBLOCK) ||
	    !ub_hdrs_renew(c))
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
		munmap(c->hdrs, UB_HDRS_BYTES);
		atomic_fetch_sub(&ub_num_pipes, 1);
	}
	c->pipe[0] = -1;
	c->pipe[1] = -1;
	c->pipe_bytes = 0;
	c->hdrs = NULL;
	c->no_pipe = false;
}

/*
 * The first @bytes of @vec: the regions' bytes as they are, the others copied
 * to pages to be given away. Returns the number of pieces, 0 if it cannot be.
 */
static int ub_splice_iov(struct ub_conn *c, const struct tz_vec *vec, int n,
			 u32 bytes, struct iovec *iov)
{
	int i;

	for (i = 0; i < n && bytes; i++) {
		u32 len = tz_min(vec[i].len, bytes);

		iov[i].iov_len = len;
		bytes -= len;
		if (vec[i].mr) {
			iov[i].iov_base = ub_mr_of(vec[i].mr)->addr + vec[i].off;
			continue;
		}
		if (len > UB_HDRS_BYTES - c->hdrs_used)
			return 0;
		iov[i].iov_base = c->hdrs + c->hdrs_used;
		memcpy(iov[i].iov_base, vec[i].ptr, len);
		c->hdrs_used += len;
	}
	return i;
}

bool ub_splice_fill(struct ub_qp *qp, const struct tz_vec *vec, int n, u64 now)
{
	struct ub_conn *c = &qp->conn;
	struct iovec iov[UB_IOV];
	ssize_t took;
	u32 bytes;

	if (!qp->ctx->set.zerocopy)
		return false;
	bytes = tz_qp_tx_ref_bytes(&qp->eng);
	if (bytes < UB_SPLICE_BYTES || c->rfd != c->wfd || !ub_pipe_open(qp))
		return false;
	if (UB_HDRS_BYTES - c->hdrs_used < tz_qp_made(&qp->eng)->tx_buf_bytes && !ub_hdrs_renew(c))
		return false;
	n = ub_splice_iov(c, vec, n, bytes, iov);
	took = n ? vmsplice(c->pipe[1], iov, n, SPLICE_F_NONBLOCK) : 0;
	if (took <= 0)
		return false;	/* the copying way will see what is wrong */
	c->pipe_bytes += took;
	tz_qp_tx_done(&qp->eng, took, now);
	return true;
}

/*
 * splice() to a connection that is over raises SIGPIPE, and has no flag against
 * it. The signal would be for a write of the program's own, and end it: keep it
 * back, and take back what this call raised.
 */
static ssize_t ub_splice_quietly(int from, int to, size_t bytes)
{
	static const struct timespec at_once;
	sigset_t pipe_set, old;
	ssize_t n;
	int err;

	sigemptyset(&pipe_set);
	sigaddset(&pipe_set, SIGPIPE);
	pthread_sigmask(SIG_BLOCK, &pipe_set, &old);
	n = splice(from, NULL, to, NULL, bytes,
		   SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
	err = errno;
	/*
	 * A part may have gone before the connection ended. If the signal was
	 * blocked before, one more pending makes no difference.
	 */
	if (n != (ssize_t)bytes && !sigismember(&old, SIGPIPE))
		sigtimedwait(&pipe_set, NULL, &at_once);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	errno = err;
	return n;
}

enum ub_io ub_splice_flush(struct ub_conn *c)
{
	while (c->pipe_bytes) {
		ssize_t n = ub_splice_quietly(c->pipe[0], c->wfd, c->pipe_bytes);

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
