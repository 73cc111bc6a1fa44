// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * io.c - the data path: what a queue pair's sockets and its application have to
 * say, and who does the work (see tcpzc.h).
 *
 * A "pass" is one visit to the engine with the socket's spinlock and the queue
 * pair's lock held: timers, receiving if data is there, sending if there is
 * something to send, and what follows from that (tcpzc_settle()).
 */
#include <linux/skbuff.h>
#include <net/tcp.h>

#include "tcpzc.h"
#include "trace.h"

/* Vectors that one visit to the engine asks for. */
#define TCPZC_RX_VECS		8
#define TCPZC_TX_VECS		16
/* Bytes received in one pass, batches sent; then others get their turn. */
#define TCPZC_RX_BUDGET		(4u << 20)
#define TCPZC_TX_BATCHES	64
/* A socket that took nothing although it is empty has no memory. */
#define TCPZC_NOMEM_NS		1000000ull

static void tcpzc_settle(struct tcpzc_qp *qp, u64 now);

/* ---- receiving ---------------------------------------------------------- */

struct tcpzc_rx {
	struct tcpzc_qp *qp;
	u64 now;
	u32 left;		/* of the budget, bytes */
	bool broken;		/* data that cannot be read */
};

/* Copy from @skb to the memory of a region. */
static bool tcpzc_rx_to_mr(const struct tz_vec *vec, u32 len,
			   const struct sk_buff *skb, u32 off)
{
	const struct tcpzc_mr *mr = tcpzc_mr_of(vec->mr);
	u64 at = vec->off;

	while (len) {
		u32 run;
		void *dst = tcpzc_mr_run(mr, at, len, &run);

		if (skb_copy_bits(skb, off, dst, run))
			return false;
		at += run;
		off += run;
		len -= run;
	}
	return true;
}

/* Put the next bytes where the engine wants them; returns how many. */
static u32 tcpzc_rx_place(struct tcpzc_rx *rx, const struct sk_buff *skb,
			  u32 off, u32 len, const struct tz_vec *vec, int n)
{
	u32 done = 0;
	int i;

	for (i = 0; i < n && done < len; i++) {
		u32 part = min(vec[i].len, len - done);
		bool ok;

		if (vec[i].mr)
			ok = tcpzc_rx_to_mr(&vec[i], part, skb, off + done);
		else
			ok = !skb_copy_bits(skb, off + done, vec[i].ptr, part);
		if (!ok) {
			rx->broken = true;
			return 0;
		}
		done += part;
	}
	return done;
}

static int tcpzc_rx_actor(read_descriptor_t *desc, struct sk_buff *skb,
			  unsigned int offset, size_t len)
{
	struct tcpzc_rx *rx = desc->arg.data;
	struct tz_qp *eng = &rx->qp->eng;
	u32 done = 0;

	while (done < len && rx->left) {
		struct tz_vec vec[TCPZC_RX_VECS];
		int n = tz_qp_rx_want(eng, vec, TCPZC_RX_VECS);
		u32 got;

		if (!n)
			break;
		got = tcpzc_rx_place(rx, skb, offset + done, len - done, vec, n);
		if (!got)
			break;
		trace_tcpzc_place(rx->qp, tz_qp_expected_msn(eng), got, vec[0].mr);
		tz_qp_rx_done(eng, got, rx->now);
		done += got;
		rx->left -= min(rx->left, got);
	}
	return done;
}

/* All is said: what the peer still sends is of no interest. */
static int tcpzc_rx_discard(read_descriptor_t *desc, struct sk_buff *skb,
			    unsigned int offset, size_t len)
{
	return len;
}

static bool tcpzc_peer_closed(const struct sock *sk)
{
	return (sk->sk_shutdown & RCV_SHUTDOWN) || sk->sk_err ||
	       sk->sk_state == TCP_CLOSE;
}

