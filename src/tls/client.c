#include "tls/client.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdbool.h>

/* CAs between the other side's certificate and one that is trusted. */
enum { DEPTH_MAX = 4 };

static const unsigned char HTTP1[] = "\x08http/1.1";
static SSL_CTX *context; /* made once, and not changed then */

static void context_make(void)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    if (ctx == NULL || SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) != 1 ||
        SSL_CTX_set_cipher_list(ctx, TLS_CIPHERS) != 1 ||
        SSL_CTX_set_alpn_protos(ctx, HTTP1, sizeof HTTP1 - 1) != 0) {
        SSL_CTX_free(ctx);
        return;
    }
    /* An end without a close_notify is an error: an answer that ends with its connection may have
     * been cut there (RFC 9112 section 9.8). */
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                              SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_read_ahead(ctx, 1);
    context = ctx;
}

static bool name_it(SSL *ssl, const char *name)
{
    if (X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), name) == 1)
        return true; /* RFC 6066 section 3: no SNI for an address */
    ERR_clear_error();
    SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return SSL_set_tlsext_host_name(ssl, name) == 1 && SSL_set1_host(ssl, name) == 1;
}

static bool show(SSL *ssl, SSL_CTX *identity)
{
    STACK_OF(X509) *chain = NULL;
    SSL_CTX_get0_chain_certs(identity, &chain);
    return SSL_use_certificate(ssl, SSL_CTX_get0_certificate(identity)) == 1 &&
           SSL_use_PrivateKey(ssl, SSL_CTX_get0_privatekey(identity)) == 1 &&
           SSL_set1_chain(ssl, chain) == 1;
}

SSL *tls_client_new(const struct tls_client *how, struct error *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, context_make);
    SSL *ssl = context != NULL ? SSL_new(context) : NULL;
    if (ssl == NULL || !name_it(ssl, how->server_name) ||
        (how->identity != NULL && !show(ssl, how->identity)) ||
        (how->trust != NULL && SSL_set1_verify_cert_store(ssl, how->trust) != 1)) {
        tls_openssl_error(err, "no TLS connection can be made");
        SSL_free(ssl);
        return NULL;
    }
    SSL_set_verify(ssl, how->trust != NULL ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, NULL);
    SSL_set_verify_depth(ssl, DEPTH_MAX);
    SSL_set_connect_state(ssl);
    return ssl;
}

const char *tls_client_fault(const SSL *ssl)
{
    unsigned long code = ERR_peek_last_error();
    const char *reason = code != 0 ? ERR_reason_error_string(code) : NULL;
    int what = ERR_GET_LIB(code) == ERR_LIB_SSL ? ERR_GET_REASON(code) : 0;
    ERR_clear_error();
    switch (what) {
    case SSL_R_CERTIFICATE_VERIFY_FAILED:
        return X509_verify_cert_error_string(SSL_get_verify_result(ssl));
    case SSL_R_WRONG_VERSION_NUMBER: return "it does not speak TLS";
    case SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED: return "it wants a client certificate";
    default: return reason != NULL ? reason : "the connection was closed";
    }
}
