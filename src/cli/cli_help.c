/* trainer help and trainer --version. */
#include "base/version.h"
#include "cli.h"
#include "h5/h5file.h"
#include "kernels/kernels.h"
#include <stdio.h>

dp_status dp_cli_help(dp_comm *comm, int argc, char **argv) {
    dp_status s = DP_OK;
    if (dp_comm_rank(comm) == 0) {
        if (argc == 0) {
            puts(dp_cli_usage);
        }
        s = dp_config_help(argc > 0 ? argv[0] : NULL, stdout);
    }
    return dp_comm_agree(comm, s);
}

dp_status dp_cli_version(dp_comm *comm, int argc, char **argv) {
    (void)argc;
    (void)argv;
    if (dp_comm_rank(comm) == 0) {
        printf("%s\ncommit   %s\ncompiler %s\nmpi      %s\nhdf5     %s\nkernels  %s\n",
               dp_version_program(), dp_version_commit(), dp_version_compiler(),
               dp_comm_library(), dp_h5_version(), dp_kernels_available());
    }
    return DP_OK;
}
