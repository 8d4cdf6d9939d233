/* What is run: the app's name, its processes, replicas, the port. */
#include "base/alloc.h"
#include "base/units.h"
#include "spec/types.h"

#include <ctype.h>
#include <string.h>

/* ---- names ----------------------------------------------------------------------------------- */

bool is_name(const char *text)
{
    size_t len = strlen(text);
    if (len == 0 || len > 63 || !islower((unsigned char)text[0]))
        return false;
    for (size_t i = 0; i < len; i++)
        if (!islower((unsigned char)text[i]) && !isdigit((unsigned char)text[i]) && text[i] != '-')
            return false;
    return true;
}

/* What the user may have meant by a name that is none: lower case, dashes; NULL: no idea. */
static char *name_hint(const char *text)
{
    char name[64];
    size_t n = 0;
    for (; *text != '\0' && n < 63; text++) {
        unsigned char c = (unsigned char)*text;
        if (isalnum(c))
            name[n++] = (char)tolower(c);
        else if (n > 0 && name[n - 1] != '-' && (c == '_' || c == '-' || c == ' ' || c == '.'))
            name[n++] = '-';
    }
    while (n > 0 && name[n - 1] == '-')
        n--;
    name[n] = '\0';
    return is_name(name) ? xasprintf("did you mean `%s`?", name) : NULL;
}

static void read_name(struct reader *r, const struct key *key, const struct node *node, void *base)
{
    const char *text = read_text(r, key, node, EXPAND_VALUE);
    if (text == NULL)
        return;
    if (is_name(text)) {
        *(const char **)field_at(base, key->offset) = text;
        return;
    }
    cleanup_free char *hint = strcmp(text, node->text) == 0 ? name_hint(text) : NULL;
    reader_expected(r, node, key->type->shape, hint);
}

static bool write_text(const struct key *key, const void *base, struct buf *out)
{
    const char *text = *(const char *const *)const_field_at(base, key->offset);
    if (text != NULL)
        write_string(out, text);
    return text != NULL;
}

bool spec_is_version(const char *text)
{
    bool good = isalnum((unsigned char)text[0]) && strlen(text) <= 128;
    for (const char *p = text; *p != '\0'; p++)
        good &= isalnum((unsigned char)*p) || strchr("._+-/@:", *p) != NULL;
    return good;
}

static void read_version(struct reader *r, const struct key *key, const struct node *node,
                         void *base)
{
    const char *text = read_text(r, key, node, EXPAND_VALUE);
    if (text == NULL)
        return;
    if (spec_is_version(text))
        ((struct app_spec *)base)->version = text;
    else
        reader_expected(r, node, key->type->shape, NULL);
}

static void read_user(struct reader *r, const struct key *key, const struct node *node, void *base)
{
    const char *text = read_text(r, key, node, EXPAND_VALUE);
    if (text == NULL)
        return;
    bool good = (islower((unsigned char)text[0]) || text[0] == '_') && strlen(text) <= 32;
    for (const char *p = text; *p != '\0'; p++)
        good &= isalnum((unsigned char)*p) || strchr("_-.", *p) != NULL;
    if (good)
        ((struct app_spec *)base)->user = text;
    else
        reader_expected(r, node, key->type->shape, NULL);
}

const struct value_type type_app_name = {
    .shape = "a name: a letter, then letters, digits and dashes, all lower case, at most 63",
    .read = read_name,
    .write = write_text};
const struct value_type type_environment = {
    .shape = "a name: a letter, then letters, digits and dashes, all lower case, at most 63",
    .read = read_name,
    .write = write_text,
    .hidden = true};
const struct value_type type_metric_name = {
    .shape = "a name: a letter, then letters, digits and dashes, all lower case, at most 63",
    .read = read_name,
    .write = write_text};
const struct value_type type_version = {
    .shape = SPEC_VERSION_SHAPE, .read = read_version, .write = write_text};
const struct value_type type_user = {
    .shape = "the name of a system user", .read = read_user, .write = write_text};

/* ---- what is not there yet ------------------------------------------------------------------- */

static void read_engine(struct reader *r, const struct key *key, const struct node *node,
                        void *base)
{
    static const char *const words[] = {"process", "container", "kubernetes", NULL};
    (void)base;
    const char *text = read_text(r, key, node, EXPAND_VALUE);
    if (text == NULL || strcmp(text, "process") == 0)
        return;
    if (strcmp(text, "container") == 0 || strcmp(text, "kubernetes") == 0)
        reader_fail(r, node,
                    "this version runs processes: remove the key, or write `engine: process`",
                    "the %s engine is not in this version", text);
    else
        reader_expected_word(r, node, text, words);
}

static void read_not_yet(struct reader *r, const struct key *key, const struct node *node,
                         void *base)
{
    (void)base;
    reader_fail(
        r, node,
        strcmp(key->name, "secrets") == 0
            ? "until then: `env-files`, or `env` with ${NAME} from the environment of the deploy"
            : "this version runs processes: say `run`",
        "not in this version");
}

const struct value_type type_engine = {.shape = "`process`", .read = read_engine};
const struct value_type type_not_yet = {
    .shape = "nothing yet", .read = read_not_yet, .null_is_empty = true};

/* ---- run ------------------------------------------------------------------------------------- */

