/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * deps.h - the one place where the engine knows whether it is compiled into
 * the kernel module or into the user-mode provider.
 *
 * Everything the engine needs from its surroundings: fixed-width types,
 * little-endian conversion, memcpy and friends, compiler hints, and acquire
 * and release accesses for memory shared with the application.
 */
#ifndef TZ_DEPS_H
#define TZ_DEPS_H

#ifdef __KERNEL__

#include <linux/build_bug.h>
#include <linux/compiler.h>
#include <linux/kernel.h>
#include <linux/minmax.h>
#include <linux/stddef.h>
#include <linux/string.h>
#include <linux/types.h>
#include <linux/atomic.h>
#include <asm/barrier.h>
#include <asm/byteorder.h>

#define tz_load_acquire(p)	smp_load_acquire(p)
#define tz_store_release(p, v)	smp_store_release(p, v)
#define tz_load_once(p)		READ_ONCE(*(p))
#define tz_store_once(p, v)	WRITE_ONCE(*(p), v)
#define tz_exchange(p, v)	xchg(p, v)
#define tz_assert(cond)		((void)WARN_ON_ONCE(!(cond)))
#define tz_likely(x)		likely(x)
#define tz_unlikely(x)		unlikely(x)
#define tz_min(a, b)		min(a, b)

#else

#include <assert.h>
#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <linux/types.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int32_t s32;
typedef int64_t s64;

#define tz_likely(x)	__builtin_expect(!!(x), 1)
#define tz_unlikely(x)	__builtin_expect(!!(x), 0)

#define tz_load_acquire(p)	__atomic_load_n(p, __ATOMIC_ACQUIRE)
#define tz_store_release(p, v)	__atomic_store_n(p, v, __ATOMIC_RELEASE)
#define tz_load_once(p)		__atomic_load_n(p, __ATOMIC_RELAXED)
#define tz_store_once(p, v)	__atomic_store_n(p, v, __ATOMIC_RELAXED)
/* Exchange; a full barrier on both sides. */
#define tz_exchange(p, v)	__atomic_exchange_n(p, v, __ATOMIC_SEQ_CST)
#define tz_assert(cond)		assert(cond)
#define tz_min(a, b)			\
	({ __typeof__(a) a_ = (a); __typeof__(b) b_ = (b); a_ < b_ ? a_ : b_; })

static inline u16 tz_le16_to_cpu(__le16 v) { return le16toh(v); }
static inline u32 tz_le32_to_cpu(__le32 v) { return le32toh(v); }
static inline u64 tz_le64_to_cpu(__le64 v) { return le64toh(v); }
static inline __le16 tz_cpu_to_le16(u16 v) { return htole16(v); }
static inline __le32 tz_cpu_to_le32(u32 v) { return htole32(v); }
static inline __le64 tz_cpu_to_le64(u64 v) { return htole64(v); }

#endif

#ifdef __KERNEL__
#define tz_le16_to_cpu(v)	le16_to_cpu(v)
#define tz_le32_to_cpu(v)	le32_to_cpu(v)
#define tz_le64_to_cpu(v)	le64_to_cpu(v)
#define tz_cpu_to_le16(v)	cpu_to_le16(v)
#define tz_cpu_to_le32(v)	cpu_to_le32(v)
#define tz_cpu_to_le64(v)	cpu_to_le64(v)
#else
#define __force
#endif

/* Immediate data is in network byte order everywhere, and carried untouched. */
static inline __be32 tz_imm_to_wire(u32 imm) { return (__force __be32)imm; }
static inline u32 tz_imm_from_wire(__be32 imm) { return (__force u32)imm; }

/*
 * Copy out of memory that somebody else may write at the same time. What is
 * validated afterwards is the copy: the compiler must not read again.
 */
static inline void tz_copy_once(void *dst, const void *src, size_t bytes)
{
	memcpy(dst, src, bytes);
	__asm__ __volatile__("" : : "r"(dst) : "memory");
}

#define TZ_ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))

#endif /* TZ_DEPS_H */
