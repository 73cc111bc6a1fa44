/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * links.h - what becomes of the host's network interfaces (rtnetlink(7)).
 */
#ifndef TCPZC_LINKS_H
#define TCPZC_LINKS_H

#include <stdbool.h>
#include <stdint.h>

struct tz_link {
	uint32_t ifindex;	/* 0: of any; messages were lost */
	bool gone;		/* deleted, or moved to another namespace */
	bool up;		/* up, with a carrier */
};

/*
 * A descriptor that is readable when some interface of this network namespace has
 * changed; non-blocking, close-on-exec. -1 and errno.
 */
int tz_links_open(void);
/* Call @fn for each change since the last time, in their order. */
void tz_links_read(int fd, void (*fn)(void *arg, const struct tz_link *link),
		   void *arg);

#endif /* TCPZC_LINKS_H */
