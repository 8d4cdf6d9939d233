/* A look in words, for somebody who has never heard of an e-process. */
#include "judge/judge_internal.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* 1234567 -> 1,234,567 */
static void count(struct buf *out, uint64_t n)
{
    char digits[24];
    int len = snprintf(digits, sizeof digits, "%" PRIu64, n);
    for (int i = 0; i < len; i++) {
        if (i != 0 && (len - i) % 3 == 0)
            buf_putc(out, ',');
        buf_putc(out, digits[i]);
    }
}

static void percent(struct buf *out, double share)
{
    double p = share * 100;
    if (p >= 10 || p == 0)
        buf_printf(out, "%.0f%%", p);
    else if (p >= 0.095)
        buf_printf(out, "%.1f%%", p);
    else
        buf_printf(out, "%.1g%%", p);
}

static void rate(struct buf *out, uint64_t events, uint64_t requests, const char *unit)
{
    percent(out, requests != 0 ? (double)events / (double)requests : 0);
    buf_puts(out, " (");
    count(out, events);
    buf_puts(out, " of ");
    count(out, requests);
    buf_printf(out, "%s)", unit);
}

/* How many times worse, rounded as one would say it; nothing where there is nothing to divide by.
 */
static void factor(struct buf *out, const struct eprocess *e)
{
    if (e->candidate_events == 0 || e->stable_requests == 0)
        return;
    if (e->stable_events == 0) {
        buf_puts(out, ": worse, stable had none");
        return;
    }
    double times = (double)e->candidate_events / (double)e->candidate_requests /
                   ((double)e->stable_events / (double)e->stable_requests);
    if (times >= 10)
        buf_printf(out, ": worse by a factor of about %.0f", times);
    else if (times >= 1.05)
        buf_printf(out, ": worse by a factor of about %.1f", times);
    else
        buf_puts(out, ": no worse");
}

static void tell_errors(const struct judge *j, struct buf *out)
{
    const struct eprocess *e = &j->errors;
    buf_puts(out, "errors ");
    rate(out, e->candidate_events, e->candidate_requests, " requests");
    buf_puts(out, " against ");
    rate(out, e->stable_events, e->stable_requests, "");
    buf_puts(out, " of stable");
    factor(out, e);
}

static void tell_latency(const struct judge *j, uint32_t edge, struct buf *out)
{
    const struct eprocess *e = &j->latency[edge];
    buf_puts(out, "slow answers ");
    rate(out, e->candidate_events, e->candidate_requests, " requests");
    buf_puts(out, " against ");
    rate(out, e->stable_events, e->stable_requests, "");
    buf_puts(out, " of stable, measured at the same mark");
    factor(out, e);
}

static void tell_ceiling(const struct judge *j, const struct ceiling *c, const char *what,
                         uint64_t stable_events, struct buf *out)
{
    buf_printf(out, "%s ", what);
    rate(out, c->events, c->requests, " requests");
    buf_puts(out, (double)c->events > c->p_max * (double)c->requests ? ", over the slo's "
                                                                     : ", within the slo's ");
    percent(out, c->p_max);
    if (!j->has_stable || j->errors.stable_requests == 0) {
        buf_puts(out, j->has_stable ? "; no request has reached stable to compare with"
                                    : "; there is no stable release to compare with");
        return;
    }
    buf_puts(out, ", and not better than stable's ");
    rate(out, stable_events, j->errors.stable_requests, "");
}

static void tell_evidence(double e_log, double needed, struct buf *out)
{
    buf_puts(out, "; evidence ");
    if (e_log > log(1e6))
        buf_puts(out, "over 1,000,000");
    else if (e_log >= log(10))
        count(out, (uint64_t)floor(exp(e_log)));
    else
        buf_printf(out, "%.1f", exp(e_log));
    buf_puts(out, " of the ");
    count(out, (uint64_t)llround(needed));
    buf_puts(out, " needed");
}

void sentence_no_data(const struct judge *j, struct buf *text)
{
    if (j->errors.candidate_requests == 0)
        buf_puts(text, "no request has reached the new release yet");
    else
        buf_puts(text, "no request has reached stable yet: there is nothing to compare with");
}

void sentence_evidence(const struct judge *j, const struct evidence *e, enum metric metric,
                       struct buf *text)
{
    bool slo = j->slo_errors.p_max > 0 || j->slo_latency.p_max > 0;
    if (!slo && !j->has_stable) {
        buf_puts(text, "errors ");
        rate(text, j->errors.candidate_events, j->errors.candidate_requests, " requests");
        buf_puts(text, "; there is neither a stable release nor an slo to hold it to");
        return;
    }
    switch (metric) {
    case METRIC_ERRORS: tell_errors(j, text); break;
    case METRIC_LATENCY: tell_latency(j, e->latency_edge, text); break;
    case METRIC_SLO_ERRORS:
        tell_ceiling(j, &j->slo_errors, "errors", j->errors.stable_events, text);
        break;
    case METRIC_SLO_LATENCY:
        tell_ceiling(j, &j->slo_latency, "answers over the slo's latency", j->stable_above_slo,
                     text);
        break;
    case METRICS_COUNT: break;
    }
    tell_evidence(e->total_log, 1 / j->alpha, text);
}
