#include "os/cgroup_internal.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/vec.h"
#include "os/durable.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char LEAF[] = "sluice-serve"; /* where our own processes go in a version 2 tree */

/* ---- parsing -------------------------------------------------------------------------------- */

/* Is word one of the comma-separated list? */
static bool list_has(const char *list, size_t len, const char *word)
{
    size_t n = strlen(word);
    for (size_t i = 0; i + n <= len; i++)
        if (memcmp(list + i, word, n) == 0 && (i == 0 || list[i - 1] == ',') &&
            (i + n == len || list[i + n] == ','))
            return true;
    return false;
}

/* The kernel writes space, tab, newline and backslash in paths as \ooo. */
static char *unescape(const char *text, size_t len)
{
    char *out = xmalloc(len + 1);
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '\\' && i + 3 < len && text[i + 1] >= '0' && text[i + 1] <= '3') {
            out[n++] =
                (char)((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + text[i + 3] - '0');
            i += 3;
        } else {
            out[n++] = text[i];
        }
    }
    out[n] = '\0';
    return out;
}

enum { FIELDS_MAX = 24 };
struct field {
    const char *at;
    size_t len;
};

static size_t split_fields(const char *line, size_t len, struct field fields[FIELDS_MAX])
{
    size_t n = 0;
    const char *end = line + len;
    while (line < end && n < FIELDS_MAX) {
        const char *space = memchr(line, ' ', (size_t)(end - line));
        fields[n++] = (struct field){line, (size_t)((space != NULL ? space : end) - line)};
        line = space != NULL ? space + 1 : end;
    }
    return n;
}

/* Our path in the hierarchy that has the controller ("" names version 2's); NULL: none. */
static char *own_path(const char *self_cgroup, const char *controller)
{
    for (const char *line = self_cgroup; *line != '\0';) {
        size_t len = strcspn(line, "\n");
        const char *list = memchr(line, ':', len);
        const char *path =
            list == NULL ? NULL : memchr(list + 1, ':', len - (size_t)(list + 1 - line));
        if (path != NULL) {
            size_t list_len = (size_t)(path - list - 1);
            bool match =
                controller[0] == '\0' ? list_len == 0 : list_has(list + 1, list_len, controller);
            if (match)
                return xstrndup(path + 1, len - (size_t)(path + 1 - line));
        }
        line += len + (line[len] == '\n');
    }
    return NULL;
}

/* mount point + (path in the hierarchy - the part that is mounted there). */
static char *join_path(const char *point, const char *root, const char *path)
{
    size_t n = strcmp(root, "/") == 0 ? 0 : strlen(root);
    bool below = strncmp(path, root, n) == 0 && (path[n] == '/' || path[n] == '\0');
    const char *rest = below ? path + n : "";
    while (*rest == '/')
        rest++;
    return *rest == '\0' ? xstrdup(point) : xasprintf("%s/%s", point, rest);
}

static void set_place(struct cgroup_place *place, const char *point, const char *root,
                      const char *path, int version)
{
    if (path == NULL || place->own != NULL)
        return;
    place->own = join_path(point, root, path);
    place->root = xstrdup(point);
    place->version = version;
}

/* "36 35 98:0 /root /point options optional... - type source super-options" */
static void read_mount(const char *line, size_t len, int version, const char *self_cgroup,
                       struct cgroup_place places[CGROUP_CONTROLLERS])
{
    struct field f[FIELDS_MAX];
    size_t n = split_fields(line, len, f), dash = 6;
    while (dash < n && !(f[dash].len == 1 && f[dash].at[0] == '-'))
        dash++;
    if (dash + 3 >= n)
        return;
    const char *type = version == 1 ? "cgroup" : "cgroup2";
    if (f[dash + 1].len != strlen(type) || memcmp(f[dash + 1].at, type, f[dash + 1].len) != 0)
        return;
    cleanup_free char *root = unescape(f[3].at, f[3].len);
    cleanup_free char *point = unescape(f[4].at, f[4].len);
    for (int c = 0; c < CGROUP_CONTROLLERS; c++) {
        if (version == 1 && !list_has(f[dash + 3].at, f[dash + 3].len, cgroup_names[c]))
            continue;
        cleanup_free char *path = own_path(self_cgroup, version == 1 ? cgroup_names[c] : "");
        set_place(&places[c], point, root, path, version);
    }
}

void cgroup_places(const char *mountinfo, const char *self_cgroup,
                   struct cgroup_place places[CGROUP_CONTROLLERS])
{
    memset(places, 0, sizeof *places * CGROUP_CONTROLLERS);
    for (int version = 1; version <= 2; version++) {
        for (const char *line = mountinfo; *line != '\0';) {
            size_t len = strcspn(line, "\n");
            read_mount(line, len, version, self_cgroup, places);
            line += len + (line[len] == '\n');
        }
    }
}

/* ---- making the subtree --------------------------------------------------------------------- */

static bool has_word(const char *text, const char *word)
{
    size_t n = strlen(word);
    for (const char *at = text; (at = strstr(at, word)) != NULL; at += n)
        if ((at == text || isspace((unsigned char)at[-1])) &&
            (at[n] == '\0' || isspace((unsigned char)at[n])))
            return true;
    return false;
}

