#include "wire/jsonnumber.h"

#include "base/assert.h"
#include "wire/digest.h"

#include <string.h>

static size_t digits_at(const char *s)
{
    return strspn(s, "0123456789");
}

/* A number as RFC 8259 section 6 has it: its digits without zeros at either end, and the power of
 * ten that they stand at. */
struct number {
    bool negative;
    char digits[JSONNUMBER_MAX];
    size_t len;
    int64_t power;
};

static int64_t exponent_of(const char *s)
{
    int64_t value = 0;
    bool negative = *s == '-';
    for (s += *s == '-' || *s == '+'; *s != '\0'; s++)
        if (value < INT64_C(1000000000000000)) /* beyond it all are the same: absurd */
            value = value * 10 + (*s - '0');
    return negative ? -value : value;
}

static bool read_number(const char *s, struct number *n)
{
    *n = (struct number){.negative = *s == '-'};
    s += n->negative;
    size_t whole = digits_at(s), part = 0;
    if (whole == 0 || (whole > 1 && *s == '0'))
        return false;
    memcpy(n->digits, s, whole);
    s += whole;
    if (*s == '.') {
        part = digits_at(++s);
        if (part == 0)
            return false;
        memcpy(n->digits + whole, s, part);
        s += part;
    }
    if (*s == 'e' || *s == 'E') {
        const char *digits = s + 1 + (s[1] == '-' || s[1] == '+');
        if (digits_at(digits) == 0 || digits[digits_at(digits)] != '\0')
            return false;
        n->power = exponent_of(s + 1);
    } else if (*s != '\0') {
        return false;
    }
    n->len = whole + part;
    n->power -= (int64_t)part;
    return true;
}

static void normalize(struct number *n)
{
    size_t zeros = 0;
    while (n->len > 0 && n->digits[n->len - 1] == '0') {
        n->len--;
        n->power++;
    }
    while (zeros < n->len && n->digits[zeros] == '0')
        zeros++;
    n->len -= zeros;
    memmove(n->digits, n->digits + zeros, n->len);
    if (n->len == 0) { /* 0, -0.0, 0e5 */
        n->power = 0;
        n->negative = false;
    }
}

bool jsonnumber_print(const char *text, size_t len, uint64_t *print)
{
    char whole[JSONNUMBER_MAX + 1];
    struct number n;
    struct digest d = {0};
    ASSERT(len <= JSONNUMBER_MAX);
    memcpy(whole, text, len);
    whole[len] = '\0';
    if (!read_number(whole, &n))
        return false;
    normalize(&n);
    digest_add(&d, n.negative ? "-" : "+", 1);
    digest_add(&d, n.digits, n.len);
    *print = digest_join(digest_of(&d), (uint64_t)n.power);
    return true;
}
