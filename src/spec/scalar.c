#include "spec/scalar.h"

#include <ctype.h>
#include <stdint.h>
#include <string.h>

struct unquoting {
    const char *p, *end;
    struct buf *out;
    size_t kept; /* blanks of out up to here are text, those behind it may be trimmed */
};

static bool at_blank(const struct unquoting *u)
{
    return u->p < u->end && (*u->p == ' ' || *u->p == '\t');
}

/* Skips a line break at p. */
static bool skip_break(struct unquoting *u)
{
    if (u->p < u->end && *u->p == '\r') {
        u->p++;
        if (u->p < u->end && *u->p == '\n')
            u->p++;
        return true;
    }
    if (u->p < u->end && *u->p == '\n') {
        u->p++;
        return true;
    }
    return false;
}

/* The empty lines from p on and the indentation behind them; gives how many. */
static size_t skip_empty_lines(struct unquoting *u)
{
    size_t n = 0;
    do {
        while (at_blank(u))
            u->p++;
    } while (skip_break(u) && ++n > 0);
    return n;
}

/* At a line break: a space; where empty lines follow, a break for each of them instead. */
static void fold(struct unquoting *u)
{
    while (u->out->len > u->kept && strchr(" \t", u->out->data[u->out->len - 1]) != NULL)
        u->out->len--;
    skip_break(u);
    size_t empty = skip_empty_lines(u);
    if (empty == 0)
        buf_putc(u->out, ' ');
    for (; empty > 0; empty--)
        buf_putc(u->out, '\n');
    u->kept = u->out->len;
}

static void put_code_point(struct buf *out, uint32_t c)
{
    if (c < 0x80) {
        buf_putc(out, (char)c);
    } else if (c < 0x800) {
        buf_putc(out, (char)(0xC0 | c >> 6));
        buf_putc(out, (char)(0x80 | (c & 0x3F)));
    } else if (c < 0x10000 && (c < 0xD800 || c > 0xDFFF)) {
        buf_putc(out, (char)(0xE0 | c >> 12));
        buf_putc(out, (char)(0x80 | (c >> 6 & 0x3F)));
        buf_putc(out, (char)(0x80 | (c & 0x3F)));
    } else if (c >= 0x10000 && c <= 0x10FFFF) {
        buf_putc(out, (char)(0xF0 | c >> 18));
        buf_putc(out, (char)(0x80 | (c >> 12 & 0x3F)));
        buf_putc(out, (char)(0x80 | (c >> 6 & 0x3F)));
        buf_putc(out, (char)(0x80 | (c & 0x3F)));
    } else {
        buf_putc(out, '\xFF'); /* no character: the caller's check for UTF-8 finds it */
    }
}

/* So many hexadecimal digits at p. */
static bool hex(struct unquoting *u, size_t digits, uint32_t *value)
{
    *value = 0;
    for (size_t i = 0; i < digits; i++) {
        if (u->p == u->end || !isxdigit((unsigned char)*u->p))
            return false;
        int c = tolower((unsigned char)*u->p++);
        *value = *value << 4 | (uint32_t)(c <= '9' ? c - '0' : c - 'a' + 10);
    }
    return true;
}

static void numeric_escape(struct unquoting *u, size_t digits)
{
    uint32_t c, low;
    if (!hex(u, digits, &c)) {
        buf_putc(u->out, '\xFF');
        return;
    }
    /* JSON writes what is beyond 16 bits as a pair. */
    const char *behind = u->p;
    if (c >= 0xD800 && c <= 0xDBFF && u->end - u->p >= 6 && u->p[0] == '\\' && u->p[1] == 'u') {
        u->p += 2;
        if (hex(u, 4, &low) && low >= 0xDC00 && low <= 0xDFFF)
            c = 0x10000 + ((c - 0xD800) << 10) + (low - 0xDC00);
        else
            u->p = behind;
    }
    put_code_point(u->out, c);
}

/* Behind a backslash. */
static void escape(struct unquoting *u)
{
    static const char names[] = "0abt\tnvfre \"/\\";
    static const char values[] = "\0\a\b\t\t\n\v\f\r\x1b \"/\\";
    if (u->p == u->end)
        return;
    if (*u->p == '\n' || *u->p == '\r') { /* the line goes on in the next one */
        skip_break(u);
        for (size_t empty = skip_empty_lines(u); empty > 0; empty--)
            buf_putc(u->out, '\n');
        u->kept = u->out->len;
        return;
    }
    char c = *u->p++;
    const char *name = memchr(names, c, sizeof names - 1);
    if (name != NULL)
        buf_putc(u->out, values[name - names]);
    else if (c == 'x' || c == 'u' || c == 'U')
        numeric_escape(u, c == 'x' ? 2 : c == 'u' ? 4 : 8);
    else
        put_code_point(u->out, c == 'N'   ? 0x85
                               : c == '_' ? 0xA0
                               : c == 'L' ? 0x2028
                               : c == 'P' ? 0x2029
                                          : UINT32_MAX);
    u->kept = u->out->len;
}

void scalar_unquote(const char *raw, size_t len, bool double_quoted, struct buf *out)
{
    struct unquoting u = {.p = raw, .end = raw + len, .out = out, .kept = out->len};
    while (u.p < u.end) {
        if (*u.p == '\n' || *u.p == '\r') {
            fold(&u);
        } else if (double_quoted && *u.p == '\\') {
            u.p++;
            escape(&u);
        } else {
            u.p += !double_quoted && *u.p == '\''; /* the second one of '' is the quote */
            if (u.p < u.end)
                buf_putc(out, *u.p++);
        }
    }
}
