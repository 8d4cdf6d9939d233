/* What people see, to the letter. */
#include "cli/format.h"
#include "cli/frame.h"
#include "cli/progress.h"
#include "cli/sse.h"
#include "cli/table.h"
#include "cli/view.h"

#include "base/alloc.h"

#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct term plain = {.columns = 80, .rows = 24};
static const struct term screen = {.is_terminal = true, .columns = 80, .rows = 24};
static const struct term colors = {
    .is_terminal = true, .color = true, .unicode = true, .columns = 80, .rows = 24};

static json_t *parse(const char *text)
{
    json_error_t bad;
    json_t *j = json_loads(text, JSON_DECODE_ANY, &bad);
    if (j == NULL)
        fail_msg("%s: %s", text, bad.text);
    return j;
}

static const char rolling[] =
    "{\"app\":\"shop\",\"environment\":\"production\",\"state\":\"rolling-out\","
    "\"stable\":{\"release\":7,\"version\":\"1.0\",\"weight\":75,\"ready\":3,\"wanted\":3,"
    "\"requests_per_s\":12.54,\"error_rate\":0.001,\"p95_ms\":12.2},"
    "\"candidate\":{\"release\":8,\"version\":\"2.0\",\"weight\":25,\"ready\":1,\"wanted\":2,"
    "\"requests_per_s\":null,\"error_rate\":0.051,\"p95_ms\":1240},"
    "\"rollout\":{\"strategy\":\"canary\",\"step\":3,\"steps\":4,\"name\":\"weight\",\"weight\":25,"
    "\"phase\":\"forward\",\"verdict\":\"no worse so far\",\"since\":\"2026-11-21T08:00:00.000Z\","
    "\"steps_text\":[\"scale candidate to 2\",\"wait until candidate is ready\",\"weight 25%\","
    "\"finish\"]},"
    "\"instances\":[{\"id\":\"shop-7-1\",\"release\":7,\"version\":\"1.0\",\"state\":\"ready\","
    "\"pid\":4242,\"port\":40001,\"restarts\":0,\"in_flight\":3,\"detail\":null},"
    "{\"id\":\"shop-8-1\",\"release\":8,\"version\":\"2.0\",\"state\":\"backing-off\",\"pid\":0,"
    "\"port\":40002,\"restarts\":12,\"in_flight\":0,\"detail\":\"exited with 1\"}]}";

static void status_of_one_app(void **state)
{
    (void)state;
    cleanup_buf struct buf out = BUF_INIT;
    json_t *j = parse(rolling);
    view_status(j, &plain, &out);
    assert_string_equal(
        buf_str(&out),
        "shop (production): rolling-out, canary, step 3 of 4: weight 25%\n"
        "\n"
        "           RELEASE  VERSION  TRAFFIC  READY  REQ/S  ERRORS     P95\n"
        "stable           7  1.0          75%    3/3   12.5   0.10%   12 ms\n"
        "candidate        8  2.0          25%    1/2      -    5.1%  1.24 s\n"
        "\n"
        "traffic  ==============================##########\n"
        "verdict  no worse so far\n"
        "\n"
        "INSTANCE  VERSION  STATE         PID   PORT  RESTARTS  IN FLIGHT  DETAIL\n"
        "shop-7-1  1.0      ready        4242  40001         0          3\n"
        "shop-8-1  2.0      backing-off     -  40002        12          0  exited with 1\n");
    json_decref(j);
}

static const char mirrored[] =
    "{\"share\":20.0,\"copies\":1240,\"errors_5xx\":0,\"failed\":3,\"cut\":0,\"compared\":1237,"
    "\"differed\":12,\"uncompared\":3,\"uncopied\":0,\"differed_in\":{\"status\":2,\"headers\":0,"
    "\"body\":10},\"samples\":["
    "{\"at\":\"2026-11-21T08:00:12.345Z\",\"instance\":\"shop-8-1\",\"fault\":\"differs\","
    "\"status\":200,\"method\":\"GET\",\"path\":\"/cart\",\"ms\":1.2,\"copy_status\":200,"
    "\"part\":\"body\",\"where\":\"/to\\u001btal\"},"
    "{\"at\":\"2026-11-21T08:00:13.345Z\",\"instance\":null,\"fault\":\"differs\","
    "\"status\":200,\"method\":\"GET\",\"path\":\"/gone\",\"ms\":1.2,\"copy_status\":404,"
    "\"part\":\"status\",\"where\":null},"
    "{\"at\":\"2026-11-21T08:00:14.345Z\",\"instance\":\"shop-8-1\",\"fault\":\"timed-out\","
    "\"status\":504,\"method\":\"GET\",\"path\":\"/slow\",\"ms\":500}]}";

