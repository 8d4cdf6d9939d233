/* sluice serve: checks its arguments, makes the data folder, takes the lock, takes over what a
 * server before it left alive, and becomes the guardian. */
#include "cli/serve.h"

#include "base/alloc.h"
#include "base/log.h"
#include "base/network.h"
#include "base/units.h"
#include "base/vec.h"
#include "cli/cli.h"
#include "cli/embedded.h"
#include "cli/options.h"
#include "cli/place.h"
#include "os/durable.h"
#include "os/listen.h"
#include "os/lockfile.h"
#include "os/memfd.h"
#include "os/title.h"
#include "os/unixsock.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

extern char **environ;

/* ---- arguments
 * ------------------------------------------------------------------------------------ */

static int read_workers(const char *value, struct boot *b, struct error *err)
{
    uint64_t workers;
    if (parse_u64(value, BOOT_LISTENER_SOCKETS, &workers) < 0 || workers == 0)
        return error_set(err, ERROR_USAGE, "--workers %s: expected a number from 1 to %d", value,
                         BOOT_LISTENER_SOCKETS);
    b->workers = (int64_t)workers;
    return 0;
}

static int read_log_level(const char *value, struct boot *b, struct error *err)
{
    static const char *const WORDS[] = {"debug", "info", "warn", "error"};
    for (size_t i = 0; i < COUNT_OF(WORDS); i++)
        if (strcmp(value, WORDS[i]) == 0) {
            b->log_level = (int64_t)i;
            return 0;
        }
    return error_set(err, ERROR_USAGE, "--log-level %s: expected debug, info, warn or error",
                     value);
}

/* before: LISTEN_TLS, LISTEN_MTLS or "". */
static int read_listen(const char *option, const char *value, const char *before, struct serve *s,
                       struct error *err)
{
    struct sockaddr_storage address;
    socklen_t len;
    char plain[BOOT_ADDRESS_MAX];
    if (s->wanted_len == BOOT_MAX_LISTENERS)
        return error_set(err, ERROR_USAGE, "%s: at most %d addresses", option, BOOT_MAX_LISTENERS);
    if (listen_bare(value) != value)
        return error_set(err, ERROR_USAGE, "%s %s: expected HOST:PORT", option, value);
    if (listen_parse(value, &address, &len, err) < 0)
        return error_wrap(err, "%s", option);
    listen_format(&address, plain);
    snprintf(s->wanted[s->wanted_len++].text, BOOT_ADDRESS_MAX, "%s%.56s", before, plain);
    return 0;
}

/* Absolute, for the processes that open it; said now where its folder cannot be. */
static int read_access_log(const char *value, struct boot *b, struct error *err)
{
    if (strcmp(value, "-") == 0) {
        boot_set(&b->access_log, value);
        return 0;
    }
    cleanup_free char *folder = value[0] == '/' ? xstrdup("") : getcwd(NULL, 0);
    if (value[0] == '\0' || value[strlen(value) - 1] == '/' || folder == NULL)
        return error_set(err, ERROR_USAGE,
                         "--access-log %s: expected a file, or - for standard "
                         "output",
                         value);
    cleanup_free char *whole = xasprintf("%s%s%s", folder, value[0] == '/' ? "" : "/", value);
    cleanup_free char *parent = xstrndup(whole, (size_t)(strrchr(whole, '/') - whole));
    struct stat st;
    if (parent[0] != '\0' && (stat(parent, &st) < 0 || !S_ISDIR(st.st_mode)))
        return error_set(err, ERROR_USAGE, "--access-log %s: there is no folder %s", value, parent);
    if (stat(whole, &st) == 0 && S_ISDIR(st.st_mode))
        return error_set(err, ERROR_USAGE, "--access-log %s: this is a folder; expected a file",
                         value);
    boot_set(&b->access_log, whole);
    return 0;
}

static int read_tcp_routes(const char *value, struct boot *b, struct error *err)
{
    if (listen_allowed(value, NULL, err) < 0)
        return error_wrap(err, "--tcp-routes");
    boot_set(&b->tcp_routes, value);
    return 0;
}

/* A network whose address is one of its hosts' is taken for the network, as it always was. */
static int read_trusted_proxies(const char *value, struct boot *b, struct error *err)
{
    struct network networks[NETWORK_LIST_MAX];
    char text[NETWORK_TEXT_SIZE];
    size_t len;
    if (network_parse_list(value, networks, &len, err) < 0)
        return error_wrap(err, "--trusted-proxies");
    for (size_t i = 0; i < len; i++)
        if (!network_is_exact(&networks[i]))
            log_warn("--trusted-proxies %s: the whole network %s is trusted; for one address leave "
                     "the length out",
                     value, network_format(&networks[i], text));
    boot_set(&b->trusted_proxies, value);
    return 0;
}

