// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * ub_links.c - events of the port and the device, which follow those of the
 * network interface.
 *
 * Where the kernel refuses to tell (a sandbox without rtnetlink) there are none.
 */
#include <net/if.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "links.h"
#include "ub.h"

static void ub_port_event(struct ub_context *ctx, enum ibv_event_type type)
{
	u32 unused = 0;		/* nobody acknowledges these */

	ub_event_async(ctx, (void *)(uintptr_t)TCPZC_PORT, &unused, type);
}

/*
 * The queue pairs go on: their connections may have another way, and fail in
 * their own time if not.
 */
static void ub_link_changed(void *arg, const struct tz_link *link)
{
	struct ub_context *ctx = arg;
	bool gone = link->gone, up = link->up;
	char name[IF_NAMESIZE];

	if (ctx->gone || (link->ifindex && link->ifindex != ctx->ifindex))
		return;
	if (!link->ifindex) {
		gone = !if_indextoname(ctx->ifindex, name);
		up = !gone && ub_port_up(ctx);
	}
	if (up != ctx->port_up) {
		ctx->port_up = up;
		ub_port_event(ctx, up ? IBV_EVENT_PORT_ACTIVE :
					IBV_EVENT_PORT_ERR);
	}
	if (gone) {
		ctx->gone = true;
		ub_port_event(ctx, IBV_EVENT_DEVICE_FATAL);
	}
}

static void ub_links_ready(struct ub_context *ctx, struct ub_fd *ufd, u32 events)
{
	(void)ufd;
	(void)events;
	tz_links_read(ctx->links_fd, ub_link_changed, ctx);
}

void ub_links_start(struct ub_context *ctx)
{
	ctx->links_ufd.ready = ub_links_ready;
	ctx->links_fd = tz_links_open();
	/* In this order: what happens from now on is told. */
	ctx->port_up = ub_port_up(ctx);
	if (ctx->links_fd >= 0 &&
	    ub_watch_fd(ctx, ctx->links_fd, &ctx->links_ufd, EPOLLIN))
		ub_links_stop(ctx);
}

void ub_links_stop(struct ub_context *ctx)
{
	if (ctx->links_fd >= 0)
		ub_fd_close(ctx->epfd, ctx->links_fd);
	ctx->links_fd = -1;
}
