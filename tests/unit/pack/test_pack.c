#include "ground.h"

#include "pack/pack_internal.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/un.h>

static void a_folder_without_git_is_taken_whole(void **state)
{
    const struct ground *g = *state;
    sh("cd %s && mkdir -p a/b .git/objects empty && echo 1 > a/b/c && echo 2 > .hidden && echo 3 > "
       "run"
       " && chmod 755 run && chmod 600 a/b/c && echo x > .git/config && touch 'with space\n'",
       g->source);
    struct pack_result r = must_pack(g);
    assert_false(r.git);
    assert_int_equal(r.files, 4);
    assert_int_equal(r.bytes, 6);
    assert_string_equal(r.commit, "");
    assert_string_equal(r.note, "");
    assert_int_equal(strlen(r.digest), 64);
    sh("cd %s && test -d empty -a ! -e .git -a \"$(cat a/b/c)\" = 1 -a -f \"$(printf 'with "
       "space\\nx')\""
       " || test -d empty -a ! -e .git",
       g->release);
    assert_int_equal(mode_of(g->release, "run"), 0755);
    assert_int_equal(mode_of(g->release, "a/b/c"), 0600);
    assert_int_equal(mode_of(g->release, "."), 0750);
}

static void the_digest_is_of_what_is_in_it(void **state)
{
    const struct ground *g = *state;
    char digests[6][65];
    static const char *const changes[] = {"mkdir d; echo 1 > d/x; echo 2 > y", "chmod +x y",
                                          "mv y z", "echo 3 > z", "ln -s z l"};
    for (int i = 0; i < 5; i++) {
        sh("cd %s && { %s; }", g->source, changes[i]);
        memcpy(digests[i], must_pack(g).digest, 65);
        must_remove(g->release);
        for (int k = 0; k < i; k++)
            assert_string_not_equal(digests[i], digests[k]);
    }
    /* The same, made in another order, at another time, with another umask: the same. */
    sh("cd %s && rm -rf * && umask 077 && ln -s z l && echo 3 > z && chmod +x z && mkdir d && "
       "echo 1 > d/x",
       g->source);
    assert_string_equal(must_pack(g).digest, digests[4]);
}

static void an_empty_source_is_said(void **state)
{
    const struct ground *g = *state;
    struct pack_result r = must_pack(g);
    assert_int_equal(r.files, 0);
    assert_non_null(strstr(r.note, "no files"));
}

static void links_that_stay_inside_are_kept(void **state)
{
    const struct ground *g = *state;
    sh("cd %s && mkdir -p a/b && echo 1 > f && ln -s ../../f a/b/up && ln -s a/b down && ln -s "
       "none "
       "dangling && ln -s . self && ln -s ./a/./b dots && ln -s .. a/parent",
       g->source);
    assert_int_equal(must_pack(g).files, 7);
    sh("cd %s && test $(cat down/up) = 1 && test \"$(readlink a/b/up)\" = ../../f && test -L "
       "dangling",
       g->release);
}

static void links_that_lead_out_are_refused_and_named(void **state)
{
    const struct ground *g = *state;
    static const char *const targets[] = {
        "/etc/passwd", "..", "../../etc/passwd", "down/../../x", "a/../f", "./../x", "//etc"};
    struct pack_spec spec = spec_of(g);
    sh("cd %s && mkdir -p a/b && ln -s a/b down", g->source);
    for (size_t i = 0; i < sizeof targets / sizeof targets[0]; i++) {
        sh("cd %s && ln -sfn '%s' bad", g->source, targets[i]);
        expect_refused(g, &spec, "bad -> ", targets[i]);
    }
    sh("cd %s && rm bad && ln -s ../../../x a/b/worse", g->source);
    expect_refused(g, &spec, "a/b/worse", "leads out");
}

static void special_files_are_refused_and_named(void **state)
{
    const struct ground *g = *state;
    struct pack_spec spec = spec_of(g);
    sh("mkdir %s/d && mkfifo %s/d/pipe", g->source, g->source);
    expect_refused(g, &spec, "d/pipe", "fifo");
    sh("rm %s/d/pipe", g->source);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s/d/sock", g->source);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    expect_refused(g, &spec, "d/sock", "socket");
    close(fd);
}

static void dangerous_bits_are_dropped(void **state)
{
    const struct ground *g = *state;
    sh("cd %s && mkdir d && echo 1 > f && echo 2 > d/s && chmod 6777 f && chmod 0066 d/s && "
       "chmod 1777 d",
       g->source);
    if (getuid() != 0)
        sh("chmod u+r %s/d/s", g->source);
    must_pack(g);
    assert_int_equal(mode_of(g->release, "f"), 0755);
    assert_int_equal(mode_of(g->release, "d"), 0755);
    assert_int_equal(mode_of(g->release, "d/s"), 0644);
}

