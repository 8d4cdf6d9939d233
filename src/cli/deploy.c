/* `sluice deploy`: the file, checked here; then one request; then the events until the verdict. */
#include "base/alloc.h"
#include "cli/specfile.h"
#include "cli/specload.h"
#include "cli/watch.h"
#include "os/clock.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

enum { ACCEPT_MS = 10000, ACCEPT_PAUSE_MS = 200, KEY_SIZE = 33 };

static void make_key(char key[KEY_SIZE])
{
    unsigned char bytes[(KEY_SIZE - 1) / 2] = {0};
    /* Cannot fail for so few bytes; two keys that are the same would only be refused. */
    ssize_t n = getrandom(bytes, sizeof bytes, 0);
    (void)n;
    for (size_t i = 0; i < sizeof bytes; i++)
        snprintf(key + 2 * i, 3, "%02x", bytes[i]);
}

/* Tried again for 10 s when the controller goes away over it: the key makes it happen once. */
static json_t *send_deploy(const struct session *s, const char *path, const json_t *body,
                           struct error *err)
{
    char key[KEY_SIZE];
    make_key(key);
    bool reached = false;
    for (int64_t end_ms = clock_mono_ms() + ACCEPT_MS;;) {
        enum client_stage stage;
        struct client_request request = {
            .method = "POST", .path = path, .body = body, .idempotency_key = key, .stage = &stage};
        struct error why = ERROR_INIT;
        json_t *answer = client_call(&s->place, &request, &why);
        reached = reached || stage != CLIENT_NOT_REACHED;
        if (answer != NULL)
            return answer;
        if (why.class != ERROR_UNAVAILABLE || stage == CLIENT_ANSWERED || !reached ||
            clock_mono_ms() >= end_ms) {
            error_set(err, why.class, "%s", why.text);
            return NULL;
        }
        poll(NULL, 0, ACCEPT_PAUSE_MS);
    }
}

int cmd_deploy(int argc, char **argv)
{
    int64_t started_ms = clock_mono_ms();
    struct error err = ERROR_INIT;
    cleanup_session struct session s;
    int status = session_begin(&s, VERB_deploy, argc, argv);
    if (status != 0)
        return status;
    struct spec_order order;
    if (spec_order_load(&order, &s) != 0)
        return EXIT_USAGE;
    json_t *accepted = send_deploy(&s, order.deploy_path, order.body, &err);
    spec_order_release(&order);
    if (accepted == NULL) {
        error_wrap(&err, "deploy");
        return cli_fail(&err);
    }
    status = watch_answer(&s, "deploy", accepted, started_ms);
    json_decref(accepted);
    return status;
}
