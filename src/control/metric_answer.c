#include "control/metric_answer.h"

#include <ctype.h>
#include <jansson.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ---- texts and numbers ----------------------------------------------------------------------- */

void metric_clean(const char *text, size_t len, char *out, size_t size)
{
    size_t n = 0;
    while (len > 0 && isspace((unsigned char)text[len - 1]))
        len--;
    for (; n < len && n + 1 < size; n++) {
        unsigned char c = (unsigned char)text[n];
        out[n] = c < 0x20 || c == 0x7F ? ' ' : (char)c;
    }
    while (n > 0 && n < len && ((unsigned char)text[n] & 0xC0) == 0x80)
        n--; /* not inside of a character */
    out[n] = '\0';
}

void metric_error(struct metric_answer *out, const char *fmt, ...)
{
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    *out = (struct metric_answer){.says = MEASURED_ERROR};
    metric_clean(text, strlen(text), out->text, sizeof out->text);
}

char *metric_number(double value, char *out, size_t size)
{
    if (isinf(value))
        snprintf(out, size, value > 0 ? "+Inf" : "-Inf");
    else
        snprintf(out, size, "%.6g", value);
    return out;
}

static void set_number(double value, struct metric_answer *out)
{
    *out = (struct metric_answer){.says = MEASURED_GOOD, .has_value = true, .value = value};
    if (isnan(value))
        *out = (struct metric_answer){.says = MEASURED_NOTHING, .text = "NaN"};
}

/* The whole text as a number, also "NaN" and "+Inf"; no hexadecimal. */
static bool parse_number(const char *text, double *value)
{
    char *end;
    if (text[0] == '\0' || strpbrk(text, "xXpP( ") != NULL)
        return false;
    *value = strtod(text, &end);
    return *end == '\0' && end != text;
}

/* ---- judging --------------------------------------------------------------------------------- */

void metric_judge(const struct metric_spec *spec, struct metric_answer *answer)
{
    char value[32], bound[32];
    bool bounds = spec->max.given || spec->min.given;
    if (answer->says != MEASURED_GOOD || !(bounds || spec->compare))
        return;
    if (!answer->has_value) {
        metric_error(answer, "there is no number in the answer to hold against `%s`",
                     spec->compare     ? "compare"
                     : spec->max.given ? "max"
                                       : "min");
        return;
    }
    bool above = spec->max.given && answer->value > spec->max.value;
    bool below = spec->min.given && answer->value < spec->min.value;
    if (!above && !below)
        return;
    answer->says = MEASURED_BAD;
    snprintf(answer->text, sizeof answer->text, "%s %s %s",
             metric_number(answer->value, value, sizeof value), above ? "> max" : "< min",
             metric_number(above ? spec->max.value : spec->min.value, bound, sizeof bound));
}

/* ---- commands -------------------------------------------------------------------------------- */

static bool parse_word(const char *text, enum measurement *says)
{
    static const struct {
        const char *word;
        enum measurement says;
    } words[] = {
        {"pass", MEASURED_GOOD}, {"fail", MEASURED_BAD}, {"inconclusive", MEASURED_UNCLEAR}};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strcasecmp(text, words[i].word) == 0) {
            *says = words[i].says;
            return true;
        }
    return false;
}

void metric_of_command(int code, const char *last_line, struct metric_answer *out)
{
    char line[METRIC_TEXT_MAX - 40];
    enum measurement says;
    double value;
    while (isspace((unsigned char)*last_line))
        last_line++;
    metric_clean(last_line, strlen(last_line), line, sizeof line);
    *out = (struct metric_answer){.says = MEASURED_GOOD};
    if (code != 0) {
        out->says = MEASURED_BAD;
        snprintf(out->text, sizeof out->text, "exited with status %d%s%s", code,
                 line[0] != '\0' ? ": " : "", line);
    } else if (parse_word(line, &says)) {
        out->says = says;
    } else if (parse_number(line, &value)) {
        set_number(value, out);
    }
}

/* ---- webhooks -------------------------------------------------------------------------------- */

static void read_reply(const json_t *reply, struct metric_answer *out)
{
    const json_t *result = json_object_get(reply, "result"),
                 *value = json_object_get(reply, "value");
    const json_t *text = json_object_get(reply, "text");
    enum measurement says = MEASURED_GOOD;
    if (!json_is_object(reply) || (result == NULL && value == NULL)) {
        metric_error(out, "the answer has neither `result` nor `value`");
        return;
    }
    if (result != NULL &&
        (!json_is_string(result) || !parse_word(json_string_value(result), &says))) {
        metric_error(out, "`result` in the answer is not pass, fail or inconclusive");
        return;
    }
    if (value != NULL && !json_is_number(value) && !json_is_null(value)) {
        metric_error(out, "`value` in the answer is not a number");
        return;
    }
    *out = (struct metric_answer){.says = says};
    if (json_is_number(value))
        out->value = json_number_value(value);
    out->has_value = json_is_number(value);
    if (json_is_null(value) && result == NULL)
        out->says = MEASURED_NOTHING;
    if (json_is_string(text))
        metric_clean(json_string_value(text), json_string_length(text), out->text,
                     sizeof out->text);
}

void metric_of_webhook(uint32_t status, const char *body, size_t len, struct metric_answer *out)
{
    json_error_t where;
    size_t blank = 0;
    while (blank < len && isspace((unsigned char)body[blank]))
        blank++;
    if (status / 100 == 3) {
        metric_error(out, "answered %u: redirects are not followed", status);
    } else if (status / 100 != 2) {
        metric_error(out, "answered %u: %.*s", status, len > 120 ? 120 : (int)len, body);
    } else if (blank == len) {
        *out = (struct metric_answer){.says = MEASURED_GOOD};
    } else {
        json_t *reply = json_loadb(body, len, 0, &where);
        if (reply == NULL)
            metric_error(out, "the answer is not JSON: line %d: %s", where.line, where.text);
        else
            read_reply(reply, out);
        json_decref(reply);
    }
}
