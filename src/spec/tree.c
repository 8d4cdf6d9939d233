#include "spec/tree.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/map.h"
#include "base/vec.h"
#include "spec/report.h"
#include "spec/scalar.h"

#include <libfyaml.h>
#include <string.h>

/* A list or map whose end was not seen yet. */
struct open_node {
    struct node *node;
    struct {
        const struct node **items;
        size_t len, cap;
    } children; /* of a map: key, value, key, value */
};

struct builder {
    const char *source;
    size_t source_len;
    struct arena *arena;
    struct diagnostics *diags;
    struct open_node stack[TREE_MAX_DEPTH];
    size_t depth;
    struct map anchors; /* name -> the last finished node of that name */
    const struct node *root;
    size_t documents, merged;
    bool failed;
};

static void fail(struct builder *b, struct spot at, const char *text, const char *hint)
{
    report_add(b->diags, false, at, text, hint);
    b->failed = true;
}

static struct spot spot_of(const struct node *n)
{
    return (struct spot){n->line, n->column, n->length};
}

static struct node *new_node(struct builder *b, enum node_kind kind, struct fy_token *token)
{
    struct node *n = arena_alloc(b->arena, sizeof *n);
    n->kind = kind;
    n->weight = 1;
    const struct fy_mark *start = token != NULL ? fy_token_start_mark(token) : NULL;
    const struct fy_mark *end = token != NULL ? fy_token_end_mark(token) : NULL;
    if (start != NULL) {
        n->line = (uint32_t)start->line + 1;
        n->column = (uint32_t)start->column + 1;
        if (end != NULL && end->line == start->line && end->column > start->column)
            n->length = (uint32_t)(end->column - start->column);
    }
    return n;
}

static bool is_null_word(const char *text)
{
    return *text == '\0' || strcmp(text, "~") == 0 || strcmp(text, "null") == 0 ||
           strcmp(text, "Null") == 0 || strcmp(text, "NULL") == 0;
}

/* The text of a scalar; NULL where the parser cannot give it. */
static char *token_text(struct builder *b, struct fy_token *token, size_t *len)
{
    const struct fy_mark *start = fy_token_start_mark(token), *end = fy_token_end_mark(token);
    enum fy_scalar_style style = fy_token_scalar_style(token);
    bool in_quotes = style == FYSS_SINGLE_QUOTED || style == FYSS_DOUBLE_QUOTED;
    if (!in_quotes || start == NULL || end == NULL) {
        const char *text = fy_token_get_text(token, len);
        return text != NULL ? arena_strndup(b->arena, text, *len) : NULL;
    }
    ASSERT(start->input_pos <= end->input_pos && end->input_pos <= b->source_len);
    cleanup_buf struct buf out = BUF_INIT;
    scalar_unquote(b->source + start->input_pos, end->input_pos - start->input_pos,
                   style == FYSS_DOUBLE_QUOTED, &out);
    *len = out.len;
    return arena_strndup(b->arena, buf_str(&out), out.len);
}

static struct node *scalar_node(struct builder *b, struct fy_token *token)
{
    struct node *n = new_node(b, NODE_SCALAR, token);
    size_t len = 0;
    char *text = token_text(b, token, &len);
    n->text = text != NULL ? text : "";
    if (text == NULL)
        fail(b, spot_of(n), "this text cannot be read", NULL);
    enum fy_scalar_style style = fy_token_scalar_style(token);
    n->quoted = style != FYSS_PLAIN && style != FYSS_ANY;
    if (style == FYSS_SINGLE_QUOTED || style == FYSS_DOUBLE_QUOTED) {
        n->column -= n->column > 1; /* the mark is behind the quote */
        n->length += n->length != 0 ? 2 : 0;
    }
    if (utf8_valid_prefix(n->text, len) == len) {
        if (!n->quoted && is_null_word(n->text))
            n->kind = NODE_NULL;
    } else if (style == FYSS_LITERAL || style == FYSS_FOLDED) {
        /* libfyaml 0.7.12 miscounts blocks with lines indented deeper behind empty ones. */
        fail(b, spot_of(n), "this block of text cannot be read", "write it in double quotes");
    } else {
        fail(b, spot_of(n), "this text holds a NUL or bytes that are not UTF-8", NULL);
    }
    return n;
}

