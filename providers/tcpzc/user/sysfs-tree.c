// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * sysfs-tree.c - writes the tree
 *
 * What is in it, and in which form, is what drivers/infiniband/core/{sysfs,
 * device,uverbs_main}.c show and what libibverbs, perftest, UCX, NCCL and
 * Mooncake read. Counters are left out rather than shown as zero.
 *
 * The first error sticks; the writers do nothing after it.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sysfs.h"

struct writer {
	const char *root;	/* the tree */
	int dirfd;		/* ... open */
	int err;		/* errno of the first failure */
	char at[128];		/* prefix of all paths */
};

static int full_path(struct writer *w, char path[PATH_MAX], const char *name)
{
	if (snprintf(path, PATH_MAX, "%s%s", w->at, name) < PATH_MAX)
		return 0;
	w->err = ENAMETOOLONG;
	return -1;
}

static void make_dir(struct writer *w, const char *name)
{
	char path[PATH_MAX];

	if (w->err || full_path(w, path, name))
		return;
	if (mkdirat(w->dirfd, path, 0755) && errno != EEXIST)
		w->err = errno;
}

static void make_link(struct writer *w, const char *name, const char *target)
{
	char path[PATH_MAX];

	if (w->err || full_path(w, path, name))
		return;
	if (symlinkat(target, w->dirfd, path))
		w->err = errno;
}

static int create_file(struct writer *w, const char *name, mode_t mode)
{
	char path[PATH_MAX];
	int fd;

	if (w->err || full_path(w, path, name))
		return -1;
	fd = openat(w->dirfd, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC,
		    mode);
	if (fd < 0)
		w->err = errno;
	return fd;
}

static __attribute__((format(printf, 3, 4))) void
put(struct writer *w, const char *name, const char *fmt, ...)
{
	int fd = create_file(w, name, 0444);
	va_list ap;
	FILE *f;

	if (fd < 0)
		return;
	f = fdopen(fd, "w");
	if (!f) {
		w->err = errno;
		close(fd);
		return;
	}
	va_start(ap, fmt);
	vfprintf(f, fmt, ap);
	va_end(ap);
	if (fclose(f))
		w->err = errno;
}

/* Stands for a device, which programs ask for the right to write to. */
static void put_placeholder(struct writer *w, const char *name)
{
	int fd = create_file(w, name, 0666);

	if (fd >= 0)
		close(fd);
}

static __attribute__((format(printf, 2, 3))) void
enter(struct writer *w, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	if (vsnprintf(w->at, sizeof(w->at), fmt, ap) >= (int)sizeof(w->at))
		w->err = ENAMETOOLONG;
	va_end(ap);
	make_dir(w, "");
}

static void put_guid(struct writer *w, const char *name, uint64_t guid)
{
	put(w, name, "%04x:%04x:%04x:%04x\n", (unsigned int)(guid >> 48),
	    (unsigned int)(guid >> 32) & 0xffff,
	    (unsigned int)(guid >> 16) & 0xffff, (unsigned int)guid & 0xffff);
}

static void put_gid(struct writer *w, unsigned int index,
		    const struct in6_addr *gid)
{
	const uint8_t *g = gid->s6_addr;
	char name[32];

	snprintf(name, sizeof(name), "gids/%u", index);
	put(w, name,
	    "%02x%02x:%02x%02x:%02x%02x:%02x%02x:%02x%02x:%02x%02x:%02x%02x:%02x%02x\n",
	    g[0], g[1], g[2], g[3], g[4], g[5], g[6], g[7], g[8], g[9], g[10],
	    g[11], g[12], g[13], g[14], g[15]);
}

/*
 * An entry that is not set reads as zeros in gids, and fails with EINVAL in
 * gid_attrs: the preload library sees to that where there is no file.
 */
static void put_gids(struct writer *w, const struct tz_netdev *nd)
{
	static const struct in6_addr none;
	unsigned int i;
	char name[32];

	make_dir(w, "gids");
	make_dir(w, "gid_attrs");
	make_dir(w, "gid_attrs/types");
	make_dir(w, "gid_attrs/ndevs");
	for (i = 0; i < TCPZC_GID_TABLE_LEN; i++) {
		put_gid(w, i, i < nd->num_gids ? &nd->gids[i] : &none);
		if (i >= nd->num_gids)
			continue;
		snprintf(name, sizeof(name), "gid_attrs/types/%u", i);
		put(w, name, "RoCE v2\n");
		snprintf(name, sizeof(name), "gid_attrs/ndevs/%u", i);
		put(w, name, "%s\n", nd->name);
	}
}

