// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * cm-conn.c - the connection manager's state machine.
 */
#include "cm-conn.h"

#define CM_MS			1000000ull
/* The first repetition comes soon: the network is lossy or the peer is new. */
#define CM_FIRST_WAIT_NS	(50 * CM_MS)
#define CM_LAST_WAIT_NS		(4295 * CM_MS)	/* 4.096 us * 2^20 */
#define CM_BUSY_WAIT_NS		(1000 * CM_MS)
#define CM_TRIES		15
/* Nobody listens at the port, perhaps because another process takes it over. */
#define CM_REFUSED_TRIES	3
/* Who has lost interest does not insist on hearing of it. */
#define CM_ABANDONED_TRIES	6
/* "The application is thinking", 4.096 us * 2^24; the kernel says the same. */
#define CM_MRA_TIMEOUT		24
#define CM_SIDR_LINGER_NS	(30000 * CM_MS)
#define CM_TIMEWAIT_MIN_NS	(500 * CM_MS)

void cm_conn_init(struct cm_conn *conn, const struct cm_ops *ops, u32 local_id,
		  u64 tid)
{
	memset(conn, 0, sizeof(*conn));
	conn->ops = ops;
	conn->local_id = local_id;
	conn->tid = tid;
	conn->timewait_ns = CM_TIMEWAIT_MIN_NS;
}

static u64 cm_timeout_ns(u32 code)
{
	return 4096ull << (code & 31);
}

/* ---- sending ------------------------------------------------------------ */

static void cm_conn_send(struct cm_conn *conn, struct cm_msg *msg)
{
	msg->tid = conn->tid;
	msg->local_id = conn->local_id;
	msg->remote_id = conn->remote_id;
	conn->ops->send(conn, msg);
}

/* Send @msg now and again until something else happens. */
static void cm_conn_insist(struct cm_conn *conn, struct cm_msg *msg, u64 now)
{
	conn->last = *msg;
	conn->tries = CM_TRIES;
	conn->refused = false;
	conn->wait_ns = CM_FIRST_WAIT_NS;
	conn->resend_at = now + conn->wait_ns;
	cm_conn_send(conn, &conn->last);
	*msg = conn->last;
}

static void cm_conn_send_plain(struct cm_conn *conn, enum cm_attr attr)
{
	struct cm_msg msg = { .attr = attr };

	cm_conn_send(conn, &msg);
}

static void cm_conn_send_mra(struct cm_conn *conn, u8 about)
{
	struct cm_msg msg = {
		.attr = CM_MRA, .about = about,
		.service_timeout = CM_MRA_TIMEOUT,
	};

	cm_conn_send(conn, &msg);
}

static void cm_conn_send_rej(struct cm_conn *conn, u8 about, u16 reason,
			     const void *priv, u32 priv_len)
{
	struct cm_msg msg = {
		.attr = CM_REJ, .about = about, .reason = reason,
		.priv_len = tz_min(priv_len, (u32)CM_REJ_PRIV),
	};

	if (msg.priv_len)
		memcpy(msg.priv, priv, msg.priv_len);
	cm_conn_send(conn, &msg);
}

static void cm_conn_settle(struct cm_conn *conn, enum cm_state state)
{
	conn->state = state;
	conn->resend_at = 0;
}

static void cm_conn_timewait(struct cm_conn *conn, u64 now)
{
	conn->state = CM_TIMEWAIT;
	conn->resend_at = now + conn->timewait_ns;
}

static void cm_conn_event(struct cm_conn *conn, enum cm_event event,
			  const struct cm_msg *msg)
{
	if (conn->ops->event)
		conn->ops->event(conn, event, msg);
}

/* ---- the application ---------------------------------------------------- */

void cm_conn_request(struct cm_conn *conn, struct cm_msg *req, u64 now)
{
	tz_assert(conn->state == CM_IDLE);
	conn->active = true;
	conn->state = req->attr == CM_SIDR_REQ ? CM_SIDR_SENT : CM_REQ_SENT;
	if (req->attr == CM_REQ)
		conn->timewait_ns += cm_timeout_ns(tz_min(req->ack_timeout, (u8)20));
	cm_conn_insist(conn, req, now);
}

