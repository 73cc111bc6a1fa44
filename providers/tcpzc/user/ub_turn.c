// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * ub_turn.c - running a queue pair's engine: turns, and the socket's I/O.
 */
#include <errno.h>
#include <linux/futex.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ub.h"

/* Calls of recvmsg and of sendmsg per turn; then others get theirs. */
#define UB_RX_CALLS	16
#define UB_TX_CALLS	16
/* Turns for reading what is left of a broken connection. */
#define UB_LAST_TURNS	64

/* Held back posts are sent when they are so many, or so large together. */
#define UB_HOLD_WRS	64u
#define UB_HOLD_BYTES	(1u << 20)

/*
 * With many requests outstanding, an empty socket is not asked again before
 * this: data gathers meanwhile, and less time is spent in vain.
 */
#define UB_BULK_WRS	8u
#define UB_BULK_PAUSE_NS 1500ull
/* Nor is a full one; a lot takes its time to leave. */
#define UB_FULL_PAUSE_NS 3000ull
#define UB_PIPE_PAUSE_NS 30000ull

/* ---- turns -------------------------------------------------------------- */

static void ub_futex(atomic_uint *addr, int op, u32 val)
{
	syscall(SYS_futex, addr, op, val, NULL, NULL, 0);
}

bool ub_turn_try(struct ub_qp *qp)
{
	u32 old = atomic_load_explicit(&qp->turn, memory_order_relaxed);

	if (old & UB_TURN_TAKEN)
		return false;
	return atomic_compare_exchange_strong(&qp->turn, &old,
					      old | UB_TURN_TAKEN);
}

bool ub_turn_try_or_note(struct ub_qp *qp)
{
	u32 old;

	if (ub_turn_try(qp))
		return true;
	old = atomic_fetch_or(&qp->turn, UB_TURN_TAKEN | UB_TURN_MORE);
	return !(old & UB_TURN_TAKEN);
}

void ub_turn_lock(struct ub_qp *qp)
{
	while (!ub_turn_try(qp)) {
		u32 old = atomic_fetch_or(&qp->turn, UB_TURN_WAITED);

		if (old & UB_TURN_TAKEN)
			ub_futex(&qp->turn, FUTEX_WAIT_PRIVATE,
				 old | UB_TURN_WAITED);
	}
}

void ub_turn_unlock(struct ub_qp *qp)
{
	for (;;) {
		u32 old = atomic_load(&qp->turn);

		if (old & UB_TURN_MORE) {
			atomic_fetch_and(&qp->turn, ~UB_TURN_MORE);
			ub_run(qp, ub_now());
			continue;
		}
		if (!atomic_compare_exchange_weak(&qp->turn, &old, 0))
			continue;
		if (old & UB_TURN_WAITED)
			ub_futex(&qp->turn, FUTEX_WAKE_PRIVATE, INT32_MAX);
		return;
	}
}

/* ---- watching the socket ------------------------------------------------ */

/* The epoll set in which the socket belongs; -1: none. */
static int ub_watch_where(struct ub_qp *qp)
{
	struct ub_cq *cq[2] = { (struct ub_cq *)to_tcq(qp->base.vqp.qp.recv_cq),
				(struct ub_cq *)to_tcq(qp->base.vqp.qp.send_cq) };
	int i;

	if (!ub_qp_works(qp) || !atomic_load(&qp->claims))
		return qp->ctx->epfd;
	for (i = 0; i < 2; i++)
		if (atomic_load(&cq[i]->polled) && cq[i]->epfd >= 0)
			return cq[i]->epfd;
	return -1;
}

static u32 ub_watch_for(struct ub_qp *qp)
{
	if (ub_qp_works(qp))
		return EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
	switch (tz_dial_state(&qp->eng)) {
	case TZ_DIAL_OPENING:
		return EPOLLOUT;
	case TZ_DIAL_GREETING:
		return EPOLLIN;
	default:
		return 0;
	}
}

/*
 * An established connection is registered once, edge-triggered: an event that
 * finds the turn taken is noted for the holder and does not come again. What a
 * turn leaves unread on purpose is asked for by registering anew. Data and the end
 * of the stream may come as one event: then reading less than was asked for does
 * not mean that there will be another.
 */
