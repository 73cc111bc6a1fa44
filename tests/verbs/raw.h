/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * raw.h - a peer that is no tcpzc engine but a socket, to which a test gives
 * whatever bytes it likes; and bystanders, whose work nothing may disturb.
 */
#ifndef TESTS_VERBS_RAW_H
#define TESTS_VERBS_RAW_H

#include <pthread.h>

#include "common.h"
#include "tz_wire.h"

/* ---- a victim and its peer ---------------------------------------------- */

struct raw {
	struct end *v;			/* the victim */
	struct end peer;		/* what the victim believes of its peer */
	int fd;				/* connection; -1 */
	int listener;			/* of a raw peer that is dialed; -1 */
	uint32_t tx_msn, rx_msn;	/* next to send, next expected */
};

/*
 * A victim whose peer is us, in INIT. With @dialed it is the victim that
 * connects. Our messages count from @psn.
 */
void raw_open(struct raw *r, const struct opts *o, bool dialed);
/* The victim to RTS; ours is the hand-shake, which must work. */
void raw_connect(struct raw *r);
/* The same for a victim that is in RTS already, or stays in RTR. */
void raw_shake(struct raw *r);
/* The same by a socket of any kind, which is not connected yet. */
void raw_shake_by(struct raw *r, int fd);
/* The victim back to INIT, for another connection. */
void raw_again(struct raw *r);
void raw_close(struct raw *r);

/* A TCP connection to where the victim listens. */
int raw_dial(const struct raw *r);
/* From another address of this host than the peer's. */
int raw_dial_from(const struct raw *r, const union ibv_gid *gid);
/* Wait for the victim's call. */
int raw_accept(struct raw *r, unsigned int ms);
/* Our hello as it should be. */
struct tz_hello raw_hello(const struct raw *r);
void raw_send(int fd, const void *bytes, size_t len);
/* As far as the victim takes it; returns bytes. */
size_t raw_try_send(int fd, const void *bytes, size_t len);
/* Read exactly @len bytes; false if the stream ends before, or after @ms. */
bool raw_read(int fd, void *bytes, size_t len, unsigned int ms);
/* Has the other side closed (or reset) within @ms? Reads what comes. */
bool raw_closed(int fd, unsigned int ms);
/* Close so that the other side sees a reset. */
void raw_reset(int fd);
/* Send @hello on a connection of its own; the status of the answer, or -1. */
int raw_try_hello(const struct raw *r, const struct tz_hello *hello);

/* ---- PDUs --------------------------------------------------------------- */

struct pdu {
	union tz_any_hdr h;
	uint32_t hdr_len;
	uint32_t data_len;	/* that follows it; the header may lie */
};

/* A PDU of one of our messages as it should be; the number is the next one. */
struct pdu pdu_send(struct raw *r, uint32_t total);
struct pdu pdu_write(struct raw *r, uint64_t addr, uint32_t rkey,
		     uint32_t total);
struct pdu pdu_read(struct raw *r, uint64_t addr, uint32_t rkey,
		    uint32_t total);
struct pdu pdu_atomic(struct raw *r, uint64_t addr, uint32_t rkey);
/* Answers to request @msn of the victim. */
struct pdu pdu_read_resp(struct raw *r, uint32_t msn, uint32_t total);
struct pdu pdu_atomic_resp(struct raw *r, uint32_t msn);
struct pdu pdu_ack(struct raw *r);
struct pdu pdu_nak(struct raw *r, uint32_t msn, uint32_t code);
/* Put it on the stream; the data are bytes of 0x99. */
void pdu_put(struct raw *r, const struct pdu *p);
/* The next PDU of the victim, without its data; false if the stream ends. */
bool pdu_get(struct raw *r, union tz_any_hdr *h, unsigned int ms);

/* ---- bystanders --------------------------------------------------------- */

/*
 * A pair of QPs in a context of @v that writes, reads and sends all the time,
 * and looks at the data.
 */
struct bystander {
	struct pair p;
	pthread_t thread;
	bool stop;
	uint64_t done;
};

void bystander_start(struct bystander *b, struct end *v);
/* It has done something meanwhile, and is well. */
void bystander_check(struct bystander *b);
void bystander_stop(struct bystander *b);

#endif /* TESTS_VERBS_RAW_H */
