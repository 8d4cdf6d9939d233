/* Changes to header fields: {request: {set: {x-tenant: blue}, remove: [x-debug]}}. */
#include "base/alloc.h"
#include "base/field.h"
#include "spec/types.h"

#include <string.h>

static const struct edit_spec *edit_of(const struct edits_spec *edits, enum edit_kind kind,
                                       const char *name)
{
    for (size_t i = 0; i < edits->len; i++)
        if (edits->items[i].kind == kind &&
            field_same_name(edits->items[i].name, strlen(edits->items[i].name), name, strlen(name)))
            return &edits->items[i];
    return NULL;
}

static void add_edit(struct reader *r, const struct node *at, struct edits_spec *edits,
                     struct edit_spec edit)
{
    size_t bytes = strlen(edit.name) + strlen(edit.value);
    if (edit.kind != EDIT_ADD && edit_of(edits, edit.kind, edit.name) != NULL) {
        reader_fail(r, at, "the case of a name does not matter, and `_` counts as `-`",
                    "is given twice");
    } else if (edit.kind == EDIT_SET && edit_of(edits, EDIT_REMOVE, edit.name) != NULL) {
        reader_fail(r, at, "`set` alone replaces whatever was there", "is removed and set");
    } else if (edits->len == SPEC_MAX_EDITS) {
        reader_fail(r, at, NULL, "more than %d changes", SPEC_MAX_EDITS);
    } else if (edits->bytes + bytes > SPEC_MAX_EDIT_BYTES) {
        reader_fail(r, at, NULL, "names and values are longer than %d bytes together",
                    SPEC_MAX_EDIT_BYTES);
    } else {
        if (edits->items == NULL)
            edits->items = arena_alloc(r->arena, SPEC_MAX_EDITS * sizeof *edits->items);
        edits->items[edits->len++] = edit;
        edits->bytes += bytes;
    }
}

static bool name_is_good(struct reader *r, const struct node *at, const char *name)
{
    const char *why = field_not_editable(name);
    if (!field_is_name(name))
        reader_fail(r, at, "letters, digits and `-`, such as x-tenant",
                    "this is no name of a header");
    else if (why != NULL)
        reader_fail(r, at, NULL, "this header cannot be changed: %s", why);
    return field_is_name(name) && why == NULL;
}

static void read_edit_names(struct reader *r, const struct key *key, const struct node *node,
                            void *base)
{
    const struct node *const *items;
    size_t len;
    if (!read_items(r, key, node, SPEC_MAX_EDITS, &items, &len))
        return;
    for (size_t i = 0; i < len; i++) {
        const char *name = read_text(r, key, items[i], EXPAND_VALUE);
        if (name != NULL && name_is_good(r, items[i], name))
            add_edit(r, items[i], base, (struct edit_spec){EDIT_REMOVE, name, ""});
    }
}

static void read_edit_value(struct reader *r, const struct key *key, const struct pair *pair,
                            enum edit_kind kind, struct edits_spec *edits)
{
    const char *name = pair->key->text;
    if (!name_is_good(r, pair->key, name))
        return;
    const char *value = read_text(r, key, pair->value, EXPAND_VALUE);
    if (value == NULL)
        return;
    if (field_is_value(value))
        add_edit(r, pair->key, edits,
                 (struct edit_spec){kind, arena_strdup(r->arena, name), value});
    else
        reader_fail(r, pair->value,
                    "one line without control characters and without blanks around it",
                    "no header has such a value");
}

static void read_edit_map(struct reader *r, const struct key *key, const struct node *node,
                          void *base)
{
    enum edit_kind kind = strcmp(key->name, "set") == 0 ? EDIT_SET : EDIT_ADD;
    if (node->kind != NODE_MAP) {
        reader_expected(r, node, key->type->shape, NULL);
        return;
    }
    for (size_t i = 0; i < node->len; i++) {
        size_t mark = path_push(r, node->pairs[i].key->text);
        read_edit_value(r, key, &node->pairs[i], kind, base);
        path_pop(r, mark);
    }
}

static bool write_edits_of(const struct edits_spec *edits, enum edit_kind kind, struct buf *out)
{
    bool names = kind == EDIT_REMOVE, any = false;
    for (size_t i = 0; i < edits->len; i++) {
        if (edits->items[i].kind != kind)
            continue;
        buf_putc(out, any ? ',' : names ? '[' : '{');
        any = true;
        write_string(out, edits->items[i].name);
        if (names)
            continue;
        buf_putc(out, ':');
        write_string(out, edits->items[i].value);
    }
    if (any)
        buf_putc(out, names ? ']' : '}');
    return any;
}

static bool write_edit_names(const struct key *key, const void *base, struct buf *out)
{
    (void)key;
    return write_edits_of(base, EDIT_REMOVE, out);
}

static bool write_edit_map(const struct key *key, const void *base, struct buf *out)
{
    return write_edits_of(base, strcmp(key->name, "set") == 0 ? EDIT_SET : EDIT_ADD, out);
}

static bool write_edits(const struct key *key, const void *base, struct buf *out)
{
    const struct edits_spec *edits = const_field_at(base, key->offset);
    if (edits->len > 0)
        write_mapping(IN_EDITS, edits, out);
    return edits->len > 0;
}

static bool write_headers(const struct key *key, const void *base, struct buf *out)
{
    const struct headers_spec *headers = const_field_at(base, key->offset);
    bool any = headers->request.len + headers->answer.len > 0;
    if (any)
        write_mapping(IN_HEADERS, headers, out);
    return any;
}

const struct value_type type_headers = {.shape = "a map such as {request: {set: {x-tenant: blue}}}",
                                        .nested = IN_HEADERS,
                                        .write = write_headers,
                                        .null_is_empty = true};
const struct value_type type_edits = {.shape = "a map such as {set: {x-tenant: blue}}",
                                      .nested = IN_EDITS,
                                      .write = write_edits,
                                      .null_is_empty = true};
const struct value_type type_edit_names = {.shape = "a list of names such as [x-debug]",
                                           .read = read_edit_names,
                                           .write = write_edit_names};
const struct value_type type_edit_set = {
    .shape = "a map such as {x-tenant: blue}", .read = read_edit_map, .write = write_edit_map};
const struct value_type type_edit_add = {
    .shape = "a map such as {vary: cookie}", .read = read_edit_map, .write = write_edit_map};
