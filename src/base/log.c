#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

static struct {
    const char *role;
    enum log_level level;
} sink = {"sluice", LOG_INFO};

static const char *const level_names[] = {"debug", "info", "warn", "error"};

void log_init(const char *role, enum log_level level)
{
    sink.role = role;
    sink.level = level;
}

void log_write(enum log_level level, const char *fmt, ...)
{
    if (level < sink.level)
        return;
    char line[2048];
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    struct tm tm;
    gmtime_r(&now.tv_sec, &tm);
    size_t n = strftime(line, sizeof line, "%Y-%m-%dT%H:%M:%S", &tm);
    n += (size_t)snprintf(line + n, sizeof line - n, ".%03ldZ %s %s ", now.tv_nsec / 1000000,
                          level_names[level], sink.role);
    size_t text = n;
    va_list ap;
    va_start(ap, fmt);
    int len = vsnprintf(line + n, sizeof line - n - 1, fmt, ap);
    va_end(ap);
    if (len > 0)
        n += (size_t)len < sizeof line - n - 1 ? (size_t)len : sizeof line - n - 2;
    for (size_t i = text; i < n; i++)
        if ((unsigned char)line[i] < 0x20 || line[i] == 0x7F)
            line[i] = '?';
    line[n++] = '\n';
    (void)!write(STDERR_FILENO, line, n); /* one write per line: lines of processes do not mix */
}
