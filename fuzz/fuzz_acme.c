/* libFuzzer: replies of a CA. Whatever they are, an order asks over https only, waits for a bounded
 * time, ends, and says nothing but printable text.
 *
 * The input is cut at bytes 1E: per reply the first letter of its status, header fields, body. */
#include "acme/acme.h"

#include "base/alloc.h"
#include "base/vec.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

enum { STEPS_MAX = 500, NOW = 1000 };

static void require(bool is)
{
    if (!is)
        abort();
}

static char *part_of(const uint8_t **data, size_t *len, size_t *size)
{
    const uint8_t *end = *len > 0 ? memchr(*data, 0x1e, *len) : NULL;
    size_t n = end != NULL ? (size_t)(end - *data) : *len;
    char *out = xstrndup((const char *)*data, n);
    *size = strlen(out) < n ? strlen(out) : n;
    *data += n + (end != NULL);
    *len -= n + (end != NULL);
    return out;
}

static void check_text(const char *text)
{
    for (; *text != '\0'; text++)
        require(isprint((unsigned char)*text));
}

static void check(const struct acme_action *a, const struct acme_order *o)
{
    switch (a->what) {
    case ACME_ASK: require(acme_url_valid(a->url)); break;
    case ACME_WAIT: require(a->wait_ms > 0 && a->wait_ms <= ACME_DEADLINE_MS); break;
    case ACME_OFFER:
        require(strlen(acme_order_token(o)) <= ACME_TOKEN_MAX);
        require(strlen(acme_order_answer(o)) <= ACME_ANSWER_MAX);
        break;
    case ACME_FAILED:
        check_text(acme_order_failure(o)->text);
        check_text(acme_order_failure(o)->advice);
        require(acme_order_failure(o)->text[0] != '\0');
        break;
    case ACME_DONE: require(acme_order_chain(o)->len > 0); break;
    case ACME_KEEP: break;
    }
}

static void run(struct acme_order *o, const uint8_t *data, size_t len)
{
    static const unsigned statuses[] = {0, 100, 200, 201, 302, 400, 403, 404, 429, 500, 503};
    struct acme_action a;
    int64_t now = NOW;
    acme_order_step(o, NULL, now, &a);
    for (int i = 0; a.what != ACME_DONE && a.what != ACME_FAILED; i++) {
        check(&a, o);
        require(i < STEPS_MAX);
        if (a.what != ACME_ASK) {
            now += a.what == ACME_WAIT ? a.wait_ms : 0;
            acme_order_step(o, NULL, now, &a);
            continue;
        }
        if (len == 0)
            return;
        size_t status_len, fields_len, body_len;
        char *status = part_of(&data, &len, &status_len);
        char *fields = part_of(&data, &len, &fields_len);
        char *body = part_of(&data, &len, &body_len);
        struct acme_reply r = {.status = statuses[(unsigned char)status[0] % COUNT_OF(statuses)],
                               .body = body,
                               .body_len = body_len};
        acme_reply_fields(&r, fields, 1700000000000);
        acme_order_step(o, &r, now, &a);
        free(status);
        free(fields);
        free(body);
    }
    check(&a, o);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static EVP_PKEY *key; /* the same for all: making one takes longer than the rest */
    if (key == NULL)
        key = acme_key_new(NULL);
    struct acme_account account = {.directory = xstrdup("https://ca.test/dir"), .key = key};
    EVP_PKEY_up_ref(key);
    EVP_PKEY_up_ref(key);
    struct acme_options options = {
        .host = "shop.test", .can = {true, true}, .prefer = ACME_HTTP_01, .key = key};
    if (len > 0 && data[0] == 'r')
        options.url = "https://ca.test/order/1";
    struct acme_order *o = acme_order_new(&account, &options, NOW, NULL);
    if (len > 0)
        run(o, data + 1, len - 1);
    acme_order_free(o);
    acme_account_release(&account);
    return 0;
}