/* ---- closing a map: keys are words, no two alike, << merged ---------------------------------- */

static void add_pair(struct node *map, struct map *seen, const struct node *key,
                     const struct node *value)
{
    map->pairs[map->len] = (struct pair){key, value};
    map_put(seen, key->text, &map->pairs[map->len]);
    map->len++;
}

/* What `source` has and `map` not is added: what stands in the map itself wins over what is merged.
 */
static void merge_in(struct builder *b, struct node *map, struct map *seen,
                     const struct node *source)
{
    for (size_t i = 0; i < source->len; i++)
        if (map_get(seen, source->pairs[i].key->text) == NULL)
            add_pair(map, seen, source->pairs[i].key, source->pairs[i].value);
    b->merged += source->len;
}

static size_t merge_size(const struct node *value)
{
    if (value->kind == NODE_MAP)
        return value->len;
    size_t n = 0;
    for (size_t i = 0; value->kind == NODE_LIST && i < value->len; i++)
        n += value->items[i]->kind == NODE_MAP ? value->items[i]->len : 0;
    return n;
}

static void merge_value(struct builder *b, struct node *map, struct map *seen,
                        const struct node *value)
{
    static const char hint[] = "write `<<: *name`, where &name marks a map";
    if (value->kind == NODE_MAP) {
        merge_in(b, map, seen, value);
        return;
    }
    if (value->kind != NODE_LIST) {
        fail(b, spot_of(value), "`<<` merges a map or a list of maps", hint);
        return;
    }
    for (size_t i = 0; i < value->len; i++) {
        if (value->items[i]->kind == NODE_MAP)
            merge_in(b, map, seen, value->items[i]);
        else
            fail(b, spot_of(value->items[i]), "`<<` merges a map or a list of maps", hint);
    }
}

static bool is_merge_key(const struct node *key)
{
    return key->kind == NODE_SCALAR && !key->quoted && strcmp(key->text, "<<") == 0;
}

static bool key_is_word(struct builder *b, const struct node *key)
{
    if (key->kind == NODE_SCALAR)
        return true;
    fail(b, spot_of(key),
         key->kind == NODE_NULL ? "a key is missing in front of the colon" : "a key must be a word",
         key->kind == NODE_NULL ? NULL : "text that starts with { or [ needs quotes");
    return false;
}

static void close_map(struct builder *b, struct node *map, const struct node **kids, size_t n)
{
    size_t room = n / 2;
    for (size_t i = 0; i + 1 < n; i += 2)
        if (is_merge_key(kids[i]))
            room += merge_size(kids[i + 1]);
    if (b->merged + room > TREE_MAX_NODES) {
        fail(b, spot_of(map), "the merge keys of this file make too much of it", NULL);
        return;
    }
    map->pairs = arena_alloc(b->arena, room * sizeof *map->pairs);
    struct map seen = MAP_INIT;
    for (size_t i = 0; i + 1 < n; i += 2) {
        const struct node *key = kids[i];
        if (!key_is_word(b, key) || is_merge_key(key))
            continue;
        const struct pair *first = map_get(&seen, key->text);
        if (first != NULL) {
            cleanup_free char *text = xasprintf("`%.60s` is given twice", key->text);
            cleanup_free char *hint = xasprintf("it stands in line %u already", first->key->line);
            fail(b, spot_of(key), text, hint);
            continue;
        }
        add_pair(map, &seen, key, kids[i + 1]);
    }
    for (size_t i = 0; i + 1 < n; i += 2)
        if (is_merge_key(kids[i]))
            merge_value(b, map, &seen, kids[i + 1]);
    map_release(&seen);
    if (map->len > 0 && map->length == 0)
        map->length = map->pairs[0].key->length;
}

