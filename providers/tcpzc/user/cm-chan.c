// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * cm-chan.c - event channels: what a program gets when it opens
 * /dev/infiniband/rdma_cm.
 *
 * It is one end of a pair of sockets, so that it can be polled, set to
 * non-blocking and waited for with the kernel's own means; there is a byte to
 * read as long as there are events. Our end tells when the last copy of the
 * program's is closed.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "cm-api.h"
#include "cm.h"

/* So long the end of a process waits for its peers, with five repetitions. */
#define CM_EXIT_NS	1600000000ull

pthread_mutex_t cm_lock = PTHREAD_MUTEX_INITIALIZER;
static LIST_HEAD(, cm_chan) cm_chans = LIST_HEAD_INITIALIZER(cm_chans);

void cm_enter(int *cancel)
{
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, cancel);
	pthread_mutex_lock(&cm_lock);
}

void cm_leave(int cancel)
{
	pthread_mutex_unlock(&cm_lock);
	pthread_setcancelstate(cancel, NULL);
}

/* ---- channels ----------------------------------------------------------- */

/* libc's would come back to us by way of the preload library. */
static int cm_fstat(int fd, struct stat *st)
{
	return syscall(SYS_fstat, fd, st);
}

static void cm_chan_free(struct cm_chan *chan)
{
	struct cm_ev *ev;

	cm_id_destroy_all(chan);
	while ((ev = TAILQ_FIRST(&chan->events))) {
		TAILQ_REMOVE(&chan->events, ev, node);
		free(ev);
	}
	LIST_REMOVE(chan, node);
	cm_net_close(&chan->far);
	free(chan);
}

/* The program has closed its end; or writes to it, which nobody does. */
static void cm_chan_ready(struct cm_fd *fd, u32 events)
{
	struct cm_chan *chan = (void *)((char *)fd -
					offsetof(struct cm_chan, far));
	char junk[64];

	if (recv(fd->fd, junk, sizeof(junk), MSG_DONTWAIT) == 0 ||
	    (events & (EPOLLHUP | EPOLLERR)))
		cm_chan_free(chan);
}

static int cm_chan_new(int near, int far)
{
	struct cm_chan *chan = calloc(1, sizeof(*chan));
	struct stat st;

	if (!chan)
		return ENOMEM;
	if (cm_fstat(near, &st)) {
		free(chan);
		return errno;
	}
	TAILQ_INIT(&chan->events);
	chan->dev = st.st_dev;
	chan->ino = st.st_ino;
	chan->far.fd = far;
	chan->far.ready = cm_chan_ready;
	if (!cm_net_watch(&chan->far, EPOLLIN | EPOLLRDHUP)) {
		free(chan);
		return errno;
	}
	LIST_INSERT_HEAD(&cm_chans, chan, node);
	return 0;
}

static int cm_open(int flags)
{
	int fds[2], cancel, err;

	cm_enter(&cancel);
	err = cm_dev_load();
	if (!err)
		err = cm_net_start();
	if (!err && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds))
		err = errno;
	if (!err) {
		fcntl(fds[1], F_SETFL, O_NONBLOCK);
		if (flags & O_NONBLOCK)
			fcntl(fds[0], F_SETFL, O_NONBLOCK);
		if (!(flags & O_CLOEXEC))
			fcntl(fds[0], F_SETFD, 0);
		err = cm_chan_new(fds[0], fds[1]);
		if (err) {
			close(fds[0]);
			close(fds[1]);
		}
	}
	cm_leave(cancel);
	errno = err;
	return err ? -1 : fds[0];
}

static bool cm_is_channel(dev_t dev, ino_t ino)
{
	struct cm_chan *chan;
	int cancel;

	cm_enter(&cancel);
	LIST_FOREACH(chan, &cm_chans, node)
		if (chan->dev == dev && chan->ino == ino)
			break;
	cm_leave(cancel);
	return chan;
}

struct cm_chan *cm_chan_find(int fd)
{
	struct cm_chan *chan;
	struct stat st;

	if (cm_fstat(fd, &st))
		return NULL;
	LIST_FOREACH(chan, &cm_chans, node)
		if (chan->dev == st.st_dev && chan->ino == st.st_ino)
			return chan;
	return NULL;
}

/* ---- events ------------------------------------------------------------- */

void cm_chan_calm(struct cm_chan *chan, int fd)
{
	char byte;

	if (TAILQ_EMPTY(&chan->events))
		while (recv(fd, &byte, 1, MSG_DONTWAIT) > 0)
			;
}

