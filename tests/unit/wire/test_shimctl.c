/* What shims are told, tell and leave behind: round trips, and everything that is not of the form.
 */
#include "wire/exitrecord.h"
#include "wire/shimctl.h"
#include "wire/shimparams.h"

#include "base/alloc.h"
#include "base/vec.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static const struct exit_record sample = {
    .code = -1,
    .signal = 9,
    .oom_killed = true,
    .timed_out = true,
    .started_ms = 1763711999123,
    .ended_ms = 1763712000000,
    .dropped_lines = 42,
    .reason = "killed by the kernel: over its memory limit",
};

static void assert_same_end(const struct exit_record *a, const struct exit_record *b)
{
    assert_int_equal(a->code, b->code);
    assert_int_equal(a->signal, b->signal);
    assert_int_equal(a->oom_killed, b->oom_killed);
    assert_int_equal(a->start_failed, b->start_failed);
    assert_int_equal(a->timed_out, b->timed_out);
    assert_int_equal(a->started_ms, b->started_ms);
    assert_int_equal(a->ended_ms, b->ended_ms);
    assert_int_equal(a->dropped_lines, b->dropped_lines);
    assert_string_equal(a->reason, b->reason);
}

static void requests_go_there_and_back(void **state)
{
    (void)state;
    unsigned char data[SHIMCTL_REQUEST_SIZE];
    const struct shimctl_request stop = {SHIMCTL_STOP, 15, INT64_MAX};
    struct shimctl_request got;
    shimctl_encode_request(&stop, data);
    assert_int_equal(shimctl_decode_request(data, &got, NULL), 0);
    assert_int_equal(got.verb, SHIMCTL_STOP);
    assert_int_equal(got.signal, 15);
    assert_int_equal(got.grace_ms, INT64_MAX);
}

/* Version 1 is frozen: these are its bytes. */
static void the_bytes_of_version_1(void **state)
{
    (void)state;
    static const unsigned char want[SHIMCTL_REQUEST_SIZE] = {
        'L', 'S', 'H', 'L', 1, 0, 1, 0, 15, 0, 0, 0, 0, 0, 0, 0, 0x10, 0x27};
    unsigned char data[SHIMCTL_REQUEST_SIZE];
    const struct shimctl_request stop = {SHIMCTL_STOP, 15, 10000};
    shimctl_encode_request(&stop, data);
    assert_memory_equal(data, want, sizeof want);
    assert_int_equal(SHIMCTL_REPORT_SIZE, 312);
}

static void bad_requests_are_refused(void **state)
{
    (void)state;
    static const struct {
        size_t at;
        unsigned char value;
    } changes[] = {{0, 'x'}, {4, 2}, {5, 1},  {6, 0},     {6, 5},
                   {7, 1},   {8, 0}, {8, 65}, {11, 0x80}, {23, 0x80}};
    for (size_t i = 0; i < COUNT_OF(changes); i++) {
        struct error err = ERROR_INIT;
        unsigned char data[SHIMCTL_REQUEST_SIZE];
        const struct shimctl_request stop = {SHIMCTL_STOP, 15, 10000};
        struct shimctl_request got;
        shimctl_encode_request(&stop, data);
        data[changes[i].at] = changes[i].value;
        assert_int_equal(shimctl_decode_request(data, &got, &err), -1);
        assert_int_equal(err.class, ERROR_USAGE);
    }
}

static void reports_go_there_and_back(void **state)
{
    (void)state;
    unsigned char data[SHIMCTL_REPORT_SIZE];
    const struct shimctl_report report = {SHIMCTL_ENDED, 0, 4242, true, sample};
    struct shimctl_report got;
    shimctl_encode_report(&report, data);
    assert_int_equal(shimctl_decode_report(data, &got, NULL), 0);
    assert_int_equal(got.state, SHIMCTL_ENDED);
    assert_int_equal(got.shim_pid, 4242);
    assert_true(got.recorded);
    assert_same_end(&got.end, &sample);
    memset(data + 56, 'x', SHIMCTL_REPORT_SIZE - 56); /* a reason without an end */
    assert_int_equal(shimctl_decode_report(data, &got, NULL), 0);
    assert_int_equal(strlen(got.end.reason), EXITRECORD_REASON_SIZE - 1);
    data[6] = 9;
    assert_int_equal(shimctl_decode_report(data, &got, NULL), -1);
}

static void exit_records_go_there_and_back(void **state)
{
    (void)state;
    cleanup_buf struct buf text = BUF_INIT;
    struct exit_record got;
    exitrecord_encode(&sample, &text);
    assert_int_equal(exitrecord_decode(buf_str(&text), &got, NULL), 0);
    assert_same_end(&got, &sample);
    struct exit_record odd = sample;
    strcpy(odd.reason, "two\nlines\tend\nend");
    buf_clear(&text);
    exitrecord_encode(&odd, &text);
    assert_int_equal(exitrecord_decode(buf_str(&text), &got, NULL), 0);
    assert_string_equal(got.reason, "two lines end end");
    memset(odd.reason, 'r', sizeof odd.reason - 1);
    buf_clear(&text);
    exitrecord_encode(&odd, &text);
    assert_true(text.len < EXITRECORD_MAX_BYTES);
    assert_int_equal(exitrecord_decode(buf_str(&text), &got, NULL), 0);
    assert_string_equal(got.reason, odd.reason);
}