/* ---- events ---------------------------------------------------------------------------------- */

static void remember_anchor(struct builder *b, struct fy_token *anchor, struct node *node)
{
    if (anchor == NULL)
        return;
    const char *name = fy_token_get_text0(anchor);
    if (name != NULL)
        map_put(&b->anchors, name, node);
}

/* A value that is not there (nothing behind the colon) gets the place of what stands before it. */
static void give_place(const struct builder *b, struct node *n)
{
    if (n->line != 0 || b->depth == 0)
        return;
    const struct open_node *parent = &b->stack[b->depth - 1];
    const struct node *before =
        parent->children.len > 0 ? parent->children.items[parent->children.len - 1] : parent->node;
    n->line = before->line;
    n->column = before->column;
    n->length = before->length;
}

/* Hands a finished node to what it stands in. */
static void attach(struct builder *b, const struct node *node)
{
    if (b->depth == 0) {
        b->root = node;
        return;
    }
    struct open_node *parent = &b->stack[b->depth - 1];
    *vec_push(&parent->children) = node;
    uint32_t weight;
    if (__builtin_add_overflow(parent->node->weight, node->weight, &weight) ||
        weight > TREE_MAX_NODES) {
        if (!b->failed)
            fail(b, spot_of(node), "the file has too many values, those behind aliases counted too",
                 "200000 are allowed; do anchors multiply each other?");
        return;
    }
    parent->node->weight = weight;
}

static void open_collection(struct builder *b, enum node_kind kind, struct fy_token *token,
                            struct fy_token *anchor)
{
    struct node *node = new_node(b, kind, token);
    if (b->depth == TREE_MAX_DEPTH) {
        cleanup_free char *text = xasprintf("nested deeper than %d levels", TREE_MAX_DEPTH);
        fail(b, spot_of(node), text, NULL);
        return;
    }
    b->stack[b->depth++] = (struct open_node){.node = node};
    /* Its anchor is known from its end on: *x inside of &x would be a tree without end. The name is
     * kept by a placeholder until then. */
    if (anchor != NULL) {
        const char *name = fy_token_get_text0(anchor);
        node->text = name != NULL ? arena_strdup(b->arena, name) : NULL;
    }
}

static void close_collection(struct builder *b)
{
    ASSERT(b->depth > 0);
    struct open_node *top = &b->stack[--b->depth];
    struct node *node = top->node;
    if (node->text != NULL)
        map_put(&b->anchors, node->text, node);
    node->text = NULL;
    if (node->kind == NODE_MAP) {
        close_map(b, node, top->children.items, top->children.len);
    } else {
        node->len = top->children.len;
        node->items = arena_alloc(b->arena, node->len * sizeof *node->items);
        for (size_t i = 0; i < node->len; i++)
            node->items[i] = top->children.items[i];
    }
    vec_release(&top->children);
    attach(b, node);
}

static void alias(struct builder *b, struct fy_token *token)
{
    const char *name = fy_token_get_text0(token);
    const struct node *target = name != NULL ? map_get(&b->anchors, name) : NULL;
    if (target != NULL) {
        attach(b, target);
        return;
    }
    struct node *here = new_node(b, NODE_NULL, token);
    here->column -= here->column > 1; /* the mark is behind the star */
    here->length++;
    cleanup_free char *text = xasprintf("there is no anchor `&%.60s` above", name ? name : "");
    fail(b, spot_of(here), text, "text that starts with * needs quotes");
}

static void document_start(struct builder *b, struct fy_token *token)
{
    if (++b->documents == 1)
        return;
    struct node *here = new_node(b, NODE_NULL, token);
    here->length = 3;
    fail(b, spot_of(here), "a second document starts here; a sluice.yaml is one document",
         "remove the `---`, or put the other app into a folder of its own");
}

