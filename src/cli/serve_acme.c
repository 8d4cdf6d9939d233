/* Options about the CA that gives certificates (docs/tls.md). */
#include "cli/serve.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "os/durable.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

enum { CA_MAX = 1 << 20, URL_MAX = 2048 };

/* RFC 8555 section 6.1: https only. */
static int read_directory(const char *value, struct boot *b, struct error *err)
{
    const char *host = value + 8;
    if (strncmp(value, "https://", 8) != 0 || *host == '\0' || *host == '/' ||
        strlen(value) > URL_MAX || strpbrk(value, " \"<>\\^`{|}") != NULL)
        return error_set(err, ERROR_USAGE,
                         "--acme-directory %.200s: expected the https:// URL of a CA's directory",
                         value);
    boot_set(&b->acme_directory, value);
    return 0;
}

static int read_email(const char *value, struct boot *b, struct error *err)
{
    const char *at = strchr(value, '@');
    if (at == NULL || at == value || at[1] == '\0' || strpbrk(value, " ,<>\"?") != NULL)
        return error_set(err, ERROR_USAGE,
                         "--acme-email %.200s: expected an address such as ops@shop.example",
                         value);
    boot_set(&b->acme_email, value);
    return 0;
}

static int read_ca(const char *value, struct boot *b, struct error *err)
{
    cleanup_buf struct buf text = BUF_INIT;
    cleanup_free char *whole = realpath(value, NULL);
    if (whole == NULL)
        return error_errno(err, errno, "--acme-ca %.200s", value);
    if (file_read(AT_FDCWD, whole, CA_MAX, &text, err) < 0)
        return error_wrap(err, "--acme-ca");
    if (strstr(buf_str(&text), "-----BEGIN CERTIFICATE-----") == NULL)
        return error_set(err, ERROR_USAGE,
                         "--acme-ca %.200s: expected certificates in PEM (-----BEGIN "
                         "CERTIFICATE-----)",
                         value);
    boot_set(&b->acme_ca, whole);
    return 0;
}

int serve_read_acme(enum option_id id, const char *value, struct boot *b, struct error *err)
{
    switch (id) {
    case OPTION_ACME_DIRECTORY: return read_directory(value, b, err);
    case OPTION_ACME_EMAIL: return read_email(value, b, err);
    default: return read_ca(value, b, err);
    }
}
