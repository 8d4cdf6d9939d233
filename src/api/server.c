#include "api/server.h"

#include "api/connection.h"
#include "api/token.h"
#include "base/alloc.h"
#include "base/assert.h"
#include "base/log.h"
#include "os/unixsock.h"

#include <netdb.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

enum { BACKLOG = 128, RETRY_MS = 1000, SWEEP_MS = 1000 };

static void on_sweep(uv_timer_t *timer)
{
    struct server *s = timer->data;
    for (struct connection *c = s->connections, *next; c != NULL; c = next) {
        next = c->next;
        connection_sweep(c, uv_now(s->loop));
    }
}

void server_count(struct server *s, int change)
{
    s->clients = (unsigned)((int)s->clients + change);
    if (s->closing)
        return;
    if (s->clients == 0)
        uv_timer_stop(&s->sweep);
    else if (!uv_is_active((uv_handle_t *)&s->sweep))
        uv_timer_start(&s->sweep, on_sweep, SWEEP_MS, SWEEP_MS);
}

/* The name out of /etc/passwd itself: a lookup through the name service could block on a network.
 */
static void name_caller(struct caller *caller)
{
    snprintf(caller->name, sizeof caller->name, "uid %u", (unsigned)caller->uid);
    FILE *f = fopen("/etc/passwd", "re");
    char text[1024];
    struct passwd entry, *found;
    while (f != NULL && fgetpwent_r(f, &entry, text, sizeof text, &found) == 0) {
        if (found->pw_uid == caller->uid) {
            snprintf(caller->name, sizeof caller->name, "%.60s", found->pw_name);
            break;
        }
    }
    if (f != NULL)
        fclose(f);
}

/* Who may connect to the socket's file is the kernel's decision, by its mode (0660: the data
 * folder's owner, its group, root). Here it is only noted who it was. */
static bool identify(struct connection *c)
{
    if (c->needs_token) {
        c->caller.uid = (uid_t)c->server->boot->owner_uid;
        c->caller.gid = (gid_t)-1;
        strcpy(c->caller.name, "token");
        return true;
    }
    int fd;
    struct unixsock_peer peer;
    if (uv_fileno(&c->uv.handle, &fd) != 0 || unixsock_peer(fd, &peer, NULL) != 0)
        return false;
    c->caller.uid = peer.uid;
    c->caller.gid = peer.gid;
    name_caller(&c->caller);
    return true;
}

static void on_connection(uv_stream_t *listener, int status)
{
    struct server *s = listener->data;
    if (status < 0)
        return;
    struct connection *c = xcalloc(1, sizeof *c);
    c->server = s;
    c->needs_token = !s->is_unix;
    c->uv.handle.data = c;
    int bad = s->is_unix ? uv_pipe_init(s->loop, &c->uv.pipe, 0) : uv_tcp_init(s->loop, &c->uv.tcp);
    ASSERT(bad == 0);
    c->next = s->connections;
    if (c->next != NULL)
        c->next->previous = c;
    s->connections = c;
    server_count(s, 1);
    if (uv_accept(listener, &c->uv.stream) != 0 || !identify(c) ||
        s->clients > SERVER_MAX_CLIENTS + SERVER_MAX_REFUSED) {
        connection_close(c);
    } else if (s->clients > SERVER_MAX_CLIENTS) {
        if (s->clients == SERVER_MAX_CLIENTS + 1)
            log_warn("api: more than %d clients: some are turned away", SERVER_MAX_CLIENTS);
        connection_start(c);
        if (c->state != CLOSED) {
            c->keep_alive = false;
            c->state = HANDLING;
            reply_problem(c, 503, "Retry-After: 1\r\n", "too many clients");
        }
    } else {
        connection_start(c);
    }
}

static int listen_unix(struct server *s, const char *path, struct error *err)
{
    int fd = unixsock_listen_path(path, SOCK_STREAM, 0660, err);
    if (fd < 0)
        return -1;
    uv_pipe_init(s->loop, &s->listener.pipe, 0);
    s->is_unix = true;
    int bad = uv_pipe_open(&s->listener.pipe, fd);
    if (bad != 0) {
        close(fd);
        return error_set(err, ERROR_IO, "%s", uv_strerror(bad));
    }
    return 0;
}

static int listen_tcp(struct server *s, const char *address, struct error *err)
{
    const char *colon = strrchr(address, ':');
    if (colon == NULL)
        return error_set(err, ERROR_USAGE, "expected unix:PATH or HOST:PORT");
    bool bracketed = address[0] == '[' && colon > address && colon[-1] == ']';
    cleanup_free char *host =
        xstrndup(address + bracketed, (size_t)(colon - address) - 2 * (size_t)bracketed);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    int bad = getaddrinfo(host, colon + 1, &hints, &found);
    if (bad != 0)
        return error_set(err, ERROR_USAGE, "%s", gai_strerror(bad));
    uv_tcp_init(s->loop, &s->listener.tcp);
    s->is_unix = false;
    bad = uv_tcp_bind(&s->listener.tcp, found->ai_addr, 0);
    freeaddrinfo(found);
    return bad != 0 ? error_set(err, ERROR_IO, "%s", uv_strerror(bad)) : 0;
}

static void on_retry(uv_timer_t *timer);

static void try_again(struct server *s, const struct error *err)
{
    log_error("api: cannot listen on %s: %s; trying again", s->boot->api, err->text);
    uv_timer_start(&s->retry, on_retry, RETRY_MS, 0);
}

static void on_listener_closed(uv_handle_t *handle)
{
    struct server *s = handle->data;
    s->listening = false;
}

static void start_listening(struct server *s)
{
    struct error err = ERROR_INIT;
    const char *api = s->boot->api;
    bool is_unix = strncmp(api, "unix:", 5) == 0;
    memset(&s->listener, 0, sizeof s->listener);
    if (!is_unix && token_load(s->boot->data_dir, s->token, &err) != 0) {
        try_again(s, &err);
        return;
    }
    int bad = is_unix ? listen_unix(s, api + 5, &err) : listen_tcp(s, api, &err);
    s->listening = s->listener.handle.loop != NULL; /* it was initialised: it wants to be closed */
    s->listener.handle.data = s;
    if (bad == 0) {
        bad = uv_listen(&s->listener.stream, BACKLOG, on_connection);
        if (bad == 0) {
            log_info("api: listening on %s", api);
            control_api_listens(s->control);
            return;
        }
        error_set(&err, ERROR_IO, "%s", uv_strerror(bad));
    }
    if (s->listening)
        uv_close(&s->listener.handle, on_listener_closed);
    try_again(s, &err);
}

static void on_retry(uv_timer_t *timer)
{
    struct server *s = timer->data;
    if (!s->listening)
        start_listening(s);
}

void server_open(struct server *s, uv_loop_t *loop, struct control *control,
                 const struct boot *boot)
{
    memset(s, 0, sizeof *s);
    s->loop = loop;
    s->control = control;
    s->boot = boot;
    uv_timer_init(loop, &s->retry);
    uv_timer_init(loop, &s->sweep);
    s->retry.data = s->sweep.data = s;
    start_listening(s);
}

void server_close(struct server *s)
{
    if (s->closing)
        return;
    s->closing = true;
    if (s->listening && !uv_is_closing(&s->listener.handle))
        uv_close(&s->listener.handle, on_listener_closed);
    uv_close((uv_handle_t *)&s->retry, NULL);
    uv_close((uv_handle_t *)&s->sweep, NULL);
    for (struct connection *c = s->connections; c != NULL; c = c->next)
        connection_close(c);
}
