#include "wire/proto_cases.h"

#include "wire/http1.h"
#include "wire/http1_chars.h"

static const char *const framings[] = {"none", "length", "chunked", "close"};

/* An exact-size copy, so that a sanitizer sees each byte read too far. */
static char *exact(const char *p, size_t len)
{
    char *copy = malloc(len > 0 ? len : 1);
    memcpy(copy, p, len);
    return copy;
}

/* Finds and parses a head as if it came in pieces of `step` bytes. Gives the outcome as in the
 * data. */
static void outcome(const struct proto_case *c, size_t step, bool request, char *out, size_t size)
{
    const char *p = c->send.data;
    size_t len = c->send.len, scanned = 0;
    if (request) {
        size_t skip = http1_empty_lines(p, len);
        p += skip;
        len -= skip;
    }
    ssize_t end = 0;
    for (size_t have = step < len ? step : len; end == 0; have += step) {
        if (have > len)
            have = len;
        char *copy = exact(p, have);
        end = http1_head_end(copy, have, &scanned);
        free(copy);
        if (have == len)
            break;
    }
    struct http1_head h;
    enum http1_error e = end < 0 ? (enum http1_error) - end : HTTP1_OK;
    char *head = exact(p, end > 0 ? (size_t)end : 0);
    if (end > 0)
        e = request
                ? http1_parse_request(head, (size_t)end, &h)
                : http1_parse_response(head, (size_t)end,
                                       strcmp(c->to, "HEAD") == 0 ? HTTP1_M_HEAD : HTTP1_M_GET, &h);
    if (e != HTTP1_OK && request)
        snprintf(out, size, "%u", http1_error_status(e));
    else if (e != HTTP1_OK)
        snprintf(out, size, "bad");
    else if (end == 0)
        snprintf(out, size, "more");
    else {
        char framing[32];
        snprintf(framing, sizeof framing, "%s", framings[h.framing]);
        if (h.framing == HTTP1_BODY_LENGTH)
            snprintf(framing, sizeof framing, "length:%llu", (unsigned long long)h.content_length);
        if (request)
            snprintf(out, size, "ok %.*s %.*s %s", h.method_text.len, head + h.method_text.at,
                     h.path.len, head + h.path.at, framing);
        else
            snprintf(out, size, "ok %u %s", h.status, framing);
    }
    free(head);
}

static void run_head(struct proto_case *c, bool request)
{
    static const size_t steps[] = {1 << 20, 1, 7};
    for (size_t i = 0; i < 3; i++) {
        char got[256];
        outcome(c, steps[i], request, got, sizeof got);
        if (strcmp(got, c->want) != 0)
            fail_msg("%s (in steps of %zu): got \"%s\", want \"%s\"", c->name, steps[i], got,
                     c->want);
    }
}
static void run_request(struct proto_case *c)
{
    run_head(c, true);
}
static void run_response(struct proto_case *c)
{
    run_head(c, false);
}

/* Feeds in steps, both ways of passing on; the payload must be the same. */
static void feed(const struct proto_case *c, size_t step, bool strip, char *out, size_t size)
{
    struct http1_body b;
    http1_body_start(&b, HTTP1_BODY_CHUNKED, 0);
    b.strip = strip;
    size_t kept = 0, at = 0;
    ssize_t n = 0;
    while (at < c->send.len && !b.done && n >= 0) {
        size_t have = c->send.len - at < step ? c->send.len - at : step, keep;
        char *copy = exact(c->send.data + at, have);
        n = http1_body_feed(&b, copy, have, &keep);
        free(copy);
        kept += keep;
        at += n > 0 ? (size_t)n : 0;
    }
    if (n < 0)
        snprintf(out, size, "bad");
    else if (!b.done)
        snprintf(out, size, "more");
    else
        snprintf(out, size, "done %zu", kept);
    if (!strip && n >= 0 && b.done)
        assert_int_equal(kept, at); /* passed on as it is, to the last byte */
}

