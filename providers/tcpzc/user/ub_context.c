// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * ub_context.c - opening and closing a device in user mode, what it says of
 * itself, protection domains and address handles, and what happens at fork and
 * at the process's end.
 */
#include <errno.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "process-end.h"
#include "ub.h"

static pthread_mutex_t ub_all_lock = PTHREAD_MUTEX_INITIALIZER;
static struct list_head ub_all = LIST_HEAD_INIT(ub_all);
u32 ub_fork_gen;
/* The process whose QPs these are; children of vfork() see its memory. */
static pid_t ub_pid;

/* ---- fork and exit ------------------------------------------------------ */

static void ub_before_fork(void)
{
	struct ub_context *ctx;

	pthread_mutex_lock(&ub_all_lock);
	list_for_each(&ub_all, ctx, all_node) {
		pthread_mutex_lock(&ctx->lock);
		pthread_mutex_lock(&ctx->linger_lock);
	}
}

static void ub_unlock_all(void)
{
	struct ub_context *ctx;

	list_for_each(&ub_all, ctx, all_node) {
		pthread_mutex_unlock(&ctx->linger_lock);
		pthread_mutex_unlock(&ctx->lock);
	}
	pthread_mutex_unlock(&ub_all_lock);
}

static void ub_qp_in_child(struct ub_qp *qp)
{
	struct tz_caller *call;

	if (qp->conn.rfd >= 0)
		close(qp->conn.rfd);
	if (qp->conn.wfd >= 0 && qp->conn.wfd != qp->conn.rfd)
		close(qp->conn.wfd);
	qp->conn.rfd = -1;
	qp->conn.wfd = -1;
	while ((call = tz_dial_unpark(&qp->eng)))
		close(container_of(call, struct ub_caller, call)->fd);
}

/*
 * The child has copies of the parent's sockets, and no progress thread. It
 * closes its copies, so that a connection ends with the parent, and touches
 * nothing else.
 */
static void ub_in_child(void)
{
	struct tz_caller *call;
	struct ub_context *ctx;
	struct ub_listener *l;
	struct ub_qp *qp;

	ub_fork_gen++;
	ub_pid = getpid();
	list_for_each(&ub_all, ctx, all_node) {
		list_for_each(&ctx->qps, qp, node)
			ub_qp_in_child(qp);
		list_for_each(&ctx->listeners, l, node) {
			close(l->fd);
			l->fd = -1;
		}
		while ((call = tz_lobby_empty(&ctx->lobby)))
			close(container_of(call, struct ub_caller, call)->fd);
		ub_linger_forked(ctx);
	}
	ub_unlock_all();
}

/* How long the end of the process waits for threads that are at work. */
#define UB_END_NS	20000000ull

static bool ub_end_wait(u64 until)
{
	const struct timespec moment = { .tv_nsec = 20000 };

	return ub_now() < until && !nanosleep(&moment, NULL);
}

static bool ub_end_lock(pthread_mutex_t *lock, u64 until)
{
	while (pthread_mutex_trylock(lock))
		if (!ub_end_wait(until))
			return false;
	return true;
}

/*
 * A thread that has just completed a receive, and woken the application, sends the
 * acknowledgement at the end of its turn: it is waited for.
 */
static bool ub_end_turn(struct ub_qp *qp, u64 until)
{
	while (!ub_turn_try(qp))
		if (!ub_end_wait(until))
			return false;
	return true;
}

/*
 * The process ends without having destroyed its QPs: whatever was executed is
 * acknowledged, as an adapter would have done by now. In a signal handler the locks
 * may be this thread's own, so they are waited for, but not for long.
 */
static void ub_acknowledge_all(void)
{
	u64 until = ub_now() + UB_END_NS;
	struct ub_context *ctx;
	struct ub_qp *qp;

	if (!ub_end_lock(&ub_all_lock, until))
		return;
	list_for_each(&ub_all, ctx, all_node) {
		if (ub_forked(ctx) || !ub_end_lock(&ctx->lock, until))
			continue;
		list_for_each(&ctx->qps, qp, node) {
			if (!ub_end_turn(qp, until))
				continue;
			ub_flush_acks(qp);
			ub_turn_unlock(qp);
		}
		pthread_mutex_unlock(&ctx->lock);
	}
	pthread_mutex_unlock(&ub_all_lock);
}

/* A child of vfork(), or of clone(), that ends is not this process. */
static void ub_before_end(void)
{
	int was = ub_cancel_disable();

	if (getpid() == ub_pid)
		ub_acknowledge_all();
	ub_cancel_restore(was);
}

