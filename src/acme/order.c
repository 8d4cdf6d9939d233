/* One order, from the directory to the certificate (RFC 8555 section 7.1, "Action" table).
 *
 * Each state asks one thing and takes its answer; what it takes decides the next state. Around that
 * stand, for all states alike, nonces, problems and the deadline. */
#include "acme/acme_internal.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "tls/tls.h"

#include <stdio.h>
#include <string.h>

enum {
    NONCE_TRIES = 10, /* badNonce in a row */
    JSON_MAX = 64 << 10,
    CHAIN_MAX = 256 << 10,
    FIRST_POLL_MS = 500,
    LAST_POLL_MS = 5000,
    LEAST_POLL_MS = 250,
    QUESTIONS_MAX = 200, /* an order takes about twenty */
};

/* X(state, what we are doing, in the words that people read). */
#define STATES(X)                                                                                  \
    X(DIRECTORY, "asks the CA for its directory")                                                  \
    X(ACCOUNT, "opens an account at the CA")                                                       \
    X(NEW_ORDER, "orders the certificate")                                                         \
    X(LOOK, "looks at the order")                                                                  \
    X(AUTHORIZATION, "asks how the host is to be proved")                                          \
    X(CHALLENGE, "lets the CA look at the host")                                                   \
    X(VALIDATION, "waits for the CA to look at the host")                                          \
    X(FINALIZE, "asks for the certificate")                                                        \
    X(CERTIFICATE, "fetches the certificate")                                                      \
    X(DONE, "has the certificate")                                                                 \
    X(FAILED, "failed")

enum state {
#define X(state, doing) state,
    STATES(X)
#undef X
        STATES_COUNT
};
static const char *const doing[] = {
#define X(state, words) words,
    STATES(X)
#undef X
};

struct acme_order {
    struct acme_account *account;
    char *host;
    EVP_PKEY *key;
    bool can[ACME_CHALLENGES_COUNT];
    enum acme_challenge prefer, challenge;
    enum state state;
    bool resumed;       /* by the URL of an earlier process, not looked at yet */
    bool account_again; /* the CA did not know it, and was asked for another */
    bool proved;        /* the authorization is valid */
    bool keep, offer;   /* said by the next step */
    int64_t wait_ms;    /* the same; 0: no wait */
    int64_t now_ms, deadline_ms;
    unsigned nonce_tries, polls, asked;
    bool asking_nonce;
    char nonce[ACME_NONCE_MAX + 1];
    char *url, *authorization, *challenge_url, *finalize, *certificate;
    struct buf token, answer, body, chain;
    struct acme_failure failure;
};

/* ---- failures ---- */

