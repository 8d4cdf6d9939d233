/* The spec as deploy and plan send it: file, environment, strategy, version, source. */
#ifndef SLUICE_CLI_SPECLOAD_H
#define SLUICE_CLI_SPECLOAD_H

#include "cli/session.h"

struct spec_order {
    char *deploy_path, *plan_path; /* of the API */
    json_t *body;                  /* {"spec", "source", "version"} */
};

/* -1: it was said on stderr what is wrong (exit status 2). */
int spec_order_load(struct spec_order *o, const struct session *s);
void spec_order_release(struct spec_order *o);

#endif
