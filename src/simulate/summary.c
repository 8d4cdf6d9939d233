#include "base/alloc.h"
#include "base/assert.h"
#include "simulate/simulate.h"

#include <string.h>

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The value that at least the share q of them do not exceed. */
static double quantile(const double *sorted, size_t len, double q)
{
    size_t rank = (size_t)(q * (double)len + .999999);
    return sorted[rank > 0 ? rank - 1 : 0];
}

static struct simulate_spread spread(double *values, size_t len)
{
    if (len == 0)
        return (struct simulate_spread){0, 0, 0};
    qsort(values, len, sizeof *values, by_size);
    return (struct simulate_spread){quantile(values, len, .5), quantile(values, len, .9),
                                    values[len - 1]};
}

typedef double value_fn(const struct simulate_outcome *o);

static double duration(const struct simulate_outcome *o)
{
    return (double)o->duration_ms;
}
static double exposed(const struct simulate_outcome *o)
{
    return (double)o->exposed_ms;
}
static double requests(const struct simulate_outcome *o)
{
    return (double)o->candidate_requests;
}
static double failed(const struct simulate_outcome *o)
{
    return (double)(o->candidate_errors + o->unserved);
}
static double failed_unjudged(const struct simulate_outcome *o)
{
    return o->unjudged_errors + (double)o->unserved;
}

enum { PROMOTED = 1, STOPPED = 2 };

static struct simulate_spread spread_of(const struct simulate_outcome *outcomes, size_t runs,
                                        unsigned which, value_fn *value)
{
    double *values = xcalloc(runs, sizeof *values);
    size_t len = 0;
    for (size_t i = 0; i < runs; i++) {
        unsigned kind = outcomes[i].result == RESULT_PROMOTED ? PROMOTED : STOPPED;
        if ((which & kind) != 0)
            values[len++] = value(&outcomes[i]);
    }
    struct simulate_spread s = spread(values, len);
    free(values);
    return s;
}

static enum simulate_decider decider(enum reason_code reason)
{
    switch (reason) {
    case REASON_ERRORS: return DECIDED_BY_ERRORS;
    case REASON_LATENCY: return DECIDED_BY_LATENCY;
    case REASON_SLO: return DECIDED_BY_SLO;
    case REASON_INCONCLUSIVE: return DECIDED_BY_POLICY;
    default: break;
    }
    UNREACHABLE();
}

void simulate_summarize(const struct simulate_outcome *outcomes, size_t runs,
                        struct simulate_summary *out)
{
    ASSERT(runs > 0);
    *out = (struct simulate_summary){.runs = runs};
    for (size_t i = 0; i < runs; i++) {
        const struct simulate_outcome *o = &outcomes[i];
        if (o->result == RESULT_PROMOTED) {
            out->promoted++;
            out->cleared += o->verdict == VERDICT_PASS;
            out->without_data += o->verdict == VERDICT_NO_DATA;
            continue;
        }
        if (o->result == RESULT_ROLLED_BACK)
            out->rolled_back++;
        else
            out->paused++;
        out->decided_by[decider(o->reason)]++;
    }
    out->promoted_ms = spread_of(outcomes, runs, PROMOTED, duration);
    out->stopped_ms = spread_of(outcomes, runs, STOPPED, duration);
    out->exposed_ms = spread_of(outcomes, runs, STOPPED, exposed);
    out->candidate_requests = spread_of(outcomes, runs, STOPPED, requests);
    out->failed = spread_of(outcomes, runs, PROMOTED | STOPPED, failed);
    out->failed_unjudged = spread_of(outcomes, runs, PROMOTED | STOPPED, failed_unjudged);
}
