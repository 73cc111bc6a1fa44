// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * tz_rx_test.c - the incoming stream: cut anywhere, nonsense, and where bytes
 * are received to.
 */
#include "unit.h"

static union tz_any_hdr h;

#define PSN	UNIT_RQ_PSN
#define LAST	TZ_PDU_F_LAST
#define VECS	8

static struct unit *started(void)
{
	struct unit *u = unit_new();

	unit_start(u);
	return u;
}

static u32 add(u8 *out, u32 n, const void *hdr, u32 bytes, u32 payload)
{
	u32 i;

	memcpy(out + n, hdr, bytes);
	n += bytes;
	for (i = 0; i < payload; i++)
		out[n++] = i + 1;
	return n;
}

/* A stream with one PDU of each kind, for a victim in a known state. */
static u32 some_stream(struct unit *u, u8 *out)
{
	struct tz_send_hdr send = { .total = put32(10) };
	struct tz_write_hdr write = {
		.total = put32(5000), .rkey = put32(u->mr->mr.key),
		.addr = tz_cpu_to_le64(unit_addr(u, 10000))
	};
	struct tz_read_hdr read = { .total = put32(0) };
	struct tz_read_resp_hdr resp = { .total = put32(3000) };
	struct tz_hdr ack;
	u32 n = 0;

	unit_hdr(u, &send.h, TZ_PDU_SEND, LAST, 10, PSN);
	unit_hdr(u, &write.h, TZ_PDU_WRITE, LAST, 5000, PSN + 1);
	unit_hdr(u, &read.h, TZ_PDU_READ_REQ, LAST, 0, PSN + 2);
	unit_hdr(u, &resp.h, TZ_PDU_READ_RESP, LAST, 3000, UNIT_SQ_PSN);
	resp.h.ack_msn = put32(UNIT_SQ_PSN + 1);
	unit_hdr(u, &ack, TZ_PDU_ACK, LAST, 0, 0);
	ack.ack_msn = put32(UNIT_SQ_PSN + 2);
	n = add(out, n, &send, sizeof(send), 10);
	n = add(out, n, &write, sizeof(write), 5000);
	n = add(out, n, &read, sizeof(read), 0);
	n = add(out, n, &resp, sizeof(resp), 3000);
	return add(out, n, &ack, sizeof(ack), 0);
}

static struct unit *some_victim(u32 rx_buf)
{
	struct unit *u = unit_new();

	u->opts.rx_buf_bytes = rx_buf;
	unit_start(u);
	unit_recv(u, 1, 0, 100);
	unit_post(u, 2, TCPZC_WQE_RDMA_READ, 20000, 3000);
	unit_post(u, 3, TCPZC_WQE_RDMA_WRITE, 0, 1);
	while (unit_next(u, &h))
		;
	return u;
}

static void check_victim(struct unit *u)
{
	u32 i;

	unit_expect(u, true, 1, 0);
	unit_expect(u, false, 2, 0);
	unit_expect(u, false, 3, 0);
	for (i = 0; i < 5000; i++)
		assert_int_equal(u->mem[10000 + i], (u8)(i + 1));
	for (i = 0; i < 3000; i++)
		assert_int_equal(u->mem[20000 + i], (u8)(i + 1));
	unit_expect_pdu(u, &h, TZ_PDU_READ_RESP);
	assert_int_equal(get32(h.h.ack_msn), PSN + 3);
	assert_int_equal(u->q.qp.state, TZ_RTS);
	assert_int_equal(u->q.qp.stats.rx_pdus, 5);
	assert_int_equal(u->q.qp.stats.rx_bytes, 8010);
}

/* Every way to cut it in two, and into pieces of one size. */
static void test_cuts(void **state)
{
	static const u32 bufs[] = { 64, 100, 4096, 65536 };
	static u8 s[20000];
	u32 b, cut, n, at;

	for (b = 0; b < 4; b++) {
		for (cut = 0; cut < 5200; cut += cut < 120 ? 1 : 501) {
			struct unit *u = some_victim(bufs[b]);

			n = some_stream(u, s);
			assert_int_equal(bed_rx(&u->q, s, cut, u->now), cut);
			assert_int_equal(bed_rx(&u->q, s + cut, n - cut, u->now),
					 n - cut);
			check_victim(u);
			unit_free(u);
		}
		for (cut = 1; cut < 3000; cut = cut * 2 + 1) {
			struct unit *u = some_victim(bufs[b]);

			n = some_stream(u, s);
			for (at = 0; at < n; at += cut)
				unit_feed(u, s + at, tz_min(cut, n - at));
			check_victim(u);
			unit_free(u);
		}
	}
}

