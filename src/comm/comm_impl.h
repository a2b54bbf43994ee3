/* What the files of this module share; never included from outside. */
#ifndef DP_COMM_IMPL_H
#define DP_COMM_IMPL_H

#include "comm/comm.h"
#include <mpi.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

struct dp_comm {
    MPI_Comm world, node;
    int rank, size;
    int nodes, node_rank, node_size, node_cores, my_cores, mask_cores, allowed_cores,
        first_cores;
    int speaker;      /* the rank whose failure was agreed on, */
    dp_status agreed; /* and that failure */
    double timeout;   /* seconds without a sign of life from a rank */
    bool said_short;  /* of shared memory */
    bool crowded;     /* more threads than cores on this host: give way while waiting */
    bool passes;      /* MPI's calls may move from thread to thread */
    pthread_t holder; /* the thread that calls MPI */
    atomic_bool naps; /* while it waits */
};

/* launch.c: mpirun or srun started this process; no launcher of parallel programs did: neither mpirun,
 * nor srun with any version of PMI, nor aprun. */
bool dp_launched(void);
bool dp_launched_by_nobody(void);

/* Waiting for other ranks: gives way to others on the core, and ends the job, naming the rank, when
 * one shows no sign of life for comm->timeout seconds in which this one was there to see it. */
typedef struct dp_patience {
    dp_comm *comm;
    const char *what; /* is waited for */
    double begin, last,
        end; /* on dp_clock: the first turn, this one, the last; 0: none yet */
} dp_patience;

/* The caller must hold MPI. */
dp_patience dp_patience_begin(dp_comm *comm, const char *what);
/* A turn of a waiting that gives way by itself, some times a second at least. */
void dp_patience_check(dp_patience *wait);
/* A turn that gives way. */
void dp_patience_wait(dp_patience *wait);

/* MPI_Waitall with patience. */
void dp_comm_wait_all(dp_comm *comm, int n, MPI_Request *request, const char *what);

#endif
