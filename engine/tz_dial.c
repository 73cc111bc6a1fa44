// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * tz_dial.c - the connection's policy, see tz_dial.h.
 */
#include "tz_dial.h"

/* ---- hellos -------------------------------------------------------------- */

enum tz_hello_got tz_hello_take(struct tz_hello_rx *rx, u32 bytes)
{
	const struct tz_hello *h = &rx->hello;

	tz_assert(bytes <= sizeof(*h) - rx->got);
	rx->got += bytes;
	/* Wrong magic: not a tcpzc peer, whatever else it would say. */
	if (rx->got >= sizeof(h->magic) &&
	    tz_le32_to_cpu(h->magic) != TZ_HELLO_MAGIC)
		return TZ_HELLO_GARBAGE;
	if (rx->got < sizeof(*h))
		return TZ_HELLO_MORE;
	switch (tz_shake_check(h)) {
	case TZ_HELLO_BAD_VERSION:
		return TZ_HELLO_FOREIGN;
	case TZ_HELLO_MALFORMED:
		return TZ_HELLO_GARBAGE;
	default:
		return TZ_HELLO_COMPLETE;
	}
}

/* ---- states -------------------------------------------------------------- */

const char *tz_dial_state_name(enum tz_dial_state state)
{
	static const char *const names[] = {
		[TZ_DIAL_IDLE] = "idle",
		[TZ_DIAL_WAITING] = "waiting",
		[TZ_DIAL_OPENING] = "opening",
		[TZ_DIAL_GREETING] = "greeting",
		[TZ_DIAL_ANSWERING] = "answering",
		[TZ_DIAL_UP] = "up",
		[TZ_DIAL_PARTING] = "parting",
		[TZ_DIAL_DONE] = "done",
	};

	return names[state];
}

static enum tz_role tz_dial_role(const struct tz_qp *qp)
{
	return tz_shake_role(&qp->attr, qp->init.qpn);
}

/* May a connection be made? */
static bool tz_dial_alive(const struct tz_qp *qp)
{
	return !qp->closing && !tz_qp_is_ud(qp) &&
	       (qp->state == TZ_RTR || qp->state == TZ_RTS ||
		qp->state == TZ_SQD);
}

static enum tz_act tz_dial_act_up(const struct tz_qp *qp)
{
	if (tz_qp_must_cut(qp))
		return tz_qp_must_reset(qp) ? TZ_ACT_RESET : TZ_ACT_CLOSE;
	if (!qp->closing || tz_qp_tx_pending(qp))
		return TZ_ACT_NONE;
	if (!tz_qp_must_reset(qp))
		return TZ_ACT_CLOSE;
	/*
	 * Requests that the peer may still execute: it closes its end when it has
	 * come to ours, and is waited for until tz_qp.drain_until. But nothing of
	 * what was sent to a stale peer is to be executed.
	 */
	if (!qp->draining)
		return TZ_ACT_RESET;
	return qp->dial.state == TZ_DIAL_UP ? TZ_ACT_HALF_CLOSE : TZ_ACT_NONE;
}

enum tz_act tz_dial_act(const struct tz_qp *qp)
{
	const struct tz_dial *d = &qp->dial;

	switch (d->state) {
	case TZ_DIAL_IDLE:
		if (tz_dial_alive(qp) && tz_dial_role(qp) != TZ_ROLE_ACCEPT)
			return TZ_ACT_OPEN;
		return qp->closing ? TZ_ACT_CLOSE : TZ_ACT_NONE;
	case TZ_DIAL_WAITING:
		return qp->closing ? TZ_ACT_CLOSE : TZ_ACT_NONE;
	case TZ_DIAL_OPENING:
		return qp->closing || d->late ? TZ_ACT_RESET : TZ_ACT_NONE;
	case TZ_DIAL_GREETING:
	case TZ_DIAL_ANSWERING:
		return qp->closing ? TZ_ACT_RESET : TZ_ACT_NONE;
	case TZ_DIAL_UP:
	case TZ_DIAL_PARTING:
		return tz_dial_act_up(qp);
	case TZ_DIAL_DONE:
		break;
	}
	return TZ_ACT_NONE;
}

static void tz_dial_enter(struct tz_qp *qp, enum tz_dial_state state, u64 at)
{
	struct tz_dial *d = &qp->dial;

	tz_store_once(&d->state, state);
	d->at = at;
	d->late = false;
}

