// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * cm-port.c - ports, which all processes of a network namespace share.
 *
 * Who has a port has a local socket whose abstract name says port space, port
 * and address. Such names are unique in a network namespace and vanish with the
 * process, so that binding one is the reservation; and messages for the service
 * are passed on to it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "cm.h"

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

static void cm_port_hex(const u8 gid[16], char hex[33])
{
	int i;

	for (i = 0; i < 16; i++)
		snprintf(hex + 2 * i, 3, "%02x", gid[i]);
}

struct cm_probe {
	u16 ps, port;
	bool v4, v6;
};

/* Is there a socket of this name, of whatever process? */
static bool cm_port_taken(u16 ps, u16 port, const char *which)
{
	struct sockaddr_storage ss;
	socklen_t len = cm_port_name(ps, port, which, &ss);
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool taken;

	if (fd < 0)
		return false;
	taken = !connect(fd, (struct sockaddr *)&ss, len);
	close(fd);
	return taken;
}

static bool cm_port_gid_taken(const u8 gid[16], void *arg)
{
	const struct cm_probe *p = arg;
	char hex[33];

	if (cm_gid_is_v4(gid) ? !p->v4 : !p->v6)
		return false;
	cm_port_hex(gid, hex);
	return cm_port_taken(p->ps, p->port, hex);
}

/* ---- reserving ---------------------------------------------------------- */

static int cm_port_open(struct cm_port *p, struct cm_fd *fd, const char *which)
{
	struct sockaddr_storage ss;
	socklen_t len = cm_port_name(p->ps, p->port, which, &ss);
	int err;

	fd->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd->fd < 0)
		return errno;
	fd->ready = cm_net_passed_on;
	if (!bind(fd->fd, (struct sockaddr *)&ss, len) &&
	    cm_net_watch(fd, EPOLLIN))
		return 0;
	err = errno;
	close(fd->fd);
	fd->fd = -1;
	return err;
}

/* All addresses: nobody else may have the port at one of them. */
static int cm_port_open_any(struct cm_port *p)
{
	struct cm_probe probe = { p->ps, p->port, p->v4, p->v6 };
	int err = 0;

	if (cm_dev_each_gid(cm_port_gid_taken, &probe))
		return EADDRINUSE;
	if (p->v4)
		err = cm_port_open(p, &p->fd[0], "4");
	if (!err && p->v6)
		err = cm_port_open(p, &p->fd[1], "6");
	return err;
}

static int cm_port_open_one(struct cm_port *p)
{
	char hex[33];

	if (cm_port_taken(p->ps, p->port, cm_gid_is_v4(p->gid) ? "4" : "6"))
		return EADDRINUSE;
	cm_port_hex(p->gid, hex);
	return cm_port_open(p, &p->fd[0], hex);
}

static int cm_port_reserve(struct cm_id *id, u16 number, struct cm_port **out)
{
	struct cm_port *p = calloc(1, sizeof(*p));
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
	p->fd[0].fd = -1;
	p->fd[1].fd = -1;
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
		    !memcmp(p->gid, gid, 16))
			return p;
	return NULL;
}

static u16 cm_port_random(void)
{
	u32 n;

	if (getrandom(&n, sizeof(n), 0) != sizeof(n))
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
	cm_net_close(&p->fd[0]);
	cm_net_close(&p->fd[1]);
	LIST_REMOVE(p, node);
	free(p);
}
