// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * ub_conn.c - a queue pair's connection: dialing and the hand-shake, parked
 * connections of a peer that was faster, the end. All functions run with the
 * QP's turn held, and none of them waits.
 */
#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "calls.h"
#include "ub.h"

#define UB_BACKOFF_MIN_MS	1
#define UB_BACKOFF_MAX_MS	500
#define UB_PART_NS		200000000ull

void ub_conn_init(struct ub_qp *qp)
{
	struct ub_conn *c = &qp->conn;

	memset(c, 0, sizeof(*c));
	c->ufd.ready = ub_conn_ready;
	c->state = UB_CONN_IDLE;
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
 * Requests whose end is reported now, or was not waited for, must not be executed
 * later: TCP resets the connection and drops what it has queued. Unlike a close
 * with SO_LINGER this works while a child has a copy of the descriptor.
 */
static void ub_conn_cut(int fd)
{
	struct sockaddr none = { .sa_family = AF_UNSPEC };

	connect(fd, &none, sizeof(none));
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

static void ub_conn_hang_up(struct ub_qp *qp)
{
	struct ub_conn *c = &qp->conn;
	int rfd = c->rfd, wfd = c->wfd;

	if (rfd < 0)
		return;
	if (c->watch_epfd >= 0)
		epoll_ctl(c->watch_epfd, EPOLL_CTL_DEL, rfd, NULL);
	ub_splice_close(c);
	c->said_all = false;
	c->asking = false;
	c->rfd = -1;
	c->wfd = -1;
	c->watch_epfd = -1;
	c->watch_events = 0;
	if (tz_qp_must_reset(&qp->eng)) {
		ub_conn_cut(rfd);
	} else if (c->state == UB_CONN_UP && rfd == wfd) {
		ub_conn_dies_with_process(rfd, false);
		if (ub_farewell_start(qp->ctx, rfd, ub_now()))
			return;
		ub_conn_drain(rfd);
	}
	ub_fd_close(-1, rfd);
	if (wfd != rfd)
		ub_fd_close(-1, wfd);
}

void ub_conn_close(struct ub_qp *qp)
{
	struct ub_conn *c = &qp->conn;

	ub_conn_hang_up(qp);
	while (c->num_parked)
		ub_fd_close(-1, c->parked[--c->num_parked].fd);
	c->retry_at = 0;
	c->backoff_ms = 0;
	c->unfinished = false;
	c->rx_after = 0;
	c->tx_after = 0;
	c->state = UB_CONN_IDLE;
}

/* Not this time; again a little later, for as long as the QP exists. */
static void ub_conn_back_off(struct ub_qp *qp, u64 now)
{
	struct ub_conn *c = &qp->conn;

	ub_conn_hang_up(qp);
	c->backoff_ms = c->backoff_ms ? 2 * c->backoff_ms : UB_BACKOFF_MIN_MS;
	if (c->backoff_ms > UB_BACKOFF_MAX_MS)
		c->backoff_ms = UB_BACKOFF_MAX_MS;
	c->state = UB_CONN_BACKOFF;
	c->retry_at = now + c->backoff_ms * 1000000ull;
}

void ub_conn_lost(struct ub_qp *qp, u64 now)
{
	struct ub_conn *c = &qp->conn;
	u32 backoff_ms = c->backoff_ms;

	ub_conn_close(qp);
	c->state = UB_CONN_DONE;
	tz_qp_disconnected(&qp->eng, now);
	if (qp->eng.conn != TZ_CONN_NONE)
		return;
	/* It was not the peer, who may still come, or answer the next time. */
	if (tz_shake_role(&qp->eng.attr, qp->eng.init.qpn) == TZ_ROLE_ACCEPT) {
		c->state = UB_CONN_IDLE;
		return;
	}
	c->backoff_ms = backoff_ms;
	ub_conn_back_off(qp, now);
}

/*
 * All is said. If requests are on their way their flush must wait until they
 * cannot be executed any more: the peer closes its end when it has come to ours,
 * and the engine does not wait for ever (tz_qp_must_cut()).
 */
void ub_conn_finish(struct ub_qp *qp, u64 now)
{
	struct ub_conn *c = &qp->conn;

	if (!tz_qp_must_reset(&qp->eng)) {
		ub_conn_lost(qp, now);
		return;
	}
	if (c->said_all)
		return;
	c->said_all = true;
	shutdown(c->wfd, SHUT_WR);
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
 * The QP goes to RESET or is destroyed with requests on their way: when this has
 * returned none of them may be executed any more, and the application may use its
 * memory. Nearly always the peer has read everything and closed its end within a
 * moment; what it has not read then is cut off.
 */
void ub_conn_part(struct ub_qp *qp)
{
	struct ub_conn *c = &qp->conn;
	u64 now = ub_now(), until = now + UB_PART_NS;

	if (c->state != UB_CONN_UP || !tz_qp_must_reset(&qp->eng))
		return;
	shutdown(c->wfd, SHUT_WR);
	while (now < until && !ub_conn_peer_done(qp)) {
		struct pollfd pfd = { .fd = c->rfd, .events = POLLIN };

		poll(&pfd, 1, (until - now) / 1000000 + 1);
		now = ub_now();
	}
}

/* ---- established -------------------------------------------------------- */

static void ub_conn_up(struct ub_qp *qp, int rfd, int wfd, u32 max_pdu, u64 now)
{
	struct ub_conn *c = &qp->conn;

	c->rfd = rfd;
	c->wfd = wfd;
	c->state = UB_CONN_UP;
	atomic_store(&c->hung_up, false);
	c->retry_at = 0;
	if (!tz_qp_is_uc(&qp->eng))
		ub_conn_dies_with_process(rfd, true);
	tz_qp_connected(&qp->eng, max_pdu, now);
}

static bool ub_send_hello(int fd, const struct tz_hello *hello)
{
	return send(fd, hello, sizeof(*hello), MSG_DONTWAIT | MSG_NOSIGNAL) ==
	       sizeof(*hello);
}

/* ---- accepting ---------------------------------------------------------- */

static void ub_conn_refuse(int fd, const struct tz_hello *in)
{
	struct tz_hello hello;

	tz_shake_refuse(in, TZ_HELLO_REFUSED, &hello);
	ub_send_hello(fd, &hello);
	ub_fd_close(-1, fd);
}

/* The connection must also come from where it says it does. */
static bool ub_conn_from_peer(const struct ub_qp *qp, int fd)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	u8 gid[16];

	return !getpeername(fd, (struct sockaddr *)&ss, &len) &&
	       ub_sock_gid(&ss, gid) &&
	       !memcmp(gid, qp->eng.attr.dgid, sizeof(gid));
}

static bool ub_conn_may_accept(const struct ub_qp *qp)
{
	return qp->conn.state == UB_CONN_IDLE &&
	       tz_shake_role(&qp->eng.attr, qp->eng.init.qpn) == TZ_ROLE_ACCEPT;
}

static void ub_conn_accept(struct ub_qp *qp, int fd,
			   const struct tz_hello *hello, u64 now)
{
	struct tz_hello answer;
	u32 max_pdu = 0;

	/* Only whom this QP could take may have a guess at the PSN. */
	if (!ub_conn_from_peer(qp, fd) || !ub_conn_may_accept(qp) ||
	    tz_shake_judge_call(&qp->eng, hello, now, &max_pdu) != TZ_HELLO_OK) {
		ub_conn_refuse(fd, hello);
		return;
	}
	tz_shake_answer(&qp->eng, tz_le64_to_cpu(hello->session_id), &answer);
	ub_sock_tune(qp, fd);
	if (!ub_send_hello(fd, &answer)) {
		ub_fd_close(-1, fd);
		return;
	}
	ub_conn_up(qp, fd, fd, max_pdu, now);
}

static void ub_conn_park(struct ub_qp *qp, int fd, const struct tz_hello *hello)
{
	struct ub_conn *c = &qp->conn;

	if (c->num_parked == UB_MAX_PARKED) {
		ub_conn_refuse(fd, hello);
		return;
	}
	c->parked[c->num_parked].fd = fd;
	c->parked[c->num_parked].hello = *hello;
	c->num_parked++;
}

void ub_conn_offer(struct ub_qp *qp, int fd, const struct tz_hello *hello,
		   u64 now)
{
	switch (qp->eng.state) {
	case TZ_RESET:
	case TZ_INIT:
		ub_conn_park(qp, fd, hello);
		break;
	case TZ_RTR:
	case TZ_RTS:
	case TZ_SQD:
		ub_conn_accept(qp, fd, hello, now);
		break;
	default:
		ub_conn_refuse(fd, hello);
		break;
	}
}

/* The dialing side says nothing after its hello: what can be read is the end. */
static bool ub_conn_hung_up(int fd)
{
	char byte;

	return recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0 ||
	       errno != EAGAIN;
}

/* The newest first: the peer may have tried, reset its QP, and tried again. */
static void ub_conn_accept_parked(struct ub_qp *qp, u64 now)
{
	struct ub_conn *c = &qp->conn;

	while (c->num_parked) {
		struct ub_parked *p = &c->parked[--c->num_parked];

		if (ub_conn_hung_up(p->fd))
			ub_fd_close(-1, p->fd);
		else
			ub_conn_accept(qp, p->fd, &p->hello, now);
	}
}

/* ---- dialing ------------------------------------------------------------ */

static void ub_conn_dial(struct ub_qp *qp, u64 now)
{
	struct ub_conn *c = &qp->conn;
	const struct tz_qp_attr *a = &qp->eng.attr;
	struct sockaddr_storage from, to;
	socklen_t from_len, to_len;
	int one = 1;

	c->retry_at = 0;
	ub_sock_addr(qp->ctx, a->sgid, 0, &from, &from_len);
	ub_sock_addr(qp->ctx, a->dgid, ub_sock_port(qp->ctx, a->dest_qpn), &to, &to_len);
	c->rfd = socket(to.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC,
			IPPROTO_TCP);
	c->wfd = c->rfd;
	if (c->rfd < 0) {
		ub_conn_back_off(qp, now);
		return;
	}
	ub_sock_tune(qp, c->rfd);
	/* The kernel is to choose the port late, knowing both addresses. */
	setsockopt(c->rfd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
	if (bind(c->rfd, (struct sockaddr *)&from, from_len) ||
	    (connect(c->rfd, (struct sockaddr *)&to, to_len) &&
	     errno != EINPROGRESS)) {
		ub_conn_back_off(qp, now);
		return;
	}
	c->state = UB_CONN_DIALING;
}

static void ub_conn_greet(struct ub_qp *qp, u64 now)
{
	struct ub_conn *c = &qp->conn;
	struct tz_hello hello;
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	int err = 0;

	if (getpeername(c->rfd, (struct sockaddr *)&ss, &len)) {
		len = sizeof(err);
		if (!getsockopt(c->rfd, SOL_SOCKET, SO_ERROR, &err, &len) && !err)
			return;		/* still connecting */
		ub_conn_back_off(qp, now);
		return;
	}
	if (!tz_random(&c->session_id, sizeof(c->session_id)))
		c->session_id = now;
	tz_shake_call(&qp->eng, c->session_id, &hello);
	if (!ub_send_hello(c->rfd, &hello)) {
		ub_conn_back_off(qp, now);
		return;
	}
	c->hello_got = 0;
	c->state = UB_CONN_GREETING;
	c->retry_at = 0;
}

static bool ub_conn_answer_ok(struct ub_qp *qp, u64 now, u32 *max_pdu)
{
	const struct tz_hello *h = &qp->conn.hello;

	return tz_shake_check(h) == TZ_HELLO_OK &&
	       tz_le16_to_cpu(h->status) == TZ_HELLO_OK &&
	       tz_le64_to_cpu(h->session_id) == qp->conn.session_id &&
	       tz_shake_judge_answer(&qp->eng, h, now, max_pdu) == TZ_HELLO_OK;
}

/* Read the peer's hello, and not a byte of what follows it. */
static void ub_conn_listen_to(struct ub_qp *qp, u64 now)
{
	struct ub_conn *c = &qp->conn;
	u32 max_pdu = 0;
	ssize_t n;

	n = recv(c->rfd, (u8 *)&c->hello + c->hello_got,
		 sizeof(c->hello) - c->hello_got, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		ub_conn_back_off(qp, now);
		return;
	}
	c->hello_got += n;
	if (c->hello_got < sizeof(c->hello))
		return;
	if (!ub_conn_answer_ok(qp, now, &max_pdu)) {
		ub_conn_back_off(qp, now);
		return;
	}
	ub_conn_up(qp, c->rfd, c->wfd, max_pdu, now);
}

/* A QP that is its own peer talks to itself through a pair of sockets. */
static void ub_conn_to_self(struct ub_qp *qp, u64 now)
{
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0,
		       fds)) {
		ub_conn_back_off(qp, now);
		return;
	}
	ub_conn_up(qp, fds[0], fds[1], qp->eng.init.max_pdu, now);
}

static void ub_conn_open(struct ub_qp *qp, u64 now)
{
	qp->conn.retry_at = 0;
	switch (tz_shake_role(&qp->eng.attr, qp->eng.init.qpn)) {
	case TZ_ROLE_SELF:
		ub_conn_to_self(qp, now);
		break;
	case TZ_ROLE_CONNECT:
		ub_conn_dial(qp, now);
		break;
	case TZ_ROLE_ACCEPT:
		ub_conn_accept_parked(qp, now);
		break;
	}
}

void ub_conn_start(struct ub_qp *qp, u64 now)
{
	ub_conn_open(qp, now);
	/* Those that are left were not for a QP with this role. */
	while (qp->conn.num_parked)
		ub_fd_close(-1, qp->conn.parked[--qp->conn.num_parked].fd);
}

void ub_conn_ready_to_send(struct ub_qp *qp, u64 now)
{
	struct ub_conn *c = &qp->conn;

	if (c->state != UB_CONN_BACKOFF)
		return;
	c->backoff_ms = 0;
	c->retry_at = now;
}

void ub_conn_step(struct ub_qp *qp, u64 now)
{
	if (qp->eng.closing && qp->conn.state != UB_CONN_DONE) {
		ub_conn_lost(qp, now);	/* the QP failed before it had a peer */
		return;
	}
	switch (qp->conn.state) {
	case UB_CONN_DIALING:
		ub_conn_greet(qp, now);
		break;
	case UB_CONN_GREETING:
		ub_conn_listen_to(qp, now);
		break;
	case UB_CONN_BACKOFF:
		if (now >= qp->conn.retry_at)
			ub_conn_open(qp, now);
		break;
	default:
		break;
	}
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
