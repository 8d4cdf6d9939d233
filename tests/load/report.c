#include "load.h"

#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>

enum { EXAMPLES = 5, LABELS = 512, BUCKETS_PER_OCTAVE = 32, BUCKETS = 64 * BUCKETS_PER_OCTAVE };

static const char *const failure_names[] = {
#define X(name, what) #name,
    FAILURES(X)
#undef X
};

struct histogram {
    uint64_t buckets[BUCKETS], count, max_us;
};

struct label { /* a version or an instance */
    char name[LABEL_MAX];
    uint64_t ok, failed, app_5xx, in_second;
    int64_t first_us, last_us;
};

struct report {
    const struct options *options;
    int64_t start_us, last_ok_us, max_gap_us, max_gap_at_us;
    int64_t epoch_offset_us; /* wall clock minus monotonic */
    uint64_t ok, failed, stale_retries, connections;
    uint64_t by_class[FAILURES_COUNT];
    char examples[FAILURES_COUNT][EXAMPLES][1024];
    struct histogram all, second, of_kind[KINDS_MAX];
    uint64_t kind_ok[KINDS_MAX], kind_failed[KINDS_MAX];
    struct label versions[LABELS], instances[LABELS];
    uint64_t second_ok, second_failed, second_app_5xx;
    FILE *events;
};

/* ---- histogram: 32 buckets per octave, an error of 3 % at most
 * ------------------------------------------ */

static size_t bucket_of(uint64_t us)
{
    if (us < BUCKETS_PER_OCTAVE)
        return (size_t)us;
    int octave = 63 - __builtin_clzll(us) - 5;
    return (size_t)(octave + 1) * BUCKETS_PER_OCTAVE + (size_t)(us >> octave) - BUCKETS_PER_OCTAVE;
}

static uint64_t bucket_high(size_t bucket)
{
    if (bucket < BUCKETS_PER_OCTAVE)
        return bucket;
    size_t octave = bucket / BUCKETS_PER_OCTAVE - 1;
    return (uint64_t)(bucket % BUCKETS_PER_OCTAVE + BUCKETS_PER_OCTAVE + 1) << octave;
}

static void histogram_add(struct histogram *h, uint64_t us)
{
    h->buckets[bucket_of(us)]++;
    h->count++;
    if (us > h->max_us)
        h->max_us = us;
}

static double quantile_ms(const struct histogram *h, double q)
{
    uint64_t wanted = (uint64_t)((double)h->count * q), seen = 0;
    for (size_t i = 0; i < BUCKETS && h->count; i++) {
        seen += h->buckets[i];
        if (seen > wanted || seen == h->count)
            return (double)(bucket_high(i) < h->max_us ? bucket_high(i) : h->max_us) / 1000;
    }
    return 0;
}

/* ---- adding
 * ------------------------------------------------------------------------------------------------
 */

struct report *report_new(const struct options *o, int64_t start_us)
{
    struct report *r = calloc(1, sizeof(*r));
    if (!r)
        abort();
    r->options = o;
    r->start_us = r->last_ok_us = start_us;
    struct timeval wall;
    gettimeofday(&wall, NULL);
    r->epoch_offset_us = (int64_t)wall.tv_sec * 1000000 + wall.tv_usec - start_us;
    if (o->events_path && !(r->events = fopen(o->events_path, "w"))) {
        perror(o->events_path);
        exit(2);
    }
    return r;
}

void report_free(struct report *r)
{
    if (r->events)
        fclose(r->events);
    free(r);
}

static struct label *find_label(struct label labels[LABELS], const char *name)
{
    size_t i = 0;
    while (i < LABELS - 1 && labels[i].name[0] && strcmp(labels[i].name, name) != 0)
        i++;
    snprintf(labels[i].name, sizeof(labels[i].name), "%s", name);
    return &labels[i];
}

static void label_add(struct label labels[LABELS], const char *name, const struct outcome *o)
{
    if (!name || !name[0])
        return;
    struct label *l = find_label(labels, name);
    if (!l->first_us)
        l->first_us = o->end_us;
    l->last_us = o->end_us;
    l->in_second++;
    l->ok += o->failure == NOT_FAILED;
    l->failed += o->failure != NOT_FAILED;
    l->app_5xx += o->failure == FAILED_app_5xx;
}

