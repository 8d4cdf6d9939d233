#include "fetch/transfer.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/units.h"
#include "fetch/fetch.h"

#include <stdio.h>
#include <string.h>

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

static const char *content_type(enum fetchctl_kind kind)
{
    return kind == FETCHCTL_POST_JSON ? "Content-Type: application/json"
                                      : "Content-Type: application/x-www-form-urlencoded";
}

int transfer_begin(struct transfer *t, const struct curl *curl, int64_t now_ms, struct error *err)
{
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
    SET(PROTOCOLS_STR, "http,https")
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
    SET(POSTFIELDSIZE, (long)t->body_len)
    SET(POSTFIELDS, t->body)
    SET(URL, t->url)
#undef SET
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
    free(t->url);
    free(t->body);
    free(t);
}
