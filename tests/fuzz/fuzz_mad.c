// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * fuzz_mad.c - what other hosts send to the connection manager: datagrams with
 * MADs in them, and what other processes of this host pass on, to a connection in
 * any state, between the application's calls and the passing of time. The input is
 * a list of steps.
 */
#include "fuzz.h"

#include "cm-conn.h"
#include "cm-pass.h"
#include "tz_ud.h"

static u32 sent, events;

static void on_send(struct cm_conn *c, const struct cm_msg *msg)
{
	struct cm_msg back;
	u8 mad[CM_MAD_BYTES];

	sent++;
	BED_CHECK(cm_mad_priv_bytes(msg->attr), "%u was sent", msg->attr);
	BED_CHECK(msg->tid == c->tid && msg->local_id == c->local_id &&
		  msg->remote_id == c->remote_id, "sent in another's name");
	cm_mad_make(msg, mad);
	BED_CHECK(cm_mad_parse(mad, &back), "what was sent is none");
}

static void on_event(struct cm_conn *c, enum cm_event event,
		     const struct cm_msg *msg)
{
	events++;
	BED_CHECK(c->state != CM_IDLE, "event %u of nothing", event);
	BED_CHECK(msg || event == CM_EV_UNREACHABLE || event == CM_EV_ESTABLISHED ||
		  event == CM_EV_DISCONNECTED || event == CM_EV_TIMEWAIT_EXIT,
		  "event %u without its message", event);
}

static const struct cm_ops ops = { on_send, on_event };

static void application(struct cm_conn *c, u8 what, const struct cm_msg *last, u64 now)
{
	struct cm_msg msg = { .attr = what & 8 ? CM_SIDR_REQ : CM_REQ, .qpn = 5,
			      .ack_timeout = what };

	switch (what & 7) {
	case 0:
		if (c->state == CM_IDLE)
			cm_conn_request(c, &msg, now);
		break;
	case 1:
		cm_conn_accept(c, &msg, now);
		break;
	case 2:
		cm_conn_reject(c, what, last->priv, last->priv_len);
		break;
	case 3:
		cm_conn_disconnect(c, now);
		break;
	case 4:
		cm_conn_abandon(c, now);
		break;
	case 5:
		cm_conn_heard(c);
		break;
	case 6:
		if (what & 8)
			cm_conn_hopeless(c, now);
		else
			cm_conn_refused(c, now);
		break;
	case 7:
		cm_conn_repeated(c);
		break;
	}
}

/* A MAD whose first bytes are the input's, made to fit more often than not. */
static void message(struct cm_conn *c, const u8 *data, size_t size, struct cm_msg *msg,
		    u64 now)
{
	u8 mad[CM_MAD_BYTES] = { 1, 7, 2, 3, [17] = CM_REQ };
	struct cm_msg answer;
	struct cm_ip_hdr hdr;

	if (size)
		mad[17] += data[0] & 15;
	if (size > 1)
		memcpy(mad + 24, data + 1, size - 1 < 232 ? size - 1 : 232);
	if (!cm_mad_parse(mad, msg))
		return;
	if (size && data[0] & 16)
		msg->local_id = c->remote_id;
	if (msg->attr == CM_REQ || msg->attr == CM_SIDR_REQ) {
		cm_ip_hdr_parse(msg->priv, &hdr);
		if (c->state == CM_IDLE)
			cm_conn_incoming(c, msg);
		cm_no_service(msg, CM_REJ_INVALID_SERVICE_ID, &answer);
		return;
	}
	cm_conn_rx(c, msg, now);
	cm_stray_answer(msg, &answer);
}

/*
 * A packet of another process: one that is good, with the input's bytes written
 * over it from where the first of them says, and of another length if the second
 * is odd.
 */
static void passed_on(struct cm_conn *c, const u8 *data, size_t size,
		      struct cm_msg *msg, u64 now)
{
	u8 packet[sizeof(struct cm_pass) + 256] = { 0 };
	u8 mad[CM_MAD_BYTES] = { 1, 7, 2, 3, [17] = CM_REQ };
	struct cm_path path = { { 0xfd, 1 }, { 0xfd, 2 }, 0 };
	size_t n = sizeof(struct cm_pass);
	struct cm_pass pass;
	u32 flags;

	cm_pass_make(&path, mad, &pass);
	memcpy(packet, &pass, sizeof(pass));
	if (size > 2)
		memcpy(packet + data[0], data + 2, size - 2);
	if (size > 1 && data[1] & 1)
		n = 2 * data[1];
	cm_hello_parse(packet, n, &flags);
	if (!cm_pass_parse(packet, n, &path, msg))
		return;
	BED_CHECK(n == sizeof(pass), "%zu bytes are a message", n);
	BED_CHECK(!path.ifindex == !(cm_gid_link_local(path.sgid) ||
				     cm_gid_link_local(path.dgid)),
		  "interface %u", path.ifindex);
	memcpy(&pass, packet, sizeof(pass));
	cm_pass_make(&path, pass.mad, &pass);
	BED_CHECK(!memcmp(&pass, packet, sizeof(pass)), "passed on as something else");
	if (msg->attr != CM_REQ && msg->attr != CM_SIDR_REQ)
		cm_conn_rx(c, msg, now);
	else if (c->state == CM_IDLE)
		cm_conn_incoming(c, msg);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	struct cm_msg last = {};
	u64 now = FUZZ_NOW;
	struct cm_conn c;
	u32 qpn;

	tz_ud_check(data, size, &qpn);
	if (size >= CM_MAD_BYTES)
		cm_mad_parse(data, &last);
	memset(&last, 0, sizeof(last));
	cm_conn_init(&c, &ops, 7, 0);
	while (size >= 2) {
		u8 step = data[0], len = data[1];

		data += 2;
		size -= 2;
		if (len > size)
			len = size;
		if (step & 1)
			message(&c, data, len, &last, now);
		else if (step & 2)
			application(&c, step >> 2, &last, now);
		else if (step & 4)
			passed_on(&c, data, len, &last, now);
		now += (u64)(step & 2 ? 0 : step) * 50000000;
		cm_conn_timer(&c, now);
		BED_CHECK(c.state <= CM_CLOSED, "state %u", c.state);
		BED_CHECK(c.state != CM_CLOSED || !cm_conn_deadline(&c),
			  "closed, and waits");
		data += len;
		size -= len;
	}
	return 0;
}
