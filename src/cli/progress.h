/* What a terminal shows of a deploy while it goes on: a model fed with events and statuses, drawn
 * as one block of lines. Pure. */
#ifndef SLUICE_CLI_PROGRESS_H
#define SLUICE_CLI_PROGRESS_H

#include "cli/term.h"

#include <jansson.h>
#include <stdint.h>

enum { PROGRESS_NOTES = 5 };

struct progress {
    const char *word;            /* "deploy", "rollback", "restart" */
    json_t *accepted;            /* the answer of the command */
    json_t *status;              /* the newest status; NULL: none yet */
    char *notes[PROGRESS_NOTES]; /* the last events as lines, oldest first */
    unsigned notes_len;
    int64_t started_ms;    /* of the same clock as now_ms below */
    int64_t away_since_ms; /* the controller does not answer since; 0: it does */
};

void progress_init(struct progress *p, const char *word, json_t *accepted, int64_t now_ms);
void progress_release(struct progress *p);
void progress_event(struct progress *p, const json_t *event, const struct term *t);
void progress_status(struct progress *p, json_t *status); /* takes the reference; NULL: no change */
void progress_draw(const struct progress *p, const struct term *t, int64_t now_ms, struct buf *out);

#endif
