/* Prometheus' HTTP API: instant queries, https://prometheus.io/docs/prometheus/latest/querying/api/
 */
#include "base/buf.h"
#include "control/metric_answer.h"

#include <ctype.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void metric_query_url(const char *base, struct buf *out)
{
    size_t len = strlen(base);
    while (len > 0 && base[len - 1] == '/')
        len--;
    buf_append(out, base, len);
    buf_puts(out, "/api/v1/query");
}

void metric_query_body(const char *query, struct buf *out)
{
    buf_puts(out, "query=");
    for (const unsigned char *p = (const unsigned char *)query; *p != '\0'; p++) {
        if (isalnum(*p) || strchr("-._~", *p) != NULL)
            buf_putc(out, (char)*p);
        else
            buf_printf(out, "%%%02X", *p);
    }
}

/* [seconds, "1.5"] */
static void read_sample(const json_t *sample, struct metric_answer *out)
{
    const char *text = json_string_value(json_array_get(sample, 1));
    char *end = NULL;
    double value = text != NULL ? strtod(text, &end) : 0;
    if (text == NULL || json_array_size(sample) != 2 || end == text || *end != '\0') {
        metric_error(out, "the answer's value is not a number: this is no Prometheus");
        return;
    }
    *out = (struct metric_answer){.says = MEASURED_GOOD, .has_value = true, .value = value};
    if (isnan(value))
        *out = (struct metric_answer){.says = MEASURED_NOTHING, .text = "NaN"};
}

static void read_vector(const json_t *result, struct metric_answer *out)
{
    size_t n = json_array_size(result);
    const json_t *one = json_array_get(result, 0);
    if (n == 0)
        *out = (struct metric_answer){.says = MEASURED_NOTHING, .text = "no series"};
    else if (n > 1)
        metric_error(out,
                     "%zu series, expected one: aggregate them, for example with sum(...) or "
                     "max(...)",
                     n);
    else if (json_object_get(one, "value") == NULL && json_object_get(one, "histogram") != NULL)
        metric_error(out, "a histogram, expected a number: for example histogram_quantile(0.95, "
                          "...)");
    else
        read_sample(json_object_get(one, "value"), out);
}

static void read_data(const json_t *data, struct metric_answer *out)
{
    const char *type = json_string_value(json_object_get(data, "resultType"));
    const json_t *result = json_object_get(data, "result");
    if (type == NULL || !json_is_array(result))
        metric_error(out, "the answer has no result: this is no Prometheus");
    else if (strcmp(type, "vector") == 0)
        read_vector(result, out);
    else if (strcmp(type, "scalar") == 0)
        read_sample(result, out);
    else if (strcmp(type, "matrix") == 0)
        metric_error(out, "a range of values, expected one: for example avg_over_time(...[5m])");
    else
        metric_error(out, "a %.20s, expected a number", type);
}

/* Fine, but not all of it: a part of the data could not be read. */
static void add_warning(const json_t *reply, struct metric_answer *out)
{
    const json_t *first = json_array_get(json_object_get(reply, "warnings"), 0);
    size_t used = strlen(out->text);
    if (!json_is_string(first) || out->says == MEASURED_ERROR)
        return;
    char text[160];
    metric_clean(json_string_value(first), json_string_length(first), text, sizeof text);
    snprintf(out->text + used, sizeof out->text - used, "%swarning: %s", used > 0 ? "; " : "",
             text);
}

void metric_of_prometheus(uint32_t status, const char *body, size_t len, struct metric_answer *out)
{
    if (status / 100 == 3) {
        metric_error(out, "answered %u: redirects are not followed", status);
        return;
    }
    json_t *reply = json_loadb(body, len, 0, NULL);
    const char *word = json_string_value(json_object_get(reply, "status"));
    const char *why = json_string_value(json_object_get(reply, "error"));
    const char *kind = json_string_value(json_object_get(reply, "errorType"));
    if (word != NULL && strcmp(word, "error") == 0)
        metric_error(out, "%.40s: %.180s", kind != NULL ? kind : "error", why != NULL ? why : "");
    else if (status / 100 != 2)
        metric_error(out, "answered %u", status);
    else if (word == NULL || strcmp(word, "success") != 0)
        metric_error(out, "the answer is not Prometheus': no JSON with \"status\": \"success\"");
    else {
        read_data(json_object_get(reply, "data"), out);
        add_warning(reply, out);
    }
    json_decref(reply);
}
