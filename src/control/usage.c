/* What instances use, the candidate's against stable's: memory, and CPU time per request.
 *
 * Looked at once per `usage-interval` while a rollout is judged, a few instances per tick, since an
 * engine reads files for it. What is judged, and why so, stands in docs/judge.md:
 *
 * Memory: a release that takes more may be meant to; one that goes on taking more is not. So a
 * comparison counts only where the one before it was beyond the tolerance, and is worse where this
 * one is too and is the highest so far. Of values that do not drift the n-th is the highest with a
 * chance of 1/n: the coin that struct pair_test asks for.
 *
 * CPU: worse is what lies beyond the tolerance, but for values that still fall. */
#include "control/control_internal.h"
#include "judge/tally.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum {
    LOOKS_PER_TICK = 4,
    WARM_UP_INTERVALS = 6,    /* an instance is not compared before that */
    MEMORY_INTERVALS = 2,     /* from one comparison of the memory to the next, at least */
    MEMORY_COMPARISONS = 50,  /* and a 50th of the time so far: slow leaks */
    MEMORY_FELT = 16 << 20,   /* bytes: smaller differences are no fault */
    CPU_REQUESTS_LEAST = 50,  /* of each release, for a comparison */
    CPU_WARM_REQUESTS = 1000, /* that an instance answered before: compilers, pools, caches */
};
static const double MEMORY_GROWS = 1.005; /* less is no growth */
static const double CPU_FELT = .02;       /* of one core per instance: less is no fault */

enum { CANDIDATE, STABLE, SIDES };

/* Of what instances did between two looks. */
struct cpu_sum {
    uint64_t cpu_us, requests, instance_ms;
};

struct usage {
    int64_t interval_ms, due_ms;
    uint32_t round; /* each instance is looked at once in it */
    bool looking;   /* it is under way */
    struct {
        int64_t began_ms, due_ms;
        int judged;                      /* the process that was beyond the tolerance; -1: none */
        double most[SPEC_MAX_PROCESSES]; /* of the candidate's values so far; 0: none */
    } memory;
    struct {
        struct cpu_sum sums[SIDES];
        double least; /* of the candidate's values so far */
    } cpu;
};

static bool has_metric(const struct app_spec *spec, const char *name)
{
    for (size_t i = 0; i < spec->metrics_len; i++)
        if (strcmp(spec->metrics[i].name, name) == 0)
            return true;
    return false;
}

uint32_t usage_compared(const struct app_spec *spec, struct judge_extra extras[JUDGE_EXTRAS],
                        uint32_t len)
{
    const double more[EXTRA_KINDS] = {[EXTRA_MEMORY] = spec->strategy.judge.more_memory,
                                      [EXTRA_CPU] = spec->strategy.judge.more_cpu};
    for (int k = EXTRA_ASKED + 1; k < EXTRA_KINDS; k++) {
        enum judge_extra_kind kind = (enum judge_extra_kind)k;
        if (more[k] <= 0 || has_metric(spec, judge_extra_word(kind)))
            continue;
        ASSERT(len < JUDGE_EXTRAS);
        extras[len] = (struct judge_extra){.kind = kind, .test = {.tolerance = 1 + more[k]}};
        snprintf(extras[len++].name, sizeof extras[0].name, "%s", judge_extra_word(kind));
    }
    return len;
}

void usage_end(struct app *a)
{
    free(a->usage);
    a->usage = NULL;
}

void usage_begin(struct app *a)
{
    const struct app_spec *spec = pool_spec(a, a->state.candidate);
    usage_end(a);
    for (size_t i = 0; i < a->instances.len; i++)
        a->instances.items[i]->use = (struct instance_use){0};
    if (judge_used(&a->judge, EXTRA_MEMORY) == NULL && judge_used(&a->judge, EXTRA_CPU) == NULL)
        return;
    a->usage = xcalloc(1, sizeof *a->usage);
    a->usage->interval_ms = spec->strategy.judge.usage_interval_ms;
    a->usage->memory.judged = -1;
    a->usage->cpu.least = INFINITY;
}

/* ---- looking
 * ------------------------------------------------------------------------------------------- */

static uint64_t requests_of(const struct instance *in)
{
    if (in->slot == UINT32_MAX)
        return 0;
    uint64_t now = measure_instance(in->control, in->slot, INSTANCE_REQUESTS);
    return now > in->base[INSTANCE_REQUESTS] ? now - in->base[INSTANCE_REQUESTS] : 0;
}

/* When its run will be warm. What an earlier one answered has warmed up nothing; what an earlier
 * controller counted is not known, but that was long ago. */
static uint64_t warm_requests(const struct instance *in, uint64_t requests)
{
    if (in->started_ms < in->control->started_ms)
        return 0;
    return (in->restarts > 0 ? requests : 0) + CPU_WARM_REQUESTS;
}

