/* Who holds a port: from the inode in /proc/net/tcp to the process that has it open. */
#include "os/listen.h"

#include "base/alloc.h"
#include "base/units.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const unsigned TCP_LISTEN_STATE = 0x0a;

/* The inode of a listening socket with that port, 0 none. One line: "  0: ADDRESS:PORT REMOTE:PORT
 * ST tx:rx tr:when retrnsmt uid timeout inode ...", numbers in hex but for the last three. */
static unsigned long inode_in(const char *table, unsigned port)
{
    FILE *f = fopen(table, "re");
    if (f == NULL)
        return 0;
    char line[512];
    unsigned long found = 0;
    while (found == 0 && fgets(line, sizeof line, f) != NULL) {
        unsigned local, state;
        unsigned long inode;
        if (sscanf(line, " %*u: %*[0-9A-Fa-f]:%x %*[0-9A-Fa-f]:%*x %x %*s %*s %*s %*u %*u %lu",
                   &local, &state, &inode) == 3 &&
            local == port && state == TCP_LISTEN_STATE)
            found = inode;
    }
    fclose(f);
    return found;
}

static bool has_socket(const char *pid, const char *target)
{
    char path[300], link[64];
    snprintf(path, sizeof path, "/proc/%s/fd", pid);
    DIR *fds = opendir(path);
    if (fds == NULL)
        return false;
    bool found = false;
    struct dirent *e;
    while (!found && (e = readdir(fds)) != NULL) {
        ssize_t n = readlinkat(dirfd(fds), e->d_name, link, sizeof link - 1);
        if (n <= 0)
            continue;
        link[n] = '\0';
        found = strcmp(link, target) == 0;
    }
    closedir(fds);
    return found;
}

static void read_name(const char *pid, char *name, size_t size)
{
    char path[300];
    snprintf(path, sizeof path, "/proc/%s/cmdline", pid);
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, name, size - 1);
    name[n > 0 ? n : 0] = '\0';
    for (ssize_t i = 0; i + 1 < n; i++)
        if (iscntrl((unsigned char)name[i]))
            name[i] = ' ';
}

pid_t listen_holder(const struct sockaddr_storage *address, char *name, size_t size)
{
    name[0] = '\0';
    unsigned port =
        ntohs(address->ss_family == AF_INET6 ? ((const struct sockaddr_in6 *)address)->sin6_port
                                             : ((const struct sockaddr_in *)address)->sin_port);
    unsigned long inode = inode_in("/proc/net/tcp", port);
    if (inode == 0)
        inode = inode_in("/proc/net/tcp6", port);
    DIR *proc = inode == 0 ? NULL : opendir("/proc");
    if (proc == NULL)
        return 0;
    char target[64];
    snprintf(target, sizeof target, "socket:[%lu]", inode);
    pid_t pid = 0;
    struct dirent *e;
    while (pid == 0 && (e = readdir(proc)) != NULL) {
        uint64_t number;
        if (parse_u64(e->d_name, INT32_MAX, &number) == 0 && has_socket(e->d_name, target)) {
            pid = (pid_t)number;
            read_name(e->d_name, name, size);
        }
    }
    closedir(proc);
    return pid;
}
