// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * mr.c - memory regions: pinned pages, keys, and copying.
 *
 * A region's memory is pinned once, when it is registered. Engines look regions
 * up by key without a lock; what they find is good for the rest of their call.
 * Deregistration takes the region out of the table, marks it dead and waits for
 * the calls under way (tcpzc_qp_barrier()): then no engine touches the memory.
 */
#include <linux/net.h>
#include <linux/scatterlist.h>
#include <linux/slab.h>
#include <rdma/uverbs_ioctl.h>

#include "tcpzc.h"
#include "trace.h"

#define TCPZC_MR_ACCESS	(IB_ACCESS_LOCAL_WRITE | IB_ACCESS_REMOTE_WRITE | \
			 IB_ACCESS_REMOTE_READ | IB_ACCESS_REMOTE_ATOMIC)
#define TCPZC_MAX_BLOCK_SHIFT	30

/* ---- blocks ------------------------------------------------------------- */

/*
 * The largest block size: a power of two such that the memory, cut where the
 * application's addresses are multiples of it, falls into contiguous pieces.
 */
static u32 tcpzc_block_shift(const struct ib_umem *umem)
{
	unsigned long ua = umem->address & PAGE_MASK, odd = 0;
	const struct sg_table *sgt = &umem->sgt_append.sgt;
	struct scatterlist *sg;
	unsigned int i;

	for_each_sgtable_sg(sgt, sg, i) {
		odd |= ua ^ (unsigned long)page_address(sg_page(sg));
		if (i)
			odd |= ua;
		ua += sg->length;
	}
	return odd ? min_t(u32, __ffs(odd), TCPZC_MAX_BLOCK_SHIFT) :
		     TCPZC_MAX_BLOCK_SHIFT;
}

static void tcpzc_blocks_fill(struct tcpzc_blocks *b, const struct ib_umem *umem)
{
	unsigned long size = 1ul << b->shift, ua = umem->address & PAGE_MASK;
	const struct sg_table *sgt = &umem->sgt_append.sgt;
	struct scatterlist *sg;
	unsigned int i;
	u32 n = 0;

	/* All pieces but the first begin where a block does. */
	for_each_sgtable_sg(sgt, sg, i) {
		unsigned long at = ALIGN_DOWN(ua, size);
		u8 *addr = (u8 *)page_address(sg_page(sg)) - (ua - at);

		for (; at < ua + sg->length; at += size, addr += size)
			b->addr[n++] = addr;
		ua += sg->length;
	}
	WARN_ON_ONCE(n != b->num);
}

static int tcpzc_blocks_init(struct tcpzc_blocks *b, const struct ib_umem *umem)
{
	u64 end = umem->address + umem->length;

	b->shift = tcpzc_block_shift(umem);
	b->first = umem->address & ((1ul << b->shift) - 1);
	b->num = ((end - 1) >> b->shift) - (umem->address >> b->shift) + 1;
	b->addr = kvcalloc(b->num, sizeof(*b->addr), GFP_KERNEL_ACCOUNT);
	if (!b->addr)
		return -ENOMEM;
	tcpzc_blocks_fill(b, umem);
	return 0;
}

/*
 * Copying goes page by page at worst, so it pays to look whether what follows
 * in memory is what comes next.
 */
void *tcpzc_mr_run(const struct tcpzc_mr *mr, u64 off, u32 len, u32 *run)
{
	const struct tcpzc_blocks *b = &mr->blocks;
	u64 at = b->first + off, size = 1ull << b->shift;
	u64 i = at >> b->shift, in = at & (size - 1);
	u64 have = size - in;
	u8 *addr;

	if (!b->num) {			/* tcpzc_dev.dma_mr */
		*run = len;
		return (void *)(unsigned long)off;
	}
	addr = b->addr[i];
	for (; have < len && b->addr[i + 1] == b->addr[i] + size; i++)
		have += size;
	*run = min_t(u64, have, len);
	return addr + in;
}

u32 tcpzc_mr_bvec(const struct tcpzc_mr *mr, u64 off, u32 len,
		  struct bio_vec *bvec, u32 max, u32 *bytes)
{
	u32 n, done = 0, run;

