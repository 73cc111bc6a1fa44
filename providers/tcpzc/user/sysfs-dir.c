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
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

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
	char path[sizeof(((struct tz_dir *)0)->path)];
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
 * Between mkdtemp() and flock() another run may take the directory for a
 * leftover; then it is gone when the lock is ours, and the next one is tried.
 */
static int create_in(struct tz_dir *dir, const char *base)
{
	int tries;

	for (tries = 0; tries < 16; tries++) {
		if (snprintf(dir->path, sizeof(dir->path), "%s/" DIR_PREFIX
			     "XXXXXX", base) >= (int)sizeof(dir->path)) {
			errno = ENAMETOOLONG;
			return -1;
		}
		if (!mkdtemp(dir->path))
			return -1;
		dir->fd = open(dir->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW |
						  O_CLOEXEC);
		if (dir->fd >= 0 && !flock(dir->fd, LOCK_EX) &&
		    is_same(dir->fd, dir->path))
			return 0;
		if (dir->fd >= 0)
			close(dir->fd);
		rmdir(dir->path);
	}
	errno = EAGAIN;
	return -1;
}

/**
 * tz_dir_create - make a private directory for a tree
 * @dir: filled in
 *
 * In memory if possible, and where only the user looks if possible. The path
 * goes into lists separated by colons and spaces, and libibverbs has 256 bytes
 * for it and what is below. Returns 0, or -1 with errno set.
 */
int tz_dir_create(struct tz_dir *dir)
{
	const char *bases[] = { getenv("XDG_RUNTIME_DIR"), "/dev/shm",
				getenv("TMPDIR"), "/tmp", "/var/tmp" };
	int first_errno = 0;
	unsigned int i;

	for (i = 0; i < sizeof(bases) / sizeof(bases[0]); i++) {
		if (!bases[i] || bases[i][0] != '/' ||
		    strpbrk(bases[i], " \t\n:;"))
			continue;
		sweep(bases[i]);
		if (!create_in(dir, bases[i]))
			return 0;
		if (!first_errno)
			first_errno = errno;
	}
	errno = first_errno;
	return -1;
}

void tz_dir_remove(struct tz_dir *dir)
{
	if (dir->fd < 0)
		return;
	empty_dir(dir->fd);
	rmdir(dir->path);
	close(dir->fd);
	dir->fd = -1;
}
