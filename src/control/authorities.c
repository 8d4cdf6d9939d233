/* The CAs of DATA/certs: whom certificates of clients (client.ca), and of instances, must come
 * from. NAME.ca has their certificates, NAME.crl, where it is there, lists of what they revoked. As
 * with pairs, what cannot be used changes nothing. */
#include "control/certificates.h"

#include "os/clock.h"
#include "os/listen.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SOON_MS (14 * INT64_C(86400000))

static void authority_free(struct authority *a)
{
    buf_release(&a->ca);
    buf_release(&a->crl);
    free(a);
}

static struct authority *find(const struct certificate_folder *f, const char *name)
{
    for (size_t i = 0; f != NULL && i < f->authorities.len; i++)
        if (strcmp(f->authorities.items[i]->name, name) == 0)
            return f->authorities.items[i];
    return NULL;
}

static struct authority *find_or_add(struct certificate_folder *f, const char *name)
{
    struct authority *a = find(f, name);
    if (a != NULL)
        return a;
    a = xcalloc(1, sizeof *a);
    snprintf(a->name, sizeof a->name, "%s", name);
    *vec_push(&f->authorities) = a;
    return a;
}

/* ---- reading ---- */

/* Also one that cannot be read, or a link that leads nowhere: only where there is certainly none
 * is nothing revoked. */
static bool has_lists(int dir, const char *crl_name)
{
    struct stat st;
    return fstatat(dir, crl_name, &st, AT_SYMLINK_NOFOLLOW) == 0 || errno != ENOENT;
}

int authority_set(struct authority *a, const struct cert *to, struct error *err)
{
    struct tls_trust trust = {to->chain, to->key, to->chain_len, to->key_len};
    struct tls_trust_info info = {0};
    if (tls_trust_check(&trust, &info, err) < 0)
        return -1;
    buf_clear(&a->ca);
    buf_clear(&a->crl);
    buf_append(&a->ca, to->chain, to->chain_len);
    buf_append(&a->crl, to->key, to->key_len);
    a->info = info;
    return 0;
}

static int read_files(struct authority *a, int dir, const char *ca_name, const char *crl_name,
                      struct error *err)
{
    struct buf ca = BUF_INIT, crl = BUF_INIT;
    int status = certificates_read_pem(dir, ca_name, &ca, err);
    if (status == 0 && has_lists(dir, crl_name)) {
        status = certificates_read_pem(dir, crl_name, &crl, err);
        if (status == 0 && crl.len == 0)
            status = error_set(err, ERROR_USAGE,
                               "%s is empty (a list that revokes nothing has its -----BEGIN X509 "
                               "CRL-----, too)",
                               crl_name);
    }
    struct cert files = {
        .chain = ca.data, .chain_len = ca.len, .key = crl.data, .key_len = crl.len};
    if (status == 0 && authority_set(a, &files, err) < 0)
        status = error_wrap(err, "%s", crl.len > 0 ? "it, or its revocation lists" : ca_name);
    buf_release(&ca);
    buf_release(&crl);
    return status;
}

static void take(struct certificate_folder *f, int dir, const char *name)
{
    char ca[NAME_MAX + 1], crl[NAME_MAX + 8], before[sizeof((struct authority *)0)->trouble];
    struct authority *a = find_or_add(f, name);
    struct error err = ERROR_INIT;
    a->seen = true;
    snprintf(ca, sizeof ca, "%.250s.ca", name);
    snprintf(crl, sizeof crl, "%.250s.crl", name);
    uint64_t signature =
        certificates_sign(certificates_sign(1 + has_lists(dir, crl), dir, ca), dir, crl);
    if (signature == a->signature && a->trouble[0] == '\0')
        return;
    a->signature = signature;
    snprintf(before, sizeof before, "%s", a->trouble);
    a->trouble[0] = '\0';
    if (read_files(a, dir, ca, crl, &err) < 0)
        snprintf(a->trouble, sizeof a->trouble, "%.240s", err.text);
    if (a->trouble[0] != '\0' && strcmp(before, a->trouble) != 0)
        log_error("certificates of the CA %s: %s%s", name, a->trouble,
                  a->ca.len > 0 ? "; those before them go on" : "");
}

/* The name in "NAME.ca". */
static bool is_authority(const char *entry, char name[CERTS_NAME_MAX + 1])
{
    size_t len = strlen(entry);
    if (entry[0] == '.' || len <= 3 || len > CERTS_NAME_MAX || strcmp(entry + len - 3, ".ca") != 0)
        return false;
    snprintf(name, CERTS_NAME_MAX + 1, "%.*s", (int)(len - 3), entry);
    return true;
}

void authorities_read(struct certificate_folder *f, int dir)
{
    char name[CERTS_NAME_MAX + 1];
    DIR *d = dir >= 0 ? fdopendir(dup(dir)) : NULL;
    for (size_t i = 0; i < f->authorities.len; i++)
        f->authorities.items[i]->seen = dir != -1 && d == NULL; /* no look at them: as they were */
    if (d != NULL)
        rewinddir(d);
    for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;)
        if (is_authority(e->d_name, name) &&
            (find(f, name) != NULL || f->authorities.len < AUTHORITIES_MAX))
            take(f, dir, name);
    if (d != NULL)
        closedir(d);
    for (size_t i = f->authorities.len; i-- > 0;) {
        struct authority *a = f->authorities.items[i];
        if (a->seen)
            continue;
        log_info("the CA %s is gone", a->name);
        authority_free(a);
        vec_remove(&f->authorities, i);
    }
}

