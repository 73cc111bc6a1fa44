// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * tz_attr.c - see tz_attr.h. What is refused here is refused by adapters, too
 * (IB specification, volume 1, 11.2.5.2); flags that adapters ignore are ignored.
 */
#include "tz_attr.h"

#define TZ_QP_ATTRS \
	(TZ_QP_STATE | TZ_QP_CUR_STATE | TZ_QP_EN_SQD_ASYNC_NOTIFY | \
	 TZ_QP_ACCESS_FLAGS | TZ_QP_PKEY_INDEX | TZ_QP_PORT | TZ_QP_AV | \
	 TZ_QP_PATH_MTU | TZ_QP_TIMEOUT | TZ_QP_RETRY_CNT | TZ_QP_RNR_RETRY | \
	 TZ_QP_RQ_PSN | TZ_QP_MAX_QP_RD_ATOMIC | TZ_QP_MIN_RNR_TIMER | \
	 TZ_QP_SQ_PSN | TZ_QP_MAX_DEST_RD_ATOMIC | TZ_QP_PATH_MIG_STATE | \
	 TZ_QP_DEST_QPN | TZ_QP_QKEY)

/* Alternate paths and rate limits: TCP's business, or nobody's. */
#define TZ_QP_UNSUPPORTED	(TZ_QP_ALT_PATH | TZ_QP_CAP | TZ_QP_RATE_LIMIT)

/* Those of enum ibv_access_flags that say something about a queue pair. */
#define TZ_ATTR_ACCESS \
	(TZ_ACCESS_LOCAL_WRITE | TZ_ACCESS_REMOTE_WRITE | \
	 TZ_ACCESS_REMOTE_READ | TZ_ACCESS_REMOTE_ATOMIC | \
	 TZ_ACCESS_MW_BIND | TZ_ACCESS_FLUSH_GLOBAL | \
	 TZ_ACCESS_FLUSH_PERSISTENT | TZ_ACCESS_OPTIONAL)

#define TZ_MTU_256		1
#define TZ_MTU_4096		5
#define TZ_MAX_TIMEOUT		31	/* 5 bits */
#define TZ_MAX_RETRY		7	/* 3 bits */

/* ---- checks ------------------------------------------------------------- */

static bool tz_attr_states_ok(const struct tz_qp_attr *attr, u32 mask)
{
	if ((mask & TZ_QP_STATE) &&
	    (attr->state >= TZ_STATES || attr->state == TZ_SQE))
		return false;
	return !(mask & TZ_QP_CUR_STATE) || attr->cur_state < TZ_STATES;
}

static bool tz_attr_path_ok(const struct tz_qp_attr *attr, u32 mask)
{
	if ((mask & TZ_QP_PKEY_INDEX) && attr->pkey_index)
		return false;
	if ((mask & TZ_QP_PORT) && attr->port_num != TZ_PORT_NUM)
		return false;
	if ((mask & TZ_QP_PATH_MTU) && (attr->path_mtu < TZ_MTU_256 ||
					attr->path_mtu > TZ_MTU_4096))
		return false;
	if ((mask & TZ_QP_PATH_MIG_STATE) && attr->path_mig_state)
		return false;
	return !(mask & TZ_QP_DEST_QPN) || attr->dest_qpn <= TZ_MAX_24BIT;
}

static bool tz_attr_timing_ok(const struct tz_qp_attr *attr, u32 mask)
{
	if ((mask & TZ_QP_TIMEOUT) && attr->timeout > TZ_MAX_TIMEOUT)
		return false;
	if ((mask & TZ_QP_RETRY_CNT) && attr->retry_cnt > TZ_MAX_RETRY)
		return false;
	if ((mask & TZ_QP_RNR_RETRY) && attr->rnr_retry > TZ_MAX_RETRY)
		return false;
	return !(mask & TZ_QP_MIN_RNR_TIMER) ||
	       attr->min_rnr_timer <= TZ_MAX_TIMEOUT;
}

static bool tz_attr_rights_ok(const struct tz_qp_attr *attr, u32 mask)
{
	if ((mask & TZ_QP_ACCESS_FLAGS) && (attr->access & ~TZ_ATTR_ACCESS))
		return false;
	if ((mask & TZ_QP_MAX_QP_RD_ATOMIC) &&
	    attr->max_rd_atomic > TCPZC_MAX_RD_ATOMIC)
		return false;
	return !(mask & TZ_QP_MAX_DEST_RD_ATOMIC) ||
	       attr->max_dest_rd_atomic <= TCPZC_MAX_RD_ATOMIC;
}

