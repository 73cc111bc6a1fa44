// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/* raw_tcp: options, dispatch, result as one line of JSON. */
#define _GNU_SOURCE
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "raw.h"

static const char usage[] =
"usage: raw_tcp MODE [options]\n"
"modes: stream small pingpong wakeup cost\n"
"path:  --path loopback|veth   --ns SERVERPID,CLIENTPID --address A (instead)\n"
"       --cpu SERVER,CLIENT (default 1,0; -1 is not pinned)  --congestion NAME\n"
"       --sndbuf N --rcvbuf N --rcvlowat N\n"
"all:   --seconds S --message BYTES --header-bytes N (at most 56)\n"
"stream: --tx send|splice --header none|more|iov --pipe BYTES --batch MESSAGES\n"
"       --region BYTES --splice-more --nonblock\n"
"       --rx plain|framed --rx-bytes N --rx-messages N --waitall --rx-spin\n"
"small: --batch MESSAGES --two-iovecs --rx-bytes N --rx-spin\n"
"pingpong: --waiters N (threads in epoll_wait) --ticker US (a thread that naps) --block\n"
"wakeup: --waiters 1 (a spinning thread on the sleeper's core) --block (sender sleeps)\n"
"Sizes take K and M.\n";

enum {
	OPT_PATH = 1, OPT_NS, OPT_ADDRESS, OPT_CPU, OPT_CONGESTION, OPT_SNDBUF,
	OPT_RCVBUF, OPT_RCVLOWAT, OPT_SECONDS, OPT_MESSAGE, OPT_HEADER_BYTES, OPT_TX,
	OPT_HEADER, OPT_PIPE, OPT_BATCH, OPT_REGION, OPT_SPLICE_MORE, OPT_NONBLOCK,
	OPT_RX, OPT_RX_BYTES, OPT_RX_MESSAGES, OPT_WAITALL, OPT_RX_SPIN, OPT_TWO_IOVECS,
	OPT_WAITERS, OPT_TICKER, OPT_BLOCK,
};

static const struct option options[] = {
	{ "path", 1, NULL, OPT_PATH }, { "ns", 1, NULL, OPT_NS },
	{ "address", 1, NULL, OPT_ADDRESS }, { "cpu", 1, NULL, OPT_CPU },
	{ "congestion", 1, NULL, OPT_CONGESTION }, { "sndbuf", 1, NULL, OPT_SNDBUF },
	{ "rcvbuf", 1, NULL, OPT_RCVBUF }, { "rcvlowat", 1, NULL, OPT_RCVLOWAT },
	{ "seconds", 1, NULL, OPT_SECONDS }, { "message", 1, NULL, OPT_MESSAGE },
	{ "header-bytes", 1, NULL, OPT_HEADER_BYTES }, { "tx", 1, NULL, OPT_TX },
	{ "header", 1, NULL, OPT_HEADER }, { "pipe", 1, NULL, OPT_PIPE },
	{ "batch", 1, NULL, OPT_BATCH }, { "region", 1, NULL, OPT_REGION },
	{ "splice-more", 0, NULL, OPT_SPLICE_MORE }, { "nonblock", 0, NULL, OPT_NONBLOCK },
	{ "rx", 1, NULL, OPT_RX }, { "rx-bytes", 1, NULL, OPT_RX_BYTES },
	{ "rx-messages", 1, NULL, OPT_RX_MESSAGES }, { "waitall", 0, NULL, OPT_WAITALL },
	{ "rx-spin", 0, NULL, OPT_RX_SPIN }, { "two-iovecs", 0, NULL, OPT_TWO_IOVECS },
	{ "waiters", 1, NULL, OPT_WAITERS }, { "ticker", 1, NULL, OPT_TICKER }, { "block", 0, NULL, OPT_BLOCK },
	{ NULL, 0, NULL, 0 },
};

static void fail(const char *what)
{
	fprintf(stderr, "raw_tcp: %s\n%s", what, usage);
	exit(2);
}

static size_t bytes(const char *text)
{
	char *end;
	size_t n = strtoul(text, &end, 0);

	switch (*end) {
	case 'K': return n << 10;
	case 'M': return n << 20;
	case 0: return n;
	}
	fail(text);
	return 0;
}

static int choose(const char *text, const char *const *names, int count)
{
	for (int i = 0; i < count; i++)
		if (!strcmp(text, names[i]))
			return i;
	fail(text);
	return 0;
}

static void set_choice(struct raw_options *o, int c, const char *arg)
{
	static const char *const paths[] = { "loopback", "veth" };
	static const char *const txs[] = { "send", "splice" };
	static const char *const headers[] = { "none", "more", "iov" };
	static const char *const rxs[] = { "plain", "framed" };

	switch (c) {
	case OPT_PATH: o->veth = choose(arg, paths, 2); break;
	case OPT_TX: o->tx = (enum raw_tx)choose(arg, txs, 2); break;
	case OPT_HEADER: o->header = (enum raw_header)choose(arg, headers, 3); break;
	case OPT_RX: o->rx = (enum raw_rx)choose(arg, rxs, 2); break;
	default: fail("unknown option");
	}
}

static void set_pair(struct raw_options *o, int c, const char *arg)
{
	long server, client;

	if (sscanf(arg, "%ld,%ld", &server, &client) != 2)
		fail(arg);
	if (c == OPT_NS) {
		o->ns_pid[RAW_SERVER] = server;
		o->ns_pid[RAW_CLIENT] = client;
	} else {
		o->cpu[RAW_SERVER] = (int)server;
		o->cpu[RAW_CLIENT] = (int)client;
	}
}

