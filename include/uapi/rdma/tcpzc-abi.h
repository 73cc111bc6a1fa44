/* SPDX-License-Identifier: (GPL-2.0 WITH Linux-syscall-note) OR Linux-OpenIB */
/*
 * tcpzc-abi.h - what the tcpzc provider and the tcpzc engine share.
 *
 * The rings below are written by the application (through the provider) and
 * read by the engine, or the other way round for completion queues. In kernel
 * mode they are pages mapped into the application, in user mode ordinary
 * memory of the process; the layout is the same. Everything the engine reads
 * from them is untrusted input: it reads each field once, copies it out and
 * validates the copy.
 *
 * All indices are free-running 32-bit counters; slot = index & (depth - 1),
 * depth is a power of two. The producer publishes entries by a store-release
 * of @prod which pairs with the consumer's load-acquire; the consumer hands
 * slots back by a store-release of @cons which pairs with the producer's
 * load-acquire.
 */
#ifndef TCPZC_ABI_H
#define TCPZC_ABI_H

#include <linux/types.h>

/* Version of this file; changes whenever a layout changes. */
#define TCPZC_ABI_VERSION	1

/*
 * How a tcpzc device is known, in both modes. The driver id is not one of the
 * kernel's enum rdma_driver_id, which counts from 0. The vendor id is "tzc", not
 * an OUI of anybody's RDMA adapter: programs special-case 0, 0xffffff, 0x02c9
 * (Mellanox) and 0x1d0f (Amazon). perftest knows devices by their part id alone.
 */
#define TCPZC_DRIVER_ID		0x747a
#define TCPZC_VENDOR_ID		0x747a63
#define TCPZC_VENDOR_PART_ID	31331		/* 0x7a63, "zc" */

/* Limits; they bound every ring that anyone may create. */
#define TCPZC_MAX_SGE		32
#define TCPZC_MAX_INLINE	1024
#define TCPZC_MAX_QP_WR		32768
#define TCPZC_MAX_SRQ_WR	65536
#define TCPZC_MAX_CQE		(1u << 20)
#define TCPZC_MAX_RD_ATOMIC	128
#define TCPZC_MAX_MSG_BYTES	(1u << 31)

/* A producer and a consumer index, each on a cache line of its own. */
struct tcpzc_ring_hdr {
	__u32 prod;		/* written by the producer */
	__u32 pad0[15];
	__u32 cons;		/* written by the consumer */
	__u32 pad1[15];
	__u32 flags;		/* TCPZC_RING_*, written by the engine */
	__u32 seen;		/*
				 * kernel mode: @prod when the engine last looked at a
				 * send queue, up to there no doorbell is needed; @prod
				 * when a completion queue last raised an event
				 */
	__u32 pad2[14];
	__u32 arm;		/* TCPZC_ARM_*; completion queues in kernel mode */
	__u32 pad3[15];
};

/*
 * The engine sleeps: ring the doorbell after publishing. Publishing and reading
 * this flag, and setting it and reading @prod once more, are each separated by
 * a full barrier, so that one of the two sides sees the other.
 *
 * While the flag of a send queue is clear, the engine promises to look at the
 * ring again by itself: when the peer acknowledges something, or after TCPZC_LOOK_NS,
 * or as much later as TCPZC_LOOK_SLACK_NS; with TCPZC_RING_BACKLOG when there is room.
 */
#define TCPZC_RING_NEED_WAKEUP	(1u << 0)

/* The device has gone: what is posted from now on is nobody's (send queues). */
#define TCPZC_RING_GONE		(1u << 1)

/*
 * The connection takes no more at the moment: what is posted has to wait for what
 * was posted before, and is sent with it. No doorbell can hasten it (send queues).
 */
#define TCPZC_RING_BACKLOG	(1u << 2)

#define TCPZC_LOOK_NS		250000
#define TCPZC_LOOK_SLACK_NS	750000

