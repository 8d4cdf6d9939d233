/* Where a route's requests go in the end: paths that are changed, and redirects. */
#include "base/alloc.h"
#include "base/vec.h"
#include "spec/types.h"

#include <ctype.h>
#include <string.h>

/* ---- rewrite --------------------------------------------------------------------------------- */

static void read_path(struct reader *r, const struct key *key, const struct node *node, void *base)
{
    const char *text = read_text(r, key, node, EXPAND_VALUE);
    if (text == NULL)
        return;
    const char *hint, *fault = path_fault(text, &hint);
    if (fault == NULL)
        *(const char **)field_at(base, key->offset) = text;
    else
        reader_fail(r, node, hint, "%s", fault);
}

static void read_path_prefix(struct reader *r, const struct key *key, const struct node *node,
                             void *base)
{
    const char **place = field_at(base, key->offset);
    read_path(r, key, node, base);
    if (*place == NULL)
        return;
    char *text = arena_strdup(r->arena, *place);
    size_t len = strlen(text);
    if (text[len - 1] == '/')
        text[len - 1] = '\0';
    *place = text;
    if (len == 1) {
        reader_fail(r, node, "leave it out", "`/` is in front of every path");
        *place = NULL;
    }
}

static bool write_path(const struct key *key, const void *base, struct buf *out)
{
    const char *text = *(const char *const *)const_field_at(base, key->offset);
    if (text != NULL)
        write_string(out, text);
    return text != NULL;
}

static bool write_rewrite(const struct key *key, const void *base, struct buf *out)
{
    const struct rewrite_spec *rewrite = const_field_at(base, key->offset);
    bool any = rewrite->strip_prefix != NULL || rewrite->prefix != NULL || rewrite->path != NULL;
    if (any)
        write_mapping(IN_REWRITE, rewrite, out);
    return any;
}

const struct value_type type_rewrite = {.shape = "a map such as {strip-prefix: /api}",
                                        .nested = IN_REWRITE,
                                        .write = write_rewrite,
                                        .null_is_empty = true};
const struct value_type type_path_prefix = {
    .shape = "a path such as /api", .read = read_path_prefix, .write = write_path};
const struct value_type type_whole_path = {
    .shape = "a path such as /index.html", .read = read_path, .write = write_path};

/* ---- redirect -------------------------------------------------------------------------------- */

/* What is wrong with a target; NULL: nothing. */
static const char *target_fault(const char *to, const char **hint)
{
    *hint = "for example https://shop.example, or a path such as /new";
    const char *rest = to;
    if (strncmp(to, "http://", 7) == 0 || strncmp(to, "https://", 8) == 0) {
        rest = strchr(to, ':') + 3;
        size_t host = strcspn(rest, "/?");
        for (size_t i = 0; i < host; i++)
            if (!isalnum((unsigned char)rest[i]) && strchr("-.:[]", rest[i]) == NULL)
                return "its host holds a character that no host name has";
        if (host == 0)
            return "has no host";
        rest += host;
    } else if (to[0] != '/') {
        return "is neither http://, https:// nor a path";
    } else if (to[1] == '/' || to[1] == '\\') {
        *hint = "browsers would take what follows for a host: write https://";
        return "starts with two slashes";
    }
    for (; *rest != '\0'; rest++)
        if (*rest <= ' ' || *rest >= 0x7F || *rest == '\\' || *rest == '#') {
            *hint = "write other characters in their %XX form";
            return "holds a character that no URL has";
        }
    return strlen(to) > 1000 ? "is longer than 1000 bytes" : NULL;
}

static void read_redirect_to(struct reader *r, const struct key *key, const struct node *node,
                             void *base)
{
    const char *text = read_text(r, key, node, EXPAND_VALUE);
    if (text == NULL)
        return;
    const char *hint, *fault = target_fault(text, &hint);
    if (fault == NULL)
        ((struct redirect_spec *)base)->to = text;
    else
        reader_fail(r, node, hint, "%s", fault);
}

static const char *const status_words[] = {"301", "302", "303", "307", "308", NULL};
static const uint32_t statuses[] = {301, 302, 303, 307, 308};
_Static_assert(COUNT_OF(statuses) + 1 == COUNT_OF(status_words), "one word per status");
static const char *const keep_words[] = {[KEEP_PATH] = "path",
                                         [KEEP_REST] = "rest",
                                         [KEEP_QUERY] = "query",
                                         [KEEP_NOTHING] = "nothing",
                                         NULL};

