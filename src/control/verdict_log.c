/* How the evidence of a rollout grew: a row every two seconds, with what the judge is stored by.
 * The longer a rollout takes, the farther apart the rows that are kept: at most VERDICTS_KEPT of
 * them and the last one. They stay until the app's next rollout is judged. */
#include "control/control_internal.h"

#include <math.h>

enum { VERDICTS_KEPT = 600 };

/* Of so many, each so-manieth is kept. */
static uint32_t kept_each(uint32_t number)
{
    uint32_t each = 1;
    while (number / each >= VERDICTS_KEPT)
        each *= 2;
    return each;
}

static int64_t milli(double log_e)
{
    return isfinite(log_e) ? llround(1000 * log_e) : 0;
}

/* ln E of the guarded metric that is farthest from being fine. */
static double least_fine(const struct judge_report *r)
{
    double least = INFINITY;
    for (size_t i = 0; i < r->len; i++)
        if (r->metrics[i].guarded && r->metrics[i].log_fine < least)
            least = r->metrics[i].log_fine;
    return isfinite(least) ? least : 0;
}

static void put(struct app *a, uint32_t number, struct store_batch *batch)
{
    const struct pool_state *candidate =
        a->state.candidate != 0 ? app_pool(&a->state, a->state.candidate) : NULL;
    const struct curve *errors = &a->judge.errors;
    struct judge_report report;
    judge_explain(&a->judge, 0, &report);
    batch_put_verdict(
        batch, &(struct store_verdict){.app = a->key,
                                       .rollout = a->start.id,
                                       .number = number,
                                       .at_ms = control_now(),
                                       .weight_ppm = candidate != NULL ? candidate->weight_ppm : 0,
                                       .candidate_requests = errors->candidate_requests,
                                       .candidate_errors = errors->candidate_events,
                                       .stable_requests = errors->stable_requests,
                                       .stable_errors = errors->stable_events,
                                       .worse_milli = milli(report.log_e),
                                       .fine_milli = milli(least_fine(&report)),
                                       .judgement = judgement_word(report.judgement)});
}

void verdict_log_begin(struct app *a)
{
    a->verdicts = 0;
}

void verdict_log_resume(struct app *a)
{
    cleanup_arena struct arena memory = ARENA_INIT;
    struct store_verdicts rows;
    if (store_read_verdicts(a->control->store, a->key, a->start.id, &memory, &rows, NULL) == 0 &&
        rows.len > 0)
        a->verdicts = rows.items[rows.len - 1].number + 1;
}

void verdict_log_add(struct app *a, struct store_batch *batch)
{
    if (a->start.id == 0)
        return;
    uint32_t number = a->verdicts++, each = kept_each(number);
    if (number == 0)
        batch_forget_verdicts(batch, a->key, a->start.id);
    else if (each != kept_each(number - 1))
        batch_thin_verdicts(batch, a->key, a->start.id, each);
    if (number % each == 0)
        put(a, number, batch);
}

void verdict_log_end(struct app *a, struct store_batch *batch)
{
    if (!a->judging || a->start.id == 0 || batch == NULL)
        return;
    if (a->verdicts == 0)
        batch_forget_verdicts(batch, a->key, a->start.id);
    put(a, a->verdicts++, batch);
}
