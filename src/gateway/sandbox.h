/* What the gateway may ask of the kernel once it has all that it was given: sockets, memory, its
 * own threads. Who takes it over through a request finds no files (Landlock), no programs and no
 * other processes (seccomp). */
#ifndef SLUICE_GATEWAY_SANDBOX_H
#define SLUICE_GATEWAY_SANDBOX_H

#include "base/error.h"

/* For the calling thread and those that it starts from now on; no way back. What the kernel does
 * not know is left out and said in the log. -1: it knows, and refused. Nothing in builds with
 * sanitizers, whose reports need files. */
int sandbox_enter(struct error *err);

#endif
