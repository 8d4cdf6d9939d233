#include "control/orders.h"

#include "base/field.h"
#include "base/network.h"
#include "base/units.h"
#include "control/pages.h"
#include "os/clock.h"
#include "wire/orders.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

enum {
    MAX_CALLERS = 16,
    SAID_CALLERS = 4,
    SAID_BYTES = 60,
    RETRY_AFTER_MS = 60000,
    FAULT_MS = 600000
};

/* ---- arguments
 * ------------------------------------------------------------------------------------------- */

static int number(const json_t *from, const char *member, json_int_t least, json_int_t most,
                  json_int_t preset, json_int_t *out, struct error *err)
{
    const json_t *value = json_object_get(from, member);
    *out = preset;
    if (value == NULL || json_is_null(value))
        return 0;
    *out = json_integer_value(value);
    if (json_is_integer(value) && *out >= least && *out <= most)
        return 0;
    return error_set(err, ERROR_USAGE, "`%s` must be a whole number from %lld to %lld", member,
                     (long long)least, (long long)most);
}

static uint64_t half(const uint8_t *bytes)
{
    uint64_t value = 0;
    for (int i = 0; i < 8; i++)
        value = value << 8 | bytes[i];
    return value;
}

/* A network, or a header as NAME=VALUE. */
static int caller_of(const char *text, struct arena *memory, struct snapshot_caller *out)
{
    const char *equals = strchr(text, '=');
    struct network n;
    if (equals == NULL) {
        if (network_parse(text, &n, NULL) < 0)
            return -1;
        *out = (struct snapshot_caller){
            .high = half(n.address), .low = half(n.address + 8), .bits = n.bits};
        return 0;
    }
    char *name = arena_strdup(memory, text);
    name[equals - text] = '\0';
    for (char *p = name; *p != '\0'; p++)
        *p = (char)tolower((unsigned char)*p);
    *out = (struct snapshot_caller){.name = name, .value = name + (equals - text) + 1};
    return field_is_name(name) && field_is_value(out->value) ? 0 : -1;
}

static int check_callers(const json_t *from, const char *member, struct error *err)
{
    cleanup_arena struct arena memory = ARENA_INIT;
    struct snapshot_caller caller;
    const json_t *list = json_object_get(from, member);
    if (list != NULL && (!json_is_array(list) || json_array_size(list) > MAX_CALLERS))
        return error_set(err, ERROR_USAGE, "`%s` must be a list of at most %d", member,
                         MAX_CALLERS);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *text = json_string_value(json_array_get(list, i));
        if (text == NULL || caller_of(text, &memory, &caller) < 0)
            return error_set(err, ERROR_USAGE,
                             "`%s`: `%.80s` is neither a network such as 10.0.0.0/8 nor a header "
                             "such as x-tester=1",
                             member, text != NULL ? text : "");
    }
    return 0;
}

static int check_on(const json_t *arguments, bool *on, struct error *err)
{
    const json_t *value = json_object_get(arguments, "on");
    *on = json_is_true(value);
    if (!json_is_boolean(value))
        return error_set(err, ERROR_USAGE, "`on` must be true or false");
    if (!*on && json_object_size(arguments) > 1)
        return error_set(err, ERROR_USAGE, "with `on` false there is nothing else to say");
    return 0;
}

/* " from 10.0.0.0/8 or with x-tester=me", in words of the caller's for both kinds. */
static void say_callers(const json_t *list, const char *network, const char *header,
                        const char *between, struct buf *out)
{
    size_t len = json_array_size(list);
    for (size_t i = 0; i < len && i < SAID_CALLERS; i++) {
        const char *text = json_string_value(json_array_get(list, i));
        size_t name = strcspn(text, "=");
        buf_printf(out, "%s%s", i > 0 ? between : "", text[name] == '=' ? header : network);
        if (strlen(text) <= SAID_BYTES)
            buf_puts(out, text);
        else /* a header; its name is ASCII, so that no character is cut */
            buf_printf(out, "%.*s=...", (int)(name < SAID_BYTES ? name : SAID_BYTES), text);
    }
    if (len > SAID_CALLERS)
        buf_printf(out, " and %zu more", len - SAID_CALLERS);
}

/* A connection has no head, so there are no words for whoever made it. */
static bool only_tcp(struct app *a)
{
    const struct app_spec *spec = a->state.stable != 0 ? pool_spec(a, a->state.stable) : NULL;
    for (size_t i = 0; spec != NULL && i < spec->routes_len; i++)
        if (spec->routes[i].tcp.listen == NULL)
            return false;
    return spec != NULL && spec->routes_len > 0;
}

