/* The reference of all keys, out of the table that the parser uses. */
#include "spec/reader.h"

#include <string.h>

/* A bar would end the table's cell. */
static void put_cell(struct buf *out, const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '|')
            buf_putc(out, '\\');
        buf_putc(out, *text);
    }
}

static void put_row(struct buf *out, const struct key *key)
{
    buf_printf(out, "| `%s` | ", key->name);
    put_cell(out, key->type->shape);
    buf_puts(out, " | ");
    if (key->preset != NULL && strcmp(key->preset, "{}") != 0)
        buf_printf(out, "`%s`", key->preset);
    buf_puts(out, " | ");
    put_cell(out, key->about);
    buf_puts(out, " |\n");
}

void spec_reference(struct buf *out)
{
    for (enum mapping in = IN_NONE + 1; in < MAPPINGS_COUNT; in++) {
        buf_printf(out, "### %s\n\n| key | value | default | meaning |\n|---|---|---|---|\n",
                   mapping_words(in));
        for (size_t i = 0; i < spec_keys_len; i++)
            if (spec_keys[i].in == in && !spec_keys[i].type->hidden)
                put_row(out, &spec_keys[i]);
        buf_putc(out, '\n');
    }
}
