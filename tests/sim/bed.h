/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * bed.h - the smallest backend an engine can have: regions over plain memory,
 * rings, and lists of what was completed. Unit tests, fuzz targets and the
 * simulator all stand on it; the simulator adds hooks that check each access.
 *
 * The bed itself checks on every call what must hold whatever the input is: no
 * access out of a region's bounds, none to a dead region, none to a freed one
 * (objects are malloc'ed one by one, so ASan sees it), references balanced.
 */
#ifndef SIM_BED_H
#define SIM_BED_H

#include <stdio.h>
#include <stdlib.h>

#include "tz_dial.h"
#include "tz_key.h"
#include "tz_qp.h"
#include "tz_ud.h"

#define BED_MAX_MR	64
#define BED_MAX_LOG	4096

/* A check that is never compiled out. */
#define BED_CHECK(cond, ...)						\
	do {								\
		if (tz_unlikely(!(cond)))				\
			bed_fail(__FILE__, __LINE__, #cond, __VA_ARGS__); \
	} while (0)

/* Called before a failed check aborts; the simulator prints its seed here. */
extern void (*bed_on_fail)(void);

__attribute__((noreturn, format(printf, 4, 5)))
void bed_fail(const char *file, int line, const char *cond, const char *fmt, ...);

struct bed;

struct bed_mr {
	struct tz_mr mr;	/* first */
	struct bed *bed;
	u8 *mem;		/* the region's first byte */
	u32 refs;		/* the engine's */
	u32 slot;
	u32 id;			/* counts the regions of a bed */
	bool registered;
};

struct bed_qp;

/* What the simulator wants to see before it happens; each may be NULL. */
struct bed_hooks {
	void (*write)(struct bed_mr *mr, u64 off, const void *src, u32 len);
	void (*read)(struct bed_mr *mr, u64 off, u32 len);
	void (*atomic)(struct bed_mr *mr, u64 off, enum tz_atomic_kind kind,
		       u64 compare_add, u64 swap, u64 old);
	void (*cqe)(struct bed_qp *q, const struct tcpzc_cqe *cqe, bool recv);
	void (*event)(struct bed_qp *q, enum tz_event event);
	void (*srq_taken)(struct bed_qp *q, const struct tz_rwqe *rwqe);
};

/* The memory of one host, and its regions. */
struct bed {
	struct tz_key_secret secret;
	const struct bed_hooks *hooks;
	struct bed_mr *mr[BED_MAX_MR];	/* registered ones */
	u32 generation[BED_MAX_MR];
	u32 next_id;
	u32 objects;		/* regions not freed yet, dying ones included */
	u32 refs;		/* all references held by engines */
};

/* Regions have the keys of this secret; their numbers count from 0. */
static inline struct tz_key_secret bed_secret(u64 secret)
{
	return (struct tz_key_secret){
		{ secret, ~secret * 0x9e3779b97f4a7c15ull }
	};
}

void bed_init(struct bed *bed, u64 secret);
/* Everything was given back? */
void bed_check_balance(const struct bed *bed);
void bed_exit(struct bed *bed);

struct bed_mr *bed_reg(struct bed *bed, void *mem, u64 len, u64 iova,
		       u32 access, u32 pdn);
/* Kills the region; the object goes with its last reference. */
void bed_dereg(struct bed_mr *mr);

/* A shared receive queue. */
struct bed_srq {
	struct tcpzc_ring_hdr *hdr;
	struct tz_rq rq;
};

/* What a bed_qp is made with; zero means the default. */
struct bed_qp_opts {
	u32 type;		/* TZ_QPT_*; RC */
	u32 qpn;
	u32 pdn;
	u32 rq_pdn;		/* of receives; 0: as pdn */
	u32 sq_depth;		/* 64 */
	u32 rq_depth;		/* 64; BED_NO_RQ: none */
	u32 sq_max_sge;		/* 4 */
	u32 rq_max_sge;		/* 4 */
	u32 max_inline;		/* 0 */
	u32 tx_buf_bytes;	/* 64 KiB */
	u32 rx_buf_bytes;	/* 64 KiB */
	u32 max_pdu;		/* 64 KiB */
	u32 copy_max;		/* 0 */
	u64 ack_delay_ns;
	u64 rnr_stall_ns;
	u64 min_retry_ns;
	bool sq_sig_all;
	struct bed_srq *srq;
};

#define BED_NO_RQ	0xffffffffu

struct bed_cqe {
	struct tcpzc_cqe cqe;
	bool recv;
};

struct bed_qp {
	struct tz_qp qp;	/* first */
	struct bed *bed;
	struct bed_srq *srq;
	struct tcpzc_ring_hdr *sq_hdr, *rq_hdr;
	u32 events[TZ_EVENTS];
	struct bed_cqe *log;	/* BED_MAX_LOG, if there is no cqe hook */
	u32 num_log;
	u32 num_cqes;
};

void bed_qp_init(struct bed_qp *q, struct bed *bed, const struct bed_qp_opts *o);
void bed_qp_exit(struct bed_qp *q);
void bed_srq_init(struct bed_srq *srq, u32 depth, u32 max_sge);
void bed_srq_exit(struct bed_srq *srq);

/* A send work request as an application writes it. */
struct bed_swr {
	struct tcpzc_send_wqe wqe;
	struct tcpzc_sge sge[TCPZC_MAX_SGE];
	u8 data[TCPZC_MAX_INLINE];
};

u32 bed_stride(u32 fixed, u32 max_sge, u32 max_inline);
/* False if the ring is full. Writes num_sge entries or inline_len bytes. */
bool bed_post_send(struct bed_qp *q, const struct bed_swr *wr);
bool bed_post_recv(struct bed_qp *q, u64 wr_id, const struct tcpzc_sge *sge,
		   u32 num_sge);
bool bed_post_srq(struct bed_srq *srq, u64 wr_id, const struct tcpzc_sge *sge,
		  u32 num_sge);

/* Copies what @vec names to or from @buf; checks the region as above. */
void bed_vec_read(const struct tz_vec *vec, u64 skip, u8 *buf, u32 len);
void bed_vec_write(const struct tz_vec *vec, u64 skip, const u8 *buf, u32 len);

/*
 * The next bytes that @q sends, at most @max, as the wire would see them. Asks
 * twice and checks that asking changed nothing.
 */
u32 bed_tx(struct bed_qp *q, u8 *buf, u32 max, u64 now);
/* Feeds @q; returns how much of @buf it took (less if it stalls or is dead). */
u32 bed_rx(struct bed_qp *q, const u8 *buf, u32 len, u64 now);
/* Both directions until nothing moves. Bytes that are refused are lost. */
void bed_pump(struct bed_qp *a, struct bed_qp *b, u64 now);

/* RESET to RTS with each other as the peer, and connected. */
struct bed_link {
	u32 psn[2];		/* of a, of b */
	u32 access;
	u8 timeout, retry_cnt, rnr_retry, min_rnr_timer;
	u8 max_rd_atomic, max_dest_rd_atomic;
	u32 max_pdu;
};

void bed_link_defaults(struct bed_link *l);
void bed_to_rts(struct bed_qp *q, u32 dest_qpn, u32 sq_psn, u32 rq_psn,
		const struct bed_link *l, u64 now);
void bed_connect(struct bed_qp *a, struct bed_qp *b, const struct bed_link *l,
		 u64 now);

/* ---- after every call --------------------------------------------------- */

/* What must hold between two calls of the engine holds. */
void bed_check_qp(const struct tz_qp *qp);

#define BED_THEN_CHECK(qp, call)					\
	({								\
		__typeof__(call) ret_ = (call);				\
									\
		bed_check_qp(qp);					\
		ret_;							\
	})

#define BED_CALL(qp, call)						\
	do {								\
		call;							\
		bed_check_qp(qp);					\
	} while (0)

#define tz_qp_init(qp, i)	BED_CALL(qp, (tz_qp_init)(qp, i))
#define tz_qp_modify(qp, a, mask, now) \
	BED_CALL(qp, (tz_qp_modify)(qp, a, mask, now))
#define tz_qp_connected(qp, max, now) \
	BED_CALL(qp, (tz_qp_connected)(qp, max, now))
#define tz_qp_disconnected(qp, now) \
	BED_CALL(qp, (tz_qp_disconnected)(qp, now))
#define tz_qp_kick(qp, now)	BED_CALL(qp, (tz_qp_kick)(qp, now))
#define tz_qp_timer(qp, now)	BED_CALL(qp, (tz_qp_timer)(qp, now))
#define tz_qp_ack_now(qp)	BED_CALL(qp, (tz_qp_ack_now)(qp))
#define tz_qp_rx_done(qp, bytes, now) \
	BED_CALL(qp, (tz_qp_rx_done)(qp, bytes, now))
#define tz_qp_tx_fill(qp, now)	BED_CALL(qp, (tz_qp_tx_fill)(qp, now))
#define tz_qp_tx_done(qp, bytes, now) \
	BED_CALL(qp, (tz_qp_tx_done)(qp, bytes, now))
#define tz_dial_opening(qp, now) \
	BED_CALL(qp, (tz_dial_opening)(qp, now))
#define tz_dial_hello(qp, id, out) \
	BED_CALL(qp, (tz_dial_hello)(qp, id, out))
#define tz_dial_take(qp, n, now) \
	BED_THEN_CHECK(qp, (tz_dial_take)(qp, n, now))
#define tz_dial_up(qp, now)	BED_THEN_CHECK(qp, (tz_dial_up)(qp, now))
#define tz_dial_parting(qp)	BED_CALL(qp, (tz_dial_parting)(qp))
#define tz_dial_part(qp)	BED_THEN_CHECK(qp, (tz_dial_part)(qp))
#define tz_dial_lost(qp, now)	BED_CALL(qp, (tz_dial_lost)(qp, now))
#define tz_dial_timer(qp, now)	BED_CALL(qp, (tz_dial_timer)(qp, now))
#define tz_dial_call(qp, c, answer, now) \
	BED_THEN_CHECK(qp, (tz_dial_call)(qp, c, answer, now))
#define tz_ud_tx_next(qp, out)	BED_THEN_CHECK(qp, (tz_ud_tx_next)(qp, out))
#define tz_ud_tx_done(qp, out, sent) \
	BED_CALL(qp, (tz_ud_tx_done)(qp, out, sent))
#define tz_ud_rx(qp, dgram, path) \
	BED_CALL(qp, (tz_ud_rx)(qp, dgram, path))

#endif /* SIM_BED_H */
