/* A typed growing array: `struct { struct foo *items; size_t len, cap; } foos = {0};`
 * vec_push() returns a pointer to a new zeroed last element; pointers into it die with the next
 * push. */
#ifndef SLUICE_BASE_VEC_H
#define SLUICE_BASE_VEC_H

#include "base/alloc.h"

#include <string.h>

#define vec_push(v)                                                                                \
    ((v)->len == (v)->cap                                                                          \
         ? (void)((v)->cap = (v)->cap != 0 ? (v)->cap * 2 : 8,                                     \
                  (v)->items = xrealloc((v)->items, (v)->cap, sizeof *(v)->items))                 \
         : (void)0,                                                                                \
     memset(&(v)->items[(v)->len], 0, sizeof *(v)->items), &(v)->items[(v)->len++])

/* Removes element i, keeping the order of the others. */
#define vec_remove(v, i)                                                                           \
    (memmove(&(v)->items[i], &(v)->items[(i) + 1], ((v)->len - (i)-1) * sizeof *(v)->items),       \
     (v)->len--)

/* Frees the array (not what its elements own) and makes it empty. */
#define vec_release(v) (free((v)->items), (v)->items = NULL, (v)->len = (v)->cap = 0)

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

#endif
