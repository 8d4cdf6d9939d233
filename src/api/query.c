#include "api/query.h"

#include "base/alloc.h"

#include <string.h>

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

int percent_decode(const char *text, size_t len, bool plus, struct buf *out)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c == '%') {
            int high = len - i > 2 ? hex_digit(text[i + 1]) : -1;
            int low = len - i > 2 ? hex_digit(text[i + 2]) : -1;
            if (high < 0 || low < 0)
                return -1;
            c = (unsigned char)(high * 16 + low);
            i += 2;
        } else if (c == '+' && plus) {
            c = ' ';
        }
        if (c < 0x20 || c == 0x7f)
            return -1;
        buf_putc(out, (char)c);
    }
    return 0;
}

/* Whether name is one of the comma separated words of list. */
static bool listed(const char *list, const char *name)
{
    size_t len = strlen(name);
    for (const char *p = list; *p != '\0' && len > 0;) {
        size_t n = strcspn(p, ",");
        if (n == len && memcmp(p, name, n) == 0)
            return true;
        p += n + (p[n] == ',');
    }
    return false;
}

static int add_item(struct query *q, const char *text, size_t len, const char *allowed,
                    struct error *err)
{
    cleanup_buf struct buf name = BUF_INIT, value = BUF_INIT;
    const char *equals = memchr(text, '=', len);
    size_t name_len = equals != NULL ? (size_t)(equals - text) : len;
    if (percent_decode(text, name_len, true, &name) != 0 ||
        (equals != NULL && percent_decode(equals + 1, len - name_len - 1, true, &value) != 0))
        return error_set(err, ERROR_USAGE, "the query has a malformed escape");
    if (!listed(allowed, buf_str(&name)))
        return error_set(err, ERROR_USAGE, "unknown parameter `%.60s` (there is: %s)",
                         buf_str(&name), *allowed != '\0' ? allowed : "none");
    if (query_get(q, buf_str(&name)) != NULL)
        return error_set(err, ERROR_USAGE, "the parameter `%s` comes twice", buf_str(&name));
    if (q->len == QUERY_MAX)
        return error_set(err, ERROR_USAGE, "too many parameters");
    q->items[q->len].name = buf_detach(&name);
    q->items[q->len].value = buf_detach(&value);
    q->len++;
    return 0;
}

int query_parse(struct query *q, const char *text, size_t len, const char *allowed,
                struct error *err)
{
    memset(q, 0, sizeof *q);
    while (len > 0) {
        const char *end = memchr(text, '&', len);
        size_t n = end != NULL ? (size_t)(end - text) : len;
        if (n > 0 && add_item(q, text, n, allowed, err) != 0) {
            query_release(q);
            return -1;
        }
        text += n + (end != NULL);
        len -= n + (end != NULL);
    }
    return 0;
}

void query_release(struct query *q)
{
    for (size_t i = 0; i < q->len; i++) {
        free(q->items[i].name);
        free(q->items[i].value);
    }
    memset(q, 0, sizeof *q);
}

const char *query_get(const struct query *q, const char *name)
{
    for (size_t i = 0; i < q->len; i++) {
        if (strcmp(q->items[i].name, name) == 0)
            return q->items[i].value;
    }
    return NULL;
}
