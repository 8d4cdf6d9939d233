/* libFuzzer: whatever the decoder takes, the encoder gives back byte for byte. The checksum is put
 * right first, or nothing but the frame would be tried.
 *
 *   clang -std=gnu11 -D_GNU_SOURCE -g -O1 -fsanitize=fuzzer,address,undefined -iquote src \
 *     fuzz/fuzz_snapshot.c src/wire/{snapshot,runsocket,http1_chars,jsonprint,jsonnumber,digest}.c
 * \ src/base/[a-z]*.c -o build/fuzz_snapshot
 */
#include "wire/snapshot.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static uint32_t crc32c(const uint8_t *p, size_t len)
{
    uint32_t crc = 0xffffffff;
    for (size_t i = 0; i < len; i++) {
        crc ^= p[i];
        for (int k = 0; k < 8; k++)
            crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82f63b78 : 0);
    }
    return ~crc;
}

static void put_u32(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> (8 * i));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    snapshot_free(snapshot_decode(data, len, NULL));
    if (len < 16)
        return 0;
    uint8_t *copy = malloc(len);
    if (copy == NULL)
        return 0;
    memcpy(copy, data, len);
    memcpy(copy, "SLSN", 4);
    put_u32(copy + 4, SNAPSHOT_FORMAT);
    put_u32(copy + 8, (uint32_t)len);
    put_u32(copy + 12, crc32c(copy + 16, len - 16));
    struct snapshot *s = snapshot_decode(copy, len, NULL);
    if (s != NULL) {
        struct buf again = BUF_INIT;
        snapshot_encode(s, &again);
        if (again.len != len || memcmp(again.data, copy, len) != 0)
            abort();
        buf_release(&again);
    }
    snapshot_free(s);
    free(copy);
    return 0;
}
