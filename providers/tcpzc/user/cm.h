/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * cm.h - internals of libtcpzc-cm.so: rdma_cm in the process.
 *
 *   cm-chan.c	event channels and events
 *   cm-cmd.c	the commands that librdmacm writes
 *   cm-id.c	ids: binding, connecting, what happens to connections
 *   cm-dev.c	devices, addresses and routes
 *   cm-port.c	ports, which all processes of the network namespace share
 *   cm-net.c	the thread, messages from and to other hosts and processes
 *   cm-link.c	local connections: to whom messages are passed, and from whom
 *   cm-owner.c	which process has the well-known port
 *   cm-conn.c	state machine of a connection (no I/O)
 *   cm-mad.c	messages (no I/O)
 *   cm-pass.c	what is said on local connections (no I/O)
 *
 * One lock, cm_lock, protects everything; nothing waits while it is held. A
 * thread that holds it must not be cancelled: cm_enter() and cm_leave().
 */
#ifndef TCPZC_CM_H
#define TCPZC_CM_H

#include <net/if.h>
#include <netinet/in.h>
#include <pthread.h>
#include <rdma/rdma_user_cm.h>
#include <sys/queue.h>
#include <sys/types.h>

#include "../tcpzc-ids.h"
#include "cm-conn.h"
#include "cm-pass.h"
#include "tz_ud.h"

#define CM_MAX_IDS		65535	/* librdmacm's limit of handles */
#define CM_MAX_BACKLOG		1024

/* What librdmacm is told; the values are those of enum rdma_cm_event_type. */
enum cm_user_event {
	CM_EVENT_ADDR_RESOLVED		= 0,
	CM_EVENT_ROUTE_RESOLVED		= 2,
	CM_EVENT_CONNECT_REQUEST	= 4,
	CM_EVENT_CONNECT_RESPONSE	= 5,
	CM_EVENT_UNREACHABLE		= 7,
	CM_EVENT_REJECTED		= 8,
	CM_EVENT_ESTABLISHED		= 9,
	CM_EVENT_DISCONNECTED		= 10,
	CM_EVENT_DEVICE_REMOVAL		= 11,
	CM_EVENT_TIMEWAIT_EXIT		= 15,
};

#define CM_IB_COMM_EST		4	/* IBV_EVENT_COMM_EST */

struct cm_chan;
struct cm_id;

/* ---- devices and addresses (cm-dev.c) ----------------------------------- */

struct cm_dev {
	char name[32];
	u32 ifindex;
	u64 guid;
	u8 mtu;				/* enum ibv_mtu */
	bool gone;			/* its interface is */
	u8 gids[TCPZC_GID_TABLE_LEN][16];
};

union cm_addr {
	struct sockaddr sa;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
};

/* Of all hosts: TCPZC_PORT. */
extern u16 cm_well_known_port;
/* Read the tree, and that; 0 or a positive errno. */
int cm_dev_load(void);
/*
 * The device that has this GID, and its index; not one that is gone. Of several with
 * a link-local one that which is @ifindex; 0: any.
 */
const struct cm_dev *cm_dev_find(const u8 gid[16], u32 ifindex, u8 *index);
/* Call @fn for each GID of each device until it does not return 0, but an error. */
int cm_dev_each_gid(int (*fn)(const u8 gid[16], u32 ifindex, void *arg), void *arg);
/* Notice from now on if an interface goes; and no more. */
void cm_dev_watch(void);
void cm_dev_unwatch(void);

bool cm_addr_ok(const union cm_addr *a);
bool cm_addr_any(const union cm_addr *a);
u16 cm_addr_port(const union cm_addr *a);
void cm_addr_set_port(union cm_addr *a, u16 port);
void cm_addr_gid(const union cm_addr *a, u8 gid[16]);
/* @ifindex is looked at if the address is link-local. */
void cm_addr_from_gid(union cm_addr *a, const u8 gid[16], u32 ifindex, u16 port);
/* The interface that a link-local address names (0: none); else 0. */
u32 cm_addr_scope(const union cm_addr *a);
static inline socklen_t cm_addr_len(const union cm_addr *a)
{
	return a->sa.sa_family == AF_INET ? sizeof(a->in) : sizeof(a->in6);
}

/* Is this one of the host's addresses, though perhaps of no device? */
bool cm_addr_local(const union cm_addr *a);
/*
 * Which address of this host is used to reach @dst? Fills in @src (with port 0);
 * 0 or a positive errno.
 */
int cm_route(const union cm_addr *dst, union cm_addr *src);

/* ---- local connections (cm-link.c) -------------------------------------- */

struct cm_fd {
	void (*ready)(struct cm_fd *fd, u32 events);
	int fd;
};

