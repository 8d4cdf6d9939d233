/* What the judge costs the controller: one batch and one look, with all metrics on. */
#include "judge/judge.h"

#include <stdio.h>
#include <time.h>

static double now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

int main(void)
{
    enum { ROUNDS = 20000 };
    static const uint32_t edges[5] = {10, 20, 30, 40, 50};
    struct judge j;
    judge_init(&j, &(struct judge_config){.alpha = .001,
                                          .edges = edges,
                                          .edges_len = 5,
                                          .slo_error_rate = .01,
                                          .slo_latency_share = .05,
                                          .has_stable = true});
    struct judge_arm candidate = {
        .requests = 50, .errors = 1, .above = {25, 5, 2, 1, 1}, .above_slo = 1};
    struct judge_arm stable = {
        .requests = 950, .errors = 9, .above = {470, 90, 45, 9, 9}, .above_slo = 9};
    struct buf text = BUF_INIT;
    double start = now_us();
    for (int i = 0; i < ROUNDS; i++)
        judge_batch(&j, &candidate, &stable);
    double batch = now_us();
    for (int i = 0; i < ROUNDS; i++) {
        buf_clear(&text);
        judge_look(&j, &text);
    }
    double look = now_us();
    printf("judge: %.2f us CPU a batch, %.2f us a look\n", (batch - start) / ROUNDS,
           (look - batch) / ROUNDS);
    buf_release(&text);
    return 0;
}
