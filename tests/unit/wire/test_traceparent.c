/* traceparent: what is believed, and what begins a new trace. */
#include "wire/traceparent.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define TRACE "4bf92f3577b34da6a3ce929d0e0e4736"
#define SPAN "00f067aa0ba902b7"
#define ZEROS "00000000000000000000000000000000"

/* In memory of exactly its size, so that reading beyond it is seen. */
static bool parse(const char *text, struct traceparent *out)
{
    size_t len = strlen(text);
    char *copy = malloc(len > 0 ? len : 1);
    memcpy(copy, text, len);
    bool good = traceparent_parse(copy, len, out);
    free(copy);
    return good;
}

static void what_is_one(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool sampled;
    } good[] = {
        {"00-" TRACE "-" SPAN "-01", true},
        {"00-" TRACE "-" SPAN "-00", false},
        {"00-" TRACE "-" SPAN "-fe", false},
        {"00-" TRACE "-" SPAN "-03", true},
        {"00-" TRACE "-0000000000000001-ff", true},
        /* Versions to come: what is known of 00 is read. */
        {"cc-" TRACE "-" SPAN "-01", true},
        {"01-" TRACE "-" SPAN "-01-what-the-future-will-be-like", true},
        {"fe-" TRACE "-" SPAN "-00-", false},
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        struct traceparent t;
        char out[TRACEPARENT_LEN];
        assert_true(parse(good[i].text, &t));
        assert_memory_equal(t.trace, TRACE, TRACE_ID_LEN);
        assert_int_equal(t.sampled, good[i].sampled);
        traceparent_write(&t, out);
        assert_memory_equal(out, "00-", 3);
        assert_memory_equal(out + 3, good[i].text + 3, 50);
        assert_memory_equal(out + 53, good[i].sampled ? "01" : "00", 2);
    }
}

static void what_is_none(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "00",
        "00-" TRACE "-" SPAN "-",
        "00-" TRACE "-" SPAN "-0",
        "00-" TRACE "-" SPAN "-01-",
        "00-" TRACE "-" SPAN "-01-more", /* 00 ends there */
        "00-" TRACE "-" SPAN "-01 ",
        "01-" TRACE "-" SPAN "-01.what", /* what follows a later version begins with - */
        "ff-" TRACE "-" SPAN "-01",
        "0-" TRACE "-" SPAN "-011",
        "0g-" TRACE "-" SPAN "-01",
        "00-" ZEROS "-" SPAN "-01",
        "00-" TRACE "-0000000000000000-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-" SPAN "-01",
        "00-" TRACE "-00F067AA0BA902B7-01",
        "00-" TRACE "-" SPAN "-0x",
        "00-" TRACE "-" SPAN "-0A",
        "00_" TRACE "-" SPAN "-01",
        "00-" TRACE "_" SPAN "-01",
        "00-" TRACE "-" SPAN "_01",
        "00-4bf92f3577b34da6a3ce929d0e0e473-" SPAN "-01-0",
        "00-4bf92f3577b34da6a3ce929d0e0e473\xff-" SPAN "-01",
        "00-" TRACE "-" SPAN "-01,00-" TRACE "-" SPAN "-01",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct traceparent t;
        if (parse(bad[i], &t))
            fail_msg("taken: %s", bad[i]);
    }
}

static void ids_in_hex(void **state)
{
    (void)state;
    char out[32];
    trace_hex((const uint64_t[]){0x0123456789abcdefu, 0xfedcba9876543210u}, 2, out);
    assert_memory_equal(out, "0123456789abcdeffedcba9876543210", 32);
    trace_hex((const uint64_t[]){0, 0}, 2, out);
    assert_memory_equal(out, "00000000000000000000000000000001", 32);
    trace_hex((const uint64_t[]){0, 1}, 2, out);
    assert_memory_equal(out, "00000000000000000000000000000001", 32);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_one),
        cmocka_unit_test(what_is_none),
        cmocka_unit_test(ids_in_hex),
    };
    return cmocka_run_group_tests_name("wire/traceparent", tests, NULL, NULL);
}
