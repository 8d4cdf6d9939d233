#include "base/units.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

/* Reads digits at *p into *value; -1 where there are none or it would not fit. */
static int digits(const char **p, uint64_t *value)
{
    if (!isdigit((unsigned char)**p))
        return -1;
    uint64_t v = 0;
    for (; isdigit((unsigned char)**p); (*p)++)
        if (__builtin_mul_overflow(v, 10u, &v) ||
            __builtin_add_overflow(v, (uint64_t)(**p - '0'), &v))
            return -1;
    *value = v;
    return 0;
}

/* A decimal number with up to `places` places behind the point, scaled by 10^places. */
static int decimal(const char **p, int places, uint64_t *scaled)
{
    uint64_t v;
    if (digits(p, &v) < 0)
        return -1;
    int point = **p == '.';
    if (point)
        (*p)++;
    if (point && !isdigit((unsigned char)**p))
        return -1;
    for (int i = 0; i < places; i++) {
        unsigned digit = 0;
        if (point && isdigit((unsigned char)**p))
            digit = (unsigned)(*(*p)++ - '0');
        if (__builtin_mul_overflow(v, 10u, &v) || __builtin_add_overflow(v, (uint64_t)digit, &v))
            return -1;
    }
    if (isdigit((unsigned char)**p))
        return -1; /* more places than the unit has */
    *scaled = v;
    return 0;
}

struct unit {
    const char *name;
    uint64_t factor;
};

static const struct unit durations[] = {
    {"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000},
};

static const struct unit sizes[] = {
    {"Ki", 1024}, {"Mi", 1048576}, {"Gi", 1073741824}, {"Ti", 1099511627776}, {"k", 1000},
    {"K", 1000},  {"M", 1000000},  {"G", 1000000000},  {"T", 1000000000000},
};

/* The longest unit name at p; NULL where none matches. */
static const struct unit *unit_at(const char *p, const struct unit *units, size_t n)
{
    const struct unit *best = NULL;
    for (size_t i = 0; i < n; i++) {
        size_t len = strlen(units[i].name);
        if (strncmp(p, units[i].name, len) == 0 && (best == NULL || len > strlen(best->name)))
            best = &units[i];
    }
    return best;
}

int parse_duration_ms(const char *text, int64_t *ms)
{
    if (strcmp(text, "0") == 0) {
        *ms = 0;
        return 0;
    }
    const char *p = text;
    uint64_t total = 0, last_factor = UINT64_MAX;
    do {
        uint64_t v;
        if (digits(&p, &v) < 0)
            return -1;
        const struct unit *u = unit_at(p, durations, sizeof durations / sizeof durations[0]);
        if (u == NULL || u->factor >= last_factor) /* 1m30s, not 30s1m */
            return -1;
        if (__builtin_mul_overflow(v, u->factor, &v) || __builtin_add_overflow(total, v, &total))
            return -1;
        last_factor = u->factor;
        p += strlen(u->name);
    } while (*p != '\0');
    if (total > INT64_MAX / 1000000) /* stays representable in nanoseconds */
        return -1;
    *ms = (int64_t)total;
    return 0;
}

int parse_size_bytes(const char *text, uint64_t *bytes)
{
    const char *p = text;
    uint64_t v;
    if (digits(&p, &v) < 0)
        return -1;
    if (*p != '\0') {
        const struct unit *u = unit_at(p, sizes, sizeof sizes / sizeof sizes[0]);
        if (u == NULL || p[strlen(u->name)] != '\0' || __builtin_mul_overflow(v, u->factor, &v))
            return -1;
    }
    *bytes = v;
    return 0;
}

int parse_percent_ppm(const char *text, uint32_t *ppm)
{
    const char *p = text;
    uint64_t v;
    if (decimal(&p, 4, &v) < 0 || strcmp(p, "%") != 0 || v > 100000000)
        return -1;
    *ppm = (uint32_t)v;
    return 0;
}

int parse_cpu_milli(const char *text, uint32_t *milli)
{
    const char *p = text;
    uint64_t v;
    if (digits(&p, &v) == 0 && strcmp(p, "m") == 0 && v <= UINT32_MAX) {
        *milli = (uint32_t)v;
        return 0;
    }
    p = text;
    if (decimal(&p, 3, &v) < 0 || *p != '\0' || v > UINT32_MAX)
        return -1;
    *milli = (uint32_t)v;
    return 0;
}

int parse_u64(const char *text, uint64_t max, uint64_t *value)
{
    const char *p = text;
    uint64_t v;
    if (digits(&p, &v) < 0 || *p != '\0' || v > max)
        return -1;
    *value = v;
    return 0;
}

static char *format_unit(uint64_t v, const struct unit *units, size_t n, const char *bare,
                         char *out, size_t size)
{
    const struct unit *best = NULL;
    for (size_t i = 0; i < n; i++)
        if (v != 0 && v % units[i].factor == 0 && (best == NULL || units[i].factor > best->factor))
            best = &units[i];
    if (best != NULL)
        snprintf(out, size, "%llu%s", (unsigned long long)(v / best->factor), best->name);
    else
        snprintf(out, size, "%llu%s", (unsigned long long)v, bare);
    return out;
}

char *format_duration_ms(int64_t ms, char *out, size_t size)
{
    if (ms == 0) {
        snprintf(out, size, "0s");
        return out;
    }
    return format_unit((uint64_t)ms, durations, sizeof durations / sizeof durations[0], "ms", out,
                       size);
}

char *format_size_bytes(uint64_t bytes, char *out, size_t size)
{
    return format_unit(bytes, sizes, sizeof sizes / sizeof sizes[0], "", out, size);
}

char *format_percent_ppm(uint32_t ppm, char *out, size_t size)
{
    unsigned whole = ppm / 10000, part = ppm % 10000;
    int n = snprintf(out, size, "%u.%04u", whole, part);
    while (n > 0 && out[n - 1] == '0')
        n--;
    if (n > 0 && out[n - 1] == '.')
        n--;
    snprintf(out + n, size - (size_t)n, "%%");
    return out;
}
