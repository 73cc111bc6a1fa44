// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * kverbs.c - a user in the kernel: two RC queue pairs of the device @dev, connected
 * with each other, and messages of each kind from each kind of memory. Loading it
 * is the test; it fails to load if something is wrong, and says what in the log.
 */
#include <linux/completion.h>
#include <linux/gfp.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/slab.h>
#include <net/ipv6.h>
#include <rdma/ib_cache.h>
#include <rdma/ib_verbs.h>

#define KV_ORDER	4
#define KV_BYTES	(PAGE_SIZE << KV_ORDER)
#define KV_SLAB_BYTES	8192u
#define KV_INLINE	200u
#define KV_WRS		64
#define KV_WAIT		(10 * HZ)

static char *dev_name_param;
module_param_named(dev, dev_name_param, charp, 0444);
MODULE_PARM_DESC(dev, "RDMA device");

struct kv_op {
	struct ib_cqe cqe;
	struct completion done;
	struct ib_wc wc;
};

struct kv {
	struct ib_device *dev;
	struct ib_pd *pd;
	struct ib_cq *cq;
	struct ib_srq *srq;
	struct ib_qp *a, *b;
	int gid_index;
	union ib_gid gid;
	u8 *src, *dst;		/* pages that are one */
	u8 *odd;		/* pages that follow each other */
	u8 *slab;
	u8 seed;
	/* They outlive what has failed. */
	struct kv_op op, recv;
};

static int kv_failed(const char *what, int rc)
{
	pr_err("tcpzc_kverbs: %s: %d\n", what, rc);
	return rc ? rc : -EIO;
}

/* ---- work requests ------------------------------------------------------ */

static void kv_done(struct ib_cq *cq, struct ib_wc *wc)
{
	struct kv_op *op = container_of(wc->wr_cqe, struct kv_op, cqe);

	op->wc = *wc;
	complete(&op->done);
}

static void kv_op_init(struct kv_op *op)
{
	op->cqe.done = kv_done;
	init_completion(&op->done);
}

static int kv_wait(struct kv_op *op, const char *what)
{
	if (!wait_for_completion_timeout(&op->done, KV_WAIT))
		return kv_failed(what, -ETIMEDOUT);
	if (op->wc.status)
		return kv_failed(ib_wc_status_msg(op->wc.status), -EIO);
	return 0;
}

static int kv_post_recv(struct kv *kv, struct kv_op *op, u32 bytes)
{
	struct ib_sge sge = {
		.addr = (uintptr_t)kv->dst,
		.length = bytes,
		.lkey = kv->pd->local_dma_lkey,
	};
	struct ib_recv_wr wr = {
		.wr_cqe = &op->cqe, .sg_list = &sge, .num_sge = 1,
	};

	kv_op_init(op);
	return kv->srq ? ib_post_srq_recv(kv->srq, &wr, NULL) :
			 ib_post_recv(kv->b, &wr, NULL);
}

static int kv_post_send(struct kv *kv, struct kv_op *op, enum ib_wr_opcode code,
			struct ib_sge *sge, int num, void *remote, int flags)
{
	struct ib_rdma_wr wr = {
		.wr = {
			.wr_cqe = &op->cqe,
			.sg_list = sge,
			.num_sge = num,
			.opcode = code,
			.send_flags = IB_SEND_SIGNALED | flags,
		},
		.remote_addr = (uintptr_t)remote,
		.rkey = kv->pd->unsafe_global_rkey,
	};

	kv_op_init(op);
	return ib_post_send(kv->a, &wr.wr, NULL);
}

/* ---- messages ----------------------------------------------------------- */

static void kv_fill(struct kv *kv, u8 *p, u32 bytes)
{
	u32 i;

	kv->seed++;
	for (i = 0; i < bytes; i++)
		p[i] = i * 7 + (i >> 8) + kv->seed;
}

/* From @from in pieces of @piece bytes, by SEND, WRITE and READ. */
static int kv_transfer(struct kv *kv, u8 *from, u32 bytes, u32 piece,
		       enum ib_wr_opcode code)
{
	struct ib_sge sge[4];
	u32 at, n = 0;
	int rc = 0;

