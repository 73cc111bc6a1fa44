// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * preload-path.c - the functions that take a path
 *
 * Functions of libc call each other inside libc, not through these: each one a
 * program may use has to be listed.
 *
 *   open, openat, fopen (and their 64, _2)     lead to the tree, or a device
 *   stat, lstat, fstat, fstatat, statx         say that a device is one
 *   access, euidaccess, faccessat, [l]getxattr, [l]listxattr, readlink, readlinkat,
 *   realpath, canonicalize_file_name, opendir, chdir, fchdir
 *   readdir                                    preload-dir.c
 *   scandir, scandirat, glob, nftw, ftw, fts   preload-walk.c
 *
 * Paths may be absolute, or relative to the working directory or a descriptor
 * (tz_redirect_at()).
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "preload.h"

/* glibc exports these but declares them only under other feature macros */
int __open_2(const char *path, int flags);
int __open64_2(const char *path, int flags);
int __openat_2(int dirfd, const char *path, int flags);
int __openat64_2(int dirfd, const char *path, int flags);
int __xstat(int ver, const char *path, struct stat *st);
int __xstat64(int ver, const char *path, struct stat64 *st);
int __lxstat(int ver, const char *path, struct stat *st);
int __lxstat64(int ver, const char *path, struct stat64 *st);
int __fxstat(int ver, int fd, struct stat *st);
int __fxstat64(int ver, int fd, struct stat64 *st);
int __fxstatat(int ver, int dirfd, const char *path, struct stat *st,
	       int flags);
int __fxstatat64(int ver, int dirfd, const char *path, struct stat64 *st,
		 int flags);
char *__realpath_chk(const char *path, char *resolved, size_t len);
ssize_t __readlink_chk(const char *path, char *buf, size_t n, size_t len);
ssize_t __readlinkat_chk(int dirfd, const char *path, char *buf, size_t n,
			 size_t len);

/* open */

/*
 * A placeholder is opened for reading whatever is asked for, so that a write
 * that does not come through preload-fd.c fails instead of looking served.
 */
static int dev_flags(int flags)
{
	return (flags &
		(O_CLOEXEC | O_NONBLOCK | O_PATH | O_DIRECTORY | O_NOFOLLOW)) |
	       O_RDONLY;
}

static int after_open(int fd, const char *path, bool is_dev, int flags)
{
	if (fd < 0) {
		tz_fix_errno(path);
		return fd;
	}
	if (tz_is_netdev_name(path))
		return tz_netdev_open(fd, path, flags);
	if (is_dev && !(flags & O_PATH) && tz_is_rdmacm(path))
		fd = tz_rdmacm_open(fd, flags);
	else if (is_dev && !(flags & O_PATH))
		tz_uverbs_opened();
	if (is_dev && fd >= 0)
		tz_mark_fd(fd);
	return fd;
}

static mode_t open_mode(int flags, va_list ap)
{
	if (flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE)
		return va_arg(ap, mode_t);
	return 0;
}

#define DEFINE_OPEN(name)                                                      \
	TZ_NEXT(name)                                                          \
	TZ_EXPORT int name(const char *path, int flags, ...)                   \
	{                                                                      \
		char buf[TZ_PATH_LEN];                                         \
		const char *to = tz_redirect(path, buf);                       \
		bool is_dev = to == buf && tz_is_dev(to);                      \
		mode_t mode;                                                   \
		va_list ap;                                                    \
                                                                               \
		va_start(ap, flags);                                           \
		mode = open_mode(flags, ap);                                   \
		va_end(ap);                                                    \
		if (is_dev)                                                    \
			flags = dev_flags(flags);                              \
		return after_open(tz_next_##name()(to, flags, mode), to,       \
				  is_dev, flags);                              \
	}

#define DEFINE_OPENAT(name)                                                    \
	TZ_NEXT(name)                                                          \
	TZ_EXPORT int name(int dirfd, const char *path, int flags, ...)        \
	{                                                                      \
		char buf[TZ_PATH_LEN];                                         \
		const char *to = tz_redirect_at(dirfd, path, buf);                       \
		bool is_dev = to == buf && tz_is_dev(to);                      \
		mode_t mode;                                                   \
		va_list ap;                                                    \
                                                                               \
		va_start(ap, flags);                                           \
		mode = open_mode(flags, ap);                                   \
		va_end(ap);                                                    \
		if (is_dev)                                                    \
			flags = dev_flags(flags);                              \
		return after_open(tz_next_##name()(dirfd, to, flags, mode),    \
				  to, is_dev, flags);                          \
	}

