/* Routes: hosts and paths. Hosts are checked to the letter: a comma or a port in one would
 * make a route that no request ever reaches, and nobody would be told. */
#include "base/alloc.h"
#include "base/ipv6.h"
#include "base/vec.h"
#include "spec/types.h"

#include <ctype.h>
#include <string.h>

/* ---- host ------------------------------------------------------------------------------------ */

static bool is_label(const char *s, size_t len)
{
    if (len == 0 || len > 63 || s[0] == '-' || s[len - 1] == '-')
        return false;
    for (size_t i = 0; i < len; i++)
        if (!isalnum((unsigned char)s[i]) && s[i] != '-')
            return false;
    return true;
}

static bool is_host(const char *host)
{
    if (strlen(host) > 253)
        return false;
    if (strncmp(host, "*.", 2) == 0)
        host += 2;
    for (;;) {
        size_t len = strcspn(host, ".");
        if (!is_label(host, len))
            return false;
        if (host[len] == '\0')
            return true;
        host += len + 1;
    }
}

/* What is wrong with it, in words; the hint goes into *hint (to be freed). `shown`: the text may be
 * repeated (it is not what a ${} gave). */
static const char *host_fault(const char *host, bool shown, char **hint)
{
    const char *scheme = strstr(host, "://");
    *hint = NULL;
    if (*host == '\0') {
        *hint = xstrdup("leave `host` out for any host");
        return "is empty";
    }
    if (strcmp(host, "*") == 0) {
        *hint = xstrdup("leave `host` out for any host");
        return "`*` alone is no host";
    }
    if (strpbrk(host, ", ;") != NULL) {
        size_t first = strcspn(host, ", ;");
        const char *second = host + first + strspn(host + first, ", ;");
        if (shown)
            *hint = xasprintf("one route each: [{host: %.*s}, {host: %.*s}]", (int)first, host,
                              (int)strcspn(second, ", ;"), second);
        return "one host only; this holds a separator";
    }
    if (scheme != NULL) {
        if (shown)
            *hint = xasprintf("did you mean `%.*s`?", (int)strcspn(scheme + 3, ":/?#"), scheme + 3);
        return "a host has no scheme";
    }
    if (strchr(host, '/') != NULL) {
        if (shown)
            *hint = xasprintf("did you mean {host: %.*s, path: %s}?", (int)strcspn(host, "/"), host,
                              strchr(host, '/'));
        return "a host has no path";
    }
    if (host[0] == '[' || (strchr(host, ':') != strrchr(host, ':'))) {
        *hint = xstrdup("an IPv6 address stands in brackets, without a port: \"[2001:db8::1]\"");
        return "is no host name and no IPv6 address";
    }
    if (strchr(host, ':') != NULL) {
        if (shown)
            *hint = xasprintf("did you mean `%.*s`? The ports are those that `serve` listens on",
                              (int)strcspn(host, ":"), host);
        return "a host has no port";
    }
    if (strchr(host, '*') != NULL) {
        *hint = xstrdup("`*.shop.example` matches all names below it");
        return "a `*` may only stand in front, as `*.`";
    }
    for (const char *p = host; *p != '\0'; p++)
        if ((unsigned char)*p >= 0x80) {
            *hint = xstrdup("write its ASCII form, which starts with xn--");
            return "a host is ASCII";
        }
    if (host[strlen(host) - 1] == '.') {
        *hint = xstrdup("leave the dot at the end out");
        return "ends with a dot";
    }
    return "is no host name";
}

static void read_host(struct reader *r, const struct key *key, const struct node *node, void *base)
{
    const char *text = read_text(r, key, node, EXPAND_VALUE);
    if (text == NULL)
        return;
    char literal[IPV6_LITERAL_MAX];
    if (ipv6_literal(text, strlen(text), literal)) {
        ((struct route_spec *)base)->host = arena_strdup(r->arena, literal);
        return;
    }
    if (is_host(text)) {
        char *lower = arena_strdup(r->arena, text);
        for (char *p = lower; *p != '\0'; p++)
            *p = (char)tolower((unsigned char)*p);
        ((struct route_spec *)base)->host = lower;
        return;
    }
    cleanup_free char *hint = NULL;
    const char *fault = host_fault(text, strcmp(text, node->text) == 0, &hint);
    reader_fail(r, node, hint, "%s", fault);
}

static bool write_host(const struct key *key, const void *base, struct buf *out)
{
    const struct route_spec *route = base;
    (void)key;
    write_string(out, route->host);
    return route->host[0] != '\0';
}

const struct value_type type_host = {
    .shape = "a host name such as shop.example", .read = read_host, .write = write_host};

/* ---- path ------------------------------------------------------------------------------------ */

