// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * hostile_pdu.c - a peer whose hand-shake is right and nothing after it: PDUs
 * that are wrong in every field, wrong keys and ranges, answers that nobody
 * asked for, streams that end anywhere, floods, a peer that does not read. The
 * queue pair fails in the way that is defined; nothing is written where it may
 * not be, the queue pair next door goes on, memory stays bounded.
 */
#include "raw.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#define MEM	(2 * MIB)
/* The part of the victim's memory that the peer may write. */
#define OPEN	(64 * KIB)
#define OPEN_AT	(1 * MIB)

static const struct opts plain = { .mem_bytes = MEM, .min_retry_ms = 5000 };

struct scene {
	struct raw r;
	struct bystander b;
	struct ibv_mr *open;
	uint64_t addr;		/* of OPEN_AT */
	uint32_t rkey;
	unsigned int fds;
};

static void scene_open(struct scene *s, const struct opts *o)
{
	memset(s, 0, sizeof(*s));
	raw_open(&s->r, o, false);
	bystander_start(&s->b, s->r.v);
	s->open = ibv_reg_mr(s->r.v->pd, s->r.v->mem + OPEN_AT, OPEN, ACCESS_ALL);
	check(s->open);
	s->addr = (uintptr_t)s->r.v->mem + OPEN_AT;
	s->rkey = s->open->rkey;
	memset(s->r.v->mem, 0xee, s->r.v->mem_bytes);
	s->fds = count_fds();
}

/* Whatever happened: only the open part may have changed. */
static void scene_check(struct scene *s)
{
	check_bytes(s->r.v->mem, OPEN_AT, 0xee);
	check_bytes(s->r.v->mem + OPEN_AT + OPEN,
		    s->r.v->mem_bytes - OPEN_AT - OPEN, 0xee);
}

static void scene_close(struct scene *s)
{
	scene_check(s);
	check_fds(s->fds + (s->r.fd >= 0 ? 2 : 0));
	bystander_stop(&s->b);
	check_rc(ibv_dereg_mr(s->open), 0);
	raw_close(&s->r);
}

/* What the victim's own WRITE of 64 bytes and its receive end with. */
enum outcome {
	FATAL,		/* no protocol: QP_FATAL, FATAL_ERR */
	ACCESS,		/* NAK, QP_ACCESS_ERR */
	REQUEST,	/* NAK, QP_REQ_ERR */
};

static const struct {
	int event;
	enum ibv_wc_status send;
	int nak;		/* -1: none */
} outcomes[] = {
	[FATAL] = { IBV_EVENT_QP_FATAL, IBV_WC_FATAL_ERR, -1 },
	[ACCESS] = { IBV_EVENT_QP_ACCESS_ERR, IBV_WC_WR_FLUSH_ERR,
		     TZ_NAK_REM_ACCESS },
	[REQUEST] = { IBV_EVENT_QP_REQ_ERR, IBV_WC_WR_FLUSH_ERR,
		      TZ_NAK_INV_REQ },
};

/* Read what the victim says until it closes; the code of its NAK, or -1. */
static int last_words(struct raw *r)
{
	static uint8_t data[TZ_MAX_PDU_BYTES];
	union tz_any_hdr h;
	int code = -1;

	while (pdu_get(r, &h, 5000)) {
		if (h.h.op == TZ_PDU_NAK) {
			check_eq(le32toh(h.h.msn), le32toh(h.h.ack_msn));
			code = le32toh(h.nak.code);
		}
		if (le32toh(h.h.len) &&
		    !raw_read(r->fd, data, le32toh(h.h.len), 5000))
			break;
	}
	return code;
}

/*
 * A connection with a receive and a WRITE of the victim on its way, of which
 * the peer has seen the header; then the attack.
 */
static void begin(struct scene *s)
{
	union tz_any_hdr h;
	uint8_t data[64];

	raw_connect(&s->r);
	post_recv(s->r.v, 1, OPEN_AT, 4096);
	post_send(s->r.v, wr_rdma(s->r.v, IBV_WR_RDMA_WRITE, 2, 0, 64, s->r.v, 0));
	check(pdu_get(&s->r, &h, 5000));
	check_eq(h.h.op, TZ_PDU_WRITE);
	check(raw_read(s->r.fd, data, 64, 5000));
}

