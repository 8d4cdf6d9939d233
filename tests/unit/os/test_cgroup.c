#include "os/cgroup.h"
#include "os/cgroup_internal.h"

#include "base/alloc.h"
#include "base/vec.h"
#include "os/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

struct want_place {
    const char *own, *root;
    int version;
};

static void check_places(const char *mounts, const char *self,
                         const struct want_place want[CGROUP_CONTROLLERS])
{
    struct cgroup_place got[CGROUP_CONTROLLERS];
    cgroup_places(mounts, self, got);
    for (int c = 0; c < CGROUP_CONTROLLERS; c++) {
        if (want[c].own == NULL) {
            assert_null(got[c].own);
            continue;
        }
        assert_non_null(got[c].own);
        assert_string_equal(got[c].own, want[c].own);
        assert_string_equal(got[c].root, want[c].root);
        assert_int_equal(got[c].version, want[c].version);
        free(got[c].own);
        free(got[c].root);
    }
}

static void version_2(void **state)
{
    (void)state;
    static const struct want_place want[] = {
        {"/sys/fs/cgroup/system.slice/sluice.service", "/sys/fs/cgroup", 2},
        {"/sys/fs/cgroup/system.slice/sluice.service", "/sys/fs/cgroup", 2},
        {"/sys/fs/cgroup/system.slice/sluice.service", "/sys/fs/cgroup", 2}};
    check_places("25 30 0:23 / /proc rw,nosuid shared:12 - proc proc rw\n"
                 "31 24 0:27 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n",
                 "0::/system.slice/sluice.service\n", want);
}

static void version_1_beside_an_empty_2(void **state)
{
    (void)state;
    static const struct want_place want[] = {
        {"/sys/fs/cgroup/cpu,cpuacct", "/sys/fs/cgroup/cpu,cpuacct", 1},
        {"/sys/fs/cgroup/my mem/a/b", "/sys/fs/cgroup/my mem", 1},
        {"/sys/fs/cgroup/unified/u", "/sys/fs/cgroup/unified", 2}}; /* pids in none of version 1 */
    check_places(
        "40 32 0:35 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
        "41 32 0:36 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid - cgroup cgroup rw,cpu,cpuacct\n"
        "42 32 0:37 / /sys/fs/cgroup/my\\040mem rw - cgroup cgroup rw,memory\n"
        "43 32 0:38 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n",
        "5:memory:/a/b\n4:cpuset:/x\n3:cpu,cpuacct:/\n1:name=systemd:/init\n0::/u\n", want);
}

static void inside_a_container(void **state)
{
    (void)state;
    static const struct want_place want[] = {
        {"/cg/cpu", "/cg/cpu", 1}, /* the mount is the container's own part of the tree */
        {"/cg/mem/in", "/cg/mem", 1},
        {NULL, NULL, 0}};
    check_places("41 32 0:36 /docker/abc /cg/cpu rw - cgroup cgroup rw,cpu\n"
                 "42 32 0:37 /docker/abc /cg/mem rw - cgroup cgroup rw,memory\n",
                 "5:memory:/docker/abc/in\n3:cpu:/docker/abc\n", want);
}

static void rubbish_gives_no_places(void **state)
{
    (void)state;
    static const struct want_place none[CGROUP_CONTROLLERS] = {{0}};
    check_places("", "", none);
    check_places("a b c\n31 24 0:27 / /sys -\n- - - - - - - -\n", "x\n::\n0:\n", none);
    check_places("31 24 0:27 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n", "", none);
}

static void told_to_another_process(void **state)
{
    (void)state;
    struct cgroup g = CGROUP_INIT;
    cleanup_buf struct buf text = BUF_INIT;
    assert_int_equal(cgroup_parse_place("memory 2 /a b/c", &g), 0);
    assert_int_equal(g.at[CGROUP_MEMORY].version, 2);
    cgroup_format_place(&g, CGROUP_MEMORY, &text);
    assert_string_equal(buf_str(&text), "memory 2 /a b/c");
    assert_int_equal(cgroup_parse_place("memory 2 /twice", &g), -1);
    assert_int_equal(cgroup_parse_place("cpu 3 /x", &g), -1);
    assert_int_equal(cgroup_parse_place("cpu 1 relative", &g), -1);
    assert_int_equal(cgroup_parse_place("disk 1 /x", &g), -1);
    assert_int_equal(cgroup_parse_place("", &g), -1);
    assert_false(cgroup_none(&g));
    cgroup_release(&g);
    assert_true(cgroup_none(&g));
}

/* ---- a version 2 group of plain files: what is written where, what is read from where ----------
 */