void tz_dial_opening(struct tz_qp *qp, u64 now)
{
	tz_assert(tz_dial_act(qp) == TZ_ACT_OPEN);
	tz_dial_enter(qp, TZ_DIAL_OPENING, now + TZ_DIAL_PATIENCE_NS);
	qp->dial.max_pdu = qp->init.max_pdu;
	qp->dial.answered = tz_dial_role(qp) == TZ_ROLE_SELF;
	qp->dial.blind = qp->state == TZ_RTR;
}

void tz_dial_hello(struct tz_qp *qp, u64 session_id, struct tz_hello *out)
{
	struct tz_dial *d = &qp->dial;

	tz_assert(d->state == TZ_DIAL_OPENING);
	/*
	 * It may wait for the peer's RTR as long as that takes. If it were given up, the
	 * peer could take it at this very moment, and would have had its connection.
	 */
	tz_dial_enter(qp, TZ_DIAL_GREETING, 0);
	d->session_id = session_id;
	d->rx.got = 0;
	d->answered = false;
	tz_shake_call(qp, session_id, out);
	d->blind = !qp->shake.told;
}

u32 tz_dial_want(struct tz_qp *qp, u8 **ptr)
{
	tz_assert(qp->dial.state == TZ_DIAL_GREETING);
	return tz_hello_want(&qp->dial.rx, ptr);
}

/* Is the hello that has been received the answer to the call of @qp? */
static bool tz_dial_is_answer(struct tz_qp *qp, u64 now)
{
	struct tz_dial *d = &qp->dial;
	const struct tz_hello *h = &d->rx.hello;

	return tz_le16_to_cpu(h->status) == TZ_HELLO_OK &&
	       tz_le64_to_cpu(h->session_id) == d->session_id &&
	       tz_shake_judge_answer(qp, h, now, &d->max_pdu) == TZ_HELLO_OK;
}

enum tz_hello_got tz_dial_take(struct tz_qp *qp, u32 bytes, u64 now)
{
	struct tz_dial *d = &qp->dial;
	enum tz_hello_got got;

	tz_assert(d->state == TZ_DIAL_GREETING);
	got = tz_hello_take(&d->rx, bytes);
	if (got != TZ_HELLO_COMPLETE)
		return got;
	if (!tz_dial_is_answer(qp, now))
		return TZ_HELLO_GARBAGE;
	d->answered = true;
	return TZ_HELLO_COMPLETE;
}

bool tz_dial_up(struct tz_qp *qp, u64 now)
{
	struct tz_dial *d = &qp->dial;

	tz_assert(d->answered && (d->state == TZ_DIAL_OPENING ||
				  d->state == TZ_DIAL_GREETING ||
				  d->state == TZ_DIAL_ANSWERING));
	if (!tz_dial_alive(qp))
		return false;
	tz_dial_enter(qp, TZ_DIAL_UP, 0);
	tz_qp_connected(qp, d->max_pdu, now);
	return true;
}

/* ---- the end ------------------------------------------------------------- */

void tz_dial_parting(struct tz_qp *qp)
{
	tz_assert(tz_dial_connected(qp));
	tz_dial_enter(qp, TZ_DIAL_PARTING, 0);
}

bool tz_dial_part(struct tz_qp *qp)
{
	if (!tz_dial_connected(qp) || !tz_qp_must_reset(qp))
		return false;
	tz_dial_parting(qp);
	return true;
}

/* Not this time; again a little later, for as long as the queue pair exists. */
static void tz_dial_back_off(struct tz_qp *qp, u64 now)
{
	struct tz_dial *d = &qp->dial;

	if (tz_dial_role(qp) == TZ_ROLE_ACCEPT) {
		tz_dial_enter(qp, TZ_DIAL_IDLE, 0);
		return;
	}
	d->backoff_ns = d->backoff_ns ? 2 * d->backoff_ns : TZ_DIAL_BACKOFF_MIN_NS;
	d->backoff_ns = tz_min(d->backoff_ns, TZ_DIAL_BACKOFF_MAX_NS);
	tz_dial_enter(qp, TZ_DIAL_WAITING, now + d->backoff_ns);
}

