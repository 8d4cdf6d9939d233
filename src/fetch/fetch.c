#include "fetch/fetch.h"

#include "base/alloc.h"
#include "base/log.h"
#include "base/vec.h"
#include "fetch/transfer.h"
#include "os/clock.h"
#include "os/durable.h"
#include "os/privileges.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum { READ_BYTES = 64 << 10, WAIT_MS = 1000, ACME_CA_MAX = 1 << 20 };

struct fetcher {
    int fd;
    struct curl curl;
    CURLM *multi;      /* NULL: there is no libcurl */
    struct error lame; /* why */
    struct {
        struct transfer **items; /* in the order of arrival */
        size_t len, cap;
    } transfers;
    size_t running;
    struct buf acme_ca;        /* PEM; empty: the system's roots count */
    char acme_ca_trouble[256]; /* it cannot be read; "" it can, or is none */
    struct buf in, out;
    bool over; /* the controller is gone */
};

/* ---- transfers ------------------------------------------------------------------------------- */

static void drop(struct fetcher *f, size_t i)
{
    struct transfer *t = f->transfers.items[i];
    if (t->easy != NULL) {
        f->curl.multi_remove_handle(f->multi, t->easy);
        f->running--;
    }
    vec_remove(&f->transfers, i);
    transfer_free(t, &f->curl);
}

static size_t place_of(const struct fetcher *f, uint64_t id)
{
    size_t i = 0;
    while (i < f->transfers.len && f->transfers.items[i]->id != id)
        i++;
    return i;
}

/* Those that wait begin, as long as there is room. */
static void begin_waiting(struct fetcher *f)
{
    int64_t now = clock_mono_ms();
    for (size_t i = 0; i < f->transfers.len;) {
        struct transfer *t = f->transfers.items[i];
        struct error err = ERROR_INIT;
        if (t->easy != NULL) {
            i++;
        } else if (now >= t->deadline_ms) {
            transfer_timed_out(t, &f->out);
            drop(f, i);
        } else if (f->running == FETCH_AT_ONCE) {
            i++;
        } else if (transfer_begin(t, &f->curl, &f->acme_ca, now, &err) < 0) {
            transfer_fail(t, err.text, &f->out);
            drop(f, i);
        } else {
            f->curl.multi_add_handle(f->multi, t->easy);
            f->running++;
            i++;
        }
    }
}

static void end_finished(struct fetcher *f)
{
    int left;
    for (CURLMsg *m; (m = f->curl.multi_info_read(f->multi, &left)) != NULL;) {
        struct transfer *t = NULL;
        if (m->msg != CURLMSG_DONE)
            continue;
        f->curl.easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&t);
        transfer_end(t, &f->curl, m->data.result, &f->out);
        drop(f, place_of(f, t->id));
    }
}

/* ---- the controller -------------------------------------------------------------------------- */

static void take_request(struct fetcher *f, const struct fetchctl_message *m)
{
    struct transfer *t = transfer_new(m, clock_mono_ms());
    const char *refused = NULL;
    if (f->multi == NULL)
        refused = f->lame.text;
    else if (fetchctl_is_acme(m->kind) && f->acme_ca_trouble[0] != '\0')
        refused = f->acme_ca_trouble;
    else if (f->transfers.len - f->running >= FETCH_WAITING)
        refused = "too many requests are waiting";
    if (refused == NULL) {
        *vec_push(&f->transfers) = t;
        return;
    }
    transfer_fail(t, refused, &f->out);
    transfer_free(t, &f->curl);
}

static void take_message(struct fetcher *f, const struct fetchctl_message *m)
{
    size_t i = place_of(f, m->id);
    switch (m->kind) {
    case FETCHCTL_POST_FORM:
    case FETCHCTL_POST_JSON:
    case FETCHCTL_ACME_GET:
    case FETCHCTL_ACME_HEAD:
    case FETCHCTL_ACME_POST: take_request(f, m); break;
    case FETCHCTL_CANCEL:
        if (i < f->transfers.len)
            drop(f, i);
        break;
    case FETCHCTL_ANSWER:
    case FETCHCTL_FAILED:
    default: log_warn("message %d is not for a helper", (int)m->kind);
    }
}

