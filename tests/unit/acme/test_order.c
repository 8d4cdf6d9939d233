/* Orders against a CA whose every answer is written down here. */
#include "acme/acme_internal.h"

#include "base/alloc.h"
#include "base/vec.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

#define AT "https://ca.test/"
#define DIRECTORY_BODY                                                                             \
    "{\"newNonce\":\"" AT "nonce\",\"newAccount\":\"" AT "account\",\"newOrder\":\"" AT "order\"," \
    "\"meta\":{\"termsOfService\":\"" AT "terms\"}}"
#define ORDER_BODY(status, more)                                                                   \
    "{\"status\":\"" status "\",\"identifiers\":[{\"type\":\"dns\",\"value\":\"shop.test\"}],"     \
    "\"authorizations\":[\"" AT "authz/1\"],\"finalize\":\"" AT "finalize/1\"" more "}"
#define CHALLENGES                                                                                 \
    "\"challenges\":[{\"type\":\"dns-01\",\"url\":\"" AT "c/0\",\"token\":\"dns\"},"               \
    "{\"type\":\"tls-alpn-01\",\"url\":\"" AT "c/1\",\"token\":\"alpn-token\"},"                   \
    "{\"type\":\"http-01\",\"url\":\"" AT "c/2\",\"token\":\"http-token_\"}]"
#define AUTHORIZATION_BODY(status) "{\"status\":\"" status "\"," CHALLENGES "}"

struct ground {
    struct acme_account account;
    struct acme_order *order;
    struct acme_action action;
    int64_t now_ms;
};

static void begin_with(struct ground *g, const struct acme_options *options)
{
    struct error err = ERROR_INIT;
    g->order = acme_order_new(&g->account, options, g->now_ms, &err);
    assert_non_null(g->order);
    acme_order_step(g->order, NULL, g->now_ms, &g->action);
}

static const struct acme_options usual = {
    .host = "shop.test", .can = {true, true}, .prefer = ACME_HTTP_01};

static int set_up(void **state)
{
    struct ground *g = xcalloc(1, sizeof *g);
    struct error err = ERROR_INIT;
    g->account.directory = xstrdup(AT "dir");
    g->account.email = xstrdup("ops@shop.test");
    g->account.key = acme_key_new(&err);
    g->now_ms = 1000;
    *state = g;
    return g->account.key != NULL ? 0 : -1;
}

static int tear_down(void **state)
{
    struct ground *g = *state;
    acme_order_free(g->order);
    acme_account_release(&g->account);
    free(g);
    return 0;
}

/* ---- the CA ---- */

static void say(struct ground *g, unsigned status, const char *fields, const char *body)
{
    struct acme_reply r = {.status = status, .body = body, .body_len = strlen(body)};
    assert_int_equal(g->action.what, ACME_ASK);
    acme_reply_fields(&r, fields, 1700000000000);
    acme_order_step(g->order, &r, g->now_ms, &g->action);
}

static void go_on(struct ground *g)
{
    if (g->action.what == ACME_WAIT)
        g->now_ms += g->action.wait_ms;
    acme_order_step(g->order, NULL, g->now_ms, &g->action);
}

static void unpack(const char *text, size_t len, struct buf *out)
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    unsigned bits = 0, count = 0;
    for (size_t i = 0; i < len; i++) {
        const char *at = strchr(alphabet, text[i]);
        assert_non_null(at);
        bits = bits << 6 | (unsigned)(at - alphabet);
        count += 6;
        if (count >= 8)
            buf_putc(out, (char)(bits >> (count -= 8) & 255));
    }
}

/* r and s as DER, as OpenSSL wants them. */
static void verify(EVP_PKEY *key, const char *input, size_t len, const struct buf *raw)
{
    assert_int_equal(raw->len, 64);
    const unsigned char *p = (const unsigned char *)raw->data;
    ECDSA_SIG *sig = ECDSA_SIG_new();
    ECDSA_SIG_set0(sig, BN_bin2bn(p, 32, NULL), BN_bin2bn(p + 32, 32, NULL));
    unsigned char *der = NULL;
    int der_len = i2d_ECDSA_SIG(sig, &der);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    assert_int_equal(EVP_DigestVerifyInit(ctx, NULL, EVP_sha256(), NULL, key), 1);
    assert_int_equal(EVP_DigestVerify(ctx, der, (size_t)der_len, (const unsigned char *)input, len),
                     1);
    EVP_MD_CTX_free(ctx);
    OPENSSL_free(der);
    ECDSA_SIG_free(sig);
}

