/* Matches: what a request must have besides host and path. */
#include "base/alloc.h"
#include "base/vec.h"
#include "spec/types.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_METHODS = 8 };

static const char *const kinds[] = {
    [MATCH_HEADER] = "header",
    [MATCH_COOKIE] = "cookie",
    [MATCH_QUERY] = "query",
    [MATCH_METHOD] = "method",
};

const char *match_kind_word(enum match_kind kind)
{
    return kinds[kind];
}

static enum match_kind kind_of(const struct key *key)
{
    size_t i = 0;
    while (strcmp(kinds[i], key->name) != 0)
        i++;
    return (enum match_kind)i;
}

/* ---- names and values ------------------------------------------------------------------------ */

static bool is_token(const char *s) /* RFC 9110 section 5.6.2 */
{
    size_t len = 0;
    for (; s[len] != '\0'; len++)
        if (!isalnum((unsigned char)s[len]) && strchr("!#$%&'*+-.^_`|~", s[len]) == NULL)
            return false;
    return len > 0 && len <= 200;
}

/* Decoded: what stands as %XX in the target may be anything but a control character. */
static bool is_query_text(const char *s)
{
    size_t len = strlen(s);
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)s[i] < 0x20 || s[i] == 0x7F)
            return false;
    return len <= 1000;
}

static bool is_field_value(const char *s, bool cookie)
{
    size_t len = strlen(s);
    if (len > 1000 ||
        (len > 0 && (isspace((unsigned char)s[0]) || isspace((unsigned char)s[len - 1]))))
        return false;
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)s[i] < 0x20 || s[i] == 0x7F ||
            (cookie && strchr(" \",;\\", s[i]) != NULL))
            return false;
    return true;
}

static bool fits_name(enum match_kind kind, const char *name)
{
    if (kind == MATCH_QUERY)
        return *name != '\0' && strlen(name) <= 200 && is_query_text(name);
    return is_token(name);
}

static bool fits_value(enum match_kind kind, const char *value)
{
    return kind == MATCH_QUERY ? is_query_text(value) : is_field_value(value, kind == MATCH_COOKIE);
}

static void add_item(struct reader *r, const struct node *at, struct match_spec *m,
                     struct match_item item)
{
    if (m->len == SPEC_MAX_MATCH)
        reader_fail(r, at, NULL, "more than %d things to match", SPEC_MAX_MATCH);
    else
        m->items[m->len++] = item;
}

/* What other proxies take for a pattern. */
static bool looks_like_pattern(const char *value)
{
    return value[0] == '~' || value[0] == '^' || strcmp(value, "*") == 0 ||
           strstr(value, ".*") != NULL;
}

static void read_match_item(struct reader *r, const struct key *key, const struct pair *pair,
                            struct match_spec *m)
{
    enum match_kind kind = kind_of(key);
    char *name = arena_strdup(r->arena, pair->key->text);
    struct match_item item = {.kind = kind, .name = name};
    for (char *p = name; kind == MATCH_HEADER && *p != '\0'; p++)
        *p = (char)tolower((unsigned char)*p);
    if (!fits_name(kind, name)) {
        reader_fail(r, pair->key, NULL, "this is no name for a %s", key->name);
        return;
    }
    if (pair->value->kind != NODE_NULL) {
        item.value = read_text(r, key, pair->value, EXPAND_VALUE);
        if (item.value == NULL)
            return;
        if (!fits_value(kind, item.value)) {
            reader_fail(r, pair->value, NULL, "no %s has such a value", key->name);
            return;
        }
        if (reader_of_file(r) && looks_like_pattern(pair->value->text))
            reader_warn(r, pair->value, "without a value any will do, but it must be there",
                        "this is no pattern: the value is compared as it stands");
    }
    for (size_t i = 0; i < m->len; i++)
        if (m->items[i].kind == kind && strcmp(m->items[i].name, name) == 0) {
            reader_fail(r, pair->key, "the case of a header's name does not matter",
                        "is given twice");
            return;
        }
    add_item(r, pair->key, m, item);
}

static void read_match_items(struct reader *r, const struct key *key, const struct node *node,
                             void *base)
{
    if (node->kind != NODE_MAP) {
        reader_expected(r, node, key->type->shape, NULL);
        return;
    }
    for (size_t i = 0; i < node->len; i++) {
        size_t mark = path_push(r, node->pairs[i].key->text);
        read_match_item(r, key, &node->pairs[i], base);
        path_pop(r, mark);
    }
}

