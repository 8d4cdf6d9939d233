/* The end of a rollout: its result for people and machines, what becomes of its release, and which
 * releases are old enough to go. */
#include "control/control_internal.h"

#include "observe/logs.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* ---- counts
 * --------------------------------------------------------------------------------------- */

struct rollout_counts rollout_counts(const struct app *a)
{
    const struct rollout_start *s = &a->start;
    struct rollout_counts n = {s->stable_before, s->candidate_before, s->failed_before, s->cut};
    if (s->id == 0)
        return n;
    uint64_t failed = app_failed(a);
    n.failed += failed > s->failed ? failed - s->failed : 0;
    if (s->stable_pool != 0) {
        uint64_t requests = pool_value(a, s->stable_pool, REQUESTS);
        n.stable += requests > s->stable_requests ? requests - s->stable_requests : 0;
    }
    if (s->candidate_pool != 0)
        n.candidate += pool_value(a, s->candidate_pool, REQUESTS);
    return n;
}

/* ---- the result
 * ----------------------------------------------------------------------------------- */

/* What was gathered is of the rollout under way: not of a deploy that failed before it began. */
static bool has_evidence(const struct app *a, uint32_t release)
{
    return a->start.id != 0 && a->start.release == release;
}

/* Whose last lines a report shows: the instance that the reason names, or whose requests failed, or
 * whose probe; else the first one. */
static void choose_log(const struct app *a, uint32_t release, const char *reason,
                       char id[INSTANCE_ID_MAX])
{
    const char *found = has_evidence(a, release) ? evidence_instance(a) : NULL;
    size_t len = strcspn(reason, " ");
    snprintf(id, INSTANCE_ID_MAX, "%.*s", (int)(len < INSTANCE_ID_MAX ? len : 0), reason);
    if (strncmp(id, a->label, strlen(a->label)) == 0 && logs_release_of(id) == release)
        return;
    if (found != NULL)
        snprintf(id, INSTANCE_ID_MAX, "%s", found);
    else
        snprintf(id, INSTANCE_ID_MAX, "%s-%u-1", a->label, release);
}

static json_t *log_tail(const struct app *a, const char *id)
{
    cleanup_free char *dir = app_path(a, "logs");
    json_t *lines = json_array();
    cleanup_buf struct buf text = BUF_INIT;
    if (logs_last_lines(dir, id, LOG_TAIL_LINES, &text) <= 0)
        return lines;
    char *save = NULL;
    for (char *line = strtok_r(text.data, "\n", &save); line != NULL;
         line = strtok_r(NULL, "\n", &save))
        json_array_append_new(lines, json_string(line));
    return lines;
}

static void put_text(json_t *out, const char *key, const char *text)
{
    json_t *value = text[0] != '\0' ? json_string(text) : NULL; /* NULL also: not UTF-8 */
    if (value != NULL)
        json_object_set_new(out, key, value);
}

/* Where the release is from. */
static void put_origin(json_t *out, const struct release *r)
{
    put_text(out, "commit", r->commit);
    put_text(out, "author", r->author);
    put_text(out, "branch", r->branch);
    if (r->commit[0] != '\0')
        json_object_set_new(out, "dirty", json_boolean(r->dirty));
}

/* What somebody wants to know next when it went wrong. */
static void put_evidence(json_t *out, const struct app *a, const struct release *r,
                         const char *reason)
{
    char id[INSTANCE_ID_MAX];
    if (has_evidence(a, r->number) && strstr(reason, a->evidence.probe) == NULL) {
        cleanup_free char *probe = xasprintf("%s: %s", a->evidence.probed, a->evidence.probe);
        put_text(out, "probe", probe);
    }
    choose_log(a, r->number, reason, id);
    put_text(out, "log_instance", id);
    json_object_set_new(out, "log_tail", log_tail(a, id));
}

