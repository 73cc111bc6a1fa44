// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * tz_tx_test.c - the outgoing stream: taken in pieces of any size, copied or by
 * reference, through the end of its buffer, and cut when the QP fails.
 */
#include "unit.h"

#define VECS	16

static union tz_any_hdr h;

static struct unit *started(u32 tx_buf, u32 copy_max, u32 max_pdu)
{
	struct unit *u = unit_new();

	u->opts.tx_buf_bytes = tx_buf;
	u->opts.copy_max = copy_max;
	u->link.max_pdu = max_pdu;
	unit_start(u);
	return u;
}

static u32 peek(struct unit *u, struct tz_vec *vec)
{
	int n;

	memset(vec, 0, VECS * sizeof(*vec));
	tz_qp_tx_fill(&u->q.qp, u->now);
	n = tz_qp_tx_peek(&u->q.qp, vec, VECS);
	assert_in_range(n, 0, VECS);
	return n;
}

static u32 bytes(const struct tz_vec *vec, u32 n)
{
	u32 i, sum = 0;

	for (i = 0; i < n; i++)
		sum += vec[i].len;
	return sum;
}

static void test_nothing(void **state)
{
	struct unit *u = unit_new();
	struct tz_vec vec[VECS];

	unit_init_qp(u);
	assert_int_equal(peek(u, vec), 0);
	assert_false(tz_qp_tx_pending(&u->q.qp));
	bed_to_rts(&u->q, UNIT_PEER, 0, 0, &u->link, u->now);
	unit_post(u, 1, TCPZC_WQE_SEND, 0, 1);
	assert_int_equal(peek(u, vec), 0);	/* not connected */
	assert_false(tz_qp_tx_pending(&u->q.qp));
	tz_qp_connected(&u->q.qp, 4096, u->now);
	assert_true(tz_qp_tx_pending(&u->q.qp));
	assert_int_equal(bytes(vec, peek(u, vec)), 41);
	assert_true(tz_qp_tx_pending(&u->q.qp));
	tz_qp_tx_done(&u->q.qp, 41, u->now);
	assert_false(tz_qp_tx_pending(&u->q.qp));
	unit_free(u);
}

/* Small messages merge into one piece of memory. */
static void test_copied(void **state)
{
	struct unit *u = started(8192, 100, 4096);
	struct tz_vec vec[VECS];
	u32 i;

	for (i = 0; i < 10; i++)
		unit_post(u, i, TCPZC_WQE_RDMA_WRITE, i, 64);
	memset(u->mem, 0xee, 100);
	assert_int_equal(peek(u, vec), 1);
	assert_null(vec[0].mr);
	assert_int_equal(vec[0].len, 10 * (48 + 64));
	assert_int_equal(u->q.qp.stats.tx_copied, 640);
	unit_free(u);
}

static void test_referenced(void **state)
{
	struct unit *u = started(8192, 100, 4096);
	struct tz_vec vec[VECS];

	unit_post(u, 1, TCPZC_WQE_SEND, 100, 5000);
	assert_int_equal(peek(u, vec), 4);
	assert_int_equal(vec[0].len, 40);
	assert_ptr_equal(vec[1].mr, &u->mr->mr);
	assert_int_equal(vec[1].off, 100);
	assert_int_equal(vec[1].len, 4096);
	assert_int_equal(vec[2].len, 40);
	assert_int_equal(vec[3].off, 4196);
	assert_int_equal(vec[3].len, 904);
	assert_int_equal(u->bed.refs, 2);
	tz_qp_tx_done(&u->q.qp, 40 + 4096, u->now);
	assert_int_equal(u->bed.refs, 1);
	tz_qp_tx_done(&u->q.qp, 41, u->now);
	assert_int_equal(peek(u, vec), 1);
	assert_int_equal(vec[0].off, 4197);
	tz_qp_tx_done(&u->q.qp, 903, u->now);
	assert_int_equal(u->bed.refs, 0);
	assert_int_equal(u->q.qp.stats.tx_bytes, 5000);
	assert_int_equal(u->q.qp.stats.tx_copied, 0);
	unit_free(u);
}