static size_t put_json_text(char *to, size_t size, const char *text)
{
    size_t len = 0;
    for (const unsigned char *c = (const unsigned char *)text; *c && len + 8 < size; c++) {
        if (*c == '"' || *c == '\\')
            to[len++] = '\\', to[len++] = (char)*c;
        else if (*c < 32 || *c > 126)
            len += (size_t)sprintf(to + len, "\\u%04x", *c);
        else
            to[len++] = (char)*c;
    }
    to[len] = '\0';
    return len;
}

static void describe_failure(const struct report *r, const struct outcome *o, char *to, size_t size)
{
    char what[512], path[256];
    put_json_text(what, sizeof(what), o->what ? o->what : "");
    put_json_text(path, sizeof(path), o->kind->text);
    snprintf(to, size,
             "{\"t_ms\":%lld,\"after_ms\":%lld,\"class\":\"%s\",\"request\":\"%s\",\"number\":%llu,"
             "\"of_connection\":%llu,\"took_ms\":%.1f,\"version\":\"%s\",\"instance\":\"%s\","
             "\"what\":\"%s\"}",
             (long long)((o->end_us + r->epoch_offset_us) / 1000),
             (long long)((o->end_us - r->start_us) / 1000), failure_names[o->failure], path,
             (unsigned long long)o->number, (unsigned long long)o->request_of_connection,
             (double)(o->end_us - o->due_us) / 1000, o->version ? o->version : "",
             o->instance ? o->instance : "", what);
}

static void add_failure(struct report *r, const struct outcome *o)
{
    char text[1024];
    uint64_t n = r->by_class[o->failure]++;
    r->failed++;
    r->second_failed++;
    r->second_app_5xx += o->failure == FAILED_app_5xx;
    r->kind_failed[o->kind_index]++;
    if (n >= EXAMPLES && !r->events)
        return;
    describe_failure(r, o, text, sizeof(text));
    if (n < EXAMPLES)
        strcpy(r->examples[o->failure][n], text);
    if (r->events) {
        fprintf(r->events, "%s\n", text);
        fflush(r->events);
    }
}

void report_add(struct report *r, const struct outcome *o)
{
    label_add(r->versions, o->version, o);
    label_add(r->instances, o->instance, o);
    if (o->failure != NOT_FAILED) {
        add_failure(r, o);
        return;
    }
    uint64_t us = o->end_us > o->due_us ? (uint64_t)(o->end_us - o->due_us) : 0;
    r->ok++;
    r->second_ok++;
    r->kind_ok[o->kind_index]++;
    histogram_add(&r->all, us);
    histogram_add(&r->second, us);
    histogram_add(&r->of_kind[o->kind_index], us);
    if (o->end_us - r->last_ok_us > r->max_gap_us) {
        r->max_gap_us = o->end_us - r->last_ok_us;
        r->max_gap_at_us = r->last_ok_us;
    }
    r->last_ok_us = o->end_us;
}

void report_stale_retry(struct report *r)
{
    r->stale_retries++;
}

void report_connection(struct report *r)
{
    r->connections++;
}

/* ---- printing
 * ------------------------------------------------------------------------------------------------
 */

void report_second(struct report *r, int64_t now_us)
{
    fprintf(stderr,
            "{\"t_ms\":%lld,\"ok\":%llu,\"failed\":%llu,\"app_5xx\":%llu,\"p95_ms\":%.2f,"
            "\"versions\":{",
            (long long)((now_us + r->epoch_offset_us) / 1000), (unsigned long long)r->second_ok,
            (unsigned long long)r->second_failed, (unsigned long long)r->second_app_5xx,
            quantile_ms(&r->second, 0.95));
    for (size_t i = 0, n = 0; i < LABELS && r->versions[i].name[0]; i++) {
        if (r->versions[i].in_second)
            fprintf(stderr, "%s\"%s\":%llu", n++ ? "," : "", r->versions[i].name,
                    (unsigned long long)r->versions[i].in_second);
        r->versions[i].in_second = 0;
    }
    fprintf(stderr, "}}\n");
    r->second_ok = r->second_failed = r->second_app_5xx = 0;
    memset(&r->second, 0, sizeof(r->second));
}

