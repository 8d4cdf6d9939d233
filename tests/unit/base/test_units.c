#include "base/alloc.h"
#include "base/units.h"
#include "base/vec.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void durations(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t ms;
    } good[] = {
        {"0", 0},
        {"0s", 0},
        {"250ms", 250},
        {"10s", 10000},
        {"5m", 300000},
        {"2h", 7200000},
        {"30d", 2592000000},
        {"1m30s", 90000},
        {"1h1ms", 3600001},
        {"007s", 7000},
        {"1d1h1m1s1ms", 90061001},
    };
    for (size_t i = 0; i < COUNT_OF(good); i++) {
        int64_t ms = -1;
        assert_int_equal(parse_duration_ms(good[i].text, &ms), 0);
        assert_int_equal(ms, good[i].ms);
    }
    static const char *const bad[] = {
        "",
        "s",
        "10",
        "1.5s",
        "-1s",
        "+1s",
        "1 s",
        " 1s",
        "1s ",
        "1S",
        "1s1m",
        "1s1s",
        "1ss",
        "1min",
        "1e3s",
        "0x1s",
        "99999999999999999999s",
        "9223372036854775807ms",
        "106751992d",
        "1m30",
        "00",
        "1\xc2\xb5s",
    };
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        int64_t ms = 42;
        if (parse_duration_ms(bad[i], &ms) == 0)
            fail_msg("`%s` was taken for a duration", bad[i]);
        assert_int_equal(ms, 42); /* untouched */
    }
}

static void sizes(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t bytes;
    } good[] = {
        {"0", 0},
        {"1024", 1024},
        {"64k", 64000},
        {"64K", 64000},
        {"64Ki", 65536},
        {"256Mi", 268435456},
        {"1Gi", 1073741824},
        {"500M", 500000000},
        {"1T", 1000000000000},
        {"2Ti", 2199023255552},
        {"18446744073709551615", UINT64_MAX},
    };
    for (size_t i = 0; i < COUNT_OF(good); i++) {
        uint64_t bytes = 1;
        assert_int_equal(parse_size_bytes(good[i].text, &bytes), 0);
        assert_true(bytes == good[i].bytes);
    }
    static const char *const bad[] = {"",
                                      "Mi",
                                      "1MiB",
                                      "1Mb",
                                      "1.5Gi",
                                      "-1",
                                      "1 M",
                                      "1mi",
                                      "18446744073709551616",
                                      "99999999999Ti"};
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        uint64_t bytes = 42;
        assert_int_equal(parse_size_bytes(bad[i], &bytes), -1);
        assert_true(bytes == 42);
    }
}

static void percentages(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint32_t ppm;
    } good[] = {
        {"0%", 0},      {"5%", 50000},        {"0.1%", 1000},        {"100%", 1000000},
        {"0.0001%", 1}, {"33.3333%", 333333}, {"10000%", 100000000}, {"5.0%", 50000},
    };
    for (size_t i = 0; i < COUNT_OF(good); i++) {
        uint32_t ppm = 42;
        assert_int_equal(parse_percent_ppm(good[i].text, &ppm), 0);
        assert_int_equal(ppm, good[i].ppm);
    }
    static const char *const bad[] = {"",         "%",   "5",    "5 %",
                                      ".5%",      "5.%", "-1%",  "10001%",
                                      "0.00001%", "5%%", "1e2%", "99999999999999999999%"};
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        uint32_t ppm = 42;
        assert_int_equal(parse_percent_ppm(bad[i], &ppm), -1);
        assert_int_equal(ppm, 42);
    }
}

