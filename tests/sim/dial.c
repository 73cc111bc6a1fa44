// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * dial.c - how queue pairs get their streams: the backend's part of tz_dial.h.
 * Streams are refused, silent or late; calls wait for a queue pair that is not
 * ready, outlive the one that made them, or are made by strangers who know all but
 * the PSN. Their bytes arrive in pieces.
 */
#include "sim.h"

static const char *const dial_kinds[] = {
	[TZ_CALL_REFUSED] = "refused",
	[TZ_CALL_PARKED] = "parked",
	[TZ_CALL_TAKEN] = "taken",
	[TZ_CALL_OWN] = "its own",
};

static struct sim_call *dial_call_of(struct tz_caller *c)
{
	return c ? (struct sim_call *)c : NULL;
}

/* Is it a run in which peers may be silent and streams fail? */
static bool dial_rough(const struct sim *s)
{
	return s->cfg.kind == SIM_CHAOS || s->cfg.kind == SIM_STALL ||
	       s->cfg.kind == SIM_UC;
}

/* Pairs with small PDUs find more per byte; no hello may say that it has such. */
static void dial_bytes(u8 *bytes, const struct tz_hello *hello)
{
	struct tz_hello h = *hello;

	if (h.status == 0 && tz_le32_to_cpu(h.max_pdu) < TZ_MIN_PDU_BYTES)
		h.max_pdu = tz_cpu_to_le32(TZ_MIN_PDU_BYTES);
	memcpy(bytes, &h, sizeof(h));
}

static void dial_may_lose(struct sim_qp *q)
{
	q->may_lose = true;
	if (q->peer)
		q->peer->may_lose = true;
}

/* ---- calls --------------------------------------------------------------- */

static struct sim_call *dial_call_new(struct sim *s, struct sim_qp *from,
				      struct sim_qp *to,
				      const struct tz_hello *hello,
				      const u8 addr[16])
{
	struct sim_call *call = NULL;
	struct tz_caller *leaves;
	u32 i;

	for (i = 0; i < SIM_CALLS && !call; i++)
		if (!s->call[i].used)
			call = &s->call[i];
	if (!call)
		return NULL;
	memset(call, 0, sizeof(*call));
	leaves = tz_lobby_enter(&to->host->lobby, &call->c, addr, s->now);
	BED_CHECK(!leaves, "there was room");
	call->used = true;
	call->from = from;
	call->to = to;
	dial_bytes(call->bytes, hello);
	call->at = s->now + rng_below(&s->rng, s->cfg.delay_ns + 1);
	return call;
}

/* The side that is called closes it. */
static void dial_call_end(struct sim_call *call)
{
	if (call->from && call->from->call == call) {
		call->from->reply_end = true;
		call->from->call = NULL;
	}
	call->used = false;
}

/* A hello, or a refusal, on its way to the caller. */
static void dial_reply(struct sim *s, struct sim_call *call,
		       const struct tz_hello *hello)
{
	struct sim_qp *q = call->from;

	if (!q || q->call != call)
		return;
	dial_bytes(q->reply, hello);
	q->reply_len = sizeof(q->reply);
	q->reply_at = s->now + rng_below(&s->rng, s->cfg.delay_ns + 1);
}

static void dial_refuse(struct sim *s, struct sim_call *call,
			enum tz_hello_status why)
{
	struct tz_hello hello;

	tz_shake_refuse(&call->c.rx.hello, why, &hello);
	BED_CHECK(hello.sq_psn == 0 && hello.rq_psn == 0, "a refusal tells");
	dial_reply(s, call, &hello);
	dial_call_end(call);
}

static void dial_take(struct sim *s, struct sim_call *call,
		      const struct tz_hello *answer)
{
	struct sim_qp *q = call->to;

	BED_CHECK(answer->rq_psn == tz_cpu_to_le32(TZ_PSN_UNKNOWN) &&
		  answer->next_rx_msn == tz_cpu_to_le32(TZ_PSN_UNKNOWN),
		  "the answer tells what is expected");
	if (dial_rough(s) && rng_chance(&s->rng, 1, 8)) {
		/* The caller has gone before the answer could be sent. */
		dial_call_end(call);
		sim_enter(q);
		tz_dial_lost(&q->b.qp, s->now);
		sim_leave(q);
		return;
	}
	net_pipe_reset(&q->conn->dir[0]);
	net_pipe_reset(&q->conn->dir[1]);
	dial_reply(s, call, answer);
	net_up(q);
	if (call->from->call != call) {
		/* It has hung up without this side having noticed. */
		net_fin(s, net_in(q), true);
		dial_may_lose(q);
	} else {
		call->from->taken = true;
		call->from->call = NULL;
	}
	call->used = false;
}

