#include "gateway/tls.h"

#include "gateway/client_cert.h"
#include "gateway/conn.h"
#include "os/listen.h"
#include "tls/client.h"

#include <errno.h>
#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* Two parts of an answer go as one record where they fit: each has its own cost. */
enum { RECORD_MAX = 16384 };

struct tls {
    SSL *ssl;
    struct certificates *certificates; /* its handshake looks them up; NULL: to an instance */
    char *client_cert;                 /* of a mutual one, once its handshake is over */
    const char *alert;                 /* of an instance's, why it wants no more; NULL: none came */
    int fd;
    bool mutual;
    bool drained; /* the last read from the socket took all that was there */
    bool eof;
};

/* ---- the socket below
 * --------------------------------------------------------------------------------------- */

/* A BIO of our own, since only who reads from the socket sees that it is empty: then the next
 * read is not tried before epoll tells of more, as on a plain connection. */

static int socket_read(BIO *b, char *data, int len)
{
    struct tls *t = BIO_get_data(b);
    ssize_t n;
    BIO_clear_retry_flags(b);
    do
        n = recv(t->fd, data, (size_t)len, 0);
    while (n < 0 && errno == EINTR);
    t->drained = n < len;
    t->eof = n == 0;
    if (n < 0 && errno == EAGAIN)
        BIO_set_retry_read(b);
    return (int)n;
}

static int socket_write(BIO *b, const char *data, int len)
{
    const struct tls *t = BIO_get_data(b);
    ssize_t n;
    BIO_clear_retry_flags(b);
    do
        n = send(t->fd, data, (size_t)len, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    if (n < 0 && errno == EAGAIN)
        BIO_set_retry_write(b);
    return (int)n;
}

static long socket_control(BIO *b, int what, long number, void *pointer)
{
    const struct tls *t = BIO_get_data(b);
    (void)number, (void)pointer;
    return what == BIO_CTRL_EOF ? t->eof : what == BIO_CTRL_FLUSH;
}

static BIO_METHOD *method;

static void method_make(void)
{
    method = BIO_meth_new(BIO_TYPE_SOURCE_SINK | BIO_get_new_index(), "socket");
    if (method == NULL || BIO_meth_set_read(method, socket_read) != 1 ||
        BIO_meth_set_write(method, socket_write) != 1 ||
        BIO_meth_set_ctrl(method, socket_control) != 1) {
        BIO_meth_free(method);
        method = NULL;
    }
}

static BIO *socket_bio(struct tls *t)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, method_make);
    BIO *b = method != NULL ? BIO_new(method) : NULL;
    if (b == NULL)
        return NULL;
    BIO_set_data(b, t);
    BIO_set_init(b, 1);
    return b;
}

/* ---- a connection
 * ------------------------------------------------------------------------------------------- */

bool tls_possible(struct gateway *g, enum tls_use use)
{
    pthread_mutex_lock(&g->certificates_lock);
    const struct certificates *c = g->certificates;
    bool any =
        c != NULL && certificates_serve(c) && (use != TLS_MUTUAL || certificates_know_clients(c));
    pthread_mutex_unlock(&g->certificates_lock);
    return any;
}

/* 443 where one of those listens there, else the first of them; 0: there is none. */
static unsigned port_of(const struct gateway *g, bool (*is_one)(const char *))
{
    unsigned found = 0;
    for (size_t i = g->listeners_len; i-- > 0 && found != 443;) {
        const char *address = g->listeners[i].address;
        if (is_one(address))
            found = (unsigned)strtoul(strrchr(address, ':') + 1, NULL, 10);
    }
    return found;
}

unsigned tls_port(struct gateway *g)
{
    pthread_mutex_lock(&g->listeners_lock);
    unsigned port = port_of(g, listen_is_tls);
    if (port == 0) /* then all clients have certificates */
        port = port_of(g, listen_is_mtls);
    pthread_mutex_unlock(&g->listeners_lock);
    return port != 0 ? port : 443;
}

struct tls *tls_new(struct gateway *g, int fd, enum tls_use use)
{
    pthread_mutex_lock(&g->certificates_lock);
    struct certificates *c = g->certificates != NULL ? certificates_ref(g->certificates) : NULL;
    pthread_mutex_unlock(&g->certificates_lock);
    struct tls *t = c != NULL ? calloc(1, sizeof *t) : NULL;
    BIO *socket = t != NULL ? socket_bio(t) : NULL;
    if (socket != NULL)
        t->ssl = certificates_accept(c, use == TLS_MUTUAL);
    if (socket == NULL || t->ssl == NULL) {
        BIO_free(socket);
        certificates_unref(c);
        free(t);
        return NULL;
    }
    SSL_set_bio(t->ssl, socket, socket);
    t->certificates = c;
    t->mutual = use == TLS_MUTUAL;
    t->fd = fd;
    return t;
}

