/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * tz_dial.h - the life of a queue pair's connection: opening a stream to the
 * peer, the hand-shake, calls from outside, and how a stream ends.
 *
 * This is policy, sans I/O as the rest of the engine. A backend opens, reads,
 * writes and closes streams, and reports what happened. A stream is whatever
 * carries bytes in order to the peer (TCP today); the engine never sees it. The
 * state is part of struct tz_qp and changes under the lock that protects the
 * queue pair, together with it.
 *
 *	tz_dial_act()		what is to be done with the stream now?
 *	  TZ_ACT_OPEN		open one: tz_dial_opening(), and when it is
 *				established tz_dial_hello(), or tz_dial_lost()
 *	  TZ_ACT_HALF_CLOSE	tz_dial_parting(); send the end of the stream, then
 *				read and discard until the peer's end: tz_dial_lost()
 *	  TZ_ACT_CLOSE		close, what is queued may still be sent; tz_dial_lost()
 *	  TZ_ACT_RESET		reset, what is queued must never be sent; when that is
 *				so, and not before, tz_dial_lost()
 *	tz_dial_lost()		the stream is over, whichever side has ended it
 *
 * Both sides of a connection know which one opens it (tz_shake_role()). A stream
 * that arrives from outside is a caller. It waits in the lobby of its host until its
 * hello is complete; then tz_dial_call() lets the queue pair that it names judge it.
 *
 * A queue pair that goes to RESET forgets its stream: the backend asks
 * tz_dial_part() before, and closes it.
 */
#ifndef TZ_DIAL_H
#define TZ_DIAL_H

#include "tz_qp.h"
#include "tz_shake.h"

/* ---- hellos -------------------------------------------------------------- */

/* Where the next bytes of a hello go; 0 bytes: it is complete. */
static inline u32 tz_hello_want(struct tz_hello_rx *rx, u8 **ptr)
{
	*ptr = (u8 *)&rx->hello + rx->got;
	return sizeof(rx->hello) - rx->got;
}

enum tz_hello_got {
	TZ_HELLO_MORE,		/* not complete yet */
	TZ_HELLO_COMPLETE,
	TZ_HELLO_FOREIGN,	/* of another version: to be told so, and closed */
	TZ_HELLO_GARBAGE	/* no hello: close at once */
};

/* @bytes have arrived there. */
enum tz_hello_got tz_hello_take(struct tz_hello_rx *rx, u32 bytes);

/* ---- the queue pair's side ----------------------------------------------- */

/* Time for a stream to be established. The answer to the hello has no limit. */
#define TZ_DIAL_PATIENCE_NS	10000000000ull
/* Pauses between attempts, each twice as long as the one before. */
#define TZ_DIAL_BACKOFF_MIN_NS	1000000ull
#define TZ_DIAL_BACKOFF_MAX_NS	512000000ull
/* How long RESET and destruction wait for the peer's end. */
#define TZ_DIAL_PART_NS		200000000ull

enum tz_act {
	TZ_ACT_NONE,
	TZ_ACT_OPEN,
	TZ_ACT_HALF_CLOSE,
	TZ_ACT_CLOSE,
	TZ_ACT_RESET
};

/* What the backend is to do; changes nothing. */
enum tz_act tz_dial_act(const struct tz_qp *qp);

/* It may be read without the owner's lock, and be out of date then. */
static inline enum tz_dial_state tz_dial_state(const struct tz_qp *qp)
{
	return tz_load_once(&qp->dial.state);
}

/* For people: "idle", "up", ... */
const char *tz_dial_state_name(enum tz_dial_state state);

/* Is there a stream that carries PDUs, or has until a moment ago? */
static inline bool tz_dial_connected(const struct tz_qp *qp)
{
	return tz_dial_state(qp) == TZ_DIAL_UP ||
	       tz_dial_state(qp) == TZ_DIAL_PARTING;
}

/* A stream is being opened, as TZ_ACT_OPEN asked. */
void tz_dial_opening(struct tz_qp *qp, u64 now);

/*
 * It is established: *@out is to be sent, all of it, before anything else.
 * @session_id is random.
 */
void tz_dial_hello(struct tz_qp *qp, u64 session_id, struct tz_hello *out);

/*
 * TZ_DIAL_GREETING: where bytes of the answer go, and not a byte of what follows
 * it; then @bytes have arrived there. TZ_HELLO_COMPLETE: it is the peer, and
 * tz_dial_up() follows; anything but that and TZ_HELLO_MORE: reset the stream,
 * tz_dial_lost().
 */
u32 tz_dial_want(struct tz_qp *qp, u8 **ptr);
enum tz_hello_got tz_dial_take(struct tz_qp *qp, u32 bytes, u64 now);

/*
 * The stream carries PDUs from now on: after the right answer, after a call that
 * was taken, or, of a queue pair that is its own peer, as soon as it is
 * established. False: the queue pair has failed meanwhile, see tz_dial_act().
 */
bool tz_dial_up(struct tz_qp *qp, u64 now);

/* Nothing more is sent; the backend reads and discards until the peer's end. */
void tz_dial_parting(struct tz_qp *qp);

/*
 * Before RESET and destruction. True: requests are under way that must not be
 * executed later. The backend sends the end of the stream, and waits for the
 * peer's, which says that the peer has read everything, but for no longer than
 * TZ_DIAL_PART_NS; after that it resets the stream.
 */
