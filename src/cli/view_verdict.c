/* verdict: the answer in a line, then the numbers of each metric, for somebody who has never heard
 * of an e-process. */
#include "cli/bar.h"
#include "cli/format.h"
#include "cli/session.h"
#include "cli/table.h"
#include "cli/view.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { BAR_COLUMNS = 24, HISTORY_BAR_COLUMNS = 12, HISTORY_ROWS = 20 };

static double real(const json_t *j, const char *key)
{
    return json_real_or(j, key, 0);
}

/* How far ln E is on its way to the bar. */
static double progress(double log_e, double log_bar)
{
    return log_bar > 0 && log_e > 0 ? fmin(1, log_e / log_bar) : 0;
}

/* "14 of 1,000" */
static char *evidence(double log_e, double log_bar, char *out)
{
    char bar[FORMAT_SIZE], e[FORMAT_SIZE];
    format_count(llround(exp(fmin(log_bar, 30))), bar);
    if (log_e > log(1e6))
        strcpy(e, "over 1,000,000");
    else if (log_e >= log(10))
        format_count(llround(exp(log_e)), e);
    else
        snprintf(e, sizeof e, "%.1f", exp(log_e));
    snprintf(out, FORMAT_SIZE, "%.20s of %.20s", e, bar);
    return out;
}

/* ---- which rollout
 * ------------------------------------------------------------------------------------ */

static void put_release(const json_t *j, const char *number, const char *version, struct buf *out)
{
    buf_printf(out, "release %lld", (long long)json_whole(j, number));
    if (*json_text(j, version) != '\0') {
        buf_puts(out, " (");
        put_clean(out, json_text(j, version));
        buf_putc(out, ')');
    }
}

static void put_head(const json_t *j, const struct term *t, struct buf *out)
{
    char text[FORMAT_SIZE];
    put_clean_in(out, t, STYLE_BOLD, json_text(j, "app"));
    buf_puts(out, " (");
    put_clean(out, json_text(j, "environment"));
    buf_puts(out, "): ");
    put_release(j, "release", "version", out);
    if (json_whole(j, "from") > 0) {
        buf_puts(out, " against ");
        put_release(j, "from", "from_version", out);
    }
    if (json_is_true(json_object_get(j, "running"))) {
        buf_printf(out, ", %s of the traffic", format_share(real(j, "weight") / 100, text));
        double per_s = json_real_or(j, "requests_per_s", -1);
        if (per_s >= 0)
            buf_printf(out, ", %s req/s", format_rate(per_s, text));
    } else {
        const char *result = json_text(j, "result");
        buf_puts(out, ", ");
        put_clean_in(out, t, style_of_state(result), *result != '\0' ? result : "ended");
        buf_printf(out, "; begun %s", format_date(json_text(j, "since"), text));
    }
    buf_puts(out, "\n\n");
}

static enum style style_of_judgement(const char *judgement)
{
    static const char *const open[] = {"continue", "no-data", "inconclusive"};
    if (strcmp(judgement, "pass") == 0)
        return STYLE_GREEN;
    for (size_t i = 0; i < sizeof open / sizeof open[0]; i++)
        if (strcmp(judgement, open[i]) == 0)
            return STYLE_NONE;
    return *judgement != '\0' ? STYLE_RED : STYLE_NONE;
}

static void put_answer(const json_t *j, const struct term *t, struct buf *out)
{
    enum style style = style_of_judgement(json_text(j, "judgement"));
    put_clean_in(out, t, style != STYLE_NONE ? style : STYLE_BOLD, json_text(j, "answer"));
    buf_puts(out, ".\n");
    const char *reason = json_text(json_object_get(j, "reason"), "text");
    if (*reason != '\0') {
        put_clean(out, reason);
        buf_putc(out, '\n');
    }
}

/* ---- metrics
 * ------------------------------------------------------------------------------------------- */

