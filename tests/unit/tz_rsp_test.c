// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * tz_rsp_test.c - the responder: executing requests, refusing them, receives
 * that are not there, responses, and when acknowledgements are sent.
 */
#include "unit.h"

static union tz_any_hdr h;

#define PSN	UNIT_RQ_PSN
#define LAST	TZ_PDU_F_LAST

static struct unit *started(void)
{
	struct unit *u = unit_new();

	unit_start(u);
	return u;
}

static bool placed(const struct unit *u, u32 at, u32 off, u32 len)
{
	u32 i;

	for (i = 0; i < len; i++)
		if (u->mem[at + i] != (u8)(off + i + 1))
			return false;
	return true;
}

static bool untouched(const struct unit *u, u32 at, u32 len)
{
	u32 i;

	for (i = 0; i < len; i++)
		if (u->mem[at + i] != (u8)(at + i))
			return false;
	return true;
}

/* The victim has refused: a NAK, the event, ERR, and it closes. */
static void refused(struct unit *u, u32 msn, u32 code, enum tz_event event)
{
	unit_expect_pdu(u, &h, TZ_PDU_NAK);
	assert_int_equal(get32(h.nak.code), code);
	assert_int_equal(get32(h.nak.arg), 0);
	assert_int_equal(get32(h.h.msn), msn);
	assert_int_equal(get32(h.h.ack_msn), msn);
	unit_silent(u);
	if (event != TZ_EVENTS)
		assert_int_equal(unit_event(u, event), 1);
	assert_int_equal(u->q.qp.state, TZ_ERR);
	assert_true(u->q.qp.closing);
	assert_false(tz_qp_tx_pending(&u->q.qp));
	assert_int_equal(u->q.qp.stats.tx_naks, 1);
}

/* ---- SEND --------------------------------------------------------------- */

static void test_send(void **state)
{
	struct unit *u = started();
	struct tcpzc_cqe c;

	unit_recv(u, 70, 1000, 500);
	unit_recv(u, 71, 2000, 500);
	unit_send_pdu(u, PSN, 300, 0, 300, LAST | TZ_PDU_F_SOLICITED);
	c = unit_pop(u);
	assert_int_equal(c.wr_id, 70);
	assert_int_equal(c.status, 0);
	assert_int_equal(c.opcode, TCPZC_WC_RECV);
	assert_int_equal(c.byte_len, 300);
	assert_int_equal(c.flags, TCPZC_CQE_F_SOLICITED);
	assert_int_equal(c.src_qp, UNIT_PEER);
	assert_true(placed(u, 1000, 0, 300) && untouched(u, 1300, 700));
	unit_send_pdu(u, PSN + 1, 0, 0, 0, LAST | TZ_PDU_F_IMM);
	c = unit_pop(u);
	assert_int_equal(c.wr_id, 71);
	assert_int_equal(c.byte_len, 0);
	assert_int_equal(c.flags, TCPZC_CQE_F_WITH_IMM);
	assert_int_equal(c.imm_data, 0x0a0b0c0d);
	assert_int_equal(u->q.qp.stats.rx_msgs, 2);
	unit_free(u);
}

static void test_send_scattered(void **state)
{
	struct unit *u = started();
	struct tcpzc_sge sge[3] = {
		unit_sge(u, 5000, 100), { 0, 0, 0 }, unit_sge(u, 100, 4000)
	};

	assert_true(bed_post_recv(&u->q, 1, sge, 3));
	unit_send_pdu(u, PSN, 4100, 0, 50, 0);
	unit_send_pdu(u, PSN, 4100, 50, 3000, 0);
	unit_no_cqe(u);
	unit_send_pdu(u, PSN, 4100, 3050, 1050, LAST);
	unit_expect(u, true, 1, 0);
	assert_true(placed(u, 5000, 0, 100) && placed(u, 100, 100, 4000));
	assert_true(untouched(u, 4100, 900) && untouched(u, 5100, 100));
	unit_free(u);
}

static void test_send_too_long(void **state)
{
	struct unit *u = started();

	unit_recv(u, 1, 0, 99);
	unit_recv(u, 2, 0, 1000);
	unit_send_pdu(u, PSN, 100, 0, 100, LAST);
	unit_expect(u, true, 1, TCPZC_WC_LOC_LEN_ERR);
	unit_no_cqe(u);
	refused(u, PSN, TZ_NAK_INV_REQ, TZ_EVENTS);
	tz_qp_disconnected(&u->q.qp, u->now);
	unit_expect(u, true, 2, TCPZC_WC_WR_FLUSH_ERR);
	assert_true(untouched(u, 0, 100));
	unit_free(u);
}

static void bad_receive(const struct tcpzc_sge *sge, u32 n, u8 status)
{
	struct unit *u = started();

	assert_true(bed_post_recv(&u->q, 1, sge, n));
	unit_send_pdu(u, PSN, 8, 0, 8, LAST);
	unit_expect(u, true, 1, status);
	refused(u, PSN, TZ_NAK_REM_OP, TZ_EVENTS);
	assert_true(untouched(u, 0, 100));
	unit_free(u);
}

