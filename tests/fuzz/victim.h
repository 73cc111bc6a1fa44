/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * victim.h - the queue pair to which the inputs in corpus/ are addressed: its
 * numbers, keys and regions. tests/verbs/hostile_corpus.c says the same to a real one.
 */
#ifndef FUZZ_VICTIM_H
#define FUZZ_VICTIM_H

#include "tz_qp.h"

#define FUZZ_PD		3u
#define FUZZ_QPN	0x123456u	/* the victim */
#define FUZZ_PEER_QPN	0x654321u
#define FUZZ_SQ_PSN	0xfffff0u	/* of the victim */
#define FUZZ_RQ_PSN	0x000100u
#define FUZZ_MEM	16384u
#define FUZZ_SECRET	0x1122334455667788ull	/* of the keys, see bed_secret() */

/* Regions of the victim, by what they allow; FUZZ_MEM bytes each, registered in this order. */
enum fuzz_region {
	FUZZ_MR_ALL,		/* iova 0x10000 */
	FUZZ_MR_READ,		/* REMOTE_READ only, iova 0 */
	FUZZ_MR_LOCAL,		/* LOCAL_WRITE only: receives, answers */
	FUZZ_MR_TOP,		/* everything, ends at the end of all addresses */
	FUZZ_MR_FOREIGN,	/* of another protection domain */
	FUZZ_MR_MORTAL,		/* everything, may go away */
	FUZZ_MRS
};

#define FUZZ_ACCESS_ALL	(TZ_ACCESS_LOCAL_WRITE | TZ_ACCESS_REMOTE_WRITE | \
			 TZ_ACCESS_REMOTE_READ | TZ_ACCESS_REMOTE_ATOMIC)

static const struct fuzz_mr {
	u64 iova;
	u32 access, pdn;
} fuzz_mrs[FUZZ_MRS] = {
	[FUZZ_MR_ALL]	  = { 0x10000, FUZZ_ACCESS_ALL, FUZZ_PD },
	[FUZZ_MR_READ]	  = { 0, TZ_ACCESS_REMOTE_READ, FUZZ_PD },
	[FUZZ_MR_LOCAL]	  = { 0x7f0000000000, TZ_ACCESS_LOCAL_WRITE, FUZZ_PD },
	[FUZZ_MR_TOP]	  = { -(u64)FUZZ_MEM, FUZZ_ACCESS_ALL, FUZZ_PD },
	[FUZZ_MR_FOREIGN] = { 0x20000, FUZZ_ACCESS_ALL, FUZZ_PD + 1 },
	[FUZZ_MR_MORTAL]  = { 0x30000, FUZZ_ACCESS_ALL, FUZZ_PD },
};

/* What an input of fuzz_rx and fuzz_ring starts with. */
struct fuzz_head {
	u8 sizes;		/* picks buffers and PDUs */
	u8 flags;		/* FUZZ_F_* */
	u8 spare[2];
	u8 seed[4];
};

#define FUZZ_F_SRQ	(1u << 0)
#define FUZZ_F_QUIET	(1u << 1)	/* the victim asks for nothing itself */
#define FUZZ_F_WHOLE	(1u << 2)	/* the stream is not cut */
#define FUZZ_F_CALM	(1u << 3)	/* no misfortunes in between */
#define FUZZ_F_RTR	(1u << 4)	/* the victim stays in RTR */
#define FUZZ_F_CHASE	(1u << 5)	/* ring: an index moves during the calls, too */
#define FUZZ_F_UC	(1u << 6)	/* unreliable connection */

#endif /* FUZZ_VICTIM_H */
