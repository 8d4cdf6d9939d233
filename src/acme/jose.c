/* ES256 keys as JWK (RFC 7517, 7518 section 6.2), their thumbprint (RFC 7638), and what they sign
 * (RFC 7515). */
#include "acme/acme_internal.h"

#include "base/sha256.h"
#include "tls/tls_openssl.h"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/pem.h>
#include <string.h>

enum { COORDINATE = 32 }; /* bytes of P-256 */

void base64url(const void *data, size_t len, struct buf *out)
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    const unsigned char *p = data;
    for (size_t i = 0; i < len; i += 3) {
        size_t n = len - i < 3 ? len - i : 3;
        unsigned bits = (unsigned)p[i] << 16 | (n > 1 ? (unsigned)p[i + 1] << 8 : 0) |
                        (n > 2 ? (unsigned)p[i + 2] : 0);
        for (size_t k = 0; k <= n; k++)
            buf_putc(out, alphabet[bits >> (18 - 6 * k) & 63]);
    }
}

/* ---- keys ---- */

EVP_PKEY *acme_key_new(struct error *err)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    if (key == NULL)
        tls_openssl_error(err, "no key can be made");
    return key;
}

static bool is_p256(EVP_PKEY *key)
{
    char group[32];
    size_t len;
    return EVP_PKEY_base_id(key) == EVP_PKEY_EC &&
           EVP_PKEY_get_group_name(key, group, sizeof group, &len) == 1 &&
           (strcmp(group, "prime256v1") == 0 || strcmp(group, "P-256") == 0);
}

static int no_passphrase(char *buf, int size, int writing, void *arg)
{
    (void)buf, (void)size, (void)writing, (void)arg;
    return -1;
}

EVP_PKEY *acme_key_read(const char *pem, size_t len, struct error *err)
{
    BIO *bio = len <= TLS_PEM_MAX ? BIO_new_mem_buf(pem, (int)len) : NULL;
    EVP_PKEY *key = bio != NULL ? PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL) : NULL;
    BIO_free(bio);
    if (key != NULL && is_p256(key))
        return key;
    EVP_PKEY_free(key);
    tls_openssl_error(err, "this is no P-256 key");
    return NULL;
}

int acme_key_write(EVP_PKEY *key, struct buf *out, struct error *err)
{
    BIO *bio = BIO_new(BIO_s_secmem());
    char *data;
    if (bio == NULL || PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) != 1) {
        BIO_free(bio);
        tls_openssl_error(err, "the key cannot be written");
        return -1;
    }
    long len = BIO_get_mem_data(bio, &data);
    buf_append(out, data, len > 0 ? (size_t)len : 0);
    BIO_free(bio);
    return 0;
}

/* ---- the public half ---- */

static int coordinate(EVP_PKEY *key, const char *name, struct buf *out)
{
    unsigned char bytes[COORDINATE];
    BIGNUM *n = NULL;
    int done = EVP_PKEY_get_bn_param(key, name, &n) == 1 &&
               BN_bn2binpad(n, bytes, sizeof bytes) == sizeof bytes;
    BN_free(n);
    if (done)
        base64url(bytes, sizeof bytes, out);
    return done ? 0 : -1;
}

/* In the form that is hashed: members by name, no spaces. */
static int jwk_write(EVP_PKEY *key, struct buf *out, struct error *err)
{
    buf_puts(out, "{\"crv\":\"P-256\",\"kty\":\"EC\",\"x\":\"");
    int status = coordinate(key, OSSL_PKEY_PARAM_EC_PUB_X, out);
    buf_puts(out, "\",\"y\":\"");
    if (status == 0)
        status = coordinate(key, OSSL_PKEY_PARAM_EC_PUB_Y, out);
    buf_puts(out, "\"}");
    if (status < 0)
        tls_openssl_error(err, "the key is none for ES256");
    return status;
}

int jwk_thumbprint(EVP_PKEY *key, struct buf *out, struct error *err)
{
    cleanup_buf struct buf jwk = BUF_INIT;
    struct sha256 hash;
    uint8_t digest[SHA256_BYTES];
    if (jwk_write(key, &jwk, err) < 0)
        return -1;
    sha256_init(&hash);
    sha256_add(&hash, jwk.data, jwk.len);
    sha256_end(&hash, digest);
    base64url(digest, sizeof digest, out);
    return 0;
}

/* ---- signatures ---- */

/* RFC 7518 section 3.4: both numbers, padded, not OpenSSL's DER. */
static int raw_signature(const unsigned char *der, size_t len, unsigned char out[2 * COORDINATE])
{
    ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &der, (long)len);
    int done = sig != NULL && BN_bn2binpad(ECDSA_SIG_get0_r(sig), out, COORDINATE) == COORDINATE &&
               BN_bn2binpad(ECDSA_SIG_get0_s(sig), out + COORDINATE, COORDINATE) == COORDINATE;
    ECDSA_SIG_free(sig);
    return done ? 0 : -1;
}

static int sign(EVP_PKEY *key, const struct buf *input, struct buf *out, struct error *err)
{
    unsigned char der[128], raw[2 * COORDINATE];
    size_t len = sizeof der;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    int done =
        ctx != NULL && EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, key) == 1 &&
        EVP_DigestSign(ctx, der, &len, (const unsigned char *)input->data, input->len) == 1 &&
        raw_signature(der, len, raw) == 0;
    EVP_MD_CTX_free(ctx);
    if (!done) {
        tls_openssl_error(err, "the key does not sign");
        return -1;
    }
    base64url(raw, sizeof raw, out);
    return 0;
}

static void member(struct buf *out, const char *name, const char *value)
{
    buf_printf(out, "\"%s\":\"", name);
    buf_json_escape(out, value, strlen(value));
    buf_puts(out, "\",");
}

int jws_write(const struct jws *j, struct buf *out, struct error *err)
{
    cleanup_buf struct buf head = BUF_INIT, input = BUF_INIT;
    buf_putc(&head, '{');
    member(&head, "alg", "ES256");
    member(&head, "nonce", j->nonce);
    if (j->kid != NULL) {
        member(&head, "kid", j->kid);
    } else {
        buf_puts(&head, "\"jwk\":");
        if (jwk_write(j->key, &head, err) < 0)
            return -1;
        buf_putc(&head, ',');
    }
    member(&head, "url", j->url);
    head.data[head.len - 1] = '}';
    base64url(head.data, head.len, &input);
    buf_clear(out);
    buf_printf(out, "{\"protected\":\"%s\",\"payload\":\"", buf_str(&input));
    buf_putc(&input, '.');
    if (j->payload != NULL) {
        size_t mark = input.len;
        base64url(j->payload, strlen(j->payload), &input);
        buf_puts(out, buf_str(&input) + mark);
    }
    buf_puts(out, "\",\"signature\":\"");
    if (sign(j->key, &input, out, err) < 0)
        return -1;
    buf_puts(out, "\"}");
    return 0;
}