/* What _FORTIFY_SOURCE makes of an open without a mode */
#define DEFINE_OPEN_2(name)                                                    \
	TZ_NEXT(name)                                                          \
	TZ_EXPORT int name(const char *path, int flags)                        \
	{                                                                      \
		char buf[TZ_PATH_LEN];                                         \
		const char *to = tz_redirect(path, buf);                       \
		bool is_dev = to == buf && tz_is_dev(to);                      \
                                                                               \
		if (is_dev)                                                    \
			flags = dev_flags(flags);                              \
		return after_open(tz_next_##name()(to, flags), to, is_dev,     \
				  flags);                                      \
	}

#define DEFINE_OPENAT_2(name)                                                  \
	TZ_NEXT(name)                                                          \
	TZ_EXPORT int name(int dirfd, const char *path, int flags)             \
	{                                                                      \
		char buf[TZ_PATH_LEN];                                         \
		const char *to = tz_redirect_at(dirfd, path, buf);                       \
		bool is_dev = to == buf && tz_is_dev(to);                      \
                                                                               \
		if (is_dev)                                                    \
			flags = dev_flags(flags);                              \
		return after_open(tz_next_##name()(dirfd, to, flags), to,      \
				  is_dev, flags);                              \
	}

DEFINE_OPEN(open)
DEFINE_OPEN(open64)
DEFINE_OPENAT(openat)
DEFINE_OPENAT(openat64)
DEFINE_OPEN_2(__open_2)
DEFINE_OPEN_2(__open64_2)
DEFINE_OPENAT_2(__openat_2)
DEFINE_OPENAT_2(__openat64_2)

/* Streams are for attributes only; no one drives a device through stdio. */
#define DEFINE_FOPEN(name)                                                     \
	TZ_NEXT(name)                                                          \
	TZ_EXPORT FILE *name(const char *path, const char *mode)               \
	{                                                                      \
		char buf[TZ_PATH_LEN];                                         \
		const char *to = tz_redirect(path, buf);                       \
		FILE *f = tz_next_##name()(to, mode);                          \
                                                                               \
		if (!f)                                                        \
			tz_fix_errno(to);                                      \
		return f;                                                      \
	}

DEFINE_FOPEN(fopen)
DEFINE_FOPEN(fopen64)

/* stat: a placeholder shows as the character device that it stands for */

#define DEFINE_STAT(name, type)                                                \
	TZ_NEXT(name)                                                          \
	TZ_EXPORT int name(const char *path, type *st)                         \
	{                                                                      \
		char buf[TZ_PATH_LEN];                                         \
		int rc = tz_next_##name()(tz_redirect(path, buf), st);         \
                                                                               \
		if (!rc)                                                       \
			PATCH_STAT(st);                                        \
		return rc;                                                     \
	}

#define DEFINE_FSTAT(name, type)                                               \
	TZ_NEXT(name)                                                          \
	TZ_EXPORT int name(int fd, type *st)                                   \
	{                                                                      \
		int rc = tz_next_##name()(fd, st);                             \
                                                                               \
		if (!rc)                                                       \
			PATCH_STAT(st);                                        \
		return rc;                                                     \
	}

#define DEFINE_FSTATAT(name, type)                                             \
	TZ_NEXT(name)                                                          \
	TZ_EXPORT int name(int dirfd, const char *path, type *st, int flags)   \
	{                                                                      \
		char buf[TZ_PATH_LEN];                                         \
		int rc = tz_next_##name()(dirfd, tz_redirect_at(dirfd, path, buf), st,   \
					  flags);                              \
                                                                               \
		if (!rc)                                                       \
			PATCH_STAT(st);                                        \
		return rc;                                                     \
	}

DEFINE_STAT(stat, struct stat)
DEFINE_STAT(stat64, struct stat64)
DEFINE_STAT(lstat, struct stat)
DEFINE_STAT(lstat64, struct stat64)
DEFINE_FSTAT(fstat, struct stat)
DEFINE_FSTAT(fstat64, struct stat64)
DEFINE_FSTATAT(fstatat, struct stat)
DEFINE_FSTATAT(fstatat64, struct stat64)