static void test_bad_receives(void **state)
{
	struct unit *u = unit_new();
	struct tcpzc_sge sge[8];
	u32 i;

	unit_init_qp(u);
	for (i = 0; i < 8; i++)
		sge[i] = unit_sge(u, 0, 10);
	unit_free(u);
	bad_receive(sge, 5, TCPZC_WC_LOC_QP_OP_ERR);
	bad_receive(sge, 0xffffffff, TCPZC_WC_LOC_QP_OP_ERR);
	sge[1].lkey ^= 0x100;
	bad_receive(sge, 2, TCPZC_WC_LOC_PROT_ERR);
	sge[1] = sge[0];
	sge[1].addr += UNIT_MEM - 9;
	bad_receive(sge, 2, TCPZC_WC_LOC_PROT_ERR);
}

/* What a WRITE with immediate data takes is not looked into. */
static void test_bad_receive_for_imm(void **state)
{
	struct unit *u = started();
	struct tcpzc_sge sge = { 1, 2, 3 };

	assert_true(bed_post_recv(&u->q, 1, &sge, 1));
	unit_write_pdu(u, PSN, 0, 0, 0, 0, 0, LAST | TZ_PDU_F_IMM);
	unit_expect(u, true, 1, 0);
	unit_free(u);
}

/* ---- WRITE -------------------------------------------------------------- */

static void test_write(void **state)
{
	struct unit *u = started();
	u32 key = u->mr->mr.key;
	struct tcpzc_cqe c;

	unit_write_pdu(u, PSN, unit_addr(u, 7), key, 9000, 0, 5000, 0);
	assert_true(placed(u, 7, 0, 5000) && untouched(u, 5007, 5000));
	unit_write_pdu(u, PSN, unit_addr(u, 7), key, 9000, 5000, 4000, LAST);
	assert_true(placed(u, 7, 0, 9000) && untouched(u, 9007, 100));
	unit_no_cqe(u);
	unit_recv(u, 5, 0, 0);
	unit_write_pdu(u, PSN + 1, unit_addr(u, 0), key, 3, 0, 3,
		       LAST | TZ_PDU_F_IMM | TZ_PDU_F_SOLICITED);
	c = unit_pop(u);
	assert_int_equal(c.wr_id, 5);
	assert_int_equal(c.opcode, TCPZC_WC_RECV_RDMA_WITH_IMM);
	assert_int_equal(c.byte_len, 3);
	assert_int_equal(c.imm_data, 0x0a0b0c0d);
	assert_int_equal(c.flags, TCPZC_CQE_F_WITH_IMM | TCPZC_CQE_F_SOLICITED);
	unit_free(u);
}

/* No key is checked at length 0 (NCCL writes to address 0 with key 0). */
static void test_write_nothing(void **state)
{
	struct unit *u = started();

	unit_write_pdu(u, PSN, 0, 0, 0, 0, 0, LAST);
	unit_write_pdu(u, PSN + 1, ~0ull, 0xbad, 0, 0, 0, LAST);
	unit_expect_pdu(u, &h, TZ_PDU_ACK);
	assert_int_equal(get32(h.h.ack_msn), PSN + 2);
	unit_free(u);
}

#define WRITE_REFUSED(code, event, addr, key, total, ...) do {		\
		struct unit *u = unit_new();				\
		struct bed_mr *ro, *foreign;				\
		__VA_ARGS__;						\
		unit_start(u);						\
		ro = bed_reg(&u->bed, u->mem, 100, 0, UNIT_ALL &	\
			     ~TZ_ACCESS_REMOTE_WRITE, UNIT_PD);		\
		foreign = bed_reg(&u->bed, u->mem, 100, 0, UNIT_ALL,	\
				  UNIT_PD + 1);				\
		(void)ro;						\
		(void)foreign;						\
		unit_write_pdu(u, PSN, addr, key, total, 0, 1, 0);	\
		refused(u, PSN, code, event);				\
		assert_true(untouched(u, 0, UNIT_MEM));			\
		unit_free(u);						\
	} while (0)

static void test_write_refused(void **state)
{
	const u32 code = TZ_NAK_REM_ACCESS, ev = TZ_EVENT_ACCESS_ERR;
	const u64 end = UNIT_IOVA + UNIT_MEM;

	WRITE_REFUSED(code, ev, UNIT_IOVA, u->mr->mr.key + 1, 8);
	WRITE_REFUSED(code, ev, UNIT_IOVA - 1, u->mr->mr.key, 8);
	WRITE_REFUSED(code, ev, end - 7, u->mr->mr.key, 8);
	WRITE_REFUSED(code, ev, end, u->mr->mr.key, 2);
	WRITE_REFUSED(code, ev, ~0ull - 3, u->mr->mr.key, 8);
	WRITE_REFUSED(code, ev, UNIT_IOVA, u->mr->mr.key, UNIT_MEM + 1);
	WRITE_REFUSED(code, ev, UNIT_IOVA, u->mr->mr.key, 1u << 31);
	WRITE_REFUSED(code, ev, 0, ro->mr.key, 8);
	WRITE_REFUSED(code, ev, 0, foreign->mr.key, 8);
	WRITE_REFUSED(TZ_NAK_INV_REQ, TZ_EVENT_REQ_ERR, UNIT_IOVA,
		      u->mr->mr.key, 8, u->link.access &= ~TZ_ACCESS_REMOTE_WRITE);
	WRITE_REFUSED(TZ_NAK_INV_REQ, TZ_EVENT_REQ_ERR, UNIT_IOVA,
		      u->mr->mr.key, (1u << 31) + 1);
}