static int read_number(const char *option, const char *value, int64_t *out, struct error *err)
{
    uint64_t number;
    if (parse_u64(value, UINT32_MAX, &number) < 0 || number == 0)
        return error_set(err, ERROR_USAGE, "%s %s: expected a number of connections, from 1 on",
                         option, value);
    *out = (int64_t)number;
    return 0;
}

static int set_option(struct serve *s, enum option_id id, const char *value, struct error *err)
{
    switch (id) {
    case OPTION_DATA: s->data_option = value; return 0;
    case OPTION_API: s->api_option = value; return 0;
    case OPTION_LISTEN: return read_listen("--listen", value, "", s, err);
    case OPTION_TLS_LISTEN: return read_listen("--tls-listen", value, LISTEN_TLS, s, err);
    case OPTION_MTLS_LISTEN: return read_listen("--mtls-listen", value, LISTEN_MTLS, s, err);
    case OPTION_TCP_ROUTES: return read_tcp_routes(value, &s->boot, err);
    case OPTION_WORKERS: return read_workers(value, &s->boot, err);
    case OPTION_TRUSTED_PROXIES: return read_trusted_proxies(value, &s->boot, err);
    case OPTION_LOG_LEVEL: return read_log_level(value, &s->boot, err);
    case OPTION_ACCESS_LOG: return read_access_log(value, &s->boot, err);
    case OPTION_ACME_DIRECTORY:
    case OPTION_ACME_EMAIL:
    case OPTION_ACME_CA: return serve_read_acme(id, value, &s->boot, err);
    case OPTION_PROXY_PROTOCOL: s->boot.proxy_protocol = 1; return 0;
    case OPTION_MAX_CONNECTIONS:
        return read_number("--max-connections", value, &s->boot.max_connections, err);
    case OPTION_MAX_PER_CLIENT:
        return read_number("--max-connections-per-client", value,
                           &s->boot.max_connections_per_client, err);
    case OPTION_STOP_APPS: s->boot.stop_apps = 1; return 0;
    case OPTION_CHECK: s->check = true; return 0;
    default: return 0; /* --json, --no-color: every verb takes them; serve prints plain lines */
    }
}

static int read_arguments(struct serve *s, int argc, char **argv, struct error *err)
{
    struct options o;
    if (options_parse(&o, verb_get(VERB_serve), argc, argv, err) < 0)
        return -1;
    for (unsigned i = 0; i < o.each_len; i++)
        if (set_option(s, o.each[i].id, o.each[i].value, err) < 0)
            return -1;
    if (s->boot.proxy_protocol != 0 && s->boot.trusted_proxies[0] == '\0')
        return error_set(err, ERROR_USAGE,
                         "--proxy-protocol: whose headers are believed? --trusted-proxies says so "
                         "(0.0.0.0/0,::/0: everybody's)");
    return 0;
}

static int default_workers(void)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    return cores < 1 ? 1 : cores > BOOT_LISTENER_SOCKETS ? BOOT_LISTENER_SOCKETS : (int)cores;
}

/* The address as the other roles read it: "unix:/absolute/path" or "HOST:PORT". */
static int set_api(struct serve *s, struct error *err)
{
    const char *api = s->api_option != NULL ? s->api_option : getenv("SLUICE_API");
    if (api == NULL || api[0] == '\0') {
        cleanup_free char *own = xasprintf("unix:%s/api.sock", s->boot.data_dir);
        boot_set(&s->boot.api, own);
        return 0;
    }
    if (strncmp(api, "unix:", 5) == 0) {
        if (api[5] == '\0')
            return error_set(err, ERROR_USAGE, "--api %s: expected unix:PATH", api);
        cleanup_free char *folder = api[5] == '/' ? xstrdup("") : getcwd(NULL, 0);
        if (folder == NULL)
            return error_errno(err, errno, "--api %s", api);
        cleanup_free char *whole =
            xasprintf("unix:%s%s%s", folder, api[5] == '/' ? "" : "/", api + 5);
        boot_set(&s->boot.api, whole);
        return 0;
    }
    struct sockaddr_storage address;
    socklen_t len;
    if (listen_parse(api, &address, &len, err) < 0)
        return error_wrap(err, "--api (or unix:PATH)");
    boot_set(&s->boot.api, api);
    return 0;
}

/* ---- the data folder and the lock
 * ------------------------------------------------------------------ */

/* 0711: the apps' user goes through to its release's folder; what may not be read has its own mode.
 */
