// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * preload.c - where the tree is, and what lies in it
 */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "preload.h"
#include "start-cpus.h"
#include "tcpzc-ids.h"

struct tree {
	char path[256];
	size_t len;
	dev_t dev;
	unsigned int num_served;
	struct tz_served served[TZ_MAX_SERVED];
};

static struct tree tree;

/*
 * 0: not looked yet, 1: there is a tree, -1: there is none. Store-release in
 * tz_init() pairs with the load-acquire in tz_have_tree().
 */
static atomic_int tree_state;

TZ_NEXT(fstatat)

static bool add_served(struct tree *t, const char *name, dev_t rdev,
		       const struct tz_cdev_ops *ops)
{
	char path[TZ_PATH_LEN];
	struct stat st;

	if (t->num_served == TZ_MAX_SERVED)
		return false;
	if (snprintf(path, sizeof(path), "%s/dev/infiniband/%s", t->path,
		     name) >= (int)sizeof(path))
		return false;
	if (tz_next_fstatat()(AT_FDCWD, path, &st, AT_SYMLINK_NOFOLLOW))
		return false;
	t->dev = st.st_dev;
	t->served[t->num_served++] = (struct tz_served){ st.st_ino, rdev, ops };
	return true;
}

TZ_NEXT(secure_getenv)

static bool find_tree(struct tree *t)
{
	const char *path = tz_next_secure_getenv()(TCPZC_ENV_TREE);
	char name[16];
	int i;

	if (!path || path[0] != '/' || strlen(path) >= sizeof(t->path))
		return false;
	memset(t, 0, sizeof(*t));
	strcpy(t->path, path);
	t->len = strlen(path);
	add_served(t, "rdma_cm",
		   makedev(TCPZC_RDMACM_MAJOR, TCPZC_RDMACM_MINOR),
		   &tz_rdmacm_ops);
	for (i = 0;; i++) {
		snprintf(name, sizeof(name), "uverbs%d", i);
		if (!add_served(t, name,
				makedev(TCPZC_UVERBS_MAJOR,
					TCPZC_UVERBS_MINOR + i),
				&tz_uverbs_ops))
			return true;
	}
}

/*
 * Usually from the constructor, but calls may come earlier, and even from
 * several threads then: each finds the same and stores the same.
 */
static void tz_init(void)
{
	int saved_errno = errno;
	struct tree found;

	/* Too early if libc has not taken over the environment yet. */
	if (atomic_load(&tree_state) || !environ)
		return;
	if (find_tree(&found)) {
		tree = found;
		tz_env_keep();
		atomic_store_explicit(&tree_state, 1, memory_order_release);
	} else {
		atomic_store_explicit(&tree_state, -1, memory_order_release);
	}
	errno = saved_errno;
}

static struct tz_start_cpus start_cpus;
static bool know_cpus;

/* This is before main(): of the process, whatever its threads do later. */
static __attribute__((constructor)) void tz_constructor(void)
{
	int saved_errno = errno;

	tz_init();
	know_cpus = !sched_getaffinity(0, sizeof(start_cpus.bits),
				       (cpu_set_t *)start_cpus.bits);
	errno = saved_errno;
}

TZ_EXPORT bool tcpzc_start_cpus(struct tz_start_cpus *cpus)
{
	*cpus = start_cpus;
	return know_cpus;
}

bool tz_have_tree(void)
{
	int state = atomic_load_explicit(&tree_state, memory_order_acquire);

	if (__builtin_expect(!state, 0)) {
		tz_init();
		state = atomic_load_explicit(&tree_state, memory_order_acquire);
	}
	return state > 0;
}

const char *tz_tree_path(void)
{
	return tree.path;
}

/*
 * If @path is @prefix or below it, the rest after @prefix. Several slashes are
 * as good as one.
 */
static const char *below(const char *path, const char *prefix)
{
	while (*prefix) {
		if (*path++ != *prefix)
			return NULL;
		if (*prefix++ == '/')
			while (*path == '/')
				path++;
	}
	return *path == '/' || !*path ? path : NULL;
}

