/* The certificates of DATA/certs and DATA/acme/certs, for the gateways: read when something there
 * changes, checked, and sent. A pair that does not fit together (one of its files was written, the
 * other not yet) changes nothing: the one before it goes on. */
#include "control/certificates.h"

#include "os/clock.h"
#include "os/memfd.h"
#include "wire/certs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LOOK_MS = 1000 };

static void release_key(struct buf *key)
{
    if (key->data != NULL)
        explicit_bzero(key->data, key->cap);
    buf_release(key);
}

static void certificate_free(struct certificate *k)
{
    buf_release(&k->chain);
    release_key(&k->key);
    free(k);
}

/* ---- the folder ---- */

static uint64_t mix(uint64_t h, const void *data, size_t len)
{
    const unsigned char *p = data;
    for (size_t i = 0; i < len; i++) /* FNV-1a: nobody attacks it */
        h = (h ^ p[i]) * UINT64_C(1099511628211);
    return h;
}

uint64_t certificates_sign(uint64_t h, int dir, const char *name)
{
    struct stat st;
    h = mix(h, name, strlen(name) + 1);
    if (fstatat(dir, name, &st, 0) < 0)
        return h;
    h = mix(h, &st.st_mtim, sizeof st.st_mtim);
    h = mix(h, &st.st_mode, sizeof st.st_mode);
    h = mix(h, &st.st_size, sizeof st.st_size);
    return mix(h, &st.st_ino, sizeof st.st_ino);
}

/* The order of readdir() is no news. */
static uint64_t sign_folder(int dir)
{
    uint64_t sum = dir == CERTIFICATES_CLOSED ? 2 : 1;
    DIR *d = dir >= 0 ? fdopendir(dup(dir)) : NULL;
    if (d == NULL)
        return sum;
    rewinddir(d);
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        if (e->d_name[0] == '.')
            continue;
        uint64_t h = certificates_sign(UINT64_C(14695981039346656037), dir, e->d_name);
        int inner = openat(dir, e->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (inner >= 0) {
            h = certificates_sign(h, inner, "fullchain.pem");
            h = certificates_sign(h, inner, "privkey.pem");
            close(inner);
        }
        sum += h;
    }
    closedir(d);
    return sum;
}

/* ---- one pair ---- */

static struct certificate *find(const struct certificate_folder *f, const char *name,
                                bool automatic)
{
    if (automatic)
        return f != NULL ? map_get(&f->automatic, name) : NULL;
    for (size_t i = 0; f != NULL && i < f->all.len; i++)
        if (!f->all.items[i]->automatic && strcmp(f->all.items[i]->name, name) == 0)
            return f->all.items[i];
    return NULL;
}

static struct certificate *find_or_add(struct certificate_folder *f, const char *name,
                                       bool automatic)
{
    struct certificate *k = find(f, name, automatic);
    if (k != NULL)
        return k;
    k = xcalloc(1, sizeof *k);
    snprintf(k->name, sizeof k->name, "%s", name);
    k->automatic = automatic;
    *vec_push(&f->all) = k;
    if (automatic)
        map_put(&f->automatic, name, k);
    return k;
}

