/* Who a client is: X-Forwarded-For as it may come, and whose address tells one client. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <arpa/inet.h>
#include <cmocka.h>

#include "gateway/address.h"

static void address_of(const char *text, uint8_t out[ADDRESS_BYTES])
{
    memcpy(out, (uint8_t[]){[10] = 0xff, [11] = 0xff}, 12);
    if (inet_pton(AF_INET, text, out + 12) != 1 && inet_pton(AF_INET6, text, out) != 1)
        fail_msg("%s", text);
}

/* Trusted are 10.0.0.0/8, 2001:db8:1::/48 and 198.51.100.7. fields: whole lines. NULL: nobody. */
static void expect(const char *fields, const char *expected)
{
    struct cidr trusted[] = {{{[10] = 0xff, [11] = 0xff, [12] = 10}, 96 + 8},
                             {{0x20, 0x01, 0x0d, 0xb8, 0, 1}, 48},
                             {{[10] = 0xff, 0xff, 198, 51, 100, 7}, 128}};
    char text[8192];
    struct http1_head head;
    int len = snprintf(text, sizeof text, "GET / HTTP/1.1\r\nHost: a\r\n%s\r\n", fields);
    assert_true(len > 0 && (size_t)len < sizeof text);
    assert_int_equal(http1_parse_request(text, (size_t)len, &head), HTTP1_OK);
    uint8_t found[ADDRESS_BYTES], wanted[ADDRESS_BYTES];
    bool any = address_forwarded(&head, text, trusted, 3, found);
    if (any != (expected != NULL))
        fail_msg("%s: %s", fields, any ? "an address" : "none");
    if (expected == NULL)
        return;
    address_of(expected, wanted);
    if (memcmp(found, wanted, sizeof found) != 0)
        fail_msg("%s is not %s", fields, expected);
}

#define XFF(value) "X-Forwarded-For: " value "\r\n"

static void the_rightmost_that_is_not_trusted_is_the_client(void **state)
{
    (void)state;
    expect(XFF("192.0.2.1"), "192.0.2.1");
    expect(XFF("6.6.6.6, 192.0.2.1"), "192.0.2.1");
    expect(XFF("6.6.6.6, 192.0.2.1, 10.1.2.3"), "192.0.2.1");
    expect(XFF("6.6.6.6,192.0.2.1\t,  198.51.100.7 , 2001:db8:1:2::3"), "192.0.2.1");
    expect(XFF("6.6.6.6, 198.51.100.8, 10.0.0.1"), "198.51.100.8");
    expect(XFF("10.0.0.9, 10.0.0.1"), "10.0.0.9"); /* somebody in the proxies' own network */
    expect(XFF("6.6.6.6") XFF("192.0.2.1") XFF("10.0.0.1"), "192.0.2.1");
    expect(XFF("192.0.2.1") XFF("") XFF("10.0.0.1"), "192.0.2.1");
    expect(XFF("192.0.2.1, , ,10.0.0.1,"), "192.0.2.1");
    expect(XFF("2001:db8::1"), "2001:db8::1");
    expect(XFF("::ffff:192.0.2.1"), "192.0.2.1");
}

static void ports_and_brackets_are_known(void **state)
{
    (void)state;
    expect(XFF("192.0.2.1:4711"), "192.0.2.1");
    expect(XFF("[2001:db8::1]"), "2001:db8::1");
    expect(XFF("192.0.2.1, [2001:db8:1::9]:443"), "192.0.2.1");
}

