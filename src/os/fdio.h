/* Writing to a descriptor until all is written. */
#ifndef SLUICE_OS_FDIO_H
#define SLUICE_OS_FDIO_H

#include <stddef.h>

/* For files and memfds, which do not block. 0, or -1 with errno; goes on after EINTR and short
 * writes. */
int write_all(int fd, const void *data, size_t len);

#endif