static void processors_and_numbers(void **state)
{
    (void)state;
    uint32_t milli = 0;
    uint64_t v = 42;
    assert_int_equal(parse_cpu_milli("500m", &milli), 0);
    assert_int_equal(milli, 500);
    assert_int_equal(parse_cpu_milli("1", &milli), 0);
    assert_int_equal(milli, 1000);
    assert_int_equal(parse_cpu_milli("1.5", &milli), 0);
    assert_int_equal(milli, 1500);
    assert_int_equal(parse_cpu_milli("0.001", &milli), 0);
    assert_int_equal(milli, 1);
    static const char *const bad[] = {"",   "m",  "1.5m", "0.0001",      "1.",
                                      ".5", "-1", "1 m",  "4294967296m", "4294968"};
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        assert_int_equal(parse_cpu_milli(bad[i], &milli), -1);
    assert_int_equal(milli, 1);
    assert_int_equal(parse_u64("0", 0, &v), 0);
    assert_int_equal(v, 0);
    assert_int_equal(parse_u64("18446744073709551615", UINT64_MAX, &v), 0);
    assert_true(v == UINT64_MAX);
    assert_int_equal(parse_u64("18446744073709551616", UINT64_MAX, &v), -1);
    assert_int_equal(parse_u64("11", 10, &v), -1);
    assert_int_equal(parse_u64("", 10, &v), -1);
    assert_int_equal(parse_u64("1x", 10, &v), -1);
    assert_int_equal(parse_u64("-1", 10, &v), -1);
    assert_int_equal(parse_u64(" 1", 10, &v), -1);
    assert_true(v == UINT64_MAX);
}

static void formats_are_short_and_exact(void **state)
{
    (void)state;
    char out[32];
    assert_string_equal(format_duration_ms(0, out, sizeof out), "0s");
    assert_string_equal(format_duration_ms(1, out, sizeof out), "1ms");
    assert_string_equal(format_duration_ms(90000, out, sizeof out), "90s");
    assert_string_equal(format_duration_ms(60000, out, sizeof out), "1m");
    assert_string_equal(format_duration_ms(86400000, out, sizeof out), "1d");
    assert_string_equal(format_duration_ms(3600001, out, sizeof out), "3600001ms");
    assert_string_equal(format_size_bytes(0, out, sizeof out), "0");
    assert_string_equal(format_size_bytes(1024, out, sizeof out), "1Ki");
    assert_string_equal(format_size_bytes(1000, out, sizeof out), "1k");
    assert_string_equal(format_size_bytes(1025, out, sizeof out), "1025");
    assert_string_equal(format_size_bytes(1500000000, out, sizeof out), "1500M");
    assert_string_equal(format_percent_ppm(0, out, sizeof out), "0%");
    assert_string_equal(format_percent_ppm(1, out, sizeof out), "0.0001%");
    assert_string_equal(format_percent_ppm(1000, out, sizeof out), "0.1%");
    assert_string_equal(format_percent_ppm(1000000, out, sizeof out), "100%");
    assert_string_equal(format_percent_ppm(UINT32_MAX, out, sizeof out), "429496.7295%");
    assert_string_equal(format_size_bytes(UINT64_MAX, out, sizeof out), "18446744073709551615");
}

/* What is printed is read back as the same. */
static void formats_are_read_back(void **state)
{
    (void)state;
    char out[32];
    uint64_t x = 88172645463325252u;
    for (int i = 0; i < 20000; i++) {
        x ^= x << 13; /* xorshift64 */
        x ^= x >> 7;
        x ^= x << 17;
        uint64_t v = x >> (x % 64);
        int64_t ms = (int64_t)(v % 9000000000000u), ms_back = -1;
        assert_int_equal(parse_duration_ms(format_duration_ms(ms, out, sizeof out), &ms_back), 0);
        assert_int_equal(ms, ms_back);
        uint64_t bytes_back = 0;
        assert_int_equal(parse_size_bytes(format_size_bytes(v, out, sizeof out), &bytes_back), 0);
        assert_true(v == bytes_back);
        uint32_t ppm = (uint32_t)(v % 100000001), ppm_back = 0;
        assert_int_equal(parse_percent_ppm(format_percent_ppm(ppm, out, sizeof out), &ppm_back), 0);
        assert_int_equal(ppm, ppm_back);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(durations),
        cmocka_unit_test(sizes),
        cmocka_unit_test(percentages),
        cmocka_unit_test(processors_and_numbers),
        cmocka_unit_test(formats_are_short_and_exact),
        cmocka_unit_test(formats_are_read_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