/* The place of the word; -1: none of them, which was reported. */
static int read_choice(struct reader *r, const struct key *key, const struct node *node)
{
    const char *text = read_text(r, key, node, EXPAND_VALUE);
    if (text == NULL)
        return -1;
    for (int i = 0; key->type->words[i] != NULL; i++)
        if (strcmp(text, key->type->words[i]) == 0)
            return i;
    reader_expected_word(r, node, text, key->type->words);
    return -1;
}

static void read_redirect_status(struct reader *r, const struct key *key, const struct node *node,
                                 void *base)
{
    int i = read_choice(r, key, node);
    if (i >= 0)
        ((struct redirect_spec *)base)->status = statuses[i];
}

static void read_redirect_keep(struct reader *r, const struct key *key, const struct node *node,
                               void *base)
{
    int i = read_choice(r, key, node);
    if (i >= 0)
        ((struct redirect_spec *)base)->keep = (enum redirect_keep)i;
}

static bool write_redirect_status(const struct key *key, const void *base, struct buf *out)
{
    (void)key;
    buf_printf(out, "%u", ((const struct redirect_spec *)base)->status);
    return true;
}

static bool write_redirect_keep(const struct key *key, const void *base, struct buf *out)
{
    (void)key;
    return write_quoted_word(out, keep_words[((const struct redirect_spec *)base)->keep]);
}

static bool write_redirect(const struct key *key, const void *base, struct buf *out)
{
    const struct redirect_spec *redirect = const_field_at(base, key->offset);
    if (redirect->to != NULL)
        write_mapping(IN_REDIRECT, redirect, out);
    return redirect->to != NULL;
}

const struct value_type type_redirect = {.shape = "a map such as {to: \"https://shop.example\"}",
                                         .nested = IN_REDIRECT,
                                         .write = write_redirect};
const struct value_type type_redirect_to = {
    .shape = "a URL or a path", .read = read_redirect_to, .write = write_path};
const struct value_type type_redirect_status = {.shape = "`301`, `302`, `303`, `307` or `308`",
                                                .read = read_redirect_status,
                                                .write = write_redirect_status,
                                                .words = status_words};
const struct value_type type_redirect_keep = {.shape = "`path`, `rest`, `query` or `nothing`",
                                              .read = read_redirect_keep,
                                              .write = write_redirect_keep,
                                              .words = keep_words};

/* ---- what a route must be together ----------------------------------------------------------- */

bool path_under(const char *path, const char *prefix)
{
    size_t len = strlen(prefix);
    if (len > 0 && prefix[len - 1] == '/')
        len--;
    return strncmp(path, prefix, len) == 0 && (path[len] == '/' || path[len] == '\0');
}

static void finish_redirect(struct reader *r, const struct node *node,
                            const struct route_spec *route)
{
    const struct node *redirect = tree_get(node, "redirect");
    const struct redirect_spec *spec = &route->redirect;
    if (redirect == NULL)
        return;
    if (redirect->kind == NODE_MAP && tree_get(redirect, "to") == NULL)
        reader_fail(r, redirect, "for example {to: \"https://shop.example\"}", "`to` is missing");
    if (spec->to != NULL && strchr(spec->to, '?') != NULL && spec->keep != KEEP_NOTHING)
        reader_fail(r, tree_key(redirect, "to"), "write `append: nothing`, or leave the query out",
                    "`to` has a query of its own");
    const struct node *useless = tree_key(node, "headers");
    if (useless == NULL)
        useless = tree_key(node, "rewrite");
    if (useless != NULL)
        reader_fail(r, useless, "remove one of them",
                    "with `redirect`, no request of this route gets to the app");
}

void finish_route(struct reader *r, const struct node *node, const struct route_spec *route)
{
    const struct node *rewrite = tree_get(node, "rewrite");
    const struct rewrite_spec *spec = &route->rewrite;
    finish_redirect(r, node, route);
    if (spec->path != NULL && (spec->strip_prefix != NULL || spec->prefix != NULL))
        reader_fail(r, tree_key(rewrite, "path"), "remove the others",
                    "`path` replaces the whole path: there is no prefix left to change");
    if (spec->strip_prefix != NULL && !path_under(spec->strip_prefix, route->path) &&
        !path_under(route->path, spec->strip_prefix)) {
        cleanup_free char *hint = xasprintf("the route's path is %s", route->path);
        reader_fail(r, tree_key(rewrite, "strip-prefix"), hint,
                    "no path of this route begins with that");
    }
}
