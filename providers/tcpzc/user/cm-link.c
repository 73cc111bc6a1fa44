// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * cm-link.c - local connections between the processes of a network namespace.
 *
 * Any user can take any abstract name and connect to any. So both sides of each
 * connection look at whose the other one is (SO_PEERCRED: the kernel has noted the
 * effective user at connect() and at listen(), so that process ids, which come
 * again, play no part):
 *
 * - messages are believed of this user's processes and of root's;
 * - messages are given to those that believe us, and to nobody else.
 *
 * Each sender has a connection and thus a queue of its own. What other users
 * connect is closed at once, and cannot be in the way of what is believed.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "calls.h"
#include "cm.h"

#define CM_BACKLOG	4096
#define CM_ACCEPTS	64			/* of one turn */
#define CM_PACKETS	64
#define CM_INS		64			/* connections to us */
#define CM_OUTS		64			/* our connections */
#define CM_IN_NS	(30 * 1000000000ull)	/* one that says nothing */
#define CM_PAUSE_NS	(100 * 1000000ull)
#define CM_STRANGER_SNDBUF 16384		/* what it has not read, bytes */

struct cm_in {
	struct cm_fd fd;		/* first */
	TAILQ_ENTRY(cm_in) node;
	u64 until;
};

struct cm_out {
	struct cm_fd fd;		/* first; -1: a free place */
	struct sockaddr_storage name;
	socklen_t len;
	u64 used_at;
};

static LIST_HEAD(, cm_door) cm_doors = LIST_HEAD_INITIALIZER(cm_doors);
/* In the order of their deadlines. */
static TAILQ_HEAD(cm_ins, cm_in) cm_ins = TAILQ_HEAD_INITIALIZER(cm_ins);
static u32 cm_num_ins;
static struct cm_out cm_outs[CM_OUTS];
static u32 cm_num_outs;			/* places that have ever been used */

/* ---- whose ------------------------------------------------------------- */

/*
 * In a user namespace that lacks some users all of those look like one, the
 * overflow user, who then is nobody in particular.
 */
static bool cm_users_distinct(void)
{
	unsigned long inside, outside, n, sum = 0;
	FILE *f = fopen("/proc/self/uid_map", "re");

	if (!f)
		return false;
	while (fscanf(f, "%lu %lu %lu", &inside, &outside, &n) == 3)
		sum += n;
	fclose(f);
	return sum >= UINT32_MAX;
}

static uid_t cm_overflow_user(void)
{
	FILE *f = fopen("/proc/sys/kernel/overflowuid", "re");
	unsigned int uid;
	int n = f ? fscanf(f, "%u", &uid) : 0;

	if (f)
		fclose(f);
	return n == 1 ? uid : 65534;
}

bool cm_peer_user(int fd, uid_t *uid)
{
	socklen_t len = sizeof(struct ucred);
	struct ucred cred;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) ||
	    len != sizeof(cred))
		return false;
	*uid = cred.uid;
	return true;
}

bool cm_same_user(uid_t uid)
{
	static int distinct = -1;

	if (uid != geteuid())
		return false;
	if (distinct < 0)
		distinct = cm_users_distinct();
	return distinct || uid != cm_overflow_user();
}

bool cm_user_trusted(uid_t uid)
{
	return uid == 0 || cm_same_user(uid);
}

static bool cm_trusted_by(uid_t uid)
{
	return geteuid() == 0 || cm_same_user(uid);
}

/* ---- doors -------------------------------------------------------------- */

/* No descriptors, or no memory, for one more: not again and again at once. */
static void cm_door_pause(struct cm_door *door)
{
	cm_net_unwatch(&door->fd);
	door->paused_until = cm_now() + CM_PAUSE_NS;
}

