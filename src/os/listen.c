#include "os/listen.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/units.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

bool listen_is_tls(const char *text)
{
    return strncmp(text, LISTEN_TLS, sizeof LISTEN_TLS - 1) == 0;
}

bool listen_is_mtls(const char *text)
{
    return strncmp(text, LISTEN_MTLS, sizeof LISTEN_MTLS - 1) == 0;
}

bool listen_is_tcp(const char *text)
{
    return strncmp(text, LISTEN_TCP, sizeof LISTEN_TCP - 1) == 0;
}

/* What stands before the address. */
static const char *before(const char *text)
{
    return listen_is_tls(text)    ? LISTEN_TLS
           : listen_is_mtls(text) ? LISTEN_MTLS
           : listen_is_tcp(text)  ? LISTEN_TCP
                                  : "";
}

const char *listen_bare(const char *text)
{
    return text + strlen(before(text));
}

int listen_parse(const char *text, struct sockaddr_storage *address, socklen_t *len,
                 struct error *err)
{
    char host[BOOT_ADDRESS_MAX];
    text = listen_bare(text);
    const char *colon = strrchr(text, ':');
    uint64_t port;
    if (colon == NULL || (size_t)(colon - text) >= sizeof host ||
        parse_u64(colon + 1, 65535, &port) < 0)
        return error_set(
            err, ERROR_USAGE,
            "\"%s\" is not an address: expected HOST:PORT, for example 0.0.0.0:8080 or "
            "[::1]:8080",
            text);
    memcpy(host, text, (size_t)(colon - text));
    host[colon - text] = '\0';
    memset(address, 0, sizeof *address);
    struct sockaddr_in *v4 = (struct sockaddr_in *)address;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)address;
    size_t n = strlen(host);
    if (n > 2 && host[0] == '[' && host[n - 1] == ']') {
        host[n - 1] = '\0';
        if (inet_pton(AF_INET6, host + 1, &v6->sin6_addr) == 1) {
            v6->sin6_family = AF_INET6;
            v6->sin6_port = htons((uint16_t)port);
            *len = sizeof *v6;
            return 0;
        }
    } else if (inet_pton(AF_INET, strcmp(host, "localhost") == 0 ? "127.0.0.1" : host,
                         &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons((uint16_t)port);
        *len = sizeof *v4;
        return 0;
    }
    return error_set(
        err, ERROR_USAGE,
        "\"%s\" is not an address: the host must be an IP address of this machine, for "
        "example 127.0.0.1, 0.0.0.0 (all) or [::1]",
        text);
}

void listen_format(const struct sockaddr_storage *address, char out[BOOT_ADDRESS_MAX])
{
    char host[INET6_ADDRSTRLEN] = "";
    if (address->ss_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)address;
        inet_ntop(AF_INET6, &v6->sin6_addr, host, sizeof host);
        snprintf(out, BOOT_ADDRESS_MAX, "[%s]:%u", host, (unsigned)ntohs(v6->sin6_port));
        return;
    }
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)address;
    inet_ntop(AF_INET, &v4->sin_addr, host, sizeof host);
    snprintf(out, BOOT_ADDRESS_MAX, "%s:%u", host, (unsigned)ntohs(v4->sin_port));
}

static int in_use(struct error *err, int errnum, const char *text)
{
    text = listen_bare(text);
    if (errnum == EADDRINUSE)
        return error_set(err, ERROR_CONFLICT, "listen on %s: the address is in use", text);
    if (errnum == EADDRNOTAVAIL)
        return error_set(err, ERROR_USAGE, "listen on %s: this machine has no such address", text);
    if (errnum == EACCES)
        return error_set(err, ERROR_DENIED,
                         "listen on %s: permission denied (ports under 1024 need root or "
                         "CAP_NET_BIND_SERVICE)",
                         text);
    return error_errno(err, errnum, "listen on %s", text);
}

static int set_on(int fd, int level, int option, struct error *err)
{
    int on = 1;
    if (setsockopt(fd, level, option, &on, sizeof on) < 0)
        return error_errno(err, errno, "setsockopt %d", option);
    return 0;
}

static int make_socket(const struct sockaddr_storage *address, bool shared, struct error *err)
{
    cleanup_close int fd =
        socket(address->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return error_errno(err, errno, "socket");
    if (set_on(fd, SOL_SOCKET, SO_REUSEADDR, err) < 0 ||
        (address->ss_family == AF_INET6 && set_on(fd, IPPROTO_IPV6, IPV6_V6ONLY, err) < 0) ||
        (shared && set_on(fd, SOL_SOCKET, SO_REUSEPORT, err) < 0))
        return -1;
    return take_fd(&fd);
}

/* With SO_REUSEPORT the kernel lets us join a group of the same user, for example another sluice's,
 * and would give that one a part of our connections. So a socket without it asks first. */
static int check_free(const struct sockaddr_storage *address, socklen_t len, const char *text,
                      struct error *err)
{
    cleanup_close int fd = make_socket(address, false, err);
    if (fd < 0)
        return -1;
    if (bind(fd, (const struct sockaddr *)address, len) < 0)
        return in_use(err, errno, text);
    return 0;
}

static int attach(int fd, uint32_t workers, struct error *err)
{
    ASSERT(workers >= 1 && workers <= BOOT_LISTENER_SOCKETS);
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)(SKF_AD_OFF + SKF_AD_RANDOM)),
        BPF_STMT(BPF_ALU | BPF_MOD | BPF_K, workers),
        BPF_STMT(BPF_RET | BPF_A, 0),
    };
    struct sock_fprog program = {.len = sizeof code / sizeof code[0], .filter = code};
    if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &program, sizeof program) < 0)
        return error_errno(err, errno, "setsockopt SO_ATTACH_REUSEPORT_CBPF");
    return 0;
}

