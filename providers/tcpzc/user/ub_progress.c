// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * ub_progress.c - the progress thread: one per context. It serves the sockets
 * that no polling thread looks after, listening sockets, and all deadlines.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "thread.h"
#include "ub.h"

#define UB_EVENTS	64
#define UB_NEVER	UINT64_MAX
#define UB_LINGER_NS	50000ull
#define UB_BULK_BYTES	1024u
#define UB_BROKEN_MS	10

int ub_watch_fd(struct ub_context *ctx, int fd, struct ub_fd *ufd, u32 events)
{
	struct epoll_event ev = { .events = events, .data.ptr = ufd };

	return epoll_ctl(ctx->epfd, EPOLL_CTL_ADD, fd, &ev) ? errno : 0;
}

/*
 * Closing alone does not end the watch while there is another copy of the
 * descriptor, and a child has one between fork and exec: epoll would go on to
 * report it with a pointer to what has been freed.
 */
void ub_fd_close(int epfd, int fd)
{
	if (epfd >= 0)
		epoll_ctl(epfd, EPOLL_CTL_DEL, fd, NULL);
	close(fd);
}

void ub_progress_wake(struct ub_context *ctx)
{
	u64 one = 1;
	ssize_t n;

	atomic_store(&ctx->rescan, true);
	n = write(ctx->wake_fd, &one, sizeof(one));
	(void)n;	/* full means that it will wake anyway */
}

/*
 * The thread sets wake_at to "never" before it looks at all deadlines and to
 * the earliest one afterwards; a deadline is stored before this is called. So
 * either the thread sees the deadline, or this sees that it comes earlier than
 * what the thread knows of. The thread itself is awake, but must look again.
 */
void ub_progress_by(struct ub_context *ctx, u64 at)
{
	if (at >= atomic_load(&ctx->wake_at))
		return;
	if (pthread_equal(pthread_self(), ctx->thread))
		atomic_store(&ctx->rescan, true);
	else
		ub_progress_wake(ctx);
}

static void ub_progress_woken(struct ub_context *ctx, struct ub_fd *ufd,
			      u32 events)
{
	u64 n;
	ssize_t rc = read(ctx->wake_fd, &n, sizeof(n));

	(void)rc;
	(void)ufd;
	(void)events;
}

/* Destroyed QPs: no event that was fetched before can name them any more. */
static void ub_progress_bury(struct ub_context *ctx)
{
	struct ub_qp *qp, *next;

	pthread_mutex_lock(&ctx->lock);
	qp = ctx->grave;
	ctx->grave = NULL;
	ctx->num_grave = 0;
	pthread_mutex_unlock(&ctx->lock);
	for (; qp; qp = next) {
		next = qp->dirty_next;
		ub_qp_free(qp);
	}
}

/* Run QPs whose time has come; returns the next time, or UB_NEVER. */
static u64 ub_progress_deadlines(struct ub_context *ctx, u64 now)
{
	u64 next = UB_NEVER;
	struct ub_qp *qp;

	pthread_mutex_lock(&ctx->lock);
	list_for_each(&ctx->qps, qp, node) {
		u64 at = atomic_load(&qp->deadline);

		if (at && now >= at && ub_turn_try_or_note(qp)) {
			ub_run(qp, now);
			ub_turn_unlock(qp);
			at = atomic_load(&qp->deadline);
		}
		if (at && at < next && !atomic_load(&qp->claims))
			next = at;
	}
	pthread_mutex_unlock(&ctx->lock);
	return next;
}

/* The deadlines of claimed QPs are looked at with every tick, too. */
static void ub_progress_tick(struct ub_context *ctx)
{
	pthread_mutex_lock(&ctx->lock);
	ub_cq_tick(ctx);
	pthread_mutex_unlock(&ctx->lock);
	atomic_store(&ctx->rescan, true);
}

/*
 * Sandboxes whose filter does not know a call answer what they like. So any error
 * but that of a signal means that this call is not to be had.
 */
static int ub_epoll_wait_ns(int epfd, struct epoll_event *ev, int max, u64 ns)
{
	struct timespec ts = { ns / 1000000000u, ns % 1000000000u };
	int ms;
/* TSan sees only epoll_wait() pass on what epoll_ctl()'s caller has written. */
#if defined(SYS_epoll_pwait2) && !defined(__SANITIZE_THREAD__)
	static atomic_bool missing;

	if (!atomic_load_explicit(&missing, memory_order_relaxed)) {
		int n = syscall(SYS_epoll_pwait2, epfd, ev, max,
				ns == UB_NEVER ? NULL : &ts, NULL, 0);

		if (n >= 0 || errno == EINTR)
			return n;
		atomic_store(&missing, true);
	}
#endif
	if (ns == UB_NEVER)
		ms = -1;
	else
		ms = ts.tv_sec > 1000 ? 1000000 :
			ts.tv_sec * 1000 + (ts.tv_nsec + 999999) / 1000000;
	return epoll_wait(epfd, ev, max, ms);
}

