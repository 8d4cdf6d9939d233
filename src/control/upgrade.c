/* `sluice upgrade`: the guardian becomes the new binary's `serve`, under the same pid, and takes
 * the listeners, the gateway and the apps over as after a guardian's death. Answered when this
 * controller is asked to leave, that is when the new one's gateway serves. */
#include "control/control_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Whoever can change the file, or let the server run another one, is who the server runs as. */
static int check_caller(const struct caller *caller, struct error *err)
{
    bool here = caller->gid != (gid_t)-1; /* not by a token */
    if (here && (caller->uid == 0 || caller->uid == geteuid()))
        return 0;
    return error_set(err, ERROR_DENIED,
                     "the server's program is changed by who runs it, on its own machine");
}

/* -1, or a descriptor. */
static int open_binary(const char *path, struct error *err)
{
    char magic[4];
    struct stat st;
    if (path[0] != '/')
        return error_set(err, ERROR_USAGE, "`binary` must be an absolute path");
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &st) < 0) {
        error_errno(err, errno, "%s", path);
        err->class = errno == ENOENT ? ERROR_NOT_FOUND : err->class;
        return -1;
    }
    if (!S_ISREG(st.st_mode) || (st.st_mode & 0111) == 0 ||
        pread(fd, magic, sizeof magic, 0) != sizeof magic || memcmp(magic, "\177ELF", 4) != 0)
        return error_set(err, ERROR_USAGE, "%s is no program", path);
    if ((st.st_uid != 0 && st.st_uid != geteuid()) || (st.st_mode & 022) != 0)
        return error_set(err, ERROR_DENIED,
                         "%s can be changed by others than the server's user: chown and chmod it",
                         path);
    return take_fd(&fd);
}

static void answer(struct control *c, const struct error *err)
{
    command_done *done = c->upgrade_done;
    c->upgrade_done = NULL;
    if (done != NULL)
        done(c->upgrade_arg, err, NULL);
}

void control_upgrade(struct control *c, const char *binary, const struct caller *caller,
                     command_done *done, void *arg)
{
    struct error err = ERROR_INIT;
    cleanup_close int fd = check_caller(caller, &err) == 0 ? open_binary(binary, &err) : -1;
    if (fd < 0 || guardian_link_upgrade(c->guardian, fd, &err) < 0) {
        done(arg, &err, NULL);
        return;
    }
    struct error other = ERROR_INIT;
    error_set(&other, ERROR_CONFLICT, "another upgrade was asked for meanwhile");
    answer(c, &other);
    log_info("%s asks for an upgrade to %s", caller->name, binary);
    c->upgrade_done = done;
    c->upgrade_arg = arg;
}

void upgrade_refused(struct control *c, const char *why)
{
    struct error err = ERROR_INIT;
    error_set(&err, ERROR_FAILED, "%s", why);
    answer(c, &err);
}

void upgrade_leaving(struct control *c)
{
    answer(c, NULL);
}
