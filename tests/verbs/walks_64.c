// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * walks_64.c - the same by the other names that libc has for files of 64 bits
 */
#define _FILE_OFFSET_BITS 64
#include "walks.c"
