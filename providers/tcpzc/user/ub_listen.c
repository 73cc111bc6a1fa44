// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * ub_listen.c - listening sockets, queue pair numbers, and connections that
 * have not said yet for which QP they are.
 *
 * A queue pair number is the port of a listening socket of this process and an
 * index (architecture, decision 3), so a socket serves 256 QPs. Callers wait in the
 * context's lobby (tz_dial.h) until their hello is complete.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "calls.h"
#include "ub.h"

#define UB_BACKLOG	1024
#define UB_LISTEN_PAUSE_NS 100000000ull
#define UB_ACCEPTS	64	/* per turn */
#define UB_UD_TRIES	16	/* ports that somebody else may have */

/* ---- callers ------------------------------------------------------------ */

void ub_caller_close(struct ub_caller *caller)
{
	ub_fd_close(-1, caller->fd);
	free(caller);
}

static struct ub_caller *ub_caller_of(struct tz_caller *call)
{
	return call ? container_of(call, struct ub_caller, call) : NULL;
}

/* It has said all that is listened to; its event is the one that is being served. */
static void ub_caller_leave(struct ub_context *ctx, struct ub_caller *caller)
{
	tz_lobby_leave(&ctx->lobby, &caller->call);
	epoll_ctl(ctx->epfd, EPOLL_CTL_DEL, caller->fd, NULL);
}

/* Out of the lobby already; an event that was fetched may still name it. */
static void ub_caller_dismiss(struct ub_context *ctx, struct ub_caller *caller)
{
	ub_fd_close(ctx->epfd, caller->fd);
	caller->fd = -1;
	list_add_tail(&ctx->gone_callers, &caller->gone_node);
}

static struct ub_qp *ub_listen_find(struct ub_context *ctx, u32 qpn)
{
	struct ub_listener *l;

	list_for_each(&ctx->listeners, l, node) {
		struct ub_qp *qp = l->qps[qpn & (UB_QPS_PER_PORT - 1)];

		if (l->port == qpn >> 8)
			return qp == l->ud ? NULL : qp;
	}
	return NULL;
}

/* The hello is complete: let its QP judge it. ctx->lock is held. */
static void ub_caller_done(struct ub_context *ctx, struct ub_caller *caller)
{
	const struct tz_hello *hello = &caller->call.rx.hello;
	struct ub_qp *qp = ub_listen_find(ctx, tz_le32_to_cpu(hello->dst_qpn));

	if (!qp) {
		ub_caller_refuse(caller, TZ_HELLO_REFUSED);
		return;
	}
	ub_turn_lock(qp);
	ub_conn_offer(qp, caller, ub_now());
	ub_run(qp, ub_now());
	ub_turn_unlock(qp);
}

/* ctx->lock is held. */
static void ub_caller_read(struct ub_context *ctx, struct ub_caller *caller)
{
	enum tz_hello_got got = TZ_HELLO_GARBAGE;
	ssize_t n;
	u32 want;
	u8 *ptr;

	want = tz_hello_want(&caller->call.rx, &ptr);
	n = recv(caller->fd, ptr, want, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n > 0)
		got = tz_caller_take(&caller->call, n);
	if (got == TZ_HELLO_MORE)
		return;
	ub_caller_leave(ctx, caller);
	switch (got) {
	case TZ_HELLO_COMPLETE:
		ub_caller_done(ctx, caller);
		break;
	case TZ_HELLO_FOREIGN:
		ub_caller_refuse(caller, TZ_HELLO_BAD_VERSION);
		break;
	default:
		ub_caller_close(caller);
		break;
	}
}

static void ub_caller_ready(struct ub_context *ctx, struct ub_fd *ufd, u32 events)
{
	struct ub_caller *caller = (struct ub_caller *)ufd;

	(void)events;
	pthread_mutex_lock(&ctx->lock);
	/* One that has just come may have taken its place. */
	if (caller->fd >= 0)
		ub_caller_read(ctx, caller);
	pthread_mutex_unlock(&ctx->lock);
}

