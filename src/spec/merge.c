#include "base/map.h"
#include "spec/tree.h"

#include <string.h>

const struct node *tree_key(const struct node *map, const char *key)
{
    for (size_t i = 0; map != NULL && map->kind == NODE_MAP && i < map->len; i++)
        if (strcmp(map->pairs[i].key->text, key) == 0)
            return map->pairs[i].key;
    return NULL;
}

const struct node *tree_get(const struct node *map, const char *key)
{
    for (size_t i = 0; map != NULL && map->kind == NODE_MAP && i < map->len; i++)
        if (strcmp(map->pairs[i].key->text, key) == 0)
            return map->pairs[i].value;
    return NULL;
}

/* Maps whose keys are the user's own names: there no two keys exclude each other. */
static bool has_own_names(const char *key)
{
    static const char *const maps[] = {"env", "run", "replicas", "header", "cookie", "query"};
    for (size_t i = 0; i < sizeof maps / sizeof maps[0]; i++)
        if (strcmp(key, maps[i]) == 0)
            return true;
    return false;
}

/* The group of keys that exclude each other that this key is in; 0: none. */
static int group_of(const char *key)
{
    static const char *const groups[][6] = {
        {"http", "tcp", "exec"},
        {"rolling", "recreate", "blue-green", "canary", "shadow"},
        {"p50", "p75", "p90", "p95", "p99", "p99.9"},
    };
    for (int g = 0; g < 3; g++)
        for (int i = 0; i < 6 && groups[g][i] != NULL; i++)
            if (strcmp(key, groups[g][i]) == 0)
                return g + 1;
    return 0;
}

static bool displaced(const struct node *over, const char *key)
{
    int group = group_of(key);
    for (size_t i = 0; group != 0 && i < over->len; i++)
        if (group_of(over->pairs[i].key->text) == group)
            return true;
    return false;
}

static const struct node *merge(const struct node *base, const struct node *over, bool own_names,
                                struct arena *arena)
{
    if (base == NULL || base->kind != NODE_MAP || over->kind != NODE_MAP)
        return over;
    struct node *out = arena_alloc(arena, sizeof *out);
    *out = *over;
    out->pairs = arena_alloc(arena, (base->len + over->len) * sizeof *out->pairs);
    out->len = 0;
    struct map of_over = MAP_INIT, of_base = MAP_INIT;
    for (size_t i = 0; i < over->len; i++)
        map_put(&of_over, over->pairs[i].key->text, &over->pairs[i]);
    for (size_t i = 0; i < base->len; i++) {
        const char *key = base->pairs[i].key->text;
        const struct pair *other = map_get(&of_over, key);
        map_put(&of_base, key, &base->pairs[i]);
        if (other != NULL)
            out->pairs[out->len++] =
                (struct pair){other->key, merge(base->pairs[i].value, other->value,
                                                !own_names && has_own_names(key), arena)};
        else if (own_names || !displaced(over, key))
            out->pairs[out->len++] = base->pairs[i];
    }
    for (size_t i = 0; i < over->len; i++)
        if (map_get(&of_base, over->pairs[i].key->text) == NULL)
            out->pairs[out->len++] = over->pairs[i];
    map_release(&of_over);
    map_release(&of_base);
    return out;
}

const struct node *tree_merge(const struct node *base, const struct node *over, struct arena *arena)
{
    return merge(base, over, false, arena);
}