/* The question is this, signed by the account; gives its payload ("" for POST-as-GET). */
static const char *asked(struct ground *g, const char *url, const char *nonce, bool by_kid,
                         struct buf *payload)
{
    cleanup_buf struct buf head = BUF_INIT, raw = BUF_INIT, input = BUF_INIT;
    assert_int_equal(g->action.what, ACME_ASK);
    assert_string_equal(g->action.url, url);
    assert_int_equal(g->action.method, ACME_POST);
    json_t *jws = json_loadb(g->action.body, g->action.body_len, 0, NULL);
    const char *p = json_string_value(json_object_get(jws, "protected"));
    const char *text = json_string_value(json_object_get(jws, "payload"));
    const char *sig = json_string_value(json_object_get(jws, "signature"));
    unpack(p, strlen(p), &head);
    unpack(sig, strlen(sig), &raw);
    buf_printf(&input, "%s.%s", p, text);
    verify(g->account.key, input.data, input.len, &raw);
    json_t *protected = json_loadb(head.data, head.len, 0, NULL);
    assert_string_equal(json_string_value(json_object_get(protected, "alg")), "ES256");
    assert_string_equal(json_string_value(json_object_get(protected, "url")), url);
    assert_string_equal(json_string_value(json_object_get(protected, "nonce")), nonce);
    assert_int_equal(json_object_get(protected, "kid") != NULL, by_kid);
    assert_int_equal(json_object_get(protected, "jwk") != NULL, !by_kid);
    buf_clear(payload);
    unpack(text, strlen(text), payload);
    json_decref(protected);
    json_decref(jws);
    return buf_str(payload);
}

/* Directory, nonce and account. */
static void open_account(struct ground *g)
{
    assert_string_equal(g->action.url, AT "dir");
    assert_int_equal(g->action.method, ACME_GET);
    say(g, 200, "", DIRECTORY_BODY);
    assert_string_equal(g->action.url, AT "nonce");
    assert_int_equal(g->action.method, ACME_HEAD);
    say(g, 200, "replay-nonce: n1\n", "");
    say(g, 201, "replay-nonce: n2\nlocation: " AT "account/7\n", "{\"status\":\"valid\"}");
    assert_int_equal(g->action.what, ACME_KEEP);
    go_on(g);
}

static void place_order(struct ground *g)
{
    open_account(g);
    say(g, 201, "replay-nonce: n3\nlocation: " AT "order/1\n", ORDER_BODY("pending", ""));
    assert_int_equal(g->action.what, ACME_KEEP);
    assert_string_equal(acme_order_url(g->order), AT "order/1");
    go_on(g);
}

static void to_challenge(struct ground *g)
{
    place_order(g);
    say(g, 200, "replay-nonce: n4\n", AUTHORIZATION_BODY("pending"));
    assert_int_equal(g->action.what, ACME_OFFER);
    go_on(g);
}

static void to_validation(struct ground *g)
{
    to_challenge(g);
    say(g, 200, "replay-nonce: n5\n", "{\"status\":\"processing\"}");
    assert_int_equal(g->action.what, ACME_WAIT);
    go_on(g);
}

/* By the order's key, signed by itself. */
static char *certificate_for(const struct ground *g, const char *host)
{
    EVP_PKEY *key = acme_order_key(g->order);
    cleanup_free char *names = xasprintf("DNS:%s", host);
    X509 *cert = X509_new();
    X509_EXTENSION *san = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, names);
    X509_set_version(cert, X509_VERSION_3);
    X509_gmtime_adj(X509_getm_notBefore(cert), 0);
    X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
    X509_set_pubkey(cert, key);
    X509_add_ext(cert, san, -1);
    X509_sign(cert, key, EVP_sha256());
    BIO *bio = BIO_new(BIO_s_mem());
    PEM_write_bio_X509(bio, cert);
    char *data;
    long len = BIO_get_mem_data(bio, &data);
    char *out = xstrndup(data, (size_t)len);
    BIO_free(bio);
    X509_EXTENSION_free(san);
    X509_free(cert);
    return out;
}