	kv_fill(kv, from, bytes);
	memset(kv->dst, 0, bytes);
	for (at = 0; at < bytes; at += piece, n++)
		sge[n] = (struct ib_sge) {
			.addr = (uintptr_t)from + at,
			.length = min(piece, bytes - at),
			.lkey = kv->pd->local_dma_lkey,
		};
	if (code == IB_WR_RDMA_READ) {
		sge[0].addr = (uintptr_t)kv->dst;
		sge[0].length = bytes;
		n = 1;
	}
	if (code == IB_WR_SEND)
		rc = kv_post_recv(kv, &kv->recv, bytes);
	if (!rc)
		rc = kv_post_send(kv, &kv->op, code, sge, n, code == IB_WR_RDMA_READ ?
							from : kv->dst, 0);
	if (rc)
		return kv_failed("post", rc);
	rc = kv_wait(&kv->op, "request");
	if (!rc && code == IB_WR_SEND)
		rc = kv_wait(&kv->recv, "receive");
	if (!rc && memcmp(from, kv->dst, bytes))
		rc = kv_failed("other data", -EILSEQ);
	return rc;
}

static int kv_memory(struct kv *kv)
{
	static const enum ib_wr_opcode codes[] = {
		IB_WR_SEND, IB_WR_RDMA_WRITE, IB_WR_RDMA_READ,
	};
	const struct { u8 *p; u32 bytes, piece; const char *what; } from[] = {
		{ kv->src, 64, 64, "few bytes" },
		{ kv->src, KV_BYTES, KV_BYTES, "a compound page" },
		{ kv->odd, KV_BYTES, KV_BYTES, "pages in a row" },
		{ kv->odd + 100, KV_BYTES - 200, 20000, "parts of them" },
		{ kv->slab, 64, 64, "few bytes of a slab" },
		{ kv->slab, KV_SLAB_BYTES, KV_SLAB_BYTES, "a slab" },
		{ kv->slab + 1, KV_SLAB_BYTES - 1, 3000, "parts of it" },
	};
	u32 i, k;
	int rc;

	for (i = 0; i < ARRAY_SIZE(from); i++) {
		for (k = 0; k < ARRAY_SIZE(codes); k++) {
			rc = kv_transfer(kv, from[i].p, from[i].bytes,
					 from[i].piece, codes[k]);
			if (rc) {
				pr_err("tcpzc_kverbs: opcode %d from %s\n",
				       codes[k], from[i].what);
				return rc;
			}
		}
	}
	return 0;
}

/* Both kinds of memory in one message. */
static int kv_mixed(struct kv *kv)
{
	struct ib_sge sge[3] = {
		{ .addr = (uintptr_t)kv->src, .length = 5000 },
		{ .addr = (uintptr_t)kv->slab, .length = 5000 },
		{ .addr = (uintptr_t)kv->odd + 4000, .length = 5000 },
	};
	int i, rc;

	for (i = 0; i < 3; i++) {
		sge[i].lkey = kv->pd->local_dma_lkey;
		kv_fill(kv, (u8 *)(uintptr_t)sge[i].addr, 5000);
	}
	rc = kv_post_send(kv, &kv->op, IB_WR_RDMA_WRITE, sge, 3, kv->dst, 0);
	if (rc)
		return kv_failed("post of mixed memory", rc);
	rc = kv_wait(&kv->op, "mixed memory");
	for (i = 0; i < 3 && !rc; i++)
		if (memcmp((u8 *)(uintptr_t)sge[i].addr, kv->dst + i * 5000, 5000))
			rc = kv_failed("other data", -EILSEQ);
	return rc;
}

/* Data that is gone when ib_post_send() returns. */
static int kv_inline(struct kv *kv)
{
	u8 data[KV_INLINE + 1], copy[KV_INLINE];
	struct ib_sge sge[2] = {
		{ .addr = (uintptr_t)data, .length = 77 },
		{ .addr = (uintptr_t)data + 77, .length = KV_INLINE - 77 },
	};
	int rc;

	kv_fill(kv, data, KV_INLINE);
	memcpy(copy, data, KV_INLINE);
	rc = kv_post_recv(kv, &kv->recv, KV_INLINE);
	if (!rc)
		rc = kv_post_send(kv, &kv->op, IB_WR_SEND, sge, 2, NULL, IB_SEND_INLINE);
	memset(data, 0, sizeof(data));
	if (rc)
		return kv_failed("post of inline data", rc);
	rc = kv_wait(&kv->op, "inline data");
	if (!rc)
		rc = kv_wait(&kv->recv, "its receive");
	if (!rc && memcmp(copy, kv->dst, KV_INLINE))
		rc = kv_failed("other inline data", -EILSEQ);
	sge[1].length++;
	if (!rc && kv_post_send(kv, &kv->op, IB_WR_SEND, sge, 2, NULL,
				IB_SEND_INLINE) != -EINVAL)
		rc = kv_failed("too much inline data was taken", 0);
	sge[1].length--;
	if (!rc && kv_post_send(kv, &kv->op, IB_WR_RDMA_READ, sge, 2, kv->dst,
				IB_SEND_INLINE) != -EINVAL)
		rc = kv_failed("an inline READ was taken", 0);
	return rc;
}