/* Where there is no cgroup, processes that end take their time along. */
static void add_cpu(struct usage *u, int side, const struct instance_use *before,
                    const struct instance_use *now)
{
    struct cpu_sum *sum = &u->cpu.sums[side];
    if (now->cpu_us < before->cpu_us || now->requests < before->requests ||
        before->requests < before->warm_requests)
        return;
    sum->cpu_us += now->cpu_us - before->cpu_us;
    sum->requests += now->requests - before->requests;
    sum->instance_ms += (uint64_t)(now->at_ms - before->at_ms);
}

/* True where the engine was asked. */
static bool look(struct app *a, struct instance *in, int64_t now)
{
    struct usage *u = a->usage;
    struct engine *e = a->control->engine;
    const struct instance_use before = in->use;
    struct instance_use *use = &in->use;
    *use = (struct instance_use){.round = u->round, .run = in->run, .at_ms = now};
    if (!instance_ready(in) || now - in->started_ms < WARM_UP_INTERVALS * u->interval_ms)
        return false;
    use->known = e->ops->usage(e, in->run_id, &use->rss_bytes, &use->cpu_us) == 0;
    use->requests = requests_of(in);
    bool follows = before.known && before.run == use->run && before.round + 1 == use->round;
    use->warm_requests = follows ? before.warm_requests : warm_requests(in, use->requests);
    if (use->known && follows && now > before.at_ms)
        add_cpu(u, in->pool == a->state.candidate ? CANDIDATE : STABLE, &before, use);
    return true;
}

/* ---- memory
 * -------------------------------------------------------------------------------------------- */

