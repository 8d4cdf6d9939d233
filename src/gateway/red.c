/* Rate, errors and duration per route and release (wire/red.h), with a trace now and then. */
#include "gateway/conn.h"
#include "gateway/stats.h"

#include <string.h>
#include <time.h>

/* The latest one of each step is kept. */
static void leave_exemplar(const struct exchange *x, enum red_class class, uint64_t us)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    struct exemplar e = {
        .slot = x->share_slot,
        .class = (uint16_t) class,
        .step = (uint16_t)red_step(us),
        .us = us,
        .wall_ms = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000,
    };
    memcpy(e.trace, x->trace.context.trace, sizeof e.trace);
    exemplars_put(&x->worker->metrics->exemplars, &e);
}

void red_count(struct exchange *x, enum outcome outcome)
{
    struct worker *w = x->worker;
    enum red_class class;
    if (outcome == OUTCOME_FAILED)
        class = RED_FAILED;
    else if (!x->final) /* the client left before there was anything to count */
        return;
    else if (outcome == OUTCOME_CUT)
        class = RED_CUT;
    else if (x->status < 600)
        class = (enum red_class)(RED_1XX + x->status / 100 - 1);
    else /* no class of RFC 9110 */
        class = RED_5XX;
    uint64_t us = x->final ? x->latency_us : exchange_latency(x);
    struct red_slot *r = &w->metrics->red[x->share_slot];
    stats_add(&r->classes[class].us, (int64_t)us);
    stats_add(&r->classes[class].steps[red_step(us)], 1);
    if (x->traced && x->trace.context.sampled)
        leave_exemplar(x, class, us);
}
