/* How many retries a share of a route may make: a token bucket that the requests fill, so that an
 * outage is not made worse by those who try again. Pure. Requests are not counted here: the bucket
 * is filled when somebody wants to take from it, by what was counted anyway. */
#ifndef SLUICE_GATEWAY_BUDGET_H
#define SLUICE_GATEWAY_BUDGET_H

#include <stdbool.h>
#include <stdint.h>

enum {
    BUDGET_PER_S = 3,       /* in any case, so that little traffic may retry too */
    BUDGET_SPAN_MS = 10000, /* what was not used is kept for so long */
    BUDGET_LOOK_MS = 100,   /* filled so often at most */
};

/* All zero at first. */
struct budget {
    uint64_t at_ms, requests; /* when it was filled last, and how many there were */
    uint64_t tokens;          /* a retry takes 1,000,000 */
};

/* Takes one retry; false: there is none. ppm: retries per million requests. requests: counted so
 * far, since since_ms; both times > 0 and never going back. */
bool budget_take(struct budget *b, uint32_t ppm, uint64_t requests, uint64_t since_ms,
                 uint64_t now_ms);

#endif
