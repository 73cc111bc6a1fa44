// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * main.c - sim [--seed N] [--runs M] [--kind NAME] [--seconds S] [--verbose]
 */
#include <getopt.h>
#include <time.h>

#include "sim.h"

static const char *const sim_kinds[SIM_KINDS] = {
	"clean", "rnr", "fault", "chaos", "dereg", "stall", "ring", "attack",
	"uc"
};

static void on_fail(void)
{
	if (!sim_now)
		return;
	fprintf(stderr, "sim: failed at step %llu, %llu ns; to see it again:\n"
		"  sim --seed %llu --runs 1 --kind %s --verbose\n",
		(unsigned long long)sim_now->steps,
		(unsigned long long)sim_now->now,
		(unsigned long long)sim_now->seed,
		sim_kinds[sim_now->cfg.kind]);
}

/* Sanitizers end the process themselves; say the seed then, too. */
void __asan_on_error(void);
void __asan_on_error(void)
{
	on_fail();
}

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static int usage(const char *name)
{
	u32 i;

	fprintf(stderr, "usage: %s [--seed N] [--runs M] [--seconds S] [--kind KIND] [--verbose]\nkinds:",
		name);
	for (i = 0; i < SIM_KINDS; i++)
		fprintf(stderr, " %s", sim_kinds[i]);
	fputc('\n', stderr);
	return 2;
}

static int kind_of(const char *name)
{
	u32 i;

	for (i = 0; i < SIM_KINDS; i++)
		if (!strcmp(name, sim_kinds[i]))
			return i;
	return -1;
}

static void report(const struct sim *s, u64 runs, double took)
{
	u32 i;

	printf("%llu schedules in %.1f s (%.0f/s): %llu steps, %llu work requests, %llu PDUs, %llu completions, %llu QPs in error, %llu RNR NAKs; calls %llu taken, %llu parked, %llu refused, %llu of strangers, %llu given up; statuses",
	       (unsigned long long)runs, took, runs / took,
	       (unsigned long long)s->sum_steps, (unsigned long long)s->sum_wr,
	       (unsigned long long)s->sum_pdus, (unsigned long long)s->sum_cqes,
	       (unsigned long long)s->sum_errors, (unsigned long long)s->sum_rnr,
	       (unsigned long long)(s->sum_calls[TZ_CALL_TAKEN] +
				    s->sum_calls[TZ_CALL_OWN]),
	       (unsigned long long)s->sum_calls[TZ_CALL_PARKED],
	       (unsigned long long)s->sum_calls[TZ_CALL_REFUSED],
	       (unsigned long long)s->sum_strangers,
	       (unsigned long long)s->sum_given_up);
	for (i = 0; i < 32; i++)
		if (s->statuses[i])
			printf(" %u:%llu", i, (unsigned long long)s->statuses[i]);
	putchar('\n');
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "seed",	required_argument, NULL, 's' },
		{ "runs",	required_argument, NULL, 'r' },
		{ "seconds",	required_argument, NULL, 't' },
		{ "kind",	required_argument, NULL, 'k' },
		{ "verbose",	no_argument,	   NULL, 'v' },
		{ NULL }
	};
	static struct sim s;
	u64 seed = 1, runs = 1000, i;
	double limit = 0, start = seconds();
	int c, kind = -1;

	while ((c = getopt_long(argc, argv, "s:r:t:k:v", options, NULL)) != -1) {
		switch (c) {
		case 's':
			seed = strtoull(optarg, NULL, 0);
			break;
		case 'r':
			runs = strtoull(optarg, NULL, 0);
			break;
		case 't':
			limit = strtod(optarg, NULL);
			runs = ~0ull;
			break;
		case 'k':
			kind = kind_of(optarg);
			if (kind < 0)
				return usage(argv[0]);
			break;
		case 'v':
			s.verbose = true;
			break;
		default:
			return usage(argv[0]);
		}
	}
	bed_on_fail = on_fail;
	for (i = 0; i < runs; i++) {
		if (limit && seconds() - start > limit)
			break;
		sim_run(&s, seed + i, kind);
	}
	report(&s, i, seconds() - start);
	return 0;
}