static bool is_ours(pid_t pid)
{
    char path[32];
    snprintf(path, sizeof path, "/proc/%d/cmdline", (int)pid);
    cleanup_buf struct buf text = BUF_INIT;
    return file_read(AT_FDCWD, path, 1 << 20, &text, NULL) == 0 &&
           strncmp(buf_str(&text), "sluice: ", 8) == 0;
}

/* Moves every process of dir into its child, when all are ours. */
static int make_parent(const char *dir)
{
    cleanup_buf struct buf text = BUF_INIT;
    cleanup_free char *leaf = xasprintf("%s/%s", dir, LEAF);
    if (cgroup_read(dir, "cgroup.procs", &text) < 0)
        return -1;
    for (char *at = text.data; at != NULL && *at != '\0'; at += strcspn(at, "\n") + 1)
        if (!is_ours(atoi(at)))
            return errno = EBUSY, -1;
    if (mkdir(leaf, 0755) < 0 && errno != EEXIST)
        return -1;
    for (char *at = text.data; at != NULL && *at != '\0'; at += strcspn(at, "\n") + 1) {
        char pid[16];
        snprintf(pid, sizeof pid, "%d", atoi(at));
        if (cgroup_write(leaf, "cgroup.procs", pid) < 0 && errno != ESRCH)
            return -1;
    }
    return 0;
}

/* Version 2: children of dir get the controller. */
static int enable(const char *dir, const char *controller, bool may_move)
{
    cleanup_buf struct buf text = BUF_INIT;
    if (cgroup_read(dir, "cgroup.controllers", &text) < 0)
        return -1;
    if (!has_word(buf_str(&text), controller))
        return errno = ENODEV, -1;
    if (cgroup_read(dir, "cgroup.subtree_control", &text) == 0 &&
        has_word(buf_str(&text), controller))
        return 0;
    char word[32];
    snprintf(word, sizeof word, "+%s", controller);
    if (cgroup_write(dir, "cgroup.subtree_control", word) == 0)
        return 0;
    if (errno != EBUSY || !may_move || make_parent(dir) < 0)
        return -1;
    return cgroup_write(dir, "cgroup.subtree_control", word);
}

static char *make_subtree(const char *base, const char *name, int version, const char *controller)
{
    if (version == 2 && enable(base, controller, true) < 0)
        return NULL;
    cleanup_free char *dir = xasprintf("%s/%s", base, name);
    if (mkdir(dir, 0755) < 0 && errno != EEXIST)
        return NULL;
    if (version == 2 && enable(dir, controller, false) < 0)
        return NULL;
    if (access(dir, W_OK) < 0) /* made by someone else */
        return NULL;
    return take_ptr(&dir);
}

/* Below our own group; where that does not work (a stale path, processes that are not ours), at the
 * top of the tree. */
static char *find_subtree(struct cgroup_place *place, const char *name, const char *controller,
                          int *failed)
{
    size_t own = strlen(place->own), leaf = strlen(LEAF);
    if (place->version == 2 && own > leaf + 1 && place->own[own - leaf - 1] == '/' &&
        strcmp(place->own + own - leaf, LEAF) == 0)
        place->own[own - leaf - 1] = '\0'; /* moved here by an earlier start */
    char *dir = make_subtree(place->own, name, place->version, controller);
    *failed = errno;
    if (dir == NULL && strcmp(place->own, place->root) != 0)
        dir = make_subtree(place->root, name, place->version, controller);
    return dir;
}

static void add_missing(struct error *missing, const char *controller, const char *where,
                        const char *why)
{
    if (missing == NULL)
        return;
    size_t used = missing->class == ERROR_NONE ? 0 : strlen(missing->text);
    missing->class = ERROR_UNAVAILABLE;
    snprintf(missing->text + used, sizeof missing->text - used, "%s%s: %s%s%s",
             used > 0 ? "; " : "", controller, where, where[0] != '\0' ? ": " : "", why);
}

int cgroup_find(const char *name, struct cgroup *out, struct error *missing)
{
    cleanup_buf struct buf mounts = BUF_INIT, own = BUF_INIT;
    struct cgroup_place places[CGROUP_CONTROLLERS] = {{0}};
    if (file_read(AT_FDCWD, "/proc/self/mountinfo", 4 << 20, &mounts, NULL) == 0 &&
        file_read(AT_FDCWD, "/proc/self/cgroup", 1 << 20, &own, NULL) == 0)
        cgroup_places(buf_str(&mounts), buf_str(&own), places);
    *out = (struct cgroup)CGROUP_INIT;
    int found = 0;
    for (int c = 0; c < CGROUP_CONTROLLERS; c++) {
        int failed = 0;
        if (places[c].own != NULL)
            out->at[c].dir = find_subtree(&places[c], name, cgroup_names[c], &failed);
        out->at[c].version = places[c].version;
        if (out->at[c].dir != NULL)
            found++;
        else
            add_missing(missing, cgroup_names[c], places[c].own != NULL ? places[c].own : "",
                        places[c].own == NULL ? "no such controller" : strerror(failed));
        free(places[c].own);
        free(places[c].root);
    }
    return found;
}
