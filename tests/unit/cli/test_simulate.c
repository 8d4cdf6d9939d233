/* What `simulate` understands, what it takes from recorded traffic, and what it shows. */
#include "base/alloc.h"
#include "base/vec.h"
#include "cli/bar.h"
#include "cli/simulate_words.h"
#include "cli/view.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define assert_near(value, expected) assert_float_equal(value, expected, 1e-6)

static const struct term plain = {.columns = 80, .rows = 24};

/* ---- words
 * -------------------------------------------------------------------------------- */

static void traffic(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        double per_s; /* 0: an error */
    } cases[] = {{"50/s", 50},      {"0.5/s", .5}, {"1200/min", 20}, {"90/h", .025},
                 {"100000/s", 1e5}, {"50", 0},     {"/s", 0},        {"0/s", 0},
                 {"-5/s", 0},       {"5/sec", 0},  {"1e3/s", 0},     {"nan/s", 0},
                 {"0x10/s", 0},     {"5./s", 0},   {".5/s", 0},      {"100001/s", 0},
                 {"5 /s", 0},       {"5/s ", 0},   {"", 0}};
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        double per_s = 0;
        struct error err = ERROR_INIT;
        int bad = parse_traffic(cases[i].text, &per_s, &err);
        if ((bad == 0) != (cases[i].per_s > 0))
            fail_msg("%s: %s", cases[i].text, err.text);
        if (bad == 0)
            assert_near(per_s, cases[i].per_s);
        else
            assert_int_equal(err.class, ERROR_USAGE);
    }
}

static struct release_words words_of(const char *text)
{
    struct release_words w;
    struct error err = ERROR_INIT;
    if (parse_release(text, "--candidate", true, &w, &err) != 0)
        fail_msg("%s: %s", text, err.text);
    return w;
}

static void releases(void **state)
{
    (void)state;
    struct release_words w = words_of("errors=2%");
    assert_true(w.has_errors && !w.errors_relative);
    assert_near(w.errors, .02);
    w = words_of(" errors = 3x ,  latency=1.5x");
    assert_true(w.errors_relative);
    assert_near(w.errors, 3);
    assert_near(w.latency_factor, 1.5);
    w = words_of("p99=2s,p50=40ms");
    assert_int_equal(w.quantiles_len, 2);
    assert_near(w.quantile[0], .5);
    assert_near(w.ms[0], 40);
    assert_near(w.ms[1], 2000);
}

static void latencies_of_releases(void **state)
{
    (void)state;
    static const struct simulate_latency stable = {.median_ms = 40, .sigma = .5};
    struct simulate_latency l;
    struct release_words w = words_of("errors=1%");
    release_latency(&w, &stable, &l);
    assert_near(l.median_ms, 40);
    w = words_of("latency=3x");
    release_latency(&w, &stable, &l);
    assert_near(l.median_ms, 120);
    assert_near(l.sigma, .5);
    w = words_of("p95=300ms"); /* stable's spread */
    release_latency(&w, &stable, &l);
    assert_near(l.sigma, .5);
    assert_near(simulate_latency_quantile(&l, .95), 300);
    w = words_of("p50=40ms,p99=2s"); /* its own */
    release_latency(&w, &stable, &l);
    assert_near(simulate_latency_quantile(&l, .5), 40);
    assert_near(simulate_latency_quantile(&l, .99), 2000);
}

