/* What a CA says when it says no (RFC 8555 section 6.7, RFC 7807), and what to do about it. */
#include "acme/acme_internal.h"

#include "base/vec.h"

#include <stdio.h>
#include <string.h>

#define PREFIX "urn:ietf:params:acme:error:"

void text_clean(const char *from, size_t len, char *to, size_t size)
{
    size_t n = 0;
    bool space = true; /* none in front, never two */
    for (size_t i = 0; i < len && n + 1 < size; i++) {
        unsigned char ch = (unsigned char)from[i];
        bool blank = ch <= ' ' || ch == 0x7f;
        if (blank && space)
            continue;
        to[n++] = blank ? ' ' : ch < 0x80 ? (char)ch : '?';
        space = blank;
    }
    while (n > 0 && to[n - 1] == ' ')
        n--;
    to[n] = '\0';
}

static const char *string_in(const json_t *object, const char *key, size_t *len)
{
    const json_t *value = json_object_get(object, key);
    *len = json_string_length(value);
    return json_is_string(value) ? json_string_value(value) : "";
}

/* CAs repeat the URL that they asked for; its token says nothing to anybody. */
static void forget_token(char *detail)
{
    static const char before[] = "/.well-known/acme-challenge/";
    char *token = strstr(detail, before);
    if (token == NULL)
        return;
    token += sizeof before - 1;
    size_t len = strspn(token, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_");
    if (len <= strlen("..."))
        return;
    memcpy(token, "...", 3);
    memmove(token + 3, token + len, strlen(token + len) + 1);
}

void problem_read(const json_t *object, struct problem *out)
{
    size_t len;
    *out = (struct problem){.type = ""};
    const char *type = string_in(object, "type", &len);
    if (strncmp(type, PREFIX, strlen(PREFIX)) == 0)
        text_clean(type + strlen(PREFIX), len - strlen(PREFIX), out->type, sizeof out->type);
    const char *detail = string_in(object, "detail", &len);
    text_clean(detail, len, out->detail, sizeof out->detail);
    /* Section 6.7.1: with one identifier a subproblem says more than the whole does. */
    const json_t *first = json_array_get(json_object_get(object, "subproblems"), 0);
    if (out->detail[0] == '\0' && first != NULL) {
        detail = string_in(first, "detail", &len);
        text_clean(detail, len, out->detail, sizeof out->detail);
    }
    forget_token(out->detail);
}

/* X(type, blame, advice): section 6.7; RFC 8738, 8739 have none that concern us. */
#define PROBLEMS(X)                                                                                \
    X("dns", ACME_REFUSED, "make an A or AAAA record of %s that points to this server")            \
    X("connection", ACME_REFUSED,                                                                  \
      "the CA must reach %s from the internet on port %s, and that must lead to a %s address: "    \
      "look at DNS records, firewalls and port forwards")                                          \
    X("tls", ACME_REFUSED,                                                                         \
      "the CA must reach this server's TLS at %s on port %s: something in between ends TLS")       \
    X("unauthorized", ACME_REFUSED,                                                                \
      "somebody else answers for %s on port %s: its DNS records (A and AAAA) must point here")     \
    X("incorrectResponse", ACME_REFUSED,                                                           \
      "somebody else answers for %s on port %s: its DNS records (A and AAAA) must point here")     \
    X("caa", ACME_REFUSED, "a CAA record of %s (or above it) does not allow this CA")              \
    X("rejectedIdentifier", ACME_REFUSED,                                                          \
      "this CA gives no certificate for %s: another name, another CA (serve --acme-directory), "   \
      "or `tls: files` with one of your own")                                                      \
    X("unsupportedIdentifier", ACME_REFUSED, "this CA does not do names such as %s")               \
    X("rateLimited", ACME_LIMITED, "")                                                             \
    X("serverInternal", ACME_UNREACHABLE, "")                                                      \
    X("badNonce", ACME_UNREACHABLE, "")                                                            \
    X("orderNotReady", ACME_UNREACHABLE, "")                                                       \
    X("externalAccountRequired", ACME_REFUSED,                                                     \
      "this CA wants accounts to be made elsewhere before, which sluice does not do: use another") \
    X("userActionRequired", ACME_REFUSED,                                                          \
      "its operator wants something of the account's owner, most often agreement to new terms")    \
    X("invalidContact", ACME_REFUSED, "serve --acme-email: the CA does not take that address")     \
    X("unsupportedContact", ACME_REFUSED, "serve --acme-email: the CA does not take that address")

static const struct {
    const char *type, *advice;
    enum acme_blame blame;
} problems[] = {
#define X(type, blame, advice) {type, advice, blame},
    PROBLEMS(X)
#undef X
};

void problem_tell(const struct problem *p, const char *what, const char *host,
                  enum acme_challenge challenge, struct acme_failure *out)
{
    bool by_tls = challenge == ACME_TLS_ALPN_01;
    out->blame = ACME_REFUSED;
    out->advice[0] = '\0';
    for (size_t i = 0; i < COUNT_OF(problems); i++)
        if (strcmp(problems[i].type, p->type) == 0) {
            out->blame = problems[i].blame;
            snprintf(out->advice, sizeof out->advice, problems[i].advice, host,
                     by_tls ? "443" : "80", by_tls ? "--tls-listen" : "--listen");
        }
    snprintf(out->text, sizeof out->text, "%s: the CA says: %.300s%s%s%s", what,
             p->detail[0] != '\0' ? p->detail : "no more than that", p->type[0] != '\0' ? " (" : "",
             p->type, p->type[0] != '\0' ? ")" : "");
}
