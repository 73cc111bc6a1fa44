// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * ub_ud.c - datagrams: a UD queue pair has a UDP socket of its own, at the port
 * that its number names. The socket takes part in turns and claims as the
 * connection of another queue pair does.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/ip.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tz_ud.h"
#include "ub.h"

/* Datagrams of one system call, system calls of one turn. */
#define UB_UD_BATCH	8
#define UB_UD_CALLS	8
#define UB_UD_SENDS	64
/* As much as the system permits: what does not fit is lost. */
#define UB_UD_RCVBUF	(8 << 20)

#define UB_UD_SLOT	(sizeof(struct tz_ud_hdr) + TZ_UD_MAX_BYTES + 1)

union ub_ud_cmsg {
	struct cmsghdr align;
	u8 bytes[CMSG_SPACE(sizeof(struct in6_pktinfo)) +
		 2 * CMSG_SPACE(sizeof(int))];
};

/* ---- the socket --------------------------------------------------------- */

static void ub_ud_options(int fd, int family)
{
	int one = 1, zero = 0, bytes = UB_UD_RCVBUF;

	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes)))
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
	setsockopt(fd, IPPROTO_IP, IP_RECVTOS, &one, sizeof(one));
	setsockopt(fd, IPPROTO_IP, IP_RECVTTL, &one, sizeof(one));
	if (family == AF_INET) {
		setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &one, sizeof(one));
		return;
	}
	setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof(zero));
	setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &one, sizeof(one));
	setsockopt(fd, IPPROTO_IPV6, IPV6_RECVTCLASS, &one, sizeof(one));
	setsockopt(fd, IPPROTO_IPV6, IPV6_RECVHOPLIMIT, &one, sizeof(one));
}

static int ub_ud_bind(int family, u16 port)
{
	struct sockaddr_in6 in6 = {
		.sin6_family = AF_INET6, .sin6_port = htons(port),
	};
	struct sockaddr_in in = {
		.sin_family = AF_INET, .sin_port = htons(port),
	};
	int fd, err;

	fd = socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -1;
	ub_ud_options(fd, family);
	if (family == AF_INET6 ?
		    !bind(fd, (struct sockaddr *)&in6, sizeof(in6)) :
		    !bind(fd, (struct sockaddr *)&in, sizeof(in)))
		return fd;
	err = errno;
	close(fd);
	errno = err;
	return -1;
}

bool ub_ud_open(struct ub_qp *qp, u16 port)
{
	struct ub_conn *c = &qp->conn;
	int fd;

	fd = ub_ud_bind(AF_INET6, port);
	c->udp_family = AF_INET6;
	if (fd < 0 && errno != EADDRINUSE) {
		fd = ub_ud_bind(AF_INET, port);
		c->udp_family = AF_INET;
	}
	if (fd < 0)
		return false;
	c->rfd = fd;
	c->wfd = fd;
	return true;
}

/* ---- sending ------------------------------------------------------------ */

/* Is this address one that datagrams can be sent to, from this GID? */
static bool ub_ud_reachable(const struct ub_qp *qp, const struct tz_ud_out *out)
{
	static const union ibv_gid none;
	bool v4 = tz_gid_is_v4(out->dgid);
	const u8 *sgid;

	if (out->sgid_index >= TCPZC_GID_TABLE_LEN)
		return false;
	sgid = qp->ctx->gids[out->sgid_index].raw;
	if (!memcmp(sgid, &none, 16) || !memcmp(out->dgid, &none, 16) ||
	    tz_gid_is_v4(sgid) != v4)
		return false;
	if (qp->conn.udp_family == AF_INET && !v4)
		return false;
	/* There is no multicast. */
	return v4 ? (out->dgid[12] & 0xf0) != 0xe0 : out->dgid[0] != 0xff;
}

static void ub_ud_put_cmsg(struct msghdr *msg, int level, int type,
			   const void *data, size_t len)
{
	struct cmsghdr *c = (void *)((u8 *)msg->msg_control +
				     msg->msg_controllen);

	c->cmsg_level = level;
	c->cmsg_type = type;
	c->cmsg_len = CMSG_LEN(len);
	memcpy(CMSG_DATA(c), data, len);
	msg->msg_controllen += CMSG_SPACE(len);
}