bool tz_dial_part(struct tz_qp *qp);

/*
 * There is no stream any more: it could not be opened, the peer has ended it, or
 * it was closed as tz_dial_act() asked; or there never was one, and
 * TZ_ACT_CLOSE asked nevertheless. tz_qp_must_reset() says before how a stream
 * that the peer has ended is to be closed. Goes on to another attempt where that
 * is due.
 */
void tz_dial_lost(struct tz_qp *qp, u64 now);

/* tz_qp_deadline() and tz_qp_timer(), and those of the connection. */
u64 tz_dial_deadline(const struct tz_qp *qp);
void tz_dial_timer(struct tz_qp *qp, u64 now);

/* What should hold of the connection between two calls; NULL: all does. */
const char *tz_dial_check(const struct tz_qp *qp);

/* ---- callers ------------------------------------------------------------- */

/* A stream that arrived from outside; embedded in the backend's object for it. */
struct tz_caller {
	struct tz_hello_rx rx;
	u8 from[16];		/* GID of the address that it comes from */
	u64 deadline;		/* for its hello */
};

/* tz_hello_take() for its hello; what is no call is garbage. */
enum tz_hello_got tz_caller_take(struct tz_caller *c, u32 bytes);

enum tz_call {
	TZ_CALL_REFUSED,	/* answer tz_shake_refuse()'s, close */
	TZ_CALL_PARKED,		/* keep it until tz_dial_unpark() gives it back */
	TZ_CALL_TAKEN,		/* send the answer, then tz_dial_up(), or ..._lost() */
	TZ_CALL_OWN		/* the other end of the QP's stream to itself: ..._up() */
};

/*
 * A complete call for @qp. Takes nothing but what the peer can have sent, and
 * tells nothing else to anyone. *@answer is for TZ_CALL_TAKEN.
 */
enum tz_call tz_dial_call(struct tz_qp *qp, struct tz_caller *c,
			     struct tz_hello *answer, u64 now);

/*
 * The newest call that was parked before RTR, or NULL. After RTR each of them is
 * offered once more (the newest first: the peer may have tried, reset its queue
 * pair, and tried again); after RESET and before destruction each is closed.
 */
struct tz_caller *tz_dial_unpark(struct tz_qp *qp);

/*
 * Callers of one host (a context in user mode, a network namespace in kernel
 * mode) that have not said their hello, by age. The backend serialises.
 */
#define TZ_MAX_CALLERS		256u
#define TZ_CALLER_NS		5000000000ull

struct tz_lobby {
	struct tz_caller *caller[TZ_MAX_CALLERS];
	u32 num;
};

/*
 * @c enters, from @from. With TZ_MAX_CALLERS in it one leaves for it, the oldest of
 * the network that has most of them (an IPv4 address, or 64 bits of an IPv6 one):
 * it is taken out and returned, to be closed. NULL: there was room.
 */
struct tz_caller *tz_lobby_enter(struct tz_lobby *lobby, struct tz_caller *c,
				 const u8 from[16], u64 now);
/* False: it is not there (any more). */
bool tz_lobby_leave(struct tz_lobby *lobby, struct tz_caller *c);
/* The oldest if its time is over, taken out; else NULL. */
struct tz_caller *tz_lobby_expired(struct tz_lobby *lobby, u64 now);
/* Anyone, taken out; NULL: it is empty. */
struct tz_caller *tz_lobby_empty(struct tz_lobby *lobby);
/* When tz_lobby_expired() has something; 0: never. */
u64 tz_lobby_deadline(const struct tz_lobby *lobby);

/* ---- streams without a queue pair ---------------------------------------- */

/*
 * A stream that was closed in peace (TZ_ACT_CLOSE) is kept until the peer has
 * taken what was said last (an acknowledgement, or why the connection ends) and has
 * ended its side, too. What it still sends is read and discarded: unread bytes
 * would turn the close into a reset, which may overtake the last words. It is reset
 * when that takes too long.
 */
#define TZ_LINGER_NS		2000000000ull	/* all is taken; the peer's end is due */
#define TZ_LINGER_RC_NS		60000000000ull	/* to take what was said last */
#define TZ_LINGER_UC_NS		3000000000ull
#define TZ_LINGER_REFUSED_NS	1000000000ull	/* of a caller: for both */
#define TZ_LINGER_BYTES		(64ull << 20)	/* more cannot have been under way */
/* Of one host; then the oldest one of its kind is reset. */
#define TZ_MAX_LINGERING	1024u
#define TZ_MAX_REFUSED		64u

enum tz_linger_kind { TZ_LINGER_RC, TZ_LINGER_UC, TZ_LINGER_REFUSED };

struct tz_linger {
	u64 patience;		/* until then the peer may leave its side open */
	u64 deadline;		/* until then it may leave bytes untaken */
	u64 bytes;		/* that it has sent meanwhile */
};

void tz_linger_start(struct tz_linger *l, enum tz_linger_kind kind, u64 now);
/* @bytes were read and discarded. */
static inline void tz_linger_read(struct tz_linger *l, u64 bytes)
{
	l->bytes += bytes;
}
/* @taken: the peer has acknowledged everything, the end of the stream included. */
bool tz_linger_over(const struct tz_linger *l, bool taken, u64 now);
/* When to ask again at the latest. */
u64 tz_linger_deadline(const struct tz_linger *l, u64 now);

#endif /* TZ_DIAL_H */
