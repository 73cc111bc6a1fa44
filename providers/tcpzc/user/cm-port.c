// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * cm-port.c - ports, which all processes of a network namespace share.
 *
 * The process that has a port has a local socket whose abstract name says port
 * space, port and address. Such names are unique in a network namespace and vanish
 * with the process, so that binding one is the reservation; and messages for the
 * service are passed on to it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "cm.h"
#include "calls.h"

/* The ephemeral ports, as the kernel's rdma_cm takes them. */
#define CM_PORT_LOW	32768
#define CM_PORT_HIGH	60999
#define CM_PORT_TRIES	256

static LIST_HEAD(, cm_port) cm_ports = LIST_HEAD_INITIALIZER(cm_ports);

/* ---- names -------------------------------------------------------------- */

socklen_t cm_port_name(u16 ps, u16 port, const char *which,
		       struct sockaddr_storage *ss)
{
	struct sockaddr_un *un = (struct sockaddr_un *)ss;
	int n;

	memset(un, 0, sizeof(*un));
	un->sun_family = AF_UNIX;
	n = snprintf(un->sun_path + 1, sizeof(un->sun_path) - 1,
		     "tcpzc-cm/%04x/%u/%s", ps, port, which);
	return offsetof(struct sockaddr_un, sun_path) + 1 + n;
}

socklen_t cm_port_gid_name(u16 ps, u16 port, const u8 gid[16], u32 ifindex,
			   struct sockaddr_storage *ss)
{
	char which[48];
	int i, n = 0;

	for (i = 0; i < 16; i++)
		n += snprintf(which + n, sizeof(which) - n, "%02x", gid[i]);
	if (cm_gid_link_local(gid))
		snprintf(which + n, sizeof(which) - n, "%%%u", ifindex);
	return cm_port_name(ps, port, which, ss);
}

/* Is there a socket of this name, of whatever process? */
static bool cm_port_taken(u16 ps, u16 port, const char *which)
{
	struct sockaddr_storage ss;
	socklen_t len = cm_port_name(ps, port, which, &ss);
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool taken;

	if (fd < 0)
		return false;
	/* Another type of socket has it: nothing happens but an error. */
	taken = !connect(fd, (struct sockaddr *)&ss, len) || errno != ECONNREFUSED;
	close(fd);
	return taken;
}

/* ---- reserving ---------------------------------------------------------- */

static int cm_port_open(struct cm_port *p, const struct sockaddr_storage *ss,
			socklen_t len)
{
	int err = cm_door_open(&p->doors[p->num_doors], ss, len, cm_in_got);

	if (!err)
		p->num_doors++;
	return err;
}

static int cm_port_open_family(struct cm_port *p, const char *which)
{
	struct sockaddr_storage ss;
	socklen_t len = cm_port_name(p->ps, p->port, which, &ss);

	return cm_port_open(p, &ss, len);
}

static int cm_port_open_gid(const u8 gid[16], u32 ifindex, void *arg)
{
	struct sockaddr_storage ss;
	struct cm_port *p = arg;
	socklen_t len;

	if (p->any && (tz_gid_is_v4(gid) ? !p->v4 : !p->v6))
		return 0;
	len = cm_port_gid_name(p->ps, p->port, gid, ifindex, &ss);
	return cm_port_open(p, &ss, len);
}

/*
 * All addresses: nobody else may have the port at one of them, now or later. A
 * request goes to the one who has its address, and only else to who has all.
 */
static int cm_port_open_any(struct cm_port *p)
{
	int err = 0;

	if (p->v4)
		err = cm_port_open_family(p, "4");
	if (!err && p->v6)
		err = cm_port_open_family(p, "6");
	return err ? err : cm_dev_each_gid(cm_port_open_gid, p);
}

static int cm_port_open_one(struct cm_port *p)
{
	if (cm_port_taken(p->ps, p->port, tz_gid_is_v4(p->gid) ? "4" : "6"))
		return EADDRINUSE;
	return cm_port_open_gid(p->gid, p->ifindex, p);
}

