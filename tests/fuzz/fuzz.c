// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * fuzz.c - see fuzz.h.
 */
#include "fuzz.h"

static struct fuzz *fuzz_of(struct bed_qp *q)
{
	return (struct fuzz *)((u8 *)q - offsetof(struct fuzz, q));
}

/* Work request ids count: every completion is the next, unsignaled ones apart. */
static void fuzz_cqe(struct bed_qp *q, const struct tcpzc_cqe *cqe, bool recv)
{
	struct fuzz *f = fuzz_of(q);
	u32 *done = recv ? &f->done_recv : &f->done_send;
	u32 next = recv ? f->next_recv : f->next_send;

	if (q->qp.init.qpn != FUZZ_QPN)
		return;
	BED_CHECK(cqe->wr_id >= *done && cqe->wr_id < next,
		  "%s %llu completed, expected %u..%u", recv ? "receive" : "send",
		  (unsigned long long)cqe->wr_id, *done, next);
	BED_CHECK(!recv || cqe->wr_id == *done, "receive %u was left out", *done);
	*done = cqe->wr_id + 1;
}

static void fuzz_write(struct bed_mr *mr, u64 off, const void *src, u32 len)
{
	BED_CHECK(mr->mr.access & (TZ_ACCESS_LOCAL_WRITE | TZ_ACCESS_REMOTE_WRITE),
		  "write to region %u", mr->id);
	BED_CHECK(mr->mr.pdn == FUZZ_PD, "write to another PD");
}

static void fuzz_read(struct bed_mr *mr, u64 off, u32 len)
{
	BED_CHECK(mr->mr.pdn == FUZZ_PD, "read from another PD");
}

static void fuzz_atomic(struct bed_mr *mr, u64 off, enum tz_atomic_kind kind,
			u64 compare_add, u64 swap, u64 old)
{
	BED_CHECK(mr->mr.access & TZ_ACCESS_REMOTE_ATOMIC, "atomic on region %u",
		  mr->id);
	BED_CHECK(mr->mr.pdn == FUZZ_PD, "atomic in another PD");
}

static const struct bed_hooks fuzz_hooks = {
	.cqe	= fuzz_cqe,
	.write	= fuzz_write,
	.read	= fuzz_read,
	.atomic	= fuzz_atomic,
};

void fuzz_regions(struct fuzz *f)
{
	u32 i;

	bed_init(&f->bed, FUZZ_SECRET);
	f->bed.hooks = &fuzz_hooks;
	for (i = 0; i < FUZZ_MRS; i++) {
		f->mem[i] = malloc(FUZZ_MEM);
		BED_CHECK(f->mem[i], "out of memory");
		memset(f->mem[i], 0x11 * (i + 1), FUZZ_MEM);
		f->mr[i] = bed_reg(&f->bed, f->mem[i], FUZZ_MEM,
				   fuzz_mrs[i].iova, fuzz_mrs[i].access,
				   fuzz_mrs[i].pdn);
	}
}

u64 fuzz_addr(const struct fuzz *f, enum fuzz_region r, u64 off)
{
	return fuzz_mrs[r].iova + off;
}

u32 fuzz_key(const struct fuzz *f, enum fuzz_region r)
{
	/* the same while a region lives; a dead one's key leads nowhere */
	return f->mr[r] ? f->mr[r]->mr.key : 0xdead0000u + r;
}

void fuzz_open(struct fuzz *f, const struct fuzz_head *h)
{
	static const u32 rx[4] = { 65536, 64, 300, 4096 };
	static const u32 pdu[4] = { 65536, 4096, 100, 1000 };
	static const u32 copy[4] = { 0, 100, 4096, 65536 };
	struct bed_qp_opts o = {
		.type = h->flags & FUZZ_F_UC ? TZ_QPT_UC : TZ_QPT_RC,
		.qpn = FUZZ_QPN,
		.pdn = FUZZ_PD,
		.max_inline = 128,
		.tx_buf_bytes = 8192,
		.rx_buf_bytes = rx[h->sizes & 3],
		.max_pdu = pdu[h->sizes >> 2 & 3],
		.copy_max = copy[h->sizes >> 4 & 3],
		.ack_delay_ns = h->sizes & 0x40 ? 50000 : 0,
		.rnr_stall_ns = h->sizes & 0x80 ? 100000 : 0,
	};

	memset(f, 0, sizeof(*f));
	f->flags = h->flags;
	memcpy(&f->rng.s, h->seed, sizeof(h->seed));
	f->now = FUZZ_NOW;
	fuzz_regions(f);
	if (f->flags & FUZZ_F_SRQ) {
		bed_srq_init(&f->srq, 64, 4);
		o.srq = &f->srq;
	}
	bed_qp_init(&f->q, &f->bed, &o);
}