void tz_dial_lost(struct tz_qp *qp, u64 now)
{
	bool was_up = tz_dial_connected(qp);

	tz_assert(qp->dial.state != TZ_DIAL_DONE);
	if (!was_up && tz_dial_alive(qp)) {
		tz_dial_back_off(qp, now);
		return;
	}
	tz_dial_enter(qp, TZ_DIAL_DONE, 0);
	tz_qp_disconnected(qp, now);
	/* It was not the peer, which may still come, or answer the next time. */
	if (tz_qp_conn(qp) == TZ_CONN_NONE) {
		tz_shake_wrong(qp, now);
		tz_dial_back_off(qp, now);
	}
}

/* ---- time ---------------------------------------------------------------- */

/* The last attempt was made before RTS: the peer can compare the next one. */
static bool tz_dial_knows_more(const struct tz_qp *qp)
{
	return qp->dial.blind && qp->state == TZ_RTS;
}

static u64 tz_dial_own_deadline(const struct tz_qp *qp)
{
	const struct tz_dial *d = &qp->dial;

	if (d->state == TZ_DIAL_WAITING && tz_dial_knows_more(qp))
		return 1;
	return d->late ? 0 : d->at;
}

u64 tz_dial_deadline(const struct tz_qp *qp)
{
	u64 a = tz_qp_deadline(qp), b = tz_dial_own_deadline(qp);

	if (!a || !b)
		return a ? a : b;
	return tz_min(a, b);
}

void tz_dial_timer(struct tz_qp *qp, u64 now)
{
	u64 at = tz_dial_own_deadline(qp);

	tz_qp_timer(qp, now);
	if (!at || now < at)
		return;
	if (qp->dial.state == TZ_DIAL_WAITING) {
		if (tz_dial_knows_more(qp))
			qp->dial.backoff_ns = 0;
		qp->dial.blind = false;
		tz_dial_enter(qp, TZ_DIAL_IDLE, 0);
	} else {
		qp->dial.late = true;
	}
}

/* ---- callers ------------------------------------------------------------- */

/* A refusal is an answer. */
static bool tz_caller_calls(const struct tz_caller *c)
{
	return tz_le16_to_cpu(c->rx.hello.status) == TZ_HELLO_OK;
}

enum tz_hello_got tz_caller_take(struct tz_caller *c, u32 bytes)
{
	enum tz_hello_got got = tz_hello_take(&c->rx, bytes);

	if (got == TZ_HELLO_COMPLETE && !tz_caller_calls(c))
		return TZ_HELLO_GARBAGE;
	return got;
}

static enum tz_call tz_dial_park(struct tz_qp *qp, struct tz_caller *c)
{
	struct tz_parking *p = &qp->parking;

	if (p->num == TZ_MAX_PARKED)
		return TZ_CALL_REFUSED;
	p->caller[p->num++] = c;
	return TZ_CALL_PARKED;
}

struct tz_caller *tz_dial_unpark(struct tz_qp *qp)
{
	struct tz_parking *p = &qp->parking;

	return p->num ? p->caller[--p->num] : NULL;
}

/* Is it the other end of a stream that a queue pair has opened to itself? */
static bool tz_dial_is_own(const struct tz_qp *qp, const struct tz_hello *h)
{
	return qp->dial.state == TZ_DIAL_GREETING && !qp->dial.answered &&
	       tz_dial_role(qp) == TZ_ROLE_SELF &&
	       tz_le64_to_cpu(h->session_id) == qp->dial.session_id;
}

static enum tz_call tz_dial_judge(struct tz_qp *qp, const struct tz_caller *c,
				     struct tz_hello *answer, u64 now)
{
	const struct tz_hello *h = &c->rx.hello;
	struct tz_dial *d = &qp->dial;
	bool own = tz_dial_is_own(qp, h);

	/*
	 * The connection must come from where its hello says. And only a caller
	 * that this queue pair could take has a guess at the PSN.
	 */
	if (memcmp(c->from, qp->attr.dgid, sizeof(c->from)) != 0 ||
	    (!own && (d->state != TZ_DIAL_IDLE ||
		      tz_dial_role(qp) != TZ_ROLE_ACCEPT)) ||
	    tz_shake_judge_call(qp, h, now, &d->max_pdu) != TZ_HELLO_OK)
		return TZ_CALL_REFUSED;
	d->answered = true;
	if (own)
		return TZ_CALL_OWN;
	tz_shake_answer(qp, tz_le64_to_cpu(h->session_id), answer);
	tz_dial_enter(qp, TZ_DIAL_ANSWERING, 0);
	return TZ_CALL_TAKEN;
}

