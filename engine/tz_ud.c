// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * tz_ud.c - datagrams of unreliable datagram (UD) queue pairs.
 */
#include "tz_engine.h"
#include "tz_ud.h"

#define TZ_UDP_HDR_BYTES	8u
#define TZ_IPV4_HDR_BYTES	20u
#define TZ_IPPROTO_UDP		17u
#define TZ_DEFAULT_HOPS		64u

/* A key with this bit in a work request stands for the QP's (IB 10.2.5). */
#define TZ_QKEY_PRIVILEGED	(1u << 31)

/* ---- sending ------------------------------------------------------------ */

void tz_ud_make(struct tz_ud_hdr *hdr, u32 src_qpn, u32 dst_qpn, u32 qkey,
		u8 flags, __be32 imm, u32 len)
{
	memset(hdr, 0, sizeof(*hdr));
	hdr->magic = tz_cpu_to_le32(TZ_UD_MAGIC);
	hdr->version = TZ_UD_VERSION;
	hdr->flags = flags;
	hdr->pkey = tz_cpu_to_le16(TZ_UD_PKEY);
	hdr->src_qpn = tz_cpu_to_le32(src_qpn);
	hdr->dst_qpn = tz_cpu_to_le32(dst_qpn);
	hdr->qkey = tz_cpu_to_le32(qkey);
	hdr->imm = imm;
	hdr->len = tz_cpu_to_le32(len);
}

bool tz_ud_tx_pending(const struct tz_qp *qp)
{
	return qp->state == TZ_RTS && tz_qp_unsent(qp);
}

static void tz_ud_fill_hdr(struct tz_qp *qp, struct tz_ud_out *out)
{
	const struct tcpzc_send_wqe *w = &qp->req.wqe;
	u32 qkey = w->ud.qkey;
	__be32 imm = 0;
	u8 flags = 0;

	if (qkey & TZ_QKEY_PRIVILEGED)
		qkey = qp->attr.qkey;
	if (w->flags & TCPZC_WQE_F_SOLICITED)
		flags |= TZ_UD_F_SOLICITED;
	if (w->opcode == TCPZC_WQE_SEND_WITH_IMM) {
		flags |= TZ_UD_F_IMM;
		imm = tz_imm_to_wire(w->imm_data);
	}
	tz_ud_make(&out->hdr, qp->init.qpn, w->ud.dest_qpn, qkey, flags, imm,
		   out->bytes);
}

/* The ring's slot that the work request which was peeked at is in. */
static u8 *tz_ud_inline(struct tz_qp *qp)
{
	const struct tz_ring *sq = &qp->req.sq;

	return sq->slots +
	       (size_t)(qp->req.next & (sq->depth - 1)) * sq->stride +
	       sizeof(struct tcpzc_send_wqe);
}

static void tz_ud_fill_vec(struct tz_qp *qp, struct tz_ud_out *out)
{
	const struct tz_sgl *src = &qp->req.src;
	struct tz_vec *vec = out->vec;
	u32 i;

	memset(vec, 0, sizeof(*vec));
	vec->ptr = (u8 *)&out->hdr;
	vec->len = sizeof(out->hdr);
	out->n = 1;
	if (qp->req.wqe.flags & TCPZC_WQE_F_INLINE) {
		memset(++vec, 0, sizeof(*vec));
		vec->ptr = tz_ud_inline(qp);
		vec->len = out->bytes;
		out->n += out->bytes != 0;
		return;
	}
	for (i = 0; i < src->n; i++) {
		memset(++vec, 0, sizeof(*vec));
		vec->mr = src->seg[i].mr;
		vec->off = src->seg[i].off;
		vec->len = src->seg[i].len;
		out->n++;
	}
}

bool tz_ud_tx_next(struct tz_qp *qp, struct tz_ud_out *out)
{
	const struct tcpzc_ud_dest *to = &qp->req.wqe.ud;
	bool peeked;
	u64 total;

	tz_assert(tz_qp_is_ud(qp));
	peeked = tz_req_peek(qp, &total);
	tz_qp_settle(qp);
	if (!peeked)
		return false;
	memcpy(out->dgid, to->dgid, sizeof(out->dgid));
	out->dest_qpn = to->dest_qpn & 0xffffff;
	out->sgid_index = to->sgid_index;
	out->traffic_class = to->traffic_class;
	out->hop_limit = to->hop_limit;
	out->bytes = total;
	tz_ud_fill_hdr(qp, out);
	tz_ud_fill_vec(qp, out);
	return true;
}

