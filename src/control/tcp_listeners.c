/* The listeners of TCP routes. The guardian opens them, also low ports, and hands them to gateways;
 * here is seen to it that those are open which some release's route wants, and no others.
 *
 * A deploy with an address that is not open yet waits until the guardian has opened it, and is
 * refused where it cannot. After that the difference between wanted and open decides, looked at
 * each second: restarts, rollbacks and deletes need nothing of their own. One address is asked for
 * at a time. */
#include "control/control_internal.h"

#include "os/listen.h"

#include <stdio.h>
#include <string.h>

/* A deploy that waits for its listeners. */
struct tcp_wait {
    char *environment, *spec_json, *source, *version, *idempotency_key;
    struct caller caller;
    struct app_spec *spec;
    command_done *done;
    void *arg;
};

struct tcp_listeners {
    struct {
        struct tcp_wait **items;
        size_t len, cap;
    } waits;
    char asked[BOOT_ADDRESS_MAX]; /* of the guardian, and not answered; "" none */
    /* Addresses that routes of apps could not have: said once, tried once in each round. */
    struct {
        char name[BOOT_ADDRESS_MAX];
        bool tried;
    } refused[BOOT_MAX_LISTENERS];
    size_t refused_len;
    int64_t looked_ms;
};

enum { LOOK_MS = 1000 };

static struct tcp_listeners *state_of(struct control *c)
{
    if (c->tcp == NULL)
        c->tcp = xcalloc(1, sizeof *c->tcp);
    return c->tcp;
}

/* ---- what is open, what is wanted
 * ------------------------------------------------------------------ */

/* name: "tcp:127.0.0.1:5432", as listeners and snapshots have it. */
static void name_of(const struct route_spec *r, char name[BOOT_ADDRESS_MAX])
{
    snprintf(name, BOOT_ADDRESS_MAX, LISTEN_TCP "%.56s", r->tcp.listen);
}

static bool is_open(const struct control *c, const char *name)
{
    for (size_t i = 0; i < guardian_link_listeners(c->guardian); i++)
        if (strcmp(guardian_link_listener(c->guardian, i), name) == 0)
            return true;
    return false;
}

static size_t refused_at(const struct tcp_listeners *t, const char *name)
{
    size_t i = 0;
    while (i < t->refused_len && strcmp(t->refused[i].name, name) != 0)
        i++;
    return i;
}

static bool was_tried(const struct control *c, const char *name)
{
    size_t i = c->tcp != NULL ? refused_at(c->tcp, name) : 0;
    return c->tcp != NULL && i < c->tcp->refused_len && c->tcp->refused[i].tried;
}

/* The first one of the spec that is not open (untried: nor was refused in this round); false: there
 * is none. */
static bool missing(const struct control *c, const struct app_spec *spec, bool untried,
                    char name[BOOT_ADDRESS_MAX])
{
    for (size_t i = 0; spec != NULL && i < spec->routes_len; i++) {
        if (spec->routes[i].tcp.listen == NULL)
            continue;
        name_of(&spec->routes[i], name);
        if (!is_open(c, name) && !(untried && was_tried(c, name)))
            return true;
    }
    return false;
}

static bool wants(const struct app_spec *spec, const char *name)
{
    for (size_t i = 0; spec != NULL && i < spec->routes_len; i++)
        if (spec->routes[i].tcp.listen != NULL &&
            strcmp(spec->routes[i].tcp.listen, listen_bare(name)) == 0)
            return true;
    return false;
}

static bool app_wants(struct app *a, const char *name)
{
    for (size_t k = 0; k < CORE_MAX_POOLS; k++)
        if (a->state.pools[k].id != 0 && wants(pool_spec(a, a->state.pools[k].id), name))
            return true;
    uint32_t building = deploy_release(a);
    return building != 0 && wants(release_spec(a, app_release(a, building)), name);
}

/* Their routes are kept as they were found. */
static bool unreadable_wants(const struct control *c, const char *name)
{
    for (uint32_t i = 0; c->unreadable.len > 0 && c->found != NULL && i < c->found->routes_len; i++)
        if (strcmp(c->found->routes[i].host, name) == 0)
            return true;
    return false;
}

static bool is_wanted(struct control *c, const char *name)
{
    for (size_t i = 0; i < c->apps.len; i++)
        if (app_wants(c->apps.items[i], name))
            return true;
    for (size_t i = 0; i < c->tcp->waits.len; i++)
        if (wants(c->tcp->waits.items[i]->spec, name))
            return true;
    return unreadable_wants(c, name);
}

/* ---- what may be wanted
 * ---------------------------------------------------------------------------- */

static int check_address(const struct control *c, const char *address, struct error *err)
{
    int allowed = listen_allowed(c->boot->tcp_routes, address, err);
    if (allowed < 0)
        return -1;
    if (allowed == 0)
        return error_set(err, ERROR_DENIED,
                         "the TCP route %s: this server lets apps listen on %s only; `sluice serve "
                         "--tcp-routes` says where",
                         address, c->boot->tcp_routes);
    for (size_t i = 0; i < guardian_link_listeners(c->guardian); i++) {
        const char *own = guardian_link_listener(c->guardian, i);
        if (!listen_is_tcp(own) && tcp_listen_overlaps(listen_bare(own), address))
            return error_set(err, ERROR_CONFLICT,
                             "the TCP route %s: sluice itself listens on %s, for requests: choose "
                             "another port",
                             address, listen_bare(own));
    }
    return 0;
}

