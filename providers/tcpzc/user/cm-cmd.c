// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * cm-cmd.c - the commands that librdmacm writes to /dev/infiniband/rdma_cm
 * (include/uapi/rdma/rdma_user_cm.h), as drivers/infiniband/core/ucma.c
 * understands them.
 *
 * AF_IB is not spoken: BIND fails, by which librdmacm knows that it has to use
 * the commands for IP addresses.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cm.h"

/* The longest command there is. */
union cm_cmd {
	struct rdma_ucm_create_id create_id;
	struct rdma_ucm_destroy_id destroy_id;
	struct rdma_ucm_bind_ip bind_ip;
	struct rdma_ucm_resolve_ip resolve_ip;
	struct rdma_ucm_resolve_route resolve_route;
	struct rdma_ucm_query query;
	struct rdma_ucm_connect connect;
	struct rdma_ucm_listen listen;
	struct rdma_ucm_accept accept;
	struct rdma_ucm_reject reject;
	struct rdma_ucm_disconnect disconnect;
	struct rdma_ucm_init_qp_attr init_qp_attr;
	struct rdma_ucm_get_event get_event;
	struct rdma_ucm_set_option set_option;
	struct rdma_ucm_notify notify;
	struct rdma_ucm_migrate_id migrate_id;
};

struct cm_call {
	int fd;
	struct cm_chan *chan;
	u32 out;			/* room for the answer, bytes */
	union cm_cmd cmd;
};

/* Write the answer; a newer librdmacm may have room for more, an older less. */
static int cm_answer(const struct cm_call *c, u64 to, const void *resp,
		     u32 bytes, u32 least)
{
	if (c->out < least || !to)
		return ENOSPC;
	memcpy((void *)(uintptr_t)to, resp, tz_min(bytes, c->out));
	return 0;
}

static struct cm_id *cm_call_id(const struct cm_call *c, u32 handle)
{
	struct cm_id *id = cm_id_find(handle);

	return id && id->chan == c->chan ? id : NULL;
}

/* ---- life --------------------------------------------------------------- */

static u8 cm_qp_type(u16 ps, u8 qp_type)
{
	switch (ps) {
	case RDMA_PS_TCP:
		return TZ_QPT_RC;
	case RDMA_PS_UDP:
	case RDMA_PS_IPOIB:
		return TZ_QPT_UD;
	case RDMA_PS_IB:
		return qp_type;
	default:
		return 0;
	}
}

static int cm_do_create_id(struct cm_call *c)
{
	const struct rdma_ucm_create_id *cmd = &c->cmd.create_id;
	struct rdma_ucm_create_id_resp resp = {};
	u8 qp_type = cm_qp_type(cmd->ps, cmd->qp_type);
	struct cm_id *id;
	int err;

	if (!qp_type)
		return EINVAL;
	id = cm_id_new(c->chan, cmd->uid, cmd->ps, qp_type);
	if (!id)
		return ENOMEM;
	resp.id = id->handle;
	err = cm_answer(c, cmd->response, &resp, sizeof(resp), sizeof(resp));
	if (err)
		cm_id_destroy(id);
	return err;
}

static int cm_do_destroy_id(struct cm_call *c)
{
	const struct rdma_ucm_destroy_id *cmd = &c->cmd.destroy_id;
	struct rdma_ucm_destroy_id_resp resp = {};
	struct cm_id *id = cm_call_id(c, cmd->id);

	if (!id)
		return ENOENT;
	if (c->out < sizeof(resp))
		return ENOSPC;
	resp.events_reported = cm_id_destroy(id);
	cm_chan_calm(c->chan, c->fd);
	return cm_answer(c, cmd->response, &resp, sizeof(resp), sizeof(resp));
}

/* From another channel to this one. */
static int cm_do_migrate_id(struct cm_call *c)
{
	const struct rdma_ucm_migrate_id *cmd = &c->cmd.migrate_id;
	struct rdma_ucm_migrate_resp resp = {};
	struct cm_chan *from = cm_chan_find(cmd->fd);
	struct cm_id *id = cm_id_find(cmd->id);

	if (!from)
		return EINVAL;
	if (!id || id->chan != from)
		return ENOENT;
	if (from != c->chan) {
		cm_event_move(id, c->chan);
		cm_chan_calm(from, cmd->fd);
	}
	resp.events_reported = id->events_reported;
	return cm_answer(c, cmd->response, &resp, sizeof(resp), sizeof(resp));
}