const char *path_fault(const char *path, const char **hint)
{
    *hint = NULL;
    if (path[0] != '/')
        return "must start with /";
    if (strpbrk(path, "?#") != NULL) {
        *hint = "a route looks at the path only; `match` looks at headers, cookies and the query";
        return "a path has no query and no fragment";
    }
    if (strchr(path, '*') != NULL) {
        *hint = "leave the * out: a path matches everything below it already";
        return "a path has no wildcard";
    }
    for (const char *p = path; *p != '\0'; p++) {
        if (*p <= ' ' || *p >= 0x7F || *p == '\\') {
            *hint = "write other characters in their %XX form";
            return "holds a character that no path has";
        }
        if (*p == '%' && !(isxdigit((unsigned char)p[1]) && isxdigit((unsigned char)p[2])))
            return "a % needs two hexadecimal digits";
        if (*p == '/' && p[1] == '/')
            return "holds an empty segment (//)";
        if (p[0] == '/' && p[1] == '.') {
            size_t dots = strspn(p + 1, ".");
            if (dots <= 2 && (p[1 + dots] == '/' || p[1 + dots] == '\0'))
                return "holds a . or .. segment";
        }
    }
    return strlen(path) > 1000 ? "is longer than 1000 bytes" : NULL;
}

static void read_route_path(struct reader *r, const struct key *key, const struct node *node,
                            void *base)
{
    const char *text = read_text(r, key, node, EXPAND_VALUE);
    if (text == NULL)
        return;
    const char *hint, *fault = path_fault(text, &hint);
    if (fault == NULL)
        ((struct route_spec *)base)->path = text;
    else
        reader_fail(r, node, hint, "%s", fault);
}

static bool write_route_path(const struct key *key, const void *base, struct buf *out)
{
    (void)key;
    write_string(out, ((const struct route_spec *)base)->path);
    return true;
}

const struct value_type type_route_path = {
    .shape = "a path such as /api", .read = read_route_path, .write = write_route_path};

/* ---- routes ---------------------------------------------------------------------------------- */

static bool has_item(const struct match_spec *m, const struct match_item *wanted)
{
    for (size_t i = 0; i < m->len; i++) {
        const struct match_item *item = &m->items[i];
        bool same_value = item->value == NULL || wanted->value == NULL
                              ? item->value == wanted->value
                              : strcmp(item->value, wanted->value) == 0;
        if (item->kind == wanted->kind && same_value && strcmp(item->name, wanted->name) == 0)
            return true;
    }
    return false;
}

bool same_route(const struct route_spec *a, const struct route_spec *b)
{
    if (a->tcp.listen != NULL && b->tcp.listen != NULL)
        return tcp_listen_overlaps(a->tcp.listen, b->tcp.listen);
    if (a->tcp.listen != NULL || b->tcp.listen != NULL)
        return false;
    if (strcmp(a->host, b->host) != 0 || strcmp(a->path, b->path) != 0 ||
        a->match.len != b->match.len)
        return false;
    for (size_t i = 0; i < a->match.len; i++)
        if (!has_item(&b->match, &a->match.items[i]))
            return false;
    return true;
}

static void read_routes(struct reader *r, const struct key *key, const struct node *node,
                        void *base)
{
    struct app_spec *spec = base;
    const struct node *const *items;
    size_t len;
    if (node->kind == NODE_SCALAR) {
        reader_expected(r, node, key->type->shape, NULL);
        return;
    }
    if (!read_items(r, key, node, SPEC_MAX_ROUTES, &items, &len))
        return;
    const struct node *places[SPEC_MAX_ROUTES];
    spec->routes_len = 0;
    for (size_t i = 0; i < len; i++) {
        struct route_spec *route = &spec->routes[spec->routes_len];
        *route = (struct route_spec){.host = "", .path = "/", .tls_auto = spec->tls_auto};
        if (items[i]->kind != NODE_MAP) {
            reader_expected(r, items[i], "a map such as {host: shop.example, path: /}", NULL);
            continue;
        }
        size_t faults = reader_errors(r);
        read_mapping(r, IN_ROUTE, items[i], route);
        if (reader_errors(r) != faults)
            continue; /* what is wrong was left at its default: no ground for a comparison */
        size_t same = 0;
        while (same < spec->routes_len && !same_route(&spec->routes[same], route))
            same++;
        if (same < spec->routes_len && !r->partial) {
            cleanup_free char *hint =
                xasprintf("the same %s stand%s in line %u",
                          route->tcp.listen != NULL ? "address" : "host, path and match",
                          route->tcp.listen != NULL ? "s" : "", places[same]->line);
            reader_fail(r, items[i], hint, "this route is given twice");
            continue;
        }
        places[spec->routes_len++] = items[i];
    }
}

static bool write_routes(const struct key *key, const void *base, struct buf *out)
{
    const struct app_spec *spec = base;
    (void)key;
    for (size_t i = 0; i < spec->routes_len; i++) {
        buf_putc(out, i == 0 ? '[' : ',');
        write_route(&spec->routes[i], out);
    }
    buf_putc(out, ']');
    return spec->routes_len > 0;
}

const struct value_type type_routes = {.shape = "a list such as [{host: shop.example, path: /}]",
                                       .read = read_routes,
                                       .write = write_routes,
                                       .null_is_empty = true};