static json_t *result_json(const struct app *a, const struct release *r, const char *result,
                           const char *code, const char *text, int64_t duration_ms,
                           struct rollout_counts n)
{
    json_t *out = json_pack("{s:s,s:s,s:i,s:s,s:s,s:{s:s,s:s},s:I,s:{s:I,s:I},s:I}", "app", a->name,
                            "environment", a->environment, "release",
                            r != NULL ? (int)r->number : 0, "version", r != NULL ? r->version : "",
                            "result", result, "reason", "code", code, "text", text, "duration_ms",
                            (json_int_t)duration_ms, "requests", "stable", (json_int_t)n.stable,
                            "candidate", (json_int_t)n.candidate, "failed", (json_int_t)n.failed);
    if (out == NULL) { /* a text that is not UTF-8: without it rather than not at all */
        out = json_pack("{s:s,s:s,s:i,s:s,s:{s:s,s:s}}", "app", a->name, "environment",
                        a->environment, "release", r != NULL ? (int)r->number : 0, "result", result,
                        "reason", "code", code, "text", "(unreadable)");
    }
    json_object_set_new(out, "cut_connections", json_integer((json_int_t)n.cut));
    if (r != NULL)
        put_origin(out, r);
    bool measured = r != NULL && has_evidence(a, r->number);
    json_object_set_new(out, "metrics", measured ? metrics_json(a) : json_array());
    json_object_set_new(out, "mirror", measured ? mirror_json(a) : json_null());
    bool promoted = strcmp(result, rollout_result_word(RESULT_PROMOTED)) == 0;
    bool told = r != NULL && has_evidence(a, r->number) && (!promoted || n.failed > 0);
    json_object_set_new(out, "failed_requests", told ? evidence_requests(a) : json_array());
    if (r != NULL && !promoted)
        put_evidence(out, a, r, text);
    else
        json_object_set_new(out, "log_tail", json_array());
    return out;
}

static void set_release_status(struct app *a, uint32_t number, enum release_status status,
                               struct store_batch *batch)
{
    struct release *r = app_release(a, number);
    if (r == NULL || r->status == status)
        return;
    /* A release that was promoted once stays so: a later roll back to it may fail by chance. */
    if (r->status == RELEASE_PROMOTED && status == RELEASE_REJECTED)
        return;
    r->status = status;
    if (batch != NULL)
        batch_set_release_status(batch, a->key, number, status);
}

/* A canary that nobody visited, a shadow that no request was copied to: it was not judged. It is
 * promoted, and said to be so. */
static bool without_data(struct app *a, struct release *r, enum rollout_result result)
{
    const struct app_spec *spec = release_spec(a, r);
    return result == RESULT_PROMOTED && a->judging && a->judge.has_stable && spec != NULL &&
           ((spec->strategy.kind == STRATEGY_CANARY && a->judge.errors.candidate_requests == 0) ||
            (spec->strategy.kind == STRATEGY_SHADOW && !mirror_came(a)));
}

/* Who goes back from a release has rejected it, also where it was promoted once: a later roll back
 * does not lead there. */
static void left_behind(struct app *a, struct store_batch *batch)
{
    struct release *r = app_release(a, a->start.from_release);
    if (r == NULL || r->number <= a->start.release)
        return;
    r->status = RELEASE_REJECTED;
    batch_set_release_status(batch, a->key, r->number, RELEASE_REJECTED);
}

static struct store_rollout row_of(struct app *a)
{
    const struct rollout_start *s = &a->start;
    const struct release *r = app_release(a, s->release);
    return (struct store_rollout){
        .id = s->id,
        .app = a->key,
        .kind = rollout_kind_word(s->kind),
        .strategy = strategy_name(s->strategy),
        .release = s->release,
        .from_release = s->from_release,
        .version = r != NULL ? r->version : "",
        .started_ms = s->began_ms,
        .actor = a->rollout_actor,
    };
}

