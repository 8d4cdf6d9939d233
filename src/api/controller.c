#include "api/controller.h"

#include "api/server.h"
#include "base/log.h"
#include "control/control.h"
#include "observe/accesslog.h"
#include "os/title.h"

#include <signal.h>
#include <stdlib.h>

struct controller {
    uv_loop_t loop;
    uv_signal_t terminate, interrupt;
    struct control *control;
    struct server server;
    struct access_log *access_log; /* NULL: none */
    bool stopping;
};

static void on_signal(uv_signal_t *handle, int signal)
{
    struct controller *c = handle->data;
    if (c->stopping)
        return;
    c->stopping = true;
    log_info("leaving: %s", signal == SIGTERM ? "SIGTERM" : "SIGINT");
    control_leave(c->control, false);
}

/* control has flushed its store: nothing that was acknowledged is lost from here on. */
static void on_leave(void *arg)
{
    struct controller *c = arg;
    c->stopping = true;
    server_close(&c->server);
    uv_stop(&c->loop);
}

static int run(struct controller *c, struct boot *boot)
{
    struct error err = ERROR_INIT;
    struct control_config config = {.boot = boot, .loop = &c->loop, .on_leave = on_leave, .arg = c};
    if (boot->access_log[0] != '\0')
        config.access_log = c->access_log = access_log_open(boot->access_log);
    c->control = control_open(&config, &err);
    if (c->control == NULL) {
        log_error("cannot start: %s", err.text);
        return EXIT_FAILURE;
    }
    uv_signal_init(&c->loop, &c->terminate);
    uv_signal_init(&c->loop, &c->interrupt);
    c->terminate.data = c->interrupt.data = c;
    uv_signal_start(&c->terminate, on_signal, SIGTERM);
    uv_signal_start(&c->interrupt, on_signal, SIGINT);
    server_open(&c->server, &c->loop, c->control, boot);
    uv_run(&c->loop, UV_RUN_DEFAULT);
    /* The closing of the server's handles is finished while control still lives: streams unlisten.
     */
    server_close(&c->server);
    uv_close((uv_handle_t *)&c->terminate, NULL);
    uv_close((uv_handle_t *)&c->interrupt, NULL);
    for (int turn = 0; turn < 3; turn++)
        uv_run(&c->loop, UV_RUN_NOWAIT);
    control_free(c->control);
    return EXIT_SUCCESS;
}

int controller_main(struct boot *boot)
{
    struct controller c = {0};
    log_init("controller", (enum log_level)boot->log_level);
    title_short("controller");
    signal(SIGPIPE, SIG_IGN);
    if (uv_loop_init(&c.loop) != 0) {
        log_error("cannot start: no event loop");
        return EXIT_FAILURE;
    }
    int status = run(&c, boot);
    access_log_close(c.access_log);
    uv_loop_close(&c.loop);
    log_info("left");
    return status;
}
