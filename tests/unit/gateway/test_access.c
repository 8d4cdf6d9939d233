/* The escape of the access log: what comes out is a JSON string for any bytes, and says which they
 * were. */
#include "gateway/access.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

static void check(const char *in, size_t len, const char *want)
{
    char out[1024];
    char *end = access_escape(out, in, len);
    assert_int_equal(end - out, strlen(want));
    assert_memory_equal(out, want, strlen(want));
}

static void bytes_and_their_escapes(void **state)
{
    (void)state;
#define CHECK(in, want) check(in, sizeof(in) - 1, want)
    CHECK("", "");
    CHECK("/a/b-c_d.e~", "/a/b-c_d.e~");
    CHECK("a\"b\\c/d", "a\\\"b\\\\c/d");
    CHECK("\0\x01\x1f\n\r\t\x7f", "\\u0000\\u0001\\u001f\\u000a\\u000d\\u0009\\u007f");
    CHECK("\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80", "\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80");
    CHECK("\xc2\x9b[31m", "\\u009b[31m"); /* a control character that terminals obey */
    CHECK("\xc2\xa0", "\xc2\xa0");        /* the first that is none */
    CHECK("\xe9", "\\u00e9");             /* Latin-1 */
    CHECK("\xc3", "\\u00c3");             /* cut */
    CHECK("\xc0\xaf", "\\u00c0\\u00af");  /* too long a form */
    CHECK("\xe0\x80\xaf", "\\u00e0\\u0080\\u00af");
    CHECK("\xed\xa0\x80", "\\u00ed\\u00a0\\u0080"); /* a surrogate */
    CHECK("\xf4\x90\x80\x80", "\\u00f4\\u0090\\u0080\\u0080");
    CHECK("\xf5\x80\x80\x80", "\\u00f5\\u0080\\u0080\\u0080");
    CHECK("\x80\xbf\xff", "\\u0080\\u00bf\\u00ff");
#undef CHECK
}

/* By another reader of JSON: whatever the bytes, the text is one string, and no longer than said.
 */
static void any_bytes_are_a_json_string(void **state)
{
    (void)state;
    char in[64], out[6 * sizeof in + 4];
    srandom(1);
    for (int round = 0; round < 20000; round++) {
        size_t len = (size_t)random() % sizeof in;
        for (size_t i = 0; i < len; i++)
            in[i] = (char)(random() % 4 == 0 ? random() % 128 : random());
        out[0] = '"';
        char *end = access_escape(out + 1, in, len);
        assert_true((size_t)(end - out - 1) <= 6 * len);
        *end++ = '"';
        json_t *text = json_loadb(out, (size_t)(end - out), JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
        assert_true(json_is_string(text));
        json_decref(text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_and_their_escapes),
        cmocka_unit_test(any_bytes_are_a_json_string),
    };
    return cmocka_run_group_tests_name("gateway/access", tests, NULL, NULL);
}
