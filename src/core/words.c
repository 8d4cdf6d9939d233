/* The words of everything enumerable, and steps in words. */
#include "base/assert.h"
#include "base/units.h"
#include "core/core_internal.h"

#define WORDS(function, type, list, count)                                                         \
    const char *function(type value)                                                               \
    {                                                                                              \
        static const char *const words[] = {list(WORD)};                                           \
        _Static_assert(COUNT_OF(words) == (count), "a word for each");                             \
        ASSERT((size_t)value < COUNT_OF(words));                                                   \
        return words[value];                                                                       \
    }
#define WORD(name, word) word,

WORDS(side_word, enum side, SIDES, SIDES_COUNT)
WORDS(step_kind_word, enum step_kind, STEP_KINDS, STEP_KINDS_COUNT)
WORDS(rollout_kind_word, enum rollout_kind, ROLLOUT_KINDS, ROLLOUT_KINDS_COUNT)
WORDS(rollout_phase_word, enum rollout_phase, ROLLOUT_PHASES, ROLLOUT_PHASES_COUNT)
WORDS(rollout_result_word, enum rollout_result, ROLLOUT_RESULTS, ROLLOUT_RESULTS_COUNT)
WORDS(reason_code_word, enum reason_code, REASONS, REASONS_COUNT)
WORDS(instance_state_word, enum instance_state, INSTANCE_STATES, INSTANCE_STATES_COUNT)

/* "the candidate", or "the candidate's worker" where a release has several processes. */
static void describe_whose(const struct step *step, const struct app_spec *candidate,
                           struct buf *out)
{
    buf_puts(out, step->side == SIDE_LEFT_OVER ? "what was left over" : side_word(step->side));
    if (candidate != NULL && candidate->processes_len > 1 &&
        step->process < candidate->processes_len)
        buf_printf(out, "'s %s", candidate->processes[step->process].name);
}

void step_describe(const struct step *step, const struct app_spec *candidate, struct buf *out)
{
    char text[32];
    switch (step->kind) {
    case STEP_HOOK: buf_puts(out, "run the release commands"); return;
    case STEP_SCALE:
        buf_puts(out, "scale ");
        describe_whose(step, candidate, out);
        buf_printf(out, " to %u", step->count);
        return;
    case STEP_WAIT_READY:
        buf_puts(out, "wait until ");
        describe_whose(step, candidate, out);
        buf_puts(out, " is ready");
        return;
    case STEP_HOLD: buf_puts(out, step->count != 0 ? "hold requests" : "let requests go"); return;
    case STEP_WEIGHT:
        buf_printf(out, "weight %s", format_percent_ppm(step->weight_ppm, text, sizeof text));
        return;
    case STEP_MIRROR:
        if (step->weight_ppm == 0)
            buf_puts(out, "mirror nothing more");
        else
            buf_printf(out, "mirror %s of the requests to the candidate",
                       format_percent_ppm(step->weight_ppm, text, sizeof text));
        return;
    case STEP_PAUSE_FOR:
        buf_printf(out, "watch for %s", format_duration_ms(step->duration_ms, text, sizeof text));
        return;
    case STEP_JUDGE: buf_puts(out, "verdict"); return;
    case STEP_SMOKE: buf_puts(out, "smoke test"); return;
    case STEP_APPROVE: buf_puts(out, "wait for promote"); return;
    case STEP_DRAIN: buf_printf(out, "drain %s", side_word(step->side)); return;
    case STEP_STOP: buf_printf(out, "stop %s", side_word(step->side)); return;
    case STEP_FINISH: buf_puts(out, "finish"); return;
    case STEP_KINDS_COUNT: break;
    }
    UNREACHABLE();
}
