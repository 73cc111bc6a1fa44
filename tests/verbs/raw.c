// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * raw.c - a peer made of a socket.
 */
#include "raw.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

/* Lower than any number of the victim's, so that we connect. */
#define LOW_QPN		(TZ_FIRST_USER_PORT << 8 | 9)
#define LOW_KERNEL_QPN	2u
#define RAW_PSN		0x100u

/* ---- sockets ------------------------------------------------------------ */

static void gid_addr(const union ibv_gid *gid, uint16_t port,
		     struct sockaddr_in6 *sin6)
{
	memset(sin6, 0, sizeof(*sin6));
	sin6->sin6_family = AF_INET6;
	sin6->sin6_port = htons(port);
	memcpy(&sin6->sin6_addr, gid, sizeof(*gid));
}

static int tcp_socket(void)
{
	int zero = 0, one = 1, fd;

	fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	check_msg(fd >= 0, "socket: %m");
	check(!setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof(zero)));
	check(!setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)));
	return fd;
}

/* Where the victim is reachable; the well-known port if it is the kernel's. */
static uint16_t raw_port(const struct raw *r)
{
	uint32_t port = r->v->qpn >> 8;

	return port >= TZ_FIRST_USER_PORT ? port : TZ_WELL_KNOWN_PORT;
}

static void dial_by(const struct raw *r, int fd, const union ibv_gid *gid)
{
	struct sockaddr_in6 from, to;

	gid_addr(gid, 0, &from);
	gid_addr(&r->v->gid, raw_port(r), &to);
	check_msg(!bind(fd, (struct sockaddr *)&from, sizeof(from)), "bind: %m");
	check_msg(!connect(fd, (struct sockaddr *)&to, sizeof(to)),
		  "connect: %m");
}

int raw_dial_from(const struct raw *r, const union ibv_gid *gid)
{
	int fd = tcp_socket();

	dial_by(r, fd, gid);
	return fd;
}

int raw_dial(const struct raw *r)
{
	return raw_dial_from(r, &r->v->gid);
}

/* A port higher than the victim's. */
static void raw_listen(struct raw *r)
{
	struct sockaddr_in6 sin6;
	uint16_t port;

	r->listener = tcp_socket();
	for (port = 65535; port > r->v->qpn >> 8; port--) {
		gid_addr(&r->v->gid, port, &sin6);
		if (!bind(r->listener, (struct sockaddr *)&sin6, sizeof(sin6)))
			break;
	}
	check_msg(port > r->v->qpn >> 8, "no port is free above the victim's");
	check(!listen(r->listener, 16));
	r->peer.qpn = port << 8 | 9;
}

int raw_accept(struct raw *r, unsigned int ms)
{
	struct pollfd pfd = { .fd = r->listener, .events = POLLIN };

	if (poll(&pfd, 1, ms) != 1)
		return -1;
	return accept4(r->listener, NULL, NULL, SOCK_CLOEXEC);
}

size_t raw_try_send(int fd, const void *bytes, size_t len)
{
	const uint8_t *at = bytes;
	size_t done = 0;

	while (done < len) {
		ssize_t n = send(fd, at + done, len - done,
				 MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n <= 0)
			break;
		done += n;
	}
	return done;
}

/* The victim may hang up at any moment: errors are not ours to judge. */
void raw_send(int fd, const void *bytes, size_t len)
{
	const uint8_t *at = bytes;

	while (len) {
		ssize_t n = send(fd, at, len, MSG_NOSIGNAL);

		if (n <= 0)
			return;
		at += n;
		len -= n;
	}
}

bool raw_read(int fd, void *bytes, size_t len, unsigned int ms)
{
	uint64_t until = now_ns() + ms * 1000000ull * test_slow();
	uint8_t *at = bytes;

	while (len) {
		struct pollfd pfd = { .fd = fd, .events = POLLIN };
		uint64_t now = now_ns();
		ssize_t n;

		if (now >= until ||
		    poll(&pfd, 1, (until - now) / 1000000 + 1) != 1)
			return false;
		n = recv(fd, at, len, 0);
		if (n <= 0)
			return false;
		at += n;
		len -= n;
	}
	return true;
}

