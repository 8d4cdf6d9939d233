#include "wire/runsocket.h"

#include "base/assert.h"
#include "base/sha256.h"

#include <stdio.h>
#include <string.h>

static const char NAME_CHARS[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";

static bool is_name(const char *text, size_t len)
{
    return len > 0 && text[0] != '.' && strspn(text, NAME_CHARS) >= len;
}

void runsocket_folder(const char *run_id, char out[RUNSOCKET_FOLDER_MAX + 1])
{
    size_t len = strlen(run_id);
    ASSERT(is_name(run_id, len));
    char hex[SHA256_HEX];
    if (len > RUNSOCKET_FOLDER_MAX) {
        struct sha256 s;
        sha256_init(&s);
        sha256_add(&s, run_id, len);
        sha256_end_hex(&s, hex);
        run_id = hex;
    }
    snprintf(out, RUNSOCKET_FOLDER_MAX + 1, "%.*s", RUNSOCKET_FOLDER_MAX, run_id);
}

void runsocket_place(const char *run_id, char out[RUNSOCKET_MAX])
{
    char folder[RUNSOCKET_FOLDER_MAX + 1];
    runsocket_folder(run_id, folder);
    snprintf(out, RUNSOCKET_MAX, "%s/" RUNSOCKET_NAME, folder);
}

bool runsocket_is_place(const char *text)
{
    const char *slash = strchr(text, '/');
    return slash != NULL && strlen(text) < RUNSOCKET_MAX && is_name(text, (size_t)(slash - text)) &&
           is_name(slash + 1, strlen(slash + 1));
}