static int fail(struct acme_order *o, enum acme_blame blame, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
static int fail(struct acme_order *o, enum acme_blame blame, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(o->failure.text, sizeof o->failure.text, fmt, ap);
    va_end(ap);
    o->failure.blame = blame;
    o->failure.advice[0] = '\0';
    return -1;
}

static int fail_problem(struct acme_order *o, const json_t *object)
{
    struct problem p;
    problem_read(object, &p);
    problem_tell(&p, doing[o->state], o->host, o->challenge, &o->failure);
    return -1;
}

/* An order or authorization that is invalid stays so, whoever is to blame (section 7.1.6). */
static int fail_for_good(struct acme_order *o, const json_t *problem)
{
    free(take_ptr(&o->url));
    return fail_problem(o, problem);
}

static int nonsense(struct acme_order *o, const char *what)
{
    fail(o, ACME_NONSENSE, "%s: the answer is not ACME: %s", doing[o->state], what);
    snprintf(o->failure.advice, sizeof o->failure.advice,
             "see that serve --acme-directory is the directory of an ACME server");
    return -1;
}

/* ---- what an answer has ---- */

static void replace(char **field, const char *value)
{
    char *copy = xstrdup(value);
    free(*field);
    *field = copy;
}

static int take_url(struct acme_order *o, const json_t *object, const char *name, char **field)
{
    const char *url = json_string_value(json_object_get(object, name));
    if (url == NULL || !acme_url_valid(url)) {
        char what[80];
        snprintf(what, sizeof what, "it has no URL `%s`", name);
        return nonsense(o, what);
    }
    replace(field, url);
    return 0;
}

static json_t *read_object(const struct acme_reply *r)
{
    json_t *object = r->body_len <= JSON_MAX ? json_loadb(r->body, r->body_len, 0, NULL) : NULL;
    if (object == NULL || json_is_object(object))
        return object;
    json_decref(object);
    return NULL;
}

static const char *word_of(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text != NULL ? text : "";
}

/* Looks again, not before the CA says. */
static int look_again(struct acme_order *o, const struct acme_reply *r, enum state state)
{
    int64_t wait = (int64_t)FIRST_POLL_MS << (o->polls < 4 ? o->polls : 4);
    if (r->retry_after_ms >= 0)
        wait = r->retry_after_ms;
    else if (wait > LAST_POLL_MS)
        wait = LAST_POLL_MS;
    wait = wait > LEAST_POLL_MS ? wait : LEAST_POLL_MS;
    o->polls++;
    if (o->now_ms + wait >= o->deadline_ms) {
        o->state = state;
        fail(o, ACME_UNREACHABLE, "%s, and that takes long; it goes on later", doing[state]);
        o->failure.retry_after_ms = wait;
        return -1;
    }
    o->wait_ms = wait;
    o->state = state;
    return 0;
}

/* ---- the states' answers: 0, or -1 and o->failure ---- */

/* Section 7.1.1. */
static int take_directory(struct acme_order *o, const struct acme_reply *r, const json_t *object)
{
    struct acme_account *a = o->account;
    const json_t *meta = json_object_get(object, "meta");
    (void)r;
    if (json_is_true(json_object_get(meta, "externalAccountRequired")) && a->kid == NULL) {
        problem_tell(&(struct problem){.type = "externalAccountRequired",
                                       .detail = "accounts need an external binding"},
                     doing[o->state], o->host, o->challenge, &o->failure);
        return -1;
    }
    if (take_url(o, object, "newNonce", &a->new_nonce) < 0 ||
        take_url(o, object, "newAccount", &a->new_account) < 0 ||
        take_url(o, object, "newOrder", &a->new_order) < 0) {
        free(take_ptr(&a->new_order)); /* all or nothing */
        return -1;
    }
    const char *terms = word_of(meta, "termsOfService");
    if (acme_url_valid(terms))
        replace(&a->terms, terms);
    o->state = ACCOUNT;
    return 0;
}

/* Section 7.3. */
static int take_account(struct acme_order *o, const struct acme_reply *r, const json_t *object)
{
    if (r->location[0] == '\0')
        return nonsense(o, "the account has no URL");
    if (strcmp(word_of(object, "status"), "valid") != 0 && *word_of(object, "status") != '\0') {
        fail(o, ACME_REFUSED, "the CA has closed our account");
        snprintf(o->failure.advice, sizeof o->failure.advice,
                 "remove its file from DATA/acme: the next one is new");
        return -1;
    }
    replace(&o->account->kid, r->location);
    o->keep = true;
    o->state = o->url != NULL ? LOOK : NEW_ORDER;
    return 0;
}

/* Section 7.1.3, 7.1.6. */
static int take_order(struct acme_order *o, const struct acme_reply *r, const json_t *object)
{
    const char *status = word_of(object, "status");
    const json_t *list = json_object_get(object, "authorizations");
    o->resumed = false;
    if (strcmp(status, "invalid") == 0)
        return fail_for_good(o, json_object_get(object, "error"));
    if (take_url(o, object, "finalize", &o->finalize) < 0)
        return -1;
    if (strcmp(status, "ready") == 0) {
        o->state = FINALIZE;
        return 0;
    }
    if (strcmp(status, "processing") == 0)
        return look_again(o, r, LOOK);
    if (strcmp(status, "valid") == 0) {
        o->state = CERTIFICATE;
        return take_url(o, object, "certificate", &o->certificate);
    }
    if (strcmp(status, "pending") != 0)
        return nonsense(o, "the order has no status");
    const char *url = json_string_value(json_array_get(list, 0));
    if (json_array_size(list) != 1 || url == NULL || !acme_url_valid(url))
        return nonsense(o, "an order for one host has not one authorization");
    replace(&o->authorization, url);
    if (o->proved) /* the order does not say so yet */
        return look_again(o, r, LOOK);
    o->state = AUTHORIZATION;
    return 0;
}

static int take_new_order(struct acme_order *o, const struct acme_reply *r, const json_t *object)
{
    if (r->location[0] == '\0')
        return nonsense(o, "the order has no URL");
    replace(&o->url, r->location);
    o->keep = true;
    return take_order(o, r, object);
}

/* The one of `wanted` in an authorization; NULL: it is not offered. */
static const json_t *challenge_in(const json_t *object, enum acme_challenge wanted)
{
    const json_t *list = json_object_get(object, "challenges");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *challenge = json_array_get(list, i);
        if (strcmp(word_of(challenge, "type"), acme_challenge_word(wanted)) == 0)
            return challenge;
    }
    return NULL;
}

