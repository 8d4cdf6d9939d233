/* Routes, the split, the sticky buckets: out of snapshots made here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "gateway/split.h"
#include "gateway/table.h"

static struct table *compile(const struct snapshot *s)
{
    struct buf b = BUF_INIT;
    snapshot_encode(s, &b);
    struct error err = ERROR_INIT;
    struct snapshot *copy = snapshot_decode(b.data, b.len, &err);
    buf_release(&b);
    if (copy == NULL)
        fail_msg("%s", err.text);
    struct table *t = table_make(copy, &err);
    if (t == NULL)
        fail_msg("%s", err.text);
    return t;
}

enum { ROUTES = 16 };

/* The app index tells which route was found. */
static struct table *example(void)
{
    static struct snapshot_app apps[ROUTES];
    static struct snapshot_match matches[] = {{SNAPSHOT_MATCH_HEADER, "x-preview", "green"},
                                              {SNAPSHOT_MATCH_COOKIE, "beta", NULL},
                                              {SNAPSHOT_MATCH_HEADER, "x-preview", NULL},
                                              {SNAPSHOT_MATCH_QUERY, "preview", "caf\xc3\xa9 1"},
                                              {SNAPSHOT_MATCH_QUERY, "any", NULL},
                                              {SNAPSHOT_MATCH_METHOD, "GET HEAD", NULL}};
    static const struct {
        const char *host, *path;
        uint32_t first, n;
    } r[ROUTES] = {
        {"", "/", 0, 0},
        {"", "/api", 0, 0},
        {"a.example", "/", 0, 0},
        {"a.example", "/x", 0, 0},
        {"*.example", "/", 0, 0},
        {"*.deep.example", "/", 0, 0},
        {"a.example", "/", 0, 1},
        {"a.example", "/", 1, 2},
        {"only.example", "/just", 0, 0},
        {"", "/api/v2/", 0, 0},
        {"q.example", "/", 0, 0},
        {"q.example", "/", 3, 1},
        {"q.example", "/", 3, 2},
        {"m.example", "/", 5, 1},
        {"[2001:db8::1]", "/", 0, 0},
        {"tcp:127.0.0.1:5432", "/", 0, 0},
    };
    static struct snapshot_route routes[ROUTES];
    for (uint32_t i = 0; i < ROUTES; i++) {
        apps[i] = (struct snapshot_app){.name = "app", .environment = "production", .slot = i};
        routes[i] = (struct snapshot_route){.app = i,
                                            .host = r[i].host,
                                            .path = r[i].path,
                                            .first_match = r[i].first,
                                            .matches = r[i].n,
                                            .timeout_ms = 1000,
                                            .sticky_cookie = ""};
    }
    struct snapshot s = {.version = 1,
                         .request_slots = ROUTES,
                         .apps = apps,
                         .apps_len = ROUTES,
                         .routes = routes,
                         .routes_len = ROUTES,
                         .matches = matches,
                         .matches_len = 6};
    return compile(&s);
}

static int route_by(const struct table *t, const char *method, const char *host, const char *target,
                    const char *fields)
{
    char text[1024];
    int n = snprintf(text, sizeof text, "%s %s HTTP/1.1\r\nHost: %s\r\n%s\r\n", method, target,
                     host, fields);
    struct http1_head h;
    assert_int_equal(http1_parse_request(text, (size_t)n, &h), HTTP1_OK);
    bool bad;
    const struct table_route *r = table_route(t, &h, text, &bad);
    if (bad)
        return -2;
    return r != NULL ? (int)r->app->slot : -1;
}

static int route_of(const struct table *t, const char *host, const char *target, const char *fields)
{
    return route_by(t, "GET", host, target, fields);
}

/* No Host gets there: what stands before the colon is all of a name. */
static void test_tcp_routes(void **state)
{
    (void)state;
    struct table *t = example();
    assert_int_equal(table_tcp_route(t, "tcp:127.0.0.1:5432")->app->slot, 15);
    assert_null(table_tcp_route(t, "tcp:127.0.0.1:5433"));
    assert_int_equal(route_of(t, "tcp", "/", ""), 0);
    assert_int_equal(route_of(t, "tcp:5432", "/", ""), 0);
    table_free(t);
}

static void test_methods(void **state)
{
    (void)state;
    struct table *t = example();
    assert_int_equal(route_by(t, "HEAD", "m.example", "/", ""), 13);
    /* No route of the host fits: the next host's. */
    assert_int_equal(route_by(t, "POST", "m.example", "/", ""), 4);
    assert_int_equal(route_by(t, "HEA", "m.example", "/", ""), 4);
    assert_int_equal(route_by(t, "HEADS", "m.example", "/", ""), 4);
    table_free(t);
}