/* As ib_get_eth_speed() has it, printed as rate_show() does. */
static const char *rate_text(int mbps)
{
	static const struct {
		int mbps;
		const char *text;
	} rates[] = {
		{ 1000, "2.5 Gb/sec (1X SDR)" },
		{ 10000, "10 Gb/sec (1X FDR10)" },
		{ 20000, "20 Gb/sec (4X DDR)" },
		{ 25000, "25 Gb/sec (1X EDR)" },
		{ 40000, "40 Gb/sec (4X FDR10)" },
		{ 50000, "50 Gb/sec (2X EDR)" },
		{ 100000, "100 Gb/sec (4X EDR)" },
		{ 200000, "200 Gb/sec (4X HDR)" },
		{ INT_MAX, "400 Gb/sec (4X NDR)" },
	};
	unsigned int i = 0;

	while (mbps > rates[i].mbps)
		i++;
	return rates[i].text;
}

static void put_port(struct writer *w, const struct tz_netdev *nd)
{
	bool up = (nd->flags & (IFF_UP | IFF_RUNNING)) ==
		  (IFF_UP | IFF_RUNNING);

	put(w, "state", up ? "4: ACTIVE\n" : "1: DOWN\n");
	put(w, "phys_state", up ? "5: LinkUp\n" : "3: Disabled\n");
	put(w, "link_layer", "Ethernet\n");
	put(w, "lid", "0x0\n");
	put(w, "lid_mask_count", "0\n");
	put(w, "sm_lid", "0x0\n");
	put(w, "sm_sl", "0\n");
	put(w, "rate", "%s\n", rate_text(tz_netdev_speed_mbps(nd)));
	put(w, "cap_mask", "0x%08x\n", TCPZC_PORT_CAP_FLAGS);
	make_dir(w, "pkeys");
	put(w, "pkeys/0", "0x%04x\n", TCPZC_PKEY);
	make_dir(w, "counters");
	make_dir(w, "hw_counters");
	put_gids(w, nd);
}

/* To the parent, as the driver core links it */
static void link_parent(struct writer *w, const struct tz_netdev *nd)
{
	char target[32];

	snprintf(target, sizeof(target), "../../../%s", nd->name);
	make_link(w, "device", target);
}

static void put_ibdev(struct writer *w, const struct tz_netdev *nd,
		      const char *ibdev)
{
	char host[64] = "";

	gethostname(host, sizeof(host) - 1);
	put(w, "node_type", "1: CA\n");
	put_guid(w, "node_guid", tz_netdev_guid(nd));
	put_guid(w, "sys_image_guid", tz_netdev_guid(nd));
	put(w, "node_desc", "%s %s\n", host, ibdev);
	put(w, "fw_ver", TCPZC_FW_VER "\n");
	put(w, "hw_rev", "%x\n", TCPZC_HW_VER);
	put(w, "hca_type", "tcpzc\n");
	put(w, "board_id", "tcpzc\n");
	link_parent(w, nd);
	make_dir(w, "tcpzc");
	put(w, TCPZC_SYSFS_NETDEV, "%s\n", nd->name);
	put(w, TCPZC_SYSFS_IFINDEX, "%u\n", nd->ifindex);
	make_dir(w, "ports");
}

/*
 * The parent, in the place of a PCI device. Not a link to the interface's own
 * parent: its modalias would let that adapter's provider claim the device.
 */
static void put_parent(struct writer *w, const struct tz_netdev *nd)
{
	char target[64];

	put(w, "vendor", "0x%06x\n", TCPZC_VENDOR_ID);
	put(w, "device", "0x%04x\n", TCPZC_VENDOR_PART_ID);
	put(w, "numa_node", "%d\n", tz_netdev_numa_node(nd));
	make_dir(w, "net");
	snprintf(target, sizeof(target), "/sys/class/net/%s", nd->name);
	enter(w, "devices/%s/net/", nd->name);
	make_link(w, nd->name, target);
}

static void put_uverbs(struct writer *w, const struct tz_netdev *nd,
		       unsigned int num, const char *ibdev)
{
	put(w, "ibdev", "%s\n", ibdev);
	put(w, "dev", "%u:%u\n", TCPZC_UVERBS_MAJOR, TCPZC_UVERBS_MINOR + num);
	put(w, "abi_version", "%u\n", TCPZC_DRIVER_ABI);
	link_parent(w, nd);
}

/*
 * In a class directory. The kernel's links are relative; here those who follow
 * links by themselves (Python, realpath(1)) would end up below the real /sys.
 */
