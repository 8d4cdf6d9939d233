/* ${NAME} and ${NAME:-default} in the values of the file. It is done on values, after the YAML was
 * read, so that what a variable holds cannot become structure. */
#include "base/alloc.h"
#include "spec/reader.h"

#include <ctype.h>
#include <string.h>

bool is_variable_name(const char *name, size_t len)
{
    if (len == 0 || len > 255 || isdigit((unsigned char)name[0]))
        return false;
    for (size_t i = 0; i < len; i++)
        if (!isalnum((unsigned char)name[i]) && name[i] != '_')
            return false;
    return true;
}

bool is_instance_variable(const char *name, size_t len)
{
    return (len == 4 && memcmp(name, "PORT", 4) == 0) ||
           (len > 7 && memcmp(name, "SLUICE_", 7) == 0);
}

/* The end of "${...}" at s (behind its brace), braces in it counted; NULL: it is not closed. */
static const char *closing(const char *s)
{
    int depth = 0;
    for (; *s != '\0'; s++) {
        if (s[0] == '$' && s[1] == '{') {
            depth++;
            s++;
        } else if (*s == '}' && --depth == 0) {
            return s + 1;
        }
    }
    return NULL;
}

static bool expand_into(struct reader *r, const struct node *node, enum expand_mode mode,
                        const char *text, size_t len, int depth, struct buf *out);

/* One "${inside}". */
static bool expand_one(struct reader *r, const struct node *node, enum expand_mode mode,
                       const char *whole, const char *end, int depth, struct buf *out)
{
    const char *name = whole + 2, *last = end - 1;
    size_t len = 0;
    while (name + len < last && (isalnum((unsigned char)name[len]) || name[len] == '_'))
        len++;
    bool has_default = last - (name + len) >= 2 && name[len] == ':' && name[len + 1] == '-';
    if (!is_variable_name(name, len) || (name + len != last && !has_default)) {
        if (mode == EXPAND_SH) { /* ${x%.c} and the like are the shell's */
            buf_append(out, whole, (size_t)(end - whole));
            return true;
        }
        reader_fail(r, node, "write $${ for a literal ${",
                    "`%.*s` is neither ${NAME} nor ${NAME:-default}",
                    end - whole > 60 ? 60 : (int)(end - whole), whole);
        return false;
    }
    if (mode != EXPAND_VALUE && is_instance_variable(name, len)) {
        buf_append(out, whole, (size_t)(end - whole));
        return true;
    }
    if (r->partial)
        return false;
    cleanup_free char *key = xstrndup(name, len);
    const char *value = r->source->getenv(r->source->arg, key);
    if (value != NULL && (*value != '\0' || !has_default)) {
        if (utf8_valid_prefix(value, strlen(value)) != strlen(value)) {
            reader_fail(r, node, NULL, "the environment variable %s is not UTF-8", key);
            return false;
        }
        buf_puts(out, value);
        return true;
    }
    if (has_default)
        return expand_into(r, node, mode, name + len + 2, (size_t)(last - (name + len + 2)),
                           depth + 1, out);
    cleanup_free char *hint =
        is_instance_variable(key, len)
            ? xasprintf("an instance gets %s at its start: use $%s in `run`", key, key)
            : xasprintf("export %s, or give a default: ${%s:-...}; a literal is $${%s}", key, key,
                        key);
    reader_fail(r, node, hint, "the environment variable %s is not set", key);
    return false;
}

static bool expand_into(struct reader *r, const struct node *node, enum expand_mode mode,
                        const char *text, size_t len, int depth, struct buf *out)
{
    if (depth > 4) {
        reader_fail(r, node, NULL, "defaults of ${} are nested too deeply");
        return false;
    }
    const char *end = text + len;
    bool ok = true;
    while (text < end) {
        if (text[0] == '$' && end - text > 2 && text[1] == '$' && text[2] == '{') {
            buf_puts(out, "${");
            text += 3;
        } else if (text[0] == '$' && end - text > 1 && text[1] == '{') {
            const char *close = closing(text);
            if (close == NULL || close > end) {
                reader_fail(r, node, "write $${ for a literal ${", "a ${ is never closed");
                return false;
            }
            ok &= expand_one(r, node, mode, text, close, depth, out);
            text = close;
        } else {
            buf_putc(out, *text++);
        }
    }
    return ok;
}

const char *expand(struct reader *r, const struct node *node, enum expand_mode mode)
{
    if (r->source->getenv == NULL || strstr(node->text, "${") == NULL)
        return arena_strdup(r->arena, node->text);
    cleanup_buf struct buf out = BUF_INIT;
    if (!expand_into(r, node, mode, node->text, strlen(node->text), 0, &out))
        return NULL;
    return arena_strndup(r->arena, buf_str(&out), out.len);
}
