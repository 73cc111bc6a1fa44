// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * cm-pass.c - what the processes of one host say to each other.
 */
#include "cm-pass.h"

#define CM_PASS_MAGIC		0x706d637au
#define CM_HELLO_MAGIC		0x686d637au

void cm_pass_make(const struct cm_path *path, const u8 mad[CM_MAD_BYTES],
		  struct cm_pass *pass)
{
	pass->magic = CM_PASS_MAGIC;
	pass->ifindex = path->ifindex;
	memcpy(pass->sgid, path->sgid, 16);
	memcpy(pass->dgid, path->dgid, 16);
	memcpy(pass->mad, mad, CM_MAD_BYTES);
}

/* A packet of the network has two addresses, and both are one host's. */
static bool cm_path_ok(const struct cm_path *path)
{
	static const u8 none[16];
	bool link_local = cm_gid_link_local(path->sgid) ||
			  cm_gid_link_local(path->dgid);

	return memcmp(path->sgid, none, 16) && memcmp(path->dgid, none, 16) &&
	       path->sgid[0] != 0xff && path->dgid[0] != 0xff &&
	       !path->ifindex == !link_local;
}

bool cm_pass_parse(const void *packet, size_t bytes, struct cm_path *path,
		   struct cm_msg *msg)
{
	struct cm_pass pass;

	if (bytes != sizeof(pass))
		return false;
	memcpy(&pass, packet, sizeof(pass));
	if (pass.magic != CM_PASS_MAGIC)
		return false;
	memcpy(path->sgid, pass.sgid, 16);
	memcpy(path->dgid, pass.dgid, 16);
	path->ifindex = pass.ifindex;
	return cm_path_ok(path) && cm_mad_parse(pass.mad, msg);
}

void cm_hello_make(u32 flags, struct cm_hello *hello)
{
	hello->magic = CM_HELLO_MAGIC;
	hello->flags = flags;
}

bool cm_hello_parse(const void *packet, size_t bytes, u32 *flags)
{
	struct cm_hello hello;

	if (bytes != sizeof(hello))
		return false;
	memcpy(&hello, packet, sizeof(hello));
	*flags = hello.flags;
	return hello.magic == CM_HELLO_MAGIC && !(hello.flags & ~CM_HELLO_FULL);
}
