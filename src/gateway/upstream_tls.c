#include "gateway/upstream_tls.h"

#include "base/log.h"
#include "gateway/certificates.h"
#include "gateway/tls.h"
#include "tls/client.h"

#include <stdlib.h>
#include <string.h>

/* Tells connections apart that were made in other ways, or with other CAs: FNV-1a, over what a
 * route's author wrote. Never 0, which is clear text. */
static uint64_t identity_of(const struct worker *w, const struct snapshot_tls *t)
{
    const char *const texts[] = {t->name, t->ca != NULL ? t->ca : "",
                                 t->pair != NULL ? t->pair : ""};
    uint64_t h = UINT64_C(14695981039346656037) ^ atomic_load(&w->gateway->certificates_taken);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        size_t len = strlen(texts[i]) + 1; /* with its end, so that none runs into the next */
        for (size_t k = 0; k < len; k++)
            h = (h ^ (unsigned char)texts[i][k]) * UINT64_C(1099511628211);
    }
    return h | 1;
}

static void say(struct worker *w, const struct instance *i, const char *why)
{
    const struct snapshot *s = w->table->snapshot;
    const char *id = "that left";
    unsigned others;
    for (uint32_t k = 0; k < s->instances_len; k++)
        if (s->instances[k].slot == i->slot)
            id = s->instances[k].id;
    if (!seldom_may(&w->gateway->untrusted_instances, &others))
        return;
    if (others > 0)
        log_warn("TLS to the instance %s: %s (and %u more failures since the last such line)", id,
                 why, others);
    else
        log_warn("TLS to the instance %s: %s", id, why);
}

bool upstream_tls_known(const struct worker *w)
{
    return atomic_load_explicit(&w->gateway->certificates_known, memory_order_relaxed);
}

/* What t names, in *how. -1: it is not there. */
static int find(const struct certificates *c, const struct snapshot_tls *t, struct tls_client *how,
                struct error *err)
{
    if (t->ca != NULL) {
        how->trust = c != NULL ? certificates_trust(c, t->ca) : NULL;
        if (how->trust == NULL)
            return error_set(err, ERROR_USAGE, "there is no DATA/certs/%.100s.ca that can be used",
                             t->ca);
    }
    if (t->pair != NULL) {
        how->identity = c != NULL ? certificates_pair(c, t->pair) : NULL;
        if (how->identity == NULL)
            return error_set(err, ERROR_USAGE, "there is no certificate %.100s in DATA/certs",
                             t->pair);
    }
    return 0;
}

static struct certificates *take_certificates(struct gateway *g)
{
    pthread_mutex_lock(&g->certificates_lock);
    struct certificates *c = g->certificates != NULL ? certificates_ref(g->certificates) : NULL;
    pthread_mutex_unlock(&g->certificates_lock);
    return c;
}

bool upstream_tls_missing(const struct worker *w, const struct snapshot_tls *t)
{
    struct tls_client how = {0};
    struct certificates *c = take_certificates(w->gateway);
    bool missing = find(c, t, &how, NULL) < 0;
    certificates_unref(c);
    return missing;
}

static struct tls *connect_tls(struct upstream *u, const struct snapshot_tls *t)
{
    struct error err = ERROR_INIT;
    struct tls_client how = {.server_name = t->name};
    struct certificates *c = take_certificates(u->worker->gateway);
    SSL *ssl = find(c, t, &how, &err) == 0 ? tls_client_new(&how, &err) : NULL;
    struct tls *tls = ssl != NULL ? tls_outgoing(ssl) : NULL;
    certificates_unref(c); /* ssl has its own references */
    if (ssl == NULL)
        say(u->worker, u->instance, err.text);
    return tls;
}

struct upstream *upstream_tls_open(struct worker *w, struct instance *i,
                                   const struct snapshot_tls *t, bool replayable, bool fresh,
                                   bool *local)
{
    struct upstream *u = upstream_open(w, i, identity_of(w, t), replayable, fresh, local);
    if (u == NULL || u->endpoint.tls != NULL)
        return u;
    u->endpoint.tls = connect_tls(u, t);
    if (u->endpoint.tls == NULL) {
        *local = true;
        upstream_close(u);
        return NULL;
    }
    u->connecting = true; /* epoll tells at once where the socket is connected already */
    return u;
}

void upstream_tls_closing(struct upstream *u)
{
    const char *alert = tls_alert(u->endpoint.tls);
    if (alert != NULL)
        say(u->worker, u->instance, alert);
}

enum shake upstream_tls_shake(struct upstream *u)
{
    const char *why = NULL;
    int result = tls_shake(&u->endpoint, &why);
    if (result < 0)
        say(u->worker, u->instance, why);
    return result > 0 ? SHAKE_DONE : result == 0 ? SHAKE_WAITS : SHAKE_FAILED;
}
