#include "base/assert.h"
#include "judge/evidence.h"

#include <inttypes.h>
#include <jansson.h>
#include <string.h>

static const double PERIOD_HOURS = 720; /* the budget's period: thirty days */

double burn_threshold(double budget_fraction, double long_hours)
{
    ASSERT(budget_fraction > 0 && long_hours > 0);
    return budget_fraction * PERIOD_HOURS / long_hours;
}

void burn_init(struct burn *b, double budget, int64_t long_ms, uint64_t min_requests)
{
    ASSERT(budget > 0 && budget < 1 && long_ms > 0);
    memset(b, 0, sizeof *b);
    b->budget = budget;
    b->bucket_ms = (long_ms + BURN_BUCKETS - 1) / BURN_BUCKETS;
    b->min_requests = min_requests;
    b->newest = -1;
}

void burn_update(struct burn *b, int64_t now_ms, uint64_t errors, uint64_t requests)
{
    ASSERT(now_ms >= 0 && errors <= requests);
    int64_t bucket = now_ms / b->bucket_ms;
    if (b->newest < 0 || bucket - b->newest >= BURN_BUCKETS) {
        memset(b->errors, 0, sizeof b->errors);
        memset(b->requests, 0, sizeof b->requests);
        b->newest = bucket;
    }
    while (b->newest < bucket) {
        b->newest++;
        b->errors[b->newest % BURN_BUCKETS] = b->requests[b->newest % BURN_BUCKETS] = 0;
    }
    b->errors[b->newest % BURN_BUCKETS] += errors;
    b->requests[b->newest % BURN_BUCKETS] += requests;
}

static double window(const struct burn *b, int64_t now_ms, int buckets, uint64_t *requests)
{
    uint64_t errors = 0;
    int64_t now = now_ms / b->bucket_ms;
    *requests = 0;
    now = now > b->newest ? now : b->newest;
    for (int64_t i = now; i > now - buckets && i >= 0; i--)
        if (i <= b->newest && i > b->newest - BURN_BUCKETS) {
            errors += b->errors[i % BURN_BUCKETS];
            *requests += b->requests[i % BURN_BUCKETS];
        }
    return *requests != 0 ? (double)errors / (double)*requests / b->budget : 0;
}

double burn_long(const struct burn *b, int64_t now_ms)
{
    uint64_t requests;
    return window(b, now_ms, BURN_BUCKETS, &requests);
}

double burn_short(const struct burn *b, int64_t now_ms)
{
    uint64_t requests;
    return window(b, now_ms, BURN_SHORT, &requests);
}

bool burn_fires(const struct burn *b, int64_t now_ms, double threshold)
{
    uint64_t requests;
    return window(b, now_ms, BURN_SHORT, &requests) > threshold && requests >= b->min_requests &&
           burn_long(b, now_ms) > threshold;
}

void burn_to_json(const struct burn *b, struct buf *out)
{
    buf_printf(out,
               "{\"budget\":%.17g,\"bucket_ms\":%" PRId64 ",\"min_requests\":%" PRIu64
               ",\"newest\":%" PRId64 ",\"buckets\":[",
               b->budget, b->bucket_ms, b->min_requests, b->newest);
    for (int i = 0; i < BURN_BUCKETS; i++)
        buf_printf(out, "%s%" PRIu64 ",%" PRIu64, i == 0 ? "" : ",", b->errors[i], b->requests[i]);
    buf_puts(out, "]}");
}

static bool get_integer(const json_t *value, int64_t least, int64_t *out)
{
    *out = json_integer_value(value);
    return json_is_integer(value) && *out >= least;
}

static bool get_burn(const json_t *root, struct burn *b)
{
    const json_t *budget = json_object_get(root, "budget"),
                 *buckets = json_object_get(root, "buckets");
    int64_t min_requests;
    b->budget = json_number_value(budget);
    if (!json_is_number(budget) || b->budget <= 0 || b->budget >= 1 ||
        !get_integer(json_object_get(root, "bucket_ms"), 1, &b->bucket_ms) ||
        !get_integer(json_object_get(root, "min_requests"), 0, &min_requests) ||
        !get_integer(json_object_get(root, "newest"), -1, &b->newest) || !json_is_array(buckets) ||
        json_array_size(buckets) != 2 * (size_t)BURN_BUCKETS)
        return false;
    b->min_requests = (uint64_t)min_requests;
    for (size_t i = 0; i < BURN_BUCKETS; i++) {
        int64_t errors, requests;
        if (!get_integer(json_array_get(buckets, 2 * i), 0, &errors) ||
            !get_integer(json_array_get(buckets, 2 * i + 1), 0, &requests) || errors > requests)
            return false;
        b->errors[i] = (uint64_t)errors;
        b->requests[i] = (uint64_t)requests;
    }
    return true;
}

int burn_from_json(struct burn *b, const char *text, struct error *err)
{
    json_error_t where;
    json_t *root = json_loads(text, JSON_REJECT_DUPLICATES, &where);
    if (root == NULL)
        return error_set(err, ERROR_FAILED, "the stored burn rate is no JSON: %s", where.text);
    struct burn read = {0};
    bool good = get_burn(root, &read);
    json_decref(root);
    if (!good)
        return error_set(err, ERROR_FAILED, "the stored burn rate is not of this version's form");
    *b = read;
    return 0;
}
