/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * sim.h - the simulated world: hosts with memory, queue pairs, streams between
 * them, programs that post work requests, and an oracle that knows what must
 * come of it. See README.md.
 *
 *   main.c	command line
 *   sim.c	one run: configuration, scheduler, end
 *   net.c	streams
 *   dial.c	how queue pairs get them: calls, hand-shakes, strangers
 *   app.c	programs: random work requests, good and bad ones
 *   oracle.c	checks every access to memory and every completion
 *   wire.c	checks every PDU; the trace
 *   evil.c	hostile rings, hostile peers
 *   bed.c	memory regions, rings
 */
#ifndef SIM_SIM_H
#define SIM_SIM_H

#include "bed.h"
#include "rng.h"

#define SIM_MAX_QPS	4
#define SIM_MAX_HOSTS	4
#define SIM_WORDS	8	/* 64-bit words for atomics, per host */
#define SIM_BLOCK	64u
#define SIM_DST_CELLS	6
#define SIM_RCV_CELLS	8
#define SIM_PD		7u
#define SIM_OTHER_PD	8u
#define SIM_SRQ_PD	9u	/* of an SRQ that has one of its own */
/* From here on nothing is made worse. */
#define SIM_ENOUGH_STEPS	8000u

#define US		1000ull
#define MS		1000000ull
#define SEC		1000000000ull

struct sim;
struct sim_qp;

/* ---- what programs ask for ---------------------------------------------- */

struct sim_seg {
	u32 off;		/* in the host's memory */
	u32 len;
	u32 mr;			/* id of the region named */
};

enum sim_fault {
	SIM_FAULT_NONE,
	SIM_FAULT_LOCAL,	/* the requester's engine must find it */
	SIM_FAULT_REMOTE	/* the responder's must */
};

/* A send work request and what has become of it. */
struct sim_msg {
	u64 wr_id;
	u8 opcode, flags;
	bool signaled;
	bool tainted;		/* a region that it names is gone: may fail */
	enum sim_fault fault;
	u8 fate;		/* how it ends if nothing else happens */
	u32 len;
	u8 *data;		/* what must arrive */
	u32 imm;
	u32 num_seg;
	struct sim_seg seg[TCPZC_MAX_SGE];
	int cell;		/* of the destination area, or -1 */
	u32 roff;		/* in the memory of the peer's host */
	u32 rmr;
	u64 compare_add, swap;
	u64 old;		/* the atomic's answer, once executed */
	u32 placed;		/* bytes of SEND and WRITE at the peer */
	u32 answered;		/* bytes of the answer here */
	bool atomic_done;
	bool recv_done;		/* it has completed a receive at the peer */
	bool over;		/* completed or retired */
	u64 over_at;		/* ... at this step */
};

/* A receive work request. */
struct sim_recv {
	u64 wr_id;
	u8 fate;		/* how a SEND that takes it makes it end */
	bool tainted;
	u32 cell;
	u32 cap;
	u32 num_seg;
	struct sim_seg seg[TCPZC_MAX_SGE];
};

/* A receive queue, of one QP or shared by those of a host. */
struct sim_rq {
	struct sim_qp *owner;	/* NULL: shared */
	struct bed_srq *srq;
	struct sim_recv **recv;	/* all that were posted */
	u32 num, room;
	u32 taken;		/* SRQ: handed to some QP; RQ: completed */
	u32 base, cell_bytes, num_cells;
	u32 busy;		/* bit mask of cells */
};

/* ---- streams ------------------------------------------------------------ */

#define SIM_CHUNKS	256u

struct sim_chunk {
	const u8 *ref;		/* zero copy: read when it is delivered */
	u8 *copy;
	u32 pos, len;
	u64 at;			/* when it arrives */
};

struct sim_pipe {
	struct sim_chunk chunk[SIM_CHUNKS];
	u32 head, tail;
	u32 bytes;
	u64 last_at;
	u64 stalled_until;
	bool fin;		/* ends after what is in it */
	bool deaf;		/* nobody reads any more */
	u64 fin_at;
};