/* ---- all goes well ---- */

static void the_whole_way(void **state)
{
    struct ground *g = *state;
    cleanup_buf struct buf payload = BUF_INIT, print = BUF_INIT;
    begin_with(g, &usual);
    say(g, 200, "", DIRECTORY_BODY);
    assert_string_equal(g->account.terms, AT "terms");
    say(g, 200, "replay-nonce: n1\n", "");
    assert_string_equal(asked(g, AT "account", "n1", false, &payload),
                        "{\"termsOfServiceAgreed\":true,\"contact\":[\"mailto:ops@shop.test\"]}");
    say(g, 201, "replay-nonce: n2\nlocation: " AT "account/7\n", "{\"status\":\"valid\"}");
    assert_int_equal(g->action.what, ACME_KEEP);
    assert_string_equal(g->account.kid, AT "account/7");
    go_on(g);
    assert_string_equal(asked(g, AT "order", "n2", true, &payload),
                        "{\"identifiers\":[{\"type\":\"dns\",\"value\":\"shop.test\"}]}");
    say(g, 201, "replay-nonce: n3\nlocation: " AT "order/1\n", ORDER_BODY("pending", ""));
    assert_int_equal(g->action.what, ACME_KEEP);
    go_on(g);
    assert_string_equal(asked(g, AT "authz/1", "n3", true, &payload), "");
    say(g, 200, "replay-nonce: n4\n", AUTHORIZATION_BODY("pending"));
    assert_int_equal(g->action.what, ACME_OFFER);
    assert_int_equal(acme_order_challenge(g->order), ACME_HTTP_01);
    assert_string_equal(acme_order_token(g->order), "http-token_");
    buf_puts(&print, "http-token_.");
    assert_int_equal(jwk_thumbprint(g->account.key, &print, NULL), 0);
    assert_string_equal(acme_order_answer(g->order), buf_str(&print));
    go_on(g);
    assert_string_equal(asked(g, AT "c/2", "n4", true, &payload), "{}");
    say(g, 200, "replay-nonce: n5\nretry-after: 3\n", "{\"status\":\"processing\"}");
    assert_int_equal(g->action.what, ACME_WAIT);
    assert_int_equal(g->action.wait_ms, 3000);
    go_on(g);
    assert_string_equal(asked(g, AT "authz/1", "n5", true, &payload), "");
    say(g, 200, "replay-nonce: n6\n", AUTHORIZATION_BODY("valid"));
    assert_string_equal(asked(g, AT "order/1", "n6", true, &payload), "");
    say(g, 200, "replay-nonce: n7\n", ORDER_BODY("ready", ""));
    assert_non_null(strstr(asked(g, AT "finalize/1", "n7", true, &payload), "{\"csr\":\"MI"));
    say(g, 200, "replay-nonce: n8\n", ORDER_BODY("processing", ""));
    assert_int_equal(g->action.what, ACME_WAIT);
    go_on(g);
    say(g, 200, "replay-nonce: n9\n", ORDER_BODY("valid", ",\"certificate\":\"" AT "cert/1\""));
    assert_string_equal(asked(g, AT "cert/1", "n9", true, &payload), "");
    cleanup_free char *pem = certificate_for(g, "shop.test");
    say(g, 200, "replay-nonce: n10\n", pem);
    assert_int_equal(g->action.what, ACME_DONE);
    assert_string_equal(buf_str(acme_order_chain(g->order)), pem);
}

static void what_is_known_is_not_asked_again(void **state)
{
    struct ground *g = *state;
    begin_with(g, &usual);
    place_order(g);
    acme_order_free(g->order);
    begin_with(g, &usual);
    assert_string_equal(g->action.url, AT "nonce");
    say(g, 204, "replay-nonce: m1\n", "");
    assert_string_equal(g->action.url, AT "order");
    say(g, 201, "replay-nonce: m2\nlocation: " AT "order/2\n", ORDER_BODY("ready", ""));
    go_on(g); /* it is proved already */
    assert_string_equal(g->action.url, AT "finalize/1");
}

