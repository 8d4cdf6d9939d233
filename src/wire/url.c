#include "wire/url.h"

#include "wire/http1_chars.h"

#include <string.h>

/* Decodes what is unreserved; the query is cut off. */
static ssize_t decode(const char *p, size_t len, char *out)
{
    static const char digits[] = "0123456789ABCDEF";
    size_t n = 0;
    for (size_t i = 0; i < len && p[i] != '?'; i++) {
        if (p[i] != '%') {
            out[n++] = p[i];
            continue;
        }
        if (len - i < 3 || !char_is(p[i + 1], CHAR_HEX) || !char_is(p[i + 2], CHAR_HEX))
            return -1;
        int c = char_hex(p[i + 1]) << 4 | char_hex(p[i + 2]);
        i += 2;
        if (c == 0)
            return -1;
        if (char_is((char)c, CHAR_UNRESERVED)) {
            out[n++] = (char)c;
        } else {
            out[n++] = '%';
            out[n++] = digits[c >> 4];
            out[n++] = digits[c & 15];
        }
    }
    return (ssize_t)n;
}

/* RFC 3986 section 5.2.4, in place. */
static size_t remove_dots(char *p, size_t len)
{
    size_t to = 0;
    for (size_t at = 0; at < len;) {
        size_t end = at + 1; /* p[at] is the '/' that starts a segment */
        while (end < len && p[end] != '/')
            end++;
        size_t n = end - at - 1;
        bool last = end == len;
        if (n == 1 && p[at + 1] == '.') {
            if (last)
                p[to++] = '/';
        } else if (n == 2 && p[at + 1] == '.' && p[at + 2] == '.') {
            while (to > 0 && p[--to] != '/')
                ;
            if (last)
                p[to++] = '/';
        } else {
            memmove(p + to, p + at, end - at);
            to += end - at;
        }
        at = end;
    }
    return to;
}

ssize_t url_normalize_path(const char *path, size_t len, char *out)
{
    if (len == 0)
        return 0; /* an absolute target without a path: the root */
    if (path[0] != '/') {
        out[0] = '/';
        return len == 1 && path[0] == '*' ? 1 : -1;
    }
    ssize_t n = decode(path, len, out);
    if (n <= 0 || memmem(out, (size_t)n, "/.", 2) == NULL)
        return n;
    return (ssize_t)remove_dots(out, (size_t)n);
}

bool url_path_under(const char *path, size_t len, const char *prefix, size_t prefix_len)
{
    if (prefix_len > 0 && prefix[prefix_len - 1] == '/')
        prefix_len--;
    if (len < prefix_len || memcmp(path, prefix, prefix_len) != 0)
        return false;
    return len == prefix_len || path[prefix_len] == '/';
}

/* Whether the len bytes at p, decoded, are this text. */
static bool decoded_is(const char *p, size_t len, const char *text)
{
    for (size_t i = 0; i < len; text++) {
        char c = p[i++];
        if (c == '+') {
            c = ' ';
        } else if (c == '%' && len - i >= 2 && char_is(p[i], CHAR_HEX) &&
                   char_is(p[i + 1], CHAR_HEX)) {
            c = (char)(char_hex(p[i]) << 4 | char_hex(p[i + 1]));
            i += 2;
        }
        if (*text == 0 || c != *text)
            return false;
    }
    return *text == 0;
}

bool url_query_has(const char *target, size_t len, const char *name, const char *value)
{
    const char *end = target + len, *at = memchr(target, '?', len);
    while (at != NULL && at < end) {
        const char *part = at + 1;
        at = memchr(part, '&', (size_t)(end - part));
        const char *stop = at != NULL ? at : end;
        const char *equals = memchr(part, '=', (size_t)(stop - part));
        const char *from = equals != NULL ? equals + 1 : stop;
        if (decoded_is(part, (size_t)((equals != NULL ? equals : stop) - part), name) &&
            (value == NULL || decoded_is(from, (size_t)(stop - from), value)))
            return true;
    }
    return false;
}
