#include "api/token.h"

#include "base/alloc.h"
#include "os/durable.h"

#include <fcntl.h>
#include <string.h>
#include <sys/random.h>

static int make_token(char out[TOKEN_HEX + 1], struct error *err)
{
    unsigned char bytes[TOKEN_HEX / 2];
    if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes)
        return error_set(err, ERROR_IO, "no random numbers for the API's token");
    for (size_t i = 0; i < sizeof bytes; i++) {
        out[2 * i] = "0123456789abcdef"[bytes[i] >> 4];
        out[2 * i + 1] = "0123456789abcdef"[bytes[i] & 15];
    }
    out[TOKEN_HEX] = '\0';
    explicit_bzero(bytes, sizeof bytes);
    return 0;
}

int token_load(const char *data_dir, char out[TOKEN_HEX + 1], struct error *err)
{
    cleanup_close int dir_fd = open(data_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    cleanup_buf struct buf text = BUF_INIT;
    struct error missing = ERROR_INIT;
    if (file_read(dir_fd, "api-token", 1024, &text, &missing) != 0) {
        if (missing.class != ERROR_NOT_FOUND) {
            error_set(err, missing.class, "%s", missing.text);
            return error_wrap(err, "api-token");
        }
        if (make_token(out, err) != 0)
            return -1;
        cleanup_free char *line = xasprintf("%s\n", out);
        return durable_write(dir_fd, "api-token", 0600, line, strlen(line), err);
    }
    size_t len = strcspn(buf_str(&text), "\r\n");
    if (len != TOKEN_HEX || strspn(buf_str(&text), "0123456789abcdef") != TOKEN_HEX)
        return error_set(
            err, ERROR_FAILED,
            "%s/api-token does not hold 64 hex digits: remove it to have it made again", data_dir);
    memcpy(out, text.data, TOKEN_HEX);
    out[TOKEN_HEX] = '\0';
    return 0;
}

bool server_token_matches(const struct server *s, const char *text, size_t len)
{
    static const char scheme[] = "Bearer ";
    size_t scheme_len = sizeof scheme - 1;
    if (s->token[0] == '\0' || len != scheme_len + TOKEN_HEX ||
        strncasecmp(text, scheme, scheme_len) != 0)
        return false;
    unsigned char difference = 0;
    for (size_t i = 0; i < TOKEN_HEX; i++)
        difference |= (unsigned char)(text[scheme_len + i] ^ s->token[i]);
    return difference == 0;
}
