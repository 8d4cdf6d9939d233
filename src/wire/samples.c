#include "wire/samples.h"

#include "base/assert.h"
#include "wire/http1.h"
#include "wire/metrics.h"

#include <string.h>

_Static_assert(sizeof(struct sample) % sizeof(uint64_t) == 0, "a sample is whole words");
_Static_assert(SAMPLE_PATH_MAX <= UINT8_MAX, "its length fits");

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

static bool in_range(struct sample *s)
{
    if (s->fault >= SAMPLE_FAULTS_COUNT || s->method >= HTTP1_METHOD_COUNT ||
        s->path_len > SAMPLE_PATH_MAX || s->request_slot >= METRICS_REQUEST_SLOTS ||
        (s->instance_slot >= METRICS_INSTANCE_SLOTS && s->instance_slot != SAMPLE_NO_SLOT) ||
        s->status < 100 || s->status > 999)
        return false;
    for (uint32_t i = 0; i < s->path_len; i++)
        if (s->path[i] < 0x20 || s->path[i] > 0x7e)
            s->path[i] = '?';
    memset(s->path + s->path_len, 0, sizeof s->path - s->path_len);
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
