// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * ub_conn.c - a queue pair's sockets: what tz_dial.h asks for, done with TCP. All
 * functions run with the QP's turn held, and none but ub_conn_close() waits.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "calls.h"
#include "ub.h"

void ub_conn_init(struct ub_qp *qp)
{
	struct ub_conn *c = &qp->conn;

	memset(c, 0, sizeof(*c));
	c->ufd.ready = ub_conn_ready;
	c->rfd = -1;
	c->wfd = -1;
	c->watch_epfd = -1;
	c->pipe[0] = -1;
	c->pipe[1] = -1;
}

/* ---- the end ------------------------------------------------------------ */

/*
 * Unread bytes would turn the close into a reset, which may overtake what was
 * sent last (an ACK, say) in the peer's socket: read them first, within reason.
 */
static void ub_conn_drain(int fd)
{
	int i;

	shutdown(fd, SHUT_WR);
	for (i = 0; i < 16; i++)
		if (recv(fd, NULL, 1 << 20, MSG_TRUNC | MSG_DONTWAIT) <= 0)
			break;
}

/*
 * Unlike a close with SO_LINGER this works while a child has a copy of @fd. Where it is
 * forbidden (a sandbox) the close that follows resets.
 */
void ub_conn_cut(int fd)
{
	struct sockaddr none = { .sa_family = AF_UNSPEC };
	struct linger linger = { .l_onoff = 1 };

	if (connect(fd, &none, sizeof(none)))
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
}

/*
 * The same for a process that is killed or exits: what it had not delivered dies
 * with it. What UC has handed over is complete, and may arrive.
 */
static void ub_conn_dies_with_process(int fd, bool dies)
{
	struct linger linger = { .l_onoff = dies };

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
}

/* @peaceful: the peer may still have to read what was sent last. */
static void ub_conn_hang_up(struct ub_qp *qp, bool peaceful)
{
	struct ub_conn *c = &qp->conn;
	int rfd = c->rfd, wfd = c->wfd;

	if (rfd < 0)
		return;
	if (c->watch_epfd >= 0)
		epoll_ctl(c->watch_epfd, EPOLL_CTL_DEL, rfd, NULL);
	ub_splice_close(c);
	c->asking = false;
	c->rfd = -1;
	c->wfd = -1;
	c->watch_epfd = -1;
	c->watch_events = 0;
	if (tz_qp_must_reset(&qp->eng)) {
		ub_conn_cut(rfd);
	} else if (peaceful && rfd == wfd) {
		ub_conn_dies_with_process(rfd, false);
		if (ub_linger_start(qp->ctx, rfd, tz_qp_is_uc(&qp->eng), ub_now()))
			return;
		ub_conn_drain(rfd);
	}
	ub_fd_close(-1, rfd);
	if (wfd != rfd)
		ub_fd_close(-1, wfd);
}

void ub_conn_lost(struct ub_qp *qp, u64 now)
{
	ub_conn_hang_up(qp, tz_dial_connected(&qp->eng));
	tz_dial_lost(&qp->eng, now);
}

static void ub_conn_half_close(struct ub_qp *qp)
{
	tz_dial_parting(&qp->eng);
	shutdown(qp->conn.wfd, SHUT_WR);
}

bool ub_conn_peer_done(struct ub_qp *qp)
{
	ssize_t n;

	do
		n = recv(qp->conn.rfd, NULL, 1 << 20, MSG_TRUNC | MSG_DONTWAIT);
	while (n > 0);
	return n == 0 || (errno != EAGAIN && errno != EINTR);
}

/*
 * When this has returned the application may use its memory. Nearly always the peer
 * has read everything and closed its end within a moment.
 */
static void ub_conn_part(struct ub_qp *qp)
{
	struct ub_conn *c = &qp->conn;
	u64 now = ub_now(), until = now + TZ_DIAL_PART_NS;

	if (!tz_dial_part(&qp->eng))
		return;
	shutdown(c->wfd, SHUT_WR);
	while (now < until && !ub_conn_peer_done(qp)) {
		struct pollfd pfd = { .fd = c->rfd, .events = POLLIN };

		poll(&pfd, 1, (until - now) / 1000000 + 1);
		now = ub_now();
	}
}

static struct ub_caller *ub_conn_unpark(struct ub_qp *qp)
{
	struct tz_caller *call = tz_dial_unpark(&qp->eng);

