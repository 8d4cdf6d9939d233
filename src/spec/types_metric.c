/* What is measured outside of the gateway, and the watch after a promotion. */
#include "base/alloc.h"
#include "base/assert.h"
#include "spec/types.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { URL_MAX = 2000, QUERY_MAX = 8000 };

static const char *const source_words[] = {
    [METRIC_PROMETHEUS] = "prometheus", [METRIC_COMMAND] = "command", [METRIC_WEBHOOK] = "webhook"};

const char *metric_source_word(enum metric_source source)
{
    return source_words[source];
}

/* ---- numbers --------------------------------------------------------------------------------- */

/* As people write them: no "inf", no "nan", no hexadecimal. */
static bool parse_number(const char *text, double *value)
{
    char *end;
    if (text[0] == '\0' || text[strspn(text, "+-.0123456789eE")] != '\0')
        return false;
    *value = strtod(text, &end);
    return *end == '\0' && isfinite(*value);
}

static void read_bound(struct reader *r, const struct key *key, const struct node *node, void *base)
{
    struct bound *bound = field_at(base, key->offset);
    const char *text = read_text(r, key, node, EXPAND_VALUE);
    if (text == NULL)
        return;
    if (parse_number(text, &bound->value))
        bound->given = true;
    else
        reader_expected(r, node, key->type->shape,
                        strchr(text, '%') != NULL ? "as the source gives it: 5% is 0.05 mostly"
                                                  : NULL);
}

/* The shortest text that is read as the same number. */
static bool write_bound(const struct key *key, const void *base, struct buf *out)
{
    const struct bound *bound = const_field_at(base, key->offset);
    char text[32];
    for (int digits = 6; bound->given && digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, bound->value);
        if (strtod(text, NULL) == bound->value)
            break;
    }
    if (bound->given)
        buf_puts(out, text);
    return bound->given;
}

const struct value_type type_bound = {
    .shape = "a number such as 5 or 0.25", .read = read_bound, .write = write_bound};

/* ---- words ----------------------------------------------------------------------------------- */

static void read_flag_word(struct reader *r, const struct key *key, const struct node *node,
                           void *base)
{
    const char *text = read_text(r, key, node, EXPAND_VALUE);
    for (size_t i = 0; text != NULL && key->type->words[i] != NULL; i++)
        if (strcmp(text, key->type->words[i]) == 0) {
            /* "stable", or "lower": the last word sets the flag. */
            *(bool *)field_at(base, key->offset) = key->type->words[i + 1] == NULL;
            return;
        }
    if (text != NULL)
        reader_expected_word(r, node, text, key->type->words);
}

static bool write_compare(const struct key *key, const void *base, struct buf *out)
{
    const struct metric_spec *m = base;
    write_quoted_word(out, key->type->words[0]);
    return m->compare;
}

static bool write_worse(const struct key *key, const void *base, struct buf *out)
{
    const struct metric_spec *m = base;
    write_quoted_word(out, key->type->words[m->lower_is_worse]);
    return m->compare;
}

static const char *const compare_words[] = {"stable", NULL};
static const char *const worse_words[] = {"higher", "lower", NULL};
const struct value_type type_compare = {
    .shape = "`stable`", .read = read_flag_word, .write = write_compare, .words = compare_words};
const struct value_type type_worse = {.shape = "`higher` or `lower`",
                                      .read = read_flag_word,
                                      .write = write_worse,
                                      .words = worse_words};

/* ---- where from ------------------------------------------------------------------------------ */

static const char *behind_scheme(const char *url)
{
    if (strncmp(url, "http://", 7) == 0)
        return url + 7;
    return strncmp(url, "https://", 8) == 0 ? url + 8 : NULL;
}

/* What is wrong with a URL of ours; NULL: nothing. */
static const char *url_fault(const char *url, bool query_allowed)
{
    const char *host = behind_scheme(url);
    if (host == NULL)
        return "it starts with http:// or https://";
    for (const char *p = url; *p != '\0'; p++)
        if (*p <= ' ' || *p >= 0x7F || *p == '#' || *p == '"' || *p == '\\')
            return "no spaces, quotes, fragments, or characters beyond ASCII";
    const char *end = host + strcspn(host, "/?");
    for (const char *p = host; p < end; p++)
        if (*p == '@')
            host = p + 1;
    if (host == end || *host == ':')
        return "the host is missing";
    if (!query_allowed && strchr(url, '?') != NULL)
        return "what is asked for stands under `query`; this is only where the server is";
    return strlen(url) > URL_MAX ? "at most 2000 characters" : NULL;
}

