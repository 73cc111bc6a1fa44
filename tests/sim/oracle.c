// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * oracle.c - knows what was posted and checks everything an engine does to
 * memory and reports to the program. All of it happens at the moment of the
 * access: a byte that is placed must be the next byte of the message whose turn
 * it is; a completion must be the next one, and what it says must have
 * happened.
 */
#include "sim.h"

#define LL(x)	((unsigned long long)(x))

/* ---- messages ----------------------------------------------------------- */

bool oracle_is_atomic(const struct sim_msg *m)
{
	return m->opcode == TCPZC_WQE_ATOMIC_CMP_AND_SWP ||
	       m->opcode == TCPZC_WQE_ATOMIC_FETCH_AND_ADD;
}

static bool oracle_is_send(const struct sim_msg *m)
{
	return m->opcode == TCPZC_WQE_SEND || m->opcode == TCPZC_WQE_SEND_WITH_IMM;
}

static bool oracle_is_read(const struct sim_msg *m)
{
	return m->opcode == TCPZC_WQE_RDMA_READ;
}

bool oracle_needs_recv(const struct sim_msg *m)
{
	return oracle_is_send(m) || m->opcode == TCPZC_WQE_RDMA_WRITE_WITH_IMM;
}

/* Has the responder done all it must before it acknowledges? */
bool oracle_executed(const struct sim_msg *m)
{
	if (m->fault != SIM_FAULT_NONE && !m->tainted)
		return false;
	if (oracle_needs_recv(m))
		return m->recv_done;
	if (oracle_is_atomic(m))
		return m->atomic_done;
	if (oracle_is_read(m))
		return true;	/* as far as can be seen */
	return m->placed == m->len;
}

/* May the program be told that it succeeded? */
static bool oracle_done(const struct sim_msg *m)
{
	if (!oracle_executed(m))
		return false;
	if (oracle_is_read(m) || oracle_is_atomic(m))
		return m->answered == m->len;
	return true;
}

/* The message of @p that is being executed by its peer. */
static struct sim_msg *oracle_current(struct sim_qp *p)
{
	for (; p->exec < p->num_msg; p->exec++) {
		struct sim_msg *m = p->msg[p->exec];

		if (!oracle_executed(m))
			return m;
	}
	return NULL;
}

/* The peer acknowledges the first @count messages of @p. */
void oracle_acked(struct sim_qp *p, u32 count)
{
	BED_CHECK(count <= p->num_msg, "%s: %u messages acknowledged of %u",
		  p->name, count, p->num_msg);
	for (; p->acked < count; p->acked++)
		BED_CHECK(oracle_executed(p->msg[p->acked]),
			  "%s: message %u acknowledged, %u of %u bytes placed",
			  p->name, p->acked, p->msg[p->acked]->placed,
			  p->msg[p->acked]->len);
}

/* Everything posted is over, or will be without anybody asking. */
bool oracle_send_idle(const struct sim_qp *q)
{
	return q->over == q->num_msg ||
	       (!tz_qp_outstanding(&q->b.qp) && !tz_qp_unsent(&q->b.qp));
}

/* ---- memory ------------------------------------------------------------- */

static u32 oracle_offset(const struct sim_qp *q, const struct bed_mr *mr, u64 off)
{
	u64 at = (u64)(mr->mem - q->host->mem) + off;

	BED_CHECK(mr->bed == &q->host->bed, "%s: region of another host", q->name);
	BED_CHECK(at < q->host->bytes, "%s: offset %llu", q->name, LL(at));
	return at;
}

static void oracle_match(const struct sim_qp *q, const struct sim_msg *m,
			 u32 pos, const void *src, u32 len)
{
	u32 i;

	if (!memcmp(m->data + pos, src, len))
		return;
	for (i = 0; m->data[pos + i] == ((const u8 *)src)[i]; i++)
		;
	BED_CHECK(0, "%s: wr %llu: byte %u of %u is %02x instead of %02x", q->name,
		  LL(m->wr_id), pos + i, m->len, ((const u8 *)src)[i],
		  m->data[pos + i]);
}

