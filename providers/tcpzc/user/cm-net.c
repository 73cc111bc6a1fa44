// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * cm-net.c - messages between hosts, and between the processes of one.
 *
 * Messages are MADs in UD datagrams to queue pair 1, which is at the well-known
 * port. One process of a network namespace has that port, the owner. It passes
 * requests on to the process that has the service's port (cm-port.c), and
 * everything else to the one whose token is the upper half of the connection's
 * id; each process has a local socket by the name of its token. All send for
 * themselves. Who is the owner is found out in cm-owner.c.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <linux/errqueue.h>

#include "cm.h"
#include "calls.h"
#include "thread.h"

#define CM_EVENTS	32
#define CM_BATCH	64		/* messages of one turn */
#define CM_RCVBUF	(4 << 20)
/*
 * A request for a service that is not there yet waits a little: programs (perftest
 * -R) listen anew between two connections, and their clients are quick. An
 * adapter's connection manager is slow enough for that to go unnoticed.
 */
#define CM_HELD		64
#define CM_HOLD_NS	(300 * 1000000ull)
#define CM_LOOK_NS	(10 * 1000000ull)
/*
 * One that was refused then may have been sent once more on the way. It is refused
 * again: held, it would find a service whose client has given up.
 */
#define CM_REFUSED_NS	(5000 * 1000000ull)

struct cm_dgram {
	struct tz_ud_hdr hdr;
	u8 mad[CM_MAD_BYTES];
};

struct cm_held {
	u64 until;			/* 0: a free place */
	bool passed;
	bool refused;			/* it may come again all the same */
	struct cm_path path;
	u8 mad[CM_MAD_BYTES];
};

/* The thread has done something; with cm_lock. */
static pthread_cond_t cm_turn = PTHREAD_COND_INITIALIZER;

static struct cm_held held[CM_HELD];
static u64 held_look_at;		/* 0: none is held */

static struct {
	bool started;
	int epfd, family;
	u16 token;
	struct cm_fd wake;
	struct cm_fd udp;		/* to send from, at any port */
	struct cm_door own;		/* what is passed on by token */
	pthread_t thread;
} net = { .epfd = -1, .wake.fd = -1, .udp.fd = -1, .own.fd.fd = -1 };

u64 cm_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ull + ts.tv_nsec;
}

u16 cm_net_token(void)
{
	return net.token;
}

bool cm_net_watch(struct cm_fd *fd, u32 events)
{
	struct epoll_event ev = { .events = events, .data.ptr = fd };

	return !epoll_ctl(net.epfd, EPOLL_CTL_ADD, fd->fd, &ev);
}

/*
 * Closing alone does not end the watching where another process, or a child
 * between fork and exec, has the file open, too.
 */
void cm_net_unwatch(struct cm_fd *fd)
{
	epoll_ctl(net.epfd, EPOLL_CTL_DEL, fd->fd, NULL);
}

void cm_net_close(struct cm_fd *fd)
{
	if (fd->fd >= 0) {
		cm_net_unwatch(fd);
		close(fd->fd);
	}
	fd->fd = -1;
}

void cm_net_wake(void)
{
	u64 one = 1;
	ssize_t n;

	if (pthread_equal(pthread_self(), net.thread))
		return;
	n = write(net.wake.fd, &one, sizeof(one));
	(void)n;
}

static void cm_net_woken(struct cm_fd *fd, u32 events)
{
	u64 n;
	ssize_t got = read(fd->fd, &n, sizeof(n));

	(void)got;
	(void)events;
}

/* ---- sending ------------------------------------------------------------ */

static void cm_put_pktinfo(struct msghdr *msg, const u8 from[16], u32 ifindex)
{
	struct cmsghdr *c = msg->msg_control;
	struct in6_pktinfo info6 = {};
	struct in_pktinfo info = {};

	if (net.family == AF_INET) {
		memcpy(&info.ipi_spec_dst, from + 12, 4);
		c->cmsg_level = IPPROTO_IP;
		c->cmsg_type = IP_PKTINFO;
		c->cmsg_len = CMSG_LEN(sizeof(info));
		memcpy(CMSG_DATA(c), &info, sizeof(info));
		msg->msg_controllen = CMSG_SPACE(sizeof(info));
		return;
	}
	memcpy(&info6.ipi6_addr, from, 16);
	info6.ipi6_ifindex = ifindex;
	c->cmsg_level = IPPROTO_IPV6;
	c->cmsg_type = IPV6_PKTINFO;
	c->cmsg_len = CMSG_LEN(sizeof(info6));
	memcpy(CMSG_DATA(c), &info6, sizeof(info6));
	msg->msg_controllen = CMSG_SPACE(sizeof(info6));
}