/* Source address, traffic class and hop limit. */
static void ub_ud_put_path(struct ub_qp *qp, const struct tz_ud_out *out,
			   struct msghdr *msg)
{
	const u8 *sgid = qp->ctx->gids[out->sgid_index].raw;
	bool v4 = tz_gid_is_v4(out->dgid);
	int tos = out->traffic_class, hops = out->hop_limit;
	struct in6_pktinfo info6 = {};
	struct in_pktinfo info = {};

	msg->msg_controllen = 0;
	if (qp->conn.udp_family == AF_INET) {
		memcpy(&info.ipi_spec_dst, sgid + 12, 4);
		ub_ud_put_cmsg(msg, IPPROTO_IP, IP_PKTINFO, &info, sizeof(info));
	} else {
		memcpy(&info6.ipi6_addr, sgid, 16);
		if (IN6_IS_ADDR_LINKLOCAL(&info6.ipi6_addr))
			info6.ipi6_ifindex = qp->ctx->ifindex;
		ub_ud_put_cmsg(msg, IPPROTO_IPV6, IPV6_PKTINFO, &info6,
			       sizeof(info6));
	}
	if (tos)
		ub_ud_put_cmsg(msg, v4 ? IPPROTO_IP : IPPROTO_IPV6,
			       v4 ? IP_TOS : IPV6_TCLASS, &tos, sizeof(tos));
	/* Many programs say 1 and mean "whatever it takes". */
	if (hops > 1)
		ub_ud_put_cmsg(msg, v4 ? IPPROTO_IP : IPPROTO_IPV6,
			       v4 ? IP_TTL : IPV6_HOPLIMIT, &hops, sizeof(hops));
}

static void ub_ud_addr(const struct ub_qp *qp, const struct tz_ud_out *out,
		       struct sockaddr_storage *ss, socklen_t *len)
{
	u16 port = ub_sock_port(qp->ctx, out->dest_qpn);
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ss;

	if (qp->conn.udp_family == AF_INET) {
		ub_sock_addr(qp->ctx, out->dgid, port, ss, len);
		return;
	}
	/* A GID of an IPv4 address is the address as IPv6 sockets have it. */
	memset(in6, 0, sizeof(*in6));
	in6->sin6_family = AF_INET6;
	in6->sin6_port = htons(port);
	memcpy(&in6->sin6_addr, out->dgid, 16);
	if (IN6_IS_ADDR_LINKLOCAL(&in6->sin6_addr))
		in6->sin6_scope_id = qp->ctx->ifindex;
	*len = sizeof(*in6);
}

/* False if the socket takes no more now. */
static bool ub_ud_send(struct ub_qp *qp, struct tz_ud_out *out)
{
	struct iovec iov[TCPZC_MAX_SGE + 1];
	struct sockaddr_storage to;
	union ub_ud_cmsg cmsg;
	struct msghdr msg = {
		.msg_name = &to, .msg_iov = iov, .msg_control = cmsg.bytes,
	};
	bool sent = false;

	memset(&cmsg, 0, sizeof(cmsg));
	if (ub_ud_reachable(qp, out)) {
		ub_ud_addr(qp, out, &to, &msg.msg_namelen);
		ub_ud_put_path(qp, out, &msg);
		ub_fill_iov(out->vec, out->n, iov);
		msg.msg_iovlen = out->n;
		sent = sendmsg(qp->conn.wfd, &msg,
			       MSG_DONTWAIT | MSG_NOSIGNAL) >= 0;
		if (!sent && (errno == EAGAIN || errno == EINTR))
			return false;
		if (!sent && errno == EFAULT) {
			ub_fault(out->vec, out->n, false);
			return true;	/* asked for again, it is refused */
		}
	}
	tz_ud_tx_done(&qp->eng, out, sent);
	return true;
}

void ub_ud_tx(struct ub_qp *qp)
{
	struct tz_ud_out out;
	int i;

	ub_note_rung(qp);
	for (i = 0; i < UB_UD_SENDS; i++)
		if (!tz_ud_tx_next(&qp->eng, &out) || !ub_ud_send(qp, &out))
			return;
	if (tz_ud_tx_pending(&qp->eng))
		qp->conn.unfinished = true;
}

/* ---- receiving ---------------------------------------------------------- */

