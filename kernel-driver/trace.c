// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * trace.c - the code of the tracepoints.
 */
#define CREATE_TRACE_POINTS
#include "trace.h"