/*
 * What programs linked before glibc 2.33 call, and sanitizers still. The version
 * selects the only layout that 64-bit systems ever had; libc's own definitions
 * are hidden from dlsym(). The functions above must not be called from here:
 * TSan's fstat() calls __fxstat(), which would call TSan's fstat().
 */
#define DEFINE_XSTAT(name, next, type)                                         \
	TZ_EXPORT int name(int ver, const char *path, type *st)                \
	{                                                                      \
		char buf[TZ_PATH_LEN];                                         \
		int rc = tz_next_##next()(tz_redirect(path, buf), st);         \
                                                                               \
		if (!rc)                                                       \
			PATCH_STAT(st);                                        \
		return rc;                                                     \
	}

#define DEFINE_FXSTAT(name, next, type)                                        \
	TZ_EXPORT int name(int ver, int fd, type *st)                          \
	{                                                                      \
		int rc = tz_next_##next()(fd, st);                             \
                                                                               \
		if (!rc)                                                       \
			PATCH_STAT(st);                                        \
		return rc;                                                     \
	}

#define DEFINE_FXSTATAT(name, next, type)                                      \
	TZ_EXPORT int name(int ver, int dirfd, const char *path, type *st,     \
			   int flags)                                          \
	{                                                                      \
		char buf[TZ_PATH_LEN];                                         \
		int rc = tz_next_##next()(dirfd, tz_redirect_at(dirfd, path, buf), st,   \
					  flags);                              \
                                                                               \
		if (!rc)                                                       \
			PATCH_STAT(st);                                        \
		return rc;                                                     \
	}

DEFINE_XSTAT(__xstat, stat, struct stat)
DEFINE_XSTAT(__xstat64, stat64, struct stat64)
DEFINE_XSTAT(__lxstat, lstat, struct stat)
DEFINE_XSTAT(__lxstat64, lstat64, struct stat64)
DEFINE_FXSTAT(__fxstat, fstat, struct stat)
DEFINE_FXSTAT(__fxstat64, fstat64, struct stat64)
DEFINE_FXSTATAT(__fxstatat, fstatat, struct stat)
DEFINE_FXSTATAT(__fxstatat64, fstatat64, struct stat64)

TZ_NEXT(statx)
TZ_EXPORT int statx(int dirfd, const char *path, int flags, unsigned int mask,
		    struct statx *stx)
{
	char buf[TZ_PATH_LEN];
	const struct tz_served *s;
	int rc;

	rc = tz_next_statx()(dirfd, tz_redirect_at(dirfd, path, buf), flags,
			     mask | STATX_INO, stx);
	if (rc)
		return rc;
	s = tz_find_served(makedev(stx->stx_dev_major, stx->stx_dev_minor),
			   stx->stx_ino);
	if (s) {
		stx->stx_mode = S_IFCHR | 0666;
		stx->stx_rdev_major = major(s->rdev);
		stx->stx_rdev_minor = minor(s->rdev);
		stx->stx_size = 0;
		stx->stx_blocks = 0;
	}
	return 0;
}

/* The rest only redirects */

TZ_NEXT(access)
TZ_EXPORT int access(const char *path, int mode)
{
	char buf[TZ_PATH_LEN];

	return tz_next_access()(tz_redirect(path, buf), mode);
}

TZ_NEXT(euidaccess)
TZ_EXPORT int euidaccess(const char *path, int mode)
{
	char buf[TZ_PATH_LEN];

	return tz_next_euidaccess()(tz_redirect(path, buf), mode);
}

TZ_NEXT(eaccess)
TZ_EXPORT int eaccess(const char *path, int mode)
{
	char buf[TZ_PATH_LEN];

	return tz_next_eaccess()(tz_redirect(path, buf), mode);
}

TZ_NEXT(faccessat)
TZ_EXPORT int faccessat(int dirfd, const char *path, int mode, int flags)
{
	char buf[TZ_PATH_LEN];

	return tz_next_faccessat()(dirfd, tz_redirect_at(dirfd, path, buf), mode, flags);
}

