/* check and init, in folders of their own. */
#include "base/alloc.h"
#include "base/buf.h"
#include "base/vec.h"
#include "cli/project.h"
#include "cli/specfile.h"
#include "cli/verbs.h"

#include <fcntl.h>
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

struct folder {
    char path[64];
    int home; /* the folder that the test came from */
};

static int enter_folder(void **state)
{
    struct folder *f = xcalloc(1, sizeof *f);
    strcpy(f->path, "/tmp/sluice-test-XXXXXX");
    f->home = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (mkdtemp(f->path) == NULL || chdir(f->path) != 0 || mkdir("my-app", 0755) != 0 ||
        chdir("my-app") != 0)
        return -1;
    *state = f;
    return 0;
}

static int leave_folder(void **state)
{
    struct folder *f = *state;
    cleanup_free char *command = xasprintf("rm -rf '%s'", f->path);
    int status = fchdir(f->home) == 0 ? system(command) : -1;
    close(f->home);
    free(f);
    return status;
}

static void write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    assert_int_equal(fputs(text, f) >= 0, 1);
    assert_int_equal(fclose(f), 0);
}

static char *read_whole(const char *path)
{
    FILE *f = fopen(path, "re");
    assert_non_null(f);
    struct buf text = BUF_INIT;
    char block[4096];
    for (size_t n; (n = fread(block, 1, sizeof block, f)) > 0;)
        buf_append(&text, block, n);
    fclose(f);
    return buf_detach(&text);
}

struct run {
    int status;
    char *out, *err;
};

static void run_release(struct run *r)
{
    free(r->out);
    free(r->err);
}

