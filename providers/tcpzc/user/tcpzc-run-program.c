// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * tcpzc-run-program.c - find the program, and say so if it cannot be served
 *
 * Better a message now than a program that starts and sees no device.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "tcpzc-run.h"

/* 0 if it can be executed, otherwise errno. */
static int executable(const char *path)
{
	struct stat st;

	if (stat(path, &st))
		return errno;
	if (S_ISDIR(st.st_mode))
		return EISDIR;
	/* The first is by a call that old sandboxes forbid. */
	return eaccess(path, X_OK) && access(path, X_OK) ? errno : 0;
}

static __attribute__((noreturn)) void cannot(const char *name, int err)
{
	die(err == ENOENT || err == ENOTDIR ? EXIT_NOT_FOUND : EXIT_CANNOT_RUN,
	    "%s: %s", name, strerror(err));
}

/**
 * program_find - find a program as the shell does
 * @name: a path, or a name to look for in PATH
 * @path: filled in
 *
 * Does not return if there is none.
 */
void program_find(const char *name, char path[MAX_PATH])
{
	const char *dirs = getenv("PATH");
	int rc, err = ENOENT;
	size_t len;

	if (strchr(name, '/')) {
		err = executable(name);
		if (err)
			cannot(name, err);
		snprintf(path, MAX_PATH, "%s", name);
		return;
	}
	if (!dirs)
		dirs = "/usr/local/bin:/usr/bin:/bin";
	for (;; dirs += len + 1) {
		len = strcspn(dirs, ":");
		rc = snprintf(path, MAX_PATH, "%.*s%s%s", (int)len, dirs,
			      len ? "/" : "./", name);
		rc = rc < MAX_PATH ? executable(path) : ENAMETOOLONG;
		if (!rc)
			return;
		if (rc == EACCES)
			err = rc;
		if (!dirs[len])
			break;
	}
	cannot(name, err);
}

/*
 * Whether executing @path changes what the process may do; the dynamic linker
 * then ignores LD_PRELOAD, and libibverbs ignores SYSFS_PATH.
 */
static const char *gains_privileges(const char *path)
{
	struct statvfs fs;
	struct stat st;

	if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 ||
	    (!statvfs(path, &fs) && fs.f_flag & ST_NOSUID) || stat(path, &st))
		return NULL;
	if (st.st_mode & S_ISUID && st.st_uid != geteuid())
		return "set-user-ID";
	if ((st.st_mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP) &&
	    st.st_gid != getegid())
		return "set-group-ID";
	if (geteuid() && getxattr(path, "security.capability", NULL, 0) > 0)
		return "given file capabilities";
	return NULL;
}

/* The interpreter in a script's first line. */
static bool read_shebang(const char *path, char interp[MAX_PATH])
{
	char line[256];
	ssize_t len;
	char *start;
	int fd;

	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	len = read(fd, line, sizeof(line) - 1);
	close(fd);
	if (len < 3 || memcmp(line, "#!", 2))
		return false;
	line[len] = 0;
	start = line + 2 + strspn(line + 2, " \t");
	start[strcspn(start, " \t\n")] = 0;
	snprintf(interp, MAX_PATH, "%s", start);
	return *start;
}

static void check_elf(const char *path, const struct elf_info *info)
{
	if (!info->is_native)
		die(EXIT_CANNOT_RUN, "%s is for another architecture than "
		    "tcpzc-run; its libraries cannot be loaded into it", path);
	if (!info->interp[0])
		die(EXIT_CANNOT_RUN, "%s is statically linked: no library can "
		    "be loaded into it, so it cannot be given devices", path);
	if (strstr(info->interp, "musl"))
		die(EXIT_CANNOT_RUN, "%s is linked with musl; tcpzc-run "
		    "supports programs of the GNU C library", path);
}

/**
 * program_check - make sure that the program can be served
 * @path: the program
 * @info: filled in; of the interpreter if it is a script
 *
 * Does not return if it cannot. A program that may be executed but not read is
 * given the benefit of the doubt.
 */
void program_check(const char *path, struct elf_info *info)
{
	char file[MAX_PATH], next[MAX_PATH];
	const char *gains = gains_privileges(path);
	int depth;

	if (gains)
		die(EXIT_CANNOT_RUN, "%s is %s: the system loads no libraries "
		    "into such a program (run tcpzc-run itself with the "
		    "privileges instead, for example: sudo tcpzc-run ...)",
		    path, gains);
	snprintf(file, sizeof(file), "%s", path);
	for (depth = 0; depth < 5; depth++) {
		if (elf_read(file, info))
			return;
		if (info->is_elf) {
			check_elf(file, info);
			return;
		}
		if (!read_shebang(file, next))
			return;
		strcpy(file, next);
	}
}
