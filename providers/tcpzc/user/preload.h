/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * preload.h - internals of libtcpzc-preload.so
 *
 * User mode without touching anybody's libraries: tcpzc-run generates a sysfs
 * tree and loads this library into the program. It sits at the boundary to libc
 * and does two things:
 *
 * - paths below /sys/class/infiniband*, /dev/infiniband lead into the tree
 *   (preload-path.c);
 * - the tree's placeholder files below dev/infiniband behave as the character
 *   devices they stand for (preload-fd.c, preload-uverbs.c,
 *   preload-rdmacm.c).
 *
 * Besides, netlink sockets of RDMA answer from the tree (preload-netlink.c), regions
 * are not kept from children (preload-fork.c), and the provider is told of _exit()
 * (preload-exit.c).
 *
 * Rules. libc only; no locks and no malloc, for these functions are called from
 * signal handlers, after vfork and before main; no cost worth naming on calls
 * that are not ours; the next function of the same name is called, not the
 * kernel, so that sanitizers and other preloaded libraries see their calls.
 *
 * What is served is recognised by the inode of the placeholder and by nothing
 * else: descriptors are closed by close_range() and replaced by dup2() behind
 * our back.
 */
#ifndef TCPZC_PRELOAD_H
#define TCPZC_PRELOAD_H

#include <dlfcn.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>
#include <sys/types.h>

#define TZ_EXPORT __attribute__((visibility("default")))

/*
 * The longest path that is redirected. What lies in the tree is far shorter,
 * and a larger buffer would not fit on a small signal stack.
 */
#define TZ_PATH_LEN	512

/* As many placeholders as tcpzc-run makes at most, and rdma_cm */
#define TZ_MAX_SERVED	65

/* A placeholder and what stands behind it. */
struct tz_cdev_ops {
	/* Behaves as write(2) */
	ssize_t (*write)(int fd, const void *buf, size_t len);
};

struct tz_served {
	ino_t ino;
	dev_t rdev;
	const struct tz_cdev_ops *ops;
};

/* preload.c */
bool tz_have_tree(void);
/* Where it is; tz_have_tree() has said that there is one. */
const char *tz_tree_path(void);
const char *tz_redirect(const char *path, char buf[TZ_PATH_LEN]);
const char *tz_redirect_at(int dirfd, const char *path, char buf[TZ_PATH_LEN]);
void tz_directory_changed(void);
bool tz_is_dev(const char *path);
bool tz_is_rdmacm(const char *path);
bool tz_is_netdev_name(const char *path);
void tz_fix_errno(const char *path);
const struct tz_served *tz_find_served(dev_t dev, ino_t ino);

/* preload-fd.c */
void tz_mark_fd(int fd);

/* preload-dir.c */
bool tz_adds_entries(int dirfd, const char *path);

/* preload-env.c */
void tz_env_keep(void);

/* preload-netdev.c */
int tz_netdev_open(int fd, const char *path, int flags);

/* preload-uverbs.c */
extern const struct tz_cdev_ops tz_uverbs_ops;
void tz_uverbs_opened(void);

/* preload-rdmacm.c */
extern const struct tz_cdev_ops tz_rdmacm_ops;
int tz_rdmacm_open(int fd, int flags);
const struct tz_served *tz_rdmacm_find(dev_t dev, ino_t ino);
void tz_rdmacm_closed(const void *buf, size_t len);

/* In a struct stat or stat64 a placeholder shows as the device that it stands for. */
#define PATCH_STAT(st)                                                         \
	do {                                                                   \
		const struct tz_served *s_ =                                   \
			tz_find_served((st)->st_dev, (st)->st_ino);            \
                                                                               \
		if (s_) {                                                      \
			(st)->st_mode = S_IFCHR | 0666;                        \
			(st)->st_rdev = s_->rdev;                              \
			(st)->st_size = 0;                                     \
			(st)->st_blocks = 0;                                   \
		}                                                              \
	} while (0)

/*
 * The next definition of a function. Resolved when the library is initialised,
 * or earlier if somebody calls earlier (a sanitizer's runtime does); doing it
 * twice is harmless.
 */
#define TZ_NEXT(name)                                                          \
	static _Atomic(typeof(&name)) next_##name;                             \
	static inline typeof(&name) tz_next_##name(void)                       \
	{                                                                      \
		typeof(&name) fn = atomic_load_explicit(&next_##name,          \
							memory_order_relaxed); \
		if (__builtin_expect(!fn, 0)) {                                \
			fn = (typeof(&name))dlsym(RTLD_NEXT, #name);           \
			atomic_store_explicit(&next_##name, fn,                \
					      memory_order_relaxed);           \
		}                                                              \
		return fn;                                                     \
	}                                                                      \
	static __attribute__((constructor)) void tz_resolve_##name(void)       \
	{                                                                      \
		tz_next_##name();                                              \
	}

#endif
