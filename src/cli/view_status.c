/* status: all apps in a table; one app with its releases, rollout and instances. */
#include "cli/view.h"

#include "base/alloc.h"
#include "cli/format.h"
#include "cli/session.h"
#include "cli/table.h"

#include <string.h>

enum style style_of_state(const char *state)
{
    static const struct {
        const char *state;
        enum style style;
    } styles[] = {
        {"steady", STYLE_GREEN},      {"ready", STYLE_GREEN},     {"promoted", STYLE_GREEN},
        {"rolling-out", STYLE_CYAN},  {"starting", STYLE_CYAN},   {"running", STYLE_CYAN},
        {"paused", STYLE_YELLOW},     {"draining", STYLE_YELLOW}, {"stopping", STYLE_YELLOW},
        {"superseded", STYLE_YELLOW}, {"aborted", STYLE_YELLOW},  {"degraded", STYLE_RED},
        {"unready", STYLE_RED},       {"backing-off", STYLE_RED}, {"exited", STYLE_RED},
        {"rolled-back", STYLE_RED},   {"failed", STYLE_RED},      {"rejected", STYLE_RED},
        {"stopped", STYLE_DIM},
    };
    for (size_t i = 0; i < sizeof styles / sizeof styles[0]; i++) {
        if (strcmp(styles[i].state, state) == 0)
            return styles[i].style;
    }
    return STYLE_NONE;
}

/* The present step in words; the machine word of its kind where there are none. */
static const char *step_text(const json_t *rollout)
{
    int64_t step = json_whole(rollout, "step");
    const char *text = json_string_value(
        json_array_get(json_object_get(rollout, "steps_text"), step > 0 ? (size_t)step - 1 : 0));
    return text != NULL ? text : json_text(rollout, "name");
}

static void ready_cell(struct table *t, const json_t *side)
{
    if (!json_is_object(side)) {
        table_cell(t, STYLE_NONE, NULL);
        return;
    }
    int64_t ready = json_whole(side, "ready"), wanted = json_whole(side, "wanted");
    table_cellf(t, ready < wanted ? STYLE_YELLOW : STYLE_NONE, "%lld/%lld", (long long)ready,
                (long long)wanted);
}

static void number_cells(struct table *t, const json_t *side)
{
    char text[FORMAT_SIZE];
    double errors = json_real_or(side, "error_rate", -1);
    table_cell(t, STYLE_NONE, format_rate(json_real_or(side, "requests_per_s", -1), text));
    table_cell(t, errors >= 0.01 ? STYLE_RED : STYLE_NONE, format_share(errors, text));
    table_cell(t, STYLE_NONE, format_latency(json_real_or(side, "p95_ms", -1), text));
}

void view_apps(const json_t *apps, const struct term *term, struct buf *out)
{
    size_t i;
    json_t *app;
    if (json_array_size(apps) == 0) {
        buf_puts(out,
                 "no apps yet: `sluice init` writes a sluice.yaml, `sluice deploy` deploys it\n");
        return;
    }
    struct table t;
    table_init(&t, term, "APP|ENVIRONMENT|STATE|VERSION|READY|>REQ/S|>ERRORS|>P95|ROLLOUT");
    json_array_foreach((json_t *)apps, i, app)
    {
        const json_t *stable = json_object_get(app, "stable");
        const json_t *candidate = json_object_get(app, "candidate");
        const json_t *rollout = json_object_get(app, "rollout");
        const char *state = json_text(app, "state");
        table_cell(&t, STYLE_BOLD, json_text(app, "app"));
        table_cell(&t, STYLE_NONE, json_text(app, "environment"));
        table_cell(&t, style_of_state(state), state);
        table_cell(&t, STYLE_NONE, json_is_object(stable) ? json_text(stable, "version") : NULL);
        ready_cell(&t, stable);
        number_cells(&t, stable);
        if (*json_text(app, "degraded") != '\0')
            table_cell(&t, STYLE_RED, json_text(app, "degraded"));
        else if (json_is_object(json_object_get(app, "fault")))
            table_cell(&t, STYLE_RED, "FAULT INJECTED");
        else if (json_is_object(json_object_get(app, "maintenance")))
            table_cell(&t, STYLE_YELLOW, "MAINTENANCE");
        else if (json_is_object(rollout))
            table_cellf(&t, STYLE_NONE, "%s: %s, step %lld of %lld: %s",
                        json_is_object(candidate) ? json_text(candidate, "version") : "?",
                        json_text(rollout, "strategy"), (long long)json_whole(rollout, "step"),
                        (long long)json_whole(rollout, "steps"), step_text(rollout));
        else if (json_is_true(json_object_get(app, "building")))
            table_cell(&t, STYLE_NONE, "packing and building");
        else
            table_cell(&t, STYLE_NONE, "");
    }
    table_finish(&t, "", out);
}