static void sizes_are_bounded(void **state)
{
    const struct ground *g = *state;
    struct pack_spec spec = spec_of(g);
    sh("cd %s && mkdir d && head -c 3000 /dev/zero > d/big && head -c 2000 /dev/zero > small",
       g->source);
    spec.max_bytes = 4999;
    expect_refused(g, &spec, "larger than", "d/big alone has 3k");
    spec.max_bytes = 5000;
    spec.max_files = 2;
    expect_refused(g, &spec, "more than 2 files", ".gitignore");
    spec.max_files = 3;
    struct pack_result r;
    assert_int_equal(pack_with(&spec, &r, NULL), 0);
    assert_int_equal(r.bytes, 5000);
    must_remove(g->release);
    sh("truncate -s 1T %s/sparse", g->source); /* is not read to find out */
    spec.max_bytes = 0;
    spec.max_files = 0;
    expect_refused(g, &spec, "larger than 2Gi", "sparse alone has 1");
}

static void deep_folders_are_bounded(void **state)
{
    const struct ground *g = *state;
    struct pack_spec spec = spec_of(g);
    sh("cd %s && for i in $(seq 200); do mkdir d && cd d || exit 1; done && echo 1 > f", g->source);
    must_pack(g);
    must_remove(g->release);
    sh("cd %s && for i in $(seq 300); do mkdir e && cd e || exit 1; done", g->source);
    expect_refused(g, &spec, "nested deeper", "256");
}

static void wrong_sources_are_refused(void **state)
{
    const struct ground *g = *state;
    struct pack_spec spec = spec_of(g);
    spec.source = "/none/at/all";
    expect_refused(g, &spec, "/none/at/all", "no such folder");
    spec.source = "relative";
    expect_refused(g, &spec, "relative", "absolute");
    spec.source = "/etc/passwd";
    expect_refused(g, &spec, "/etc/passwd", "not a folder");
}

static void a_release_that_is_there_is_left_alone(void **state)
{
    const struct ground *g = *state;
    struct pack_spec spec = spec_of(g);
    struct error err = ERROR_INIT;
    sh("echo new > %s/f && mkdir %s && echo old > %s/f", g->source, g->release, g->release);
    assert_int_equal(pack_with(&spec, NULL, &err), -1);
    assert_int_equal(err.class, ERROR_CONFLICT);
    sh("test $(cat %s/f) = old", g->release);
}

static void what_an_earlier_try_left_is_replaced(void **state)
{
    const struct ground *g = *state;
    sh("echo new > %s/f && mkdir -p %s/half && echo old > %s/half/x && chmod 500 %s/half",
       g->source, g->tmp, g->tmp, g->tmp);
    must_pack(g);
    expect_files(g, "f");
}

/* ---- what changes while it is read
 * ------------------------------------------------------------------- */

struct open_listing {
    struct listing listing;
    struct identity id;
    int to;
};

static void look_at(const struct ground *g, struct open_listing *o)
{
    *o = (struct open_listing){.listing = {.source = g->source,
                                           .root = open(g->source, O_RDONLY | O_DIRECTORY),
                                           .max_bytes = 1 << 30,
                                           .max_files = 1000}};
    assert_int_equal(list_all(&o->listing, NULL), 0);
    list_sort(&o->listing);
    assert_int_equal(mkdir(g->tmp, 0700), 0);
    o->to = open(g->tmp, O_RDONLY | O_DIRECTORY);
}

static void expect_copy_fails(struct open_listing *o, const char *a, const char *b)
{
    struct error err = ERROR_INIT;
    struct pack_result r = {.files = 0};
    assert_int_equal(copy_listing(&o->listing, &o->id, o->to, &r, &err), -1);
    if (strstr(err.text, a) == NULL || strstr(err.text, b) == NULL)
        fail_msg("\"%s\" does not say \"%s\" and \"%s\"", err.text, a, b);
    close(o->to);
    close(o->listing.root);
    listing_release(&o->listing);
}

static void a_file_that_vanishes_is_named(void **state)
{
    const struct ground *g = *state;
    struct open_listing o;
    sh("mkdir %s/d && echo 1 > %s/d/f", g->source, g->source);
    look_at(g, &o);
    sh("rm %s/d/f", g->source);
    expect_copy_fails(&o, "d/f vanished", "deploy again");
}