enum tz_call tz_dial_call(struct tz_qp *qp, struct tz_caller *c,
			     struct tz_hello *answer, u64 now)
{
	if (!tz_caller_calls(c) || tz_qp_is_ud(qp))
		return TZ_CALL_REFUSED;
	if (qp->state == TZ_RESET || qp->state == TZ_INIT)
		return tz_dial_park(qp, c);
	if (!tz_dial_alive(qp))
		return TZ_CALL_REFUSED;
	return tz_dial_judge(qp, c, answer, now);
}

/* ---- the lobby ----------------------------------------------------------- */

static struct tz_caller *tz_lobby_take(struct tz_lobby *lobby, u32 i)
{
	struct tz_caller *c = lobby->caller[i];

	lobby->num--;
	for (; i < lobby->num; i++)
		lobby->caller[i] = lobby->caller[i + 1];
	return c;
}

static bool tz_lobby_same_network(const u8 a[16], const u8 b[16])
{
	return memcmp(a, b, tz_gid_is_v4(a) ? 16 : 8) == 0;
}

/* Index of the oldest caller of the network that has most of them. */
static u32 tz_lobby_crowd(const struct tz_lobby *lobby)
{
	u32 i, j, n, best = 0, most = 0;

	for (i = 0; i < lobby->num && most < lobby->num - i; i++) {
		for (j = i, n = 0; j < lobby->num; j++)
			n += tz_lobby_same_network(lobby->caller[i]->from,
						   lobby->caller[j]->from);
		if (n > most) {
			most = n;
			best = i;
		}
	}
	return best;
}

struct tz_caller *tz_lobby_enter(struct tz_lobby *lobby, struct tz_caller *c,
				 const u8 from[16], u64 now)
{
	struct tz_caller *leaves = NULL;

	if (lobby->num == TZ_MAX_CALLERS)
		leaves = tz_lobby_take(lobby, tz_lobby_crowd(lobby));
	memset(c, 0, sizeof(*c));
	memcpy(c->from, from, sizeof(c->from));
	c->deadline = now + TZ_CALLER_NS;
	lobby->caller[lobby->num++] = c;
	return leaves;
}

bool tz_lobby_leave(struct tz_lobby *lobby, struct tz_caller *c)
{
	u32 i;

	for (i = 0; i < lobby->num; i++)
		if (lobby->caller[i] == c) {
			tz_lobby_take(lobby, i);
			return true;
		}
	return false;
}

struct tz_caller *tz_lobby_expired(struct tz_lobby *lobby, u64 now)
{
	if (!lobby->num || now < lobby->caller[0]->deadline)
		return NULL;
	return tz_lobby_take(lobby, 0);
}

struct tz_caller *tz_lobby_empty(struct tz_lobby *lobby)
{
	return lobby->num ? lobby->caller[--lobby->num] : NULL;
}

u64 tz_lobby_deadline(const struct tz_lobby *lobby)
{
	return lobby->num ? lobby->caller[0]->deadline : 0;
}

/* ---- lingering ----------------------------------------------------------- */

void tz_linger_start(struct tz_linger *l, enum tz_linger_kind kind, u64 now)
{
	static const u64 ns[] = {
		[TZ_LINGER_RC] = TZ_LINGER_RC_NS,
		[TZ_LINGER_UC] = TZ_LINGER_UC_NS,
		[TZ_LINGER_REFUSED] = TZ_LINGER_REFUSED_NS,
	};

	l->deadline = now + ns[kind];
	l->patience = now + (kind == TZ_LINGER_REFUSED ? TZ_LINGER_REFUSED_NS :
							 TZ_LINGER_NS);
	l->bytes = 0;
}

bool tz_linger_over(const struct tz_linger *l, bool taken, u64 now)
{
	return l->bytes > TZ_LINGER_BYTES ||
	       now >= (taken ? l->patience : l->deadline);
}

u64 tz_linger_deadline(const struct tz_linger *l, u64 now)
{
	return now < l->patience ? l->patience : l->deadline;
}