/* Parser of what a side sends. */
struct sim_wire {
	union tz_any_hdr hdr;
	u32 have;
	u32 payload;		/* bytes to skip */
	u32 next_msn;
	u32 ack;
	u32 rnr_seen;
	u32 begun;		/* messages of which something was sent */
	u64 not_before;		/* after an RNR NAK: when to send again */
	u32 rnr_msn, rnr_rounds;	/* how often the same one was sent again */
	bool in_msg;
	u32 off;
	u32 resp_off;
	u32 resp_next;		/* message index of the peer */
	u64 pdus;
	bool nak_sent;
};

struct sim_conn {
	struct sim_qp *end[2];	/* the same one if it is its own peer */
	struct sim_pipe dir[2];	/* from end[i] */
	bool unreachable;	/* in this life */
	bool attacker;		/* end[1] is none of ours */
	struct rng evil;	/* what the attacker does */
	u8 *evil_out;		/* bytes it is about to send */
	u32 evil_len, evil_pos, evil_left, evil_msn;
};

/* A stream from outside that its queue pair has not taken yet. */
#define SIM_CALLS	32u

struct sim_call {
	struct tz_caller c;	/* first */
	bool used;
	bool parked;
	struct sim_qp *from;	/* NULL: a stranger; no longer its call: it hung up */
	struct sim_qp *to;
	u8 bytes[sizeof(struct tz_hello)];
	u64 at;			/* when more of it arrives */
};

/* ---- queue pairs -------------------------------------------------------- */

/* Why a QP may be in ERR, or may lose its peer. */
#define SIM_WHY_APP		(1u << 0)	/* the program said so */
#define SIM_WHY_SEND		(1u << 1)	/* a send ended with an error */
#define SIM_WHY_RECV		(1u << 2)	/* a receive did */
#define SIM_WHY_REQUEST		(1u << 3)	/* the peer's request was bad */
#define SIM_WHY_FATAL		(1u << 4)	/* the stream was nonsense */

struct sim_qp {
	struct bed_qp b;	/* first */
	struct sim *sim;
	struct sim_host *host;
	struct sim_qp *peer;	/* NULL: an attacker */
	struct sim_conn *conn;
	u32 side;		/* which end of conn */
	u32 slot;		/* which slice of the host's memory */
	u32 idx;
	char name[4];

	/* the program */
	u32 budget;		/* sends still to be posted */
	u64 think_until;
	u64 rtr_at, rts_at;
	bool dirty;		/* posted since the last kick */
	bool hostile_ring;
	bool loose;		/* contents are not checked */
	u64 sqd_until;
	u64 next_wr_id;
	struct tz_qp_attr attr;	/* of the current life */
	bool rnr_finite;

	/* dialing */
	u64 dial_at;		/* when a stream is established; 0: never */
	u64 silent_until;	/* a stranger has taken the call, and hangs up then */
	struct sim_call *call;	/* this side's, until it is answered */
	bool taken;		/* the peer has taken it */
	u8 reply[sizeof(struct tz_hello)];
	u32 reply_len, reply_got;
	u64 reply_at;
	bool reply_end;		/* the peer has closed it */

	/* scheduling */
	bool tx_idle, rx_idle, timer_idle;
	bool hung_up;		/* this side has closed or seen the end */
	bool said_all;		/* ... or closed its half and waits for the peer */
	bool by_reference;	/* the stream may refer to regions */
	u64 pulled_at;		/* the step at which bytes arrived last */

