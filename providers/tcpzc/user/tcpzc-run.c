// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * tcpzc-run - run a program with RDMA devices made of this host's interfaces
 *
 * Generates the tree (sysfs-*.c), chooses the libraries, sets up the
 * environment, runs the program and clears away.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tcpzc-run.h"

static bool verbose;

static __attribute__((format(printf, 1, 0))) void say(const char *fmt,
						       va_list ap)
{
	fputs("tcpzc-run: ", stderr);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
}

void die(int status, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say(fmt, ap);
	va_end(ap);
	exit(status);
}

void warn(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say(fmt, ap);
	va_end(ap);
}

void info(const char *fmt, ...)
{
	va_list ap;

	if (!verbose)
		return;
	va_start(ap, fmt);
	say(fmt, ap);
	va_end(ap);
}

static void usage(FILE *f)
{
	fputs("usage: tcpzc-run [options] PROGRAM [ARG...]\n"
	      "\n"
	      "Runs PROGRAM with RDMA devices tcpzc0, tcpzc1, ... that work over TCP.\n"
	      "They are the interfaces named in TCPZC_NETDEV (comma separated), or else\n"
	      "every interface that is up and has an address, loopback last.\n"
	      "\n"
	      "  -v, --verbose  say which devices and libraries are used, and why\n"
	      "  -k, --keep     keep the generated files and say where they are\n"
	      "  -h, --help\n"
	      "  -V, --version\n"
	      "\n"
	      "Exits as PROGRAM does; 125: tcpzc-run failed, 126: PROGRAM cannot be run\n"
	      "this way, 127: not found. See tcpzc-run(1), tcpzc(7).\n",
	      f);
}

/* The interfaces to use, in the order of the devices. */
struct selection {
	struct tz_netdevs all;
	const struct tz_netdev *dev[TCPZC_MAX_DEVICES];
	unsigned int num;
};

static const struct tz_netdev *find_netdev(const struct tz_netdevs *all,
					   const char *name)
{
	unsigned int i;

	for (i = 0; i < all->num; i++)
		if (!strcmp(all->dev[i].name, name))
			return &all->dev[i];
	return NULL;
}

static __attribute__((noreturn)) void
die_unknown(const struct tz_netdevs *all, const char *name)
{
	char list[1024] = "";
	size_t len = 0;
	unsigned int i;

	for (i = 0; i < all->num && len < sizeof(list); i++)
		len += snprintf(list + len, sizeof(list) - len, "%s%s",
				i ? ", " : "", all->dev[i].name);
	die(EXIT_OURS, "TCPZC_NETDEV: there is no interface %s here (there is: %s)",
	    name, list);
}

static void select_one(struct selection *sel, const char *name)
{
	const struct tz_netdev *nd = find_netdev(&sel->all, name);
	unsigned int i;

	if (!nd)
		die_unknown(&sel->all, name);
	if (!tz_netdev_usable(nd))
		die(EXIT_OURS, "TCPZC_NETDEV: interface %s %s", name,
		    nd->flags & IFF_UP ? "has no address" : "is down");
	for (i = 0; i < sel->num; i++)
		if (sel->dev[i] == nd)
			die(EXIT_OURS, "TCPZC_NETDEV: %s is named twice", name);
	if (sel->num == TCPZC_MAX_DEVICES)
		die(EXIT_OURS, "TCPZC_NETDEV: more than %d interfaces",
		    TCPZC_MAX_DEVICES);
	sel->dev[sel->num++] = nd;
}

static void select_named(struct selection *sel, const char *names)
{
	char *list = strdup(names);
	char *rest = list, *name;

	if (!list)
		die(EXIT_OURS, "out of memory");
	while ((name = strsep(&rest, ", \t")))
		if (*name)
			select_one(sel, name);
	free(list);
	if (!sel->num)
		die(EXIT_OURS, "TCPZC_NETDEV names no interface");
}

static void select_usable(struct selection *sel, unsigned int loopback)
{
	const struct tz_netdev *nd;
	unsigned int i;

	for (i = 0; i < sel->all.num; i++) {
		nd = &sel->all.dev[i];
		if ((nd->flags & IFF_LOOPBACK) != loopback ||
		    !tz_netdev_usable(nd))
			continue;
		if (sel->num == TCPZC_MAX_DEVICES) {
			warn("only the first %d interfaces become devices",
			     TCPZC_MAX_DEVICES);
			return;
		}
		sel->dev[sel->num++] = nd;
	}
}

