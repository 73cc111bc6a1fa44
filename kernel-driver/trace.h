/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * trace.h - tracepoints: one for each edge of a work request's life, and those
 * of the objects. docs/kernel-mode.md says how they are used.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM tcpzc

#if !defined(TCPZC_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define TCPZC_TRACE_H

#include <linux/tracepoint.h>

#include "tcpzc.h"

/* ---- work requests ------------------------------------------------------ */

/* The application rang, after it had posted to a queue. */
TRACE_EVENT(tcpzc_doorbell,
	TP_PROTO(const struct tcpzc_qp *qp, bool send),
	TP_ARGS(qp, send),
	TP_STRUCT__entry(
		__field(u32, qpn)
		__field(bool, send)
	),
	TP_fast_assign(
		__entry->qpn = tz_qp_num(&qp->eng);
		__entry->send = send;
	),
	TP_printk("qpn=0x%06x queue=%s", __entry->qpn,
		  __entry->send ? "send" : "recv")
);

DECLARE_EVENT_CLASS(tcpzc_bytes,
	TP_PROTO(const struct tcpzc_qp *qp, u32 msn, u32 bytes, bool ref),
	TP_ARGS(qp, msn, bytes, ref),
	TP_STRUCT__entry(
		__field(u32, qpn)
		__field(u32, bytes)
		__field(u32, msn)
		__field(bool, ref)
	),
	TP_fast_assign(
		__entry->qpn = tz_qp_num(&qp->eng);
		__entry->bytes = bytes;
		__entry->msn = msn;
		__entry->ref = ref;
	),
	TP_printk("qpn=0x%06x msn=0x%06x bytes=%u ref=%d", __entry->qpn,
		  __entry->msn, __entry->bytes, __entry->ref)
);

/*
 * TCP took bytes of the stream: a copy, or references to a region's pages. @msn
 * is the message that the engine will begin next.
 */
DEFINE_EVENT(tcpzc_bytes, tcpzc_send,
	TP_PROTO(const struct tcpzc_qp *qp, u32 msn, u32 bytes, bool ref),
	TP_ARGS(qp, msn, bytes, ref));

/*
 * Bytes were taken from TCP, with @ref to a region's pages, at first at least.
 * @msn is the message that is expected, or whose data it was.
 */
DEFINE_EVENT(tcpzc_bytes, tcpzc_place,
	TP_PROTO(const struct tcpzc_qp *qp, u32 msn, u32 bytes, bool ref),
	TP_ARGS(qp, msn, bytes, ref));

DECLARE_EVENT_CLASS(tcpzc_stream,
	TP_PROTO(const struct tcpzc_qp *qp),
	TP_ARGS(qp),
	TP_STRUCT__entry(
		__field(u32, qpn)
		__field(u32, next_msn)
		__field(u32, ack_msn)
		__field(u32, expect_msn)
		__field(u32, unsent)
		__field(u32, outstanding)
	),
	TP_fast_assign(
		__entry->qpn = tz_qp_num(&qp->eng);
		__entry->next_msn = tz_qp_next_msn(&qp->eng);
		__entry->ack_msn = tz_qp_acked_msn(&qp->eng);
		__entry->expect_msn = tz_qp_expected_msn(&qp->eng);
		__entry->unsent = tz_qp_unsent(&qp->eng);
		__entry->outstanding = tz_qp_outstanding(&qp->eng);
	),
	TP_printk("qpn=0x%06x next_msn=0x%06x ack_msn=0x%06x expect_msn=0x%06x unsent=%u outstanding=%u",
		  __entry->qpn, __entry->next_msn, __entry->ack_msn,
		  __entry->expect_msn, __entry->unsent, __entry->outstanding)
);

/* Data has arrived; before any of it is looked at. */
DEFINE_EVENT(tcpzc_stream, tcpzc_recv,
	TP_PROTO(const struct tcpzc_qp *qp),
	TP_ARGS(qp));

/* The peer has acknowledged requests: ack_msn has moved. */
DEFINE_EVENT(tcpzc_stream, tcpzc_acked,
	TP_PROTO(const struct tcpzc_qp *qp),
	TP_ARGS(qp));

/* The socket takes no more. */
DEFINE_EVENT(tcpzc_stream, tcpzc_full,
	TP_PROTO(const struct tcpzc_qp *qp),
	TP_ARGS(qp));

