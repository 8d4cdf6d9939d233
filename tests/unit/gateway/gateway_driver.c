/* Runs the gateway alone, for tests and benches: a guardian and a controller in one small program.
 *
 *   gateway_driver [workers=N] [trusted=CIDR,...] [listen=HOST:PORT] [nofile=N] [uid=N] [access=1]
 *                  [sockets=FOLDER]
 *
 * Says "ready PORT PID" on stdout, then obeys lines on stdin, with one line of answer each:
 *   version N | app ... | instance ... | pool ... | match ... | route ... | share ... | pin ... |
 *   draining ... | rules ... | edit ... | page ... | caller ... | error ... | mirror ... |
 *   field ... | pointer ...
 *                                 collect a snapshot (see the functions below for the arguments)
 *   apply                         sends it: "applied N" or "refused N why"
 *   request SLOT NAME, instance-metric SLOT NAME, connections, seen N
 *   ejected SLOT (ms left, how often, why)
 *   red SLOT CLASS (requests, microseconds), exemplar SLOT CLASS (trace, microseconds; or none)
 *   sample (the next one: fault, status, method, path, slots, took_us; or none)
 *   copy (the next sample of copies: fault, status, the copy's status, part, where; or none)
 *   access (the next line of the access log, or none), access-drop (all of them: bytes)
 *   worker NAME (refused, reclaimed, shed)
 *   certificate NAME CHAIN KEY, trust NAME CA [CRL] (files), certify (sends those since the last
 *                                 time: "certified", and what is wrong)
 *   drain MS, takeover, wait, listener [tcp:]HOST:PORT (opens another group, gives its port),
 *   close-listener [tcp:]HOST:PORT
 */
#include "base/alloc.h"
#include "base/vec.h"
#include "gateway/gateway.h"
#include "os/durable.h"
#include "os/listen.h"
#include "os/memfd.h"
#include "os/unixsock.h"
#include "wire/accessring.h"
#include "wire/certs.h"
#include "wire/gatewayctl.h"
#include "wire/http1.h"
#include "wire/metrics.h"
#include "wire/snapshot.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static struct snapshot draft;

#define GROW(array, len)                                                                           \
    (array = xrealloc(array, (len) + 1, sizeof *(array)),                                          \
     memset(&(array)[len], 0, sizeof *(array)), &(array)[(len)++])

static void fail(const char *what, const struct error *err)
{
    fprintf(stderr, "driver: %s: %s\n", what, err != NULL ? err->text : "");
    exit(1);
}

/* "key=value" among words: the value. */
static const char *word(char **words, int n, const char *key, const char *otherwise)
{
    size_t len = strlen(key);
    for (int i = 1; i < n; i++)
        if (strncmp(words[i], key, len) == 0 && words[i][len] == '=')
            return words[i] + len + 1;
    return otherwise;
}

/* The same, to be kept longer than the line. */
static const char *arg(char **words, int n, const char *key, const char *otherwise)
{
    return xstrdup(word(words, n, key, otherwise));
}

static uint32_t number(char **words, int n, const char *key, uint32_t otherwise)
{
    const char *v = word(words, n, key, NULL);
    return v != NULL ? (uint32_t)strtoul(v, NULL, 10) : otherwise;
}

/* What the shares of the last route speak that do not say it themselves. */
static struct snapshot_share spoken;

static struct snapshot_share share_of(char **w, int n)
{
    return (struct snapshot_share){
        .pool = number(w, n, "pool", 0),
        .weight_ppm = number(w, n, "weight", 0),
        .slot = number(w, n, "slot", 1),
        .rules = number(w, n, "rules", 0),
        .h2c = number(w, n, "h2c", spoken.h2c) != 0,
        .tls = {arg(w, n, "tls", spoken.tls.name), arg(w, n, "ca", spoken.tls.ca),
                arg(w, n, "pair", spoken.tls.pair)},
    };
}

static uint64_t boot_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_BOOTTIME, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* age: since it was ready, in ms. */
static uint64_t ready_at(char **w, int n)
{
    return word(w, n, "age", NULL) != NULL ? boot_ms() - number(w, n, "age", 0) : 0;
}