/* The immediate data takes its receive, which says what was wrong. */
static void test_write_imm_refused(void **state)
{
	const u32 bad = TCPZC_WC_LOC_ACCESS_ERR;
	u32 cuts;

	for (cuts = 0; cuts < 2; cuts++) {
		struct unit *u = started();
		u32 key = u->mr->mr.key;

		unit_recv(u, 1, 0, 10);
		unit_recv(u, 2, 0, 10);
		if (cuts) {
			unit_write_pdu(u, PSN, unit_addr(u, 0), key, 2000, 0, 1000, 0);
			bed_dereg(u->mr);
			u->mr = bed_reg(&u->bed, u->mem, UNIT_MEM, UNIT_IOVA,
					UNIT_ALL, UNIT_PD);
		}
		unit_write_pdu(u, PSN, unit_addr(u, 0), key ^ !cuts, 2000,
			       cuts * 1000, 2000 - cuts * 1000, LAST | TZ_PDU_F_IMM);
		unit_expect(u, true, 1, bad);
		unit_no_cqe(u);
		refused(u, PSN, TZ_NAK_REM_ACCESS, TZ_EVENT_ACCESS_ERR);
		tz_qp_disconnected(&u->q.qp, u->now);
		unit_expect(u, true, 2, TCPZC_WC_WR_FLUSH_ERR);
		unit_no_cqe(u);
		unit_free(u);
	}
}

/* Without a receive there is none to take. */
static void test_write_imm_refused_no_receive(void **state)
{
	struct unit *u = started();

	unit_write_pdu(u, PSN, unit_addr(u, 0), u->mr->mr.key ^ 1, 8, 0, 8,
		       LAST | TZ_PDU_F_IMM);
	refused(u, PSN, TZ_NAK_REM_ACCESS, TZ_EVENT_ACCESS_ERR);
	tz_qp_disconnected(&u->q.qp, u->now);
	unit_no_cqe(u);
	unit_free(u);
}

/* ---- sequence ----------------------------------------------------------- */

#define OUT_OF_SEQUENCE(...) do {				\
		struct unit *u = started();			\
		u32 key = u->mr->mr.key;			\
		(void)key;					\
		unit_recv(u, 1, 0, 20000);			\
		unit_send_pdu(u, PSN, 1000, 0, 100, 0);		\
		__VA_ARGS__;					\
		refused(u, PSN, TZ_NAK_INV_REQ, TZ_EVENT_REQ_ERR); \
		tz_qp_disconnected(&u->q.qp, u->now);		\
		unit_expect(u, true, 1, TCPZC_WC_WR_FLUSH_ERR);	\
		unit_free(u);					\
	} while (0)

static void test_sequence(void **state)
{
	OUT_OF_SEQUENCE(unit_send_pdu(u, PSN, 1000, 0, 100, 0));
	OUT_OF_SEQUENCE(unit_send_pdu(u, PSN, 1000, 101, 100, 0));
	OUT_OF_SEQUENCE(unit_send_pdu(u, PSN, 1001, 100, 100, 0));
	OUT_OF_SEQUENCE(unit_send_pdu(u, PSN, 1000, 100, 900, 0));
	OUT_OF_SEQUENCE(unit_send_pdu(u, PSN, 1000, 100, 100, LAST));
	OUT_OF_SEQUENCE(unit_send_pdu(u, PSN, 1000, 100, 901, LAST));
	OUT_OF_SEQUENCE(unit_send_pdu(u, PSN, 1000, 100, 0, 0));
	OUT_OF_SEQUENCE(unit_send_pdu(u, PSN, 1000, 1001, 0, LAST));
	OUT_OF_SEQUENCE(unit_send_pdu(u, PSN, 1000, 0xffffffff, 100, 0));
	OUT_OF_SEQUENCE(unit_send_pdu(u, PSN, 1000, 100, 100, TZ_PDU_F_IMM));
	OUT_OF_SEQUENCE(unit_send_pdu(u, PSN, 1000, 100, 100, TZ_PDU_F_SOLICITED));
	OUT_OF_SEQUENCE(unit_write_pdu(u, PSN, unit_addr(u, 0), key, 1000, 100, 100, 0));
	OUT_OF_SEQUENCE(unit_read_req(u, PSN, unit_addr(u, 0), key, 8));
	OUT_OF_SEQUENCE(unit_atomic_req(u, PSN, unit_addr(u, 0), key, 0, 0, 0));
}

static void test_message_number(void **state)
{
	static const u32 wrong[] = { PSN + 1, PSN - 1, 0, PSN + 0x80000000 };
	u32 i;

	for (i = 0; i < 4; i++) {
		/* a stranger: nothing happens to the QP */
		struct unit *u = started();

		unit_recv(u, 1, 0, 10);
		unit_send_pdu(u, wrong[i], 1, 0, 1, LAST);
		assert_true(u->q.qp.closing);
		assert_int_equal(u->q.qp.state, TZ_RTS);
		unit_no_cqe(u);
		unit_silent(u);
		/* and its peer can still come */
		tz_qp_disconnected(&u->q.qp, u->now);
		assert_int_equal(u->q.qp.conn, TZ_CONN_NONE);
		tz_qp_connected(&u->q.qp, TZ_DEFAULT_PDU_BYTES, u->now);
		unit_send_pdu(u, PSN, 1, 0, 1, LAST);
		unit_expect(u, true, 1, 0);
		unit_free(u);
		/* from the peer itself it is the end */
		u = started();
		unit_recv(u, 1, 0, 10);
		unit_recv(u, 2, 0, 10);
		unit_send_pdu(u, PSN, 1, 0, 1, LAST);
		unit_expect(u, true, 1, 0);
		unit_send_pdu(u, wrong[i] + 1, 1, 0, 1, LAST);
		tz_qp_disconnected(&u->q.qp, u->now);
		unit_expect(u, true, 2, TCPZC_WC_WR_FLUSH_ERR);
		assert_int_equal(unit_event(u, TZ_EVENT_FATAL), 1);
		unit_free(u);
	}
}

