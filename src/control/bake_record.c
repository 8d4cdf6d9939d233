/* A watch as the store keeps it, and as people see it. */
#include "control/bake.h"
#include "os/clock.h"

static json_t *baseline_json(const struct baseline *b)
{
    return json_pack("{s:f,s:I,s:I}", "p_max", b->ceiling.p_max, "events", (json_int_t)b->events,
                     "requests", (json_int_t)b->requests);
}

static json_t *burn_json(const struct burn *burn)
{
    cleanup_buf struct buf text = BUF_INIT;
    burn_to_json(burn, &text);
    return json_string(buf_str(&text));
}

json_t *bake_record(const struct app *a)
{
    const struct bake *b = a->bake;
    if (b == NULL)
        return NULL;
    json_t *marks = json_array();
    for (size_t i = 0; i < b->marks_len; i++) {
        json_t *mark = baseline_json(&b->marks[i].slow);
        json_object_set_new(mark, "bucket", json_integer(b->marks[i].bucket));
        json_array_append_new(marks, mark);
    }
    json_t *out = json_pack(
        "{s:i,s:i,s:I,s:I,s:f,s:I,s:I,s:I,s:I,s:b,s:o}", "release", (int)b->release, "previous",
        (int)b->previous, "began", (json_int_t)b->began_ms, "until", (json_int_t)b->until_ms,
        "alpha", b->alpha, "day_requests", (json_int_t)b->history_requests, "day_errors",
        (json_int_t)b->history_errors, "requests", (json_int_t)b->requests, "failed",
        (json_int_t)b->failed, "given_up", (int)b->given_up, "marks", marks);
    if (b->has_errors)
        json_object_set_new(out, "errors", baseline_json(&b->errors));
    if (b->has_burn_errors)
        json_object_set_new(out, "burn_errors", burn_json(&b->burn_errors));
    if (b->has_burn_slow)
        json_object_set_new(out, "burn_slow", burn_json(&b->burn_slow));
    return out;
}

static uint64_t number(const json_t *o, const char *name)
{
    json_int_t n = json_integer_value(json_object_get(o, name));
    return n > 0 ? (uint64_t)n : 0;
}

static bool read_baseline(const json_t *o, struct baseline *out)
{
    double p_max = json_number_value(json_object_get(o, "p_max"));
    if (!(p_max > 0) || p_max >= 1 || number(o, "events") > number(o, "requests"))
        return false;
    ceiling_init(&out->ceiling, p_max);
    out->events = number(o, "events");
    out->requests = number(o, "requests");
    return true;
}

static bool read_burn(const json_t *o, const char *name, struct burn *out)
{
    const char *text = json_string_value(json_object_get(o, name));
    return text != NULL && burn_from_json(out, text, NULL) == 0;
}

void bake_restore(struct app *a, const json_t *o)
{
    if (!json_is_object(o))
        return;
    struct bake *b = xcalloc(1, sizeof *b);
    b->release = (uint32_t)number(o, "release");
    b->previous = (uint32_t)number(o, "previous");
    b->began_ms = (int64_t)number(o, "began");
    b->until_ms = (int64_t)number(o, "until");
    b->alpha = json_number_value(json_object_get(o, "alpha"));
    b->history_requests = number(o, "day_requests");
    b->history_errors = number(o, "day_errors");
    b->requests = number(o, "requests");
    b->failed = number(o, "failed");
    b->given_up = json_is_true(json_object_get(o, "given_up"));
    b->has_errors = read_baseline(json_object_get(o, "errors"), &b->errors);
    b->has_burn_errors = read_burn(o, "burn_errors", &b->burn_errors);
    b->has_burn_slow = read_burn(o, "burn_slow", &b->burn_slow);
    size_t i;
    const json_t *mark;
    json_array_foreach(json_object_get(o, "marks"), i,
                       mark) if (b->marks_len < BAKE_MARKS &&
                                 number(mark, "bucket") < METRICS_BUCKETS &&
                                 read_baseline(mark, &b->marks[b->marks_len].slow))
        b->marks[b->marks_len++]
            .bucket = (uint32_t)number(mark, "bucket");
    if (b->release == 0 || b->previous == 0 || !(b->alpha > 0) || b->alpha >= 1) {
        log_warn("app %s: the watch after its promotion cannot be read: it is over", a->key);
        free(b);
        return;
    }
    b->adopted = true;
    a->bake = b;
}

json_t *bake_json(const struct app *a)
{
    const struct bake *b = a->bake;
    if (b == NULL)
        return json_null();
    char since[WALL_TEXT_SIZE], until[WALL_TEXT_SIZE];
    clock_format_wall(b->began_ms, since);
    clock_format_wall(b->until_ms, until);
    return json_pack("{s:i,s:i,s:s,s:s,s:I,s:I,s:{s:I,s:I}}", "release", (int)b->release,
                     "previous", (int)b->previous, "since", since, "until", until, "requests",
                     (json_int_t)b->requests, "failed", (json_int_t)b->failed, "day_before",
                     "requests", (json_int_t)b->history_requests, "failed",
                     (json_int_t)b->history_errors);
}