static bool is_token(const char *text)
{
    size_t len = strlen(text);
    return len > 0 && len <= ACME_TOKEN_MAX &&
           strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") == len;
}

static int take_challenge(struct acme_order *o, const json_t *challenge)
{
    struct error err = ERROR_INIT;
    const char *token = word_of(challenge, "token");
    if (!is_token(token))
        return nonsense(o, "a challenge without a token");
    if (take_url(o, challenge, "url", &o->challenge_url) < 0)
        return -1;
    buf_clear(&o->token);
    buf_puts(&o->token, token);
    buf_clear(&o->answer); /* section 8.1 */
    buf_printf(&o->answer, "%s.", token);
    if (jwk_thumbprint(o->account->key, &o->answer, &err) < 0)
        return fail(o, ACME_REFUSED, "%s", err.text);
    ASSERT(o->answer.len <= ACME_ANSWER_MAX);
    o->offer = true;
    o->state = CHALLENGE;
    return 0;
}

static int choose_challenge(struct acme_order *o, const json_t *object)
{
    for (int pass = 0; pass <= ACME_CHALLENGES_COUNT; pass++) {
        enum acme_challenge c = pass == 0 ? o->prefer : (enum acme_challenge)(pass - 1);
        const json_t *challenge = o->can[c] ? challenge_in(object, c) : NULL;
        if (challenge != NULL) {
            o->challenge = c;
            return take_challenge(o, challenge);
        }
    }
    fail(o, ACME_REFUSED, "the CA offers no way to prove %s that works here", o->host);
    snprintf(o->failure.advice, sizeof o->failure.advice,
             "http-01 needs a --listen address that clients reach at port 80, tls-alpn-01 a "
             "--tls-listen address that they reach at port 443");
    return -1;
}

/* Section 7.1.4, 7.5.1. */
static int take_authorization(struct acme_order *o, const struct acme_reply *r,
                              const json_t *object)
{
    const char *status = word_of(object, "status");
    if (strcmp(status, "valid") == 0) {
        o->proved = true;
        o->state = LOOK;
        return 0;
    }
    if (strcmp(status, "pending") == 0)
        return o->state == AUTHORIZATION ? choose_challenge(o, object)
                                         : look_again(o, r, VALIDATION);
    const json_t *challenge = challenge_in(object, o->challenge);
    if (strcmp(status, "invalid") == 0)
        return fail_for_good(o, json_object_get(challenge, "error"));
    if (*status == '\0')
        return nonsense(o, "the authorization has no status");
    return fail(o, ACME_REFUSED, "the CA has withdrawn the authorization of %s", o->host);
}

static int take_accepted(struct acme_order *o, const struct acme_reply *r, const json_t *object)
{
    (void)object;
    return look_again(o, r, VALIDATION);
}

