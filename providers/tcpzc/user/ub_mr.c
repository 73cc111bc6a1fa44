// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * ub_mr.c - memory regions of the user backend.
 *
 * A region is a range of this process; nothing is pinned, because it is this
 * process that copies. The table of regions is read without a lock by whoever
 * runs an engine. Deregistration takes the region out, marks it dead, and then
 * waits for every turn that is under way: afterwards no engine touches the
 * memory.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>

#include "calls.h"
#include "ub.h"

#define UB_MR_ACCESS	(TZ_ACCESS_LOCAL_WRITE | TZ_ACCESS_REMOTE_WRITE | \
			 TZ_ACCESS_REMOTE_READ | TZ_ACCESS_REMOTE_ATOMIC)

int ub_mr_init(struct ub_context *ctx)
{
	pthread_mutex_init(&ctx->mr_lock, NULL);
	if (!tz_random(&ctx->secret, sizeof(ctx->secret)))
		return errno;
	ctx->mr_gens = calloc(UB_MAX_MRS, sizeof(*ctx->mr_gens));
	ctx->mr_free = calloc(UB_MAX_MRS, sizeof(*ctx->mr_free));
	if (!ctx->mr_gens || !ctx->mr_free) {
		ub_mr_exit(ctx);
		return ENOMEM;
	}
	return 0;
}

void ub_mr_exit(struct ub_context *ctx)
{
	u32 i;

	for (i = 0; i < UB_MR_CHUNKS; i++)
		free(atomic_load(&ctx->mr_chunks[i]));
	free(ctx->mr_gens);
	free(ctx->mr_free);
	pthread_mutex_destroy(&ctx->mr_lock);
}

/* The table's entry for index @idx; its chunk exists. */
static _Atomic(struct ub_mr *) *ub_mr_slot(struct ub_context *ctx, u32 idx)
{
	return &atomic_load_explicit(&ctx->mr_chunks[idx / UB_MR_CHUNK],
				     memory_order_acquire)[idx % UB_MR_CHUNK];
}

/*
 * Take a number. Indices are given out in turn: all of them before one is used again,
 * with its next generation, so that a key which a peer still has stays invalid as long
 * as the space of keys allows. mr_lock is held.
 */
static int ub_mr_take_num(struct ub_context *ctx, u32 *num)
{
	bool fresh = ctx->mr_top < UB_MAX_MRS;
	_Atomic(struct ub_mr *) *chunk;
	u32 idx;

	if (!fresh && !ctx->mr_num_free)
		return ENOMEM;
	idx = fresh ? ctx->mr_top : ctx->mr_free[ctx->mr_free_head];
	if (!atomic_load(&ctx->mr_chunks[idx / UB_MR_CHUNK])) {
		chunk = calloc(UB_MR_CHUNK, sizeof(*chunk));
		if (!chunk)
			return ENOMEM;
		atomic_store_explicit(&ctx->mr_chunks[idx / UB_MR_CHUNK], chunk,
				      memory_order_release);
	}
	if (fresh) {
		ctx->mr_top++;
	} else {
		ctx->mr_free_head = (ctx->mr_free_head + 1) % UB_MAX_MRS;
		ctx->mr_num_free--;
	}
	*num = idx | (u32)ctx->mr_gens[idx]++ << TZ_KEY_INDEX_BITS;
	return 0;
}

static int ub_mr_reserve(struct ub_context *ctx, u32 *num)
{
	int err;

	pthread_mutex_lock(&ctx->mr_lock);
	err = ub_mr_take_num(ctx, num);
	pthread_mutex_unlock(&ctx->mr_lock);
	return err;
}

static void ub_mr_unreserve(struct ub_context *ctx, u32 num)
{
	pthread_mutex_lock(&ctx->mr_lock);
	ctx->mr_free[(ctx->mr_free_head + ctx->mr_num_free++) % UB_MAX_MRS] =
		num & TZ_KEY_INDEX_MASK;
	pthread_mutex_unlock(&ctx->mr_lock);
}

static void ub_mr_set_num(struct ub_context *ctx, struct ub_mr *mr, u32 num)
{
	mr->num = num;
	mr->tz.key = tz_key_encode(&ctx->secret, num);
	mr->base.vmr.ibv_mr.lkey = mr->tz.key;
	mr->base.vmr.ibv_mr.rkey = mr->tz.key;
}

/* From now on it can be found. */
static void ub_mr_publish(struct ub_context *ctx, struct ub_mr *mr)
{
	tz_store_once(&mr->tz.dead, 0);
	atomic_store_explicit(ub_mr_slot(ctx, mr->num & TZ_KEY_INDEX_MASK), mr,
			      memory_order_release);
}

