// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * conn.c - a queue pair's sockets: what tz_dial.h asks for, done with TCP.
 * Everything here may sleep and runs under qp->mutex; the data path (io.c) sees
 * the result under qp->lock, which protects the connection's state as it does the
 * rest of the engine.
 */
#include <linux/random.h>
#include <net/ip.h>
#include <net/ipv6.h>
#include <net/tcp.h>

#include "tcpzc.h"

/* ---- addresses ---------------------------------------------------------- */

int tcpzc_gid_to_addr(const struct tcpzc_dev *dev, const u8 gid[16], u16 port,
		      struct sockaddr_storage *ss)
{
	const struct in6_addr *addr = (const struct in6_addr *)gid;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ss;
	struct sockaddr_in *in = (struct sockaddr_in *)ss;

	memset(ss, 0, sizeof(*ss));
	if (tz_gid_is_v4(gid)) {
		in->sin_family = AF_INET;
		in->sin_port = htons(port);
		in->sin_addr.s_addr = addr->s6_addr32[3];
		return sizeof(*in);
	}
	in6->sin6_family = AF_INET6;
	in6->sin6_port = htons(port);
	in6->sin6_addr = *addr;
	if (ipv6_addr_type(addr) & IPV6_ADDR_LINKLOCAL)
		in6->sin6_scope_id = dev->ifindex;
	return sizeof(*in6);
}

static void tcpzc_addr_to_gid(const struct sockaddr_storage *ss, u8 gid[16])
{
	struct in6_addr *addr = (struct in6_addr *)gid;

	if (ss->ss_family == AF_INET6)
		*addr = ((struct sockaddr_in6 *)ss)->sin6_addr;
	else
		ipv6_addr_set_v4mapped(((struct sockaddr_in *)ss)->sin_addr.s_addr,
				       addr);
}

bool tcpzc_peer_gid(struct socket *sock, u8 gid[16])
{
	struct sockaddr_storage ss;

	if (kernel_getpeername(sock, (struct sockaddr *)&ss) < 0)
		return false;
	tcpzc_addr_to_gid(&ss, gid);
	return true;
}

bool tcpzc_own_gid(struct socket *sock, u8 gid[16])
{
	struct sockaddr_storage ss;

	if (kernel_getsockname(sock, (struct sockaddr *)&ss) < 0)
		return false;
	tcpzc_addr_to_gid(&ss, gid);
	return true;
}

/* The port at which a queue pair of that number is reachable. */
u16 tcpzc_qpn_port(u32 qpn)
{
	return qpn >> 8 >= TZ_FIRST_USER_PORT ? qpn >> 8 : tcpzc_port;
}

/* ---- sockets ------------------------------------------------------------ */

static void tcpzc_set_tclass(struct tcpzc_qp *qp, struct sock *sk)
{
	u8 tclass = rdma_ah_read_grh(&qp->attr.ah_attr)->traffic_class;

	ip_sock_set_tos(sk, tclass);
	if (sk->sk_family != AF_INET6)
		return;
	lock_sock(sk);
	inet6_sk(sk)->tclass = tclass;
	release_sock(sk);
}

/* Options of a connection's socket: no delay, congestion control, DSCP. */
static void tcpzc_tune(struct tcpzc_qp *qp, struct socket *sock)
{
	tcp_sock_set_nodelay(sock->sk);
	tcpzc_set_tclass(qp, sock->sk);
	/* It was there when the parameter was set; it may have gone since. */
	if (tcpzc_cc && *tcpzc_cc &&
	    sock->ops->setsockopt(sock, SOL_TCP, TCP_CONGESTION,
				  KERNEL_SOCKPTR(tcpzc_cc), strlen(tcpzc_cc)))
		ibdev_warn_ratelimited(&qp->dev->ib,
				       "no congestion control %s\n", tcpzc_cc);
}

int tcpzc_send_hello(struct socket *sock, const struct tz_hello *hello)
{
	struct kvec kv = { .iov_base = (void *)hello, .iov_len = sizeof(*hello) };
	struct msghdr msg = { .msg_flags = MSG_DONTWAIT | MSG_NOSIGNAL };
	int n = kernel_sendmsg(sock, &msg, &kv, 1, sizeof(*hello));

	if (n < 0)
		return n;
	return n == sizeof(*hello) ? 0 : -EIO;
}

int tcpzc_recv_hello(struct socket *sock, u8 *ptr, u32 bytes)
{
	struct kvec kv = { .iov_base = ptr, .iov_len = bytes };
	struct msghdr msg = {};
	int n = kernel_recvmsg(sock, &msg, &kv, 1, bytes,
			       MSG_DONTWAIT | MSG_NOSIGNAL);

	return n ? n : -ECONNRESET;
}

