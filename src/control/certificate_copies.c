/* DATA/run/certificates: the pairs and the CAs of DATA/certs as they were good last. A renewal that
 * does not fit changes nothing while a controller runs, and so it must change nothing when the next
 * one starts. What has no files any more is gone from here, too. */
#include "control/certificates.h"

#include "os/durable.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define COPIES "certificates"

enum { READ_SIZE = 1 << 17 }; /* file_read() asks for less at a time */

static size_t encode(const struct certificate_folder *f, struct buf *out)
{
    struct cert *certs = xcalloc(f->authorities.len + f->all.len + 1, sizeof *certs);
    size_t len = authorities_put(f, certs), bytes = 64;
    for (size_t i = 0; i < f->all.len; i++) {
        const struct certificate *k = f->all.items[i];
        if (k->automatic || k->chain.len == 0)
            continue;
        certs[len++] = (struct cert){.kind = CERT_PAIR,
                                     .name = k->name,
                                     .name_len = strlen(k->name),
                                     .chain = k->chain.data,
                                     .chain_len = k->chain.len,
                                     .key = k->key.data,
                                     .key_len = k->key.len};
    }
    for (size_t i = 0; i < len; i++)
        bytes += 64 + certs[i].name_len + certs[i].chain_len + certs[i].key_len;
    buf_reserve(out, bytes); /* no copies of keys where it would grow */
    certs_encode(certs, len, out);
    free(certs);
    return len;
}

static int read_copies(const struct control *c, struct buf *out)
{
    struct stat st;
    if (fstatat(c->run_dir_fd, COPIES, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return -1;
    buf_reserve(out, (size_t)st.st_size + READ_SIZE); /* as above */
    return file_read(c->run_dir_fd, COPIES, CERTS_MAX_BYTES, out, NULL);
}

static void wipe(struct buf *b)
{
    if (b->data != NULL)
        explicit_bzero(b->data, b->cap);
    buf_release(b);
}

static void adopt(struct certificate *k, const struct cert *copy)
{
    struct tls_pair_info *info = xcalloc(1, sizeof *info);
    struct error err = ERROR_INIT;
    if (tls_pair_check(copy->chain, copy->chain_len, copy->key, copy->key_len, info, &err) == 0) {
        buf_append(&k->chain, copy->chain, copy->chain_len);
        buf_append(&k->key, copy->key, copy->key_len);
        k->info = *info;
        log_warn("certificate %s: the one that was good last goes on", k->name);
    } else {
        log_warn("certificate %s: the one that was good last: %s", k->name, err.text);
    }
    free(info);
}

static void adopt_authority(struct authority *a, const struct cert *copy)
{
    struct error err = ERROR_INIT;
    if (authority_set(a, copy, &err) == 0)
        log_warn("the CA %s: what was good last goes on", a->name);
    else
        log_warn("the CA %s: what was good last: %s", a->name, err.text);
}

static bool is_missing(const struct certificate *k)
{
    return !k->automatic && k->chain.len == 0;
}

static bool is_of(const struct cert *copy, enum cert_kind kind, const char *name)
{
    return copy->kind == kind && strlen(name) == copy->name_len &&
           memcmp(name, copy->name, copy->name_len) == 0;
}

static void adopt_missing(const struct certificate_folder *f, const struct cert *copy)
{
    for (size_t i = 0; i < f->all.len; i++)
        if (is_missing(f->all.items[i]) && is_of(copy, CERT_PAIR, f->all.items[i]->name))
            adopt(f->all.items[i], copy);
    for (size_t i = 0; i < f->authorities.len; i++)
        if (f->authorities.items[i]->ca.len == 0 &&
            is_of(copy, CERT_TRUST, f->authorities.items[i]->name))
            adopt_authority(f->authorities.items[i], copy);
}

void certificate_copies_read(const struct control *c)
{
    const struct certificate_folder *f = c->certificates;
    struct buf data = BUF_INIT;
    size_t missing = 0, len = 0;
    for (size_t i = 0; i < f->all.len; i++)
        missing += is_missing(f->all.items[i]);
    for (size_t i = 0; i < f->authorities.len; i++)
        missing += f->authorities.items[i]->ca.len == 0;
    struct cert *copies = NULL;
    if (missing > 0 && read_copies(c, &data) == 0)
        copies = certs_decode(data.data, data.len, &len, NULL);
    for (size_t n = 0; copies != NULL && n < len; n++)
        adopt_missing(f, &copies[n]);
    free(copies);
    wipe(&data);
}

void certificate_copies_write(const struct control *c)
{
    struct buf now = BUF_INIT, before = BUF_INIT;
    struct error err = ERROR_INIT;
    bool any = encode(c->certificates, &now) > 0;
    bool there = read_copies(c, &before) == 0;
    bool same = there && before.len == now.len && memcmp(before.data, now.data, now.len) == 0;
    if (!same && (any || there) &&
        durable_write(c->run_dir_fd, COPIES, 0600, now.data, now.len, &err) < 0)
        log_warn("no copy of the certificates for the next start: %s", err.text);
    wipe(&before);
    wipe(&now);
}