/* The socket is ours, and qp->lock is held. */
static void tcpzc_rx(struct tcpzc_qp *qp, struct sock *sk, u64 now)
{
	struct tcpzc_rx rx = { .qp = qp, .now = now, .left = TCPZC_RX_BUDGET };
	bool parting = tz_dial_state(&qp->eng) == TZ_DIAL_PARTING;
	read_descriptor_t desc = { .arg.data = &rx, .count = 1 };
	u32 acked = tz_qp_acked_msn(&qp->eng);

	if (!skb_queue_empty(&sk->sk_receive_queue)) {
		tcpzc_count(qp->dev, TCPZC_CNT_RX_TURNS, 1);
		trace_tcpzc_recv(qp);
		tcp_read_sock(sk, &desc,
			      parting ? tcpzc_rx_discard : tcpzc_rx_actor);
	}
	if (tz_qp_acked_msn(&qp->eng) != acked)
		trace_tcpzc_acked(qp);
	qp->rx_again = !rx.left;
	/*
	 * What was said before the end counts, unless nobody listens. A stall
	 * (no receive posted) is not the end either.
	 */
	if (rx.broken || (tcpzc_peer_closed(sk) &&
			  (skb_queue_empty(&sk->sk_receive_queue) ||
			   tz_qp_rx_over(&qp->eng))))
		qp->conn.eof = true;
}

/* ---- the ring's doorbell flag ------------------------------------------- */

void tcpzc_sq_flag(struct tcpzc_qp *qp, u32 flags)
{
	if (qp->sq_flags == flags)
		return;
	qp->sq_flags = flags;
	/* A full barrier, see TCPZC_RING_NEED_WAKEUP. */
	xchg(&qp->sq->hdr->flags, flags);
}

/* Does the application sleep until one of its completion queues has something? */
static bool tcpzc_cqs_armed(const struct tcpzc_qp *qp)
{
	return tcpzc_cq_armed(qp->send_cq) ||
	       (qp->recv_cq != qp->send_cq && tcpzc_cq_armed(qp->recv_cq));
}

/* Does the application ring for what it posts from now on? */
static bool tcpzc_sq_rings(const struct tcpzc_qp *qp)
{
	return qp->sq_flags & TCPZC_RING_NEED_WAKEUP;
}

/*
 * What is posted is known now, and is about to be sent as far as that is possible.
 * If it is not rung for, the ring is looked at again TCPZC_LOOK_NS after posts
 * were last found, or as much later as TCPZC_LOOK_SLACK_NS.
 */
static void tcpzc_sq_note(struct tcpzc_qp *qp, u64 now)
{
	/* Pairs with the release by which the application publishes requests. */
	u32 prod = smp_load_acquire(&qp->sq->hdr->prod);

	if (prod == qp->seen)
		return;
	qp->seen = prod;
	WRITE_ONCE(qp->sq->hdr->seen, prod);
	if (!qp->sq_flags)
		qp->look_at = now + TCPZC_LOOK_NS;
	else if (tcpzc_sq_rings(qp))
		qp->look_at = 0;
}

/*
 * As long as posts keep coming the doorbell is not needed. The timer would only
 * be a burden for applications that ring for each post anyway: those that have
 * armed their completion queues, and those that have posted an answer while
 * nothing else was on its way, as they always do.
 */
static bool tcpzc_sq_promises(const struct tcpzc_qp *qp)
{
	return !tcpzc_cqs_armed(qp) && !(tz_qp_completed(&qp->eng) == qp->seen &&
					 tz_qp_plays_pingpong(&qp->eng));
}

/* Is there a pass to come, since the connection had no room for all there is? */
static bool tcpzc_sq_waits(const struct tcpzc_qp *qp)
{
	return qp->tx_full_at && tz_dial_state(&qp->eng) == TZ_DIAL_UP;
}

/*
 * To be called before the engine is asked to send: what is posted before the
 * flag is raised is sent with the rest, what is posted later is rung for.
 */
static void tcpzc_sq_look(struct tcpzc_qp *qp, u64 now)
{
	if (READ_ONCE(qp->sq->hdr->prod) == qp->seen)
		return;
	if (!tcpzc_sq_waits(qp))
		tcpzc_sq_flag(qp, tcpzc_sq_promises(qp) ?
					  0 : TCPZC_RING_NEED_WAKEUP);
	tcpzc_sq_note(qp, now);
}

/*
 * Raise the flag if nothing has come for long enough; not while some of it waits
 * for room, and afterwards not before another look. False: something has come
 * meanwhile.
 */
static bool tcpzc_sq_settle(struct tcpzc_qp *qp, u64 now)
{
	bool waited = qp->sq_flags & TCPZC_RING_BACKLOG;
	bool looks;

	if (now >= qp->look_at)
		qp->look_at = 0;
	if (tcpzc_sq_waits(qp)) {
		tcpzc_sq_flag(qp, TCPZC_RING_BACKLOG);
		return true;
	}
	if (!waited && (qp->look_at || tcpzc_sq_rings(qp)))
		return true;
	looks = waited && tcpzc_sq_promises(qp);
	qp->look_at = looks ? now + TCPZC_LOOK_NS : 0;
	tcpzc_sq_flag(qp, looks ? 0 : TCPZC_RING_NEED_WAKEUP);
	/* Pairs with the barrier between publishing and reading the flag. */
	return READ_ONCE(qp->sq->hdr->prod) == qp->seen;
}