/*
 * Nothing is executed of a request that has completed, but what @q's host had read
 * of it by then: no requester can take that back.
 */
static bool oracle_may_place(const struct sim_qp *q, const struct sim_msg *m)
{
	return !m->over || q->pulled_at <= m->over_at;
}

/* Payload of a WRITE of the peer, at host offset @at. */
static void oracle_write(struct sim_qp *q, const struct bed_mr *mr, u32 at,
			 const void *src, u32 len)
{
	struct sim_msg *m = oracle_current(q->peer);

	BED_CHECK(m && (m->opcode == TCPZC_WQE_RDMA_WRITE ||
			m->opcode == TCPZC_WQE_RDMA_WRITE_WITH_IMM),
		  "%s: %u bytes written at %u by nobody", q->name, len, at);
	BED_CHECK(oracle_may_place(q, m), "%s: wr %llu is written after it has completed",
		  q->name, LL(m->wr_id));
	BED_CHECK(m->fault == SIM_FAULT_NONE, "%s: wr %llu must be refused",
		  q->name, LL(m->wr_id));
	BED_CHECK(mr->id == m->rmr && (mr->mr.access & TZ_ACCESS_REMOTE_WRITE),
		  "%s: wr %llu: region %u", q->name, LL(m->wr_id), mr->id);
	if (at == m->roff && oracle_needs_recv(m) && m->placed)
		m->placed = 0;	/* sent again after an RNR NAK */
	BED_CHECK(at == m->roff + m->placed && len <= m->len - m->placed,
		  "%s: wr %llu: %u bytes at %u, %u of %u at %u are placed", q->name,
		  LL(m->wr_id), len, at, m->placed, m->len, m->roff);
	oracle_match(q, m, m->placed, src, len);
	m->placed += len;
	BED_CHECK(m->placed < m->len || !q->sim->direct,
		  "%s: wr %llu: the tail is not published last", q->name,
		  LL(m->wr_id));
}

/* Where byte @pos of a list of segments is. */
static const struct sim_seg *oracle_seg(const struct sim_seg *seg, u32 n, u32 *pos)
{
	u32 i;

	for (i = 0; i < n; i++) {
		if (*pos < seg[i].len)
			return &seg[i];
		*pos -= seg[i].len;
	}
	return NULL;
}

static void oracle_scatter(const struct sim_qp *q, const struct bed_mr *mr,
			   u32 at, u32 len, u64 wr_id, const struct sim_seg *seg,
			   u32 n, u32 pos)
{
	u32 in = pos;
	const struct sim_seg *s = oracle_seg(seg, n, &in);

	BED_CHECK(s && at == s->off + in && len <= s->len - in,
		  "%s: wr %llu: %u bytes at %u, byte %u belongs to %u", q->name,
		  LL(wr_id), len, at, pos, s ? s->off + in : 0);
	BED_CHECK(mr->id == s->mr && (mr->mr.access & TZ_ACCESS_LOCAL_WRITE),
		  "%s: wr %llu: region %u instead of %u", q->name, LL(wr_id),
		  mr->id, s->mr);
}

/* The receive that the next message takes. */
static struct sim_recv *oracle_next_recv(struct sim_qp *q)
{
	if (q->rq->owner)
		return q->rq->taken < q->rq->num ? q->rq->recv[q->rq->taken] : NULL;
	return q->recvs_done < q->num_took ? q->took[q->recvs_done] : NULL;
}

