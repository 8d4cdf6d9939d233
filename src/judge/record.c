/* The judge as JSON and back. Seventeen digits bring every double back as it was. */
#include "base/vec.h"
#include "judge/judge_internal.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <string.h>

enum { RECORD_VERSION = 3 };

/* ---- out
 * ---------------------------------------------------------------------------------------------- */

static void put_doubles(struct buf *out, const double *values, size_t len)
{
    buf_putc(out, '[');
    for (size_t i = 0; i < len; i++)
        buf_printf(out, "%s%.17g", i == 0 ? "" : ",", values[i]);
    buf_putc(out, ']');
}

/* JSON has no infinity: null. */
static void put_curve(struct buf *out, const struct curve *c)
{
    buf_printf(out, "{\"counts\":[%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 "],\"log\":",
               c->candidate_events, c->candidate_requests, c->stable_events, c->stable_requests);
    put_doubles(out, c->log_likelihood, CURVE_POINTS);
    buf_printf(
        out, ",\"at_allowed\":%.17g,\"moved\":%s,\"narrowed\":%" PRIu64 ",\"low\":%.17g,\"high\":",
        c->at_allowed, c->moved ? "true" : "false", c->narrowed_events, c->low);
    if (isinf(c->high))
        buf_puts(out, "null}");
    else
        buf_printf(out, "%.17g}", c->high);
}

static void put_latency(struct buf *out, const struct judge *j)
{
    buf_puts(out, "],\"latency\":[");
    for (uint32_t i = 0; i < j->edges_len; i++) {
        buf_puts(out, i == 0 ? "{\"curve\":" : ",{\"curve\":");
        put_curve(out, &j->latency[i]);
        buf_puts(out, ",\"worse\":");
        put_doubles(out, j->tail[i].worse, CURVE_WORSE);
        buf_puts(out, ",\"no_worse\":");
        put_doubles(out, j->tail[i].no_worse, CURVE_BETTER);
        buf_putc(out, '}');
    }
    buf_putc(out, ']');
}

/* Left out where answers are not compared. */
static void put_differences(struct buf *out, const struct difference_test *d)
{
    if (!d->used)
        return;
    const struct judge_compared *c = &d->seen;
    buf_printf(out,
               ",\"differences\":{\"tolerated\":%.17g,\"counts\":[%" PRIu64 ",%" PRIu64 ",%" PRIu64
               ",%" PRIu64 ",%" PRIu64 "]}",
               d->tolerated, c->pairs, c->differed, c->status, c->headers, c->body);
}

static void put_extras(struct buf *out, const struct judge *j)
{
    buf_puts(out, ",\"extras\":[");
    for (uint32_t i = 0; i < j->extras_len; i++) {
        const struct pair_test *p = &j->extras[i].test;
        buf_puts(out, i == 0 ? "{\"name\":\"" : ",{\"name\":\"");
        buf_json_escape(out, j->extras[i].name, strlen(j->extras[i].name));
        buf_printf(out,
                   "\",\"kind\":\"%s\",\"tolerance\":%.17g,\"less\":%s,\"counts\":[%" PRIu64
                   ",%" PRIu64 "],\"last\":[%.17g,%.17g]}",
                   judge_extra_word(j->extras[i].kind), p->tolerance,
                   p->less_is_worse ? "true" : "false", p->worse, p->not_worse, p->candidate_last,
                   p->stable_last);
    }
    buf_putc(out, ']');
}

void judge_to_json(const struct judge *j, struct buf *out)
{
    buf_printf(out,
               "{\"v\":%d,\"alpha\":%.17g,\"alpha_pass\":%.17g,\"allowed\":%.17g,\"has_stable\":%s"
               ",\"min_requests\":%" PRIu32 ",\"silent\":%" PRIu64 ",\"above_slo\":[%" PRIu64
               ",%" PRIu64 "],\"ceilings\":[%.17g,%.17g,%.17g],\"edges\":[",
               RECORD_VERSION, j->alpha, j->alpha_pass, j->allowed,
               j->has_stable ? "true" : "false", j->min_requests, j->silent_batches,
               j->candidate_above_slo, j->stable_above_slo, j->slo_errors.p_max,
               j->slo_latency.p_max, j->negligible_errors.p_max);
    for (uint32_t i = 0; i < j->edges_len; i++)
        buf_printf(out, "%s%" PRIu32, i == 0 ? "" : ",", j->edges[i]);
    put_latency(out, j);
    buf_puts(out, ",\"errors\":");
    put_curve(out, &j->errors);
    buf_puts(out, ",\"errors_once\":");
    put_curve(out, &j->errors_once);
    put_differences(out, &j->differences);
    put_extras(out, j);
    buf_putc(out, '}');
}

