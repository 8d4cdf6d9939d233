/* A lock for the life of a process: flock on a file that holds the owner's pid.
 *
 * The lock belongs to the open file: it survives exec (where the descriptor is inherited) and goes
 * when the last duplicate is closed, however the process ends. The file is never removed.
 */
#ifndef SLUICE_OS_LOCKFILE_H
#define SLUICE_OS_LOCKFILE_H

#include "base/error.h"

#include <sys/types.h>

/* Takes the lock `name` in the folder dir_fd and writes our pid into it. Gives the descriptor
 * (close-on-exec), the caller's. Held by someone else: -1 with ERROR_CONFLICT and, where the file
 * says it, *holder is its pid (else 0). Never waits. */
int lockfile_take(int dir_fd, const char *name, pid_t *holder, struct error *err);

#endif
