#include "ground.h"

#define GIT "git -c user.name=Ada -c user.email=ada@example.org -c init.defaultBranch=main "

static void commit_all(const char *dir)
{
    sh("cd %s && " GIT "add -A && " GIT "commit -qm x", dir);
}

static void what_git_ignores_is_left_out(void **state)
{
    const struct ground *g = *state;
    sh("cd %s && " GIT
       "init -q . && mkdir -p src logs node_modules/x && printf 'logs/\\nnode_modules\\n"
       "*.o\\n' > .gitignore && echo 1 > src/a.c && touch src/a.o logs/l node_modules/x/y gone && "
       "chmod +x src/a.c",
       g->source);
    commit_all(g->source);
    struct pack_result r = must_pack(g);
    expect_files(g, ".gitignore gone src src/a.c");
    assert_true(r.git);
    assert_false(r.dirty);
    assert_string_equal(r.branch, "main");
    assert_string_equal(r.author, "Ada <ada@example.org>");
    assert_int_equal(strlen(r.commit), 40);
    assert_in_range(strlen(r.short_commit), 7, 12);
    assert_memory_equal(r.commit, r.short_commit, strlen(r.short_commit));
    must_remove(g->release);

    /* Not committed, deleted, and a name that git would quote. */
    sh("cd %s && rm gone && echo 2 > 'n\303\244w \"file\"' && rm -r src && ln -s /etc src",
       g->source);
    struct pack_spec spec = spec_of(g);
    expect_refused(g, &spec, "src -> /etc", "leads out"); /* a folder that became a link */
    sh("rm %s/src", g->source);
    r = must_pack(g);
    assert_true(r.dirty);
    expect_files(g, ".gitignore n\303\244w \"file\"");
}

static void below_the_top_only_the_folder_counts(void **state)
{
    const struct ground *g = *state;
    sh("cd %s && " GIT "init -q . && mkdir -p apps/shop other && echo '*.log' > .gitignore && "
       "echo 1 > apps/shop/a && touch apps/shop/x.log && echo 2 > other/b",
       g->source);
    commit_all(g->source);
    sh("echo 3 > %s/other/dirty && cd %s && " GIT "checkout -q --detach", g->source, g->source);
    char below[160];
    snprintf(below, sizeof below, "%s/apps/shop", g->source);
    struct pack_spec spec = spec_of(g);
    spec.source = below;
    struct pack_result r;
    assert_int_equal(pack_with(&spec, &r, NULL), 0);
    expect_files(g, "a");
    assert_true(r.git);
    assert_false(r.dirty);             /* what is dirty is elsewhere */
    assert_string_equal(r.branch, ""); /* detached */
}

static void a_folder_that_the_repository_around_it_ignores_is_taken_whole(void **state)
{
    const struct ground *g = *state;
    sh("cd %s && " GIT "init -q . && echo build > .gitignore && mkdir -p build/demo && echo 1 > "
       "build/demo/a",
       g->source);
    commit_all(g->source);
    char below[160];
    snprintf(below, sizeof below, "%s/build/demo", g->source);
    struct pack_spec spec = spec_of(g);
    spec.source = below;
    struct pack_result r;
    assert_int_equal(pack_with(&spec, &r, NULL), 0);
    expect_files(g, "a");
    assert_false(r.git);
    assert_non_null(strstr(r.note, "ignored"));
}

static void before_the_first_commit(void **state)
{
    const struct ground *g = *state;
    sh("cd %s && " GIT "init -q . && echo 1 > a", g->source);
    struct pack_result r = must_pack(g);
    assert_true(r.git);
    assert_true(r.dirty);
    assert_string_equal(r.commit, "");
    assert_string_equal(r.short_commit, "");
    expect_files(g, "a");
}

static void repositories_inside_are_taken_with_their_own_rules(void **state)
{
    const struct ground *g = *state;
    sh("cd %s && mkdir lib && cd lib && " GIT
       "init -q . && echo '*.o' > .gitignore && touch a.c a.o",
       g->top);
    char lib[160];
    snprintf(lib, sizeof lib, "%s/lib", g->top);
    commit_all(lib);
    sh("cd %s && " GIT "init -q . && " GIT
       "-c protocol.file.allow=always submodule add -q %s vendor && "
       "cp -r %s untracked && touch vendor/b.o untracked/b.o vendor/new",
       g->source, lib, lib);
    commit_all(g->source);
    must_pack(g);
    expect_files(g, ".gitmodules untracked untracked/.gitignore untracked/a.c vendor "
                    "vendor/.gitignore vendor/a.c vendor/new");
    must_remove(g->release);
    sh("rm -rf %s/vendor && mkdir %s/vendor", g->source, g->source); /* never fetched */
    must_pack(g);
    expect_files(g, ".gitmodules untracked untracked/.gitignore untracked/a.c vendor");
}

static void the_index_with_a_conflict_lists_a_file_once(void **state)
{
    const struct ground *g = *state;
    sh("cd %s && " GIT "init -q . && echo 1 > a", g->source);
    commit_all(g->source);
    sh("cd %s && " GIT "checkout -qb other && echo 2 > a && " GIT "commit -qam y && " GIT
       "checkout -q main && echo 3 > a && " GIT "commit -qam z && { " GIT
       "merge -q other >/dev/null 2>&1; true; }",
       g->source);
    assert_int_equal(must_pack(g).files, 1);
}

