/* What people order for an app's traffic, outside of any release: maintenance, until somebody ends
 * it; faults for a game day, which end by themselves. Kept with the app's row as what was asked
 * for, carried out by the gateways. */
#ifndef SLUICE_CONTROL_ORDERS_H
#define SLUICE_CONTROL_ORDERS_H

#include "control/control_internal.h"

/* Commands: 0, with what is said about it in text; or -1 with *err, and nothing has changed. Their
 * arguments are those of the API (docs/api.md). */
int maintenance_order(struct app *a, const json_t *arguments, const char *actor, char *text,
                      size_t size, struct error *err);
int fault_order(struct app *a, const json_t *arguments, const char *actor, char *text, size_t size,
                struct error *err);

/* A fault whose time is up is over: told, stored. */
void orders_tick(struct app *a);

void orders_save(const struct app *a, json_t *extras);
/* What does not make sense, and a fault of before a reboot, is dropped. */
void orders_restore(struct app *a, const json_t *extras);
void orders_release(struct app *a);

/* For people: null, or what holds. The page itself is left out. */
json_t *maintenance_json(struct app *a);
json_t *fault_json(struct app *a);

/* Into the app's place in the snapshot; what it points to is in the arena. */
void orders_route(const struct app *a, struct snapshot *s, struct snapshot_app *out,
                  struct arena *memory);
/* out is a copy of one in `from`: what it refers to there comes along. */
void orders_keep(const struct snapshot *from, struct snapshot *s, struct snapshot_app *out,
                 struct arena *memory);

#endif