__attribute__((constructor)) static void ub_library_init(void)
{
	ub_pid = getpid();
	pthread_atfork(ub_before_fork, ub_unlock_all, ub_in_child);
	if (tcpzc_before_end)
		tcpzc_before_end(ub_before_end);
}

__attribute__((destructor)) static void ub_library_exit(void)
{
	if (tcpzc_before_end)
		tcpzc_before_end(NULL);
	ub_before_end();
}

/* ---- open, close -------------------------------------------------------- */

static bool ub_parse_gid(const char *text, union ibv_gid *gid)
{
	unsigned int w[8];
	int i;

	if (sscanf(text, "%4x:%4x:%4x:%4x:%4x:%4x:%4x:%4x", &w[0], &w[1], &w[2],
		   &w[3], &w[4], &w[5], &w[6], &w[7]) != 8)
		return false;
	for (i = 0; i < 8; i++) {
		gid->raw[2 * i] = w[i] >> 8;
		gid->raw[2 * i + 1] = w[i];
	}
	return true;
}

/* The same files from which libibverbs answers ibv_query_gid(). */
static void ub_read_gids(struct ub_context *ctx, const char *ibdev_path)
{
	char name[32], text[64];
	u32 i;

	for (i = 0; i < TCPZC_GID_TABLE_LEN; i++) {
		snprintf(name, sizeof(name), "ports/1/gids/%u", i);
		if (ibv_read_sysfs_file(ibdev_path, name, text,
					sizeof(text)) <= 0 ||
		    !ub_parse_gid(text, &ctx->gids[i]))
			memset(&ctx->gids[i], 0, sizeof(ctx->gids[i]));
	}
}

static u64 ub_read_guid(const char *ibdev_path)
{
	unsigned int w[4];
	char text[64];

	if (ibv_read_sysfs_file(ibdev_path, "node_guid", text,
				sizeof(text)) <= 0 ||
	    sscanf(text, "%4x:%4x:%4x:%4x", &w[0], &w[1], &w[2], &w[3]) != 4)
		return 0;
	return (u64)w[0] << 48 | (u64)w[1] << 32 | w[2] << 16 | w[3];
}

static void ub_context_init(struct ub_context *ctx, struct tcpzc_device *dev)
{
	ctx->ifindex = dev->ifindex;
	ctx->node_guid = ub_read_guid(dev->ibdev_path);
	ub_read_gids(ctx, dev->ibdev_path);
	pthread_mutex_init(&ctx->lock, NULL);
	list_head_init(&ctx->qps);
	list_head_init(&ctx->cqs);
	list_head_init(&ctx->srqs);
	list_head_init(&ctx->listeners);
	list_head_init(&ctx->gone_callers);
	list_head_init(&ctx->polled);
	pthread_mutex_init(&ctx->linger_lock, NULL);
	list_head_init(&ctx->lingering);
	ctx->next_pdn = 1;
	ctx->fork_gen = ub_fork_gen;
	ctx->base.vctx.context.num_comp_vectors = 1;
}

struct tcpzc_context *ub_open(struct tcpzc_device *dev, int cmd_fd)
{
	struct ub_context *ctx;
	int err;

	ctx = verbs_init_and_alloc_context(&dev->vdev.device, cmd_fd, ctx,
					   base.vctx, TCPZC_DRIVER_ID);
	if (!ctx)
		return NULL;
	ub_context_init(ctx, dev);
	err = EINVAL;
	if (!ub_settings_read(&ctx->set, dev->vdev.device.name))
		goto err_ctx;
	err = ub_mr_init(ctx);
	if (err)
		goto err_ctx;
	err = ub_event_open_async(ctx);
	if (err)
		goto err_mr;
	err = ub_progress_start(ctx);
	if (err)
		goto err_event;
	ub_links_start(ctx);
	pthread_mutex_lock(&ub_all_lock);
	list_add_tail(&ub_all, &ctx->all_node);
	pthread_mutex_unlock(&ub_all_lock);
	return &ctx->base;

err_event:
	ub_event_close_async(ctx);
err_mr:
	ub_mr_exit(ctx);
err_ctx:
	pthread_mutex_destroy(&ctx->linger_lock);
	pthread_mutex_destroy(&ctx->lock);
	verbs_uninit_context(&ctx->base.vctx);
	free(ctx);
	errno = err;
	return NULL;
}

/* QPs that the application forgot: the kernel, too, would take them down. */
static void ub_drop_qps(struct ub_context *ctx)
{
	struct ub_qp *qp;

	while ((qp = list_pop(&ctx->qps, struct ub_qp, node))) {
		ub_turn_lock(qp);
		ub_flush_acks(qp);
		ub_conn_close(qp);
		qp->dead = true;
		ub_turn_unlock(qp);
		ub_qp_free(qp);
	}
}

