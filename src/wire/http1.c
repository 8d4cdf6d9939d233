#include "wire/http1.h"

#include "wire/http1_chars.h"

#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

static const struct {
    uint16_t status;
    const char *text;
} errors[HTTP1_ERROR_COUNT] = {[HTTP1_OK] = {200, "OK"},
#define X(name, code, words) [HTTP1_E_##name] = {code, words},
                               HTTP1_ERRORS(X)
#undef X
};

unsigned http1_error_status(enum http1_error e)
{
    return e < HTTP1_ERROR_COUNT ? errors[e].status : 500;
}

const char *http1_error_text(enum http1_error e)
{
    return e < HTTP1_ERROR_COUNT ? errors[e].text : "unknown";
}

static const struct {
    const char *text;
    uint8_t len;
    bool idempotent;
} methods[HTTP1_METHOD_COUNT] = {
#define X(name, text, idempotent) [HTTP1_M_##name] = {text, sizeof(text) - 1, idempotent},
    HTTP1_METHODS(X)
#undef X
};

bool http1_idempotent(enum http1_method m)
{
    return m < HTTP1_METHOD_COUNT && methods[m].idempotent;
}

/* ---- the end of a head
 * ------------------------------------------------------------------------------- */

size_t http1_empty_lines(const char *p, size_t len)
{
    return len >= 2 && p[0] == '\r' && p[1] == '\n' ? 2 : 0;
}

ssize_t http1_head_end(const char *p, size_t len, size_t *scanned)
{
    size_t limit = len < HTTP1_MAX_HEAD ? len : HTTP1_MAX_HEAD;
    size_t at = *scanned;
    while (at < limit) {
        const char *lf = memchr(p + at, '\n', limit - at);
        if (lf == NULL)
            break;
        size_t i = (size_t)(lf - p);
        if (i == 0 || p[i - 1] != '\r')
            return -HTTP1_E_BARE_LF;
        /* The line before ended in "\r\n" too (it was checked): "\r\n\r\n". */
        if (i >= 3 && p[i - 2] == '\n')
            return (ssize_t)(i + 1);
        at = i + 1;
    }
    *scanned = at > limit ? at : limit;
    /* A CR as the last byte read may be half of a CRLF: nothing is lost, since only LF is sought.
     */
    if (len >= HTTP1_MAX_HEAD)
        return -HTTP1_E_TOO_LONG;
    return 0;
}

/* ---- field lines
 * ---------------------------------------------------------------------------------------- */

#define NAME_IS(literal, name) (SPAN_IS(p, len, literal) ? name : HTTP1_N_OTHER)

/* As span_is, with '_' taken for '-' (see HTTP1_NAMES). */
static bool loosely(const char *p, size_t len, const char *lower)
{
    for (size_t i = 0; i < len; i++) {
        char c = p[i] == '_' ? '-' : char_lower(p[i]);
        if (c != lower[i])
            return false;
    }
    return true;
}

static enum http1_name name_id(const char *p, size_t len)
{
    switch (len) {
    case 2: return NAME_IS("te", HTTP1_N_TE);
    case 4: return NAME_IS("host", HTTP1_N_HOST);
    case 6:
        if ((p[0] | 0x20) == 'c')
            return NAME_IS("cookie", HTTP1_N_COOKIE);
        return NAME_IS("expect", HTTP1_N_EXPECT);
    case 7: return NAME_IS("upgrade", HTTP1_N_UPGRADE);
    case 9: return NAME_IS("forwarded", HTTP1_N_FORWARDED);
    case 10:
        if ((p[0] | 0x20) == 'c')
            return NAME_IS("connection", HTTP1_N_CONNECTION);
        return NAME_IS("keep-alive", HTTP1_N_KEEP_ALIVE);
    case 11: return loosely(p, len, "client-cert") ? HTTP1_N_CLIENT_CERT : HTTP1_N_OTHER;
    case 13: return loosely(p, len, "sluice-mirror") ? HTTP1_N_SLUICE_MIRROR : HTTP1_N_OTHER;
    case 14:
        if ((p[0] | 0x20) == 'c')
            return NAME_IS("content-length", HTTP1_N_CONTENT_LENGTH);
        return NAME_IS("http2-settings", HTTP1_N_HTTP2_SETTINGS);
    case 15: return loosely(p, len, "x-forwarded-for") ? HTTP1_N_X_FORWARDED_FOR : HTTP1_N_OTHER;
    case 16:
        if ((p[0] | 0x20) == 'p')
            return NAME_IS("proxy-connection", HTTP1_N_PROXY_CONNECTION);
        return loosely(p, len, "x-forwarded-host") ? HTTP1_N_X_FORWARDED_HOST : HTTP1_N_OTHER;
    case 17:
        if ((p[0] | 0x20) == 't')
            return NAME_IS("transfer-encoding", HTTP1_N_TRANSFER_ENCODING);
        if ((p[0] | 0x20) == 'c')
            return loosely(p, len, "client-cert-chain") ? HTTP1_N_CLIENT_CERT_CHAIN : HTTP1_N_OTHER;
        return loosely(p, len, "x-forwarded-proto") ? HTTP1_N_X_FORWARDED_PROTO : HTTP1_N_OTHER;
    default: return HTTP1_N_OTHER;
    }
}