/* A GID of an IPv4 address is the address as IPv6 sockets have it. */
static void cm_put_addr(struct msghdr *msg, const u8 to[16], u32 ifindex)
{
	union cm_addr *a = msg->msg_name;

	memset(a, 0, sizeof(*a));
	if (net.family == AF_INET) {
		cm_addr_from_gid(a, to, 0, cm_well_known_port);
	} else {
		a->in6.sin6_family = AF_INET6;
		a->in6.sin6_port = htons(cm_well_known_port);
		memcpy(&a->in6.sin6_addr, to, 16);
		if (cm_gid_link_local(to))
			a->in6.sin6_scope_id = ifindex;
	}
	msg->msg_namelen = cm_addr_len(a);
}

void cm_net_send(const u8 from[16], const u8 to[16], u32 ifindex,
		 const struct cm_msg *msg)
{
	char control[CMSG_SPACE(sizeof(struct in6_pktinfo))] = { 0 };
	struct cm_dgram dgram;
	struct iovec iov = { &dgram, sizeof(dgram) };
	union cm_addr addr;
	struct msghdr m = {
		.msg_name = &addr, .msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = control,
	};

	tz_ud_make(&dgram.hdr, TZ_GSI_QPN, TZ_GSI_QPN, TZ_GSI_QKEY, 0, 0,
		   CM_MAD_BYTES);
	cm_mad_make(msg, dgram.mad);
	cm_put_addr(&m, to, ifindex);
	cm_put_pktinfo(&m, from, ifindex);
	/* The first attempt may only report an earlier datagram's error. */
	if (sendmsg(net.udp.fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		sendmsg(net.udp.fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* ---- receiving ---------------------------------------------------------- */

static socklen_t cm_token_name(u16 token, struct sockaddr_storage *ss)
{
	return cm_port_name(0, token, "id", ss);
}

static bool cm_pass_request(const struct cm_msg *req, const struct cm_path *path,
			    const u8 *mad)
{
	u16 ps = req->service_id >> 16, port = req->service_id;
	struct sockaddr_storage ss;
	struct cm_ip_hdr hdr;
	socklen_t len;

	if (req->service_id >> 32 || !cm_ip_hdr_parse(req->priv, &hdr))
		return false;
	len = cm_port_gid_name(ps, port, hdr.dst, path->ifindex, &ss);
	if (cm_pass_on(&ss, len, path, mad))
		return true;
	len = cm_port_name(ps, port, hdr.version == 4 ? "4" : "6", &ss);
	return cm_pass_on(&ss, len, path, mad);
}

static void cm_answer(const struct cm_path *path, const struct cm_msg *answer)
{
	cm_net_send(path->dgid, path->sgid, path->ifindex, answer);
}

static void cm_answer_stray(const struct cm_msg *msg, const struct cm_path *path)
{
	struct cm_msg answer;

	if (cm_stray_answer(msg, &answer))
		cm_answer(path, &answer);
}

/* A request; @passed: another process took it for ours. */
static bool cm_net_serve(const struct cm_msg *req,
			 const struct cm_path *path, const u8 *mad,
			 bool passed)
{
	return cm_id_incoming(req, path) ||
	       (!passed && cm_pass_request(req, path, mad));
}

static void cm_net_no_service(const struct cm_msg *req,
			      const struct cm_path *path)
{
	struct cm_msg answer;

	cm_no_service(req, CM_REJ_INVALID_SERVICE_ID, &answer);
	cm_answer(path, &answer);
}

/* The place of a request that has come before; NULL: it is new. */
static struct cm_held *cm_held_find(const struct cm_path *path, const u8 *mad)
{
	struct cm_held *h;
	u64 now = cm_now();

	for (h = held; h < held + CM_HELD; h++) {
		if (h->refused && now >= h->until)
			memset(h, 0, sizeof(*h));
		if (h->until && !memcmp(h->mad, mad, CM_MAD_BYTES) &&
		    !memcmp(&h->path, path, sizeof(*path)))
			return h;
	}
	return NULL;
}

/* Keep a request for a while; false if there is no room. */
static bool cm_hold(const struct cm_path *path, const u8 *mad, bool passed)
{
	struct cm_held *h, *room = NULL;
	u64 now = cm_now();

	for (h = held; h < held + CM_HELD; h++)
		if (!h->until || (h->refused && !room))
			room = h;
	if (!room)
		return false;
	room->until = now + CM_HOLD_NS;
	room->passed = passed;
	room->refused = false;
	room->path = *path;
	memcpy(room->mad, mad, CM_MAD_BYTES);
	if (!held_look_at)
		held_look_at = now + CM_LOOK_NS;
	return true;
}

/* Is the service there now? */
static void cm_held_look(u64 now)
{
	struct cm_msg req;
	struct cm_held *h;

	if (!held_look_at || now < held_look_at)
		return;
	held_look_at = 0;
	for (h = held; h < held + CM_HELD; h++) {
		if (!h->until || h->refused || !cm_mad_parse(h->mad, &req))
			continue;
		if (cm_net_serve(&req, &h->path, h->mad, h->passed)) {
			h->until = 0;
		} else if (now >= h->until) {
			h->refused = true;
			h->until = now + CM_REFUSED_NS;
			cm_net_no_service(&req, &h->path);
		} else {
			held_look_at = now + CM_LOOK_NS;
		}
	}
}

static void cm_net_request(const struct cm_msg *req,
			   const struct cm_path *path, const u8 *mad,
			   bool passed)
{
	const struct cm_held *h = cm_held_find(path, mad);

	if (h && h->refused)
		cm_net_no_service(req, path);
	else if (!h && !cm_net_serve(req, path, mad, passed) &&
		 !cm_hold(path, mad, passed))
		cm_net_no_service(req, path);
}

static void cm_net_message(const struct cm_msg *msg,
			   const struct cm_path *path, const u8 *mad,
			   bool passed)
{
	u32 id = msg->attr == CM_SIDR_REP ? msg->local_id : msg->remote_id;
	struct sockaddr_storage ss;
	struct cm_cx *cx;
	socklen_t len;

	if (!passed && id >> 16 != net.token) {
		len = cm_token_name(id >> 16, &ss);
		if (!cm_pass_on(&ss, len, path, mad))
			cm_answer_stray(msg, path);
		return;
	}
	cx = cm_cx_find(id);
	/* Only the peer's own address speaks for it. */
	if (!cx || memcmp(cx->peer, path->sgid, 16) != 0 ||
	    memcmp(cx->self, path->dgid, 16) != 0 ||
	    cx->ifindex != path->ifindex) {
		cm_answer_stray(msg, path);
		return;
	}
	cm_conn_rx(&cx->conn, msg, cm_now());
}

static void cm_net_mad(const struct cm_path *path, const struct cm_msg *msg,
		       const u8 *mad, bool passed)
{
	if (msg->attr == CM_REQ || msg->attr == CM_SIDR_REQ)
		cm_net_request(msg, path, mad, passed);
	else
		cm_net_message(msg, path, mad, passed);
}

void cm_net_passed_on(const struct cm_path *path, const struct cm_msg *msg,
		      const u8 *mad)
{
	cm_net_mad(path, msg, mad, true);
}

static void cm_get_pktinfo(struct msghdr *m, struct cm_path *path)
{
	struct in6_pktinfo info6;
	struct in_pktinfo info;
	struct cmsghdr *c;

	for (c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		if (c->cmsg_level == IPPROTO_IPV6 &&
		    c->cmsg_type == IPV6_PKTINFO) {
			memcpy(&info6, CMSG_DATA(c), sizeof(info6));
			memcpy(path->dgid, &info6.ipi6_addr, 16);
			path->ifindex = info6.ipi6_ifindex;
		} else if (c->cmsg_level == IPPROTO_IP &&
			   c->cmsg_type == IP_PKTINFO) {
			memcpy(&info, CMSG_DATA(c), sizeof(info));
			memset(path->dgid, 0, 10);
			memset(path->dgid + 10, 0xff, 2);
			memcpy(path->dgid + 12, &info.ipi_addr, 4);
		}
	}
	if (!cm_gid_link_local(path->sgid) && !cm_gid_link_local(path->dgid))
		path->ifindex = 0;
}

/* One datagram from the network; false if there is none. */
static bool cm_net_receive(int fd)
{
	char control[256];
	struct cm_dgram dgram;
	struct iovec iov = { &dgram, sizeof(dgram) };
	struct cm_path path = {};
	union cm_addr from;
	struct cm_msg msg;
	struct msghdr m = {
		.msg_name = &from, .msg_namelen = sizeof(from), .msg_iov = &iov,
		.msg_iovlen = 1, .msg_control = control,
		.msg_controllen = sizeof(control),
	};
	ssize_t n;
	u32 qpn;

	n = recvmsg(fd, &m, MSG_DONTWAIT | MSG_TRUNC);
	if (n < 0)
		return errno != EAGAIN && errno != EBADF;
	if (n != sizeof(dgram) || !cm_addr_ok(&from) ||
	    !tz_ud_check(&dgram, n, &qpn) || qpn != TZ_GSI_QPN ||
	    tz_le32_to_cpu(dgram.hdr.qkey) != TZ_GSI_QKEY)
		return true;
	cm_addr_gid(&from, path.sgid);
	cm_get_pktinfo(&m, &path);
	if (cm_mad_parse(dgram.mad, &msg))
		cm_net_mad(&path, &msg, dgram.mad, false);
	return true;
}

/* ICMP says that a datagram of ours found nobody; it is quoted. */
static bool cm_net_error(int fd)
{
	char control[256];
	struct cm_dgram dgram;
	struct iovec iov = { &dgram, sizeof(dgram) };
	struct msghdr m = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control,
		.msg_controllen = sizeof(control),
	};
	const struct sock_extended_err *e;
	struct cmsghdr *c;
	struct cm_msg msg;
	struct cm_cx *cx;
	ssize_t n;

	n = recvmsg(fd, &m, MSG_ERRQUEUE | MSG_DONTWAIT);
	if (n < 0)
		return false;
	if (n != sizeof(dgram) || !cm_mad_parse(dgram.mad, &msg))
		return true;
	for (c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
		if (c->cmsg_type != IP_RECVERR && c->cmsg_type != IPV6_RECVERR)
			continue;
		e = (const void *)CMSG_DATA(c);
		cx = cm_cx_find(msg.local_id);
		if (cx && e->ee_errno == ECONNREFUSED)
			cm_conn_refused(&cx->conn, cm_now());
	}
	return true;
}

void cm_net_ready(struct cm_fd *fd, u32 events)
{
	int i;

	if (events & EPOLLERR)
		for (i = 0; i < CM_BATCH && cm_net_error(fd->fd); i++)
			;
	for (i = 0; i < CM_BATCH && cm_net_receive(fd->fd); i++)
		;
}

/* ---- sockets ------------------------------------------------ */

static int cm_udp_open(int family, u16 port)
{
	union cm_addr a = { .sa = { .sa_family = family } };
	int fd, one = 1, zero = 0, bytes = CM_RCVBUF, err;

	fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
	setsockopt(fd, IPPROTO_IP, IP_RECVERR, &one, sizeof(one));
	if (family == AF_INET) {
		setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &one, sizeof(one));
	} else {
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof(zero));
		setsockopt(fd, IPPROTO_IPV6, IPV6_RECVERR, &one, sizeof(one));
		setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &one,
			   sizeof(one));
	}
	cm_addr_set_port(&a, port);
	if (!bind(fd, &a.sa, cm_addr_len(&a)))
		return fd;
	err = errno;
	close(fd);
	errno = err;
	return -1;
}

