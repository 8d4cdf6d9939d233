/* What is said about certificates, and when. */
#include "control/control_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#define DAY INT64_C(86400000)
#define NOW (INT64_C(1790000000000))

static void expect(const struct certificate_state *s, const char *part)
{
    cleanup_buf struct buf out = BUF_INIT;
    struct certificate_state whole = *s;
    const char **texts[] = {&whole.error, &whole.failure, &whole.advice, &whole.doing};
    for (size_t i = 0; i < 4; i++)
        if (*texts[i] == NULL)
            *texts[i] = "";
    certificate_trouble(&whole, NOW, &out);
    if (part == NULL)
        assert_string_equal(buf_str(&out), "");
    else if (strstr(buf_str(&out), part) == NULL)
        fail_msg("no \"%s\" in \"%s\"", part, buf_str(&out));
}

static struct certificate_state living(int64_t days, int64_t left_ms)
{
    return (struct certificate_state){
        .there = true, .not_before_ms = NOW + left_ms - days * DAY, .not_after_ms = NOW + left_ms};
}

static void expiry(void **state)
{
    static const struct {
        int64_t days, left_ms;
        const char *said;
    } cases[] = {
        {90, 15 * DAY, NULL},
        {90, 14 * DAY, "expires in 14d"},
        {365, 14 * DAY + 1, NULL},
        {90, DAY - 1, "expires in 23h"},
        {90, 59999, "expires in 59s"},
        {90, 0, "has expired"},
        {90, -DAY, "has expired (2026-09-2"},
        {6, DAY, NULL}, /* a tenth of six days is not a day */
        {6, 14 * 3600000, "expires in 14h"},
        {59, 10 * DAY, NULL},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct certificate_state s = living(cases[i].days, cases[i].left_ms);
        expect(&s, cases[i].said);
    }
    struct certificate_state s = living(90, DAY);
    expect(&s, "tls: auto");
    s.automatic = s.wanted = true;
    s.doing = "waits for its turn";
    expect(&s, "its renewal is under way");
    s.wanted = false; /* its route is gone */
    expect(&s, NULL);
    s.needed = true; /* it has `tls: files` now, and there is no file */
    expect(&s, "expires in 1d and is not renewed");
}

static void files(void **state)
{
    (void)state;
    struct certificate_state s = {.error = "there is no key in it"};
    expect(&s, "cannot be used: there is no key in it");
    s = living(90, 30 * DAY);
    s.error = "there is no key in it";
    expect(&s, "stays as it was, its new files cannot be used");
    s = living(90, DAY);
    s.error = "there is no key in it";
    expect(&s, "; it expires in 1d");
}

static void orders(void **state)
{
    (void)state;
    struct certificate_state s = {.automatic = true, .wanted = true, .doing = "asks"};
    expect(&s, "is being obtained: it asks");
    s.failure = "the CA says: no";
    s.advice = "do something";
    expect(&s, "cannot be obtained: the CA says: no; do something; now it asks");
    s.retry_ms = NOW;
    expect(&s, "next try at 2026-09-21T");
    s.there = true;
    s.not_after_ms = NOW + 20 * DAY;
    expect(&s, "cannot be renewed, expires in 20d: the CA says: no");
    s.failure = "";
    s.not_before_ms = NOW - 70 * DAY;
    expect(&s, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(expiry), cmocka_unit_test(files),
                                       cmocka_unit_test(orders)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
