// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * tcpzc-run-elf.c - what tcpzc-run has to know of a program or a provider
 *
 * Files are looked at, not trusted: every offset is checked against the size.
 */
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tcpzc-run.h"

struct image {
	const char *data;
	size_t size;
	const ElfW(Phdr) *phdr;
	unsigned int phnum;
};

static const void *at(const struct image *img, size_t offset, size_t len)
{
	if (offset > img->size || len > img->size - offset)
		return NULL;
	return img->data + offset;
}

/* A string that ends before the image does. */
static const char *string_at(const struct image *img, size_t offset)
{
	const char *s = at(img, offset, 1);

	return s && memchr(s, 0, img->size - offset) ? s : NULL;
}

/* File offset of a virtual address; the image's size if it has none. */
static size_t file_offset(const struct image *img, ElfW(Addr) addr)
{
	const ElfW(Phdr) *ph;
	unsigned int i;

	for (i = 0; i < img->phnum; i++) {
		ph = &img->phdr[i];
		if (ph->p_type == PT_LOAD && addr >= ph->p_vaddr &&
		    addr - ph->p_vaddr < ph->p_filesz)
			return addr - ph->p_vaddr + ph->p_offset;
	}
	return img->size;
}

static bool is_sanitizer(const char *soname)
{
	return !strncmp(soname, "libasan.so", 10) ||
	       !strncmp(soname, "libtsan.so", 10) ||
	       !strncmp(soname, "libclang_rt.asan", 16) ||
	       !strncmp(soname, "libclang_rt.tsan", 16);
}

/* A sanitizer's runtime must stay first, before what LD_PRELOAD names. */
static void read_dynamic(const struct image *img, const ElfW(Phdr) *ph,
			 struct elf_info *info)
{
	const ElfW(Dyn) *dyn = at(img, ph->p_offset, ph->p_filesz);
	size_t i, num = ph->p_filesz / sizeof(*dyn);
	size_t strtab = img->size;
	const char *name;

	if (!dyn || ph->p_offset % __alignof__(*dyn))
		return;
	for (i = 0; i < num && dyn[i].d_tag != DT_NULL; i++)
		if (dyn[i].d_tag == DT_STRTAB)
			strtab = file_offset(img, dyn[i].d_un.d_ptr);
	for (i = 0; i < num && dyn[i].d_tag != DT_NULL; i++) {
		if (dyn[i].d_tag != DT_NEEDED ||
		    dyn[i].d_un.d_val > img->size)
			continue;
		name = string_at(img, strtab + dyn[i].d_un.d_val);
		if (name && is_sanitizer(name))
			snprintf(info->sanitizer, sizeof(info->sanitizer),
				 "%s", name);
	}
}

/* The note of release.c.in */
static void read_notes(const struct image *img, const ElfW(Phdr) *ph,
		       struct elf_info *info)
{
	size_t pos = ph->p_offset, end = ph->p_offset + ph->p_filesz;
	const ElfW(Nhdr) *nh;
	const char *name, *desc;

	if (!at(img, ph->p_offset, ph->p_filesz) || pos % __alignof__(*nh))
		return;
	while (end - pos >= sizeof(*nh)) {
		nh = at(img, pos, sizeof(*nh));
		if (nh->n_namesz > 256 || nh->n_descsz > 4096)
			return;
		pos += sizeof(*nh);
		name = at(img, pos, nh->n_namesz);
		pos += (nh->n_namesz + 3) & ~3u;
		desc = at(img, pos, nh->n_descsz);
		pos += (nh->n_descsz + 3) & ~3u;
		if (!name || !desc || pos > end)
			return;
		if (nh->n_type == 1 && nh->n_namesz == 6 &&
		    !memcmp(name, "tcpzc", 6))
			snprintf(info->release, sizeof(info->release), "%.*s",
				 (int)nh->n_descsz, desc);
	}
}

static void read_image(struct image *img, struct elf_info *info)
{
	const ElfW(Ehdr) *eh = at(img, 0, sizeof(*eh));
	const ElfW(Phdr) *ph;
	const char *interp;
	unsigned int i;

	info->is_elf = img->size >= SELFMAG &&
		       !memcmp(img->data, ELFMAG, SELFMAG);
	if (!info->is_elf || !eh ||
	    eh->e_ident[EI_CLASS] !=
		    (sizeof(void *) == 8 ? ELFCLASS64 : ELFCLASS32) ||
	    eh->e_phentsize != sizeof(*ph))
		return;
	img->phnum = eh->e_phnum;
	img->phdr = at(img, eh->e_phoff, img->phnum * sizeof(*ph));
	if (!img->phdr || eh->e_phoff % __alignof__(ElfW(Phdr)))
		return;
	info->is_native = true;
	for (i = 0; i < img->phnum; i++) {
		ph = &img->phdr[i];
		if (ph->p_type == PT_INTERP) {
			interp = string_at(img, ph->p_offset);
			snprintf(info->interp, sizeof(info->interp), "%s",
				 interp ? interp : "");
		} else if (ph->p_type == PT_DYNAMIC) {
			read_dynamic(img, ph, info);
		} else if (ph->p_type == PT_NOTE) {
			read_notes(img, ph, info);
		}
	}
}

/**
 * elf_read - look at a file
 * @path: the file
 * @info: filled in; is_elf is false for a script, for example
 *
 * Returns 0, or -1 with errno set if the file cannot be read.
 */
int elf_read(const char *path, struct elf_info *info)
{
	struct image img = {};
	struct stat st;
	int fd;

	memset(info, 0, sizeof(*info));
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	if (fstat(fd, &st) || !S_ISREG(st.st_mode) || !st.st_size) {
		close(fd);
		return 0;
	}
	img.size = st.st_size;
	img.data = mmap(NULL, img.size, PROT_READ, MAP_PRIVATE, fd, 0);
	close(fd);
	if (img.data == MAP_FAILED)
		return -1;
	read_image(&img, info);
	munmap((void *)img.data, img.size);
	return 0;
}
