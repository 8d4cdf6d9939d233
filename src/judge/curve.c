#include "base/assert.h"
#include "judge/judge_internal.h"

#include <math.h>
#include <string.h>

/* Smaller terms change nothing in the sum's 16 digits. */
static const double NEGLIGIBLE_LOG = -37;

static double most_of(const double *logs, size_t len)
{
    double most = logs[0];
    for (size_t i = 1; i < len; i++)
        most = logs[i] > most ? logs[i] : most;
    return most;
}

double log_mean_exp(const double *logs, size_t len)
{
    ASSERT(len > 0);
    double most = most_of(logs, len), sum = 0;
    if (most == -INFINITY)
        return most;
    for (size_t i = 0; i < len; i++)
        if (logs[i] - most > NEGLIGIBLE_LOG)
            sum += exp(logs[i] - most);
    return most + log(sum / (double)len);
}

/* ---- the grid
 * -------------------------------------------------------------------------------------------- */

struct segment {
    double least, most;
    int at, len;
};
static const struct segment segments[] = {{.01, .16, 0, CURVE_LOW},
                                          {.2, 1, CURVE_BETTER_AT, CURVE_BETTER},
                                          {1.118, 1.118, CURVE_MIDDLE_AT, CURVE_MIDDLE},
                                          {1.25, 200, CURVE_WORSE_AT, CURVE_WORSE}};
enum { SEGMENTS = sizeof segments / sizeof segments[0] };

double curve_log_ratio(int point)
{
    for (int i = SEGMENTS - 1;; i--) {
        const struct segment *s = &segments[i];
        if (point < s->at)
            continue;
        double step = s->len > 1 ? log(s->most / s->least) / (s->len - 1) : 0;
        return log(s->least) + (point - s->at) * step;
    }
}

/* ln(1 - rho + rho*ratio) and ln(ratio), `scale` times the segment's ratios. */
static void fill(const struct segment *s, double share, double scale, double *log_ratio,
                 double *log_mix)
{
    double log_step = s->len > 1 ? log(s->most / s->least) / (s->len - 1) : 0;
    double log_at = log(s->least), growth = exp(log_step), ratio = s->least * scale;
    for (int i = 0; i < s->len; i++, ratio *= growth) {
        log_ratio[i] = log_at + i * log_step;
        log_mix[i] = log(1 - share + share * ratio);
    }
}

void shares_init(struct shares *s, uint64_t candidate_requests, uint64_t stable_requests,
                 double allowed)
{
    ASSERT(candidate_requests > 0 && stable_requests > 0);
    s->share = (double)candidate_requests / ((double)candidate_requests + (double)stable_requests);
    for (int i = 0; i < SEGMENTS; i++)
        fill(&segments[i], s->share, 1, s->log_ratio + segments[i].at, s->log_mix + segments[i].at);
    shares_allow(s, allowed);
}

void shares_allow(struct shares *s, double allowed)
{
    ASSERT(allowed > 1);
    s->log_ratio_allowed = log(allowed);
    s->log_mix_allowed = log1p(s->share * (allowed - 1));
}

/* ---- the curve
 * ------------------------------------------------------------------------------------------- */

void curve_init(struct curve *c)
{
    memset(c, 0, sizeof *c);
    c->high = INFINITY;
}

void curve_count(struct curve *c, uint64_t candidate_events, uint64_t candidate_requests,
                 uint64_t stable_events, uint64_t stable_requests)
{
    ASSERT(candidate_events <= candidate_requests && stable_events <= stable_requests);
    c->candidate_events += candidate_events;
    c->candidate_requests += candidate_requests;
    c->stable_events += stable_events;
    c->stable_requests += stable_requests;
}

void curve_update(struct curve *c, const struct shares *s, uint64_t candidate_events,
                  uint64_t stable_events)
{
    double mine = (double)candidate_events, all = mine + (double)stable_events;
    for (int i = 0; i < CURVE_POINTS; i++)
        c->log_likelihood[i] += mine * s->log_ratio[i] - all * s->log_mix[i];
    c->at_allowed += mine * s->log_ratio_allowed - all * s->log_mix_allowed;
}

double curve_worse_log(const struct curve *c)
{
    return log_mean_exp(c->log_likelihood + CURVE_WORSE_AT, CURVE_WORSE);
}

double curve_worse_most(const struct curve *c)
{
    return most_of(c->log_likelihood + CURVE_WORSE_AT, CURVE_WORSE);
}

