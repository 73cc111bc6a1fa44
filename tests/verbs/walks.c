// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * walks.c - the functions of libc that read directories by themselves find the
 * devices: scandir(), scandirat(), nftw(), fts
 */
#include "common.h"

#include <dirent.h>
#include <fcntl.h>
#include <fts.h>
#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>

#define CLASS		"/sys/class/infiniband"

static const char *device;

static void find_device(void)
{
	struct ibv_device **list = ibv_get_device_list(NULL);

	check(list && list[0]);
	device = strdup(ibv_get_device_name(list[0]));
	check(device);
	ibv_free_device_list(list);
}

static unsigned int count(struct dirent **list, int num, const char *name)
{
	unsigned int found = 0;
	int i;

	for (i = 0; i < num; i++) {
		found += !strcmp(list[i]->d_name, name);
		free(list[i]);
	}
	free(list);
	return found;
}

static int not_hidden(const struct dirent *de)
{
	return de->d_name[0] != '.';
}

static int only_net(const struct dirent *de)
{
	return !strcmp(de->d_name, "net");
}

static void expect_in(const char *dir, const char *name)
{
	struct dirent **list;
	int fd, num;

	test_context("%s in %s", name, dir);
	num = scandir(dir, &list, not_hidden, alphasort);
	check_eq(count(list, num, name), 1);
	num = scandir(dir, &list, NULL, NULL);
	check_eq(count(list, num, name), 1);

	fd = open(dir, O_RDONLY | O_DIRECTORY);
	check(fd >= 0);
	num = scandirat(fd, ".", &list, not_hidden, alphasort);
	check_eq(count(list, num, name), 1);
	check(!close(fd));
	fd = open("/", O_RDONLY | O_DIRECTORY);
	check(fd >= 0);
	num = scandirat(fd, dir + 1, &list, not_hidden, alphasort);
	check_eq(count(list, num, name), 1);
	check(!close(fd));
}

static void scandir_lists_devices(void)
{
	struct dirent **list;
	unsigned int fds;

	find_device();
	expect_in("/dev/infiniband", "uverbs0");
	/* After the one that the preload library keeps for devices */
	fds = count_fds();
	expect_in("/sys/class", "infiniband");
	expect_in("/sys/class", "infiniband_verbs");
	expect_in("/sys/class", "net");
	expect_in("/dev", "infiniband");
	expect_in("/dev", "null");
	expect_in(CLASS, device);
	check_eq(scandir("/sys/class", &list, only_net, alphasort), 1);
	check_eq(count(list, 1, "net"), 1);
	check_eq(scandir("/sys/class/none", &list, NULL, NULL), -1);
	check_eq(errno, ENOENT);
	check_eq(count_fds(), fds);
}

static unsigned int seen;

static int see(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	seen += ftw->level == 1 && !strcmp(path + ftw->base, device);
	return ftw->level ? FTW_SKIP_SUBTREE : FTW_CONTINUE;
}

static void nftw_walks(void)
{
	find_device();
	check_rc(nftw(CLASS, see, 8, FTW_PHYS | FTW_ACTIONRETVAL), 0);
	check_eq(seen, 1);
}

/* A node's type is read as fts tells where it is. */
static void read_type(const char *path)
{
	char type[8] = "";
	int fd = open(path, O_RDONLY);

	check_msg(fd >= 0, "%s: %m", path);
	check(read(fd, type, sizeof(type) - 1) > 0);
	check_msg(!strncmp(type, "1: CA", 5), "%s says %s", path, type);
	check(!close(fd));
}

static void walk_class(int options)
{
	char *const paths[] = { (char *)CLASS, (char *)"/sys/class/none", NULL };
	unsigned int types = 0, missing = 0;
	FTS *walk = fts_open(paths, options, NULL);
	FTSENT *e;

	check(walk);
	while ((e = fts_read(walk))) {
		missing += e->fts_info == FTS_NS;
		if (e->fts_level == 2 && !strcmp(e->fts_name, "node_type") &&
		    !strcmp(e->fts_parent->fts_name, device)) {
			read_type(e->fts_accpath);
			types++;
		}
		if (e->fts_level == 2)
			fts_set(walk, e, FTS_SKIP);
	}
	check(!fts_close(walk));
	check_eq(types, 1);
	check_eq(missing, 1);
}

static void fts_walks(void)
{
	find_device();
	walk_class(FTS_LOGICAL | FTS_NOCHDIR);
	walk_class(FTS_LOGICAL);
}

static bool is_device(const FTSENT *e)
{
	struct stat st;

	if (strcmp(e->fts_name, "uverbs0"))
		return false;
	check_eq(e->fts_info, FTS_DEFAULT);
	check(S_ISCHR(e->fts_statp->st_mode));
	check(!stat("/dev/infiniband/uverbs0", &st));
	check_eq(e->fts_statp->st_rdev, st.st_rdev);
	return true;
}

static void fts_sees_devices(void)
{
	char *const paths[] = { (char *)"/dev/infiniband", NULL };
	unsigned int children = 0, read = 0;
	FTS *walk = fts_open(paths, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
	FTSENT *e;

	check(walk && fts_read(walk));
	for (e = fts_children(walk, 0); e; e = e->fts_link)
		children += is_device(e);
	while ((e = fts_read(walk)))
		read += is_device(e);
	check(!fts_close(walk));
	check_eq(children, 1);
	check_eq(read, 1);
}

int main(int argc, char **argv)
{
	static const struct test_case cases[] = {
		CASE(scandir_lists_devices),
		CASE(nftw_walks),
		CASE(fts_walks),
		CASE(fts_sees_devices),
		CASES_END,
	};

	return test_main(argc, argv, cases);
}
