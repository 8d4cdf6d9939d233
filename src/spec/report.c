#include "spec/report.h"

#include "base/alloc.h"
#include "base/vec.h"

#include <stdlib.h>
#include <string.h>

static bool same(const char *a, const char *b)
{
    return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

void report_add(struct diagnostics *d, bool warning, struct spot at, const char *text,
                const char *hint)
{
    if (d->len > REPORT_MAX)
        return;
    for (size_t i = 0; i < d->len; i++)
        if (d->items[i].line == at.line && d->items[i].column == at.column &&
            same(d->items[i].text, text) && same(d->items[i].hint, hint))
            return;
    struct diagnostic *new = vec_push(d);
    if (d->len > REPORT_MAX) { /* the last one says that there are more */
        new->text = xasprintf("more than %d errors; the rest is not shown", REPORT_MAX);
        return;
    }
    new->warning = warning;
    new->line = at.line;
    new->column = at.column;
    new->length = at.length != 0 ? at.length : 1;
    new->text = xstrdup(text);
    new->hint = xstrdup(hint);
}

void report_sort(struct diagnostics *d)
{
    /* Insertion sort: stable, and there are few. The file as a whole (line 0) comes last: what is
     * missing is read best after what is wrong. */
    for (size_t i = 1; i < d->len; i++) {
        struct diagnostic moved = d->items[i];
        size_t j = i;
        for (; j > 0; j--) {
            const struct diagnostic *left = &d->items[j - 1];
            uint32_t a = left->line != 0 ? left->line : UINT32_MAX;
            uint32_t b = moved.line != 0 ? moved.line : UINT32_MAX;
            if (a < b || (a == b && left->column <= moved.column))
                break;
            d->items[j] = d->items[j - 1];
        }
        d->items[j] = moved;
    }
}

void diagnostics_release(struct diagnostics *d)
{
    for (size_t i = 0; i < d->len; i++) {
        free(d->items[i].text);
        free(d->items[i].hint);
    }
    vec_release(d);
}

bool diagnostics_failed(const struct diagnostics *d)
{
    for (size_t i = 0; i < d->len; i++)
        if (!d->items[i].warning)
            return true;
    return false;
}

size_t utf8_valid_prefix(const char *s, size_t len)
{
    const unsigned char *p = (const unsigned char *)s;
    size_t i = 0;
    while (i < len && p[i] != 0) {
        size_t n = p[i] < 0x80 ? 1 : p[i] >= 0xF0 ? 4 : p[i] >= 0xE0 ? 3 : 2;
        if (n > 1 && (p[i] < 0xC2 || p[i] > 0xF4 || len - i < n))
            return i;
        for (size_t k = 1; k < n; k++)
            if ((p[i + k] & 0xC0) != 0x80)
                return i;
        if ((p[i] == 0xE0 && p[i + 1] < 0xA0) || (p[i] == 0xED && p[i + 1] > 0x9F) ||
            (p[i] == 0xF0 && p[i + 1] < 0x90) || (p[i] == 0xF4 && p[i + 1] > 0x8F))
            return i;
        i += n;
    }
    return i;
}
