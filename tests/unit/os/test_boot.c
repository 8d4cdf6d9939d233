/* The boot file: what is written is read; what is not one is refused. */
#include "os/boot.h"

#include "os/memfd.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* A descriptor that can be inherited, at 100 or above so that BOOT_FD stays free. */
static int some_fd(void)
{
    int null = open("/dev/null", O_RDONLY);
    int fd = fcntl(null, F_DUPFD, 100);
    assert_true(null >= 0 && fd >= 100);
    close(null);
    return fd;
}

static int file_with(const char *text)
{
    int fd = memfd_make("test", text, strlen(text), NULL);
    assert_true(fd >= 0);
    return fd;
}

static void fill(struct boot *b)
{
    boot_init(b);
    b->role = BOOT_CONTROLLER;
    boot_set(&b->data_dir, "/var/lib/sluice with = and spaces");
    boot_set(&b->api, "unix:/x/api.sock");
    boot_set(&b->trusted_proxies, "10.0.0.0/8,::1/128");
    b->workers = 4;
    b->generation = 77;
    b->gateway_uid = 998;
    b->stop_apps = 1;
    b->control_fd = some_fd();
    b->binary_fd = some_fd();
    b->listeners_len = 1;
    strcpy(b->listeners[0].address, "[::1]:8080");
    for (size_t i = 0; i < BOOT_LISTENER_SOCKETS; i++)
        b->listeners[0].fds[i] = some_fd();
    b->old_gateways_len = 1;
    b->old_gateway_fds[0] = some_fd();
}

static void close_all(struct boot *b)
{
    close(b->control_fd);
    close(b->binary_fd);
    for (size_t i = 0; i < BOOT_LISTENER_SOCKETS; i++)
        close(b->listeners[0].fds[i]);
    close(b->old_gateway_fds[0]);
    boot_release(b);
}

static void what_is_written_is_read(void **state)
{
    (void)state;
    struct boot b, r;
    struct error err = ERROR_INIT;
    fill(&b);
    int fd = boot_write(&b, &err);
    assert_true(fd >= 0);
    assert_int_equal(boot_read(&r, fd, &err), 0);
    assert_int_equal(r.role, BOOT_CONTROLLER);
    assert_string_equal(r.data_dir, b.data_dir);
    assert_string_equal(r.api, b.api);
    assert_string_equal(r.trusted_proxies, b.trusted_proxies);
    assert_string_equal(r.app_user, "");
    assert_int_equal(r.workers, 4);
    assert_int_equal(r.generation, 77);
    assert_int_equal(r.gateway_uid, 998);
    assert_int_equal(r.gateway_gid, -1);
    assert_int_equal(r.stop_apps, 1);
    assert_int_equal(r.control_fd, b.control_fd);
    assert_int_equal(r.guardian_fd, -1);
    assert_int_equal(r.listeners_len, 1);
    assert_string_equal(r.listeners[0].address, "[::1]:8080");
    assert_memory_equal(r.listeners[0].fds, b.listeners[0].fds, sizeof b.listeners[0].fds);
    assert_int_equal(r.old_gateways_len, 1);
    /* Everything is close-on-exec again. */
    assert_int_equal(fcntl(r.control_fd, F_GETFD), FD_CLOEXEC);
    assert_int_equal(fcntl(r.listeners[0].fds[15], F_GETFD), FD_CLOEXEC);
    close(fd);
    boot_release(&r);
    close_all(&b);
}

static void a_name_with_a_newline_is_refused(void **state)
{
    (void)state;
    struct boot b;
    struct error err = ERROR_INIT;
    boot_init(&b);
    boot_set(&b.data_dir, "/tmp/a\nrole=gateway");
    assert_int_equal(boot_write(&b, &err), -1);
    assert_int_equal(err.class, ERROR_USAGE);
    assert_non_null(strstr(err.text, "data_dir"));
    boot_release(&b);
}

static void inherit_puts_it_at_3(void **state)
{
    (void)state;
    struct boot b;
    struct error err = ERROR_INIT;
    fill(&b);
    int low = boot_write(&b, &err);
    int fd = fcntl(low, F_DUPFD_CLOEXEC, 200);
    close(low);
    fcntl(b.control_fd, F_SETFD, FD_CLOEXEC);
    pid_t pid = fork();
    if (pid == 0) {
        struct boot r;
        int ok = boot_inherit(&b, fd, NULL) == 0 && boot_read(&r, BOOT_FD, NULL) == 0 &&
                 r.control_fd == b.control_fd;
        _exit(ok ? 0 : 1);
    }
    int status;
    waitpid(pid, &status, 0);
    assert_int_equal(status, 0);
    close(fd);
    close_all(&b);
}

