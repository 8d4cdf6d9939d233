#include "wire/digest.h"

#include <string.h>

/* The mixing of MurmurHash3 (Appleby), eight bytes at a time: two texts that differ in one word
 * only never meet. */
static uint64_t rotate(uint64_t x, int by)
{
    return (x << by) | (x >> (64 - by));
}

static uint64_t take(uint64_t h, uint64_t word)
{
    word *= UINT64_C(0x87c37b91114253d5);
    word = rotate(word, 31) * UINT64_C(0x4cf5ad432745937f);
    return rotate(h ^ word, 27) * 5 + 0x52dce729;
}

static uint64_t finish(uint64_t h)
{
    h = (h ^ (h >> 33)) * UINT64_C(0xff51afd7ed558ccd);
    h = (h ^ (h >> 33)) * UINT64_C(0xc4ceb9fe1a85ec53);
    return h ^ (h >> 33);
}

static void add_byte(struct digest *d, unsigned char byte)
{
    d->word |= (uint64_t)byte << (8 * (d->len % 8));
    if (++d->len % 8 == 0) {
        d->h = take(d->h, d->word);
        d->word = 0;
    }
}

void digest_add(struct digest *d, const void *data, size_t len)
{
    const unsigned char *p = data;
    for (; len > 0 && d->len % 8 != 0; len--)
        add_byte(d, *p++);
    for (; len >= 8; len -= 8, p += 8) {
        uint64_t word;
        memcpy(&word, p, sizeof word);
        d->h = take(d->h, word);
        d->len += 8;
    }
    for (; len > 0; len--)
        add_byte(d, *p++);
}

uint64_t digest_of(const struct digest *d)
{
    return finish(take(d->h, d->word) ^ d->len);
}

uint64_t digest_join(uint64_t a, uint64_t b)
{
    return finish(take(take(UINT64_C(0x9e3779b97f4a7c15), a), b));
}
