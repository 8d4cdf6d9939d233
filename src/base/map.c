#include "base/map.h"

#include "base/alloc.h"
#include "base/assert.h"

#include <stdint.h>
#include <string.h>

/* FNV-1a, 64 bits (draft-eastlake-fnv-17 section 5). Keys come from specs, few and short. */
static size_t hash(const char *key)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (; *key != '\0'; key++)
        h = (h ^ (unsigned char)*key) * 0x100000001b3u;
    return (size_t)(h ^ (h >> 32));
}

static struct map_entry *slot(const struct map *m, const char *key)
{
    size_t i = hash(key) & (m->cap - 1);
    while (m->entries[i].key != NULL && strcmp(m->entries[i].key, key) != 0)
        i = (i + 1) & (m->cap - 1);
    return &m->entries[i];
}

void *map_get(const struct map *m, const char *key)
{
    return m->cap != 0 ? slot(m, key)->value : NULL;
}

static void grow(struct map *m)
{
    struct map old = *m;
    m->cap = old.cap != 0 ? old.cap * 2 : 16;
    m->entries = xcalloc(m->cap, sizeof *m->entries);
    for (size_t i = 0; i < old.cap; i++)
        if (old.entries[i].key != NULL)
            *slot(m, old.entries[i].key) = old.entries[i];
    free(old.entries);
}

void *map_put(struct map *m, const char *key, void *value)
{
    ASSERT(value != NULL);
    if (m->len * 2 >= m->cap)
        grow(m);
    struct map_entry *e = slot(m, key);
    void *old = e->value;
    if (e->key == NULL) {
        e->key = xstrdup(key);
        m->len++;
    }
    e->value = value;
    return old;
}

void *map_remove(struct map *m, const char *key)
{
    if (m->cap == 0)
        return NULL;
    struct map_entry *e = slot(m, key);
    if (e->key == NULL)
        return NULL;
    void *old = e->value;
    free(e->key);
    *e = (struct map_entry){0};
    m->len--;
    /* Close the gap: entries behind it in the same run are put again. */
    for (size_t i = ((size_t)(e - m->entries) + 1) & (m->cap - 1); m->entries[i].key != NULL;
         i = (i + 1) & (m->cap - 1)) {
        struct map_entry moved = m->entries[i];
        m->entries[i] = (struct map_entry){0};
        *slot(m, moved.key) = moved;
    }
    return old;
}

int map_next(const struct map *m, size_t *at, const char **key, void **value)
{
    for (; *at < m->cap; (*at)++) {
        const struct map_entry *e = &m->entries[*at];
        if (e->key == NULL)
            continue;
        if (key != NULL)
            *key = e->key;
        if (value != NULL)
            *value = e->value;
        (*at)++;
        return 1;
    }
    return 0;
}

void map_release(struct map *m)
{
    for (size_t i = 0; i < m->cap; i++)
        free(m->entries[i].key);
    free(m->entries);
    *m = (struct map)MAP_INIT;
}
