/* The snapshot: what is encoded is decoded; whatever else comes is refused, without a crash. */
#include "wire/snapshot.h"

#include "wire/http1.h"
#include "wire/metrics.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* One of everything, changed by the tests before it is encoded. */
struct whole {
    struct snapshot_app apps[2];
    struct snapshot_pool pools[2];
    struct snapshot_instance instances[3];
    struct snapshot_match matches[2];
    struct snapshot_route routes[2];
    struct snapshot_draining draining[1];
    struct snapshot_edit edits[3];
    struct snapshot_rules rules[2];
    struct snapshot_page pages[1];
    struct snapshot_caller callers[2];
    struct snapshot_error errors[1];
    struct snapshot_proof proofs[1];
    struct snapshot_field fields[2];
    struct snapshot_pointer pointers[2];
    struct snapshot s;
};

static char long_page[SNAPSHOT_MAX_PAGE + 1] = "<p>\n\0</p>";

static void make(struct whole *x)
{
    memset(x, 0, sizeof *x);
    x->apps[0] = (struct snapshot_app){.name = "shop",
                                       .environment = "production",
                                       .hold = true,
                                       .stopped = true,
                                       .hold_ms = 10000,
                                       .hold_limit = 1000,
                                       .drain_ms = 30000,
                                       .errors = 1,
                                       .maintenance = {503, 60, 5000, 1, 0, 2}};
    x->apps[1] = (struct snapshot_app){.name = "blog",
                                       .environment = "staging",
                                       .slot = 1,
                                       .fault = {50000, 200, 502, UINT64_MAX, 1, 1}};
    x->pages[0] = (struct snapshot_page){"text/html", {long_page, 9}};
    x->errors[0] = (struct snapshot_error){502, 1};
    x->callers[0] = (struct snapshot_caller){NULL, NULL, 1, UINT64_MAX, 128};
    x->callers[1] = (struct snapshot_caller){"x-tester", NULL, 0, 0, 0};
    x->proofs[0] = (struct snapshot_proof){"shop.example", "token", "token.print"};
    x->pools[0] = (struct snapshot_pool){7, "v1.2", 0, 2, 250000};
    x->pools[1] = (struct snapshot_pool){8, "", 2, 1, UINT64_MAX};
    x->instances[0] = (struct snapshot_instance){
        .id = "shop-7-1", .slot = 0, .port = 40001, .keepalive_ms = 4000};
    x->instances[1] = (struct snapshot_instance){
        .id = "shop-7-2", .slot = 5, .port = 65535, .ready_at_ms = 123456, .ipv6 = true};
    x->instances[2] = (struct snapshot_instance){.id = "shop-8-1",
                                                 .slot = 2,
                                                 .keepalive_ms = 4000,
                                                 .ready_at_ms = UINT64_MAX,
                                                 .socket = "shop-8-1.4/sock",
                                                 .socket_uid = 1000};
    x->matches[0] = (struct snapshot_match){SNAPSHOT_MATCH_HEADER, "x-preview", "gr\xc3\xbcn"};
    x->matches[1] = (struct snapshot_match){SNAPSHOT_MATCH_COOKIE, "Canary", NULL};
    x->routes[0] = (struct snapshot_route){
        .app = 0,
        .host = "*.example.org",
        .path = "/",
        .first_match = 0,
        .matches = 1,
        .timeout_ms = 60000,
        .retries = 1,
        .resilience = {.connect_ms = 500,
                       .retry_budget_ppm = 1000000,
                       .retry_on = SNAPSHOT_RETRY_ALL,
                       .eject_share_ppm = 1000000,
                       .slow_start_ms = 30000},
        .guard = {100, 1000, 200, "x-key", 1 << 20, 8192, 500},
        .via = true,
        .shares_len = 2,
        .pins_len = 1,
        .shares =
            {{.weight_ppm = 950000, .slot = 2},
             {.pool = 1, .weight_ppm = 50000, .slot = 3, .rules = 2, .tls = {"app", "ca", "me"}}},
        .pins = {{{.pool = 1, .slot = 4, .rules = 1, .h2c = true}, 1, 1, true}},
        .sticky_cookie = "sluice-shop",
        .mirror = {.share_ppm = 1000000,
                   .to = {.pool = 1, .slot = 4, .rules = 2, .tls = {.name = "copy"}},
                   .copied_slot = 3,
                   .methods = 1 << HTTP1_M_GET,
                   .body_bytes = SNAPSHOT_MAX_COPIED_BODY,
                   .compare = SNAPSHOT_COMPARE_ALL,
                   .fields = 2,
                   .first_ignored = 1,
                   .ignored = 1}};
    x->routes[1] =
        (struct snapshot_route){.app = 1,
                                .host = "",
                                .path = "/blog",
                                .sticky_cookie = "",
                                .redirect = {"https://blog.example", 308, SNAPSHOT_KEEP_REST}};
    x->edits[0] = (struct snapshot_edit){SNAPSHOT_SET, "X-Tenant", "gr\xc3\xbcn"};
    x->edits[1] = (struct snapshot_edit){SNAPSHOT_REMOVE, "server", ""};
    x->edits[2] = (struct snapshot_edit){SNAPSHOT_ADD, "vary", "cookie"};
    x->rules[0] = (struct snapshot_rules){"/api", NULL, NULL, 0, 1, 1};
    x->rules[1] = (struct snapshot_rules){NULL, "/v2", NULL, 2, 0, 1};
    x->fields[0] = (struct snapshot_field){"content-type"};
    x->fields[1] = (struct snapshot_field){"location"};
    x->pointers[0] = (struct snapshot_pointer){"/"};
    x->pointers[1] = (struct snapshot_pointer){"/items/*/a~1b~0c"};
    x->draining[0] = (struct snapshot_draining){9, UINT64_C(0x123456789abcdef0)};
    x->s = (struct snapshot){.version = 42,
                             .rollback_ahead = true,
                             .request_slots = 5,
                             .instance_slots = 10,
                             .apps = x->apps,
                             .routes = x->routes,
                             .pools = x->pools,
                             .instances = x->instances,
                             .matches = x->matches,
                             .draining = x->draining,
                             .edits = x->edits,
                             .rules = x->rules,
                             .pages = x->pages,
                             .callers = x->callers,
                             .errors = x->errors,
                             .proofs = x->proofs,
                             .proofs_len = 1,
                             .fields = x->fields,
                             .pointers = x->pointers,
                             .fields_len = 2,
                             .pointers_len = 2,
                             .apps_len = 2,
                             .routes_len = 2,
                             .pools_len = 2,
                             .instances_len = 3,
                             .matches_len = 2,
                             .draining_len = 1,
                             .edits_len = 3,
                             .rules_len = 2,
                             .pages_len = 1,
                             .callers_len = 2,
                             .errors_len = 1};
}