static void on_event(struct builder *b, struct fy_event *e)
{
    struct node *n;
    switch (e->type) {
    case FYET_DOCUMENT_START: document_start(b, e->document_start.document_start); break;
    case FYET_SCALAR:
        n = scalar_node(b, e->scalar.value);
        give_place(b, n);
        remember_anchor(b, e->scalar.anchor, n);
        attach(b, n);
        break;
    case FYET_SEQUENCE_START:
        open_collection(b, NODE_LIST, e->sequence_start.sequence_start, e->sequence_start.anchor);
        break;
    case FYET_MAPPING_START:
        open_collection(b, NODE_MAP, e->mapping_start.mapping_start, e->mapping_start.anchor);
        break;
    case FYET_SEQUENCE_END:
    case FYET_MAPPING_END: close_collection(b); break;
    case FYET_ALIAS: alias(b, e->alias.anchor); break;
    default: break;
    }
}

/* ---- what is wrong with text that is no YAML ------------------------------------------------- */

/* The parser's words, where they say too little -> what to do. */
static const struct {
    const char *part, *text, *hint;
} explained[] = {
    {"multiline plain key",
     "the next line is indented as if it went on with this, but looks like a key",
     "check the indentation of the next line"},
    {"invalid mapping in plain multiline",
     "this line is indented neither like its neighbours nor below one",
     "keys of one map start in the same column"},
    {"nested block mapping on the same line", "a second `key: value` on the same line",
     "put quotes around text that holds a colon and a space"},
    {"without closing quote", "this quote is never closed", NULL},
    {"cannot start with", "text cannot start with this character", "put it in quotes"},
    {"without a closing bracket", "a [ is never closed", NULL},
    {"without a closing brace", "a { is never closed", NULL},
    {"missing comma", "a comma or a closing bracket is missing here",
     "inside of [ ] and { }, put quotes around text with braces, such as \"${NAME}\""},
    {"extra closing brace", "a } without its {", NULL},
    {"extra closing bracket", "a ] without its [", NULL},
};

/* The first line from `line` on that is indented with a tab; 0 where there is none. */
static uint32_t tab_line(const char *text, size_t len, uint32_t line, uint32_t *column)
{
    uint32_t now = 1;
    for (size_t i = 0; i < len; now++) {
        const char *end = memchr(text + i, '\n', len - i);
        size_t next = end != NULL ? (size_t)(end - text) + 1 : len;
        size_t j = i;
        while (j < next && text[j] == ' ')
            j++;
        if (now >= line && j < next && text[j] == '\t') {
            *column = (uint32_t)(j - i) + 1;
            return now;
        }
        i = next;
    }
    return 0;
}

/* The innermost [ or { that is open; NULL: none. */
static const struct node *opener(const struct builder *b)
{
    for (size_t i = b->depth; i > 0; i--)
        if (b->stack[i - 1].node->length == 1)
            return b->stack[i - 1].node;
    return NULL;
}

