/* The verbs and their options: two tables, from which dispatch, parsing, help, completion and the
 * manual page come. A verb is a function `int cmd_NAME(int argc, char **argv)` in NAME.c (argv[0]
 * is the verb); it gives the exit status. `--help` is answered before it is called. */
#ifndef SLUICE_CLI_VERBS_H
#define SLUICE_CLI_VERBS_H

#include <stdint.h>

/* X(id, letter, word, value, text); letter 0: none; value NULL: a switch. Letters need to differ
 * only within one verb. */
#define OPTIONS(X)                                                                                 \
    X(OPTION_ENV, 'e', "environment", "ENV", "environment of the app (default production)")        \
    X(OPTION_JSON, 0, "json", NULL,                                                                \
      "one JSON document, or one JSON object per line for what streams")                           \
    X(OPTION_NO_COLOR, 0, "no-color", NULL, "no colours")                                          \
    X(OPTION_API, 0, "api", "ADDRESS",                                                             \
      "unix:PATH or HOST:PORT of the API (SLUICE_API; default unix:DATA/api.sock)")                \
    X(OPTION_DATA, 0, "data", "DIR",                                                               \
      "data folder (SLUICE_DATA; default /var/lib/sluice for root, else ~/.local/share/sluice)")   \
    X(OPTION_FILE, 'f', "file", "FILE", "the spec (default sluice.yaml)")                          \
    X(OPTION_VERSION, 0, "version", "V",                                                           \
      "version of the release (default: the file's, else the commit, else the number)")            \
    X(OPTION_STRATEGY, 0, "strategy", "S",                                                         \
      "rolling, recreate, blue-green, canary or shadow instead of the file's")                     \
    X(OPTION_DETACH, 0, "detach", NULL, "do not wait: done when the server has accepted it")       \
    X(OPTION_TIMEOUT, 0, "timeout", "D",                                                           \
      "wait at most so long (exit status 4; the rollout goes on)")                                 \
    X(OPTION_YES, 'y', "yes", NULL, "do not ask")                                                  \
    X(OPTION_FOLLOW, 'f', "follow", NULL, "go on with what is new, until Ctrl-C")                  \
    X(OPTION_TO, 0, "to", "N",                                                                     \
      "release to go back to (default: the one promoted before this one)")                         \
    X(OPTION_RELEASE, 0, "release", "N", "only lines of this release")                             \
    X(OPTION_INSTANCE, 0, "instance", "I", "only lines of this instance")                          \
    X(OPTION_SINCE, 0, "since", "D",                                                               \
      "only what is not older than that (10m), or an RFC 3339 time")                               \
    X(OPTION_LINES, 'n', "lines", "N", "of what is there, only the last N")                        \
    X(OPTION_PROCESS, 0, "process", "NAME", "process of the app (default web)")                    \
    X(OPTION_LISTEN, 0, "listen", "HOST:PORT",                                                     \
      "address for the traffic; may be given again (default 127.0.0.1:8080)")                      \
    X(OPTION_TLS_LISTEN, 0, "tls-listen", "HOST:PORT",                                             \
      "address for TLS, with the certificates in DATA/certs; may be given again")                  \
    X(OPTION_MTLS_LISTEN, 0, "mtls-listen", "HOST:PORT",                                           \
      "the same, only for clients with a certificate of a CA in DATA/certs/client.ca")             \
    X(OPTION_TCP_ROUTES, 0, "tcp-routes", "HOST:PORTS,...",                                        \
      "where apps may listen with TCP routes (default ports 1024-65535 of 127.0.0.1 and [::1])")   \
    X(OPTION_ACME_DIRECTORY, 0, "acme-directory", "URL",                                           \
      "CA that gives the certificates of `tls: auto` (default Let's Encrypt)")                     \
    X(OPTION_ACME_EMAIL, 0, "acme-email", "ADDRESS", "where that CA may write to")                 \
    X(OPTION_ACME_CA, 0, "acme-ca", "FILE",                                                        \
      "root certificates that the CA's own server is checked by (default the system's)")           \
    X(OPTION_WORKERS, 0, "workers", "N", "threads of the gateway, 1 to 16 (default one per core)") \
    X(OPTION_TRUSTED_PROXIES, 0, "trusted-proxies", "CIDR,...",                                    \
      "whose X-Forwarded-For is believed")                                                         \
    X(OPTION_ACCESS_LOG, 0, "access-log", "FILE",                                                  \
      "a JSON line for each request; - is standard output")                                        \
    X(OPTION_PROXY_PROTOCOL, 0, "proxy-protocol", NULL,                                            \
      "connections from --trusted-proxies begin with a PROXY protocol header, version 1 or 2")     \
    X(OPTION_MAX_CONNECTIONS, 0, "max-connections", "N",                                           \
      "open connections of clients (default: as many as the limit of descriptors allows)")         \
    X(OPTION_MAX_PER_CLIENT, 0, "max-connections-per-client", "N",                                 \
      "open connections of one address or IPv6 /64; more are reset (default: any number)")         \
    X(OPTION_STOP_APPS, 0, "stop-apps", NULL, "stop the apps too when the server stops")           \
    X(OPTION_LOG_LEVEL, 0, "log-level", "LEVEL",                                                   \
      "debug, info, warn or error: what is written on stderr (default info)")                      \
    X(OPTION_CHECK, 0, "check", NULL,                                                              \
      "say whether the server could start with these options, and start nothing")                  \
    X(OPTION_TRAFFIC, 0, "traffic", "RATE", "requests that the app gets: 50/s, 1200/min, 90/h")    \
    X(OPTION_RECORDED, 0, "history", NULL,                                                         \
      "traffic as the server has recorded it in the last day")                                     \
    X(OPTION_GROWTH, 0, "history", NULL, "also how the evidence grew")                             \
    X(OPTION_SUGGEST, 0, "suggest", NULL,                                                          \
      "propose steps and holds that find a release of 2% errors")                                  \
    X(OPTION_CANDIDATE, 0, "candidate", "PROPERTIES",                                              \
      "the new release: errors=2%, p95=300ms, or against stable errors=3x, latency=1.5x")          \
    X(OPTION_STABLE, 0, "stable", "PROPERTIES",                                                    \
      "the present release (default errors=0.5%,p50=40ms,p95=107ms)")                              \
    X(OPTION_START_TIME, 0, "start-time", "D", "until an instance is ready (default 1s)")          \
    X(OPTION_RUNS, 0, "runs", "N", "how often (default 1000)")                                     \
    X(OPTION_SEED, 0, "seed", "N", "the same number, the same answer (default 1)")                 \
    X(OPTION_STATUS, 0, "status", "N", "status of the answer, 400 to 599 (default 503)")           \
    X(OPTION_RETRY_AFTER, 0, "retry-after", "D",                                                   \
      "when clients may come again (default 1m; 0: nothing is said)")                              \
    X(OPTION_PAGE, 0, "page", "FILE", "what is answered: .html, .txt or .json, at most 64 KiB")    \
    X(OPTION_HOLD, 0, "hold", "D", "let requests wait so long first, at most 10m")                 \
    X(OPTION_ALLOW, 0, "allow", "WHO",                                                             \
      "who gets through: 10.0.0.0/8, or x-tester=1 for a header; may be given again")              \
    X(OPTION_DELAY, 0, "delay", "D", "let requests wait so long, at most 1m")                      \
    X(OPTION_ABORT, 0, "abort", "N", "answer with that status, 400 to 599")                        \
    X(OPTION_SHARE, 0, "share", "PERCENT", "of how many requests (default 100%)")                  \
    X(OPTION_MATCH, 0, "match", "WHO",                                                             \
      "only of these: 10.0.0.0/8, or x-game=1 for a header; may be given again")                   \
    X(OPTION_FOR, 0, "for", "D", "then it ends by itself (default 10m, at most 24h)")              \
    X(OPTION_HELP, 'h', "help", NULL, "this text")

