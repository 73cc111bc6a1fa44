// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * tcpzc-run-env.c - the environment of the program
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tcpzc-run.h"

static void set(const char *name, const char *value)
{
	if (setenv(name, value, 1))
		die(EXIT_OURS, "%s: %s", name, strerror(errno));
	info("%s=%s", name, value);
}

/*
 * Puts @value in front of the list in variable @name, and drops it from further
 * back: a tcpzc-run within a tcpzc-run does not load things twice.
 */
static void prepend(const char *name, const char *value, const char *separators)
{
	const char *old = getenv(name);
	char *list, *rest, *copy, *item;
	size_t len;

	len = strlen(value) + (old ? strlen(old) : 0) + 2;
	list = malloc(len);
	copy = rest = strdup(old ? old : "");
	if (!list || !copy)
		die(EXIT_OURS, "out of memory");
	strcpy(list, value);
	while ((item = strsep(&rest, separators))) {
		if (!*item || !strcmp(item, value))
			continue;
		strncat(list, separators, 1);
		strcat(list, item);
	}
	set(name, list);
	free(copy);
	free(list);
}

/*
 * A path as these variables can hold it. They cannot hold every path: lists end
 * at colons, LD_PRELOAD's also at spaces; then it leads through a link in the
 * tree.
 */
static void listable(const char *path, const struct tz_dir *tree,
		     const char *link, char out[MAX_PATH])
{
	const char *base = strrchr(path, '/');

	snprintf(out, MAX_PATH, "%s", path);
	if (!strpbrk(path, ":; \t\n"))
		return;
	snprintf(out, MAX_PATH, "%.*s", (int)(base - path), path);
	if (symlinkat(out, tree->fd, link) && errno != EEXIST)
		die(EXIT_OURS, "%s/%s: %s", tree->path, link, strerror(errno));
	snprintf(out, MAX_PATH, "%s/%s%s", tree->path, link, base);
}

/*
 * Sanitizers want to be the first library of the process. One that the program
 * is linked with would come after our preload library; one that the provider is
 * built with is not in the program at all.
 */
static const char *sanitizer_runtime(const struct elf_info *program)
{
	if (program->sanitizer[0])
		return program->sanitizer;
	return TCPZC_SANITIZER_RUNTIME;
}

/**
 * env_set - set up the environment for the program
 * @libs: the chosen libraries
 * @tree: the generated tree
 * @program: what the program is
 */
void env_set(const struct libs *libs, const struct tz_dir *tree,
	     const struct elf_info *program)
{
	const char *drivers = getenv("RDMAV_DRIVERS") ? NULL :
							getenv("IBV_DRIVERS");
	const char *sanitizer = sanitizer_runtime(program);
	char path[MAX_PATH + 32], value[MAX_PATH];

	set(TCPZC_ENV_TREE, tree->path);
	set("SYSFS_PATH", tree->path);

	/* libibverbs looks at IBV_DRIVERS only if there is no RDMAV_DRIVERS. */
	if (drivers && *drivers)
		set("RDMAV_DRIVERS", drivers);
	listable(libs->provider, tree, "libibverbs", value);
	prepend("RDMAV_DRIVERS", value, ":;");

	snprintf(path, sizeof(path), "%s/libtcpzc-preload.so", libs->dir);
	listable(path, tree, "lib", value);
	prepend("LD_PRELOAD", value, ": ");
	if (sanitizer[0])
		prepend("LD_PRELOAD", sanitizer, ": ");

	if (libs->use_private) {
		*strrchr(value, '/') = 0;
		prepend("LD_LIBRARY_PATH", value, ":;");
	}
}
