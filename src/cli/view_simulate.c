/* simulate: the answer in a sentence, how the runs ended, what that costs. */
#include "cli/bar.h"
#include "cli/format.h"
#include "cli/session.h"
#include "cli/table.h"
#include "cli/view.h"

#include <string.h>

enum { BAR_COLUMNS = 30 };

static double at(const json_t *j, const char *object, const char *key)
{
    return json_real_or(json_object_get(j, object), key, 0);
}

static void put_answer(const json_t *j, struct buf *out)
{
    double stopped = at(j, "shares", "rolled_back") + at(j, "shares", "paused");
    double rolled_back = at(j, "shares", "rolled_back");
    const char *what = rolled_back * 2 >= stopped ? "rolled back" : "paused";
    char share[FORMAT_SIZE], time[FORMAT_SIZE];
    format_share(stopped, share);
    format_elapsed((int64_t)at(j, "exposed_ms", "median"), time);
    if (stopped <= 0)
        buf_puts(out, "It would be promoted: in every run");
    else if (stopped < .5)
        buf_printf(out, "It would %sbe promoted: %s in %s of the runs only",
                   stopped < .05 ? "" : "rather ", what, share);
    else
        buf_printf(out, "It would %sbe %s: in %s of the runs, after %s of its traffic (median)",
                   stopped < .95 ? "rather " : "", what, stopped < 1 ? share : "all", time);
    buf_puts(out, ".\n\n");
}

static void end_row(struct table *t, const json_t *j, const char *name, const char *share,
                    const char *times, enum style style)
{
    char text[FORMAT_SIZE];
    double part = at(j, "shares", share);
    cleanup_buf struct buf bar = BUF_INIT;
    put_bar(&bar, t->term, style, part, BAR_COLUMNS);
    table_cell(t, style, name);
    table_styled(t, buf_str(&bar));
    table_cell(t, part > 0 ? STYLE_BOLD : STYLE_DIM, format_share(part, text));
    bool there = part > 0 && json_is_object(json_object_get(j, times));
    table_cell(t, STYLE_NONE, there ? format_elapsed((int64_t)at(j, times, "median"), text) : NULL);
    table_cell(t, STYLE_NONE, there ? format_elapsed((int64_t)at(j, times, "p90"), text) : NULL);
}

static void put_ends(const json_t *j, const struct term *term, struct buf *out)
{
    struct table t;
    table_init(&t, term, "||>RUNS|>MEDIAN TIME|>9 OF 10 WITHIN");
    end_row(&t, j, "rolled back", "rolled_back", "stopped_ms", STYLE_RED);
    end_row(&t, j, "promoted", "promoted", "promoted_ms", STYLE_GREEN);
    end_row(&t, j, "paused", "paused", "stopped_ms", STYLE_YELLOW);
    table_finish(&t, "", out);
}

static void heading(struct buf *out, const struct term *t, const char *text)
{
    put_styled(out, t, STYLE_DIM, text);
}

static void put_costs(const json_t *j, const struct term *t, struct buf *out)
{
    char a[FORMAT_SIZE], b[FORMAT_SIZE];
    bool stops = json_is_object(json_object_get(j, "candidate_requests"));
    heading(out, t, "failed requests    ");
    buf_printf(out, "%s (median), at most %s in 9 of 10 runs\n",
               format_count((int64_t)(at(j, "failed", "median") + .5), a),
               format_count((int64_t)(at(j, "failed", "p90") + .5), b));
    if (!stops)
        return;
    heading(out, t, "  without a judge  ");
    buf_printf(
        out, "%s in the rollout, then %s an hour\n",
        format_count((int64_t)(at(j, "failed_without_judge", "median") + .5), a),
        format_count((int64_t)(json_real_or(j, "failed_per_hour_without_judge", 0) + .5), b));
    heading(out, t, "requests it took   ");
    buf_printf(out, "%s of the candidate's (median), at most %s in 9 of 10 runs\n",
               format_count((int64_t)at(j, "candidate_requests", "median"), a),
               format_count((int64_t)at(j, "candidate_requests", "p90"), b));
}

static void put_deciders(const json_t *j, const struct term *t, struct buf *out)
{
    static const struct {
        const char *word, *text;
    } deciders[] = {{"errors", "errors"},
                    {"latency", "slow answers"},
                    {"slo", "the slo"},
                    {"inconclusive", "the policy for what stays open"}};
    bool any = false;
    for (size_t i = 0; i < sizeof deciders / sizeof deciders[0]; i++) {
        char text[FORMAT_SIZE];
        double part = at(j, "decided_by", deciders[i].word);
        if (part <= 0)
            continue;
        if (!any)
            heading(out, t, "decided by         ");
        buf_printf(out, "%s%s in %s", any ? ", " : "", deciders[i].text, format_share(part, text));
        any = true;
    }
    if (any)
        buf_putc(out, '\n');
}

static void put_promotions(const json_t *j, const struct term *t, struct buf *out)
{
    double promoted = at(j, "shares", "promoted"), cleared = at(j, "shares", "promoted_cleared");
    double blind = at(j, "shares", "promoted_without_data");
    char text[FORMAT_SIZE];
    if (promoted <= 0)
        return;
    heading(out, t, "promotions         ");
    if (blind > promoted / 2)
        buf_puts(out, "nothing was compared: the candidate had no requests beside stable's\n");
    else
        buf_printf(out, "%s of them proven no worse by then\n",
                   cleared > 0 ? format_share(cleared / promoted, text) : "none");
}

static void side_row(struct table *t, const json_t *j, const char *name)
{
    static const char *const latencies[] = {"p50_ms", "p95_ms", "p99_ms"};
    char text[FORMAT_SIZE];
    table_cell(t, STYLE_BOLD, name);
    table_cell(t, STYLE_NONE, format_share(at(j, name, "errors"), text));
    for (size_t i = 0; i < sizeof latencies / sizeof latencies[0]; i++)
        table_cell(t, STYLE_NONE, format_latency(at(j, name, latencies[i]), text));
}

static void put_assumptions(const json_t *j, const struct term *term, struct buf *out)
{
    const json_t *traffic = json_object_get(j, "traffic");
    struct table t;
    char text[FORMAT_SIZE];
    put_clean_in(out, term, STYLE_BOLD, json_text(j, "app"));
    buf_puts(out, " (");
    put_clean(out, json_text(j, "environment"));
    buf_puts(out, "), ");
    put_clean(out, json_text(j, "strategy"));
    buf_printf(out, ": %s runs in virtual time with ", format_count(json_whole(j, "runs"), text));
    buf_printf(out, "%s req/s", format_rate(json_real_or(traffic, "requests_per_s", 0), text));
    if (strcmp(json_text(traffic, "from"), "history") == 0)
        buf_printf(out, " (mean of %s recorded minutes)",
                   format_count(json_whole(traffic, "minutes"), text));
    buf_puts(out, "\n\n");
    table_init(&t, term, "|>ERRORS|>P50|>P95|>P99");
    side_row(&t, j, "stable");
    side_row(&t, j, "candidate");
    table_finish(&t, "", out);
    buf_putc(out, '\n');
}

void view_simulate(const json_t *j, const struct term *t, struct buf *out)
{
    put_assumptions(j, t, out);
    put_answer(j, out);
    put_ends(j, t, out);
    buf_putc(out, '\n');
    put_costs(j, t, out);
    put_deciders(j, t, out);
    put_promotions(j, t, out);
}
