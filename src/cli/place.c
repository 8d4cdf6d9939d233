#include "cli/place.h"

#include "base/alloc.h"
#include "os/durable.h"

#include <fcntl.h>
#include <stdbool.h>
#include <string.h>

static const char *environment(const char *name)
{
    const char *value = getenv(name);
    return value != NULL && *value != '\0' ? value : NULL;
}

static char *absolute(const char *path, struct error *err)
{
    if (path[0] == '/')
        return xstrdup(path);
    cleanup_free char *here = getcwd(NULL, 0);
    if (here == NULL) {
        error_set(err, ERROR_USAGE, "%s: the present folder has no name", path);
        return NULL;
    }
    return xasprintf("%s/%s", here, path);
}

char *place_data_dir(const char *option, struct error *err)
{
    const char *chosen = option != NULL ? option : environment("SLUICE_DATA");
    if (chosen != NULL)
        return absolute(chosen, err);
    if (geteuid() == 0)
        return xstrdup("/var/lib/sluice");
    const char *home = environment("HOME");
    if (home == NULL || home[0] != '/') {
        error_set(err, ERROR_USAGE, "HOME is not set: say where with --data or SLUICE_DATA");
        return NULL;
    }
    return xasprintf("%s/.local/share/sluice", home);
}

/* A token that cannot be read is no error yet: the server says so when it wants one. */
static char *find_token(const char *data)
{
    const char *given = environment("SLUICE_TOKEN");
    if (given != NULL)
        return xstrdup(given);
    cleanup_free char *dir = place_data_dir(data, NULL);
    cleanup_free char *path = dir != NULL ? xasprintf("%s/api-token", dir) : NULL;
    cleanup_buf struct buf text = BUF_INIT;
    if (path == NULL || file_read(AT_FDCWD, path, 1024, &text, NULL) != 0)
        return NULL;
    return xstrndup(buf_str(&text), strcspn(buf_str(&text), "\r\n"));
}

int place_find(struct place *p, const char *api, const char *data, struct error *err)
{
    memset(p, 0, sizeof *p);
    const char *chosen = api != NULL ? api : environment("SLUICE_API");
    if (chosen == NULL) {
        cleanup_free char *dir = place_data_dir(data, err);
        if (dir == NULL)
            return -1;
        p->path = xasprintf("%s/api.sock", dir);
    } else if (strncmp(chosen, "unix:", 5) == 0) {
        p->path = absolute(chosen + 5, err);
        if (p->path == NULL)
            return -1;
    }
    if (p->path != NULL) {
        p->text = xasprintf("unix:%s", p->path);
        return 0;
    }
    const char *colon = strrchr(chosen, ':');
    bool bracketed = chosen[0] == '[' && colon != NULL && colon > chosen && colon[-1] == ']';
    if (colon == NULL || colon == chosen || strspn(colon + 1, "0123456789") != strlen(colon + 1) ||
        colon[1] == '\0')
        return error_set(err, ERROR_USAGE, "API address `%.100s`: expected unix:PATH or HOST:PORT",
                         chosen);
    p->text = xstrdup(chosen);
    p->host = xstrndup(chosen + bracketed, (size_t)(colon - chosen) - 2 * (size_t)bracketed);
    p->port = xstrdup(colon + 1);
    p->token = find_token(data);
    return 0;
}

void place_release(struct place *p)
{
    free(p->text);
    free(p->path);
    free(p->host);
    free(p->port);
    if (p->token != NULL)
        explicit_bzero(p->token, strlen(p->token));
    free(p->token);
    memset(p, 0, sizeof *p);
}
