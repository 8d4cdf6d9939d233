/* The controller dies and comes back; shims are killed. */
#include "engine/rig.h"

static void crash_and_reopen(struct rig *rig)
{
    rig_close(rig); /* to a shim, the same as a controller that was killed: its connection ends */
    rig_open(rig);
}

static void a_run_goes_on_and_is_adopted(void **state)
{
    struct rig *rig = *state;
    rig_start(rig, "a.1", "i=0; while :; do i=$((i+1)); echo line $i; sleep 0.02; done");
    struct run_status before = rig_wait(rig, "a.1", RUN_RUNNING);
    rig_close(rig);
    int64_t end = clock_mono_ms() + RIG_PATIENCE_MS; /* it logs while nobody is there */
    while (!rig_contains(rig, "logs/app.log", "line 20\"") && clock_mono_ms() < end)
        poll(NULL, 0, 10);
    assert_true(rig_contains(rig, "logs/app.log", "line 20\""));
    rig_open(rig);
    struct run_status s; /* known at once, before any poll */
    assert_true(rig_status(rig, "a.1", &s));
    assert_int_equal(s.state, RUN_RUNNING);
    assert_int_equal(s.pid, before.pid);
    assert_int_equal(s.shim_pid, before.shim_pid);
    assert_int_equal(s.started_ms, before.started_ms);
    rig_stop(rig, "a.1", SIGTERM, 10000);
    s = rig_wait(rig, "a.1", RUN_EXITED);
    assert_int_equal(s.exit_signal, SIGTERM);
}

static void an_end_meanwhile_is_told(void **state)
{
    struct rig *rig = *state;
    struct run_status s;
    rig_start(rig, "a.1", "while ! [ -e go ]; do sleep 0.02; done; exit 9");
    s = rig_wait(rig, "a.1", RUN_RUNNING);
    rig_close(rig);
    cleanup_free char *go = xasprintf("%s/go", rig->root);
    assert_int_equal(durable_write(AT_FDCWD, go, 0600, "", 0, NULL), 0);
    while (waitpid(s.shim_pid, NULL, 0) < 0 && errno == EINTR)
        continue;
    rig_open(rig);
    assert_true(rig_status(rig, "a.1", &s));
    assert_int_equal(s.state, RUN_EXITED);
    assert_int_equal(s.exit_code, 9);
}

static void a_grace_goes_on_without_a_controller(void **state)
{
    struct rig *rig = *state;
    struct run_status s;
    rig_start(rig, "a.1", "trap '' TERM; echo up > up; while :; do sleep 0.05; done");
    RIG_UNTIL(rig, rig_contains(rig, "up", "up"));
    rig_status(rig, "a.1", &s);
    rig_stop(rig, "a.1", SIGTERM, 200);
    rig_close(rig);
    while (waitpid(s.shim_pid, NULL, 0) < 0 && errno == EINTR)
        continue;
    rig_open(rig);
    assert_int_equal(rig_wait(rig, "a.1", RUN_EXITED).exit_signal, SIGKILL);
}

static void an_old_id_is_refused_after_a_restart(void **state)
{
    struct rig *rig = *state;
    struct error err = ERROR_INIT;
    const char *argv[4];
    rig_start(rig, "a.1", "sleep 1000");
    crash_and_reopen(rig);
    struct run_spec spec = rig_spec(rig, "a.1", "true", argv);
    assert_int_equal(rig->engine->ops->start(rig->engine, &spec, &err), -1);
    assert_int_equal(err.class, ERROR_CONFLICT);
}

static const char FAMILY[] = "setsid sh -c 'echo $$ > session; exec sleep 1000' & "
                             "sh -c 'echo $$ > child; exec sleep 1000' & "
                             "echo $$ > main; exec sleep 1000";

static bool family_is_up(struct rig *rig)
{
    return rig_pid(rig, "main") != 0 && rig_pid(rig, "child") != 0 && rig_pid(rig, "session") != 0;
}

static void assert_family_is_gone(struct rig *rig)
{
    assert_true(process_gone(rig_pid(rig, "main")));
    assert_true(process_gone(rig_pid(rig, "child")));
    assert_true(process_gone(rig_pid(rig, "session")));
}

static void a_killed_shim_takes_its_run_along(void **state)
{
    struct rig *rig = *state;
    rig_start(rig, "a.1", FAMILY);
    struct run_status s = rig_wait(rig, "a.1", RUN_RUNNING);
    RIG_UNTIL(rig, family_is_up(rig));
    assert_int_equal(kill(s.shim_pid, SIGKILL), 0);
    s = rig_wait(rig, "a.1", RUN_LOST);
    assert_int_equal(s.pid, 0);
    assert_family_is_gone(rig);
    assert_int_equal(rig->engine->ops->forget(rig->engine, "a.1", NULL), 0);
}

