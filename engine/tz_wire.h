/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * tz_wire.h - what two tcpzc engines say to each other (docs/protocol.md).
 *
 * A reliable connection is one TCP stream. It starts with one struct
 * tz_hello in each direction; then follow protocol data units (PDUs), each a
 * header of fixed size for its operation and payload bytes. All fields are
 * little-endian and naturally aligned; immediate data is carried untouched.
 */
#ifndef TZ_WIRE_H
#define TZ_WIRE_H

#include "deps.h"

#define TZ_PROTO_VERSION	2

/*
 * Where a QP is reachable at its GID's address: a QPN >> 8 from here on is the
 * TCP port itself (user mode), anything below belongs to a kernel-mode device,
 * which listens on the well-known port.
 */
#define TZ_FIRST_USER_PORT	1024u
#define TZ_WELL_KNOWN_PORT	4795u
#define TZ_HELLO_MAGIC		0x315a4354u	/* "TCZ1" */

/* Feature bits; a side offers what it can, both use what both offered. */
#define TZ_FEATURE_NONE		0u

/* Size of the payload of one PDU: the largest accepted, and the default. */
#define TZ_MAX_PDU_BYTES	(1u << 20)
#define TZ_MIN_PDU_BYTES	4096u
#define TZ_DEFAULT_PDU_BYTES	(256u << 10)

/*
 * Hello, 104 bytes. The connecting side speaks first; the accepting side
 * answers with its own, whose @status is 0 or a refusal (then it closes). A
 * hello tells what its sender will send, or, only if it does not know that
 * yet, what it expects; an answer never tells the latter.
 *
 *   0       1       2       3       4       5       6       7
 *  +-------+-------+-------+-------+-------+-------+-------+-------+
 *  | magic "TCZ1"                  | version       | status        |
 *  +-------------------------------+---------------+---------------+
 *  | features                      | max_pdu                       |
 *  +-------------------------------+-------------------------------+
 *  | src_qpn                       | dst_qpn                       |
 *  +-------------------------------+-------------------------------+
 *  | src_gid (16 bytes)                                            |
 *  +---------------------------------------------------------------+
 *  | dst_gid (16 bytes)                                            |
 *  +-------------------------------+-------------------------------+
 *  | session id (8 bytes)                                          |
 *  +-------------------------------+-------------------------------+
 *  | sq_psn (or TZ_PSN_UNKNOWN)    | rq_psn (or TZ_PSN_UNKNOWN)    |
 *  +-------------------------------+-------------------------------+
 *  | next_tx_msn                   | next_rx_msn                   |
 *  +-------------------------------+-------------------------------+
 *  | qp_type       | reserved      | reserved                      |
 *  +-------------------------------+-------------------------------+
 *  | reserved (16 bytes)                                           |
 *  +---------------------------------------------------------------+
 */
struct tz_hello {
	__le32 magic;
	__le16 version;
	__le16 status;		/* enum tz_hello_status */
	__le32 features;
	__le32 max_pdu;		/* largest payload the sender accepts, bytes */
	__le32 src_qpn;
	__le32 dst_qpn;
	u8 src_gid[16];
	u8 dst_gid[16];
	__le64 session_id;	/* chosen by the connecting side, echoed */
	__le32 sq_psn;		/* first PSN the sender will send, from RTS on */
	__le32 rq_psn;		/* first PSN it expects, in a call before RTS */
	__le32 next_tx_msn;	/* next message it will send, with sq_psn */
	__le32 next_rx_msn;	/* next message it expects, with rq_psn */
	__le16 qp_type;		/* TZ_QPT_RC or TZ_QPT_UC */
	__le16 reserved0;
	__le32 reserved1;
	__le64 reserved2[2];
};

static_assert(sizeof(struct tz_hello) == 104, "wire format");
static_assert(offsetof(struct tz_hello, src_gid) == 24, "wire format");
static_assert(offsetof(struct tz_hello, session_id) == 56, "wire format");
static_assert(offsetof(struct tz_hello, qp_type) == 80, "wire format");

/* Not known yet, or not told; of the message numbers beside it, too. */
#define TZ_PSN_UNKNOWN		0xffffffffu

/* Types of queue pairs; the values are those of enum ibv_qp_type. */
#define TZ_QPT_RC		2
#define TZ_QPT_UC		3
#define TZ_QPT_UD		4

/* Is @gid an IPv4 address (::ffff:a.b.c.d)? */
static inline bool tz_gid_is_v4(const u8 gid[16])
{
	static const u8 mapped[12] = { [10] = 0xff, [11] = 0xff };

	return !memcmp(gid, mapped, sizeof(mapped));
}

/*
 * What is said to a caller. One refusal for all that has to do with a QP, so that
 * nobody learns which of the numbers was wrong.
 */
