/* Unix sockets: long paths, descriptors that never leak, hostile peers. */
#include "os/unixsock.h"

#include "base/alloc.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static int open_fds(void)
{
    int n = 0;
    DIR *d = opendir("/proc/self/fd");
    while (readdir(d) != NULL)
        n++;
    closedir(d);
    return n;
}

/* A folder whose path is longer than sun_path. */
static char *long_folder(char *top)
{
    char *path = xstrdup(mkdtemp(top));
    for (int i = 0; i < 4; i++) {
        char *longer =
            xasprintf("%s/%s", path, "a-folder-with-a-rather-long-name-of-fifty-letters");
        assert_int_equal(mkdir(longer, 0700), 0);
        free(path);
        path = longer;
    }
    return path;
}

static void a_long_path_works(void **state)
{
    (void)state;
    char top[] = "/tmp/sluice-unit-XXXXXX";
    cleanup_free char *folder = long_folder(top);
    cleanup_free char *path = xasprintf("%s/s.sock", folder);
    struct error err = ERROR_INIT;
    assert_true(strlen(path) > 200);
    int l = unixsock_listen_path(path, SOCK_STREAM, 0660, &err);
    assert_true(l >= 0);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0660);
    int c = unixsock_connect_path(path, SOCK_STREAM, &err);
    assert_true(c >= 0);
    int a = unixsock_accept(l);
    assert_true(a >= 0);
    assert_true(fcntl(a, F_GETFL) & O_NONBLOCK);
    assert_int_equal(fcntl(a, F_GETFD), FD_CLOEXEC);
    assert_int_equal(unixsock_accept(l), -1);
    assert_int_equal(errno, EAGAIN);
    close(a);
    close(c);
    close(l);
    cleanup_free char *remove = xasprintf("rm -r %s", top);
    assert_int_equal(system(remove), 0);
}

static void who_is_not_there_has_a_class(void **state)
{
    (void)state;
    char top[] = "/tmp/sluice-unit-XXXXXX";
    assert_non_null(mkdtemp(top));
    int dir = open(top, O_PATH | O_DIRECTORY);
    struct error err = ERROR_INIT;
    assert_int_equal(unixsock_connect(dir, "none.sock", SOCK_STREAM, &err), -1);
    assert_int_equal(err.class, ERROR_NOT_FOUND);
    close(unixsock_listen(dir, "dead.sock", SOCK_STREAM, 0600, &err));
    assert_int_equal(unixsock_connect(dir, "dead.sock", SOCK_STREAM, &err), -1);
    assert_int_equal(err.class, ERROR_UNAVAILABLE);
    /* It is replaced by the next one. */
    int l = unixsock_listen(dir, "dead.sock", SOCK_STREAM, 0600, &err);
    int c = unixsock_connect(dir, "dead.sock", SOCK_STREAM, &err);
    assert_true(l >= 0 && c >= 0);
    close(c);
    close(l);
    assert_int_equal(unixsock_connect(dir, "a/b", SOCK_STREAM, &err), -1);
    assert_int_equal(err.class, ERROR_USAGE);
    assert_int_equal(unixsock_listen(dir, "", SOCK_STREAM, 0600, &err), -1);
    char name[200];
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    assert_int_equal(unixsock_listen(dir, name, SOCK_STREAM, 0600, &err), -1);
    assert_int_equal(unixsock_connect_path("/nowhere/at/all", SOCK_STREAM, &err), -1);
    assert_int_equal(err.class, ERROR_NOT_FOUND);
    unlinkat(dir, "dead.sock", 0);
    close(dir);
    rmdir(top);
}

struct message {
    int number;
    char text[60];
};

static void a_message_brings_its_descriptors(void **state)
{
    (void)state;
    int pair[2], pipes[2], got[4];
    size_t n;
    struct error err = ERROR_INIT;
    int before = open_fds();
    assert_int_equal(unixsock_pair(pair, &err), 0);
    assert_int_equal(pipe(pipes), 0);
    struct message m = {7, "hello"}, r;
    assert_int_equal(unixsock_recv(pair[1], &r, sizeof r, got, 4, &n, &err), UNIXSOCK_AGAIN);
    assert_int_equal(unixsock_send(pair[0], &m, sizeof m, pipes, 2, &err), UNIXSOCK_OK);
    assert_int_equal(unixsock_recv(pair[1], &r, sizeof r, got, 4, &n, &err), UNIXSOCK_OK);
    assert_int_equal(n, 2);
    assert_int_equal(r.number, 7);
    assert_int_equal(fcntl(got[0], F_GETFD), FD_CLOEXEC);
    assert_int_equal(write(got[1], "x", 1), 1);
    char c;
    assert_int_equal(read(pipes[0], &c, 1), 1);
    unixsock_close_all(got, n);
    assert_int_equal(got[0], -1);
    unixsock_close_all(pipes, 2);
    close(pair[0]);
    assert_int_equal(unixsock_recv(pair[1], &r, sizeof r, got, 4, &n, &err), UNIXSOCK_END);
    assert_int_equal(unixsock_send(pair[1], &m, sizeof m, NULL, 0, &err), UNIXSOCK_END);
    close(pair[1]);
    assert_int_equal(open_fds(), before);
}

