#include "wire/traceparent.h"

#include <string.h>

static int digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool is_hex(const char *p, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (digit(p[i]) < 0)
            return false;
    return true;
}

static bool is_id(const char *p, size_t len)
{
    bool any = false;
    for (size_t i = 0; i < len; i++)
        any |= p[i] != '0';
    return any && is_hex(p, len);
}

bool traceparent_parse(const char *p, size_t len, struct traceparent *out)
{
    if (len < TRACEPARENT_LEN || p[2] != '-' || p[35] != '-' || p[52] != '-' || !is_hex(p, 2) ||
        !is_id(p + 3, TRACE_ID_LEN) || !is_id(p + 36, SPAN_ID_LEN) || !is_hex(p + 53, 2))
        return false;
    bool first = p[0] == '0' && p[1] == '0';
    if (first ? len != TRACEPARENT_LEN : len > TRACEPARENT_LEN && p[TRACEPARENT_LEN] != '-')
        return false;
    if (p[0] == 'f' && p[1] == 'f')
        return false;
    memcpy(out->trace, p + 3, TRACE_ID_LEN);
    memcpy(out->span, p + 36, SPAN_ID_LEN);
    out->sampled = (digit(p[54]) & 1) != 0;
    return true;
}

void traceparent_write(const struct traceparent *t, char out[TRACEPARENT_LEN])
{
    memcpy(out, "00-", 3);
    memcpy(out + 3, t->trace, TRACE_ID_LEN);
    out[35] = '-';
    memcpy(out + 36, t->span, SPAN_ID_LEN);
    memcpy(out + 52, t->sampled ? "-01" : "-00", 3);
}

void trace_hex(const uint64_t *numbers, size_t n, char *out)
{
    static const char hex[] = "0123456789abcdef";
    uint64_t any = 0;
    for (size_t i = 0; i < n; i++) {
        any |= numbers[i];
        for (size_t k = 0; k < 16; k++)
            out[16 * i + k] = hex[(numbers[i] >> (60 - 4 * k)) & 15];
    }
    if (any == 0)
        out[16 * n - 1] = '1';
}