/* The same stream comes out however it is taken. */
static void test_pieces(void **state)
{
	static u8 whole[40000], got[40000];
	u32 piece, total = 0, i, n;

	for (piece = 0; piece < 60; piece++) {
		struct unit *u = started(4096, 300, 1000);

		for (i = 0; i < 12; i++)
			unit_post(u, i, i & 1 ? TCPZC_WQE_SEND : TCPZC_WQE_RDMA_WRITE,
				  i * 100, i * 251);
		for (n = 0; n < sizeof(got); n += i) {
			u32 max = piece ? piece * piece : sizeof(got) - n;

			i = bed_tx(&u->q, got + n, tz_min(max, (u32)sizeof(got) - n),
				   u->now);
			if (!i)
				break;
		}
		if (!piece) {
			memcpy(whole, got, n);
			total = n;
		}
		assert_int_equal(n, total);
		assert_memory_equal(got, whole, n);
		unit_free(u);
	}
	assert_true(total > 12 * 40 + 251 * 66);
}

/* Few vectors at a time make a prefix of many. */
static void test_few_vectors(void **state)
{
	struct unit *u = started(4096, 100, 4096);
	struct tz_vec all[VECS], some[VECS];
	u32 n, max;

	unit_post(u, 1, TCPZC_WQE_SEND, 0, 1000);
	unit_post(u, 2, TCPZC_WQE_SEND, 0, 10);
	unit_post(u, 3, TCPZC_WQE_SEND, 0, 1000);
	n = peek(u, all);
	for (max = 0; max <= n; max++) {
		memset(some, 0, sizeof(some));
		assert_int_equal(tz_qp_tx_peek(&u->q.qp, some, max), max);
		assert_memory_equal(some, all, max * sizeof(*all));
	}
	unit_free(u);
}

/* No more is queued than there is room for; it goes on as room appears. */
static void test_room(void **state)
{
	struct unit *u = started(4096, 1000, 4096);
	static u8 buf[4096];
	u32 i, n, sum = 0;

	for (i = 0; i < 60; i++)
		unit_post(u, i, TCPZC_WQE_SEND, 0, 900);
	tz_qp_tx_fill(&u->q.qp, u->now);
	assert_in_range(u->q.qp.tx.queued, 900, 4096);
	do {
		n = bed_tx(&u->q, buf, 777, u->now);
		assert_true(u->q.qp.tx.queued <= 4096);
		sum += n;
	} while (n);
	assert_int_equal(sum, 60 * 940);
	unit_free(u);
}

/* Both directions get their turn, PDU by PDU. */
static void test_turns(void **state)
{
	struct unit *u = started(65536, 0, 4096);
	u32 reads = 0, sends = 0, i, in_row = 0, last = 99;

	unit_post(u, 1, TCPZC_WQE_SEND, 0, 40960);
	unit_read_req(u, UNIT_RQ_PSN, unit_addr(u, 0), u->mr->mr.key, 40960);
	for (i = 0; i < 20; i++) {
		assert_true(unit_next(u, &h));
		reads += h.h.op == TZ_PDU_READ_RESP;
		sends += h.h.op == TZ_PDU_SEND;
		in_row = h.h.op == last ? in_row + 1 : 0;
		last = h.h.op;
		assert_true(in_row < 2);
	}
	assert_int_equal(reads, 10);
	assert_int_equal(sends, 10);
	unit_silent(u);
	unit_free(u);
}

/* ---- what may be sent without a copy ------------------------------------ */

static void test_ref_bytes(void **state)
{
	struct unit *u = started(65536, 100, 8192);
	struct tz_vec vec[VECS];

	assert_int_equal(tz_qp_tx_ref_bytes(&u->q.qp), 0);
	unit_post(u, 1, TCPZC_WQE_SEND, 0, 50);
	peek(u, vec);
	assert_int_equal(tz_qp_tx_ref_bytes(&u->q.qp), 0);
	unit_post(u, 2, TCPZC_WQE_SEND, 0, 5000);
	unit_post(u, 3, TCPZC_WQE_SEND, 0, 50);
	peek(u, vec);
	assert_int_equal(tz_qp_tx_ref_bytes(&u->q.qp), 90 + 5040);
	tz_qp_tx_done(&u->q.qp, 1000, u->now);
	assert_int_equal(tz_qp_tx_ref_bytes(&u->q.qp), 90 + 5040 - 1000);
	/* nobody acknowledges an answer */
	unit_read_req(u, UNIT_RQ_PSN, unit_addr(u, 0), u->mr->mr.key, 5000);
	assert_int_equal(tz_qp_tx_ref_bytes(&u->q.qp), 0);
	peek(u, vec);
	assert_int_equal(tz_qp_tx_ref_bytes(&u->q.qp), 0);
	unit_free(u);
}