static bool cm_option_int(const struct rdma_ucm_set_option *cmd, int *value)
{
	if (cmd->optlen != sizeof(*value) || !cmd->optval)
		return false;
	memcpy(value, (void *)(uintptr_t)cmd->optval, sizeof(*value));
	return true;
}

static bool cm_option_byte(const struct rdma_ucm_set_option *cmd, u8 *value)
{
	if (cmd->optlen != 1 || !cmd->optval)
		return false;
	memcpy(value, (void *)(uintptr_t)cmd->optval, 1);
	return true;
}

static int cm_do_set_option(struct cm_call *c)
{
	const struct rdma_ucm_set_option *cmd = &c->cmd.set_option;
	struct cm_id *id = cm_call_id(c, cmd->id);
	u8 byte = 0;
	int value = 0;

	if (!id)
		return ENOENT;
	if (cmd->level != RDMA_OPTION_ID)
		return ENOSYS;
	switch (cmd->optname) {
	case RDMA_OPTION_ID_TOS:
		if (!cm_option_byte(cmd, &id->tos))
			return EINVAL;
		return 0;
	case RDMA_OPTION_ID_REUSEADDR:
		return cm_option_int(cmd, &value) ? cm_id_set_reuse(id, value) :
						    EINVAL;
	case RDMA_OPTION_ID_AFONLY:
		if (!cm_option_int(cmd, &value) || id->state != CM_ID_IDLE)
			return EINVAL;
		id->afonly = value;
		return 0;
	case RDMA_OPTION_ID_ACK_TIMEOUT:
		/* Any value: five bits of it count in the queue pair. */
		if (!cm_option_byte(cmd, &byte) || id->qp_type != TZ_QPT_RC)
			return EINVAL;
		id->ack_timeout = byte;
		id->ack_timeout_set = true;
		return 0;
	default:
		return ENOSYS;
	}
}

/* ---- addresses ---------------------------------------------------------- */

static int cm_do_bind_ip(struct cm_call *c)
{
	const struct rdma_ucm_bind_ip *cmd = &c->cmd.bind_ip;
	struct cm_id *id = cm_call_id(c, cmd->id);
	union cm_addr addr = { .in6 = cmd->addr };

	return id ? cm_id_bind(id, &addr) : ENOENT;
}

static int cm_do_resolve_ip(struct cm_call *c)
{
	const struct rdma_ucm_resolve_ip *cmd = &c->cmd.resolve_ip;
	struct cm_id *id = cm_call_id(c, cmd->id);
	union cm_addr src = { .in6 = cmd->src_addr };
	union cm_addr dst = { .in6 = cmd->dst_addr };

	return id ? cm_id_resolve(id, &src, &dst) : ENOENT;
}

static int cm_do_resolve_route(struct cm_call *c)
{
	struct cm_id *id = cm_call_id(c, c->cmd.resolve_route.id);

	if (!id)
		return ENOENT;
	if (id->state != CM_ID_ADDR)
		return EINVAL;
	id->state = CM_ID_ROUTE;
	return cm_event_add(id, CM_EVENT_ROUTE_RESOLVED, 0) ? 0 : ENOMEM;
}

static void cm_fill_path(const struct cm_id *id, struct ib_user_path_rec *p)
{
	memcpy(p->dgid, id->dgid, 16);
	memcpy(p->sgid, id->sgid, 16);
	p->hop_limit = 64;
	p->traffic_class = id->tos;
	p->reversible = 1;
	p->numb_path = 1;
	p->pkey = htons(TCPZC_PKEY);
	p->mtu_selector = 2;		/* exactly */
	p->mtu = id->dev->mtu;
	p->rate_selector = 2;
	p->rate = 3;			/* 10 Gbit/s: nobody depends on it */
	p->packet_life_time_selector = 2;
	p->packet_life_time = 16;
}

