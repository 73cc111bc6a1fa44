// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * ud.c - datagrams: what arrives and with which header, what is dropped and does
 * not disturb what follows, sends that are wrong, shared receive queues.
 */
#include "common.h"

#include <arpa/inet.h>

#define QKEY		0x11223344u
#define GRH_BYTES	40u
#define SLOT		(8 * KIB)
#define SLOTS		32u
#define QUIET_MS	200u
#define WAIT_MS		10000u

/* A queue pair, with its receives in the slots of its memory. */
struct node {
	struct ibv_qp *qp;
	struct ibv_cq *scq, *rcq;
	struct ibv_srq *srq;
	struct ibv_mr *mr;
	uint8_t *mem;
};

static struct ibv_context *ctx;
static struct ibv_pd *pd;
static struct ibv_ah *ah;
static struct ibv_comp_channel *channel;	/* of receive queues; or NULL */
static union ibv_gid gid;
static int gid_index;
static unsigned int mtu;

/* ---- objects ------------------------------------------------------------ */

static void to_rts(struct node *n)
{
	struct ibv_qp_attr attr = {
		.qp_state = IBV_QPS_INIT, .port_num = 1, .qkey = QKEY,
	};

	check_rc(ibv_modify_qp(n->qp, &attr, IBV_QP_STATE | IBV_QP_PKEY_INDEX |
			       IBV_QP_PORT | IBV_QP_QKEY), 0);
	attr.qp_state = IBV_QPS_RTR;
	check_rc(ibv_modify_qp(n->qp, &attr, IBV_QP_STATE), 0);
	attr.qp_state = IBV_QPS_RTS;
	check_rc(ibv_modify_qp(n->qp, &attr, IBV_QP_STATE | IBV_QP_SQ_PSN), 0);
}

static void node_open(struct node *n, struct ibv_srq *srq)
{
	struct ibv_qp_init_attr init = {
		.cap = { .max_send_wr = 64, .max_recv_wr = 64, .max_send_sge = 4,
			 .max_recv_sge = 4, .max_inline_data = 64 },
		.qp_type = IBV_QPT_UD, .sq_sig_all = 1, .srq = srq,
	};

	memset(n, 0, sizeof(*n));
	n->mem = map_private(SLOTS * SLOT);
	n->mr = ibv_reg_mr(pd, n->mem, SLOTS * SLOT, IBV_ACCESS_LOCAL_WRITE);
	n->scq = ibv_create_cq(ctx, 128, NULL, NULL, 0);
	n->rcq = ibv_create_cq(ctx, 128, NULL, channel, 0);
	check(n->mr && n->scq && n->rcq);
	init.send_cq = n->scq;
	init.recv_cq = n->rcq;
	n->srq = srq;
	n->qp = ibv_create_qp(pd, &init);
	check(n->qp);
	to_rts(n);
}

static void node_close(struct node *n)
{
	check_rc(ibv_destroy_qp(n->qp), 0);
	check_rc(ibv_destroy_cq(n->scq), 0);
	check_rc(ibv_destroy_cq(n->rcq), 0);
	check_rc(ibv_dereg_mr(n->mr), 0);
	unmap(n->mem, SLOTS * SLOT);
}

static void begin(void)
{
	struct ibv_ah_attr attr = { .is_global = 1, .port_num = 1 };
	struct ibv_port_attr port;

	ctx = open_device(NULL);
	check(ctx);
	pd = ibv_alloc_pd(ctx);
	check(pd);
	gid_index = usable_gid(ctx, &gid);
	attr.grh.dgid = gid;
	attr.grh.sgid_index = gid_index;
	attr.grh.hop_limit = 64;
	attr.grh.traffic_class = 0x20;
	ah = ibv_create_ah(pd, &attr);
	check(ah);
	check_rc(ibv_query_port(ctx, 1, &port), 0);
	mtu = 128u << port.active_mtu;
}

static void end(void)
{
	check_rc(ibv_destroy_ah(ah), 0);
	check_rc(ibv_dealloc_pd(pd), 0);
	check_rc(ibv_close_device(ctx), 0);
}

/* ---- sending and receiving ---------------------------------------------- */

static void receive_at(struct node *n, unsigned int slot, unsigned int bytes)
{
	struct ibv_sge sge = {
		.addr = (uintptr_t)(n->mem + slot * SLOT), .length = bytes,
		.lkey = n->mr->lkey,
	};
	struct ibv_recv_wr wr = { .wr_id = slot, .sg_list = &sge, .num_sge = 1 };
	struct ibv_recv_wr *bad;

	memset(n->mem + slot * SLOT, 0xee, SLOT);
	if (n->srq)
		check_rc(ibv_post_srq_recv(n->srq, &wr, &bad), 0);
	else
		check_rc(ibv_post_recv(n->qp, &wr, &bad), 0);
}

