// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * ub_linger.c - connections that were closed here and not yet by the peer; see
 * TZ_LINGER_NS.
 *
 * ctx->linger_lock protects the list. Any thread adds to it; only the progress
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

/* Calls for one event; then others get their turn. */
#define UB_LINGER_CALLS	16

struct ub_linger {
	struct ub_fd ufd;		/* first */
	struct list_node node;
	struct tz_linger tz;
	int fd;
};

/* What the peer's TCP has, the peer can read whatever happens. */
static bool ub_linger_taken(int fd)
{
	int unacked = 0;

	return ioctl(fd, SIOCOUTQ, &unacked) || !unacked;
}

/* ctx->linger_lock is held. What has not been taken is dropped. */
static void ub_linger_end(struct ub_context *ctx, struct ub_linger *l)
{
	list_del(&l->node);
	ctx->num_lingering--;
	if (!ub_linger_taken(l->fd))
		ub_conn_cut(l->fd);
	ub_fd_close(ctx->epfd, l->fd);
	free(l);
}

/* Read and discard; false: the peer has ended, or has sent too much. */
static bool ub_linger_read(struct ub_linger *l)
{
	ssize_t n;
	int i;

	for (i = 0; i < UB_LINGER_CALLS; i++) {
		n = recv(l->fd, NULL, 1 << 20, MSG_TRUNC | MSG_DONTWAIT);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return true;
		if (n <= 0)
			return false;
		tz_linger_read(&l->tz, n);
	}
	return !tz_linger_over(&l->tz, false, ub_now());
}

static void ub_linger_ready(struct ub_context *ctx, struct ub_fd *ufd, u32 events)
{
	struct ub_linger *l = (struct ub_linger *)ufd;

	(void)events;
	if (ub_linger_read(l))
		return;
	pthread_mutex_lock(&ctx->linger_lock);
	ub_linger_end(ctx, l);
	pthread_mutex_unlock(&ctx->linger_lock);
}

bool ub_linger_start(struct ub_context *ctx, int fd, bool uc, u64 now)
{
	struct ub_linger *l = NULL;

	if (ub_linger_taken(fd))
		return false;
	shutdown(fd, SHUT_WR);
	pthread_mutex_lock(&ctx->linger_lock);
	if (ctx->num_lingering < TZ_MAX_LINGERING)
		l = calloc(1, sizeof(*l));
	if (!l) {
		pthread_mutex_unlock(&ctx->linger_lock);
		return false;
	}
	l->ufd.ready = ub_linger_ready;
	l->fd = fd;
	tz_linger_start(&l->tz, uc ? TZ_LINGER_UC : TZ_LINGER_RC, now);
	list_add_tail(&ctx->lingering, &l->node);
	ctx->num_lingering++;
	/* From here on the progress thread may end it, but needs the lock. */
	if (ub_watch_fd(ctx, fd, &l->ufd, EPOLLIN))
		ub_linger_end(ctx, l);
	pthread_mutex_unlock(&ctx->linger_lock);
	ub_progress_by(ctx, now + TZ_LINGER_NS);
	return true;
}

u64 ub_linger_expire(struct ub_context *ctx, u64 now)
{
	struct ub_linger *l, *other;
	u64 next = 0, at;

	pthread_mutex_lock(&ctx->linger_lock);
	list_for_each_safe(&ctx->lingering, l, other, node) {
		at = tz_linger_deadline(&l->tz, now);
		if (now >= l->tz.patience &&
		    tz_linger_over(&l->tz, ub_linger_taken(l->fd), now))
			ub_linger_end(ctx, l);
		else if (!next || at < next)
			next = at;
	}
	pthread_mutex_unlock(&ctx->linger_lock);
	return next;
}

void ub_linger_close_all(struct ub_context *ctx)
{
	struct ub_linger *l;

	pthread_mutex_lock(&ctx->linger_lock);
	while ((l = list_top(&ctx->lingering, struct ub_linger, node)))
		ub_linger_end(ctx, l);
	pthread_mutex_unlock(&ctx->linger_lock);
}

/* In the child of a fork, where nothing else runs. */
void ub_linger_forked(struct ub_context *ctx)
{
	struct ub_linger *l;

	list_for_each(&ctx->lingering, l, node) {
		ub_fd_close(-1, l->fd);
		l->fd = -1;
	}
}
