/* How a run begins: anew, from a checkpoint, or not at all. */
#ifndef DP_RUN_START_H
#define DP_RUN_START_H

#include "comm/comm.h"
#include "config/config.h"
#include "files/checkpoint.h"
#include "files/rundir.h"

typedef struct dp_start {
    enum { DP_START_NEW, DP_START_RESUME, DP_START_COMPLETE } how;
    /* rank 0 only, NULL elsewhere; owner: this */
    dp_rundir *dir;
    dp_snapshot *from; /* the checkpoint to resume from */
} dp_start;

/* Locks run.output and decides how to start. MPI: collective. Errors: agreed. Owner: the
 * caller, who ends it with dp_start_close (also after an error) */
dp_status dp_start_claim(dp_comm *comm, const dp_config *config, dp_start *out);
void dp_start_close(dp_start *start);

#endif
