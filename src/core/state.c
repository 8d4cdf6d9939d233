/* The state: its memory, its pools. */
#include "base/assert.h"
#include "core/core_internal.h"

#include <string.h>

void app_state_init(struct app_state *s)
{
    memset(s, 0, sizeof *s);
    s->next_pool = 1;
}

void app_state_release(struct app_state *s)
{
    struct arena a = {s->memory};
    arena_release(&a);
    memset(s, 0, sizeof *s);
}

void app_state_copy(struct app_state *to, const struct app_state *from)
{
    *to = *from;
    to->memory = NULL;
    to->rollout.plan = (struct plan){NULL, 0};
    plan_store(to, &from->rollout.plan);
}

void plan_store(struct app_state *s, const struct plan *plan)
{
    struct arena a = ARENA_INIT, old = {s->memory};
    struct plan copy = {NULL, plan->len};
    if (plan->len > 0) {
        struct step *steps = arena_alloc(&a, plan->len * sizeof *steps);
        memcpy(steps, plan->steps, plan->len * sizeof *steps);
        copy.steps = steps;
    }
    s->rollout.plan = copy;
    s->memory = a.head;
    arena_release(&old);
}

size_t pool_index(const struct app_state *s, uint32_t id)
{
    size_t i = 0;
    while (i < CORE_MAX_POOLS && (id == 0 || s->pools[i].id != id))
        i++;
    return i;
}

const struct pool_state *app_pool(const struct app_state *s, uint32_t id)
{
    size_t i = pool_index(s, id);
    return i < CORE_MAX_POOLS ? &s->pools[i] : NULL;
}

struct pool_state *pool_of(struct app_state *s, uint32_t id)
{
    size_t i = pool_index(s, id);
    return i < CORE_MAX_POOLS ? &s->pools[i] : NULL;
}

bool pool_is_left_over(const struct app_state *s, const struct pool_state *p)
{
    return p->id != 0 && p->id != s->stable && p->id != s->candidate && p->keep_until_ms == 0;
}

struct pool_state *pool_left_over(struct app_state *s)
{
    struct pool_state *best = NULL;
    for (size_t i = 0; i < CORE_MAX_POOLS; i++) {
        struct pool_state *p = &s->pools[i];
        if (!pool_is_left_over(s, p))
            continue;
        if (best == NULL || p->weight_ppm > best->weight_ppm ||
            (p->weight_ppm == best->weight_ppm && p->id > best->id))
            best = p;
    }
    return best;
}

bool pools_give_all(struct app_state *s, const struct pool_state *to)
{
    bool changed = false;
    for (size_t i = 0; i < CORE_MAX_POOLS; i++) {
        uint32_t weight = &s->pools[i] == to ? WHOLE_PPM : 0;
        changed = changed || s->pools[i].weight_ppm != weight;
        s->pools[i].weight_ppm = weight;
    }
    return changed;
}

/* Cuts between characters, so that the text stays UTF-8. */
void reason_set(struct reason *r, enum reason_code code, const char *text)
{
    size_t len = strlen(text);
    if (len >= sizeof r->text) {
        len = sizeof r->text - 1;
        while (len > 0 && ((unsigned char)text[len] & 0xc0) == 0x80)
            len--;
    }
    char copy[REASON_TEXT_MAX];
    memcpy(copy, text, len); /* text may be r->text itself */
    copy[len] = 0;
    memset(r, 0, sizeof *r);
    r->code = code;
    memcpy(r->text, copy, len + 1);
}