enum tz_hello_status {
	TZ_HELLO_OK		= 0,
	TZ_HELLO_BAD_VERSION	= 1,
	TZ_HELLO_REFUSED	= 2,
	TZ_HELLO_STATUSES,
	/* never said: hung up on */
	TZ_HELLO_MALFORMED	= TZ_HELLO_STATUSES
};

/* PDU operations. Requests come first, in the order of their handlers. */
enum tz_pdu_op {
	TZ_PDU_SEND		= 0,
	TZ_PDU_WRITE		= 1,
	TZ_PDU_READ_REQ		= 2,
	TZ_PDU_ATOMIC_REQ	= 3,
	TZ_PDU_READ_RESP	= 4,
	TZ_PDU_ATOMIC_RESP	= 5,
	TZ_PDU_ACK		= 6,
	TZ_PDU_NAK		= 7,
	TZ_PDU_OPS
};

/* PDU flags. */
#define TZ_PDU_F_LAST		(1u << 0)	/* last PDU of its message */
#define TZ_PDU_F_SOLICITED	(1u << 1)
#define TZ_PDU_F_IMM		(1u << 2)	/* imm is valid */
#define TZ_PDU_F_ALL		(TZ_PDU_F_LAST | TZ_PDU_F_SOLICITED | TZ_PDU_F_IMM)

/*
 * Common header, 24 bytes, of every PDU.
 *
 *   0       1       2       3       4       5       6       7
 *  +-------+-------+---------------+-------+-------+-------+-------+
 *  | op    | flags | reserved      | payload length                |
 *  +-------+-------+---------------+-------------------------------+
 *  | src_qpn                       | dst_qpn                       |
 *  +-------------------------------+-------------------------------+
 *  | msn                           | ack_msn                       |
 *  +-------------------------------+-------------------------------+
 *
 * @msn counts the messages of a requester, starting with its send PSN; a
 * response carries the number of the request that it answers, ACK carries 0.
 * @ack_msn: the sender's responder has executed every request before it; 0 on
 * UC connections, where nothing but SEND and WRITE is said.
 */
struct tz_hdr {
	u8 op;			/* enum tz_pdu_op */
	u8 flags;		/* TZ_PDU_F_* */
	__le16 reserved;
	__le32 len;		/* payload bytes of this PDU */
	__le32 src_qpn;
	__le32 dst_qpn;
	__le32 msn;
	__le32 ack_msn;
};

/*
 * SEND and SEND_WITH_IMM, 40 bytes.
 *  | common header (24 bytes)                                      |
 *  +-------------------------------+-------------------------------+
 *  | total length of the message   | offset of this PDU            |
 *  +-------------------------------+-------------------------------+
 *  | imm                           | reserved                      |
 *  +-------------------------------+-------------------------------+
 */
struct tz_send_hdr {
	struct tz_hdr h;
	__le32 total;
	__le32 offset;
	__be32 imm;
	__le32 reserved;
};

/*
 * WRITE and WRITE_WITH_IMM, 48 bytes. @addr and @rkey name the start of the
 * message, so that the responder checks the whole range before it places the
 * first byte; the payload goes to addr + offset.
 *  | common header (24 bytes)                                      |
 *  +-------------------------------+-------------------------------+
 *  | total length of the message   | offset of this PDU            |
 *  +-------------------------------+-------------------------------+
 *  | imm                           | rkey                          |
 *  +-------------------------------+-------------------------------+
 *  | addr                                                          |
 *  +---------------------------------------------------------------+
 */
struct tz_write_hdr {
	struct tz_hdr h;
	__le32 total;
	__le32 offset;
	__be32 imm;
	__le32 rkey;
	__le64 addr;
};

/* READ request, 40 bytes: common header, addr (8), rkey (4), total (4). */
struct tz_read_hdr {
	struct tz_hdr h;
	__le64 addr;
	__le32 rkey;
	__le32 total;
};

/*
 * Atomic request, 56 bytes: common header, addr (8), rkey (4), kind (4),
 * compare or add (8), swap (8).
 */
struct tz_atomic_hdr {
	struct tz_hdr h;
	__le64 addr;
	__le32 rkey;
	__le32 kind;		/* enum tz_atomic_kind */
	__le64 compare_add;
	__le64 swap;
};

enum tz_atomic_kind {
	TZ_ATOMIC_CMP_AND_SWP	= 0,
	TZ_ATOMIC_FETCH_AND_ADD	= 1,
};

/* READ response, 32 bytes: common header, total (4), offset (4). */
struct tz_read_resp_hdr {
	struct tz_hdr h;
	__le32 total;
	__le32 offset;
};

/* Atomic response, 32 bytes: common header, the value before (8). */
struct tz_atomic_resp_hdr {
	struct tz_hdr h;
	__le64 orig;
};

/*
 * NAK, 32 bytes: common header, code (4), arg (4). Answers request @msn; every
 * request before it is executed, none after it. RNR: @arg is the responder's
 * min_rnr_timer (5-bit code of the IB specification, 9.7.5.2.8), the requester
 * sends again from @msn on. Any other code ends the connection.
 */
