/* Which hosts want a certificate, when one is due, and the orders under way. */
#include "control/acme.h"

#include "control/fetch_link.h"
#include "os/clock.h"
#include "os/listen.h"
#include "tls/tls.h"
#include "wire/certs.h"

#include <stdio.h>
#include <string.h>
#include <sys/random.h>

enum {
    AT_ONCE = 4,       /* orders; a host that cannot be proved does not hold up the others */
    ASK_MS = 30000,    /* one question */
    OFFER_MS = 20000,  /* until every gateway has a proof */
    COLLECT_MS = 2000, /* hosts of routes are looked through so often at least */
    CLEAN_MS = 3600000,
    ACCOUNT_AGAIN_MS = 60000,
    LOST_MS = 3600000, /* a certificate that was obtained and is not there is ordered anew */
};
#define BACK_OFF_MAX_MS (12 * INT64_C(3600000))
#define RETRY_MAX_MS (30 * INT64_C(86400000))

/* By enum acme_blame: the first pause; each further one is twice as long. A CA counts failed
 * validations (Let's Encrypt: 5 an hour and host), so these are not tried at once. */
static const int64_t first_pause_ms[] = {[ACME_UNREACHABLE] = 15000,
                                         [ACME_LIMITED] = 900000,
                                         [ACME_REFUSED] = 120000,
                                         [ACME_NONSENSE] = 300000};

static void advance(struct acme_host *h, const struct acme_reply *reply);

/* ---- hosts ---- */

static struct acme_host *find_host(const struct acme *a, const char *name)
{
    return a != NULL ? map_get(&a->by_name, name) : NULL;
}

/* Where clients come for TLS is decided by no one here; what listens at the usual ports says most.
 */
static enum acme_challenge likely_challenge(const struct control *c)
{
    bool http = false, tls = false, plain = false;
    for (size_t i = 0; i < guardian_link_listeners(c->guardian); i++) {
        const char *address = guardian_link_listener(c->guardian, i), *port = strrchr(address, ':');
        bool is_tls = listen_is_tls(address);
        if (listen_is_tcp(address) || listen_is_mtls(address)) /* CAs have no certificate */
            continue;
        plain = plain || !is_tls;
        http = http || (!is_tls && port != NULL && strcmp(port, ":80") == 0);
        tls = tls || (is_tls && port != NULL && strcmp(port, ":443") == 0);
    }
    return plain && (http || !tls) ? ACME_HTTP_01 : ACME_TLS_ALPN_01;
}

static struct acme_host *add_host(struct acme *a, const char *name)
{
    struct acme_host *h = xcalloc(1, sizeof *h);
    h->control = a->control;
    h->name = xstrdup(name);
    h->prefer = likely_challenge(a->control);
    acme_host_load(h);
    h->on_disk = acme_host_stored(h);
    *vec_push(&a->hosts) = h;
    map_put(&a->by_name, name, h);
    return h;
}

static void forget_proof(struct acme_host *h)
{
    free(take_ptr(&h->proof_token));
    free(take_ptr(&h->proof_answer));
    buf_release(&h->proof_chain);
    if (h->proof_key.data != NULL)
        explicit_bzero(h->proof_key.data, h->proof_key.cap);
    buf_release(&h->proof_key);
}

/* Its order ends here; what is in its file stays, and is gone on with. */
static void end_order(struct acme_host *h)
{
    bool by_http = h->proof_answer != NULL && h->proof == ACME_HTTP_01;
    bool by_tls = h->proof_answer != NULL && h->proof == ACME_TLS_ALPN_01;
    fetch_cancel(h->call);
    acme_order_free(h->order);
    h->call = NULL;
    h->order = NULL;
    h->wait_until_ms = 0;
    h->offer_version = 0;
    forget_proof(h);
    if (by_http)
        control_mark_routes(h->control);
    if (by_tls)
        certificates_changed(h->control);
}

static void forget_pending(struct acme_host *h)
{
    free(take_ptr(&h->order_url));
    free(take_ptr(&h->order_directory));
    EVP_PKEY_free(take_ptr(&h->order_key));
}

static void free_host(struct acme_host *h)
{
    end_order(h);
    forget_pending(h);
    free(h->directory);
    free(h->name);
    free(h);
}

static void want_host(struct acme *a, const char *name)
{
    struct acme_host *h = find_host(a, name);
    (h != NULL ? h : add_host(a, name))->wanted = true;
}