/* ---- in: false as soon as something is not as judge_to_json wrote it
 * ------------------------------------- */

static bool get_double(const json_t *value, double least, double most, double *out)
{
    if (!json_is_number(value))
        return false;
    *out = json_number_value(value);
    return *out >= least && *out <= most;
}

static bool get_bool(const json_t *value, bool *out)
{
    *out = json_is_true(value);
    return json_is_boolean(value);
}

static bool get_u64(const json_t *value, uint64_t most, uint64_t *out)
{
    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return false;
    *out = (uint64_t)json_integer_value(value);
    return *out <= most;
}

static bool get_u32(const json_t *value, uint32_t *out)
{
    uint64_t wide = 0;
    bool good = get_u64(value, UINT32_MAX, &wide);
    *out = (uint32_t)wide;
    return good;
}

static bool is_array(const json_t *array, size_t len)
{
    return json_is_array(array) && json_array_size(array) == len;
}

static bool get_doubles(const json_t *array, double *out, size_t len)
{
    if (!is_array(array, len))
        return false;
    for (size_t i = 0; i < len; i++)
        if (!get_double(json_array_get(array, i), -1e300, 1e300, &out[i]))
            return false;
    return true;
}

static bool get_counts(const json_t *array, uint64_t **out, size_t len)
{
    if (!is_array(array, len))
        return false;
    for (size_t i = 0; i < len; i++)
        if (!get_u64(json_array_get(array, i), INT64_MAX, out[i]))
            return false;
    return true;
}

static bool get_curve(const json_t *object, struct curve *c)
{
    uint64_t *counts[] = {&c->candidate_events, &c->candidate_requests, &c->stable_events,
                          &c->stable_requests};
    const json_t *high = json_object_get(object, "high");
    c->high = INFINITY;
    return get_counts(json_object_get(object, "counts"), counts, 4) &&
           c->candidate_events <= c->candidate_requests && c->stable_events <= c->stable_requests &&
           get_doubles(json_object_get(object, "log"), c->log_likelihood, CURVE_POINTS) &&
           get_double(json_object_get(object, "at_allowed"), -1e300, 1e300, &c->at_allowed) &&
           get_bool(json_object_get(object, "moved"), &c->moved) &&
           get_u64(json_object_get(object, "narrowed"), INT64_MAX, &c->narrowed_events) &&
           get_double(json_object_get(object, "low"), 0, 1e300, &c->low) &&
           (json_is_null(high) || get_double(high, c->low, 1e300, &c->high));
}

static bool get_edges(const json_t *edges, const json_t *latency, struct judge *j)
{
    size_t len = json_array_size(edges);
    if (len > JUDGE_EDGES || !is_array(edges, len) || !is_array(latency, len))
        return false;
    j->edges_len = (uint32_t)len;
    for (size_t i = 0; i < JUDGE_EDGES; i++)
        curve_init(&j->latency[i]);
    for (size_t i = 0; i < len; i++) {
        const json_t *one = json_array_get(latency, i);
        if (!get_u32(json_array_get(edges, i), &j->edges[i]) ||
            !get_curve(json_object_get(one, "curve"), &j->latency[i]) ||
            !get_doubles(json_object_get(one, "worse"), j->tail[i].worse, CURVE_WORSE) ||
            !get_doubles(json_object_get(one, "no_worse"), j->tail[i].no_worse, CURVE_BETTER))
            return false;
    }
    return true;
}

static bool get_kind(const json_t *value, enum judge_extra_kind *out)
{
    const char *word = json_string_value(value);
    for (int k = 0; word != NULL && k < EXTRA_KINDS; k++)
        if (strcmp(word, judge_extra_word((enum judge_extra_kind)k)) == 0) {
            *out = (enum judge_extra_kind)k;
            return true;
        }
    return false;
}

static bool get_extra(const json_t *object, struct judge_extra *extra)
{
    const char *name = json_string_value(json_object_get(object, "name"));
    struct pair_test *p = &extra->test;
    uint64_t *counts[] = {&p->worse, &p->not_worse};
    double last[2], tolerance;
    bool less;
    if (name == NULL || strlen(name) >= JUDGE_NAME_MAX ||
        !get_kind(json_object_get(object, "kind"), &extra->kind) ||
        !get_double(json_object_get(object, "tolerance"), 1, 1e300, &tolerance) ||
        !get_bool(json_object_get(object, "less"), &less) ||
        !get_doubles(json_object_get(object, "last"), last, 2))
        return false;
    memcpy(extra->name, name, strlen(name) + 1);
    pair_init(p, tolerance, less);
    p->candidate_last = last[0];
    p->stable_last = last[1];
    return get_counts(json_object_get(object, "counts"), counts, 2);
}

