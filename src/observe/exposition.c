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

void exposition_init(struct exposition *e)
{
    memset(e, 0, sizeof *e);
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
enum { LATENCY_FIRST_POWER = 9, LATENCY_LAST_POWER = 26 };

void exposition_latency(struct exposition *e, enum exposition_family family, const char *labels,
                        const uint64_t buckets[METRICS_BUCKETS], uint64_t sum_us)
{
    ASSERT(family < EXPOSITION_FAMILIES_COUNT);
    const char *name = families[family].metric;
    struct buf *out = &e->samples[family];
    uint64_t below = 0;
    uint32_t bucket = 0;
    for (int power = LATENCY_FIRST_POWER; power <= LATENCY_LAST_POWER; power++) {
        uint64_t edge_us = UINT64_C(1) << power;
        while (bucket < METRICS_BUCKETS && metrics_bucket_high(bucket) <= edge_us)
            below += buckets[bucket++];
        char bound[32];
        snprintf(bound, sizeof bound, "%.9g", (double)edge_us / 1e6);
        put_name(out, name, "_bucket", labels, bound);
        buf_printf(out, "%" PRIu64 "\n", below);
    }
    while (bucket < METRICS_BUCKETS)
        below += buckets[bucket++];
    put_name(out, name, "_bucket", labels, "+Inf");
    buf_printf(out, "%" PRIu64 "\n", below);
    put_name(out, name, "_sum", labels, NULL);
    put_value(out, (double)sum_us / 1e6);
    put_name(out, name, "_count", labels, NULL);
    buf_printf(out, "%" PRIu64 "\n", below);
}

void exposition_finish(struct exposition *e, struct buf *out)
{
    for (size_t i = 0; i < EXPOSITION_FAMILIES_COUNT; i++) {
        const struct family *f = &families[i];
        if (e->samples[i].len > 0) {
            buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", f->metric, f->help, f->metric, f->type);
            buf_append(out, e->samples[i].data, e->samples[i].len);
        }
        buf_release(&e->samples[i]);
    }
}