static void test_routes(void **state)
{
    (void)state;
    struct table *t = example();
    static const struct {
        const char *host, *target, *fields;
        int want;
    } cases[] = {
        {"nobody", "/", "", 0},
        {"nobody", "/api", "", 1},
        {"nobody", "/api/", "", 1},
        {"nobody", "/apis", "", 0},
        {"nobody", "/api?x", "", 1},
        {"nobody", "/api/v2", "", 9},
        {"nobody", "/api/v2/x", "", 9},
        {"nobody", "/api/v22", "", 1},
        {"", "/", "", 0},
        {"a.example", "/", "", 2},
        {"A.Example:8080", "/", "", 2},
        {"a.example.", "/", "", 2},
        {"[2001:db8::1]", "/", "", 14},
        {"[2001:DB8:0:0::0:1]:8080", "/", "", 14},
        {"[2001:db8::2]", "/", "", 0},
        {"[::]", "/", "", 0},
        {"a.example", "/x/y", "", 3},
        {"a.example", "/api", "", 2}, /* the host counts before the path */
        {"b.example", "/", "", 4},
        {"c.b.example", "/", "", 4},
        {"x.deep.example", "/", "", 5},
        {"y.x.deep.example", "/", "", 5},
        {"deep.example", "/", "", 4},
        {"example", "/", "", 0},
        {"notexample", "/", "", 0},
        {".example", "/", "", 0},
        {"a.example", "/", "X-Preview: green\r\n", 6},
        {"a.example", "/", "X-Preview: blue\r\n", 2},
        {"a.example", "/", "X-Preview: green\r\nCookie: a=1; beta=\r\n", 7}, /* most matches */
        {"a.example", "/x", "X-Preview: green\r\n", 3}, /* the path counts before the matches */
        {"only.example", "/just/this", "", 8},
        {"only.example", "/else", "", 4}, /* no route of that host fits: the next one */
        {"nobody", "/x/../api", "", 1},
        {"nobody", "/%61pi", "", 1},
        {"nobody", "/api%2fv2", "", 0},
        {"nobody", "/api/../../api/./v2", "", 9},
        {"q.example", "/", "", 10},
        {"q.example", "/?preview=caf%c3%A9+1", "", 11},
        {"q.example", "/?preview=caf%c3%a9%201", "", 11},
        {"q.example", "/?a=b&preview=1&preview=caf%c3%a9+1", "", 11}, /* one of them has it */
        {"q.example", "/?%70review=caf%c3%a9+1&any", "", 12},
        {"q.example", "/?any=&preview=caf%c3%a9+1", "", 12},
        {"q.example", "/?preview=caf%c3%a9+12", "", 10},
        {"q.example", "/?preview=caf%c3%a9", "", 10},
        {"q.example", "/?preview", "", 10},
        {"q.example", "/preview=caf%c3%a9+1", "", 10}, /* that is its path */
        {"m.example", "/", "", 13},
        {"nobody", "/%zz", "", -2},
        {"nobody", "/a%00b", "", -2},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int got = route_of(t, cases[i].host, cases[i].target, cases[i].fields);
        if (got != cases[i].want)
            fail_msg("%s%s %s: %d, want %d", cases[i].host, cases[i].target, cases[i].fields, got,
                     cases[i].want);
    }
    table_free(t);
}

static struct table *split_table(const uint32_t *ppm, uint32_t n)
{
    static struct snapshot_pool pools[3];
    struct snapshot_app app = {.name = "a", .environment = "production"};
    struct snapshot_route r = {.host = "", .path = "/", .sticky_cookie = "s", .shares_len = n};
    for (uint32_t i = 0; i < n; i++) {
        pools[i] = (struct snapshot_pool){.release = i + 1, .version = ""};
        r.shares[i] = (struct snapshot_share){.pool = i, .weight_ppm = ppm[i], .slot = i + 1};
    }
    struct snapshot s = {.version = 1,
                         .request_slots = 8,
                         .apps = &app,
                         .apps_len = 1,
                         .routes = &r,
                         .routes_len = 1,
                         .pools = pools,
                         .pools_len = n};
    return compile(&s);
}

