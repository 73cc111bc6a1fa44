// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * verbs.c - the device and its port, contexts, protection domains, address
 * handles, and rings that applications map.
 */
#include <linux/ethtool.h>
#include <linux/mm.h>
#include <linux/rtnetlink.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>
#include <rdma/ib_addr.h>
#include <rdma/ib_mad.h>
#include <rdma/uverbs_ioctl.h>

#include "tcpzc.h"

#define TCPZC_FW_VER		"0.1.0"
#define TCPZC_FW_VER_NUM	(0ull << 32 | 1 << 16 | 0)
#define TCPZC_HW_VER		1
#define TCPZC_PKEY		0xffff
#define TCPZC_ACK_DELAY		15		/* 4.096 us * 2^15 */

/* What the port offers ib_core and its clients. */
#define TCPZC_CORE_CAPS		RDMA_CORE_PORT_IBA_ROCE_UDP_ENCAP

/* ---- device and port ---------------------------------------------------- */

int tcpzc_query_device(struct ib_device *ibdev, struct ib_device_attr *attr,
		       struct ib_udata *udata)
{
	if (udata && (udata->inlen || udata->outlen))
		return -EINVAL;
	attr->fw_ver = TCPZC_FW_VER_NUM;
	attr->sys_image_guid = ibdev->node_guid;
	attr->max_mr_size = U64_MAX;
	attr->page_size_cap = PAGE_MASK;
	attr->vendor_id = TCPZC_VENDOR_ID;
	attr->vendor_part_id = TCPZC_VENDOR_PART_ID;
	attr->hw_ver = TCPZC_HW_VER;
	attr->max_qp = TCPZC_MAX_QP;
	attr->max_qp_wr = TCPZC_MAX_QP_WR;
	attr->max_send_sge = TCPZC_MAX_SGE;
	attr->max_recv_sge = TCPZC_MAX_SGE;
	attr->max_sge_rd = TCPZC_MAX_SGE;
	attr->max_cq = TCPZC_MAX_CQ;
	attr->max_cqe = TCPZC_MAX_CQE;
	attr->max_mr = TCPZC_MAX_MR;
	attr->max_pd = TCPZC_MAX_PD;
	attr->max_qp_rd_atom = TCPZC_MAX_RD_ATOMIC;
	attr->max_qp_init_rd_atom = TCPZC_MAX_RD_ATOMIC;
	attr->max_res_rd_atom = TCPZC_MAX_RD_ATOMIC * TCPZC_MAX_QP;
	/* Atomics are the processor's own. */
	attr->atomic_cap = IB_ATOMIC_GLOB;
	attr->max_ah = TCPZC_MAX_AH;
	attr->max_srq = TCPZC_MAX_SRQ;
	attr->max_srq_wr = TCPZC_MAX_SRQ_WR;
	attr->max_srq_sge = TCPZC_MAX_SGE;
	attr->max_pkeys = 1;
	attr->local_ca_ack_delay = TCPZC_ACK_DELAY;
	attr->device_cap_flags = IB_DEVICE_CURR_QP_STATE_MOD |
				 IB_DEVICE_RC_RNR_NAK_GEN |
				 IB_DEVICE_SRQ_RESIZE |
				 IB_DEVICE_SYS_IMAGE_GUID |
				 IB_DEVICE_PORT_ACTIVE_EVENT;
	attr->kernel_cap_flags = IBK_ALLOW_USER_UNREG | IBK_LOCAL_DMA_LKEY;
	return 0;
}

void tcpzc_get_fw_str(struct ib_device *ibdev, char *str)
{
	strscpy(str, TCPZC_FW_VER, IB_FW_VERSION_NAME_MAX);
}

/*
 * Width and speed for a line rate. ib_get_eth_speed() would complain in the
 * log, at each query, about interfaces that have no speed.
 */
static void tcpzc_link_speed(struct net_device *netdev,
			     struct ib_port_attr *attr)
{
	static const struct { u32 mbit; u8 width; u16 speed; } rates[] = {
		{ SPEED_1000, IB_WIDTH_1X, IB_SPEED_SDR },
		{ SPEED_10000, IB_WIDTH_1X, IB_SPEED_FDR10 },
		{ SPEED_20000, IB_WIDTH_4X, IB_SPEED_DDR },
		{ SPEED_25000, IB_WIDTH_1X, IB_SPEED_EDR },
		{ SPEED_40000, IB_WIDTH_4X, IB_SPEED_FDR10 },
		{ SPEED_50000, IB_WIDTH_2X, IB_SPEED_EDR },
		{ SPEED_100000, IB_WIDTH_4X, IB_SPEED_EDR },
		{ SPEED_200000, IB_WIDTH_4X, IB_SPEED_HDR },
		{ SPEED_400000, IB_WIDTH_4X, IB_SPEED_NDR },
	};
	struct ethtool_link_ksettings link = {};
	u32 mbit = SPEED_10000;
	size_t i = 0;

