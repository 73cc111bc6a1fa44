/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * provider_kernel_fake.h - a kernel without tcpzc.ko, for tests of the kernel
 * backend: libibverbs' commands are answered here, rings are pages of a memory
 * file, doorbells are counted. The test plays the engine's part.
 */
#ifndef PROVIDER_KERNEL_FAKE_H
#define PROVIDER_KERNEL_FAKE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "kb.h"
#include "ring.h"
#include "tz_qp.h"

struct fake_kernel {
	int fd;				/* the memory file */
	uint64_t end;			/* of what is given out of it */
	uint32_t abi_version;
	int objects;			/* alive */
	int fail;			/* errno of the next command */
	void (*spoil)(struct tcpzc_uresp_ring *desc);	/* make it wrong */
	uint64_t hca_va, iova;		/* of the last reg_mr */
	int notifies;			/* req_notify_cq */
	int cqe;			/* of the last create_cq or resize_cq */
	int rings[3];			/* doorbells, by enum kb_door */
	uint32_t rung_handle;		/* of the last */
	/* What is in the ring that a resized queue gets: indices 0 to this. */
	uint32_t moved;
};

extern struct fake_kernel fk;

/* cmocka fixtures: a device of the fake kernel. */
int fk_open(void **state);
int fk_close(void **state);
/* The context of a new device, or NULL. */
struct ibv_context *fk_open_device(void);
void fk_close_device(struct ibv_context *ctx);

#endif /* PROVIDER_KERNEL_FAKE_H */
