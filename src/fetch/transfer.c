#include "fetch/transfer.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/units.h"
#include "base/vec.h"
#include "fetch/fetch.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

struct transfer *transfer_new(const struct fetchctl_message *request, int64_t now_ms)
{
    struct transfer *t = xcalloc(1, sizeof *t);
    t->id = request->id;
    t->kind = request->kind;
    t->timeout_ms = request->number;
    t->deadline_ms = now_ms + t->timeout_ms;
    t->url = xstrdup(request->url);
    t->body = xstrndup(request->body, request->body_len);
    t->body_len = request->body_len;
    return t;
}

/* More than a body may have ends it. */
static size_t on_bytes(char *data, size_t one, size_t len, void *arg)
{
    struct transfer *t = arg;
    ASSERT(one == 1);
    if (t->answer.len + len > FETCHCTL_BODY_MAX) {
        t->too_long = true;
        return 0;
    }
    buf_append(&t->answer, data, len);
    return len;
}

/* The fields that ACME looks at, of the last head (an interim one may stand before it). */
static size_t on_field(char *data, size_t one, size_t len, void *arg)
{
    static const char *const wanted[] = {"replay-nonce:", "location:", "retry-after:"};
    struct transfer *t = arg;
    ASSERT(one == 1);
    if (len > 5 && memcmp(data, "HTTP/", 5) == 0)
        buf_clear(&t->fields);
    for (size_t i = 0; i < COUNT_OF(wanted); i++) {
        size_t name = strlen(wanted[i]), end = len;
        if (len < name || strncasecmp(data, wanted[i], name) != 0)
            continue;
        while (end > name && (data[end - 1] == '\r' || data[end - 1] == '\n'))
            end--;
        if (memchr(data, 0, end) != NULL || t->fields.len + end + 1 > FETCHCTL_FIELDS_MAX)
            continue;
        buf_puts(&t->fields, wanted[i]);
        buf_append(&t->fields, data + name, end - name);
        buf_putc(&t->fields, '\n');
    }
    return len;
}

static const char *content_type(enum fetchctl_kind kind)
{
    return kind == FETCHCTL_POST_JSON   ? "Content-Type: application/json"
           : kind == FETCHCTL_ACME_POST ? "Content-Type: application/jose+json"
                                        : "Content-Type: application/x-www-form-urlencoded";
}

static CURLcode set_method(const struct transfer *t, const struct curl *curl)
{
    if (t->kind == FETCHCTL_ACME_GET)
        return curl->easy_setopt(t->easy, CURLOPT_HTTPGET, 1L);
    if (t->kind == FETCHCTL_ACME_HEAD)
        return curl->easy_setopt(t->easy, CURLOPT_NOBODY, 1L);
    CURLcode bad = curl->easy_setopt(t->easy, CURLOPT_POSTFIELDSIZE, (long)t->body_len);
    return bad == CURLE_OK ? curl->easy_setopt(t->easy, CURLOPT_POSTFIELDS, t->body) : bad;
}

static CURLcode set_acme(struct transfer *t, const struct curl *curl, const struct buf *ca)
{
    struct curl_blob blob = {.data = ca->data, .len = ca->len, .flags = CURL_BLOB_NOCOPY};
    CURLcode bad = curl->easy_setopt(t->easy, CURLOPT_HEADERFUNCTION, on_field);
    if (bad == CURLE_OK)
        bad = curl->easy_setopt(t->easy, CURLOPT_HEADERDATA, (void *)t);
    if (bad == CURLE_OK && ca->len > 0)
        bad = curl->easy_setopt(t->easy, CURLOPT_CAINFO_BLOB, &blob);
    return bad;
}

int transfer_begin(struct transfer *t, const struct curl *curl, const struct buf *acme_ca,
                   int64_t now_ms, struct error *err)
{
    bool acme = fetchctl_is_acme(t->kind);
    ASSERT(t->easy == NULL && t->deadline_ms > now_ms);
    long left_ms = (long)(t->deadline_ms - now_ms);
    t->easy = curl->easy_init();
    ASSERT(t->easy != NULL); /* out of memory */
    t->headers = curl->slist_append(NULL, content_type(t->kind));
    t->headers = curl->slist_append(t->headers, "Expect:"); /* no waiting for 100 Continue */
    CURLcode bad = CURLE_OK;
#define SET(option, value)                                                                         \
    if (bad == CURLE_OK)                                                                           \
        bad = curl->easy_setopt(t->easy, CURLOPT_##option, value);
    SET(PROTOCOLS_STR, acme ? "https" : "http,https")
    SET(FOLLOWLOCATION, 0L)
    SET(PROXY, "") /* also none from the environment */
    SET(NOSIGNAL, 1L)
    SET(CONNECTTIMEOUT_MS, left_ms < FETCH_CONNECT_MS ? left_ms : (long)FETCH_CONNECT_MS)
    SET(TIMEOUT_MS, left_ms)
    SET(USERAGENT, "sluice/" SLUICE_VERSION)
    SET(ERRORBUFFER, t->error)
    SET(PRIVATE, (void *)t)
    SET(WRITEFUNCTION, on_bytes)
    SET(WRITEDATA, (void *)t)
    SET(HTTPHEADER, t->headers)
    SET(URL, t->url)
#undef SET
    if (bad == CURLE_OK)
        bad = set_method(t, curl);
    if (bad == CURLE_OK && acme)
        bad = set_acme(t, curl, acme_ca);
    if (bad == CURLE_OK)
        return 0;
    curl->easy_cleanup(t->easy);
    t->easy = NULL;
    return error_set(err, ERROR_FAILED, "libcurl on the server does not do this: %s",
                     curl->easy_strerror(bad));
}

static void put(const struct transfer *t, enum fetchctl_kind kind, uint32_t number,
                const char *body, size_t len, struct buf *out)
{
    struct fetchctl_message m = {
        .kind = kind, .id = t->id, .number = number, .body = body, .body_len = len};
    if (kind == FETCHCTL_ANSWER)
        m.fields = buf_str(&t->fields);
    fetchctl_write(&m, out);
}

void transfer_fail(const struct transfer *t, const char *why, struct buf *out)
{
    put(t, FETCHCTL_FAILED, 0, why, strlen(why), out);
}

void transfer_timed_out(const struct transfer *t, struct buf *out)
{
    char time[32], text[64];
    snprintf(text, sizeof text, "no answer within %s",
             format_duration_ms(t->timeout_ms, time, sizeof time));
    transfer_fail(t, text, out);
}

void transfer_end(const struct transfer *t, const struct curl *curl, CURLcode result,
                  struct buf *out)
{
    long status = 0;
    if (result == CURLE_OK) {
        curl->easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
        put(t, FETCHCTL_ANSWER, (uint32_t)status, buf_str(&t->answer), t->answer.len, out);
    } else if (t->too_long) {
        transfer_fail(t, "the answer is longer than 1 MiB", out);
    } else if (result == CURLE_OPERATION_TIMEDOUT) {
        transfer_timed_out(t, out);
    } else {
        transfer_fail(t, t->error[0] != '\0' ? t->error : curl->easy_strerror(result), out);
    }
}

void transfer_free(struct transfer *t, const struct curl *curl)
{
    if (t->easy != NULL)
        curl->easy_cleanup(t->easy);
    if (t->headers != NULL)
        curl->slist_free_all(t->headers);
    buf_release(&t->answer);
    buf_release(&t->fields);
    free(t->url);
    free(t->body);
    free(t);
}