static void cm_door_ready(struct cm_fd *fd, u32 events)
{
	struct cm_door *door = (struct cm_door *)fd;
	uid_t uid;
	int i, got;

	(void)events;
	for (i = 0; i < CM_ACCEPTS; i++) {
		got = tz_accept(fd->fd);
		if (got < 0) {
			if (errno != EAGAIN && errno != EINTR)
				cm_door_pause(door);
			return;
		}
		if (cm_peer_user(got, &uid))
			door->got(got, uid);
		else
			close(got);
	}
}

int cm_door_open(struct cm_door *door, const struct sockaddr_storage *name,
		 socklen_t len, void (*got)(int fd, uid_t uid))
{
	int err;

	door->got = got;
	door->paused_until = 0;
	door->fd.ready = cm_door_ready;
	door->fd.fd = socket(AF_UNIX,
			     SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (door->fd.fd < 0)
		return errno;
	if (bind(door->fd.fd, (const struct sockaddr *)name, len) ||
	    listen(door->fd.fd, CM_BACKLOG) ||
	    !cm_net_watch(&door->fd, EPOLLIN)) {
		err = errno;
		close(door->fd.fd);
		door->fd.fd = -1;
		return err;
	}
	LIST_INSERT_HEAD(&cm_doors, door, node);
	return 0;
}

void cm_door_close(struct cm_door *door)
{
	if (door->fd.fd < 0)
		return;
	LIST_REMOVE(door, node);
	cm_net_close(&door->fd);
}

void cm_door_user_changed(void)
{
	struct cm_door *door;

	/* Once more: those who connect see the user that we are now. */
	LIST_FOREACH(door, &cm_doors, node)
		listen(door->fd.fd, CM_BACKLOG);
	cm_link_stop();
}

/* ---- messages to this process ------------------------------------------- */

static void cm_in_close(struct cm_in *in)
{
	TAILQ_REMOVE(&cm_ins, in, node);
	cm_num_ins--;
	cm_net_close(&in->fd);
	free(in);
}

static void cm_in_heard(struct cm_in *in)
{
	in->until = cm_now() + CM_IN_NS;
	TAILQ_REMOVE(&cm_ins, in, node);
	TAILQ_INSERT_TAIL(&cm_ins, in, node);
}

static void cm_in_ready(struct cm_fd *fd, u32 events)
{
	struct cm_in *in = (struct cm_in *)fd;
	struct cm_pass pass;
	struct cm_path path;
	struct cm_msg msg;
	ssize_t n;
	int i;

	(void)events;
	for (i = 0; i < CM_PACKETS; i++) {
		/* Descriptors that come with it are closed by the kernel. */
		n = recv(fd->fd, &pass, sizeof(pass), MSG_DONTWAIT | MSG_TRUNC);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n <= 0 || !cm_pass_parse(&pass, n, &path, &msg)) {
			cm_in_close(in);
			return;
		}
		cm_in_heard(in);
		cm_net_passed_on(&path, &msg, pass.mad);
	}
}

void cm_in_got(int fd, uid_t uid)
{
	struct cm_in *in = cm_user_trusted(uid) ? calloc(1, sizeof(*in)) : NULL;

	if (!in) {
		close(fd);
		return;
	}
	if (cm_num_ins == CM_INS)
		cm_in_close(TAILQ_FIRST(&cm_ins));
	in->fd.fd = fd;
	in->fd.ready = cm_in_ready;
	in->until = cm_now() + CM_IN_NS;
	TAILQ_INSERT_TAIL(&cm_ins, in, node);
	cm_num_ins++;
	if (!cm_net_watch(&in->fd, EPOLLIN))
		cm_in_close(in);
}

/* ---- messages to other processes ---------------------------------------- */

static void cm_out_close(struct cm_fd *fd, u32 events)
{
	(void)events;
	cm_net_close(fd);
}

static struct cm_out *cm_out_find(const struct sockaddr_storage *name, socklen_t len)
{
	struct cm_out *out;