static void copies_and_what_differs(void **state)
{
    (void)state;
    cleanup_buf struct buf out = BUF_INIT;
    json_t *j = parse(mirrored);
    view_mirror(j, &plain, "", MIRROR_SAMPLES, &out);
    assert_string_equal(
        buf_str(&out),
        "mirror   20% of the requests: 1,240 copies, 3 failed; 1,237 compared, 12 differ (2 in the "
        "status, 10 in the body), 3 not comparable\n"
        "  AT        COPY                       REQUEST    INSTANCE\n"
        "  08:00:12  body at /to tal            GET /cart  shop-8-1\n"
        "  08:00:13  status 404 instead of 200  GET /gone  -\n"
        "  08:00:14  timed-out                  GET /slow  shop-8-1\n");
    buf_clear(&out);
    json_object_set_new(j, "share", json_real(0));
    json_object_set_new(j, "failed", json_integer(0));
    json_object_set_new(j, "uncompared", json_integer(0));
    json_object_set_new(j, "differed", json_integer(0));
    json_object_set_new(j, "differed_in", json_object());
    view_mirror(j, &plain, "  ", 0, &out);
    assert_string_equal(buf_str(&out), "  mirror   1,240 copies; 1,237 compared, 0 differ\n");
    buf_clear(&out);
    view_mirror(NULL, &plain, "", MIRROR_SAMPLES, &out);
    assert_int_equal(out.len, 0);
    json_decref(j);
}

static void status_of_all_apps(void **state)
{
    (void)state;
    cleanup_buf struct buf out = BUF_INIT;
    json_t *app = parse(rolling), *list = json_pack("[o]", app), *none = json_array();
    view_apps(list, &plain, &out);
    assert_string_equal(buf_str(&out),
                        "APP   ENVIRONMENT  STATE        VERSION  READY  REQ/S  ERRORS    P95  "
                        "ROLLOUT\n"
                        "shop  production   rolling-out  1.0      3/3     12.5   0.10%  12 ms  "
                        "2.0: canary, step 3 of 4: weight 25%\n");
    buf_clear(&out);
    view_apps(list, &screen, &out); /* a terminal's line is not wrapped */
    for (char *line = strtok(out.data, "\n"); line != NULL; line = strtok(NULL, "\n"))
        assert_true(strlen(line) <= 80);
    buf_clear(&out);
    view_apps(none, &plain, &out);
    assert_non_null(strstr(buf_str(&out), "sluice init"));
    json_decref(list);
    json_decref(none);
}

