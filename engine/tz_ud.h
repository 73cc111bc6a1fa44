/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * tz_ud.h - datagrams, sans I/O: a UD queue pair is a struct tz_qp of type
 * TZ_QPT_UD, whose work requests are turned into datagrams here, and whose
 * receives are filled from datagrams.
 *
 * Transmit:	while (tz_ud_tx_next(qp, &out))
 *			send it; stop if the socket is full, else
 *			tz_ud_tx_done(qp, sent);
 * Receive:	tz_ud_check(datagram)		is it one, and for whom?
 *		tz_ud_rx(qp, datagram)		for that QP
 *
 * State changes, flush and posting are those of tz_qp.h. What is not delivered
 * is dropped and counted, never reported (IB specification, volume 1, 9.8.3).
 */
#ifndef TZ_UD_H
#define TZ_UD_H

#include "tz_qp.h"

/* A datagram to be sent; good until the next call for the QP. */
struct tz_ud_out {
	u8 dgid[16];
	u32 dest_qpn;
	u8 sgid_index;
	u8 traffic_class;
	u8 hop_limit;			/* 0: as the host has it */
	struct tz_ud_hdr hdr;
	struct tz_vec vec[TCPZC_MAX_SGE + 1];	/* the header comes first */
	u32 n;
	u32 bytes;			/* of the payload */
};

/*
 * The datagram of the oldest send work request that is not sent yet; false if
 * there is none. Asking again without tz_ud_tx_done() gives the same one.
 */
bool tz_ud_tx_next(struct tz_qp *qp, struct tz_ud_out *out);

/* It is on its way, or (!@sent) could not be sent and is lost. */
void tz_ud_tx_done(struct tz_qp *qp, const struct tz_ud_out *out, bool sent);

/* Is there anything to send? */
bool tz_ud_tx_pending(const struct tz_qp *qp);

/* What the IP header of a datagram says. */
struct tz_ud_path {
	u8 sgid[16];			/* who sent it */
	u8 dgid[16];			/* to which address of this host */
	u8 traffic_class;
	u8 hop_limit;
};

/*
 * Is this a datagram of this protocol? Checks everything that needs no QP;
 * *@dst_qpn says for whom it is. Accepts garbage.
 */
bool tz_ud_check(const void *dgram, u32 bytes, u32 *dst_qpn);

/* A datagram that tz_ud_check() found good, for @qp. */
void tz_ud_rx(struct tz_qp *qp, const void *dgram, const struct tz_ud_path *path);

/* Something came that is no datagram for @qp, or not from anywhere. */
static inline void tz_ud_drop(struct tz_qp *qp)
{
	qp->stats.rx_dropped++;
}

/* Fill in a header; @qp-less senders (the CM) use it, too. */
void tz_ud_make(struct tz_ud_hdr *hdr, u32 src_qpn, u32 dst_qpn, u32 qkey,
		u8 flags, __be32 imm, u32 len);

/*
 * The 40 bytes before a received message: the IPv6 header, or 20 bytes of zeros
 * and the IPv4 header, of a UDP datagram with @payload bytes after the UDP
 * header (the layout of RoCE v2).
 */
void tz_ud_grh(const struct tz_ud_path *path, u32 payload, u8 grh[TZ_GRH_BYTES]);

#endif /* TZ_UD_H */