void cm_conn_incoming(struct cm_conn *conn, const struct cm_msg *req)
{
	tz_assert(conn->state == CM_IDLE);
	conn->tid = req->tid;
	conn->remote_id = req->local_id;
	if (req->attr == CM_SIDR_REQ) {
		/* A SIDR_REP carries the request's id (12.11). */
		conn->local_id = req->local_id;
		conn->state = CM_SIDR_RCVD;
		return;
	}
	conn->remote_qpn = req->qpn;
	conn->timewait_ns += cm_timeout_ns(tz_min(req->ack_timeout, (u8)20));
	conn->state = CM_REQ_RCVD;
	/* The peer need not ask again while the application is thinking. */
	cm_conn_send_mra(conn, CM_REJECTS_REQ);
}

bool cm_conn_accept(struct cm_conn *conn, struct cm_msg *msg, u64 now)
{
	switch (conn->state) {
	case CM_REQ_RCVD:
		conn->state = CM_REP_SENT;
		msg->attr = CM_REP;
		cm_conn_insist(conn, msg, now);
		return true;
	case CM_REP_RCVD:
		cm_conn_send_plain(conn, CM_RTU);
		cm_conn_settle(conn, CM_ESTABLISHED);
		return true;
	case CM_SIDR_RCVD:
		msg->attr = CM_SIDR_REP;
		conn->last = *msg;
		cm_conn_send(conn, &conn->last);
		conn->state = CM_SIDR_DONE;
		conn->resend_at = 0;
		return true;
	default:
		return false;
	}
}

bool cm_conn_reject(struct cm_conn *conn, u16 reason, const void *priv,
		    u32 priv_len)
{
	struct cm_msg rep = { .status = CM_SIDR_REJECT };

	switch (conn->state) {
	case CM_REQ_RCVD:
		cm_conn_send_rej(conn, CM_REJECTS_REQ, reason, priv, priv_len);
		break;
	case CM_REP_RCVD:
		cm_conn_send_rej(conn, CM_REJECTS_REP, reason, priv, priv_len);
		break;
	case CM_SIDR_RCVD:
		if (priv_len > CM_SIDR_REP_PRIV)
			return false;
		rep.priv_len = priv_len;
		if (priv_len)
			memcpy(rep.priv, priv, priv_len);
		return cm_conn_accept(conn, &rep, 0);
	default:
		return false;
	}
	cm_conn_settle(conn, CM_CLOSED);
	return true;
}

bool cm_conn_disconnect(struct cm_conn *conn, u64 now)
{
	struct cm_msg dreq = { .attr = CM_DREQ, .qpn = conn->remote_qpn };

	switch (conn->state) {
	case CM_REP_SENT:
	case CM_ESTABLISHED:
		conn->state = CM_DREQ_SENT;
		cm_conn_insist(conn, &dreq, now);
		return true;
	case CM_DREQ_SENT:
	case CM_TIMEWAIT:
	case CM_CLOSED:
		return true;	/* the peer was faster */
	default:
		return false;
	}
}

bool cm_conn_abandon(struct cm_conn *conn, u64 now)
{
	switch (conn->state) {
	case CM_REQ_SENT:
		cm_conn_send_rej(conn, CM_REJECTS_NONE, CM_REJ_TIMEOUT, NULL, 0);
		break;
	case CM_REQ_RCVD:
	case CM_REP_RCVD:
	case CM_SIDR_RCVD:
		cm_conn_reject(conn, CM_REJ_CONSUMER_DEFINED, NULL, 0);
		break;
	case CM_REP_SENT:
	case CM_ESTABLISHED:
		cm_conn_disconnect(conn, now);
		break;
	default:
		break;
	}
	if (conn->state == CM_DREQ_SENT) {
		conn->tries = tz_min(conn->tries, (u32)CM_ABANDONED_TRIES);
		return false;
	}
	if (conn->state == CM_SIDR_DONE && !conn->active) {
		conn->resend_at = now + CM_SIDR_LINGER_NS;
		return false;
	}
	cm_conn_settle(conn, CM_CLOSED);
	return true;
}

/* ---- messages ----------------------------------------------------------- */

void cm_conn_repeated(struct cm_conn *conn)
{
	switch (conn->state) {
	case CM_REQ_RCVD:
		cm_conn_send_mra(conn, CM_REJECTS_REQ);
		break;
	case CM_REP_SENT:
	case CM_SIDR_DONE:
		cm_conn_send(conn, &conn->last);
		break;
	default:
		break;
	}
}

/*
 * The peer is there and busy. It is asked again all the same, for if it dies nobody
 * says so; but it has as long as it wants.
 */