static void numbers_wrap(u32 psn)
{
	struct unit *u = unit_new();
	u32 i;

	unit_init_qp(u);
	bed_to_rts(&u->q, UNIT_PEER, 1, psn, &u->link, u->now);
	tz_qp_connected(&u->q.qp, 4096, u->now);
	for (i = 0; i < 6; i++) {
		unit_recv(u, i, 0, 10);
		unit_send_pdu(u, psn + i, 1, 0, 1, LAST);
		unit_expect(u, true, i, 0);
		unit_expect_pdu(u, &h, TZ_PDU_ACK);
		assert_int_equal(get32(h.h.ack_msn), psn + i + 1);
	}
	unit_free(u);
}

static void test_wrap(void **state)
{
	numbers_wrap(0xfffffd);
	numbers_wrap(0xfffffffd);
	numbers_wrap(0x7ffffffd);
}

/* ---- receiver not ready ------------------------------------------------- */

static void expect_rnr(struct unit *u, u32 msn, u32 timer)
{
	unit_expect_pdu(u, &h, TZ_PDU_NAK);
	assert_int_equal(get32(h.nak.code), TZ_NAK_RNR);
	assert_int_equal(get32(h.nak.arg), timer);
	assert_int_equal(get32(h.h.msn), msn);
	assert_int_equal(get32(h.h.ack_msn), msn);
}

static void test_rnr(void **state)
{
	struct unit *u = unit_new();
	u32 key = u->mr->mr.key;

	u->link.min_rnr_timer = 19;
	unit_start(u);
	unit_send_pdu(u, PSN, 2000, 0, 1000, 0);
	expect_rnr(u, PSN, 19);
	/* what was on its way already is dropped, whatever it is */
	unit_recv(u, 1, 0, 3000);
	unit_send_pdu(u, PSN, 2000, 1000, 1000, LAST);
	unit_write_pdu(u, PSN + 1, unit_addr(u, 0), key, 8, 0, 8, LAST);
	unit_read_req(u, PSN + 2, unit_addr(u, 0), key, 8);
	unit_write_pdu(u, PSN + 3, 0, 0, 8, 0, 8, LAST);
	unit_no_cqe(u);
	unit_silent(u);
	assert_true(untouched(u, 0, 3000));
	assert_int_equal(u->q.qp.stats.rx_dropped, 4);
	/* again, and then all goes on */
	unit_send_pdu(u, PSN, 2000, 0, 1000, 0);
	unit_send_pdu(u, PSN, 2000, 1000, 1000, LAST);
	unit_expect(u, true, 1, 0);
	unit_write_pdu(u, PSN + 1, unit_addr(u, 0), key, 8, 0, 8, LAST);
	unit_expect_pdu(u, &h, TZ_PDU_ACK);
	assert_int_equal(get32(h.h.ack_msn), PSN + 2);
	assert_int_equal(u->q.qp.stats.tx_rnr_naks, 1);
	unit_free(u);
}

/* Whole for its immediate data, after the payload is placed. */
static void test_rnr_write_imm(void **state)
{
	struct unit *u = started();
	u32 key = u->mr->mr.key, i;

	for (i = 0; i < 3; i++) {
		if (i == 2)
			unit_recv(u, 1, 0, 0);
		unit_write_pdu(u, PSN, unit_addr(u, 0), key, 200, 0, 100, 0);
		unit_write_pdu(u, PSN, unit_addr(u, 0), key, 200, 100, 100,
			       LAST | TZ_PDU_F_IMM);
		if (i < 2)
			expect_rnr(u, PSN, 12);
	}
	unit_expect(u, true, 1, 0);
	assert_true(placed(u, 0, 0, 200));
	unit_free(u);
}

static void test_stall(void **state)
{
	struct unit *u = unit_new();
	struct tz_vec vec[4];

	u->opts.rnr_stall_ns = 100 * US;
	unit_start(u);
	unit_send_pdu(u, PSN, 10, 0, 10, LAST);
	unit_silent(u);
	assert_true(tz_qp_deadline(&u->q.qp) == u->now + 100 * US);
	assert_int_equal(tz_qp_rx_want(&u->q.qp, vec, 4), 0);
	unit_tick(u, 50 * US);
	unit_silent(u);
	unit_recv(u, 1, 0, 10);
	unit_expect(u, true, 1, 0);
	assert_true(placed(u, 0, 0, 10));
	unit_expect_pdu(u, &h, TZ_PDU_ACK);
	assert_int_equal(u->q.qp.stats.tx_rnr_naks, 0);
	/* the next wait is a whole one, and in vain */
	unit_send_pdu(u, PSN + 1, 10, 0, 10, LAST);
	unit_tick(u, 100 * US - 1);
	unit_silent(u);
	unit_tick(u, 1);
	expect_rnr(u, PSN + 1, 12);
	assert_true(tz_qp_rx_want(&u->q.qp, vec, 4) > 0);
	unit_free(u);
}