static void sizes_and_a_full_disk_are_shown(void **state)
{
    (void)state;
    cleanup_buf struct buf out = BUF_INIT;
    json_t *j = parse("[{\"release\":2,\"version\":\"2.0\",\"status\":\"ready\",\"bytes\":null},"
                      "{\"release\":1,\"version\":\"1.0\",\"status\":\"promoted\","
                      "\"use\":\"stable\",\"bytes\":12897485}]");
    view_releases(j, &plain, &out);
    assert_string_equal(
        buf_str(&out), "RELEASE  VERSION  STATUS    USE     CREATED      SIZE  BY  COMMIT  AUTHOR\n"
                       "      2  2.0      ready     -                       -  -   -       -\n"
                       "      1  1.0      promoted  stable           12.3 MiB  -   -       -\n"
                       "\n"
                       "2 releases, 12.3 MiB\n");
    json_decref(j);
    buf_clear(&out);
    j = parse("{\"app\":\"shop\",\"environment\":\"production\",\"state\":\"steady\","
              "\"disk\":{\"releases\":12897485,\"logs\":512,\"state\":null}}");
    view_status(j, &plain, &out);
    assert_non_null(strstr(buf_str(&out), "\ndisk  releases 12.3 MiB, logs 512 B\n"));
    json_decref(j);
    buf_clear(&out);
    setenv("TZ", "UTC", 1);
    j = parse("{\"app\":\"shop\",\"environment\":\"production\",\"state\":\"steady\","
              "\"bake\":{\"release\":3,\"previous\":2,\"until\":\"2026-11-21T10:14:07.000Z\","
              "\"requests\":1200,\"failed\":3,\"day_before\":{\"requests\":1000,\"failed\":1}}}");
    view_status(j, &plain, &out);
    assert_non_null(strstr(buf_str(&out),
                           "baking   until 10:14:07: 1200 requests, 3 failed (0.25%), 0.10% in the "
                           "day before; if it turns out worse: back to release 2\n"));
    json_decref(j);
    buf_clear(&out);
    j = parse("{\"app\":\"shop\",\"environment\":\"production\",\"state\":\"steady\","
              "\"bake\":{\"release\":3,\"previous\":2,\"until\":\"2026-11-21T10:14:07.000Z\","
              "\"requests\":0,\"failed\":0,\"day_before\":{\"requests\":0,\"failed\":0}}}");
    view_status(j, &plain, &out);
    assert_non_null(strstr(buf_str(&out), "baking   until 10:14:07: no request so far; if"));
    json_decref(j);
    buf_clear(&out);
    j = parse("{\"data\":\"/srv/d\",\"degraded\":null,\"disk\":{\"free_bytes\":104857600,"
              "\"total_bytes\":21474836480,\"low\":true}}");
    view_server_troubles(j, NULL, &plain, &out);
    assert_string_equal(buf_str(&out),
                        "\nthe disk is nearly full: 100.0 MiB of 20.0 GiB are free for /srv/d\n");
    json_object_set_new(json_object_get(j, "disk"), "low", json_false());
    json_object_set_new(j, "degraded", json_string("state.db is damaged"));
    buf_clear(&out);
    view_server_troubles(j, NULL, &plain, &out);
    assert_string_equal(buf_str(&out), "\nthe server is degraded: state.db is damaged\n");
    json_object_set_new(j, "degraded", json_null());
    buf_clear(&out);
    view_server_troubles(j, NULL, &plain, &out);
    assert_int_equal(out.len, 0);
    json_decref(j);
    j = parse("{\"degraded\":null,\"certificates\":[{\"name\":\"fine\",\"trouble\":null},"
              "{\"name\":\"shop.test\",\"trouble\":\"expires in 3d\\u001b[2J\"}]}");
    view_server_troubles(j, NULL, &plain, &out);
    assert_non_null(strstr(buf_str(&out), "\nthe certificate shop.test expires in 3d"));
    assert_null(strchr(buf_str(&out), '\033'));
    assert_null(strstr(buf_str(&out), "fine"));
    json_decref(j);
}

/* An app's status has the troubles of its own hosts; all of them stand in that of the server. */
static void a_certificate_concerns_its_hosts(void **state)
{
    static const struct {
        const char *hosts;
        bool shown;
    } apps[] = {
        {"[\"shop.example\"]", true},
        {"[\"other.example\",\"a.shop.example\"]", true},
        {"[\"*\"]", true},
        {"[\"*.shop.example\"]", true},
        {"[\"a.b.shop.example\"]", false},
        {"[\"example\"]", false},
        {"[]", false},
    };
    (void)state;
    json_t *server = parse("{\"certificates\":[{\"name\":\"shop\",\"hosts\":[\"shop.example\","
                           "\"*.shop.example\"],\"trouble\":\"expires in 3d: put a new one into "
                           "DATA/certs\"}]}");
    cleanup_buf struct buf out = BUF_INIT;
    for (size_t i = 0; i < sizeof apps / sizeof apps[0]; i++) {
        cleanup_free char *text = xasprintf("{\"hosts\":%s}", apps[i].hosts);
        json_t *app = parse(text);
        buf_clear(&out);
        view_server_troubles(server, app, &plain, &out);
        if ((out.len > 0) != apps[i].shown)
            fail_msg("%s: %s", apps[i].hosts, buf_str(&out));
        json_decref(app);
    }
    const struct term narrow = {.is_terminal = true, .columns = 40};
    buf_clear(&out);
    view_server_troubles(server, NULL, &narrow, &out);
    assert_string_equal(buf_str(&out),
                        "\nthe certificate shop expires in 3d: put a\n  new one into DATA/certs\n");
    json_decref(server);
}

static void what_is_built_is_said(void **state)
{
    (void)state;
    cleanup_buf struct buf out = BUF_INIT;
    json_t *j = parse("{\"app\":\"shop\",\"environment\":\"production\",\"state\":\"rolling-out\","
                      "\"rollout\":null,\"building\":true}");
    view_status(j, &plain, &out);
    assert_string_equal(buf_str(&out), "shop (production): rolling-out, a new release is being "
                                       "packed and built\n\n");
    buf_clear(&out);
    json_t *list = json_pack("[o]", j);
    view_apps(list, &plain, &out);
    assert_non_null(strstr(buf_str(&out), "packing and building"));
    json_decref(list);
}

