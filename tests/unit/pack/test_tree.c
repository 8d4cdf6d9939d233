/* Sealing, deleting, and the life of the child. */
#include "ground.h"

#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <time.h>

static void must_seal(const char *dir)
{
    struct error err = ERROR_INIT;
    struct pack_job *job = pack_seal(dir, getuid(), getgid(), &err);
    assert_non_null(job);
    if (pack_finish(job, NULL, &err) < 0)
        fail_msg("%s", err.text);
}

static void a_sealed_release_is_read_only_and_links_out_of_it_are_not_followed(void **state)
{
    const struct ground *g = *state;
    sh("mkdir -p %s/d/e && cd %s && echo 1 > d/e/f && echo 2 > %s/outside && chmod 666 %s/outside "
       "&& "
       "ln -s %s/outside d/link && ln -s %s/source d/folder && chmod 4777 d/e/f && touch "
       "unreadable && "
       "chmod 200 unreadable && mkfifo pipe && chmod 755 %s/source",
       g->release, g->release, g->top, g->top, g->top, g->top, g->top);
    must_seal(g->release);
    assert_int_equal(mode_of(g->release, "d/e/f"), 0555);
    assert_int_equal(mode_of(g->release, "d/e"), 0555);
    assert_int_equal(mode_of(g->release, "."), 0550);
    assert_int_equal(mode_of(g->release, "unreadable"), 0);
    assert_int_equal(mode_of(g->top, "outside"), 0666);
    assert_int_equal(mode_of(g->top, "source"), 0755);
    must_seal(g->release); /* again: nothing to do */
    must_remove(g->release);
    sh("test $(cat %s/outside) = 2 && test -d %s/source", g->top, g->top);
}

static void many_files_are_sealed(void **state)
{
    const struct ground *g = *state;
    sh("mkdir %s && cd %s && for i in $(seq 1100); do : > f$i; done", g->release, g->release);
    must_seal(g->release);
    sh("test -z \"$(find %s -perm /222)\"", g->release);
}

static uint64_t bytes_by(struct pack_job *job)
{
    struct error err = ERROR_INIT;
    struct pack_result result;
    assert_non_null(job);
    if (pack_finish(job, &result, &err) < 0)
        fail_msg("%s", err.text);
    return result.bytes;
}

/* Blocks, so only what is sure on every file system: a mebibyte is at least one, a second name and
 * a hole are nothing. */
static void the_size_is_what_the_disk_holds(void **state)
{
    const struct ground *g = *state;
    const uint64_t mib = 1 << 20;
    sh("mkdir -p %s/d %s/big && cd %s && head -c 1048576 /dev/urandom > d/a && ln d/a b && "
       "ln d/a c && truncate -s 1G hole && ln -s %s/big link && "
       "head -c 4194304 /dev/urandom > %s/big/file && sync d/a hole",
       g->release, g->top, g->release, g->top, g->top);
    uint64_t sealed = bytes_by(pack_seal(g->release, getuid(), getgid(), NULL));
    assert_in_range(sealed, mib, 2 * mib - 1);
    assert_int_equal(bytes_by(pack_measure(g->release, NULL)), sealed);
    sh("truncate -s 0 %s/big/file", g->top);
    assert_int_equal(bytes_by(pack_measure(g->release, NULL)), sealed);
    char path[200];
    snprintf(path, sizeof path, "%s/none", g->top);
    assert_int_equal(bytes_by(pack_measure(path, NULL)), 0);
}

static void another_file_system_is_not_measured(void **state)
{
    const struct ground *g = *state;
    if (geteuid() != 0)
        skip();
    sh("mkdir -p %s/there", g->release);
    char path[200];
    snprintf(path, sizeof path, "%s/there", g->release);
    if (mount("none", path, "tmpfs", 0, "size=16m") < 0)
        skip();
    sh("head -c 8388608 /dev/zero > %s/f", path);
    uint64_t bytes = bytes_by(pack_measure(g->release, NULL));
    assert_int_equal(umount(path), 0);
    assert_true(bytes < (1 << 20));
}

static void sealing_what_is_not_there_fails(void **state)
{
    const struct ground *g = *state;
    struct error err = ERROR_INIT;
    struct pack_job *job = pack_seal(g->release, getuid(), getgid(), &err);
    assert_int_equal(pack_finish(job, NULL, &err), -1);
    assert_non_null(strstr(err.text, g->release));
}