static void link_device(struct writer *w, const struct tz_netdev *nd,
			const char *class, const char *name)
{
	char target[PATH_MAX];

	snprintf(target, sizeof(target), "%s/devices/%s/%s/%s", w->root,
		 nd->name, class, name);
	make_link(w, name, target);
}

static void put_device(struct writer *w, const struct tz_netdev *nd,
		       unsigned int num)
{
	char ibdev[32], target[32];

	snprintf(ibdev, sizeof(ibdev), TCPZC_DEVICE_PREFIX "%u", num);
	enter(w, "devices/%s/", nd->name);
	put_parent(w, nd);

	enter(w, "devices/%s/infiniband/", nd->name);
	enter(w, "devices/%s/infiniband/%s/", nd->name, ibdev);
	put_ibdev(w, nd, ibdev);
	enter(w, "devices/%s/infiniband/%s/ports/%u/", nd->name, ibdev,
	      TCPZC_PORT);
	put_port(w, nd);

	enter(w, "devices/%s/infiniband_verbs/", nd->name);
	enter(w, "devices/%s/infiniband_verbs/uverbs%u/", nd->name, num);
	put_uverbs(w, nd, num, ibdev);

	enter(w, "class/infiniband/");
	link_device(w, nd, "infiniband", ibdev);

	/* libibverbs opens uverbsN, UCX looks for a file of the device's name */
	enter(w, "dev/infiniband/");
	snprintf(target, sizeof(target), "uverbs%u", num);
	put_placeholder(w, target);
	make_link(w, ibdev, target);
}

static void link_uverbs(struct writer *w, const struct tz_netdev *nd,
			unsigned int num)
{
	char name[32];

	snprintf(name, sizeof(name), "uverbs%u", num);
	link_device(w, nd, "infiniband_verbs", name);
}

/* Whether the directory lists uverbs0 before uverbs1 and so on. */
static bool listed_in_order(struct writer *w)
{
	unsigned int num, next = 0;
	bool in_order = true;
	struct dirent *de;
	DIR *dir;
	int fd;

	fd = openat(w->dirfd, w->at, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir)
		return true;
	while ((de = readdir(dir)))
		if (sscanf(de->d_name, "uverbs%u", &num) == 1 && num != next++)
			in_order = false;
	closedir(dir);
	return in_order;
}

/*
 * libibverbs lists devices in the order in which readdir() returns these, and
 * many programs take the first one. tmpfs returns the newest entry first, other
 * file systems the oldest; try the one and then the other.
 */
static void put_verbs_class(struct writer *w,
			    const struct tz_netdev *const *devs,
			    unsigned int num)
{
	char name[sizeof(w->at) + 16];
	unsigned int i;

	enter(w, "class/infiniband_verbs/");
	put(w, "abi_version", "%u\n", TCPZC_VERBS_ABI);
	for (i = num; i--;)
		link_uverbs(w, devs[i], i);
	if (w->err || listed_in_order(w))
		return;
	for (i = 0; i < num; i++) {
		snprintf(name, sizeof(name), "%suverbs%u", w->at, i);
		unlinkat(w->dirfd, name, 0);
	}
	for (i = 0; i < num; i++)
		link_uverbs(w, devs[i], i);
}

/* The connection manager; librdmacm reads its version, and opens it. */
static void put_rdmacm(struct writer *w)
{
	enter(w, "class/misc/");
	enter(w, "class/misc/rdma_cm/");
	put(w, "abi_version", "%u\n", TCPZC_RDMACM_ABI);
	enter(w, "dev/infiniband/");
	put_placeholder(w, "rdma_cm");
}

/**
 * tz_tree_fill - write the tree
 * @dir: where; empty
 * @devs: the interfaces that become devices, in the order of their numbers
 * @num: how many
 *
 * Returns 0, or -1 with errno set.
 */
int tz_tree_fill(const struct tz_dir *dir, const struct tz_netdev *const *devs,
		 unsigned int num)
{
	struct writer w = { .root = dir->path, .dirfd = dir->fd };
	mode_t mask = umask(0);
	unsigned int i;

	enter(&w, "devices/");
	enter(&w, "class/");
	enter(&w, "class/infiniband/");
	enter(&w, "dev/");
	enter(&w, "dev/infiniband/");
	for (i = 0; i < num; i++)
		put_device(&w, devs[i], i);
	put_verbs_class(&w, devs, num);
	put_rdmacm(&w);
	umask(mask);
	errno = w.err;
	return w.err ? -1 : 0;
}
