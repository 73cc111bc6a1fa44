/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * What identifies a tcpzc device, shared by the provider (query_device) and by
 * tcpzc-run (the generated sysfs tree), so that both say the same. Plain
 * constants only: the preload library and tcpzc-run include no rdma-core header.
 * What the kernel driver says, too, is in rdma/tcpzc-abi.h.
 */
#ifndef TCPZC_IDS_H
#define TCPZC_IDS_H

#include <rdma/tcpzc-abi.h>

#define TCPZC_HW_VER		1
#define TCPZC_FW_VER		"0.1.0"

/* Devices are tcpzc0, tcpzc1, ...; the provider matches "tcpzc*" */
#define TCPZC_DEVICE_PREFIX	"tcpzc"

#define TCPZC_PORT		1
#define TCPZC_GID_TABLE_LEN	16
#define TCPZC_PKEY		0xffff
#define TCPZC_MAX_DEVICES	64

/* IB_PORT_CM_SUP | IB_PORT_IP_BASED_GIDS, of port_cap_flags and cap_mask */
#define TCPZC_PORT_CAP_FLAGS	(1u << 16 | 1u << 26)

/*
 * User mode only, relative to ibdev_path: a file with the index of the network
 * interface, which stays when the interface is renamed. Where it is absent the
 * device is the kernel's. And a file with the name that the interface had when the
 * tree was made, for people.
 */
#define TCPZC_SYSFS_IFINDEX	"tcpzc/ifindex"
#define TCPZC_SYSFS_NETDEV	"tcpzc/netdev"

/*
 * User mode only, from tcpzc-run to the preload library: the directory with the
 * generated tree, which has class/ and dev/ below it.
 */
#define TCPZC_ENV_TREE		"TCPZC_TREE"

/* Device numbers shown for uverbsN: those of the kernel's own uverbs */
#define TCPZC_UVERBS_MAJOR	231
#define TCPZC_UVERBS_MINOR	192

/* For rdma_cm: a misc device; and the version of its commands */
#define TCPZC_RDMACM_MAJOR	10
#define TCPZC_RDMACM_MINOR	58
#define TCPZC_RDMACM_ABI	4

/* libibverbs' IB_USER_VERBS_MAX_ABI_VERSION; and the provider's own */
#define TCPZC_VERBS_ABI		6
#define TCPZC_DRIVER_ABI	1

#endif