/* Payload of a SEND of the peer. */
static void oracle_recv(struct sim_qp *q, const struct bed_mr *mr, u32 at,
			const void *src, u32 len)
{
	struct sim_msg *m = oracle_current(q->peer);
	struct sim_recv *r = oracle_next_recv(q);

	BED_CHECK(m && oracle_is_send(m), "%s: %u bytes received at %u from nobody",
		  q->name, len, at);
	BED_CHECK(oracle_may_place(q, m), "%s: wr %llu is received after it has completed",
		  q->name, LL(m->wr_id));
	BED_CHECK(r, "%s: wr %llu has no receive", q->name, LL(m->wr_id));
	BED_CHECK(m->fault == SIM_FAULT_NONE && !r->fate && m->len <= r->cap,
		  "%s: wr %llu must be refused", q->name, LL(m->wr_id));
	BED_CHECK(len <= m->len - m->placed, "%s: wr %llu: too much", q->name,
		  LL(m->wr_id));
	oracle_scatter(q, mr, at, len, r->wr_id, r->seg, r->num_seg, m->placed);
	oracle_match(q, m, m->placed, src, len);
	m->placed += len;
}

/* The answer to a READ or atomic of this side. */
static void oracle_answer(struct sim_qp *q, const struct bed_mr *mr, u32 at,
			  const void *src, u32 len)
{
	struct sim_msg *m = NULL;

	for (; q->resp < q->num_msg; q->resp++) {
		m = q->msg[q->resp];
		if ((oracle_is_read(m) || oracle_is_atomic(m)) &&
		    m->answered < m->len)
			break;
	}
	BED_CHECK(q->resp < q->num_msg, "%s: %u bytes at %u answer nothing",
		  q->name, len, at);
	BED_CHECK(!m->over, "%s: wr %llu is over", q->name, LL(m->wr_id));
	BED_CHECK(m->fault == SIM_FAULT_NONE, "%s: wr %llu must be refused",
		  q->name, LL(m->wr_id));
	BED_CHECK(len <= m->len - m->answered, "%s: wr %llu: too much", q->name,
		  LL(m->wr_id));
	if (oracle_is_atomic(m)) {
		BED_CHECK(q->peer->loose || m->atomic_done,
			  "%s: wr %llu is not executed", q->name, LL(m->wr_id));
		memcpy(m->data, &m->old, sizeof(m->old));
	}
	oracle_scatter(q, mr, at, len, m->wr_id, m->seg, m->num_seg, m->answered);
	if (!q->peer->loose)
		oracle_match(q, m, m->answered, src, len);
	m->answered += len;
}

/* With a hostile peer or ring: at least nothing that was not offered. */
static void oracle_loose(struct sim_qp *q, const struct bed_mr *mr, u32 at)
{
	u32 slot;
	enum sim_area area = sim_area_of(q->sim, at, &slot);
	u32 remote = mr->mr.access & TZ_ACCESS_REMOTE_WRITE;
	u32 local = mr->mr.access & TZ_ACCESS_LOCAL_WRITE;

	BED_CHECK(mr->mr.pdn == SIM_PD ||
		  (area == SIM_RCV && mr->mr.pdn == q->host->rq_pd) ||
		  (q->hostile_ring && mr->mr.pdn == q->host->rq_pd),
		  "%s: region of another PD", q->name);
	if (area == SIM_WIN)
		BED_CHECK(remote || (local && q->hostile_ring),
			  "%s: write to region %u", q->name, mr->id);
	else if (!q->hostile_ring)
		BED_CHECK(local || remote, "%s: write to region %u", q->name, mr->id);
}

/*
 * UC: messages are lost without a word, and in the middle. But what is placed in
 * a window is part of a WRITE to that place.
 */
static void oracle_uc_write(struct sim_qp *q, const struct bed_mr *mr, u32 at,
			    const void *src, u32 len)
{
	struct sim_qp *p = q->peer;
	u32 i;

	for (i = 0; i < p->num_msg; i++) {
		const struct sim_msg *m = p->msg[i];

		if ((m->opcode == TCPZC_WQE_RDMA_WRITE ||
		     m->opcode == TCPZC_WQE_RDMA_WRITE_WITH_IMM) &&
		    m->rmr == mr->id && at >= m->roff &&
		    at + len <= m->roff + m->len &&
		    !memcmp(m->data + (at - m->roff), src, len))
			return;
	}
	BED_CHECK(0, "%s: %u bytes written at %u by nobody", q->name, len, at);
}

