// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * objects.c - devices, queries, and objects: what they need, what keeps them
 * busy, and the error for everything that cannot be.
 */
#include "common.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

struct set {
	struct ibv_context *ctx;
	struct ibv_pd *pd;
	struct ibv_cq *cq;
};

static struct set open_set(void)
{
	struct set s;

	s.ctx = open_device(NULL);
	check_msg(s.ctx, "ibv_open_device: %m");
	s.pd = ibv_alloc_pd(s.ctx);
	check(s.pd);
	s.cq = ibv_create_cq(s.ctx, 16, NULL, NULL, 0);
	check(s.cq);
	return s;
}

static void close_set(struct set *s)
{
	check_rc(ibv_destroy_cq(s->cq), 0);
	check_rc(ibv_dealloc_pd(s->pd), 0);
	check_rc(ibv_close_device(s->ctx), 0);
}

static struct ibv_qp_init_attr qp_init(struct set *s)
{
	struct ibv_qp_init_attr init = {
		.send_cq = s->cq, .recv_cq = s->cq,
		.cap = { .max_send_wr = 8, .max_recv_wr = 8, .max_send_sge = 1,
			 .max_recv_sge = 1 },
		.qp_type = IBV_QPT_RC,
	};

	return init;
}

/* ---- devices ------------------------------------------------------------ */

static void open_close(void)
{
	unsigned int fds, threads, i;
	struct ibv_context *ctx[8];
	size_t heap;

	/* Once for what stays for ever. */
	check_rc(ibv_close_device(open_device(NULL)), 0);
	fds = count_fds();
	threads = count_threads();
	heap = heap_bytes();
	for (i = 0; i < 100; i++)
		check_rc(ibv_close_device(open_device(NULL)), 0);
	for (i = 0; i < ARRAY_SIZE(ctx); i++)
		ctx[i] = open_device(NULL);
	for (i = 0; i < ARRAY_SIZE(ctx); i++)
		check_rc(ibv_close_device(ctx[i]), 0);
	check_fds(fds);
	check_eq(count_threads(), threads);
	check_msg(heap_bytes() < heap + 64 * KIB, "the heap grew by %zu bytes",
		  heap_bytes() - heap);
}

/* What programs depend on (values of the design). */
static void device_attributes(void)
{
	struct set s = open_set();
	struct ibv_device_attr_ex ex;
	struct ibv_device_attr a;

	check_rc(ibv_query_device(s.ctx, &a), 0);
	check(a.fw_ver[0] && a.node_guid && a.sys_image_guid);
	check(a.vendor_id && a.vendor_id != 0xffffff && a.vendor_id != 0x02c9 &&
	      a.vendor_id != 0x1d0f);
	check(a.max_qp >= 10000 && a.max_cq >= 10000 && a.max_mr >= 100000);
	check(a.max_qp_wr >= 16384 && a.max_cqe >= 30000);
	check(a.max_sge >= 16 && a.max_sge_rd >= 16);
	check(a.max_qp_rd_atom >= 16 && a.max_qp_rd_atom <= 255);
	check(a.max_qp_init_rd_atom >= 16 && a.max_qp_init_rd_atom <= 255);
	check(a.max_srq > 0 && a.max_srq_wr >= 4096 && a.max_srq_sge > 0);
	check(a.max_pkeys >= 1 && a.phys_port_cnt == 1);
	check_eq(a.atomic_cap, IBV_ATOMIC_GLOB);
	check(a.max_mr_size > 1ull << 40);
	check_rc(ibv_query_device_ex(s.ctx, NULL, &ex), 0);
	check(!memcmp(&ex.orig_attr, &a, sizeof(a)));
	check_eq(ex.odp_caps.general_caps, 0);
	check_eq(ex.device_cap_flags_ex, a.device_cap_flags);
	if (!is_kernel_device(s.ctx))	/* libibverbs fills it in, or does not */
		check_eq(ex.phys_port_cnt_ex, a.phys_port_cnt);
	close_set(&s);
}