/* The first byte at or behind p that a field value may not have. The head ends in CRLF, so there is
 * one before end. */
static const char *value_end(const char *p, const char *end)
{
#ifdef __SSE2__
    /* Below 0x20 other than HTAB, or 0x7f; bytes from 0x80 are obs-text and allowed. */
    const __m128i low = _mm_set1_epi8(0x1f), del = _mm_set1_epi8(0x7f), tab = _mm_set1_epi8('\t');
    while (end - p >= 16) {
        __m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
        __m128i control = _mm_cmpeq_epi8(_mm_min_epu8(v, low), v);
        control = _mm_andnot_si128(_mm_cmpeq_epi8(v, tab), control);
        int bad = _mm_movemask_epi8(_mm_or_si128(control, _mm_cmpeq_epi8(v, del)));
        if (bad != 0)
            return p + __builtin_ctz((unsigned)bad);
        p += 16;
    }
#endif
    while (p < end && char_is(*p, CHAR_VALUE))
        p++;
    return p;
}

/* RFC 9112 section 5: field-line = field-name ":" OWS field-value OWS CRLF. */
static enum http1_error parse_fields(const char *p, size_t at, size_t most, struct http1_head *h)
{
    const char *s = p + at, *end = p + h->len;
    h->fields_at = (uint16_t)at;
    h->fields_len = 0;
    while (end - s > 2) { /* the last two are the empty line */
        const char *name = s;
        while (char_is(*s, CHAR_TOKEN)) /* stops at the CR at the latest */
            s++;
        if (s == name)
            return *s == ' ' || *s == '\t' ? HTTP1_E_OBS_FOLD : HTTP1_E_FIELD_NAME;
        if (*s != ':')
            return HTTP1_E_FIELD_NAME;
        size_t name_len = (size_t)(s - name);
        s++;
        while (*s == ' ' || *s == '\t')
            s++;
        const char *value = s;
        s = value_end(s, end);
        if (s[0] != '\r' || s[1] != '\n')
            return HTTP1_E_FIELD_VALUE;
        const char *last = s;
        while (last > value && (last[-1] == ' ' || last[-1] == '\t'))
            last--;
        if (h->fields_len == most)
            return HTTP1_E_TOO_MANY_FIELDS;
        s += 2;
        h->fields[h->fields_len++] = (struct http1_field){
            .name = {(uint16_t)(name - p), (uint16_t)name_len},
            .value = {(uint16_t)(value - p), (uint16_t)(last - value)},
            .line_end = (uint16_t)(s - p),
            .id = (uint8_t)name_id(name, name_len),
        };
    }
    return HTTP1_OK;
}

/* ---- what the fields say
 * --------------------------------------------------------------------------------- */

/* Next element of a comma-separated list (RFC 9110 section 5.6.1), white space trimmed. */
static bool list_next(const char **s, const char *end, const char **item, size_t *len)
{
    while (*s < end) {
        const char *comma = memchr(*s, ',', (size_t)(end - *s));
        const char *stop = comma != NULL ? comma : end;
        const char *a = *s, *b = stop;
        *s = comma != NULL ? comma + 1 : end;
        while (a < b && (*a == ' ' || *a == '\t'))
            a++;
        while (b > a && (b[-1] == ' ' || b[-1] == '\t'))
            b--;
        if (a == b)
            continue;
        *item = a;
        *len = (size_t)(b - a);
        return true;
    }
    return false;
}

/* RFC 9110 section 7.6.1: what Connection names ends at this hop. Framing and routing fields are
 * not taken away by it, whatever it names: that would change the meaning of the message. */