/* ---- the end ------------------------------------------------------------ */

/* @established: the peer may still have to read what was sent last. */
static void tcpzc_hang_up(struct tcpzc_qp *qp, struct socket *sock,
			  bool established)
{
	tcpzc_sk_abandon(sock->sk);
	if (established && !qp->conn.abort)
		tcpzc_linger(qp->dev->tnet, sock,
			     tz_qp_is_uc(&qp->eng) ? TZ_LINGER_UC : TZ_LINGER_RC);
	else
		tcpzc_sock_reset(sock);
}

/* Give up the sockets, which no pass uses any more. */
static void tcpzc_conn_release(struct tcpzc_qp *qp, bool established)
{
	struct tcpzc_conn *c = &qp->conn;
	struct socket *sock = c->sock, *rsock = c->rsock;

	c->sock = NULL;
	c->rsock = NULL;
	if (rsock && rsock != sock)
		tcpzc_hang_up(qp, rsock, established);
	if (sock)
		tcpzc_hang_up(qp, sock, established);
}

static struct tcpzc_caller *tcpzc_conn_unpark(struct tcpzc_qp *qp)
{
	struct tz_caller *call;

	spin_lock_bh(&qp->lock);
	call = tz_dial_unpark(&qp->eng);
	spin_unlock_bh(&qp->lock);
	return call ? container_of(call, struct tcpzc_caller, call) : NULL;
}

/* The engine knows already that the stream is over (io.c). */
static void tcpzc_conn_put_away(struct tcpzc_qp *qp)
{
	struct tcpzc_conn *c = &qp->conn;
	bool over;

	spin_lock_bh(&qp->lock);
	over = c->over;
	c->over = false;
	spin_unlock_bh(&qp->lock);
	if (over)
		tcpzc_conn_release(qp, true);
}

/* First nothing of it can arrive any more, then the engine hears of it. */
static void tcpzc_conn_reset(struct tcpzc_qp *qp)
{
	tcpzc_conn_release(qp, false);
	spin_lock_bh(&qp->lock);
	tcpzc_count(qp->dev, tz_dial_connected(&qp->eng) ?
				     TCPZC_CNT_CONNS_LOST :
				     TCPZC_CNT_CONN_RETRIES, 1);
	tz_dial_lost(&qp->eng, ktime_get_ns());
	tcpzc_conn_note(qp);
	spin_unlock_bh(&qp->lock);
}

static void tcpzc_conn_half_close(struct tcpzc_qp *qp)
{
	bool still;

	spin_lock_bh(&qp->lock);
	still = tz_dial_act(&qp->eng) == TZ_ACT_HALF_CLOSE;
	if (still) {
		tz_dial_parting(&qp->eng);
		tcpzc_conn_note(qp);
	}
	spin_unlock_bh(&qp->lock);
	if (still)
		kernel_sock_shutdown(qp->conn.sock, SHUT_WR);
}

bool tcpzc_conn_part(struct tcpzc_qp *qp)
{
	struct tcpzc_conn *c = &qp->conn;
	bool part;

	lockdep_assert_held(&qp->mutex);
	spin_lock_bh(&qp->lock);
	part = c->wsk && tz_dial_part(&qp->eng);
	if (part)
		tcpzc_conn_note(qp);
	spin_unlock_bh(&qp->lock);
	if (part)
		kernel_sock_shutdown(c->sock, SHUT_WR);
	return part;
}

/* Nearly always the peer has read everything and closes its end within a moment. */
static void tcpzc_conn_await_end(struct tcpzc_qp *qp, u64 until)
{
	u64 now = ktime_get_ns();

	if (now < until)
		wait_event_timeout(qp->conn.wait, READ_ONCE(qp->conn.eof),
				   nsecs_to_jiffies(until - now) + 1);
}

void tcpzc_conn_close(struct tcpzc_qp *qp, void (*end)(struct tcpzc_qp *qp),
		      u64 until)
{
	struct tcpzc_conn *c = &qp->conn;
	struct tcpzc_caller *caller;
	bool established;

	if (tcpzc_conn_part(qp))
		tcpzc_conn_await_end(qp, until);
	spin_lock_bh(&qp->lock);
	/* Also for what was posted since then. */
	c->abort |= !c->eof && tz_qp_must_reset(&qp->eng);
	established = tz_dial_connected(&qp->eng) || c->over;
	c->over = false;
	tcpzc_io_detach(qp);
	end(qp);
	tcpzc_conn_note(qp);
	spin_unlock_bh(&qp->lock);
	tcpzc_conn_release(qp, established);
	while ((caller = tcpzc_conn_unpark(qp)))
		tcpzc_caller_free(caller);
	c->abort = false;
	c->eof = false;
}

