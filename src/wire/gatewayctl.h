/* The control connection of a gateway: SOCK_SEQPACKET Unix socket DATA/run/gateway-G.sock (G is the
 * generation), made by the guardian before the gateway starts. Fixed-size messages of this header,
 * descriptors by SCM_RIGHTS. The peer is checked with SO_PEERCRED: root or the data folder's owner.
 *
 * On accept the gateway sends HELLO with its metrics memfd. Snapshots come as a sealed memfd (so
 * that any size is one message). The gateway answers each SNAPSHOT with APPLIED once the table
 * pointer was swapped (workers' acknowledgement is read from the metrics), or REFUSED.
 *
 * TAKE_OVER (from a new guardian): answered with one LISTENER message per listen address, each with
 * its LISTENER_SOCKETS descriptors, then DONE. DRAIN: stop accepting (EPOLL_CTL_DEL before close),
 * end when the last request is answered; connections get `Connection: close`.
 */
#ifndef SLUICE_WIRE_GATEWAYCTL_H
#define SLUICE_WIRE_GATEWAYCTL_H

#include <stdint.h>

enum {
    GATEWAYCTL_MAGIC = 0x53474331, /* "SGC1" */
    LISTENER_SOCKETS = 16,         /* SO_REUSEPORT sockets per listen address */
};

enum gatewayctl_type {
    GATEWAYCTL_HELLO =
        1, /* gateway -> peer: a = generation, b = pid, text = version; fd: metrics memfd */
    GATEWAYCTL_SNAPSHOT,  /* controller -> gateway: a = version, b = bytes; fd: sealed memfd */
    GATEWAYCTL_APPLIED,   /* gateway -> controller: a = version */
    GATEWAYCTL_REFUSED,   /* gateway -> controller: a = version, text = why */
    GATEWAYCTL_TAKE_OVER, /* guardian -> gateway */
    GATEWAYCTL_LISTENER,  /* gateway -> guardian, or guardian -> gateway (a listener added later):
                             text = "127.0.0.1:8080"; 16 fds */
    GATEWAYCTL_DONE,      /* end of the LISTENER messages */
    GATEWAYCTL_DRAIN,     /* guardian -> gateway: a = deadline in ms from now */
    GATEWAYCTL_PING,      /* guardian -> gateway: a = number */
    GATEWAYCTL_PONG, /* gateway -> guardian: a = that number, b = how many workers are in the same
                        turn of their loop as at the PING before */
    GATEWAYCTL_CERTIFICATES, /* controller -> gateway: a = version, b = bytes; fd: sealed memfd
                                (wire/certs.h). Answered by APPLIED_CERTIFICATES */
    GATEWAYCTL_APPLIED_CERTIFICATES, /* gateway -> controller: a = version; text = "" or why not */
    GATEWAYCTL_ACCESS_LOG, /* gateway -> peer, behind HELLO, where there is an access log; fd: its
                              rings (wire/accessring.h) */
    GATEWAYCTL_CLOSE_LISTENER, /* guardian -> gateway: text = its address */
    GATEWAYCTL_TYPES
};

struct gatewayctl_message {
    uint32_t magic, type;
    uint64_t a, b;
    char text[232]; /* NUL-terminated; checked by the receiver */
};

#endif
