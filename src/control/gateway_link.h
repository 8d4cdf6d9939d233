/* The controller's link to one gateway generation: DATA/run/gateway-G.sock.
 *
 * Sends snapshots, hears what was applied, maps the metrics. The end of the connection is the end
 * of that generation (its in-flight requests count as zero). No event loop of its own:
 * gateway_link_fd() is readable when gateway_link_poll() has something to do (give it to uv_poll).
 * Callbacks come only from within gateway_link_poll(); each may be NULL.
 */
#ifndef SLUICE_CONTROL_GATEWAY_LINK_H
#define SLUICE_CONTROL_GATEWAY_LINK_H

#include "base/error.h"
#include "wire/metrics.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct gateway_link;

struct gateway_link_events {
    /* The metrics are there from now on, but of one that counts in another format. */
    void (*hello)(void *arg, struct gateway_link *l);
    void (*applied)(void *arg, struct gateway_link *l, uint64_t version);
    void (*refused)(void *arg, struct gateway_link *l, uint64_t version, const char *why);
    /* Serves the certificates of this version, or the ones before them: why; "": it does. */
    void (*certificates)(void *arg, struct gateway_link *l, uint64_t version, const char *why);
    /* The rings of its access log; *fd may be taken (set to -1 then). */
    void (*access_log)(void *arg, struct gateway_link *l, int *fd);
    /* The connection is over (it died, or talks nonsense: why). The last callback; the link and its
     * metrics stay readable until gateway_link_free(), which may be called from within this one. */
    void (*gone)(void *arg, struct gateway_link *l, const char *why);
};

/* Connects to the generation's socket in the folder run_dir_fd (DATA/run). ERROR_NOT_FOUND,
 * ERROR_UNAVAILABLE: no such gateway (any more). */
struct gateway_link *gateway_link_open(int run_dir_fd, uint64_t generation,
                                       const struct gateway_link_events *events, void *arg,
                                       struct error *err);
void gateway_link_free(struct gateway_link *l); /* NULL is fine */

int gateway_link_fd(const struct gateway_link *l);
void gateway_link_poll(struct gateway_link *l);

/* A snapshot's bytes (snapshot_encode) as what gateway_link_send() takes: one sealed memfd, the
 * caller's, that serves all generations. */
int gateway_link_snapshot(const void *data, size_t len, struct error *err);
/* Sends it, or keeps it (only the newest) until the gateway reads again. Answered by applied or
 * refused. snapshot_fd stays the caller's. -1: the connection is over; `gone` comes with the next
 * poll. */
int gateway_link_send(struct gateway_link *l, uint64_t version, int snapshot_fd, size_t len,
                      struct error *err);

/* The same for certificates (wire/certs.h) as a sealed memfd; answered by `certificates`. */
int gateway_link_send_certificates(struct gateway_link *l, uint64_t version, int fd, size_t len,
                                   struct error *err);

uint64_t gateway_link_generation(const struct gateway_link *l);
pid_t gateway_link_pid(const struct gateway_link *l);        /* 0 before hello */
uint64_t gateway_link_applied(const struct gateway_link *l); /* last version applied; 0 none */
bool gateway_link_alive(const struct gateway_link *l);
/* It is of another version, and what it counts cannot be read. */
bool gateway_link_is_foreign(const struct gateway_link *l);
/* header is NULL before hello, and of a foreign one. */
const struct metrics_view *gateway_link_metrics(const struct gateway_link *l);

#endif