/* A name at which other processes, of any user, connect. */
struct cm_door {
	struct cm_fd fd;		/* first; -1: closed */
	LIST_ENTRY(cm_door) node;
	void (*got)(int fd, uid_t uid);	/* its own now; @uid is whose it is */
	u64 paused_until;
};

/* Whose process is at the other side? False if the kernel does not say. */
bool cm_peer_user(int fd, uid_t *uid);
bool cm_same_user(uid_t uid);
/* Is to be believed: this user, or root. */
bool cm_user_trusted(uid_t uid);
/* 0 or a positive errno. */
int cm_door_open(struct cm_door *door, const struct sockaddr_storage *name,
		 socklen_t len, void (*got)(int fd, uid_t uid));
void cm_door_close(struct cm_door *door);
/* The effective user of the process is another one now. */
void cm_door_user_changed(void);
/* Of a door to which messages are passed on. */
void cm_in_got(int fd, uid_t uid);
/*
 * Pass a message on to the process that has this name; false if there is none, or
 * one that would not believe us.
 */
bool cm_pass_on(const struct sockaddr_storage *name, socklen_t len,
		const struct cm_path *path, const u8 *mad);
u64 cm_link_deadline(void);
void cm_link_timer(u64 now);
void cm_link_stop(void);

/* ---- ports (cm-port.c) -------------------------------------------------- */

/* A port of a port space, at one address or at all. */
struct cm_port {
	LIST_ENTRY(cm_port) node;
	u16 ps, port;
	bool any;
	bool v4, v6;			/* families, if any */
	u8 gid[16];			/* address, if not any */
	u32 ifindex;			/* if that is link-local */
	bool reuse;			/* all users have said so */
	u32 users;
	struct cm_door *doors;		/* others pass messages on to these */
	u32 num_doors;
};

/*
 * Get @id's port: that of its source address, or any if that is 0, which is then
 * filled in. 0 or a positive errno.
 */
int cm_port_get(struct cm_id *id);
void cm_port_put(struct cm_port *port);
/* No more sharing of @port; EADDRINUSE if it is being shared. */
int cm_port_own(struct cm_port *port);
/* @id begins to listen: say so among the host's sockets (`ss -xa`). */
int cm_port_announce(struct cm_id *id);
/* The name of the socket to which requests for a service are passed on. */
socklen_t cm_port_name(u16 ps, u16 port, const char *which,
		       struct sockaddr_storage *ss);
/* The same at one address. */
socklen_t cm_port_gid_name(u16 ps, u16 port, const u8 gid[16], u32 ifindex,
			   struct sockaddr_storage *ss);

/* ---- connections, ids (cm-id.c) ----------------------------------------- */

/* A connection, with or without an id that is interested. */
struct cm_cx {
	struct cm_conn conn;		/* first */
	LIST_ENTRY(cm_cx) node;
	struct cm_id *id;
	u8 self[16], peer[16];		/* GIDs */
	u32 ifindex;			/* if one is link-local */
	u32 peer_id;			/* of a peer's request */
	u64 peer_guid;
	u64 service_id;
	bool sidr_peer;			/* local_id is the request's, of the peer */
	u32 slot;
};

enum cm_id_state {
	CM_ID_IDLE, CM_ID_BOUND, CM_ID_ADDR, CM_ID_ROUTE, CM_ID_CONNECT,
	CM_ID_LISTEN,
	CM_ID_GONE,			/* or its device is */
};

struct cm_id {
	LIST_ENTRY(cm_id) node;
	u32 handle;
	enum cm_id_state state;
	struct cm_chan *chan;
	struct cm_cx *cx;
	struct cm_port *port;
	struct cm_id *listener;		/* of a request not fetched yet */
	u64 uid;
	u16 ps;
	u8 qp_type;
	union cm_addr src, dst;
	const struct cm_dev *dev;
	u8 sgid_index;
	u8 sgid[16], dgid[16];
	u32 ifindex;			/* if one is link-local, else 0 */
	u32 events_reported;
	u32 backlog, pending;		/* listening */
	struct cm_fd sign;		/* says that it is; see cm_port_announce() */
	u8 tos, ack_timeout;
	bool reuse, afonly, ack_timeout_set;
	/* of the connection */
	u32 psn, peer_psn, peer_qpn;
	u32 qp_num, qkey;
	u8 responder_resources, initiator_depth;
	u8 retry_count, rnr_retry_count;
	bool disconnected;
};

struct cm_id *cm_id_new(struct cm_chan *chan, u64 uid, u16 ps, u8 qp_type);
struct cm_id *cm_id_find(u32 handle);
/* Ends it; returns how many events were fetched. */
u32 cm_id_destroy(struct cm_id *id);
void cm_id_destroy_all(struct cm_chan *chan);

int cm_id_bind(struct cm_id *id, const union cm_addr *addr);
int cm_id_resolve(struct cm_id *id, const union cm_addr *src,
		  const union cm_addr *dst);
