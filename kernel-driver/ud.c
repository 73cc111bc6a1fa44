// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * ud.c - datagrams: the well-known UDP port of a network namespace, by which
 * all UD queue pairs of its devices are reachable, the GSI's among them.
 *
 * Received datagrams are placed in the softirq that brought them. Sending is
 * done by processes, one at a time for each queue pair (qp->mutex): the one
 * that rings the doorbell, or a work item for those who post in the kernel,
 * where it may happen with interrupts off. Each queue pair sends by a socket of
 * its own, and waits for room there without keeping anything: one that is slow
 * is slow for itself.
 */
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/slab.h>
#include <linux/udp.h>
#include <net/dsfield.h>
#include <net/udp_tunnel.h>
#include <rdma/ib_cache.h>

#include "tcpzc.h"

#define TCPZC_UD_BUDGET		64	/* datagrams of one turn */

struct tcpzc_ud {
	struct tz_ud_out out;
	struct socket *sock[TCPZC_FAMILIES];	/* to send; NULL: not needed yet */
	void (*write_space)(struct sock *sk);	/* theirs */
	bool full;				/* write_space queues the work */
	u8 buf[sizeof(struct tz_ud_hdr) + TZ_UD_MAX_BYTES];
};

/* Room for the control messages of one datagram: address, class, hops. */
union tcpzc_ud_control {
	char buf[CMSG_SPACE(sizeof(struct in6_pktinfo)) +
		 2 * CMSG_SPACE(sizeof(int))];
	struct cmsghdr align;
};

/* ---- receiving ---------------------------------------------------------- */

static void tcpzc_udp_path(const struct sk_buff *skb, struct tz_ud_path *path)
{
	struct in6_addr *from = (struct in6_addr *)path->sgid;
	struct in6_addr *to = (struct in6_addr *)path->dgid;

	if (skb->protocol == htons(ETH_P_IPV6)) {
		const struct ipv6hdr *ip6 = ipv6_hdr(skb);

		*from = ip6->saddr;
		*to = ip6->daddr;
		path->traffic_class = ipv6_get_dsfield(ip6);
		path->hop_limit = ip6->hop_limit;
	} else {
		const struct iphdr *ip = ip_hdr(skb);

		ipv6_addr_set_v4mapped(ip->saddr, from);
		ipv6_addr_set_v4mapped(ip->daddr, to);
		path->traffic_class = ip->tos;
		path->hop_limit = ip->ttl;
	}
}

/* The queue pair that a datagram is for, with a reference. */
static struct tcpzc_qp *tcpzc_udp_qp(struct tcpzc_net *tnet, const u8 *dgid,
				     u32 qpn, int ifindex)
{
	struct tcpzc_qp *qp = tcpzc_qp_find(tnet, dgid, qpn);
	struct tcpzc_dev *dev;

	if (qp)
		return qp;
	dev = tcpzc_dev_of_gid(tnet, dgid, ifindex);
	if (!dev)
		return NULL;
	if (qpn == TZ_GSI_QPN)
		qp = tcpzc_qp_get(dev, qpn);
	if (!qp)
		tcpzc_count(dev, TCPZC_CNT_UD_STRAY, 1);
	ib_device_put(&dev->ib);
	return qp;
}

/*
 * An address of a VLAN is a GID of the interface below. ib_core finds the GID by
 * that and the VLAN which the message came by: an adapter tells it.
 */
static u32 tcpzc_udp_vlan(struct tcpzc_dev *dev, const u8 *dgid,
			  struct net_device *netdev)
{
	const union ib_gid *gid = (const union ib_gid *)dgid;
	const struct ib_gid_attr *attr;
	u16 vlan = 0xffff;

	attr = rdma_find_gid(&dev->ib, gid,
			     IB_GID_TYPE_ROCE_UDP_ENCAP, netdev);
	if (IS_ERR(attr))
		attr = rdma_find_gid(&dev->ib, gid,
				     IB_GID_TYPE_ROCE_UDP_ENCAP, NULL);
	if (IS_ERR(attr))
		return 0;
	rdma_read_gid_l2_fields(attr, &vlan, NULL);
	rdma_put_gid_attr(attr);
	return vlan == 0xffff ? 0 : TCPZC_VLAN | vlan;
}

