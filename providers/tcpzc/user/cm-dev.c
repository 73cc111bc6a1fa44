// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * cm-dev.c - the devices that tcpzc-run has made, addresses and routes.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "cm.h"
#include "links.h"
#include "port.h"

u16 cm_well_known_port = TZ_WELL_KNOWN_PORT;
static struct cm_dev *cm_devs;
static u32 cm_num_devs;

/* ---- the tree ----------------------------------------------------------- */

static bool cm_read(const char *dev, const char *file, char *text, size_t size)
{
	char path[512];
	size_t n;
	FILE *f;

	snprintf(path, sizeof(path), "%s/class/infiniband/%s/%s",
		 getenv(TCPZC_ENV_TREE), dev, file);
	f = fopen(path, "re");
	if (!f)
		return false;
	n = fread(text, 1, size - 1, f);
	fclose(f);
	text[n] = '\0';
	text[strcspn(text, "\n")] = '\0';
	return n > 0;
}

static bool cm_read_words(const char *dev, const char *file, u16 *word, int n)
{
	char text[64], *at = text;
	int i;

	if (!cm_read(dev, file, text, sizeof(text)))
		return false;
	for (i = 0; i < n; i++) {
		word[i] = strtoul(at, &at, 16);
		if (*at == ':')
			at++;
	}
	return true;
}

static void cm_read_gid(struct cm_dev *d, int index)
{
	char file[32];
	u16 w[8];
	int i;

	snprintf(file, sizeof(file), "ports/1/gids/%d", index);
	memset(d->gids[index], 0, 16);
	if (!cm_read_words(d->name, file, w, 8))
		return;
	for (i = 0; i < 8; i++) {
		d->gids[index][2 * i] = w[i] >> 8;
		d->gids[index][2 * i + 1] = w[i];
	}
}

/* As RoCE v2: IP, UDP, base and extended transport headers, ICRC. */
static u8 cm_mtu(u32 ifindex)
{
	struct ifreq ifr = {};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	u8 mtu = 1;

	ifr.ifr_ifindex = ifindex;
	if (fd < 0 || ioctl(fd, SIOCGIFNAME, &ifr) ||
	    ioctl(fd, SIOCGIFMTU, &ifr))
		ifr.ifr_mtu = 1500;
	if (fd >= 0)
		close(fd);
	while (mtu < 5 && ifr.ifr_mtu - 86 >= 128 << (mtu + 1))
		mtu++;
	return mtu;
}

static bool cm_dev_read(struct cm_dev *d, const char *name)
{
	char ifindex[16];
	u16 w[4];
	int i;

	memset(d, 0, sizeof(*d));
	if (strlen(name) >= sizeof(d->name))
		return false;
	strcpy(d->name, name);
	if (!cm_read(name, TCPZC_SYSFS_IFINDEX, ifindex, sizeof(ifindex)) ||
	    !cm_read_words(name, "node_guid", w, 4))
		return false;
	d->guid = (u64)w[0] << 48 | (u64)w[1] << 32 | (u64)w[2] << 16 | w[3];
	d->ifindex = strtoul(ifindex, NULL, 10);
	d->mtu = cm_mtu(d->ifindex);
	for (i = 0; i < TCPZC_GID_TABLE_LEN; i++)
		cm_read_gid(d, i);
	return true;
}

/* As the queue pairs have it: ub_settings.c */
static bool cm_read_port(void)
{
	const char *value = getenv(TZ_ENV_PORT);

	if (!value || !*value || tz_port_parse(value, &cm_well_known_port))
		return true;
	fprintf(stderr, "tcpzc: rdma_cm: %s=%s: expected 1..65535\n",
		TZ_ENV_PORT, value);
	return false;
}

int cm_dev_load(void)
{
	char path[512];
	struct dirent *de;
	DIR *dir;

	if (cm_devs)
		return 0;
	if (!getenv(TCPZC_ENV_TREE))
		return ENODEV;
	if (!cm_read_port())
		return EINVAL;
	cm_devs = calloc(TCPZC_MAX_DEVICES, sizeof(*cm_devs));
	if (!cm_devs)
		return ENOMEM;
	snprintf(path, sizeof(path), "%s/class/infiniband",
		 getenv(TCPZC_ENV_TREE));
	dir = opendir(path);
	while (dir && cm_num_devs < TCPZC_MAX_DEVICES && (de = readdir(dir)))
		if (de->d_name[0] != '.' &&
		    cm_dev_read(&cm_devs[cm_num_devs], de->d_name))
			cm_num_devs++;
	if (dir)
		closedir(dir);
	return 0;
}

const struct cm_dev *cm_dev_find(const u8 gid[16], u32 ifindex, u8 *index)
{
	static const u8 none[16];
	u32 i, j;

	if (!memcmp(gid, none, 16))
		return NULL;
	for (i = 0; i < cm_num_devs; i++) {
		for (j = 0; j < TCPZC_GID_TABLE_LEN; j++) {
			if (cm_devs[i].gone ||
			    !cm_gid_same(cm_devs[i].gids[j], cm_devs[i].ifindex, gid,
					 ifindex ? ifindex : cm_devs[i].ifindex))
				continue;
			*index = j;
			return &cm_devs[i];
		}
	}
	return NULL;
}

