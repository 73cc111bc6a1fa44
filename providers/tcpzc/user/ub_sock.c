// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * ub_sock.c - socket addresses and options.
 */
#include <errno.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ub.h"

u16 ub_sock_port(const struct ub_context *ctx, u32 qpn)
{
	u32 port = qpn >> 8;

	return port >= TZ_FIRST_USER_PORT ? port : ctx->set.port;
}

void ub_sock_addr(const struct ub_context *ctx, const u8 gid[16], u16 port,
		  struct sockaddr_storage *ss, socklen_t *len)
{
	memset(ss, 0, sizeof(*ss));
	if (tz_gid_is_v4(gid)) {
		struct sockaddr_in *sin = (struct sockaddr_in *)ss;

		sin->sin_family = AF_INET;
		sin->sin_port = htons(port);
		memcpy(&sin->sin_addr, gid + 12, 4);
		*len = sizeof(*sin);
	} else {
		struct sockaddr_in6 *sin6 = (struct sockaddr_in6 *)ss;

		sin6->sin6_family = AF_INET6;
		sin6->sin6_port = htons(port);
		memcpy(&sin6->sin6_addr, gid, 16);
		if (IN6_IS_ADDR_LINKLOCAL(&sin6->sin6_addr))
			sin6->sin6_scope_id = ctx->ifindex;
		*len = sizeof(*sin6);
	}
}

bool ub_sock_gid(const struct sockaddr_storage *ss, u8 gid[16])
{
	if (ss->ss_family == AF_INET6) {
		memcpy(gid, &((const struct sockaddr_in6 *)ss)->sin6_addr, 16);
		return true;
	}
	if (ss->ss_family != AF_INET)
		return false;
	memset(gid, 0, 10);
	memset(gid + 10, 0xff, 2);
	memcpy(gid + 12, &((const struct sockaddr_in *)ss)->sin_addr, 4);
	return true;
}

static void ub_sock_set_cc(int fd, const char *cc)
{
	static atomic_bool told;

	if (!setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, cc, strlen(cc)) ||
	    errno == ENOPROTOOPT || errno == EOPNOTSUPP)
		return;
	if (!atomic_exchange(&told, true))
		fprintf(stderr, "tcpzc: congestion control %s: %m\n", cc);
}

/*
 * Between two processes of one host nothing can be congested, and a pacing
 * algorithm only wastes time: unless the user has chosen, such connections use
 * reno, which every kernel has and every user may set.
 */
static bool ub_sock_is_local(const struct ub_qp *qp)
{
	int i;

	for (i = 0; i < TCPZC_GID_TABLE_LEN; i++)
		if (!memcmp(&qp->ctx->gids[i], tz_qp_attrs(&qp->eng)->dgid, 16))
			return true;
	return false;
}

/*
 * The network interface is a piece of hardware: a packet reaches another namespace
 * of this host at most as a copy. Of one that is not, or of which nothing can be
 * seen, nobody knows; its packets, pages and all, may end in a socket here, whose
 * owner can keep them (splice) and read later what has been written since.
 */
bool ub_sock_leaves_host(const struct ub_qp *qp)
{
	char path[64], name[IF_NAMESIZE];

	if (ub_sock_is_local(qp) || !if_indextoname(qp->ctx->ifindex, name))
		return false;
	snprintf(path, sizeof(path), "/sys/class/net/%s/device", name);
	return !access(path, F_OK);
}

void ub_sock_tune(struct ub_qp *qp, int fd)
{
	int one = 1, tos = qp->attr.ah_attr.grh.traffic_class;
	bool v4 = tz_gid_is_v4(tz_qp_attrs(&qp->eng)->dgid);

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (tos && v4)
		setsockopt(fd, IPPROTO_IP, IP_TOS, &tos, sizeof(tos));
	if (tos && !v4)
		setsockopt(fd, IPPROTO_IPV6, IPV6_TCLASS, &tos, sizeof(tos));
	if (qp->ctx->set.cc[0])
		ub_sock_set_cc(fd, qp->ctx->set.cc);
	else if (ub_sock_is_local(qp))
		ub_sock_set_cc(fd, "reno");
}

/* ---- is the peer's host there? ------------------------------------------ */

/*
 * TCP's keepalive asks once a second as long as nothing is on its way. It must
 * not end the connection, so its count is as large as it can be; the engine's
 * time is over long before.
 */
static void ub_sock_ask(struct ub_conn *c)
{
	int one = 1, count = 127;

	if (c->asking)
		return;
	c->asking = true;
	setsockopt(c->rfd, IPPROTO_TCP, TCP_KEEPIDLE, &one, sizeof(one));
	setsockopt(c->rfd, IPPROTO_TCP, TCP_KEEPINTVL, &one, sizeof(one));
	setsockopt(c->rfd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof(count));
	setsockopt(c->rfd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
}

void ub_sock_stop_asking(struct ub_conn *c)
{
	int zero = 0;

	c->asking = false;
	setsockopt(c->rfd, SOL_SOCKET, SO_KEEPALIVE, &zero, sizeof(zero));
}

/*
 * What was sent is acknowledged by the peer's host, or is not, which says little
 * before TCP has sent it again TZ_MIN_RETRANSMITS times. If its buffer is full TCP
 * probes, less and less often, and all that counts is that no probe was left
 * without an answer. If everything has arrived we must ask.
 */
u64 ub_sock_heard_ns(struct tz_qp *eng, u64 now)
{
	struct ub_conn *c = &ub_qp_of(eng)->conn;
	struct tcp_info info = {};
	socklen_t len = sizeof(info);
	int unsent = 0;
	u64 ago;

	if (c->rfd != c->wfd ||
	    getsockopt(c->rfd, IPPROTO_TCP, TCP_INFO, &info, &len) ||
	    ioctl(c->rfd, SIOCOUTQNSD, &unsent))
		return 0;
	if (!info.tcpi_unacked && unsent && !info.tcpi_probes)
		return now;
	if (info.tcpi_unacked && info.tcpi_retransmits < TZ_MIN_RETRANSMITS)
		return now;
	if (!info.tcpi_unacked && !unsent)
		ub_sock_ask(c);
	ago = info.tcpi_last_ack_recv * 1000000ull;
	return ago < now ? now - ago : 0;
}
