/* GET /v1/openapi.json: the description of the API, out of the table of routes. */
#include "api/connection.h"
#include "base/alloc.h"

#include <ctype.h>
#include <string.h>

static void add_parameter(json_t *list, const char *name, size_t len, const char *in, bool required)
{
    json_t *p = json_pack("{s:s%, s:s, s:b, s:{s:s}}", "name", name, len, "in", in, "required",
                          required, "schema", "type", "string");
    json_array_append_new(list, p);
}

static json_t *parameters(const struct route *route)
{
    json_t *list = json_array();
    if (strstr(route->pattern, "{app}") != NULL)
        add_parameter(list, "app", 3, "path", true);
    for (const char *p = route->parameters; *p != '\0';) {
        size_t len = strcspn(p, ",");
        add_parameter(list, p, len, "query", false);
        p += len + (p[len] == ',');
    }
    return list;
}

static json_t *operation(const struct route *route)
{
    json_t *o =
        json_pack("{s:s, s:o, s:{s:{s:s}, s:{s:s, s:{s:{s:{s:s}}}}}}", "summary", route->summary,
                  "parameters", parameters(route), "responses", "2XX", "description",
                  "done, or accepted", "default", "description", "what went wrong", "content",
                  "application/problem+json", "schema", "$ref", "#/components/schemas/problem");
    if (strcmp(route->method, "POST") == 0)
        json_object_set_new(o, "requestBody",
                            json_pack("{s:{s:{s:{s:s}}}}", "content", "application/json", "schema",
                                      "type", "object"));
    return o;
}

void handle_openapi(struct connection *c, const struct request *r)
{
    (void)r;
    json_t *paths = json_object();
    for (size_t i = 0; i < routes_count(); i++) {
        const struct route *route = route_at(i);
        json_t *path = json_object_get(paths, route->pattern);
        if (path == NULL) {
            path = json_object();
            json_object_set_new(paths, route->pattern, path);
        }
        char method[16] = "";
        for (size_t k = 0; route->method[k] != '\0' && k + 1 < sizeof method; k++)
            method[k] = (char)tolower((unsigned char)route->method[k]);
        json_object_set_new(path, method, operation(route));
    }
    reply_json(c, 200,
               json_pack("{s:s, s:{s:s, s:s}, s:o, s:{s:{s:{s:s, s:{s:{s:s}, s:{s:s}, s:{s:s}, "
                         "s:{s:s}}}}}}",
                         "openapi", "3.1.0", "info", "title", "sluice", "version", SLUICE_VERSION,
                         "paths", paths, "components", "schemas", "problem", "type", "object",
                         "properties", "type", "type", "string", "title", "type", "string",
                         "status", "type", "integer", "detail", "type", "string"));
}