static int order(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static const char *process_name(const struct instance *in)
{
    const struct process_spec *p = instance_process(in, NULL);
    return p != NULL ? p->name : "";
}

/* Sorted, of a pool's instances of that process which began by then; *oldest: when the first one
 * did. */
static size_t memory_values(const struct app *a, uint32_t pool, const char *process,
                            int64_t begun_by, double *out, int64_t *oldest)
{
    size_t n = 0;
    *oldest = INT64_MAX;
    for (size_t i = 0; i < a->instances.len; i++) {
        const struct instance *in = a->instances.items[i];
        if (in->pool != pool || in->use.round != a->usage->round || !in->use.known ||
            in->use.rss_bytes == 0 || in->started_ms > begun_by ||
            strcmp(process_name(in), process) != 0)
            continue;
        out[n++] = (double)in->use.rss_bytes;
        *oldest = in->started_ms < *oldest ? in->started_ms : *oldest;
    }
    qsort(out, n, sizeof *out, order);
    return n;
}

/* The middle ones of both releases; where two are, those that speak for the candidate. Instances of
 * stable that are younger than it are as small as what is young. False: nothing to compare. */
static bool memory_pair(const struct app *a, const char *process, double *candidate, double *stable)
{
    cleanup_free double *values = xcalloc(a->instances.len + 1, sizeof *values);
    int64_t oldest, unused;
    size_t n = memory_values(a, a->state.candidate, process, INT64_MAX, values, &oldest);
    if (n == 0)
        return false;
    *candidate = values[(n - 1) / 2];
    n = memory_values(a, a->state.stable, process, oldest, values, &unused);
    if (n == 0)
        return false;
    *stable = values[n / 2];
    return true;
}

static void compare_memory(struct app *a, int64_t now)
{
    struct usage *u = a->usage;
    struct pair_test *test = judge_used(&a->judge, EXTRA_MEMORY);
    const struct app_spec *spec = pool_spec(a, a->state.candidate);
    if (test == NULL || spec == NULL || now < u->memory.due_ms)
        return;
    int judged = u->memory.judged;
    double farthest = 0;
    bool counted = false;
    u->memory.judged = -1;
    for (int p = 0; p < (int)spec->processes_len; p++) {
        double candidate, stable, *most = &u->memory.most[p];
        if (!memory_pair(a, spec->processes[p].name, &candidate, &stable))
            continue;
        bool beyond = candidate > stable * test->tolerance && candidate - stable > MEMORY_FELT;
        if (p == judged) {
            pair_count(test, beyond && candidate > *most * MEMORY_GROWS, candidate, stable);
            counted = a->judge_fed = true;
        } else if (!counted && candidate / stable > farthest) {
            pair_note(test, candidate, stable);
        }
        if (beyond && candidate / stable > farthest)
            u->memory.judged = p;
        farthest = fmax(farthest, candidate / stable);
        *most = fmax(*most, candidate);
    }
    if (u->memory.began_ms == 0 && farthest > 0)
        u->memory.began_ms = now;
    int64_t apart = MEMORY_INTERVALS * u->interval_ms;
    if (u->memory.began_ms != 0 && (now - u->memory.began_ms) / MEMORY_COMPARISONS > apart)
        apart = (now - u->memory.began_ms) / MEMORY_COMPARISONS;
    u->memory.due_ms = now + apart;
}

/* ---- CPU time per request
 * -------------------------------------------------------------------------------------------- */

static void compare_cpu(struct app *a)
{
    struct usage *u = a->usage;
    struct pair_test *test = judge_used(&a->judge, EXTRA_CPU);
    struct cpu_sum c = u->cpu.sums[CANDIDATE], s = u->cpu.sums[STABLE];
    /* Requests by `match` are not like those of everybody. */
    bool alike = test != NULL && !a->state.matching;
    if (alike && (c.requests < CPU_REQUESTS_LEAST || s.requests < CPU_REQUESTS_LEAST))
        return; /* both go on adding up */
    memset(u->cpu.sums, 0, sizeof u->cpu.sums);
    if (!alike)
        return;
    double of_c = (double)c.cpu_us / (double)c.requests;
    double of_s = (double)s.cpu_us / (double)s.requests;
    double rate_c = (double)c.requests / (double)c.instance_ms; /* per instance */
    double rate_s = (double)s.requests / (double)s.instance_ms;
    /* What an idle instance uses as well is shared by fewer requests here: with that many fewer it
     * could lie beyond the tolerance for this alone. */
    if (rate_c * test->tolerance < rate_s)
        return;
    bool worse = of_c > of_s * test->tolerance && (of_c - of_s) * rate_c / 1000 > CPU_FELT;
    bool falls = of_c < u->cpu.least;
    u->cpu.least = fmin(u->cpu.least, of_c);
    if (worse && falls)
        pair_note(test, of_c, of_s);
    else
        pair_count(test, worse, of_c, of_s);
    a->judge_fed = true;
}

/* ---- a round
 * ------------------------------------------------------------------------------------------- */

static bool begin_round(struct usage *u, int64_t now)
{
    if (now < u->due_ms)
        return false;
    u->due_ms = now + u->interval_ms;
    u->round++;
    return true;
}

void usage_tick(struct app *a, int64_t now)
{
    struct usage *u = a->usage;
    if (u == NULL || a->state.stable == 0 || a->state.rollout.phase == PHASE_BACK)
        return;
    u->looking = u->looking || begin_round(u, now);
    unsigned asked = 0;
    for (size_t i = 0; u->looking && i < a->instances.len; i++) {
        struct instance *in = a->instances.items[i];
        if (in->use.round == u->round ||
            (in->pool != a->state.candidate && in->pool != a->state.stable))
            continue;
        if (asked == LOOKS_PER_TICK)
            return; /* the rest in the next tick */
        asked += look(a, in, now);
    }
    if (!u->looking)
        return;
    u->looking = false;
    compare_memory(a, now);
    compare_cpu(a);
}

void usage_clock_moved(struct app *a, int64_t by_ms)
{
    struct usage *u = a->usage;
    if (u == NULL)
        return;
    u->due_ms += by_ms;
    u->memory.due_ms += by_ms;
    u->memory.began_ms += u->memory.began_ms != 0 ? by_ms : 0;
    for (size_t i = 0; i < a->instances.len; i++)
        a->instances.items[i]->use.at_ms += by_ms;
}

/* ---- for people
 * ------------------------------------------------------------------------------------------- */

void usage_add_json(const struct app *a, json_t *metrics)
{
    if (a->usage == NULL)
        return;
    struct judge_report report;
    judge_explain(&a->judge, 0, &report);
    for (size_t i = 0; i < report.len; i++) {
        const struct metric_report *m = &report.metrics[i];
        const struct pair_test *test = NULL;
        for (uint32_t k = 0; k < a->judge.extras_len && m->is_pair; k++)
            if (a->judge.extras[k].kind != EXTRA_ASKED && a->judge.extras[k].name == m->name)
                test = &a->judge.extras[k].test;
        if (test == NULL)
            continue;
        bool seen = test->candidate_last != 0 || test->stable_last != 0;
        json_t *one = json_pack("{s:s,s:s,s:s,s:i,s:i,s:i,s:i,s:s}", "name", m->name, "source",
                                "instances", "state", tally_state_word(TALLY_RUNNING),
                                "measurements", (int)(test->worse + test->not_worse), "failures",
                                (int)test->worse, "errors", 0, "inconclusive", 0, "text", m->text);
        json_object_set_new(one, "value", seen ? json_real(test->candidate_last) : json_null());
        json_object_set_new(one, "stable_value", seen ? json_real(test->stable_last) : json_null());
        json_array_append_new(metrics, one);
    }
}
