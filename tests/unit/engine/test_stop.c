/* Ends that are asked for, and what a run leaves behind when its main process ends. */
#include "engine/process/process_internal.h"
#include "engine/rig.h"

static void term_ends_it_within_the_grace(void **state)
{
    struct rig *rig = *state;
    rig_start(rig, "a.1",
              "trap 'echo bye; exit 3' TERM; echo up > up; while :; do sleep 0.02; done");
    RIG_UNTIL(rig, rig_contains(rig, "up", "up"));
    rig_stop(rig, "a.1", SIGTERM, 15000);
    struct run_status s = rig_wait(rig, "a.1", RUN_EXITED);
    assert_int_equal(s.exit_code, 3);
    assert_true(rig_contains(rig, "logs/app.log", "\"m\":\"bye\""));
}

/* The whole group ignores TERM; so does a child in it. */
static void what_ignores_term_is_killed_after_the_grace(void **state)
{
    struct rig *rig = *state;
    rig_start(rig, "a.1",
              "trap '' TERM; sh -c 'echo $$ > child; while :; do sleep 0.05; done' & "
              "while :; do sleep 0.05; done");
    RIG_UNTIL(rig, rig_pid(rig, "child") != 0);
    rig_stop(rig, "a.1", SIGTERM, 100);
    struct run_status s = rig_wait(rig, "a.1", RUN_EXITED);
    assert_int_equal(s.exit_signal, SIGKILL);
    assert_false(s.oom_killed);
    assert_true(process_gone(rig_pid(rig, "child")));
}

static void the_signal_reaches_the_whole_group(void **state)
{
    struct rig *rig = *state;
    rig_start(rig, "a.1",
              "sh -c \"trap 'echo child heard it; exit' USR1; echo \\$\\$ > child; "
              "while :; do sleep 0.02; done\" & wait; sleep 1000");
    RIG_UNTIL(rig, rig_pid(rig, "child") != 0);
    rig_stop(rig, "a.1", SIGUSR1, 15000);
    rig_wait(rig, "a.1", RUN_EXITED);
    assert_true(rig_contains(rig, "logs/app.log", "child heard it"));
}

/* A shell in front dies of TERM at once; the server behind it has the grace to finish. */
static void the_rest_of_the_group_keeps_its_grace(void **state)
{
    struct rig *rig = *state;
    rig_start(rig, "a.1",
              "sh -c \"trap 'sleep 0.3; echo finished; exit' TERM; echo \\$\\$ > child; "
              "while :; do sleep 0.02; done\" & echo $$ > main; wait");
    RIG_UNTIL(rig, rig_pid(rig, "child") != 0 && rig_pid(rig, "main") != 0);
    rig_stop(rig, "a.1", SIGTERM, 15000);
    struct run_status s = rig_wait(rig, "a.1", RUN_EXITED);
    assert_int_equal(s.exit_signal, SIGTERM);
    assert_true(rig_contains(rig, "logs/app.log", "\"m\":\"finished\""));
}

static void a_second_stop_shortens_the_grace(void **state)
{
    struct rig *rig = *state;
    rig_start(rig, "a.1", "trap '' TERM; echo up > up; while :; do sleep 0.05; done");
    RIG_UNTIL(rig, rig_contains(rig, "up", "up"));
    rig_stop(rig, "a.1", SIGTERM, 3600000);
    rig_turn(rig, 50);
    assert_true(rig_in_state(rig, "a.1", RUN_RUNNING));
    rig_stop(rig, "a.1", SIGTERM, 7200000); /* longer: changes nothing */
    rig_stop(rig, "a.1", SIGTERM, 20);
    assert_int_equal(rig_wait(rig, "a.1", RUN_EXITED).exit_signal, SIGKILL);
}