/* `text` says what stands before the address; it may be the name itself. */
static void name_listener(struct boot_listener *l, const struct sockaddr_storage *address,
                          const char *text)
{
    char bare[BOOT_ADDRESS_MAX];
    listen_format(address, bare);
    snprintf(l->address, sizeof l->address, "%s%.*s", before(text),
             (int)(sizeof l->address - sizeof LISTEN_MTLS), bare);
}

static int open_group(struct boot_listener *l, struct sockaddr_storage *address, socklen_t len,
                      uint32_t workers, struct error *err)
{
    for (size_t i = 0; i < BOOT_LISTENER_SOCKETS; i++) {
        l->fds[i] = make_socket(address, true, err);
        if (l->fds[i] < 0)
            return -1;
        if (bind(l->fds[i], (struct sockaddr *)address, len) < 0)
            return in_use(err, errno, l->address);
        /* Port 0: the first bind picks it, the others share it. */
        if (i == 0 && getsockname(l->fds[i], (struct sockaddr *)address, &len) < 0)
            return error_errno(err, errno, "getsockname");
    }
    /* The place in the group is the order of listen(). While the first one is alone it gets all, so
     * no connection is ever given to one that nobody serves. With the program before that, it could
     * not listen beside a group of another host: the kernel takes both for rivals. */
    for (size_t i = 0; i < BOOT_LISTENER_SOCKETS; i++) {
        if (listen(l->fds[i], LISTEN_BACKLOG) < 0)
            return in_use(err, errno, l->address);
        if (i == 0 && attach(l->fds[i], workers, err) < 0)
            return -1;
    }
    name_listener(l, address, l->address);
    return 0;
}

static int open_listener(struct boot_listener *l, const char *text, bool beside, uint32_t workers,
                         struct error *err)
{
    struct sockaddr_storage address;
    socklen_t len;
    memset(l, 0, sizeof *l);
    for (size_t i = 0; i < BOOT_LISTENER_SOCKETS; i++)
        l->fds[i] = -1;
    if (listen_parse(text, &address, &len, err) < 0)
        return -1;
    name_listener(l, &address, text);
    if (!beside && check_free(&address, len, l->address, err) < 0)
        return -1;
    if (open_group(l, &address, len, workers, err) < 0) {
        listen_close(l);
        return -1;
    }
    return 0;
}

int listen_open(struct boot_listener *l, const char *text, uint32_t workers, struct error *err)
{
    return open_listener(l, text, false, workers, err);
}

int listen_open_beside(struct boot_listener *l, const char *text, uint32_t workers,
                       struct error *err)
{
    return open_listener(l, text, true, workers, err);
}

int listen_steer(const struct boot_listener *l, uint32_t workers, struct error *err)
{
    if (attach(l->fds[0], workers, err) < 0)
        return error_wrap(err, "listener %s", l->address);
    return 0;
}

int listen_check(const struct boot_listener *l, struct error *err)
{
    for (size_t i = 0; i < BOOT_LISTENER_SOCKETS; i++) {
        struct sockaddr_storage address = {.ss_family = AF_UNSPEC};
        socklen_t len = sizeof address;
        char real[BOOT_ADDRESS_MAX];
        if (getsockname(l->fds[i], (struct sockaddr *)&address, &len) < 0)
            return error_errno(err, errno, "listener %s", l->address);
        if (address.ss_family != AF_INET && address.ss_family != AF_INET6)
            return error_set(err, ERROR_USAGE, "listener %s: not a TCP socket", l->address);
        listen_format(&address, real);
        if (strcmp(real, listen_bare(l->address)) != 0)
            return error_set(err, ERROR_USAGE, "listener %s: its socket has the address %s",
                             l->address, real);
        int listening = 0;
        len = sizeof listening;
        if (getsockopt(l->fds[i], SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) < 0)
            return error_errno(err, errno, "listener %s", l->address);
        /* Those that were shut down could listen again, but no more as one group. */
        if (listening == 0)
            return error_set(err, ERROR_UNAVAILABLE, "listener %s: it was shut down", l->address);
    }
    return 0;
}

void listen_shutdown(const struct boot_listener *l)
{
    for (size_t i = 0; i < BOOT_LISTENER_SOCKETS; i++)
        if (l->fds[i] >= 0)
            shutdown(l->fds[i], SHUT_RD);
}

void listen_close(struct boot_listener *l)
{
    for (size_t i = 0; i < BOOT_LISTENER_SOCKETS; i++) {
        if (l->fds[i] >= 0)
            close(l->fds[i]);
        l->fds[i] = -1;
    }
}