static void read_url(struct reader *r, const struct key *key, const struct node *node, void *base,
                     enum metric_source source)
{
    struct metric_spec *m = base;
    const char *text = read_text(r, key, node, EXPAND_VALUE);
    const char *fault = text != NULL ? url_fault(text, source == METRIC_WEBHOOK) : NULL;
    if (fault != NULL) {
        /* Not "got ...": it may hold a password. */
        reader_fail(r, node, fault, "expected %s", key->type->shape);
    } else if (text != NULL) {
        m->url = text;
        m->source = source;
    }
}

static void read_prometheus(struct reader *r, const struct key *key, const struct node *node,
                            void *base)
{
    read_url(r, key, node, base, METRIC_PROMETHEUS);
}

static void read_webhook(struct reader *r, const struct key *key, const struct node *node,
                         void *base)
{
    read_url(r, key, node, base, METRIC_WEBHOOK);
}

static bool write_url(const struct key *key, const void *base, struct buf *out)
{
    const struct metric_spec *m = base;
    if (m->url == NULL || strcmp(source_words[m->source], key->name) != 0)
        return false;
    write_string(out, m->url);
    return true;
}

const struct value_type type_prometheus = {.shape = "a URL such as http://127.0.0.1:9090",
                                           .read = read_prometheus,
                                           .write = write_url,
                                           .secret = true};
const struct value_type type_webhook = {.shape = "a URL such as https://checks.example/shop",
                                        .read = read_webhook,
                                        .write = write_url,
                                        .secret = true};

static void read_metric_command(struct reader *r, const struct key *key, const struct node *node,
                                void *base)
{
    struct metric_spec *m = base;
    if (read_command(r, key, node, &m->command))
        m->source = METRIC_COMMAND;
}

static bool write_metric_command(const struct key *key, const void *base, struct buf *out)
{
    const struct metric_spec *m = base;
    (void)key;
    if (m->source == METRIC_COMMAND)
        write_command(out, &m->command);
    return m->source == METRIC_COMMAND;
}

const struct value_type type_metric_command = {.shape = "a command such as [\"./measure\"]",
                                               .read = read_metric_command,
                                               .write = write_metric_command};

void metric_url_masked(const char *url, struct buf *out)
{
    const char *start = behind_scheme(url);
    if (start == NULL)
        return;
    size_t len = strcspn(start, "/?");
    const char *host = start;
    for (const char *p = start; p < start + len; p++)
        if (*p == '@')
            host = p + 1;
    buf_append(out, url, (size_t)(start - url));
    if (host != start)
        buf_puts(out, "***@");
    buf_append(out, host, (size_t)(start + len - host));
    if (start[len] != '\0' && strcmp(start + len, "/") != 0)
        buf_puts(out, "/***");
}

/* ---- queries --------------------------------------------------------------------------------- */

static const char *const placeholders[] = {"release", "version",     "window",
                                           "app",     "environment", NULL};

/* Which one it is; -1: none of ours. */
static int placeholder(const char *s, size_t len)
{
    for (int i = 0; placeholders[i] != NULL; i++)
        if (strlen(placeholders[i]) == len && memcmp(s, placeholders[i], len) == 0)
            return i;
    return -1;
}

static void read_query(struct reader *r, const struct key *key, const struct node *node, void *base)
{
    const char *text = read_text(r, key, node, EXPAND_VALUE);
    if (text == NULL)
        return;
    if (text[0] == '\0' || strlen(text) > QUERY_MAX) {
        reader_expected(r, node, key->type->shape, "at most 8000 characters");
        return;
    }
    for (const char *p = text; (p = strstr(p, "{{")) != NULL;) {
        const char *name = p + 2, *end = strstr(name, "}}");
        if (end == NULL) {
            reader_fail(r, node, "a placeholder ends with }}", "a {{ is never closed");
            return;
        }
        if (placeholder(name, (size_t)(end - name)) < 0) {
            cleanup_free char *given = xstrndup(name, (size_t)(end - name));
            const char *near = nearest_word(given, placeholders);
            cleanup_free char *hint =
                near != NULL ? xasprintf("did you mean {{%s}}?", near)
                             : xstrdup("known: {{release}}, {{version}}, {{window}}, {{app}}, "
                                       "{{environment}}");
            reader_fail(r, node, hint, "unknown placeholder {{%.60s}}", given);
            return;
        }
        p = end + 2;
    }
    ((struct metric_spec *)base)->query = text;
}

