/* metric_answer: what a source said about a metric, and what that means. Pure; inside control only.
 *
 * All that is read here comes from outside: texts are cut and lose their control characters, since
 * they go into events, verdicts and onto terminals. */
#ifndef SLUICE_CONTROL_METRIC_ANSWER_H
#define SLUICE_CONTROL_METRIC_ANSWER_H

#include "judge/tally.h"
#include "spec/spec.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { METRIC_TEXT_MAX = 240 };

struct metric_answer {
    enum measurement says; /* a number alone: MEASURED_GOOD, until it is judged */
    bool has_value;        /* then value is not NaN; it may be infinite */
    double value;
    char text[METRIC_TEXT_MAX]; /* "7.2 > max 5", "no series", why there is no answer; or "" */
};

/* Prometheus' answer to an instant query. One series or a scalar is a number; none and NaN are no
 * data; several series, a range and a text are errors that say what to do. */
void metric_of_prometheus(uint32_t status, const char *body, size_t len, struct metric_answer *out);

/* 2xx with {"result": "pass"|"fail"|"inconclusive"}, {"value": number or null}, each with an
 * optional "text"; an empty body passes. All else is an error. */
void metric_of_webhook(uint32_t status, const char *body, size_t len, struct metric_answer *out);

/* A command that ended by itself with `code`; last_line of its output, "" none. Not 0: it fails;
 * else the line, where it is a number or one of the words, and where it is not: it passes. */
void metric_of_command(int code, const char *last_line, struct metric_answer *out);

void metric_error(struct metric_answer *out, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* By max and min, where the spec has them: then there must be a number. */
void metric_judge(const struct metric_spec *spec, struct metric_answer *answer);

/* The shortest form that people read: "7.2", "1.5e+09", "+Inf". 32 bytes are enough. */
char *metric_number(double value, char *out, size_t size);

/* text into out, cut, without control characters. */
void metric_clean(const char *text, size_t len, char *out, size_t size);

/* The body of an instant query, application/x-www-form-urlencoded, and the URL that it goes to. */
void metric_query_body(const char *query, struct buf *out);
void metric_query_url(const char *base, struct buf *out);

#endif
