// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * sysfs-netdev.c - the interfaces of this network namespace and what a device
 * made of one is called
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <linux/if_packet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sysfs.h"

/* ifa_name of an IPv4 address is its label, "eth0:1" for example. */
static struct tz_netdev *find(struct tz_netdevs *all, const char *label)
{
	size_t len = strcspn(label, ":");
	unsigned int i;

	for (i = 0; i < all->num; i++)
		if (strlen(all->dev[i].name) == len &&
		    !strncmp(all->dev[i].name, label, len))
			return &all->dev[i];
	return NULL;
}

static int add_link(struct tz_netdevs *all, const struct ifaddrs *ifa)
{
	const struct sockaddr_ll *ll = (const void *)ifa->ifa_addr;
	static const uint8_t zero[6];
	struct tz_netdev *nd;

	nd = realloc(all->dev, (all->num + 1) * sizeof(*nd));
	if (!nd)
		return -1;
	all->dev = nd;
	nd += all->num++;
	memset(nd, 0, sizeof(*nd));
	snprintf(nd->name, sizeof(nd->name), "%s", ifa->ifa_name);
	nd->ifindex = ll->sll_ifindex;
	nd->flags = ifa->ifa_flags;
	if (ll->sll_halen == 6 && memcmp(ll->sll_addr, zero, 6)) {
		memcpy(nd->mac, ll->sll_addr, 6);
		nd->has_mac = true;
	}
	return 0;
}

static int by_ifindex(const void *a, const void *b)
{
	const struct tz_netdev *x = a, *y = b;

	return (x->ifindex > y->ifindex) - (x->ifindex < y->ifindex);
}

/* VLANs and the like share their parent's address; the oldest one keeps it. */
static void find_own_macs(struct tz_netdevs *all)
{
	unsigned int i, j;

	for (i = 0; i < all->num; i++) {
		all->dev[i].mac_is_own = all->dev[i].has_mac;
		for (j = 0; j < i; j++)
			if (!memcmp(all->dev[i].mac, all->dev[j].mac, 6))
				all->dev[i].mac_is_own = false;
	}
}

static void add_gid(struct tz_netdev *nd, const struct in6_addr *gid)
{
	unsigned int i;

	for (i = 0; i < nd->num_gids; i++)
		if (!memcmp(&nd->gids[i], gid, sizeof(*gid)))
			return;
	if (nd->num_gids < TCPZC_GID_TABLE_LEN)
		nd->gids[nd->num_gids++] = *gid;
}

/*
 * GID 0 is the first IPv4 address, and there is no other IPv4 one: NCCL and
 * others then take it without looking at types. IPv6 follows, the addresses
 * that reach furthest first.
 */
static void add_ipv4(struct tz_netdev *nd, const struct sockaddr_in *sin)
{
	struct in6_addr gid = { .s6_addr = { [10] = 0xff, [11] = 0xff } };

	if (nd->num_gids)
		return;
	memcpy(&gid.s6_addr[12], &sin->sin_addr, 4);
	add_gid(nd, &gid);
}

static void add_addresses(struct tz_netdevs *all, const struct ifaddrs *list,
			  int family, bool link_local)
{
	const struct sockaddr_in6 *sin6;
	const struct ifaddrs *ifa;
	struct tz_netdev *nd;

	for (ifa = list; ifa; ifa = ifa->ifa_next) {
		if (!ifa->ifa_addr || ifa->ifa_addr->sa_family != family)
			continue;
		nd = find(all, ifa->ifa_name);
		if (!nd)
			continue;
		if (family == AF_INET) {
			add_ipv4(nd, (const void *)ifa->ifa_addr);
			continue;
		}
		sin6 = (const void *)ifa->ifa_addr;
		if (!!IN6_IS_ADDR_LINKLOCAL(&sin6->sin6_addr) == link_local)
			add_gid(nd, &sin6->sin6_addr);
	}
}

