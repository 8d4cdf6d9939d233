/* One instance's pair of log files as one growing stream of lines, across rotations. observe's own.
 *
 * No descriptor stays open between two calls (an app may have hundreds of files): the place is
 * known by inode and offset. A rotation renames INSTANCE.log to INSTANCE.log.1; whoever was in the
 * middle of it goes on there, then in the new INSTANCE.log. */
#ifndef SLUICE_OBSERVE_LOGFILE_H
#define SLUICE_OBSERVE_LOGFILE_H

#include "base/buf.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum { LOGFILE_CHUNK = 64 << 10 };

struct logfile_id {
    uint64_t inode;
    int64_t born_ns;
};

struct logfile {
    char *instance;
    uint32_t release;
    struct logfile_id id; /* of the file that offset is in; inode 0: nothing was read yet */
    off_t offset;
    struct buf unread; /* from start on: bytes behind the last line that was given */
    size_t start;
    size_t scanned; /* of unread: no newline up to here */
    bool skipping;  /* in the middle of a line that is too long */
    bool touched;   /* there may be more than was read */
};

void logfile_init(struct logfile *f, const char *instance);
void logfile_release(struct logfile *f);

/* Before the first read: starts so that about the last n lines come. Reads backwards. */
void logfile_seek_last(struct logfile *f, int dir_fd, unsigned n);

/* Reads a chunk when no whole line is there. *line (without its newline) lives until the next call
 * with this f. Gives 1 with a line, 0 when there is none now. Adds what was read to *read_bytes. */
int logfile_next(struct logfile *f, int dir_fd, const char **line, size_t *len, size_t *read_bytes);
/* Drops the line that logfile_next() gave; without it the same line comes again. */
void logfile_taken(struct logfile *f, size_t len);

#endif
