#include "cli/simulate_words.h"

#include "base/alloc.h"
#include "base/nearest.h"
#include "base/units.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A plain decimal number; *end is behind it. */
static bool number(const char *text, const char **end, double *value)
{
    size_t len = strspn(text, "0123456789.");
    char *rest;
    *value = strtod(text, &rest);
    *end = rest;
    return len > 0 && rest == text + len && text[len - 1] != '.' && text[0] != '.';
}

int parse_traffic(const char *text, double *requests_per_s, struct error *err)
{
    static const struct {
        const char *unit;
        double seconds;
    } units[] = {{"/s", 1}, {"/min", 60}, {"/h", 3600}};
    const char *unit;
    double n;
    bool good = number(text, &unit, &n);
    for (size_t i = 0; good && i < sizeof units / sizeof units[0]; i++) {
        if (strcmp(unit, units[i].unit) != 0)
            continue;
        *requests_per_s = n / units[i].seconds;
        if (*requests_per_s > SIMULATE_MAX_RATE || *requests_per_s <= 0)
            return error_set(err, ERROR_USAGE,
                             "--traffic %.40s: expected more than none and at most %.0f requests "
                             "per second",
                             text, SIMULATE_MAX_RATE);
        return 0;
    }
    return error_set(err, ERROR_USAGE,
                     "--traffic %.40s: expected requests per time: 50/s, 1200/min or 90/h", text);
}

/* ---- a release
 * -------------------------------------------------------------------------------- */

static const char *const known[] = {"errors", "p50", "p95", "p99", "latency", NULL};

struct property {
    const char *option;
    size_t at; /* character of the option's text, from 1 */
    char name[16], value[32];
};

static int bad(const struct property *p, const char *expected, struct error *err)
{
    return error_set(err, ERROR_USAGE, "%s: %s=%s at character %zu: expected %s", p->option,
                     p->name, p->value, p->at, expected);
}

/* "1.5x" */
static bool factor(const char *text, double *value)
{
    const char *unit;
    return number(text, &unit, value) && strcmp(unit, "x") == 0 && *value > 0 && *value <= 1e6;
}

static int set_errors(const struct property *p, bool relative, struct release_words *out,
                      struct error *err)
{
    uint32_t ppm = 0;
    bool times = relative && factor(p->value, &out->errors);
    if (!times && (parse_percent_ppm(p->value, &ppm) != 0 || ppm > 1000000))
        return bad(
            p, relative ? "a share such as 2%, or a factor such as 3x" : "a share such as 2%", err);
    if (!times)
        out->errors = ppm / 1e6;
    out->has_errors = true;
    out->errors_relative = times;
    return 0;
}

static int set_quantile(const struct property *p, struct release_words *out, struct error *err)
{
    double quantile = atoi(p->name + 1) / 100.0;
    int64_t ms;
    if (parse_duration_ms(p->value, &ms) != 0 || ms <= 0 || ms > 3600000)
        return bad(p, "a time such as 300ms", err);
    if (out->quantiles_len == 2)
        return error_set(err, ERROR_USAGE,
                         "%s: %s=%s at character %zu: two of p50, p95 and p99 say it all",
                         p->option, p->name, p->value, p->at);
    size_t at = out->quantiles_len++;
    if (at == 1 && out->quantile[0] > quantile) {
        out->quantile[1] = out->quantile[0];
        out->ms[1] = out->ms[0];
        at = 0;
    }
    out->quantile[at] = quantile;
    out->ms[at] = (double)ms;
    return 0;
}

static int set_property(const struct property *p, bool relative, struct release_words *out,
                        struct error *err)
{
    if (strcmp(p->name, "errors") == 0)
        return set_errors(p, relative, out, err);
    if (p->name[0] == 'p')
        return set_quantile(p, out, err);
    if (!relative)
        return error_set(err, ERROR_USAGE,
                         "%s: latency=%s at character %zu: there is nothing that it is a multiple "
                         "of; say p50, p95 or p99",
                         p->option, p->value, p->at);
    return factor(p->value, &out->latency_factor) ? 0 : bad(p, "a factor such as 1.5x", err);
}

/* Reads "name=value" of len bytes. */
static int read_property(struct property *p, const char *text, size_t len, struct error *err)
{
    const char *equals = memchr(text, '=', len);
    size_t name = equals != NULL ? (size_t)(equals - text) : len;
    while (name > 0 && text[name - 1] == ' ')
        name--;
    cleanup_free char *word = xstrndup(text, name);
    bool there = false;
    for (size_t i = 0; known[i] != NULL; i++)
        there = there || strcmp(known[i], word) == 0;
    if (!there) {
        const char *nearest = nearest_word(word, known);
        return error_set(err, ERROR_USAGE, "%s: unknown property `%.40s` at character %zu; %s%s%s",
                         p->option, word, p->at, nearest != NULL ? "did you mean `" : "there are ",
                         nearest != NULL ? nearest : "errors, p50, p95, p99 and latency",
                         nearest != NULL ? "`?" : "");
    }
    strcpy(p->name, word);
    const char *value = equals != NULL ? equals + 1 : text + len;
    size_t rest = (size_t)(text + len - value), skip = strspn(value, " ");
    value += skip < rest ? skip : rest;
    rest -= skip < rest ? skip : rest;
    if (rest >= sizeof p->value)
        rest = sizeof p->value - 1; /* longer than any that is good */
    memcpy(p->value, value, rest);
    p->value[rest] = '\0';
    return 0;
}