	rtnl_lock();
	if (!__ethtool_get_link_ksettings(netdev, &link) &&
	    link.base.speed && link.base.speed != (u32)SPEED_UNKNOWN)
		mbit = link.base.speed;
	rtnl_unlock();
	while (i + 1 < ARRAY_SIZE(rates) && rates[i].mbit < mbit)
		i++;
	attr->active_width = rates[i].width;
	attr->active_speed = rates[i].speed;
}

int tcpzc_query_port(struct ib_device *ibdev, u32 port,
		     struct ib_port_attr *attr)
{
	struct net_device *netdev = to_tdev(ibdev)->netdev;

	if (port != TCPZC_PORT_NUM)
		return -EINVAL;
	attr->state = tcpzc_port_state(netdev);
	attr->phys_state = attr->state == IB_PORT_ACTIVE ?
				   IB_PORT_PHYS_STATE_LINK_UP :
				   IB_PORT_PHYS_STATE_DISABLED;
	attr->max_mtu = IB_MTU_4096;
	attr->active_mtu = iboe_get_mtu(READ_ONCE(netdev->mtu));
	if (!attr->active_mtu)
		attr->active_mtu = IB_MTU_256;
	attr->gid_tbl_len = TCPZC_GID_TBL_LEN;
	attr->ip_gids = true;
	attr->port_cap_flags = IB_PORT_CM_SUP;
	attr->max_msg_sz = TCPZC_MAX_MSG_BYTES;
	attr->pkey_tbl_len = 1;
	attr->max_vl_num = 1;
	tcpzc_link_speed(netdev, attr);
	return 0;
}

int tcpzc_port_immutable(struct ib_device *ibdev, u32 port,
			 struct ib_port_immutable *imm)
{
	if (port != TCPZC_PORT_NUM)
		return -EINVAL;
	imm->core_cap_flags = TCPZC_CORE_CAPS;
	imm->gid_tbl_len = TCPZC_GID_TBL_LEN;
	imm->pkey_tbl_len = 1;
	imm->max_mad_size = IB_MGMT_MAD_SIZE;
	return 0;
}

int tcpzc_query_pkey(struct ib_device *ibdev, u32 port, u16 index, u16 *pkey)
{
	if (index)
		return -EINVAL;
	*pkey = TCPZC_PKEY;
	return 0;
}

enum rdma_link_layer tcpzc_link_layer(struct ib_device *ibdev, u32 port)
{
	return IB_LINK_LAYER_ETHERNET;
}

/* ---- contexts, protection domains, address handles ---------------------- */

int tcpzc_respond(struct ib_udata *udata, const void *resp, size_t bytes)
{
	if (udata->outlen < bytes)
		return -EINVAL;
	if (copy_to_user(udata->outbuf, resp, bytes) ||
	    clear_user(udata->outbuf + bytes, udata->outlen - bytes))
		return -EFAULT;
	return 0;
}

int tcpzc_alloc_ucontext(struct ib_ucontext *ibctx, struct ib_udata *udata)
{
	struct tcpzc_uresp_alloc_ctx resp = {
		.abi_version = TCPZC_ABI_VERSION,
	};

	return tcpzc_respond(udata, &resp, sizeof(resp));
}

void tcpzc_dealloc_ucontext(struct ib_ucontext *ibctx)
{
}

/*
 * The device goes while processes have it open. Rings that are mapped stay
 * what they are, memory, until they are unmapped; see tcpzc_client_remove().
 */
void tcpzc_disassociate_ucontext(struct ib_ucontext *ibctx)
{
}

int tcpzc_alloc_pd(struct ib_pd *ibpd, struct ib_udata *udata)
{
	struct tcpzc_dev *dev = to_tdev(ibpd->device);
	struct tcpzc_uresp_alloc_pd resp = {};
	struct tcpzc_pd *pd = to_tpd(ibpd);
	int rc;

	rc = ida_alloc_range(&dev->pdns, 1, TCPZC_MAX_PD, GFP_KERNEL);
	if (rc < 0)
		return rc == -ENOSPC ? -ENOMEM : rc;
	pd->pdn = rc;
	if (!udata)
		return 0;
	resp.pdn = pd->pdn;
	rc = tcpzc_respond(udata, &resp, sizeof(resp));
	if (rc)
		ida_free(&dev->pdns, pd->pdn);
	return rc;
}

int tcpzc_dealloc_pd(struct ib_pd *ibpd, struct ib_udata *udata)
{
	ida_free(&to_tdev(ibpd->device)->pdns, to_tpd(ibpd)->pdn);
	return 0;
}

