/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * release.h - the rdma-core release that the provider was built against
 */
#ifndef TCPZC_RELEASE_H
#define TCPZC_RELEASE_H

#include <stdbool.h>

struct verbs_sysfs_dev;

/*
 * For struct verbs_device_ops, .match_device: the device is ours, and the
 * libibverbs that asks is of the release that this provider was built against.
 */
bool tcpzc_match_device(struct verbs_sysfs_dev *sysfs_dev);

#endif
