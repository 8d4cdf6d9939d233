/* The certificates of DATA/certs, for the gateways: read when something there changes, checked, and
 * sent. A pair that does not fit together (one of its files was written, the other not yet) changes
 * nothing: the one before it goes on. */
#include "control/control_internal.h"

#include "os/clock.h"
#include "os/durable.h"
#include "os/memfd.h"
#include "tls/tls.h"
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

struct certificate {
    char name[CERTS_NAME_MAX + 1];
    bool seen; /* in this look */
    struct buf chain, key;
    struct tls_pair_info info;
    char trouble[256]; /* what is wrong with its files now; "" nothing */
};

struct certificate_folder {
    int64_t looked_ms;
    uint64_t signature; /* of all names, sizes and times; 0: never read */
    uint64_t version;   /* of what was sent */
    int fd;             /* that as a memfd; -1: there is none */
    size_t bytes;
    struct {
        struct certificate **items;
        size_t len, cap;
    } all;
};

static void certificate_free(struct certificate *k)
{
    buf_release(&k->chain);
    explicit_bzero(k->key.data, k->key.cap * (k->key.data != NULL));
    buf_release(&k->key);
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

static uint64_t sign_file(uint64_t h, int dir, const char *name)
{
    struct stat st;
    h = mix(h, name, strlen(name) + 1);
    if (fstatat(dir, name, &st, 0) < 0)
        return h;
    h = mix(h, &st.st_mtim, sizeof st.st_mtim);
    h = mix(h, &st.st_size, sizeof st.st_size);
    return mix(h, &st.st_ino, sizeof st.st_ino);
}

/* The order of readdir() is no news. */
static uint64_t sign_folder(int dir)
{
    uint64_t sum = 1;
    DIR *d = fdopendir(dup(dir));
    if (d == NULL)
        return sum;
    rewinddir(d);
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        if (e->d_name[0] == '.')
            continue;
        uint64_t h = sign_file(UINT64_C(14695981039346656037), dir, e->d_name);
        int inner = openat(dir, e->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (inner >= 0) {
            h = sign_file(h, inner, "fullchain.pem");
            h = sign_file(h, inner, "privkey.pem");
            close(inner);
        }
        sum += h;
    }
    closedir(d);
    return sum;
}

/* ---- one pair ---- */

static struct certificate *find(struct certificate_folder *f, const char *name)
{
    for (size_t i = 0; i < f->all.len; i++)
        if (strcmp(f->all.items[i]->name, name) == 0)
            return f->all.items[i];
    struct certificate *k = xcalloc(1, sizeof *k);
    snprintf(k->name, sizeof k->name, "%s", name);
    *vec_push(&f->all) = k;
    return k;
}

static int read_pem(int dir, const char *name, struct buf *out, struct error *err)
{
    struct stat st;
    if (fstatat(dir, name, &st, 0) < 0)
        return error_errno(err, errno, "%s", name);
    if (st.st_size > TLS_PEM_MAX)
        return error_set(err, ERROR_USAGE, "%s is larger than 1 MiB", name);
    return file_read(dir, name, TLS_PEM_MAX, out, err);
}

static int read_pair(int dir, const char *chain_name, const char *key_name, struct certificate *k,
                     struct error *err)
{
    struct buf chain = BUF_INIT, key = BUF_INIT;
    struct tls_pair_info *info = xcalloc(1, sizeof *info);
    struct stat st;
    int status = read_pem(dir, chain_name, &chain, err);
    if (status == 0)
        status = read_pem(dir, key_name, &key, err);
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
    if (key.data != NULL)
        explicit_bzero(key.data, key.cap);
    buf_release(&chain);
    buf_release(&key);
    free(info);
    return status;
}

static void take(struct certificate_folder *f, const char *name, int dir, const char *chain_name,
                 const char *key_name)
{
    struct certificate *k = find(f, name);
    struct error err = ERROR_INIT;
    char before[sizeof k->trouble];
    if (k->seen)
        return;
    k->seen = true;
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
static void take_entry(struct certificate_folder *f, int dir, const char *entry)
{
    char name[NAME_MAX + 1], key[NAME_MAX + 8];
    int inner = openat(dir, entry, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (inner >= 0) {
        if (faccessat(inner, "fullchain.pem", F_OK, 0) == 0)
            take(f, entry, inner, "fullchain.pem", "privkey.pem");
        close(inner);
        return;
    }
    const char *dot = strrchr(entry, '.');
    if (dot == NULL || dot == entry || (strcmp(dot, ".crt") != 0 && strcmp(dot, ".pem") != 0))
        return;
    snprintf(name, sizeof name, "%.*s", (int)(dot - entry), entry);
    snprintf(key, sizeof key, "%s.key", name);
    bool apart = strcmp(dot, ".crt") == 0 || faccessat(dir, key, F_OK, 0) == 0;
    take(f, name, dir, entry, apart ? key : entry);
}

static int by_name(const void *a, const void *b)
{
    const struct certificate *x = *(struct certificate *const *)a,
                             *y = *(struct certificate *const *)b;
    bool first = strcmp(x->name, "default") == 0, second = strcmp(y->name, "default") == 0;
    return first != second ? (first ? -1 : 1) : strcmp(x->name, y->name);
}

/* dir -1: there is none. */
static void read_folder(struct certificate_folder *f, int dir)
{
    for (size_t i = 0; i < f->all.len; i++)
        f->all.items[i]->seen = false;
    DIR *d = dir >= 0 ? fdopendir(dup(dir)) : NULL;
    if (d != NULL)
        rewinddir(d);
    for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL && f->all.len < CERTS_MAX;)
        if (e->d_name[0] != '.' && strlen(e->d_name) <= CERTS_NAME_MAX)
            take_entry(f, dir, e->d_name);
    if (d != NULL)
        closedir(d);
    for (size_t i = 0; i < f->all.len;) {
        struct certificate *k = f->all.items[i];
        if (k->seen) {
            i++;
            continue;
        }
        log_info("certificate %s is gone", k->name);
        certificate_free(k);
        vec_remove(&f->all, i);
    }
    if (f->all.len > 1)
        qsort(f->all.items, f->all.len, sizeof *f->all.items, by_name);
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

static void send_all(struct control *c)
{
    struct certificate_folder *f = c->certificates;
    struct error err = ERROR_INIT;
    cleanup_buf struct buf out = BUF_INIT;
    struct cert *certs = xcalloc(f->all.len + 1, sizeof *certs);
    size_t len = 0;
    for (size_t i = 0; i < f->all.len; i++) {
        const struct certificate *k = f->all.items[i];
        if (k->chain.len > 0)
            certs[len++] = (struct cert){.name = k->name,
                                         .name_len = strlen(k->name),
                                         .chain = k->chain.data,
                                         .chain_len = k->chain.len,
                                         .key = k->key.data,
                                         .key_len = k->key.len};
    }
    certs_encode(certs, len, &out);
    free(certs);
    if (f->fd >= 0)
        close(f->fd);
    f->fd = memfd_make("sluice-certificates", out.data, out.len, &err);
    f->bytes = out.len;
    f->version++;
    explicit_bzero(out.data, out.len);
    if (f->fd < 0)
        log_error("certificates: %s", err.text);
    for (size_t i = 0; i < c->gateways.len; i++)
        certificates_send(c->gateways.items[i]);
    if (len > 0 || f->version > 1)
        log_info("%zu certificate%s for TLS", len, len == 1 ? "" : "s");
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
    cleanup_free char *path = xasprintf("%s/certs", c->data);
    cleanup_close int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    uint64_t signature = dir >= 0 ? sign_folder(dir) : 1;
    if (signature == f->signature)
        return;
    f->signature = signature;
    read_folder(f, dir);
    send_all(c);
}

void certificates_release(struct control *c)
{
    struct certificate_folder *f = c->certificates;
    if (f == NULL)
        return;
    for (size_t i = 0; i < f->all.len; i++)
        certificate_free(f->all.items[i]);
    vec_release(&f->all);
    if (f->fd >= 0)
        close(f->fd);
    free(f);
    c->certificates = NULL;
}

json_t *certificates_json(const struct control *c)
{
    json_t *list = json_array();
    for (size_t i = 0; c->certificates != NULL && i < c->certificates->all.len; i++) {
        const struct certificate *k = c->certificates->all.items[i];
        char until[WALL_TEXT_SIZE];
        json_t *hosts = json_array();
        for (size_t n = 0; n < k->info.names_len; n++)
            json_array_append_new(hosts, json_string(k->info.names[n]));
        bool there = k->chain.len > 0;
        json_t *until_json = json_null();
        if (there)
            until_json = json_string(clock_format_wall(k->info.not_after_ms, until));
        json_array_append_new(list, json_pack("{s:s,s:o,s:o,s:s?}", "name", k->name, "hosts", hosts,
                                              "until", until_json, "error",
                                              k->trouble[0] != '\0' ? k->trouble : NULL));
    }
    return list;
}
