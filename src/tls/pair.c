#include "tls/tls_openssl.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

void tls_openssl_error(struct error *err, const char *what)
{
    unsigned long code = ERR_peek_last_error();
    const char *reason = code != 0 ? ERR_reason_error_string(code) : NULL;
    error_set(err, ERROR_USAGE, "%s%s%s", what, reason != NULL ? ": " : "",
              reason != NULL ? reason : "");
    ERR_clear_error();
}

/* ---- reading ---- */

BIO *tls_reader(const char *text, size_t len)
{
    return len <= TLS_PEM_MAX ? BIO_new_mem_buf(len > 0 ? text : "", (int)len) : NULL;
}

/* Nobody is asked for a passphrase. */
static int no_passphrase(char *buf, int size, int writing, void *arg)
{
    (void)buf, (void)size, (void)writing, (void)arg;
    return -1;
}

static X509 *read_leaf(BIO *bio, struct error *err)
{
    X509 *leaf = bio != NULL ? PEM_read_bio_X509(bio, NULL, no_passphrase, NULL) : NULL;
    if (leaf == NULL) {
        error_set(err, ERROR_USAGE,
                  "there is no certificate in it (expected -----BEGIN CERTIFICATE-----)");
        ERR_clear_error();
    }
    return leaf;
}

static EVP_PKEY *read_key(const char *text, size_t len, struct error *err)
{
    BIO *bio = tls_reader(text, len);
    EVP_PKEY *key = bio != NULL ? PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL) : NULL;
    BIO_free(bio);
    if (key == NULL) {
        bool locked = memmem(text, len, "ENCRYPTED", 9) != NULL;
        error_set(err, ERROR_USAGE,
                  locked ? "the key has a passphrase, and nobody to ask for it: remove it "
                           "(openssl pkey -in KEY -out KEY)"
                         : "there is no key in it (expected -----BEGIN PRIVATE KEY-----)");
        ERR_clear_error();
    }
    return key;
}

static int fits(X509 *leaf, EVP_PKEY *key, struct error *err)
{
    if (X509_check_private_key(leaf, key) != 1) {
        error_set(err, ERROR_USAGE, "the key is that of another certificate");
        ERR_clear_error();
        return -1;
    }
    int kind = EVP_PKEY_base_id(key), bits = EVP_PKEY_bits(key);
    if (kind == EVP_PKEY_RSA && bits < 2048)
        return error_set(err, ERROR_USAGE, "an RSA key of %d bits is too weak: 2048 at least",
                         bits);
    return 0;
}

/* ---- what it is for ---- */

static void add_name(struct tls_pair_info *out, const char *name, size_t len)
{
    if (len == 0 || len > TLS_NAME_MAX || out->names_len == TLS_NAMES_MAX ||
        memchr(name, 0, len) != NULL)
        return;
    char *to = out->names[out->names_len++];
    for (size_t i = 0; i < len; i++)
        to[i] = (char)tolower((unsigned char)name[i]);
    to[len] = '\0';
}

static void add_address(struct tls_pair_info *out, const unsigned char *bytes, int len)
{
    char text[INET6_ADDRSTRLEN];
    if ((len == 4 || len == 16) &&
        inet_ntop(len == 4 ? AF_INET : AF_INET6, bytes, text, sizeof text) != NULL)
        add_name(out, text, strlen(text));
}

/* RFC 9525 section 4.1: only the subject's alternative names count; the common name does where
 * there are none, for certificates made by hand. */
static void read_names(X509 *leaf, struct tls_pair_info *out)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(leaf, NID_subject_alt_name, NULL, NULL);
    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *n = sk_GENERAL_NAME_value(names, i);
        if (n->type == GEN_DNS)
            add_name(out, (const char *)ASN1_STRING_get0_data(n->d.dNSName),
                     (size_t)ASN1_STRING_length(n->d.dNSName));
        else if (n->type == GEN_IPADD)
            add_address(out, ASN1_STRING_get0_data(n->d.iPAddress),
                        ASN1_STRING_length(n->d.iPAddress));
    }
    GENERAL_NAMES_free(names);
    char common[TLS_NAME_MAX + 1];
    int len = X509_NAME_get_text_by_NID(X509_get_subject_name(leaf), NID_commonName, common,
                                        sizeof common);
    if (out->names_len == 0 && len > 0)
        add_name(out, common, (size_t)len);
}

int64_t tls_wall_ms(const ASN1_TIME *time)
{
    struct tm tm;
    return ASN1_TIME_to_tm(time, &tm) == 1 ? (int64_t)timegm(&tm) * 1000 : 0;
}

int tls_pair_check(const char *chain, size_t chain_len, const char *key, size_t key_len,
                   struct tls_pair_info *out, struct error *err)
{
    BIO *bio = tls_reader(chain, chain_len);
    X509 *leaf = read_leaf(bio, err);
    BIO_free(bio);
    EVP_PKEY *private = leaf != NULL ? read_key(key, key_len, err) : NULL;
    int status = private != NULL ? fits(leaf, private, err) : -1;
    memset(out, 0, sizeof *out);
    if (status == 0) {
        read_names(leaf, out);
        uint32_t usage = X509_get_extended_key_usage(leaf); /* all bits where it says none */
        out->serves = (usage & (XKU_SSL_SERVER | XKU_ANYEKU)) != 0;
        out->not_before_ms = tls_wall_ms(X509_get0_notBefore(leaf));
        out->not_after_ms = tls_wall_ms(X509_get0_notAfter(leaf));
        if (out->names_len == 0)
            status = error_set(err, ERROR_USAGE, "the certificate is for no host");
    }
    EVP_PKEY_free(private);
    X509_free(leaf);
    return status;
}

/* ---- into a context ---- */

static int use_chain(SSL_CTX *ctx, BIO *bio, struct error *err)
{
    X509 *leaf = read_leaf(bio, err);
    if (leaf == NULL)
        return -1;
    int done = SSL_CTX_use_certificate(ctx, leaf);
    X509_free(leaf);
    for (X509 *next; done == 1 && (next = PEM_read_bio_X509(bio, NULL, no_passphrase, NULL));) {
        done = SSL_CTX_add0_chain_cert(ctx, next);
        if (done != 1)
            X509_free(next);
    }
    if (done != 1)
        tls_openssl_error(err, "the certificate cannot be used");
    ERR_clear_error(); /* the end of the text is one, too */
    return done == 1 ? 0 : -1;
}

int tls_pair_use(SSL_CTX *ctx, const char *chain, size_t chain_len, const char *key, size_t key_len,
                 struct error *err)
{
    BIO *bio = tls_reader(chain, chain_len);
    int status = use_chain(ctx, bio, err);
    BIO_free(bio);
    EVP_PKEY *private = status == 0 ? read_key(key, key_len, err) : NULL;
    if (private == NULL)
        return -1;
    if (SSL_CTX_use_PrivateKey(ctx, private) != 1) {
        tls_openssl_error(err, "the key cannot be used");
        status = -1;
    }
    EVP_PKEY_free(private);
    return status;
}