static void port_attributes(void)
{
	struct set s = open_set();
	struct ibv_port_attr p;
	union ibv_gid gids[64], gid;
	int index[64], n;
	__be16 pkey;

	check_rc(ibv_query_port(s.ctx, 1, &p), 0);
	check_eq(p.state, IBV_PORT_ACTIVE);
	check_eq(p.link_layer, IBV_LINK_LAYER_ETHERNET);
	check_eq(p.max_msg_sz, 1u << 31);
	check(p.active_mtu >= IBV_MTU_256 && p.active_mtu <= p.max_mtu);
	check(p.gid_tbl_len > 0 && p.pkey_tbl_len > 0);
	check(ibv_query_port(s.ctx, 0, &p) != 0);
	check(ibv_query_port(s.ctx, 2, &p) != 0);
	n = list_gids(s.ctx, gids, index, 64);
	check(n >= 1 && index[0] == 0);
	/* In user mode GID 0 is usable, the first IPv4 address. */
	check_eq(usable_gid(s.ctx, &gid), is_kernel_device(s.ctx) ? 1 : 0);
	check(gid.raw[10] == 0xff && gid.raw[11] == 0xff);
	check(ibv_query_gid(s.ctx, 1, 10000, &gid) != 0);
	check(ibv_query_gid(s.ctx, 7, 0, &gid) != 0);
	check_rc(ibv_query_pkey(s.ctx, 1, 0, &pkey), 0);
	check_eq(pkey, 0xffff);
	check(ibv_query_pkey(s.ctx, 1, 1, &pkey) != 0);
	close_set(&s);
}

static void gid_table(void)
{
	struct set s = open_set();
	struct ibv_gid_entry entry[64];
	ssize_t n, i;

	n = ibv_query_gid_table(s.ctx, entry, 64, 0);
	check_msg(n >= 1, "ibv_query_gid_table: %zd", n);
	for (i = 0; i < n; i++) {
		union ibv_gid gid;

		check_eq(entry[i].gid_type, IBV_GID_TYPE_ROCE_V2);
		check_rc(ibv_query_gid(s.ctx, 1, entry[i].gid_index, &gid), 0);
		check(!memcmp(&gid, &entry[i].gid, sizeof(gid)));
	}
	close_set(&s);
}

/* The descriptors are pollable and silent. */
static void silent_fds(void)
{
	struct set s = open_set();
	struct ibv_comp_channel *ch = ibv_create_comp_channel(s.ctx);
	struct pollfd pfd[2] = {
		{ .fd = s.ctx->async_fd, .events = POLLIN },
		{ .fd = ch->fd, .events = POLLIN },
	};
	struct ibv_async_event event;
	struct ibv_cq *cq;
	void *data;

	check(ch);
	check_eq(poll(pfd, 2, 50), 0);
	check(!fcntl(ch->fd, F_SETFL, fcntl(ch->fd, F_GETFL) | O_NONBLOCK));
	check_eq(ibv_get_cq_event(ch, &cq, &data), -1);
	check_eq(errno, EAGAIN);
	check(!fcntl(s.ctx->async_fd, F_SETFL,
		     fcntl(s.ctx->async_fd, F_GETFL) | O_NONBLOCK));
	check_eq(ibv_get_async_event(s.ctx, &event), -1);
	check_eq(errno, EAGAIN);
	check_rc(ibv_destroy_comp_channel(ch), 0);
	close_set(&s);
}

/* ---- busy --------------------------------------------------------------- */

static void busy(void)
{
	struct set s = open_set();
	struct ibv_comp_channel *ch = ibv_create_comp_channel(s.ctx);
	struct ibv_cq *cq = ibv_create_cq(s.ctx, 4, NULL, ch, 0);
	struct ibv_srq_init_attr srq_attr = { .attr = { .max_wr = 8, .max_sge = 1 } };
	struct ibv_srq *srq = ibv_create_srq(s.pd, &srq_attr);
	struct ibv_qp_init_attr init = qp_init(&s);
	static char mem[64];
	struct ibv_mr *mr;
	struct ibv_qp *qp;

	check_rc(ibv_destroy_comp_channel(ch), EBUSY);
	check_rc(ibv_dealloc_pd(s.pd), EBUSY);
	init.recv_cq = cq;
	init.srq = srq;
	qp = ibv_create_qp(s.pd, &init);
	check(qp);
	check_rc(ibv_destroy_cq(s.cq), EBUSY);
	check_rc(ibv_destroy_cq(cq), EBUSY);
	check_rc(ibv_destroy_srq(srq), EBUSY);
	check_rc(ibv_destroy_qp(qp), 0);
	check_rc(ibv_dealloc_pd(s.pd), EBUSY);
	check_rc(ibv_destroy_srq(srq), 0);
	check_rc(ibv_destroy_cq(cq), 0);
	check_rc(ibv_destroy_comp_channel(ch), 0);
	mr = ibv_reg_mr(s.pd, mem, sizeof(mem), 0);
	check(mr);
	check_rc(ibv_dealloc_pd(s.pd), EBUSY);
	check_rc(ibv_dereg_mr(mr), 0);
	close_set(&s);
}

