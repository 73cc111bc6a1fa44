// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * cm-owner.c - the well-known port, and which process reads what comes there.
 *
 * All of a user's processes in a network namespace have the same socket open: the
 * owner, which has bound it or got it from the one before, gives it to those of
 * its user that connect to it. So a datagram that nobody has read yet outlives the
 * owner, and the port is never closed while another process of the user is there.
 * The others keep their connections to the owner; when these break they try to
 * become it, by taking its name, and one of them does.
 *
 * An owner serves the processes of its user; root's serves everybody, but gives its
 * socket to none of the others. A process follows an owner of its user or root's. If
 * the port is another user's, rdma_cm does not work here (EADDRINUSE), and the
 * process looks again each second.
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
/* After a change of user: for the others to be first. */
#define CM_YIELD_NS		100000000ull
#define CM_SLOW_RETRY_NS (1000 * 1000000ull)
#define CM_LONELY_TRIES	100
#define CM_PORT_TRIES	10
#define CM_HELLO_NS	(2000 * 1000000ull)	/* a link that says nothing */
#define CM_LINKS	4096
#define CM_USER_LINKS	64			/* of each other user */
#define CM_OTHERS_LINKS	512			/* of all of them */

/* Another process's connection to this one, the owner. */
struct cm_link {
	struct cm_fd far;		/* first */
	LIST_ENTRY(cm_link) node;
	uid_t uid;
	u64 until;			/* 0: it has said hello */
};

static struct {
	LIST_HEAD(, cm_link) links;
	u32 num_links, num_others;
	u64 silent_until;		/* 0, or the next of them to be closed */
	u32 lonely;			/* tries without an owner */
	struct cm_fd port;		/* the well-known one */
	bool reading;			/* it */
	struct cm_door door;		/* the owner's name */
	struct cm_fd link;		/* to the owner */
	bool greeted, full;		/* by the owner; which has no room */
	bool useless;			/* the port is another user's */
	uid_t said;			/* whose that was, when it was last said */
	uid_t uid;			/* as which this process takes part */
	u64 retry_at;			/* 0: all is well */
} own = { .port.fd = -1, .link.fd = -1, .door.fd.fd = -1, .said = -1 };

static socklen_t cm_owner_name(struct sockaddr_storage *ss)
{
	return cm_port_name(0, cm_well_known_port, "owner", ss);
}

static void cm_port_read(bool on)
{
	if (on == own.reading)
		return;
	own.port.ready = cm_net_ready;
	if (!on)
		cm_net_unwatch(&own.port);
	own.reading = on && cm_net_watch(&own.port, EPOLLIN);
}

/* ---- the owner ---------------------------------------------------------- */

static void cm_link_close(struct cm_link *link)
{
	LIST_REMOVE(link, node);
	own.num_links--;
	own.num_others -= !cm_same_user(link->uid);
	cm_net_close(&link->far);
	free(link);
}

union cm_rights {
	struct cmsghdr hdr;
	char bytes[CMSG_SPACE(sizeof(int))];
};

/* Greet, and give the socket to a process of our user. */
static bool cm_link_greet(const struct cm_link *link, u32 flags)
{
	union cm_rights rights = {
		.hdr = {
			.cmsg_len = CMSG_LEN(sizeof(int)),
			.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS,
		},
	};
	struct cm_hello hello;
	struct iovec iov = { &hello, sizeof(hello) };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };

	cm_hello_make(flags, &hello);
	memcpy(CMSG_DATA(&rights.hdr), &own.port.fd, sizeof(int));
	if (cm_same_user(link->uid)) {
		m.msg_control = &rights;
		m.msg_controllen = sizeof(rights);
	}
	return sendmsg(link->far.fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL) ==
	       sizeof(hello);
}

/* The others say hello, and then nothing; their connections end. */
static void cm_link_heard(struct cm_fd *fd, u32 events)
{
	struct cm_link *link = (struct cm_link *)fd;
	struct cm_hello hello;
	ssize_t n;
	u32 flags;

	(void)events;
	n = recv(fd->fd, &hello, sizeof(hello), MSG_DONTWAIT | MSG_TRUNC);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0 || !link->until || !cm_hello_parse(&hello, n, &flags) ||
	    !cm_link_greet(link, 0)) {
		cm_link_close(link);
		return;
	}
	link->until = 0;
}

