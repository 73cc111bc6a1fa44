// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * listen.c - the well-known port of a network namespace, and connections that
 * have not said yet for which queue pair they are.
 *
 * A namespace listens as long as it has tcpzc devices. Callers wait in its lobby
 * (tz_dial.h) until their hello is complete.
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

static unsigned int tcpzc_net_id;

const int tcpzc_families[TCPZC_FAMILIES] = { AF_INET, AF_INET6 };

/* ---- devices by GID ----------------------------------------------------- */

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

/* ---- callers ------------------------------------------------------------ */

void tcpzc_caller_free(struct tcpzc_caller *caller)
{
	tcpzc_sock_reset(caller->sock);
	kfree(caller);
}

struct socket *tcpzc_caller_sock(struct tcpzc_caller *caller)
{
	struct socket *sock = caller->sock;

	kfree(caller);
	return sock;
}

void tcpzc_caller_refuse(struct tcpzc_caller *caller, enum tz_hello_status why)
{
	struct tcpzc_net *tnet = caller->tnet;
	struct tz_hello hello;

	tz_shake_refuse(&caller->call.rx.hello, why, &hello);
	tcpzc_send_hello(caller->sock, &hello);
	tcpzc_linger(tnet, tcpzc_caller_sock(caller), TZ_LINGER_REFUSED);
}

static struct tcpzc_caller *tcpzc_caller_of(struct tz_caller *call)
{
	return call ? container_of(call, struct tcpzc_caller, call) : NULL;
}

/* At the device that was called. */
static void tcpzc_caller_count(struct tcpzc_caller *caller,
			       enum tcpzc_counter what)
{
	struct tcpzc_dev *dev = NULL;
	u8 gid[16];

	if (tcpzc_own_gid(caller->sock, gid))
		dev = tcpzc_dev_of_gid(caller->tnet, gid, 0);
	if (!dev)
		return;
	tcpzc_count(dev, what, 1);
	ib_device_put(&dev->ib);
}

