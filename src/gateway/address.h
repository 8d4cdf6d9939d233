/* Addresses of peers and of those for whom they speak. All are 16 bytes, IPv4 as ::ffff:a.b.c.d. */
#ifndef SLUICE_GATEWAY_ADDRESS_H
#define SLUICE_GATEWAY_ADDRESS_H

#include "wire/http1.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { ADDRESS_BYTES = 16 };

struct cidr {
    uint8_t address[ADDRESS_BYTES];
    uint8_t bits;
};

bool address_in(const struct cidr *list, size_t len, const uint8_t address[ADDRESS_BYTES]);

/* The one of both that tells a client from others; NULL: neither, its connection is all that does.
 * forwarded: for whom a trusted peer speaks, NULL: it does not say. A peer that is not trusted is
 * taken by its public address. In the own network (loopback, private, link-local, the carriers'
 * shared range of RFC 6598) it may speak for many users without saying so. */
const uint8_t *address_of_client(const uint8_t *forwarded, const uint8_t peer[ADDRESS_BYTES],
                                 bool trusted);

/* For whom a trusted proxy speaks: the rightmost address of X-Forwarded-For that is not of a
 * trusted one, or the leftmost where all are. Also takes a port, and brackets around IPv6. false:
 * there is none, or something that is no address comes first; *address is undefined then. */
bool address_forwarded(const struct http1_head *h, const char *p, const struct cidr *trusted,
                       size_t trusted_len, uint8_t address[ADDRESS_BYTES]);

#endif
