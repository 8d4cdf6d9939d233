#include "spec/reader.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/vec.h"
#include "spec/meant.h"
#include "spec/types.h"

#include <stdio.h>
#include <string.h>

#define KEY(in, type, name, value, member, preset, about)                                          \
    {in, name, &type_##value, offsetof(type, member), 0, preset, about},
#define LIST(in, type, name, value, member, len_member, preset, about)                             \
    {in, name, &type_##value, offsetof(type, member), offsetof(type, len_member), preset, about},
const struct key spec_keys[] = {
#include "spec/keys.def"
};
#undef KEY
#undef LIST
const size_t spec_keys_len = COUNT_OF(spec_keys);

const char *mapping_words(enum mapping mapping)
{
    static const char *const words[MAPPINGS_COUNT] = {"",
#define X(name, text) text,
                                                      MAPPINGS(X)
#undef X
    };
    ASSERT(mapping < MAPPINGS_COUNT);
    return words[mapping];
}

/* ---- saying what is wrong -------------------------------------------------------------------- */

struct spot node_spot(const struct node *n)
{
    return (struct spot){n->line, n->column, n->length};
}

static void report(struct reader *r, bool warning, const struct node *at, const char *hint,
                   const char *fmt, va_list ap)
{
    cleanup_buf struct buf text = BUF_INIT;
    if (r->path.len > 0)
        buf_printf(&text, "`%s`: ", buf_str(&r->path));
    buf_vprintf(&text, fmt, ap);
    report_add(r->diags, warning, node_spot(at), buf_str(&text), hint);
}

void reader_fail(struct reader *r, const struct node *at, const char *hint, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    report(r, false, at, hint, fmt, ap);
    va_end(ap);
}

bool reader_of_file(const struct reader *r)
{
    return r->source->getenv != NULL;
}

size_t reader_errors(const struct reader *r)
{
    size_t errors = 0;
    for (size_t i = 0; i < r->diags->len; i++)
        errors += !r->diags->items[i].warning;
    return errors;
}

void reader_warn(struct reader *r, const struct node *at, const char *hint, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    report(r, true, at, hint, fmt, ap);
    va_end(ap);
}

/* Only what stands in the file is ever shown: what ${} gave may be a secret. */
static void describe(const struct node *n, char *out, size_t size)
{
    switch (n->kind) {
    case NODE_NULL: snprintf(out, size, "nothing"); return;
    case NODE_LIST: snprintf(out, size, "a list"); return;
    case NODE_MAP: snprintf(out, size, "a map"); return;
    case NODE_SCALAR: break;
    }
    size_t len = strcspn(n->text, "\n");
    bool cut = n->text[len] != '\0' || len > 60;
    if (len > 60) {
        len = 60;
        while (len > 0 && ((unsigned char)n->text[len] & 0xC0) == 0x80)
            len--; /* not inside of a character */
    }
    if (n->text[0] == '\0')
        snprintf(out, size, "an empty text");
    else
        snprintf(out, size, "%s`%.*s%s`", strstr(n->text, "${") != NULL ? "what is in " : "",
                 (int)len, n->text, cut ? "..." : "");
}

void reader_expected(struct reader *r, const struct node *at, const char *shape, const char *hint)
{
    char got[160];
    describe(at, got, sizeof got);
    reader_fail(r, at, hint, "expected %s, got %s", shape, got);
}

void reader_expected_word(struct reader *r, const struct node *at, const char *text,
                          const char *const *words)
{
    cleanup_buf struct buf shape = BUF_INIT;
    for (size_t i = 0; words[i] != NULL; i++)
        buf_printf(&shape, "%s`%s`", i == 0 ? "" : words[i + 1] != NULL ? ", " : " or ", words[i]);
    const char *dot = r->path.len > 0 ? strrchr(buf_str(&r->path), '.') : NULL;
    const char *key = dot != NULL ? dot + 1 : buf_str(&r->path);
    const char *near = text != NULL ? meant_word(key, text, words) : NULL;
    cleanup_free char *hint = near != NULL ? xasprintf("did you mean `%s`?", near) : NULL;
    reader_expected(r, at, buf_str(&shape), hint);
}

size_t path_push(struct reader *r, const char *name)
{
    size_t mark = r->path.len;
    if (mark > 0)
        buf_putc(&r->path, '.');
    buf_puts(&r->path, name);
    return mark;
}

void path_pop(struct reader *r, size_t mark)
{
    ASSERT(mark <= r->path.len);
    r->path.len = mark;
    if (r->path.data != NULL)
        r->path.data[mark] = '\0';
}

/* ---- unknown keys ---------------------------------------------------------------------------- */

/* What other tools call it -> what we do. */
static const struct {
    const char *theirs, *ours;
} synonyms[] = {
    {"name", "app"},
    {"command", "run"},
    {"cmd", "run"},
    {"start", "run"},
    {"instances", "replicas"},
    {"scale", "replicas"},
    {"environment", "env"},
    {"healthcheck", "probes"},
    {"health", "probes"},
    {"healthchecks", "probes"},
    {"livenessProbe", "probes"},
    {"readinessProbe", "probes"},
    {"ports", "port"},
    {"env_file", "env-files"},
    {"dotenv", "env-files"},
    {"domains", "routes"},
    {"hosts", "routes"},
    {"hostname", "host"},
    {"domain", "host"},
    {"prefix", "path"},
    {"interval", "period"},
    {"initialDelaySeconds", "delay"},
    {"periodSeconds", "period"},
    {"timeoutSeconds", "timeout"},
    {"failureThreshold", "failures"},
    {"successThreshold", "successes"},
    {"retention", "history"},
    {"keep-releases", "history"},
    {"timeout", "deadline"},
    {"limits", "resources"},
    {"mem", "memory"},
    {"migrate", "release"},
    {"migrations", "release"},
    {"rollback", "on-failure"},
    {"percent", "weight"},
    {"duration", "hold"},
    {"duration", "time"},
    {"consecutive-5xx", "errors"},
    {"max-connections", "in-flight"},
    {"max-requests", "in-flight"},
    {"pause", "hold"},
};

static bool visible(const struct reader *r, const struct key *key)
{
    return !key->type->hidden || !reader_of_file(r);
}

static const struct key *find_key(const struct reader *r, enum mapping in, const char *name)
{
    for (size_t i = 0; i < spec_keys_len; i++)
        if (spec_keys[i].in == in && strcmp(spec_keys[i].name, name) == 0 &&
            visible(r, &spec_keys[i]))
            return &spec_keys[i];
    return NULL;
}

/* The mapping other than `in` where this very key belongs; NULL: none. */
static const char *elsewhere(const struct reader *r, enum mapping in, const char *name)
{
    for (size_t i = 0; i < spec_keys_len; i++)
        if (spec_keys[i].in != in && strcmp(spec_keys[i].name, name) == 0 &&
            visible(r, &spec_keys[i]))
            return mapping_words(spec_keys[i].in);
    return NULL;
}

static char *unknown_key_hint(const struct reader *r, enum mapping in, const char *name)
{
    const char *words[COUNT_OF(spec_keys) + 1];
    size_t n = 0;
    for (size_t i = 0; i < spec_keys_len; i++)
        if (spec_keys[i].in == in && visible(r, &spec_keys[i]))
            words[n++] = spec_keys[i].name;
    words[n] = NULL;
    for (size_t i = 0; i < COUNT_OF(synonyms); i++)
        if (strcmp(synonyms[i].theirs, name) == 0 && find_key(r, in, synonyms[i].ours) != NULL)
            return xasprintf("here it is called `%s`", synonyms[i].ours);
    const char *near = nearest_word(name, words);
    if (near != NULL)
        return xasprintf("did you mean `%s`?", near);
    const char *command = meant_command(name);
    if (command != NULL)
        return xstrdup(command);
    const char *home = elsewhere(r, in, name);
    if (home != NULL)
        return xasprintf("`%s` is a key of %s", name, home);
    cleanup_buf struct buf all = BUF_INIT;
    for (size_t i = 0; i < n; i++)
        buf_printf(&all, "%s%s", i != 0 ? ", " : "", words[i]);
    return xasprintf("known here: %s", buf_str(&all));
}

static void unknown_key(struct reader *r, enum mapping in, const struct node *key)
{
    if (r->diags->len > REPORT_MAX) /* enough was said; looking for words costs time */
        return;
    cleanup_free char *hint = unknown_key_hint(r, in, key->text);
    cleanup_free char *text =
        r->path.len > 0 ? xasprintf("unknown key `%.60s` in `%s`", key->text, buf_str(&r->path))
                        : xasprintf("unknown key `%.60s`", key->text);
    report_add(r->diags, false, node_spot(key), text, hint);
}

/* ---- reading --------------------------------------------------------------------------------- */

/* A default of the table as if it stood in the file, at the place of its mapping. */
static const struct node *preset_node(struct reader *r, const char *preset, const struct node *at)
{
    if (preset[0] == '[') {
        const struct node *n = tree_parse(preset, strlen(preset), r->scratch, r->diags);
        ASSERT(n != NULL);
        return n;
    }
    struct node *n = arena_alloc(r->scratch, sizeof *n);
    *n = (struct node){.kind = NODE_SCALAR, .text = preset, .weight = 1};
    if (strcmp(preset, "{}") == 0)
        n->kind = NODE_MAP;
    n->line = at->line;
    n->column = at->column;
    return n;
}

/* What is expected where a mapping stands: its key says it with an example. */
static const char *mapping_shape(enum mapping in)
{
    for (size_t i = 0; i < spec_keys_len; i++)
        if (spec_keys[i].type->nested == in)
            return spec_keys[i].type->shape;
    return "a map";
}

static void read_value(struct reader *r, const struct key *key, const struct node *value,
                       void *base)
{
    const struct value_type *type = key->type;
    if (value->kind == NODE_NULL && !type->null_is_empty) {
        cleanup_free char *hint = xasprintf("expected %s", type->shape);
        reader_fail(r, value, hint, "has no value");
        return;
    }
    if (type->read != NULL) {
        type->read(r, key, value, base);
        return;
    }
    ASSERT(type->nested != IN_NONE);
    read_mapping(r, type->nested, value, field_at(base, key->offset));
}

void read_mapping(struct reader *r, enum mapping in, const struct node *node, void *base)
{
    if (node->kind != NODE_MAP && node->kind != NODE_NULL) {
        reader_expected(r, node, mapping_shape(in), NULL);
        return;
    }
    for (size_t i = 0; i < node->len; i++)
        if (find_key(r, in, node->pairs[i].key->text) == NULL)
            unknown_key(r, in, node->pairs[i].key);
    for (size_t i = 0; i < spec_keys_len; i++) {
        const struct key *key = &spec_keys[i];
        if (key->in != in)
            continue;
        const struct node *value = tree_get(node, key->name);
        if (value == NULL && key->preset != NULL && !r->partial)
            value = preset_node(r, key->preset, node);
        if (value == NULL || !visible(r, key))
            continue;
        size_t mark = path_push(r, key->name);
        read_value(r, key, value, base);
        path_pop(r, mark);
    }
    if (!r->partial)
        finish_mapping(r, in, node, base);
}

const char *read_text(struct reader *r, const struct key *key, const struct node *node,
                      enum expand_mode mode)
{
    if (node->kind != NODE_SCALAR) {
        reader_expected(r, node, key->type->shape, key->type->hint);
        return NULL;
    }
    return expand(r, node, mode);
}

bool read_items(struct reader *r, const struct key *key, const struct node *node, size_t max,
                const struct node *const **items, size_t *len)
{
    *len = 0;
    if (node->kind == NODE_NULL)
        return true;
    if (node->kind == NODE_MAP) {
        reader_expected(r, node, key->type->shape, key->type->hint);
        return false;
    }
    if (node->kind == NODE_SCALAR) {
        const struct node **one = arena_alloc(r->scratch, sizeof *one);
        one[0] = node;
        *items = one;
        *len = 1;
        return true;
    }
    if (node->len > max) {
        reader_fail(r, node, NULL, "has %zu entries; at most %zu are allowed", node->len, max);
        return false;
    }
    *items = node->items;
    *len = node->len;
    return true;
}

/* ---- writing --------------------------------------------------------------------------------- */

/* Characters that YAML does not take as they are, though JSON does: C1 controls, the byte order
 * mark, the line separators of Unicode, and the two that are none. Gives the code point, else 0. */
static unsigned not_printable(const unsigned char *p)
{
    if (p[0] == 0xC2 && p[1] < 0xA0)
        return p[1];
    if ((p[0] & 0xF0) != 0xE0)
        return 0;
    unsigned c = (p[0] & 0x0Fu) << 12 | (p[1] & 0x3Fu) << 6 | (p[2] & 0x3Fu);
    return c == 0x2028 || c == 0x2029 || c == 0xFEFF || c >= 0xFFFE ? c : 0;
}

void write_string(struct buf *out, const char *text)
{
    buf_putc(out, '"');
    while (*text != '\0') {
        const char *p = text;
        unsigned special = 0;
        while (*p != '\0' && (special = not_printable((const unsigned char *)p)) == 0)
            p++;
        buf_json_escape(out, text, (size_t)(p - text));
        text = p;
        if (special != 0) {
            buf_printf(out, "\\u%04x", special);
            text += special < 0xA0 ? 2 : 3;
        }
    }
    buf_putc(out, '"');
}

bool write_value(const struct key *key, const void *base, struct buf *out)
{
    if (key->type->write != NULL)
        return key->type->write(key, base, out);
    if (key->type->nested == IN_NONE)
        return false; /* folded into another key */
    write_mapping(key->type->nested, const_field_at(base, key->offset), out);
    return true;
}

void write_mapping_with(enum mapping in, const void *base, const char *other, const char *json,
                        struct buf *out)
{
    buf_putc(out, '{');
    bool first = true;
    for (size_t i = 0; i < spec_keys_len; i++) {
        const struct key *key = &spec_keys[i];
        if (key->in != in)
            continue;
        size_t mark = out->len;
        buf_printf(out, "%s\"%s\":", first ? "" : ",", key->name);
        bool written = true;
        if (other != NULL && strcmp(other, key->name) == 0)
            buf_puts(out, json);
        else
            written = write_value(key, base, out);
        if (written)
            first = false;
        else
            out->len = mark;
    }
    out->data[out->len] = '\0';
    buf_putc(out, '}');
}

void write_mapping(enum mapping in, const void *base, struct buf *out)
{
    write_mapping_with(in, base, NULL, NULL, out);
}