/* Section 7.4.2. The chain must be one that a gateway can use for this host. */
static int take_certificate(struct acme_order *o, const struct acme_reply *r)
{
    struct error err = ERROR_INIT;
    cleanup_buf struct buf key = BUF_INIT;
    struct tls_pair_info *info = xcalloc(1, sizeof *info);
    int status = acme_key_write(o->key, &key, &err);
    if (status == 0 && (r->body_len > CHAIN_MAX || memchr(r->body, 0, r->body_len) != NULL))
        status = error_set(&err, ERROR_USAGE, "it is no text in PEM");
    if (status == 0)
        status = tls_pair_check(r->body, r->body_len, key.data, key.len, info, &err);
    bool found = false;
    for (size_t i = 0; i < info->names_len; i++)
        found = found || strcmp(info->names[i], o->host) == 0;
    if (status == 0 && !found)
        status = error_set(&err, ERROR_USAGE, "it is for another host");
    if (status == 0 && info->not_after_ms <= info->not_before_ms)
        status = error_set(&err, ERROR_USAGE, "it is never valid");
    free(info);
    if (key.data != NULL)
        explicit_bzero(key.data, key.cap);
    if (status < 0)
        return fail(o, ACME_NONSENSE, "the certificate of the CA cannot be used: %.300s", err.text);
    buf_append(&o->chain, r->body, r->body_len);
    o->state = DONE;
    return 0;
}

static int take(struct acme_order *o, const struct acme_reply *r)
{
    if (o->state == CERTIFICATE)
        return take_certificate(o, r);
    json_t *object = read_object(r);
    int status = -1;
    if (object == NULL)
        return nonsense(o, "no JSON object");
    switch (o->state) {
    case DIRECTORY: status = take_directory(o, r, object); break;
    case ACCOUNT: status = take_account(o, r, object); break;
    case NEW_ORDER: status = take_new_order(o, r, object); break;
    case LOOK:
    case FINALIZE: status = take_order(o, r, object); break;
    case AUTHORIZATION:
    case VALIDATION: status = take_authorization(o, r, object); break;
    case CHALLENGE: status = take_accepted(o, r, object); break;
    case CERTIFICATE:
    case DONE:
    case FAILED:
    case STATES_COUNT: ASSERT(false);
    }
    json_decref(object);
    return status;
}

/* ---- answers that say no ---- */

/* 0: the order goes on, with another question. */
static int take_no(struct acme_order *o, const struct acme_reply *r)
{
    struct problem p;
    json_t *object = read_object(r);
    problem_read(object, &p);
    json_decref(object);
    if (strcmp(p.type, "badNonce") == 0 && ++o->nonce_tries < NONCE_TRIES)
        return 0; /* section 6.5: the same again with the nonce that came along */
    if (strcmp(p.type, "accountDoesNotExist") == 0 && !o->account_again && o->state > ACCOUNT) {
        o->account_again = true;
        free(take_ptr(&o->account->kid));
        free(take_ptr(&o->url));
        o->state = ACCOUNT;
        return 0;
    }
    if (o->resumed && o->state == LOOK && r->status < 500 && strcmp(p.type, "rateLimited") != 0) {
        o->resumed = false; /* of another account, or long gone */
        free(take_ptr(&o->url));
        o->state = NEW_ORDER;
        return 0;
    }
    problem_tell(&p, doing[o->state], o->host, o->challenge, &o->failure);
    o->failure.retry_after_ms = r->retry_after_ms;
    if (p.type[0] == '\0' && p.detail[0] == '\0')
        fail(o, ACME_UNREACHABLE, "%s: the CA answers with status %u", doing[o->state], r->status);
    if (r->status >= 500 || r->status == 408)
        o->failure.blame = ACME_UNREACHABLE;
    if (r->status == 429)
        o->failure.blame = ACME_LIMITED;
    return -1;
}

static int take_reply(struct acme_order *o, const struct acme_reply *r)
{
    snprintf(o->nonce, sizeof o->nonce, "%s", r->nonce);
    o->failure.retry_after_ms = -1;
    if (r->status == 0) {
        char why[200];
        text_clean(r->body, r->body_len, why, sizeof why);
        fail(o, ACME_UNREACHABLE, "%s: no answer: %s", doing[o->state], why);
        snprintf(o->failure.advice, sizeof o->failure.advice, "this server must reach %.300s",
                 o->account->directory);
        return -1;
    }
    if (r->status >= 400)
        return take_no(o, r);
    if (r->status < 200 || r->status > 299)
        return nonsense(o, "neither a success nor a problem");
    if (o->asking_nonce)
        return o->nonce[0] != '\0' ? 0 : nonsense(o, "no nonce");
    enum state before = o->state;
    o->nonce_tries = 0;
    int status = take(o, r);
    if (o->state != before && o->state != LOOK)
        o->polls = 0;
    return status;
}