/* A controller that says stop at every turn must not be heard more than once. */
static void the_same_signal_is_sent_once(void **state)
{
    struct rig *rig = *state;
    rig_start(rig, "a.1",
              "n=0; trap 'n=$((n+1)); echo heard $n; touch heard' TERM; echo up > up; "
              "while [ $n -lt 2 ]; do [ -e end ] && exit 6; sleep 0.02; done");
    RIG_UNTIL(rig, rig_contains(rig, "up", "up"));
    cleanup_free char *heard = xasprintf("%s/heard", rig->root);
    cleanup_free char *end = xasprintf("%s/end", rig->root);
    rig_stop(rig, "a.1", SIGTERM, 15000);
    RIG_UNTIL(rig, access(heard, F_OK) == 0);
    for (int i = 0; i < 5; i++)
        rig_stop(rig, "a.1", SIGTERM, 15000);
    assert_int_equal(durable_write(AT_FDCWD, end, 0600, "", 0, NULL), 0);
    assert_int_equal(rig_wait(rig, "a.1", RUN_EXITED).exit_code, 6);
    assert_false(rig_contains(rig, "logs/app.log", "heard 2"));
}

static void no_grace_is_kill_at_once(void **state)
{
    struct rig *rig = *state;
    rig_start(rig, "a.1", "trap 'echo heard' TERM; while :; do sleep 0.05; done");
    rig_stop(rig, "a.1", SIGTERM, 0); /* also: said while it is still starting */
    assert_int_equal(rig_wait(rig, "a.1", RUN_EXITED).exit_signal, SIGKILL);
    assert_false(rig_contains(rig, "logs/app.log", "heard"));
}

static void a_stopped_process_hears_the_signal(void **state)
{
    struct rig *rig = *state;
    rig_start(rig, "a.1", "trap 'exit 5' TERM; echo up > up; kill -STOP $$; sleep 1000");
    RIG_UNTIL(rig, rig_contains(rig, "up", "up"));
    rig_stop(rig, "a.1", SIGTERM, 15000);
    assert_int_equal(rig_wait(rig, "a.1", RUN_EXITED).exit_code, 5);
}

/* A daemon: own session, parent gone. It is the shim's child by then and dies with the run. */
static void a_daemon_dies_with_its_run(void **state)
{
    struct rig *rig = *state;
    rig_start(rig, "a.1",
              "setsid sh -c 'setsid sh -c \"echo \\$\\$ > daemon; exec sleep 1000\" & exit' & "
              "while ! [ -s daemon ]; do sleep 0.02; done; exit 4");
    struct run_status s = rig_wait(rig, "a.1", RUN_EXITED);
    assert_int_equal(s.exit_code, 4);
    assert_true(rig_pid(rig, "daemon") > 0);
    assert_true(process_gone(rig_pid(rig, "daemon")));
}

static void a_child_that_holds_stdout_hangs_nothing(void **state)
{
    struct rig *rig = *state;
    rig_start(rig, "a.1", "sh -c 'trap \"\" TERM HUP; sleep 1000' & echo last words; exit 0");
    struct run_status s = rig_wait(rig, "a.1", RUN_EXITED);
    assert_int_equal(s.exit_code, 0);
    assert_true(rig_contains(rig, "logs/app.log", "last words"));
}

static void much_output_is_not_lost_at_the_end(void **state)
{
    struct rig *rig = *state;
    rig_start(rig, "a.1", "seq 1 4000; echo over >&2; kill -KILL $$");
    struct run_status s = rig_wait(rig, "a.1", RUN_EXITED);
    assert_int_equal(s.exit_signal, SIGKILL);
    assert_false(s.oom_killed);
    assert_true(rig_contains(rig, "logs/app.log", "\"m\":\"4000\""));
    assert_true(rig_contains(rig, "logs/app.log", "\"m\":\"over\""));
}