void ub_close(struct tcpzc_context *base)
{
	struct ub_context *ctx = to_uctx(base);

	pthread_mutex_lock(&ub_all_lock);
	list_del(&ctx->all_node);
	pthread_mutex_unlock(&ub_all_lock);
	ub_progress_stop(ctx);
	ub_links_stop(ctx);
	if (!ub_forked(ctx))
		ub_drop_qps(ctx);
	ub_listen_close_all(ctx);
	ub_linger_close_all(ctx);
	ub_event_close_async(ctx);
	ub_mr_exit(ctx);
	pthread_mutex_destroy(&ctx->linger_lock);
	pthread_mutex_destroy(&ctx->lock);
	verbs_uninit_context(&base->vctx);
	free(ctx);
}

/* ---- queries ------------------------------------------------------------ */

int ub_query_device(struct tcpzc_context *base, struct ibv_device_attr_ex *attr,
		    size_t attr_size)
{
	struct ub_context *ctx = to_uctx(base);
	struct ibv_device_attr *a = &attr->orig_attr;

	memset(attr, 0, attr_size);
	snprintf(a->fw_ver, sizeof(a->fw_ver), "%s", TCPZC_FW_VER);
	a->node_guid = htobe64(ctx->node_guid);
	a->sys_image_guid = a->node_guid;
	a->max_mr_size = UINT64_MAX;
	a->page_size_cap = 0xfffff000;
	a->vendor_id = TCPZC_VENDOR_ID;
	a->vendor_part_id = TCPZC_VENDOR_PART_ID;
	a->hw_ver = TCPZC_HW_VER;
	a->max_qp = UB_MAX_QPS;
	a->max_qp_wr = TCPZC_MAX_QP_WR;
	a->max_sge = TCPZC_MAX_SGE;
	a->max_sge_rd = TCPZC_MAX_SGE;
	a->max_cq = UB_MAX_CQS;
	a->max_cqe = TCPZC_MAX_CQE;
	a->max_mr = UB_MAX_MRS;
	a->max_pd = UB_MAX_PDS;
	a->max_qp_rd_atom = TCPZC_MAX_RD_ATOMIC;
	a->max_res_rd_atom = TCPZC_MAX_RD_ATOMIC * UB_MAX_QPS;
	a->max_qp_init_rd_atom = TCPZC_MAX_RD_ATOMIC;
	a->atomic_cap = IBV_ATOMIC_GLOB;
	a->max_ah = UB_MAX_AHS;
	a->max_srq = UB_MAX_SRQS;
	a->max_srq_wr = TCPZC_MAX_SRQ_WR;
	a->max_srq_sge = TCPZC_MAX_SGE;
	a->max_pkeys = 1;
	a->local_ca_ack_delay = 15;
	a->phys_port_cnt = 1;
	a->device_cap_flags = IBV_DEVICE_CURR_QP_STATE_MOD |
			      IBV_DEVICE_RC_RNR_NAK_GEN |
			      IBV_DEVICE_SRQ_RESIZE | IBV_DEVICE_SYS_IMAGE_GUID;
	attr->device_cap_flags_ex = a->device_cap_flags;
	attr->phys_port_cnt_ex = a->phys_port_cnt;
	return 0;
}

static enum ibv_mtu ub_mtu_of(int bytes)
{
	static const int bytes_of[] = { 512, 1024, 2048, 4096 };
	int i, mtu = IBV_MTU_256;

	/* As RoCE v2: IP, UDP, base and extended transport headers, ICRC. */
	for (i = 0; i < 4; i++)
		if (bytes - 86 >= bytes_of[i])
			mtu = IBV_MTU_512 + i;
	return mtu;
}

/* By its index: the name is asked for each time, since it may change. */
static void ub_netdev_state(u32 ifindex, bool *up, int *mtu)
{
	struct ethtool_value link = { .cmd = ETHTOOL_GLINK };
	struct ifreq ifr = {};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	*up = false;
	*mtu = 1500;
	if (fd < 0)
		return;
	ifr.ifr_ifindex = ifindex;
	if (ioctl(fd, SIOCGIFNAME, &ifr))
		goto out;
	if (!ioctl(fd, SIOCGIFFLAGS, &ifr))
		*up = ifr.ifr_flags & IFF_UP;
	/* The carrier itself: IFF_RUNNING follows it up to a second later. */
	ifr.ifr_data = (void *)&link;
	if (*up && !ioctl(fd, SIOCETHTOOL, &ifr))
		*up = link.data;
	if (!ioctl(fd, SIOCGIFMTU, &ifr))
		*mtu = ifr.ifr_mtu;
out:
	close(fd);
}

