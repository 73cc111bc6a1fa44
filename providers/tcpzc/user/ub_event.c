// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * ub_event.c - asynchronous events and completion events, as records in pipes
 * that the application reads and polls as it would the kernel's files
 * (struct ib_uverbs_async_event_desc, struct ib_uverbs_comp_event_desc).
 *
 * A pipe holds some thousands of them, or some hundreds for a user who has many
 * pipes. Those that find no room wait in memory, and go into the pipe, in order,
 * when the application has fetched one by the library, or when the progress
 * thread sees that it has read some by itself. So none is lost, and while events
 * wait the pipe is never empty for an application that uses the library.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <rdma/ib_user_verbs.h>

#include "calls.h"
#include "ub.h"

/* ---- a pipe, and those that wait ---------------------------------------- */

/* A second description of the pipe's end @fd, so that its flags are our own. */
static int ub_event_reopen(struct ub_context *ctx, int fd, int flags)
{
	return tz_reopen(ctx->fds_fd, fd, flags | O_NONBLOCK);
}

/*
 * Records of @size bytes, of which PIPE_BUF is a multiple. What a full pipe
 * holds fits into the buffer's free space at any time: purging needs no memory.
 */
static int ub_events_init(struct ub_events *ev, u32 size)
{
	int pipe_bytes = fcntl(ev->wfd, F_GETPIPE_SZ);

	ev->size = size;
	ev->pipe_bytes = pipe_bytes > 0 ? pipe_bytes : 1 << 16;
	ev->room = ev->pipe_bytes;
	ev->buf = malloc(ev->room);
	if (!ev->buf)
		return ENOMEM;
	pthread_mutex_init(&ev->lock, NULL);
	return 0;
}

/* @epfd: which set it is in, or -1. */
static void ub_events_exit(struct ub_events *ev, int epfd)
{
	pthread_mutex_destroy(&ev->lock);
	free(ev->buf);
	ub_fd_close(epfd, ev->wfd);
	if (ev->rfd >= 0)
		ub_fd_close(-1, ev->rfd);
}

/* Have the progress thread called when the pipe has room, or no more. */
static void ub_events_watch(struct ub_context *ctx, struct ub_events *ev)
{
	struct epoll_event ee = { .data.ptr = &ctx->events_ufd };

	if (ev->watched == (ev->waiting != 0))
		return;
	ev->watched = ev->waiting != 0;
	if (ev->watched)
		ee.events = EPOLLOUT;
	epoll_ctl(ctx->epfd, EPOLL_CTL_MOD, ev->wfd, &ee);
}

/* Move what waits into the pipe, as far as it goes. ev->lock is held. */
static void ub_events_flush(struct ub_context *ctx, struct ub_events *ev)
{
	while (ev->waiting) {
		size_t bytes = tz_min(ev->waiting, (size_t)PIPE_BUF);
		ssize_t n = write(ev->wfd, ev->buf + ev->start, bytes);

		if (n <= 0)
			break;
		ev->start += n;
		ev->waiting -= n;
	}
	if (!ev->waiting)
		ev->start = 0;
	ub_events_watch(ctx, ev);
}

static bool ub_events_reserve(struct ub_events *ev, size_t bytes)
{
	size_t want = ev->waiting + bytes, room = ev->room;
	u8 *more;

	memmove(ev->buf, ev->buf + ev->start, ev->waiting);
	ev->start = 0;
	if (room >= want)
		return true;
	while (room < want)
		room *= 2;
	more = realloc(ev->buf, room);
	if (!more)
		return false;
	ev->buf = more;
	ev->room = room;
	return true;
}

/* Returns how many are on their way now. ev->lock is held. */
static u32 ub_events_put(struct ub_context *ctx, struct ub_events *ev,
			 const void *record)
{
	if (!ev->waiting && write(ev->wfd, record, ev->size) == (ssize_t)ev->size)
		return 1;
	if (ev->start + ev->waiting + ev->size + ev->pipe_bytes > ev->room &&
	    !ub_events_reserve(ev, ev->size + ev->pipe_bytes)) {
		fprintf(stderr, "tcpzc: no memory for an event\n");
		return 0;
	}
	memcpy(ev->buf + ev->start + ev->waiting, record, ev->size);
	ev->waiting += ev->size;
	ub_events_watch(ctx, ev);
	return 1;
}

/* Take back what is in the pipe: it comes before what waits. ev->lock is held. */
static void ub_events_take_back(struct ub_events *ev)
{
	size_t got = 0;
	int bytes = 0;

	if (ev->rfd < 0)
		return;
	if (ioctl(ev->rfd, FIONREAD, &bytes))
		bytes = ev->pipe_bytes;
	if (bytes <= 0 || !ub_events_reserve(ev, bytes))
		return;
	memmove(ev->buf + bytes, ev->buf, ev->waiting);
	while (got < (size_t)bytes) {
		ssize_t n = read(ev->rfd, ev->buf + got, bytes - got);

		if (n <= 0)
			break;		/* the application was faster */
		got += n;
	}
	memmove(ev->buf + got, ev->buf + bytes, ev->waiting);
	ev->waiting += got;
}

