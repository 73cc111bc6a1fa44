// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * fuzz_seeds.c - makes the first inputs: real streams, recorded between the
 * victim of fuzz_rx and an honest peer, hellos of all kinds, and rings as a
 * provider fills them. Usage: fuzz_seeds DIRECTORY
 */
#include <sys/stat.h>

#include "fuzz.h"

static const char *seeds_dir;

static void save(const char *target, const char *name, const u8 *data, size_t size)
{
	char path[4096];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", seeds_dir, target);
	mkdir(path, 0777);
	snprintf(path, sizeof(path), "%s/%s/%s", seeds_dir, target, name);
	f = fopen(path, "wb");
	BED_CHECK(f && fwrite(data, 1, size, f) == size && !fclose(f),
		  "%s cannot be written", path);
}

/* ---- fuzz_rx ------------------------------------------------------------ */

struct scene {
	const char *name;
	u8 sizes, flags;
	u32 n;
	struct {
		u8 opcode;
		u32 len;
		u8 region;
		u32 off;
	} op[8];
};

#define QUIET	(FUZZ_F_QUIET | FUZZ_F_CALM)

static const struct scene scenes[] = {
	{ "send", 0, QUIET, 3, { { TCPZC_WQE_SEND, 0, 0, 0 },
		{ TCPZC_WQE_SEND, 100, 0, 0 }, { TCPZC_WQE_SEND_WITH_IMM, 5000, 0, 0 } } },
	{ "send-srq", 1, QUIET | FUZZ_F_SRQ, 2, { { TCPZC_WQE_SEND_WITH_IMM, 0, 0, 0 },
		{ TCPZC_WQE_SEND, 2999, 0, 0 } } },
	{ "send-rtr", 0x80, FUZZ_F_RTR, 2, { { TCPZC_WQE_SEND_WITH_IMM, 0, 0, 0 },
		{ TCPZC_WQE_SEND, 2000, 0, 0 } } },
	{ "send-too-long", 0, QUIET, 1, { { TCPZC_WQE_SEND, 9000, 0, 0 } } },
	{ "write", 4, QUIET, 3, {
		{ TCPZC_WQE_RDMA_WRITE, 64, FUZZ_MR_ALL, 0 },
		{ TCPZC_WQE_RDMA_WRITE, 9000, FUZZ_MR_TOP, 7000 },
		{ TCPZC_WQE_RDMA_WRITE_WITH_IMM, 4097, FUZZ_MR_MORTAL, 1 } } },
	{ "write-pieces", 0x0a, QUIET, 2, {
		{ TCPZC_WQE_RDMA_WRITE, 450, FUZZ_MR_ALL, 0 },
		{ TCPZC_WQE_RDMA_WRITE_WITH_IMM, 250, FUZZ_MR_ALL, 50 } } },
	{ "write-imm-empty", 0, QUIET, 2, {
		{ TCPZC_WQE_RDMA_WRITE_WITH_IMM, 0, FUZZ_MR_ALL, 0 },
		{ TCPZC_WQE_RDMA_WRITE, 0, FUZZ_MR_ALL, 0 } } },
	{ "write-refused", 0, QUIET, 1, {
		{ TCPZC_WQE_RDMA_WRITE, 64, FUZZ_MR_READ, 0 } } },
	{ "read", 4, QUIET, 3, {
		{ TCPZC_WQE_RDMA_READ, 0, FUZZ_MR_ALL, 0 },
		{ TCPZC_WQE_RDMA_READ, 9000, FUZZ_MR_READ, 100 },
		{ TCPZC_WQE_RDMA_READ, 1, FUZZ_MR_TOP, FUZZ_MEM - 1 } } },
	{ "atomic", 0, QUIET, 3, {
		{ TCPZC_WQE_ATOMIC_CMP_AND_SWP, 8, FUZZ_MR_ALL, 8 },
		{ TCPZC_WQE_ATOMIC_FETCH_AND_ADD, 8, FUZZ_MR_TOP, 16 },
		{ TCPZC_WQE_ATOMIC_FETCH_AND_ADD, 8, FUZZ_MR_TOP, 17 } } },
	{ "answers", 0, FUZZ_F_CALM, 0, { { 0, 0, 0, 0 } } },
	{ "answers-pieces", 0x0c, FUZZ_F_CALM, 0, { { 0, 0, 0, 0 } } },
	{ "both-ways", 0xc4, 0, 5, {
		{ TCPZC_WQE_SEND, 0, 0, 0 },
		{ TCPZC_WQE_RDMA_READ, 300, FUZZ_MR_ALL, 0 },
		{ TCPZC_WQE_RDMA_WRITE_WITH_IMM, 300, FUZZ_MR_ALL, 0 },
		{ TCPZC_WQE_ATOMIC_FETCH_AND_ADD, 8, FUZZ_MR_ALL, 8 },
		{ TCPZC_WQE_SEND, 4000, 0, 0 } } },
	{ "rnr", 0x80, QUIET, 6, { { TCPZC_WQE_SEND, 0, 0, 0 },
		{ TCPZC_WQE_SEND, 10, 0, 0 }, { TCPZC_WQE_SEND, 10, 0, 0 },
		{ TCPZC_WQE_SEND, 10, 0, 0 }, { TCPZC_WQE_SEND, 10, 0, 0 },
		{ TCPZC_WQE_SEND, 10, 0, 0 } } },
};