static const char *title(const char *name)
{
    static const struct {
        const char *name, *title;
    } titles[] = {{"errors", "errors"},
                  {"latency", "slow answers"},
                  {"slo-errors", "errors, against the slo"},
                  {"slo-latency", "slow answers, against the slo"},
                  {"differences", "answers that differ"}};
    for (size_t i = 0; i < sizeof titles / sizeof titles[0]; i++)
        if (strcmp(titles[i].name, name) == 0)
            return titles[i].title;
    return name;
}

static void arm_row(struct table *t, const char *name, const json_t *arm)
{
    char share[FORMAT_SIZE], low[FORMAT_SIZE], high[FORMAT_SIZE];
    char events[FORMAT_SIZE], requests[FORMAT_SIZE], repeats[FORMAT_SIZE];
    table_cell(t, STYLE_DIM, name);
    table_cell(t, STYLE_BOLD, format_share(real(arm, "rate"), share));
    format_count(json_whole(arm, "events"), events);
    format_count(json_whole(arm, "requests"), requests);
    if (json_whole(arm, "repeats") > 0)
        table_cellf(t, STYLE_NONE, "%s of %s (%s repeats)", events, requests,
                    format_count(json_whole(arm, "repeats"), repeats));
    else
        table_cellf(t, STYLE_NONE, "%s of %s", events, requests);
    table_cellf(t, STYLE_DIM, "between %s and %s", format_share(real(arm, "low"), low),
                format_share(real(arm, "high"), high));
}

static void ratio_row(struct table *t, const json_t *m)
{
    double ratio = json_real_or(m, "ratio", -1), high = json_real_or(m, "ratio_high", -1);
    table_cell(t, STYLE_DIM, "ratio");
    if (ratio >= 0)
        table_cellf(t, STYLE_BOLD, "%.2g", ratio);
    else
        table_cell(t, STYLE_NONE, NULL);
    table_cell(t, STYLE_NONE, "times stable's");
    if (high >= 0)
        table_cellf(t, STYLE_DIM, "between %.2g and %.2g", real(m, "ratio_low"), high);
    else if (real(m, "ratio_low") > 0)
        table_cellf(t, STYLE_DIM, "at least %.2g", real(m, "ratio_low"));
    else
        table_cell(t, STYLE_DIM, "anything is possible");
}

static void bar_line(struct buf *out, const struct term *t, const char *name, enum style style,
                     double log_e, double log_bar)
{
    char text[FORMAT_SIZE];
    buf_puts(out, "  ");
    put_styled(out, t, STYLE_DIM, name);
    put_bar(out, t, style, progress(log_e, log_bar), BAR_COLUMNS);
    buf_printf(out, "  %s\n", evidence(log_e, log_bar, text));
}

static void put_metric(const json_t *j, const json_t *m, const struct term *term, struct buf *out)
{
    const json_t *worse = json_object_get(m, "ln_worse");
    buf_putc(out, '\n');
    put_clean_in(out, term, STYLE_BOLD, title(json_text(m, "name")));
    if (json_is_true(json_object_get(m, "fine")))
        put_styled(out, term, STYLE_GREEN, "  good enough");
    buf_putc(out, '\n');
    if (strcmp(json_text(m, "kind"), "rate") == 0) {
        struct table t;
        table_init(&t, term, "|>|||");
        arm_row(&t, "candidate", json_object_get(m, "candidate"));
        if (json_whole(json_object_get(m, "stable"), "requests") > 0) {
            arm_row(&t, "stable", json_object_get(m, "stable"));
            ratio_row(&t, m);
        }
        table_finish(&t, "  ", out);
    } else {
        buf_puts(out, "  ");
        put_clean(out, json_text(m, "text"));
        buf_putc(out, '\n');
    }
    if (json_is_number(worse))
        bar_line(out, term, "to roll back  ", STYLE_RED, json_number_value(worse),
                 real(j, "ln_bar"));
    if (json_is_true(json_object_get(m, "guarded")))
        bar_line(out, term, "to promote    ", STYLE_GREEN, real(m, "ln_fine"),
                 real(j, "ln_pass_bar"));
}

