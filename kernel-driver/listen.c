// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * listen.c - the well-known port of a network namespace, and connections that
 * have not said yet for which queue pair they are.
 *
 * A namespace listens as long as it has tcpzc devices. What connects has
 * TCPZC_HELLO_MS to say its hello; at most TCPZC_MAX_PENDING connections are in
 * that state, the oldest gives way.
 */
#include <linux/random.h>
#include <linux/slab.h>
#include <net/ipv6.h>
#include <net/net_namespace.h>
#include <net/netns/generic.h>
#include <net/tcp.h>
#include <rdma/ib_cache.h>

#include "tcpzc.h"

#define TCPZC_BACKLOG		1024
#define TCPZC_ACCEPTS		64	/* per turn */
#define TCPZC_MAX_PENDING	256
#define TCPZC_HELLO_MS		5000

struct tcpzc_pending {
	struct list_head node;		/* tcpzc_net.pending */
	struct tcpzc_net *tnet;
	struct socket *sock;
	struct work_struct work;
	unsigned long expires;		/* jiffies */
	u32 got;			/* bytes of the hello */
	struct tz_hello hello;
};

static unsigned int tcpzc_net_id;

const int tcpzc_families[TCPZC_FAMILIES] = { AF_INET, AF_INET6 };

/* ---- pending connections ------------------------------------------------ */

static void tcpzc_pending_free(struct tcpzc_pending *p)
{
	if (p->sock)
		tcpzc_sock_reset(p->sock);
	kfree(p);
}

/* True for the one who takes it off the list. */
static bool tcpzc_pending_take(struct tcpzc_pending *p)
{
	struct tcpzc_net *tnet = p->tnet;
	bool mine;

	spin_lock_bh(&tnet->pending_lock);
	mine = !list_empty(&p->node);
	if (mine) {
		list_del_init(&p->node);
		tnet->num_pending--;
	}
	spin_unlock_bh(&tnet->pending_lock);
	return mine;
}

/* The oldest one if it is late, or if there are more than @max. */
static struct tcpzc_pending *tcpzc_pending_late(struct tcpzc_net *tnet, u32 max)
{
	struct tcpzc_pending *p;

	spin_lock_bh(&tnet->pending_lock);
	p = list_first_entry_or_null(&tnet->pending, struct tcpzc_pending, node);
	if (p && (tnet->num_pending > max ||
		  time_after_eq(jiffies, p->expires))) {
		list_del_init(&p->node);
		tnet->num_pending--;
	} else {
		p = NULL;
	}
	spin_unlock_bh(&tnet->pending_lock);
	return p;
}

/* At the device that was called. */
static void tcpzc_pending_count(struct tcpzc_pending *p, enum tcpzc_counter what)
{
	struct tcpzc_dev *dev = NULL;
	u8 gid[16];

	if (tcpzc_own_gid(p->sock, gid))
		dev = tcpzc_dev_of_gid(p->tnet, gid, 0);
	if (!dev)
		return;
	tcpzc_count(dev, what, 1);
	ib_device_put(&dev->ib);
}

static void tcpzc_pending_expire(struct tcpzc_net *tnet, u32 max)
{
	struct tcpzc_pending *p;

	while ((p = tcpzc_pending_late(tnet, max))) {
		tcpzc_sk_abandon(p->sock->sk);
		/* If it runs it finds that it came too late. */
		cancel_work_sync(&p->work);
		tcpzc_pending_count(p, TCPZC_CNT_HELLOS_EXPIRED);
		tcpzc_pending_free(p);
	}
}

bool tcpzc_dev_has_gid(struct tcpzc_dev *dev, const u8 *gid)
{
	const struct ib_gid_attr *attr;

	attr = rdma_find_gid(&dev->ib, (const union ib_gid *)gid,
			     IB_GID_TYPE_ROCE_UDP_ENCAP, NULL);
	if (IS_ERR(attr))
		return false;
	rdma_put_gid_attr(attr);
	return true;
}

struct tcpzc_dev *tcpzc_dev_of_gid(struct tcpzc_net *tnet, const u8 *gid,
				   int ifindex)
{
	struct tcpzc_dev *dev, *found = NULL;

	rcu_read_lock();
	list_for_each_entry_rcu(dev, &tnet->devs, net_node) {
		if (found && dev->ifindex != ifindex)
			continue;
		/* Not while it is being registered, or after that. */
		if (!ib_device_try_get(&dev->ib))
			continue;
		if (!tcpzc_dev_has_gid(dev, gid)) {
			ib_device_put(&dev->ib);
			continue;
		}
		if (found)
			ib_device_put(&found->ib);
		found = dev;
		if (dev->ifindex == ifindex)
			break;
	}
	rcu_read_unlock();
	return found;
}

