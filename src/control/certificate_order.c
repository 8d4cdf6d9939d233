/* Which of two certificates for one host is served: gateways take the first one that names it. What
 * has expired comes last, so that a file put in its place counts, whoever it was by. */
#include "control/certificates.h"

#include <stdlib.h>
#include <string.h>

static bool names(const char *pattern, const char *host)
{
    const char *dot = strchr(host, '.');
    return strcmp(pattern, host) == 0 ||
           (pattern[0] == '*' && dot != NULL && strcmp(pattern + 1, dot) == 0);
}

bool certificate_names(const struct certificate *k, const char *host)
{
    for (size_t i = 0; k->chain.len > 0 && k->info.serves && i < k->info.names_len; i++)
        if (names(k->info.names[i], host))
            return true;
    return false;
}

static bool is_valid(const struct certificate *k, int64_t now_ms)
{
    return k->chain.len > 0 && now_ms < k->info.not_after_ms;
}

/* A valid one beside k names that host. */
static bool has_another(const struct certificate_folder *f, const struct certificate *k,
                        const char *host, int64_t now_ms)
{
    for (size_t i = 0; i < f->all.len; i++)
        if (f->all.items[i] != k && is_valid(f->all.items[i], now_ms) &&
            certificate_names(f->all.items[i], host))
            return true;
    return false;
}

/* An exact name goes before a wildcard, whichever comes first: what has expired and would only be
 * in the way of a wildcard is not served. */
static bool is_replaced(const struct certificate_folder *f, const struct certificate *k,
                        int64_t now_ms)
{
    bool replaced = k->chain.len > 0 && !is_valid(k, now_ms) && k->info.names_len > 0;
    for (size_t i = 0; replaced && i < k->info.names_len; i++)
        replaced = has_another(f, k, k->info.names[i], now_ms);
    return replaced;
}

/* One by ACME that is renewed goes before files, one that is not renewed any more behind them. */
static unsigned rank_of(const struct control *c, const struct certificate *k, int64_t now_ms)
{
    unsigned rank = strcmp(k->name, "default") == 0 ? 0 : 2;
    if (k->automatic)
        rank = acme_wants(c, k->name) ? 1 : 3;
    return is_valid(k, now_ms) ? rank : rank + 4;
}

static int by_rank(const void *a, const void *b)
{
    const struct certificate *x = *(struct certificate *const *)a,
                             *y = *(struct certificate *const *)b;
    if (x->rank != y->rank)
        return x->rank < y->rank ? -1 : 1;
    return strcmp(x->name, y->name);
}

void certificates_order(struct control *c, int64_t now_ms)
{
    struct certificate_folder *f = c->certificates;
    f->expires_ms = INT64_MAX;
    for (size_t i = 0; i < f->all.len; i++) {
        struct certificate *k = f->all.items[i];
        k->rank = rank_of(c, k, now_ms);
        k->replaced = is_replaced(f, k, now_ms);
        if (is_valid(k, now_ms) && k->info.not_after_ms < f->expires_ms)
            f->expires_ms = k->info.not_after_ms;
    }
    if (f->all.len > 1)
        qsort(f->all.items, f->all.len, sizeof *f->all.items, by_rank);
}

static bool has_route(const struct app_spec *spec, const char *host)
{
    for (size_t i = 0; spec != NULL && i < spec->routes_len; i++)
        if (spec->routes[i].host != NULL && strcmp(spec->routes[i].host, host) == 0)
            return true;
    return false;
}

static bool is_routed(const struct control *c, const char *host)
{
    for (size_t i = 0; i < c->apps.len; i++)
        for (size_t k = 0; k < CORE_MAX_POOLS; k++) {
            uint32_t pool = c->apps.items[i]->state.pools[k].id;
            if (pool != 0 && has_route(pool_spec(c->apps.items[i], pool), host))
                return true;
        }
    return false;
}

bool certificate_needed(const struct control *c, const struct certificate *k, int64_t now_ms)
{
    return is_routed(c, k->name) && !has_another(c->certificates, k, k->name, now_ms);
}
