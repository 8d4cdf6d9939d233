#include "guardian/guardian.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/log.h"
#include "base/units.h"
#include "base/vec.h"
#include "os/clock.h"
#include "os/listen.h"
#include "os/title.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* In the child. A session of its own: Ctrl-C in the terminal of `serve` is for the guardian alone,
 * which stops the others in order. */
_Noreturn static void exec_role(const struct boot *b, int boot_fd, int dir, char *title)
{
    struct error err = ERROR_INIT;
    setsid();
    sigset_t none;
    sigemptyset(&none);
    signal(SIGHUP, SIG_DFL);
    signal(SIGPIPE, SIG_DFL);
    sigprocmask(SIG_SETMASK, &none, NULL);
    unsetenv("NOTIFY_SOCKET"); /* only the guardian speaks to systemd */
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null >= 0)
        dup2(null, STDIN_FILENO);
    if (dir >= 0 && fchdir(dir) < 0) {
        error_errno(&err, errno, "enter its folder");
    } else if (boot_inherit(b, boot_fd, &err) == 0) {
        fexecve(b->binary_fd, (char *[]){title, NULL}, environ);
        error_errno(&err, errno, "exec");
    }
    log_error("%s: %s", title, err.text);
    _exit(127);
}

pid_t start_role(const struct boot *b, const char *role, int dir, struct error *err)
{
    cleanup_close int boot_fd = boot_write(b, err);
    if (boot_fd < 0)
        return -1;
    cleanup_free char *title = title_make(role, b->data_dir);
    pid_t pid = fork();
    if (pid == 0)
        exec_role(b, boot_fd, dir, title);
    if (pid < 0)
        return error_errno(err, errno, "start the %s: fork", role);
    return pid;
}

pid_t read_pid_file(const struct guardian *g, const char *name, const char *role)
{
    char text[24] = "";
    uint64_t pid;
    cleanup_close int fd = openat(g->run_dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 || read(fd, text, sizeof text - 1) <= 0)
        return 0;
    text[strcspn(text, "\n")] = '\0';
    if (parse_u64(text, INT32_MAX, &pid) < 0 || !title_is((pid_t)pid, role, g->boot.data_dir))
        return 0;
    return (pid_t)pid;
}

void write_pid_file(const struct guardian *g, const char *name, pid_t pid)
{
    char text[24], temporary[64];
    int n = snprintf(text, sizeof text, "%d\n", (int)pid);
    snprintf(temporary, sizeof temporary, "%s.tmp", name);
    int fd = openat(g->run_dir_fd, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW,
                    0644);
    bool written = fd >= 0 && write(fd, text, (size_t)n) == n;
    if (fd >= 0)
        close(fd);
    if (!written || renameat(g->run_dir_fd, temporary, g->run_dir_fd, name) < 0) {
        log_warn("run/%s could not be written: %s", name, strerror(errno));
        unlinkat(g->run_dir_fd, temporary, 0);
    }
}

int64_t deaths_note(struct deaths *d, int64_t now_ms, int64_t lived_ms)
{
    memmove(d->last_ms, d->last_ms + 1, sizeof d->last_ms - sizeof d->last_ms[0]);
    d->last_ms[RAPID_DEATHS - 1] = now_ms;
    if (lived_ms >= RAPID_MS)
        d->rapid = 0;
    uint32_t rapid = d->rapid++;
    if (rapid == 0)
        return 0;
    return rapid > 6 ? 5000 : INT64_C(100) << (rapid - 1);
}

bool deaths_in_a_row(const struct deaths *d, int64_t now_ms)
{
    return d->last_ms[0] != 0 && now_ms - d->last_ms[0] <= RAPID_MS;
}

/* ---- another main binary
 * -------------------------------------------------------------------------- */

struct words {
    char **items;
    size_t len, cap;
};

static void add(struct words *w, const char *option, const char *value)
{
    *vec_push(w) = xstrdup(option);
    if (value != NULL)
        *vec_push(w) = xstrdup(value);
}

static void add_number(struct words *w, const char *option, int64_t value)
{
    char text[24];
    snprintf(text, sizeof text, "%lld", (long long)value);
    add(w, option, text);
}

