/* What gateways had counted for the slots of a rollout when the app's row was stored. It is in the
 * row, so that the next controller goes on counting there, at the same slots: what was served while
 * there was no controller comes to the judge as one batch, and is in the result's numbers; and the
 * judge goes on with the batch that it was gathering.
 *
 * Only of a rollout's two pools and of the app itself: some kilobytes in the row of an app that is
 * being rolled out, nothing in the others. What a gateway counted that died while no controller
 * looked is lost. */
#include "control/control_internal.h"

#include <string.h>

/* ---- counters as JSON: only those that are not 0 ---- */

static void put(json_t *out, size_t i, uint64_t n)
{
    if (n == 0)
        return;
    json_array_append_new(out, json_integer((json_int_t)i));
    json_array_append_new(out, json_integer((json_int_t)n));
}

/* Adds them to out[len]. */
static void add(const json_t *pairs, uint64_t *out, size_t len)
{
    for (size_t i = 0; i + 1 < json_array_size(pairs); i += 2) {
        json_int_t at = json_integer_value(json_array_get(pairs, i));
        if (at >= 0 && (size_t)at < len)
            out[at] += (uint64_t)json_integer_value(json_array_get(pairs, i + 1));
    }
}

/* ---- what the judge has gathered and not compared yet, as JSON ---- */

enum { ARM_COUNTS = 4 + JUDGE_EDGES, MARK_TRIES = 4 };

static json_t *arm_json(const struct judge_arm *arm)
{
    json_t *out = json_array();
    const uint64_t counts[] = {arm->requests, arm->errors, arm->repeats, arm->above_slo};
    for (size_t i = 0; i < COUNT_OF(counts); i++)
        put(out, i, counts[i]);
    for (size_t i = 0; i < JUDGE_EDGES; i++)
        put(out, COUNT_OF(counts) + i, arm->above[i]);
    return out;
}

static void arm_restore(struct judge_arm *arm, const json_t *saved)
{
    uint64_t n[ARM_COUNTS] = {0};
    add(saved, n, ARM_COUNTS);
    *arm = (struct judge_arm){.requests = n[0], .errors = n[1], .repeats = n[2], .above_slo = n[3]};
    memcpy(arm->above, n + 4, sizeof arm->above);
}

static json_t *gathering_json(const struct judge_gathering *g)
{
    return json_pack("{s:I,s:o,s:o}", "since", (json_int_t)g->since_ms, "candidate",
                     arm_json(&g->candidate), "stable", arm_json(&g->stable));
}

static void gathering_restore(struct judge_gathering *g, const json_t *saved)
{
    g->since_ms = json_integer_value(json_object_get(saved, "since"));
    arm_restore(&g->candidate, json_object_get(saved, "candidate"));
    arm_restore(&g->stable, json_object_get(saved, "stable"));
}

/* ---- making them ---- */

static bool rolls(const struct app *a, const struct slot *s)
{
    return s->pool == 0 || s->pool == a->state.stable || s->pool == a->state.candidate;
}

static json_t *raw_json(const struct gateway *g, uint32_t slot)
{
    const struct metrics_view *v = gateway_link_metrics(g->link);
    json_t *counters = json_array(), *buckets = json_array();
    uint64_t all[METRICS_BUCKETS];
    for (size_t m = 0; m < REQUEST_METRICS; m++)
        put(counters, m, metrics_request(v, slot, (enum request_metric)m));
    metrics_buckets(v, slot, all);
    for (size_t b = 0; b < METRICS_BUCKETS; b++)
        put(buckets, b, all[b]);
    return json_pack("{s:I,s:I,s:o,s:o}", "generation", (json_int_t)g->generation, "us",
                     (json_int_t)metrics_latency_us(v, slot), "counters", counters, "buckets",
                     buckets);
}

static bool speaks(const struct gateway *g)
{
    return !g->dead && gateway_link_metrics(g->link)->header != NULL;
}

/* What the judge has not been fed with yet is told apart. */
static json_t *mark_json(const struct app *a, const struct slot *s)
{
    const struct control *c = a->control;
    json_t *raw = json_array(), *counters = json_array(), *buckets = json_array();
    uint64_t all[METRICS_BUCKETS];
    for (size_t i = 0; i < c->gateways.len; i++)
        if (speaks(c->gateways.items[i]))
            json_array_append_new(raw, raw_json(c->gateways.items[i], s->index));
    for (size_t m = 0; a->judging && m < REQUEST_METRICS; m++)
        put(counters, m, counted_since(slot_value(c, s, (enum request_metric)m), s->judged[m]));
    slot_buckets(c, s, all);
    for (size_t b = 0; a->judging && b < METRICS_BUCKETS; b++)
        put(buckets, b, counted_since(all[b], s->judged_buckets[b]));
    return json_pack("{s:i,s:s,s:i,s:i,s:I,s:I,s:o,s:o,s:o,s:o}", "slot", (int)s->index, "route",
                     s->route, "pool", (int)s->pool, "role", (int)s->role, "requests",
                     (json_int_t)s->rollout_requests, "errors", (json_int_t)s->rollout_errors,
                     "raw", raw, "unjudged", counters, "unjudged_buckets", buckets, "gathered",
                     gathering_json(&s->gathering));
}

