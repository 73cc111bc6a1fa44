// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * ub_settings.c - what the user sets by environment variables (tcpzc(7)).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "port.h"
#include "ub.h"

/* A peer that is merely slow is not gone: see docs/semantics.md, "Timeouts". */
#define UB_MIN_RETRY_MS		3000
#define UB_MAX_SILENCE_MS	60000
#define UB_MAX_RETRY_MS		3600000ul

static bool ub_set_ports(struct ub_settings *set, const char *value)
{
	unsigned int lo, hi;
	int end = 0;

	if (sscanf(value, "%u-%u%n", &lo, &hi, &end) != 2 || value[end] ||
	    lo < TZ_FIRST_USER_PORT || hi > 65535 || lo > hi)
		return false;
	set->port_lo = lo;
	set->port_hi = hi;
	return true;
}

static bool ub_set_port(struct ub_settings *set, const char *value)
{
	return tz_port_parse(value, &set->port);
}

/* Is @name a word of the file that lists what the kernel offers? */
static bool ub_cc_offered(const char *name)
{
	char list[1024], *word, *save;
	ssize_t n;
	int fd;

	fd = open("/proc/sys/net/ipv4/tcp_available_congestion_control",
		  O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return true;	/* cannot tell; setsockopt will */
	n = read(fd, list, sizeof(list) - 1);
	close(fd);
	list[n > 0 ? n : 0] = '\0';
	for (word = strtok_r(list, " \n", &save); word;
	     word = strtok_r(NULL, " \n", &save))
		if (!strcmp(word, name))
			return true;
	return false;
}

static bool ub_set_cc(struct ub_settings *set, const char *value)
{
	if (strlen(value) >= sizeof(set->cc) || !ub_cc_offered(value))
		return false;
	strcpy(set->cc, value);
	return true;
}

static bool ub_set_ms(u64 *ns, const char *value)
{
	char *end;
	unsigned long ms;

	errno = 0;
	ms = strtoul(value, &end, 10);
	if (errno || *end || end == value || ms > UB_MAX_RETRY_MS)
		return false;
	*ns = ms * 1000000ull;
	return true;
}

static bool ub_set_retry(struct ub_settings *set, const char *value)
{
	return ub_set_ms(&set->min_retry_ns, value);
}

static bool ub_set_silence(struct ub_settings *set, const char *value)
{
	return ub_set_ms(&set->max_silence_ns, value);
}

static bool ub_set_switch(bool *on, const char *value)
{
	*on = !strcmp(value, "1");
	return *on || !strcmp(value, "0");
}

static bool ub_set_stats(struct ub_settings *set, const char *value)
{
	return ub_set_switch(&set->stats, value);
}

static bool ub_set_zerocopy(struct ub_settings *set, const char *value)
{
	set->zerocopy = value[0] - '0';
	return strlen(value) == 1 && set->zerocopy <= 2;
}

bool ub_settings_read(struct ub_settings *set, const char *device)
{
	static const struct {
		const char *name;
		bool (*set)(struct ub_settings *set, const char *value);
		const char *expect;
	} vars[] = {
		{ TZ_ENV_PORT, ub_set_port, "1..65535" },
		{ "TCPZC_PORTS", ub_set_ports, "LOW-HIGH, 1024..65535" },
		{ "TCPZC_CC", ub_set_cc,
		  "a name from /proc/sys/net/ipv4/tcp_available_congestion_control" },
		{ "TCPZC_MIN_RETRY_MS", ub_set_retry, "milliseconds" },
		{ "TCPZC_MAX_SILENCE_MS", ub_set_silence, "milliseconds" },
		{ "TCPZC_STATS", ub_set_stats, "0 or 1" },
		{ "TCPZC_ZEROCOPY", ub_set_zerocopy, "0, 1 or 2" },
	};
	size_t i;

	memset(set, 0, sizeof(*set));
	set->port = TZ_WELL_KNOWN_PORT;
	set->min_retry_ns = UB_MIN_RETRY_MS * 1000000ull;
	set->max_silence_ns = UB_MAX_SILENCE_MS * 1000000ull;
	for (i = 0; i < TZ_ARRAY_SIZE(vars); i++) {
		const char *value = getenv(vars[i].name);

		if (!value || !*value || vars[i].set(set, value))
			continue;
		fprintf(stderr, "tcpzc: %s: %s=%s: expected %s\n", device,
			vars[i].name, value, vars[i].expect);
		return false;
	}
	return true;
}