static void what_is_no_address_tells_nothing(void **state)
{
    (void)state;
    static const char *const hostile[] = {
        "",
        XFF(""),
        XFF(","),
        XFF(" , ,, "),
        XFF("unknown"),
        XFF("192.0.2.1, unknown"),
        XFF("192.0.2.1, _hidden, 10.0.0.1"),
        XFF("192.0.2.1.5"),
        XFF("192.0.2.256"),
        XFF("192.0.2"),
        XFF("192.0.2.1 6.6.6.6"),
        XFF("\"192.0.2.1\""),
        XFF("for=192.0.2.1"),
        XFF("[192.0.2.1"),
        XFF("[2001:db8::1"),
        XFF("[2001:db8::1]443"),
        XFF("2001:db8::1]"),
        XFF("[]"),
        XFF("[]:80"),
        XFF(":80"),
        XFF(":"),
        XFF("fe80::1%eth0"),
        XFF("2001:db8:::1"),
        XFF("1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa:bbbb:cccc:dddd:eeee:ffff:0000:1111"),
        "X_Forwarded_For: 192.0.2.1\r\n",
        "X-Forwarded_For: 192.0.2.1\r\n",
        "Forwarded: for=192.0.2.1\r\n",
    };
    for (size_t i = 0; i < sizeof hostile / sizeof hostile[0]; i++)
        expect(hostile[i], NULL);
    expect(XFF("unknown, 192.0.2.1"), "192.0.2.1"); /* nobody looks farther */
    expect("X_Forwarded_For: 6.6.6.6\r\n" XFF("192.0.2.1") "X_Forwarded_For: 6.6.6.6\r\n",
           "192.0.2.1");
}

static void long_lists_are_read_to_their_end(void **state)
{
    (void)state;
    char fields[8000];
    int len = snprintf(fields, sizeof fields, "X-Forwarded-For: 192.0.2.1");
    while (len < 7000)
        len += snprintf(fields + len, sizeof fields - (size_t)len, ",10.0.0.1,");
    snprintf(fields + len, sizeof fields - (size_t)len, "\r\n");
    expect(fields, "192.0.2.1");
}

static bool tells(const char *forwarded, const char *peer, bool trusted, const char *expected)
{
    uint8_t f[ADDRESS_BYTES], p[ADDRESS_BYTES], e[ADDRESS_BYTES];
    address_of(peer, p);
    if (forwarded != NULL)
        address_of(forwarded, f);
    const uint8_t *out = address_of_client(forwarded != NULL ? f : NULL, p, trusted);
    if (expected == NULL || out == NULL)
        return out == NULL && expected == NULL;
    address_of(expected, e);
    return memcmp(out, e, sizeof e) == 0;
}

static void a_client_is_told_by_what_is_its_own(void **state)
{
    (void)state;
    static const char *const shared[] = {"127.0.0.1",   "127.8.9.1",   "10.255.0.1",  "172.16.0.1",
                                         "172.31.9.9",  "192.168.1.1", "169.254.1.1", "100.64.0.1",
                                         "100.127.9.9", "0.0.0.0",     "::",          "::1",
                                         "fc00::1",     "fd12:3::4",   "fe80::1",     "febf::1"};
    static const char *const own[] = {"192.0.2.1",   "172.15.0.1",  "172.32.0.1",
                                      "100.63.0.1",  "100.128.0.1", "11.0.0.1",
                                      "2001:db8::1", "fec0::1",     "128.0.0.1"};
    for (size_t i = 0; i < sizeof shared / sizeof shared[0]; i++)
        if (!tells(NULL, shared[i], false, NULL))
            fail_msg("%s", shared[i]);
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++)
        if (!tells(NULL, own[i], false, own[i]))
            fail_msg("%s", own[i]);
    assert_true(tells(NULL, "192.0.2.1", true, NULL)); /* a proxy that names nobody */
    assert_true(tells("198.51.100.3", "192.0.2.1", true, "198.51.100.3"));
    assert_true(tells("10.0.0.3", "10.0.0.1", true, "10.0.0.3"));
    assert_true(tells("127.0.0.1", "10.0.0.1", true, NULL)); /* the proxy itself */
    assert_true(tells("::1", "10.0.0.1", true, NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_rightmost_that_is_not_trusted_is_the_client),
        cmocka_unit_test(ports_and_brackets_are_known),
        cmocka_unit_test(what_is_no_address_tells_nothing),
        cmocka_unit_test(long_lists_are_read_to_their_end),
        cmocka_unit_test(a_client_is_told_by_what_is_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
