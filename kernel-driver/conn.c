// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * conn.c - a queue pair's connection: dialing and the hand-shake, parked
 * connections of a peer that was faster, the end. Everything here may sleep
 * and runs under qp->mutex; the data path (io.c) sees the result under
 * qp->lock. What the two ends say to each other is in docs/protocol.md.
 */
#include <linux/random.h>
#include <net/ip.h>
#include <net/ipv6.h>
#include <net/tcp.h>

#include "tcpzc.h"

#define TCPZC_BACKOFF_MIN_MS	1
#define TCPZC_BACKOFF_MAX_MS	500
#define TCPZC_PART_MS		200

/* ---- addresses ---------------------------------------------------------- */

int tcpzc_gid_to_addr(const struct tcpzc_dev *dev, const u8 gid[16], u16 port,
		      struct sockaddr_storage *ss)
{
	const struct in6_addr *addr = (const struct in6_addr *)gid;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ss;
	struct sockaddr_in *in = (struct sockaddr_in *)ss;

	memset(ss, 0, sizeof(*ss));
	if (ipv6_addr_v4mapped(addr)) {
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
	return qpn >> 8 >= 1024 ? qpn >> 8 : tcpzc_port;
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

/* Up to the socket's own -EAGAIN: nobody says once more that the end has come. */
int tcpzc_recv_hello(struct socket *sock, struct tz_hello *hello, u32 *got)
{
	while (*got < sizeof(*hello)) {
		struct kvec kv = {
			.iov_base = (u8 *)hello + *got,
			.iov_len = sizeof(*hello) - *got,
		};
		struct msghdr msg = {};
		int n = kernel_recvmsg(sock, &msg, &kv, 1, kv.iov_len,
				       MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n <= 0)
			return n ? n : -ECONNRESET;
		*got += n;
		/* Who does not begin like a peer is none. */
		if (*got >= sizeof(hello->magic) &&
		    le32_to_cpu(hello->magic) != TZ_HELLO_MAGIC)
			return -EPROTO;
	}
	return 0;
}

static void tcpzc_refuse(struct tcpzc_dev *dev, struct socket *sock,
			 const struct tz_hello *in)
{
	struct tz_hello hello;

	tcpzc_count(dev, TCPZC_CNT_HELLOS_REFUSED, 1);
	tz_shake_refuse(in, TZ_HELLO_REFUSED, &hello);
	tcpzc_send_hello(sock, &hello);
	tcpzc_linger_refused(dev->tnet, sock);
}

/* ---- the end ------------------------------------------------------------ */

/*
 * A step on the way to a connection. False: the engine has failed since the caller
 * looked; tcpzc_conn_done() follows, and puts away what there is.
 */
static bool tcpzc_conn_go(struct tcpzc_qp *qp, enum tcpzc_conn_state to)
{
	bool may;

	spin_lock_bh(&qp->lock);
	may = tcpzc_conn_wanted(qp);
	if (may)
		tcpzc_conn_move(qp, to);
	spin_unlock_bh(&qp->lock);
	return may;
}

/* @established: the peer may still have to read what was sent last. */
static void tcpzc_hang_up(struct tcpzc_qp *qp, struct socket *sock,
			  bool established)
{
	tcpzc_sk_abandon(sock->sk);
	if (established && !qp->conn.abort)
		tcpzc_linger(qp->dev->tnet, sock, tz_qp_is_uc(&qp->eng));
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

static void tcpzc_conn_drop_parked(struct tcpzc_conn *c)
{
	while (c->num_parked)
		tcpzc_sock_reset(c->parked[--c->num_parked].sock);
}

/*
 * The application may use its memory as soon as this returns, and what is on its
 * way must not be executed later. Nearly always the peer has read everything and
 * closes its end within a moment; otherwise what it has not read is cut off.
 */
static void tcpzc_conn_part(struct tcpzc_qp *qp)
{
	struct tcpzc_conn *c = &qp->conn;
	bool part;

	spin_lock_bh(&qp->lock);
	part = (c->state == TCPZC_CONN_UP || c->state == TCPZC_CONN_PARTING) &&
	       tz_qp_must_reset(&qp->eng);
	if (part)
		tcpzc_conn_move(qp, TCPZC_CONN_PARTING);
	spin_unlock_bh(&qp->lock);
	if (!part)
		return;
	kernel_sock_shutdown(c->sock, SHUT_WR);
	wait_event_timeout(c->wait, READ_ONCE(c->eof),
			   msecs_to_jiffies(TCPZC_PART_MS));
}

void tcpzc_conn_close(struct tcpzc_qp *qp, void (*end)(struct tcpzc_qp *qp))
{
	struct tcpzc_conn *c = &qp->conn;
	enum tcpzc_conn_state was;

	lockdep_assert_held(&qp->mutex);
	tcpzc_conn_part(qp);
	spin_lock_bh(&qp->lock);
	/* Also for what was posted since then. */
	c->abort |= !c->eof && tz_qp_must_reset(&qp->eng);
	was = tcpzc_io_detach(qp);
	end(qp);
	spin_unlock_bh(&qp->lock);
	tcpzc_conn_release(qp, was == TCPZC_CONN_UP ||
			       was == TCPZC_CONN_PARTING ||
			       was == TCPZC_CONN_DONE);
	tcpzc_conn_drop_parked(c);
	c->backoff_ms = 0;
	c->abort = false;
	c->eof = false;
}

/* ---- accepting ---------------------------------------------------------- */

static void tcpzc_conn_up(struct tcpzc_qp *qp, u32 max_pdu)
{
	qp->conn.backoff_ms = 0;
	tcpzc_io_attach(qp, max_pdu);
}

/* What the engine says to a call. */
static bool tcpzc_call_ok(struct tcpzc_qp *qp, const struct tz_hello *hello,
			  u32 *max_pdu)
{
	enum tz_hello_status why;

	spin_lock_bh(&qp->lock);
	why = tz_shake_judge_call(&qp->eng, hello, ktime_get_ns(), max_pdu);
	spin_unlock_bh(&qp->lock);
	return why == TZ_HELLO_OK;
}

/* The connection must also come from where it says it does. */
static bool tcpzc_conn_from_peer(const struct tcpzc_qp *qp, struct socket *sock)
{
	u8 gid[16];

	return tcpzc_peer_gid(sock, gid) &&
	       !memcmp(gid, qp->eng.attr.dgid, sizeof(gid));
}

/* The other end of a QP's connection to itself. */
static bool tcpzc_conn_is_self(const struct tcpzc_qp *qp,
			       const struct tz_hello *hello)
{
	return tz_shake_role(&qp->eng.attr, qp->eng.init.qpn) == TZ_ROLE_SELF &&
	       qp->conn.state == TCPZC_CONN_GREETING && !qp->conn.rsock &&
	       le64_to_cpu(hello->session_id) == qp->conn.session_id;
}

static bool tcpzc_conn_may_accept(const struct tcpzc_qp *qp)
{
	return tz_shake_role(&qp->eng.attr, qp->eng.init.qpn) ==
		       TZ_ROLE_ACCEPT && qp->conn.state == TCPZC_CONN_IDLE;
}

static void tcpzc_conn_answer(struct tcpzc_qp *qp, struct socket *sock,
			      const struct tz_hello *hello, u32 max_pdu)
{
	struct tz_hello answer;

	spin_lock_bh(&qp->lock);
	tz_shake_answer(&qp->eng, le64_to_cpu(hello->session_id), &answer);
	spin_unlock_bh(&qp->lock);
	tcpzc_tune(qp, sock);
	if (tcpzc_send_hello(sock, &answer)) {
		tcpzc_sock_reset(sock);
		return;
	}
	WARN_ON_ONCE(qp->conn.sock);
	tcpzc_sk_adopt(sock->sk, qp);
	qp->conn.sock = sock;
	qp->conn.rsock = sock;
	tcpzc_conn_up(qp, max_pdu);
}

static void tcpzc_conn_accept(struct tcpzc_qp *qp, struct socket *sock,
			      const struct tz_hello *hello)
{
	bool self = tcpzc_conn_is_self(qp, hello);
	u32 max_pdu = 0;

	/* Only whom this QP could take may have a guess at the PSN. */
	if (!tcpzc_conn_from_peer(qp, sock) ||
	    (!self && !tcpzc_conn_may_accept(qp)) ||
	    !tcpzc_call_ok(qp, hello, &max_pdu)) {
		tcpzc_refuse(qp->dev, sock, hello);
	} else if (self) {
		tcpzc_sk_adopt(sock->sk, qp);
		qp->conn.rsock = sock;
		tcpzc_conn_up(qp, max_pdu);
	} else {
		tcpzc_conn_answer(qp, sock, hello, max_pdu);
	}
}

static void tcpzc_conn_park(struct tcpzc_qp *qp, struct socket *sock,
			    const struct tz_hello *hello)
{
	struct tcpzc_conn *c = &qp->conn;

	if (c->num_parked == TCPZC_MAX_PARKED) {
		tcpzc_refuse(qp->dev, sock, hello);
		return;
	}
	c->parked[c->num_parked].sock = sock;
	c->parked[c->num_parked].hello = *hello;
	c->num_parked++;
}

/* The dialing side says nothing after its hello: what can be read is the end. */
static bool tcpzc_hung_up(const struct sock *sk)
{
	return sk->sk_state != TCP_ESTABLISHED ||
	       !skb_queue_empty_lockless(&sk->sk_receive_queue);
}

/* The newest first: the peer may have tried, reset its QP, and tried again. */
static void tcpzc_conn_accept_parked(struct tcpzc_qp *qp)
{
	struct tcpzc_conn *c = &qp->conn;

	while (c->num_parked) {
		struct tcpzc_parked *p = &c->parked[--c->num_parked];

		if (tcpzc_hung_up(p->sock->sk))
			tcpzc_sock_reset(p->sock);
		else
			tcpzc_conn_accept(qp, p->sock, &p->hello);
	}
}

/* ---- dialing ------------------------------------------------------------ */

/* Not this time; again a little later, for as long as the QP exists. */
static void tcpzc_conn_back_off(struct tcpzc_qp *qp)
{
	struct tcpzc_conn *c = &qp->conn;

	if (!tcpzc_conn_go(qp, TCPZC_CONN_BACKOFF))
		return;
	tcpzc_conn_release(qp, false);
	tcpzc_count(qp->dev, TCPZC_CNT_CONN_RETRIES, 1);
	c->backoff_ms = clamp(2 * c->backoff_ms, TCPZC_BACKOFF_MIN_MS,
			      TCPZC_BACKOFF_MAX_MS);
	mod_delayed_work(tcpzc_wq, &c->work, msecs_to_jiffies(c->backoff_ms));
}

static int tcpzc_conn_dial(struct tcpzc_qp *qp)
{
	const struct tz_qp_attr *a = &qp->eng.attr;
	struct tcpzc_conn *c = &qp->conn;
	struct sockaddr_storage from, to;
	int from_len, to_len, rc;

	if (WARN_ON_ONCE(c->sock) || !tcpzc_conn_go(qp, TCPZC_CONN_DIALING))
		return 0;
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
	mod_delayed_work(tcpzc_wq, &c->work, 0);
	return 0;
}

static void tcpzc_conn_greet(struct tcpzc_qp *qp)
{
	struct tcpzc_conn *c = &qp->conn;
	struct tz_hello hello;

	if (c->sock->sk->sk_state == TCP_SYN_SENT)
		return;		/* still connecting */
	if (c->sock->sk->sk_state != TCP_ESTABLISHED) {
		tcpzc_conn_back_off(qp);
		return;
	}
	c->session_id = get_random_u64();
	c->hello_got = 0;
	if (!tcpzc_conn_go(qp, TCPZC_CONN_GREETING))
		return;
	spin_lock_bh(&qp->lock);
	tz_shake_call(&qp->eng, c->session_id, &hello);
	spin_unlock_bh(&qp->lock);
	if (tcpzc_send_hello(c->sock, &hello))
		tcpzc_conn_back_off(qp);
}

static bool tcpzc_answer_ok(struct tcpzc_qp *qp, u32 *max_pdu)
{
	const struct tz_hello *h = &qp->conn.hello;
	enum tz_hello_status why;

	if (tz_shake_check(h) != TZ_HELLO_OK ||
	    le16_to_cpu(h->status) != TZ_HELLO_OK ||
	    le64_to_cpu(h->session_id) != qp->conn.session_id)
		return false;
	spin_lock_bh(&qp->lock);
	why = tz_shake_judge_answer(&qp->eng, h, ktime_get_ns(), max_pdu);
	spin_unlock_bh(&qp->lock);
	return why == TZ_HELLO_OK;
}

static void tcpzc_conn_listen_to(struct tcpzc_qp *qp)
{
	struct tcpzc_conn *c = &qp->conn;
	u32 max_pdu = 0;
	int rc;

	rc = tcpzc_recv_hello(c->sock, &c->hello, &c->hello_got);
	if (rc == -EAGAIN)
		return;
	if (rc || !tcpzc_answer_ok(qp, &max_pdu)) {
		tcpzc_conn_back_off(qp);
		return;
	}
	c->rsock = c->sock;
	tcpzc_conn_up(qp, max_pdu);
}

static void tcpzc_conn_open(struct tcpzc_qp *qp)
{
	switch (tz_shake_role(&qp->eng.attr, qp->eng.init.qpn)) {
	case TZ_ROLE_SELF:
	case TZ_ROLE_CONNECT:
		if (tcpzc_conn_dial(qp))
			tcpzc_conn_back_off(qp);
		break;
	case TZ_ROLE_ACCEPT:
		tcpzc_conn_accept_parked(qp);
		break;
	}
}

void tcpzc_conn_start(struct tcpzc_qp *qp)
{
	lockdep_assert_held(&qp->mutex);
	tcpzc_conn_open(qp);
	/* Those that are left were not for a QP with this role. */
	tcpzc_conn_drop_parked(&qp->conn);
}

void tcpzc_conn_ready_to_send(struct tcpzc_qp *qp)
{
	lockdep_assert_held(&qp->mutex);
	if (READ_ONCE(qp->conn.state) != TCPZC_CONN_BACKOFF)
		return;
	qp->conn.backoff_ms = 0;
	mod_delayed_work(tcpzc_wq, &qp->conn.work, 0);
}

/*
 * The connection is over (io.c). If it was a stranger who was hung up on, the
 * queue pair waits for its peer as before.
 */
static void tcpzc_conn_done(struct tcpzc_qp *qp)
{
	struct tcpzc_conn *c = &qp->conn;
	bool again;

	tcpzc_conn_release(qp, true);
	spin_lock_bh(&qp->lock);
	again = qp->eng.conn == TZ_CONN_NONE && tcpzc_engine_connects(qp);
	if (again)
		tcpzc_conn_move(qp, TCPZC_CONN_IDLE);
	spin_unlock_bh(&qp->lock);
	if (!again)
		tcpzc_conn_drop_parked(c);
	else if (tz_shake_role(&qp->eng.attr, qp->eng.init.qpn) != TZ_ROLE_ACCEPT)
		tcpzc_conn_back_off(qp);
}

/* The engine has given up: first nothing can arrive any more, then it hears of it. */
static void tcpzc_conn_cut(struct tcpzc_qp *qp)
{
	tcpzc_conn_release(qp, false);
	tcpzc_io_was_cut(qp);
	tcpzc_conn_done(qp);
	/* Its completions may have others follow. */
	tcpzc_io_run(qp);
}

/* ---- a connection with its hello ----------------------------------------- */

void tcpzc_conn_offer(struct tcpzc_qp *qp, struct socket *sock,
		      const struct tz_hello *hello)
{
	mutex_lock(&qp->mutex);
	/* A stranger's connection may be over, and not yet put away. */
	if (READ_ONCE(qp->conn.state) == TCPZC_CONN_CUT)
		tcpzc_conn_cut(qp);
	else if (READ_ONCE(qp->conn.state) == TCPZC_CONN_DONE)
		tcpzc_conn_done(qp);
	switch (READ_ONCE(qp->eng.state)) {
	case TZ_RESET:
	case TZ_INIT:
		if (qp->dead)
			tcpzc_refuse(qp->dev, sock, hello);
		else
			tcpzc_conn_park(qp, sock, hello);
		break;
	case TZ_RTR:
	case TZ_RTS:
	case TZ_SQD:
		tcpzc_conn_accept(qp, sock, hello);
		break;
	default:
		tcpzc_refuse(qp->dev, sock, hello);
		break;
	}
	mutex_unlock(&qp->mutex);
}

/* ---- work --------------------------------------------------------------- */

/* All is said; the peer's end is awaited (io.c) unless the engine gave up. */
static void tcpzc_conn_parting(struct tcpzc_qp *qp)
{
	kernel_sock_shutdown(qp->conn.sock, SHUT_WR);
}

static void tcpzc_conn_work(struct work_struct *work)
{
	struct tcpzc_qp *qp = container_of(to_delayed_work(work),
					   struct tcpzc_qp, conn.work);

	mutex_lock(&qp->mutex);
	switch (READ_ONCE(qp->conn.state)) {
	case TCPZC_CONN_DIALING:
		tcpzc_conn_greet(qp);
		break;
	case TCPZC_CONN_GREETING:
		tcpzc_conn_listen_to(qp);
		break;
	case TCPZC_CONN_BACKOFF:
		tcpzc_conn_open(qp);
		break;
	case TCPZC_CONN_PARTING:
		tcpzc_conn_parting(qp);
		break;
	case TCPZC_CONN_CUT:
		tcpzc_conn_cut(qp);
		break;
	case TCPZC_CONN_DONE:
		tcpzc_conn_done(qp);
		break;
	case TCPZC_CONN_IDLE:
	case TCPZC_CONN_UP:
		break;
	}
	mutex_unlock(&qp->mutex);
}

void tcpzc_conn_init(struct tcpzc_qp *qp)
{
	INIT_DELAYED_WORK(&qp->conn.work, tcpzc_conn_work);
	init_waitqueue_head(&qp->conn.wait);
}

void tcpzc_conn_exit(struct tcpzc_qp *qp)
{
	struct tcpzc_conn *c = &qp->conn;

	cancel_delayed_work_sync(&c->work);
	/* No socket calls back for a queue pair that has gone. */
	WARN_ON_ONCE(c->sock || c->rsock || c->num_parked ||
		     c->state != TCPZC_CONN_IDLE);
}