static void a_file_that_became_a_link_is_not_followed(void **state)
{
    const struct ground *g = *state;
    struct open_listing o;
    sh("mkdir %s/d && echo 1 > %s/d/passwd", g->source, g->source);
    look_at(g, &o);
    sh("ln -sfn /etc/passwd %s/d/passwd", g->source);
    expect_copy_fails(&o, "d/passwd vanished", "");
}

static void a_folder_that_became_a_link_is_not_followed(void **state)
{
    const struct ground *g = *state;
    struct open_listing o;
    sh("mkdir %s/d && echo 1 > %s/d/passwd", g->source, g->source);
    look_at(g, &o);
    sh("rm -r %s/d && ln -s /etc %s/d", g->source, g->source);
    expect_copy_fails(&o, "d/passwd vanished", "");
    sh("test ! -s %s/d/passwd", g->tmp);
}

static void a_file_that_became_a_fifo_does_not_block(void **state)
{
    const struct ground *g = *state;
    struct open_listing o;
    sh("echo 1 > %s/f", g->source);
    look_at(g, &o);
    sh("rm %s/f && mkfifo %s/f", g->source, g->source);
    expect_copy_fails(&o, "f vanished", "");
}

struct scribbler {
    char path[128];
    atomic_bool stop;
};
static void *scribble(void *argument)
{
    struct scribbler *s = argument;
    int fd = open(s->path, O_WRONLY);
    for (unsigned i = 0; !atomic_load(&s->stop); i++)
        if (pwrite(fd, &i, sizeof i, (off_t)(i % 1000) * 4096) < 0)
            break;
    close(fd);
    return NULL;
}

static void a_file_that_is_written_all_the_time_is_an_error(void **state)
{
    const struct ground *g = *state;
    struct scribbler s = {.stop = false};
    pthread_t thread;
    snprintf(s.path, sizeof s.path, "%s/app.log", g->source);
    sh("head -c 8000000 /dev/zero > %s", s.path);
    assert_int_equal(pthread_create(&thread, NULL, scribble, &s), 0);
    struct pack_spec spec = spec_of(g);
    expect_refused(g, &spec, "app.log changed while it was read", ".gitignore");
    atomic_store(&s.stop, true);
    pthread_join(thread, NULL);
    must_pack(g);
}

/* ---- as root for others
 * -------------------------------------------------------------------------------- */

static void root_reads_as_the_caller_and_gives_to_the_owner(void **state)
{
    const struct ground *g = *state;
    struct pack_spec spec = spec_of(g);
    if (getuid() != 0)
        skip();
    spec.reader_uid = spec.reader_gid = 54321;
    spec.owner_uid = spec.owner_gid = 54322;
    sh("cd %s && mkdir d && echo 1 > d/f && ln -s d/f l && chown -hR 54321:54321 . && chmod 600 "
       "d/f",
       g->source);
    struct pack_result r;
    struct error err = ERROR_INIT;
    if (pack_with(&spec, &r, &err) < 0)
        fail_msg("%s", err.text);
    sh("test -z \"$(find %s ! -user 54322 -o ! -group 54322)\"", g->release);
    struct pack_job *job = pack_seal(g->release, 54322, 54322, NULL);
    assert_int_equal(pack_finish(job, NULL, NULL), 0);
    must_remove(g->release);

    sh("echo secret > %s/d/roots && chmod 600 %s/d/roots", g->source, g->source);
    expect_refused(g, &spec, "d/roots", "Permission denied");
    sh("rm %s/d/roots && mkdir -m 700 %s/closed", g->source, g->source);
    expect_refused(g, &spec, "closed", "Permission denied");
    sh("rmdir %s/closed && chmod 700 %s && chown root %s", g->source, g->top, g->top);
    expect_refused(g, &spec, g->source, "Permission denied");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_folder_without_git_is_taken_whole),
        TEST(the_digest_is_of_what_is_in_it),
        TEST(an_empty_source_is_said),
        TEST(links_that_stay_inside_are_kept),
        TEST(links_that_lead_out_are_refused_and_named),
        TEST(special_files_are_refused_and_named),
        TEST(dangerous_bits_are_dropped),
        TEST(sizes_are_bounded),
        TEST(deep_folders_are_bounded),
        TEST(wrong_sources_are_refused),
        TEST(a_release_that_is_there_is_left_alone),
        TEST(what_an_earlier_try_left_is_replaced),
        TEST(a_file_that_vanishes_is_named),
        TEST(a_file_that_became_a_link_is_not_followed),
        TEST(a_folder_that_became_a_link_is_not_followed),
        TEST(a_file_that_became_a_fifo_does_not_block),
        TEST(a_file_that_is_written_all_the_time_is_an_error),
        TEST(root_reads_as_the_caller_and_gives_to_the_owner),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