/* DESIGN 11: any 40 requests in a row hold 1 to 3 of a 5 % share. */
static void test_split_is_even(void **state)
{
    (void)state;
    struct table *t = split_table((const uint32_t[]){950000, 50000}, 2);
    const struct table_route *r = &t->routes[0];
    assert_true(r->split);
    assert_int_equal(r->candidate, 1);
    uint32_t total = 0, window = 0;
    for (uint64_t n = 1; n <= 100000; n++) {
        uint32_t got = split_by_count(r, n);
        total += got;
        window += got;
        if (n > 40)
            window -= split_by_count(r, n - 40);
        if (n >= 40)
            assert_true(window >= 1 && window <= 3);
    }
    assert_in_range(total, 4990, 5010);
    table_free(t);
}

/* Copies of requests are spread like them. */
static void test_turns_are_even(void **state)
{
    (void)state;
    uint32_t total = 0, window = 0;
    for (uint64_t n = 1; n <= 100000; n++) {
        total += split_takes(n, UINT64_MAX / 20);
        window += split_takes(n, UINT64_MAX / 20);
        if (n > 40)
            window -= split_takes(n - 40, UINT64_MAX / 20);
        if (n >= 40)
            assert_true(window >= 1 && window <= 3);
        assert_true(split_takes(n, UINT64_MAX));
        assert_false(split_takes(n, 0));
    }
    assert_in_range(total, 4990, 5010);
}

static void test_split_of_three(void **state)
{
    (void)state;
    struct table *t = split_table((const uint32_t[]){700000, 200000, 100000}, 3);
    uint32_t got[3] = {0}, buckets[3] = {0};
    for (uint64_t n = 1; n <= 100000; n++)
        got[split_by_count(&t->routes[0], n)]++;
    for (uint16_t b = 0; b < STICKY_BUCKETS; b++)
        buckets[split_by_bucket(&t->routes[0], b)]++;
    assert_in_range(got[0], 69900, 70100);
    assert_in_range(got[1], 19900, 20100);
    assert_in_range(got[2], 9900, 10100);
    assert_int_equal(buckets[0], 7000);
    assert_int_equal(buckets[1], 2000);
    assert_int_equal(buckets[2], 1000);
    table_free(t);
}

static void test_whole_shares(void **state)
{
    (void)state;
    struct table *t = split_table((const uint32_t[]){1000000, 0}, 2);
    assert_false(t->routes[0].split);
    assert_int_equal(t->routes[0].whole, 0);
    table_free(t);
    t = split_table((const uint32_t[]){0, 1000000}, 2);
    assert_false(t->routes[0].split);
    assert_int_equal(t->routes[0].whole, 1);
    table_free(t);
}

/* Raising the weight moves clients to the candidate only, lowering it only back. */
static void test_sticky_is_monotone(void **state)
{
    (void)state;
    struct table *low = split_table((const uint32_t[]){950000, 50000}, 2);
    struct table *high = split_table((const uint32_t[]){750000, 250000}, 2);
    uint32_t at_low = 0;
    for (uint16_t b = 0; b < STICKY_BUCKETS; b++) {
        uint32_t a = split_by_bucket(&low->routes[0], b), c = split_by_bucket(&high->routes[0], b);
        assert_true(a <= c);
        at_low += a;
    }
    assert_int_equal(at_low, 500);
    table_free(low);
    table_free(high);
}

static void test_buckets(void **state)
{
    (void)state;
    assert_int_equal(split_bucket("0", 1), 0);
    assert_int_equal(split_bucket("9999", 4), 9999);
    assert_int_equal(split_bucket("42x", 2), 42);
    assert_int_equal(split_bucket("", 0), STICKY_NONE);
    assert_int_equal(split_bucket("10000", 5), STICKY_NONE);
    assert_int_equal(split_bucket("-1", 2), STICKY_NONE);
    assert_int_equal(split_bucket("4x", 2), STICKY_NONE);
    assert_int_equal(split_bucket("007", 3), STICKY_NONE);
}

static void test_slots_beyond_the_metrics(void **state)
{
    (void)state;
    struct snapshot *s = calloc(1, sizeof *s);
    struct snapshot_app app = {.name = "a", .environment = "p", .slot = 4096};
    s->apps = &app;
    s->apps_len = 1;
    struct error err = ERROR_INIT;
    assert_null(table_make(s, &err));
    assert_int_equal(err.class, ERROR_USAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_routes),         cmocka_unit_test(test_tcp_routes),
        cmocka_unit_test(test_methods),        cmocka_unit_test(test_split_is_even),
        cmocka_unit_test(test_turns_are_even), cmocka_unit_test(test_split_of_three),
        cmocka_unit_test(test_whole_shares),   cmocka_unit_test(test_sticky_is_monotone),
        cmocka_unit_test(test_buckets),        cmocka_unit_test(test_slots_beyond_the_metrics),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