double curve_no_worse_log(const struct curve *c)
{
    return log_mean_exp(c->log_likelihood + CURVE_BETTER_AT, CURVE_BETTER) - c->at_allowed;
}

/* Where the line through two points of the curve has the height `bar`. */
static double crossing(const struct curve *c, int a, int b, double bar)
{
    double ua = curve_log_ratio(a), ub = curve_log_ratio(b);
    double slope = (c->log_likelihood[b] - c->log_likelihood[a]) / (ub - ua);
    return slope != 0 ? ua + (bar - c->log_likelihood[a]) / slope : ub;
}

/* The lowest (step 1) or highest (step -1) ln(lambda) of the set; first and last are the ends of
 * the grid in the direction of the search. A line that bounds the curve from above and is still
 * over the bar everywhere in the gap (no rise towards the set) bounds nothing there. */
static double end_of_set(const struct curve *c, double bar, int first, int last, int step)
{
    const double *l = c->log_likelihood;
    int in = first;
    while (in != last && l[in] <= bar)
        in += step;
    double outside = step > 0 ? -INFINITY : INFINITY, found = outside;
    double towards = step; /* the set's side is where u * towards is larger */
    if (in != first) {
        found = curve_log_ratio(in - step);
        if (in - step != first)
            found = crossing(c, in - 2 * step, in - step, bar);
    }
    if (in != last && l[in + step] > l[in]) {
        double u = crossing(c, in, in + step, bar);
        if (found == outside || u * towards > found * towards)
            found = u;
    }
    return found;
}

void curve_set(const struct curve *c, double alpha, double *low, double *high)
{
    double bar = log_mean_exp(c->log_likelihood, CURVE_POINTS) + log(alpha);
    *low = c->candidate_events != 0 ? exp(end_of_set(c, bar, 0, CURVE_POINTS - 1, 1)) : 0;
    *high = c->stable_events != 0 ? exp(end_of_set(c, bar, CURVE_POINTS - 1, 0, -1)) : INFINITY;
}

void curve_interval(const struct curve *c, double alpha, double *low, double *high, bool *moved)
{
    double now_low, now_high;
    curve_set(c, alpha, &now_low, &now_high);
    *low = fmax(now_low, c->low);
    *high = fmin(now_high, c->high);
    *moved = c->moved || *low > *high;
    if (*low > *high) {
        *low = now_low;
        *high = now_high;
    }
}

/* Any subset of the looks serves: those at which there is a fiftieth more to see. */
void curve_narrow(struct curve *c, double alpha)
{
    uint64_t events = c->candidate_events + c->stable_events;
    if (events < c->narrowed_events + c->narrowed_events / 50)
        return;
    c->narrowed_events = events;
    curve_interval(c, alpha, &c->low, &c->high, &c->moved);
}

/* ---- the tail
 * -------------------------------------------------------------------------------------------- */

void tail_shares_init(struct tail_shares *t, const struct shares *s, double slower)
{
    ASSERT(slower >= 1);
    fill(&segments[SEGMENTS - 1], s->share, slower, t->log_ratio_worse, t->log_mix_worse);
    double log_null = log1p(s->share * (slower - 1));
    for (int i = 0; i < CURVE_WORSE; i++)
        t->log_mix_worse[i] -= log_null;
}

static double capped(double gain, double most)
{
    return gain < most ? gain : most;
}

void tail_update(struct tail *t, const struct tail_shares *ts, const struct shares *s,
                 uint64_t candidate_events, uint64_t stable_events)
{
    double mine = (double)candidate_events, all = mine + (double)stable_events;
    double most = log(TAIL_PER_BATCH);
    for (int i = 0; i < CURVE_WORSE; i++)
        t->worse[i] += capped(mine * ts->log_ratio_worse[i] - all * ts->log_mix_worse[i], most);
    const double *log_ratio = s->log_ratio + CURVE_BETTER_AT,
                 *log_mix = s->log_mix + CURVE_BETTER_AT;
    double null = mine * s->log_ratio_allowed - all * s->log_mix_allowed;
    for (int i = 0; i < CURVE_BETTER; i++)
        t->no_worse[i] += capped(mine * log_ratio[i] - all * log_mix[i] - null, most);
}

double tail_worse_log(const struct tail *t)
{
    return log_mean_exp(t->worse, CURVE_WORSE);
}

double tail_worse_most(const struct tail *t)
{
    return most_of(t->worse, CURVE_WORSE);
}

double tail_no_worse_log(const struct tail *t)
{
    return log_mean_exp(t->no_worse, CURVE_BETTER);
}