static void tcpzc_udp_deliver(struct tcpzc_net *tnet, struct sk_buff *skb)
{
	struct tz_ud_path path;
	struct tcpzc_qp *qp;
	const u8 *dgram;
	u32 qpn, vlan = 0;

	if (skb_linearize(skb) || skb->len < sizeof(struct udphdr))
		return;
	dgram = skb->data + sizeof(struct udphdr);
	if (!tz_ud_check(dgram, skb->len - sizeof(struct udphdr), &qpn))
		return;
	tcpzc_udp_path(skb, &path);
	qp = tcpzc_udp_qp(tnet, path.dgid, qpn, skb->dev->ifindex);
	if (!qp)
		return;
	if (qp->kernel)
		vlan = tcpzc_udp_vlan(qp->dev, path.dgid, skb->dev);
	spin_lock_bh(&qp->lock);
	qp->rx_vlan = vlan;
	if (tz_qp_is_ud(&qp->eng) && !qp->dead)
		tz_ud_rx(&qp->eng, dgram, &path);
	qp->rx_vlan = 0;
	spin_unlock_bh(&qp->lock);
	tcpzc_qp_put(qp);
}

static int tcpzc_udp_rcv(struct sock *sk, struct sk_buff *skb)
{
	struct tcpzc_net *tnet = rcu_dereference_sk_user_data(sk);

	if (tnet)
		tcpzc_udp_deliver(tnet, skb);
	consume_skb(skb);
	return 0;
}

/* ---- sockets ------------------------------------------------------------ */

static struct socket *tcpzc_udp_new(struct tcpzc_net *tnet, int family)
{
	struct udp_tunnel_sock_cfg tunnel = {
		.sk_user_data = tnet,
		.encap_type = 1,
		.encap_rcv = tcpzc_udp_rcv,
	};
	struct udp_port_cfg port = {
		.family = family,
		.local_udp_port = htons(tcpzc_port),
		.use_udp_checksums = 1,
		.use_udp6_tx_checksums = 1,
		.use_udp6_rx_checksums = 1,
		.ipv6_v6only = 1,
	};
	struct socket *sock;
	int rc;

	rc = udp_sock_create(tnet->net, &port, &sock);
	if (rc)
		return ERR_PTR(rc);
	setup_udp_tunnel_sock(tnet->net, tcpzc_udp_tunnel(sock), &tunnel);
	return sock;
}

void tcpzc_udp_close(struct tcpzc_net *tnet)
{
	int i;

	for (i = 0; i < TCPZC_FAMILIES; i++) {
		if (tnet->udp[i])
			udp_tunnel_sock_release(tcpzc_udp_tunnel(tnet->udp[i]));
		tnet->udp[i] = NULL;
	}
}

int tcpzc_udp_open(struct tcpzc_net *tnet)
{
	int i;

	for (i = 0; i < TCPZC_FAMILIES; i++) {
		struct socket *sock = tcpzc_udp_new(tnet, tcpzc_families[i]);

		if (!IS_ERR(sock)) {
			tnet->udp[i] = sock;
		} else if (tcpzc_families[i] == AF_INET ||
			   PTR_ERR(sock) != -EAFNOSUPPORT) {
			tcpzc_udp_close(tnet);
			return PTR_ERR(sock);
		}
	}
	return 0;
}

/* ---- sockets that send -------------------------------------------------- */

/* There is room again. */
static void tcpzc_ud_write_space(struct sock *sk)
{
	struct tcpzc_qp *qp;

	read_lock_bh(&sk->sk_callback_lock);
	qp = sk->sk_user_data;
	if (qp && READ_ONCE(qp->ud->full) && sock_writeable(sk))
		queue_work(tcpzc_wq, &qp->ud_work);
	read_unlock_bh(&sk->sk_callback_lock);
}

/*
 * It sends from the well-known port, but is not bound to it: what comes there is
 * the namespace's socket's.
 */
static struct socket *tcpzc_ud_sock_new(struct tcpzc_qp *qp, int family)
{
	struct socket *sock;
	struct sock *sk;
	int rc;

	rc = sock_create_kern(qp->dev->net, family, SOCK_DGRAM, IPPROTO_UDP,
			      &sock);
	if (rc)
		return ERR_PTR(rc);
	sk = sock->sk;
	lock_sock(sk);
	inet_sk(sk)->inet_num = tcpzc_port;
	inet_sk(sk)->inet_sport = htons(tcpzc_port);
	write_lock_bh(&sk->sk_callback_lock);
	qp->ud->write_space = sk->sk_write_space;
	sk->sk_user_data = qp;
	sk->sk_write_space = tcpzc_ud_write_space;
	write_unlock_bh(&sk->sk_callback_lock);
	release_sock(sk);
	return sock;
}

/* That of tcpzc_families[@i]; in the process that sends, which is charged for it. */
static struct socket *tcpzc_ud_sock(struct tcpzc_qp *qp, int i)
{
	struct socket *sock = qp->ud->sock[i];

