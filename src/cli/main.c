/* argv -> command -> exit code. */
#include "base/log.h"
#include "cli.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct command {
    const char *name;
    dp_status (*run)(dp_comm *comm, int argc, char **argv);
} commands[] = {
    {"train", dp_cli_train},     {"check", dp_cli_check}, {"eval", dp_cli_eval},
    {"predict", dp_cli_predict}, {"help", dp_cli_help},   {"--version", dp_cli_version},
    {"--help", dp_cli_help},     {"-h", dp_cli_help},
};

/* A first word that is no command is the config of a training run. */
static dp_status run(dp_comm *comm, int argc, char **argv) {
    if (argc < 2) {
        return dp_fail(DP_EUSAGE,
                       "what is to be trained? Give a config, as in: trainer "
                       "configs/mlp.ini (`trainer help` lists commands and keys)");
    }
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        if (strcmp(argv[1], commands[i].name) == 0) {
            return commands[i].run(comm, argc - 2, argv + 2);
        }
    }
    if (argv[1][0] == '-') {
        return dp_fail(DP_EUSAGE,
                       "unknown option '%s'; `trainer help` lists what there is",
                       argv[1]);
    }
    return dp_cli_train(comm, argc - 1, argv + 1);
}

int main(int argc, char **argv) {
    dp_comm *comm = NULL;
    dp_status status = dp_comm_init(&argc, &argv, &comm);
    if (status != DP_OK) {
        dp_error_line(dp_status_message());
        return status;
    }
    dp_log_enable(dp_comm_rank(comm) == 0);
    status = dp_comm_check_launch(comm);
    status = status != DP_OK ? status : run(comm, argc, argv);
    if (status != DP_OK && status != DP_STOPPED && dp_comm_reports_error(comm)) {
        dp_error_line(dp_status_message());
    }
    fflush(NULL);
    dp_comm_finalize(&comm);
    return status;
}