	/* the model */
	struct sim_msg **msg;
	u32 num_msg, room_msg;
	u32 over;		/* messages before it are over */
	u32 exec;		/* ... are executed as far as can be seen */
	u32 resp;		/* ... have their answers */
	u32 acked;		/* ... the peer said so */
	struct sim_rq *rq;
	struct sim_recv **took;	/* SRQ: taken, in order */
	u32 num_took, room_took;
	u32 recvs_done;
	struct sim_msg *refused;	/* the peer's SEND that failed here */
	u8 refused_status;
	u32 why;
	bool may_lose;		/* the connection or the peer may be gone */
	bool was_err;
	bool explained;		/* ERR has a reason */
	bool flushed;		/* a send ended with WR_FLUSH_ERR */
	bool recv_flushed;	/* a receive did */
	u32 base;		/* of the send ring, in this life */
	u32 late;		/* receives posted in ERR */
	struct sim_wire wire;
	u16 dst_use[SIM_DST_CELLS];
	u64 cqes;
	u32 call_cqes;		/* in the current call of the engine */
};

struct sim_mr {
	struct bed_mr *mr;
	u32 id;
	u32 start, len;		/* in the host's memory */
	u64 iova;
	u32 key, access, pdn;
};

struct sim_host {
	struct bed bed;
	struct sim *sim;
	u32 idx;
	u8 *mem;
	u32 bytes;
	u16 *use;		/* per block: sends that read it */
	u8 *view;		/* the windows as after all posted WRITEs */
	struct sim_mr mr[BED_MAX_MR];
	u32 num_mr;
	struct bed_srq srq;
	struct tz_lobby lobby;
	struct sim_rq shared;
	bool has_srq;
	u32 rq_pd;		/* of receives */
};

/* ---- a run -------------------------------------------------------------- */

enum sim_kind {
	SIM_CLEAN,		/* nothing goes wrong: everything is exact */
	SIM_RNR,		/* receives are posted late */
	SIM_FAULT,		/* bad work requests */
	SIM_CHAOS,		/* closes, resets, ERR and RESET at any time */
	SIM_DEREG,		/* regions go away while in use */
	SIM_STALL,		/* streams stop, peers never come */
	SIM_RING,		/* one QP's rings are scribbled on */
	SIM_ATTACK,		/* one QP's peer sends garbage */
	SIM_UC,			/* UC: connections and regions go away while in use */
	SIM_KINDS
};

struct sim_cfg {
	enum sim_kind kind;
	u32 num_qps;
	u32 max_msg;
	u32 max_pdu, tx_buf, rx_buf, copy_max, max_inline;
	u32 max_sge;
	u32 depth;
	u32 sockbuf;
	u32 chunk;		/* most bytes delivered at once */
	u32 delay_ns;
	u32 late_recv;		/* in 100 */
	u32 fault;		/* work requests in 1000 that are bad */
	u32 chaos;		/* steps in 10000 */
	u32 lives;		/* how often a pair may start again */
	bool self;		/* QP 0 is its own peer */
	bool self_calls;	/* ... and calls itself as it would another */
	u32 strangers;		/* steps in 10000 at which one calls */
	bool zero_copy;
	bool srq;
	bool sqd;
};

struct sim {
	u64 seed;
	struct rng rng;
	bool verbose;
	bool quiet;
	struct sim_cfg cfg;
	u64 now;
	u64 steps;
	u64 moved_at;		/* when something was last achieved */
	struct sim_host host[SIM_MAX_HOSTS];
	u32 num_hosts;
	struct sim_qp *qp[SIM_MAX_QPS];
	u32 num_qps;
	struct sim_conn conn[SIM_MAX_QPS / 2];
	u32 num_conns;
	struct sim_call call[SIM_CALLS];
	struct sim_qp *cur;	/* whose engine is running */
	bool direct;		/* the write does not come through mr_write */
	u32 lives;
	/* sums over all runs */
	u64 sum_steps, sum_wr, sum_pdus, sum_cqes, sum_errors, sum_rnr;
	u64 sum_calls[TZ_CALL_OWN + 1], sum_strangers, sum_given_up;
	u64 statuses[32];
};

/* Memory of a host: a slice per QP, then what is shared. */
enum sim_area { SIM_SRC, SIM_WIN, SIM_DST, SIM_RCV, SIM_ATOM, SIM_NOWHERE };