void rollout_ended(struct app *a, const struct rollout_state *ended, enum rollout_result result,
                   struct store_batch *batch)
{
    static const char *const hooks[] = {"release", "smoke"};
    uint32_t release = a->start.release;
    struct release *r = app_release(a, release);
    const char *code = reason_code_word(ended->reason.code), *text = ended->reason.text;
    if (r != NULL && without_data(a, r, result)) {
        code = "no-data";
        text = "no data: no request reached the new release, so nothing was judged";
    }
    struct rollout_counts counts = rollout_counts(a);
    evidence_look(a->control);
    verdict_log_end(a, batch);
    cleanup_buf struct buf judge = BUF_INIT;
    judge_to_json(&a->judge, &judge);
    json_t *data = result_json(a, r, rollout_result_word(result), code, text,
                               control_now() - a->start.at_ms, counts);
    json_object_set_new(data, "rollout", json_integer((json_int_t)ended->id));
    struct store_rollout row = row_of(a);
    row.id = ended->id;
    row.result = rollout_result_word(result);
    row.reason_code = code;
    row.reason_text = text;
    row.judge_json = buf_str(&judge);
    row.requests_stable = counts.stable;
    row.requests_candidate = counts.candidate;
    row.failed = counts.failed;
    app_end(a, &(struct app_end){.data = data,
                                 .actor = a->rollout_actor,
                                 .text = text,
                                 .release = release,
                                 .row = &row});
    json_decref(data);
    set_release_status(a, release, result == RESULT_PROMOTED ? RELEASE_PROMOTED : RELEASE_REJECTED,
                       batch);
    if (result == RESULT_PROMOTED && a->start.kind == ROLLOUT_ROLLBACK)
        left_behind(a, batch);
    if (result == RESULT_PROMOTED && a->start.kind == ROLLOUT_DEPLOY)
        bake_begin(a, a->start.release, a->start.from_release);
    a->control->rollouts_ended[result]++;
    memset(&a->start, 0, sizeof a->start);
    evidence_forget(a);
    watch_end(a);
    a->paused_told = false;
    for (size_t k = 0; k < COUNT_OF(hooks); k++) {
        cleanup_free char *id =
            xasprintf("%s-%u-%s-%llu.", a->label, release, hooks[k], (unsigned long long)ended->id);
        hook_drop_left(a, id);
    }
    a->collect_due = true;
}

void rollout_put_row(struct app *a, struct store_batch *batch)
{
    struct store_rollout row = row_of(a);
    batch_put_rollout(batch, &row);
}

void rollout_paused(struct app *a)
{
    if (a->paused_told)
        return;
    const struct rollout_state *s = &a->state.rollout;
    a->paused_told = true;
    evidence_look(a->control);
    json_t *data =
        result_json(a, app_release(a, a->start.release), "paused", reason_code_word(s->reason.code),
                    s->reason.text, control_now() - a->start.at_ms, rollout_counts(a));
    json_object_set_new(data, "rollout", json_integer((json_int_t)s->id));
    app_end(a, &(struct app_end){.data = data,
                                 .actor = a->rollout_actor,
                                 .text = s->reason.text,
                                 .release = a->start.release});
    json_decref(data);
}

/* Before there were instances: packing or building failed, or someone changed their mind. It is in
 * the history as any other deploy. */
void deploy_failed(struct app *a, struct release *r, enum reason_code code, const char *text,
                   enum rollout_result result, int64_t started_ms)
{
    struct control *c = a->control;
    json_t *data = result_json(a, r, rollout_result_word(result), reason_code_word(code), text,
                               control_now() - started_ms, (struct rollout_counts){0, 0, 0, 0});
    const struct app_spec *spec = release_spec(a, r);
    struct store_rollout row = {
        .id = store_next_rollout_id(c->store),
        .kind = rollout_kind_word(ROLLOUT_DEPLOY),
        .strategy = spec != NULL ? strategy_name(spec->strategy.kind) : "",
        .release = r->number,
        .from_release = app_stable_release(a),
        .version = r->version,
        .started_ms = started_ms,
        .result = rollout_result_word(result),
        .reason_code = reason_code_word(code),
        .reason_text = text,
        .judge_json = "",
    };
    json_object_set_new(data, "rollout", json_integer((json_int_t)row.id));
    app_end(a, &(struct app_end){.data = data,
                                 .actor = r->created_by,
                                 .text = text,
                                 .release = r->number,
                                 .row = &row,
                                 .note = code == REASON_BUILD ? "build-failed" : NULL});
    json_decref(data);
    r->status = RELEASE_FAILED;
    struct store_batch *batch = store_batch_new(c->store);
    app_put_row(a, batch);
    app_put_release(a, r, batch);
    app_write(a, batch, NULL, NULL);
    releases_collect(a);
}

/* ---- old releases
 * --------------------------------------------------------------------------------- */

struct cleanup {
    struct control *control;
    struct pack_watch *watch;
};

