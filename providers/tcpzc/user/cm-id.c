// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * cm-id.c - ids of rdma_cm, and their connections.
 */
#include <errno.h>
#include <stdlib.h>

#include "cm.h"
#include "calls.h"

#define CM_TIMEOUT		20	/* 4.096 us * 2^20, as the kernel's */
#define CM_MAX_RETRIES		15
#define CM_ACK_TIMEOUT		18
#define CM_HOP_LIMIT		64
#define CM_MIN_RNR_TIMER	12	/* 0.64 ms */
#define CM_UDP_QKEY		0x01234567	/* RDMA_UDP_QKEY */
#define CM_SLOTS		65536u
#define CM_FEW_IDS		1024	/* handles that are used first */

static struct cm_id *cm_ids[CM_MAX_IDS];
static u32 cm_next_id, cm_num_ids;
static struct cm_cx *cm_slots[CM_SLOTS];
static LIST_HEAD(, cm_cx) cm_cxs = LIST_HEAD_INITIALIZER(cm_cxs);
static LIST_HEAD(, cm_id) cm_live = LIST_HEAD_INITIALIZER(cm_live);

static void cm_cx_send(struct cm_conn *conn, const struct cm_msg *msg);
static void cm_cx_event(struct cm_conn *conn, enum cm_event event,
			const struct cm_msg *msg);

static const struct cm_ops cm_cx_ops = {
	.send = cm_cx_send,
	.event = cm_cx_event,
};

static u32 cm_random(void)
{
	u32 n;

	if (!tz_random(&n, sizeof(n)))
		n = cm_now();
	return n;
}

/* ---- connections -------------------------------------------------------- */

/*
 * A free place, 0 if there is none. The process's token, the upper half of its ids,
 * can be seen by everybody on this host, so the place must not be one that others
 * could guess: see docs/security.md.
 */
static u32 cm_random_slot(void)
{
	u32 i, slot = cm_random();

	for (i = 0; i < CM_SLOTS; i++, slot++)
		if (slot % CM_SLOTS && !cm_slots[slot % CM_SLOTS])
			return slot % CM_SLOTS;
	return 0;
}

static struct cm_cx *cm_cx_new(struct cm_id *id)
{
	struct cm_cx *cx = calloc(1, sizeof(*cx));
	u32 slot = cm_random_slot();

	if (!cx || !slot) {
		free(cx);
		return NULL;
	}
	cm_slots[slot] = cx;
	cm_conn_init(&cx->conn, &cm_cx_ops, (u32)cm_net_token() << 16 | slot,
		     (u64)cm_random() << 32 | cm_random());
	cx->slot = slot;
	memcpy(cx->self, id->sgid, 16);
	memcpy(cx->peer, id->dgid, 16);
	cx->ifindex = id->ifindex;
	cx->id = id;
	id->cx = cx;
	LIST_INSERT_HEAD(&cm_cxs, cx, node);
	return cx;
}

static void cm_cx_free(struct cm_cx *cx)
{
	if (cx->id)
		cx->id->cx = NULL;
	cm_slots[cx->slot] = NULL;
	LIST_REMOVE(cx, node);
	free(cx);
}

/* The id goes; the connection may have to say goodbye for a while. */
static void cm_cx_orphan(struct cm_cx *cx)
{
	cx->id->cx = NULL;
	cx->id = NULL;
	if (cm_conn_abandon(&cx->conn, cm_now()))
		cm_cx_free(cx);
	else
		cm_net_wake();
}

struct cm_cx *cm_cx_find(u32 local_id)
{
	struct cm_cx *cx = cm_slots[local_id % CM_SLOTS];

	if (!cx || cx->sidr_peer || cx->conn.local_id != local_id)
		return NULL;
	return cx;
}

static void cm_cx_send(struct cm_conn *conn, const struct cm_msg *msg)
{
	struct cm_cx *cx = (struct cm_cx *)conn;

	cm_net_send(cx->self, cx->peer, cx->ifindex, msg);
}

u64 cm_cx_deadline(void)
{
	struct cm_cx *cx;
	u64 at, next = 0;

	LIST_FOREACH(cx, &cm_cxs, node) {
		at = cm_conn_deadline(&cx->conn);
		if (at && (!next || at < next))
			next = at;
	}
	return next;
}