static void collect_route(char **w, int n)
{
    struct snapshot_route *r = GROW(draft.routes, draft.routes_len);
    r->app = number(w, n, "app", 0);
    r->host = arg(w, n, "host", "");
    r->path = arg(w, n, "path", "/");
    r->first_match = number(w, n, "first", 0);
    r->matches = number(w, n, "matches", 0);
    r->timeout_ms = number(w, n, "timeout", 60000);
    r->retries = number(w, n, "retries", 1);
    r->resilience = (struct snapshot_resilience){
        .connect_ms = number(w, n, "connect", 0),
        .total_ms = number(w, n, "total", 0),
        .retry_budget_ppm = number(w, n, "budget", 200000),
        .retry_backoff_ms = number(w, n, "backoff", 0),
        .retry_on = number(w, n, "on", SNAPSHOT_RETRY_RESET),
        .eject_errors = number(w, n, "errors", 0),
        .eject_latency_ppm = number(w, n, "latency", 0),
        .eject_base_ms = number(w, n, "base", 30000),
        .eject_max_ms = number(w, n, "max", 300000),
        .eject_share_ppm = number(w, n, "share", 500000),
        .in_flight = number(w, n, "in_flight", 0),
        .pending = number(w, n, "pending", 100),
        .queue_ms = number(w, n, "queue", 5000),
        .slow_start_ms = number(w, n, "slow_start", 0),
    };
    r->forwarded = number(w, n, "forwarded", 0) != 0;
    r->via = number(w, n, "via", 0) != 0;
    r->guard = (struct snapshot_guard){
        .rate_requests = number(w, n, "rate", 0),
        .rate_per_ms = number(w, n, "per", 0),
        .rate_burst = number(w, n, "burst", 0),
        .rate_header = arg(w, n, "by", NULL),
        .body_bytes = number(w, n, "body", 0),
        .head_bytes = number(w, n, "head", 0),
        .min_rate = number(w, n, "min_rate", 0),
    };
    spoken = (struct snapshot_share){0};
    spoken = share_of(w, n);
    r->client_cert = number(w, n, "client_cert", 0) != 0;
    r->sticky_cookie = arg(w, n, "sticky", "");
    r->observe = (struct snapshot_observe){
        .log_ppm = number(w, n, "log", 1000000),
        .log_slower_ms = number(w, n, "slower", 0),
        .log_errors = number(w, n, "errors", 1) != 0,
        .log_query = number(w, n, "query", 0) != 0,
        .trace = word(w, n, "trace", NULL) != NULL,
        .trace_ppm = number(w, n, "trace", 0),
        .request_id = number(w, n, "request_id", 0) != 0,
    };
    if (word(w, n, "to", NULL) != NULL)
        r->redirect =
            (struct snapshot_redirect){arg(w, n, "to", NULL), (uint16_t)number(w, n, "status", 308),
                                       (uint16_t)number(w, n, "keep", 0)};
}

/* Of the rules before it; the request's first. */
static void collect_edit(char **w, int n)
{
    struct snapshot_rules *r = &draft.rules[draft.rules_len - 1];
    struct snapshot_edit *e = GROW(draft.edits, draft.edits_len);
    *e = (struct snapshot_edit){(uint16_t)number(w, n, "kind", 0), arg(w, n, "name", ""),
                                arg(w, n, "value", "")};
    if (number(w, n, "answer", 0) != 0)
        r->answer_edits++;
    else
        r->request_edits++;
}

/* Of the last route; field and pointer lines before it belong to it. */
static void collect_mirror(char **w, int n, struct snapshot_route *r)
{
    uint32_t fields = number(w, n, "fields", 0), ignored = number(w, n, "ignored", 0);
    r->mirror = (struct snapshot_mirror){
        .share_ppm = number(w, n, "share", 1000000),
        .to = share_of(w, n),
        .copied_slot = number(w, n, "copied", 3),
        .methods = number(w, n, "methods", 1 << HTTP1_M_GET | 1 << HTTP1_M_HEAD),
        .body_bytes = number(w, n, "body", 0),
        .compare = number(w, n, "compare", SNAPSHOT_COMPARE_ALL),
        .first_field = draft.fields_len - fields,
        .fields = fields,
        .first_ignored = draft.pointers_len - ignored,
        .ignored = ignored,
    };
}