/* The queue pair that a hello is for, with a reference. */
static struct tcpzc_qp *tcpzc_pending_qp(struct tcpzc_net *tnet,
					 const struct tz_hello *hello)
{
	struct tcpzc_qp *qp = tcpzc_qp_find(tnet, hello->dst_gid,
					    le32_to_cpu(hello->dst_qpn));

	if (qp && tz_qp_is_ud(&qp->eng)) {
		tcpzc_qp_put(qp);
		qp = NULL;
	}
	return qp;
}

/* The hello is complete: hand the connection to its queue pair. */
static void tcpzc_pending_done(struct tcpzc_pending *p)
{
	enum tz_hello_status why = tz_shake_check(&p->hello);
	struct tz_hello refusal;
	struct tcpzc_qp *qp;

	if (why == TZ_HELLO_OK && p->hello.status)
		why = TZ_HELLO_MALFORMED;
	if (why == TZ_HELLO_MALFORMED) {
		tcpzc_pending_count(p, TCPZC_CNT_HELLOS_GARBAGE);
		return;
	}
	if (why == TZ_HELLO_OK) {
		qp = tcpzc_pending_qp(p->tnet, &p->hello);
		if (qp) {
			tcpzc_conn_offer(qp, p->sock, &p->hello);
			p->sock = NULL;
			tcpzc_qp_put(qp);
			return;
		}
		why = TZ_HELLO_REFUSED;
	}
	tcpzc_pending_count(p, TCPZC_CNT_HELLOS_REFUSED);
	tz_shake_refuse(&p->hello, why, &refusal);
	tcpzc_send_hello(p->sock, &refusal);
	tcpzc_linger_refused(p->tnet, p->sock);
	p->sock = NULL;
}

static void tcpzc_pending_work(struct work_struct *work)
{
	struct tcpzc_pending *p = container_of(work, struct tcpzc_pending, work);
	int rc = tcpzc_recv_hello(p->sock, &p->hello, &p->got);

	if (rc == -EAGAIN || !tcpzc_pending_take(p))
		return;
	tcpzc_sk_abandon(p->sock->sk);
	/* A callback may have queued the work once more before that. */
	cancel_work(&p->work);
	if (!rc)
		tcpzc_pending_done(p);
	else if (rc == -EPROTO)
		tcpzc_pending_count(p, TCPZC_CNT_HELLOS_GARBAGE);
	tcpzc_pending_free(p);
}

/* Called with the socket's lock, like those of io.c. */
static void tcpzc_pending_ready(struct sock *sk)
{
	struct tcpzc_pending *p = sk->sk_user_data;

	if (p)
		queue_work(tcpzc_wq, &p->work);
}

static void tcpzc_pending_ignore(struct sock *sk)
{
}

static void tcpzc_pending_start(struct tcpzc_pending *p)
{
	struct sock *sk = p->sock->sk;

	lock_sock(sk);
	write_lock_bh(&sk->sk_callback_lock);
	sk->sk_user_data = p;
	sk->sk_data_ready = tcpzc_pending_ready;
	sk->sk_state_change = tcpzc_pending_ready;
	sk->sk_error_report = tcpzc_pending_ready;
	sk->sk_write_space = tcpzc_pending_ignore;
	write_unlock_bh(&sk->sk_callback_lock);
	/* The hello may be there already. */
	queue_work(tcpzc_wq, &p->work);
	release_sock(sk);
}

static void tcpzc_pending_add(struct tcpzc_net *tnet, struct socket *sock)
{
	struct tcpzc_pending *p = kzalloc(sizeof(*p), GFP_KERNEL);

	if (!p) {
		tcpzc_sock_reset(sock);
		return;
	}
	p->tnet = tnet;
	p->sock = sock;
	p->expires = jiffies + msecs_to_jiffies(TCPZC_HELLO_MS);
	INIT_WORK(&p->work, tcpzc_pending_work);
	spin_lock_bh(&tnet->pending_lock);
	list_add_tail(&p->node, &tnet->pending);
	tnet->num_pending++;
	spin_unlock_bh(&tnet->pending_lock);
	tcpzc_pending_start(p);
	queue_delayed_work(tcpzc_wq, &tnet->expire_work,
			   msecs_to_jiffies(TCPZC_HELLO_MS));
}

/*
 * Only this work and the end of the namespace free connections of others'
 * works, and neither runs beside the other: see tcpzc_net_stop().
 */
static void tcpzc_expire_work(struct work_struct *work)
{
	struct tcpzc_net *tnet = container_of(to_delayed_work(work),
					      struct tcpzc_net, expire_work);
	bool more;

	tcpzc_pending_expire(tnet, TCPZC_MAX_PENDING);
	spin_lock_bh(&tnet->pending_lock);
	more = !list_empty(&tnet->pending);
	spin_unlock_bh(&tnet->pending_lock);
	if (more)
		queue_delayed_work(tcpzc_wq, &tnet->expire_work,
				   msecs_to_jiffies(TCPZC_HELLO_MS) / 10);
}

