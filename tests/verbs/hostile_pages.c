// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * hostile_pages.c - a peer on the same host that keeps what it has received without
 * reading it: by splice() it holds the packets' pages in a pipe, or it leaves them in
 * its socket. It reads what was sent, and nothing that the victim writes to its memory
 * after the work request is complete, the region deregistered, or the queue pair
 * destroyed. Peers are sockets of all kinds that can be at the other end of TCP.
 */
#include "raw.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP	262
#endif
#ifndef AF_SMC
#define AF_SMC		43
#endif
#define SMCPROTO_SMC6	1

#define BYTES		(512 * KIB)
#define SENT		0x11
#define SECRET		0x22
/* Longer than TCP takes to go on when its peer reads. */
#define QUIET_MS	1000

static const struct opts plain = { .mem_bytes = BYTES, .min_retry_ms = 5000 };

/* Has the administrator, or the application, said that this peer is to be trusted? */
static bool trusted(const struct end *e)
{
	const char *set = getenv("TCPZC_ZEROCOPY");
	char value[16] = "";
	FILE *f;

	if (!e->kernel)
		return set && !strcmp(set, "2");
	f = fopen("/sys/module/tcpzc/parameters/by_reference", "r");
	check(f && fgets(value, sizeof(value), f));
	fclose(f);
	return value[0] == '2';
}

static struct raw *opened(int fd)
{
	struct raw *r = calloc(1, sizeof(*r));

	check(r);
	raw_open(r, &plain, false);
	memset(r->v->mem, SENT, BYTES);
	end_rtr(r->v, &r->peer);
	end_rts(r->v);
	if (fd < 0)
		raw_shake(r);
	else
		raw_shake_by(r, fd);
	return r;
}

/* ---- pages in a pipe ---------------------------------------------------- */

/* @n bytes of the stream's to the pipe. */
static void keep(struct raw *r, int pipe_fd, size_t n)
{
	while (n) {
		ssize_t k = splice(r->fd, NULL, pipe_fd, NULL, n, 0);

		check_msg(k > 0, "splice: %m");
		n -= k;
	}
}

/* The victim's WRITE, to the pipe, with no byte of it read. */
static void keep_write(struct raw *r, int pipe_fd)
{
	union tz_any_hdr h;
	size_t got = 0;

	while (got < BYTES) {
		check(pdu_get(r, &h, 5000));
		check_eq(h.h.op, TZ_PDU_WRITE);
		keep(r, pipe_fd, le32toh(h.h.len));
		got += le32toh(h.h.len);
	}
	r->rx_msn++;
}

/* Bytes from @fd that the victim has written too late, of @n or as far as any come. */
static size_t count_secret(int fd, size_t n)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };
	static uint8_t buf[BYTES];
	size_t found = 0;
	ssize_t got, i;

	for (; n && poll(&pfd, 1, QUIET_MS * test_slow()) == 1; n -= got) {
		got = read(fd, buf, n < sizeof(buf) ? n : sizeof(buf));
		if (got <= 0)
			break;
		for (i = 0; i < got; i++)
			found += buf[i] == SECRET;
	}
	return found;
}

/* The victim's WRITE completes; it writes to its memory; the peer reads its pipe. */
static void pages_kept_by(int fd)
{
	struct raw *r = opened(fd);
	int fds[2];
	struct pdu ack;

	if (trusted(r->v))
		test_skip("peers are trusted");
	check(!pipe(fds));
	/* A page may be in several pieces. */
	check(fcntl(fds[1], F_SETPIPE_SZ, 1 * MIB) >= (int)BYTES);
	post_send(r->v, wr_rdma(r->v, IBV_WR_RDMA_WRITE, 1, 0, BYTES, r->v, 0));
	keep_write(r, fds[1]);
	ack = pdu_ack(r);
	pdu_put(r, &ack);
	expect_send(r->v, 1, IBV_WC_SUCCESS);
	memset(r->v->mem, SECRET, BYTES);
	check_eq(count_secret(fds[0], BYTES), 0);
	close(fds[0]);
	close(fds[1]);
	raw_close(r);
	free(r);
}