bool raw_closed(int fd, unsigned int ms)
{
	uint64_t until = now_ns() + ms * 1000000ull * test_slow();
	static uint8_t buf[65536];

	for (;;) {
		struct pollfd pfd = { .fd = fd, .events = POLLIN };
		uint64_t now = now_ns();

		if (poll(&pfd, 1, now < until ? (until - now) / 1000000 + 1 : 0) != 1)
			return false;
		if (recv(fd, buf, sizeof(buf), 0) <= 0)
			return true;
	}
}

void raw_reset(int fd)
{
	struct linger linger = { .l_onoff = 1 };

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	close(fd);
}

/* ---- hand-shake --------------------------------------------------------- */

void raw_open(struct raw *r, const struct opts *o, bool dialed)
{
	memset(r, 0, sizeof(*r));
	r->fd = -1;
	r->listener = -1;
	r->v = end_new(o, false, NULL);
	r->peer = *r->v;
	r->peer.psn = RAW_PSN;
	r->peer.qpn = r->v->qpn >> 8 >= TZ_FIRST_USER_PORT ? LOW_QPN :
							     LOW_KERNEL_QPN;
	if (dialed)
		raw_listen(r);
}

struct tz_hello raw_hello(const struct raw *r)
{
	struct tz_hello h = {
		.magic = htole32(TZ_HELLO_MAGIC),
		.version = htole16(TZ_PROTO_VERSION),
		.max_pdu = htole32(TZ_DEFAULT_PDU_BYTES),
		.src_qpn = htole32(r->peer.qpn),
		.dst_qpn = htole32(r->v->qpn),
		.session_id = htole64(0x1122334455667788),
		.sq_psn = htole32(r->peer.psn),
		.rq_psn = htole32(r->v->psn),
		.next_tx_msn = htole32(r->peer.psn),
		.next_rx_msn = htole32(r->v->psn),
		.qp_type = htole16(TZ_QPT_RC),
	};

	memcpy(h.src_gid, &r->v->gid, 16);
	memcpy(h.dst_gid, &r->v->gid, 16);
	return h;
}

int raw_try_hello(const struct raw *r, const struct tz_hello *hello)
{
	struct tz_hello answer;
	int fd = raw_dial(r), status = -1;

	raw_send(fd, hello, sizeof(*hello));
	if (raw_read(fd, &answer, sizeof(answer), 2000))
		status = le16toh(answer.status);
	close(fd);
	return status;
}

/* The victim's hello is as it should be. */
static void raw_shaken(struct raw *r, const struct tz_hello *hello)
{
	check_eq(le32toh(hello->magic), TZ_HELLO_MAGIC);
	check_eq(le16toh(hello->status), TZ_HELLO_OK);
	check_eq(le32toh(hello->src_qpn), r->v->qpn);
	check_eq(le32toh(hello->dst_qpn), r->peer.qpn);
	r->tx_msn = r->peer.psn;
	r->rx_msn = r->v->psn;
}

static void raw_greet(struct raw *r)
{
	struct tz_hello hello = raw_hello(r), answer;

	raw_send(r->fd, &hello, sizeof(hello));
	check_msg(raw_read(r->fd, &answer, sizeof(answer), 5000),
		  "no hello from the victim");
	raw_shaken(r, &answer);
}

static void raw_answer(struct raw *r)
{
	struct tz_hello hello = raw_hello(r), call;

	r->fd = raw_accept(r, 5000 * test_slow());
	check_msg(r->fd >= 0, "the victim does not connect");
	check(raw_read(r->fd, &call, sizeof(call), 5000));
	hello.session_id = call.session_id;
	raw_send(r->fd, &hello, sizeof(hello));
	raw_shaken(r, &call);
}

void raw_shake(struct raw *r)
{
	if (r->listener >= 0) {
		raw_answer(r);
		return;
	}
	r->fd = raw_dial(r);
	raw_greet(r);
}