/* ---- callers ------------------------------------------------------------ */

static enum tz_call tcpzc_conn_judge(struct tcpzc_qp *qp,
				     struct tcpzc_caller *caller,
				     struct tz_hello *answer)
{
	enum tz_call call = TZ_CALL_REFUSED;

	spin_lock_bh(&qp->lock);
	if (!qp->dead)
		call = tz_dial_call(&qp->eng, &caller->call, answer,
				    ktime_get_ns());
	tcpzc_conn_note(qp);
	spin_unlock_bh(&qp->lock);
	return call;
}

/* The answer is sent first; the socket is the queue pair's from now on. */
static void tcpzc_conn_take(struct tcpzc_qp *qp, struct socket *sock,
			    const struct tz_hello *answer)
{
	struct tcpzc_conn *c = &qp->conn;

	WARN_ON_ONCE(c->sock);
	tcpzc_tune(qp, sock);
	tcpzc_sk_adopt(sock->sk, qp);
	c->sock = sock;
	c->rsock = sock;
	if (tcpzc_send_hello(sock, answer))
		tcpzc_conn_reset(qp);
	else
		tcpzc_io_attach(qp);
}

static void tcpzc_conn_accept(struct tcpzc_qp *qp, struct tcpzc_caller *caller)
{
	struct tz_hello answer;

	switch (tcpzc_conn_judge(qp, caller, &answer)) {
	case TZ_CALL_PARKED:
		break;
	case TZ_CALL_TAKEN:
		tcpzc_conn_take(qp, tcpzc_caller_sock(caller), &answer);
		break;
	case TZ_CALL_OWN:
		qp->conn.rsock = tcpzc_caller_sock(caller);
		tcpzc_sk_adopt(qp->conn.rsock->sk, qp);
		tcpzc_io_attach(qp);
		break;
	case TZ_CALL_REFUSED:
		tcpzc_count(qp->dev, TCPZC_CNT_HELLOS_REFUSED, 1);
		tcpzc_caller_refuse(caller, TZ_HELLO_REFUSED);
		break;
	}
}

/* ---- dialing ------------------------------------------------------------ */

static int tcpzc_conn_dial(struct tcpzc_qp *qp)
{
	const struct tz_qp_attr *a = tz_qp_attrs(&qp->eng);
	struct tcpzc_conn *c = &qp->conn;
	struct sockaddr_storage from, to;
	int from_len, to_len, rc;

	from_len = tcpzc_gid_to_addr(qp->dev, a->sgid, 0, &from);
	to_len = tcpzc_gid_to_addr(qp->dev, a->dgid,
				   tcpzc_qpn_port(a->dest_qpn), &to);
	rc = sock_create_kern(qp->dev->net, to.ss_family, SOCK_STREAM,
			      IPPROTO_TCP, &c->sock);
	if (rc)
		return rc;
	tcpzc_tune(qp, c->sock);
	/* The kernel is to choose the port late, knowing both addresses. */
	inet_set_bit(BIND_ADDRESS_NO_PORT, c->sock->sk);
	tcpzc_sk_adopt(c->sock->sk, qp);
	rc = kernel_bind(c->sock, tcpzc_sockaddr(&from), from_len);
	if (rc)
		return rc;
	rc = kernel_connect(c->sock, tcpzc_sockaddr(&to), to_len, O_NONBLOCK);
	if (rc && rc != -EINPROGRESS)
		return rc;
	/* It may be established at once, on the way to an own address. */
	queue_work(tcpzc_wq, &c->work);
	return 0;
}

static void tcpzc_conn_open(struct tcpzc_qp *qp)
{
	bool still;

	WARN_ON_ONCE(qp->conn.sock);
	spin_lock_bh(&qp->lock);
	still = !qp->dead && tz_dial_act(&qp->eng) == TZ_ACT_OPEN;
	if (still) {
		tz_dial_opening(&qp->eng, ktime_get_ns());
		tcpzc_conn_note(qp);
	}
	spin_unlock_bh(&qp->lock);
	if (still && tcpzc_conn_dial(qp))
		tcpzc_conn_reset(qp);
}