static void add_options(const struct guardian *g, struct words *w)
{
    const struct boot *b = &g->boot;
    add(w, "sluice", "serve");
    add(w, "--data", b->data_dir);
    add(w, "--api", b->api);
    add_number(w, "--workers", b->workers);
    if (b->trusted_proxies[0] != '\0')
        add(w, "--trusted-proxies", b->trusted_proxies);
    if (b->access_log[0] != '\0')
        add(w, "--access-log", b->access_log);
    if (b->acme_directory[0] != '\0')
        add(w, "--acme-directory", b->acme_directory);
    if (b->acme_email[0] != '\0')
        add(w, "--acme-email", b->acme_email);
    if (b->acme_ca[0] != '\0')
        add(w, "--acme-ca", b->acme_ca);
    add(w, "--tcp-routes", b->tcp_routes);
    if (b->proxy_protocol != 0)
        add(w, "--proxy-protocol", NULL);
    if (b->max_connections != 0)
        add_number(w, "--max-connections", b->max_connections);
    if (b->max_connections_per_client != 0)
        add_number(w, "--max-connections-per-client", b->max_connections_per_client);
    static const char *const LEVELS[] = {"debug", "info", "warn", "error"};
    add(w, "--log-level", LEVELS[b->log_level]);
    if (b->stop_apps != 0)
        add(w, "--stop-apps", NULL);
    for (size_t i = 0; i < b->listeners_len; i++)
        if (!listen_is_tcp(b->listeners[i].address)) /* those are taken over */
            add(w,
                listen_is_tls(b->listeners[i].address)    ? "--tls-listen"
                : listen_is_mtls(b->listeners[i].address) ? "--mtls-listen"
                                                          : "--listen",
                listen_bare(b->listeners[i].address));
}

/* ---- whether it would start ---- */

/* Its last line: what is wrong. false: it did not end in time. */
static bool hear_out(int fd, char *text, size_t size)
{
    int64_t until = clock_mono_ms() + CHECK_MS;
    size_t len = 0;
    for (;;) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        int64_t left = until - clock_mono_ms();
        char data[512];
        if (left <= 0 || (poll(&p, 1, (int)left) < 0 && errno != EINTR))
            return false;
        ssize_t n = p.revents != 0 ? read(fd, data, sizeof data) : -1;
        for (ssize_t i = 0; i < n; i++) {
            if (len > 0 && text[len - 1] == '\n')
                len = 0;
            if (len + 1 < size)
                text[len++] = data[i] == '\n' || (data[i] >= ' ' && data[i] <= '~') ? data[i] : '?';
        }
        if (n == 0) {
            text[len > 0 && text[len - 1] == '\n' ? len - 1 : len] = '\0';
            return true;
        }
    }
}

_Noreturn static void exec_check(int binary_fd, char **words, int out)
{
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    dup2(out, STDOUT_FILENO);
    dup2(out, STDERR_FILENO);
    fexecve(binary_fd, words, environ);
    _exit(127);
}

/* Once it is us there is nobody left to say that it does not start with these options (of another
 * version, or of files that are gone). */
static int check_start(int binary_fd, char **words, struct error *err)
{
    char text[160] = "";
    int ends[2], status = 0;
    if (pipe2(ends, O_CLOEXEC) < 0)
        return error_errno(err, errno, "pipe");
    pid_t pid = fork();
    if (pid == 0)
        exec_check(binary_fd, words, ends[1]);
    int failed = errno;
    close(ends[1]);
    bool over = pid > 0 && hear_out(ends[0], text, sizeof text);
    close(ends[0]);
    if (pid < 0)
        return error_errno(err, failed, "fork");
    if (!over)
        kill(pid, SIGKILL);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    if (over && WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    return error_set(err, ERROR_FAILED, "the new binary would not start: %s",
                     text[0] != '\0' ? text
                     : over          ? "it does not say why"
                                     : "it does not end");
}

static void free_words(struct words *w)
{
    for (size_t i = 0; i < w->len; i++)
        free(w->items[i]);
    vec_release(w);
}

int become(const struct guardian *g, int binary_fd, struct error *err)
{
    struct words w = {NULL, 0, 0};
    add_options(g, &w);
    add(&w, "--check", NULL);
    *vec_push(&w) = NULL;
    if (check_start(binary_fd, w.items, err) < 0) {
        free_words(&w);
        return -1;
    }
    free(w.items[w.len - 2]);
    w.items[w.len - 2] = NULL;
    /* The lock goes with the exec (all our descriptors are close-on-exec); serve takes it again
     * under the same pid. The signals stay blocked: a SIGTERM of this moment waits for the next
     * guardian, where by default it would end serve and leave gateway and controller alone. */
    fexecve(binary_fd, w.items, environ);
    int saved = errno;
    free_words(&w);
    return error_errno(err, saved, "exec of the new binary");
}