/* ---- nonsense ----------------------------------------------------------- */

static void nonsense(const union tz_any_hdr *hdr, struct unit *u)
{
	u32 n = tz_hdr_bytes(hdr->h.op);

	unit_recv(u, 1, 0, 1000);
	unit_feed(u, hdr, n ? n : sizeof(*hdr));
	assert_int_equal(unit_event(u, TZ_EVENT_FATAL), 1);
	assert_int_equal(u->q.qp.state, TZ_ERR);
	assert_true(u->q.qp.closing);
	assert_int_equal(u->q.qp.stats.protocol_errors, 1);
	tz_qp_disconnected(&u->q.qp, u->now);
	unit_expect(u, true, 1, TCPZC_WC_WR_FLUSH_ERR);
	unit_no_cqe(u);
	unit_free(u);
}

#define NONSENSE(op, ...) do {						\
		struct unit *u = started();				\
		memset(&h, 0, sizeof(h));				\
		unit_hdr(u, &h.h, op, LAST, 0, PSN);			\
		__VA_ARGS__;						\
		nonsense(&h, u);					\
	} while (0)

static void test_nonsense(void **state)
{
	u32 op;

	for (op = TZ_PDU_OPS; op < 256; op++)
		NONSENSE(op, );
	for (op = 0; op < TZ_PDU_OPS; op++) {
		bool data = op == TZ_PDU_SEND || op == TZ_PDU_WRITE ||
			    op == TZ_PDU_READ_RESP;

		NONSENSE(op, h.h.flags |= 0x08);
		NONSENSE(op, h.h.flags |= 0x80);
		NONSENSE(op, h.h.reserved = 1);
		NONSENSE(op, h.h.src_qpn = put32(UNIT_PEER + 1));
		NONSENSE(op, h.h.src_qpn = put32(UNIT_PEER | 1u << 24));
		NONSENSE(op, h.h.dst_qpn = put32(UNIT_QPN ^ 1));
		NONSENSE(op, h.h.len = put32(data ? 65537 : 1));
		NONSENSE(op, h.h.len = put32(0xffffffff));
		if (op > TZ_PDU_WRITE) {
			NONSENSE(op, h.h.flags |= TZ_PDU_F_IMM);
			NONSENSE(op, h.h.flags |= TZ_PDU_F_SOLICITED);
		}
		if (!data)
			NONSENSE(op, h.h.flags = 0);
	}
}

/* The first word is garbage: an HTTP request, a port scanner, silence. */
static void test_strangers(void **state)
{
	static const char *const words[] = { "GET / HTTP/1.0\r\n\r\n        ",
		"SSH-2.0-OpenSSH_9.2p1 Debian-2",
		("\377\377\377\377\377\377\377\377\377\377\377\377"
		 "\377\377\377\377\377\377\377\377\377\377\377\377") };
	u32 i;

	for (i = 0; i < 3; i++) {
		struct unit *u = started();
		struct tz_vec vec[VECS];

		unit_feed(u, words[i], strlen(words[i]));
		assert_true(u->q.qp.closing);
		assert_int_equal(tz_qp_rx_want(&u->q.qp, vec, VECS), 0);
		unit_free(u);
	}
}

/* ---- where bytes go ----------------------------------------------------- */

static u32 want(struct unit *u, struct tz_vec *vec, int max)
{
	int n;

	memset(vec, 0, VECS * sizeof(*vec));
	n = tz_qp_rx_want(&u->q.qp, vec, max);
	assert_true(n >= 0 && n <= max);
	return n;
}

static void test_want_header(void **state)
{
	struct unit *u = started();
	struct tz_vec vec[VECS];

	assert_int_equal(want(u, vec, VECS), 1);
	assert_null(vec[0].mr);
	assert_true(vec[0].len >= TZ_MAX_HDR_BYTES);
	unit_free(u);
}

