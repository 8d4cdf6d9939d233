#include "base/alloc.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

static void *or_die(void *p)
{
    if (p == NULL) {
        static const char message[] = "sluice: out of memory\n";
        (void)!write(STDERR_FILENO, message, sizeof message - 1);
        abort();
    }
    return p;
}

void *xmalloc(size_t size)
{
    return or_die(malloc(size != 0 ? size : 1));
}

void *xcalloc(size_t n, size_t size)
{
    return or_die(calloc(n != 0 ? n : 1, size != 0 ? size : 1));
}

void *xrealloc(void *p, size_t n, size_t size)
{
    size_t total;
    if (__builtin_mul_overflow(n, size, &total))
        return or_die(NULL);
    return or_die(realloc(p, total != 0 ? total : 1));
}

char *xstrdup(const char *s)
{
    return s != NULL ? or_die(strdup(s)) : NULL;
}

char *xstrndup(const char *s, size_t n)
{
    return or_die(strndup(s, n));
}

char *xasprintf(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    char *out = NULL;
    int n = vasprintf(&out, fmt, ap);
    va_end(ap);
    return or_die(n < 0 ? NULL : out);
}