/* How long to sleep, and what is due before that is done. */
static u64 ub_progress_plan(struct ub_context *ctx, u64 *tick_at)
{
	u64 now = ub_now(), next, expire, linger;

	if (atomic_load(&ctx->num_polled)) {
		if (now >= *tick_at) {
			ub_progress_tick(ctx);
			*tick_at = now + UB_TICK_NS;
		}
	} else {
		*tick_at = 0;
	}
	expire = ub_listen_expire(ctx, now);
	linger = ub_linger_expire(ctx, now);
	next = atomic_load(&ctx->wake_at);
	if (atomic_exchange(&ctx->rescan, false) || now >= next) {
		atomic_store(&ctx->wake_at, UB_NEVER);
		next = ub_progress_deadlines(ctx, now);
		atomic_store(&ctx->wake_at, next);
	}
	if (expire && expire < next)
		next = expire;
	if (linger && linger < next)
		next = linger;
	if (atomic_load(&ctx->num_polled) && *tick_at < next)
		next = *tick_at;
	if (next == UB_NEVER)
		return UB_NEVER;
	now = ub_now();
	return next > now ? next - now : 0;
}

static int ub_progress_events(struct ub_context *ctx, u64 sleep_ns)
{
	struct epoll_event ev[UB_EVENTS];
	int n, i;

	n = ub_epoll_wait_ns(ctx->epfd, ev, UB_EVENTS, sleep_ns);
	/* The application has closed our descriptor, say: look at times, do not spin. */
	if (n < 0 && errno != EINTR)
		poll(NULL, 0, UB_BROKEN_MS);
	for (i = 0; i < n; i++) {
		struct ub_fd *ufd = ev[i].data.ptr;

		ufd->ready(ctx, ufd, ev[i].events);
	}
	return n;
}

/*
 * While data streams in and the application does nothing (it is the target of
 * one-sided operations), falling asleep between two bursts costs more, on both
 * sides, than looking again for a moment. When the application is at work it
 * may need this CPU, and is to see small messages at once.
 */
static void ub_progress_linger(struct ub_context *ctx, u32 calls)
{
	u64 now = ub_now(), until = now + UB_LINGER_NS;
	u64 wake_at = atomic_load(&ctx->wake_at);

	while (now < until && now < wake_at && !atomic_load(&ctx->stop) &&
	       atomic_load(&ctx->verbs_calls) == calls) {
		u64 seen = ctx->served_bytes;

		ub_progress_events(ctx, 0);
		now = ub_now();
		if (ctx->served_bytes - seen >= UB_BULK_BYTES)
			until = now + UB_LINGER_NS;
	}
}

bool ub_progress_is_this(const struct ub_context *ctx)
{
	/* No thread-local variable: what a library that is loaded late has of those,
	 * LeakSanitizer takes wrong addresses for, and ends applications. */
	return pthread_equal(ctx->thread, pthread_self());
}

static void *ub_progress_main(void *arg)
{
	struct ub_context *ctx = arg;
	u64 tick_at = 0;

	while (!atomic_load(&ctx->stop)) {
		u64 sleep_ns, seen = ctx->served_bytes;
		u32 calls = atomic_load(&ctx->verbs_calls);

		ub_progress_bury(ctx);
		sleep_ns = ub_progress_plan(ctx, &tick_at);
		ub_progress_events(ctx, sleep_ns);
		if (ctx->served_bytes - seen >= UB_BULK_BYTES)
			ub_progress_linger(ctx, calls);
	}
	return NULL;
}

int ub_progress_start(struct ub_context *ctx)
{
	const char *what = "epoll";
	int err;

	ctx->wake_ufd.ready = ub_progress_woken;
	ctx->epfd = epoll_create1(EPOLL_CLOEXEC);
	if (ctx->epfd < 0) {
		err = errno;
		goto err_say;
	}
	ctx->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (ctx->wake_fd < 0) {
		what = "eventfd";
		err = errno;
		goto err_epfd;
	}
	err = ub_watch_fd(ctx, ctx->wake_fd, &ctx->wake_ufd, EPOLLIN);
	if (!err)
		err = ub_event_watch_async(ctx);
	if (err)
		goto err_wake;
	what = "thread";
	err = tz_thread_start(&ctx->thread, ub_progress_main, ctx, "tcpzc");
	if (err)
		goto err_wake;
	ctx->thread_runs = true;
	return 0;

err_wake:
	ub_fd_close(ctx->epfd, ctx->wake_fd);
err_epfd:
	ub_fd_close(-1, ctx->epfd);
err_say:
	/* Descriptors run out, which callers see; sandboxes forbid, which nobody expects. */
	if (err == EPERM || err == EACCES || err == ENOSYS)
		fprintf(stderr, "tcpzc: no progress thread: %s: %s\n", what,
			strerror(err));
	return err;
}

void ub_progress_stop(struct ub_context *ctx)
{
	if (ctx->thread_runs && !ub_forked(ctx)) {
		atomic_store(&ctx->stop, true);
		ub_progress_wake(ctx);
		pthread_join(ctx->thread, NULL);
	}
	ub_progress_bury(ctx);
	ub_fd_close(-1, ctx->wake_fd);
	ub_fd_close(-1, ctx->epfd);
	ctx->epfd = -1;
}