/* The queue pair that a hello is for, with a reference. */
static struct tcpzc_qp *tcpzc_caller_qp(struct tcpzc_net *tnet,
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

/* The hello is complete: let its queue pair judge it. */
static void tcpzc_caller_done(struct tcpzc_caller *caller)
{
	struct tcpzc_qp *qp = tcpzc_caller_qp(caller->tnet,
					      &caller->call.rx.hello);

	if (!qp) {
		tcpzc_caller_count(caller, TCPZC_CNT_HELLOS_REFUSED);
		tcpzc_caller_refuse(caller, TZ_HELLO_REFUSED);
		return;
	}
	tcpzc_conn_offer(qp, caller);
	tcpzc_qp_put(qp);
}

/* Read up to the socket's own -EAGAIN; 0: all of the hello that there was. */
static int tcpzc_caller_read(struct tcpzc_caller *caller,
			     enum tz_hello_got *got)
{
	u32 want;
	u8 *ptr;
	int n;

	*got = TZ_HELLO_MORE;
	do {
		want = tz_hello_want(&caller->call.rx, &ptr);
		n = tcpzc_recv_hello(caller->sock, ptr, want);
		if (n < 0)
			return n;
		*got = tz_caller_take(&caller->call, n);
	} while (*got == TZ_HELLO_MORE);
	return 0;
}

/* True for the one who takes it out of the lobby. */
static bool tcpzc_caller_leave(struct tcpzc_caller *caller)
{
	struct tcpzc_net *tnet = caller->tnet;
	bool mine;

	spin_lock_bh(&tnet->lobby_lock);
	mine = tz_lobby_leave(&tnet->lobby, &caller->call);
	spin_unlock_bh(&tnet->lobby_lock);
	return mine;
}

static void tcpzc_caller_work(struct work_struct *work)
{
	struct tcpzc_caller *caller = container_of(work, struct tcpzc_caller,
						   work);
	enum tz_hello_got got;
	int rc = tcpzc_caller_read(caller, &got);

	if (rc == -EAGAIN || !tcpzc_caller_leave(caller))
		return;
	tcpzc_sk_abandon(caller->sock->sk);
	/* A callback may have queued the work once more before that. */
	cancel_work(&caller->work);
	if (rc) {
		tcpzc_caller_free(caller);
		return;
	}
	switch (got) {
	case TZ_HELLO_COMPLETE:
		tcpzc_caller_done(caller);
		break;
	case TZ_HELLO_FOREIGN:
		tcpzc_caller_count(caller, TCPZC_CNT_HELLOS_REFUSED);
		tcpzc_caller_refuse(caller, TZ_HELLO_BAD_VERSION);
		break;
	default:
		tcpzc_caller_count(caller, TCPZC_CNT_HELLOS_GARBAGE);
		tcpzc_caller_free(caller);
		break;
	}
}

/* Called with the socket's lock, like those of io.c. */
static void tcpzc_caller_ready(struct sock *sk)
{
	struct tcpzc_caller *caller = sk->sk_user_data;

	if (caller)
		queue_work(tcpzc_wq, &caller->work);
}

static void tcpzc_caller_ignore(struct sock *sk)
{
}

static void tcpzc_caller_start(struct tcpzc_caller *caller)
{
	struct sock *sk = caller->sock->sk;

	lock_sock(sk);
	write_lock_bh(&sk->sk_callback_lock);
	sk->sk_user_data = caller;
	sk->sk_data_ready = tcpzc_caller_ready;
	sk->sk_state_change = tcpzc_caller_ready;
	sk->sk_error_report = tcpzc_caller_ready;
	sk->sk_write_space = tcpzc_caller_ignore;
	write_unlock_bh(&sk->sk_callback_lock);
	/* The hello may be there already. */
	queue_work(tcpzc_wq, &caller->work);
	release_sock(sk);
}

/* It was taken out of the lobby, by this one: its work finds that it is too late. */
static void tcpzc_caller_dismiss(struct tcpzc_caller *caller)
{
	tcpzc_sk_abandon(caller->sock->sk);
	cancel_work_sync(&caller->work);
	tcpzc_caller_count(caller, TCPZC_CNT_HELLOS_EXPIRED);
	tcpzc_caller_free(caller);
}

static void tcpzc_caller_add(struct tcpzc_net *tnet, struct socket *sock)
{
	struct tcpzc_caller *caller = kzalloc(sizeof(*caller), GFP_KERNEL);
	struct tcpzc_caller *leaves;
	u8 from[16];

	if (!caller || !tcpzc_peer_gid(sock, from)) {
		tcpzc_sock_reset(sock);
		kfree(caller);
		return;
	}
	caller->tnet = tnet;
	caller->sock = sock;
	INIT_WORK(&caller->work, tcpzc_caller_work);
	spin_lock_bh(&tnet->lobby_lock);
	leaves = tcpzc_caller_of(tz_lobby_enter(&tnet->lobby, &caller->call,
						from, ktime_get_ns()));
	spin_unlock_bh(&tnet->lobby_lock);
	tcpzc_caller_start(caller);
	queue_delayed_work(tcpzc_wq, &tnet->expire_work,
			   nsecs_to_jiffies(TZ_CALLER_NS));
	if (leaves)
		tcpzc_caller_dismiss(leaves);
}

static void tcpzc_expire_work(struct work_struct *work)
{
	struct tcpzc_net *tnet = container_of(to_delayed_work(work),
					      struct tcpzc_net, expire_work);
	struct tcpzc_caller *caller;
	u64 now = ktime_get_ns(), at;

	/* Not one that is just being added. */
	mutex_lock(&tnet->lock);
	do {
		spin_lock_bh(&tnet->lobby_lock);
		caller = tcpzc_caller_of(tz_lobby_expired(&tnet->lobby, now));
		at = tz_lobby_deadline(&tnet->lobby);
		spin_unlock_bh(&tnet->lobby_lock);
		if (caller)
			tcpzc_caller_dismiss(caller);
	} while (caller);
	mutex_unlock(&tnet->lock);
	if (at)
		queue_delayed_work(tcpzc_wq, &tnet->expire_work,
				   at > now ? nsecs_to_jiffies(at - now) + 1 : 0);
}

/* No caller comes any more. */
static void tcpzc_callers_dismiss(struct tcpzc_net *tnet)
{
	struct tcpzc_caller *caller;

	do {
		spin_lock_bh(&tnet->lobby_lock);
		caller = tcpzc_caller_of(tz_lobby_empty(&tnet->lobby));
		spin_unlock_bh(&tnet->lobby_lock);
		if (caller)
			tcpzc_caller_dismiss(caller);
	} while (caller);
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
		tcpzc_caller_add(tnet, sock);
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
	tcpzc_callers_dismiss(tnet);
	/* A caller that has just left the lobby may still hand over its socket. */
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
	spin_lock_init(&tnet->lobby_lock);
	spin_lock_init(&tnet->linger_lock);
	INIT_LIST_HEAD(&tnet->lingering.list);
	tnet->lingering.max = TZ_MAX_LINGERING;
	INIT_LIST_HEAD(&tnet->refused.list);
	tnet->refused.max = TZ_MAX_REFUSED;
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
