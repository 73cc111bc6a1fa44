// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * links.c - see links.h. Only the fixed header of each message is looked at, for
 * which no library is needed.
 */
#include <errno.h>
#include <linux/if.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "links.h"

/* A message with all its attributes has 1 to 4 KiB; a cut one would be lost. */
#define TZ_LINKS_BYTES	16384

int tz_links_open(void)
{
	struct sockaddr_nl addr = {
		.nl_family = AF_NETLINK, .nl_groups = RTMGRP_LINK,
	};
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK,
			NETLINK_ROUTE);
	int err;

	if (fd >= 0 && bind(fd, (struct sockaddr *)&addr, sizeof(addr))) {
		err = errno;
		close(fd);
		errno = err;
		return -1;
	}
	return fd;
}

/* False for what is about something else, a bridge's port for one. */
static bool tz_link_parse(const struct nlmsghdr *nlh, struct tz_link *link)
{
	const struct ifinfomsg *ifi = NLMSG_DATA(nlh);

	if ((nlh->nlmsg_type != RTM_NEWLINK && nlh->nlmsg_type != RTM_DELLINK) ||
	    nlh->nlmsg_len < NLMSG_LENGTH(sizeof(*ifi)) ||
	    ifi->ifi_family != AF_UNSPEC)
		return false;
	link->ifindex = ifi->ifi_index;
	link->gone = nlh->nlmsg_type == RTM_DELLINK;
	link->up = !link->gone && (ifi->ifi_flags & IFF_UP) &&
		   (ifi->ifi_flags & IFF_LOWER_UP);
	return true;
}

/* One datagram's messages. Only the kernel's count. */
static ssize_t tz_links_recv(int fd, void *buf, size_t size)
{
	struct sockaddr_nl from = {};
	struct iovec iov = { .iov_base = buf, .iov_len = size };
	struct msghdr msg = {
		.msg_name = &from, .msg_namelen = sizeof(from),
		.msg_iov = &iov, .msg_iovlen = 1,
	};
	ssize_t n = recvmsg(fd, &msg, 0);

	if (n >= 0 && from.nl_pid)
		return 0;
	if (n >= 0 && (msg.msg_flags & MSG_TRUNC)) {
		errno = ENOBUFS;
		return -1;
	}
	return n;
}

void tz_links_read(int fd, void (*fn)(void *arg, const struct tz_link *link),
		   void *arg)
{
	static const struct tz_link any;
	char buf[TZ_LINKS_BYTES] __attribute__((aligned(NLMSG_ALIGNTO)));
	const struct nlmsghdr *nlh;
	struct tz_link link;
	ssize_t n;

	for (;;) {
		n = tz_links_recv(fd, buf, sizeof(buf));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno != ENOBUFS)
			return;
		if (n < 0) {
			fn(arg, &any);
			continue;
		}
		for (nlh = (void *)buf; NLMSG_OK(nlh, n);
		     nlh = NLMSG_NEXT(nlh, n))
			if (tz_link_parse(nlh, &link))
				fn(arg, &link);
	}
}
