#include "judge/judge.h"

#include "base/assert.h"
#include "judge/judge_internal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const double ALPHA_PASS = .05, MAX_WORSE = 1;
/* What instances use is always watched: it must not cost the other metrics much of their alpha. */
static const double WEIGHT_USED = .25;

const char *judgement_word(enum judgement judgement)
{
    static const char *const words[JUDGEMENTS_COUNT] = {
#define X(name, word) [name] = word,
        JUDGEMENTS(X)
#undef X
    };
    ASSERT(judgement < JUDGEMENTS_COUNT);
    return words[judgement];
}

const char *judge_extra_word(enum judge_extra_kind kind)
{
    static const char *const words[EXTRA_KINDS] = {
#define X(name, word, title) [name] = word,
        JUDGE_EXTRA_KINDS(X)
#undef X
    };
    ASSERT(kind < EXTRA_KINDS);
    return words[kind];
}

bool judgement_rolls_back(enum judgement judgement)
{
    return judgement >= JUDGEMENT_ERRORS;
}

void judge_choose_marks(const uint64_t *counts, size_t len, uint32_t least,
                        uint32_t marks[JUDGE_MARKS])
{
    static const double quantiles[JUDGE_MARKS] = {.5, .9, .95, .99};
    double total = 0, below = 0;
    size_t quantile = 0;
    for (size_t i = 0; i < JUDGE_MARKS; i++)
        marks[i] = (uint32_t)len;
    for (size_t i = 0; i < len; i++)
        total += (double)counts[i];
    for (size_t i = 0; i + 1 < len && total > 0; i++) {
        below += (double)counts[i];
        uint32_t mark = (uint32_t)i + 1 > least ? (uint32_t)i + 1 : least;
        for (; quantile < JUDGE_MARKS && below >= quantiles[quantile] * total; quantile++)
            marks[quantile] = mark < len ? mark : (uint32_t)len;
    }
}

size_t judge_choose_edges(const uint64_t *counts, size_t len, uint32_t least,
                          uint32_t edges[JUDGE_MARKS])
{
    uint32_t marks[JUDGE_MARKS];
    size_t found = 0;
    judge_choose_marks(counts, len, least, marks);
    for (size_t i = 0; i < JUDGE_MARKS; i++)
        if (marks[i] < len && (found == 0 || edges[found - 1] < marks[i]))
            edges[found++] = marks[i];
    return found;
}

static void init_extras(struct judge *j, const struct judge_config *config)
{
    ASSERT(config->extras_len <= JUDGE_EXTRAS);
    j->extras_len = config->has_stable ? config->extras_len : 0;
    for (uint32_t i = 0; i < j->extras_len; i++) {
        const struct judge_extra *from = &config->extras[i];
        snprintf(j->extras[i].name, JUDGE_NAME_MAX, "%s", from->name);
        j->extras[i].kind = from->kind;
        pair_init(&j->extras[i].test, from->test.tolerance, from->test.less_is_worse);
    }
}

void judge_init(struct judge *j, const struct judge_config *config)
{
    ASSERT(config->alpha > 0 && config->alpha < 1);
    ASSERT(config->alpha_pass >= 0 && config->alpha_pass < 1 && config->max_worse >= 0);
    memset(j, 0, sizeof *j);
    j->alpha = config->alpha;
    j->alpha_pass = config->alpha_pass > 0 ? config->alpha_pass : ALPHA_PASS;
    j->allowed = 1 + (config->max_worse > 0 ? config->max_worse : MAX_WORSE);
    j->min_requests = config->min_requests;
    j->has_stable = config->has_stable;
    curve_init(&j->errors);
    curve_init(&j->errors_once);
    for (size_t i = 0; i < JUDGE_EDGES; i++)
        curve_init(&j->latency[i]);
    ceiling_init(&j->slo_errors, config->slo_error_rate);
    ceiling_init(&j->slo_latency, config->slo_latency_share);
    ceiling_init(&j->negligible_errors, config->negligible_error_rate);
    judge_set_edges(j, config->edges, config->edges_len);
    if (config->compares_answers)
        difference_init(&j->differences, config->differences);
    init_extras(j, config);
}

void judge_set_edges(struct judge *j, const uint32_t *edges, uint32_t len)
{
    ASSERT(len <= JUDGE_EDGES && j->edges_len == 0);
    j->edges_len = j->has_stable ? len : 0;
    for (uint32_t i = 0; i < j->edges_len; i++)
        j->edges[i] = edges[i];
}

void judge_differed(struct judge *j, const struct judge_compared *more)
{
    ASSERT(j->differences.used);
    difference_update(&j->differences, more);
}

void judge_pair(struct judge *j, uint32_t extra, double candidate, double stable)
{
    ASSERT(extra < j->extras_len);
    pair_update(&j->extras[extra].test, candidate, stable);
}

