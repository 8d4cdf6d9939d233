#include "tls/tls_openssl.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509_vfy.h>
#include <stdbool.h>
#include <string.h>

/* What all of them add to a handshake's certificate request (RFC 8446 section 4.2.4) at most; with
 * more, clients choose without that help. */
enum { NAMES_MAX_BYTES = 16384 };

static int no_passphrase(char *buf, int size, int writing, void *arg)
{
    (void)buf, (void)size, (void)writing, (void)arg;
    return -1;
}

/* PEM's readers say "nothing more" and "damaged" in the same way. */
static bool at_the_end(void)
{
    unsigned long code = ERR_peek_last_error();
    bool end = ERR_GET_LIB(code) == ERR_LIB_PEM && ERR_GET_REASON(code) == PEM_R_NO_START_LINE;
    ERR_clear_error();
    return end;
}

static void earliest(int64_t *least, const ASN1_TIME *time)
{
    int64_t ms = time != NULL ? tls_wall_ms(time) : 0;
    if (ms != 0 && (*least == 0 || ms < *least))
        *least = ms;
}

static int add_certificates(X509_STORE *store, BIO *bio, struct tls_trust_info *info,
                            struct error *err)
{
    for (X509 *x; (x = PEM_read_bio_X509(bio, NULL, no_passphrase, NULL)) != NULL;) {
        bool added = X509_STORE_add_cert(store, x) == 1;
        earliest(&info->not_after_ms, X509_get0_notAfter(x));
        X509_free(x);
        if (!added) {
            tls_openssl_error(err, "a CA's certificate cannot be used");
            return -1;
        }
        if (++info->certificates > TLS_TRUST_MAX)
            return error_set(err, ERROR_USAGE, "more than %d certificates in it", TLS_TRUST_MAX);
    }
    if (!at_the_end())
        return error_set(err, ERROR_USAGE, "certificate %zu in it is damaged",
                         info->certificates + 1);
    if (info->certificates == 0)
        return error_set(err, ERROR_USAGE,
                         "there is no certificate in it (expected -----BEGIN CERTIFICATE-----)");
    return 0;
}

/* All of a chain is looked up: who revokes an intermediate CA means everybody below it. */
static int add_lists(X509_STORE *store, BIO *bio, struct tls_trust_info *info, struct error *err)
{
    for (X509_CRL *list; (list = PEM_read_bio_X509_CRL(bio, NULL, no_passphrase, NULL)) != NULL;) {
        bool added = X509_STORE_add_crl(store, list) == 1;
        earliest(&info->next_update_ms, X509_CRL_get0_nextUpdate(list));
        X509_CRL_free(list);
        if (!added) {
            tls_openssl_error(err, "a revocation list cannot be used");
            return -1;
        }
        if (++info->lists > TLS_TRUST_MAX)
            return error_set(err, ERROR_USAGE, "more than %d revocation lists", TLS_TRUST_MAX);
    }
    if (!at_the_end())
        return error_set(err, ERROR_USAGE, "revocation list %zu is damaged", info->lists + 1);
    if (info->lists == 0)
        return error_set(err, ERROR_USAGE,
                         "there is no revocation list in it (expected -----BEGIN X509 CRL-----)");
    X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL);
    return 0;
}

X509_STORE *tls_trust_make(const struct tls_trust *t, struct tls_trust_info *info,
                           struct error *err)
{
    X509_STORE *store = X509_STORE_new();
    BIO *ca = tls_reader(t->ca, t->ca_len);
    BIO *crl = t->crl_len > 0 ? tls_reader(t->crl, t->crl_len) : NULL;
    int status = -1;
    memset(info, 0, sizeof *info);
    if (store == NULL || ca == NULL || (t->crl_len > 0 && crl == NULL))
        error_set(err, ERROR_USAGE, "larger than 1 MiB, or out of memory");
    else
        status = add_certificates(store, ca, info, err);
    if (status == 0 && crl != NULL)
        status = add_lists(store, crl, info, err);
    BIO_free(ca);
    BIO_free(crl);
    if (status == 0) /* an intermediate CA alone may be trusted, without what it comes from */
        X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN);
    if (status == 0)
        return store;
    X509_STORE_free(store);
    return NULL;
}

int tls_trust_check(const struct tls_trust *t, struct tls_trust_info *info, struct error *err)
{
    X509_STORE *store = tls_trust_make(t, info, err);
    X509_STORE_free(store);
    return store != NULL ? 0 : -1;
}

STACK_OF(X509_NAME) * tls_trust_names(X509_STORE *store)
{
    STACK_OF(X509_NAME) *names = sk_X509_NAME_new_null();
    STACK_OF(X509_OBJECT) *all = X509_STORE_get0_objects(store);
    int bytes = 0;
    for (int i = 0; names != NULL && i < sk_X509_OBJECT_num(all); i++) {
        X509 *x = X509_OBJECT_get0_X509(sk_X509_OBJECT_value(all, i));
        X509_NAME *name = x != NULL ? X509_NAME_dup(X509_get_subject_name(x)) : NULL;
        int len = name != NULL ? i2d_X509_NAME(name, NULL) : 0;
        bytes += len + 2;
        if (x == NULL)
            continue;
        if (len <= 0 || bytes > NAMES_MAX_BYTES || sk_X509_NAME_push(names, name) <= 0) {
            X509_NAME_free(name);
            sk_X509_NAME_pop_free(names, X509_NAME_free);
            return NULL;
        }
    }
    return names;
}
