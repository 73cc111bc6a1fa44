/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * cm-mad.h - the connection manager's messages as management datagrams (IB
 * specification, volume 1, 12.6 and 13.4.2), and what rdma_cm puts into their
 * private data (annex A11). Without I/O and state.
 */
#ifndef TCPZC_CM_MAD_H
#define TCPZC_CM_MAD_H

#include "deps.h"

#define CM_MAD_BYTES		256

/* Messages; the values are the attribute ids. */
enum cm_attr {
	CM_REQ		= 0x10,
	CM_MRA		= 0x11,
	CM_REJ		= 0x12,
	CM_REP		= 0x13,
	CM_RTU		= 0x14,
	CM_DREQ		= 0x15,
	CM_DREP		= 0x16,
	CM_SIDR_REQ	= 0x17,
	CM_SIDR_REP	= 0x18,
};

/* Private data that fits each message, bytes. */
#define CM_REQ_PRIV		92
#define CM_REP_PRIV		196
#define CM_REJ_PRIV		148
#define CM_SIDR_REQ_PRIV	216
#define CM_SIDR_REP_PRIV	136
#define CM_MAX_PRIV		224

/* Why a REQ or REP is refused (table 109). */
enum cm_reason {
	CM_REJ_NO_RESOURCES		= 3,
	CM_REJ_TIMEOUT			= 4,
	CM_REJ_UNSUPPORTED		= 5,
	CM_REJ_INVALID_COMM_ID		= 6,
	CM_REJ_INVALID_SERVICE_ID	= 8,
	CM_REJ_INVALID_TRANSPORT_TYPE	= 9,
	CM_REJ_STALE_CONN		= 10,
	CM_REJ_INVALID_GID		= 12,
	CM_REJ_CONSUMER_DEFINED		= 28,
	CM_REJ_VENDOR_OPTION		= 35,
};

/* Which message is refused. */
enum cm_rejected { CM_REJECTS_REQ = 0, CM_REJECTS_REP = 1, CM_REJECTS_NONE = 2 };

/* SIDR_REP status (table 121). */
enum cm_sidr_status {
	CM_SIDR_SUCCESS		= 0,
	CM_SIDR_UNSUPPORTED	= 1,
	CM_SIDR_REJECT		= 2,
	CM_SIDR_NO_QP		= 3,
};

/* Any message, in host order; what a message does not have is 0. */
struct cm_msg {
	u16 attr;		/* enum cm_attr */
	u64 tid;
	u32 local_id;		/* of its sender; a SIDR message's request id */
	u32 remote_id;		/* of its receiver */
	u64 service_id;
	u64 ca_guid;
	u32 qpn;
	u32 qkey;
	u32 psn;		/* with which the receiver is to start */
	u8 qp_type;		/* TZ_QPT_RC or TZ_QPT_UC */
	u8 responder_resources;
	u8 initiator_depth;
	u8 retry_count;
	u8 rnr_retry_count;
	u8 flow_control;
	u8 srq;
	u8 mtu;			/* enum ibv_mtu */
	u8 ack_timeout;		/* 4.096 us * 2^n, this and the next three */
	u8 remote_timeout;
	u8 local_timeout;
	u8 service_timeout;	/* MRA */
	u8 max_retries;
	u8 traffic_class;
	u8 hop_limit;
	u8 sgid[16];
	u8 dgid[16];
	u8 about;		/* REJ: enum cm_rejected; MRA: 0 REQ, 1 REP */
	u16 reason;		/* REJ */
	u8 status;		/* SIDR_REP */
	u8 priv_len;		/* always all there is room for, when parsed */
	u8 priv[CM_MAX_PRIV];
};

/* False if it is none of the messages above. Accepts garbage. */
bool cm_mad_parse(const u8 mad[CM_MAD_BYTES], struct cm_msg *msg);
void cm_mad_make(const struct cm_msg *msg, u8 mad[CM_MAD_BYTES]);
/* Bytes of private data of a message; 0 if there is no such message. */
u32 cm_mad_priv_bytes(u16 attr);

/*
 * The header that rdma_cm puts before the application's private data in REQ and
 * SIDR_REQ: the addresses, as IPv6 or IPv4 (the last four bytes of 16).
 */
#define CM_IP_HDR_BYTES		36

struct cm_ip_hdr {
	u8 version;		/* 4 or 6 */
	u16 port;		/* of the sender, host order */
	u8 src[16];		/* as a GID: IPv4 as ::ffff:a.b.c.d */
	u8 dst[16];
};

bool cm_ip_hdr_parse(const u8 priv[CM_IP_HDR_BYTES], struct cm_ip_hdr *hdr);
void cm_ip_hdr_make(const struct cm_ip_hdr *hdr, u8 priv[CM_IP_HDR_BYTES]);

/* The service id of a port space and port (annex A11.3). */
static inline u64 cm_service_id(u16 ps, u16 port)
{
	return (u64)ps << 16 | port;
}

#endif /* TCPZC_CM_MAD_H */