/* ls -l asks for attributes, and is annoyed if there is no such file. */
#define DEFINE_GETXATTR(name)                                                  \
	TZ_NEXT(name)                                                          \
	TZ_EXPORT ssize_t name(const char *path, const char *attr,             \
			       void *value, size_t size)                       \
	{                                                                      \
		char buf[TZ_PATH_LEN];                                         \
                                                                               \
		return tz_next_##name()(tz_redirect(path, buf), attr, value,   \
					size);                                 \
	}

#define DEFINE_LISTXATTR(name)                                                 \
	TZ_NEXT(name)                                                          \
	TZ_EXPORT ssize_t name(const char *path, char *list, size_t size)      \
	{                                                                      \
		char buf[TZ_PATH_LEN];                                         \
                                                                               \
		return tz_next_##name()(tz_redirect(path, buf), list, size);   \
	}

DEFINE_GETXATTR(getxattr)
DEFINE_GETXATTR(lgetxattr)
DEFINE_LISTXATTR(listxattr)
DEFINE_LISTXATTR(llistxattr)

TZ_NEXT(chdir)
TZ_EXPORT int chdir(const char *path)
{
	char buf[TZ_PATH_LEN];
	int rc = tz_next_chdir()(tz_redirect(path, buf));

	if (!rc)
		tz_directory_changed();
	return rc;
}

TZ_NEXT(fchdir)
TZ_EXPORT int fchdir(int fd)
{
	int rc = tz_next_fchdir()(fd);

	if (!rc)
		tz_directory_changed();
	return rc;
}

TZ_NEXT(opendir)
TZ_EXPORT DIR *opendir(const char *path)
{
	char buf[TZ_PATH_LEN];

	return tz_next_opendir()(tz_redirect(path, buf));
}

TZ_NEXT(readlink)
TZ_EXPORT ssize_t readlink(const char *path, char *out, size_t n)
{
	char buf[TZ_PATH_LEN];

	return tz_next_readlink()(tz_redirect(path, buf), out, n);
}

TZ_NEXT(readlinkat)
TZ_EXPORT ssize_t readlinkat(int dirfd, const char *path, char *out, size_t n)
{
	char buf[TZ_PATH_LEN];

	return tz_next_readlinkat()(dirfd, tz_redirect_at(dirfd, path, buf), out, n);
}

TZ_NEXT(__readlink_chk)
TZ_EXPORT ssize_t __readlink_chk(const char *path, char *out, size_t n,
				 size_t len)
{
	char buf[TZ_PATH_LEN];

	return tz_next___readlink_chk()(tz_redirect(path, buf), out, n, len);
}

TZ_NEXT(__readlinkat_chk)
TZ_EXPORT ssize_t __readlinkat_chk(int dirfd, const char *path, char *out,
				   size_t n, size_t len)
{
	char buf[TZ_PATH_LEN];

	return tz_next___readlinkat_chk()(dirfd, tz_redirect_at(dirfd, path, buf), out, n,
					  len);
}

TZ_NEXT(realpath)
TZ_EXPORT char *realpath(const char *path, char *resolved)
{
	char buf[TZ_PATH_LEN];

	return tz_next_realpath()(tz_redirect(path, buf), resolved);
}

TZ_NEXT(__realpath_chk)
TZ_EXPORT char *__realpath_chk(const char *path, char *resolved, size_t len)
{
	char buf[TZ_PATH_LEN];

	return tz_next___realpath_chk()(tz_redirect(path, buf), resolved, len);
}

TZ_NEXT(canonicalize_file_name)
TZ_EXPORT char *canonicalize_file_name(const char *path)
{
	char buf[TZ_PATH_LEN];

	return tz_next_canonicalize_file_name()(tz_redirect(path, buf));
}

/*
 * RTLD_DEEPBIND makes a library, and what it brings along, find libc before
 * any preloaded library. Nothing of theirs would be served, so the flag is
 * dropped where it is about the libraries that open the devices.
 *
 * The call must be a jump: libc tells by the return address whose search path
 * and namespace to use.
 */
TZ_NEXT(dlopen)
TZ_EXPORT void *dlopen(const char *file, int mode)
{
	if (__builtin_expect(mode & RTLD_DEEPBIND, 0) && file &&
	    (strstr(file, "libibverbs.so") || strstr(file, "librdmacm.so")))
		mode &= ~RTLD_DEEPBIND;
	return tz_next_dlopen()(file, mode);
}
