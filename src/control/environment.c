/* What a run sees: its environment, its arguments expanded, its user, its log. */
#include "control/control_internal.h"

#include "engine/user.h"

#include <ctype.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

enum { LOG_BYTES_PER_INSTANCE = 20 << 20, ENV_MAX = 1024 };

struct env_list {
    struct arena *memory;
    const char **items;
    size_t len;
};

static void env_set(struct env_list *list, const char *name, const char *value)
{
    size_t n = strlen(name);
    char *item = arena_printf(list->memory, "%s=%s", name, value);
    for (size_t i = 0; i < list->len; i++)
        if (strncmp(list->items[i], name, n) == 0 && list->items[i][n] == '=') {
            list->items[i] = item;
            return;
        }
    if (list->len + 1 < ENV_MAX)
        list->items[list->len++] = item;
}

/* The server's own environment is not the apps': only what a program needs to find its way. */
static void env_inherit(struct env_list *list)
{
    static const char *const names[] = {"PATH", "LANG", "LC_ALL", "TZ", "HOME", "USER", "TMPDIR"};
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        const char *value = getenv(names[i]);
        if (value != NULL)
            env_set(list, names[i], value);
    }
    if (getenv("PATH") == NULL)
        env_set(list, "PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
}

/* Where the server is root, HOME and USER are those of who the run becomes. */
static void env_user(struct env_list *list, const char *name)
{
    struct os_user user;
    if (name == NULL || geteuid() != 0 || os_user_find(&user, name, NULL) < 0)
        return;
    env_set(list, "HOME", user.home);
    env_set(list, "USER", name);
    os_user_release(&user);
}

void run_env_make(struct run_env *env, struct app *a, const struct release *r,
                  const struct app_spec *spec, const struct instance *in,
                  const struct env_var *extra, size_t extra_len)
{
    *env = (struct run_env){.memory = ARENA_INIT};
    struct env_list list = {.memory = &env->memory,
                            .items = arena_alloc(&env->memory, ENV_MAX * sizeof(char *))};
    env_inherit(&list);
    env_user(&list, app_user(a, spec));
    char number[16];
    for (size_t i = 0; i < spec->env_len; i++)
        env_set(&list, spec->env[i].name, spec->env[i].value);
    env_set(&list, "SLUICE_APP", a->name);
    env_set(&list, "SLUICE_ENV", a->environment);
    env_set(&list, "SLUICE_VERSION", r->version);
    snprintf(number, sizeof number, "%u", r->number);
    env_set(&list, "SLUICE_RELEASE", number);
    cleanup_free char *state = app_path(a, "state");
    env->state_dir = arena_strdup(&env->memory, state);
    env_set(&list, "SLUICE_STATE_DIR", env->state_dir);
    if (in != NULL) {
        env_set(&list, "SLUICE_INSTANCE", in->id);
        if (in->port != 0) {
            snprintf(number, sizeof number, "%u", in->port);
            env_set(&list, "PORT", number);
        }
        char path[SOCKET_PATH_MAX];
        if (in->socket[0] != '\0')
            env_set(&list, "SLUICE_SOCKET", instance_socket_path(in, path));
    }
    for (size_t i = 0; i < extra_len; i++)
        env_set(&list, extra[i].name, extra[i].value);
    list.items[list.len] = NULL;
    env->envp = list.items;
}

static const char *env_get(const struct run_env *env, const char *name, size_t len)
{
    for (const char **item = env->envp; *item != NULL; item++)
        if (strncmp(*item, name, len) == 0 && (*item)[len] == '=')
            return *item + len + 1;
    return NULL;
}

/* $NAME and ${NAME} of the instance's environment; what is not set becomes empty, "$$" a "$". */
static const char *expand(struct run_env *env, const char *text)
{
    cleanup_buf struct buf out = BUF_INIT;
    for (const char *p = text; *p != '\0';) {
        if (*p != '$') {
            buf_putc(&out, *p++);
            continue;
        }
        if (p[1] == '$') {
            buf_putc(&out, '$');
            p += 2;
            continue;
        }
        bool braces = p[1] == '{';
        const char *name = p + 1 + braces, *end = name;
        while (isalnum((unsigned char)*end) || *end == '_')
            end++;
        if (end == name || (braces && *end != '}')) {
            buf_putc(&out, *p++);
            continue;
        }
        const char *value = env_get(env, name, (size_t)(end - name));
        if (value != NULL)
            buf_puts(&out, value);
        p = end + braces;
    }
    return arena_strdup(&env->memory, buf_str(&out));
}

const char *const *run_env_expand(struct run_env *env, const struct command *command)
{
    const char **argv = arena_alloc(&env->memory, (command->argc + 1) * sizeof *argv);
    for (size_t i = 0; i < command->argc; i++)
        argv[i] = command->shell ? command->argv[i] : expand(env, command->argv[i]);
    argv[command->argc] = NULL;
    return argv;
}

void run_env_release(struct run_env *env)
{
    arena_release(&env->memory);
}

const char *app_user(const struct app *a, const struct app_spec *spec)
{
    if (spec->user != NULL)
        return spec->user;
    const char *user = a->control->boot->app_user;
    return user[0] != '\0' ? user : NULL;
}

void run_spec_fill(struct run_spec *out, struct app *a, const struct release *r,
                   const struct app_spec *as)
{
    *out = (struct run_spec){
        .dir = r->dir,
        .user = app_user(a, as),
        .cpu_milli = as->cpu_milli,
        .memory_bytes = as->memory_bytes,
        .log_max_bytes = LOG_BYTES_PER_INSTANCE,
    };
}
