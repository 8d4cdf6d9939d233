/* The way of a run: started, ended, and what is told about it. */
#include "engine/rig.h"

static void exit_code_and_log(void **state)
{
    struct rig *rig = *state;
    rig_start(rig, "a.1", "echo hello; echo oops >&2; exit 7");
    struct run_status s = rig_wait(rig, "a.1", RUN_EXITED);
    assert_int_equal(s.exit_code, 7);
    assert_int_equal(s.exit_signal, 0);
    assert_false(s.start_failed);
    assert_false(s.oom_killed);
    assert_int_equal(s.pid, 0);
    assert_true(s.started_ms > 0 && s.ended_ms >= s.started_ms);
    assert_string_equal(s.reason, "");
    assert_true(
        rig_contains(rig, "logs/app.log", "\"s\":\"out\",\"p\":\"web\",\"m\":\"hello\"}\n"));
    assert_true(rig_contains(rig, "logs/app.log", "\"s\":\"err\",\"p\":\"web\",\"m\":\"oops\"}\n"));
    assert_true(rig->changes >= 1);
}

static void running_is_reported_with_its_pid(void **state)
{
    struct rig *rig = *state;
    rig_start(rig, "a.1", "echo $$ > pid; exec sleep 1000");
    struct run_status s = rig_wait(rig, "a.1", RUN_RUNNING);
    RIG_UNTIL(rig, rig_pid(rig, "pid") != 0);
    assert_int_equal(s.pid, rig_pid(rig, "pid"));
    assert_true(s.shim_pid > 0);
    assert_int_equal(s.exit_code, -1);
    rig_stop(rig, "a.1", SIGTERM, 10000);
    s = rig_wait(rig, "a.1", RUN_EXITED);
    assert_int_equal(s.exit_signal, SIGTERM);
    assert_int_equal(s.exit_code, -1);
}

static struct run_status start_argv(struct rig *rig, const char *id, const char *const *argv)
{
    const char *unused[4];
    struct run_spec spec = rig_spec(rig, id, "", unused);
    spec.argv = argv;
    rig_start_spec(rig, &spec);
    return rig_wait(rig, id, RUN_EXITED);
}

static void failed_exec_says_why(void **state)
{
    struct rig *rig = *state;
    char want[200], script[128];
    struct run_status s = start_argv(rig, "a.1", (const char *[]){"./nope", NULL});
    assert_true(s.start_failed);
    assert_int_equal(s.exit_code, -1);
    snprintf(want, sizeof want, "exec ./nope: no such file or directory (in the release folder %s)",
             rig->root);
    assert_string_equal(s.reason, want);
    assert_true(rig_contains(rig, "logs/app.log", "not started: exec ./nope: no such file"));

    s = start_argv(rig, "a.2", (const char *[]){"no-such-program", "x", NULL});
    assert_string_equal(s.reason, "exec no-such-program: no such program in PATH");

    snprintf(script, sizeof script, "%s/script", rig->root);
    assert_int_equal(durable_write(AT_FDCWD, script, 0644, "#!/bin/sh\n", 10, NULL), 0);
    s = start_argv(rig, "a.3", (const char *[]){"./script", NULL});
    assert_non_null(strstr(s.reason, "exec ./script: permission denied"));

    assert_int_equal(durable_write(AT_FDCWD, script, 0755, "#!/no/such/sh\n", 14, NULL), 0);
    s = start_argv(rig, "a.4", (const char *[]){"./script", NULL});
    assert_non_null(strstr(s.reason, "its interpreter is missing"));

    assert_int_equal(durable_write(AT_FDCWD, script, 0755, "just text\n", 10, NULL), 0);
    s = start_argv(rig, "a.5", (const char *[]){"./script", NULL});
    assert_non_null(strstr(s.reason, "not a program for this machine, and no #! line"));
}

static void missing_folder_says_why(void **state)
{
    struct rig *rig = *state;
    const char *argv[4];
    struct run_spec spec = rig_spec(rig, "a.1", "true", argv);
    spec.dir = "/no/such/folder";
    rig_start_spec(rig, &spec);
    struct run_status s = rig_wait(rig, "a.1", RUN_EXITED);
    assert_true(s.start_failed);
    assert_string_equal(s.reason, "enter folder /no/such/folder: no such file or directory");
}

static void one_run_per_id_ever(void **state)
{
    struct rig *rig = *state;
    struct error err = ERROR_INIT;
    const char *argv[4];
    struct run_spec spec = rig_spec(rig, "a.1", "exit 0", argv);
    rig_start_spec(rig, &spec);
    assert_int_equal(rig->engine->ops->start(rig->engine, &spec, &err), -1);
    assert_int_equal(err.class, ERROR_CONFLICT);
    rig_wait(rig, "a.1", RUN_EXITED);
    assert_int_equal(rig->engine->ops->start(rig->engine, &spec, &err), -1);
    assert_int_equal(err.class, ERROR_CONFLICT);
    assert_int_equal(rig->engine->ops->forget(rig->engine, "a.1", &err), 0);
    RIG_UNTIL(rig, access(rig->run_dir, F_OK) == 0 && rmdir(rig->run_dir) == 0);
    mkdir(rig->run_dir, 0700);
}