static bool cm_link_room(uid_t uid)
{
	struct cm_link *link;
	u32 n = 0;

	if (own.num_links >= CM_LINKS)
		return false;
	if (cm_same_user(uid))
		return true;
	LIST_FOREACH(link, &own.links, node)
		n += link->uid == uid;
	return n < CM_USER_LINKS && own.num_others < CM_OTHERS_LINKS;
}

/* A process beyond what there is room for is served, too: it looks again by itself. */
static void cm_link_refuse(int fd, uid_t uid)
{
	struct cm_link link = { .far.fd = fd, .uid = uid };

	cm_link_greet(&link, CM_HELLO_FULL);
	close(fd);
}

static void cm_link_got(int fd, uid_t uid)
{
	struct cm_link *link;

	if (!cm_same_user(uid) && geteuid() != 0) {
		close(fd);	/* it does not trust us, if it is honest */
		return;
	}
	link = cm_link_room(uid) ? calloc(1, sizeof(*link)) : NULL;
	if (!link) {
		cm_link_refuse(fd, uid);
		return;
	}
	link->far.fd = fd;
	link->far.ready = cm_link_heard;
	link->uid = uid;
	link->until = cm_now() + CM_HELLO_NS;
	if (!own.silent_until)
		own.silent_until = link->until;
	LIST_INSERT_HEAD(&own.links, link, node);
	own.num_links++;
	own.num_others += !cm_same_user(uid);
	if (!cm_net_watch(&link->far, EPOLLIN | EPOLLRDHUP))
		cm_link_close(link);
}

static void cm_links_timer(u64 now)
{
	struct cm_link *link, *next;

	if (!own.silent_until || now < own.silent_until)
		return;
	own.silent_until = 0;
	for (link = LIST_FIRST(&own.links); link; link = next) {
		next = LIST_NEXT(link, node);
		if (!link->until)
			continue;
		if (now >= link->until)
			cm_link_close(link);
		else if (!own.silent_until || link->until < own.silent_until)
			own.silent_until = link->until;
	}
}

/* Take the owner's name; false if somebody has it. */
static bool cm_owner_become(void)
{
	struct sockaddr_storage ss;
	socklen_t len = cm_owner_name(&ss);

	if (cm_door_open(&own.door, &ss, len, cm_link_got))
		return false;
	own.lonely = 0;
	own.retry_at = 0;
	own.useless = false;
	cm_port_read(true);
	return true;
}

/* ---- the others --------------------------------------------------------- */

/* What comes to the port goes to others. */
static void cm_port_lost(void)
{
	if (!own.useless)
		cm_cx_hopeless();
	own.useless = true;
}

/* The port is neither free nor one of ours. */
static void cm_owner_missing(void)
{
	own.retry_at = cm_now() + CM_RETRY_NS;
	if (own.lonely < (own.port.fd >= 0 ? CM_PORT_TRIES : CM_LONELY_TRIES)) {
		own.lonely++;
		return;
	}
	if (own.port.fd >= 0) {		/* somebody keeps all from its name */
		cm_port_read(true);
		return;
	}
	if (own.lonely++ == CM_LONELY_TRIES)
		fprintf(stderr,
			"tcpzc: rdma_cm: UDP port %u is taken by %s; there will be no connections\n",
			cm_well_known_port,
			access("/sys/module/tcpzc", F_OK) ? "something else" :
			"something else, perhaps the devices of the kernel module (TCPZC_PORT sets another)");
	cm_port_lost();
	own.retry_at = cm_now() + CM_SLOW_RETRY_NS;
}

/*
 * The owner's name is another user's. With the port itself open this process needs
 * no owner; several may read the port then.
 */
