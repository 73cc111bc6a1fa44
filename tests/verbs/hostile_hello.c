// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * hostile_hello.c - what connects and is no peer: garbage, scanners, floods,
 * hand-shakes that are wrong in every field; and what answers our own call in
 * such ways. A queue pair next door goes on, and nothing is left behind.
 */
#include "raw.h"

#include <rdma/ib_user_verbs.h>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct opts plain = { .min_retry_ms = 3000 };

/* The victim's own peer still gets through, and its data arrive. */
static void check_alive(struct raw *r)
{
	struct pdu p;

	raw_connect(r);
	p = pdu_write(r, (uintptr_t)r->v->mem, r->v->rkey, 64);
	memset(r->v->mem, 0, 64);
	pdu_put(r, &p);
	check(pdu_get(r, &p.h, 5000));
	check_eq(p.h.h.op, TZ_PDU_ACK);
	check_eq(le32toh(p.h.h.ack_msn), r->tx_msn);
	check_bytes(r->v->mem, 64, 0x99);
	raw_again(r);
}

/* ---- no hello at all ---------------------------------------------------- */

static void garbage(void)
{
	struct bystander b;
	struct rng rng = { 42 };
	uint8_t bytes[400];
	unsigned int fds;
	struct raw r;
	int i, fd;

	raw_open(&r, &plain, false);
	bystander_start(&b, r.v);
	fds = count_fds();
	for (i = 0; i < 300; i++) {
		uint32_t len = rng_below(&rng, sizeof(bytes)), k;

		for (k = 0; k < len; k++)
			bytes[k] = rng_next(&rng);
		if (i % 3 == 0 && len >= 4)	/* begins well */
			memcpy(bytes, "TCZ1", 4);
		fd = raw_dial(&r);
		raw_send(fd, bytes, len);
		if (i % 3 && len >= 4)
			check_msg(raw_closed(fd, 2000),
				  "garbage of %u bytes is not hung up on", len);
		if (i & 1)
			raw_reset(fd);
		else
			close(fd);
	}
	check_fds(fds);
	bystander_check(&b);
	check_alive(&r);
	bystander_stop(&b);
	raw_close(&r);
}

/* What a stranger does while a child that has not called exec() yet holds copies. */
struct visit {
	struct raw *r;
	int fd;
	int release;		/* the child may go when this is closed */
	_Atomic bool child;	/* it is there; memory is shared until it ends */
};

static void *visit_main(void *arg)
{
	struct visit *v = arg;

	while (!v->child)
		sleep_ms(1);
	raw_send(v->fd, "GET ", 4);
	/* It was hung up on, but for the child the connection is there. */
	check_msg(!raw_closed(v->fd, 50), "test: the child holds no copy");
	raw_send(v->fd, "/ HTTP/1.0\r\n", 12);
	check_alive(v->r);
	close(v->release);
	return NULL;
}

/* epoll says nothing of a connection that is closed here, whoever has a copy. */
static void copies_in_child(void)
{
	pthread_t thread;
	struct visit v;
	struct raw r;
	unsigned int fds;
	int i, p[2];

	if (test_is_tsan())
		test_skip("ThreadSanitizer makes a fork() of vfork()");
	raw_open(&r, &plain, false);
	if (r.v->kernel)
		test_skip("the kernel's sockets have no descriptors");
	v.r = &r;
	for (i = 0; i < 10; i++) {
		pid_t pid;
		char x;

		check(!pipe(p));
		v.release = p[1];
		v.child = false;
		fds = count_fds();
		v.fd = raw_dial(&r);
		while (count_fds() < fds + 2)
			sleep_ms(1);	/* until it has been accepted */
		check(!pthread_create(&thread, NULL, visit_main, &v));
		pid = vfork();
		if (!pid) {
			close(p[1]);
			v.child = true;
			_exit(read(p[0], &x, 1) != 0);
		}
		check(!pthread_join(thread, NULL));
		check(waitpid(pid, NULL, 0) == pid);
		close(p[0]);
		close(v.fd);
	}
	raw_close(&r);
}

/* Somebody looks which ports are open. */
static void port_scan(void)
{
	struct bystander b;
	unsigned int fds;
	struct raw r;
	int i, fd;

	raw_open(&r, &plain, false);
	bystander_start(&b, r.v);
	fds = count_fds();
	for (i = 0; i < 1000; i++) {
		fd = raw_dial(&r);
		if (i & 1)
			raw_reset(fd);
		else
			close(fd);
	}
	check_fds(fds);
	bystander_check(&b);
	check_alive(&r);
	bystander_stop(&b);
	raw_close(&r);
}

