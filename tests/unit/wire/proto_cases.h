/* Reads tests/proto/NAME.txt (see the README there). For tests only. */
#ifndef TESTS_PROTO_CASES_H
#define TESTS_PROTO_CASES_H

#include "base/buf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct proto_case {
    char name[128], to[16], want[128];
    struct buf send;
};

static inline void proto_unescape(struct buf *out, const char *s, const char *end)
{
    while (s < end) {
        if (*s != '\\') {
            buf_putc(out, *s++);
            continue;
        }
        s++;
        if (*s == 'x') {
            char hex[3] = {s[1], s[2], 0};
            buf_putc(out, (char)strtol(hex, NULL, 16));
            s += 3;
        } else if (*s == '{') {
            char *star;
            long n = strtol(s + 1, &star, 10);
            const char *close = memchr(star, '}', (size_t)(end - star));
            assert_non_null(close);
            struct buf piece = BUF_INIT;
            proto_unescape(&piece, star + 1, close);
            while (n-- > 0)
                buf_append(out, piece.data, piece.len);
            buf_release(&piece);
            s = close + 1;
        } else {
            buf_putc(out, *s == 'r'   ? '\r'
                          : *s == 'n' ? '\n'
                          : *s == 't' ? '\t'
                          : *s == '0' ? 0
                                      : *s);
            s++;
        }
    }
}

static inline void proto_copy(char *out, size_t size, const char *text)
{
    assert_true(strlen(text) < size);
    memcpy(out, text, strlen(text) + 1);
}

/* Calls run for each case; gives how many there were. */
static inline int proto_cases(const char *path, void (*run)(struct proto_case *))
{
    FILE *f = fopen(path, "re");
    assert_non_null(f);
    struct proto_case c = {.to = "GET"};
    char line[4096];
    int n = 0;
    bool more = true;
    while (more) {
        more = fgets(line, sizeof line, f) != NULL;
        size_t len = more ? strcspn(line, "\n") : 0;
        line[len] = 0;
        if (len == 0 && c.name[0] != 0) {
            run(&c);
            buf_release(&c.send);
            c = (struct proto_case){.to = "GET"};
            n++;
        } else if (strncmp(line, "name: ", 6) == 0) {
            proto_copy(c.name, sizeof c.name, line + 6);
        } else if (strncmp(line, "to: ", 4) == 0) {
            proto_copy(c.to, sizeof c.to, line + 4);
        } else if (strncmp(line, "want: ", 6) == 0) {
            proto_copy(c.want, sizeof c.want, line + 6);
        } else if (strncmp(line, "send: ", 6) == 0) {
            proto_unescape(&c.send, line + 6, line + len);
        }
    }
    fclose(f);
    return n;
}

#endif