void cm_cx_timers(u64 now)
{
	struct cm_cx *cx, *next;

	for (cx = LIST_FIRST(&cm_cxs); cx; cx = next) {
		next = LIST_NEXT(cx, node);
		cm_conn_timer(&cx->conn, now);
		if (!cx->id && cx->conn.state == CM_CLOSED)
			cm_cx_free(cx);
	}
}

void cm_cx_hopeless(void)
{
	struct cm_cx *cx;

	LIST_FOREACH(cx, &cm_cxs, node)
		cm_conn_hopeless(&cx->conn, cm_now());
}

void cm_id_farewell(void)
{
	struct cm_cx *cx;

	/* The thread goes on, and with it what other threads make it do. */
	LIST_FOREACH(cx, &cm_cxs, node) {
		if (cx->id)
			cx->id->cx = NULL;
		cx->id = NULL;
		cm_conn_abandon(&cx->conn, cm_now());
	}
}

bool cm_cx_unheard(void)
{
	struct cm_cx *cx;

	LIST_FOREACH(cx, &cm_cxs, node)
		if (cx->conn.state == CM_DREQ_SENT && !cx->conn.refused)
			return true;
	return false;
}

static void cm_id_release(u32 handle)
{
	cm_ids[handle] = NULL;
	cm_num_ids--;
}

void cm_id_forget_all(void)
{
	struct cm_cx *cx;
	struct cm_id *id;

	while ((cx = LIST_FIRST(&cm_cxs))) {
		LIST_REMOVE(cx, node);
		cm_slots[cx->slot] = NULL;
		free(cx);
	}
	while ((id = LIST_FIRST(&cm_live))) {
		LIST_REMOVE(id, node);
		if (id->port)
			cm_port_put(id->port);
		cm_net_close(&id->sign);
		cm_id_release(id->handle);
		free(id);
	}
}

/* ---- ids ---------------------------------------------------------------- */

struct cm_id *cm_id_new(struct cm_chan *chan, u64 uid, u16 ps, u8 qp_type)
{
	struct cm_id *id = calloc(1, sizeof(*id));
	u32 i, at, range;

	if (!id)
		return NULL;
	/*
	 * Small ones, for librdmacm has a table up to the highest; and in turn,
	 * for it forgets a handle a little after we do.
	 */
	range = tz_min(CM_FEW_IDS + 2 * cm_num_ids, (u32)CM_MAX_IDS);
	for (i = 0; i < range; i++) {
		at = cm_next_id++ % range;
		if (cm_ids[at])
			continue;
		cm_ids[at] = id;
		cm_num_ids++;
		id->handle = at;
		id->sign.fd = -1;
		id->chan = chan;
		id->uid = uid;
		id->ps = ps;
		id->qp_type = qp_type;
		id->psn = cm_random() & 0xffffff;
		LIST_INSERT_HEAD(&cm_live, id, node);
		return id;
	}
	free(id);
	return NULL;
}

struct cm_id *cm_id_find(u32 handle)
{
	return handle < CM_MAX_IDS ? cm_ids[handle] : NULL;
}

u32 cm_id_destroy(struct cm_id *id)
{
	u32 reported = id->events_reported;

	id->state = CM_ID_GONE;
	if (id->listener)
		id->listener->pending--;
	cm_event_drop(id);
	if (id->cx)
		cm_cx_orphan(id->cx);
	if (id->port)
		cm_port_put(id->port);
	cm_net_close(&id->sign);
	cm_id_release(id->handle);
	LIST_REMOVE(id, node);
	free(id);
	return reported;
}

void cm_id_destroy_all(struct cm_chan *chan)
{
	struct cm_id *id = LIST_FIRST(&cm_live);

	while (id) {
		if (id->chan == chan) {
			cm_id_destroy(id);
			/* and perhaps others, requests not fetched */
			id = LIST_FIRST(&cm_live);
		} else {
			id = LIST_NEXT(id, node);
		}
	}
}

/*
 * The connection can still say goodbye, if there is another way; the program
 * hears of nothing but this (one whose request it has not accepted yet: of the
 * request, which it then cannot accept).
 */
void cm_id_dev_gone(const struct cm_dev *dev)
{
	struct cm_id *id;

	LIST_FOREACH(id, &cm_live, node) {
		if (id->dev != dev || id->state == CM_ID_GONE)
			continue;
		id->state = CM_ID_GONE;
		if (id->cx)
			cm_cx_orphan(id->cx);
		if (id->uid)
			cm_event_add(id, CM_EVENT_DEVICE_REMOVAL, 0);
	}
}

