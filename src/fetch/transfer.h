/* transfer: one request as libcurl sees it. */
#ifndef SLUICE_FETCH_TRANSFER_H
#define SLUICE_FETCH_TRANSFER_H

#include "base/buf.h"
#include "fetch/curl.h"
#include "wire/fetchctl.h"

#include <stdbool.h>
#include <stdint.h>

struct transfer {
    uint64_t id;
    enum fetchctl_kind kind;
    int64_t deadline_ms, timeout_ms; /* deadline: monotonic */
    char *url, *body;
    size_t body_len;
    CURL *easy; /* NULL: it waits */
    struct curl_slist *headers;
    struct buf answer, fields;
    bool too_long;
    char error[CURL_ERROR_SIZE];
};

struct transfer *transfer_new(const struct fetchctl_message *request, int64_t now_ms);
/* Makes its handle, which is then the caller's to add to a multi handle. acme_ca outlives it. */
int transfer_begin(struct transfer *t, const struct curl *curl, const struct buf *acme_ca,
                   int64_t now_ms, struct error *err);
/* The answer, or why there is none; appended as a message. */
void transfer_end(const struct transfer *t, const struct curl *curl, CURLcode result,
                  struct buf *out);
void transfer_fail(const struct transfer *t, const char *why, struct buf *out);
void transfer_timed_out(const struct transfer *t, struct buf *out);
void transfer_free(struct transfer *t,
                   const struct curl *curl); /* not in a multi handle any more */

#endif