struct tls *tls_outgoing(SSL *ssl)
{
    struct tls *t = calloc(1, sizeof *t);
    BIO *socket = t != NULL ? socket_bio(t) : NULL;
    if (socket == NULL) {
        free(t);
        SSL_free(ssl);
        return NULL;
    }
    SSL_set_bio(ssl, socket, socket);
    t->ssl = ssl;
    t->fd = -1;
    return t;
}

const char *tls_alert(const struct tls *t)
{
    return t->alert;
}

bool tls_quiet(const struct tls *t)
{
    return !SSL_has_pending(t->ssl);
}

const char *tls_version(const struct tls *t)
{
    return SSL_get_version(t->ssl);
}

const char *tls_client_cert(const struct tls *t)
{
    return t->client_cert;
}

void tls_free(struct tls *t)
{
    if (t == NULL)
        return;
    SSL_free(t->ssl);
    certificates_unref(t->certificates);
    free(t->client_cert);
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

int tls_shake(struct endpoint *e, const char **why)
{
    e->tls->fd = e->fd;
    ERR_clear_error();
    int result = SSL_do_handshake(e->tls->ssl);
    if (result == 1)
        return 1;
    int error = SSL_get_error(e->tls->ssl, result);
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) {
        e->readable = e->writable = false;
        return 0;
    }
    *why = tls_client_fault(e->tls->ssl);
    return -1;
}

/* A mistake that people make: http:// and the port of https://. They get an answer they can read.
 */
static const char NOT_TLS[] = "HTTP/1.1 400 Bad Request\r\nServer: sluice\r\n"
                              "Content-Type: text/plain\r\nContent-Length: 52\r\n"
                              "Connection: close\r\n\r\n"
                              "sluice: this port takes TLS only: try https instead\n";

static bool spoke_http(const struct tls *t)
{
    return !SSL_is_init_finished(t->ssl) && ERR_GET_REASON(ERR_peek_error()) == SSL_R_HTTP_REQUEST;
}

static void turned_away(const struct endpoint *e, const char *why)
{
    struct client *c = link_owner(e, struct client, endpoint);
    client_cert_refused(c->worker->gateway, c->address, why);
}

/* false: nothing may be read of it. */
static bool client_known(struct endpoint *e)
{
    const char *why;
    if (e->tls->client_cert == NULL) {
        e->tls->client_cert = client_cert_value(e->tls->ssl, &why);
        if (e->tls->client_cert == NULL)
            turned_away(e, why);
    }
    return e->tls->client_cert != NULL;
}

ssize_t tls_read(struct endpoint *e, void *data, size_t room)
{
    size_t n;
    ERR_clear_error();
    e->tls->drained = false; /* what an earlier call saw says nothing of what came since */
    int result = SSL_read_ex(e->tls->ssl, data, room, &n);
    if (result == 1) {
        if ((e->tls->certificates != NULL &&
             certificates_only_prove(e->tls->certificates, e->tls->ssl)) ||
            (e->tls->mutual && !client_known(e)))
            return READ_BROKEN;
        if (e->tls->drained && !e->hangup && !SSL_has_pending(e->tls->ssl))
            e->readable = false;
        return (ssize_t)n;
    }
    if (spoke_http(e->tls))
        send(e->fd, NOT_TLS, sizeof NOT_TLS - 1, MSG_NOSIGNAL);
    const char *why = e->tls->mutual ? client_cert_fault(e->tls->ssl, ERR_peek_last_error()) : NULL;
    if (why != NULL)
        turned_away(e, why);
    if (e->tls->certificates == NULL &&
        ERR_GET_REASON(ERR_peek_last_error()) >= SSL_AD_REASON_OFFSET)
        e->tls->alert = tls_client_fault(e->tls->ssl);
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

bool tls_speaks_h2(const struct tls *t)
{
    const unsigned char *name;
    unsigned len;
    SSL_get0_alpn_selected(t->ssl, &name, &len);
    return len == 2 && memcmp(name, "h2", 2) == 0;
}

void tls_end(struct endpoint *e)
{
    ERR_clear_error();
    if (SSL_is_init_finished(e->tls->ssl))
        SSL_shutdown(e->tls->ssl);
    ERR_clear_error();
}