static void side_row(struct table *t, const char *name, const json_t *side)
{
    char text[FORMAT_SIZE];
    if (!json_is_object(side))
        return;
    table_cell(t, STYLE_BOLD, name);
    table_cellf(t, STYLE_NONE, "%lld", (long long)json_whole(side, "release"));
    table_cell(t, STYLE_NONE, json_text(side, "version"));
    table_cell(t, STYLE_NONE, format_share(json_real_or(side, "weight", -100) / 100, text));
    ready_cell(t, side);
    number_cells(t, side);
}

void view_sides(const json_t *status, const struct term *term, const char *indent, struct buf *out)
{
    struct table t;
    table_init(&t, term, "|>RELEASE|VERSION|>TRAFFIC|>READY|>REQ/S|>ERRORS|>P95");
    side_row(&t, "stable", json_object_get(status, "stable"));
    side_row(&t, "candidate", json_object_get(status, "candidate"));
    table_finish(&t, indent, out);
}

void view_split(const json_t *status, const struct term *t, unsigned columns, struct buf *out)
{
    const json_t *candidate = json_object_get(status, "candidate");
    double weight = json_is_object(candidate) ? json_real_or(candidate, "weight", 0) : 0;
    unsigned right = (unsigned)(weight / 100 * columns + 0.5);
    if (right > columns)
        right = columns;
    if (right == 0 && weight > 0) /* a little is not nothing */
        right = 1;
    struct buf bar = BUF_INIT;
    for (unsigned i = 0; i < columns - right; i++)
        buf_puts(&bar, t->unicode ? "\xe2\x96\x88" : "=");
    if (bar.len > 0)
        put_styled(out, t, STYLE_BLUE, buf_str(&bar));
    buf_clear(&bar);
    for (unsigned i = 0; i < right; i++)
        buf_puts(&bar, t->unicode ? "\xe2\x96\x92" : "#");
    if (right > 0)
        put_styled(out, t, STYLE_MAGENTA, buf_str(&bar));
    buf_release(&bar);
}

/* The process of an instance is said where a release has others than `web`. */
static bool several_processes(const json_t *instances)
{
    size_t i;
    json_t *instance;
    json_array_foreach((json_t *)instances, i, instance)
    {
        const char *process = json_text(instance, "process");
        if (*process != '\0' && strcmp(process, "web") != 0)
            return true;
    }
    return false;
}

static void put_instances(const json_t *instances, const struct term *term, struct buf *out)
{
    size_t i;
    json_t *instance;
    struct table t;
    if (json_array_size(instances) == 0)
        return;
    bool several = several_processes(instances);
    table_init(&t, term,
               several ? "INSTANCE|PROCESS|VERSION|STATE|>PID|>PORT|>RESTARTS|>IN FLIGHT|DETAIL"
                       : "INSTANCE|VERSION|STATE|>PID|>PORT|>RESTARTS|>IN FLIGHT|DETAIL");
    json_array_foreach((json_t *)instances, i, instance)
    {
        const char *state = json_text(instance, "state");
        int64_t pid = json_whole(instance, "pid"), port = json_whole(instance, "port");
        int64_t restarts = json_whole(instance, "restarts");
        table_cell(&t, STYLE_NONE, json_text(instance, "id"));
        if (several)
            table_cell(&t, STYLE_NONE, json_text(instance, "process"));
        table_cell(&t, STYLE_NONE, json_text(instance, "version"));
        table_cell(&t, style_of_state(state), state);
        if (pid > 0)
            table_cellf(&t, STYLE_NONE, "%lld", (long long)pid);
        else
            table_cell(&t, STYLE_NONE, NULL);
        if (port > 0)
            table_cellf(&t, STYLE_NONE, "%lld", (long long)port);
        else
            table_cell(&t, STYLE_NONE, json_object_get(instance, "socket") != NULL ? "unix" : NULL);
        table_cellf(&t, restarts > 0 ? STYLE_YELLOW : STYLE_NONE, "%lld", (long long)restarts);
        table_cellf(&t, STYLE_NONE, "%lld", (long long)json_whole(instance, "in_flight"));
        table_cell(&t, STYLE_DIM, json_text(instance, "detail"));
    }
    buf_putc(out, '\n');
    table_finish(&t, "", out);
}