static struct snapshot *code(const struct snapshot *s, struct error *err)
{
    cleanup_buf struct buf b = BUF_INIT;
    snapshot_encode(s, &b);
    return snapshot_decode(b.data, b.len, err);
}

static void both_ways(void **state)
{
    (void)state;
    struct whole x;
    struct error err = ERROR_INIT;
    make(&x);
    struct snapshot *r = code(&x.s, &err);
    assert_non_null(r);
    assert_int_equal(r->version, 42);
    assert_true(r->rollback_ahead);
    assert_int_equal(r->apps_len, 2);
    assert_string_equal(r->apps[0].name, "shop");
    assert_string_equal(r->apps[1].environment, "staging");
    assert_true(r->apps[0].hold && r->apps[0].stopped);
    assert_int_equal(r->apps[0].drain_ms, 30000);
    assert_string_equal(r->pools[0].version, "v1.2");
    assert_int_equal(r->pools[1].first_instance, 2);
    assert_int_equal(r->pools[0].slo_us, 250000);
    assert_true(r->pools[1].slo_us == UINT64_MAX);
    assert_string_equal(r->instances[1].id, "shop-7-2");
    assert_int_equal(r->instances[1].port, 65535);
    assert_string_equal(r->matches[0].value, "gr\xc3\xbcn");
    assert_null(r->matches[1].value);
    assert_int_equal(r->matches[1].kind, SNAPSHOT_MATCH_COOKIE);
    assert_int_equal(r->routes[0].shares[1].weight_ppm, 50000);
    assert_int_equal(r->routes[0].pins[0].share.slot, 4);
    assert_int_equal(r->routes[0].pins[0].first_match, 1);
    assert_true(r->routes[0].pins[0].client_cert && r->routes[0].pins[0].share.h2c);
    assert_null(r->routes[0].shares[0].tls.name);
    assert_string_equal(r->routes[0].shares[1].tls.pair, "me");
    assert_string_equal(r->routes[0].mirror.to.tls.name, "copy");
    assert_string_equal(r->routes[0].sticky_cookie, "sluice-shop");
    assert_int_equal(r->instances[1].ready_at_ms, 123456);
    assert_true(r->instances[1].ipv6);
    assert_null(r->instances[1].socket);
    assert_string_equal(r->instances[2].socket, "shop-8-1.4/sock");
    assert_int_equal(r->instances[2].socket_uid, 1000);
    assert_int_equal(r->routes[0].resilience.connect_ms, 500);
    assert_int_equal(r->routes[0].resilience.slow_start_ms, 30000);
    assert_int_equal(r->routes[1].resilience.retry_on, 0);
    assert_true(r->routes[0].via && !r->routes[0].forwarded);
    assert_int_equal(r->routes[0].guard.rate_burst, 200);
    assert_string_equal(r->routes[0].guard.rate_header, "x-key");
    assert_int_equal(r->routes[0].guard.body_bytes, 1 << 20);
    assert_int_equal(r->routes[0].guard.min_rate, 500);
    assert_null(r->routes[1].guard.rate_header);
    assert_string_equal(r->routes[1].path, "/blog");
    assert_int_equal(r->routes[1].shares_len, 0);
    assert_int_equal(r->apps[0].maintenance.retry_after_s, 60);
    assert_int_equal(r->apps[0].maintenance.callers, 2);
    assert_int_equal(r->errors[r->apps[0].first_error].status, 502);
    assert_int_equal(r->apps[1].fault.abort, 502);
    assert_true(r->apps[1].fault.until_ms == UINT64_MAX);
    assert_int_equal(r->pages[0].body.len, 9);
    assert_memory_equal(r->pages[0].body.data, "<p>\n\0</p>", 9);
    assert_null(r->callers[0].name);
    assert_true(r->callers[0].low == UINT64_MAX);
    assert_string_equal(r->callers[1].name, "x-tester");
    assert_int_equal(r->proofs_len, 1);
    assert_string_equal(r->proofs[0].host, "shop.example");
    assert_string_equal(r->proofs[0].token, "token");
    assert_string_equal(r->proofs[0].answer, "token.print");
    assert_int_equal(r->routes[0].shares[1].rules, 2);
    assert_int_equal(r->routes[0].pins[0].share.rules, 1);
    assert_null(r->routes[0].redirect.to);
    assert_string_equal(r->routes[1].redirect.to, "https://blog.example");
    assert_int_equal(r->routes[1].redirect.keep, SNAPSHOT_KEEP_REST);
    assert_string_equal(r->edits[0].value, "gr\xc3\xbcn");
    assert_int_equal(r->edits[2].kind, SNAPSHOT_ADD);
    assert_string_equal(r->rules[0].strip_prefix, "/api");
    assert_null(r->rules[0].prefix);
    assert_int_equal(r->rules[1].first_edit, 2);
    assert_int_equal(r->routes[0].mirror.share_ppm, 1000000);
    assert_int_equal(r->routes[0].mirror.to.slot, 4);
    assert_int_equal(r->routes[0].mirror.to.rules, 2);
    assert_int_equal(r->routes[0].mirror.copied_slot, 3);
    assert_int_equal(r->routes[0].mirror.methods, 1 << HTTP1_M_GET);
    assert_int_equal(r->routes[0].mirror.compare, SNAPSHOT_COMPARE_ALL);
    assert_int_equal(r->routes[0].mirror.fields, 2);
    assert_int_equal(r->routes[0].mirror.first_ignored, 1);
    assert_int_equal(r->routes[1].mirror.share_ppm, 0);
    assert_string_equal(r->fields[1].name, "location");
    assert_string_equal(r->pointers[1].text, "/items/*/a~1b~0c");
    assert_int_equal(r->draining[0].deadline_ms, UINT64_C(0x123456789abcdef0));
    /* The same bytes again. */
    cleanup_buf struct buf one = BUF_INIT, two = BUF_INIT;
    snapshot_encode(&x.s, &one);
    snapshot_encode(r, &two);
    assert_int_equal(one.len, two.len);
    assert_memory_equal(one.data, two.data, one.len);
    snapshot_free(r);
}

