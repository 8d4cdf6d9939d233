#include "cli/specload.h"

#include "base/alloc.h"
#include "cli/specfile.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* The absolute folder that the release is packed from; NULL: it was said why not. */
static char *find_source(const struct specfile *f)
{
    const char *written = f->spec->source != NULL ? f->spec->source : ".";
    cleanup_free char *path =
        written[0] == '/' ? xstrdup(written) : xasprintf("%s/%s", f->folder, written);
    char *real = realpath(path, NULL);
    struct stat st;
    if (real != NULL && stat(real, &st) == 0 && S_ISDIR(st.st_mode))
        return real;
    fprintf(stderr, "sluice: %s: source: %s: %s\n", f->path, path,
            real != NULL ? "not a folder" : strerror(errno));
    free(real);
    return NULL;
}

static char *api_path(const struct app_spec *spec, const char *tail)
{
    struct buf path = BUF_INIT;
    buf_puts(&path, "/v1/apps/");
    put_encoded(&path, spec->app);
    buf_printf(&path, "/%s?environment=", tail);
    put_encoded(&path, spec->environment);
    return buf_detach(&path);
}

static int fill_order(struct spec_order *o, const struct session *s, const struct specfile *f)
{
    const struct app_spec *spec = f->spec;
    cleanup_buf struct buf text = BUF_INIT;
    cleanup_free char *source = find_source(f);
    const char *version = s->options.value[OPTION_VERSION];
    if (source == NULL)
        return -1;
    if (version != NULL && !spec_is_version(version)) {
        fprintf(stderr, "sluice: --version: expected " SPEC_VERSION_SHAPE "\n");
        return -1;
    }
    spec_to_json(spec, &text);
    json_t *document = json_loadb(buf_str(&text), text.len, 0, NULL);
    o->body = json_pack("{s:o, s:s, s:s?}", "spec", document, "source", source, "version", version);
    if (o->body == NULL) {
        fprintf(stderr, "sluice: the spec is not UTF-8\n");
        return -1;
    }
    o->deploy_path = api_path(spec, "deploy");
    o->plan_path = api_path(spec, "plan");
    return 0;
}

int spec_order_load(struct spec_order *o, const struct session *s)
{
    bool color = specfile_color(s->options.given[OPTION_NO_COLOR]);
    cleanup_specfile struct specfile f = SPECFILE_INIT;
    memset(o, 0, sizeof *o);
    if (specfile_load(&f, s->options.value[OPTION_FILE], s->environment, color) != 0 ||
        specfile_set_strategy(&f, s->options.value[OPTION_STRATEGY]) != 0)
        return -1;
    return fill_order(o, s, &f);
}

void spec_order_release(struct spec_order *o)
{
    free(o->deploy_path);
    free(o->plan_path);
    json_decref(o->body);
    memset(o, 0, sizeof *o);
}
