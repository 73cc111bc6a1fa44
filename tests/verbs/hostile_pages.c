// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * hostile_pages.c - a peer on the same host that keeps what it has received without
 * reading it: by splice() it holds the packets' pages in a pipe. It reads what was sent, and nothing that the victim writes to its memory
 * after the work request is complete, the region deregistered, or the queue pair
 * destroyed. Peers are sockets of all kinds that can be at the other end of TCP.
 */
#include "raw.h"

#include <fcntl.h>
#include <poll.h>
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

static const struct test_case cases[] = {
	CASE(kept_by_tcp),
	CASE(kept_by_mptcp),
	CASE(kept_by_smc),
	CASES_END
};

int main(int argc, char **argv)
{
	return test_main(argc, argv, cases);
}
