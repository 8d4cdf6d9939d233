/* DATA/acme: accounts, hosts, certificates. Each file is whole or not there, 0600. */
#include "control/acme.h"

#include "base/sha256.h"
#include "os/durable.h"
#include "tls/tls.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILE_MAX = 64 << 10 };

/* ---- JSON in files ---- */

static void wipe(struct buf *b)
{
    if (b->data != NULL)
        explicit_bzero(b->data, b->cap);
    buf_release(b);
}

static json_t *read_json(const struct control *c, const char *path)
{
    cleanup_free char *whole = xasprintf("%s/acme/%s", c->data, path);
    struct buf data = BUF_INIT;
    struct error err = ERROR_INIT;
    json_t *out = NULL;
    if (file_read(AT_FDCWD, whole, FILE_MAX, &data, &err) == 0)
        out = json_loadb(data.data, data.len, 0, NULL);
    else if (err.class != ERROR_NOT_FOUND)
        log_error("%s", err.text);
    if (data.len > 0 && !json_is_object(out))
        log_error("%s is not what was written there: it is made anew", whole);
    wipe(&data);
    if (json_is_object(out))
        return out;
    json_decref(out);
    return NULL;
}

static int write_file(const struct control *c, const char *folder, const char *name,
                      const struct buf *data, struct error *err)
{
    cleanup_free char *dir = xasprintf("%s/acme%s", c->data, folder);
    cleanup_free char *path = xasprintf("%s/%s", dir, name);
    if (make_folders(AT_FDCWD, dir, 0700, err) < 0)
        return -1;
    return durable_write(AT_FDCWD, path, 0600, data->data, data->len, err);
}

/* Takes the object, NULL where a text is not UTF-8. */
static int write_json(const struct control *c, const char *folder, const char *name, json_t *object,
                      struct error *err)
{
    char *text = json_dumps(object, JSON_INDENT(1));
    if (text == NULL) {
        json_decref(object);
        return error_set(err, ERROR_FAILED, "%s: no JSON can be made of it", name);
    }
    struct buf data = {.data = text, .len = strlen(text), .cap = strlen(text)};
    int status = write_file(c, folder, name, &data, err);
    explicit_bzero(text, data.len);
    free(text);
    json_decref(object);
    return status;
}

static const char *text_of(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key)); /* NULL: none */
}

static EVP_PKEY *key_of(const json_t *object)
{
    const char *pem = text_of(object, "key");
    return pem != NULL ? acme_key_read(pem, strlen(pem), NULL) : NULL;
}

static int put_key(json_t *object, EVP_PKEY *key, struct error *err)
{
    struct buf pem = BUF_INIT;
    int status = acme_key_write(key, &pem, err);
    if (status == 0)
        json_object_set_new(object, "key", json_string(buf_str(&pem)));
    wipe(&pem);
    return status;
}

/* ---- the account ---- */

static char *account_name(const struct acme *a)
{
    struct sha256 hash;
    char hex[SHA256_HEX];
    sha256_init(&hash);
    sha256_add(&hash, a->account.directory, strlen(a->account.directory));
    sha256_end_hex(&hash, hex);
    return xasprintf("account-%.16s.json", hex);
}

/* NULL without *err: there is none. A key is not replaced because it could not be read: its account
 * would be lost, and what was proved with it. What is no account is kept aside. */
static json_t *read_account(const struct acme *a, const char *name, struct error *err)
{
    cleanup_free char *path = xasprintf("%s/acme/%s", a->control->data, name);
    cleanup_free char *aside = xasprintf("%s.broken", path);
    struct buf data = BUF_INIT;
    struct error why = ERROR_INIT;
    int status = file_read(AT_FDCWD, path, FILE_MAX, &data, &why);
    json_t *object = status == 0 ? json_loadb(data.data, data.len, 0, NULL) : NULL;
    wipe(&data);
    if (status < 0 && why.class != ERROR_NOT_FOUND)
        error_set(err, why.class, "the account: %s", why.text);
    EVP_PKEY *key = key_of(object);
    EVP_PKEY_free(key);
    if (key != NULL)
        return object;
    if (status == 0) {
        log_error("%s is no account: it is kept as %s, and another one is made", path, aside);
        if (rename(path, aside) < 0)
            error_errno(err, errno, "rename %s", path);
    }
    json_decref(object);
    return NULL;
}

int acme_account_load(struct acme *a, struct error *err)
{
    cleanup_free char *name = account_name(a);
    json_t *object = read_account(a, name, err);
    if (object == NULL && err->class != ERROR_NONE)
        return -1;
    EVP_PKEY *key = key_of(object);
    const char *kid = text_of(object, "url");
    if (key != NULL && kid != NULL && acme_url_valid(kid))
        a->account.kid = xstrdup(kid);
    json_decref(object);
    a->account.key = key != NULL ? key : acme_key_new(err);
    if (a->account.key == NULL)
        return -1;
    if (key != NULL || acme_account_store(a, err) == 0)
        return 0;
    EVP_PKEY_free(a->account.key); /* one that is not kept would be another account each time */
    a->account.key = NULL;
    return -1;
}

int acme_account_store(struct acme *a, struct error *err)
{
    cleanup_free char *name = account_name(a);
    json_t *object =
        json_pack("{s:s,s:s?}", "directory", a->account.directory, "url", a->account.kid);
    if (put_key(object, a->account.key, err) < 0) {
        json_decref(object);
        return -1;
    }
    return write_json(a->control, "", name, object, err);
}

