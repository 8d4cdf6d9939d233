/* The header fields of a reply that ACME looks at: Replay-Nonce (RFC 8555 section 6.5), Location,
 * Retry-After (RFC 9110 section 10.2.3). */
#include "acme/acme_internal.h"

#include "base/units.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

enum { RETRY_AFTER_MAX_S = 30 * 86400 };

bool acme_url_valid(const char *url)
{
    if (strncmp(url, "https://", 8) != 0 || url[8] == '\0' || url[8] == '/' ||
        strlen(url) > ACME_URL_MAX)
        return false;
    for (const char *p = url; *p != '\0'; p++)
        if (*p <= ' ' || *p >= 0x7f || strchr("\"<>\\^`{|}", *p) != NULL)
            return false;
    return true;
}

static bool is_base64url(const char *text)
{
    return text[strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")] ==
           '\0';
}

static int64_t retry_after(const char *value, int64_t now_ms)
{
    uint64_t seconds;
    struct tm tm = {0};
    if (parse_u64(value, UINT64_MAX, &seconds) == 0)
        return (int64_t)(seconds < RETRY_AFTER_MAX_S ? seconds : RETRY_AFTER_MAX_S) * 1000;
    const char *end = strptime(value, "%a, %d %b %Y %H:%M:%S GMT", &tm);
    if (end == NULL || *end != '\0')
        return -1;
    int64_t ms = (int64_t)timegm(&tm) * 1000 - now_ms;
    return ms < 0                                   ? 0
           : ms < RETRY_AFTER_MAX_S * INT64_C(1000) ? ms
                                                    : RETRY_AFTER_MAX_S * INT64_C(1000);
}

static void take_field(struct acme_reply *r, const char *name, const char *value, int64_t now_ms)
{
    size_t len = strlen(value);
    if (strcmp(name, "replay-nonce") == 0 && len <= ACME_NONCE_MAX && is_base64url(value))
        memcpy(r->nonce, value, len + 1);
    else if (strcmp(name, "location") == 0 && acme_url_valid(value))
        memcpy(r->location, value, len + 1);
    else if (strcmp(name, "retry-after") == 0)
        r->retry_after_ms = retry_after(value, now_ms);
}

void acme_reply_fields(struct acme_reply *r, const char *fields, int64_t now_ms)
{
    r->nonce[0] = r->location[0] = '\0';
    r->retry_after_ms = -1;
    for (const char *line = fields, *end; *line != '\0'; line = *end != '\0' ? end + 1 : end) {
        char name[32], value[ACME_URL_MAX + 1];
        end = line + strcspn(line, "\n");
        const char *colon = memchr(line, ':', (size_t)(end - line));
        if (colon == NULL || colon - line >= (ptrdiff_t)sizeof name)
            continue;
        snprintf(name, sizeof name, "%.*s", (int)(colon - line), line);
        const char *from = colon + 1 + strspn(colon + 1, " \t");
        if (from > end || end - from >= (ptrdiff_t)sizeof value)
            continue;
        snprintf(value, sizeof value, "%.*s", (int)(end - from), from);
        take_field(r, name, value, now_ms);
    }
}
