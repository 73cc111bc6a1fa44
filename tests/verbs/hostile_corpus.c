// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * hostile_corpus.c - what the fuzzer found worth keeping (tests/fuzz/corpus), said
 * to the port of a real queue pair, in the kernel or in a process. The victim has
 * the regions, numbers and work requests of the fuzzer's; what cannot be chosen
 * (queue pair numbers, keys, GIDs) is replaced in the input. Nothing is written
 * where it may not be, the queue pair next door goes on, and each connection ends.
 */
#include "raw.h"

#include <dirent.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bed.h"
#include "victim.h"

/* Each region is in the middle of nothing else. */
#define SPREAD		(64 * KIB)
#define MEM		(FUZZ_MRS * SPREAD)
#define FREE		0xee

static const struct opts plain = { .mem_bytes = MEM, .min_retry_ms = 5000 };

struct scene {
	struct raw r;
	struct bystander b;
	struct ibv_pd *foreign;
	struct ibv_mr *mr[FUZZ_MRS];
	uint32_t key[FUZZ_MRS];		/* as the inputs have them */
	unsigned int fds;
};

static uint8_t *region(const struct scene *s, enum fuzz_region i)
{
	return s->r.v->mem + i * SPREAD;
}

static void scene_open(struct scene *s)
{
	struct tz_key_secret secret = bed_secret(FUZZ_SECRET);
	unsigned int i;

	memset(s, 0, sizeof(*s));
	raw_open(&s->r, &plain, false);
	s->r.v->psn = FUZZ_SQ_PSN;
	s->r.peer.psn = FUZZ_RQ_PSN;
	bystander_start(&s->b, s->r.v);
	memset(s->r.v->mem, FREE, MEM);
	s->foreign = ibv_alloc_pd(s->r.v->ctx);
	check(s->foreign);
	for (i = 0; i < FUZZ_MRS; i++) {
		s->key[i] = tz_key_encode(&secret, i);
		s->mr[i] = ibv_reg_mr_iova(fuzz_mrs[i].pdn == FUZZ_PD ?
						   s->r.v->pd : s->foreign,
					   region(s, i), FUZZ_MEM,
					   fuzz_mrs[i].iova, fuzz_mrs[i].access);
		check_msg(s->mr[i], "region %u: %m", i);
	}
	s->fds = count_fds();
}

static void scene_check(struct scene *s)
{
	unsigned int i;

	for (i = 0; i < FUZZ_MRS; i++)
		check_bytes(region(s, i) + FUZZ_MEM, SPREAD - FUZZ_MEM, FREE);
	check_bytes(region(s, FUZZ_MR_READ), FUZZ_MEM, FREE);
	check_bytes(region(s, FUZZ_MR_FOREIGN), FUZZ_MEM, FREE);
	bystander_check(&s->b);
}

static void scene_close(struct scene *s)
{
	unsigned int i;

	scene_check(s);
	check_fds(s->fds);
	for (i = 0; i < FUZZ_MRS; i++)
		check_rc(ibv_dereg_mr(s->mr[i]), 0);
	check_rc(ibv_dealloc_pd(s->foreign), 0);
	bystander_stop(&s->b);
	raw_close(&s->r);
}

/* ---- inputs ------------------------------------------------------------- */

struct input {
	char name[256];
	uint8_t bytes[64 * KIB];
	size_t len;
};

static void read_input(struct input *in, const char *kind, const char *name)
{
	char path[sizeof(CORPUS) + 32 + sizeof(in->name)];
	FILE *f;

	snprintf(in->name, sizeof(in->name), "%s", name);
	snprintf(path, sizeof(path), "%s/%s/%s", CORPUS, kind, name);
	f = fopen(path, "rb");
	check_msg(f, "%s: %m", path);
	in->len = fread(in->bytes, 1, sizeof(in->bytes), f);
	check_msg(!ferror(f) && in->len < sizeof(in->bytes), "%s: too long", path);
	fclose(f);
}

