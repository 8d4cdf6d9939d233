/* acme: certificates for the hosts of routes with `tls: auto`. Inside control only.
 *
 * acme.c decides when a host is due, runs its order (src/acme) and backs off; acme_files.c is what
 * lies in DATA/acme. The network part is the fetch helper's, the proofs go to the gateways with
 * routes (HTTP-01) and certificates (TLS-ALPN-01), so that nothing here waits for anything.
 *
 *   DATA/acme/account-HASH.json   the account at one CA (HASH: of its directory) and its key
 *   DATA/acme/hosts/HOST.json     what is known of a host, its order under way, its failures
 *   DATA/acme/certs/HOST.pem      chain and key; read by certificates.c
 */
#ifndef SLUICE_CONTROL_ACME_H
#define SLUICE_CONTROL_ACME_H

#include "acme/acme.h"
#include "control/control_internal.h"

struct acme_host {
    struct control *control;
    char *name;
    bool wanted;  /* a route has it */
    bool leads;   /* its certificate was sent as one of a wanted host's */
    bool on_disk; /* its file was there once */

    /* As in its file. */
    char *directory;     /* who gave the certificate; NULL: nobody yet */
    int64_t obtained_ms; /* wall clock, as what follows; 0: never */
    int64_t retry_ms;    /* not before that; 0: nothing has failed */
    int64_t pause_ms;    /* so long was that from the failure on */
    uint32_t failures;   /* in a row */
    enum acme_challenge prefer;
    char text[ACME_TEXT_MAX], advice[ACME_TEXT_MAX]; /* of the last failure */
    char *order_url;                                 /* to go on with; NULL: none */
    char *order_directory;                           /* the CA that it is of */
    EVP_PKEY *order_key;
    /* What gateways show the CA: from when it is told to look until the order is over, whichever
     * controller began it. NULL: nothing. */
    enum acme_challenge proof;
    char *proof_token, *proof_answer;

    /* Under way. */
    struct acme_order *order; /* NULL: nothing is */
    struct fetch_call *call;
    int64_t wait_until_ms;  /* monotonic; 0: no wait */
    uint64_t offer_version; /* of the certificates with its proof; 0: not offered */
    int64_t offer_until_ms;
    struct buf proof_chain, proof_key; /* TLS-ALPN-01; made when it is sent first */
};

struct acme {
    struct control *control;
    struct acme_account account; /* key NULL: not read yet */
    char *kept_kid;              /* as in its file; NULL: none is */
    int64_t account_retry_ms;    /* monotonic: it could not be read or written */
    char trouble[256];           /* why nothing can be ordered; "": it can */
    struct {
        struct acme_host **items;
        size_t len, cap;
    } hosts;
    struct map by_name;
    uint64_t collected_version; /* of the routes that `hosts` comes from */
    int64_t collected_ms, cleaned_ms;
};

/* acme_files.c. The folders are made when something is written. */
int acme_account_load(struct acme *a, struct error *err); /* makes one where there is none */
int acme_account_store(struct acme *a, struct error *err);
bool acme_account_stored(const struct acme *a); /* its file is there */
void acme_host_load(struct acme_host *h);       /* nothing known: as it is */
int acme_host_store(const struct acme_host *h, struct error *err);
int acme_host_store_certificate(const struct acme_host *h, const struct buf *chain, EVP_PKEY *key,
                                struct error *err);
bool acme_host_stored(const struct acme_host *h); /* its file is there */
/* Removes what is of no wanted host and not valid any more. */
void acme_files_clean(struct acme *a, int64_t now_ms);

#endif