/* A receive that comes after its message. */
static int kv_starved(struct kv *kv)
{
	struct ib_sge sge = {
		.addr = (uintptr_t)kv->src,
		.length = 100,
		.lkey = kv->pd->local_dma_lkey,
	};
	int i, rc = 0;

	for (i = 0; i < 100 && !rc; i++) {
		rc = kv_post_send(kv, &kv->op, IB_WR_SEND, &sge, 1, NULL, 0);
		if (i % 2)
			usleep_range(50, 300);
		if (!rc)
			rc = kv_post_recv(kv, &kv->recv, 100);
		if (rc)
			return kv_failed("post", rc);
		rc = kv_wait(&kv->op, "late receive") ?: kv_wait(&kv->recv, "receive");
	}
	return rc;
}

/* ---- objects ------------------------------------------------------------ */

static int kv_find_gid(struct kv *kv)
{
	const struct ib_gid_attr *attr;
	bool found = false;
	int i;

	for (i = 0; i < 256 && !found; i++) {
		attr = rdma_get_gid_attr(kv->dev, 1, i);
		if (IS_ERR(attr))
			continue;
		kv->gid = attr->gid;
		kv->gid_index = i;
		found = ipv6_addr_v4mapped((struct in6_addr *)&attr->gid);
		rdma_put_gid_attr(attr);
	}
	return found ? 0 : kv_failed("no IPv4 GID", -ENODEV);
}

static struct ib_qp *kv_create_qp(struct kv *kv)
{
	struct ib_qp_init_attr init = {
		.send_cq = kv->cq,
		.recv_cq = kv->cq,
		.srq = kv->srq,
		.cap = {
			.max_send_wr = KV_WRS, .max_recv_wr = KV_WRS,
			.max_send_sge = 4, .max_recv_sge = 4,
			.max_inline_data = KV_INLINE,
		},
		.sq_sig_type = IB_SIGNAL_REQ_WR,
		.qp_type = IB_QPT_RC,
	};

	return ib_create_qp(kv->pd, &init);
}

static int kv_connect(struct kv *kv, struct ib_qp *qp, const struct ib_qp *peer)
{
	struct ib_qp_attr attr = {
		.qp_state = IB_QPS_INIT,
		.port_num = 1,
		.qp_access_flags = IB_ACCESS_REMOTE_READ | IB_ACCESS_REMOTE_WRITE,
		.path_mtu = IB_MTU_1024,
		.dest_qp_num = peer->qp_num,
		.max_dest_rd_atomic = 4,
		.min_rnr_timer = 1,
		.timeout = 14,
		.retry_cnt = 7,
		.rnr_retry = 7,
		.max_rd_atomic = 4,
		.ah_attr.type = RDMA_AH_ATTR_TYPE_ROCE,
	};
	int rc;

	rdma_ah_set_port_num(&attr.ah_attr, 1);
	rdma_ah_set_grh(&attr.ah_attr, &kv->gid, 0, kv->gid_index, 64, 0);
	attr.ah_attr.roce.dmac[0] = 2;
	rc = ib_modify_qp(qp, &attr, IB_QP_STATE | IB_QP_PORT | IB_QP_PKEY_INDEX |
				     IB_QP_ACCESS_FLAGS);
	attr.qp_state = IB_QPS_RTR;
	if (!rc)
		rc = ib_modify_qp(qp, &attr, IB_QP_STATE | IB_QP_AV |
				  IB_QP_PATH_MTU | IB_QP_DEST_QPN | IB_QP_RQ_PSN |
				  IB_QP_MAX_DEST_RD_ATOMIC | IB_QP_MIN_RNR_TIMER);
	attr.qp_state = IB_QPS_RTS;
	if (!rc)
		rc = ib_modify_qp(qp, &attr, IB_QP_STATE | IB_QP_TIMEOUT |
				  IB_QP_RETRY_CNT | IB_QP_RNR_RETRY |
				  IB_QP_SQ_PSN | IB_QP_MAX_QP_RD_ATOMIC);
	return rc ? kv_failed("modify", rc) : 0;
}