void tz_ud_tx_done(struct tz_qp *qp, const struct tz_ud_out *out, bool sent)
{
	if (sent) {
		qp->stats.tx_msgs++;
		qp->stats.tx_bytes += out->bytes;
		qp->stats.tx_pdus++;
	} else {
		qp->stats.lost++;
	}
	tz_req_consume(qp, out->bytes);
	tz_req_note_drained(qp);
}

/* ---- receiving ---------------------------------------------------------- */

bool tz_ud_check(const void *dgram, u32 bytes, u32 *dst_qpn)
{
	struct tz_ud_hdr h;
	u32 len;

	if (bytes < sizeof(h))
		return false;
	memcpy(&h, dgram, sizeof(h));
	len = tz_le32_to_cpu(h.len);
	*dst_qpn = tz_le32_to_cpu(h.dst_qpn);
	return tz_le32_to_cpu(h.magic) == TZ_UD_MAGIC &&
	       h.version == TZ_UD_VERSION && !(h.flags & ~TZ_UD_F_ALL) &&
	       !h.reserved && tz_le16_to_cpu(h.pkey) == TZ_UD_PKEY &&
	       len <= TZ_UD_MAX_BYTES && bytes - sizeof(h) == len &&
	       *dst_qpn <= 0xffffff && tz_le32_to_cpu(h.src_qpn) <= 0xffffff;
}

/* @path is looked at if @status is 0. */
static void tz_ud_complete(struct tz_qp *qp, const struct tz_ud_hdr *h, u8 status,
			   const struct tz_ud_path *path)
{
	struct tcpzc_cqe cqe = {
		.wr_id = qp->rsp.rwqe.wr_id,
		.qp_num = qp->init.qpn,
		.src_qp = tz_le32_to_cpu(h->src_qpn),
		.status = status,
		.opcode = TCPZC_WC_RECV,
	};

	qp->rsp.have_rwqe = false;
	tz_sgl_reset(qp, &qp->rsp.dst);
	if (!status) {
		cqe.byte_len = TZ_GRH_BYTES + tz_le32_to_cpu(h->len);
		cqe.flags = TCPZC_CQE_F_GRH;
		if (tz_gid_is_v4(path->sgid))
			cqe.flags |= TCPZC_CQE_F_IPV4;
		if (h->flags & TZ_UD_F_SOLICITED)
			cqe.flags |= TCPZC_CQE_F_SOLICITED;
		if (h->flags & TZ_UD_F_IMM) {
			cqe.flags |= TCPZC_CQE_F_WITH_IMM;
			cqe.imm_data = tz_imm_from_wire(h->imm);
		}
	}
	qp->ops->complete_recv(qp, &cqe);
}

/* Where the message goes; false if it is not received. */
static bool tz_ud_aim(struct tz_qp *qp, const struct tz_ud_hdr *h)
{
	struct tz_rsp *rsp = &qp->rsp;
	u8 status = 0;
	u64 room = 0;

	if (!tz_rsp_take_rwqe(qp)) {
		if (rsp->rq.bad)
			tz_fail_ring(qp);
		qp->stats.rx_no_receive++;
		return false;
	}
	tz_sgl_reset(qp, &rsp->dst);
	if (rsp->rwqe.bad)
		status = TCPZC_WC_LOC_QP_OP_ERR;
	else if (!tz_rsp_resolve(qp, &room))
		status = TCPZC_WC_LOC_PROT_ERR;
	if (status) {
		tz_ud_complete(qp, h, status, NULL);
		tz_fail(qp, 0, false);
		return false;
	}
	if (TZ_GRH_BYTES + tz_le32_to_cpu(h->len) <= room)
		return true;
	/* Too long: dropped; the receive is the next one's (IB 9.8.3.1). */
	tz_sgl_reset(qp, &rsp->dst);
	return false;
}

