#include "cli/serve.h"

#include "base/log.h"
#include "base/vec.h"
#include "os/spawn.h"

#include <errno.h>
#include <pwd.h>
#include <stdbool.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* useradd of the system; its own words go to stderr. */
static bool make_user(const char *name)
{
    const char *const argv[] = {"useradd",      "--system", "--no-create-home",
                                "--user-group", "--shell",  "/usr/sbin/nologin",
                                name,           NULL};
    static const char *const PLACES[] = {"/usr/sbin/useradd", "/sbin/useradd", "/usr/bin/useradd"};
    struct spawn_fd stderr_fd = {.from = STDERR_FILENO, .to = STDERR_FILENO};
    for (size_t i = 0; i < COUNT_OF(PLACES); i++) {
        struct spawn child = {.argv = argv,
                              .envp = (const char *const *)environ,
                              .program = PLACES[i],
                              .fds = &stderr_fd,
                              .fd_count = 1};
        pid_t pid = spawn(&child, NULL);
        if (pid < 0)
            continue;
        int status = -1;
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
            continue;
        return WIFEXITED(status) && WEXITSTATUS(status) == 0;
    }
    return false;
}

/* The user's entry, valid until the next call; made when missing, nobody when that fails. */
static const struct passwd *find_user(const char *name, const char *what)
{
    const struct passwd *user = getpwnam(name);
    if (user != NULL)
        return user;
    if (make_user(name) && (user = getpwnam(name)) != NULL) {
        log_info("made the system user %s, as whom %s", name, what);
        return user;
    }
    log_warn("there is no system user %s and it could not be made: as nobody %s", name, what);
    return getpwnam("nobody");
}

int serve_find_users(struct boot *b, struct error *err)
{
    const struct passwd *user = find_user("sluice-gw", "the gateway runs");
    if (user == NULL)
        return error_set(err, ERROR_FAILED,
                         "there is neither a user sluice-gw nor nobody for the gateway: make one "
                         "(useradd --system sluice-gw)");
    b->gateway_uid = user->pw_uid;
    b->gateway_gid = user->pw_gid;
    user = find_user("sluice-app", "the apps run");
    if (user == NULL)
        return error_set(err, ERROR_FAILED,
                         "there is neither a user sluice-app nor nobody for the apps: make one "
                         "(useradd --system sluice-app)");
    boot_set(&b->app_user, user->pw_name);
    serve_check_reach(b->data_dir, user);
    return 0;
}