static const char *const redirected[] = {
	"/sys/class/infiniband",
	"/sys/class/infiniband_verbs",
	"/dev/infiniband",
};

/* The real path @path in the tree, or NULL if it has none there. */
static const char *in_tree(const char *path, char buf[TZ_PATH_LEN])
{
	const char *from, *rest = NULL;
	unsigned int i;
	int n;

	for (i = 0; i < sizeof(redirected) / sizeof(redirected[0]); i++) {
		rest = below(path, redirected[i]);
		if (rest)
			break;
	}
	if (!rest || !strncmp(rest, "/..", 3))
		return NULL;

	/* The tree's layout: without /sys, but with /dev */
	from = redirected[i];
	if (from[1] == 's')
		from += sizeof("/sys") - 1;
	n = snprintf(buf, TZ_PATH_LEN, "%s%s%s", tree.path, from, rest);
	return n < TZ_PATH_LEN ? buf : NULL;
}

/* Takes "." and ".." out of @path, which begins with a slash. */
static void normalise(char *path)
{
	const char *from = path;
	char *to = path;
	size_t len;

	while (*from) {
		from += strspn(from, "/");
		len = strcspn(from, "/");
		if (len == 2 && !memcmp(from, "..", 2)) {
			while (to > path && *--to != '/')
				;
		} else if (len && !(len == 1 && *from == '.')) {
			*to++ = '/';
			memmove(to, from, len);
			to += len;
		}
		from += len;
	}
	if (to == path)
		*to++ = '/';
	*to = '\0';
}

/* Of the form /sys/class/infiniband/../net */
static bool leaves_tree(const char *path)
{
	const char *rest;
	unsigned int i;

	for (i = 0; i < sizeof(redirected) / sizeof(redirected[0]); i++) {
		rest = below(path, redirected[i]);
		if (rest && !strncmp(rest, "/..", 3))
			return true;
	}
	return false;
}

static const char *redirect_absolute(const char *path, char buf[TZ_PATH_LEN])
{
	const char *to = in_tree(path, buf);
	char real[TZ_PATH_LEN];

	if (to || !strstr(path, "/.") || !strstr(path, "infiniband") ||
	    strlen(path) >= sizeof(real))
		return to ? to : path;
	strcpy(real, path);
	normalise(real);
	to = in_tree(real, buf);
	/* What leads out again, to where the kernel has no way. */
	if (!to && leaves_tree(path))
		to = strcpy(buf, real);
	return to ? to : path;
}

TZ_NEXT(readlink)

/* Where a relative path begins, as programs know the place. */
static bool real_base(int dirfd, char base[TZ_PATH_LEN], bool *is_tree)
{
	char link[32];
	ssize_t n;

	if (dirfd == AT_FDCWD) {
		n = syscall(SYS_getcwd, base, TZ_PATH_LEN) - 1;
	} else {
		snprintf(link, sizeof(link), "/proc/self/fd/%d", dirfd);
		n = tz_next_readlink()(link, base, TZ_PATH_LEN - 1);
	}
	if (n <= 0 || base[0] != '/')
		return false;
	base[n] = '\0';
	*is_tree = !strncmp(base, tree.path, tree.len) && base[tree.len] == '/';
	if (!*is_tree)
		return true;
	n -= tree.len;
	if (below(base + tree.len, "/class")) {
		memmove(base + 4, base + tree.len, n + 1);
		memcpy(base, "/sys", 4);
		return true;
	}
	memmove(base, base + tree.len, n + 1);
	return below(base, "/dev");
}

/*
 * @path from a directory above the tree's, or from one of the tree's: what leads
 * into the tree, what out of it, and devices.
 */
