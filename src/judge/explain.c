#include "judge/judge_internal.h"

#include <math.h>
#include <stdio.h>

/* What a mixture pays for not knowing the alternative beforehand; paid once there is evidence. */
static const double MIXTURE_COST = 1.2;

/* Requests of the candidate until ln E is at the bar, at that growth for each. */
static double requests_for(double log_bar, double log_e, double growth)
{
    double missing = log_bar - log_e + MIXTURE_COST * exp(-fmax(0, log_e));
    if (log_e >= log_bar)
        return 0;
    return growth > 1e-12 ? ceil(missing / growth) : INFINITY;
}

static double rate_of(uint64_t events, uint64_t requests)
{
    return requests != 0 ? (double)events / (double)requests : 0;
}

static void fill_arms(struct metric_report *m, uint64_t c, uint64_t nc, uint64_t b, uint64_t nb)
{
    m->candidate_events = c;
    m->candidate_requests = nc;
    m->stable_events = b;
    m->stable_requests = nb;
    m->candidate_rate = rate_of(c, nc);
    m->stable_rate = rate_of(b, nb);
    rate_interval(c, nc, JUDGE_SHOWN_ALPHA, &m->candidate_low, &m->candidate_high);
    rate_interval(b, nb, JUDGE_SHOWN_ALPHA, &m->stable_low, &m->stable_high);
    m->ratio = b != 0 && nc != 0 ? m->candidate_rate / m->stable_rate : NAN;
    m->ratio_high = INFINITY;
}

static void fill_curve(struct metric_report *m, const struct curve *c)
{
    fill_arms(m, c->candidate_events, c->candidate_requests, c->stable_events, c->stable_requests);
    curve_interval(c, JUDGE_SHOWN_ALPHA, &m->ratio_low, &m->ratio_high, &m->ratio_moved);
}

/* The rates are those of all errors, the ratio is what either comparison leaves possible. */
static void fill_errors(struct metric_report *m, const struct judge *j)
{
    double low, high;
    bool moved;
    fill_curve(m, &j->errors);
    curve_interval(&j->errors_once, JUDGE_SHOWN_ALPHA, &low, &high, &moved);
    m->ratio_low = fmin(m->ratio_low, low);
    m->ratio_high = fmax(m->ratio_high, high);
    m->ratio_moved = m->ratio_moved && moved;
    m->candidate_repeats = j->errors.candidate_events - j->errors_once.candidate_events;
    m->stable_repeats = j->errors.stable_events - j->errors_once.stable_events;
}

/* ---- how much more it needs
 * --------------------------------------------------------------------------------- */

static double ratio_of(const struct curve *c)
{
    if (c->stable_events == 0)
        return c->candidate_events != 0 ? INFINITY : 1;
    return rate_of(c->candidate_events, c->candidate_requests) /
           rate_of(c->stable_events, c->stable_requests);
}

/* Growth of ln E per request of the candidate, of the comparison with stable. */
static double growth_against_stable(const struct curve *c, double null)
{
    double nc = (double)c->candidate_requests, nb = (double)c->stable_requests;
    double events = (double)c->candidate_events + (double)c->stable_events;
    if (nc == 0 || nb == 0 || events == 0)
        return 0;
    double ratio = c->stable_events != 0 ? ratio_of(c) : INFINITY;
    return growth_of_ratio(nc / (nc + nb), ratio, null) * events / nc;
}

/* worse, fine: the evidence that m has against it and for it. */
static void needs_against_stable(struct metric_report *m, const struct curve *worse,
                                 const struct curve *fine, const struct judge_report *r,
                                 double null_worse, double null_fine, bool two_ways)
{
    m->needs_to_roll_back = m->needs_to_pass = INFINITY;
    if (ratio_of(worse) > null_worse)
        m->needs_to_roll_back = requests_for(r->log_bar - log(m->weight), m->log_e,
                                             growth_against_stable(worse, null_worse));
    if (ratio_of(fine) < null_fine)
        m->needs_to_pass = requests_for(r->log_pass_bar + (two_ways ? log(2) : 0), m->log_fine,
                                        growth_against_stable(fine, null_fine));
}

