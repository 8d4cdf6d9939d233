#include "base/alloc.h"
#include "base/buf.h"
#include "base/vec.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void empty_is_an_empty_string(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    assert_string_equal(buf_str(&b), "");
    buf_clear(&b);
    buf_consume(&b, 0);
    buf_append(&b, NULL, 0);
    assert_string_equal(b.data, "");
    buf_release(&b);
    assert_null(b.data);
    char *s = buf_detach(&b);
    assert_string_equal(s, "");
    free(s);
}

static void it_grows_and_stays_terminated(void **state)
{
    (void)state;
    cleanup_buf struct buf b = BUF_INIT;
    for (int i = 0; i < 10000; i++) {
        buf_putc(&b, (char)('a' + i % 26));
        assert_int_equal(b.data[b.len], '\0');
    }
    assert_int_equal(b.len, 10000);
    for (int i = 0; i < 10000; i++)
        assert_int_equal(b.data[i], 'a' + i % 26);
    buf_append(&b, "\0x", 2); /* any byte */
    assert_int_equal(b.len, 10002);
    buf_consume(&b, 10000);
    assert_memory_equal(b.data, "\0x", 3);
}

static void printf_of_any_length(void **state)
{
    (void)state;
    for (int len = 0; len < 300; len++) { /* across each edge of the first growths */
        cleanup_buf struct buf b = BUF_INIT;
        buf_puts(&b, "<");
        buf_printf(&b, "%*s", len, "");
        buf_puts(&b, ">");
        assert_int_equal(b.len, len + 2);
        assert_int_equal(b.data[len + 1], '>');
        assert_int_equal(strlen(b.data), b.len);
    }
    cleanup_buf struct buf big = BUF_INIT;
    buf_printf(&big, "%0100000d", 7);
    assert_int_equal(big.len, 100000);
    assert_int_equal(big.data[99999], '7');
}

static void consume_and_detach(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    buf_puts(&b, "hello world");
    buf_consume(&b, 6);
    assert_string_equal(buf_str(&b), "world");
    buf_consume(&b, 5);
    assert_string_equal(buf_str(&b), "");
    buf_puts(&b, "again");
    char *s = buf_detach(&b);
    assert_string_equal(s, "again");
    assert_null(b.data);
    assert_int_equal(b.len, 0);
    free(s);
}

static void json_escapes(void **state)
{
    (void)state;
    static const struct {
        const char *in;
        size_t len;
        const char *out;
    } cases[] = {
        {"", 0, ""},
        {"plain", 5, "plain"},
        {"\"\\/", 3, "\\\"\\\\/"},
        {"\n\r\t\b\x01\x1f\x7f", 7, "\\n\\r\\t\\u0008\\u0001\\u001f\\u007f"},
        {"\0x", 2, "\\u0000x"},
        {"é€😀", 9, "é€😀"},
        {"\xff"
         "a",
         2,
         "\xEF\xBF\xBD"
         "a"},
        {"\xc3", 1, "\xEF\xBF\xBD"},                                 /* cut */
        {"\xc0\xaf", 2, "\xEF\xBF\xBD\xEF\xBF\xBD"},                 /* overlong */
        {"\xed\xa0\x80", 3, "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"}, /* a surrogate */
        {"\xf4\x90\x80\x80", 4, "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        cleanup_buf struct buf b = BUF_INIT;
        cleanup_free char *exact = xmalloc(cases[i].len); /* a sanitizer sees a read behind it */
        memcpy(exact, cases[i].in, cases[i].len);
        buf_json_escape(&b, exact, cases[i].len);
        assert_string_equal(buf_str(&b), cases[i].out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(empty_is_an_empty_string),
        cmocka_unit_test(it_grows_and_stays_terminated),
        cmocka_unit_test(printf_of_any_length),
        cmocka_unit_test(consume_and_detach),
        cmocka_unit_test(json_escapes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