static void a_shim_killed_while_nobody_looked(void **state)
{
    struct rig *rig = *state;
    rig_start(rig, "a.1", FAMILY);
    struct run_status s = rig_wait(rig, "a.1", RUN_RUNNING);
    RIG_UNTIL(rig, family_is_up(rig));
    rig_close(rig);
    assert_int_equal(kill(s.shim_pid, SIGKILL), 0);
    while (waitpid(s.shim_pid, NULL, 0) < 0 && errno == EINTR)
        continue;
    rig_open(rig);
    assert_true(rig_status(rig, "a.1", &s));
    assert_true(s.state == RUN_CLEANING || s.state == RUN_LOST);
    rig_wait(rig, "a.1", RUN_LOST);
    assert_family_is_gone(rig);
}

/* The sweep goes by a random key, not by the id: another server on this machine may have it too. */
static void the_same_id_of_another_server_is_let_alone(void **state)
{
    struct rig *rig = *state;
    void *other_state = NULL;
    assert_int_equal(rig_setup(&other_state), 0);
    struct rig *other = other_state;
    rig_start(rig, "a.1", "exec sleep 1000");
    rig_start(other, "a.1", FAMILY);
    struct run_status s = rig_wait(rig, "a.1", RUN_RUNNING);
    RIG_UNTIL(other, family_is_up(other));
    assert_int_equal(kill(s.shim_pid, SIGKILL), 0);
    rig_wait(rig, "a.1", RUN_LOST);
    assert_false(process_gone(rig_pid(other, "main")));
    assert_false(process_gone(rig_pid(other, "session")));
    assert_int_equal(rig_teardown(&other_state), 0);
}

/* Rewrites the line that begins with `key` in the run folder's info file. */
static void change_info(struct rig *rig, const char *id, const char *key, const char *line)
{
    cleanup_free char *name = xasprintf("run/%s/run", id);
    cleanup_free char *path = xasprintf("%s/%s", rig->root, name);
    cleanup_free char *text = rig_read(rig, name);
    char *at = strstr(text, key);
    assert_non_null(at);
    cleanup_free char *changed =
        xasprintf("%.*s%s%s", (int)(at - text), text, line, strchr(at, '\n'));
    assert_int_equal(durable_write(AT_FDCWD, path, 0600, changed, strlen(changed), NULL), 0);
}

static void after_a_reboot_nothing_is_killed(void **state)
{
    struct rig *rig = *state;
    struct run_status s;
    rig_start(rig, "a.1", FAMILY);
    s = rig_wait(rig, "a.1", RUN_RUNNING);
    RIG_UNTIL(rig, family_is_up(rig));
    rig_close(rig);
    change_info(rig, "a.1", "boot ", "boot 00000000-0000-0000-0000-000000000000");
    pid_t child = rig_pid(rig, "child"), session = rig_pid(rig, "session");
    assert_int_equal(kill(s.shim_pid, SIGKILL), 0);
    while (waitpid(s.shim_pid, NULL, 0) < 0 && errno == EINTR)
        continue;
    rig_open(rig);
    assert_true(rig_status(rig, "a.1", &s));
    assert_int_equal(s.state, RUN_LOST);
    assert_false(process_gone(child)); /* stands for a stranger that has the number now */
    kill(child, SIGKILL);
    kill(session, SIGKILL);
    RIG_UNTIL(rig, process_gone(child) && process_gone(session));
    assert_int_equal(rig->engine->ops->forget(rig->engine, "a.1", NULL), 0);
}

static void make_file(const char *dir, const char *name, const char *text)
{
    cleanup_free char *path = xasprintf("%s/%s", dir, name);
    assert_int_equal(durable_write(AT_FDCWD, path, 0600, text, strlen(text), NULL), 0);
}

/* The controller was killed between making the folder and the fork: nothing of it ever ran, and
 * the next controller may start it under that id. */