static void cleanup_end(struct cleanup *k)
{
    struct control *c = k->control;
    for (size_t i = 0; i < c->cleanups.len; i++)
        if (c->cleanups.items[i] == k) {
            vec_remove(&c->cleanups, i);
            break;
        }
    free(k);
}

static void on_removed(void *arg, const struct pack_result *result, const struct error *err)
{
    if (result == NULL)
        log_warn("an old folder could not be deleted: %s", err->text);
    cleanup_end(arg);
}

void cleanup_folder(struct control *c, const char *dir)
{
    struct error err = ERROR_INIT;
    struct pack_job *job = pack_remove_tree(dir, &err);
    if (job == NULL) {
        log_warn("%s cannot be deleted: %s", dir, err.text);
        return;
    }
    struct cleanup *k = xcalloc(1, sizeof *k);
    k->control = c;
    k->watch = pack_watch_start(c, job, on_removed, k);
    *vec_push(&c->cleanups) = k;
}

void cleanups_release(struct control *c)
{
    while (c->cleanups.len > 0) {
        struct cleanup *k = c->cleanups.items[c->cleanups.len - 1];
        pack_watch_cancel(k->watch);
        cleanup_end(k);
    }
    vec_release(&c->cleanups);
}

static void delete_logs(const struct app *a, uint32_t release)
{
    cleanup_free char *dir = app_path(a, "logs");
    DIR *d = opendir(dir);
    if (d == NULL)
        return;
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        char id[NAME_MAX + 1];
        snprintf(id, sizeof id, "%s", e->d_name);
        char *end = strstr(id, ".log");
        if (end == NULL)
            continue;
        *end = '\0';
        if (logs_release_of(id) == release)
            unlinkat(dirfd(d), e->d_name, 0);
    }
    closedir(d);
}

static bool in_use(const struct app *a, uint32_t number)
{
    for (size_t i = 0; i < CORE_MAX_POOLS; i++)
        if (a->state.pools[i].id != 0 && a->state.pools[i].release == number)
            return true;
    for (size_t i = 0; i < a->instances.len; i++)
        if (a->instances.items[i]->release == number)
            return true;
    return number == a->start.release && a->start.id != 0;
}

/* Folders of releases whose rows are being deleted. */
struct collected {
    struct control *control;
    struct {
        char **items;
        size_t len, cap;
    } dirs;
};

/* The row first: one without its folder would be a release that people can choose and that cannot
 * run. Where it could not be deleted the next controller sees both, and collects them again. */
static void on_collected(void *arg, enum store_outcome outcome, const struct error *err)
{
    struct collected *x = arg;
    (void)err;
    for (size_t i = 0; i < x->dirs.len; i++) {
        if (outcome == STORE_OK && !x->control->leaving)
            cleanup_folder(x->control, x->dirs.items[i]);
        free(x->dirs.items[i]);
    }
    vec_release(&x->dirs);
    free(x);
}

/* Keeps the newest `history`, whatever runs, and the last two that were promoted. */
void releases_collect(struct app *a)
{
    struct control *c = a->control;
    const struct app_spec *spec = pool_spec(a, a->state.stable);
    uint32_t keep = spec != NULL && spec->history > 0 ? spec->history : 10;
    uint32_t stable = app_stable_release(a), previous = 0;
    for (size_t i = 0; i < a->releases.len; i++) {
        const struct release *r = &a->releases.items[i];
        if (r->status == RELEASE_PROMOTED && r->number < stable && r->number > previous)
            previous = r->number;
    }
    if (c->store == NULL || a->releases.len <= keep)
        return;
    struct store_batch *batch = store_batch_new(c->store);
    struct collected *x = xcalloc(1, sizeof *x);
    x->control = c;
    for (size_t i = 0; i < a->releases.len && a->releases.len > keep;) {
        struct release *r = &a->releases.items[i];
        if (r->number == stable || r->number == previous || in_use(a, r->number) ||
            r->status == RELEASE_BUILDING || r->status == RELEASE_READY) {
            i++;
            continue;
        }
        *vec_push(&x->dirs) = xstrdup(r->dir);
        delete_logs(a, r->number);
        batch_delete_release(batch, a->key, r->number);
        app_drop_release(a, r->number);
    }
    if (!store_batch_empty(batch)) {
        control_submit(c, batch, on_collected, x);
        return;
    }
    store_batch_free(batch);
    free(x);
}