/* Wait until no engine is within a turn that began before now. */
static void ub_mr_quiesce(struct ub_context *ctx)
{
	struct ub_qp *qp;

	pthread_mutex_lock(&ctx->lock);
	list_for_each(&ctx->qps, qp, node) {
		ub_turn_lock(qp);
		ub_turn_unlock(qp);
	}
	pthread_mutex_unlock(&ctx->lock);
}

/* May the range be registered so? 0 or an errno. */
static int ub_mr_check(const void *addr, size_t len, u64 iova, int access)
{
	/* What is aligned for the peer must be aligned here (ub_mr_atomic). */
	if ((access & IBV_ACCESS_REMOTE_ATOMIC) && (((uintptr_t)addr ^ iova) & 7))
		return EINVAL;
	return ub_mem_check(addr, len, access & IBV_ACCESS_LOCAL_WRITE);
}

struct tcpzc_mr *ub_reg_mr(struct tcpzc_pd *pd, void *addr, size_t len,
			   uint64_t iova, int access)
{
	struct ub_context *ctx = ub_ctx_of(pd->ibpd.context);
	int err = ub_forked(ctx) ? EIO : ub_mr_check(addr, len, iova, access);
	struct ub_mr *mr;
	u32 num;

	if (err)
		goto err_out;
	err = ENOMEM;
	mr = calloc(1, sizeof(*mr));
	if (!mr)
		goto err_out;
	err = ub_mr_reserve(ctx, &num);
	if (err)
		goto err_free;
	mr->addr = addr;
	mr->tz.iova = iova;
	mr->tz.len = len;
	mr->tz.access = access & UB_MR_ACCESS;
	mr->tz.pdn = pd->pdn;
	atomic_init(&mr->refs, 1);
	ub_mr_set_num(ctx, mr, num);
	ub_mr_publish(ctx, mr);
	return &mr->base;

err_free:
	free(mr);
err_out:
	errno = err;
	return NULL;
}

/* Take the region away from all engines. */
static void ub_mr_kill(struct ub_context *ctx, struct ub_mr *mr)
{
	atomic_store_explicit(ub_mr_slot(ctx, mr->num & TZ_KEY_INDEX_MASK), NULL,
			      memory_order_release);
	tz_store_once(&mr->tz.dead, 1);
	ub_mr_quiesce(ctx);
}

int ub_dereg_mr(struct tcpzc_mr *base)
{
	struct ub_mr *mr = (struct ub_mr *)base;
	struct ub_context *ctx = ub_ctx_of(base->vmr.ibv_mr.context);

	if (!ub_forked(ctx)) {
		ub_mr_kill(ctx, mr);
		ub_mr_unreserve(ctx, mr->num);
	}
	ub_mr_put(&mr->tz);
	return 0;
}

/* Peers and work requests may go on using the key: it stays. */
static int ub_mr_change_access(struct ub_context *ctx, struct ub_mr *mr, int access)
{
	u32 old = mr->tz.access;

	tz_store_once(&mr->tz.access, access & UB_MR_ACCESS);
	ub_mr_quiesce(ctx);
	/* One in flight that was checked against the rights of before? */
	if (atomic_load(&mr->refs) != 1) {
		tz_store_once(&mr->tz.access, old);
		return EBUSY;
	}
	tz_store_once(&mr->tz.dead, 0);
	return 0;
}

static u64 ub_mr_new_iova(const struct ub_mr *mr, const void *addr)
{
	return mr->base.vmr.access & IBV_ACCESS_ZERO_BASED ? 0 : (uintptr_t)addr;
}

static int ub_rereg_check(const struct ub_mr *mr, int flags, const void *addr,
			  size_t len, int access)
{
	if (flags & IBV_REREG_MR_CHANGE_TRANSLATION)
		return ub_mr_check(addr, len, ub_mr_new_iova(mr, addr), access);
	if (flags & IBV_REREG_MR_CHANGE_ACCESS)
		return ub_mr_check(mr->addr, mr->tz.len, mr->tz.iova, access);
	return 0;
}

static void ub_mr_change(struct ub_mr *mr, int flags, struct tcpzc_pd *pd,
			 void *addr, size_t len, int access)
{
	if (flags & IBV_REREG_MR_CHANGE_TRANSLATION) {
		mr->addr = addr;
		mr->tz.iova = ub_mr_new_iova(mr, addr);
		mr->tz.len = len;
	}
	if (flags & IBV_REREG_MR_CHANGE_ACCESS)
		mr->tz.access = access & UB_MR_ACCESS;
	if (flags & IBV_REREG_MR_CHANGE_PD)
		mr->tz.pdn = pd->pdn;
}

/*
 * Change the range, rights or domain of a region. It gets another key, unless it is
 * the rights alone. EBUSY while a work request in flight refers to it; then it is as
 * it was, as after any other failure.
 */
