#include "gateway/tickets.h"

#include "os/clock.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>

enum { NAME_BYTES = 16, KEY_BYTES = 32, IV_BYTES = 16 };

struct ticket_key {
    int64_t made_ms; /* clock_boot_ms(); 0: none */
    unsigned char name[NAME_BYTES], cipher[KEY_BYTES], mac[KEY_BYTES];
};

static struct {
    pthread_mutex_t lock;
    struct ticket_key now, before;
} keys = {.lock = PTHREAD_MUTEX_INITIALIZER};

static bool renew(struct ticket_key *k, int64_t now_ms)
{
    k->made_ms = now_ms;
    return RAND_bytes(k->name, NAME_BYTES) == 1 && RAND_bytes(k->cipher, KEY_BYTES) == 1 &&
           RAND_bytes(k->mac, KEY_BYTES) == 1;
}

/* The one that encrypts. */
static bool current(struct ticket_key *out)
{
    int64_t now_ms = clock_boot_ms();
    bool ok = true;
    pthread_mutex_lock(&keys.lock);
    if (keys.now.made_ms == 0 || now_ms - keys.now.made_ms >= TICKET_KEY_MS) {
        keys.before = keys.now;
        ok = renew(&keys.now, now_ms);
    }
    *out = keys.now;
    pthread_mutex_unlock(&keys.lock);
    return ok;
}

static bool find(const unsigned char *name, struct ticket_key *out, bool *old)
{
    int64_t now_ms = clock_boot_ms();
    bool found = true;
    pthread_mutex_lock(&keys.lock);
    const struct ticket_key *now = &keys.now, *before = &keys.before;
    if (now->made_ms != 0 && memcmp(now->name, name, NAME_BYTES) == 0)
        *out = *now;
    else if (before->made_ms != 0 && memcmp(before->name, name, NAME_BYTES) == 0)
        *out = *before;
    else
        found = false;
    pthread_mutex_unlock(&keys.lock);
    *old = found && now_ms - out->made_ms >= TICKET_KEY_MS;
    return found && now_ms - out->made_ms < 2 * TICKET_KEY_MS;
}

static bool set_mac(EVP_MAC_CTX *mac, struct ticket_key *k)
{
    const OSSL_PARAM params[] = {
        OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, k->mac, KEY_BYTES),
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char *)(uintptr_t) "SHA256", 0),
        OSSL_PARAM_construct_end(),
    };
    return EVP_MAC_CTX_set_params(mac, params) == 1;
}

/* SSL_CTX_set_tlsext_ticket_key_evp_cb(3): 1 goes on, 2 and a new ticket, 0 no such key, -1 failed.
 */
static int on_ticket(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
                     EVP_MAC_CTX *mac, int encrypt)
{
    struct ticket_key k;
    bool old = false;
    (void)ssl;
    int result = 1;
    if (encrypt) {
        if (!current(&k) || RAND_bytes(iv, IV_BYTES) != 1)
            return -1;
        memcpy(name, k.name, NAME_BYTES);
        if (EVP_EncryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, k.cipher, iv) != 1)
            result = -1;
    } else {
        if (!find(name, &k, &old))
            return 0;
        if (EVP_DecryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, k.cipher, iv) != 1)
            result = -1;
    }
    if (result > 0 && !set_mac(mac, &k))
        result = -1;
    OPENSSL_cleanse(&k, sizeof k);
    return result > 0 && old ? 2 : result;
}

void tickets_use(SSL_CTX *ctx)
{
    static const unsigned char context[] = "sluice";
    SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, on_ticket);
    SSL_CTX_set_session_id_context(ctx, context, sizeof context - 1);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF); /* tickets alone: no memory of ours */
    SSL_CTX_set_timeout(ctx, TICKET_KEY_MS / 1000);
}
