// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/* One-way stream of large messages: send() against vmsplice()+splice(). */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "raw.h"

#define WARM_UP_SECONDS		0.1
#define HEADER_RING		4096u	/* more than fits into both socket buffers */
#define HEADER_SLOT_BYTES	64u
#define TAIL_BYTES		64u
#define IOV_MAX_BATCH		64u

struct sender {
	const struct raw_options *opt;
	struct raw_result *res;
	int fd, pipe[2];
	char *region, *headers;
	size_t region_bytes, offset;
	uint32_t sequence;
};

static void advance(struct iovec **iov, int *count, size_t done)
{
	while (*count && done >= (*iov)->iov_len) {
		done -= (*iov)->iov_len;
		(*iov)++;
		(*count)--;
	}
	if (*count) {
		(*iov)->iov_base = (char *)(*iov)->iov_base + done;
		(*iov)->iov_len -= done;
	}
}

static bool would_block(struct raw_result *res, enum raw_side side)
{
	if (errno == EINTR)
		return true;
	if (errno != EAGAIN)
		return false;
	res->again[side]++;
	return true;
}

/* 0 when the peer has gone, as it does when it has seen enough. */
static int send_all(struct sender *s, struct iovec *iov, int count, int flags)
{
	while (count) {
		struct msghdr msg = { .msg_iov = iov, .msg_iovlen = (size_t)count };
		ssize_t n = sendmsg(s->fd, &msg, flags | MSG_NOSIGNAL);

		s->res->calls[RAW_CLIENT]++;
		if (n < 0) {
			if (!would_block(s->res, RAW_CLIENT))
				raw_die("sendmsg");
			raw_wait_writable(s->fd);
			s->res->calls[RAW_CLIENT]++;
			continue;
		}
		advance(&iov, &count, (size_t)n);
	}
	return 1;
}

static void count_left(struct raw_result *res, size_t left)
{
	if (!left)
		return;
	res->partial++;
	res->left_bytes += left;
	if (left > res->left_max_bytes)
		res->left_max_bytes = left;
}

static void drain_pipe(struct sender *s, size_t bytes)
{
	unsigned int flags = s->opt->splice_more ? SPLICE_F_MORE : 0;

	if (s->opt->nonblock)
		flags |= SPLICE_F_NONBLOCK;
	while (bytes) {
		ssize_t n = splice(s->pipe[0], NULL, s->fd, NULL, bytes, flags);

		s->res->calls[RAW_CLIENT]++;
		if (n > 0) {
			bytes -= (size_t)n;
			count_left(s->res, bytes);
			continue;
		}
		if (n == 0 || !would_block(s->res, RAW_CLIENT))
			raw_die("splice");
		raw_wait_writable(s->fd);
		s->res->calls[RAW_CLIENT]++;
	}
}

static void splice_all(struct sender *s, struct iovec *iov, int count)
{
	while (count) {
		ssize_t n = vmsplice(s->pipe[1], iov, (size_t)count, SPLICE_F_NONBLOCK);

		s->res->calls[RAW_CLIENT]++;
		if (n <= 0)
			raw_die("vmsplice");
		advance(&iov, &count, (size_t)n);
		drain_pipe(s, (size_t)n);
	}
}

static void *next_header(struct sender *s)
{
	struct raw_wire_header *h = (void *)(s->headers +
				(s->sequence % HEADER_RING) * HEADER_SLOT_BYTES);

	h->magic = RAW_MAGIC;
	h->sequence = s->sequence++;
	h->length = (uint32_t)s->opt->message_bytes;
	return h;
}

static void *next_payload(struct sender *s)
{
	char *p = s->region + s->offset;

	s->offset += s->opt->message_bytes;
	if (s->offset + s->opt->message_bytes > s->region_bytes)
		s->offset = 0;
	return p;
}

static int build_batch(struct sender *s, struct iovec *iov)
{
	int n = 0;

	for (unsigned int i = 0; i < s->opt->batch; i++) {
		if (s->opt->header == RAW_HEADER_IOV)
			iov[n++] = (struct iovec){ next_header(s), s->opt->header_bytes };
		iov[n++] = (struct iovec){ next_payload(s), s->opt->message_bytes };
	}
	return n;
}

static void send_batch(struct sender *s)
{
	struct iovec iov[2 * IOV_MAX_BATCH], header;
	int count;

	if (s->opt->header == RAW_HEADER_MORE) {
		header = (struct iovec){ next_header(s), s->opt->header_bytes };
		send_all(s, &header, 1, MSG_MORE);
	}
	count = build_batch(s, iov);
	if (s->opt->tx == RAW_TX_SPLICE)
		splice_all(s, iov, count);
	else
		send_all(s, iov, count, 0);
}

static void set_nonblock(int fd)
{
	if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK))
		raw_die("fcntl");
}