struct tz_nak_hdr {
	struct tz_hdr h;
	__le32 code;		/* enum tz_nak_code */
	__le32 arg;
};

enum tz_nak_code {
	TZ_NAK_RNR		= 0,
	TZ_NAK_INV_REQ		= 1,
	TZ_NAK_REM_ACCESS	= 2,
	TZ_NAK_REM_OP		= 3,
	TZ_NAK_CODES
};

static_assert(sizeof(struct tz_hdr) == 24, "wire format");
static_assert(sizeof(struct tz_send_hdr) == 40, "wire format");
static_assert(sizeof(struct tz_write_hdr) == 48, "wire format");
static_assert(sizeof(struct tz_read_hdr) == 40, "wire format");
static_assert(sizeof(struct tz_atomic_hdr) == 56, "wire format");
static_assert(sizeof(struct tz_read_resp_hdr) == 32, "wire format");
static_assert(sizeof(struct tz_atomic_resp_hdr) == 32, "wire format");
static_assert(sizeof(struct tz_nak_hdr) == 32, "wire format");

/* The largest header of all. */
#define TZ_MAX_HDR_BYTES	56u

/* Any header, as the receiver reads it. */
union tz_any_hdr {
	struct tz_hdr h;
	struct tz_send_hdr send;
	struct tz_write_hdr write;
	struct tz_read_hdr read;
	struct tz_atomic_hdr atomic;
	struct tz_read_resp_hdr read_resp;
	struct tz_atomic_resp_hdr atomic_resp;
	struct tz_nak_hdr nak;
	u8 bytes[TZ_MAX_HDR_BYTES];
};

/*
 * Bytes of the header of operation @op; 0 if there is no such operation.
 */
static inline u32 tz_hdr_bytes(u8 op)
{
	static const u8 bytes[TZ_PDU_OPS] = {
		[TZ_PDU_SEND]		= sizeof(struct tz_send_hdr),
		[TZ_PDU_WRITE]		= sizeof(struct tz_write_hdr),
		[TZ_PDU_READ_REQ]	= sizeof(struct tz_read_hdr),
		[TZ_PDU_ATOMIC_REQ]	= sizeof(struct tz_atomic_hdr),
		[TZ_PDU_READ_RESP]	= sizeof(struct tz_read_resp_hdr),
		[TZ_PDU_ATOMIC_RESP]	= sizeof(struct tz_atomic_resp_hdr),
		[TZ_PDU_ACK]		= sizeof(struct tz_hdr),
		[TZ_PDU_NAK]		= sizeof(struct tz_nak_hdr),
	};

	return op < TZ_PDU_OPS ? bytes[op] : 0;
}

/* ---- datagrams ----------------------------------------------------------- */

/*
 * A message of a UD queue pair is one UDP datagram: this header, 32 bytes, and
 * the payload. Whom it is from and for is said by the IP header, too.
 *
 *   0       1       2       3       4       5       6       7
 *  +-------+-------+-------+-------+-------+-------+-------+-------+
 *  | magic "TCZU"                  | vers. | flags | pkey          |
 *  +-------------------------------+-------+-------+---------------+
 *  | src_qpn                       | dst_qpn                       |
 *  +-------------------------------+-------------------------------+
 *  | qkey                          | imm                           |
 *  +-------------------------------+-------------------------------+
 *  | payload length                | reserved                      |
 *  +-------------------------------+-------------------------------+
 */
struct tz_ud_hdr {
	__le32 magic;
	u8 version;
	u8 flags;		/* TZ_UD_F_* */
	__le16 pkey;
	__le32 src_qpn;
	__le32 dst_qpn;
	__le32 qkey;
	__be32 imm;
	__le32 len;
	__le32 reserved;
};

static_assert(sizeof(struct tz_ud_hdr) == 32, "wire format");

#define TZ_UD_MAGIC		0x555a4354u	/* "TCZU" */
#define TZ_UD_VERSION		1
#define TZ_UD_F_SOLICITED	(1u << 0)
#define TZ_UD_F_IMM		(1u << 1)	/* imm is valid */
#define TZ_UD_F_ALL		(TZ_UD_F_SOLICITED | TZ_UD_F_IMM)
#define TZ_UD_PKEY		0xffffu		/* the only one there is */

/* The largest payload, which is the largest path MTU of RDMA. */
#define TZ_UD_MAX_BYTES		4096u
/* What a receive starts with (IB specification, 8.3, 11.4.1.2). */
#define TZ_GRH_BYTES		40u

/* The general services interface: its number and its key (IB 3.9.5.3). */
#define TZ_GSI_QPN		1u
#define TZ_GSI_QKEY		0x80010000u

/* Message numbers wrap; they are compared as in tcp.h. */
static inline bool tz_msn_before(u32 a, u32 b)
{
	return (s32)(a - b) < 0;
}

#endif /* TZ_WIRE_H */