static void processes_are_told_apart(void **state)
{
    (void)state;
    cleanup_buf struct buf out = BUF_INIT;
    json_t *j = parse(
        "{\"app\":\"mail\",\"environment\":\"production\",\"state\":\"steady\",\"instances\":["
        "{\"id\":\"mail-1-1\",\"process\":\"web\",\"version\":\"1\",\"state\":\"ready\"},"
        "{\"id\":\"mail-1-2\",\"process\":\"worker\",\"version\":\"1\",\"state\":\"ready\"}]}");
    view_status(j, &plain, &out);
    assert_non_null(strstr(buf_str(&out), "INSTANCE  PROCESS  VERSION"));
    assert_non_null(strstr(buf_str(&out), "mail-1-2  worker   1"));
    json_array_remove(json_object_get(j, "instances"), 1);
    buf_clear(&out);
    view_status(j, &plain, &out);
    assert_null(strstr(buf_str(&out), "PROCESS")); /* one process: nothing to tell apart */
    json_decref(j);
}

static void a_plan_says_what_the_judge_can_find(void **state)
{
    (void)state;
    cleanup_buf struct buf out = BUF_INIT;
    json_t *j = parse(
        "{\"strategy\":\"canary\",\"from\":7,\"least_ms\":120000,\"changes\":[],\"warnings\":[],"
        "\"steps\":[{\"kind\":\"weight\",\"text\":\"weight 5%\"}],"
        "\"detects\":{\"requests_per_s\":35.0,\"stable_errors\":0.005,\"steps\":["
        "{\"weight\":5.0,\"hold_ms\":60000,\"requests\":105.0,\"error_rate\":0.091},"
        "{\"weight\":0.1,\"hold_ms\":60000,\"requests\":2.0,\"error_rate\":null}]},"
        "\"suggestion\":{\"text\":\"each step finds 2%\",\"yaml\":"
        "\"strategy:\\n  canary:\\n    steps:\\n      - {weight: 5, hold: 4m}\\n\"}}");
    view_plan(j, &plain, &out);
    assert_string_equal(buf_str(&out),
                        "a deploy would go from release 7, canary, in 2 min 0 s at least\n"
                        "\n"
                        "the spec does not change\n"
                        "\n"
                        "steps\n"
                        "   1  weight 5%\n"
                        "\n"
                        "what the judge can find at 35.0 req/s, where stable has 0.50% errors\n"
                        "  TRAFFIC        FOR  REQUESTS  ERRORS FOUND FROM\n"
                        "       5%  1 min 0 s       105               9.1%\n"
                        "    0.10%  1 min 0 s         2            nothing\n"
                        "\n"
                        "suggestion: each step finds 2%\n"
                        "\n"
                        "strategy:\n"
                        "  canary:\n"
                        "    steps:\n"
                        "      - {weight: 5, hold: 4m}\n");
    json_decref(j);
}

static void no_json_breaks_a_view(void **state)
{
    (void)state;
    static const char *const odd[] = {
        "{}",
        "[]",
        "null",
        "7",
        "[[]]",
        "[{}]",
        "[null]",
        "{\"stable\":[],\"instances\":[7]}",
        "{\"stable\":{},\"candidate\":{\"weight\":1e300},\"rollout\":{\"step\":-5,\"steps_text\":7}"
        "}",
        "{\"rollout\":{\"step\":9000000000,\"steps_text\":[null]},\"stable\":{\"weight\":\"x\"}}",
        "{\"steps\":[null,{}],\"changes\":[7],\"warnings\":{},\"least_ms\":-1}",
        "{\"detects\":{\"steps\":[7,null,{}]},\"suggestion\":{\"yaml\":\"\\u001b[2J\\n\\n\"}}",
        "{\"log_tail\":[null,7],\"requests\":[],\"result\":7,\"failed_requests\":[{}]}"};
    for (size_t i = 0; i < sizeof odd / sizeof odd[0]; i++) {
        cleanup_buf struct buf out = BUF_INIT;
        json_t *j = parse(odd[i]);
        view_apps(j, &colors, &out);
        view_status(j, &colors, &out);
        view_history(j, &colors, &out);
        view_releases(j, &colors, &out);
        view_server_troubles(j, NULL, &colors, &out);
        view_plan(j, &colors, &out);
        view_event(j, &colors, true, &out);
        view_progress_line(j, &colors, &out);
        view_result(j, &colors, &out);
        view_log_line(j, &colors, &out);
        json_decref(j);
    }
}

