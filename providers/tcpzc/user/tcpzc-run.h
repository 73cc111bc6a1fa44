/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * tcpzc-run.h - internals of tcpzc-run
 */
#ifndef TCPZC_RUN_H
#define TCPZC_RUN_H

#include <stdbool.h>

#include "sysfs.h"

/* As the shell and env(1) have it */
#define EXIT_OURS		125	/* tcpzc-run itself failed */
#define EXIT_CANNOT_RUN		126
#define EXIT_NOT_FOUND		127

#define MAX_PATH		4096

/* tcpzc-run.c */
__attribute__((noreturn, format(printf, 2, 3))) void
die(int status, const char *fmt, ...);
__attribute__((format(printf, 1, 2))) void warn(const char *fmt, ...);
__attribute__((format(printf, 1, 2))) void info(const char *fmt, ...);

/* tcpzc-run-elf.c */
struct elf_info {
	bool is_elf;
	bool is_native;		/* same class and machine as tcpzc-run */
	char interp[256];	/* the dynamic linker; empty: static */
	char sanitizer[64];	/* soname of a sanitizer's runtime, if any */
	char release[32];	/* a provider's note: rdma-core release */
};

int elf_read(const char *path, struct elf_info *info);

/* tcpzc-run-program.c */
void program_find(const char *name, char path[MAX_PATH]);
void program_check(const char *path, struct elf_info *info);

/* tcpzc-run-libs.c */
struct libs {
	char dir[MAX_PATH];		/* libtcpzc-preload.so and the private
					 * libibverbs are here */
	char provider[MAX_PATH];	/* without -rdmavNN.so */
	bool use_private;		/* libibverbs and librdmacm from dir */
};

void libs_choose(struct libs *libs);

/* tcpzc-run-env.c */
void env_set(const struct libs *libs, const struct tz_dir *tree,
	     const struct elf_info *program);

/* tcpzc-run-child.c */
int child_run(char *const argv[], const char *path);
__attribute__((noreturn)) void exit_as(int wait_status);

#endif
