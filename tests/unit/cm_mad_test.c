// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * cm_mad_test.c - the connection manager's messages: layout, byte by byte where
 * the IB specification says so (12.6), and what is refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "cm-pass.h"
#include "rng.h"
#include "tz_wire.h"

static u8 mad[CM_MAD_BYTES];
#define BODY	(mad + 24)

static void is(u32 at, const char *hex)
{
	unsigned int byte;

	for (; *hex; hex += 2, at++) {
		assert_int_equal(sscanf(hex, "%2x", &byte), 1);
		if (BODY[at] != byte)
			fail_msg("byte %u is %02x, not %02x", at, BODY[at], byte);
	}
}

static struct cm_msg full_req(void)
{
	struct cm_msg m = {
		.attr = CM_REQ, .tid = 0x0102030405060708, .local_id = 0x11223344,
		.service_id = 0x0000000001061c2f, .ca_guid = 0xa1a2a3a4a5a6a7a8,
		.qpn = 0x123456, .psn = 0xabcdef, .qp_type = TZ_QPT_RC,
		.responder_resources = 4, .initiator_depth = 5, .retry_count = 7,
		.rnr_retry_count = 6, .flow_control = 1, .srq = 1, .mtu = 3,
		.ack_timeout = 18, .remote_timeout = 20, .local_timeout = 20,
		.max_retries = 15, .traffic_class = 0x20, .hop_limit = 64,
		.sgid = { [10] = 0xff, 0xff, 10, 0, 0, 1 },
		.dgid = { [10] = 0xff, 0xff, 10, 0, 0, 2 },
		.priv_len = CM_REQ_PRIV,
	};
	u32 i;

	for (i = 0; i < CM_REQ_PRIV; i++)
		m.priv[i] = i + 1;
	return m;
}

static void test_req(void **state)
{
	struct cm_msg m = full_req(), back;

	cm_mad_make(&m, mad);
	assert_memory_equal(mad, "\x01\x07\x02\x03\0\0\0\0\1\2\3\4\5\6\7\10\0\x10", 18);
	is(0, "11223344");
	is(8, "0000000001061c2f" "a1a2a3a4a5a6a7a8");
	is(32, "12345604");
	is(39, "05");
	is(43, "a1" "abcdef" "a7" "ffff");
	is(50, "36" "f8");
	is(52, "ffffffff" "00000000000000000000ffff0a000001");
	is(72, "00000000000000000000ffff0a000002");
	is(92, "2040" "00" "90");
	is(140, "0102");
	assert_int_equal(mad[255], CM_REQ_PRIV);
	assert_true(cm_mad_parse(mad, &back));
	assert_memory_equal(&m, &back, sizeof(m));
}

static void test_rep(void **state)
{
	struct cm_msg m = {
		.attr = CM_REP, .tid = 9, .local_id = 1, .remote_id = 2,
		.qkey = 0x55667788, .qpn = 0x123456, .psn = 0x0a0b0c,
		.responder_resources = 3, .initiator_depth = 2, .ack_timeout = 18,
		.flow_control = 1, .rnr_retry_count = 7, .srq = 1,
		.ca_guid = 0x1112131415161718, .priv_len = CM_REP_PRIV,
		.priv = "private",
	}, back;

	cm_mad_make(&m, mad);
	is(0, "00000001" "00000002" "55667788" "123456");
	is(20, "0a0b0c");
	is(24, "03" "02" "91" "f0" "1112131415161718");
	is(36, "70726976");
	assert_true(cm_mad_parse(mad, &back));
	assert_memory_equal(&m, &back, sizeof(m));
}