static bool write_query(const struct key *key, const void *base, struct buf *out)
{
    const struct metric_spec *m = base;
    (void)key;
    if (m->query != NULL)
        write_string(out, m->query);
    return m->query != NULL;
}

const struct value_type type_query = {
    .shape = "PromQL such as 'sum(rate(errors_total{version=\"{{version}}\"}[{{window}}]))'",
    .read = read_query,
    .write = write_query};

void metric_query_fill(const char *query, const struct metric_place *place, struct buf *out)
{
    const char *const values[] = {place->release, place->version, place->window, place->app,
                                  place->environment};
    for (const char *p; (p = strstr(query, "{{")) != NULL;) {
        const char *name = p + 2, *end = strstr(name, "}}");
        int which = end != NULL ? placeholder(name, (size_t)(end - name)) : -1;
        ASSERT(which >= 0); /* the parser saw to it */
        buf_append(out, query, (size_t)(p - query));
        buf_puts(out, values[which]);
        query = end + 2;
    }
    buf_puts(out, query);
}

/* ---- the list -------------------------------------------------------------------------------- */

static void read_metrics(struct reader *r, const struct key *key, const struct node *node,
                         void *base)
{
    struct app_spec *spec = base;
    const struct node *const *items;
    size_t len;
    if (node->kind == NODE_SCALAR) {
        reader_expected(r, node, key->type->shape, NULL);
        return;
    }
    if (!read_items(r, key, node, SPEC_MAX_METRICS, &items, &len))
        return;
    spec->metrics_len = 0;
    for (size_t i = 0; i < len; i++) {
        struct metric_spec *m = &spec->metrics[spec->metrics_len];
        *m = (struct metric_spec){0};
        if (items[i]->kind != NODE_MAP) {
            reader_expected(r, items[i], "a map such as {name: queue-lag, command: [./lag]}", NULL);
            continue;
        }
        read_mapping(r, IN_METRIC, items[i], m);
        if (m->name == NULL)
            continue;
        size_t same = 0;
        while (same < spec->metrics_len && strcmp(spec->metrics[same].name, m->name) != 0)
            same++;
        if (same < spec->metrics_len && !r->partial)
            reader_fail(r, tree_get(items[i], "name"), "each has a name of its own",
                        "the name `%s` is given twice", m->name);
        else
            spec->metrics_len++;
    }
}

static bool write_metrics(const struct key *key, const void *base, struct buf *out)
{
    const struct app_spec *spec = base;
    (void)key;
    for (size_t i = 0; i < spec->metrics_len; i++) {
        buf_putc(out, i == 0 ? '[' : ',');
        write_mapping(IN_METRIC, &spec->metrics[i], out);
    }
    buf_putc(out, ']');
    return spec->metrics_len > 0;
}

const struct value_type type_metrics = {
    .shape = "a list such as [{name: queue-lag, command: [\"./lag\"], max: 5}]",
    .read = read_metrics,
    .write = write_metrics,
    .null_is_empty = true};

/* ---- bake ------------------------------------------------------------------------------------ */

/* A duration alone is the time. */
static void read_bake(struct reader *r, const struct key *key, const struct node *node, void *base)
{
    void *bake = field_at(base, key->offset);
    if (node->kind != NODE_SCALAR) {
        read_mapping(r, IN_BAKE, node, bake);
        return;
    }
    struct node name = *node, map = *node;
    name.text = "time";
    struct pair only = {&name, node};
    map.kind = NODE_MAP;
    map.pairs = &only;
    map.len = 1;
    read_mapping(r, IN_BAKE, &map, bake);
}

const struct value_type type_bake = {.shape =
                                         "a duration such as 10m, or a map such as {time: 10m, "
                                         "keep: true}",
                                     .read = read_bake,
                                     .nested = IN_BAKE,
                                     .null_is_empty = true};
