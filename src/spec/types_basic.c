/* Numbers, durations, sizes, shares, words: the types whose value is one scalar. */
#include "base/alloc.h"
#include "base/units.h"
#include "spec/meant.h"
#include "spec/types.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- booleans and words ---------------------------------------------------------------------- */

static void read_word(struct reader *r, const struct key *key, const struct node *node, void *base)
{
    const char *text = read_text(r, key, node, EXPAND_VALUE);
    for (int i = 0; text != NULL && i < 2; i++)
        if (strcmp(text, key->type->words[i]) == 0) {
            *(bool *)field_at(base, key->offset) = i == 1;
            return;
        }
    if (text != NULL)
        reader_expected_word(r, node, text, key->type->words);
}

static bool write_word(const struct key *key, const void *base, struct buf *out)
{
    bool second = *(const bool *)const_field_at(base, key->offset);
    return write_quoted_word(out, key->type->words[second]);
}

bool write_quoted_word(struct buf *out, const char *word)
{
    buf_printf(out, "\"%s\"", word);
    return true;
}

/* Where it is asked for only: plans stay short. */
static bool write_client_cert(const struct key *key, const void *base, struct buf *out)
{
    return ((const struct route_spec *)base)->client_cert && write_word(key, base, out);
}

static bool write_boolean(const struct key *key, const void *base, struct buf *out)
{
    buf_puts(out, *(const bool *)const_field_at(base, key->offset) ? "true" : "false");
    return true;
}

static void read_inconclusive(struct reader *r, const struct key *key, const struct node *node,
                              void *base)
{
    const char *text = read_text(r, key, node, EXPAND_VALUE);
    if (text == NULL)
        return;
    for (int i = 0; key->type->words[i] != NULL; i++)
        if (strcmp(text, key->type->words[i]) == 0) {
            ((struct judge_spec *)base)->inconclusive = (enum inconclusive_policy)i;
            return;
        }
    reader_expected_word(r, node, text, key->type->words);
}

static bool write_inconclusive(const struct key *key, const void *base, struct buf *out)
{
    return write_quoted_word(out,
                             key->type->words[((const struct judge_spec *)base)->inconclusive]);
}

static const char *const booleans[] = {"false", "true", NULL};
static const char *const failure_words[] = {"rollback", "pause", NULL};
static const char *const sticky_words[] = {"none", "cookie", NULL};
static const char *const tls_words[] = {"files", "auto", NULL};
static const char *const https_words[] = {"optional", "redirect", NULL};
static const char *const client_cert_words[] = {"optional", "required", NULL};

static const char *const inconclusive_words[] = {[INCONCLUSIVE_CONTINUE] = "continue",
                                                 [INCONCLUSIVE_PAUSE] = "pause",
                                                 [INCONCLUSIVE_ROLLBACK] = "rollback",
                                                 NULL};

const struct value_type type_inconclusive = {.shape = "`continue`, `pause` or `rollback`",
                                             .read = read_inconclusive,
                                             .write = write_inconclusive,
                                             .words = inconclusive_words};
const struct value_type type_boolean = {
    .shape = "`true` or `false`", .read = read_word, .write = write_boolean, .words = booleans};
const struct value_type type_on_failure = {.shape = "`rollback` or `pause`",
                                           .read = read_word,
                                           .write = write_word,
                                           .words = failure_words};
const struct value_type type_sticky = {
    .shape = "`none` or `cookie`", .read = read_word, .write = write_word, .words = sticky_words};
const struct value_type type_tls = {
    .shape = "`auto` or `files`", .read = read_word, .write = write_word, .words = tls_words};
const struct value_type type_https = {.shape = "`optional` or `redirect`",
                                      .read = read_word,
                                      .write = write_word,
                                      .words = https_words};

const struct value_type type_client_cert = {.shape = "`optional` or `required`",
                                            .read = read_word,
                                            .write = write_client_cert,
                                            .words = client_cert_words};

/* ---- whole numbers --------------------------------------------------------------------------- */

static void read_count(struct reader *r, const struct key *key, const struct node *node, void *base)
{
    const struct value_type *type = key->type;
    const char *text = read_text(r, key, node, EXPAND_VALUE);
    uint64_t value;
    if (text == NULL)
        return;
    if (parse_u64(text, type->max, &value) < 0 || value < type->min)
        reader_expected(r, node, type->shape, type->hint);
    else
        *(uint32_t *)field_at(base, key->offset) = (uint32_t)value;
}

static bool write_count(const struct key *key, const void *base, struct buf *out)
{
    buf_printf(out, "%u", *(const uint32_t *)const_field_at(base, key->offset));
    return true;
}

#define COUNT_TYPE(type, lowest, highest, text)                                                    \
    const struct value_type type = {                                                               \
        .shape = text, .read = read_count, .write = write_count, .min = lowest, .max = highest}
