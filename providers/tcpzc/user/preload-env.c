// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * preload-env.c - getenv(), for a process that has cleared its environment
 *
 * Daemons do, and build another one. Devices are not part of the environment, and
 * so what libibverbs and the provider ask for is remembered from the start. It is
 * the answer only where tcpzc-run's own variable is gone, too: a program may unset
 * a setting by itself. What such a program executes has no devices: an environment
 * that was emptied on purpose is not filled again (tcpzc-run(1)).
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "preload.h"
#include "tcpzc-ids.h"

/* NAME=value, each with its terminator; then an empty one */
static char kept[4096];

TZ_NEXT(getenv)
TZ_NEXT(secure_getenv)

static bool is_ours(const char *name)
{
	return !strncmp(name, "TCPZC_", 6) || !strncmp(name, "SYSFS_PATH", 10) ||
	       !strncmp(name, "RDMAV_DRIVERS", 13);
}

/* Once, before anybody asks: tz_init() */
void tz_env_keep(void)
{
	size_t len, used = 0;
	char **var;

	for (var = environ; *var; var++) {
		len = strlen(*var) + 1;
		if (!is_ours(*var) || used + len >= sizeof(kept))
			continue;
		memcpy(kept + used, *var, len);
		used += len;
	}
}

static char *find_kept(const char *name)
{
	size_t len = strlen(name);
	char *var;

	if (!is_ours(name) || !tz_have_tree() ||
	    tz_next_getenv()(TCPZC_ENV_TREE))
		return NULL;
	for (var = kept; *var; var += strlen(var) + 1)
		if (!strncmp(var, name, len) && var[len] == '=')
			return var + len + 1;
	return NULL;
}

TZ_EXPORT char *getenv(const char *name)
{
	char *value = tz_next_getenv()(name);

	return value ? value : find_kept(name);
}

TZ_EXPORT char *secure_getenv(const char *name)
{
	char *value = tz_next_secure_getenv()(name);

	return value ? value : find_kept(name);
}