bool ub_port_up(const struct ub_context *ctx)
{
	bool up;
	int mtu;

	ub_netdev_state(ctx->ifindex, &up, &mtu);
	return up;
}

u32 ub_mtu_bytes(struct ub_context *ctx)
{
	bool up;
	int mtu;

	ub_netdev_state(ctx->ifindex, &up, &mtu);
	return 128u << ub_mtu_of(mtu);
}

/* Width and speed for a line rate, as ib_get_eth_speed() of the kernel. */
static void ub_link_speed(struct ibv_port_attr *attr, u32 ifindex)
{
	static const struct { long mbit; u8 width, speed; } rates[] = {
		{ 1000, 1, 1 }, { 10000, 1, 8 }, { 20000, 2, 2 },
		{ 25000, 1, 32 }, { 40000, 2, 8 }, { 50000, 16, 32 },
		{ 100000, 2, 32 }, { 200000, 2, 64 }, { 400000, 2, 128 },
	};
	char dir[64], text[32], netdev[IF_NAMESIZE];
	long mbit = 10000;
	size_t i = 0;

	snprintf(dir, sizeof(dir), "/sys/class/net/%s",
		 if_indextoname(ifindex, netdev) ? netdev : ".");
	if (ibv_read_sysfs_file(dir, "speed", text, sizeof(text)) > 0 &&
	    atol(text) > 0)
		mbit = atol(text);
	while (i + 1 < TZ_ARRAY_SIZE(rates) && rates[i].mbit < mbit)
		i++;
	attr->active_width = rates[i].width;
	attr->active_speed = rates[i].speed;
}

int ub_query_port(struct tcpzc_context *base, uint8_t port,
		  struct ibv_port_attr *attr)
{
	bool up;
	int mtu;

	if (port != TCPZC_PORT)
		return EINVAL;
	memset(attr, 0, sizeof(*attr));
	ub_netdev_state(to_uctx(base)->ifindex, &up, &mtu);
	attr->state = up ? IBV_PORT_ACTIVE : IBV_PORT_DOWN;
	attr->phys_state = up ? 5 : 3;	/* link up, disabled */
	attr->max_mtu = IBV_MTU_4096;
	attr->active_mtu = ub_mtu_of(mtu);
	attr->gid_tbl_len = TCPZC_GID_TABLE_LEN;
	attr->port_cap_flags = TCPZC_PORT_CAP_FLAGS;
	attr->max_msg_sz = TCPZC_MAX_MSG_BYTES;
	attr->pkey_tbl_len = 1;
	attr->link_layer = IBV_LINK_LAYER_ETHERNET;
	attr->max_vl_num = 1;
	attr->flags = IBV_QPF_GRH_REQUIRED;
	ub_link_speed(attr, to_uctx(base)->ifindex);
	return 0;
}

/* ---- protection domains, address handles -------------------------------- */

struct tcpzc_pd *ub_alloc_pd(struct tcpzc_context *base)
{
	struct ub_context *ctx = to_uctx(base);
	struct ub_pd *pd;

	if (!ub_take(&ctx->num_pds, UB_MAX_PDS))
		return NULL;
	pd = calloc(1, sizeof(*pd));
	if (!pd) {
		ub_give(&ctx->num_pds);
		errno = ENOMEM;
		return NULL;
	}
	pthread_mutex_lock(&ctx->lock);
	pd->base.pdn = ctx->next_pdn++;
	pthread_mutex_unlock(&ctx->lock);
	return &pd->base;
}

int ub_dealloc_pd(struct tcpzc_pd *pd)
{
	ub_give(&ub_ctx_of(pd->ibpd.context)->num_pds);
	free(pd);
	return 0;
}

struct tcpzc_ah *ub_create_ah(struct tcpzc_pd *pd, struct ibv_ah_attr *attr)
{
	static const union ibv_gid none;
	struct ub_context *ctx = ub_ctx_of(pd->ibpd.context);
	struct tcpzc_ah *ah;

	/* The range is checked (tcpzc_ah_attr_ok()). */
	if (!memcmp(&ctx->gids[attr->grh.sgid_index], &none, sizeof(none))) {
		errno = EINVAL;
		return NULL;
	}
	if (!ub_take(&ctx->num_ahs, UB_MAX_AHS))
		return NULL;
	ah = calloc(1, sizeof(*ah));
	if (!ah) {
		ub_give(&ctx->num_ahs);
		errno = ENOMEM;
		return NULL;
	}
	ah->attr = *attr;
	return ah;
}

int ub_destroy_ah(struct tcpzc_ah *ah)
{
	ub_give(&ub_ctx_of(ah->ibah.context)->num_ahs);
	free(ah);
	return 0;
}
