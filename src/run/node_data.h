/* One copy of the data set a node. */
#ifndef DP_RUN_NODE_DATA_H
#define DP_RUN_NODE_DATA_H

#include "comm/shared.h"
#include "data/dataset.h"

/* Opens the data on one rank of each node, with the arrays in shared memory for the
 * others; where there is none, every rank opens it. *memory holds the arrays then, else
 * it is NULL.
 * MPI: collective. Errors: agreed. Owner: the caller, who ends both with
 * dp_node_data_close */
dp_status dp_node_data_open(dp_comm *comm, const dp_config *config, dp_dataset **data,
                            dp_shared **memory);
void dp_node_data_close(dp_dataset **data, dp_shared **memory);

#endif
