/* Answers that are compared while they pass: whatever pieces they come in, and whatever hostile
 * instances send. */
#include "gateway/answerprint.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char *const names[] = {"etag", "vary"};
static struct answerprint_rules rules = {SNAPSHOT_COMPARE_ALL, 2, 0, names, NULL};

#define LENGTH(n) "HTTP/1.1 200 OK\r\nContent-Length: " #n "\r\n"
#define CHUNKED "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
#define JSON "Content-Type: application/json\r\n"

/* An answer's head (without the empty line) and what comes behind it, in pieces of so many bytes.
 */
static void pass_to(struct answerprint *a, enum http1_method to, const char *fields,
                    const char *body, size_t piece)
{
    char head[512];
    struct http1_head h;
    int n = snprintf(head, sizeof head, "%s\r\n", fields);
    assert_int_equal(http1_parse_response(head, (size_t)n, to, &h), HTTP1_OK);
    memset(a, 0, sizeof *a);
    answerprint_head(a, &rules, &h, head);
    for (size_t len = strlen(body); len > 0;) {
        size_t take = len < piece ? len : piece;
        char *copy = malloc(take);
        memcpy(copy, body, take);
        answerprint_body(a, &rules, copy, take);
        free(copy);
        body += take;
        len -= take;
    }
}

static struct answerprint_difference between(const char *head, const char *body,
                                             const char *other_head, const char *other_body)
{
    struct answerprint_difference d, again;
    struct answerprint a, b;
    pass_to(&a, HTTP1_M_GET, head, body, 1000);
    pass_to(&b, HTTP1_M_GET, other_head, other_body, 1);
    assert_true(!a.lost && !b.lost);
    answerprint_compare(&a, &b, &rules, &d);
    answerprint_compare(&b, &a, &rules, &again);
    assert_int_equal(d.part, again.part);
    answerprint_lose(&a);
    answerprint_lose(&b);
    return d;
}

static void framing_does_not_count(void **state)
{
    (void)state;
    const char *chunks = "1;x=y\r\na\r\n2\r\nbc\r\n0\r\nX-T: 1\r\n\r\nbehind it";
    assert_int_equal(between(LENGTH(3), "abc", CHUNKED, chunks).part, SAMPLE_NOTHING);
    assert_int_equal(between(LENGTH(3), "abcbehind", CHUNKED, chunks).part, SAMPLE_NOTHING);
    assert_int_equal(between("HTTP/1.0 200 OK\r\n", "abc", CHUNKED, chunks).part, SAMPLE_NOTHING);
    assert_int_equal(between("HTTP/1.1 204 x\r\n", "behind", "HTTP/1.1 204 x\r\n", "").part,
                     SAMPLE_NOTHING);
    assert_int_equal(between(LENGTH(3), "abd", CHUNKED, chunks).part, SAMPLE_BODY);
}

static void an_answer_to_head_has_no_body(void **state)
{
    (void)state;
    struct answerprint a, b;
    struct answerprint_difference d;
    pass_to(&a, HTTP1_M_HEAD, LENGTH(9) JSON, "", 1);
    pass_to(&b, HTTP1_M_HEAD, CHUNKED JSON, "", 1);
    assert_null(a.json);
    answerprint_compare(&a, &b, &rules, &d);
    assert_int_equal(d.part, SAMPLE_NOTHING);
}

static void the_first_part_is_named(void **state)
{
    (void)state;
    struct answerprint_difference d =
        between(LENGTH(1) "ETag: \"1\"\r\nVary: a\r\n", "1", LENGTH(1) "ETag: \"1\" \r\n", "2");
    assert_true(!d.status && d.header && d.body);
    assert_int_equal(d.part, SAMPLE_HEADER);
    assert_int_equal(d.where_len, 4);
    assert_memory_equal(d.where, "vary", 4);
    d = between("HTTP/1.1 404 x\r\nContent-Length: 0\r\n", "", LENGTH(1), "x");
    assert_true(d.status && !d.header && d.body);
    assert_int_equal(d.part, SAMPLE_STATUS);
    assert_int_equal(d.where_len, 0);
    d = between(LENGTH(7) JSON, "{\"a\":1}", CHUNKED JSON, "7\r\n{\"a\":2}\r\n0\r\n\r\n");
    assert_int_equal(d.part, SAMPLE_BODY);
    assert_memory_equal(d.where, "/a", 2);
}