/* ---- listening sockets -------------------------------------------------- */

/* Take what waits in one listener's queue; false: there may be more. */
static bool tcpzc_accept_from(struct tcpzc_net *tnet, struct socket *listener)
{
	struct socket *sock;
	int i;

	for (i = 0; i < TCPZC_ACCEPTS; i++) {
		if (kernel_accept(listener, &sock, O_NONBLOCK))
			return true;
		tcpzc_pending_add(tnet, sock);
		if (READ_ONCE(tnet->num_pending) > TCPZC_MAX_PENDING)
			mod_delayed_work(tcpzc_wq, &tnet->expire_work, 0);
	}
	return false;
}

static void tcpzc_accept_work(struct work_struct *work)
{
	struct tcpzc_net *tnet = container_of(work, struct tcpzc_net,
					      accept_work);
	bool all = true;
	int i;

	mutex_lock(&tnet->lock);
	for (i = 0; i < TCPZC_FAMILIES; i++)
		if (tnet->listener[i])
			all &= tcpzc_accept_from(tnet, tnet->listener[i]);
	mutex_unlock(&tnet->lock);
	if (!all)
		queue_work(tcpzc_wq, work);
}

/* A child that is not accepted yet inherits this callback. */
static void tcpzc_listener_ready(struct sock *sk)
{
	struct tcpzc_net *tnet;

	rcu_read_lock();
	tnet = rcu_dereference_sk_user_data(sk);
	if (tnet && sk->sk_state == TCP_LISTEN)
		queue_work(tcpzc_wq, &tnet->accept_work);
	rcu_read_unlock();
}

static void tcpzc_listener_adopt(struct tcpzc_net *tnet, struct sock *sk)
{
	lock_sock(sk);
	write_lock_bh(&sk->sk_callback_lock);
	__rcu_assign_sk_user_data_with_flags(sk, tnet,
					     SK_USER_DATA_NOCOPY);
	sk->sk_data_ready = tcpzc_listener_ready;
	write_unlock_bh(&sk->sk_callback_lock);
	release_sock(sk);
}

static struct socket *tcpzc_listener_new(struct tcpzc_net *tnet, int family)
{
	struct sockaddr_storage ss = { .ss_family = family };
	int len = sizeof(struct sockaddr_in), rc;
	struct socket *sock;

	rc = sock_create_kern(tnet->net, family, SOCK_STREAM, IPPROTO_TCP, &sock);
	if (rc)
		return ERR_PTR(rc);
	/* Connections of a former device may linger in TIME_WAIT. */
	sock_set_reuseaddr(sock->sk);
	if (family == AF_INET6) {
		len = sizeof(struct sockaddr_in6);
		((struct sockaddr_in6 *)&ss)->sin6_port = htons(tcpzc_port);
		rc = ip6_sock_set_v6only(sock->sk);
	} else {
		((struct sockaddr_in *)&ss)->sin_port = htons(tcpzc_port);
	}
	if (!rc)
		rc = kernel_bind(sock, tcpzc_sockaddr(&ss), len);
	if (rc)
		goto err_release;
	tcpzc_listener_adopt(tnet, sock->sk);
	rc = kernel_listen(sock, TCPZC_BACKLOG);
	if (rc)
		goto err_release;
	return sock;

err_release:
	sock_release(sock);
	return ERR_PTR(rc);
}

static void tcpzc_listeners_close(struct tcpzc_net *tnet)
{
	int i;

	lockdep_assert_held(&tnet->lock);
	for (i = 0; i < TCPZC_FAMILIES; i++) {
		if (!tnet->listener[i])
			continue;
		tcpzc_sk_abandon(tnet->listener[i]->sk);
		sock_release(tnet->listener[i]);
		tnet->listener[i] = NULL;
	}
}

/* A kernel without IPv6 listens on IPv4 only. */
static int tcpzc_listeners_open(struct tcpzc_net *tnet)
{
	int i;

	for (i = 0; i < TCPZC_FAMILIES; i++) {
		struct socket *sock = tcpzc_listener_new(tnet, tcpzc_families[i]);

		if (!IS_ERR(sock)) {
			tnet->listener[i] = sock;
		} else if (tcpzc_families[i] == AF_INET ||
			   PTR_ERR(sock) != -EAFNOSUPPORT) {
			tcpzc_listeners_close(tnet);
			return PTR_ERR(sock);
		}
	}
	return 0;
}

/* TCP and UDP. */
static int tcpzc_ports_open(struct tcpzc_net *tnet)
{
	int rc = tcpzc_listeners_open(tnet);

	if (rc)
		return rc;
	rc = tcpzc_udp_open(tnet);
	if (rc)
		tcpzc_listeners_close(tnet);
	return rc;
}

