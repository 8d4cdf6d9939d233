/* The simulator's command: which seeds, in how many processes, and what became of them.
 *
 *   sim [--seeds A-B] [--jobs N]       all of them; each that fails is told with its trace
 *   sim --seed N [--trace]             one, with all that happens where it is asked for
 *   sim --first --seeds A-B            until the first that fails
 *   sim --hash --seeds A-B             a line per seed, equal for equal runs */
#include "sim.h"

#include <errno.h>
#include <ftw.h>
#include <getopt.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { CALM_SLICES = 3600, FAILURES_TOLD = 20, SEED_LIMIT_S = 60 };

void world_begin(void);
void sim_start_controller(int64_t in_us);

struct options {
    uint64_t first, last;
    unsigned jobs;
    bool trace, hash, first_only;
};

static struct {
    _Atomic unsigned passed, failed;
} * tally; /* shared by all jobs */

/* ---- one seed ---- */

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st, (void)type, (void)at;
    return remove(path);
}

static void remove_data(void)
{
    nftw(sim.data, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static void make_data(void)
{
    char path[96];
    if (sim.data[0] == '\0') {
        snprintf(sim.data, sizeof sim.data, "/dev/shm/sluice-sim-XXXXXX");
        if (mkdtemp(sim.data) == NULL)
            sim_fail("%s: %s", sim.data, strerror(errno));
    } else {
        mkdir(sim.data, 0755);
    }
    snprintf(path, sizeof path, "%s/run", sim.data);
    mkdir(path, 0755);
}

static void until_steady(void)
{
    char why[300] = "";
    scenario_calm();
    for (int i = 0; i < CALM_SLICES; i++) {
        sim_run(SIM_SECOND / 2);
        if (i % 4 == 0)
            scenario_nudge();
        if (check_is_steady(why, sizeof why)) {
            sim_run(3 * SIM_SECOND); /* and stays so */
            if (check_is_steady(why, sizeof why))
                return;
        }
    }
    sim_fail("it does not come to rest: %s", why);
}

static void run_seed(const struct options *options, uint64_t seed)
{
    sim.options.seed = seed;
    sim.options.trace = options->trace;
    alarm(SEED_LIMIT_S);
    world_begin();
    disk_begin();
    guardian_begin();
    sim_start_controller(0);
    scenario_begin();
    until_steady();
    check_end();
    if (options->hash)
        printf("%llu %016llx\n", (unsigned long long)seed, (unsigned long long)sim.hash);
}

/* The database that each seed begins with: made once, by the real store. */
static void make_template(void)
{
    struct error err = ERROR_INIT;
    char path[128];
    make_data();
    disk_begin();
    snprintf(path, sizeof path, "%s/state.db", sim.data);
    struct store_options options = {.path = path};
    struct store *store = store_open(&options, &err);
    if (store == NULL)
        sim_fail("%s", err.text);
    store_close(store);
    disk_keep_as_template();
    remove_data();
}

/* ---- many ---- */

static bool ended_well(int status)
{
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void tell_death(uint64_t seed, int status)
{
    if (WIFSIGNALED(status))
        fprintf(stderr, "killed by signal %d%s\nbuild/sim/sim --seed %llu\n", WTERMSIG(status),
                WTERMSIG(status) == SIGALRM ? " (it takes too long)" : "",
                (unsigned long long)seed);
}

static bool enough(const struct options *o)
{
    return o->first_only && atomic_load(&tally->failed) > 0;
}

/* Each seed in a process of its own: what was abandoned in it goes with it. */
static void run_share(const struct options *options, unsigned job)
{
    sim.data[0] = '\0'; /* of this job alone */
    for (uint64_t seed = options->first + job; seed <= options->last && !enough(options);
         seed += options->jobs) {
        fflush(NULL);
        make_data();
        pid_t pid = fork();
        if (pid == 0) {
            if (atomic_load(&tally->failed) >= FAILURES_TOLD &&
                freopen("/dev/null", "w", stderr) == NULL)
                _exit(2);
            run_seed(options, seed);
            exit(0);
        }
        int status = 0;
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
            ;
        remove_data();
        atomic_fetch_add(ended_well(status) ? &tally->passed : &tally->failed, 1);
        if (!ended_well(status))
            tell_death(seed, status);
    }
}

static int run_all(const struct options *options)
{
    struct timespec began, ended;
    clock_gettime(CLOCK_MONOTONIC, &began);
    tally = mmap(NULL, sizeof *tally, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (tally == MAP_FAILED)
        return perror("mmap"), 2;
    for (unsigned job = 0; job < options->jobs; job++)
        if (fork() == 0) {
            run_share(options, job);
            _exit(0);
        }
    bool broken = false;
    for (int status; wait(&status) > 0;)
        broken = broken || !ended_well(status);
    clock_gettime(CLOCK_MONOTONIC, &ended);
    printf("sim: %u passed, %u failed (from seed %llu, %lld s)\n", tally->passed, tally->failed,
           (unsigned long long)options->first, (long long)(ended.tv_sec - began.tv_sec));
    return tally->failed > 0 || broken ? 1 : 0;
}

static bool parse_seeds(const char *text, struct options *o)
{
    char *end;
    o->first = strtoull(text, &end, 10);
    o->last = *end == '-' ? strtoull(end + 1, &end, 10) : o->first;
    return *end == '\0' && o->first <= o->last;
}

int main(int argc, char **argv)
{
    static const struct option longs[] = {{"seed", 1, NULL, 's'}, {"seeds", 1, NULL, 's'},
                                          {"jobs", 1, NULL, 'j'}, {"trace", 0, NULL, 't'},
                                          {"hash", 0, NULL, 'h'}, {"first", 0, NULL, 'f'},
                                          {NULL, 0, NULL, 0}};
    struct options options = {.first = 1, .last = 1000, .jobs = 1};
    for (int c; (c = getopt_long(argc, argv, "", longs, NULL)) != -1;)
        if (c == 's' && parse_seeds(optarg, &options))
            continue;
        else if (c == 'j')
            options.jobs = (unsigned)strtoul(optarg, NULL, 10);
        else if (c == 't')
            options.trace = true;
        else if (c == 'h')
            options.hash = true;
        else if (c == 'f')
            options.first_only = true;
        else
            return fprintf(stderr, "usage: sim [--seed N | --seeds A-B] [--jobs N] [--trace] "
                                   "[--first] [--hash]\n"),
                   2;
    if (options.jobs == 0)
        options.jobs = 1;
    json_object_seed(1);
    disk_init();
    make_template();
    return run_all(&options);
}
