/* Rate limits: a token bucket for each client of each route, shared by the workers of this process.
 *
 * Kept as GCRA (ITU-T I.371): of each bucket only the time at which it will be full again. A bucket
 * that is full is the same as none, so the table is bounded and forgets nothing that counts as long
 * as there is a full one in the place where a new client falls. When there is none (a flood of more
 * clients than the table has room for), the bucket that lacks least makes room: those who asked
 * much stay limited, and nobody is refused because of others. What a flood can do is to make limits
 * looser for others, never tighter.
 *
 * Exact over all workers, but for a client's first requests: workers that see it at the same moment
 * may each let one more through. Without locks. It starts empty with each generation of gateway.
 */
#ifndef SLUICE_GATEWAY_RATE_H
#define SLUICE_GATEWAY_RATE_H

#include <stddef.h>
#include <stdint.h>

enum { RATE_WAYS = 8, RATE_SETS = 8192 };

struct rate_limit {
    uint64_t interval_ns;  /* a token comes so often; 0: no limit */
    uint64_t tolerance_ns; /* all tokens but the first of a full bucket, in time */
};
/* requests per per_ms, in the long run; burst: the bucket's size. All of them > 0. */
struct rate_limit rate_limit_of(uint32_t requests, uint32_t per_ms, uint32_t burst);

struct rates;
struct rates *rates_new(void); /* NULL: no memory */
void rates_free(struct rates *r);

/* A client of a route: what tells it from others. */
uint64_t rates_key(const struct rates *r, uint64_t route, const void *client, size_t len);
/* Takes a token. 0: there was one; else how long until there is one. now_ns > 0 of the monotonic
 * clock; it may be a little different from worker to worker. */
uint64_t rates_take(struct rates *r, uint64_t key, const struct rate_limit *l, uint64_t now_ns);

#endif
