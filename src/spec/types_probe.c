/* Probes and the way an instance is stopped. */
#include "base/alloc.h"
#include "base/units.h"
#include "base/vec.h"
#include "spec/types.h"

#include <ctype.h>
#include <signal.h>
#include <string.h>

static bool write_probes(const struct key *key, const void *base, struct buf *out)
{
    const struct app_spec *spec = base;
    (void)key;
    if (spec->readiness.kind == PROBE_NONE && spec->liveness.kind == PROBE_NONE &&
        spec->startup.kind == PROBE_NONE)
        return false;
    write_mapping(IN_PROBES, base, out);
    return true;
}

static bool write_probe(const struct key *key, const void *base, struct buf *out)
{
    const struct probe_spec *probe = const_field_at(base, key->offset);
    if (probe->kind != PROBE_NONE)
        write_mapping(IN_PROBE, probe, out);
    return probe->kind != PROBE_NONE;
}

const struct value_type type_probes = {.shape = "a map such as {readiness: {http: /ready}}",
                                       .nested = IN_PROBES,
                                       .write = write_probes,
                                       .null_is_empty = true};
const struct value_type type_probe = {
    .shape = "a map such as {http: /ready}", .nested = IN_PROBE, .write = write_probe};

static void read_http_path(struct reader *r, const struct key *key, const struct node *node,
                           void *base)
{
    struct probe_spec *probe = base;
    if (node->kind == NODE_MAP) {
        reader_expected(r, node, key->type->shape,
                        "write `http: /ready`; the port is the instance's own");
        return;
    }
    const char *text = read_text(r, key, node, EXPAND_VALUE);
    if (text == NULL)
        return;
    bool good = text[0] == '/' && strlen(text) <= 2000;
    for (const char *p = text; *p != '\0'; p++)
        good &= *p > ' ' && *p < 0x7F && *p != '#';
    if (good) {
        probe->http_path = text;
        probe->kind = PROBE_HTTP;
        return;
    }
    cleanup_free char *hint = NULL;
    if (strstr(text, "://") != NULL)
        hint = xstrdup("only the path: the host and port are the instance's own");
    else if (isalnum((unsigned char)text[0]) && strcmp(text, node->text) == 0)
        hint = xasprintf("did you mean `/%.60s`?", text);
    reader_expected(r, node, key->type->shape, hint);
}

static bool write_http_path(const struct key *key, const void *base, struct buf *out)
{
    const struct probe_spec *probe = base;
    (void)key;
    if (probe->kind == PROBE_HTTP)
        write_string(out, probe->http_path);
    return probe->kind == PROBE_HTTP;
}

static void read_tcp(struct reader *r, const struct key *key, const struct node *node, void *base)
{
    struct probe_spec *probe = base;
    const char *text = read_text(r, key, node, EXPAND_VALUE);
    if (text != NULL && strcmp(text, "true") == 0)
        probe->kind = PROBE_TCP;
    else if (text != NULL)
        reader_expected(r, node, key->type->shape, "the port is the instance's own");
}

static bool write_tcp(const struct key *key, const void *base, struct buf *out)
{
    const struct probe_spec *probe = base;
    (void)key;
    buf_puts(out, "true");
    return probe->kind == PROBE_TCP;
}

const struct value_type type_http_path = {
    .shape = "a path that starts with /", .read = read_http_path, .write = write_http_path};
const struct value_type type_tcp = {.shape = "`true`", .read = read_tcp, .write = write_tcp};

/* ---- stop ------------------------------------------------------------------------------------ */

static const struct {
    const char *name;
    int number;
} signals[] = {
    {"TERM", SIGTERM}, {"INT", SIGINT},   {"QUIT", SIGQUIT}, {"HUP", SIGHUP},
    {"USR1", SIGUSR1}, {"USR2", SIGUSR2}, {"KILL", SIGKILL},
};
static const char *const signal_words[] = {"TERM", "INT",  "QUIT", "HUP",
                                           "USR1", "USR2", "KILL", NULL};
_Static_assert(COUNT_OF(signals) + 1 == COUNT_OF(signal_words), "one word per signal");

static void read_signal(struct reader *r, const struct key *key, const struct node *node,
                        void *base)
{
    struct stop_spec *stop = base;
    const char *text = read_text(r, key, node, EXPAND_VALUE);
    if (text == NULL)
        return;
    const char *name = strncmp(text, "SIG", 3) == 0 ? text + 3 : text;
    uint64_t number = 0;
    bool is_number = parse_u64(text, 31, &number) == 0;
    for (size_t i = 0; i < COUNT_OF(signals); i++)
        if (strcmp(name, signals[i].name) == 0 || (is_number && (int)number == signals[i].number)) {
            stop->signal = signals[i].number;
            return;
        }
    reader_expected_word(r, node, name, signal_words);
}

static bool write_signal(const struct key *key, const void *base, struct buf *out)
{
    const struct stop_spec *stop = base;
    (void)key;
    for (size_t i = 0; i < COUNT_OF(signals); i++)
        if (signals[i].number == stop->signal)
            return write_quoted_word(out, signals[i].name);
    return false;
}

const struct value_type type_signal_name = {
    .shape = "a signal such as TERM", .read = read_signal, .write = write_signal};
const struct value_type type_stop = {.shape =
                                         "a map such as {signal: TERM, drain: 30s, grace: 30s}",
                                     .nested = IN_STOP,
                                     .null_is_empty = true};