static void read_processes(struct reader *r, const struct key *key, const struct node *node,
                           struct app_spec *spec)
{
    if (node->len == 0 || node->len > SPEC_MAX_PROCESSES) {
        reader_fail(r, node, NULL, "names %zu processes; 1 to %d are allowed", node->len,
                    SPEC_MAX_PROCESSES);
        return;
    }
    for (size_t i = 0; i < node->len; i++) {
        const struct node *name = node->pairs[i].key;
        struct process_spec *p = &spec->processes[spec->processes_len];
        size_t mark = path_push(r, name->text);
        if (!is_name(name->text) || strlen(name->text) > 30) {
            reader_fail(r, name, "lower case letters, digits and dashes, at most 30",
                        "this is no name for a process");
        } else {
            /* One whose command is wrong is known too, or `replicas` would complain about it. */
            read_command(r, key, node->pairs[i].value, &p->run);
            p->name = arena_strdup(r->arena, name->text);
            p->replicas = 1;
            spec->processes_len++;
        }
        path_pop(r, mark);
    }
}

static void read_run(struct reader *r, const struct key *key, const struct node *node, void *base)
{
    struct app_spec *spec = base;
    spec->processes_len = 0;
    if (node->kind == NODE_MAP) {
        read_processes(r, key, node, spec);
    } else if (read_command(r, key, node, &spec->processes[0].run)) {
        spec->processes[0].name = "web";
        spec->processes[0].replicas = 1;
        spec->processes_len = 1;
    }
}

static bool is_single(const struct app_spec *spec)
{
    return spec->processes_len == 1 && strcmp(spec->processes[0].name, "web") == 0;
}

static bool write_run(const struct key *key, const void *base, struct buf *out)
{
    const struct app_spec *spec = base;
    (void)key;
    if (is_single(spec)) {
        write_command(out, &spec->processes[0].run);
        return true;
    }
    for (size_t i = 0; i < spec->processes_len; i++) {
        buf_printf(out, "%c\"%s\":", i == 0 ? '{' : ',', spec->processes[i].name);
        write_command(out, &spec->processes[i].run);
    }
    buf_putc(out, '}');
    return true;
}

const struct value_type type_run = {
    .shape = "a command such as [\"./shop\", \"--port\", \"$PORT\"], or a map of process names",
    .read = read_run,
    .write = write_run};

static bool read_replica_count(struct reader *r, const struct key *key, const struct node *node,
                               uint32_t *out)
{
    const char *text = read_text(r, key, node, EXPAND_VALUE);
    uint64_t value;
    if (text == NULL)
        return false;
    if (parse_u64(text, MAX_REPLICAS, &value) < 0) {
        reader_expected(r, node, "a whole number from 0 to 1000", NULL);
        return false;
    }
    *out = (uint32_t)value;
    return true;
}

static struct process_spec *find_process(struct app_spec *spec, const char *name)
{
    for (size_t i = 0; i < spec->processes_len; i++)
        if (strcmp(spec->processes[i].name, name) == 0)
            return &spec->processes[i];
    return NULL;
}

static void replicas_of(struct reader *r, const struct key *key, const struct pair *pair,
                        struct app_spec *spec)
{
    const char *words[SPEC_MAX_PROCESSES + 1] = {NULL};
    for (size_t i = 0; i < spec->processes_len; i++)
        words[i] = spec->processes[i].name;
    struct process_spec *p = find_process(spec, pair->key->text);
    if (p != NULL) {
        read_replica_count(r, key, pair->value, &p->replicas);
    } else if (spec->processes_len > 0) { /* else `run` is wrong itself, or not in this part */
        const char *near = nearest_word(pair->key->text, words);
        cleanup_free char *hint = near != NULL ? xasprintf("did you mean `%s`?", near) : NULL;
        reader_fail(r, pair->key, hint, "`run` has no process of this name");
    }
}

static void read_replicas(struct reader *r, const struct key *key, const struct node *node,
                          void *base)
{
    struct app_spec *spec = base;
    uint32_t count;
    for (size_t i = 0; node->kind == NODE_MAP && i < node->len; i++) {
        size_t mark = path_push(r, node->pairs[i].key->text);
        replicas_of(r, key, &node->pairs[i], spec);
        path_pop(r, mark);
    }
    if (node->kind == NODE_MAP || !read_replica_count(r, key, node, &count))
        return;
    for (size_t i = 0; i < spec->processes_len; i++)
        spec->processes[i].replicas = count;
}

static bool write_replicas(const struct key *key, const void *base, struct buf *out)
{
    const struct app_spec *spec = base;
    (void)key;
    if (is_single(spec)) {
        buf_printf(out, "%u", spec->processes[0].replicas);
        return true;
    }
    for (size_t i = 0; i < spec->processes_len; i++)
        buf_printf(out, "%c\"%s\":%u", i == 0 ? '{' : ',', spec->processes[i].name,
                   spec->processes[i].replicas);
    buf_putc(out, '}');
    return true;
}

const struct value_type type_replicas = {
    .shape = "a whole number from 0 to 1000, or a map by process name",
    .read = read_replicas,
    .write = write_replicas};

static void read_port(struct reader *r, const struct key *key, const struct node *node, void *base)
{
    struct app_spec *spec = base;
    const char *text = read_text(r, key, node, EXPAND_VALUE);
    uint64_t port;
    if (text == NULL)
        return;
    spec->socket = strcmp(text, "unix") == 0;
    if (spec->socket || strcmp(text, "auto") == 0)
        spec->port = 0;
    else if (parse_u64(text, 65535, &port) == 0 && port > 0)
        spec->port = (uint16_t)port;
    else
        reader_expected(r, node, key->type->shape, NULL);
}

static bool write_port(const struct key *key, const void *base, struct buf *out)
{
    const struct app_spec *spec = base;
    (void)key;
    if (spec->port == 0)
        return write_quoted_word(out, spec->socket ? "unix" : "auto");
    buf_printf(out, "%u", spec->port);
    return true;
}

const struct value_type type_port = {
    .shape = "`auto`, `unix`, or a port from 1 to 65535", .read = read_port, .write = write_port};
