/* What is said over a shim's control socket. Version 1, frozen: shims outlive upgrades of sluice,
 * so an old shim and a new controller must understand each other for ever. Pure.
 *
 * SOCK_SEQPACKET; requests of SHIMCTL_REQUEST_SIZE bytes go in, reports of SHIMCTL_REPORT_SIZE come
 * out: one in answer to each STATUS, and one to every connection whenever the state changes. The
 * other requests are not answered. Numbers are little-endian at fixed places.
 */
#ifndef SLUICE_WIRE_SHIMCTL_H
#define SLUICE_WIRE_SHIMCTL_H

#include "base/error.h"
#include "wire/exitrecord.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    SHIMCTL_VERSION = 1,
    SHIMCTL_MAGIC = 0x4C48534C, /* "LSHL" */
    SHIMCTL_REQUEST_SIZE = 24,
    SHIMCTL_REPORT_SIZE = 312,
};

enum shimctl_verb {
    SHIMCTL_STOP = 1, /* signal to the group, KILL to all after grace_ms; repeated: the earlier end
                         counts */
    SHIMCTL_KILL = 2, /* KILL to all now */
    SHIMCTL_STATUS = 3,  /* answered with a report */
    SHIMCTL_RELEASE = 4, /* when all is over but the record could not be written: end without it */
};

struct shimctl_request {
    enum shimctl_verb verb;
    int32_t signal;
    int64_t grace_ms;
};

enum shimctl_state {
    SHIMCTL_STARTING = 1,
    SHIMCTL_RUNNING = 2,
    SHIMCTL_STOPPING = 3, /* also: killing what is left */
    SHIMCTL_ENDED = 4,    /* nothing of the run is left; end says how it ended */
};

struct shimctl_report {
    enum shimctl_state state;
    int32_t pid; /* of the app; 0: none */
    int32_t shim_pid;
    bool recorded; /* the exit record is on disk */
    struct exit_record end;
};

/* data holds SHIMCTL_REQUEST_SIZE (SHIMCTL_REPORT_SIZE) bytes. Decoding: -1 where it is not a
 * message of ours; *err says what was wrong. */
void shimctl_encode_request(const struct shimctl_request *r, unsigned char *data);
int shimctl_decode_request(const unsigned char *data, struct shimctl_request *r, struct error *err);
void shimctl_encode_report(const struct shimctl_report *r, unsigned char *data);
int shimctl_decode_report(const unsigned char *data, struct shimctl_report *r, struct error *err);

#endif
