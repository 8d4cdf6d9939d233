/* What the verbs that talk to the API share: options, address, how stdout is written to. */
#ifndef SLUICE_CLI_SESSION_H
#define SLUICE_CLI_SESSION_H

#include "cli/cli.h"
#include "cli/client.h"
#include "cli/options.h"
#include "cli/term.h"

struct session {
    struct options options;
    struct place place;
    struct term out; /* stdout */
    bool json;
    const char *app;         /* the first argument; NULL: none */
    const char *environment; /* NULL: not given */
};

/* Parses; 0, or the exit status when the words are wrong (that was said). Release in both cases. */
int session_begin(struct session *s, enum verb_id verb, int argc, char **argv);
void session_release(struct session *s);
#define cleanup_session __attribute__((cleanup(session_release)))

/* "/v1/apps/shop/history?environment=staging&limit=20": tail is "/history" or "", query "limit=20"
 * or
 * "" (encoded). The caller frees. */
char *session_path(const struct session *s, const char *tail, const char *query);
/* GET path -> JSON; NULL with *err. */
json_t *session_get(const struct session *s, const char *path, struct error *err);
/* POST; body's reference is taken (NULL: none). */
json_t *session_post(const struct session *s, const char *path, json_t *body, struct error *err);
/* A whole verb: POST /v1/apps/APP/VERB, and its answer; body's reference is taken. done: what is
 * said when the server says no more. Gives the exit status. */
int session_command(enum verb_id verb, int argc, char **argv, json_t *body, const char *done);
/* The stream of the app's events after that one (text/event-stream); NULL with *err. */
struct client *session_events(const struct session *s, int64_t after, struct error *err);

/* One JSON document and a newline to stdout. */
void print_json(const json_t *document);
/* All of b to stdout; empties it. 0, or -1: stdout is closed. */
int print_buf(struct buf *b);

/* ---- reading answers: what is missing or of another type is "", 0, -1
 * ---------------------------- */

const char *json_text(const json_t *object, const char *key);
int64_t json_whole(const json_t *object, const char *key);
double json_real_or(const json_t *object, const char *key, double absent);

#endif