static void no_control_byte_reaches_the_terminal(void **state)
{
    (void)state;
    cleanup_buf struct buf out = BUF_INIT;
    json_t *j =
        parse("{\"t\":\"\\u001b]0;x\\u0007\",\"m\":\"\\u001b[31mred\\r\\n\\u009b1m\\u202e\","
              "\"instance\":\"\\u001b[2J\",\"kind\":\"\\u001b[2J\",\"text\":\"a\\u001bb\","
              "\"app\":\"\\u001b\",\"degraded\":\"\\u001b\",\"data\":\"\\u001b\","
              "\"disk\":{\"low\":true},\"reason\":{\"text\":\"\\u001b\"},\"actor\":\"\\u001b\","
              "\"version\":\"\\u001b\",\"result\":\"\\u001b\",\"state\":\"\\u001b\",\"commit\":"
              "\"\\u001b\",\"author\":\"\\u001b\",\"branch\":\"\\u001b\",\"log_instance\":"
              "\"\\u001b\",\"log_tail\":[\"\\u001b\"],\"probe\":\"\\u001b\",\"failed_requests\":[{"
              "\"at\":\"\\u001b\",\"instance\":\"\\u001b\",\"fault\":\"\\u001b\",\"method\":"
              "\"\\u001b\",\"path\":\"\\u001b\"}]}");
    view_log_line(j, &plain, &out);
    view_event(j, &plain, true, &out);
    view_result(j, &plain, &out);
    view_result_note(j, &plain, &out);
    view_status(j, &plain, &out);
    json_t *list = json_pack("[O]", j);
    view_apps(list, &plain, &out);
    view_history(list, &plain, &out);
    view_releases(list, &plain, &out);
    view_server_troubles(j, NULL, &plain, &out);
    for (size_t i = 0; i < out.len; i++)
        assert_true((unsigned char)out.data[i] >= 0x20 || out.data[i] == '\n');
    assert_null(strstr(buf_str(&out), "\xc2\x9b"));
    json_decref(list);
    json_decref(j);
}

static void a_roll_back_says_why(void **state)
{
    (void)state;
    cleanup_buf struct buf out = BUF_INIT;
    json_t *j =
        parse("{\"app\":\"shop\",\"environment\":\"staging\",\"release\":8,\"version\":\"2.0\","
              "\"result\":\"rolled-back\",\"reason\":{\"code\":\"error-rate\",\"text\":\"5.1% "
              "against 0.1%\"},\"duration_ms\":65000,\"requests\":{\"stable\":1200,"
              "\"candidate\":1234567},\"failed\":1,\"probe\":\"GET /ready: status 503\","
              "\"commit\":\"4f2a9c1d3e5b77aa\",\"author\":\"Alice "
              "<alice@example.org>\",\"branch\":\"main\","
              "\"dirty\":true,\"failed_requests\":["
              "{\"at\":\"2026-11-21T08:00:12.000Z\",\"instance\":\"shop-8-2\",\"fault\":\"5xx\","
              "\"status\":500,\"method\":\"GET\",\"path\":\"/pay\",\"ms\":12.3},"
              "{\"at\":\"2026-11-21T08:00:13.000Z\",\"instance\":null,\"fault\":\"timed-out\","
              "\"status\":504,\"method\":\"POST\",\"path\":\"/\",\"ms\":60000}],"
              "\"log_instance\":\"shop-8-2\",\"log_tail\":[\"one\",\"two\"]}");
    view_result(j, &plain, &out);
    assert_string_equal(buf_str(&out),
                        "shop 2.0 (release 8): rolled-back after 1 min 5 s\n"
                        "  5.1% against 0.1%\n"
                        "\n"
                        "  requests  1,200 to stable, 1,234,567 to the new release; 1 failed "
                        "because of the deploy\n"
                        "  commit    4f2a9c1d3e5b with uncommitted changes by Alice, "
                        "branch main\n"
                        "  probe     GET /ready: status 503\n"
                        "\n"
                        "  requests that failed, for example\n"
                        "    AT        INSTANCE  ANSWER            TOOK  REQUEST\n"
                        "    08:00:12  shop-8-2  500              12 ms  GET /pay\n"
                        "    08:00:13  -         504 timed out  60.00 s  POST /\n"
                        "\n"
                        "  last log lines of shop-8-2\n"
                        "    | one\n"
                        "    | two\n"
                        "\n"
                        "  more: sluice logs shop -e staging --release 8\n");
    buf_clear(&out);
    view_result_note(j, &plain, &out);
    assert_string_equal(buf_str(&out),
                        "    500 to GET /pay from shop-8-2; commit 4f2a9c1d3e5b with "
                        "uncommitted changes by Alice, branch main\n");
    json_decref(j);
}