static int cm_do_query_route(struct cm_call *c)
{
	const struct rdma_ucm_query *cmd = &c->cmd.query;
	struct cm_id *id = cm_call_id(c, cmd->id);
	struct rdma_ucm_query_route_resp resp = { .ibdev_index = UINT32_MAX };

	if (!id)
		return ENOENT;
	memcpy(&resp.src_addr, &id->src, cm_addr_len(&id->src));
	memcpy(&resp.dst_addr, &id->dst, cm_addr_len(&id->dst));
	if (id->dev) {
		resp.node_guid = htobe64(id->dev->guid);
		resp.port_num = TCPZC_PORT;
		cm_fill_path(id, &resp.ib_route[0]);
		resp.num_paths = id->state == CM_ID_ROUTE ||
				 id->state == CM_ID_CONNECT;
	}
	return cm_answer(c, cmd->response, &resp, sizeof(resp),
			 offsetof(struct rdma_ucm_query_route_resp, ibdev_index));
}

/* ---- connections -------------------------------------------------------- */

static int cm_do_listen(struct cm_call *c)
{
	struct cm_id *id = cm_call_id(c, c->cmd.listen.id);

	return id ? cm_id_listen(id, c->cmd.listen.backlog) : ENOENT;
}

static int cm_do_connect(struct cm_call *c)
{
	struct cm_id *id = cm_call_id(c, c->cmd.connect.id);

	return id ? cm_id_connect(id, &c->cmd.connect.conn_param) : ENOENT;
}

static int cm_do_accept(struct cm_call *c)
{
	const struct rdma_ucm_accept *cmd = &c->cmd.accept;
	struct cm_id *id = cm_call_id(c, cmd->id);

	return id ? cm_id_accept(id, cmd->uid, &cmd->conn_param) : ENOENT;
}

static int cm_do_reject(struct cm_call *c)
{
	const struct rdma_ucm_reject *cmd = &c->cmd.reject;
	struct cm_id *id = cm_call_id(c, cmd->id);

	if (!id)
		return ENOENT;
	return cm_id_reject(id, cmd->reason, cmd->private_data,
			    cmd->private_data_len);
}

static int cm_do_disconnect(struct cm_call *c)
{
	struct cm_id *id = cm_call_id(c, c->cmd.disconnect.id);

	return id ? cm_id_disconnect(id) : ENOENT;
}

static int cm_do_init_qp_attr(struct cm_call *c)
{
	const struct rdma_ucm_init_qp_attr *cmd = &c->cmd.init_qp_attr;
	struct cm_id *id = cm_call_id(c, cmd->id);
	struct ib_uverbs_qp_attr resp;
	int err;

	if (!id)
		return ENOENT;
	err = cm_id_qp_attr(id, cmd->qp_state, &resp);
	if (err)
		return err;
	return cm_answer(c, cmd->response, &resp, sizeof(resp), sizeof(resp));
}

static int cm_do_notify(struct cm_call *c)
{
	struct cm_id *id = cm_call_id(c, c->cmd.notify.id);

	if (!id)
		return ENOENT;
	if (c->cmd.notify.event != CM_IB_COMM_EST || !id->cx)
		return EINVAL;
	cm_conn_heard(&id->cx->conn);
	return 0;
}

static int cm_do_multicast(struct cm_call *c)
{
	(void)c;
	return EOPNOTSUPP;
}

/* ---- events ------------------------------------------------------------- */

static int cm_deliver_event(struct cm_call *c, struct cm_ev *ev)
{
	const u32 least = offsetof(struct rdma_ucm_event_resp, reserved);
	int err;

	err = cm_answer(c, c->cmd.get_event.response, &ev->resp,
			sizeof(ev->resp), least);
	if (ev->child) {
		ev->child->listener = NULL;
		ev->owner->pending--;
	}
	ev->owner->events_reported++;
	free(ev);
	return err;
}

/*
 * Waiting is done by the kernel, for the byte that says that there is an event,
 * so that it can be interrupted, cancelled, and is not done on a descriptor that
 * is non-blocking.
 *
 * Programs close the channel while a thread of theirs waits here, and are not
 * prepared for that thread's return: the kernel's device has the file open as
 * long as somebody is in it, and no event will ever come.
 */
static int cm_get_event(struct cm_call *c)
{
	int cancel, err, waited = 0;
	char byte;

	for (;;) {
		struct cm_ev *ev;

		cm_enter(&cancel);
		c->chan = cm_chan_find(c->fd);
		ev = c->chan ? cm_event_pop(c->chan, c->fd) : NULL;
		err = ev ? cm_deliver_event(c, ev) : -1;
		cm_leave(cancel);
		if (ev)
			return err;
		while (!c->chan)
			pause();
		if (waited)
			return waited;
		/* What this says counts if it was our channel that said it. */
		waited = recv(c->fd, &byte, 1, MSG_PEEK) < 0 ? errno : 0;
	}
}