static void select_netdevs(struct selection *sel)
{
	const char *names = getenv("TCPZC_NETDEV");

	memset(sel, 0, sizeof(*sel));
	if (tz_netdevs_read(&sel->all))
		die(EXIT_OURS, "cannot list the network interfaces: %s",
		    strerror(errno));
	if (names && *names) {
		select_named(sel, names);
	} else {
		select_usable(sel, 0);
		select_usable(sel, IFF_LOOPBACK);
	}
	if (!sel->num)
		die(EXIT_OURS, "no interface is up and has an address (in a new "
		    "network namespace: ip link set lo up)");
}

/*
 * The kernel's own devices cannot be shown beside ours: libibverbs takes its
 * list either from netlink or from the tree.
 */
static void check_kernel_rdma(void)
{
	struct dirent *de;
	char list[256] = "";
	size_t len = 0;
	DIR *dir;

	if (getenv(TCPZC_ENV_TREE))
		return;	/* run by a tcpzc-run: those are its devices */
	dir = opendir("/sys/class/infiniband");
	if (!dir)
		return;
	while ((de = readdir(dir)) && len < sizeof(list))
		if (de->d_name[0] != '.')
			len += snprintf(list + len, sizeof(list) - len, " %s",
					de->d_name);
	closedir(dir);
	if (len)
		warn("this kernel has RDMA devices:%s; they are hidden from the "
		     "program, which sees tcpzc devices only", list);
	else
		info("this kernel has RDMA but no device; it is not used");
}

static void report(const struct selection *sel, const struct tz_dir *tree)
{
	char addr[INET6_ADDRSTRLEN];
	const struct in6_addr *gid;
	unsigned int i;

	for (i = 0; i < sel->num; i++) {
		gid = &sel->dev[i]->gids[0];
		info(TCPZC_DEVICE_PREFIX "%u is %s, GID 0 %s", i,
		     sel->dev[i]->name,
		     inet_ntop(AF_INET6, gid, addr, sizeof(addr)));
	}
	info("generated files are in %s", tree->path);
}

static int try_place(struct tz_dir *tree, const struct selection *sel,
		     const char *base)
{
	int err;

	if (tz_dir_create(tree, base))
		return errno;
	if (!tz_tree_fill(tree, sel->dev, sel->num))
		return 0;
	err = errno;
	tz_dir_remove(tree);
	return err;
}

/* A place may be missing, closed to us, read-only, full: then the next one. */
static void make_tree(struct tz_dir *tree, const struct selection *sel)
{
	struct tz_place places[TZ_MAX_PLACES];
	unsigned int i, num = tz_dir_places(places);
	char list[1024] = "";
	size_t len = 0;

	for (i = 0; i < num; i++) {
		places[i].err = try_place(tree, sel, places[i].path);
		if (!places[i].err)
			return;
		info("no files in %s: %s", places[i].path,
		     strerror(places[i].err));
	}
	for (i = 0; i < num && len < sizeof(list); i++)
		len += snprintf(list + len, sizeof(list) - len, "%s%s: %s",
				i ? ", " : "", places[i].path,
				strerror(places[i].err));
	die(EXIT_OURS, "no place for the generated files, which need some 200 "
	    "KiB (%s); set TMPDIR to a directory that has room", list);
}

static bool parse_options(int argc, char **argv)
{
	static const struct option options[] = {
		{ "verbose", no_argument, NULL, 'v' },
		{ "keep", no_argument, NULL, 'k' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{}
	};
	bool keep = false;
	int opt;

	while ((opt = getopt_long(argc, argv, "+vkhV", options, NULL)) != -1) {
		switch (opt) {
		case 'v':
			verbose = true;
			break;
		case 'k':
			keep = true;
			break;
		case 'h':
			usage(stdout);
			exit(0);
		case 'V':
			puts("tcpzc-run " TCPZC_VERSION);
			exit(0);
		default:
			usage(stderr);
			exit(EXIT_OURS);
		}
	}
	return keep;
}

int main(int argc, char **argv)
{
	bool keep = parse_options(argc, argv);
	struct elf_info program;
	struct selection sel;
	char path[MAX_PATH];
	struct tz_dir tree;
	struct libs libs;
	int status;

	if (optind == argc) {
		usage(stderr);
		return EXIT_OURS;
	}
	program_find(argv[optind], path);
	program_check(path, &program);
	check_kernel_rdma();
	libs_choose(&libs);
	select_netdevs(&sel);
	make_tree(&tree, &sel);
	report(&sel, &tree);
	tz_netdevs_free(&sel.all);
	env_set(&libs, &tree, &program);

	status = child_run(argv + optind, path);
	if (keep)
		warn("kept %s", tree.path);
	else
		tz_dir_remove(&tree);
	exit_as(status);
}
