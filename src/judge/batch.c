/* What a tick brought, counted and compared; batches that are long enough to be compared. */
#include "base/assert.h"
#include "judge/judge_internal.h"

#include <string.h>

/* Counters of several threads are not read at one instant: an error may be seen a batch before its
 * request. */
static uint64_t at_most(uint64_t events, uint64_t requests)
{
    return events < requests ? events : requests;
}

/* What a pair of counts makes of the grid is some hundred logarithms, and little else of a batch
 * costs anything. Where there are few requests the same pairs come again and again. */
struct known_shares {
    uint64_t candidate_requests, stable_requests; /* 0 and 0: none */
    struct shares shares;
    struct tail_shares tail; /* once it was asked for */
    bool has_tail;
};
enum { KNOWN_SHARES = 64 };
static _Thread_local struct known_shares known[KNOWN_SHARES];

static struct known_shares *shares_of(uint64_t nc, uint64_t nb, double allowed)
{
    struct known_shares *k = &known[(nc * 11 + nb) % KNOWN_SHARES];
    if (k->candidate_requests == nc && k->stable_requests == nb) {
        shares_allow(&k->shares, allowed);
        return k;
    }
    k->candidate_requests = nc;
    k->stable_requests = nb;
    k->has_tail = false;
    shares_init(&k->shares, nc, nb, allowed);
    return k;
}

static void compare_errors(struct curve *errors, uint64_t candidate, uint64_t stable,
                           const struct shares *shares)
{
    if (candidate + stable == 0)
        return;
    curve_update(errors, shares, candidate, stable);
    curve_narrow(errors, JUDGE_SHOWN_ALPHA);
}

static void compare_latency(struct judge *j, const struct judge_arm *candidate,
                            const struct judge_arm *stable, struct known_shares *k)
{
    if (!k->has_tail)
        tail_shares_init(&k->tail, &k->shares, JUDGE_SLOWER_ALLOWED);
    k->has_tail = true;
    for (uint32_t i = 0; i < j->edges_len; i++) {
        uint64_t c = at_most(candidate->above[i], candidate->requests),
                 b = at_most(stable->above[i], stable->requests);
        if (c + b == 0)
            continue;
        curve_update(&j->latency[i], &k->shares, c, b);
        curve_narrow(&j->latency[i], JUDGE_SHOWN_ALPHA);
        tail_update(&j->tail[i], &k->tail, &k->shares, c, b);
    }
}

static void count_in(struct judge *j, const struct judge_arm *candidate,
                     const struct judge_arm *stable)
{
    uint64_t nc = candidate->requests, nb = stable->requests;
    if (nc == 0 && nb == 0)
        return;
    uint64_t c = at_most(candidate->errors, nc), b = at_most(stable->errors, nb);
    uint64_t c_once = c - at_most(candidate->repeats, c), b_once = b - at_most(stable->repeats, b);
    curve_count(&j->errors, c, nc, b, nb);
    curve_count(&j->errors_once, c_once, nc, b_once, nb);
    for (uint32_t i = 0; i < j->edges_len; i++)
        curve_count(&j->latency[i], at_most(candidate->above[i], nc), nc,
                    at_most(stable->above[i], nb), nb);
    j->candidate_above_slo += at_most(candidate->above_slo, nc);
    j->stable_above_slo += at_most(stable->above_slo, nb);
}

static void compare(struct judge *j, const struct judge_arm *candidate,
                    const struct judge_arm *stable)
{
    uint64_t nc = candidate->requests, nb = stable->requests;
    if (nc == 0 && nb == 0)
        return;
    uint64_t c = at_most(candidate->errors, nc), b = at_most(stable->errors, nb);
    uint64_t c_once = c - at_most(candidate->repeats, c), b_once = b - at_most(stable->repeats, b);
    j->silent_batches += nc == 0 || nb == 0;
    bool slow = false; /* anything above a mark */
    for (uint32_t i = 0; i < j->edges_len; i++)
        slow = slow || candidate->above[i] + stable->above[i] != 0;
    if (nc == 0 || nb == 0 || (c + b == 0 && !slow))
        return;
    struct known_shares *k = shares_of(nc, nb, j->allowed);
    compare_errors(&j->errors, c, b, &k->shares);
    compare_errors(&j->errors_once, c_once, b_once, &k->shares);
    if (!slow)
        return;
    shares_allow(&k->shares, judge_latency_allowed(j));
    compare_latency(j, candidate, stable, k);
}

void judge_batch(struct judge *j, const struct judge_arm *candidate, const struct judge_arm *stable)
{
    count_in(j, candidate, stable);
    compare(j, candidate, stable);
}

/* ---- batches that are long enough
 * ---------------------------------------------------------------------------- */

static void add(struct judge_arm *sum, const struct judge_arm *arm)
{
    sum->requests += arm->requests;
    sum->errors += arm->errors;
    sum->repeats += arm->repeats;
    for (int i = 0; i < JUDGE_EDGES; i++)
        sum->above[i] += arm->above[i];
    sum->above_slo += arm->above_slo;
}

static bool is_full(const struct judge_gathering *g, int64_t now_ms)
{
    uint64_t nc = g->candidate.requests, nb = g->stable.requests, least = nc < nb ? nc : nb;
    int64_t age_ms = now_ms - g->since_ms;
    return least >= JUDGE_BATCH_REQUESTS || (least > 0 && age_ms >= JUDGE_BATCH_FEW_MS) ||
           age_ms >= JUDGE_BATCH_MOST_MS;
}

void judge_gather(struct judge *j, struct judge_gathering *g, const struct judge_arm *candidate,
                  const struct judge_arm *stable, bool ends, int64_t now_ms)
{
    count_in(j, candidate, stable);
    bool empty = g->candidate.requests == 0 && g->stable.requests == 0;
    if (empty || now_ms < g->since_ms) /* the clock was set back */
        g->since_ms = now_ms;
    add(&g->candidate, candidate);
    add(&g->stable, stable);
    if (!ends && !is_full(g, now_ms))
        return;
    compare(j, &g->candidate, &g->stable);
    memset(g, 0, sizeof *g);
}