	for (n = 0; n < max && done < len; n++) {
		void *addr = tcpzc_mr_run(mr, off + done, len - done, &run);

		bvec_set_virt(&bvec[n], addr, run);
		done += run;
	}
	*bytes = done;
	return n;
}

/*
 * Users in the kernel name any memory, also such as cannot be referred to by page:
 * a slab's, or a tail page that is not of a compound one (see sendpage_ok()).
 * Applications' is pinned, page by page.
 */
bool tcpzc_mr_sendable(const struct tcpzc_mr *mr, u64 off, u32 *bytes)
{
	u8 *addr = (u8 *)(unsigned long)off;
	u32 at = PAGE_SIZE - offset_in_page(off);
	bool ok;

	if (mr->blocks.num)
		return true;
	ok = sendpage_ok(virt_to_page(addr));
	while (at < *bytes && sendpage_ok(virt_to_page(addr + at)) == ok)
		at += PAGE_SIZE;
	*bytes = min(at, *bytes);
	return ok;
}

/* ---- what the engine asks for ------------------------------------------- */

struct tz_mr *tcpzc_mr_find(struct tz_qp *eng, u32 key)
{
	struct tcpzc_qp *qp = tcpzc_qp_of(eng);
	struct tcpzc_dev *dev = qp->dev;
	struct tcpzc_mr *mr;
	bool ok;

	if (qp->kernel && key == dev->ib.local_dma_lkey)
		return &dev->dma_mr.tz;
	rcu_read_lock();
	mr = xa_load(&dev->mrs, tz_key_decode(&dev->secret, key) &
				TZ_KEY_INDEX_MASK);
	/* Pairs with the release of a region that was registered anew. */
	ok = mr && !smp_load_acquire(&mr->tz.dead) && mr->tz.key == key &&
	     mr->tz.pdn == tz_qp_pdn(eng);
	rcu_read_unlock();
	return ok ? &mr->tz : NULL;
}

void tcpzc_mr_get(struct tz_mr *tz)
{
	refcount_inc(&tcpzc_mr_of(tz)->refs);
}

/* The memory has been given back before: see tcpzc_dereg_mr(). */
void tcpzc_mr_put(struct tz_mr *tz)
{
	struct tcpzc_mr *mr = tcpzc_mr_of(tz);

	if (refcount_dec_and_test(&mr->refs))
		kfree_rcu(mr, rcu);
}

/*
 * Programs poll the last byte of a message, or the last field of each of
 * several records in one: bytes appear in ascending order. memcpy() does not
 * promise that.
 */
static void tcpzc_copy_ordered(u8 *dst, const u8 *src, u32 len)
{
	u64 word;

	for (; len && ((unsigned long)dst & 7); len--) {
		/* Pairs with what the application does to see the last byte. */
		smp_store_release(dst++, *src++);
	}
	for (; len >= 8; len -= 8, src += 8, dst += 8) {
		memcpy(&word, src, 8);
		/* Likewise. */
		smp_store_release((u64 *)dst, word);
	}
	for (; len; len--) {
		/* Likewise. */
		smp_store_release(dst++, *src++);
	}
}

void tcpzc_mr_write(struct tz_mr *tz, u64 off, const void *src, u32 len)
{
	u32 done, run;

	for (done = 0; done < len; done += run) {
		void *dst = tcpzc_mr_run(tcpzc_mr_of(tz), off + done, len - done,
					 &run);

		tcpzc_copy_ordered(dst, src + done, run);
	}
}

void tcpzc_mr_read(struct tz_mr *tz, u64 off, void *dst, u32 len)
{
	u32 done, run;

	for (done = 0; done < len; done += run) {
		void *src = tcpzc_mr_run(tcpzc_mr_of(tz), off + done, len - done,
					 &run);

		memcpy(dst + done, src, run);
	}
}

u64 tcpzc_mr_atomic(struct tz_mr *tz, u64 off, enum tz_atomic_kind kind,
		    u64 compare_add, u64 swap)
{
	u32 run;
	u64 *p = tcpzc_mr_run(tcpzc_mr_of(tz), off, sizeof(*p), &run);

	if (kind == TZ_ATOMIC_FETCH_AND_ADD)
		return atomic64_fetch_add(compare_add, (atomic64_t *)p);
	return cmpxchg(p, compare_add, swap);
}

