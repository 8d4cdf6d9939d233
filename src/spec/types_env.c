/* env, env-files, and the environments that were not chosen. */
#include "base/alloc.h"
#include "base/vec.h"
#include "spec/types.h"

#include <string.h>

/* ---- env ------------------------------------------------------------------------------------- */

void env_put(struct reader *r, const char *name, const char *value)
{
    size_t at = (size_t)(uintptr_t)map_get(&r->env_index, name);
    if (at == 0) {
        struct env_var *v = vec_push(&r->env);
        v->name = arena_strdup(r->arena, name);
        at = r->env.len;
        map_put(&r->env_index, name, (void *)(uintptr_t)at);
    }
    r->env.items[at - 1].value = value;
}

static void read_variable(struct reader *r, const struct key *key, const struct pair *pair)
{
    const char *name = pair->key->text;
    if (!is_variable_name(name, strlen(name))) {
        reader_fail(r, pair->key, "letters, digits and _, no digit in front",
                    "this is no name for an environment variable");
    } else if (is_instance_variable(name, strlen(name))) {
        reader_fail(r, pair->key, strcmp(name, "PORT") == 0 ? "a fixed one is `port: 8080`" : NULL,
                    "is set by sluice for each instance");
    } else if (pair->value->kind == NODE_NULL) {
        reader_fail(r, pair->value, "write \"\" for an empty one", "has no value");
    } else if (pair->value->kind != NODE_SCALAR) {
        reader_expected(r, pair->value, "a text", NULL);
    } else {
        const char *value = read_text(r, key, pair->value, EXPAND_VALUE);
        if (value != NULL)
            env_put(r, name, value);
    }
}

static void read_env(struct reader *r, const struct key *key, const struct node *node, void *base)
{
    (void)base;
    if (node->kind != NODE_MAP && node->kind != NODE_NULL) {
        reader_expected(r, node, key->type->shape, NULL);
        return;
    }
    if (node->len > MAX_ENV) {
        reader_fail(r, node, NULL, "has %zu variables; at most %d are allowed", node->len, MAX_ENV);
        return;
    }
    for (size_t i = 0; i < node->len; i++) {
        size_t mark = path_push(r, node->pairs[i].key->text);
        read_variable(r, key, &node->pairs[i]);
        path_pop(r, mark);
    }
}

static bool write_env(const struct key *key, const void *base, struct buf *out)
{
    const struct app_spec *spec = base;
    (void)key;
    for (size_t i = 0; i < spec->env_len; i++) {
        buf_printf(out, "%c\"%s\":", i == 0 ? '{' : ',', spec->env[i].name);
        write_string(out, spec->env[i].value);
    }
    if (spec->env_len > 0)
        buf_putc(out, '}');
    return spec->env_len > 0;
}

static void read_env_file(struct reader *r, const struct key *key, const struct node *node)
{
    const char *path = read_text(r, key, node, EXPAND_VALUE);
    if (path == NULL || r->partial)
        return;
    if (*path == '\0') {
        reader_expected(r, node, "the path of a file", NULL);
        return;
    }
    cleanup_buf struct buf text = BUF_INIT;
    struct error err = ERROR_INIT;
    if (r->source->read_file == NULL)
        reader_fail(r, node, NULL, "files are read by the command line only");
    else if (r->source->read_file(r->source->arg, path, &text, &err) < 0)
        reader_fail(r, node, NULL, "%s", err.text);
    else
        read_dotenv(r, node, path, buf_str(&text), text.len);
}

static void read_env_files(struct reader *r, const struct key *key, const struct node *node,
                           void *base)
{
    const struct node *const *items;
    size_t len;
    (void)base;
    if (!read_items(r, key, node, MAX_LIST, &items, &len))
        return;
    for (size_t i = 0; i < len; i++)
        read_env_file(r, key, items[i]);
}

const struct value_type type_env = {.shape = "a map such as {LOG_LEVEL: info}",
                                    .read = read_env,
                                    .write = write_env,
                                    .null_is_empty = true};
const struct value_type type_env_files = {
    .shape = "a list of files such as [.env]", .read = read_env_files, .null_is_empty = true};

/* ---- environments ---------------------------------------------------------------------------- */

/* The chosen environment was merged before; the others are read for their errors, into a spec that
 * is thrown away. */
static void read_environments(struct reader *r, const struct key *key, const struct node *node,
                              void *base)
{
    (void)base;
    bool nested = r->partial || strcmp(buf_str(&r->path), key->name) != 0;
    if (node->kind == NODE_LIST || node->kind == NODE_SCALAR || nested) {
        if (nested)
            reader_fail(r, node, NULL, "an environment has no environments");
        else
            reader_expected(r, node, key->type->shape, NULL);
        return;
    }
    for (size_t i = 0; i < node->len; i++) {
        const struct node *name = node->pairs[i].key;
        if (strcmp(name->text, r->spec->environment) == 0 &&
            node->pairs[i].value->kind != NODE_LIST && node->pairs[i].value->kind != NODE_SCALAR)
            continue; /* the chosen one: it was merged and read with the rest */
        size_t mark = path_push(r, name->text);
        if (!is_name(name->text))
            reader_fail(r, name, "lower case letters, digits and dashes",
                        "this is no name for an environment");
        struct reader part = {.arena = r->scratch,
                              .scratch = r->scratch,
                              .diags = r->diags,
                              .source = r->source,
                              .path = r->path,
                              .partial = true};
        part.spec = arena_alloc(r->scratch, sizeof *part.spec);
        read_mapping(&part, IN_TOP, node->pairs[i].value, part.spec);
        r->path = part.path;
        vec_release(&part.env);
        map_release(&part.env_index);
        path_pop(r, mark);
    }
}

const struct value_type type_environments = {.shape = "a map such as {staging: {replicas: 1}}",
                                             .read = read_environments,
                                             .null_is_empty = true};
