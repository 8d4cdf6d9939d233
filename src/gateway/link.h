/* An intrusive doubly linked list with a head node; a node that is in no list points to itself. */
#ifndef SLUICE_GATEWAY_LINK_H
#define SLUICE_GATEWAY_LINK_H

#include <stdbool.h>
#include <stddef.h>

struct link {
    struct link *next, *prev;
};

#define link_owner(l, type, member) ((type *)(void *)((char *)(l)-offsetof(type, member)))

static inline void link_init(struct link *l)
{
    l->next = l->prev = l;
}
static inline bool link_alone(const struct link *l)
{
    return l->next == l;
}
static inline void link_remove(struct link *l)
{
    l->prev->next = l->next;
    l->next->prev = l->prev;
    link_init(l);
}
/* The first of a list that is not empty, out of it. */
static inline struct link *link_take(struct link *list)
{
    struct link *l = list->next;
    list->next = l->next;
    l->next->prev = list;
    link_init(l);
    return l;
}
static inline void link_after(struct link *at, struct link *l)
{
    l->next = at->next;
    l->prev = at;
    at->next->prev = l;
    at->next = l;
}
static inline void link_before(struct link *at, struct link *l)
{
    link_after(at->prev, l);
}

#endif