static void wrong_words_have_their_place(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"errors=2%, p59=300ms", "unknown property `p59` at character 12; did you mean `p50`?"},
        {"error=2%", "unknown property `error` at character 1; did you mean `errors`?"},
        {"colour=red", "`colour` at character 1; there are errors, p50, p95, p99 and latency"},
        {"errors=2", "errors=2 at character 1: expected a share such as 2%, or a factor"},
        {"errors=101%", "expected a share"},
        {"errors=-1%", "expected a share"},
        {"errors=0x", "expected a share"},
        {"errors", "errors= at character 1: expected a share"},
        {"errors=2%,", "unknown property `` at character 11"},
        {"", "unknown property `` at character 1"},
        {",", "unknown property ``"},
        {"p95=fast", "p95=fast at character 1: expected a time such as 300ms"},
        {"p95=0ms", "expected a time"},
        {"latency=2", "expected a factor such as 1.5x"},
        {"p50=1s,p95=2s,p99=3s", "p99=3s at character 15: two of p50, p95 and p99 say it all"},
        {"p50=1s,p50=2s", "the same twice"},
        {"p50=2s,p95=1s", "the higher one cannot be the faster one"},
        {"p50=2s,latency=2x", "exclude each other"},
        {"errors=99999999999999999999999999999999999999999999%", "expected a share"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct release_words w;
        struct error err = ERROR_INIT;
        assert_int_equal(parse_release(cases[i].text, "--candidate", true, &w, &err), -1);
        assert_int_equal(err.class, ERROR_USAGE);
        if (strstr(err.text, cases[i].says) == NULL ||
            strncmp(err.text, "--candidate: ", strlen("--candidate: ")) != 0)
            fail_msg("%s: \"%s\" does not say \"%s\"", cases[i].text, err.text, cases[i].says);
    }
    struct release_words w;
    struct error err = ERROR_INIT;
    assert_int_equal(parse_release("latency=2x", "--stable", false, &w, &err), -1);
    assert_non_null(strstr(err.text, "nothing that it is a multiple of; say p50, p95 or p99"));
    assert_int_equal(parse_release("errors=2x", "--stable", false, &w, NULL), -1);
}

/* ---- recorded traffic
 * ---------------------------------------------------------------------- */

static void recorded_minutes(void **state)
{
    (void)state;
    json_t *answer = json_loads(
        "{\"app\":\"shop\",\"environment\":\"production\",\"minutes\":["
        "{\"at\":1795248000000,\"release\":7,\"candidate\":false,\"requests\":6000,"
        "\"errors\":60,\"p50_ms\":20.0,\"p90_ms\":70.0,\"p95_ms\":80.0,\"p99_ms\":200.0},"
        "{\"at\":1795248120000,\"release\":7,\"candidate\":false,\"requests\":2000,"
        "\"errors\":0,\"p50_ms\":60.0,\"p90_ms\":70.0,\"p95_ms\":120.0,\"p99_ms\":200.0},"
        "{\"at\":1795248120000,\"release\":8,\"candidate\":true,\"requests\":1000,"
        "\"errors\":1000,\"p50_ms\":900.0,\"p90_ms\":900.0,\"p95_ms\":900.0,\"p99_ms\":900.0},"
        "{\"at\":1795248180000,\"release\":8,\"candidate\":true,\"requests\":600,"
        "\"errors\":0,\"p50_ms\":null,\"p90_ms\":null,\"p95_ms\":null,\"p99_ms\":null}]}",
        0, NULL);
    struct history h;
    assert_int_equal(read_history(answer, &h, NULL), 0);
    assert_int_equal(h.len, 4);
    assert_near(h.items[0].requests_per_s, 100);
    assert_near(h.items[0].stable_errors, .01);
    assert_near(h.items[1].requests_per_s, 0); /* no row: no request */
    assert_near(h.items[2].requests_per_s, 50);
    assert_near(h.items[2].stable_errors, 0);
    assert_near(h.items[3].requests_per_s, 10);
    assert_near(h.items[3].stable_errors, 60.0 / 8000);
    assert_near(h.requests_per_s, 40);
    assert_near(h.errors, 60.0 / 8000);
    assert_true(h.has_latency);
    assert_near(simulate_latency_quantile(&h.latency, .5), 30); /* weighted by requests */
    assert_near(simulate_latency_quantile(&h.latency, .95), 90);
    free(h.items);
    json_decref(answer);
}

