/* Commands: argv lists and texts for the shell. */
#include "base/alloc.h"
#include "spec/types.h"

#include <string.h>

/* MAX_ARG_STRLEN of Linux: execve() refuses a longer argument. */
enum { MAX_ARGUMENT = 131071 };

static bool read_argument(struct reader *r, const struct key *key, const struct node *node,
                          enum expand_mode mode, const char **out)
{
    if (node->kind != NODE_SCALAR) {
        reader_expected(r, node, "a word of a command",
                        node->kind == NODE_NULL ? "write \"\" for an empty one" : NULL);
        return false;
    }
    *out = read_text(r, key, node, mode);
    if (*out == NULL)
        return false;
    if (strlen(*out) <= MAX_ARGUMENT)
        return true;
    reader_fail(r, node, NULL, "longer than %d bytes: no program can be started with that",
                MAX_ARGUMENT);
    return false;
}

bool read_command(struct reader *r, const struct key *key, const struct node *node,
                  struct command *out)
{
    static const char shape[] = "a command: a list such as [\"./shop\", \"--port\", \"$PORT\"], "
                                "or a text for the shell";
    bool shell = node->kind == NODE_SCALAR;
    if (!shell && (node->kind != NODE_LIST || node->len == 0 || node->len > 1024)) {
        reader_expected(r, node, shape, node->kind == NODE_LIST ? "it has no words" : NULL);
        return false;
    }
    size_t argc = shell ? 3 : node->len;
    const char **argv = arena_alloc(r->arena, (argc + 1) * sizeof *argv);
    bool ok = true;
    if (shell) {
        argv[0] = "sh";
        argv[1] = "-c";
        ok = read_argument(r, key, node, EXPAND_SH, &argv[2]);
    }
    for (size_t i = 0; !shell && i < argc; i++)
        ok &= read_argument(r, key, node->items[i], EXPAND_ARGV, &argv[i]);
    if (!ok)
        return false;
    if (argv[shell ? 2 : 0][0] == '\0') {
        reader_fail(r, shell ? node : node->items[0], NULL, "the command is empty");
        return false;
    }
    *out = (struct command){.argv = argv, .argc = argc, .shell = shell};
    return true;
}

/* ["npm", "install"] is two commands; that is hardly ever meant when one looks like an option. */
static void warn_of_split_command(struct reader *r, const struct node *const *items, size_t len)
{
    for (size_t i = 1; i < len; i++)
        if (items[i]->kind == NODE_SCALAR && items[i]->text[0] == '-') {
            reader_warn(r, items[i],
                        "for one command with arguments write [[\"cmd\", \"--option\"]]",
                        "each entry is a command of its own");
            return;
        }
}

static void read_commands(struct reader *r, const struct key *key, const struct node *node,
                          void *base)
{
    const struct node *const *items;
    size_t len;
    if (!read_items(r, key, node, MAX_LIST, &items, &len))
        return;
    struct command *commands = arena_alloc(r->arena, len * sizeof *commands);
    bool ok = true;
    for (size_t i = 0; i < len; i++)
        ok &= read_command(r, key, items[i], &commands[i]);
    if (!ok)
        return;
    warn_of_split_command(r, items, len);
    *(const struct command **)field_at(base, key->offset) = len > 0 ? commands : NULL;
    *(size_t *)field_at(base, key->len_offset) = len;
}

void write_command(struct buf *out, const struct command *c)
{
    if (c->shell) {
        write_string(out, c->argv[2]);
        return;
    }
    for (size_t i = 0; i < c->argc; i++) {
        buf_putc(out, i == 0 ? '[' : ',');
        write_string(out, c->argv[i]);
    }
    buf_putc(out, ']');
}

void write_commands(struct buf *out, const struct command *c, size_t len)
{
    buf_putc(out, '[');
    for (size_t i = 0; i < len; i++) {
        if (i > 0)
            buf_putc(out, ',');
        write_command(out, &c[i]);
    }
    buf_putc(out, ']');
}

static bool write_command_list(const struct key *key, const void *base, struct buf *out)
{
    size_t len = *(const size_t *)const_field_at(base, key->len_offset);
    write_commands(out, *(const struct command *const *)const_field_at(base, key->offset), len);
    return len > 0;
}

const struct value_type type_commands = {.shape = "a list of commands such as [\"make\"]",
                                         .read = read_commands,
                                         .write = write_command_list,
                                         .null_is_empty = true};

static void read_exec(struct reader *r, const struct key *key, const struct node *node, void *base)
{
    struct probe_spec *probe = base;
    if (read_command(r, key, node, &probe->exec))
        probe->kind = PROBE_EXEC;
}

static bool write_exec(const struct key *key, const void *base, struct buf *out)
{
    const struct probe_spec *probe = base;
    (void)key;
    if (probe->kind == PROBE_EXEC)
        write_command(out, &probe->exec);
    return probe->kind == PROBE_EXEC;
}

const struct value_type type_exec = {
    .shape = "a command such as [\"./check\"]", .read = read_exec, .write = write_exec};