struct pair_test *judge_used(struct judge *j, enum judge_extra_kind kind)
{
    ASSERT(kind != EXTRA_ASKED);
    for (uint32_t i = 0; i < j->extras_len; i++)
        if (j->extras[i].kind == kind)
            return &j->extras[i].test;
    return NULL;
}

/* ---- looking
 * ------------------------------------------------------------------------------------------ */

bool judge_has_slo(const struct judge *j)
{
    return j->slo_errors.p_max > 0 || j->slo_latency.p_max > 0;
}

/* Fixed by what is configured, never by what was seen: a mean with such weights is an e-process
 * too. The comparison with stable has most of it, for it decides whenever stable is there. */
void judge_weigh(const struct judge *j, double weights[METRICS_COUNT])
{
    double sum = 0;
    weights[METRIC_ERRORS] = j->has_stable ? 4 : 0;
    weights[METRIC_LATENCY] = j->has_stable ? 3 : 0; /* also before its edges are known */
    weights[METRIC_SLO_ERRORS] = j->slo_errors.p_max > 0 ? 1 : 0;
    weights[METRIC_SLO_LATENCY] = j->slo_latency.p_max > 0 ? 1 : 0;
    weights[METRIC_DIFFERENCES] = difference_decides(&j->differences) ? 4 : 0;
    for (uint32_t i = 0; i < JUDGE_EXTRAS; i++)
        weights[METRIC_EXTRA + i] = i >= j->extras_len                 ? 0
                                    : j->extras[i].kind == EXTRA_ASKED ? 1
                                                                       : WEIGHT_USED;
    for (int i = 0; i < METRICS_COUNT; i++)
        sum += weights[i];
    for (int i = 0; i < METRICS_COUNT && sum > 0; i++)
        weights[i] /= sum;
}

/* Going back to a release that is even worse helps nobody. */
static bool ceiling_counts(const struct judge *j, const struct ceiling *c, uint64_t events,
                           uint64_t stable_events)
{
    uint64_t requests = j->errors.candidate_requests, stable_requests = j->errors.stable_requests;
    if (c->p_max <= 0 || requests == 0 || requests < j->min_requests)
        return false;
    if (!j->has_stable || stable_requests == 0)
        return true;
    double stable = (double)stable_events / (double)stable_requests;
    double candidate = (double)events / (double)requests;
    return stable > c->p_max && candidate >= stable;
}

/* Both curves are the same then, and one of them need not be looked at. */
static bool nothing_repeats(const struct judge *j)
{
    return j->errors.candidate_events == j->errors_once.candidate_events &&
           j->errors.stable_events == j->errors_once.stable_events;
}

const struct curve *errors_worse(const struct judge *j)
{
    bool all = nothing_repeats(j) || curve_worse_log(&j->errors) < curve_worse_log(&j->errors_once);
    return all ? &j->errors : &j->errors_once;
}

const struct curve *errors_no_worse(const struct judge *j)
{
    bool all =
        nothing_repeats(j) || curve_no_worse_log(&j->errors) < curve_no_worse_log(&j->errors_once);
    return all ? &j->errors : &j->errors_once;
}

static double latency_log(const struct judge *j, uint32_t *strongest)
{
    double logs[JUDGE_EDGES];
    *strongest = 0;
    for (uint32_t i = 0; i < j->edges_len; i++) {
        logs[i] = tail_worse_log(&j->tail[i]);
        if (logs[i] > logs[*strongest])
            *strongest = i;
    }
    return j->edges_len != 0 ? log_mean_exp(logs, j->edges_len) : 0; /* none yet: E = 1 */
}

void evidence_gather(const struct judge *j, struct evidence *e)
{
    uint64_t requests = j->errors.candidate_requests, errors = j->errors.candidate_events;
    bool counts[METRICS_COUNT];
    memset(e, 0, sizeof *e);
    judge_weigh(j, e->weight);
    for (int i = 0; i < METRICS_COUNT; i++)
        counts[i] = e->weight[i] > 0;
    e->log_e[METRIC_ERRORS] = curve_worse_log(errors_worse(j));
    e->log_e[METRIC_LATENCY] = latency_log(j, &e->latency_edge);
    e->log_e[METRIC_SLO_ERRORS] = ceiling_over_log(&j->slo_errors, errors, requests);
    counts[METRIC_SLO_ERRORS] = ceiling_counts(j, &j->slo_errors, errors, j->errors.stable_events);
    e->log_e[METRIC_SLO_LATENCY] =
        ceiling_over_log(&j->slo_latency, j->candidate_above_slo, requests);
    counts[METRIC_SLO_LATENCY] =
        ceiling_counts(j, &j->slo_latency, j->candidate_above_slo, j->stable_above_slo);
    e->log_e[METRIC_DIFFERENCES] = difference_worse_log(&j->differences);
    for (uint32_t i = 0; i < j->extras_len; i++)
        e->log_e[METRIC_EXTRA + i] = pair_worse_log(&j->extras[i].test);
    e->strongest = METRIC_ERRORS;
    for (int i = 0; i < METRICS_COUNT; i++) {
        e->weighted_log[i] = counts[i] ? e->log_e[i] + log(e->weight[i]) : -INFINITY;
        if (e->weighted_log[i] > e->weighted_log[e->strongest])
            e->strongest = (enum metric)i;
    }
    e->total_log = log_mean_exp(e->weighted_log, METRICS_COUNT) + log(METRICS_COUNT);
}