static void what_does_not_fit_leaves_nothing_open(void **state)
{
    (void)state;
    int pair[2], got[4], many[8];
    size_t n;
    struct error err = ERROR_INIT;
    struct message m = {1, ""}, r;
    assert_int_equal(unixsock_pair(pair, &err), 0);
    for (int i = 0; i < 8; i++)
        many[i] = open("/dev/null", O_RDONLY);
    int before = open_fds();
    /* More descriptors than the receiver expects. */
    assert_int_equal(unixsock_send(pair[0], &m, sizeof m, many, 8, &err), UNIXSOCK_OK);
    assert_int_equal(unixsock_recv(pair[1], &r, sizeof r, got, 4, &n, &err), UNIXSOCK_FAILED);
    assert_int_equal(n, 0);
    assert_non_null(strstr(err.text, "too many descriptors"));
    assert_int_equal(open_fds(), before);
    /* Descriptors where none is expected. */
    assert_int_equal(unixsock_send(pair[0], &m, sizeof m, many, 1, &err), UNIXSOCK_OK);
    assert_int_equal(unixsock_recv(pair[1], &r, sizeof r, NULL, 0, &n, &err), UNIXSOCK_FAILED);
    assert_int_equal(open_fds(), before);
    /* Too short and too long, with descriptors. */
    assert_int_equal(unixsock_send(pair[0], &m, 3, many, 2, &err), UNIXSOCK_OK);
    assert_int_equal(unixsock_recv(pair[1], &r, sizeof r, got, 4, &n, &err), UNIXSOCK_FAILED);
    assert_non_null(strstr(err.text, "wrong length"));
    assert_int_equal(open_fds(), before);
    char big[1000] = "";
    assert_int_equal(unixsock_send(pair[0], big, sizeof big, many, 2, &err), UNIXSOCK_OK);
    assert_int_equal(unixsock_recv(pair[1], &r, sizeof r, got, 4, &n, &err), UNIXSOCK_FAILED);
    assert_int_equal(open_fds(), before);
    /* An empty message with a descriptor is not the end of the connection. */
    assert_int_equal(unixsock_send(pair[0], big, 0, many, 1, &err), UNIXSOCK_OK);
    assert_int_equal(unixsock_recv(pair[1], &r, sizeof r, got, 4, &n, &err), UNIXSOCK_FAILED);
    assert_int_equal(open_fds(), before);
    unixsock_close_all(many, 8);
    unixsock_close_all(pair, 2);
}

static void a_full_socket_is_again(void **state)
{
    (void)state;
    int pair[2];
    struct message m = {1, ""};
    assert_int_equal(unixsock_pair(pair, NULL), 0);
    enum unixsock_result r;
    int sent = 0;
    while ((r = unixsock_send(pair[0], &m, sizeof m, NULL, 0, NULL)) == UNIXSOCK_OK)
        sent++;
    assert_int_equal(r, UNIXSOCK_AGAIN);
    assert_true(sent > 16); /* all listeners of a take-over fit */
    unixsock_close_all(pair, 2);
}

static void the_peer_is_known(void **state)
{
    (void)state;
    int pair[2];
    struct unixsock_peer peer;
    assert_int_equal(unixsock_pair(pair, NULL), 0);
    assert_int_equal(unixsock_peer(pair[0], &peer, NULL), 0);
    assert_int_equal(peer.pid, getpid());
    assert_true(unixsock_peer_allowed(pair[0], geteuid()));
    if (geteuid() != 0)
        assert_false(unixsock_peer_allowed(pair[0], geteuid() + 1));
    assert_false(unixsock_peer_allowed(STDIN_FILENO, geteuid()));
    unixsock_close_all(pair, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_long_path_works),
        cmocka_unit_test(who_is_not_there_has_a_class),
        cmocka_unit_test(a_message_brings_its_descriptors),
        cmocka_unit_test(what_does_not_fit_leaves_nothing_open),
        cmocka_unit_test(a_full_socket_is_again),
        cmocka_unit_test(the_peer_is_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