static void cm_conn_mra(struct cm_conn *conn, const struct cm_msg *msg, u64 now)
{
	bool ours = (conn->state == CM_REQ_SENT && msg->about == 0) ||
		    (conn->state == CM_REP_SENT && msg->about == 1);

	if (!ours)
		return;
	if (conn->state == CM_REQ_SENT)
		conn->remote_id = msg->local_id;
	conn->tries = CM_TRIES + tz_min(cm_timeout_ns(msg->service_timeout),
					cm_timeout_ns(CM_MRA_TIMEOUT)) /
				 CM_LAST_WAIT_NS;
	conn->refused = false;
	conn->wait_ns = CM_BUSY_WAIT_NS;
	conn->resend_at = now + conn->wait_ns;
}

static void cm_conn_rep(struct cm_conn *conn, const struct cm_msg *msg)
{
	switch (conn->state) {
	case CM_REQ_SENT:
		conn->remote_id = msg->local_id;
		conn->remote_qpn = msg->qpn;
		cm_conn_settle(conn, CM_REP_RCVD);
		cm_conn_event(conn, CM_EV_REP, msg);
		break;
	case CM_REP_RCVD:
		cm_conn_send_mra(conn, CM_REJECTS_REP);
		break;
	case CM_ESTABLISHED:
		if (conn->active && msg->local_id == conn->remote_id)
			cm_conn_send_plain(conn, CM_RTU);
		break;
	default:
		break;
	}
}

static void cm_conn_rej(struct cm_conn *conn, const struct cm_msg *msg)
{
	switch (conn->state) {
	case CM_REQ_SENT:
	case CM_REQ_RCVD:
	case CM_REP_SENT:
	case CM_REP_RCVD:
		cm_conn_settle(conn, CM_CLOSED);
		cm_conn_event(conn, CM_EV_REJECTED, msg);
		break;
	case CM_ESTABLISHED:
		/* The RTU was not accepted: as good as a disconnect. */
		cm_conn_settle(conn, CM_CLOSED);
		cm_conn_event(conn, CM_EV_DISCONNECTED, msg);
		break;
	case CM_DREQ_SENT:
		cm_conn_settle(conn, CM_CLOSED);
		cm_conn_event(conn, CM_EV_DISCONNECTED, msg);
		break;
	default:
		break;
	}
}

static void cm_conn_dreq(struct cm_conn *conn, const struct cm_msg *msg, u64 now)
{
	switch (conn->state) {
	case CM_REP_SENT:	/* the RTU was lost, or overtaken */
	case CM_ESTABLISHED:
	case CM_DREQ_SENT:
		cm_conn_send_plain(conn, CM_DREP);
		cm_conn_timewait(conn, now);
		cm_conn_event(conn, CM_EV_DISCONNECTED, msg);
		break;
	case CM_TIMEWAIT:
		cm_conn_send_plain(conn, CM_DREP);
		break;
	default:
		break;
	}
}

void cm_conn_heard(struct cm_conn *conn)
{
	if (conn->state != CM_REP_SENT)
		return;
	cm_conn_settle(conn, CM_ESTABLISHED);
	cm_conn_event(conn, CM_EV_ESTABLISHED, NULL);
}

void cm_conn_rx(struct cm_conn *conn, const struct cm_msg *msg, u64 now)
{
	/* The answer to a request is known by its transaction. */
	if ((conn->state == CM_REQ_SENT || conn->state == CM_SIDR_SENT) &&
	    msg->tid != conn->tid)
		return;
	/*
	 * From somebody else, or another connection than it was. Only the first
	 * answer to a request says the peer's id, and a REJ then need not have one.
	 */
	if (msg->attr < CM_SIDR_REQ && msg->local_id != conn->remote_id &&
	    (conn->state != CM_REQ_SENT || (conn->remote_id && msg->local_id)))
		return;
	switch ((enum cm_attr)msg->attr) {
	case CM_MRA:
		cm_conn_mra(conn, msg, now);
		break;
	case CM_REP:
		cm_conn_rep(conn, msg);
		break;
	case CM_RTU:
		if (conn->state != CM_REP_SENT)
			break;
		cm_conn_settle(conn, CM_ESTABLISHED);
		cm_conn_event(conn, CM_EV_ESTABLISHED, msg);
		break;
	case CM_REJ:
		cm_conn_rej(conn, msg);
		break;
	case CM_DREQ:
		cm_conn_dreq(conn, msg, now);
		break;
	case CM_DREP:
		if (conn->state != CM_DREQ_SENT)
			break;
		cm_conn_timewait(conn, now);
		cm_conn_event(conn, CM_EV_DISCONNECTED, msg);
		break;
	case CM_SIDR_REP:
		if (conn->state != CM_SIDR_SENT)
			break;
		cm_conn_settle(conn, CM_SIDR_DONE);
		cm_conn_event(conn, CM_EV_SIDR_REP, msg);
		break;
	case CM_REQ:
	case CM_SIDR_REQ:
		break;		/* these are found by their service */
	}
}