/* What is kept of it: the arguments, who, and since when. */
static json_t *kept(const json_t *arguments, const char *actor)
{
    json_t *order = json_copy((json_t *)(uintptr_t)arguments);
    json_object_set_new(order, "by", json_string(actor));
    json_object_set_new(order, "since_ms", json_integer(control_now()));
    return order;
}

static void replace(json_t **place, json_t *order)
{
    json_decref(*place);
    *place = order;
}

/* ---- maintenance
 * ----------------------------------------------------------------------------------------- */

struct maintenance {
    json_int_t status, retry_after_ms, hold_ms;
    const char *page, *type;
};

static int read_maintenance(const json_t *from, struct maintenance *m, struct error *err)
{
    const json_t *page = json_object_get(from, "page"),
                 *type = json_object_get(from, "content_type");
    if (number(from, "status", 400, 599, 503, &m->status, err) < 0 ||
        number(from, "retry_after_ms", 0, ORDER_MAX_RETRY_AFTER_MS, RETRY_AFTER_MS,
               &m->retry_after_ms, err) < 0 ||
        number(from, "hold_ms", 0, ORDER_MAX_HOLD_MS, 0, &m->hold_ms, err) < 0 ||
        check_callers(from, "allow", err) < 0)
        return -1;
    m->page = json_string_value(page);
    m->type = type != NULL ? json_string_value(type) : "text/html; charset=utf-8";
    if (page != NULL && (m->page == NULL || json_string_length(page) > SNAPSHOT_MAX_PAGE))
        return error_set(err, ERROR_USAGE, "`page` must be a text of at most %d bytes",
                         SNAPSHOT_MAX_PAGE);
    if (m->type == NULL || *m->type == '\0' || strlen(m->type) > 100 || !field_is_value(m->type))
        return error_set(err, ERROR_USAGE, "`content_type` must be one such as text/html");
    return 0;
}

static int check_words(const json_t *arguments, struct error *err)
{
    static const struct {
        const char *member, *option;
    } words[] = {{"page", "page"}, {"status", "status"}, {"retry_after_ms", "retry-after"}};
    for (size_t i = 0; i < COUNT_OF(words); i++)
        if (json_object_get(arguments, words[i].member) != NULL)
            return error_set(err, ERROR_USAGE,
                             "the app has TCP routes only, whose connections are reset: leave out "
                             "`%s` (--%s)",
                             words[i].member, words[i].option);
    return 0;
}

static void say_maintenance(struct app *a, const struct maintenance *m, struct buf *out)
{
    char time[32];
    bool tcp = only_tcp(a);
    const json_t *allow = json_object_get(a->maintenance, "allow");
    buf_puts(out, tcp ? "connections " : "requests ");
    if (m->hold_ms > 0)
        buf_printf(out, "wait up to %s, then ", format_duration_ms(m->hold_ms, time, sizeof time));
    if (tcp)
        buf_puts(out, "are reset");
    else
        buf_printf(out, "get %d", (int)m->status);
    if (json_array_size(allow) > 0)
        buf_puts(out, "; let through: ");
    say_callers(allow, "", "", ", ", out);
}

int maintenance_order(struct app *a, const json_t *arguments, const char *actor, char *text,
                      size_t size, struct error *err)
{
    bool on;
    struct maintenance m;
    bool was = a->maintenance != NULL;
    if (check_on(arguments, &on, err) < 0 || read_maintenance(arguments, &m, err) < 0 ||
        (only_tcp(a) && check_words(arguments, err) < 0))
        return -1;
    replace(&a->maintenance, on ? kept(arguments, actor) : NULL);
    cleanup_buf struct buf said = BUF_INIT;
    if (on)
        say_maintenance(a, &m, &said);
    snprintf(text, size, "maintenance %s%s",
             on    ? "is on: "
             : was ? "is off"
                   : "was not on",
             buf_str(&said));
    return 0;
}

/* ---- faults
 * ---------------------------------------------------------------------------------------------- */

struct fault {
    json_int_t delay_ms, abort, share_ppm, for_ms;
};

static int read_fault(const json_t *from, struct fault *f, struct error *err)
{
    return number(from, "delay_ms", 0, ORDER_MAX_DELAY_MS, 0, &f->delay_ms, err) < 0 ||
                   number(from, "abort", 400, 599, 0, &f->abort, err) < 0 ||
                   number(from, "share_ppm", 1, 1000000, 1000000, &f->share_ppm, err) < 0 ||
                   number(from, "for_ms", ORDER_MIN_FAULT_MS, ORDER_MAX_FAULT_MS, FAULT_MS,
                          &f->for_ms, err) < 0 ||
                   check_callers(from, "match", err) < 0
               ? -1
               : 0;
}

