/* Pages that gateways answer with: those of a release (its `errors`), and of people's orders. */
#ifndef SLUICE_CONTROL_PAGES_H
#define SLUICE_CONTROL_PAGES_H

#include "control/control_internal.h"

/* Reads the pages of a release out of its folder, once. -1: one is not there, no plain file, behind
 * a symbolic link, or too long. Blocks: small files, on the local disk. */
int pages_read(struct app *a, struct release *r, struct error *err);
void pages_release(struct release *r);

/* Puts one into the snapshot, where there is none like it yet: index + 1, or 0: there is no room.
 * The page's own texts must live as long as the snapshot. */
uint32_t pages_add(struct snapshot *s, const struct snapshot_page *page, struct arena *memory);
/* The release's pages into the app's place in the snapshot. */
void pages_route(struct app *a, struct release *r, struct snapshot *s, struct snapshot_app *out,
                 struct arena *memory);
/* out is a copy of one in `from`: what it refers to there comes along. */
void pages_keep(const struct snapshot *from, struct snapshot *s, struct snapshot_app *out,
                struct arena *memory);

#endif
