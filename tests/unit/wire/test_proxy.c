/* The PROXY protocol's header. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <arpa/inet.h>
#include <cmocka.h>

#include "wire/proxy.h"

#define V2 "\r\n\r\n\0\r\nQUIT\n"

/* All beginnings of it need more bytes, and what follows does not matter. */
static void must_parse(const char *p, size_t len, struct proxy_header *h)
{
    char more[PROXY_MAX + 8];
    for (size_t k = 0; k < len; k++)
        assert_int_equal(proxy_parse(p, k, h), 0);
    assert_int_equal(proxy_parse(p, len, h), len);
    assert_true(len <= PROXY_MAX);
    memcpy(more, p, len);
    memcpy(more + len, "GET / HT", 8);
    assert_int_equal(proxy_parse(more, len + 8, h), len);
}

static void must_say(const struct proxy_header *h, const char *source, unsigned source_port,
                     const char *destination, unsigned destination_port)
{
    char text[INET6_ADDRSTRLEN];
    assert_false(h->local);
    assert_string_equal(inet_ntop(AF_INET6, h->source, text, sizeof text), source);
    assert_string_equal(inet_ntop(AF_INET6, h->destination, text, sizeof text), destination);
    assert_int_equal(h->source_port, source_port);
    assert_int_equal(h->destination_port, destination_port);
}

static void must_be_nobody(const struct proxy_header *h)
{
    struct proxy_header local = {.local = true};
    assert_memory_equal(h, &local, sizeof local);
}

static void version_1(void **state)
{
    (void)state;
    struct proxy_header h;
    static const char four[] = "PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n";
    must_parse(four, sizeof four - 1, &h);
    must_say(&h, "::ffff:192.0.2.1", 56324, "::ffff:198.51.100.7", 443);
    static const char six[] = "PROXY TCP6 2001:db8::1 ::1 0 65535\r\n";
    must_parse(six, sizeof six - 1, &h);
    must_say(&h, "2001:db8::1", 0, "::1", 65535);
    /* The longest that there is. */
    static const char longest[] = "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
                                  "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n";
    must_parse(longest, sizeof longest - 1, &h);
    static const char *const unknown[] = {
        "PROXY UNKNOWN\r\n",
        "PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n",
    };
    for (size_t i = 0; i < 2; i++) {
        must_parse(unknown[i], strlen(unknown[i]), &h);
        must_be_nobody(&h);
    }
}

static void what_is_no_version_1(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "GET / HTTP/1.1\r\n",
        "proxy TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY\r\n",
        "PROXY \r\n",
        "PROXY  TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY TCP5 192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY TCP44 192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY UNKNOWNS\r\n",
        "PROXY UNKNOWN\n",
        "PROXY TCP4\r\n",
        "PROXY TCP4 192.0.2.1\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 2 \r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1  2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 99999\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 100000\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 -1 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 \r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r3\r\n",
        "PROXY TCP4 192.0.2.256 192.0.2.2 1 2\r\n",
        "PROXY TCP4 192.0.2 192.0.2.2 1 2\r\n",
        "PROXY TCP4 192.0.2.01 192.0.2.2 1 2\r\n",
        "PROXY TCP4 2001:db8::1 ::1 1 2\r\n",
        "PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY TCP6 [::1] ::1 1 2\r\n",
        "PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n",
        "PROXY TCP4 localhost 192.0.2.2 1 2\r\n",
    };
    struct proxy_header h, zero = {.local = false};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        if (proxy_parse(bad[i], strlen(bad[i]), &h) != -1)
            fail_msg("%s", bad[i]);
        assert_memory_equal(&h, &zero, sizeof h);
    }
    static const char with_nul[] = "PROXY TCP4 192.0.2.1\0 192.0.2.2 1 2\r\n";
    assert_int_equal(proxy_parse(with_nul, sizeof with_nul - 1, &h), -1);
    /* A line without an end. */
    char line[PROXY_V1_MAX + 1];
    memset(line, 'x', sizeof line);
    memcpy(line, "PROXY UNKNOWN ", 14);
    assert_int_equal(proxy_parse(line, PROXY_V1_MAX - 1, &h), 0);
    assert_int_equal(proxy_parse(line, PROXY_V1_MAX, &h), -1);
    memcpy(line + PROXY_V1_MAX - 1, "\r\n", 2);
    assert_int_equal(proxy_parse(line, PROXY_V1_MAX + 1, &h), -1);
}