int ub_rereg_mr(struct tcpzc_mr *base, int flags, struct tcpzc_pd *pd,
		void *addr, size_t len, int access)
{
	struct ub_mr *mr = (struct ub_mr *)base;
	struct ub_context *ctx = ub_ctx_of(base->vmr.ibv_mr.context);
	u32 num, unused;
	int err;

	if (ub_forked(ctx))
		return EIO;
	err = ub_rereg_check(mr, flags, addr, len, access);
	if (err)
		return err;
	if (flags == IBV_REREG_MR_CHANGE_ACCESS)
		return ub_mr_change_access(ctx, mr, access);
	err = ub_mr_reserve(ctx, &num);
	if (err)
		return err;
	unused = num;
	ub_mr_kill(ctx, mr);
	/* Engines may still hold pinned references to the handle's object. */
	if (atomic_load(&mr->refs) != 1) {
		err = EBUSY;
	} else {
		unused = mr->num;
		ub_mr_change(mr, flags, pd, addr, len, access);
		ub_mr_set_num(ctx, mr, num);
	}
	ub_mr_publish(ctx, mr);
	ub_mr_unreserve(ctx, unused);
	return err;
}

/* ---- what the engine asks for ------------------------------------------- */

struct tz_mr *ub_mr_find(struct tz_qp *eng, u32 key)
{
	struct ub_context *ctx = ub_qp_of(eng)->ctx;
	u32 idx = tz_key_decode(&ctx->secret, key) & TZ_KEY_INDEX_MASK;
	struct ub_mr *mr;

	if (!atomic_load_explicit(&ctx->mr_chunks[idx / UB_MR_CHUNK],
				  memory_order_acquire))
		return NULL;
	mr = atomic_load_explicit(ub_mr_slot(ctx, idx), memory_order_acquire);
	if (!mr || mr->tz.key != key || mr->tz.pdn != tz_qp_pdn(eng))
		return NULL;
	return &mr->tz;
}

void ub_mr_get(struct tz_mr *mr)
{
	atomic_fetch_add_explicit(&ub_mr_of(mr)->refs, 1, memory_order_relaxed);
}

void ub_mr_put(struct tz_mr *tz)
{
	struct ub_mr *mr = ub_mr_of(tz);

	if (atomic_fetch_sub_explicit(&mr->refs, 1, memory_order_acq_rel) == 1)
		free(mr);
}

void ub_mr_read(struct tz_mr *mr, u64 off, void *dst, u32 len)
{
	memcpy(dst, ub_mr_of(mr)->addr + off, len);
}

/*
 * Programs poll the last byte of a message, or the last field of each of
 * several records in one: bytes appear in ascending order. memcpy() does not
 * promise that (it stores overlapping heads and tails, or uses string
 * instructions whose stores may pass each other).
 */
void ub_mr_write(struct tz_mr *mr, u64 off, const void *from, u32 len)
{
	u8 *dst = ub_mr_of(mr)->addr + off;
	const u8 *src = from;
	u64 word;

	for (; len && ((uintptr_t)dst & 7); len--)
		__atomic_store_n(dst++, *src++, __ATOMIC_RELEASE);
	for (; len >= 8; len -= 8, src += 8, dst += 8) {
		memcpy(&word, src, 8);
		__atomic_store_n((u64 *)dst, word, __ATOMIC_RELEASE);
	}
	for (; len; len--)
		__atomic_store_n(dst++, *src++, __ATOMIC_RELEASE);
}

/*
 * Datagrams come at any time. Before UCX destroys a queue pair it unmaps the memory
 * of its receives, whose regions it deregisters later: an adapter goes on writing
 * to the pages, which are pinned. So the progress thread, which cannot know, has
 * the kernel copy, which skips what is not there.
 */
void ub_mr_write_ud(struct tz_mr *mr, u64 off, const void *from, u32 len)
{
	struct ub_mr *region = ub_mr_of(mr);
	struct iovec src = { (void *)from, len };
	struct iovec dst = { region->addr + off, len };

	if (!ub_progress_is_this(ub_ctx_of(region->base.vmr.ibv_mr.context)) ||
	    (process_vm_writev(getpid(), &src, 1, &dst, 1, 0) < 0 &&
	     errno != EFAULT))
		ub_mr_write(mr, off, from, len);	/* nor if that is forbidden */
}

u64 ub_mr_atomic(struct tz_mr *mr, u64 off, enum tz_atomic_kind kind,
		 u64 compare_add, u64 swap)
{
	u64 *p = (u64 *)(ub_mr_of(mr)->addr + off);
	u64 orig = compare_add;

	if (kind == TZ_ATOMIC_FETCH_AND_ADD)
		return __atomic_fetch_add(p, compare_add, __ATOMIC_SEQ_CST);
	__atomic_compare_exchange_n(p, &orig, swap, false, __ATOMIC_SEQ_CST,
				    __ATOMIC_SEQ_CST);
	return orig;
}
