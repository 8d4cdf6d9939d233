/* What differs between two specs, a line per key, driven by the table of keys. */
#include "spec/types.h"

#include <string.h>

static void diff_mapping(enum mapping in, const void *old, const void *new, struct buf *path,
                         struct buf *out);

/* Words and numbers without their quotes; what holds others keeps its JSON. */
static void put_value(struct buf *out, const struct buf *json)
{
    const char *s = buf_str(json);
    if (s[0] == '"' && strchr(s, '\\') == NULL && json->len > 2)
        buf_append(out, s + 1, json->len - 2);
    else
        buf_append(out, s, json->len);
}

static const char *value_of(const struct app_spec *spec, const char *name)
{
    for (size_t i = 0; i < spec->env_len; i++)
        if (strcmp(spec->env[i].name, name) == 0)
            return spec->env[i].value;
    return NULL;
}

/* Names only: what a variable holds may be a secret, and this goes into events. */
static void diff_env(const struct app_spec *old, const struct app_spec *new, struct buf *out)
{
    for (size_t i = 0; i < old->env_len; i++) {
        const char *now = value_of(new, old->env[i].name);
        if (now == NULL)
            buf_printf(out, "env.%s: removed\n", old->env[i].name);
        else if (strcmp(now, old->env[i].value) != 0)
            buf_printf(out, "env.%s: changed\n", old->env[i].name);
    }
    for (size_t i = 0; i < new->env_len; i++)
        if (value_of(old, new->env[i].name) == NULL)
            buf_printf(out, "env.%s: added\n", new->env[i].name);
}

static const struct route_spec *route_like(const struct app_spec *spec,
                                           const struct route_spec *route)
{
    for (size_t i = 0; i < spec->routes_len; i++) {
        const struct route_spec *other = &spec->routes[i];
        if (route->tcp.listen != NULL && other->tcp.listen != NULL
                ? strcmp(route->tcp.listen, other->tcp.listen) == 0
                : same_route(other, route))
            return other;
    }
    return NULL;
}

static void put_route(const struct route_spec *route, struct buf *out)
{
    cleanup_buf struct buf match = BUF_INIT;
    if (route->tcp.listen != NULL)
        buf_printf(out, "[%s]", route->tcp.listen);
    else if (write_match(&route->match, &match))
        buf_printf(out, "[%s%s %s]", route->host, route->path, buf_str(&match));
    else
        buf_printf(out, "[%s%s]", route->host, route->path);
}

/* By what a route is for; of one that stays, the keys that change. */
static void diff_routes(const struct app_spec *old, const struct app_spec *new, struct buf *path,
                        struct buf *out)
{
    size_t mark = path->len;
    for (size_t i = 0; i < old->routes_len; i++) {
        const struct route_spec *was = &old->routes[i], *is = route_like(new, was);
        put_route(was, path);
        if (is == NULL)
            buf_printf(out, "%s: removed\n", buf_str(path));
        else
            diff_mapping(IN_ROUTE, was, is, path, out);
        path->len = mark;
        path->data[mark] = '\0';
    }
    for (size_t i = 0; i < new->routes_len; i++)
        if (route_like(old, &new->routes[i]) == NULL) {
            put_route(&new->routes[i], path);
            buf_printf(out, "%s: added\n", buf_str(path));
            path->len = mark;
            path->data[mark] = '\0';
        }
}

static const struct metric_spec *metric_of(const struct app_spec *spec, const char *name)
{
    for (size_t i = 0; i < spec->metrics_len; i++)
        if (strcmp(spec->metrics[i].name, name) == 0)
            return &spec->metrics[i];
    return NULL;
}

/* By name and key; a URL may hold a password, so of the source is only said that it changed. */
static void diff_metrics(const struct app_spec *old, const struct app_spec *new, struct buf *path,
                         struct buf *out)
{
    size_t mark = path->len;
    for (size_t i = 0; i < old->metrics_len; i++) {
        const struct metric_spec *was = &old->metrics[i], *is = metric_of(new, was->name);
        path->len = mark;
        buf_printf(path, ".%s", was->name);
        if (is == NULL)
            buf_printf(out, "%s: removed\n", buf_str(path));
        else
            diff_mapping(IN_METRIC, was, is, path, out);
    }
    path->len = mark;
    path->data[mark] = '\0';
    for (size_t i = 0; i < new->metrics_len; i++)
        if (metric_of(old, new->metrics[i].name) == NULL)
            buf_printf(out, "%s.%s: added\n", buf_str(path), new->metrics[i].name);
}

static void diff_key(const struct key *key, const void *old, const void *new, struct buf *path,
                     struct buf *out)
{
    cleanup_buf struct buf before = BUF_INIT, after = BUF_INIT;
    bool had = write_value(key, old, &before), has = write_value(key, new, &after);
    if ((!had && !has) || (had && has && strcmp(buf_str(&before), buf_str(&after)) == 0))
        return;
    if (key->in == IN_TOP && strcmp(key->name, "env") == 0) {
        diff_env(old, new, out);
    } else if (key->in == IN_TOP && strcmp(key->name, "routes") == 0) {
        diff_routes(old, new, path, out);
    } else if (key->in == IN_TOP && strcmp(key->name, "metrics") == 0) {
        diff_metrics(old, new, path, out);
    } else if (key->type->secret) {
        buf_printf(out, "%s: %s\n", buf_str(path), !had ? "added" : has ? "changed" : "removed");
    } else if (had && has && key->type->nested != IN_NONE) {
        diff_mapping(key->type->nested, const_field_at(old, key->offset),
                     const_field_at(new, key->offset), path, out);
    } else {
        buf_printf(out, "%s: ", buf_str(path));
        had ? put_value(out, &before) : buf_puts(out, "none");
        buf_puts(out, " -> ");
        has ? put_value(out, &after) : buf_puts(out, "none");
        buf_putc(out, '\n');
    }
}

static void diff_mapping(enum mapping in, const void *old, const void *new, struct buf *path,
                         struct buf *out)
{
    for (size_t i = 0; i < spec_keys_len; i++) {
        if (spec_keys[i].in != in)
            continue;
        size_t mark = path->len;
        buf_printf(path, "%s%s", mark > 0 ? "." : "", spec_keys[i].name);
        diff_key(&spec_keys[i], old, new, path, out);
        path->len = mark;
        path->data[mark] = '\0';
    }
}

void spec_diff(const struct app_spec *old, const struct app_spec *new, struct buf *out)
{
    cleanup_buf struct buf path = BUF_INIT;
    diff_mapping(IN_TOP, old, new, &path, out);
}
