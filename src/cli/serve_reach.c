/* As root: can the apps' user get to the data folder? Below a home of mode 0700 it cannot, and
 * every app would fail to enter its release's folder. */
#include "cli/serve.h"

#include "base/alloc.h"
#include "base/log.h"

#include <errno.h>
#include <grp.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { FOLDERS_MAX = 250 }; /* in an exit status */

/* The first n folders of an absolute path: 0 "/", 1 "/a", 2 "/a/b". NULL: there are fewer. */
static char *first_folders(const char *path, int n)
{
    if (n == 0)
        return xstrdup("/");
    const char *end = path;
    for (int i = 0; i < n; i++) {
        end += strspn(end, "/");
        if (*end == '\0')
            return NULL;
        end += strcspn(end, "/");
    }
    return xstrndup(path, (size_t)(end - path));
}

/* In a child that becomes the user, so that the kernel decides, whatever it decides by. */
_Noreturn static void try_as(const struct passwd *user, const char *path)
{
    if (initgroups(user->pw_name, user->pw_gid) < 0 ||
        setresgid(user->pw_gid, user->pw_gid, user->pw_gid) < 0 ||
        setresuid(user->pw_uid, user->pw_uid, user->pw_uid) < 0)
        _exit(0); /* not to be found out */
    for (int n = 0; n < FOLDERS_MAX; n++) {
        cleanup_free char *folder = first_folders(path, n);
        if (folder == NULL)
            break;
        if (chdir(folder) < 0 && errno == EACCES)
            _exit(n + 1);
    }
    _exit(0);
}

char *serve_closed_folder(const char *path, const struct passwd *user)
{
    pid_t pid = fork();
    if (pid == 0)
        try_as(user, path);
    int status = 0;
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    return pid > 0 && WIFEXITED(status) && WEXITSTATUS(status) > 0
               ? first_folders(path, WEXITSTATUS(status) - 1)
               : NULL;
}

void serve_check_reach(const char *data, const struct passwd *user)
{
    cleanup_free char *closed = serve_closed_folder(data, user);
    if (closed != NULL)
        log_warn("the apps run as %s, who may not enter %s: they cannot start. Open it (chmod o+x "
                 "%s), or choose another data folder (--data)",
                 user->pw_name, closed, closed);
}
