/* observe/accesslog: from the gateways' rings (wire/accessring.h) to the access log's file.
 *
 * In the controller, on a thread of its own: a slow or full disk holds up nobody but that thread;
 * then the rings fill up and the gateways drop lines, which are counted. All calls return at once,
 * but access_log_close().
 */
#ifndef SLUICE_OBSERVE_ACCESSLOG_H
#define SLUICE_OBSERVE_ACCESSLOG_H

#include "base/error.h"

#include <stdint.h>

struct access_log;

/* path: absolute, or "-" for standard output. NULL where there is no thread (said in the log).
 * Nothing is written before there is a
 * line, so a path that cannot be written is said in the log, not here. */
struct access_log *access_log_open(const char *path);
/* Writes what has come, for so long as that moves on, at most about two seconds; frees. */
void access_log_close(struct access_log *log); /* NULL is fine */

/* The rings of a gateway generation. fd becomes the log's, also on an error (said in the log). */
void access_log_add(struct access_log *log, uint64_t generation, int fd);
/* It writes no more: what it left is written, then its memory is let go. */
void access_log_gone(struct access_log *log, uint64_t generation);

struct access_log_counts {
    uint64_t lines;   /* that gateways have written */
    uint64_t dropped; /* that found no room */
};
struct access_log_counts access_log_counts(const struct access_log *log);

#endif