static bool write_match_items(const struct key *key, const void *base, struct buf *out)
{
    const struct match_spec *m = base;
    bool any = false;
    for (size_t i = 0; i < m->len; i++) {
        if (m->items[i].kind != kind_of(key))
            continue;
        buf_putc(out, any ? ',' : '{');
        any = true;
        write_string(out, m->items[i].name);
        buf_putc(out, ':');
        if (m->items[i].value != NULL)
            write_string(out, m->items[i].value);
        else
            buf_puts(out, "null");
    }
    if (any)
        buf_putc(out, '}');
    return any;
}

/* ---- methods --------------------------------------------------------------------------------- */

/* Case matters (RFC 9110 section 9.1), and all that there are have capitals. */
static const char *read_method(struct reader *r, const struct key *key, const struct node *node)
{
    const char *text = node->kind == NODE_SCALAR ? read_text(r, key, node, EXPAND_VALUE) : NULL;
    if (text == NULL) {
        if (node->kind != NODE_SCALAR)
            reader_expected(r, node, key->type->shape, NULL);
        return NULL;
    }
    bool capitals = is_token(text) && strlen(text) <= 24;
    for (const char *p = text; *p != '\0'; p++)
        capitals = capitals && !islower((unsigned char)*p);
    if (!capitals) {
        char upper[25] = "";
        for (size_t i = 0; is_token(text) && i < strlen(text) && i + 1 < sizeof upper; i++)
            upper[i] = (char)toupper((unsigned char)text[i]);
        bool own = strcmp(text, node->text) == 0 && strlen(text) == strlen(upper);
        cleanup_free char *hint = own ? xasprintf("did you mean `%s`?", upper) : NULL;
        reader_fail(r, node, hint != NULL ? hint : "methods are words in capitals, such as GET",
                    "is no method");
    }
    return capitals ? text : NULL;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void read_match_methods(struct reader *r, const struct key *key, const struct node *node,
                               void *base)
{
    const struct node *const *items;
    const char *words[MAX_METHODS];
    size_t len, known = 0;
    if (!read_items(r, key, node, MAX_METHODS, &items, &len))
        return;
    for (size_t i = 0; i < len; i++) {
        const char *word = read_method(r, key, items[i]);
        if (word != NULL)
            words[known++] = word;
    }
    if (known == 0 || known < len) {
        if (len == 0)
            reader_expected(r, node, key->type->shape, NULL);
        return;
    }
    qsort(words, known, sizeof *words, by_text);
    cleanup_buf struct buf joined = BUF_INIT;
    for (size_t i = 0; i < known; i++)
        if (i == 0 || strcmp(words[i], words[i - 1]) != 0)
            buf_printf(&joined, "%s%s", i == 0 ? "" : " ", words[i]);
    add_item(r, node, base,
             (struct match_item){.kind = MATCH_METHOD,
                                 .name = arena_strdup(r->arena, buf_str(&joined))});
}

static bool write_match_methods(const struct key *key, const void *base, struct buf *out)
{
    const struct match_spec *m = base;
    (void)key;
    for (size_t i = 0; i < m->len; i++) {
        if (m->items[i].kind != MATCH_METHOD)
            continue;
        buf_puts(out, "[\"");
        for (const char *p = m->items[i].name; *p != '\0'; p++)
            if (*p == ' ')
                buf_puts(out, "\",\"");
            else
                buf_putc(out, *p);
        buf_puts(out, "\"]");
        return true;
    }
    return false;
}

/* ---- the mapping ----------------------------------------------------------------------------- */

bool write_match(const struct match_spec *m, struct buf *out)
{
    if (m->len > 0)
        write_mapping(IN_MATCH, m, out);
    return m->len > 0;
}

static bool write_match_field(const struct key *key, const void *base, struct buf *out)
{
    return write_match(const_field_at(base, key->offset), out);
}

const struct value_type type_match_items = {
    .shape = "a map such as {x-beta: \"1\"}", .read = read_match_items, .write = write_match_items};
const struct value_type type_match_methods = {.shape = "a list of methods such as [GET, HEAD]",
                                              .read = read_match_methods,
                                              .write = write_match_methods};
const struct value_type type_match = {.shape = "a map such as {header: {x-beta: \"1\"}}",
                                      .nested = IN_MATCH,
                                      .write = write_match_field,
                                      .null_is_empty = true};