static void the_way_that_is_preferred(void **state)
{
    struct ground *g = *state;
    struct acme_options options = usual;
    options.prefer = ACME_TLS_ALPN_01;
    begin_with(g, &options);
    place_order(g);
    say(g, 200, "replay-nonce: n\n", AUTHORIZATION_BODY("pending"));
    assert_int_equal(acme_order_challenge(g->order), ACME_TLS_ALPN_01);
    cleanup_buf struct buf chain = BUF_INIT, key = BUF_INIT;
    assert_int_equal(
        acme_challenge_certificate("shop.test", acme_order_answer(g->order), &chain, &key, NULL),
        0);
    BIO *bio = BIO_new_mem_buf(chain.data, (int)chain.len);
    X509 *cert = PEM_read_bio_X509(bio, NULL, NULL, NULL);
    ASN1_OBJECT *id = OBJ_txt2obj("1.3.6.1.5.5.7.1.31", 1);
    int at = X509_get_ext_by_OBJ(cert, id, -1);
    assert_true(at >= 0);
    X509_EXTENSION *e = X509_get_ext(cert, at);
    assert_int_equal(X509_EXTENSION_get_critical(e), 1);
    assert_int_equal(ASN1_STRING_length(X509_EXTENSION_get_data(e)), 34);
    assert_int_equal(X509_check_host(cert, "shop.test", 0, 0, NULL), 1);
    ASN1_OBJECT_free(id);
    X509_free(cert);
    BIO_free(bio);
}

static void where_only_one_way_is_open(void **state)
{
    struct ground *g = *state;
    struct acme_options options = usual;
    options.can[ACME_HTTP_01] = false;
    begin_with(g, &options);
    place_order(g);
    say(g, 200, "replay-nonce: n\n", AUTHORIZATION_BODY("pending"));
    assert_int_equal(acme_order_challenge(g->order), ACME_TLS_ALPN_01);
}

static void an_order_of_an_earlier_process(void **state)
{
    struct ground *g = *state;
    struct acme_options options = usual;
    options.url = AT "order/9";
    options.key = acme_key_new(NULL);
    begin_with(g, &options);
    say(g, 200, "", DIRECTORY_BODY);
    say(g, 200, "replay-nonce: n1\n", "");
    say(g, 200, "replay-nonce: n2\nlocation: " AT "account/7\n", "{\"status\":\"valid\"}");
    go_on(g);
    assert_string_equal(g->action.url, AT "order/9");
    say(g, 200, "replay-nonce: n3\n", ORDER_BODY("valid", ",\"certificate\":\"" AT "cert/9\""));
    assert_string_equal(g->action.url, AT "cert/9");
}

static void an_order_that_is_gone(void **state)
{
    struct ground *g = *state;
    struct acme_options options = usual;
    options.url = AT "order/9";
    options.key = acme_key_new(NULL);
    begin_with(g, &options);
    open_account(g);
    assert_string_equal(g->action.url, AT "order/9");
    say(g, 404, "replay-nonce: n3\n", "{\"type\":\"urn:ietf:params:acme:error:malformed\"}");
    assert_string_equal(g->action.url, AT "order");
    assert_null(acme_order_url(g->order));
}

/* ---- no ---- */

static void nonces_that_are_not_taken(void **state)
{
    struct ground *g = *state;
    cleanup_buf struct buf payload = BUF_INIT;
    begin_with(g, &usual);
    open_account(g);
    static const char bad[] = "{\"type\":\"urn:ietf:params:acme:error:badNonce\"}";
    say(g, 400, "replay-nonce: m1\n", bad);
    asked(g, AT "order", "m1", true, &payload); /* with the one that came along */
    say(g, 400, "", bad);
    assert_string_equal(g->action.url, AT "nonce"); /* none came along */
    say(g, 200, "replay-nonce: m2\n", "");
    asked(g, AT "order", "m2", true, &payload);
    for (int i = 0; i < 50 && g->action.what == ACME_ASK; i++)
        say(g, 400, "replay-nonce: m3\n", bad);
    assert_int_equal(g->action.what, ACME_FAILED);
    assert_int_equal(acme_order_failure(g->order)->blame, ACME_UNREACHABLE);
}

