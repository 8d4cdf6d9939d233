/* fetch: the controller's requests over HTTP, in a process of their own ("sluice: fetch DATA").
 *
 * The controller starts it when it has something to ask and ends it when it was idle for a while.
 * So what answers from outside, the TLS library and the resolver meet a process that can do nothing
 * but answer: unprivileged, without descriptors but its one socket. libcurl.so.4 is loaded when it
 * starts; where that is missing, each request fails with a sentence that says so.
 *
 * Rules: http and https only; no redirects; no proxy; certificates are checked; bodies up to
 * FETCHCTL_BODY_MAX; FETCH_AT_ONCE requests at a time, FETCH_WAITING more wait (their time runs).
 */
#ifndef SLUICE_FETCH_FETCH_H
#define SLUICE_FETCH_FETCH_H

#include "os/boot.h"

enum { FETCH_AT_ONCE = 8, FETCH_WAITING = 256, FETCH_CONNECT_MS = 5000 };

/* The helper's main: uses control_fd (the socket), gateway_uid and gateway_gid (who it becomes),
 * acme_ca (read before that).
 * Gives the exit status: 0 when the controller has closed the socket. */
int fetch_main(struct boot *boot);

#endif
