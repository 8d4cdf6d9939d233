/* How a run ended: written by its shim into the run folder, read by the engine, maybe a long time
 * and an upgrade later. Text, "key value" a line, first line "sluice-exit 1". Pure.
 */
#ifndef SLUICE_WIRE_EXITRECORD_H
#define SLUICE_WIRE_EXITRECORD_H

#include "base/buf.h"
#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

enum { EXITRECORD_VERSION = 1, EXITRECORD_MAX_BYTES = 4096, EXITRECORD_REASON_SIZE = 256 };

struct exit_record {
    int32_t code;      /* -1: ended by a signal, or never started */
    int32_t signal;    /* 0: none */
    bool oom_killed;   /* by the kernel, over its memory limit */
    bool start_failed; /* exec, or what goes before it, failed: reason */
    bool timed_out;
    int64_t started_ms, ended_ms; /* wall clock; started 0: never */
    uint64_t dropped_lines;       /* of the log, because the disk was full */
    char reason[EXITRECORD_REASON_SIZE];
};

void exitrecord_encode(const struct exit_record *r, struct buf *out);

/* Takes version 1 and later ones (keys that it does not know are skipped); everything else is
 * ERROR_IO, *r untouched. */
int exitrecord_decode(const char *text, struct exit_record *r, struct error *err);

#endif
