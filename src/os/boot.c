#include "os/boot.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/units.h"
#include "base/vec.h"
#include "os/memfd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char *const ROLE_WORDS[BOOT_ROLES] = {"guardian", "controller", "gateway", "fetch"};

void boot_init(struct boot *b)
{
    *b = (struct boot){.role = BOOT_GUARDIAN};
#define X(name) b->name = xstrdup("");
    BOOT_STRINGS(X)
#undef X
#define X(name, least, most) b->name = least;
    BOOT_NUMBERS(X)
#undef X
#define X(name) b->name = -1;
    BOOT_FDS(X)
#undef X
}

void boot_release(struct boot *b)
{
#define X(name)                                                                                    \
    free(b->name);                                                                                 \
    b->name = NULL;
    BOOT_STRINGS(X)
#undef X
    b->listeners_len = b->old_gateways_len = 0;
}

void boot_set(char **field, const char *value)
{
    char *copy = xstrdup(value);
    free(*field);
    *field = copy;
}

/* ---- writing
 * -------------------------------------------------------------------------------------- */

static bool is_clean(const char *s)
{
    for (; *s != '\0'; s++)
        if ((unsigned char)*s < 0x20 || *s == 0x7f)
            return false;
    return true;
}

static int put_string(struct buf *out, const char *key, const char *value, struct error *err)
{
    if (!is_clean(value))
        return error_set(err, ERROR_USAGE, "%s contains a control character, which cannot be used",
                         key);
    buf_printf(out, "%s=%s\n", key, value);
    return 0;
}