size_t authorities_put(const struct certificate_folder *f, struct cert *out)
{
    size_t len = 0;
    for (size_t i = 0; i < f->authorities.len; i++) {
        const struct authority *a = f->authorities.items[i];
        if (a->ca.len > 0)
            out[len++] = (struct cert){.kind = CERT_TRUST,
                                       .name = a->name,
                                       .name_len = strlen(a->name),
                                       .chain = a->ca.data,
                                       .chain_len = a->ca.len,
                                       .key = a->crl.data,
                                       .key_len = a->crl.len};
    }
    return len;
}

void authorities_release(struct certificate_folder *f)
{
    for (size_t i = 0; i < f->authorities.len; i++)
        authority_free(f->authorities.items[i]);
    vec_release(&f->authorities);
}

const struct authority *authorities_named(const struct control *c, const char *name)
{
    const struct authority *a = find(c->certificates, name);
    return a != NULL && a->ca.len > 0 ? a : NULL;
}

int upstream_tls_there(const struct control *c, const struct upstream_tls_spec *tls,
                       struct error *err)
{
    if (tls->ca != NULL && authorities_named(c, tls->ca) == NULL)
        return error_set(err, ERROR_USAGE,
                         "upstream-tls.ca: there is no CA %s: put its certificates (PEM) into "
                         "DATA/certs/%s.ca",
                         tls->ca, tls->ca);
    if (tls->client_cert != NULL && certificates_named(c, tls->client_cert) == NULL)
        return error_set(err, ERROR_USAGE,
                         "upstream-tls.client-cert: there is no certificate %s: put it (PEM) into "
                         "DATA/certs/%s.crt, and its key into %s.key",
                         tls->client_cert, tls->client_cert, tls->client_cert);
    return 0;
}

int upstream_tls_check(struct control *c, const struct app_spec *spec, struct error *err)
{
    bool looked = false;
    for (size_t i = 0; i < spec->routes_len; i++) {
        if (spec->routes[i].protocol != PROTOCOL_HTTPS)
            continue;
        if (!looked && c->certificates != NULL)
            c->certificates->looked_ms = 0; /* who has just put it there need not wait */
        if (!looked)
            certificates_tick(c);
        looked = true;
        if (upstream_tls_there(c, &spec->routes[i].tls, err) < 0)
            return -1;
    }
    return 0;
}

/* ---- what is said about them ---- */

/* A listener refuses everybody for want of the CAs of clients. */
static bool clients_missing(const struct control *c)
{
    const struct authority *a = find(c->certificates, CERTS_CLIENTS);
    if (a != NULL && a->ca.len > 0)
        return false;
    for (size_t i = 0; i < guardian_link_listeners(c->guardian); i++)
        if (listen_is_mtls(guardian_link_listener(c->guardian, i)))
            return true;
    return false;
}

static const char MISSING[] =
    "is needed by --mtls-listen, which turns everybody away until then: put "
    "the certificates of your clients' CA (PEM) into DATA/certs/client.ca";

void authorities_look(struct control *c)
{
    bool missing = clients_missing(c);
    if (missing && !c->certificates->clients_missing)
        log_warn("the CA " CERTS_CLIENTS " %s", MISSING);
    c->certificates->clients_missing = missing;
}

static void put_trouble(const struct authority *a, int64_t now_ms, struct buf *out)
{
    char at[WALL_TEXT_SIZE];
    const struct tls_trust_info *info = &a->info;
    if (a->trouble[0] != '\0')
        buf_printf(out,
                   a->ca.len > 0 ? "stays as it was, its new files cannot be used: %s"
                                 : "cannot be used: %s",
                   a->trouble);
    else if (info->next_update_ms != 0 && now_ms >= info->next_update_ms)
        buf_printf(out,
                   "has a revocation list that was good until %s: whom its CA let in is turned "
                   "away; put a new one into DATA/certs/%s.crl",
                   clock_format_wall(info->next_update_ms, at), a->name);
    else if (now_ms >= info->not_after_ms - SOON_MS)
        buf_printf(out, "has a certificate that %s %s",
                   now_ms >= info->not_after_ms ? "expired at" : "expires at",
                   clock_format_wall(info->not_after_ms, at));
}

static json_t *time_json(int64_t ms)
{
    char at[WALL_TEXT_SIZE];
    return ms != 0 ? json_string(clock_format_wall(ms, at)) : json_null();
}

static json_t *one_json(const struct authority *a, int64_t now_ms)
{
    cleanup_buf struct buf trouble = BUF_INIT;
    put_trouble(a, now_ms, &trouble);
    bool there = a->ca.len > 0;
    return json_pack("{s:s,s:I,s:o,s:I,s:o,s:s?}", "name", a->name, "certificates",
                     (json_int_t)(there ? a->info.certificates : 0), "until",
                     time_json(there ? a->info.not_after_ms : 0), "lists",
                     (json_int_t)(there ? a->info.lists : 0), "next_update",
                     time_json(there ? a->info.next_update_ms : 0), "trouble",
                     trouble.len > 0 ? buf_str(&trouble) : NULL);
}

json_t *authorities_json(const struct control *c)
{
    json_t *list = json_array();
    const struct certificate_folder *f = c->certificates;
    for (size_t i = 0; f != NULL && i < f->authorities.len; i++)
        json_array_append_new(list, one_json(f->authorities.items[i], control_now()));
    if (clients_missing(c) && find(f, CERTS_CLIENTS) == NULL)
        json_array_append_new(list, json_pack("{s:s,s:i,s:n,s:i,s:n,s:s}", "name", CERTS_CLIENTS,
                                              "certificates", 0, "until", "lists", 0, "next_update",
                                              "trouble", MISSING));
    return list;
}
