// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * tz_key.c - a keyed permutation of 32-bit numbers: a Feistel network of six
 * rounds on 16-bit halves. Not a cipher for secrets; it makes keys that do not
 * follow from each other, and rkeys are sent in the clear anyway.
 */
#include "tz_key.h"

#define TZ_KEY_ROUNDS	6

static u32 tz_key_round(const struct tz_key_secret *s, int round, u32 half)
{
	u64 x = s->k[round & 1] + (u64)round * 0x9e3779b97f4a7c15ull + half;

	x ^= x >> 32;
	x *= 0xd6e8feb86659fd93ull;
	x ^= x >> 32;
	x *= 0xd6e8feb86659fd93ull;
	return (u32)(x >> 48);
}

u32 tz_key_encode(const struct tz_key_secret *s, u32 num)
{
	u32 left = num >> 16, right = num & 0xffff;
	int i;

	for (i = 0; i < TZ_KEY_ROUNDS; i++) {
		u32 next = left ^ tz_key_round(s, i, right);

		left = right;
		right = next;
	}
	return left << 16 | right;
}

u32 tz_key_decode(const struct tz_key_secret *s, u32 key)
{
	u32 left = key >> 16, right = key & 0xffff;
	int i;

	for (i = TZ_KEY_ROUNDS - 1; i >= 0; i--) {
		u32 prev = right ^ tz_key_round(s, i, left);

		right = left;
		left = prev;
	}
	return left << 16 | right;
}
