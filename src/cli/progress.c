#include "cli/progress.h"

#include "base/alloc.h"
#include "cli/format.h"
#include "cli/session.h"
#include "cli/view.h"

#include <string.h>

enum { STEPS_SHOWN = 9 };

void progress_init(struct progress *p, const char *word, json_t *accepted, int64_t now_ms)
{
    memset(p, 0, sizeof *p);
    p->word = word;
    p->accepted = json_incref(accepted);
    p->started_ms = now_ms;
}

void progress_release(struct progress *p)
{
    json_decref(p->accepted);
    json_decref(p->status);
    for (unsigned i = 0; i < p->notes_len; i++)
        free(p->notes[i]);
    memset(p, 0, sizeof *p);
}

void progress_event(struct progress *p, const json_t *event, const struct term *t)
{
    struct buf line = BUF_INIT;
    if (p->notes_len == PROGRESS_NOTES) {
        free(p->notes[0]);
        memmove(p->notes, p->notes + 1, (PROGRESS_NOTES - 1) * sizeof p->notes[0]);
        p->notes_len--;
    }
    view_progress_line(event, t, &line);
    p->notes[p->notes_len++] = buf_detach(&line);
}

void progress_status(struct progress *p, json_t *status)
{
    if (status == NULL)
        return;
    json_decref(p->status);
    p->status = status;
}

static const json_t *rollout_of(const struct progress *p)
{
    const json_t *rollout = json_object_get(p->status, "rollout");
    return json_is_object(rollout) ? rollout : NULL;
}

static void put_title(const struct progress *p, const struct term *t, int64_t now_ms,
                      struct buf *out)
{
    char text[FORMAT_SIZE];
    const json_t *rollout = rollout_of(p);
    const char *environment = json_text(p->accepted, "environment");
    const char *version = json_text(p->accepted, "version"); /* may not be known yet */
    cleanup_buf struct buf name = BUF_INIT;
    put_clean(&name, json_text(p->accepted, "app"));
    if (*version != '\0')
        buf_putc(&name, ' ');
    put_clean(&name, version);
    put_styled(out, t, STYLE_BOLD, buf_str(&name));
    buf_printf(out, "  %s of release %lld", p->word, (long long)json_whole(p->accepted, "release"));
    if (*environment != '\0') {
        buf_puts(out, " to ");
        put_clean(out, environment);
    }
    if (rollout != NULL) {
        buf_puts(out, ", ");
        put_clean(out, json_text(rollout, "strategy"));
    }
    buf_printf(out, ", %s\n", format_elapsed(now_ms - p->started_ms, text));
}

static void put_step(const struct term *t, const char *text, int64_t i, int64_t present, bool back,
                     struct buf *out)
{
    const char *done = t->unicode ? "\xe2\x9c\x93" : "x", *now = t->unicode ? "\xe2\x96\xb6" : ">";
    const char *ahead = t->unicode ? "\xc2\xb7" : ".";
    cleanup_buf struct buf line = BUF_INIT;
    buf_puts(out, "  ");
    put_clean(&line, text);
    if (i < present) {
        put_styled(out, t, STYLE_GREEN, done);
        buf_printf(out, " %s\n", buf_str(&line));
    } else if (i == present) {
        put_styled(out, t, back ? STYLE_RED : STYLE_CYAN, now);
        buf_putc(out, ' ');
        put_styled(out, t, STYLE_BOLD, buf_str(&line));
        buf_putc(out, '\n');
    } else {
        put_styled(out, t, STYLE_DIM, ahead);
        buf_putc(out, ' ');
        put_styled(out, t, STYLE_DIM, buf_str(&line));
        buf_putc(out, '\n');
    }
}

/* A window of the steps around the present one. */
static void put_steps(const json_t *rollout, const struct term *t, struct buf *out)
{
    const json_t *texts = json_object_get(rollout, "steps_text");
    int64_t count = (int64_t)json_array_size(texts), present = json_whole(rollout, "step") - 1;
    bool back = strcmp(json_text(rollout, "phase"), "back") == 0;
    int64_t first = present - STEPS_SHOWN / 2;
    if (first + STEPS_SHOWN > count)
        first = count - STEPS_SHOWN;
    if (first < 0)
        first = 0;
    int64_t last = first + STEPS_SHOWN < count ? first + STEPS_SHOWN : count;
    if (first > 0)
        buf_printf(out, "  (%lld done)\n", (long long)first);
    for (int64_t i = first; i < last; i++) {
        const char *text = json_string_value(json_array_get(texts, (size_t)i));
        put_step(t, text != NULL ? text : "", i, present, back, out);
    }
    if (last < count)
        buf_printf(out, "  (%lld more)\n", (long long)(count - last));
}

static void put_traffic(const struct progress *p, const struct term *t, struct buf *out)
{
    const json_t *candidate = json_object_get(p->status, "candidate");
    const json_t *rollout = rollout_of(p);
    if (json_is_object(json_object_get(p->status, "stable")) || json_is_object(candidate)) {
        unsigned columns = t->columns > 60 ? 50 : t->columns > 30 ? t->columns - 12 : 16;
        buf_puts(out, "\n  ");
        view_split(p->status, t, columns, out);
        buf_putc(out, '\n');
        view_sides(p->status, t, "  ", out);
    }
    view_mirror(json_object_get(rollout, "mirror"), t, "  ", 0, out);
    const char *verdict = json_text(rollout, "verdict");
    const char *reason = json_text(json_object_get(rollout, "reason"), "text");
    if (*verdict != '\0' || *reason != '\0') {
        buf_puts(out, "  ");
        put_styled(out, t, STYLE_DIM, *reason != '\0' ? "reason   " : "verdict  ");
        put_clean(out, *reason != '\0' ? reason : verdict);
        buf_putc(out, '\n');
    }
}

void progress_draw(const struct progress *p, const struct term *t, int64_t now_ms, struct buf *out)
{
    const json_t *rollout = rollout_of(p);
    put_title(p, t, now_ms, out);
    if (rollout != NULL) {
        put_steps(rollout, t, out);
        put_traffic(p, t, out);
    }
    if (p->notes_len > 0)
        buf_putc(out, '\n');
    for (unsigned i = 0; i < p->notes_len; i++)
        buf_printf(out, "  %s", p->notes[i]);
    if (p->away_since_ms != 0) {
        char text[FORMAT_SIZE];
        cleanup_buf struct buf line = BUF_INIT;
        buf_printf(&line, "the controller has not answered for %s; trying again",
                   format_elapsed(now_ms - p->away_since_ms, text));
        buf_puts(out, "  ");
        put_styled(out, t, STYLE_YELLOW, buf_str(&line));
        buf_putc(out, '\n');
    }
}