static void an_account_that_the_ca_lost(void **state)
{
    struct ground *g = *state;
    static const char lost[] = "{\"type\":\"urn:ietf:params:acme:error:accountDoesNotExist\"}";
    begin_with(g, &usual);
    open_account(g);
    say(g, 400, "replay-nonce: m1\n", lost);
    assert_string_equal(g->action.url, AT "account");
    say(g, 201, "replay-nonce: m2\nlocation: " AT "account/8\n", "{\"status\":\"valid\"}");
    assert_int_equal(g->action.what, ACME_KEEP);
    go_on(g);
    assert_string_equal(g->action.url, AT "order");
    say(g, 400, "replay-nonce: m3\n", lost); /* not for ever */
    assert_int_equal(g->action.what, ACME_FAILED);
}

static void limits_are_heeded(void **state)
{
    struct ground *g = *state;
    static const char limited[] = "{\"type\":\"urn:ietf:params:acme:error:rateLimited\","
                                  "\"detail\":\"too many certificates: see https://x\"}";
    begin_with(g, &usual);
    open_account(g);
    say(g, 429, "replay-nonce: n\nretry-after: 3600\n", limited);
    assert_int_equal(g->action.what, ACME_FAILED);
    const struct acme_failure *f = acme_order_failure(g->order);
    assert_int_equal(f->blame, ACME_LIMITED);
    assert_int_equal(f->retry_after_ms, 3600000);
    assert_non_null(strstr(f->text, "too many certificates"));
    acme_order_step(g->order, NULL, g->now_ms, &g->action);
    assert_int_equal(g->action.what, ACME_FAILED); /* it stays so */
}

static void what_the_ca_could_not_see(void **state)
{
    struct ground *g = *state;
    begin_with(g, &usual);
    to_validation(g);
    say(g, 200, "replay-nonce: n\n",
        "{\"status\":\"invalid\",\"challenges\":[{\"type\":\"http-01\",\"error\":"
        "{\"type\":\"urn:ietf:params:acme:error:connection\",\"detail\":"
        "\"no\\u001b[31m  route\\n\\nto \\u00e4 host: "
        "http://shop.test/.well-known/acme-challenge/a_B-9: refused\"}}]}");
    assert_int_equal(g->action.what, ACME_FAILED);
    const struct acme_failure *f = acme_order_failure(g->order);
    assert_int_equal(f->blame, ACME_REFUSED);
    assert_non_null(strstr(f->text, "no [31m route to ?? host: "
                                    "http://shop.test/.well-known/acme-challenge/...: refused "
                                    "(connection)"));
    assert_non_null(strstr(f->advice, "shop.test"));
    assert_non_null(strstr(f->advice, "port 80, and that must lead to a --listen address"));
    assert_null(acme_order_url(g->order));
}

/* Its failure may be nobody's fault and pass; the order stays invalid (section 7.1.6). */
static void an_invalid_order_is_not_gone_on_with(void **state)
{
    static const char *const types[] = {"serverInternal", "rateLimited"};
    for (size_t i = 0; i < COUNT_OF(types); i++) {
        struct ground *g = *state;
        struct acme_options options = usual;
        cleanup_free char *error = xasprintf(
            "\"error\":{\"type\":\"urn:ietf:params:acme:error:%s\",\"detail\":\"x\"}", types[i]);
        cleanup_free char *order = xasprintf("{\"status\":\"invalid\",%s}", error);
        cleanup_free char *authorization =
            xasprintf("{\"status\":\"invalid\",\"challenges\":[{\"type\":\"http-01\",%s}]}", error);
        options.url = AT "order/9";
        options.key = acme_key_new(NULL);
        free(take_ptr(&g->account.kid));
        free(take_ptr(&g->account.new_order));
        begin_with(g, &options);
        open_account(g);
        say(g, 200, "replay-nonce: n3\n", order);
        assert_int_equal(g->action.what, ACME_FAILED);
        assert_int_not_equal(acme_order_failure(g->order)->blame, ACME_REFUSED);
        assert_null(acme_order_url(g->order));
        acme_order_free(g->order);
        free(take_ptr(&g->account.kid));
        free(take_ptr(&g->account.new_order));
        begin_with(g, &usual);
        to_validation(g);
        say(g, 200, "replay-nonce: n\n", authorization);
        assert_int_equal(g->action.what, ACME_FAILED);
        assert_null(acme_order_url(g->order));
        acme_order_free(g->order);
        g->order = NULL;
    }
}

