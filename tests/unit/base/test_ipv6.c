/* IPv6 addresses in brackets. */
#include "base/ipv6.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void forms(void **state)
{
    (void)state;
    static const char *const good[][2] = {
        {"[::]", "[::]"},
        {"[::1]", "[::1]"},
        {"[0:0:0:0:0:0:0:1]", "[::1]"},
        {"[2001:DB8::0A]", "[2001:db8::a]"},
        {"[::ffff:192.0.2.1]", "[::ffff:192.0.2.1]"},
        {"[1111:2222:3333:4444:5555:6666:255.255.255.255]",
         "[1111:2222:3333:4444:5555:6666:ffff:ffff]"},
    };
    static const char *const bad[] = {
        "",
        "[]",
        "[:]",
        "::1",
        "[::1",
        "::1]",
        "[::1]x",
        "x[::1]",
        "[1.2.3.4]",
        "[::1%lo]",
        "[fe80::1%eth0]",
        "[12345::]",
        "[::1]:80",
        "[::1 ]",
        "[1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa:bbbb:cccc]",
    };
    char out[IPV6_LITERAL_MAX];
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_true(ipv6_literal(good[i][0], strlen(good[i][0]), out));
        assert_string_equal(out, good[i][1]);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (ipv6_literal(bad[i], strlen(bad[i]), out))
            fail_msg("taken: %s", bad[i]);
    assert_false(ipv6_literal("[::\0001]", 7, out));
    assert_true(ipv6_literal("[::1]:80", 5, out)); /* no more than it was told to look at */
    char self[IPV6_LITERAL_MAX] = "[0::0]";
    assert_true(ipv6_literal(self, 6, self)); /* in place */
    assert_string_equal(self, "[::]");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(forms)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