static void bad_specs_are_refused(void **state)
{
    struct rig *rig = *state;
    static const char *const bad[] = {"", ".", "..", "a/b", "a b", "ä", "a\n"};
    const char *argv[4], *const none[] = {NULL};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct error err = ERROR_INIT;
        struct run_spec spec = rig_spec(rig, bad[i], "true", argv);
        assert_int_equal(rig->engine->ops->start(rig->engine, &spec, &err), -1);
        assert_int_equal(err.class, ERROR_USAGE);
    }
    struct error err = ERROR_INIT;
    struct run_spec spec = rig_spec(rig, "a.1", "true", argv);
    spec.argv = none;
    assert_int_equal(rig->engine->ops->start(rig->engine, &spec, &err), -1);
    spec = rig_spec(rig, "a.1", "true", argv);
    spec.user = "no-such-user-here";
    assert_int_equal(rig->engine->ops->start(rig->engine, &spec, &err), -1);
    assert_non_null(strstr(err.text, "there is no such user"));
    spec = rig_spec(rig, "a.1", "true", argv);
    spec.dir = "relative";
    assert_int_equal(rig->engine->ops->start(rig->engine, &spec, &err), -1);
    rig_start(rig, "a.1", "true"); /* nothing of the refused ones is in the way */
    rig_wait(rig, "a.1", RUN_EXITED);
}

static void unknown_runs_are_not_found(void **state)
{
    struct rig *rig = *state;
    struct error err = ERROR_INIT;
    struct run_status s;
    assert_int_equal(rig->engine->ops->status(rig->engine, "x", &s, &err), -1);
    assert_int_equal(err.class, ERROR_NOT_FOUND);
    assert_int_equal(rig->engine->ops->stop(rig->engine, "x", SIGTERM, 0, &err), -1);
    assert_int_equal(err.class, ERROR_NOT_FOUND);
    assert_int_equal(rig->engine->ops->forget(rig->engine, "x", &err), -1);
    assert_int_equal(err.class, ERROR_NOT_FOUND);
}

/* What the app sees: only its environment and the marks, closed descriptors, /dev/null as stdin,
 * default signals, no new privileges, its working folder. */
static void the_app_starts_clean(void **state)
{
    struct rig *rig = *state;
    rig_start(rig, "a.1",
              "env | sort > env; ls -l /proc/self/fd > fds; grep -E 'Sig(Ign|Blk)|NoNew' "
              "/proc/self/status > status; pwd > cwd; cat; echo end");
    rig_wait(rig, "a.1", RUN_EXITED);
    cleanup_free char *env = rig_read(rig, "env");
    assert_non_null(strstr(env, "MARK=from the spec\n"));
    assert_non_null(strstr(env, "SLUICE_RUN=a.1\n"));
    assert_null(strstr(env, "HOME="));
    cleanup_free char *status = rig_read(rig, "status");
    assert_non_null(strstr(status, "NoNewPrivs:\t1"));
    assert_non_null(strstr(status, "SigBlk:\t0000000000000000"));
    assert_non_null(strstr(status, "SigIgn:\t0000000000000000"));
    cleanup_free char *fds = rig_read(rig, "fds");
    assert_non_null(strstr(fds, " 0 -> /dev/null"));
    assert_null(strstr(fds, " 4 -> "));
    assert_null(strstr(fds, "socket"));
    assert_true(rig_contains(rig, "cwd", rig->root));
    assert_true(rig_contains(rig, "logs/app.log", "\"m\":\"end\"}"));
}

static void a_forged_mark_is_left_out(void **state)
{
    struct rig *rig = *state;
    const char *argv[4], *const env[] = {"SLUICE_RUN=other", "SLUICE_RUN_KEY=x", "A=1", NULL};
    struct run_spec spec = rig_spec(rig, "a.1", "/usr/bin/env > env", argv);
    spec.envp = env;
    rig_start_spec(rig, &spec);
    rig_wait(rig, "a.1", RUN_EXITED);
    cleanup_free char *text = rig_read(rig, "env");
    assert_null(strstr(text, "other"));
    assert_null(strstr(text, "SLUICE_RUN_KEY=x\n"));
    assert_non_null(strstr(text, "A=1\n"));
}

static void a_job_over_its_time_is_killed(void **state)
{
    struct rig *rig = *state;
    const char *argv[4];
    struct run_spec spec = rig_spec(rig, "a.1", "sleep 1000", argv);
    spec.timeout_ms = 50;
    rig_start_spec(rig, &spec);
    struct run_status s = rig_wait(rig, "a.1", RUN_EXITED);
    assert_true(s.timed_out);
    assert_string_equal(s.reason, "killed: over its time");
    spec = rig_spec(rig, "a.2", "trap '' TERM; while :; do sleep 0.05; done", argv);
    spec.timeout_ms = 50;
    rig_start_spec(rig, &spec);
    s = rig_wait(rig, "a.2", RUN_EXITED);
    assert_true(s.timed_out);
    assert_int_equal(s.exit_signal, SIGKILL);
    assert_false(s.oom_killed);
}