static enum judgement judgement_of(enum metric metric)
{
    switch (metric) {
    case METRIC_ERRORS: return JUDGEMENT_ERRORS;
    case METRIC_LATENCY: return JUDGEMENT_LATENCY;
    case METRIC_SLO_ERRORS:
    case METRIC_SLO_LATENCY: return JUDGEMENT_SLO;
    case METRIC_DIFFERENCES: return JUDGEMENT_DIFFERENCES;
    default: return JUDGEMENT_METRIC;
    }
}

static bool has_data(const struct judge *j)
{
    bool comparable = j->errors.stable_requests != 0 || !j->has_stable || judge_has_slo(j);
    bool pairs = false;
    for (uint32_t i = 0; i < j->extras_len; i++)
        pairs = pairs || (j->extras[i].kind == EXTRA_ASKED &&
                          j->extras[i].test.worse + j->extras[i].test.not_worse != 0);
    return (j->errors.candidate_requests != 0 && comparable) || pairs ||
           j->differences.seen.pairs != 0;
}

static enum judgement judge_by(const struct judge *j, const struct evidence *e)
{
    if (e->total_log >= -log(j->alpha))
        return judgement_of(e->strongest);
    if (!has_data(j))
        return JUDGEMENT_NO_DATA;
    return fineness_reached(j) ? JUDGEMENT_PASS : JUDGEMENT_CONTINUE;
}

/* Most looks see evidence that is far from enough: no mixture has to be computed to say so, for it
 * is no more than its largest part, and E no more than the largest E_i. */
static bool far_from_rolling_back(const struct judge *j)
{
    double most = fmax(fmin(curve_worse_most(&j->errors), curve_worse_most(&j->errors_once)), 0);
    for (uint32_t i = 0; i < j->edges_len; i++)
        most = fmax(most, tail_worse_most(&j->tail[i]));
    for (uint32_t i = 0; i < j->extras_len; i++)
        most = fmax(most, pair_worse_log(&j->extras[i].test));
    most = fmax(most, difference_worse_log(&j->differences));
    uint64_t requests = j->errors.candidate_requests;
    most = fmax(most, ceiling_over_log(&j->slo_errors, j->errors.candidate_events, requests));
    most = fmax(most, ceiling_over_log(&j->slo_latency, j->candidate_above_slo, requests));
    return most < -log(j->alpha);
}

enum judgement judge_verdict(const struct judge *j)
{
    struct evidence e = {0}; /* nothing */
    if (!far_from_rolling_back(j))
        evidence_gather(j, &e);
    return judge_by(j, &e);
}

/* What is watched whether it is worse says more than "nothing yet". */
static enum metric metric_to_tell(const struct judge *j, const struct evidence *e)
{
    if (e->strongest >= METRIC_DIFFERENCES && e->total_log > 0)
        return e->strongest;
    if (j->has_stable && j->errors.stable_requests != 0)
        return e->strongest == METRIC_LATENCY && e->total_log > 0 ? METRIC_LATENCY : METRIC_ERRORS;
    return j->slo_errors.p_max > 0 || j->slo_latency.p_max <= 0 ? METRIC_SLO_ERRORS
                                                                : METRIC_SLO_LATENCY;
}

enum judgement judge_look(const struct judge *j, struct buf *text)
{
    struct evidence e;
    evidence_gather(j, &e);
    enum judgement judgement = judge_by(j, &e);
    if (judgement == JUDGEMENT_NO_DATA) {
        sentence_no_data(j, text);
        return judgement;
    }
    sentence_evidence(j, &e, judgement_rolls_back(judgement) ? e.strongest : metric_to_tell(j, &e),
                      text);
    if (judgement == JUDGEMENT_PASS)
        sentence_pass(j, text);
    return judgement;
}

enum judgement judge_at_end(const struct judge *j, struct buf *text)
{
    struct fineness f;
    enum judgement judgement = judge_look(j, text);
    if (judgement != JUDGEMENT_CONTINUE)
        return judgement;
    fineness_gather(j, &f);
    sentence_inconclusive(j, &f, text);
    return JUDGEMENT_INCONCLUSIVE;
}