/* UC: a receive holds all of a message that was sent after those before it. */
static void oracle_uc_recv(struct sim_qp *q, const struct tcpzc_cqe *cqe,
			   struct sim_recv *r)
{
	bool send = cqe->opcode == TCPZC_WC_RECV;
	struct sim_qp *p = q->peer;
	u32 i;

	for (i = p->exec; i < p->num_msg; i++) {
		const struct sim_msg *m = p->msg[i];
		u32 pos = 0, k, n;

		if (!oracle_needs_recv(m) || oracle_is_send(m) != send ||
		    m->len != cqe->byte_len ||
		    ((cqe->flags & TCPZC_CQE_F_WITH_IMM) && cqe->imm_data != m->imm))
			continue;
		for (k = 0; send && k < r->num_seg && pos < m->len; k++, pos += n) {
			n = tz_min(r->seg[k].len, m->len - pos);
			if (memcmp(q->host->mem + r->seg[k].off, m->data + pos, n))
				break;
		}
		if (send && pos < m->len)
			continue;
		p->exec = i + 1;
		return;
	}
	BED_CHECK(0, "%s: receive %llu: nothing was sent like it", q->name,
		  LL(r->wr_id));
}

static void hook_write(struct bed_mr *mr, u64 off, const void *src, u32 len)
{
	struct sim_qp *q = sim_now->cur;
	u32 at, slot;

	BED_CHECK(q, "write outside of any call");
	at = oracle_offset(q, mr, off);
	sim_moved(q->sim);
	evil_meanwhile(q);
	BED_CHECK(!q->was_err, "%s: write in ERR", q->name);
	if (q->sim->cfg.kind == SIM_UC &&
	    sim_area_of(q->sim, at, &slot) == SIM_WIN)
		oracle_uc_write(q, mr, at, src, len);
	if (q->loose || !q->peer) {
		oracle_loose(q, mr, at);
		return;
	}
	switch (sim_area_of(q->sim, at, &slot)) {
	case SIM_WIN:
		if (!q->peer->loose)
			oracle_write(q, mr, at, src, len);
		break;
	case SIM_RCV:
		if (!q->peer->loose)
			oracle_recv(q, mr, at, src, len);
		break;
	case SIM_DST:
		oracle_answer(q, mr, at, src, len);
		break;
	default:
		BED_CHECK(0, "%s: write at %u", q->name, at);
	}
}

static void hook_atomic(struct bed_mr *mr, u64 off, enum tz_atomic_kind kind,
			u64 compare_add, u64 swap, u64 old)
{
	struct sim_qp *q = sim_now->cur;
	u32 at = oracle_offset(q, mr, off), slot;
	struct sim_msg *m;

	BED_CHECK(mr->mr.access & TZ_ACCESS_REMOTE_ATOMIC, "atomic on region %u",
		  mr->id);
	BED_CHECK(!q->was_err, "%s: atomic in ERR", q->name);
	if (q->loose || !q->peer || q->peer->loose)
		return;
	BED_CHECK(sim_area_of(q->sim, at, &slot) == SIM_ATOM, "atomic at %u", at);
	m = oracle_current(q->peer);
	BED_CHECK(m && oracle_is_atomic(m) && m->fault == SIM_FAULT_NONE,
		  "%s: atomic by nobody", q->name);
	BED_CHECK(m->rmr == mr->id && m->roff == at &&
		  m->compare_add == compare_add &&
		  (kind == TZ_ATOMIC_FETCH_AND_ADD || m->swap == swap) &&
		  (kind == TZ_ATOMIC_CMP_AND_SWP) ==
		  (m->opcode == TCPZC_WQE_ATOMIC_CMP_AND_SWP),
		  "%s: wr %llu is another atomic", q->name, LL(m->wr_id));
	m->old = old;
	m->atomic_done = true;
}