enum tz_attr_verdict tz_attr_check(const struct tz_qp_attr *attr, u32 mask)
{
	if (mask & TZ_QP_UNSUPPORTED)
		return TZ_ATTR_UNSUPPORTED;
	if (mask & ~TZ_QP_ATTRS)
		return TZ_ATTR_INVALID;
	return tz_attr_states_ok(attr, mask) && tz_attr_path_ok(attr, mask) &&
	       tz_attr_timing_ok(attr, mask) && tz_attr_rights_ok(attr, mask) ?
		       TZ_ATTR_OK : TZ_ATTR_INVALID;
}

bool tz_attr_fits(const struct tz_qp *qp, enum tz_state from,
		  const struct tz_qp_attr *attr, u32 mask)
{
	if ((mask & TZ_QP_CUR_STATE) && attr->cur_state != from)
		return false;
	return tz_state_modify_ok(qp->init.type, from,
				  mask & TZ_QP_STATE ? attr->state : from, mask);
}

/* ---- keeping ------------------------------------------------------------ */

void tz_attr_merge(struct tz_qp_attr *to, const struct tz_qp_attr *from, u32 mask)
{
	if (mask & TZ_QP_ACCESS_FLAGS)
		to->access = from->access;
	if (mask & TZ_QP_PKEY_INDEX)
		to->pkey_index = from->pkey_index;
	if (mask & TZ_QP_PORT)
		to->port_num = from->port_num;
	if (mask & TZ_QP_AV) {
		memcpy(to->sgid, from->sgid, sizeof(to->sgid));
		memcpy(to->dgid, from->dgid, sizeof(to->dgid));
	}
	if (mask & TZ_QP_PATH_MTU)
		to->path_mtu = from->path_mtu;
	if (mask & TZ_QP_DEST_QPN)
		to->dest_qpn = from->dest_qpn;
	if (mask & TZ_QP_QKEY)
		to->qkey = from->qkey;
	if (mask & TZ_QP_RQ_PSN)
		to->rq_psn = from->rq_psn;
	if (mask & TZ_QP_SQ_PSN)
		to->sq_psn = from->sq_psn;
	if (mask & TZ_QP_TIMEOUT)
		to->timeout = from->timeout;
	if (mask & TZ_QP_RETRY_CNT)
		to->retry_cnt = from->retry_cnt;
	if (mask & TZ_QP_RNR_RETRY)
		to->rnr_retry = from->rnr_retry;
	if (mask & TZ_QP_MIN_RNR_TIMER)
		to->min_rnr_timer = from->min_rnr_timer;
	if (mask & TZ_QP_MAX_QP_RD_ATOMIC)
		to->max_rd_atomic = from->max_rd_atomic;
	if (mask & TZ_QP_MAX_DEST_RD_ATOMIC)
		to->max_dest_rd_atomic = from->max_dest_rd_atomic;
}

void tz_attr_query(const struct tz_qp *qp, struct tz_qp_attr *out)
{
	*out = qp->attr;
	out->state = qp->state;
	out->cur_state = qp->state;
	out->rq_psn = qp->rsp.expect_msn & TZ_MAX_24BIT;
	out->sq_psn = qp->req.next_msn & TZ_MAX_24BIT;
	out->sq_draining = qp->state == TZ_SQD && tz_qp_outstanding(qp);
}

/* ---- rings -------------------------------------------------------------- */

static u32 tz_slot_bytes(u32 bytes)
{
	return (bytes + 63) & ~63u;
}

u32 tz_sq_stride(u32 max_sge, u32 max_inline)
{
	u32 sges = max_sge * (u32)sizeof(struct tcpzc_sge);

	return tz_slot_bytes(sizeof(struct tcpzc_send_wqe) +
			     (sges > max_inline ? sges : max_inline));
}

u32 tz_rq_stride(u32 max_sge)
{
	return tz_slot_bytes(sizeof(struct tcpzc_recv_wqe) +
			     max_sge * (u32)sizeof(struct tcpzc_sge));
}

u32 tz_ring_depth(u32 wr)
{
	u32 depth = 1;

	while (depth < wr)
		depth <<= 1;
	return depth;
}
