/* The app's log: lines of its stdout and stderr to JSON lines in a file with a disk bound.
 *
 * Nothing here ever makes the app wait for longer than a write takes: what cannot be written (the
 * disk is full) is dropped and counted, and the log says so once it can be written again.
 */
#ifndef SLUICE_SHIM_APPLOG_H
#define SLUICE_SHIM_APPLOG_H

#include "base/buf.h"
#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum applog_stream { APPLOG_OUT, APPLOG_ERR, APPLOG_STREAMS };

struct applog {
    char *path, *rotated_path;
    char *label;      /* escaped for JSON */
    int fd;           /* -1: not open (the next flush tries again) */
    uint64_t size;    /* of the file: whole lines only */
    uint64_t half;    /* of the budget: the most that one file holds */
    size_t piece_max; /* longer lines are split; so chosen that one always fits into a file */
    struct buf partial[APPLOG_STREAMS]; /* of a line without its end */
    struct buf pending;                 /* whole JSON lines, not written yet */
    uint64_t pending_lines;
    uint64_t dropped;        /* ever */
    uint64_t dropped_unsaid; /* since the log last said so */
    int dropped_errno;
};

/* Makes the folder of path when missing. The log works from here on, also when the file could not
 * be opened (then *err says why, and -1): it is tried again. */
int applog_init(struct applog *log, const char *path, uint64_t max_bytes, const char *label,
                struct error *err);

/* Takes what is there in the pipe, up to `most` bytes, and writes it. Returns how many bytes, 0
 * when nothing was there, -1 at its end. */
int applog_read(struct applog *log, enum applog_stream stream, int pipe_fd, size_t most);

/* A line of our own, on the stderr stream. */
void applog_say(struct applog *log, const char *text);

/* Writes lines without an end as they are, and closes the file. */
void applog_finish(struct applog *log);

#endif
