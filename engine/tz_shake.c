// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * tz_shake.c - making and judging the hellos of a connection.
 */
#include "tz_shake.h"

enum tz_role tz_shake_role(const struct tz_qp_attr *attr, u32 qpn)
{
	int c = memcmp(attr->sgid, attr->dgid, sizeof(attr->sgid));

	if (!c && qpn == attr->dest_qpn)
		return TZ_ROLE_SELF;
	if (c)
		return c < 0 ? TZ_ROLE_CONNECT : TZ_ROLE_ACCEPT;
	return qpn < attr->dest_qpn ? TZ_ROLE_CONNECT : TZ_ROLE_ACCEPT;
}

void tz_shake_make(const struct tz_qp *qp, enum tz_hello_status status,
		   u64 session_id, struct tz_hello *out)
{
	bool rts = qp->state == TZ_RTS || qp->state == TZ_SQD;

	memset(out, 0, sizeof(*out));
	out->magic = tz_cpu_to_le32(TZ_HELLO_MAGIC);
	out->version = tz_cpu_to_le16(TZ_PROTO_VERSION);
	out->status = tz_cpu_to_le16(status);
	out->features = tz_cpu_to_le32(TZ_FEATURE_NONE);
	out->max_pdu = tz_cpu_to_le32(qp->init.max_pdu);
	out->src_qpn = tz_cpu_to_le32(qp->init.qpn);
	out->dst_qpn = tz_cpu_to_le32(qp->attr.dest_qpn);
	memcpy(out->src_gid, qp->attr.sgid, sizeof(out->src_gid));
	memcpy(out->dst_gid, qp->attr.dgid, sizeof(out->dst_gid));
	out->session_id = tz_cpu_to_le64(session_id);
	out->sq_psn = tz_cpu_to_le32(rts ? qp->attr.sq_psn : TZ_PSN_UNKNOWN);
	out->rq_psn = tz_cpu_to_le32(qp->attr.rq_psn);
	out->next_tx_msn = tz_cpu_to_le32(rts ? qp->req.next_msn : 0);
	out->next_rx_msn = tz_cpu_to_le32(qp->rsp.expect_msn);
	out->qp_type = tz_cpu_to_le16(qp->init.type);
}

void tz_shake_refuse(const struct tz_hello *in, enum tz_hello_status status,
		     struct tz_hello *out)
{
	memset(out, 0, sizeof(*out));
	out->magic = tz_cpu_to_le32(TZ_HELLO_MAGIC);
	out->version = tz_cpu_to_le16(TZ_PROTO_VERSION);
	out->status = tz_cpu_to_le16(status);
	out->src_qpn = in->dst_qpn;
	out->dst_qpn = in->src_qpn;
	memcpy(out->src_gid, in->dst_gid, sizeof(out->src_gid));
	memcpy(out->dst_gid, in->src_gid, sizeof(out->dst_gid));
	out->session_id = in->session_id;
}

enum tz_hello_status tz_shake_check(const struct tz_hello *in)
{
	u32 max_pdu = tz_le32_to_cpu(in->max_pdu);

	if (tz_le32_to_cpu(in->magic) != TZ_HELLO_MAGIC)
		return TZ_HELLO_MALFORMED;
	if (tz_le16_to_cpu(in->version) != TZ_PROTO_VERSION)
		return TZ_HELLO_BAD_VERSION;
	if (in->reserved0 || in->reserved1 || in->reserved2[0] || in->reserved2[1])
		return TZ_HELLO_MALFORMED;
	if (tz_le16_to_cpu(in->status) >= TZ_HELLO_STATUSES)
		return TZ_HELLO_MALFORMED;
	if (tz_le16_to_cpu(in->status) != TZ_HELLO_OK)
		return TZ_HELLO_OK;	/* a refusal need not fill in the rest */
	if (max_pdu < TZ_MIN_PDU_BYTES || max_pdu > TZ_MAX_PDU_BYTES)
		return TZ_HELLO_MALFORMED;
	if (tz_le16_to_cpu(in->qp_type) != TZ_QPT_RC &&
	    tz_le16_to_cpu(in->qp_type) != TZ_QPT_UC)
		return TZ_HELLO_NO_QP;
	return TZ_HELLO_OK;
}

/* Do the peer's next message numbers fit what this side knows? */
static bool tz_shake_numbers_match(const struct tz_qp *qp,
				   const struct tz_hello *in)
{
	u32 sq_psn = tz_le32_to_cpu(in->sq_psn);
	bool rts = qp->state == TZ_RTS || qp->state == TZ_SQD;

	if (sq_psn != TZ_PSN_UNKNOWN &&
	    (sq_psn != qp->attr.rq_psn ||
	     tz_le32_to_cpu(in->next_tx_msn) != qp->rsp.expect_msn))
		return false;
	return !rts || (tz_le32_to_cpu(in->rq_psn) == qp->attr.sq_psn &&
			tz_le32_to_cpu(in->next_rx_msn) == qp->req.next_msn);
}

enum tz_hello_status tz_shake_match(const struct tz_qp *qp,
				    const struct tz_hello *in, u32 *max_pdu)
{
	const struct tz_qp_attr *attr = &qp->attr;

	if (tz_le32_to_cpu(in->dst_qpn) != qp->init.qpn ||
	    tz_le16_to_cpu(in->qp_type) != qp->init.type)
		return TZ_HELLO_NO_QP;
	if (tz_le32_to_cpu(in->src_qpn) != attr->dest_qpn ||
	    memcmp(in->src_gid, attr->dgid, sizeof(in->src_gid)) != 0 ||
	    memcmp(in->dst_gid, attr->sgid, sizeof(in->dst_gid)) != 0)
		return TZ_HELLO_WRONG_PEER;
	if (!tz_shake_numbers_match(qp, in))
		return TZ_HELLO_WRONG_PSN;
	*max_pdu = tz_min(qp->init.max_pdu, tz_le32_to_cpu(in->max_pdu));
	return TZ_HELLO_OK;
}
