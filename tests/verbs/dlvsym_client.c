// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * dlvsym_client - finds and opens devices the way NCCL does
 *
 * Not linked with libibverbs: it is loaded with dlopen() and its functions are
 * looked up with dlvsym(), version IBVERBS_1.1 first, so that nothing of it can
 * be interposed. Prints what it sees of each device, and creates one object of each
 * kind. Exits with 0 if there is a device and everything worked.
 *
 *   dlvsym_client [DEVICE...]     all devices if none is named
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <infiniband/verbs.h>

/* These are macros in verbs.h, which go around the exported symbols. */
#undef ibv_query_port
#undef ibv_reg_mr

/* Name, return type, arguments */
#define VERBS(X)                                                               \
	X(get_device_list, struct ibv_device **, (int *))                      \
	X(free_device_list, void, (struct ibv_device **))                      \
	X(get_device_name, const char *, (struct ibv_device *))                \
	X(open_device, struct ibv_context *, (struct ibv_device *))            \
	X(close_device, int, (struct ibv_context *))                           \
	X(query_device, int, (struct ibv_context *, struct ibv_device_attr *)) \
	X(query_port, int,                                                     \
	  (struct ibv_context *, uint8_t, struct ibv_port_attr *))             \
	X(query_gid, int,                                                      \
	  (struct ibv_context *, uint8_t, int, union ibv_gid *))               \
	X(query_pkey, int, (struct ibv_context *, uint8_t, int, __be16 *))     \
	X(alloc_pd, struct ibv_pd *, (struct ibv_context *))                   \
	X(dealloc_pd, int, (struct ibv_pd *))                                  \
	X(reg_mr, struct ibv_mr *, (struct ibv_pd *, void *, size_t, int))     \
	X(dereg_mr, int, (struct ibv_mr *))                                    \
	X(create_comp_channel, struct ibv_comp_channel *,                      \
	  (struct ibv_context *))                                              \
	X(destroy_comp_channel, int, (struct ibv_comp_channel *))              \
	X(create_cq, struct ibv_cq *,                                          \
	  (struct ibv_context *, int, void *, struct ibv_comp_channel *, int)) \
	X(destroy_cq, int, (struct ibv_cq *))                                  \
	X(create_qp, struct ibv_qp *,                                          \
	  (struct ibv_pd *, struct ibv_qp_init_attr *))                        \
	X(modify_qp, int, (struct ibv_qp *, struct ibv_qp_attr *, int))        \
	X(destroy_qp, int, (struct ibv_qp *))                                  \
	X(fork_init, int, (void))

static struct {
#define MEMBER(name, type, args) type(*name) args;
	VERBS(MEMBER)
#undef MEMBER
} ibv;

static const char *current = "libibverbs";
static int failures;

static bool check(bool ok, const char *what)
{
	if (!ok) {
		fprintf(stderr, "%s: %s: %s\n", current, what, strerror(errno));
		failures++;
	}
	return ok;
}

/* As functions that return errno have it */
static bool check_rc(int rc, const char *what)
{
	if (rc > 0)
		errno = rc;
	return check(!rc, what);
}

/* Those that never changed have the first version. */
static void *find_symbol(void *lib, const char *name)
{
	void *sym = dlvsym(lib, name, "IBVERBS_1.1");

	if (!sym)
		sym = dlvsym(lib, name, "IBVERBS_1.0");
	if (!sym)
		fprintf(stderr, "%s\n", dlerror());
	return sym;
}

