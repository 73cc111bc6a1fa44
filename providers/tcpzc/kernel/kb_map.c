// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * kb_map.c - rings mapped from the uverbs file, and what fork does to them.
 *
 * The pages are shared with the kernel and so with a child of the process,
 * which must not post to its parent's queues: in the child ordinary memory takes
 * their place, with the indices as they were. There posting does nothing, and
 * polling finds nothing.
 */
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kb.h"

static pthread_mutex_t kb_maps_lock = PTHREAD_MUTEX_INITIALIZER;
static struct list_head kb_maps = LIST_HEAD_INIT(kb_maps);
uint32_t kb_fork_gen;

/* ---- fork --------------------------------------------------------------- */

static void kb_before_fork(void)
{
	pthread_mutex_lock(&kb_maps_lock);
}

static void kb_in_parent(void)
{
	pthread_mutex_unlock(&kb_maps_lock);
}

/* Replace @bytes of @map by ordinary memory; false: they are as they were. */
static bool kb_map_replace(struct kb_map *map, size_t bytes)
{
	return mmap(map->base, bytes, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1,
		    0) != MAP_FAILED;
}

static void kb_in_child(void)
{
	struct tcpzc_ring_hdr hdr;
	struct kb_map *map;

	kb_fork_gen++;
	list_for_each(&kb_maps, map, node) {
		tz_copy_once(&hdr, map->base, sizeof(hdr));
		hdr.flags = 0;
		hdr.arm = TCPZC_ARM_NONE;
		/* Nothing is better than the parent's. */
		if (kb_map_replace(map, map->bytes))
			memcpy(map->base, &hdr, sizeof(hdr));
		else
			munmap(map->base, map->bytes);
	}
	pthread_mutex_unlock(&kb_maps_lock);
}

__attribute__((constructor)) static void kb_library_init(void)
{
	pthread_atfork(kb_before_fork, kb_in_parent, kb_in_child);
}

/* ---- mapping ------------------------------------------------------------ */

static bool kb_desc_ok(const struct tcpzc_uresp_ring *desc, uint32_t min_stride)
{
	return desc->depth && !(desc->depth & (desc->depth - 1)) &&
	       desc->stride >= min_stride &&
	       desc->bytes >= sizeof(struct tcpzc_ring_hdr) +
				      (uint64_t)desc->depth * desc->stride;
}

static int kb_map_pages(int fd, const struct tcpzc_uresp_ring *desc,
			struct kb_map *map)
{
	int err = 0;

	pthread_mutex_lock(&kb_maps_lock);
	map->bytes = desc->bytes;
	map->base = mmap(NULL, desc->bytes, PROT_READ | PROT_WRITE, MAP_SHARED,
			 fd, desc->offset);
	if (map->base == MAP_FAILED) {
		err = errno;
		map->base = NULL;
	} else {
		list_add_tail(&kb_maps, &map->node);
	}
	pthread_mutex_unlock(&kb_maps_lock);
	return err;
}

int kb_map_ring(struct ibv_context *ctx, const struct tcpzc_uresp_ring *desc,
		uint32_t min_stride, struct tcpzc_ring *ring,
		struct kb_map *map)
{
	int err;

	if (!kb_desc_ok(desc, min_stride))
		return EPROTO;
	err = kb_map_pages(ctx->cmd_fd, desc, map);
	if (err)
		return err;
	ring->hdr = (struct tcpzc_ring_hdr *)map->base;
	ring->slots = map->base + sizeof(*ring->hdr);
	ring->depth = desc->depth;
	ring->stride = desc->stride;
	ring->prod = tz_load_acquire(&ring->hdr->prod);
	ring->cons = tz_load_acquire(&ring->hdr->cons);
	return 0;
}

void kb_unmap(struct kb_map *map)
{
	if (!map->base)
		return;
	pthread_mutex_lock(&kb_maps_lock);
	list_del(&map->node);
	pthread_mutex_unlock(&kb_maps_lock);
	munmap(map->base, map->bytes);
	map->base = NULL;
}

void kb_map_move(struct kb_map *to, struct kb_map *from)
{
	pthread_mutex_lock(&kb_maps_lock);
	list_del(&from->node);
	to->base = from->base;
	to->bytes = from->bytes;
	list_add_tail(&kb_maps, &to->node);
	from->base = NULL;
	pthread_mutex_unlock(&kb_maps_lock);
}

void kb_map_retire(struct kb_map *map)
{
	size_t page = sysconf(_SC_PAGESIZE);

	pthread_mutex_lock(&kb_maps_lock);
	/* If there is no memory it stays what it is, which does no harm. */
	if (kb_map_replace(map, page) && map->bytes > page) {
		munmap(map->base + page, map->bytes - page);
		map->bytes = page;
	}
	pthread_mutex_unlock(&kb_maps_lock);
}
