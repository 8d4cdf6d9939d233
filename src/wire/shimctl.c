#include "wire/shimctl.h"

#include "base/assert.h"

#include <string.h>

/* Places, both messages: magic 0, version 4, verb or state 6.
 * Request: signal 8, zero 12, grace 16.
 * Report: pid 8, shim pid 12, code 16, signal 20, flags 24, zero 28, started 32, ended 40,
 * dropped 48, reason 56. */
enum flag { OOM_KILLED = 1, START_FAILED = 2, TIMED_OUT = 4, RECORDED = 8 };

_Static_assert(56 + EXITRECORD_REASON_SIZE == SHIMCTL_REPORT_SIZE, "version 1 is frozen");

static void put(unsigned char *at, uint64_t value, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        at[i] = (unsigned char)(value >> (8 * i));
}

static uint64_t get(const unsigned char *at, size_t bytes)
{
    uint64_t value = 0;
    for (size_t i = 0; i < bytes; i++)
        value |= (uint64_t)at[i] << (8 * i);
    return value;
}

static void put_head(unsigned char *data, unsigned kind)
{
    put(data, SHIMCTL_MAGIC, 4);
    put(data + 4, SHIMCTL_VERSION, 2);
    put(data + 6, kind, 2);
}

static int get_head(const unsigned char *data, unsigned most, unsigned *kind, struct error *err)
{
    if (get(data, 4) != SHIMCTL_MAGIC || get(data + 4, 2) != SHIMCTL_VERSION)
        return error_set(err, ERROR_USAGE, "shim control: not a message of version %d",
                         SHIMCTL_VERSION);
    *kind = (unsigned)get(data + 6, 2);
    if (*kind < 1 || *kind > most)
        return error_set(err, ERROR_USAGE, "shim control: unknown kind %u", *kind);
    return 0;
}

void shimctl_encode_request(const struct shimctl_request *r, unsigned char *data)
{
    memset(data, 0, SHIMCTL_REQUEST_SIZE);
    put_head(data, r->verb);
    put(data + 8, (uint32_t)r->signal, 4);
    put(data + 16, (uint64_t)r->grace_ms, 8);
}

int shimctl_decode_request(const unsigned char *data, struct shimctl_request *r, struct error *err)
{
    unsigned kind;
    if (get_head(data, SHIMCTL_RELEASE, &kind, err) < 0)
        return -1;
    int32_t signal = (int32_t)get(data + 8, 4);
    int64_t grace_ms = (int64_t)get(data + 16, 8);
    if (kind == SHIMCTL_STOP && (signal < 1 || signal > 64 || grace_ms < 0))
        return error_set(err, ERROR_USAGE, "shim control: stop with signal %d, grace %lld ms",
                         (int)signal, (long long)grace_ms);
    *r = (struct shimctl_request){(enum shimctl_verb)kind, signal, grace_ms};
    return 0;
}

void shimctl_encode_report(const struct shimctl_report *r, unsigned char *data)
{
    const struct exit_record *e = &r->end;
    memset(data, 0, SHIMCTL_REPORT_SIZE);
    put_head(data, r->state);
    put(data + 8, (uint32_t)r->pid, 4);
    put(data + 12, (uint32_t)r->shim_pid, 4);
    put(data + 16, (uint32_t)e->code, 4);
    put(data + 20, (uint32_t)e->signal, 4);
    put(data + 24,
        (e->oom_killed ? OOM_KILLED : 0U) | (e->start_failed ? START_FAILED : 0U) |
            (e->timed_out ? TIMED_OUT : 0U) | (r->recorded ? RECORDED : 0U),
        4);
    put(data + 32, (uint64_t)e->started_ms, 8);
    put(data + 40, (uint64_t)e->ended_ms, 8);
    put(data + 48, e->dropped_lines, 8);
    size_t len = strnlen(e->reason, sizeof e->reason - 1);
    memcpy(data + 56, e->reason, len);
}

int shimctl_decode_report(const unsigned char *data, struct shimctl_report *r, struct error *err)
{
    unsigned kind;
    if (get_head(data, SHIMCTL_ENDED, &kind, err) < 0)
        return -1;
    unsigned flags = (unsigned)get(data + 24, 4);
    memset(r, 0, sizeof *r);
    r->state = (enum shimctl_state)kind;
    r->pid = (int32_t)get(data + 8, 4);
    r->shim_pid = (int32_t)get(data + 12, 4);
    r->recorded = (flags & RECORDED) != 0;
    r->end.code = (int32_t)get(data + 16, 4);
    r->end.signal = (int32_t)get(data + 20, 4);
    r->end.oom_killed = (flags & OOM_KILLED) != 0;
    r->end.start_failed = (flags & START_FAILED) != 0;
    r->end.timed_out = (flags & TIMED_OUT) != 0;
    r->end.started_ms = (int64_t)get(data + 32, 8);
    r->end.ended_ms = (int64_t)get(data + 40, 8);
    r->end.dropped_lines = get(data + 48, 8);
    memcpy(r->end.reason, data + 56, sizeof r->end.reason - 1);
    return 0;
}
