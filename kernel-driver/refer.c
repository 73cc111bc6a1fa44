// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * refer.c - packets that refer to regions' pages, and how long they may.
 *
 * TCP sends a packet, and sends it again, with what the pages contain then. A request's
 * pages are the application's business until it is complete. The answer to a READ has no
 * completion here: before a region is deregistered, or its queue pair destroyed, the
 * peer has acknowledged the bytes that refer to it, or the connection is reset.
 *
 * A struct tcpzc_refs is what a connection has sent that way. It belongs to the queue
 * pair as long as that sends (under qp->lock), and stays on the device's list as long
 * as the socket has something in its queues.
 *
 * Lock order: qp->lock, tcpzc_dev.refs_lock, tcpzc_refs.lock.
 */
#include <linux/delay.h>
#include <linux/slab.h>
#include <net/tcp.h>

#include "tcpzc.h"

/* Regions that are told apart for each connection. */
#define TCPZC_REFER_REGIONS	4
/* More than any socket has in its queues. */
#define TCPZC_REFER_LONG_AGO	(1u << 30)

/* The last byte that refers to a region is the one before it. */
struct tcpzc_ref {
	bool used;
	u32 num;			/* the region's, see struct tcpzc_mr */
	u32 seq;			/* in TCP's stream */
	u64 acked;			/* what tcp_sock.bytes_acked will be */
};

struct tcpzc_refs {
	struct list_head node;		/* tcpzc_dev.refs */
	struct sock *sk;
	const struct tcpzc_qp *qp;	/* whose it was; not to be followed */
	bool sends;			/* is still the queue pair's */
	bool near;			/* the other end is this kernel's own */
	bool aborted;			/* nothing is left */
	spinlock_t lock;
	struct tcpzc_ref of[TCPZC_REFER_REGIONS];
	struct tcpzc_ref others;	/* all that had to give way */
	u32 next;			/* to give way */
};

/* ---- sending ------------------------------------------------------------ */

/* The connection of @sk, which is ours, or NULL: there is no memory. */
static struct tcpzc_refs *tcpzc_refs_new(struct tcpzc_qp *qp, struct sock *sk)
{
	struct tcpzc_refs *refs = kzalloc(sizeof(*refs), GFP_ATOMIC | __GFP_NOWARN);

	if (!refs)
		return NULL;
	tcpzc_refs_sweep(qp->dev);
	sock_hold(sk);
	refs->sk = sk;
	refs->qp = qp;
	refs->sends = true;
	spin_lock_init(&refs->lock);
	spin_lock_bh(&qp->dev->refs_lock);
	list_add_tail(&refs->node, &qp->dev->refs);
	spin_unlock_bh(&qp->dev->refs_lock);
	return refs;
}

bool tcpzc_refer(struct tcpzc_qp *qp, struct sock *sk)
{
	struct tcpzc_conn *c = &qp->conn;

	lockdep_assert_held(&qp->lock);
	if (!tcpzc_may_refer(&c->near, sk))
		return false;
	if (!c->refs)
		c->refs = tcpzc_refs_new(qp, sk);
	if (c->refs)
		c->refs->near |= c->near.kernel;
	return c->refs;
}

static struct tcpzc_ref *tcpzc_ref_of(struct tcpzc_refs *refs, u32 num)
{
	struct tcpzc_ref *ref;
	int i;

	lockdep_assert_held(&refs->lock);
	for (i = 0; i < TCPZC_REFER_REGIONS; i++)
		if (refs->of[i].used && refs->of[i].num == num)
			return &refs->of[i];
	ref = &refs->of[refs->next++ % TCPZC_REFER_REGIONS];
	if (ref->used && (!refs->others.used || ref->acked > refs->others.acked))
		refs->others = *ref;
	ref->used = true;
	ref->num = num;
	return ref;
}

void tcpzc_referred(struct tcpzc_qp *qp, const struct tcpzc_mr *mr)
{
	struct tcpzc_refs *refs = qp->conn.refs;
	const struct tcp_sock *tp = tcp_sk(refs->sk);
	struct tcpzc_ref *ref;

	lockdep_assert_held(&qp->lock);
	if (mr == &qp->dev->dma_mr)
		return;		/* which is never deregistered */
	spin_lock_bh(&refs->lock);
	ref = tcpzc_ref_of(refs, mr->num);
	ref->seq = tp->write_seq;
	ref->acked = tp->bytes_acked + (tp->write_seq - tp->snd_una);
	spin_unlock_bh(&refs->lock);
}

/* ---- what is left ------------------------------------------------------- */

