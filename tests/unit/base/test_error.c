#include "base/error.h"
#include "base/log.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void set_and_wrap(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    assert_int_equal(err.class, ERROR_NONE);
    assert_int_equal(error_set(&err, ERROR_NOT_FOUND, "no app %s", "shop"), -1);
    assert_int_equal(err.class, ERROR_NOT_FOUND);
    assert_string_equal(err.text, "no app shop");
    assert_int_equal(error_wrap(&err, "deploy %d", 7), -1);
    assert_int_equal(error_wrap(&err, "api"), -1);
    assert_string_equal(err.text, "api: deploy 7: no app shop");
    assert_int_equal(err.class, ERROR_NOT_FOUND);
    assert_int_equal(error_errno(&err, ENOENT, "open %s", "x"), -1);
    assert_string_equal(err.text, "open x: No such file or directory");
    assert_int_equal(err.class, ERROR_IO);
}

static void nobody_need_care(void **state)
{
    (void)state;
    assert_int_equal(error_set(NULL, ERROR_IO, "x"), -1);
    assert_int_equal(error_errno(NULL, EIO, "x"), -1);
    assert_int_equal(error_wrap(NULL, "x"), -1);
}

static void long_ones_are_cut_not_overrun(void **state)
{
    (void)state;
    struct {
        struct error err;
        char guard[16];
    } s = {.guard = "guard"};
    static char text[4000];
    memset(text, 'x', sizeof text - 1);
    for (size_t len = sizeof s.err.text - 8; len < sizeof s.err.text + 8; len++) {
        error_set(&s.err, ERROR_IO, "%.*s", (int)len, text);
        assert_true(strlen(s.err.text) < sizeof s.err.text);
        error_errno(&s.err, EACCES, "%.*s", (int)len, text);
        assert_true(strlen(s.err.text) < sizeof s.err.text);
        error_set(&s.err, ERROR_IO, "%.*s", (int)len, text);
        error_wrap(&s.err, "some context");
        assert_true(strlen(s.err.text) < sizeof s.err.text);
        assert_memory_equal(s.err.text, "some context: xxx", 17);
        error_set(&s.err, ERROR_IO, "inner");
        error_wrap(&s.err, "%.*s", (int)len, text);
        assert_true(strlen(s.err.text) < sizeof s.err.text);
        assert_string_equal(s.guard, "guard");
    }
}

/* What is logged comes from outside at times: it must stay one line. */
static void a_log_line_cannot_be_forged(void **state)
{
    (void)state;
    int ends[2], saved = dup(STDERR_FILENO);
    assert_int_equal(pipe(ends), 0);
    dup2(ends[1], STDERR_FILENO);
    log_init("test", LOG_INFO);
    log_debug("not shown");
    log_info("a\nb\x1b[31m\x7f %s", "c\r");
    static char text[5000];
    memset(text, 'y', sizeof text - 1);
    log_error("%s", text);
    dup2(saved, STDERR_FILENO);
    close(saved);
    close(ends[1]);
    static char out[8192];
    size_t len = 0;
    for (ssize_t n; (n = read(ends[0], out + len, sizeof out - 1 - len)) > 0;)
        len += (size_t)n;
    close(ends[0]);
    out[len] = '\0';
    char *second = strchr(out, '\n');
    assert_non_null(second);
    *second++ = '\0';
    assert_non_null(strstr(out, "Z info test a?b?[31m? c?"));
    assert_non_null(strstr(second, "Z error test yyy"));
    char *end = strchr(second, '\n');
    assert_non_null(end);
    assert_int_equal(end[1], '\0');
    assert_true(strlen(second) <= 2048);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(set_and_wrap),
        cmocka_unit_test(nobody_need_care),
        cmocka_unit_test(long_ones_are_cut_not_overrun),
        cmocka_unit_test(a_log_line_cannot_be_forged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