/* A QP keeps each of its two CQs busy, also if they are one. */
static void busy_one_cq(void)
{
	struct set s = open_set();
	struct ibv_qp_init_attr init = qp_init(&s);
	struct ibv_qp *a = ibv_create_qp(s.pd, &init);
	struct ibv_qp *b = ibv_create_qp(s.pd, &init);

	check(a && b);
	check_rc(ibv_destroy_cq(s.cq), EBUSY);
	check_rc(ibv_destroy_qp(a), 0);
	check_rc(ibv_destroy_cq(s.cq), EBUSY);
	check_rc(ibv_destroy_qp(b), 0);
	close_set(&s);
}

static void parent_domain(void)
{
	struct set s = open_set();
	struct ibv_parent_domain_init_attr attr = { .pd = s.pd };
	struct ibv_td_init_attr td_attr = {};
	struct ibv_qp_init_attr init = qp_init(&s);
	struct ibv_pd *parent;
	struct ibv_qp *qp;
	struct ibv_td *td;

	td = ibv_alloc_td(s.ctx, &td_attr);
	check_msg(td, "ibv_alloc_td: %m");
	attr.td = td;
	parent = ibv_alloc_parent_domain(s.ctx, &attr);
	check_msg(parent, "ibv_alloc_parent_domain: %m");
	check_rc(ibv_dealloc_pd(s.pd), EBUSY);
	qp = ibv_create_qp(parent, &init);
	check(qp && qp->pd == parent);
	check_rc(ibv_dealloc_pd(parent), EBUSY);
	check_rc(ibv_destroy_qp(qp), 0);
	check_rc(ibv_dealloc_pd(parent), 0);
	check_rc(ibv_dealloc_td(td), 0);
	close_set(&s);
}

/* All orders of destroying what may be destroyed in any order. */
static void any_order(void)
{
	unsigned int order, i;

	for (order = 0; order < 24; order++) {
		unsigned int left[4] = { 0, 1, 2, 3 }, n = 4, o = order;
		struct set s = open_set();
		struct ibv_comp_channel *ch = ibv_create_comp_channel(s.ctx);
		struct ibv_ah_attr ah_attr = { .is_global = 1, .port_num = 1 };
		struct ibv_cq *cq = ibv_create_cq(s.ctx, 1, NULL, NULL, 0);
		static char mem[64];
		struct ibv_mr *mr = ibv_reg_mr(s.pd, mem, 64, 0);
		struct ibv_ah *ah;

		ah_attr.grh.sgid_index = usable_gid(s.ctx, &ah_attr.grh.dgid);
		ah = ibv_create_ah(s.pd, &ah_attr);
		check(ch && cq && mr && ah);
		for (; n; n--, o /= n ? n : 1) {
			unsigned int k = o % n, what = left[k];

			for (i = k; i + 1 < n; i++)
				left[i] = left[i + 1];
			switch (what) {
			case 0:
				check_rc(ibv_destroy_comp_channel(ch), 0);
				break;
			case 1:
				check_rc(ibv_destroy_cq(cq), 0);
				break;
			case 2:
				check_rc(ibv_dereg_mr(mr), 0);
				break;
			case 3:
				check_rc(ibv_destroy_ah(ah), 0);
				break;
			}
		}
		close_set(&s);
	}
}

/* ---- arguments ---------------------------------------------------------- */

