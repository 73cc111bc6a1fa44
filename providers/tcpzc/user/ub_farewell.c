// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * ub_farewell.c - connections that are over here but not at the peer.
 *
 * The last that was said (a NAK, an acknowledgement) may still be in this
 * socket, because the peer reads slowly or is far away. If it were closed, the
 * next byte of a peer that goes on sending would make TCP reset the connection
 * and throw those last words away; the peer would never learn why. So the
 * socket stays for a while, and what comes is read and forgotten, until the peer
 * closes its end.
 *
 * ctx->farewell_lock protects the list. Anybody adds to it; only the progress
 * thread, which may hold an event that names an entry, takes from it.
 */
#include <errno.h>
#include <linux/sockios.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ub.h"

/* No longer, no more of what the peer says, and not more of them at a time. */
#define UB_FAREWELL_NS		3000000000ull
#define UB_FAREWELL_BYTES	(64u << 20)
#define UB_MAX_FAREWELLS	256
/* Calls for one event; then others get their turn. */
#define UB_FAREWELL_CALLS	16

struct ub_farewell {
	struct ub_fd ufd;		/* first */
	struct list_node node;
	int fd;
	u64 deadline;
	u64 bytes;			/* that the peer said meanwhile */
};

/* ctx->farewell_lock is held. */
static void ub_farewell_end(struct ub_context *ctx, struct ub_farewell *f)
{
	list_del(&f->node);
	ctx->num_farewells--;
	ub_fd_close(ctx->epfd, f->fd);
	free(f);
}

static void ub_farewell_ready(struct ub_context *ctx, struct ub_fd *ufd,
			      u32 events)
{
	struct ub_farewell *f = (struct ub_farewell *)ufd;
	ssize_t n;
	int i;

	(void)events;
	for (i = 0; i < UB_FAREWELL_CALLS; i++) {
		n = recv(f->fd, NULL, 1 << 20, MSG_TRUNC | MSG_DONTWAIT);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n <= 0)
			break;
		f->bytes += n;
		if (f->bytes > UB_FAREWELL_BYTES)
			break;
	}
	if (i == UB_FAREWELL_CALLS)
		return;
	pthread_mutex_lock(&ctx->farewell_lock);
	ub_farewell_end(ctx, f);
	pthread_mutex_unlock(&ctx->farewell_lock);
}

bool ub_farewell_start(struct ub_context *ctx, int fd, u64 now)
{
	struct ub_farewell *f = NULL;
	int unacked = 0;

	/* What the peer's TCP has, the peer can read whatever happens. */
	if (ioctl(fd, SIOCOUTQ, &unacked) || !unacked)
		return false;
	shutdown(fd, SHUT_WR);
	pthread_mutex_lock(&ctx->farewell_lock);
	if (ctx->num_farewells < UB_MAX_FAREWELLS)
		f = calloc(1, sizeof(*f));
	if (!f) {
		pthread_mutex_unlock(&ctx->farewell_lock);
		return false;
	}
	f->ufd.ready = ub_farewell_ready;
	f->fd = fd;
	f->deadline = now + UB_FAREWELL_NS;
	list_add_tail(&ctx->farewells, &f->node);
	ctx->num_farewells++;
	/* From here on the progress thread may end it, but needs the lock. */
	if (ub_watch_fd(ctx, fd, &f->ufd, EPOLLIN))
		ub_farewell_end(ctx, f);
	pthread_mutex_unlock(&ctx->farewell_lock);
	ub_progress_by(ctx, now + UB_FAREWELL_NS);
	return true;
}

u64 ub_farewell_expire(struct ub_context *ctx, u64 now)
{
	struct ub_farewell *f;
	u64 next = 0;

	pthread_mutex_lock(&ctx->farewell_lock);
	while ((f = list_top(&ctx->farewells, struct ub_farewell, node))) {
		if (now < f->deadline) {
			next = f->deadline;
			break;
		}
		ub_farewell_end(ctx, f);
	}
	pthread_mutex_unlock(&ctx->farewell_lock);
	return next;
}

void ub_farewell_close_all(struct ub_context *ctx)
{
	struct ub_farewell *f;

	pthread_mutex_lock(&ctx->farewell_lock);
	while ((f = list_top(&ctx->farewells, struct ub_farewell, node)))
		ub_farewell_end(ctx, f);
	pthread_mutex_unlock(&ctx->farewell_lock);
}

/* In the child of a fork, where nothing else runs. */
void ub_farewell_forked(struct ub_context *ctx)
{
	struct ub_farewell *f;

	list_for_each(&ctx->farewells, f, node) {
		ub_fd_close(-1, f->fd);
		f->fd = -1;
	}
}
