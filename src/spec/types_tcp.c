/* TCP routes: where they listen, and what they cannot have. */
#include "base/alloc.h"
#include "base/ipv6.h"
#include "base/units.h"
#include "base/vec.h"
#include "spec/types.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

/* ---- the address ----------------------------------------------------------------------------- */

enum { ADDRESS_SIZE = 64 };

/* "[::1]" or "127.0.0.1" as it is usually written; false: none. */
static bool usual_host(const char *host, char out[ADDRESS_SIZE])
{
    _Static_assert((int)IPV6_LITERAL_MAX <= (int)ADDRESS_SIZE, "there is room for it");
    unsigned char address[4];
    if (strcmp(host, "localhost") == 0)
        host = "127.0.0.1";
    if (inet_pton(AF_INET, host, address) == 1) {
        snprintf(out, ADDRESS_SIZE, "%s", host);
        return true;
    }
    return ipv6_literal(host, strlen(host), out);
}

/* A port alone is one of the machine's own: what the network is to reach says so itself. */
static bool usual_address(const char *text, char out[ADDRESS_SIZE])
{
    char host[ADDRESS_SIZE] = "127.0.0.1", usual[ADDRESS_SIZE];
    const char *colon = strrchr(text, ':');
    uint64_t port;
    if (parse_u64(colon != NULL ? colon + 1 : text, 65535, &port) < 0 || port == 0)
        return false;
    if (colon != NULL && (size_t)(colon - text) >= sizeof host)
        return false;
    if (colon != NULL) {
        memcpy(host, text, (size_t)(colon - text));
        host[colon - text] = '\0';
    }
    if (!usual_host(host, usual))
        return false;
    int n = snprintf(out, ADDRESS_SIZE, "%s:%u", usual, (unsigned)port);
    return n > 0 && n < ADDRESS_SIZE;
}

static void read_tcp_listen(struct reader *r, const struct key *key, const struct node *node,
                            void *base)
{
    struct tcp_spec *tcp = base;
    char address[ADDRESS_SIZE];
    const char *text = read_text(r, key, node, EXPAND_VALUE);
    if (text == NULL)
        return;
    if (usual_address(text, address)) {
        tcp->listen = arena_strdup(r->arena, address);
        return;
    }
    const char *hint = NULL;
    if (text[0] == '*' || text[0] == ':')
        hint = "0.0.0.0:5432 is the port on all IPv4 addresses of the machine, [::]:5432 on all of "
               "IPv6";
    else if (strcmp(text, "0") == 0)
        hint = "clients must know the port: choose one";
    reader_expected(r, node, key->type->shape, hint);
}

static bool write_tcp_listen(const struct key *key, const void *base, struct buf *out)
{
    (void)key;
    write_string(out, ((const struct tcp_spec *)base)->listen);
    return true;
}

const struct value_type type_tcp_listen = {.shape = "a port such as 5432, or an IP address with a "
                                                    "port such as 0.0.0.0:5432",
                                           .read = read_tcp_listen,
                                           .write = write_tcp_listen};

static bool any_host(const char *address, size_t len)
{
    return (len == 7 && memcmp(address, "0.0.0.0", 7) == 0) ||
           (len == 4 && memcmp(address, "[::]", 4) == 0);
}

bool tcp_listen_overlaps(const char *a, const char *b)
{
    size_t a_host = (size_t)(strrchr(a, ':') - a), b_host = (size_t)(strrchr(b, ':') - b);
    if (strcmp(a + a_host, b + b_host) != 0 || (a[0] == '[') != (b[0] == '['))
        return false;
    return any_host(a, a_host) || any_host(b, b_host) ||
           (a_host == b_host && memcmp(a, b, a_host) == 0);
}

/* ---- the route ------------------------------------------------------------------------------- */

static bool write_tcp_route(const struct key *key, const void *base, struct buf *out)
{
    const struct tcp_spec *tcp = const_field_at(base, key->offset);
    if (tcp->listen != NULL)
        write_mapping(IN_TCP, tcp, out);
    return tcp->listen != NULL;
}

const struct value_type type_tcp_route = {
    .shape = "a map such as {listen: 5432}", .nested = IN_TCP, .write = write_tcp_route};

/* Keys of a route that mean something for a connection. */
static bool is_of_tcp(const char *name)
{
    static const char *const names[] = {"tcp",     "retries",  "connect-timeout",
                                        "outlier", "capacity", "slow-start"};
    for (size_t i = 0; i < COUNT_OF(names); i++)
        if (strcmp(name, names[i]) == 0)
            return true;
    return false;
}

void finish_tcp(struct reader *r, const struct node *node)
{
    if (tree_get(node, "listen") == NULL)
        reader_fail(r, node, "for example {listen: 5432}", "`listen` is missing");
}

void finish_tcp_route(struct reader *r, const struct node *node, struct route_spec *route)
{
    if (route->tcp.listen == NULL)
        return;
    route->tls_auto = false; /* the file's `tls` is for its hosts */
    for (size_t i = 0; i < node->len; i++)
        if (!is_of_tcp(node->pairs[i].key->text))
            reader_fail(r, node->pairs[i].key, "what comes there is not looked into",
                        "`%s` is of requests, and this is a TCP route", node->pairs[i].key->text);
}

void write_route(const struct route_spec *route, struct buf *out)
{
    if (route->tcp.listen == NULL) {
        write_mapping(IN_ROUTE, route, out);
        return;
    }
    char before = '{';
    for (size_t i = 0; i < spec_keys_len; i++) {
        cleanup_buf struct buf value = BUF_INIT;
        if (spec_keys[i].in != IN_ROUTE || !is_of_tcp(spec_keys[i].name) ||
            !write_value(&spec_keys[i], route, &value))
            continue;
        buf_printf(out, "%c\"%s\":%s", before, spec_keys[i].name, buf_str(&value));
        before = ',';
    }
    buf_putc(out, '}');
}

/* What of the strategy looks at requests, where there are none. */
void check_tcp(struct reader *r, const struct node *root)
{
    const struct app_spec *spec = r->spec;
    size_t tcp = 0;
    for (size_t i = 0; i < spec->routes_len; i++)
        tcp += spec->routes[i].tcp.listen != NULL;
    if (tcp == 0 || tcp < spec->routes_len)
        return;
    static const struct {
        const char *strategy, *key;
    } keys[] = {{"canary", "match"}, {"canary", "sticky"}, {"blue-green", "preview"}};
    for (size_t i = 0; i < COUNT_OF(keys); i++) {
        const struct node *strategy = tree_get(tree_get(root, "strategy"), keys[i].strategy);
        const struct node *at = tree_key(strategy, keys[i].key);
        const struct node *value = tree_get(strategy, keys[i].key);
        bool none = value != NULL && value->kind == NODE_SCALAR && strcmp(value->text, "none") == 0;
        if (at != NULL && !none)
            reader_fail(r, at, "leave it out: a connection goes by the weights alone",
                        "`strategy.%s.%s` looks at requests, and all routes are TCP routes",
                        keys[i].strategy, keys[i].key);
    }
}