static void qp_arguments(void)
{
	struct set s = open_set(), other = open_set();
	struct ibv_qp_init_attr good = qp_init(&s), init;
	struct ibv_qp *qp;

#define BAD_QP(what_, err_)						\
	do {								\
		init = good;						\
		what_;							\
		test_context("%s", #what_);				\
		check_errno_ptr(ibv_create_qp(s.pd, &init), err_);	\
	} while (0)

	BAD_QP(init.cap.max_send_wr = 32769, EINVAL);
	BAD_QP(init.cap.max_recv_wr = 32769, EINVAL);
	BAD_QP(init.cap.max_send_wr = UINT32_MAX, EINVAL);
	BAD_QP(init.cap.max_send_sge = 33, EINVAL);
	BAD_QP(init.cap.max_recv_sge = 33, EINVAL);
	BAD_QP(init.cap.max_inline_data = 1025, EINVAL);
	BAD_QP(init.cap.max_inline_data = UINT32_MAX, EINVAL);
	BAD_QP(init.send_cq = NULL, EINVAL);
	BAD_QP(init.recv_cq = NULL, EINVAL);
	BAD_QP(init.send_cq = other.cq, EINVAL);
	BAD_QP(init.recv_cq = other.cq, EINVAL);
	BAD_QP(init.qp_type = IBV_QPT_RAW_PACKET, EOPNOTSUPP);
	BAD_QP(init.qp_type = IBV_QPT_XRC_SEND, EOPNOTSUPP);
	BAD_QP(init.qp_type = 99, EOPNOTSUPP);
	/* None of these has left anything behind. */
	close_set(&other);

	init = good;
	memset(&init.cap, 0, sizeof(init.cap));
	qp = ibv_create_qp(s.pd, &init);
	check_msg(qp, "no capabilities at all: %m");
	check_rc(ibv_destroy_qp(qp), 0);
	init = good;
	init.cap.max_send_wr = 32768;
	init.cap.max_recv_wr = 32768;
	init.cap.max_send_sge = 32;
	init.cap.max_recv_sge = 32;
	init.cap.max_inline_data = 1024;
	qp = ibv_create_qp(s.pd, &init);
	check_msg(qp, "all capabilities: %m");
	check(init.cap.max_send_wr >= 32768 && init.cap.max_inline_data >= 1024);
	check_rc(ibv_destroy_qp(qp), 0);
	close_set(&s);
}

/* libfabric doubles the inline size until creation fails. */
static void inline_probe(void)
{
	struct set s = open_set();
	struct ibv_qp_init_attr init;
	unsigned int size, best = 0;
	struct ibv_qp *qp;

	for (size = 1; size < 1u << 20; size *= 2) {
		init = qp_init(&s);
		init.cap.max_inline_data = size;
		qp = ibv_create_qp(s.pd, &init);
		if (!qp)
			break;
		check(init.cap.max_inline_data >= size);
		best = size;
		check_rc(ibv_destroy_qp(qp), 0);
	}
	check(best >= 256 && size < 1u << 20);
	close_set(&s);
}

static void cq_arguments(void)
{
	struct set s = open_set();
	struct ibv_cq *cq;
	struct ibv_wc wc;

	check_errno_ptr(ibv_create_cq(s.ctx, 0, NULL, NULL, 0), EINVAL);
	check_errno_ptr(ibv_create_cq(s.ctx, -1, NULL, NULL, 0), EINVAL);
	check_errno_ptr(ibv_create_cq(s.ctx, (1 << 20) + 1, NULL, NULL, 0), EINVAL);
	check_errno_ptr(ibv_create_cq(s.ctx, 1, NULL, NULL, 1), EINVAL);
	check_errno_ptr(ibv_create_cq(s.ctx, 1, NULL, NULL, -1), EINVAL);
	cq = ibv_create_cq(s.ctx, 1 << 20, &s, NULL, 0);
	check_msg(cq, "the largest: %m");
	check(cq->cqe >= 1 << 20 && cq->cq_context == &s);
	check_eq(ibv_poll_cq(cq, 0, &wc), 0);
	check(ibv_poll_cq(cq, -1, &wc) < 0);
	check_rc(ibv_resize_cq(cq, 0), EINVAL);
	check_rc(ibv_resize_cq(cq, -5), EINVAL);
	check_rc(ibv_resize_cq(cq, (1 << 20) + 1), EINVAL);
	check_rc(ibv_resize_cq(cq, 3), 0);
	check(cq->cqe >= 3);
	check_rc(ibv_destroy_cq(cq), 0);
	close_set(&s);
}

static void srq_arguments(void)
{
	struct set s = open_set();
	struct ibv_srq_init_attr init = { .attr = { .max_wr = 0, .max_sge = 1 } };
	struct ibv_srq_attr attr;
	struct ibv_srq *srq;

	check_errno_ptr(ibv_create_srq(s.pd, &init), EINVAL);
	init.attr.max_wr = 65537;
	check_errno_ptr(ibv_create_srq(s.pd, &init), EINVAL);
	init.attr.max_wr = 8;
	init.attr.max_sge = 33;
	check_errno_ptr(ibv_create_srq(s.pd, &init), EINVAL);
	init.attr.max_wr = 100;
	init.attr.max_sge = 2;
	srq = ibv_create_srq(s.pd, &init);
	check(srq && init.attr.max_wr >= 100 && init.attr.max_sge >= 2);
	check_rc(ibv_query_srq(srq, &attr), 0);
	check_eq(attr.max_wr, init.attr.max_wr);
	check_eq(attr.max_sge, init.attr.max_sge);
	check_eq(attr.srq_limit, 0);
	attr.max_wr = 0;
	check_rc(ibv_modify_srq(srq, &attr, IBV_SRQ_MAX_WR), EINVAL);
	attr.max_wr = 65537;
	check_rc(ibv_modify_srq(srq, &attr, IBV_SRQ_MAX_WR), EINVAL);
	attr.srq_limit = init.attr.max_wr + 1;
	check_rc(ibv_modify_srq(srq, &attr, IBV_SRQ_LIMIT), EINVAL);
	check_rc(ibv_modify_srq(srq, &attr, 64), EINVAL);
	attr.srq_limit = 7;
	check_rc(ibv_modify_srq(srq, &attr, IBV_SRQ_LIMIT), 0);
	check_rc(ibv_query_srq(srq, &attr), 0);
	check_eq(attr.srq_limit, 7);
	check_rc(ibv_destroy_srq(srq), 0);
	close_set(&s);
}

static void mr_arguments(void)
{
	static const int bad[] = {
		IBV_ACCESS_REMOTE_WRITE, IBV_ACCESS_REMOTE_ATOMIC,
		IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ, 1 << 15,
	};
	static const int good[] = {
		0, IBV_ACCESS_REMOTE_READ, IBV_ACCESS_LOCAL_WRITE, ACCESS_ALL,
		ACCESS_ALL | IBV_ACCESS_RELAXED_ORDERING,
		IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_ATOMIC,
	};
	struct set s = open_set();
	static char mem[8192];
	struct ibv_mr *mr;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		test_context("access 0x%x", bad[i]);
		check_errno_ptr(ibv_reg_mr(s.pd, mem, 64, bad[i]), EINVAL);
	}
	for (i = 0; i < ARRAY_SIZE(good); i++) {
		test_context("access 0x%x", good[i]);
		mr = ibv_reg_mr(s.pd, mem + 13, 77, good[i]);
		check_msg(mr, "%m");
		check(mr->addr == mem + 13 && mr->length == 77 && mr->pd == s.pd);
		check_rc(ibv_dereg_mr(mr), 0);
	}
	check_errno_ptr(ibv_reg_mr(s.pd, mem, 64, ACCESS_ALL |
				   IBV_ACCESS_ON_DEMAND), EOPNOTSUPP);
	check_errno_ptr(ibv_reg_mr(s.pd, mem, 0, 0), EINVAL);
	check_errno_ptr(ibv_reg_mr(s.pd, (void *)-4096l, 8192, 0), EINVAL);
	check_errno_ptr(ibv_reg_mr_iova(s.pd, mem, 4096, UINT64_MAX - 100, 0),
			EINVAL);
	check_errno_ptr(ibv_reg_dmabuf_mr(s.pd, 0, 4096, 0, 0, ACCESS_ALL),
			EOPNOTSUPP);
	close_set(&s);
}