/*
 * A thousand that say nothing, or begin to. They cost a bounded number of
 * descriptors, do not keep the peer out, and are gone after a few seconds.
 */
static void half_open(void)
{
	enum { N = 1000 };
	struct rlimit lim = { 4096, 4096 };
	static int fd[N];
	struct tz_hello hello;
	struct bystander b;
	unsigned int fds, peak, closed = 0;
	struct raw r;
	uint64_t start;
	int i, slow;

	check(!setrlimit(RLIMIT_NOFILE, &lim));
	raw_open(&r, &plain, false);
	bystander_start(&b, r.v);
	hello = raw_hello(&r);
	fds = count_fds();
	start = now_ns();
	for (i = 0; i < N; i++) {
		fd[i] = raw_dial(&r);
		if (i % 2)
			raw_send(fd[i], &hello, i % sizeof(hello));
	}
	/* Ours are N of them; the victim's part is the rest: 256 that wait. */
	peak = count_fds() - N;
	check_msg(peak <= fds + 256 + 8, "%u descriptors for %d half-open ones",
		  peak - fds, N);
	bystander_check(&b);
	check_alive(&r);
	/* One that gives a byte now and then is not better. */
	slow = raw_dial(&r);
	for (i = 0; i < 80 && !raw_closed(slow, 0); i++) {
		raw_send(slow, (uint8_t *)&hello + i, 1);
		bystander_check(&b);
		sleep_ms(90);
	}
	check_msg(i < 80, "a hello at 11 bytes a second is waited for");
	close(slow);
	for (i = 0; i < N; i++) {
		closed += raw_closed(fd[i], 3000);
		close(fd[i]);
	}
	check_eq(closed, N);
	test_note("all over after %.1f s", (now_ns() - start) / 1e9);
	check_fds(fds);
	check_alive(&r);
	bystander_stop(&b);
	raw_close(&r);
}

/* ---- wrong hellos ------------------------------------------------------- */

static void expect_refusal(struct raw *r, const char *what,
			   const struct tz_hello *h, int status)
{
	int got = raw_try_hello(r, h);

	check_msg(got == status, "%s: status %d, expected %d", what, got, status);
}

