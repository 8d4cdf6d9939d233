/* What people have ordered for an app's traffic: maintenance and faults (orders.c). */
#ifndef SLUICE_GATEWAY_ORDERS_H
#define SLUICE_GATEWAY_ORDERS_H

#include "gateway/conn.h"

/* Nearly no app has any. */
static inline bool orders_any(const struct snapshot_app *app)
{
    return (app->maintenance.status | app->fault.share_ppm) != 0;
}

enum orders_step {
    ORDERS_PASS,     /* to an instance, as ever */
    ORDERS_WAIT,     /* held, or delayed: its timer goes on with it */
    ORDERS_ANSWERED, /* x is gone */
};
/* Also for one that is in the hold. A fault strikes in the first attempt or never. */
enum orders_step orders_take(struct exchange *x, const struct snapshot_app *app,
                             const struct http1_head *h, const char *p);

/* Maintenance is not for x to pass; then orders_take() answers it, or has it wait. */
bool orders_bar(const struct exchange *x, const struct snapshot_app *app,
                const struct http1_head *h, const char *p);

/* The time of one in the hold is up. true: it was maintenance that held it, and x is gone. */
bool orders_hold_ended(struct exchange *x);
void orders_delay_ended(struct exchange *x); /* EXCHANGE_DELAYED: its time is up */

#endif
