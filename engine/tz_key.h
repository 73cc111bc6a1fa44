/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * tz_key.h - memory keys that cannot be guessed by counting.
 *
 * A region has an index in its device's table (20 bits) and a generation (12
 * bits, different each time the index is used again). The key that peers see
 * is this number under a permutation with a secret of the device, so that the
 * table is looked up in constant time while the keys in use are spread over
 * all 2^32.
 */
#ifndef TZ_KEY_H
#define TZ_KEY_H

#include "deps.h"

#define TZ_KEY_INDEX_BITS	20u
#define TZ_KEY_INDEX_MASK	((1u << TZ_KEY_INDEX_BITS) - 1)

struct tz_key_secret {
	u64 k[2];		/* random */
};

/* The key of index @num & TZ_KEY_INDEX_MASK and generation @num >> 20. */
u32 tz_key_encode(const struct tz_key_secret *s, u32 num);

/* The inverse of tz_key_encode(). */
u32 tz_key_decode(const struct tz_key_secret *s, u32 key);

#endif /* TZ_KEY_H */
