#include "gateway/client_cert.h"

#include "base/log.h"
#include "gateway/h2.h"
#include "gateway/tls.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

/* CAs between the client's certificate and one that is trusted. */
enum { DEPTH_MAX = 4 };

void client_cert_demand(SSL *ssl)
{
    /* Not that of other listeners: what they let in is none of ours. */
    static const unsigned char context[] = "sluice mtls";
    SSL_set_verify(ssl, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    SSL_set_verify_depth(ssl, DEPTH_MAX);
    /* A ticket would let in who was good when it was made. */
    SSL_set_options(ssl, SSL_OP_NO_TICKET);
    SSL_set_num_tickets(ssl, 0);
    SSL_set_session_id_context(ssl, context, sizeof context - 1);
}

char *client_cert_value(SSL *ssl, const char **why)
{
    X509 *x = SSL_get0_peer_certificate(ssl);
    unsigned char *der = NULL;
    char *value = NULL;
    *why = "no certificate was verified";
    if (x == NULL || SSL_get_verify_result(ssl) != X509_V_OK || SSL_session_reused(ssl))
        return NULL;
    int len = i2d_X509(x, &der);
    *why = len > CLIENT_CERT_DER_MAX ? "its certificate is larger than 6 KiB" : "out of memory";
    if (len > 0 && len <= CLIENT_CERT_DER_MAX)
        value = malloc(((size_t)len + 2) / 3 * 4 + 3);
    if (value != NULL) {
        value[0] = ':';
        int n = EVP_EncodeBlock((unsigned char *)value + 1, der, len);
        memcpy(value + 1 + n, ":", 2);
    }
    OPENSSL_free(der);
    return value;
}

const char *client_cert_of(const struct client *c)
{
    if (c->endpoint.stream != NULL)
        c = h2_stream_connection(c->endpoint.stream);
    return c != NULL && c->endpoint.tls != NULL ? tls_client_cert(c->endpoint.tls) : NULL;
}

/* ---- who was turned away
 * ---------------------------------------------------------------------------------- */

static const char *verify_fault(long result)
{
    switch (result) {
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
        return "its certificate is of no CA in DATA/certs/client.ca";
    case X509_V_ERR_CERT_REVOKED: return "its certificate is revoked";
    case X509_V_ERR_CERT_HAS_EXPIRED: return "its certificate has expired";
    case X509_V_ERR_UNABLE_TO_GET_CRL:
        return "a CA above its certificate has no list in DATA/certs/client.crl";
    case X509_V_ERR_CRL_HAS_EXPIRED:
        return "a list in DATA/certs/client.crl is older than its next update";
    case X509_V_ERR_INVALID_PURPOSE: return "its certificate is not for clients";
    default: return X509_verify_cert_error_string(result);
    }
}

const char *client_cert_fault(const SSL *ssl, unsigned long error)
{
    switch (ERR_GET_LIB(error) == ERR_LIB_SSL ? ERR_GET_REASON(error) : 0) {
    case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE: return "it has sent no certificate";
    case SSL_R_CERTIFICATE_VERIFY_FAILED: return verify_fault(SSL_get_verify_result(ssl));
    default: return NULL;
    }
}

void client_cert_refused(struct gateway *g, const char *address, const char *why)
{
    unsigned others;
    if (!seldom_may(&g->refused_clients, &others))
        return;
    if (others > 0)
        log_warn("the client %s is turned away: %s (and %u more since the last such line)", address,
                 why, others);
    else
        log_warn("the client %s is turned away: %s", address, why);
}