static void lines_of_a_field_keep_their_order(void **state)
{
    (void)state;
    const char *ab = LENGTH(0) "Vary: a\r\nvary:\t b \r\n",
               *ba = LENGTH(0) "Vary: b\r\nVary: a\r\n";
    assert_int_equal(between(ab, "", LENGTH(0) "VARY: a\r\nVary: b\r\n", "").part, SAMPLE_NOTHING);
    assert_int_equal(between(ab, "", ba, "").part, SAMPLE_HEADER);
    assert_int_equal(between(ab, "", LENGTH(0) "Vary: a, b\r\n", "").part, SAMPLE_HEADER);
    assert_int_equal(between(LENGTH(0), "", LENGTH(0) "Vary:\r\n", "").part, SAMPLE_HEADER);
}

static void what_is_taken_for_json(void **state)
{
    (void)state;
    static const struct {
        const char *fields;
        bool is;
    } cases[] = {
        {JSON, true},
        {"Content-Type: APPLICATION/JSON ; charset=utf-8\r\n", true},
        {"Content-Type: application/vnd.api+json\r\n", true},
        {"Content-Type: text/json\r\n", true},
        {"Content-Type: json\r\n", false},
        {"Content-Type: text/html; a=/json\r\n", false},
        {"Content-Type: application/jsonp\r\n", false},
        {"Content-Type:\r\n", false},
        {JSON "Content-Encoding: gzip\r\n", false},
        {"", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char head[256];
        struct answerprint a;
        snprintf(head, sizeof head, LENGTH(2) "%s", cases[i].fields);
        pass_to(&a, HTTP1_M_GET, head, "{}", 2);
        if ((a.json != NULL) != cases[i].is)
            fail_msg("%s", cases[i].fields);
        answerprint_lose(&a);
    }
}

/* One of the two is no JSON: they are compared by their bytes. */
static void half_of_a_json_text(void **state)
{
    (void)state;
    assert_int_equal(between(LENGTH(4) JSON, "[1, ", LENGTH(4) JSON, "[1, ").part, SAMPLE_NOTHING);
    assert_int_equal(between(LENGTH(4) JSON, "[1 ]", LENGTH(4) JSON, "[1, ").part, SAMPLE_BODY);
    assert_int_equal(between(LENGTH(4) JSON, "[1 ]", LENGTH(4), "[ 1]").part, SAMPLE_BODY);
}

static void what_is_not_chosen_does_not_count(void **state)
{
    (void)state;
    rules.compare = SNAPSHOT_COMPARE_STATUS;
    assert_int_equal(between(LENGTH(1), "a", LENGTH(1), "b").part, SAMPLE_NOTHING);
    rules.compare = SNAPSHOT_COMPARE_BODY;
    assert_int_equal(between(LENGTH(1), "a", "HTTP/1.1 500 x\r\nContent-Length: 1\r\n", "a").part,
                     SAMPLE_NOTHING);
    assert_int_equal(between(LENGTH(2) JSON, "[]", LENGTH(3) JSON, "[ ]").part, SAMPLE_BODY);
    rules.compare = SNAPSHOT_COMPARE_ALL;
}

static void bodies_that_are_too_long_are_lost(void **state)
{
    (void)state;
    struct answerprint a;
    char *body = malloc(ANSWERPRINT_BODY + 2);
    memset(body, '1', ANSWERPRINT_BODY + 1);
    body[ANSWERPRINT_BODY + 1] = '\0';
    pass_to(&a, HTTP1_M_GET, LENGTH(1048577) JSON, "", 1); /* it says so */
    assert_true(a.lost && a.json == NULL);
    pass_to(&a, HTTP1_M_GET, "HTTP/1.0 200 OK\r\n" JSON, body, 65536);
    assert_true(a.lost && a.json == NULL);
    body[ANSWERPRINT_BODY] = '\0';
    pass_to(&a, HTTP1_M_GET, LENGTH(1048576), body, 65536);
    assert_false(a.lost);
    /* Chunks of one byte: what they are wrapped in counts, too. */
    for (size_t i = 0; i + 6 <= ANSWERPRINT_BODY; i += 6)
        memcpy(body + i, "1\r\nx\r\n", 6);
    pass_to(&a, HTTP1_M_GET, CHUNKED, body, 65536);
    assert_false(a.lost);
    free(body);
    /* Framing that is none ends it. */
    pass_to(&a, HTTP1_M_GET, CHUNKED, "1\r\nab", 1);
    assert_true(a.lost);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(framing_does_not_count),
        cmocka_unit_test(an_answer_to_head_has_no_body),
        cmocka_unit_test(the_first_part_is_named),
        cmocka_unit_test(lines_of_a_field_keep_their_order),
        cmocka_unit_test(what_is_taken_for_json),
        cmocka_unit_test(half_of_a_json_text),
        cmocka_unit_test(what_is_not_chosen_does_not_count),
        cmocka_unit_test(bodies_that_are_too_long_are_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