/* Closed, and nothing is left to be sent: tcp_disconnect() does it in this order. */
static bool tcpzc_sk_is_empty(const struct sock *sk)
{
	return READ_ONCE(sk->sk_state) == TCP_CLOSE &&
	       tcp_rtx_queue_empty(sk) &&
	       skb_queue_empty_lockless(&sk->sk_write_queue);
}

static bool tcpzc_ref_left(const struct tcpzc_refs *refs,
			   const struct tcpzc_ref *ref)
{
	u64 acked = READ_ONCE(tcp_sk(refs->sk)->bytes_acked);

	if (!ref->used)
		return false;
	if (acked < ref->acked)
		return !tcpzc_sk_is_empty(refs->sk);
	return refs->near && acked - ref->acked < TCPZC_REFER_LONG_AGO &&
	       !tcpzc_near_has_read(refs->sk, ref->seq);
}

/* Of the region @mr, or NULL for all. */
static bool tcpzc_refs_left(struct tcpzc_refs *refs, const struct tcpzc_mr *mr)
{
	bool left;
	int i;

	if (refs->aborted)
		return false;
	spin_lock_bh(&refs->lock);
	left = tcpzc_ref_left(refs, &refs->others);
	for (i = 0; i < TCPZC_REFER_REGIONS && !left; i++)
		left = (!mr || refs->of[i].num == mr->num) &&
		       tcpzc_ref_left(refs, &refs->of[i]);
	spin_unlock_bh(&refs->lock);
	return left;
}

static void tcpzc_refs_free(struct tcpzc_refs *refs)
{
	list_del(&refs->node);
	sock_put(refs->sk);
	kfree(refs);
}

void tcpzc_refs_sweep(struct tcpzc_dev *dev)
{
	struct tcpzc_refs *refs, *next;

	spin_lock_bh(&dev->refs_lock);
	list_for_each_entry_safe(refs, next, &dev->refs, node)
		if (!refs->sends && !tcpzc_refs_left(refs, NULL))
			tcpzc_refs_free(refs);
	spin_unlock_bh(&dev->refs_lock);
}

void tcpzc_refs_part(struct tcpzc_qp *qp)
{
	struct tcpzc_refs *refs = qp->conn.refs;

	lockdep_assert_held(&qp->lock);
	if (!refs)
		return;
	qp->conn.refs = NULL;
	spin_lock_bh(&qp->dev->refs_lock);
	refs->sends = false;
	spin_unlock_bh(&qp->dev->refs_lock);
}

void tcpzc_refs_exit(struct tcpzc_dev *dev)
{
	struct tcpzc_refs *refs, *next;

	spin_lock_bh(&dev->refs_lock);
	list_for_each_entry_safe(refs, next, &dev->refs, node) {
		WARN_ON_ONCE(refs->sends);
		tcpzc_refs_free(refs);
	}
	spin_unlock_bh(&dev->refs_lock);
}

/* ---- waiting ------------------------------------------------------------ */

/* A socket that has something left, with a reference; NULL. */
static struct sock *tcpzc_refs_find(struct tcpzc_dev *dev,
				    const struct tcpzc_mr *mr,
				    const struct tcpzc_qp *qp)
{
	struct tcpzc_refs *refs;
	struct sock *sk = NULL;

	spin_lock_bh(&dev->refs_lock);
	list_for_each_entry(refs, &dev->refs, node) {
		if ((qp && refs->qp != qp) || !tcpzc_refs_left(refs, mr))
			continue;
		sk = refs->sk;
		sock_hold(sk);
		break;
	}
	spin_unlock_bh(&dev->refs_lock);
	return sk;
}

static void tcpzc_refs_abort(struct tcpzc_dev *dev, struct sock *sk)
{
	struct tcpzc_refs *refs;

	tcpzc_near_abort(sk);
	tcp_abort(sk, ECONNABORTED);
	spin_lock_bh(&dev->refs_lock);
	list_for_each_entry(refs, &dev->refs, node)
		if (refs->sk == sk)
			refs->aborted = true;
	spin_unlock_bh(&dev->refs_lock);
}

void tcpzc_refs_wait(struct tcpzc_dev *dev, const struct tcpzc_mr *mr,
		     const struct tcpzc_qp *qp, u64 until)
{
	struct sock *sk;

	might_sleep();
	while ((sk = tcpzc_refs_find(dev, mr, qp))) {
		/* Acknowledgements wake nobody up. */
		if (ktime_get_ns() < until)
			usleep_range(100, 300);
		else
			tcpzc_refs_abort(dev, sk);
		sock_put(sk);
	}
	tcpzc_refs_sweep(dev);
}