static void syntax_error(struct builder *b, struct fy_diag *diag, const char *text, size_t len)
{
    void *at = NULL;
    const struct fy_diag_error *e = fy_diag_errors_iterate(diag, &at);
    struct spot spot = {1, 1, 1};
    const char *message = "this is not YAML", *hint = NULL;
    if (e != NULL) {
        spot.line = e->line > 0 ? (uint32_t)e->line : 1;
        spot.column = e->column > 0 ? (uint32_t)e->column : 1;
        message = e->msg;
    }
    uint32_t column, tab = tab_line(text, len, spot.line, &column);
    if (tab != 0) {
        fail(b, (struct spot){tab, column, 1}, "a tab in the indentation; YAML wants spaces",
             "two spaces per level");
        return;
    }
    const struct node *open = opener(b);
    if (open != NULL && strstr(message, "without a closing") != NULL)
        spot = spot_of(open); /* says more than the end of the file, where it was missed */
    if (open != NULL && open->line < spot.line && strstr(message, "missing comma") != NULL) {
        cleanup_free char *where =
            xasprintf("what was opened in line %u is not closed yet", open->line);
        fail(b, spot, "a comma or a closing bracket is missing here", where);
        return;
    }
    if (open != NULL && open->line < spot.line &&
        strstr(message, "wrongly indented flow") != NULL) {
        cleanup_free char *what =
            xasprintf("what was opened in line %u is not closed yet", open->line);
        fail(b, spot, what, "close it there, or indent this line if it belongs inside");
        return;
    }
    for (size_t i = 0; i < COUNT_OF(explained); i++)
        if (strstr(message, explained[i].part) != NULL) {
            message = explained[i].text;
            hint = explained[i].hint;
            break;
        }
    fail(b, spot, message, hint);
}

static bool bytes_are_fit(struct builder *b, const char *text, size_t len)
{
    if (len > TREE_MAX_BYTES) {
        cleanup_free char *message = xasprintf("larger than %d KiB", TREE_MAX_BYTES / 1024);
        fail(b, (struct spot){0, 0, 0}, message, "is this the file that was meant?");
        return false;
    }
    size_t good = utf8_valid_prefix(text, len);
    if (good == len)
        return true;
    struct spot spot = {1, 1, 1};
    for (size_t i = 0; i < good; i++) {
        if (text[i] == '\n') {
            spot.line++;
            spot.column = 1;
        } else if (((unsigned char)text[i] & 0xC0) != 0x80) {
            spot.column++;
        }
    }
    fail(b, spot, text[good] == '\0' ? "a NUL byte: this is no text file" : "this is not UTF-8",
         text[good] == '\0' ? NULL : "save the file as UTF-8");
    return false;
}

static void run_parser(struct builder *b, const char *text, size_t len)
{
    struct fy_diag_cfg quiet;
    fy_diag_cfg_default(&quiet);
    quiet.fp = NULL;
    struct fy_diag *diag = fy_diag_create(&quiet);
    struct fy_parse_cfg cfg = {
        .flags = FYPCF_QUIET | FYPCF_COLLECT_DIAG | FYPCF_DEFAULT_VERSION_1_2 | FYPCF_JSON_NONE,
        .diag = diag,
    };
    struct fy_parser *parser = diag != NULL ? fy_parser_create(&cfg) : NULL;
    if (parser == NULL || fy_parser_set_string(parser, text, len) != 0) {
        fail(b, (struct spot){0, 0, 0}, "the YAML parser could not be started", NULL);
    } else {
        fy_diag_set_collect_errors(diag, true);
        struct fy_event *e;
        bool ended = false;
        while (!b->failed && (e = fy_parser_parse(parser)) != NULL) {
            ended = e->type == FYET_STREAM_END;
            on_event(b, e);
            fy_parser_event_free(parser, e);
        }
        if (!b->failed && (!ended || fy_parser_get_stream_error(parser)))
            syntax_error(b, diag, text, len);
    }
    if (parser != NULL)
        fy_parser_destroy(parser);
    if (diag != NULL)
        fy_diag_destroy(diag);
}

const struct node *tree_parse(const char *text, size_t len, struct arena *arena,
                              struct diagnostics *diags)
{
    struct builder b = {.source = text, .source_len = len, .arena = arena, .diags = diags};
    if (bytes_are_fit(&b, text, len))
        run_parser(&b, text, len);
    while (b.depth > 0) {
        b.depth--;
        vec_release(&b.stack[b.depth].children);
    }
    map_release(&b.anchors);
    if (b.failed)
        return NULL;
    return b.root != NULL ? b.root : new_node(&b, NODE_NULL, NULL);
}