int cm_net_open(u16 port, int *family)
{
	int fd;

	*family = AF_INET6;
	fd = cm_udp_open(*family, port);
	if (fd < 0 && errno != EADDRINUSE) {
		*family = AF_INET;
		fd = cm_udp_open(*family, port);
	}
	return fd;
}

/* The socket from which this process sends, at any port. */
static bool cm_net_open_own(void)
{
	net.udp.fd = cm_net_open(0, &net.family);
	net.udp.ready = cm_net_ready;
	return net.udp.fd >= 0 && cm_net_watch(&net.udp, EPOLLIN);
}

/* ---- the thread --------------------------------------------------------- */

static int cm_timeout_ms(u64 now)
{
	u64 at = cm_cx_deadline();
	u64 retry = cm_owner_deadline(), link = cm_link_deadline();

	if (retry && (!at || retry < at))
		at = retry;
	if (link && (!at || link < at))
		at = link;
	if (held_look_at && (!at || held_look_at < at))
		at = held_look_at;
	if (!at)
		return -1;
	return at <= now ? 0 : tz_min((at - now + 999999) / 1000000, (u64)60000);
}

bool cm_net_await_turn(u64 until)
{
	struct timespec ts = {
		.tv_sec = until / 1000000000, .tv_nsec = until % 1000000000,
	};

	return net.started &&
	       !pthread_cond_clockwait(&cm_turn, &cm_lock, CLOCK_MONOTONIC, &ts);
}