static json_t *all_marks(const struct app *a)
{
    json_t *marks = json_array();
    for (size_t i = 0; i < a->slots.len; i++)
        if (rolls(a, a->slots.items[i]))
            json_array_append_new(marks, mark_json(a, a->slots.items[i]));
    return marks;
}

/* Gateways count on meanwhile. A request between the counts and the marks would be in neither, or
 * in both: they are taken again then. Where requests come faster than that, a few of them are. */
json_t *marks_json(const struct app *a, struct rollout_counts *counts)
{
    json_t *marks = NULL;
    bool same = false;
    *counts = rollout_counts(a);
    for (int tries = 0; a->state.rollout.id != 0 && !same && tries < MARK_TRIES; tries++) {
        struct rollout_counts before = rollout_counts(a);
        json_decref(marks);
        marks = all_marks(a);
        *counts = rollout_counts(a);
        same = before.stable == counts->stable && before.candidate == counts->candidate &&
               before.failed == counts->failed;
    }
    return marks;
}

/* ---- going on from them ---- */

/* As if it had been judged so much less than nothing: watch.c takes differences. */
static void owe_judge(struct slot *s, const json_t *mark)
{
    uint64_t counters[REQUEST_METRICS] = {0}, buckets[METRICS_BUCKETS] = {0};
    add(json_object_get(mark, "unjudged"), counters, REQUEST_METRICS);
    add(json_object_get(mark, "unjudged_buckets"), buckets, METRICS_BUCKETS);
    for (size_t m = 0; m < REQUEST_METRICS; m++)
        s->judged[m] = 0 - counters[m];
    for (size_t b = 0; b < METRICS_BUCKETS; b++)
        s->judged_buckets[b] = 0 - buckets[b];
}

/* Earlier versions knew of pinned ones only, and said so. */
static enum slot_role role_of(const json_t *mark)
{
    json_int_t role = json_integer_value(json_object_get(mark, "role"));
    if (json_is_true(json_object_get(mark, "pinned")))
        return ROLE_PINNED;
    return role > ROLE_SHARE && role <= ROLE_COPIED ? (enum slot_role)role : ROLE_SHARE;
}

static void restore_one(struct app *a, json_t *mark)
{
    struct control *c = a->control;
    json_int_t index = json_integer_value(json_object_get(mark, "slot"));
    json_int_t pool = json_integer_value(json_object_get(mark, "pool"));
    const char *route = json_string_value(json_object_get(mark, "route"));
    if (route == NULL || index < 0 || index >= METRICS_REQUEST_SLOTS ||
        c->request_slot_used[index] == SLOT_USED ||
        (pool != 0 && app_pool(&a->state, (uint32_t)pool) == NULL))
        return;
    struct slot *s = app_slot_at(a, (uint32_t)index, route, (uint32_t)pool, role_of(mark));
    s->mark = json_incref(mark);
    s->rollout_requests = (uint64_t)json_integer_value(json_object_get(mark, "requests"));
    s->rollout_errors = (uint64_t)json_integer_value(json_object_get(mark, "errors"));
    owe_judge(s, mark);
    gathering_restore(&s->gathering, json_object_get(mark, "gathered"));
    for (size_t i = 0; i < c->gateways.len; i++)
        if (speaks(c->gateways.items[i]))
            mark_rebase(s, c->gateways.items[i]->generation);
}

void marks_restore(struct app *a, const json_t *marks)
{
    for (size_t i = 0; i < json_array_size(marks); i++)
        restore_one(a, json_array_get(marks, i));
}

/* A generation that is not in the mark began later: all that it counted is the slot's own. */
void mark_rebase(struct slot *s, uint64_t generation)
{
    const json_t *raws = json_object_get(s->mark, "raw");
    for (size_t i = 0; i < json_array_size(raws); i++) {
        const json_t *raw = json_array_get(raws, i);
        if ((uint64_t)json_integer_value(json_object_get(raw, "generation")) != generation)
            continue;
        add(json_object_get(raw, "counters"), s->base, REQUEST_METRICS);
        add(json_object_get(raw, "buckets"), s->base_buckets, METRICS_BUCKETS);
        s->base_us += (uint64_t)json_integer_value(json_object_get(raw, "us"));
    }
}
