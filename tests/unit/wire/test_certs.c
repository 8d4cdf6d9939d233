#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "wire/certs.h"

static void as_it_was(void **state)
{
    (void)state;
    const struct cert certs[] = {
        {.name = "a", .name_len = 1, .chain = "one", .chain_len = 3, .key = "1", .key_len = 1},
        {.name = "bb", .name_len = 2, .chain = "", .chain_len = 0, .key = "two", .key_len = 3},
        {.kind = CERT_TLS_ALPN_01,
         .name = "host",
         .name_len = 4,
         .chain = "token",
         .chain_len = 5,
         .key = "token.print",
         .key_len = 11},
        {.kind = CERT_TRUST,
         .name = "client",
         .name_len = 6,
         .chain = "ca",
         .chain_len = 2,
         .key = "",
         .key_len = 0},
    };
    cleanup_buf struct buf out = BUF_INIT;
    certs_encode(certs, 4, &out);
    size_t len = 0;
    struct cert *back = certs_decode(out.data, out.len, &len, NULL);
    assert_non_null(back);
    assert_int_equal(len, 4);
    for (size_t i = 0; i < len; i++) {
        assert_int_equal(back[i].kind, certs[i].kind);
        assert_int_equal(back[i].name_len, certs[i].name_len);
        assert_int_equal(back[i].chain_len, certs[i].chain_len);
        assert_int_equal(back[i].key_len, certs[i].key_len);
        assert_memory_equal(back[i].name, certs[i].name, certs[i].name_len);
        assert_memory_equal(back[i].key, certs[i].key, certs[i].key_len);
    }
    free(back);
}

static void none(void **state)
{
    (void)state;
    cleanup_buf struct buf out = BUF_INIT;
    certs_encode(NULL, 0, &out);
    size_t len = 7;
    struct cert *back = certs_decode(out.data, out.len, &len, NULL);
    assert_non_null(back);
    assert_int_equal(len, 0);
    free(back);
}

/* Each cut, each byte behind it, each number that is too large. */
static void what_is_not_whole_is_refused(void **state)
{
    (void)state;
    const struct cert cert = {
        .name = "a", .name_len = 1, .chain = "one", .chain_len = 3, .key = "1", .key_len = 1};
    cleanup_buf struct buf out = BUF_INIT;
    certs_encode(&cert, 1, &out);
    size_t len;
    for (size_t n = 0; n < out.len; n++) {
        struct error err = ERROR_INIT;
        assert_null(certs_decode(out.data, n, &len, &err));
        assert_int_equal(err.class, ERROR_USAGE);
    }
    for (size_t i = 4; i < 24; i++) { /* the count, the kind and the three lengths */
        char saved = out.data[i];
        out.data[i] = (char)0xff;
        assert_null(certs_decode(out.data, out.len, &len, NULL));
        out.data[i] = saved;
    }
    buf_putc(&out, 'x');
    assert_null(certs_decode(out.data, out.len, &len, NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_it_was),
        cmocka_unit_test(none),
        cmocka_unit_test(what_is_not_whole_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
