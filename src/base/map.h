/* A hash map from strings to pointers; keys are copied, values belong to the caller. */
#ifndef SLUICE_BASE_MAP_H
#define SLUICE_BASE_MAP_H

#include <stddef.h>

struct map_entry {
    char *key; /* NULL: free */
    void *value;
};
struct map {
    struct map_entry *entries;
    size_t len, cap; /* cap is 0 or a power of two */
};

#define MAP_INIT                                                                                   \
    {                                                                                              \
        NULL, 0, 0                                                                                 \
    }

void *map_get(const struct map *m, const char *key);        /* NULL: not there */
void *map_put(struct map *m, const char *key, void *value); /* gives the value replaced, or NULL */
void *map_remove(struct map *m, const char *key);           /* gives the value removed, or NULL */
/* Walks: `for (size_t i = 0; map_next(m, &i, &key, &value);)`. No put or remove meanwhile. */
int map_next(const struct map *m, size_t *at, const char **key, void **value);
void map_release(struct map *m); /* frees the keys and the table */

#endif
