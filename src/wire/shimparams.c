#include "wire/shimparams.h"

#include "base/alloc.h"
#include "base/units.h"
#include "base/vec.h"

#include <string.h>

#define STRINGS(X)                                                                                 \
    X("id", id)                                                                                    \
    X("run-dir", run_dir)                                                                          \
    X("dir", dir)                                                                                  \
    X("state-dir", state_dir)                                                                      \
    X("log-path", log_path)                                                                        \
    X("log-label", log_label)
#define LISTS(X)                                                                                   \
    X("arg", argv)                                                                                 \
    X("env", envp)                                                                                 \
    X("cgroup", cgroups)
#define NUMBERS(X)                                                                                 \
    X("log-max-bytes", log_max_bytes)                                                              \
    X("timeout-ms", timeout_ms)

static const char HEAD[] = "sluice-shim=1";

void shimparams_add(struct shim_strings *list, const char *text)
{
    *vec_push(list) = text;
    *vec_push(list) = NULL;
    list->len--;
}

static void put_string(struct buf *out, const char *key, const char *value)
{
    if (value == NULL)
        return;
    buf_printf(out, "%s=", key);
    buf_append(out, value, strlen(value) + 1);
}

static void put_number(struct buf *out, const char *key, uint64_t value)
{
    buf_printf(out, "%s=%llu", key, (unsigned long long)value);
    buf_putc(out, '\0');
}

void shimparams_encode(const struct shim_params *p, struct buf *out)
{
    buf_append(out, HEAD, sizeof HEAD);
#define X(key, member) put_string(out, key, p->member);
    STRINGS(X)
#undef X
#define X(key, member)                                                                             \
    for (size_t i = 0; i < p->member.len; i++)                                                     \
        put_string(out, key, p->member.items[i]);
    LISTS(X)
#undef X
#define X(key, member) put_number(out, key, p->member);
    NUMBERS(X)
#undef X
    if (!p->has_user)
        return;
    put_number(out, "uid", p->uid);
    put_number(out, "gid", p->gid);
    for (size_t i = 0; i < p->groups.len; i++)
        put_number(out, "group", p->groups.items[i]);
}

static int read_user(const char *key, const char *value, struct shim_params *p)
{
    uint64_t n;
    if (parse_u64(value, UINT32_MAX - 1, &n) < 0)
        return -1;
    if (strcmp(key, "uid") == 0) {
        p->uid = (uint32_t)n;
        p->has_user = true;
    } else if (strcmp(key, "gid") == 0) {
        p->gid = (uint32_t)n;
    } else if (strcmp(key, "group") == 0) {
        *vec_push(&p->groups) = (gid_t)n;
    } else {
        return -1;
    }
    return 0;
}

static int read_entry(const char *key, const char *value, struct shim_params *p)
{
#define X(name, member)                                                                            \
    if (strcmp(key, name) == 0) {                                                                  \
        p->member = value;                                                                         \
        return 0;                                                                                  \
    }
    STRINGS(X)
#undef X
#define X(name, member)                                                                            \
    if (strcmp(key, name) == 0) {                                                                  \
        shimparams_add(&p->member, value);                                                         \
        return 0;                                                                                  \
    }
    LISTS(X)
#undef X
#define X(name, member)                                                                            \
    if (strcmp(key, name) == 0)                                                                    \
        return parse_u64(value, INT64_MAX, &p->member);
    NUMBERS(X)
#undef X
    return read_user(key, value, p);
}

static int read_entries(struct shim_params *p, struct error *err)
{
    char *at = p->storage, *end = at + p->storage_len;
    if (p->storage_len < sizeof HEAD || memcmp(at, HEAD, sizeof HEAD) != 0 || end[-1] != '\0')
        return error_set(err, ERROR_USAGE, "shim parameters: they should begin with %s", HEAD);
    for (at += sizeof HEAD; at < end; at += strlen(at) + 1) {
        char *equals = strchr(at, '=');
        if (equals == NULL)
            return error_set(err, ERROR_USAGE, "shim parameters: an entry without =");
        *equals = '\0';
        char *value = equals + 1;
        if (read_entry(at, value, p) < 0)
            return error_set(err, ERROR_USAGE, "shim parameters: bad entry %s", at);
        at = value;
    }
    if (p->id == NULL || p->run_dir == NULL || p->dir == NULL || p->log_path == NULL ||
        p->log_label == NULL || p->argv.len == 0)
        return error_set(err, ERROR_USAGE, "shim parameters: some are missing");
    return 0;
}

int shimparams_decode(const char *data, size_t len, struct shim_params *p, struct error *err)
{
    *p = (struct shim_params){.storage = xmalloc(len), .storage_len = len};
    memcpy(p->storage, data, len);
    if (read_entries(p, err) == 0) {
        if (p->envp.items == NULL) { /* a list without entries still needs its NULL */
            *vec_push(&p->envp) = NULL;
            p->envp.len = 0;
        }
        return 0;
    }
    shimparams_release(p);
    return -1;
}

void shimparams_release(struct shim_params *p)
{
    if (p->storage != NULL)
        explicit_bzero(p->storage, p->storage_len);
    free(p->storage);
    vec_release(&p->argv);
    vec_release(&p->envp);
    vec_release(&p->cgroups);
    vec_release(&p->groups);
    *p = (struct shim_params){0};
}