/* The hello is complete. */
static void dial_judge(struct sim *s, struct sim_call *call)
{
	struct sim_qp *q = call->to;
	struct tz_hello answer;
	enum tz_call verdict;

	sim_enter(q);
	verdict = tz_dial_call(&q->b.qp, &call->c, &answer, s->now);
	sim_wake(q);
	sim_leave(q);
	s->sum_calls[verdict]++;
	s->sum_strangers += !call->from;
	TRACE(q, "call of %s: %s", call->from ? call->from->name : "a stranger",
	      dial_kinds[verdict]);
	BED_CHECK(call->from || verdict == TZ_CALL_REFUSED ||
		  verdict == TZ_CALL_PARKED, "%s takes a stranger", q->name);
	switch (verdict) {
	case TZ_CALL_REFUSED:
		dial_refuse(s, call, TZ_HELLO_REFUSED);
		break;
	case TZ_CALL_PARKED:
		call->parked = true;
		break;
	case TZ_CALL_TAKEN:
		BED_CHECK(call->from == q->peer, "%s: not its peer", q->name);
		dial_take(s, call, &answer);
		break;
	case TZ_CALL_OWN:
		BED_CHECK(call->from == q && q->call == call, "not its own");
		q->call = NULL;
		call->used = false;
		net_pipe_reset(&q->conn->dir[0]);
		net_up(q);
		break;
	}
}

/* Another piece of a hello arrives. */
static void dial_call_step(struct sim *s, struct sim_call *call)
{
	enum tz_hello_got got;
	u32 want, n;
	u8 *ptr;

	want = tz_hello_want(&call->c.rx, &ptr);
	n = rng_chance(&s->rng, 3, 4) ? want : rng_range(&s->rng, 1, want);
	memcpy(ptr, call->bytes + sizeof(call->bytes) - want, n);
	got = tz_caller_take(&call->c, n);
	if (got == TZ_HELLO_MORE) {
		call->at = s->now + rng_below(&s->rng, s->cfg.delay_ns + 1);
		return;
	}
	BED_CHECK(tz_lobby_leave(&call->to->host->lobby, &call->c),
		  "not in the lobby");
	if (got == TZ_HELLO_COMPLETE)
		dial_judge(s, call);
	else if (got == TZ_HELLO_FOREIGN)
		dial_refuse(s, call, TZ_HELLO_BAD_VERSION);
	else
		dial_call_end(call);
}

/* ---- the side that calls ------------------------------------------------- */

/* The stream that is being made is given up; @reset is what the engine asked for. */
static void dial_drop(struct sim_qp *q)
{
	struct sim *s = q->sim;

	if (q->taken) {
		net_fin(s, net_out(q), true);
		net_pipe_deaf(net_in(q));
		dial_may_lose(q);
	}
	q->call = NULL;	/* the other side finds out when it looks */
	q->taken = false;
	q->reply_len = q->reply_got = 0;
	q->reply_end = false;
	q->silent_until = 0;
}

static void dial_lost(struct sim_qp *q)
{
	dial_drop(q);
	sim_enter(q);
	tz_dial_lost(&q->b.qp, q->sim->now);
	sim_wake(q);
	sim_leave(q);
}

static void dial_open(struct sim_qp *q)
{
	struct sim *s = q->sim;

	sim_enter(q);
	tz_dial_opening(&q->b.qp, s->now);
	sim_leave(q);
	if (q->peer == q && !s->cfg.self_calls) {
		net_pipe_reset(&q->conn->dir[0]);
		net_up(q);
		return;
	}
	q->reply_len = q->reply_got = 0;
	q->reply_end = false;
	q->dial_at = s->now + 1 + rng_below(&s->rng, MS);
	if (q->conn->unreachable)
		q->dial_at = 0;	/* it is never established */
}

