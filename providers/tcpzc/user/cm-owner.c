// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * cm-owner.c - the well-known port, and which process reads what comes there.
 *
 * All processes of a network namespace have the same socket open: the owner,
 * which has bound it or got it from the one before, gives it to everybody who
 * connects to it. So a datagram that nobody has read yet outlives the owner, and
 * the port is never closed while another process is there. The others keep their
 * connections to the owner; when these break they try to become it, by taking its
 * name, and one of them does.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cm.h"

#define CM_RETRY_NS	(20 * 1000000ull)
#define CM_SLOW_RETRY_NS (1000 * 1000000ull)
#define CM_LONELY_TRIES	100

/* Another process's connection to this one, the owner. */
struct cm_link {
	struct cm_fd far;		/* first */
	LIST_ENTRY(cm_link) node;
};

static struct {
	LIST_HEAD(, cm_link) links;
	u32 lonely;			/* tries without an owner */
	struct cm_fd port;		/* the well-known one; only the owner reads */
	struct cm_fd link;		/* the owner's listener; else to the owner */
	u64 retry_at;			/* 0: all is well */
} own = { .port.fd = -1, .link.fd = -1 };

static socklen_t cm_owner_name(struct sockaddr_storage *ss)
{
	return cm_port_name(0, cm_well_known_port, "owner", ss);
}

/* ---- the owner ---------------------------------------------------------- */

static void cm_link_close(struct cm_link *link)
{
	LIST_REMOVE(link, node);
	cm_net_close(&link->far);
	free(link);
}

/* The others' connections carry nothing from them; they only end. */
static void cm_link_ended(struct cm_fd *fd, u32 events)
{
	(void)events;
	cm_link_close((struct cm_link *)fd);
}

union cm_rights {
	struct cmsghdr hdr;
	char bytes[CMSG_SPACE(sizeof(int))];
};

static bool cm_link_give(int to, int fd)
{
	union cm_rights rights = {
		.hdr = {
			.cmsg_len = CMSG_LEN(sizeof(int)),
			.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS,
		},
	};
	char byte = 0;
	struct iovec iov = { &byte, 1 };
	struct msghdr m = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &rights,
		.msg_controllen = sizeof(rights),
	};

	memcpy(CMSG_DATA(&rights.hdr), &fd, sizeof(fd));
	return sendmsg(to, &m, MSG_DONTWAIT | MSG_NOSIGNAL) == 1;
}

static void cm_link_accept(struct cm_fd *fd, u32 events)
{
	int got = accept4(fd->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct cm_link *link;

	(void)events;
	if (got < 0)
		return;
	link = calloc(1, sizeof(*link));
	if (!link) {
		close(got);
		return;
	}
	link->far.fd = got;
	link->far.ready = cm_link_ended;
	LIST_INSERT_HEAD(&own.links, link, node);
	if (!cm_link_give(got, own.port.fd) ||
	    !cm_net_watch(&link->far, EPOLLRDHUP))
		cm_link_close(link);
}

/* Take the owner's name; false if somebody has it. */
static bool cm_owner_become(void)
{
	struct sockaddr_storage ss;
	socklen_t len = cm_owner_name(&ss);
	int fd;

	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return false;
	if (bind(fd, (struct sockaddr *)&ss, len) || listen(fd, 4096)) {
		close(fd);
		return false;
	}
	own.lonely = 0;
	own.retry_at = 0;
	own.link.fd = fd;
	own.link.ready = cm_link_accept;
	own.port.ready = cm_net_ready;
	cm_net_watch(&own.link, EPOLLIN);
	cm_net_watch(&own.port, EPOLLIN);
	return true;
}

/* ---- the others --------------------------------------------------------- */

/* The port is neither free nor one of ours. */
static void cm_owner_missing(void)
{
	if (own.lonely < CM_LONELY_TRIES) {
		own.lonely++;
		return;
	}
	if (own.lonely++ == CM_LONELY_TRIES)
		fprintf(stderr,
			"tcpzc: rdma_cm: UDP port %u is taken by %s; there will be no connections\n",
			cm_well_known_port,
			access("/sys/module/tcpzc", F_OK) ? "something else" :
			"something else, perhaps the devices of the kernel module (TCPZC_PORT sets another)");
	own.retry_at = cm_now() + CM_SLOW_RETRY_NS;
}

/* Is this what an owner gives away? */
static bool cm_is_the_port(int fd)
{
	union cm_addr a = {};
	socklen_t len = sizeof(a), type_len = sizeof(int);
	int type = 0;

	return !getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &type_len) &&
	       type == SOCK_DGRAM && !getsockname(fd, &a.sa, &len) &&
	       cm_addr_ok(&a) && cm_addr_port(&a) == cm_well_known_port;
}

static void cm_link_take(const union cm_rights *rights)
{
	int fd;

	if (rights->hdr.cmsg_len != CMSG_LEN(sizeof(int)) ||
	    rights->hdr.cmsg_level != SOL_SOCKET ||
	    rights->hdr.cmsg_type != SCM_RIGHTS)
		return;
	memcpy(&fd, CMSG_DATA(&rights->hdr), sizeof(fd));
	if (own.port.fd < 0 && cm_is_the_port(fd))
		own.port.fd = fd;
	else
		close(fd);
}

/* The owner gives us the socket, or has ended. */
static void cm_link_ready(struct cm_fd *fd, u32 events)
{
	union cm_rights rights = {};
	char byte;
	struct iovec iov = { &byte, 1 };
	struct msghdr m = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &rights,
		.msg_controllen = sizeof(rights),
	};
	ssize_t n;

	(void)events;
	n = recvmsg(fd->fd, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (n > 0) {
		if (m.msg_controllen >= sizeof(struct cmsghdr))
			cm_link_take(&rights);
		return;
	}
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	cm_net_close(fd);
	cm_owner_elect();
}

static void cm_owner_follow(void)
{
	struct sockaddr_storage ss;
	socklen_t len = cm_owner_name(&ss);
	int fd;

	own.retry_at = cm_now() + CM_RETRY_NS;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return;
	if (connect(fd, (struct sockaddr *)&ss, len)) {
		close(fd);
		cm_owner_missing();
		return;
	}
	own.lonely = 0;
	own.link.fd = fd;
	own.link.ready = cm_link_ready;
	if (cm_net_watch(&own.link, EPOLLIN | EPOLLRDHUP))
		own.retry_at = 0;
	else
		cm_net_close(&own.link);
}

void cm_owner_elect(void)
{
	int family;

	if (own.port.fd < 0)
		own.port.fd = cm_net_open(cm_well_known_port, &family);
	if (own.port.fd < 0 || !cm_owner_become())
		cm_owner_follow();
}

u64 cm_owner_deadline(void)
{
	return own.retry_at;
}

void cm_owner_timer(u64 now)
{
	if (own.retry_at && now >= own.retry_at)
		cm_owner_elect();
}

/*
 * Nothing may stay open in a child, either: the others take it for the owner as
 * long as their connections stand.
 */
void cm_owner_stop(void)
{
	struct cm_link *link;

	cm_net_close(&own.port);
	cm_net_close(&own.link);
	while ((link = LIST_FIRST(&own.links)))
		cm_link_close(link);
	own.lonely = 0;
	own.retry_at = 0;
}
