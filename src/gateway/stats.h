/* Counting. Each worker writes its own block only, so a counter is a load and a store. */
#ifndef SLUICE_GATEWAY_STATS_H
#define SLUICE_GATEWAY_STATS_H

#include "gateway/worker.h"

static inline void stats_add(metric *m, int64_t n)
{
    uint64_t v = atomic_load_explicit(m, memory_order_relaxed);
    atomic_store_explicit(m, v + (uint64_t)n, memory_order_relaxed);
}
static inline void stats_request(struct worker *w, uint32_t slot, enum request_metric m, int64_t n)
{
    stats_add(&w->metrics->requests[slot].counters[m], n);
}
static inline void stats_instance(struct worker *w, uint32_t slot, enum instance_metric m,
                                  int64_t n)
{
    stats_add(&w->metrics->instances[slot].counters[m], n);
}
static inline void stats_latency(struct worker *w, uint32_t slot, uint64_t us)
{
    struct request_slot *s = &w->metrics->requests[slot];
    stats_add(&s->latency_us_sum, (int64_t)us);
    stats_add(&s->buckets[metrics_bucket(us)], 1);
}
/* In flight on an instance by one worker; may be negative for a moment (metrics.h). */
static inline int64_t stats_in_flight(const struct metrics_worker *m, uint32_t slot)
{
    return (int64_t)atomic_load_explicit(&m->instances[slot].counters[INSTANCE_IN_FLIGHT],
                                         memory_order_relaxed);
}

#endif