static void tz_ud_take(struct tz_qp *qp, const void *dgram, const struct tz_ud_path *path)
{
	const u8 *data = (const u8 *)dgram + sizeof(struct tz_ud_hdr);
	u8 grh[TZ_GRH_BYTES];
	struct tz_ud_hdr h;
	u32 len;

	memcpy(&h, dgram, sizeof(h));
	len = tz_le32_to_cpu(h.len);
	if (qp->state < TZ_RTR || qp->state == TZ_ERR) {
		qp->stats.rx_dropped++;
		return;
	}
	if (tz_le32_to_cpu(h.qkey) != qp->attr.qkey) {
		qp->stats.rx_bad_key++;
		qp->stats.rx_dropped++;
		return;
	}
	if (!tz_ud_aim(qp, &h)) {
		qp->stats.rx_dropped++;
		return;
	}
	tz_ud_grh(path, sizeof(h) + len, grh);
	if (!tz_sgl_write(qp, &qp->rsp.dst, grh, sizeof(grh)) ||
	    !tz_sgl_write(qp, &qp->rsp.dst, data, len)) {
		tz_ud_complete(qp, &h, TCPZC_WC_LOC_PROT_ERR, NULL);
		tz_fail(qp, 0, false);
		return;
	}
	qp->stats.rx_msgs++;
	qp->stats.rx_pdus++;
	qp->stats.rx_bytes += len;
	tz_ud_complete(qp, &h, 0, path);
}

void tz_ud_rx(struct tz_qp *qp, const void *dgram, const struct tz_ud_path *path)
{
	tz_ud_take(qp, dgram, path);
	tz_qp_settle(qp);
}

/* ---- the GRH ------------------------------------------------------------ */

static void tz_put_be16(u8 *p, u32 v)
{
	p[0] = v >> 8;
	p[1] = v;
}

/* The Internet checksum (RFC 1071) of an IPv4 header. */
static u32 tz_ipv4_sum(const u8 *hdr)
{
	u32 sum = 0, i;

	for (i = 0; i < TZ_IPV4_HDR_BYTES; i += 2)
		sum += (u32)hdr[i] << 8 | hdr[i + 1];
	sum = (sum & 0xffff) + (sum >> 16);
	sum += sum >> 16;
	return ~sum & 0xffff;
}

static void tz_ud_grh_v4(const struct tz_ud_path *path, u32 bytes, u8 *grh)
{
	u8 *ip = grh + TZ_GRH_BYTES - TZ_IPV4_HDR_BYTES;

	memset(grh, 0, TZ_GRH_BYTES);
	ip[0] = 0x45;
	ip[1] = path->traffic_class;
	tz_put_be16(ip + 2, TZ_IPV4_HDR_BYTES + bytes);
	ip[6] = 0x40;		/* do not fragment */
	ip[8] = path->hop_limit ? path->hop_limit : TZ_DEFAULT_HOPS;
	ip[9] = TZ_IPPROTO_UDP;
	memcpy(ip + 12, path->sgid + 12, 4);
	memcpy(ip + 16, path->dgid + 12, 4);
	tz_put_be16(ip + 10, tz_ipv4_sum(ip));
}

static void tz_ud_grh_v6(const struct tz_ud_path *path, u32 bytes, u8 *grh)
{
	memset(grh, 0, TZ_GRH_BYTES);
	grh[0] = 0x60 | path->traffic_class >> 4;
	grh[1] = path->traffic_class << 4;
	tz_put_be16(grh + 4, bytes);
	grh[6] = TZ_IPPROTO_UDP;
	grh[7] = path->hop_limit ? path->hop_limit : TZ_DEFAULT_HOPS;
	memcpy(grh + 8, path->sgid, 16);
	memcpy(grh + 24, path->dgid, 16);
}

void tz_ud_grh(const struct tz_ud_path *path, u32 payload, u8 grh[TZ_GRH_BYTES])
{
	if (tz_gid_is_v4(path->sgid))
		tz_ud_grh_v4(path, TZ_UDP_HDR_BYTES + payload, grh);
	else
		tz_ud_grh_v6(path, TZ_UDP_HDR_BYTES + payload, grh);
}
