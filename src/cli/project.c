#include "cli/project.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "os/durable.h"

#include <ctype.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { MAX_PROJECT_FILE = 1 << 20 };

struct search {
    const char *folder;
    struct project *p;
};

static bool has(const struct search *s, const char *name)
{
    cleanup_free char *path = xasprintf("%s/%s", s->folder, name);
    return access(path, F_OK) == 0;
}

/* false: not there, or nothing that can be read. */
static bool load(const struct search *s, const char *name, struct buf *out)
{
    cleanup_free char *path = xasprintf("%s/%s", s->folder, name);
    return file_read(AT_FDCWD, path, MAX_PROJECT_FILE, out, NULL) == 0;
}

/* A name as app and process names have to be; NULL where nothing of the text is left. */
static const char *as_name(struct search *s, const char *text, size_t len, size_t max)
{
    char *name = arena_alloc(&s->p->arena, max + 1);
    size_t n = 0;
    for (size_t i = 0; i < len && n < max; i++) {
        unsigned char c = (unsigned char)text[i];
        if (isalpha(c) || (isdigit(c) && n > 0))
            name[n++] = (char)tolower(c);
        else if (n > 0 && name[n - 1] != '-')
            name[n++] = '-';
    }
    while (n > 0 && name[n - 1] == '-')
        n--;
    name[n] = '\0';
    return n > 0 ? name : NULL;
}

/* A command of another file: its ${X} are meant for the shell, at the start. */
static const char *as_text(struct search *s, const char *text, size_t len)
{
    cleanup_buf struct buf out = BUF_INIT;
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '$' && i + 1 < len && text[i + 1] == '{')
            buf_putc(&out, '$');
        buf_putc(&out, text[i]);
    }
    return arena_strndup(&s->p->arena, buf_str(&out), out.len);
}

#define ARGV(...) ((struct project_command){.argv = (const char *const[]){__VA_ARGS__, NULL}})

/* argv as words of the program text, copied so that it outlives the caller's block. */
static struct project_command words(struct search *s, struct project_command c)
{
    size_t n = 0;
    while (c.argv[n] != NULL)
        n++;
    const char **argv = arena_alloc(&s->p->arena, (n + 1) * sizeof *argv);
    for (size_t i = 0; i < n; i++)
        argv[i] = arena_strdup(&s->p->arena, c.argv[i]);
    return (struct project_command){.argv = argv};
}

static void add_build(struct search *s, struct project_command c)
{
    if (s->p->build_len < PROJECT_MAX_COMMANDS)
        s->p->build[s->p->build_len++] = words(s, c);
}

static void add_process(struct search *s, const char *name, struct project_command c)
{
    struct project *p = s->p;
    for (size_t i = 0; i < p->processes_len; i++)
        if (strcmp(p->processes[i].name, name) == 0)
            return;
    if (p->processes_len == SPEC_MAX_PROCESSES)
        return;
    p->processes[p->processes_len].name = name;
    p->processes[p->processes_len++].command = c;
}

static void run_as(struct search *s, struct project_command c)
{
    add_process(s, "web", c.shell != NULL ? c : words(s, c));
}

/* ---- the kinds of project -------------------------------------------------------------------- */

static void find_node(struct search *s)
{
    cleanup_buf struct buf text = BUF_INIT;
    load(s, "package.json", &text);
    json_t *root = json_loadb(buf_str(&text), text.len, 0, NULL);
    json_t *scripts = json_object_get(root, "scripts");
    const char *start = json_string_value(json_object_get(scripts, "start"));
    const char *main_file = json_string_value(json_object_get(root, "main"));
    bool yarn = has(s, "yarn.lock"), pnpm = has(s, "pnpm-lock.yaml");
    const char *tool = pnpm ? "pnpm" : yarn ? "yarn" : "npm";
    if (pnpm || yarn)
        add_build(s, ARGV(tool, "install", "--frozen-lockfile"));
    else
        add_build(s, has(s, "package-lock.json") ? ARGV("npm", "ci") : ARGV("npm", "install"));
    if (json_is_string(json_object_get(scripts, "build")))
        add_build(s, ARGV(tool, "run", "build"));
    /* Not through npm where it can be: npm stands between the signal and the app. */
    if (start != NULL && strncmp(start, "node ", 5) == 0 && strpbrk(start, "&|;<>$`\"'\\") == NULL)
        run_as(s, (struct project_command){.shell = as_text(s, start, strlen(start))});
    else if (start != NULL)
        run_as(s, ARGV(tool, "start"));
    else if (main_file != NULL)
        run_as(s, ARGV("node", main_file));
    else if (has(s, "server.js"))
        run_as(s, ARGV("node", "server.js"));
    json_decref(root);
}

static void find_go(struct search *s)
{
    cleanup_free char *program = xasprintf("./%s", s->p->app);
    add_build(s, ARGV("go", "build", "-o", s->p->app, "."));
    run_as(s, ARGV(program));
}

