/* Bars of a share of a width. Pure. */
#ifndef SLUICE_CLI_BAR_H
#define SLUICE_CLI_BAR_H

#include "cli/term.h"

/* Appends `columns` columns: share (0..1) of them full, the rest a track. A little is not nothing.
 */
void put_bar(struct buf *out, const struct term *t, enum style style, double share,
             unsigned columns);

#endif
