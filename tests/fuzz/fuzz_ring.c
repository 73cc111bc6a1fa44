// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * fuzz_ring.c - an application that writes what it likes into its send ring,
 * its receive ring and their indices. The input is a list of records: a byte
 * that says which ring and how far the index moves, a byte that says how many
 * bytes follow (times 8), and these bytes, which go into the next slot. The
 * peer is an honest QP that must not be troubled.
 */
#include "fuzz.h"

struct ring {
	struct fuzz f;
	struct fuzz_peer peer;
	u32 cqes;		/* in the current call */
};

static u32 peer_recvs;

static void peer_cqe(struct bed_qp *q, const struct tcpzc_cqe *cqe, bool recv)
{
	BED_CHECK(recv, "the peer has sent nothing");
	BED_CHECK(cqe->wr_id == peer_recvs, "receive %llu instead of %u",
		  (unsigned long long)cqe->wr_id, peer_recvs);
	peer_recvs++;
}

static const struct bed_hooks peer_hooks = { .cqe = peer_cqe };

/* Another thread of the application: full again, one back, anywhere. */
static void chase(struct ring *r)
{
	struct fuzz *f = &r->f;
	struct tz_ring *ring = &f->q.qp.init.sq;

	if (rng_chance(&f->rng, 1, 2))
		ring = f->q.srq ? &f->srq.rq.ring : &f->q.qp.init.rq;
	switch (rng_below(&f->rng, 4)) {
	case 0:
		ring->hdr->prod--;
		break;
	case 1:
		ring->hdr->prod += rng_below(&f->rng, 2 * ring->depth);
		break;
	default:
		ring->hdr->prod = ring->hdr->cons + ring->depth;
		break;
	}
}

/* Completions say what the application wrote; only their number is bounded. */
static void victim_cqe(struct bed_qp *q, const struct tcpzc_cqe *cqe, bool recv)
{
	struct ring *r = (struct ring *)((u8 *)q - offsetof(struct ring, f.q));

	BED_CHECK(cqe->qp_num == FUZZ_QPN, "qp_num %x", cqe->qp_num);
	r->cqes++;
	BED_CHECK(r->cqes <= 4 * 64, "%u completions in one call", r->cqes);
	if (r->f.flags & FUZZ_F_CHASE)
		chase(r);
}

static const struct bed_hooks *victim_hooks(const struct bed_hooks *from)
{
	static struct bed_hooks hooks;

	hooks = *from;
	hooks.cqe = victim_cqe;
	return &hooks;
}

static void ring_open(struct ring *r, const struct fuzz_head *h)
{
	struct bed_link l;
	u32 i;

	fuzz_open(&r->f, h);
	r->f.bed.hooks = victim_hooks(r->f.bed.hooks);
	fuzz_peer_open(&r->peer, &r->f, &peer_hooks);
	peer_recvs = 0;
	bed_link_defaults(&l);
	l.psn[0] = FUZZ_SQ_PSN;
	l.psn[1] = FUZZ_RQ_PSN;
	l.max_pdu = r->f.q.qp.init.max_pdu;
	l.rnr_retry = 3;
	l.min_rnr_timer = 1;
	bed_connect(&r->f.q, &r->peer.q, &l, r->f.now);
	for (i = 0; i < 8; i++) {
		struct tcpzc_sge sge = { 0x10000 + i * 2048, 2048,
					 r->peer.bed.mr[0]->mr.key };

		bed_post_recv(&r->peer.q, i, &sge, 1);
	}
}

static void ring_close(struct ring *r)
{
	struct tz_qp_attr attr = { .state = TZ_RESET };
	struct fuzz *f = &r->f;
	u32 i;

	fuzz_peer_close(&r->peer, f->now);
	r->cqes = 0;
	attr.state = TZ_ERR;
	tz_qp_modify(&f->q.qp, &attr, TZ_QP_STATE, f->now);
	attr.state = TZ_RESET;
	tz_qp_modify(&f->q.qp, &attr, TZ_QP_STATE, f->now);
	bed_exit(&f->bed);
	bed_qp_exit(&f->q);
	if (f->flags & FUZZ_F_SRQ)
		bed_srq_exit(&f->srq);
	for (i = 0; i < FUZZ_MRS; i++)
		free(f->mem[i]);
}

/* One record; returns the bytes it took. */
static size_t scribble(struct ring *r, const u8 *data, size_t size)
{
	struct tz_qp *qp = &r->f.q.qp;
	bool recv = data[0] & 0x80;
	struct tz_ring *ring = recv ? r->f.q.srq ? &r->f.srq.rq.ring :
				      &qp->init.rq : &qp->init.sq;
	u32 len = data[1] * 8, move = data[0] & 0x7f;
	u8 *slot = ring->slots + (size_t)(ring->hdr->prod & (ring->depth - 1)) *
		   ring->stride;

	if (len > size - 2)
		len = size - 2;
	memcpy(slot, data + 2, len < ring->stride ? len : ring->stride);
	if (move < 0x60)
		ring->hdr->prod += move & 3;
	else if (move < 0x70)
		ring->hdr->prod -= (move & 15) + 1;
	else
		ring->hdr->prod += 1u << 2 * (move & 15);
	return 2 + len;
}

static void progress(struct ring *r)
{
	struct fuzz *f = &r->f;
	static u8 buf[4096];
	u32 i, n;

	r->cqes = 0;
	tz_qp_kick(&f->q.qp, f->now);
	for (i = 0; i < 64; i++) {
		r->cqes = 0;
		n = bed_tx(&f->q, buf, sizeof(buf), f->now);
		bed_rx(&r->peer.q, buf, n, f->now);
		if (!n)
			n = bed_tx(&r->peer.q, buf, sizeof(buf), f->now);
		else
			continue;
		bed_rx(&f->q, buf, n, f->now);
		if (!n)
			break;
	}
	r->cqes = 0;
	f->now += rng_below(&f->rng, 40000);
	tz_qp_timer(&f->q.qp, f->now);
	tz_qp_timer(&r->peer.q.qp, f->now);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	struct fuzz_head head;
	static struct ring r;
	size_t at = sizeof(head);

	if (size < sizeof(head) || size > 1 << 16)
		return 0;
	memcpy(&head, data, sizeof(head));
	head.flags &= ~FUZZ_F_UC;	/* the peer is RC */
	ring_open(&r, &head);
	while (at + 2 <= size) {
		at += scribble(&r, data + at, size - at);
		if (!(head.flags & FUZZ_F_CALM) && rng_chance(&r.f.rng, 1, 16) &&
		    r.f.mr[FUZZ_MR_MORTAL]) {
			bed_dereg(r.f.mr[FUZZ_MR_MORTAL]);
			r.f.mr[FUZZ_MR_MORTAL] = NULL;
		}
		progress(&r);
	}
	ring_close(&r);
	return 0;
}
