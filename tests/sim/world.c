/* Time, events, chance, the trace. */
#include "sim.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { TRACE_LINES = 40, TRACE_WIDTH = 240, TURNS_AT_ONCE = 5000 };

struct sim sim;

struct event {
    int64_t at_us;
    uint64_t order;
    sim_event_fn *fn;
    void *arg;
    uint64_t number;
};

static struct {
    int64_t now_us;
    uint64_t random, order;
    struct {
        struct event *items; /* a heap, the first is due first */
        size_t len, cap;
    } events;
    char lines[TRACE_LINES][TRACE_WIDTH];
    size_t noted;
    uint32_t boundaries_left;
    jmp_buf killed;
    bool controller_runs; /* its code is on the stack */
    int64_t stalled_until_us;
} world;

int64_t sim_now(void)
{
    return world.now_us;
}

/* ---- chance ---- */

static uint64_t next_random(void)
{
    uint64_t z = world.random += 0x9e3779b97f4a7c15u; /* splitmix64 */
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

uint32_t sim_pick(uint32_t below)
{
    return below == 0 ? 0 : (uint32_t)(next_random() % below);
}

bool sim_chance(uint32_t percent)
{
    return sim_pick(100) < percent;
}

int64_t sim_between(int64_t least, int64_t most)
{
    return least + (int64_t)(next_random() % (uint64_t)(most - least + 1));
}

/* ---- the trace ---- */

void sim_note(const char *fmt, ...)
{
    char *line = world.lines[world.noted++ % TRACE_LINES];
    int n = snprintf(line, TRACE_WIDTH, "%10.6f  ", (double)world.now_us / SIM_SECOND);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line + n, TRACE_WIDTH - (size_t)n, fmt, ap);
    va_end(ap);
    const char *from = strstr(line, sim.data); /* its name differs from run to run */
    for (const char *p = line; *p != '\0'; p++)
        if (from == NULL || p < from || p >= from + strlen(sim.data))
            sim.hash = (sim.hash ^ (unsigned char)*p) * 0x100000001b3u;
    if (sim.options.trace)
        puts(line);
}

static void tell_trace(void)
{
    if (sim.options.trace)
        return;
    size_t first = world.noted > TRACE_LINES ? world.noted - TRACE_LINES : 0;
    for (size_t i = first; i < world.noted; i++)
        fprintf(stderr, "    %s\n", world.lines[i % TRACE_LINES]);
}

static _Noreturn void give_up(const char *text)
{
    fflush(stdout);
    tell_trace();
    fprintf(stderr, "%10.6f  FAILED: %s\n", (double)world.now_us / SIM_SECOND, text);
    fprintf(stderr, "build/sim/sim --seed %llu\n", (unsigned long long)sim.options.seed);
    fflush(stderr);
    _exit(1);
}

void sim_fail(const char *fmt, ...)
{
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    give_up(text);
}

/* An assertion of the product; it has said which. */
static void on_abort(int signal)
{
    give_up(signal == SIGABRT ? "an assertion of the controller" : "a crash of the controller");
}

/* The product's own words are part of the trace. */
void log_write(enum log_level level, const char *fmt, ...)
{
    if (level < LOG_INFO && !sim.options.trace)
        return;
    char text[400];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (level >= LOG_INFO)
        sim_note("    %s", text);
    else
        printf("%10.6f      %s\n", (double)world.now_us / SIM_SECOND, text);
}

/* ---- events ---- */

static bool earlier(const struct event *a, const struct event *b)
{
    return a->at_us != b->at_us ? a->at_us < b->at_us : a->order < b->order;
}

void sim_at(int64_t in_us, sim_event_fn *fn, void *arg, uint64_t number)
{
    struct event e = {world.now_us + (in_us > 0 ? in_us : 0), ++world.order, fn, arg, number};
    *vec_push(&world.events) = e;
    struct event *heap = world.events.items;
    size_t i = world.events.len - 1;
    for (; i > 0 && earlier(&e, &heap[(i - 1) / 2]); i = (i - 1) / 2)
        heap[i] = heap[(i - 1) / 2];
    heap[i] = e;
}

static struct event take_event(void)
{
    struct event *heap = world.events.items, first = heap[0], last = heap[--world.events.len];
    size_t i = 0, n = world.events.len;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= n)
            break;
        if (child + 1 < n && earlier(&heap[child + 1], &heap[child]))
            child++;
        if (!earlier(&heap[child], &last))
            break;
        heap[i] = heap[child];
        i = child;
    }
    if (n > 0)
        heap[i] = last;
    return first;
}

/* ---- kills ---- */

void sim_kill_after(uint32_t boundaries)
{
    world.boundaries_left = boundaries;
}

void sim_boundary(const char *what)
{
    if (!world.controller_runs || world.boundaries_left == 0 || --world.boundaries_left > 0)
        return;
    sim_note("KILLED at %s", what);
    world.controller_runs = false;
    longjmp(world.killed, 1);
}

/* The controller's code, which may end in the middle. */
static void run_controller(void (*part)(void))
{
    if (setjmp(world.killed) != 0) {
        life_kill(NULL);
        return;
    }
    world.controller_runs = true;
    part();
    world.controller_runs = false;
}

static void turn_loop(void)
{
    int turns = 0;
    while (sim.control != NULL && loop_turn()) {
        if (sim.control != NULL)
            check_step();
        if (++turns > TURNS_AT_ONCE)
            sim_fail("the controller's loop turns and turns at one moment");
    }
}

/* ---- the passage of time ---- */

static void start_now(void)
{
    life_start();
}

static void step_writer(void)
{
    writer_due();
}

void sim_stall(int64_t us);
void sim_stall(int64_t us)
{
    world.stalled_until_us = world.now_us + us;
}

static void on_start(void *arg, uint64_t number)
{
    (void)arg, (void)number;
    if (sim.control == NULL)
        run_controller(start_now);
}

void sim_start_controller(int64_t in_us);
void sim_start_controller(int64_t in_us)
{
    sim_at(in_us, on_start, NULL, 0);
}

void sim_step_writer(void);
void sim_step_writer(void)
{
    run_controller(step_writer);
}

/* In the controller's place, as its API does. */
void sim_as_controller(void (*part)(void));
void sim_as_controller(void (*part)(void))
{
    run_controller(part);
}

void sim_run(int64_t us)
{
    int64_t until = world.now_us + us;
    for (;;) {
        int64_t loop = sim.control != NULL ? loop_due_us() : INT64_MAX;
        if (sim.control != NULL && loop_is_readable())
            loop = world.now_us;
        if (loop < world.stalled_until_us)
            loop = world.stalled_until_us;
        int64_t event = world.events.len > 0 ? world.events.items[0].at_us : INT64_MAX;
        int64_t next = event <= loop ? event : loop;
        if (next > until)
            break;
        world.now_us = next > world.now_us ? next : world.now_us;
        if (event <= loop) {
            struct event e = take_event();
            e.fn(e.arg, e.number);
        } else {
            run_controller(turn_loop);
        }
    }
    world.now_us = until;
}

void world_begin(void);
void world_begin(void)
{
    world.random = sim.options.seed * 0xd1342543de82ef95u + 0x632be59bd9b4e019u;
    world.now_us = SIM_SECOND;
    world.events.len = 0; /* of the template */
    sim.hash = 0xcbf29ce484222325u;
    sim.wall_offset_ms = 1700000000000;
    signal(SIGABRT, on_abort);
    signal(SIGSEGV, on_abort);
}
