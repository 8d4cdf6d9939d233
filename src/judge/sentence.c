/* A look in words, for somebody who has never heard of an e-process. */
#include "base/vec.h"
#include "judge/judge_internal.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* 1234567 -> 1,234,567 */
void words_count(struct buf *out, uint64_t n)
{
    char digits[24];
    int len = snprintf(digits, sizeof digits, "%" PRIu64, n);
    for (int i = 0; i < len; i++) {
        if (i != 0 && (len - i) % 3 == 0)
            buf_putc(out, ',');
        buf_putc(out, digits[i]);
    }
}

void words_percent(struct buf *out, double share)
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
    words_percent(out, requests != 0 ? (double)events / (double)requests : 0);
    buf_puts(out, " (");
    words_count(out, events);
    buf_puts(out, " of ");
    words_count(out, requests);
    buf_printf(out, "%s)", unit);
}

void words_repeats(struct buf *out, uint64_t candidate, uint64_t stable, bool has_stable)
{
    if (candidate + stable == 0)
        return;
    buf_puts(out, "; ");
    words_count(out, candidate);
    if (has_stable) {
        buf_puts(out, " and ");
        words_count(out, stable);
    }
    buf_puts(out, " of these errors are repeats by the same clients");
}

/* How many times worse, rounded as one would say it; nothing where there is nothing to divide by.
 */
static void factor(struct buf *out, const struct curve *e)
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
    const struct curve *e = &j->errors;
    buf_puts(out, "errors ");
    rate(out, e->candidate_events, e->candidate_requests, " requests");
    buf_puts(out, " against ");
    rate(out, e->stable_events, e->stable_requests, "");
    buf_puts(out, " of stable");
    factor(out, e);
    words_repeats(out, e->candidate_events - j->errors_once.candidate_events,
                  e->stable_events - j->errors_once.stable_events, true);
}

static void tell_latency(const struct judge *j, uint32_t edge, struct buf *out)
{
    const struct curve *e = &j->latency[edge];
    buf_puts(out, "slow answers ");
    rate(out, e->candidate_events, e->candidate_requests, " requests");
    buf_puts(out, " against ");
    rate(out, e->stable_events, e->stable_requests, "");
    buf_puts(out, " of stable, measured at the same mark");
    factor(out, e);
}

static void tell_ceiling(const struct judge *j, const struct ceiling *c, const char *what,
                         uint64_t events, uint64_t stable_events, struct buf *out)
{
    uint64_t requests = j->errors.candidate_requests;
    buf_printf(out, "%s ", what);
    rate(out, events, requests, " requests");
    buf_puts(out, (double)events > c->p_max * (double)requests ? ", over the slo's "
                                                               : ", within the slo's ");
    words_percent(out, c->p_max);
    if (!j->has_stable || j->errors.stable_requests == 0) {
        buf_puts(out, j->has_stable ? "; no request has reached stable to compare with"
                                    : "; there is no stable release to compare with");
        return;
    }
    buf_puts(out, ", and not better than stable's ");
    rate(out, stable_events, j->errors.stable_requests, "");
}

/* "; 3 in the status, 12 in the body" */
static void tell_parts(const struct judge_compared *c, struct buf *out)
{
    const struct {
        const char *name;
        uint64_t count;
    } parts[] = {{"status", c->status}, {"header fields", c->headers}, {"body", c->body}};
    const char *before = "; ";
    for (size_t i = 0; i < COUNT_OF(parts); i++) {
        if (parts[i].count == 0)
            continue;
        buf_puts(out, before);
        words_count(out, parts[i].count);
        buf_printf(out, " in the %s", parts[i].name);
        before = ", ";
    }
}

void words_differences(const struct judge *j, struct buf *out)
{
    const struct difference_test *d = &j->differences;
    double share = d->seen.pairs != 0 ? (double)d->seen.differed / (double)d->seen.pairs : 0;
    words_percent(out, share);
    buf_puts(out, " of the answers differ from stable's (");
    words_count(out, d->seen.differed);
    buf_puts(out, " of ");
    words_count(out, d->seen.pairs);
    buf_puts(out, " compared)");
    buf_puts(out, share > d->tolerated ? ", over the tolerated " : ", within the tolerated ");
    words_percent(out, d->tolerated);
    tell_parts(&d->seen, out);
}

const char *words_extra(const struct judge_extra *extra)
{
    static const char *const titles[EXTRA_KINDS] = {
#define X(name, word, title) [name] = title,
        JUDGE_EXTRA_KINDS(X)
#undef X
    };
    return extra->kind == EXTRA_ASKED ? extra->name : titles[extra->kind];
}