static int collect(char **w, int n)
{
    struct snapshot_route *last = draft.routes_len > 0 ? &draft.routes[draft.routes_len - 1] : NULL;
    if (strcmp(w[0], "version") == 0) {
        memset(&draft, 0, sizeof draft);
        draft.version = strtoull(w[1], NULL, 10);
    } else if (strcmp(w[0], "app") == 0) {
        struct snapshot_app *a = GROW(draft.apps, draft.apps_len);
        *a = (struct snapshot_app){
            .name = "app",
            .environment = "production",
            .hold = number(w, n, "hold", 0) != 0,
            .stopped = number(w, n, "stopped", 0) != 0,
            .hold_ms = number(w, n, "hold_ms", 10000),
            .hold_limit = number(w, n, "hold_limit", 1000),
            .drain_ms = number(w, n, "drain_ms", 30000),
            .slot = number(w, n, "slot", 0),
            .errors = number(w, n, "errors", 0),
            .maintenance = {(uint16_t)number(w, n, "maintenance", 0),
                            number(w, n, "retry_after", 0), number(w, n, "barred_ms", 0),
                            number(w, n, "page", 0), 0, number(w, n, "allowed", 0)},
            .fault = {number(w, n, "fault", 0), number(w, n, "delay", 0),
                      (uint16_t)number(w, n, "abort", 0), boot_ms() + number(w, n, "until", 60000),
                      0, number(w, n, "struck", 0)}};
    } else if (strcmp(w[0], "page") == 0) {
        struct snapshot_page *p = GROW(draft.pages, draft.pages_len);
        p->type = arg(w, n, "type", "text/html");
        p->body.len = number(w, n, "len", 0);
        p->body.data = xcalloc(1, p->body.len + 1u);
        memset((char *)p->body.data, 'x', p->body.len);
    } else if (strcmp(w[0], "error") == 0) {
        struct snapshot_error *e = GROW(draft.errors, draft.errors_len);
        *e = (struct snapshot_error){(uint16_t)number(w, n, "status", 0), number(w, n, "page", 1)};
    } else if (strcmp(w[0], "caller") == 0) {
        struct snapshot_caller *k = GROW(draft.callers, draft.callers_len);
        *k = (struct snapshot_caller){arg(w, n, "name", NULL), arg(w, n, "value", NULL), 0,
                                      UINT64_C(0xffff00000000) | number(w, n, "ipv4", 0),
                                      (uint16_t)number(w, n, "bits", 128)};
    } else if (strcmp(w[0], "instance") == 0) {
        struct snapshot_instance *i = GROW(draft.instances, draft.instances_len);
        *i = (struct snapshot_instance){arg(w, n, "id", "i"),
                                        number(w, n, "slot", 0),
                                        (uint16_t)number(w, n, "port", 0),
                                        number(w, n, "keepalive", 4000),
                                        ready_at(w, n),
                                        number(w, n, "ipv6", 0) != 0,
                                        arg(w, n, "socket", NULL),
                                        number(w, n, "socket_uid", SNAPSHOT_ANY_UID)};
    } else if (strcmp(w[0], "pool") == 0) {
        struct snapshot_pool *p = GROW(draft.pools, draft.pools_len);
        *p = (struct snapshot_pool){number(w, n, "release", 1), arg(w, n, "version", "1"),
                                    number(w, n, "first", 0), number(w, n, "instances", 0),
                                    number(w, n, "slo_us", 0)};
    } else if (strcmp(w[0], "match") == 0) {
        struct snapshot_match *m = GROW(draft.matches, draft.matches_len);
        *m = (struct snapshot_match){number(w, n, "kind", SNAPSHOT_MATCH_HEADER),
                                     arg(w, n, "name", "x"), arg(w, n, "value", NULL)};
    } else if (strcmp(w[0], "route") == 0) {
        collect_route(w, n);
    } else if (strcmp(w[0], "share") == 0 && last != NULL) {
        last->shares[last->shares_len++] = share_of(w, n);
    } else if (strcmp(w[0], "pin") == 0 && last != NULL) {
        last->pins[last->pins_len++] =
            (struct snapshot_pin){share_of(w, n), number(w, n, "first", 0),
                                  number(w, n, "matches", 1), number(w, n, "client_cert", 0) != 0};
    } else if (strcmp(w[0], "rules") == 0) {
        struct snapshot_rules *r = GROW(draft.rules, draft.rules_len);
        *r = (struct snapshot_rules){arg(w, n, "strip", NULL),
                                     arg(w, n, "prefix", NULL),
                                     arg(w, n, "path", NULL),
                                     draft.edits_len,
                                     0,
                                     0};
    } else if (strcmp(w[0], "edit") == 0 && draft.rules_len > 0) {
        collect_edit(w, n);
    } else if (strcmp(w[0], "mirror") == 0 && last != NULL) {
        collect_mirror(w, n, last);
    } else if (strcmp(w[0], "field") == 0) {
        GROW(draft.fields, draft.fields_len)->name = arg(w, n, "name", "");
    } else if (strcmp(w[0], "pointer") == 0) {
        GROW(draft.pointers, draft.pointers_len)->text = arg(w, n, "text", "");
    } else if (strcmp(w[0], "draining") == 0) {
        struct snapshot_draining *d = GROW(draft.draining, draft.draining_len);
        *d = (struct snapshot_draining){number(w, n, "slot", 0),
                                        boot_ms() + number(w, n, "in", 1000)};
    } else {
        return -1;
    }
    return 0;
}

