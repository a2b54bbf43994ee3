/* Usage text, and the config that all commands begin with. */
#include "cli.h"

const char dp_cli_usage[] =
    "usage: trainer [train] CONFIG [section.key=value ...]     train; resumes by itself\n"
    "       trainer check   CONFIG [section.key=value ...]     validate config, data and "
    "launch\n"
    "       trainer eval    CHECKPOINT [section.key=value ...] loss and accuracy on the "
    "test set\n"
    "       trainer predict CHECKPOINT [--index 0,5,100 | --input FILE | --split "
    "train|val]\n"
    "                                  [--output FILE.csv] [--show]\n"
    "       trainer help    [SECTION | SECTION.KEY]            every key of the config\n"
    "       trainer --version\n"
    "\n"
    "On many ranks: mpirun -np 4 ./trainer configs/mlp.ini\n"
    "Exit codes: 0 done; 1 internal error; 2 usage or config; 3 data; 4 checkpoint, "
    "metrics or\n"
    "other file; 5 diverged; 75 stopped after a checkpoint: run it again to go on.\n";

dp_status dp_cli_config(dp_comm *comm, int argc, char **argv, dp_config *out) {
    dp_status s = DP_OK;
    if (dp_comm_rank(comm) == 0) {
        s = argc < 1
                ? dp_fail(
                      DP_EUSAGE,
                      "a config file is missing, as in: trainer check configs/mlp.ini")
                : dp_config_read(argv[0], argc - 1, argv + 1, out);
    }
    s = dp_comm_agree(comm, s);
    dp_comm_bcast(comm, out, sizeof *out);
    return s;
}