/* The application wrote nonsense into its receive ring's index. */
static void test_garbage_index(void **state)
{
	u32 stall;

	for (stall = 0; stall < 2; stall++) {
		struct unit *u = unit_new();

		u->opts.rnr_stall_ns = stall * 100 * US;
		unit_start(u);
		unit_recv(u, 1, 0, 10);
		unit_recv(u, 2, 0, 10);
		unit_send_pdu(u, PSN, 10, 0, 10, LAST);
		unit_expect(u, true, 1, 0);
		u->q.rq_hdr->prod--;
		unit_send_pdu(u, PSN + 1, 10, 0, 10, LAST);
		unit_expect(u, true, 2, 0);
		unit_send_pdu(u, PSN + 2, 10, 0, 10, LAST);
		assert_int_equal(u->q.qp.state, TZ_ERR);
		assert_int_equal(unit_event(u, TZ_EVENT_FATAL), 1);
		tz_qp_disconnected(&u->q.qp, u->now);
		unit_no_cqe(u);
		unit_free(u);
	}
}

/* The doorbell is asked for while somebody waits for it. */
static void test_doorbell(void **state)
{
	struct unit *u = unit_new();
	u32 *flags;

	u->opts.rnr_stall_ns = 100 * US;
	unit_start(u);
	flags = &u->q.rq_hdr->flags;
	assert_int_equal(*flags, 0);
	unit_send_pdu(u, PSN, 10, 0, 10, LAST);
	assert_int_equal(*flags, TCPZC_RING_NEED_WAKEUP);
	unit_recv(u, 1, 0, 10);
	unit_expect(u, true, 1, 0);
	assert_int_equal(*flags, 0);
	unit_modify(u, TZ_ERR);
	assert_int_equal(*flags, TCPZC_RING_NEED_WAKEUP);
	tz_qp_disconnected(&u->q.qp, u->now);
	assert_int_equal(*flags, TCPZC_RING_NEED_WAKEUP);
	unit_recv(u, 2, 0, 10);
	unit_expect(u, true, 2, TCPZC_WC_WR_FLUSH_ERR);
	unit_free(u);
}

/* A peer that does not wait for its RNR NAK fills nothing up. */
static void test_impatient_peer(void **state)
{
	struct unit *u = started();
	u32 i;

	for (i = 0; i < 3 * TZ_RESP_SLOTS; i++)
		unit_send_pdu(u, PSN, 1, 0, 1, LAST);
	expect_rnr(u, PSN, 12);
	unit_silent(u);
	unit_free(u);
}

/* ---- READ and atomics --------------------------------------------------- */

static void test_read(void **state)
{
	struct unit *u = unit_new();
	u32 key = u->mr->mr.key, off;

	u->link.max_pdu = 4096;
	unit_start(u);
	unit_read_req(u, PSN, unit_addr(u, 100), key, 10000);
	unit_read_req(u, PSN + 1, 0, 0, 0);
	unit_read_req(u, PSN + 2, unit_addr(u, UNIT_MEM - 1), key, 1);
	for (off = 0; off < 10000; off += 4096) {
		bool last = off + 4096 >= 10000;

		unit_expect_pdu(u, &h, TZ_PDU_READ_RESP);
		assert_int_equal(get32(h.h.msn), PSN);
		assert_int_equal(get32(h.h.ack_msn), PSN + 3);
		assert_int_equal(h.h.flags, last ? LAST : 0);
		assert_int_equal(get32(h.read_resp.offset), off);
		assert_int_equal(get32(h.read_resp.total), 10000);
		assert_int_equal(get32(h.h.len), last ? 10000 - off : 4096);
		assert_memory_equal(unit_payload, u->mem + 100 + off, get32(h.h.len));
	}
	unit_expect_pdu(u, &h, TZ_PDU_READ_RESP);
	assert_int_equal(get32(h.h.msn), PSN + 1);
	assert_int_equal(get32(h.h.len), 0);
	unit_expect_pdu(u, &h, TZ_PDU_READ_RESP);
	assert_int_equal(get32(h.h.msn), PSN + 2);
	unit_silent(u);		/* nothing is acknowledged twice */
	unit_free(u);
}

static void test_read_refused(void **state)
{
	static const struct { u64 addr; u32 key, total, code; } t[] = {
		{ UNIT_IOVA, 1, 8, TZ_NAK_REM_ACCESS },
		{ UNIT_IOVA - 1, 0, 8, TZ_NAK_REM_ACCESS },
		{ UNIT_IOVA + UNIT_MEM - 7, 0, 8, TZ_NAK_REM_ACCESS },
		{ ~0ull - 3, 0, 8, TZ_NAK_REM_ACCESS },
		{ UNIT_IOVA, 0, 1u << 31, TZ_NAK_REM_ACCESS },
		{ UNIT_IOVA, 0, (1u << 31) + 1, TZ_NAK_INV_REQ },
	};
	u32 i;

	for (i = 0; i < 6; i++) {
		struct unit *u = started();

		unit_read_req(u, PSN, t[i].addr, u->mr->mr.key ^ t[i].key, t[i].total);
		refused(u, PSN, t[i].code, t[i].code == TZ_NAK_INV_REQ ?
			TZ_EVENT_REQ_ERR : TZ_EVENT_ACCESS_ERR);
		unit_free(u);
	}
}

/* Answers of the requests before the refused one are still sent. */
static void test_read_before_refused(void **state)
{
	struct unit *u = started();
	u32 key = u->mr->mr.key;

	unit_read_req(u, PSN, unit_addr(u, 0), key, 100);
	unit_read_req(u, PSN + 1, unit_addr(u, 0), key + 1, 100);
	unit_read_req(u, PSN + 2, unit_addr(u, 0), key, 100);
	unit_expect_pdu(u, &h, TZ_PDU_READ_RESP);
	refused(u, PSN + 1, TZ_NAK_REM_ACCESS, TZ_EVENT_ACCESS_ERR);
	unit_free(u);
}

