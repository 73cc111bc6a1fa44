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

/* From here on its send PSN is set. */
static bool tz_shake_knows(const struct tz_qp *qp)
{
	return qp->state == TZ_RTS || qp->state == TZ_SQD;
}

/* A hello that tells no number but, if it is set, that of the next message. */
static void tz_shake_make(const struct tz_qp *qp, u64 session_id,
			  struct tz_hello *out)
{
	bool knows = tz_shake_knows(qp);

	memset(out, 0, sizeof(*out));
	out->magic = tz_cpu_to_le32(TZ_HELLO_MAGIC);
	out->version = tz_cpu_to_le16(TZ_PROTO_VERSION);
	out->status = tz_cpu_to_le16(TZ_HELLO_OK);
	out->features = tz_cpu_to_le32(TZ_FEATURE_NONE);
	out->max_pdu = tz_cpu_to_le32(qp->init.max_pdu);
	out->src_qpn = tz_cpu_to_le32(qp->init.qpn);
	out->dst_qpn = tz_cpu_to_le32(qp->attr.dest_qpn);
	memcpy(out->src_gid, qp->attr.sgid, sizeof(out->src_gid));
	memcpy(out->dst_gid, qp->attr.dgid, sizeof(out->dst_gid));
	out->session_id = tz_cpu_to_le64(session_id);
	out->sq_psn = tz_cpu_to_le32(knows ? qp->attr.sq_psn : TZ_PSN_UNKNOWN);
	out->rq_psn = tz_cpu_to_le32(TZ_PSN_UNKNOWN);
	out->next_tx_msn = tz_cpu_to_le32(knows ? qp->req.next_msn :
						  TZ_PSN_UNKNOWN);
	out->next_rx_msn = tz_cpu_to_le32(TZ_PSN_UNKNOWN);
	out->qp_type = tz_cpu_to_le16(qp->init.type);
}

void tz_shake_call(struct tz_qp *qp, u64 session_id, struct tz_hello *out)
{
	tz_shake_make(qp, session_id, out);
	qp->shake.told = tz_shake_knows(qp);
	if (qp->shake.told)
		return;
	/* The peer compares this with its send PSN, if it knows that. */
	out->rq_psn = tz_cpu_to_le32(qp->attr.rq_psn);
	out->next_rx_msn = tz_cpu_to_le32(qp->rsp.expect_msn);
}

void tz_shake_answer(const struct tz_qp *qp, u64 session_id,
		     struct tz_hello *out)
{
	tz_shake_make(qp, session_id, out);
}

void tz_shake_refuse(const struct tz_hello *in, enum tz_hello_status why,
		     struct tz_hello *out)
{
	memset(out, 0, sizeof(*out));
	out->magic = tz_cpu_to_le32(TZ_HELLO_MAGIC);
	out->version = tz_cpu_to_le16(TZ_PROTO_VERSION);
	out->status = tz_cpu_to_le16(why == TZ_HELLO_BAD_VERSION ?
				     TZ_HELLO_BAD_VERSION : TZ_HELLO_REFUSED);
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
		return TZ_HELLO_REFUSED;
	return TZ_HELLO_OK;
}

/* ---- judging ------------------------------------------------------------ */

/* What everybody may know who has seen the two QPs. */
static bool tz_shake_names_match(const struct tz_qp *qp,
				 const struct tz_hello *in)
{
	const struct tz_qp_attr *attr = &qp->attr;

	return tz_le32_to_cpu(in->dst_qpn) == qp->init.qpn &&
	       tz_le16_to_cpu(in->qp_type) == qp->init.type &&
	       tz_le32_to_cpu(in->src_qpn) == attr->dest_qpn &&
	       !memcmp(in->src_gid, attr->dgid, sizeof(in->src_gid)) &&
	       !memcmp(in->dst_gid, attr->sgid, sizeof(in->dst_gid));
}

static bool tz_shake_tells(const struct tz_hello *in)
{
	return tz_le32_to_cpu(in->sq_psn) != TZ_PSN_UNKNOWN;
}

/* What it will send is what this side expects. */
static bool tz_shake_expected(const struct tz_qp *qp, const struct tz_hello *in)
{
	return tz_le32_to_cpu(in->sq_psn) == qp->attr.rq_psn &&
	       tz_le32_to_cpu(in->next_tx_msn) == qp->rsp.expect_msn;
}

/* It expects what this side will send. */
static bool tz_shake_expects(const struct tz_qp *qp, const struct tz_hello *in)
{
	return tz_le32_to_cpu(in->rq_psn) == qp->attr.sq_psn &&
	       tz_le32_to_cpu(in->next_rx_msn) == qp->req.next_msn;
}

void tz_shake_wrong(struct tz_qp *qp, u64 now)
{
	if (qp->shake.wrong < TZ_SHAKE_TRIES)
		qp->shake.wrong++;
	if (qp->shake.wrong == TZ_SHAKE_TRIES)
		qp->shake.compare_at = now + TZ_SHAKE_DELAY_NS;
}

/* The PSN was compared, and was @right or not. */
static enum tz_hello_status tz_shake_found(struct tz_qp *qp, bool right,
					   const struct tz_hello *in, u64 now,
					   u32 *max_pdu)
{
	if (!right) {
		tz_shake_wrong(qp, now);
		return TZ_HELLO_REFUSED;
	}
	*max_pdu = tz_min(qp->init.max_pdu, tz_le32_to_cpu(in->max_pdu));
	return TZ_HELLO_OK;
}

enum tz_hello_status tz_shake_judge_call(struct tz_qp *qp,
					 const struct tz_hello *in, u64 now,
					 u32 *max_pdu)
{
	bool right;

	if (!tz_shake_names_match(qp, in) || now < qp->shake.compare_at)
		return TZ_HELLO_REFUSED;
	if (tz_shake_tells(in))
		right = tz_shake_expected(qp, in);
	else if (tz_shake_knows(qp))
		right = tz_shake_expects(qp, in);
	else
		return TZ_HELLO_REFUSED;
	return tz_shake_found(qp, right, in, now, max_pdu);
}

enum tz_hello_status tz_shake_judge_answer(struct tz_qp *qp,
					   const struct tz_hello *in, u64 now,
					   u32 *max_pdu)
{
	bool right = true;

	if (!tz_shake_names_match(qp, in) || now < qp->shake.compare_at)
		return TZ_HELLO_REFUSED;
	if (tz_shake_tells(in))
		right = tz_shake_expected(qp, in);
	else if (!qp->shake.told)
		return TZ_HELLO_REFUSED;
	return tz_shake_found(qp, right, in, now, max_pdu);
}