static int kv_run(struct kv *kv)
{
	int rc;

	rc = kv_connect(kv, kv->a, kv->b) ?: kv_connect(kv, kv->b, kv->a);
	if (!rc)
		rc = kv_memory(kv) ?: kv_mixed(kv) ?: kv_inline(kv) ?:
		     kv_starved(kv);
	ib_drain_qp(kv->a);
	if (!kv->srq)
		ib_drain_qp(kv->b);
	return rc;
}

/* With a receive queue, or a shared one. */
static int kv_with_qps(struct kv *kv, bool shared)
{
	struct ib_srq_init_attr init = {
		.attr = { .max_wr = KV_WRS, .max_sge = 4 },
		.srq_type = IB_SRQT_BASIC,
	};
	int rc;

	kv->srq = shared ? ib_create_srq(kv->pd, &init) : NULL;
	if (IS_ERR(kv->srq))
		return kv_failed("create_srq", PTR_ERR(kv->srq));
	kv->a = kv_create_qp(kv);
	kv->b = kv_create_qp(kv);
	if (IS_ERR(kv->a) || IS_ERR(kv->b))
		rc = kv_failed("create_qp", -EIO);
	else
		rc = kv_run(kv);
	if (!IS_ERR(kv->b))
		ib_destroy_qp(kv->b);
	if (!IS_ERR(kv->a))
		ib_destroy_qp(kv->a);
	if (kv->srq)
		ib_destroy_srq(kv->srq);
	return rc;
}

static int kv_with_memory(struct kv *kv)
{
	int rc = -ENOMEM;

	kv->src = (u8 *)__get_free_pages(GFP_KERNEL | __GFP_COMP, KV_ORDER);
	kv->dst = (u8 *)__get_free_pages(GFP_KERNEL | __GFP_COMP, KV_ORDER);
	kv->odd = (u8 *)__get_free_pages(GFP_KERNEL, KV_ORDER);
	kv->slab = kmalloc(KV_SLAB_BYTES, GFP_KERNEL);
	if (kv->src && kv->dst && kv->odd && kv->slab)
		rc = kv_with_qps(kv, false) ?: kv_with_qps(kv, true);
	kfree(kv->slab);
	free_pages((unsigned long)kv->odd, KV_ORDER);
	free_pages((unsigned long)kv->dst, KV_ORDER);
	free_pages((unsigned long)kv->src, KV_ORDER);
	return rc;
}

static int kv_with_device(struct kv *kv)
{
	int rc = kv_find_gid(kv);

	if (rc)
		return rc;
	kv->pd = ib_alloc_pd(kv->dev, IB_PD_UNSAFE_GLOBAL_RKEY);
	if (IS_ERR(kv->pd))
		return kv_failed("alloc_pd", PTR_ERR(kv->pd));
	kv->cq = ib_alloc_cq(kv->dev, NULL, 4 * KV_WRS, 0, IB_POLL_WORKQUEUE);
	if (IS_ERR(kv->cq)) {
		rc = kv_failed("alloc_cq", PTR_ERR(kv->cq));
	} else {
		rc = kv_with_memory(kv);
		ib_free_cq(kv->cq);
	}
	ib_dealloc_pd(kv->pd);
	return rc;
}

/* ---- the module --------------------------------------------------------- */

static struct ib_device *kv_dev;

static int kv_add(struct ib_device *dev)
{
	if (!strcmp(dev_name(&dev->dev), dev_name_param ?: "") &&
	    ib_device_try_get(dev))
		kv_dev = dev;
	return 0;
}

static struct ib_client kv_client = { .name = "tcpzc_kverbs", .add = kv_add };

/* The device of that name, in whatever network namespace; with a reference. */
static struct ib_device *kv_find_device(void)
{
	if (ib_register_client(&kv_client))
		return NULL;
	ib_unregister_client(&kv_client);
	return kv_dev;
}

static int __init kv_init(void)
{
	struct kv *kv = kzalloc(sizeof(*kv), GFP_KERNEL);
	int rc = -ENOMEM;

	if (!kv)
		return rc;
	kv->dev = kv_find_device();
	if (kv->dev) {
		rc = kv_with_device(kv);
		ib_device_put(kv->dev);
	} else {
		rc = kv_failed("no such device", -ENODEV);
	}
	kfree(kv);
	return rc;
}

static void __exit kv_exit(void)
{
}

module_init(kv_init);
module_exit(kv_exit);

MODULE_DESCRIPTION("test of verbs in the kernel");
MODULE_LICENSE("GPL");
