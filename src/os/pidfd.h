/* Processes held by a descriptor: a pid may be another process by the time it is used, a pidfd
 * never is. A pidfd is readable (poll) once its process has ended. */
#ifndef SLUICE_OS_PIDFD_H
#define SLUICE_OS_PIDFD_H

#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Close-on-exec, the caller's; -1 with errno (ESRCH: gone). Sure to be the process that is meant
 * only for a child that was not waited for; otherwise check something of it afterwards. */
int pidfd_open_pid(pid_t pid);

/* As above, and sure: the process with that start time (proc_stat.start_ticks). -1 with ESRCH
 * where it is gone or the pid is another's by now. */
int pidfd_open_checked(pid_t pid, uint64_t start_ticks);

/* 0, or -1 with errno (ESRCH: it has ended). */
int pidfd_signal(int pidfd, int signal);

bool pidfd_ended(int pidfd);

/* Waits for a child without blocking: 1 ended and reaped (*status as of wait(2)), 0 not yet, -1 no
 * child of ours (or reaped already). status may be NULL. */
int pidfd_reap(int pidfd, int *status);

#endif