/* The verb with its two streams kept: `run_verb(cmd_check, "check", "-f", "x", NULL)`. */
static struct run run_verb(int (*verb)(int, char **), ...)
{
    char *argv[16] = {NULL};
    int argc = 0;
    va_list ap;
    va_start(ap, verb);
    while (argc < 15 && (argv[argc] = va_arg(ap, char *)) != NULL)
        argc++;
    va_end(ap);
    fflush(stdout);
    fflush(stderr);
    int saved_out = dup(STDOUT_FILENO), saved_err = dup(STDERR_FILENO);
    int out = open("../out", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    int err = open("../err", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    dup2(out, STDOUT_FILENO);
    dup2(err, STDERR_FILENO);
    struct run r = {.status = verb(argc, argv)};
    fflush(stdout);
    fflush(stderr);
    dup2(saved_out, STDOUT_FILENO);
    dup2(saved_err, STDERR_FILENO);
    close(saved_out);
    close(saved_err);
    close(out);
    close(err);
    r.out = read_whole("../out");
    r.err = read_whole("../err");
    return r;
}

static void expect(struct run r, int status, const char *out, const char *err)
{
    assert_string_equal(r.err, err);
    assert_string_equal(r.out, out);
    assert_int_equal(r.status, status);
    run_release(&r);
}

/* ---- check -------------------------------------------------------------------------------------
 */

static const char good[] = "app: shop\nrun: ./shop\nreplicas: 3\n";

static void check_says_that_a_file_is_good(void **state)
{
    (void)state;
    write_file("sluice.yaml", good);
    expect(run_verb(cmd_check, "check", NULL), 0,
           "sluice.yaml: ok (app shop, production, rolling, 3 replicas)\n", "");
    expect(run_verb(cmd_check, "check", "-f", ".", "-e", "staging", NULL), 0,
           "./sluice.yaml: ok (app shop, staging, rolling, 3 replicas)\n", "");
    expect(run_verb(cmd_check, "check", "--json", NULL), 0,
           "{\"ok\":true,\"file\":\"sluice.yaml\",\"errors\":[],\"warnings\":[]}\n", "");
    write_file("other.yaml", "app: a\nrun: {web: x, worker: y}\nreplicas: {worker: 2}\n");
    expect(run_verb(cmd_check, "check", "--file=other.yaml", NULL), 0,
           "other.yaml: ok (app a, production, rolling, web 1, worker 2 replicas)\n", "");
    write_file("warned.yaml", "app: a\nrun: x\nreplicas: 0\nroutes: [{}]\n");
    expect(
        run_verb(cmd_check, "check", "-f", "warned.yaml", NULL), 0,
        "warned.yaml: ok (app a, production, rolling, 0 replicas)\n",
        "warned.yaml:3:1: warning: no instance: requests wait for the hold and are then answered "
        "with 503\n  3 | replicas: 0\n    | ^~~~~~~~\n  `sluice scale` brings them back\n");
}

static void check_says_all_that_is_wrong(void **state)
{
    (void)state;
    write_file("sluice.yaml", "app: Shop\nrun: x\nreplica: 3\n");
    expect(run_verb(cmd_check, "check", NULL), 2, "",
           "sluice.yaml:1:6: error: `app`: expected a name: a letter, then letters, digits and "
           "dashes, all lower case, at most 63, got `Shop`\n  1 | app: Shop\n    |      ^~~~\n"
           "  did you mean `shop`?\n"
           "sluice.yaml:3:1: error: unknown key `replica`\n  3 | replica: 3\n    | ^~~~~~~\n"
           "  did you mean `replicas`?\n");
    struct run r = run_verb(cmd_check, "check", "--json", "--no-color", NULL);
    assert_int_equal(r.status, 2);
    assert_string_equal(r.err, "");
    json_t *root = json_loads(r.out, 0, NULL);
    assert_true(json_is_false(json_object_get(root, "ok")));
    json_t *second = json_array_get(json_object_get(root, "errors"), 1);
    assert_int_equal(json_integer_value(json_object_get(second, "line")), 3);
    assert_int_equal(json_integer_value(json_object_get(second, "column")), 1);
    assert_string_equal(json_string_value(json_object_get(second, "text")),
                        "unknown key `replica`");
    assert_string_equal(json_string_value(json_object_get(second, "hint")),
                        "did you mean `replicas`?");
    json_decref(root);
    run_release(&r);
}

static void check_of_no_file(void **state)
{
    (void)state;
    expect(run_verb(cmd_check, "check", NULL), 2, "",
           "sluice: no sluice.yaml here; `sluice init` writes one\n");
    expect(run_verb(cmd_check, "check", "-f", "nope/x.yaml", NULL), 2, "",
           "sluice: there is no file nope/x.yaml; `sluice init` writes one\n");
    expect(run_verb(cmd_check, "check", "--json", NULL), 2,
           "{\"ok\":false,\"file\":\"sluice.yaml\",\"errors\":[{\"line\":0,\"column\":0,\"text\":"
           "\"no sluice.yaml here; `sluice init` writes one\",\"hint\":null}],\"warnings\":[]}\n",
           "");
    write_file("sluice.yml", good);
    expect(run_verb(cmd_check, "check", NULL), 2, "",
           "sluice: no sluice.yaml here, but a sluice.yml: rename it, or use -f sluice.yml\n");
    expect(run_verb(cmd_check, "check", "extra", NULL), 2, "",
           "sluice: check has no use for `extra` (usage: sluice check)\n");
    struct run r = run_verb(cmd_check, "check", "--frob", NULL);
    assert_int_equal(r.status, 2);
    run_release(&r);
    assert_int_equal(mkdir("sluice.yaml", 0755), 0);
    expect(run_verb(cmd_check, "check", NULL), 2, "",
           "sluice: sluice.yaml cannot be read: Is a directory\n");
}

static void env_files_are_beside_the_file(void **state)
{
    (void)state;
    assert_int_equal(mkdir("sub", 0755), 0);
    write_file("sub/sluice.yaml", "app: a\nrun: x\nenv-files: [.env]\n");
    write_file("sub/.env", "A=1\n");
    setenv("SLUICE_TEST_NAME", "shop", 1);
    struct specfile f = SPECFILE_INIT;
    struct error err = ERROR_INIT;
    assert_int_equal(specfile_read(&f, "sub", NULL, &err), 0);
    assert_non_null(f.spec);
    assert_int_equal(f.spec->env_len, 1);
    assert_string_equal(strrchr(f.folder, '/'), "/sub");
    assert_int_equal(f.folder[0], '/');
    specfile_release(&f);
    write_file("sub/sluice.yaml", "app: ${SLUICE_TEST_NAME}\nrun: x\nenv-files: [gone.env]\n");
    struct run r = run_verb(cmd_check, "check", "-f", "sub", NULL);
    assert_int_equal(r.status, 2);
    assert_non_null(strstr(r.err, "sub/sluice.yaml:3:13: error: `env-files`: "));
    assert_non_null(strstr(r.err, "/sub/gone.env cannot be read: No such file or directory\n"));
    run_release(&r);
}

static void a_file_that_is_too_large_is_not_read_whole(void **state)
{
    (void)state;
    write_file("sluice.yaml", good);
    assert_int_equal(truncate("sluice.yaml", (off_t)1 << 40),
                     0); /* sparse: a terabyte of nothing */
    expect(run_verb(cmd_check, "check", NULL), 2, "",
           "sluice.yaml: error: larger than 1024 KiB\n  is this the file that was meant?\n");
}

/* ---- init --------------------------------------------------------------------------------------
 */

/* What init writes passes check and holds each of the texts. */
static void init_gives(const char *const *texts)
{
    struct run r = run_verb(cmd_init, "init", NULL);
    assert_string_equal(r.err, "");
    assert_int_equal(r.status, 0);
    run_release(&r);
    cleanup_free char *file = read_whole("sluice.yaml");
    for (; *texts != NULL; texts++)
        if (strstr(file, *texts) == NULL)
            fail_msg("no `%s` in\n%s", *texts, file);
    r = run_verb(cmd_check, "check", NULL);
    assert_string_equal(r.err, "");
    assert_int_equal(r.status, 0);
    run_release(&r);
}
#define INIT_GIVES(...) init_gives((const char *const[]){__VA_ARGS__, NULL})

static void init_of_an_unknown_project(void **state)
{
    (void)state;
    INIT_GIVES("app: my-app\n", "run: [\"./my-app\", \"--port\", \"$PORT\"]\n", "This is a guess",
               "routes:\n  - path: /\n");
}

static void init_never_overwrites(void **state)
{
    (void)state;
    write_file("sluice.yaml", "mine");
    expect(run_verb(cmd_init, "init", NULL), 2, "",
           "sluice: sluice.yaml is there already; it is not overwritten\n");
    cleanup_free char *file = read_whole("sluice.yaml");
    assert_string_equal(file, "mine");
    assert_int_equal(symlink("nowhere", "dangling"), 0);
    expect(run_verb(cmd_init, "init", "-f", "dangling", NULL), 2, "",
           "sluice: dangling is there already; it is not overwritten\n");
    expect(run_verb(cmd_init, "init", "--json", "-f", "new.yaml", NULL), 0,
           "{\"file\":\"new.yaml\",\"app\":\"my-app\"}\n", "");
    expect(run_verb(cmd_init, "init", "-f", "no/such/folder", NULL), 1, "",
           "sluice: no/such/folder cannot be written: No such file or directory\n");
    expect(run_verb(cmd_init, "init", "here", NULL), 2, "",
           "sluice: init has no use for `here` (usage: sluice init)\n");
}

static void init_of_a_node_project(void **state)
{
    (void)state;
    write_file("package.json",
               "{\"scripts\":{\"start\":\"node server.js --x\",\"build\":\"tsc\"}}");
    write_file("package-lock.json", "{}");
    INIT_GIVES("[\"npm\", \"ci\"]", "[\"npm\", \"run\", \"build\"]",
               "run: \"node server.js --x\"\n");
}

static void init_of_a_node_project_with_yarn(void **state)
{
    (void)state;
    write_file("package.json", "{\"main\":\"index.js\"}");
    write_file("yarn.lock", "");
    INIT_GIVES("[\"yarn\", \"install\", \"--frozen-lockfile\"]", "run: [\"node\", \"index.js\"]\n");
}

static void init_of_a_broken_package_json(void **state)
{
    (void)state;
    write_file("package.json", "{{{{");
    INIT_GIVES("[\"npm\", \"install\"]", "This is a guess");
}

static void init_of_a_go_module(void **state)
{
    (void)state;
    write_file("go.mod", "module x\n");
    write_file("Makefile", "all:\n"); /* the language says more */
    INIT_GIVES("[\"go\", \"build\", \"-o\", \"my-app\", \".\"]", "run: [\"./my-app\"]\n");
}

static void init_of_a_rust_crate(void **state)
{
    (void)state;
    write_file("Cargo.toml", "[package]\nname = \"my_shop\"\nversion = \"1\"\n");
    INIT_GIVES("[\"cargo\", \"build\", \"--release\"]", "run: [\"./target/release/my_shop\"]\n");
}

static void init_of_python_projects(void **state)
{
    (void)state;
    write_file("requirements.txt", "flask\n");
    write_file("app.py", "");
    INIT_GIVES("[\".venv/bin/pip\", \"install\", \"-r\", \"requirements.txt\"]",
               "run: [\".venv/bin/python\", \"app.py\"]\n");
    assert_int_equal(unlink("requirements.txt") | unlink("sluice.yaml"), 0);
    write_file("pyproject.toml", "");
    write_file("manage.py", "");
    INIT_GIVES("[\".venv/bin/pip\", \"install\", \".\"]", "\"127.0.0.1:$PORT\"");
}

static void init_of_a_ruby_project(void **state)
{
    (void)state;
    write_file("Gemfile", "");
    write_file("config.ru", "");
    INIT_GIVES("[\"bundle\", \"install\"]", "\"rackup\"");
}

static void init_of_a_makefile(void **state)
{
    (void)state;
    write_file("Makefile", "");
    write_file("my-app", "");
    INIT_GIVES("- [\"make\"]", "run: [\"./my-app\", \"--port\", \"$PORT\"]\n");
}

static void init_of_a_procfile(void **state)
{
    (void)state;
    write_file("Procfile",
               "web: ./serve -p ${PORT:-80} \"x\"\r\nBig_Worker: ./work ${NOT_SET}\n# c: d\n"
               "release: ./migrate\nno colon\n: nothing\nempty:\nweb: twice\n");
    write_file("package.json", "{\"scripts\":{\"start\":\"x\"}}");
    INIT_GIVES("web: \"./serve -p $${PORT:-80} \\\"x\\\"\"\n",
               "big-worker: \"./work $${NOT_SET}\"\n", "release:\n  - \"./migrate\"\n",
               "[\"npm\", \"install\"]", "a Node project with a Procfile");
}

static void init_of_a_procfile_without_web(void **state)
{
    (void)state;
    write_file("Procfile", "worker: ./work\n");
    struct run r = run_verb(cmd_init, "init", NULL);
    run_release(&r);
    cleanup_free char *file = read_whole("sluice.yaml");
    assert_null(strstr(file, "routes:"));
    assert_non_null(strstr(file, "run:\n  worker: \"./work\"\n"));
    expect(run_verb(cmd_check, "check", NULL), 0,
           "sluice.yaml: ok (app my-app, production, rolling, 1 replica)\n", "");
}

static void any_folder_name_makes_an_app(void **state)
{
    (void)state;
    static const struct {
        const char *folder, *app;
    } names[] = {
        {"My Shop_2.0", "my-shop-2-0"},
        {"42", "app"},
        {"3rd-try", "rd-try"},
        {"--x--", "x"},
        {"ümlaut", "mlaut"},
        {"日本", "app"},
        {"a\nb: c", "a-b-c"},
        {"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
         "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"},
    };
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        assert_int_equal(mkdir(names[i].folder, 0755) | chdir(names[i].folder), 0);
        cleanup_free char *line = xasprintf("\napp: %s\n", names[i].app);
        INIT_GIVES(line);
        assert_int_equal(chdir(".."), 0);
    }
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, enter_folder, leave_folder)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_FOLDER(check_says_that_a_file_is_good),
        IN_FOLDER(check_says_all_that_is_wrong),
        IN_FOLDER(check_of_no_file),
        IN_FOLDER(env_files_are_beside_the_file),
        IN_FOLDER(a_file_that_is_too_large_is_not_read_whole),
        IN_FOLDER(init_of_an_unknown_project),
        IN_FOLDER(init_never_overwrites),
        IN_FOLDER(init_of_a_node_project),
        IN_FOLDER(init_of_a_node_project_with_yarn),
        IN_FOLDER(init_of_a_broken_package_json),
        IN_FOLDER(init_of_a_go_module),
        IN_FOLDER(init_of_a_rust_crate),
        IN_FOLDER(init_of_python_projects),
        IN_FOLDER(init_of_a_ruby_project),
        IN_FOLDER(init_of_a_makefile),
        IN_FOLDER(init_of_a_procfile),
        IN_FOLDER(init_of_a_procfile_without_web),
        IN_FOLDER(any_folder_name_makes_an_app),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