u32 sim_area_base(const struct sim *s, u32 slot, enum sim_area area);
u32 sim_area_bytes(const struct sim *s, enum sim_area area);
enum sim_area sim_area_of(const struct sim *s, u32 off, u32 *slot);
u32 sim_cell_bytes(const struct sim *s);

extern struct sim *sim_now;	/* for the message of a failed check */

__attribute__((format(printf, 3, 4)))
void sim_trace(struct sim *s, struct sim_qp *q, const char *fmt, ...);
#define TRACE(q, ...)						\
	do {							\
		if (tz_unlikely((q)->sim->verbose))		\
			sim_trace((q)->sim, q, __VA_ARGS__);	\
	} while (0)

/* sim.c */
void sim_run(struct sim *s, u64 seed, int kind);
void sim_enter(struct sim_qp *q);
void sim_leave(struct sim_qp *q);
void sim_wake(struct sim_qp *q);
void sim_moved(struct sim *s);

/* net.c */
void net_hang_up(struct sim_qp *q, bool reset);
bool net_can_tx(const struct sim_qp *q);
void net_tx(struct sim_qp *q);
bool net_can_rx(const struct sim_qp *q);
void net_rx(struct sim_qp *q);
bool net_eof_due(const struct sim_qp *q);
void net_eof(struct sim_qp *q);
void net_timer(struct sim_qp *q);
void net_up(struct sim_qp *q);
void net_fin(struct sim *s, struct sim_pipe *p, bool reset);
void net_pipe_deaf(struct sim_pipe *p);
u64 net_next_event(const struct sim *s);
void net_pipe_reset(struct sim_pipe *p);
void net_push(struct sim *s, struct sim_pipe *p, const u8 *bytes, u32 len);
struct sim_pipe *net_in(const struct sim_qp *q);
struct sim_pipe *net_out(const struct sim_qp *q);

/* dial.c */
bool dial_can_act(const struct sim_qp *q);
void dial_act(struct sim_qp *q);
void dial_started(struct sim_qp *q);
void dial_forget(struct sim_qp *q);
void dial_stranger(struct sim *s);
bool dial_calls_step(struct sim *s);
u64 dial_next_event(const struct sim *s);

/* app.c */
void app_host_setup(struct sim *s, struct sim_host *h, u32 slots);
bool app_can_act(const struct sim_qp *q);
void app_act(struct sim_qp *q);
bool app_finished(const struct sim_qp *q);
void app_dereg(struct sim_host *h);
void app_release(struct sim_qp *q, struct sim_msg *m);
void app_recv_release(struct sim_rq *rq, struct sim_recv *r);
void app_forget(struct sim_qp *q);
struct sim_mr *app_find_mr(struct sim_host *h, u32 off, u32 len, u32 access,
			   u32 pdn);
u64 app_addr(const struct sim_mr *mr, u32 off);

/* oracle.c */
extern const struct bed_hooks oracle_hooks;
bool oracle_executed(const struct sim_msg *m);
void oracle_acked(struct sim_qp *q, u32 count);
bool oracle_send_idle(const struct sim_qp *q);
bool oracle_needs_recv(const struct sim_msg *m);
bool oracle_is_atomic(const struct sim_msg *m);
void oracle_check_end(struct sim_qp *q);

/* wire.c */
void wire_reset(struct sim_qp *q);
/* An RNR NAK has arrived. */
void wire_rnr(struct sim_qp *q);
void wire_bytes(struct sim_qp *q, const u8 *bytes, u32 len);

/* evil.c */
void evil_scribble(struct sim_qp *q);
/* While the engine is at work: another thread of the program. */
void evil_meanwhile(struct sim_qp *q);
void evil_start(struct sim_conn *c);
bool evil_can_act(const struct sim_conn *c);
void evil_act(struct sim *s, struct sim_conn *c);

#endif /* SIM_SIM_H */
