/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * port.h - the well-known port as the user sets it, for queue pairs and rdma_cm
 * alike: the same on all hosts, and the kernel module's parameter "port".
 */
#ifndef TCPZC_USER_PORT_H
#define TCPZC_USER_PORT_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#define TZ_ENV_PORT	"TCPZC_PORT"

/* False if @value is no port. */
static inline bool tz_port_parse(const char *value, uint16_t *port)
{
	char *end;
	unsigned long n;

	errno = 0;
	n = strtoul(value, &end, 10);
	if (errno || *end || end == value || !n || n > 65535)
		return false;
	*port = n;
	return true;
}

#endif /* TCPZC_USER_PORT_H */