static void cm_owner_foreign(uid_t uid)
{
	own.retry_at = cm_now() + CM_SLOW_RETRY_NS;
	if (own.port.fd >= 0) {
		own.useless = false;
		cm_port_read(true);
		return;
	}
	cm_port_lost();
	if (own.said == uid)
		return;
	own.said = uid;
	fprintf(stderr,
		"tcpzc: rdma_cm: UDP port %u is served by a process of user %u, which user %u does not trust; there will be no connections (TCPZC_PORT sets another port)\n",
		cm_well_known_port, (unsigned int)uid, (unsigned int)own.uid);
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

/* One packet of the owner; false if there will be no more. */
static bool cm_link_receive(int link)
{
	union cm_rights rights = {};
	struct cm_hello hello;
	struct iovec iov = { &hello, sizeof(hello) };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
	uid_t uid;
	ssize_t n;
	u32 flags;

	/* Root's owner, too, has nothing to give to another user's process. */
	if (cm_peer_user(link, &uid) && cm_same_user(uid)) {
		m.msg_control = &rights;
		m.msg_controllen = sizeof(rights);
	}
	n = recvmsg(link, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC | MSG_TRUNC);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	if (m.msg_controllen >= sizeof(struct cmsghdr))
		cm_link_take(&rights);
	if (!cm_hello_parse(&hello, n, &flags))
		return false;
	own.greeted = true;
	own.full = flags & CM_HELLO_FULL;
	own.lonely = 0;
	return true;
}

/* The owner greets, or has ended. */
static void cm_link_ready(struct cm_fd *fd, u32 events)
{
	(void)events;
	if (cm_link_receive(fd->fd))
		return;
	cm_net_close(fd);
	if (own.full)
		own.retry_at = cm_now() + CM_SLOW_RETRY_NS;
	else if (own.greeted)
		cm_owner_elect();
	else
		cm_owner_missing();
}

static int cm_owner_connect(void)
{
	struct sockaddr_storage ss;
	socklen_t len = cm_owner_name(&ss);
	int fd;

	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&ss, len)) {
		close(fd);
		fd = -1;
	}
	return fd;
}

static void cm_owner_follow(void)
{
	struct cm_hello hello;
	uid_t uid = -1;
	int fd = cm_owner_connect();

	if (fd < 0) {
		cm_owner_missing();
		return;
	}
	if (!cm_peer_user(fd, &uid) || !cm_user_trusted(uid)) {
		close(fd);
		cm_owner_foreign(uid);
		return;
	}
	cm_port_read(false);
	cm_hello_make(0, &hello);
	own.useless = own.greeted = own.full = false;
	own.link.fd = fd;
	own.link.ready = cm_link_ready;
	if (send(fd, &hello, sizeof(hello), MSG_DONTWAIT | MSG_NOSIGNAL) > 0 &&
	    cm_net_watch(&own.link, EPOLLIN | EPOLLRDHUP)) {
		own.retry_at = 0;
		return;
	}
	cm_net_close(&own.link);
	cm_owner_missing();
}

void cm_owner_elect(void)
{
	int family;

	own.uid = geteuid();
	if (own.port.fd < 0)
		own.port.fd = cm_net_open(cm_well_known_port, &family);
	if (own.port.fd < 0 || !cm_owner_become())
		cm_owner_follow();
}

bool cm_owner_useless(void)
{
	return own.useless;
}

u64 cm_owner_deadline(void)
{
	if (own.silent_until && (!own.retry_at || own.silent_until < own.retry_at))
		return own.silent_until;
	return own.retry_at;
}

/*
 * A process of another user now: the port is not this one's any more. Those that it
 * served take it over, and must find it free.
 */
void cm_owner_check_user(void)
{
	if (own.uid == geteuid())
		return;
	cm_owner_stop();
	cm_door_user_changed();
	own.uid = geteuid();
	own.retry_at = cm_now() + CM_YIELD_NS;
}

void cm_owner_timer(u64 now)
{
	cm_links_timer(now);
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
	own.reading = false;
	cm_door_close(&own.door);
	cm_net_close(&own.link);
	while ((link = LIST_FIRST(&own.links)))
		cm_link_close(link);
	own.num_others = 0;
	own.silent_until = 0;
	own.useless = false;
	own.lonely = 0;
	own.retry_at = 0;
}