static void tcpzc_conn_greet(struct tcpzc_qp *qp)
{
	struct tcpzc_conn *c = &qp->conn;
	struct tz_hello hello;

	if (c->sock->sk->sk_state == TCP_SYN_SENT)
		return;		/* still connecting */
	if (c->sock->sk->sk_state != TCP_ESTABLISHED) {
		tcpzc_conn_reset(qp);
		return;
	}
	spin_lock_bh(&qp->lock);
	tz_dial_hello(&qp->eng, get_random_u64(), &hello);
	tcpzc_conn_note(qp);
	spin_unlock_bh(&qp->lock);
	if (tcpzc_send_hello(c->sock, &hello))
		tcpzc_conn_reset(qp);
}

/*
 * Read the peer's hello, up to the socket's own -EAGAIN: no callback says once
 * more that the end has come.
 */
static void tcpzc_conn_listen_to(struct tcpzc_qp *qp)
{
	struct tcpzc_conn *c = &qp->conn;
	enum tz_hello_got got;
	u32 want;
	u8 *ptr;
	int n;

	do {
		want = tz_dial_want(&qp->eng, &ptr);
		n = tcpzc_recv_hello(c->sock, ptr, want);
		if (n == -EAGAIN)
			return;
		got = TZ_HELLO_GARBAGE;
		if (n > 0) {
			spin_lock_bh(&qp->lock);
			got = tz_dial_take(&qp->eng, n, ktime_get_ns());
			spin_unlock_bh(&qp->lock);
		}
	} while (got == TZ_HELLO_MORE);
	if (got == TZ_HELLO_COMPLETE) {
		c->rsock = c->sock;
		tcpzc_io_attach(qp);
	} else {
		tcpzc_conn_reset(qp);
	}
}

/* ---- steps -------------------------------------------------------------- */

static void tcpzc_conn_step(struct tcpzc_qp *qp)
{
	enum tz_dial_state state;
	enum tz_act act;

	lockdep_assert_held(&qp->mutex);
	tcpzc_conn_put_away(qp);
	spin_lock_bh(&qp->lock);
	act = tz_dial_act(&qp->eng);
	state = tz_dial_state(&qp->eng);
	spin_unlock_bh(&qp->lock);
	switch (act) {
	case TZ_ACT_OPEN:
		tcpzc_conn_open(qp);
		break;
	case TZ_ACT_HALF_CLOSE:
		tcpzc_conn_half_close(qp);
		break;
	case TZ_ACT_RESET:
		tcpzc_conn_reset(qp);
		break;
	case TZ_ACT_CLOSE:
		break;		/* the next pass does it */
	case TZ_ACT_NONE:
		if (state == TZ_DIAL_OPENING)
			tcpzc_conn_greet(qp);
		else if (state == TZ_DIAL_GREETING && !qp->conn.rsock)
			tcpzc_conn_listen_to(qp);
		break;
	}
}

static void tcpzc_conn_work(struct work_struct *work)
{
	struct tcpzc_qp *qp = container_of(work, struct tcpzc_qp, conn.work);

	mutex_lock(&qp->mutex);
	tcpzc_conn_step(qp);
	/* Completions may have others follow; and there are new times. */
	tcpzc_io_run(qp);
	mutex_unlock(&qp->mutex);
}

/* A caller says nothing after its hello: what can be read is the end. */
static bool tcpzc_hung_up(const struct sock *sk)
{
	return sk->sk_state != TCP_ESTABLISHED ||
	       !skb_queue_empty_lockless(&sk->sk_receive_queue);
}

void tcpzc_conn_start(struct tcpzc_qp *qp)
{
	struct tcpzc_caller *caller;

	tcpzc_conn_step(qp);
	while ((caller = tcpzc_conn_unpark(qp))) {
		if (tcpzc_hung_up(caller->sock->sk))
			tcpzc_caller_free(caller);
		else
			tcpzc_conn_accept(qp, caller);
	}
	tcpzc_io_run(qp);
}

void tcpzc_conn_offer(struct tcpzc_qp *qp, struct tcpzc_caller *caller)
{
	mutex_lock(&qp->mutex);
	/* A stale peer's connection may be over, and not yet put away. */
	tcpzc_conn_step(qp);
	tcpzc_conn_accept(qp, caller);
	tcpzc_io_run(qp);
	mutex_unlock(&qp->mutex);
}

void tcpzc_conn_init(struct tcpzc_qp *qp)
{
	INIT_WORK(&qp->conn.work, tcpzc_conn_work);
	init_waitqueue_head(&qp->conn.wait);
}

void tcpzc_conn_exit(struct tcpzc_qp *qp)
{
	struct tcpzc_conn *c = &qp->conn;

	cancel_work_sync(&c->work);
	/* No socket calls back for a queue pair that has gone. */
	WARN_ON_ONCE(c->sock || c->rsock || tcpzc_conn_unpark(qp) ||
		     tz_dial_state(&qp->eng) != TZ_DIAL_IDLE);
}
