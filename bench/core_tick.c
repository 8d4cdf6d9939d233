/* What a tick of the controller costs in the core: 1,000 apps with 10 instances each, all steady,
 * and the same while each rolls out. Prints CPU time per tick of all apps (the bar: 10 ms when
 * steady). */
#include "base/alloc.h"
#include "base/arena.h"
#include "core/core.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

enum { APPS = 1000, INSTANCES = 10, TICKS = 200 };

struct bench_app {
    struct app_state state;
    struct instance_obs instances[INSTANCES];
    struct specs specs;
};

static double cpu_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void begin(struct bench_app *a, uint32_t release, const struct app_spec *spec, int64_t now)
{
    struct rollout_request request = {.id = release,
                                      .kind = ROLLOUT_DEPLOY,
                                      .release = release,
                                      .spec = spec,
                                      .stable = a->state.stable != 0 ? spec : NULL,
                                      .now_ms = now};
    struct observations none = {.instances = a->instances,
                                .instances_len = a->state.stable != 0 ? INSTANCES : 0};
    struct rollout_state superseded;
    core_begin(&a->state, &request, &none, &superseded, NULL);
}

static void tick(struct bench_app *a, int64_t now, size_t *actions)
{
    struct arena arena = ARENA_INIT;
    struct decision d = {0};
    struct observations obs = {
        .instances = a->instances, .instances_len = INSTANCES, .traffic_applied = true};
    decide(&a->state, &a->specs, &obs, now, &arena, &d);
    *actions += d.len;
    arena_release(&arena);
}

static double measure(struct bench_app *apps, int64_t *now, size_t *actions)
{
    double start = cpu_ms();
    for (int i = 0; i < TICKS; i++)
        for (size_t k = 0; k < APPS; k++)
            tick(&apps[k], ++*now, actions);
    return (cpu_ms() - start) / TICKS;
}

int main(void)
{
    static struct app_spec spec = {.app = "bench", .environment = "production", .processes_len = 1};
    static char ids[INSTANCES][16];
    spec.processes[0] = (struct process_spec){.name = "web", .replicas = INSTANCES, .routed = true};
    spec.deadline_ms = INT64_C(1) << 40;
    spec.strategy.max_surge = (struct amount){true, 25};
    struct bench_app *apps = xcalloc(APPS, sizeof *apps);
    int64_t now = 1000000;
    size_t actions = 0;
    for (size_t i = 0; i < APPS; i++) {
        app_state_init(&apps[i].state);
        for (size_t k = 0; k < CORE_MAX_POOLS; k++)
            apps[i].specs.of_pool[k] = &spec;
        begin(&apps[i], 1, &spec, now);
        for (size_t k = 0; k < INSTANCES; k++) {
            snprintf(ids[k], sizeof ids[k], "bench-1-%zu", k);
            apps[i].instances[k] = (struct instance_obs){.id = ids[k],
                                                         .pool = apps[i].state.candidate,
                                                         .state = INSTANCE_READY,
                                                         .running = true,
                                                         .since_ms = now};
        }
        while (apps[i].state.rollout.id != 0)
            tick(&apps[i], ++now, &actions);
    }
    actions = 0;
    printf("steady:      %.3f ms CPU per tick of %d apps x %d instances\n",
           measure(apps, &now, &actions), APPS, INSTANCES);
    printf("             %zu actions (0 expected)\n", actions);
    for (size_t i = 0; i < APPS; i++)
        begin(&apps[i], 2, &spec, now);
    printf("rolling out: %.3f ms CPU per tick\n", measure(apps, &now, &actions));
    struct buf text = BUF_INIT;
    double start = cpu_ms();
    for (size_t i = 0; i < APPS; i++) {
        buf_clear(&text);
        app_state_to_json(&apps[i].state, &text);
    }
    printf("state: %zu bytes as JSON, written in %.2f us\n", text.len, (cpu_ms() - start));
    for (size_t i = 0; i < APPS; i++)
        app_state_release(&apps[i].state);
    free(apps);
    buf_release(&text);
    return 0;
}