static void name_field(struct http1_head *h, const char *p, const char *item, size_t len)
{
    for (size_t i = 0; i < h->fields_len; i++) {
        struct http1_field *f = &h->fields[i];
        if (f->name.len != len || f->id == HTTP1_N_HOST || f->id == HTTP1_N_CONTENT_LENGTH ||
            f->id == HTTP1_N_TRANSFER_ENCODING)
            continue;
        const char *name = http1_at(p, f->name);
        size_t k = 0;
        while (k < len && char_lower(name[k]) == char_lower(item[k]))
            k++;
        if (k == len)
            f->named = true;
    }
}

static void parse_connection(struct http1_head *h, const char *p, const struct http1_field *f,
                             bool *upgrade)
{
    const char *s = http1_at(p, f->value), *end = s + f->value.len, *item;
    size_t len;
    while (list_next(&s, end, &item, &len)) {
        if (SPAN_IS(item, len, "close"))
            h->close = true;
        else if (SPAN_IS(item, len, "keep-alive"))
            h->keep_alive = true;
        else if (SPAN_IS(item, len, "upgrade"))
            *upgrade = true;
        else
            name_field(h, p, item, len);
    }
}

/* RFC 9110 section 8.6: 1*DIGIT, once. Also a repeated equal value is refused. */
static enum http1_error parse_content_length(struct http1_head *h, const char *p,
                                             const struct http1_field *f)
{
    if (f->value.len == 0 || f->value.len > 18)
        return HTTP1_E_CONTENT_LENGTH;
    uint64_t n = 0;
    for (size_t i = 0; i < f->value.len; i++) {
        char c = p[f->value.at + i];
        if (c < '0' || c > '9')
            return HTTP1_E_CONTENT_LENGTH;
        n = n * 10 + (uint64_t)(c - '0');
    }
    h->content_length = n;
    return HTTP1_OK;
}

/* RFC 9112 section 6.1. Only `chunked` alone is taken. */
static enum http1_error parse_transfer_encoding(const char *p, const struct http1_field *f)
{
    const char *s = http1_at(p, f->value), *end = s + f->value.len, *item;
    if (SPAN_IS(s, f->value.len, "chunked"))
        return HTTP1_OK;
    size_t len, n = 0, chunked = 0;
    bool last = false;
    while (list_next(&s, end, &item, &len)) {
        last = SPAN_IS(item, len, "chunked");
        chunked += last;
        n++;
    }
    return n > 1 && last && chunked == 1 ? HTTP1_E_CODING_UNSUPPORTED : HTTP1_E_TRANSFER_ENCODING;
}

static void parse_keep_alive(struct http1_head *h, const char *p, const struct http1_field *f)
{
    const char *s = http1_at(p, f->value), *end = s + f->value.len, *item;
    size_t len;
    while (list_next(&s, end, &item, &len)) {
        if (len < 9 || !SPAN_IS(item, 8, "timeout="))
            continue;
        uint32_t n = 0;
        for (size_t i = 8; i < len && n < 1000000 && item[i] >= '0' && item[i] <= '9'; i++)
            n = n * 10 + (uint32_t)(item[i] - '0');
        h->keep_alive_s = n;
    }
}

struct lengths {
    bool length, encoding, upgrade;
};

/* One pass over the fields that mean something here; both kinds of message. */
static enum http1_error read_fields(struct http1_head *h, const char *p, struct lengths *seen)
{
    const struct http1_field *upgrade = NULL;
    bool asked = false, h2c = false;
    for (size_t i = 0; i < h->fields_len; i++) {
        const struct http1_field *f = &h->fields[i];
        enum http1_error e = HTTP1_OK;
        switch ((enum http1_name)f->id) {
        case HTTP1_N_CONNECTION: parse_connection(h, p, f, &asked); break;
        case HTTP1_N_KEEP_ALIVE: parse_keep_alive(h, p, f); break;
        case HTTP1_N_CONTENT_LENGTH:
            e = seen->length ? HTTP1_E_CONTENT_LENGTH : parse_content_length(h, p, f);
            seen->length = true;
            break;
        case HTTP1_N_TRANSFER_ENCODING:
            e = seen->encoding ? HTTP1_E_TRANSFER_ENCODING : parse_transfer_encoding(p, f);
            seen->encoding = true;
            break;
        case HTTP1_N_UPGRADE:
            /* h2c would let HTTP/2 through a tunnel, past every rule of this proxy. */
            h2c |= upgrade != NULL ||
                   (f->value.len >= 3 && SPAN_IS(http1_at(p, f->value), 3, "h2c")) ||
                   memchr(http1_at(p, f->value), ',', f->value.len) != NULL;
            upgrade = f;
            break;
        default: break;
        }
        if (e != HTTP1_OK)
            return e;
    }
    /* RFC 9112 section 6.3 rule 3: both is an attack more often than not; never forwarded. */
    if (seen->length && seen->encoding)
        return HTTP1_E_BOTH_LENGTHS;
    if (asked && upgrade != NULL && !h2c && upgrade->value.len > 0) {
        h->upgrade = true;
        h->upgrade_to = upgrade->value;
    }
    return HTTP1_OK;
}

