// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * stats.c - counters for `rdma statistic`, and what `rdma resource` shows.
 */
#include "tcpzc.h"

const struct ib_device_ops tcpzc_stats_ops = {
};
