// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * kb_door.c - the doorbell's system call: a post without work requests.
 */
#include <errno.h>
#include <sched.h>
#include <unistd.h>

#include "kb.h"

/* The three commands are alike but for the name of the handle. */
struct kb_post {
	struct ib_uverbs_cmd_hdr hdr;
	__u64 response;
	__u32 handle;
	__u32 wr_count;
	__u32 sge_count;
	__u32 wqe_size;
};
static_assert(sizeof(struct kb_post) == sizeof(struct ibv_post_send) &&
	      sizeof(struct kb_post) == sizeof(struct ibv_post_recv) &&
	      sizeof(struct kb_post) == sizeof(struct ibv_post_srq_recv),
	      "one layout");

struct kb_door_cmd {
	uint32_t command;
	uint32_t wqe_size;
};

static int kb_door_slow(struct ibv_context *ctx, enum kb_door door,
			uint32_t handle)
{
	struct ibv_recv_wr *bad_recv;
	struct ibv_send_wr *bad_send;
	struct ibv_srq srq = { .context = ctx, .handle = handle };
	struct ibv_qp qp = { .context = ctx, .handle = handle };

	switch (door) {
	case KB_DOOR_SQ:
		return ibv_cmd_post_send(&qp, NULL, &bad_send);
	case KB_DOOR_RQ:
		return ibv_cmd_post_recv(&qp, NULL, &bad_recv);
	case KB_DOOR_SRQ:
		return ibv_cmd_post_srq_recv(&srq, NULL, &bad_recv);
	}
	return 0;
}

/*
 * By write(), which is the shortest way through ib_uverbs. It is forbidden to a
 * process that has changed its credentials since it opened the file; then by
 * whatever way libibverbs has. 0 or an errno.
 */
static int kb_door_try(struct ibv_context *ctx, enum kb_door door, uint32_t handle)
{
	static const struct kb_door_cmd cmds[] = {
		[KB_DOOR_SQ] = { IB_USER_VERBS_CMD_POST_SEND,
				 sizeof(struct ib_uverbs_send_wr) },
		[KB_DOOR_RQ] = { IB_USER_VERBS_CMD_POST_RECV,
				 sizeof(struct ib_uverbs_recv_wr) },
		[KB_DOOR_SRQ] = { IB_USER_VERBS_CMD_POST_SRQ_RECV,
				  sizeof(struct ib_uverbs_recv_wr) },
	};
	struct ib_uverbs_post_send_resp resp;
	struct kb_post cmd = {
		.hdr = {
			.command = cmds[door].command,
			.in_words = sizeof(cmd) / 4,
			.out_words = sizeof(resp) / 4,
		},
		.response = (uintptr_t)&resp,
		.handle = handle,
		.wqe_size = cmds[door].wqe_size,
	};

	if (tz_likely(write(ctx->cmd_fd, &cmd, sizeof(cmd)) == sizeof(cmd)))
		return 0;
	return errno == EACCES ? kb_door_slow(ctx, door, handle) : errno;
}

/*
 * ib_uverbs allocates some bytes for the command; without them the kernel has not
 * seen what is posted, and may never look. There is nobody to tell of another
 * error: it means that the device is gone, which an event says
 * (IBV_EVENT_DEVICE_FATAL).
 */
void kb_door_ring(struct ibv_context *ctx, enum kb_door door, uint32_t handle)
{
	while (kb_door_try(ctx, door, handle) == ENOMEM)
		sched_yield();
}