/* ---- addresses ---------------------------------------------------------- */

static void cm_id_use_dev(struct cm_id *id, const struct cm_dev *dev, u8 index)
{
	id->dev = dev;
	id->sgid_index = index;
	memcpy(id->sgid, dev->gids[index], 16);
	id->ifindex = cm_gid_link_local(id->sgid) ? dev->ifindex : 0;
}

/* Sharing can be permitted until @id listens, and be forbidden only at first. */
int cm_id_set_reuse(struct cm_id *id, bool reuse)
{
	if (id->state == CM_ID_LISTEN || (!reuse && id->state != CM_ID_IDLE))
		return EINVAL;
	id->reuse = reuse;
	if (id->port)
		id->port->reuse = true;	/* whoever else has it shares already */
	return 0;
}

int cm_id_bind(struct cm_id *id, const union cm_addr *addr)
{
	const struct cm_dev *dev;
	u8 gid[16], index;
	int err;

	if (id->state != CM_ID_IDLE)
		return EINVAL;
	if (!cm_addr_ok(addr))
		return EAFNOSUPPORT;
	if (!cm_addr_any(addr)) {
		cm_addr_gid(addr, gid);
		/* As cma.c's cma_check_linklocal(): it names an interface. */
		if (cm_gid_link_local(gid) && !cm_addr_scope(addr))
			return EINVAL;
		dev = cm_dev_find(gid, cm_addr_scope(addr), &index);
		if (!dev)
			return cm_addr_local(addr) ? ENODEV : EADDRNOTAVAIL;
		cm_id_use_dev(id, dev, index);
	}
	id->src = *addr;
	err = cm_port_get(id);
	if (err) {
		id->dev = NULL;
		id->ifindex = 0;
		return err;
	}
	id->state = CM_ID_BOUND;
	return 0;
}

/* The source address: as the program has it, or as the route to @dst has it. */
static int cm_id_choose_src(struct cm_id *id, const union cm_addr *src,
			    const union cm_addr *dst)
{
	const struct cm_dev *dev;
	union cm_addr routed;
	u16 port = 0;
	u8 gid[16], index;
	int err;

	if (id->state == CM_ID_IDLE && cm_addr_ok(src) &&
	    (!cm_addr_any(src) || cm_addr_port(src))) {
		err = cm_id_bind(id, src);
		if (err)
			return err;
	}
	if (id->state == CM_ID_BOUND) {
		if (id->src.sa.sa_family != dst->sa.sa_family)
			return EINVAL;
		port = cm_addr_port(&id->src);
	}
	if (id->dev)
		return 0;
	/* One that was not worth binding: any address, any port. */
	if (id->state == CM_ID_IDLE && cm_addr_ok(src) &&
	    src->sa.sa_family != dst->sa.sa_family)
		return EINVAL;
	err = cm_route(dst, &routed);
	if (err)
		return err;
	cm_addr_gid(&routed, gid);
	dev = cm_dev_find(gid, cm_addr_scope(&routed), &index);
	if (!dev)
		return ENODEV;
	cm_id_use_dev(id, dev, index);
	id->src = routed;
	/* A client's port is its name only: nobody is to find it. */
	cm_addr_set_port(&id->src, port ? port : 32768 + cm_random() % 28232);
	return 0;
}

/* A link-local peer is one of the interface that the source address has. */
static int cm_id_scope_dst(struct cm_id *id, union cm_addr *dst)
{
	u8 gid[16];

	cm_addr_gid(dst, gid);
	if (!cm_gid_link_local(gid))
		return 0;
	if (!cm_addr_scope(dst))
		dst->in6.sin6_scope_id = id->dev->ifindex;
	id->ifindex = id->dev->ifindex;
	return cm_addr_scope(dst) == id->ifindex ? 0 : EINVAL;
}