static int open_folders(struct serve *s, struct error *err)
{
    const char *data = s->boot.data_dir;
    if (make_folders(AT_FDCWD, data, 0711, err) < 0)
        return error_wrap(err, "data folder %s", data);
    s->data_fd = open(data, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct stat st;
    if (s->data_fd < 0 || fstat(s->data_fd, &st) < 0)
        return error_errno(err, errno, "data folder %s", data);
    if (geteuid() != 0 && st.st_uid != geteuid())
        return error_set(err, ERROR_DENIED, "data folder %s belongs to uid %u, not to you (uid %u)",
                         data, (unsigned)st.st_uid, (unsigned)geteuid());
    s->boot.owner_uid = st.st_uid;
    if (make_folders(s->data_fd, "run", 0711, err) < 0)
        return error_wrap(err, "data folder %s", data);
    s->run_fd = openat(s->data_fd, "run", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (s->run_fd < 0)
        return error_errno(err, errno, "folder %s/run", data);
    return 0;
}

static int take_lock(struct serve *s, struct error *err)
{
    pid_t holder;
    s->boot.lock_fd = lockfile_take(s->data_fd, "guardian.lock", &holder, err);
    if (s->boot.lock_fd >= 0)
        return 0;
    if (holder > 0)
        return error_set(err, ERROR_CONFLICT, "already running, pid %d (data folder %s)",
                         (int)holder, s->boot.data_dir);
    return error_wrap(err, "data folder %s", s->boot.data_dir);
}

/* ---- limits and programs
 * --------------------------------------------------------------------------- */

static void raise_limits(void)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
}

static void check_backlog(void)
{
    cleanup_buf struct buf text = BUF_INIT;
    uint64_t most;
    if (file_read(AT_FDCWD, "/proc/sys/net/core/somaxconn", 64, &text, NULL) < 0)
        return;
    text.data[strcspn(text.data, "\n")] = '\0';
    if (parse_u64(text.data, UINT32_MAX, &most) == 0 && most < LISTEN_BACKLOG)
        log_warn("net.core.somaxconn is %llu: bursts of more new connections than that are slowed "
                 "down; %d is recommended",
                 (unsigned long long)most, LISTEN_BACKLOG);
}

static int open_programs(struct serve *s, struct error *err)
{
    s->boot.binary_fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    if (s->boot.binary_fd < 0)
        return error_errno(err, errno, "/proc/self/exe");
    s->boot.shim_fd = memfd_program(s->run_fd, "shim.program", embedded_shim,
                                    (size_t)(embedded_shim_end - embedded_shim), err);
    s->boot.guardian_program_fd =
        s->boot.shim_fd < 0
            ? -1
            : memfd_program(s->run_fd, "guardian.program", embedded_guardian,
                            (size_t)(embedded_guardian_end - embedded_guardian), err);
    return s->boot.guardian_program_fd < 0 ? -1 : 0;
}

/* Descriptor 3 is the boot file's: nothing that we open may get that number. */
static void reserve_boot_fd(void)
{
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    while (fd >= 0 && fd < BOOT_FD)
        fd = open("/dev/null", O_RDONLY); /* 0, 1, 2 were closed: they are /dev/null then */
    if (fd > BOOT_FD) {
        dup3(fd, BOOT_FD, O_CLOEXEC);
        close(fd);
    }
}

/* They wait for the guardian, across the exec: a server that is told to stop while it comes up
 * stops in order, with what it took over (and the apps, where that is asked). */
static void hold_signals(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, NULL);
}

static int become_guardian(struct serve *s, struct error *err)
{
    cleanup_close int boot_fd = boot_write(&s->boot, err);
    if (boot_fd < 0 || boot_inherit(&s->boot, boot_fd, err) < 0)
        return -1;
    cleanup_free char *title = title_make("guardian", s->boot.data_dir);
    fexecve(s->boot.guardian_program_fd, (char *[]){title, NULL}, environ);
    return error_errno(err, errno, "start the guardian");
}

static int prepare(struct serve *s, int argc, char **argv, struct error *err)
{
    if (read_arguments(s, argc, argv, err) < 0)
        return -1;
    cleanup_free char *data = place_data_dir(s->data_option, err);
    if (data == NULL)
        return -1;
    boot_set(&s->boot.data_dir, data);
    if (set_api(s, err) < 0 || open_folders(s, err) < 0)
        return -1;
    if (s->check)
        return open_programs(s, err);
    if (take_lock(s, err) < 0)
        return -1;
    raise_limits();
    check_backlog();
    if (geteuid() == 0 && serve_find_users(&s->boot, err) < 0)
        return -1;
    return open_programs(s, err) < 0 || serve_take_over(s, err) < 0 ? -1 : 0;
}

int cmd_serve(int argc, char **argv)
{
    struct serve s = {.data_fd = -1, .run_fd = -1};
    struct error err = ERROR_INIT;
    hold_signals();
    reserve_boot_fd();
    boot_init(&s.boot);
    s.boot.log_level = LOG_INFO;
    s.boot.workers = default_workers();
    boot_set(&s.boot.acme_directory, SERVE_ACME_DIRECTORY);
    boot_set(&s.boot.tcp_routes, LISTEN_ALLOWED_DEFAULT);
    log_init("serve", LOG_INFO);
    umask(022); /* the modes of what we make are what the code says */
    int status = prepare(&s, argc, argv, &err);
    if (status == 0 && !s.check)
        status = become_guardian(&s, &err);
    boot_release(&s.boot);
    return status < 0 ? cli_fail(&err) : EXIT_SUCCESS;
}
