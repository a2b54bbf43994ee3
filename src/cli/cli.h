/* The commands. Each runs on every rank and returns the agreed status. */
#ifndef DP_CLI_CLI_H
#define DP_CLI_CLI_H

#include "comm/comm.h"
#include "config/config.h"

/* The words behind a command: borrowed from argv. */
typedef struct dp_cli_args {
    const char *file; /* CONFIG, CHECKPOINT or a topic; NULL: none */
    int noverrides;
    char **overrides;                   /* section.key=value */
    const char *index, *input, *output; /* options, NULL where they are not given */
    bool show;
} dp_cli_args;

dp_status dp_cli_check(dp_comm *comm, const dp_cli_args *args);
dp_status dp_cli_eval(dp_comm *comm, const dp_cli_args *args);
dp_status dp_cli_predict(dp_comm *comm, const dp_cli_args *args);

/* Reads the config on rank 0; the same struct everywhere.
 * MPI: collective. Errors: agreed */
dp_status dp_cli_config(dp_comm *comm, const dp_cli_args *args, dp_config *out);

#endif
