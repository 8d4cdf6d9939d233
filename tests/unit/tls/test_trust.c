/* Bundles of CAs and their revocation lists, as people write them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "tls/tls_openssl.h"

#include <openssl/ec.h>
#include <openssl/pem.h>

static void add_text(struct buf *out, BIO *bio)
{
    char *data;
    long len = BIO_get_mem_data(bio, &data);
    buf_append(out, data, (size_t)len);
    BIO_free(bio);
}

static void add_ca(struct buf *out, const char *cn, long ends_s)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *x = X509_new();
    X509_set_version(x, 2);
    X509_gmtime_adj(X509_getm_notBefore(x), -3600);
    X509_gmtime_adj(X509_getm_notAfter(x), ends_s);
    X509_set_pubkey(x, key);
    X509_NAME *name = X509_get_subject_name(x);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)cn, -1, -1, 0);
    X509_set_issuer_name(x, name);
    assert_true(X509_sign(x, key, EVP_sha256()) > 0);
    BIO *bio = BIO_new(BIO_s_mem());
    PEM_write_bio_X509(bio, x);
    add_text(out, bio);
    X509_free(x);
    EVP_PKEY_free(key);
}

static void add_list(struct buf *out, long next_s)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509_CRL *list = X509_CRL_new();
    X509_NAME *name = X509_NAME_new();
    ASN1_TIME *now = X509_gmtime_adj(NULL, 0), *next = X509_gmtime_adj(NULL, next_s);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"a", -1, -1, 0);
    X509_CRL_set_issuer_name(list, name);
    X509_CRL_set1_lastUpdate(list, now);
    X509_CRL_set1_nextUpdate(list, next);
    assert_true(X509_CRL_sign(list, key, EVP_sha256()) > 0);
    BIO *bio = BIO_new(BIO_s_mem());
    PEM_write_bio_X509_CRL(bio, list);
    add_text(out, bio);
    X509_NAME_free(name);
    ASN1_TIME_free(now), ASN1_TIME_free(next);
    X509_CRL_free(list);
    EVP_PKEY_free(key);
}

static struct tls_trust trust(const struct buf *ca, const struct buf *crl)
{
    return (struct tls_trust){ca->data, crl->data, ca->len, crl->len};
}

static void what_is_in_it(void **state)
{
    (void)state;
    cleanup_buf struct buf ca = BUF_INIT, crl = BUF_INIT;
    struct tls_trust_info info;
    struct error err = ERROR_INIT;
    buf_puts(&ca, "# ours\n");
    add_ca(&ca, "a", 7200);
    add_ca(&ca, "b", 3600);
    struct tls_trust t = trust(&ca, &crl);
    assert_int_equal(tls_trust_check(&t, &info, &err), 0);
    assert_int_equal(info.certificates, 2);
    assert_int_equal(info.lists, 0);
    assert_int_equal(info.next_update_ms, 0);
    int64_t first_ms = info.not_after_ms;
    add_ca(&ca, "c", 1800);
    add_list(&crl, 60);
    t = trust(&ca, &crl);
    X509_STORE *store = tls_trust_make(&t, &info, &err);
    assert_non_null(store);
    assert_int_equal(info.certificates, 3);
    assert_true(info.not_after_ms < first_ms);
    assert_int_equal(info.lists, 1);
    assert_true(info.next_update_ms > 0 && info.next_update_ms < info.not_after_ms);
    unsigned long flags = X509_VERIFY_PARAM_get_flags(X509_STORE_get0_param(store));
    assert_true((flags & X509_V_FLAG_CRL_CHECK) != 0 && (flags & X509_V_FLAG_CRL_CHECK_ALL) != 0);
    STACK_OF(X509_NAME) *names = tls_trust_names(store);
    assert_int_equal(sk_X509_NAME_num(names), 3);
    sk_X509_NAME_pop_free(names, X509_NAME_free);
    X509_STORE_free(store);
}

static void what_is_wrong_is_said(void **state)
{
    (void)state;
    static const char DAMAGED[] = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    cleanup_buf struct buf none = BUF_INIT, good = BUF_INIT, half = BUF_INIT, list = BUF_INIT,
                           text = BUF_INIT, large = BUF_INIT;
    add_ca(&good, "a", 3600);
    buf_append(&half, good.data, good.len);
    buf_puts(&half, DAMAGED);
    add_list(&list, 60);
    buf_puts(&text, "nothing");
    while (large.len <= TLS_PEM_MAX)
        buf_append(&large, good.data, good.len);
    const struct {
        const struct buf *ca, *crl;
        const char *says;
    } cases[] = {
        {&none, &none, "there is no certificate in it (expected -----BEGIN CERTIFICATE-----)"},
        {&text, &none, "there is no certificate in it (expected -----BEGIN CERTIFICATE-----)"},
        {&list, &none, "there is no certificate in it (expected -----BEGIN CERTIFICATE-----)"},
        {&half, &none, "certificate 2 in it is damaged"},
        {&large, &none, "larger than 1 MiB, or out of memory"},
        {&good, &text, "there is no revocation list in it (expected -----BEGIN X509 CRL-----)"},
        {&good, &good, "there is no revocation list in it (expected -----BEGIN X509 CRL-----)"},
        {&good, &large, "larger than 1 MiB, or out of memory"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct tls_trust_info info;
        struct error err = ERROR_INIT;
        struct tls_trust t = trust(cases[i].ca, cases[i].crl);
        assert_int_equal(tls_trust_check(&t, &info, &err), -1);
        assert_string_equal(err.text, cases[i].says);
        assert_int_equal(err.class, ERROR_USAGE);
    }
}

/* A handshake has room for some names only. */
static void too_many_names_are_not_said(void **state)
{
    (void)state;
    cleanup_buf struct buf ca = BUF_INIT, none = BUF_INIT;
    char cn[64];
    for (int i = 0; i < 300; i++) {
        snprintf(cn, sizeof cn, "a certificate authority with the long name %04d", i);
        add_ca(&ca, cn, 3600);
    }
    struct tls_trust t = trust(&ca, &none);
    struct tls_trust_info info;
    struct error err = ERROR_INIT;
    X509_STORE *store = tls_trust_make(&t, &info, &err);
    assert_non_null(store);
    assert_null(tls_trust_names(store));
    X509_STORE_free(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_in_it),
        cmocka_unit_test(what_is_wrong_is_said),
        cmocka_unit_test(too_many_names_are_not_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