static void cm_chan_alarm(struct cm_chan *chan)
{
	ssize_t n = send(chan->far.fd, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL);

	(void)n;	/* full: there is something to read already */
}

struct cm_ev *cm_event_add(struct cm_id *owner, u32 event, int status)
{
	struct cm_ev *ev = calloc(1, sizeof(*ev));

	if (!ev)
		return NULL;
	ev->owner = owner;
	ev->resp.uid = owner->uid;
	ev->resp.id = owner->handle;
	ev->resp.event = event;
	ev->resp.status = status;
	if (TAILQ_EMPTY(&owner->chan->events))
		cm_chan_alarm(owner->chan);
	TAILQ_INSERT_TAIL(&owner->chan->events, ev, node);
	return ev;
}

struct cm_ev *cm_event_pop(struct cm_chan *chan, int fd)
{
	struct cm_ev *ev = TAILQ_FIRST(&chan->events);

	if (ev)
		TAILQ_REMOVE(&chan->events, ev, node);
	cm_chan_calm(chan, fd);
	return ev;
}

static bool cm_event_of(const struct cm_ev *ev, const struct cm_id *id)
{
	return ev->owner == id || ev->child == id;
}

/* The byte that is left over is found to mean nothing. */
void cm_event_drop(struct cm_id *id)
{
	struct cm_ev *ev = TAILQ_FIRST(&id->chan->events), *next;

	for (; ev; ev = next) {
		next = TAILQ_NEXT(ev, node);
		if (!cm_event_of(ev, id))
			continue;
		TAILQ_REMOVE(&id->chan->events, ev, node);
		if (ev->child && ev->child != id) {
			ev->child->listener = NULL;
			cm_id_destroy(ev->child);
			/* that may have removed others */
			next = TAILQ_FIRST(&id->chan->events);
		}
		free(ev);
	}
}

void cm_event_move(struct cm_id *id, struct cm_chan *to)
{
	struct cm_ev *ev, *next;

	for (ev = TAILQ_FIRST(&id->chan->events); ev; ev = next) {
		next = TAILQ_NEXT(ev, node);
		if (ev->owner != id)
			continue;
		TAILQ_REMOVE(&id->chan->events, ev, node);
		if (ev->child)		/* a request goes with its listener */
			ev->child->chan = to;
		if (TAILQ_EMPTY(&to->events))
			cm_chan_alarm(to);
		TAILQ_INSERT_TAIL(&to->events, ev, node);
	}
	id->chan = to;
}

/* ---- fork, exit --------------------------------------------------------- */

static int cm_fork_cancel;		/* with cm_lock */

static void cm_before_fork(void)
{
	int cancel;

	cm_enter(&cancel);
	cm_fork_cancel = cancel;
}

static void cm_after_fork(void)
{
	cm_leave(cm_fork_cancel);
}

/* What the parent has goes on being the parent's; the child begins anew. */
static void cm_in_child(void)
{
	struct cm_chan *chan;

	pthread_mutex_init(&cm_lock, NULL);
	cm_net_forget_watched();
	while ((chan = LIST_FIRST(&cm_chans))) {
		LIST_REMOVE(chan, node);
		close(chan->far.fd);
		free(chan);
	}
	cm_id_forget_all();
	cm_net_stop_in_child();
	pthread_setcancelstate(cm_fork_cancel, NULL);
}

__attribute__((constructor)) static void cm_library_init(void)
{
	pthread_atfork(cm_before_fork, cm_after_fork, cm_in_child);
}

/*
 * What is said once may be lost, and nobody could say it again: a peer that waits
 * for its end would wait for ever. A host's connection manager outlives the
 * process; here the process's end waits until the peers have answered.
 */
__attribute__((destructor)) static void cm_library_exit(void)
{
	u64 until = cm_now() + CM_EXIT_NS;
	struct timespec ts;
	int cancel;

	/* A thread that exits in a signal handler may have the lock itself. */
	clock_gettime(CLOCK_REALTIME, &ts);
	ts.tv_sec++;
	if (pthread_mutex_timedlock(&cm_lock, &ts))
		return;
	/* To wait is to be cancelled, and the process would never end. */
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
	cm_id_farewell();
	cm_net_wake();
	while (cm_cx_unheard() && cm_net_await_turn(until))
		;
	cm_leave(cancel);
}

__attribute__((visibility("default")))
const struct tz_cm_api tcpzc_cm_api = {
	.open = cm_open,
	.is_channel = cm_is_channel,
	.write = cm_write,
};