COUNT_TYPE(type_threshold, 1, 1000, "a whole number from 1 to 1000");
COUNT_TYPE(type_history, 1, 1000, "a whole number from 1 to 1000");
COUNT_TYPE(type_hold_requests, 0, 1000000, "a whole number from 0 to 1000000");
COUNT_TYPE(type_min_requests, 1, 1000000, "a whole number from 1 to 1000000");
COUNT_TYPE(type_limit, 0, 100000, "a whole number from 0 to 100000");

/* ---- durations ------------------------------------------------------------------------------- */

static void read_duration(struct reader *r, const struct key *key, const struct node *node,
                          void *base)
{
    const struct value_type *type = key->type;
    const char *text = read_text(r, key, node, EXPAND_VALUE);
    int64_t ms, most = type->max != 0 ? (int64_t)type->max : MAX_DURATION_MS;
    uint64_t bare;
    if (text == NULL)
        return;
    if (parse_duration_ms(text, &ms) == 0) {
        char longest[32];
        if (ms > most)
            reader_fail(r, node, NULL, "%s is the longest duration",
                        format_duration_ms(most, longest, sizeof longest));
        else if ((uint64_t)ms < type->min && type->min == 1)
            reader_fail(r, node, type->hint, "must be longer than 0");
        else if ((uint64_t)ms < type->min)
            reader_expected(r, node, type->shape, type->hint);
        else
            *(int64_t *)field_at(base, key->offset) = ms;
        return;
    }
    bool own = strcmp(text, node->text) == 0;
    cleanup_free char *meant = own ? meant_duration(text, type->min, (uint64_t)most) : NULL;
    cleanup_free char *hint = NULL;
    if (meant != NULL)
        hint = xasprintf("%sdid you mean `%s`?",
                         parse_u64(text, UINT32_MAX, &bare) == 0 ? "the unit is missing: " : "",
                         meant);
    reader_expected(r, node, type->shape,
                    hint != NULL ? hint : "units: ms, s, m, h, d; also 1m30s");
}

bool write_duration(struct buf *out, int64_t ms)
{
    char text[32];
    buf_printf(out, "\"%s\"", format_duration_ms(ms, text, sizeof text));
    return true;
}

static bool write_duration_field(const struct key *key, const void *base, struct buf *out)
{
    return write_duration(out, *(const int64_t *)const_field_at(base, key->offset));
}

const struct value_type type_duration = {
    .shape = "a duration such as 10s", .read = read_duration, .write = write_duration_field};
const struct value_type type_duration_positive = {.shape = "a duration such as 10s",
                                                  .read = read_duration,
                                                  .write = write_duration_field,
                                                  .min = 1};
const struct value_type type_duration_years = {.shape = "a duration such as 365d",
                                               .read = read_duration,
                                               .write = write_duration_field,
                                               .max = UINT64_C(730) * 24 * 3600 * 1000};
/* More often would be a load of its own on what is asked. */
const struct value_type type_interval = {.shape = "a duration of at least 1s, such as 10s",
                                         .read = read_duration,
                                         .write = write_duration_field,
                                         .min = 1000};

/* ---- shares ---------------------------------------------------------------------------------- */

bool write_ppm(struct buf *out, uint32_t ppm)
{
    char text[32];
    buf_printf(out, "\"%s\"", format_percent_ppm(ppm, text, sizeof text));
    return true;
}

/* min and max of the type are in ppm. */
static void read_share(struct reader *r, const struct key *key, const struct node *node, void *base)
{
    const struct value_type *type = key->type;
    const char *text = read_text(r, key, node, EXPAND_VALUE);
    uint32_t ppm;
    if (text == NULL)
        return;
    if (parse_percent_ppm(text, &ppm) == 0 && ppm >= type->min && ppm <= type->max) {
        *(double *)field_at(base, key->offset) = ppm / 1e6;
        return;
    }
    bool own = strcmp(text, node->text) == 0;
    cleanup_free char *meant = own ? meant_percentage(text, type->min, type->max) : NULL;
    cleanup_free char *hint = meant != NULL ? xasprintf("did you mean `%s`?", meant) : NULL;
    reader_expected(r, node, type->shape, hint);
}

static bool write_share(const struct key *key, const void *base, struct buf *out)
{
    return write_ppm(out,
                     (uint32_t)lround(*(const double *)const_field_at(base, key->offset) * 1e6));
}

/* 0: off. */
static void read_more(struct reader *r, const struct key *key, const struct node *node, void *base)
{
    if (node->kind == NODE_SCALAR && strcmp(node->text, "off") == 0)
        *(double *)field_at(base, key->offset) = 0;
    else
        read_share(r, key, node, base);
}

