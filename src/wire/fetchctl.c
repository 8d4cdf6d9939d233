#include "wire/fetchctl.h"

#include "base/assert.h"

#include <string.h>

/* In front of each message; then URL, fields and body, each with a NUL behind it. */
struct head {
    uint32_t kind, number;
    uint64_t id;
    uint32_t url_len, fields_len, body_len, unused;
};

void fetchctl_write(const struct fetchctl_message *m, struct buf *out)
{
    const char *url = m->url != NULL ? m->url : "";
    const char *fields = m->fields != NULL ? m->fields : "";
    struct head head = {.kind = (uint32_t)m->kind,
                        .number = m->number,
                        .id = m->id,
                        .url_len = (uint32_t)strlen(url),
                        .fields_len = (uint32_t)strlen(fields),
                        .body_len = (uint32_t)m->body_len};
    ASSERT(head.url_len <= FETCHCTL_URL_MAX && head.fields_len <= FETCHCTL_FIELDS_MAX &&
           m->body_len <= FETCHCTL_BODY_MAX);
    buf_append(out, &head, sizeof head);
    buf_append(out, url, head.url_len + 1);
    buf_append(out, fields, head.fields_len + 1);
    buf_append(out, m->body, m->body_len);
    buf_append(out, "", 1);
}

int fetchctl_read(const char *data, size_t len, struct fetchctl_message *m, size_t *used,
                  struct error *err)
{
    struct head head;
    if (len < sizeof head)
        return 0;
    memcpy(&head, data, sizeof head);
    if (head.kind >= FETCHCTL_KINDS_COUNT || head.url_len > FETCHCTL_URL_MAX ||
        head.fields_len > FETCHCTL_FIELDS_MAX || head.body_len > FETCHCTL_BODY_MAX)
        return error_set(err, ERROR_USAGE, "fetch: kind %u with %u, %u and %u bytes is no message",
                         head.kind, head.url_len, head.fields_len, head.body_len);
    size_t whole = sizeof head + head.url_len + 1 + head.fields_len + 1 + head.body_len + 1;
    if (len < whole)
        return 0;
    const char *url = data + sizeof head, *fields = url + head.url_len + 1,
               *body = fields + head.fields_len + 1;
    if (strnlen(url, head.url_len + 1) != head.url_len ||
        strnlen(fields, head.fields_len + 1) != head.fields_len || body[head.body_len] != '\0')
        return error_set(err, ERROR_USAGE, "fetch: a message that does not end where it says");
    *m = (struct fetchctl_message){.kind = (enum fetchctl_kind)head.kind,
                                   .id = head.id,
                                   .number = head.number,
                                   .url = url,
                                   .fields = fields,
                                   .body = body,
                                   .body_len = head.body_len};
    *used = whole;
    return 1;
}
