#include "gateway/tls.h"

#include "gateway/conn.h"
#include "os/listen.h"

#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>

/* Two parts of an answer go as one record where they fit: each has its own cost. */
enum { RECORD_MAX = 16384 };

struct tls {
    SSL *ssl;
    struct certificates *certificates; /* its handshake looks them up */
};

bool tls_possible(struct gateway *g)
{
    pthread_mutex_lock(&g->certificates_lock);
    bool any = g->certificates != NULL;
    pthread_mutex_unlock(&g->certificates_lock);
    return any;
}

unsigned tls_port(struct gateway *g)
{
    unsigned found = 443;
    pthread_mutex_lock(&g->listeners_lock);
    for (size_t i = g->listeners_len; i-- > 0;) {
        const char *address = g->listeners[i].address, *colon = strrchr(address, ':');
        unsigned port = listen_is_tls(address) ? (unsigned)strtoul(colon + 1, NULL, 10) : 0;
        if (port != 0)
            found = port;
        if (port == 443)
            break;
    }
    pthread_mutex_unlock(&g->listeners_lock);
    return found;
}

struct tls *tls_new(struct gateway *g, int fd)
{
    pthread_mutex_lock(&g->certificates_lock);
    struct certificates *c = g->certificates != NULL ? certificates_ref(g->certificates) : NULL;
    pthread_mutex_unlock(&g->certificates_lock);
    struct tls *t = c != NULL ? calloc(1, sizeof *t) : NULL;
    if (t != NULL)
        t->ssl = certificates_accept(c, fd);
    if (t == NULL || t->ssl == NULL) {
        certificates_unref(c);
        free(t);
        return NULL;
    }
    t->certificates = c;
    return t;
}

void tls_free(struct tls *t)
{
    if (t == NULL)
        return;
    SSL_free(t->ssl);
    certificates_unref(t->certificates);
    free(t);
}

/* What an unsuccessful call waits for. False: it is broken. OpenSSL may want to read in order to
 * write and the other way round, so any event wakes both (endpoint_note). */
static bool waits(struct endpoint *e, int result)
{
    switch (SSL_get_error(e->tls->ssl, result)) {
    case SSL_ERROR_WANT_READ: e->readable = false; return true;
    case SSL_ERROR_WANT_WRITE: e->writable = false; return true;
    default: ERR_clear_error(); return false;
    }
}

ssize_t tls_read(struct endpoint *e, void *data, size_t room)
{
    size_t n;
    ERR_clear_error();
    int result = SSL_read_ex(e->tls->ssl, data, room, &n);
    if (result == 1)
        return (ssize_t)n; /* more may lie in OpenSSL's buffer: still readable */
    if (SSL_get_error(e->tls->ssl, result) == SSL_ERROR_ZERO_RETURN) {
        e->readable = false;
        e->hangup = true;
        return READ_END;
    }
    bool waiting = waits(e, result);
    e->readable = false;
    return waiting ? 0 : READ_BROKEN;
}

ssize_t tls_send(struct endpoint *e, const struct iovec *parts, int len)
{
    char both[RECORD_MAX];
    const void *data = parts[0].iov_base;
    size_t size = parts[0].iov_len, n;
    if (len > 1 && size < RECORD_MAX) {
        /* After a call that would block the same bytes come again, perhaps more of them. */
        size_t rest = RECORD_MAX - size < parts[1].iov_len ? RECORD_MAX - size : parts[1].iov_len;
        memcpy(both, data, size);
        memcpy(both + size, parts[1].iov_base, rest);
        data = both;
        size += rest;
    }
    ERR_clear_error();
    int result = SSL_write_ex(e->tls->ssl, data, size, &n);
    if (result == 1)
        return (ssize_t)n;
    bool waiting = waits(e, result);
    e->writable = false;
    return waiting ? 0 : -1;
}

void tls_end(struct endpoint *e)
{
    ERR_clear_error();
    if (SSL_is_init_finished(e->tls->ssl))
        SSL_shutdown(e->tls->ssl);
    ERR_clear_error();
}