static void say_fault(struct app *a, const struct fault *f, struct buf *out)
{
    char text[32];
    bool tcp = only_tcp(a);
    buf_printf(out, "%s of the %s", format_percent_ppm((uint32_t)f->share_ppm, text, sizeof text),
               tcp ? "connections" : "requests");
    say_callers(json_object_get(a->fault, "match"), " from ", " with ", " or", out);
    buf_puts(out, " are ");
    if (f->delay_ms > 0)
        buf_printf(out, "delayed by %s", format_duration_ms(f->delay_ms, text, sizeof text));
    if (f->abort > 0)
        buf_puts(out, f->delay_ms > 0 ? " and " : "");
    if (f->abort > 0 && tcp)
        buf_puts(out, "reset");
    else if (f->abort > 0)
        buf_printf(out, "answered with %d", (int)f->abort);
    buf_printf(out, " for %s", format_duration_ms(f->for_ms, text, sizeof text));
}

int fault_order(struct app *a, const json_t *arguments, const char *actor, char *text, size_t size,
                struct error *err)
{
    bool on;
    struct fault f;
    if (check_on(arguments, &on, err) < 0 || read_fault(arguments, &f, err) < 0)
        return -1;
    if (!on) {
        snprintf(text, size,
                 a->fault != NULL ? "no fault is injected any more" : "no fault was injected");
        replace(&a->fault, NULL);
        return 0;
    }
    if (f.delay_ms == 0 && f.abort == 0)
        return error_set(err, ERROR_USAGE, "a fault needs `delay_ms`, `abort` or both");
    json_t *order = kept(arguments, actor);
    json_object_set_new(order, "until_boot_ms", json_integer(clock_boot_ms() + f.for_ms));
    json_object_set_new(order, "boot", json_string(a->control->boot_id));
    replace(&a->fault, order);
    cleanup_buf struct buf said = BUF_INIT;
    say_fault(a, &f, &said);
    snprintf(text, size, "%s", buf_str(&said));
    return 0;
}

static int64_t fault_left_ms(const struct app *a)
{
    return json_integer_value(json_object_get(a->fault, "until_boot_ms")) - clock_boot_ms();
}

void orders_tick(struct app *a)
{
    struct control *c = a->control;
    if (a->fault == NULL || fault_left_ms(a) > 0 || c->store == NULL)
        return;
    replace(&a->fault, NULL);
    struct store_batch *batch = store_batch_new(c->store);
    event_add(c, batch, a, "fault", NULL, 0, "the time of the injected fault is up", NULL);
    app_put_row(a, batch);
    app_write(a, batch, NULL, NULL);
    control_mark_routes(c);
}

/* ---- keeping
 * --------------------------------------------------------------------------------------------- */

void orders_save(const struct app *a, json_t *extras)
{
    if (a->maintenance != NULL)
        json_object_set(extras, "maintenance", a->maintenance);
    if (a->fault != NULL)
        json_object_set(extras, "fault", a->fault);
}

void orders_restore(struct app *a, const json_t *extras)
{
    struct error err = ERROR_INIT;
    struct maintenance m;
    struct fault f;
    json_t *maintenance = json_object_get(extras, "maintenance");
    json_t *fault = json_object_get(extras, "fault");
    const char *boot = json_string_value(json_object_get(fault, "boot"));
    if (json_is_object(maintenance) && read_maintenance(maintenance, &m, &err) == 0)
        replace(&a->maintenance, json_incref(maintenance));
    else if (maintenance != NULL)
        log_warn("app %s: its maintenance is dropped: %s", a->key, err.text);
    if (boot != NULL && strcmp(boot, a->control->boot_id) == 0 && read_fault(fault, &f, &err) == 0)
        replace(&a->fault, json_incref(fault));
}

void orders_release(struct app *a)
{
    replace(&a->maintenance, NULL);
    replace(&a->fault, NULL);
}

/* ---- telling
 * --------------------------------------------------------------------------------------------- */

static json_t *shown(const json_t *order)
{
    char at[WALL_TEXT_SIZE];
    json_t *out = json_copy((json_t *)(uintptr_t)order);
    json_object_set_new(
        out, "since",
        json_string(clock_format_wall(json_integer_value(json_object_get(out, "since_ms")), at)));
    json_object_del(out, "since_ms");
    json_object_del(out, "on");
    return out;
}

