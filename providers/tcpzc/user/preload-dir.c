// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * preload-dir.c - the directories above those that lead into the tree: what
 * readdir() lists in /sys/class and /dev
 *
 * No state belongs to a DIR but how much has been added at its end, by the number
 * of its descriptor: an entry that the kernel lists starts it anew.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>

#include "preload.h"

#define MAX_FDS		1024
#define NO_MORE		UINT8_MAX

static _Atomic uint8_t added[MAX_FDS];

/* The real directories, and what they lack; of the tree's that has @entry. */
static struct parent {
	const char *path;
	const char *entries[3];
	dev_t dev;
	ino_t ino;
	struct dirent dirents[2];
	unsigned int num;
} parents[] = {
	{ .path = "/sys/class", .entries = { "infiniband", "infiniband_verbs" } },
	{ .path = "/dev", .entries = { "infiniband" } },
};

TZ_NEXT(fstat)
TZ_NEXT(fstatat)

static void add_entry(struct parent *p, const char *name)
{
	char path[64], buf[TZ_PATH_LEN];
	struct dirent *de = &p->dirents[p->num];
	struct stat st;

	strcpy(path, p->path);
	strcat(path, "/");
	strcat(path, name);
	/* Where the kernel has RDMA they are listed already. */
	if (!tz_next_fstatat()(AT_FDCWD, path, &st, 0) ||
	    tz_next_fstatat()(AT_FDCWD, tz_redirect(path, buf), &st, 0))
		return;
	de->d_ino = st.st_ino;
	de->d_type = DT_DIR;
	de->d_reclen = sizeof(*de);
	strcpy(de->d_name, name);
	p->num++;
}

static __attribute__((constructor)) void find_parents(void)
{
	int saved_errno = errno;
	struct parent *p;
	struct stat st;
	unsigned int i, j;

	for (i = 0; tz_have_tree() && i < 2; i++) {
		p = &parents[i];
		if (tz_next_fstatat()(AT_FDCWD, p->path, &st, 0))
			continue;
		p->dev = st.st_dev;
		p->ino = st.st_ino;
		for (j = 0; p->entries[j]; j++)
			add_entry(p, p->entries[j]);
	}
	errno = saved_errno;
}

static struct parent *find_parent(const struct stat *st)
{
	unsigned int i;

	for (i = 0; i < 2; i++)
		if (parents[i].num && parents[i].dev == st->st_dev &&
		    parents[i].ino == st->st_ino)
			return &parents[i];
	return NULL;
}

/* Whether readdir() adds entries to this directory. */
bool tz_adds_entries(int dirfd, const char *path)
{
	struct stat st;

	return tz_have_tree() && !tz_next_fstatat()(dirfd, path, &st, 0) &&
	       find_parent(&st);
}

/* What comes after the last entry of the directory that is open as @fd. */
static __attribute__((noinline)) struct dirent *next_added(int fd)
{
	uint8_t n = atomic_load(&added[fd]);
	struct parent *p = NULL;
	struct stat st;

	if (n != NO_MORE && !tz_next_fstat()(fd, &st))
		p = find_parent(&st);
	if (!p || n >= p->num) {
		atomic_store(&added[fd], NO_MORE);
		return NULL;
	}
	atomic_store(&added[fd], n + 1);
	return &p->dirents[n];
}

/* struct dirent64 is the same on 64-bit systems. */
#define DEFINE_READDIR(name, type)                                             \
	TZ_NEXT(name)                                                          \
	TZ_EXPORT type *name(DIR *dir)                                         \
	{                                                                      \
		int fd, saved_errno = errno;                                   \
		type *de = tz_next_##name()(dir);                              \
                                                                               \
		if (!tz_have_tree() || (!de && errno != saved_errno))          \
			return de;                                             \
		fd = dirfd(dir);                                               \
		if ((unsigned int)fd >= MAX_FDS)                               \
			return de;                                             \
		if (!de)                                                       \
			return (type *)next_added(fd);                         \
		atomic_store_explicit(&added[fd], 0, memory_order_relaxed);    \
		return de;                                                     \
	}

DEFINE_READDIR(readdir, struct dirent)
DEFINE_READDIR(readdir64, struct dirent64)
