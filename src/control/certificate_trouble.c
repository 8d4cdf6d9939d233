/* What people should know about a certificate before their users do. Pure. */
#include "control/control_internal.h"

#include "base/units.h"
#include "os/clock.h"

#define DAY_MS INT64_C(86400000)

/* Two weeks; of one that lives for less than two months a tenth of its life. */
static bool expires_soon(const struct certificate_state *s, int64_t now_ms)
{
    int64_t life = s->not_after_ms - s->not_before_ms;
    int64_t early = life < 60 * DAY_MS ? life / 10 : 14 * DAY_MS;
    return now_ms >= s->not_after_ms - early;
}

static void put_expiry(const struct certificate_state *s, int64_t now_ms, struct buf *out)
{
    char text[32], at[WALL_TEXT_SIZE];
    int64_t left = s->not_after_ms - now_ms;
    if (left <= 0)
        buf_printf(out, "has expired (%s)", clock_format_wall(s->not_after_ms, at));
    else
        buf_printf(out, "expires in %s",
                   format_duration_ms(left >= DAY_MS    ? left / DAY_MS * DAY_MS
                                      : left >= 3600000 ? left / 3600000 * 3600000
                                                        : left / 1000 * 1000,
                                      text, sizeof text));
}

static void put_failure(const struct certificate_state *s, struct buf *out)
{
    char at[WALL_TEXT_SIZE];
    buf_puts(out, s->failure);
    if (s->advice[0] != '\0')
        buf_printf(out, "; %s", s->advice);
    if (s->retry_ms != 0)
        buf_printf(out, "; next try at %s", clock_format_wall(s->retry_ms, at));
    else
        buf_printf(out, "; now it %s", s->doing);
}

void certificate_trouble(const struct certificate_state *s, int64_t now_ms, struct buf *out)
{
    bool soon = s->there && expires_soon(s, now_ms);
    if (s->automatic && !s->wanted) {
        if (s->needed && soon) {
            put_expiry(s, now_ms, out);
            buf_puts(out, " and is not renewed, no route of its host has `tls: auto`: put another "
                          "one into DATA/certs, or write it");
        }
        return;
    }
    if (s->automatic && s->failure[0] != '\0') {
        buf_puts(out, s->there ? "cannot be renewed" : "cannot be obtained");
        if (s->there) {
            buf_puts(out, ", ");
            put_expiry(s, now_ms, out);
        }
        buf_puts(out, ": ");
        put_failure(s, out);
    } else if (s->automatic && !s->there) {
        buf_printf(out, "is being obtained: it %s", s->doing);
    } else if (s->error[0] != '\0') {
        buf_printf(out,
                   s->there ? "stays as it was, its new files cannot be used: %s"
                            : "cannot be used: %s",
                   s->error);
        if (soon) {
            buf_puts(out, "; it ");
            put_expiry(s, now_ms, out);
        }
    } else if (soon) {
        put_expiry(s, now_ms, out);
        buf_puts(out, s->automatic ? ": its renewal is under way"
                                   : ": put a new one into DATA/certs, or write `tls: auto`");
    }
}
