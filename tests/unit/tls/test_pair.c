/* Certificates are made here, by OpenSSL. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "tls/tls_openssl.h"

#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>

struct made {
    char *chain, *key;
};

static char *text_of(BIO *bio)
{
    char *data;
    long len = BIO_get_mem_data(bio, &data);
    char *text = xstrndup(data, (size_t)len);
    BIO_free(bio);
    return text;
}

/* san: "DNS:a.test,IP:127.0.0.1", or NULL. passphrase: NULL for none. */
static struct made make_for(EVP_PKEY *key, const char *cn, const char *san, const char *usage,
                            const char *passphrase)
{
    X509 *x = X509_new();
    X509_set_version(x, 2);
    X509_gmtime_adj(X509_getm_notBefore(x), 0);
    X509_gmtime_adj(X509_getm_notAfter(x), 3600);
    X509_set_pubkey(x, key);
    X509_NAME *name = X509_get_subject_name(x);
    if (cn != NULL)
        X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)cn, -1, -1, 0);
    X509_set_issuer_name(x, name);
    if (san != NULL) {
        X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, san);
        assert_non_null(e);
        X509_add_ext(x, e, -1);
        X509_EXTENSION_free(e);
    }
    if (usage != NULL) {
        X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, NULL, NID_ext_key_usage, usage);
        assert_non_null(e);
        X509_add_ext(x, e, -1);
        X509_EXTENSION_free(e);
    }
    assert_true(X509_sign(x, key, EVP_sha256()) > 0);
    struct made m;
    BIO *bio = BIO_new(BIO_s_mem());
    PEM_write_bio_X509(bio, x);
    m.chain = text_of(bio);
    bio = BIO_new(BIO_s_mem());
    PEM_write_bio_PrivateKey(bio, key, passphrase != NULL ? EVP_aes_256_cbc() : NULL,
                             (const unsigned char *)passphrase,
                             passphrase != NULL ? (int)strlen(passphrase) : 0, NULL, NULL);
    m.key = text_of(bio);
    X509_free(x);
    return m;
}

static struct made make(EVP_PKEY *key, const char *cn, const char *san, const char *passphrase)
{
    return make_for(key, cn, san, NULL, passphrase);
}

static void made_free(struct made *m)
{
    free(m->chain);
    free(m->key);
}

static struct tls_pair_info info;

static int check(const char *chain, const char *key, struct error *err)
{
    return tls_pair_check(chain, strlen(chain), key, strlen(key), &info, err);
}

static void names_of_all_kinds(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    EVP_PKEY *key = EVP_EC_gen("P-256");
    struct made m = make(key, "ignored.test",
                         "DNS:Shop.TEST,DNS:*.shop.test,IP:127.0.0.1,IP:::1,"
                         "email:a@b.test,URI:http://c.test/",
                         NULL);
    assert_int_equal(check(m.chain, m.key, &err), 0);
    assert_int_equal(info.names_len, 4);
    assert_string_equal(info.names[0], "shop.test");
    assert_string_equal(info.names[1], "*.shop.test");
    assert_string_equal(info.names[2], "127.0.0.1");
    assert_string_equal(info.names[3], "::1");
    assert_int_equal((info.not_after_ms - info.not_before_ms) / 1000, 3600);
    made_free(&m);
    m = make(key, "old.test", NULL, NULL);
    assert_int_equal(check(m.chain, m.key, &err), 0);
    assert_string_equal(info.names[0], "old.test");
    made_free(&m);
    m = make(key, NULL, NULL, NULL);
    assert_int_equal(check(m.chain, m.key, &err), -1);
    assert_string_equal(err.text, "the certificate is for no host");
    made_free(&m);
    EVP_PKEY_free(key);
}

static void what_is_wrong_is_said(void **state)
{
    (void)state;
    EVP_PKEY *key = EVP_EC_gen("P-256"), *other = EVP_EC_gen("P-256"), *weak = EVP_RSA_gen(1024);
    struct made m = make(key, "a.test", NULL, NULL), stranger = make(other, "a.test", NULL, NULL),
                locked = make(key, "a.test", NULL, "secret"), w = make(weak, "a.test", NULL, NULL);
    const struct {
        const char *chain, *key, *says;
    } cases[] = {
        {m.chain, stranger.key, "the key is that of another certificate"},
        {"", m.key, "there is no certificate in it (expected -----BEGIN CERTIFICATE-----)"},
        {m.key, m.key, "there is no certificate in it (expected -----BEGIN CERTIFICATE-----)"},
        {m.chain, "", "there is no key in it (expected -----BEGIN PRIVATE KEY-----)"},
        {m.chain, m.chain, "there is no key in it (expected -----BEGIN PRIVATE KEY-----)"},
        {m.chain, locked.key,
         "the key has a passphrase, and nobody to ask for it: remove it (openssl pkey -in KEY -out "
         "KEY)"},
        {w.chain, w.key, "an RSA key of 1024 bits is too weak: 2048 at least"},
        {"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", m.key,
         "there is no certificate in it (expected -----BEGIN CERTIFICATE-----)"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct error err = ERROR_INIT;
        assert_int_equal(check(cases[i].chain, cases[i].key, &err), -1);
        assert_string_equal(err.text, cases[i].says);
        assert_int_equal(err.class, ERROR_USAGE);
    }
    made_free(&m), made_free(&stranger), made_free(&locked), made_free(&w);
    EVP_PKEY_free(key), EVP_PKEY_free(other), EVP_PKEY_free(weak);
}

/* By its extended key usage; without one it may be anything (RFC 5280 section 4.2.1.12). */
static void what_it_is_for(void **state)
{
    (void)state;
    static const struct {
        const char *usage;
        bool serves;
    } cases[] = {{NULL, true},
                 {"serverAuth", true},
                 {"clientAuth,serverAuth", true},
                 {"anyExtendedKeyUsage", true},
                 {"clientAuth", false}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        EVP_PKEY *key = EVP_EC_gen("P-256");
        struct error err = ERROR_INIT;
        struct made m = make_for(key, "a.test", NULL, cases[i].usage, NULL);
        assert_int_equal(
            tls_pair_check(m.chain, strlen(m.chain), m.key, strlen(m.key), &info, &err), 0);
        assert_int_equal(info.serves, cases[i].serves);
        made_free(&m);
        EVP_PKEY_free(key);
    }
}

static void both_in_one_text_and_a_chain(void **state)
{
    (void)state;
    struct error err = ERROR_INIT;
    EVP_PKEY *key = EVP_EC_gen("P-256"), *ca = EVP_EC_gen("P-384");
    struct made m = make(key, "a.test", NULL, NULL), above = make(ca, "ca", NULL, NULL);
    cleanup_free char *all = xasprintf("# made by hand\n%s\n%s%s", m.key, m.chain, above.chain);
    assert_int_equal(check(all, all, &err), 0);
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    assert_int_equal(tls_pair_use(ctx, all, strlen(all), all, strlen(all), &err), 0);
    STACK_OF(X509) *chain = NULL;
    SSL_CTX_get0_chain_certs(ctx, &chain);
    assert_int_equal(sk_X509_num(chain), 1);
    assert_int_equal(SSL_CTX_check_private_key(ctx), 1);
    SSL_CTX_free(ctx);
    made_free(&m), made_free(&above);
    EVP_PKEY_free(key), EVP_PKEY_free(ca);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_of_all_kinds),
        cmocka_unit_test(what_is_wrong_is_said),
        cmocka_unit_test(what_it_is_for),
        cmocka_unit_test(both_in_one_text_and_a_chain),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