static void want(struct acme *a, const struct app_spec *spec)
{
    for (size_t i = 0; spec != NULL && i < spec->routes_len; i++)
        if (spec->routes[i].tls_auto)
            want_host(a, spec->routes[i].host);
}

/* Of apps that cannot be read: their routes go on as they were found, so must their certificates.
 */
static void want_of_unreadable(struct acme *a)
{
    const struct control *c = a->control;
    for (uint32_t i = 0; c->unreadable.len > 0 && c->found != NULL && i < c->found->routes_len;
         i++) {
        const struct snapshot_route *r = &c->found->routes[i];
        if (r->tls_auto && unreadable_with_route(c, r->host, r->path) != NULL)
            want_host(a, r->host);
    }
}

/* The hosts of all releases that have, or are about to have, a part in the traffic. It comes from
 * within orders too (certificates_changed), so nothing is freed here. */
static void collect(struct acme *a)
{
    struct control *c = a->control;
    for (size_t i = 0; i < a->hosts.len; i++)
        a->hosts.items[i]->wanted = false;
    for (size_t i = 0; i < c->apps.len; i++)
        for (size_t k = 0; k < CORE_MAX_POOLS; k++)
            if (c->apps.items[i]->state.pools[k].id != 0)
                want(a, pool_spec(c->apps.items[i], c->apps.items[i]->state.pools[k].id));
    want_of_unreadable(a);
    for (size_t i = 0; i < a->hosts.len; i++)
        if (a->hosts.items[i]->leads != a->hosts.items[i]->wanted) {
            a->hosts.items[i]->leads = a->hosts.items[i]->wanted;
            certificates_reorder(c);
        }
}

static void drop_unwanted(struct acme *a)
{
    for (size_t i = 0; i < a->hosts.len;) {
        struct acme_host *h = a->hosts.items[i];
        if (h->wanted) {
            i++;
            continue;
        }
        log_info("certificate %s: no route wants it any more, it is not renewed", h->name);
        vec_remove(&a->hosts, i);
        map_remove(&a->by_name, h->name);
        free_host(h);
    }
}

/* ---- what came of it ---- */

static struct app *app_of(const struct acme_host *h)
{
    struct control *c = h->control;
    for (size_t i = 0; i < c->apps.len; i++)
        for (size_t k = 0; k < CORE_MAX_POOLS; k++) {
            uint32_t pool = c->apps.items[i]->state.pools[k].id;
            const struct app_spec *spec = pool != 0 ? pool_spec(c->apps.items[i], pool) : NULL;
            for (size_t r = 0; spec != NULL && r < spec->routes_len; r++)
                if (spec->routes[r].tls_auto && strcmp(spec->routes[r].host, h->name) == 0)
                    return c->apps.items[i];
        }
    return NULL;
}

static void tell(const struct acme_host *h, const char *kind, const char *text)
{
    if (h->control->store != NULL)
        event_now(h->control, app_of(h), kind, NULL, 0, text, NULL);
}

static int write_host(struct acme_host *h, struct error *err)
{
    if (acme_host_store(h, err) < 0)
        return -1;
    h->on_disk = true;
    return 0;
}

static void store(struct acme_host *h)
{
    struct error err = ERROR_INIT;
    if (write_host(h, &err) < 0)
        log_error("certificate %s: %s", h->name, err.text);
}

/* From 75 % to 125 %. */
static int64_t jitter(int64_t ms)
{
    uint32_t random = UINT32_MAX / 2;
    (void)!getrandom(&random, sizeof random, GRND_NONBLOCK);
    return ms / 4 * 3 + (int64_t)((double)ms / 2 * random / UINT32_MAX);
}

static int64_t pause_after(const struct acme_failure *f, uint32_t failures)
{
    int64_t pause = first_pause_ms[f->blame];
    int64_t most = f->blame == ACME_UNREACHABLE ? INT64_C(3600000) : BACK_OFF_MAX_MS;
    for (uint32_t i = 1; i < failures && pause < most; i++)
        pause *= 2;
    pause = jitter(pause < most ? pause : most);
    if (f->retry_after_ms > pause)
        pause = f->retry_after_ms;
    return pause < RETRY_MAX_MS ? pause : RETRY_MAX_MS;
}

