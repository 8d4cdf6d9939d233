#include "gateway/proofs.h"

#include "base/alloc.h"
#include "base/map.h"
#include "gateway/conn.h"
#include "gateway/tls.h"
#include "tls/tls_openssl.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* As the one entry of a ProtocolNameList (RFC 7301 section 3.1). */
static unsigned char ACME_TLS[] = "\x0a"
                                  "acme-tls/1";
static const char PATH[] = "/.well-known/acme-challenge/";
enum { HTTP_TEXT_MAX = 512 };

struct proofs {
    struct map by_host; /* TLS-ALPN-01: SSL_CTX */
    struct map answers; /* HTTP-01: "HOST TOKEN" -> text */
};

struct proofs *proofs_new(const struct cert *certs, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (certs[i].kind != CERT_PAIR)
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
    for (size_t i = 0; map_next(&p->answers, &i, &key, &value);)
        free(value);
    map_release(&p->by_host);
    map_release(&p->answers);
    free(p);
}

bool proofs_by_tls(const struct proofs *p)
{
    return p != NULL && p->by_host.len > 0;
}

/* ---- HTTP-01 ---- */

static char *answer_key(const char *host, size_t host_len, const char *token, size_t token_len)
{
    return xasprintf("%.*s %.*s", (int)host_len, host, (int)token_len, token);
}

static int add_answer(struct proofs *p, const struct cert *cert, struct error *err)
{
    if (cert->chain_len > HTTP_TEXT_MAX || cert->key_len > HTTP_TEXT_MAX)
        return error_set(err, ERROR_USAGE, "a token or an answer is too long");
    cleanup_free char *key = answer_key(cert->name, cert->name_len, cert->chain, cert->chain_len);
    free(map_put(&p->answers, key, xstrndup(cert->key, cert->key_len)));
    return 0;
}

const char *proofs_find(const struct proofs *p, const char *host, const char *token)
{
    char key[TLS_NAME_MAX + 1 + HTTP_TEXT_MAX + 1];
    int len = snprintf(key, sizeof key, "%s %s", host, token);
    return len > 0 && (size_t)len < sizeof key ? map_get(&p->answers, key) : NULL;
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

static int add_certificate(struct proofs *p, const struct cert *cert, struct error *err)
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

int proofs_add(struct proofs *p, const struct cert *cert, struct error *err)
{
    return cert->kind == CERT_HTTP_01 ? add_answer(p, cert, err) : add_certificate(p, cert, err);
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

/* ---- requests ---- */

bool proofs_answer(struct exchange *x, const struct http1_head *h, const char *p)
{
    const struct http1_span path = h->path, authority = h->authority;
    char host[TLS_NAME_MAX + 1], token[HTTP_TEXT_MAX + 1], text[HTTP_TEXT_MAX + 1];
    size_t prefix = sizeof PATH - 1, len = 0;
    if (path.len <= prefix || path.len - prefix >= sizeof token ||
        memcmp(p + path.at, PATH, prefix) != 0)
        return false;
    snprintf(token, sizeof token, "%.*s", (int)(path.len - prefix), p + path.at + prefix);
    for (; len < authority.len && len < TLS_NAME_MAX && p[authority.at + len] != ':'; len++)
        host[len] = (char)tolower((unsigned char)p[authority.at + len]);
    host[len] = '\0';
    struct gateway *g = x->worker->gateway;
    pthread_mutex_lock(&g->certificates_lock);
    const char *found =
        g->certificates != NULL ? certificates_proof(g->certificates, host, token) : NULL;
    snprintf(text, sizeof text, "%s", found != NULL ? found : "");
    pthread_mutex_unlock(&g->certificates_lock);
    if (text[0] == '\0')
        return false; /* an app may have a client of its own */
    exchange_answer(x, 200, text);
    return true;
}
