// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * sysfs-dir.c - the private directory of a run, and those that killed runs left
 *
 * A run holds a lock on its directory. A directory of ours whose lock can be
 * had belongs to nobody any more.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "calls.h"
#include "sysfs.h"

#define DIR_PREFIX	"tcpzc-run."

/*
 * Removes what is below @fd. Opens nothing by a path that somebody else could
 * have put in its place.
 */
static void empty_dir(int fd)
{
	struct dirent *de;
	int sub, copy;
	DIR *dir;

	copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	dir = copy < 0 ? NULL : fdopendir(copy);
	if (!dir) {
		if (copy >= 0)
			close(copy);
		return;
	}
	rewinddir(dir);
	while ((de = readdir(dir))) {
		if (!strcmp(de->d_name, ".") || !strcmp(de->d_name, ".."))
			continue;
		if (!unlinkat(fd, de->d_name, 0))
			continue;
		sub = openat(fd, de->d_name,
			     O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (sub < 0)
			continue;
		empty_dir(sub);
		close(sub);
		unlinkat(fd, de->d_name, AT_REMOVEDIR);
	}
	closedir(dir);
}

/* Whether @path still leads to the directory that is open as @fd. */
static bool is_same(int fd, const char *path)
{
	struct stat a, b;

	return !fstat(fd, &a) && !lstat(path, &b) && a.st_dev == b.st_dev &&
	       a.st_ino == b.st_ino;
}

static void sweep_one(const char *path)
{
	struct stat st;
	int fd;

	fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return;
	if (!fstat(fd, &st) && st.st_uid == geteuid() &&
	    !flock(fd, LOCK_EX | LOCK_NB) && is_same(fd, path)) {
		empty_dir(fd);
		rmdir(path);
	}
	close(fd);
}

static void sweep(const char *base)
{
	char path[sizeof(((struct tz_dir *)0)->top)];
	struct dirent *de;
	DIR *dir = opendir(base);

	if (!dir)
		return;
	while ((de = readdir(dir)))
		if (!strncmp(de->d_name, DIR_PREFIX, strlen(DIR_PREFIX)) &&
		    snprintf(path, sizeof(path), "%s/%s", base, de->d_name) <
			    (int)sizeof(path))
			sweep_one(path);
	closedir(dir);
}

/*
 * The tree is open to everybody who knows its name: a program that is started as
 * root and gives up its rights still needs it. Other users can neither list @top
 * nor lock it, and the name cannot be guessed.
 */
static int create_tree(struct tz_dir *dir)
{
	uint64_t secret;

	if (!tz_random(&secret, sizeof(secret)) || fchmod(dir->lock, 0711))
		return -1;
	snprintf(dir->path, sizeof(dir->path), "%s/%016" PRIx64, dir->top,
		 secret);
	if (mkdir(dir->path, 0700))
		return -1;
	dir->fd = open(dir->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW |
					  O_CLOEXEC);
	return dir->fd < 0 || fchmod(dir->fd, 0755) ? -1 : 0;
}

/*
 * Between mkdtemp() and flock() another run may take the directory for a
 * leftover; then it is gone when the lock is ours, and the next one is tried.
 */
static int create_top(struct tz_dir *dir, const char *base)
{
	int tries;

	for (tries = 0; tries < 16; tries++) {
		if (snprintf(dir->top, sizeof(dir->top), "%s/" DIR_PREFIX
			     "XXXXXX", base) >= (int)sizeof(dir->top)) {
			errno = ENAMETOOLONG;
			return -1;
		}
		if (!mkdtemp(dir->top))
			return -1;
		dir->lock = open(dir->top, O_RDONLY | O_DIRECTORY | O_NOFOLLOW |
						   O_CLOEXEC);
		if (dir->lock >= 0 && !flock(dir->lock, LOCK_EX) &&
		    is_same(dir->lock, dir->top))
			return 0;
		if (dir->lock >= 0)
			close(dir->lock);
		rmdir(dir->top);
	}
	errno = EAGAIN;
	return -1;
}

/**
 * tz_dir_create - make a private directory for a tree
 * @dir: filled in
 * @base: where
 *
 * Returns 0, or -1 with errno set.
 */
int tz_dir_create(struct tz_dir *dir, const char *base)
{
	int err;

	dir->fd = -1;
	sweep(base);
	if (create_top(dir, base))
		return -1;
	if (!create_tree(dir))
		return 0;
	err = errno;
	tz_dir_remove(dir);
	errno = err;
	return -1;
}

void tz_dir_remove(struct tz_dir *dir)
{
	if (dir->fd >= 0)
		close(dir->fd);
	empty_dir(dir->lock);
	rmdir(dir->top);
	close(dir->lock);
	dir->fd = -1;
	dir->lock = -1;
}

/* ---- places -------------------------------------------------------------- */

/* Whether every user may go through @path. */
static bool is_public(const char *path)
{
	char part[sizeof(((struct tz_place *)0)->path)];
	struct stat st;
	char *slash;

	snprintf(part, sizeof(part), "%s", path);
	do {
		if (stat(part, &st) || !(st.st_mode & S_IXOTH))
			return false;
		slash = strrchr(part, '/');
		*slash = '\0';
	} while (slash != part);
	return true;
}

/*
 * The path goes into lists separated by colons and spaces, and libibverbs has 256
 * bytes for it and what is below.
 */
static void add_place(struct tz_place *places, unsigned int *num,
		      const char *path)
{
	struct tz_place *place = &places[*num];
	unsigned int i;

	if (!path || path[0] != '/' || strpbrk(path, " \t\n:;") ||
	    strlen(path) >= sizeof(place->path))
		return;
	for (i = 0; i < *num; i++)
		if (!strcmp(places[i].path, path))
			return;
	strcpy(place->path, path);
	place->err = 0;
	++*num;
}

/**
 * tz_dir_places - where a tree may be, the best place first
 * @places: filled in
 *
 * In memory if possible, and where only the user looks if possible; but root's
 * programs may become other users', so for root where these can look.
 *
 * Returns how many there are.
 */
unsigned int tz_dir_places(struct tz_place places[TZ_MAX_PLACES])
{
	const char *bases[] = { getenv("XDG_RUNTIME_DIR"), "/dev/shm",
				getenv("TMPDIR"), "/tmp", "/var/tmp", NULL,
				"/run" };
	char run[32];
	unsigned int i, num = 0;
	int pass;

	snprintf(run, sizeof(run), "/run/user/%u", (unsigned int)geteuid());
	bases[5] = run;
	for (pass = geteuid() ? 1 : 0; pass < 2; pass++)
		for (i = 0; i < sizeof(bases) / sizeof(bases[0]); i++)
			if (bases[i] && (pass || is_public(bases[i])))
				add_place(places, &num, bases[i]);
	return num;
}
