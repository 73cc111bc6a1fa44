// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * mpi_check.c - an MPI program that checks what it gets: messages in the order in
 * which they were sent, collective operations of all sizes, and with the argument
 * "one-sided" those, too. Each rank says how many values were wrong.
 */
#include <mpi.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_INTS	(1 << 18)
#define MESSAGES	500
#define ADDS		100

static int rank, ranks;
static long wrong;

static int *ints(long n)
{
	int *p = calloc(n, sizeof(*p));

	if (!p) {
		fprintf(stderr, "no memory\n");
		MPI_Abort(MPI_COMM_WORLD, 2);
	}
	return p;
}

/* Everybody to everybody, many at a time, in order. */
static void check_messages(void)
{
	int i, from, value, *next = ints(ranks), *sent = ints(ranks * MESSAGES);
	MPI_Request *requests = calloc(ranks * MESSAGES, sizeof(*requests));
	MPI_Status status;

	for (i = 0; i < ranks * MESSAGES; i++) {
		sent[i] = i / ranks;
		MPI_Isend(&sent[i], 1, MPI_INT, i % ranks, 7, MPI_COMM_WORLD,
			  &requests[i]);
	}
	for (i = 0; i < ranks * MESSAGES; i++) {
		MPI_Recv(&value, 1, MPI_INT, MPI_ANY_SOURCE, 7, MPI_COMM_WORLD,
			 &status);
		from = status.MPI_SOURCE;
		wrong += value != next[from]++;
	}
	MPI_Waitall(ranks * MESSAGES, requests, MPI_STATUSES_IGNORE);
	free(requests);
	free(next);
	free(sent);
}

static void check_alltoall(int len)
{
	int i, k, *out = ints((long)len * ranks), *in = ints((long)len * ranks);

	for (i = 0; i < ranks; i++)
		for (k = 0; k < len; k++)
			out[(long)i * len + k] = rank * 7 + i * 3 + k;
	MPI_Alltoall(out, len, MPI_INT, in, len, MPI_INT, MPI_COMM_WORLD);
	for (i = 0; i < ranks; i++)
		for (k = 0; k < len; k++)
			wrong += in[(long)i * len + k] != i * 7 + rank * 3 + k;
	free(out);
	free(in);
}

static void check_allreduce(int len)
{
	int k, *mine = ints(len), *sum = ints(len);

	for (k = 0; k < len; k++)
		mine[k] = rank + k;
	MPI_Allreduce(mine, sum, len, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
	for (k = 0; k < len; k++)
		wrong += sum[k] != ranks * k + ranks * (ranks - 1) / 2;
	free(mine);
	free(sum);
}

/* Round the ring: put to the next, get from the one before, add to the first. */
static void check_one_sided(int len)
{
	int next = (rank + 1) % ranks, before = (rank + ranks - 1) % ranks;
	int k, one = 1, old, *window, *mine = ints(len), *got = ints(len);
	MPI_Win win;

	MPI_Win_allocate((MPI_Aint)(2 * len + 1) * sizeof(int), sizeof(int),
			 MPI_INFO_NULL, MPI_COMM_WORLD, &window, &win);
	MPI_Win_fence(0, win);
	window[2 * len] = 0;
	for (k = 0; k < len; k++) {
		mine[k] = rank * 5 + k;
		window[len + k] = rank * 11 + k;
	}
	MPI_Win_fence(0, win);
	MPI_Put(mine, len, MPI_INT, next, 0, len, MPI_INT, win);
	MPI_Get(got, len, MPI_INT, before, len, len, MPI_INT, win);
	MPI_Win_fence(0, win);
	for (k = 0; k < len; k++)
		wrong += (window[k] != before * 5 + k) +
			 (got[k] != before * 11 + k);
	MPI_Win_fence(0, win);
	MPI_Win_lock_all(0, win);
	for (k = 0; k < ADDS; k++) {
		MPI_Fetch_and_op(&one, &old, MPI_INT, 0, 2 * len, MPI_SUM, win);
		MPI_Win_flush(0, win);
	}
	MPI_Win_unlock_all(win);
	MPI_Barrier(MPI_COMM_WORLD);
	MPI_Win_lock(MPI_LOCK_SHARED, 0, 0, win);
	MPI_Get(&old, 1, MPI_INT, 0, 2 * len, 1, MPI_INT, win);
	MPI_Win_unlock(0, win);
	wrong += old != ADDS * ranks;
	MPI_Win_free(&win);
	free(mine);
	free(got);
}

int main(int argc, char **argv)
{
	bool one_sided = argc > 1 && !strcmp(argv[1], "one-sided");
	int len;

	MPI_Init(&argc, &argv);
	MPI_Comm_rank(MPI_COMM_WORLD, &rank);
	MPI_Comm_size(MPI_COMM_WORLD, &ranks);
	check_messages();
	for (len = 1; len <= MAX_INTS; len *= 8) {
		check_alltoall(len);
		check_allreduce(len);
		if (one_sided)
			check_one_sided(len);
	}
	printf("rank %d of %d: %ld wrong\n", rank, ranks, wrong);
	MPI_Finalize();
	return wrong ? 1 : 0;
}
