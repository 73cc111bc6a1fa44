// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * ub_event.c - asynchronous events and completion events, as records in pipes
 * that the application reads and polls as it would the kernel's files
 * (struct ib_uverbs_async_event_desc, struct ib_uverbs_comp_event_desc).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <rdma/ib_user_verbs.h>

#include "ub.h"

/* A second description of the pipe's end @fd, so that its flags are our own. */
static int ub_event_reopen(int fd, int flags)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, flags | O_NONBLOCK | O_CLOEXEC);
}

int ub_event_open_async(struct ub_context *ctx)
{
	int p[2];

	if (pipe2(p, O_CLOEXEC))
		return errno;
	pthread_mutex_init(&ctx->event_lock, NULL);
	fcntl(p[1], F_SETFL, O_NONBLOCK);
	ctx->base.vctx.context.async_fd = p[0];
	ctx->async_wfd = p[1];
	ctx->async_rfd = ub_event_reopen(p[0], O_RDONLY);
	return 0;
}

void ub_event_close_async(struct ub_context *ctx)
{
	close(ctx->async_wfd);
	if (ctx->async_rfd >= 0)
		close(ctx->async_rfd);
	pthread_mutex_destroy(&ctx->event_lock);
}

void ub_event_async(struct ub_context *ctx, void *element, u32 *reported,
		    enum ibv_event_type type)
{
	struct ib_uverbs_async_event_desc desc = {
		.element = (uintptr_t)element,
		.event_type = type,
	};

	pthread_mutex_lock(&ctx->event_lock);
	if (write(ctx->async_wfd, &desc, sizeof(desc)) == sizeof(desc)) {
		(*reported)++;
	} else {
		fprintf(stderr, "tcpzc: asynchronous event %d lost: %m\n", type);
	}
	pthread_mutex_unlock(&ctx->event_lock);
}

/*
 * Read what is in a pipe of records of @size bytes, whose first 8 bytes name
 * the element, and write back all but @element's. Returns how many went.
 */
static u32 ub_event_filter(int rfd, int wfd, u64 element, size_t size)
{
	u8 *buf = NULL;
	size_t used = 0, room = 0, i;
	u32 gone = 0;

	for (;;) {
		ssize_t n;

		if (used == room) {
			u8 *more = realloc(buf, room + 4096);

			if (!more)
				break;
			buf = more;
			room += 4096;
		}
		n = read(rfd, buf + used, room - used);
		if (n <= 0)
			break;
		used += n;
	}
	for (i = 0; i + size <= used; i += size) {
		u64 e;

		memcpy(&e, buf + i, sizeof(e));
		if (e == element)
			gone++;
		else if (write(wfd, buf + i, size) != (ssize_t)size)
			fprintf(stderr, "tcpzc: event lost: %m\n");
	}
	free(buf);
	return gone;
}

void ub_event_purge_async(struct ub_context *ctx, void *element, u32 *reported)
{
	if (!*reported || ctx->async_rfd < 0)
		return;
	pthread_mutex_lock(&ctx->event_lock);
	*reported -= ub_event_filter(ctx->async_rfd, ctx->async_wfd,
				     (uintptr_t)element,
				     sizeof(struct ib_uverbs_async_event_desc));
	pthread_mutex_unlock(&ctx->event_lock);
}

int ub_event_open_channel(struct ub_cq *cq, int fd)
{
	cq->channel_wfd = ub_event_reopen(fd, O_WRONLY);
	if (cq->channel_wfd < 0)
		return errno;
	cq->channel_rfd = ub_event_reopen(fd, O_RDONLY);
	return 0;
}

void ub_event_close_channel(struct ub_cq *cq)
{
	if (cq->channel_wfd >= 0)
		close(cq->channel_wfd);
	if (cq->channel_rfd >= 0)
		close(cq->channel_rfd);
}

void ub_event_comp(struct ub_cq *cq)
{
	struct ib_uverbs_comp_event_desc desc = {
		.cq_handle = (uintptr_t)&cq->base.vcq.cq,
	};

	if (cq->channel_wfd < 0)
		return;
	cq->event_owed = write(cq->channel_wfd, &desc, sizeof(desc)) !=
			 sizeof(desc);
	if (!cq->event_owed) {
		cq->events_reported++;
		cq->events_unread++;
	}
}

void ub_event_fetched(struct tcpzc_cq *base)
{
	struct ub_cq *cq = (struct ub_cq *)base;

	if (ub_forked(ub_ctx_of(base->vcq.cq.context)))
		return;
	pthread_mutex_lock(&cq->push_lock);
	if (cq->events_unread)
		cq->events_unread--;
	pthread_mutex_unlock(&cq->push_lock);
}

void ub_event_purge_comp(struct ub_cq *cq)
{
	pthread_mutex_lock(&cq->push_lock);
	cq->armed = UB_ARM_NONE;
	if (cq->events_reported && cq->channel_rfd >= 0)
		cq->events_reported -=
			ub_event_filter(cq->channel_rfd, cq->channel_wfd,
					(uintptr_t)&cq->base.vcq.cq,
					sizeof(struct ib_uverbs_comp_event_desc));
	pthread_mutex_unlock(&cq->push_lock);
}

void ub_event_wait_acked(pthread_mutex_t *lock, pthread_cond_t *cond,
			 const uint32_t *completed, u32 reported)
{
	pthread_mutex_lock(lock);
	while (*completed != reported)
		pthread_cond_wait(cond, lock);
	pthread_mutex_unlock(lock);
}
