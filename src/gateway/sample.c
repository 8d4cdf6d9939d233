/* What is kept of requests that failed, so that a report can name them. */
#include "gateway/conn.h"

/* False: it did not fail, or not because of an instance (or the lack of one). */
static bool what_failed(const struct exchange *x, enum outcome outcome, struct sample *s)
{
    switch (outcome) {
    case OUTCOME_UNSERVED:
        s->fault = SAMPLE_UNSERVED;
        s->status = 503;
        s->request_slot = x->app_slot;
        s->instance_slot = SAMPLE_NO_SLOT;
        return x->app_slot != SAMPLE_NO_SLOT;
    case OUTCOME_FAILED:
        s->fault = x->fault;
        s->status = x->fault == SAMPLE_TIMEOUT ? 504 : x->fault == SAMPLE_UNSERVED ? 503 : 502;
        return true;
    case OUTCOME_CUT:
        s->fault = SAMPLE_CUT;
        s->status = x->status;
        return true;
    case OUTCOME_WHOLE:
    case OUTCOME_CLIENT_LEFT:
        s->fault = SAMPLE_5XX;
        s->status = x->status;
        return x->final && x->status >= 500;
    case OUTCOME_REFUSED:
    case OUTCOME_REDIRECTED:
    case OUTCOME_MAINTENANCE:
    case OUTCOME_FAULT: break;
    }
    return false;
}

void sample_take(struct exchange *x, enum outcome outcome)
{
    struct worker *w = x->worker;
    if (outcome == OUTCOME_WHOLE && x->status < 500)
        return; /* nearly all */
    struct sample s = {
        .request_slot = x->share_slot,
        .instance_slot = x->instance_slot,
        .method = x->method,
    };
    if (!what_failed(x, outcome, &s) || (x->copy && s.fault == SAMPLE_5XX))
        return; /* a copy's status is compared (mirror.c) */
    bool answered = x->final && outcome != OUTCOME_UNSERVED;
    s.took_us = answered ? x->latency_us : exchange_latency(x);
    s.at_boot_ms = w->now_ms + w->boot_minus_mono_ms;
    sample_set_path(&s, x->path, x->path_len);
    samples_add(x->copy ? &w->metrics->copies : &w->metrics->samples, &s);
}