static void peer_post(struct fuzz_peer *p, const struct fuzz *f,
		      const struct scene *sc, u32 i)
{
	static struct bed_swr wr;

	memset(&wr.wqe, 0, sizeof(wr.wqe));
	wr.wqe.opcode = sc->op[i].opcode;
	wr.wqe.flags = TCPZC_WQE_F_SIGNALED;
	wr.wqe.imm_data = 0x12345678;
	wr.wqe.remote_addr = fuzz_addr(f, sc->op[i].region, sc->op[i].off);
	wr.wqe.rkey = fuzz_key(f, sc->op[i].region);
	wr.wqe.compare_add = 1;
	wr.wqe.num_sge = 1;
	wr.sge[0] = (struct tcpzc_sge){ 0x10000, sc->op[i].len,
					p->bed.mr[0]->mr.key };
	BED_CHECK(bed_post_send(&p->q, &wr), "ring is full");
}

static void record(const struct scene *sc)
{
	struct fuzz_head head = { .sizes = sc->sizes, .flags = sc->flags };
	static u8 out[1 << 18], buf[65536];
	static struct fuzz f;
	struct fuzz_peer p;
	struct bed_link l;
	size_t size = sizeof(head);
	u32 i, n, idle = 0;

	memcpy(out, &head, sizeof(head));
	fuzz_open(&f, &head);
	fuzz_peer_open(&p, &f, NULL);
	fuzz_rx_start(&f);
	bed_link_defaults(&l);
	l.rnr_retry = 3;
	bed_to_rts(&p.q, FUZZ_QPN, FUZZ_RQ_PSN, FUZZ_SQ_PSN, &l, f.now);
	tz_qp_connected(&p.q.qp, f.q.qp.init.max_pdu, f.now);
	for (i = 0; i < 2; i++) {
		struct tcpzc_sge sge = { 0x10000, 6000, p.bed.mr[0]->mr.key };

		bed_post_recv(&p.q, i, &sge, 1);
	}
	for (i = 0; i < sc->n; i++)
		peer_post(&p, &f, sc, i);
	tz_qp_kick(&p.q.qp, f.now);
	while (idle < 20 && size < 20000) {
		n = bed_tx(&f.q, buf, sizeof(buf), f.now);
		bed_rx(&p.q, buf, n, f.now);
		i = bed_tx(&p.q, out + size, 5000, f.now);
		bed_rx(&f.q, out + size, i, f.now);
		size += i;
		idle = n + i ? 0 : idle + 1;
		f.now += 50000;
		tz_qp_timer(&f.q.qp, f.now);
		tz_qp_timer(&p.q.qp, f.now);
	}
	save("rx", sc->name, out, size);
	fuzz_close(&f);
	fuzz_peer_close(&p, f.now);
}

/* ---- fuzz_hello --------------------------------------------------------- */

static void hello(const char *name, u8 state, const struct tz_hello *h, u32 size)
{
	u8 out[1 + sizeof(*h)];

	out[0] = state;
	memcpy(out + 1, h, sizeof(*h));
	save("hello", name, out, 1 + size);
}

static void hellos(void)
{
	static const u8 us[16] = { [10] = 0xff, [11] = 0xff, 10, 0, 0, 1 };
	static const u8 peer[16] = { [10] = 0xff, [11] = 0xff, 10, 0, 0, 2 };
	struct tz_hello h = {
		.magic = tz_cpu_to_le32(TZ_HELLO_MAGIC),
		.version = tz_cpu_to_le16(TZ_PROTO_VERSION),
		.max_pdu = tz_cpu_to_le32(TZ_DEFAULT_PDU_BYTES),
		.src_qpn = tz_cpu_to_le32(FUZZ_PEER_QPN),
		.dst_qpn = tz_cpu_to_le32(FUZZ_QPN),
		.session_id = tz_cpu_to_le64(0x0123456789abcdefull),
		.sq_psn = tz_cpu_to_le32(FUZZ_RQ_PSN),
		.rq_psn = tz_cpu_to_le32(FUZZ_SQ_PSN),
		.next_tx_msn = tz_cpu_to_le32(FUZZ_RQ_PSN),
		.next_rx_msn = tz_cpu_to_le32(FUZZ_SQ_PSN),
		.qp_type = tz_cpu_to_le16(TZ_QPT_RC),
	};

	memcpy(h.src_gid, peer, 16);
	memcpy(h.dst_gid, us, 16);
	hello("rtr", 0, &h, sizeof(h));
	hello("rts", 1, &h, sizeof(h));
	hello("sqd", 2, &h, sizeof(h));
	hello("short", 1, &h, 57);
	h.sq_psn = tz_cpu_to_le32(TZ_PSN_UNKNOWN);
	hello("psn-unknown", 1, &h, sizeof(h));
	h.status = tz_cpu_to_le16(TZ_HELLO_REFUSED);
	hello("refusal", 1, &h, sizeof(h));
	h.version = tz_cpu_to_le16(TZ_PROTO_VERSION + 1);
	hello("version", 1, &h, sizeof(h));
}