	if (sock)
		return sock;
	sock = tcpzc_ud_sock_new(qp, tcpzc_families[i]);
	if (!IS_ERR(sock))
		qp->ud->sock[i] = sock;
	return sock;
}

/* Its last packets may outlive the queue pair, and the module. */
static void tcpzc_ud_sock_abandon(struct tcpzc_qp *qp, struct sock *sk)
{
	write_lock_bh(&sk->sk_callback_lock);
	sk->sk_user_data = NULL;
	sk->sk_write_space = qp->ud->write_space;
	write_unlock_bh(&sk->sk_callback_lock);
}

/* @sk took nothing: it calls when there is room, or has it by now. */
static void tcpzc_ud_wait(struct tcpzc_qp *qp, const struct sock *sk)
{
	WRITE_ONCE(qp->ud->full, true);
	/* Pairs with the socket's, between making room and calling. */
	smp_mb();
	if (sock_writeable(sk))
		queue_work(tcpzc_wq, &qp->ud_work);
}

bool tcpzc_ud_full(const struct tcpzc_qp *qp)
{
	return READ_ONCE(qp->ud->full);
}

/* ---- sending ------------------------------------------------------------ */

static void tcpzc_ud_cmsg(struct msghdr *msg, int level, int type,
			  const void *data, size_t bytes)
{
	struct cmsghdr *cm = (void *)((u8 *)msg->msg_control +
				      msg->msg_controllen);

	cm->cmsg_level = level;
	cm->cmsg_type = type;
	cm->cmsg_len = CMSG_LEN(bytes);
	memcpy(CMSG_DATA(cm), data, bytes);
	msg->msg_controllen += CMSG_SPACE(bytes);
}

/* A hop limit of 1 is that of programs that know nothing of routes: the host's. */
static void tcpzc_ud_cmsg_v4(struct msghdr *msg, const struct in6_addr *from,
			     const struct tz_ud_out *out)
{
	struct in_pktinfo info = { .ipi_spec_dst.s_addr = from->s6_addr32[3] };
	int tos = out->traffic_class, ttl = out->hop_limit;

	tcpzc_ud_cmsg(msg, SOL_IP, IP_PKTINFO, &info, sizeof(info));
	tcpzc_ud_cmsg(msg, SOL_IP, IP_TOS, &tos, sizeof(tos));
	if (ttl > 1)
		tcpzc_ud_cmsg(msg, SOL_IP, IP_TTL, &ttl, sizeof(ttl));
}

static void tcpzc_ud_cmsg_v6(struct msghdr *msg, const struct tcpzc_dev *dev,
			     const struct in6_addr *from,
			     const struct tz_ud_out *out)
{
	struct in6_pktinfo info = { .ipi6_addr = *from };
	int class = out->traffic_class, hops = out->hop_limit;

	if (ipv6_addr_type(from) & IPV6_ADDR_LINKLOCAL)
		info.ipi6_ifindex = dev->ifindex;
	tcpzc_ud_cmsg(msg, SOL_IPV6, IPV6_PKTINFO, &info, sizeof(info));
	tcpzc_ud_cmsg(msg, SOL_IPV6, IPV6_TCLASS, &class, sizeof(class));
	if (hops > 1)
		tcpzc_ud_cmsg(msg, SOL_IPV6, IPV6_HOPLIMIT, &hops, sizeof(hops));
}

/* From the address of @sgid to where @out says. */
static int tcpzc_ud_xmit_from(struct tcpzc_qp *qp, const union ib_gid *sgid,
			      u32 bytes)
{
	const struct in6_addr *from = (const struct in6_addr *)sgid;
	const struct tz_ud_out *out = &qp->ud->out;
	bool v4 = tz_gid_is_v4(out->dgid);
	struct kvec kv = { .iov_base = qp->ud->buf, .iov_len = bytes };
	union tcpzc_ud_control control = {};
	struct sockaddr_storage to;
	struct msghdr msg = {
		.msg_name = &to,
		.msg_control = &control,
		.msg_flags = MSG_NOSIGNAL | MSG_DONTWAIT,
	};
	struct socket *sock;
	int rc;

	if (v4 != ipv6_addr_v4mapped(from))
		return -ENETUNREACH;
	sock = tcpzc_ud_sock(qp, v4 ? 0 : 1);
	if (IS_ERR(sock))
		return PTR_ERR(sock);
	msg.msg_namelen = tcpzc_gid_to_addr(qp->dev, out->dgid,
					    tcpzc_qpn_port(out->dest_qpn), &to);
	if (v4)
		tcpzc_ud_cmsg_v4(&msg, from, out);
	else
		tcpzc_ud_cmsg_v6(&msg, qp->dev, from, out);
	rc = kernel_sendmsg(sock, &msg, &kv, 1, bytes);
	if (rc == -EAGAIN)
		tcpzc_ud_wait(qp, sock->sk);
	return rc;
}

