/* Messages between the controller and its fetch helper: whole, in pieces, and broken. */
#include "wire/fetchctl.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void messages_come_back_as_they_were(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    fetchctl_write(&(struct fetchctl_message){.kind = FETCHCTL_POST_FORM,
                                              .id = 7,
                                              .number = 10000,
                                              .url = "http://h/x",
                                              .fields = "retry-after: 3\n",
                                              .body = "a\0b",
                                              .body_len = 3},
                   &b);
    fetchctl_write(&(struct fetchctl_message){.kind = FETCHCTL_CANCEL, .id = UINT64_MAX}, &b);
    struct fetchctl_message m;
    size_t used = 0;
    struct error err = ERROR_INIT;
    assert_int_equal(fetchctl_read(b.data, b.len, &m, &used, &err), 1);
    assert_int_equal(m.kind, FETCHCTL_POST_FORM);
    assert_int_equal(m.id, 7);
    assert_int_equal(m.number, 10000);
    assert_string_equal(m.url, "http://h/x");
    assert_string_equal(m.fields, "retry-after: 3\n");
    assert_int_equal(m.body_len, 3);
    assert_memory_equal(m.body, "a\0b", 4);
    buf_consume(&b, used);
    assert_int_equal(fetchctl_read(b.data, b.len, &m, &used, &err), 1);
    assert_int_equal(m.kind, FETCHCTL_CANCEL);
    assert_true(m.id == UINT64_MAX);
    assert_string_equal(m.url, "");
    assert_int_equal(used, b.len);
    buf_release(&b);
}

static void a_part_is_not_a_message_yet(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    fetchctl_write(
        &(struct fetchctl_message){
            .kind = FETCHCTL_ANSWER, .id = 1, .number = 200, .body = "hello", .body_len = 5},
        &b);
    struct fetchctl_message m;
    size_t used;
    for (size_t len = 0; len < b.len; len++) {
        char *exact = test_malloc(len + 1); /* so that a sanitizer sees a step too far */
        memcpy(exact, b.data, len);
        assert_int_equal(fetchctl_read(exact, len, &m, &used, NULL), 0);
        test_free(exact);
    }
    buf_release(&b);
}

static void what_is_broken_is_refused(void **state)
{
    (void)state;
    static const struct {
        size_t at;
        uint32_t value;
    } faults[] = {
        {0, FETCHCTL_KINDS_COUNT},     /* kind */
        {16, FETCHCTL_URL_MAX + 1},    /* length of the URL */
        {20, FETCHCTL_FIELDS_MAX + 1}, /* length of the fields */
        {24, FETCHCTL_BODY_MAX + 1},   /* length of the body */
        {16, 3},                       /* a NUL is not where it should be */
        {24, 0},                       /* the same, behind the body */
        {32, 0},                       /* a NUL in the URL */
        {44, 0},                       /* a NUL in the fields */
    };
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        struct buf b = BUF_INIT;
        struct fetchctl_message m = {.kind = FETCHCTL_POST_JSON,
                                     .url = "http://h/x",
                                     .fields = "location: x\n",
                                     .body = "{}",
                                     .body_len = 2};
        size_t used;
        struct error err = ERROR_INIT;
        fetchctl_write(&m, &b);
        buf_append(&b, "tail of another message", 23);
        memcpy(b.data + faults[i].at, &faults[i].value, sizeof faults[i].value);
        assert_int_equal(fetchctl_read(b.data, b.len, &m, &used, &err), -1);
        assert_int_equal(err.class, ERROR_USAGE);
        buf_release(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_come_back_as_they_were),
        cmocka_unit_test(a_part_is_not_a_message_yet),
        cmocka_unit_test(what_is_broken_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
