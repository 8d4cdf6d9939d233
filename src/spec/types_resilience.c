/* How a route treats its instances: retries, ejection of outliers, what a release takes at once. */
#include "base/alloc.h"
#include "base/units.h"
#include "spec/meant.h"
#include "spec/types.h"

#include <string.h>

/* ---- retries --------------------------------------------------------------------------------- */

/* The defaults, as keys.def says them. */
enum {
    BUDGET_PPM = 200000,
    BACKOFF_MS = 25,
    ERRORS = 5,
    BASE_MS = 30000,
    MAX_MS = 300000,
    SHARE_PPM = 500000,
    PENDING = 100,
    QUEUE_MS = 5000
};
enum { MAX_ATTEMPTS = 10 };
#define ATTEMPTS_SHAPE "a whole number from 0 to 10"

static bool read_attempts_text(struct reader *r, const struct key *key, const struct node *node,
                               struct route_spec *route)
{
    const char *text = read_text(r, key, node, EXPAND_VALUE);
    uint64_t value;
    if (text == NULL)
        return false;
    if (parse_u64(text, MAX_ATTEMPTS, &value) < 0) {
        reader_expected(r, node, key->type->shape, NULL);
        return false;
    }
    route->retries = (uint32_t)value;
    return true;
}

static void read_attempts(struct reader *r, const struct key *key, const struct node *node,
                          void *base)
{
    read_attempts_text(r, key, node, base);
}

/* A number is the attempts; the rest is as in a map without more. */
static void read_retries(struct reader *r, const struct key *key, const struct node *node,
                         void *base)
{
    const struct node none = {.kind = NODE_MAP, .line = node->line, .column = node->column};
    if (node->kind == NODE_LIST) {
        reader_expected(r, node, key->type->shape, NULL);
        return;
    }
    if (node->kind != NODE_SCALAR) {
        read_mapping(r, IN_RETRIES, node, base);
        return;
    }
    read_mapping(r, IN_RETRIES, &none, base);
    read_attempts_text(r, key, node, base);
}

static bool write_attempts(const struct key *key, const void *base, struct buf *out)
{
    (void)key;
    buf_printf(out, "%u", ((const struct route_spec *)base)->retries);
    return true;
}

/* Short where only the attempts are not the default: people read this as a difference. */
static bool write_retries(const struct key *key, const void *base, struct buf *out)
{
    const struct route_spec *route = base;
    const struct resilience_spec *s = &route->resilience;
    if (s->retry_budget_ppm == BUDGET_PPM && s->retry_backoff_ms == BACKOFF_MS &&
        s->retry_on == RETRY_ON_RESET)
        return write_attempts(key, base, out);
    write_mapping(IN_RETRIES, base, out);
    return true;
}

const struct value_type type_retry_attempts = {
    .shape = ATTEMPTS_SHAPE, .read = read_attempts, .write = write_attempts};
const struct value_type type_retries = {.shape = ATTEMPTS_SHAPE
                                        ", or a map such as {attempts: 1, budget: 20%}",
                                        .read = read_retries,
                                        .write = write_retries};

/* ---- shares, in ppm; min and max of the type too --------------------------------------------- */

static void read_ppm(struct reader *r, const struct key *key, const struct node *node, void *base)
{
    const struct value_type *type = key->type;
    const char *text = read_text(r, key, node, EXPAND_VALUE);
    uint32_t ppm;
    if (text == NULL)
        return;
    if (parse_percent_ppm(text, &ppm) == 0 && ppm >= type->min && ppm <= type->max) {
        *(uint32_t *)field_at(base, key->offset) = ppm;
        return;
    }
    bool own = strcmp(text, node->text) == 0;
    cleanup_free char *meant = own ? meant_percentage(text, type->min, type->max) : NULL;
    cleanup_free char *hint = meant != NULL ? xasprintf("did you mean `%s`?", meant) : NULL;
    reader_expected(r, node, type->shape, hint);
}

static bool write_ppm_field(const struct key *key, const void *base, struct buf *out)
{
    return write_ppm(out, *(const uint32_t *)const_field_at(base, key->offset));
}

/* 0: off. */
static void read_ppm_or_off(struct reader *r, const struct key *key, const struct node *node,
                            void *base)
{
    if (node->kind == NODE_SCALAR && strcmp(node->text, "off") == 0)
        *(uint32_t *)field_at(base, key->offset) = 0;
    else
        read_ppm(r, key, node, base);
}

static bool write_ppm_or_off(const struct key *key, const void *base, struct buf *out)
{
    if (*(const uint32_t *)const_field_at(base, key->offset) == 0)
        return write_quoted_word(out, "off");
    return write_ppm_field(key, base, out);
}

const struct value_type type_retry_budget = {.shape = "a percentage from 0% to 100%",
                                             .read = read_ppm,
                                             .write = write_ppm_field,
                                             .max = 1000000};