static void hook_read(struct bed_mr *mr, u64 off, u32 len)
{
	if (sim_now->cur)
		evil_meanwhile(sim_now->cur);
	BED_CHECK(mr->mr.pdn == SIM_PD, "read from another PD");
}

/* ---- receive completions ------------------------------------------------ */

static u8 oracle_recv_fate(const struct sim_recv *r, const struct sim_msg *m)
{
	if (!oracle_is_send(m))
		return 0;
	if (r->fate)
		return r->fate;
	return m->len > r->cap ? TCPZC_WC_LOC_LEN_ERR : 0;
}

static void oracle_recv_success(struct sim_qp *q, const struct tcpzc_cqe *cqe,
				struct sim_recv *r)
{
	struct sim_msg *m = oracle_current(q->peer);
	bool imm, write;

	BED_CHECK(m && oracle_needs_recv(m), "%s: nothing was sent", q->name);
	imm = m->opcode == TCPZC_WQE_SEND_WITH_IMM ||
	      m->opcode == TCPZC_WQE_RDMA_WRITE_WITH_IMM;
	write = m->opcode == TCPZC_WQE_RDMA_WRITE_WITH_IMM;
	BED_CHECK(m->fault == SIM_FAULT_NONE && !oracle_recv_fate(r, m),
		  "%s: wr %llu must be refused", q->name, LL(m->wr_id));
	BED_CHECK(m->placed == m->len && cqe->byte_len == m->len,
		  "%s: wr %llu: %u bytes reported, %u of %u placed", q->name,
		  LL(m->wr_id), cqe->byte_len, m->placed, m->len);
	BED_CHECK(cqe->opcode == (write ? TCPZC_WC_RECV_RDMA_WITH_IMM : TCPZC_WC_RECV),
		  "opcode %u", cqe->opcode);
	BED_CHECK(!(cqe->flags & TCPZC_CQE_F_WITH_IMM) == !imm &&
		  (!imm || cqe->imm_data == m->imm), "imm %x", cqe->imm_data);
	BED_CHECK(!(cqe->flags & TCPZC_CQE_F_SOLICITED) ==
		  !(m->flags & TCPZC_WQE_F_SOLICITED), "solicited");
	m->recv_done = true;
}

static void oracle_recv_error(struct sim_qp *q, const struct tcpzc_cqe *cqe,
			      struct sim_recv *r)
{
	struct sim_msg *m;

	if (cqe->status == TCPZC_WC_WR_FLUSH_ERR) {
		q->recv_flushed = true;
		return;
	}
	BED_CHECK(!q->recv_flushed && !q->flushed, "%s: error after a flush",
		  q->name);
	BED_CHECK(!q->why, "%s: second error", q->name);
	q->why |= SIM_WHY_RECV;
	if (q->loose || !q->peer || q->peer->loose)
		return;
	m = oracle_current(q->peer);
	BED_CHECK(m && oracle_needs_recv(m), "%s: nothing was sent", q->name);
	if (!oracle_is_send(m)) {
		BED_CHECK(cqe->status == TCPZC_WC_LOC_ACCESS_ERR &&
			  (m->tainted || m->over ||
			   m->fate == TCPZC_WC_REM_ACCESS_ERR),
			  "%s: a WRITE's receive ends with %u", q->name,
			  cqe->status);
		return;
	}
	q->refused = m;
	q->refused_status = cqe->status;
	if (r->tainted && cqe->status == TCPZC_WC_LOC_PROT_ERR)
		return;
	BED_CHECK(cqe->status == oracle_recv_fate(r, m),
		  "%s: receive ends with %u instead of %u", q->name, cqe->status,
		  oracle_recv_fate(r, m));
}

