/* errors: {502: pages/502.html}: pages for the gateway's own answers. */
#include "base/alloc.h"
#include "base/units.h"
#include "base/vec.h"
#include "spec/types.h"

#include <string.h>

/* What the gateway answers itself, of an app that it knows. */
static const uint16_t statuses[] = {413, 429, 431, 502, 503, 504};
static const char *const endings[] = {".html", ".htm", ".txt", ".json"};
_Static_assert(COUNT_OF(statuses) <= SPEC_MAX_ERRORS, "room for all of them");

static uint16_t status_of(struct reader *r, const struct node *at)
{
    uint64_t status = 0;
    if (parse_u64(at->text, 999, &status) < 0)
        status = 0;
    for (size_t i = 0; i < COUNT_OF(statuses); i++)
        if (statuses[i] == status)
            return (uint16_t)status;
    reader_fail(r, at,
                status == 404 ? "404 is for requests that no route matches: they are of no app"
                              : "one of 413, 429, 431, 502, 503, 504",
                "the gateway has no such answer of its own");
    return 0;
}

static const char *path_wrong(const char *path)
{
    size_t len = strlen(path);
    if (len == 0 || len > 1000 || path[0] == '/')
        return "must be a file, seen from the release's folder";
    for (const char *p = path;;) {
        size_t n = strcspn(p, "/");
        if (n == 0 || (n <= 2 && strspn(p, ".") >= n))
            return "holds an empty, a . or a .. part";
        p += n;
        if (*p++ == '\0')
            break;
    }
    for (size_t i = 0; i < COUNT_OF(endings); i++) {
        size_t n = strlen(endings[i]);
        if (len > n && strcmp(path + len - n, endings[i]) == 0)
            return NULL;
    }
    return "ends in none of .html, .htm, .txt, .json: its type is not known";
}

static void insert(struct app_spec *spec, struct error_page page)
{
    size_t i = spec->errors_len++;
    for (; i > 0 && spec->errors[i - 1].status > page.status; i--)
        spec->errors[i] = spec->errors[i - 1];
    spec->errors[i] = page;
}

static void read_error_pages(struct reader *r, const struct key *key, const struct node *node,
                             void *base)
{
    struct app_spec *spec = base;
    if (node->kind != NODE_MAP) {
        reader_expected(r, node, key->type->shape, NULL);
        return;
    }
    spec->errors_len = 0;
    for (size_t i = 0; i < node->len; i++) {
        const struct pair *pair = &node->pairs[i];
        size_t mark = path_push(r, pair->key->text);
        uint16_t status = status_of(r, pair->key);
        const char *path = status != 0 ? read_text(r, key, pair->value, EXPAND_VALUE) : NULL;
        const char *wrong = path != NULL ? path_wrong(path) : NULL;
        if (wrong != NULL)
            reader_fail(r, pair->value, "for example pages/502.html", "%s", wrong);
        else if (path != NULL && spec->errors_len < SPEC_MAX_ERRORS)
            insert(spec, (struct error_page){status, path});
        path_pop(r, mark);
    }
}

static bool write_error_pages(const struct key *key, const void *base, struct buf *out)
{
    const struct app_spec *spec = base;
    (void)key;
    for (size_t i = 0; i < spec->errors_len; i++) {
        buf_printf(out, "%s\"%u\":", i == 0 ? "{" : ",", spec->errors[i].status);
        write_string(out, spec->errors[i].path);
    }
    if (spec->errors_len > 0)
        buf_putc(out, '}');
    return spec->errors_len > 0;
}

const struct value_type type_error_pages = {.shape = "a map such as {502: pages/502.html}",
                                            .read = read_error_pages,
                                            .write = write_error_pages,
                                            .null_is_empty = true};
