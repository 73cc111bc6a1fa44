// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * fuzz_rx.c - the stream of a peer: everything after struct fuzz_head goes to a
 * QP that has receives posted, regions registered and requests outstanding, so
 * that requests and responses are both looked at.
 */
#include "fuzz.h"

size_t LLVMFuzzerMutate(u8 *data, size_t size, size_t max);
size_t LLVMFuzzerCustomMutator(u8 *data, size_t size, size_t max, unsigned int seed);

static void feed(struct fuzz *f, const u8 *data, u32 size)
{
	u32 done = 0, tries = 0;

	while (done < size && tries < 2000) {
		u32 n = size - done;

		if (!(f->flags & FUZZ_F_WHOLE))
			n = rng_range(&f->rng, 1, n < 200 ? n :
				      rng_chance(&f->rng, 1, 2) ? 200 : n);
		n = bed_rx(&f->q, data + done, n, f->now);
		done += n;
		if (!(f->flags & FUZZ_F_CALM) && rng_chance(&f->rng, 1, 3))
			fuzz_misfortune(f);
		if (n)
			continue;
		if (f->q.qp.closing)
			break;
		/* a stall: time must end it */
		f->now += 50000;
		tz_qp_timer(&f->q.qp, f->now);
		tries++;
	}
	BED_CHECK(tries < 2000, "the stream stands still");
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	struct fuzz_head head;
	static struct fuzz f;
	static u8 sent[65536];

	if (size < sizeof(head) || size > 1 << 20)
		return 0;
	memcpy(&head, data, sizeof(head));
	fuzz_open(&f, &head);
	fuzz_rx_start(&f);
	while (bed_tx(&f.q, sent, sizeof(sent), f.now))
		;
	feed(&f, data + sizeof(head), size - sizeof(head));
	fuzz_close(&f);
	return 0;
}

/* ---- a mutator that knows where PDUs begin ------------------------------ */

/* Offset of the PDU to change, and the bytes of its header; 0: none. */
static u32 find_pdu(const u8 *data, size_t size, struct rng *r, size_t *at)
{
	size_t pos = sizeof(struct fuzz_head);
	u32 found = 0, seen = 0;

	while (pos + sizeof(struct tz_hdr) <= size) {
		u32 n = tz_hdr_bytes(data[pos]), len;

		if (!n || pos + n > size)
			break;
		memcpy(&len, data + pos + 4, 4);
		if (!rng_below(r, ++seen)) {
			*at = pos;
			found = n;
		}
		if (len > size)
			break;
		pos += n + len;
	}
	return found;
}

static void change_field(u8 *hdr, u32 bytes, struct rng *r)
{
	static const u32 values[] = {
		0, 1, 2, 7, 8, 99, 100, 101, 0x7fffffff, 0x80000000, 0xffffffff,
		4096, 65536, 0x10000, FUZZ_RQ_PSN, FUZZ_SQ_PSN, FUZZ_QPN
	};
	u32 at = rng_below(r, bytes / 4) * 4, v;

	memcpy(&v, hdr + at, 4);
	switch (rng_below(r, 4)) {
	case 0:
		v += rng_below(r, 9) - 4;
		break;
	case 1:
		v ^= 1u << rng_below(r, 32);
		break;
	case 2:
		v = rng_next(r);
		break;
	default:
		v = values[rng_below(r, TZ_ARRAY_SIZE(values))];
		break;
	}
	memcpy(hdr + at, &v, 4);
}

/* Repeat or remove a whole PDU's header and payload. */
static size_t copy_pdu(u8 *data, size_t size, size_t max, size_t at, u32 bytes)
{
	u32 len;

	memcpy(&len, data + at + 4, 4);
	if (len > size - at - bytes || size + bytes + len > max)
		return size;
	bytes += len;
	memmove(data + at + bytes, data + at, size - at);
	return size + bytes;
}

size_t LLVMFuzzerCustomMutator(u8 *data, size_t size, size_t max, unsigned int seed)
{
	struct rng r = { .s = seed };
	size_t at = 0;
	u32 bytes = find_pdu(data, size, &r, &at);

	if (!bytes || rng_chance(&r, 1, 3))
		return LLVMFuzzerMutate(data, size, max);
	if (rng_chance(&r, 1, 8))
		return copy_pdu(data, size, max, at, bytes);
	do {
		change_field(data + at, bytes, &r);
	} while (rng_chance(&r, 1, 3));
	return size;
}