/* ---- questions ---- */

/* The payload of a state's question; NULL: POST-as-GET. */
static const char *payload_of(struct acme_order *o, struct buf *out, struct error *err)
{
    switch (o->state) {
    case ACCOUNT:
        buf_puts(out, "{\"termsOfServiceAgreed\":true");
        if (o->account->email != NULL) {
            buf_puts(out, ",\"contact\":[\"mailto:");
            buf_json_escape(out, o->account->email, strlen(o->account->email));
            buf_puts(out, "\"]");
        }
        buf_putc(out, '}');
        return buf_str(out);
    case NEW_ORDER:
        buf_puts(out, "{\"identifiers\":[{\"type\":\"dns\",\"value\":\"");
        buf_json_escape(out, o->host, strlen(o->host));
        buf_puts(out, "\"}]}");
        return buf_str(out);
    case CHALLENGE: return "{}";
    case FINALIZE:
        buf_puts(out, "{\"csr\":\"");
        if (csr_write(o->key, o->host, out, err) < 0)
            return "";
        buf_puts(out, "\"}");
        return buf_str(out);
    default: return NULL;
    }
}

static const char *url_of(const struct acme_order *o)
{
    switch (o->state) {
    case DIRECTORY: return o->account->directory;
    case ACCOUNT: return o->account->new_account;
    case NEW_ORDER: return o->account->new_order;
    case LOOK: return o->url;
    case AUTHORIZATION:
    case VALIDATION: return o->authorization;
    case CHALLENGE: return o->challenge_url;
    case FINALIZE: return o->finalize;
    case CERTIFICATE: return o->certificate;
    default: return NULL;
    }
}

static int ask(struct acme_order *o, struct acme_action *out)
{
    struct error err = ERROR_INIT;
    cleanup_buf struct buf payload = BUF_INIT;
    if (++o->asked > QUESTIONS_MAX)
        return nonsense(o, "it leads round in circles");
    *out = (struct acme_action){.what = ACME_ASK, .method = ACME_GET, .url = url_of(o)};
    o->asking_nonce = false;
    if (o->state == DIRECTORY)
        return 0;
    if (o->nonce[0] == '\0') {
        o->asking_nonce = true;
        out->method = ACME_HEAD;
        out->url = o->account->new_nonce;
        return 0;
    }
    struct jws j = {.key = o->account->key,
                    .kid = o->state == ACCOUNT ? NULL : o->account->kid,
                    .nonce = o->nonce,
                    .url = out->url,
                    .payload = payload_of(o, &payload, &err)};
    if (err.class != ERROR_NONE || jws_write(&j, &o->body, &err) < 0)
        return fail(o, ACME_REFUSED, "%s", err.text);
    o->nonce[0] = '\0';
    out->method = ACME_POST;
    out->body = buf_str(&o->body);
    out->body_len = o->body.len;
    return 0;
}

/* Others of the account may have asked for what is the account's meanwhile, or have lost it. */
static void catch_up(struct acme_order *o)
{
    if ((o->state == ACCOUNT || o->state == NEW_ORDER) && o->account->new_order == NULL)
        o->state = DIRECTORY;
    if (o->state == DIRECTORY && o->account->new_order != NULL)
        o->state = ACCOUNT;
    if (o->state == ACCOUNT && o->account->kid != NULL)
        o->state = o->url != NULL ? LOOK : NEW_ORDER;
    if (o->state > ACCOUNT && o->state < DONE && o->account->kid == NULL)
        o->state = ACCOUNT;
}