	return call ? container_of(call, struct ub_caller, call) : NULL;
}

void ub_conn_close(struct ub_qp *qp)
{
	struct ub_conn *c = &qp->conn;
	struct ub_caller *caller;

	ub_conn_part(qp);
	ub_conn_hang_up(qp, tz_dial_connected(&qp->eng));
	while ((caller = ub_conn_unpark(qp)))
		ub_caller_close(caller);
	c->unfinished = false;
	c->rx_after = 0;
	c->tx_after = 0;
}

/* ---- established -------------------------------------------------------- */

/* The hand-shake is over, or there was none. */
static void ub_conn_up(struct ub_qp *qp, u64 now)
{
	struct ub_conn *c = &qp->conn;

	atomic_store(&c->hung_up, false);
	if (!tz_qp_is_uc(&qp->eng))
		ub_conn_dies_with_process(c->rfd, true);
	/* If it has failed meanwhile the turn ends with closing the stream. */
	tz_dial_up(&qp->eng, now);
}

static bool ub_send_hello(int fd, const struct tz_hello *hello)
{
	return send(fd, hello, sizeof(*hello), MSG_DONTWAIT | MSG_NOSIGNAL) ==
	       sizeof(*hello);
}

/* ---- callers ------------------------------------------------------------ */

void ub_caller_refuse(struct ub_caller *caller, enum tz_hello_status why)
{
	struct tz_hello hello;

	tz_shake_refuse(&caller->call.rx.hello, why, &hello);
	ub_send_hello(caller->fd, &hello);
	ub_caller_close(caller);
}

/* The answer is sent first; the stream is the queue pair's from now on. */
static void ub_conn_take(struct ub_qp *qp, struct ub_caller *caller,
			 const struct tz_hello *answer, u64 now)
{
	struct ub_conn *c = &qp->conn;

	c->rfd = caller->fd;
	c->wfd = caller->fd;
	free(caller);
	ub_sock_tune(qp, c->rfd);
	if (ub_send_hello(c->wfd, answer))
		ub_conn_up(qp, now);
	else
		ub_conn_lost(qp, now);
}

void ub_conn_offer(struct ub_qp *qp, struct ub_caller *caller, u64 now)
{
	struct tz_hello answer;

	switch (tz_dial_call(&qp->eng, &caller->call, &answer, now)) {
	case TZ_CALL_PARKED:
		break;
	case TZ_CALL_TAKEN:
		ub_conn_take(qp, caller, &answer, now);
		break;
	case TZ_CALL_OWN:	/* a queue pair talks to itself without TCP */
	case TZ_CALL_REFUSED:
		ub_caller_refuse(caller, TZ_HELLO_REFUSED);
		break;
	}
}

/* A caller says nothing after its hello: what can be read is the end. */
static bool ub_caller_hung_up(const struct ub_caller *caller)
{
	char byte;

	return recv(caller->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0 ||
	       errno != EAGAIN;
}

void ub_conn_start(struct ub_qp *qp, u64 now)
{
	struct ub_caller *caller;

	while ((caller = ub_conn_unpark(qp))) {
		if (ub_caller_hung_up(caller))
			ub_caller_close(caller);
		else
			ub_conn_offer(qp, caller, now);
	}
}

/* ---- dialing ------------------------------------------------------------ */

static bool ub_conn_dial(struct ub_qp *qp)
{
	const struct tz_qp_attr *a = tz_qp_attrs(&qp->eng);
	struct ub_conn *c = &qp->conn;
	struct sockaddr_storage from, to;
	socklen_t from_len, to_len;
	int one = 1;

	ub_sock_addr(qp->ctx, a->sgid, 0, &from, &from_len);
	ub_sock_addr(qp->ctx, a->dgid, ub_sock_port(qp->ctx, a->dest_qpn), &to, &to_len);
	c->rfd = socket(to.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC,
			IPPROTO_TCP);
	c->wfd = c->rfd;
	if (c->rfd < 0)
		return false;
	ub_sock_tune(qp, c->rfd);
	/* The kernel is to choose the port late, knowing both addresses. */
	setsockopt(c->rfd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
	return !bind(c->rfd, (struct sockaddr *)&from, from_len) &&
	       (!connect(c->rfd, (struct sockaddr *)&to, to_len) ||
		errno == EINPROGRESS);
}

/* A QP that is its own peer talks to itself through a pair of sockets. */
static bool ub_conn_to_self(struct ub_qp *qp, u64 now)
{
	struct ub_conn *c = &qp->conn;
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0,
		       fds))
		return false;
	c->rfd = fds[0];
	c->wfd = fds[1];
	ub_conn_up(qp, now);
	/* What is posted has not been looked at since then. */
	atomic_fetch_or(&qp->turn, UB_TURN_MORE);
	return true;
}

