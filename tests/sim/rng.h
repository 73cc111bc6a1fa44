/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * rng.h - one seeded source of all decisions (splitmix64). A run is a function
 * of its seed: nothing else may be asked for randomness, no address and no
 * clock may decide anything.
 */
#ifndef SIM_RNG_H
#define SIM_RNG_H

#include "deps.h"

struct rng {
	u64 s;
};

static inline u64 rng_next(struct rng *r)
{
	u64 z = r->s += 0x9e3779b97f4a7c15ull;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

/* 0..n-1; 0 if n is 0. */
static inline u32 rng_below(struct rng *r, u32 n)
{
	return n ? (u32)(((rng_next(r) >> 32) * n) >> 32) : 0;
}

/* lo..hi, both included. */
static inline u32 rng_range(struct rng *r, u32 lo, u32 hi)
{
	return lo + rng_below(r, hi - lo + 1);
}

/* True @num times out of @den. */
static inline bool rng_chance(struct rng *r, u32 num, u32 den)
{
	return rng_below(r, den) < num;
}

/* 0..max, small ones and the neighbours of powers of two preferred. */
static inline u32 rng_size(struct rng *r, u32 max)
{
	u32 bits = 0, v;

	if (!max || rng_chance(r, 1, 16))
		return 0;
	if (rng_chance(r, 1, 16))
		return max;
	while (bits < 31 && (1u << bits) < max)
		bits++;
	v = 1u << rng_below(r, bits + 1);
	if (rng_chance(r, 1, 2))
		v = v / 2 + rng_below(r, v / 2 + 1);
	else
		v += rng_below(r, 3) - 1u;
	return v > max ? max : v;
}

static inline void rng_fill(struct rng *r, void *buf, u32 len)
{
	u8 *p = buf;
	u64 v;

	for (; len >= 8; len -= 8, p += 8) {
		v = rng_next(r);
		memcpy(p, &v, 8);
	}
	if (len) {
		v = rng_next(r);
		memcpy(p, &v, len);
	}
}

#endif /* SIM_RNG_H */
