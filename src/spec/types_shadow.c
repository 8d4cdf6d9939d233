/* `strategy: shadow`: which requests are copied to the candidate, and what of its answers has to be
 * as stable's. */
#include "base/alloc.h"
#include "base/vec.h"
#include "spec/types.h"

#include <ctype.h>
#include <string.h>

enum { POINTER_MAX = 250, NAME_MAX_BYTES = 200 };

/* ---- methods --------------------------------------------------------------------------------- */

/* X(method, word, safe): RFC 9110 section 9.2.1 says which are safe. */
#define COPIED_METHODS(X)                                                                          \
    X(COPY_GET, "GET", true)                                                                       \
    X(COPY_HEAD, "HEAD", true)                                                                     \
    X(COPY_OPTIONS, "OPTIONS", true)                                                               \
    X(COPY_POST, "POST", false)                                                                    \
    X(COPY_PUT, "PUT", false)                                                                      \
    X(COPY_PATCH, "PATCH", false)                                                                  \
    X(COPY_DELETE, "DELETE", false)

static const struct {
    uint32_t bit;
    const char *word;
    bool safe;
} methods[] = {
#define X(method, word, safe) {method, word, safe},
    COPIED_METHODS(X)
#undef X
};
static const char *const method_words[] = {
#define X(method, word, safe) word,
    COPIED_METHODS(X)
#undef X
        NULL};

static void read_copied_methods(struct reader *r, const struct key *key, const struct node *node,
                                void *base)
{
    uint32_t *out = field_at(base, key->offset), found = 0;
    const struct node *const *items;
    size_t len;
    if (!read_items(r, key, node, COUNT_OF(methods), &items, &len))
        return;
    if (len == 0)
        reader_expected(r, node, key->type->shape, NULL);
    for (size_t i = 0; i < len; i++) {
        const char *word =
            items[i]->kind == NODE_SCALAR ? read_text(r, key, items[i], EXPAND_VALUE) : NULL;
        size_t m = 0;
        while (word != NULL && m < COUNT_OF(methods) && strcmp(methods[m].word, word) != 0)
            m++;
        if (word == NULL && items[i]->kind != NODE_SCALAR)
            reader_expected(r, items[i], key->type->shape, NULL);
        if (word == NULL)
            continue;
        if (m == COUNT_OF(methods)) {
            reader_expected_word(r, items[i], word, method_words);
            continue;
        }
        found |= methods[m].bit;
        if (!methods[m].safe && !r->partial)
            reader_warn(r, items[i],
                        "the new release can tell a copy by its `Sluice-Mirror` field; else leave "
                        "the method out",
                        "what a copied %s does, it does twice: orders, mails, payments",
                        methods[m].word);
    }
    *out = found;
}

static bool write_copied_methods(const struct key *key, const void *base, struct buf *out)
{
    uint32_t bits = *(const uint32_t *)const_field_at(base, key->offset);
    char before = '[';
    for (size_t i = 0; i < COUNT_OF(methods); i++)
        if ((bits & methods[i].bit) != 0) {
            buf_printf(out, "%c\"%s\"", before, methods[i].word);
            before = ',';
        }
    buf_putc(out, ']');
    return true;
}

const struct value_type type_copied_methods = {.shape = "a list of methods such as [GET, HEAD]",
                                               .read = read_copied_methods,
                                               .write = write_copied_methods,
                                               .words = method_words};

/* ---- share, body ----------------------------------------------------------------------------- */

static void read_copied_share(struct reader *r, const struct key *key, const struct node *node,
                              void *base)
{
    uint32_t *share = field_at(base, key->offset);
    size_t faults = r->diags->len;
    type_share.read(r, key, node, base);
    if (r->diags->len == faults && *share == 0 && node->kind == NODE_SCALAR &&
        strchr(node->text, '$') == NULL)
        reader_expected(r, node, key->type->shape, NULL);
}

static bool write_copied_share(const struct key *key, const void *base, struct buf *out)
{
    return type_share.write(key, base, out);
}

const struct value_type type_copied_share = {.shape = "a percentage above 0% and up to 100%",
                                             .read = read_copied_share,
                                             .write = write_copied_share};

static void read_compared_body(struct reader *r, const struct key *key, const struct node *node,
                               void *base)
{
    const char *text = read_text(r, key, node, EXPAND_VALUE);
    for (int i = 0; text != NULL && key->type->words[i] != NULL; i++)
        if (strcmp(text, key->type->words[i]) == 0) {
            ((struct compare_spec *)base)->body = (enum compared_body)i;
            return;
        }
    if (text != NULL)
        reader_expected_word(r, node, text, key->type->words);
}

static bool write_compared_body(const struct key *key, const void *base, struct buf *out)
{
    return write_quoted_word(out, key->type->words[((const struct compare_spec *)base)->body]);
}

static const char *const body_words[] = {
    [COMPARED_JSON] = "json", [COMPARED_EXACT] = "exact", [COMPARED_NOTHING] = "none", NULL};
const struct value_type type_compared_body = {.shape = "`json`, `exact` or `none`",
                                              .read = read_compared_body,
                                              .write = write_compared_body,
                                              .words = body_words};