static void receive(struct node *n, unsigned int slot)
{
	receive_at(n, slot, SLOT);
}

/* Slot 31 of the sender has the payload, which is that of @seed. */
static void send_to(struct node *n, uint32_t qpn, uint32_t qkey, unsigned int bytes,
		    uint64_t seed)
{
	struct ibv_sge sge = {
		.addr = (uintptr_t)(n->mem + (SLOTS - 1) * SLOT), .length = bytes,
		.lkey = n->mr->lkey,
	};
	struct ibv_send_wr wr = {
		.wr_id = seed, .sg_list = &sge, .num_sge = 1,
		.opcode = IBV_WR_SEND_WITH_IMM, .imm_data = htonl(seed),
		.wr.ud = { .ah = ah, .remote_qpn = qpn, .remote_qkey = qkey },
	}, *bad;

	fill(n->mem + (SLOTS - 1) * SLOT, bytes, seed);
	check_rc(ibv_post_send(n->qp, &wr, &bad), 0);
}

static void sent(struct node *n, uint64_t seed, enum ibv_wc_status status)
{
	struct ibv_wc wc;

	check(poll_one(n->scq, &wc, WAIT_MS));
	check_eq(wc.wr_id, seed);
	check_eq(wc.status, status);
}

static bool is_v4(void)
{
	return !memcmp(gid.raw, "\0\0\0\0\0\0\0\0\0\0\xff\xff", 12);
}

/* Addresses of the header, which for IPv4 is in its last 20 bytes (RoCE v2, A17.3.2). */
static void check_grh(const uint8_t *grh)
{
	if (is_v4()) {
		check_eq(grh[20], 0x45);
		check_eq(grh[21], 0x20);
		check(!memcmp(grh + 32, gid.raw + 12, 4));
		check(!memcmp(grh + 36, gid.raw + 12, 4));
		return;
	}
	check_eq(grh[0] >> 4, 6);
	check(!memcmp(grh + 8, gid.raw, 16));
	check(!memcmp(grh + 24, gid.raw, 16));
}

/* The next message is this one. */
static void arrived(struct node *to, const struct node *from, const struct node *mem,
		    unsigned int slot, unsigned int bytes, uint64_t seed)
{
	const uint8_t *at = mem->mem + slot * SLOT;
	struct ibv_wc wc;

	check(poll_one(to->rcq, &wc, WAIT_MS));
	check_eq(wc.status, IBV_WC_SUCCESS);
	check_eq(wc.wr_id, slot);
	check_eq(wc.opcode, IBV_WC_RECV);
	check_eq(wc.byte_len, GRH_BYTES + bytes);
	check_eq(wc.src_qp, from->qp->qp_num);
	check_eq(wc.qp_num, to->qp->qp_num);
	check_eq(wc.wc_flags, IBV_WC_GRH | IBV_WC_WITH_IMM);
	check_eq(wc.sl, is_v4() ? 10 : 9);	/* as mlx5's: what the GRH is */
	check_eq(ntohl(wc.imm_data), seed);
	check_grh(at);
	check_fill(at + GRH_BYTES, bytes, seed);
	check_bytes(at + GRH_BYTES + bytes, 64, 0xee);
}

static void nothing(struct node *n)
{
	struct ibv_wc wc;

	check(!poll_one(n->rcq, &wc, QUIET_MS));
}

/* ---- what arrives ------------------------------------------------------- */

static void sizes(void)
{
	struct node a, b;
	unsigned int size[] = { 0, 1, 64, 1000, 1024, 0 }, i;

	begin();
	size[ARRAY_SIZE(size) - 1] = mtu;
	node_open(&a, NULL);
	node_open(&b, NULL);
	for (i = 0; i < ARRAY_SIZE(size); i++) {
		receive(&b, i);
		send_to(&a, b.qp->qp_num, QKEY, size[i], i + 1);
		sent(&a, i + 1, IBV_WC_SUCCESS);
		arrived(&b, &a, &b, i, size[i], i + 1);
	}
	/* A queue pair and itself */
	receive(&a, 0);
	send_to(&a, a.qp->qp_num, QKEY, 100, 50);
	sent(&a, 50, IBV_WC_SUCCESS);
	arrived(&a, &a, &a, 0, 100, 50);
	node_close(&a);
	node_close(&b);
	end();
}