static void hostile_trees_are_deleted_and_nothing_else(void **state)
{
    const struct ground *g = *state;
    sh("mkdir -p %s/keep/deep && echo 1 > %s/keep/deep/f && mkdir -p %s/a/b && cd %s && "
       "ln -s %s/keep l && ln -s / root && ln -s .. a/up && ln -s %s/keep a/b/k && echo 1 > a/b/f "
       "&& "
       "touch -- '-rf' \"$(printf 'new\\nline')\" && mkfifo p && mkdir -m 0 closed && "
       "mkdir -p %s/half && chmod 0 a/b/f && chmod 500 a/b && chmod 0 a && chmod 555 .",
       g->top, g->top, g->release, g->release, g->top, g->top, g->tmp);
    must_remove(g->release);
    assert_true(access(g->tmp, F_OK) < 0);
    sh("test $(cat %s/keep/deep/f) = 1", g->top);
    must_remove(g->release); /* not there: fine */
    sh("ln -s %s/keep %s", g->top, g->release);
    must_remove(g->release); /* a link in its place: the link goes */
    sh("test $(cat %s/keep/deep/f) = 1", g->top);
}

static void a_tree_that_is_deeper_than_any_path_is_deleted(void **state)
{
    const struct ground *g = *state;
    assert_int_equal(mkdir(g->release, 0755), 0);
    int at = open(g->release, O_RDONLY | O_DIRECTORY);
    for (int i = 0; i < 3000; i++) {
        assert_int_equal(mkdirat(at, "deep", 0755), 0);
        int next = openat(at, "deep", O_RDONLY | O_DIRECTORY);
        assert_true(next >= 0);
        if (i % 7 == 0)
            assert_int_equal(fchmod(at, 0555), 0);
        close(at);
        at = next;
    }
    close(at);
    must_remove(g->release);
}

static void mount_in_child(const struct ground *g)
{
    char mounted[128];
    snprintf(mounted, sizeof mounted, "%s/m", g->release);
    if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("tmpfs", mounted, "tmpfs", 0, NULL) < 0)
        _exit(77);
    char file[160];
    snprintf(file, sizeof file, "%s/precious", mounted);
    close(open(file, O_WRONLY | O_CREAT, 0600));
    struct error err = ERROR_INIT;
    struct pack_job *job = pack_remove_tree(g->release, &err);
    bool refused = job != NULL && pack_finish(job, NULL, &err) < 0 &&
                   strstr(err.text, "another file system") != NULL;
    snprintf(file, sizeof file, "%s/m/precious", g->tmp); /* it has its other name by now */
    _exit(refused && access(file, F_OK) == 0 ? 0 : 1);
}

static void another_file_system_is_not_emptied(void **state)
{
    const struct ground *g = *state;
    sh("mkdir -p %s/m", g->release);
    pid_t pid = fork();
    if (pid == 0)
        mount_in_child(g);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
        skip();
    assert_int_equal(status, 0);
}

/* ---- the child
 * ------------------------------------------------------------------------------------------ */

static void hang_git(const struct ground *g)
{
    sh("mkdir -p %s/bin %s/.git && printf '#!/bin/sh\\necho $$ > %s/git-pid.new; mv %s/git-pid.new "
       "%s/git-pid; exec sleep 1000\\n' > %s/bin/git && chmod +x %s/bin/git",
       g->top, g->source, g->top, g->top, g->top, g->top, g->top);
    cleanup_free char *path = xasprintf("%s/bin:%s", g->top, getenv("PATH"));
    setenv("PATH", path, 1);
}

static void unhang_git(void)
{
    setenv("PATH", strchr(getenv("PATH"), ':') + 1, 1);
}

static void nap(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
}

static pid_t wait_for_git(const struct ground *g)
{
    char path[128];
    snprintf(path, sizeof path, "%s/git-pid", g->top);
    for (int i = 0; i < 4000; i++, nap()) {
        FILE *f = fopen(path, "r");
        int pid = 0;
        if (f == NULL)
            continue;
        assert_int_equal(fscanf(f, "%d", &pid), 1);
        fclose(f);
        return pid;
    }
    fail_msg("git was not started");
    return 0;
}

/* Gone, or a zombie that whoever adopted it has not fetched. */
static bool is_gone(pid_t pid)
{
    char path[64], line[256] = "";
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *f = fopen(path, "r");
    if (f == NULL)
        return true;
    bool zombie = fgets(line, sizeof line, f) != NULL && strstr(line, ") Z ") != NULL;
    fclose(f);
    return zombie;
}

static void expect_gone(pid_t pid)
{
    for (int i = 0; i < 4000; i++, nap())
        if (is_gone(pid))
            return;
    fail_msg("process %d lives on", (int)pid);
}

static void a_job_is_cancelled_with_all_its_processes(void **state)
{
    const struct ground *g = *state;
    hang_git(g);
    struct pack_spec spec = spec_of(g);
    struct pack_job *job = pack_start(&spec, NULL);
    pid_t git = wait_for_git(g), child = pack_pid(job);
    assert_false(pack_ended(job)); /* does not block */
    struct pollfd p = {.fd = pack_fd(job), .events = POLLIN};
    assert_int_equal(poll(&p, 1, 0), 0);
    pack_cancel(job);
    unhang_git();
    expect_gone(child);
    expect_gone(git);
    assert_true(access(g->release, F_OK) < 0);
    pack_cancel(NULL);
}