static void print_quantiles(FILE *out, const struct histogram *h)
{
    fprintf(out, "{\"p50\":%.3f,\"p90\":%.3f,\"p95\":%.3f,\"p99\":%.3f,\"p999\":%.3f,\"max\":%.3f}",
            quantile_ms(h, 0.5), quantile_ms(h, 0.9), quantile_ms(h, 0.95), quantile_ms(h, 0.99),
            quantile_ms(h, 0.999), (double)h->max_us / 1000);
}

static void print_failures(const struct report *r, FILE *out)
{
    fprintf(out, "\"failures\":{");
    bool comma = false;
    for (int i = 0; i < FAILURES_COUNT; i++) {
        if (!r->by_class[i])
            continue;
        fprintf(out, "%s\"%s\":{\"count\":%llu,\"examples\":[", comma ? "," : "", failure_names[i],
                (unsigned long long)r->by_class[i]);
        comma = true;
        for (uint64_t j = 0; j < r->by_class[i] && j < EXAMPLES; j++)
            fprintf(out, "%s%s", j ? "," : "", r->examples[i][j]);
        fprintf(out, "]}");
    }
    fprintf(out, "},");
}

static void print_labels(const struct report *r, FILE *out, const char *name,
                         const struct label labels[LABELS])
{
    fprintf(out, "\"%s\":{", name);
    for (size_t i = 0; i < LABELS && labels[i].name[0]; i++) {
        const struct label *l = &labels[i];
        char text[LABEL_MAX * 6 + 8];
        put_json_text(text, sizeof(text), l->name);
        fprintf(out,
                "%s\"%s\":{\"ok\":%llu,\"failed\":%llu,\"app_5xx\":%llu,\"first_ms\":%lld,"
                "\"last_ms\":%lld}",
                i ? "," : "", text, (unsigned long long)l->ok, (unsigned long long)l->failed,
                (unsigned long long)l->app_5xx,
                (long long)((l->first_us + r->epoch_offset_us) / 1000),
                (long long)((l->last_us + r->epoch_offset_us) / 1000));
    }
    fprintf(out, "},");
}

static void print_kinds(const struct report *r, FILE *out)
{
    fprintf(out, "\"requests\":[");
    for (size_t i = 0; i < r->options->kinds_len; i++) {
        char text[600];
        put_json_text(text, sizeof(text), r->options->kinds[i].text);
        fprintf(out,
                "%s{\"request\":\"%s\",\"ok\":%llu,\"failed\":%llu,\"latency_ms\":", i ? "," : "",
                text, (unsigned long long)r->kind_ok[i], (unsigned long long)r->kind_failed[i]);
        print_quantiles(out, &r->of_kind[i]);
        fprintf(out, "}");
    }
    fprintf(out, "],");
}

void report_print(struct report *r, FILE *out, uint64_t sent, int64_t now_us)
{
    double seconds = (double)(now_us - r->start_us) / 1e6;
    if (now_us - r->last_ok_us > r->max_gap_us) {
        r->max_gap_us = now_us - r->last_ok_us;
        r->max_gap_at_us = r->last_ok_us;
    }
    fprintf(out, "{\"sent\":%llu,\"ok\":%llu,\"failed\":%llu,", (unsigned long long)sent,
            (unsigned long long)r->ok, (unsigned long long)r->failed);
    print_failures(r, out);
    fprintf(out, "\"stale_retries\":%llu,\"connections_made\":%llu,",
            (unsigned long long)r->stale_retries, (unsigned long long)r->connections);
    print_labels(r, out, "versions", r->versions);
    print_labels(r, out, "instances", r->instances);
    print_kinds(r, out);
    fprintf(out, "\"latency_ms\":");
    print_quantiles(out, &r->all);
    fprintf(out,
            ",\"max_gap_ms\":%.1f,\"max_gap_at_ms\":%lld,\"started_ms\":%lld,\"duration_ms\":%.1f,"
            "\"rate\":%.1f}\n",
            (double)r->max_gap_us / 1000,
            (long long)((r->max_gap_at_us + r->epoch_offset_us) / 1000),
            (long long)((r->start_us + r->epoch_offset_us) / 1000), seconds * 1000,
            seconds > 0 ? (double)sent / seconds : 0);
}