bool acme_account_stored(const struct acme *a)
{
    cleanup_free char *name = account_name(a);
    cleanup_free char *path = xasprintf("%s/acme/%s", a->control->data, name);
    return access(path, F_OK) == 0 || errno != ENOENT;
}

/* ---- hosts ---- */

static int64_t time_of(const json_t *object, const char *key)
{
    int64_t ms = json_integer_value(json_object_get(object, key));
    return ms > 0 ? ms : 0;
}

void acme_host_load(struct acme_host *h)
{
    cleanup_free char *path = xasprintf("hosts/%s.json", h->name);
    json_t *object = read_json(h->control, path);
    if (object == NULL)
        return;
    const json_t *order = json_object_get(object, "order");
    const char *text = text_of(object, "text"), *advice = text_of(object, "advice");
    int64_t failures = json_integer_value(json_object_get(object, "failures"));
    enum acme_challenge prefer = acme_challenge_of(text_of(object, "challenge"));
    h->directory = xstrdup(text_of(object, "directory"));
    h->obtained_ms = time_of(object, "obtained");
    h->retry_ms = time_of(object, "retry");
    h->pause_ms = time_of(object, "pause");
    h->failures = failures > 0 && failures < 1000 ? (uint32_t)failures : 0;
    if (prefer != ACME_CHALLENGES_COUNT)
        h->prefer = prefer;
    snprintf(h->text, sizeof h->text, "%s", text != NULL ? text : "");
    snprintf(h->advice, sizeof h->advice, "%s", advice != NULL ? advice : "");
    h->order_key = key_of(order);
    const char *url = text_of(order, "url"), *directory = text_of(order, "directory");
    if (h->order_key != NULL && url != NULL) {
        h->order_url = xstrdup(url);
        h->order_directory = xstrdup(directory != NULL ? directory : "");
    }
    h->proof = acme_challenge_of(text_of(order, "challenge"));
    if (h->order_url != NULL && h->proof != ACME_CHALLENGES_COUNT) {
        h->proof_token = xstrdup(text_of(order, "token"));
        h->proof_answer = h->proof_token != NULL ? xstrdup(text_of(order, "answer")) : NULL;
    }
    json_decref(object);
}

int acme_host_store(const struct acme_host *h, struct error *err)
{
    cleanup_free char *name = xasprintf("%s.json", h->name);
    json_t *order = json_null();
    if (h->order_url != NULL) {
        order = json_pack("{s:s,s:s,s:s?,s:s?,s:s?}", "url", h->order_url, "directory",
                          h->order_directory, "challenge",
                          h->proof_answer != NULL ? acme_challenge_word(h->proof) : NULL, "token",
                          h->proof_token, "answer", h->proof_answer);
        if (put_key(order, h->order_key, err) < 0) {
            json_decref(order);
            return -1;
        }
    }
    json_t *object = json_pack(
        "{s:s?,s:I,s:I,s:I,s:I,s:s,s:s,s:s,s:o}", "directory", h->directory, "obtained",
        (json_int_t)h->obtained_ms, "retry", (json_int_t)h->retry_ms, "pause",
        (json_int_t)h->pause_ms, "failures", (json_int_t)h->failures, "challenge",
        acme_challenge_word(h->prefer), "text", h->text, "advice", h->advice, "order", order);
    return write_json(h->control, "/hosts", name, object, err);
}

bool acme_host_stored(const struct acme_host *h)
{
    cleanup_free char *path = xasprintf("%s/acme/hosts/%s.json", h->control->data, h->name);
    return access(path, F_OK) == 0 || errno != ENOENT;
}

int acme_host_store_certificate(const struct acme_host *h, const struct buf *chain, EVP_PKEY *key,
                                struct error *err)
{
    cleanup_free char *name = xasprintf("%s.pem", h->name);
    struct buf both = BUF_INIT;
    buf_reserve(&both, chain->len + 4096); /* no copies of the key where it grew */
    buf_append(&both, chain->data, chain->len);
    buf_putc(&both, '\n');
    int status = acme_key_write(key, &both, err);
    if (status == 0)
        status = write_file(h->control, "/certs", name, &both, err);
    wipe(&both);
    return status;
}

/* ---- what nobody wants any more ---- */

static void clean(struct acme *a, const char *folder, const char *ending, int64_t now_ms)
{
    cleanup_free char *path = xasprintf("%s/acme/%s", a->control->data, folder);
    DIR *d = opendir(path);
    for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
        const char *dot = strrchr(e->d_name, '.');
        if (dot != NULL && strcmp(dot, ".tmp") == 0) /* of a controller that died as it wrote */
            unlinkat(dirfd(d), e->d_name, 0);
        if (dot == NULL || strcmp(dot, ending) != 0)
            continue;
        cleanup_free char *host = xstrndup(e->d_name, (size_t)(dot - e->d_name));
        const struct tls_pair_info *info = certificates_automatic(a->control, host);
        if (map_get(&a->by_name, host) != NULL || (info != NULL && info->not_after_ms > now_ms))
            continue; /* its route may come back */
        if (unlinkat(dirfd(d), e->d_name, 0) < 0)
            log_warn("%s/%s: %s", path, e->d_name, strerror(errno));
    }
    if (d != NULL)
        closedir(d);
}

void acme_files_clean(struct acme *a, int64_t now_ms)
{
    clean(a, "hosts", ".json", now_ms); /* first: it looks at the certificates */
    clean(a, "certs", ".pem", now_ms);
}