void ub_watch(struct ub_qp *qp)
{
	struct ub_conn *c = &qp->conn;
	struct epoll_event ev = { .data.ptr = &c->ufd };
	int epfd = -1;

	if (c->rfd >= 0)
		ev.events = ub_watch_for(qp);
	if (ev.events)
		epfd = ub_watch_where(qp);
	if (epfd == c->watch_epfd && ev.events == c->watch_events &&
	    !c->unfinished)
		return;
	if (epfd == c->watch_epfd) {
		if (epfd >= 0)
			epoll_ctl(epfd, EPOLL_CTL_MOD, c->rfd, &ev);
	} else {
		if (c->watch_epfd >= 0)
			epoll_ctl(c->watch_epfd, EPOLL_CTL_DEL, c->rfd, NULL);
		if (epfd >= 0 && epoll_ctl(epfd, EPOLL_CTL_ADD, c->rfd, &ev))
			epfd = -1;
	}
	c->watch_epfd = epfd;
	c->watch_events = ev.events;
	c->unfinished = false;
}

/* ---- socket I/O --------------------------------------------------------- */

size_t ub_fill_iov(const struct tz_vec *vec, int n, struct iovec *iov)
{
	size_t total = 0;
	int i;

	for (i = 0; i < n; i++) {
		iov[i].iov_base = vec[i].mr ?
			ub_mr_of(vec[i].mr)->addr + vec[i].off : vec[i].ptr;
		iov[i].iov_len = vec[i].len;
		total += vec[i].len;
	}
	return total;
}

/*
 * The application unmapped memory that is still registered, or took a right away. The
 * region is of no use any more, and the engine finds that out by itself. Those beside
 * it are, unless which one it was cannot be found out.
 */
void ub_fault(const struct tz_vec *vec, int n, bool write)
{
	bool found = false;
	int i;

	for (i = 0; i < n; i++) {
		if (!vec[i].mr || !ub_mem_check(ub_mr_of(vec[i].mr)->addr + vec[i].off,
						vec[i].len, write))
			continue;
		tz_store_once(&vec[i].mr->dead, 1);
		found = true;
	}
	for (i = 0; i < n && !found; i++)
		if (vec[i].mr)
			tz_store_once(&vec[i].mr->dead, 1);
}

/* Returns false when the stream is over. */
static bool ub_rx(struct ub_qp *qp, u64 now)
{
	struct tz_vec vec[UB_IOV];
	struct iovec iov[UB_IOV];
	int calls;

	qp->conn.rx_idle = false;
	qp->conn.rx_bytes = 0;
	for (calls = 0; calls < UB_RX_CALLS; calls++) {
		struct msghdr msg = { .msg_iov = iov };
		int n = tz_qp_rx_want(&qp->eng, vec, UB_IOV);
		size_t want;
		ssize_t got;

		if (!n)
			return tz_dial_state(&qp->eng) != TZ_DIAL_PARTING ||
			       !ub_conn_peer_done(qp);
		want = ub_fill_iov(vec, n, iov);
		msg.msg_iovlen = n;
		if (n == 1)
			got = recv(qp->conn.rfd, iov[0].iov_base, want,
				   MSG_DONTWAIT);
		else
			got = recvmsg(qp->conn.rfd, &msg, MSG_DONTWAIT);
		if (got < 0 && errno == EFAULT) {
			ub_fault(vec, n, true);
			continue;	/* what was for the region is dropped */
		}
		if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
			qp->conn.rx_idle = true;
			return true;
		}
		if (got <= 0)
			return false;
		tz_qp_rx_done(&qp->eng, got, now);
		qp->conn.rx_bytes += got;
		if ((size_t)got < want &&
		    !atomic_load_explicit(&qp->conn.hung_up,
					  memory_order_relaxed)) {
			qp->conn.rx_idle = true;
			return true;
		}
	}
	qp->conn.unfinished = true;
	return true;
}

static bool ub_tx_left(const struct ub_qp *qp)
{
	return qp->conn.pipe_bytes || tz_qp_tx_pending(&qp->eng);
}

