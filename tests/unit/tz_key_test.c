// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * tz_key_test.c - keys are a permutation, each secret has its own, and one key
 * says nothing about the next.
 */
#include "rng.h"
#include "unit.h"

#define MANY	(1u << 20)

static const struct tz_key_secret secret = { { 0x0123456789abcdef, 42 } };

static void test_inverse(void **state)
{
	struct rng r = { 1 };
	u32 i;

	for (i = 0; i < MANY; i++) {
		u32 v = i & 1 ? rng_next(&r) : i;

		assert_int_equal(tz_key_decode(&secret, tz_key_encode(&secret, v)), v);
		assert_int_equal(tz_key_encode(&secret, tz_key_decode(&secret, v)), v);
	}
	assert_int_equal(tz_key_decode(&secret, tz_key_encode(&secret, ~0u)), ~0u);
}

static int compare(const void *a, const void *b)
{
	u32 x = *(const u32 *)a, y = *(const u32 *)b;

	return x < y ? -1 : x > y;
}

static void test_no_two_alike(void **state)
{
	u32 *keys = malloc(MANY * sizeof(*keys)), i;

	assert_non_null(keys);
	for (i = 0; i < MANY; i++)
		keys[i] = tz_key_encode(&secret, i);
	qsort(keys, MANY, sizeof(*keys), compare);
	for (i = 1; i < MANY; i++)
		assert_true(keys[i - 1] != keys[i]);
	free(keys);
}

/* Each bit of the number changes about half of the bits of the key. */
static void test_avalanche(void **state)
{
	u32 bit, i, j;

	for (bit = 0; bit < 32; bit++) {
		u32 changed = 0, each[32] = { 0 };

		for (i = 0; i < 4096; i++) {
			u32 d = tz_key_encode(&secret, i * 2654435761u) ^
				tz_key_encode(&secret, i * 2654435761u ^ 1u << bit);

			changed += __builtin_popcount(d);
			for (j = 0; j < 32; j++)
				each[j] += d >> j & 1;
		}
		assert_in_range(changed, 4096 * 14, 4096 * 18);
		for (j = 0; j < 32; j++)
			assert_in_range(each[j], 4096 * 3 / 10, 4096 * 7 / 10);
	}
}

static void test_secrets_differ(void **state)
{
	struct tz_key_secret a = secret, b = secret;
	u32 i, same_a = 0, same_b = 0;

	a.k[0]++;
	b.k[1] ^= 1ull << 63;
	for (i = 0; i < MANY; i++) {
		u32 key = tz_key_encode(&secret, i);

		same_a += key == tz_key_encode(&a, i);
		same_b += key == tz_key_encode(&b, i);
	}
	assert_true(same_a < 8 && same_b < 8);
}

/* A region that takes the place of another has another key. */
static void test_generations(void **state)
{
	u32 gen, seen = tz_key_encode(&secret, 5);

	for (gen = 1; gen < 1u << (32 - TZ_KEY_INDEX_BITS); gen++) {
		u32 key = tz_key_encode(&secret, gen << TZ_KEY_INDEX_BITS | 5);

		assert_true(key != seen);
		assert_int_equal(tz_key_decode(&secret, key) & TZ_KEY_INDEX_MASK, 5);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_inverse),
		cmocka_unit_test(test_no_two_alike),
		cmocka_unit_test(test_avalanche),
		cmocka_unit_test(test_secrets_differ),
		cmocka_unit_test(test_generations),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