bool cm_stray_answer(const struct cm_msg *msg, struct cm_msg *answer)
{
	memset(answer, 0, sizeof(*answer));
	answer->tid = msg->tid;
	answer->local_id = msg->remote_id;
	answer->remote_id = msg->local_id;
	switch ((enum cm_attr)msg->attr) {
	case CM_DREQ:
		answer->attr = CM_DREP;
		return true;
	case CM_REP:
		answer->attr = CM_REJ;
		answer->about = CM_REJECTS_REP;
		answer->reason = CM_REJ_INVALID_COMM_ID;
		return true;
	default:
		return false;
	}
}

void cm_no_service(const struct cm_msg *req, u16 reason, struct cm_msg *answer)
{
	memset(answer, 0, sizeof(*answer));
	answer->tid = req->tid;
	if (req->attr == CM_SIDR_REQ) {
		answer->attr = CM_SIDR_REP;
		answer->local_id = req->local_id;
		answer->service_id = req->service_id;
		answer->status = CM_SIDR_UNSUPPORTED;
		return;
	}
	answer->attr = CM_REJ;
	answer->remote_id = req->local_id;
	answer->about = CM_REJECTS_REQ;
	answer->reason = reason;
}

/* ---- time --------------------------------------------------------------- */

u64 cm_conn_deadline(const struct cm_conn *conn)
{
	return conn->resend_at;
}

/* Nobody has answered, and is not going to. */
static void cm_conn_give_up(struct cm_conn *conn, u64 now)
{
	struct cm_msg rej = {
		.attr = CM_REJ, .about = CM_REJECTS_REQ,
		.reason = CM_REJ_INVALID_SERVICE_ID,
	};
	enum cm_state was = conn->state;

	switch (was) {
	case CM_REQ_SENT:
	case CM_REP_SENT:
		cm_conn_send_rej(conn, was == CM_REQ_SENT ? CM_REJECTS_NONE :
				 CM_REJECTS_REP, CM_REJ_TIMEOUT, NULL, 0);
		cm_conn_settle(conn, CM_CLOSED);
		/* Nobody at that port: no service, as a host with a CM says. */
		if (was == CM_REQ_SENT && conn->refused)
			cm_conn_event(conn, CM_EV_REJECTED, &rej);
		else
			cm_conn_event(conn, CM_EV_UNREACHABLE, NULL);
		break;
	case CM_SIDR_SENT:
		cm_conn_settle(conn, CM_CLOSED);
		cm_conn_event(conn, CM_EV_UNREACHABLE, NULL);
		break;
	case CM_DREQ_SENT:
		cm_conn_timewait(conn, now);
		cm_conn_event(conn, CM_EV_DISCONNECTED, NULL);
		break;
	default:
		break;
	}
}

void cm_conn_refused(struct cm_conn *conn, u64 now)
{
	switch (conn->state) {
	case CM_REQ_SENT:
	case CM_REP_SENT:
	case CM_DREQ_SENT:
	case CM_SIDR_SENT:
		if (conn->tries > CM_REFUSED_TRIES)
			conn->tries = CM_REFUSED_TRIES;
		conn->refused = true;
		break;
	default:
		break;
	}
}

void cm_conn_hopeless(struct cm_conn *conn, u64 now)
{
	if (conn->state == CM_REQ_SENT || conn->state == CM_SIDR_SENT)
		cm_conn_give_up(conn, now);
}

void cm_conn_timer(struct cm_conn *conn, u64 now)
{
	if (!conn->resend_at || now < conn->resend_at)
		return;
	if (conn->state == CM_TIMEWAIT) {
		cm_conn_settle(conn, CM_CLOSED);
		cm_conn_event(conn, CM_EV_TIMEWAIT_EXIT, NULL);
		return;
	}
	if (conn->state == CM_SIDR_DONE) {
		cm_conn_settle(conn, CM_CLOSED);
		return;
	}
	if (!conn->tries) {
		cm_conn_give_up(conn, now);
		return;
	}
	conn->tries--;
	conn->wait_ns = tz_min(2 * conn->wait_ns, (u64)CM_LAST_WAIT_NS);
	conn->resend_at = now + conn->wait_ns;
	cm_conn_send(conn, &conn->last);
}
