// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * linger.c - sockets that have said all and wait for the peer to say the same.
 *
 * TCP takes the timers of a kernel socket away when it is released (Linux 6.9),
 * so one that is released while the peer has not acknowledged everything stays
 * where it is, until the network namespace ends, if a packet is lost or the
 * peer's window was closed. So it is kept until TCP is done with it, and reset if
 * that takes too long (TZ_LINGER_NS).
 */
#include <linux/slab.h>
#include <net/tcp.h>

#include "tcpzc.h"

struct tcpzc_lingering {
	struct list_head node;		/* tcpzc_lingerers.list */
	struct tcpzc_net *tnet;
	struct tcpzc_lingerers *all;
	struct socket *sock;
	struct delayed_work work;
	struct tz_linger tz;		/* under the socket's lock */
};

void tcpzc_sock_reset(struct socket *sock)
{
	sock_no_linger(sock->sk);
	sock_release(sock);
}

static int tcpzc_linger_actor(read_descriptor_t *desc, struct sk_buff *skb,
			      unsigned int offset, size_t len)
{
	struct tcpzc_lingering *l = desc->arg.data;

	tz_linger_read(&l->tz, len);
	return len;
}

/* Has the peer acknowledged all, our end included? */
static bool tcpzc_linger_taken(const struct sock *sk)
{
	return (1 << sk->sk_state) & (TCPF_FIN_WAIT2 | TCPF_CLOSE);
}

static bool tcpzc_linger_over(const struct tcpzc_lingering *l,
			      const struct sock *sk)
{
	return sk->sk_state == TCP_CLOSE ||
	       tz_linger_over(&l->tz, tcpzc_linger_taken(sk), ktime_get_ns());
}

/* Called with the socket's lock, like those of io.c. */
static void tcpzc_linger_ready(struct sock *sk)
{
	struct tcpzc_lingering *l = sk->sk_user_data;
	read_descriptor_t desc = { .arg.data = l, .count = 1 };

	if (!l)
		return;
	tcp_read_sock(sk, &desc, tcpzc_linger_actor);
	if (tcpzc_linger_over(l, sk))
		mod_delayed_work(tcpzc_wq, &l->work, 0);
}

static void tcpzc_linger_ignore(struct sock *sk)
{
}

/* Nobody else knows @l any more. */
static void tcpzc_linger_free(struct tcpzc_lingering *l)
{
	/* Of a caller that was refused nothing stays, not even a FIN_WAIT_2. */
	if (l->all != &l->tnet->refused && tcpzc_linger_taken(l->sock->sk))
		sock_release(l->sock);
	else
		tcpzc_sock_reset(l->sock);
	kfree(l);
}

static void tcpzc_linger_unlist(struct tcpzc_lingering *l)
{
	lockdep_assert_held(&l->tnet->linger_lock);
	list_del_init(&l->node);
	l->all->num--;
}

/* True for the one who takes it off the list. */
static bool tcpzc_linger_take(struct tcpzc_lingering *l)
{
	bool mine;

	spin_lock_bh(&l->tnet->linger_lock);
	mine = !list_empty(&l->node);
	if (mine)
		tcpzc_linger_unlist(l);
	spin_unlock_bh(&l->tnet->linger_lock);
	return mine;
}

/* Look again when that may have changed by itself; a callback may come before. */
static void tcpzc_linger_later(struct tcpzc_lingering *l)
{
	u64 now = ktime_get_ns(), at = tz_linger_deadline(&l->tz, now);

	mod_delayed_work(tcpzc_wq, &l->work,
			 at > now ? nsecs_to_jiffies(at - now) + 1 : 0);
}

static bool tcpzc_linger_is_over(struct tcpzc_lingering *l)
{
	struct sock *sk = l->sock->sk;
	bool over;

	lock_sock(sk);
	over = tcpzc_linger_over(l, sk);
	if (!over)
		tcpzc_linger_later(l);
	release_sock(sk);
	return over;
}

