/* A connection from a trusted proxy that begins with a PROXY protocol header (wire/proxy.h), before
 * TLS and HTTP. It is looked at in the kernel's buffer and taken out whole, so that nothing behind
 * it is read. It has to come in the time of a head. */
#include "gateway/conn.h"

#include "gateway/peers.h"
#include "gateway/stats.h"
#include "wire/proxy.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

static void refuse(struct client *c)
{
    stats_add(&c->worker->metrics->connections_refused, 1);
    client_reset(c);
}

static void begin(struct client *c, const struct proxy_header *h)
{
    if (!h->local)
        client_set_peer(c, h->source);
    if (!client_enter(c)) {
        refuse(c);
        return;
    }
    c->state = CLIENT_HEAD;
    c->endpoint.readable = true; /* what came with it makes no edge any more */
}

bool proxied_read(struct client *c)
{
    char p[PROXY_MAX];
    struct proxy_header h;
    ssize_t n;
    if (!c->endpoint.readable)
        return false;
    do
        n = recv(c->endpoint.fd, p, sizeof p, MSG_PEEK);
    while (n < 0 && errno == EINTR);
    ssize_t len = n > 0 ? proxy_parse(p, (size_t)n, &h) : 0;
    bool waits = (n < 0 && errno == EAGAIN) || (n > 0 && len == 0);
    c->endpoint.readable = false;
    if (waits && !c->endpoint.hangup)
        return false;
    if (n < 0 || len <= 0) {
        refuse(c);
        return true;
    }
    do
        n = recv(c->endpoint.fd, p, (size_t)len, 0);
    while (n < 0 && errno == EINTR);
    if (n != len)
        refuse(c);
    else
        begin(c, &h);
    return true;
}