/*
 * Users in the kernel name memory by its address there, which is what the DMA
 * addresses of a device without DMA are. Peers have no right to any of it.
 */
void tcpzc_dma_mr_init(struct tcpzc_dev *dev)
{
	struct tcpzc_mr *mr = &dev->dma_mr;

	mr->dev = dev;
	mr->tz.len = U64_MAX;
	mr->tz.access = TZ_ACCESS_LOCAL_WRITE;
	/* The last index, which no other region gets. */
	mr->tz.key = tz_key_encode(&dev->secret, U32_MAX);
	refcount_set(&mr->refs, 1);
	dev->ib.local_dma_lkey = mr->tz.key;
}

/* ---- table and keys ----------------------------------------------------- */

/*
 * Take a number: an index that is free, and a generation that it has not had
 * lately, since indices are given out in turn. Nothing can be found there yet.
 */
static int tcpzc_mr_reserve(struct tcpzc_dev *dev, u32 *num)
{
	u32 idx;
	int rc;

	xa_lock(&dev->mrs);
	rc = __xa_alloc_cyclic(&dev->mrs, &idx, NULL,
			       XA_LIMIT(0, TCPZC_MAX_MR - 2), &dev->next_mr,
			       GFP_KERNEL);
	if (rc == 1)
		dev->mr_gen++;
	if (rc >= 0)
		*num = idx | dev->mr_gen << TZ_KEY_INDEX_BITS;
	xa_unlock(&dev->mrs);
	if (rc == -EBUSY)
		return -ENOMEM;
	return min(rc, 0);
}

static void tcpzc_mr_unreserve(struct tcpzc_dev *dev, u32 num)
{
	xa_erase(&dev->mrs, num & TZ_KEY_INDEX_MASK);
}

static void tcpzc_mr_set_num(struct tcpzc_mr *mr, u32 num)
{
	mr->num = num;
	mr->tz.key = tz_key_encode(&mr->dev->secret, num);
	mr->ib.lkey = mr->tz.key;
	mr->ib.rkey = mr->tz.key;
}

/* From now on it can be found. The entry is reserved: this needs no memory. */
static void tcpzc_mr_publish(struct tcpzc_mr *mr)
{
	/* Pairs with the acquire of tcpzc_mr_find(). */
	smp_store_release(&mr->tz.dead, 0);
	xa_store(&mr->dev->mrs, mr->num & TZ_KEY_INDEX_MASK, mr, GFP_KERNEL);
}

/* ---- registration ------------------------------------------------------- */

static bool tcpzc_range_ok(u64 start, u64 len)
{
	return len && start + len - 1 >= start;
}

/* As the provider has it: what is optional is ignored. */
static int tcpzc_mr_check_access(int *access)
{
	*access &= ~IB_ACCESS_OPTIONAL;
	if (*access & IB_ACCESS_ON_DEMAND)
		return -EOPNOTSUPP;
	if (*access & ~(TCPZC_MR_ACCESS | IB_ACCESS_MW_BIND | IB_ZERO_BASED |
			IB_ACCESS_HUGETLB))
		return -EINVAL;
	return 0;
}

struct tcpzc_mr_range {
	u64 start;		/* in the application */
	u64 len;
	u64 iova;
	int access;
};

/* The address that peers use comes beside the command: see the ABI. */
static int tcpzc_mr_get_iova(u64 *iova, struct ib_udata *udata)
{
	struct tcpzc_ureq_reg_mr req;
	int rc;

	if (udata->inlen < sizeof(req))
		return -EINVAL;
	rc = ib_copy_from_udata(&req, udata, sizeof(req));
	if (!rc)
		*iova = req.iova;
	return rc;
}

static int tcpzc_mr_check(struct tcpzc_mr_range *r)
{
	int rc = tcpzc_mr_check_access(&r->access);

	if (rc)
		return rc;
	if (!tcpzc_range_ok(r->start, r->len) ||
	    !tcpzc_range_ok(r->iova, r->len))
		return -EINVAL;
	/* What is aligned for the peer must be aligned here. */
	if ((r->access & IB_ACCESS_REMOTE_ATOMIC) &&
	    ((r->start ^ r->iova) & 7))
		return -EINVAL;
	return 0;
}