int boot_write(const struct boot *b, struct error *err)
{
    cleanup_buf struct buf out = BUF_INIT;
    buf_printf(&out, "role=%s\n", ROLE_WORDS[b->role]);
#define X(name)                                                                                    \
    if (put_string(&out, #name, b->name, err) < 0)                                                 \
        return -1;
    BOOT_STRINGS(X)
#undef X
#define X(name, least, most) buf_printf(&out, #name "=%lld\n", (long long)b->name);
    BOOT_NUMBERS(X)
#undef X
#define X(name)                                                                                    \
    if (b->name >= 0)                                                                              \
        buf_printf(&out, #name "=%d\n", b->name);
    BOOT_FDS(X)
#undef X
    for (size_t i = 0; i < b->listeners_len; i++) {
        buf_printf(&out, "listen=%s", b->listeners[i].address);
        for (size_t k = 0; k < BOOT_LISTENER_SOCKETS; k++)
            buf_printf(&out, " %d", b->listeners[i].fds[k]);
        buf_putc(&out, '\n');
    }
    for (size_t i = 0; i < b->old_gateways_len; i++)
        buf_printf(&out, "old_gateway=%d\n", b->old_gateway_fds[i]);
    if (out.len > BOOT_MAX_BYTES)
        return error_set(err, ERROR_USAGE, "boot file: %zu bytes are more than %d", out.len,
                         BOOT_MAX_BYTES);
    return memfd_make("sluice-boot", out.data, out.len, err);
}

static int let_inherit(int fd, struct error *err)
{
    if (fd < 0)
        return 0;
    int flags = fcntl(fd, F_GETFD);
    if (flags < 0 || fcntl(fd, F_SETFD, flags & ~FD_CLOEXEC) < 0)
        return error_errno(err, errno, "descriptor %d", fd);
    return 0;
}

int boot_inherit(const struct boot *b, int fd, struct error *err)
{
    if (fd == BOOT_FD ? let_inherit(fd, err) < 0 : dup2(fd, BOOT_FD) < 0)
        return error_errno(err, errno, "boot file to descriptor %d", BOOT_FD);
#define X(name)                                                                                    \
    if (let_inherit(b->name, err) < 0)                                                             \
        return -1;
    BOOT_FDS(X)
#undef X
    for (size_t i = 0; i < b->listeners_len; i++)
        for (size_t k = 0; k < BOOT_LISTENER_SOCKETS; k++)
            if (let_inherit(b->listeners[i].fds[k], err) < 0)
                return -1;
    for (size_t i = 0; i < b->old_gateways_len; i++)
        if (let_inherit(b->old_gateway_fds[i], err) < 0)
            return -1;
    return 0;
}

/* ---- reading
 * -------------------------------------------------------------------------------------- */

static int read_number(const char *text, int64_t least, uint64_t most, int64_t *out)
{
    uint64_t value;
    bool negative = text[0] == '-';
    if (parse_u64(text + (negative ? 1 : 0), INT64_MAX, &value) < 0)
        return -1;
    int64_t number = negative ? -(int64_t)value : (int64_t)value;
    if (number < least || (number > 0 && (uint64_t)number > most))
        return -1;
    *out = number;
    return 0;
}

/* A descriptor that is open, is none of the standard ones nor the boot file, and (by close-on-exec,
 * which only this function sets) was not named before. */
static int read_fd(const char *text, int boot_fd, int *out, struct error *err)
{
    uint64_t value;
    if (parse_u64(text, 1 << 20, &value) < 0 || value <= STDERR_FILENO || (int)value == boot_fd)
        return error_set(err, ERROR_USAGE, "\"%s\" is not a descriptor", text);
    int fd = (int)value, flags = fcntl(fd, F_GETFD);
    if (flags < 0)
        return error_errno(err, errno, "descriptor %d", fd);
    if ((flags & FD_CLOEXEC) != 0)
        return error_set(err, ERROR_USAGE, "descriptor %d is not for us, or is named twice", fd);
    if (fcntl(fd, F_SETFD, flags | FD_CLOEXEC) < 0)
        return error_errno(err, errno, "descriptor %d", fd);
    *out = fd;
    return 0;
}

static int read_listener(struct boot *b, char *value, int boot_fd, struct error *err)
{
    if (b->listeners_len == BOOT_MAX_LISTENERS)
        return error_set(err, ERROR_USAGE, "more than %d listen addresses", BOOT_MAX_LISTENERS);
    struct boot_listener *l = &b->listeners[b->listeners_len];
    char *rest = value, *address = strsep(&rest, " ");
    if (address[0] == '\0' || strlen(address) >= sizeof l->address)
        return error_set(err, ERROR_USAGE, "\"%s\" is not a listen address", address);
    snprintf(l->address, sizeof l->address, "%s", address);
    for (size_t i = 0; i < BOOT_LISTENER_SOCKETS; i++) {
        char *word = strsep(&rest, " ");
        if (word == NULL)
            return error_set(err, ERROR_USAGE, "%zu descriptors, expected %d", i,
                             BOOT_LISTENER_SOCKETS);
        if (read_fd(word, boot_fd, &l->fds[i], err) < 0)
            return -1;
    }
    if (rest != NULL)
        return error_set(err, ERROR_USAGE, "more than %d descriptors", BOOT_LISTENER_SOCKETS);
    b->listeners_len++;
    return 0;
}

static int read_old_gateway(struct boot *b, const char *value, int boot_fd, struct error *err)
{
    if (b->old_gateways_len == BOOT_MAX_OLD_GATEWAYS)
        return error_set(err, ERROR_USAGE, "more than %d old gateways", BOOT_MAX_OLD_GATEWAYS);
    if (read_fd(value, boot_fd, &b->old_gateway_fds[b->old_gateways_len], err) < 0)
        return -1;
    b->old_gateways_len++;
    return 0;
}

static int read_role(struct boot *b, const char *value, struct error *err)
{
    for (int i = 0; i < BOOT_ROLES; i++)
        if (strcmp(value, ROLE_WORDS[i]) == 0) {
            b->role = (enum boot_role)i;
            return 0;
        }
    return error_set(err, ERROR_USAGE, "no such role \"%s\"", value);
}

static int read_key(struct boot *b, const char *key, char *value, int boot_fd, struct error *err)
{
    if (strcmp(key, "role") == 0)
        return read_role(b, value, err);
    if (strcmp(key, "listen") == 0)
        return read_listener(b, value, boot_fd, err);
    if (strcmp(key, "old_gateway") == 0)
        return read_old_gateway(b, value, boot_fd, err);
#define X(name)                                                                                    \
    if (strcmp(key, #name) == 0) {                                                                 \
        boot_set(&b->name, value);                                                                 \
        return 0;                                                                                  \
    }
    BOOT_STRINGS(X)
#undef X
#define X(name, least, most)                                                                       \
    if (strcmp(key, #name) == 0)                                                                   \
        return read_number(value, least, most, &b->name) == 0                                      \
                   ? 0                                                                             \
                   : error_set(err, ERROR_USAGE, "\"%s\" is not a number from %lld to %llu",       \
                               value, (long long)(least), (unsigned long long)(most));
    BOOT_NUMBERS(X)
#undef X
#define X(name)                                                                                    \
    if (strcmp(key, #name) == 0)                                                                   \
        return read_fd(value, boot_fd, &b->name, err);
    BOOT_FDS(X)
#undef X
    return error_set(err, ERROR_USAGE, "unknown key");
}

static int read_whole(int fd, struct buf *out, struct error *err)
{
    for (;;) {
        buf_reserve(out, 4096);
        ssize_t n = pread(fd, out->data + out->len, 4096, (off_t)out->len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_errno(err, errno, "boot file at descriptor %d", fd);
        if (n == 0)
            break;
        out->len += (size_t)n;
        out->data[out->len] = '\0';
        if (out->len > BOOT_MAX_BYTES)
            return error_set(err, ERROR_USAGE, "boot file: longer than %d bytes", BOOT_MAX_BYTES);
    }
    if (out->len == 0 || strlen(buf_str(out)) != out->len || out->data[out->len - 1] != '\n')
        return error_set(err, ERROR_USAGE, "boot file at descriptor %d: not a boot file", fd);
    return 0;
}

static int read_lines(struct boot *b, char *text, int fd, struct error *err)
{
    bool has_role = false;
    int number = 0;
    char *rest = text;
    for (char *line; (line = strsep(&rest, "\n")) != NULL && rest != NULL;) {
        number++;
        char *equals = strchr(line, '=');
        if (equals == NULL)
            return error_set(err, ERROR_USAGE, "boot file: line %d: no \"=\"", number);
        *equals = '\0';
        if (!is_clean(line) || !is_clean(equals + 1))
            return error_set(err, ERROR_USAGE, "boot file: line %d: control character", number);
        if (read_key(b, line, equals + 1, fd, err) < 0)
            return error_wrap(err, "boot file: line %d: %s", number, line);
        has_role = has_role || strcmp(line, "role") == 0;
    }
    if (!has_role || b->data_dir[0] != '/')
        return error_set(err, ERROR_USAGE, "boot file: without a role and an absolute data_dir");
    return 0;
}

int boot_read(struct boot *b, int fd, struct error *err)
{
    cleanup_buf struct buf text = BUF_INIT;
    boot_init(b);
    if (read_whole(fd, &text, err) < 0 || read_lines(b, text.data, fd, err) < 0) {
        boot_release(b);
        return -1;
    }
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    return 0;
}
