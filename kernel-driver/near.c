// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * near.c - may packets refer to a region's pages?
 *
 * On loopback and veth a packet reaches its receiver as it was sent, pages and all.
 * A process that splices its socket to a pipe keeps them, and reads there what is
 * written long after the work request has completed, or the region has gone. So
 * pages are sent where no process of this host can be the receiver:
 *
 *  - the packets leave by hardware, or
 *  - the other end of the connection is a socket of this module's, as a kernel-mode
 *    queue pair has it: it is looked up in all network namespaces. Other sockets of
 *    the kernel's are no such proof: a process may splice from the MPTCP or SMC socket
 *    that is on top of them.
 *
 * Elsewhere TCP copies. Taps (AF_PACKET, tc mirred) are root's, and not considered.
 */
#include <linux/if_vlan.h>
#include <linux/module.h>
#include <net/inet_hashtables.h>
#include <net/inet6_hashtables.h>
#include <net/net_namespace.h>
#include <net/tcp.h>

#include "tcpzc.h"

/* ---- the way ------------------------------------------------------------ */

static int tcpzc_is_soft(struct net_device *netdev, struct netdev_nested_priv *priv)
{
	return !netdev->dev.parent && !netif_is_bond_master(netdev);
}

/* A VLAN or bond of hardware is hardware; a bridge may lead to anything. */
static bool tcpzc_leaves_by_hardware(struct net_device *netdev)
{
	struct netdev_nested_priv priv = {};
	bool soft;

	while (is_vlan_dev(netdev))
		netdev = vlan_dev_real_dev(netdev);
	if (netdev->dev.parent || !netif_is_bond_master(netdev))
		return netdev->dev.parent;
	rcu_read_lock();
	soft = netdev_walk_all_lower_dev_rcu(netdev, tcpzc_is_soft, &priv);
	rcu_read_unlock();
	return !soft;
}

/* ---- the other end ------------------------------------------------------ */

/* Older kernels ask for the table. */
#ifdef TCPZC_HAS_LOOKUP_HASHINFO
#define lookup_in(fn, net, ...) \
	fn(net, (net)->ipv4.tcp_death_row.hashinfo, __VA_ARGS__, 0, 0)
#else
#define lookup_in(fn, net, ...)	fn(net, __VA_ARGS__, 0, 0)
#endif

/* The socket in @net to which @sk's packets go, if it is there; with a reference. */
static struct sock *tcpzc_other_end_in(struct net *net, const struct sock *sk)
{
	const struct inet_sock *inet = inet_sk(sk);
	u16 port = ntohs(inet->inet_dport);

	if (sk->sk_family == AF_INET)
		return lookup_in(__inet_lookup_established, net,
				 inet->inet_saddr, inet->inet_sport,
				 inet->inet_daddr, port);
#if IS_ENABLED(CONFIG_IPV6)
	if (sk->sk_family == AF_INET6)
		return lookup_in(__inet6_lookup_established, net,
				 &sk->sk_v6_rcv_saddr, inet->inet_sport,
				 &sk->sk_v6_daddr, port);
#endif
	return NULL;
}

/*
 * Addresses and ports may be the same in several namespaces; that what one has sent is
 * what the other has received may not, in both directions.
 */
static bool tcpzc_are_ends(const struct sock *a, const struct sock *b)
{
	u32 got = READ_ONCE(tcp_sk(b)->rcv_nxt);

	return !before(got, tcp_sk(a)->snd_una) &&
	       !after(got, tcp_sk(a)->snd_nxt);
}

/* All callbacks that this module gives to a socket are its own functions. */
static bool tcpzc_is_ours(const struct sock *sk, const struct sock *other)
{
	return sk_fullsock(other) && other->sk_kern_sock &&
	       within_module((unsigned long)READ_ONCE(other->sk_data_ready),
			     THIS_MODULE) &&
	       other->sk_protocol == IPPROTO_TCP && tcpzc_are_ends(sk, other) &&
	       tcpzc_are_ends(other, sk);
}

/* The other end, with a reference, or NULL. Within rcu_read_lock(). */
static struct sock *tcpzc_other_end(const struct sock *sk)
{
	struct sock *other;
	struct net *net;

	for_each_net_rcu(net) {
		other = tcpzc_other_end_in(net, sk);
		if (!other)
			continue;
		if (tcpzc_is_ours(sk, other))
			return other;
		sock_gen_put(other);
	}
	return NULL;
}

static bool tcpzc_ends_in_kernel(const struct sock *sk)
{
	struct sock *other;

	rcu_read_lock();
	other = tcpzc_other_end(sk);
	if (other)
		sock_put(other);
	rcu_read_unlock();
	return other;
}

bool tcpzc_near_has_read(const struct sock *sk, u32 seq)
{
	struct sock *other;
	bool has = true;

	rcu_read_lock();
	other = tcpzc_other_end(sk);
	if (other) {
		has = !before(READ_ONCE(tcp_sk(other)->copied_seq), seq);
		sock_put(other);
	}
	rcu_read_unlock();
	return has;
}

void tcpzc_near_abort(const struct sock *sk)
{
	struct net *net = NULL;
	struct sock *other;

	rcu_read_lock();
	other = tcpzc_other_end(sk);
	/* A socket of the kernel's own does not keep its namespace. */
	if (other)
		net = maybe_get_net(sock_net(other));
	if (other && !net) {
		sock_put(other);
		other = NULL;	/* which closes it itself */
	}
	rcu_read_unlock();
	if (!other)
		return;
	tcp_abort(other, ECONNABORTED);
	sock_put(other);
	put_net(net);
}

/* ---- the answer --------------------------------------------------------- */

bool tcpzc_may_refer(struct tcpzc_near *near, struct sock *sk)
{
	struct dst_entry *dst = __sk_dst_get(sk);
	int ifindex = dst ? dst->dev->ifindex : 0;

	switch (READ_ONCE(tcpzc_by_reference)) {
	case TCPZC_REFER_NEVER:
		return false;
	case TCPZC_REFER_ALWAYS:
		return true;
	}
	if (near->sk == sk && near->ifindex == ifindex)
		return near->ok;
	near->sk = sk;
	near->ifindex = ifindex;
	near->kernel = dst && !tcpzc_leaves_by_hardware(dst->dev) &&
		       tcpzc_ends_in_kernel(sk);
	near->ok = near->kernel || (dst && tcpzc_leaves_by_hardware(dst->dev));
	return near->ok;
}
