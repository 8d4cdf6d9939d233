/* `sluice check`: all errors of the file at once; nothing is contacted. */
#include "base/alloc.h"
#include "cli/cli.h"
#include "cli/options.h"
#include "cli/specfile.h"

#include <stdio.h>
#include <string.h>

static void json_string(struct buf *out, const char *key, const char *text)
{
    if (text == NULL) {
        buf_printf(out, "\"%s\":null", key);
        return;
    }
    buf_printf(out, "\"%s\":\"", key);
    buf_json_escape(out, text, strlen(text));
    buf_putc(out, '"');
}

static void json_list(struct buf *out, const struct diagnostics *d, bool warnings)
{
    bool first = true;
    buf_putc(out, '[');
    for (size_t i = 0; i < d->len; i++) {
        const struct diagnostic *item = &d->items[i];
        if (item->warning != warnings)
            continue;
        buf_printf(out, "%s{\"line\":%u,\"column\":%u,", first ? "" : ",", item->line,
                   item->column);
        json_string(out, "text", item->text);
        buf_putc(out, ',');
        json_string(out, "hint", item->hint);
        buf_putc(out, '}');
        first = false;
    }
    buf_putc(out, ']');
}

static void print_json(const struct specfile *f, const struct error *unreadable)
{
    cleanup_buf struct buf out = BUF_INIT;
    buf_printf(&out, "{\"ok\":%s,", f->spec != NULL ? "true" : "false");
    json_string(&out, "file", f->path);
    buf_puts(&out, ",\"errors\":");
    if (unreadable != NULL) {
        buf_puts(&out, "[{\"line\":0,\"column\":0,");
        json_string(&out, "text", unreadable->text);
        buf_puts(&out, ",\"hint\":null}]");
    } else {
        json_list(&out, &f->diags, false);
    }
    buf_puts(&out, ",\"warnings\":");
    json_list(&out, &f->diags, true);
    buf_puts(&out, "}\n");
    fwrite(out.data, 1, out.len, stdout);
}

static void print_summary(const struct specfile *f)
{
    const struct app_spec *spec = f->spec;
    printf("%s: ok (app %s, %s, %s, ", f->path, spec->app, spec->environment,
           strategy_name(spec->strategy.kind));
    if (spec->processes_len == 1)
        printf("%u replica%s)\n", spec->processes[0].replicas,
               spec->processes[0].replicas == 1 ? "" : "s");
    for (size_t i = 0; spec->processes_len > 1 && i < spec->processes_len; i++)
        printf("%s %u%s", spec->processes[i].name, spec->processes[i].replicas,
               i + 1 < spec->processes_len ? ", " : " replicas)\n");
}

int cmd_check(int argc, char **argv)
{
    struct options o;
    struct error err = ERROR_INIT;
    if (options_parse(&o, verb_get(VERB_check), argc, argv, &err) != 0)
        return cli_fail(&err);
    bool json = o.given[OPTION_JSON];
    cleanup_specfile struct specfile f = SPECFILE_INIT;
    bool readable = specfile_read(&f, o.value[OPTION_FILE], o.value[OPTION_ENV], &err) == 0;
    if (json)
        print_json(&f, readable ? NULL : &err);
    else if (!readable)
        fprintf(stderr, "sluice: %s\n", err.text);
    else
        specfile_print(&f, specfile_color(o.given[OPTION_NO_COLOR]));
    if (f.spec != NULL && !json)
        print_summary(&f);
    return f.spec != NULL ? EXIT_DONE : EXIT_USAGE;
}