/* Many at once complete in order, and one sender's arrive in order here. */
static void in_order(void)
{
	struct node a, b;
	unsigned int i;

	begin();
	node_open(&a, NULL);
	node_open(&b, NULL);
	for (i = 0; i < SLOTS - 1; i++)
		receive(&b, i);
	for (i = 0; i < SLOTS - 1; i++)
		send_to(&a, b.qp->qp_num, QKEY, 0, i + 1);
	for (i = 0; i < SLOTS - 1; i++)
		sent(&a, i + 1, IBV_WC_SUCCESS);
	for (i = 0; i < SLOTS - 1; i++)
		arrived(&b, &a, &b, i, 0, i + 1);
	node_close(&a);
	node_close(&b);
	end();
}

/* An answer to whom a completion names. */
static void answer(void)
{
	struct ibv_ah *first = NULL;
	struct node a, b;
	struct ibv_wc wc;

	begin();
	node_open(&a, NULL);
	node_open(&b, NULL);
	receive(&b, 3);
	receive(&a, 4);
	send_to(&a, b.qp->qp_num, QKEY, 200, 7);
	sent(&a, 7, IBV_WC_SUCCESS);
	check(poll_one(b.rcq, &wc, WAIT_MS));
	first = ah;
	ah = ibv_create_ah_from_wc(pd, &wc, (struct ibv_grh *)(b.mem + 3 * SLOT), 1);
	check(ah);
	send_to(&b, wc.src_qp, QKEY, 300, 8);
	sent(&b, 8, IBV_WC_SUCCESS);
	check(poll_one(a.rcq, &wc, WAIT_MS));
	check_eq(wc.byte_len, GRH_BYTES + 300);
	check_eq(wc.src_qp, b.qp->qp_num);
	check_fill(a.mem + 4 * SLOT + GRH_BYTES, 300, 8);
	check_rc(ibv_destroy_ah(first), 0);
	node_close(&a);
	node_close(&b);
	end();
}

/* Two queue pairs take turns with one receive queue. */
static void shared_receives(void)
{
	struct ibv_srq_init_attr init = { .attr = { .max_wr = 16, .max_sge = 2 } };
	struct node a, b, c;
	struct ibv_srq *srq;
	unsigned int i;

	begin();
	srq = ibv_create_srq(pd, &init);
	check(srq);
	node_open(&a, NULL);
	node_open(&b, srq);
	node_open(&c, srq);
	for (i = 0; i < 8; i++)
		receive(&b, i);
	for (i = 0; i < 8; i++) {
		struct node *to = i & 1 ? &c : &b;

		send_to(&a, to->qp->qp_num, QKEY, 100 + i, 20 + i);
		sent(&a, 20 + i, IBV_WC_SUCCESS);
		arrived(to, &a, &b, i, 100 + i, 20 + i);
	}
	/* None is left: dropped. */
	send_to(&a, c.qp->qp_num, QKEY, 10, 30);
	sent(&a, 30, IBV_WC_SUCCESS);
	nothing(&c);
	receive(&b, 9);
	nothing(&b);
	send_to(&a, c.qp->qp_num, QKEY, 11, 31);
	sent(&a, 31, IBV_WC_SUCCESS);
	arrived(&c, &a, &b, 9, 11, 31);
	node_close(&c);
	node_close(&b);
	check_rc(ibv_destroy_srq(srq), 0);
	node_close(&a);
	end();
}

/* ---- what does not ------------------------------------------------------ */

/* Dropped; what is sent next takes the receive that was there. */
static void dropped(void (*wrong)(struct node *a, struct node *b))
{
	struct node a, b;

	begin();
	node_open(&a, NULL);
	node_open(&b, NULL);
	wrong(&a, &b);
	sent(&a, 1, IBV_WC_SUCCESS);
	nothing(&b);
	receive(&b, 5);
	send_to(&a, b.qp->qp_num, QKEY, 30, 2);
	sent(&a, 2, IBV_WC_SUCCESS);
	arrived(&b, &a, &b, 5, 30, 2);
	node_close(&a);
	node_close(&b);
	end();
}

static void to_nobody(struct node *a, struct node *b)
{
	send_to(a, (b->qp->qp_num + 4711) & 0xffffff, QKEY, 10, 1);
}

static void unknown_number(void)
{
	dropped(to_nobody);
}