static void failed(struct acme_host *h, const struct acme_failure *f)
{
    char at[WALL_TEXT_SIZE];
    const char *url = acme_order_url(h->order);
    bool refused = f->blame == ACME_REFUSED && h->proof_answer != NULL;
    if (url == NULL)
        forget_pending(h);
    h->failures++;
    h->pause_ms = pause_after(f, h->failures);
    h->retry_ms = control_now() + h->pause_ms;
    snprintf(h->text, sizeof h->text, "%s", f->text);
    snprintf(h->advice, sizeof h->advice, "%s", f->advice);
    if (refused) /* the other port may be open */
        h->prefer =
            acme_order_challenge(h->order) == ACME_HTTP_01 ? ACME_TLS_ALPN_01 : ACME_HTTP_01;
    end_order(h);
    store(h);
    cleanup_free char *text =
        xasprintf("certificate %s: %s%s%s; next try at %s", h->name, h->text,
                  h->advice[0] != '\0' ? "; " : "", h->advice, clock_format_wall(h->retry_ms, at));
    log_warn("%s", text);
    tell(h, "certificate-failed", text);
}

static void failed_here(struct acme_host *h, const char *what, const char *why)
{
    struct acme_failure f = {.blame = ACME_UNREACHABLE, .retry_after_ms = -1};
    size_t len = (size_t)snprintf(f.text, sizeof f.text, "%s: ", what);
    text_clean(why, strlen(why), f.text + len, sizeof f.text - len); /* names need not be UTF-8 */
    failed(h, &f);
}

static void obtained(struct acme_host *h)
{
    struct error err = ERROR_INIT;
    struct control *c = h->control;
    bool first = certificates_automatic(c, h->name) == NULL;
    if (acme_host_store_certificate(h, acme_order_chain(h->order), acme_order_key(h->order), &err) <
        0) {
        failed_here(h, "the certificate cannot be kept", err.text);
        return;
    }
    free(h->directory);
    h->directory = xstrdup(c->acme->account.directory);
    h->obtained_ms = control_now();
    h->retry_ms = 0;
    h->failures = 0;
    h->text[0] = h->advice[0] = '\0';
    if (h->proof_answer != NULL)
        h->prefer = h->proof;
    forget_pending(h);
    end_order(h);
    store(h);
    certificates_changed(c);
    cleanup_free char *text =
        xasprintf("certificate %s: %s", h->name, first ? "obtained" : "renewed");
    log_info("%s", text);
    tell(h, first ? "certificate-obtained" : "certificate-renewed", text);
}

/* ---- an order ---- */

static void on_answer(void *arg, const struct fetch_answer *answer)
{
    struct acme_host *h = arg;
    struct acme_reply *r = xcalloc(1, sizeof *r);
    h->call = NULL;
    r->status = answer->status;
    r->body = answer->body;
    r->body_len = answer->body_len;
    acme_reply_fields(r, answer->fields, clock_wall_ms());
    advance(h, r);
    free(r);
}

static void ask(struct acme_host *h, const struct acme_action *a)
{
    static const enum fetchctl_kind kinds[] = {[ACME_GET] = FETCHCTL_ACME_GET,
                                               [ACME_HEAD] = FETCHCTL_ACME_HEAD,
                                               [ACME_POST] = FETCHCTL_ACME_POST};
    struct fetch_request request = {.kind = kinds[a->method],
                                    .url = a->url,
                                    .body = a->body != NULL ? a->body : "",
                                    .body_len = a->body_len,
                                    .timeout_ms = ASK_MS};
    h->call = fetch_start(h->control, &request, on_answer, h);
}

static int keep_account(struct acme *a, struct error *err)
{
    const struct acme_account *account = &a->account;
    if (account->kid == NULL || (a->kept_kid != NULL && strcmp(a->kept_kid, account->kid) == 0))
        return 0;
    log_info("there is an account at %s: its terms%s%s are agreed to (docs/tls.md)",
             account->directory, account->terms != NULL ? " " : "",
             account->terms != NULL ? account->terms : "");
    if (acme_account_store(a, err) < 0)
        return -1;
    free(a->kept_kid);
    a->kept_kid = xstrdup(account->kid);
    return 0;
}

static int keep_order(struct acme_host *h, struct error *err)
{
    const char *url = acme_order_url(h->order);
    if (url == NULL || (h->order_url != NULL && strcmp(h->order_url, url) == 0))
        return 0;
    forget_pending(h);
    h->order_url = xstrdup(url);
    h->order_directory = xstrdup(h->control->acme->account.directory);
    h->order_key = acme_order_key(h->order);
    EVP_PKEY_up_ref(h->order_key);
    return write_host(h, err);
}