int cm_id_resolve(struct cm_id *id, const union cm_addr *src,
		  const union cm_addr *dst)
{
	union cm_addr to = *dst;
	int err;

	if (id->state != CM_ID_IDLE && id->state != CM_ID_BOUND)
		return EINVAL;
	if (!cm_addr_ok(&to))
		return EAFNOSUPPORT;
	if (cm_owner_useless())		/* the answers would go to others */
		return EADDRINUSE;
	if (cm_addr_any(&to)) {		/* this host, as connect() has it */
		if (to.sa.sa_family == AF_INET)
			to.in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		else
			to.in6.sin6_addr = in6addr_loopback;
	}
	err = cm_id_choose_src(id, src, &to);
	if (err)
		return err;
	err = cm_id_scope_dst(id, &to);
	if (err)
		return err;
	id->dst = to;
	cm_addr_gid(&to, id->dgid);
	id->state = CM_ID_ADDR;
	return cm_event_add(id, CM_EVENT_ADDR_RESOLVED, 0) ? 0 : ENOMEM;
}

int cm_id_listen(struct cm_id *id, int backlog)
{
	union cm_addr any = { .sa = { .sa_family = AF_INET } };
	int err;

	if (id->state == CM_ID_IDLE) {
		err = cm_id_bind(id, &any);
		if (err)
			return err;
	}
	if (id->state != CM_ID_BOUND)
		return EINVAL;
	if (cm_owner_useless())
		return EADDRINUSE;
	err = cm_port_own(id->port);
	if (err)
		return err;
	err = cm_port_announce(id);
	if (err)
		return err;
	id->backlog = backlog <= 0 || backlog > CM_MAX_BACKLOG ?
			      CM_MAX_BACKLOG : backlog;
	id->state = CM_ID_LISTEN;
	return 0;
}

/* ---- connecting --------------------------------------------------------- */

/* The application's private data, behind rdma_cm's header. */
static int cm_put_priv(const struct cm_id *id, struct cm_msg *msg,
		       const struct rdma_ucm_conn_param *param)
{
	struct cm_ip_hdr hdr = {
		.version = tz_gid_is_v4(id->sgid) ? 4 : 6,
		.port = cm_addr_port(&id->src),
	};

	if (CM_IP_HDR_BYTES + param->private_data_len >
	    cm_mad_priv_bytes(msg->attr))
		return EINVAL;
	cm_addr_gid(&id->src, hdr.src);
	cm_addr_gid(&id->dst, hdr.dst);
	cm_ip_hdr_make(&hdr, msg->priv);
	memcpy(msg->priv + CM_IP_HDR_BYTES, param->private_data,
	       param->private_data_len);
	msg->priv_len = CM_IP_HDR_BYTES + param->private_data_len;
	return 0;
}

static void cm_fill_req(const struct cm_id *id, struct cm_msg *msg,
			const struct rdma_ucm_conn_param *param)
{
	msg->ca_guid = id->dev->guid;
	msg->qpn = param->qp_num;
	msg->psn = id->psn;
	msg->qp_type = id->qp_type;
	msg->responder_resources = param->responder_resources;
	msg->initiator_depth = param->initiator_depth;
	msg->retry_count = id->retry_count;
	msg->rnr_retry_count = id->rnr_retry_count;
	msg->flow_control = param->flow_control;
	msg->srq = param->srq;
	msg->mtu = id->dev->mtu;
	/* Five bits; 0, which is for ever, is not what the peer waits for. */
	msg->ack_timeout = id->ack_timeout ? tz_min(id->ack_timeout, (u8)31) :
					     CM_ACK_TIMEOUT;
	msg->remote_timeout = CM_TIMEOUT;
	msg->local_timeout = CM_TIMEOUT;
	msg->max_retries = CM_MAX_RETRIES;
	msg->traffic_class = id->tos;
	msg->hop_limit = CM_HOP_LIMIT;
	memcpy(msg->sgid, id->sgid, 16);
	memcpy(msg->dgid, id->dgid, 16);
}

int cm_id_connect(struct cm_id *id, const struct rdma_ucm_conn_param *param)
{
	bool ud = id->qp_type == TZ_QPT_UD;
	struct cm_msg msg = {
		.attr = ud ? CM_SIDR_REQ : CM_REQ,
		.service_id = cm_service_id(id->ps, cm_addr_port(&id->dst)),
	};
	int err;

	if (id->state != CM_ID_ROUTE || !param->valid)
		return EINVAL;
	err = cm_put_priv(id, &msg, param);
	if (err)
		return err;
	if (cm_owner_useless())
		return EADDRINUSE;
	if (!cm_cx_new(id))
		return ENOMEM;
	id->state = CM_ID_CONNECT;
	/* Three bits each; libfabric says 15. */
	id->retry_count = tz_min(param->retry_count, (u8)7);
	id->rnr_retry_count = tz_min(param->rnr_retry_count, (u8)7);
	id->responder_resources = param->responder_resources;
	id->initiator_depth = param->initiator_depth;
	if (!ud)
		cm_fill_req(id, &msg, param);
	cm_conn_request(&id->cx->conn, &msg, cm_now());
	cm_net_wake();
	return 0;
}