static double needs_to_keep(const struct metric_report *m, const struct judge_report *r,
                            const struct ceiling *c, bool two_ways)
{
    if (c->p_max <= 0 || c->p_max >= 1 || m->candidate_requests == 0 ||
        m->candidate_rate >= c->p_max)
        return INFINITY;
    return requests_for(r->log_pass_bar + (two_ways ? log(2) : 0), m->log_fine,
                        growth_of_rate(m->candidate_rate, c->p_max));
}

static void settle(struct metric_report *m, const struct judge_report *r)
{
    m->fine = m->guarded && m->log_fine >= r->log_pass_bar;
    if (m->fine)
        m->needs_to_pass = 0;
    if (m->log_worse >= r->log_bar)
        m->needs_to_roll_back = 0;
}

/* ---- the metrics
 * -------------------------------------------------------------------------------------------- */

static struct metric_report *add(struct judge_report *r, enum metric metric, const char *name,
                                 const struct evidence *e, const struct fineness *f)
{
    struct metric_report *m = &r->metrics[r->len++];
    *m = (struct metric_report){.name = name,
                                .weight = e->weight[metric],
                                .log_e = e->log_e[metric],
                                .log_worse = e->weighted_log[metric],
                                .guarded = f->guarded[metric],
                                .log_fine = f->log_e[metric],
                                .needs_to_roll_back = INFINITY,
                                .needs_to_pass = INFINITY};
    return m;
}

static void add_errors(const struct judge *j, struct judge_report *r, const struct evidence *e,
                       const struct fineness *f)
{
    struct metric_report *m = add(r, METRIC_ERRORS, "errors", e, f);
    const struct ceiling *c = j->slo_errors.p_max > 0 ? &j->slo_errors : &j->negligible_errors;
    bool two_ways = j->has_stable && c->p_max > 0;
    fill_errors(m, j);
    if (j->has_stable)
        needs_against_stable(m, errors_worse(j), errors_no_worse(j), r, 1, j->allowed, two_ways);
    m->needs_to_pass = fmin(m->needs_to_pass, needs_to_keep(m, r, c, two_ways));
    settle(m, r);
}

static void add_latency(const struct judge *j, struct judge_report *r, const struct evidence *e,
                        const struct fineness *f)
{
    struct metric_report *m = add(r, METRIC_LATENCY, "latency", e, f);
    /* Of several marks the one that matters: that speaks against it, else that it waits for. */
    uint32_t edge = e->log_e[METRIC_LATENCY] > 0 ? e->latency_edge : f->latency_edge;
    struct ceiling negligible;
    ceiling_init(&negligible, JUDGE_SLOWER_NEGLIGIBLE);
    fill_curve(m, &j->latency[edge]);
    needs_against_stable(m, &j->latency[edge], &j->latency[edge], r, JUDGE_SLOWER_ALLOWED,
                         judge_latency_allowed(j), true);
    m->needs_to_pass = fmin(m->needs_to_pass, needs_to_keep(m, r, &negligible, true));
    settle(m, r);
}

static void add_ceiling(const struct judge *j, struct judge_report *r, const struct evidence *e,
                        const struct fineness *f, enum metric metric)
{
    bool latency = metric == METRIC_SLO_LATENCY;
    const struct ceiling *c = latency ? &j->slo_latency : &j->slo_errors;
    struct metric_report *m = add(r, metric, latency ? "slo-latency" : "slo-errors", e, f);
    fill_arms(m, latency ? j->candidate_above_slo : j->errors.candidate_events,
              j->errors.candidate_requests, latency ? j->stable_above_slo : j->errors.stable_events,
              j->errors.stable_requests);
    if (m->log_worse > -INFINITY && m->candidate_rate > c->p_max && c->over_len != 0)
        m->needs_to_roll_back = requests_for(r->log_bar - log(m->weight), m->log_e,
                                             growth_of_rate(m->candidate_rate, c->p_max));
    if (latency && !j->has_stable) { /* the only way for the latency to be fine */
        m->guarded = f->guarded[METRIC_LATENCY];
        m->log_fine = f->log_e[METRIC_LATENCY];
        m->needs_to_pass = needs_to_keep(m, r, c, false);
    }
    settle(m, r);
}