static bool load(void)
{
	void *lib = dlopen("libibverbs.so.1", RTLD_NOW);

	if (!lib) {
		fprintf(stderr, "%s\n", dlerror());
		return false;
	}
#define RESOLVE(name, type, args)                                              \
	ibv.name = (type(*) args)find_symbol(lib, "ibv_" #name);               \
	if (!ibv.name)                                                         \
		return false;
	VERBS(RESOLVE)
#undef RESOLVE
	return true;
}

/* NCCL reads these itself, below the real /sys. */
static void show_sysfs(const char *name, int index)
{
	char path[PATH_MAX], text[64] = "", real[PATH_MAX];
	ssize_t len;
	int fd;

	snprintf(path, sizeof(path),
		 "/sys/class/infiniband/%s/ports/1/gid_attrs/types/%d", name,
		 index);
	fd = open(path, O_RDONLY);
	if (!check(fd >= 0, path))
		return;
	len = read(fd, text, sizeof(text) - 1);
	check(len > 0, path);
	close(fd);
	text[strcspn(text, "\n")] = 0;
	snprintf(path, sizeof(path), "/sys/class/infiniband/%s/device", name);
	check(realpath(path, real), path);
	printf("  GID %d type %s\n", index, text);
}

static void show_port(struct ibv_context *ctx, const char *name)
{
	static const union ibv_gid none;
	struct ibv_port_attr port;
	char text[INET6_ADDRSTRLEN];
	union ibv_gid gid;
	__be16 pkey = 0;
	int i;

	memset(&port, 0, sizeof(port));
	if (!check_rc(ibv.query_port(ctx, 1, &port), "ibv_query_port"))
		return;
	printf("  port 1: state %d, link layer %d, MTU %d, %d GIDs\n",
	       port.state, port.link_layer, 128 << port.active_mtu,
	       port.gid_tbl_len);
	for (i = 0; i < port.gid_tbl_len; i++) {
		if (!check_rc(ibv.query_gid(ctx, 1, i, &gid), "ibv_query_gid"))
			return;
		if (!memcmp(&gid, &none, sizeof(gid))) {
			check(i > 0, "GID 0 is not set");
			break;
		}
		printf("  GID %d %s\n", i,
		       inet_ntop(AF_INET6, &gid, text, sizeof(text)));
		show_sysfs(name, i);
	}
	check_rc(ibv.query_pkey(ctx, 1, 0, &pkey), "ibv_query_pkey");
	check(ntohs(pkey) == 0xffff, "P_Key 0 is not 0xffff");
}

static void try_qp(struct ibv_pd *pd, struct ibv_cq *cq)
{
	struct ibv_qp_init_attr init = {
		.send_cq = cq,
		.recv_cq = cq,
		.qp_type = IBV_QPT_RC,
		.cap = { .max_send_wr = 16, .max_recv_wr = 0,
			 .max_send_sge = 1, .max_recv_sge = 1 },
	};
	struct ibv_qp_attr attr = {
		.qp_state = IBV_QPS_INIT,
		.port_num = 1,
		.qp_access_flags = IBV_ACCESS_REMOTE_WRITE,
	};
	struct ibv_qp *qp = ibv.create_qp(pd, &init);

	if (!check(qp, "ibv_create_qp"))
		return;
	check_rc(ibv.modify_qp(qp, &attr,
			       IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT |
				       IBV_QP_ACCESS_FLAGS),
		 "ibv_modify_qp to INIT");
	printf("  QP 0x%x\n", qp->qp_num);
	check_rc(ibv.destroy_qp(qp), "ibv_destroy_qp");
}

static void try_cq(struct ibv_context *ctx, struct ibv_pd *pd)
{
	struct ibv_comp_channel *channel = ibv.create_comp_channel(ctx);
	struct pollfd pfd = { .events = POLLIN };
	struct ibv_cq *cq;

	if (!check(channel, "ibv_create_comp_channel"))
		return;
	pfd.fd = channel->fd;
	check(poll(&pfd, 1, 0) == 0, "new completion channel is readable");
	cq = ibv.create_cq(ctx, 64, NULL, channel, 0);
	if (check(cq, "ibv_create_cq")) {
		try_qp(pd, cq);
		check_rc(ibv.destroy_cq(cq), "ibv_destroy_cq");
	}
	check_rc(ibv.destroy_comp_channel(channel), "ibv_destroy_comp_channel");
}

static void try_objects(struct ibv_context *ctx)
{
	static char buffer[8192];
	struct pollfd pfd = { .fd = ctx->async_fd, .events = POLLIN };
	struct ibv_pd *pd = ibv.alloc_pd(ctx);
	struct ibv_mr *mr;

	check(poll(&pfd, 1, 0) == 0, "async_fd is readable");
	if (!check(pd, "ibv_alloc_pd"))
		return;
	mr = ibv.reg_mr(pd, buffer, sizeof(buffer),
			IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE |
				IBV_ACCESS_REMOTE_READ);
	if (check(mr, "ibv_reg_mr")) {
		printf("  MR lkey 0x%x rkey 0x%x\n", mr->lkey, mr->rkey);
		try_cq(ctx, pd);
		check_rc(ibv.dereg_mr(mr), "ibv_dereg_mr");
	}
	check_rc(ibv.dealloc_pd(pd), "ibv_dealloc_pd");
}

static void show_device(struct ibv_device *dev)
{
	struct ibv_device_attr attr;
	struct ibv_context *ctx;

	current = ibv.get_device_name(dev);
	ctx = ibv.open_device(dev);
	if (!check(ctx, "ibv_open_device"))
		return;
	memset(&attr, 0, sizeof(attr));
	if (check_rc(ibv.query_device(ctx, &attr), "ibv_query_device"))
		printf("%s: firmware %s, vendor 0x%x part %u, GUID %016llx, %d QPs\n",
		       current, attr.fw_ver, attr.vendor_id,
		       attr.vendor_part_id,
		       (unsigned long long)be64toh(attr.sys_image_guid),
		       attr.max_qp);
	show_port(ctx, current);
	try_objects(ctx);
	check_rc(ibv.close_device(ctx), "ibv_close_device");
}

static bool wanted(const char *name, int num, char **names)
{
	int i;

	for (i = 0; i < num; i++)
		if (!strcmp(names[i], name))
			return true;
	return !num;
}

int main(int argc, char **argv)
{
	struct ibv_device **list;
	int i, num, shown = 0;

	if (!load())
		return 1;
	check_rc(ibv.fork_init(), "ibv_fork_init");
	list = ibv.get_device_list(&num);
	if (!check(list, "ibv_get_device_list"))
		return 1;
	for (i = 0; i < num; i++) {
		if (!wanted(ibv.get_device_name(list[i]), argc - 1, argv + 1))
			continue;
		show_device(list[i]);
		shown++;
	}
	ibv.free_device_list(list);
	if (!shown) {
		fprintf(stderr, "no device\n");
		return 1;
	}
	return failures != 0;
}
