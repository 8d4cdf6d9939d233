/* The shim's control connections: requests in, reports out (wire/shimctl.h). The first one is
 * inherited from the engine that started us, later ones come over the socket in the run folder. */
#ifndef SLUICE_SHIM_CONTROL_H
#define SLUICE_SHIM_CONTROL_H

#include "base/error.h"
#include "wire/shimctl.h"

#include <poll.h>
#include <stddef.h>

enum { CONTROL_CONNECTIONS = 8, CONTROL_POLL_FDS = CONTROL_CONNECTIONS + 1 };

struct control {
    int listener;
    int connections[CONTROL_CONNECTIONS]; /* -1: free; oldest first */
};

/* first: an open connection that it takes over, or -1. */
int control_init(struct control *c, int run_dir_fd, int first, struct error *err);

/* Fills CONTROL_POLL_FDS entries (fd -1 where there is none). */
void control_poll_fds(const struct control *c, struct pollfd fds[CONTROL_POLL_FDS]);

/* After a poll: accepts, receives, calls on_request for each request, answers STATUS with the
 * report that `report` fills. */
struct control_handler {
    void (*on_request)(void *arg, const struct shimctl_request *request);
    void (*report)(void *arg, struct shimctl_report *out);
    void *arg;
};
void control_serve(struct control *c, const struct pollfd fds[CONTROL_POLL_FDS],
                   const struct control_handler *handler);

void control_tell_all(struct control *c, const struct shimctl_report *report);

#endif