/* Send the next batch. */
static enum ub_io ub_tx_batch(struct ub_qp *qp, const struct tz_vec *vec, int n,
			      u64 now)
{
	struct iovec iov[UB_IOV];
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = n };
	size_t want;
	ssize_t sent;

	if (ub_splice_fill(qp, vec, n, now))
		return UB_IO_OK;
	want = ub_fill_iov(vec, n, iov);
	sent = sendmsg(qp->conn.wfd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (sent >= 0) {
		tz_qp_tx_done(&qp->eng, sent, now);
		return (size_t)sent < want ? UB_IO_FULL : UB_IO_OK;
	}
	switch (errno) {
	case EFAULT:
		ub_fault(vec, n, false);
		return UB_IO_OK;
	case EINTR:
		return UB_IO_OK;
	case EAGAIN:
	case ENOBUFS:
	case ENOMEM:
		return UB_IO_FULL;
	default:
		return UB_IO_OVER;
	}
}

/* Returns false when the stream is over. */
static bool ub_tx(struct ub_qp *qp, u64 now)
{
	struct tz_vec vec[UB_IOV];
	int calls, n;

	qp->conn.tx_after = 0;
	ub_note_rung(qp);
	for (calls = 0; calls < UB_TX_CALLS; calls++) {
		enum ub_io io = ub_splice_flush(&qp->conn);

		if (io == UB_IO_OK) {
			tz_qp_tx_fill(&qp->eng, now);
			n = tz_qp_tx_peek(&qp->eng, vec, UB_IOV);
			if (!n)
				return true;
			io = ub_tx_batch(qp, vec, n, now);
		}
		if (io == UB_IO_OVER)
			return false;
		if (io == UB_IO_FULL) {
			qp->conn.tx_after = now + (qp->conn.pipe_bytes ?
				UB_PIPE_PAUSE_NS : UB_FULL_PAUSE_NS);
			return true;
		}
	}
	if (ub_tx_left(qp))
		qp->conn.unfinished = true;
	return true;
}

/* ---- running ------------------------------------------------------------ */

/*
 * Nothing is outstanding, so nobody comes back for posts that were held back
 * because something was: see ub_hold_back(). The holder runs once more for those
 * that came during its turn.
 */
static void ub_look_again(struct ub_qp *qp)
{
	u32 *prod = &qp->base.sq.hdr->prod, rung;

	if (tz_qp_outstanding(&qp->eng))
		return;
	rung = atomic_exchange(&qp->rung, tz_load_acquire(prod));
	if (tz_load_acquire(prod) != rung)
		atomic_fetch_or(&qp->turn, UB_TURN_MORE);
}

/* The end of each turn: see to the connection, set the next time. */
static void ub_settle(struct ub_qp *qp, u64 now)
{
	u64 at;

	ub_conn_settle(qp, now);
	if (qp->conn.asking && !tz_qp_asks(&qp->eng))
		ub_sock_stop_asking(&qp->conn);
	at = tz_dial_deadline(&qp->eng);
	if (at != atomic_load_explicit(&qp->deadline, memory_order_relaxed)) {
		atomic_store(&qp->deadline, at);
		if (at && !atomic_load(&qp->claims))
			ub_progress_by(qp->ctx, at);
	}
	ub_watch(qp);
	ub_look_again(qp);
}

static void ub_timer(struct ub_qp *qp, u64 now)
{
	u64 at = atomic_load_explicit(&qp->deadline, memory_order_relaxed);

	if (at && now >= at)
		tz_dial_timer(&qp->eng, now);
	tz_qp_kick(&qp->eng, now);
}

static void ub_step_rx(struct ub_qp *qp, u64 now)
{
	if (!ub_qp_works(qp) || now < qp->conn.rx_after)
		return;
	if (tz_qp_is_ud(&qp->eng)) {
		ub_ud_rx(qp);
		return;
	}
	if (!ub_rx(qp, now))
		ub_conn_lost(qp, now);
	qp->conn.rx_after = 0;
	if (qp->conn.rx_idle && tz_qp_outstanding(&qp->eng) >= UB_BULK_WRS)
		qp->conn.rx_after = now + UB_BULK_PAUSE_NS;
}

/* The peer has hung up; what it said before that may be the reason. */
static void ub_read_last_words(struct ub_qp *qp, u64 now)
{
	int i;

	for (i = 0; i < UB_LAST_TURNS && ub_rx(qp, now) && !qp->conn.rx_idle; i++)
		;
}