static void test_others(void **state)
{
	struct cm_msg rej = { .attr = CM_REJ, .local_id = 1, .remote_id = 2,
			      .about = CM_REJECTS_REP, .reason = 28,
			      .priv_len = CM_REJ_PRIV, .priv = "no" };
	struct cm_msg mra = { .attr = CM_MRA, .about = 1, .service_timeout = 24,
			      .priv_len = 222 };
	struct cm_msg dreq = { .attr = CM_DREQ, .local_id = 3, .remote_id = 4,
			       .qpn = 0xaabbcc, .priv_len = 220 };
	struct cm_msg req = { .attr = CM_SIDR_REQ, .local_id = 5,
			      .service_id = 0x01110001, .priv_len = 216 };
	struct cm_msg rep = { .attr = CM_SIDR_REP, .local_id = 5, .status = 2,
			      .qpn = 0x010203, .service_id = 7, .qkey = 0x01234567,
			      .priv_len = 136 };
	const struct cm_msg *all[] = { &rej, &mra, &dreq, &req, &rep };
	struct cm_msg back;
	u32 i;

	cm_mad_make(&rej, mad);
	is(8, "4000" "001c");
	is(84, "6e6f");
	cm_mad_make(&mra, mad);
	is(8, "40c0");
	cm_mad_make(&dreq, mad);
	is(8, "aabbcc");
	cm_mad_make(&req, mad);
	is(0, "00000005" "ffff" "0000" "0000000001110001");
	cm_mad_make(&rep, mad);
	is(0, "00000005" "02" "000000" "010203" "00" "0000000000000007" "01234567");
	for (i = 0; i < TZ_ARRAY_SIZE(all); i++) {
		cm_mad_make(all[i], mad);
		assert_true(cm_mad_parse(mad, &back));
		assert_memory_equal(all[i], &back, sizeof(back));
	}
}

/* Private data is never longer than its place. */
static void test_too_much(void **state)
{
	struct cm_msg m = full_req(), back;

	m.priv_len = 255;
	memset(m.priv, 0xee, sizeof(m.priv));
	cm_mad_make(&m, mad);
	assert_true(cm_mad_parse(mad, &back));
	assert_int_equal(back.priv_len, CM_REQ_PRIV);
}

static void test_refused(void **state)
{
	static const u32 header[] = { 0, 1, 2, 3, 16 };
	struct cm_msg m = full_req(), back;
	u32 i;

	for (i = 0; i < TZ_ARRAY_SIZE(header); i++) {
		cm_mad_make(&m, mad);
		mad[header[i]] ^= 0x40;
		assert_false(cm_mad_parse(mad, &back));
	}
	for (i = 0; i < 256; i++) {
		cm_mad_make(&m, mad);
		mad[17] = i;
		assert_int_equal(cm_mad_parse(mad, &back),
				 i >= CM_REQ && i <= CM_SIDR_REP);
	}
	/* reliable datagrams, XRC */
	for (i = 2; i < 4; i++) {
		cm_mad_make(&m, mad);
		BODY[43] = (BODY[43] & ~6) | i << 1;
		assert_false(cm_mad_parse(mad, &back));
	}
}

static void expect_ip_hdr(const u8 *p, const struct cm_ip_hdr *want)
{
	struct cm_ip_hdr got;

	assert_true(cm_ip_hdr_parse(p, &got));
	assert_int_equal(got.version, want->version);
	assert_int_equal(got.port, want->port);
	assert_memory_equal(got.src, want->src, sizeof(got.src));
	assert_memory_equal(got.dst, want->dst, sizeof(got.dst));
}

static void test_ip_hdr(void **state)
{
	struct cm_ip_hdr v4 = { .version = 4, .port = 0x1c2f,
				.src = { [10] = 0xff, 0xff, 10, 0, 0, 1 },
				.dst = { [10] = 0xff, 0xff, 10, 0, 0, 2 } };
	struct cm_ip_hdr v6 = { .version = 6, .port = 1, .src = { 0xfd, 1 },
				.dst = { 0xfd, 2 } }, back;
	u8 p[CM_IP_HDR_BYTES];

	cm_ip_hdr_make(&v4, p);
	assert_memory_equal(p, "\0\x40\x1c\x2f\0\0\0\0\0\0\0\0\0\0\0\0\12\0\0\1", 20);
	expect_ip_hdr(p, &v4);
	cm_ip_hdr_make(&v6, p);
	expect_ip_hdr(p, &v6);
	p[1] = 0x50;
	assert_false(cm_ip_hdr_parse(p, &back));
	p[1] = 0x40;
	p[0] = 1;
	assert_false(cm_ip_hdr_parse(p, &back));
}

