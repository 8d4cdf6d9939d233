/* The state from JSON. The text may be anything: what decide() asserts is checked here, so that a
 * broken row is an error with the place in it, never an abort of the controller. */
#include "base/assert.h"
#include "base/units.h"
#include "core/core_internal.h"

#include <jansson.h>
#include <string.h>

enum { STATE_VERSION = 1 };

struct reading {
    struct error *err;
    bool failed;
};

static void wrong(struct reading *r, const char *key, const char *expected)
{
    if (!r->failed)
        error_set(r->err, ERROR_FAILED, "the stored state is broken: %s is not %s", key, expected);
    r->failed = true;
}

static int64_t number_of(struct reading *r, const json_t *value, const char *key, int64_t max)
{
    if (!json_is_integer(value) || json_integer_value(value) < 0 ||
        json_integer_value(value) > max) {
        wrong(r, key, "a number that fits");
        return 0;
    }
    return json_integer_value(value);
}

static uint32_t get_u32(struct reading *r, const json_t *o, const char *key)
{
    return (uint32_t)number_of(r, json_object_get(o, key), key, UINT32_MAX);
}

static int64_t get_i64(struct reading *r, const json_t *o, const char *key)
{
    return number_of(r, json_object_get(o, key), key, INT64_MAX / 4);
}

static bool get_bool(struct reading *r, const json_t *o, const char *key)
{
    const json_t *value = json_object_get(o, key);
    if (!json_is_boolean(value))
        wrong(r, key, "true or false");
    return json_is_true(value);
}

/* The position of a word among `count` ones. */
static unsigned word_of(struct reading *r, const json_t *value, const char *key,
                        const char *(*word)(unsigned), unsigned count)
{
    const char *text = json_string_value(value);
    for (unsigned i = 0; text != NULL && i < count; i++)
        if (strcmp(word(i), text) == 0)
            return i;
    wrong(r, key, "a known word");
    return 0;
}

#define WORD_FN(name, type, fn)                                                                    \
    static const char *name(unsigned value)                                                        \
    {                                                                                              \
        return fn((type)value);                                                                    \
    }
WORD_FN(side_at, enum side, side_word)
WORD_FN(step_kind_at, enum step_kind, step_kind_word)
WORD_FN(kind_at, enum rollout_kind, rollout_kind_word)
WORD_FN(phase_at, enum rollout_phase, rollout_phase_word)
WORD_FN(result_at, enum rollout_result, rollout_result_word)
WORD_FN(reason_at, enum reason_code, reason_code_word)

static void read_counts(struct reading *r, const json_t *list, const char *key, uint32_t *out)
{
    if (json_array_size(list) != SPEC_MAX_PROCESSES)
        wrong(r, key, "a list of counts");
    for (size_t i = 0; i < SPEC_MAX_PROCESSES && !r->failed; i++)
        out[i] = (uint32_t)number_of(r, json_array_get(list, i), key, REPLICAS_MAX + 1);
}

static void read_pools(struct reading *r, const json_t *list, struct app_state *s)
{
    if (!json_is_array(list) || json_array_size(list) > CORE_MAX_POOLS) {
        wrong(r, "pools", "a list of at most four");
        return;
    }
    for (size_t i = 0; i < json_array_size(list) && !r->failed; i++) {
        const json_t *o = json_array_get(list, i);
        size_t place =
            (size_t)number_of(r, json_object_get(o, "place"), "place", CORE_MAX_POOLS - 1);
        uint32_t id = get_u32(r, o, "id");
        if (id == 0 || id >= s->next_pool || app_pool(s, id) != NULL || s->pools[place].id != 0) {
            wrong(r, "pools", "a list of pools of their own");
            return;
        }
        struct pool_state *p = &s->pools[place];
        p->id = id;
        p->release = get_u32(r, o, "release");
        read_counts(r, json_object_get(o, "wanted"), "wanted", p->wanted);
        p->weight_ppm = (uint32_t)number_of(r, json_object_get(o, "weight"), "weight", WHOLE_PPM);
        p->keep_until_ms = get_i64(r, o, "keep_until");
        p->routed =
            (uint8_t)number_of(r, json_object_get(o, "routed"), "routed", SPEC_MAX_PROCESSES);
    }
}

