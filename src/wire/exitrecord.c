#include "wire/exitrecord.h"

#include "base/assert.h"
#include "base/units.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* X(key, member, least, most) */
#define NUMBERS(X)                                                                                 \
    X("code", code, -1, 255)                                                                       \
    X("signal", signal, 0, 64)                                                                     \
    X("oom-killed", oom_killed, 0, 1)                                                              \
    X("start-failed", start_failed, 0, 1)                                                          \
    X("timed-out", timed_out, 0, 1)                                                                \
    X("started-ms", started_ms, 0, INT64_MAX)                                                      \
    X("ended-ms", ended_ms, 0, INT64_MAX)                                                          \
    X("dropped-lines", dropped_lines, 0, INT64_MAX)

static const char HEAD[] = "sluice-exit ";

void exitrecord_encode(const struct exit_record *r, struct buf *out)
{
    buf_printf(out, "%s%d\n", HEAD, EXITRECORD_VERSION);
#define X(key, member, least, most) buf_printf(out, key " %lld\n", (long long)r->member);
    NUMBERS(X)
#undef X
    buf_puts(out, "reason ");
    for (const char *c = r->reason; *c != '\0'; c++)
        buf_putc(out, (unsigned char)*c < 0x20 ? ' ' : *c); /* one line */
    buf_puts(out, "\nend\n");
}

static int parse_number(const char *text, size_t len, int64_t least, int64_t most, int64_t *value)
{
    char copy[24], *end;
    if (len == 0 || len >= sizeof copy)
        return -1;
    memcpy(copy, text, len);
    copy[len] = '\0';
    errno = 0;
    long long n = strtoll(copy, &end, 10);
    if (errno != 0 || *end != '\0' || copy[0] == ' ' || n < least || n > most)
        return -1;
    *value = n;
    return 0;
}

static int read_line(const char *line, size_t len, struct exit_record *r)
{
    const char *space = memchr(line, ' ', len);
    if (space == NULL)
        return -1;
    size_t key_len = (size_t)(space - line), value_len = len - key_len - 1;
    int64_t number;
#define X(key, member, least, most)                                                                \
    if (key_len == sizeof key - 1 && memcmp(line, key, key_len) == 0) {                            \
        if (parse_number(space + 1, value_len, least, most, &number) < 0)                          \
            return -1;                                                                             \
        r->member = (__typeof__(r->member))number;                                                 \
        return 0;                                                                                  \
    }
    NUMBERS(X)
#undef X
    if (key_len == 6 && memcmp(line, "reason", 6) == 0)
        snprintf(r->reason, sizeof r->reason, "%.*s", (int)value_len, space + 1);
    return 0;
}

int exitrecord_decode(const char *text, struct exit_record *r, struct error *err)
{
    size_t head = sizeof HEAD - 1, len = strcspn(text, "\n");
    int64_t version;
    if (strncmp(text, HEAD, head) != 0 ||
        parse_number(text + head, len - head, 1, INT32_MAX, &version) < 0)
        return error_set(err, ERROR_IO, "exit record: not one (the first line should be \"%s%d\")",
                         HEAD, EXITRECORD_VERSION);
    struct exit_record got = {0};
    int line = 1;
    for (const char *at = text + len; *at == '\n';) {
        at++;
        line++;
        len = strcspn(at, "\n");
        if (strncmp(at, "end\n", 4) == 0) { /* with its newline: "ended-ms" may be cut, too */
            *r = got;
            return 0;
        }
        if (read_line(at, len, &got) < 0)
            return error_set(err, ERROR_IO, "exit record: line %d is not \"key value\"", line);
        at += len;
    }
    return error_set(err, ERROR_IO, "exit record: cut off behind line %d", line);
}
