#include "load.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "usage: load --url http://127.0.0.1:8080 [OPTION]...\n"
    "  --url http://ADDRESS:PORT   where to; the path comes with --request\n"
    "  --request 'METHOD PATH [size=N] [pace=T] [weight=N] [check=echo|crc|pattern|none]'\n"
    "                              repeatable: the mix; default 'GET /'\n"
    "  --connections N             16\n"
    "  --rate N                    requests per second (open loop); default: closed loop\n"
    "  --duration T, --requests N  when to stop (default 10s); SIGINT and SIGTERM stop too\n"
    "  --timeout T                 for one whole answer, 30s\n"
    "  --no-keepalive, --reuse N   a connection per request; per N requests\n"
    "  --host NAME, --header 'A: b'\n"
    "  --events FILE               a JSON line per failed request\n"
    "  --live                      a JSON line per second on stderr\n"
    "Ends with one JSON object on stdout. Exit status: 0 when it could run, whatever failed.\n";

__attribute__((noreturn)) static void wrong(const char *option, const char *value)
{
    fprintf(stderr, "load: %s: \"%s\" does not fit\n%s", option, value, usage);
    exit(2);
}

static uint64_t parse_number(const char *option, const char *text)
{
    char *end;
    errno = 0;
    unsigned long long n = strtoull(text, &end, 10);
    if (errno || end == text || *end)
        wrong(option, text);
    return n;
}

static int64_t parse_duration_ms(const char *option, const char *text)
{
    char *unit;
    double n = strtod(text, &unit);
    if (unit == text || n < 0)
        wrong(option, text);
    if (strcmp(unit, "ms") == 0)
        return (int64_t)n;
    if (strcmp(unit, "s") == 0)
        return (int64_t)(n * 1000);
    if (strcmp(unit, "m") == 0)
        return (int64_t)(n * 60000);
    wrong(option, text);
}

static enum check parse_check(const char *text)
{
    static const char *const words[] = {"none", "echo", "crc", "pattern"};
    for (int i = 0; i < 4; i++)
        if (strcmp(text, words[i]) == 0)
            return (enum check)i;
    wrong("check", text);
}

/* What an answer of examples/hello can be checked by. */
static enum check natural_check(const char *path)
{
    size_t len = strcspn(path, "?");
    if (len == 5 && strncmp(path, "/echo", 5) == 0)
        return CHECK_ECHO;
    if (len == 7 && strncmp(path, "/upload", 7) == 0)
        return CHECK_CRC;
    if (len == 7 && strncmp(path, "/stream", 7) == 0)
        return CHECK_PATTERN;
    return CHECK_NONE;
}

static void add_kind(struct options *o, const char *text)
{
    char copy[256];
    if (o->kinds_len == KINDS_MAX || strlen(text) >= sizeof(copy))
        wrong("--request", text);
    struct kind *k = &o->kinds[o->kinds_len++];
    *k = (struct kind){.weight = 1};
    snprintf(k->text, sizeof(k->text), "%s", text);
    snprintf(copy, sizeof(copy), "%s", text);
    char *rest = NULL, *method = strtok_r(copy, " ", &rest), *path = strtok_r(NULL, " ", &rest);
    if (!method || !path || *path != '/' || strlen(method) >= sizeof(k->method) ||
        strlen(path) >= sizeof(k->path))
        wrong("--request", text);
    strcpy(k->method, method);
    strcpy(k->path, path);
    k->check = natural_check(path);
    for (char *word; (word = strtok_r(NULL, " ", &rest));) {
        char *value = strchr(word, '=');
        if (!value)
            wrong("--request", text);
        *value++ = '\0';
        if (strcmp(word, "size") == 0)
            k->body_bytes = parse_number(word, value);
        else if (strcmp(word, "pace") == 0)
            k->pace_ms = parse_duration_ms(word, value);
        else if (strcmp(word, "weight") == 0)
            k->weight = (unsigned)parse_number(word, value);
        else if (strcmp(word, "check") == 0)
            k->check = parse_check(value);
        else
            wrong("--request", text);
    }
    o->weights += k->weight;
}

static void parse_url(struct options *o, const char *url)
{
    char host[64], port[8], tail[2] = "";
    if (sscanf(url, "http://%63[0-9.]:%7[0-9]%1[^/]", host, port, tail) < 2 || tail[0])
        wrong("--url", url);
    strcpy(o->host, host);
    uint64_t n = parse_number("--url", port);
    if (n == 0 || n > 65535)
        wrong("--url", url);
    o->port = (uint16_t)n;
    if (!o->host_header[0])
        snprintf(o->host_header, sizeof(o->host_header), "%s:%s", host, port);
}

static void add_header(struct options *o, const char *text)
{
    size_t len = strlen(o->headers);
    if (!strchr(text, ':') || len + strlen(text) + 3 > sizeof(o->headers))
        wrong("--header", text);
    sprintf(o->headers + len, "%s\r\n", text);
}

static void take_option(struct options *o, const char *name, const char *value)
{
    if (strcmp(name, "--url") == 0)
        parse_url(o, value);
    else if (strcmp(name, "--request") == 0)
        add_kind(o, value);
    else if (strcmp(name, "--connections") == 0)
        o->connections = (unsigned)parse_number(name, value);
    else if (strcmp(name, "--rate") == 0)
        o->rate = (double)parse_number(name, value);
    else if (strcmp(name, "--duration") == 0)
        o->duration_ms = parse_duration_ms(name, value);
    else if (strcmp(name, "--requests") == 0)
        o->requests = parse_number(name, value);
    else if (strcmp(name, "--timeout") == 0)
        o->timeout_ms = parse_duration_ms(name, value);
    else if (strcmp(name, "--reuse") == 0)
        o->reuse = parse_number(name, value);
    else if (strcmp(name, "--host") == 0)
        snprintf(o->host_header, sizeof(o->host_header), "%s", value);
    else if (strcmp(name, "--header") == 0)
        add_header(o, value);
    else if (strcmp(name, "--events") == 0)
        o->events_path = value;
    else
        wrong("option", name);
}

void options_parse(struct options *o, int argc, char **argv)
{
    *o = (struct options){.connections = 16, .timeout_ms = 30000, .keepalive = true};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0) {
            fputs(usage, stdout);
            exit(0);
        }
        if (strcmp(argv[i], "--no-keepalive") == 0)
            o->keepalive = false;
        else if (strcmp(argv[i], "--live") == 0)
            o->live = true;
        else if (i + 1 < argc)
            take_option(o, argv[i], argv[i + 1]), i++;
        else
            wrong("option", argv[i]);
    }
    if (!o->port)
        wrong("--url", "");
    if (!o->kinds_len)
        add_kind(o, "GET /");
    if (!o->duration_ms && !o->requests)
        o->duration_ms = 10000;
    if (!o->connections || o->connections > 20000)
        wrong("--connections", "");
}