/* ---- failing ------------------------------------------------------------ */

/* What was begun is finished, the rest is dropped; flushed when it is over. */
static void test_cut(void **state)
{
	struct unit *u = started(65536, 0, 4096);
	static u8 out[20000];
	u32 n, i;

	unit_post(u, 1, TCPZC_WQE_SEND, 0, 4096);
	unit_post(u, 2, TCPZC_WQE_SEND, 4096, 4096);
	n = bed_tx(&u->q, out, 100, u->now);
	assert_int_equal(n, 100);
	unit_modify(u, TZ_ERR);
	unit_no_cqe(u);
	while ((i = bed_tx(&u->q, out + n, 1000, u->now)))
		n += i;
	assert_int_equal(n, 40 + 4096);
	assert_memory_equal(out + 40, u->mem, 4096);
	assert_false(tz_qp_tx_pending(&u->q.qp));
	unit_no_cqe(u);
	tz_qp_disconnected(&u->q.qp, u->now);
	unit_expect(u, false, 1, TCPZC_WC_WR_FLUSH_ERR);
	unit_expect(u, false, 2, TCPZC_WC_WR_FLUSH_ERR);
	unit_free(u);
}

static void test_cut_between(void **state)
{
	struct unit *u = started(65536, 0, 4096);
	static u8 out[5000];

	unit_post(u, 1, TCPZC_WQE_SEND, 0, 100);
	unit_post(u, 2, TCPZC_WQE_SEND, 0, 100);
	assert_int_equal(bed_tx(&u->q, out, 140, u->now), 140);
	unit_modify(u, TZ_ERR);
	assert_int_equal(bed_tx(&u->q, out, 100, u->now), 0);
	assert_int_equal(u->bed.refs, 0);
	unit_free(u);
}

/* A region goes away in mid-PDU: not a byte may follow. */
static void test_region_dies(void **state)
{
	struct unit *u = started(65536, 0, 4096);
	static u8 out[5000];

	unit_write_pdu(u, UNIT_RQ_PSN, 0, 0, 0, 0, 0, TZ_PDU_F_LAST);
	unit_post(u, 1, TCPZC_WQE_SEND, 0, 4096);
	assert_int_equal(bed_tx(&u->q, out, 1000, u->now), 1000);
	unit_write_pdu(u, UNIT_RQ_PSN + 1, 0, 0, 0, 0, 0, TZ_PDU_F_LAST);
	bed_dereg(u->mr);
	assert_int_equal(bed_tx(&u->q, out, 1000, u->now), 0);
	assert_int_equal(bed_tx(&u->q, out, 1000, u->now), 0);
	assert_int_equal(u->q.qp.state, TZ_ERR);
	assert_false(tz_qp_tx_pending(&u->q.qp));
	tz_qp_disconnected(&u->q.qp, u->now);
	unit_expect(u, false, 1, TCPZC_WC_LOC_PROT_ERR);
	unit_free(u);
}

static void test_answer_region_dies(void **state)
{
	struct unit *u = started(65536, 0, 4096);
	static u8 out[5000];

	unit_read_req(u, UNIT_RQ_PSN, unit_addr(u, 0), u->mr->mr.key, 4096);
	assert_int_equal(bed_tx(&u->q, out, 1000, u->now), 1000);
	bed_dereg(u->mr);
	assert_int_equal(bed_tx(&u->q, out, 1000, u->now), 0);
	assert_int_equal(bed_tx(&u->q, out, 1000, u->now), 0);
	assert_int_equal(unit_event(u, TZ_EVENT_ACCESS_ERR), 1);
	assert_int_equal(u->q.qp.state, TZ_ERR);
	assert_false(tz_qp_tx_pending(&u->q.qp));
	unit_free(u);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nothing),
		cmocka_unit_test(test_copied),
		cmocka_unit_test(test_referenced),
		cmocka_unit_test(test_pieces),
		cmocka_unit_test(test_few_vectors),
		cmocka_unit_test(test_room),
		cmocka_unit_test(test_turns),
		cmocka_unit_test(test_ref_bytes),
		cmocka_unit_test(test_cut),
		cmocka_unit_test(test_cut_between),
		cmocka_unit_test(test_region_dies),
		cmocka_unit_test(test_answer_region_dies),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
