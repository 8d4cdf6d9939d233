/* The gateway's other thread (its first): snapshots, take-over, drain. It answers on the control
 * socket (wire/gatewayctl.h), swaps tables and frees the old ones when no worker can hold them. */
#ifndef SLUICE_GATEWAY_CONTROL_H
#define SLUICE_GATEWAY_CONTROL_H

#include "gateway/worker.h"

/* Serves until all workers have drained or the drain's deadline is over. */
void gateway_control_run(struct gateway *g, const struct boot *boot);
/* Makes the newest valid snapshot of the two files current (or the one before it, where the boot
 * file says so); an empty table, version 0, where there is none. */
void control_first_table(struct gateway *g, const struct boot *boot);

#endif