static void forgetting_removes_the_folder(void **state)
{
    struct rig *rig = *state;
    struct error err = ERROR_INIT;
    struct run_status s;
    cleanup_free char *folder = xasprintf("%s/a.1", rig->run_dir);
    rig_start(rig, "a.1", "sleep 1000");
    assert_int_equal(rig->engine->ops->forget(rig->engine, "a.1", &err), -1);
    assert_int_equal(err.class, ERROR_CONFLICT);
    rig_stop(rig, "a.1", SIGTERM, 5000);
    rig_wait(rig, "a.1", RUN_EXITED);
    assert_int_equal(rig->engine->ops->stop(rig->engine, "a.1", SIGTERM, 0, &err), 0);
    assert_int_equal(rig->engine->ops->forget(rig->engine, "a.1", &err), 0);
    assert_int_equal(rig->engine->ops->status(rig->engine, "a.1", &s, NULL), -1);
    RIG_UNTIL(rig, access(folder, F_OK) < 0);
}

static void start_with_socket(struct rig *rig, const char *id, const char *script)
{
    const char *argv[4];
    struct run_spec spec = rig_spec(rig, id, script, argv);
    spec.socket = true;
    rig_start_spec(rig, &spec);
}

/* Also what the app puts beside its socket, links (not what they lead to), and over a restart. */
static void the_folder_of_a_socket_goes_with_its_run(void **state)
{
    struct rig *rig = *state;
    struct error err = ERROR_INIT;
    struct stat st;
    char folder[200], kept[200];
    snprintf(folder, sizeof folder, "%s/shop-1-1.1", rig->sockets_dir);
    snprintf(kept, sizeof kept, "%s/sockets", rig->root);
    start_with_socket(rig, "shop-1-1.1",
                      "cd sockets/shop-1-1.1 && touch sock sock.lock && ln -s ../.. up");
    rig_wait(rig, "shop-1-1.1", RUN_EXITED);
    assert_int_equal(stat(folder, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    rig_close(rig);
    rig_open(rig);
    rig_wait(rig, "shop-1-1.1", RUN_EXITED);
    assert_int_equal(rig->engine->ops->forget(rig->engine, "shop-1-1.1", &err), 0);
    RIG_UNTIL(rig, access(folder, F_OK) < 0);
    assert_int_equal(access(kept, F_OK), 0);
    start_with_socket(rig, "shop-1-1.2", "test -d sockets/shop-1-1.2");
    struct run_status s = rig_wait(rig, "shop-1-1.2", RUN_EXITED);
    assert_int_equal(s.exit_code, 0);
}

/* A run that does not start leaves none; one whose folder there is already does not start. */
static void a_socket_is_nobody_elses(void **state)
{
    struct rig *rig = *state;
    struct error err = ERROR_INIT;
    const char *argv[4];
    char folder[200];
    struct run_spec spec = rig_spec(rig, "shop-1-1.1", "true", argv);
    spec.socket = true;
    spec.user = "no-such-user-here";
    assert_int_equal(rig->engine->ops->start(rig->engine, &spec, &err), -1);
    snprintf(folder, sizeof folder, "%s/shop-1-1.1", rig->sockets_dir);
    assert_int_equal(access(folder, F_OK), -1);
    spec.user = NULL;
    snprintf(folder, sizeof folder, "%s/shop-1-1.2", rig->sockets_dir);
    assert_int_equal(mkdir(folder, 0777), 0);
    spec.id = "shop-1-1.2";
    assert_int_equal(rig->engine->ops->start(rig->engine, &spec, &err), -1);
    assert_non_null(strstr(err.text, "make the socket's folder shop-1-1.2: File exists"));
    assert_int_equal(access(folder, F_OK), 0);
}

static void two_hundred_at_once(void **state)
{
    enum { RUNS = 200 };
    struct rig *rig = *state;
    char id[32], script[32];
    for (int i = 0; i < RUNS; i++) {
        snprintf(id, sizeof id, "many-%d.1", i);
        snprintf(script, sizeof script, "exit %d", i % 100);
        rig_start(rig, id, script);
    }
    for (int i = 0; i < RUNS; i++) {
        snprintf(id, sizeof id, "many-%d.1", i);
        struct run_status s = rig_wait(rig, id, RUN_EXITED);
        assert_int_equal(s.exit_code, i % 100);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RIG_TEST(exit_code_and_log),
        RIG_TEST(running_is_reported_with_its_pid),
        RIG_TEST(failed_exec_says_why),
        RIG_TEST(missing_folder_says_why),
        RIG_TEST(one_run_per_id_ever),
        RIG_TEST(bad_specs_are_refused),
        RIG_TEST(unknown_runs_are_not_found),
        RIG_TEST(the_app_starts_clean),
        RIG_TEST(a_forged_mark_is_left_out),
        RIG_TEST(a_job_over_its_time_is_killed),
        RIG_TEST(forgetting_removes_the_folder),
        RIG_TEST(the_folder_of_a_socket_goes_with_its_run),
        RIG_TEST(a_socket_is_nobody_elses),
        RIG_TEST(two_hundred_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
