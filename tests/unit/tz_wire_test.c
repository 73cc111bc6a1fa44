// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * tz_wire_test.c - sizes, places and values that the peer relies on; changing
 * one of them is another protocol.
 */
#include "unit.h"

#define AT(type, field, off)	\
	assert_int_equal(offsetof(struct type, field), off)

static void test_hello(void **state)
{
	assert_int_equal(sizeof(struct tz_hello), 104);
	AT(tz_hello, magic, 0);
	AT(tz_hello, version, 4);
	AT(tz_hello, status, 6);
	AT(tz_hello, features, 8);
	AT(tz_hello, max_pdu, 12);
	AT(tz_hello, src_qpn, 16);
	AT(tz_hello, dst_qpn, 20);
	AT(tz_hello, src_gid, 24);
	AT(tz_hello, dst_gid, 40);
	AT(tz_hello, session_id, 56);
	AT(tz_hello, sq_psn, 64);
	AT(tz_hello, rq_psn, 68);
	AT(tz_hello, next_tx_msn, 72);
	AT(tz_hello, next_rx_msn, 76);
	AT(tz_hello, qp_type, 80);
	AT(tz_hello, reserved2, 88);
	assert_int_equal(TZ_HELLO_MAGIC, 'T' | 'C' << 8 | 'Z' << 16 | '1' << 24);
	assert_int_equal(TZ_PROTO_VERSION, 2);
}

static void test_headers(void **state)
{
	AT(tz_hdr, op, 0);
	AT(tz_hdr, flags, 1);
	AT(tz_hdr, len, 4);
	AT(tz_hdr, src_qpn, 8);
	AT(tz_hdr, dst_qpn, 12);
	AT(tz_hdr, msn, 16);
	AT(tz_hdr, ack_msn, 20);
	AT(tz_send_hdr, total, 24);
	AT(tz_send_hdr, offset, 28);
	AT(tz_send_hdr, imm, 32);
	AT(tz_write_hdr, total, 24);
	AT(tz_write_hdr, offset, 28);
	AT(tz_write_hdr, imm, 32);
	AT(tz_write_hdr, rkey, 36);
	AT(tz_write_hdr, addr, 40);
	AT(tz_read_hdr, addr, 24);
	AT(tz_read_hdr, rkey, 32);
	AT(tz_read_hdr, total, 36);
	AT(tz_atomic_hdr, addr, 24);
	AT(tz_atomic_hdr, rkey, 32);
	AT(tz_atomic_hdr, kind, 36);
	AT(tz_atomic_hdr, compare_add, 40);
	AT(tz_atomic_hdr, swap, 48);
	AT(tz_read_resp_hdr, total, 24);
	AT(tz_read_resp_hdr, offset, 28);
	AT(tz_atomic_resp_hdr, orig, 24);
	AT(tz_nak_hdr, code, 24);
	AT(tz_nak_hdr, arg, 28);
}

static void test_operations(void **state)
{
	static const u8 bytes[] = { 40, 48, 40, 56, 32, 32, 24, 32 };
	u32 op;

	for (op = 0; op < 256; op++)
		assert_int_equal(tz_hdr_bytes(op), op < 8 ? bytes[op] : 0);
	assert_int_equal(TZ_PDU_SEND, 0);
	assert_int_equal(TZ_PDU_WRITE, 1);
	assert_int_equal(TZ_PDU_READ_REQ, 2);
	assert_int_equal(TZ_PDU_ATOMIC_REQ, 3);
	assert_int_equal(TZ_PDU_READ_RESP, 4);
	assert_int_equal(TZ_PDU_ATOMIC_RESP, 5);
	assert_int_equal(TZ_PDU_ACK, 6);
	assert_int_equal(TZ_PDU_NAK, 7);
	assert_int_equal(sizeof(union tz_any_hdr), TZ_MAX_HDR_BYTES);
}

static void test_message_numbers(void **state)
{
	assert_true(tz_msn_before(0, 1));
	assert_false(tz_msn_before(1, 1));
	assert_false(tz_msn_before(1, 0));
	assert_true(tz_msn_before(0xffffff, 0x1000000));
	assert_true(tz_msn_before(0xffffffff, 0));
	assert_true(tz_msn_before(0xfffffff0, 0x10));
	assert_false(tz_msn_before(0x10, 0xfffffff0));
}

static void test_abi(void **state)
{
	assert_int_equal(sizeof(struct tcpzc_ring_hdr), 256);
	assert_int_equal(offsetof(struct tcpzc_ring_hdr, cons), 64);
	assert_int_equal(offsetof(struct tcpzc_ring_hdr, flags), 128);
	assert_int_equal(offsetof(struct tcpzc_ring_hdr, arm), 192);
	assert_int_equal(sizeof(struct tcpzc_send_wqe), 64);
	assert_int_equal(sizeof(struct tcpzc_recv_wqe), 16);
	assert_int_equal(sizeof(struct tcpzc_sge), 16);
	assert_int_equal(sizeof(struct tcpzc_cqe), 64);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hello),
		cmocka_unit_test(test_headers),
		cmocka_unit_test(test_operations),
		cmocka_unit_test(test_message_numbers),
		cmocka_unit_test(test_abi),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
