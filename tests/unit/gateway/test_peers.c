/* Connections of each client. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <arpa/inet.h>
#include <cmocka.h>

#include "gateway/peers.h"

static struct peer *enter(struct peers *p, const char *text)
{
    uint8_t address[ADDRESS_BYTES] = {[10] = 0xff, [11] = 0xff};
    if (inet_pton(AF_INET, text, address + 12) != 1)
        assert_int_equal(inet_pton(AF_INET6, text, address), 1);
    return peers_enter(p, address);
}

static void so_many_each(void **state)
{
    (void)state;
    struct peers *p = peers_new(2);
    struct peer *a = enter(p, "192.0.2.1"), *b = enter(p, "192.0.2.1");
    assert_non_null(a);
    assert_non_null(b);
    assert_null(enter(p, "192.0.2.1"));
    assert_null(enter(p, "::ffff:192.0.2.1"));
    struct peer *other = enter(p, "192.0.2.2");
    assert_non_null(other);
    /* One goes, one may come. */
    peers_leave(p, a);
    assert_non_null(enter(p, "192.0.2.1"));
    assert_null(enter(p, "192.0.2.1"));
    peers_leave(p, other);
    peers_free(p); /* also with those that are still there */
}

static void networks_of_ipv6(void **state)
{
    (void)state;
    struct peers *p = peers_new(1);
    assert_non_null(enter(p, "2001:db8:0:1::1"));
    assert_null(enter(p, "2001:db8:0:1:ffff:ffff:ffff:ffff"));
    assert_non_null(enter(p, "2001:db8:0:2::1"));
    peers_free(p);
}

static void many_clients(void **state)
{
    (void)state;
    enum { MANY = 50000 };
    static struct peer *all[MANY];
    struct peers *p = peers_new(1);
    uint8_t address[ADDRESS_BYTES] = {[10] = 0xff, [11] = 0xff};
    for (int round = 0; round < 2; round++) {
        for (uint32_t i = 0; i < MANY; i++) {
            memcpy(address + 12, &i, 4);
            all[i] = peers_enter(p, address);
            assert_non_null(all[i]);
            assert_null(peers_enter(p, address));
        }
        for (uint32_t i = 0; i < MANY; i++)
            peers_leave(p, all[(i * 7919) % MANY]);
    }
    peers_free(p);
}

enum { WORKERS = 4, ROUNDS = 20000, MOST = 3 };

static void *come_and_go(void *arg)
{
    struct peers *p = arg;
    uint8_t address[ADDRESS_BYTES] = {[10] = 0xff, [11] = 0xff};
    size_t in = 0;
    for (uint32_t i = 0; i < ROUNDS; i++) {
        address[15] = (uint8_t)(i % 3);
        struct peer *peer = peers_enter(p, address);
        if (peer != NULL) {
            in++;
            peers_leave(p, peer);
        }
    }
    return (void *)in;
}

static void workers_together(void **state)
{
    (void)state;
    struct peers *p = peers_new(MOST);
    pthread_t threads[WORKERS];
    for (int i = 0; i < WORKERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, come_and_go, p), 0);
    for (int i = 0; i < WORKERS; i++) {
        void *in;
        pthread_join(threads[i], &in);
        assert_true((size_t)in > 0);
    }
    /* Nobody is left: all may come again, and no more than that. */
    for (int i = 0; i < MOST; i++)
        assert_non_null(enter(p, "0.0.0.0"));
    assert_null(enter(p, "0.0.0.0"));
    peers_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(so_many_each),
        cmocka_unit_test(networks_of_ipv6),
        cmocka_unit_test(many_clients),
        cmocka_unit_test(workers_together),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
