#include "api/query.h"
#include "api/request.h"
#include "api/server.h"
#include "api/token.h"

#include "base/alloc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "fake_control.c"

#include <cmocka.h>

static void escapes_are_decoded(void **state)
{
    (void)state;
    cleanup_buf struct buf out = BUF_INIT;
    assert_int_equal(percent_decode("a%20b%c3%A9+c", 13, false, &out), 0);
    assert_string_equal(buf_str(&out), "a b\xc3\xa9+c");
    buf_clear(&out);
    assert_int_equal(percent_decode("a+b", 3, true, &out), 0);
    assert_string_equal(buf_str(&out), "a b");
    static const char *const bad[] = {"%", "%2", "%zz", "a%0", "%00", "%0a", "%7f", "a\nb"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(percent_decode(bad[i], strlen(bad[i]), false, &out), -1);
}

static void parameters_are_known_or_refused(void **state)
{
    (void)state;
    struct query q;
    struct error err = ERROR_INIT;
    const char *text = "limit=5&&app=a%26b&after";
    assert_int_equal(query_parse(&q, text, strlen(text), "app,limit,after", &err), 0);
    assert_string_equal(query_get(&q, "limit"), "5");
    assert_string_equal(query_get(&q, "app"), "a&b");
    assert_string_equal(query_get(&q, "after"), "");
    assert_null(query_get(&q, "lim"));
    query_release(&q);
    assert_int_equal(query_parse(&q, "limt=5", 6, "limit", &err), -1);
    assert_non_null(strstr(err.text, "limt"));
    assert_int_equal(query_parse(&q, "a=1&a=2", 7, "a", &err), -1);
    assert_int_equal(query_parse(&q, "=1", 2, "a", &err), -1);
    assert_int_equal(query_parse(&q, "a=%", 3, "a", &err), -1);
    assert_int_equal(query_parse(&q, "", 0, "", &err), 0);
}

static const struct route *find(const char *method, const char *path, char **app,
                                struct buf *allowed)
{
    buf_clear(allowed);
    free(*app);
    return route_find(method, path, strlen(path), app, allowed);
}

static void routes_are_found(void **state)
{
    (void)state;
    char *app = NULL;
    cleanup_buf struct buf allowed = BUF_INIT;
    assert_string_equal(find("GET", "/v1/apps", &app, &allowed)->pattern, "/v1/apps");
    assert_string_equal(find("HEAD", "/v1/apps/sh%6fp", &app, &allowed)->pattern, "/v1/apps/{app}");
    assert_string_equal(app, "shop");
    assert_int_equal(find("POST", "/v1/apps/shop/pause", &app, &allowed)->argument, COMMAND_PAUSE);
    assert_null(find("GET", "/v1/apps/shop/pause", &app, &allowed));
    assert_string_equal(buf_str(&allowed), "POST");
    assert_null(find("PUT", "/v1/apps/shop", &app, &allowed));
    assert_string_equal(buf_str(&allowed), "GET, HEAD, DELETE");
    static const char *const none[] = {
        "/", "/v1/apps/",   "/v1/apps//logs", "/v1/apps/a/b/c", "/v1/appsx",
        "*", "/v1/apps/a/", "/metrics/",      "/v1/apps/%0a"};
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++)
        assert_null(find("GET", none[i], &app, &allowed));
    free(app);
}

static void a_token_is_made_once_and_kept_secret(void **state)
{
    (void)state;
    char dir[] = "/tmp/sluice-token-XXXXXX", path[100], text[200];
    struct server s = {0};
    char again[TOKEN_HEX + 1];
    struct error err = ERROR_INIT;
    struct stat st;
    assert_non_null(mkdtemp(dir));
    assert_int_equal(token_load(dir, s.token, &err), 0);
    assert_int_equal(strlen(s.token), TOKEN_HEX);
    assert_int_equal(token_load(dir, again, &err), 0);
    assert_string_equal(s.token, again);
    snprintf(path, sizeof path, "%s/api-token", dir);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    snprintf(text, sizeof text, "Bearer %s", s.token);
    assert_true(server_token_matches(&s, text, strlen(text)));
    text[20] ^= 1;
    assert_false(server_token_matches(&s, text, strlen(text)));
    assert_false(server_token_matches(&s, "Bearer ", 7));
    assert_false(server_token_matches(&s, "", 0));
    struct server none = {0};
    assert_false(server_token_matches(&none, "Bearer ", 7));
    FILE *f = fopen(path, "w");
    fputs("short\n", f);
    fclose(f);
    assert_int_equal(token_load(dir, again, &err), -1);
    assert_null(strstr(err.text, "short"));
    unlink(path);
    rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(escapes_are_decoded),
        cmocka_unit_test(parameters_are_known_or_refused),
        cmocka_unit_test(routes_are_found),
        cmocka_unit_test(a_token_is_made_once_and_kept_secret),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