static void oracle_recv_cqe(struct sim_qp *q, const struct tcpzc_cqe *cqe)
{
	struct sim_recv *r = oracle_next_recv(q);

	BED_CHECK(r, "%s: receive %llu was never posted", q->name, LL(cqe->wr_id));
	BED_CHECK(r->wr_id == cqe->wr_id, "%s: receive %llu instead of %llu",
		  q->name, LL(cqe->wr_id), LL(r->wr_id));
	if (cqe->status)
		oracle_recv_error(q, cqe, r);
	else if (q->sim->cfg.kind == SIM_UC)
		oracle_uc_recv(q, cqe, r);
	else if (!q->loose && q->peer && !q->peer->loose)
		oracle_recv_success(q, cqe, r);
	BED_CHECK(cqe->status || (!q->why && !q->was_err),
		  "%s: success in ERR", q->name);
	q->recvs_done++;
	if (q->rq->owner)
		q->rq->taken++;
	app_recv_release(q->rq, r);
}

static void hook_srq_taken(struct bed_qp *b, const struct tz_rwqe *rwqe)
{
	struct sim_qp *q = (struct sim_qp *)b;
	struct sim_rq *rq = q->rq;
	struct sim_recv *r;

	evil_meanwhile(q);
	if (q->hostile_ring)
		return;
	BED_CHECK(!rq->owner && rq->taken < rq->num, "SRQ is empty");
	BED_CHECK(!q->was_err, "%s: takes a receive in ERR", q->name);
	r = rq->recv[rq->taken++];
	BED_CHECK(r->wr_id == rwqe->wr_id, "SRQ: %llu instead of %llu",
		  LL(rwqe->wr_id), LL(r->wr_id));
	if (q->num_took == q->room_took) {
		q->room_took = q->room_took ? 2 * q->room_took : 16;
		q->took = realloc(q->took, q->room_took * sizeof(*q->took));
		BED_CHECK(q->took, "out of memory");
	}
	q->took[q->num_took++] = r;
}

/* ---- send completions --------------------------------------------------- */

static u8 oracle_opcode(u8 opcode)
{
	switch (opcode) {
	case TCPZC_WQE_RDMA_WRITE:
	case TCPZC_WQE_RDMA_WRITE_WITH_IMM:
		return TCPZC_WC_RDMA_WRITE;
	case TCPZC_WQE_RDMA_READ:
		return TCPZC_WC_RDMA_READ;
	case TCPZC_WQE_ATOMIC_CMP_AND_SWP:
		return TCPZC_WC_COMP_SWAP;
	case TCPZC_WQE_ATOMIC_FETCH_AND_ADD:
		return TCPZC_WC_FETCH_ADD;
	}
	return TCPZC_WC_SEND;
}

/* How the peer must have refused @m. */
static u8 oracle_remote_fate(struct sim_qp *q, struct sim_msg *m)
{
	struct sim_qp *p = q->peer;

	if (m->fault == SIM_FAULT_REMOTE)
		return m->fate;
	if (m != p->refused)
		return 0;
	return p->refused_status == TCPZC_WC_LOC_LEN_ERR ?
		TCPZC_WC_REM_INV_REQ_ERR : TCPZC_WC_REM_OP_ERR;
}

static bool oracle_any_tainted(const struct sim_qp *q)
{
	u32 i;

	for (i = q->over; i < q->num_msg; i++)
		if (q->msg[i]->tainted)
			return true;
	return false;
}

/* Does an error that ends a QP's work have a reason? */
static bool oracle_error_ok(struct sim_qp *q, struct sim_msg *m, u8 status)
{
	struct sim_qp *p = q->peer;
	struct sim_msg *refused;

	if (m->fault == SIM_FAULT_LOCAL && status == m->fate)
		return true;
	/* the oldest one answers for all when a region in use went away */
	if (oracle_any_tainted(q) &&
	    (status == TCPZC_WC_LOC_PROT_ERR ||
	     status == TCPZC_WC_REM_ACCESS_ERR))
		return true;
	if (status == TCPZC_WC_RETRY_EXC_ERR)
		return q->may_lose;
	if (status == TCPZC_WC_RNR_RETRY_EXC_ERR)
		return q->rnr_finite && oracle_needs_recv(m) && p != NULL &&
		       p->b.qp.stats.tx_rnr_naks > q->attr.rnr_retry;
	if (!p || p->loose || q->loose)
		return true;
	if (!(p->why & (SIM_WHY_REQUEST | SIM_WHY_RECV)))
		return false;
	if (status == oracle_remote_fate(q, m))
		return true;
	/* its answer was dropped when the peer refused a later one */
	refused = oracle_current(q);
	return oracle_executed(m) && !oracle_done(m) && refused &&
	       (refused->tainted || status == oracle_remote_fate(q, refused));
}