void words_value(struct buf *out, enum judge_extra_kind kind, double value)
{
    switch (kind) {
    case EXTRA_MEMORY: buf_printf(out, "%.4g MiB", value / (1 << 20)); break;
    case EXTRA_CPU: buf_printf(out, "%.3g ms", value / 1000); break;
    case EXTRA_ASKED:
    case EXTRA_KINDS: buf_printf(out, "%.4g", value); break;
    }
}

void words_pairs(struct buf *out, const struct pair_test *p, enum judge_extra_kind kind,
                 const char *higher)
{
    buf_puts(out, higher);
    if (p->tolerance > 1)
        buf_printf(out, " by more than a factor of %.4g", p->tolerance);
    buf_puts(out, kind == EXTRA_MEMORY ? " and still growing in " : " in ");
    words_count(out, p->worse);
    buf_puts(out, " of ");
    words_count(out, p->worse + p->not_worse);
    buf_puts(out, " comparisons");
}

static void tell_pair(const struct judge_extra *extra, struct buf *out)
{
    const struct pair_test *p = &extra->test;
    buf_printf(out, "%s ", words_extra(extra));
    words_value(out, extra->kind, p->candidate_last);
    buf_puts(out, " against ");
    words_value(out, extra->kind, p->stable_last);
    buf_puts(out, " of stable, ");
    words_pairs(out, p, extra->kind, p->less_is_worse ? "lower" : "higher");
}

void words_evidence(struct buf *out, double e_log, double log_bar)
{
    buf_puts(out, "evidence ");
    if (e_log > log(1e6))
        buf_puts(out, "over 1,000,000");
    else if (e_log >= log(10))
        words_count(out, (uint64_t)floor(exp(e_log)));
    else
        buf_printf(out, "%.1f", exp(e_log));
    buf_puts(out, " of the ");
    words_count(out, (uint64_t)llround(exp(log_bar)));
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
    if (!judge_has_slo(j) && !j->has_stable) {
        buf_puts(text, "errors ");
        rate(text, j->errors.candidate_events, j->errors.candidate_requests, " requests");
        buf_puts(text, "; there is neither a stable release nor an slo to hold it to");
        return;
    }
    switch (metric) {
    case METRIC_ERRORS: tell_errors(j, text); break;
    case METRIC_LATENCY: tell_latency(j, e->latency_edge, text); break;
    case METRIC_SLO_ERRORS:
        tell_ceiling(j, &j->slo_errors, "errors", j->errors.candidate_events,
                     j->errors.stable_events, text);
        break;
    case METRIC_SLO_LATENCY:
        tell_ceiling(j, &j->slo_latency, "answers over the slo's latency", j->candidate_above_slo,
                     j->stable_above_slo, text);
        break;
    case METRIC_DIFFERENCES: words_differences(j, text); break;
    default: tell_pair(&j->extras[metric - METRIC_EXTRA], text); break;
    }
    buf_puts(text, "; ");
    words_evidence(text, e->total_log, -log(j->alpha));
}

/* "no worse than 2 times stable, or within the slo" */
static void tell_fine(const struct judge *j, struct buf *text)
{
    bool ceiling = judge_has_slo(j) || j->negligible_errors.p_max > 0;
    if (j->has_stable)
        buf_printf(text, "no more than %.3g times as bad as stable%s", j->allowed,
                   ceiling ? " or within its ceiling" : "");
    else
        buf_puts(text, "within its ceiling");
}

void sentence_pass(const struct judge *j, struct buf *text)
{
    buf_puts(text, "; it is as good as it has to be: every metric is shown to be ");
    tell_fine(j, text);
}

void sentence_inconclusive(const struct judge *j, const struct fineness *f, struct buf *text)
{
    buf_puts(text, "; the time is over without an answer: ");
    if (!f->any) {
        buf_puts(text, "nothing says what good would be");
        return;
    }
    const char *name = f->last == METRIC_ERRORS        ? "the errors are"
                       : f->last == METRIC_LATENCY     ? "the latency is"
                       : f->last == METRIC_DIFFERENCES ? "the differences are"
                                                       : NULL;
    if (name != NULL)
        buf_puts(text, name);
    else
        buf_printf(text, "%s is", j->extras[f->last - METRIC_EXTRA].name);
    buf_puts(text, " not shown to be ");
    if (f->last == METRIC_DIFFERENCES) {
        const struct difference_test *d = &j->differences;
        buf_puts(text, "under ");
        words_percent(text, d->tolerated > 0 ? d->tolerated : DIFFERENCES_NEGLIGIBLE);
    } else {
        tell_fine(j, text);
    }
    buf_puts(text, " (");
    words_evidence(text, f->log_e[f->last], -log(j->alpha_pass));
    buf_putc(text, ')');
}
