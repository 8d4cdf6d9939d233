/* The exit record on disk. Its room is taken before the app starts, so that a disk that is full by
 * then does not keep it from being written. */
#ifndef SLUICE_SHIM_RECORD_H
#define SLUICE_SHIM_RECORD_H

#include "base/error.h"
#include "wire/exitrecord.h"

#include <sys/types.h>

/* Best effort: without room now, record_write() tries anyway. */
void record_reserve(int run_dir_fd);

/* Durable when it gives 0. May be repeated. */
int record_write(int run_dir_fd, const struct exit_record *record, struct error *err);

/* Tells a later engine which processes to look for should we be killed: not durable, since after a
 * reboot there are none. app: 0 while there is none. */
int record_pids(int run_dir_fd, pid_t app, struct error *err);

#endif
