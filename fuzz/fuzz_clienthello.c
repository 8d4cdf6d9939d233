/* What a client says first on a TLS connection (RFC 8446 section 4.1.2), under libFuzzer: which
 * certificate is it shown? The first byte of the input tells whether the listener asks clients for
 * certificates; the rest comes from the network. The bytes of a handshake's other messages come
 * behind it, which nobody can say rightly here.
 *
 * Beside the sanitizers' findings: a host gets a certificate that is for it where there is one, by
 * OpenSSL's own judgement; one that proves a host to a CA (RFC 8737) is shown to nobody else. */
#include "acme/acme.h"
#include "base/buf.h"
#include "gateway/certificates.h"
#include "wire/certs.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const HOSTS[] = {"a.test", "*.a.test", "b.a.test", "p.test"};
enum { CERTS = sizeof HOSTS / sizeof HOSTS[0], PROOF = CERTS - 1 };

static struct certificates *certificates;
static X509 *made[CERTS];

static void check(bool ok)
{
    if (!ok)
        abort();
}

static X509 *read_chain(const struct buf *chain)
{
    BIO *bio = BIO_new_mem_buf(chain->data, (int)chain->len);
    X509 *x = PEM_read_bio_X509(bio, NULL, NULL, NULL);
    BIO_free(bio);
    check(x != NULL);
    return x;
}

static void set_up(void)
{
    struct error err = ERROR_INIT;
    struct buf chains[CERTS] = {0}, keys[CERTS] = {0}, all = BUF_INIT;
    struct cert certs[CERTS];
    for (size_t i = 0; i < CERTS; i++) {
        check(acme_challenge_certificate(HOSTS[i], "proof", &chains[i], &keys[i], &err) == 0);
        certs[i] = (struct cert){.kind = i == PROOF ? CERT_TLS_ALPN_01 : CERT_PAIR,
                                 .name = HOSTS[i],
                                 .name_len = strlen(HOSTS[i]),
                                 .chain = chains[i].data,
                                 .chain_len = chains[i].len,
                                 .key = keys[i].data,
                                 .key_len = keys[i].len};
        made[i] = read_chain(&chains[i]);
    }
    certs_encode(certs, CERTS, &all);
    check(certificates_make(all.data, all.len, &certificates, &err) == 0 && certificates != NULL);
    buf_release(&all);
    for (size_t i = 0; i < CERTS; i++) {
        buf_release(&chains[i]);
        buf_release(&keys[i]);
    }
}

static bool is_for(X509 *x, const char *host)
{
    return X509_check_host(x, host, 0, 0, NULL) == 1;
}

/* Once the server has chosen: it has said something, or agreed on a version. */
static void check_choice(SSL *ssl)
{
    const char *host = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    X509 *shown = SSL_get_certificate(ssl);
    bool proves = certificates_only_prove(certificates, ssl);
    check(shown != NULL);
    check(proves == (X509_cmp(shown, made[PROOF]) == 0));
    /* ".a.test" means something else to X509_check_host(). */
    if (host == NULL || host[0] == '.' || strlen(host) > CERTS_NAME_MAX)
        return;
    if (proves)
        check(is_for(made[PROOF], host));
    for (size_t i = 0; i < PROOF && !proves; i++)
        check(!is_for(made[i], host) || is_for(shown, host));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (certificates == NULL)
        set_up();
    if (size < 1 || size > 1 << 16)
        return 0;
    SSL *ssl = certificates_accept(certificates, (data[0] & 1) != 0);
    if (ssl == NULL) { /* there are no CAs for clients */
        check((data[0] & 1) != 0 && !certificates_know_clients(certificates));
        return 0;
    }
    BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
    SSL_set_bio(ssl, in, out);
    BIO_write(in, data + 1, (int)size - 1);
    char text[256];
    size_t got;
    ERR_clear_error();
    check(SSL_read_ex(ssl, text, sizeof text, &got) == 0); /* nobody knows the keys */
    char *said;
    long len = BIO_get_mem_data(out, &said);
    if (len > 0 && said[0] == 22) /* a handshake's record (RFC 8446 section 5.1), no alert */
        check_choice(ssl);
    ERR_clear_error();
    SSL_free(ssl);
    return 0;
}