/* What nobody may write is as it was. */
void fuzz_check_memory(const struct fuzz *f)
{
	static const u32 untouched[] = { FUZZ_MR_READ, FUZZ_MR_FOREIGN };
	static u8 was[FUZZ_MEM];
	u32 i;

	for (i = 0; i < TZ_ARRAY_SIZE(untouched); i++) {
		memset(was, 0x11 * (untouched[i] + 1), sizeof(was));
		BED_CHECK(!memcmp(was, f->mem[untouched[i]], sizeof(was)),
			  "region %u was written", untouched[i]);
	}
}

void fuzz_close(struct fuzz *f)
{
	struct tz_qp_attr attr = { .state = TZ_ERR };
	u32 i;

	if (f->q.qp.state != TZ_ERR)
		tz_qp_modify(&f->q.qp, &attr, TZ_QP_STATE, f->now);
	if (f->q.qp.conn == TZ_CONN_UP)
		tz_qp_disconnected(&f->q.qp, f->now);
	tz_qp_kick(&f->q.qp, f->now);
	BED_CHECK((f->flags & FUZZ_F_SRQ) || f->done_recv == f->next_recv,
		  "%u of %u receives completed", f->done_recv, f->next_recv);
	BED_CHECK(!tz_qp_outstanding(&f->q.qp) && !tz_qp_unsent(&f->q.qp),
		  "sends are left");
	attr.state = TZ_RESET;
	tz_qp_modify(&f->q.qp, &attr, TZ_QP_STATE, f->now);
	fuzz_check_memory(f);
	bed_exit(&f->bed);
	bed_qp_exit(&f->q);
	if (f->flags & FUZZ_F_SRQ)
		bed_srq_exit(&f->srq);
	for (i = 0; i < FUZZ_MRS; i++)
		free(f->mem[i]);
}

/* ---- what the victim does ----------------------------------------------- */

void fuzz_post(struct fuzz *f, u8 opcode, u32 len, enum fuzz_region local,
	       u64 off)
{
	static struct bed_swr wr;
	u32 half = len / 2;

	memset(&wr.wqe, 0, sizeof(wr.wqe));
	wr.wqe.wr_id = f->next_send;
	wr.wqe.opcode = opcode;
	wr.wqe.flags = rng_chance(&f->rng, 3, 4) ? TCPZC_WQE_F_SIGNALED : 0;
	if (rng_chance(&f->rng, 1, 8))
		wr.wqe.flags |= TCPZC_WQE_F_FENCE;
	wr.wqe.num_sge = 2;
	wr.wqe.remote_addr = 0x10000;
	wr.wqe.rkey = fuzz_key(f, FUZZ_MR_ALL);	/* the peer's first, too */
	wr.sge[0] = (struct tcpzc_sge){ fuzz_addr(f, local, off), half,
					fuzz_key(f, local) };
	wr.sge[1] = (struct tcpzc_sge){ fuzz_addr(f, local, off + half),
					len - half, fuzz_key(f, local) };
	if (bed_post_send(&f->q, &wr))
		f->next_send++;
}

void fuzz_post_recv(struct fuzz *f, u32 len)
{
	enum fuzz_region r = rng_chance(&f->rng, 1, 2) ? FUZZ_MR_LOCAL :
							 FUZZ_MR_MORTAL;
	struct tcpzc_sge sge[2] = {
		{ fuzz_addr(f, r, 0), len / 3, fuzz_key(f, r) },
		{ fuzz_addr(f, r, 4000), len - len / 3, fuzz_key(f, r) },
	};
	bool ok;

	if (f->flags & FUZZ_F_SRQ)
		ok = bed_post_srq(&f->srq, f->next_recv, sge, 2);
	else
		ok = bed_post_recv(&f->q, f->next_recv, sge, 2);
	if (ok)
		f->next_recv++;
}

static void fuzz_pass_time(struct fuzz *f)
{
	u64 at = tz_qp_deadline(&f->q.qp);

	if (at > f->now && rng_chance(&f->rng, 1, 2))
		f->now = at;
	else
		f->now += rng_below(&f->rng, 200000);
	tz_qp_timer(&f->q.qp, f->now);
}

