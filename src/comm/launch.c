/* Who started this process: what its environment tells. */
#include "base/log.h"
#include "base/open.h"
#include "comm_impl.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool dp_launched(void) {
    return getenv("PMIX_RANK") || getenv("OMPI_COMM_WORLD_RANK");
}

bool dp_comm_alone(void) {
    static const char *const prefixes[] = {"PMI", "OMPI_COMM_WORLD_",
                                           "SLURM_STEP_ID=", "ALPS_"};
    for (char **e = environ; *e; e++) {
        for (size_t k = 0; k < sizeof prefixes / sizeof prefixes[0]; k++) {
            if (strncmp(*e, prefixes[k], strlen(prefixes[k])) == 0) {
                return false;
            }
        }
    }
    return true;
}

/* Whether the parent was started with the variable: then a script is between the launcher
 * and us. */
static bool parent_has(const char *variable) {
    enum { MAX = 8 << 20 }; /* bytes; Linux allows 6 MiB */
    char path[64], *text = NULL;
    size_t length = strlen(variable), bytes = 0;
    bool found = false;
    snprintf(path, sizeof path, "/proc/%ld/environ", (long)getppid());
    if (dp_open_read(path, DP_EUSAGE, NULL, MAX, &text, &bytes) == DP_OK) {
        for (size_t at = 0; at < bytes && !found; at += strlen(text + at) + 1) {
            found = strncmp(text + at, variable, length) == 0 && text[at + length] == '=';
        }
        free(text);
    }
    return found;
}

dp_status dp_comm_check_launch(dp_comm *comm) {
    static const struct {
        const char *size, *rank, *name;
    } launchers[] = {
        {"OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK", "Open MPI's mpirun"},
        {"MV2_COMM_WORLD_SIZE", "MV2_COMM_WORLD_RANK", "MVAPICH's mpirun"},
        {"PALS_SIZE", "PALS_RANKID", "mpiexec (PALS)"},
        {"SLURM_STEP_NUM_TASKS", "SLURM_PROCID", "srun"},
        {"PMI_SIZE", "PMI_RANK", "mpirun (PMI, as MPICH's and Intel MPI's)"},
        {"MPI_LOCALNRANKS", "MPI_LOCALRANKID", "mpirun (Hydra)"},
    };
    /* A shell that `srun --pty` opened on a node says nothing of what is started from
     * it. */
    bool ours = comm->size > 1 || getenv("SLURM_PTY_PORT");
    for (size_t k = 0; !ours && k < sizeof launchers / sizeof launchers[0]; k++) {
        const char *variable = launchers[k].size, *size = getenv(variable);
        const char *rank = getenv(launchers[k].rank);
        if (!size || atoi(size) < 2) {
            continue;
        }
        bool first = !rank || atoi(rank) == 0; /* one line for all: the first one's */
        if (parent_has(variable)) {
            if (first) {
                dp_warn("%s started %s processes (%s), but %s does not connect them: "
                        "each is a run of its own",
                        launchers[k].name, size, variable, dp_comm_library());
            }
            return DP_OK;
        }
        comm->error_rank = first ? 0 : -1;
        return dp_fail(DP_EUSAGE,
                       "%s started %s processes (%s), but %s, which trainer was built "
                       "with, does not connect them: each would train alone. Start it "
                       "with the mpirun of that MPI, or with srun --mpi=pmix; if each is "
                       "to be a run of its own, start it from a script",
                       launchers[k].name, size, variable, dp_comm_library());
    }
    return DP_OK;
}
