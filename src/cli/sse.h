/* Server-sent events: bytes in, events out (the subset that the API sends; WHATWG HTML
 * section 9.2). Pure. */
#ifndef SLUICE_CLI_SSE_H
#define SLUICE_CLI_SSE_H

#include "base/buf.h"

#include <jansson.h>

enum { SSE_MAX_LINE = 4 << 20 };

struct sse {
    struct buf in;   /* an unfinished line */
    struct buf data; /* of the event under way */
};

void sse_release(struct sse *s);
/* Takes all bytes of b and empties it. */
void sse_feed(struct sse *s, struct buf *b);
/* The next whole event's data as JSON, the caller's reference; NULL: none is there yet. What is no
 * JSON object is left out. */
json_t *sse_next(struct sse *s);

#endif