/*
 * Which completion is to raise an event. The application stores it and then,
 * after a full barrier, may look at the ring; the engine takes it back (stores
 * TCPZC_ARM_NONE) when it raises the event. Again a full barrier between
 * publishing an entry and reading @arm.
 *
 * An entry that was there before counts, too, if it was neither polled nor there
 * when the last event was raised (@seen): having armed, the application looks for
 * one and makes the verbs command REQ_NOTIFY_CQ if there is, which raises the event
 * if it is still due.
 */
enum tcpzc_arm {
	TCPZC_ARM_NONE		= 0,
	TCPZC_ARM_SOLICITED	= 1,
	TCPZC_ARM_ANY		= 2,
};

struct tcpzc_sge {
	__aligned_u64 addr;
	__u32 length;
	__u32 lkey;
};

/* Operations of a send work request. */
enum tcpzc_wqe_opcode {
	TCPZC_WQE_SEND			= 0,
	TCPZC_WQE_SEND_WITH_IMM		= 1,
	TCPZC_WQE_RDMA_WRITE		= 2,
	TCPZC_WQE_RDMA_WRITE_WITH_IMM	= 3,
	TCPZC_WQE_RDMA_READ		= 4,
	TCPZC_WQE_ATOMIC_CMP_AND_SWP	= 5,
	TCPZC_WQE_ATOMIC_FETCH_AND_ADD	= 6,
	TCPZC_WQE_OPCODES		/* number of opcodes */
};

/* Flags of a send work request. */
#define TCPZC_WQE_F_SIGNALED	(1u << 0)
#define TCPZC_WQE_F_SOLICITED	(1u << 1)
#define TCPZC_WQE_F_FENCE	(1u << 2)
#define TCPZC_WQE_F_INLINE	(1u << 3)	/* @length bytes of data follow */

/* Where a datagram goes: the address handle's content, by value. */
struct tcpzc_ud_dest {
	__u8 dgid[16];
	__u32 dest_qpn;
	__u32 qkey;
	__u8 sgid_index;
	__u8 traffic_class;
	__u8 hop_limit;
	__u8 reserved0;
	__u32 flow_label;
};

/*
 * A send work request; followed by num_sge entries of struct tcpzc_sge or, with
 * TCPZC_WQE_F_INLINE, by inline_len bytes of data. Slots of one ring have one
 * stride, a multiple of 64 bytes. @ud is of UD queue pairs, which have nothing
 * but SENDs; the other part of the union is of atomics.
 */
struct tcpzc_send_wqe {
	__aligned_u64 wr_id;
	__u8 opcode;		/* enum tcpzc_wqe_opcode */
	__u8 flags;
	__u16 num_sge;
	__u32 imm_data;		/* network byte order, carried untouched */
	__aligned_u64 remote_addr;
	__u32 rkey;
	__u32 inline_len;
	union {
		struct {
			__aligned_u64 compare_add;
			__aligned_u64 swap;
			__aligned_u64 reserved[2];
		};
		struct tcpzc_ud_dest ud;
	};
};

/* A receive work request; followed by num_sge entries of struct tcpzc_sge. */
struct tcpzc_recv_wqe {
	__aligned_u64 wr_id;
	__u32 num_sge;
	__u32 reserved;
};

/* Completion status; the values are those of enum ibv_wc_status. */
enum tcpzc_wc_status {
	TCPZC_WC_SUCCESS		= 0,
	TCPZC_WC_LOC_LEN_ERR		= 1,
	TCPZC_WC_LOC_QP_OP_ERR		= 2,
	TCPZC_WC_LOC_PROT_ERR		= 4,
	TCPZC_WC_WR_FLUSH_ERR		= 5,
	TCPZC_WC_BAD_RESP_ERR		= 7,
	TCPZC_WC_LOC_ACCESS_ERR		= 8,
	TCPZC_WC_REM_INV_REQ_ERR	= 9,
	TCPZC_WC_REM_ACCESS_ERR		= 10,
	TCPZC_WC_REM_OP_ERR		= 11,
	TCPZC_WC_RETRY_EXC_ERR		= 12,
	TCPZC_WC_RNR_RETRY_EXC_ERR	= 13,
	TCPZC_WC_FATAL_ERR		= 19,
	TCPZC_WC_GENERAL_ERR		= 21,
};