static int check_unreadable(const struct control *c, const char *address, struct error *err)
{
    for (uint32_t i = 0; c->unreadable.len > 0 && c->found != NULL && i < c->found->routes_len;
         i++) {
        const struct snapshot_route *r = &c->found->routes[i];
        const struct unreadable *owner = unreadable_with_route(c, r->host, r->path);
        if (owner != NULL && listen_is_tcp(r->host) &&
            tcp_listen_overlaps(listen_bare(r->host), address))
            return error_set(err, ERROR_CONFLICT,
                             "the TCP route %s belongs to app %s already, which is degraded",
                             address, owner->key);
    }
    return 0;
}

int tcp_listeners_check(const struct control *c, const struct app_spec *spec, struct error *err)
{
    for (size_t i = 0; i < spec->routes_len; i++)
        if (spec->routes[i].tcp.listen != NULL &&
            (check_address(c, spec->routes[i].tcp.listen, err) < 0 ||
             check_unreadable(c, spec->routes[i].tcp.listen, err) < 0))
            return -1;
    return 0;
}

/* Who has it, where that can be found out. */
static void explain(const char *name, const struct error *why, struct error *err)
{
    struct sockaddr_storage address;
    socklen_t len;
    char holder[128];
    const char *bare = listen_bare(name);
    pid_t pid = why->class == ERROR_CONFLICT && listen_parse(bare, &address, &len, NULL) == 0
                    ? listen_holder(&address, holder, sizeof holder)
                    : 0;
    if (pid > 0)
        error_set(err, ERROR_CONFLICT,
                  "the TCP route %s: the address is in use by pid %d (%s), which is not of sluice: "
                  "stop it, or choose another port",
                  bare, (int)pid, holder);
    else
        error_set(err, why->class, "the TCP route %s: %s", bare, why->text);
}

/* ---- deploys that wait
 * ----------------------------------------------------------------------------- */

static void wait_free(struct tcp_wait *w)
{
    free(w->environment);
    free(w->spec_json);
    free(w->source);
    free(w->version);
    free(w->idempotency_key);
    spec_free(w->spec);
    free(w);
}

bool tcp_listeners_wait(struct control *c, const struct deploy_request *q,
                        const struct app_spec *spec, const struct caller *caller,
                        command_done *done, void *arg)
{
    char name[BOOT_ADDRESS_MAX];
    if (!missing(c, spec, false, name))
        return false;
    struct tcp_wait *w = xcalloc(1, sizeof *w);
    *w = (struct tcp_wait){.environment = xstrdup(q->environment),
                           .spec_json = xstrdup(q->spec_json),
                           .source = xstrdup(q->source),
                           .version = xstrdup(q->version),
                           .idempotency_key = xstrdup(q->idempotency_key),
                           .caller = *caller,
                           .done = done,
                           .arg = arg};
    w->spec = spec_from_client(q->spec_json, spec->environment, NULL);
    ASSERT(w->spec != NULL); /* it was parsed a moment ago */
    *vec_push(&state_of(c)->waits) = w;
    tcp_listeners_sync(c);
    return true;
}

static struct tcp_wait *take_wait(struct tcp_listeners *t, size_t i)
{
    struct tcp_wait *w = t->waits.items[i];
    vec_remove(&t->waits, i);
    return w;
}

static void give_up(struct tcp_listeners *t, size_t i, const struct error *err)
{
    struct tcp_wait *w = take_wait(t, i);
    w->done(w->arg, err, NULL);
    wait_free(w);
}

static void give_up_all(struct control *c, const struct error *err)
{
    while (c->tcp != NULL && c->tcp->waits.len > 0)
        give_up(c->tcp, c->tcp->waits.len - 1, err);
}

/* From the beginning: another app may have come before it, and is seen now. */
static void deploy_again(struct control *c, struct tcp_wait *w)
{
    struct deploy_request q = {.environment = w->environment,
                               .spec_json = w->spec_json,
                               .source = w->source,
                               .version = w->version,
                               .idempotency_key = w->idempotency_key};
    control_deploy(c, &q, &w->caller, w->done, w->arg);
    wait_free(w);
}

/* ---- asking the guardian
 * --------------------------------------------------------------------------- */

static void ask(struct control *c, const char *name, struct error *err)
{
    if (guardian_link_open_listener(c->guardian, name, err) == 0)
        snprintf(c->tcp->asked, sizeof c->tcp->asked, "%s", name);
}

/* Said once, to the apps that want it; tried again in the next round, a second later. false: there
 * is no room to remember it. */