/* false: it has failed. */
static bool keep(struct acme_host *h)
{
    struct error err = ERROR_INIT;
    if (keep_account(h->control->acme, &err) == 0 && keep_order(h, &err) == 0)
        return true;
    failed_here(h, "the order cannot be kept", err.text);
    return false;
}

static void offer(struct acme_host *h)
{
    struct error err = ERROR_INIT;
    forget_proof(h);
    h->proof = acme_order_challenge(h->order);
    h->proof_token = xstrdup(acme_order_token(h->order));
    h->proof_answer = xstrdup(acme_order_answer(h->order));
    if (write_host(h, &err) < 0) {
        failed_here(h, "the order cannot be kept", err.text);
        return;
    }
    h->offer_until_ms = clock_mono_ms() + OFFER_MS;
    if (h->proof == ACME_HTTP_01) {
        control_mark_routes(h->control);
        h->offer_version = h->control->snapshot_version + 1; /* or later */
        control_tick_soon(h->control);
    } else {
        certificates_changed(h->control);
        h->offer_version = certificates_version(h->control);
    }
}

static bool is_offered(const struct acme_host *h)
{
    if (h->control->gateways.len == 0)
        return false;
    return h->proof == ACME_HTTP_01 ? publish_seen(h->control, h->offer_version)
                                    : certificates_served(h->control, h->offer_version);
}

static void advance(struct acme_host *h, const struct acme_reply *reply)
{
    for (;;) {
        struct acme_action a;
        acme_order_step(h->order, reply, clock_mono_ms(), &a);
        reply = NULL;
        switch (a.what) {
        case ACME_ASK: ask(h, &a); return;
        case ACME_WAIT:
            h->wait_until_ms = clock_mono_ms() + a.wait_ms;
            control_tick_within(h->control, (uint64_t)a.wait_ms);
            return;
        case ACME_KEEP:
            if (!keep(h))
                return;
            break;
        case ACME_OFFER: offer(h); return;
        case ACME_DONE: obtained(h); return;
        case ACME_FAILED: failed(h, acme_order_failure(h->order)); return;
        }
    }
}

/* ---- when ---- */

/* A third of its life is left by then. Where clocks disagree it is not ordered again and again. */
static int64_t renewal_ms(const struct acme_host *h, const struct tls_pair_info *info)
{
    int64_t life = info->not_after_ms - info->not_before_ms;
    int64_t due = info->not_before_ms + life / 3 * 2, least = h->obtained_ms + life / 3;
    return due > least ? due : least;
}

static int64_t due_ms(const struct acme_host *h)
{
    const struct tls_pair_info *info = certificates_automatic(h->control, h->name);
    const char *directory = h->control->acme->account.directory;
    bool other = h->directory != NULL && strcmp(h->directory, directory) != 0;
    int64_t due = info == NULL || other ? 0 : renewal_ms(h, info);
    if (info == NULL && h->obtained_ms != 0) /* it cannot be read: a new one may be no better */
        due = h->obtained_ms + LOST_MS;
    return h->retry_ms > due ? h->retry_ms : due;
}

/* Somebody wants another one. Orders under way share it. */
static void forget_removed_account(struct acme *a, size_t running)
{
    if (a->account.key == NULL || running > 0 || acme_account_stored(a))
        return;
    log_info("the account at %s was removed", a->account.directory);
    EVP_PKEY_free(take_ptr(&a->account.key));
    free(take_ptr(&a->account.kid));
    free(take_ptr(&a->kept_kid));
}

static bool ready_for_orders(struct acme *a)
{
    struct error err = ERROR_INIT;
    struct control *c = a->control;
    bool tls = false;
    for (size_t i = 0; i < guardian_link_listeners(c->guardian); i++)
        tls = tls || listen_is_tls(guardian_link_listener(c->guardian, i));
    if (!tls) {
        snprintf(a->trouble, sizeof a->trouble,
                 "waits: the server has no address for TLS (sluice serve --tls-listen)");
        return false;
    }
    if (a->account.key != NULL) {
        a->trouble[0] = '\0';
        return true;
    }
    if (clock_mono_ms() < a->account_retry_ms)
        return false;
    if (acme_account_load(a, &err) == 0) {
        a->kept_kid = xstrdup(a->account.kid);
        return ready_for_orders(a);
    }
    a->account_retry_ms = clock_mono_ms() + ACCOUNT_AGAIN_MS;
    snprintf(a->trouble, sizeof a->trouble, "waits: %.240s", err.text);
    log_error("certificates by ACME: %s", err.text);
    return false;
}

