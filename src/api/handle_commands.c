/* What changes something. The answer comes when control has stored it. */
#include "api/connection.h"
#include "base/alloc.h"
#include "base/vec.h"
#include "spec/spec.h"

#include <string.h>

enum { IDEMPOTENCY_KEY_MAX = 200 };

/* The body may have only these members (comma separated); an unknown one is likely a slip that
 * would otherwise be ignored in silence. */
static int check_members(const json_t *body, const char *allowed, struct error *err)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)body, key, value)
    {
        size_t len = strlen(key);
        const char *at = allowed;
        while (*at != '\0' &&
               !(strncmp(at, key, len) == 0 && (at[len] == ',' || at[len] == '\0'))) {
            at += strcspn(at, ",");
            at += *at == ',';
        }
        if (*at == '\0')
            return error_set(err, ERROR_USAGE, "unknown member `%.60s` (there is: %s)", key,
                             *allowed != '\0' ? allowed : "none");
    }
    return 0;
}

/* {"spec": {...}} as canonical text; it must be of the app that the path names. The caller frees.
 */
static char *spec_text(const struct request *r, struct error *err)
{
    const json_t *spec = json_object_get(r->body, "spec");
    if (!json_is_object(spec)) {
        error_set(err, ERROR_USAGE, "the body needs a member `spec`, an object");
        return NULL;
    }
    const char *app = json_string_value(json_object_get(spec, "app"));
    if (app == NULL || strcmp(app, r->app) != 0) {
        error_set(err, ERROR_USAGE, "the spec is of app `%.60s`, the path says `%.60s`",
                  app != NULL ? app : "", r->app);
        return NULL;
    }
    return json_dumps(spec, JSON_COMPACT);
}

/* A member that is a string, null, or absent. */
static int optional_text(const json_t *body, const char *member, const char **out,
                         struct error *err)
{
    const json_t *value = json_object_get(body, member);
    *out = json_string_value(value);
    if (value == NULL || json_is_null(value) || *out != NULL)
        return 0;
    return error_set(err, ERROR_USAGE, "`%s` must be a string or null", member);
}

static int deploy(struct connection *c, const struct request *r, struct error *err)
{
    struct deploy_request d = {.idempotency_key = r->idempotency_key,
                               .environment = query_get(&r->query, "environment")};
    if (check_members(r->body, "spec,source,version", err) != 0 ||
        optional_text(r->body, "source", &d.source, err) != 0 ||
        optional_text(r->body, "version", &d.version, err) != 0)
        return -1;
    if (d.source != NULL && d.source[0] != '/')
        return error_set(err, ERROR_USAGE, "`source` must be an absolute path");
    if (d.version != NULL && !spec_is_version(d.version))
        return error_set(err, ERROR_USAGE, "`version`: expected " SPEC_VERSION_SHAPE);
    if (d.idempotency_key != NULL &&
        (*d.idempotency_key == '\0' || strlen(d.idempotency_key) > IDEMPOTENCY_KEY_MAX))
        return error_set(err, ERROR_USAGE, "Idempotency-Key must have 1 to %d characters",
                         IDEMPOTENCY_KEY_MAX);
    cleanup_free char *spec = spec_text(r, err);
    if (spec == NULL)
        return -1;
    d.spec_json = spec;
    control_deploy(r->control, &d, &r->caller, reply_done, reply_later(c, 202));
    return 0;
}

void handle_deploy(struct connection *c, const struct request *r)
{
    struct error err = ERROR_INIT;
    if (deploy(c, r, &err) != 0)
        reply_error(c, &err);
}

void handle_plan(struct connection *c, const struct request *r)
{
    struct error err = ERROR_INIT;
    json_t *plan = NULL;
    cleanup_free char *spec =
        check_members(r->body, "spec,source,version", &err) == 0 ? spec_text(r, &err) : NULL;
    uint64_t suggest = 0;
    if (spec != NULL && request_number(r, "suggest", 1, 0, &suggest, &err) == 0)
        plan =
            control_plan(r->control, query_get(&r->query, "environment"), spec, suggest != 0, &err);
    if (plan != NULL)
        reply_json(c, 200, plan);
    else
        reply_error(c, &err);
}

static int check_arguments(enum control_command command, const json_t *body, struct error *err)
{
    if (command == COMMAND_ROLLBACK) {
        const json_t *to = json_object_get(body, "to");
        if (to != NULL && !json_is_null(to) &&
            (!json_is_integer(to) || json_integer_value(to) < 1 ||
             json_integer_value(to) > UINT32_MAX))
            return error_set(err, ERROR_USAGE, "`to` must be the number of a release");
        return check_members(body, "to", err);
    }
    if (command == COMMAND_SCALE) {
        const json_t *replicas = json_object_get(body, "replicas");
        const char *process;
        if (!json_is_integer(replicas) || json_integer_value(replicas) < 0 ||
            json_integer_value(replicas) > 1000000)
            return error_set(err, ERROR_USAGE, "`replicas` must be a whole number from 0");
        if (optional_text(body, "process", &process, err) != 0)
            return -1;
        return check_members(body, "replicas,process", err);
    }
    if (command == COMMAND_MAINTENANCE)
        return check_members(body, "on,status,retry_after_ms,hold_ms,page,content_type,allow", err);
    if (command == COMMAND_FAULT)
        return check_members(body, "on,delay_ms,abort,share_ppm,for_ms,match", err);
    return check_members(body, "", err);
}

void handle_command(struct connection *c, const struct request *r)
{
    enum control_command command = (enum control_command)r->route->argument;
    struct app_name name = request_app(r);
    struct error err = ERROR_INIT;
    if (check_arguments(command, r->body, &err) != 0) {
        reply_error(c, &err);
        return;
    }
    json_t *arguments = r->body != NULL ? json_incref(r->body) : json_object();
    control_command(r->control, command, &name, arguments, &r->caller, reply_done,
                    reply_later(c, 200));
    json_decref(arguments);
}

void handle_run(struct connection *c, const struct request *r)
{
    struct error err = ERROR_INIT;
    struct app_name name = request_app(r);
    const json_t *command = json_object_get(r->body, "command");
    struct {
        const char **items;
        size_t len, cap;
    } argv = {0};
    bool bad = json_array_size(command) == 0 || json_array_size(command) > 1000;
    for (size_t i = 0; !bad && i < json_array_size(command); i++) {
        *vec_push(&argv) = json_string_value(json_array_get(command, i));
        bad = argv.items[i] == NULL;
    }
    if (bad || check_members(r->body, "command", &err) != 0) {
        if (bad)
            error_set(&err, ERROR_USAGE, "`command` must be a list of strings, not empty");
        reply_error(c, &err);
    } else {
        *vec_push(&argv) = NULL;
        control_run(r->control, &name, argv.items, &r->caller, reply_done, reply_later(c, 202));
    }
    vec_release(&argv);
}
