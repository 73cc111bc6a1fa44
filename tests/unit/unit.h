/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * unit.h - what the engine's unit tests share: a QP under test (the victim)
 * whose peer is the test itself, which writes and reads PDUs byte by byte, and
 * a pair of QPs for what needs two.
 */
#ifndef UNIT_UNIT_H
#define UNIT_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "bed.h"
#include "tz_engine.h"

#define US		1000ull
#define MS		1000000ull
#define SEC		1000000000ull

#define UNIT_PD		5u
#define UNIT_QPN	0x111111u
#define UNIT_PEER	0x222222u
#define UNIT_MEM	65536u
#define UNIT_IOVA	0x10000000ull
#define UNIT_SQ_PSN	0x000700u
#define UNIT_RQ_PSN	0x000900u

#define UNIT_ALL	(TZ_ACCESS_LOCAL_WRITE | TZ_ACCESS_REMOTE_WRITE | \
			 TZ_ACCESS_REMOTE_READ | TZ_ACCESS_REMOTE_ATOMIC)

/* The victim, its memory (pattern: low byte of the offset), and the time. */
struct unit {
	struct bed bed;
	struct bed_qp q;
	struct bed_srq srq;
	u8 mem[UNIT_MEM];
	struct bed_mr *mr;
	struct bed_link link;
	struct bed_qp_opts opts;
	u64 now;
	u32 seen;		/* completions looked at */
	/* what the victim has sent and the test has not read yet */
	u8 out[1 << 18];
	u32 out_len;
};

/* Defaults for opts and link; change them before unit_start(). */
struct unit *unit_new(void);
void unit_start(struct unit *u);		/* to RTS, connected */
void unit_init_qp(struct unit *u);		/* in RESET, not connected */
void unit_free(struct unit *u);			/* checks references */

u64 unit_addr(const struct unit *u, u32 off);
struct tcpzc_sge unit_sge(const struct unit *u, u32 off, u32 len);

/* ---- the application ---------------------------------------------------- */

/* One entry at @off; wr_id as given; remote_addr and rkey of the victim's own. */
void unit_wr(struct unit *u, struct bed_swr *wr, u64 wr_id, u8 opcode, u32 off,
	     u32 len);
void unit_post(struct unit *u, u64 wr_id, u8 opcode, u32 off, u32 len);
void unit_post_flags(struct unit *u, u64 wr_id, u8 opcode, u32 off, u32 len,
		     u8 flags);
void unit_post_wr(struct unit *u, const struct bed_swr *wr);
void unit_recv(struct unit *u, u64 wr_id, u32 off, u32 len);

u32 unit_cqes(const struct unit *u);
/* The next completion that was not looked at yet. */
void unit_expect(struct unit *u, bool recv, u64 wr_id, u8 status);
struct tcpzc_cqe unit_pop(struct unit *u);
void unit_no_cqe(struct unit *u);
u32 unit_event(struct unit *u, enum tz_event e);	/* count, then 0 */

/* ---- the peer ----------------------------------------------------------- */

/* The common header as an honest peer writes it; ack: nothing executed. */
void unit_hdr(struct unit *u, struct tz_hdr *h, u8 op, u8 flags, u32 len, u32 msn);
void unit_feed(struct unit *u, const void *bytes, u32 len);
void unit_send_pdu(struct unit *u, u32 msn, u32 total, u32 off, u32 len, u8 flags);
void unit_write_pdu(struct unit *u, u32 msn, u64 addr, u32 rkey, u32 total,
		    u32 off, u32 len, u8 flags);
void unit_read_req(struct unit *u, u32 msn, u64 addr, u32 rkey, u32 total);
void unit_atomic_req(struct unit *u, u32 msn, u64 addr, u32 rkey, u32 kind,
		     u64 compare_add, u64 swap);
void unit_read_resp(struct unit *u, u32 msn, u32 total, u32 off, u32 len);
void unit_atomic_resp(struct unit *u, u32 msn, u64 orig);
void unit_ack(struct unit *u, u32 ack_msn);
void unit_nak(struct unit *u, u32 msn, u32 code, u32 arg);

/* What the victim sends: the next PDU's header, its payload skipped; or none. */
bool unit_next(struct unit *u, union tz_any_hdr *h);
void unit_expect_pdu(struct unit *u, union tz_any_hdr *h, u8 op);
void unit_silent(struct unit *u);
/* The payload of the PDU that unit_next() returned last. */
extern u8 unit_payload[1 << 18];

static inline u32 get32(__le32 v)
{
	return tz_le32_to_cpu(v);
}

static inline __le32 put32(u32 v)
{
	return tz_cpu_to_le32(v);
}

void unit_tick(struct unit *u, u64 ns);		/* time passes, timers run */
void unit_modify(struct unit *u, enum tz_state to);

#endif /* UNIT_UNIT_H */