/* @status -1: hung up on without an answer. */
#define WRONG(r, status, change)					\
	do {								\
		struct tz_hello h = raw_hello(r);			\
		change;							\
		expect_refusal(r, #change, &h, status);			\
	} while (0)

/* Fields that no version of the protocol allows. */
static void malformed(void)
{
	struct bystander b;
	struct raw r;

	raw_open(&r, &plain, false);
	bystander_start(&b, r.v);
	end_rtr(r.v, &r.peer);
	WRONG(&r, -1, h.magic = htole32(0x325a4354));
	WRONG(&r, TZ_HELLO_BAD_VERSION, h.version = htole16(0));
	WRONG(&r, TZ_HELLO_BAD_VERSION, h.version = htole16(1));
	WRONG(&r, TZ_HELLO_BAD_VERSION, h.version = htole16(3));
	WRONG(&r, TZ_HELLO_BAD_VERSION, h.version = htole16(0xffff));
	WRONG(&r, -1, h.status = htole16(TZ_HELLO_REFUSED));
	WRONG(&r, -1, h.status = htole16(0xffff));
	WRONG(&r, -1, h.max_pdu = 0);
	WRONG(&r, -1, h.max_pdu = htole32(TZ_MIN_PDU_BYTES - 1));
	WRONG(&r, -1, h.max_pdu = htole32(TZ_MAX_PDU_BYTES + 1));
	WRONG(&r, -1, h.max_pdu = htole32(0xffffffff));
	WRONG(&r, -1, h.reserved0 = htole16(1));
	WRONG(&r, -1, h.reserved1 = htole32(1));
	WRONG(&r, -1, h.reserved2[0] = htole64(1));
	WRONG(&r, -1, h.reserved2[1] = htole64(1));
	WRONG(&r, TZ_HELLO_REFUSED, h.qp_type = htole16(4));
	WRONG(&r, TZ_HELLO_REFUSED, h.qp_type = 0);
	end_state(r.v, IBV_QPS_RESET);
	end_init(r.v);
	check_alive(&r);
	bystander_stop(&b);
	raw_close(&r);
}

/* Not the one whom the QP expects. */
static void wrong_peer(void)
{
	struct bystander b;
	struct raw r;
	int rts;

	raw_open(&r, &plain, false);
	bystander_start(&b, r.v);
	for (rts = 0; rts < 2; rts++) {
		test_context("RTS %d", rts);
		end_rtr(r.v, &r.peer);
		if (rts)
			end_rts(r.v);
		WRONG(&r, TZ_HELLO_REFUSED, h.dst_qpn = 0);
		WRONG(&r, TZ_HELLO_REFUSED, h.dst_qpn = htole32(1));
		WRONG(&r, TZ_HELLO_REFUSED, h.dst_qpn = htole32(0xffffffff));
		WRONG(&r, TZ_HELLO_REFUSED, h.dst_qpn = htole32(r.v->qpn ^ 0x80));
		WRONG(&r, TZ_HELLO_REFUSED, h.dst_qpn = htole32(r.v->qpn | 1 << 24));
		WRONG(&r, TZ_HELLO_REFUSED, h.src_qpn = 0);
		WRONG(&r, TZ_HELLO_REFUSED, h.src_qpn = htole32(r.peer.qpn + 1));
		WRONG(&r, TZ_HELLO_REFUSED, h.src_gid[15] ^= 1);
		WRONG(&r, TZ_HELLO_REFUSED, h.dst_gid[15] ^= 1);
		WRONG(&r, TZ_HELLO_REFUSED, memset(h.src_gid, 0, 16));
		WRONG(&r, TZ_HELLO_REFUSED, h.sq_psn = htole32(r.peer.psn + 1));
		WRONG(&r, TZ_HELLO_REFUSED, h.next_tx_msn = htole32(7));
		WRONG(&r, TZ_HELLO_REFUSED, h.sq_psn = htole32(TZ_PSN_UNKNOWN);
		      h.rq_psn ^= htole32(1));
		WRONG(&r, TZ_HELLO_REFUSED, h.sq_psn = htole32(TZ_PSN_UNKNOWN);
		      h.next_rx_msn ^= htole32(1));
		end_state(r.v, IBV_QPS_RESET);
		end_init(r.v);
	}
	check_alive(&r);
	bystander_stop(&b);
	raw_close(&r);
}

/* An honest hello once more: while it is used, after it, after the QP. */
static void replayed(void)
{
	struct end *other;
	struct tz_hello h;
	struct pdu p;
	struct raw r;
	int i;

	raw_open(&r, &plain, false);
	other = end_new(&plain, false, r.v);
	raw_connect(&r);
	h = raw_hello(&r);
	for (i = 0; i < 10; i++)
		expect_refusal(&r, "in use", &h, TZ_HELLO_REFUSED);
	/* The connection has not suffered. */
	p = pdu_write(&r, (uintptr_t)r.v->mem, r.v->rkey, 64);
	pdu_put(&r, &p);
	check(pdu_get(&r, &p.h, 5000));
	check_eq(le32toh(p.h.h.ack_msn), r.tx_msn);
	close(r.fd);
	r.fd = -1;
	/* Over: the numbers have moved on. */
	sleep_ms(20 * test_slow());
	expect_refusal(&r, "over", &h, TZ_HELLO_REFUSED);
	end_state(r.v, IBV_QPS_ERR);
	expect_refusal(&r, "in ERR", &h, TZ_HELLO_REFUSED);
	check_rc(ibv_destroy_qp(r.v->qp), 0);
	r.v->qp = NULL;
	expect_refusal(&r, "destroyed", &h, TZ_HELLO_REFUSED);
	end_free(other);
	raw_close(&r);
}

/* More than a hello: what follows is the stream, if it was accepted. */
static void eager(void)
{
	struct {
		struct tz_hello h;
		struct tz_write_hdr w;
		uint8_t data[64];
	} __attribute__((packed)) all;
	struct tz_hello answer;
	struct raw r;
	struct pdu p;
	int fd;

	raw_open(&r, &plain, false);
	end_rtr(r.v, &r.peer);
	end_rts(r.v);
	r.tx_msn = r.peer.psn;
	r.rx_msn = r.v->psn;
	p = pdu_write(&r, (uintptr_t)r.v->mem, r.v->rkey, 64);
	all.h = raw_hello(&r);
	all.w = p.h.write;
	memset(all.data, 0x66, 64);
	/* First a refused one, whose stream nobody may execute. */
	all.h.src_qpn ^= htole32(1);
	fd = raw_dial(&r);
	raw_send(fd, &all, sizeof(all));
	check(raw_read(fd, &answer, sizeof(answer), 5000));
	check_eq(le16toh(answer.status), TZ_HELLO_REFUSED);
	check(raw_closed(fd, 5000));
	close(fd);
	check_bytes(r.v->mem, 64, 0);
	all.h.src_qpn ^= htole32(1);
	r.fd = raw_dial(&r);
	raw_send(r.fd, &all, sizeof(all));
	check(raw_read(r.fd, &answer, sizeof(answer), 5000));
	check_eq(le16toh(answer.status), TZ_HELLO_OK);
	check(pdu_get(&r, &p.h, 5000));
	check_eq(p.h.h.op, TZ_PDU_ACK);
	check_bytes(r.v->mem, 64, 0x66);
	raw_close(&r);
}

/*
 * Callers that come before the QP is ready are parked; but few, and the wrong
 * ones are gone when it is.
 */
static void parked_flood(void)
{
	enum { N = 100 };
	struct bystander b;
	struct raw r;
	struct tz_hello h;
	unsigned int fds;
	int fd[N], i;

	raw_open(&r, &plain, false);
	bystander_start(&b, r.v);
	fds = count_fds();
	for (i = 0; i < N; i++) {
		h = raw_hello(&r);
		if (i % 2)
			h.src_qpn = htole32(i << 8);
		else
			h.sq_psn = htole32(i);
		fd[i] = raw_dial(&r);
		raw_send(fd[i], &h, sizeof(h));
	}
	bystander_check(&b);
	check_fds(fds + N + 4);
	check_alive(&r);
	for (i = 0; i < N; i++) {
		check(raw_closed(fd[i], 2000));
		close(fd[i]);
	}
	check_fds(fds);
	bystander_stop(&b);
	raw_close(&r);
}

/* ---- a stranger on the peer's host -------------------------------------- */

/*
 * One that knows QPNs, GIDs and the type, and no PSN: in RTR, nothing that he can
 * say without one is believed, and he is told none. The peer gets through.
 */
static void stranger(void)
{
	struct tz_hello h, answer;
	struct pdu p;
	struct raw r;
	int told;

	raw_open(&r, &plain, false);
	end_rtr(r.v, &r.peer);
	for (told = 0; told < 2; told++) {
		int fd = raw_dial(&r);

		h = raw_hello(&r);
		h.sq_psn = htole32(TZ_PSN_UNKNOWN);
		h.next_tx_msn = htole32(TZ_PSN_UNKNOWN);
		if (!told)
			h.rq_psn = h.next_rx_msn = htole32(TZ_PSN_UNKNOWN);
		raw_send(fd, &h, sizeof(h));
		check(raw_read(fd, &answer, sizeof(answer), 5000));
		check_eq(le16toh(answer.status), TZ_HELLO_REFUSED);
		check_eq(answer.sq_psn | answer.rq_psn, 0);
		check_eq(answer.next_tx_msn | answer.next_rx_msn, 0);
		check(raw_closed(fd, 5000));
		close(fd);
	}
	raw_shake(&r);
	p = pdu_write(&r, (uintptr_t)r.v->mem, r.v->rkey, 64);
	pdu_put(&r, &p);
	check(pdu_get(&r, &p.h, 5000));
	check_eq(p.h.h.op, TZ_PDU_ACK);
	check_bytes(r.v->mem, 64, 0x99);
	raw_close(&r);
}

/* An accepted caller whose first message has another number is hung up on. */
static void wrong_first_number(void)
{
	struct pdu p;
	struct raw r;

	raw_open(&r, &plain, false);
	end_rtr(r.v, &r.peer);
	raw_shake(&r);
	r.tx_msn = 4711;
	p = pdu_write(&r, (uintptr_t)r.v->mem, r.v->rkey, 64);
	pdu_put(&r, &p);
	check_msg(raw_closed(r.fd, 5000), "a wrong number is not hung up on");
	close(r.fd);
	check_bytes(r.v->mem, 64, 0);
	check_eq(end_query_state(r.v), IBV_QPS_RTR);
	check_eq(wait_event_ms(r.v, 10), -1);
	raw_shake(&r);
	p = pdu_write(&r, (uintptr_t)r.v->mem, r.v->rkey, 64);
	pdu_put(&r, &p);
	check(pdu_get(&r, &p.h, 5000));
	check_eq(p.h.h.op, TZ_PDU_ACK);
	check_bytes(r.v->mem, 64, 0x99);
	raw_close(&r);
}

/* Say @h, and take the refusal, which is said of these numbers whatever they are. */
static void guess(struct raw *r, const struct tz_hello *h)
{
	struct tz_hello right = {
		.magic = h->magic, .version = h->version,
		.status = htole16(TZ_HELLO_REFUSED), .session_id = h->session_id,
		.src_qpn = h->dst_qpn, .dst_qpn = h->src_qpn,
	};
	struct tz_hello answer;
	int fd = raw_dial(r);

	memcpy(right.src_gid, h->dst_gid, 16);
	memcpy(right.dst_gid, h->src_gid, 16);
	raw_send(fd, h, sizeof(*h));
	check(raw_read(fd, &answer, sizeof(answer), 5000));
	check_msg(!memcmp(&answer, &right, sizeof(right)),
		  "not the refusal of all, but status %u", le16toh(answer.status));
	check(raw_closed(fd, 5000));
	close(fd);
}

/*
 * One that knows all but the PSN, and guesses as fast as he can. Whether a guess
 * was compared is not told; it shows in the right PSN, which is accepted at once
 * or not: after 8 wrong ones it is looked at every 250 ms. (Here the test knows
 * it. Whoever guesses must hit it with one of 2^24 in one of those looks.)
 */
static void guessed_psn(void)
{
	enum { TRIES = 8, DELAY_MS = 250 };
	struct tz_hello h, wrong;
	uint64_t start, took;
	struct raw r;
	int i, tries, rts;

	for (rts = 0; rts < 2; rts++) {
		test_context("RTS %d", rts);
		raw_open(&r, &plain, false);
		end_rtr(r.v, &r.peer);
		if (rts)
			end_rts(r.v);
		h = raw_hello(&r);
		/* No QPN, no peer, no type: refused in the same bytes, not counted. */
		for (i = 0; i < 3 * TRIES; i++) {
			wrong = h;
			if (i % 3 == 0)
				wrong.dst_qpn ^= htole32(0x80);
			else if (i % 3 == 1)
				wrong.src_qpn ^= htole32(1);
			else
				wrong.qp_type = htole16(TZ_QPT_UC);
			guess(&r, &wrong);
		}
		for (i = 0; i < TRIES; i++) {
			start = now_ns();
			wrong = h;
			wrong.sq_psn = htole32(r.peer.psn + 1 + i);
			guess(&r, &wrong);
		}
		/* From now on even the right one is refused, for so long. */
		for (tries = 0; raw_try_hello(&r, &h) == TZ_HELLO_REFUSED; tries++)
			check_msg(now_ns() - start < 5000000000ull * test_slow(),
				  "the peer is kept out for ever");
		took = (now_ns() - start) / 1000000;
		check_msg(took >= DELAY_MS, "compared after %llu ms",
			  (unsigned long long)took);
		check_msg(tries > 0, "a ninth try is compared at once");
		test_note("%d tries refused in %llu ms", tries,
			  (unsigned long long)took);
		expect_no_wc(r.v, CQ_RECV, 0);
		check_bytes(r.v->mem, 64, 0);
		raw_close(&r);
	}
}

static const union ibv_gid *other_address(const struct raw *r)
{
	static const union ibv_gid low4 = {
		.raw = { [10] = 0xff, [11] = 0xff, 127, 0, 0, 2 }
	};
	static const union ibv_gid low6 = { .raw = { [15] = 1 } };

	return memcmp(&r->v->gid, &low4, 12) ? &low6 : &low4;
}

/*
 * From another address than the peer's nothing is compared, so that only the
 * peer's host can guess, or keep the peer waiting by wrong guesses.
 */
static void guessed_elsewhere(void)
{
	struct tz_hello h, answer;
	struct raw r;
	int i;

	raw_open(&r, &plain, false);
	end_rtr(r.v, &r.peer);
	h = raw_hello(&r);
	for (i = 0; i < 100; i++) {
		int fd = raw_dial_from(&r, other_address(&r));

		h.sq_psn = htole32(r.peer.psn + i);	/* the first one is right */
		raw_send(fd, &h, sizeof(h));
		check(raw_read(fd, &answer, sizeof(answer), 5000));
		check_eq(le16toh(answer.status), TZ_HELLO_REFUSED);
		check(raw_closed(fd, 5000));
		close(fd);
	}
	raw_shake(&r);
	raw_close(&r);
}

/*
 * More callers from one address than are kept: the oldest of them give way, not one
 * that came from elsewhere before all of them and takes its time.
 */
static void crowd(void)
{
	enum { N = 600 };
	struct rlimit lim = { 4096, 4096 };
	static int fd[N];
	struct tz_hello h, answer;
	struct raw r;
	int i;

	check(!setrlimit(RLIMIT_NOFILE, &lim));
	raw_open(&r, &plain, false);
	end_rtr(r.v, &r.peer);
	end_rts(r.v);
	h = raw_hello(&r);
	r.fd = raw_dial(&r);
	raw_send(r.fd, &h, 50);
	for (i = 0; i < N; i++)
		fd[i] = raw_dial_from(&r, other_address(&r));
	/* The first ones have gone. */
	for (i = 0; i < 100; i++)
		check(raw_closed(fd[i], 5000));
	raw_send(r.fd, (uint8_t *)&h + 50, sizeof(h) - 50);
	check(raw_read(r.fd, &answer, sizeof(answer), 5000));
	check_eq(le16toh(answer.status), TZ_HELLO_OK);
	for (i = 0; i < N; i++)
		close(fd[i]);
	raw_close(&r);
}

/*
 * Calls that were parked in INIT, of which none knows a PSN: at RTR all are refused in the same
 * bytes, nothing is told, and what they send after their hello is not read.
 */
static void parked_strangers(void)
{
	enum { N = 4 };
	struct tz_hello h[N], answer;
	struct pdu p;
	struct raw r;
	int fd[N], i;

	raw_open(&r, &plain, false);
	for (i = 0; i < N; i++) {
		h[i] = raw_hello(&r);
		if (i == 0)
			h[i].src_qpn ^= htole32(1);
		h[i].sq_psn = htole32(i < 2 ? r.peer.psn + 1 : TZ_PSN_UNKNOWN);
		if (i == 3)
			h[i].rq_psn = htole32(TZ_PSN_UNKNOWN);
		fd[i] = raw_dial(&r);
		raw_send(fd[i], &h[i], sizeof(h[i]));
	}
	/* All are parked when a further one is refused. */
	while (raw_try_hello(&r, &h[0]) != TZ_HELLO_REFUSED)
		;
	end_rtr(r.v, &r.peer);
	for (i = 0; i < N; i++) {
		check(raw_read(fd[i], &answer, sizeof(answer), 5000));
		check_eq(le16toh(answer.status), TZ_HELLO_REFUSED);
		check_eq(answer.sq_psn | answer.rq_psn, 0);
		check_eq(answer.next_tx_msn | answer.next_rx_msn, 0);
		check(raw_closed(fd[i], 5000));
		close(fd[i]);
	}
	raw_shake(&r);
	p = pdu_write(&r, (uintptr_t)r.v->mem, r.v->rkey, 64);
	pdu_put(&r, &p);
	check(pdu_get(&r, &p.h, 5000));
	check_bytes(r.v->mem, 64, 0x99);
	raw_close(&r);
}

/*
 * A wrong number with a request of the victim on its way: he sees it, and
 * acknowledges another. The peer gets it nevertheless.
 */
static void stranger_and_request(void)
{
	uint8_t data[64];
	struct raw r;
	struct pdu p;
	int dialed;

	for (dialed = 0; dialed < 2; dialed++) {
		test_context("the victim %s", dialed ? "calls" : "is called");
		raw_open(&r, &plain, dialed);
		raw_connect(&r);
		memset(r.v->mem, 0x33, 64);
		post_send(r.v, wr_rdma(r.v, IBV_WR_RDMA_WRITE, 1, 0, 64, r.v, 0));
		check(pdu_get(&r, &p.h, 5000));
		check(raw_read(r.fd, data, 64, 5000));
		p = pdu_ack(&r);
		p.h.h.ack_msn = htole32(r.v->psn + 2);
		pdu_put(&r, &p);
		check_msg(raw_closed(r.fd, 5000), "not hung up on");
		close(r.fd);
		expect_no_wc(r.v, CQ_SEND, 10);
		raw_shake(&r);
		check(pdu_get(&r, &p.h, 5000));
		check_eq(p.h.h.op, TZ_PDU_WRITE);
		check_eq(le32toh(p.h.h.msn), r.v->psn);
		check(raw_read(r.fd, data, 64, 5000));
		check_bytes(data, 64, 0x33);
		p = pdu_ack(&r);
		p.h.h.ack_msn = htole32(r.v->psn + 1);
		pdu_put(&r, &p);
		expect_send(r.v, 1, IBV_WC_SUCCESS);
		check_eq(wait_event_ms(r.v, 0), -1);
		raw_close(&r);
	}
}

/* ---- we are called ------------------------------------------------------ */

/* Whatever the other side answers, the victim tries again, and not too often. */
static void bad_answers(void)
{
	static const char *const what[] = {
		"closes at once", "resets", "garbage", "half a hello",
		"refuses", "a refusal of version 1", "refuses: version",
		"wrong session", "wrong QPN", "wrong PSN", "wrong magic",
		"max_pdu 0"
	};
	struct bystander b;
	struct raw r;
	unsigned int i;
	uint64_t cpu, start;
	struct pdu p;

	raw_open(&r, &plain, true);
	bystander_start(&b, r.v);
	end_rtr(r.v, &r.peer);
	end_rts(r.v);
	for (i = 0; i < ARRAY_SIZE(what); i++) {
		int fd = raw_accept(&r, 5000 * test_slow());
		struct tz_hello in, h = raw_hello(&r);

		test_context("%s", what[i]);
		check_msg(fd >= 0, "the victim does not call again");
		if (i == 0) {
			close(fd);
			continue;
		}
		if (i == 1) {
			raw_reset(fd);
			continue;
		}
		check(raw_read(fd, &in, sizeof(in), 5000));
		h.session_id = in.session_id;
		if (i == 2)
			memset(&h, 0xa5, sizeof(h));
		else if (i == 4)
			h.status = htole16(TZ_HELLO_REFUSED);
		else if (i == 5)
			h.status = htole16(5);
		else if (i == 6)
			h.status = htole16(TZ_HELLO_BAD_VERSION);
		else if (i == 7)
			h.session_id ^= 1;
		else if (i == 8)
			h.src_qpn ^= htole32(1);
		else if (i == 9)
			h.sq_psn ^= htole32(1);
		else if (i == 10)
			h.magic ^= htole32(1);
		else if (i == 11)
			h.max_pdu = 0;
		raw_send(fd, &h, i == 3 ? 50 : sizeof(h));
		if (i == 3)
			shutdown(fd, SHUT_WR);
		check_msg(raw_closed(fd, 5000), "the victim keeps this");
		close(fd);
	}
	test_context("refused all the time");
	bystander_stop(&b);
	cpu = cpu_ns();
	for (start = now_ns(), i = 0; now_ns() - start < 1000000000ull; i++) {
		int fd = raw_accept(&r, 100);

		if (fd >= 0)
			raw_reset(fd);
	}
	check_msg(cpu_ns() - cpu < 100000000ull * test_slow(),
		  "%.0f ms of CPU for being refused a second long",
		  (cpu_ns() - cpu) / 1e6);
	test_context("and at last");
	raw_shake(&r);
	p = pdu_write(&r, (uintptr_t)r.v->mem, r.v->rkey, 64);
	pdu_put(&r, &p);
	check(pdu_get(&r, &p.h, 5000));
	check_bytes(r.v->mem, 64, 0x99);
	raw_close(&r);
}

/* It takes the call and says nothing: work fails in its time. */
static void mute_answer(void)
{
	struct opts o = { .min_retry_ms = 500 };
	struct raw r;
	int fd;

	raw_open(&r, &o, true);
	end_rtr(r.v, &r.peer);
	end_rts(r.v);
	fd = raw_accept(&r, 5000);
	check(fd >= 0);
	post_send(r.v, wr_rdma(r.v, IBV_WR_RDMA_WRITE, 1, 0, 8, r.v, 0));
	expect_send(r.v, 1, IBV_WC_RETRY_EXC_ERR);
	check_eq(end_query_state(r.v), IBV_QPS_ERR);
	check_msg(raw_closed(fd, 5000), "the mute one is still listened to");
	close(fd);
	raw_close(&r);
}

/*
 * ERR and RESET beside doorbells: a queue pair in RESET calls nobody (and in
 * kernel mode a socket would be left behind by it).
 */
struct bells {
	struct end *e;
	bool stop;
};

/* The application's doorbells; in user mode its posts are what comes nearest. */
static void *ring_bells(void *arg)
{
	struct bells *b = arg;
	struct ib_uverbs_post_send_resp resp;
	struct {
		struct ib_uverbs_cmd_hdr hdr;
		struct ib_uverbs_post_send send;
	} cmd = {
		.hdr = { IB_USER_VERBS_CMD_POST_SEND, sizeof(cmd) / 4,
			 sizeof(resp) / 4 },
		.send.response = (uintptr_t)&resp,
		.send.qp_handle = b->e->qp->handle,
		.send.wqe_size = sizeof(struct ib_uverbs_send_wr),
	};
	struct ibv_recv_wr wr = { .wr_id = 1 }, *bad;

	while (!__atomic_load_n(&b->stop, __ATOMIC_RELAXED)) {
		if (!b->e->kernel)
			ibv_post_recv(b->e->qp, &wr, &bad);
		else if (write(b->e->ctx->cmd_fd, &cmd, sizeof(cmd)) < 0)
			return arg;
	}
	return NULL;
}

/* The victim's calls until there are none for @ms; their number. */
static int hang_up_calls(const struct raw *r, int ms)
{
	struct pollfd p = { .fd = r->listener, .events = POLLIN };
	int n = 0, fd;

	while (poll(&p, 1, ms) > 0) {
		fd = accept(r->listener, NULL, NULL);
		check(fd >= 0);
		close(fd);
		n++;
		ms = 0;
	}
	return n;
}

static void reset_beside_doorbells(void)
{
	struct bells b = {};
	pthread_t thread;
	struct raw r;
	void *failed;
	int i;

	raw_open(&r, &plain, true);
	b.e = r.v;
	check_eq(pthread_create(&thread, NULL, ring_bells, &b), 0);
	for (i = 0; i < 100; i++) {
		end_rtr(r.v, &r.peer);
		check_msg(hang_up_calls(&r, 5000), "round %d: no call in RTR", i);
		end_state(r.v, IBV_QPS_ERR);
		hang_up_calls(&r, 1);
		end_state(r.v, IBV_QPS_RESET);
		check_msg(!hang_up_calls(&r, 10), "round %d: called in RESET", i);
		end_init(r.v);
	}
	__atomic_store_n(&b.stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, &failed);
	check_msg(!failed, "no doorbell");
	raw_close(&r);
}

/* Connections at @port that this side has not done with; TIME_WAIT costs no socket. */
static unsigned int count_sockets(unsigned int port)
{
	unsigned int n = 0, local, state;
	FILE *f = fopen("/proc/net/tcp", "r");
	char line[256];

	check(f);
	while (fgets(line, sizeof(line), f))
		n += sscanf(line, " %*u: %*x:%x %*x:%*x %x", &local, &state) == 2 &&
		     local == port && state != TCP_TIME_WAIT && state != TCP_LISTEN;
	fclose(f);
	return n;
}

/* Callers who are refused and stay cost few sockets, and for a moment. */
static void refused_flood(void)
{
	enum { N = 1000, MOST = 64 + 256 + 8 };
	struct rlimit lim = { 4096, 4096 };
	struct sockaddr_in to = {};
	socklen_t len = sizeof(to);
	struct tz_hello h;
	static int fd[N];
	struct raw r;
	unsigned int port, n;
	uint64_t until;
	int i;

	check(!setrlimit(RLIMIT_NOFILE, &lim));
	raw_open(&r, &plain, false);
	h = raw_hello(&r);
	h.dst_qpn ^= htole32(0x80);
	for (i = 0; i < N; i++) {
		fd[i] = raw_dial(&r);
		if (!i)
			check(!getpeername(fd[i], (struct sockaddr *)&to, &len));
		raw_send(fd[i], &h, sizeof(h));
	}
	port = ntohs(to.sin_port);
	n = count_sockets(port);
	check_msg(n <= MOST, "%u sockets of %d callers who were refused", n, N);
	until = now_ns() + 2000000000ull * test_slow();
	while (count_sockets(port) && now_ns() < until)
		sched_yield();
	check_eq(count_sockets(port), 0);
	for (i = 0; i < N; i++)
		close(fd[i]);
	check_alive(&r);
	raw_close(&r);
}

static const struct test_case cases[] = {
	CASE(garbage),
	CASE(copies_in_child),
	CASE(port_scan),
	CASE_LIMIT(half_open, 60),
	CASE(malformed),
	CASE(wrong_peer),
	CASE(replayed),
	CASE(eager),
	CASE(parked_flood),
	CASE(stranger),
	CASE(wrong_first_number),
	CASE_LIMIT(guessed_psn, 60),
	CASE(guessed_elsewhere),
	CASE(crowd),
	CASE(parked_strangers),
	CASE(stranger_and_request),
	CASE_LIMIT(bad_answers, 60),
	CASE(mute_answer),
	CASE(reset_beside_doorbells),
	CASE(refused_flood),
	CASES_END
};

int main(int argc, char **argv)
{
	return test_main(argc, argv, cases);
}