static bool note_refused(struct control *c, const char *name, const struct error *err)
{
    struct tcp_listeners *t = c->tcp;
    size_t at = refused_at(t, name);
    if (at == COUNT_OF(t->refused))
        return false;
    bool told = at < t->refused_len;
    t->refused_len += !told;
    snprintf(t->refused[at].name, sizeof t->refused[at].name, "%s", name);
    t->refused[at].tried = true;
    for (size_t i = 0; !told && i < c->apps.len; i++) {
        struct app *a = c->apps.items[i];
        if (!app_wants(a, name))
            continue;
        log_error("app %s: %s", a->key, err->text);
        if (c->store != NULL)
            event_now(c, a, "listen-failed", NULL, 0, err->text, NULL);
    }
    return true;
}

static void forget_refused(struct tcp_listeners *t, size_t at)
{
    if (at < t->refused_len)
        t->refused[at] = t->refused[--t->refused_len];
}

static void open_for_app(struct control *c, struct app *a)
{
    char name[BOOT_ADDRESS_MAX];
    for (size_t k = 0; c->tcp->asked[0] == '\0' && k < CORE_MAX_POOLS; k++) {
        uint32_t pool = a->state.pools[k].id;
        while (pool != 0 && c->tcp->asked[0] == '\0' &&
               missing(c, pool_spec(a, pool), true, name)) {
            struct error err = ERROR_INIT;
            if (check_address(c, listen_bare(name), &err) == 0)
                ask(c, name, NULL);
            else if (note_refused(c, name, &err))
                continue;
            break; /* it is asked for, or there is no guardian now */
        }
    }
}

static void open_missing(struct control *c)
{
    struct tcp_listeners *t = c->tcp;
    char name[BOOT_ADDRESS_MAX];
    struct error err = ERROR_INIT;
    while (t->asked[0] == '\0' && t->waits.len > 0) {
        if (!missing(c, t->waits.items[0]->spec, false, name)) {
            deploy_again(c, take_wait(t, 0));
            continue;
        }
        ask(c, name, &err);
        if (t->asked[0] == '\0')
            give_up(t, 0, &err);
    }
    for (size_t i = 0; t->asked[0] == '\0' && i < c->apps.len; i++)
        open_for_app(c, c->apps.items[i]);
}

static void close_unwanted(struct control *c)
{
    for (size_t i = guardian_link_listeners(c->guardian); i-- > 0;) {
        const char *name = guardian_link_listener(c->guardian, i);
        if (!listen_is_tcp(name) || is_wanted(c, name))
            continue;
        char copy[BOOT_ADDRESS_MAX];
        snprintf(copy, sizeof copy, "%s", name);
        if (guardian_link_close_listener(c->guardian, copy, NULL) == 0)
            log_info("%s is closed: no route wants it", copy);
    }
}

void tcp_listeners_sync(struct control *c)
{
    if (!c->publishing_allowed || c->leaving)
        return;
    state_of(c)->looked_ms = control_now();
    open_missing(c);
    close_unwanted(c);
}

void tcp_listeners_tick(struct control *c, int64_t now)
{
    struct tcp_listeners *t = state_of(c);
    if (now - t->looked_ms < LOOK_MS && now >= t->looked_ms)
        return;
    for (size_t i = t->refused_len; i-- > 0;) {
        t->refused[i].tried = false;
        if (!is_wanted(c, t->refused[i].name))
            forget_refused(t, i);
    }
    tcp_listeners_sync(c);
}

void tcp_listeners_opened(struct control *c, const char *name)
{
    struct tcp_listeners *t = state_of(c);
    if (strcmp(t->asked, name) == 0)
        t->asked[0] = '\0';
    forget_refused(t, refused_at(t, name));
    log_info("%s is open", name);
    tcp_listeners_sync(c);
}

void tcp_listeners_refused(struct control *c, const struct error *why)
{
    struct tcp_listeners *t = state_of(c);
    struct error err = ERROR_INIT;
    char name[BOOT_ADDRESS_MAX];
    memcpy(name, t->asked, sizeof name);
    t->asked[0] = '\0';
    explain(name, why, &err);
    for (size_t i = t->waits.len; i-- > 0;)
        if (wants(t->waits.items[i]->spec, name))
            give_up(t, i, &err);
    bool wanted = false;
    for (size_t i = 0; i < c->apps.len; i++)
        wanted = wanted || app_wants(c->apps.items[i], name);
    if (!wanted || note_refused(c, name, &err))
        tcp_listeners_sync(c); /* the others */
}

void tcp_listeners_alone(struct control *c)
{
    struct error err = ERROR_INIT;
    error_set(&err, ERROR_UNAVAILABLE,
              "there is no guardian now: start `sluice serve` again, it takes over");
    state_of(c)->asked[0] = '\0';
    give_up_all(c, &err);
}

void tcp_listeners_release(struct control *c)
{
    struct error err = ERROR_INIT;
    error_set(&err, ERROR_UNAVAILABLE, "the server is being stopped");
    give_up_all(c, &err);
    if (c->tcp != NULL)
        vec_release(&c->tcp->waits);
    free(c->tcp);
    c->tcp = NULL;
}
