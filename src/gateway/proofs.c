#include "gateway/proofs.h"

#include "base/alloc.h"
#include "base/map.h"
#include "gateway/conn.h"
#include "gateway/tls.h"
#include "tls/tls_openssl.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* As the one entry of a ProtocolNameList (RFC 7301 section 3.1). */
static unsigned char ACME_TLS[] = "\x0a"
                                  "acme-tls/1";
static const char PATH[] = "/.well-known/acme-challenge/";

struct proofs {
    struct map by_host; /* SSL_CTX */
};

struct proofs *proofs_new(const struct cert *certs, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (certs[i].kind == CERT_TLS_ALPN_01)
            return xcalloc(1, sizeof(struct proofs));
    return NULL;
}

void proofs_free(struct proofs *p)
{
    const char *key;
    void *value;
    if (p == NULL)
        return;
    for (size_t i = 0; map_next(&p->by_host, &i, &key, &value);)
        SSL_CTX_free(value);
    map_release(&p->by_host);
    free(p);
}

bool proofs_by_tls(const struct proofs *p)
{
    return p != NULL && p->by_host.len > 0;
}

/* ---- TLS-ALPN-01 ---- */

static int on_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len,
                   const unsigned char *in, unsigned in_len, void *arg)
{
    unsigned char *chosen;
    (void)ssl, (void)arg;
    if (SSL_select_next_proto(&chosen, out_len, ACME_TLS, sizeof ACME_TLS - 1, in, in_len) !=
        OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

int proofs_add(struct proofs *p, const struct cert *cert, struct error *err)
{
    cleanup_free char *host = xstrndup(cert->name, cert->name_len);
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    if (ctx == NULL || SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) != 1) {
        SSL_CTX_free(ctx);
        tls_openssl_error(err, "no TLS context");
        return -1;
    }
    if (tls_pair_use(ctx, cert->chain, cert->chain_len, cert->key, cert->key_len, err) < 0) {
        SSL_CTX_free(ctx);
        return -1;
    }
    SSL_CTX_set_alpn_select_cb(ctx, on_alpn, NULL);
    SSL_CTX_free(map_put(&p->by_host, host, ctx));
    return 0;
}

/* Set before the first context is watched, so before any connection looks at it. */
static int mark_index = -1;

static void make_mark(void)
{
    mark_index = SSL_get_ex_new_index(0, NULL, NULL, NULL, NULL);
}

/* Marks a hello whose only protocol is acme-tls/1: the name is looked at before the protocols are.
 */
static int on_hello(SSL *ssl, int *alert, void *arg)
{
    const unsigned char *list;
    size_t len;
    (void)alert, (void)arg;
    bool only = SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_application_layer_protocol_negotiation,
                                          &list, &len) == 1 &&
                len == 2 + sizeof ACME_TLS - 1 && list[0] == 0 && list[1] == sizeof ACME_TLS - 1 &&
                memcmp(list + 2, ACME_TLS, sizeof ACME_TLS - 1) == 0;
    SSL_set_ex_data(ssl, mark_index, only ? (void *)ACME_TLS : NULL);
    return SSL_CLIENT_HELLO_SUCCESS;
}

void proofs_watch(SSL_CTX *ctx)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_mark);
    SSL_CTX_set_client_hello_cb(ctx, on_hello, NULL);
}

bool proofs_wanted(SSL *ssl)
{
    return proofs_is_one(ssl);
}

bool proofs_is_one(const SSL *ssl)
{
    return SSL_get_ex_data(ssl, mark_index) == (const void *)ACME_TLS;
}

/* RFC 8737 section 3: no certificate but the challenge's may be shown. */
int proofs_show(const struct proofs *p, SSL *ssl, const char *host, int *alert)
{
    SSL_CTX *ctx = map_get(&p->by_host, host);
    if (ctx == NULL) {
        *alert = SSL_AD_UNRECOGNIZED_NAME;
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    }
    SSL_set_SSL_CTX(ssl, ctx);
    return SSL_TLSEXT_ERR_OK;
}

/* ---- HTTP-01 ---- */

static bool is_host(const struct http1_head *h, const char *p, const char *host)
{
    const char *name = p + h->authority.at;
    size_t len = strlen(host);
    return h->authority.len >= len && strncasecmp(name, host, len) == 0 &&
           (h->authority.len == len || name[len] == ':');
}

bool proofs_answer(struct exchange *x, const struct http1_head *h, const char *p)
{
    const struct snapshot *s = x->worker->table->snapshot;
    const char *path = p + h->path.at;
    size_t prefix = sizeof PATH - 1;
    if (h->path.len <= prefix || memcmp(path, PATH, prefix) != 0)
        return false;
    for (uint32_t i = 0; i < s->proofs_len; i++) {
        const struct snapshot_proof *proof = &s->proofs[i];
        if (strlen(proof->token) == h->path.len - prefix &&
            memcmp(path + prefix, proof->token, h->path.len - prefix) == 0 &&
            is_host(h, p, proof->host)) {
            exchange_answer(x, 200, proof->answer);
            return true;
        }
    }
    return false; /* an app may have a client of its own */
}