/* ---- sending ------------------------------------------------------------ */

/*
 * Payload of regions goes as references to their pages if the route can do that
 * (TCP copies otherwise). UC's requests are complete before they are
 * acknowledged: they must be copied.
 */
static bool tcpzc_tx_by_reference(struct tcpzc_qp *qp, struct sock *sk)
{
	return (sk->sk_route_caps & NETIF_F_SG) && !tz_qp_is_uc(&qp->eng) &&
	       tcpzc_refer(qp, sk);
}

/* Hand one vector to TCP, @by_reference or not: bytes taken, or -errno. */
static int tcpzc_tx_vec(struct tcpzc_qp *qp, struct sock *sk,
			const struct tz_vec *vec, bool more, bool *by_reference)
{
	struct msghdr msg = { .msg_flags = MSG_DONTWAIT | MSG_NOSIGNAL };
	struct kvec kv = { .iov_base = vec->ptr, .iov_len = vec->len };
	u32 bytes = vec->len, n;

	*by_reference = false;
	if (vec->mr) {
		n = tcpzc_mr_bvec(tcpzc_mr_of(vec->mr), vec->off, vec->len,
				  qp->bvec, TCPZC_TX_BVECS, &bytes);
		*by_reference = tcpzc_tx_by_reference(qp, sk) &&
				tcpzc_mr_sendable(tcpzc_mr_of(vec->mr), vec->off,
						  &bytes);
		iov_iter_bvec(&msg.msg_iter, ITER_SOURCE, qp->bvec, n, bytes);
		if (*by_reference)
			msg.msg_flags |= MSG_SPLICE_PAGES;
	} else {
		iov_iter_kvec(&msg.msg_iter, ITER_SOURCE, &kv, 1, bytes);
	}
	if (more || bytes < vec->len)
		msg.msg_flags |= MSG_MORE;
	return tcp_sendmsg_locked(sk, &msg, bytes);
}

static void tcpzc_tx_note(struct tcpzc_qp *qp, const struct tz_vec *vec,
			  u32 bytes, bool ref)
{
	trace_tcpzc_send(qp, tz_qp_next_msn(&qp->eng), bytes, ref);
	if (!vec->mr)
		return;
	if (ref)
		tcpzc_referred(qp, tcpzc_mr_of(vec->mr));
	tcpzc_count(qp->dev, ref ? TCPZC_CNT_TX_ZCOPY_BYTES :
				   TCPZC_CNT_TX_COPY_BYTES, bytes);
}

enum tcpzc_tx {
	TCPZC_TX_OK,
	TCPZC_TX_FULL,		/* the socket takes no more now */
	TCPZC_TX_OVER		/* the stream is over */
};

/* All of one vector, which may take several calls. */
static enum tcpzc_tx tcpzc_tx_all(struct tcpzc_qp *qp, struct sock *sk,
				  struct tz_vec *vec, bool more, u64 now)
{
	while (vec->len) {
		bool ref;
		int sent = tcpzc_tx_vec(qp, sk, vec, more, &ref);

		if (sent == -EAGAIN || sent == -ENOMEM || sent == -ENOBUFS)
			return TCPZC_TX_FULL;
		if (sent <= 0)
			return TCPZC_TX_OVER;
		tcpzc_tx_note(qp, vec, sent, ref);
		tz_qp_tx_done(&qp->eng, sent, now);
		vec->off += sent;
		if (!vec->mr)
			vec->ptr += sent;
		vec->len -= sent;
	}
	return TCPZC_TX_OK;
}

static enum tcpzc_tx tcpzc_tx_batch(struct tcpzc_qp *qp, struct sock *sk,
				    struct tz_vec *vec, int n, u64 now)
{
	enum tcpzc_tx tx = TCPZC_TX_OK;
	int i;

	for (i = 0; i < n && tx == TCPZC_TX_OK; i++)
		tx = tcpzc_tx_all(qp, sk, &vec[i], i + 1 < n, now);
	return tx;
}