static void ah_arguments(void)
{
	struct set s = open_set();
	struct ibv_ah_attr good = { .is_global = 1, .port_num = 1 }, attr;
	struct ibv_ah *ah;

	good.grh.sgid_index = usable_gid(s.ctx, &good.grh.dgid);
	ah = ibv_create_ah(s.pd, &good);
	check_msg(ah, "to ourselves: %m");
	check_rc(ibv_dealloc_pd(s.pd), EBUSY);
	check_rc(ibv_destroy_ah(ah), 0);
	attr = good;
	attr.is_global = 0;
	attr.dlid = 5;
	check_errno_ptr(ibv_create_ah(s.pd, &attr), EINVAL);
	/* On Ethernet there is no address without a GID. */
	attr.dlid = 0;
	check_errno_ptr(ibv_create_ah(s.pd, &attr), EINVAL);
	attr = good;
	attr.port_num = 2;
	check_errno_ptr(ibv_create_ah(s.pd, &attr), EINVAL);
	attr = good;
	attr.grh.sgid_index = 200;
	check_errno_ptr(ibv_create_ah(s.pd, &attr), EINVAL);
	close_set(&s);
}

/* As many as the device says there may be, one more is ENOMEM, one less is room. */
static void *make_pd(struct set *s)
{
	return ibv_alloc_pd(s->ctx);
}

