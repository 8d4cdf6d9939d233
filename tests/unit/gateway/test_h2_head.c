/* Header blocks of HTTP/2 into heads of HTTP/1.1 and back: what nghttp2 lets through and what it
 * would not, since none of it may become a line of its own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "gateway/h2_fields.h"
#include "gateway/h2_head.h"
#include "gateway/h2_limits.h"

struct pair {
    const char *name, *value;
};

static struct chunk_pool pool = {.limit = 1 << 20};
static char text[CHUNK_BULK];

static const struct pair get[] = {
    {":method", "GET"}, {":scheme", "http"}, {":authority", "a.test"}, {":path", "/x?y"}, {0}};

static void add_all(struct h2_block *b, const struct pair *fields)
{
    for (; fields != NULL && fields->name != NULL; fields++)
        h2_block_field(b, fields->name, strlen(fields->name), fields->value, strlen(fields->value));
}

/* The head that first and then make, or NULL with *status. */
static const char *request(const struct pair *first, const struct pair *then, bool bodiless,
                           unsigned *status)
{
    struct h2_block b;
    h2_block_init(&b, &pool);
    add_all(&b, first);
    add_all(&b, then);
    struct chunk *c = h2_block_request(&b, bodiless);
    *status = b.status;
    assert_int_equal(c == NULL, b.status != 0);
    if (c != NULL) {
        memcpy(text, c->data + c->start, chunk_len(c));
        text[chunk_len(c)] = 0;
    }
    chunk_put(&pool, c);
    h2_block_release(&b);
    assert_int_equal(pool.bytes, 0);
    return c != NULL ? text : NULL;
}

static void test_a_request(void **state)
{
    (void)state;
    unsigned status;
    static const struct pair more[] = {{"accept", "*/*"}, {"cookie", "a=b"},  {"empty", ""},
                                       {"cookie", "c=d"}, {"te", "trailers"}, {0}};
    assert_string_equal(request(get, more, true, &status),
                        "GET /x?y HTTP/1.1\r\nhost: a.test\r\naccept: */*\r\nempty: \r\n"
                        "te: trailers\r\ncookie: a=b; c=d\r\n\r\n");
    assert_string_equal(request(get, NULL, false, &status),
                        "GET /x?y HTTP/1.1\r\nhost: a.test\r\ntransfer-encoding: chunked\r\n\r\n");
    static const struct pair length[] = {{"content-length", "5"}, {0}};
    assert_string_equal(request(get, length, false, &status),
                        "GET /x?y HTTP/1.1\r\nhost: a.test\r\ncontent-length: 5\r\n\r\n");
}

static void test_a_websocket(void **state)
{
    (void)state;
    unsigned status;
    static const struct pair connect[] = {
        {":method", "CONNECT"}, {":scheme", "http"},        {":path", "/"},
        {":authority", "a"},    {":protocol", "websocket"}, {0}};
    char first[256];
    snprintf(first, sizeof first, "%s", request(connect, NULL, false, &status));
    static const char start[] = "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\n"
                                "upgrade: websocket\r\nsec-websocket-key: ";
    assert_memory_equal(first, start, sizeof start - 1);
    assert_string_equal(first + sizeof start - 1 + 22, "==\r\n\r\n");
    struct http1_head h;
    assert_int_equal(http1_parse_request(first, strlen(first), &h), HTTP1_OK);
    assert_true(h.upgrade);
    assert_string_not_equal(first, request(connect, NULL, false, &status));
}

static void test_what_is_refused(void **state)
{
    (void)state;
    static const struct pair bad[] = {
        {"A", "b"},
        {"a:", "b"},
        {"a b", "c"},
        {"a\r\nb", "c"},
        {"a\n", "c"},
        {"a\x7f", "c"},
        {"a\x80", "c"},
        {"", "c"},
        {"a", "b\r\nc: d"},
        {"a", "b\n"},
        {"a", "b\r"},
        {"connection", "close"},
        {"keep-alive", "1"},
        {"proxy-connection", "close"},
        {"transfer-encoding", "chunked"},
        {"upgrade", "h2c"},
        {"http2-settings", "x"},
        {"te", "gzip"},
        {"te", "trailers, gzip"},
        {":path", "/"},
        {":status", "200"},
        {":", "x"},
        {":protocol", "websocket"},
        {"host", "b.test"},
    };
    unsigned status;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        const struct pair one[] = {bad[i], {0}};
        assert_null(request(get, one, true, &status));
        assert_int_equal(status, 400);
    }
    static const struct pair late[] = {{"a", "b"}, {":protocol", "x"}, {0}};
    assert_null(request(get, late, true, &status));
}

