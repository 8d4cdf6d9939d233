#include "api/request.h"

#include "base/alloc.h"
#include "base/units.h"
#include "base/vec.h"

#include <string.h>

static const struct route routes[] = {
#define X(method, pattern, parameters, handle, argument, summary)                                  \
    {#method, pattern, parameters, handle, argument, summary},
    ROUTES(X)
#undef X
};

size_t routes_count(void)
{
    return COUNT_OF(routes);
}

const struct route *route_at(size_t i)
{
    return &routes[i];
}

/* {app} takes one non-empty segment; *at and *len say which. */
static bool matches(const char *pattern, const char *path, size_t path_len, const char **at,
                    size_t *len)
{
    static const char name[] = "{app}";
    const char *end = path + path_len;
    *at = NULL;
    while (*pattern != '\0') {
        if (strncmp(pattern, name, sizeof name - 1) == 0) {
            const char *slash = memchr(path, '/', (size_t)(end - path));
            *at = path;
            *len = (size_t)((slash != NULL ? slash : end) - path);
            if (*len == 0)
                return false;
            path += *len;
            pattern += sizeof name - 1;
        } else if (path < end && *path == *pattern) {
            path++;
            pattern++;
        } else {
            return false;
        }
    }
    return path == end;
}

const struct route *route_find(const char *method, const char *path, size_t path_len, char **app,
                               struct buf *allowed)
{
    const char *wanted = strcmp(method, "HEAD") == 0 ? "GET" : method;
    *app = NULL;
    for (size_t i = 0; i < COUNT_OF(routes); i++) {
        const char *at;
        size_t len;
        if (!matches(routes[i].pattern, path, path_len, &at, &len))
            continue;
        if (strcmp(routes[i].method, wanted) != 0) {
            buf_printf(allowed, "%s%s", allowed->len > 0 ? ", " : "", routes[i].method);
            if (strcmp(routes[i].method, "GET") == 0)
                buf_puts(allowed, ", HEAD");
            continue;
        }
        buf_clear(allowed);
        if (at != NULL) {
            cleanup_buf struct buf name = BUF_INIT;
            if (percent_decode(at, len, false, &name) != 0)
                return NULL; /* nothing is called so */
            *app = buf_detach(&name);
        }
        return &routes[i];
    }
    return NULL;
}

void request_release(struct request *r)
{
    free(r->app);
    query_release(&r->query);
    json_decref(r->body);
    free(r->idempotency_key);
    free(r->last_event_id);
    free(r->accept);
    memset(r, 0, sizeof *r);
}

struct app_name request_app(const struct request *r)
{
    struct app_name name = {r->app, query_get(&r->query, "environment")};
    return name;
}

int request_number(const struct request *r, const char *name, uint64_t max, uint64_t fallback,
                   uint64_t *value, struct error *err)
{
    const char *text = query_get(&r->query, name);
    *value = fallback;
    if (text != NULL && parse_u64(text, max, value) != 0)
        return error_set(err, ERROR_USAGE, "%s=%.40s: expected a whole number up to %llu", name,
                         text, (unsigned long long)max);
    return 0;
}
