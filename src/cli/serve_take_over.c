/* Listeners: those of a gateway or controller that lives on without its guardian, else new ones. */
#include "cli/serve.h"

#include "base/alloc.h"
#include "base/log.h"
#include "base/units.h"
#include "os/clock.h"
#include "os/durable.h"
#include "os/listen.h"
#include "os/unixsock.h"
#include "wire/guardianctl.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const char DEFAULT_LISTEN[] = "127.0.0.1:8080";
enum { ANSWER_MS = 3000 };

struct taken {
    struct boot_listener items[BOOT_MAX_LISTENERS];
    size_t len;
};

static void release(struct taken *t)
{
    for (size_t i = 0; i < t->len; i++)
        listen_close(&t->items[i]);
    t->len = 0;
}

/* ---- asking one
 * ----------------------------------------------------------------------------------- */

static int take_listener(struct taken *t, const struct gatewayctl_message *m, const int *fds,
                         size_t fds_len, struct error *err)
{
    if (fds_len != LISTENER_SOCKETS || t->len == BOOT_MAX_LISTENERS ||
        strlen(m->text) >= BOOT_ADDRESS_MAX)
        return error_set(err, ERROR_USAGE, "an unexpected listener %s with %zu sockets", m->text,
                         fds_len);
    struct boot_listener *l = &t->items[t->len++];
    memcpy(l->fds, fds, sizeof l->fds);
    snprintf(l->address, sizeof l->address, "%.*s", BOOT_ADDRESS_MAX - 1, m->text);
    return listen_check(l, err);
}

/* One message, or -1 when the time is over. */
static int next_message(int fd, int64_t deadline_ms, struct gatewayctl_message *m, int *fds,
                        size_t *fds_len, struct error *err)
{
    for (;;) {
        enum unixsock_result got =
            unixsock_recv(fd, m, sizeof *m, fds, LISTENER_SOCKETS, fds_len, err);
        if (got == UNIXSOCK_OK)
            return 0;
        if (got == UNIXSOCK_END)
            return error_set(err, ERROR_UNAVAILABLE, "it has closed the connection");
        if (got == UNIXSOCK_FAILED)
            return -1;
        int64_t left = deadline_ms - clock_boot_ms();
        struct pollfd p = {.fd = fd, .events = POLLIN};
        if (left <= 0 || poll(&p, 1, (int)left) == 0)
            return error_set(err, ERROR_UNAVAILABLE, "it does not answer");
    }
}

/* Asks the one at the other end for all listeners. A connection of its own, which is closed then.
 */
static int ask(const struct serve *s, const char *name, struct taken *t, struct error *err)
{
    cleanup_close int fd = unixsock_connect(s->run_fd, name, SOCK_SEQPACKET, err);
    struct gatewayctl_message m = gatewayctl_make(GATEWAYCTL_TAKE_OVER, 0, 0, "");
    if (fd < 0)
        return -1;
    if (!unixsock_peer_allowed(fd, (uid_t)s->boot.owner_uid))
        return error_set(err, ERROR_DENIED, "it is of another user");
    if (unixsock_send(fd, &m, sizeof m, NULL, 0, err) != UNIXSOCK_OK)
        return -1;
    int64_t deadline_ms = clock_boot_ms() + ANSWER_MS;
    for (;;) {
        int fds[LISTENER_SOCKETS];
        size_t fds_len;
        if (next_message(fd, deadline_ms, &m, fds, &fds_len, err) < 0)
            return -1;
        if (gatewayctl_valid(&m) && m.type == GATEWAYCTL_LISTENER) {
            if (take_listener(t, &m, fds, fds_len, err) == 0)
                continue;
            if (t->len == 0 || t->items[t->len - 1].fds[0] != fds[0])
                unixsock_close_all(fds, fds_len);
            return -1;
        }
        unixsock_close_all(fds, fds_len); /* a gateway's hello brings its metrics */
        if (gatewayctl_valid(&m) && m.type == GATEWAYCTL_DONE)
            return 0;
    }
}

/* ---- who is there
 * ---------------------------------------------------------------------------------- */

struct living {
    uint64_t generations[64]; /* newest first */
    size_t len;
};

