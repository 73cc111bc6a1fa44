// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * cm-mad.c - making and reading the connection manager's messages.
 */
#include "cm-mad.h"
#include "tz_wire.h"

#define CM_HDR_BYTES	24	/* of a MAD */
#define CM_BASE_VERSION	1
#define CM_CLASS	0x07
#define CM_CLASS_VERSION 2
#define CM_METHOD_SEND	0x03
#define CM_PKEY		0xffff
#define CM_LID		0xffff	/* permissive: there are none */

/* Transport service types of a REQ (12.6.5). */
#define CM_TRANSPORT_RC	0
#define CM_TRANSPORT_UC	1

static void put16(u8 *p, u32 v)
{
	p[0] = v >> 8;
	p[1] = v;
}

static void put24(u8 *p, u32 v)
{
	p[0] = v >> 16;
	put16(p + 1, v);
}

static void put32(u8 *p, u32 v)
{
	put16(p, v >> 16);
	put16(p + 2, v);
}

static void put64(u8 *p, u64 v)
{
	put32(p, v >> 32);
	put32(p + 4, v);
}

static u32 get16(const u8 *p)
{
	return (u32)p[0] << 8 | p[1];
}

static u32 get24(const u8 *p)
{
	return (u32)p[0] << 16 | get16(p + 1);
}

static u32 get32(const u8 *p)
{
	return get16(p) << 16 | get16(p + 2);
}

static u64 get64(const u8 *p)
{
	return (u64)get32(p) << 32 | get32(p + 4);
}

/* Where private data begins, and how much there is. */
static const struct { u8 at, bytes; } cm_priv[] = {
	[CM_REQ - CM_REQ]	= { 140, CM_REQ_PRIV },
	[CM_MRA - CM_REQ]	= { 10, 222 },
	[CM_REJ - CM_REQ]	= { 84, CM_REJ_PRIV },
	[CM_REP - CM_REQ]	= { 36, CM_REP_PRIV },
	[CM_RTU - CM_REQ]	= { 8, 224 },
	[CM_DREQ - CM_REQ]	= { 12, 220 },
	[CM_DREP - CM_REQ]	= { 8, 224 },
	[CM_SIDR_REQ - CM_REQ]	= { 16, CM_SIDR_REQ_PRIV },
	[CM_SIDR_REP - CM_REQ]	= { 96, CM_SIDR_REP_PRIV },
};

u32 cm_mad_priv_bytes(u16 attr)
{
	if (attr < CM_REQ || attr > CM_SIDR_REP)
		return 0;
	return cm_priv[attr - CM_REQ].bytes;
}

/* ---- making ------------------------------------------------------------- */

static void cm_make_req(const struct cm_msg *m, u8 *d)
{
	put64(d + 8, m->service_id);
	put64(d + 16, m->ca_guid);
	put24(d + 32, m->qpn);
	d[35] = m->responder_resources;
	d[39] = m->initiator_depth;
	d[43] = m->remote_timeout << 3 |
		(m->qp_type == TZ_QPT_UC ? CM_TRANSPORT_UC : CM_TRANSPORT_RC) << 1 |
		(m->flow_control & 1);
	put24(d + 44, m->psn);
	d[47] = m->local_timeout << 3 | (m->retry_count & 7);
	put16(d + 48, CM_PKEY);
	d[50] = m->mtu << 4 | (m->rnr_retry_count & 7);
	d[51] = m->max_retries << 4 | (m->srq & 1) << 3;
	put16(d + 52, CM_LID);
	put16(d + 54, CM_LID);
	memcpy(d + 56, m->sgid, 16);
	memcpy(d + 72, m->dgid, 16);
	d[92] = m->traffic_class;
	d[93] = m->hop_limit;
	d[95] = m->ack_timeout << 3;
}

static void cm_make_rep(const struct cm_msg *m, u8 *d)
{
	put32(d + 8, m->qkey);
	put24(d + 12, m->qpn);
	put24(d + 20, m->psn);
	d[24] = m->responder_resources;
	d[25] = m->initiator_depth;
	d[26] = m->ack_timeout << 3 | (m->flow_control & 1);
	d[27] = m->rnr_retry_count << 5 | (m->srq & 1) << 4;
	put64(d + 28, m->ca_guid);
}

static void cm_make_body(const struct cm_msg *m, u8 *d)
{
	put32(d, m->local_id);
	if (m->attr != CM_REQ && m->attr < CM_SIDR_REQ)
		put32(d + 4, m->remote_id);
	switch ((enum cm_attr)m->attr) {
	case CM_REQ:
		cm_make_req(m, d);
		break;
	case CM_REP:
		cm_make_rep(m, d);
		break;
	case CM_MRA:
		d[8] = m->about << 6;
		d[9] = m->service_timeout << 3;
		break;
	case CM_REJ:
		d[8] = m->about << 6;
		put16(d + 10, m->reason);
		break;
	case CM_DREQ:
		put24(d + 8, m->qpn);
		break;
	case CM_RTU:
	case CM_DREP:
		break;
	case CM_SIDR_REQ:
		put16(d + 4, CM_PKEY);
		put64(d + 8, m->service_id);
		break;
	case CM_SIDR_REP:
		d[4] = m->status;
		put24(d + 8, m->qpn);
		put64(d + 12, m->service_id);
		put32(d + 20, m->qkey);
		break;
	}
}