static void ub_ud_get_cmsg(const struct cmsghdr *c, struct tz_ud_path *path)
{
	const void *data = CMSG_DATA(c);
	bool v6 = c->cmsg_level == IPPROTO_IPV6;
	struct in_pktinfo info;
	int value;

	if (v6 && c->cmsg_type == IPV6_PKTINFO) {
		memcpy(path->dgid, data, 16);
	} else if (!v6 && c->cmsg_type == IP_PKTINFO) {
		memcpy(&info, data, sizeof(info));
		memset(path->dgid, 0, 10);
		memset(path->dgid + 10, 0xff, 2);
		memcpy(path->dgid + 12, &info.ipi_addr, 4);
	} else if (!v6 && c->cmsg_type == IP_TOS) {
		path->traffic_class = *(const u8 *)data;
	} else {
		memcpy(&value, data, sizeof(value));
		if (v6 && c->cmsg_type == IPV6_TCLASS)
			path->traffic_class = value;
		else if ((v6 && c->cmsg_type == IPV6_HOPLIMIT) ||
			 (!v6 && c->cmsg_type == IP_TTL))
			path->hop_limit = value;
	}
}

static void ub_ud_deliver(struct ub_qp *qp, struct msghdr *msg, u32 bytes)
{
	const u8 *dgram = msg->msg_iov->iov_base;
	struct tz_ud_path path = {};
	struct cmsghdr *c;
	u32 qpn;

	qp->conn.rx_bytes += bytes;
	if (!tz_ud_check(dgram, bytes, &qpn) || qpn != tz_qp_num(&qp->eng) ||
	    !ub_sock_gid(msg->msg_name, path.sgid)) {
		tz_ud_drop(&qp->eng);
		return;
	}
	for (c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c))
		ub_ud_get_cmsg(c, &path);
	tz_ud_rx(&qp->eng, dgram, &path);
}

/* One by one where the call is forbidden. */
static int ub_ud_recvmmsg(int fd, struct mmsghdr *msg, int max)
{
	int n = recvmmsg(fd, msg, max, MSG_DONTWAIT, NULL), i;
	ssize_t bytes;

	if (n >= 0 || errno == EAGAIN || errno == EINTR)
		return n;
	for (i = 0; i < max; i++) {
		bytes = recvmsg(fd, &msg[i].msg_hdr, MSG_DONTWAIT);
		if (bytes < 0)
			break;
		msg[i].msg_len = bytes;
	}
	return i;
}

/* Returns how many came; less than asked for, and the socket is empty. */
static int ub_ud_recv_batch(struct ub_qp *qp)
{
	struct sockaddr_storage from[UB_UD_BATCH];
	union ub_ud_cmsg cmsg[UB_UD_BATCH];
	struct mmsghdr msg[UB_UD_BATCH];
	struct iovec iov[UB_UD_BATCH];
	int n, i;

	static_assert(UB_UD_BATCH * UB_UD_SLOT <= UB_RX_BUF_BYTES, "room");
	memset(msg, 0, sizeof(msg));
	for (i = 0; i < UB_UD_BATCH; i++) {
		iov[i].iov_base = tz_qp_made(&qp->eng)->rx_buf + i * UB_UD_SLOT;
		iov[i].iov_len = UB_UD_SLOT;
		msg[i].msg_hdr.msg_iov = &iov[i];
		msg[i].msg_hdr.msg_iovlen = 1;
		msg[i].msg_hdr.msg_name = &from[i];
		msg[i].msg_hdr.msg_namelen = sizeof(from[i]);
		msg[i].msg_hdr.msg_control = cmsg[i].bytes;
		msg[i].msg_hdr.msg_controllen = sizeof(cmsg[i].bytes);
	}
	n = ub_ud_recvmmsg(qp->conn.rfd, msg, UB_UD_BATCH);
	for (i = 0; i < n; i++)
		ub_ud_deliver(qp, &msg[i].msg_hdr, msg[i].msg_len);
	return n;
}

void ub_ud_rx(struct ub_qp *qp)
{
	int i;

	qp->conn.rx_bytes = 0;
	qp->conn.rx_idle = true;
	for (i = 0; i < UB_UD_CALLS; i++)
		if (ub_ud_recv_batch(qp) < UB_UD_BATCH)
			return;
	qp->conn.unfinished = true;
}