static void take_input(struct fetcher *f)
{
    struct error err = ERROR_INIT;
    buf_reserve(&f->in, READ_BYTES);
    ssize_t n = recv(f->fd, f->in.data + f->in.len, READ_BYTES, MSG_DONTWAIT);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
        f->over = true;
    if (n <= 0)
        return;
    f->in.len += (size_t)n;
    for (;;) {
        struct fetchctl_message m;
        size_t used;
        int got = fetchctl_read(f->in.data, f->in.len, &m, &used, &err);
        if (got < 0)
            log_error("%s", err.text);
        f->over = f->over || got < 0;
        if (got <= 0)
            return;
        take_message(f, &m);
        buf_consume(&f->in, used);
    }
}

static void give_output(struct fetcher *f)
{
    if (f->out.len == 0)
        return;
    ssize_t n = send(f->fd, f->out.data, f->out.len, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n > 0)
        buf_consume(&f->out, (size_t)n);
    else if (n < 0 && errno != EAGAIN && errno != EINTR)
        f->over = true;
}

/* ---- the loop -------------------------------------------------------------------------------- */

static void turn(struct fetcher *f)
{
    int running;
    if (f->multi != NULL) {
        begin_waiting(f);
        f->curl.multi_perform(f->multi, &running);
        end_finished(f);
    }
    give_output(f);
    bool writes = f->out.len > 0;
    if (f->multi != NULL) {
        struct curl_waitfd wait = {
            .fd = f->fd, .events = (short)(CURL_WAIT_POLLIN | (writes ? CURL_WAIT_POLLOUT : 0))};
        f->curl.multi_poll(f->multi, &wait, 1, WAIT_MS, NULL);
    } else {
        short events = (short)(POLLIN | (writes ? POLLOUT : 0));
        poll(&(struct pollfd){.fd = f->fd, .events = events}, 1, -1);
    }
    take_input(f);
}

/* As whoever the controller is: the file may be its alone. */
static void read_acme_ca(struct fetcher *f, const char *path)
{
    struct error err = ERROR_INIT;
    if (path[0] != '\0' && file_read(AT_FDCWD, path, ACME_CA_MAX, &f->acme_ca, &err) < 0)
        snprintf(f->acme_ca_trouble, sizeof f->acme_ca_trouble, "--acme-ca: %.200s", err.text);
}

int fetch_main(struct boot *boot)
{
    struct fetcher f = {.fd = boot->control_fd, .lame = ERROR_INIT};
    struct error err = ERROR_INIT;
    signal(SIGPIPE, SIG_IGN);
    read_acme_ca(&f, boot->acme_ca);
    if (f.fd < 0 || privileges_drop(boot->gateway_uid, boot->gateway_gid, &err) < 0) {
        log_error("%s", f.fd < 0 ? "the boot file has no control_fd" : err.text);
        return EXIT_FAILURE;
    }
    /* Behind the change of user, which undoes both. */
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* a controller that is killed asks nothing more */
    prctl(PR_SET_DUMPABLE, 0);        /* URLs may hold passwords */
    if (curl_load(&f.curl, &f.lame) == 0) {
        f.multi = f.curl.multi_init();
        f.curl.multi_setopt(f.multi, CURLMOPT_MAXCONNECTS, (long)FETCH_AT_ONCE);
    }
    while (!f.over)
        turn(&f);
    while (f.transfers.len > 0)
        drop(&f, f.transfers.len - 1);
    if (f.multi != NULL)
        f.curl.multi_cleanup(f.multi);
    vec_release(&f.transfers);
    buf_release(&f.acme_ca);
    buf_release(&f.in);
    buf_release(&f.out);
    return EXIT_SUCCESS;
}
