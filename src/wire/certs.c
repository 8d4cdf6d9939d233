#include "wire/certs.h"

#include "base/alloc.h"
#include "base/assert.h"

#include <stdbool.h>
#include <string.h>

static const char MAGIC[4] = "SCT2";

static void put(struct buf *out, size_t n)
{
    const unsigned char bytes[4] = {n & 255, n >> 8 & 255, n >> 16 & 255, n >> 24 & 255};
    buf_append(out, bytes, sizeof bytes);
}

void certs_encode(const struct cert *certs, size_t len, struct buf *out)
{
    ASSERT(len <= CERTS_MAX);
    buf_append(out, MAGIC, sizeof MAGIC);
    put(out, len);
    for (size_t i = 0; i < len; i++) {
        put(out, certs[i].kind);
        put(out, certs[i].name_len);
        put(out, certs[i].chain_len);
        put(out, certs[i].key_len);
        buf_append(out, certs[i].name, certs[i].name_len);
        buf_append(out, certs[i].chain, certs[i].chain_len);
        buf_append(out, certs[i].key, certs[i].key_len);
    }
}

struct reader {
    const unsigned char *at;
    size_t left;
    bool bad;
};

static size_t number(struct reader *r)
{
    if (r->left < 4) {
        r->bad = true;
        return 0;
    }
    size_t n = r->at[0] | (size_t)r->at[1] << 8 | (size_t)r->at[2] << 16 | (size_t)r->at[3] << 24;
    r->at += 4;
    r->left -= 4;
    return n;
}

static const char *bytes_of(struct reader *r, size_t n)
{
    const char *at = (const char *)r->at;
    if (n > r->left) {
        r->bad = true;
        return NULL;
    }
    r->at += n;
    r->left -= n;
    return at;
}

struct cert *certs_decode(const void *data, size_t bytes, size_t *len, struct error *err)
{
    struct reader r = {data, bytes, false};
    const char *magic = bytes_of(&r, sizeof MAGIC);
    size_t count = number(&r);
    if (r.bad || memcmp(magic, MAGIC, sizeof MAGIC) != 0 || count > CERTS_MAX) {
        error_set(err, ERROR_USAGE, "these are no certificates");
        return NULL;
    }
    struct cert *certs = xcalloc(count + 1, sizeof *certs);
    for (size_t i = 0; i < count && !r.bad; i++) {
        struct cert *c = &certs[i];
        size_t kind = number(&r);
        c->kind = kind < CERT_KINDS ? (enum cert_kind)kind : CERT_PAIR;
        c->name_len = number(&r);
        c->chain_len = number(&r);
        c->key_len = number(&r);
        c->name = bytes_of(&r, c->name_len);
        c->chain = bytes_of(&r, c->chain_len);
        c->key = bytes_of(&r, c->key_len);
        r.bad = r.bad || kind >= CERT_KINDS || c->name_len > CERTS_NAME_MAX;
    }
    if (r.bad || r.left > 0) {
        free(certs);
        error_set(err, ERROR_USAGE, "the certificates are cut short, or too long");
        return NULL;
    }
    *len = count;
    return certs;
}
