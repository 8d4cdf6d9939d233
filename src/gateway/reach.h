/* How an instance is reached: by a port of the loopback, or by a Unix socket below the working
 * folder, which is DATA/run/sockets: a short path however long that of the data folder is. */
#ifndef SLUICE_GATEWAY_REACH_H
#define SLUICE_GATEWAY_REACH_H

#include "gateway/worker.h"
#include "wire/runsocket.h"
#include "wire/snapshot.h"

struct reach {
    uint16_t port; /* 0: socket */
    bool ipv6;
    char socket[RUNSOCKET_MAX];
    uint32_t uid;        /* who must listen on it; SNAPSHOT_ANY_UID: whoever */
    uint64_t full_at_ms; /* the turn in which its backlog was full */
};

void reach_init(struct reach *r, const struct snapshot_instance *s);
/* Another place, another instance. */
uint64_t reach_hash(uint64_t h, const struct snapshot_instance *s);

/* A connection whose turn comes when the instance has taken others. TCP has the kernel try again,
 * a Unix socket says EAGAIN. */
struct reach_wait {
    struct link link; /* worker.reach_waits */
    struct endpoint *endpoint;
    struct reach *reach;
};

enum reached {
    REACHED,
    REACH_BEGUN, /* connecting, or waiting */
    REACH_REFUSED,
    REACH_LOCAL /* no descriptor, no memory, no local port: no fault of the instance */
};
/* Connects e, whose kind is set, and has epoll watch it. e->fd is -1 where that fails. *wait and *r
 * stay where they are until the connection stands or reach_abandon(). Whether one that was begun
 * came to stand is seen by e's events: writable, or broken. */
enum reached reach_connect(struct worker *w, struct reach *r, struct endpoint *e,
                           struct reach_wait *wait);
void reach_abandon(struct reach_wait *wait); /* before its endpoint is closed */
void reach_tick(struct timer *t);
/* Of one that was begun and has had an event: does it stand? */
bool reach_stands(const struct endpoint *e);

#endif
