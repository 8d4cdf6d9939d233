#include "spec/spec.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/vec.h"
#include "spec/reader.h"

#include <stdio.h>
#include <string.h>

static void whole_file_error(struct diagnostics *diags, const char *hint, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
static void whole_file_error(struct diagnostics *diags, const char *hint, const char *fmt, ...)
{
    cleanup_buf struct buf text = BUF_INIT;
    va_list ap;
    va_start(ap, fmt);
    buf_vprintf(&text, fmt, ap);
    va_end(ap);
    report_add(diags, false, (struct spot){0, 0, 0}, buf_str(&text), hint);
}

/* -e NAME where the file names its environments, and NAME is none of them. production is always
 * one: it is what the keys at the top say when nothing is laid over them. */
static void unknown_environment(const struct node *environments, const char *name,
                                struct diagnostics *diags)
{
    const char **words = xcalloc(environments->len + 1, sizeof *words);
    cleanup_buf struct buf known = BUF_INIT;
    for (size_t i = 0; i < environments->len; i++) {
        words[i] = environments->pairs[i].key->text;
        if (i < 20)
            buf_printf(&known, "%s`%.63s`", i > 0 ? ", " : "", words[i]);
    }
    const char *near = nearest_word(name, words);
    cleanup_free char *hint = near != NULL ? xasprintf("did you mean `%s`?", near) : NULL;
    whole_file_error(diags, hint, "no environment `%.63s`; the file has %s", name, buf_str(&known));
    free(words);
}

/* The effective tree: the chosen environment laid over the keys at the top. */
static const struct node *effective(const struct node *root, const char *environment,
                                    struct arena *scratch, struct diagnostics *diags)
{
    const struct node *environments = tree_get(root, "environments");
    const struct node *chosen = tree_get(environments, environment);
    if (!is_name(environment)) {
        whole_file_error(diags, "lower case letters, digits and dashes",
                         "`%.63s` is no name for an environment", environment);
    } else if (chosen == NULL && environments != NULL && environments->kind == NODE_MAP &&
               environments->len > 0 && strcmp(environment, "production") != 0) {
        unknown_environment(environments, environment, diags);
    }
    return chosen != NULL && chosen->kind == NODE_MAP ? tree_merge(root, chosen, scratch) : root;
}

static void take_env(struct reader *r)
{
    struct env_var *env = arena_alloc(r->arena, r->env.len * sizeof *env);
    for (size_t i = 0; i < r->env.len; i++)
        env[i] = r->env.items[i];
    r->spec->env = r->env.len > 0 ? env : NULL;
    r->spec->env_len = r->env.len;
    vec_release(&r->env);
    map_release(&r->env_index);
}

static void read_root(struct reader *r, const struct node *root)
{
    const char *environment = r->source->environment;
    if (root->kind == NODE_NULL) {
        whole_file_error(r->diags, "`sluice init` writes one", "the file is empty");
        return;
    }
    if (root->kind != NODE_MAP) {
        reader_expected(r, root, "a map of keys, such as `app: shop`", NULL);
        return;
    }
    if (environment == NULL && r->source->getenv == NULL) {
        /* The canonical JSON says itself which environment it is for. */
        const struct node *own = tree_get(root, "environment");
        if (own != NULL && own->kind == NODE_SCALAR)
            environment = own->text;
    }
    if (environment == NULL)
        environment = "production";
    root = effective(root, environment, r->scratch, r->diags);
    r->spec->environment = arena_strdup(r->arena, environment);
    read_mapping(r, IN_TOP, root, r->spec);
    r->spec->environment = arena_strdup(r->arena, environment);
    take_env(r);
    check_rules(r, root);
}

struct app_spec *spec_parse(const struct spec_source *source, struct diagnostics *diags)
{
    ASSERT(source->text != NULL || source->len == 0);
    struct arena memory = ARENA_INIT;
    cleanup_arena struct arena scratch = ARENA_INIT;
    size_t before = diags->len;
    const struct node *root =
        tree_parse(source->text != NULL ? source->text : "", source->len, &scratch, diags);
    struct app_spec *spec = arena_alloc(&memory, sizeof *spec);
    struct reader r = {
        .arena = &memory, .scratch = &scratch, .diags = diags, .source = source, .spec = spec};
    if (root != NULL)
        read_root(&r, root);
    buf_release(&r.path);
    vec_release(&r.env);
    map_release(&r.env_index);
    bool failed = false;
    for (size_t i = before; i < diags->len; i++)
        failed |= !diags->items[i].warning;
    report_sort(diags);
    if (failed) {
        arena_release(&memory);
        return NULL;
    }
    spec->memory = memory.head;
    return spec;
}

void spec_free(struct app_spec *spec)
{
    if (spec == NULL)
        return;
    struct arena memory = {spec->memory};
    arena_release(&memory);
}

void spec_to_json(const struct app_spec *spec, struct buf *out)
{
    write_mapping(IN_TOP, spec, out);
}

struct app_spec *spec_with_strategy(const struct app_spec *spec, const char *word,
                                    struct diagnostics *diags)
{
    /* Through the canonical JSON, so that every rule is checked again. The same word keeps what the
     * file says about it. */
    cleanup_buf struct buf json = BUF_INIT, quoted = BUF_INIT;
    write_string(&quoted, word);
    bool same = strcmp(word, strategy_name(spec->strategy.kind)) == 0;
    write_mapping_with(IN_TOP, spec, same ? NULL : "strategy", buf_str(&quoted), &json);
    size_t before = diags->len;
    struct app_spec *out =
        spec_parse(&(struct spec_source){.text = buf_str(&json), .len = json.len}, diags);
    for (size_t i = before; i < diags->len; i++)
        diags->items[i].line = diags->items[i].column = 0;
    return out;
}