static void before_receive(struct node *a, struct node *b)
{
	send_to(a, b->qp->qp_num, QKEY, 10, 1);
}

static void no_receive(void)
{
	dropped(before_receive);
}

/* A wrong key, and a receive too short, leave the receive to the next one. */
static void key_and_length(void)
{
	struct node a, b;

	begin();
	node_open(&a, NULL);
	node_open(&b, NULL);
	receive_at(&b, 6, GRH_BYTES + 100);
	send_to(&a, b.qp->qp_num, QKEY + 1, 10, 1);
	sent(&a, 1, IBV_WC_SUCCESS);
	send_to(&a, b.qp->qp_num, QKEY, 101, 2);
	sent(&a, 2, IBV_WC_SUCCESS);
	nothing(&b);
	send_to(&a, b.qp->qp_num, QKEY, 100, 3);
	sent(&a, 3, IBV_WC_SUCCESS);
	arrived(&b, &a, &b, 6, 100, 3);
	/* A key with its highest bit set stands for the sender's own (IB 10.2.5). */
	receive(&b, 7);
	send_to(&a, b.qp->qp_num, 0x80000000u, 9, 4);
	sent(&a, 4, IBV_WC_SUCCESS);
	arrived(&b, &a, &b, 7, 9, 4);
	node_close(&a);
	node_close(&b);
	end();
}

/* Longer than the port's MTU: the sender stops sending, and goes on receiving. */
static void too_long(void)
{
	struct ibv_qp_attr attr = { .qp_state = IBV_QPS_RTS };
	struct ibv_qp_init_attr init;
	struct node a, b;

	begin();
	node_open(&a, NULL);
	node_open(&b, NULL);
	send_to(&a, b.qp->qp_num, QKEY, mtu + 1, 1);
	send_to(&a, b.qp->qp_num, QKEY, 10, 2);
	sent(&a, 1, IBV_WC_LOC_LEN_ERR);
	sent(&a, 2, IBV_WC_WR_FLUSH_ERR);
	check_rc(ibv_query_qp(a.qp, &attr, IBV_QP_STATE, &init), 0);
	check_eq(attr.qp_state, IBV_QPS_SQE);
	receive(&a, 0);
	send_to(&b, a.qp->qp_num, QKEY, 10, 3);
	sent(&b, 3, IBV_WC_SUCCESS);
	arrived(&a, &b, &a, 0, 10, 3);
	attr.qp_state = IBV_QPS_RTS;
	check_rc(ibv_modify_qp(a.qp, &attr, IBV_QP_STATE), 0);
	receive(&b, 1);
	send_to(&a, b.qp->qp_num, QKEY, 10, 4);
	sent(&a, 4, IBV_WC_SUCCESS);
	arrived(&b, &a, &b, 1, 10, 4);
	node_close(&a);
	node_close(&b);
	end();
}

/* To ERR and RESET with receives, and again. */
static void flushed(void)
{
	struct ibv_qp_attr attr = { .qp_state = IBV_QPS_ERR };
	struct node a, b;
	struct ibv_wc wc;
	unsigned int i;

	begin();
	node_open(&a, NULL);
	node_open(&b, NULL);
	for (i = 0; i < 3; i++)
		receive(&b, i);
	check_rc(ibv_modify_qp(b.qp, &attr, IBV_QP_STATE), 0);
	for (i = 0; i < 3; i++) {
		check(poll_one(b.rcq, &wc, WAIT_MS));
		check_eq(wc.wr_id, i);
		check_eq(wc.status, IBV_WC_WR_FLUSH_ERR);
	}
	send_to(&a, b.qp->qp_num, QKEY, 10, 1);
	sent(&a, 1, IBV_WC_SUCCESS);
	nothing(&b);
	attr.qp_state = IBV_QPS_RESET;
	check_rc(ibv_modify_qp(b.qp, &attr, IBV_QP_STATE), 0);
	to_rts(&b);
	receive(&b, 4);
	send_to(&a, b.qp->qp_num, QKEY, 10, 2);
	sent(&a, 2, IBV_WC_SUCCESS);
	arrived(&b, &a, &b, 4, 10, 2);
	node_close(&a);
	node_close(&b);
	end();
}

/*
 * UCX unmaps the memory of its receives, lets go of the region later, and destroys
 * the queue pair in between, while datagrams come.
 */
