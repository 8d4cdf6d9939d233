/* api: HTTP on the API socket, in the controller process; requests -> control -> replies, streams.
 *
 * controller_main() is the controller's composition root: loop, control, API server. It translates
 * and decides nothing: who may ask is checked here, what happens is control's.
 */
#ifndef SLUICE_API_CONTROLLER_H
#define SLUICE_API_CONTROLLER_H

#include "os/boot.h"

/* Gives the process's exit status. */
int controller_main(struct boot *boot);

#endif