static void a_cut_record_is_none(void **state)
{
    (void)state;
    cleanup_buf struct buf text = BUF_INIT;
    exitrecord_encode(&sample, &text);
    for (size_t len = 0; len < text.len; len++) {
        struct error err = ERROR_INIT;
        struct exit_record got = {.code = 77};
        cleanup_free char *cut = xstrndup(text.data, len);
        assert_int_equal(exitrecord_decode(cut, &got, &err), -1);
        assert_int_equal(err.class, ERROR_IO);
        assert_int_equal(got.code, 77);
    }
}

static void odd_records(void **state)
{
    (void)state;
    struct exit_record got;
    static const char *const bad[] = {"",
                                      "sluice-exit\nend\n",
                                      "sluice-exit 0\nend\n",
                                      "sluice-exit x\nend\n",
                                      "sluice-exit 1\ncode\nend\n",
                                      "sluice-exit 1\ncode 256\nend\n",
                                      "sluice-exit 1\ncode  1\nend\n",
                                      "sluice-exit 1\nsignal -1\nend\n",
                                      "sluice-exit 1\noom-killed 2\nend\n",
                                      "sluice-exit 1\ncode 99999999999999999999999\nend\n"};
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        assert_int_equal(exitrecord_decode(bad[i], &got, NULL), -1);
    /* A later version's keys are skipped. */
    assert_int_equal(exitrecord_decode("sluice-exit 2\nmood good\ncode 3\nend\n", &got, NULL), 0);
    assert_int_equal(got.code, 3);
}

static void fill(struct shim_params *p)
{
    p->id = "a.1";
    p->run_dir = "/run/a.1";
    p->dir = "/rel";
    p->log_path = "/log";
    p->log_label = "web";
    p->timeout_ms = 5;
    p->log_max_bytes = 1 << 20;
    p->has_user = true;
    p->uid = 65534;
    p->gid = 100;
    *vec_push(&p->groups) = 7;
    shimparams_add(&p->argv, "./shop");
    shimparams_add(&p->argv, "");
    shimparams_add(&p->argv, "a=b\nc");
    shimparams_add(&p->envp, "SECRET=x\ny=z");
    shimparams_add(&p->cgroups, "memory 1 /x");
}

static void params_go_there_and_back(void **state)
{
    (void)state;
    struct shim_params p = {0}, got;
    cleanup_buf struct buf text = BUF_INIT;
    fill(&p);
    shimparams_encode(&p, &text);
    struct error err = ERROR_INIT;
    if (shimparams_decode(text.data, text.len, &got, &err) < 0)
        fail_msg("%s", err.text);
    assert_string_equal(got.id, "a.1");
    assert_null(got.state_dir);
    assert_int_equal(got.argv.len, 3);
    assert_string_equal(got.argv.items[1], "");
    assert_string_equal(got.argv.items[2], "a=b\nc");
    assert_null(got.argv.items[3]);
    assert_string_equal(got.envp.items[0], "SECRET=x\ny=z");
    assert_null(got.envp.items[1]);
    assert_string_equal(got.cgroups.items[0], "memory 1 /x");
    assert_true(got.has_user);
    assert_int_equal(got.uid, 65534);
    assert_int_equal(got.gid, 100);
    assert_int_equal(got.groups.items[0], 7);
    assert_int_equal(got.timeout_ms, 5);
    shimparams_release(&got);
    for (size_t len = 0; len < text.len;
         len++) /* cut anywhere: refused, or whole entries missing */
        if (shimparams_decode(text.data, len, &got, NULL) == 0)
            shimparams_release(&got);
    shimparams_release(&p);
}

static void bad_params_are_refused(void **state)
{
    (void)state;
    struct shim_params p = {0}, got;
    cleanup_buf struct buf text = BUF_INIT;
    fill(&p);
    shimparams_encode(&p, &text);
    static const char *const more[] = {"unknown=1",      "no equals",     "uid=-1",
                                       "uid=4294967295", "timeout-ms=1x", "gid="};
    for (size_t i = 0; i < COUNT_OF(more); i++) {
        cleanup_buf struct buf bad = BUF_INIT;
        buf_append(&bad, text.data, text.len);
        buf_append(&bad, more[i], strlen(more[i]) + 1);
        assert_int_equal(shimparams_decode(bad.data, bad.len, &got, NULL), -1);
    }
    p.argv.len = 0;
    buf_clear(&text);
    shimparams_encode(&p, &text);
    assert_int_equal(shimparams_decode(text.data, text.len, &got, NULL), -1);
    shimparams_release(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_go_there_and_back),
        cmocka_unit_test(the_bytes_of_version_1),
        cmocka_unit_test(bad_requests_are_refused),
        cmocka_unit_test(reports_go_there_and_back),
        cmocka_unit_test(exit_records_go_there_and_back),
        cmocka_unit_test(a_cut_record_is_none),
        cmocka_unit_test(odd_records),
        cmocka_unit_test(params_go_there_and_back),
        cmocka_unit_test(bad_params_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