static void *cm_main(void *arg)
{
	struct pollfd poll_fd = { .fd = net.epfd, .events = POLLIN };
	struct epoll_event ev;
	int cancel, i, ms;

	(void)arg;
	for (;;) {
		cm_enter(&cancel);
		ms = cm_timeout_ms(cm_now());
		cm_leave(cancel);
		poll(&poll_fd, 1, ms);
		cm_enter(&cancel);
		cm_owner_check_user();
		/*
		 * Events are fetched under the lock, and one at a time: whoever
		 * has the lock may free what an event is for.
		 */
		for (i = 0; i < CM_EVENTS &&
			    epoll_wait(net.epfd, &ev, 1, 0) == 1; i++) {
			struct cm_fd *fd = ev.data.ptr;

			fd->ready(fd, ev.events);
		}
		cm_owner_timer(cm_now());
		cm_link_timer(cm_now());
		cm_held_look(cm_now());
		cm_cx_timers(cm_now());
		pthread_cond_broadcast(&cm_turn);
		cm_leave(cancel);
	}
	return NULL;
}

/* A name of its own among the processes of this network namespace. */
static bool cm_take_token(void)
{
	struct sockaddr_storage ss;
	socklen_t len;
	int i, err = 0;

	for (i = 0; i < 1000; i++) {
		if (!tz_random(&net.token, sizeof(net.token)))
			net.token += cm_now();
		len = cm_token_name(net.token, &ss);
		err = net.token ? cm_door_open(&net.own, &ss, len, cm_in_got) :
				  EADDRINUSE;
		if (err != EADDRINUSE)
			break;
	}
	errno = err;
	return !err;
}