/*
 * The socket is ours, and qp->lock is held. Afterwards nothing is left to be
 * sent, or the socket's write_space callback or another pass will go on.
 */
static void tcpzc_tx(struct tcpzc_qp *qp, struct sock *sk, u64 now)
{
	struct tz_vec vec[TCPZC_TX_VECS];
	enum tcpzc_tx tx = TCPZC_TX_OK;
	int i, n;

	tcpzc_count(qp->dev, TCPZC_CNT_TX_TURNS, 1);
	qp->tx_busy = true;
	for (i = 0; i < TCPZC_TX_BATCHES && tx == TCPZC_TX_OK; i++) {
		if (!tcpzc_sq_rings(qp))
			tcpzc_sq_note(qp, now);
		tz_qp_tx_fill(&qp->eng, now);
		n = tz_qp_tx_peek(&qp->eng, vec, TCPZC_TX_VECS);
		if (!n)
			break;
		tx = tcpzc_tx_batch(qp, sk, vec, n, now);
	}
	qp->tx_busy = false;
	qp->tx_full_at = 0;
	switch (tx) {
	case TCPZC_TX_OVER:
		qp->conn.eof = true;
		break;
	case TCPZC_TX_FULL:
		tcpzc_count(qp->dev, TCPZC_CNT_TX_FULL, 1);
		trace_tcpzc_full(qp);
		/* With something on its way its acknowledgement makes room. */
		qp->tx_full_at = now;
		if (tcp_rtx_and_write_queues_empty(sk))
			qp->look_at = now + TCPZC_NOMEM_NS;
		break;
	case TCPZC_TX_OK:
		if (i == TCPZC_TX_BATCHES)
			queue_work(system_bh_wq, &qp->bh_work);
		break;
	}
}

/* ---- passes ------------------------------------------------------------- */

static void tcpzc_arm_timer(struct tcpzc_qp *qp, u64 now)
{
	u64 at = tz_dial_deadline(&qp->eng), by = at;

	/* The looks of many queue pairs share an interrupt. */
	if (qp->look_at) {
		at = min_not_zero(at, qp->look_at);
		by = min_not_zero(by, qp->look_at + TCPZC_LOOK_SLACK_NS);
	}
	if (!at || qp->dead)
		return;
	if (at <= now) {
		queue_work(system_bh_wq, &qp->bh_work);
		return;
	}
	/* One that fires too early finds nothing to do and is set anew. */
	if (hrtimer_is_queued(&qp->timer) && qp->timer_by <= by)
		return;
	qp->timer_by = by;
	hrtimer_start_range_ns(&qp->timer, ns_to_ktime(at), by - at,
			       HRTIMER_MODE_ABS_SOFT);
}

void tcpzc_conn_note(struct tcpzc_qp *qp)
{
	enum tz_dial_state now = tz_dial_state(&qp->eng);

	lockdep_assert_held(&qp->lock);
	if (qp->conn.noted == now)
		return;
	trace_tcpzc_conn(qp, qp->conn.noted, now);
	qp->conn.noted = now;
}

void tcpzc_io_detach(struct tcpzc_qp *qp)
{
	lockdep_assert_held(&qp->lock);
	tcpzc_refs_part(qp);
	qp->conn.wsk = NULL;
	qp->conn.rsk = NULL;
	qp->tx_full_at = 0;
	wake_up(&qp->conn.wait);
}

/* qp->lock is held. The stream, if there was one, is over; processes clean up. */
static void tcpzc_io_lost(struct tcpzc_qp *qp, u64 now)
{
	struct tcpzc_conn *c = &qp->conn;

	c->abort = !c->eof && tz_qp_must_reset(&qp->eng);
	c->over = true;
	if (tz_dial_connected(&qp->eng))
		tcpzc_count(qp->dev, TCPZC_CNT_CONNS_LOST, 1);
	tcpzc_io_detach(qp);
	tz_dial_lost(&qp->eng, now);
	queue_work(tcpzc_wq, &c->work);
}

/*
 * qp->lock is held: the connection's part of tcpzc_settle(). What a process must do
 * is left to one (tcpzc_conn_work()).
 */