static void test_rights(void **state)
{
	u32 i;

	for (i = 0; i < 4; i++) {
		struct unit *u = unit_new();
		u32 key = u->mr->mr.key;

		if (i & 1)
			u->link.access = TZ_ACCESS_REMOTE_WRITE;
		else
			u->mr->mr.access = TZ_ACCESS_REMOTE_WRITE;
		unit_start(u);
		if (i & 2)
			unit_read_req(u, PSN, unit_addr(u, 0), key, 8);
		else
			unit_atomic_req(u, PSN, unit_addr(u, 0), key, 0, 0, 1);
		if (i & 1)
			refused(u, PSN, TZ_NAK_INV_REQ, TZ_EVENT_REQ_ERR);
		else
			refused(u, PSN, TZ_NAK_REM_ACCESS, TZ_EVENT_ACCESS_ERR);
		assert_true(untouched(u, 0, 100));
		unit_free(u);
	}
}

static void test_too_many_reads(void **state)
{
	struct unit *u = unit_new();
	u32 key = u->mr->mr.key, i;

	u->link.max_dest_rd_atomic = 3;
	unit_start(u);
	for (i = 0; i < 3; i++)
		unit_read_req(u, PSN + i, unit_addr(u, 0), key, 8);
	for (i = 0; i < 3; i++)
		unit_expect_pdu(u, &h, TZ_PDU_READ_RESP);
	for (i = 3; i < 7; i++)
		unit_read_req(u, PSN + i, unit_addr(u, 0), key, 8);
	for (i = 0; i < 3; i++)
		unit_expect_pdu(u, &h, TZ_PDU_READ_RESP);
	refused(u, PSN + 6, TZ_NAK_INV_REQ, TZ_EVENT_REQ_ERR);
	unit_free(u);
}

static u64 word(const struct unit *u, u32 off)
{
	u64 v;

	memcpy(&v, u->mem + off, 8);
	return v;
}

static void test_atomics(void **state)
{
	struct unit *u = started();
	u32 key = u->mr->mr.key;
	u64 was = word(u, 16);

	unit_atomic_req(u, PSN, unit_addr(u, 16), key, TZ_ATOMIC_CMP_AND_SWP,
			was + 1, 5);
	unit_expect_pdu(u, &h, TZ_PDU_ATOMIC_RESP);
	assert_true(tz_le64_to_cpu(h.atomic_resp.orig) == was && word(u, 16) == was);
	unit_atomic_req(u, PSN + 1, unit_addr(u, 16), key, TZ_ATOMIC_CMP_AND_SWP,
			was, ~0ull);
	unit_expect_pdu(u, &h, TZ_PDU_ATOMIC_RESP);
	assert_true(tz_le64_to_cpu(h.atomic_resp.orig) == was);
	assert_true(word(u, 16) == ~0ull);
	unit_atomic_req(u, PSN + 2, unit_addr(u, 16), key, TZ_ATOMIC_FETCH_AND_ADD,
			3, 0);
	unit_expect_pdu(u, &h, TZ_PDU_ATOMIC_RESP);
	assert_int_equal(get32(h.h.msn), PSN + 2);
	assert_true(tz_le64_to_cpu(h.atomic_resp.orig) == ~0ull && word(u, 16) == 2);
	assert_true(untouched(u, 0, 16) && untouched(u, 24, 100));
	unit_free(u);
}

static void test_atomic_refused(void **state)
{
	static const struct { u32 off, key, kind, code; } t[] = {
		{ 4, 0, 0, TZ_NAK_INV_REQ }, { 1, 0, 1, TZ_NAK_INV_REQ },
		{ 0, 0, 2, TZ_NAK_INV_REQ }, { 0, 0, 0xffffffff, TZ_NAK_INV_REQ },
		{ 0, 1, 0, TZ_NAK_REM_ACCESS }, { UNIT_MEM, 0, 0, TZ_NAK_REM_ACCESS },
	};
	u32 i;

	for (i = 0; i < 6; i++) {
		struct unit *u = started();

		unit_atomic_req(u, PSN, unit_addr(u, t[i].off),
				u->mr->mr.key ^ t[i].key, t[i].kind, 0, 7);
		refused(u, PSN, t[i].code, t[i].code == TZ_NAK_INV_REQ ?
			TZ_EVENT_REQ_ERR : TZ_EVENT_ACCESS_ERR);
		assert_true(untouched(u, 0, UNIT_MEM));
		unit_free(u);
	}
}

/* The region of a READ goes away before all of it is answered. */
static void test_read_region_dies(void **state)
{
	struct unit *u = unit_new();
	u32 key = u->mr->mr.key;

	unit_start(u);
	unit_read_req(u, PSN, unit_addr(u, 0), key, 100);
	bed_dereg(u->mr);
	unit_expect_pdu(u, &h, TZ_PDU_NAK);
	assert_int_equal(get32(h.nak.code), TZ_NAK_REM_ACCESS);
	assert_int_equal(get32(h.h.msn), PSN);
	/* it was accepted, and acknowledgements do not go back */
	assert_int_equal(get32(h.h.ack_msn), PSN + 1);
	unit_silent(u);
	assert_int_equal(unit_event(u, TZ_EVENT_ACCESS_ERR), 1);
	assert_int_equal(u->q.qp.state, TZ_ERR);
	unit_free(u);
}

