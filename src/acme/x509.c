/* What is signed by us: the request for a certificate (RFC 8555 section 7.4, RFC 2986), and the
 * certificate that answers a TLS-ALPN-01 challenge (RFC 8737 section 3). */
#include "acme/acme_internal.h"

#include "base/sha256.h"
#include "tls/tls_openssl.h"

#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <string.h>

#define ACME_IDENTIFIER "1.3.6.1.5.5.7.1.31" /* id-pe-acmeIdentifier, RFC 8737 section 6.1 */

/* The host stands in the alternative names only: a common name has 64 bytes at most. */
static X509_EXTENSION *names(const char *host)
{
    cleanup_buf struct buf value = BUF_INIT;
    buf_printf(&value, "DNS:%s", host);
    return X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, buf_str(&value));
}

int csr_write(EVP_PKEY *key, const char *host, struct buf *out, struct error *err)
{
    X509_REQ *req = X509_REQ_new();
    STACK_OF(X509_EXTENSION) *extensions = sk_X509_EXTENSION_new_null();
    X509_EXTENSION *san = names(host);
    unsigned char *der = NULL;
    int len = -1;
    if (req != NULL && extensions != NULL && san != NULL &&
        sk_X509_EXTENSION_push(extensions, san) > 0) {
        san = NULL;
        if (X509_REQ_set_version(req, X509_REQ_VERSION_1) == 1 &&
            X509_REQ_set_pubkey(req, key) == 1 && X509_REQ_add_extensions(req, extensions) == 1 &&
            X509_REQ_sign(req, key, EVP_sha256()) > 0)
            len = i2d_X509_REQ(req, &der);
    }
    if (len > 0)
        base64url(der, (size_t)len, out);
    else
        tls_openssl_error(err, "no request for a certificate can be made");
    OPENSSL_free(der);
    X509_EXTENSION_free(san);
    sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
    X509_REQ_free(req);
    return len > 0 ? 0 : -1;
}

/* ---- TLS-ALPN-01 ---- */

/* An OCTET STRING in the extension's: 04 20 and the hash. */
static X509_EXTENSION *identifier(const char *answer)
{
    struct sha256 hash;
    uint8_t value[2 + SHA256_BYTES] = {0x04, SHA256_BYTES};
    sha256_init(&hash);
    sha256_add(&hash, answer, strlen(answer));
    sha256_end(&hash, value + 2);
    ASN1_OBJECT *object = OBJ_txt2obj(ACME_IDENTIFIER, 1);
    ASN1_OCTET_STRING *octets = ASN1_OCTET_STRING_new();
    X509_EXTENSION *out = NULL;
    if (object != NULL && octets != NULL && ASN1_OCTET_STRING_set(octets, value, sizeof value) == 1)
        out = X509_EXTENSION_create_by_OBJ(NULL, object, 1, octets);
    ASN1_OCTET_STRING_free(octets);
    ASN1_OBJECT_free(object);
    return out;
}

static bool add_extension(X509 *cert, X509_EXTENSION *extension)
{
    bool done = extension != NULL && X509_add_ext(cert, extension, -1) == 1;
    X509_EXTENSION_free(extension);
    return done;
}

static bool fill(X509 *cert, EVP_PKEY *key, const char *host, const char *answer)
{
    static const unsigned char common[] = "ACME challenge";
    X509_NAME *name = X509_get_subject_name(cert);
    uint32_t serial;
    return RAND_bytes((unsigned char *)&serial, sizeof serial) == 1 &&
           X509_set_version(cert, X509_VERSION_3) == 1 &&
           ASN1_INTEGER_set_uint64(X509_get_serialNumber(cert), serial | 1) == 1 &&
           X509_gmtime_adj(X509_getm_notBefore(cert), -24L * 3600) != NULL &&
           X509_gmtime_adj(X509_getm_notAfter(cert), 7 * 24L * 3600) != NULL &&
           X509_NAME_add_entry_by_NID(name, NID_commonName, MBSTRING_ASC, common, -1, -1, 0) == 1 &&
           X509_set_issuer_name(cert, name) == 1 && X509_set_pubkey(cert, key) == 1 &&
           add_extension(cert, names(host)) && add_extension(cert, identifier(answer)) &&
           X509_sign(cert, key, EVP_sha256()) > 0;
}

int acme_challenge_certificate(const char *host, const char *answer, struct buf *chain,
                               struct buf *key, struct error *err)
{
    EVP_PKEY *own = acme_key_new(err);
    if (own == NULL)
        return -1;
    X509 *cert = X509_new();
    BIO *bio = BIO_new(BIO_s_mem());
    char *data;
    int status = -1;
    if (cert != NULL && bio != NULL && fill(cert, own, host, answer) &&
        PEM_write_bio_X509(bio, cert) == 1) {
        long len = BIO_get_mem_data(bio, &data);
        buf_append(chain, data, (size_t)len);
        status = acme_key_write(own, key, err);
    } else {
        tls_openssl_error(err, "no certificate for the challenge can be made");
    }
    BIO_free(bio);
    X509_free(cert);
    EVP_PKEY_free(own);
    return status;
}