static void what_cannot_become_one_is_not_waited_for(void **state)
{
    (void)state;
    struct proxy_header h;
    assert_int_equal(proxy_parse("", 0, &h), 0);
    assert_int_equal(proxy_parse("G", 1, &h), -1);
    assert_int_equal(proxy_parse("PROXX", 5, &h), -1);
    assert_int_equal(proxy_parse("\x16\x03\x01", 3, &h), -1); /* a TLS hello */
    assert_int_equal(proxy_parse("\r\n\r\nG", 5, &h), -1);
    assert_int_equal(proxy_parse(V2 "\x31", 13, &h), -1);
}

static void version_2(void **state)
{
    (void)state;
    struct proxy_header h;
    static const char four[] = V2 "\x21\x11\0\x0c\xc0\0\x02\x01\xc6\x33\x64\x07\xdc\x04\x01\xbb";
    must_parse(four, sizeof four - 1, &h);
    must_say(&h, "::ffff:192.0.2.1", 56324, "::ffff:198.51.100.7", 443);
    static const char six[] = V2 "\x21\x21\0\x24"
                                 "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01"
                                 "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x02"
                                 "\0\x01\xff\xff";
    must_parse(six, sizeof six - 1, &h);
    must_say(&h, "2001:db8::1", 1, "::2", 65535);
}

static void version_2_about_nobody(void **state)
{
    (void)state;
    struct proxy_header h;
    static const char local[] = V2 "\x20\x11\0\x03xyz"; /* what is in it is not looked at */
    static const char unspec[] = V2 "\x21\0\0\0";
    static const char udp[] = V2 "\x21\x12\0\x0c\1\2\3\4\5\6\7\x08\x09\x0a\x0b\x0c";
    char unix_socket[16 + 216] = V2 "\x21\x31\0\xd8";
    must_parse(local, sizeof local - 1, &h);
    must_be_nobody(&h);
    must_parse(unspec, sizeof unspec - 1, &h);
    must_be_nobody(&h);
    must_parse(udp, sizeof udp - 1, &h);
    must_be_nobody(&h);
    must_parse(unix_socket, sizeof unix_socket, &h);
    must_be_nobody(&h);
}

/* IPv4 and these many bytes behind the addresses. */
static ssize_t with_tail(const char *tail, size_t len)
{
    char p[PROXY_MAX + 64] = V2 "\x21\x11";
    struct proxy_header h;
    size_t rest = 12 + len;
    p[14] = (char)(rest >> 8);
    p[15] = (char)rest;
    memcpy(p + 28, tail, len);
    return proxy_parse(p, 16 + rest, &h);
}

static void tlvs_are_skipped(void **state)
{
    (void)state;
    static const char good[] = "\x01\0\x02h2\x04\0\0\xea\0\x03xyz";
    assert_int_equal(with_tail(good, sizeof good - 1), 28 + sizeof good - 1);
    for (size_t cut = 1; cut < sizeof good - 1; cut++)
        assert_int_equal(with_tail(good, cut) > 0, cut == 5 || cut == 8);
    static char most[PROXY_MAX];
    most[1] = (char)((PROXY_MAX - 28 - 3) >> 8);
    most[2] = (char)(PROXY_MAX - 28 - 3);
    assert_int_equal(with_tail(most, PROXY_MAX - 28), PROXY_MAX);
    most[2]++;
    assert_int_equal(with_tail(most, PROXY_MAX - 27), -1);
}

static void what_is_no_version_2(void **state)
{
    (void)state;
    static const char *const bad[] = {
        V2 "\x22\x11\0\x0c............", /* command */
        V2 "\x11\x11\0\x0c............", /* version */
        V2 "\x21\x41\0\x0c............", /* family */
        V2 "\x21\x13\0\x0c............", /* transport */
        V2 "\x21\x11\0\x0b............", /* too short for its addresses */
        V2 "\x21\x21\0\x0c............",
        V2 "\x21\x11\xff\xff............", /* too long for anybody */
    };
    struct proxy_header h;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(proxy_parse(bad[i], 28, &h), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(version_1),
        cmocka_unit_test(what_is_no_version_1),
        cmocka_unit_test(what_cannot_become_one_is_not_waited_for),
        cmocka_unit_test(version_2),
        cmocka_unit_test(version_2_about_nobody),
        cmocka_unit_test(tlvs_are_skipped),
        cmocka_unit_test(what_is_no_version_2),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