static void a_child_that_is_killed_is_an_error(void **state)
{
    const struct ground *g = *state;
    hang_git(g);
    struct pack_spec spec = spec_of(g);
    struct pack_job *job = pack_start(&spec, NULL);
    pid_t git = wait_for_git(g);
    kill(pack_pid(job), SIGKILL);
    struct error err = ERROR_INIT;
    assert_int_equal(pack_finish(job, NULL, &err), -1);
    unhang_git();
    assert_non_null(strstr(err.text, "signal 9"));
    expect_gone(git);
}

static void a_child_holds_nothing_of_its_parents(void **state)
{
    const struct ground *g = *state;
    char lock[128];
    snprintf(lock, sizeof lock, "%s/lock", g->top);
    int mine = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(flock(mine, LOCK_EX), 0);
    hang_git(g);
    struct pack_spec spec = spec_of(g);
    struct pack_job *job = pack_start(&spec, NULL);
    wait_for_git(g);
    close(mine); /* a child that held it would keep the lock */
    int again = open(lock, O_RDWR | O_CLOEXEC);
    assert_int_equal(flock(again, LOCK_EX | LOCK_NB), 0);
    close(again);
    pack_cancel(job);
    unhang_git();
}

static void a_child_dies_with_its_parent(void **state)
{
    const struct ground *g = *state;
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    hang_git(g);
    pid_t parent = fork();
    if (parent == 0) {
        struct pack_spec spec = spec_of(g);
        struct pack_job *job = pack_start(&spec, NULL);
        pid_t child = job != NULL ? pack_pid(job) : 0;
        if (write(fds[1], &child, sizeof child) != sizeof child)
            _exit(1);
        for (;;)
            pause();
    }
    pid_t child;
    assert_int_equal(read(fds[0], &child, sizeof child), sizeof child);
    pid_t git = wait_for_git(g);
    unhang_git();
    kill(parent, SIGKILL);
    assert_int_equal(waitpid(parent, NULL, 0), parent);
    expect_gone(child);
    expect_gone(git);
    close(fds[0]);
    close(fds[1]);
}

static void the_descriptor_tells_when_the_job_ended(void **state)
{
    const struct ground *g = *state;
    sh("echo 1 > %s/f", g->source);
    struct pack_spec spec = spec_of(g);
    struct pack_job *job = pack_start(&spec, NULL);
    while (!pack_ended(job)) {
        struct pollfd p = {.fd = pack_fd(job), .events = POLLIN};
        assert_int_equal(poll(&p, 1, 30000), 1);
    }
    struct pack_result r;
    assert_int_equal(pack_finish(job, &r, NULL), 0);
    assert_int_equal(r.files, 1);
}

static void a_full_disk_in_child(const struct ground *g)
{
    char small[128], release[160];
    snprintf(small, sizeof small, "%s/small", g->top);
    snprintf(release, sizeof release, "%s/1", small);
    if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("tmpfs", small, "tmpfs", 0, "size=1m") < 0)
        _exit(77);
    struct pack_spec spec = spec_of(g);
    spec.destination = release;
    struct error err = ERROR_INIT;
    struct pack_job *job = pack_start(&spec, &err);
    bool refused = job != NULL && pack_finish(job, NULL, &err) < 0 &&
                   strstr(err.text, "No space") != NULL && strstr(err.text, "big") != NULL;
    bool clean = rmdir(release) < 0 && errno == ENOENT;
    strcat(release, ".tmp");
    clean = clean && rmdir(release) < 0 && errno == ENOENT;
    if (!refused || !clean)
        fprintf(stderr, "%s\n", err.text);
    _exit(refused && clean ? 0 : 1);
}

static void a_full_disk_leaves_nothing_half_written(void **state)
{
    const struct ground *g = *state;
    sh("mkdir %s/small && head -c 3000000 /dev/zero > %s/big", g->top, g->source);
    pid_t pid = fork();
    if (pid == 0)
        a_full_disk_in_child(g);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
        skip();
    assert_int_equal(status, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_sealed_release_is_read_only_and_links_out_of_it_are_not_followed),
        TEST(many_files_are_sealed),
        TEST(the_size_is_what_the_disk_holds),
        TEST(another_file_system_is_not_measured),
        TEST(sealing_what_is_not_there_fails),
        TEST(hostile_trees_are_deleted_and_nothing_else),
        TEST(a_tree_that_is_deeper_than_any_path_is_deleted),
        TEST(another_file_system_is_not_emptied),
        TEST(a_job_is_cancelled_with_all_its_processes),
        TEST(a_child_that_is_killed_is_an_error),
        TEST(a_child_holds_nothing_of_its_parents),
        TEST(a_child_dies_with_its_parent),
        TEST(the_descriptor_tells_when_the_job_ended),
        TEST(a_full_disk_leaves_nothing_half_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