static int tcpzc_ud_xmit(struct tcpzc_qp *qp, u32 bytes)
{
	const struct ib_gid_attr *attr;
	int rc;

	attr = rdma_get_gid_attr(&qp->dev->ib, TCPZC_PORT_NUM,
				 qp->ud->out.sgid_index);
	if (IS_ERR(attr))
		return PTR_ERR(attr);
	rc = tcpzc_ud_xmit_from(qp, &attr->gid, bytes);
	rdma_put_gid_attr(attr);
	return rc;
}

/* Copy the next datagram together; its bytes, 0: there is none. qp->lock. */
static u32 tcpzc_ud_gather(struct tcpzc_qp *qp)
{
	struct tcpzc_ud *ud = qp->ud;
	u32 i, at = 0;

	if (qp->dead || !tz_ud_tx_next(&qp->eng, &ud->out))
		return 0;
	for (i = 0; i < ud->out.n; i++) {
		const struct tz_vec *vec = &ud->out.vec[i];

		if (WARN_ON_ONCE(vec->len > sizeof(ud->buf) - at))
			return 0;
		if (vec->mr)
			tcpzc_mr_read(vec->mr, vec->off, ud->buf + at, vec->len);
		else
			memcpy(ud->buf + at, vec->ptr, vec->len);
		at += vec->len;
	}
	return at;
}

/* One datagram; false if there is none, or no room. qp->mutex is held. */
static bool tcpzc_ud_send_one(struct tcpzc_qp *qp)
{
	u32 bytes, next;
	int rc;

	spin_lock_bh(&qp->lock);
	bytes = tcpzc_ud_gather(qp);
	next = tz_qp_imported(&qp->eng);
	spin_unlock_bh(&qp->lock);
	if (!bytes)
		return false;
	WRITE_ONCE(qp->ud->full, false);
	rc = tcpzc_ud_xmit(qp, bytes);
	if (rc == -EAGAIN)
		return false;
	spin_lock_bh(&qp->lock);
	/* A receive may have brought the queue pair to ERR, with a flush. */
	if (tz_qp_state(&qp->eng) == TZ_RTS && tz_qp_imported(&qp->eng) == next)
		tz_ud_tx_done(&qp->eng, &qp->ud->out, rc >= 0);
	spin_unlock_bh(&qp->lock);
	return true;
}

/* qp->mutex is held. */
void tcpzc_ud_run(struct tcpzc_qp *qp)
{
	int i;

	lockdep_assert_held(&qp->mutex);
	for (i = 0; i < TCPZC_UD_BUDGET && tcpzc_ud_send_one(qp); i++)
		;
	if (i == TCPZC_UD_BUDGET && !READ_ONCE(qp->dead))
		queue_work(tcpzc_wq, &qp->ud_work);
}

void tcpzc_ud_send(struct tcpzc_qp *qp)
{
	mutex_lock(&qp->mutex);
	tcpzc_ud_run(qp);
	mutex_unlock(&qp->mutex);
}

static void tcpzc_ud_work(struct work_struct *work)
{
	tcpzc_ud_send(container_of(work, struct tcpzc_qp, ud_work));
}

int tcpzc_ud_init(struct tcpzc_qp *qp, u32 type)
{
	INIT_WORK(&qp->ud_work, tcpzc_ud_work);
	if (type != TZ_QPT_UD)
		return 0;
	qp->ud = kvzalloc(sizeof(*qp->ud), GFP_KERNEL_ACCOUNT);
	return qp->ud ? 0 : -ENOMEM;
}

void tcpzc_ud_stop(struct tcpzc_qp *qp)
{
	int i;

	for (i = 0; qp->ud && i < TCPZC_FAMILIES; i++)
		if (qp->ud->sock[i])
			tcpzc_ud_sock_abandon(qp, qp->ud->sock[i]->sk);
	cancel_work_sync(&qp->ud_work);
}

void tcpzc_ud_exit(struct tcpzc_qp *qp)
{
	int i;

	for (i = 0; qp->ud && i < TCPZC_FAMILIES; i++)
		if (qp->ud->sock[i])
			sock_release(qp->ud->sock[i]);
	kvfree(qp->ud);
}