enum option_id {
#define X(id, letter, word, value, text) id,
    OPTIONS(X)
#undef X
        OPTIONS_COUNT
};

#define OPT(name) (UINT64_C(1) << OPTION_##name)
#define OPTS_OUTPUT (OPT(JSON) | OPT(NO_COLOR) | OPT(HELP))
#define OPTS_CLIENT (OPTS_OUTPUT | OPT(API) | OPT(DATA))
#define OPTS_APP (OPTS_CLIENT | OPT(ENV))
#define OPTS_FOLLOWED (OPTS_APP | OPT(DETACH) | OPT(TIMEOUT))

/* X(name, arguments, least, most, options, summary): least and most count the positional arguments;
 * what stands behind "--" is not counted. */
#define VERBS(X)                                                                                   \
    X(serve, "", 0, 0,                                                                             \
      OPTS_OUTPUT | OPT(DATA) | OPT(LISTEN) | OPT(TLS_LISTEN) | OPT(MTLS_LISTEN) |                 \
          OPT(TCP_ROUTES) | OPT(ACME_DIRECTORY) | OPT(ACME_EMAIL) | OPT(ACME_CA) | OPT(API) |      \
          OPT(WORKERS) | OPT(TRUSTED_PROXIES) | OPT(PROXY_PROTOCOL) | OPT(MAX_CONNECTIONS) |       \
          OPT(MAX_PER_CLIENT) | OPT(ACCESS_LOG) | OPT(STOP_APPS) | OPT(LOG_LEVEL) | OPT(CHECK),    \
      "run the server: guardian, controller and gateway")                                          \
    X(init, "", 0, 0, OPTS_OUTPUT | OPT(FILE),                                                     \
      "write a commented sluice.yaml for the project in this folder")                              \
    X(check, "", 0, 0, OPTS_OUTPUT | OPT(FILE) | OPT(ENV),                                         \
      "show all errors of the file; nothing is contacted")                                         \
    X(plan, "", 0, 0, OPTS_APP | OPT(FILE) | OPT(STRATEGY) | OPT(SUGGEST),                         \
      "show what deploy would change, step by step, and what the judge can find")                  \
    X(simulate, "", 0, 0,                                                                          \
      OPTS_APP | OPT(FILE) | OPT(STRATEGY) | OPT(TRAFFIC) | OPT(RECORDED) | OPT(CANDIDATE) |       \
          OPT(STABLE) | OPT(START_TIME) | OPT(RUNS) | OPT(SEED),                                   \
      "try the strategy on a good or bad release, in virtual time")                                \
    X(deploy, "", 0, 0, OPTS_FOLLOWED | OPT(FILE) | OPT(VERSION) | OPT(STRATEGY) | OPT(YES),       \
      "put a new version in front of its users, and watch it until the verdict")                   \
    X(status, "[APP]", 0, 1, OPTS_APP, "show the apps, or one app with its instances and rollout") \
    X(verdict, "APP", 1, 1, OPTS_APP | OPT(GROWTH),                                                \
      "show what the judge knows, in numbers and words")                                           \
    X(history, "APP", 1, 1, OPTS_APP | OPT(LINES), "show the rollouts of an app, newest first")    \
    X(releases, "APP", 1, 1, OPTS_APP, "show the releases that are kept")                          \
    X(events, "[APP]", 0, 1, OPTS_APP | OPT(FOLLOW) | OPT(LINES),                                  \
      "show what happened, and who did it")                                                        \
    X(promote, "APP", 1, 1, OPTS_APP, "approve, or skip what a rollout still waits for")           \
    X(abort, "APP", 1, 1, OPTS_APP, "end the rollout: all traffic back to the stable release")     \
    X(pause, "APP", 1, 1, OPTS_APP, "stop the rollout where it is")                                \
    X(resume, "APP", 1, 1, OPTS_APP, "go on with a paused rollout")                                \
    X(rollback, "APP", 1, 1, OPTS_FOLLOWED | OPT(TO),                                              \
      "go back to the release before, or to another one")                                          \
    X(logs, "APP", 1, 1,                                                                           \
      OPTS_APP | OPT(FOLLOW) | OPT(RELEASE) | OPT(INSTANCE) | OPT(SINCE) | OPT(LINES) |            \
          OPT(PROCESS),                                                                            \
      "show the output of the instances")                                                          \
    X(scale, "APP N", 2, 2, OPTS_APP | OPT(PROCESS), "change the number of instances")             \
    X(maintenance, "APP on|off", 2, 2,                                                             \
      OPTS_APP | OPT(STATUS) | OPT(RETRY_AFTER) | OPT(PAGE) | OPT(HOLD) | OPT(ALLOW),              \
      "answer or hold an app's requests at the gateway while it is worked on")                     \
    X(fault, "APP on|off", 2, 2,                                                                   \
      OPTS_APP | OPT(DELAY) | OPT(ABORT) | OPT(SHARE) | OPT(MATCH) | OPT(FOR),                     \
      "for a game day: delay or abort a share of an app's requests, for a while")                  \
    X(restart, "APP", 1, 1, OPTS_FOLLOWED,                                                         \
      "replace the instances by new ones of the same release")                                     \
    X(stop, "APP", 1, 1, OPTS_APP, "stop all instances of an app")                                 \
    X(start, "APP", 1, 1, OPTS_APP, "start a stopped app again")                                   \
    X(run, "APP -- COMMAND [ARGUMENT...]", 1, 1, OPTS_APP,                                         \
      "run a command with the code and environment of the stable release")                         \
    X(delete, "APP", 1, 1, OPTS_APP | OPT(YES), "stop an app and forget it with its releases")     \
    X(upgrade, "[BINARY]", 0, 1, OPTS_CLIENT | OPT(TIMEOUT),                                       \
      "let the running server go over to this sluice, or to BINARY; no connection is refused")     \
    X(version, "", 0, 0, OPTS_OUTPUT, "show the version")                                          \
    X(help, "[VERB]", 0, 1, OPTS_OUTPUT, "show the verbs, or the options of one")                  \
    X(completion, "bash|zsh|fish", 1, 1, OPTS_OUTPUT, "write the completion of a shell")

enum verb_id {
#define X(name, arguments, least, most, options, summary) VERB_##name,
    VERBS(X)
#undef X
        VERBS_COUNT
};

#define X(name, arguments, least, most, options, summary) int cmd_##name(int argc, char **argv);
VERBS(X)
#undef X

struct verb {
    const char *word, *arguments;
    unsigned least, most;
    uint64_t options;
    const char *summary;
    int (*run)(int argc, char **argv);
};
const struct verb *verb_get(enum verb_id id);
const struct verb *verb_find(const char *word); /* NULL: unknown */

struct verb_option {
    char letter;
    const char *word, *value, *text;
};
const struct verb_option *option_get(enum option_id id);

#endif