static void put_disk(const json_t *disk, struct buf *out)
{
    static const char *const parts[] = {"releases", "logs", "state"};
    const char *between = "\ndisk  ";
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        char text[FORMAT_SIZE];
        int64_t bytes = json_bytes(disk, parts[i]);
        if (bytes < 0)
            continue;
        buf_printf(out, "%s%s %s", between, parts[i], format_bytes(bytes, text));
        between = ", ";
    }
    if (between[0] == ',')
        buf_putc(out, '\n');
}

/* "baking   until 10:14:07, 1200 requests, 3 failed (0.25%); if it turns out worse: back to 4" */
static void put_bake(const json_t *bake, struct buf *out)
{
    char until[FORMAT_SIZE], share[FORMAT_SIZE];
    if (!json_is_object(bake))
        return;
    int64_t requests = json_whole(bake, "requests"), failed = json_whole(bake, "failed");
    buf_printf(out, "baking   until %s: ", format_clock(json_text(bake, "until"), until));
    if (requests > 0)
        buf_printf(out, "%lld requests, %lld failed (%s)", (long long)requests, (long long)failed,
                   format_share((double)failed / (double)requests, share));
    else
        buf_puts(out, "no request so far");
    const json_t *day = json_object_get(bake, "day_before");
    int64_t before = json_whole(day, "requests");
    if (before > 0)
        buf_printf(out, ", %s in the day before",
                   format_share((double)json_whole(day, "failed") / (double)before, share));
    buf_printf(out, "; if it turns out worse: back to release %lld\n",
               (long long)json_whole(bake, "previous"));
}

/* RFC 6125: a `*.` stands for one label. */
static bool covers(const char *certificate, const char *host)
{
    const char *below = strchr(host, '.');
    return strcmp(certificate, host) == 0 ||
           (certificate[0] == '*' && below != NULL && strcmp(certificate + 1, below) == 0);
}

/* Is it for a host of the app's routes? app NULL: of all. */
static bool concerns(const json_t *certificate, const json_t *app)
{
    size_t i, k;
    json_t *host, *name;
    json_array_foreach(json_object_get(app, "hosts"), i, host)
    {
        if (strcmp(json_string_value(host), "*") == 0 ||
            covers(json_text(certificate, "name"), json_string_value(host)))
            return true;
        json_array_foreach(json_object_get(certificate, "hosts"), k, name)
        {
            if (covers(json_string_value(name), json_string_value(host)))
                return true;
        }
    }
    return app == NULL;
}

static void put_certificates(const char *what, const json_t *list, const json_t *app,
                             const struct term *t, struct buf *out)
{
    size_t i;
    json_t *certificate;
    json_array_foreach((json_t *)list, i, certificate)
    {
        const char *trouble = json_text(certificate, "trouble");
        const char *name = json_text(certificate, "name");
        if (*trouble == '\0' || !concerns(certificate, app))
            continue;
        buf_printf(out, "\nthe %s ", what);
        put_clean_in(out, t, STYLE_YELLOW, name);
        buf_putc(out, ' ');
        put_wrapped(out, t, strlen("the  ") + strlen(what) + text_columns(name, strlen(name)), "  ",
                    trouble);
    }
}