/* ---- git that lies, fails, is not there: a program of that name first in PATH
 * -------------------------- */

static void fake_git(const struct ground *g, const char *list)
{
    sh("cd %s && mkdir -p bin .git && cat > bin/git <<'END'\n#!/bin/sh\n"
       "case \"$*\" in\n*rev-parse*) echo true;;\n*check-ignore*) exit 1;;\n*ls-files*) "
       "%s;;\nesac\nEND\n"
       "chmod +x bin/git",
       g->top, list);
}

static void with_fake_git(const struct ground *g, void (*body)(const struct ground *g))
{
    const char *path = getenv("PATH");
    cleanup_free char *before = xstrdup(path);
    cleanup_free char *with = xasprintf("%s/bin:%s", g->top, path);
    setenv("PATH", with, 1);
    body(g);
    setenv("PATH", before, 1);
}

static void a_list_that_leads_out(const struct ground *g)
{
    static const char *const lists[] = {"../secret", "/etc/passwd", "a/../../secret", "./a", "a//b",
                                        "..",        "a/.."};
    struct pack_spec spec = spec_of(g);
    sh("echo s > %s/secret && mkdir %s/a && echo 1 > %s/a/b", g->top, g->source, g->source);
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) {
        char list[64];
        snprintf(list, sizeof list, "printf '%s\\0'", lists[i]);
        fake_git(g, list);
        expect_refused(g, &spec, "is no path", lists[i]);
    }
    sh("mkdir %s/.git && ln -s ../bin %s/link && rm %s/link && ln -s a %s/link", g->source,
       g->source, g->source, g->source);
    fake_git(g, "printf 'a/b\\0link/b\\0.git/config\\0a/.git/x\\0none\\0a/b/c\\0'");
    must_pack(g); /* through a link, in .git, not there: left out */
    expect_files(g, "a a/b");
}

static void git_that_fails(const struct ground *g)
{
    struct pack_spec spec = spec_of(g);
    fake_git(g, "printf 'a\\0'; echo 'fatal: index file corrupt' >&2; exit 128");
    expect_refused(g, &spec, g->source, "index file corrupt");
    fake_git(g, "kill -9 $$");
    expect_refused(g, &spec, "git ls-files", "failed");
}

static void a_list_of_git_is_not_believed(void **state)
{
    with_fake_git(*state, a_list_that_leads_out);
}

static void what_git_complains_of_is_shown(void **state)
{
    with_fake_git(*state, git_that_fails);
}

static void without_git_all_is_taken_and_it_is_said(void **state)
{
    const struct ground *g = *state;
    const char *path = getenv("PATH");
    cleanup_free char *before = xstrdup(path);
    sh("cd %s && " GIT "init -q . && echo '*.o' > .gitignore && touch a.o", g->source);
    setenv("PATH", "/nowhere", 1);
    struct pack_spec spec = spec_of(g);
    struct pack_result r;
    struct error err = ERROR_INIT;
    int status = pack_with(&spec, &r, &err);
    setenv("PATH", before, 1);
    if (status < 0)
        fail_msg("%s", err.text);
    assert_false(r.git);
    assert_non_null(strstr(r.note, "git is not installed"));
    expect_files(g, ".gitignore a.o");
}

static void root_runs_git_as_the_right_user(void **state)
{
    const struct ground *g = *state;
    struct pack_spec spec = spec_of(g);
    struct pack_result r;
    struct error err = ERROR_INIT;
    if (getuid() != 0)
        skip();
    sh("cd %s && " GIT "init -q . && echo 1 > a", g->source);
    commit_all(g->source);
    /* A configuration that would run a program, as git allows: not as root. */
    sh("cd %s && printf '#!/bin/sh\\nid -u > %s/ran\\n' > .git/evil && chmod +x .git/evil && "
       "git config core.fsmonitor .git/evil && git config filter.f.clean '.git/evil; cat' && "
       "echo 'a filter=f' > .git/info/attributes && echo 2 > a && chown -R 54321:54321 . && chmod "
       "777 %s",
       g->source, g->top, g->top);
    if (pack_with(&spec, &r, &err) < 0) /* root deploys what somebody else owns */
        fail_msg("%s", err.text);
    assert_true(r.git && r.dirty);
    must_remove(g->release);
    sh("test ! -e %s/ran || test $(cat %s/ran) = 54321", g->top, g->top);
    spec.reader_uid = spec.reader_gid = 54321;
    assert_int_equal(pack_with(&spec, &r, NULL), 0);
    must_remove(g->release);
    spec.reader_uid = spec.reader_gid = 54322; /* may read it, but git does not trust it */
    expect_refused(g, &spec, "dubious ownership", "safe.directory");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_git_ignores_is_left_out),
        TEST(below_the_top_only_the_folder_counts),
        TEST(a_folder_that_the_repository_around_it_ignores_is_taken_whole),
        TEST(before_the_first_commit),
        TEST(repositories_inside_are_taken_with_their_own_rules),
        TEST(the_index_with_a_conflict_lists_a_file_once),
        TEST(a_list_of_git_is_not_believed),
        TEST(what_git_complains_of_is_shown),
        TEST(without_git_all_is_taken_and_it_is_said),
        TEST(root_runs_git_as_the_right_user),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