void fuzz_misfortune(struct fuzz *f)
{
	static u8 buf[3000];
	struct rng *r = &f->rng;

	switch (rng_below(r, 16)) {
	case 0:
	case 1:
		fuzz_pass_time(f);
		break;
	case 2:
		fuzz_post(f, rng_below(r, TCPZC_WQE_RDMA_READ + 1),
			  rng_size(r, 9000), FUZZ_MR_ALL, 0);
		tz_qp_kick(&f->q.qp, f->now);
		break;
	case 3:
		fuzz_post_recv(f, rng_size(r, 18000));
		tz_qp_kick(&f->q.qp, f->now);
		break;
	case 4:
		if (f->mr[FUZZ_MR_MORTAL] && rng_chance(r, 1, 8)) {
			bed_dereg(f->mr[FUZZ_MR_MORTAL]);
			f->mr[FUZZ_MR_MORTAL] = NULL;
		}
		break;
	default:
		bed_tx(&f->q, buf, rng_range(r, 1, sizeof(buf)), f->now);
		break;
	}
}

static void fuzz_ask(struct fuzz *f)
{
	fuzz_post(f, TCPZC_WQE_RDMA_READ, 100, FUZZ_MR_LOCAL, 0);
	fuzz_post(f, TCPZC_WQE_ATOMIC_CMP_AND_SWP, 8, FUZZ_MR_LOCAL, 200);
	fuzz_post(f, TCPZC_WQE_RDMA_WRITE, 64, FUZZ_MR_READ, 0);
	fuzz_post(f, TCPZC_WQE_RDMA_READ, 9000, FUZZ_MR_ALL, 1000);
	fuzz_post(f, TCPZC_WQE_SEND, 10, FUZZ_MR_TOP, 0);
	fuzz_post(f, TCPZC_WQE_RDMA_READ, 0, FUZZ_MR_TOP, 0);
	fuzz_post(f, TCPZC_WQE_RDMA_WRITE_WITH_IMM, 5000, FUZZ_MR_ALL, 0);
	fuzz_post(f, TCPZC_WQE_ATOMIC_FETCH_AND_ADD, 8, FUZZ_MR_TOP, 300);
	fuzz_post(f, TCPZC_WQE_RDMA_READ, 5000, FUZZ_MR_MORTAL, 0);
}

void fuzz_rx_start(struct fuzz *f)
{
	struct bed_link l;
	u32 i;

	bed_link_defaults(&l);
	if (f->flags & FUZZ_F_RTR) {
		struct tz_qp_attr a = { .state = TZ_INIT, .access = l.access };

		tz_qp_modify(&f->q.qp, &a, TZ_QP_STATE | TZ_QP_ACCESS_FLAGS, f->now);
		a.state = TZ_RTR;
		a.dest_qpn = FUZZ_PEER_QPN;
		a.rq_psn = FUZZ_RQ_PSN;
		a.max_dest_rd_atomic = 4;
		a.min_rnr_timer = 1;
		tz_qp_modify(&f->q.qp, &a, TZ_QP_STATE | TZ_QP_AV |
			     TZ_QP_DEST_QPN | TZ_QP_RQ_PSN |
			     TZ_QP_MAX_DEST_RD_ATOMIC | TZ_QP_MIN_RNR_TIMER, f->now);
	} else {
		bed_to_rts(&f->q, FUZZ_PEER_QPN, FUZZ_SQ_PSN, FUZZ_RQ_PSN, &l,
			   f->now);
	}
	tz_qp_connected(&f->q.qp, f->q.qp.init.max_pdu, f->now);
	for (i = 0; i < 4; i++)
		fuzz_post_recv(f, i * 3000);
	if (!(f->flags & (FUZZ_F_QUIET | FUZZ_F_RTR | FUZZ_F_UC)))
		fuzz_ask(f);
	tz_qp_kick(&f->q.qp, f->now);
}

/* ---- an honest peer ----------------------------------------------------- */

#define FUZZ_PEER_PD	1u

void fuzz_peer_open(struct fuzz_peer *p, const struct fuzz *f,
		    const struct bed_hooks *hooks)
{
	struct bed_qp_opts o = {
		.qpn = FUZZ_PEER_QPN,
		.pdn = FUZZ_PEER_PD,
		.max_pdu = f->q.qp.init.max_pdu,
		.rnr_stall_ns = 1000,
	};

	bed_init(&p->bed, FUZZ_SECRET);
	p->bed.hooks = hooks;
	p->mem = calloc(1, FUZZ_MEM);
	BED_CHECK(p->mem, "out of memory");
	bed_reg(&p->bed, p->mem, FUZZ_MEM, fuzz_mrs[FUZZ_MR_ALL].iova, FUZZ_ACCESS_ALL,
		FUZZ_PEER_PD);
	bed_qp_init(&p->q, &p->bed, &o);
}

void fuzz_peer_close(struct fuzz_peer *p, u64 now)
{
	struct tz_qp_attr attr = { .state = TZ_RESET };

	tz_qp_modify(&p->q.qp, &attr, TZ_QP_STATE, now);
	bed_exit(&p->bed);
	bed_qp_exit(&p->q);
	free(p->mem);
}
