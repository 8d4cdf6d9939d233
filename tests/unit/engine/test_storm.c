/* Shims, apps and controllers killed at random moments, from a seed (SLUICE_SEED): no process is
 * left over, none is doubled, every run comes to its end. */
#include "engine/rig.h"

#include "base/vec.h"
#include "os/proc.h"

enum { ROUNDS = 60, SLOTS = 6 };

static unsigned long long seed = 1;

static unsigned pick(unsigned n)
{
    seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
    return (unsigned)(seed >> 33) % n;
}

/* Every process of a run appends its pid; some of them leave group and session. */
static const char SCRIPT[] = "setsid sh -c 'setsid sh -c \"exec sleep 1000\" & exec sleep 1000' & "
                             "sh -c 'trap \"\" TERM; sleep 1000; sleep 1000' & exec sleep 1000";

static unsigned processes_with(const char *id)
{
    struct proc_list all = {0};
    unsigned n = 0;
    char value[RUN_ID_MAX + 1];
    assert_int_equal(proc_list_all(&all, NULL), 0);
    for (size_t i = 0; i < all.len; i++)
        if (all.items[i].state != 'Z' &&
            proc_environ_get(all.items[i].pid, "SLUICE_RUN", value, sizeof value) == 0 &&
            strcmp(value, id) == 0)
            n++;
    vec_release(&all);
    return n;
}

static bool over(struct rig *rig, const char *id)
{
    return rig_in_state(rig, id, RUN_EXITED) || rig_in_state(rig, id, RUN_LOST);
}

static void disturb(struct rig *rig, const char *id)
{
    struct run_status s;
    if (!rig_status(rig, id, &s))
        return;
    switch (pick(6)) {
    case 0:
        if (s.shim_pid > 0 && s.state == RUN_RUNNING)
            kill(s.shim_pid, SIGKILL);
        break;
    case 1:
        if (s.pid > 0)
            kill(s.pid, SIGKILL);
        break;
    case 2: rig_stop(rig, id, SIGTERM, pick(100)); break;
    case 3:
        rig_close(rig);
        rig_open(rig);
        break;
    case 4: /* the controller and the shim at once */
        rig_close(rig);
        if (s.shim_pid > 0 && s.state == RUN_RUNNING)
            kill(s.shim_pid, SIGKILL);
        rig_open(rig);
        break;
    default: rig_turn(rig, (int)pick(10)); break;
    }
}

static void a_storm(void **state)
{
    struct rig *rig = *state;
    char ids[SLOTS][48] = {{0}};
    int starts = 0;
    const char *text = getenv("SLUICE_SEED");
    seed = text != NULL ? strtoull(text, NULL, 10) : (unsigned long long)clock_wall_ms();
    print_message("SLUICE_SEED=%llu\n", seed);
    int tag = (int)getpid(); /* ids that no other test running now has */
    for (int round = 0; round < ROUNDS; round++) {
        char *id = ids[pick(SLOTS)];
        if (id[0] == '\0') {
            snprintf(id, sizeof ids[0], "storm%d-%d.1", tag, ++starts);
            rig_start(rig, id, SCRIPT);
        } else if (over(rig, id)) {
            assert_int_equal(processes_with(id), 0);
            assert_int_equal(rig->engine->ops->forget(rig->engine, id, NULL), 0);
            id[0] = '\0';
        } else {
            disturb(rig, id);
        }
    }
    for (int i = 0; i < SLOTS; i++) {
        if (ids[i][0] == '\0')
            continue;
        rig_stop(rig, ids[i], SIGTERM, 20);
        RIG_UNTIL(rig, over(rig, ids[i]));
        assert_int_equal(processes_with(ids[i]), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RIG_TEST(a_storm), RIG_TEST(a_storm), RIG_TEST(a_storm),
        RIG_TEST(a_storm), RIG_TEST(a_storm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