static void a_ca_that_moved(void **state)
{
    struct ground *g = *state;
    begin_with(g, &usual);
    open_account(g);
    say(g, 404, "replay-nonce: n\n", "<html>nothing here</html>");
    assert_int_equal(g->action.what, ACME_FAILED);
    acme_order_free(g->order);
    begin_with(g, &usual);
    assert_string_equal(g->action.url, AT "dir");
}

static void every_problem_has_words(void **state)
{
    static const struct {
        const char *type, *advice;
        enum acme_blame blame;
    } cases[] = {
        {"dns", "A or AAAA", ACME_REFUSED},
        {"unauthorized", "somebody else answers for shop.test on port 443", ACME_REFUSED},
        {"caa", "CAA", ACME_REFUSED},
        {"rejectedIdentifier", "tls: files", ACME_REFUSED},
        {"externalAccountRequired", "use another", ACME_REFUSED},
        {"invalidContact", "--acme-email", ACME_REFUSED},
        {"rateLimited", "", ACME_LIMITED},
        {"serverInternal", "", ACME_UNREACHABLE},
        {"neverHeardOf", "", ACME_REFUSED},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct problem p = {.detail = "detail"};
        struct acme_failure f;
        snprintf(p.type, sizeof p.type, "%s", cases[i].type);
        problem_tell(&p, "asks", "shop.test", ACME_TLS_ALPN_01, &f);
        assert_int_equal(f.blame, cases[i].blame);
        assert_non_null(strstr(f.advice, cases[i].advice));
        assert_int_equal(f.advice[0] == '\0', cases[i].advice[0] == '\0');
        assert_non_null(strstr(f.text, cases[i].type));
    }
}

static void a_ca_that_is_away(void **state)
{
    struct ground *g = *state;
    begin_with(g, &usual);
    place_order(g);
    say(g, 0, "", "connection refused\nby nobody");
    assert_int_equal(g->action.what, ACME_FAILED);
    const struct acme_failure *f = acme_order_failure(g->order);
    assert_int_equal(f->blame, ACME_UNREACHABLE);
    assert_non_null(strstr(f->text, "connection refused by nobody"));
    assert_string_equal(acme_order_url(g->order), AT "order/1"); /* to go on with */
    acme_order_free(g->order);
    begin_with(g, &usual);
    say(g, 503, "retry-after: Wed, 15 Nov 2023 00:13:20 GMT\n", "<html>busy</html>");
    assert_int_equal(acme_order_failure(g->order)->blame, ACME_UNREACHABLE);
    assert_int_equal(acme_order_failure(g->order)->retry_after_ms, 7200000);
}

static void what_takes_too_long(void **state)
{
    struct ground *g = *state;
    begin_with(g, &usual);
    to_validation(g);
    unsigned polls = 0;
    while (g->action.what != ACME_FAILED && polls < 1000) {
        say(g, 200, "replay-nonce: n\n", AUTHORIZATION_BODY("pending"));
        polls++;
        if (g->action.what == ACME_WAIT)
            go_on(g);
    }
    assert_int_equal(g->action.what, ACME_FAILED);
    assert_true(polls < 40);
    assert_int_equal(acme_order_failure(g->order)->blame, ACME_UNREACHABLE);
    assert_string_equal(acme_order_url(g->order), AT "order/1");
    acme_order_free(g->order);
    begin_with(g, &usual);
    g->now_ms += ACME_DEADLINE_MS; /* answers that crawl */
    say(g, 200, "replay-nonce: n\n", "");
    assert_int_equal(g->action.what, ACME_FAILED);
}

