/* fetch_link: what the controller asks over HTTP, through a helper process (src/fetch) that is
 * started when there is something to ask and ended when it was idle. Inside control only.
 *
 * A helper that ends or hangs fails its requests; the next request starts a new one. */
#ifndef SLUICE_CONTROL_FETCH_LINK_H
#define SLUICE_CONTROL_FETCH_LINK_H

#include "wire/fetchctl.h"

struct control;
struct fetch_call;

struct fetch_request {
    enum fetchctl_kind kind; /* one of the requests */
    const char *url;         /* at most FETCHCTL_URL_MAX bytes */
    const char *body;        /* at most FETCHCTL_BODY_MAX */
    size_t body_len;
    int64_t timeout_ms;
};

struct fetch_answer {
    uint32_t status; /* of HTTP; 0: there was no answer, and the body is a sentence that says why */
    const char *body;
    size_t body_len;
    const char *fields; /* as in struct fetchctl_message */
};
/* Called once, never from within fetch_start(), and not at all after fetch_cancel() and
 * fetch_release(). */
typedef void fetch_done_fn(void *arg, const struct fetch_answer *answer);

struct fetch_call *fetch_start(struct control *c, const struct fetch_request *request,
                               fetch_done_fn *done, void *arg);
void fetch_cancel(struct fetch_call *call); /* NULL is fine */
void fetch_release(struct control *c);      /* the controller leaves */

#endif
