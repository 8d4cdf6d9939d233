#include "base/field.h"

#include "base/vec.h"

#include <string.h>

bool field_is_name(const char *name)
{
    size_t len = 0;
    for (; name[len] != '\0'; len++) {
        char c = name[len];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!letter && !(c >= '0' && c <= '9') && strchr("!#$%&'*+-.^_`|~", c) == NULL)
            return false;
    }
    return len > 0 && len <= FIELD_NAME_MAX;
}

bool field_is_value(const char *value)
{
    size_t len = strlen(value);
    if (len > FIELD_VALUE_MAX || (len > 0 && (value[0] == ' ' || value[len - 1] == ' ')))
        return false;
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)value[i] < 0x20 || value[i] == 0x7f)
            return false;
    return true;
}

static char fold(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c == '_' ? '-' : c;
}

bool field_same_name(const char *a, size_t a_len, const char *b, size_t b_len)
{
    if (a_len != b_len)
        return false;
    for (size_t i = 0; i < a_len; i++)
        if (fold(a[i]) != fold(b[i]))
            return false;
    return true;
}

const char *field_not_editable(const char *name)
{
    static const struct {
        const char *name, *why;
    } kept[] = {
        {"connection", "it is about one connection only, which the gateway looks after"},
        {"keep-alive", "it is about one connection only, which the gateway looks after"},
        {"proxy-connection", "it is about one connection only, which the gateway looks after"},
        {"te", "it is about one connection only, which the gateway looks after"},
        {"upgrade", "it is about one connection only, which the gateway looks after"},
        {"http2-settings", "it is about one connection only, which the gateway looks after"},
        {"trailer", "it says where the message ends"},
        {"transfer-encoding", "it says where the message ends"},
        {"content-length", "it says where the message ends"},
        {"expect", "it says when the body is sent"},
        {"host", "it says whom the request is for"},
        {"x-forwarded-for", "the gateway itself writes it, so that apps can believe it"},
        {"x-forwarded-proto", "the gateway itself writes it, so that apps can believe it"},
        {"x-forwarded-host", "the gateway itself writes it, so that apps can believe it"},
        {"forwarded", "the gateway itself writes it, so that apps can believe it"},
        {"client-cert", "the gateway itself writes it, so that apps can believe it"},
        {"client-cert-chain", "the gateway itself writes it, so that apps can believe it"},
    };
    for (size_t i = 0; i < COUNT_OF(kept); i++)
        if (field_same_name(name, strlen(name), kept[i].name, strlen(kept[i].name)))
            return kept[i].why;
    return NULL;
}