void cm_mad_make(const struct cm_msg *msg, u8 mad[CM_MAD_BYTES])
{
	u8 *d = mad + CM_HDR_BYTES;
	u32 len = tz_min((u32)msg->priv_len, cm_mad_priv_bytes(msg->attr));

	memset(mad, 0, CM_MAD_BYTES);
	mad[0] = CM_BASE_VERSION;
	mad[1] = CM_CLASS;
	mad[2] = CM_CLASS_VERSION;
	mad[3] = CM_METHOD_SEND;
	put64(mad + 8, msg->tid);
	put16(mad + 16, msg->attr);
	cm_make_body(msg, d);
	if (len)
		memcpy(d + cm_priv[msg->attr - CM_REQ].at, msg->priv, len);
}

/* ---- reading ------------------------------------------------------------ */

static bool cm_parse_req(const u8 *d, struct cm_msg *m)
{
	u32 transport = d[43] >> 1 & 3;

	m->service_id = get64(d + 8);
	m->ca_guid = get64(d + 16);
	m->qpn = get24(d + 32);
	m->responder_resources = d[35];
	m->initiator_depth = d[39];
	m->remote_timeout = d[43] >> 3;
	m->qp_type = transport == CM_TRANSPORT_UC ? TZ_QPT_UC : TZ_QPT_RC;
	m->flow_control = d[43] & 1;
	m->psn = get24(d + 44);
	m->local_timeout = d[47] >> 3;
	m->retry_count = d[47] & 7;
	m->mtu = d[50] >> 4;
	m->rnr_retry_count = d[50] & 7;
	m->max_retries = d[51] >> 4;
	m->srq = d[51] >> 3 & 1;
	memcpy(m->sgid, d + 56, 16);
	memcpy(m->dgid, d + 72, 16);
	m->traffic_class = d[92];
	m->hop_limit = d[93];
	m->ack_timeout = d[95] >> 3;
	return transport <= CM_TRANSPORT_UC;
}

static void cm_parse_rep(const u8 *d, struct cm_msg *m)
{
	m->qkey = get32(d + 8);
	m->qpn = get24(d + 12);
	m->psn = get24(d + 20);
	m->responder_resources = d[24];
	m->initiator_depth = d[25];
	m->ack_timeout = d[26] >> 3;
	m->flow_control = d[26] & 1;
	m->rnr_retry_count = d[27] >> 5;
	m->srq = d[27] >> 4 & 1;
	m->ca_guid = get64(d + 28);
}

static bool cm_parse_body(const u8 *d, struct cm_msg *m)
{
	m->local_id = get32(d);
	if (m->attr != CM_REQ && m->attr < CM_SIDR_REQ)
		m->remote_id = get32(d + 4);
	switch ((enum cm_attr)m->attr) {
	case CM_REQ:
		return cm_parse_req(d, m);
	case CM_REP:
		cm_parse_rep(d, m);
		return true;
	case CM_MRA:
		m->about = d[8] >> 6;
		m->service_timeout = d[9] >> 3;
		return true;
	case CM_REJ:
		m->about = d[8] >> 6;
		m->reason = get16(d + 10);
		return true;
	case CM_DREQ:
		m->qpn = get24(d + 8);
		return true;
	case CM_RTU:
	case CM_DREP:
		return true;
	case CM_SIDR_REQ:
		m->service_id = get64(d + 8);
		return true;
	case CM_SIDR_REP:
		m->status = d[4];
		m->qpn = get24(d + 8);
		m->service_id = get64(d + 12);
		m->qkey = get32(d + 20);
		return true;
	}
	return false;
}

bool cm_mad_parse(const u8 mad[CM_MAD_BYTES], struct cm_msg *msg)
{
	const u8 *d = mad + CM_HDR_BYTES;

	memset(msg, 0, sizeof(*msg));
	if (mad[0] != CM_BASE_VERSION || mad[1] != CM_CLASS ||
	    mad[2] != CM_CLASS_VERSION || mad[3] != CM_METHOD_SEND)
		return false;
	msg->tid = get64(mad + 8);
	msg->attr = get16(mad + 16);
	msg->priv_len = cm_mad_priv_bytes(msg->attr);
	if (!msg->priv_len || !cm_parse_body(d, msg))
		return false;
	memcpy(msg->priv, d + cm_priv[msg->attr - CM_REQ].at, msg->priv_len);
	return true;
}

/* ---- rdma_cm's header --------------------------------------------------- */

static void cm_ip_put(const u8 gid[16], bool v4, u8 out[16])
{
	memset(out, 0, 16);
	if (v4)
		memcpy(out + 12, gid + 12, 4);
	else
		memcpy(out, gid, 16);
}

static void cm_ip_get(const u8 in[16], bool v4, u8 gid[16])
{
	memcpy(gid, in, 16);
	if (v4) {
		memset(gid, 0, 10);
		memset(gid + 10, 0xff, 2);
	}
}

void cm_ip_hdr_make(const struct cm_ip_hdr *hdr, u8 priv[CM_IP_HDR_BYTES])
{
	priv[0] = 0;		/* version of this header */
	priv[1] = hdr->version << 4;
	put16(priv + 2, hdr->port);
	cm_ip_put(hdr->src, hdr->version == 4, priv + 4);
	cm_ip_put(hdr->dst, hdr->version == 4, priv + 20);
}

bool cm_ip_hdr_parse(const u8 priv[CM_IP_HDR_BYTES], struct cm_ip_hdr *hdr)
{
	hdr->version = priv[1] >> 4;
	hdr->port = get16(priv + 2);
	if (priv[0] || (hdr->version != 4 && hdr->version != 6))
		return false;
	cm_ip_get(priv + 4, hdr->version == 4, hdr->src);
	cm_ip_get(priv + 20, hdr->version == 4, hdr->dst);
	return true;
}
