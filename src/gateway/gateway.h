/* The gateway: carries the traffic. One process of its own per generation, unprivileged, started by
 * the guardian. Speaks HTTP/1.1 and HTTP/2 (h2.h) with clients and instances, chooses
 * instances by the routing snapshot that the controller sends (or left in a file), counts what it
 * sees into shared memory.
 *
 * It needs no file system and no other process: controller and guardian may die, it goes on. It
 * never decides anything about rollouts, never buffers whole bodies, and never aborts for want of
 * memory in the data path: the connection is refused instead.
 *
 * How a request goes: accept.c -> client.c (head) -> table.c (route) -> split.c (pool) -> balance.c
 * (instance) -> upstream.c (connection) -> exchange.c (both directions) -> stats.h (counted). One
 * worker thread does all of it for its connections; nothing is shared on that way but the table
 * pointer, the counters of split routes, and the number of held requests. control.c is the other
 * thread: snapshots, take-over, drain.
 */
#ifndef SLUICE_GATEWAY_GATEWAY_H
#define SLUICE_GATEWAY_GATEWAY_H

#include "os/boot.h"

/* Serves until drained. boot: as boot_read() gave it; its descriptors become the gateway's. Ready
 * is when the control socket answers with HELLO. Gives the exit status: 0 drained, 1 on a failure
 * at the start (said in the log). */
int gateway_main(struct boot *boot);

#endif