typedef void (*input_fn)(struct scene *s, struct input *in, struct rng *rng);

/* All inputs of one kind; what the victim was is forgotten in between. */
static void each_input(const char *kind, input_fn fn)
{
	struct rng rng = { 0x5eed };
	static struct input in;
	unsigned int n = 0;
	struct dirent **names;
	char dir[sizeof(CORPUS) + 32];
	struct scene s;
	int i, found;

	snprintf(dir, sizeof(dir), "%s/%s", CORPUS, kind);
	found = scandir(dir, &names, NULL, alphasort);
	check_msg(found > 0, "%s: %m", dir);
	scene_open(&s);
	for (i = 0; i < found; i++) {
		if (names[i]->d_name[0] != '.') {
			read_input(&in, kind, names[i]->d_name);
			test_context("%s, state 0x%llx", in.name,
				     (unsigned long long)rng.s);
			fn(&s, &in, &rng);
			raw_again(&s.r);
			scene_check(&s);
			n++;
		}
		free(names[i]);
	}
	free(names);
	test_context("after the last");
	check_msg(n, "%s is empty", dir);
	/* As good as new */
	raw_connect(&s.r);
	raw_again(&s.r);
	scene_close(&s);
	test_note("%u inputs", n);
}

/* ---- streams ------------------------------------------------------------ */

/* One field of a header. */
static uint32_t localized(const struct scene *s, uint32_t field)
{
	unsigned int i;

	if (field == FUZZ_QPN)
		return s->r.v->qpn;
	if (field == FUZZ_PEER_QPN)
		return s->r.peer.qpn;
	for (i = 0; i < FUZZ_MRS; i++)
		if (field == s->key[i])
			return s->mr[i]->rkey;
	return field;
}

/* Replace what means the victim and its regions, up to where it is no stream. */
static void localize(const struct scene *s, uint8_t *bytes, size_t len)
{
	size_t at = 0, i;

	while (at + sizeof(struct tz_hdr) <= len) {
		uint32_t n = tz_hdr_bytes(bytes[at]), data, field;

		if (!n || at + n > len)
			break;
		memcpy(&data, bytes + at + offsetof(struct tz_hdr, len), 4);
		for (i = at + 8; i < at + n; i += 4) {
			memcpy(&field, bytes + i, 4);
			field = htole32(localized(s, le32toh(field)));
			memcpy(bytes + i, &field, 4);
		}
		if (le32toh(data) > len)
			break;
		at += n + le32toh(data);
	}
}

/* @len bytes of a region, in two parts. */
static void two_sges(const struct scene *s, struct wr *wr, uint32_t len,
		     enum fuzz_region r, uint32_t off, uint32_t first, uint32_t gap)
{
	wr->num_sge = 2;
	wr->sge[0] = (struct ibv_sge){
		fuzz_mrs[r].iova + off, first, s->mr[r]->lkey
	};
	wr->sge[1] = (struct ibv_sge){
		fuzz_mrs[r].iova + off + gap, len - first, s->mr[r]->lkey
	};
}

static bool is_atomic(enum ibv_wr_opcode op)
{
	return op == IBV_WR_ATOMIC_CMP_AND_SWP ||
	       op == IBV_WR_ATOMIC_FETCH_AND_ADD;
}

