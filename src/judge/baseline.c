#include "base/assert.h"
#include "judge/evidence.h"

bool baseline_init(struct baseline *b, uint64_t history_events, uint64_t history_requests,
                   double allowed, double alpha)
{
    ASSERT(allowed >= 1 && alpha > 0 && alpha < 1);
    double low, high;
    rate_interval(history_events, history_requests, alpha, &low, &high);
    double p_max = high * allowed;
    *b = (struct baseline){.events = 0};
    ceiling_init(&b->ceiling, p_max < 1 ? p_max : 1);
    return b->ceiling.over_len != 0;
}

void baseline_update(struct baseline *b, uint64_t events, uint64_t requests)
{
    ASSERT(events <= requests);
    b->events += events;
    b->requests += requests;
}

double baseline_log(const struct baseline *b)
{
    return ceiling_over_log(&b->ceiling, b->events, b->requests);
}