static void tcpzc_settle_conn(struct tcpzc_qp *qp, u64 now)
{
	struct tcpzc_conn *c = &qp->conn;
	enum tz_act act = tz_dial_act(&qp->eng);

	if (act == TZ_ACT_CLOSE || (c->eof && act != TZ_ACT_RESET &&
				    tz_dial_connected(&qp->eng))) {
		tcpzc_io_lost(qp, now);
	} else if (act == TZ_ACT_RESET) {
		/* What is queued in the socket must not arrive any more. */
		tcpzc_io_detach(qp);
		queue_work(tcpzc_wq, &c->work);
	} else if (act != TZ_ACT_NONE) {
		queue_work(tcpzc_wq, &c->work);
	}
	tcpzc_conn_note(qp);
}

/* qp->lock is held: what follows from a visit to the engine. */
static void tcpzc_settle(struct tcpzc_qp *qp, u64 now)
{
	if (IS_ENABLED(CONFIG_KASAN)) {
		const char *why = tz_qp_check(&qp->eng);

		why = why ? why : tz_dial_check(&qp->eng);
		WARN_ONCE(why, "%s\n", why);
	}
	if (!tz_qp_is_ud(&qp->eng))
		tcpzc_settle_conn(qp, now);
	else if (tz_ud_tx_pending(&qp->eng) && !tcpzc_ud_full(qp))
		queue_work(tcpzc_wq, &qp->ud_work);
	if (!tcpzc_sq_settle(qp, now) || qp->rx_again)
		queue_work(system_bh_wq, &qp->bh_work);
	tcpzc_arm_timer(qp, now);
}

/* qp->lock is held; before anything else is asked of the engine. */
static void tcpzc_begin(struct tcpzc_qp *qp, u64 now)
{
	u64 at = tz_dial_deadline(&qp->eng);

	if (at && now >= at)
		tz_dial_timer(&qp->eng, now);
	tz_qp_kick(&qp->eng, now);
}

/* The socket @sk (NULL: there is none) is ours, and qp->lock is held. */
static void tcpzc_pass(struct tcpzc_qp *qp, struct sock *sk)
{
	struct tcpzc_conn *c = &qp->conn;
	u64 now = ktime_get_ns();

	if (qp->dead)
		return;
	tcpzc_sq_look(qp, now);
	tcpzc_begin(qp, now);
	if (sk && sk == c->rsk)
		tcpzc_rx(qp, sk, now);
	if (sk && sk == c->wsk && tz_dial_state(&qp->eng) == TZ_DIAL_UP &&
	    !c->eof) {
		tcpzc_tx(qp, sk, now);
		/* The peer has hung up: what it said may be the reason. */
		if (c->eof && sk == c->rsk)
			tcpzc_rx(qp, sk, now);
		tcpzc_alive_settle(qp, sk);
	}
	tcpzc_settle(qp, now);
}

/* A reference to one of the QP's sockets, if it has them. */
static struct sock *tcpzc_sk_get(struct tcpzc_qp *qp, bool to_read)
{
	struct sock *sk;

	spin_lock(&qp->lock);
	sk = to_read ? qp->conn.rsk : qp->conn.wsk;
	if (sk)
		sock_hold(sk);
	spin_unlock(&qp->lock);
	return sk;
}

/* A pass on @sk with its spinlock. Bottom halves are off. */
static void tcpzc_pass_on(struct tcpzc_qp *qp, struct sock *sk)
{
	bh_lock_sock(sk);
	if (sock_owned_by_user(sk)) {
		tcpzc_count(qp->dev, TCPZC_CNT_TX_OWNED, 1);
		spin_lock(&qp->lock);
		/* Not behind its cancellation: see tcpzc_io_exit(). */
		if (!qp->dead)
			queue_work(tcpzc_wq, &qp->conn.owned_work);
		spin_unlock(&qp->lock);
	} else {
		spin_lock(&qp->lock);
		tcpzc_pass(qp, sk == qp->conn.wsk || sk == qp->conn.rsk ?
				       sk : NULL);
		spin_unlock(&qp->lock);
	}
	bh_unlock_sock(sk);
}

void tcpzc_io_run(struct tcpzc_qp *qp)
{
	struct sock *wsk, *rsk;

	local_bh_disable();
	wsk = tcpzc_sk_get(qp, false);
	rsk = tcpzc_sk_get(qp, true);
	if (rsk && rsk != wsk)
		tcpzc_pass_on(qp, rsk);
	if (wsk) {
		tcpzc_pass_on(qp, wsk);
	} else {
		spin_lock(&qp->lock);
		tcpzc_pass(qp, NULL);
		spin_unlock(&qp->lock);
	}
	local_bh_enable();
	if (wsk)
		sock_put(wsk);
	if (rsk)
		sock_put(rsk);
}

