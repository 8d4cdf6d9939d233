/* Errors as values.
 *
 * A function that can fail takes `struct error *err` last and returns a negative number (or NULL);
 * on success it leaves *err untouched. Context is added on the way up with error_wrap(), so that a
 * user reads "deploy shop: instance shop-7-1: exec ./shop: no such file". `err` may be NULL where
 * the caller does not care. Never put a secret into an error.
 */
#ifndef SLUICE_BASE_ERROR_H
#define SLUICE_BASE_ERROR_H

#include <stdarg.h>

enum error_class {
    ERROR_NONE = 0,
    ERROR_USAGE,       /* bad input from a user: exit 2, HTTP 400 */
    ERROR_NOT_FOUND,   /* what was named does not exist: HTTP 404 */
    ERROR_CONFLICT,    /* the state does not allow it now: HTTP 409 */
    ERROR_DENIED,      /* not permitted: HTTP 403 */
    ERROR_UNAVAILABLE, /* a part that is needed does not answer: exit 3, HTTP 503 */
    ERROR_IO,          /* a system call or a disk failed: HTTP 500 */
    ERROR_FAILED       /* anything else that went wrong in operation: HTTP 500 */
};

struct error {
    enum error_class class;
    char text[1024]; /* one line, no trailing newline; cut (never overrun) when longer */
};

#define ERROR_INIT                                                                                 \
    {                                                                                              \
        .class = ERROR_NONE                                                                        \
    }

/* Both set *err and return -1, so that `return error_set(err, ...)` reads well. */
int error_set(struct error *err, enum error_class class, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* As error_set with ": " and strerror(errnum) appended; class ERROR_IO. */
int error_errno(struct error *err, int errnum, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Puts "context: " before the text; keeps the class. Returns -1. */
int error_wrap(struct error *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