static int cm_fill_answer(struct cm_id *id, struct cm_msg *msg,
			  const struct rdma_ucm_conn_param *param)
{
	bool ud = id->qp_type == TZ_QPT_UD;

	if (param->private_data_len > (ud ? CM_SIDR_REP_PRIV : CM_REP_PRIV))
		return EINVAL;
	memcpy(msg->priv, param->private_data, param->private_data_len);
	msg->priv_len = param->private_data_len;
	msg->qpn = param->qp_num;
	if (ud) {
		msg->status = CM_SIDR_SUCCESS;
		msg->service_id = id->cx->service_id;
		msg->qkey = param->qkey ? param->qkey : CM_UDP_QKEY;
		return 0;
	}
	msg->ca_guid = id->dev->guid;
	msg->psn = id->psn;
	msg->responder_resources = param->responder_resources;
	msg->initiator_depth = param->initiator_depth;
	msg->rnr_retry_count = tz_min(param->rnr_retry_count, (u8)7);
	msg->flow_control = param->flow_control;
	msg->srq = param->srq;
	msg->ack_timeout = CM_ACK_TIMEOUT;
	return 0;
}

/* An accept that fails is a reject: cma.c's rdma_accept() */
int cm_id_accept(struct cm_id *id, u64 uid,
		 const struct rdma_ucm_conn_param *param)
{
	struct cm_msg msg = {};

	if (!id->cx)
		return EINVAL;
	if (param->valid && cm_fill_answer(id, &msg, param))
		goto reject;
	if (!param->valid != (id->cx->conn.state == CM_REP_RCVD) ||
	    !cm_conn_accept(&id->cx->conn, &msg, cm_now()))
		goto reject;
	if (param->valid)
		id->uid = uid;
	cm_net_wake();
	return 0;
reject:
	cm_conn_reject(&id->cx->conn, CM_REJ_CONSUMER_DEFINED, NULL, 0);
	return EINVAL;
}

int cm_id_reject(struct cm_id *id, u8 reason, const void *priv, u32 len)
{
	if (!reason)
		reason = CM_REJ_CONSUMER_DEFINED;
	if (reason != CM_REJ_CONSUMER_DEFINED && reason != CM_REJ_VENDOR_OPTION)
		return EINVAL;
	if (!id->cx || len > CM_REJ_PRIV ||
	    !cm_conn_reject(&id->cx->conn, reason, priv, len))
		return EINVAL;
	return 0;
}

int cm_id_disconnect(struct cm_id *id)
{
	if (!id->cx)
		return EINVAL;
	/* One that is not connected yet, or a datagram's: nothing to be done. */
	if (cm_conn_disconnect(&id->cx->conn, cm_now()))
		cm_net_wake();
	return 0;
}

/* ---- requests ----------------------------------------------------------- */

static bool cm_id_serves(const struct cm_id *id, u16 ps, u16 port,
			 const struct cm_ip_hdr *hdr, u32 ifindex, bool *exact)
{
	u8 gid[16];

	if (id->state != CM_ID_LISTEN || id->ps != ps ||
	    cm_addr_port(&id->src) != port)
		return false;
	*exact = !cm_addr_any(&id->src);
	if (*exact) {
		cm_addr_gid(&id->src, gid);
		return cm_gid_same(gid, id->ifindex, hdr->dst, ifindex);
	}
	if (id->src.sa.sa_family == AF_INET)
		return hdr->version == 4;
	return hdr->version == 6 || !id->afonly;
}

static struct cm_id *cm_id_listener(u16 ps, u16 port, const struct cm_ip_hdr *hdr,
				    u32 ifindex)
{
	struct cm_id *id, *found = NULL;
	bool exact;

	LIST_FOREACH(id, &cm_live, node) {
		if (!cm_id_serves(id, ps, port, hdr, ifindex, &exact))
			continue;
		found = id;
		if (exact)
			break;
	}
	return found;
}

