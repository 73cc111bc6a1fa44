// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * rights.c - programs that change what they are: they give up root's rights, go to
 * another root, clear their environment; and an interface that is renamed while
 * they use it.
 */
#include "common.h"

#include <fcntl.h>
#include <grp.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define NOBODY	65534

static void write_between(struct pair *p)
{
	fill(p->a->mem, 5000, 1);
	post_send(p->a, wr_rdma(p->a, IBV_WR_RDMA_WRITE, 1, 0, 5000, p->b, 0));
	expect_send(p->a, 1, IBV_WC_SUCCESS);
	check_fill(p->b->mem, 5000, 1);
}

static void give_up_rights(void)
{
	if (geteuid())
		test_skip("needs root to become another user");
	check(!setgroups(0, NULL) && !setgid(NOBODY) && !setuid(NOBODY));
}

static void leave_root(void)
{
	char dir[] = "/tmp/tcpzc-rights-XXXXXX";

	if (geteuid())
		test_skip("needs root to go to another root");
	if (test_is_sanitized())
		test_skip("sanitizers need /proc");
	check(mkdtemp(dir));
	check(!chdir(dir) && !rmdir(dir));
	check_msg(!chroot("."), "chroot: %m");
}

static void expect_traffic(void)
{
	struct pair p;

	pair_open(&p, TOPO_CONTEXTS, &(struct opts){ .mem_bytes = MIB }, NULL);
	write_between(&p);
	pair_close(&p);
}

static void another_user_finds_devices(void)
{
	if (geteuid())
		test_skip("needs root to become another user");
	give_up_rights();
	expect_traffic();
}

/* Other users' programs, which were not told the name of the tree. */
static void other_users_see_nothing(void)
{
	char top[256], *name;
	int fd;

	check(getenv("TCPZC_TREE"));
	snprintf(top, sizeof(top), "%s", getenv("TCPZC_TREE"));
	name = strrchr(top, '/');
	*name = '\0';
	give_up_rights();
	fd = open(top, O_RDONLY | O_DIRECTORY);
	check_msg(fd < 0 && errno == EACCES, "%s can be listed and locked", top);
	check(strlen(name + 1) >= 16);
	check(access(top, W_OK) && access(getenv("TCPZC_TREE"), W_OK));
}

static void use_channel(struct ibv_context *ctx, struct ibv_comp_channel *ch)
{
	struct ibv_comp_channel *next;
	struct ibv_cq *cq;

	cq = ibv_create_cq(ctx, 16, NULL, ch, 0);
	check_msg(cq, "a CQ of a channel from before: %m");
	check_rc(ibv_destroy_cq(cq), 0);
	next = ibv_create_comp_channel(ctx);
	check_msg(next, "a channel: %m");
	cq = ibv_create_cq(ctx, 16, NULL, next, 0);
	check_msg(cq, "a CQ of a new channel: %m");
	check_rc(ibv_destroy_cq(cq), 0);
	check_rc(ibv_destroy_comp_channel(next), 0);
	check_rc(ibv_destroy_comp_channel(ch), 0);
}

static void channels_after(void (*change)(void))
{
	struct ibv_comp_channel *ch;
	struct ibv_context *ctx;
	struct pair p;

	pair_open(&p, TOPO_CONTEXTS, &(struct opts){ .mem_bytes = MIB }, NULL);
	ctx = p.a->ctx;
	ch = ibv_create_comp_channel(ctx);
	check(ch);
	change();
	use_channel(ctx, ch);
	write_between(&p);
	pair_close(&p);
}

static void channels_of_another_user(void)
{
	channels_after(give_up_rights);
}

static void channels_in_another_root(void)
{
	channels_after(leave_root);
}

static void environment_is_cleared(void)
{
	check(!clearenv());
	check(!setenv("PATH", "/usr/bin:/bin", 1));
	expect_traffic();
}

/* ---- a renamed interface ------------------------------------------------ */

static void netdev_name(struct ibv_context *ctx, char name[IF_NAMESIZE])
{
	char path[512];
	FILE *f;

	snprintf(path, sizeof(path), "%s/tcpzc/netdev", ctx->device->ibdev_path);
	f = fopen(path, "r");
	if (!f)
		test_skip("not a device of tcpzc-run's");
	check(fscanf(f, "%15s", name) == 1);
	fclose(f);
}

static void rename_netdev(const char *name, const char *to)
{
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	struct ifreq ifr = {};

	strcpy(ifr.ifr_name, name);
	strcpy(ifr.ifr_newname, to);
	if (ioctl(fd, SIOCSIFNAME, &ifr))
		test_skip("an interface that is up cannot be renamed here: %s",
			  strerror(errno));
	close(fd);
}

static void same_port(struct ibv_context *ctx, const struct ibv_port_attr *was,
		      const struct ibv_gid_entry *gid)
{
	struct ibv_port_attr is;
	struct ibv_gid_entry gids[16];

	check_rc(ibv_query_port(ctx, 1, &is), 0);
	check_eq(is.state, was->state);
	check_eq(is.active_mtu, was->active_mtu);
	check_eq(is.active_speed, was->active_speed);
	check(ibv_query_gid_table(ctx, gids, ARRAY_SIZE(gids), 0) > 0);
	check_eq(gids[0].ndev_ifindex, gid->ndev_ifindex);
}

/* For an interface of its own (tests/apps/devices.py). */
static void interface_is_renamed(void)
{
	struct ibv_port_attr was;
	struct ibv_gid_entry gids[16];
	struct ibv_context *ctx;
	char name[IF_NAMESIZE];

	ctx = open_device(NULL);
	netdev_name(ctx, name);
	if (!strcmp(name, "lo"))
		test_skip("the loopback interface keeps its name");
	check_rc(ibv_query_port(ctx, 1, &was), 0);
	check_eq(was.state, IBV_PORT_ACTIVE);
	check(ibv_query_gid_table(ctx, gids, ARRAY_SIZE(gids), 0) > 0);
	rename_netdev(name, "tcpzc-renamed");
	same_port(ctx, &was, gids);
	ibv_close_device(ctx);
	ctx = open_device(NULL);
	same_port(ctx, &was, gids);
	ibv_close_device(ctx);
	expect_traffic();
}

static const struct test_case cases[] = {
	CASE(another_user_finds_devices),
	CASE(other_users_see_nothing),
	CASE(channels_of_another_user),
	CASE(channels_in_another_root),
	CASE(environment_is_cleared),
	CASE(interface_is_renamed),
	CASES_END
};

int main(int argc, char **argv)
{
	return test_main(argc, argv, cases);
}