static void a_wait_longer_than_the_order(void **state)
{
    struct ground *g = *state;
    begin_with(g, &usual);
    to_challenge(g);
    say(g, 200, "replay-nonce: n\nretry-after: 99999999999999\n", "{}");
    assert_int_equal(g->action.what, ACME_FAILED);
    assert_int_equal(acme_order_failure(g->order)->retry_after_ms, 30 * INT64_C(86400000));
}

/* ---- hostile ---- */

static void expect_nonsense(struct ground *g)
{
    assert_int_equal(g->action.what, ACME_FAILED);
    assert_int_equal(acme_order_failure(g->order)->blame, ACME_NONSENSE);
    assert_non_null(strstr(acme_order_failure(g->order)->advice, "--acme-directory"));
    acme_order_free(g->order);
    g->order = NULL;
}

static void answers_that_are_not_acme(void **state)
{
    static const char *const bodies[] = {"",
                                         "null",
                                         "[]",
                                         "{",
                                         "\"text\"",
                                         "{}",
                                         "<html>",
                                         "{\"status\":7,\"newNonce\":[],\"authorizations\":{}}",
                                         "{\"status\":\"\\u0000\"}"};
    static void (*const until[])(struct ground *) = {NULL, open_account, place_order};
    for (size_t place = 0; place < COUNT_OF(until); place++)
        for (size_t i = 0; i < COUNT_OF(bodies); i++) {
            struct ground *g = *state;
            free(take_ptr(&g->account.kid));
            free(take_ptr(&g->account.new_order));
            begin_with(g, &usual);
            if (until[place] != NULL)
                until[place](g);
            say(g, 200, "replay-nonce: n\nlocation: " AT "x\n", bodies[i]);
            expect_nonsense(g);
        }
}

static void urls_that_lead_elsewhere(void **state)
{
    static const char *const urls[] = {
        "http://ca.test/x", "file:///etc/passwd",   "https://", "https:///x", "https://a b/",
        "ftp://x",          "https://x/\\r\\nA: b", "",         "/relative"};
    for (size_t i = 0; i < COUNT_OF(urls); i++) {
        struct ground *g = *state;
        cleanup_free char *body = xasprintf(
            "{\"newNonce\":\"" AT "n\",\"newAccount\":\"%s\",\"newOrder\":\"" AT "o\"}", urls[i]);
        begin_with(g, &usual);
        say(g, 200, "", body);
        expect_nonsense(g);
        assert_null(g->account.new_order); /* nothing of it is kept for the next one */
    }
}

