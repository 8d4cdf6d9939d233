/* The PROXY protocol, versions 1 and 2 (HAProxy, proxy-protocol.txt), as it is received: who the
 * client is of a connection that a proxy passes on byte for byte. Pure codec, strict. */
#ifndef SLUICE_WIRE_PROXY_H
#define SLUICE_WIRE_PROXY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum {
    PROXY_V1_MAX = 107, /* with the CRLF */
    PROXY_MAX = 4096,   /* of version 2, with its TLVs; senders stay far below it */
};

struct proxy_header {
    /* The proxy's own connection, or it does not know: the peer is who it is. (LOCAL, UNKNOWN,
     * UNSPEC, and what is not TCP over IP.) The rest is 0 then. */
    bool local;
    uint8_t source[16], destination[16]; /* IPv4 as ::ffff:a.b.c.d */
    uint16_t source_port, destination_port;
};

/* Of the len bytes that have come so far: the header's length, 0: more are needed, -1: this is
 * none, or a malformed one (also one that is longer than PROXY_MAX). TLVs are skipped. */
ssize_t proxy_parse(const char *p, size_t len, struct proxy_header *h);

#endif
