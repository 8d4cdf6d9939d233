/* What the API answers, as people read it: JSON in, lines out. Pure; whatever the JSON holds or
 * lacks, lines come out, and no control byte of it. */
#ifndef SLUICE_CLI_VIEW_H
#define SLUICE_CLI_VIEW_H

#include "cli/term.h"

#include <jansson.h>

void view_apps(const json_t *apps, const struct term *t, struct buf *out);
void view_status(const json_t *status, const struct term *t, struct buf *out);
/* What people should know of the server itself (GET /v1/server); nothing where all is well. */
/* app: its status, where only its own certificates are looked at; NULL: all of them. */
void view_server_troubles(const json_t *server, const json_t *app, const struct term *t,
                          struct buf *out);
void view_history(const json_t *rollouts, const struct term *t, struct buf *out);
void view_releases(const json_t *releases, const struct term *t, struct buf *out);
void view_plan(const json_t *plan, const struct term *t, struct buf *out);
void view_verdict(const json_t *verdict, const struct term *t, struct buf *out);
void view_simulate(const json_t *summary, const struct term *t, struct buf *out);

/* One line: when, app, what, who. Below the end of a rollout that failed, one more: where to look.
 */
void view_event(const json_t *event, const struct term *t, bool with_app, struct buf *out);
/* One line of a deploy's progress: "08:00:12 step 2 of 6: weight 25%". */
void view_progress_line(const json_t *event, const struct term *t, struct buf *out);
/* The end of a deploy: the result object of docs/commands.md. */
void view_result(const json_t *result, const struct term *t, struct buf *out);
/* The same in one line, for a list: the first failed request and the commit; nothing where the
 * release was promoted. */
void view_result_note(const json_t *result, const struct term *t, struct buf *out);

/* One line of a log, the instance in its own colour, without control bytes of the app. */
void view_log_line(const json_t *line, const struct term *t, struct buf *out);

enum { MIRROR_SAMPLES = 10 }; /* as many as there are */

/* Parts that more than one view has. */
/* The list `metrics` of a rollout or a result; nothing where it is empty. */
void view_measured(const json_t *list, const struct term *t, const char *indent, struct buf *out);
/* The `mirror` of a rollout or a result, with so many of its samples; nothing where there is none.
 */
void view_mirror(const json_t *mirror, const struct term *t, const char *indent, size_t samples,
                 struct buf *out);
int64_t json_bytes(const json_t *object, const char *key); /* negative: not known */
enum style style_of_state(const char *state);
void view_sides(const json_t *status, const struct term *t, const char *indent, struct buf *out);
void view_split(const json_t *status, const struct term *t, unsigned columns, struct buf *out);

#endif