static int unmake_pd(void *pd)
{
	return ibv_dealloc_pd(pd);
}

static void *make_ah(struct set *s)
{
	static struct ibv_ah_attr attr = { .port_num = 1 };

	if (!attr.is_global)
		attr.grh.sgid_index = usable_gid(s->ctx, &attr.grh.dgid);
	attr.is_global = 1;
	return ibv_create_ah(s->pd, &attr);
}

static int unmake_ah(void *ah)
{
	return ibv_destroy_ah(ah);
}

static void *make_cq(struct set *s)
{
	return ibv_create_cq(s->ctx, 1, NULL, NULL, 0);
}

static int unmake_cq(void *cq)
{
	return ibv_destroy_cq(cq);
}

static void *make_srq(struct set *s)
{
	struct ibv_srq_init_attr attr = { .attr = { .max_wr = 1, .max_sge = 1 } };

	return ibv_create_srq(s->pd, &attr);
}

static int unmake_srq(void *srq)
{
	return ibv_destroy_srq(srq);
}

/* @there: of them already. */
static void fill_up(struct set *s, int max, int there, void *(*make)(struct set *s),
		    int (*unmake)(void *obj))
{
	void **obj = calloc(max, sizeof(*obj));
	int i;

	check(obj);
	for (i = 0; i < max - there; i++) {
		obj[i] = make(s);
		check_msg(obj[i], "object %d of %d: %m", i, max);
	}
	check_errno_ptr(make(s), ENOMEM);
	check_rc(unmake(obj[0]), 0);
	obj[0] = make(s);
	check_msg(obj[0], "with room again: %m");
	for (i = 0; i < max - there; i++)
		check_rc(unmake(obj[i]), 0);
	free(obj);
}

static void advertised_maxima(void)
{
	struct set s = open_set();
	struct ibv_device_attr attr;

	/* A million objects of ib_core's, and rings mapped one by one. */
	if (is_kernel_device(s.ctx))
		test_skip("takes more memory and time than User-Mode Linux has");
	check_rc(ibv_query_device(s.ctx, &attr), 0);
	fill_up(&s, attr.max_pd, 1, make_pd, unmake_pd);
	fill_up(&s, attr.max_cq, 1, make_cq, unmake_cq);
	fill_up(&s, attr.max_srq, 0, make_srq, unmake_srq);
	fill_up(&s, attr.max_ah, 0, make_ah, unmake_ah);
	close_set(&s);
}

