/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * compat.h - what differs between the kernels that tcpzc is built for, 6.12 to
 * 7.3. The TCPZC_HAS_* are set by Kbuild, from the kernel's headers.
 */
#ifndef TCPZC_COMPAT_H
#define TCPZC_COMPAT_H

#include <linux/hrtimer.h>
#include <linux/kconfig.h>
#include <linux/socket.h>
#include <linux/version.h>
#include <rdma/ib_umem.h>
#include <rdma/ib_verbs.h>

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 12, 0)
#error "tcpzc needs Linux 6.12 or newer"
#endif

/*
 * Regions' pages are reached through the kernel's own mapping of all memory,
 * and 64-bit atomics work on them.
 */
#if !IS_ENABLED(CONFIG_64BIT) || IS_ENABLED(CONFIG_HIGHMEM)
#error "tcpzc needs a 64-bit kernel without HIGHMEM"
#endif
#if !IS_ENABLED(CONFIG_INFINIBAND_USER_ACCESS)
#error "tcpzc needs CONFIG_INFINIBAND_USER_ACCESS"
#endif

static inline void tcpzc_hrtimer_setup(struct hrtimer *timer,
				       enum hrtimer_restart (*fn)(struct hrtimer *),
				       clockid_t clock, enum hrtimer_mode mode)
{
#ifdef TCPZC_HAS_HRTIMER_SETUP
	hrtimer_setup(timer, fn, clock, mode);
#else
	hrtimer_init(timer, clock, mode);
	timer->function = fn;
#endif
}

/* What kernel_bind() and kernel_connect() take for an address. */
#ifdef TCPZC_HAS_SOCKADDR_UNSIZED
#define tcpzc_sockaddr(ss)	((struct sockaddr_unsized *)(ss))
#else
#define tcpzc_sockaddr(ss)	((struct sockaddr *)(ss))
#endif

/* What setup_udp_tunnel_sock() and udp_tunnel_sock_release() take. */
#ifdef TCPZC_HAS_UDP_TUNNEL_SK
#define tcpzc_udp_tunnel(sock)	((sock)->sk)
#else
#define tcpzc_udp_tunnel(sock)	(sock)
#endif

static inline struct ib_umem *tcpzc_umem_get(struct ib_device *dev, u64 addr,
					     u64 len, int access)
{
#ifdef TCPZC_HAS_UMEM_GET_VA
	return ib_umem_get_va(dev, addr, len, access);
#else
	return ib_umem_get(dev, addr, len, access);
#endif
}

/*
 * Where each network namespace has RDMA devices of its own, a device belongs in
 * that of its interface. Older kernels start with the first namespace; `rdma dev
 * set` moves it.
 */
#ifdef TCPZC_HAS_DEVICE_NET
#define tcpzc_alloc_device	ib_alloc_device_with_net
#else
#define tcpzc_alloc_device(type, member, net) \
	((void)(net), ib_alloc_device(type, member))
#endif

/* Of the port's GIDs: forget those that may be gone; look for those that are new. */
#ifdef TCPZC_HAS_RESCAN_PORT
#define tcpzc_forget_gids	roce_del_all_netdev_gids
#define tcpzc_rescan_gids	rdma_roce_rescan_port
#else
#define tcpzc_forget_gids(dev, port, netdev) \
	((void)(dev), (void)(port), (void)(netdev))
#define tcpzc_rescan_gids(dev, port)	((void)(port), rdma_roce_rescan_device(dev))
#endif

/* ---- struct ib_device_ops ------------------------------------------------ */

/* A parameter of reg_user_mr and reg_user_mr_dmabuf, and its value. */
#ifdef TCPZC_HAS_DMAH
#define TCPZC_DMAH_PARAM	struct ib_dmah *dmah,
#define TCPZC_DMAH		dmah
#else
#define TCPZC_DMAH_PARAM
#define TCPZC_DMAH		NULL
#endif

/* The operations that create CQs, of the kernel's users and of processes. */
#ifdef TCPZC_HAS_CREATE_USER_CQ
#define TCPZC_CREATE_CQ(fn)	.create_cq = (fn), .create_user_cq = (fn)
#else
#define TCPZC_CREATE_CQ(fn)	.create_cq = (fn)
#endif

/* Likewise, to resize it; and the type of its second parameter. */
#ifdef TCPZC_HAS_RESIZE_USER_CQ
#define resize_tcpzc_cq		resize_user_cq
#define TCPZC_RESIZE_CQE	unsigned int
#else
#define resize_tcpzc_cq		resize_cq
#define TCPZC_RESIZE_CQE	int
#endif

/* Operations on statistics counters that also name the port since then. */
#ifdef TCPZC_HAS_COUNTER_INIT
#define TCPZC_COUNTER_PARAMS(...)	__VA_ARGS__, u32 port
#else
#define TCPZC_COUNTER_PARAMS(...)	__VA_ARGS__
#endif

/* Does ib_core itself tell applications that the port goes up or down? */
#ifdef TCPZC_HAS_CORE_PORT_EVENTS
#define TCPZC_PORT_EVENTS	0
#else
#define TCPZC_PORT_EVENTS	1
#endif

#endif /* TCPZC_COMPAT_H */
