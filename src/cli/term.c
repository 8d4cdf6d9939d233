#include "cli/term.h"

#include "base/vec.h"

#include <langinfo.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <wchar.h>

static const char *const codes[] = {
#define X(id, code) code,
    STYLES(X)
#undef X
};

void term_look(struct term *t, int fd, bool no_color)
{
    const char *never = getenv("NO_COLOR"), *kind = getenv("TERM");
    struct winsize size;
    bool dumb = kind == NULL || *kind == '\0' || strcmp(kind, "dumb") == 0;
    t->is_terminal = isatty(fd) == 1 && !dumb;
    t->color = t->is_terminal && !no_color && (never == NULL || *never == '\0');
    t->unicode = strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
    t->columns = 80;
    t->rows = 24;
    if (t->is_terminal && ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 && size.ws_row > 0) {
        t->columns = size.ws_col;
        t->rows = size.ws_row;
    }
}

void put_styled(struct buf *out, const struct term *t, enum style style, const char *text)
{
    if (!t->color || style == STYLE_NONE)
        buf_puts(out, text);
    else
        buf_printf(out, "\033[%sm%s\033[0m", codes[style], text);
}

/* One character of UTF-8: its length, 0 where it is none; *character is its number. */
static size_t read_character(const char *text, size_t len, uint32_t *character)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    unsigned char c = (unsigned char)text[0];
    size_t n = c < 0x80 ? 1 : c >> 5 == 6 ? 2 : c >> 4 == 14 ? 3 : c >> 3 == 30 ? 4 : 0;
    if (n == 0 || n > len)
        return 0;
    *character = n == 1 ? c : c & (0x7fu >> n);
    for (size_t i = 1; i < n; i++) {
        if (((unsigned char)text[i] & 0xc0) != 0x80)
            return 0;
        *character = *character << 6 | ((unsigned char)text[i] & 0x3f);
    }
    bool valid = *character >= least[n] && *character <= 0x10ffff &&
                 (*character < 0xd800 || *character > 0xdfff);
    return valid ? n : 0;
}

/* Controls of both sets, and what turns the direction of writing: a line must look like what it is.
 */
static bool is_hidden(uint32_t c)
{
    return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0x200e || c == 0x200f ||
           (c >= 0x2028 && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069) || c == 0xfeff;
}

void put_clean(struct buf *out, const char *text)
{
    size_t len = text != NULL ? strlen(text) : 0;
    for (size_t i = 0; i < len;) {
        uint32_t character;
        size_t n = read_character(text + i, len - i, &character);
        if (n == 0)
            buf_puts(out, "\xef\xbf\xbd");
        else if (is_hidden(character))
            buf_putc(out, ' ');
        else
            buf_append(out, text + i, n);
        i += n > 0 ? n : 1;
    }
}

void put_clean_in(struct buf *out, const struct term *t, enum style style, const char *text)
{
    cleanup_buf struct buf clean = BUF_INIT;
    put_clean(&clean, text);
    if (clean.len > 0)
        put_styled(out, t, style, buf_str(&clean));
}

static size_t columns_of(uint32_t character)
{
    int n = wcwidth((wchar_t)character);
    return n < 0 ? 1 : (size_t)n;
}

/* The length of the escape sequence at text, 0: there is none. */
static size_t escape_length(const char *text, size_t len)
{
    if (len < 2 || text[0] != '\033' || text[1] != '[')
        return 0;
    size_t n = 2;
    while (n < len && (text[n] < 0x40 || text[n] > 0x7e))
        n++;
    return n < len ? n + 1 : len;
}

size_t text_columns(const char *text, size_t len)
{
    size_t columns = 0;
    for (size_t i = 0; i < len;) {
        uint32_t character = '?';
        size_t n = escape_length(text + i, len - i);
        if (n == 0) {
            n = read_character(text + i, len - i, &character);
            columns += n > 0 ? columns_of(character) : 1;
        }
        i += n > 0 ? n : 1;
    }
    return columns;
}

void put_cut(struct buf *out, const char *text, size_t len, size_t columns)
{
    bool styled = false;
    size_t used = 0;
    for (size_t i = 0; i < len;) {
        uint32_t character = '?';
        size_t n = escape_length(text + i, len - i);
        if (n > 0) {
            styled = true;
        } else {
            n = read_character(text + i, len - i, &character);
            used += n > 0 ? columns_of(character) : 1;
            n = n > 0 ? n : 1;
            if (used > columns)
                break;
        }
        buf_append(out, text + i, n);
        i += n;
    }
    if (used > columns && styled)
        buf_puts(out, "\033[0m");
}

void put_wrapped(struct buf *out, const struct term *t, size_t column, const char *indent,
                 const char *text)
{
    cleanup_buf struct buf clean = BUF_INIT;
    bool first = true;
    put_clean(&clean, text);
    for (const char *p = buf_str(&clean); *p != '\0';) {
        size_t len = strcspn(p, " "), spaces = strspn(p + len, " ");
        size_t columns = text_columns(p, len);
        if (!first && t->is_terminal && column + columns > t->columns) {
            while (out->data[out->len - 1] == ' ')
                out->data[--out->len] = '\0';
            buf_printf(out, "\n%s", indent);
            column = text_columns(indent, strlen(indent));
        }
        buf_append(out, p, len + spaces);
        column += columns + spaces;
        first = false;
        p += len + spaces;
    }
    buf_putc(out, '\n');
}