static void oracle_send_error(struct sim_qp *q, struct sim_msg *m, u8 status)
{
	if (status == TCPZC_WC_WR_FLUSH_ERR) {
		BED_CHECK(q->b.qp.state == TZ_ERR, "%s: flushed in state %u",
			  q->name, q->b.qp.state);
		q->flushed = true;
		return;
	}
	BED_CHECK(!(q->why & SIM_WHY_SEND) && !q->flushed && !q->recv_flushed,
		  "%s: wr %llu: second error %u", q->name, LL(m->wr_id), status);
	BED_CHECK(oracle_error_ok(q, m, status),
		  "%s: wr %llu ends with %u without reason (%u would have one)",
		  q->name, LL(m->wr_id), status, m->fate);
	q->why |= SIM_WHY_SEND;
}

/* Unsignaled work requests before the completed one have succeeded. */
static struct sim_msg *oracle_retire(struct sim_qp *q, u64 wr_id)
{
	for (; q->over < q->num_msg; q->over++) {
		struct sim_msg *m = q->msg[q->over];

		if (m->wr_id == wr_id)
			return m;
		BED_CHECK(!m->signaled && !q->flushed && !(q->why & SIM_WHY_SEND),
			  "%s: wr %llu completed, %llu was left out", q->name,
			  LL(wr_id), LL(m->wr_id));
		BED_CHECK(!q->peer || q->loose || q->peer->loose || oracle_done(m),
			  "%s: wr %llu retired too early", q->name, LL(m->wr_id));
		m->over = true;
		app_release(q, m);
	}
	BED_CHECK(0, "%s: wr %llu completed twice or never posted", q->name,
		  LL(wr_id));
	return NULL;
}

static void oracle_send_cqe(struct sim_qp *q, const struct tcpzc_cqe *cqe)
{
	struct sim_msg *m = oracle_retire(q, cqe->wr_id);

	if (cqe->status) {
		oracle_send_error(q, m, cqe->status);
	} else {
		BED_CHECK(m->signaled, "%s: wr %llu is unsignaled", q->name,
			  LL(m->wr_id));
		BED_CHECK(!q->why && !q->was_err, "%s: success in ERR", q->name);
		BED_CHECK(!q->peer || q->loose || q->peer->loose || oracle_done(m),
			  "%s: wr %llu succeeded with %u of %u bytes placed, %u answered",
			  q->name, LL(m->wr_id), m->placed, m->len, m->answered);
		BED_CHECK(cqe->opcode == oracle_opcode(m->opcode), "opcode %u",
			  cqe->opcode);
		/* UC: one that was lost was never looked at */
		BED_CHECK(cqe->byte_len == m->len ||
			  (tz_qp_is_uc(&q->b.qp) && !cqe->byte_len), "%u bytes of %u",
			  cqe->byte_len, m->len);
	}
	m->over = true;
	m->over_at = q->sim->steps;
	q->over++;
	app_release(q, m);
}