static __attribute__((noinline)) const char *
redirect_relative(int dirfd, const char *path, char buf[TZ_PATH_LEN])
{
	int saved_errno = errno;
	char real[2 * TZ_PATH_LEN];
	const char *to = NULL;
	bool is_tree;
	size_t len;

	if (real_base(dirfd, real, &is_tree) &&
	    strlen(path) < TZ_PATH_LEN) {
		len = strlen(real);
		snprintf(real + len, sizeof(real) - len, "/%s", path);
		normalise(real);
		to = in_tree(real, buf);
		if (!to && is_tree && strlen(real) < TZ_PATH_LEN)
			to = strcpy(buf, real);
	}
	errno = saved_errno;
	return to ? to : path;
}

/*
 * Whether the working directory may be in the tree, so that ".." has to be looked
 * at. Inherited from whoever executed us, or changed since.
 */
static atomic_bool may_be_inside = true;

void tz_directory_changed(void)
{
	int saved_errno = errno;
	char base[TZ_PATH_LEN];
	bool is_tree = false;

	if (!tz_have_tree())
		return;
	real_base(AT_FDCWD, base, &is_tree);
	atomic_store(&may_be_inside, is_tree);
	errno = saved_errno;
}

static bool names_ours(int dirfd, const char *path)
{
	if (path[0] == '.' && path[1] == '.' &&
	    (dirfd != AT_FDCWD || atomic_load(&may_be_inside)))
		return true;
	return strstr(path, "infiniband") || strstr(path, "uverbs") ||
	       strstr(path, "rdma_cm");
}

/**
 * tz_redirect_at - the path to use in place of @path
 * @dirfd: where it begins if it is relative
 * @path: what the program asks for; may be NULL
 * @buf: room for the answer
 *
 * Returns @path itself when it is none of ours, @buf otherwise.
 */
const char *tz_redirect_at(int dirfd, const char *path, char buf[TZ_PATH_LEN])
{
	const char *from;

	/* Nearly every path ends here, or at names_ours(). */
	if (!path || !*path)
		return path;
	if (path[0] != '/')
		return tz_have_tree() && names_ours(dirfd, path) ?
			       redirect_relative(dirfd, path, buf) : path;
	from = path + 1;
	while (*from == '/')
		from++;
	if ((from[0] != 's' && from[0] != 'd') || !tz_have_tree())
		return path;
	return redirect_absolute(path, buf);
}

const char *tz_redirect(const char *path, char buf[TZ_PATH_LEN])
{
	return tz_redirect_at(AT_FDCWD, path, buf);
}

/* Whether @path, already redirected, lies below dev/infiniband. */
bool tz_is_dev(const char *path)
{
	return tz_have_tree() && !strncmp(path, tree.path, tree.len) &&
	       !strncmp(path + tree.len, "/dev/", 5);
}

/* The same for the connection manager's device. */
bool tz_is_rdmacm(const char *path)
{
	return !strcmp(path + tree.len, "/dev/infiniband/rdma_cm");
}

/* Whether @path, redirected or not, is a GID's with its interface's name. */
bool tz_is_netdev_name(const char *path)
{
	return tz_have_tree() && !strncmp(path, tree.path, tree.len) &&
	       strstr(path, "/gid_attrs/ndevs/");
}

/**
 * tz_fix_errno - correct errno after a failed open
 * @path: the path that was opened, redirected or not
 *
 * The kernel answers EINVAL to a read of gid_attrs/{types,ndevs}/N where GID N
 * is not set, and libibverbs takes EINVAL, and nothing else, for "no entry"
 * (query_sysfs_gid_type()): with another errno ibv_query_gid_table() fails.
 */
void tz_fix_errno(const char *path)
{
	if (errno != ENOENT || !path || !tz_have_tree())
		return;
	if (!strncmp(path, tree.path, tree.len) && strstr(path, "/gid_attrs/"))
		errno = EINVAL;
}

const struct tz_served *tz_find_served(dev_t dev, ino_t ino)
{
	unsigned int i;

	if (!tz_have_tree())
		return NULL;
	if (dev != tree.dev)
		return tz_rdmacm_find(dev, ino);
	for (i = 0; i < tree.num_served; i++)
		if (tree.served[i].ino == ino)
			return &tree.served[i];
	return NULL;
}
