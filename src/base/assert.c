#include "base/assert.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

_Noreturn void assert_failed(const char *expression, const char *file, int line,
                             const char *function)
{
    char text[512];
    int n = snprintf(text, sizeof text, "sluice: assertion failed: %s (%s:%d, %s)\n", expression,
                     file, line, function);
    if (n > 0)
        (void)!write(STDERR_FILENO, text, (size_t)n < sizeof text ? (size_t)n : sizeof text - 1);
    abort();
}