static void receive(int fd, struct gatewayctl_message *m, int *fds, size_t *fds_len)
{
    struct error err = ERROR_INIT;
    struct pollfd p = {.fd = fd, .events = POLLIN};
    enum unixsock_result r;
    while ((r = unixsock_recv(fd, m, sizeof *m, fds, LISTENER_SOCKETS, fds_len, &err)) ==
           UNIXSOCK_AGAIN)
        if (poll(&p, 1, 10000) <= 0)
            fail("no answer from the gateway", NULL);
    if (r != UNIXSOCK_OK)
        fail("control", &err);
}

static void apply(int control)
{
    draft.request_slots = METRICS_REQUEST_SLOTS;
    draft.instance_slots = METRICS_INSTANCE_SLOTS;
    struct buf b = BUF_INIT;
    struct error err = ERROR_INIT;
    snapshot_encode(&draft, &b);
    int fd = memfd_make("snapshot", b.data, b.len, &err);
    struct gatewayctl_message m = {
        .magic = GATEWAYCTL_MAGIC, .type = GATEWAYCTL_SNAPSHOT, .a = draft.version, .b = b.len};
    if (fd < 0 || unixsock_send(control, &m, sizeof m, &fd, 1, &err) != UNIXSOCK_OK)
        fail("snapshot", &err);
    close(fd);
    buf_release(&b);
    int fds[LISTENER_SOCKETS];
    size_t fds_len;
    receive(control, &m, fds, &fds_len);
    printf("%s %llu %s\n", m.type == GATEWAYCTL_APPLIED ? "applied" : "refused",
           (unsigned long long)m.a, m.text);
}

static const char *const request_names[] = {"requests",         "5xx",           "4xx",
                                            "failed",           "cut",           "left",
                                            "spilled",          "retried",       "held",
                                            "unserved",         "bad",           "waiting",
                                            "bytes_in",         "bytes_out",     "above_slo",
                                            "repeats",          "unretried",     "rescued",
                                            "in_flight",        "queued",        "queue",
                                            "refused",          "rate_limited",  "too_large",
                                            "too_slow",         "maintenance",   "faults",
                                            "compared",         "differed",      "differed_status",
                                            "differed_headers", "differed_body", "uncompared",
                                            "uncopied"};
static const char *const instance_names[] = {"in_flight",  "requests", "errors",   "connect_errors",
                                             "latency_us", "upgraded", "above_slo"};
_Static_assert(COUNT_OF(request_names) == REQUEST_METRICS, "names of request metrics");
_Static_assert(COUNT_OF(instance_names) == INSTANCE_METRICS, "names of instance metrics");

static uint64_t metric_of(const struct metrics_view *v, char **w)
{
    uint32_t slot = (uint32_t)strtoul(w[1], NULL, 10);
    for (size_t i = 0; i < REQUEST_METRICS && strcmp(w[0], "request") == 0; i++)
        if (strcmp(w[2], request_names[i]) == 0)
            return metrics_request(v, slot, (enum request_metric)i);
    for (size_t i = 0; i < INSTANCE_METRICS && strcmp(w[0], "instance-metric") == 0; i++)
        if (strcmp(w[2], instance_names[i]) == 0)
            return metrics_instance(v, slot, (enum instance_metric)i);
    return UINT64_MAX;
}

