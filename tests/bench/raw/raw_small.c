// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/* Rate of small messages, with many or one of them per system call. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "raw.h"

#define WARM_UP_SECONDS	0.1
#define BATCH_MAX	512u
#define SLOTS		1024u

struct small_ring {
	char *headers, *payloads, *buffer;
	uint32_t sequence;
};

static void fill_header(char *at, uint32_t sequence, const struct raw_options *opt)
{
	struct raw_wire_header h = {
		.magic = RAW_MAGIC, .sequence = sequence,
		.address = 0x1000u + 64u * (sequence % SLOTS),
		.length = (uint32_t)opt->message_bytes,
	};

	memcpy(at, &h, opt->header_bytes);
}

static int build_contiguous(const struct raw_options *opt, struct small_ring *ring,
			    struct iovec *iov)
{
	char *at = ring->buffer;

	for (unsigned int i = 0; i < opt->batch; i++) {
		fill_header(at, ring->sequence, opt);
		at += opt->header_bytes;
		memcpy(at, ring->payloads + opt->message_bytes * (ring->sequence++ % SLOTS),
		       opt->message_bytes);
		at += opt->message_bytes;
	}
	iov[0] = (struct iovec){ ring->buffer, (size_t)(at - ring->buffer) };
	return 1;
}

static int build_vector(const struct raw_options *opt, struct small_ring *ring,
			struct iovec *iov)
{
	for (unsigned int i = 0; i < opt->batch; i++) {
		char *header = ring->headers + i * RAW_HEADER_MAX;

		fill_header(header, ring->sequence, opt);
		iov[2 * i] = (struct iovec){ header, opt->header_bytes };
		iov[2 * i + 1] = (struct iovec){
			ring->payloads + opt->message_bytes * (ring->sequence++ % SLOTS),
			opt->message_bytes };
	}
	return (int)(2 * opt->batch);
}

static void send_vector(int fd, struct iovec *iov, int count, struct raw_result *res)
{
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = (size_t)count };
	size_t want = 0;

	for (int i = 0; i < count; i++)
		want += iov[i].iov_len;
	res->calls[RAW_CLIENT]++;
	if (sendmsg(fd, &msg, MSG_NOSIGNAL) != (ssize_t)want)
		raw_die("sendmsg");
}

void raw_small_client(const struct raw_options *opt, int fd, struct raw_result *res)
{
	struct small_ring ring = {
		.headers = raw_alloc(BATCH_MAX * RAW_HEADER_MAX),
		.payloads = raw_alloc(SLOTS * opt->message_bytes),
		.buffer = raw_alloc(BATCH_MAX * (RAW_HEADER_MAX + opt->message_bytes)),
	};
	double end = raw_now() + WARM_UP_SECONDS + opt->seconds;
	struct iovec iov[2 * BATCH_MAX];

	while (raw_now() < end) {
		for (unsigned int i = 0; i < 16; i++) {
			int count = opt->two_iovecs ? build_vector(opt, &ring, iov) :
						      build_contiguous(opt, &ring, iov);
			send_vector(fd, iov, count, res);
		}
	}
	shutdown(fd, SHUT_WR);
}

struct parser {
	const struct raw_options *opt;
	char *dst;
	uint32_t sequence;
};

/* Consumes whole messages, returns the bytes that are left over. */
static size_t parse(struct parser *p, const char *at, size_t bytes)
{
	const size_t whole = p->opt->header_bytes + p->opt->message_bytes;
	struct raw_wire_header h = { 0 };

	for (; bytes >= whole; at += whole, bytes -= whole) {
		memcpy(&h, at, p->opt->header_bytes);
		if (h.magic != RAW_MAGIC || h.sequence != p->sequence++ ||
		    h.length != p->opt->message_bytes) {
			fprintf(stderr, "raw_tcp: bad header\n");
			_exit(1);
		}
		memcpy(p->dst + (h.address - 0x1000u) / 64u * h.length,
		       at + p->opt->header_bytes, h.length);
	}
	return bytes;
}

void raw_small_server(const struct raw_options *opt, int fd, struct raw_result *res)
{
	struct parser p = { .opt = opt, .dst = raw_alloc(SLOTS * opt->message_bytes) };
	char *buffer = raw_alloc(opt->rx_bytes + 4096);
	int flags = opt->rx_spin ? MSG_DONTWAIT : 0;
	double start = raw_now();
	uint32_t first = 0;
	size_t have = 0;

	for (;;) {
		ssize_t n = recv(fd, buffer + have, opt->rx_bytes - have, flags);

		res->calls[RAW_SERVER]++;
		if (n < 0 && errno == EAGAIN) {
			res->again[RAW_SERVER]++;
			continue;
		}
		if (n < 0)
			raw_die("recv");
		if (n == 0)
			break;
		n += (ssize_t)have;
		have = parse(&p, buffer, (size_t)n);
		memmove(buffer, buffer + n - have, have);
		if (!first && raw_now() - start > WARM_UP_SECONDS) {
			first = p.sequence;
			start = raw_now();
		}
	}
	res->seconds = raw_now() - start;
	res->messages = p.sequence - first;
	res->bytes = res->messages * opt->message_bytes;
}
