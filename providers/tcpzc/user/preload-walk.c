// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * preload-walk.c - the functions that read directories inside libc
 *
 * scandir() and glob() list what readdir() does (preload-dir.c). nftw() and fts walk
 * the tree when they begin in it: from /sys/class, /dev and above they do not come
 * there. The stat that nftw() hands over has the tree's placeholder, not the device.
 */
#define _GNU_SOURCE
#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <ftw.h>
#include <glob.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "preload.h"

/* ---- scandir ------------------------------------------------------------- */

typedef int (*filter_fn)(const struct dirent *de);
typedef int (*compar_fn)(const struct dirent **a, const struct dirent **b);

struct listing {
	struct dirent **entries;
	size_t num, room;
};

static bool add_to(struct listing *l, const struct dirent *de)
{
	size_t room = l->room ? 2 * l->room : 32;
	struct dirent **entries;

	if (l->num == l->room) {
		entries = reallocarray(l->entries, room, sizeof(*entries));
		if (!entries)
			return false;
		l->entries = entries;
		l->room = room;
	}
	l->entries[l->num] = malloc(de->d_reclen);
	if (!l->entries[l->num])
		return false;
	memcpy(l->entries[l->num++], de, de->d_reclen);
	return true;
}

/* Returns 0 or an errno. The caller frees the entries of either case. */
static int read_all(DIR *dir, struct listing *l, filter_fn filter)
{
	struct dirent *de;

	for (;;) {
		errno = 0;
		de = readdir(dir);
		if (!de)
			return errno;
		if ((!filter || filter(de)) && !add_to(l, de))
			return ENOMEM;
	}
}

