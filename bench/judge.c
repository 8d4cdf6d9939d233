/* What the judge costs the controller: batches and verdicts of 1,000 rollouts with 8 metrics each
 * (errors, five marks of the latency, both ceilings of the slo), in CPU time. */
#include "judge/judge.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { ROLLOUTS = 1000, TICKS = 200 };

static double now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

int main(void)
{
    static const uint32_t edges[5] = {10, 20, 30, 40, 50};
    struct judge *all = calloc(ROLLOUTS, sizeof *all);
    if (all == NULL)
        return 1;
    for (int i = 0; i < ROLLOUTS; i++)
        judge_init(&all[i], &(struct judge_config){.alpha = .001,
                                                   .edges = edges,
                                                   .edges_len = 5,
                                                   .slo_error_rate = .01,
                                                   .slo_latency_share = .05,
                                                   .has_stable = true});
    double batch_us = 0, verdict_us = 0, look_us = 0, json_us = 0, explain_us = 0;
    struct buf text = BUF_INIT;
    for (int tick = 0; tick < TICKS; tick++) {
        double start = now_us();
        for (int i = 0; i < ROLLOUTS; i++) {
            uint64_t n = 5 + (uint64_t)((i * 7 + tick * 13) % 11); /* the share is never the same */
            struct judge_arm candidate = {
                .requests = n, .errors = n == 9, .above = {n / 2, 1, n > 11, 0, 0}};
            struct judge_arm stable = {.requests = 95,
                                       .errors = (uint64_t)(tick % 3 == 0),
                                       .above = {47, 9, 4, 1, 1},
                                       .above_slo = 1};
            judge_batch(&all[i], &candidate, &stable);
        }
        double batch = now_us();
        int passed = 0;
        for (int i = 0; i < ROLLOUTS; i++)
            passed += judge_verdict(&all[i]) == JUDGEMENT_PASS;
        double verdict = now_us();
        batch_us += batch - start;
        verdict_us += verdict - batch;
        if (passed > ROLLOUTS)
            return 1;
    }
    double start = now_us();
    for (int i = 0; i < ROLLOUTS; i++) {
        buf_clear(&text);
        judge_look(&all[i], &text);
    }
    look_us = now_us() - start;
    start = now_us();
    for (int i = 0; i < ROLLOUTS; i++) {
        struct judge_report report;
        judge_explain(&all[i], 10, &report);
    }
    explain_us = now_us() - start;
    start = now_us();
    for (int i = 0; i < ROLLOUTS; i++) {
        buf_clear(&text);
        judge_to_json(&all[i], &text);
    }
    json_us = now_us() - start;
    printf("judge: a tick of %d rollouts with 8 metrics %.2f ms: batches %.2f, verdicts %.2f\n",
           ROLLOUTS, (batch_us + verdict_us) / TICKS / 1e3, batch_us / TICKS / 1e3,
           verdict_us / TICKS / 1e3);
    printf("judge: a sentence %.2f us, a whole explanation %.2f us, a record %.2f us and %zu bytes\n",
           look_us / ROLLOUTS, explain_us / ROLLOUTS, json_us / ROLLOUTS, text.len);
    buf_release(&text);
    free(all);
    return 0;
}