/* ---- routes, history
 * ---------------------------------------------------------------------------------- */

static void count_cells(struct table *t, const json_t *arm)
{
    char events[FORMAT_SIZE], requests[FORMAT_SIZE];
    table_cellf(t, STYLE_NONE, "%s of %s", format_count(json_whole(arm, "errors"), events),
                format_count(json_whole(arm, "requests"), requests));
}

/* One route alone would only say the same again. */
static void put_routes(const json_t *routes, const struct term *term, struct buf *out)
{
    size_t i;
    json_t *r;
    struct table t;
    if (json_array_size(routes) < 2)
        return;
    buf_putc(out, '\n');
    table_init(&t, term, "ROUTE|>ERRORS OF CANDIDATE|>OF STABLE");
    json_array_foreach((json_t *)routes, i, r)
    {
        table_cellf(&t, STYLE_NONE, "%s%s", json_text(r, "route"),
                    json_is_true(json_object_get(r, "copies")) ? " (copies)" : "");
        count_cells(&t, json_object_get(r, "candidate"));
        count_cells(&t, json_object_get(r, "stable"));
    }
    table_finish(&t, "", out);
}

static void put_history(const json_t *j, const struct term *term, struct buf *out)
{
    const json_t *rows = json_object_get(j, "history");
    size_t len = json_array_size(rows), shown = len < HISTORY_ROWS ? len : HISTORY_ROWS;
    struct table t;
    if (!json_is_array(rows))
        return;
    buf_putc(out, '\n');
    if (len == 0) {
        buf_puts(out, "nothing was recorded on the way\n");
        return;
    }
    table_init(&t, term, "AT|>WEIGHT|>ERRORS OF CANDIDATE|>OF STABLE|TO ROLL BACK|TO PROMOTE");
    for (size_t i = 0; i < shown; i++) {
        /* Evenly, and always the last one. */
        const json_t *row = json_array_get(rows, (i + 1) * len / shown - 1);
        char text[FORMAT_SIZE];
        cleanup_buf struct buf worse = BUF_INIT, fine = BUF_INIT;
        table_cell(&t, STYLE_NONE, format_clock(json_text(row, "at"), text));
        table_cell(&t, STYLE_NONE, format_share(real(row, "weight") / 100, text));
        count_cells(&t, json_object_get(row, "candidate"));
        count_cells(&t, json_object_get(row, "stable"));
        put_bar(&worse, term, STYLE_RED, progress(real(row, "ln_e"), real(j, "ln_bar")),
                HISTORY_BAR_COLUMNS);
        put_bar(&fine, term, STYLE_GREEN, progress(real(row, "ln_fine"), real(j, "ln_pass_bar")),
                HISTORY_BAR_COLUMNS);
        table_styled(&t, buf_str(&worse));
        table_styled(&t, buf_str(&fine));
        buf_release(&fine);
    }
    table_finish(&t, "", out);
}

void view_verdict(const json_t *j, const struct term *t, struct buf *out)
{
    size_t i;
    json_t *m;
    put_head(j, t, out);
    put_answer(j, t, out);
    json_array_foreach(json_object_get(j, "metrics"), i, m)
    {
        put_metric(j, m, t, out);
    }
    const json_t *measured = json_object_get(j, "measured");
    if (json_array_size(measured) > 0)
        buf_putc(out, '\n');
    view_measured(measured, t, "", out);
    if (json_is_object(json_object_get(j, "mirror")))
        buf_putc(out, '\n');
    view_mirror(json_object_get(j, "mirror"), t, "", MIRROR_SAMPLES, out);
    put_routes(json_object_get(j, "routes"), t, out);
    put_history(j, t, out);
}