static void hook_cqe(struct bed_qp *b, const struct tcpzc_cqe *cqe, bool recv)
{
	struct sim_qp *q = (struct sim_qp *)b;

	BED_CHECK(q == q->sim->cur, "completion of another QP");
	TRACE(q, "CQE %s wr %llu status %u opcode %u len %u", recv ? "recv" : "send",
	      LL(cqe->wr_id), cqe->status, cqe->opcode, cqe->byte_len);
	BED_CHECK(cqe->qp_num == q->b.qp.init.qpn, "qp_num %x", cqe->qp_num);
	q->cqes++;
	q->sim->sum_cqes++;
	q->sim->statuses[cqe->status & 31]++;
	sim_moved(q->sim);
	q->call_cqes++;
	BED_CHECK(q->call_cqes <= 4 * (q->b.qp.init.sq.depth + 16),
		  "%s: %u completions in one call", q->name, q->call_cqes);
	evil_meanwhile(q);
	if (q->hostile_ring)
		return;
	if (recv)
		oracle_recv_cqe(q, cqe);
	else
		oracle_send_cqe(q, cqe);
}

static void hook_event(struct bed_qp *b, enum tz_event event)
{
	struct sim_qp *q = (struct sim_qp *)b;
	struct sim_msg *m;

	TRACE(q, "event %u", event);
	sim_moved(q->sim);
	switch (event) {
	case TZ_EVENT_SQ_DRAINED:
		BED_CHECK(q->b.qp.state == TZ_SQD, "%s: drained in state %u",
			  q->name, q->b.qp.state);
		BED_CHECK(!tz_qp_outstanding(&q->b.qp), "%s: not drained", q->name);
		break;
	case TZ_EVENT_REQ_ERR:
	case TZ_EVENT_ACCESS_ERR:
		q->why |= SIM_WHY_REQUEST;
		if (q->loose || !q->peer || q->peer->loose)
			break;
		m = oracle_current(q->peer);
		if (q->sim->cfg.kind == SIM_DEREG)
			break;
		BED_CHECK(m && oracle_remote_fate(q->peer, m) ==
			  (event == TZ_EVENT_REQ_ERR ? TCPZC_WC_REM_INV_REQ_ERR :
						       TCPZC_WC_REM_ACCESS_ERR),
			  "%s: event %u without reason", q->name, event);
		break;
	case TZ_EVENT_FATAL:
		BED_CHECK(q->hostile_ring || !q->peer ||
			  (q->peer->loose && q->sim->cfg.kind != SIM_UC),
			  "%s: fatal error without reason", q->name);
		q->why |= SIM_WHY_FATAL;
		break;
	default:
		break;
	}
}

const struct bed_hooks oracle_hooks = {
	.write		= hook_write,
	.read		= hook_read,
	.atomic		= hook_atomic,
	.cqe		= hook_cqe,
	.event		= hook_event,
	.srq_taken	= hook_srq_taken,
};

/* ---- the end of a QP's life --------------------------------------------- */

/* In ERR: everything that was posted has been reported. */
void oracle_check_end(struct sim_qp *q)
{
	const struct tz_qp *qp = &q->b.qp;

	if (q->hostile_ring)
		return;
	BED_CHECK(qp->state == TZ_ERR, "%s: state %u", q->name, qp->state);
	BED_CHECK(q->over == q->num_msg, "%s: %u of %u sends reported", q->name,
		  q->over, q->num_msg);
	BED_CHECK(!q->rq->owner || q->rq->taken == q->rq->num,
		  "%s: %u of %u receives reported", q->name, q->rq->taken,
		  q->rq->num);
	BED_CHECK(q->rq->owner || q->recvs_done == q->num_took,
		  "%s: %u of %u shared receives reported", q->name,
		  q->recvs_done, q->num_took);
	BED_CHECK(!q->rq->owner == (q->b.events[TZ_EVENT_LAST_WQE_REACHED] == 1),
		  "%s: %u events LAST_WQE_REACHED", q->name,
		  q->b.events[TZ_EVENT_LAST_WQE_REACHED]);
	BED_CHECK(q->b.sq_hdr->cons == q->b.sq_hdr->prod, "%s: send ring %u of %u",
		  q->name, q->b.sq_hdr->cons, q->b.sq_hdr->prod);
}
