#include "wire/samples.h"

#include "base/assert.h"
#include "wire/http1.h"
#include "wire/metrics.h"

#include <string.h>

_Static_assert(sizeof(struct sample) % sizeof(uint64_t) == 0, "a sample is whole words");
_Static_assert(SAMPLE_PATH_MAX <= UINT8_MAX && SAMPLE_WHERE_MAX <= UINT8_MAX, "lengths fit");

const char *sample_fault_word(enum sample_fault f)
{
    static const char *const words[] = {
#define X(name, word) word,
        SAMPLE_FAULTS(X)
#undef X
    };
    ASSERT(f < SAMPLE_FAULTS_COUNT);
    return words[f];
}

const char *sample_part_word(enum sample_part p)
{
    static const char *const words[] = {
#define X(name, word) word,
        SAMPLE_PARTS(X)
#undef X
    };
    ASSERT(p < SAMPLE_PARTS_COUNT);
    return words[p];
}

const char *sample_method_word(uint8_t method)
{
    static const char *const words[] = {[HTTP1_M_OTHER] = "?",
#define X(name, text, idempotent) [HTTP1_M_##name] = text,
                                        HTTP1_METHODS(X)
#undef X
    };
    ASSERT(method < HTTP1_METHOD_COUNT);
    return words[method];
}

/* ---- writing (gateway)
 * ---------------------------------------------------------------------------- */

void sample_set_path(struct sample *s, const char *path, uint32_t len)
{
    uint32_t n = 0;
    while (n < len && path[n] != '?' && path[n] != '#')
        n++;
    s->path_cut = n > SAMPLE_PATH_MAX;
    s->path_len = (uint8_t)(s->path_cut ? SAMPLE_PATH_MAX : n);
    memcpy(s->path, path, s->path_len);
}

void sample_set_where(struct sample *s, const char *where, size_t len)
{
    s->where_len = (uint8_t)(len < SAMPLE_WHERE_MAX ? len : SAMPLE_WHERE_MAX);
    memcpy(s->where, where, s->where_len);
}

/* The number is 0 while the words change. Each word is stored with release and loaded with acquire:
 * a reader that got a new word cannot find the old number behind it. */
void samples_add(struct sample_ring *r, const struct sample *s)
{
    uint64_t words[SAMPLE_WORDS];
    uint64_t n = atomic_load_explicit(&r->written, memory_order_relaxed) + 1;
    struct sample_cell *cell = &r->cells[n % SAMPLES_KEPT];
    memcpy(words, s, sizeof words);
    atomic_store_explicit(&cell->number, 0, memory_order_relaxed);
    for (unsigned i = 0; i < SAMPLE_WORDS; i++)
        atomic_store_explicit(&cell->words[i], words[i], memory_order_release);
    atomic_store_explicit(&cell->number, n, memory_order_release);
    atomic_store_explicit(&r->written, n, memory_order_release);
}

/* ---- reading (controller)
 * ------------------------------------------------------------------------- */

static bool read_cell(const struct sample_cell *cell, uint64_t number, struct sample *out)
{
    struct sample_cell *c = (struct sample_cell *)cell; /* atomic loads want it without const */
    uint64_t words[SAMPLE_WORDS];
    if (atomic_load_explicit(&c->number, memory_order_acquire) != number)
        return false;
    for (unsigned i = 0; i < SAMPLE_WORDS; i++)
        words[i] = atomic_load_explicit(&c->words[i], memory_order_acquire);
    if (atomic_load_explicit(&c->number, memory_order_relaxed) != number)
        return false;
    /* A byte that is neither 0 nor 1 must not become a bool. */
    unsigned char flag = ((const unsigned char *)words)[offsetof(struct sample, path_cut)];
    ((unsigned char *)words)[offsetof(struct sample, path_cut)] = flag == 1;
    memcpy(out, words, sizeof *out);
    return flag <= 1;
}

/* Its bytes may be shown, and it ends. */
static void tame(char *text, size_t len, size_t size)
{
    for (size_t i = 0; i < len; i++)
        if (text[i] < 0x20 || text[i] > 0x7e)
            text[i] = '?';
    memset(text + len, 0, size - len);
}

static bool differs_in_range(const struct sample *s)
{
    if (s->fault != SAMPLE_DIFFERS)
        return s->copy_status == 0 && s->part == SAMPLE_NOTHING && s->where_len == 0;
    return s->copy_status >= 100 && s->copy_status <= 999 && s->part > SAMPLE_NOTHING &&
           s->part < SAMPLE_PARTS_COUNT && s->where_len <= SAMPLE_WHERE_MAX;
}

static bool in_range(struct sample *s)
{
    if (s->fault >= SAMPLE_FAULTS_COUNT || s->method >= HTTP1_METHOD_COUNT ||
        s->path_len > SAMPLE_PATH_MAX || s->request_slot >= METRICS_REQUEST_SLOTS ||
        (s->instance_slot >= METRICS_INSTANCE_SLOTS && s->instance_slot != SAMPLE_NO_SLOT) ||
        s->status < 100 || s->status > 999 || !differs_in_range(s))
        return false;
    tame(s->path, s->path_len, sizeof s->path);
    tame(s->where, s->where_len, sizeof s->where);
    return true;
}

bool samples_next(const struct sample_ring *r, uint64_t *seen, struct sample *out)
{
    uint64_t written = atomic_load_explicit((_Atomic uint64_t *)&r->written, memory_order_acquire);
    if (written < *seen) /* it cannot: not to be believed, and not to be waited for */
        *seen = written;
    if (written - *seen > SAMPLES_KEPT)
        *seen = written - SAMPLES_KEPT;
    while (*seen < written) {
        uint64_t number = ++*seen;
        if (read_cell(&r->cells[number % SAMPLES_KEPT], number, out) && in_range(out))
            return true;
    }
    return false;
}
