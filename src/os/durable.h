/* Files that are whole or not there, also after a power cut: temp -> fsync -> rename -> fsync of
 * the folder. Paths are relative to dirfd (AT_FDCWD: the working folder), as with openat(2). */
#ifndef SLUICE_OS_DURABLE_H
#define SLUICE_OS_DURABLE_H

#include "base/buf.h"
#include "base/error.h"

#include <stddef.h>
#include <sys/types.h>

/* Replaces path by data, mode as given (not lowered by the umask). The temporary file is
 * "PATH.tmp": one writer per path at a time is the caller's duty; a leftover of a crash is written
 * over. On an error the old file is untouched, or (when only the last fsync failed) the new one is
 * in place. */
int durable_write(int dirfd, const char *path, mode_t mode, const void *data, size_t len,
                  struct error *err);

/* Makes it durable that names in the folder of path changed (after a rename, link or unlink). */
int durable_sync_folder(int dirfd, const char *path, struct error *err);

/* Appends the whole regular file to out. ERROR_NOT_FOUND where there is none, ERROR_IO where it is
 * longer than max bytes or no regular file; out is unchanged on an error. Symbolic links in the
 * last component are not followed. */
int file_read(int dirfd, const char *path, size_t max, struct buf *out, struct error *err);

/* mkdir -p: makes the folder and its missing parents, each with exactly this mode; what exists
 * keeps its own. An existing path that is no folder is an error. */
int make_folders(int dirfd, const char *path, mode_t mode, struct error *err);

#endif