static bool get_extras(const json_t *extras, struct judge *j)
{
    size_t len = json_array_size(extras);
    if (len > JUDGE_EXTRAS || !is_array(extras, len))
        return false;
    j->extras_len = (uint32_t)len;
    for (size_t i = 0; i < len; i++)
        if (!get_extra(json_array_get(extras, i), &j->extras[i]))
            return false;
    return true;
}

static bool get_ceilings(const json_t *root, struct judge *j)
{
    uint64_t *above[] = {&j->candidate_above_slo, &j->stable_above_slo};
    const json_t *ceilings = json_object_get(root, "ceilings");
    struct ceiling *to[] = {&j->slo_errors, &j->slo_latency, &j->negligible_errors};
    if (!is_array(ceilings, 3))
        return false;
    for (size_t i = 0; i < 3; i++) {
        double p_max;
        if (!get_double(json_array_get(ceilings, i), 0, 1, &p_max))
            return false;
        ceiling_init(to[i], p_max);
    }
    return get_counts(json_object_get(root, "above_slo"), above, 2) &&
           j->candidate_above_slo <= j->errors.candidate_requests &&
           j->stable_above_slo <= j->errors.stable_requests;
}

static bool get_differences(const json_t *object, struct difference_test *d)
{
    struct judge_compared *c = &d->seen;
    uint64_t *counts[] = {&c->pairs, &c->differed, &c->status, &c->headers, &c->body};
    double tolerated;
    if (object == NULL)
        return true;
    if (!get_double(json_object_get(object, "tolerated"), 0, 1, &tolerated))
        return false;
    difference_init(d, tolerated);
    return get_counts(json_object_get(object, "counts"), counts, COUNT_OF(counts)) &&
           c->differed <= c->pairs;
}

static bool get_errors(const json_t *root, struct judge *j)
{
    const struct curve *all = &j->errors, *once = &j->errors_once;
    return get_curve(json_object_get(root, "errors"), &j->errors) &&
           get_curve(json_object_get(root, "errors_once"), &j->errors_once) &&
           once->candidate_events <= all->candidate_events &&
           once->stable_events <= all->stable_events &&
           once->candidate_requests == all->candidate_requests &&
           once->stable_requests == all->stable_requests;
}

static bool get_judge(const json_t *root, struct judge *j)
{
    return get_bool(json_object_get(root, "has_stable"), &j->has_stable) &&
           get_u32(json_object_get(root, "min_requests"), &j->min_requests) &&
           get_double(json_object_get(root, "alpha"), 1e-12, 1 - 1e-12, &j->alpha) &&
           get_double(json_object_get(root, "alpha_pass"), 1e-12, 1 - 1e-12, &j->alpha_pass) &&
           get_double(json_object_get(root, "allowed"), 1 + 1e-12, 1e300, &j->allowed) &&
           get_u64(json_object_get(root, "silent"), INT64_MAX, &j->silent_batches) &&
           get_edges(json_object_get(root, "edges"), json_object_get(root, "latency"), j) &&
           get_errors(root, j) && get_ceilings(root, j) &&
           get_differences(json_object_get(root, "differences"), &j->differences) &&
           get_extras(json_object_get(root, "extras"), j);
}

int judge_from_json(struct judge *j, const char *text, struct error *err)
{
    json_error_t where;
    json_t *root = json_loads(text, JSON_REJECT_DUPLICATES, &where);
    if (root == NULL)
        return error_set(err, ERROR_FAILED, "the stored evidence is no JSON: %s", where.text);
    struct judge read;
    uint64_t version = 0;
    memset(&read, 0, sizeof read);
    bool known = get_u64(json_object_get(root, "v"), INT64_MAX, &version);
    bool good = known && version == RECORD_VERSION && get_judge(root, &read);
    json_decref(root);
    if (known && version != RECORD_VERSION)
        return error_set(err, ERROR_FAILED,
                         "the stored evidence has form %" PRIu64 ", this version reads form %d",
                         version, RECORD_VERSION);
    if (!good)
        return error_set(err, ERROR_FAILED, "the stored evidence is not of this version's form");
    *j = read;
    return 0;
}
