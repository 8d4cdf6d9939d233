/* A descriptor of memory that another process can read, map or execute. */
#ifndef SLUICE_OS_MEMFD_H
#define SLUICE_OS_MEMFD_H

#include "base/error.h"

#include <stddef.h>

/* A memfd with these bytes, sealed for good (write, grow, shrink, seal), offset 0, close-on-exec.
 */
int memfd_make(const char *name, const void *data, size_t len, struct error *err);

/* The same to be executed. Where memfds may not be (kernel policy), a file `name` in the folder
 * dir_fd, mode 0700, opened read-only: its name is removed again, the descriptor stays good. */
int memfd_program(int dir_fd, const char *name, const void *data, size_t len, struct error *err);

#endif