/* name = "..." of [package] in Cargo.toml. */
static const char *cargo_name(struct search *s)
{
    cleanup_buf struct buf text = BUF_INIT;
    if (!load(s, "Cargo.toml", &text))
        return s->p->app;
    const char *package = strstr(buf_str(&text), "[package]");
    const char *line = package != NULL ? strstr(package, "\nname") : NULL;
    const char *open = line != NULL ? strchr(line, '"') : NULL;
    const char *close = open != NULL ? strchr(open + 1, '"') : NULL;
    if (close == NULL || close - open < 2 || memchr(line + 1, '\n', (size_t)(close - line - 1)))
        return s->p->app;
    for (const char *p = open + 1; p < close; p++)
        if (!isalnum((unsigned char)*p) && *p != '-' && *p != '_')
            return s->p->app;
    return arena_strndup(&s->p->arena, open + 1, (size_t)(close - open - 1));
}

static void find_rust(struct search *s)
{
    cleanup_free char *program = xasprintf("./target/release/%s", cargo_name(s));
    add_build(s, ARGV("cargo", "build", "--release"));
    run_as(s, ARGV(program));
}

static void find_python(struct search *s)
{
    add_build(s, ARGV("python3", "-m", "venv", ".venv"));
    if (has(s, "requirements.txt"))
        add_build(s, ARGV(".venv/bin/pip", "install", "-r", "requirements.txt"));
    else
        add_build(s, ARGV(".venv/bin/pip", "install", "."));
    if (has(s, "manage.py"))
        run_as(s, ARGV(".venv/bin/python", "manage.py", "runserver", "127.0.0.1:$PORT"));
    else if (has(s, "app.py"))
        run_as(s, ARGV(".venv/bin/python", "app.py"));
    else if (has(s, "main.py"))
        run_as(s, ARGV(".venv/bin/python", "main.py"));
}

static void find_ruby(struct search *s)
{
    add_build(s, ARGV("bundle", "install"));
    if (has(s, "bin/rails"))
        run_as(s, ARGV("bin/rails", "server", "-b", "127.0.0.1", "-p", "$PORT"));
    else if (has(s, "config.ru"))
        run_as(s, ARGV("bundle", "exec", "rackup", "-o", "127.0.0.1", "-p", "$PORT"));
}

static void find_make(struct search *s)
{
    cleanup_free char *program = xasprintf("./%s", s->p->app);
    add_build(s, ARGV("make"));
    if (has(s, s->p->app))
        run_as(s, ARGV(program, "--port", "$PORT"));
}

/* "web: command" lines; `release` is no process, but what we call the same. */
static void find_procfile(struct search *s)
{
    cleanup_buf struct buf text = BUF_INIT;
    if (!load(s, "Procfile", &text))
        return;
    struct project *p = s->p;
    for (const char *line = buf_str(&text); *line != '\0';) {
        size_t len = strcspn(line, "\r\n");
        const char *colon = memchr(line, ':', len);
        const char *command = colon != NULL ? colon + 1 : line + len;
        while (command < line + len && (*command == ' ' || *command == '\t'))
            command++;
        size_t size = (size_t)(line + len - command);
        const char *name =
            colon != NULL && *line != '#' ? as_name(s, line, (size_t)(colon - line), 30) : NULL;
        struct project_command c = {.shell = as_text(s, command, size)};
        if (name != NULL && size > 0 && strcmp(name, "release") == 0) {
            if (p->release_len < PROJECT_MAX_COMMANDS)
                p->release[p->release_len++] = c;
        } else if (name != NULL && size > 0) {
            add_process(s, name, c);
        }
        line += len;
        line += strspn(line, "\r\n");
    }
}

/* In the order of asking; the first one that is there says how it is built. */
static const struct {
    const char *file, *words;
    void (*find)(struct search *s);
} kinds[] = {
    {"go.mod", "a Go module", find_go},
    {"Cargo.toml", "a Rust crate", find_rust},
    {"Gemfile", "a Ruby project", find_ruby},
    {"requirements.txt", "a Python project", find_python},
    {"pyproject.toml", "a Python project", find_python},
    {"package.json", "a Node project", find_node},
    {"Makefile", "a Makefile", find_make},
};

static const char *app_name(struct search *s)
{
    cleanup_free char *absolute = realpath(s->folder, NULL);
    const char *slash = absolute != NULL ? strrchr(absolute, '/') : NULL;
    const char *name = slash != NULL ? as_name(s, slash + 1, strlen(slash + 1), 63) : NULL;
    return name != NULL ? name : "app";
}

void project_find(const char *folder, struct project *p)
{
    struct search s = {folder, p};
    p->app = app_name(&s);
    p->found = "nothing that says what it is";
    find_procfile(&s); /* before the others: what a process it names runs is not guessed */
    bool procfile = p->processes_len > 0;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (has(&s, kinds[i].file)) {
            size_t named = p->processes_len;
            kinds[i].find(&s);
            if (procfile)
                p->processes_len = named; /* all processes are in the Procfile */
            p->found = kinds[i].words;
            if (procfile)
                p->found = arena_printf(&p->arena, "%s with a Procfile", kinds[i].words);
            break;
        }
    if (procfile && p->build_len == 0)
        p->found = "a Procfile";
    if (p->processes_len == 0) {
        cleanup_free char *program = xasprintf("./%s", p->app);
        run_as(&s, ARGV(program, "--port", "$PORT"));
        p->guessed_run = true;
    }
    for (size_t i = 0; i < p->processes_len; i++)
        p->routed |= strcmp(p->processes[i].name, "web") == 0;
}

void project_release(struct project *p)
{
    arena_release(&p->arena);
}