/* Whatever is understood is made again as it was understood. */
static void test_random(void **state)
{
	struct rng r = { 11 };
	struct cm_msg m, again;
	u32 i, j;

	for (i = 0; i < 200000; i++) {
		for (j = 0; j < CM_MAD_BYTES; j += 4)
			*(u32 *)(mad + j) = rng_next(&r);
		memcpy(mad, "\x01\x07\x02\x03", 4);
		mad[16] = 0;
		mad[17] = CM_REQ + rng_next(&r) % 10;
		if (!cm_mad_parse(mad, &m))
			continue;
		cm_mad_make(&m, mad);
		assert_true(cm_mad_parse(mad, &again));
		assert_memory_equal(&m, &again, sizeof(m));
	}
}

/* ---- between the processes of a host ------------------------------------ */

static void refused(struct cm_pass pass, size_t bytes)
{
	struct cm_path path;
	struct cm_msg msg;

	assert_false(cm_pass_parse(&pass, bytes, &path, &msg));
}

static void test_pass(void **state)
{
	struct cm_path path = { { 0xfd, 1 }, { 0xfd, 2 }, 0 }, back;
	struct cm_msg m = { .attr = CM_DREQ, .local_id = 7, .remote_id = 8 };
	struct cm_pass pass, bad;

	cm_mad_make(&m, mad);
	cm_pass_make(&path, mad, &pass);
	assert_true(cm_pass_parse(&pass, sizeof(pass), &back, &m));
	assert_memory_equal(&back, &path, sizeof(path));
	assert_int_equal(m.remote_id, 8);
	refused(pass, 0);
	refused(pass, sizeof(pass) - 1);
	refused(pass, sizeof(pass) + 1);
	bad = pass;
	bad.magic++;
	refused(bad, sizeof(bad));
	bad = pass;
	bad.mad[0]++;
	refused(bad, sizeof(bad));
	bad = pass;
	memset(bad.sgid, 0, 16);
	refused(bad, sizeof(bad));
	bad = pass;
	bad.dgid[0] = 0xff;
	refused(bad, sizeof(bad));
	/* An interface goes with a link-local address, and with no other. */
	bad = pass;
	bad.ifindex = 3;
	refused(bad, sizeof(bad));
	memcpy(bad.dgid, "\xfe\x80", 2);
	assert_true(cm_pass_parse(&bad, sizeof(bad), &back, &m));
	assert_int_equal(back.ifindex, 3);
	bad.ifindex = 0;
	refused(bad, sizeof(bad));
}

static void test_hello(void **state)
{
	struct cm_hello hello;
	u32 flags;

	cm_hello_make(CM_HELLO_FULL, &hello);
	assert_true(cm_hello_parse(&hello, sizeof(hello), &flags));
	assert_int_equal(flags, CM_HELLO_FULL);
	assert_false(cm_hello_parse(&hello, sizeof(hello) - 1, &flags));
	hello.flags |= 8;
	assert_false(cm_hello_parse(&hello, sizeof(hello), &flags));
	hello.flags = 0;
	hello.magic++;
	assert_false(cm_hello_parse(&hello, sizeof(hello), &flags));
}

static void test_same_address(void **state)
{
	u8 global[16] = { 0xfd }, local[16] = { 0xfe, 0x80 }, site[16] = { 0xfe, 0xc0 };

	assert_true(cm_gid_same(global, 1, global, 2));
	assert_true(cm_gid_same(site, 1, site, 2));
	assert_true(cm_gid_same(local, 1, local, 1));
	assert_false(cm_gid_same(local, 1, local, 2));
	assert_false(cm_gid_same(local, 1, global, 1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_req),
		cmocka_unit_test(test_rep),
		cmocka_unit_test(test_others),
		cmocka_unit_test(test_too_much),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_ip_hdr),
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_pass),
		cmocka_unit_test(test_hello),
		cmocka_unit_test(test_same_address),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
