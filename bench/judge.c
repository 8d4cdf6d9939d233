/* bench/judge: what the judge costs the controller. With --compare: common rules and the judge on
 * the same simulated traffic, as a table; [--runs N] [--csv FILE] [--svg FILE].
 *
 * The cost: batches and verdicts of 1,000 rollouts with 8 metrics each
 * (errors, five marks of the latency, both ceilings of the slo) and what instances use, in CPU
 * time. */
#include "compare/compare.h"

#include "judge/judge.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ROLLOUTS = 1000, TICKS = 200 };

static double now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static int cost(void)
{
    static const uint32_t edges[5] = {10, 20, 30, 40, 50};
    static const struct judge_extra used[] = {
        {.name = "memory", .kind = EXTRA_MEMORY, .test = {.tolerance = 2}},
        {.name = "cpu-per-request", .kind = EXTRA_CPU, .test = {.tolerance = 2}}};
    struct judge *all = calloc(ROLLOUTS, sizeof *all);
    if (all == NULL)
        return 1;
    for (int i = 0; i < ROLLOUTS; i++)
        judge_init(&all[i], &(struct judge_config){.alpha = .001,
                                                   .edges = edges,
                                                   .edges_len = 5,
                                                   .slo_error_rate = .01,
                                                   .slo_latency_share = .05,
                                                   .has_stable = true,
                                                   .extras = used,
                                                   .extras_len = 2});
    double batch_us = 0, verdict_us = 0, look_us = 0, json_us = 0, explain_us = 0;
    struct buf text = BUF_INIT;
    for (int tick = 0; tick < TICKS; tick++) {
        double start = now_us();
        for (int i = 0; i < ROLLOUTS; i++) {
            uint64_t n = 5 + (uint64_t)((i * 7 + tick * 13) % 11); /* the share is never the same */
            struct judge_arm candidate = {.requests = n,
                                          .errors = n == 9,
                                          .repeats = n == 9 && tick % 4 == 0,
                                          .above = {n / 2, 1, n > 11, 0, 0}};
            struct judge_arm stable = {.requests = 95,
                                       .errors = (uint64_t)(tick % 3 == 0),
                                       .above = {47, 9, 4, 1, 1},
                                       .above_slo = 1};
            judge_batch(&all[i], &candidate, &stable);
            for (uint32_t k = 0; k < all[i].extras_len && tick % 50 == 0; k++)
                pair_count(&all[i].extras[k].test, i % 7 == 0, 2, 1);
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
    printf(
        "judge: a sentence %.2f us, a whole explanation %.2f us, a record %.2f us and %zu bytes\n",
        look_us / ROLLOUTS, explain_us / ROLLOUTS, json_us / ROLLOUTS, text.len);
    buf_release(&text);
    free(all);
    return 0;
}

static void print_medians(FILE *out, const struct scenario *bad, size_t len, enum rule rule,
                          const char *between)
{
    for (size_t i = 0; i < len; i++) {
        double median = scenario_median(&bad[i], rule);
        if (median < 0)
            fprintf(out, "%s%s", between, "never");
        else
            fprintf(out, "%s%.0f", between, median);
    }
}

static int compare(int runs, FILE *csv, FILE *svg)
{
    struct scenario good[] = {{"good, 100 requests/s", .005, .005, 100, 0, {NULL}},
                              {"good, 10 requests/s", .005, .005, 10, 0, {NULL}}};
    struct scenario bad[] = {{"2 % errors", .02, .005, 100, 0, {NULL}},
                             {"5 % errors", .05, .005, 100, 0, {NULL}},
                             {"50 % errors", .5, .005, 100, 0, {NULL}}};
    for (int i = 0; i < 2; i++)
        scenario_run(&good[i], runs);
    for (int i = 0; i < 3; i++)
        scenario_run(&bad[i], runs / 5);
    printf("%-36s | good rolled back at       | candidate requests (median) to\n", "");
    printf("%-36s | 100 req/s  10 req/s       | roll back 2 %%, 5 %%, 50 %% errors\n", "rule");
    if (csv != NULL)
        fputs("rule,good_100_per_s,good_10_per_s,median_2_percent,median_5_percent,"
              "median_50_percent\n",
              csv);
    for (int rule = 0; rule < RULES_COUNT; rule++) {
        double share[2];
        for (int i = 0; i < 2; i++)
            share[i] = scenario_share(&good[i], (enum rule)rule, COMPARE_REQUESTS);
        printf("%-36s | %8.2f%% %9.2f%%       |", rule_label((enum rule)rule), 100 * share[0],
               100 * share[1]);
        print_medians(stdout, bad, 3, (enum rule)rule, "  ");
        putchar('\n');
        if (csv == NULL)
            continue;
        fprintf(csv, "\"%s\",%.4f,%.4f", rule_label((enum rule)rule), share[0], share[1]);
        print_medians(csv, bad, 3, (enum rule)rule, ",");
        fputc('\n', csv);
    }
    if (svg != NULL)
        svg_write(svg, &good[0], &bad[1]);
    for (int i = 0; i < 2; i++)
        scenario_release(&good[i]);
    for (int i = 0; i < 3; i++)
        scenario_release(&bad[i]);
    return 0;
}

static int usage(void)
{
    fputs("usage: bench/judge [--compare [--runs N] [--csv FILE] [--svg FILE]]\n", stderr);
    return 2;
}

int main(int argc, char **argv)
{
    FILE *csv = NULL, *svg = NULL;
    int runs = 10000;
    if (argc == 1)
        return cost();
    if (strcmp(argv[1], "--compare") != 0 || argc % 2 != 0)
        return usage();
    for (int i = 2; i < argc; i += 2) {
        FILE **out = strcmp(argv[i], "--csv") == 0   ? &csv
                     : strcmp(argv[i], "--svg") == 0 ? &svg
                                                     : NULL;
        if (out == NULL && strcmp(argv[i], "--runs") != 0)
            return usage();
        if (out == NULL && (runs = atoi(argv[i + 1])) < 5)
            return usage();
        if (out != NULL && (*out = fopen(argv[i + 1], "w")) == NULL) {
            perror(argv[i + 1]);
            return 1;
        }
    }
    int status = compare(runs, csv, svg);
    if (csv != NULL && fclose(csv) != 0)
        status = 1;
    if (svg != NULL && fclose(svg) != 0)
        status = 1;
    return status;
}