static void set_option(struct raw_options *o, int c, const char *arg)
{
	switch (c) {
	case OPT_NS: case OPT_CPU: set_pair(o, c, arg); break;
	case OPT_ADDRESS: o->address = arg; break;
	case OPT_CONGESTION: o->congestion = arg; break;
	case OPT_SNDBUF: o->sndbuf_bytes = (int)bytes(arg); break;
	case OPT_RCVBUF: o->rcvbuf_bytes = (int)bytes(arg); break;
	case OPT_RCVLOWAT: o->rcvlowat_bytes = (int)bytes(arg); break;
	case OPT_SECONDS: o->seconds = atof(arg); break;
	case OPT_MESSAGE: o->message_bytes = bytes(arg); break;
	case OPT_HEADER_BYTES: o->header_bytes = bytes(arg); break;
	case OPT_PIPE: o->pipe_bytes = bytes(arg); break;
	case OPT_BATCH: o->batch = (unsigned int)bytes(arg); break;
	case OPT_REGION: o->region_bytes = bytes(arg); break;
	case OPT_SPLICE_MORE: o->splice_more = true; break;
	case OPT_NONBLOCK: o->nonblock = true; break;
	case OPT_RX_BYTES: o->rx_bytes = bytes(arg); break;
	case OPT_RX_MESSAGES: o->rx_messages = (unsigned int)bytes(arg); break;
	case OPT_WAITALL: o->rx_waitall = true; break;
	case OPT_RX_SPIN: o->rx_spin = true; break;
	case OPT_TWO_IOVECS: o->two_iovecs = true; break;
	case OPT_WAITERS: o->waiters = (unsigned int)bytes(arg); break;
	case OPT_TICKER: o->ticker_us = (long)bytes(arg) % 1000000; break;
	case OPT_BLOCK: o->block = true; break;
	default: set_choice(o, c, arg);
	}
}

static void parse_options(struct raw_options *o, int argc, char **argv)
{
	int c;

	*o = (struct raw_options){
		.cpu = { 1, 0 }, .seconds = 1, .message_bytes = 65536,
		.header_bytes = RAW_HEADER_MAX, .pipe_bytes = 1 << 20, .batch = 1,
		.rx_bytes = 1 << 20, .rx_messages = 1,
	};
	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1)
		set_option(o, c, optarg);
	if (optind + 1 != argc)
		fail("one mode");
	o->mode = argv[optind];
	if (o->header_bytes > RAW_HEADER_MAX || !o->batch || !o->message_bytes)
		fail("out of range");
	if (!strcmp(o->mode, "stream")) {
		if (o->header == RAW_HEADER_NONE)
			o->header_bytes = 0;
		if (o->batch > 64 || !o->rx_messages || o->rx_messages > 64 ||
		    (o->rx == RAW_RX_FRAMED && o->header_bytes != RAW_HEADER_MAX) ||
		    (o->header == RAW_HEADER_MORE && o->batch != 1))
			fail("out of range");
	}
	if (!strcmp(o->mode, "small") && (o->batch > 512 || o->header_bytes < 24))
		fail("out of range");
}

static void print_result(const struct raw_result *r)
{
	double gb = (double)r->bytes / 1e9;

	printf("{\"gbit_s\": %.2f, \"mmsg_s\": %.4f, \"half_rtt_us\": %.3f, "
	       "\"half_rtt_p99_us\": %.3f, \"cpu_s_per_gb\": %.4f, "
	       "\"cpu_server_s\": %.3f, \"cpu_client_s\": %.3f, \"seconds\": %.3f, "
	       "\"calls_client_per_msg\": %.4f, \"calls_server_per_msg\": %.4f, "
	       "\"again_client\": %lu, \"again_server\": %lu, \"partial\": %lu, "
	       "\"left_mean\": %lu, \"left_max\": %lu, \"messages\": %lu}\n",
	       gb * 8 / r->seconds, (double)r->messages / r->seconds / 1e6,
	       r->half_rtt_us, r->half_rtt_p99_us,
	       gb > 0 ? (r->cpu_user[0] + r->cpu_system[0] + r->cpu_user[1] +
			 r->cpu_system[1]) / gb : 0,
	       r->cpu_user[0] + r->cpu_system[0], r->cpu_user[1] + r->cpu_system[1],
	       r->seconds, (double)r->calls[RAW_CLIENT] / (double)r->messages,
	       (double)r->calls[RAW_SERVER] / (double)r->messages,
	       (unsigned long)r->again[RAW_CLIENT], (unsigned long)r->again[RAW_SERVER],
	       (unsigned long)r->partial,
	       (unsigned long)(r->partial ? r->left_bytes / r->partial : 0),
	       (unsigned long)r->left_max_bytes, (unsigned long)r->messages);
}

int main(int argc, char **argv)
{
	struct raw_options opt;
	struct raw_result res;

	parse_options(&opt, argc, argv);
	if (!strcmp(opt.mode, "cost")) {
		raw_cost();
		return 0;
	}
	if (!strcmp(opt.mode, "wakeup")) {
		raw_wakeup(&opt);
		return 0;
	}
	if (!strcmp(opt.mode, "stream"))
		raw_run_pair(&opt, raw_stream_server, raw_stream_client, &res);
	else if (!strcmp(opt.mode, "small"))
		raw_run_pair(&opt, raw_small_server, raw_small_client, &res);
	else if (!strcmp(opt.mode, "pingpong"))
		raw_run_pair(&opt, raw_pingpong_server, raw_pingpong_client, &res);
	else
		fail("unknown mode");
	print_result(&res);
	return 0;
}