static void expect_outcome(struct scene *s, enum outcome o)
{
	expect_event(s->r.v, outcomes[o].event);
	check_eq(last_words(&s->r), outcomes[o].nak);
	/* What the victim has sent may be executed until the peer closes its end. */
	close(s->r.fd);
	s->r.fd = -1;
	expect_send(s->r.v, 2, outcomes[o].send);
	expect_recv(s->r.v, 1, IBV_WC_WR_FLUSH_ERR);
	check_eq(end_query_state(s->r.v), IBV_QPS_ERR);
	check_eq(wait_event_ms(s->r.v, 0), -1);
	scene_check(s);
	bystander_check(&s->b);
	raw_again(&s->r);
}

#define ATTACK(s, outcome, make, change)					\
	do {								\
		struct pdu p;						\
		test_context("%s; %s", #make, #change);			\
		begin(s);						\
		p = make;						\
		change;							\
		pdu_put(&(s)->r, &p);					\
		expect_outcome(s, outcome);				\
	} while (0)

/* ---- headers ------------------------------------------------------------ */

/* What no header may be, whatever its operation. */
static void bad_headers(void)
{
	struct scene s;
	struct raw *r = &s.r;

	scene_open(&s, &plain);
	ATTACK(&s, FATAL, pdu_ack(r), p.h.h.op = TZ_PDU_OPS);
	ATTACK(&s, FATAL, pdu_ack(r), p.h.h.op = 255);
	ATTACK(&s, FATAL, pdu_ack(r), p.h.h.flags |= 8);
	ATTACK(&s, FATAL, pdu_ack(r), p.h.h.flags = 0);
	ATTACK(&s, FATAL, pdu_ack(r), p.h.h.reserved = htole16(1));
	ATTACK(&s, FATAL, pdu_ack(r), p.h.h.src_qpn ^= htole32(1));
	ATTACK(&s, FATAL, pdu_ack(r), p.h.h.dst_qpn ^= htole32(1));
	ATTACK(&s, FATAL, pdu_ack(r), p.h.h.len = htole32(1));
	ATTACK(&s, FATAL, pdu_ack(r), p.h.h.flags |= TZ_PDU_F_IMM);
	ATTACK(&s, FATAL, pdu_read(r, s.addr, s.rkey, 8), p.h.h.len = htole32(8));
	ATTACK(&s, FATAL, pdu_read(r, s.addr, s.rkey, 8), p.h.h.flags = 0);
	ATTACK(&s, FATAL, pdu_atomic(r, s.addr, s.rkey), p.h.h.len = htole32(8));
	ATTACK(&s, FATAL, pdu_send(r, 64),
	       p.h.h.len = htole32(TZ_DEFAULT_PDU_BYTES + 1));
	ATTACK(&s, FATAL, pdu_send(r, 64), p.h.h.len = htole32(0xffffffff));
	/* After the first request the peer is known: its numbers must be right. */
	test_context("acquainted");
	scene_close(&s);
}

/* Numbers of acknowledgements that cannot be. */
static void bad_acks(void)
{
	struct scene s;
	struct raw *r = &s.r;
	struct pdu good;

	scene_open(&s, &plain);
	/* A stranger is hung up on; so it needs a good number first. */
#define ACQUAINTED(s, outcome, make, change)				\
	do {								\
		struct pdu p;						\
		test_context("%s; %s", #make, #change);			\
		begin(s);						\
		good = pdu_write(r, (s)->addr, (s)->rkey, 8);		\
		pdu_put(r, &good);					\
		p = make;						\
		change;							\
		pdu_put(r, &p);						\
		expect_outcome(s, outcome);				\
	} while (0)

	ACQUAINTED(&s, FATAL, pdu_ack(r), p.h.h.ack_msn = htole32(r->rx_msn + 2));
	ACQUAINTED(&s, FATAL, pdu_ack(r), p.h.h.ack_msn = htole32(r->rx_msn - 1));
	ACQUAINTED(&s, FATAL, pdu_ack(r),
		   p.h.h.ack_msn = htole32(r->rx_msn + 0x80000000));
	ACQUAINTED(&s, FATAL, pdu_send(r, 8), p.h.h.msn = htole32(r->tx_msn));
	ACQUAINTED(&s, FATAL, pdu_send(r, 8), p.h.h.msn = htole32(r->tx_msn - 2));
	ACQUAINTED(&s, FATAL, pdu_write(r, s.addr, s.rkey, 8),
		   p.h.h.msn = htole32(r->tx_msn + 0x7fffffff));
	scene_close(&s);
}

/* ---- requests ----------------------------------------------------------- */

static void bad_lengths(void)
{
	struct scene s;
	struct raw *r = &s.r;

	scene_open(&s, &plain);
	ATTACK(&s, REQUEST, pdu_send(r, 64), p.h.send.total = htole32(63));
	ATTACK(&s, REQUEST, pdu_send(r, 64), p.h.send.total = 0);
	ATTACK(&s, REQUEST, pdu_send(r, 64), p.h.send.total = htole32(65));
	ATTACK(&s, REQUEST, pdu_send(r, 64), p.h.send.offset = htole32(1));
	ATTACK(&s, REQUEST, pdu_send(r, 64),
	       p.h.send.offset = htole32(0xffffffff));
	ATTACK(&s, REQUEST, pdu_send(r, 64),
	       p.h.send.total = htole32(0xffffffff); p.h.h.flags = 0);
	ATTACK(&s, REQUEST, pdu_send(r, 64),
	       p.h.send.total = htole32((1u << 31) + 1); p.h.h.flags = 0);
	/* total = offset + len, but beyond 32 bits */
	ATTACK(&s, REQUEST, pdu_send(r, 64), p.h.send.total = htole32(32);
	       p.h.send.offset = htole32(32u - 64u));
	ATTACK(&s, REQUEST, pdu_send(r, 0), p.h.h.flags = 0);
	ATTACK(&s, REQUEST, pdu_send(r, 64), p.h.h.flags = TZ_PDU_F_IMM;
	       p.h.send.total = htole32(128));
	ATTACK(&s, REQUEST, pdu_write(r, s.addr, s.rkey, 64),
	       p.h.write.total = htole32(63));
	ATTACK(&s, REQUEST, pdu_write(r, s.addr, s.rkey, 64),
	       p.h.write.offset = htole32(64));
	ATTACK(&s, REQUEST, pdu_write(r, s.addr, s.rkey, 64),
	       p.h.write.total = htole32(0xffffffff); p.h.h.flags = 0);
	ATTACK(&s, REQUEST, pdu_read(r, s.addr, s.rkey, (1u << 31) + 1), );
	ATTACK(&s, REQUEST, pdu_read(r, s.addr, s.rkey, 0xffffffff), );
	ATTACK(&s, REQUEST, pdu_atomic(r, s.addr + 4, s.rkey), );
	ATTACK(&s, REQUEST, pdu_atomic(r, s.addr, s.rkey),
	       p.h.atomic.kind = htole32(2));
	ATTACK(&s, REQUEST, pdu_atomic(r, s.addr, s.rkey),
	       p.h.atomic.kind = htole32(0xffffffff));
	scene_close(&s);
}

static void bad_keys(void)
{
	struct scene s;
	struct raw *r = &s.r;
	const uint64_t top = UINT64_MAX;

	scene_open(&s, &plain);
	ATTACK(&s, ACCESS, pdu_write(r, s.addr, s.rkey ^ 1, 64), );
	ATTACK(&s, ACCESS, pdu_write(r, s.addr, 0, 64), );
	ATTACK(&s, ACCESS, pdu_write(r, s.addr, 0xffffffff, 64), );
	ATTACK(&s, ACCESS, pdu_write(r, s.addr - 1, s.rkey, 64), );
	ATTACK(&s, ACCESS, pdu_write(r, s.addr + OPEN - 63, s.rkey, 64), );
	ATTACK(&s, ACCESS, pdu_write(r, top, s.rkey, 64), );
	ATTACK(&s, ACCESS, pdu_write(r, top - 63, s.rkey, 64), );
	ATTACK(&s, ACCESS, pdu_write(r, 0, s.rkey, 64), );
	/* The whole message counts, not only what has come of it. */
	ATTACK(&s, ACCESS, pdu_write(r, s.addr, s.rkey, 64),
	       p.h.write.total = htole32(OPEN + 1); p.h.h.flags = 0);
	ATTACK(&s, ACCESS, pdu_write(r, s.addr, s.rkey, 64),
	       p.h.write.total = htole32(1u << 31); p.h.h.flags = 0);
	ATTACK(&s, ACCESS, pdu_read(r, s.addr, s.rkey ^ 1, 64), );
	ATTACK(&s, ACCESS, pdu_read(r, s.addr, s.rkey, OPEN + 1), );
	ATTACK(&s, ACCESS, pdu_read(r, s.addr - 1, s.rkey, 64), );
	ATTACK(&s, ACCESS, pdu_read(r, top - 62, s.rkey, 64), );
	ATTACK(&s, ACCESS, pdu_read(r, s.addr, s.rkey, 1u << 31), );
	ATTACK(&s, ACCESS, pdu_atomic(r, s.addr + OPEN, s.rkey), );
	ATTACK(&s, ACCESS, pdu_atomic(r, s.addr - 8, s.rkey), );
	ATTACK(&s, ACCESS, pdu_atomic(r, top - 7, s.rkey), );
	ATTACK(&s, ACCESS, pdu_atomic(r, s.addr, s.rkey ^ 1), );
	scene_close(&s);
}

/* The second PDU of a message says something else than the first. */
static void changed_mind(void)
{
	struct scene s;
	struct raw *r = &s.r;
	struct pdu first;

	scene_open(&s, &plain);
#define SECOND(s, outcome, change)					\
	do {								\
		struct pdu p;						\
		test_context("%s", #change);				\
		begin(s);						\
		first = pdu_write(r, (s)->addr, (s)->rkey, 64);		\
		first.h.write.total = htole32(192);			\
		first.h.h.flags = 0;					\
		p = first;						\
		pdu_put(r, &first);					\
		p.h.write.offset = htole32(64);				\
		change;							\
		pdu_put(r, &p);						\
		expect_outcome(s, outcome);				\
	} while (0)

	SECOND(&s, ACCESS, p.h.write.addr = htole64(s.addr + OPEN));
	SECOND(&s, ACCESS, p.h.write.addr = htole64(s.addr - 4096));
	SECOND(&s, ACCESS, p.h.write.rkey ^= htole32(1));
	SECOND(&s, REQUEST, p.h.write.total = htole32(4096));
	SECOND(&s, REQUEST, p.h.write.offset = htole32(128));
	SECOND(&s, REQUEST, p.h.write.offset = 0);
	SECOND(&s, REQUEST, p = pdu_send(r, 64); p.h.h.msn = first.h.h.msn);
	SECOND(&s, REQUEST, p = pdu_read(r, s.addr, s.rkey, 8);
	       p.h.h.msn = first.h.h.msn);
	SECOND(&s, REQUEST, p = pdu_atomic(r, s.addr, s.rkey);
	       p.h.h.msn = first.h.h.msn);
	scene_close(&s);
}

/* ---- answers ------------------------------------------------------------ */

/* Nobody asked, or something else. */
static void bad_answers(void)
{
	struct scene s;
	struct raw *r = &s.r;

	scene_open(&s, &plain);
	ATTACK(&s, FATAL, pdu_read_resp(r, r->rx_msn, 64),
	       p.h.h.ack_msn = htole32(r->rx_msn));
	ATTACK(&s, FATAL, pdu_read_resp(r, r->rx_msn, 0),
	       p.h.h.ack_msn = htole32(r->rx_msn));
	ATTACK(&s, FATAL, pdu_atomic_resp(r, r->rx_msn),
	       p.h.h.ack_msn = htole32(r->rx_msn));
	ATTACK(&s, FATAL, pdu_nak(r, r->rx_msn + 1, TZ_NAK_REM_ACCESS),
	       p.h.h.ack_msn = htole32(r->rx_msn));
	ATTACK(&s, FATAL, pdu_nak(r, r->rx_msn - 1, TZ_NAK_REM_OP), p.h.h.ack_msn =
	       htole32(r->rx_msn));
	ATTACK(&s, FATAL, pdu_nak(r, r->rx_msn, TZ_NAK_CODES), );
	ATTACK(&s, FATAL, pdu_nak(r, r->rx_msn, 0xffffffff), );
	scene_close(&s);
}

/* The victim's own READ or atomic waits for this. */
static void begin_asked(struct scene *s, enum ibv_wr_opcode op)
{
	union tz_any_hdr h;

	raw_connect(&s->r);
	post_recv(s->r.v, 1, OPEN_AT, 4096);
	post_send(s->r.v, wr_rdma(s->r.v, op, 2, OPEN_AT, op == IBV_WR_RDMA_READ ?
				  256 : 8, s->r.v, 0));
	check(pdu_get(&s->r, &h, 5000));
	check_eq(h.h.op, op == IBV_WR_RDMA_READ ? TZ_PDU_READ_REQ :
						  TZ_PDU_ATOMIC_REQ);
}

static void wrong_answers(void)
{
	struct scene s;
	struct raw *r = &s.r;

	scene_open(&s, &plain);
#define ANSWER(s, op, make, change)					\
	do {								\
		struct pdu p;						\
		test_context("%s; %s", #make, #change);			\
		begin_asked(s, op);					\
		p = make;						\
		change;							\
		pdu_put(r, &p);						\
		expect_outcome(s, FATAL);				\
	} while (0)

	ANSWER(&s, IBV_WR_RDMA_READ, pdu_read_resp(r, r->rx_msn, 255), );
	ANSWER(&s, IBV_WR_RDMA_READ, pdu_read_resp(r, r->rx_msn, 257), );
	ANSWER(&s, IBV_WR_RDMA_READ, pdu_read_resp(r, r->rx_msn, 256),
	       p.h.read_resp.total = htole32(512));
	ANSWER(&s, IBV_WR_RDMA_READ, pdu_read_resp(r, r->rx_msn, 256),
	       p.h.read_resp.offset = htole32(1));
	ANSWER(&s, IBV_WR_RDMA_READ, pdu_read_resp(r, r->rx_msn, 256),
	       p.h.h.flags = 0);
	ANSWER(&s, IBV_WR_RDMA_READ, pdu_read_resp(r, r->rx_msn, 128),
	       p.h.read_resp.total = htole32(256));
	ANSWER(&s, IBV_WR_RDMA_READ, pdu_read_resp(r, r->rx_msn, 256),
	       p.h.h.len = htole32(0); p.h.h.flags = 0; p.data_len = 0);
	ANSWER(&s, IBV_WR_RDMA_READ, pdu_read_resp(r, r->rx_msn + 1, 256),
	       p.h.h.ack_msn = htole32(r->rx_msn + 1));
	ANSWER(&s, IBV_WR_RDMA_READ, pdu_atomic_resp(r, r->rx_msn), );
	ANSWER(&s, IBV_WR_ATOMIC_FETCH_AND_ADD, pdu_read_resp(r, r->rx_msn, 8), );
	ANSWER(&s, IBV_WR_ATOMIC_FETCH_AND_ADD,
	       pdu_atomic_resp(r, r->rx_msn + 1),
	       p.h.h.ack_msn = htole32(r->rx_msn + 1));
	scene_close(&s);
}

/* An acknowledgement is not an answer: a READ waits for its data. */
static void acked_not_answered(void)
{
	struct scene s;
	struct pdu p;

	scene_open(&s, &plain);
	begin_asked(&s, IBV_WR_RDMA_READ);
	p = pdu_ack(&s.r);
	p.h.h.ack_msn = htole32(s.r.rx_msn + 1);
	pdu_put(&s.r, &p);
	expect_no_wc(s.r.v, CQ_SEND, 50);
	p = pdu_read_resp(&s.r, s.r.rx_msn, 256);
	pdu_put(&s.r, &p);
	expect_send(s.r.v, 2, IBV_WC_SUCCESS);
	check_bytes(s.r.v->mem + OPEN_AT, 256, 0x99);
	raw_again(&s.r);
	scene_close(&s);
}

/* ---- resources ---------------------------------------------------------- */

/* More READs at once than the victim has agreed to; it refuses. */
static void ask_too_much(struct scene *s)
{
	struct pdu p;
	int i;

	begin(s);
	for (i = 0; i < 200; i++) {
		p = pdu_read(&s->r, s->addr, s->rkey, OPEN);
		raw_try_send(s->r.fd, &p.h, p.hdr_len);
	}
	expect_event(s->r.v, IBV_EVENT_QP_REQ_ERR);
}

/* What the victim had posted, when the connection is over. */
static void expect_flush(struct scene *s)
{
	expect_send(s->r.v, 2, IBV_WC_WR_FLUSH_ERR);
	expect_recv(s->r.v, 1, IBV_WC_WR_FLUSH_ERR);
}

static void too_many_reads(void)
{
	struct opts o = plain;
	struct scene s;

	o.dest_rd_atomic = 4;
	scene_open(&s, &o);
	ask_too_much(&s);
	/* It learns why, though it went on talking when it was hung up on. */
	check_eq(last_words(&s.r), TZ_NAK_INV_REQ);
	expect_flush(&s);
	raw_again(&s.r);
	scene_close(&s);
}

/*
 * The refusal stands behind answers that the peer does not read. The victim
 * does not wait for ever, nor listen to everything.
 */
static void deaf_to_refusal(void)
{
	static uint8_t junk[256 * KIB];
	struct opts o = plain;
	struct scene s;
	size_t sent = 0;
	ssize_t n;

	o.dest_rd_atomic = 4;
	o.min_retry_ms = 500;
	scene_open(&s, &o);
	test_context("silent");
	ask_too_much(&s);
	expect_flush(&s);
	sleep_ms(2000);
	check_fds(s.fds + 1);
	raw_again(&s.r);
	test_context("talking");
	ask_too_much(&s);
	expect_flush(&s);
	do {
		n = send(s.r.fd, junk, sizeof(junk), MSG_NOSIGNAL);
		sent += n > 0 ? n : 0;
	} while (n > 0 && sent < 256 * MIB);
	check_msg(sent < 128 * MIB, "the victim has read %zu MiB", sent / MIB);
	check_fds(s.fds + 1);
	bystander_check(&s.b);
	raw_again(&s.r);
	scene_close(&s);
}

/*
 * Messages for which there is no receive, sent again and again without waiting
 * for the victim's answers, which cannot leave behind a large READ's.
 */
static void rnr_flood(void)
{
	struct scene s;
	struct pdu p;
	uint64_t until;
	int i;

	scene_open(&s, &plain);
	raw_connect(&s.r);
	for (i = 0; i < 8; i++) {
		p = pdu_read(&s.r, (uintptr_t)s.r.v->mem, s.r.v->rkey, MEM);
		pdu_put(&s.r, &p);
	}
	p = pdu_send(&s.r, 8);
	until = now_ns() + 1500000000ull;
	for (i = 0; now_ns() < until; i++) {
		uint8_t bytes[sizeof(struct tz_send_hdr) + 8];

		memcpy(bytes, &p.h, p.hdr_len);
		memset(bytes + p.hdr_len, 0x99, 8);
		if (raw_try_send(s.r.fd, bytes, sizeof(bytes)) < sizeof(bytes))
			break;
		usleep(150);
	}
	test_note("%d messages", i);
	bystander_check(&s.b);
	raw_again(&s.r);
	scene_close(&s);
}

/*
 * Each refused message is followed by a READ of the same number, so that the
 * answers that cannot leave are as many as there can be.
 */
static void rnr_between_reads(void)
{
	struct opts o = plain;
	struct scene s;
	struct pdu p, q;
	int i;

	o.dest_rd_atomic = 128;
	o.mem_bytes = 16 * MIB;
	scene_open(&s, &o);
	raw_connect(&s.r);
	for (i = 0; i < 140; i++) {
		uint8_t bytes[sizeof(struct tz_send_hdr) + 8];

		p = pdu_send(&s.r, 8);
		s.r.tx_msn--;
		memcpy(bytes, &p.h, p.hdr_len);
		memset(bytes + p.hdr_len, 0x99, 8);
		if (i)
			raw_send(s.r.fd, bytes, sizeof(bytes));
		q = pdu_read(&s.r, (uintptr_t)s.r.v->mem, s.r.v->rkey, 16 * MIB);
		pdu_put(&s.r, &q);
		usleep(300);
	}
	bystander_check(&s.b);
	raw_again(&s.r);
	scene_close(&s);
}

/* The victim's requests are refused for ever, as fast as it can. */
static void nak_flood(void)
{
	struct opts o = plain;
	struct scene s;
	uint64_t cpu, start;
	union tz_any_hdr h;
	uint8_t data[64];
	struct pdu p;
	int i;

	o.rnr_retry = 7;
	scene_open(&s, &o);
	begin(&s);
	bystander_stop(&s.b);
	cpu = cpu_ns();
	start = now_ns();
	for (i = 0; now_ns() - start < 300000000ull; i++) {
		p = pdu_nak(&s.r, s.r.rx_msn, TZ_NAK_RNR);
		p.h.nak.arg = htole32(1);
		pdu_put(&s.r, &p);
		if (!pdu_get(&s.r, &h, 5000) || !raw_read(s.r.fd, data, 64, 5000))
			break;
	}
	test_note("%d refusals, %.0f ms of CPU", i, (cpu_ns() - cpu) / 1e6);
	check(i > 10);
	p = pdu_ack(&s.r);
	p.h.h.ack_msn = htole32(s.r.rx_msn + 1);
	pdu_put(&s.r, &p);
	expect_send(s.r.v, 2, IBV_WC_SUCCESS);
	raw_again(&s.r);
	bystander_start(&s.b, s.r.v);
	scene_close(&s);
}

/*
 * It asks and never reads; and sends requests whose acknowledgements it does
 * not read either. Memory is bounded, and others go on.
 */
static void stops_reading(void)
{
	struct opts o = plain;
	struct scene s;
	struct pdu p;
	size_t rss;
	int i;

	o.dest_rd_atomic = 128;
	scene_open(&s, &o);
	raw_connect(&s.r);
	rss = rss_bytes();
	for (i = 0; i < 100; i++) {
		p = pdu_read(&s.r, (uintptr_t)s.r.v->mem, s.r.v->rkey, MEM);
		raw_try_send(s.r.fd, &p.h, p.hdr_len);
	}
	for (i = 0; i < 20000; i++) {
		uint8_t bytes[sizeof(struct tz_write_hdr) + 8];

		p = pdu_write(&s.r, s.addr, s.rkey, 8);
		memcpy(bytes, &p.h, p.hdr_len);
		memset(bytes + p.hdr_len, 0x99, 8);
		if (raw_try_send(s.r.fd, bytes, sizeof(bytes)) < sizeof(bytes))
			break;
	}
	bystander_check(&s.b);
	sleep_ms(300);
	bystander_check(&s.b);
	if (!test_is_sanitized())
		check_msg(rss_bytes() < rss + 16 * MIB,
			  "the victim grew by %zu KiB",
			  (rss_bytes() - rss) / KIB);
	raw_again(&s.r);
	scene_close(&s);
}

/* The victim writes to a peer that does not read: an error in its time. */
static void writes_unread(void)
{
	struct opts o = plain;
	struct scene s;
	struct ibv_wc wc;
	int i;

	o.min_retry_ms = 600;
	o.timeout = 8;
	scene_open(&s, &o);
	raw_connect(&s.r);
	for (i = 0; i < 32; i++)
		post_send(s.r.v, wr_rdma(s.r.v, IBV_WR_RDMA_WRITE, i, 0, MEM, s.r.v,
					 0));
	wait_wc(s.r.v, CQ_SEND, &wc);
	check_wc_at(__FILE__, __LINE__, &wc, 0, IBV_WC_RETRY_EXC_ERR);
	for (i = 1; i < 32; i++)
		expect_send(s.r.v, i, IBV_WC_WR_FLUSH_ERR);
	raw_again(&s.r);
	scene_close(&s);
}

/* A PDU at a byte now and then; nobody else waits, nobody spins. */
static void dribble(void)
{
	struct scene s;
	struct pdu p;
	uint64_t cpu;
	uint32_t i;

	scene_open(&s, &plain);
	raw_connect(&s.r);
	p = pdu_write(&s.r, s.addr, s.rkey, 24);
	bystander_stop(&s.b);
	cpu = cpu_ns();
	for (i = 0; i < p.hdr_len; i++) {
		raw_send(s.r.fd, p.h.bytes + i, 1);
		sleep_ms(10);
	}
	for (i = 0; i < 24; i++) {
		raw_send(s.r.fd, "\x99", 1);
		sleep_ms(10);
	}
	check_msg(cpu_ns() - cpu < 150000000ull * test_slow(),
		  "%.0f ms of CPU for 72 bytes", (cpu_ns() - cpu) / 1e6);
	check(pdu_get(&s.r, &p.h, 5000));
	check_eq(p.h.h.op, TZ_PDU_ACK);
	check_bytes(s.r.v->mem + OPEN_AT, 24, 0x99);
	raw_again(&s.r);
	bystander_start(&s.b, s.r.v);
	scene_close(&s);
}

/* ---- cut off ------------------------------------------------------------ */

/* The stream ends after every number of bytes, by an end or by a reset. */
static void cut_off(void)
{
	enum { DATA = 300 };
	struct opts o = plain;
	struct scene s;
	uint32_t cut, total = sizeof(struct tz_write_hdr) + DATA;
	uint8_t bytes[sizeof(struct tz_write_hdr) + DATA];
	struct pdu p;

	o.timeout = 8;
	scene_open(&s, &o);
	for (cut = 0; cut < total; cut += cut < 60 ? 1 : 37) {
		test_context("after %u bytes", cut);
		raw_connect(&s.r);
		post_recv(s.r.v, 1, OPEN_AT, 64);
		p = pdu_write(&s.r, s.addr, s.rkey, DATA);
		memcpy(bytes, &p.h, p.hdr_len);
		memset(bytes + p.hdr_len, 0x99, DATA);
		raw_send(s.r.fd, bytes, cut);
		if (cut & 1)
			raw_reset(s.r.fd);
		else
			close(s.r.fd);
		s.r.fd = -1;
		/* Silence, as if the peer had been destroyed. */
		expect_no_wc(s.r.v, CQ_RECV, 3);
		check_eq(end_query_state(s.r.v), IBV_QPS_RTS);
		post_send(s.r.v, wr_make(s.r.v, IBV_WR_SEND, 2, 0, 8));
		expect_send(s.r.v, 2, IBV_WC_RETRY_EXC_ERR);
		expect_recv(s.r.v, 1, IBV_WC_WR_FLUSH_ERR);
		scene_check(&s);
		raw_again(&s.r);
	}
	scene_close(&s);
}

/* A READ's answer ends in the middle. */
static void answer_cut_off(void)
{
	struct opts o = plain;
	struct scene s;
	struct pdu p;
	uint32_t cut;

	o.timeout = 8;
	o.min_retry_ms = 1000;
	scene_open(&s, &o);
	for (cut = 0; cut < 288; cut += 23) {
		uint8_t bytes[288];

		test_context("after %u bytes", cut);
		begin_asked(&s, IBV_WR_RDMA_READ);
		p = pdu_read_resp(&s.r, s.r.rx_msn, 256);
		memcpy(bytes, &p.h, p.hdr_len);
		memset(bytes + p.hdr_len, 0x99, 256);
		raw_send(s.r.fd, bytes, cut);
		raw_reset(s.r.fd);
		s.r.fd = -1;
		expect_send(s.r.v, 2, IBV_WC_RETRY_EXC_ERR);
		expect_recv(s.r.v, 1, IBV_WC_WR_FLUSH_ERR);
		scene_check(&s);
		raw_again(&s.r);
	}
	scene_close(&s);
}

/* ---- at random ---------------------------------------------------------- */

static struct pdu random_pdu(struct scene *s, struct rng *rng)
{
	struct raw *r = &s->r;
	uint32_t len = rng_below(rng, 2000);

	switch (rng_below(rng, 8)) {
	case 0:
		return pdu_send(r, len);
	case 1:
	case 2:
		return pdu_write(r, s->addr + rng_below(rng, 1000), s->rkey, len);
	case 3:
		return pdu_read(r, s->addr, s->rkey, len);
	case 4:
		return pdu_atomic(r, s->addr + 8 * rng_below(rng, 100), s->rkey);
	case 5:
		return pdu_read_resp(r, r->rx_msn, len);
	case 6:
		return pdu_nak(r, r->rx_msn, rng_below(rng, 5));
	default:
		return pdu_ack(r);
	}
}

/* Change a few bits or bytes of the header. */
static void spoil(struct pdu *p, struct rng *rng)
{
	uint32_t n = 1 + rng_below(rng, 3);

	while (n--) {
		uint32_t at = rng_below(rng, p->hdr_len);

		if (rng_below(rng, 2))
			p->h.bytes[at] ^= 1 << rng_below(rng, 8);
		else
			p->h.bytes[at] = rng_below(rng, 2) ? 0xff : 0;
	}
}

static void random_streams(void)
{
	struct rng rng = { 0xfeedbeef };
	unsigned int i, k, n = 600 / test_slow();
	struct scene s;

	scene_open(&s, &plain);
	for (i = 0; i < n; i++) {
		test_context("stream %u, state 0x%llx", i,
			     (unsigned long long)rng.s);
		raw_connect(&s.r);
		for (k = 0; k < 4; k++)
			post_recv(s.r.v, k, OPEN_AT, 4096);
		post_send(s.r.v, wr_rdma(s.r.v, IBV_WR_RDMA_READ, 1, OPEN_AT, 512,
					 s.r.v, 0));
		post_send(s.r.v, wr_fetch_add(s.r.v, 2, OPEN_AT, s.r.v, 0, 1));
		for (k = rng_below(&rng, 6); k; k--) {
			struct pdu p = random_pdu(&s, &rng);

			if (rng_below(&rng, 2))
				spoil(&p, &rng);
			pdu_put(&s.r, &p);
		}
		if (rng_below(&rng, 2))
			raw_reset(s.r.fd);
		else
			close(s.r.fd);
		s.r.fd = -1;
		if (i % 8 == 0) {
			scene_check(&s);
			bystander_check(&s.b);
		}
		raw_again(&s.r);
	}
	scene_close(&s);
}

static const struct test_case cases[] = {
	CASE(bad_headers),
	CASE(bad_acks),
	CASE(bad_lengths),
	CASE(bad_keys),
	CASE(changed_mind),
	CASE(bad_answers),
	CASE(wrong_answers),
	CASE(acked_not_answered),
	CASE(too_many_reads),
	CASE(deaf_to_refusal),
	CASE(rnr_flood),
	CASE(rnr_between_reads),
	CASE(nak_flood),
	CASE(stops_reading),
	CASE(writes_unread),
	CASE(dribble),
	CASE_LIMIT(cut_off, 60),
	CASE(answer_cut_off),
	CASE_LIMIT(random_streams, 60),
	CASES_END
};

int main(int argc, char **argv)
{
	return test_main(argc, argv, cases);
}