/* What an attacker who is the peer says. */
static void dial_attacker(struct sim_qp *q, const struct tz_hello *hello)
{
	struct sim_call call = { .from = q };
	struct tz_hello answer = *hello;

	q->call = &call;
	memcpy(answer.src_gid, hello->dst_gid, 16);
	memcpy(answer.dst_gid, hello->src_gid, 16);
	answer.src_qpn = hello->dst_qpn;
	answer.dst_qpn = hello->src_qpn;
	answer.sq_psn = tz_cpu_to_le32(q->attr.rq_psn);
	answer.next_tx_msn = answer.sq_psn;
	dial_reply(q->sim, &call, &answer);
	q->call = NULL;
	q->taken = true;
}

static void dial_greet(struct sim_qp *q)
{
	struct sim *s = q->sim;
	struct tz_hello hello;

	q->dial_at = 0;
	if (rng_chance(&s->rng, 1, 10)) {
		TRACE(q, "nobody listens");
		dial_lost(q);
		return;
	}
	sim_enter(q);
	tz_dial_hello(&q->b.qp, rng_next(&s->rng), &hello);
	sim_leave(q);
	if (dial_rough(s) && rng_chance(&s->rng, 1, 16)) {
		TRACE(q, "somebody else has the port, and is silent for a while");
		dial_may_lose(q);
		q->silent_until = s->now + 1 + rng_below(&s->rng, 20) * SEC;
		return;
	}
	if (q->conn->attacker) {
		dial_attacker(q, &hello);
		return;
	}
	q->call = dial_call_new(s, q, q->peer, &hello, q->attr.sgid);
	if (!q->call)
		q->reply_end = true;
}

/* A piece of the answer. */
static void dial_listen(struct sim_qp *q)
{
	struct sim *s = q->sim;
	enum tz_hello_got got;
	u32 want, n;
	u8 *ptr;

	if (q->reply_got == q->reply_len) {
		TRACE(q, "no answer");
		dial_lost(q);
		return;
	}
	want = tz_dial_want(&q->b.qp, &ptr);
	n = rng_chance(&s->rng, 3, 4) ? want : rng_range(&s->rng, 1, want);
	memcpy(ptr, q->reply + q->reply_got, n);
	q->reply_got += n;
	sim_enter(q);
	got = tz_dial_take(&q->b.qp, n, s->now);
	sim_leave(q);
	if (got == TZ_HELLO_MORE)
		return;
	if (got != TZ_HELLO_COMPLETE) {
		BED_CHECK(!q->taken || q->conn->attacker,
			  "%s: the answer is not right", q->name);
		dial_lost(q);
		return;
	}
	BED_CHECK(q->taken, "%s: up without the peer", q->name);
	q->taken = false;
	if (q->conn->attacker) {
		net_pipe_reset(&q->conn->dir[0]);
		net_pipe_reset(&q->conn->dir[1]);
		/* What the one before was told is told again. */
		wire_reset(q);
	}
	net_up(q);
	if (q->conn->attacker)
		evil_start(q->conn);
	else
		BED_CHECK(q->b.qp.max_pdu == q->peer->b.qp.max_pdu ||
			  q->peer->b.qp.conn != TZ_CONN_UP, "max_pdu");
}

bool dial_can_act(const struct sim_qp *q)
{
	const struct tz_qp *qp = &q->b.qp;

	if (tz_dial_connected(qp))
		return false;
	if (tz_dial_act(qp) != TZ_ACT_NONE)
		return true;
	if (tz_dial_state(qp) == TZ_DIAL_OPENING)
		return q->dial_at && q->dial_at <= q->sim->now;
	if (tz_dial_state(qp) != TZ_DIAL_GREETING)
		return false;
	if (q->silent_until)
		return q->silent_until <= q->sim->now;
	return q->reply_got < q->reply_len ? q->reply_at <= q->sim->now :
					     q->reply_end;
}

void dial_act(struct sim_qp *q)
{
	switch (tz_dial_act(&q->b.qp)) {
	case TZ_ACT_OPEN:
		dial_open(q);
		return;
	case TZ_ACT_NONE:
		break;
	default:
		q->sim->sum_given_up++;
		TRACE(q, "gives up its stream");
		dial_lost(q);
		return;
	}
	if (tz_dial_state(&q->b.qp) == TZ_DIAL_OPENING)
		dial_greet(q);
	else
		dial_listen(q);
}

/* ---- the life of a queue pair -------------------------------------------- */