/* Returns 0, or -1 with errno set. */
int tz_netdevs_read(struct tz_netdevs *all)
{
	struct ifaddrs *list;
	const struct ifaddrs *ifa;

	memset(all, 0, sizeof(*all));
	if (getifaddrs(&list))
		return -1;
	for (ifa = list; ifa; ifa = ifa->ifa_next)
		if (ifa->ifa_addr && ifa->ifa_addr->sa_family == AF_PACKET &&
		    add_link(all, ifa)) {
			freeifaddrs(list);
			tz_netdevs_free(all);
			errno = ENOMEM;
			return -1;
		}
	if (all->num)
		qsort(all->dev, all->num, sizeof(*all->dev), by_ifindex);
	find_own_macs(all);
	add_addresses(all, list, AF_INET, false);
	add_addresses(all, list, AF_INET6, false);
	add_addresses(all, list, AF_INET6, true);
	freeifaddrs(list);
	return 0;
}

void tz_netdevs_free(struct tz_netdevs *all)
{
	free(all->dev);
	memset(all, 0, sizeof(*all));
}

bool tz_netdev_usable(const struct tz_netdev *nd)
{
	return (nd->flags & IFF_UP) && nd->num_gids;
}

static uint64_t fnv1a(uint64_t hash, const void *data, size_t len)
{
	const uint8_t *p = data;

	while (len--)
		hash = (hash ^ *p++) * UINT64_C(0x100000001b3);
	return hash;
}

static uint64_t fnv1a_file(uint64_t hash, const char *path)
{
	char buf[256];
	size_t len;
	FILE *f = fopen(path, "re");

	if (!f)
		return hash;
	len = fread(buf, 1, sizeof(buf), f);
	fclose(f);
	return fnv1a(hash, buf, len);
}

/*
 * Interfaces without an address of their own (loopback, tunnels, VLANs): the
 * same for all processes of this host and network namespace, different
 * elsewhere, and locally administered.
 */
static uint64_t hashed_guid(const struct tz_netdev *nd)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325);
	struct stat ns;

	/* Containers of one host may differ in /etc/machine-id, not in this. */
	hash = fnv1a_file(hash, "/proc/sys/kernel/random/boot_id");
	if (!stat("/proc/self/ns/net", &ns))
		hash = fnv1a(hash, &ns.st_ino, sizeof(ns.st_ino));
	hash = fnv1a(hash, &nd->ifindex, sizeof(nd->ifindex));
	hash = fnv1a(hash, nd->name, strlen(nd->name));
	/* Neither universal (bit 57 in EUI-64's inverted sense) nor a group */
	hash &= ~(UINT64_C(3) << 56);
	return hash | 1;	/* and never 0 */
}

/* The node GUID, in host order: the MAC address as an EUI-64 where possible. */
uint64_t tz_netdev_guid(const struct tz_netdev *nd)
{
	const uint8_t *m = nd->mac;

	if (!nd->mac_is_own)
		return hashed_guid(nd);
	return (uint64_t)(m[0] ^ 2) << 56 | (uint64_t)m[1] << 48 |
	       (uint64_t)m[2] << 40 | UINT64_C(0xfffe) << 24 |
	       (uint64_t)m[3] << 16 | (uint64_t)m[4] << 8 | m[5];
}

static int read_attr(const struct tz_netdev *nd, const char *attr, int *value)
{
	char path[128];
	FILE *f;
	int n;

	snprintf(path, sizeof(path), "/sys/class/net/%s/%s", nd->name, attr);
	f = fopen(path, "re");
	if (!f)
		return -1;
	n = fscanf(f, "%d", value);
	fclose(f);
	return n == 1 ? 0 : -1;
}

/*
 * In Mbit/s. Virtual interfaces often do not say; then a plausible figure, for
 * programs build models and time-outs on it.
 */
int tz_netdev_speed_mbps(const struct tz_netdev *nd)
{
	int speed;

	if (!read_attr(nd, "speed", &speed) && speed > 0)
		return speed;
	return nd->flags & IFF_LOOPBACK ? 100000 : 10000;
}

/* -1 where there is none. */
int tz_netdev_numa_node(const struct tz_netdev *nd)
{
	int node;

	return read_attr(nd, "device/numa_node", &node) ? -1 : node;
}