static bool write_more(const struct key *key, const void *base, struct buf *out)
{
    if (*(const double *)const_field_at(base, key->offset) == 0)
        return write_quoted_word(out, "off");
    return write_share(key, base, out);
}

static void read_error_rate(struct reader *r, const struct key *key, const struct node *node,
                            void *base)
{
    struct slo_spec *slo = base;
    slo->error_rate = -1;
    read_share(r, key, node, base);
    slo->has_error_rate = slo->error_rate >= 0;
    if (!slo->has_error_rate)
        slo->error_rate = 0;
}

static bool write_error_rate(const struct key *key, const void *base, struct buf *out)
{
    const struct slo_spec *slo = base;
    return slo->has_error_rate && write_share(key, base, out);
}

const struct value_type type_judge_alpha = {.shape = "a percentage above 0% and up to 50%",
                                            .read = read_share,
                                            .write = write_share,
                                            .min = 1,
                                            .max = 500000};
const struct value_type type_judge_worse = {.shape = "a percentage above 0%, such as 100%",
                                            .read = read_share,
                                            .write = write_share,
                                            .min = 1,
                                            .max = 100000000};
/* Less is what good releases differ by. */
const struct value_type type_judge_more = {
    .shape = "a percentage of at least 10%, such as 100%, or `off`",
    .read = read_more,
    .write = write_more,
    .min = 100000,
    .max = 100000000};
const struct value_type type_error_rate = {.shape = "a percentage from 0% to 100%",
                                           .read = read_error_rate,
                                           .write = write_error_rate,
                                           .max = 1000000};

/* An amount: replicas, or a share of them. */
static void read_amount(struct reader *r, const struct key *key, const struct node *node,
                        void *base)
{
    const char *text = read_text(r, key, node, EXPAND_VALUE);
    struct amount *out = field_at(base, key->offset);
    uint64_t count;
    uint32_t ppm;
    if (text == NULL)
        return;
    if (parse_u64(text, MAX_REPLICAS, &count) == 0)
        *out = (struct amount){.percent = false, .value = (uint32_t)count};
    else if (parse_percent_ppm(text, &ppm) == 0 && ppm % 10000 == 0 && ppm <= 1000000)
        *out = (struct amount){.percent = true, .value = ppm / 10000};
    else
        reader_expected(r, node, key->type->shape, NULL);
}

static bool write_amount(const struct key *key, const void *base, struct buf *out)
{
    const struct amount *a = const_field_at(base, key->offset);
    buf_printf(out, a->percent ? "\"%u%%\"" : "%u", a->value);
    return true;
}

const struct value_type type_amount = {
    .shape = "a number of instances, or a whole percentage up to 100%",
    .read = read_amount,
    .write = write_amount};

/* ---- resources ------------------------------------------------------------------------------- */

static void read_cpu(struct reader *r, const struct key *key, const struct node *node, void *base)
{
    const char *text = read_text(r, key, node, EXPAND_VALUE);
    uint32_t milli;
    if (text == NULL)
        return;
    if (parse_cpu_milli(text, &milli) < 0 || milli < 10 || milli > 1024000)
        reader_expected(r, node, key->type->shape, NULL);
    else
        ((struct app_spec *)base)->cpu_milli = milli;
}

static bool write_cpu(const struct key *key, const void *base, struct buf *out)
{
    uint32_t milli = ((const struct app_spec *)base)->cpu_milli;
    (void)key;
    if (milli != 0)
        buf_printf(out, "\"%um\"", milli);
    return milli != 0;
}

void reader_expected_size(struct reader *r, const struct key *key, const struct node *node,
                          const char *text, uint64_t min, uint64_t max)
{
    bool own = strcmp(text, node->text) == 0;
    cleanup_free char *meant = own ? meant_size(text, min, max) : NULL;
    cleanup_free char *hint = meant != NULL ? xasprintf("did you mean `%s`?", meant) : NULL;
    reader_expected(r, node, key->type->shape,
                    hint != NULL ? hint : "units: Ki, Mi, Gi, Ti (1024), k, M, G, T (1000)");
}

static void read_memory(struct reader *r, const struct key *key, const struct node *node,
                        void *base)
{
    const char *text = read_text(r, key, node, EXPAND_VALUE);
    uint64_t bytes;
    if (text == NULL)
        return;
    if (parse_size_bytes(text, &bytes) < 0 || bytes > (UINT64_C(1) << 50)) {
        reader_expected_size(r, key, node, text, 1 << 20, UINT64_C(1) << 50);
    } else if (bytes < 1 << 20) {
        cleanup_free char *hint = NULL;
        if (strcmp(text, node->text) == 0 && strspn(text, "0123456789") == strlen(text))
            hint = xasprintf("did you mean `%sMi`?", text);
        reader_fail(r, node, hint, "less than 1Mi: no program runs in that");
    } else {
        ((struct app_spec *)base)->memory_bytes = bytes;
    }
}

