/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * raw_tcp: what the kernel's TCP can do on this machine without tcpzc.
 *
 * Two forked processes, pinned to a core each, joined by loopback or by a veth
 * pair between two anonymous network namespaces. Each mode is one file.
 */
#ifndef TCPZC_BENCH_RAW_H
#define TCPZC_BENCH_RAW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

enum raw_side { RAW_SERVER, RAW_CLIENT, RAW_SIDES };

enum raw_tx { RAW_TX_SEND, RAW_TX_SPLICE };
enum raw_header { RAW_HEADER_NONE, RAW_HEADER_MORE, RAW_HEADER_IOV };
enum raw_rx { RAW_RX_PLAIN, RAW_RX_FRAMED };

struct raw_options {
	const char *mode;
	bool veth;
	long ns_pid[RAW_SIDES];		/* 0: own namespaces (veth) or none (loopback) */
	const char *address;		/* of the server, with ns_pid */
	int cpu[RAW_SIDES];		/* -1: not pinned */
	double seconds;
	size_t message_bytes;
	size_t region_bytes;		/* sent from; 0: one message */
	size_t header_bytes;
	enum raw_tx tx;
	enum raw_header header;
	size_t pipe_bytes;
	unsigned int batch;		/* messages per call */
	bool splice_more;
	bool nonblock;
	enum raw_rx rx;
	size_t rx_bytes;		/* per recv(), plain */
	unsigned int rx_messages;	/* per recvmsg(), framed */
	bool rx_waitall;
	bool rx_spin;
	int sndbuf_bytes, rcvbuf_bytes, rcvlowat_bytes;
	bool two_iovecs;
	unsigned int waiters;
	long ticker_us;			/* below a second */
	bool block;
	const char *congestion;
};

/* Written by both children, read by the parent after they have ended. */
struct raw_result {
	double seconds;
	double cpu_user[RAW_SIDES], cpu_system[RAW_SIDES];
	uint64_t bytes, messages;
	uint64_t calls[RAW_SIDES];	/* system calls on the data path */
	uint64_t again[RAW_SIDES];	/* of which EAGAIN */
	uint64_t partial;		/* splice() calls that left data in the pipe */
	uint64_t left_bytes;		/* sum of what they left */
	uint64_t left_max_bytes;
	double half_rtt_us, half_rtt_p99_us;
};

typedef void raw_child_fn(const struct raw_options *opt, int fd,
			  struct raw_result *res);

/* raw_net.c */
double raw_now(void);
void raw_die(const char *what) __attribute__((noreturn));
void raw_pin(int cpu);
void *raw_alloc(size_t bytes);
void raw_run_pair(const struct raw_options *opt, raw_child_fn *server,
		  raw_child_fn *client, struct raw_result *res);
int raw_wait_readable(int fd);
int raw_wait_writable(int fd);

/* raw_stream.c */
void raw_stream_server(const struct raw_options *opt, int fd, struct raw_result *res);
void raw_stream_client(const struct raw_options *opt, int fd, struct raw_result *res);
/* raw_small.c */
void raw_small_server(const struct raw_options *opt, int fd, struct raw_result *res);
void raw_small_client(const struct raw_options *opt, int fd, struct raw_result *res);
/* raw_pingpong.c */
void raw_pingpong_server(const struct raw_options *opt, int fd, struct raw_result *res);
void raw_pingpong_client(const struct raw_options *opt, int fd, struct raw_result *res);
/* raw_cost.c */
void raw_cost(void);
void raw_wakeup(const struct raw_options *opt);

#define RAW_MAGIC	0x7a63u

struct raw_wire_header {
	uint32_t magic;
	uint32_t sequence;
	uint64_t address;
	uint32_t length;
	uint32_t fill[9];
};

_Static_assert(sizeof(struct raw_wire_header) == 56, "as large as a PDU header");

#define RAW_HEADER_MAX	sizeof(struct raw_wire_header)

#endif