static void tcpzc_linger_work(struct work_struct *work)
{
	struct tcpzc_lingering *l = container_of(to_delayed_work(work),
						 struct tcpzc_lingering, work);

	if (!tcpzc_linger_is_over(l) || !tcpzc_linger_take(l))
		return;
	tcpzc_sk_abandon(l->sock->sk);
	/* A callback may have queued the work once more before that. */
	cancel_delayed_work(&l->work);
	tcpzc_linger_free(l);
}

static void tcpzc_linger_list(struct tcpzc_lingering *l)
{
	struct tcpzc_net *tnet = l->tnet;

	spin_lock_bh(&tnet->linger_lock);
	list_add_tail(&l->node, &l->all->list);
	l->all->num++;
	spin_unlock_bh(&tnet->linger_lock);
}

/* The work, or another caller, cannot end @l before the socket's lock is released. */
static void tcpzc_linger_start(struct tcpzc_lingering *l)
{
	struct sock *sk = l->sock->sk;

	lock_sock(sk);
	write_lock_bh(&sk->sk_callback_lock);
	sk->sk_user_data = l;
	sk->sk_data_ready = tcpzc_linger_ready;
	sk->sk_state_change = tcpzc_linger_ready;
	sk->sk_error_report = tcpzc_linger_ready;
	sk->sk_write_space = tcpzc_linger_ignore;
	write_unlock_bh(&sk->sk_callback_lock);
	tcpzc_linger_list(l);
	tcpzc_linger_later(l);
	/* The end may have come before this. */
	tcpzc_linger_ready(sk);
	release_sock(sk);
}

/* The oldest of @all, if there are more than @max. */
static struct tcpzc_lingering *tcpzc_linger_first(struct tcpzc_net *tnet,
						  struct tcpzc_lingerers *all,
						  u32 max)
{
	struct tcpzc_lingering *l = NULL;

	spin_lock_bh(&tnet->linger_lock);
	if (all->num > max) {
		l = list_first_entry(&all->list, struct tcpzc_lingering, node);
		tcpzc_linger_unlist(l);
	}
	spin_unlock_bh(&tnet->linger_lock);
	return l;
}

/* To be called by the one that has taken @l off its list. */
static void tcpzc_linger_end(struct tcpzc_lingering *l)
{
	tcpzc_sk_abandon(l->sock->sk);
	cancel_delayed_work_sync(&l->work);
	tcpzc_linger_free(l);
}

void tcpzc_linger(struct tcpzc_net *tnet, struct socket *sock,
		  enum tz_linger_kind kind)
{
	struct tcpzc_lingering *l = kzalloc(sizeof(*l), GFP_KERNEL);

	if (!l) {
		tcpzc_sock_reset(sock);
		return;
	}
	l->tnet = tnet;
	l->all = kind == TZ_LINGER_REFUSED ? &tnet->refused : &tnet->lingering;
	l->sock = sock;
	tz_linger_start(&l->tz, kind, ktime_get_ns());
	INIT_DELAYED_WORK(&l->work, tcpzc_linger_work);
	kernel_sock_shutdown(sock, SHUT_WR);
	tcpzc_linger_start(l);
	l = tcpzc_linger_first(tnet, &tnet->refused, tnet->refused.max);
	if (l)
		tcpzc_linger_end(l);
	l = tcpzc_linger_first(tnet, &tnet->lingering, tnet->lingering.max);
	if (l)
		tcpzc_linger_end(l);
}

void tcpzc_linger_flush(struct tcpzc_net *tnet)
{
	struct tcpzc_lingering *l;

	while ((l = tcpzc_linger_first(tnet, &tnet->lingering, 0)) ||
	       (l = tcpzc_linger_first(tnet, &tnet->refused, 0)))
		tcpzc_linger_end(l);
	/* Those that their own work was faster to take. */
	flush_workqueue(tcpzc_wq);
}