static void what_the_server_never_should_answer(void **state)
{
    (void)state;
    static const char *const none[] = {
        "{}",
        "[]",
        "7",
        "{\"minutes\":7}",
        "{\"minutes\":[]}",
        "{\"minutes\":[7,null,{}]}",
        "{\"minutes\":[{\"at\":1795248000000,\"requests\":-5}]}",
        "{\"minutes\":[{\"at\":1795248000000,\"requests\":\"9\"}]}",
        "{\"minutes\":[{\"at\":\"now\",\"requests\":9}]}",
        "{\"minutes\":[{\"at\":60000,\"requests\":9},{\"at\":1795248000000,\"requests\":9}]}",
        "{\"minutes\":[{\"at\":1e300,\"requests\":9}]}"};
    struct history h;
    for (size_t i = 0; i < COUNT_OF(none); i++) {
        struct error err = ERROR_INIT;
        json_t *j = json_loads(none[i], JSON_DECODE_ANY, NULL);
        assert_int_equal(read_history(j, &h, &err), -1);
        assert_null(h.items);
        assert_non_null(strstr(err.text, "--traffic"));
        json_decref(j);
    }
    json_t *odd = json_loads("{\"minutes\":[{\"at\":1795248000000,\"requests\":1e12,"
                             "\"errors\":1e15,\"p50_ms\":9,\"p95_ms\":3}]}",
                             0, NULL);
    assert_int_equal(read_history(odd, &h, NULL), 0);
    assert_near(h.items[0].requests_per_s, SIMULATE_MAX_RATE);
    assert_near(h.items[0].stable_errors, 1);
    assert_false(h.has_latency);
    free(h.items);
    json_decref(odd);
}

/* ---- what is shown
 * ------------------------------------------------------------------------- */

static const char summary[] =
    "{\"app\":\"shop\",\"environment\":\"production\",\"strategy\":\"canary\",\"runs\":1000,"
    "\"seed\":1,\"least_ms\":360000,"
    "\"traffic\":{\"requests_per_s\":50.0,\"from\":\"option\",\"minutes\":1},"
    "\"stable\":{\"errors\":0.005,\"p50_ms\":40.0,\"p95_ms\":107.3,\"p99_ms\":161.0},"
    "\"candidate\":{\"errors\":0.02,\"p50_ms\":40.0,\"p95_ms\":107.3,\"p99_ms\":161.0},"
    "\"shares\":{\"rolled_back\":0.75,\"promoted\":0.2,\"paused\":0.05,\"promoted_cleared\":0.05,"
    "\"promoted_without_data\":0.0},"
    "\"decided_by\":{\"errors\":0.7,\"latency\":0.05,\"slo\":0.0,\"inconclusive\":0.05},"
    "\"promoted_ms\":{\"median\":364000,\"p90\":364000,\"most\":364000},"
    "\"stopped_ms\":{\"median\":90000,\"p90\":200000,\"most\":300000},"
    "\"exposed_ms\":{\"median\":89000,\"p90\":199000,\"most\":299000},"
    "\"candidate_requests\":{\"median\":412.0,\"p90\":1500.0,\"most\":9000.0},"
    "\"failed\":{\"median\":9.0,\"p90\":31.0,\"most\":90.0},"
    "\"failed_without_judge\":{\"median\":160.4,\"p90\":170.0,\"most\":180.0},"
    "\"failed_per_hour_without_judge\":3600.0}";

static void the_whole_page(void **state)
{
    (void)state;
    cleanup_buf struct buf out = BUF_INIT;
    json_t *j = json_loads(summary, 0, NULL);
    view_simulate(j, &plain, &out);
    assert_string_equal(
        buf_str(&out),
        "shop (production), canary: 1,000 runs in virtual time with 50.0 req/s\n"
        "\n"
        "           ERRORS    P50     P95     P99\n"
        "stable      0.50%  40 ms  107 ms  161 ms\n"
        "candidate      2%  40 ms  107 ms  161 ms\n"
        "\n"
        "It would rather be rolled back: in 80% of the runs, after 1 min 29 s of its traffic "
        "(median).\n"
        "\n"
        "                                             RUNS  MEDIAN TIME  9 OF 10 WITHIN\n"
        "rolled back  #######################-------   75%   1 min 30 s      3 min 20 s\n"
        "promoted     ######------------------------   20%    6 min 4 s       6 min 4 s\n"
        "paused       ##----------------------------    5%   1 min 30 s      3 min 20 s\n"
        "\n"
        "failed requests    9 (median), at most 31 in 9 of 10 runs\n"
        "  without a judge  160 in the rollout, then 3,600 an hour\n"
        "requests it took   412 of the candidate's (median), at most 1,500 in 9 of 10 runs\n"
        "decided by         errors in 70%, slow answers in 5%, the policy for what stays open in "
        "5%\n"
        "promotions         25% of them proven no worse by then\n");
    json_decref(j);
}

