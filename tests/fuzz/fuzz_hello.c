// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * fuzz_hello.c - hand-shakes: the first byte picks the state of the QP, then
 * comes a hello, whole or not.
 */
#include "fuzz.h"

static const u8 gid_us[16] = { [10] = 0xff, [11] = 0xff, 10, 0, 0, 1 };
static const u8 gid_peer[16] = { [10] = 0xff, [11] = 0xff, 10, 0, 0, 2 };

static void to_state(struct tz_qp *qp, enum tz_state state)
{
	struct tz_qp_attr a = {
		.dest_qpn = FUZZ_PEER_QPN,
		.sq_psn = FUZZ_SQ_PSN,
		.rq_psn = FUZZ_RQ_PSN,
		.timeout = 14,
	};

	memcpy(a.sgid, gid_us, 16);
	memcpy(a.dgid, gid_peer, 16);
	a.state = TZ_INIT;
	tz_qp_modify(qp, &a, TZ_QP_STATE, FUZZ_NOW);
	a.state = TZ_RTR;
	tz_qp_modify(qp, &a, TZ_QP_STATE | TZ_QP_AV | TZ_QP_DEST_QPN |
			     TZ_QP_RQ_PSN, FUZZ_NOW);
	if (state == TZ_RTR)
		return;
	a.state = TZ_RTS;
	tz_qp_modify(qp, &a, TZ_QP_STATE | TZ_QP_SQ_PSN | TZ_QP_TIMEOUT, FUZZ_NOW);
	if (state == TZ_RTS)
		return;
	a.state = TZ_SQD;
	tz_qp_modify(qp, &a, TZ_QP_STATE, FUZZ_NOW);
}

/* What was accepted is right in every field that matters. */
static void check_accepted(const struct tz_qp *qp, const struct tz_hello *h,
			   u32 max_pdu)
{
	BED_CHECK(tz_le32_to_cpu(h->magic) == TZ_HELLO_MAGIC &&
		  tz_le16_to_cpu(h->version) == TZ_PROTO_VERSION &&
		  tz_le16_to_cpu(h->qp_type) == qp->init.type, "not a hello");
	BED_CHECK(tz_le32_to_cpu(h->src_qpn) == FUZZ_PEER_QPN &&
		  tz_le32_to_cpu(h->dst_qpn) == FUZZ_QPN, "wrong QPN");
	BED_CHECK(!memcmp(h->src_gid, gid_peer, 16) &&
		  !memcmp(h->dst_gid, gid_us, 16), "wrong GID");
	BED_CHECK(tz_le32_to_cpu(h->sq_psn) == FUZZ_RQ_PSN ||
		  (tz_le32_to_cpu(h->sq_psn) == TZ_PSN_UNKNOWN &&
		   qp->state != TZ_RTR &&
		   tz_le32_to_cpu(h->rq_psn) == FUZZ_SQ_PSN), "no PSN compared");
	BED_CHECK(max_pdu >= TZ_MIN_PDU_BYTES && max_pdu <= TZ_MAX_PDU_BYTES &&
		  max_pdu <= tz_le32_to_cpu(h->max_pdu) &&
		  max_pdu <= qp->init.max_pdu, "max_pdu %u", max_pdu);
}

/* Whatever came, the refusal is a hello that says so. */
static void check_refusal(const struct tz_hello *in)
{
	u32 st;

	for (st = 1; st <= TZ_HELLO_MALFORMED; st++) {
		u32 said = st == TZ_HELLO_BAD_VERSION ? st : TZ_HELLO_REFUSED;
		struct tz_hello out;

		memset(&out, 0xa5, sizeof(out));
		tz_shake_refuse(in, st, &out);
		BED_CHECK(tz_shake_check(&out) == TZ_HELLO_OK &&
			  tz_le16_to_cpu(out.status) == said, "bad refusal");
		BED_CHECK(out.src_qpn == in->dst_qpn && out.dst_qpn == in->src_qpn &&
			  out.session_id == in->session_id, "refusal of another");
	}
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	static const enum tz_state states[] = { TZ_RTR, TZ_RTS, TZ_SQD };
	struct fuzz_head head = { 0 };
	enum tz_hello_status st;
	struct tz_hello h = { 0 };
	struct fuzz f;
	u32 max_pdu = 0;

	if (!size)
		return 0;
	fuzz_open(&f, &head);
	to_state(&f.q.qp, states[data[0] % 3]);
	memcpy(&h, data + 1, size - 1 < sizeof(h) ? size - 1 : sizeof(h));
	st = tz_shake_check(&h);
	BED_CHECK(st <= TZ_HELLO_MALFORMED, "status %u", st);
	check_refusal(&h);
	if (st == TZ_HELLO_OK && !tz_le16_to_cpu(h.status)) {
		st = tz_shake_judge_call(&f.q.qp, &h, f.now, &max_pdu);
		BED_CHECK(st < TZ_HELLO_STATUSES, "status %u", st);
		if (st == TZ_HELLO_OK) {
			check_accepted(&f.q.qp, &h, max_pdu);
			tz_qp_connected(&f.q.qp, max_pdu, f.now);
			if (size > 1 + sizeof(h))
				bed_rx(&f.q, data + 1 + sizeof(h),
				       size - 1 - sizeof(h), f.now);
		}
	}
	fuzz_close(&f);
	return 0;
}