static void kept_by_tcp(void)
{
	pages_kept_by(-1);
}

/* A process's socket whose other half is the kernel's; it may splice as well. */
static void kept_by(const char *name, int domain, int protocol)
{
	int fd = socket(domain, SOCK_STREAM | SOCK_CLOEXEC, protocol);

	if (fd < 0)
		test_skip("this kernel has no %s", name);
	pages_kept_by(fd);
}

static void kept_by_mptcp(void)
{
	kept_by("MPTCP", AF_INET6, IPPROTO_MPTCP);
}

static void kept_by_smc(void)
{
	kept_by("SMC", AF_SMC, SMCPROTO_SMC6);
}

/* ---- pages in the victim's own send queue ---------------------------------- */

/* A READ that the peer does not read the answer of; the region is more_mr. */
static struct raw *asked(void)
{
	struct raw *r = opened(-1);
	struct ibv_mr *mr = ibv_reg_mr(r->v->pd, r->v->mem, BYTES, ACCESS_ALL);
	struct pollfd pfd = { .fd = r->fd, .events = POLLIN };
	struct pdu p;

	check(mr);
	r->v->more_mr = mr;
	p = pdu_read(r, (uintptr_t)r->v->mem, mr->rkey, BYTES);
	pdu_put(r, &p);
	check_eq(poll(&pfd, 1, 5000), 1);
	return r;
}

/* What the region held when it was taken away, and no more than that. */
static void answered(struct raw *r)
{
	int arrived;

	check(!ioctl(r->fd, FIONREAD, &arrived));
	check_msg(arrived < (int)BYTES, "all has arrived: nothing is tested");
	memset(r->v->mem, SECRET, BYTES);
	/* What has arrived already are the victim's pages if the peer is trusted. */
	if (trusted(r->v))
		count_secret(r->fd, arrived);
	check_eq(count_secret(r->fd, 2 * BYTES), 0);
	raw_close(r);
	free(r);
}

static void answer_after_dereg(void)
{
	struct raw *r = asked();

	check_rc(ibv_dereg_mr(r->v->more_mr), 0);
	r->v->more_mr = NULL;
	answered(r);
}

/* The queue pair's end cuts off the answer; the region stays. */
static void answer_after_reset(void)
{
	struct raw *r = asked();

	end_state(r->v, IBV_QPS_RESET);
	answered(r);
}

/* First one and then the other: the socket outlives the queue pair. */
static void answer_after_error(void)
{
	struct raw *r = asked();

	end_state(r->v, IBV_QPS_ERR);
	check_rc(ibv_dereg_mr(r->v->more_mr), 0);
	r->v->more_mr = NULL;
	answered(r);
}

/* Another region's end has nothing to do with it: the answer arrives as a whole. */
static void other_region(void)
{
	struct raw *r = asked();
	struct ibv_mr *other = ibv_reg_mr(r->v->pd, r->v->mem, BYTES, ACCESS_ALL);
	union tz_any_hdr h;
	static uint8_t data[BYTES];
	size_t got;

	check(other);
	check_rc(ibv_dereg_mr(other), 0);
	for (got = 0; got < BYTES; got += le32toh(h.h.len)) {
		check(pdu_get(r, &h, 5000));
		check_eq(h.h.op, TZ_PDU_READ_RESP);
		check(le32toh(h.h.len) <= sizeof(data) &&
		      raw_read(r->fd, data, le32toh(h.h.len), 5000));
		check_bytes(data, le32toh(h.h.len), SENT);
	}
	check_eq(end_query_state(r->v), IBV_QPS_RTS);
	raw_close(r);
	free(r);
}

static const struct test_case cases[] = {
	CASE(kept_by_tcp),
	CASE(kept_by_mptcp),
	CASE(kept_by_smc),
	CASE(answer_after_dereg),
	CASE(answer_after_reset),
	CASE(answer_after_error),
	CASE(other_region),
	CASES_END
};

int main(int argc, char **argv)
{
	return test_main(argc, argv, cases);
}
