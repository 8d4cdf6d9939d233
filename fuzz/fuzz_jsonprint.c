/* libFuzzer: any two texts (cut at the first byte 0) with some ignored pointers. The print of a
 * text does not depend on the pieces it comes in, nor on white space around it; where two differ is
 * told within its bounds, and only if they do.
 *
 *   clang -std=gnu11 -D_GNU_SOURCE -g -O1 -fsanitize=fuzzer,address,undefined -iquote src \
 *     fuzz/fuzz_jsonprint.c src/wire/{jsonprint,jsonnumber,digest}.c src/base/[a-z]*.c \
 *     -o build/fuzz_jsonprint
 */
#include "wire/jsonprint.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void require(bool good)
{
    if (!good)
        abort();
}

static bool print(struct jsonprint *j, const struct jsonprint_ignored *ignored, const char *text,
                  size_t len)
{
    struct jsonprint pieces;
    jsonprint_start(j, ignored, 3);
    jsonprint_feed(j, text, len);
    bool good = jsonprint_end(j);
    jsonprint_start(&pieces, ignored, 3);
    jsonprint_feed(&pieces, " ", 1);
    for (size_t i = 0, n; i < len; i += n) {
        n = 1 + (unsigned char)text[i] % 3;
        n = n < len - i ? n : len - i;
        jsonprint_feed(&pieces, text + i, n);
    }
    jsonprint_feed(&pieces, "\n", 1);
    require(jsonprint_end(&pieces) == good && (!good || pieces.value == j->value));
    return good;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static struct jsonprint_ignored ignored[3];
    static struct jsonprint a, b;
    const char *text = (const char *)data, *cut = len > 0 ? memchr(text, 0, len) : NULL;
    char where[JSONPRINT_WHERE];
    require(jsonprint_compile(&ignored[0], "/id") && jsonprint_compile(&ignored[1], "/*/a~1b") &&
            jsonprint_compile(&ignored[2], "/items/*/1"));
    size_t first = cut != NULL ? (size_t)(cut - text) : len;
    bool good = print(&a, ignored, text, first);
    if (cut == NULL || !print(&b, ignored, cut + 1, len - first - 1) || !good)
        return 0;
    if (a.value != b.value) {
        size_t n = jsonprint_where(&a, &b, where);
        require(n <= sizeof where && (n == 0 || where[0] == '/'));
    }
    return 0;
}
