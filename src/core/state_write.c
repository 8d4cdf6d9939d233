/* The state as JSON: what the store keeps. Version 1; read by state_read.c. */
#include "core/core_internal.h"

#include <inttypes.h>
#include <string.h>

static void write_counts(const uint32_t counts[SPEC_MAX_PROCESSES], struct buf *out)
{
    buf_putc(out, '[');
    for (size_t i = 0; i < SPEC_MAX_PROCESSES; i++)
        buf_printf(out, "%s%" PRIu32, i > 0 ? "," : "", counts[i]);
    buf_putc(out, ']');
}

static void write_pools(const struct app_state *s, struct buf *out)
{
    const char *comma = "";
    buf_puts(out, "\"pools\":[");
    for (size_t i = 0; i < CORE_MAX_POOLS; i++) {
        const struct pool_state *p = &s->pools[i];
        if (p->id == 0)
            continue;
        /* The place too: specs are parallel to the places. */
        buf_printf(out,
                   "%s{\"place\":%zu,\"id\":%" PRIu32 ",\"release\":%" PRIu32 ",\"wanted\":", comma,
                   i, p->id, p->release);
        write_counts(p->wanted, out);
        buf_printf(out, ",\"weight\":%" PRIu32 ",\"keep_until\":%" PRId64 ",\"routed\":%u}",
                   p->weight_ppm, p->keep_until_ms, p->routed);
        comma = ",";
    }
    buf_putc(out, ']');
}

/* A row per step: [kind, side, process, count, weight, duration, best effort]. */
static void write_plan(const struct plan *plan, struct buf *out)
{
    buf_puts(out, "\"plan\":[");
    for (size_t i = 0; i < plan->len; i++) {
        const struct step *step = &plan->steps[i];
        buf_printf(out, "%s[\"%s\",\"%s\",%u,%" PRIu32 ",%" PRIu32 ",%" PRId64 ",%s]",
                   i > 0 ? "," : "", step_kind_word(step->kind), side_word(step->side),
                   step->process, step->count, step->weight_ppm, step->duration_ms,
                   step->best_effort ? "true" : "false");
    }
    buf_putc(out, ']');
}

static void write_rollout(const struct rollout_state *r, struct buf *out)
{
    /* The id is text: JSON's numbers end at 2^53 for many readers. */
    buf_printf(out, "\"rollout\":{\"id\":\"%" PRIu64 "\",\"kind\":\"%s\",\"phase\":\"%s\",", r->id,
               rollout_kind_word(r->kind), rollout_phase_word(r->phase));
    buf_printf(out, "\"resume\":\"%s\",\"told\":\"%s\",\"exclusive\":%s,\"ignored\":%" PRIu32 ",",
               rollout_phase_word(r->resume_phase), rollout_phase_word(r->told_phase),
               r->exclusive ? "true" : "false", r->ignored_reasons);
    buf_printf(out,
               "\"cursor\":%" PRIu32 ",\"started\":%" PRId64 ",\"step_since\":%" PRId64
               ",\"progress\":%" PRId64 ",\"step_done\":%" PRId64 ",",
               r->cursor, r->started_ms, r->step_since_ms, r->progress_ms, r->step_done_ms);
    buf_printf(out, "\"promote_all\":%s,\"ending\":\"%s\",\"reason\":\"%s\",\"text\":\"",
               r->promote_all ? "true" : "false", rollout_result_word(r->ending),
               reason_code_word(r->reason.code));
    buf_json_escape(out, r->reason.text, strlen(r->reason.text));
    buf_printf(out, "\",\"ready_best\":%" PRIu32 ",\"drained_best\":%" PRIu32 ",", r->ready_best,
               r->drained_best);
    write_plan(&r->plan, out);
    buf_putc(out, '}');
}

void app_state_to_json(const struct app_state *s, struct buf *out)
{
    buf_printf(out,
               "{\"version\":1,\"next_pool\":%" PRIu32 ",\"stable\":%" PRIu32
               ",\"candidate\":%" PRIu32 ",",
               s->next_pool, s->stable, s->candidate);
    buf_printf(out, "\"hold\":%s,\"stopped\":%s,\"previewing\":%s,\"matching\":%s,\"override\":",
               s->hold ? "true" : "false", s->stopped ? "true" : "false",
               s->previewing ? "true" : "false", s->matching ? "true" : "false");
    write_counts(s->replicas_override, out);
    buf_printf(out, ",\"mirror\":%" PRIu32 ",", s->mirror_ppm);
    write_pools(s, out);
    if (s->rollout.id != 0) {
        buf_putc(out, ',');
        write_rollout(&s->rollout, out);
    }
    buf_putc(out, '}');
}