/* ---- lists of header names and of JSON pointers ---------------------------------------------- */

static bool is_field_name(const char *s) /* RFC 9110 section 5.1 */
{
    size_t len = 0;
    for (; s[len] != '\0'; len++)
        if (!isalnum((unsigned char)s[len]) && strchr("!#$%&'*+-.^_`|~", s[len]) == NULL)
            return false;
    return len > 0 && len <= NAME_MAX_BYTES;
}

/* RFC 6901, but for the pointer to the whole document. */
static bool is_pointer(const char *s)
{
    size_t len = strlen(s);
    if (s[0] != '/' || len > POINTER_MAX)
        return false;
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)s[i] < 0x20 || s[i] == 0x7F ||
            (s[i] == '~' && s[i + 1] != '0' && s[i + 1] != '1'))
            return false;
    return true;
}

static bool has_text(const char *const *items, size_t len, const char *text)
{
    for (size_t i = 0; i < len; i++)
        if (strcmp(items[i], text) == 0)
            return true;
    return false;
}

/* Texts of which each is `good`; of headers the case does not matter. */
static void read_texts(struct reader *r, const struct key *key, const struct node *node, void *base,
                       bool (*good)(const char *text), bool lower)
{
    const struct node *const *items;
    size_t len, kept = 0;
    if (!read_items(r, key, node, key->type->max, &items, &len))
        return;
    const char **texts = arena_alloc(r->arena, (len + 1) * sizeof *texts);
    for (size_t i = 0; i < len; i++) {
        const char *text =
            items[i]->kind == NODE_SCALAR ? read_text(r, key, items[i], EXPAND_VALUE) : NULL;
        if (text == NULL && items[i]->kind == NODE_SCALAR)
            continue;
        if (text == NULL || !good(text)) {
            reader_expected(r, items[i], key->type->shape, key->type->hint);
            continue;
        }
        char *own = arena_strdup(r->arena, text);
        for (char *p = own; lower && *p != '\0'; p++)
            *p = (char)tolower((unsigned char)*p);
        if (!has_text(texts, kept, own))
            texts[kept++] = own;
    }
    *(const char *const **)field_at(base, key->offset) = texts;
    *(size_t *)field_at(base, key->len_offset) = kept;
}

static bool write_texts(const struct key *key, const void *base, struct buf *out)
{
    const char *const *texts = *(const char *const *const *)const_field_at(base, key->offset);
    size_t len = *(const size_t *)const_field_at(base, key->len_offset);
    buf_putc(out, '[');
    for (size_t i = 0; i < len; i++) {
        buf_puts(out, i > 0 ? "," : "");
        write_string(out, texts[i]);
    }
    buf_putc(out, ']');
    return true;
}

static void read_compared_headers(struct reader *r, const struct key *key, const struct node *node,
                                  void *base)
{
    read_texts(r, key, node, base, is_field_name, true);
}

static void read_ignored(struct reader *r, const struct key *key, const struct node *node,
                         void *base)
{
    read_texts(r, key, node, base, is_pointer, false);
}

const struct value_type type_compared_headers = {
    .shape = "a list of header names such as [content-type, location]",
    .read = read_compared_headers,
    .write = write_texts,
    .null_is_empty = true,
    .max = SPEC_MAX_COMPARED};
const struct value_type type_ignored = {
    .shape = "a list of JSON pointers such as [/generated_at, /items/*/etag]",
    .read = read_ignored,
    .write = write_texts,
    .null_is_empty = true,
    .max = SPEC_MAX_IGNORED,
    .hint = "a pointer begins with `/`; `*` is any member or element (RFC 6901: ~1 is a `/`, ~0 a "
            "`~`)"};
const struct value_type type_compared = {.shape =
                                             "a map such as {body: json, ignore: [/generated_at]}",
                                         .nested = IN_COMPARE,
                                         .null_is_empty = true};

/* ---- the whole ------------------------------------------------------------------------------- */

void finish_compare(struct reader *r, const struct node *node, const struct compare_spec *c)
{
    const struct node *ignore = tree_key(node, "ignore");
    if (ignore != NULL && c->body != COMPARED_JSON && c->ignored_len > 0)
        reader_fail(r, ignore, "write `body: json`, or leave `ignore` out",
                    "only of bodies that are compared as JSON can parts be left out");
}

/* What it copies are requests. */
void check_shadow(struct reader *r, const struct node *root)
{
    const struct app_spec *spec = r->spec;
    const struct node *routes = tree_get(root, "routes");
    if (spec->strategy.kind != STRATEGY_SHADOW)
        return;
    for (size_t i = 0; i < spec->routes_len; i++) {
        if (spec->routes[i].tcp.listen == NULL)
            continue;
        const struct node *at = routes != NULL && routes->kind == NODE_LIST && i < routes->len
                                    ? routes->items[i]
                                    : root;
        reader_fail(r, at, "`strategy: blue-green` tries a new release out before the switch, too",
                    "`strategy: shadow` copies requests and compares their answers: what comes at "
                    "a TCP route has neither");
        return;
    }
}
