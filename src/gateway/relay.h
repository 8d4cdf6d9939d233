/* One direction of a connection whose bytes are passed on as they are: upgrades (tunnel.c), TCP
 * routes (stream.c). Never more than one buffer in between: nothing is read while the other side
 * does not take what was read before. */
#ifndef SLUICE_GATEWAY_RELAY_H
#define SLUICE_GATEWAY_RELAY_H

#include "gateway/worker.h"

enum relay {
    RELAY_WAIT,        /* for an event of one of the two */
    RELAY_MORE,        /* there may be more; others have their turn first */
    RELAY_END,         /* said once, after the last byte was sent: the caller ends the other side */
    RELAY_SOURCE_GONE, /* reset, or there is no memory */
    RELAY_TARGET_GONE,
};

/* As far as it goes. *in: what was read and not yet sent; *ended: the source's end was seen; *bytes
 * grows by what was sent. */
enum relay relay(struct worker *w, struct endpoint *from, struct chunk **in, struct endpoint *to,
                 bool *ended, uint64_t *bytes);

#endif
