/* libFuzzer: the PROXY protocol's header as it comes, in pieces. What is decided of a beginning
 * holds for all that may follow, no header is longer than it may be, and what is said about nobody
 * is 0.
 *
 *   clang -std=gnu11 -D_GNU_SOURCE -g -O1 -fsanitize=fuzzer,address,undefined -iquote src \
 *     fuzz/fuzz_proxy.c src/wire/proxy.c -o build/fuzz_proxy
 */
#include "wire/proxy.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void require(bool good)
{
    if (!good)
        abort();
}

/* In a block of its own, so that a read behind it is seen. */
static ssize_t parse(const uint8_t *data, size_t len, struct proxy_header *h)
{
    char *copy = malloc(len + 1);
    require(copy != NULL);
    memcpy(copy + 1, data, len); /* not aligned */
    ssize_t n = proxy_parse(copy + 1, len, h);
    free(copy);
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct proxy_header whole, part;
    static const struct proxy_header nobody;
    ssize_t n = parse(data, len, &whole);
    require(n >= -1 && n <= (ssize_t)len && n <= PROXY_MAX);
    require(n != 0 || len < PROXY_MAX);
    if (n <= 0 || whole.local) {
        struct proxy_header rest = whole;
        rest.local = false;
        require(memcmp(&rest, &nobody, sizeof rest) == 0 && whole.local == (n > 0));
    }
    size_t step = len > 256 ? len / 64 : 1;
    for (size_t k = 0; k < len; k += step) {
        ssize_t m = parse(data, k, &part);
        if (n > 0)
            require(k < (size_t)n ? m == 0 : m == n && memcmp(&part, &whole, sizeof part) == 0);
        else if (n == 0)
            require(m == 0);
        else
            require(m <= 0);
    }
    return 0;
}
