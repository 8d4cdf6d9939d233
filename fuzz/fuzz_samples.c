/* libFuzzer: the ring of samples as a hostile gateway may have filled it. Whatever is given out is
 * in its ranges and may be shown; and the reading ends.
 *
 *   clang -std=gnu11 -D_GNU_SOURCE -g -O1 -fsanitize=fuzzer,address,undefined -iquote src \
 *     fuzz/fuzz_samples.c src/wire/samples.c src/base/[a-z]*.c -o build/fuzz_samples
 */
#include "wire/http1.h"
#include "wire/metrics.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void require(bool good)
{
    if (!good)
        abort();
}

static void check(const struct sample *s)
{
    require(s->path_len <= SAMPLE_PATH_MAX && strlen(s->path) <= s->path_len);
    for (const char *p = s->path; *p != '\0'; p++)
        require(*p >= 0x20 && *p < 0x7f);
    require(s->where_len <= SAMPLE_WHERE_MAX && strlen(s->where) <= s->where_len);
    for (const char *p = s->where; *p != '\0'; p++)
        require(*p >= 0x20 && *p < 0x7f);
    require((s->fault == SAMPLE_DIFFERS) == (s->part != SAMPLE_NOTHING));
    require(strlen(sample_part_word((enum sample_part)s->part)) > 0);
    require(s->request_slot < METRICS_REQUEST_SLOTS);
    require(s->instance_slot < METRICS_INSTANCE_SLOTS || s->instance_slot == SAMPLE_NO_SLOT);
    require(strlen(sample_fault_word((enum sample_fault)s->fault)) > 0);
    require(strlen(sample_method_word(s->method)) > 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static struct sample_ring ring;
    struct sample s;
    uint64_t seen = 0;
    unsigned given = 0;
    memset((void *)&ring, 0, sizeof ring);
    if (len >= sizeof seen)
        memcpy(&seen, data, sizeof seen);
    memcpy((void *)&ring, data, len < sizeof ring ? len : sizeof ring);
    /* Numbers that fit where the input leaves them out, or hardly any cell would be looked into. */
    uint64_t written = ring.written;
    for (uint64_t n = written - SAMPLES_KEPT + 1; n != written + 1; n++)
        if (ring.cells[n % SAMPLES_KEPT].number % 4 != 1)
            ring.cells[n % SAMPLES_KEPT].number = n;
    seen -= seen % 2 != 0 ? SAMPLES_KEPT / 2 : 1000;
    while (samples_next(&ring, &seen, &s)) {
        check(&s);
        require(++given <= SAMPLES_KEPT);
    }
    return 0;
}
