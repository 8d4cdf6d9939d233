#include "gateway/pages.h"

#include <stdio.h>
#include <string.h>

static bool accepts(const struct http1_head *h, const char *p, const char *type)
{
    size_t from = 0;
    const struct http1_field *f;
    while ((f = http1_find(h, p, "accept", 6, &from)) != NULL)
        if (memmem(http1_at(p, f->value), f->value.len, type, strlen(type)) != NULL)
            return true;
    return false;
}

bool pages_wants_json(const struct http1_head *h, const char *p)
{
    return accepts(h, p, "json") && !accepts(h, p, "html");
}

static const struct snapshot_app *app_of(const struct exchange *x)
{
    const struct snapshot *s = x->worker->table->snapshot;
    for (uint32_t i = 0; i < s->apps_len; i++)
        if (s->apps[i].slot == x->app_slot)
            return &s->apps[i];
    return NULL;
}

bool pages_for(const struct exchange *x, unsigned status, const char *text,
               char json[PAGES_JSON_MAX], struct answer *a)
{
    const struct snapshot *s = x->worker->table->snapshot;
    const struct snapshot_app *app = s->errors_len > 0 && !x->stream ? app_of(x) : NULL;
    const struct snapshot_page *page = NULL;
    for (uint32_t i = 0; app != NULL && i < app->errors; i++)
        if (s->errors[app->first_error + i].status == status)
            page = &s->pages[s->errors[app->first_error + i].page - 1];
    if (page == NULL)
        return false;
    struct http1_head h;
    const char *p;
    if (x->kept != NULL) { /* else the request is gone, and nobody knows what it accepts */
        exchange_parse_kept(x, &h, &p);
        if (pages_wants_json(&h, p)) {
            int n =
                snprintf(json, PAGES_JSON_MAX, "{\"error\":\"%s\",\"status\":%u}\n", text, status);
            a->type = "application/json";
            a->body = json;
            a->len = (size_t)n < PAGES_JSON_MAX ? (size_t)n : PAGES_JSON_MAX - 1;
            return true;
        }
    }
    a->type = page->type;
    a->body = page->body.data;
    a->len = page->body.len;
    return true;
}
