#include "os/proc_sockets.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/vec.h"
#include "os/durable.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { LISTEN_STATE = 10 }; /* TCP_LISTEN of the kernel's tcp_states.h */

/* words as in the packet. IPv6: the wildcard (where it takes IPv4 too) and ::ffff:127.0.0.1. */
static bool reaches_loopback(const uint32_t words[4], bool v6, bool v6_only)
{
    if (!v6)
        return words[0] == htonl(INADDR_ANY) || words[0] == htonl(INADDR_LOOPBACK);
    if ((words[0] | words[1]) != 0)
        return false;
    if ((words[2] | words[3]) == 0)
        return !v6_only;
    return words[2] == htonl(0xFFFF) && words[3] == htonl(INADDR_LOOPBACK);
}

static bool reaches_loopback6(const uint32_t words[4], bool v6)
{
    bool any = (words[0] | words[1] | words[2]) == 0 &&
               (words[3] == 0 || words[3] == htonl(1)); /* [::], [::1] */
    return v6 && any;
}

/* ---- the socket monitor --------------------------------------------------------------------- */

static int ask_monitor(int fd, int family)
{
    struct {
        struct nlmsghdr head;
        struct inet_diag_req_v2 body;
    } request = {
        .head = {.nlmsg_len = sizeof request,
                 .nlmsg_type = SOCK_DIAG_BY_FAMILY,
                 .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP},
        .body = {.sdiag_family = (uint8_t)family,
                 .sdiag_protocol = IPPROTO_TCP,
                 .idiag_states = 1U << LISTEN_STATE},
    };
    return send(fd, &request, sizeof request, 0) == (ssize_t)sizeof request ? 0 : -1;
}

static void add_answer(struct nlmsghdr *head, struct listening_list *out)
{
    struct inet_diag_msg *m = NLMSG_DATA(head);
    if (head->nlmsg_len < NLMSG_LENGTH(sizeof *m) || m->idiag_state != LISTEN_STATE)
        return;
    bool v6_only = false;
    int left = (int)(head->nlmsg_len - NLMSG_LENGTH(sizeof *m));
    for (struct rtattr *a = (struct rtattr *)(m + 1); RTA_OK(a, left); a = RTA_NEXT(a, left))
        if (a->rta_type == INET_DIAG_SKV6ONLY && RTA_PAYLOAD(a) >= 1)
            v6_only = *(uint8_t *)RTA_DATA(a) != 0;
    *vec_push(out) = (struct listening){
        .inode = m->idiag_inode,
        .port = ntohs(m->id.idiag_sport),
        .reaches_loopback = reaches_loopback(m->id.idiag_src, m->idiag_family == AF_INET6, v6_only),
        .reaches_loopback6 = reaches_loopback6(m->id.idiag_src, m->idiag_family == AF_INET6),
    };
}

/* 0 at the end of the answer, -1 where the monitor cannot. */
static int read_monitor(int fd, struct listening_list *out)
{
    union {
        struct nlmsghdr align;
        char bytes[16384];
    } data;
    for (;;) {
        ssize_t n = recv(fd, data.bytes, sizeof data.bytes, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return -1;
        size_t left = (size_t)n;
        for (struct nlmsghdr *h = &data.align; NLMSG_OK(h, left); h = NLMSG_NEXT(h, left)) {
            if (h->nlmsg_type == NLMSG_DONE)
                return 0;
            if (h->nlmsg_type == NLMSG_ERROR)
                return -1;
            add_answer(h, out);
        }
    }
}

static int from_monitor(struct listening_list *out)
{
    static const int families[] = {AF_INET, AF_INET6};
    cleanup_close int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
    if (fd < 0)
        return -1;
    struct timeval patience = {.tv_sec = 1}; /* never hangs, should an answer not come */
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    size_t start = out->len;
    for (size_t i = 0; i < COUNT_OF(families); i++) {
        if (ask_monitor(fd, families[i]) < 0 || read_monitor(fd, out) < 0) {
            out->len = start;
            return -1;
        }
    }
    return 0;
}

/* ---- the text files ------------------------------------------------------------------------- */

void listening_parse(const char *text, bool v6, struct listening_list *out)
{
    for (const char *line = text; line != NULL && *line != '\0';) {
        char address[33];
        unsigned port, state;
        unsigned long long inode;
        if (sscanf(line, " %*u: %32[0-9A-F]:%4X %*32[0-9A-F]:%*4X %2X %*s %*s %*s %*u %*u %llu",
                   address, &port, &state, &inode) == 4 &&
            state == LISTEN_STATE && strlen(address) == (v6 ? 32 : 8)) {
            uint32_t words[4] = {0}; /* written as words of this machine's order */
            for (size_t i = 0; i < (v6 ? 4U : 1U); i++) {
                char word[9] = {0};
                memcpy(word, address + 8 * i, 8);
                words[i] = (uint32_t)strtoul(word, NULL, 16);
            }
            *vec_push(out) = (struct listening){
                .inode = inode,
                .port = (uint16_t)port,
                .reaches_loopback = reaches_loopback(words, v6, false),
                .reaches_loopback6 = reaches_loopback6(words, v6),
            };
        }
        line = strchr(line, '\n');
        if (line != NULL)
            line++;
    }
}

int listening_sockets_from_files(struct listening_list *out, struct error *err)
{
    enum { MOST = 64 << 20 };
    cleanup_buf struct buf text = BUF_INIT;
    if (file_read(AT_FDCWD, "/proc/net/tcp", MOST, &text, err) < 0)
        return -1;
    listening_parse(buf_str(&text), false, out);
    buf_clear(&text);
    if (file_read(AT_FDCWD, "/proc/net/tcp6", MOST, &text, NULL) == 0) /* IPv6 may be off */
        listening_parse(buf_str(&text), true, out);
    return 0;
}

int listening_sockets(struct listening_list *out, struct error *err)
{
    return from_monitor(out) == 0 ? 0 : listening_sockets_from_files(out, err);
}

/* ---- who holds one -------------------------------------------------------------------------- */

bool proc_holds_socket(pid_t pid, uint64_t inode)
{
    char path[64], want[48], got[48];
    snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
    snprintf(want, sizeof want, "socket:[%llu]", (unsigned long long)inode);
    struct proc_walk *w = proc_walk_open(path);
    if (w == NULL)
        return false;
    bool found = false;
    for (int fd; !found && (fd = proc_walk_next(w)) >= 0;) {
        snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)pid, fd);
        ssize_t n = readlink(path, got, sizeof got - 1);
        if (n > 0) {
            got[n] = '\0';
            found = strcmp(got, want) == 0;
        }
    }
    proc_walk_close(w);
    return found;
}

pid_t socket_holder(uint64_t inode)
{
    struct proc_walk *w = proc_walk_open("/proc");
    if (w == NULL)
        return 0;
    pid_t holder = 0;
    for (int pid; holder == 0 && (pid = proc_walk_next(w)) >= 0;)
        if (proc_holds_socket(pid, inode))
            holder = pid;
    proc_walk_close(w);
    return holder;
}