static int cm_count_gid(const u8 gid[16], u32 ifindex, void *arg)
{
	(void)gid;
	(void)ifindex;
	++*(u32 *)arg;
	return 0;
}

/* Room for the doors of one that has all addresses. */
static struct cm_port *cm_port_new(void)
{
	struct cm_port *p = calloc(1, sizeof(*p));
	u32 n = 2;

	cm_dev_each_gid(cm_count_gid, &n);
	if (p)
		p->doors = calloc(n, sizeof(*p->doors));
	if (p && p->doors)
		return p;
	free(p);
	return NULL;
}

static int cm_port_reserve(struct cm_id *id, u16 number, struct cm_port **out)
{
	struct cm_port *p = cm_port_new();
	int err;

	if (!p)
		return ENOMEM;
	p->ps = id->ps;
	p->port = number;
	p->any = cm_addr_any(&id->src);
	p->v6 = id->src.sa.sa_family == AF_INET6;
	p->v4 = !p->v6 || !id->afonly;
	p->reuse = id->reuse;
	p->users = 1;
	p->ifindex = id->ifindex;
	cm_addr_gid(&id->src, p->gid);
	err = p->any ? cm_port_open_any(p) : cm_port_open_one(p);
	LIST_INSERT_HEAD(&cm_ports, p, node);
	if (err) {
		cm_port_put(p);
		return err;
	}
	*out = p;
	return 0;
}

/* A port of this process that @id may share (RDMA_OPTION_ID_REUSEADDR). */
static struct cm_port *cm_port_shared(const struct cm_id *id, u16 number)
{
	struct cm_port *p;
	u8 gid[16];

	cm_addr_gid(&id->src, gid);
	LIST_FOREACH(p, &cm_ports, node)
		if (id->reuse && p->reuse && p->ps == id->ps &&
		    p->port == number && p->any == cm_addr_any(&id->src) &&
		    cm_gid_same(p->gid, p->ifindex, gid, id->ifindex))
			return p;
	return NULL;
}

static u16 cm_port_random(void)
{
	u32 n;

	if (!tz_random(&n, sizeof(n)))
		n = cm_now();
	return CM_PORT_LOW + n % (CM_PORT_HIGH - CM_PORT_LOW + 1);
}

int cm_port_get(struct cm_id *id)
{
	u16 number = cm_addr_port(&id->src);
	int i, err;

	if (number) {
		id->port = cm_port_shared(id, number);
		if (!id->port)
			return cm_port_reserve(id, number, &id->port);
		id->port->users++;
		return 0;
	}
	for (i = 0; i < CM_PORT_TRIES; i++) {
		number = cm_port_random();
		err = cm_port_reserve(id, number, &id->port);
		if (err == EADDRINUSE)
			continue;
		if (!err)
			cm_addr_set_port(&id->src, number);
		return err;
	}
	return EADDRNOTAVAIL;
}

/*
 * Who listens has the port for itself, from now on: others that are bound to it
 * are in the way, whether they listen or not (cma.c's rdma_listen()).
 */
int cm_port_own(struct cm_port *p)
{
	if (p->users > 1)
		return EADDRINUSE;
	p->reuse = false;
	return 0;
}

/*
 * A name that is there as long as somebody listens: for people, and for scripts
 * that wait for a server. The port's own name is there from bind on.
 */
int cm_port_announce(struct cm_id *id)
{
	struct sockaddr_storage ss;
	char which[48];
	socklen_t len;
	int err;

	snprintf(which, sizeof(which), "listen/%d-%u", (int)getpid(), id->handle);
	len = cm_port_name(id->ps, cm_addr_port(&id->src), which, &ss);
	id->sign.fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (id->sign.fd >= 0 &&
	    !bind(id->sign.fd, (struct sockaddr *)&ss, len))
		return 0;
	err = errno;
	cm_net_close(&id->sign);
	return err;
}

void cm_port_put(struct cm_port *p)
{
	if (--p->users)
		return;
	while (p->num_doors)
		cm_door_close(&p->doors[--p->num_doors]);
	LIST_REMOVE(p, node);
	free(p->doors);
	free(p);
}