/* One that another CA was asked for can neither go on here nor be waited for. */
static void forget_other_ca(struct acme_host *h)
{
    const char *directory = h->control->acme->account.directory;
    if (h->order_url == NULL || strcmp(h->order_directory, directory) == 0)
        return;
    log_info("certificate %s: the order at %s is given up for one at %s", h->name,
             h->order_directory, directory);
    end_order(h); /* what it had offered */
    forget_pending(h);
}

static void begin(struct acme_host *h)
{
    struct error err = ERROR_INIT;
    struct acme *a = h->control->acme;
    forget_other_ca(h);
    struct acme_options options = {.host = h->name, .prefer = h->prefer, .url = h->order_url};
    for (size_t i = 0; i < guardian_link_listeners(h->control->guardian); i++) {
        const char *address = guardian_link_listener(h->control->guardian, i);
        if (!listen_is_tcp(address) && !listen_is_mtls(address))
            options.can[listen_is_tls(address) ? ACME_TLS_ALPN_01 : ACME_HTTP_01] = true;
    }
    if (h->order_url != NULL && EVP_PKEY_up_ref(h->order_key) == 1)
        options.key = h->order_key;
    h->order = acme_order_new(&a->account, &options, clock_mono_ms(), &err);
    if (h->order == NULL) {
        log_error("certificate %s: %s", h->name, err.text);
        h->pause_ms = first_pause_ms[ACME_UNREACHABLE];
        h->retry_ms = control_now() + h->pause_ms;
        return;
    }
    log_info("certificate %s: an order %s", h->name, h->order_url != NULL ? "goes on" : "begins");
    advance(h, NULL);
}

/* It may have been ahead when they were noted, also by an earlier controller: nothing was obtained
 * later than now, and nothing is put off for longer than it was then. */
static void heed_clock(struct acme_host *h, int64_t now_ms)
{
    if (h->obtained_ms > now_ms)
        h->obtained_ms = now_ms;
    if (h->retry_ms > now_ms + h->pause_ms)
        h->retry_ms = now_ms + h->pause_ms;
}

static void look_at(struct acme_host *h, int64_t now_ms, size_t *running)
{
    int64_t mono = clock_mono_ms();
    if (h->order == NULL) {
        heed_clock(h, now_ms);
        if (h->failures > 0 && h->on_disk && !acme_host_stored(h)) {
            h->retry_ms = 0; /* somebody wants it tried at once */
            h->failures = 0;
            h->on_disk = false;
        }
        if (*running < AT_ONCE && now_ms >= due_ms(h)) {
            forget_removed_account(h->control->acme, *running);
            if (ready_for_orders(h->control->acme))
                begin(h);
            *running += h->order != NULL;
        }
    } else if (h->offer_version != 0) {
        if (is_offered(h)) {
            h->offer_version = 0;
            advance(h, NULL);
        } else if (mono >= h->offer_until_ms) {
            failed_here(h, "the CA was not told to look", "a gateway did not take the proof");
        } else {
            control_tick_within(h->control, 20);
        }
    } else if (h->wait_until_ms != 0 && mono >= h->wait_until_ms) {
        h->wait_until_ms = 0;
        advance(h, NULL);
    } else if (h->wait_until_ms != 0) {
        control_tick_within(h->control, (uint64_t)(h->wait_until_ms - mono));
    }
}

void acme_collect(struct control *c)
{
    int64_t now = control_now();
    if (!c->publishing_allowed || c->store == NULL)
        return; /* the apps are not known */
    if (c->acme == NULL) {
        c->acme = xcalloc(1, sizeof *c->acme);
        c->acme->control = c;
        c->acme->account.directory = xstrdup(c->boot->acme_directory);
        if (c->boot->acme_email != NULL && c->boot->acme_email[0] != '\0')
            c->acme->account.email = xstrdup(c->boot->acme_email);
        certificates_reorder(c);
    }
    struct acme *a = c->acme;
    if (a->collected_version != c->snapshot_version || llabs(now - a->collected_ms) > COLLECT_MS) {
        a->collected_version = c->snapshot_version;
        a->collected_ms = now;
        collect(a);
    }
}

