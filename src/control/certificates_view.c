/* Certificates as people and Prometheus see them. */
#include "control/certificates.h"

#include "observe/exposition.h"
#include "os/clock.h"

/* k NULL: there are no files. */
static json_t *one_json(const struct control *c, const char *name, const struct certificate *k)
{
    char at[WALL_TEXT_SIZE];
    cleanup_buf struct buf trouble = BUF_INIT;
    json_t *hosts = json_array();
    struct certificate_state s = {.there = k != NULL && k->chain.len > 0,
                                  .automatic = k == NULL || k->automatic,
                                  .error = k != NULL ? k->trouble : ""};
    if (s.there) {
        s.not_before_ms = k->info.not_before_ms;
        s.not_after_ms = k->info.not_after_ms;
    }
    if (s.automatic && !acme_state(c, name, &s) && k != NULL)
        s.needed = certificate_needed(c, k, control_now());
    certificate_trouble(&s, control_now(), &trouble);
    for (size_t n = 0; s.there && n < k->info.names_len; n++)
        json_array_append_new(hosts, json_string(k->info.names[n]));
    json_t *out = json_pack("{s:s,s:o,s:s?,s:b}", "name", name, "hosts", hosts, "error",
                            s.error[0] != '\0' ? s.error : NULL, "automatic", s.automatic);
    json_object_set_new(out, "until",
                        s.there ? json_string(clock_format_wall(s.not_after_ms, at)) : json_null());
    json_object_set_new(out, "renewal",
                        s.renewal_ms != 0 ? json_string(clock_format_wall(s.renewal_ms, at))
                                          : json_null());
    json_object_set_new(out, "trouble",
                        trouble.len > 0 ? json_string(buf_str(&trouble)) : json_null());
    return out;
}

json_t *certificates_json(const struct control *c)
{
    json_t *list = json_array();
    for (size_t i = 0; c->certificates != NULL && i < c->certificates->all.len; i++) {
        const struct certificate *k = c->certificates->all.items[i];
        json_array_append_new(list, one_json(c, k->name, k));
    }
    const char *host;
    for (size_t i = 0; (host = acme_host_at(c, i)) != NULL; i++)
        if (c->certificates == NULL || map_get(&c->certificates->automatic, host) == NULL)
            json_array_append_new(list, one_json(c, host, NULL));
    return list;
}

void certificates_expose(const struct control *c, struct exposition *e)
{
    for (size_t i = 0; c->certificates != NULL && i < c->certificates->all.len; i++) {
        const struct certificate *k = c->certificates->all.items[i];
        cleanup_buf struct buf labels = BUF_INIT;
        if (k->chain.len == 0)
            continue;
        exposition_label(&labels, "certificate", k->name);
        exposition_label(&labels, "automatic", k->automatic ? "true" : "false");
        exposition_sample(e, FAMILY_CERTIFICATE_UNTIL, buf_str(&labels),
                          (double)k->info.not_after_ms / 1000);
    }
}