/* ---- requests
 * -------------------------------------------------------------------------------------------- */

static void method_of(struct http1_head *h, const char *p)
{
    h->method = HTTP1_M_OTHER;
    for (size_t m = 1; m < HTTP1_METHOD_COUNT; m++)
        if (h->method_text.len == methods[m].len &&
            memcmp(p + h->method_text.at, methods[m].text, methods[m].len) == 0) {
            h->method = (uint8_t)m;
            return;
        }
}

/* RFC 9112 section 2.3. An HTTP/1.2 would be read as 1.1; there is none, so it is refused. */
static enum http1_error parse_version(const char *s, struct http1_head *h)
{
    if (memcmp(s, "HTTP/", 5) != 0 || s[5] < '0' || s[5] > '9' || s[6] != '.' || s[7] < '0' ||
        s[7] > '9')
        return HTTP1_E_VERSION;
    if (s[5] != '1' || s[7] > '1')
        return HTTP1_E_VERSION_UNSUPPORTED;
    h->minor = (uint8_t)(s[7] - '0');
    return HTTP1_OK;
}

/* uri-host [":" port] (RFC 3986 section 3.2.2); no user info, no percent-encoding. */
static bool parse_authority(const char *p, struct http1_span a, struct http1_span *host)
{
    const char *s = p + a.at;
    size_t n = 0;
    if (a.len > HTTP1_MAX_HOST)
        return false;
    if (a.len > 0 && s[0] == '[') {
        for (n = 1; n < a.len && (char_is(s[n], CHAR_HEX) || s[n] == ':' || s[n] == '.'); n++)
            ;
        if (n < 3 || n == a.len || s[n] != ']')
            return false;
        n++;
    } else {
        while (n < a.len && char_is(s[n], CHAR_HOST))
            n++;
        if (n == 0 && a.len > 0)
            return false;
    }
    *host = (struct http1_span){a.at, (uint16_t)n};
    if (n == a.len)
        return true;
    if (s[n++] != ':' || a.len - n > 5)
        return false;
    for (; n < a.len; n++)
        if (s[n] < '0' || s[n] > '9')
            return false;
    return true;
}

/* RFC 9112 section 3.2: origin-form, absolute-form (http, https) or asterisk-form. */
static enum http1_error parse_target(const char *p, struct http1_head *h,
                                     struct http1_span *authority)
{
    const char *s = p + h->target.at;
    size_t len = h->target.len, skip;
    authority->len = 0;
    h->path = h->target;
    if (h->method == HTTP1_M_CONNECT)
        return HTTP1_E_CONNECT_UNSUPPORTED;
    if (s[0] == '/')
        return HTTP1_OK;
    if (len == 1 && s[0] == '*')
        return h->method == HTTP1_M_OPTIONS ? HTTP1_OK : HTTP1_E_TARGET;
    if (len > 7 && SPAN_IS(s, 7, "http://"))
        skip = 7;
    else if (len > 8 && SPAN_IS(s, 8, "https://"))
        skip = 8;
    else
        return HTTP1_E_TARGET;
    size_t end = skip;
    while (end < len && s[end] != '/' && s[end] != '?')
        end++;
    if (end == skip || (end < len && s[end] == '?'))
        return HTTP1_E_TARGET; /* without a path it could not be passed on in origin-form as it is
                                */
    *authority = (struct http1_span){(uint16_t)(h->target.at + skip), (uint16_t)(end - skip)};
    /* An empty path means "/": the caller sees len 0. */
    h->path = (struct http1_span){(uint16_t)(h->target.at + end), (uint16_t)(len - end)};
    return HTTP1_OK;
}

/* RFC 9112 section 3.2: exactly one Host in HTTP/1.1; that of an absolute target must be the same.
 */