/* The connection that this request has made already. */
static struct cm_cx *cm_cx_of(const struct cm_msg *req,
			      const struct cm_path *path)
{
	bool sidr = req->attr == CM_SIDR_REQ;
	struct cm_cx *cx;

	LIST_FOREACH(cx, &cm_cxs, node)
		if (!cx->conn.active && cx->sidr_peer == sidr &&
		    cx->peer_id == req->local_id &&
		    cx->peer_guid == req->ca_guid &&
		    cx->service_id == req->service_id &&
		    cx->conn.state != CM_TIMEWAIT &&
		    cx->conn.state != CM_CLOSED &&
		    cx->ifindex == path->ifindex &&
		    !memcmp(cx->peer, path->sgid, 16))
			return cx;
	return NULL;
}

static void cm_event_request(struct cm_id *id, const struct cm_msg *req,
			     struct cm_ev *ev)
{
	u32 len = req->priv_len - CM_IP_HDR_BYTES;
	const u8 *priv = req->priv + CM_IP_HDR_BYTES;
	struct rdma_ucm_conn_param *conn = &ev->resp.param.conn;
	struct rdma_ucm_ud_param *ud = &ev->resp.param.ud;

	ev->child = id;
	ev->resp.id = id->handle;
	if (id->qp_type == TZ_QPT_UD) {
		memcpy(ud->private_data, priv, len);
		ud->private_data_len = len;
		return;
	}
	memcpy(conn->private_data, priv, len);
	conn->private_data_len = len;
	conn->qp_num = req->qpn;
	conn->srq = req->srq;
	conn->responder_resources = req->initiator_depth;
	conn->initiator_depth = req->responder_resources;
	conn->flow_control = req->flow_control;
	conn->retry_count = req->retry_count;
	conn->rnr_retry_count = req->rnr_retry_count;
}

/* An id for a request; NULL if it cannot be served now. */
static struct cm_id *cm_id_request(struct cm_id *listener,
				   const struct cm_msg *req,
				   const struct cm_path *path,
				   const struct cm_ip_hdr *hdr)
{
	const struct cm_dev *dev;
	struct cm_id *id;
	u8 index = 0;

	id = cm_id_new(listener->chan, 0, listener->ps, listener->qp_type);
	if (!id)
		return NULL;
	dev = cm_dev_find(path->dgid, path->ifindex, &index);
	cm_id_use_dev(id, dev, index);
	id->ifindex = path->ifindex;
	memcpy(id->dgid, path->sgid, 16);
	cm_addr_from_gid(&id->src, hdr->dst, dev->ifindex,
			 cm_addr_port(&listener->src));
	cm_addr_from_gid(&id->dst, hdr->src, dev->ifindex, hdr->port);
	id->state = CM_ID_CONNECT;
	id->tos = req->traffic_class;
	id->peer_qpn = req->qpn;
	id->peer_psn = req->psn;
	id->retry_count = req->retry_count;
	id->rnr_retry_count = req->rnr_retry_count;
	id->responder_resources = req->initiator_depth;
	id->initiator_depth = req->responder_resources;
	if (!cm_cx_new(id)) {
		cm_id_destroy(id);
		return NULL;
	}
	id->cx->peer_id = req->local_id;
	id->cx->peer_guid = req->ca_guid;
	id->cx->service_id = req->service_id;
	id->cx->sidr_peer = req->attr == CM_SIDR_REQ;
	return id;
}

static void cm_id_deliver(struct cm_id *listener, struct cm_id *id,
			  const struct cm_msg *req)
{
	struct cm_ev *ev;

	cm_conn_incoming(&id->cx->conn, req);
	ev = cm_event_add(listener, CM_EVENT_CONNECT_REQUEST, 0);
	if (!ev) {
		cm_id_destroy(id);
		return;
	}
	cm_event_request(id, req, ev);
	id->listener = listener;
	listener->pending++;
}

static void cm_refuse(const struct cm_path *path, const struct cm_msg *req,
		      u16 reason)
{
	struct cm_msg answer;

	cm_no_service(req, reason, &answer);
	cm_net_send(path->dgid, path->sgid, path->ifindex, &answer);
}