/* ---- devices ------------------------------------------------------------ */

int tcpzc_listen_add(struct tcpzc_dev *dev)
{
	struct tcpzc_net *tnet = net_generic(dev->net, tcpzc_net_id);
	int rc = 0;

	mutex_lock(&tnet->lock);
	if (list_empty(&tnet->devs))
		rc = tcpzc_ports_open(tnet);
	if (!rc) {
		dev->tnet = tnet;
		tnet->num_devs++;
		list_add_tail_rcu(&dev->net_node, &tnet->devs);
	}
	mutex_unlock(&tnet->lock);
	return rc;
}

/* The last device has gone: nothing of ours stays in the namespace. */
static void tcpzc_net_stop(struct tcpzc_net *tnet)
{
	cancel_work_sync(&tnet->accept_work);
	cancel_delayed_work_sync(&tnet->expire_work);
	tcpzc_pending_expire(tnet, 0);
	/* A connection that was just taken may still hand over its socket. */
	flush_workqueue(tcpzc_wq);
	tcpzc_linger_flush(tnet);
}

void tcpzc_listen_del(struct tcpzc_dev *dev)
{
	struct tcpzc_net *tnet = dev->tnet;
	bool last;

	mutex_lock(&tnet->lock);
	list_del_rcu(&dev->net_node);
	last = list_empty(&tnet->devs);
	if (last) {
		tcpzc_listeners_close(tnet);
		tcpzc_udp_close(tnet);
	}
	mutex_unlock(&tnet->lock);
	/* Of tcpzc_dev_of_gid(). */
	synchronize_rcu();
	if (last)
		tcpzc_net_stop(tnet);
	mutex_lock(&tnet->lock);
	/* A device that came meanwhile may have missed a connection. */
	if (!list_empty(&tnet->devs))
		queue_work(tcpzc_wq, &tnet->accept_work);
	tnet->num_devs--;
	wake_up(&tnet->wait);
	mutex_unlock(&tnet->lock);
}

/* ---- network namespaces ------------------------------------------------- */

static int __net_init tcpzc_net_init(struct net *net)
{
	struct tcpzc_net *tnet = net_generic(net, tcpzc_net_id);

	tnet->net = net;
	mutex_init(&tnet->lock);
	INIT_LIST_HEAD(&tnet->devs);
	xa_init_flags(&tnet->qps, XA_FLAGS_ALLOC | XA_FLAGS_LOCK_IRQ);
	tnet->next_qpn = get_random_u32_inclusive(TCPZC_MIN_QPN, TCPZC_MAX_QPN);
	init_waitqueue_head(&tnet->wait);
	INIT_WORK(&tnet->accept_work, tcpzc_accept_work);
	INIT_DELAYED_WORK(&tnet->expire_work, tcpzc_expire_work);
	spin_lock_init(&tnet->pending_lock);
	INIT_LIST_HEAD(&tnet->pending);
	spin_lock_init(&tnet->linger_lock);
	INIT_LIST_HEAD(&tnet->lingering);
	INIT_LIST_HEAD(&tnet->refused);
	return 0;
}

/* One device that nobody is taking down yet, with a reference. */
static struct tcpzc_dev *tcpzc_net_next_dev(struct tcpzc_net *tnet)
{
	struct tcpzc_dev *dev, *found = NULL;

	mutex_lock(&tnet->lock);
	list_for_each_entry(dev, &tnet->devs, net_node)
		if (ib_device_try_get(&dev->ib)) {
			found = dev;
			break;
		}
	mutex_unlock(&tnet->lock);
	return found;
}

/*
 * The namespace goes, and its interfaces after this. Their events would take
 * the devices down, too, but later than our sockets may live.
 */
static void __net_exit tcpzc_net_exit(struct net *net)
{
	struct tcpzc_net *tnet = net_generic(net, tcpzc_net_id);
	struct tcpzc_dev *dev;

	while ((dev = tcpzc_net_next_dev(tnet)))
		ib_unregister_device_and_put(&dev->ib);
	wait_event(tnet->wait, !READ_ONCE(tnet->num_devs));
	/* Until the last of them has let go of the lock. */
	mutex_lock(&tnet->lock);
	mutex_unlock(&tnet->lock);
	tcpzc_net_stop(tnet);
	WARN_ON(!xa_empty(&tnet->qps));
	xa_destroy(&tnet->qps);
}

static struct pernet_operations tcpzc_net_ops = {
	.init = tcpzc_net_init,
	.exit = tcpzc_net_exit,
	.id = &tcpzc_net_id,
	.size = sizeof(struct tcpzc_net),
};

int tcpzc_listen_init(void)
{
	return register_pernet_device(&tcpzc_net_ops);
}

void tcpzc_listen_exit(void)
{
	unregister_pernet_device(&tcpzc_net_ops);
}
