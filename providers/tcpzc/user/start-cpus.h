/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * start-cpus.h - on which processors the process was started: what taskset, a batch
 * system or mpirun allow it, before the program pins its threads. The preload
 * library is there first, and tells.
 */
#ifndef TCPZC_START_CPUS_H
#define TCPZC_START_CPUS_H

#include <stdbool.h>

struct tz_start_cpus {
	unsigned long bits[128];	/* as much as Linux can have */
};

/* False if that is not known; not there at all without the preload library. */
extern __attribute__((weak, visibility("default")))
bool tcpzc_start_cpus(struct tz_start_cpus *cpus);

#endif /* TCPZC_START_CPUS_H */