void raw_shake_by(struct raw *r, int fd)
{
	r->fd = fd;
	dial_by(r, fd, &r->v->gid);
	raw_greet(r);
}

void raw_connect(struct raw *r)
{
	end_rtr(r->v, &r->peer);
	end_rts(r->v);
	raw_shake(r);
}

void raw_again(struct raw *r)
{
	struct ibv_wc wc;

	if (r->fd >= 0)
		close(r->fd);
	r->fd = -1;
	end_state(r->v, IBV_QPS_RESET);
	while (wait_event_ms(r->v, 0) >= 0)
		;
	while (wait_wc_ms(r->v, CQ_SEND, &wc, 0) ||
	       wait_wc_ms(r->v, CQ_RECV, &wc, 0))
		;
	end_init(r->v);
}

void raw_close(struct raw *r)
{
	if (r->fd >= 0)
		close(r->fd);
	if (r->listener >= 0)
		close(r->listener);
	end_free(r->v);
}

/* ---- PDUs --------------------------------------------------------------- */

static struct pdu pdu_make(struct raw *r, uint8_t op, uint8_t flags,
			   uint32_t len, uint32_t msn)
{
	struct pdu p = { .hdr_len = tz_hdr_bytes(op), .data_len = len };

	p.h.h.op = op;
	p.h.h.flags = flags;
	p.h.h.len = htole32(len);
	p.h.h.src_qpn = htole32(r->peer.qpn);
	p.h.h.dst_qpn = htole32(r->v->qpn);
	p.h.h.msn = htole32(msn);
	p.h.h.ack_msn = htole32(r->rx_msn);
	return p;
}

struct pdu pdu_send(struct raw *r, uint32_t total)
{
	struct pdu p = pdu_make(r, TZ_PDU_SEND, TZ_PDU_F_LAST, total, r->tx_msn++);

	p.h.send.total = htole32(total);
	return p;
}

struct pdu pdu_write(struct raw *r, uint64_t addr, uint32_t rkey, uint32_t total)
{
	struct pdu p = pdu_make(r, TZ_PDU_WRITE, TZ_PDU_F_LAST, total,
				r->tx_msn++);

	p.h.write.total = htole32(total);
	p.h.write.rkey = htole32(rkey);
	p.h.write.addr = htole64(addr);
	return p;
}

struct pdu pdu_read(struct raw *r, uint64_t addr, uint32_t rkey, uint32_t total)
{
	struct pdu p = pdu_make(r, TZ_PDU_READ_REQ, TZ_PDU_F_LAST, 0,
				r->tx_msn++);

	p.h.read.total = htole32(total);
	p.h.read.rkey = htole32(rkey);
	p.h.read.addr = htole64(addr);
	return p;
}

struct pdu pdu_atomic(struct raw *r, uint64_t addr, uint32_t rkey)
{
	struct pdu p = pdu_make(r, TZ_PDU_ATOMIC_REQ, TZ_PDU_F_LAST, 0,
				r->tx_msn++);

	p.h.atomic.rkey = htole32(rkey);
	p.h.atomic.addr = htole64(addr);
	p.h.atomic.kind = htole32(TZ_ATOMIC_FETCH_AND_ADD);
	p.h.atomic.compare_add = htole64(1);
	return p;
}

struct pdu pdu_read_resp(struct raw *r, uint32_t msn, uint32_t total)
{
	struct pdu p = pdu_make(r, TZ_PDU_READ_RESP, TZ_PDU_F_LAST, total, msn);

	p.h.read_resp.total = htole32(total);
	p.h.h.ack_msn = htole32(msn + 1);
	return p;
}

struct pdu pdu_atomic_resp(struct raw *r, uint32_t msn)
{
	struct pdu p = pdu_make(r, TZ_PDU_ATOMIC_RESP, TZ_PDU_F_LAST, 0, msn);

	p.h.h.ack_msn = htole32(msn + 1);
	return p;
}

struct pdu pdu_ack(struct raw *r)
{
	return pdu_make(r, TZ_PDU_ACK, TZ_PDU_F_LAST, 0, 0);
}

