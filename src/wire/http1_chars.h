/* Classes of bytes of RFC 9110 and RFC 3986; inside of wire only. */
#ifndef SLUICE_WIRE_HTTP1_CHARS_H
#define SLUICE_WIRE_HTTP1_CHARS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    CHAR_TOKEN = 1,      /* tchar, RFC 9110 section 5.6.2 */
    CHAR_VALUE = 2,      /* field-vchar, SP, HTAB (obs-text too), RFC 9110 section 5.5 */
    CHAR_TARGET = 4,     /* what a request target may have: visible ASCII but for '#' */
    CHAR_HOST = 8,       /* of a registered name or an address */
    CHAR_HEX = 16,       /* hexadecimal digit */
    CHAR_UNRESERVED = 32 /* RFC 3986 section 2.3 */
};

extern const uint8_t http1_chars[256];

static inline bool char_is(char c, uint8_t class)
{
    return (http1_chars[(unsigned char)c] & class) != 0;
}
static inline char char_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}
static inline int char_hex(char c)
{
    return c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10;
}
static inline bool span_is(const char *p, size_t len, const char *lower, size_t lower_len)
{
    if (len != lower_len)
        return false;
    for (size_t i = 0; i < len; i++)
        if (char_lower(p[i]) != lower[i])
            return false;
    return true;
}
#define SPAN_IS(p, len, literal) span_is(p, len, literal, sizeof(literal) - 1)

#endif