static void test_receive_region_dies(void **state)
{
	struct unit *u = started();

	unit_recv(u, 1, 0, 10000);
	unit_send_pdu(u, PSN, 10000, 0, 5000, 0);
	bed_dereg(u->mr);
	unit_send_pdu(u, PSN, 10000, 5000, 5000, LAST);
	unit_expect(u, true, 1, TCPZC_WC_LOC_PROT_ERR);
	refused(u, PSN, TZ_NAK_REM_OP, TZ_EVENTS);
	unit_free(u);
}

/* ---- acknowledgements --------------------------------------------------- */

static void test_ack_at_once(void **state)
{
	struct unit *u = started();
	u32 i;

	for (i = 0; i < 5; i++) {
		unit_write_pdu(u, PSN + i, 0, 0, 0, 0, 0, LAST);
		unit_expect_pdu(u, &h, TZ_PDU_ACK);
		assert_int_equal(get32(h.h.ack_msn), PSN + i + 1);
		assert_int_equal(h.h.flags, LAST);
		unit_silent(u);
	}
	assert_int_equal(u->q.qp.stats.tx_acks, 5);
	/* several that arrive together get one */
	for (; i < 12; i++)
		unit_write_pdu(u, PSN + i, 0, 0, 0, 0, 0, LAST);
	unit_expect_pdu(u, &h, TZ_PDU_ACK);
	assert_int_equal(get32(h.h.ack_msn), PSN + 12);
	unit_silent(u);
	unit_free(u);
}

static void test_ack_rides(void **state)
{
	struct unit *u = started();

	unit_write_pdu(u, PSN, 0, 0, 0, 0, 0, LAST);
	unit_post(u, 1, TCPZC_WQE_SEND, 0, 1);
	unit_expect_pdu(u, &h, TZ_PDU_SEND);
	assert_int_equal(get32(h.h.ack_msn), PSN + 1);
	unit_silent(u);
	assert_int_equal(u->q.qp.stats.tx_acks, 0);
	unit_free(u);
}

/* Ping-pong: after some rounds the ACK waits for the answer. */
static struct unit *pingpong(u32 rounds)
{
	struct unit *u = unit_new();
	u32 i;

	u->opts.ack_delay_ns = 50 * US;
	unit_start(u);
	for (i = 0; i < rounds; i++) {
		unit_write_pdu(u, PSN + i, 0, 0, 0, 0, 0, LAST);
		unit_post(u, i, TCPZC_WQE_SEND, 0, 1);
		unit_expect_pdu(u, &h, TZ_PDU_SEND);
		unit_silent(u);
		unit_ack(u, UNIT_SQ_PSN + i + 1);
		unit_expect(u, false, i, 0);
	}
	return u;
}

static void test_ack_waits(void **state)
{
	struct unit *u = pingpong(8);

	unit_write_pdu(u, PSN + 8, 0, 0, 0, 0, 0, LAST);
	unit_silent(u);
	assert_true(tz_qp_deadline(&u->q.qp) == u->now + 50 * US);
	unit_tick(u, 50 * US - 1);
	unit_silent(u);
	unit_tick(u, 1);
	unit_expect_pdu(u, &h, TZ_PDU_ACK);
	assert_int_equal(get32(h.h.ack_msn), PSN + 9);
	/* it waited in vain: the next one does not wait */
	unit_write_pdu(u, PSN + 9, 0, 0, 0, 0, 0, LAST);
	unit_expect_pdu(u, &h, TZ_PDU_ACK);
	unit_free(u);
}

static void test_ack_waits_not_for_many(void **state)
{
	struct unit *u = pingpong(8);
	u32 i;

	for (i = 0; i < 16; i++)
		unit_write_pdu(u, PSN + 8 + i, 0, 0, 0, 0, 0, LAST);
	unit_expect_pdu(u, &h, TZ_PDU_ACK);
	assert_int_equal(get32(h.h.ack_msn), PSN + 24);
	unit_free(u);
}

static void test_ack_now(void **state)
{
	struct unit *u = pingpong(8);

	unit_write_pdu(u, PSN + 8, 0, 0, 0, 0, 0, LAST);
	unit_silent(u);
	tz_qp_ack_now(&u->q.qp);
	unit_expect_pdu(u, &h, TZ_PDU_ACK);
	tz_qp_ack_now(&u->q.qp);
	unit_silent(u);
	/* that was no wait in vain */
	unit_write_pdu(u, PSN + 9, 0, 0, 0, 0, 0, LAST);
	unit_silent(u);
	unit_free(u);
}

/* A request that fails is not acknowledged, what came before it is. */
static void test_ack_before_nak(void **state)
{
	struct unit *u = pingpong(8);

	unit_write_pdu(u, PSN + 8, 0, 0, 0, 0, 0, LAST);
	unit_write_pdu(u, PSN + 9, 0, 0, 8, 0, 8, LAST);
	unit_expect_pdu(u, &h, TZ_PDU_NAK);
	assert_int_equal(get32(h.h.ack_msn), PSN + 9);
	unit_silent(u);
	unit_free(u);
}

/* ---- events and shared receives ----------------------------------------- */

