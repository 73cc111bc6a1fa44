/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * fuzz.h - what the fuzz targets share: a victim with a fixed number, fixed
 * keys and fixed memory, so that inputs mean the same in every build.
 *
 * An input of fuzz_rx and fuzz_ring starts with struct fuzz_head; what follows
 * is the stream that the peer sends, or what the application writes into its
 * ring. Where it is cut, and what happens in between (timers, work requests,
 * regions that go away), comes from @seed.
 */
#ifndef FUZZ_FUZZ_H
#define FUZZ_FUZZ_H

#include "bed.h"
#include "rng.h"
#include "victim.h"

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

#define FUZZ_NOW	1000000000ull

struct fuzz {
	struct bed bed;
	u8 *mem[FUZZ_MRS];
	struct bed_mr *mr[FUZZ_MRS];
	struct bed_srq srq;
	struct bed_qp q;
	struct rng rng;
	u64 now;
	u32 flags;
	u32 next_send, next_recv;	/* work request ids */
	u32 done_send, done_recv;	/* completed in order up to here */
};

/* An honest peer: one region like the victim's first, with the same key. */
struct fuzz_peer {
	struct bed bed;
	u8 *mem;
	struct bed_qp q;
};

void fuzz_peer_open(struct fuzz_peer *p, const struct fuzz *f,
		    const struct bed_hooks *hooks);
void fuzz_peer_close(struct fuzz_peer *p, u64 now);

void fuzz_regions(struct fuzz *f);
void fuzz_open(struct fuzz *f, const struct fuzz_head *h);
/* To ERR and RESET; checks that everything was reported and given back. */
void fuzz_close(struct fuzz *f);
void fuzz_check_memory(const struct fuzz *f);
/* The victim of fuzz_rx: connected, receives posted, requests sent. */
void fuzz_rx_start(struct fuzz *f);

u64 fuzz_addr(const struct fuzz *f, enum fuzz_region r, u64 off);
void fuzz_post(struct fuzz *f, u8 opcode, u32 len, enum fuzz_region local,
	       u64 off);
void fuzz_post_recv(struct fuzz *f, u32 len);
void fuzz_misfortune(struct fuzz *f);
u32 fuzz_key(const struct fuzz *f, enum fuzz_region r);

#endif /* FUZZ_FUZZ_H */