static void tell_red(const struct metrics_view *v, char **w)
{
    uint32_t slot = (uint32_t)strtoul(w[1], NULL, 10);
    struct red red = {0};
    struct exemplar e;
    metrics_red(v, slot, &red);
    for (int c = 0; c < RED_CLASSES_COUNT; c++) {
        uint64_t n = 0;
        bool found = false;
        if (strcmp(red_class_word((enum red_class)c), w[2]) != 0)
            continue;
        for (uint32_t s = 0; s < RED_STEPS; s++) {
            n += red.classes[c].steps[s];
            for (uint32_t k = 0; k < v->workers_len && !found; k++)
                found = exemplars_get(&v->workers[k].exemplars, slot, (enum red_class)c, s, &e);
        }
        if (strcmp(w[0], "red") == 0)
            printf("%llu %llu\n", (unsigned long long)n, (unsigned long long)red.classes[c].us);
        else if (found)
            printf("%.*s %llu\n", TRACE_ID_LEN, e.trace, (unsigned long long)e.us);
        else
            printf("none\n");
        return;
    }
    printf("no such class\n");
}

static uint64_t worker_metric(const struct metrics_view *v, const char *name)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < v->workers_len; i++) {
        const struct metrics_worker *w = &v->workers[i];
        const metric *m = strcmp(name, "refused") == 0     ? &w->connections_refused
                          : strcmp(name, "reclaimed") == 0 ? &w->connections_reclaimed
                                                           : &w->shed;
        sum += atomic_load((metric *)m);
    }
    return sum;
}

static void take_over(int control)
{
    struct gatewayctl_message m = {.magic = GATEWAYCTL_MAGIC, .type = GATEWAYCTL_TAKE_OVER};
    unixsock_send(control, &m, sizeof m, NULL, 0, NULL);
    size_t sockets = 0, groups = 0;
    do {
        int fds[LISTENER_SOCKETS];
        size_t n;
        receive(control, &m, fds, &n);
        sockets += n;
        groups += m.type == GATEWAYCTL_LISTENER;
        unixsock_close_all(fds, n);
    } while (m.type != GATEWAYCTL_DONE);
    printf("listeners %zu %zu\n", groups, sockets);
}

static void add_listener(int control, const char *text, uint32_t workers)
{
    struct boot_listener l;
    struct error err = ERROR_INIT;
    if (listen_open(&l, text, workers, &err) < 0)
        fail("listener", &err);
    struct gatewayctl_message m = {.magic = GATEWAYCTL_MAGIC, .type = GATEWAYCTL_LISTENER};
    memcpy(m.text, l.address, strlen(l.address));
    unixsock_send(control, &m, sizeof m, l.fds, LISTENER_SOCKETS, NULL);
    printf("%s\n", strrchr(l.address, ':') + 1);
    listen_close(&l);
}

/* ---- certificates ---- */

static struct cert certs[16];
static size_t certs_len;

static const char *file_text(const char *path, size_t *len)
{
    struct error err = ERROR_INIT;
    struct buf text = BUF_INIT;
    if (file_read(AT_FDCWD, path, 1 << 20, &text, &err) < 0)
        fail(path, &err);
    *len = text.len;
    return text.data;
}

static void collect_certificate(enum cert_kind kind, char **w, int n)
{
    if (n < 3 || certs_len == COUNT_OF(certs))
        fail("certificate NAME CHAIN KEY", NULL);
    struct cert *c = &certs[certs_len++];
    *c = (struct cert){.kind = kind, .name = xstrdup(w[1]), .name_len = strlen(w[1])};
    c->chain = file_text(w[2], &c->chain_len);
    if (n > 3)
        c->key = file_text(w[3], &c->key_len);
}

static void certify(int control)
{
    struct buf b = BUF_INIT;
    struct error err = ERROR_INIT;
    certs_encode(certs, certs_len, &b);
    int fd = memfd_make("certificates", b.data, b.len, &err);
    struct gatewayctl_message m = {
        .magic = GATEWAYCTL_MAGIC, .type = GATEWAYCTL_CERTIFICATES, .a = 1, .b = b.len};
    if (fd < 0 || unixsock_send(control, &m, sizeof m, &fd, 1, &err) != UNIXSOCK_OK)
        fail("certificates", &err);
    close(fd);
    buf_release(&b);
    certs_len = 0;
    int fds[LISTENER_SOCKETS];
    size_t fds_len;
    receive(control, &m, fds, &fds_len);
    printf("certified %s\n", m.text);
}