static void an_empty_one(void **state)
{
    (void)state;
    /* Version 0 too: what a gateway has that never got one. */
    for (uint64_t version = 0; version < 2; version++) {
        struct snapshot s = {.version = version};
        struct error err = ERROR_INIT;
        struct snapshot *r = code(&s, &err);
        assert_non_null(r);
        assert_int_equal(r->routes_len, 0);
        snapshot_free(r);
    }
}

static void it_is_appended_to_the_buffer(void **state)
{
    (void)state;
    struct snapshot s = {.version = 1};
    cleanup_buf struct buf b = BUF_INIT;
    buf_puts(&b, "before");
    snapshot_encode(&s, &b);
    struct snapshot *r = snapshot_decode(b.data + 6, b.len - 6, NULL);
    assert_non_null(r);
    snapshot_free(r);
}

/* ---- refused: each changes one thing in the sample
 * ------------------------------------------------- */

static const char LONG_ID[] = "iiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiii"
                              "iiiiiiiiiiiiiiiiiiiiiiiiiiiiiiii"
                              "iiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiii"
                              "iiiiiiiiiiiiiiiiiiiiiiiiiiiiiiii"
                              "iiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiii";

static char LONG_POINTER[SNAPSHOT_MAX_POINTER + 2];

/* X(change, part of the error) */
#define REFUSED(X)                                                                                 \
    X(x->s.version = 0, "version 0")                                                               \
    X(x->s.version = METRICS_OFFLINE, "version")                                                   \
    X(x->s.request_slots = METRICS_REQUEST_SLOTS + 1, "more than there are")                       \
    X(x->s.instance_slots = METRICS_INSTANCE_SLOTS + 1, "more than there are")                     \
    X(x->apps[0].name = "", "app 0: its name")                                                     \
    X(x->apps[1].environment = "", "app 1: its name")                                              \
    X(x->apps[1].name = LONG_ID, "too long")                                                       \
    X(x->apps[1].slot = 5, "app 1: its slot")                                                      \
    X(x->apps[0].name = "a\nb", "control character")                                               \
    X(x->pools[1].first_instance = 3, "pool 1: its instances")                                     \
    X(x->pools[1].instances = 2, "pool 1: its instances")                                          \
    X(x->pools[1].instances = UINT32_MAX, "pool 1: its instances")                                 \
    X((x->pools[1].first_instance = UINT32_MAX, x->pools[1].instances = 2), "pool 1")              \
    X(x->instances[0].port = 0, "instance 0: it has neither a port")                               \
    X(x->instances[2].port = 1, "instance 2: it has neither a port nor a socket, or both")         \
    X(x->instances[2].ipv6 = true, "instance 2: its socket")                                       \
    X(x->instances[2].socket = "../api.sock", "instance 2: its socket")                            \
    X(x->instances[2].socket = "", "instance 2: its socket")                                       \
    X(x->instances[0].slot = 10, "instance 0: its slot")                                           \
    X(x->instances[0].slot = UINT32_MAX, "instance 0: its slot")                                   \
    X(x->instances[1].slot = 0, "same slot")                                                       \
    X(x->draining[0].slot = 5, "same slot")                                                        \
    X(x->draining[0].slot = 10, "draining instance 0")                                             \
    X(x->instances[2].id = "", "instance 2: its id")                                               \
    X(x->matches[0].name = "X-Preview", "lower-case")                                              \
    X(x->matches[0].name = "x preview", "lower-case")                                              \
    X(x->matches[0].name = "", "lower-case")                                                       \
    X(x->matches[1].kind = SNAPSHOT_MATCH_KINDS, "match 1: it is of no kind")                      \
    X((x->matches[1].kind = SNAPSHOT_MATCH_QUERY, x->matches[1].name = ""), "match 1: its name")   \
    X(x->matches[1].name = "a=b", "cookie's name")                                                 \
    X(x->matches[1].value = "a\rb", "control character")                                           \
    X(x->routes[0].app = 2, "route 0: its app")                                                    \
    X(x->routes[0].host = "Example.org", "route 0: its host")                                      \
    X(x->routes[0].guard.rate_burst = 0, "its rate limit is incomplete")                           \
    X(x->routes[0].guard.rate_per_ms = 0, "its rate limit is incomplete")                          \
    X(x->routes[1].guard.rate_burst = 1, "its rate limit is incomplete")                           \
    X((x->routes[0].guard.rate_burst = UINT32_MAX, x->routes[0].guard.rate_per_ms = UINT32_MAX),   \
      "takes too long to come back")                                                               \
    X(x->routes[0].guard.rate_header = "X-Key", "its rate limit's header")                         \
    X(x->routes[0].guard.rate_header = "", "its rate limit's header")                              \
    X(x->routes[0].host = "a b", "route 0: its host")                                              \
    X(x->routes[0].host = "tcp:127.0.0.1:1", "TCP route and looks at requests")                    \
    X((x->routes[1].host = "tcp:127.0.0.1:1", x->routes[1].path = "/blog"), "looks at requests")   \
    X((x->routes[1].host = "tcp:127.0.0.1:1", x->routes[1].client_cert = true),                    \
      "looks at requests")                                                                         \
    X(x->routes[0].path = "", "route 0: its path")                                                 \
    X(x->routes[0].path = "shop", "route 0: its path")                                             \
    X(x->routes[0].matches = 3, "route 0: its matches")                                            \
    X(x->routes[0].first_match = 2, "route 0: its matches")                                        \
    X(x->routes[0].retries = 101, "retries")                                                       \
    X(x->routes[0].resilience.retry_budget_ppm = 1000001, "more than all")                         \
    X(x->routes[0].resilience.eject_share_ppm = 1000001, "more than all")                          \
    X(x->routes[0].resilience.retry_on = 16, "retries on something unknown")                       \
    X(x->routes[0].tls_auto = true, "route 0: it has no host")                                     \
    X(x->routes[0].redirect_https = 2, "redirects")                                                \
    X(x->routes[0].shares[0].tls.name = "", "name of its TLS")                                     \
    X(x->routes[0].shares[0].tls.ca = "ca", "TLS without a name")                                  \
    X((x->routes[0].shares[0].tls.name = "a", x->routes[0].shares[0].tls.pair = ""),               \
      "name of its TLS")                                                                           \
    X((x->routes[0].shares[0].tls.name = "a", x->routes[0].shares[0].h2c = true), "HTTP/2 by TLS") \
    X((x->routes[1].host = "tcp:127.0.0.1:1", x->routes[1].path = "/",                             \
       x->routes[1].redirect.to = NULL, x->routes[1].shares_len = 1,                               \
       x->routes[1].shares[0].tls.name = "a"),                                                     \
      "looks at requests")                                                                         \
    X(x->routes[0].pins[0].share.tls.name = "a", "HTTP/2 by TLS")                                  \
    X(x->routes[0].mirror.to.tls.ca = "", "name of its TLS")                                       \
    X(x->routes[0].shares[0].rules = 3, "share's rules")                                           \
    X(x->routes[0].pins[0].share.rules = 3, "share's rules")                                       \
    X(x->routes[1].redirect.status = 200, "redirect's status")                                     \
    X(x->routes[1].redirect.keep = 4, "redirect's status or form")                                 \
    X(x->routes[1].redirect.to = "ftp://blog.example", "neither")                                  \
    X(x->routes[1].redirect.to = "//blog.example", "neither")                                      \
    X(x->routes[1].redirect.to = "", "neither")                                                    \
    X(x->routes[1].redirect.to = "https://blog.example/ x", "no URL")                              \
    X(x->apps[0].maintenance.status = 200, "maintenance's status")                                 \
    X(x->apps[0].maintenance.page = 2, "maintenance's page")                                       \
    X(x->apps[0].maintenance.callers = 3, "callers are out")                                       \
    X(x->proofs[0].token = "", "is empty or too long")                                             \
    X(x->apps[1].fault.share_ppm = 1000001, "fault's share")                                       \
    X(x->apps[1].fault.abort = 200, "fault's share or status")                                     \
    X(x->apps[1].fault.delay_ms = x->apps[1].fault.abort = 0, "neither delays")                    \
    X(x->apps[1].fault.first_caller = 2, "callers are out")                                        \
    X(x->apps[0].errors = 2, "errors are out of range")                                            \
    X(x->errors[0].status = 302, "error 0: its status")                                            \
    X(x->errors[0].page = 0, "error 0: its page")                                                  \
    X(x->errors[0].page = 2, "error 0: its page")                                                  \
    X(x->pages[0].type = "", "page 0: its type")                                                   \
    X(x->pages[0].body.len = SNAPSHOT_MAX_PAGE + 1, "page 0: it is too long")                      \
    X(x->callers[0].bits = 129, "more than 128")                                                   \
    X(x->callers[1].name = "X-Tester", "caller 1: its header's name")                              \
    X(x->callers[1].name = "", "caller 1: its header's name")                                      \
    X(x->edits[0].kind = 3, "edit 0: it neither")                                                  \
    X(x->edits[0].name = "", "edit 0: its field's name")                                           \
    X(x->edits[0].name = "a b", "edit 0: its field's name")                                        \
    X(x->edits[0].name = "a:", "edit 0: its field's name")                                         \
    X(x->edits[0].name = "Content-Length", "edit 0: its field's name")                             \
    X(x->edits[0].name = "transfer_encoding", "edit 0: its field's name")                          \
    X(x->edits[0].name = "HOST", "edit 0: its field's name")                                       \
    X(x->edits[0].value = " a", "edit 0: its value")                                               \
    X(x->edits[0].value = "a\r\nX-Evil: 1", "control character")                                   \
    X(x->edits[1].value = "a", "edit 1: its value")                                                \
    X(x->rules[0].strip_prefix = "api", "one of its paths")                                        \
    X(x->rules[1].prefix = "//evil.example", "one of its paths")                                   \
    X(x->rules[1].path = "/a b", "one of its paths")                                               \
    X(x->rules[1].path = "/a?b", "one of its paths")                                               \
    X(x->rules[1].first_edit = 1, "do not follow")                                                 \
    X(x->rules[1].answer_edits = 2, "its edits are out of range")                                  \
    X(x->rules[1].request_edits = UINT32_MAX, "its edits are out of range")                        \
    X(x->routes[0].mirror.share_ppm = 1000001, "mirrors more than all")                            \
    X(x->routes[0].mirror.to.pool = 2, "share's pool")                                             \
    X(x->routes[0].mirror.to.slot = 5, "share's slot")                                             \
    X(x->routes[0].mirror.to.rules = 3, "share's rules")                                           \
    X(x->routes[0].mirror.to.weight_ppm = 1, "mirror has a weight")                                \
    X(x->routes[0].mirror.copied_slot = 5, "mirror's slot")                                        \
    X(x->routes[0].mirror.methods = 1 << HTTP1_METHOD_COUNT, "methods that cannot be")             \
    X(x->routes[0].mirror.methods = 1 << HTTP1_M_CONNECT, "methods that cannot be")                \
    X(x->routes[0].mirror.body_bytes++, "bodies that are too long")                                \
    X(x->routes[0].mirror.compare = 8, "compares something unknown")                               \
    X(x->routes[0].mirror.compare = SNAPSHOT_COMPARE_JSON, "compares something unknown")           \
    X(x->routes[0].mirror.first_field = 1, "compared fields are out of range")                     \
    X(x->routes[0].mirror.fields = UINT32_MAX, "compared fields are out of range")                 \
    X(x->routes[0].mirror.ignored = 2, "JSON pointers are out of range")                           \
    X((x->routes[1].host = "tcp:127.0.0.1:1", x->routes[1].path = "/",                             \
       x->routes[1].redirect.to = NULL, x->routes[1].mirror.share_ppm = 1),                        \
      "looks at requests")                                                                         \
    X(x->fields[1].name = "", "field to be compared 1: its name")                                  \
    X(x->fields[0].name = "Location", "field to be compared 0: its name")                          \
    X(x->pointers[1].text = "items", "JSON pointer 1: it does not begin")                          \
    X(x->pointers[1].text = LONG_POINTER, "JSON pointer 1: it does not begin")                     \
    X(x->pointers[0].text = "/1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17", "too many tokens")       \
    X(x->pointers[0].text = "/a~2", "neither")                                                     \
    X(x->pointers[0].text = "/a~", "neither")                                                      \
    X(x->routes[0].sticky_cookie = "a;b", "sticky")                                                \
    X(x->routes[0].shares[0].weight_ppm = 950001, "sum to 1,000,000")                              \
    X(x->routes[0].shares[0].weight_ppm = 0, "sum to 1,000,000")                                   \
    X((x->routes[0].shares[0].weight_ppm = UINT32_MAX,                                             \
       x->routes[0].shares[1].weight_ppm = 1000001),                                               \
      "sum to 1,000,000")                                                                          \
    X(x->routes[0].shares[1].pool = 2, "share's pool")                                             \
    X(x->routes[0].shares[1].slot = 5, "share's slot")                                             \
    X(x->routes[0].pins[0].share.weight_ppm = 1, "pin has a weight")                               \
    X(x->routes[0].pins[0].share.pool = 9, "share's pool")                                         \
    X(x->routes[0].pins[0].matches = 0, "pin's matches")                                           \
    X(x->routes[0].pins[0].matches = 2, "pin's matches")