/* RTR: those that came before are looked at again. */
void dial_started(struct sim_qp *q)
{
	struct sim_call *call;

	while ((call = dial_call_of(tz_dial_unpark(&q->b.qp)))) {
		BED_CHECK(call->used && call->parked && call->to == q,
			  "%s: an unknown call was parked", q->name);
		call->parked = false;
		/* The backend may see that it has been hung up on, or not yet. */
		if (call->from && call->from->call != call &&
		    rng_chance(&q->sim->rng, 1, 2))
			dial_call_end(call);
		else
			dial_judge(q->sim, call);
	}
}

/* RESET without, or with, a stream that is being made. */
void dial_forget(struct sim_qp *q)
{
	struct sim_call *call;

	dial_drop(q);
	while ((call = dial_call_of(tz_dial_unpark(&q->b.qp))))
		dial_call_end(call);
}

/* ---- strangers ----------------------------------------------------------- */

/* Knows names and addresses, perhaps, but not the PSN; or all but the address. */
void dial_stranger(struct sim *s)
{
	struct sim_qp *q = s->qp[rng_below(&s->rng, s->num_qps)];
	struct rng *r = &s->rng;
	struct tz_hello h;
	u8 from[16];

	memset(&h, 0, sizeof(h));
	h.magic = tz_cpu_to_le32(TZ_HELLO_MAGIC);
	h.version = tz_cpu_to_le16(TZ_PROTO_VERSION);
	h.max_pdu = tz_cpu_to_le32(TZ_MIN_PDU_BYTES);
	h.src_qpn = tz_cpu_to_le32(q->attr.dest_qpn);
	h.dst_qpn = tz_cpu_to_le32(q->b.qp.init.qpn);
	memcpy(h.src_gid, q->attr.dgid, 16);
	memcpy(h.dst_gid, q->attr.sgid, 16);
	h.session_id = tz_cpu_to_le64(rng_next(r));
	h.qp_type = tz_cpu_to_le16(q->b.qp.init.type);
	h.sq_psn = tz_cpu_to_le32(q->attr.rq_psn);
	h.next_tx_msn = h.sq_psn;
	h.rq_psn = tz_cpu_to_le32(q->attr.sq_psn);
	h.next_rx_msn = h.rq_psn;
	memcpy(from, q->attr.dgid, 16);
	switch (rng_below(r, 6)) {
	case 0:
		from[3] ^= 1 + rng_below(r, 255);
		break;
	case 1:
		h.src_gid[rng_below(r, 16)] ^= 1;
		break;
	case 2:
		h.qp_type = tz_cpu_to_le16(q->b.qp.init.type ^ 1);
		break;
	case 3:
		rng_fill(r, (u8 *)&h + 8, sizeof(h) - 8);
		break;
	default:
		h.sq_psn = tz_cpu_to_le32((q->attr.rq_psn + 1 + rng_below(r, 9)) &
					  0xffffff);
		if (rng_chance(r, 1, 2)) {
			h.sq_psn = tz_cpu_to_le32(TZ_PSN_UNKNOWN);
			h.rq_psn = tz_cpu_to_le32((q->attr.sq_psn + 1) & 0xffffff);
		}
		break;
	}
	dial_call_new(s, NULL, q, &h, from);
}

/* ---- steps --------------------------------------------------------------- */

/* One of the calls that have something to say; false: none has. */
bool dial_calls_step(struct sim *s)
{
	u32 first = rng_below(&s->rng, SIM_CALLS), i;

	for (i = 0; i < SIM_CALLS; i++) {
		struct sim_call *call = &s->call[(first + i) % SIM_CALLS];

		if (call->used && !call->parked && call->at <= s->now) {
			dial_call_step(s, call);
			return true;
		}
	}
	return false;
}

static void dial_sooner(u64 *best, u64 now, u64 at)
{
	if (at > now && (!*best || at < *best))
		*best = at;
}

u64 dial_next_event(const struct sim *s)
{
	u64 best = 0;
	u32 i;

	for (i = 0; i < SIM_CALLS; i++)
		if (s->call[i].used && !s->call[i].parked)
			dial_sooner(&best, s->now, s->call[i].at);
	for (i = 0; i < s->num_qps; i++) {
		dial_sooner(&best, s->now, s->qp[i]->dial_at);
		dial_sooner(&best, s->now, s->qp[i]->silent_until);
		if (s->qp[i]->reply_got < s->qp[i]->reply_len)
			dial_sooner(&best, s->now, s->qp[i]->reply_at);
	}
	return best;
}