static void tell_sample(const struct metrics_view *v)
{
    static uint64_t seen[METRICS_MAX_WORKERS];
    struct sample s;
    for (uint32_t w = 0; w < v->workers_len; w++)
        if (samples_next(&v->workers[w].samples, &seen[w], &s)) {
            printf("%s %u %s %s%s %u %d %llu\n", sample_fault_word((enum sample_fault)s.fault),
                   s.status, sample_method_word(s.method), s.path, s.path_cut ? "..." : "",
                   s.request_slot, (int)s.instance_slot, (unsigned long long)s.took_us);
            return;
        }
    printf("none\n");
}

static void tell_copy(const struct metrics_view *v)
{
    static uint64_t seen[METRICS_MAX_WORKERS];
    struct sample s;
    for (uint32_t w = 0; w < v->workers_len; w++)
        if (samples_next(&v->workers[w].copies, &seen[w], &s)) {
            printf("%s %u %u %s %s\n", sample_fault_word((enum sample_fault)s.fault), s.status,
                   s.copy_status, sample_part_word((enum sample_part)s.part), s.where);
            return;
        }
    printf("none\n");
}

static struct access_rings *rings; /* NULL: there is no access log */
static uint32_t rings_count;

static void tell_access(void)
{
    for (uint32_t i = 0; i < rings_count; i++) {
        struct iovec parts[2];
        size_t len = access_ring_peek(&rings->ring[i], parts), n = 0;
        char c = 0;
        for (; n < len && c != '\n'; n++) {
            c = n < parts[0].iov_len ? ((char *)parts[0].iov_base)[n]
                                     : ((char *)parts[1].iov_base)[n - parts[0].iov_len];
            putchar(c);
        }
        access_ring_take(&rings->ring[i], n);
        if (n > 0)
            return;
    }
    printf("none\n");
}

static void drop_access(void)
{
    size_t sum = 0;
    for (uint32_t i = 0; i < rings_count; i++) {
        struct iovec parts[2];
        size_t len = access_ring_peek(&rings->ring[i], parts);
        access_ring_take(&rings->ring[i], len);
        sum += len;
    }
    printf("%zu\n", sum);
}

static void obey(char *line, int control, pid_t gateway, const struct metrics_view *v)
{
    char *words[32], *save = NULL;
    int n = 0;
    for (char *s = strtok_r(line, " \n", &save); s != NULL && n < 32;
         s = strtok_r(NULL, " \n", &save))
        words[n++] = s;
    if (n == 0)
        return;
    if (strcmp(words[0], "apply") == 0) {
        apply(control);
    } else if (strcmp(words[0], "certificate") == 0 || strcmp(words[0], "trust") == 0) {
        collect_certificate(words[0][0] == 't' ? CERT_TRUST : CERT_PAIR, words, n);
        return;
    } else if (strcmp(words[0], "certify") == 0) {
        certify(control);
    } else if (strcmp(words[0], "drain") == 0) {
        struct gatewayctl_message m = {
            .magic = GATEWAYCTL_MAGIC, .type = GATEWAYCTL_DRAIN, .a = strtoull(words[1], NULL, 10)};
        unixsock_send(control, &m, sizeof m, NULL, 0, NULL);
        printf("draining\n");
    } else if (strcmp(words[0], "listener") == 0) {
        add_listener(control, words[1], v->workers_len);
    } else if (strcmp(words[0], "close-listener") == 0) {
        struct gatewayctl_message m = {.magic = GATEWAYCTL_MAGIC,
                                       .type = GATEWAYCTL_CLOSE_LISTENER};
        snprintf(m.text, sizeof m.text, "%s", words[1]);
        unixsock_send(control, &m, sizeof m, NULL, 0, NULL);
        printf("closing\n");
    } else if (strcmp(words[0], "takeover") == 0) {
        take_over(control);
    } else if (strcmp(words[0], "connections") == 0) {
        uint64_t sum = 0;
        for (uint32_t i = 0; i < v->workers_len; i++)
            sum += atomic_load(&v->workers[i].connections);
        printf("%llu\n", (unsigned long long)sum);
    } else if (strcmp(words[0], "worker") == 0) {
        printf("%llu\n", (unsigned long long)worker_metric(v, words[1]));
    } else if (strcmp(words[0], "access-drop") == 0) {
        drop_access();
    } else if (strcmp(words[0], "access") == 0) {
        tell_access();
    } else if (strcmp(words[0], "ejected") == 0) {
        uint32_t slot = (uint32_t)strtoul(words[1], NULL, 10);
        enum ejection_reason why;
        uint64_t often = metrics_ejections(v, slot, &why);
        printf("%llu %llu %s\n", (unsigned long long)metrics_ejected_ms(v, slot, boot_ms()),
               (unsigned long long)often, why == EJECTED_LATENCY ? "latency" : "errors");
    } else if (strcmp(words[0], "sample") == 0) {
        tell_sample(v);
    } else if (strcmp(words[0], "copy") == 0) {
        tell_copy(v);
    } else if (strcmp(words[0], "seen") == 0) {
        printf("%d\n", metrics_seen(v, strtoull(words[1], NULL, 10)));
    } else if (strcmp(words[0], "wait") == 0) {
        int status = 0;
        waitpid(gateway, &status, 0);
        printf("exit %d\n", WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status));
    } else if (n == 3 && (strcmp(words[0], "red") == 0 || strcmp(words[0], "exemplar") == 0)) {
        tell_red(v, words);
    } else if (n == 3 &&
               (strcmp(words[0], "request") == 0 || strcmp(words[0], "instance-metric") == 0)) {
        printf("%llu\n", (unsigned long long)metric_of(v, words));
    } else if (collect(words, n) < 0) {
        printf("unknown command\n");
    }
    fflush(stdout);
}