void raw_stream_client(const struct raw_options *opt, int fd, struct raw_result *res)
{
	struct sender s = { .opt = opt, .res = res, .fd = fd };
	double end = raw_now() + WARM_UP_SECONDS + opt->seconds;

	s.region_bytes = opt->region_bytes > opt->message_bytes ?
			 opt->region_bytes : opt->message_bytes;
	s.region = raw_alloc(s.region_bytes);
	s.headers = raw_alloc(HEADER_RING * HEADER_SLOT_BYTES);
	if (opt->nonblock)
		set_nonblock(fd);
	if (opt->tx == RAW_TX_SPLICE) {
		if (pipe2(s.pipe, O_CLOEXEC))
			raw_die("pipe2");
		if (fcntl(s.pipe[1], F_SETPIPE_SZ, (int)opt->pipe_bytes) < 0)
			raw_die("F_SETPIPE_SZ");
	}
	while (raw_now() < end)
		send_batch(&s);
	shutdown(fd, SHUT_WR);
}

struct receiver {
	const struct raw_options *opt;
	struct raw_result *res;
	int fd;
	char *dst, *staging;
	uint32_t sequence;
	double start;
	uint64_t start_bytes;
	uint64_t bytes;
};

/* Bytes read, 0 at the end of the stream. */
static size_t receive(struct receiver *r, struct iovec *iov, int count, int flags)
{
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = (size_t)count };
	ssize_t n;

	for (;;) {
		r->res->calls[RAW_SERVER]++;
		n = recvmsg(r->fd, &msg, flags);
		if (n >= 0)
			break;
		if (!would_block(r->res, RAW_SERVER))
			raw_die("recvmsg");
		if (!r->opt->rx_spin) {
			raw_wait_readable(r->fd);
			r->res->calls[RAW_SERVER]++;
		}
	}
	r->bytes += (size_t)n;
	return (size_t)n;
}

static void mark(struct receiver *r)
{
	double now;

	if (r->start_bytes)
		return;
	now = raw_now();
	if (r->start == 0)
		r->start = now;
	if (now - r->start < WARM_UP_SECONDS)
		return;
	r->start = now;
	r->start_bytes = r->bytes;
}

static void receive_plain(struct receiver *r)
{
	struct iovec iov;

	do {
		mark(r);
		iov = (struct iovec){ r->dst, r->opt->rx_bytes };
	} while (receive(r, &iov, 1, r->opt->rx_waitall ? MSG_WAITALL : 0));
}

static bool receive_exactly(struct receiver *r, struct iovec *iov, int count)
{
	int flags = r->opt->rx_waitall ? MSG_WAITALL : 0;

	while (count) {
		size_t n = receive(r, iov, count, flags);

		if (!n)
			return false;
		advance(&iov, &count, n);
	}
	return true;
}

static void check_header(struct receiver *r, const char *at)
{
	struct raw_wire_header h;

	memcpy(&h, at, sizeof(h));
	if (h.magic != RAW_MAGIC || h.sequence != r->sequence++ ||
	    h.length != r->opt->message_bytes) {
		fprintf(stderr, "raw_tcp: bad header\n");
		_exit(1);
	}
}

/*
 * One call places a payload except its last bytes, and reads these with the
 * next header into a staging buffer: the tail can be published last, and no
 * call is spent on a header. With several messages per call, the headers of
 * the following messages are guessed to be like the first.
 */
static void receive_framed(struct receiver *r)
{
	const size_t body = r->opt->message_bytes - TAIL_BYTES;
	const size_t gap = TAIL_BYTES + r->opt->header_bytes;
	struct iovec iov[2 * IOV_MAX_BATCH], first = { r->staging, r->opt->header_bytes };

	if (!receive_exactly(r, &first, 1))
		return;
	check_header(r, r->staging);
	for (;;) {
		unsigned int i, n = r->opt->rx_messages;

		mark(r);
		for (i = 0; i < n; i++) {
			iov[2 * i] = (struct iovec){ r->dst, body };
			iov[2 * i + 1] = (struct iovec){ r->staging + i * gap, gap };
		}
		if (!receive_exactly(r, iov, (int)(2 * n)))
			return;
		for (i = 0; i < n; i++) {
			memcpy(r->dst + body, r->staging + i * gap, TAIL_BYTES);
			check_header(r, r->staging + i * gap + TAIL_BYTES);
		}
	}
}

void raw_stream_server(const struct raw_options *opt, int fd, struct raw_result *res)
{
	struct receiver r = { .opt = opt, .res = res, .fd = fd };
	size_t dst_bytes = opt->rx_bytes > opt->message_bytes ?
			   opt->rx_bytes : opt->message_bytes;

	r.dst = raw_alloc(dst_bytes);
	r.staging = raw_alloc(IOV_MAX_BATCH * (TAIL_BYTES + RAW_HEADER_MAX));
	if (opt->nonblock || opt->rx_spin)
		set_nonblock(fd);
	if (opt->rx == RAW_RX_FRAMED)
		receive_framed(&r);
	else
		receive_plain(&r);
	res->seconds = raw_now() - r.start;
	res->bytes = r.bytes - r.start_bytes;
	res->messages = res->bytes / (opt->message_bytes + opt->header_bytes);
}