/* Pinned memory; it is accounted to the process that registers it. */
struct tcpzc_pin {
	struct ib_umem *umem;
	struct tcpzc_blocks blocks;
};

static int tcpzc_pin_get(struct tcpzc_pin *pin, struct tcpzc_dev *dev,
			 const struct tcpzc_mr_range *r)
{
	int rc;

	pin->umem = tcpzc_umem_get(&dev->ib, r->start, r->len, r->access);
	if (IS_ERR(pin->umem))
		return PTR_ERR(pin->umem);
	rc = tcpzc_blocks_init(&pin->blocks, pin->umem);
	if (rc)
		ib_umem_release(pin->umem);
	return rc;
}

static void tcpzc_pin_put(struct tcpzc_pin *pin)
{
	kvfree(pin->blocks.addr);
	ib_umem_release(pin->umem);
}

static void tcpzc_mr_set(struct tcpzc_mr *mr, const struct tcpzc_mr_range *r,
			 const struct ib_pd *ibpd)
{
	mr->start = r->start;
	mr->access = r->access;
	mr->tz.iova = r->iova;
	mr->tz.len = r->len;
	mr->tz.access = r->access & TCPZC_MR_ACCESS;
	mr->tz.pdn = to_tpd((struct ib_pd *)ibpd)->pdn;
}

struct ib_mr *tcpzc_reg_user_mr(struct ib_pd *ibpd, u64 start, u64 len,
				u64 virt, int access, TCPZC_DMAH_PARAM
				struct ib_udata *udata)
{
	struct tcpzc_mr_range r = {
		.start = start, .len = len, .access = access,
	};
	struct tcpzc_dev *dev = to_tdev(ibpd->device);
	struct tcpzc_pin pin;
	struct tcpzc_mr *mr;
	u32 num;
	int rc;

	if (TCPZC_DMAH)
		return ERR_PTR(-EOPNOTSUPP);
	rc = tcpzc_mr_get_iova(&r.iova, udata);
	if (!rc)
		rc = tcpzc_mr_check(&r);
	if (rc)
		return ERR_PTR(rc);
	mr = kzalloc(sizeof(*mr), GFP_KERNEL_ACCOUNT);
	if (!mr)
		return ERR_PTR(-ENOMEM);
	rc = tcpzc_pin_get(&pin, dev, &r);
	if (rc)
		goto err_free;
	rc = tcpzc_mr_reserve(dev, &num);
	if (rc)
		goto err_pin;
	mr->dev = dev;
	mr->umem = pin.umem;
	mr->blocks = pin.blocks;
	refcount_set(&mr->refs, 1);
	tcpzc_mr_set(mr, &r, ibpd);
	tcpzc_mr_set_num(mr, num);
	trace_tcpzc_mr_reg(mr);
	tcpzc_mr_publish(mr);
	return &mr->ib;

err_pin:
	tcpzc_pin_put(&pin);
err_free:
	kfree(mr);
	return ERR_PTR(rc);
}

/*
 * All memory, for users in the kernel that want a key of their own for it. The
 * device has local_dma_lkey as well, which ib_core prefers.
 */
struct ib_mr *tcpzc_get_dma_mr(struct ib_pd *ibpd, int access)
{
	struct tcpzc_mr_range r = { .len = U64_MAX, .access = access };
	struct tcpzc_dev *dev = to_tdev(ibpd->device);
	struct tcpzc_mr *mr;
	u32 num;
	int rc;

	rc = tcpzc_mr_check_access(&r.access);
	if (rc)
		return ERR_PTR(rc);
	mr = kzalloc(sizeof(*mr), GFP_KERNEL);
	if (!mr)
		return ERR_PTR(-ENOMEM);
	rc = tcpzc_mr_reserve(dev, &num);
	if (rc) {
		kfree(mr);
		return ERR_PTR(rc);
	}
	mr->dev = dev;
	refcount_set(&mr->refs, 1);
	tcpzc_mr_set(mr, &r, ibpd);
	tcpzc_mr_set_num(mr, num);
	tcpzc_mr_publish(mr);
	return &mr->ib;
}

struct ib_mr *tcpzc_reg_user_mr_dmabuf(struct ib_pd *ibpd, u64 offset, u64 len,
				       u64 virt, int fd, int access,
				       TCPZC_DMAH_PARAM
				       struct uverbs_attr_bundle *attrs)
{
	return ERR_PTR(-EOPNOTSUPP);
}