static void run_body(struct proto_case *c)
{
    static const size_t steps[] = {1 << 20, 1, 3};
    for (size_t i = 0; i < 3; i++) {
        char got[64];
        feed(c, steps[i], true, got, sizeof got);
        if (strcmp(got, c->want) != 0)
            fail_msg("%s (in steps of %zu): got \"%s\", want \"%s\"", c->name, steps[i], got,
                     c->want);
        feed(c, steps[i], false, got, sizeof got);
        assert_int_equal(got[0], c->want[0]);
    }
}

static void test_requests(void **state)
{
    (void)state;
    assert_true(proto_cases("tests/proto/requests.txt", run_request) > 80);
}
static void test_responses(void **state)
{
    (void)state;
    assert_true(proto_cases("tests/proto/responses.txt", run_response) > 25);
}
static void test_bodies(void **state)
{
    (void)state;
    assert_true(proto_cases("tests/proto/bodies.txt", run_body) > 30);
}

/* In steps of any size it stops in front of the trailer section, once. */
static void test_pause(void **state)
{
    (void)state;
    static const char text[] = "3;x\r\nabc\r\n1\r\nd\r\n0\r\nA: b\r\n\r\nrest";
    for (size_t step = 1; step < sizeof text; step++) {
        char copy[sizeof text], payload[16] = "";
        struct http1_body b;
        http1_body_start(&b, HTTP1_BODY_CHUNKED, 0);
        b.strip = b.pause = true;
        size_t at = 0, kept = 0, keep;
        while (b.pause) {
            memcpy(copy, text, sizeof text);
            size_t have = sizeof text - 1 - at < step ? sizeof text - 1 - at : step;
            ssize_t n = http1_body_feed(&b, copy + at, have, &keep);
            assert_true(n >= 0);
            memcpy(payload + kept, copy + at, keep);
            kept += keep;
            at += (size_t)n;
        }
        assert_string_equal(payload, "abcd");
        assert_string_equal(text + at, "A: b\r\n\r\nrest");
        b.strip = false;
        assert_int_equal(http1_body_feed(&b, copy + at, sizeof text - 1 - at, &keep), 8);
        assert_true(b.done && keep == 8);
    }
}

static enum http1_error parse(const char *text, struct http1_head *h)
{
    return http1_parse_request(text, strlen(text), h);
}

static void test_connection_fields(void **state)
{
    (void)state;
    struct http1_head h;
    const char *text = "GET / HTTP/1.1\r\nHost: a\r\nX-One: 1\r\nx-two: 2\r\nContent-Length: 0\r\n"
                       "Connection: X-TWO , close,, content-length, host\r\n\r\n";
    assert_int_equal(parse(text, &h), HTTP1_OK);
    assert_true(h.close);
    assert_false(h.fields[0].named); /* Host */
    assert_false(h.fields[1].named);
    assert_true(h.fields[2].named);
    assert_false(h.fields[3].named); /* Content-Length */
}

static void test_upgrade(void **state)
{
    (void)state;
    struct http1_head h;
    assert_int_equal(parse("GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\n"
                           "Upgrade: websocket\r\n\r\n",
                           &h),
                     HTTP1_OK);
    assert_true(h.upgrade && h.keep_alive);
    /* What must not open a tunnel. */
    assert_int_equal(parse("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n", &h),
                     HTTP1_OK);
    assert_false(h.upgrade);
    assert_int_equal(parse("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\n"
                           "HTTP2-Settings: AA\r\nUpgrade: h2c\r\n\r\n",
                           &h),
                     HTTP1_OK);
    assert_false(h.upgrade);
    assert_int_equal(parse("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\n"
                           "Upgrade: websocket, h2c\r\n\r\n",
                           &h),
                     HTTP1_OK);
    assert_false(h.upgrade);
    assert_int_equal(parse("POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n"
                           "Content-Length: 3\r\n\r\n",
                           &h),
                     HTTP1_OK);
    assert_false(h.upgrade);
}