/* ---- the table ---------------------------------------------------------- */

static const struct {
	int (*fn)(struct cm_call *c);
	u32 bytes;		/* of the command, without what came later */
} cm_cmds[] = {
	[RDMA_USER_CM_CMD_CREATE_ID] = {
		cm_do_create_id, sizeof(struct rdma_ucm_create_id) },
	[RDMA_USER_CM_CMD_DESTROY_ID] = {
		cm_do_destroy_id, sizeof(struct rdma_ucm_destroy_id) },
	[RDMA_USER_CM_CMD_BIND_IP] = {
		cm_do_bind_ip, sizeof(struct rdma_ucm_bind_ip) },
	[RDMA_USER_CM_CMD_RESOLVE_IP] = {
		cm_do_resolve_ip, sizeof(struct rdma_ucm_resolve_ip) },
	[RDMA_USER_CM_CMD_RESOLVE_ROUTE] = {
		cm_do_resolve_route, sizeof(struct rdma_ucm_resolve_route) },
	[RDMA_USER_CM_CMD_QUERY_ROUTE] = {
		cm_do_query_route, offsetof(struct rdma_ucm_query, option) },
	[RDMA_USER_CM_CMD_CONNECT] = {
		cm_do_connect, offsetof(struct rdma_ucm_connect, ece) },
	[RDMA_USER_CM_CMD_LISTEN] = {
		cm_do_listen, sizeof(struct rdma_ucm_listen) },
	[RDMA_USER_CM_CMD_ACCEPT] = {
		cm_do_accept, offsetof(struct rdma_ucm_accept, ece) },
	[RDMA_USER_CM_CMD_REJECT] = {
		cm_do_reject, sizeof(struct rdma_ucm_reject) },
	[RDMA_USER_CM_CMD_DISCONNECT] = {
		cm_do_disconnect, sizeof(struct rdma_ucm_disconnect) },
	[RDMA_USER_CM_CMD_INIT_QP_ATTR] = {
		cm_do_init_qp_attr, sizeof(struct rdma_ucm_init_qp_attr) },
	[RDMA_USER_CM_CMD_GET_EVENT] = {
		cm_get_event, sizeof(struct rdma_ucm_get_event) },
	[RDMA_USER_CM_CMD_SET_OPTION] = {
		cm_do_set_option, sizeof(struct rdma_ucm_set_option) },
	[RDMA_USER_CM_CMD_NOTIFY] = {
		cm_do_notify, sizeof(struct rdma_ucm_notify) },
	[RDMA_USER_CM_CMD_JOIN_IP_MCAST] = { cm_do_multicast, 0 },
	[RDMA_USER_CM_CMD_LEAVE_MCAST] = { cm_do_multicast, 0 },
	[RDMA_USER_CM_CMD_MIGRATE_ID] = {
		cm_do_migrate_id, sizeof(struct rdma_ucm_migrate_id) },
};

static int cm_call(struct cm_call *c, u32 cmd)
{
	int cancel, err;

	if (cmd == RDMA_USER_CM_CMD_GET_EVENT)
		return cm_get_event(c);
	cm_enter(&cancel);
	c->chan = cm_chan_find(c->fd);
	err = c->chan ? cm_cmds[cmd].fn(c) : ENODEV;
	cm_leave(cancel);
	return err;
}

ssize_t cm_write(int fd, const void *buf, size_t len)
{
	struct cm_call c = { .fd = fd };
	struct rdma_ucm_cmd_hdr hdr;
	int err = EINVAL;

	if (len < sizeof(hdr))
		goto fail;
	memcpy(&hdr, buf, sizeof(hdr));
	if (hdr.in > len - sizeof(hdr))
		goto fail;
	err = ENOSYS;
	if (hdr.cmd >= TZ_ARRAY_SIZE(cm_cmds) || !cm_cmds[hdr.cmd].fn)
		goto fail;
	err = EINVAL;
	if (hdr.in < cm_cmds[hdr.cmd].bytes)
		goto fail;
	memcpy(&c.cmd, (const u8 *)buf + sizeof(hdr),
	       tz_min((size_t)hdr.in, sizeof(c.cmd)));
	c.out = hdr.out;
	err = cm_call(&c, hdr.cmd);
	if (!err)
		return len;
fail:
	errno = err;
	return -1;
}