/*
 * Forget the events of @element, whose address is a record's first 8 bytes, that
 * were not fetched. Returns how many. Readers see an empty pipe for a moment.
 */
static u32 ub_events_purge(struct ub_context *ctx, struct ub_events *ev,
			   const void *element)
{
	size_t i, kept = 0;
	u32 gone;
	u64 e;

	pthread_mutex_lock(&ev->lock);
	ub_events_take_back(ev);
	for (i = 0; i < ev->waiting; i += ev->size) {
		u8 *record = ev->buf + ev->start + i;

		memcpy(&e, record, sizeof(e));
		if (e == (uintptr_t)element)
			continue;
		memmove(ev->buf + ev->start + kept, record, ev->size);
		kept += ev->size;
	}
	gone = (ev->waiting - kept) / ev->size;
	ev->waiting = kept;
	ub_events_flush(ctx, ev);
	pthread_mutex_unlock(&ev->lock);
	return gone;
}

/* Progress thread: some pipe has room. */
static void ub_events_ready(struct ub_context *ctx, struct ub_fd *ufd, u32 events)
{
	struct ub_channel *ch;

	(void)ufd;
	(void)events;
	pthread_mutex_lock(&ctx->async.lock);
	ub_events_flush(ctx, &ctx->async);
	pthread_mutex_unlock(&ctx->async.lock);
	pthread_mutex_lock(&ctx->lock);
	list_for_each(&ctx->channels, ch, node) {
		pthread_mutex_lock(&ch->ev.lock);
		ub_events_flush(ctx, &ch->ev);
		pthread_mutex_unlock(&ch->ev.lock);
	}
	pthread_mutex_unlock(&ctx->lock);
}

/* ---- asynchronous events ------------------------------------------------ */

int ub_event_open_async(struct ub_context *ctx)
{
	struct ub_events *ev = &ctx->async;
	int p[2], err;

	static_assert(!(PIPE_BUF % sizeof(struct ib_uverbs_async_event_desc)) &&
		      !(PIPE_BUF % sizeof(struct ib_uverbs_comp_event_desc)),
		      "a write of PIPE_BUF bytes is of whole records");
	if (pipe2(p, O_CLOEXEC)) {
		err = errno;
		if (err != EMFILE && err != ENFILE)
			fprintf(stderr, "tcpzc: no pipe for events: %s\n",
				strerror(err));
		return err;
	}
	ctx->fds_fd = tz_open_fds();
	fcntl(p[1], F_SETFL, O_NONBLOCK);
	ev->wfd = p[1];
	ev->rfd = ub_event_reopen(ctx, p[0], O_RDONLY);
	err = ub_events_init(ev, sizeof(struct ib_uverbs_async_event_desc));
	if (err) {
		ub_fd_close(-1, p[0]);
		ub_fd_close(-1, p[1]);
		if (ev->rfd >= 0)
			ub_fd_close(-1, ev->rfd);
		if (ctx->fds_fd >= 0)
			ub_fd_close(-1, ctx->fds_fd);
		return err;
	}
	ctx->base.vctx.context.async_fd = p[0];
	list_head_init(&ctx->channels);
	ctx->events_ufd.ready = ub_events_ready;
	return 0;
}

/* The progress thread's epoll set is there now. */
int ub_event_watch_async(struct ub_context *ctx)
{
	return ub_watch_fd(ctx, ctx->async.wfd, &ctx->events_ufd, 0);
}

void ub_event_close_async(struct ub_context *ctx)
{
	if (ctx->fds_fd >= 0)
		ub_fd_close(-1, ctx->fds_fd);
	ub_events_exit(&ctx->async, ctx->epfd);
}

void ub_event_async(struct ub_context *ctx, void *element, u32 *reported,
		    enum ibv_event_type type)
{
	struct ib_uverbs_async_event_desc desc = {
		.element = (uintptr_t)element,
		.event_type = type,
	};

	pthread_mutex_lock(&ctx->async.lock);
	*reported += ub_events_put(ctx, &ctx->async, &desc);
	pthread_mutex_unlock(&ctx->async.lock);
}

void ub_event_async_fetched(struct tcpzc_context *base, struct ibv_async_event *event)
{
	struct ub_context *ctx = to_uctx(base);

	(void)event;
	if (ub_forked(ctx))
		return;
	pthread_mutex_lock(&ctx->async.lock);
	ub_events_flush(ctx, &ctx->async);
	pthread_mutex_unlock(&ctx->async.lock);
}

