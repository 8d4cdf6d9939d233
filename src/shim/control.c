#include "shim/control.h"

#include "base/assert.h"
#include "os/unixsock.h"
#include "wire/shimparams.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int control_init(struct control *c, int run_dir_fd, int first, struct error *err)
{
    c->listener = -1;
    for (int i = 0; i < CONTROL_CONNECTIONS; i++)
        c->connections[i] = -1;
    c->connections[0] = first;
    c->listener = unixsock_listen(run_dir_fd, RUN_CONTROL_SOCKET, SOCK_SEQPACKET, 0600, err);
    return c->listener < 0 ? -1 : 0;
}

void control_poll_fds(const struct control *c, struct pollfd fds[CONTROL_POLL_FDS])
{
    fds[0] = (struct pollfd){.fd = c->listener, .events = POLLIN};
    for (int i = 0; i < CONTROL_CONNECTIONS; i++)
        fds[i + 1] = (struct pollfd){.fd = c->connections[i], .events = POLLIN};
}

static void drop(struct control *c, int i)
{
    close(c->connections[i]);
    memmove(&c->connections[i], &c->connections[i + 1],
            sizeof c->connections[0] * (size_t)(CONTROL_CONNECTIONS - 1 - i));
    c->connections[CONTROL_CONNECTIONS - 1] = -1;
}

/* With all taken, the oldest goes: a new controller must always get in. */
static void add(struct control *c, int fd)
{
    if (c->connections[CONTROL_CONNECTIONS - 1] >= 0)
        drop(c, 0);
    for (int i = 0; i < CONTROL_CONNECTIONS; i++) {
        if (c->connections[i] < 0) {
            c->connections[i] = fd;
            return;
        }
    }
    UNREACHABLE();
}

static void send_report(int fd, const struct shimctl_report *report)
{
    unsigned char data[SHIMCTL_REPORT_SIZE];
    shimctl_encode_report(report, data);
    unixsock_send(fd, data, sizeof data, NULL, 0, NULL); /* full or gone: it can ask again */
}

/* False: the connection is of no more use. */
static bool receive(int fd, const struct control_handler *handler)
{
    unsigned char data[SHIMCTL_REQUEST_SIZE];
    struct shimctl_request request;
    for (;;) {
        size_t fds_len = 0;
        enum unixsock_result got = unixsock_recv(fd, data, sizeof data, NULL, 0, &fds_len, NULL);
        if (got == UNIXSOCK_AGAIN)
            return true;
        if (got != UNIXSOCK_OK || shimctl_decode_request(data, &request, NULL) < 0)
            return false;
        if (request.verb != SHIMCTL_STATUS) {
            handler->on_request(handler->arg, &request);
            continue;
        }
        struct shimctl_report report;
        handler->report(handler->arg, &report);
        send_report(fd, &report);
    }
}

void control_serve(struct control *c, const struct pollfd fds[CONTROL_POLL_FDS],
                   const struct control_handler *handler)
{
    for (int i = CONTROL_CONNECTIONS - 1; i >= 0;
         i--) /* from behind: drop() moves the later ones */
        if (c->connections[i] >= 0 && fds[i + 1].revents != 0 &&
            !receive(c->connections[i], handler))
            drop(c, i);
    if (fds[0].revents == 0)
        return;
    for (int fd; (fd = unixsock_accept(c->listener)) >= 0;) {
        if (unixsock_peer_allowed(fd, geteuid()))
            add(c, fd);
        else
            close(fd);
    }
}

void control_tell_all(struct control *c, const struct shimctl_report *report)
{
    for (int i = 0; i < CONTROL_CONNECTIONS; i++)
        if (c->connections[i] >= 0)
            send_report(c->connections[i], report);
}
