/* `sluice simulate`: what the file's strategy would do to a release, in virtual time. Contacts
 * nothing, but for --history. */
#include "base/alloc.h"
#include "base/units.h"
#include "cli/session.h"
#include "cli/simulate_words.h"
#include "cli/specfile.h"
#include "cli/view.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

enum { RUNS_MOST = 100000, RUNS_PER_THREAD_LEAST = 50, THREADS_MOST = 16 };
static const char RUNS_USUAL[] = "1000", SEED_USUAL[] = "1", START_USUAL[] = "1s";
/* Where nobody says what stable is like. */
static const double STABLE_ERRORS = .005;
static const struct simulate_latency STABLE_LATENCY = {.median_ms = 40, .sigma = .6};

struct order {
    struct simulate_config config;
    struct history history; /* one minute, where the traffic was given */
    bool recorded;
    double stable_errors; /* mean */
    uint64_t runs, seed;
};

static void order_release(struct order *o)
{
    free(o->history.items);
}
#define cleanup_order __attribute__((cleanup(order_release)))

static const char *value_or(const struct session *s, enum option_id id, const char *usual)
{
    return s->options.value[id] != NULL ? s->options.value[id] : usual;
}

static int order_numbers(struct order *o, const struct session *s, struct error *err)
{
    const char *runs = value_or(s, OPTION_RUNS, RUNS_USUAL);
    const char *seed = value_or(s, OPTION_SEED, SEED_USUAL);
    const char *start = value_or(s, OPTION_START_TIME, START_USUAL);
    if (parse_u64(runs, RUNS_MOST, &o->runs) != 0 || o->runs == 0)
        return error_set(err, ERROR_USAGE, "--runs %.40s: expected a number from 1 to %d", runs,
                         RUNS_MOST);
    if (parse_u64(seed, UINT64_MAX, &o->seed) != 0)
        return error_set(err, ERROR_USAGE, "--seed %.40s: expected a number", seed);
    if (parse_duration_ms(start, &o->config.start_ms) != 0 || o->config.start_ms > 3600000)
        return error_set(err, ERROR_USAGE, "--start-time %.40s: expected a duration such as 3s",
                         start);
    return 0;
}

/* What the server recorded of the app in the last day. */
static int fetch_history(struct order *o, const struct session *s, const struct app_spec *spec,
                         struct error *err)
{
    cleanup_buf struct buf path = BUF_INIT;
    buf_puts(&path, "/v1/apps/");
    put_encoded(&path, spec->app);
    buf_puts(&path, "/traffic?window=24h&environment=");
    put_encoded(&path, spec->environment);
    json_t *answer = session_get(s, buf_str(&path), err);
    if (answer == NULL)
        return -1;
    int bad = read_history(answer, &o->history, err);
    json_decref(answer);
    return bad;
}

static int order_traffic(struct order *o, const struct session *s, const struct app_spec *spec,
                         struct error *err)
{
    const char *traffic = s->options.value[OPTION_TRAFFIC];
    o->recorded = s->options.given[OPTION_RECORDED];
    if ((traffic != NULL) == o->recorded)
        return error_set(err, ERROR_USAGE,
                         o->recorded
                             ? "--traffic and --history: say one of the two"
                             : "say how much traffic there is: --traffic 50/s, or --history for "
                               "what the server has recorded of the app");
    if (o->recorded)
        return fetch_history(o, s, spec, err);
    o->history.items = xcalloc(1, sizeof *o->history.items);
    o->history.len = 1;
    o->history.items[0].stable_errors = o->history.errors = STABLE_ERRORS;
    if (parse_traffic(traffic, &o->history.requests_per_s, err) != 0)
        return -1;
    o->history.items[0].requests_per_s = o->history.requests_per_s;
    return 0;
}