static void what_never_began_is_started_anew(void **state)
{
    struct rig *rig = *state;
    struct run_status s;
    cleanup_free char *empty = xasprintf("%s/empty.1", rig->run_dir);
    cleanup_free char *locked = xasprintf("%s/locked.1", rig->run_dir);
    cleanup_free char *sockets = xasprintf("%s/locked.1", rig->sockets_dir);
    rig_start(rig, "a.1", "exec sleep 1000");
    rig_wait(rig, "a.1", RUN_RUNNING);
    cleanup_free char *info = rig_read(rig, "run/a.1/run");
    rig_close(rig);
    assert_int_equal(mkdir(empty, 0700), 0);
    assert_int_equal(mkdir(locked, 0700), 0);
    make_file(locked, "lock", "");
    make_file(locked, "run", info);
    assert_int_equal(mkdir(sockets, 0700), 0);
    rig_open(rig);
    assert_false(rig_status(rig, "empty.1", &s));
    assert_false(rig_status(rig, "locked.1", &s));
    assert_int_equal(access(empty, F_OK), -1);
    assert_int_equal(access(sockets, F_OK), -1);
    const char *argv[4];
    struct run_spec spec = rig_spec(rig, "locked.1", "exit 7", argv);
    spec.socket = true;
    rig_start_spec(rig, &spec);
    assert_int_equal(rig_wait(rig, "locked.1", RUN_EXITED).exit_code, 7);
}

static void odd_folders_are_lost_or_left_alone(void **state)
{
    struct rig *rig = *state;
    struct run_status s;
    struct error err = ERROR_INIT;
    rig_close(rig);
    cleanup_free char *torn = xasprintf("%s/torn.1", rig->run_dir);
    cleanup_free char *torn_exit = xasprintf("%s/exit", torn);
    cleanup_free char *strange = xasprintf("%s/not a run", rig->run_dir);
    cleanup_free char *file = xasprintf("%s/file", rig->run_dir);
    assert_int_equal(mkdir(torn, 0700), 0);
    assert_int_equal(mkdir(strange, 0700), 0);
    assert_int_equal(durable_write(AT_FDCWD, torn_exit, 0600, "sluice-exit 1\ncode", 18, NULL), 0);
    assert_int_equal(durable_write(AT_FDCWD, file, 0600, "", 0, NULL), 0);
    rig_open(rig);
    assert_true(rig_status(rig, "torn.1", &s));
    assert_int_equal(s.state, RUN_LOST);
    assert_false(rig_status(rig, "file", &s));
    assert_int_equal(rig->engine->ops->forget(rig->engine, "torn.1", &err), 0);
    assert_int_equal(access(torn, F_OK), -1);
}

/* A shim that cannot be reached yet (its socket is not there) is linked later. */
static void a_late_socket_is_found(void **state)
{
    struct rig *rig = *state;
    struct run_status s;
    cleanup_free char *socket_path = xasprintf("%s/a.1/control", rig->run_dir);
    cleanup_free char *hidden = xasprintf("%s/a.1/hidden", rig->run_dir);
    rig_start(rig, "a.1", "exec sleep 1000");
    rig_wait(rig, "a.1", RUN_RUNNING);
    rig_close(rig);
    assert_int_equal(rename(socket_path, hidden), 0);
    rig_open(rig);
    assert_true(rig_status(rig, "a.1", &s));
    assert_int_equal(s.state, RUN_STARTING);
    rig_stop(rig, "a.1", SIGTERM, 10000); /* is kept until it can be said */
    rig_turn(rig, 20);
    assert_int_equal(rename(hidden, socket_path), 0);
    assert_int_equal(rig_wait(rig, "a.1", RUN_EXITED).exit_signal, SIGTERM);
}

static void a_hundred_are_adopted(void **state)
{
    enum { RUNS = 100 };
    struct rig *rig = *state;
    char id[32];
    struct run_status s;
    for (int i = 0; i < RUNS; i++) {
        snprintf(id, sizeof id, "m-%d.1", i);
        rig_start(rig, id, "exec sleep 1000");
    }
    crash_and_reopen(rig); /* many of them are still on their way */
    for (int i = 0; i < RUNS; i++) {
        snprintf(id, sizeof id, "m-%d.1", i);
        s = rig_wait(rig, id, RUN_RUNNING);
        if (i % 2 == 0)
            assert_int_equal(kill(s.shim_pid, SIGKILL), 0);
    }
    for (int i = 0; i < RUNS; i += 2) {
        snprintf(id, sizeof id, "m-%d.1", i);
        rig_wait(rig, id, RUN_LOST);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RIG_TEST(a_run_goes_on_and_is_adopted),
        RIG_TEST(an_end_meanwhile_is_told),
        RIG_TEST(a_grace_goes_on_without_a_controller),
        RIG_TEST(an_old_id_is_refused_after_a_restart),
        RIG_TEST(a_killed_shim_takes_its_run_along),
        RIG_TEST(a_shim_killed_while_nobody_looked),
        RIG_TEST(the_same_id_of_another_server_is_let_alone),
        RIG_TEST(after_a_reboot_nothing_is_killed),
        RIG_TEST(what_never_began_is_started_anew),
        RIG_TEST(odd_folders_are_lost_or_left_alone),
        RIG_TEST(a_late_socket_is_found),
        RIG_TEST(a_hundred_are_adopted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
