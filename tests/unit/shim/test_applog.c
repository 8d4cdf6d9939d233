#include "shim/applog.h"

#include "base/alloc.h"
#include "os/durable.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

struct place {
    char root[64];
    char path[96], old_path[100];
    int in, out; /* a pipe: what the app writes, what the log reads */
    struct applog log;
};

static int setup(void **state)
{
    struct place *p = xcalloc(1, sizeof *p);
    int ends[2];
    strcpy(p->root, "/tmp/sluice-applog-XXXXXX");
    if (mkdtemp(p->root) == NULL || pipe2(ends, O_CLOEXEC) < 0)
        return -1;
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    p->out = ends[0];
    p->in = ends[1];
    snprintf(p->path, sizeof p->path, "%s/a/b/app.log", p->root);
    snprintf(p->old_path, sizeof p->old_path, "%s.1", p->path);
    *state = p;
    return 0;
}

static int teardown(void **state)
{
    struct place *p = *state;
    char command[128];
    if (p->log.path != NULL)
        applog_finish(&p->log);
    close(p->in);
    close(p->out);
    snprintf(command, sizeof command, "rm -rf '%s'", p->root);
    free(p);
    return system(command);
}

static void begin(struct place *p, uint64_t max_bytes)
{
    assert_int_equal(applog_init(&p->log, p->path, max_bytes, "we\"b", NULL), 0);
}

static void app_writes(struct place *p, const char *text, size_t len)
{
    while (len > 0) { /* a pipe takes 64 KiB at a time */
        size_t n = len < 32768 ? len : 32768;
        assert_int_equal(write(p->in, text, n), n);
        assert_int_equal(applog_read(&p->log, APPLOG_OUT, p->out, 1 << 20), n);
        text += n;
        len -= n;
    }
}

static char *read_path(const char *path)
{
    struct buf text = BUF_INIT;
    file_read(AT_FDCWD, path, 64 << 20, &text, NULL);
    return buf_detach(&text);
}

/* The messages of a log, "a|b|c|", read strictly: every line must be whole. */
static char *messages(const char *path)
{
    cleanup_free char *text = read_path(path);
    struct buf out = BUF_INIT;
    for (char *line = text; *line != '\0';) {
        char *end = strchr(line, '\n'), *m = strstr(line, "\",\"p\":\"we\\\"b\",\"m\":\"");
        assert_non_null(end);
        *end = '\0';
        assert_int_equal(strncmp(line, "{\"t\":\"20", 8), 0);
        assert_non_null(m);
        m += strlen("\",\"p\":\"we\\\"b\",\"m\":\"");
        assert_string_equal(end - 2, "\"}");
        buf_append(&out, m, (size_t)(end - 2 - m));
        buf_putc(&out, '|');
        line = end + 1;
    }
    return buf_detach(&out);
}

static void lines_of_all_kinds(void **state)
{
    struct place *p = *state;
    begin(p, 1 << 20);
    app_writes(p, "one\n\ntwo\r\n\x1b[1m\"\\\xff\xc3\xa4\n", 20);
    app_writes(p, "begin", 5);
    cleanup_free char *before = messages(p->path);
    assert_string_equal(before, "one||two|\\u001b[1m\\\"\\\\\xEF\xBF\xBD\xc3\xa4|");
    app_writes(p, " end\nno newline", 15);
    applog_say(&p->log, "ours");
    assert_int_equal(applog_read(&p->log, APPLOG_OUT, p->out, 100), 0);
    close(p->in);
    assert_int_equal(applog_read(&p->log, APPLOG_OUT, p->out, 100), -1);
    applog_finish(&p->log);
    p->in = open("/dev/null", O_WRONLY | O_CLOEXEC);
    cleanup_free char *after = messages(p->path);
    assert_non_null(strstr(after, "|begin end|ours|no newline|"));
}

static void nul_bytes_are_kept(void **state)
{
    struct place *p = *state;
    begin(p, 1 << 20);
    app_writes(p, "a\0b\n", 4);
    cleanup_free char *text = messages(p->path);
    assert_string_equal(text, "a\\u0000b|");
}