static void unmapped(void)
{
	struct ibv_cq *cq;
	struct node a, b;
	struct ibv_wc wc;
	void *context;
	int i;

	begin();
	channel = ibv_create_comp_channel(ctx);
	check(channel);
	node_open(&a, NULL);
	for (i = 0; i < 20; i++) {
		node_open(&b, NULL);
		receive(&b, 0);
		receive(&b, 1);
		check_rc(ibv_req_notify_cq(b.rcq, 0), 0);
		unmap(b.mem, SLOTS * SLOT);
		/* This one is taken by whoever raises events. */
		send_to(&a, b.qp->qp_num, QKEY, 1000, 1);
		check_rc(ibv_get_cq_event(channel, &cq, &context), 0);
		ibv_ack_cq_events(cq, 1);
		check(poll_one(b.rcq, &wc, WAIT_MS));
		check_eq(wc.status, IBV_WC_SUCCESS);
		/* And this one comes while the queue pair is destroyed. */
		send_to(&a, b.qp->qp_num, QKEY, 1000, 1);
		check_rc(ibv_destroy_qp(b.qp), 0);
		check_rc(ibv_destroy_cq(b.scq), 0);
		check_rc(ibv_destroy_cq(b.rcq), 0);
		check_rc(ibv_dereg_mr(b.mr), 0);
		sent(&a, 1, IBV_WC_SUCCESS);
		sent(&a, 1, IBV_WC_SUCCESS);
	}
	node_close(&a);
	check_rc(ibv_destroy_comp_channel(channel), 0);
	channel = NULL;
	end();
}

/* ---- hop limits --------------------------------------------------------- */

/* The hop limit that arrives of a datagram sent with @limit. */
static unsigned int hops_of(struct node *a, struct node *b, uint8_t limit)
{
	struct ibv_ah_attr attr = { .is_global = 1, .port_num = 1 };
	struct ibv_ah *before = ah;
	const uint8_t *grh = b->mem;
	struct ibv_wc wc;

	attr.grh.dgid = gid;
	attr.grh.sgid_index = gid_index;
	attr.grh.hop_limit = limit;
	ah = ibv_create_ah(pd, &attr);
	check(ah);
	receive(b, 0);
	send_to(a, b->qp->qp_num, QKEY, 8, 1);
	sent(a, 1, IBV_WC_SUCCESS);
	check(poll_one(b->rcq, &wc, WAIT_MS));
	check_eq(wc.status, IBV_WC_SUCCESS);
	check_rc(ibv_destroy_ah(ah), 0);
	ah = before;
	return is_v4() ? grh[28] : grh[7];
}

/* A handle is refused by queue pairs of other protection domains. */
static void other_domain(void)
{
	struct ibv_ah_attr attr = { .is_global = 1, .port_num = 1 };
	struct ibv_send_wr wr = {
		.opcode = IBV_WR_SEND, .send_flags = IBV_SEND_SIGNALED,
	}, *bad;
	struct ibv_pd *other;
	struct node a;

	begin();
	other = ibv_alloc_pd(ctx);
	check(other);
	node_open(&a, NULL);
	attr.grh.dgid = gid;
	attr.grh.sgid_index = gid_index;
	wr.wr.ud.ah = ibv_create_ah(other, &attr);
	check(wr.wr.ud.ah);
	wr.wr.ud.remote_qpn = a.qp->qp_num;
	wr.wr.ud.remote_qkey = QKEY;
	check_rc(ibv_post_send(a.qp, &wr, &bad), EINVAL);
	check_rc(ibv_destroy_ah(wr.wr.ud.ah), 0);
	node_close(&a);
	check_rc(ibv_dealloc_pd(other), 0);
	end();
}

/* The address handle's; 0 and 1 are those of programs that leave it to others. */
static void hop_limit(void)
{
	struct node a, b;

	begin();
	node_open(&a, NULL);
	node_open(&b, NULL);
	check_eq(hops_of(&a, &b, 2), 2);
	check_eq(hops_of(&a, &b, 255), 255);
	check(hops_of(&a, &b, 0) > 2);
	check(hops_of(&a, &b, 1) > 2);
	node_close(&a);
	node_close(&b);
	end();
}

static const struct test_case cases[] = {
	CASE(sizes),
	CASE(in_order),
	CASE(answer),
	CASE(hop_limit),
	CASE(other_domain),
	CASE(shared_receives),
	CASE(unknown_number),
	CASE(no_receive),
	CASE(key_and_length),
	CASE(too_long),
	CASE(flushed),
	CASE(unmapped),
	CASES_END
};

int main(int argc, char **argv)
{
	return test_main(argc, argv, cases);
}