static void add_differences(const struct judge *j, struct judge_report *r, const struct evidence *e,
                            const struct fineness *f)
{
    const struct difference_test *d = &j->differences;
    struct metric_report *m = add(r, METRIC_DIFFERENCES, "differences", e, f);
    fill_arms(m, d->seen.differed, d->seen.pairs, 0, 0);
    if (difference_decides(d) && d->tolerated > 0 && m->candidate_rate > d->tolerated)
        m->needs_to_roll_back = requests_for(r->log_bar - log(m->weight), m->log_e,
                                             growth_of_rate(m->candidate_rate, d->tolerated));
    m->needs_to_pass = needs_to_keep(m, r, &d->ceiling, false);
    settle(m, r);
}

static void add_extra(const struct judge *j, struct judge_report *r, const struct evidence *e,
                      const struct fineness *f, uint32_t i)
{
    const struct pair_test *p = &j->extras[i].test;
    struct metric_report *m = add(r, METRIC_EXTRA + i, j->extras[i].name, e, f);
    uint64_t pairs = p->worse + p->not_worse;
    double share = rate_of(p->worse, pairs);
    m->is_pair = true;
    m->candidate_events = p->worse;
    m->candidate_requests = m->stable_requests = pairs;
    m->stable_events = p->not_worse;
    m->candidate_rate = p->candidate_last;
    m->stable_rate = p->stable_last;
    m->ratio = p->stable_last != 0 ? p->candidate_last / p->stable_last : NAN;
    m->ratio_high = INFINITY;
    if (pairs != 0 && share > .5)
        m->needs_to_roll_back = requests_for(r->log_bar - log(m->weight), m->log_e,
                                             growth_of_rate(fmin(share, .99), .5));
    if (m->guarded && pairs != 0 && share < .5)
        m->needs_to_pass =
            requests_for(r->log_pass_bar, m->log_fine, growth_of_rate(fmax(share, .01), .5));
    settle(m, r);
}

/* The verdict that comes first: one metric rolls back, all together pass. Pairs come at their own
 * pace, which nobody knows here. */
static double needs_in_all(const struct judge_report *r)
{
    double back = INFINITY, pass = 0;
    bool guarded = false;
    for (size_t i = 0; i < r->len; i++) {
        const struct metric_report *m = &r->metrics[i];
        if (m->is_pair)
            continue;
        back = fmin(back, m->needs_to_roll_back);
        if (m->guarded)
            pass = fmax(pass, m->needs_to_pass);
        guarded = guarded || m->guarded;
    }
    return fmin(back, guarded ? pass : INFINITY);
}

void judge_explain(const struct judge *j, double requests_per_s, struct judge_report *out)
{
    struct evidence e;
    struct fineness f;
    cleanup_buf struct buf text = BUF_INIT;
    evidence_gather(j, &e);
    fineness_gather(j, &f);
    *out = (struct judge_report){.judgement = judge_look(j, &text),
                                 .log_e = e.total_log,
                                 .log_bar = -log(j->alpha),
                                 .log_pass_bar = -log(j->alpha_pass)};
    add_errors(j, out, &e, &f);
    if (j->edges_len != 0)
        add_latency(j, out, &e, &f);
    if (j->slo_errors.p_max > 0)
        add_ceiling(j, out, &e, &f, METRIC_SLO_ERRORS);
    if (j->slo_latency.p_max > 0)
        add_ceiling(j, out, &e, &f, METRIC_SLO_LATENCY);
    if (j->differences.used)
        add_differences(j, out, &e, &f);
    for (uint32_t i = 0; i < j->extras_len; i++)
        add_extra(j, out, &e, &f, i);
    for (size_t i = 0; i < out->len; i++)
        words_metric(j, out, &out->metrics[i], requests_per_s);
    bool decided = out->judgement == JUDGEMENT_PASS || judgement_rolls_back(out->judgement);
    out->needs_requests = decided ? 0 : needs_in_all(out);
    out->needs_s = decided              ? 0
                   : requests_per_s > 0 ? out->needs_requests / requests_per_s
                                        : INFINITY;
    snprintf(out->text, sizeof out->text, "%s", buf_str(&text));
    words_whole(out, requests_per_s);
}
