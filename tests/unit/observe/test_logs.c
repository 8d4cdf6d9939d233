#include "observe/logs.h"

#include "base/alloc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

static char dir[64];

static int setup(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/sluice-logs-XXXXXX");
    return mkdtemp(dir) != NULL ? 0 : -1;
}

static int teardown(void **state)
{
    char command[128];
    (void)state;
    snprintf(command, sizeof command, "rm -rf '%s'", dir);
    return system(command);
}

static void append_raw(const char *file, const char *text)
{
    char path[200];
    snprintf(path, sizeof path, "%s/%s", dir, file);
    FILE *f = fopen(path, "a");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

/* second.millisecond of one minute */
static void append_line(const char *file, const char *at, const char *text)
{
    char line[300];
    snprintf(line, sizeof line,
             "{\"t\":\"2026-11-21T08:00:%sZ\",\"s\":\"out\",\"p\":\"web\",\"m\":\"%s\"}\n", at,
             text);
    append_raw(file, line);
}

static void rotate(const char *instance)
{
    char from[200], to[200];
    snprintf(from, sizeof from, "%s/%s.log", dir, instance);
    snprintf(to, sizeof to, "%s/%s.log.1", dir, instance);
    assert_int_equal(rename(from, to), 0);
}

/* All that there is now, only the texts: "a b c". */
static char *texts(struct logs_reader *r)
{
    cleanup_buf struct buf out = BUF_INIT;
    struct buf found = BUF_INIT;
    for (int turns = 0; logs_read(r, &out); turns++)
        assert_true(turns < 1000);
    for (char *line = buf_str(&out)[0] ? out.data : NULL; line != NULL && *line != '\0';) {
        char *end = strchr(line, '\n'), *m;
        *end = '\0';
        m = strstr(line, "\"m\":\"");
        assert_non_null(m);
        buf_printf(&found, "%s%.*s", found.len > 0 ? " " : "", (int)strcspn(m + 5, "\""), m + 5);
        line = end + 1;
    }
    return buf_detach(&found);
}

static void expect(struct logs_reader *r, const char *expected)
{
    cleanup_free char *found = texts(r);
    assert_string_equal(found, expected);
}

static void expect_once(const struct logs_filter *filter, const char *expected)
{
    struct logs_reader *r = logs_reader_new(dir, filter);
    expect(r, expected);
    logs_reader_free(r);
}

static void release_is_read_out_of_the_instance(void **state)
{
    (void)state;
    assert_int_equal(logs_release_of("shop-7-1"), 7);
    assert_int_equal(logs_release_of("my-2-shop-12-3"), 12);
    assert_int_equal(logs_release_of("shop.staging-7-1"), 7);
    assert_int_equal(logs_release_of("shop-7-worker-1"), 7);
    assert_int_equal(logs_release_of("shop-7-build"), 7);
    assert_int_equal(logs_release_of("shop"), 0);
    assert_int_equal(logs_release_of("7-1"), 0);
    assert_int_equal(logs_release_of(""), 0);
    assert_int_equal(logs_release_of("shop-99999999999-1"), 0);
}

static void instances_are_merged_by_time(void **state)
{
    (void)state;
    append_line("shop-7-1.log", "01.000", "a");
    append_line("shop-7-2.log", "02.000", "b");
    append_line("shop-7-1.log", "03.000", "c");
    append_line("shop-7-2.log", "03.001", "d");
    expect_once(&(struct logs_filter){0}, "a b c d");
}

static void lines_carry_instance_and_release(void **state)
{
    (void)state;
    append_line("shop-7-1.log", "01.000", "a");
    struct logs_reader *r = logs_reader_new(dir, &(struct logs_filter){0});
    cleanup_buf struct buf out = BUF_INIT;
    assert_false(logs_read(r, &out));
    assert_string_equal(buf_str(&out), "{\"instance\":\"shop-7-1\",\"release\":7,"
                                       "\"t\":\"2026-11-21T08:00:01.000Z\",\"s\":\"out\",\"p\":"
                                       "\"web\",\"m\":\"a\"}\n");
    logs_reader_free(r);
}

static void filters_choose(void **state)
{
    (void)state;
    append_line("shop-7-1.log", "01.000", "a");
    append_line("shop-8-1.log", "02.000", "b");
    append_line("shop-8-2.log", "03.500", "c");
    append_raw("shop-8-2.log", "{\"t\":\"2026-11-21T08:00:04.000Z\",\"s\":\"err\",\"p\":\"job\","
                               "\"m\":\"d\"}\n");
    append_raw("notes.txt", "not a log\n");
    expect_once(&(struct logs_filter){.release = 8}, "b c d");
    expect_once(&(struct logs_filter){.instance = "shop-8-1"}, "b");
    expect_once(&(struct logs_filter){.instance = "../shop"}, "");
    expect_once(&(struct logs_filter){.process = "job"}, "d");
    expect_once(&(struct logs_filter){.last = 2}, "c d");
    expect_once(&(struct logs_filter){.last = 1, .process = "web"}, "c");
    /* 2026-11-21T08:00:03.500Z */
    expect_once(&(struct logs_filter){.since_ms = 1795248003500}, "c d");
    expect_once(&(struct logs_filter){.since_ms = 1795248003501}, "d");
}

static void the_older_file_comes_first(void **state)
{
    (void)state;
    append_line("shop-7-1.log", "01.000", "a");
    rotate("shop-7-1");
    append_line("shop-7-1.log", "02.000", "b");
    expect_once(&(struct logs_filter){0}, "a b");
    expect_once(&(struct logs_filter){.last = 1}, "b");
    expect_once(&(struct logs_filter){.last = 2}, "a b");
}

static void following_goes_on_over_rotations(void **state)
{
    (void)state;
    append_line("shop-7-1.log", "01.000", "a");
    struct logs_reader *r = logs_reader_new(dir, &(struct logs_filter){0});
    expect(r, "a");
    append_line("shop-7-1.log", "02.000", "b");
    expect(r, ""); /* nobody said that anything changed */
    logs_touched(r, "shop-7-1.log");
    expect(r, "b");
    append_line("shop-7-1.log", "03.000", "c");
    rotate("shop-7-1");
    append_line("shop-7-1.log", "04.000", "d");
    logs_touched(r, "shop-7-1.log");
    expect(r, "c d");
    rotate("shop-7-1"); /* twice between two looks: what is left comes, nothing comes twice */
    append_line("shop-7-1.log", "05.000", "e");
    rotate("shop-7-1");
    append_line("shop-7-1.log", "06.000", "f");
    logs_touched(r, NULL);
    expect(r, "e f");
    append_line("shop-8-1.log", "07.000", "g"); /* a new instance */
    logs_touched(r, "shop-8-1.log");
    expect(r, "g");
    logs_reader_free(r);
}

static void a_folder_may_come_later(void **state)
{
    (void)state;
    char later[100];
    snprintf(later, sizeof later, "%s/logs", dir);
    struct logs_reader *r = logs_reader_new(later, &(struct logs_filter){0});
    expect(r, "");
    assert_int_equal(mkdir(later, 0700), 0);
    append_line("logs/shop-1-1.log", "01.000", "a");
    logs_touched(r, NULL);
    expect(r, "a");
    logs_reader_free(r);
}

static void half_a_line_waits_for_its_end(void **state)
{
    (void)state;
    append_raw("shop-7-1.log", "{\"t\":\"2026-11-21T08:00:01.000Z\",\"m\":\"wh");
    struct logs_reader *r = logs_reader_new(dir, &(struct logs_filter){0});
    expect(r, "");
    append_raw("shop-7-1.log", "ole\"}\n");
    logs_touched(r, "shop-7-1.log");
    expect(r, "whole");
    logs_reader_free(r);
}

static void what_is_no_json_is_given_as_text(void **state)
{
    (void)state;
    append_raw("shop-7-1.log", "torn by a crash\n[1]\n{}\n{\"m\":\"fine\"}\n\n");
    expect_once(&(struct logs_filter){0}, "torn by a crash [1] {} fine ");
}

static void too_long_a_line_is_left_out(void **state)
{
    (void)state;
    append_line("shop-7-1.log", "01.000", "before");
    for (int i = 0; i < 400; i++) {
        char kilobyte[1024];
        memset(kilobyte, 'x', sizeof kilobyte - 1);
        kilobyte[sizeof kilobyte - 1] = '\0';
        append_raw("shop-7-1.log", kilobyte);
    }
    append_raw("shop-7-1.log", "\n");
    append_line("shop-7-1.log", "02.000", "after");
    expect_once(&(struct logs_filter){0}, "before after");
}

static void a_pipe_or_link_in_the_folder_does_not_block(void **state)
{
    (void)state;
    char path[200];
    snprintf(path, sizeof path, "%s/shop-7-1.log", dir);
    assert_int_equal(mkfifo(path, 0600), 0);
    snprintf(path, sizeof path, "%s/shop-7-2.log", dir);
    assert_int_equal(symlink("/etc/passwd", path), 0);
    append_line("shop-7-3.log", "01.000", "a");
    expect_once(&(struct logs_filter){0}, "a");
}

static void work_is_bounded(void **state)
{
    (void)state;
    for (int i = 0; i < 20000; i++)
        append_raw("shop-7-1.log",
                   "{\"t\":\"2026-11-21T08:00:01.000Z\",\"s\":\"out\",\"p\":\"web\","
                   "\"m\":\"one of very many lines\"}\n");
    struct logs_reader *r = logs_reader_new(dir, &(struct logs_filter){0});
    cleanup_buf struct buf out = BUF_INIT;
    int turns = 1;
    while (logs_read(r, &out))
        turns++;
    assert_true(turns > 2);
    size_t lines = 0;
    for (size_t i = 0; i < out.len; i++)
        lines += out.data[i] == '\n';
    assert_int_equal(lines, 20000);
    logs_reader_free(r);
}

static void last_lines_are_plain_text(void **state)
{
    (void)state;
    cleanup_buf struct buf out = BUF_INIT;
    append_line("shop-7-1.log", "01.000", "a");
    rotate("shop-7-1");
    append_line("shop-7-1.log", "02.000", "tab\\tand \\u001b[31mred");
    append_raw("shop-7-1.log", "no json\n");
    assert_int_equal(logs_last_lines(dir, "shop-7-1", 2, &out), 2);
    assert_string_equal(buf_str(&out), "tab and  [31mred\nno json\n");
    buf_clear(&out);
    assert_int_equal(logs_last_lines(dir, "shop-7-1", 10, &out), 3);
    buf_clear(&out);
    assert_int_equal(logs_last_lines(dir, "shop-7-9", 10, &out), 0);
    assert_int_equal(logs_last_lines("/nowhere", "shop-7-1", 10, &out), 0);
    assert_int_equal(out.len, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(release_is_read_out_of_the_instance),
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
        T(instances_are_merged_by_time),
        T(lines_carry_instance_and_release),
        T(filters_choose),
        T(the_older_file_comes_first),
        T(following_goes_on_over_rotations),
        T(a_folder_may_come_later),
        T(half_a_line_waits_for_its_end),
        T(what_is_no_json_is_given_as_text),
        T(too_long_a_line_is_left_out),
        T(a_pipe_or_link_in_the_folder_does_not_block),
        T(work_is_bounded),
        T(last_lines_are_plain_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
