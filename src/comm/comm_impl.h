/* What the files of this module share; never included from outside. */
#ifndef DP_COMM_IMPL_H
#define DP_COMM_IMPL_H

#include "comm/comm.h"
#include <mpi.h>

struct dp_comm {
    MPI_Comm world, node;
    int rank, size;
    int nodes, node_size, node_cores, my_cores;
    int speaker;
};

#endif
