/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * process-end.h - how the provider learns of _exit(), which runs no exit handlers.
 */
#ifndef TCPZC_PROCESS_END_H
#define TCPZC_PROCESS_END_H

/*
 * @fn, or nothing if NULL, is called before the process ends by _exit(): by any
 * thread, in signal handlers, and in children of vfork(). Not there at all without
 * the preload library.
 */
extern __attribute__((weak, visibility("default")))
void tcpzc_before_end(void (*fn)(void));

#endif /* TCPZC_PROCESS_END_H */
