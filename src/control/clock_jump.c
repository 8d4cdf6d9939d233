/* The wall clock may be set, either way, by any amount. What is decided by time (holds, deadlines,
 * drains, back-offs, the watch after a promotion) goes on as if nothing had happened: the moments
 * that were noted move along with the clock. Between controllers of one boot the apps' rows tell.
 */
#include "control/control_internal.h"

#include "os/clock.h"

#include <stdlib.h>
#include <string.h>

enum { JUMP_MS = 500 }; /* an NTP daemon that slews stays far below it between two looks */

static int64_t offset_now(void)
{
    return clock_wall_ms() - clock_boot_ms();
}

static void move(int64_t *moment, int64_t by_ms)
{
    if (*moment != 0) /* 0: none */
        *moment += by_ms;
}

static void move_instance(struct instance *in, int64_t by_ms)
{
    move(&in->drain_deadline_ms, by_ms);
    move(&in->since_ms, by_ms);
    move(&in->exited_ms, by_ms);
    move(&in->started_ms, by_ms); /* how long it has been up */
}

/* What is only shown stays: it was right when it happened. */
static void move_stored(struct app *a, int64_t by_ms)
{
    core_clock_moved(&a->state, by_ms);
    bake_clock_moved(a, by_ms);
    metrics_clock_moved(a, by_ms);
    move(&a->start.at_ms, by_ms);
    a->unstored = true; /* its row has moments of the clock before */
    control_mark(a);
}

static void move_app(struct app *a, int64_t by_ms)
{
    move_stored(a, by_ms);
    usage_clock_moved(a, by_ms);
    move(&a->judged_ms, by_ms);
    move(&a->judge_saved_ms, by_ms);
    move(&a->retry_ms, by_ms);
    move(&a->disk.measured_ms, by_ms);
    for (size_t i = 0; i < a->rates.len; i++) {
        move(&a->rates.items[i].old.at_ms, by_ms);
        move(&a->rates.items[i].young.at_ms, by_ms);
    }
    for (size_t i = 0; i < a->instances.len; i++)
        move_instance(a->instances.items[i], by_ms);
}

void clock_jump_watch(struct control *c)
{
    int64_t offset = offset_now(), by_ms = offset - c->clock_offset_ms;
    bool known = c->clock_known;
    c->clock_offset_ms = offset;
    c->clock_known = true;
    if (!known || llabs(by_ms) < JUMP_MS)
        return;
    log_warn("the clock was set %lld ms %s", llabs(by_ms), by_ms > 0 ? "ahead" : "back");
    move(&c->last_maintain_ms, by_ms);
    move(&c->store_tried_ms, by_ms);
    move(&c->disk_looked_ms, by_ms);
    for (size_t i = 0; i < c->apps.len; i++)
        move_app(c->apps.items[i], by_ms);
    acme_clock_moved(c, by_ms);
    certificates_reorder(c); /* others have expired by now */
}

json_t *clock_jump_record(const struct control *c)
{
    return json_pack("{s:s,s:I}", "boot", c->boot_id, "offset", (json_int_t)offset_now());
}

void clock_jump_restore(struct app *a, const json_t *record)
{
    const char *boot = json_string_value(json_object_get(record, "boot"));
    if (boot == NULL || strcmp(boot, a->control->boot_id) != 0)
        return; /* of a boot before: nobody knows */
    int64_t by_ms = offset_now() - json_integer_value(json_object_get(record, "offset"));
    if (llabs(by_ms) >= JUMP_MS)
        move_stored(a, by_ms);
}