static int order_releases(struct order *o, const struct session *s, struct error *err)
{
    struct simulate_config *c = &o->config;
    struct release_words stable = {.errors = 0}, candidate = {.errors = 0};
    const char *text = s->options.value[OPTION_STABLE];
    if (text != NULL && parse_release(text, "--stable", false, &stable, err) != 0)
        return -1;
    text = s->options.value[OPTION_CANDIDATE];
    if (text != NULL && parse_release(text, "--candidate", true, &candidate, err) != 0)
        return -1;
    for (size_t i = 0; stable.has_errors && i < o->history.len; i++)
        o->history.items[i].stable_errors = stable.errors;
    o->stable_errors = stable.has_errors ? stable.errors : o->history.errors;
    release_latency(&stable, o->history.has_latency ? &o->history.latency : &STABLE_LATENCY,
                    &c->stable);
    release_latency(&candidate, &c->stable, &c->candidate);
    c->candidate_errors_relative = !candidate.has_errors || candidate.errors_relative;
    c->candidate_errors = candidate.has_errors ? candidate.errors : 1;
    c->minutes = o->history.items;
    c->minutes_len = o->history.len;
    return 0;
}

/* ---- running
 * ---------------------------------------------------------------------------------- */

struct share {
    const struct simulation *simulation;
    const struct order *order;
    struct simulate_outcome *outcomes;
    uint64_t first, step;
};

/* Every step-th run: long and short ones are spread evenly. */
static void *run_share(void *arg)
{
    const struct share *s = arg;
    for (uint64_t i = s->first; i < s->order->runs; i += s->step)
        simulation_run(s->simulation, s->order->seed, i, &s->outcomes[i]);
    return NULL;
}

static void run_all(const struct order *o, const struct simulation *simulation,
                    struct simulate_outcome *outcomes)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    uint64_t threads = cores > 1 ? (uint64_t)cores : 1, most = 1 + o->runs / RUNS_PER_THREAD_LEAST;
    struct share shares[THREADS_MOST];
    pthread_t ids[THREADS_MOST];
    if (threads > THREADS_MOST)
        threads = THREADS_MOST;
    if (threads > most)
        threads = most;
    for (uint64_t i = 0; i < threads; i++)
        shares[i] = (struct share){simulation, o, outcomes, i, threads};
    bool started[THREADS_MOST] = {false};
    for (uint64_t i = 1; i < threads; i++)
        started[i] = pthread_create(&ids[i], NULL, run_share, &shares[i]) == 0;
    for (uint64_t i = 0; i < threads; i++)
        if (!started[i])
            run_share(&shares[i]);
    for (uint64_t i = 1; i < threads; i++)
        if (started[i])
            pthread_join(ids[i], NULL);
}

/* ---- the answer
 * ------------------------------------------------------------------------------- */

static json_t *side_json(double errors, const struct simulate_latency *l)
{
    return json_pack("{s:f,s:f,s:f,s:f}", "errors", errors < 1 ? errors : 1, "p50_ms",
                     simulate_latency_quantile(l, .5), "p95_ms", simulate_latency_quantile(l, .95),
                     "p99_ms", simulate_latency_quantile(l, .99));
}

static json_t *spread_json(const struct simulate_spread *s, bool there)
{
    return there ? json_pack("{s:f,s:f,s:f}", "median", s->median, "p90", s->p90, "most", s->most)
                 : json_null();
}

static json_t *decided_json(const struct simulate_summary *sum)
{
    static const char *const words[] = {
#define X(name, word) word,
        SIMULATE_DECIDERS(X)
#undef X
    };
    json_t *o = json_object();
    for (int i = 0; i < SIMULATE_DECIDERS_COUNT; i++)
        json_object_set_new(o, words[i], json_real((double)sum->decided_by[i] / (double)sum->runs));
    return o;
}