int cm_id_set_reuse(struct cm_id *id, bool reuse);
int cm_id_listen(struct cm_id *id, int backlog);
int cm_id_connect(struct cm_id *id, const struct rdma_ucm_conn_param *param);
int cm_id_accept(struct cm_id *id, u64 uid,
		 const struct rdma_ucm_conn_param *param);
int cm_id_reject(struct cm_id *id, u8 reason, const void *priv, u32 len);
int cm_id_disconnect(struct cm_id *id);
int cm_id_qp_attr(struct cm_id *id, u32 state, struct ib_uverbs_qp_attr *attr);
void cm_id_ah(const struct cm_id *id, struct ib_uverbs_ah_attr *ah);

/* The connection with this local id. */
struct cm_cx *cm_cx_find(u32 local_id);
/* Earliest deadline, or 0; and run what is due. */
u64 cm_cx_deadline(void);
void cm_cx_timers(u64 now);
/* Requests cannot be answered: give them up. */
void cm_cx_hopeless(void);
/* A REQ or SIDR_REQ; false if nobody here serves it. */
bool cm_id_incoming(const struct cm_msg *req, const struct cm_path *path);
/* @dev is gone: its ids say so, and can only be destroyed. */
void cm_id_dev_gone(const struct cm_dev *dev);
/* Say goodbye for connections that the process leaves behind. */
void cm_id_farewell(void);
/* Is there one whose peer may not have heard it yet? */
bool cm_cx_unheard(void);
void cm_id_forget_all(void);

/* ---- channels, events (cm-chan.c) --------------------------------------- */

struct cm_ev {
	TAILQ_ENTRY(cm_ev) node;
	struct cm_id *owner;		/* whose event it counts as */
	struct cm_id *child;		/* CONNECT_REQUEST: the new id */
	struct rdma_ucm_event_resp resp;
};

struct cm_chan {
	LIST_ENTRY(cm_chan) node;
	struct cm_fd far;		/* our end */
	dev_t dev;
	ino_t ino;			/* of the application's end */
	TAILQ_HEAD(, cm_ev) events;
};

/* A new event, at the end of the queue; NULL if there is no memory. */
struct cm_ev *cm_event_add(struct cm_id *owner, u32 event, int status);
/* Take the oldest event; @fd is the application's end. */
struct cm_ev *cm_event_pop(struct cm_chan *chan, int fd);
/* Forget events of an id; @fd: the channel's, or -1. */
void cm_event_drop(struct cm_id *id);
/* @id is @to's now, with its events, and with the requests that wait. */
void cm_event_move(struct cm_id *id, struct cm_chan *to);
struct cm_chan *cm_chan_find(int fd);
/* No events are left: @fd is to show that. */
void cm_chan_calm(struct cm_chan *chan, int fd);

extern pthread_mutex_t cm_lock;
void cm_enter(int *cancel);
void cm_leave(int cancel);

/* ---- commands (cm-cmd.c) ------------------------------------------------ */

ssize_t cm_write(int fd, const void *buf, size_t len);

/* ---- messages (cm-net.c) ------------------------------------------------ */

/* Start the thread and the sockets, once; 0 or a positive errno. */
int cm_net_start(void);
void cm_net_stop_in_child(void);
/* In a child, before anything is closed: the parent watches it still. */
void cm_net_forget_watched(void);
/* A deadline may have come closer. */
void cm_net_wake(void);
bool cm_net_watch(struct cm_fd *fd, u32 events);
void cm_net_unwatch(struct cm_fd *fd);
void cm_net_close(struct cm_fd *fd);
/* A UDP socket at @port, of both families if there are both; or -1 and errno. */
int cm_net_open(u16 port, int *family);
/* Datagrams, or what ICMP says, are to be read. */
void cm_net_ready(struct cm_fd *fd, u32 events);
/* Wait until the thread has done something, with cm_lock; false: too long. */
bool cm_net_await_turn(u64 until);
/* Send a message from one GID to another; @ifindex: if one is link-local. */
void cm_net_send(const u8 from[16], const u8 to[16], u32 ifindex,
		 const struct cm_msg *msg);
/* The upper half of this process's connection ids. */
u16 cm_net_token(void);
/* A message that another process has passed on, one that is believed. */
void cm_net_passed_on(const struct cm_path *path, const struct cm_msg *msg,
		      const u8 *mad);
u64 cm_now(void);

/* ---- the well-known port (cm-owner.c) ----------------------------------- */

/* Become its owner, or follow who is. */
void cm_owner_elect(void);
/* The port is, and will be for a while, in other hands. */
bool cm_owner_useless(void);
/* Before anything is read or sent: the process may have changed its user. */
void cm_owner_check_user(void);
u64 cm_owner_deadline(void);
void cm_owner_timer(u64 now);
void cm_owner_stop(void);

#endif /* TCPZC_CM_H */