	for (out = cm_outs; out < cm_outs + cm_num_outs; out++)
		if (out->fd.fd >= 0 && out->len == len &&
		    !memcmp(&out->name, name, len))
			return out;
	return NULL;
}

/* A free place, or that of the connection that was not used for longest. */
static struct cm_out *cm_out_place(void)
{
	struct cm_out *out, *oldest = cm_outs;

	for (out = cm_outs; out < cm_outs + cm_num_outs; out++) {
		if (out->fd.fd < 0)
			return out;
		if (out->used_at < oldest->used_at)
			oldest = out;
	}
	if (cm_num_outs < CM_OUTS)
		return &cm_outs[cm_num_outs++];
	cm_net_close(&oldest->fd);
	return oldest;
}

static int cm_out_connect(const struct sockaddr_storage *name, socklen_t len)
{
	int fd, err, bytes = CM_STRANGER_SNDBUF;
	uid_t uid;

	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -1;
	if (!connect(fd, (const struct sockaddr *)name, len)) {
		errno = EACCES;
		if (cm_peer_user(fd, &uid) && cm_trusted_by(uid)) {
			if (!cm_same_user(uid))
				setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes,
					   sizeof(bytes));
			return fd;
		}
	}
	err = errno;
	close(fd);
	errno = err;
	return -1;
}

static struct cm_out *cm_out_open(const struct sockaddr_storage *name, socklen_t len)
{
	int fd = cm_out_connect(name, len);
	struct cm_out *out;

	if (fd < 0)
		return NULL;
	out = cm_out_place();
	out->fd.fd = fd;
	out->fd.ready = cm_out_close;
	out->name = *name;
	out->len = len;
	/* To notice that the other side is gone. */
	if (!cm_net_watch(&out->fd, EPOLLRDHUP)) {
		cm_net_close(&out->fd);
		return NULL;
	}
	return out;
}

bool cm_pass_on(const struct sockaddr_storage *name, socklen_t len,
		const struct cm_path *path, const u8 *mad)
{
	struct cm_out *out;
	struct cm_pass pass;
	int i;

	cm_pass_make(path, mad, &pass);
	/* The one who has that name may be another than it was. */
	for (i = 0; i < 2; i++) {
		out = cm_out_find(name, len);
		if (!out)
			out = cm_out_open(name, len);
		if (!out)
			return errno == EAGAIN;
		out->used_at = cm_now();
		if (send(out->fd.fd, &pass, sizeof(pass),
			 MSG_DONTWAIT | MSG_NOSIGNAL) >= 0 ||
		    errno == EAGAIN || errno == ENOBUFS)
			return true;	/* or it is busy: lost */
		cm_net_close(&out->fd);
	}
	return false;
}

/* ---- time, end ---------------------------------------------------------- */

u64 cm_link_deadline(void)
{
	struct cm_in *in = TAILQ_FIRST(&cm_ins);
	u64 at = in ? in->until : 0;
	struct cm_door *door;

	LIST_FOREACH(door, &cm_doors, node)
		if (door->paused_until && (!at || door->paused_until < at))
			at = door->paused_until;
	return at;
}

void cm_link_timer(u64 now)
{
	struct cm_door *door;
	struct cm_in *in;

	while ((in = TAILQ_FIRST(&cm_ins)) && now >= in->until)
		cm_in_close(in);
	LIST_FOREACH(door, &cm_doors, node) {
		if (!door->paused_until || now < door->paused_until)
			continue;
		door->paused_until = 0;
		if (!cm_net_watch(&door->fd, EPOLLIN))
			cm_door_pause(door);
	}
}

void cm_link_stop(void)
{
	struct cm_in *in;
	u32 i;

	while ((in = TAILQ_FIRST(&cm_ins)))
		cm_in_close(in);
	for (i = 0; i < cm_num_outs; i++)
		cm_net_close(&cm_outs[i].fd);
	cm_num_outs = 0;
}
