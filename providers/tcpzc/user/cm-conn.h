/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * cm-conn.h - one connection, or one service id resolution (SIDR), of the
 * connection manager as a state machine: no I/O, no clock, no lock, no memory of
 * its own (IB specification, volume 1, 12.9).
 *
 * Its owner passes messages and time, and is told what to send and what has
 * happened. All times are nanoseconds of one monotonic clock; 0 is "never".
 */
#ifndef TCPZC_CM_CONN_H
#define TCPZC_CM_CONN_H

#include "cm-mad.h"

enum cm_state {
	CM_IDLE,
	CM_REQ_SENT,		/* active: waiting for REP */
	CM_REP_RCVD,		/* active: the application is to answer */
	CM_REQ_RCVD,		/* passive: the application is to answer */
	CM_REP_SENT,		/* passive: waiting for RTU */
	CM_ESTABLISHED,
	CM_DREQ_SENT,
	CM_TIMEWAIT,
	CM_SIDR_SENT,
	CM_SIDR_RCVD,		/* the application is to answer */
	CM_SIDR_DONE,		/* answered, or have been */
	CM_CLOSED,		/* nothing will happen any more */
};

enum cm_event {
	CM_EV_REP,		/* the peer accepts; @msg is its REP */
	CM_EV_ESTABLISHED,	/* passive: the peer is ready */
	CM_EV_REJECTED,		/* @msg is the REJ */
	CM_EV_UNREACHABLE,	/* nobody answers, though often asked */
	CM_EV_DISCONNECTED,	/* @msg: the DREQ or DREP; NULL: no answer */
	CM_EV_TIMEWAIT_EXIT,
	CM_EV_SIDR_REP,		/* @msg is the SIDR_REP, whatever its status */
};

struct cm_conn;

struct cm_ops {
	void (*send)(struct cm_conn *conn, const struct cm_msg *msg);
	void (*event)(struct cm_conn *conn, enum cm_event event,
		      const struct cm_msg *msg);
};

struct cm_conn {
	const struct cm_ops *ops;
	enum cm_state state;
	u32 local_id, remote_id;
	u64 tid;
	u32 remote_qpn;
	bool active;
	bool refused;		/* a port was closed: give up sooner */
	u32 tries;		/* left */
	u64 wait_ns;		/* before the next try */
	u64 resend_at;
	u64 timewait_ns;
	struct cm_msg last;	/* what is sent again; what was answered */
};

/*
 * @local_id is unique among the connections of this host for a while; @tid, of a
 * request, is random: others must not be able to answer it.
 */
void cm_conn_init(struct cm_conn *conn, const struct cm_ops *ops, u32 local_id,
		  u64 tid);

/* Send a REQ, or a SIDR_REQ; ids and tid are filled in. */
void cm_conn_request(struct cm_conn *conn, struct cm_msg *req, u64 now);
/* A REQ or SIDR_REQ has come, and is the application's to answer. */
void cm_conn_incoming(struct cm_conn *conn, const struct cm_msg *req);

/*
 * The application's answers. False if the state does not allow it. In CM_REP_RCVD
 * cm_conn_accept() sends the RTU, and @msg is not looked at.
 */
bool cm_conn_accept(struct cm_conn *conn, struct cm_msg *msg, u64 now);
bool cm_conn_reject(struct cm_conn *conn, u16 reason, const void *priv,
		    u32 priv_len);
bool cm_conn_disconnect(struct cm_conn *conn, u64 now);

/*
 * The application is not interested any more: no events from now on. False if
 * the connection has to stay for a while, until its state is CM_CLOSED.
 */
bool cm_conn_abandon(struct cm_conn *conn, u64 now);

/* Data has come from the peer, so it has the REP: as good as an RTU. */
void cm_conn_heard(struct cm_conn *conn);

/* A message for this connection. */
void cm_conn_rx(struct cm_conn *conn, const struct cm_msg *msg, u64 now);
/* The peer's port is closed (ICMP): nobody is there to hear it. */
void cm_conn_refused(struct cm_conn *conn, u64 now);

/* No answer can come: a request is given up at once. */
void cm_conn_hopeless(struct cm_conn *conn, u64 now);

u64 cm_conn_deadline(const struct cm_conn *conn);
void cm_conn_timer(struct cm_conn *conn, u64 now);

/* A REQ that comes again: the answer to the first one is sent again. */
void cm_conn_repeated(struct cm_conn *conn);

/* The answers to messages that belong to no connection. False: none. */
bool cm_stray_answer(const struct cm_msg *msg, struct cm_msg *answer);
/* The answer to a REQ or SIDR_REQ for a service that is not there. */
void cm_no_service(const struct cm_msg *req, u16 reason, struct cm_msg *answer);

#endif /* TCPZC_CM_CONN_H */