TRACE_EVENT(tcpzc_complete,
	TP_PROTO(const struct tcpzc_qp *qp, bool send,
		 const struct tcpzc_cqe *cqe),
	TP_ARGS(qp, send, cqe),
	TP_STRUCT__entry(
		__field(u64, wr_id)
		__field(u32, qpn)
		__field(u32, bytes)
		__field(u8, opcode)
		__field(u8, status)
		__field(bool, send)
	),
	TP_fast_assign(
		__entry->wr_id = cqe->wr_id;
		__entry->qpn = tz_qp_num(&qp->eng);
		__entry->bytes = cqe->byte_len;
		__entry->opcode = cqe->opcode;
		__entry->status = cqe->status;
		__entry->send = send;
	),
	TP_printk("qpn=0x%06x queue=%s wr_id=0x%llx opcode=%u status=%u bytes=%u",
		  __entry->qpn, __entry->send ? "send" : "recv",
		  __entry->wr_id, __entry->opcode, __entry->status,
		  __entry->bytes)
);

/* ---- objects ------------------------------------------------------------ */

TRACE_EVENT(tcpzc_modify,
	TP_PROTO(const struct tcpzc_qp *qp, u32 to, u32 mask),
	TP_ARGS(qp, to, mask),
	TP_STRUCT__entry(
		__field(u32, qpn)
		__field(u32, from)
		__field(u32, to)
		__field(u32, mask)
	),
	TP_fast_assign(
		__entry->qpn = tz_qp_num(&qp->eng);
		__entry->from = tz_qp_state(&qp->eng);
		__entry->to = to;
		__entry->mask = mask;
	),
	TP_printk("qpn=0x%06x from=%u to=%u mask=0x%x", __entry->qpn,
		  __entry->from, __entry->to, __entry->mask)
);

/* An asynchronous event; the numbers are those of enum ib_event_type. */
TRACE_EVENT(tcpzc_event,
	TP_PROTO(const struct tcpzc_qp *qp, u32 event),
	TP_ARGS(qp, event),
	TP_STRUCT__entry(
		__field(u32, qpn)
		__field(u32, event)
	),
	TP_fast_assign(
		__entry->qpn = tz_qp_num(&qp->eng);
		__entry->event = event;
	),
	TP_printk("qpn=0x%06x event=%u", __entry->qpn, __entry->event)
);

/* The connection's state has changed; see enum tz_dial_state. */
TRACE_EVENT(tcpzc_conn,
	TP_PROTO(const struct tcpzc_qp *qp, u32 from, u32 to),
	TP_ARGS(qp, from, to),
	TP_STRUCT__entry(
		__field(u32, qpn)
		__field(u32, from)
		__field(u32, to)
	),
	TP_fast_assign(
		__entry->qpn = tz_qp_num(&qp->eng);
		__entry->from = from;
		__entry->to = to;
	),
	TP_printk("qpn=0x%06x from=%u to=%u", __entry->qpn, __entry->from,
		  __entry->to)
);

DECLARE_EVENT_CLASS(tcpzc_mr,
	TP_PROTO(const struct tcpzc_mr *mr),
	TP_ARGS(mr),
	TP_STRUCT__entry(
		__field(u64, iova)
		__field(u64, len)
		__field(u32, index)
		__field(u32, access)
		__field(u32, blocks)
		__field(u32, shift)
	),
	TP_fast_assign(
		__entry->iova = mr->tz.iova;
		__entry->len = mr->tz.len;
		__entry->index = mr->num & TZ_KEY_INDEX_MASK;
		__entry->access = mr->tz.access;
		__entry->blocks = mr->blocks.num;
		__entry->shift = mr->blocks.shift;
	),
	TP_printk("index=%u iova=0x%llx len=%llu access=0x%x blocks=%u block_bytes=%lu",
		  __entry->index, __entry->iova, __entry->len, __entry->access,
		  __entry->blocks, 1ul << __entry->shift)
);

DEFINE_EVENT(tcpzc_mr, tcpzc_mr_reg,
	TP_PROTO(const struct tcpzc_mr *mr),
	TP_ARGS(mr));

DEFINE_EVENT(tcpzc_mr, tcpzc_mr_dereg,
	TP_PROTO(const struct tcpzc_mr *mr),
	TP_ARGS(mr));

#endif /* TCPZC_TRACE_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