static void long_lines_are_split_between_characters(void **state)
{
    struct place *p = *state;
    enum { LEN = 40001 };
    begin(p, 1 << 20);
    cleanup_free char *line = xmalloc(LEN + 1);
    line[0] = 'x'; /* so that the cut at 16 KiB falls into a character */
    for (int i = 1; i < LEN; i += 2)
        memcpy(line + i, "\xc3\xa4", 2);
    line[LEN] = '\n';
    app_writes(p, line, LEN + 1);
    cleanup_free char *text = messages(p->path);
    assert_null(strstr(text, "\xEF\xBF\xBD"));
    int pieces = 0;
    size_t bytes = 0;
    for (char *c = text; *c != '\0'; c++) {
        pieces += *c == '|';
        bytes += *c != '|';
    }
    assert_int_equal(pieces, 3);
    assert_int_equal(bytes, LEN);
}

static off_t size_of(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 ? st.st_size : 0;
}

/* Whatever the lines look like, both files stay within the budget and hold whole lines. */
static void the_bound_holds(void **state)
{
    struct place *p = *state;
    enum { BUDGET = 64 << 10 };
    begin(p, BUDGET);
    char line[9000];
    unsigned seed = 7;
    for (int i = 0; i < 400; i++) {
        seed = seed * 1103515245 + 12345;
        size_t len = (seed >> 8) % (sizeof line - 1);
        memset(line, i % 3 == 0 ? 0x01 : 'a' + i % 26, len);
        line[len] = '\n';
        app_writes(p, line, len + 1);
        assert_true(size_of(p->path) + size_of(p->old_path) <= BUDGET);
    }
    assert_true(size_of(p->old_path) > 0);
    cleanup_free char *now = messages(p->path), *old = messages(p->old_path);
    assert_true(strlen(now) + strlen(old) > 0);
    assert_int_equal(p->log.dropped, 0);
}

static void it_goes_on_where_another_run_ended(void **state)
{
    struct place *p = *state;
    begin(p, 1 << 20);
    app_writes(p, "first\n", 6);
    applog_finish(&p->log);
    begin(p, 1 << 20);
    app_writes(p, "second\n", 7);
    cleanup_free char *text = messages(p->path);
    assert_string_equal(text, "first|second|");
}

static void a_smaller_budget_is_kept_soon(void **state)
{
    struct place *p = *state;
    begin(p, 1 << 20);
    cleanup_free char *lines = xmalloc(100000);
    for (int i = 0; i < 100000; i++)
        lines[i] = i % 100 == 99 ? '\n' : 'x';
    app_writes(p, lines, 100000);
    applog_finish(&p->log);
    begin(p, 16 << 10);
    app_writes(p, "small\n", 6);
    assert_true(size_of(p->path) + size_of(p->old_path) <= 16 << 10);
}

/* The folder is a file: nothing can be written, so all is dropped and counted, until it can. */
static void what_cannot_be_written_is_counted(void **state)
{
    struct place *p = *state;
    char folder[96];
    struct error err = ERROR_INIT;
    snprintf(folder, sizeof folder, "%s/a", p->root);
    assert_int_equal(durable_write(AT_FDCWD, folder, 0600, "", 0, NULL), 0);
    assert_int_equal(applog_init(&p->log, p->path, 1 << 20, "we\"b", &err), -1);
    assert_int_equal(err.class, ERROR_IO);
    app_writes(p, "1\n2\n3\n", 6);
    assert_int_equal(p->log.dropped, 3);
    assert_int_equal(unlink(folder), 0);
    snprintf(folder, sizeof folder, "%s/a/b", p->root);
    assert_int_equal(make_folders(AT_FDCWD, folder, 0700, NULL), 0);
    app_writes(p, "4\n", 2);
    cleanup_free char *text = messages(p->path);
    assert_string_equal(text, "sluice: 3 log lines were dropped here: Not a directory|4|");
    assert_int_equal(p->log.dropped, 3);
}

static void a_link_is_not_followed(void **state)
{
    struct place *p = *state;
    char victim[96];
    begin(p, 1 << 20);
    applog_finish(&p->log);
    snprintf(victim, sizeof victim, "%s/victim", p->root);
    assert_int_equal(unlink(p->path), 0);
    assert_int_equal(symlink(victim, p->path), 0);
    assert_int_equal(applog_init(&p->log, p->path, 1 << 20, "w", NULL), -1);
    app_writes(p, "x\n", 2);
    assert_int_equal(access(victim, F_OK), -1);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(lines_of_all_kinds),
        T(nul_bytes_are_kept),
        T(long_lines_are_split_between_characters),
        T(the_bound_holds),
        T(it_goes_on_where_another_run_ended),
        T(a_smaller_budget_is_kept_soon),
        T(what_cannot_be_written_is_counted),
        T(a_link_is_not_followed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
