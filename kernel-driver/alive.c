// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * alive.c - is the peer's host there, though its engine says nothing? TCP knows:
 * see tz_ops.heard_ns.
 */
#include <net/tcp.h>

#include "tcpzc.h"

/*
 * TCP's keepalive asks once a second as long as nothing is on its way. It must
 * not end the connection, so its count is as large as it can be; the engine's
 * time is over long before. The socket is ours.
 */
static void tcpzc_alive_ask(struct tcpzc_qp *qp, struct sock *sk)
{
	struct tcp_sock *tp = tcp_sk(sk);

	if (qp->conn.asking)
		return;
	qp->conn.asking = true;
	tp->keepalive_time = HZ;
	tp->keepalive_intvl = HZ;
	tp->keepalive_probes = MAX_TCP_KEEPCNT;
	sk->sk_prot->keepalive(sk, 1);
	sock_set_flag(sk, SOCK_KEEPOPEN);
}

void tcpzc_alive_settle(struct tcpzc_qp *qp, struct sock *sk)
{
	if (!qp->conn.asking || tz_qp_asks(&qp->eng))
		return;
	qp->conn.asking = false;
	sk->sk_prot->keepalive(sk, 0);
	sock_reset_flag(sk, SOCK_KEEPOPEN);
}

/*
 * What was sent is acknowledged by the peer's host, or is not, which says little
 * before TCP has sent it again TZ_MIN_RETRANSMITS times. If its buffer is full TCP
 * probes, less and less often, and all that counts is that no probe was left
 * without an answer. If everything has arrived we must ask.
 */
u64 tcpzc_alive_heard_ns(struct tz_qp *eng, u64 now)
{
	struct tcpzc_qp *qp = tcpzc_qp_of(eng);
	struct sock *sk = qp->conn.wsk;
	const struct tcp_sock *tp;
	bool unsent;
	u64 ago;

	lockdep_assert_held(&qp->lock);
	if (!sk)
		return 0;
	if (sk != qp->conn.rsk)
		return now;	/* the peer is this queue pair itself */
	tp = tcp_sk(sk);
	unsent = !tcp_write_queue_empty(sk);
	if (!tp->packets_out && unsent && !inet_csk(sk)->icsk_probes_out)
		return now;
	if (tp->packets_out &&
	    inet_csk(sk)->icsk_retransmits < TZ_MIN_RETRANSMITS)
		return now;
	if (!tp->packets_out && !unsent)
		tcpzc_alive_ask(qp, sk);
	ago = jiffies_to_nsecs(tcp_jiffies32 - READ_ONCE(tp->rcv_tstamp));
	return ago < now ? now - ago : 0;
}