/* Of devices that share an address the first one. */
static bool cm_gid_is_first(u32 dev, u32 gid)
{
	const struct cm_dev *d = &cm_devs[dev];
	u32 i, j;

	for (i = 0; i <= dev; i++)
		for (j = 0; j < (i < dev ? TCPZC_GID_TABLE_LEN : gid); j++)
			if (cm_gid_same(cm_devs[i].gids[j], cm_devs[i].ifindex,
					d->gids[gid], d->ifindex))
				return false;
	return true;
}

int cm_dev_each_gid(int (*fn)(const u8 gid[16], u32 ifindex, void *arg), void *arg)
{
	static const u8 none[16];
	int err = 0;
	u32 i, j;

	for (i = 0; i < cm_num_devs && !err; i++)
		for (j = 0; j < TCPZC_GID_TABLE_LEN && !err; j++)
			if (memcmp(cm_devs[i].gids[j], none, 16) != 0 &&
			    cm_gid_is_first(i, j))
				err = fn(cm_devs[i].gids[j], cm_devs[i].ifindex, arg);
	return err;
}

/* ---- devices that go ---------------------------------------------------- */

static struct cm_fd cm_links = { .fd = -1 };

static void cm_dev_changed(void *arg, const struct tz_link *link)
{
	char name[IF_NAMESIZE];
	struct cm_dev *d;
	bool gone;
	u32 i;

	(void)arg;
	for (i = 0; i < cm_num_devs; i++) {
		d = &cm_devs[i];
		if (d->gone || (link->ifindex && link->ifindex != d->ifindex))
			continue;
		gone = link->ifindex ? link->gone :
				       !if_indextoname(d->ifindex, name);
		if (!gone)
			continue;
		d->gone = true;
		cm_id_dev_gone(d);
	}
}

static void cm_dev_ready(struct cm_fd *fd, u32 events)
{
	(void)events;
	tz_links_read(fd->fd, cm_dev_changed, NULL);
}

/* Where the kernel does not tell (a sandbox without rtnetlink), devices stay. */
void cm_dev_watch(void)
{
	cm_links.fd = tz_links_open();
	cm_links.ready = cm_dev_ready;
	if (cm_links.fd >= 0 && !cm_net_watch(&cm_links, EPOLLIN))
		cm_dev_unwatch();
}

void cm_dev_unwatch(void)
{
	cm_net_close(&cm_links);
}

/* ---- addresses ---------------------------------------------------------- */

bool cm_addr_ok(const union cm_addr *a)
{
	return a->sa.sa_family == AF_INET || a->sa.sa_family == AF_INET6;
}

bool cm_addr_any(const union cm_addr *a)
{
	if (a->sa.sa_family == AF_INET)
		return a->in.sin_addr.s_addr == INADDR_ANY;
	return IN6_IS_ADDR_UNSPECIFIED(&a->in6.sin6_addr);
}

u16 cm_addr_port(const union cm_addr *a)
{
	return ntohs(a->sa.sa_family == AF_INET ? a->in.sin_port :
						  a->in6.sin6_port);
}

void cm_addr_set_port(union cm_addr *a, u16 port)
{
	if (a->sa.sa_family == AF_INET)
		a->in.sin_port = htons(port);
	else
		a->in6.sin6_port = htons(port);
}

void cm_addr_gid(const union cm_addr *a, u8 gid[16])
{
	if (a->sa.sa_family == AF_INET6) {
		memcpy(gid, &a->in6.sin6_addr, 16);
		return;
	}
	memset(gid, 0, 10);
	memset(gid + 10, 0xff, 2);
	memcpy(gid + 12, &a->in.sin_addr, 4);
}

u32 cm_addr_scope(const union cm_addr *a)
{
	if (a->sa.sa_family != AF_INET6 || !IN6_IS_ADDR_LINKLOCAL(&a->in6.sin6_addr))
		return 0;
	return a->in6.sin6_scope_id;
}

void cm_addr_from_gid(union cm_addr *a, const u8 gid[16], u32 ifindex, u16 port)
{
	memset(a, 0, sizeof(*a));
	if (tz_gid_is_v4(gid)) {
		a->in.sin_family = AF_INET;
		memcpy(&a->in.sin_addr, gid + 12, 4);
	} else {
		a->in6.sin6_family = AF_INET6;
		memcpy(&a->in6.sin6_addr, gid, 16);
		if (cm_gid_link_local(gid))
			a->in6.sin6_scope_id = ifindex;
	}
	cm_addr_set_port(a, port);
}

bool cm_addr_local(const union cm_addr *a)
{
	union cm_addr at = *a;
	int fd = socket(at.sa.sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool local;

	if (fd < 0)
		return false;
	cm_addr_set_port(&at, 0);
	local = !bind(fd, &at.sa, cm_addr_len(&at));
	close(fd);
	return local;
}

int cm_route(const union cm_addr *dst, union cm_addr *src)
{
	union cm_addr to = *dst;
	socklen_t len = sizeof(*src);
	int fd, err = 0;

	fd = socket(to.sa.sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return errno;
	cm_addr_set_port(&to, cm_well_known_port);
	memset(src, 0, sizeof(*src));
	if (connect(fd, &to.sa, cm_addr_len(&to)) ||
	    getsockname(fd, &src->sa, &len))
		err = errno;
	close(fd);
	if (!err)
		cm_addr_set_port(src, 0);
	return err;
}
