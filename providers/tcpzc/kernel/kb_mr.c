// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * kb_mr.c - memory regions of the kernel backend.
 */
#include <errno.h>
#include <stdlib.h>

#include "kb.h"

/*
 * ib_core refuses a virtual address that is not congruent with the memory's
 * modulo the page, so that of a zero-based region is not named: the flag says it.
 */
static uint64_t kb_hca_va(void *addr, uint64_t iova, int access)
{
	return access & IBV_ACCESS_ZERO_BASED ? (uintptr_t)addr : iova;
}

struct tcpzc_mr *kb_reg_mr(struct tcpzc_pd *pd, void *addr, size_t len,
			   uint64_t iova, int access)
{
	struct ib_uverbs_reg_mr_resp resp = {};
	struct ibv_reg_mr cmd = {};
	struct tcpzc_mr *mr;
	int err;

	mr = calloc(1, sizeof(*mr));
	if (!mr)
		return NULL;
	err = ibv_cmd_reg_mr(&pd->ibpd, addr, len, kb_hca_va(addr, iova, access),
			     access, &mr->vmr, &cmd, sizeof(cmd), &resp,
			     sizeof(resp));
	if (err) {
		free(mr);
		errno = err;
		return NULL;
	}
	return mr;
}

int kb_rereg_mr(struct tcpzc_mr *mr, int flags, struct tcpzc_pd *pd, void *addr,
		size_t len, int access)
{
	struct ib_uverbs_rereg_mr_resp resp = {};
	struct ibv_rereg_mr cmd = {};

	if (kb_forked(mr->vmr.ibv_mr.context))
		return ENODEV;
	return ibv_cmd_rereg_mr(&mr->vmr, flags, addr, len, (uintptr_t)addr,
				access, pd ? &pd->ibpd : NULL, &cmd, sizeof(cmd),
				&resp, sizeof(resp));
}

int kb_dereg_mr(struct tcpzc_mr *mr)
{
	int err = kb_forked(mr->vmr.ibv_mr.context) ?
			  0 : ibv_cmd_dereg_mr(&mr->vmr);

	if (!err)
		free(mr);
	return err;
}