/* ctx->lock is held. */
static void ub_caller_add(struct ub_context *ctx, int fd, u64 now)
{
	struct ub_caller *caller = calloc(1, sizeof(*caller)), *leaves;
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	u8 from[16];

	if (!caller || getpeername(fd, (struct sockaddr *)&ss, &len) ||
	    !ub_sock_gid(&ss, from) ||
	    ub_watch_fd(ctx, fd, &caller->ufd, EPOLLIN)) {
		ub_fd_close(-1, fd);
		free(caller);
		return;
	}
	caller->ufd.ready = ub_caller_ready;
	caller->fd = fd;
	leaves = ub_caller_of(tz_lobby_enter(&ctx->lobby, &caller->call, from, now));
	if (leaves)
		ub_caller_dismiss(ctx, leaves);
}

/* ---- listening sockets -------------------------------------------------- */

/* No descriptors or no memory: connections wait in the kernel's queue. */
static void ub_listen_pause(struct ub_context *ctx, struct ub_listener *l,
			    u64 now)
{
	epoll_ctl(ctx->epfd, EPOLL_CTL_DEL, l->fd, NULL);
	l->resume_at = now + UB_LISTEN_PAUSE_NS;
}

/* ctx->lock is held. Returns the earliest time to look again, or 0. */
static u64 ub_listen_resume(struct ub_context *ctx, u64 now)
{
	struct ub_listener *l;
	u64 next = 0;

	list_for_each(&ctx->listeners, l, node) {
		if (!l->resume_at)
			continue;
		if (now >= l->resume_at) {
			if (ub_watch_fd(ctx, l->fd, &l->ufd, EPOLLIN))
				l->resume_at = now + UB_LISTEN_PAUSE_NS;
			else
				l->resume_at = 0;
		}
		if (l->resume_at && (!next || l->resume_at < next))
			next = l->resume_at;
	}
	return next;
}

static void ub_listen_ready(struct ub_context *ctx, struct ub_fd *ufd, u32 events)
{
	struct ub_listener *l = (struct ub_listener *)ufd;
	u64 now = ub_now();
	int i;

	(void)events;
	for (i = 0; i < UB_ACCEPTS; i++) {
		int fd = tz_accept(l->fd);

		if (fd < 0) {
			if (errno != EAGAIN && errno != ECONNABORTED &&
			    errno != EINTR)
				ub_listen_pause(ctx, l, now);
			break;
		}
		pthread_mutex_lock(&ctx->lock);
		ub_caller_add(ctx, fd, now);
		pthread_mutex_unlock(&ctx->lock);
	}
}

static int ub_listen_bind(int family, u16 port)
{
	struct sockaddr_storage ss = { .ss_family = family };
	socklen_t len = sizeof(struct sockaddr_in);
	int fd, zero = 0, one = 1, err;

	fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -1;
	/* Connections of a former process may linger in TIME_WAIT. */
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (family == AF_INET6) {
		len = sizeof(struct sockaddr_in6);
		((struct sockaddr_in6 *)&ss)->sin6_port = htons(port);
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof(zero));
	} else {
		((struct sockaddr_in *)&ss)->sin_port = htons(port);
	}
	if (!bind(fd, (struct sockaddr *)&ss, len) && !listen(fd, UB_BACKLOG))
		return fd;
	err = errno;
	ub_fd_close(-1, fd);
	errno = err;
	return -1;
}

/* One socket for both address families, where there is IPv6. */
static int ub_listen_any(u16 port)
{
	int fd = ub_listen_bind(AF_INET6, port);

	if (fd < 0 && errno != EADDRINUSE)
		fd = ub_listen_bind(AF_INET, port);
	return fd;
}

static int ub_listen_port(const struct ub_settings *set)
{
	u32 n = set->port_hi - set->port_lo + 1, start, i;
	int fd = -1;

	if (!set->port_lo)
		return ub_listen_any(0);
	start = ub_now() % n;
	for (i = 0; i < n && fd < 0; i++)
		fd = ub_listen_any(set->port_lo + (start + i) % n);
	return fd;
}

