// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * late.c - nothing is placed after its work request has failed. Two processes on
 * two hosts, which find each other by files in a directory; what happens to the
 * network meanwhile is the test's that starts them (tests/apps/crash.py).
 *
 *	verbs_late target DIR DEVICE	its memory is written, it looks
 *	verbs_late requester DIR DEVICE	writes until that fails, or it is killed
 *
 * Files, each written by one side: target, requester (addresses), running, failed,
 * cleared, restored (by the test). Exit status 0: nothing was late.
 */
#include "common.h"

#include <fcntl.h>
#include <unistd.h>

#define BYTES		(1u << 20)
#define PIECE		(16u << 10)
#define DEPTH		32
#define CLEAN		0xee
#define LOOK_MS		6000u

struct card {
	union ibv_gid gid;
	uint32_t qpn, rkey;
	uint64_t addr;
};

struct side {
	const char *dir, *device;
	struct ibv_context *ctx;
	struct ibv_pd *pd;
	struct ibv_cq *cq;
	struct ibv_qp *qp;
	struct ibv_mr *mr;
	uint8_t *mem;
	int gid_index;
	struct card me, peer;
};

static void put(const struct side *s, const char *name, const void *p, size_t n)
{
	char tmp[512], to[512];
	int fd;

	snprintf(tmp, sizeof(tmp), "%s/.%s", s->dir, name);
	snprintf(to, sizeof(to), "%s/%s", s->dir, name);
	fd = open(tmp, O_CREAT | O_WRONLY | O_TRUNC, 0600);
	check(fd >= 0 && write(fd, p, n) == (ssize_t)n);
	close(fd);
	check(!rename(tmp, to));
}

static void get(const struct side *s, const char *name, void *p, size_t n)
{
	char from[512];
	int fd;

	snprintf(from, sizeof(from), "%s/%s", s->dir, name);
	while ((fd = open(from, O_RDONLY)) < 0)
		sleep_ms(5);
	check(read(fd, p, n) == (ssize_t)n);
	close(fd);
}

static void open_side(struct side *s)
{
	struct ibv_qp_init_attr init = { .qp_type = IBV_QPT_RC };

	s->ctx = open_device(s->device);
	check(s->ctx);
	s->gid_index = usable_gid(s->ctx, &s->me.gid);
	check(s->gid_index >= 0);
	s->pd = ibv_alloc_pd(s->ctx);
	s->cq = ibv_create_cq(s->ctx, 2 * DEPTH, NULL, NULL, 0);
	s->mem = map_private(BYTES);
	s->mr = ibv_reg_mr(s->pd, s->mem, BYTES, IBV_ACCESS_LOCAL_WRITE |
						 IBV_ACCESS_REMOTE_WRITE);
	check(s->pd && s->cq && s->mr);
	init.send_cq = s->cq;
	init.recv_cq = s->cq;
	init.cap.max_send_wr = DEPTH;
	init.cap.max_recv_wr = 1;
	init.cap.max_send_sge = 1;
	init.cap.max_recv_sge = 1;
	s->qp = ibv_create_qp(s->pd, &init);
	check(s->qp);
	s->me.qpn = s->qp->qp_num;
	s->me.rkey = s->mr->rkey;
	s->me.addr = (uintptr_t)s->mem;
}

static void connect_side(struct side *s)
{
	struct ibv_qp_attr init = {
		.qp_state = IBV_QPS_INIT, .port_num = 1,
		.qp_access_flags = IBV_ACCESS_REMOTE_WRITE,
	}, rtr = {
		.qp_state = IBV_QPS_RTR, .path_mtu = IBV_MTU_1024,
		.dest_qp_num = s->peer.qpn, .rq_psn = s->peer.qpn,
		.max_dest_rd_atomic = 1, .min_rnr_timer = 12,
		.ah_attr = { .is_global = 1, .port_num = 1,
			     .grh = { .dgid = s->peer.gid, .hop_limit = 64,
				      .sgid_index = s->gid_index } },
	}, rts = {
		.qp_state = IBV_QPS_RTS, .timeout = 14, .retry_cnt = 1,
		.rnr_retry = 7, .sq_psn = s->me.qpn, .max_rd_atomic = 1,
	};

	check(!ibv_modify_qp(s->qp, &init, IBV_QP_STATE | IBV_QP_PKEY_INDEX |
					   IBV_QP_PORT | IBV_QP_ACCESS_FLAGS));
	check(!ibv_modify_qp(s->qp, &rtr, IBV_QP_STATE | IBV_QP_AV |
			     IBV_QP_PATH_MTU | IBV_QP_DEST_QPN | IBV_QP_RQ_PSN |
			     IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER));
	check(!ibv_modify_qp(s->qp, &rts, IBV_QP_STATE | IBV_QP_TIMEOUT |
			     IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY |
			     IBV_QP_SQ_PSN | IBV_QP_MAX_QP_RD_ATOMIC));
}

static void target(struct side *s)
{
	uint64_t until;
	size_t i;
	char x;

	get(s, "failed", &x, 1);
	memset(s->mem, CLEAN, BYTES);
	put(s, "cleared", "x", 1);
	get(s, "restored", &x, 1);
	until = now_ns() + LOOK_MS * 1000000ull;
	while (now_ns() < until) {
		for (i = 0; i < BYTES; i++)
			check_msg(s->mem[i] == CLEAN,
				  "byte %zu was written after its WRITE had failed", i);
		sleep_ms(50);
	}
}

static void post_write(struct side *s)
{
	struct ibv_sge sge = { (uintptr_t)s->mem, PIECE, s->mr->lkey };
	struct ibv_send_wr wr = {
		.sg_list = &sge, .num_sge = 1, .opcode = IBV_WR_RDMA_WRITE,
		.send_flags = IBV_SEND_SIGNALED,
	}, *bad;

	wr.wr.rdma.remote_addr = s->peer.addr;
	wr.wr.rdma.rkey = s->peer.rkey;
	check(!ibv_post_send(s->qp, &wr, &bad));
}

/* Until one fails. */
static void requester(struct side *s)
{
	unsigned int in_flight = 0, done = 0;
	struct ibv_wc wc;

	memset(s->mem, 0x11, BYTES);
	for (;;) {
		for (; in_flight < DEPTH; in_flight++)
			post_write(s);
		if (ibv_poll_cq(s->cq, 1, &wc) != 1)
			continue;
		if (wc.status)
			break;
		in_flight--;
		if (++done == 1000)
			put(s, "running", "x", 1);
	}
	check_eq(wc.status, IBV_WC_RETRY_EXC_ERR);
	put(s, "failed", "x", 1);
	/* Its socket may not outlive the queue pair's end in any other way either. */
	sleep_ms(30000);
}

int main(int argc, char **argv)
{
	struct side s = {};
	bool is_target;

	check_msg(argc == 4, "usage: verbs_late target|requester DIR DEVICE");
	s.dir = argv[2];
	s.device = argv[3];
	is_target = !strcmp(argv[1], "target");
	open_side(&s);
	put(&s, is_target ? "target" : "requester", &s.me, sizeof(s.me));
	get(&s, is_target ? "requester" : "target", &s.peer, sizeof(s.peer));
	connect_side(&s);
	if (is_target)
		target(&s);
	else
		requester(&s);
	return 0;
}