struct pdu pdu_nak(struct raw *r, uint32_t msn, uint32_t code)
{
	struct pdu p = pdu_make(r, TZ_PDU_NAK, TZ_PDU_F_LAST, 0, msn);

	p.h.nak.code = htole32(code);
	p.h.h.ack_msn = htole32(msn);
	return p;
}

void pdu_put(struct raw *r, const struct pdu *p)
{
	static uint8_t data[65536];
	uint32_t left = p->data_len;

	memset(data, 0x99, sizeof(data));
	raw_send(r->fd, &p->h, p->hdr_len);
	while (left) {
		uint32_t n = left < sizeof(data) ? left : sizeof(data);

		raw_send(r->fd, data, n);
		left -= n;
	}
}

bool pdu_get(struct raw *r, union tz_any_hdr *h, unsigned int ms)
{
	uint32_t bytes;

	if (!raw_read(r->fd, h, sizeof(h->h), ms))
		return false;
	bytes = tz_hdr_bytes(h->h.op);
	check_msg(bytes, "the victim says operation %u", h->h.op);
	return raw_read(r->fd, h->bytes + sizeof(h->h), bytes - sizeof(h->h), ms);
}

/* ---- bystanders --------------------------------------------------------- */

#define BYSTAND_BYTES	20000

static void bystand_once(struct bystander *b, uint64_t round)
{
	struct end *a = b->p.a, *to = b->p.b;
	struct ibv_sge sge = {
		.addr = (uintptr_t)a->mem, .length = BYSTAND_BYTES, .lkey = a->lkey,
	};
	struct ibv_send_wr wr = {
		.wr_id = round, .sg_list = &sge, .num_sge = 1,
		.opcode = round & 1 ? IBV_WR_RDMA_WRITE : IBV_WR_RDMA_READ,
		.send_flags = IBV_SEND_SIGNALED,
		.wr.rdma = { .remote_addr = (uintptr_t)to->mem, .rkey = to->rkey },
	}, *bad;
	struct ibv_wc wc;

	fill(round & 1 ? a->mem : to->mem, BYSTAND_BYTES, round);
	check_rc(ibv_post_send(a->qp, &wr, &bad), 0);
	check_msg(poll_one(a->cq[CQ_SEND], &wc, 10000 * test_slow()),
		  "a bystander hangs");
	check_wc_at(__FILE__, __LINE__, &wc, round, IBV_WC_SUCCESS);
	check_fill(round & 1 ? to->mem : a->mem, BYSTAND_BYTES, round);
}

static void *bystand(void *arg)
{
	struct bystander *b = arg;
	uint64_t round;

	for (round = 0; !__atomic_load_n(&b->stop, __ATOMIC_RELAXED); round++) {
		bystand_once(b, round);
		__atomic_fetch_add(&b->done, 1, __ATOMIC_RELAXED);
		usleep(500);
	}
	return NULL;
}

void bystander_start(struct bystander *b, struct end *v)
{
	memset(b, 0, sizeof(*b));
	b->p.topo = TOPO_CONTEXTS;
	b->p.a = end_new(NULL, false, v);
	b->p.b = end_new(NULL, false, v);
	end_connect(b->p.a, b->p.b);
	check_eq(pthread_create(&b->thread, NULL, bystand, b), 0);
	/* Connected: from now on its descriptors are counted with the others. */
	bystander_check(b);
}

void bystander_check(struct bystander *b)
{
	uint64_t before = __atomic_load_n(&b->done, __ATOMIC_RELAXED);
	uint64_t until = now_ns() + 10000000000ull * test_slow();

	while (__atomic_load_n(&b->done, __ATOMIC_RELAXED) < before + 2) {
		check_msg(now_ns() < until, "a bystander does not go on");
		usleep(200);
	}
}

void bystander_stop(struct bystander *b)
{
	bystander_check(b);
	__atomic_store_n(&b->stop, true, __ATOMIC_RELAXED);
	pthread_join(b->thread, NULL);
	test_note("the bystander did %llu operations",
		  (unsigned long long)b->done);
	end_free(b->p.a);
	end_free(b->p.b);
}
