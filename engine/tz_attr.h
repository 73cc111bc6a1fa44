/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * tz_attr.h - the attributes of modify_qp and query_qp, and the shape of rings:
 * the same for ib_core's users and for those of libibverbs, whose structures have
 * the same names and values in them.
 */
#ifndef TZ_ATTR_H
#define TZ_ATTR_H

#include "tz_qp.h"

#define TZ_PORT_NUM		1u		/* a device has one port */
#define TZ_MAX_24BIT		0xffffffu	/* QPNs, PSNs */

enum tz_attr_verdict {
	TZ_ATTR_OK,
	TZ_ATTR_INVALID,	/* EINVAL */
	TZ_ATTR_UNSUPPORTED	/* EOPNOTSUPP */
};

/*
 * Can what @mask names be set at all, whatever the state? But for the address
 * vector, which the backend looks up.
 */
enum tz_attr_verdict tz_attr_check(const struct tz_qp_attr *attr, u32 mask);

/* May @qp, in state @from, be modified so (tz_state_modify_ok())? */
bool tz_attr_fits(const struct tz_qp *qp, enum tz_state from,
		  const struct tz_qp_attr *attr, u32 mask);

/* Copy what @mask names; what it does not name may be anything. */
void tz_attr_merge(struct tz_qp_attr *to, const struct tz_qp_attr *from, u32 mask);

/* As they are now: those that were set, the state, and the next PSNs. */
void tz_attr_query(const struct tz_qp *qp, struct tz_qp_attr *out);

/*
 * To and from a struct ib_qp_attr or ibv_qp_attr, all but the address vector.
 * Programs pass random numbers as PSNs and expect the device to cut them.
 */
#define tz_attr_from(to, ib)						\
	do {								\
		struct tz_qp_attr *to_ = (to);				\
									\
		memset(to_, 0, sizeof(*to_));				\
		to_->state = (enum tz_state)(ib)->qp_state;		\
		to_->cur_state = (enum tz_state)(ib)->cur_qp_state;	\
		to_->access = (ib)->qp_access_flags;			\
		to_->dest_qpn = (ib)->dest_qp_num;			\
		to_->qkey = (ib)->qkey;					\
		to_->sq_psn = (ib)->sq_psn & TZ_MAX_24BIT;		\
		to_->rq_psn = (ib)->rq_psn & TZ_MAX_24BIT;		\
		to_->path_mtu = (ib)->path_mtu;				\
		to_->path_mig_state = (ib)->path_mig_state;		\
		to_->pkey_index = (ib)->pkey_index;			\
		to_->port_num = (ib)->port_num;				\
		to_->timeout = (ib)->timeout;				\
		to_->retry_cnt = (ib)->retry_cnt;			\
		to_->rnr_retry = (ib)->rnr_retry;			\
		to_->min_rnr_timer = (ib)->min_rnr_timer;		\
		to_->max_rd_atomic = (ib)->max_rd_atomic;		\
		to_->max_dest_rd_atomic = (ib)->max_dest_rd_atomic;	\
		to_->sqd_notify = (ib)->en_sqd_async_notify;		\
	} while (0)

#define tz_attr_to(ib, from)						\
	do {								\
		const struct tz_qp_attr *from_ = (from);		\
									\
		(ib)->qp_state = (__typeof__((ib)->qp_state))from_->state; \
		(ib)->cur_qp_state = (ib)->qp_state;			\
		(ib)->qp_access_flags = from_->access;			\
		(ib)->dest_qp_num = from_->dest_qpn;			\
		(ib)->qkey = from_->qkey;				\
		(ib)->sq_psn = from_->sq_psn;				\
		(ib)->rq_psn = from_->rq_psn;				\
		(ib)->path_mtu = (__typeof__((ib)->path_mtu))from_->path_mtu; \
		(ib)->path_mig_state = 0;	/* migrated */		\
		(ib)->pkey_index = from_->pkey_index;			\
		(ib)->port_num = from_->port_num;			\
		(ib)->timeout = from_->timeout;				\
		(ib)->retry_cnt = from_->retry_cnt;			\
		(ib)->rnr_retry = from_->rnr_retry;			\
		(ib)->min_rnr_timer = from_->min_rnr_timer;		\
		(ib)->max_rd_atomic = from_->max_rd_atomic;		\
		(ib)->max_dest_rd_atomic = from_->max_dest_rd_atomic;	\
		(ib)->sq_draining = from_->sq_draining;			\
	} while (0)

/* ---- rings -------------------------------------------------------------- */

/* Bytes of a slot of a send queue, of a receive queue. */
u32 tz_sq_stride(u32 max_sge, u32 max_inline);
u32 tz_rq_stride(u32 max_sge);

/* How deep a queue for @wr work requests is: a power of two. @wr is below 2^31. */
u32 tz_ring_depth(u32 wr);

#endif /* TZ_ATTR_H */
