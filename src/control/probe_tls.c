#include "control/probe_tls.h"

#include "control/certificates.h"
#include "tls/client.h"

#include <openssl/err.h>
#include <stdlib.h>

struct probe_tls {
    SSL *ssl;
    BIO *in, *out; /* ssl's */
};

/* The routes of an app are its one routed process's. */
static const struct upstream_tls_spec *tls_of(const struct instance *in)
{
    const struct app_spec *spec;
    const struct process_spec *process = instance_process(in, &spec);
    for (size_t i = 0; process != NULL && process->routed && i < spec->routes_len; i++)
        if (spec->routes[i].protocol == PROTOCOL_HTTPS)
            return &spec->routes[i].tls;
    return NULL;
}

static X509_STORE *trust_of(const struct authority *a, struct error *err)
{
    struct tls_trust trust = {a->ca.data, a->crl.data, a->ca.len, a->crl.len};
    struct tls_trust_info info;
    return tls_trust_make(&trust, &info, err);
}

static SSL_CTX *identity_of(const struct certificate *k, struct error *err)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    if (ctx != NULL &&
        tls_pair_use(ctx, k->chain.data, k->chain.len, k->key.data, k->key.len, err) < 0) {
        SSL_CTX_free(ctx);
        return NULL;
    }
    return ctx;
}

static SSL *new_ssl(struct control *c, const struct upstream_tls_spec *spec, struct error *err)
{
    struct tls_client how = {.server_name = spec->server_name};
    const struct authority *ca = spec->ca != NULL ? authorities_named(c, spec->ca) : NULL;
    const struct certificate *pair =
        spec->client_cert != NULL ? certificates_named(c, spec->client_cert) : NULL;
    SSL *ssl = NULL;
    bool there = upstream_tls_there(c, spec, err) == 0;
    if (there && ca != NULL)
        how.trust = trust_of(ca, err);
    if (there && pair != NULL)
        how.identity = identity_of(pair, err);
    if (there && (how.trust != NULL || ca == NULL) && (how.identity != NULL || pair == NULL))
        ssl = tls_client_new(&how, err);
    X509_STORE_free(how.trust);
    SSL_CTX_free(how.identity);
    return ssl;
}

int probe_tls_new(const struct instance *in, struct probe_tls **out, struct error *err)
{
    const struct upstream_tls_spec *spec = tls_of(in);
    *out = NULL;
    if (spec == NULL)
        return 0;
    SSL *ssl = new_ssl(in->app->control, spec, err);
    if (ssl == NULL)
        return -1;
    struct probe_tls *t = xcalloc(1, sizeof *t);
    t->ssl = ssl;
    t->in = BIO_new(BIO_s_mem());
    t->out = BIO_new(BIO_s_mem());
    ASSERT(t->in != NULL && t->out != NULL);
    BIO_set_mem_eof_return(t->in, -1); /* empty is not the end */
    SSL_set_bio(ssl, t->in, t->out);
    *out = t;
    return 0;
}

void probe_tls_free(struct probe_tls *t)
{
    if (t != NULL)
        SSL_free(t->ssl);
    free(t);
}

void probe_tls_take(struct probe_tls *t, const char *data, size_t len)
{
    BIO_write(t->in, data, (int)len);
}

void probe_tls_give(struct probe_tls *t, struct buf *out)
{
    char *data;
    long len = BIO_get_mem_data(t->out, &data);
    if (len > 0)
        buf_append(out, data, (size_t)len);
    (void)BIO_reset(t->out);
}

int probe_tls_shake(struct probe_tls *t, const char **why)
{
    ERR_clear_error();
    int result = SSL_do_handshake(t->ssl);
    if (result == 1)
        return 1;
    if (SSL_get_error(t->ssl, result) == SSL_ERROR_WANT_READ)
        return 0;
    *why = tls_client_fault(t->ssl);
    return -1;
}

void probe_tls_write(struct probe_tls *t, const char *data, size_t len)
{
    ERR_clear_error();
    SSL_write(t->ssl, data, (int)len); /* into memory */
}

ssize_t probe_tls_read(struct probe_tls *t, char *data, size_t room)
{
    ERR_clear_error();
    int n = SSL_read(t->ssl, data, (int)room);
    if (n > 0)
        return n;
    bool waits = SSL_get_error(t->ssl, n) == SSL_ERROR_WANT_READ;
    ERR_clear_error();
    return waits ? 0 : -1;
}
