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
    exposition_init(&e, false);
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
    exposition_init(&e, false);
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
    exposition_init(&e, false);
    exposition_finish(&e, &out);
    assert_int_equal(out.len, 0);
}

static void steps_have_exemplars_in_openmetrics_only(void **state)
{
    (void)state;
    static const char trace[] = "4bf92f3577b34da6a3ce929d0e0e4736";
    uint64_t steps[RED_STEPS] = {0};
    struct exemplar exemplars[RED_STEPS] = {0};
    steps[red_step(700)] = 3;
    steps[red_step(UINT64_C(1) << 40)] = 1;
    struct exemplar *x = &exemplars[red_step(700)];
    x->us = 700;
    x->wall_ms = 1700000000123;
    memcpy(x->trace, trace, sizeof x->trace);
    for (int open = 0; open < 2; open++) {
        cleanup_buf struct buf out = BUF_INIT;
        struct exposition e;
        exposition_init(&e, open == 1);
        exposition_steps(&e, FAMILY_ROUTE_DURATION, "code=\"2xx\"", steps, 2500000, exemplars);
        exposition_count(&e, FAMILY_EVENTS, "", 7);
        exposition_count(&e, FAMILY_CONNECTIONS_TOTAL, "",
                         8); /* and there is a gauge without _total */
        exposition_finish(&e, &out);
        const char *text = buf_str(&out);
        assert_non_null(strstr(text, "_bucket{code=\"2xx\",le=\"0.000512\"} 0\n"));
        assert_non_null(strstr(text, open ? "_bucket{code=\"2xx\",le=\"0.001024\"} 3 # {trace_id="
                                            "\"4bf92f3577b34da6a3ce929d0e0e4736\"} 0.0007 "
                                            "1700000000.123\n"
                                          : "_bucket{code=\"2xx\",le=\"0.001024\"} 3\n"));
        assert_non_null(strstr(text, "_bucket{code=\"2xx\",le=\"67.108864\"} 3\n"));
        assert_non_null(strstr(text, "_bucket{code=\"2xx\",le=\"+Inf\"} 4\n"));
        assert_non_null(strstr(text, "_sum{code=\"2xx\"} 2.5\n"));
        assert_non_null(strstr(text, "_count{code=\"2xx\"} 4\n"));
        assert_non_null(strstr(text, open ? "# TYPE sluice_events counter\nsluice_events_total 7\n"
                                          : "# TYPE sluice_events_total counter\n"));
        assert_non_null(strstr(text, open ? "# TYPE sluice_gateway_connections_total unknown\n"
                                          : "# TYPE sluice_gateway_connections_total counter\n"));
        size_t len = strlen(text);
        assert_int_equal(strcmp(text + len - 6, "# EOF\n") == 0, open);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(labels_are_escaped),
        cmocka_unit_test(families_are_kept_together),
        cmocka_unit_test(a_latency_is_in_the_bucket_that_holds_it),
        cmocka_unit_test(steps_have_exemplars_in_openmetrics_only),
        cmocka_unit_test(nothing_gives_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