static void tcpzc_bh_work(struct work_struct *work)
{
	tcpzc_io_run(container_of(work, struct tcpzc_qp, bh_work));
}

/* Wait for the process that owns the socket, then try again. */
static void tcpzc_owned_work(struct work_struct *work)
{
	struct tcpzc_qp *qp = container_of(work, struct tcpzc_qp,
					   conn.owned_work);
	struct sock *sk;

	local_bh_disable();
	sk = tcpzc_sk_get(qp, false);
	local_bh_enable();
	if (sk) {
		lock_sock(sk);
		release_sock(sk);
		sock_put(sk);
	}
	tcpzc_io_run(qp);
}

static enum hrtimer_restart tcpzc_timer(struct hrtimer *timer)
{
	struct tcpzc_qp *qp = container_of(timer, struct tcpzc_qp, timer);

	queue_work(system_bh_wq, &qp->bh_work);
	return HRTIMER_NORESTART;
}

void tcpzc_io_kick(struct tcpzc_qp *qp)
{
	if (!READ_ONCE(qp->dead))
		queue_work(system_bh_wq, &qp->bh_work);
}

/*
 * Programs post their last message and disconnect without waiting for it, and
 * their peers hear of it by another way: an adapter would have sent it, and have
 * acknowledged what has arrived. qp->mutex is held.
 */
void tcpzc_io_catch_up(struct tcpzc_qp *qp)
{
	spin_lock_bh(&qp->lock);
	tz_qp_ack_now(&qp->eng);
	spin_unlock_bh(&qp->lock);
	if (tz_qp_is_ud(&qp->eng))
		tcpzc_ud_run(qp);
	tcpzc_io_run(qp);
}

/* ---- the sockets' callbacks --------------------------------------------- */

/*
 * They are called with the socket's spinlock, or by the process that owns it;
 * tcpzc_sk_abandon() owns it to take @sk_user_data away. So the QP is there as
 * long as they run.
 */
static void tcpzc_data_ready(struct sock *sk)
{
	struct tcpzc_qp *qp = sk->sk_user_data;
	u64 now;

	if (!qp)
		return;
	spin_lock_bh(&qp->lock);
	if (qp->conn.rsk == sk && !qp->dead) {
		now = ktime_get_ns();
		tcpzc_begin(qp, now);
		tcpzc_rx(qp, sk, now);
		/* What has just arrived may be answered already. */
		if (!tcpzc_sq_rings(qp))
			tcpzc_sq_note(qp, now);
		tcpzc_settle(qp, now);
		if (tz_qp_tx_due(&qp->eng, now, qp->seen) && !qp->tx_full_at)
			queue_work(system_bh_wq, &qp->bh_work);
	} else if (tz_dial_state(&qp->eng) == TZ_DIAL_GREETING) {
		queue_work(tcpzc_wq, &qp->conn.work);
	}
	spin_unlock_bh(&qp->lock);
}

static void tcpzc_write_space(struct sock *sk)
{
	struct tcpzc_qp *qp = sk->sk_user_data;

	/* tcp_sendmsg_locked() says so itself if it has no memory. */
	if (!qp || !sk_stream_is_writeable(sk) || READ_ONCE(qp->tx_busy))
		return;
	clear_bit(SOCK_NOSPACE, &sk->sk_socket->flags);
	if (qp->conn.wsk == sk)
		queue_work(system_bh_wq, &qp->bh_work);
}

static void tcpzc_state_change(struct sock *sk)
{
	struct tcpzc_qp *qp = sk->sk_user_data;

	if (!qp)
		return;
	if (READ_ONCE(qp->conn.rsk) == sk)
		tcpzc_data_ready(sk);
	else if (READ_ONCE(qp->conn.wsk) == sk)
		queue_work(system_bh_wq, &qp->bh_work);
	else
		queue_work(tcpzc_wq, &qp->conn.work);
}

static void tcpzc_error_report(struct sock *sk)
{
	tcpzc_state_change(sk);
}

void tcpzc_sk_adopt(struct sock *sk, struct tcpzc_qp *qp)
{
	lock_sock(sk);
	write_lock_bh(&sk->sk_callback_lock);
	sk->sk_user_data = qp;
	sk->sk_data_ready = tcpzc_data_ready;
	sk->sk_write_space = tcpzc_write_space;
	sk->sk_state_change = tcpzc_state_change;
	sk->sk_error_report = tcpzc_error_report;
	write_unlock_bh(&sk->sk_callback_lock);
	sk->sk_allocation = GFP_ATOMIC;
	sk->sk_use_task_frag = false;
	release_sock(sk);
}