static enum http1_error read_host(struct http1_head *h, const char *p, struct http1_span absolute)
{
    bool seen = false;
    for (size_t i = 0; i < h->fields_len; i++) {
        if (h->fields[i].id != HTTP1_N_HOST)
            continue;
        if (seen)
            return HTTP1_E_HOST;
        seen = true;
        h->authority = h->fields[i].value;
    }
    if (!seen && h->minor == 1)
        return HTTP1_E_NO_HOST;
    if (absolute.len > 0) {
        if (seen && (absolute.len != h->authority.len ||
                     memcmp(p + absolute.at, p + h->authority.at, absolute.len) != 0))
            return HTTP1_E_HOST;
        h->authority = absolute;
    }
    h->has_host = seen || absolute.len > 0;
    return parse_authority(p, h->authority, &h->host) ? HTTP1_OK : HTTP1_E_HOST;
}

static enum http1_error parse_request_line(const char *p, struct http1_head *h, size_t *line_end)
{
    const char *s = p;
    while (char_is(*s, CHAR_TOKEN))
        s++;
    h->method_text = (struct http1_span){0, (uint16_t)(s - p)};
    if (s == p || *s != ' ')
        return HTTP1_E_METHOD;
    method_of(h, p);
    const char *target = ++s;
    while (char_is(*s, CHAR_TARGET))
        s++;
    h->target = (struct http1_span){(uint16_t)(target - p), (uint16_t)(s - target)};
    if (s == target || *s != ' ')
        return *s == '\r' && s > target ? HTTP1_E_REQUEST_LINE : HTTP1_E_TARGET;
    s++;
    /* The head ends in CRLFCRLF: a line too short for a version is seen before the bytes run out.
     */
    const char *cr = memchr(s, '\r', (size_t)(p + h->len - s));
    if (cr == NULL || cr - s != 8 || cr[1] != '\n')
        return HTTP1_E_VERSION;
    *line_end = (size_t)(cr + 2 - p);
    return parse_version(s, h);
}

static enum http1_error read_expect(struct http1_head *h, const char *p)
{
    for (size_t i = 0; i < h->fields_len; i++) {
        const struct http1_field *f = &h->fields[i];
        if (f->id != HTTP1_N_EXPECT)
            continue;
        /* RFC 9110 section 10.1.1; an HTTP/1.0 client's is ignored. */
        if (!SPAN_IS(http1_at(p, f->value), f->value.len, "100-continue"))
            return HTTP1_E_EXPECTATION;
        h->expect_continue = h->minor == 1;
    }
    return HTTP1_OK;
}

static enum http1_error parse_request(const char *p, size_t len, size_t most_fields,
                                      struct http1_head *h)
{
    memset(h, 0, offsetof(struct http1_head, fields));
    h->len = (uint16_t)len;
    size_t at;
    struct http1_span absolute = {0};
    struct lengths seen = {0};
    enum http1_error e;
    if ((e = parse_request_line(p, h, &at)) != HTTP1_OK ||
        (e = parse_target(p, h, &absolute)) != HTTP1_OK ||
        (e = parse_fields(p, at, most_fields, h)) != HTTP1_OK ||
        (e = read_host(h, p, absolute)) != HTTP1_OK || (e = read_fields(h, p, &seen)) != HTTP1_OK ||
        (e = read_expect(h, p)) != HTTP1_OK)
        return e;
    /* RFC 9112 section 6.1: HTTP/1.0 has no transfer codings; who sends one is confused or worse.
     */
    if (seen.encoding && h->minor == 0)
        return HTTP1_E_TRANSFER_ENCODING;
    if (seen.encoding)
        h->framing = HTTP1_BODY_CHUNKED;
    else if (h->content_length > 0)
        h->framing = HTTP1_BODY_LENGTH;
    /* RFC 9110 section 7.8: Upgrade is ignored in HTTP/1.0; with a body, too. */
    if (h->minor == 0 || h->framing != HTTP1_BODY_NONE)
        h->upgrade = false;
    return HTTP1_OK;
}

enum http1_error http1_parse_request(const char *p, size_t len, struct http1_head *h)
{
    return len > HTTP1_MAX_HEAD ? HTTP1_E_TOO_LONG : parse_request(p, len, HTTP1_MAX_FIELDS, h);
}

enum http1_error http1_parse_own_request(const char *p, size_t len, struct http1_head *h)
{
    if (len > UINT16_MAX)
        return HTTP1_E_TOO_LONG;
    return parse_request(p, len, HTTP1_MAX_FIELDS + HTTP1_ADDED_FIELDS, h);
}

/* ---- answers
 * -----------------------------------------------------------------------------------------------
 */