static void read_step(struct reading *r, const json_t *row, struct step *out)
{
    if (json_array_size(row) != 7) {
        wrong(r, "plan", "a list of steps");
        return;
    }
    out->kind = (enum step_kind)word_of(r, json_array_get(row, 0), "step kind", step_kind_at,
                                        STEP_KINDS_COUNT);
    out->side = (enum side)word_of(r, json_array_get(row, 1), "side", side_at, SIDES_COUNT);
    out->process =
        (uint8_t)number_of(r, json_array_get(row, 2), "step process", SPEC_MAX_PROCESSES - 1);
    out->count = (uint32_t)number_of(r, json_array_get(row, 3), "step count", REPLICAS_MAX);
    out->weight_ppm = (uint32_t)number_of(r, json_array_get(row, 4), "step weight", WHOLE_PPM);
    out->duration_ms = number_of(r, json_array_get(row, 5), "step duration", INT64_MAX / 4);
    if (!json_is_boolean(json_array_get(row, 6)))
        wrong(r, "best effort", "true or false");
    out->best_effort = json_is_true(json_array_get(row, 6));
}

static void read_plan(struct reading *r, const json_t *list, struct app_state *s)
{
    if (!json_is_array(list) || json_array_size(list) > PLAN_STEPS_MAX) {
        wrong(r, "plan", "a list of steps");
        return;
    }
    struct arena memory = ARENA_INIT;
    struct plan plan = {NULL, json_array_size(list)};
    if (plan.len > 0) {
        struct step *steps = arena_alloc(&memory, plan.len * sizeof *steps);
        for (size_t i = 0; i < plan.len && !r->failed; i++)
            read_step(r, json_array_get(list, i), &steps[i]);
        plan.steps = steps;
    }
    plan_store(s, &plan);
    arena_release(&memory);
}

static void read_rollout(struct reading *r, const json_t *o, struct app_state *s)
{
    struct rollout_state *out = &s->rollout;
    const char *id = json_string_value(json_object_get(o, "id"));
    if (id == NULL || parse_u64(id, UINT64_MAX, &out->id) < 0 || out->id == 0)
        wrong(r, "rollout id", "a number in quotes");
    out->kind = (enum rollout_kind)word_of(r, json_object_get(o, "kind"), "kind", kind_at,
                                           ROLLOUT_KINDS_COUNT);
    out->phase = (enum rollout_phase)word_of(r, json_object_get(o, "phase"), "phase", phase_at,
                                             ROLLOUT_PHASES_COUNT);
    out->resume_phase = (enum rollout_phase)word_of(r, json_object_get(o, "resume"), "resume",
                                                    phase_at, ROLLOUT_PHASES_COUNT);
    out->told_phase = (enum rollout_phase)word_of(r, json_object_get(o, "told"), "told", phase_at,
                                                  ROLLOUT_PHASES_COUNT);
    out->exclusive = get_bool(r, o, "exclusive");
    out->ignored_reasons = get_u32(r, o, "ignored");
    out->cursor = get_u32(r, o, "cursor");
    out->started_ms = get_i64(r, o, "started");
    out->step_since_ms = get_i64(r, o, "step_since");
    out->progress_ms = get_i64(r, o, "progress");
    out->step_done_ms = get_i64(r, o, "step_done");
    out->promote_all = get_bool(r, o, "promote_all");
    out->ending = (enum rollout_result)word_of(r, json_object_get(o, "ending"), "ending", result_at,
                                               ROLLOUT_RESULTS_COUNT);
    enum reason_code code = (enum reason_code)word_of(r, json_object_get(o, "reason"), "reason",
                                                      reason_at, REASONS_COUNT);
    const char *text = json_string_value(json_object_get(o, "text"));
    if (text == NULL)
        wrong(r, "text", "text");
    reason_set(&out->reason, code, text != NULL ? text : "");
    out->ready_best = get_u32(r, o, "ready_best");
    out->drained_best = get_u32(r, o, "drained_best");
    read_plan(r, json_object_get(o, "plan"), s);
}