int parse_release(const char *text, const char *option, bool relative, struct release_words *out,
                  struct error *err)
{
    memset(out, 0, sizeof *out);
    for (const char *p = text;; p++) {
        p += strspn(p, " ");
        size_t len = strcspn(p, ","), trimmed = len;
        while (trimmed > 0 && p[trimmed - 1] == ' ')
            trimmed--;
        struct property property = {.option = option, .at = (size_t)(p - text) + 1};
        if (read_property(&property, p, trimmed, err) != 0 ||
            set_property(&property, relative, out, err) != 0)
            return -1;
        p += len;
        if (*p == '\0')
            break;
    }
    if (out->latency_factor > 0 && out->quantiles_len > 0)
        return error_set(err, ERROR_USAGE, "%s: latency= and p50=, p95= or p99= exclude each other",
                         option);
    if (out->quantiles_len == 2 &&
        (out->quantile[0] >= out->quantile[1] || out->ms[0] > out->ms[1]))
        return error_set(err, ERROR_USAGE, "%s: p%.0f=%.0fms and p%.0f=%.0fms: %s", option,
                         out->quantile[0] * 100, out->ms[0], out->quantile[1] * 100, out->ms[1],
                         out->quantile[0] >= out->quantile[1]
                             ? "the same twice"
                             : "the higher one cannot be the faster one");
    return 0;
}

void release_latency(const struct release_words *words, const struct simulate_latency *other,
                     struct simulate_latency *out)
{
    *out = *other;
    if (words->latency_factor > 0)
        out->median_ms *= words->latency_factor;
    else if (words->quantiles_len == 1)
        *out = simulate_latency_moved(other, words->quantile[0], words->ms[0]);
    else if (words->quantiles_len == 2)
        *out = simulate_latency_through(words->quantile[0], words->ms[0], words->quantile[1],
                                        words->ms[1]);
}

/* ---- history
 * ---------------------------------------------------------------------------------- */

enum { MINUTE_MS = 60 * 1000, MINUTES_MOST = 7 * 24 * 60 };

static double field(const json_t *minute, const char *key)
{
    const json_t *value = json_object_get(minute, key);
    double n = json_is_number(value) ? json_number_value(value) : 0;
    return isfinite(n) && n > 0 ? n : 0;
}

/* Where the first and the last row lie, in minutes; false: there is none, or no sense in them. */
static bool find_span(const json_t *rows, int64_t *first, size_t *len)
{
    int64_t last = 0;
    *first = INT64_MAX;
    for (size_t i = 0; i < json_array_size(rows); i++) {
        double at = field(json_array_get(rows, i), "at") / MINUTE_MS;
        if (at < 1 || at > 1e9)
            return false;
        *first = (int64_t)at < *first ? (int64_t)at : *first;
        last = (int64_t)at > last ? (int64_t)at : last;
    }
    if (json_array_size(rows) == 0 || last - *first >= MINUTES_MOST)
        return false;
    *len = (size_t)(last - *first) + 1;
    return true;
}

struct sums {
    double all, stable, errors, timed, p50, p95;
};

/* A row is what one release had in one minute. */
static void add_row(const json_t *row, struct simulate_minute *minute, double *stable,
                    struct sums *sums)
{
    double n = field(row, "requests"), errors = fmin(field(row, "errors"), n);
    double median = field(row, "p50_ms"), high = field(row, "p95_ms");
    sums->all += n;
    minute->requests_per_s += n / 60;
    if (json_is_true(json_object_get(row, "candidate")))
        return;
    sums->stable += n;
    sums->errors += errors;
    *stable += n;
    minute->stable_errors += errors; /* to be divided */
    if (median > 0 && high >= median) {
        sums->timed += n;
        sums->p50 += n * median;
        sums->p95 += n * high;
    }
}

int read_history(const json_t *answer, struct history *out, struct error *err)
{
    const json_t *rows = json_object_get(answer, "minutes");
    struct sums sums = {.all = 0};
    int64_t first;
    size_t len;
    memset(out, 0, sizeof *out);
    if (find_span(rows, &first, &len)) {
        out->items = xcalloc(len, sizeof *out->items);
        cleanup_free double *stable = xcalloc(len, sizeof *stable);
        for (size_t i = 0; i < json_array_size(rows); i++) {
            const json_t *row = json_array_get(rows, i);
            size_t at = (size_t)((int64_t)(field(row, "at") / MINUTE_MS) - first);
            add_row(row, &out->items[at], &stable[at], &sums);
        }
        out->errors = sums.stable > 0 ? sums.errors / sums.stable : 0;
        for (size_t i = 0; i < len; i++) {
            struct simulate_minute *m = &out->items[i];
            m->requests_per_s = fmin(m->requests_per_s, SIMULATE_MAX_RATE);
            m->stable_errors = stable[i] > 0 ? m->stable_errors / stable[i] : out->errors;
        }
    }
    if (sums.all <= 0) {
        free(out->items);
        out->items = NULL;
        return error_set(err, ERROR_FAILED,
                         "the server has recorded no traffic of this app yet: say --traffic "
                         "instead of --history");
    }
    out->len = len;
    out->requests_per_s = fmin(sums.all / 60 / (double)len, SIMULATE_MAX_RATE);
    out->has_latency = sums.timed > 0;
    if (sums.timed > 0)
        out->latency =
            simulate_latency_through(.5, sums.p50 / sums.timed, .95, sums.p95 / sums.timed);
    return 0;
}
