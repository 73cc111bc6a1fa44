/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * cm-pass.h - what the processes of one host say to each other: messages that
 * one passes on to another, and the greeting of the well-known port's owner and
 * those that follow it. Without I/O and state.
 */
#ifndef TCPZC_CM_PASS_H
#define TCPZC_CM_PASS_H

#include "cm-mad.h"

/* Between which addresses a message went. */
struct cm_path {
	u8 sgid[16];			/* who sent it */
	u8 dgid[16];			/* to which address of this host */
	u32 ifindex;			/* if one is link-local, else 0 */
};

/* Those mean something together with an interface only. */
static inline bool cm_gid_link_local(const u8 gid[16])
{
	return gid[0] == 0xfe && (gid[1] & 0xc0) == 0x80;
}

/* Is this the same address? The interfaces count if it is link-local. */
static inline bool cm_gid_same(const u8 a[16], u32 a_ifindex, const u8 b[16],
			       u32 b_ifindex)
{
	return !memcmp(a, b, 16) &&
	       (!cm_gid_link_local(a) || a_ifindex == b_ifindex);
}

/* A message as one process passes it on to another: one packet, this size. */
struct cm_pass {
	u32 magic;
	u32 ifindex;
	u8 sgid[16];
	u8 dgid[16];
	u8 mad[CM_MAD_BYTES];
};

void cm_pass_make(const struct cm_path *path, const u8 mad[CM_MAD_BYTES],
		  struct cm_pass *pass);
/* Is this one? *@msg is its message. Accepts garbage. */
bool cm_pass_parse(const void *packet, size_t bytes, struct cm_path *path,
		   struct cm_msg *msg);

/* What a follower says first, and what the owner answers. */
struct cm_hello {
	u32 magic;
	u32 flags;
};

#define CM_HELLO_FULL		1u	/* owner: no room, look again later */

void cm_hello_make(u32 flags, struct cm_hello *hello);
/* Is this one? Accepts garbage. */
bool cm_hello_parse(const void *packet, size_t bytes, u32 *flags);

#endif /* TCPZC_CM_PASS_H */
