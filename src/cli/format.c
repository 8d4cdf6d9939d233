#include "cli/format.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

char *format_count(int64_t n, char *out)
{
    char digits[24];
    int len = snprintf(digits, sizeof digits, "%" PRId64, n);
    char *to = out;
    for (int i = 0; i < len; i++) {
        if (i > (digits[0] == '-') && (len - i) % 3 == 0)
            *to++ = ',';
        *to++ = digits[i];
    }
    *to = '\0';
    return out;
}

char *format_rate(double per_s, char *out)
{
    if (per_s < 0)
        return strcpy(out, "-");
    if (per_s < 100)
        snprintf(out, FORMAT_SIZE, "%.1f", per_s);
    else
        format_count((int64_t)(per_s + 0.5), out);
    return out;
}

char *format_share(double share, char *out)
{
    double percent = share * 100;
    if (share < 0)
        return strcpy(out, "-");
    if (percent > 0 && percent < 1)
        snprintf(out, FORMAT_SIZE, "%.2f%%", percent);
    else if (percent < 10 && percent - (double)(int)percent >= 0.05)
        snprintf(out, FORMAT_SIZE, "%.1f%%", percent);
    else
        snprintf(out, FORMAT_SIZE, "%.0f%%", percent);
    return out;
}

char *format_latency(double ms, char *out)
{
    if (ms < 0)
        return strcpy(out, "-");
    if (ms < 10)
        snprintf(out, FORMAT_SIZE, "%.1f ms", ms);
    else if (ms < 1000)
        snprintf(out, FORMAT_SIZE, "%.0f ms", ms);
    else
        snprintf(out, FORMAT_SIZE, "%.2f s", ms / 1000);
    return out;
}

char *format_elapsed(int64_t ms, char *out)
{
    int64_t s = ms / 1000;
    if (ms < 0)
        return strcpy(out, "-");
    if (ms < 1000)
        snprintf(out, FORMAT_SIZE, "%" PRId64 " ms", ms);
    else if (ms < 10000)
        snprintf(out, FORMAT_SIZE, "%" PRId64 ".%" PRId64 " s", s, ms % 1000 / 100);
    else if (s < 60)
        snprintf(out, FORMAT_SIZE, "%" PRId64 " s", s);
    else if (s < 3600)
        snprintf(out, FORMAT_SIZE, "%" PRId64 " min %" PRId64 " s", s / 60, s % 60);
    else
        snprintf(out, FORMAT_SIZE, "%" PRId64 " h %" PRId64 " min", s / 3600, s % 3600 / 60);
    return out;
}

char *format_bytes(int64_t bytes, char *out)
{
    static const char *const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double value = (double)bytes / 1024;
    size_t unit = 0;
    if (bytes < 0)
        return strcpy(out, "-");
    if (bytes < 1024) {
        snprintf(out, FORMAT_SIZE, "%" PRId64 " B", bytes);
        return out;
    }
    while (value >= 1023.95) { /* what would be printed as 1024.0 is 1.0 of the next */
        value /= 1024;
        unit++;
    }
    snprintf(out, FORMAT_SIZE, "%.1f %s", value, units[unit]);
    return out;
}

static char *format_local(const char *rfc3339, const char *form, char *out)
{
    struct tm utc = {0}, local;
    const char *rest = strptime(rfc3339, "%Y-%m-%dT%H:%M:%S", &utc);
    time_t at = timegm(&utc);
    if (rest == NULL || (*rest != '.' && *rest != 'Z') || localtime_r(&at, &local) == NULL ||
        strftime(out, FORMAT_SIZE, form, &local) == 0)
        snprintf(out, FORMAT_SIZE, "%.40s", rfc3339);
    return out;
}

char *format_clock(const char *rfc3339, char *out)
{
    return format_local(rfc3339, "%H:%M:%S", out);
}

char *format_date(const char *rfc3339, char *out)
{
    return format_local(rfc3339, "%Y-%m-%d %H:%M:%S", out);
}
