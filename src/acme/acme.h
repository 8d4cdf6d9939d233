/* acme: certificates from a CA by RFC 8555. The protocol only: no files, no sockets, no clock; the
 * caller carries out what acme_order_step() says and tells it what came of that. OpenSSL's random
 * numbers are the one thing that is not in the arguments.
 *
 *   struct acme_order *o = acme_order_new(&account, &options, now_ms);
 *   struct acme_action a;
 *   for (acme_order_step(o, NULL, now_ms, &a);; ) switch (a.what) { ... }
 *
 * All that comes from the CA is hostile: it is bounded, checked, and cleaned before people see it.
 * URLs are https only (section 6.1). Out of memory aborts, as everywhere in the controller. */
#ifndef SLUICE_ACME_ACME_H
#define SLUICE_ACME_ACME_H

#include "base/buf.h"
#include "base/error.h"

#include <openssl/evp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    ACME_URL_MAX = 2048,
    ACME_NONCE_MAX = 256,
    ACME_TOKEN_MAX = 128,
    ACME_ANSWER_MAX = 256, /* of a key authorization: token, dot, thumbprint */
    ACME_TEXT_MAX = 400,   /* what is said to people */
    ACME_DEADLINE_MS =
        120000 /* an order that is not through by then has failed, and goes on later */
};

/* ---- keys ---- */

/* P-256, for accounts (ES256) and for certificates. NULL: OpenSSL says why. */
EVP_PKEY *acme_key_new(struct error *err);
EVP_PKEY *acme_key_read(const char *pem, size_t len, struct error *err); /* P-256 only */
int acme_key_write(EVP_PKEY *key, struct buf *out, struct error *err);   /* appends PKCS #8, PEM */

/* One line of printable ASCII, for people; cut where it does not fit. */
void text_clean(const char *from, size_t len, char *to, size_t size);

/* ---- the account ---- */

/* One per CA; its orders share it. Strings are malloc'ed. */
struct acme_account {
    char *directory; /* URL */
    char *email;     /* NULL: none */
    EVP_PKEY *key;
    char *kid; /* its URL; NULL: not known, the next order asks for it */
    /* By the directory; NULL before somebody has asked. */
    char *new_nonce, *new_account, *new_order, *terms;
};
void acme_account_release(struct acme_account *a);
bool acme_url_valid(const char *url); /* https, no longer than ACME_URL_MAX */

/* ---- an order: one host, one certificate ---- */

/* X(name, word): section 8.3; RFC 8737 section 3. */
#define ACME_CHALLENGES(X)                                                                         \
    X(ACME_HTTP_01, "http-01")                                                                     \
    X(ACME_TLS_ALPN_01, "tls-alpn-01")

enum acme_challenge {
#define X(name, word) name,
    ACME_CHALLENGES(X)
#undef X
        ACME_CHALLENGES_COUNT
};
const char *acme_challenge_word(enum acme_challenge c);
/* ACME_CHALLENGES_COUNT: no such word; NULL is none. */
enum acme_challenge acme_challenge_of(const char *word);

struct acme_options {
    const char *host; /* lower case, no wildcard */
    bool can[ACME_CHALLENGES_COUNT];
    enum acme_challenge prefer;
    /* Of an order that an earlier process began; NULL: a new one. key: taken over. */
    const char *url;
    EVP_PKEY *key;
};

/* What came back. */
struct acme_reply {
    unsigned status; /* of HTTP; 0: there was no answer, and the body is a sentence that says why */
    const char *body;
    size_t body_len;
    char nonce[ACME_NONCE_MAX + 1], location[ACME_URL_MAX + 1]; /* "": none */
    int64_t retry_after_ms;                                     /* from now; -1: none */
};
/* Fills in the last three. fields: "name: value" lines with lower-case names; now_ms: wall clock.
 */
void acme_reply_fields(struct acme_reply *r, const char *fields, int64_t now_ms);

enum acme_do {
    ACME_ASK,    /* url; answered by a step with the reply */
    ACME_WAIT,   /* wait_ms; then a step without one */
    ACME_KEEP,   /* account and order are to be stored now; then a step */
    ACME_OFFER,  /* the challenge is to be answered by every gateway; then a step */
    ACME_DONE,   /* the certificate is there */
    ACME_FAILED, /* see acme_order_failure() */
};
enum acme_method { ACME_GET, ACME_HEAD, ACME_POST };
struct acme_action {
    enum acme_do what;
    enum acme_method method;
    const char *url, *body; /* the order's, until its next step; body: application/jose+json */
    size_t body_len;
    int64_t wait_ms;
};

enum acme_blame {
    ACME_UNREACHABLE, /* no answer, or one that says "later": nothing was held against us */
    ACME_LIMITED,     /* rateLimited (section 6.6) */
    ACME_REFUSED,     /* the CA says no: it could not see the host, or will not have it */
    ACME_NONSENSE,    /* what it says is not ACME */
};
struct acme_failure {
    enum acme_blame blame;
    char text[ACME_TEXT_MAX];   /* what went wrong; clean */
    char advice[ACME_TEXT_MAX]; /* what to do; "": nothing but to wait */
    int64_t retry_after_ms;     /* not before that; -1: as you like */
};

struct acme_order;
/* account outlives it. NULL: there is no key to be had. */
struct acme_order *acme_order_new(struct acme_account *account, const struct acme_options *options,
                                  int64_t now_ms, struct error *err);
void acme_order_free(struct acme_order *o); /* NULL is fine */
/* reply: to the last ACME_ASK; NULL else. now_ms: any clock that does not jump. */
void acme_order_step(struct acme_order *o, const struct acme_reply *reply, int64_t now_ms,
                     struct acme_action *out);

const char *acme_order_url(const struct acme_order *o); /* NULL: none that is worth going on with */
EVP_PKEY *acme_order_key(const struct acme_order *o);   /* of the certificate */
/* From ACME_OFFER on. answer: the key authorization (section 8.1). */
enum acme_challenge acme_order_challenge(const struct acme_order *o);
const char *acme_order_token(const struct acme_order *o);
const char *acme_order_answer(const struct acme_order *o);
const struct buf *acme_order_chain(const struct acme_order *o); /* PEM; after ACME_DONE */
const struct acme_failure *acme_order_failure(const struct acme_order *o);
const char *
acme_order_doing(const struct acme_order *o); /* "waits for the CA to look", for people */

/* The certificate that a host shows for ALPN "acme-tls/1" (RFC 8737 section 3), as PEM. */
int acme_challenge_certificate(const char *host, const char *answer, struct buf *chain,
                               struct buf *key, struct error *err);

#endif
