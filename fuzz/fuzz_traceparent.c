/* libFuzzer: traceparent, and the access log's rings as a hostile gateway may have filled them.
 * What is taken for a traceparent is written back as one that is taken again; a reader gets bytes
 * of the ring and no others, and ends. */
#include "wire/accessring.h"
#include "wire/traceparent.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void require(bool good)
{
    if (!good)
        abort();
}

static void check_traceparent(const char *text, size_t len)
{
    struct traceparent t, again;
    char out[TRACEPARENT_LEN];
    if (!traceparent_parse(text, len, &t))
        return;
    traceparent_write(&t, out);
    require(traceparent_parse(out, sizeof out, &again) && again.sampled == t.sampled &&
            memcmp(t.trace, again.trace, sizeof t.trace) == 0 &&
            memcmp(t.span, again.span, sizeof t.span) == 0);
}

static void check_ring(const uint8_t *data, size_t len)
{
    static struct access_ring ring;
    struct iovec parts[2];
    uint64_t ends[2] = {0, 0};
    memcpy(ends, data, len < sizeof ends ? len : sizeof ends);
    atomic_store(&ring.head, ends[0]);
    atomic_store(&ring.tail, ends[1]);
    size_t got = access_ring_peek(&ring, parts);
    require(got <= ACCESS_RING_BYTES);
    for (int i = 0; got > 0 && i < 2; i++) {
        const char *at = parts[i].iov_base;
        require(at >= ring.data && at + parts[i].iov_len <= ring.data + ACCESS_RING_BYTES);
    }
    access_ring_take(&ring, got);
    require(access_ring_peek(&ring, parts) == 0);
    require(access_ring_put(&ring, "line\n", 5));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    check_traceparent((const char *)data, len);
    check_ring(data, len);
    return 0;
}
