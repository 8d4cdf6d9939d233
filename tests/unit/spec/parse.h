/* For the spec tests: a file from a string, its variables and env-files from tables. */
#ifndef TESTS_UNIT_SPEC_PARSE_H
#define TESTS_UNIT_SPEC_PARSE_H

#include "base/alloc.h"
#include "base/vec.h"
#include "spec/spec.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

struct named {
    const char *name, *text;
};

static const struct named variables[] = {
    {"HOME", "/home/me"},    {"N", "3"},         {"EMPTY", ""}, {"EVIL", "x}\n- a: [b"},
    {"SECRET", "hunter2 !"}, {"LATIN1", "\xe9"}, {"PORT", "9"}, {"TOKEN", "hunter2"},
};
static const struct named files[] = {
    {".env", "# comment\n\nA=1\nexport B = two words  # comment\nC='single ${X} # kept'\n"
             "D=\"line\\nnext \\\"q\\\" \\$ \\x\"\r\nE=\nF=a#b\nG=\"two\nlines\"\nH='x' # c\n"},
    {"second.env", "\xef\xbb\xbf"
                   "B=over\nZ=z\n"},
    {"port.env", "PORT=3000\nSLUICE_APP=x\nOK=1"},
    {"broken.env", "A=1\nno equals sign\n1A=x\nB=\"never closed\nC=1\n"},
    {"tail.env", "A=\"x\" y\nB='z' # fine\n"},
    {"latin1.env", "A=\xe9\n"},
};

static inline const char *lookup(const struct named *table, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(table[i].name, name) == 0)
            return table[i].text;
    return NULL;
}

static inline const char *test_getenv(void *arg, const char *name)
{
    (void)arg;
    return lookup(variables, COUNT_OF(variables), name);
}

static inline int test_read_file(void *arg, const char *path, struct buf *out, struct error *err)
{
    (void)arg;
    const char *text = lookup(files, COUNT_OF(files), path);
    if (text == NULL)
        return error_set(err, ERROR_IO, "%s cannot be read: No such file or directory", path);
    buf_puts(out, text);
    return 0;
}

static inline struct app_spec *parse_in(const char *text, size_t len, const char *environment,
                                        struct diagnostics *diags)
{
    struct spec_source source = {.text = text,
                                 .len = len,
                                 .environment = environment,
                                 .getenv = test_getenv,
                                 .read_file = test_read_file};
    return spec_parse(&source, diags);
}

/* A file that must be good; `rest` follows two lines with app and run. */
static inline struct app_spec *parse_good(const char *rest, const char *environment)
{
    cleanup_free char *text = xasprintf("app: shop\nrun: ./shop\n%s", rest);
    struct diagnostics diags = {0};
    struct app_spec *spec = parse_in(text, strlen(text), environment, &diags);
    if (spec == NULL) {
        cleanup_buf struct buf out = BUF_INIT;
        diagnostics_render(&diags, "sluice.yaml", text, strlen(text), false, &out);
        fail_msg("%s", buf_str(&out));
    }
    diagnostics_release(&diags);
    return spec;
}

static inline struct app_spec *parse_whole(const char *text)
{
    struct diagnostics diags = {0};
    struct app_spec *spec = parse_in(text, strlen(text), NULL, &diags);
    if (spec == NULL) {
        cleanup_buf struct buf out = BUF_INIT;
        diagnostics_render(&diags, "sluice.yaml", text, strlen(text), false, &out);
        fail_msg("%s", buf_str(&out));
    }
    diagnostics_release(&diags);
    return spec;
}

/* A fault that a file must give, and nothing else: "LINE:COLUMN text | hint" each, newline between.
 */
static inline void check_faults(const char *text, size_t len, const char *environment,
                                const char *expected)
{
    struct diagnostics diags = {0};
    struct app_spec *spec = parse_in(text, len, environment, &diags);
    cleanup_buf struct buf got = BUF_INIT;
    for (size_t i = 0; i < diags.len; i++) {
        const struct diagnostic *d = &diags.items[i];
        buf_printf(&got, "%s%u:%u %s%s", i > 0 ? "\n" : "", d->line, d->column,
                   d->warning ? "warning: " : "", d->text);
        if (d->hint != NULL)
            buf_printf(&got, " | %s", d->hint);
    }
    if (strcmp(buf_str(&got), expected) != 0)
        fail_msg("for\n%.*s\nexpected\n%s\ngot\n%s", len > 2000 ? 2000 : (int)len, text, expected,
                 buf_str(&got));
    assert_int_equal(spec == NULL, diagnostics_failed(&diags));
    spec_free(spec);
    diagnostics_release(&diags);
}

struct fault {
    const char *rest; /* from line 3 on */
    const char *expected;
};

static inline void check_fault_table(const struct fault *faults, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        cleanup_free char *text = xasprintf("app: shop\nrun: ./shop\n%s", faults[i].rest);
        check_faults(text, strlen(text), NULL, faults[i].expected);
    }
}

#endif