void acme_order_step(struct acme_order *o, const struct acme_reply *reply, int64_t now_ms,
                     struct acme_action *out)
{
    *out = (struct acme_action){.what = ACME_FAILED};
    o->now_ms = now_ms;
    if (o->state == FAILED)
        return;
    int status = reply != NULL ? take_reply(o, reply) : 0;
    if (status == 0 && o->state != DONE && now_ms >= o->deadline_ms)
        status =
            fail(o, ACME_UNREACHABLE, "%s, and that takes long; it goes on later", doing[o->state]);
    if (status == 0 && o->keep) {
        o->keep = false;
        out->what = ACME_KEEP;
    } else if (status == 0 && o->offer) {
        o->offer = false;
        out->what = ACME_OFFER;
    } else if (status == 0 && o->wait_ms > 0) {
        out->what = ACME_WAIT;
        out->wait_ms = o->wait_ms;
        o->wait_ms = 0;
    } else if (status == 0 && o->state == DONE) {
        out->what = ACME_DONE;
    } else if (status == 0) {
        catch_up(o);
        status = ask(o, out);
    }
    if (status < 0) {
        if (o->failure.blame == ACME_REFUSED || o->failure.blame == ACME_NONSENSE)
            free(take_ptr(&o->url)); /* nothing comes of this order any more */
        if ((o->state == ACCOUNT || o->state == NEW_ORDER) && o->failure.blame != ACME_LIMITED)
            free(take_ptr(&o->account->new_order)); /* it may be at another URL by now */
        o->state = FAILED;
        *out = (struct acme_action){.what = ACME_FAILED};
    }
}

/* ---- life ---- */

struct acme_order *acme_order_new(struct acme_account *account, const struct acme_options *options,
                                  int64_t now_ms, struct error *err)
{
    EVP_PKEY *key = options->key != NULL ? options->key : acme_key_new(err);
    if (key == NULL)
        return NULL;
    struct acme_order *o = xcalloc(1, sizeof *o);
    o->account = account;
    o->host = xstrdup(options->host);
    o->key = key;
    memcpy(o->can, options->can, sizeof o->can);
    o->prefer = o->challenge = options->prefer;
    o->now_ms = now_ms;
    o->deadline_ms = now_ms + ACME_DEADLINE_MS;
    o->failure.retry_after_ms = -1;
    if (options->url != NULL && options->key != NULL && acme_url_valid(options->url)) {
        o->url = xstrdup(options->url);
        o->resumed = true;
    }
    return o;
}

void acme_order_free(struct acme_order *o)
{
    if (o == NULL)
        return;
    EVP_PKEY_free(o->key);
    free(o->host);
    free(o->url);
    free(o->authorization);
    free(o->challenge_url);
    free(o->finalize);
    free(o->certificate);
    buf_release(&o->token);
    buf_release(&o->answer);
    buf_release(&o->body);
    buf_release(&o->chain);
    free(o);
}

void acme_account_release(struct acme_account *a)
{
    EVP_PKEY_free(a->key);
    free(a->directory);
    free(a->email);
    free(a->kid);
    free(a->new_nonce);
    free(a->new_account);
    free(a->new_order);
    free(a->terms);
    *a = (struct acme_account){.directory = NULL};
}

/* ---- looking at it ---- */

static const char *const challenge_words[] = {
#define X(name, word) word,
    ACME_CHALLENGES(X)
#undef X
};

const char *acme_challenge_word(enum acme_challenge c)
{
    return challenge_words[c];
}

enum acme_challenge acme_challenge_of(const char *word)
{
    int c = 0;
    while (c < ACME_CHALLENGES_COUNT && (word == NULL || strcmp(word, challenge_words[c]) != 0))
        c++;
    return (enum acme_challenge)c;
}

const char *acme_order_url(const struct acme_order *o)
{
    return o->url;
}
EVP_PKEY *acme_order_key(const struct acme_order *o)
{
    return o->key;
}
enum acme_challenge acme_order_challenge(const struct acme_order *o)
{
    return o->challenge;
}
const char *acme_order_token(const struct acme_order *o)
{
    return buf_str(&o->token);
}
const char *acme_order_answer(const struct acme_order *o)
{
    return buf_str(&o->answer);
}
const struct buf *acme_order_chain(const struct acme_order *o)
{
    return &o->chain;
}
const struct acme_failure *acme_order_failure(const struct acme_order *o)
{
    return &o->failure;
}
const char *acme_order_doing(const struct acme_order *o)
{
    return doing[o->state];
}
