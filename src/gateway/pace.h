/* How fast a client sends a body or takes an answer: only the time counts in which nothing but the
 * client is waited for. Waiting makes debts, bytes pay them off at the least rate, and debts of
 * more than the grace are too much. So a client that is slow by a little is caught late, one that
 * trickles soon, and one that waits for its instance never; nothing can be saved up. Pure. */
#ifndef SLUICE_GATEWAY_PACE_H
#define SLUICE_GATEWAY_PACE_H

#include <stdint.h>

enum { PACE_GRACE_MS = 10000 };

struct pace {
    uint64_t since_ms; /* the client is waited for; 0: it is not */
    uint64_t owed_ms;  /* when that began */
    uint64_t bytes;    /* paid off already */
};

/* The client is waited for from now on, or was before, and has sent or taken `bytes` in all; rate >
 * 0: bytes per second. Gives the time at which it has been waited for too long. */
uint64_t pace_wait(struct pace *p, uint64_t bytes, uint32_t rate, uint64_t now_ms);
void pace_go(struct pace *p, uint64_t now_ms); /* it did something */

#endif