/* Large payload is received in place, the end of a WRITE published last. */
static void test_want_in_place(void **state)
{
	struct tcpzc_sge sge[3];
	struct unit *u = started();
	struct tz_vec vec[VECS];
	struct tz_send_hdr s = { .total = put32(20000) };
	struct tz_write_hdr w = {
		.total = put32(20000), .rkey = put32(u->mr->mr.key),
		.addr = tz_cpu_to_le64(unit_addr(u, 5))
	};
	u32 n, i, sum = 0;

	unit_hdr(u, &w.h, TZ_PDU_WRITE, LAST, 20000, PSN);
	unit_feed(u, &w, sizeof(w));
	n = want(u, vec, VECS);
	assert_int_equal(n, 2);
	assert_ptr_equal(vec[0].mr, &u->mr->mr);
	assert_int_equal(vec[0].off, 5);
	assert_in_range(vec[0].len, 19000, 19999);
	assert_null(vec[1].mr);
	assert_true(vec[1].len >= 20000 - vec[0].len);
	assert_int_equal(want(u, vec, 1), 1);
	unit_free(u);

	u = started();
	for (i = 0; i < 3; i++)
		sge[i] = unit_sge(u, 20000 - 7000 * i, 7000 - i);
	assert_true(bed_post_recv(&u->q, 1, sge, 3));
	unit_hdr(u, &s.h, TZ_PDU_SEND, LAST, 20000, PSN);
	unit_feed(u, &s, sizeof(s));
	n = want(u, vec, VECS);
	for (i = 0; i < n && vec[i].mr; i++) {
		assert_int_equal(vec[i].off, 20000 - 7000 * i);
		sum += vec[i].len;
	}
	assert_in_range(sum, 19000, 20000);
	unit_free(u);
}

/* Dropped payload goes to the buffer, whatever its size. */
static void test_want_dropped(void **state)
{
	struct tz_send_hdr s = { .total = put32(60000) };
	struct unit *u = started();
	struct tz_vec vec[VECS];

	unit_hdr(u, &s.h, TZ_PDU_SEND, LAST, 60000, PSN);
	unit_feed(u, &s, sizeof(s));
	assert_int_equal(want(u, vec, VECS), 1);
	assert_null(vec[0].mr);
	unit_expect_pdu(u, &h, TZ_PDU_NAK);
	unit_free(u);
}

static void test_want_nothing(void **state)
{
	struct unit *u = unit_new();
	struct tz_vec vec[VECS];

	unit_init_qp(u);
	assert_int_equal(want(u, vec, VECS), 0);
	bed_to_rts(&u->q, UNIT_PEER, 0, 0, &u->link, u->now);
	assert_int_equal(want(u, vec, VECS), 0);
	tz_qp_connected(&u->q.qp, 4096, u->now);
	assert_int_equal(want(u, vec, VECS), 1);
	tz_qp_disconnected(&u->q.qp, u->now);
	assert_int_equal(want(u, vec, VECS), 0);
	unit_free(u);

	u = started();
	unit_modify(u, TZ_ERR);
	assert_int_equal(want(u, vec, VECS), 0);
	unit_free(u);
}

/* A region dies between two reads; its memory is not named again. */
static void test_region_dies(void **state)
{
	struct unit *u = started();
	struct bed_mr *other = bed_reg(&u->bed, u->mem, 20000, 0, UNIT_ALL, UNIT_PD);
	struct tcpzc_sge sge[2] = { unit_sge(u, 0, 10000),
				    { 10000, 10000, other->mr.key } };
	struct tz_send_hdr s = { .total = put32(20000) };
	struct tz_vec vec[VECS];
	static u8 junk[30000];

	assert_true(bed_post_recv(&u->q, 1, sge, 2));
	unit_hdr(u, &s.h, TZ_PDU_SEND, LAST, 20000, PSN);
	unit_feed(u, &s, sizeof(s));
	unit_feed(u, junk, 3000);
	bed_dereg(other);
	want(u, vec, VECS);
	assert_true(!vec[0].mr || !vec[0].mr->dead);
	assert_true(!vec[1].mr || !vec[1].mr->dead);
	unit_feed(u, junk, 17000);
	unit_expect(u, true, 1, TCPZC_WC_LOC_PROT_ERR);
	unit_expect_pdu(u, &h, TZ_PDU_NAK);
	assert_int_equal(get32(h.nak.code), TZ_NAK_REM_OP);
	unit_free(u);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cuts),
		cmocka_unit_test(test_nonsense),
		cmocka_unit_test(test_strangers),
		cmocka_unit_test(test_want_header),
		cmocka_unit_test(test_want_in_place),
		cmocka_unit_test(test_want_dropped),
		cmocka_unit_test(test_want_nothing),
		cmocka_unit_test(test_region_dies),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
