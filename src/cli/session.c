#include "cli/session.h"

#include "base/alloc.h"
#include "base/units.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Values that every verb reads in the same way; what only one verb knows it checks itself. */
static int check_values(const struct options *o, struct error *err)
{
    int64_t ms;
    uint64_t n;
    const char *timeout = o->value[OPTION_TIMEOUT], *lines = o->value[OPTION_LINES];
    const char *to = o->value[OPTION_TO], *release = o->value[OPTION_RELEASE];
    if (timeout != NULL && parse_duration_ms(timeout, &ms) != 0)
        return error_set(err, ERROR_USAGE, "--timeout %.40s: expected a duration like 90s or 10m",
                         timeout);
    if (lines != NULL && (parse_u64(lines, 100000, &n) != 0 || n == 0))
        return error_set(err, ERROR_USAGE, "--lines %.40s: expected a number from 1 to 100000",
                         lines);
    if ((to != NULL && (parse_u64(to, UINT32_MAX, &n) != 0 || n == 0)) ||
        (release != NULL && (parse_u64(release, UINT32_MAX, &n) != 0 || n == 0)))
        return error_set(err, ERROR_USAGE, "--%s %.40s: expected the number of a release",
                         to != NULL ? "to" : "release", to != NULL ? to : release);
    return 0;
}

int session_begin(struct session *s, enum verb_id verb, int argc, char **argv)
{
    struct error err = ERROR_INIT;
    memset(s, 0, sizeof *s);
    if (options_parse(&s->options, verb_get(verb), argc, argv, &err) != 0 ||
        check_values(&s->options, &err) != 0 ||
        place_find(&s->place, s->options.value[OPTION_API], s->options.value[OPTION_DATA], &err) !=
            0)
        return cli_fail(&err);
    s->json = s->options.given[OPTION_JSON];
    s->environment = s->options.value[OPTION_ENV];
    s->app = s->options.arguments_len > 0 ? s->options.arguments[0] : NULL;
    term_look(&s->out, STDOUT_FILENO, s->options.given[OPTION_NO_COLOR]);
    return 0;
}

void session_release(struct session *s)
{
    place_release(&s->place);
}

char *session_path(const struct session *s, const char *tail, const char *query)
{
    struct buf path = BUF_INIT;
    buf_puts(&path, "/v1/apps/");
    put_encoded(&path, s->app);
    buf_puts(&path, tail);
    char separator = '?';
    if (s->environment != NULL) {
        buf_puts(&path, "?environment=");
        put_encoded(&path, s->environment);
        separator = '&';
    }
    if (*query != '\0')
        buf_printf(&path, "%c%s", separator, query);
    return buf_detach(&path);
}

json_t *session_get(const struct session *s, const char *path, struct error *err)
{
    struct client_request request = {.method = "GET", .path = path, .accept = "application/json"};
    return client_call(&s->place, &request, err);
}

json_t *session_post(const struct session *s, const char *path, json_t *body, struct error *err)
{
    struct client_request request = {.method = "POST", .path = path, .body = body};
    json_t *answer = client_call(&s->place, &request, err);
    json_decref(body);
    return answer;
}

struct client *session_events(const struct session *s, int64_t after, struct error *err)
{
    struct buf path = BUF_INIT;
    buf_printf(&path, "/v1/events?after=%lld&app=", (long long)after);
    put_encoded(&path, s->app);
    if (s->environment != NULL) {
        buf_puts(&path, "&environment=");
        put_encoded(&path, s->environment);
    }
    struct client_request request = {
        .method = "GET", .path = buf_str(&path), .accept = "text/event-stream", .impatient = true};
    struct client *c = client_open(&s->place, &request, err);
    buf_release(&path);
    return c;
}

void print_json(const json_t *document)
{
    json_dumpf(document, stdout, JSON_COMPACT | JSON_ENCODE_ANY);
    putchar('\n');
    fflush(stdout);
}

int print_buf(struct buf *b)
{
    size_t n = fwrite(buf_str(b), 1, b->len, stdout);
    bool bad = n != b->len || fflush(stdout) != 0;
    buf_clear(b);
    return bad ? -1 : 0;
}

const char *json_text(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : "";
}

int64_t json_whole(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? (int64_t)json_number_value(value) : 0;
}

double json_real_or(const json_t *object, const char *key, double absent)
{
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? json_number_value(value) : absent;
}