static void tokens_that_are_none(void **state)
{
    char longest[ACME_TOKEN_MAX + 2];
    memset(longest, 'a', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    const char *const tokens[] = {"", "../../etc/passwd", "a b", "a\\r\\nb", "%2e", longest};
    for (size_t i = 0; i < COUNT_OF(tokens); i++) {
        struct ground *g = *state;
        cleanup_free char *body =
            xasprintf("{\"status\":\"pending\",\"challenges\":[{\"type\":\"http-01\",\"url\":\"" AT
                      "c\",\"token\":\"%s\"}]}",
                      tokens[i]);
        free(take_ptr(&g->account.kid));
        free(take_ptr(&g->account.new_order));
        begin_with(g, &usual);
        place_order(g);
        say(g, 200, "replay-nonce: n\n", body);
        expect_nonsense(g);
    }
}

static void header_fields_that_are_none(void **state)
{
    struct acme_reply r;
    char fields[ACME_URL_MAX + 600];
    (void)state;
    acme_reply_fields(&r, "replay-nonce: a b\nlocation: http://x\nretry-after: soon\n", 0);
    assert_string_equal(r.nonce, "");
    assert_string_equal(r.location, "");
    assert_int_equal(r.retry_after_ms, -1);
    snprintf(fields, sizeof fields, "replay-nonce: %0*d\nno colon\n:\nlocation: https://x/%0*d\n",
             ACME_NONCE_MAX + 1, 0, ACME_URL_MAX, 0);
    acme_reply_fields(&r, fields, 0);
    assert_string_equal(r.nonce, "");
    assert_string_equal(r.location, "");
    acme_reply_fields(&r, "retry-after: Thu, 01 Jan 1970 00:00:00 GMT\nlocation:https://x/y", 5000);
    assert_int_equal(r.retry_after_ms, 0);
    assert_string_equal(r.location, "https://x/y");
}

/* Whatever it says, an order ends. */
static void a_ca_that_leads_round_in_circles(void **state)
{
    struct ground *g = *state;
    begin_with(g, &usual);
    place_order(g);
    unsigned questions = 0;
    for (; g->action.what != ACME_FAILED && questions < 10000; questions++) {
        if (g->action.what != ACME_ASK)
            go_on(g);
        else if (strstr(g->action.url, "authz") != NULL)
            say(g, 200, "replay-nonce: n\n", AUTHORIZATION_BODY("valid"));
        else if (strstr(g->action.url, "finalize") != NULL)
            say(g, 200, "replay-nonce: n\n", ORDER_BODY("ready", ""));
        else
            say(g, 200, "replay-nonce: n\n",
                questions % 2 == 0 ? ORDER_BODY("pending", "") : ORDER_BODY("ready", ""));
    }
    assert_int_equal(g->action.what, ACME_FAILED);
    assert_true(questions < 500);
}

static void certificates_that_are_of_no_use(void **state)
{
    struct ground *g = *state;
    for (int i = 0; i < 3; i++) {
        free(take_ptr(&g->account.kid));
        free(take_ptr(&g->account.new_order));
        begin_with(g, &usual);
        open_account(g);
        say(g, 201, "replay-nonce: n\nlocation: " AT "order/1\n",
            ORDER_BODY("valid", ",\"certificate\":\"" AT "cert/1\""));
        go_on(g);
        cleanup_buf struct buf chain = BUF_INIT, key = BUF_INIT;
        acme_challenge_certificate("shop.test", "x", &chain, &key, NULL);
        cleanup_free char *other = certificate_for(g, "other.test");
        say(g, 200, "replay-nonce: n\n", i == 0 ? "no PEM" : i == 1 ? buf_str(&chain) : other);
        assert_int_equal(g->action.what, ACME_FAILED);
        assert_int_equal(acme_order_failure(g->order)->blame, ACME_NONSENSE);
        assert_null(acme_order_url(g->order)); /* it would be the same again */
        acme_order_free(g->order);
        g->order = NULL;
    }
}

static void keys(void **state)
{
    cleanup_buf struct buf pem = BUF_INIT;
    struct error err = ERROR_INIT;
    struct ground *g = *state;
    assert_int_equal(acme_key_write(g->account.key, &pem, &err), 0);
    EVP_PKEY *again = acme_key_read(pem.data, pem.len, &err);
    assert_int_equal(EVP_PKEY_eq(again, g->account.key), 1);
    EVP_PKEY_free(again);
    assert_null(acme_key_read("nothing", 7, &err));
    EVP_PKEY *rsa = EVP_RSA_gen(2048);
    buf_clear(&pem);
    assert_int_equal(acme_key_write(rsa, &pem, &err), 0);
    assert_null(acme_key_read(pem.data, pem.len, &err)); /* ES256 only */
    EVP_PKEY_free(rsa);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(the_whole_way),
        TEST(what_is_known_is_not_asked_again),
        TEST(the_way_that_is_preferred),
        TEST(where_only_one_way_is_open),
        TEST(an_order_of_an_earlier_process),
        TEST(an_order_that_is_gone),
        TEST(nonces_that_are_not_taken),
        TEST(an_account_that_the_ca_lost),
        TEST(limits_are_heeded),
        TEST(what_the_ca_could_not_see),
        TEST(an_invalid_order_is_not_gone_on_with),
        TEST(a_ca_that_moved),
        TEST(every_problem_has_words),
        TEST(a_ca_that_is_away),
        TEST(what_takes_too_long),
        TEST(a_wait_longer_than_the_order),
        TEST(answers_that_are_not_acme),
        TEST(urls_that_lead_elsewhere),
        TEST(tokens_that_are_none),
        TEST(header_fields_that_are_none),
        TEST(a_ca_that_leads_round_in_circles),
        TEST(certificates_that_are_of_no_use),
        TEST(keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
