/* trainer train. */
#include "cli.h"
#include "run/train.h"

dp_status dp_cli_train(dp_comm *comm, int argc, char **argv) {
    dp_config config = {0};
    dp_status s = dp_cli_config(comm, argc, argv, &config);
    return s != DP_OK ? s : dp_train(comm, &config);
}
