#include "gateway/certificates.h"

#include "base/alloc.h"
#include "base/log.h"
#include "base/map.h"
#include "base/vec.h"
#include "gateway/client_cert.h"
#include "gateway/proofs.h"
#include "gateway/tickets.h"
#include "tls/tls_openssl.h"
#include "wire/certs.h"

#include <ctype.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct certificates {
    atomic_uint refs;
    struct {
        SSL_CTX **items; /* the first one is the default */
        size_t len, cap;
    } all;
    struct map by_name;    /* "a.example", "*.example" -> SSL_CTX */
    SSL_CTX *bare;         /* without certificate, where `all` is empty; NULL: none is needed */
    struct map pairs;      /* by the name of their files -> SSL_CTX, all and those of clients */
    struct map trusts;     /* name -> X509_STORE */
    X509_STORE *clients;   /* of trusts, CERTS_CLIENTS; NULL: no client is let in */
    struct proofs *proofs; /* proofs.c; NULL: no CA looks at a host */
};

static SSL_CTX *find(const struct certificates *c, const char *host)
{
    SSL_CTX *ctx = map_get(&c->by_name, host);
    const char *dot = strchr(host, '.');
    if (ctx == NULL && dot != NULL && dot != host) {
        char wild[TLS_NAME_MAX + 3] = "*";
        size_t n = strlen(dot);
        if (n < sizeof wild - 1) {
            memcpy(wild + 1, dot, n + 1);
            ctx = map_get(&c->by_name, wild);
        }
    }
    return ctx;
}

/* RFC 6066 section 3. A host that no certificate is for gets the first one: the client says what it
 * thinks of that better than an alert does. */
static int on_server_name(SSL *ssl, int *alert, void *arg)
{
    const struct certificates *c = arg;
    const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    char host[TLS_NAME_MAX + 1];
    size_t len = name != NULL ? strlen(name) : 0;
    if (len == 0 || len > TLS_NAME_MAX)
        return SSL_TLSEXT_ERR_NOACK;
    for (size_t i = 0; i <= len; i++)
        host[i] = (char)tolower((unsigned char)name[i]);
    if (c->proofs != NULL && proofs_wanted(ssl))
        return proofs_show(c->proofs, ssl, host, alert);
    SSL_CTX *ctx = find(c, host);
    if (ctx == NULL)
        return SSL_TLSEXT_ERR_NOACK;
    SSL_set_SSL_CTX(ssl, ctx);
    return SSL_TLSEXT_ERR_OK;
}

/* RFC 7301 section 3.2: none in common is an alert. */
static int on_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len,
                   const unsigned char *in, unsigned in_len, void *arg)
{
    static const unsigned char ours[] = "\x02h2\x08http/1.1\x08http/1.0";
    (void)ssl, (void)arg;
    unsigned char *chosen;
    if (SSL_select_next_proto(&chosen, out_len, ours, sizeof ours - 1, in, in_len) !=
        OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

static SSL_CTX *new_context(struct certificates *c)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    if (ctx == NULL || SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) != 1 ||
        SSL_CTX_set_cipher_list(ctx, TLS_CIPHERS) != 1) {
        SSL_CTX_free(ctx);
        return NULL;
    }
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                 SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                              SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_tlsext_servername_callback(ctx, on_server_name);
    SSL_CTX_set_tlsext_servername_arg(ctx, c);
    SSL_CTX_set_alpn_select_cb(ctx, on_alpn, NULL);
    SSL_CTX_set_read_ahead(ctx, 1);
    tickets_use(ctx);
    if (c->proofs != NULL)
        proofs_watch(ctx);
    if (c->clients != NULL) { /* looked at only where a connection asks */
        SSL_CTX_set1_verify_cert_store(ctx, c->clients);
        SSL_CTX_set_client_CA_list(ctx, tls_trust_names(c->clients));
    }
    return ctx;
}

/* The first of two certificates for one host serves it. */
static void add(struct certificates *c, SSL_CTX *ctx, const struct tls_pair_info *info)
{
    *vec_push(&c->all) = ctx;
    for (size_t i = 0; i < info->names_len; i++)
        if (map_get(&c->by_name, info->names[i]) == NULL)
            map_put(&c->by_name, info->names[i], ctx);
}

static int take_trust(struct certificates *c, const struct cert *cert, struct error *err)
{
    struct tls_trust trust = {cert->chain, cert->key, cert->chain_len, cert->key_len};
    struct tls_trust_info info;
    cleanup_free char *name = xstrndup(cert->name, cert->name_len);
    X509_STORE *store = tls_trust_make(&trust, &info, err);
    if (store == NULL)
        return -1;
    X509_STORE_free(map_put(&c->trusts, name, store));
    c->clients = map_get(&c->trusts, CERTS_CLIENTS);
    return 0;
}