/* What fuzz_ask() asks for; answers of atomics go to one place, here. */
static void ask(const struct scene *s)
{
	static const struct {
		enum ibv_wr_opcode op;
		uint32_t len;
		enum fuzz_region local;
		uint32_t off;
	} asked[] = {
		{ IBV_WR_RDMA_READ, 100, FUZZ_MR_LOCAL, 0 },
		{ IBV_WR_ATOMIC_CMP_AND_SWP, 8, FUZZ_MR_LOCAL, 200 },
		{ IBV_WR_RDMA_WRITE, 64, FUZZ_MR_READ, 0 },
		{ IBV_WR_RDMA_READ, 9000, FUZZ_MR_ALL, 1000 },
		{ IBV_WR_SEND, 10, FUZZ_MR_TOP, 0 },
		{ IBV_WR_RDMA_READ, 0, FUZZ_MR_TOP, 0 },
		{ IBV_WR_RDMA_WRITE_WITH_IMM, 5000, FUZZ_MR_ALL, 0 },
		{ IBV_WR_ATOMIC_FETCH_AND_ADD, 8, FUZZ_MR_TOP, 300 },
		{ IBV_WR_RDMA_READ, 5000, FUZZ_MR_MORTAL, 0 },
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(asked); i++) {
		struct wr wr = {
			.id = i,
			.op = asked[i].op,
			.flags = IBV_SEND_SIGNALED,
			.raddr = fuzz_mrs[FUZZ_MR_ALL].iova,
			.rkey = s->key[FUZZ_MR_ALL],
		};
		uint32_t first = asked[i].len / 2;

		if (is_atomic(wr.op))
			first = asked[i].len;
		two_sges(s, &wr, asked[i].len, asked[i].local, asked[i].off, first,
			 first);
		wr.num_sge = is_atomic(wr.op) ? 1 : 2;
		post_send(s->r.v, wr);
	}
}

static void post_receives(const struct scene *s)
{
	unsigned int i;

	for (i = 0; i < 4; i++) {
		struct wr wr = { .id = i };

		two_sges(s, &wr, i * 3000, i & 1 ? FUZZ_MR_MORTAL : FUZZ_MR_LOCAL,
			 0, i * 1000, 4000);
		check_rc(try_post_recv(s->r.v, &wr), 0);
	}
}

/* The victim of fuzz_rx: connected, receives posted, requests sent. */
static void meet(struct scene *s, unsigned int flags)
{
	end_rtr(s->r.v, &s->r.peer);
	if (!(flags & FUZZ_F_RTR))
		end_rts(s->r.v);
	post_receives(s);
	raw_shake(&s->r);
	if (!(flags & (FUZZ_F_QUIET | FUZZ_F_RTR)))
		ask(s);
}

/* Say it in pieces of 1 to @most bytes, and wait for the end. */
static void say(struct scene *s, struct input *in, struct rng *rng, uint32_t most)
{
	struct fuzz_head head;
	uint8_t *stream = in->bytes + sizeof(head);
	size_t len, at = 0;

	if (in->len < sizeof(head))
		return;
	memcpy(&head, in->bytes, sizeof(head));
	len = in->len - sizeof(head);
	localize(s, stream, len);
	meet(s, head.flags);
	while (at < len) {
		size_t n = 1 + rng_below(rng, most);

		n = n < len - at ? n : len - at;
		raw_send(s->r.fd, stream + at, n);
		at += n;
	}
	shutdown(s->r.fd, SHUT_WR);
	check_msg(raw_closed(s->r.fd, 10000), "the connection does not end");
}

static void say_whole(struct scene *s, struct input *in, struct rng *rng)
{
	say(s, in, rng, UINT32_MAX);
}

static void say_in_pieces(struct scene *s, struct input *in, struct rng *rng)
{
	say(s, in, rng, 300);
}

/* Everything at once, and a reset that may overtake it. */
static void say_and_reset(struct scene *s, struct input *in, struct rng *rng)
{
	struct fuzz_head head;

	if (in->len < sizeof(head))
		return;
	memcpy(&head, in->bytes, sizeof(head));
	localize(s, in->bytes + sizeof(head), in->len - sizeof(head));
	meet(s, head.flags);
	raw_send(s->r.fd, in->bytes + sizeof(head), in->len - sizeof(head));
	raw_reset(s->r.fd);
	s->r.fd = -1;
}

static void streams(void)
{
	each_input("rx", say_whole);
}

static void streams_in_pieces(void)
{
	each_input("rx", say_in_pieces);
}

static void streams_reset(void)
{
	each_input("rx", say_and_reset);
}

/* ---- hellos ------------------------------------------------------------- */

