/* The controller's link to its guardian, and its answers to a new guardian that takes over.
 *
 * Holds duplicates of all listeners (so that they outlive guardian and gateways), reads the
 * channel, accepts on controller.sock. No event loop of its own: guardian_link_fd() is readable
 * when guardian_link_poll() has something to do (give it to uv_poll). Callbacks come only from
 * within guardian_link_poll(); each may be NULL.
 */
#ifndef SLUICE_CONTROL_GUARDIAN_LINK_H
#define SLUICE_CONTROL_GUARDIAN_LINK_H

#include "base/error.h"
#include "os/boot.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct guardian_link_events {
    /* A generation was started: connect to it with gateway_link_open(). pid 0: not known yet.
     * previous_snapshot: gateways died in a row, so it serves the snapshot before the newest;
     * sending the newest again would kill it again: wait until there is a newer one. */
    void (*gateway_up)(void *arg, uint64_t generation, pid_t pid, bool previous_snapshot);
    void (*gateway_ready)(void *arg, uint64_t generation, pid_t pid);
    /* Its in-flight requests count as zero. how: it died, and nobody wanted that; "" else. */
    void (*gateway_down)(void *arg, uint64_t generation, pid_t pid, const char *how);
    /* Leave, apps first where stop_apps. Comes again with hurry where someone is impatient. */
    void (*leave)(void *arg, bool stop_apps, bool hurry);
    void (*listener_opened)(void *arg, const char *address);      /* the real address */
    void (*listener_refused)(void *arg, const struct error *why); /* the one asked for last */
    void (*refused)(void *arg, const char *why);                  /* of anything else */
    void (*guardian_gone)(void *arg); /* a controller goes on; a new guardian will ask it */
};

struct guardian_link;

/* Takes over b's guardian_fd, control_fd and listeners (all closed in guardian_link_free). Either
 * of the two may be -1 (tests). Memory and descriptors are the only reasons to fail. */
struct guardian_link *guardian_link_open(const struct boot *b,
                                         const struct guardian_link_events *events, void *arg,
                                         struct error *err);
int guardian_link_fd(const struct guardian_link *l);
void guardian_link_poll(struct guardian_link *l);
void guardian_link_free(struct guardian_link *l); /* not from within a callback; NULL is fine */

/* The API answers: `serve` says that it is ready. */
void guardian_link_ready(struct guardian_link *l);
/* Answered by listener_opened or listener_refused; not to be asked again before that. -1
 * (ERROR_UNAVAILABLE): there is no guardian now. */
int guardian_link_open_listener(struct guardian_link *l, const char *address, struct error *err);
/* One that was opened for a TCP route ("tcp:127.0.0.1:5432"); its name is gone at once. -1 as
 * above: it stays. */
int guardian_link_close_listener(struct guardian_link *l, const char *address, struct error *err);
/* A new generation, then the old one drains. */
int guardian_link_restart_gateway(struct guardian_link *l, struct error *err);
/* Goes over to another main binary (an open descriptor, stays the caller's; already checked to be
 * one). Success shows as `leave` from its guardian; `refused` where it could not be executed. */
int guardian_link_upgrade(struct guardian_link *l, int binary_fd, struct error *err);

pid_t guardian_link_guardian_pid(const struct guardian_link *l); /* 0: gone */
size_t guardian_link_listeners(const struct guardian_link *l);
const char *guardian_link_listener(const struct guardian_link *l, size_t i); /* its address */

#endif
