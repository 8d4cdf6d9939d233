/* Answers to one request, compared with each other. Where none may differ the null gives a
 * difference no chance at all: one refutes it for certain, so E may be as large as one likes. That
 * none ever will cannot be shown; what can is that hardly any does. */
#include "base/assert.h"
#include "judge/judge_internal.h"

#include <string.h>

void difference_init(struct difference_test *d, double tolerated)
{
    ASSERT(tolerated >= 0 && tolerated <= 1);
    memset(d, 0, sizeof *d);
    d->used = true;
    d->tolerated = tolerated;
    ceiling_init(&d->ceiling, tolerated > 0 ? tolerated : DIFFERENCES_NEGLIGIBLE);
}

void difference_update(struct difference_test *d, const struct judge_compared *more)
{
    d->seen.pairs += more->pairs;
    d->seen.differed += more->differed;
    if (d->seen.differed > d->seen.pairs) /* counters that are not read at one instant */
        d->seen.differed = d->seen.pairs;
    d->seen.status += more->status;
    d->seen.headers += more->headers;
    d->seen.body += more->body;
}

bool difference_decides(const struct difference_test *d)
{
    return d->used && d->tolerated < 1;
}

double difference_worse_log(const struct difference_test *d)
{
    if (!difference_decides(d))
        return 0;
    if (d->tolerated > 0)
        return ceiling_over_log(&d->ceiling, d->seen.differed, d->seen.pairs);
    return d->seen.differed > 0 ? DIFFERENCES_CERTAIN_LOG : 0;
}

double difference_fine_log(const struct difference_test *d)
{
    if (!difference_decides(d))
        return 0;
    return ceiling_under_log(&d->ceiling, d->seen.differed, d->seen.pairs);
}
