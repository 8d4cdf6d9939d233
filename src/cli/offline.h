/* The verbs that contact nothing: check and init. They parse their own options. */
#ifndef SLUICE_CLI_OFFLINE_H
#define SLUICE_CLI_OFFLINE_H

int cmd_check(int argc, char **argv);
int cmd_init(int argc, char **argv);

#endif