/* RFC 9112 section 4: status-line = HTTP-version SP status-code SP [ reason-phrase ]. The SP before
 * an absent reason is often left out; that can be read in one way only. */
static enum http1_error parse_status_line(const char *p, struct http1_head *h, size_t *line_end)
{
    const char *cr = memchr(p, '\r', h->len);
    if (cr == NULL || cr[1] != '\n' || cr - p < 12)
        return HTTP1_E_STATUS_LINE;
    enum http1_error e = parse_version(p, h);
    if (e != HTTP1_OK)
        return e;
    for (int i = 9; i < 12; i++)
        if (p[i] < '0' || p[i] > '9')
            return HTTP1_E_STATUS_LINE;
    if (p[8] != ' ' || p[9] == '0' || (cr - p > 12 && p[12] != ' '))
        return HTTP1_E_STATUS_LINE;
    if (value_end(p + 12, cr) != cr)
        return HTTP1_E_STATUS_LINE;
    h->status = (uint16_t)((p[9] - '0') * 100 + (p[10] - '0') * 10 + (p[11] - '0'));
    *line_end = (size_t)(cr + 2 - p);
    return HTTP1_OK;
}

static enum http1_error parse_response(const char *p, size_t len, enum http1_method to,
                                       size_t most_fields, struct http1_head *h)
{
    memset(h, 0, offsetof(struct http1_head, fields));
    h->len = (uint16_t)len;
    size_t at;
    struct lengths seen = {0};
    enum http1_error e;
    if ((e = parse_status_line(p, h, &at)) != HTTP1_OK ||
        (e = parse_fields(p, at, most_fields, h)) != HTTP1_OK ||
        (e = read_fields(h, p, &seen)) != HTTP1_OK)
        return e;
    /* RFC 9112 section 6.3, in its order. */
    if (to == HTTP1_M_HEAD || h->status < 200 || h->status == 204 || h->status == 304)
        h->framing = HTTP1_BODY_NONE;
    else if (seen.encoding && h->minor == 0)
        return HTTP1_E_TRANSFER_ENCODING;
    else if (seen.encoding)
        h->framing = HTTP1_BODY_CHUNKED;
    else if (seen.length)
        h->framing = h->content_length > 0 ? HTTP1_BODY_LENGTH : HTTP1_BODY_NONE;
    else
        h->framing = HTTP1_BODY_CLOSE;
    return HTTP1_OK;
}

enum http1_error http1_parse_response(const char *p, size_t len, enum http1_method to,
                                      struct http1_head *h)
{
    return len > HTTP1_MAX_HEAD ? HTTP1_E_TOO_LONG
                                : parse_response(p, len, to, HTTP1_MAX_FIELDS, h);
}

enum http1_error http1_parse_own_response(const char *p, size_t len, enum http1_method to,
                                          struct http1_head *h)
{
    if (len > UINT16_MAX)
        return HTTP1_E_TOO_LONG;
    return parse_response(p, len, to, HTTP1_MAX_FIELDS + HTTP1_ADDED_FIELDS, h);
}

/* ---- looking things up
 * ---------------------------------------------------------------------------------------- */

const struct http1_field *http1_find(const struct http1_head *h, const char *p, const char *name,
                                     size_t name_len, size_t *from)
{
    for (size_t i = *from; i < h->fields_len; i++) {
        const struct http1_field *f = &h->fields[i];
        if (span_is(http1_at(p, f->name), f->name.len, name, name_len)) {
            *from = i + 1;
            return f;
        }
    }
    *from = h->fields_len;
    return NULL;
}

/* RFC 6265 section 4.2.1: cookie-pair *( ";" SP cookie-pair ). */
const char *http1_cookie(const struct http1_head *h, const char *p, const char *name, size_t *len)
{
    size_t name_len = strlen(name);
    for (size_t i = 0; i < h->fields_len; i++) {
        if (h->fields[i].id != HTTP1_N_COOKIE)
            continue;
        const char *s = http1_at(p, h->fields[i].value), *end = s + h->fields[i].value.len;
        while (s < end) {
            const char *semicolon = memchr(s, ';', (size_t)(end - s));
            const char *stop = semicolon != NULL ? semicolon : end;
            while (s < stop && *s == ' ')
                s++;
            if ((size_t)(stop - s) > name_len && s[name_len] == '=' &&
                memcmp(s, name, name_len) == 0) {
                *len = (size_t)(stop - s) - name_len - 1;
                return s + name_len + 1;
            }
            s = semicolon != NULL ? semicolon + 1 : end;
        }
    }
    return NULL;
}