bool cm_id_incoming(const struct cm_msg *req, const struct cm_path *path)
{
	bool sidr = req->attr == CM_SIDR_REQ;
	struct cm_id *listener, *id;
	struct cm_ip_hdr hdr;
	struct cm_cx *cx;
	u8 index;

	cx = cm_cx_of(req, path);
	if (cx) {
		cm_conn_repeated(&cx->conn);
		return true;
	}
	if (req->service_id >> 32 || !cm_ip_hdr_parse(req->priv, &hdr))
		return false;
	listener = cm_id_listener(req->service_id >> 16, req->service_id, &hdr,
				  path->ifindex);
	if (!listener)
		return false;
	if (sidr != (listener->qp_type == TZ_QPT_UD) ||
	    (!sidr && req->qp_type != listener->qp_type)) {
		cm_refuse(path, req, CM_REJ_INVALID_TRANSPORT_TYPE);
		return true;
	}
	/* The addresses must be those that the packet had, and one of ours. */
	if (!cm_dev_find(path->dgid, path->ifindex, &index) ||
	    (!sidr && (memcmp(req->sgid, path->sgid, 16) != 0 ||
		       memcmp(req->dgid, path->dgid, 16) != 0))) {
		cm_refuse(path, req, CM_REJ_INVALID_GID);
		return true;
	}
	/* Too many wait: it will be asked again, as with TCP. */
	if (listener->pending >= listener->backlog)
		return true;
	id = cm_id_request(listener, req, path, &hdr);
	if (id)
		cm_id_deliver(listener, id, req);
	return true;
}

/* ---- what happens to connections ---------------------------------------- */

static void cm_event_priv(struct cm_ev *ev, const struct cm_msg *msg, bool ud)
{
	struct rdma_ucm_conn_param *conn = &ev->resp.param.conn;

	if (!msg)
		return;
	if (ud) {
		memcpy(ev->resp.param.ud.private_data, msg->priv, msg->priv_len);
		ev->resp.param.ud.private_data_len = msg->priv_len;
		return;
	}
	memcpy(conn->private_data, msg->priv, msg->priv_len);
	conn->private_data_len = msg->priv_len;
}

static void cm_id_got_rep(struct cm_id *id, const struct cm_msg *msg,
			  struct cm_ev *ev)
{
	struct rdma_ucm_conn_param *conn = &ev->resp.param.conn;

	id->peer_qpn = msg->qpn;
	id->peer_psn = msg->psn;
	id->initiator_depth = msg->responder_resources;
	id->responder_resources = msg->initiator_depth;
	id->rnr_retry_count = msg->rnr_retry_count;
	conn->qp_num = msg->qpn;
	conn->srq = msg->srq;
	conn->responder_resources = msg->initiator_depth;
	conn->initiator_depth = msg->responder_resources;
	conn->flow_control = msg->flow_control;
	conn->rnr_retry_count = msg->rnr_retry_count;
}

static void cm_id_got_sidr_rep(struct cm_id *id, const struct cm_msg *msg,
			       struct cm_ev *ev)
{
	struct rdma_ucm_ud_param *ud = &ev->resp.param.ud;

	ud->qp_num = msg->qpn;
	ud->qkey = msg->qkey;
	id->qkey = msg->qkey;
	cm_id_ah(id, &ud->ah_attr);
}

static void cm_cx_event(struct cm_conn *conn, enum cm_event event,
			const struct cm_msg *msg)
{
	struct cm_cx *cx = (struct cm_cx *)conn;
	struct cm_id *id = cx->id;
	struct cm_ev *ev;
	u32 type = CM_EVENT_UNREACHABLE;
	int status = 0;

	/* Before it is accepted librdmacm knows no such id. */
	if (!id || !id->uid)
		return;
	switch (event) {
	case CM_EV_REP:
		type = CM_EVENT_CONNECT_RESPONSE;
		break;
	case CM_EV_ESTABLISHED:
		type = CM_EVENT_ESTABLISHED;
		break;
	case CM_EV_REJECTED:
		type = CM_EVENT_REJECTED;
		status = msg->reason;
		break;
	case CM_EV_UNREACHABLE:
		status = -ETIMEDOUT;
		break;
	case CM_EV_DISCONNECTED:
		type = CM_EVENT_DISCONNECTED;
		status = msg ? 0 : -ETIMEDOUT;
		break;
	case CM_EV_TIMEWAIT_EXIT:
		type = CM_EVENT_TIMEWAIT_EXIT;
		break;
	case CM_EV_SIDR_REP:
		status = msg->status;
		if (!status)
			type = CM_EVENT_ESTABLISHED;
		break;
	}
	ev = cm_event_add(id, type, status);
	if (!ev)
		return;
	cm_event_priv(ev, msg, id->qp_type == TZ_QPT_UD);
	if (event == CM_EV_REP)
		cm_id_got_rep(id, msg, ev);
	else if (event == CM_EV_SIDR_REP && !status)
		cm_id_got_sidr_rep(id, msg, ev);
}

