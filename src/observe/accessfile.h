/* The access log's file: whole lines in, rotation by size, a disk that is full. observe's own.
 *
 * FILE, FILE.1 ... FILE.4, each up to ACCESSFILE_BYTES; the oldest goes. When somebody else renames
 * or removes FILE (logrotate), a new one is made within a second; no signal is needed. A part of a
 * batch that a full disk did not take is cut off behind its last whole line, and given again.
 *
 * "-" is standard output, and a FILE that is a pipe or a terminal is written as it is: not rotated,
 * and waited for in small steps. */
#ifndef SLUICE_OBSERVE_ACCESSFILE_H
#define SLUICE_OBSERVE_ACCESSFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

enum { ACCESSFILE_BYTES = 64 << 20, ACCESSFILE_KEPT = 4 };

struct accessfile {
    const char *path; /* the caller's; "-": standard output */
    uint64_t most;    /* bytes of one file */
    int fd;           /* -1: not open */
    bool regular;
    bool failing; /* said in the log */
    uint64_t size;
    int64_t looked_ms; /* when its name was last looked at */
};

void accessfile_init(struct accessfile *f, const char *path);
void accessfile_release(struct accessfile *f);

/* Writes whole lines. Gives how many bytes of them are in the file for good, always whole lines;
 * fewer than asked for: the rest later. now_ms: a clock that does not go back. */
size_t accessfile_write(struct accessfile *f, const struct iovec parts[2], int64_t now_ms);

#endif
