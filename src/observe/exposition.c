#include "observe/exposition.h"

#include "base/assert.h"

#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

struct family {
    const char *metric, *type, *help;
};

static const struct family families[] = {
#define X(name, metric, type, labels, help) {metric, type, help},
    EXPOSITION_FAMILIES(X)
#undef X
};

void exposition_init(struct exposition *e, bool openmetrics)
{
    memset(e, 0, sizeof *e);
    e->openmetrics = openmetrics;
}

void exposition_label(struct buf *labels, const char *name, const char *value)
{
    if (labels->len > 0)
        buf_putc(labels, ',');
    buf_printf(labels, "%s=\"", name);
    for (const char *p = value != NULL ? value : ""; *p != '\0'; p++) {
        if (*p == '\\' || *p == '"')
            buf_putc(labels, '\\');
        if (*p == '\n')
            buf_puts(labels, "\\n");
        else
            buf_putc(labels, *p);
    }
    buf_putc(labels, '"');
}

/* metric[suffix]{labels[,le="bound"]} and a space */
static void put_name(struct buf *out, const char *name, const char *suffix, const char *labels,
                     const char *bound)
{
    bool labelled = labels != NULL && *labels != '\0';
    buf_printf(out, "%s%s", name, suffix);
    if (labelled || bound != NULL) {
        buf_printf(out, "{%s", labelled ? labels : "");
        if (bound != NULL)
            buf_printf(out, "%sle=\"%s\"", labelled ? "," : "", bound);
        buf_putc(out, '}');
    }
    buf_putc(out, ' ');
}

static void put_value(struct buf *out, double value)
{
    if (isnan(value))
        buf_puts(out, "NaN");
    else if (isinf(value))
        buf_puts(out, value > 0 ? "+Inf" : "-Inf");
    else
        buf_printf(out, "%.15g", value);
    buf_putc(out, '\n');
}

void exposition_sample(struct exposition *e, enum exposition_family family, const char *labels,
                       double value)
{
    ASSERT(family < EXPOSITION_FAMILIES_COUNT);
    put_name(&e->samples[family], families[family].metric, "", labels, NULL);
    put_value(&e->samples[family], value);
}

void exposition_count(struct exposition *e, enum exposition_family family, const char *labels,
                      uint64_t value)
{
    ASSERT(family < EXPOSITION_FAMILIES_COUNT);
    put_name(&e->samples[family], families[family].metric, "", labels, NULL);
    buf_printf(&e->samples[family], "%" PRIu64 "\n", value);
}

/* The bounds are powers of two of a microsecond: edges of the gateway's buckets too. */
static void put_bucket(struct buf *out, const char *name, const char *labels, int power,
                       uint64_t below)
{
    char bound[32] = "+Inf";
    if (power <= RED_LAST_POWER)
        snprintf(bound, sizeof bound, "%.9g", (double)(UINT64_C(1) << power) / 1e6);
    put_name(out, name, "_bucket", labels, bound);
    buf_printf(out, "%" PRIu64, below);
}

static void put_sums(struct buf *out, const char *name, const char *labels, uint64_t sum_us,
                     uint64_t count)
{
    put_name(out, name, "_sum", labels, NULL);
    put_value(out, (double)sum_us / 1e6);
    put_name(out, name, "_count", labels, NULL);
    buf_printf(out, "%" PRIu64 "\n", count);
}

void exposition_latency(struct exposition *e, enum exposition_family family, const char *labels,
                        const uint64_t buckets[METRICS_BUCKETS], uint64_t sum_us)
{
    ASSERT(family < EXPOSITION_FAMILIES_COUNT);
    const char *name = families[family].metric;
    struct buf *out = &e->samples[family];
    uint64_t below = 0;
    uint32_t bucket = 0;
    for (int power = RED_FIRST_POWER; power <= RED_LAST_POWER + 1; power++) {
        uint64_t edge_us = power <= RED_LAST_POWER ? UINT64_C(1) << power : UINT64_MAX;
        while (bucket < METRICS_BUCKETS && metrics_bucket_high(bucket) <= edge_us)
            below += buckets[bucket++];
        put_bucket(out, name, labels, power, below);
        buf_putc(out, '\n');
    }
    put_sums(out, name, labels, sum_us, below);
}

void exposition_steps(struct exposition *e, enum exposition_family family, const char *labels,
                      const uint64_t steps[RED_STEPS], uint64_t sum_us,
                      const struct exemplar exemplars[RED_STEPS])
{
    ASSERT(family < EXPOSITION_FAMILIES_COUNT);
    const char *name = families[family].metric;
    struct buf *out = &e->samples[family];
    uint64_t below = 0;
    for (int step = 0; step < RED_STEPS; step++) {
        const struct exemplar *x = &exemplars[step];
        below += steps[step];
        put_bucket(out, name, labels, RED_FIRST_POWER + step, below);
        if (e->openmetrics && x->wall_ms != 0)
            buf_printf(out, " # {trace_id=\"%.*s\"} %.9g %.3f", TRACE_ID_LEN, x->trace,
                       (double)x->us / 1e6, (double)x->wall_ms / 1e3);
        buf_putc(out, '\n');
    }
    put_sums(out, name, labels, sum_us, below);
}

/* OpenMetrics calls a counter by its name without _total. Where a gauge has that name already the
 * counter keeps its own, as a number of unknown kind. */
static void put_metadata(const struct exposition *e, const struct family *f, struct buf *out)
{
    const char *type = f->type;
    size_t len = strlen(f->metric);
    if (e->openmetrics && strcmp(type, "counter") == 0) {
        size_t name = len - strlen("_total");
        bool taken = false;
        ASSERT(strcmp(f->metric + name, "_total") == 0);
        for (size_t i = 0; i < EXPOSITION_FAMILIES_COUNT; i++)
            taken = taken || (strncmp(families[i].metric, f->metric, name) == 0 &&
                              families[i].metric[name] == '\0');
        type = taken ? "unknown" : type;
        len = taken ? len : name;
    }
    buf_printf(out, "# HELP %.*s %s\n# TYPE %.*s %s\n", (int)len, f->metric, f->help, (int)len,
               f->metric, type);
}

void exposition_finish(struct exposition *e, struct buf *out)
{
    for (size_t i = 0; i < EXPOSITION_FAMILIES_COUNT; i++) {
        const struct family *f = &families[i];
        if (e->samples[i].len > 0) {
            put_metadata(e, f, out);
            buf_append(out, e->samples[i].data, e->samples[i].len);
        }
        buf_release(&e->samples[i]);
    }
    if (e->openmetrics)
        buf_puts(out, "# EOF\n");
}
