/* Latencies: log-normal, seen through the buckets of the gateway's histogram. */
#include "simulate/simulate_internal.h"

#include "base/assert.h"
#include "wire/metrics.h"

#include <math.h>

/* Differences under 10 ms are no fault, as in the controller's judge. */
enum { FELT_MS = 10 };

/* The standard normal's quantile, by bisection: it is asked a few times per simulation. */
static double normal_quantile(double q)
{
    ASSERT(q > 0 && q < 1);
    double low = -10, high = 10;
    for (int i = 0; i < 60; i++) {
        double middle = (low + high) / 2;
        if (.5 * erfc(-middle / M_SQRT2) < q)
            low = middle;
        else
            high = middle;
    }
    return (low + high) / 2;
}

double simulate_latency_quantile(const struct simulate_latency *l, double q)
{
    return l->median_ms * exp(l->sigma * normal_quantile(q));
}

struct simulate_latency simulate_latency_through(double q1, double ms1, double q2, double ms2)
{
    ASSERT(q1 < q2 && ms1 > 0 && ms1 <= ms2);
    double z1 = normal_quantile(q1), z2 = normal_quantile(q2);
    double sigma = log(ms2 / ms1) / (z2 - z1);
    return (struct simulate_latency){.median_ms = ms1 * exp(-sigma * z1), .sigma = sigma};
}

struct simulate_latency simulate_latency_moved(const struct simulate_latency *l, double q,
                                               double ms)
{
    return (struct simulate_latency){.median_ms = ms * exp(-l->sigma * normal_quantile(q)),
                                     .sigma = l->sigma};
}

/* The chance of a request to be in this bucket or above. */
static double above(const struct simulate_latency *l, uint32_t bucket)
{
    if (bucket == 0)
        return 1;
    double mark = (double)metrics_bucket_low(bucket) / 1000;
    if (l->sigma <= 0)
        return l->median_ms >= mark ? 1 : 0;
    return .5 * erfc(log(mark / l->median_ms) / (l->sigma * M_SQRT2));
}

static void add(struct marks *m, const struct simulate_config *config, uint32_t edge,
                uint32_t bucket)
{
    size_t at = m->len++;
    for (; at > 0 && m->items[at - 1].bucket > bucket; at--)
        m->items[at] = m->items[at - 1];
    m->items[at] = (struct mark){edge, bucket, above(&config->stable, bucket),
                                 above(&config->candidate, bucket)};
}

void marks_choose(struct marks *m, const struct simulate_config *config)
{
    static const double HISTORY = 1e9; /* requests of stable that the edges are chosen from */
    const struct slo_spec *slo = &config->spec->slo;
    uint64_t counts[METRICS_BUCKETS];
    for (uint32_t b = 0; b < METRICS_BUCKETS; b++) {
        double beyond = b + 1 < METRICS_BUCKETS ? above(&config->stable, b + 1) : 0;
        counts[b] = (uint64_t)llround(HISTORY * (above(&config->stable, b) - beyond));
    }
    int64_t least_ms = slo->has_latency && slo->latency_ms < FELT_MS ? slo->latency_ms : FELT_MS;
    *m = (struct marks){.len = 0};
    m->edges_len = (uint32_t)judge_choose_edges(
        counts, METRICS_BUCKETS, metrics_bucket((uint64_t)least_ms * 1000), m->edges);
    for (uint32_t e = 0; e < m->edges_len; e++)
        add(m, config, e, m->edges[e]);
    if (slo->has_latency)
        add(m, config, JUDGE_EDGES, metrics_bucket((uint64_t)slo->latency_ms * 1000));
}