int certificates_read_pem(int dir, const char *name, struct buf *out, struct error *err)
{
    struct stat st;
    cleanup_close int fd = openat(dir, name, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0)
        return error_errno(err, errno, "%s", name);
    if (!S_ISREG(st.st_mode))
        return error_set(err, ERROR_USAGE, "%s is not a regular file", name);
    if (st.st_size > TLS_PEM_MAX)
        return error_set(err, ERROR_USAGE, "%s is larger than 1 MiB", name);
    buf_reserve(out, (size_t)st.st_size); /* no copies of a key where it would grow */
    while (out->len < (size_t)st.st_size) {
        ssize_t n = read(fd, out->data + out->len, (size_t)st.st_size - out->len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_errno(err, errno, "%s", name);
        if (n == 0)
            break;
        out->len += (size_t)n;
    }
    out->data[out->len] = '\0';
    return 0;
}

static int read_pair(int dir, const char *chain_name, const char *key_name, struct certificate *k,
                     struct error *err)
{
    struct buf chain = BUF_INIT, key = BUF_INIT;
    struct tls_pair_info *info = xcalloc(1, sizeof *info);
    struct stat st;
    int status = certificates_read_pem(dir, chain_name, &chain, err);
    if (status == 0)
        status = certificates_read_pem(dir, key_name, &key, err);
    if (status == 0 && fstatat(dir, key_name, &st, 0) == 0 && (st.st_mode & 004) != 0)
        status = error_set(err, ERROR_DENIED, "everybody can read %s: chmod o-r it", key_name);
    if (status == 0)
        status = tls_pair_check(chain.data, chain.len, key.data, key.len, info, err);
    if (status == 0) {
        struct buf old = k->key;
        buf_release(&k->chain);
        k->chain = chain;
        k->key = key;
        k->info = *info;
        chain = (struct buf)BUF_INIT;
        key = old;
    }
    buf_release(&chain);
    release_key(&key);
    free(info);
    return status;
}

static void take(struct certificate_folder *f, const char *name, bool automatic, int dir,
                 const char *chain_name, const char *key_name)
{
    struct certificate *k = find_or_add(f, name, automatic);
    struct error err = ERROR_INIT;
    char before[sizeof k->trouble];
    if (k->seen)
        return;
    k->seen = true;
    uint64_t signature = certificates_sign(certificates_sign(1, dir, chain_name), dir, key_name);
    if (signature == k->signature && k->trouble[0] == '\0')
        return;
    k->signature = signature;
    snprintf(before, sizeof before, "%s", k->trouble);
    k->trouble[0] = '\0';
    if (read_pair(dir, chain_name, key_name, k, &err) < 0)
        snprintf(k->trouble, sizeof k->trouble, "%.240s", err.text);
    if (k->trouble[0] != '\0' && strcmp(before, k->trouble) != 0)
        log_error("certificate %s: %s%s", name, k->trouble,
                  k->chain.len > 0 ? "; the one before it goes on" : "");
}

/* NAME/fullchain.pem and privkey.pem; NAME.crt and NAME.key; NAME.pem with or without a NAME.key.
 */
static void take_entry(struct certificate_folder *f, int dir, bool automatic, const char *entry)
{
    char name[NAME_MAX + 1], key[NAME_MAX + 8];
    int inner = openat(dir, entry, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct certificate *before = find(f, entry, automatic);
    if (inner < 0 && errno != ENOTDIR && errno != ENOENT && before != NULL)
        before->seen = true; /* no look at it: as it was */
    if (inner >= 0) {
        if (faccessat(inner, "fullchain.pem", F_OK, 0) == 0)
            take(f, entry, automatic, inner, "fullchain.pem", "privkey.pem");
        close(inner);
        return;
    }
    const char *dot = strrchr(entry, '.');
    if (dot == NULL || dot == entry || (strcmp(dot, ".crt") != 0 && strcmp(dot, ".pem") != 0))
        return;
    snprintf(name, sizeof name, "%.*s", (int)(dot - entry), entry);
    snprintf(key, sizeof key, "%s.key", name);
    bool apart = strcmp(dot, ".crt") == 0 || faccessat(dir, key, F_OK, 0) == 0;
    take(f, name, automatic, dir, entry, apart ? key : entry);
}

/* dir -1: there is none. */
static void read_folder(struct certificate_folder *f, int dir, bool automatic)
{
    DIR *d = dir >= 0 ? fdopendir(dup(dir)) : NULL;
    if (dir == CERTIFICATES_CLOSED)
        log_error("%s cannot be read: its certificates stay as they were",
                  automatic ? "DATA/acme/certs" : "DATA/certs");
    for (size_t i = 0; dir != -1 && d == NULL && i < f->all.len; i++)
        if (f->all.items[i]->automatic == automatic)
            f->all.items[i]->seen = true; /* no look at it: as it was */
    if (d != NULL)
        rewinddir(d);
    for (struct dirent *e;
         d != NULL && (e = readdir(d)) != NULL && f->all.len < CERTS_MAX - AUTHORITIES_MAX;)
        if (e->d_name[0] != '.' && strlen(e->d_name) <= CERTS_NAME_MAX)
            take_entry(f, dir, automatic, e->d_name);
    if (d != NULL)
        closedir(d);
}

static void read_folders(struct certificate_folder *f, int files, int automatic)
{
    for (size_t i = 0; i < f->all.len; i++)
        f->all.items[i]->seen = false;
    read_folder(f, automatic, true);
    read_folder(f, files, false);
    authorities_read(f, files);
    for (size_t i = 0; i < f->all.len;) {
        struct certificate *k = f->all.items[i];
        if (k->seen) {
            i++;
            continue;
        }
        log_info("certificate %s is gone", k->name);
        if (k->automatic)
            map_remove(&f->automatic, k->name);
        certificate_free(k);
        vec_remove(&f->all, i);
    }
}

/* ---- to the gateways ---- */

void certificates_send(const struct gateway *g)
{
    const struct certificate_folder *f = g->control->certificates;
    struct error err = ERROR_INIT;
    if (f != NULL && f->fd >= 0 && !g->dead &&
        gateway_link_send_certificates(g->link, f->version, f->fd, f->bytes, &err) < 0)
        log_warn("%s", err.text);
}

static int send_all(struct control *c)
{
    struct certificate_folder *f = c->certificates;
    struct error err = ERROR_INIT;
    cleanup_buf struct buf out = BUF_INIT;
    struct cert *certs = xcalloc(CERTS_MAX, sizeof *certs);
    certificates_order(c, control_now());
    size_t others = authorities_put(f, certs);
    others += acme_proofs(c, certs + others, CERTS_MAX - others - f->all.len);
    size_t len = others;
    for (size_t i = 0; i < f->all.len; i++) {
        const struct certificate *k = f->all.items[i];
        if (k->chain.len > 0 && !k->replaced)
            certs[len++] = (struct cert){.name = k->name,
                                         .name_len = strlen(k->name),
                                         .chain = k->chain.data,
                                         .chain_len = k->chain.len,
                                         .key = k->key.data,
                                         .key_len = k->key.len};
    }
    certs_encode(certs, len, &out);
    free(certs);
    int fd = memfd_make("sluice-certificates", out.data, out.len, &err);
    explicit_bzero(out.data, out.len);
    if (fd < 0) { /* what there was goes on; it is tried again with the next look */
        log_error("certificates: %s", err.text);
        return -1;
    }
    if (f->fd >= 0)
        close(f->fd);
    f->fd = fd;
    f->bytes = out.len;
    f->version++;
    for (size_t i = 0; i < c->gateways.len; i++)
        certificates_send(c->gateways.items[i]);
    if (len - others != f->served)
        log_info("%zu certificate%s for TLS", len - others, len - others == 1 ? "" : "s");
    f->served = len - others;
    return 0;
}

/* -1: there is none. CERTIFICATES_CLOSED: it cannot be looked at now, which is no reason to drop
 * what is served, or to hold up what is not from there. */
static int open_folder(const struct control *c, const char *name)
{
    cleanup_free char *path = xasprintf("%s/%s", c->data, name);
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd >= 0 || errno == ENOENT || errno == ENOTDIR ? fd : CERTIFICATES_CLOSED;
}

void certificates_tick(struct control *c)
{
    int64_t now = control_now();
    if (c->certificates == NULL) {
        c->certificates = xcalloc(1, sizeof *c->certificates);
        c->certificates->fd = -1;
    }
    struct certificate_folder *f = c->certificates;
    if (f->looked_ms != 0 && llabs(now - f->looked_ms) < LOOK_MS)
        return;
    f->looked_ms = now;
    authorities_look(c);
    acme_collect(c); /* its proofs belong to the first that is sent */
    cleanup_close int files = open_folder(c, "certs");
    cleanup_close int automatic = open_folder(c, "acme/certs");
    uint64_t signature = sign_folder(files) * 31 + sign_folder(automatic);
    if (signature == f->signature && !f->changed && now < f->expires_ms)
        return;
    bool other = signature != f->signature;
    if (other) {
        read_folders(f, files, automatic);
        certificate_copies_read(c);
        if (acme_host_at(c, 0) != NULL)
            control_mark_routes(c); /* redirects to https wait for certificates */
    }
    f->signature = signature;
    f->changed = send_all(c) < 0;
    if (other && files != CERTIFICATES_CLOSED)
        certificate_copies_write(c);
}

void certificates_changed(struct control *c)
{
    if (c->certificates != NULL) {
        c->certificates->changed = true;
        c->certificates->looked_ms = 0;
    }
    certificates_tick(c);
}

void certificates_reorder(struct control *c)
{
    if (c->certificates != NULL)
        c->certificates->changed = true;
}

uint64_t certificates_version(const struct control *c)
{
    const struct certificate_folder *f = c->certificates;
    return f == NULL ? 0 : f->changed ? f->version + 1 : f->version;
}

bool certificates_served(const struct control *c, uint64_t version)
{
    for (size_t i = 0; i < c->gateways.len; i++) {
        const struct gateway *g = c->gateways.items[i];
        bool passed = g->certificates_refused >= version && gateway_is_outdated(g);
        if (!g->dead && g->certificates_applied < version && !passed)
            return false;
    }
    return true;
}

const struct tls_pair_info *certificates_automatic(const struct control *c, const char *host)
{
    const struct certificate *k = find(c->certificates, host, true);
    return k != NULL && k->chain.len > 0 ? &k->info : NULL;
}

const struct certificate *certificates_named(const struct control *c, const char *name)
{
    const struct certificate_folder *f = c->certificates;
    for (size_t i = 0; f != NULL && i < f->all.len; i++) {
        const struct certificate *k = f->all.items[i];
        if (k->chain.len > 0 && !k->replaced && strcmp(k->name, name) == 0)
            return k;
    }
    return NULL;
}

void certificates_release(struct control *c)
{
    struct certificate_folder *f = c->certificates;
    if (f == NULL)
        return;
    for (size_t i = 0; i < f->all.len; i++)
        certificate_free(f->all.items[i]);
    vec_release(&f->all);
    map_release(&f->automatic);
    authorities_release(f);
    if (f->fd >= 0)
        close(f->fd);
    free(f);
    c->certificates = NULL;
}

bool certificates_for(struct control *c, const char *host)
{
    if (c->certificates == NULL)
        certificates_tick(c);
    for (size_t i = 0; i < c->certificates->all.len; i++)
        if (certificate_names(c->certificates->all.items[i], host))
            return true;
    return false;
}