static void test_cookies(void **state)
{
    (void)state;
    struct http1_head h;
    const char *text =
        "GET / HTTP/1.1\r\nHost: a\r\nCookie: xid=1; id=22;b=\r\nCookie: last=9\r\n\r\n";
    assert_int_equal(parse(text, &h), HTTP1_OK);
    size_t len = 99;
    const char *v = http1_cookie(&h, text, "id", &len);
    assert_non_null(v);
    assert_int_equal(len, 2);
    assert_memory_equal(v, "22", 2);
    assert_non_null(http1_cookie(&h, text, "b", &len));
    assert_int_equal(len, 0);
    assert_non_null(http1_cookie(&h, text, "last", &len));
    assert_null(http1_cookie(&h, text, "d", &len));
    assert_null(http1_cookie(&h, text, "las", &len));
}

static void test_names(void **state)
{
    (void)state;
    static const char *const names[] = {
#define X(name, text) [HTTP1_N_##name] = text,
        HTTP1_NAMES(X)
#undef X
    };
    for (size_t i = 1; i < HTTP1_NAME_COUNT; i++) {
        char text[256];
        snprintf(text, sizeof text, "HTTP/1.1 204 x\r\n%s: chunked\r\n\r\n", names[i]);
        struct http1_head h;
        (void)http1_parse_response(text, strlen(text), HTTP1_M_GET, &h);
        assert_int_equal(h.fields[0].id, i);
        text[16] ^= 0x20; /* the other case */
        (void)http1_parse_response(text, strlen(text), HTTP1_M_GET, &h);
        assert_int_equal(h.fields[0].id, i);
    }
    struct http1_head h;
    assert_int_equal(parse("GET / HTTP/1.1\r\nHost: a\r\nX_Forwarded_For: 1\r\n\r\n", &h),
                     HTTP1_OK);
    assert_int_equal(h.fields[1].id, HTTP1_N_X_FORWARDED_FOR);
}

static void test_keep_alive(void **state)
{
    (void)state;
    struct http1_head h;
    const char *text = "HTTP/1.1 200 OK\r\nKeep-Alive: timeout=7, max=100\r\n\r\n";
    assert_int_equal(http1_parse_response(text, strlen(text), HTTP1_M_GET, &h), HTTP1_OK);
    assert_int_equal(h.keep_alive_s, 7);
}

static void test_character_classes(void **state)
{
    (void)state;
    const char *alnum = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    for (int c = 1; c < 256; c++) {
        bool an = strchr(alnum, c) != NULL;
        assert_int_equal(char_is((char)c, CHAR_TOKEN), an || strchr("!#$%&'*+-.^_`|~", c) != NULL);
        assert_int_equal(char_is((char)c, CHAR_VALUE), c == 9 || (c >= 32 && c != 127));
        assert_int_equal(char_is((char)c, CHAR_TARGET), c > 32 && c < 127 && c != '#');
        assert_int_equal(char_is((char)c, CHAR_HOST), an || strchr("-._", c) != NULL);
        assert_int_equal(char_is((char)c, CHAR_HEX), strchr("0123456789abcdefABCDEF", c) != NULL);
        assert_int_equal(char_is((char)c, CHAR_UNRESERVED), an || strchr("-._~", c) != NULL);
    }
    assert_int_equal(http1_chars[0], 0);
}

static void test_lengths(void **state)
{
    (void)state;
    struct http1_body b;
    char data[10] = "0123456789";
    size_t keep;
    http1_body_start(&b, HTTP1_BODY_LENGTH, 15);
    assert_int_equal(http1_body_feed(&b, data, 10, &keep), 10);
    assert_false(b.done || http1_body_whole_at_eof(&b));
    assert_int_equal(http1_body_feed(&b, data, 10, &keep), 5);
    assert_true(b.done);
    assert_int_equal(http1_body_feed(&b, data, 10, &keep), 0);
    http1_body_start(&b, HTTP1_BODY_CLOSE, 0);
    assert_int_equal(http1_body_feed(&b, data, 10, &keep), 10);
    assert_true(!b.done && http1_body_whole_at_eof(&b));
    http1_body_start(&b, HTTP1_BODY_NONE, 0);
    assert_true(b.done);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_requests),
        cmocka_unit_test(test_responses),
        cmocka_unit_test(test_bodies),
        cmocka_unit_test(test_pause),
        cmocka_unit_test(test_connection_fields),
        cmocka_unit_test(test_upgrade),
        cmocka_unit_test(test_cookies),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_keep_alive),
        cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_character_classes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
