/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * provider_fake.h - a backend without an engine, for tests of the provider
 * itself. Rings are plain memory; the test plays the engine's part.
 */
#ifndef PROVIDER_FAKE_H
#define PROVIDER_FAKE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "ring.h"
#include "tcpzc.h"

/* What the backend was asked, and what it shall answer. */
struct fake {
	int fail;			/* errno of the next call that can fail */
	int objects;			/* alive */
	int sq_doorbells, rq_doorbells, srq_doorbells;
	int drives;			/* calls of drive_cq */
	void (*on_drive)(struct tcpzc_cq *cq);
	int arms, solicited_arms;
	struct tcpzc_pd *pd;		/* last one passed in */
	uint64_t iova;			/* of the last reg_mr */
	int access;			/* of the last reg_mr or rereg_mr */
	struct ibv_qp_attr attr;	/* of the last modify_qp */
	struct ibv_qp_init_attr init;	/* of the last create_qp */
	bool leave_indices;		/* RESET keeps counting (else from 0) */
};

extern struct fake fake;

/* cmocka fixtures: a device with a backend, opened through libibverbs. */
int fake_open(void **state);
int fake_close(void **state);

/* A device whose sysfs directory has no netdev: of the kernel. */
struct ibv_device *fake_kernel_device(void);
void fake_free_device(struct ibv_device *device);

/* The usual objects: a PD, a CQ of 15 entries, an RC QP in RESET. */
struct fake_objects {
	struct ibv_pd *pd;
	struct ibv_cq *cq;
	struct ibv_qp *qp;
};

struct ibv_qp_init_attr fake_qp_init(struct ibv_cq *cq);
void fake_create(struct ibv_context *ctx, struct fake_objects *o);
void fake_destroy(struct fake_objects *o);
/* RESET to INIT, RTR, RTS, with attributes that are in order. */
void fake_to_state(struct ibv_qp *qp, enum ibv_qp_state state);

/* The engine's part. */
void fake_complete(struct ibv_cq *cq, uint32_t qp_num, uint64_t wr_id);
const struct tcpzc_send_wqe *fake_sq_entry(struct ibv_qp *qp, uint32_t idx);
const struct tcpzc_recv_wqe *fake_rq_entry(const struct tcpzc_ring *ring,
					   uint32_t idx);

#endif /* PROVIDER_FAKE_H */
