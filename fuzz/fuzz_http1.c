/* The HTTP/1 codec under libFuzzer. The first byte picks: a request, an answer, a body. Beside the
 * sanitizers' findings it checks what the gateway relies on: the answer does not depend on how the
 * bytes were cut, places lie within the head, what is passed on is what was taken. */
#include "wire/http1.h"
#include "wire/url.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
    if (!ok)
        abort();
}

static void check_span(struct http1_span s, size_t len)
{
    check((size_t)s.at + s.len <= len);
}

static void fuzz_head(const char *p, size_t len, bool request)
{
    size_t scanned = 0, again = 0;
    ssize_t end = http1_head_end(p, len, &scanned), stepped = 0;
    for (size_t have = 1; have <= len && stepped == 0; have++)
        stepped = http1_head_end(p, have, &again);
    check(stepped == end);
    if (end <= 0)
        return;
    char *exact = malloc((size_t)end);
    memcpy(exact, p, (size_t)end);
    struct http1_head h;
    enum http1_error e = request ? http1_parse_request(exact, (size_t)end, &h)
                                 : http1_parse_response(exact, (size_t)end, HTTP1_M_GET, &h);
    if (e == HTTP1_OK) {
        check(h.fields_len <= HTTP1_MAX_FIELDS);
        size_t at = h.fields_at;
        for (size_t i = 0; i < h.fields_len; i++) {
            check(h.fields[i].name.at == at && h.fields[i].name.len > 0);
            check_span(h.fields[i].value, (size_t)end);
            at = h.fields[i].line_end;
        }
        check(at + 2 == (size_t)end);
        check_span(h.path, (size_t)end);
        check_span(h.host, (size_t)end);
        check_span(h.authority, (size_t)end);
        size_t n;
        (void)http1_cookie(&h, exact, "id", &n);
        char *out = malloc(h.path.len + 1u);
        ssize_t path = request ? url_normalize_path(exact + h.path.at, h.path.len, out) : 0;
        check(path <= (ssize_t)h.path.len);
        if (path > 0)
            check(out[0] == '/');
        free(out);
    }
    free(exact);
}

static void fuzz_body(const char *p, size_t len, size_t step, bool strip)
{
    char *whole = malloc(len + 1), *pieces = malloc(len + 1);
    memcpy(whole, p, len);
    memcpy(pieces, p, len);
    struct http1_body a, b;
    http1_body_start(&a, HTTP1_BODY_CHUNKED, 0);
    http1_body_start(&b, HTTP1_BODY_CHUNKED, 0);
    a.strip = b.strip = strip;
    size_t keep = 0, kept = 0, at = 0;
    ssize_t n = http1_body_feed(&a, whole, len, &keep), m = 0;
    while (at < len && !b.done && m >= 0) {
        size_t have = len - at < step ? len - at : step, k;
        m = http1_body_feed(&b, pieces + at, have, &k);
        kept += k;
        at += m > 0 ? (size_t)m : 0;
    }
    check((n < 0) == (m < 0));
    if (n >= 0)
        check(kept == keep && at == (size_t)n && a.done == b.done);
    free(whole);
    free(pieces);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2 || size > 20000)
        return 0;
    const char *p = (const char *)data + 2;
    size -= 2;
    switch (data[0] % 4) {
    case 0: fuzz_head(p, size, true); break;
    case 1: fuzz_head(p, size, false); break;
    default: fuzz_body(p, size, data[1] % 17 + 1u, data[0] % 4 == 2); break;
    }
    return 0;
}
