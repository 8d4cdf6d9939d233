/* What guardian and controller say to each other: the messages of wire/gatewayctl.h (same struct,
 * same magic) with types of their own, on SOCK_SEQPACKET sockets.
 *
 * channel          a socket pair, made by the guardian with each controller that it starts. It ends
 *                  when either is gone; a controller goes on without a guardian.
 * controller.sock  a listening socket in DATA/run, which the controller inherits. A new guardian
 * uses it when there is no channel any more: on accept the controller says GUARDIANCTL_HELLO; it
 * answers GATEWAYCTL_TAKE_OVER as a gateway does, and leaves on GUARDIANCTL_LEAVE. Peers: root or
 * the data folder's owner.
 */
#ifndef SLUICE_WIRE_GUARDIANCTL_H
#define SLUICE_WIRE_GUARDIANCTL_H

#include "wire/gatewayctl.h"

#include <stdbool.h>
#include <string.h>

enum guardianctl_type {
    /* guardian -> controller, on the channel */
    GUARDIANCTL_GATEWAY_UP = 100, /* a = generation, b = pid (0 not known yet); text "previous"
                                     where it was told to use the snapshot before the newest.
                                     Connect to DATA/run/gateway-G.sock */
    GUARDIANCTL_GATEWAY_READY,    /* a = generation, b = pid: it accepts connections */
    GUARDIANCTL_GATEWAY_DOWN,     /* a = generation, b = pid: the process is gone; text = how it
                                     died, "" where it was to go */
    GUARDIANCTL_LISTENER,         /* answers OPEN_LISTENER: text = the real address; 16 fds */
    GUARDIANCTL_REFUSED,          /* answers OPEN_LISTENER (a = 1, b = enum error_class),
                                     RESTART_GATEWAY, UPGRADE: text = why */
    /* guardian -> controller, on the channel or controller.sock */
    GUARDIANCTL_LEAVE, /* a = 1: stop the apps first; b = 1: hurry (said again) */

    /* controller -> guardian, on the channel */
    GUARDIANCTL_READY,           /* the API answers */
    GUARDIANCTL_OPEN_LISTENER,   /* text = "[tcp:]HOST:PORT" */
    GUARDIANCTL_RESTART_GATEWAY, /* a new generation, then the old one drains */
    GUARDIANCTL_UPGRADE, /* fd: another main binary; the guardian becomes its `serve`, which takes
                            over as after a guardian's death */
    /* controller -> peer, on controller.sock */
    GUARDIANCTL_HELLO, /* b = pid */
    /* controller -> guardian, on the channel */
    GUARDIANCTL_CLOSE_LISTENER, /* text = the address of one that was opened for a TCP route */
    GUARDIANCTL_TYPES_END
};

/* A controller or gateway that ends with this status before it was ever ready cannot work as it was
 * told (a port of the API that is taken, a store of a later version): trying again makes no sense.
 */
enum { EXIT_CANNOT_START = 78 };

static inline struct gatewayctl_message gatewayctl_make(uint32_t type, uint64_t a, uint64_t b,
                                                        const char *text)
{
    struct gatewayctl_message m;
    memset(&m, 0, sizeof m);
    m.magic = GATEWAYCTL_MAGIC;
    m.type = type;
    m.a = a;
    m.b = b;
    size_t len = strlen(text);
    memcpy(m.text, text, len < sizeof m.text ? len : sizeof m.text - 1);
    return m;
}

/* What each receiver checks first: magic, a type that there is, a text that ends. */
static inline bool gatewayctl_valid(const struct gatewayctl_message *m)
{
    return m->magic == GATEWAYCTL_MAGIC && memchr(m->text, '\0', sizeof m->text) != NULL &&
           ((m->type >= GATEWAYCTL_HELLO && m->type < GATEWAYCTL_TYPES) ||
            (m->type >= GUARDIANCTL_GATEWAY_UP && m->type < GUARDIANCTL_TYPES_END));
}

#endif