static void a_promoted_release_needs_few_words(void **state)
{
    (void)state;
    cleanup_buf struct buf out = BUF_INIT;
    json_t *j = parse("{\"app\":\"shop\",\"release\":8,\"version\":\"2.0\",\"commit\":\"4f2a\","
                      "\"result\":\"promoted\",\"reason\":{\"code\":\"\",\"text\":\"\"},"
                      "\"duration_ms\":1200,\"requests\":{\"stable\":1,\"candidate\":2},"
                      "\"failed\":0,\"failed_requests\":[],\"log_tail\":[\"one\"]}");
    view_result(j, &plain, &out);
    assert_string_equal(buf_str(&out), "shop 2.0 (release 8): promoted after 1.2 s\n"
                                       "  requests  1 to stable, 2 to the new release; 0 failed "
                                       "because of the deploy\n");
    buf_clear(&out);
    view_result_note(j, &plain, &out);
    assert_string_equal(buf_str(&out), "");
    json_decref(j);
}

/* A reason is a sentence: it is broken between words, never longer than the terminal is wide. */
static void a_long_reason_is_wrapped(void **state)
{
    (void)state;
    cleanup_buf struct buf out = BUF_INIT;
    json_t *j =
        parse("{\"result\":\"rolled-back\",\"reason\":{\"text\":\"one two three four five six "
              "seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
              "averyveryverylongwordwithoutanyplacetobreakitbetweenitsbeginningandwhereitatlast"
              "ends\"},\"log_tail\":[\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa "
              "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb a last line that goes on\"]}");
    view_result(j, &screen, &out);
    assert_non_null(strstr(buf_str(&out), "\n  one two three four five six seven eight nine ten "
                                          "eleven twelve thirteen\n  fourteen fifteen sixteen\n"
                                          "  averyvery"));
    assert_non_null(strstr(buf_str(&out), "    |   line that goes on\n"));
    struct term narrow = screen;
    narrow.columns = 60;
    buf_clear(&out);
    view_result(j, &narrow, &out);
    assert_non_null(
        strstr(buf_str(&out), "release; 0 failed\n            because of the deploy\n"));
    json_decref(j);
}

static void a_deploys_block(void **state)
{
    (void)state;
    cleanup_buf struct buf out = BUF_INIT;
    struct progress p;
    json_t *accepted = parse("{\"app\":\"shop\",\"environment\":\"production\",\"release\":8,"
                             "\"version\":\"2.0\"}");
    json_t *event = parse("{\"id\":3,\"at\":\"2026-11-21T08:00:12.000Z\",\"kind\":\"weight\","
                          "\"text\":\"weight 25%\"}");
    progress_init(&p, "deploy", accepted, 1000);
    progress_draw(&p, &screen, 1000, &out);
    assert_string_equal(buf_str(&out), "shop 2.0  deploy of release 8 to production, 0 ms\n");
    buf_clear(&out);
    progress_status(&p, parse(rolling));
    for (int i = 0; i < 7; i++)
        progress_event(&p, event, &screen);
    p.away_since_ms = 40000;
    progress_draw(&p, &screen, 43000, &out);
    assert_string_equal(buf_str(&out),
                        "shop 2.0  deploy of release 8 to production, canary, 42 s\n"
                        "  x scale candidate to 2\n"
                        "  x wait until candidate is ready\n"
                        "  > weight 25%\n"
                        "  . finish\n"
                        "\n"
                        "  =====================================#############\n"
                        "             RELEASE  VERSION  TRAFFIC  READY  REQ/S  ERRORS     P95\n"
                        "  stable           7  1.0          75%    3/3   12.5   0.10%   12 ms\n"
                        "  candidate        8  2.0          25%    1/2      -    5.1%  1.24 s\n"
                        "  verdict  no worse so far\n"
                        "\n"
                        "  08:00:12 weight 25%\n  08:00:12 weight 25%\n  08:00:12 weight 25%\n"
                        "  08:00:12 weight 25%\n  08:00:12 weight 25%\n"
                        "  the controller has not answered for 3.0 s; trying again\n");
    progress_release(&p);
    json_decref(accepted);
    json_decref(event);
}

