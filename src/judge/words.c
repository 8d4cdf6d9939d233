/* judge_explain()'s numbers in sentences, for somebody who has never heard of an e-process. */
#include "judge/judge_internal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static void tell_time(struct buf *out, double seconds)
{
    if (seconds < 90)
        buf_printf(out, "%.0f s", fmax(1, ceil(seconds)));
    else if (seconds < 90 * 60)
        buf_printf(out, "%.0f min", ceil(seconds / 60));
    else if (seconds < 48 * 3600)
        buf_printf(out, "%.0f h", ceil(seconds / 3600));
    else
        buf_printf(out, "%.0f days", ceil(seconds / 86400));
}

static void tell_needs(struct buf *out, double requests, double requests_per_s)
{
    if (!isfinite(requests) || requests > 1e12)
        return;
    buf_puts(out, "; about ");
    if (requests_per_s > 0) {
        tell_time(out, requests / requests_per_s);
        buf_printf(out, " more at %.3g req/s", requests_per_s);
    } else {
        words_count(out, (uint64_t)requests);
        buf_puts(out, " more requests");
    }
}

static void tell_interval(struct buf *out, double low, double high)
{
    buf_puts(out, " (between ");
    words_percent(out, low);
    buf_puts(out, " and ");
    words_percent(out, high);
    buf_putc(out, ')');
}

static const char *subject(const struct metric_report *m)
{
    if (strcmp(m->name, "latency") == 0)
        return "share of slow answers";
    if (strcmp(m->name, "slo-latency") == 0)
        return "share of answers over the slo's latency";
    return "error rate";
}

static void tell_ratio(const struct metric_report *m, struct buf *out)
{
    if (m->ratio_low > 0 && isfinite(m->ratio_high))
        buf_printf(out, ", %.2g to %.2g times stable's", m->ratio_low, m->ratio_high);
    else if (m->ratio_low > 0)
        buf_printf(out, ", at least %.2g times stable's", m->ratio_low);
    else if (isfinite(m->ratio_high))
        buf_printf(out, ", at most %.2g times stable's", m->ratio_high);
    if (m->ratio_moved)
        buf_puts(out, " (it has changed on the way)");
}

static void tell_rates(const struct metric_report *m, struct buf *out)
{
    buf_printf(out, "the new version's %s is ", subject(m));
    words_percent(out, m->candidate_rate);
    tell_interval(out, m->candidate_low, m->candidate_high);
    if (m->stable_requests != 0) {
        buf_puts(out, ", stable's ");
        words_percent(out, m->stable_rate);
        tell_ratio(m, out);
    }
    words_repeats(out, m->candidate_repeats, m->stable_repeats, m->stable_requests != 0);
}

static void tell_pairs(const struct judge_extra *extra, struct buf *out)
{
    const struct pair_test *p = &extra->test;
    buf_printf(out, "%s is ", words_extra(extra));
    words_value(out, extra->kind, p->candidate_last);
    buf_puts(out, ", stable's ");
    words_value(out, extra->kind, p->stable_last);
    if (p->worse + p->not_worse == 0)
        return;
    buf_puts(out, "; it was ");
    words_pairs(out, p, extra->kind, "worse");
}

static void tell_outlook(const struct judge_report *r, const struct metric_report *m,
                         double requests_per_s, struct buf *out)
{
    double rate = m->is_pair ? 0 : requests_per_s;
    bool to_pass = m->guarded && m->needs_to_pass < m->needs_to_roll_back;
    if (m->log_worse >= r->log_bar) {
        buf_puts(out, "; that is worse beyond doubt: ");
        words_evidence(out, m->log_worse, r->log_bar);
    } else if (m->fine) {
        buf_puts(out, "; that is good enough: ");
        words_evidence(out, m->log_fine, r->log_pass_bar);
    } else if (to_pass) {
        buf_puts(out, "; that it is good enough has ");
        words_evidence(out, m->log_fine, r->log_pass_bar);
    } else if (m->log_worse > -INFINITY) {
        buf_puts(out, "; ");
        words_evidence(out, m->log_worse, r->log_bar);
    }
    double needs = to_pass ? m->needs_to_pass : m->needs_to_roll_back;
    if (m->log_worse >= r->log_bar || m->fine || needs <= 0)
        return;
    if (m->is_pair && isfinite(needs))
        buf_printf(out, "; about %.0f more comparisons", needs);
    else
        tell_needs(out, needs, rate);
}

static const struct judge_extra *extra_of(const struct judge *j, const struct metric_report *m)
{
    for (uint32_t i = 0; m->is_pair && i < j->extras_len; i++)
        if (j->extras[i].name == m->name)
            return &j->extras[i];
    return NULL;
}

void words_metric(const struct judge *j, const struct judge_report *r, struct metric_report *m,
                  double requests_per_s)
{
    cleanup_buf struct buf out = BUF_INIT;
    const struct judge_extra *extra = extra_of(j, m);
    bool seen = extra != NULL && (extra->test.candidate_last != 0 || extra->test.stable_last != 0);
    bool differences = strcmp(m->name, "differences") == 0 && extra == NULL;
    if (m->candidate_requests == 0 && !seen) {
        buf_printf(&out, "%s: no data yet", m->name);
    } else {
        if (extra != NULL)
            tell_pairs(extra, &out);
        else if (differences)
            words_differences(j, &out);
        else
            tell_rates(m, &out);
        if (m->candidate_requests != 0)
            tell_outlook(r, m, requests_per_s, &out);
    }
    snprintf(m->text, sizeof m->text, "%s", buf_str(&out));
}

void words_whole(struct judge_report *r, double requests_per_s)
{
    cleanup_buf struct buf out = BUF_INIT;
    if (r->needs_requests > 0 && r->judgement == JUDGEMENT_CONTINUE)
        tell_needs(&out, r->needs_requests, requests_per_s);
    size_t used = strlen(r->text);
    snprintf(r->text + used, sizeof r->text - used, "%s", buf_str(&out));
}
