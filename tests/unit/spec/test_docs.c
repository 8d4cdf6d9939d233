/* The reference and the examples say what the parser does. Runs in the project's root, as make
 * does. */
#include "parse.h"

#include <glob.h>

static char *read_whole(const char *path)
{
    FILE *f = fopen(path, "re");
    if (f == NULL)
        fail_msg("%s cannot be read", path);
    struct buf text = BUF_INIT;
    char block[4096];
    for (size_t n; (n = fread(block, 1, sizeof block, f)) > 0;)
        buf_append(&text, block, n);
    fclose(f);
    return buf_detach(&text);
}

static void must_check(const char *name, const char *text)
{
    struct diagnostics diags = {0};
    struct app_spec *s = parse_in(text, strlen(text), NULL, &diags);
    if (diags.len > 0) {
        cleanup_buf struct buf out = BUF_INIT;
        diagnostics_render(&diags, name, text, strlen(text), false, &out);
        fail_msg("%s\n%s", text, buf_str(&out));
    }
    spec_free(s);
}

/* The next ```yaml block from *at on, in *block (to be freed); false: none. */
static bool next_block(const char **at, char **block)
{
    static const char fence[] = "```yaml\n";
    const char *start = strstr(*at, fence);
    if (start == NULL)
        return false;
    start += strlen(fence);
    const char *end = strstr(start, "```\n");
    assert_non_null(end);
    *block = xstrndup(start, (size_t)(end - start));
    *at = end + 4;
    return true;
}

static void every_example_of_the_reference_works(void **state)
{
    (void)state;
    cleanup_free char *doc = read_whole("docs/sluice-yaml.md");
    const char *at = doc;
    char *block;
    size_t n = 0;
    for (; next_block(&at, &block); n++) {
        bool is_whole = strncmp(block, "app:", 4) == 0;
        cleanup_free char *text =
            xasprintf("%s%s", is_whole ? "" : "app: shop\nrun: ./shop\n", block);
        free(block);
        must_check("docs/sluice-yaml.md", text);
    }
    assert_true(n >= 15);
}

static void the_example_of_metrics_works(void **state)
{
    (void)state;
    cleanup_free char *doc = read_whole("docs/metrics.md");
    const char *at = doc;
    char *block;
    assert_true(next_block(&at, &block));
    must_check("docs/metrics.md", block);
    free(block);
}

static void every_key_is_in_the_reference(void **state)
{
    (void)state;
    cleanup_free char *doc = read_whole("docs/sluice-yaml.md");
    cleanup_buf struct buf reference = BUF_INIT;
    spec_reference(&reference);
    size_t rows = 0;
    for (char *line = strtok(reference.data, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        if (line[0] != '|')
            continue;
        rows++;
        if (strstr(doc, line) == NULL)
            fail_msg("docs/sluice-yaml.md has no row\n%s", line);
    }
    assert_true(rows > 70);
}

/* A key without an example is a key that nobody finds. */
static void every_key_has_an_example(void **state)
{
    (void)state;
    cleanup_free char *doc = read_whole("docs/sluice-yaml.md");
    cleanup_buf struct buf reference = BUF_INIT, examples = BUF_INIT;
    const char *at = doc;
    for (char *block; next_block(&at, &block); free(block))
        buf_puts(&examples, block);
    spec_reference(&reference);
    for (char *line = strtok(reference.data, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        char key[64];
        if (sscanf(line, "| `%60[^`]`", key) != 1 || strstr(line, "not in this version |") != NULL)
            continue;
        cleanup_free char *written = xasprintf("%s:", key);
        if (strstr(buf_str(&examples), written) == NULL && strcmp(key, "rolling") != 0)
            fail_msg("no example in docs/sluice-yaml.md says `%s`", written);
    }
}

static void every_example_file_works(void **state)
{
    (void)state;
    static const char *const patterns[] = {"examples/*.yaml", "examples/*/sluice.yaml"};
    size_t n = 0;
    for (size_t p = 0; p < COUNT_OF(patterns); p++) {
        glob_t found = {0};
        if (glob(patterns[p], 0, NULL, &found) != 0)
            fail_msg("no file is like %s", patterns[p]);
        for (size_t i = 0; i < found.gl_pathc; i++, n++) {
            cleanup_free char *text = read_whole(found.gl_pathv[i]);
            must_check(found.gl_pathv[i], text);
        }
        globfree(&found);
    }
    assert_true(n >= 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_example_of_the_reference_works),
        cmocka_unit_test(the_example_of_metrics_works),
        cmocka_unit_test(every_key_is_in_the_reference),
        cmocka_unit_test(every_key_has_an_example),
        cmocka_unit_test(every_example_file_works),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