static void many_steps_are_a_window(void **state)
{
    (void)state;
    cleanup_buf struct buf out = BUF_INIT;
    struct progress p;
    json_t *accepted = parse("{\"app\":\"a\",\"version\":\"1\",\"release\":1}");
    json_t *status = parse("{\"rollout\":{\"step\":20,\"steps_text\":[]}}");
    json_t *texts = json_object_get(json_object_get(status, "rollout"), "steps_text");
    for (int i = 1; i <= 30; i++)
        json_array_append_new(texts, json_sprintf("step %d", i));
    progress_init(&p, "deploy", accepted, 0);
    progress_status(&p, status);
    progress_draw(&p, &screen, 0, &out);
    assert_non_null(strstr(buf_str(&out), "  (15 done)\n  x step 16\n"));
    assert_non_null(strstr(buf_str(&out), "  > step 20\n"));
    assert_non_null(strstr(buf_str(&out), "  . step 24\n  (6 more)\n"));
    progress_release(&p);
    json_decref(accepted);
}

static void a_block_is_redrawn_in_place(void **state)
{
    (void)state;
    cleanup_buf struct buf out = BUF_INIT;
    struct frame f = {0};
    struct term t = screen;
    frame_render(&f, &t, "", "one\ntwo\n", &out);
    assert_string_equal(buf_str(&out), "\033[?2026hone\033[K\ntwo\033[K\n\033[J\033[?2026l");
    buf_clear(&out);
    frame_render(&f, &t, "said\n", "three\n", &out);
    assert_string_equal(buf_str(&out), "\033[?2026h\r\033[2Asaid\033[K\nthree\033[K\n\033[J\033[?"
                                       "2026l");
    /* Narrower: a line of 60 columns takes two rows of 40 now, and new lines are cut. */
    char line[62];
    memset(line, 'x', 60);
    strcpy(line + 60, "\n");
    buf_clear(&out);
    frame_render(&f, &t, "", line, &out);
    t.columns = 40;
    buf_clear(&out);
    frame_render(&f, &t, "", line, &out);
    assert_non_null(strstr(buf_str(&out), "\r\033[2A"));
    assert_int_equal(strspn(strchr(buf_str(&out), 'x'), "x"), 39);
    /* Never higher than the terminal. */
    t.rows = 5;
    buf_clear(&out);
    frame_render(&f, &t, "", "1\n2\n3\n4\n5\n6\n7\n", &out);
    assert_int_equal(f.lines, 4);
}

static void text_is_measured_and_cut(void **state)
{
    (void)state;
    cleanup_buf struct buf out = BUF_INIT;
    const char *red = "\033[31mab\033[0mc";
    assert_int_equal(text_columns(red, strlen(red)), 3);
    put_cut(&out, red, strlen(red), 1);
    assert_string_equal(buf_str(&out), "\033[31ma\033[0m");
    buf_clear(&out);
    put_cut(&out, red, strlen(red), 3);
    assert_string_equal(buf_str(&out), red);
    if (setlocale(LC_CTYPE, "C.UTF-8") != NULL) {
        assert_int_equal(text_columns("\xe6\x97\xa5", 3), 2); /* a wide one */
        assert_int_equal(text_columns("e\xcc\x81", 3), 1);    /* a combining one */
        buf_clear(&out);
        put_cut(&out, "a\xe6\x97\xa5", 4, 2);
        assert_string_equal(buf_str(&out), "a");
    }
    buf_clear(&out);
    put_clean(&out, "a\xff\xc0\xaf\xed\xa0\x80z");
    assert_non_null(strstr(buf_str(&out), "\xef\xbf\xbd"));
    assert_int_equal(buf_str(&out)[out.len - 1], 'z');
}

