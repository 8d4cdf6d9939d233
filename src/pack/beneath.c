#include "base/alloc.h"
#include "pack/pack_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

enum { FOLDER = O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC };

/* One part after the other: a path as a whole would follow links on its way. */
static int descend(int root, const char *path, size_t len)
{
    char part[256];
    int at = root;
    for (const char *p = path, *end = path + len; p < end;) {
        const char *slash = memchr(p, '/', (size_t)(end - p));
        size_t part_len = (size_t)((slash != NULL ? slash : end) - p);
        if (part_len == 0 || part_len >= sizeof part) {
            errno = part_len == 0 ? EINVAL : ENAMETOOLONG;
            break;
        }
        memcpy(part, p, part_len);
        part[part_len] = '\0';
        int next = openat(at, part, FOLDER);
        if (at != root)
            close(at);
        at = next;
        if (next < 0)
            return -1;
        p += part_len + 1;
        if (p >= end)
            return at;
    }
    if (at != root && at >= 0)
        close(at);
    return -1;
}

int beneath_parent(struct beneath *b, const char *path, const char **name)
{
    const char *slash = strrchr(path, '/');
    if (slash == NULL) {
        *name = path;
        return b->root;
    }
    size_t len = (size_t)(slash - path);
    *name = slash + 1;
    if (b->parent >= 0 && strncmp(b->path, path, len) == 0 && b->path[len] == '\0')
        return b->parent;
    int fd = descend(b->root, path, len);
    if (fd < 0)
        return -1;
    beneath_release(b);
    b->parent = fd;
    b->path = xstrndup(path, len);
    return fd;
}

void beneath_release(struct beneath *b)
{
    if (b->parent >= 0)
        close(b->parent);
    free(b->path);
    b->parent = -1;
    b->path = NULL;
}
