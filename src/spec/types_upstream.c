/* What a route's instances speak, and by which certificates they are known. */
#include "spec/types.h"

#include "base/vec.h"

#include <ctype.h>
#include <string.h>

/* ---- protocol -------------------------------------------------------------------------------- */

static const char *const protocol_words[] = {
    [PROTOCOL_HTTP1] = "http1", [PROTOCOL_H2C] = "h2c", [PROTOCOL_HTTPS] = "https", NULL};

static void read_protocol(struct reader *r, const struct key *key, const struct node *node,
                          void *base)
{
    const char *text = read_text(r, key, node, EXPAND_VALUE);
    for (int i = 0; text != NULL && protocol_words[i] != NULL; i++)
        if (strcmp(text, protocol_words[i]) == 0) {
            ((struct route_spec *)base)->protocol = (enum route_protocol)i;
            return;
        }
    if (text != NULL)
        reader_expected_word(r, node, text, protocol_words);
}

static bool write_protocol(const struct key *key, const void *base, struct buf *out)
{
    (void)key;
    return write_quoted_word(out, protocol_words[((const struct route_spec *)base)->protocol]);
}

const struct value_type type_protocol = {.shape = "`http1`, `h2c` or `https`",
                                         .read = read_protocol,
                                         .write = write_protocol,
                                         .words = protocol_words};

/* ---- upstream-tls ---------------------------------------------------------------------------- */

static bool write_upstream_tls(const struct key *key, const void *base, struct buf *out)
{
    const struct route_spec *route = base;
    (void)key;
    if (route->protocol == PROTOCOL_HTTPS)
        write_mapping(IN_UPSTREAM_TLS, &route->tls, out);
    return route->protocol == PROTOCOL_HTTPS;
}

/* A file's name, without its end and without a folder. */
static void read_cert_name(struct reader *r, const struct key *key, const struct node *node,
                           void *base)
{
    const char *text = read_text(r, key, node, EXPAND_VALUE), *hint = NULL;
    if (text == NULL)
        return;
    size_t len = strlen(text);
    bool good = len > 0 && len <= SPEC_MAX_CERT_NAME && text[0] != '.';
    for (size_t i = 0; i < len; i++)
        good = good && (isalnum((unsigned char)text[i]) || strchr("._-", text[i]) != NULL);
    if (good) {
        *(const char **)field_at(base, key->offset) = text;
        return;
    }
    if (strchr(text, '/') != NULL)
        hint = "copy or link it into DATA/certs, and write its name there";
    reader_expected(r, node, key->type->shape, hint);
}

static bool write_name(const struct key *key, const void *base, struct buf *out)
{
    const char *text = *(const char *const *)const_field_at(base, key->offset);
    if (text != NULL)
        write_string(out, text);
    return text != NULL;
}

static void read_server_name(struct reader *r, const struct key *key, const struct node *node,
                             void *base)
{
    const char *text = read_text(r, key, node, EXPAND_VALUE);
    if (text == NULL)
        return;
    size_t len = strlen(text);
    bool good = len > 0 && len <= SPEC_MAX_CERT_NAME;
    for (size_t i = 0; i < len; i++)
        good = good && (isalnum((unsigned char)text[i]) || strchr(".-:", text[i]) != NULL);
    if (good)
        ((struct upstream_tls_spec *)base)->server_name = text;
    else
        reader_expected(r, node, key->type->shape,
                        strchr(text, '*') != NULL ? "one of the names that `*` stands for" : NULL);
}

const struct value_type type_upstream_tls = {.shape = "a map such as {ca: internal}",
                                             .nested = IN_UPSTREAM_TLS,
                                             .write = write_upstream_tls};
const struct value_type type_cert_name = {.shape =
                                              "the name of a file in DATA/certs, such as internal",
                                          .read = read_cert_name,
                                          .write = write_name};
const struct value_type type_server_name = {.shape = "a name such as app.internal, or an address",
                                            .read = read_server_name,
                                            .write = write_name};

/* ---- what a route must be together ----------------------------------------------------------- */

void finish_upstream(struct reader *r, const struct node *node, const struct route_spec *route)
{
    const struct node *key = tree_key(node, "upstream-tls"), *map = tree_get(node, "upstream-tls");
    const struct upstream_tls_spec *tls = &route->tls;
    if (key != NULL && route->protocol != PROTOCOL_HTTPS) {
        reader_fail(r, key, "write `protocol: https` beside it",
                    "`upstream-tls` is for `protocol: https`");
        return;
    }
    if (route->protocol != PROTOCOL_HTTPS || route->tcp.listen != NULL)
        return;
    if (tls->verify && tls->ca == NULL)
        reader_fail(r, key != NULL ? key : tree_key(node, "protocol"),
                    "upstream-tls: {ca: internal} is DATA/certs/internal.ca; {verify: false} takes "
                    "whoever answers",
                    "`upstream-tls.ca` is missing: by which CA is the app known?");
    if (!tls->verify && tls->ca != NULL)
        reader_fail(r, tree_key(map, "verify"), "remove one of them",
                    "with `verify: false` nothing is compared with `ca`");
}