/* What holds between the parts. */
static void check_whole(struct reading *r, const struct app_state *s)
{
    const struct rollout_state *o = &s->rollout;
    if (s->next_pool == 0 || s->next_pool == UINT32_MAX)
        wrong(r, "next_pool", "a pool number");
    if (s->stable != 0 && app_pool(s, s->stable) == NULL)
        wrong(r, "stable", "one of the pools");
    if (s->candidate != 0 && (app_pool(s, s->candidate) == NULL || s->candidate == s->stable))
        wrong(r, "candidate", "another of the pools");
    if (s->mirror_ppm != 0 && s->candidate == 0)
        wrong(r, "mirror", "0 where there is no candidate");
    uint64_t weights = 0;
    for (size_t i = 0; i < CORE_MAX_POOLS; i++)
        weights += s->pools[i].weight_ppm;
    if (weights != 0 && weights != WHOLE_PPM)
        wrong(r, "the sum of the weights", "0 or 1000000");
    if ((o->id != 0) != (s->candidate != 0) || (o->id != 0) != (o->phase != PHASE_NONE))
        wrong(r, "the rollout", "there exactly while there is a candidate");
    bool empty = o->plan.len == 0;
    if (o->cursor > 0 && o->cursor >= o->plan.len)
        wrong(r, "cursor", "a step of the plan");
    /* A way back that was only just asked for has no plan yet. */
    if (o->id != 0 && empty && o->phase != PHASE_BACK)
        wrong(r, "plan", "a list with at least one step");
    if (!empty && o->plan.steps[o->plan.len - 1].kind != STEP_FINISH)
        wrong(r, "the last step", "finish");
    if (o->phase == PHASE_PAUSED && o->resume_phase != PHASE_FORWARD)
        wrong(r, "resume", "forward");
}

int app_state_from_json(struct app_state *s, const char *text, struct error *err)
{
    app_state_init(s);
    json_error_t at;
    json_t *o = json_loads(text, JSON_REJECT_DUPLICATES, &at);
    if (o == NULL)
        return error_set(err, ERROR_FAILED, "the stored state is broken: %s", at.text);
    struct reading r = {.err = err};
    const json_t *version = json_object_get(o, "version");
    if (!json_is_integer(version) || json_integer_value(version) != STATE_VERSION) {
        wrong(&r, "version", "1 (was it written by a newer sluice?)");
    } else {
        s->next_pool = get_u32(&r, o, "next_pool");
        s->stable = get_u32(&r, o, "stable");
        s->candidate = get_u32(&r, o, "candidate");
        s->hold = get_bool(&r, o, "hold");
        s->stopped = get_bool(&r, o, "stopped");
        s->previewing = get_bool(&r, o, "previewing");
        s->matching = get_bool(&r, o, "matching");
        const json_t *mirror = json_object_get(o, "mirror"); /* not in what older ones wrote */
        if (mirror != NULL)
            s->mirror_ppm = (uint32_t)number_of(&r, mirror, "mirror", WHOLE_PPM);
        read_counts(&r, json_object_get(o, "override"), "override", s->replicas_override);
        read_pools(&r, json_object_get(o, "pools"), s);
        const json_t *rollout = json_object_get(o, "rollout");
        if (rollout != NULL && !r.failed)
            read_rollout(&r, rollout, s);
        if (!r.failed)
            check_whole(&r, s);
    }
    json_decref(o);
    if (!r.failed)
        return 0;
    app_state_release(s);
    return -1;
}
