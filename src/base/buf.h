/* A growing byte buffer. data is always NUL-terminated behind len once anything was written, so
 * that it can be read as a string; BUF_INIT owns nothing. Aborts on out of memory (see alloc.h). */
#ifndef SLUICE_BASE_BUF_H
#define SLUICE_BASE_BUF_H

#include <stdarg.h>
#include <stddef.h>

struct buf {
    char *data; /* NULL while empty and never written */
    size_t len, cap;
};

#define BUF_INIT                                                                                   \
    {                                                                                              \
        NULL, 0, 0                                                                                 \
    }

void buf_reserve(struct buf *b, size_t extra); /* room for extra bytes and a NUL behind len */
void buf_append(struct buf *b, const void *data, size_t len);
void buf_puts(struct buf *b, const char *s);
void buf_putc(struct buf *b, char c);
void buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void buf_vprintf(struct buf *b, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));
/* s as the inside of a JSON string, escaped (RFC 8259 section 7); bytes that are not UTF-8 become
 * U+FFFD. */
void buf_json_escape(struct buf *b, const char *s, size_t len);
void buf_consume(struct buf *b, size_t n); /* drops n bytes at the front; n <= len */
void buf_clear(struct buf *b);             /* len = 0, memory kept */
void buf_release(struct buf *b);           /* frees; the buffer is BUF_INIT again */
const char *buf_str(const struct buf *b);  /* never NULL: "" while empty */
char *buf_detach(struct buf *b);           /* the caller frees; never NULL */

#define cleanup_buf __attribute__((cleanup(buf_release)))

#endif
