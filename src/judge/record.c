/* The judge as JSON and back. Seventeen digits bring every double back as it was. */
#include "judge/judge_internal.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <string.h>

enum { RECORD_VERSION = 1 };

/* ---- out
 * ---------------------------------------------------------------------------------------------- */

static void put_doubles(struct buf *out, const double *values, size_t len)
{
    buf_putc(out, '[');
    for (size_t i = 0; i < len; i++)
        buf_printf(out, "%s%.17g", i == 0 ? "" : ",", values[i]);
    buf_putc(out, ']');
}

static void put_eprocess(struct buf *out, const struct eprocess *e)
{
    buf_printf(out, "{\"counts\":[%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 "],\"log\":",
               e->candidate_events, e->candidate_requests, e->stable_events, e->stable_requests);
    put_doubles(out, e->log_likelihood, JUDGE_GRID);
    buf_putc(out, '}');
}

static void put_ceiling(struct buf *out, const struct ceiling *c)
{
    buf_printf(out, "{\"p_max\":%.17g,\"counts\":[%" PRIu64 ",%" PRIu64 "],\"log\":", c->p_max,
               c->events, c->requests);
    put_doubles(out, c->log_likelihood, CEILING_GRID);
    buf_putc(out, '}');
}

void judge_to_json(const struct judge *j, struct buf *out)
{
    buf_printf(out,
               "{\"v\":%d,\"alpha\":%.17g,\"has_stable\":%s,\"min_requests\":%" PRIu32
               ",\"silent\":%" PRIu64 ",\"stable_above_slo\":%" PRIu64 ",\"edges\":[",
               RECORD_VERSION, j->alpha, j->has_stable ? "true" : "false", j->min_requests,
               j->silent_batches, j->stable_above_slo);
    for (uint32_t i = 0; i < j->edges_len; i++)
        buf_printf(out, "%s%" PRIu32, i == 0 ? "" : ",", j->edges[i]);
    buf_puts(out, "],\"errors\":");
    put_eprocess(out, &j->errors);
    buf_puts(out, ",\"latency\":[");
    for (uint32_t i = 0; i < j->edges_len; i++) {
        buf_puts(out, i == 0 ? "" : ",");
        put_eprocess(out, &j->latency[i]);
    }
    buf_puts(out, "],\"slo_errors\":");
    put_ceiling(out, &j->slo_errors);
    buf_puts(out, ",\"slo_latency\":");
    put_ceiling(out, &j->slo_latency);
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

static bool get_u64(const json_t *value, uint64_t most, uint64_t *out)
{
    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return false;
    *out = (uint64_t)json_integer_value(value);
    return *out <= most;
}

static bool get_doubles(const json_t *array, double *out, size_t len)
{
    if (!json_is_array(array) || json_array_size(array) != len)
        return false;
    for (size_t i = 0; i < len; i++)
        if (!get_double(json_array_get(array, i), -1e300, 1e300, &out[i]))
            return false;
    return true;
}

static bool get_counts(const json_t *array, uint64_t **out, size_t len)
{
    if (!json_is_array(array) || json_array_size(array) != len)
        return false;
    for (size_t i = 0; i < len; i++)
        if (!get_u64(json_array_get(array, i), INT64_MAX, out[i]))
            return false;
    return true;
}

static bool get_eprocess(const json_t *object, struct eprocess *e)
{
    uint64_t *counts[] = {&e->candidate_events, &e->candidate_requests, &e->stable_events,
                          &e->stable_requests};
    return get_counts(json_object_get(object, "counts"), counts, 4) &&
           e->candidate_events <= e->candidate_requests && e->stable_events <= e->stable_requests &&
           get_doubles(json_object_get(object, "log"), e->log_likelihood, JUDGE_GRID);
}

static bool get_ceiling(const json_t *object, struct ceiling *c)
{
    uint64_t *counts[] = {&c->events, &c->requests};
    return get_double(json_object_get(object, "p_max"), 0, 1, &c->p_max) &&
           get_counts(json_object_get(object, "counts"), counts, 2) && c->events <= c->requests &&
           get_doubles(json_object_get(object, "log"), c->log_likelihood, CEILING_GRID);
}

static bool get_edges(const json_t *edges, const json_t *latency, struct judge *j)
{
    size_t len = json_array_size(edges);
    if (!json_is_array(edges) || !json_is_array(latency) || len > JUDGE_EDGES ||
        json_array_size(latency) != len)
        return false;
    j->edges_len = (uint32_t)len;
    for (size_t i = 0; i < len; i++) {
        uint64_t edge;
        if (!get_u64(json_array_get(edges, i), UINT32_MAX, &edge) ||
            !get_eprocess(json_array_get(latency, i), &j->latency[i]))
            return false;
        j->edges[i] = (uint32_t)edge;
    }
    return true;
}

static bool get_judge(const json_t *root, struct judge *j)
{
    uint64_t version, min_requests;
    const json_t *has_stable = json_object_get(root, "has_stable");
    if (!get_u64(json_object_get(root, "v"), RECORD_VERSION, &version) ||
        version != RECORD_VERSION || !json_is_boolean(has_stable) ||
        !get_u64(json_object_get(root, "min_requests"), UINT32_MAX, &min_requests))
        return false;
    j->has_stable = json_is_true(has_stable);
    j->min_requests = (uint32_t)min_requests;
    return get_double(json_object_get(root, "alpha"), 1e-12, 1 - 1e-12, &j->alpha) &&
           get_u64(json_object_get(root, "silent"), INT64_MAX, &j->silent_batches) &&
           get_u64(json_object_get(root, "stable_above_slo"), INT64_MAX, &j->stable_above_slo) &&
           get_edges(json_object_get(root, "edges"), json_object_get(root, "latency"), j) &&
           get_eprocess(json_object_get(root, "errors"), &j->errors) &&
           get_ceiling(json_object_get(root, "slo_errors"), &j->slo_errors) &&
           get_ceiling(json_object_get(root, "slo_latency"), &j->slo_latency);
}

int judge_from_json(struct judge *j, const char *text, struct error *err)
{
    json_error_t where;
    json_t *root = json_loads(text, JSON_REJECT_DUPLICATES, &where);
    if (root == NULL)
        return error_set(err, ERROR_FAILED, "the stored evidence is no JSON: %s", where.text);
    struct judge read = {0};
    bool good = get_judge(root, &read);
    json_decref(root);
    if (!good)
        return error_set(err, ERROR_FAILED, "the stored evidence is not of this version's form");
    *j = read;
    return 0;
}