static bool write_memory(const struct key *key, const void *base, struct buf *out)
{
    uint64_t bytes = ((const struct app_spec *)base)->memory_bytes;
    char text[32];
    (void)key;
    if (bytes != 0)
        buf_printf(out, "\"%s\"", format_size_bytes(bytes, text, sizeof text));
    return bytes != 0;
}

static bool write_resources(const struct key *key, const void *base, struct buf *out)
{
    const struct app_spec *spec = base;
    (void)key;
    if (spec->cpu_milli == 0 && spec->memory_bytes == 0)
        return false;
    write_mapping(IN_RESOURCES, base, out);
    return true;
}

const struct value_type type_cpu = {.shape = "an amount of processor time such as 500m or 1.5",
                                    .read = read_cpu,
                                    .write = write_cpu};
const struct value_type type_memory = {
    .shape = "a size such as 256Mi", .read = read_memory, .write = write_memory};
const struct value_type type_resources = {.shape = "a map such as {cpu: 500m, memory: 256Mi}",
                                          .nested = IN_RESOURCES,
                                          .write = write_resources,
                                          .null_is_empty = true};

/* ---- the folder, and the mappings that are nothing but their keys ---------------------------- */

static void read_folder(struct reader *r, const struct key *key, const struct node *node,
                        void *base)
{
    const char *text = read_text(r, key, node, EXPAND_VALUE);
    if (text == NULL)
        return;
    if (*text == '\0' || strlen(text) > 4000)
        reader_expected(r, node, key->type->shape, NULL);
    else
        ((struct app_spec *)base)->source = text;
}

static bool write_folder(const struct key *key, const void *base, struct buf *out)
{
    const struct app_spec *spec = base;
    (void)key;
    if (spec->source != NULL)
        write_string(out, spec->source);
    return spec->source != NULL;
}

const struct value_type type_folder = {
    .shape = "the path of a folder", .read = read_folder, .write = write_folder};

const struct value_type type_hold = {
    .shape = "a map such as {time: 10s, requests: 1000}", .nested = IN_HOLD, .null_is_empty = true};
const struct value_type type_slo = {.shape =
                                        "a map such as {error-rate: 1%, latency: {p95: 500ms}}",
                                    .nested = IN_SLO,
                                    .null_is_empty = true};
const struct value_type type_judge = {.shape = "a map such as {alpha: 0.1%, max-worse: 100%}",
                                      .nested = IN_JUDGE,
                                      .null_is_empty = true};

/* ---- latency --------------------------------------------------------------------------------- */

static const struct {
    const char *word;
    double quantile;
} quantiles[] = {
    {"p50", 0.5}, {"p75", 0.75}, {"p90", 0.9}, {"p95", 0.95}, {"p99", 0.99}, {"p99.9", 0.999},
};
static const char *const quantile_words[] = {"p50", "p75", "p90", "p95", "p99", "p99.9", NULL};

static void read_latency(struct reader *r, const struct key *key, const struct node *node,
                         void *base)
{
    struct slo_spec *slo = base;
    if (node->kind != NODE_MAP || node->len != 1) {
        reader_expected(r, node, key->type->shape, "one quantile and its limit");
        return;
    }
    const struct pair *only = &node->pairs[0];
    for (size_t i = 0; quantile_words[i] != NULL; i++) {
        if (strcmp(only->key->text, quantile_words[i]) != 0)
            continue;
        slo->latency_ms = 0;
        size_t mark = path_push(r, only->key->text);
        struct key limit = *key;
        limit.type = &type_duration_positive;
        if (only->value->kind == NODE_NULL)
            reader_fail(r, only->value, "expected a duration such as 500ms", "has no value");
        else
            read_duration(r, &limit, only->value, base);
        path_pop(r, mark);
        slo->has_latency = slo->latency_ms > 0;
        slo->latency_quantile = slo->has_latency ? quantiles[i].quantile : 0;
        return;
    }
    reader_expected_word(r, only->key, only->key->text, quantile_words);
}

static bool write_latency(const struct key *key, const void *base, struct buf *out)
{
    const struct slo_spec *slo = base;
    (void)key;
    if (!slo->has_latency)
        return false;
    for (size_t i = 0; i < sizeof quantiles / sizeof quantiles[0]; i++)
        if (quantiles[i].quantile == slo->latency_quantile)
            buf_printf(out, "{\"%s\":", quantiles[i].word);
    write_duration(out, slo->latency_ms);
    buf_putc(out, '}');
    return true;
}

const struct value_type type_latency = {
    .shape = "a map such as {p95: 500ms}", .read = read_latency, .write = write_latency};