void acme_tick(struct control *c)
{
    struct acme *a = c->acme;
    int64_t now = control_now();
    size_t running = 0;
    if (a == NULL || c->store == NULL)
        return;
    drop_unwanted(a);
    if (llabs(now - a->cleaned_ms) > CLEAN_MS) {
        a->cleaned_ms = now;
        acme_files_clean(a, now);
    }
    for (size_t i = 0; i < a->hosts.len; i++)
        running += a->hosts.items[i]->order != NULL;
    for (size_t i = 0; i < a->hosts.len; i++)
        look_at(a->hosts.items[i], now, &running);
}

static void move(int64_t *moment, int64_t by_ms)
{
    if (*moment != 0) /* 0: none */
        *moment += by_ms;
}

void acme_clock_moved(struct control *c, int64_t by_ms)
{
    for (size_t i = 0; c->acme != NULL && i < c->acme->hosts.len; i++) {
        struct acme_host *h = c->acme->hosts.items[i];
        move(&h->obtained_ms, by_ms);
        move(&h->retry_ms, by_ms);
        if (h->on_disk)
            store(h);
    }
}

void acme_release(struct control *c)
{
    struct acme *a = c->acme;
    if (a == NULL)
        return;
    for (size_t i = 0; i < a->hosts.len; i++) {
        forget_proof(a->hosts.items[i]); /* gateways that stay know it for the next controller */
        free_host(a->hosts.items[i]);
    }
    vec_release(&a->hosts);
    map_release(&a->by_name);
    acme_account_release(&a->account);
    free(a->kept_kid);
    free(a);
    c->acme = NULL;
}

/* ---- for the gateways, and for people ---- */

static bool make_proof_certificate(struct acme_host *h)
{
    struct error err = ERROR_INIT;
    if (h->proof_chain.len > 0)
        return true;
    buf_clear(&h->proof_key);
    if (acme_challenge_certificate(h->name, h->proof_answer, &h->proof_chain, &h->proof_key,
                                   &err) == 0)
        return true;
    log_error("certificate %s: %s", h->name, err.text);
    return false;
}

size_t acme_proofs(const struct control *c, struct cert *out, size_t room)
{
    size_t len = 0;
    for (size_t i = 0; c->acme != NULL && i < c->acme->hosts.len && len < room; i++) {
        struct acme_host *h = c->acme->hosts.items[i];
        if (h->wanted && h->proof_answer != NULL && h->proof == ACME_TLS_ALPN_01 &&
            make_proof_certificate(h))
            out[len++] = (struct cert){.kind = CERT_TLS_ALPN_01,
                                       .name = h->name,
                                       .name_len = strlen(h->name),
                                       .chain = h->proof_chain.data,
                                       .chain_len = h->proof_chain.len,
                                       .key = h->proof_key.data,
                                       .key_len = h->proof_key.len};
    }
    return len;
}

void acme_answers(struct control *c, struct snapshot *s, struct arena *memory)
{
    acme_collect(c);
    size_t most = c->acme != NULL ? c->acme->hosts.len : 0;
    s->proofs = arena_alloc(memory, (most + 1) * sizeof *s->proofs);
    s->proofs_len = 0;
    for (size_t i = 0; i < most; i++) {
        const struct acme_host *h = c->acme->hosts.items[i];
        if (h->wanted && h->proof_answer != NULL && h->proof == ACME_HTTP_01)
            s->proofs[s->proofs_len++] = (struct snapshot_proof){
                .host = h->name, .token = h->proof_token, .answer = h->proof_answer};
    }
}

bool acme_wants(const struct control *c, const char *host)
{
    const struct acme_host *h = find_host(c->acme, host);
    return c->acme == NULL || (h != NULL && h->wanted);
}

bool acme_state(const struct control *c, const char *host, struct certificate_state *out)
{
    const struct acme_host *h = find_host(c->acme, host);
    if (h == NULL)
        return false;
    out->wanted = true;
    out->failure = h->failures > 0 ? h->text : "";
    out->advice = h->failures > 0 ? h->advice : "";
    out->retry_ms = h->order == NULL && h->failures > 0 ? h->retry_ms : 0;
    out->doing = h->order != NULL              ? acme_order_doing(h->order)
                 : c->acme->trouble[0] != '\0' ? c->acme->trouble
                                               : "waits for its turn";
    const struct tls_pair_info *info = certificates_automatic(c, host);
    out->renewal_ms = info != NULL ? renewal_ms(h, info) : 0;
    return true;
}

const char *acme_host_at(const struct control *c, size_t i)
{
    return c->acme != NULL && i < c->acme->hosts.len ? c->acme->hosts.items[i]->name : NULL;
}
