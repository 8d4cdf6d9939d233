/* Large answers between two plain sockets: splice(2) moves the pages of one to the other through a
 * pipe, so that the body is never copied into the gateway. docs/performance.md has what it gives.
 */
#ifndef SLUICE_GATEWAY_SPLICE_H
#define SLUICE_GATEWAY_SPLICE_H

#include "gateway/conn.h"

enum {
    SPLICE_LEAST = 256 << 10, /* bytes of a body that are left: below it copying is as good */
    SPLICE_PIPE = 1 << 20,    /* of kernel memory at most that a slow client can hold in one */
    SPLICE_PIPES = 8,         /* per worker; with all in use bodies are copied */
};

enum splice_result {
    SPLICE_NONE,  /* there is no pipe now: copy */
    SPLICE_WAITS, /* for one of the two */
    SPLICE_MOVED, /* some went */
    SPLICE_WHOLE, /* the body is with the client */
    SPLICE_ENDED, /* the instance ended before it */
    SPLICE_BROKEN,
    SPLICE_CLIENT_GONE,
};

/* The rest of the answer's body, of which nothing is in a buffer. */
bool splice_pays(const struct exchange *x);
enum splice_result splice_down(struct exchange *x);
void splice_forget(struct exchange *x); /* the exchange ends */
void splice_release(struct worker *w);

#endif