static int newer_first(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? 1 : x > y ? -1 : 0;
}

static uint64_t generation_of(const char *name)
{
    static const char PREFIX[] = "gateway-", SUFFIX[] = ".sock";
    size_t len = strlen(name), around = sizeof PREFIX + sizeof SUFFIX - 2;
    if (len <= around || len > around + 19 || strncmp(name, PREFIX, sizeof PREFIX - 1) != 0 ||
        strcmp(name + len - sizeof SUFFIX + 1, SUFFIX) != 0)
        return 0;
    cleanup_free char *digits = xstrndup(name + sizeof PREFIX - 1, len - around);
    uint64_t generation;
    return parse_u64(digits, INT64_MAX, &generation) == 0 ? generation : 0;
}

/* All generations that have a socket file, dead or alive. */
static int list_generations(const struct serve *s, struct living *out, struct error *err)
{
    int fd = openat(s->run_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *folder = fd < 0 ? NULL : fdopendir(fd);
    if (folder == NULL)
        return error_errno(err, errno, "folder %s/run", s->boot.data_dir);
    out->len = 0;
    struct dirent *e;
    while ((e = readdir(folder)) != NULL && out->len < sizeof out->generations / sizeof(uint64_t)) {
        uint64_t generation = generation_of(e->d_name);
        if (generation != 0)
            out->generations[out->len++] = generation;
    }
    closedir(folder);
    qsort(out->generations, out->len, sizeof out->generations[0], newer_first);
    return 0;
}

/* The number of the last gateway that there ever was here. */
static int64_t last_generation(const struct serve *s, const struct living *living)
{
    cleanup_buf struct buf text = BUF_INIT;
    uint64_t last = 0;
    if (file_read(s->run_fd, "generation", 64, &text, NULL) == 0 && text.len > 0) {
        text.data[strcspn(text.data, "\n")] = '\0';
        if (parse_u64(text.data, INT64_MAX - 1, &last) < 0)
            last = 0;
    }
    return (int64_t)(living->len > 0 && living->generations[0] > last ? living->generations[0]
                                                                      : last);
}

/* Connects to each that lives, removes the sockets of the dead, asks the newest one first. */
static void find_gateways(struct serve *s, const struct living *living, struct taken *t)
{
    for (size_t i = 0; i < living->len; i++) {
        char name[48];
        struct error err = ERROR_INIT;
        snprintf(name, sizeof name, "gateway-%llu.sock",
                 (unsigned long long)living->generations[i]);
        int fd = unixsock_connect(s->run_fd, name, SOCK_SEQPACKET, &err);
        if (fd < 0) {
            unlinkat(s->run_fd, name, 0);
            continue;
        }
        if (s->boot.old_gateways_len == BOOT_MAX_OLD_GATEWAYS ||
            !unixsock_peer_allowed(fd, (uid_t)s->boot.owner_uid)) {
            close(fd);
            continue;
        }
        s->boot.old_gateway_fds[s->boot.old_gateways_len++] = fd;
        if (t->len == 0 && ask(s, name, t, &err) < 0) {
            log_warn("gateway %llu: %s", (unsigned long long)living->generations[i], err.text);
            release(t);
        }
    }
}

static void find_controller(struct serve *s, struct taken *t)
{
    struct error err = ERROR_INIT;
    int fd = unixsock_connect(s->run_fd, "controller.sock", SOCK_SEQPACKET, &err);
    if (fd < 0)
        return;
    if (!unixsock_peer_allowed(fd, (uid_t)s->boot.owner_uid)) {
        close(fd);
        return;
    }
    s->boot.old_controller_fd = fd;
    if (t->len == 0 && ask(s, "controller.sock", t, &err) < 0) {
        log_warn("the controller that lives: %s", err.text);
        release(t);
    }
}

/* ---- from what is there to what is wanted
 * ----------------------------------------------------------- */

/* "127.0.0.1:0" is content with any port of that host. */
static bool is_wanted(const char *wanted, const char *address)
{
    size_t len = strlen(wanted);
    if (len > 2 && strcmp(wanted + len - 2, ":0") == 0) {
        const char *port = strrchr(address, ':');
        return port != NULL && (size_t)(port - address) == len - 2 &&
               strncmp(wanted, address, len - 2) == 0;
    }
    return strcmp(wanted, address) == 0;
}

/* EADDRINUSE in words: who it is, where /proc tells. */
static int explain(struct error *err, const char *text)
{
    struct sockaddr_storage address;
    socklen_t len;
    char name[128];
    if (err->class != ERROR_CONFLICT || listen_parse(text, &address, &len, NULL) < 0)
        return -1;
    pid_t pid = listen_holder(&address, name, sizeof name);
    if (pid > 0)
        return error_set(
            err, ERROR_CONFLICT,
            "listen on %s: the address is in use by pid %d (%s); stop it, or use another "
            "--listen",
            text, (int)pid, name);
    return error_set(
        err, ERROR_CONFLICT,
        "listen on %s: the address is in use by another process; stop it, or use another "
        "--listen",
        text);
}

static int open_wanted(struct serve *s, const char *wanted, struct taken *t, struct error *err)
{
    struct boot_listener *l = &s->boot.listeners[s->boot.listeners_len];
    for (size_t i = 0; i < t->len; i++)
        if (t->items[i].address[0] != '\0' && is_wanted(wanted, t->items[i].address)) {
            *l = t->items[i];
            t->items[i].address[0] = '\0'; /* used */
            s->boot.listeners_len++;
            return 0;
        }
    if (listen_open(l, wanted, (uint32_t)s->boot.workers, err) < 0)
        return explain(err, wanted);
    s->boot.listeners_len++;
    if (t->len > 0)
        log_info("listening on %s, which the server before did not", l->address);
    return 0;
}

/* The same address again; "HOST:0" is another port each time. */
static bool wanted_already(const struct serve *s, size_t i)
{
    size_t len = strlen(s->wanted[i].text);
    if (strcmp(s->wanted[i].text + len - 2, ":0") == 0)
        return false;
    for (size_t k = 0; k < i; k++)
        if (strcmp(s->wanted[k].text, s->wanted[i].text) == 0)
            return true;
    return false;
}

/* Those of TCP routes are no business of --listen: the controller closes what no app wants. */
static void keep_tcp(struct serve *s, struct taken *t)
{
    for (size_t i = 0; i < t->len && s->boot.listeners_len < BOOT_MAX_LISTENERS; i++)
        if (listen_is_tcp(t->items[i].address)) {
            s->boot.listeners[s->boot.listeners_len++] = t->items[i];
            t->items[i].address[0] = '\0';
        }
}

static int choose(struct serve *s, struct taken *t, struct error *err)
{
    if (s->wanted_len == 0 && t->len == 0)
        return open_wanted(s, DEFAULT_LISTEN, t, err);
    for (size_t i = 0; s->wanted_len == 0 && i < t->len; i++) {
        s->boot.listeners[s->boot.listeners_len++] = t->items[i];
        t->items[i].address[0] = '\0';
    }
    for (size_t i = 0; i < s->wanted_len; i++)
        if (!wanted_already(s, i) && open_wanted(s, s->wanted[i].text, t, err) < 0)
            return -1;
    keep_tcp(s, t);
    /* The old gateways still serve it until they have drained; then nobody listens there. */
    for (size_t i = 0; i < t->len; i++)
        if (t->items[i].address[0] != '\0') {
            log_info("no longer listening on %s: it is not among --listen", t->items[i].address);
            listen_close(&t->items[i]);
        }
    return 0;
}

int serve_take_over(struct serve *s, struct error *err)
{
    struct living living;
    struct taken taken = {.len = 0};
    if (list_generations(s, &living, err) < 0)
        return -1;
    s->boot.generation = last_generation(s, &living);
    find_gateways(s, &living, &taken);
    find_controller(s, &taken);
    if (s->boot.old_gateways_len > 0 || s->boot.old_controller_fd >= 0)
        log_info("taking over from the server before: %zu gateway(s)%s, %zu listen address(es)",
                 s->boot.old_gateways_len,
                 s->boot.old_controller_fd >= 0 ? " and its controller" : "", taken.len);
    return choose(s, &taken, err);
}