static json_t *summary_json(const struct order *o, const struct app_spec *spec,
                            const struct simulate_summary *sum, int64_t least_ms)
{
    const struct simulate_config *c = &o->config;
    double candidate =
        c->candidate_errors_relative ? c->candidate_errors * o->stable_errors : c->candidate_errors;
    double runs = (double)sum->runs;
    bool stopped = sum->promoted < sum->runs;
    json_t *j = json_pack(
        "{s:s,s:s,s:s,s:I,s:I,s:I,s:{s:f,s:s,s:I}}", "app", spec->app, "environment",
        spec->environment, "strategy", strategy_name(spec->strategy.kind), "runs",
        (json_int_t)sum->runs, "seed", (json_int_t)o->seed, "least_ms", (json_int_t)least_ms,
        "traffic", "requests_per_s", o->history.requests_per_s, "from",
        o->recorded ? "history" : "option", "minutes", (json_int_t)o->history.len);
    json_object_set_new(j, "start_ms", json_integer(c->start_ms));
    json_object_set_new(j, "stable", side_json(o->stable_errors, &c->stable));
    json_object_set_new(j, "candidate", side_json(candidate, &c->candidate));
    json_object_set_new(
        j, "shares",
        json_pack("{s:f,s:f,s:f,s:f,s:f}", "rolled_back", (double)sum->rolled_back / runs,
                  "promoted", (double)sum->promoted / runs, "paused", (double)sum->paused / runs,
                  "promoted_cleared", (double)sum->cleared / runs, "promoted_without_data",
                  (double)sum->without_data / runs));
    json_object_set_new(j, "decided_by", decided_json(sum));
    json_object_set_new(j, "promoted_ms", spread_json(&sum->promoted_ms, sum->promoted > 0));
    json_object_set_new(j, "stopped_ms", spread_json(&sum->stopped_ms, stopped));
    json_object_set_new(j, "exposed_ms", spread_json(&sum->exposed_ms, stopped));
    json_object_set_new(j, "candidate_requests", spread_json(&sum->candidate_requests, stopped));
    json_object_set_new(j, "failed", spread_json(&sum->failed, true));
    json_object_set_new(j, "failed_without_judge", spread_json(&sum->failed_unjudged, true));
    json_object_set_new(
        j, "failed_per_hour_without_judge",
        json_real(o->history.requests_per_s * 3600 * (candidate < 1 ? candidate : 1)));
    return j;
}

static json_t *simulate(struct order *o, const struct app_spec *spec)
{
    o->config.spec = spec;
    struct simulation *simulation = simulation_new(&o->config);
    struct simulate_outcome *outcomes = xcalloc(o->runs, sizeof *outcomes);
    struct simulate_summary summary;
    run_all(o, simulation, outcomes);
    simulate_summarize(outcomes, o->runs, &summary);
    json_t *j = summary_json(o, spec, &summary, plan_least_ms(simulation_plan(simulation)));
    free(outcomes);
    simulation_free(simulation);
    return j;
}

int cmd_simulate(int argc, char **argv)
{
    struct error err = ERROR_INIT;
    cleanup_session struct session s;
    cleanup_specfile struct specfile f = SPECFILE_INIT;
    cleanup_order struct order o = {.runs = 0};
    int status = session_begin(&s, VERB_simulate, argc, argv);
    if (status != 0)
        return status;
    if (order_numbers(&o, &s, &err) != 0)
        return cli_fail(&err);
    if (specfile_load(&f, s.options.value[OPTION_FILE], s.environment,
                      specfile_color(s.options.given[OPTION_NO_COLOR])) != 0 ||
        specfile_set_strategy(&f, s.options.value[OPTION_STRATEGY]) != 0)
        return EXIT_USAGE;
    if (order_traffic(&o, &s, f.spec, &err) != 0 || order_releases(&o, &s, &err) != 0)
        return cli_fail(&err);
    json_t *answer = simulate(&o, f.spec);
    if (s.json) {
        print_json(answer);
    } else {
        cleanup_buf struct buf text = BUF_INIT;
        view_simulate(answer, &s.out, &text);
        print_buf(&text);
    }
    json_decref(answer);
    return EXIT_DONE;
}