static const uint8_t gid_us[16] = { [10] = 0xff, [11] = 0xff, 10, 0, 0, 1 };
static const uint8_t gid_peer[16] = { [10] = 0xff, [11] = 0xff, 10, 0, 0, 2 };

static void localize_hello(const struct scene *s, uint8_t *bytes, size_t len)
{
	struct tz_hello h = { 0 };

	if (len > sizeof(h))
		len = sizeof(h);
	memcpy(&h, bytes, len);
	h.src_qpn = htole32(localized(s, le32toh(h.src_qpn)));
	h.dst_qpn = htole32(localized(s, le32toh(h.dst_qpn)));
	if (!memcmp(h.src_gid, gid_peer, 16))
		memcpy(h.src_gid, &s->r.v->gid, 16);
	if (!memcmp(h.dst_gid, gid_us, 16))
		memcpy(h.dst_gid, &s->r.v->gid, 16);
	memcpy(bytes, &h, len);
}

/* It is accepted if it is right, and only then. */
static void check_answer(const struct scene *s, const struct tz_hello *said,
			 const struct tz_hello *answer)
{
	struct tz_hello right = raw_hello(&s->r);

	check_eq(le32toh(answer->magic), TZ_HELLO_MAGIC);
	check(le16toh(answer->status) < TZ_HELLO_STATUSES);
	check_eq(answer->session_id, said->session_id);
	if (answer->status)
		return;
	check_eq(said->magic, right.magic);
	check_eq(said->version, right.version);
	check_eq(said->status, right.status);
	check_eq(said->qp_type, right.qp_type);
	check_eq(said->src_qpn, right.src_qpn);
	check_eq(said->dst_qpn, right.dst_qpn);
	check(!memcmp(said->src_gid, right.src_gid, 16));
	check(!memcmp(said->dst_gid, right.dst_gid, 16));
	check(said->sq_psn == right.sq_psn ||
	      (le32toh(said->sq_psn) == TZ_PSN_UNKNOWN &&
	       said->rq_psn == right.rq_psn));
	check(le32toh(said->max_pdu) >= TZ_MIN_PDU_BYTES);
}

/* Of an input the first byte picks the victim's state; then comes a hello. */
static void greet(struct scene *s, struct input *in, bool local)
{
	struct tz_hello said, answer;

	check(in->len > 0);
	end_rtr(s->r.v, &s->r.peer);
	if (in->bytes[0] % 3 > 0)
		end_rts(s->r.v);
	if (in->bytes[0] % 3 > 1)
		end_state(s->r.v, IBV_QPS_SQD);
	if (local)
		localize_hello(s, in->bytes + 1, in->len - 1);
	s->r.fd = raw_dial(&s->r);
	raw_send(s->r.fd, in->bytes + 1, in->len - 1);
	shutdown(s->r.fd, SHUT_WR);
	if (in->len > sizeof(said) &&
	    raw_read(s->r.fd, &answer, sizeof(answer), 5000)) {
		memcpy(&said, in->bytes + 1, sizeof(said));
		check_answer(s, &said, &answer);
		test_note("%s: status %u", in->name, le16toh(answer.status));
	}
	check_msg(raw_closed(s->r.fd, 10000), "the connection does not end");
}

static void hello_here(struct scene *s, struct input *in, struct rng *rng)
{
	greet(s, in, true);
}

static void hello_elsewhere(struct scene *s, struct input *in, struct rng *rng)
{
	greet(s, in, false);
}

static void hellos(void)
{
	each_input("hello", hello_here);
}

static void hellos_for_others(void)
{
	each_input("hello", hello_elsewhere);
}

static const struct test_case cases[] = {
	CASE(hellos),
	CASE(hellos_for_others),
	CASE_LIMIT(streams, 60),
	CASE_LIMIT(streams_in_pieces, 60),
	CASE_LIMIT(streams_reset, 60),
	CASES_END
};

int main(int argc, char **argv)
{
	return test_main(argc, argv, cases);
}