/* ---- the queue pair's attributes ---------------------------------------- */

void cm_id_ah(const struct cm_id *id, struct ib_uverbs_ah_attr *ah)
{
	memcpy(ah->grh.dgid, id->dgid, 16);
	ah->grh.sgid_index = id->sgid_index;
	ah->grh.hop_limit = CM_HOP_LIMIT;
	ah->grh.traffic_class = id->tos;
	ah->is_global = 1;
	ah->port_num = TCPZC_PORT;
}

static void cm_attr_init(const struct cm_id *id, struct ib_uverbs_qp_attr *a)
{
	a->qp_attr_mask = TZ_QP_STATE | TZ_QP_PKEY_INDEX | TZ_QP_PORT;
	a->port_num = TCPZC_PORT;
	if (id->qp_type == TZ_QPT_UD) {
		a->qp_attr_mask |= TZ_QP_QKEY;
		a->qkey = id->qkey ? id->qkey : CM_UDP_QKEY;
		return;
	}
	a->qp_attr_mask |= TZ_QP_ACCESS_FLAGS;
	if (id->cx)
		a->qp_access_flags = TZ_ACCESS_REMOTE_WRITE |
				     TZ_ACCESS_REMOTE_READ |
				     TZ_ACCESS_REMOTE_ATOMIC;
}

static void cm_attr_rtr(const struct cm_id *id, struct ib_uverbs_qp_attr *a)
{
	a->qp_attr_mask = TZ_QP_STATE | TZ_QP_AV | TZ_QP_PATH_MTU |
			  TZ_QP_DEST_QPN | TZ_QP_RQ_PSN;
	cm_id_ah(id, &a->ah_attr);
	a->path_mtu = id->dev->mtu;
	a->dest_qp_num = id->peer_qpn;
	a->rq_psn = id->psn;
	if (id->qp_type != TZ_QPT_RC)
		return;
	a->qp_attr_mask |= TZ_QP_MAX_DEST_RD_ATOMIC | TZ_QP_MIN_RNR_TIMER;
	a->max_dest_rd_atomic = id->responder_resources;
	a->min_rnr_timer = CM_MIN_RNR_TIMER;
}

static void cm_attr_rts(const struct cm_id *id, struct ib_uverbs_qp_attr *a)
{
	a->qp_attr_mask = TZ_QP_STATE | TZ_QP_SQ_PSN;
	a->sq_psn = id->peer_psn;
	if (id->qp_type != TZ_QPT_RC)
		return;
	a->qp_attr_mask |= TZ_QP_TIMEOUT | TZ_QP_RETRY_CNT |
			   TZ_QP_RNR_RETRY | TZ_QP_MAX_QP_RD_ATOMIC;
	a->timeout = id->ack_timeout_set ? id->ack_timeout : CM_ACK_TIMEOUT;
	a->retry_cnt = id->retry_count;
	a->rnr_retry = id->rnr_retry_count;
	a->max_rd_atomic = id->initiator_depth;
}

int cm_id_qp_attr(struct cm_id *id, u32 state, struct ib_uverbs_qp_attr *attr)
{
	bool paired = id->cx && (id->cx->conn.state == CM_REQ_RCVD ||
				 id->cx->conn.state == CM_REP_SENT ||
				 id->cx->conn.state == CM_REP_RCVD ||
				 id->cx->conn.state == CM_ESTABLISHED);

	memset(attr, 0, sizeof(*attr));
	attr->qp_state = state;
	if (!id->dev || (state != TZ_INIT && !paired))
		return EINVAL;
	switch (state) {
	case TZ_INIT:
		cm_attr_init(id, attr);
		return 0;
	case TZ_RTR:
		cm_attr_rtr(id, attr);
		return 0;
	case TZ_RTS:
		cm_attr_rts(id, attr);
		return 0;
	default:
		return EINVAL;
	}
}