const struct value_type type_max_ejected = {.shape = "a percentage above 0% and up to 100%",
                                            .read = read_ppm,
                                            .write = write_ppm_field,
                                            .min = 1,
                                            .max = 1000000};
/* Less is what good instances differ by. */
const struct value_type type_eject_latency = {.shape = "a percentage from 150% to 10000%, or `off`",
                                              .read = read_ppm_or_off,
                                              .write = write_ppm_or_off,
                                              .min = 1500000,
                                              .max = 100000000};

/* ---- what is retried ------------------------------------------------------------------------- */

static const char *const retry_words[] = {"reset", "502", "503", "504", NULL};
_Static_assert(RETRY_ON_RESET == 1 << 0 && RETRY_ON_502 == 1 << 1 && RETRY_ON_503 == 1 << 2 &&
                   RETRY_ON_504 == 1 << 3,
               "the order of the words");

static void read_retry_on(struct reader *r, const struct key *key, const struct node *node,
                          void *base)
{
    const struct node *const *items;
    size_t len;
    if (!read_items(r, key, node, 16, &items, &len))
        return;
    uint32_t on = 0;
    for (size_t i = 0; i < len; i++) {
        const char *text = read_text(r, key, items[i], EXPAND_VALUE);
        size_t k = 0;
        while (text != NULL && retry_words[k] != NULL && strcmp(text, retry_words[k]) != 0)
            k++;
        if (text != NULL && retry_words[k] == NULL)
            reader_expected_word(r, items[i], text, retry_words);
        on |= 1u << k;
    }
    ((struct route_spec *)base)->resilience.retry_on = on;
}

static bool write_retry_on(const struct key *key, const void *base, struct buf *out)
{
    uint32_t on = ((const struct route_spec *)base)->resilience.retry_on;
    (void)key;
    buf_putc(out, '[');
    for (size_t i = 0, n = 0; retry_words[i] != NULL; i++)
        if (on & 1u << i)
            buf_printf(out, "%s\"%s\"", n++ > 0 ? "," : "", retry_words[i]);
    buf_putc(out, ']');
    return true;
}

const struct value_type type_retry_on = {.shape = "a list of `reset`, `502`, `503` and `504`",
                                         .read = read_retry_on,
                                         .write = write_retry_on,
                                         .words = retry_words,
                                         .null_is_empty = true};

/* ---- the mappings ---------------------------------------------------------------------------- */

/* `off` is a map that looks at nothing. */
static void read_outlier(struct reader *r, const struct key *key, const struct node *node,
                         void *base)
{
    struct resilience_spec *spec = field_at(base, key->offset);
    const struct node none = {.kind = NODE_MAP, .line = node->line, .column = node->column};
    bool off = node->kind == NODE_SCALAR && strcmp(node->text, "off") == 0;
    if (node->kind == NODE_SCALAR && !off) {
        reader_expected(r, node, key->type->shape, NULL);
        return;
    }
    read_mapping(r, IN_OUTLIER, off ? &none : node, spec);
    if (off)
        spec->eject_errors = 0;
}

static bool write_outlier(const struct key *key, const void *base, struct buf *out)
{
    const struct resilience_spec *spec = const_field_at(base, key->offset);
    if (spec->eject_errors == 0 && spec->eject_latency_ppm == 0)
        return write_quoted_word(out, "off");
    if (spec->eject_errors == ERRORS && spec->eject_latency_ppm == 0 &&
        spec->eject_base_ms == BASE_MS && spec->eject_max_ms == MAX_MS &&
        spec->eject_share_ppm == SHARE_PPM)
        return false;
    write_mapping(IN_OUTLIER, spec, out);
    return true;
}

static bool write_capacity(const struct key *key, const void *base, struct buf *out)
{
    const struct resilience_spec *spec = const_field_at(base, key->offset);
    if (spec->in_flight == 0 && spec->pending == PENDING && spec->queue_ms == QUEUE_MS)
        return false;
    write_mapping(IN_CAPACITY, spec, out);
    return true;
}

/* 0s: there is none, and nothing to say. */
static void read_off_duration(struct reader *r, const struct key *key, const struct node *node,
                              void *base)
{
    type_duration.read(r, key, node, base);
}

static bool write_off_duration(const struct key *key, const void *base, struct buf *out)
{
    int64_t ms = *(const int64_t *)const_field_at(base, key->offset);
    return ms != 0 && write_duration(out, ms);
}

const struct value_type type_duration_or_none = {
    .shape = "a duration such as 10s", .read = read_off_duration, .write = write_off_duration};
const struct value_type type_outlier = {.shape = "a map such as {errors: 5, base: 30s}, or `off`",
                                        .nested = IN_OUTLIER,
                                        .read = read_outlier,
                                        .write = write_outlier,
                                        .null_is_empty = true};
const struct value_type type_capacity = {.shape = "a map such as {in-flight: 50, queue-time: 5s}",
                                         .nested = IN_CAPACITY,
                                         .write = write_capacity,
                                         .null_is_empty = true};
