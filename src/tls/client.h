/* The client's side of TLS: how an instance is spoken to. */
#ifndef SLUICE_TLS_CLIENT_H
#define SLUICE_TLS_CLIENT_H

#include "tls/tls_openssl.h"

struct tls_client {
    const char *server_name; /* must stand in its certificate; a name is also sent as SNI */
    X509_STORE *trust;       /* NULL: any certificate will do */
    SSL_CTX *identity;       /* whose certificate and key are shown; NULL: none */
};

/* TLS 1.2 at least, ALPN http/1.1, no sessions; the caller sets the BIO. NULL with *err. */
SSL *tls_client_new(const struct tls_client *how, struct error *err);
/* Why a handshake failed, or what came behind it is no TLS: from OpenSSL's error queue, which is
 * empty then. Static text. */
const char *tls_client_fault(const SSL *ssl);

#endif
