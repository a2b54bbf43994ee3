/* The commands. Each runs on every rank and returns the agreed status. */
#ifndef DP_CLI_CLI_H
#define DP_CLI_CLI_H

#include "run/session.h"

/* What a command works on: the words behind it, borrowed from argv, and what main.c made
 * of them. */
typedef struct dp_cli {
    dp_comm *comm;
    const char *file; /* CONFIG, CHECKPOINT or a topic; NULL: none */
    int noverrides;
    char **overrides;                   /* section.key=value */
    const char *index, *input, *output; /* options; NULL: not given */
    bool show;
    dp_config config;    /* train, check */
    dp_session *session; /* check: of the config; eval, predict: of the checkpoint */
} dp_cli;

/* cli_schedule.c: the course of the learning rate, and warnings on it, for `check`. */
void dp_cli_schedule(const dp_session *session);

dp_status dp_cli_check(const dp_cli *cli);
dp_status dp_cli_eval(const dp_cli *cli);
dp_status dp_cli_predict(const dp_cli *cli);

#endif