static struct ub_listener *ub_listener_new(struct ub_context *ctx)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	struct ub_listener *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	l->ufd.ready = ub_listen_ready;
	l->fd = ub_listen_port(&ctx->set);
	if (l->fd < 0)
		goto err_free;
	if (getsockname(l->fd, (struct sockaddr *)&ss, &len) ||
	    ub_watch_fd(ctx, l->fd, &l->ufd, EPOLLIN))
		goto err_close;
	l->port = ntohs(ss.ss_family == AF_INET6 ?
			((struct sockaddr_in6 *)&ss)->sin6_port :
			((struct sockaddr_in *)&ss)->sin_port);
	l->next = ub_now() % UB_QPS_PER_PORT;
	list_add_tail(&ctx->listeners, &l->node);
	return l;

err_close:
	ub_fd_close(-1, l->fd);
err_free:
	free(l);
	return NULL;
}

static struct ub_listener *ub_listen_choose(struct ub_context *ctx)
{
	struct ub_listener *l;

	list_for_each(&ctx->listeners, l, node)
		if (l->used < UB_QPS_PER_PORT)
			return l;
	return ub_listener_new(ctx);
}

/*
 * One for a UD queue pair, which gets the same port for UDP: somebody else may
 * have it, so that more than one must be tried.
 */
static struct ub_listener *ub_listen_choose_ud(struct ub_context *ctx,
					       struct ub_qp *qp)
{
	struct ub_listener *l;
	int tries;

	list_for_each(&ctx->listeners, l, node)
		if (l->used < UB_QPS_PER_PORT && !l->ud &&
		    ub_ud_open(qp, l->port))
			return l;
	for (tries = 0; tries < UB_UD_TRIES; tries++) {
		l = ub_listener_new(ctx);
		if (!l || ub_ud_open(qp, l->port))
			return l;
		if (errno != EADDRINUSE)
			return NULL;
	}
	return NULL;
}

u32 ub_listen_add(struct ub_context *ctx, struct ub_qp *qp, bool ud)
{
	struct ub_listener *l;
	u32 i;

	l = ud ? ub_listen_choose_ud(ctx, qp) : ub_listen_choose(ctx);
	if (!l)
		return 0;
	if (ud)
		l->ud = qp;
	/* Numbers are used in turn, so that one is not given out again soon. */
	for (i = l->next; l->qps[i % UB_QPS_PER_PORT]; i++)
		;
	i %= UB_QPS_PER_PORT;
	l->next = (i + 1) % UB_QPS_PER_PORT;
	l->qps[i] = qp;
	l->used++;
	return (u32)l->port << 8 | i;
}

void ub_listen_del(struct ub_context *ctx, u32 qpn)
{
	struct ub_listener *l;

	list_for_each(&ctx->listeners, l, node) {
		if (l->port != qpn >> 8)
			continue;
		if (l->ud && l->ud == l->qps[qpn & (UB_QPS_PER_PORT - 1)])
			l->ud = NULL;
		l->qps[qpn & (UB_QPS_PER_PORT - 1)] = NULL;
		l->used--;
		return;
	}
}

static void ub_callers_free_gone(struct ub_context *ctx)
{
	struct ub_caller *caller;

	while ((caller = list_pop(&ctx->gone_callers, struct ub_caller, gone_node)))
		free(caller);
}

void ub_listen_close_all(struct ub_context *ctx)
{
	struct ub_caller *caller;
	struct ub_listener *l;

	while ((caller = ub_caller_of(tz_lobby_empty(&ctx->lobby))))
		ub_caller_dismiss(ctx, caller);
	ub_callers_free_gone(ctx);
	while ((l = list_pop(&ctx->listeners, struct ub_listener, node))) {
		ub_fd_close(ctx->epfd, l->fd);
		free(l);
	}
}

u64 ub_listen_expire(struct ub_context *ctx, u64 now)
{
	struct ub_caller *caller;
	u64 next, expire;

	pthread_mutex_lock(&ctx->lock);
	next = ub_listen_resume(ctx, now);
	while ((caller = ub_caller_of(tz_lobby_expired(&ctx->lobby, now))))
		ub_caller_dismiss(ctx, caller);
	ub_callers_free_gone(ctx);
	expire = tz_lobby_deadline(&ctx->lobby);
	if (!next || (expire && expire < next))
		next = expire;
	pthread_mutex_unlock(&ctx->lock);
	return next;
}