static int cm_start_thread(void)
{
	return tz_thread_start(&net.thread, cm_main, NULL, "tcpzc-cm");
}

static void cm_net_stop(void)
{
	cm_owner_stop();
	cm_dev_unwatch();
	cm_net_close(&net.udp);
	cm_door_close(&net.own);
	cm_link_stop();
	cm_net_close(&net.wake);
	if (net.epfd >= 0)
		close(net.epfd);
	net.epfd = -1;
	memset(held, 0, sizeof(held));
	held_look_at = 0;
	net.started = false;
}

int cm_net_start(void)
{
	int err;

	if (net.started)
		return 0;
	net.epfd = epoll_create1(EPOLL_CLOEXEC);
	net.wake.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	net.wake.ready = cm_net_woken;
	if (net.epfd < 0 || net.wake.fd < 0 || !cm_net_watch(&net.wake, EPOLLIN) ||
	    !cm_take_token() || !cm_net_open_own()) {
		err = errno ? errno : EIO;
		goto err_close;
	}
	cm_dev_watch();
	cm_owner_elect();
	err = cm_start_thread();
	if (err)
		goto err_close;
	net.started = true;
	return 0;

err_close:
	cm_net_stop();
	return err;
}

/* What is watched goes on being the parent's, as does the set itself. */
void cm_net_forget_watched(void)
{
	if (net.epfd >= 0)
		close(net.epfd);
	net.epfd = -1;
}

void cm_net_stop_in_child(void)
{
	cm_net_forget_watched();
	cm_net_stop();
}
