/* One copy of the data set a host. */
#ifndef DP_RUN_SHARE_H
#define DP_RUN_SHARE_H

#include "comm/shared.h"
#include "data/dataset.h"

/* Opens the data on one rank of each host and shows it to the others in shared memory; where there
 * is none, every rank opens it. *memory holds the arrays then, else it is NULL.
 * MPI: collective. Errors: agreed. Owner: the caller, who ends both with dp_share_close */
dp_status dp_share_open(dp_comm *comm, const dp_config *config, dp_dataset **data,
                        dp_shared **memory);
void dp_share_close(dp_dataset **data, dp_shared **memory);

#endif