int main(int argc, char **argv)
{
    struct error err = ERROR_INIT;
    struct boot boot;
    boot_init(&boot);
    boot.role = BOOT_GATEWAY;
    boot.workers = number(argv, argc, "workers", 1);
    boot.generation = 1;
    boot.log_level = number(argv, argc, "log", 2);
    boot.owner_uid = getuid();
    const char *uid = word(argv, argc, "uid", NULL), *sockets = word(argv, argc, "sockets", "/");
    if (chdir(sockets) < 0)
        fail(sockets, NULL);
    if (uid != NULL)
        boot.gateway_uid = boot.gateway_gid = strtol(uid, NULL, 10);
    boot_set(&boot.access_log, word(argv, argc, "access", ""));
    boot_set(&boot.trusted_proxies, word(argv, argc, "trusted", ""));
    boot.proxy_protocol = number(argv, argc, "proxy", 0);
    boot.max_connections = number(argv, argc, "max", 0);
    boot.max_connections_per_client = number(argv, argc, "max_per_client", 0);
    if (listen_open(&boot.listeners[0], word(argv, argc, "listen", "127.0.0.1:0"),
                    (uint32_t)boot.workers, &err) < 0)
        fail("listen", &err);
    boot.listeners_len = 1;
    char folder[] = "/tmp/gateway-driver-XXXXXX", path[64];
    if (mkdtemp(folder) == NULL)
        fail("temporary folder", NULL);
    snprintf(path, sizeof path, "%s/g.sock", folder);
    boot.control_fd = unixsock_listen_path(path, SOCK_SEQPACKET, 0600, &err);
    if (boot.control_fd < 0)
        fail("control socket", &err);
    uint32_t nofile = number(argv, argc, "nofile", 0);
    pid_t gateway = fork();
    if (gateway == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        struct rlimit r = {nofile, nofile};
        if (nofile > 0)
            setrlimit(RLIMIT_NOFILE, &r);
        int status = gateway_main(&boot);
        boot_release(&boot);
        return status;
    }
    int control = unixsock_connect_path(path, SOCK_SEQPACKET, &err);
    if (control < 0)
        fail("connect", &err);
    unlink(path);
    rmdir(folder);
    struct gatewayctl_message m;
    int fds[LISTENER_SOCKETS];
    size_t fds_len;
    receive(control, &m, fds, &fds_len);
    struct metrics_view view = {0};
    if (m.type != GATEWAYCTL_HELLO || fds_len != 1 || metrics_view_open(&view, fds[0], &err) < 0)
        fail("hello", &err);
    if (boot.access_log[0] != '\0') {
        receive(control, &m, fds, &fds_len);
        if (m.type != GATEWAYCTL_ACCESS_LOG || fds_len != 1 ||
            (rings = access_rings_open(fds[0], &rings_count, &err)) == NULL)
            fail("access log", &err);
    }
    listen_close(&boot.listeners[0]); /* the gateway has its own */
    printf("ready %s %d\n", strrchr(boot.listeners[0].address, ':') + 1, (int)gateway);
    fflush(stdout);
    char line[4096];
    while (fgets(line, sizeof line, stdin) != NULL)
        obey(line, control, gateway, &view);
    kill(gateway, SIGKILL);
    return 0;
}