/* Completion opcode; the values are those of enum ibv_wc_opcode. */
enum tcpzc_wc_opcode {
	TCPZC_WC_SEND			= 0,
	TCPZC_WC_RDMA_WRITE		= 1,
	TCPZC_WC_RDMA_READ		= 2,
	TCPZC_WC_COMP_SWAP		= 3,
	TCPZC_WC_FETCH_ADD		= 4,
	TCPZC_WC_RECV			= 128,
	TCPZC_WC_RECV_RDMA_WITH_IMM	= 129,
};

/* Completion flags. */
#define TCPZC_CQE_F_WITH_IMM	(1u << 0)
#define TCPZC_CQE_F_GRH		(1u << 1)
#define TCPZC_CQE_F_SOLICITED	(1u << 2)	/* wakes a solicited-only arm */
#define TCPZC_CQE_F_IPV4	(1u << 3)	/* the GRH is an IPv4 header */

struct tcpzc_cqe {
	__aligned_u64 wr_id;
	__u32 qp_num;
	__u32 byte_len;
	__u32 imm_data;		/* network byte order */
	__u32 src_qp;
	__u8 status;		/* enum tcpzc_wc_status */
	__u8 opcode;		/* enum tcpzc_wc_opcode */
	__u8 flags;		/* TCPZC_CQE_F_* */
	__u8 reserved0;
	__u32 vendor_err;
	__aligned_u64 reserved[4];
};

/* ---- kernel mode: what the uverbs commands of tcpzc.ko carry ------------- */

/* A ring, to be mapped from the uverbs file; the slots follow the header. */
struct tcpzc_uresp_ring {
	__aligned_u64 offset;	/* of mmap() */
	__aligned_u64 bytes;	/* of mmap(); 0: there is no such ring */
	__u32 depth;		/* slots, a power of two */
	__u32 stride;		/* bytes of a slot */
};

/* Answer to IB_USER_VERBS_CMD_GET_CONTEXT. */
struct tcpzc_uresp_alloc_ctx {
	__u32 abi_version;	/* TCPZC_ABI_VERSION */
	__u32 reserved;
};

/* Answer to IB_USER_VERBS_CMD_ALLOC_PD. */
struct tcpzc_uresp_alloc_pd {
	__u32 pdn;
	__u32 reserved;
};

/*
 * Goes along with REG_MR and REREG_MR, whose own virtual address must be
 * congruent with the memory's modulo the page.
 */
struct tcpzc_ureq_reg_mr {
	__aligned_u64 iova;	/* of the region's first byte */
};

/* Answer to CREATE_CQ and RESIZE_CQ. */
struct tcpzc_uresp_cq {
	struct tcpzc_uresp_ring ring;
};

/* Answer to CREATE_SRQ; MODIFY_SRQ writes it to @resp_addr when it resizes. */
struct tcpzc_uresp_srq {
	struct tcpzc_uresp_ring ring;
	__u32 max_sge;
	__u32 reserved;
};

/* Goes along with MODIFY_SRQ. */
struct tcpzc_ureq_modify_srq {
	__aligned_u64 resp_addr;	/* struct tcpzc_uresp_srq */
};

/* Answer to CREATE_QP. */
struct tcpzc_uresp_qp {
	struct tcpzc_uresp_ring sq;
	struct tcpzc_uresp_ring rq;	/* none with an SRQ */
	__u32 sq_max_sge;
	__u32 rq_max_sge;
	__u32 max_inline;	/* bytes */
	__u32 reserved;
};

#endif /* TCPZC_ABI_H */