static void test_comm_est(void **state)
{
	struct unit *u = unit_new();
	struct tz_qp_attr a = {
		.state = TZ_INIT, .access = UNIT_ALL, .dest_qpn = UNIT_PEER,
		.rq_psn = PSN, .max_dest_rd_atomic = 1
	};

	unit_init_qp(u);
	tz_qp_modify(&u->q.qp, &a, TZ_QP_STATE | TZ_QP_ACCESS_FLAGS, u->now);
	a.state = TZ_RTR;
	tz_qp_modify(&u->q.qp, &a, TZ_QP_STATE | TZ_QP_DEST_QPN | TZ_QP_RQ_PSN |
		     TZ_QP_MAX_DEST_RD_ATOMIC, u->now);
	tz_qp_connected(&u->q.qp, 4096, u->now);
	unit_recv(u, 1, 0, 10);
	unit_send_pdu(u, PSN, 1, 0, 1, LAST);
	unit_expect(u, true, 1, 0);
	assert_int_equal(unit_event(u, TZ_EVENT_COMM_EST), 1);
	unit_write_pdu(u, PSN + 1, 0, 0, 0, 0, 0, LAST);
	assert_int_equal(unit_event(u, TZ_EVENT_COMM_EST), 0);
	unit_expect_pdu(u, &h, TZ_PDU_ACK);	/* RTR alone acknowledges */
	unit_free(u);
}

static void test_srq(void **state)
{
	struct unit *u = unit_new();

	bed_srq_init(&u->srq, 8, 4);
	u->opts.srq = &u->srq;
	unit_start(u);
	unit_recv(u, 1, 0, 100);
	unit_recv(u, 2, 100, 100);
	unit_recv(u, 3, 200, 100);
	unit_send_pdu(u, PSN, 100, 0, 100, LAST);
	unit_expect(u, true, 1, 0);
	unit_send_pdu(u, PSN + 1, 100, 0, 50, 0);
	unit_modify(u, TZ_ERR);
	assert_int_equal(unit_event(u, TZ_EVENT_LAST_WQE_REACHED), 0);
	tz_qp_disconnected(&u->q.qp, u->now);
	/* the one in use is flushed, the others stay in the SRQ */
	unit_expect(u, true, 2, TCPZC_WC_WR_FLUSH_ERR);
	unit_no_cqe(u);
	assert_int_equal(unit_event(u, TZ_EVENT_LAST_WQE_REACHED), 1);
	assert_int_equal(tz_rq_count(&u->srq.rq), 1);
	unit_free(u);
}

/* An SRQ may be of another protection domain than the QP. */
static void test_srq_domain(void **state)
{
	struct unit *u;
	struct bed_mr *own;
	struct tcpzc_sge sge;
	u32 i;

	for (i = 0; i < 2; i++) {
		u = unit_new();
		own = bed_reg(&u->bed, u->mem, 100, 0, UNIT_ALL, UNIT_PD + 1);
		bed_srq_init(&u->srq, 8, 4);
		u->opts.srq = &u->srq;
		u->opts.rq_pdn = UNIT_PD + 1;
		unit_start(u);
		sge = i ? unit_sge(u, 0, 100) :
			  (struct tcpzc_sge){ 0, 100, own->mr.key };
		assert_true(bed_post_srq(&u->srq, 1, &sge, 1));
		unit_send_pdu(u, PSN, 100, 0, 100, LAST);
		unit_expect(u, true, 1, i ? TCPZC_WC_LOC_PROT_ERR : 0);
		/* which opens nothing to the peer */
		if (!i) {
			unit_write_pdu(u, PSN + 1, 0, own->mr.key, 8, 0, 8, LAST);
			refused(u, PSN + 1, TZ_NAK_REM_ACCESS, TZ_EVENT_ACCESS_ERR);
		}
		unit_free(u);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_send),
		cmocka_unit_test(test_send_scattered),
		cmocka_unit_test(test_send_too_long),
		cmocka_unit_test(test_bad_receives),
		cmocka_unit_test(test_bad_receive_for_imm),
		cmocka_unit_test(test_write),
		cmocka_unit_test(test_write_nothing),
		cmocka_unit_test(test_write_refused),
		cmocka_unit_test(test_write_imm_refused),
		cmocka_unit_test(test_write_imm_refused_no_receive),
		cmocka_unit_test(test_sequence),
		cmocka_unit_test(test_message_number),
		cmocka_unit_test(test_wrap),
		cmocka_unit_test(test_rnr),
		cmocka_unit_test(test_rnr_write_imm),
		cmocka_unit_test(test_stall),
		cmocka_unit_test(test_garbage_index),
		cmocka_unit_test(test_doorbell),
		cmocka_unit_test(test_impatient_peer),
		cmocka_unit_test(test_read),
		cmocka_unit_test(test_read_refused),
		cmocka_unit_test(test_read_before_refused),
		cmocka_unit_test(test_rights),
		cmocka_unit_test(test_too_many_reads),
		cmocka_unit_test(test_atomics),
		cmocka_unit_test(test_atomic_refused),
		cmocka_unit_test(test_read_region_dies),
		cmocka_unit_test(test_receive_region_dies),
		cmocka_unit_test(test_ack_at_once),
		cmocka_unit_test(test_ack_rides),
		cmocka_unit_test(test_ack_waits),
		cmocka_unit_test(test_ack_waits_not_for_many),
		cmocka_unit_test(test_ack_now),
		cmocka_unit_test(test_ack_before_nak),
		cmocka_unit_test(test_comm_est),
		cmocka_unit_test(test_srq),
		cmocka_unit_test(test_srq_domain),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