static void a_closed_descriptor_cannot_be_passed_on(void **state)
{
    (void)state;
    struct boot b, r;
    struct error err = ERROR_INIT;
    boot_init(&b);
    boot_set(&b.data_dir, "/x");
    b.shim_fd = 931;
    int fd = boot_write(&b, &err);
    assert_true(fd >= 0);
    assert_int_equal(boot_read(&r, fd, &err), -1);
    assert_non_null(strstr(err.text, "shim_fd"));
    close(fd);
    boot_release(&b);
}

static void refuse(const char *text, const char *part)
{
    struct boot b;
    struct error err = ERROR_INIT;
    int fd = file_with(text);
    if (boot_read(&b, fd, &err) != -1)
        fail_msg("was taken: %s", text);
    if (strstr(err.text, part) == NULL)
        fail_msg("\"%s\" says \"%s\", not \"%s\"", text, err.text, part);
    assert_null(b.data_dir);
    close(fd);
}

static void what_is_no_boot_file_is_refused(void **state)
{
    (void)state;
    refuse("", "not a boot file");
    refuse("role=gateway", "not a boot file"); /* cut in the middle of a line */
    refuse("role=gateway\n", "absolute data_dir");
    refuse("data_dir=/x\n", "without a role");
    refuse("role=gateway\ndata_dir=x\n", "absolute data_dir");
    refuse("role=king\ndata_dir=/x\n", "no such role");
    refuse("role=gateway\ndata_dir=/x\nbeer=1\n", "line 3: beer: unknown key");
    refuse("role=gateway\nnonsense\n", "line 2: no \"=\"");
    refuse("role=gateway\ndata_dir=/x\001y\n", "control character");
    refuse("role=gateway\ndata_dir=/x\nworkers=17\n", "1 to 16");
    refuse("role=gateway\ndata_dir=/x\nworkers=0\n", "1 to 16");
    refuse("role=gateway\ndata_dir=/x\nworkers=-1\n", "1 to 16");
    refuse("role=gateway\ndata_dir=/x\nworkers=99999999999999999999\n", "1 to 16");
    refuse("role=gateway\ndata_dir=/x\ngateway_uid=-2\n", "gateway_uid");
    refuse("role=gateway\ndata_dir=/x\nshim_fd=1\n", "not a descriptor");
    refuse("role=gateway\ndata_dir=/x\nshim_fd=-5\n", "not a descriptor");
    refuse("role=gateway\ndata_dir=/x\nshim_fd=abc\n", "not a descriptor");
    refuse("role=gateway\ndata_dir=/x\nlisten=127.0.0.1:80\n", "0 descriptors");
    refuse("role=gateway\ndata_dir=/x\nlisten= 5\n", "not a listen address");
}

static void a_descriptor_named_twice_is_refused(void **state)
{
    (void)state;
    char text[200];
    int fd = some_fd();
    snprintf(text, sizeof text, "role=gateway\ndata_dir=/x\nshim_fd=%d\nbinary_fd=%d\n", fd, fd);
    refuse(text, "named twice");
    close(fd);
}

static void a_file_that_is_too_long_is_refused(void **state)
{
    (void)state;
    char *text = malloc(BOOT_MAX_BYTES + 100);
    memset(text, 'x', BOOT_MAX_BYTES + 99);
    text[BOOT_MAX_BYTES + 99] = '\0';
    refuse(text, "longer than");
    free(text);
}

static void truncation_anywhere_is_no_crash(void **state)
{
    (void)state;
    struct boot b, r;
    char text[4096];
    boot_init(&b);
    b.role = BOOT_GATEWAY;
    boot_set(&b.data_dir, "/x");
    int fd = boot_write(&b, NULL);
    ssize_t len = pread(fd, text, sizeof text, 0);
    close(fd);
    for (ssize_t cut = 0; cut < len; cut++) {
        fd = memfd_make("cut", text, (size_t)cut, NULL);
        if (boot_read(&r, fd, NULL) == 0)
            boot_release(&r);
        close(fd);
    }
    boot_release(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(a_name_with_a_newline_is_refused),
        cmocka_unit_test(inherit_puts_it_at_3),
        cmocka_unit_test(a_closed_descriptor_cannot_be_passed_on),
        cmocka_unit_test(what_is_no_boot_file_is_refused),
        cmocka_unit_test(a_descriptor_named_twice_is_refused),
        cmocka_unit_test(a_file_that_is_too_long_is_refused),
        cmocka_unit_test(truncation_anywhere_is_no_crash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
