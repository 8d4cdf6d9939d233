/* What the tests of pack share: a folder with a source and a place for releases. */
#ifndef TESTS_UNIT_PACK_GROUND_H
#define TESTS_UNIT_PACK_GROUND_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "pack/pack.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct ground {
    char top[64], source[96], release[96], tmp[96];
};

static inline void sh(const char *format, ...) __attribute__((format(printf, 1, 2)));
static inline void sh(const char *format, ...)
{
    char command[4096];
    va_list ap;
    va_start(ap, format);
    int n = vsnprintf(command, sizeof command, format, ap);
    va_end(ap);
    assert_in_range(n, 1, sizeof command - 1);
    if (system(command) != 0)
        fail_msg("failed: %s", command);
}

static inline int ground_make(void **state)
{
    struct ground *g = xcalloc(1, sizeof *g);
    snprintf(g->top, sizeof g->top, "/tmp/sluice-pack-XXXXXX");
    assert_non_null(mkdtemp(g->top));
    snprintf(g->source, sizeof g->source, "%s/source", g->top);
    snprintf(g->release, sizeof g->release, "%s/1", g->top);
    snprintf(g->tmp, sizeof g->tmp, "%s/1.tmp", g->top);
    assert_int_equal(mkdir(g->source, 0755), 0);
    assert_int_equal(chmod(g->top, 0755), 0);
    *state = g;
    return 0;
}

static inline int ground_remove(void **state)
{
    struct ground *g = *state;
    sh("chmod -R u+rwX %s && rm -rf %s", g->top, g->top);
    free(g);
    return 0;
}

static inline struct pack_spec spec_of(const struct ground *g)
{
    return (struct pack_spec){.source = g->source, .destination = g->release};
}

static inline int pack_with(const struct pack_spec *spec, struct pack_result *result,
                            struct error *err)
{
    struct pack_job *job = pack_start(spec, err);
    assert_non_null(job);
    return pack_finish(job, result, err);
}

static inline struct pack_result must_pack(const struct ground *g)
{
    struct pack_spec spec = spec_of(g);
    struct pack_result result = {.files = 0};
    struct error err = ERROR_INIT;
    if (pack_with(&spec, &result, &err) < 0)
        fail_msg("%s", err.text);
    assert_true(access(g->tmp, F_OK) < 0);
    return result;
}

/* Nothing is left when packing failed. */
static inline void expect_refused(const struct ground *g, const struct pack_spec *spec,
                                  const char *a, const char *b)
{
    struct error err = ERROR_INIT;
    struct pack_result result;
    assert_int_equal(pack_with(spec, &result, &err), -1);
    if (strstr(err.text, a) == NULL || strstr(err.text, b) == NULL)
        fail_msg("\"%s\" does not say \"%s\" and \"%s\"", err.text, a, b);
    assert_int_equal(err.class, ERROR_USAGE);
    assert_true(access(g->release, F_OK) < 0);
    assert_true(access(g->tmp, F_OK) < 0);
}

static inline void must_remove(const char *dir)
{
    struct error err = ERROR_INIT;
    struct pack_job *job = pack_remove_tree(dir, &err);
    assert_non_null(job);
    if (pack_finish(job, NULL, &err) < 0)
        fail_msg("%s", err.text);
    assert_true(access(dir, F_OK) < 0);
}

/* find's list of the release, sorted: "a b c". */
static inline void expect_files(const struct ground *g, const char *expected)
{
    char command[256], found[4096];
    snprintf(command, sizeof command,
             "cd %s && find . -mindepth 1 | cut -c3- | LC_ALL=C sort | tr '\\n' ' '", g->release);
    FILE *f = popen(command, "r");
    size_t n = fread(found, 1, sizeof found - 1, f);
    pclose(f);
    found[n > 0 ? n - 1 : 0] = '\0';
    assert_string_equal(found, expected);
}

static inline mode_t mode_of(const char *folder, const char *name)
{
    char path[512];
    struct stat st;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    assert_int_equal(lstat(path, &st), 0);
    return st.st_mode & 07777;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, ground_make, ground_remove)

#endif
