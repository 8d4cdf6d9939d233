/* `sluice init`: writes a commented sluice.yaml for the project found in this folder. */
#include "base/alloc.h"
#include "base/vec.h"
#include "cli/cli.h"
#include "cli/options.h"
#include "cli/project.h"
#include "cli/specfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* ---- the file -------------------------------------------------------------------------------- */

static void put_string(struct buf *out, const char *text)
{
    buf_putc(out, '"');
    buf_json_escape(out, text, strlen(text));
    buf_putc(out, '"');
}

static void put_command(struct buf *out, const struct project_command *c)
{
    if (c->shell != NULL) {
        put_string(out, c->shell);
        return;
    }
    for (size_t i = 0; c->argv[i] != NULL; i++) {
        buf_puts(out, i == 0 ? "[" : ", ");
        put_string(out, c->argv[i]);
    }
    buf_putc(out, ']');
}

static void put_commands(struct buf *out, const char *key, const struct project_command *c,
                         size_t n)
{
    buf_printf(out, "%s:\n", key);
    for (size_t i = 0; i < n; i++) {
        buf_puts(out, "  - ");
        put_command(out, &c[i]);
        buf_putc(out, '\n');
    }
}

static void put_run(struct buf *out, const struct project *p)
{
    buf_puts(
        out,
        "\n# How an instance is started. It has to listen on 127.0.0.1:$PORT; sluice picks the "
        "port.\n");
    if (!p->guessed_run)
        buf_puts(out, "# A list is run as it is; a text is run by a shell.\n");
    else
        buf_puts(out,
                 "# This is a guess: nothing here said how. A list is run as it is, a text by a "
                 "shell.\n");
    if (p->processes_len == 1 && p->routed) {
        buf_puts(out, "run: ");
        put_command(out, &p->processes[0].command);
        buf_putc(out, '\n');
        return;
    }
    buf_puts(out, "run:\n");
    for (size_t i = 0; i < p->processes_len; i++) {
        buf_printf(out, "  %s: ", p->processes[i].name);
        put_command(out, &p->processes[i].command);
        buf_putc(out, '\n');
    }
}

static const char rest_routed[] =
    "\n"
    "# Which requests it gets. A host may start with `*.`; without one any host will do.\n"
    "routes:\n"
    "  - path: /\n"
    "    # host: shop.example\n"
    "\n"
    "# When an instance may get requests. Without this: as soon as its port accepts connections.\n"
    "# probes:\n"
    "#   readiness: {http: /ready}\n";

static const char rest[] =
    "\n"
    "# replicas: 2\n"
    "\n"
    "# env: {LOG_LEVEL: info, DATABASE_URL: \"${DATABASE_URL}\"}   # from the environment of the "
    "deploy\n"
    "# env-files: [.env]\n"
    "\n"
    "# How a new version replaces the old one: rolling, recreate, blue-green, canary or shadow.\n"
    "strategy: rolling\n"
    "# strategy: {canary: {steps: [5, 25, 100], hold: 60s}}\n"
    "\n"
    "# What is laid over all this by `sluice deploy -e staging`.\n"
    "# environments:\n"
    "#   staging: {replicas: 1}\n";

static void compose(const struct project *p, struct buf *out)
{
    buf_printf(out,
               "# What `sluice deploy` puts in front of its users; `sluice check` reads it first.\n"
               "# Found here: %s.\n"
               "app: %s\n",
               p->found, p->app);
    if (p->build_len > 0) {
        buf_puts(out,
                 "\n# Run once per release, in a copy of this folder without what git ignores.\n");
        put_commands(out, "build", p->build, p->build_len);
    }
    if (p->release_len > 0) {
        buf_puts(out,
                 "\n# Run once per rollout, before any traffic moves; a failure rolls back.\n");
        put_commands(out, "release", p->release, p->release_len);
    }
    put_run(out, p);
    buf_puts(out, p->routed ? rest_routed : "");
    buf_puts(out, rest);
}

/* ---- writing it ------------------------------------------------------------------------------ */

static int write_new(const char *path, const struct buf *text, struct error *err)
{
    cleanup_close int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0 && errno == EEXIST)
        return error_set(err, ERROR_USAGE, "%s is there already; it is not overwritten", path);
    if (fd < 0)
        return error_errno(err, errno, "%s cannot be written", path);
    for (size_t done = 0; done < text->len;) {
        ssize_t n = write(fd, text->data + done, text->len - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            error_errno(err, errno, "%s cannot be written", path);
            unlink(path); /* half a file would stand in the way of the next try */
            return -1;
        }
        done += (size_t)n;
    }
    return 0;
}

static int init(const char *path, struct project *p, struct error *err)
{
    if (access(path, F_OK) == 0)
        return error_set(err, ERROR_USAGE, "%s is there already; it is not overwritten", path);
    project_find(".", p);
    cleanup_buf struct buf text = BUF_INIT;
    compose(p, &text);
    return write_new(path, &text, err);
}

int cmd_init(int argc, char **argv)
{
    struct options o;
    struct error err = ERROR_INIT;
    if (options_parse(&o, verb_get(VERB_init), argc, argv, &err) != 0)
        return cli_fail(&err);
    const char *path = o.given[OPTION_FILE] ? o.value[OPTION_FILE] : "sluice.yaml";
    struct project p = PROJECT_INIT;
    int status = EXIT_DONE;
    if (init(path, &p, &err) < 0) {
        status = cli_fail(&err);
    } else if (o.given[OPTION_JSON]) {
        cleanup_buf struct buf out = BUF_INIT;
        put_string(&out, path);
        printf("{\"file\":%s,\"app\":\"%s\"}\n", buf_str(&out), p.app);
    } else {
        printf("%s: written for the app %s (%s); look at it, then `sluice check`\n", path, p.app,
               p.found);
    }
    project_release(&p);
    return status;
}
