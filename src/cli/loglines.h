/* The API's stream of log lines, printed as they come. */
#ifndef SLUICE_CLI_LOGLINES_H
#define SLUICE_CLI_LOGLINES_H

#include "cli/session.h"

struct loglines {
    const struct session *s;
    bool text_only;   /* only what the app wrote, without time and instance (`run`) */
    struct buf in;    /* an unfinished line */
    uint64_t lines;   /* printed */
    uint64_t skip;    /* lines at the front that were printed already */
    char last[32];    /* the time of the last line */
    uint64_t at_last; /* lines printed that have this time */
};

/* Prints the whole lines of b (emptied) and keeps the rest. -1: nobody reads what we print. */
int loglines_feed(struct loglines *l, struct buf *b);
void loglines_release(struct loglines *l);

#endif
