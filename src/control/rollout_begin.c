/* A rollout begins: of a deploy whose release is ready, or of a roll back or restart. */
#include "control/control_internal.h"

#include <stdio.h>

int rollout_begin(struct app *a, enum rollout_kind kind, struct release *r, const char *actor,
                  struct store_batch *batch, struct error *err)
{
    struct control *c = a->control;
    cleanup_arena struct arena memory = ARENA_INIT;
    struct observations obs;
    const struct app_spec *spec = release_spec(a, r);
    if (spec == NULL)
        return error_set(err, ERROR_FAILED, "the stored spec of release %u cannot be read",
                         r->number);
    struct rollout_request request = {
        .id = store_next_rollout_id(c->store),
        .kind = kind,
        .release = r->number,
        .spec = spec,
        .stable = pool_spec(a, a->state.stable),
        .now_ms = control_now(),
    };
    struct rollout_state superseded = {0};
    uint32_t from = app_stable_release(a);
    app_observe(a, &memory, &obs);
    if (core_begin(&a->state, &request, &obs, &superseded, err) < 0)
        return -1;
    if (superseded.id != 0) {
        superseded.reason.code = REASON_SUPERSEDED;
        snprintf(superseded.reason.text, sizeof superseded.reason.text,
                 "superseded by a %s of release %u", rollout_kind_word(kind), r->number);
        rollout_ended(a, &superseded, RESULT_SUPERSEDED, batch);
    }
    bake_end(a);
    free(a->rollout_actor);
    a->rollout_actor = xstrdup(actor);
    a->paused_told = false;
    a->start = (struct rollout_start){
        .id = request.id,
        .kind = kind,
        .strategy = spec->strategy.kind,
        .from_release = from,
        .release = r->number,
        .stable_pool = a->state.stable,
        .candidate_pool = a->state.candidate,
        .at_ms = request.now_ms,
        .began_ms = request.now_ms,
        .failed = app_failed(a),
        .stable_requests = a->state.stable != 0 ? pool_value(a, a->state.stable, REQUESTS) : 0,
    };
    if (kind == ROLLOUT_DEPLOY)
        watch_begin(a);
    else
        watch_end(a);
    if (a->maintenance != NULL && kind == ROLLOUT_DEPLOY)
        event_add(c, batch, a, "maintenance", NULL, r->number,
                  "the app is in maintenance: no request of its users reaches the new release, so "
                  "nothing is known of it but what its probes say (`sluice maintenance` ends it)",
                  NULL);
    app_put_row(a, batch);
    rollout_put_row(a, batch);
    a->traffic_version = 0;
    control_mark_routes(c);
    control_mark(a);
    return 0;
}