static void numbers_are_short(void **state)
{
    (void)state;
    char t[FORMAT_SIZE];
    assert_string_equal(format_share(0, t), "0%");
    assert_string_equal(format_share(0.0004, t), "0.04%");
    assert_string_equal(format_share(0.05, t), "5%");
    assert_string_equal(format_share(0.051, t), "5.1%");
    assert_string_equal(format_share(1, t), "100%");
    assert_string_equal(format_share(-1, t), "-");
    assert_string_equal(format_rate(0.04, t), "0.0");
    assert_string_equal(format_rate(12345.6, t), "12,346");
    assert_string_equal(format_latency(0.84, t), "0.8 ms");
    assert_string_equal(format_latency(999, t), "999 ms");
    assert_string_equal(format_latency(1240, t), "1.24 s");
    assert_string_equal(format_elapsed(35, t), "35 ms");
    assert_string_equal(format_elapsed(8750, t), "8.7 s");
    assert_string_equal(format_elapsed(42000, t), "42 s");
    assert_string_equal(format_elapsed(7800000, t), "2 h 10 min");
    assert_string_equal(format_count(-1234, t), "-1,234");
    assert_string_equal(format_count(INT64_MIN, t), "-9,223,372,036,854,775,808");
    assert_string_equal(format_bytes(-1, t), "-");
    assert_string_equal(format_bytes(0, t), "0 B");
    assert_string_equal(format_bytes(1023, t), "1023 B");
    assert_string_equal(format_bytes(1024, t), "1.0 KiB");
    assert_string_equal(format_bytes(12897485, t), "12.3 MiB");
    assert_string_equal(format_bytes(1048575, t), "1.0 MiB");
    assert_string_equal(format_bytes(INT64_MAX, t), "8.0 EiB");
    assert_string_equal(format_clock("2026-11-21T08:00:12.123Z", t), "08:00:12");
    assert_string_equal(format_clock("soon", t), "soon");
    assert_string_equal(format_date("2026-11-21T08:00:12Z", t), "2026-11-21 08:00:12");
}

static void tables_align(void **state)
{
    (void)state;
    cleanup_buf struct buf out = BUF_INIT;
    struct table t;
    table_init(&t, &plain, "A|>N|LAST");
    table_cell(&t, STYLE_NONE, "long name");
    table_cellf(&t, STYLE_NONE, "%d", 5);
    table_cell(&t, STYLE_NONE, "x");
    table_cell(&t, STYLE_BOLD, NULL);
    table_cellf(&t, STYLE_NONE, "%d", 1234);
    table_cell(&t, STYLE_NONE, "");
    table_finish(&t, "  ", &out);
    assert_string_equal(buf_str(&out), "  A             N  LAST\n"
                                       "  long name     5  x\n"
                                       "  -          1234\n");
}

static json_t *feed(struct sse *s, const char *bytes)
{
    struct buf b = BUF_INIT;
    buf_puts(&b, bytes);
    sse_feed(s, &b);
    buf_release(&b);
    return sse_next(s);
}

static void events_come_out_of_bytes(void **state)
{
    (void)state;
    struct sse s = {0};
    assert_null(feed(&s, "retry: 1000\n\n: comment\n\nid: 1\nevent: step\nda"));
    assert_null(feed(&s, "ta: {\"id\":1}\n"));
    json_t *one =
        feed(&s, "\nid: 2\r\ndata: {\"id\":\r\ndata: 2}\r\n\r\ndata: nonsense\n\ndata: [1]\n\n"
                 "data: {\"id\":3}\n\n");
    assert_int_equal(json_integer_value(json_object_get(one, "id")), 1);
    json_t *two = sse_next(&s), *three = sse_next(&s);
    assert_int_equal(json_integer_value(json_object_get(two, "id")), 2);
    assert_int_equal(json_integer_value(json_object_get(three, "id")), 3);
    assert_null(sse_next(&s));
    json_decref(one);
    json_decref(two);
    json_decref(three);
    sse_release(&s);
}

int main(void)
{
    setenv("TZ", "UTC", 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(status_of_one_app),
        cmocka_unit_test(copies_and_what_differs),
        cmocka_unit_test(status_of_all_apps),
        cmocka_unit_test(sizes_and_a_full_disk_are_shown),
        cmocka_unit_test(a_certificate_concerns_its_hosts),
        cmocka_unit_test(what_is_built_is_said),
        cmocka_unit_test(processes_are_told_apart),
        cmocka_unit_test(a_plan_says_what_the_judge_can_find),
        cmocka_unit_test(no_json_breaks_a_view),
        cmocka_unit_test(no_control_byte_reaches_the_terminal),
        cmocka_unit_test(a_roll_back_says_why),
        cmocka_unit_test(a_promoted_release_needs_few_words),
        cmocka_unit_test(a_long_reason_is_wrapped),
        cmocka_unit_test(a_deploys_block),
        cmocka_unit_test(many_steps_are_a_window),
        cmocka_unit_test(a_block_is_redrawn_in_place),
        cmocka_unit_test(text_is_measured_and_cut),
        cmocka_unit_test(numbers_are_short),
        cmocka_unit_test(tables_align),
        cmocka_unit_test(events_come_out_of_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
