/* A client's certificate, verified by a listener that asks for one: the field by which instances
 * learn of it (RFC 9440), and the log of who was turned away. */
#ifndef SLUICE_GATEWAY_CLIENT_CERT_H
#define SLUICE_GATEWAY_CLIENT_CERT_H

#include "gateway/chunk.h"
#include "gateway/worker.h"

#include <openssl/ssl.h>

struct client;

/* Larger ones are turned away: their field goes into each request. */
enum { CLIENT_CERT_DER_MAX = 6144 };

/* In front of a handshake: without a certificate of these CAs there is none, and nothing of an
 * earlier one counts (no tickets, no sessions). */
void client_cert_demand(SSL *ssl);
/* Behind it: the value of Client-Cert, a Byte Sequence (RFC 8941 section 3.3.5), to be freed. NULL:
 * no certificate was verified, or it is too large, or no memory; *why says which. */
char *client_cert_value(SSL *ssl, const char **why);

/* The value for requests of this client, also of a stream of HTTP/2. NULL: there is none. */
const char *client_cert_of(const struct client *c);

/* Why a handshake with such a demand failed; NULL: not for its certificate. */
const char *client_cert_fault(const SSL *ssl, unsigned long error);
/* Into the log: for all such clients together one line a second at most, that counts the others. */
void client_cert_refused(struct gateway *g, const char *address, const char *why);

#endif
