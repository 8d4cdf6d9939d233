#include "gateway/rate.h"

#include "base/assert.h"
#include "base/siphash.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/random.h>

enum { TRIES = 4 };

struct bucket {
    _Atomic uint64_t key;     /* 0: free */
    _Atomic uint64_t full_ns; /* when it is full again */
};

struct rates {
    uint64_t secret[2];
    struct bucket sets[RATE_SETS][RATE_WAYS];
};

struct rate_limit rate_limit_of(uint32_t requests, uint32_t per_ms, uint32_t burst)
{
    ASSERT(requests > 0 && per_ms > 0 && burst > 0);
    uint64_t interval_ns = (uint64_t)per_ms * 1000000 / requests;
    interval_ns = interval_ns > 0 ? interval_ns : 1;
    return (struct rate_limit){interval_ns, interval_ns * (burst - 1)};
}

struct rates *rates_new(void)
{
    struct rates *r = calloc(1, sizeof *r);
    if (r != NULL && getrandom(r->secret, sizeof r->secret, 0) != sizeof r->secret) {
        free(r);
        return NULL;
    }
    return r;
}

void rates_free(struct rates *r)
{
    free(r);
}

uint64_t rates_key(const struct rates *r, uint64_t route, const void *client, size_t len)
{
    uint64_t key = siphash(r->secret, route, client, len);
    return key != 0 ? key : 1;
}

/* Its bucket, which is made where there is none. NULL: others took the places that were chosen for
 * it again and again. */
static struct bucket *bucket_of(struct rates *r, uint64_t key)
{
    struct bucket *set = r->sets[key % RATE_SETS];
    for (int i = 0; i < TRIES; i++) {
        struct bucket *fullest = &set[0];
        uint64_t least_ns = UINT64_MAX, old = 0;
        for (size_t k = 0; k < RATE_WAYS; k++) {
            uint64_t there = atomic_load_explicit(&set[k].key, memory_order_relaxed);
            uint64_t full_ns = atomic_load_explicit(&set[k].full_ns, memory_order_relaxed);
            if (there == key)
                return &set[k];
            if (full_ns < least_ns) {
                least_ns = full_ns;
                fullest = &set[k];
                old = there;
            }
        }
        /* Full first, then another's: whoever sees the new key must not inherit what the old one
         * had taken. */
        if (atomic_compare_exchange_strong(&fullest->full_ns, &least_ns, 0) &&
            atomic_compare_exchange_strong(&fullest->key, &old, key))
            return fullest;
    }
    return NULL;
}

uint64_t rates_take(struct rates *r, uint64_t key, const struct rate_limit *l, uint64_t now_ns)
{
    struct bucket *b = bucket_of(r, key);
    if (b == NULL)
        return 0;
    uint64_t seen = atomic_load_explicit(&b->full_ns, memory_order_relaxed), empty_ns, next_ns;
    do {
        next_ns = (seen > now_ns ? seen : now_ns) + l->interval_ns;
        /* No more than nothing is left in it, also where another limit was in force before. */
        empty_ns = now_ns + l->tolerance_ns + l->interval_ns;
        if (next_ns > empty_ns && seen <= empty_ns)
            return next_ns - empty_ns;
    } while (!atomic_compare_exchange_weak_explicit(&b->full_ns, &seen,
                                                    next_ns > empty_ns ? empty_ns : next_ns,
                                                    memory_order_relaxed, memory_order_relaxed));
    return next_ns > empty_ns ? l->interval_ns : 0;
}