static void ub_step_tx(struct ub_qp *qp, u64 now)
{
	if (tz_qp_is_ud(&qp->eng)) {
		ub_ud_tx(qp);
		return;
	}
	if (!tz_dial_connected(&qp->eng) || now < qp->conn.tx_after ||
	    ub_tx(qp, now))
		return;
	ub_read_last_words(qp, now);
	ub_conn_lost(qp, now);
}

void ub_run_tx(struct ub_qp *qp, u64 now)
{
	if (qp->dead)
		return;
	ub_timer(qp, now);
	ub_step_tx(qp, now);
	ub_settle(qp, now);
}

void ub_run_polled(struct ub_qp *qp, u64 now)
{
	if (qp->dead)
		return;
	ub_timer(qp, now);
	if (!ub_qp_works(qp))
		ub_conn_step(qp, now);
	ub_step_rx(qp, now);
	ub_step_tx(qp, now);
	ub_settle(qp, now);
}

void ub_run(struct ub_qp *qp, u64 now)
{
	qp->conn.rx_after = 0;
	qp->conn.tx_after = 0;
	ub_run_polled(qp, now);
}

void ub_flush_acks(struct ub_qp *qp)
{
	tz_qp_ack_now(&qp->eng);
	if (tz_dial_connected(&qp->eng) && ub_tx_left(qp))
		ub_tx(qp, ub_now());
}

/* ---- doorbells ---------------------------------------------------------- */

/*
 * A post while earlier ones are still on their way may wait a little for more
 * of its kind: they are sent together by the next poll, or when the next
 * acknowledgement arrives, or when enough have gathered. The first post after a
 * silence is always sent at once.
 */
static bool ub_may_wait(struct ub_qp *qp, u32 rung)
{
	u32 prod = tz_load_acquire(&qp->base.sq.hdr->prod);
	u32 cons = tz_load_acquire(&qp->base.sq.hdr->cons);
	u64 bytes;

	if ((s32)(rung - cons) <= 0 || prod - rung >= UB_HOLD_WRS)
		return false;
	/* Those that gather are mostly alike. */
	bytes = __atomic_load_n(&qp->base.sq_last_bytes, __ATOMIC_RELAXED);
	return bytes * (prod - rung) < UB_HOLD_BYTES;
}

/*
 * A post that waits for the last acknowledgement after this has come waits for
 * ever. This thread has stored prod and reads cons; a turn has stored cons and, if
 * nothing is outstanding any more, reads prod at its end (ub_look_again()). One of
 * the two must see the other's store, so each exchanges @rung in between. If the
 * turn was first, this reads the cons that it has stored; else it finds the post.
 */
static bool ub_hold_back(struct ub_qp *qp)
{
	if (!ub_may_wait(qp, atomic_load_explicit(&qp->rung, memory_order_relaxed)))
		return false;
	return ub_may_wait(qp, atomic_fetch_add(&qp->rung, 0));
}

void ub_ring_sq(struct tcpzc_qp *base)
{
	struct ub_qp *qp = (struct ub_qp *)base;
	int was;

	if (ub_forked(qp->ctx))
		return;
	ub_cq_note_activity(qp);
	if (ub_hold_back(qp)) {
		ub_cq_mark_dirty(qp);
		return;
	}
	was = ub_cancel_disable();
	if (ub_turn_try_or_note(qp)) {
		ub_run_tx(qp, ub_now());
		ub_turn_unlock(qp);
	}
	ub_cancel_restore(was);
}

/* Only a QP that waits for a receive, or flushes, wants to hear of one. */
void ub_ring_rq(struct tcpzc_qp *base)
{
	struct ub_qp *qp = (struct ub_qp *)base;
	int was;

	if (ub_forked(qp->ctx))
		return;
	/* A full barrier, as tz_rsp_want_doorbell() asks for. */
	if (!(__atomic_fetch_or(&base->rq.hdr->flags, 0, __ATOMIC_SEQ_CST) &
	      TCPZC_RING_NEED_WAKEUP))
		return;
	was = ub_cancel_disable();
	if (ub_turn_try_or_note(qp)) {
		ub_run(qp, ub_now());
		ub_turn_unlock(qp);
	}
	ub_cancel_restore(was);
}