static void put_file(const char *dir, const char *name, const char *text)
{
    cleanup_free char *path = xasprintf("%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void assert_file(const char *dir, const char *name, const char *text)
{
    cleanup_buf struct buf got = BUF_INIT;
    assert_int_equal(cgroup_read(dir, name, &got), 0);
    assert_string_equal(buf_str(&got), text);
}

static void version_2_files(void **state)
{
    (void)state;
    char dir[] = "/tmp/sluice-cgroup-XXXXXX", command[64];
    uint64_t value = 0;
    struct error err = ERROR_INIT;
    assert_non_null(mkdtemp(dir));
    struct cgroup g = CGROUP_INIT;
    for (int c = 0; c < CGROUP_CONTROLLERS; c++) {
        g.at[c].dir = xstrdup(dir);
        g.at[c].version = 2;
    }
    static const char *const files[] = {"cpu.max", "memory.max", "memory.swap.max", "pids.max"};
    for (size_t i = 0; i < COUNT_OF(files); i++)
        put_file(dir, files[i], "");
    put_file(dir, "memory.events", "low 0\noom 3\noom_kill 2\noom_group_kill 0\n");
    put_file(dir, "memory.stat", "anon 1000\nfile 5\nfile_mapped 24\n");
    put_file(dir, "cpu.stat", "usage_usec 777\nuser_usec 1\n");
    put_file(dir, "cgroup.procs", "");
    assert_int_equal(cgroup_limit(&g, 500, 64 << 20, 0, &err), 0);
    assert_file(dir, "cpu.max", "50000 100000");
    assert_file(dir, "memory.max", "67108864");
    assert_file(dir, "memory.swap.max", "0");
    assert_file(dir, "pids.max", "");
    assert_int_equal(cgroup_oom_kills(&g), 2);
    assert_int_equal(cgroup_memory(&g, &value), 0);
    assert_int_equal(value, 1024);
    assert_int_equal(cgroup_cpu(&g, &value), 0);
    assert_int_equal(value, 777);
    int fds[CGROUP_CONTROLLERS];
    assert_int_equal(cgroup_join_fds(&g, fds, &err), 1); /* one folder, one join */
    close(fds[0]);
    snprintf(command, sizeof command, "rm -rf %s", dir);
    assert_int_equal(system(command), 0);
    assert_int_equal(cgroup_limit(&g, 500, 0, 0, &err), -1);
    assert_int_equal(err.class, ERROR_UNAVAILABLE);
    assert_int_equal(cgroup_join_fds(&g, fds, &err), -1);
    assert_int_equal(cgroup_oom_kills(&g), 0);
    assert_int_equal(cgroup_kill(&g), 0);
    assert_int_equal(cgroup_remove(&g), 0); /* gone already */
    cgroup_release(&g);
}

static void limits_without_controllers_are_told(void **state)
{
    (void)state;
    struct cgroup none = CGROUP_INIT;
    struct error err = ERROR_INIT;
    assert_int_equal(cgroup_limit(&none, 0, 0, 0, &err), 0);
    assert_int_equal(cgroup_limit(&none, 0, 1 << 20, 0, &err), -1);
    assert_int_equal(err.class, ERROR_UNAVAILABLE);
    assert_non_null(strstr(err.text, "no memory limit"));
}

/* ---- the real ones ----------------------------------------------------------------------------
 */

static void made_joined_killed_removed(void **state)
{
    (void)state;
    struct error missing = ERROR_INIT, err = ERROR_INIT;
    struct cgroup parent, g;
    char name[32];
    if (cgroup_find("sluice-unit-test", &parent, &missing) < CGROUP_CONTROLLERS) {
        assert_true(missing.text[0] != '\0');
        print_message("skipped: %s\n", missing.text);
        cgroup_release(&parent);
        skip();
    }
    assert_string_equal(missing.text, "");
    snprintf(name, sizeof name, "t%d", (int)getpid());
    assert_int_equal(cgroup_make(&parent, name, &g, &err), 0);
    assert_int_equal(cgroup_limit(&g, 5, 32 << 20, 10, &err), 0);
    int fds[CGROUP_CONTROLLERS], n = cgroup_join_fds(&g, fds, &err);
    assert_true(n >= 1);
    const char *const argv[] = {"/bin/sh", "-c", "sleep 1000 & sleep 1000", NULL};
    const char *const env[] = {"PATH=/bin", NULL};
    const struct spawn s = {.argv = argv, .envp = env, .join_fds = fds, .join_count = (size_t)n};
    pid_t pid = spawn(&s, &err);
    assert_true(pid > 0);
    while (n > 0)
        close(fds[--n]);
    struct pid_list members = {0};
    cgroup_members(&g, &members);
    assert_true(members.len >= 1);
    assert_int_equal(cgroup_remove(&g), -1);
    for (int tries = 0; cgroup_kill(&g) > 0 && tries < 10000; tries++)
        usleep(1000);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    assert_int_equal(cgroup_oom_kills(&g), 0);
    int removed = -1;
    for (int tries = 0; (removed = cgroup_remove(&g)) < 0 && tries < 10000; tries++)
        usleep(1000);
    assert_int_equal(removed, 0);
    cgroup_remove(&parent);
    vec_release(&members);
    cgroup_release(&g);
    cgroup_release(&parent);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(version_2),
        cmocka_unit_test(version_1_beside_an_empty_2),
        cmocka_unit_test(inside_a_container),
        cmocka_unit_test(rubbish_gives_no_places),
        cmocka_unit_test(told_to_another_process),
        cmocka_unit_test(version_2_files),
        cmocka_unit_test(limits_without_controllers_are_told),
        cmocka_unit_test(made_joined_killed_removed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