json_t *maintenance_json(struct app *a)
{
    struct maintenance m;
    if (a->maintenance == NULL || read_maintenance(a->maintenance, &m, NULL) < 0)
        return json_null();
    json_t *out = shown(a->maintenance);
    json_object_set_new(out, "page", json_boolean(m.page != NULL));
    json_object_set_new(out, "status", json_integer(m.status));
    json_object_set_new(out, "retry_after_ms", json_integer(m.retry_after_ms));
    json_object_set_new(out, "hold_ms", json_integer(m.hold_ms));
    cleanup_buf struct buf text = BUF_INIT;
    say_maintenance(a, &m, &text);
    json_object_set_new(out, "text", json_string(buf_str(&text)));
    return out;
}

json_t *fault_json(struct app *a)
{
    struct fault f;
    char at[WALL_TEXT_SIZE];
    cleanup_buf struct buf text = BUF_INIT;
    if (a->fault == NULL || read_fault(a->fault, &f, NULL) < 0)
        return json_null();
    json_t *out = shown(a->fault);
    json_object_del(out, "until_boot_ms");
    json_object_del(out, "boot");
    json_object_set_new(out, "share_ppm", json_integer(f.share_ppm));
    json_object_set_new(out, "until",
                        json_string(clock_format_wall(control_now() + fault_left_ms(a), at)));
    say_fault(a, &f, &text);
    json_object_set_new(out, "text", json_string(buf_str(&text)));
    return out;
}

/* ---- to the gateways
 * ------------------------------------------------------------------------------------- */

/* Room for n more items at the end of an array of the snapshot. Apps with orders are few. */
static void *grow(struct arena *memory, void *items, uint32_t len, uint32_t more, size_t size)
{
    char *grown = arena_alloc(memory, (len + more) * size);
    if (len > 0)
        memcpy(grown, items, len * size);
    return grown;
}
#define GROW(s, field, more) grow(memory, (s)->field, (s)->field##_len, more, sizeof *(s)->field)

static void route_callers(const json_t *list, struct snapshot *s, struct arena *memory,
                          uint32_t *first, uint32_t *len)
{
    *first = s->callers_len;
    *len = (uint32_t)json_array_size(list);
    s->callers = GROW(s, callers, *len);
    for (uint32_t i = 0; i < *len; i++) {
        const char *text = json_string_value(json_array_get(list, i));
        int made = caller_of(text, memory, &s->callers[s->callers_len++]);
        ASSERT(made == 0); /* it was checked when it came */
    }
}

void orders_route(const struct app *a, struct snapshot *s, struct snapshot_app *out,
                  struct arena *memory)
{
    struct maintenance m;
    struct fault f;
    if (a->maintenance != NULL && read_maintenance(a->maintenance, &m, NULL) == 0) {
        out->maintenance.status = (uint16_t)m.status;
        out->maintenance.retry_after_s = (uint32_t)(m.retry_after_ms + 999) / 1000;
        out->maintenance.hold_ms = (uint32_t)m.hold_ms;
        if (m.page != NULL) {
            size_t len = json_string_length(json_object_get(a->maintenance, "page"));
            struct snapshot_page page = {arena_strdup(memory, m.type),
                                         {arena_strdup(memory, m.page), (uint32_t)len}};
            out->maintenance.page = pages_add(s, &page, memory);
        }
        route_callers(json_object_get(a->maintenance, "allow"), s, memory,
                      &out->maintenance.first_caller, &out->maintenance.callers);
    }
    if (a->fault != NULL && read_fault(a->fault, &f, NULL) == 0) {
        out->fault.share_ppm = (uint32_t)f.share_ppm;
        out->fault.delay_ms = (uint32_t)f.delay_ms;
        out->fault.abort = (uint16_t)f.abort;
        out->fault.until_ms =
            (uint64_t)json_integer_value(json_object_get(a->fault, "until_boot_ms"));
        route_callers(json_object_get(a->fault, "match"), s, memory, &out->fault.first_caller,
                      &out->fault.callers);
    }
}

static void keep_callers(const struct snapshot *from, struct snapshot *s, struct arena *memory,
                         uint32_t *first, uint32_t len)
{
    s->callers = GROW(s, callers, len);
    for (uint32_t i = 0; i < len; i++)
        s->callers[s->callers_len + i] = from->callers[*first + i];
    *first = s->callers_len;
    s->callers_len += len;
}

void orders_keep(const struct snapshot *from, struct snapshot *s, struct snapshot_app *out,
                 struct arena *memory)
{
    if (out->maintenance.page > 0)
        out->maintenance.page = pages_add(s, &from->pages[out->maintenance.page - 1], memory);
    keep_callers(from, s, memory, &out->maintenance.first_caller, out->maintenance.callers);
    keep_callers(from, s, memory, &out->fault.first_caller, out->fault.callers);
}
