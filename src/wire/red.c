#include "wire/red.h"

#include "base/assert.h"

#include <string.h>

_Static_assert(sizeof(struct exemplar) % sizeof(uint64_t) == 0, "an exemplar is whole words");
_Static_assert(sizeof(struct exemplar) == 56, "it has no padding");

const char *red_class_word(enum red_class c)
{
    static const char *const words[] = {
#define X(name, word) word,
        RED_CLASSES(X)
#undef X
    };
    ASSERT(c < RED_CLASSES_COUNT);
    return words[c];
}

static uint64_t read_number(const _Atomic uint64_t *n)
{
    return atomic_load_explicit((_Atomic uint64_t *)n, memory_order_relaxed);
}

void red_add(struct red *sum, const struct red_slot *slot)
{
    for (int c = 0; c < RED_CLASSES_COUNT; c++) {
        sum->classes[c].us += read_number(&slot->classes[c].us);
        for (int s = 0; s < RED_STEPS; s++)
            sum->classes[c].steps[s] += read_number(&slot->classes[c].steps[s]);
    }
}

static uint32_t place(uint32_t slot, uint32_t class, uint32_t step)
{
    uint64_t key = ((uint64_t)slot * RED_CLASSES_COUNT + class) * RED_STEPS + step;
    return (uint32_t)((key * UINT64_C(0x9E3779B97F4A7C15)) >> 32) % EXEMPLAR_CELLS;
}

/* As samples_add(): a reader that got a new word cannot find the old number behind it. */
void exemplars_put(struct exemplars *all, const struct exemplar *e)
{
    struct exemplar_cell *cell = &all->cells[place(e->slot, e->class, e->step)];
    uint64_t words[EXEMPLAR_WORDS];
    uint64_t n = atomic_load_explicit(&cell->number, memory_order_relaxed);
    memcpy(words, e, sizeof words);
    atomic_store_explicit(&cell->number, n + 1, memory_order_relaxed);
    for (unsigned i = 0; i < EXEMPLAR_WORDS; i++)
        atomic_store_explicit(&cell->words[i], words[i], memory_order_release);
    atomic_store_explicit(&cell->number, n + 2, memory_order_release);
}

static bool is_hex(const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (!((s[i] >= '0' && s[i] <= '9') || (s[i] >= 'a' && s[i] <= 'f')))
            return false;
    return true;
}

bool exemplars_get(const struct exemplars *all, uint32_t slot, enum red_class class, uint32_t step,
                   struct exemplar *out)
{
    struct exemplar_cell *cell = (struct exemplar_cell *)&all->cells[place(slot, class, step)];
    uint64_t words[EXEMPLAR_WORDS];
    uint64_t n = atomic_load_explicit(&cell->number, memory_order_acquire);
    if (n == 0 || n % 2 != 0)
        return false;
    for (unsigned i = 0; i < EXEMPLAR_WORDS; i++)
        words[i] = atomic_load_explicit(&cell->words[i], memory_order_acquire);
    if (atomic_load_explicit(&cell->number, memory_order_relaxed) != n)
        return false;
    memcpy(out, words, sizeof *out);
    return out->slot == slot && out->class == class && out->step == step &&
           red_step(out->us) == step && is_hex(out->trace, sizeof out->trace);
}