/* What people did to the traffic, where nobody can miss it. */
static void put_orders(const json_t *status, const struct term *t, struct buf *out)
{
    char clock[FORMAT_SIZE];
    const json_t *maintenance = json_object_get(status, "maintenance");
    const json_t *fault = json_object_get(status, "fault");
    if (json_is_object(maintenance)) {
        put_styled(out, t, STYLE_YELLOW, "MAINTENANCE");
        buf_printf(out, "  since %s, by ", format_clock(json_text(maintenance, "since"), clock));
        put_clean(out, json_text(maintenance, "by"));
        buf_puts(out, ": ");
        put_clean(out, json_text(maintenance, "text"));
        buf_puts(out, "\n\n");
    }
    if (json_is_object(fault)) {
        put_styled(out, t, STYLE_RED, "FAULT INJECTED");
        buf_printf(out, "  until %s, by ", format_clock(json_text(fault, "until"), clock));
        put_clean(out, json_text(fault, "by"));
        buf_puts(out, ": ");
        put_clean(out, json_text(fault, "text"));
        buf_puts(out, "\n\n");
    }
}

void view_server_troubles(const json_t *server, const json_t *app, const struct term *t,
                          struct buf *out)
{
    const json_t *disk = json_object_get(server, "disk");
    const char *degraded = json_text(server, "degraded");
    if (*degraded != '\0') {
        buf_puts(out, "\nthe server is ");
        put_styled(out, t, STYLE_RED, "degraded");
        buf_puts(out, ": ");
        put_clean(out, degraded);
        buf_putc(out, '\n');
    }
    if (json_is_true(json_object_get(disk, "low"))) {
        char free_text[FORMAT_SIZE], total_text[FORMAT_SIZE];
        buf_puts(out, "\nthe disk is ");
        put_styled(out, t, STYLE_YELLOW, "nearly full");
        buf_printf(out, ": %s of %s are free for ",
                   format_bytes(json_bytes(disk, "free_bytes"), free_text),
                   format_bytes(json_bytes(disk, "total_bytes"), total_text));
        put_clean(out, json_text(server, "data"));
        buf_putc(out, '\n');
    }
    put_certificates("certificate", json_object_get(server, "certificates"), app, t, out);
    put_certificates("CA", json_object_get(server, "authorities"), app, t, out);
}

void view_status(const json_t *status, const struct term *t, struct buf *out)
{
    const json_t *rollout = json_object_get(status, "rollout");
    const char *state = json_text(status, "state");
    put_clean_in(out, t, STYLE_BOLD, json_text(status, "app"));
    buf_puts(out, " (");
    put_clean(out, json_text(status, "environment"));
    buf_puts(out, "): ");
    put_clean_in(out, t, style_of_state(state), state);
    if (json_is_object(rollout)) {
        buf_puts(out, ", ");
        put_clean(out, json_text(rollout, "strategy"));
        buf_printf(out, ", step %lld of %lld: ", (long long)json_whole(rollout, "step"),
                   (long long)json_whole(rollout, "steps"));
        put_clean(out, step_text(rollout));
    } else if (json_is_true(json_object_get(status, "building"))) {
        buf_puts(out, ", a new release is being packed and built");
    }
    buf_puts(out, "\n\n");
    put_orders(status, t, out);
    if (*json_text(status, "degraded") != '\0') {
        put_clean_in(out, t, STYLE_RED, json_text(status, "degraded"));
        buf_putc(out, '\n');
    }
    if (json_is_object(json_object_get(status, "stable")) ||
        json_is_object(json_object_get(status, "candidate")))
        view_sides(status, t, "", out);
    if (json_is_object(json_object_get(status, "candidate"))) {
        buf_puts(out, "\ntraffic  ");
        view_split(status, t, 40, out);
        buf_putc(out, '\n');
    }
    put_bake(json_object_get(status, "bake"), out);
    view_mirror(json_object_get(rollout, "mirror"), t, "", MIRROR_SAMPLES, out);
    if (json_is_object(rollout) && *json_text(rollout, "verdict") != '\0') {
        buf_puts(out, "verdict  ");
        put_clean(out, json_text(rollout, "verdict"));
        buf_putc(out, '\n');
    }
    const json_t *measured = json_object_get(rollout, "metrics");
    if (json_array_size(measured) > 0)
        buf_putc(out, '\n');
    view_measured(measured, t, "", out);
    put_instances(json_object_get(status, "instances"), t, out);
    put_disk(json_object_get(status, "disk"), out);
}