static void test_request_lines(void **state)
{
    (void)state;
    static const struct {
        const char *method, *path, *authority;
        unsigned status;
    } cases[] = {
        {"GET", "/", "a", 0},
        {"OPTIONS", "*", "a", 0},
        {"GET", "*", "a", 400},
        {"GET", "", "a", 400},
        {"GET", "a", "a", 400},
        {"GET", "http://b/", "a", 400},
        {"GET", "/ HTTP/1.1\r\nx: y", "a", 400},
        {"GET", "/a b", "a", 400},
        {"GET", "/\t", "a", 400},
        {"GET", "/\xc3\xa4", "a", 400},
        {"G T", "/", "a", 400},
        {"GET\r\n", "/", "a", 400},
        {"", "/", "a", 400},
        {"GET", "/", "a\r\nx: y", 400},
        {"GET", "/", "a b", 400},
        {"GET", "/", "", 400},
        {"CONNECT", "/", "a", 501},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct pair fields[] = {{":method", cases[i].method},
                                      {":scheme", "http"},
                                      {":path", cases[i].path},
                                      {":authority", cases[i].authority},
                                      {0}};
        unsigned status;
        request(fields, NULL, true, &status);
        assert_int_equal(status, cases[i].status);
    }
}

/* Up to the limit all fits, whatever the shape; what is one byte longer is too long. */
static void test_sizes(void **state)
{
    (void)state;
    static char long_value[H2_MAX_HEADER_LIST + 1];
    memset(long_value, 'v', sizeof long_value - 1);
    static const size_t overhead = 7 + 3 + 7 + 4 + 10 + 6 + 5 + 4 + 4 * 32; /* of get */
    unsigned status;
    static const char *const names[] = {"x", "cookie", "content-type"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        for (size_t more = 0; more < 2; more++) {
            size_t len = H2_MAX_HEADER_LIST - overhead - strlen(names[i]) - 32 + more;
            const struct pair one[] = {{names[i], long_value + H2_MAX_HEADER_LIST - len}, {0}};
            const char *head = request(get, one, true, &status);
            assert_int_equal(status, more == 0 ? 0 : 431);
            if (head != NULL)
                assert_true(strlen(head) > len);
        }
    struct h2_block b;
    h2_block_init(&b, &pool);
    add_all(&b, get);
    for (size_t i = 0; i < 100000; i++)
        h2_block_field(&b, "cookie", 6, long_value, i % 100);
    assert_int_equal(b.status, 431);
    assert_true(pool.bytes <= 2 * (CHUNK_BIG + CHUNK_BULK));
    h2_block_release(&b);
    h2_block_release(&b);
    assert_int_equal(pool.bytes, 0);
}

/* Wherever memory ends: refused, and nothing is left behind. */
static void test_no_memory(void **state)
{
    (void)state;
    static char value[5001];
    memset(value, 'v', sizeof value - 1);
    const struct pair more[] = {{"cookie", "a=b"}, {"x", value}, {"cookie", value}, {0}};
    bool whole = false;
    for (size_t limit = 0; !whole; limit += 1024) {
        struct chunk_pool small = {.limit = limit};
        struct h2_block b;
        h2_block_init(&b, &small);
        add_all(&b, get);
        add_all(&b, more);
        struct chunk *c = h2_block_request(&b, true);
        whole = c != NULL;
        assert_true(whole || b.status == 0 || b.status == 503);
        chunk_put(&small, c);
        h2_block_release(&b);
        assert_int_equal(small.bytes, 0);
        chunk_pool_release(&small);
        assert_true(limit < 1 << 20);
    }
}

static void test_answers_of_instances(void **state)
{
    (void)state;
    static const struct {
        struct pair fields[4];
        bool ended, to_head;
        const char *made; /* NULL: refused */
    } cases[] = {
        {{{":status", "200"}, {"a", "b"}, {0}},
         false,
         false,
         "HTTP/1.1 200 \r\na: b\r\ntransfer-encoding: chunked\r\n\r\n"},
        {{{":status", "200"}, {0}}, true, false, "HTTP/1.1 200 \r\ncontent-length: 0\r\n\r\n"},
        {{{":status", "200"}, {"content-length", "3"}, {0}},
         false,
         false,
         "HTTP/1.1 200 \r\ncontent-length: 3\r\n\r\n"},
        {{{":status", "200"}, {0}}, true, true, "HTTP/1.1 200 \r\n\r\n"},
        {{{":status", "204"}, {0}}, false, false, "HTTP/1.1 204 \r\n\r\n"},
        {{{":status", "304"}, {0}}, true, false, "HTTP/1.1 304 \r\n\r\n"},
        {{{":status", "103"}, {0}}, false, false, "HTTP/1.1 103 \r\n\r\n"},
        {{{":status", "101"}, {0}}, false, false, NULL},
        {{{":status", "600"}, {0}}, true, false, NULL},
        {{{":status", "20"}, {0}}, true, false, NULL},
        {{{":status", "2\r\n"}, {0}}, true, false, NULL},
        {{{":status", "200"}, {":status", "200"}, {0}}, true, false, NULL},
        {{{":status", "200"}, {":path", "/"}, {0}}, true, false, NULL},
        {{{":status", "200"}, {"connection", "close"}, {0}}, true, false, NULL},
        {{{":status", "200"}, {"a", "b\r\nc: d"}, {0}}, true, false, NULL},
        {{{"a", "b"}, {0}}, true, false, NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct h2_block b;
        h2_block_init(&b, &pool);
        add_all(&b, cases[i].fields);
        struct chunk *c = h2_block_answer(&b, cases[i].ended, cases[i].to_head);
        assert_int_equal(c == NULL, cases[i].made == NULL);
        if (c != NULL) {
            assert_int_equal(chunk_len(c), strlen(cases[i].made));
            assert_memory_equal(c->data, cases[i].made, chunk_len(c));
        }
        chunk_put(&pool, c);
        h2_block_release(&b);
        assert_int_equal(pool.bytes, 0);
    }
}

static void test_grpc_statuses(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int status;
    } cases[] = {{"0", 0},   {"14", 14}, {"16", 16},  {"17", -1},         {"", -1},
                 {"-1", -1}, {"1x", -1}, {"014", 14}, {"99999999999", -1}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct h2_block b;
        h2_block_init(&b, &pool);
        h2_block_field(&b, "grpc-status", 11, cases[i].text, strlen(cases[i].text));
        h2_block_field(&b, "content-type", 12, "Application/gRPC+proto", 22);
        assert_int_equal(b.grpc_status, cases[i].status);
        assert_true(b.grpc);
        h2_block_release(&b);
    }
}

/* grpc-web has its status in the body: it is an answer of HTTP like any other. */
static void test_what_is_grpc(void **state)
{
    (void)state;
    static const struct {
        const char *type;
        bool grpc;
    } cases[] = {{"application/grpc", true},
                 {"application/grpc+json", true},
                 {"application/grpc;charset=utf-8", true},
                 {"application/grpc \t; a=b", true},
                 {"application/grpc-web", false},
                 {"application/grpc-web+proto", false},
                 {"application/grpc-web-text", false},
                 {"application/grpcx", false},
                 {"application/grp", false},
                 {"text/plain; application/grpc", false}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct h2_block b;
        h2_block_init(&b, &pool);
        h2_block_field(&b, "content-type", 12, cases[i].type, strlen(cases[i].type));
        assert_int_equal(b.grpc, cases[i].grpc);
        h2_block_release(&b);
    }
}

static void test_trailers(void **state)
{
    (void)state;
    static const struct {
        struct pair fields[3];
        const char *made;
    } cases[] = {
        {{{0}}, "0\r\n\r\n"},
        {{{"grpc-status", "0"}, {"x", ""}, {0}}, "0\r\ngrpc-status: 0\r\nx: \r\n\r\n"},
        {{{":path", "/"}, {0}}, NULL},
        {{{"a", "b\r\n"}, {0}}, NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct h2_block b;
        h2_block_init(&b, &pool);
        add_all(&b, cases[i].fields);
        struct chunk *c = h2_block_trailers(&b);
        assert_int_equal(c == NULL, cases[i].made == NULL);
        if (c != NULL) {
            assert_int_equal(chunk_len(c), strlen(cases[i].made));
            assert_memory_equal(c->data, cases[i].made, chunk_len(c));
        }
        chunk_put(&pool, c);
        h2_block_release(&b);
    }
}

/* "name=value;" of all fields. */
static const char *shown(const struct h2_fields *f)
{
    char *at = text;
    *at = 0;
    for (size_t i = 0; i < f->len; i++)
        at += sprintf(at, "%.*s=%.*s;", (int)f->items[i].namelen, (char *)f->items[i].name,
                      (int)f->items[i].valuelen, (char *)f->items[i].value);
    return text;
}

static void test_an_answer(void **state)
{
    (void)state;
    char head[] =
        "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: X-Hop, close\r\n"
        "X-Hop: 1\r\nKeep-Alive: timeout=4\r\nTransfer-Encoding: chunked\r\n"
        "Upgrade: a\r\nProxy-Connection: b\r\nTE: c\r\nSET-Cookie:  a=b; c \r\nX:\r\n\r\n";
    struct http1_head h;
    struct h2_fields f;
    char *coding = strstr(head, "Transfer-Encoding"); /* not together with a length */
    memcpy(coding, "Transfer-Xncoding", 17);
    assert_int_equal(http1_parse_response(head, strlen(head), HTTP1_M_GET, &h), HTTP1_OK);
    h2_fields_answer(&f, &h, head, 404);
    assert_string_equal(shown(&f), ":status=404;content-length=0;transfer-xncoding=chunked;"
                                   "set-cookie=a=b; c;x=;");
    h2_fields_answer(&f, &h, head, 502);
    assert_memory_equal(shown(&f), ":status=502;", 12);
}

static void test_a_request_for_an_instance(void **state)
{
    (void)state;
    char head[] = "POST /a?b HTTP/1.1\r\nHost: a.test\r\nX-A: b\r\nTransfer-Encoding: chunked\r\n"
                  "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    struct http1_head h;
    struct h2_fields f;
    assert_int_equal(http1_parse_own_request(head, strlen(head), &h), HTTP1_OK);
    h2_fields_request(&f, &h, head);
    assert_string_equal(shown(&f), ":method=POST;:scheme=http;:authority=a.test;:path=/a?b;"
                                   "x-a=b;te=trailers;");
}

static void test_refusals_to_grpc(void **state)
{
    (void)state;
    struct h2_fields f;
    h2_fields_grpc(&f, 14, "50% \xc3\xa4\n", 7);
    assert_string_equal(shown(&f), ":status=200;content-type=application/grpc;grpc-status=14;"
                                   "grpc-message=50%25 %C3%A4;");
    h2_fields_grpc(&f, 2, "", 0);
    assert_non_null(strstr(shown(&f), "grpc-status=2;grpc-message=;"));
    static char long_text[1000];
    memset(long_text, '\n', sizeof long_text);
    long_text[sizeof long_text - 1] = 'x';
    h2_fields_grpc(&f, 2, long_text, sizeof long_text);
    assert_true(f.items[3].valuelen <= sizeof f.text - 2);
}

static void test_trailer_lines(void **state)
{
    (void)state;
    static const struct {
        const char *lines, *fields;
    } cases[] = {
        {"\r\n", ""},
        {"Grpc-Status: 0\r\nB:\t c d \t\r\n\r\n", "grpc-status=0;b=c d;"},
        {"a:\r\n\r\n", "a=;"},
        {"a: b: c\r\n\r\n", "a=b: c;"},
        {"a: b", ""},
        {"ab\r\nc: d\r\n\r\n", ""},
        {"", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char lines[64];
        struct h2_fields f;
        snprintf(lines, sizeof lines, "%s", cases[i].lines);
        h2_fields_trailers(&f, lines, strlen(lines));
        assert_string_equal(shown(&f), cases[i].fields);
    }
    static char many[HTTP1_MAX_TRAILERS];
    size_t len = 0;
    while (len + 8 < sizeof many)
        len += (size_t)sprintf(many + len, "a: b\r\n");
    struct h2_fields f;
    h2_fields_trailers(&f, many, len);
    assert_int_equal(f.len, H2_FIELDS_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_request),
        cmocka_unit_test(test_a_websocket),
        cmocka_unit_test(test_what_is_refused),
        cmocka_unit_test(test_request_lines),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_trailers),
        cmocka_unit_test(test_an_answer),
        cmocka_unit_test(test_trailer_lines),
        cmocka_unit_test(test_answers_of_instances),
        cmocka_unit_test(test_grpc_statuses),
        cmocka_unit_test(test_what_is_grpc),
        cmocka_unit_test(test_a_request_for_an_instance),
        cmocka_unit_test(test_refusals_to_grpc),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    chunk_pool_release(&pool);
    return failed;
}
