#include "observe/exposition.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void labels_are_escaped(void **state)
{
    (void)state;
    cleanup_buf struct buf labels = BUF_INIT;
    exposition_label(&labels, "app", "shop");
    exposition_label(&labels, "version", "a\"b\\c\nd");
    exposition_label(&labels, "none", NULL);
    assert_string_equal(buf_str(&labels), "app=\"shop\",version=\"a\\\"b\\\\c\\nd\",none=\"\"");
}

static void families_are_kept_together(void **state)
{
    (void)state;
    cleanup_buf struct buf out = BUF_INIT;
    struct exposition e;
    exposition_init(&e);
    exposition_count(&e, FAMILY_REQUESTS, "app=\"a\"", 18446744073709551615u);
    exposition_sample(&e, FAMILY_WEIGHT, "app=\"a\"", 0.25);
    exposition_count(&e, FAMILY_REQUESTS, "app=\"b\"", 2);
    exposition_sample(&e, FAMILY_APPS, NULL, 2);
    exposition_sample(&e, FAMILY_STARTED, "", INFINITY);
    exposition_finish(&e, &out);
    assert_string_equal(
        buf_str(&out),
        "# HELP sluice_requests_total Requests that an instance was chosen for, each counted once, "
        "at its end.\n"
        "# TYPE sluice_requests_total counter\n"
        "sluice_requests_total{app=\"a\"} 18446744073709551615\n"
        "sluice_requests_total{app=\"b\"} 2\n"
        "# HELP sluice_release_weight_ratio Share of the app's traffic that goes to the release, 0 "
        "to 1.\n"
        "# TYPE sluice_release_weight_ratio gauge\n"
        "sluice_release_weight_ratio{app=\"a\"} 0.25\n"
        "# HELP sluice_controller_start_time_seconds When this controller started, seconds since "
        "1970.\n"
        "# TYPE sluice_controller_start_time_seconds gauge\n"
        "sluice_controller_start_time_seconds +Inf\n"
        "# HELP sluice_apps Apps that the server knows.\n"
        "# TYPE sluice_apps gauge\n"
        "sluice_apps 2\n");
}

static void a_latency_is_in_the_bucket_that_holds_it(void **state)
{
    (void)state;
    cleanup_buf struct buf out = BUF_INIT;
    uint64_t buckets[METRICS_BUCKETS] = {0};
    struct exposition e;
    exposition_init(&e);
    buckets[metrics_bucket(100)]++;          /* 0.1 ms */
    buckets[metrics_bucket(511)]++;          /* just under the first edge */
    buckets[metrics_bucket(512)]++;          /* the edge itself is above it */
    buckets[metrics_bucket(1000000)] += 5;   /* 1 s */
    buckets[metrics_bucket(200000000)] += 2; /* 200 s: over all edges */
    exposition_latency(&e, FAMILY_DURATION, "app=\"a\"", buckets, 1500000);
    exposition_finish(&e, &out);
    const char *text = buf_str(&out);
    assert_non_null(strstr(text, "_bucket{app=\"a\",le=\"0.000512\"} 2\n"));
    assert_non_null(strstr(text, "_bucket{app=\"a\",le=\"0.001024\"} 3\n"));
    assert_non_null(strstr(text, "_bucket{app=\"a\",le=\"1.048576\"} 8\n"));
    assert_non_null(strstr(text, "_bucket{app=\"a\",le=\"67.108864\"} 8\n"));
    assert_non_null(strstr(text, "_bucket{app=\"a\",le=\"+Inf\"} 10\n"));
    assert_non_null(strstr(text, "_sum{app=\"a\"} 1.5\n"));
    assert_non_null(strstr(text, "_count{app=\"a\"} 10\n"));
    assert_non_null(strstr(text, "# TYPE sluice_request_duration_seconds histogram\n"));
}

static void nothing_gives_nothing(void **state)
{
    (void)state;
    cleanup_buf struct buf out = BUF_INIT;
    struct exposition e;
    exposition_init(&e);
    exposition_finish(&e, &out);
    assert_int_equal(out.len, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(labels_are_escaped),
        cmocka_unit_test(families_are_kept_together),
        cmocka_unit_test(a_latency_is_in_the_bucket_that_holds_it),
        cmocka_unit_test(nothing_gives_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