/* ---- fuzz_ring ---------------------------------------------------------- */

static size_t ring_send(u8 *out, const struct fuzz *f, u8 opcode, u32 len,
			enum fuzz_region local, u8 flags)
{
	struct tcpzc_send_wqe w = {
		.wr_id = opcode,
		.opcode = opcode,
		.flags = TCPZC_WQE_F_SIGNALED | flags,
		.num_sge = 2,
		.remote_addr = 0x10000,
		.rkey = fuzz_key(f, FUZZ_MR_ALL),
		.compare_add = 1,
	};
	struct tcpzc_sge sge[2] = {
		{ fuzz_addr(f, local, 0), len / 2, fuzz_key(f, local) },
		{ fuzz_addr(f, local, 5000), len - len / 2, fuzz_key(f, local) },
	};

	if (flags & TCPZC_WQE_F_INLINE)
		w.inline_len = len;
	out[0] = 1;
	out[1] = (sizeof(w) + sizeof(sge)) / 8;
	memcpy(out + 2, &w, sizeof(w));
	memcpy(out + 2 + sizeof(w), sge, sizeof(sge));
	return 2 + sizeof(w) + sizeof(sge);
}

static void rings(void)
{
	static const struct {
		const char *name;
		u8 opcode, flags;
		u32 len;
		u8 region;
	} op[] = {
		{ "send", TCPZC_WQE_SEND, 0, 1000, FUZZ_MR_ALL },
		{ "send-inline", TCPZC_WQE_SEND, TCPZC_WQE_F_INLINE, 30, 0 },
		{ "send-imm", TCPZC_WQE_SEND_WITH_IMM, TCPZC_WQE_F_SOLICITED, 0, 0 },
		{ "write", TCPZC_WQE_RDMA_WRITE, 0, 9000, FUZZ_MR_READ },
		{ "write-imm", TCPZC_WQE_RDMA_WRITE_WITH_IMM, 0, 100, FUZZ_MR_TOP },
		{ "read", TCPZC_WQE_RDMA_READ, TCPZC_WQE_F_FENCE, 9000, FUZZ_MR_LOCAL },
		{ "cas", TCPZC_WQE_ATOMIC_CMP_AND_SWP, 0, 8, FUZZ_MR_MORTAL },
		{ "faa", TCPZC_WQE_ATOMIC_FETCH_AND_ADD, 0, 8, FUZZ_MR_ALL },
		{ "bad-pd", TCPZC_WQE_SEND, 0, 8, FUZZ_MR_FOREIGN },
	};
	struct fuzz_head head = { .flags = FUZZ_F_CALM };
	u8 one[1024], all[8192];
	static struct fuzz f;
	size_t sum = sizeof(head), n;
	u32 i;

	memcpy(one, &head, sizeof(head));
	memcpy(all, &head, sizeof(head));
	fuzz_open(&f, &head);
	for (i = 0; i < TZ_ARRAY_SIZE(op); i++) {
		n = ring_send(one + sizeof(head), &f, op[i].opcode, op[i].len,
			      op[i].region, op[i].flags);
		memcpy(all + sum, one + sizeof(head), n);
		sum += n;
		save("ring", op[i].name, one, sizeof(head) + n);
	}
	save("ring", "all", all, sum);
	fuzz_close(&f);
}

/* Numbers that random bytes would not hit. */
static void dictionary(void)
{
	char path[4096];
	static struct fuzz f;
	struct fuzz_head head = { 0 };
	FILE *out;
	u32 i, j;

	snprintf(path, sizeof(path), "%s/dictionary", seeds_dir);
	out = fopen(path, "w");
	BED_CHECK(out, "%s cannot be written", path);
	fuzz_open(&f, &head);
	for (i = 0; i < FUZZ_MRS; i++) {
		u32 key = fuzz_key(&f, i);
		u64 addr = fuzz_addr(&f, i, 0);

		fprintf(out, "key%u=\"", i);
		for (j = 0; j < 4; j++)
			fprintf(out, "\\x%02x", key >> 8 * j & 0xff);
		fprintf(out, "\"\naddr%u=\"", i);
		for (j = 0; j < 8; j++)
			fprintf(out, "\\x%02x", (u32)(addr >> 8 * j) & 0xff);
		fprintf(out, "\"\n");
	}
	fclose(out);
	fuzz_close(&f);
}

int main(int argc, char **argv)
{
	u32 i;

	if (argc != 2) {
		fprintf(stderr, "usage: %s DIRECTORY\n", argv[0]);
		return 2;
	}
	seeds_dir = argv[1];
	mkdir(seeds_dir, 0777);
	for (i = 0; i < TZ_ARRAY_SIZE(scenes); i++)
		record(&scenes[i]);
	hellos();
	rings();
	dictionary();
	return 0;
}