void ub_event_purge_async(struct ub_context *ctx, void *element, u32 *reported)
{
	if (*reported)
		*reported -= ub_events_purge(ctx, &ctx->async, element);
}

/* ---- completion channels ------------------------------------------------ */

static struct ub_channel *ub_channel_open(struct ub_context *ctx,
					  struct ibv_comp_channel *ibch)
{
	struct ub_channel *ch = calloc(1, sizeof(*ch));
	int err = ENOMEM;

	if (!ch)
		goto err_out;
	ch->ibch = ibch;
	ch->ev.wfd = ub_event_reopen(ctx, ibch->fd, O_WRONLY);
	if (ch->ev.wfd < 0) {
		err = errno;
		goto err_free;
	}
	ch->ev.rfd = ub_event_reopen(ctx, ibch->fd, O_RDONLY);
	if (ch->ev.rfd < 0) {
		err = errno;
		goto err_wfd;
	}
	err = ub_events_init(&ch->ev, sizeof(struct ib_uverbs_comp_event_desc));
	if (err)
		goto err_rfd;
	err = ub_watch_fd(ctx, ch->ev.wfd, &ctx->events_ufd, 0);
	if (err)
		goto err_events;
	return ch;

err_events:
	ub_events_exit(&ch->ev, -1);
	goto err_free;
err_rfd:
	ub_fd_close(-1, ch->ev.rfd);
err_wfd:
	ub_fd_close(-1, ch->ev.wfd);
err_free:
	free(ch);
err_out:
	errno = err;
	return NULL;
}

/* All queues of a channel share what is known of it. */
int ub_event_get_channel(struct ub_context *ctx, struct ub_cq *cq,
			 struct ibv_comp_channel *ibch)
{
	struct ub_channel *ch;
	int err = 0;

	if (ibch->context != &ctx->base.vctx.context)
		return EINVAL;
	pthread_mutex_lock(&ctx->lock);
	list_for_each(&ctx->channels, ch, node)
		if (ch->ibch == ibch)
			goto found;
	ch = ub_channel_open(ctx, ibch);
	if (!ch) {
		err = errno;
		goto out;
	}
	list_add(&ctx->channels, &ch->node);
found:
	ch->users++;
	cq->channel = ch;
out:
	pthread_mutex_unlock(&ctx->lock);
	return err;
}

void ub_event_put_channel(struct ub_context *ctx, struct ub_cq *cq)
{
	struct ub_channel *ch = cq->channel;

	if (!ch)
		return;
	pthread_mutex_lock(&ctx->lock);
	if (!--ch->users) {
		list_del(&ch->node);
		/* A child's copy of the set is the parent's set. */
		ub_events_exit(&ch->ev, ub_forked(ctx) ? -1 : ctx->epfd);
		free(ch);
	}
	pthread_mutex_unlock(&ctx->lock);
}

void ub_event_comp(struct ub_cq *cq)
{
	struct ub_context *ctx = ub_ctx_of(cq->base.vcq.cq.context);
	struct ub_channel *ch = cq->channel;
	struct ib_uverbs_comp_event_desc desc = {
		.cq_handle = (uintptr_t)&cq->base.vcq.cq,
	};
	u32 n;

	if (!ch)
		return;
	pthread_mutex_lock(&ch->ev.lock);
	n = ub_events_put(ctx, &ch->ev, &desc);
	cq->events_reported += n;
	atomic_fetch_add(&cq->events_unread, n);
	pthread_mutex_unlock(&ch->ev.lock);
}

void ub_event_comp_fetched(struct tcpzc_cq *base)
{
	struct ub_cq *cq = (struct ub_cq *)base;
	struct ub_context *ctx = ub_ctx_of(base->vcq.cq.context);

	if (ub_forked(ctx) || !cq->channel)
		return;
	pthread_mutex_lock(&cq->channel->ev.lock);
	atomic_fetch_sub(&cq->events_unread, 1);
	ub_events_flush(ctx, &cq->channel->ev);
	pthread_mutex_unlock(&cq->channel->ev.lock);
}

/* No completion of the queue comes any more. */
void ub_event_purge_comp(struct ub_cq *cq)
{
	if (atomic_load(&cq->events_unread))
		cq->events_reported -=
			ub_events_purge(ub_ctx_of(cq->base.vcq.cq.context),
					&cq->channel->ev, &cq->base.vcq.cq);
}

void ub_event_wait_acked(pthread_mutex_t *lock, pthread_cond_t *cond,
			 const uint32_t *completed, u32 reported)
{
	pthread_mutex_lock(lock);
	while (*completed != reported)
		pthread_cond_wait(cond, lock);
	pthread_mutex_unlock(lock);
}