static int take(struct certificates *c, const struct cert *cert, struct error *err)
{
    if (cert->kind == CERT_TLS_ALPN_01)
        return proofs_add(c->proofs, cert, err);
    cleanup_free struct tls_pair_info *info = xcalloc(1, sizeof *info);
    if (tls_pair_check(cert->chain, cert->chain_len, cert->key, cert->key_len, info, err) < 0)
        return -1;
    SSL_CTX *ctx = new_context(c);
    if (ctx == NULL) {
        tls_openssl_error(err, "no TLS context");
        return -1;
    }
    if (tls_pair_use(ctx, cert->chain, cert->chain_len, cert->key, cert->key_len, err) < 0) {
        SSL_CTX_free(ctx);
        return -1;
    }
    if (info->serves && SSL_CTX_up_ref(ctx) == 1)
        add(c, ctx, info);
    cleanup_free char *name = xstrndup(cert->name, cert->name_len);
    if (map_get(&c->pairs, name) == NULL)
        map_put(&c->pairs, name, ctx);
    else
        SSL_CTX_free(ctx);
    return 0;
}

/* The CAs first: the others' contexts refer to them. Gives how many there are of the others. */
static size_t take_all(struct certificates *c, const struct cert *certs, size_t len)
{
    size_t others = 0;
    for (int trust = 1; trust >= 0; trust--)
        for (size_t i = 0; i < len; i++) {
            struct error why = ERROR_INIT;
            if ((certs[i].kind == CERT_TRUST) != trust)
                continue;
            others += !trust;
            if ((trust ? take_trust : take)(c, &certs[i], &why) < 0)
                log_error("certificate %.*s: %s", (int)certs[i].name_len, certs[i].name, why.text);
        }
    return others;
}

int certificates_make(const void *data, size_t bytes, struct certificates **out, struct error *err)
{
    size_t len;
    cleanup_free struct cert *certs = certs_decode(data, bytes, &len, err);
    *out = NULL;
    if (certs == NULL)
        return -1;
    if (len == 0)
        return 0;
    struct certificates *c = xcalloc(1, sizeof *c);
    atomic_init(&c->refs, 1);
    c->proofs = proofs_new(certs, len);
    size_t others = take_all(c, certs, len);
    if (c->all.len == 0 && c->proofs != NULL)
        c->bare = new_context(c);
    if (c->all.len == 0 && c->bare == NULL && c->pairs.len == 0 && others > 0) {
        certificates_unref(c);
        return error_set(err, ERROR_USAGE, "there is no certificate that can be used");
    }
    *out = c;
    return 0;
}

struct certificates *certificates_ref(struct certificates *c)
{
    atomic_fetch_add(&c->refs, 1);
    return c;
}

void certificates_unref(struct certificates *c)
{
    if (c == NULL || atomic_fetch_sub(&c->refs, 1) != 1)
        return;
    for (size_t i = 0; i < c->all.len; i++)
        SSL_CTX_free(c->all.items[i]);
    vec_release(&c->all);
    SSL_CTX_free(c->bare);
    const char *name;
    void *value;
    for (size_t i = 0; map_next(&c->pairs, &i, &name, &value);)
        SSL_CTX_free(value);
    for (size_t i = 0; map_next(&c->trusts, &i, &name, &value);)
        X509_STORE_free(value);
    map_release(&c->pairs);
    map_release(&c->trusts);
    proofs_free(c->proofs);
    map_release(&c->by_name);
    free(c);
}

bool certificates_serve(const struct certificates *c)
{
    return c->all.len > 0 || proofs_by_tls(c->proofs);
}

bool certificates_only_prove(const struct certificates *c, const SSL *ssl)
{
    return c->proofs != NULL && proofs_is_one(ssl);
}

bool certificates_know_clients(const struct certificates *c)
{
    return c->clients != NULL;
}

X509_STORE *certificates_trust(const struct certificates *c, const char *name)
{
    return map_get(&c->trusts, name);
}

SSL_CTX *certificates_pair(const struct certificates *c, const char *name)
{
    return map_get(&c->pairs, name);
}

SSL *certificates_accept(struct certificates *c, bool mutual)
{
    SSL_CTX *ctx = c->all.len > 0 ? c->all.items[0] : c->bare;
    SSL *ssl = ctx != NULL && (!mutual || c->clients != NULL) ? SSL_new(ctx) : NULL;
    if (ssl != NULL)
        SSL_set_accept_state(ssl);
    if (ssl != NULL && mutual)
        client_cert_demand(ssl);
    return ssl;
}