/* scandirat() by readdir(), which adds what is ours. */
static int scan(int dirfd, const char *path, struct dirent ***list,
		filter_fn filter, compar_fn compar)
{
	int fd = openat(dirfd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	int saved_errno = errno, err;
	struct listing l = { 0 };

	if (!dir) {
		if (fd >= 0)
			close(fd);
		errno = saved_errno;
		return -1;
	}
	err = read_all(dir, &l, filter);
	closedir(dir);
	if (err) {
		while (l.num)
			free(l.entries[--l.num]);
		free(l.entries);
		errno = err;
		return -1;
	}
	if (compar && l.num)
		qsort(l.entries, l.num, sizeof(*l.entries),
		      (int (*)(const void *, const void *))compar);
	*list = l.entries;
	errno = saved_errno;
	return l.num;
}

/* struct dirent64 is the same on 64-bit systems. */
#define DEFINE_SCANDIR(name, type)                                             \
	TZ_NEXT(name)                                                          \
	TZ_EXPORT int name(const char *path, type ***list,                     \
			   int (*filter)(const type *),                        \
			   int (*compar)(const type **, const type **))        \
	{                                                                      \
		char buf[TZ_PATH_LEN];                                         \
                                                                               \
		path = tz_redirect(path, buf);                                 \
		if (tz_adds_entries(AT_FDCWD, path))                           \
			return scan(AT_FDCWD, path, (struct dirent ***)list,   \
				    (filter_fn)filter, (compar_fn)compar);     \
		return tz_next_##name()(path, list, filter, compar);           \
	}

#define DEFINE_SCANDIRAT(name, type)                                           \
	TZ_NEXT(name)                                                          \
	TZ_EXPORT int name(int dirfd, const char *path, type ***list,          \
			   int (*filter)(const type *),                        \
			   int (*compar)(const type **, const type **))        \
	{                                                                      \
		char buf[TZ_PATH_LEN];                                         \
                                                                               \
		path = tz_redirect_at(dirfd, path, buf);                       \
		if (tz_adds_entries(dirfd, path))                              \
			return scan(dirfd, path, (struct dirent ***)list,      \
				    (filter_fn)filter, (compar_fn)compar);     \
		return tz_next_##name()(dirfd, path, list, filter, compar);    \
	}

DEFINE_SCANDIR(scandir, struct dirent)
DEFINE_SCANDIR(scandir64, struct dirent64)
DEFINE_SCANDIRAT(scandirat, struct dirent)
DEFINE_SCANDIRAT(scandirat64, struct dirent64)

/* ---- glob ---------------------------------------------------------------- */

static void *open_for_glob(const char *path)
{
	return opendir(path);
}

static struct dirent *read_for_glob(void *dir)
{
	return readdir(dir);
}

static void close_for_glob(void *dir)
{
	closedir(dir);
}

static bool may_be_ours(const char *pattern)
{
	return tz_have_tree() &&
	       (strstr(pattern, "inf") || !strncmp(pattern, "/sys", 4) ||
		!strncmp(pattern, "/dev", 4));
}

TZ_NEXT(glob)
TZ_EXPORT int glob(const char *pattern, int flags,
		   int (*failed)(const char *path, int err), glob_t *g)
{
	if (!(flags & GLOB_ALTDIRFUNC) && may_be_ours(pattern)) {
		flags |= GLOB_ALTDIRFUNC;
		g->gl_opendir = open_for_glob;
		g->gl_readdir = read_for_glob;
		g->gl_closedir = close_for_glob;
		g->gl_stat = stat;
		g->gl_lstat = lstat;
	}
	return tz_next_glob()(pattern, flags, failed, g);
}

TZ_EXPORT int glob64(const char *pattern, int flags,
		     int (*failed)(const char *path, int err), glob64_t *g)
{
	static_assert(sizeof(glob64_t) == sizeof(glob_t), "of 64-bit systems");
	return glob(pattern, flags, failed, (glob_t *)g);
}

/* ---- walks: they report the tree's paths, which are as good ---------------- */

TZ_NEXT(nftw)
TZ_EXPORT int nftw(const char *path, __nftw_func_t fn, int fds, int flags)
{
	char buf[TZ_PATH_LEN];

	return tz_next_nftw()(tz_redirect(path, buf), fn, fds, flags);
}

TZ_NEXT(nftw64)
TZ_EXPORT int nftw64(const char *path, __nftw64_func_t fn, int fds, int flags)
{
	char buf[TZ_PATH_LEN];

	return tz_next_nftw64()(tz_redirect(path, buf), fn, fds, flags);
}

TZ_NEXT(ftw)
TZ_EXPORT int ftw(const char *path, __ftw_func_t fn, int fds)
{
	char buf[TZ_PATH_LEN];

	return tz_next_ftw()(tz_redirect(path, buf), fn, fds);
}

TZ_NEXT(ftw64)
TZ_EXPORT int ftw64(const char *path, __ftw64_func_t fn, int fds)
{
	char buf[TZ_PATH_LEN];

	return tz_next_ftw64()(tz_redirect(path, buf), fn, fds);
}

static void free_paths(char **paths)
{
	int saved_errno = errno;
	size_t i;

	for (i = 0; paths[i]; i++)
		free(paths[i]);
	free(paths);
	errno = saved_errno;
}

/* Copies of @paths, redirected; or NULL. */
static char **redirect_all(char *const *paths)
{
	char buf[TZ_PATH_LEN];
	char **to;
	size_t i, n = 0;

	while (paths[n])
		n++;
	to = calloc(n + 1, sizeof(*to));
	for (i = 0; to && i < n; i++) {
		to[i] = strdup(tz_redirect(paths[i], buf));
		if (!to[i]) {
			free_paths(to);
			return NULL;
		}
	}
	return to;
}

/*
 * fts looks at files inside libc. FTS64 is the same as FTS on 64-bit systems, but has
 * another name.
 */
#define DEFINE_FTS(prefix, fts, ftsent)                                        \
	static ftsent *prefix##_device(ftsent *e)                              \
	{                                                                      \
		if (!e || e->fts_info != FTS_F)                                \
			return e;                                              \
		PATCH_STAT(e->fts_statp);                                      \
		if (S_ISCHR(e->fts_statp->st_mode))                            \
			e->fts_info = FTS_DEFAULT;                             \
		return e;                                                      \
	}                                                                      \
                                                                               \
	TZ_NEXT(prefix##_open)                                                 \
	TZ_EXPORT fts *prefix##_open(char *const *paths, int options,          \
				     int (*compar)(const ftsent **,            \
						   const ftsent **))           \
	{                                                                      \
		char **to = redirect_all(paths);                               \
		fts *walk;                                                     \
                                                                               \
		if (!to)                                                       \
			return NULL;                                           \
		walk = tz_next_##prefix##_open()(to, options, compar);         \
		free_paths(to);                                                \
		return walk;                                                   \
	}                                                                      \
                                                                               \
	TZ_NEXT(prefix##_read)                                                 \
	TZ_EXPORT ftsent *prefix##_read(fts *walk)                             \
	{                                                                      \
		return prefix##_device(tz_next_##prefix##_read()(walk));       \
	}                                                                      \
                                                                               \
	TZ_NEXT(prefix##_children)                                             \
	TZ_EXPORT ftsent *prefix##_children(fts *walk, int options)            \
	{                                                                      \
		ftsent *e, *first;                                             \
                                                                               \
		first = tz_next_##prefix##_children()(walk, options);          \
		for (e = first; e; e = e->fts_link)                            \
			prefix##_device(e);                                    \
		return first;                                                  \
	}

DEFINE_FTS(fts, FTS, FTSENT)
DEFINE_FTS(fts64, FTS64, FTSENT64)