int tcpzc_create_ah(struct ib_ah *ibah, struct rdma_ah_init_attr *attr,
		    struct ib_udata *udata)
{
	struct tcpzc_ah *ah = to_tah(ibah);

	if (!(rdma_ah_get_ah_flags(attr->ah_attr) & IB_AH_GRH))
		return -EINVAL;
	if (!tcpzc_take(&to_tdev(ibah->device)->num_ahs, TCPZC_MAX_AH))
		return -ENOMEM;
	ah->attr = *attr->ah_attr;
	ah->attr.grh.sgid_attr = NULL;	/* ib_core holds it in @ibah */
	return 0;
}

int tcpzc_query_ah(struct ib_ah *ibah, struct rdma_ah_attr *attr)
{
	*attr = to_tah(ibah)->attr;
	return 0;
}

int tcpzc_destroy_ah(struct ib_ah *ibah, u32 flags)
{
	atomic_dec(&to_tdev(ibah->device)->num_ahs);
	return 0;
}

/* ---- rings -------------------------------------------------------------- */

static struct tcpzc_uring *tcpzc_uring_of(struct rdma_user_mmap_entry *entry)
{
	return container_of(entry, struct tcpzc_uring, entry);
}

/* Users in the kernel map nothing. */
static int tcpzc_uring_publish(struct tcpzc_uring *ring, struct ib_udata *udata)
{
	struct tcpzc_ucontext *ctx =
		rdma_udata_to_drv_context(udata, struct tcpzc_ucontext, ib);

	if (!ctx)
		return 0;
	return rdma_user_mmap_entry_insert(&ctx->ib, &ring->entry, ring->bytes);
}

struct tcpzc_uring *tcpzc_uring_alloc(struct ib_udata *udata, u32 depth,
				      u32 stride)
{
	struct tcpzc_uring *ring;
	int rc = -ENOMEM;

	ring = kzalloc(sizeof(*ring), GFP_KERNEL_ACCOUNT);
	if (!ring)
		return ERR_PTR(-ENOMEM);
	ring->depth = depth;
	ring->stride = stride;
	ring->bytes = PAGE_ALIGN(sizeof(*ring->hdr) + (size_t)depth * stride);
	/* As vmalloc_user(), but on the application's account. */
	ring->hdr = __vmalloc(ring->bytes, GFP_KERNEL_ACCOUNT | __GFP_ZERO);
	if (!ring->hdr)
		goto err_free;
	ring->slots = (u8 *)(ring->hdr + 1);
	rc = tcpzc_uring_publish(ring, udata);
	if (rc)
		goto err_free;
	return ring;

err_free:
	vfree(ring->hdr);
	kfree(ring);
	return ERR_PTR(rc);
}

void tcpzc_uring_free(struct tcpzc_uring *ring)
{
	if (IS_ERR_OR_NULL(ring))
		return;
	if (ring->entry.ucontext)
		rdma_user_mmap_entry_remove(&ring->entry);
	else
		tcpzc_mmap_free(&ring->entry);
}

void tcpzc_uring_desc(const struct tcpzc_uring *ring,
		      struct tcpzc_uresp_ring *out)
{
	memset(out, 0, sizeof(*out));
	if (!ring)
		return;
	out->offset = rdma_user_mmap_get_offset(&ring->entry);
	out->bytes = ring->bytes;
	out->depth = ring->depth;
	out->stride = ring->stride;
}

/* Applications' mappings have references of their own to the pages. */
void tcpzc_mmap_free(struct rdma_user_mmap_entry *entry)
{
	struct tcpzc_uring *ring = tcpzc_uring_of(entry);

	vfree(ring->hdr);
	kfree(ring);
}

static int tcpzc_uring_map(const struct tcpzc_uring *ring,
			   struct vm_area_struct *vma)
{
	size_t at;
	int rc;

	for (at = 0; at < ring->bytes; at += PAGE_SIZE) {
		rc = vm_insert_page(vma, vma->vm_start + at,
				    vmalloc_to_page((u8 *)ring->hdr + at));
		if (rc)
			return rc;
	}
	vm_flags_set(vma, VM_DONTEXPAND | VM_DONTDUMP);
	return 0;
}

int tcpzc_mmap(struct ib_ucontext *ibctx, struct vm_area_struct *vma)
{
	struct rdma_user_mmap_entry *entry;
	int rc;

	/* All of a ring, shared, or nothing. */
	entry = rdma_user_mmap_entry_get(ibctx, vma);
	if (!entry)
		return -EINVAL;
	rc = tcpzc_uring_map(tcpzc_uring_of(entry), vma);
	rdma_user_mmap_entry_put(entry);
	return rc;
}