static void ub_conn_open(struct ub_qp *qp, u64 now)
{
	const struct tz_qp_attr *a = tz_qp_attrs(&qp->eng);
	bool ok;

	tz_dial_opening(&qp->eng, now);
	if (tz_shake_role(a, tz_qp_num(&qp->eng)) == TZ_ROLE_SELF)
		ok = ub_conn_to_self(qp, now);
	else
		ok = ub_conn_dial(qp);
	if (!ok)
		ub_conn_lost(qp, now);
}

/* 1: established, 0: not yet, -1: it failed. */
static int ub_conn_established(int fd)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	int err = 0;

	if (!getpeername(fd, (struct sockaddr *)&ss, &len))
		return 1;
	len = sizeof(err);
	return getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) || err ? -1 : 0;
}

static void ub_conn_greet(struct ub_qp *qp, u64 now)
{
	int established = ub_conn_established(qp->conn.rfd);
	struct tz_hello hello;
	u64 session_id;

	if (!established)
		return;
	if (established < 0) {
		ub_conn_lost(qp, now);
		return;
	}
	if (!tz_random(&session_id, sizeof(session_id)))
		session_id = now;
	tz_dial_hello(&qp->eng, session_id, &hello);
	if (!ub_send_hello(qp->conn.wfd, &hello))
		ub_conn_lost(qp, now);
}

/* Read the peer's hello, and not a byte of what follows it. */
static void ub_conn_listen_to(struct ub_qp *qp, u64 now)
{
	u32 want;
	ssize_t n;
	u8 *ptr;

	want = tz_dial_want(&qp->eng, &ptr);
	n = recv(qp->conn.rfd, ptr, want, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	switch (n > 0 ? tz_dial_take(&qp->eng, n, now) : TZ_HELLO_GARBAGE) {
	case TZ_HELLO_MORE:
		break;
	case TZ_HELLO_COMPLETE:
		ub_conn_up(qp, now);
		break;
	default:
		ub_conn_lost(qp, now);
		break;
	}
}

/* ---- steps -------------------------------------------------------------- */

static void ub_conn_act(struct ub_qp *qp, bool all_sent, u64 now)
{
	switch (tz_dial_act(&qp->eng)) {
	case TZ_ACT_NONE:
		break;
	case TZ_ACT_OPEN:
		ub_conn_open(qp, now);
		break;
	case TZ_ACT_HALF_CLOSE:
		if (all_sent)
			ub_conn_half_close(qp);
		break;
	case TZ_ACT_CLOSE:
		if (all_sent || tz_qp_must_cut(&qp->eng))
			ub_conn_lost(qp, now);
		break;
	case TZ_ACT_RESET:
		ub_conn_lost(qp, now);
		break;
	}
}

void ub_conn_settle(struct ub_qp *qp, u64 now)
{
	/* Bytes in a pipe are on their way for the engine. */
	ub_conn_act(qp, !qp->conn.pipe_bytes, now);
}

void ub_conn_step(struct ub_qp *qp, u64 now)
{
	ub_conn_act(qp, false, now);
	if (tz_dial_state(&qp->eng) == TZ_DIAL_OPENING)
		ub_conn_greet(qp, now);
	else if (tz_dial_state(&qp->eng) == TZ_DIAL_GREETING)
		ub_conn_listen_to(qp, now);
}

u32 ub_conn_event(struct ub_fd *ufd, u32 events, u64 now)
{
	struct ub_conn *c = container_of(ufd, struct ub_conn, ufd);
	struct ub_qp *qp = container_of(c, struct ub_qp, conn);
	u32 bytes;

	if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		atomic_store(&c->hung_up, true);
	if (!ub_turn_try_or_note(qp))
		return 0;
	ub_run(qp, now);
	bytes = c->rx_bytes;
	ub_turn_unlock(qp);
	return bytes;
}

void ub_conn_ready(struct ub_context *ctx, struct ub_fd *ufd, u32 events)
{
	ctx->served_bytes += ub_conn_event(ufd, events, ub_now());
}
