/* The commands: argv is what follows the command's name. Each runs on every rank and
 * returns the agreed status. */
#ifndef DP_CLI_CLI_H
#define DP_CLI_CLI_H

#include "comm/comm.h"
#include "config/config.h"

dp_status dp_cli_train(dp_comm *comm, int argc, char **argv);
dp_status dp_cli_check(dp_comm *comm, int argc, char **argv);
dp_status dp_cli_eval(dp_comm *comm, int argc, char **argv);
dp_status dp_cli_predict(dp_comm *comm, int argc, char **argv);
dp_status dp_cli_help(dp_comm *comm, int argc, char **argv);
dp_status dp_cli_version(dp_comm *comm, int argc, char **argv);

/* The usage, for `trainer help` and mistakes. */
extern const char dp_cli_usage[];

/* Reads argv[0] and the overrides behind it on rank 0; the same struct everywhere.
 * MPI: collective. Errors: agreed */
dp_status dp_cli_config(dp_comm *comm, int argc, char **argv, dp_config *out);

#endif
