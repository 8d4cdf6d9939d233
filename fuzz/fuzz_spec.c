/* Fuzzes sluice.yaml: no input may crash, hang or read out of bounds; a file without errors must
 * survive the way through its canonical JSON; a file with errors must say at least one, at a place
 * that can be shown.
 *
 * The first byte chooses: bit 0 the controller's way of reading (no environment, no files), bit 1
 * an environment. The rest is the file; what an env-file holds is the file too. */
#include "base/alloc.h"
#include "base/assert.h"
#include "spec/spec.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
    const char *text;
    size_t len;
};

static const char *get_variable(void *arg, const char *name)
{
    const struct input *in = arg;
    (void)in;
    return strcmp(name, "HOME") == 0 ? "/home/{x: [1]}\n- a: b" : NULL;
}

static int read_file(void *arg, const char *path, struct buf *out, struct error *err)
{
    const struct input *in = arg;
    if (strcmp(path, ".env") != 0)
        return error_set(err, ERROR_IO, "%s cannot be read", path);
    buf_append(out, in->text, in->len);
    return 0;
}

static void check_diagnostics(const struct diagnostics *d, const struct input *in)
{
    cleanup_buf struct buf out = BUF_INIT;
    diagnostics_render(d, "sluice.yaml", in->text, in->len, false, &out);
    for (size_t i = 0; i < out.len; i++) /* nothing that moves a terminal's cursor */
        ASSERT((unsigned char)out.data[i] >= 0x20 || out.data[i] == '\n');
}

static void check_round_trip(const struct app_spec *spec)
{
    cleanup_buf struct buf json = BUF_INIT, again = BUF_INIT, diff = BUF_INIT;
    spec_to_json(spec, &json);
    struct diagnostics diags = {0};
    struct spec_source source = {.text = json.data, .len = json.len};
    struct app_spec *copy = spec_parse(&source, &diags);
    ASSERT(copy != NULL);
    spec_to_json(copy, &again);
    ASSERT(strcmp(json.data, again.data) == 0);
    spec_diff(spec, copy, &diff);
    ASSERT(diff.len == 0);
    static const char *const words[] = {"rolling", "recreate", "blue-green", "canary", "shadow"};
    for (int i = 0; i < 4; i++) {
        struct app_spec *other = spec_with_strategy(spec, words[i], &diags);
        if (other != NULL)
            spec_diff(spec, other, &diff);
        spec_free(other);
    }
    spec_free(copy);
    diagnostics_release(&diags);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct input in = {(const char *)data + 1, size - 1};
    bool controller = (data[0] & 1) != 0;
    struct spec_source source = {
        .text = in.text,
        .len = in.len,
        .environment = (data[0] & 2) != 0 ? "staging" : NULL,
        .getenv = controller ? NULL : get_variable,
        .read_file = controller ? NULL : read_file,
        .arg = &in,
    };
    struct diagnostics diags = {0};
    struct app_spec *spec = spec_parse(&source, &diags);
    ASSERT((spec == NULL) == diagnostics_failed(&diags));
    check_diagnostics(&diags, &in);
    if (spec != NULL)
        check_round_trip(spec);
    spec_free(spec);
    diagnostics_release(&diags);
    return 0;
}
