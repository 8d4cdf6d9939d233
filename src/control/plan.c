/* Specs that clients send, and what a deploy of one would do. */
#include "control/control_internal.h"

#include "os/listen.h"

#include <string.h>

struct app_spec *spec_from_client(const char *json, const char *environment, struct error *err)
{
    struct diagnostics diags = {0};
    struct spec_source source = {.text = json, .len = strlen(json), .environment = environment};
    struct app_spec *spec = spec_parse(&source, &diags);
    for (size_t i = 0; spec == NULL && i < diags.len; i++)
        if (!diags.items[i].warning) {
            error_set(err, ERROR_USAGE, "spec: %s%s%s", diags.items[i].text,
                      diags.items[i].hint != NULL ? "; " : "",
                      diags.items[i].hint != NULL ? diags.items[i].hint : "");
            break;
        }
    diagnostics_release(&diags);
    return spec;
}

static bool same_text(const char *a, const char *b)
{
    return (a == NULL || b == NULL) ? a == b : strcmp(a, b) == 0;
}

bool route_same(const struct route_spec *a, const struct route_spec *b)
{
    if (a->tcp.listen != NULL && b->tcp.listen != NULL)
        return tcp_listen_overlaps(a->tcp.listen, b->tcp.listen);
    if (a->tcp.listen != NULL || b->tcp.listen != NULL)
        return false;
    if (strcmp(a->host, b->host) != 0 || strcmp(a->path, b->path) != 0 ||
        a->match.len != b->match.len)
        return false;
    for (size_t i = 0; i < a->match.len; i++) {
        bool found = false;
        for (size_t k = 0; k < b->match.len && !found; k++)
            found = a->match.items[i].kind == b->match.items[k].kind &&
                    same_text(a->match.items[i].name, b->match.items[k].name) &&
                    same_text(a->match.items[i].value, b->match.items[k].value);
        if (!found)
            return false;
    }
    return true;
}

static json_t *changes(const struct app_spec *old, const struct app_spec *new)
{
    json_t *list = json_array();
    cleanup_buf struct buf text = BUF_INIT;
    if (old == NULL)
        return list;
    spec_diff(old, new, &text);
    char *save = NULL;
    for (char *line = text.data != NULL ? strtok_r(text.data, "\n", &save) : NULL; line != NULL;
         line = strtok_r(NULL, "\n", &save))
        json_array_append_new(list, json_string(line));
    return list;
}

static bool speaks_tls(const struct control *c)
{
    for (size_t i = 0; c->guardian != NULL && i < guardian_link_listeners(c->guardian); i++)
        if (strncmp(guardian_link_listener(c->guardian, i), LISTEN_TLS, strlen(LISTEN_TLS)) == 0)
            return true;
    return false;
}

/* Who is sent to https:// finds nobody there, or somebody else's certificate. */
static void warn_of_redirects(struct control *c, const struct app_spec *spec, json_t *warnings)
{
    bool tls = speaks_tls(c);
    for (size_t i = 0; i < spec->routes_len; i++) {
        const struct route_spec *r = &spec->routes[i];
        bool any_host = r->host[0] == '\0'; /* some of them may have a certificate */
        if (!r->redirect_https || r->tls_auto ||
            (tls && (any_host || certificates_for(c, r->host))))
            continue;
        const char *host = any_host ? "a route without a host" : r->host;
        cleanup_free char *text =
            tls ? xasprintf(
                      "`https: redirect`: no certificate for %s: browsers will refuse it; put "
                      "one into DATA/certs or use `tls: auto`",
                      host)
                : xasprintf(
                      "`https: redirect` of %s: this server has no TLS listener (sluice serve "
                      "--tls-listen), so a proxy in front must end TLS",
                      host);
        json_array_append_new(warnings, json_string(text));
    }
}

json_t *control_plan(struct control *c, const char *environment, const char *spec_json,
                     bool suggest, struct error *err)
{
    if (environment == NULL)
        environment = "production";
    struct app_spec *spec = spec_from_client(spec_json, environment, err);
    if (spec == NULL)
        return NULL;
    char key[160];
    store_app_key(spec->app, environment, key, sizeof key);
    struct app *a = app_by_key(c, key);
    if (routes_check(c, a, spec, err) < 0) {
        spec_free(spec);
        return NULL;
    }
    const struct app_spec *stable =
        a != NULL && a->state.stable != 0 ? pool_spec(a, a->state.stable) : NULL;
    cleanup_arena struct arena memory = ARENA_INIT;
    struct plan plan = plan_make(stable, spec, ROLLOUT_DEPLOY,
                                 a != NULL ? a->state.replicas_override : NULL, &memory);
    json_t *steps = json_array();
    for (size_t i = 0; i < plan.len; i++) {
        cleanup_buf struct buf text = BUF_INIT;
        step_describe(&plan.steps[i], spec, &text);
        json_array_append_new(steps,
                              json_pack("{s:s,s:s}", "kind", step_kind_word(plan.steps[i].kind),
                                        "text", buf_str(&text)));
    }
    uint32_t from = a != NULL ? app_stable_release(a) : 0;
    json_t *out =
        json_pack("{s:s,s:s,s:s,s:o,s:o,s:I,s:[]}", "app", spec->app, "environment", environment,
                  "strategy", strategy_name(spec->strategy.kind), "steps", steps, "changes",
                  changes(stable, spec), "least_ms", (json_int_t)plan_least_ms(&plan), "warnings");
    json_object_set_new(out, "from", from != 0 ? json_integer(from) : json_null());
    json_object_set_new(out, "supersedes",
                        json_boolean(a != NULL && (a->state.rollout.id != 0 || a->deploy != NULL)));
    warn_of_redirects(c, spec, json_object_get(out, "warnings"));
    detect_add(out, a, spec);
    if (suggest)
        suggest_add(out, a, spec);
    spec_free(spec);
    return out;
}
