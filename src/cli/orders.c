/* maintenance and fault: what people order for an app's traffic. */
#include "wire/orders.h"
#include "base/alloc.h"
#include "base/units.h"
#include "cli/session.h"
#include "os/fdio.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

enum { PAGE_MAX = 64 << 10 };

static int read_on(const struct options *o, json_t *body, struct error *err)
{
    bool on = strcmp(o->arguments[1], "on") == 0;
    json_object_set_new(body, "on", json_boolean(on));
    if (!on && strcmp(o->arguments[1], "off") != 0)
        return error_set(err, ERROR_USAGE, "expected `on` or `off`, got `%.40s`", o->arguments[1]);
    return 0;
}

/* What is to be said of a beginning is nothing for the end. */
static int check_off(const json_t *body, const char *verb, struct error *err)
{
    if (json_is_true(json_object_get(body, "on")) || json_object_size(body) == 1)
        return 0;
    return error_set(err, ERROR_USAGE, "`%s off` takes no option of `on`", verb);
}

static int add_duration(const struct options *o, enum option_id id, json_t *body,
                        const char *member, int64_t least, int64_t most, struct error *err)
{
    int64_t ms;
    char text[32];
    if (!o->given[id])
        return 0;
    if (parse_duration_ms(o->value[id], &ms) < 0)
        return error_set(err, ERROR_USAGE, "--%s: expected a duration such as 30s, got `%.40s`",
                         option_get(id)->word, o->value[id]);
    if (ms < least || ms > most)
        return error_set(err, ERROR_USAGE, "--%s: at %s %s, got `%.40s`", option_get(id)->word,
                         ms < least ? "least" : "most",
                         format_duration_ms(ms < least ? least : most, text, sizeof text),
                         o->value[id]);
    json_object_set_new(body, member, json_integer(ms));
    return 0;
}

static int add_status(const struct options *o, enum option_id id, json_t *body, const char *member,
                      struct error *err)
{
    uint64_t status;
    if (!o->given[id])
        return 0;
    if (parse_u64(o->value[id], 599, &status) < 0 || status < 400)
        return error_set(err, ERROR_USAGE, "--%s: expected a status from 400 to 599, got `%.40s`",
                         option_get(id)->word, o->value[id]);
    json_object_set_new(body, member, json_integer((json_int_t)status));
    return 0;
}

static void add_each(const struct options *o, enum option_id id, json_t *body, const char *member)
{
    json_t *list = json_array();
    for (unsigned i = 0; i < o->each_len; i++)
        if (o->each[i].id == id)
            json_array_append_new(list, json_string(o->each[i].value));
    if (json_array_size(list) > 0)
        json_object_set(body, member, list);
    json_decref(list);
}

/* ---- maintenance
 * ---------------------------------------------------------------------------------------- */

static int read_page(const char *path, struct buf *out, struct error *err)
{
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return error_set(err, ERROR_USAGE, "--page %s: %s", path, strerror(errno));
    for (;;) {
        buf_reserve(out, PAGE_MAX);
        ssize_t n = read(fd, out->data + out->len, PAGE_MAX);
        if (n < 0)
            return error_set(err, ERROR_USAGE, "--page %s: %s", path, strerror(errno));
        if (n == 0)
            return 0;
        out->len += (size_t)n;
        if (out->len > PAGE_MAX)
            return error_set(err, ERROR_USAGE, "--page %s: it is larger than 64 KiB", path);
    }
}

static int add_page(const struct options *o, json_t *body, struct error *err)
{
    static const struct {
        const char *end, *type;
    } types[] = {
        {".html", "text/html; charset=utf-8"},
        {".htm", "text/html; charset=utf-8"},
        {".txt", "text/plain; charset=utf-8"},
        {".json", "application/json"},
    };
    const char *path = o->value[OPTION_PAGE], *type = NULL;
    if (path == NULL)
        return 0;
    const char *end = strrchr(path, '.');
    for (size_t i = 0; end != NULL && i < sizeof types / sizeof types[0]; i++)
        if (strcmp(end, types[i].end) == 0)
            type = types[i].type;
    if (type == NULL)
        return error_set(err, ERROR_USAGE, "--page %s: expected a .html, .txt or .json", path);
    cleanup_buf struct buf page = BUF_INIT;
    if (read_page(path, &page, err) < 0)
        return -1;
    json_t *text = json_stringn(page.len > 0 ? page.data : "", page.len);
    if (text == NULL)
        return error_set(err, ERROR_USAGE, "--page %s: it is not UTF-8 text", path);
    json_object_set_new(body, "page", text);
    json_object_set_new(body, "content_type", json_string(type));
    return 0;
}

int cmd_maintenance(int argc, char **argv)
{
    struct options o;
    struct error err = ERROR_INIT;
    if (options_parse(&o, verb_get(VERB_maintenance), argc, argv, &err) != 0)
        return cli_fail(&err);
    json_t *body = json_object();
    add_each(&o, OPTION_ALLOW, body, "allow");
    if (read_on(&o, body, &err) < 0 || add_status(&o, OPTION_STATUS, body, "status", &err) < 0 ||
        add_duration(&o, OPTION_RETRY_AFTER, body, "retry_after_ms", 0, ORDER_MAX_RETRY_AFTER_MS,
                     &err) < 0 ||
        add_duration(&o, OPTION_HOLD, body, "hold_ms", 0, ORDER_MAX_HOLD_MS, &err) < 0 ||
        add_page(&o, body, &err) < 0 || check_off(body, "maintenance", &err) < 0) {
        json_decref(body);
        return cli_fail(&err);
    }
    return session_command(VERB_maintenance, argc, argv, body, "done");
}

/* ---- fault
 * ---------------------------------------------------------------------------------------------- */

static int add_share(const struct options *o, json_t *body, struct error *err)
{
    uint32_t ppm;
    const char *share = o->value[OPTION_SHARE];
    if (share == NULL)
        return 0;
    if (parse_percent_ppm(share, &ppm) < 0 || ppm == 0 || ppm > 1000000)
        return error_set(err, ERROR_USAGE, "--share: expected a share such as 5%%, got `%.40s`",
                         share);
    json_object_set_new(body, "share_ppm", json_integer(ppm));
    return 0;
}

static int check_fault(const json_t *body, struct error *err)
{
    if (json_is_false(json_object_get(body, "on")) ||
        json_integer_value(json_object_get(body, "delay_ms")) > 0 ||
        json_object_get(body, "abort") != NULL)
        return 0;
    return error_set(err, ERROR_USAGE, "what is to happen? --delay 200ms, --abort 503, or both");
}

int cmd_fault(int argc, char **argv)
{
    struct options o;
    struct error err = ERROR_INIT;
    if (options_parse(&o, verb_get(VERB_fault), argc, argv, &err) != 0)
        return cli_fail(&err);
    json_t *body = json_object();
    add_each(&o, OPTION_MATCH, body, "match");
    if (read_on(&o, body, &err) < 0 || add_status(&o, OPTION_ABORT, body, "abort", &err) < 0 ||
        add_duration(&o, OPTION_DELAY, body, "delay_ms", 0, ORDER_MAX_DELAY_MS, &err) < 0 ||
        add_duration(&o, OPTION_FOR, body, "for_ms", ORDER_MIN_FAULT_MS, ORDER_MAX_FAULT_MS, &err) <
            0 ||
        add_share(&o, body, &err) < 0 || check_off(body, "fault", &err) < 0 ||
        check_fault(body, &err) < 0) {
        json_decref(body);
        return cli_fail(&err);
    }
    return session_command(VERB_fault, argc, argv, body, "done");
}
