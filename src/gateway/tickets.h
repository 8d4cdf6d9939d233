/* The keys of session tickets (RFC 5077, RFC 8446 section 4.6.1): a client that comes again saves
 * the costly part of a handshake. One set of keys for all certificates and workers of the process;
 * a key encrypts for TICKET_KEY_MS and opens what it encrypted for as long again, so that what is
 * recorded today cannot be read with what is stolen tomorrow. */
#ifndef SLUICE_GATEWAY_TICKETS_H
#define SLUICE_GATEWAY_TICKETS_H

#include <openssl/ssl.h>

enum { TICKET_KEY_MS = 8 * 3600 * 1000 };

void tickets_use(SSL_CTX *ctx);

#endif