/* No engine touches the memory when this returns. */
static void tcpzc_mr_kill(struct tcpzc_mr *mr)
{
	WRITE_ONCE(mr->tz.dead, 1);
	tcpzc_qp_barrier(mr->dev);
}

int tcpzc_dereg_mr(struct ib_mr *ibmr, struct ib_udata *udata)
{
	struct tcpzc_mr *mr = to_tmr(ibmr);
	struct tcpzc_pin pin = { .umem = mr->umem, .blocks = mr->blocks };

	trace_tcpzc_mr_dereg(mr);
	tcpzc_mr_unreserve(mr->dev, mr->num);
	tcpzc_mr_kill(mr);
	tcpzc_refs_wait(mr->dev, mr, NULL, tcpzc_part_until(ibmr->pd));
	tcpzc_pin_put(&pin);
	tcpzc_mr_put(&mr->tz);
	return 0;
}

/* ---- registration of what is registered --------------------------------- */

/* What the region is to be, and whether that takes other pages, or more rights. */
static int tcpzc_rereg_range(const struct tcpzc_mr *mr, int flags,
			     struct tcpzc_mr_range *r, bool *pin,
			     struct ib_udata *udata)
{
	int rc = 0;

	if (!(flags & IB_MR_REREG_ACCESS))
		r->access = mr->access;
	if (flags & IB_MR_REREG_TRANS) {
		*pin = true;
		rc = tcpzc_mr_get_iova(&r->iova, udata);
	} else {
		r->start = mr->start;
		r->len = mr->tz.len;
		r->iova = mr->tz.iova;
		*pin = ib_access_writable(r->access) && !mr->umem->writable;
	}
	return rc ?: tcpzc_mr_check(r);
}

/* Keep engines from the region, unless one holds it for a work request. */
static int tcpzc_mr_quiesce(struct tcpzc_mr *mr)
{
	if (refcount_read(&mr->refs) != 1)
		return -EBUSY;
	tcpzc_mr_kill(mr);
	if (refcount_read(&mr->refs) == 1)
		return 0;
	/* Pairs with the acquire of tcpzc_mr_find(). */
	smp_store_release(&mr->tz.dead, 0);
	return -EBUSY;
}

/*
 * Change the range, rights or domain of a region; it gets another key. EBUSY
 * while a work request in flight refers to it; then it is as it was.
 */
struct ib_mr *tcpzc_rereg_user_mr(struct ib_mr *ibmr, int flags, u64 start,
				  u64 len, u64 virt, int access,
				  struct ib_pd *ibpd, struct ib_udata *udata)
{
	struct tcpzc_mr_range r = {
		.start = start, .len = len, .access = access,
	};
	struct tcpzc_mr *mr = to_tmr(ibmr);
	struct tcpzc_pin old = { .umem = mr->umem, .blocks = mr->blocks };
	struct tcpzc_pin new = old;
	u32 old_num = mr->num, num;
	bool pin;
	int rc;

	rc = tcpzc_rereg_range(mr, flags, &r, &pin, udata);
	if (!rc && pin)
		rc = tcpzc_pin_get(&new, mr->dev, &r);
	if (rc)
		return ERR_PTR(rc);
	rc = tcpzc_mr_reserve(mr->dev, &num);
	if (rc)
		goto err_pin;
	rc = tcpzc_mr_quiesce(mr);
	if (rc)
		goto err_num;
	tcpzc_refs_wait(mr->dev, mr, NULL, tcpzc_part_until(ibmr->pd));
	trace_tcpzc_mr_dereg(mr);
	mr->umem = new.umem;
	mr->blocks = new.blocks;
	tcpzc_mr_set(mr, &r, ibpd);
	tcpzc_mr_set_num(mr, num);
	trace_tcpzc_mr_reg(mr);
	tcpzc_mr_publish(mr);
	tcpzc_mr_unreserve(mr->dev, old_num);
	if (pin)
		tcpzc_pin_put(&old);
	return NULL;

err_num:
	tcpzc_mr_unreserve(mr->dev, num);
err_pin:
	if (pin)
		tcpzc_pin_put(&new);
	return ERR_PTR(rc);
}