static void what_makes_no_sense_is_refused(void **state)
{
    (void)state;
    struct whole sample, *x = &sample;
    memset(LONG_POINTER, '/', sizeof LONG_POINTER - 1);
#define X(change, part)                                                                            \
    do {                                                                                           \
        struct error err = ERROR_INIT;                                                             \
        make(x);                                                                                   \
        change;                                                                                    \
        if (code(&x->s, &err) != NULL)                                                             \
            fail_msg("was taken: " #change);                                                       \
        assert_int_equal(err.class, ERROR_USAGE);                                                  \
        if (strstr(err.text, part) == NULL)                                                        \
            fail_msg(#change ": %s", err.text);                                                    \
    } while (0);
    REFUSED(X)
#undef X
}

/* ---- hostile bytes
 * ---------------------------------------------------------------------------------- */

static uint32_t crc_of(const unsigned char *p, size_t len)
{
    uint32_t crc = 0xffffffff;
    for (size_t i = 0; i < len; i++) {
        crc ^= p[i];
        for (int k = 0; k < 8; k++)
            crc = (crc >> 1) ^ (crc & 1 ? 0x82f63b78 : 0);
    }
    return ~crc;
}

static void put32(char *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (char)(v >> (8 * i));
}

/* Length and checksum as they should be, so that what is behind them is looked at. */
static void reseal(char *p, size_t len)
{
    put32(p + 8, (uint32_t)len);
    put32(p + 12, crc_of((unsigned char *)p + 16, len - 16));
}

static void the_frame_is_checked(void **state)
{
    (void)state;
    struct whole x;
    make(&x);
    cleanup_buf struct buf b = BUF_INIT;
    snapshot_encode(&x.s, &b);
    for (size_t i = 0; i < b.len; i++) { /* any one byte changed */
        struct error err = ERROR_INIT;
        b.data[i] ^= 0x20;
        assert_null(snapshot_decode(b.data, b.len, &err));
        assert_int_equal(err.class, ERROR_USAGE);
        b.data[i] ^= 0x20;
    }
    for (size_t len = 0; len < b.len; len++) /* cut anywhere */
        assert_null(snapshot_decode(b.data, len, NULL));
    buf_putc(&b, '\0');
    assert_null(snapshot_decode(b.data, b.len, NULL));
}

static void a_cut_with_a_good_checksum_is_refused(void **state)
{
    (void)state;
    struct whole x;
    make(&x);
    cleanup_buf struct buf b = BUF_INIT;
    snapshot_encode(&x.s, &b);
    for (size_t len = 16; len < b.len; len++) {
        /* In memory of just that size, so that the sanitizer sees a read behind it. */
        char *p = malloc(len);
        memcpy(p, b.data, len);
        reseal(p, len);
        assert_null(snapshot_decode(p, len, NULL));
        free(p);
    }
    buf_puts(&b, "more");
    reseal(b.data, b.len);
    struct error err = ERROR_INIT;
    assert_null(snapshot_decode(b.data, b.len, &err));
    assert_non_null(strstr(err.text, "behind its end"));
}

static void counts_that_do_not_fit_take_no_memory(void **state)
{
    (void)state;
    struct whole x;
    make(&x);
    cleanup_buf struct buf b = BUF_INIT;
    snapshot_encode(&x.s, &b);
    for (size_t at = 16 + 8 + 1 + 8; at < 16 + 8 + 1 + 8 + 24; at += 4) {
        struct error err = ERROR_INIT;
        char kept[4];
        memcpy(kept, b.data + at, 4);
        put32(b.data + at, 0xffffffff);
        reseal(b.data, b.len);
        assert_null(snapshot_decode(b.data, b.len, &err));
        assert_non_null(strstr(err.text, "than fit into its bytes"));
        memcpy(b.data + at, kept, 4);
    }
}

/* Every byte to every interesting value behind a good checksum: refused or well-formed, never a
 * crash. */
static void any_byte_changed_is_no_crash(void **state)
{
    (void)state;
    static const unsigned char VALUES[] = {0, 1, 2, 0x7f, 0x80, 0xff};
    struct whole x;
    make(&x);
    cleanup_buf struct buf b = BUF_INIT;
    snapshot_encode(&x.s, &b);
    for (size_t i = 16; i < b.len; i++) {
        char kept = b.data[i];
        for (size_t v = 0; v < sizeof VALUES; v++) {
            b.data[i] = (char)VALUES[v];
            reseal(b.data, b.len);
            struct snapshot *s = snapshot_decode(b.data, b.len, NULL);
            if (s != NULL) {
                cleanup_buf struct buf again = BUF_INIT;
                snapshot_encode(s, &again);
                assert_int_equal(again.len, b.len);
                assert_memory_equal(again.data, b.data, b.len);
            }
            snapshot_free(s);
        }
        b.data[i] = kept;
    }
}

static void another_format_says_so(void **state)
{
    (void)state;
    struct snapshot s = {.version = 1};
    cleanup_buf struct buf b = BUF_INIT;
    struct error err = ERROR_INIT;
    snapshot_encode(&s, &b);
    put32(b.data + 4, 1);
    assert_null(snapshot_decode(b.data, b.len, &err));
    assert_non_null(strstr(err.text, "format 1, this version reads 5"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_ways),
        cmocka_unit_test(an_empty_one),
        cmocka_unit_test(it_is_appended_to_the_buffer),
        cmocka_unit_test(what_makes_no_sense_is_refused),
        cmocka_unit_test(the_frame_is_checked),
        cmocka_unit_test(a_cut_with_a_good_checksum_is_refused),
        cmocka_unit_test(counts_that_do_not_fit_take_no_memory),
        cmocka_unit_test(any_byte_changed_is_no_crash),
        cmocka_unit_test(another_format_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
