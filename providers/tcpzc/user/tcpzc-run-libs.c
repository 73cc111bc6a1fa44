// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * tcpzc-run-libs.c - which libibverbs, and which provider for it
 *
 * A provider works with the libibverbs release that it was built against and
 * with no other. The system's libibverbs is used if there is a provider for its
 * release, installed beside it or built beside us; otherwise the private one.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <dlfcn.h>
#include <errno.h>
#include <glob.h>
#include <libgen.h>
#include <limits.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tcpzc-run.h"

/* Where the libraries are, relative to the directory of tcpzc-run. */
static const char *const lib_dirs[] = {
	"../lib",			/* the build tree */
	"../" TCPZC_LIBDIR "/tcpzc",	/* installed */
	"../lib/tcpzc",
};

static void find_dir(struct libs *libs)
{
	char exe[PATH_MAX], probe[PATH_MAX + 64];
	ssize_t len;
	unsigned int i;

	len = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
	if (len < 0)
		die(EXIT_OURS, "cannot tell where tcpzc-run is: "
		    "/proc/self/exe: %s", strerror(errno));
	exe[len] = 0;
	*strrchr(exe, '/') = 0;
	for (i = 0; i < sizeof(lib_dirs) / sizeof(lib_dirs[0]); i++) {
		snprintf(probe, sizeof(probe), "%s/%s/libtcpzc-preload.so", exe,
			 lib_dirs[i]);
		/* realpath() needs a call that old sandboxes forbid. */
		if (!access(probe, R_OK)) {
			if (!realpath(probe, libs->dir))
				memccpy(libs->dir, probe, 0, sizeof(libs->dir));
			libs->dir[sizeof(libs->dir) - 1] = 0;
			*strrchr(libs->dir, '/') = 0;
			return;
		}
	}
	die(EXIT_OURS, "libtcpzc-preload.so is not where it belongs, in "
	    "%s/../lib or %s/../" TCPZC_LIBDIR "/tcpzc", exe, exe);
}

/*
 * The release in the name of a library file, libibverbs.so.1.<abi>.<release>;
 * NULL if it has none.
 */
static const char *release_of(const char *path)
{
	const char *name = strrchr(path, '/');
	const char *p = strstr(name ? name : path, ".so.1.");

	if (!p)
		return NULL;
	p += strlen(".so.1.");
	p += strspn(p, "0123456789");
	return *p == '.' && isdigit((unsigned char)p[1]) ? p + 1 : NULL;
}

/*
 * The file that a program gets when it loads libibverbs. Nobody knows but the
 * dynamic linker, with its cache and LD_LIBRARY_PATH, so let it.
 */
static bool find_system_libibverbs(char path[PATH_MAX])
{
	struct link_map *map;
	void *handle;
	bool found;

	handle = dlopen("libibverbs.so.1", RTLD_LAZY | RTLD_LOCAL);
	if (!handle)
		return false;
	found = !dlinfo(handle, RTLD_DI_LINKMAP, &map) &&
		realpath(map->l_name, path);
	dlclose(handle);
	return found;
}

/*
 * A provider in @dir; of @release, unless that is NULL. Stores its path without
 * the suffix, as libibverbs wants it, and @found its release.
 */
static bool find_provider(const char *dir, const char *release,
			  char path[MAX_PATH], char found[32])
{
	char pattern[MAX_PATH];
	struct elf_info elf;
	glob_t list;
	bool ok = false;
	size_t i;

	if (snprintf(pattern, sizeof(pattern), "%s/libtcpzc-rdmav*.so", dir) >=
	    (int)sizeof(pattern))
		return false;
	if (glob(pattern, GLOB_NOSORT, NULL, &list))
		return false;
	for (i = 0; i < list.gl_pathc && !ok; i++) {
		if (elf_read(list.gl_pathv[i], &elf) || !elf.release[0])
			continue;
		ok = !release || !strcmp(elf.release, release);
		if (ok) {
			snprintf(path, MAX_PATH, "%s", list.gl_pathv[i]);
			*strstr(strrchr(path, '/'), "-rdmav") = 0;
			strcpy(found, elf.release);
		}
	}
	globfree(&list);
	return ok;
}

static bool try_system(struct libs *libs, const char *private_providers)
{
	char path[PATH_MAX], providers[PATH_MAX + 16], found[32];
	const char *release;

	if (!find_system_libibverbs(path)) {
		info("no libibverbs is installed");
		return false;
	}
	release = release_of(path);
	if (!release) {
		info("%s does not tell its release", path);
		return false;
	}
	snprintf(providers, sizeof(providers), "%.*s/libibverbs",
		 (int)(strrchr(path, '/') - path), path);
	if (find_provider(providers, release, libs->provider, found) ||
	    find_provider(private_providers, release, libs->provider, found)) {
		info("using the system's libibverbs %s (%s), for whose release "
		     "there is a provider (%s-rdmav*.so)", release, path,
		     libs->provider);
		return true;
	}
	info("not using the system's libibverbs %s (%s): no provider was built "
	     "for that release", release, path);
	return false;
}

/**
 * libs_choose - choose the libraries to run the program with
 * @libs: filled in
 *
 * Does not return if there is no provider that goes with a libibverbs.
 */
void libs_choose(struct libs *libs)
{
	char providers[MAX_PATH + 16], path[MAX_PATH + 32], found[32];

	memset(libs, 0, sizeof(*libs));
	find_dir(libs);
	snprintf(providers, sizeof(providers), "%s/libibverbs", libs->dir);
	if (try_system(libs, providers))
		return;
	snprintf(path, sizeof(path), "%s/libibverbs.so.1", libs->dir);
	if (access(path, R_OK))
		die(EXIT_OURS, "the system's libibverbs has no tcpzc provider of "
		    "its release, and there is no private libibverbs (%s); see "
		    "tcpzc-run --verbose", path);
	if (!find_provider(providers, NULL, libs->provider, found))
		die(EXIT_OURS, "there is no tcpzc provider in %s", providers);
	libs->use_private = true;
	info("using the private libibverbs and librdmacm %s in %s", found,
	     libs->dir);
}