/* What there is not says so. */
static void unsupported(void)
{
	struct set s = open_set();
	struct ibv_xrcd_init_attr xrcd = {
		.comp_mask = IBV_XRCD_INIT_ATTR_FD | IBV_XRCD_INIT_ATTR_OFLAGS,
		.fd = -1, .oflags = O_CREAT,
	};
	struct ibv_alloc_dm_attr dm = { .length = 64 };

	check_errno_ptr(ibv_alloc_mw(s.pd, IBV_MW_TYPE_1), EOPNOTSUPP);
	check_errno_ptr(ibv_alloc_mw(s.pd, IBV_MW_TYPE_2), EOPNOTSUPP);
	check_errno_ptr(ibv_open_xrcd(s.ctx, &xrcd), EOPNOTSUPP);
	check_errno_ptr(ibv_alloc_dm(s.ctx, &dm), EOPNOTSUPP);
	check_errno_ptr(ibv_alloc_null_mr(s.pd), EOPNOTSUPP);
	close_set(&s);
}

/* ---- QP numbers --------------------------------------------------------- */

static int compare_u32(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

/* Unique, 24 bits, and not given out again at once. */
static void qp_numbers(void)
{
	enum { LIVE = 600 };
	struct set s = open_set();
	struct ibv_qp_init_attr init = qp_init(&s);
	struct ibv_qp *qp[LIVE];
	uint32_t qpn[LIVE], last;
	int i;

	for (i = 0; i < LIVE; i++) {
		qp[i] = ibv_create_qp(s.pd, &init);
		check_msg(qp[i], "QP %d: %m", i);
		qpn[i] = qp[i]->qp_num;
		check(qpn[i] > 1 && qpn[i] < 1 << 24);
	}
	qsort(qpn, LIVE, sizeof(*qpn), compare_u32);
	for (i = 1; i < LIVE; i++)
		check(qpn[i] != qpn[i - 1]);
	for (i = 0; i < LIVE; i++)
		check_rc(ibv_destroy_qp(qp[i]), 0);
	for (last = 0, i = 0; i < 100; i++) {
		qp[0] = ibv_create_qp(s.pd, &init);
		check(qp[0]->qp_num != last);
		last = qp[0]->qp_num;
		check_rc(ibv_destroy_qp(qp[0]), 0);
	}
	close_set(&s);
}

/* What a verb returns is also what errno says. */
static void errno_is_said(void)
{
	struct end *e = end_new(NULL, false, NULL);
	struct ibv_qp_attr attr = { .qp_state = IBV_QPS_RTS };
	struct ibv_send_wr wr = { .opcode = IBV_WR_SEND, .num_sge = 1000 }, *bad;
	struct ibv_recv_wr rwr = { .num_sge = 1000 }, *rbad;
	struct ibv_port_attr port;

#define SAYS(call, err)					\
	do {						\
		errno = 0;				\
		check_eq(call, err);			\
		check_eq(errno, err);			\
	} while (0)

	SAYS(ibv_modify_qp(e->qp, &attr, IBV_QP_STATE), EINVAL);
	SAYS(ibv_destroy_cq(e->cq[CQ_SEND]), EBUSY);
	SAYS(ibv_dealloc_pd(e->pd), EBUSY);
	SAYS(ibv_post_recv(e->qp, &rwr, &rbad), EINVAL);
	SAYS(ibv_resize_cq(e->cq[CQ_SEND], 1 << 30), EINVAL);
	SAYS(ibv_query_port(e->ctx, 2, &port), EINVAL);
	SAYS(ibv_post_send(e->qp, &wr, &bad), EINVAL);
	end_free(e);
}

static const struct test_case cases[] = {
	CASE(open_close),
	CASE(device_attributes),
	CASE(port_attributes),
	CASE(gid_table),
	CASE(silent_fds),
	CASE(busy),
	CASE(busy_one_cq),
	CASE(parent_domain),
	CASE(any_order),
	CASE(qp_arguments),
	CASE(inline_probe),
	CASE(cq_arguments),
	CASE(srq_arguments),
	CASE(mr_arguments),
	CASE(ah_arguments),
	CASE(advertised_maxima),
	CASE(unsupported),
	CASE(qp_numbers),
	CASE(errno_is_said),
	CASES_END
};

int main(int argc, char **argv)
{
	return test_main(argc, argv, cases);
}