static void signals_do_not_end_the_shim(void **state)
{
    static const int signals[] = {SIGTERM, SIGINT,  SIGHUP,  SIGQUIT, SIGPIPE,
                                  SIGUSR1, SIGALRM, SIGTSTP, SIGXCPU};
    struct rig *rig = *state;
    rig_start(rig, "a.1", "while :; do echo on; sleep 0.02; done");
    struct run_status s = rig_wait(rig, "a.1", RUN_RUNNING);
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
        assert_int_equal(kill(s.shim_pid, signals[i]), 0);
    RIG_UNTIL(rig, rig_contains(rig, "logs/app.log", "\"m\":\"on\""));
    rig_stop(rig, "a.1", SIGINT, 5000);
    assert_int_equal(rig_wait(rig, "a.1", RUN_EXITED).exit_signal, SIGINT);
}

/* Frozen (SIGSTOP, a debugger that hangs), it holds an app that is to go. */
static void a_frozen_shim_is_killed_after_the_grace(void **state)
{
    struct rig *rig = *state;
    rig_start(rig, "a.1", "setsid sh -c 'echo $$ > child; exec sleep 1000' & echo $$ > main; wait");
    struct run_status s = rig_wait(rig, "a.1", RUN_RUNNING);
    RIG_UNTIL(rig, rig_pid(rig, "main") != 0 && rig_pid(rig, "child") != 0);
    assert_int_equal(kill(s.shim_pid, SIGSTOP), 0);
    int64_t began = clock_mono_ms();
    log_init("test", LOG_ERROR + 1);
    rig_stop(rig, "a.1", SIGTERM, 1000);
    rig_wait(rig, "a.1", RUN_LOST);
    log_init("test", LOG_ERROR);
    assert_true(clock_mono_ms() - began >= 1000);
    assert_true(process_gone(s.shim_pid));
    assert_true(process_gone(rig_pid(rig, "main")));
    assert_true(process_gone(rig_pid(rig, "child")));
}

/* Its app takes long to die, but it answers: it is let alone. */
static void a_shim_that_answers_is_not_killed(void **state)
{
    struct rig *rig = *state;
    rig_start(rig, "a.1", "trap '' TERM; echo up > up; while :; do sleep 0.05; done");
    struct run_status s = rig_wait(rig, "a.1", RUN_RUNNING);
    RIG_UNTIL(rig, rig_contains(rig, "up", "up"));
    rig_stop(rig, "a.1", SIGTERM, 60000);
    ((struct process_engine *)rig->engine)->timer_at_ms = 0; /* nothing wakes it but we */
    struct run *r = map_get(&((struct process_engine *)rig->engine)->runs, "a.1");
    for (int i = 0; i < 3; i++) {
        r->late.look_ms = 1; /* all is due */
        late_check((struct process_engine *)rig->engine, r);
        RIG_UNTIL(rig, r->late.heard);
    }
    assert_false(process_gone(s.shim_pid));
    assert_true(rig_in_state(rig, "a.1", RUN_RUNNING));
    ((struct process_engine *)rig->engine)->timer_at_ms = INT64_MAX;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RIG_TEST(term_ends_it_within_the_grace),
        RIG_TEST(what_ignores_term_is_killed_after_the_grace),
        RIG_TEST(the_signal_reaches_the_whole_group),
        RIG_TEST(the_rest_of_the_group_keeps_its_grace),
        RIG_TEST(a_second_stop_shortens_the_grace),
        RIG_TEST(the_same_signal_is_sent_once),
        RIG_TEST(no_grace_is_kill_at_once),
        RIG_TEST(a_stopped_process_hears_the_signal),
        RIG_TEST(a_daemon_dies_with_its_run),
        RIG_TEST(a_child_that_holds_stdout_hangs_nothing),
        RIG_TEST(much_output_is_not_lost_at_the_end),
        RIG_TEST(signals_do_not_end_the_shim),
        RIG_TEST(a_frozen_shim_is_killed_after_the_grace),
        RIG_TEST(a_shim_that_answers_is_not_killed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
