#include "base/error.h"

#include <stdio.h>
#include <string.h>

int error_set(struct error *err, enum error_class class, const char *fmt, ...)
{
    if (err == NULL)
        return -1;
    va_list ap;
    va_start(ap, fmt);
    err->class = class;
    vsnprintf(err->text, sizeof err->text, fmt, ap);
    va_end(ap);
    return -1;
}

int error_errno(struct error *err, int errnum, const char *fmt, ...)
{
    if (err == NULL)
        return -1;
    va_list ap;
    va_start(ap, fmt);
    err->class = ERROR_IO;
    int n = vsnprintf(err->text, sizeof err->text, fmt, ap);
    va_end(ap);
    if (n >= 0 && (size_t)n < sizeof err->text)
        snprintf(err->text + n, sizeof err->text - (size_t)n, ": %s", strerror(errnum));
    return -1;
}

int error_wrap(struct error *err, const char *fmt, ...)
{
    if (err == NULL)
        return -1;
    struct error inner = *err;
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(err->text, sizeof err->text, fmt, ap);
    va_end(ap);
    if (n < 0 || (size_t)n + 3 > sizeof err->text)
        return -1;
    err->text[n++] = ':';
    err->text[n++] = ' ';
    size_t room = sizeof err->text - (size_t)n, len = strlen(inner.text);
    memcpy(err->text + n, inner.text, len < room ? len + 1 : room);
    err->text[sizeof err->text - 1] = '\0';
    return -1;
}
