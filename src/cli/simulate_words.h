/* What people and the server say to `sluice simulate` about traffic and releases. Pure. */
#ifndef SLUICE_CLI_SIMULATE_WORDS_H
#define SLUICE_CLI_SIMULATE_WORDS_H

#include "base/error.h"
#include "simulate/simulate.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* "50/s", "1200/min", "90/h" */
int parse_traffic(const char *text, double *requests_per_s, struct error *err);

/* One release, as in "errors=2%, p95=300ms". */
struct release_words {
    bool has_errors, errors_relative; /* errors=3x: times stable's */
    double errors;
    double latency_factor;     /* latency=1.5x: times stable's; 0: not given */
    size_t quantiles_len;      /* 0..2, rising */
    double quantile[2], ms[2]; /* p50, p95, p99 */
};
/* option: what errors call it, "--candidate". relative: whether there is a stable to relate to. */
int parse_release(const char *text, const char *option, bool relative, struct release_words *out,
                  struct error *err);
/* What is not given is as `other` has it: with one quantile, its spread. */
void release_latency(const struct release_words *words, const struct simulate_latency *other,
                     struct simulate_latency *out);

/* Recorded traffic: {"minutes":[{"at","release","candidate","requests","errors","p50_ms","p95_ms",
 * ..},..]}, a row per minute and release, as GET /v1/apps/{app}/traffic answers. Minutes without a
 * row had no request; candidates count as traffic, not as what stable is like. */
struct history {
    struct simulate_minute *items; /* all minutes in their order; the caller frees */
    size_t len;
    double requests_per_s, errors; /* means */
    bool has_latency;
    struct simulate_latency latency;
};
int read_history(const json_t *answer, struct history *out, struct error *err);

#endif
