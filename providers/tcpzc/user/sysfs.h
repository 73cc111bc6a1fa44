/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * sysfs.h - the generated tree that takes the place of /sys and /dev
 *
 * Laid out as the kernel lays out a device with a parent:
 *
 *   devices/NETDEV/{vendor,device,numa_node,net/NETDEV}
 *   devices/NETDEV/infiniband/tcpzcN/{node_guid,ports/1/gids/0,...}
 *   devices/NETDEV/infiniband_verbs/uverbsN/{ibdev,dev,abi_version}
 *   class/infiniband/tcpzcN          -> ../../devices/...
 *   class/infiniband_verbs/uverbsN   -> ../../devices/...
 *   dev/infiniband/{uverbsN,rdma_cm} placeholders, see preload.h
 */
#ifndef TCPZC_SYSFS_H
#define TCPZC_SYSFS_H

#include <net/if.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include "tcpzc-ids.h"

/* A network interface that may become a device. */
struct tz_netdev {
	char name[IF_NAMESIZE];
	unsigned int ifindex;
	unsigned int flags;			/* IFF_* */
	uint8_t mac[6];
	bool has_mac;
	bool mac_is_own;			/* no earlier interface has it */
	unsigned int num_gids;
	struct in6_addr gids[TCPZC_GID_TABLE_LEN];	/* as they are numbered */
};

struct tz_netdevs {
	unsigned int num;
	struct tz_netdev *dev;			/* by ifindex */
};

/* sysfs-netdev.c */
int tz_netdevs_read(struct tz_netdevs *all);
void tz_netdevs_free(struct tz_netdevs *all);
bool tz_netdev_usable(const struct tz_netdev *nd);
uint64_t tz_netdev_guid(const struct tz_netdev *nd);
int tz_netdev_speed_mbps(const struct tz_netdev *nd);
int tz_netdev_numa_node(const struct tz_netdev *nd);

/*
 * sysfs-dir.c: private directories; -1 and errno on failure. The tree is in one
 * of a name that only the program is told.
 */
struct tz_dir {
	char top[160];
	int lock;		/* @top, open: the lock says it is in use */
	char path[180];		/* the tree, below it */
	int fd;			/* ... open */
};

#define TZ_MAX_PLACES	7

struct tz_place {
	char path[136];
	int err;		/* why there can be no tree, or 0 */
};

unsigned int tz_dir_places(struct tz_place place[TZ_MAX_PLACES]);
int tz_dir_create(struct tz_dir *dir, const char *base);
void tz_dir_remove(struct tz_dir *dir);

/* sysfs-tree.c */
int tz_tree_fill(const struct tz_dir *dir, const struct tz_netdev *const *devs,
		 unsigned int num);

#endif