static void answers_in_a_sentence(void **state)
{
    (void)state;
    static const struct {
        double rolled_back, paused;
        const char *says;
    } cases[] = {{0, 0, "It would be promoted: in every run.\n"},
                 {.02, 0, "It would be promoted: rolled back in 2% of the runs only.\n"},
                 {.3, 0, "It would rather be promoted: rolled back in 30% of the runs only.\n"},
                 {.1, .8, "It would rather be paused: in 90% of the runs, after 1 min 29 s"},
                 {1, 0, "It would be rolled back: in all of the runs, after 1 min 29 s"}};
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        cleanup_buf struct buf out = BUF_INIT;
        json_t *j = json_loads(summary, 0, NULL), *shares = json_object_get(j, "shares");
        json_object_set_new(shares, "rolled_back", json_real(cases[i].rolled_back));
        json_object_set_new(shares, "paused", json_real(cases[i].paused));
        view_simulate(j, &plain, &out);
        if (strstr(buf_str(&out), cases[i].says) == NULL)
            fail_msg("%s is not in\n%s", cases[i].says, buf_str(&out));
        json_decref(j);
    }
}

static void bars(void **state)
{
    (void)state;
    static const struct term unicode = {.unicode = true};
    static const struct {
        double share;
        const char *text, *fine;
    } cases[] = {
        {0, "----", "\u2500\u2500\u2500\u2500"},  {.001, "#---", "\u258f\u2500\u2500\u2500"},
        {.5, "##--", "\u2588\u2588\u2500\u2500"}, {.65, "###-", "\u2588\u2588\u258b\u2500"},
        {1, "####", "\u2588\u2588\u2588\u2588"},  {7, "####", "\u2588\u2588\u2588\u2588"},
        {-1, "----", "\u2500\u2500\u2500\u2500"}};
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        cleanup_buf struct buf a = BUF_INIT, b = BUF_INIT;
        put_bar(&a, &plain, STYLE_RED, cases[i].share, 4);
        put_bar(&b, &unicode, STYLE_RED, cases[i].share, 4);
        assert_string_equal(buf_str(&a), cases[i].text);
        assert_string_equal(buf_str(&b), cases[i].fine);
        buf_release(&b);
    }
}

static void no_json_breaks_it(void **state)
{
    (void)state;
    static const char *const odd[] = {"{}", "[]", "null", "{\"shares\":7,\"failed\":[]}",
                                      "{\"shares\":{\"rolled_back\":\"x\"},\"stopped_ms\":{}}"};
    for (size_t i = 0; i < COUNT_OF(odd); i++) {
        cleanup_buf struct buf out = BUF_INIT;
        json_t *j = json_loads(odd[i], JSON_DECODE_ANY, NULL);
        view_simulate(j, &plain, &out);
        assert_true(out.len > 0);
        json_decref(j);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(traffic),
        cmocka_unit_test(releases),
        cmocka_unit_test(latencies_of_releases),
        cmocka_unit_test(wrong_words_have_their_place),
        cmocka_unit_test(recorded_minutes),
        cmocka_unit_test(what_the_server_never_should_answer),
        cmocka_unit_test(the_whole_page),
        cmocka_unit_test(answers_in_a_sentence),
        cmocka_unit_test(bars),
        cmocka_unit_test(no_json_breaks_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