void tcpzc_sk_abandon(struct sock *sk)
{
	lock_sock(sk);
	write_lock_bh(&sk->sk_callback_lock);
	sk->sk_user_data = NULL;
	write_unlock_bh(&sk->sk_callback_lock);
	release_sock(sk);
}

void tcpzc_io_attach(struct tcpzc_qp *qp)
{
	struct tcpzc_conn *c = &qp->conn;
	bool up;

	spin_lock_bh(&qp->lock);
	/* If it has failed meanwhile tcpzc_conn_reset() follows. */
	up = tz_dial_up(&qp->eng, ktime_get_ns());
	if (up) {
		c->wsk = c->sock->sk;
		c->rsk = c->rsock->sk;
		c->eof = false;
		c->abort = false;
		c->asking = false;
		c->near.sk = NULL;
		qp->tx_full_at = 0;
		tcpzc_count(qp->dev, TCPZC_CNT_CONNS, 1);
	}
	tcpzc_conn_note(qp);
	spin_unlock_bh(&qp->lock);
	/* What came before the callbacks knew where to put it. */
	tcpzc_io_run(qp);
}

/* ---- life --------------------------------------------------------------- */

void tcpzc_io_init(struct tcpzc_qp *qp)
{
	INIT_WORK(&qp->bh_work, tcpzc_bh_work);
	INIT_WORK(&qp->conn.owned_work, tcpzc_owned_work);
	tcpzc_hrtimer_setup(&qp->timer, tcpzc_timer, CLOCK_MONOTONIC,
			    HRTIMER_MODE_ABS_SOFT);
	qp->sq_flags = TCPZC_RING_NEED_WAKEUP;
	WRITE_ONCE(qp->sq->hdr->flags, qp->sq_flags);
}

void tcpzc_io_exit(struct tcpzc_qp *qp)
{
	WARN_ON_ONCE(!qp->dead);
	tcpzc_srq_forget(qp);
	/* Nobody arms the timer or queues work any more. */
	hrtimer_cancel(&qp->timer);
	cancel_work_sync(&qp->conn.owned_work);
	cancel_work_sync(&qp->bh_work);
}

/* ---- doorbells ---------------------------------------------------------- */

int tcpzc_post_send(struct ib_qp *ibqp, const struct ib_send_wr *wr,
		    const struct ib_send_wr **bad_wr)
{
	struct tcpzc_qp *qp = to_tqp(ibqp);

	if (qp->kernel)
		return tcpzc_kpost_send(qp, wr, bad_wr);
	if (wr) {
		*bad_wr = wr;
		return -EINVAL;	/* applications post to their ring */
	}
	tcpzc_count(qp->dev, TCPZC_CNT_DOORBELLS, 1);
	trace_tcpzc_doorbell(qp, true);
	if (tz_qp_is_ud(&qp->eng))
		tcpzc_ud_send(qp);
	tcpzc_io_run(qp);
	return 0;
}

int tcpzc_post_recv(struct ib_qp *ibqp, const struct ib_recv_wr *wr,
		    const struct ib_recv_wr **bad_wr)
{
	struct tcpzc_qp *qp = to_tqp(ibqp);

	if (qp->kernel)
		return tcpzc_kpost_recv(qp, wr, bad_wr);
	if (wr) {
		*bad_wr = wr;
		return -EINVAL;
	}
	tcpzc_count(qp->dev, TCPZC_CNT_DOORBELLS, 1);
	trace_tcpzc_doorbell(qp, false);
	tcpzc_io_run(qp);
	return 0;
}

int tcpzc_post_srq_recv(struct ib_srq *ibsrq, const struct ib_recv_wr *wr,
			const struct ib_recv_wr **bad_wr)
{
	struct tcpzc_srq *srq = to_tsrq(ibsrq);

	if (!ibsrq->uobject)
		return tcpzc_kpost_srq_recv(srq, wr, bad_wr);
	if (wr) {
		*bad_wr = wr;
		return -EINVAL;
	}
	tcpzc_count(srq->dev, TCPZC_CNT_DOORBELLS, 1);
	tcpzc_srq_feed(srq);
	return 0;
}
